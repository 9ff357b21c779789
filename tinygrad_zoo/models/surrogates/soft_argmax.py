"""Learning where a maximum shall be through soft-argmax, Σ i softmax(βx)_i (integral regression, arXiv 1711.08229).

Scores x of n places, from random starts, shall have their maximum at a given place. The argmax is piecewise constant:
no gradient reaches x, which stays where it was. The soft-argmax is smooth, and meets its target from any start. But it
is a mean of places: two equal peaks on both sides of the target meet it too, and hold the soft-argmax there. The third
learner is trained on the expected squared distance, which adds the spread around the target to that of the mean; as β
grows, its soft-argmax becomes the argmax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split
from ...grad_mode import each_step
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

LEARNERS = ("argmax", "soft_argmax", "with_spread")


class Scores(nn.Module):
    """A row of scores of `n` places for each of the starts, drawn with a standard deviation of `scale`.

    >>> Scores(5, 8, 1.0, rng=np.random.default_rng(0))(np.array([4, 0])).shape
    (2, 8)
    """

    def __init__(self, starts: int, n: int, scale: float, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.table = nn.Parameter(scale * rng.standard_normal((starts, n)).astype(np.float32))
        self.places = nn.Buffer(np.arange(n, dtype=np.float32))

    def forward(self, row: Any) -> Any:
        return ops.embedding(row, self.table)

    def distance(self, learner: str, row: Any, target: Any, beta: float) -> Any:
        """The squared distance of the maximum from the target, (N,), as each learner sees it."""
        x, target = self(row), target.to("float32")  # (N, n), (N,)
        if learner == "argmax":
            return ops.square(ops.argmax(x, axis=-1).to("float32") - target)
        if learner == "soft_argmax":
            return ops.square(ops.smooth_argmax(x, beta=beta) - target)
        return (ops.smooth_onehot(x, beta=beta) * ops.square(self.places - target[:, None])).sum(axis=-1)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_000
    batch_size: int = 256  # all starts
    lr: float = 0.2
    n: int = 12
    scale: float = 3.0  # of the starts, so that they have peaks
    beta: float = 10.0  # of the learner with spread, at the end; 1 in the first half, and of the others


def sharpness(config: Settings, learner: str, step: int) -> float:
    """β after that many steps: in the second half it grows in equal ratios."""
    return float(config.beta ** max(0.0, 2 * step / config.steps - 1)) if learner == "with_spread" else 1.0


def data(config: Settings, rng: np.random.Generator) -> Split:
    part = (np.arange(config.batch_size), rng.integers(config.n, size=config.batch_size))  # start, target
    return Split(train=part, test=part)  # the starts themselves are what is to be moved


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    seed, starts = int(rng.integers(2**32)), len(data.train[0])  # one seed for all: they start equal
    models = {name: Scores(starts, config.n, config.scale, rng=np.random.default_rng(seed)) for name in LEARNERS}
    quick: Any = {"betas": (0.9, 0.95), "eps": 1e-12}  # where another place has the peak, gradients are tiny at first
    optimizers = {name: optim.Adam(model.parameters(), lr=config.lr, **quick) for name, model in models.items()}
    schedules = {name: optim.CosineAnnealingLR(adam, config.steps) for name, adam in optimizers.items()}
    return Parts(model=nn.ModuleDict(models), optimizers=optimizers, schedules=schedules)


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    losses = {}
    for name, optimizer in state.optimizers.items():
        model: Any = state.model[name]
        optimizer.zero_grad()
        beta = each_step(lambda name=name: sharpness(state.config, name, state.step))  # type: ignore[misc]
        losses[name] = model.distance(name, *batch, beta).mean()
        if losses[name].requires_grad:  # not that of argmax: there is no gradient to step along
            losses[name].backward()
            optimizer.step()
            state.schedules[name].step()
    return losses


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """Over all starts: the largest distance of a soft-argmax from its target, and how often the argmax is there."""
    row, target = (tensor(x, device=state.device) for x in state.data.test)
    farthest, hits = {}, {}
    for name in LEARNERS:
        model: Any = state.model[name]
        x, beta = model(row), sharpness(state.config, name, state.config.steps)
        farthest[name] = float(ops.abs(ops.smooth_argmax(x, beta=beta) - target).max())
        hits[f"hits_{name}"] = float((ops.argmax(x, axis=-1) == target).to("float32").mean())
    return {"farthest": max(farthest["soft_argmax"], farthest["with_spread"]), **hits}


def baseline(data: Split) -> Mapping[str, float]:
    """What stays where it is: in the middle of all places (a start is as far away, or farther)."""
    (_, target) = data.test
    return {"the middle": float(np.abs(target - target.max() / 2).max())}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """How near the smooth maximum is; the distances in training; what soft-argmax says of two peaks."""
    fig, (bound, curves, peaks) = plotting.figure(3, size=3.6)
    betas, x = 10.0 ** np.arange(-1, 4.5, 0.5), state.rng.standard_normal((2_000, 16))
    errors = np.array([ops.smooth_max(x, beta=beta, axis=-1) - x.max(axis=-1) for beta in betas])  # (β, vectors)
    bound.loglog(betas, np.log(16) / betas, color="black", linewidth=1, linestyle="--", label="log(n) / β")
    bound.loglog(betas, errors.max(axis=1), color=plotting.ORANGE, marker=".", label="largest of 2000 vectors")
    bound.loglog(betas, np.median(errors, axis=1).clip(1e-9), color=plotting.BLUE, marker=".", label="median")
    bound.set(title="smooth max - max, n = 16", xlabel="β", ylim=(1e-6, 100))
    bound.legend(frameon=False, loc="upper right", fontsize=8)
    hits = [evaluate(state)[f"hits_{name}"] for name in LEARNERS[:2]]
    title = "at the target: argmax {:.0%}, soft {:.0%}".format(*hits)
    plotting.curve_panel(curves, state.history, *LEARNERS, title=title)
    curves.set(ylabel="squared distance from the target")
    two = np.exp(-0.5 * (np.arange(12)[:, None] - [2.0, 9.0]) ** 2).sum(axis=1)
    mean = float(ops.smooth_argmax(two, beta=state.config.beta))
    peaks.bar(np.arange(12), two, color=plotting.BLUE)
    peaks.axvline(mean, color=plotting.ORANGE, label=f"soft-argmax = {mean:.1f}")
    peaks.set(title="of two equal peaks it is the middle", xlabel="place", ylabel="score", ylim=(0, 1.4))
    peaks.legend(frameon=False)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="soft_argmax",
    row="M1",
    family="surrogates",
    title="A maximum moved through soft-argmax",
    paper="arXiv 1711.08229",
    config=Settings(),
    metric="soft_argmax",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="farthest", at_most=0.05, seeds=3),
    figure=figure,
)

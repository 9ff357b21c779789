"""Mutual information of correlated Gaussians by critics that are learnt: InfoNCE, and two without its ceiling.

x and y in ℝ⁴ have I = -2 log(1 - ρ²) nats. A critic T(x, y) = g(x)·h(y) is trained to tell pairs from strangers in a
batch; what it reaches on other batches is a lower bound of I. InfoNCE (arXiv 1807.03748) varies little, and cannot
exceed the log of the batch size: at ρ = 0.999 it stays there. Donsker-Varadhan (MINE, arXiv 1801.04062) and NWJ have no
such ceiling; they pay by a variance that grows like e^I.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split
from ...information import dv_bound, infonce_bound, ksg_mi, nwj_bound, pair_scores
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]
DIM = 4
MEASURED, SATURATED = (0.5, 0.8, 0.9), 0.999  # ρ
PAIRS = [("infonce", rho) for rho in (*MEASURED, SATURATED)] + [
    (bound, rho) for bound in ("dv", "nwj") for rho in (MEASURED[-1], SATURATED)
]


def name_of(bound: str, rho: float) -> str:
    """infonce_900 at ρ = 0.9."""
    return f"{bound}_{1000 * rho:.0f}"


CRITICS = {name_of(*pair): pair for pair in PAIRS}


def truth(rho: float) -> float:
    """-(d/2) log(1 - ρ²) nats.

    >>> [round(truth(rho), 3) for rho in MEASURED]
    [0.575, 2.043, 3.321]
    """
    return -0.5 * DIM * math.log(1 - rho * rho)


class Critic(nn.Module):
    """T(x_i, y_j) = g(x_i)·h(y_j) for all pairs of a batch, (N, N): one pass of g and one of h.

    >>> Critic(8, 4, rng=np.random.default_rng(0))(np.zeros((5, 4)), np.zeros((5, 4))).shape
    (5, 5)
    """

    def __init__(self, hidden: int, embedding: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.g, self.h = (nn.mlp(DIM, hidden, hidden, embedding, rng=rng) for _ in "gh")

    def forward(self, x: Any, y: Any) -> Any:
        return self.g(x) @ self.h(y).T


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_000
    batch_size: int = 256
    lr: float = 2e-3
    hidden: int = 64
    embedding: int = 32


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Two independent standard normal vectors in each row: y = ρ x + √(1 - ρ²) ε for every ρ."""
    train, test = (
        tuple(rng.standard_normal((2, n, DIM)).astype(np.float32)) for n in (100_000, 40 * config.batch_size)
    )
    return Split(train=train, test=test)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    models = {name: Critic(config.hidden, config.embedding, rng=rng) for name in CRITICS}
    optimizers = {name: optim.Adam(model.parameters(), lr=config.lr) for name, model in models.items()}
    schedules = {name: optim.CosineAnnealingLR(adam, config.steps) for name, adam in optimizers.items()}
    return Parts(model=nn.ModuleDict(models), optimizers=optimizers, schedules=schedules)


def bound_of(name: str, critic: Any, x: Any, noise: Any) -> Any:
    """The critic's bound on a batch."""
    bound, rho = CRITICS[name]
    scores = critic(x, rho * x + math.sqrt(1 - rho * rho) * noise)  # (N, N)
    if bound == "infonce":
        return infonce_bound(scores)
    return {"dv": dv_bound, "nwj": nwj_bound}[bound](*pair_scores(scores))


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    bounds = {}
    for name, optimizer in state.optimizers.items():
        optimizer.zero_grad()
        bounds[name] = bound_of(name, state.model[name], *batch)
        (-bounds[name]).backward()
        optim.clip_grad_norm_(state.model[name].parameters(), 1.0)  # NWJ's are exponential in the scores
        optimizer.step()
        state.schedules[name].step()
    return bounds


def held_out(state: State[Settings, nn.ModuleDict], name: str) -> Array:
    """The bound on each batch of the test points, which no critic has seen."""
    size, parts = state.config.batch_size, [tensor(part, device=state.device) for part in state.data.test]
    starts = range(0, len(parts[0]) - size + 1, size)
    values = [bound_of(name, state.model[name], *(part[i : i + size] for part in parts)) for i in starts]
    found: Array = ops.stack(*values).numpy().astype(np.float64)
    return found


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """Mean and standard deviation of every bound over held-out batches; `worst` is InfoNCE's largest relative error,
    not at the last ρ, where `ceiling` is by how much it stays below log N.
    """
    values = {name: held_out(state, name) for name in CRITICS}
    found = {name: float(value.mean()) for name, value in values.items()}
    worst = max(abs(found[name_of("infonce", rho)] / truth(rho) - 1) for rho in MEASURED)
    ceiling = math.log(state.config.batch_size) - float(values[name_of("infonce", SATURATED)].max())
    return {"worst": worst, "ceiling": ceiling, **found, **{f"{n}_std": float(v.std()) for n, v in values.items()}}


def baseline(data: Split) -> Mapping[str, float]:
    """The largest relative error of nearest neighbours (KSG) on 1000 of the test points."""
    x, noise = (part[:1_000].astype(np.float64) for part in data.test)
    found = [ksg_mi(x, rho * x + math.sqrt(1 - rho * rho) * noise) / truth(rho) for rho in MEASURED]
    return {"nearest neighbours (KSG)": max(abs(ratio - 1) for ratio in found)}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """InfoNCE in training towards each truth and its ceiling; each bound over held-out batches; their spread."""
    fig, (curves, spread, deviation) = plotting.figure(3, size=4.2)
    limit = math.log(state.config.batch_size)
    names = [name_of("infonce", rho) for rho in (*MEASURED, SATURATED)]
    plotting.curve_panel(curves, state.history, *names, title=f"InfoNCE in training; ceiling log N = {limit:.2f}")
    for rho in MEASURED:
        curves.axhline(truth(rho), color="black", linewidth=0.5, linestyle=":")
    curves.axhline(limit, color="black", linewidth=1)
    curves.set(ylabel="nats", ylim=(-0.5, 6.2))
    curves.legend(frameon=False, fontsize=7, loc="center right", bbox_to_anchor=(1, 0.78))
    shown = [name for name in CRITICS if CRITICS[name][1] >= MEASURED[-1]]
    values = [held_out(state, name) for name in shown]
    spread.boxplot(values, widths=0.5, showfliers=False)
    for place, name in enumerate(shown, start=1):
        spread.plot([place - 0.4, place + 0.4], 2 * [truth(CRITICS[name][1])], color=plotting.BLUE)
    spread.set(title="held-out batches (blue: the truth)", ylabel="nats")
    labels = ["{}\nρ = {}".format(*CRITICS[name]) for name in shown]
    spread.set_xticklabels(labels, fontsize=7)
    deviation.bar(range(len(shown)), [value.std() for value in values], color=plotting.BLUE)
    deviation.set(title="standard deviation between batches", ylabel="nats", xticks=range(len(shown)))
    deviation.set_xticklabels(labels, fontsize=7)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="mutual_information",
    row="L2",
    family="contrastive",
    title="Mutual information of Gaussians by learnt critics",
    paper="arXiv 1807.03748",
    config=Settings(),
    metric=name_of("infonce", MEASURED[-1]),
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="worst", at_most=0.10, seeds=3),
    figure=figure,
)

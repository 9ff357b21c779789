"""A Gaussian fitted to a density of two modes: what a model that cannot be right does depends on the divergence.

A generative model is min d(p, q) over the q that it can be. KL(p‖q), maximum likelihood, is infinite where p has
something and q nothing: q covers both modes and the valley between, and has p's mean and variance, in closed form.
KL(q‖p) is infinite the other way round: q settles on one mode, and the start says on which. Between them stand
Jensen-Shannon, total variation and Wasserstein's W₁ = ∫ |F - G|, which asks how far mass is to be moved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import information, nn, ops, optim, plotting
from ...data import Split
from ...distributions import Normal
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

WEIGHTS, MEANS, STDS = np.array([0.6, 0.4]), np.array([-3.0, 3.0]), np.array([0.6, 1.0])  # of p's two modes
MEAN = float(WEIGHTS @ MEANS)
STD = float(np.sqrt(WEIGHTS @ (STDS**2 + MEANS**2) - MEAN**2))  # of p as a whole
# Wide enough for the widest q, and not so wide that the density of the narrowest is 0 at the end.
GRID, CELL = np.linspace(-14, 14, 561, retstep=True)
LOCS, SCALES = (-4.0, 4.0), (0.5, 2.5)  # of the starts


def wasserstein(p: Any, q: Any, P: Any, Q: Any) -> Any:
    """W₁ of two distributions on the line, of which the cumulative ones are enough."""
    return ops.abs(P - Q).sum(axis=-1) * CELL


def of_densities(divergence: Callable[..., Any]) -> Callable[..., Any]:
    """The same of densities and cumulative distributions on the grid."""
    return lambda p, q, P, Q: divergence(p, q, cell=CELL)


DIVERGENCES: dict[str, Callable[..., Any]] = {
    "KL(p‖q)": of_densities(information.kl),
    "KL(q‖p)": of_densities(information.reverse_kl),
    "Jensen–Shannon": of_densities(information.js),
    "total variation": of_densities(information.tv),
    "Wasserstein": wasserstein,
}


class Gaussians(nn.Module):
    """Normal distributions N(loc, exp(log_scale)²), one a divergence (rows) and start (columns).

    >>> density, cumulative = Gaussians(np.zeros((5, 8)), np.ones((5, 8)))(np.linspace(-1, 1, 3))
    >>> density.shape, cumulative[0, 0, 1].item()
    ((5, 8, 3), 0.5)
    """

    def __init__(self, loc: Any, scale: Any) -> None:
        self.start = nn.Buffer(np.stack([loc, scale]))
        self.loc, self.log_scale = nn.Parameter(loc), nn.Parameter(np.log(scale))

    def forward(self, x: Any) -> tuple[Any, Any]:
        """Densities and cumulative distributions at points (G,): each (divergences, starts, G)."""
        normal = Normal(self.loc[..., None], ops.exp(self.log_scale)[..., None])
        return ops.exp(normal.log_prob(x)), normal.cdf(x)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 300
    batch_size: int = len(GRID)  # all of it
    lr: float = 0.05
    starts: int = 8


def data(config: Settings, rng: np.random.Generator) -> Split:
    """The grid, p's density there, and its cumulative distribution."""
    from scipy.special import ndtr

    z = (GRID - MEANS[:, None]) / STDS[:, None]  # (modes, G)
    columns = (GRID, WEIGHTS / STDS @ np.exp(-z * z / 2) / np.sqrt(2 * np.pi), WEIGHTS @ ndtr(z))
    return Split(train=columns, test=columns)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Gaussians]:
    shape = (len(DIVERGENCES), config.starts)
    loc, scale = rng.uniform(*LOCS, config.starts), rng.uniform(*SCALES, config.starts)
    model = Gaussians(*(np.broadcast_to(x, shape).copy() for x in (loc, scale)))  # the same starts for all
    # A long memory of squares would hold the steep first gradients against the flat last ones.
    optimizer = optim.Adam(model.parameters(), lr=config.lr, betas=(0.9, 0.9))
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, Gaussians], batch: Batch) -> dict[str, Tensor]:
    """Each row goes down its own divergence: the sum of all has the gradients of each."""
    x, p, P = batch  # (G,)
    q, Q = state.model(x)  # (divergences, starts, G)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    each = zip(DIVERGENCES.values(), ops.unbind(q), ops.unbind(Q), strict=True)
    values = ops.stack(*(divergence(p, q, P, Q) for divergence, q, Q in each))  # (divergences, starts)
    values.sum().backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"divergence": ops.mean(values)}


def fitted(model: Gaussians) -> dict[str, NDArray[np.float64]]:
    """(mean, standard deviation) of every start, (starts, 2), by divergence."""
    ends = np.stack([model.loc.numpy(), np.exp(model.log_scale.numpy())], axis=-1)
    return dict(zip(DIVERGENCES, ends, strict=True))


def distance(ends: NDArray[np.float64], *targets: tuple[float, float]) -> float:
    """How far the worst start is from the nearest target, in mean or standard deviation."""
    return float(np.abs(ends[:, None] - np.array(targets)).max(axis=2).min(axis=1).max())


def evaluate(state: State[Settings, Gaussians]) -> dict[str, float]:
    """How far KL(p‖q) is from p's moments, and KL(q‖p) from one mode's; `error` is the larger of both."""
    ends = fitted(state.model)
    covering = distance(ends["KL(p‖q)"], (MEAN, STD))
    seeking = distance(ends["KL(q‖p)"], *zip(MEANS.tolist(), STDS.tolist(), strict=True))
    chosen = len(np.unique(ends["KL(q‖p)"][:, 0] > 0))
    return {"error": max(covering, seeking), "covering": covering, "seeking": seeking, "modes_chosen": float(chosen)}


def baseline(data: Split) -> Mapping[str, float]:
    """What the heavier mode is off from the moments by, where the divergence is taken the wrong way round."""
    return {"the heavier mode": distance(np.array([[MEANS[0], STDS[0]]]), (MEAN, STD))}


def figure(state: State[Settings, Gaussians], path: Path) -> None:
    """For each divergence where its Gaussians end, over p; and the landscape that they went down, to its minima."""
    x, p, P = (tensor(column, device=state.device) for column in state.data.test)
    locs, scales = np.linspace(-5, 5, 61), np.linspace(0.5, 4, 41)
    here = Gaussians(*np.meshgrid(locs, scales)).to(state.device)(x)  # (41, 61, G)
    densities, starts = state.model(x)[0].numpy(), state.model.start.numpy()
    errors = evaluate(state)
    title = "KL(p‖q): {covering:.4f} from p's moments, KL(q‖p): {seeking:.4f} from a mode's".format(**errors)
    fig, panels = plotting.figure((2, len(DIVERGENCES)), size=2.7, title=title)
    for i, (name, ends) in enumerate(fitted(state.model).items()):
        top, bottom = panels[i], panels[len(DIVERGENCES) + i]
        top.fill_between(GRID, p.numpy(), color=plotting.GREY)
        top.plot(GRID, densities[i].T, color=plotting.BLUE, linewidth=1)
        top.set(title=name, xlim=(-8, 8), ylim=(0, 0.7), yticks=[], xlabel="x")
        landscape = DIVERGENCES[name](p, here[0], P, here[1]).numpy()
        levels = np.quantile(landscape, np.linspace(0, 0.9, 16))
        bottom.contourf(locs, scales, landscape, levels=levels, cmap="Blues_r")
        bottom.plot(np.stack([starts[0, i], ends[:, 0]]), np.stack([starts[1, i], ends[:, 1]]), color="grey", lw=0.5)
        bottom.plot(*starts[:, i], ".", color="black", markersize=3)
        bottom.plot(*ends.T, "o", color=plotting.ORANGE, markersize=5)
        bottom.set(xlabel="mean", xlim=(-5, 5), ylim=(0.5, 4))
    panels[0].set_ylabel("p (grey), fitted Gaussians")
    panels[len(DIVERGENCES)].set_ylabel("standard deviation")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="mode_seeking",
    row="G1",
    family="autoregressive",
    title="A Gaussian for two modes, by five divergences",
    paper="Minka, MSR-TR-2005-173",
    config=Settings(),
    metric="divergence",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="error", at_most=0.01, seeds=3),
    figure=figure,
)

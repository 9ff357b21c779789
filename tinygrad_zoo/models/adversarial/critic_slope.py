"""The slope of a penalised critic is not 1 but 1 + W / (2λ) (WGAN-GP, Gulrajani et al. 2017, arXiv 1704.00028).

On a line, a critic f between p and q, far enough apart, maximises ∫ f′ (Q − P) − λ r (|f′| − 1)², where P and Q are the
distribution functions and r is the density of x̂ = ε x + (1 − ε) y. So |f′| = 1 + |Q − P| / (2λ r) at each place, which
over r has the mean 1 + W₁ / (2λ), as ∫ |Q − P| = W₁. The gap E_p f − E_q f then overestimates W₁; divided by the mean
slope it is right to second order. Two critics are trained at once, one with a weight five times the other's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, optim, plotting
from ...data import Split
from ...grad_mode import enable_grad
from ...losses import gradient_penalty, wgan_critic
from ...optimal_transport import wasserstein_1d
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from ...transforms import grad

Array = NDArray[Any]
WEIGHTS = {"weight_10": 10.0, "weight_50": 50.0}  # the λ of each critic
P, Q = (1.2, 0.3), (-1.1, 0.5)  # mean and standard deviation of both
GRID = np.linspace(-3, 3, 301)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 512
    lr: float = 5e-3
    hidden: int = 64
    one_sided_steps: int = 300


def data(config: Settings, rng: np.random.Generator) -> Split:
    def pairs(n: int) -> tuple[Array, Array]:
        x, y = (mean + std * rng.standard_normal((n, 1)) for mean, std in (P, Q))
        return x.astype(np.float32), y.astype(np.float32)  # (n, 1) each, drawn apart

    return Split(train=pairs(20_000), test=pairs(4_000))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    sizes = (1, config.hidden, config.hidden, 1)
    model = nn.ModuleDict({name: nn.mlp(*sizes, activation=nn.Tanh, rng=rng) for name in WEIGHTS})
    adam = {name: optim.Adam(model[name].parameters(), lr=config.lr, betas=(0.0, 0.9)) for name in WEIGHTS}
    schedules = {name: optim.CosineAnnealingLR(optimizer, config.steps) for name, optimizer in adam.items()}
    return Parts(model=model, optimizers=adam, schedules=schedules)


def is_one_sided(state: State[Settings, nn.ModuleDict]) -> bool:
    """Whether slopes above 1 alone are penalised: at first."""
    return state.step < state.config.one_sided_steps


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 1)
    losses, one_sided = {}, is_one_sided(state)
    for name, weight in WEIGHTS.items():
        critic, optimizer = state.model[name], state.optimizers[name]
        optimizer.zero_grad()
        penalty = gradient_penalty(critic, x, y, rng=state.rng, one_sided=one_sided)
        losses[name] = wgan_critic(critic(x), critic(y)) + weight * penalty
        losses[name].backward()
        optimizer.step()
        state.schedules[name].step()
    return losses


def slope(critic: Any, points: Array, device: str) -> Array:
    """|f′| at each of (n, 1): (n,)"""
    with enable_grad():
        gradient = grad(lambda x: critic(x).sum())(tensor(points, "float32", device))
    steepness: Array = np.abs(gradient.numpy()[:, 0])
    return steepness


def between(data: Split, rng: np.random.Generator) -> Array:
    """Points x̂ between test pairs: (n, 1)."""
    x, y = data.test
    share = rng.random(x.shape)
    return np.asarray(share * x + (1 - share) * y)


def best_slope(data: Split, weight: float) -> Array:
    """1 + |Q − P| / (2λ r) on the grid: means over pairs; those around a place count as 1 and 1 / |x − y|."""
    x, y = (points.astype(np.float64) for points in data.test)
    around = (np.minimum(x, y) <= GRID) & (np.maximum(x, y) > GRID)  # (n, 301)
    moved, density = (around * np.sign(x - y)).mean(0), (around / np.abs(x - y)).mean(0)
    with np.errstate(invalid="ignore"):
        return np.asarray(1 + np.abs(moved) / (2 * weight * density))


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """On test points: the gap of each critic, its mean slope, their ratio, and how far that is from the exact W₁."""
    x, y = state.data.test
    exact = wasserstein_1d(x[:, 0], y[:, 0])
    metrics = {"exact": exact}
    points = between(state.data, state.rng)
    for name, weight in WEIGHTS.items():
        critic = state.model[name]
        gap = -float(wgan_critic(*(critic(tensor(part, device=state.device)) for part in (x, y))))
        mean = float(slope(critic, points, state.device).mean(dtype=np.float64))
        metrics |= {f"{name}_gap": gap, f"{name}_slope": mean, f"{name}_estimate": gap / mean}
        metrics |= {f"{name}_predicted_slope": 1 + exact / (2 * weight)}
    metrics["error"] = max(abs(metrics[f"{name}_estimate"] / exact - 1) for name in WEIGHTS)
    return metrics


def baseline(data: Split) -> Mapping[str, float]:
    """The gap as it is, of the best critic with the smaller weight: ∫ f′ (Q − P), beside W₁."""
    x, y = (np.sort(part[:, 0].astype(np.float64)) for part in data.test)
    rises = best_slope(data, min(WEIGHTS.values()))
    moved = np.abs(np.searchsorted(y, GRID) / len(y) - np.searchsorted(x, GRID) / len(x))
    return {"the gap, not divided": float(np.nansum(rises * moved) / moved.sum() - 1)}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """Both distributions under the critics; slopes along the line, learnt and best; and the estimates of W₁."""
    x, y = state.data.test
    metrics = evaluate(state)
    fig, (functions, slopes, estimates) = plotting.figure(3, title="a penalised critic's slope is 1 + W₁ / (2λ)")
    for points, label, colour in ((x, "p", plotting.BLUE), (y, "q", plotting.ORANGE)):
        functions.hist(points[:, 0], bins=60, density=True, alpha=0.35, color=colour, label=label)
    points = between(state.data, state.rng)[:, 0]
    low, high = np.quantile(points, (0.01, 0.99))
    for (name, weight), colour in zip(WEIGHTS.items(), ("#3c8d5a", "#8c4fa8"), strict=True):
        critic = state.model[name]
        values = critic(tensor(GRID[:, None], "float32", state.device)).numpy()[:, 0]
        functions.plot(GRID, values - np.interp(0, GRID, values), color=colour, label=f"f, λ = {weight:g}")
        shown = (low <= GRID) & (high >= GRID)
        learnt = slope(critic, GRID[:, None], state.device)
        mean, predicted = metrics[f"{name}_slope"], metrics[f"{name}_predicted_slope"]
        label = f"λ = {weight:g}: mean {mean:.3f}, predicted {predicted:.3f}"
        slopes.plot(GRID[shown], learnt[shown], color=colour, label=label)
        slopes.plot(GRID[shown], best_slope(state.data, weight)[shown], color=colour, linestyle=":")
        slopes.axhline(predicted, color=colour, linewidth=0.6)
        for place, key in enumerate(("gap", "estimate")):
            value = metrics[f"{name}_{key}"]
            at = place * 2.5 + (name != next(iter(WEIGHTS)))
            estimates.bar(at, value, color=colour, alpha=0.5 + 0.5 * place)
            estimates.text(at, value, f"{value:.3f}", ha="center", va="bottom", fontsize=7)
    estimates.axhline(metrics["exact"], color="black", linewidth=0.8)
    functions.set(title="critics over both distributions", xlabel="x", ylim=(-3, 3))
    slopes.set(title="slope |f′(x)|; dotted: the best", xlabel="x", ylim=(0.97, 1.27))
    title = f"exact W₁ {metrics['exact']:.3f} (line), error {metrics['error']:.1%}"
    estimates.set(title=title, ylabel="estimate of W₁", ylim=(0.9 * metrics["exact"], 1.2 * metrics["exact"]))
    estimates.set_xticks([0.5, 3], ["gap", "gap / mean slope"])
    for panel in (functions, slopes):
        panel.legend(frameon=False, fontsize=7)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="critic_slope",
    row="G10",
    family="adversarial",
    title="The slope of a penalised critic tells the Wasserstein distance",
    paper="arXiv 1704.00028",
    config=Settings(),
    metric="weight_10",
    data=data,
    build=build,
    step=step,
    phase=is_one_sided,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="error", at_most=0.03, seeds=3),
    figure=figure,
)

"""Variational inference with planar flows: a density without samples is learnt (Rezende & Mohamed, arXiv 1505.05770).

The target is known up to its normaliser, p(x) = exp(log_target(x)) / Z: two segments of a ring. A flow of K planar maps
turns draws of N(0, I) into its samples by minimising the reverse KL(q ‖ p) = E_q[log q - log p], for which it knows
log q of what it draws. That KL is content with one segment alone, at log 2; annealing, which starts from a flattened
target p^β with β near 0, makes longer flows find both. Flows of 1, 2, 4 and 8 maps are trained on the same draws.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split
from ...distributions import Independent, Normal
from ...grad_mode import each_step
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from .planar import PlanarFlow
from .transforms import Flow, Inverse

LENGTHS = (1, 2, 4, 8)  # K
SQUARE = (-4.0, 4.0, -4.0, 4.0)


def log_target(x: Any) -> Any:
    """log Z p(x) of points (N, 2): -½ ((‖x‖ - 2) / 0.4)² + log Σ± exp(-½ ((x₁ ± 2) / 0.6)²) (table 1, the first).

    >>> log_target(np.array([[2.0, 0.0], [-2.0, 0.0]])).round(6).tolist()
    [0.0, 0.0]
    """
    first, radius = x[:, 0], ops.sqrt((x * x).sum(axis=1))
    left, right = (first + 2) / 0.6, (first - 2) / 0.6
    return ops.logaddexp(-0.5 * right * right, -0.5 * left * left) - 0.5 * ops.square((radius - 2) / 0.4)


@functools.cache
def log_normaliser() -> float:
    """log Z by the trapezoid rule, to about 1e-9.

    >>> round(log_normaliser(), 4)
    1.8775
    """
    side = np.linspace(-6, 6, 401)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    return float(ops.logsumexp(log_target(grid))) + 2 * math.log(side[1] - side[0])


class SampledPlanar(Flow):
    """`length` planar maps from N(0, I) to data: sampling is their cheap direction, and `log_prob` inverts each.

    >>> flow = SampledPlanar(3, rng=np.random.default_rng(0))
    >>> x, log_q = flow.rsample_and_log_prob(5, rng=np.random.default_rng(1))
    >>> bool(np.allclose(flow.log_prob(x).numpy(), log_q.numpy(), atol=1e-5))
    True
    """

    def __init__(self, length: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        base = Independent(Normal(np.zeros(2, np.float32), np.ones(2, np.float32)), 1)
        super().__init__(base, [Inverse(PlanarFlow(2, rng=rng)) for _ in range(length)])


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_200
    batch_size: int = 256
    lr: float = 2e-2
    annealed: float = 0.4  # the share of the steps until β is 1


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Draws of the flows' base (N, 2): nothing is known of the target but its log-density."""
    draws = rng.standard_normal((60_000, 2)).astype(np.float32)
    return Split(train=(draws[:50_000],), test=(draws[50_000:],))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[nn.ModuleDict]:
    model = nn.ModuleDict({f"kl_{length}": SampledPlanar(length, rng=rng) for length in LENGTHS})
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def flows(state: State[Settings, nn.ModuleDict]) -> dict[str, SampledPlanar]:
    """By the name of their metric, in the order of LENGTHS."""
    return cast("dict[str, SampledPlanar]", dict(state.model.items()))


def log_densities(flow: Flow, z: Any) -> tuple[Any, Any, Any]:
    """x made of the draws z (N, 2); log q(x) and log Z p(x), (N,)."""
    x, log_det = flow.inverse_and_log_det(z)
    return x, flow.base.log_prob(z) - log_det, log_target(x)


def step(state: State[Settings, nn.ModuleDict], batch: Batch) -> dict[str, Tensor]:
    (z,) = batch  # (N, 2)
    optimizer = state.optimizers["adam"]
    beta = each_step(lambda: min(1.0, 0.01 + state.step / (state.config.annealed * state.config.steps)))
    optimizer.zero_grad()
    losses, metrics = [], {}
    for name, flow in flows(state).items():
        _, log_q, log_p = log_densities(flow, z)
        losses.append(ops.mean(log_q - beta * log_p))
        metrics[name] = ops.mean((log_q - log_p).detach()) + log_normaliser()  # the KL
    ops.sum(ops.stack(*losses)).backward()  # they share no parameter: each flow has its own gradient
    optimizer.step()
    state.schedules["cosine"].step()
    return metrics


def evaluate(state: State[Settings, nn.ModuleDict]) -> dict[str, float]:
    """KL(q ‖ p) of every flow, in nats; and of the longest, log Z by importance sampling and the share of its samples.

    `log_z` ≈ log Z says that q is nowhere far too small; `effective` is (Σ w)² / Σ w² / n of the weights w = Z p / q.
    """
    z = tensor(state.data.test[0], device=state.device)
    metrics = {}
    for name, flow in flows(state).items():
        _, log_q, log_p = log_densities(flow, z)
        ratio = log_q - log_p
        metrics[name] = float(ratio.mean()) + log_normaliser()
    total, squares = float(ops.logsumexp(-ratio)), float(ops.logsumexp(-2 * ratio))
    return {
        **metrics,
        "log_z": total - math.log(len(z)),
        "log_z_exact": log_normaliser(),
        "effective": math.exp(2 * total - squares) / len(z),
    }


def gaussian_kl(loc: float, log_scale: NDArray[Any]) -> float:
    """KL(N((loc, 0), diag exp(2 log_scale)) ‖ p), by Gauss-Hermite quadrature.

    >>> round(gaussian_kl(0.0, np.zeros(2)), 2)
    4.56
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    grid = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1)  # (60, 60, 2)
    points = (np.array([loc, 0.0]) + grid * np.exp(log_scale)).reshape(-1, 2)
    energy = weights @ log_target(points).reshape(60, 60) @ weights
    return float(-1 - math.log(2 * math.pi) - log_scale.sum() - energy + log_normaliser())


def baseline(data: Split) -> Mapping[str, float]:
    """Gaussians of least KL, over both segments and over one; and p itself cut down to one segment."""
    from scipy.optimize import minimize

    both = minimize(lambda x: gaussian_kl(0.0, x), np.zeros(2)).fun
    one = minimize(lambda x: gaussian_kl(x[0], x[1:]), np.array([2.0, -1.0, 0.0])).fun
    return {"Gaussian on one segment": one, "Gaussian over both": both, "one segment, exactly": math.log(2)}


def samples(state: State[Settings, nn.ModuleDict]) -> dict[str, Any]:
    return {name: flow.sample(2000, rng=state.rng) for name, flow in flows(state).items()}


def figure(state: State[Settings, nn.ModuleDict], path: Path) -> None:
    """The target, the densities of the shortest and the longest flow, samples, and the KL over K."""
    metrics, known = evaluate(state), baseline(state.data)
    models = flows(state)
    fig, (target, *densities, drawn, curve) = plotting.figure((2, 3))
    plotting.density_panel(target, lambda x: log_target(x) - log_normaliser(), SQUARE, title="target")
    for ax, length in zip(densities, (1, 2, 8), strict=True):
        flow = models[f"kl_{length}"]
        title = f"K = {length}: KL {metrics[f'kl_{length}']:.2f}"

        def log_density(x: Any, flow: Flow = flow) -> Any:
            return flow.log_prob(tensor(x, "float32", state.device)).numpy()

        plotting.density_panel(ax, log_density, SQUARE, title=title, resolution=100)
    points = models["kl_8"].sample(2000, rng=state.rng).numpy()
    plotting.scatter_panel(drawn, points, title="samples, K = 8", extent=SQUARE)
    curve.plot(LENGTHS, [metrics[f"kl_{length}"] for length in LENGTHS], "o-", color=plotting.BLUE, label="planar flow")
    for style, (name, value) in zip((":", "-.", "--"), known.items(), strict=True):
        curve.axhline(value, color=plotting.ORANGE, linestyle=style, label=name)
    curve.set(title="KL(q ‖ p), nats", xlabel="planar maps K", xscale="log", xticks=LENGTHS, ylim=(0, 4.6))
    curve.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    curve.minorticks_off()
    curve.legend(frameon=False, fontsize=7)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="planar_flow",
    row="F1",
    family="flows",
    title="Planar flows fitted to a density",
    paper="arXiv 1505.05770",
    config=Settings(),
    metric="kl_8",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="kl_8", at_most=0.5, seeds=3, text="kl_8 ≤ 0.5 (max of 3 seeds), one segment log 2"),
    figure=figure,
    samples=samples,
)

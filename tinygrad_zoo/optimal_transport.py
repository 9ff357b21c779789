"""Optimal transport: the exact solver and its certificates, Sinkhorn's algorithm, and distances between samples.

`emd`, `wasserstein_1d`, `c_transform`, `optimality` and `farkas_certificate` are those of
`algorithms.optimal_transport`: NumPy in and out. The functions here are written in ops, so that gradients flow through
them, on any device.

>>> from tinygrad_zoo import optimal_transport as ot
>>> ot.emd([1, 1], [1, 1], [[0, 3], [3, 4]]).value
4.0
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import ops
from .algorithms.optimal_transport import (
    BALANCE,
    Farkas,
    Optimality,
    Transport,
    c_transform,
    emd,
    farkas_certificate,
    optimality,
    wasserstein_1d,
)
from .backend import on_host, to_device
from .errors import ShapeError, UsageError
from .ops.random import REQUIRED, draw, generator
from .tensor import Tensor, as_tensor, tensor
from .variable import looked_at

__all__ = [
    "Farkas",
    "Optimality",
    "Sinkhorn",
    "Transport",
    "c_transform",
    "emd",
    "energy_distance",
    "farkas_certificate",
    "optimality",
    "sinkhorn",
    "sliced_wasserstein",
    "wasserstein_1d",
]


class Sinkhorn(NamedTuple):
    """What Sinkhorn's algorithm reached, as Tensors; neither `cost` nor `regularised` is the exact distance.

    `plan` (n, m) has column sums q, and row sums that miss p by `violation` altogether. `cost` = ⟨plan, D⟩ is at least
    the exact distance as far as the row sums are met. `regularised` = p·f + q·g is the dual bound on
    min ⟨Γ, D⟩ + ε KL(Γ ‖ p qᵀ), which grows with every iteration, and has the gradient `plan` in D at the end.

    >>> found = sinkhorn([1.0], [0.5, 0.5], tz.tensor([[1.0, 3.0]]), epsilon=0.1)
    >>> found.plan.numpy().round(3).tolist(), round(found.cost.item(), 3), round(found.violation.item(), 3)
    ([[0.5, 0.5]], 2.0, 0.0)
    """

    plan: Any
    cost: Any
    regularised: Any
    potentials: tuple[Any, Any]
    violation: Any


def sinkhorn(p: Any, q: Any, D: Any, *, epsilon: float, iterations: int = 100, g: Any = None) -> Sinkhorn:
    """Entropic transport: Γ = p qᵀ exp((f + g − D) / ε) with f and g made to meet p and q in turn (arXiv 1306.0895).

    In the log domain: f = −ε log Σ q exp((g − D) / ε), the soft c-transform, and g likewise, `iterations` times each,
    so that a small ε overflows nothing. Masses may be 0. Small ε take many iterations (of order max D / ε); beginning
    with the potentials of a larger one, `g`, saves most of them. Gradients flow through all iterations.

    p (n,) and q (m,) are >= 0 with one sum (up to rounding), D is (n, m). Raises ShapeError; and UsageError for other
    masses, if they are on the host: those on a device are not looked at.

    >>> found = sinkhorn([0.5, 0.5], [0.5, 0.5], tz.tensor([[0.0, 1.0], [1.0, 0.0]]), epsilon=0.1)
    >>> found.plan.numpy().round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    cost = as_tensor(D)
    cost = cost if cost.dtype.kind == "f" else cost.to("float64")  # and so are masses that are given as lists
    p, q = (x if isinstance(x, Tensor) else tensor(x, cost.dtype, cost.device) for x in (p, q))
    if p.ndim != 1 or q.ndim != 1 or cost.shape != (*p.shape, *q.shape) or not cost.size:
        raise ShapeError(f"sinkhorn: expected p (n,), q (m,) and D (n, m), got {p.shape}, {q.shape} and {cost.shape}")
    if not epsilon > 0 or iterations < 1:
        raise UsageError(
            f"sinkhorn: expected epsilon > 0 and iterations >= 1, got {epsilon} and {iterations}; without "
            "regularisation call emd"
        )
    masses = looked_at(p), looked_at(q)
    if all(map(on_host, masses)):
        _check_masses(*masses)
    log_p, log_q, scaled = ops.log(p), ops.log(q), cost / epsilon
    v = 0.0 * q if g is None else as_tensor(g) / epsilon  # potentials in units of ε
    if v.shape != q.shape:
        raise ShapeError(f"sinkhorn: expected g of the shape of q, {q.shape}, got {v.shape}")
    for _ in range(iterations):
        u = -ops.logsumexp(log_q + v - scaled, axis=1)  # (n,)
        v = -ops.logsumexp((log_p + u)[:, None] - scaled, axis=0)  # (m,)
    plan = p[:, None] * q * ops.exp(u[:, None] + v - scaled)
    f, g = epsilon * u, epsilon * v
    return Sinkhorn(
        plan,
        (plan * cost).sum(),
        (p * f).sum() + (q * g).sum(),
        (f, g),
        ops.abs(plan.sum(axis=1) - p).sum(),
    )


def _check_masses(p: Any, q: Any) -> None:
    """UsageError for masses that are negative or not finite, and for two sums."""
    for name, masses in (("p", p), ("q", q)):
        if not (masses.min() >= 0 and masses.max() < np.inf):
            raise UsageError(f"sinkhorn: expected finite masses {name} >= 0, got {masses.min():g} to {masses.max():g}")
    total, wanted = (float(masses.sum(dtype=np.float64)) for masses in (p, q))
    rounding = (len(p) + len(q)) * max(np.finfo(x.dtype).eps for x in (p, q, np.zeros(1)) if x.dtype.kind == "f")
    if abs(total - wanted) > max(BALANCE, rounding) * max(total, wanted):
        raise UsageError(
            f"sinkhorn: p sums to {total} and q to {wanted}: no plan moves one into the other; write p / p.sum() and "
            "q / q.sum()"
        )


# ---- between samples
def sliced_wasserstein(
    x: Any, y: Any, *, p: float = 1.0, n_projections: int = 128, rng: np.random.Generator = REQUIRED
) -> Any:
    """(mean over directions θ of W_p(x θ, y θ)ᵖ)^(1/p) of samples (n, d) and (m, d): on a line, mass keeps its order.

    It is 0 for equal distributions alone, and at most W_p; the directions are drawn from `rng`. Sorting the coordinates
    of points one by one instead would compare marginals only. Raises ShapeError, UsageError.

    >>> x = tz.tensor([[0.0, 0.0], [1.0, 1.0]])
    >>> sliced_wasserstein(x, x.flip(0), rng=np.random.default_rng(0)).item()
    0.0
    """
    x, y = _samples("sliced_wasserstein", x, y)
    if p < 1 or n_projections < 1:
        raise UsageError(f"sliced_wasserstein: expected p >= 1 and n_projections >= 1, got {p} and {n_projections}")
    (n, dim), m = x.shape, len(y)

    def on_sphere(rng: np.random.Generator) -> Any:
        normals = rng.standard_normal((dim, n_projections))
        return to_device(np.asarray(normals / np.linalg.norm(normals, axis=0), x.dtype), x.device)

    directions = Tensor(draw(generator("sliced_wasserstein", rng), on_sphere))  # (d, directions)
    # Quantiles change at multiples of 1/n and of 1/m; in units of 1/(n m) these are whole.
    ends = np.union1d(np.arange(1, n + 1) * m, np.arange(1, m + 1) * n)
    apart = _quantiles(x, directions, (ends - 1) // m) - _quantiles(y, directions, (ends - 1) // n)
    shares = tensor(np.diff(ends, prepend=0)[:, None] / (n * m), x.dtype, x.device)
    if p == 1:
        return (shares * ops.abs(apart)).sum(axis=0).mean()
    return ((shares * ops.abs(apart) ** p).sum(axis=0).mean()) ** (1 / p)


def _quantiles(x: Any, directions: Any, ranks: Any) -> Any:
    """The points of those ranks along each direction: (ranks, directions)."""
    return ops.sort(x @ directions, axis=0).values[tensor(ranks, "int64", x.device)]


def energy_distance(x: Any, y: Any, *, unbiased: bool = True) -> Any:
    """2 E|x − y| − E|x − x'| − E|y − y'| of samples (n, d) and (m, d): 0 for equal distributions alone, else above 0.

    Without a point's distance to itself it is unbiased, and for near distributions may be below 0; with it (`unbiased`
    false, the distance of the two sets of points) it never is. O((n + m)² d). Raises ShapeError, UsageError.

    >>> energy_distance(tz.tensor([[0.0], [1.0]]), tz.tensor([[0.0], [1.0]]), unbiased=False).item()
    0.0
    """
    x, y = _samples("energy_distance", x, y)
    if unbiased and min(len(x), len(y)) < 2:
        raise UsageError(f"energy_distance: unbiased takes two points of each, got {len(x)} and {len(y)}")
    within = [ops.cdist(z, z).sum() / (len(z) * (len(z) - unbiased)) for z in (x, y)]
    return 2 * ops.cdist(x, y).mean() - within[0] - within[1]


def _samples(caller: str, x: Any, y: Any) -> tuple[Any, Any]:
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or not (x.size and y.size):
        raise ShapeError(f"{caller}: expected samples (n >= 1, d) and (m >= 1, d), got {x.shape} and {y.shape}")
    return x, y

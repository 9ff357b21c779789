"""Linear algebra over the last two axes; the axes before them are a batch, and broadcast."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError
from ..grad_mode import state
from ..kernels import gemm
from ..variable import Array, Variable
from .axes import axis_of
from .precision import lowered, raised
from .sampling import sample


def transposed(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def product(x: Any, y: Any) -> Any:
    """x @ y in a rule: of arrays without the op's call around it."""
    return matmul(x, y) if isinstance(x, Variable) or isinstance(y, Variable) else multiplied(x, y)


def multiplied(x: Array, y: Array, bias: Array | None = None) -> Array:
    """x @ y + bias of arrays; under `autocast` of float32 arrays in 16 bits."""
    if state.precision is None or x.dtype != np.float32 or y.dtype != np.float32:
        return gemm.matmul(x, y, bias)
    return raised(gemm.matmul(lowered(x), lowered(y), lowered(bias)))


def _matmul_left(g: Any, out: Any, x: Any, y: Any) -> Any:
    if y.ndim == 1:
        return g[..., None] * y
    if x.ndim == 1:
        return product(g[..., None, :], transposed(y))[..., 0, :]
    return product(g, transposed(y))


def _matmul_right(g: Any, out: Any, x: Any, y: Any) -> Any:
    if x.ndim == 1:
        return g * x if y.ndim == 1 else x[:, None] * g[..., None, :]
    if y.ndim == 1:
        return product(transposed(x), g[..., None])[..., 0]
    if y.ndim == 2 and x.ndim > 2:  # one product instead of a batch of them to be summed
        n = math.prod(x.shape[:-1])
        return product(transposed(x.reshape(n, x.shape[-1])), g.reshape(n, g.shape[-1]))
    return product(transposed(x), g)


@primitive(
    vjp=(_matmul_left, _matmul_right),
    samples=lambda r: [
        (r(2, 3), r(3, 4)),
        (r(5, 2, 3), r(3, 4)),
        (r(2, 1, 2, 3), r(4, 3, 2)),
        (r(3), r(3)),
        (r(3), r(2, 3, 2)),
        (r(2, 2, 3), r(3)),
        (r(0, 3), r(3, 2)),
        (r(2, 2, 0), r(0, 3)),
    ],
    reference=np.matmul,
)
def matmul(x: Array, y: Array) -> Array:
    """x @ y: (…, n, k) and (…, k, m) → (…, n, m); a vector stands for a row on the left, a column on the right.

    >>> (tz.tensor([[1.0, 2.0]]) @ tz.tensor([[3.0], [4.0]])).tolist()
    [[11.0]]
    """
    try:
        return multiplied(x, y)
    except ValueError as error:
        raise ValueError(
            f"the last axis of x, {x.shape[-1:]}, must be as long as the last but one of y (or its only one), "
            f"{y.shape[-2:][:1]}, and the axes before them must broadcast: write x.mT or y.mT to transpose"
        ) from error


def _linear_rule(g: Any, out: Any, x: Any, weight: Any, bias: Any, needs: Any) -> list[Any]:
    gx = product(g, weight) if needs[0] else None
    if x.ndim != 2:
        n = math.prod(x.shape[:-1])
        x, g = x.reshape(n, x.shape[-1]), g.reshape(n, g.shape[-1])
    if needs[1] and not isinstance(g, Variable) and not isinstance(x, Variable) and state.precision is None:
        return [gx, *gemm.weight_gradient(g, x, needs[2])]
    return [gx, product(transposed(g), x) if needs[1] else None, g.sum(axis=0) if needs[2] else None]


@primitive(
    vjp=_linear_rule,
    samples=lambda r: [(r(2, 3), r(4, 3), r(4)), (r(2, 2, 3), r(1, 3), None), (r(3), r(2, 3), r(2))],
    reference=lambda x, weight, bias: np.einsum("...i,oi->...o", x, weight) + (0 if bias is None else bias),
)
def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x @ weightᵀ + bias: (…, in), (out, in), (out) → (…, out).

    >>> tz.linear(tz.tensor([[1.0, 2.0]]), tz.tensor([[3.0, 4.0]]), tz.tensor([0.5])).tolist()
    [[11.5]]
    """
    if weight.ndim != 2 or x.ndim == 0 or x.shape[-1] != weight.shape[1]:
        raise ShapeError(f"linear: expected x of (…, in) and weight of (out, in), got {x.shape} and {weight.shape}")
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ShapeError(f"linear: expected a bias of shape {weight.shape[:1]}, got {bias.shape}")
    rows = x if x.ndim <= 2 else x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    out = multiplied(rows, weight.T, bias)
    return out if x.ndim <= 2 else out.reshape(*x.shape[:-1], len(weight))


def _vectors(x: Any, y: Any, op: str) -> None:
    if x.ndim != 1 or y.ndim != 1:
        raise ShapeError(f"{op}: expected two vectors, got shapes {x.shape} and {y.shape}")


@primitive(
    vjp=(lambda g, out, x, y: g @ y, lambda g, out, x, y: x @ g),
    samples=lambda r: [(r(2), r(3)), (r(0), r(3)), (r(3), r(3))],
    reference=np.outer,
)
def outer(x: Array, y: Array) -> Array:
    """out[i, j] = x[i] y[j], of two vectors.

    >>> tz.outer(tz.tensor([1.0, 2.0]), tz.tensor([3.0, 4.0])).tolist()
    [[3.0, 4.0], [6.0, 8.0]]
    """
    _vectors(x, y, "outer")
    return x[:, None] * y


@primitive(
    vjp=(lambda g, out, x, y: g * y, lambda g, out, x, y: g * x),
    samples=lambda r: [(r(3), r(3)), (r(1), r(1)), (r(0), r(0))],
    reference=np.dot,
)
def dot(x: Array, y: Array) -> Array:
    """Σ x y of two vectors of one length; matrices are multiplied by `matmul`.

    >>> tz.dot(tz.tensor([1.0, 2.0]), tz.tensor([3.0, 4.0])).item()
    11.0
    """
    _vectors(x, y, "dot")
    if x.shape != y.shape:
        raise ShapeError(f"dot: expected two vectors of one length, got {len(x)} and {len(y)}")
    return gemm.matmul(x, y)


def _cross_rule(g: Any, out: Any, x: Any, y: Any, needs: Any, axis: int) -> list[Any]:
    return [cross(y, g, axis=axis) if needs[0] else None, cross(g, x, axis=axis) if needs[1] else None]


@primitive(
    vjp=_cross_rule,
    samples=lambda r: [
        sample(r(3), r(3)),
        sample(r(2, 3), r(3)),
        sample(r(3, 2, 1), r(3, 1, 4), axis=0),
        sample(r(0, 3), r(0, 3)),
    ],
    reference=lambda x, y, axis: np.cross(x, y, axis=axis),
)
def cross(x: Array, y: Array, *, axis: int = -1) -> Array:
    """x × y of the vectors of three entries that lie along `axis`.

    >>> tz.cross(tz.tensor([1.0, 0.0, 0.0]), tz.tensor([0.0, 1.0, 0.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    if (x.ndim != y.ndim and axis >= 0) or any(not a.ndim or a.shape[axis_of(a, axis)] != 3 for a in (x, y)):
        raise ShapeError(f"cross: expected 3 entries along axis {axis} of both, got shapes {x.shape} and {y.shape}")
    return namespace(x).cross(x, y, axis=axis)


def _interleaved(x: Any, y: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes in which axis i of x and axis i of y lie beside each other: (a, 1, b, 1, …) and (1, c, 1, d, …)."""
    n = max(x.ndim, y.ndim)
    xs, ys = (1,) * (n - x.ndim) + x.shape, (1,) * (n - y.ndim) + y.shape
    return tuple(k for size in xs for k in (size, 1)), tuple(k for size in ys for k in (1, size))


def _kron_rule(g: Any, out: Any, x: Any, y: Any, needs: Any) -> list[Any]:
    xs, ys = _interleaved(x, y)
    g = g.reshape(tuple(n * m for n, m in zip(xs, ys, strict=True)))
    odd, even = tuple(range(1, len(xs), 2)), tuple(range(0, len(xs), 2))
    gx = (g * y.reshape(ys)).sum(axis=odd).reshape(x.shape) if needs[0] else None
    return [gx, (g * x.reshape(xs)).sum(axis=even).reshape(y.shape) if needs[1] else None]


@primitive(
    vjp=_kron_rule,
    samples=lambda r: [(r(3, 1), r(3, 2)), (r(2, 1), r(2, 2, 1)), (r(), r(3)), (r(0, 1), r(2))],  # any shapes fit
    reference=np.kron,
)
def kron(x: Array, y: Array) -> Array:
    """The Kronecker product: y in place of every entry of x, times that entry.

    >>> tz.kron(tz.tensor([1.0, 10.0]), tz.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0, 10.0, 20.0]
    """
    xs, ys = _interleaved(x, y)
    return (x.reshape(xs) * y.reshape(ys)).reshape(tuple(n * m for n, m in zip(xs[::2], ys[1::2], strict=True)))

"""The p-norm of vectors. Its derivative is 0 at the zero vector, and in every entry that is 0 where p < 2."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import DTypeError, ShapeError, UsageError
from ..variable import Array
from .axes import Axis, axes_of, kept
from .comparison import logical_or
from .elementwise import abs, quotient, sign, where
from .precision import half_in_single
from .sampling import Draw, sample


def _order_of(p: Any) -> float:
    if p is None or p == "fro":
        return 2.0
    if isinstance(p, str):
        raise UsageError(f"norm: expected p='fro' or a number, got {p!r}; norms of matrices as such: matrix_norm")
    return float(p)


def _rule(g: Any, out: Any, x: Any, p: Any, axis: Axis, keepdims: bool) -> Any:
    p, g, out = _order_of(p), kept(g, x, axis), kept(out, x, axis)
    if p == 0:
        return None
    if p == 1:
        return g * sign(x)
    if math.isinf(p):
        ties = abs(x) == out
        share = g / ties.sum(axis=axes_of(x, axis), keepdims=True)
        return where(ties, sign(x) * share.astype(g.dtype), 0)
    at_zero = out == 0
    if p == 2:
        return x * quotient(g, out, at_zero)
    flat = logical_or(x == 0, at_zero)
    return g * where(flat, 0, sign(x) * (where(flat, 1, abs(x)) / where(at_zero, 1, out)) ** (p - 1))


def _samples(r: Draw) -> list[Any]:
    return [
        sample(r(2, 3)),
        sample(r(3, 2), axis=0),
        sample(r(2, 3, 2), axis=(0, -1), keepdims=True),
        sample(r.nonzero(4), p=1),
        sample(r.nonzero(2, 3), p=3, axis=1),
        sample(r.nonzero(2, 3), p=1.5),
        sample(r.nonzero(2, 3), p=0.5, axis=-1, keepdims=True),
        sample(r.nonzero(3), p=-2),
        sample(r.nonzero(3), p=0),
        sample(r.distinct(5) + 2.0, p=math.inf),
        sample(r.distinct(2, 3) + 2.0, p=-math.inf, axis=1),
        sample(r.nonzero(), axis=0),
        sample(r(0, 2), axis=0),
    ]


def _reference(x: Any, p: Any, axis: Axis, keepdims: bool) -> Any:
    return np.linalg.vector_norm(x, ord=2 if p == "fro" else p, axis=axes_of(x, axis), keepdims=keepdims)


@primitive(vjp=(_rule,), samples=_samples, reference=_reference)
@half_in_single
def norm(x: Array, *, p: float | str = "fro", axis: Axis = None, keepdims: bool = False) -> Array:
    """(Σ |x|ᵖ)^(1/p) over `axis`; the largest |x| for p = inf, the smallest for -inf, how many are not 0 for p = 0.

    >>> tz.norm(tz.tensor([3.0, -4.0])).item()
    5.0
    """
    order, axes, xp = _order_of(p), axes_of(x, axis), namespace(x)
    if x.dtype.kind != "f":
        raise DTypeError(f"norm: expected floating-point values, got {x.dtype}; write x.to('float32')")
    if (order < 0 or math.isinf(order)) and not math.prod(x.shape[d] for d in axes):
        raise ShapeError(f"norm: the shape {x.shape} has no values along axis={axis}, which have no norm of p={p}")
    size = xp.absolute(x)
    with errstate(x):
        if math.isinf(order):
            return size.max(axis=axes, keepdims=keepdims) if order > 0 else size.min(axis=axes, keepdims=keepdims)
        if order == 0:
            return (size != 0).sum(axis=axes, keepdims=keepdims).astype(x.dtype)
        if order == 1:
            return size.sum(axis=axes, keepdims=keepdims)
        if order == 2:
            return xp.sqrt((size * size).sum(axis=axes, keepdims=keepdims))
        return (size**order).sum(axis=axes, keepdims=keepdims) ** (1 / order)


vector_norm = norm

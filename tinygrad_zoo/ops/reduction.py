"""Ops that reduce axes: `axis=None` means all of them, `axis=()` none, as in NumPy.

float16 is added and multiplied in float32, integers and booleans in int64. A NaN makes the result NaN, as in NumPy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import DTypeError, ShapeError, UsageError
from ..variable import Array
from .axes import Axis, as_given, as_line, axes_of, axis_of, kept, reduced
from .cumulative import above_minus_inf, cumprod, shifted
from .elementwise import quotient, where
from .exponential import exp
from .precision import accumulators, half_in_single, widened
from .sampling import sample, to_distinct
from .shape import broadcast_to, flip, movedim


def _spread(g: Any, x: Any, axis: Axis) -> Any:
    """`g` repeated over the reduced axes, in the shape of `x`."""
    return broadcast_to(kept(g, x, axis), shape=x.shape)


def _count(x: Any, axis: Axis) -> int:
    return math.prod(x.shape[a] for a in axes_of(x, axis))


def _summed(x: Array, axis: Axis, keepdims: bool, dtype: Any, op: str) -> tuple[Array, Any]:
    """Σ x in a dtype that has room for it, and the dtype to return it in."""
    wide, out = accumulators(x, dtype, op)
    return x.sum(axis=as_given(x, axis), keepdims=keepdims, dtype=wide), out


def _samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3)),
        sample(r(2, 3), axis=1),
        sample(r(2, 3, 2), axis=(0, -1), keepdims=True),
        sample(r(3), axis=0, keepdims=True),
    ]


def _sum_samples(r: Any) -> list[Any]:
    return [
        *_samples(r),
        sample(r()),
        sample(r(), axis=0),
        sample(r(0, 2), axis=0),
        sample(r(2, 3), axis=np.int64(1)),
        sample(r(2, 3), axis=()),
    ]


@primitive(
    vjp=(lambda g, out, x, axis, keepdims, dtype: _spread(g, x, axis),),
    samples=_sum_samples,
    reference=lambda x, axis, keepdims, dtype: np.sum(x, axis=axis, keepdims=keepdims),
)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """Σ x over `axis`, in `dtype` where one is given.

    >>> tz.sum(tz.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()
    [4.0, 6.0]
    """
    total, out = _summed(x, axis, keepdims, dtype, "sum")
    return total if total.dtype is out else total.astype(out)


def _divided(total: Array, count: Any, out: Any, dtype: Any, op: str) -> Array:
    """A mean from its sum, in the dtype `out`; the mean of integers is float64."""
    if dtype is not None and out.kind != "f":
        raise DTypeError(f"{op}: expected a floating-point dtype, got {out}")
    made = total / count
    return made if out.kind != "f" or made.dtype is out else made.astype(out)


@primitive(
    vjp=(lambda g, out, x, axis, keepdims, dtype: _spread(g * (1 / (_count(x, axis) or 1)), x, axis),),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=np.int64(1))],
    reference=lambda x, axis, keepdims, dtype: np.mean(x, axis=axis, keepdims=keepdims),
)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """Σ x / n over `axis`, in `dtype` where one is given; NaN where there is nothing to average.

    >>> tz.mean(tz.tensor([1.0, 2.0, 6.0])).item()
    3.0
    """
    total, out = _summed(x, axis, keepdims, dtype, "mean")
    with errstate(x):
        return _divided(total, _count(x, axis), out, dtype, "mean")


# ---- products
def _products_of_others(x: Any, axis: Axis) -> Any:
    """For each value the product of the others over `axis`: those before it times those behind it, no division."""
    axes = axes_of(x, axis)
    behind = tuple(range(x.ndim - len(axes), x.ndim))
    moved = movedim(widened(x), source=axes, destination=behind)
    line = moved.reshape((*reduced(x, axis, False), _count(x, axis)))
    others = _product_before(line) * flip(_product_before(flip(line, axis=-1)), axis=-1)
    return movedim(others.reshape(moved.shape), source=behind, destination=axes)


def _product_before(x: Any) -> Any:
    """For each value the product of those before it on the last axis."""
    return cumprod(shifted(x, 1.0), axis=-1)


def _prod_samples(r: Any) -> list[Any]:
    zeros = r(4, 3)
    zeros[1, 0] = zeros[1, 1] = zeros[2, 1] = 0.0  # columns with one, two and no zeros
    return [*_samples(r), sample(zeros, axis=0), sample(r()), sample(r(), axis=0), sample(r(2, 0), axis=1)]


@primitive(
    vjp=(lambda g, out, x, axis, keepdims, dtype: kept(g, x, axis) * _products_of_others(x, axis),),
    samples=_prod_samples,
    reference=lambda x, axis, keepdims, dtype: np.prod(x, axis=axis, keepdims=keepdims),
)
def prod(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """Π x over `axis`, in `dtype` where one is given; the gradient is right at zeros too, to every order.

    >>> tz.prod(tz.tensor([2.0, 3.0, 4.0])).item()
    24.0
    """
    wide, out = accumulators(x, dtype, "prod")
    with errstate(x):
        return x.prod(axis=as_given(x, axis), keepdims=keepdims, dtype=wide).astype(out)


# ---- spread
def _is_constant(x: Any, axis: Axis) -> Any:
    """Whether all values are equal: their computed deviation need not be exactly 0."""
    return x.max(axis=axis, keepdims=True) == x.min(axis=axis, keepdims=True)


def _deviation(x: Any, axis: Axis) -> Any:
    return x - x.mean(axis=axis, keepdims=True)


def _freedom(x: Any, axis: Axis, correction: float | None, op: str = "var") -> float:
    """The number of values less the correction."""
    n, correction = _count(x, axis), 1 if correction is None else correction
    if n <= correction:
        raise UsageError(f"{op}: {n} values cannot be corrected by {correction}; pass correction=0 for the plain mean")
    return n - correction


def _variance(x: Array, axis: Axis, correction: float | None, keepdims: bool, op: str) -> Array:
    n, axes = _freedom(x, axis, correction, op), axes_of(x, axis)
    with errstate(x):
        return ((x - x.mean(axis=axes, keepdims=True)) ** 2).sum(axis=axes, keepdims=keepdims) / n


@primitive(
    vjp=(
        lambda g, out, x, axis, correction, keepdims: (
            kept(g, x, axis) * (2 / _freedom(x, axis, correction)) * _deviation(x, axis)
        ),
    ),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=1, correction=0), sample(r(5), correction=0.5)],
    reference=lambda x, axis, correction, keepdims: np.var(x, axis=axis, ddof=correction, keepdims=keepdims),
)
@half_in_single
def var(x: Array, *, axis: Axis = None, correction: float | None = 1, keepdims: bool = False) -> Array:
    """Σ (x - mean)² / (n - correction): unbiased by default, as in PyTorch; NumPy's is correction=0.

    >>> tz.var(tz.tensor([1.0, 3.0])).item()
    2.0
    """
    return _variance(x, axis, correction, keepdims, "var")


@primitive(
    vjp=(
        lambda g, out, x, axis, correction, keepdims: (
            quotient(kept(g, x, axis), kept(out, x, axis), _is_constant(x, axis))
            * (1 / _freedom(x, axis, correction))
            * _deviation(x, axis)
        ),
    ),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=1, correction=0), sample(r(5), correction=0.5)],
    reference=lambda x, axis, correction, keepdims: np.std(x, axis=axis, ddof=correction, keepdims=keepdims),
    repair=lambda x: (x + np.arange(x.size).reshape(x.shape),),
)
@half_in_single
def std(x: Array, *, axis: Axis = None, correction: float | None = 1, keepdims: bool = False) -> Array:
    """The square root of `var`; its derivative is 0 where all values are equal.

    >>> tz.std(tz.tensor([1.0, 3.0]), correction=0).item()
    1.0
    """
    return namespace(x).sqrt(_variance(x, axis, correction, keepdims, "std"))


# ---- extremes
def _with_values(op: str, x: Array, axis: Axis) -> Axis:
    """`axis`, if there is a value along it."""
    if not x.size and not _count(x, axis):
        raise ShapeError(f"{op}: the shape {x.shape} has no values along axis={axis}, so none of them is the {op}imum")
    return as_given(x, axis)


def _extreme_rule(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    ties = x == kept(out, x, axis)
    share = kept(g, x, axis) / ties.sum(axis=axis, keepdims=True)
    return where(ties, share.astype(g.dtype), 0)


def _distinct_samples(r: Any) -> list[Any]:
    return [
        sample(r.distinct(2, 3)),
        sample(r.distinct(2, 3), axis=1),
        sample(r.distinct(2, 3, 2), axis=(0, -1), keepdims=True),
        sample(r.distinct(), axis=0),
        sample(r.distinct(0, 2), axis=1),
    ]


@primitive(
    vjp=(_extreme_rule,),
    samples=_distinct_samples,
    reference=lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims),
    repair=to_distinct,
)
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The largest value over `axis`; ties share the gradient evenly (PyTorch's `amax`).

    >>> tz.max(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [5.0, 3.0]
    """
    return x.max(axis=_with_values("max", x, axis), keepdims=keepdims)


amax = max


@primitive(
    vjp=(_extreme_rule,),
    samples=_distinct_samples,
    reference=lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims),
    repair=to_distinct,
)
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The smallest value over `axis`; ties share the gradient evenly (PyTorch's `amin`).

    >>> tz.min(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [1.0, 2.0]
    """
    return x.min(axis=_with_values("min", x, axis), keepdims=keepdims)


amin = min


def _place_samples(r: Any) -> list[Any]:
    return [
        sample(r.distinct(2, 3)),
        sample(r.distinct(2, 3), axis=1, keepdims=True),
        sample(r.distinct(2, 3), keepdims=True),
        sample(r.distinct(3), axis=-1),
        sample(r.distinct(), axis=0),
    ]


def _place(x: Array, axis: int | None, keepdims: bool, name: str) -> Array:
    """argmax or argmin."""
    line, d = (x.reshape(-1), 0) if axis is None else (as_line(x), axis_of(x, axis))
    at = getattr(namespace(x), f"arg{name}")(line, axis=_with_values(name, line, d))
    return at.reshape(reduced(x, axis, keepdims))


@primitive(
    vjp=None,
    samples=_place_samples,
    reference=lambda x, axis, keepdims: np.argmax(x, axis=axis, keepdims=keepdims),
)
def argmax(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first largest value.

    >>> tz.argmax(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [1, 0]
    """
    return _place(x, axis, keepdims, "max")


@primitive(
    vjp=None,
    samples=_place_samples,
    reference=lambda x, axis, keepdims: np.argmin(x, axis=axis, keepdims=keepdims),
)
def argmin(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first smallest value.

    >>> tz.argmin(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [0, 1]
    """
    return _place(x, axis, keepdims, "min")


def _boolean_samples(r: Any) -> list[Any]:
    return [
        sample(r.boolean(2, 3)),
        sample(r.boolean(2, 3), axis=1, keepdims=True),
        sample(r.boolean(2, 3), axis=(0, 1)),
        sample(r.boolean(), axis=0),
        sample(r.boolean(0, 2), axis=0),
    ]


@primitive(vjp=None, samples=_boolean_samples, reference=lambda x, axis, keepdims: np.all(x, axis, keepdims=keepdims))
def all(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every value is true (non-zero).

    >>> tz.all(tz.tensor([True, False])).item()
    False
    """
    return x.all(axis=as_given(x, axis), keepdims=keepdims)


@primitive(vjp=None, samples=_boolean_samples, reference=lambda x, axis, keepdims: np.any(x, axis, keepdims=keepdims))
def any(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether some value is true (non-zero).

    >>> tz.any(tz.tensor([True, False])).item()
    True
    """
    return x.any(axis=as_given(x, axis), keepdims=keepdims)


@primitive(
    vjp=None,
    samples=lambda r: [sample(r.integers(2, 2, 3)), sample(r(2, 3), axis=1), sample(r.boolean(2, 3), axis=(0, 1))],
    reference=lambda x, axis, keepdims: np.asarray(np.count_nonzero(x, axis, keepdims=keepdims)),
)
def count_nonzero(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """How many values are not zero; a NaN is not.

    >>> tz.count_nonzero(tz.tensor([0.0, 2.0, -1.0])).item()
    2
    """
    return (x != 0).sum(axis=as_given(x, axis), keepdims=keepdims, dtype=np.int64)


def _logsumexp_reference(x: Any, axis: Axis, keepdims: bool) -> Any:
    from scipy.special import logsumexp as reference

    return reference(x, axis=axis, keepdims=keepdims)


@primitive(
    vjp=(lambda g, out, x, axis, keepdims: kept(g, x, axis) * exp(x - kept(above_minus_inf(out), x, axis)),),
    samples=lambda r: [*_samples(r), sample(100 * r(2, 3), axis=0)],
    reference=_logsumexp_reference,
)
@half_in_single
def logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """log Σ exp(x), safe for large x; -inf, with gradient 0, where every x is -inf.

    >>> tz.logsumexp(tz.tensor([1000.0, 1000.0])).item() - 1000 < 0.7
    True
    """
    xp, axes = namespace(x), axes_of(x, axis)
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    if not _count(x, axes):
        return xp.full_like(x.sum(axis=axes, keepdims=keepdims), -math.inf)
    peak = x.max(axis=axes, keepdims=True)
    peak = xp.where(xp.isfinite(peak), peak, 0)
    with errstate(x):
        out = xp.log(xp.exp(x - peak).sum(axis=axes, keepdims=True)) + peak
    return out.reshape(reduced(x, axis, keepdims))


# ---- without NaN
@primitive(
    vjp=(lambda g, out, x, axis, keepdims, dtype: where(x == x, _spread(g, x, axis), 0),),
    samples=_samples,
    reference=lambda x, axis, keepdims, dtype: np.nansum(x, axis=axis, keepdims=keepdims),
)
def nansum(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """Σ x over `axis`, without the NaNs; they get gradient 0.

    >>> tz.nansum(tz.tensor([1.0, float("nan"), 2.0])).item()
    3.0
    """
    return sum(namespace(x).where(x == x, x, 0), axis=axis, keepdims=keepdims, dtype=dtype)


def _nanmean_rule(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool, dtype: Any) -> Any:
    held = x == x
    share = kept(g, x, axis) / held.sum(axis=axes_of(x, axis), keepdims=True)
    return where(held, share.astype(g.dtype), 0)


@primitive(
    vjp=(_nanmean_rule,),
    samples=_samples,
    reference=lambda x, axis, keepdims, dtype: np.nanmean(x, axis=axis, keepdims=keepdims),
)
def nanmean(x: Array, *, axis: Axis = None, keepdims: bool = False, dtype: Any = None) -> Array:
    """The mean over `axis` of what is no NaN; NaN where nothing is.

    >>> tz.nanmean(tz.tensor([1.0, float("nan"), 2.0])).item()
    1.5
    """
    held = x == x
    total, out = _summed(namespace(x).where(held, x, 0), axis, keepdims, dtype, "nanmean")
    with errstate(x):
        count = namespace(x).asarray(held).sum(axis=axes_of(x, axis), keepdims=keepdims)
        return _divided(total, count, out, dtype, "nanmean")

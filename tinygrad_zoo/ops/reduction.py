"""Ops that reduce axes: `axis=None` means all of them, and negative axes count from the end."""

from __future__ import annotations

import math
import operator
from typing import Any, TypeAlias

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import UsageError
from ..variable import Array
from .comparison import isfinite
from .elementwise import where
from .exponential import exp
from .sampling import sample
from .shape import broadcast_to

Axis: TypeAlias = int | tuple[int, ...] | None


def _axes(x: Any, axis: Axis) -> tuple[int, ...]:
    if axis is None or not x.ndim:  # NumPy lets a 0-d array be reduced over axis 0
        return tuple(range(x.ndim))
    axes = axis if isinstance(axis, (tuple, list)) else (axis,)
    return tuple(operator.index(a) % x.ndim for a in axes)


def _kept(g: Any, x: Any, axis: Axis) -> Any:
    """`g` with the reduced axes back as axes of size 1."""
    axes = _axes(x, axis)
    return g.reshape(tuple(1 if i in axes else n for i, n in enumerate(x.shape)))


def _spread(g: Any, x: Any, axis: Axis) -> Any:
    """`g` repeated over the reduced axes, in the shape of `x`."""
    return broadcast_to(_kept(g, x, axis), shape=x.shape)


def _count(x: Any, axis: Axis) -> int:
    return math.prod(x.shape[a] for a in _axes(x, axis))


def _samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3)),
        sample(r(2, 3), axis=1),
        sample(r(2, 3, 2), axis=(0, -1), keepdims=True),
        sample(r(3), axis=0, keepdims=True),
    ]


@primitive(
    vjp=(lambda g, out, x, axis, keepdims: _spread(g, x, axis),),
    samples=lambda r: [
        *_samples(r),
        sample(r()),
        sample(r(), axis=0),
        sample(r(0, 2), axis=0),
        sample(r(2, 3), axis=np.int64(1)),
    ],
    reference=lambda x, axis, keepdims: np.sum(x, axis=axis, keepdims=keepdims),
)
def sum(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Σ x over `axis`.

    >>> import tinygrad_zoo as tz
    >>> tz.sum(tz.tensor([[1.0, 2.0], [3.0, 4.0]]), axis=0).tolist()
    [4.0, 6.0]
    """
    return x.sum(axis=axis, keepdims=keepdims)


@primitive(
    vjp=(lambda g, out, x, axis, keepdims: _spread(g * (1 / (_count(x, axis) or 1)), x, axis),),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=np.int64(1))],
    reference=lambda x, axis, keepdims: np.mean(x, axis=axis, keepdims=keepdims),
)
def mean(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Σ x / n over `axis`; NaN where there is nothing to average.

    >>> import tinygrad_zoo as tz
    >>> tz.mean(tz.tensor([1.0, 2.0, 6.0])).item()
    3.0
    """
    wide = np.float32 if x.dtype == np.float16 else None  # whose sums and counts overflow
    with errstate(x):
        out = x.sum(axis=axis, keepdims=keepdims, dtype=wide) / _count(x, axis)
    return out if wide is None else out.astype(x.dtype)


def _is_constant(x: Any, axis: Axis) -> Any:
    """Whether all values are equal: their computed deviation need not be exactly 0."""
    return x.max(axis=axis, keepdims=True) == x.min(axis=axis, keepdims=True)


def _without_zero(g: Any, out: Any, constant: Any) -> Any:
    return where(constant, 0, g / where(constant, 1, out))


def _deviation(x: Any, axis: Axis) -> Any:
    return x - x.mean(axis=axis, keepdims=True)


@primitive(
    vjp=(
        lambda g, out, x, axis, correction, keepdims: (
            _kept(g, x, axis) * (2 / (_count(x, axis) - correction)) * _deviation(x, axis)
        ),
    ),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=1, correction=0)],
    reference=lambda x, axis, correction, keepdims: np.var(x, axis=axis, ddof=correction, keepdims=keepdims),
)
def var(x: Array, *, axis: Axis = None, correction: int = 1, keepdims: bool = False) -> Array:
    """Σ (x - mean)² / (n - correction): unbiased by default, as in PyTorch; NumPy's is correction=0.

    >>> import tinygrad_zoo as tz
    >>> tz.var(tz.tensor([1.0, 3.0])).item()
    2.0
    """
    n = _count(x, axis)
    if n <= correction:
        raise UsageError(f"var: {n} values cannot be corrected by {correction}; pass correction=0 for the plain mean")
    return ((x - x.mean(axis=axis, keepdims=True)) ** 2).sum(axis=axis, keepdims=keepdims) / (n - correction)


@primitive(
    vjp=(
        lambda g, out, x, axis, correction, keepdims: (
            _without_zero(_kept(g, x, axis), _kept(out, x, axis), _is_constant(x, axis))
            * (1 / (_count(x, axis) - correction))
            * _deviation(x, axis)
        ),
    ),
    samples=lambda r: [*_samples(r), sample(r(2, 3), axis=1, correction=0)],
    reference=lambda x, axis, correction, keepdims: np.std(x, axis=axis, ddof=correction, keepdims=keepdims),
    repair=lambda x: (x + np.arange(x.size).reshape(x.shape),),
)
def std(x: Array, *, axis: Axis = None, correction: int = 1, keepdims: bool = False) -> Array:
    """The square root of `var`; its derivative is 0 where all values are equal.

    >>> import tinygrad_zoo as tz
    >>> tz.std(tz.tensor([1.0, 3.0]), correction=0).item()
    1.0
    """
    return namespace(x).sqrt(var(x, axis=axis, correction=correction, keepdims=keepdims))


def _extreme_rule(g: Any, out: Any, x: Any, axis: Axis, keepdims: bool) -> Any:
    ties = x == _kept(out, x, axis)
    return where(ties, _kept(g, x, axis) / ties.sum(axis=axis, keepdims=True), 0)


def _distinct_samples(r: Any) -> list[Any]:
    return [
        sample(r.distinct(2, 3)),
        sample(r.distinct(2, 3), axis=1),
        sample(r.distinct(2, 3, 2), axis=(0, -1), keepdims=True),
    ]


def _distinct(x: Any) -> tuple[Any]:
    """The same order, neighbours 0.2 apart."""
    return (0.2 * np.argsort(np.argsort(x, axis=None), axis=None).reshape(x.shape) - 0.1 * x.size,)


@primitive(
    vjp=(_extreme_rule,),
    samples=_distinct_samples,
    reference=lambda x, axis, keepdims: np.max(x, axis=axis, keepdims=keepdims),
    repair=_distinct,
)
def max(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The largest value over `axis`; ties share the gradient evenly (PyTorch's `amax`).

    >>> import tinygrad_zoo as tz
    >>> tz.max(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [5.0, 3.0]
    """
    return x.max(axis=axis, keepdims=keepdims)


@primitive(
    vjp=(_extreme_rule,),
    samples=_distinct_samples,
    reference=lambda x, axis, keepdims: np.min(x, axis=axis, keepdims=keepdims),
    repair=_distinct,
)
def min(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """The smallest value over `axis`; ties share the gradient evenly (PyTorch's `amin`).

    >>> import tinygrad_zoo as tz
    >>> tz.min(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [1.0, 2.0]
    """
    return x.min(axis=axis, keepdims=keepdims)


@primitive(
    vjp=None,
    samples=lambda r: [sample(r.distinct(2, 3)), sample(r.distinct(2, 3), axis=1, keepdims=True)],
    reference=lambda x, axis, keepdims: np.argmax(x, axis=axis, keepdims=keepdims),
)
def argmax(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first largest value.

    >>> import tinygrad_zoo as tz
    >>> tz.argmax(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [1, 0]
    """
    return namespace(x).argmax(x, axis=axis, keepdims=keepdims)


@primitive(
    vjp=None,
    samples=lambda r: [sample(r.distinct(2, 3)), sample(r.distinct(2, 3), axis=1, keepdims=True)],
    reference=lambda x, axis, keepdims: np.argmin(x, axis=axis, keepdims=keepdims),
)
def argmin(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Array:
    """The index of the first smallest value.

    >>> import tinygrad_zoo as tz
    >>> tz.argmin(tz.tensor([[1.0, 5.0], [3.0, 2.0]]), axis=1).tolist()
    [0, 1]
    """
    return namespace(x).argmin(x, axis=axis, keepdims=keepdims)


def _boolean_samples(r: Any) -> list[Any]:
    return [sample(r.boolean(2, 3)), sample(r.boolean(2, 3), axis=1, keepdims=True)]


@primitive(vjp=None, samples=_boolean_samples, reference=lambda x, axis, keepdims: np.all(x, axis, keepdims=keepdims))
def all(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether every value is true (non-zero).

    >>> import tinygrad_zoo as tz
    >>> tz.all(tz.tensor([True, False])).item()
    False
    """
    return x.all(axis=axis, keepdims=keepdims)


@primitive(vjp=None, samples=_boolean_samples, reference=lambda x, axis, keepdims: np.any(x, axis, keepdims=keepdims))
def any(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """Whether some value is true (non-zero).

    >>> import tinygrad_zoo as tz
    >>> tz.any(tz.tensor([True, False])).item()
    True
    """
    return x.any(axis=axis, keepdims=keepdims)


def _logsumexp_reference(x: Any, axis: Axis, keepdims: bool) -> Any:
    from scipy.special import logsumexp as reference

    return reference(x, axis=axis, keepdims=keepdims)


def _finite(out: Any) -> Any:
    return where(isfinite(out), out, 0)


@primitive(
    vjp=(lambda g, out, x, axis, keepdims: _kept(g, x, axis) * exp(x - _kept(_finite(out), x, axis)),),
    samples=lambda r: [*_samples(r), sample(100 * r(2, 3), axis=0)],
    reference=_logsumexp_reference,
)
def logsumexp(x: Array, *, axis: Axis = None, keepdims: bool = False) -> Array:
    """log Σ exp(x), safe for large x; -inf, with gradient 0, where every x is -inf.

    >>> import tinygrad_zoo as tz
    >>> tz.logsumexp(tz.tensor([1000.0, 1000.0])).item() - 1000 < 0.7
    True
    """
    xp = namespace(x)
    if not _count(x, axis):
        return xp.full_like(x.sum(axis=axis, keepdims=keepdims), -math.inf)
    peak = x.max(axis=axis, keepdims=True)
    peak = xp.where(xp.isfinite(peak), peak, 0)
    with errstate(x):
        out = xp.log(xp.exp(x - peak).sum(axis=axis, keepdims=True)) + peak
    return out if keepdims else out.reshape(tuple(n for i, n in enumerate(x.shape) if i not in _axes(x, axis)))

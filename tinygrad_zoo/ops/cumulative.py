"""Running sums, products and extremes along one axis. A 0-d array is its own."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, on_host
from ..errors import ShapeError
from ..variable import Array
from .axes import as_line, as_lines, axis_of
from .elementwise import where
from .exponential import exp
from .precision import accumulators, half_in_single
from .repeating import pad
from .sampling import Draw, sample, to_distinct
from .shape import flip, swapaxes
from .sorting import Selected, selected_rule

_SLAB = 256  # entries that are worth a call of NumPy


def _last(*arrays: Any, axis: int) -> list[Any]:
    """Each array with `axis` as its last one."""
    return [swapaxes(a, axis1=axis, axis2=-1) for a in as_lines(*arrays)]


def _back(x: Any, axis: int, like: Any) -> Any:
    return swapaxes(x, axis1=axis, axis2=-1).reshape(like.shape)


def _scanned(combine: Callable[..., tuple[Any, ...]], parts: list[Any]) -> list[Any]:
    """`combine` running along the last axis in log₂ n rounds; what is combined is tuples of arrays.

    After round r every entry holds what it and the 2ʳ - 1 before it combine to (Hillis and Steele 1986).
    """
    xp, step = namespace(*parts), 1
    while step < parts[0].shape[-1]:
        made = combine([p[..., :-step] for p in parts], [p[..., step:] for p in parts])
        parts = [xp.concatenate([p[..., :step], m], -1) for p, m in zip(parts, made, strict=True)]
        step *= 2
    return parts


def _running(name: str, x: Array) -> Array:
    """The ufunc `name` running along the last axis: NumPy's loop, which CuPy has for sums and products alone."""
    ufunc = getattr(namespace(x), name)
    return ufunc.accumulate(x, -1) if on_host(x) else _scanned(lambda p, q: (ufunc(p[0], q[0]),), [x.copy()])[0]


def shifted(x: Any, value: float) -> Any:
    """`x` moved on by one along its last axis, with `value` in front."""
    return pad(x, pad=(1, 0), value=value)[..., :-1]


def above_minus_inf(x: Any) -> Any:
    """0 in place of -inf, the logarithm of an empty sum; inf and NaN stay."""
    return where(x == -math.inf, 0, x)


def _recurrence_back(a: Any, g: Any) -> Any:
    """t[i] = g[i] + a[i + 1] · t[i + 1], along the last axis."""
    a = flip(pad(a, pad=(0, 1))[..., 1:], axis=-1)
    return flip(linear_recurrence(a, flip(g, axis=-1), axis=-1), axis=-1)


def _recurrence_rule(g: Any, out: Any, a: Any, b: Any, needs: Any, axis: int) -> list[Any]:
    g, out_, a_ = _last(g, out, a, axis=axis)
    t = _recurrence_back(a_, g)
    return [_back(t * shifted(out_, 0.0), axis, a) if needs[0] else None, _back(t, axis, b)]


def _recurrence_reference(a: Any, b: Any, axis: int) -> Any:
    if not a.ndim:
        return b
    made, out = np.zeros_like(np.take(b, 0, axis)) if b.shape[axis] else None, []
    for i in range(b.shape[axis]):
        made = np.take(a, i, axis) * made + np.take(b, i, axis)
        out.append(made)
    return np.stack(out, axis) if out else b


@primitive(
    vjp=_recurrence_rule,
    samples=lambda r: [
        sample(r(5), r(5)),
        sample(r(4, 2), r(4, 2), axis=0),
        sample(r(2, 3), r(2, 3), axis=1),
        sample(r(), r()),
        sample(r(2, 0), r(2, 0)),
    ],
    reference=_recurrence_reference,
)
@half_in_single
def linear_recurrence(a: Array, b: Array, *, axis: int = -1) -> Array:
    """out[i] = a[i] · out[i - 1] + b[i] along `axis`, with out[-1] = 0: discounted sums, linear state spaces.

    >>> tz.linear_recurrence(tz.tensor([0.5, 0.5, 0.5]), tz.tensor([4.0, 0.0, 1.0])).tolist()
    [4.0, 2.0, 2.0]
    """
    if a.shape != b.shape:
        raise ShapeError(f"linear_recurrence: expected a and b of one shape, got {a.shape} and {b.shape}")
    axis = axis_of(b, axis)
    with errstate(b):
        parts = _scanned(lambda p, q: (q[0] * p[0], q[0] * p[1] + q[1]), _last(a, b, axis=axis))
    return _back(parts[1], axis, b).astype(namespace(a, b).result_type(a, b))


def _samples(r: Draw) -> list[Any]:
    return [
        sample(r(3), axis=0),
        sample(r(2, 3), axis=-1),
        sample(r(2, 3, 2), axis=1),
        sample(r(), axis=0),
        sample(r(0, 2), axis=0),
    ]


def _cumsum_rule(g: Any, out: Any, x: Any, axis: int, dtype: Any) -> Any:
    return g if not x.ndim else flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis)


def _running_sum(x: Array, axis: int, dtype: Any) -> Array:
    """NumPy's loop runs along the axis, and misses the cache where much lies inside of it: then slab by slab."""
    if not on_host(x) or axis == x.ndim - 1 or x.size < _SLAB * x.shape[axis]:
        return x.cumsum(axis=axis, dtype=dtype)
    out = x.astype(dtype)
    slabs = np.moveaxis(out, axis, 0)
    for before, slab in pairwise(slabs):
        slab += before
    return out


@primitive(
    vjp=(_cumsum_rule,),
    samples=_samples,
    reference=lambda x, axis, dtype: np.cumsum(x, axis=axis).reshape(x.shape),
)
def cumsum(x: Array, *, axis: int, dtype: Any = None) -> Array:
    """out[i] = x[0] + … + x[i] along `axis`.

    >>> tz.cumsum(tz.tensor([1.0, 2.0, 3.0]), 0).tolist()
    [1.0, 3.0, 6.0]
    """
    wide, out = accumulators(x, dtype, "cumsum")
    return _running_sum(as_line(x), axis_of(x, axis), wide).astype(out, copy=False).reshape(x.shape)


def _cumprod_rule(g: Any, out: Any, x: Any, axis: int, dtype: Any) -> Any:
    """Σ of g[k] · (the product of x[0 … k] without x[i]) over k ≥ i: no division, so zeros are no exception."""
    g, out, last = _last(g, out, x, axis=axis)
    return _back(shifted(out, 1.0) * _recurrence_back(last, g), axis, x)


def _cumprod_samples(r: Draw) -> list[Any]:
    zeros = r(2, 4)
    zeros[0, 1] = zeros[1, 0] = zeros[1, 2] = 0.0
    return [*_samples(r), sample(zeros, axis=1)]


@primitive(
    vjp=(_cumprod_rule,),
    samples=_cumprod_samples,
    reference=lambda x, axis, dtype: np.cumprod(x, axis=axis).reshape(x.shape),
)
def cumprod(x: Array, *, axis: int, dtype: Any = None) -> Array:
    """out[i] = x[0] · … · x[i] along `axis`; the gradient is right at zeros too.

    >>> tz.cumprod(tz.tensor([1.0, 2.0, 3.0]), 0).tolist()
    [1.0, 2.0, 6.0]
    """
    wide, out = accumulators(x, dtype, "cumprod")
    return as_line(x).cumprod(axis=axis_of(x, axis), dtype=wide).astype(out, copy=False).reshape(x.shape)


def _running_extreme(name: str, x: Array, axis: int) -> Selected:
    """The running `maximum` or `minimum`, and the last place so far that has it; a NaN is either, and stays."""
    axis, xp = axis_of(x, axis), namespace(x)
    (line,) = _last(x, axis=axis)
    values = _running(name, line)
    here = (line == values) | (line != line)
    indices = _running("maximum", xp.where(here, xp.arange(line.shape[-1]), 0))
    return Selected(_back(values, axis, x), _back(indices, axis, x))


def _extreme_samples(r: Draw) -> list[Any]:
    return [
        sample(r.distinct(5), axis=0),
        sample(r.distinct(2, 3), axis=-1),
        sample(r.distinct(4, 2), axis=0),
        sample(r.distinct(), axis=0),
        sample(r.distinct(2, 0), axis=1),
    ]


def _extreme_reference(x: Any, axis: int, running: Any) -> Any:
    if not x.ndim:
        return x, np.asarray(0)
    values = running.accumulate(x, axis=axis)
    places = np.arange(x.shape[axis]).reshape([-1 if d == axis % x.ndim else 1 for d in range(x.ndim)])
    return values, np.maximum.accumulate(np.where(x == values, places, 0), axis=axis)


@primitive(
    vjp=selected_rule,
    samples=_extreme_samples,
    reference=lambda x, axis: _extreme_reference(x, axis, np.maximum),
    repair=to_distinct,
)
def cummax(x: Array, *, axis: int) -> Selected:
    """(values, indices) of the largest so far along `axis`; of ties the last has the index, and the gradient.

    >>> tz.cummax(tz.tensor([1.0, 3.0, 2.0]), 0).values.tolist()
    [1.0, 3.0, 3.0]
    """
    return _running_extreme("maximum", x, axis)


@primitive(
    vjp=selected_rule,
    samples=_extreme_samples,
    reference=lambda x, axis: _extreme_reference(x, axis, np.minimum),
    repair=to_distinct,
)
def cummin(x: Array, *, axis: int) -> Selected:
    """(values, indices) of the smallest so far along `axis`; of ties the last has the index, and the gradient.

    >>> tz.cummin(tz.tensor([2.0, 3.0, 1.0]), 0).values.tolist()
    [2.0, 2.0, 1.0]
    """
    return _running_extreme("minimum", x, axis)


def _logcumsumexp_rule(g: Any, out: Any, x: Any, axis: int) -> Any:
    """Σ of g[k] · exp(x[i] - out[k]) over k ≥ i, from the last to the first: no factor exceeds 1."""
    g, out, last = _last(g, out, x, axis=axis)
    safe = above_minus_inf(out)
    decay = exp(shifted(out, -math.inf) - safe)
    return _back(exp(last - safe) * _recurrence_back(decay, g), axis, x)


@primitive(
    vjp=(_logcumsumexp_rule,),
    samples=lambda r: [*_samples(r), sample(100 * r(2, 4), axis=1)],
    reference=lambda x, axis: np.logaddexp.accumulate(x, axis) if x.ndim else x,
)
def logcumsumexp(x: Array, *, axis: int) -> Array:
    """log(exp x[0] + … + exp x[i]) along `axis`, safe for large x.

    >>> tz.logcumsumexp(tz.tensor([1000.0, 1000.0]), 0)[0].item()
    1000.0
    """
    axis = axis_of(x, axis)
    (line,) = _last(x, axis=axis)
    wide, out = accumulators(x, None if x.dtype.kind == "f" else "float64", "logcumsumexp")
    with errstate(x):
        return _back(_running("logaddexp", line.astype(wide)).astype(out), axis, x)

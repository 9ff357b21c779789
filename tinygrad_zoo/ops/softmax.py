"""Softmax and its kin along one axis. A row of nothing but -inf has no softmax: it gives NaN, as in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import ShapeError
from ..kernels import softmax as kernels
from ..variable import Array
from .elementwise import where
from .exponential import exp
from .precision import narrowed, widened
from .sampling import sample


def _samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 5)),
        sample(r(2, 3), axis=0),
        sample(100 * r(3)),
        sample(r(2, 0)),
        sample(r()),
    ]


def _log_softmax_reference(x: Any, axis: int) -> Any:
    return x - np.logaddexp.reduce(x, axis=axis, keepdims=True) if x.ndim else np.zeros(())


def _shifted(x: Array, axis: int) -> Array:
    """x less its maximum along `axis`, at least float32."""
    x = widened(x)
    return x - x.max(axis=axis, keepdims=True) if x.size else x


@primitive(
    vjp=(lambda g, out, x, axis, dtype: softmax_rule(widened(g), widened(out), axis),),
    backward=lambda g, out, x, axis, dtype: kernels.softmax_pulled(g, out, axis),
    samples=_samples,
    reference=lambda x, axis, dtype: np.exp(_log_softmax_reference(x, axis)),
)
def softmax(x: Array, *, axis: int = -1, dtype: Any = None) -> Array:
    """eˣ / Σ eˣ along `axis`, safe for large x; `dtype` converts x first.

    >>> tz.softmax(tz.tensor([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    x = x if dtype is None else x.astype(dtype)
    if (out := kernels.softmax(x, axis)) is not None:
        return out
    with errstate(x):
        e = namespace(x).exp(_shifted(x, axis))
        return narrowed(e / e.sum(axis=axis, keepdims=True), x)


def softmax_rule(g: Any, out: Any, axis: int) -> Any:
    return out * (g - (g * out).sum(axis=axis, keepdims=True))


@primitive(
    vjp=(lambda g, out, x, axis, dtype: -softmax_rule(widened(g), widened(out), axis),),
    backward=lambda g, out, x, axis, dtype: None if (gx := kernels.softmax_pulled(g, out, axis)) is None else -gx,
    samples=_samples,
    reference=lambda x, axis, dtype: np.exp(_log_softmax_reference(-x, axis)),
)
def softmin(x: Array, *, axis: int = -1, dtype: Any = None) -> Array:
    """e⁻ˣ / Σ e⁻ˣ along `axis`; `dtype` converts x first.

    >>> tz.softmin(tz.tensor([1000.0, 1000.0, 2000.0])).tolist()
    [0.5, 0.5, 0.0]
    """
    return softmax.forward(-x, axis=axis, dtype=dtype)


def _log_softmax_rule(g: Any, out: Any, axis: int) -> Any:
    return g - exp(out) * g.sum(axis=axis, keepdims=True)


@primitive(
    vjp=(lambda g, out, x, axis, dtype: _log_softmax_rule(widened(g), widened(out), axis),),
    backward=lambda g, out, x, axis, dtype: kernels.log_softmax_pulled(g, out, axis),
    samples=_samples,
    reference=lambda x, axis, dtype: _log_softmax_reference(x, axis),
)
def log_softmax(x: Array, *, axis: int = -1, dtype: Any = None) -> Array:
    """x - log Σ eˣ along `axis`, safe for large x; `dtype` converts x first.

    >>> tz.log_softmax(tz.tensor([1000.0, 0.0])).tolist()
    [0.0, -1000.0]
    """
    x = x if dtype is None else x.astype(dtype)
    if (out := kernels.log_softmax(x, axis)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        shifted = _shifted(x, axis)
        return narrowed(shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True)), x)


# ---- the largest of several
def _pieces(x: Any, pool_size: int, axis: int) -> Any:
    """x with `axis` split in two: (…, units, pool_size, …)."""
    axis %= x.ndim
    return x.reshape((*x.shape[:axis], x.shape[axis] // pool_size, pool_size, *x.shape[axis + 1 :]))


def _maxout_rule(g: Any, out: Any, x: Any, pool_size: int, axis: int) -> Any:
    pieces = _pieces(x, pool_size, axis)
    among = axis % x.ndim + 1
    kept = (*pieces.shape[:among], 1, *pieces.shape[among + 1 :])
    largest = pieces == out.reshape(kept)
    share = g.reshape(kept) / largest.sum(axis=among, keepdims=True)
    return where(largest, share, 0).reshape(x.shape)


@primitive(
    vjp=(_maxout_rule,),
    samples=lambda r: [
        sample(r.distinct(2, 6)),
        sample(r.distinct(2, 6, 2), pool_size=3),
        sample(r.distinct(4, 3), axis=0),
        sample(r.distinct(4), axis=-1, pool_size=4),
    ],
    reference=lambda x, pool_size, axis: np.maximum.reduceat(x, np.arange(0, x.shape[axis], pool_size), axis=axis),
)
def maxout(x: Array, *, pool_size: int = 2, axis: int = 1) -> Array:
    """The largest of every `pool_size` neighbours along `axis`, which shrinks by that factor (arXiv 1302.4389).

    Ties share the gradient evenly.

    >>> tz.maxout(tz.tensor([[1.0, 5.0, 3.0, 2.0]])).tolist()
    [[5.0, 3.0]]
    """
    if pool_size < 1 or not -x.ndim <= axis < x.ndim or x.shape[axis] % pool_size:
        raise ShapeError(
            f"maxout: x has shape {x.shape}; expected an axis {axis} whose length is a multiple of {pool_size=}"
        )
    return _pieces(x, pool_size, axis).max(axis=axis % x.ndim + 1)

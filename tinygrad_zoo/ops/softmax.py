"""Softmax and its logarithm along one axis."""

from __future__ import annotations

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..variable import Array
from .exponential import exp
from .sampling import sample


@primitive(
    vjp=(lambda g, out, x, axis: out * (g - (g * out).sum(axis=axis, keepdims=True)),),
    samples=lambda r: [sample(r(2, 5)), sample(r(2, 3), axis=0), sample(100 * r(3))],
    reference=lambda x, axis: np.exp(x - np.logaddexp.reduce(x, axis=axis, keepdims=True)),
)
def softmax(x: Array, *, axis: int = -1) -> Array:
    """eˣ / Σ eˣ along `axis`, safe for large x.

    >>> import tinygrad_zoo as tz
    >>> tz.softmax(tz.tensor([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    e = namespace(x).exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@primitive(
    vjp=(lambda g, out, x, axis: g - exp(out) * g.sum(axis=axis, keepdims=True),),
    samples=lambda r: [sample(r(2, 5)), sample(r(2, 3), axis=0), sample(100 * r(3))],
    reference=lambda x, axis: x - np.logaddexp.reduce(x, axis=axis, keepdims=True),
)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """x - log Σ eˣ along `axis`, safe for large x.

    >>> import tinygrad_zoo as tz
    >>> tz.log_softmax(tz.tensor([1000.0, 0.0])).tolist()
    [0.0, -1000.0]
    """
    shifted = x - x.max(axis=axis, keepdims=True)
    xp = namespace(x)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

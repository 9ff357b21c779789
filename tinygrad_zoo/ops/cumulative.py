"""Running sums, products and extremes along one axis."""

from __future__ import annotations

import numpy as np

from ..autograd import primitive
from ..variable import Array
from .sampling import sample
from .shape import flip


@primitive(
    vjp=(lambda g, out, x, axis: flip(cumsum(flip(g, axis=axis), axis=axis), axis=axis),),
    samples=lambda r: [sample(r(3), axis=0), sample(r(2, 3), axis=-1), sample(r(2, 3, 2), axis=1)],
    reference=lambda x, axis: np.cumsum(x, axis=axis),
)
def cumsum(x: Array, *, axis: int) -> Array:
    """out[i] = x[0] + … + x[i] along `axis`.

    >>> import tinygrad_zoo as tz
    >>> tz.cumsum(tz.tensor([1.0, 2.0, 3.0]), 0).tolist()
    [1.0, 3.0, 6.0]
    """
    return x.cumsum(axis=axis, dtype=x.dtype if x.dtype.kind == "f" else None)

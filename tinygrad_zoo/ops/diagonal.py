"""Triangles and diagonals of the last two axes."""

from __future__ import annotations

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..variable import Array
from .sampling import sample


@primitive(
    vjp=(lambda g, out, x, diagonal: tril(g, diagonal=diagonal),),
    samples=lambda r: [sample(r(3, 3)), sample(r(2, 3, 4), diagonal=1), sample(r(4, 2), diagonal=-1)],
    reference=lambda x, diagonal: np.tril(x, diagonal),
)
def tril(x: Array, *, diagonal: int = 0) -> Array:
    """Zero above the given diagonal of the last two axes.

    >>> import tinygrad_zoo as tz
    >>> tz.tril(tz.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return namespace(x).tril(x, diagonal)


@primitive(
    vjp=(lambda g, out, x, diagonal: triu(g, diagonal=diagonal),),
    samples=lambda r: [sample(r(3, 3)), sample(r(2, 3, 4), diagonal=1), sample(r(4, 2), diagonal=-1)],
    reference=lambda x, diagonal: np.triu(x, diagonal),
)
def triu(x: Array, *, diagonal: int = 0) -> Array:
    """Zero below the given diagonal of the last two axes.

    >>> import tinygrad_zoo as tz
    >>> tz.triu(tz.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return namespace(x).triu(x, diagonal)

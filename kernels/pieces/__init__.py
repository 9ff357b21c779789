"""Arrays that lie apart, as one flat array: a kernel reads them where they lie, in one pass over all of them.

An optimizer's gradients come from the backward one by one. Copying them together would cost a pass over memory of its
own, so its kernel is told where each of them lies instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import dispatch
from ..jit import COMPILED


class Pieces:
    """A flat array in pieces: element bounds[k] + i of it is element i of piece k, which lies at addresses[k]."""

    __slots__ = ("addresses", "arrays", "bounds", "dtype", "size")

    def __init__(self, arrays: Sequence[Any], addresses: Any, bounds: Any) -> None:
        self.arrays, self.addresses, self.bounds = arrays, addresses, bounds  # the arrays stay alive with their table
        self.dtype, self.size = arrays[0].dtype, int(bounds[-1])


def pieces(arrays: Sequence[Any], bounds: Any) -> Pieces | None:
    """The arrays, read in C order, as one flat array; None where no kernel can: then join them with concatenate.

    A kernel can read writable, contiguous NumPy arrays of one dtype, float32 or float64, of bounds[k + 1] - bounds[k]
    elements each; `bounds` is int64 and begins with 0.

    >>> a, b = np.ones((2, 3)), np.zeros(4)
    >>> pieces([a, b], np.array([0, 6, 10])).size
    10
    >>> pieces([a.T, b], np.array([0, 6, 10])) is None
    True
    """
    served = type(arrays[0]) is np.ndarray and arrays[0].dtype in COMPILED
    cpu = dispatch.module(__name__) if served else None
    if cpu is None:
        return None
    dtype = arrays[0].dtype
    objects, addresses = np.array([*map(id, arrays)], np.int64), np.zeros(len(arrays), np.int64)
    cpu.locate[dtype](objects, id(np.ndarray), id(dtype), bounds, addresses)
    return Pieces(arrays, addresses, bounds) if addresses[-1] else None

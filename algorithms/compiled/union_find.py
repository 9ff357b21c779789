"""Connected components of a graph in arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


@jit
def components(n: int, ends: Array) -> Array:
    """The component of each node, numbered by their first nodes.

    A set's root is its smallest element, so that roots come before what hangs below them and are numbered in one pass.
    """
    parent = np.arange(n).astype(np.int32)
    for e in range(ends.shape[0]):
        a, b = _find(parent, ends[e, 0]), _find(parent, ends[e, 1])
        if a < b:
            parent[b] = a
        else:
            parent[a] = b
    labels = np.empty(n, np.int64)
    count = 0
    for x in range(n):
        if parent[x] == x:
            labels[x] = count
            count += 1
        else:
            labels[x] = labels[parent[x]]
    return labels


@jit
def _find(parent: Array, x: int) -> int:
    while parent[x] != x:
        parent[x] = parent[parent[x]]
        x = parent[x]
    return x

"""The orders of a tree in arrays: left[i] and right[i] are the children of node i, −1 for none.

A node's place on the way is given by numbers alone; the stack is an array as deep as the tree may be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


@jit
def preorder(left: Array, right: Array, root: int) -> Array:
    """Right below left on the stack. No more than one node of each level waits, and the last one's two children."""
    stack, out = np.empty(left.size + 1, np.int32), np.empty(left.size, np.int32)
    waiting = count = 0
    node = np.int32(root)
    while node >= 0:
        out[count] = node
        count += 1
        if right[node] >= 0:
            stack[waiting] = right[node]
            waiting += 1
        node = left[node]
        if node < 0 and waiting:
            waiting -= 1
            node = stack[waiting]
    return out[:count]


@jit
def inorder(left: Array, right: Array, root: int) -> Array:
    """Down to the left, out, and to the right."""
    stack, out = np.empty(left.size, np.int32), np.empty(left.size, np.int32)
    waiting = count = 0
    node = np.int32(root)
    while node >= 0 or waiting:
        while node >= 0:
            stack[waiting] = node
            waiting += 1
            node = left[node]
        waiting -= 1
        node = stack[waiting]
        out[count] = node
        count += 1
        node = right[node]
    return out[:count]


@jit
def postorder(left: Array, right: Array, root: int) -> Array:
    """Root, right, left, written from behind."""
    mirrored = preorder(right, left, root)
    return mirrored[::-1].copy()


@jit
def levelorder(left: Array, right: Array, root: int) -> Array:
    """The answer is its own queue."""
    out = np.empty(left.size, np.int32)
    taken = count = 0
    if root >= 0:
        out[0] = root
        count = 1
    while taken < count:
        node = out[taken]
        taken += 1
        if left[node] >= 0:
            out[count] = left[node]
            count += 1
        if right[node] >= 0:
            out[count] = right[node]
            count += 1
    return out[:count]

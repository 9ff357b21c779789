"""The orders of a tree in an array (n, 2): children[i] are those of node i, left and right, −1 for none.

A node's place on the way is given by numbers alone; the stack is an array as deep as the tree may be.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


@jit
def preorder(children: Array, root: int) -> Array:
    """Left first."""
    return _root_first(children, root, 0)


@jit
def postorder(children: Array, root: int) -> Array:
    """Root, right, left, written from behind."""
    return _root_first(children, root, 1)[::-1].copy()


@jit
def _root_first(children: Array, root: int, near: int) -> Array:
    """The child at side `near` comes next, the other one waits on the stack: one of each level at most."""
    stack, out = np.empty(len(children), np.int32), np.empty(len(children), np.int32)
    waiting = count = 0
    node = np.int32(root)
    while node >= 0:
        out[count] = node
        count += 1
        if children[node, 1 - near] >= 0:
            stack[waiting] = children[node, 1 - near]
            waiting += 1
        node = children[node, near]
        if node < 0 and waiting:
            waiting -= 1
            node = stack[waiting]
    return out[:count]


@jit
def inorder(children: Array, root: int) -> Array:
    """Down to the left, out, and to the right."""
    stack, out = np.empty(len(children), np.int32), np.empty(len(children), np.int32)
    waiting = count = 0
    node = np.int32(root)
    while node >= 0 or waiting:
        while node >= 0:
            stack[waiting] = node
            waiting += 1
            node = children[node, 0]
        waiting -= 1
        node = stack[waiting]
        out[count] = node
        count += 1
        node = children[node, 1]
    return out[:count]


@jit
def levelorder(children: Array, root: int) -> Array:
    """The answer is its own queue."""
    out = np.empty(len(children), np.int32)
    taken = count = 0
    if root >= 0:
        out[0] = root
        count = 1
    while taken < count:
        node = out[taken]
        taken += 1
        for side in range(2):
            if children[node, side] >= 0:
                out[count] = children[node, side]
                count += 1
    return out[:count]

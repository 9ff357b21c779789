"""Images (N, C, *S) as kernels read them: rows of numbers that lie side by side, with one loop for both layouts.

With the channels last in memory a row is (W, C): the innermost loop runs over channels. With the channels first it is
(W,), and every channel is an image of its own. Results have the layout of what they are made of.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from .jit import COMPILED

Array: TypeAlias = Any
MOST = 2**31 - 1  # places of a plane that 32 bits count


def served(*arrays: Any) -> bool:
    """Whether these are NumPy arrays of one dtype for which kernels are compiled, with one to three spatial axes."""
    dtype = getattr(arrays[0], "dtype", None)
    if dtype not in COMPILED:
        return False
    return all(type(a) is np.ndarray and a.dtype == dtype and 3 <= a.ndim <= 5 for a in arrays)


def last(x: Array) -> Array:
    """(N, C, *S) as (N, *S, C), a view."""
    return x.transpose(0, *range(2, x.ndim), 1)


def channels_inside(x: Array) -> int:
    """How many numbers of a row belong to one place: the channels if they are last in memory, else 1."""
    channels: int = x.shape[1]
    if last(x).flags.c_contiguous:
        return channels
    return 1 if x.flags.c_contiguous or x.strides[1] != x.itemsize else channels


def in_order(x: Array) -> Array:
    """x in C order and aligned, a copy where it has to be."""
    return x if x.flags.c_contiguous and x.flags.aligned else x.copy()


def rows(x: Array, inner: int) -> Array:
    """(images, D, H, W · inner), as `channels_inside` says; fewer axes get others of size 1 before them."""
    n, c, *size = x.shape
    size = [*(1,) * (3 - len(size)), *size]
    if inner > 1:
        return in_order(last(x)).reshape(n, *size[:2], size[2] * c)
    return in_order(x).reshape(n * c, *size)


def planes(x: Array, inner: int) -> Array:
    """(images, places, inner)."""
    by_row = rows(x, inner)
    images, depth, height, width = by_row.shape
    return by_row.reshape(images, depth * height * width // max(inner, 1), inner)


def empty(shape: tuple[int, ...], inner: int, dtype: Any) -> Array:
    """A new (N, C, *S) in that layout."""
    n, c, *size = shape
    if inner == 1:
        return np.empty(shape, dtype)
    made = np.empty((n, *size, c), dtype)
    return made.transpose(0, made.ndim - 1, *range(1, made.ndim - 1))

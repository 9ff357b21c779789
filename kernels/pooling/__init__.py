"""Maxima over windows, and reading and writing images at places that are counted along a plane.

A place is the number of a pixel among those of its (n, c): h · W + w. `gather` and `scatter` are each other's adjoint;
the gradient of a maximum is the scatter at the place where it was found.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import cuda, images, threads
from ..dispatch import Array, module, namespace
from ..images import MOST
from ..windows import Windows, packed

_COMPARED, _WRITTEN = 0.3, 0.7  # nanoseconds an entry, of one thread


# ---- maxima
def maxima(x: Array, axes: tuple[Windows, ...]) -> tuple[Array, Array]:
    """The maximum of each window of x (N, C, *S), none of them empty, and its place: of equal ones the first one's.

    A NaN is larger than any number; of several the last one is taken, as in PyTorch.

    >>> from ..windows import adaptive
    >>> maxima(np.array([[[1.0, 3.0, 3.0, 2.0]]]), (adaptive(4, 1),))
    (array([[[3.]]]), array([[[1]]], dtype=int32))
    """
    if cuda.served(x) and math.prod(x.shape[2:]) <= MOST:
        made: tuple[Array, Array] = cuda.module(__name__).maxima(x, axes)
        return made
    cpu = module(__name__) if images.served(x) and math.prod(x.shape[2:]) <= MOST else None
    if cpu is None:
        return maxima_formula(x, axes)
    inner, shape = images.channels_inside(x), (*x.shape[:2], *(axis.places for axis in axes))
    out, at = images.empty(shape, inner, x.dtype), images.empty(shape, inner, np.int32)
    if out.size:
        first, offset, _, steps = packed(axes, x.dtype)
        source, target = images.rows(x, inner), images.rows(out, inner)
        sizes = (
            *source.shape[1:3],
            x.shape[-1],
            *target.shape[1:3],
            shape[-1],
            inner,
            int(axes[0].counts.max()) if len(axes) == 3 else 1,
        )
        parts = threads.parts((x.size + out.size) * _COMPARED)
        cpu.maxima[x.dtype](
            source, target, images.rows(at, inner), first, offset, steps, np.array(sizes), cpu.share[x.dtype], parts
        )
    return out, at


def maxima_formula(x: Array, axes: tuple[Windows, ...]) -> tuple[Array, Array]:
    """`maxima` along one axis after the other, the last one first, so that the first of equal ones stays the first."""
    xp, size = namespace(x), x.shape[2:]
    kind = np.int32 if math.prod(size) <= MOST else np.int64
    at = xp.broadcast_to(xp.arange(math.prod(size), dtype=kind).reshape(size), x.shape)
    for d, axis in reversed([*enumerate(axes, 2)]):
        last = axis.first + (axis.counts - 1) * axis.step
        begin = xp.asarray(axis.first)
        best, found = xp.take(x, begin, axis=d), xp.take(at, begin, axis=d)
        for t in range(1, int(axis.counts.max(initial=0))):
            here = xp.asarray(np.minimum(axis.first + t * axis.step, last))
            entry = xp.take(x, here, axis=d)
            larger = (entry > best) | (entry != entry)
            best, found = xp.where(larger, entry, best), xp.where(larger, xp.take(at, here, axis=d), found)
        x, at = best, found
    return x, at


# ---- places
def gather(x: Array, index: Array) -> Array:
    """out[n, c, o] = x[n, c, index[n, c, o]], places counted along the plane; index may have one channel for all.

    >>> gather(np.array([[[[1.0, 2.0], [3.0, 4.0]]]]), np.array([[[3, 0, 3]]]))
    array([[[4., 1., 4.]]])
    """
    if _on_device(x, index, x.shape[2:]):
        return cuda.module(__name__).gather(x, index)
    cpu = module(__name__) if _plain(x, index) else None
    if cpu is None:
        xp, (n, c) = namespace(x), x.shape[:2]
        places = xp.broadcast_to(index, (n, c, *index.shape[2:])).reshape(n, c, math.prod(index.shape[2:]))
        found = xp.take_along_axis(x.reshape(n, c, math.prod(x.shape[2:])), places, 2)
        return found.reshape(n, c, *index.shape[2:])
    inner = images.channels_inside(index)
    out = images.empty(index.shape, inner, x.dtype)
    if out.size:
        parts = threads.parts(out.size * _WRITTEN)
        at = images.planes(_counted(index), inner)
        cpu.gather[x.dtype](images.planes(x, inner), at, images.planes(out, inner), parts)
    return out


def scatter(x: Array, index: Array, size: tuple[int, ...], *, add: bool = True) -> Array:
    """Zeros (N, C, *size) with x[n, c, o] added, or (not `add`) written, at place index[n, c, o]; the last one stays.

    >>> scatter(np.array([[[1.0, 2.0, 5.0]]]), np.array([[[3, 0, 3]]]), (2, 2)).tolist()
    [[[[2.0, 0.0], [0.0, 6.0]]]]
    """
    if _on_device(x, index, size):
        return cuda.module(__name__).scatter(x, index, size, add)
    cpu = module(__name__) if _plain(x, index) and x.shape == index.shape and math.prod(size) <= MOST else None
    if cpu is None:
        return _scatter_formula(x, index, size, add)
    inner = images.channels_inside(index)
    out = images.empty((*x.shape[:2], *size), inner, x.dtype)
    if out.size:
        at = images.planes(_counted(index), inner)
        parts = min(threads.parts(out.size * _COMPARED + x.size * _WRITTEN), len(at))
        cpu.scatter[x.dtype](images.planes(x, inner), at, images.planes(out, inner), add, parts)
    return out


def _scatter_formula(x: Array, index: Array, size: tuple[int, ...], add: bool) -> Array:
    xp, count = namespace(x), math.prod(size)
    shape = x.shape
    plane = xp.arange(shape[0] * shape[1]).reshape(*shape[:2], *(1,) * (x.ndim - 2)) * count
    flat = xp.broadcast_to(index + plane, shape).reshape(-1)
    out = xp.zeros(shape[0] * shape[1] * count, dtype=x.dtype)
    values = x.reshape(-1)
    if add:
        xp.add.at(out, flat, values)
    elif values.size:  # where several are written to one place, a device writes them in any order
        order = xp.arange(1, values.size + 1, dtype=np.uint64)
        last = xp.zeros(out.size, dtype=np.uint64)
        xp.maximum.at(last, flat, order)
        last = last.astype(np.int64)
        out = xp.where(last > 0, values[last - (last > 0)], out)
    return out.reshape(*shape[:2], *size)


def _on_device(x: Any, index: Any, size: tuple[int, ...]) -> bool:
    fits = max(math.prod(size), math.prod(index.shape[2:])) <= MOST
    return fits and cuda.served(x) and type(index) is type(x)


def _plain(x: Any, index: Any) -> bool:
    return images.served(x) and type(index) is np.ndarray and 3 <= index.ndim <= 5 and index.shape[1] == x.shape[1]


def _counted(index: Array) -> Array:
    return index if index.dtype == np.int32 else index.astype(np.int32)

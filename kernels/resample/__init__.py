"""Weighted sums over windows, one axis after the other: interpolation, average pooling, and the adjoints of both; and
images read at any points.

out[n, c, o₁, o₂, …] = Σ weight₁[o₁, i₁] · weight₂[o₂, i₂] · … · x[n, c, i₁, i₂, …], where a table an axis
(`windows.Windows`) says which entries a place sees and how they weigh. The adjoint is that of the transposed tables.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import cuda, images, threads
from ..dispatch import Array, module, namespace
from ..windows import Windows, packed, taps

_MOVED = 0.25  # nanoseconds to weigh an entry, of one thread


def weigh(x: Array, axes: tuple[Windows, ...]) -> Array:
    """x (N, C, *S), of floating point, by a table for each spatial axis.

    >>> import numpy as np
    >>> from ..windows import linear
    >>> weigh(np.array([[[0.0, 4.0]]]), (linear(2, 4, None, False),))
    array([[[0., 1., 3., 4.]]])
    """
    if cuda.served(x) and math.prod(x.shape[2:]) <= images.MOST:
        return cuda.module(__name__).weigh(x, axes)
    cpu = module(__name__) if images.served(x) else None
    if cpu is None:
        return formula(x, axes)
    inner, places = images.channels_inside(x), tuple(axis.places for axis in axes)
    out = images.empty((*x.shape[:2], *places), inner, x.dtype)
    if not out.size or not x.size:
        out[...] = 0
        return out
    source, target = images.rows(x, inner), images.rows(out, inner)
    first, offset, weight, _ = packed(axes, x.dtype)
    group = cpu.VECTOR // x.itemsize if inner == 1 else 1
    length, at, shares = taps(axes[-1], x.dtype, x.itemsize * inner * group)
    group = group if length else 1
    longest = max(int(axis.counts.max()) for axis in axes)
    sizes = *source.shape[1:], *target.shape[1:], inner, length, group, longest, math.prod(target.shape[:3])
    room = cpu.room(x.itemsize, source.shape[3], places[-1], group, longest)
    parts = threads.parts((x.size + 2 * out.size) * _MOVED)
    cpu.weigh[x.dtype](
        source, target, first, offset, weight, at, shares, np.array(sizes), room, cpu.share[x.dtype], parts
    )
    return out


def formula(x: Array, axes: tuple[Windows, ...]) -> Array:
    """`weigh`, an entry of all windows at a time."""
    xp = namespace(x)
    for d, axis in enumerate(axes, 2):
        counts, shape = axis.counts, (-1, *(1,) * (x.ndim - d - 1))
        total: Any = xp.zeros((*x.shape[:d], axis.places, *x.shape[d + 1 :]), dtype=x.dtype)
        for t in range(int(counts.max(initial=0))):
            at, inside = axis.first + t, counts > t
            weight = axis.weight[(axis.offset[:-1] + t) * inside] * inside if inside.any() else counts * 0.0
            entry = xp.take(x, xp.asarray(at * inside), axis=d) * xp.asarray(weight.astype(x.dtype)).reshape(shape)
            total = total + xp.where(xp.asarray(inside).reshape(shape), entry, 0)
        x = total
    return x


# ---- images at any points
MODES = ("nearest", "bilinear", "bicubic")  # with 1, 2 and 4 entries of each axis
PADDINGS = ("zeros", "border", "reflection")


def sample(x: Array, grid: Array, mode: str, padding: str, corners: bool) -> Array | None:
    """x (N, C, *S) at the points of a grid (N, *O, axes), in [-1, 1], the last axis first; None: no kernel serves.

    >>> sample(np.array([[[[1.0, 3.0]]]]), np.array([[[[0.0, 0.0]]]]), "bilinear", "zeros", True)
    array([[[[2.]]]])
    """
    if _on_device(x, grid, mode):
        return cuda.module(__name__).sample(x, grid, mode, _NUMBER[padding], corners)
    if (cpu := _served(x, grid)) is None:
        return None
    n, c, *size = x.shape
    places = grid.shape[1:-1]
    out = np.empty((n, *places, c), x.dtype)
    if out.size:
        count = math.prod(places)
        parts = threads.parts(out.size * _MOVED * 4 ** len(size) ** 0.5 + n * count * 20)
        geometry = np.array([*(1,) * (3 - len(size)), *size, _NUMBER[mode], _NUMBER[padding], corners])
        cpu.sample[x.dtype](
            images.planes(_channels_last(x, cpu), c), images.in_order(grid).reshape(n, count, len(size)),
            out.reshape(n, count, c), geometry, cpu.point[x.dtype], cpu.short[x.dtype], parts,
        )  # fmt: skip
    return out.transpose(0, out.ndim - 1, *range(1, out.ndim - 1))


def sample_pulled(
    g: Array, x: Array, grid: Array, mode: str, padding: str, corners: bool, needs: Any
) -> tuple[Array | None, Array | None] | None:
    """The gradients of x and of the grid; None: no kernel serves.

    >>> x, grid = np.array([[[[1.0, 3.0]]]]), np.array([[[[0.0, 0.0]]]])
    >>> gx, ggrid = sample_pulled(np.ones((1, 1, 1, 1)), x, grid, "bilinear", "zeros", True, (True, True))
    >>> gx.tolist(), ggrid.tolist()
    ([[[[0.5, 0.5]]]], [[[[1.0, 0.0]]]])
    """
    if _on_device(x, grid, mode):
        made: tuple[Array | None, Array | None] = cuda.module(__name__).sample_pulled(
            g, x, grid, mode, _NUMBER[padding], corners, needs
        )
        return made
    if (cpu := _served(x, grid, g)) is None:
        return None
    n, c, *size = x.shape
    places = grid.shape[1:-1]
    count = math.prod(places)
    gx, ggrid = np.zeros((n, *size, c), x.dtype), np.zeros(grid.shape, x.dtype)
    if g.size:
        parts = min(threads.parts(g.size * _MOVED * 8 ** len(size) ** 0.5 + n * count * 40), n)
        geometry = np.array([*(1,) * (3 - len(size)), *size, _NUMBER[mode], _NUMBER[padding], corners])
        cpu.sample_pulled[x.dtype](
            images.planes(_channels_last(g, cpu), c), images.planes(_channels_last(x, cpu), c),
            images.in_order(grid).reshape(n, count, len(size)), gx.reshape(n, math.prod(size), c),
            ggrid.reshape(n, count, len(size)), geometry, cpu.point[x.dtype], bool(needs[0]), parts,
        )  # fmt: skip
    return gx.transpose(0, gx.ndim - 1, *range(1, gx.ndim - 1)), ggrid


_NUMBER = {name: i for names in (MODES, PADDINGS) for i, name in enumerate(names)}


def _on_device(x: Any, grid: Any, mode: str) -> bool:
    """Whether CUDA kernels serve these: what is read and spread must be no more than 32 bits count."""
    if not cuda.served(x) or type(grid) is not type(x) or grid.dtype != x.dtype:
        return False
    fits = max(x.size, 8 * grid.size) <= images.MOST
    return fits and x.ndim in ((4,) if mode == "bicubic" else (4, 5))


def _served(x: Any, grid: Any, *others: Any) -> Any:
    """cpu.py where its kernels serve these, else None."""
    return module(__name__) if images.served(x, *others) and images.served(grid) and grid.dtype == x.dtype else None


def _channels_last(x: Array, cpu: Any) -> Array:
    """x, copied by blocks if its channels are first in memory."""
    n, c, *size = x.shape
    if c == 1 or not x.flags.c_contiguous or not x.flags.aligned:
        return x
    out = np.empty((n, *size, c), x.dtype)
    parts = threads.parts(x.size * _MOVED)
    cpu.channels_last[x.dtype](x.reshape(n, c, math.prod(size)), out.reshape(n, math.prod(size), c), parts)
    return out.transpose(0, out.ndim - 1, *range(1, out.ndim - 1))

"""Images at any points: each point reads 1, 2 or 4 entries of every axis, and its gradient is spread over the same.

An entry outside of an image is read as a 0 that stands elsewhere, so that nothing inside is multiplied in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..gemm.cpu import VECTOR, address
from ..jit import kernel, routine
from ..polynomial import exact
from ..vector import call, keep, lanes, peek, poke

NEAREST, BILINEAR, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2
BLOCK = 32  # points whose entries are found before they are read


@exact
def entry(table: Any, i: Any) -> Any:
    return peek(np.int64(0), table + 8 * i)


@exact
def padded(at: Any, size: Any, padding: Any, corners: Any) -> tuple[Any, Any]:
    """Where in the image a coordinate is read, and the slope of that; where it is held at an edge, slope 0."""
    T = type(at)
    slope = T(1)
    if padding == REFLECTION:
        least = T(0) if corners else T(-0.5)
        span = T(size - 1) if corners else T(size)
        if span == T(0):
            return T(0), T(0)
        away = abs(at - least)
        turns = np.floor(away / span)
        rest = T(np.fmod(away, span))
        even = turns % T(2) == T(0)
        slope = T(-1) if (at < least) == even else T(1)
        at = rest + least if even else span - rest + least
    if padding != ZEROS:
        if not at > T(0):
            return T(0), T(0)
        if at >= T(size - 1):
            return T(size - 1), T(0)
    return at, slope


@exact
def coordinate(like: Any, g: Any, size: Any, padding: Any, corners: Any) -> tuple[Any, Any, Any]:
    """Where on an axis g lies; where it is read, by the padding; and the slope of that."""
    T = type(like)
    scale = T(size - 1) / T(2) if corners else T(size) / T(2)
    at = (g + T(1)) * scale if corners else ((g + T(1)) * T(size) - T(1)) / T(2)
    read, slope = padded(at, size, padding, corners)
    return at, read, slope * scale


@exact
def put(like: Any, weight: Any, slope: Any, k: Any, value: Any, rise: Any) -> None:
    size = VECTOR // lanes(like)
    poke(weight + k * size, value)
    poke(slope + k * size, rise)


@routine("void(T, i8, i8, i8, i8, i8, i8)")
def point(like, grid, axes, geometry, index, weight, slope):  # type: ignore[no-untyped-def]
    """The entries of every axis that a point of the grid reads, -1 for one outside, their weights and how these rise.

    `index`, `weight` and `slope` have 4 places for each of three axes; those of axes that are not there stay as they
    are. All but `axes` are addresses.
    """
    T, each = type(like), VECTOR // lanes(like)
    mode, padding = entry(geometry, 3), entry(geometry, 4)
    corners = entry(geometry, 5) > 0
    for d in range(3 - axes, 3):
        size, w, r = entry(geometry, d), weight + 4 * d * each, slope + 4 * d * each
        at, read, scale = coordinate(like, peek(like, grid + (2 - d) * each), size, padding, corners)
        if mode == BICUBIC:
            read, scale = at, T(size - 1) / T(2) if corners else T(size) / T(2)
        base = np.rint(read) if mode == NEAREST else np.floor(read)
        t = read - base
        count, before = 1, 0
        if mode == NEAREST:
            put(like, w, r, 0, T(1), T(0))
        elif mode == BILINEAR:
            count = 2
            put(like, w, r, 0, T(1) - t, -scale)
            put(like, w, r, 1, t, scale)
        else:
            count, before = 4, -1
            a, s = T(-0.75), T(1) - t
            u, v = t + T(1), s + T(1)
            put(like, w, r, 0, ((a * u - T(5) * a) * u + T(8) * a) * u - T(4) * a,
                scale * ((T(3) * a * u - T(10) * a) * u + T(8) * a))  # fmt: skip
            put(like, w, r, 1, ((a + T(2)) * t - (a + T(3))) * t * t + T(1),
                scale * (T(3) * (a + T(2)) * t - T(2) * (a + T(3))) * t)  # fmt: skip
            put(like, w, r, 2, ((a + T(2)) * s - (a + T(3))) * s * s + T(1),
                -scale * (T(3) * (a + T(2)) * s - T(2) * (a + T(3))) * s)  # fmt: skip
            put(like, w, r, 3, ((a * v - T(5) * a) * v + T(8) * a) * v - T(4) * a,
                -scale * ((T(3) * a * v - T(10) * a) * v + T(8) * a))  # fmt: skip
        for k in range(count):
            place = base + T(before + k)
            if mode == BICUBIC:
                place, _ = padded(place, size, padding, corners)
            inside = place >= T(0) and place <= T(size - 1)
            poke(index + 8 * (4 * d + k), np.int64(place) if inside else np.int64(-1))


@kernel("void(const T[:, :, ::1], const T[:, :, ::1], T[:, :, ::1], const i8[::1], i8, i8, i8)", parallel=True)
def sample(x, grid, out, geometry, find, run, parts):  # type: ignore[no-untyped-def]
    """x (N, D · H · W, C), grid (N, O, axes), out (N, O, C); `geometry` holds D, H, W, mode, padding and corners.

    `find` is the address of `point`, `run` that of `cpu.short`.
    """
    images, count, channels = out.shape
    like, size, axes = out.dtype.type(0), out.itemsize, grid.shape[2]
    each = 1 if geometry[3] == NEAREST else 2 if geometry[3] == BILINEAR else 4
    planes = each if axes == 3 else 1
    taps, pixel = planes * each * each, channels * size
    blocks = (count + BLOCK - 1) // BLOCK
    for part in prange(parts):
        index, weight = np.zeros((3, 4), np.int64), np.ones((3, 4), out.dtype)
        slope = np.ones((3, 4), out.dtype)
        at, shares = np.empty(BLOCK * taps, np.int64), np.empty(BLOCK * taps, out.dtype)
        zeros, partial = np.zeros(channels, out.dtype), np.empty((BLOCK, channels), out.dtype)
        for q in range(part * images * blocks // parts, (part + 1) * images * blocks // parts):
            n, begin = q // blocks, q % blocks * BLOCK
            these = min(BLOCK, count - begin)
            image = address(x) + n * x.shape[1] * pixel
            outside = address(zeros) - image
            step = min(taps, 4)
            for o in range(these):
                call(find, like, (
                    address(grid) + (n * count + begin + o) * axes * size, axes, address(geometry), address(index),
                    address(weight), address(slope),
                ))  # fmt: skip
                k = 0
                for i in range(planes):
                    for j in range(each):
                        for m in range(each):
                            z, y, w = index[0, i], index[1, j], index[2, m]
                            place = (z * geometry[1] + y) * geometry[2] + w
                            to = (k // step * BLOCK + o) * step + k % step
                            at[to] = outside if z < 0 or y < 0 or w < 0 else place * pixel
                            shares[to] = weight[0, i] * weight[1, j] * weight[2, m]
                            k += 1
            made = address(out) + (n * count + begin) * pixel
            for k in range(taps // step):
                table, share = address(at) + k * BLOCK * step * 8, address(shares) + k * BLOCK * step * size
                call(run, like, (
                    step, image, table, share, made if k == 0 else address(partial), pixel, these,
                ))  # fmt: skip
                if k > 0:
                    for o in range(these):
                        for c in range(channels):
                            out[n, begin + o, c] += partial[o, c]
        keep(at)
        keep(shares)
        keep(zeros)
        keep(partial)
        keep(index)
        keep(weight)
        keep(slope)


@kernel(
    "void(const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], T[:, :, ::1], T[:, :, ::1], "
    "const i8[::1], i8, b1, "
    "i8)",
    parallel=True,
    fast=True,
)
def sample_pulled(
    g: Any, x: Any, grid: Any, gx: Any, ggrid: Any, geometry: Any, find: int, spread: bool, parts: int
) -> None:
    """Adds to gx (N, D · H · W, C), if `spread`, and to ggrid (N, O, axes), which begin as zeros."""
    images, count, channels = g.shape
    T, like, axes = g.dtype.type, g.dtype.type(0), grid.shape[2]
    each = 1 if geometry[3] == NEAREST else 2 if geometry[3] == BILINEAR else 4
    planes = each if axes == 3 else 1
    for part in prange(parts):
        index, weight = np.zeros((3, 4), np.int64), np.ones((3, 4), g.dtype)
        slope = np.zeros((3, 4), g.dtype)
        for n in range(part * images // parts, (part + 1) * images // parts):
            for o in range(count):
                call(find, like, (
                    address(grid) + (n * count + o) * axes * grid.itemsize, axes, address(geometry), address(index),
                    address(weight), address(slope),
                ))  # fmt: skip
                pulled = g[n, o]
                for i in range(planes):
                    for j in range(each):
                        for m in range(each):
                            z, y, w = index[0, i], index[1, j], index[2, m]
                            if z < 0 or y < 0 or w < 0:
                                continue
                            place = (z * geometry[1] + y) * geometry[2] + w
                            share = weight[0, i] * weight[1, j] * weight[2, m]
                            pixel, total = x[n, place], T(0)
                            for c in range(channels):
                                total += pulled[c] * pixel[c]
                            if spread:
                                to = gx[n, place]
                                for c in range(channels):
                                    to[c] += share * pulled[c]
                            if slope[2, m] != T(0):
                                ggrid[n, o, 0] += total * weight[0, i] * weight[1, j] * slope[2, m]
                            if slope[1, j] != T(0) and axes > 1:
                                ggrid[n, o, 1] += total * weight[0, i] * slope[1, j] * weight[2, m]
                            if slope[0, i] != T(0) and axes > 2:
                                ggrid[n, o, 2] += total * slope[0, i] * weight[1, j] * weight[2, m]
        keep(index)
        keep(weight)
        keep(slope)

"""Images at any points: each point reads 1, 2 or 4 entries of every axis, and its gradient is spread over the same.

An entry outside of an image is read as a 0 that stands elsewhere, so that nothing inside is multiplied in its place.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..gemm.cpu import address
from ..jit import helper, kernel
from ..vector import call, keep

NEAREST, BILINEAR, BICUBIC = 0, 1, 2
ZEROS, BORDER, REFLECTION = 0, 1, 2
BLOCK = 32  # points whose entries are found before they are read
FAR = 1e9  # where a coordinate is no entry's number


@helper
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
        rest = away - turns * span if turns < T(FAR) else T(np.fmod(away, span))
        even = turns % T(2) == T(0)
        slope = T(-1) if (at < least) == even else T(1)
        at = rest + least if even else span - rest + least
    if padding != ZEROS:
        if not at > T(0):
            return T(0), T(0)
        if at >= T(size - 1):
            return T(size - 1), T(0)
    return at, slope


@helper
def taps_of(
    g: Any, size: Any, mode: Any, padding: Any, corners: Any, index: Any, weight: Any, slope: Any, d: Any
) -> None:
    """The entries of axis d that coordinate g reads, -1 for one outside; their weights, and how these rise with g."""
    T = type(g)
    scale = T(size - 1) / T(2) if corners else T(size) / T(2)
    at, factor = (g + T(1)) * scale if corners else ((g + T(1)) * T(size) - T(1)) / T(2), T(1)
    if mode != BICUBIC:
        at, factor = padded(at, size, padding, corners)
    base = np.rint(at) if mode == NEAREST else np.floor(at)
    t, factor = at - base, factor * scale
    if mode == NEAREST:
        weight[d, 0], slope[d, 0] = T(1), T(0)
    elif mode == BILINEAR:
        weight[d, 0], weight[d, 1], slope[d, 0], slope[d, 1] = T(1) - t, t, -factor, factor
    else:
        a, s = T(-0.75), T(1) - t
        weight[d, 0] = ((a * (t + T(1)) - T(5) * a) * (t + T(1)) + T(8) * a) * (t + T(1)) - T(4) * a
        weight[d, 1] = ((a + T(2)) * t - (a + T(3))) * t * t + T(1)
        weight[d, 2] = ((a + T(2)) * s - (a + T(3))) * s * s + T(1)
        weight[d, 3] = ((a * (s + T(1)) - T(5) * a) * (s + T(1)) + T(8) * a) * (s + T(1)) - T(4) * a
        slope[d, 0] = factor * ((T(3) * a * (t + T(1)) - T(10) * a) * (t + T(1)) + T(8) * a)
        slope[d, 1] = factor * (T(3) * (a + T(2)) * t - T(2) * (a + T(3))) * t
        slope[d, 2] = -factor * (T(3) * (a + T(2)) * s - T(2) * (a + T(3))) * s
        slope[d, 3] = -factor * ((T(3) * a * (s + T(1)) - T(10) * a) * (s + T(1)) + T(8) * a)
    count, before = (1, 0) if mode == NEAREST else (2, 0) if mode == BILINEAR else (4, -1)
    for k in range(count):
        entry = base + T(before + k)
        if mode == BICUBIC:
            entry, _ = padded(entry, size, padding, corners)
        inside = entry >= T(0) and entry <= T(size - 1)
        index[d, k] = np.int64(entry) if inside else -1


@helper
def point(grid: Any, n: Any, o: Any, geometry: Any, index: Any, weight: Any, slope: Any) -> None:
    """The entries of all axes that a point reads; those of axes that are not there stay as they are."""
    axes = grid.shape[2]
    for d in range(3 - axes, 3):
        taps_of(grid[n, o, 2 - d], geometry[d], geometry[3], geometry[4], geometry[5] > 0, index, weight, slope, d)


@kernel("void(const T[:, :, ::1], const T[:, :, ::1], T[:, :, ::1], const i8[::1], i8, i8)", parallel=True)
def sample(x, grid, out, geometry, run, parts):  # type: ignore[no-untyped-def]
    """x (N, D · H · W, C), grid (N, O, axes), out (N, O, C); `geometry` holds D, H, W, mode, padding and corners."""
    images, count, channels = out.shape
    like, size = out.dtype.type(0), out.itemsize
    each = 1 if geometry[3] == NEAREST else 2 if geometry[3] == BILINEAR else 4
    planes = each if grid.shape[2] == 3 else 1
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
                point(grid, n, begin + o, geometry, index, weight, slope)
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


@kernel(
    "void(const T[:, :, ::1], const T[:, :, ::1], const T[:, :, ::1], T[:, :, ::1], T[:, :, ::1], const i8[::1], b1, "
    "i8)",
    parallel=True,
    fast=True,
)
def sample_pulled(g: Any, x: Any, grid: Any, gx: Any, ggrid: Any, geometry: Any, spread: bool, parts: int) -> None:
    """Adds to gx (N, D · H · W, C), if `spread`, and to ggrid (N, O, axes), which begin as zeros."""
    images, count, channels = g.shape
    T, axes = g.dtype.type, grid.shape[2]
    each = 1 if geometry[3] == NEAREST else 2 if geometry[3] == BILINEAR else 4
    planes = each if axes == 3 else 1
    for part in prange(parts):
        index, weight = np.zeros((3, 4), np.int64), np.ones((3, 4), g.dtype)
        slope = np.zeros((3, 4), g.dtype)
        for n in range(part * images // parts, (part + 1) * images // parts):
            for o in range(count):
                point(grid, n, o, geometry, index, weight, slope)
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

"""Depthwise convolution: every channel by a kernel of its own, so vectors of neighbouring channels go side by side.

`direct` says what a geometry, its taps and a block are. `vector.lanewise` holds the sums of eight neighbouring places,
or of eight taps, in registers. Channels that do not fill a vector go one by one.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..gemm.cpu import address, zero_like
from ..jit import helper, kernel
from ..vector import keep, lanes, lanewise, peek, poke
from .direct import inside, scratch_bytes, seen, window_of


@helper
def sums(like, x, x_rows, offsets, w, w_row, start, start_row, y, y_row, rows, depth, channels, size):  # type: ignore[no-untyped-def]
    """y[m, c] = start[m, c] + Σ_k x[x_rows[m] + offsets[k]][c] · w[k, c]; tables and strides in bytes."""
    count = lanes(like)
    for c in range(0, channels // count * count, count):
        at = c * size
        m = 0
        while rows - m >= 8:
            lanewise(
                like, 8, x + at, x_rows + 8 * m, offsets, w + at, w_row, start + m * start_row + at, start_row,
                y + m * y_row + at, y_row, depth,
            )  # fmt: skip
            m += 8
        while rows - m >= 4:
            lanewise(
                like, 4, x + at, x_rows + 8 * m, offsets, w + at, w_row, start + m * start_row + at, start_row,
                y + m * y_row + at, y_row, depth,
            )  # fmt: skip
            m += 4
        while m < rows:
            lanewise(
                like, 1, x + at, x_rows + 8 * m, offsets, w + at, w_row, start + m * start_row + at, start_row,
                y + m * y_row + at, y_row, depth,
            )  # fmt: skip
            m += 1
    for c in range(channels // count * count, channels):
        for m in range(rows):
            total = peek(like, start + m * start_row + c * size)
            base = x + entry(x_rows, m) + c * size
            for k in range(depth):
                total += peek(like, base + entry(offsets, k)) * peek(like, w + k * w_row + c * size)
            poke(y + m * y_row + c * size, total)


@helper
def entry(table, i):  # type: ignore[no-untyped-def]
    return peek(np.int64(0), table + 8 * i)


@helper
def taps_of(geometry, planes, rows, columns, plane_bytes, row_bytes, pixel, whole):  # type: ignore[no-untyped-def]
    """Where each tap lies under a window."""
    table = np.empty(len(planes) * len(rows) * len(columns), np.int64)
    t = 0
    for i in range(len(planes)):
        for j in range(len(rows)):
            for k in range(len(columns)):
                table[t] = (planes[i] if whole else i) * plane_bytes + rows[j] * row_bytes + columns[k] * pixel
                t += 1
    return table


@kernel(
    "void(const T[:, :, :, :, ::1], const T[:, ::1], const T[::1], T[:, :, :, :, :], i8[::1], i8[::1], i8[::1], "
    "i8[::1], i8)",
    parallel=True,
)
def correlate(x, kernels, bias, y, geometry, planes, rows, columns, parts):  # type: ignore[no-untyped-def]
    """y[n, o, c] = bias[c] + Σ over taps of x[n, o·stride + start + tap, c] · kernels[tap, c]."""
    size, like, channels = x.itemsize, bias[0], x.shape[4]
    whole = inside(geometry)
    plane_bytes, row_bytes, _ = seen(x, geometry, planes, whole)
    pixel = channels * size
    blocks = len(x) * geometry[3] * ((geometry[4] + geometry[16] - 1) // geometry[16])
    for part in prange(parts):
        table = taps_of(geometry, planes, rows, columns, plane_bytes, row_bytes, pixel, whole)
        places = np.arange(geometry[5]) * geometry[8] * pixel
        scratch = np.empty(scratch_bytes(x, geometry, planes, whole), np.uint8)
        for q in range(part * blocks // parts, (part + 1) * blocks // parts):
            n, z, first, last, base = window_of(like, x, geometry, planes, q, whole, address(scratch))
            for o in range(first, last):
                sums(
                    like, base + (o - first) * geometry[7] * row_bytes, address(places), address(table),
                    address(kernels), kernels.strides[0], address(bias), np.int64(0),
                    address(y) + n * y.strides[0] + z * y.strides[1] + o * y.strides[2], y.strides[3], geometry[5],
                    len(table), channels, size,
                )  # fmt: skip
        keep(scratch)
        keep(table)
        keep(places)


@kernel(
    "void(const T[:, :, :, :, ::1], const T[:, :, :, :, ::1], T[:, :, ::1], i8[::1], i8[::1], i8[::1], i8[::1], i8)",
    parallel=True,
)
def weight_gradient(x, g, out, geometry, planes, rows, columns, parts):  # type: ignore[no-untyped-def]
    """out[part, tap, c] = Σ over a share of the places of x[tap there, c] · g[place, c]."""
    size, like, channels = x.itemsize, out[0, 0, 0], x.shape[4]
    whole = inside(geometry)
    plane_bytes, row_bytes, _ = seen(x, geometry, planes, whole)
    pixel = channels * size
    blocks = len(x) * geometry[3] * ((geometry[4] + geometry[16] - 1) // geometry[16])
    for part in prange(parts):
        table = taps_of(geometry, planes, rows, columns, plane_bytes, row_bytes, pixel, whole)
        places = np.empty(geometry[16] * geometry[5], np.int64)
        for o in range(geometry[16]):
            for w in range(geometry[5]):
                places[o * geometry[5] + w] = o * geometry[7] * row_bytes + w * geometry[8] * pixel
        scratch = np.empty(scratch_bytes(x, geometry, planes, whole), np.uint8)
        out[part] = zero_like(like)
        c_at = address(out) + part * out.strides[0]
        for q in range(part * blocks // parts, (part + 1) * blocks // parts):
            n, z, first, last, base = window_of(like, x, geometry, planes, q, whole, address(scratch))
            source = address(g) + (((n * geometry[3] + z) * geometry[4] + first) * geometry[5]) * pixel
            sums(
                like, base, address(table), address(places), source, pixel, c_at, pixel, c_at, pixel, len(table),
                (last - first) * geometry[5], channels, size,
            )  # fmt: skip
        keep(scratch)
        keep(table)
        keep(places)

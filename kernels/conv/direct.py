"""Direct convolution: no matrix of windows is ever written; the GEMM tile reads them where they lie.

With the channels last in memory, the row of outputs (n, o₁, o₂, ·) is a product of matrices: row o₃ of A is the window
of x there. From one o₃ to the next it moves by stride · channels, and entry k of it (a tap and a channel) lies at an
offset that is the same for all windows. That is all `gemm.panel` needs: a stride between rows, and a table of offsets.

A *block* is a few rows of outputs of one image. Where windows reach out of the image, the rows of x that a block sees
are copied into scratch memory with zeros around them; it stays in the second-level cache.

`geometry` holds integers, three axes each: size of x, places, stride, start (where the first window begins, often
negative), extent of a window; then groups, rows of a block. `taps` are the offsets of a kernel's taps on each axis.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..gemm.cpu import VECTOR, WIDEST, address, copy_rows, edge_panel, pack_panel, width, zero_like
from ..jit import helper, kernel
from ..vector import call, keep, poke

DEPTH = 384  # how much of a packed kernel a pass over a block takes: a panel of it stays in the first-level cache


@helper
def panels_bytes(columns, size):  # type: ignore[no-untyped-def]
    """The bytes of a row of all panels of so many columns."""
    total, left = np.int64(0), columns
    while left > 0:
        vectors = width(left, size)
        total += vectors * VECTOR
        left -= vectors * VECTOR // size
    return total


@kernel("void(const T[::1], i8[::1], i8, i8, i8, i8, i8, T[:, ::1])")
def pack(weight, taps, groups, depth, columns, depth_stride, column_stride, out):  # type: ignore[no-untyped-def]
    """The kernel as panels, a row of `out` for each group: row (tap, channel of the sum), column the channel made.

    Strides are in entries: that of the summed channel, that of the one made; groups lie one after the other.
    """
    size = weight.itemsize
    like = weight[0]
    for g in range(groups):
        at = address(out) + g * out.strides[0]
        start = address(weight) + g * (len(weight) // groups) * size
        j = np.int64(0)
        while j < columns:
            vectors = width(columns - j, size)
            these = min(columns - j, vectors * VECTOR // size)
            for t in range(len(taps)):
                source = start + (taps[t] + j * column_stride) * size
                pack_panel(like, source, depth_stride * size, column_stride * size, depth, these, vectors, size, at)
                at += depth * vectors * VECTOR
            j += these


@helper
def fill(like, x, n, plane, row, rows, column, columns, scratch):  # type: ignore[no-untyped-def]
    """Rows of x with all channels, zeros outside x, into scratch memory of (rows, columns, channels)."""
    _, depth, height, breadth, channels = x.shape
    size = x.itemsize
    line = columns * channels * size
    left = min(max(-column, 0), columns)
    right = min(max(breadth - column, left), columns)
    for i in range(rows):
        target = scratch + i * line
        h = row + i
        if plane < 0 or plane >= depth or h < 0 or h >= height:
            for j in range(columns * channels):
                poke(target + j * size, zero_like(like))
            continue
        for j in range(left * channels):
            poke(target + j * size, zero_like(like))
        source = address(x) + (((n * depth + plane) * height + h) * breadth + column + left) * channels * size
        length = (right - left) * channels
        copy_rows(like, source, 0, 1, length, size, target + left * channels * size, 0)
        for j in range(right * channels, columns * channels):
            poke(target + j * size, zero_like(like))


@helper
def inside(geometry):  # type: ignore[no-untyped-def]
    """Whether no window reaches out of x."""
    for a in range(3):
        last = (geometry[3 + a] - 1) * geometry[6 + a] + geometry[9 + a] + geometry[12 + a]
        if geometry[9 + a] < 0 or last > geometry[a]:
            return False
    return True


@helper
def seen(x, geometry, planes, whole):  # type: ignore[no-untyped-def]
    """(bytes from plane to plane, from row to row, columns of a row) of the memory that windows are read from."""
    channels, size = x.shape[4], x.itemsize
    if whole:
        row = x.shape[3] * channels * size
        return x.shape[2] * row, row, np.int64(x.shape[3])
    columns = (geometry[5] - 1) * geometry[8] + geometry[14]
    rows = (geometry[16] - 1) * geometry[7] + geometry[13]
    row = columns * channels * size
    return rows * row, row, columns


@helper
def window_of(like, x, geometry, planes, q, whole, scratch):  # type: ignore[no-untyped-def]
    """Block q: its image, plane and rows of outputs, and the address of its first window, after copying if need be."""
    blocks = (geometry[4] + geometry[16] - 1) // geometry[16]
    n, rest = q // (geometry[3] * blocks), q % (geometry[3] * blocks)
    z, first = rest // blocks, rest % blocks * geometry[16]
    last = min(geometry[4], first + geometry[16])
    plane_bytes, row_bytes, columns = seen(x, geometry, planes, whole)
    plane, row, column = z * geometry[6] + geometry[9], first * geometry[7] + geometry[10], geometry[11]
    if whole:
        base = address(x) + n * x.strides[0] + plane * plane_bytes + row * row_bytes + column * x.strides[3]
        return n, z, first, last, base
    rows = (last - 1 - first) * geometry[7] + geometry[13]
    for i in range(len(planes)):
        fill(like, x, n, plane + planes[i], row, rows, column, columns, scratch + i * plane_bytes)
    return n, z, first, last, scratch


@helper
def scratch_bytes(x, geometry, planes, whole):  # type: ignore[no-untyped-def]
    return np.int64(64) if whole else len(planes) * seen(x, geometry, planes, whole)[0] + 64


@kernel(
    "void(const T[:, :, :, :, ::1], const T[:, ::1], const T[:, ::1], T[:, :, :, :, :], i8[::1], i8[::1], i8[::1], "
    "i8[::1], i8, i8)",
    parallel=True,
)
def correlate(x, packed, bias, y, geometry, planes, rows, columns, run, parts):  # type: ignore[no-untyped-def]
    """y[n, o, g·K + k] = bias + Σ over taps and channels of x at o·stride + start + tap, times the packed kernel.

    x (N, D, H, W, C) and y (N, D', H', W', K), whose places may lie apart in memory: channels are neighbours. A row of
    `bias`, as wide as the panels, is where the sums of a group begin. planes, rows, columns: the taps of each axis.
    """
    size, like = x.itemsize, bias[0, 0]
    groups = geometry[15]
    channels, made = x.shape[4] // groups, y.shape[4] // groups
    whole = inside(geometry)
    plane_bytes, row_bytes, _ = seen(x, geometry, planes, whole)
    depth = len(planes) * len(rows) * len(columns) * channels
    blocks = len(x) * geometry[3] * ((geometry[4] + geometry[16] - 1) // geometry[16])
    for part in prange(parts):
        offsets = np.empty(depth, np.int64)
        k = np.int64(0)
        for i in range(len(planes)):
            for j in range(len(rows)):
                for t in range(len(columns)):
                    at = (planes[i] if whole else i) * plane_bytes + rows[j] * row_bytes
                    for c in range(channels):
                        offsets[k] = at + (columns[t] * x.shape[4] + c) * size
                        k += 1
        scratch = np.empty(scratch_bytes(x, geometry, planes, whole), np.uint8)
        edge = np.empty(geometry[5] * WIDEST * VECTOR, np.uint8)
        for q in range(part * blocks // parts, (part + 1) * blocks // parts):
            n, z, first, last, base = window_of(like, x, geometry, planes, q, whole, address(scratch))
            for g in range(groups):
                group = base + g * channels * size
                panel_at, start, j = address(packed) + g * packed.strides[0], address(bias) + g * bias.strides[0], 0
                while j < made:
                    vectors = width(made - j, size)
                    these = min(made - j, vectors * VECTOR // size)
                    for k0 in range(0, depth, DEPTH):
                        these_k = min(DEPTH, depth - k0)
                        b = panel_at + k0 * vectors * VECTOR
                        table = address(offsets) + 8 * k0
                        for o in range(first, last):
                            a = group + (o - first) * geometry[7] * row_bytes
                            c_at = address(y) + n * y.strides[0] + z * y.strides[1] + o * y.strides[2]
                            c_at += (g * made + j) * size
                            begin, begin_row = (start, np.int64(0)) if k0 == 0 else (c_at, y.strides[3])
                            a_row = geometry[8] * x.shape[4] * size
                            if these == vectors * VECTOR // size:
                                block = (vectors, a, a_row, table, b, begin, begin_row, c_at, y.strides[3],
                                         geometry[5], these_k)  # fmt: skip
                                call(run, like, block)
                            else:
                                edge_panel(
                                    run, like, vectors, these, a, a_row, table, b, begin, begin_row, c_at,
                                    y.strides[3], geometry[5], these_k, address(edge), size,
                                )  # fmt: skip
                    panel_at += depth * vectors * VECTOR
                    start += vectors * VECTOR
                    j += these
        keep(offsets)
        keep(scratch)
        keep(edge)


@kernel(
    "void(const T[:, :, :, :, ::1], const T[:, :, :, :, ::1], T[:, :, :, ::1], i8[::1], i8[::1], i8[::1], i8[::1], "
    "i8, i8)",
    parallel=True,
)
def weight_gradient(x, g, out, geometry, planes, rows, columns, run, parts):  # type: ignore[no-untyped-def]
    """out[part, group, (tap, channel), k] = Σ over a share of the places of x at the tap · g there.

    The roles change: rows of A are a tap's channels, which are neighbours, and its columns the places of a block; g, at
    these places, is B. The last axis of `out` is as wide as the panels.
    """
    size, like = x.itemsize, out[0, 0, 0, 0]
    groups = geometry[15]
    channels, made = x.shape[4] // groups, g.shape[4] // groups
    whole = inside(geometry)
    plane_bytes, row_bytes, _ = seen(x, geometry, planes, whole)
    places = geometry[16] * geometry[5]
    blocks = len(x) * geometry[3] * ((geometry[4] + geometry[16] - 1) // geometry[16])
    near = groups == 1
    for t in range(len(columns)):
        near = near and columns[t] == t
    runs = np.int64(1) if near else np.int64(len(columns))  # neighbouring taps make one run of rows
    length = len(columns) * channels if near else channels
    for part in prange(parts):
        offsets = np.empty(places, np.int64)
        for o in range(geometry[16]):
            for w in range(geometry[5]):
                offsets[o * geometry[5] + w] = o * geometry[7] * row_bytes + w * geometry[8] * x.shape[4] * size
        scratch = np.empty(scratch_bytes(x, geometry, planes, whole), np.uint8)
        packed = np.empty(places * WIDEST * VECTOR, np.uint8)
        out[part] = 0
        for q in range(part * blocks // parts, (part + 1) * blocks // parts):
            n, z, first, last, base = window_of(like, x, geometry, planes, q, whole, address(scratch))
            count = (last - first) * geometry[5]
            line = g.shape[4] * size
            source = address(g) + (((n * geometry[3] + z) * geometry[4] + first) * geometry[5]) * line
            for group in range(groups):
                j = np.int64(0)
                at = np.int64(0)  # bytes into a row of out
                while j < made:
                    vectors = width(made - j, size)
                    these = min(made - j, vectors * VECTOR // size)
                    pack_panel(
                        like, source + (group * made + j) * size, line, size, count, these, vectors, size,
                        address(packed),
                    )  # fmt: skip
                    for i in range(len(planes)):
                        for r in range(len(rows)):
                            for t in range(runs):
                                a = base + (planes[i] if whole else i) * plane_bytes + rows[r] * row_bytes
                                a += (columns[t] * x.shape[4] + group * channels) * size
                                m = ((i * len(rows) + r) * len(columns) + t) * channels
                                c = address(out) + part * out.strides[0] + group * out.strides[1]
                                c += m * out.strides[2] + at
                                block = (vectors, a, size, address(offsets), address(packed), c, out.strides[2], c,
                                         out.strides[2], length, count)  # fmt: skip
                                call(run, like, block)
                    at += vectors * VECTOR
                    j += these
        keep(offsets)
        keep(scratch)
        keep(packed)

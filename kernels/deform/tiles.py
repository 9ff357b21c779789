"""Deformable convolution by tiles of pixels: what their taps read is written side by side, and multiplied at once.

A *column* holds, for one place of the result, what each tap reads of each channel, times the mask: with the channels
last in memory it is a sum of four pixels, channel by channel. The columns of a tile stay in the second-level cache;
times the packed kernel they are the tile's outputs. Backward reads the columns again instead of keeping them.

In a column, groups of the weight lie one after the other, in them taps, in these the group's channels. A *run* is as
many channels as one group and one set of offsets share. For a pixel beside the image zeros are read, and what is added
to it goes where nobody reads. Backward, a thread has whole images, so that no two write to one pixel.

`layout` holds integers: size of x, places, stride, padding before (two axes each), channels of x, groups, taps, runs,
then where each tap is (two axes), then the first channel, how many, the group and the set of offsets of each run.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from ..gemm.cpu import VECTOR, WIDEST, address, edge_panel, pack_panel, width
from ..jit import helper, inlined, kernel, routine
from ..vector import call, keep, lanes, peek, poke
from .mixing import mix, unmix

PIXELS = 32  # of a tile
DEPTH = 384  # how much of a packed kernel a pass over a tile takes: a panel of it stays in the first-level cache
HEAD = 12  # numbers of a layout before its taps


# ---- positions
@inlined
def number(layout, i):  # type: ignore[no-untyped-def]
    return peek(np.int64(0), layout + 8 * i)


@inlined
def between(base, offset, size):  # type: ignore[no-untyped-def]
    """The pixel before a position, and how far behind it the position is; -2 where all around it is outside."""
    at = type(offset)(base) + offset
    if not (at >= -1 and at < size):
        return np.int64(-2), at if at != at else type(offset)(0)
    low = np.int64(math.floor(at))
    return low, at - type(offset)(low)


@inlined
def pixel(layout, image, i, j, line, otherwise):  # type: ignore[no-untyped-def]
    """The address of pixel (i, j) of an image whose pixels take `line` bytes, or `otherwise` if it is outside."""
    if i >= 0 and i < number(layout, 0) and j >= 0 and j < number(layout, 1):
        return image + (i * number(layout, 1) + j) * line
    return otherwise


@inlined
def corner(layout, place):  # type: ignore[no-untyped-def]
    """Where the window of a place of the result begins."""
    row, column = place // number(layout, 3), place % number(layout, 3)
    return row * number(layout, 4) - number(layout, 6), column * number(layout, 5) - number(layout, 7)


@inlined
def run_of(layout, taps, r):  # type: ignore[no-untyped-def]
    """A run's first channel, how many it has, its set of offsets, and where in a column its first tap begins."""
    at = HEAD + 2 * taps + 4 * r
    channel, group = number(layout, at), number(layout, at + 2)
    per_group = number(layout, 8) // number(layout, 9)
    return channel, number(layout, at + 1), number(layout, at + 3), group * (taps - 1) * per_group + channel


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def fill(like, x, offset, mask, layout, moves, n, first, count, zeros, columns):  # type: ignore[no-untyped-def]
    """The columns of `count` places of image n from place `first` on; all are addresses, that of no mask is 0.

    `moves` are the taps of all sets of offsets.
    """
    size, one = VECTOR // lanes(like), type(like)(1)
    channels, taps = number(layout, 8), number(layout, 10)
    per_group, places = channels // number(layout, 9), number(layout, 2) * number(layout, 3)
    image = x + n * number(layout, 0) * number(layout, 1) * channels * size
    for p in range(count):
        top, left = corner(layout, first + p)
        for r in range(number(layout, 11)):
            channel, length, group, begin = run_of(layout, taps, r)
            whole = length // lanes(like)
            here, line = image + channel * size, channels * size
            for tap in range(taps):
                move = n * moves + group * taps + tap
                at = offset + (2 * move * places + first + p) * size
                i, down = between(top + number(layout, HEAD + 2 * tap), peek(like, at), number(layout, 0))
                j, right = between(
                    left + number(layout, HEAD + 2 * tap + 1), peek(like, at + places * size), number(layout, 1)
                )
                factor = peek(like, mask + (move * places + first + p) * size) if mask != 0 else one
                a, b = pixel(layout, here, i, j, line, zeros), pixel(layout, here, i, j + 1, line, zeros)
                c, d = pixel(layout, here, i + 1, j, line, zeros), pixel(layout, here, i + 1, j + 1, line, zeros)
                wa, wb = (one - down) * (one - right) * factor, (one - down) * right * factor
                wc, wd = down * (one - right) * factor, down * right * factor
                out = columns + (p * taps * channels + begin + tap * per_group) * size
                if whole > 0:
                    mix(like, a, b, c, d, wa, wb, wc, wd, out, whole)
                for k in range(whole * VECTOR, length * size, size):
                    value = wa * peek(like, a + k) + wb * peek(like, b + k)
                    poke(out + k, value + wc * peek(like, c + k) + wd * peek(like, d + k))


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def spread(like, x, offset, mask, layout, moves, n, first, count, zeros, g, gx, go, gm):  # type: ignore[no-untyped-def]
    """The gradients of x, offsets and mask from those of a tile's columns, at `g`; the rest is as in `fill`.

    `zeros` are as many as a pixel has channels, and behind them there is room for as many that nobody reads.
    """
    size, one = VECTOR // lanes(like), type(like)(1)
    channels, taps = number(layout, 8), number(layout, 10)
    per_group, places = channels // number(layout, 9), number(layout, 2) * number(layout, 3)
    image = n * number(layout, 0) * number(layout, 1) * channels * size
    dump = zeros + channels * size
    for p in range(count):
        top, left = corner(layout, first + p)
        for r in range(number(layout, 11)):
            channel, length, group, begin = run_of(layout, taps, r)
            whole = length // lanes(like)
            here, line = image + channel * size, channels * size
            for tap in range(taps):
                move = n * moves + group * taps + tap
                at = (2 * move * places + first + p) * size
                i, down = between(top + number(layout, HEAD + 2 * tap), peek(like, offset + at), number(layout, 0))
                j, right = between(
                    left + number(layout, HEAD + 2 * tap + 1),
                    peek(like, offset + at + places * size),
                    number(layout, 1),
                )
                masked = (move * places + first + p) * size
                factor = peek(like, mask + masked) if mask != 0 else one
                a, b = pixel(layout, x + here, i, j, line, zeros), pixel(layout, x + here, i, j + 1, line, zeros)
                c = pixel(layout, x + here, i + 1, j, line, zeros)
                d = pixel(layout, x + here, i + 1, j + 1, line, zeros)
                ga, gb = pixel(layout, gx + here, i, j, line, dump), pixel(layout, gx + here, i, j + 1, line, dump)
                gc = pixel(layout, gx + here, i + 1, j, line, dump)
                gd = pixel(layout, gx + here, i + 1, j + 1, line, dump)
                up, near = one - down, one - right
                wa, wb, wc, wd = up * near * factor, up * right * factor, down * near * factor, down * right * factor
                column = g + (p * taps * channels + begin + tap * per_group) * size
                da, db, dc, dd = one - one, one - one, one - one, one - one
                if whole > 0:
                    da, db, dc, dd = unmix(like, column, a, b, c, d, ga, gb, gc, gd, wa, wb, wc, wd, whole)
                for k in range(whole * VECTOR, length * size, size):
                    value = peek(like, column + k)
                    da += value * peek(like, a + k)
                    db += value * peek(like, b + k)
                    dc += value * peek(like, c + k)
                    dd += value * peek(like, d + k)
                    poke(ga + k, peek(like, ga + k) + wa * value)
                    poke(gb + k, peek(like, gb + k) + wb * value)
                    poke(gc + k, peek(like, gc + k) + wc * value)
                    poke(gd + k, peek(like, gd + k) + wd * value)
                go_y, go_x = go + at, go + at + places * size
                poke(go_y, peek(like, go_y) + factor * (near * (dc - da) + right * (dd - db)))
                poke(go_x, peek(like, go_x) + factor * (up * (db - da) + down * (dd - dc)))
                if mask != 0:
                    read = up * (near * da + right * db) + down * (near * dc + right * dd)
                    poke(gm + masked, peek(like, gm + masked) + read)


# ---- products
@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def multiply(like, run, a, a_row, table, depth, packed, start, c, c_row, made, rows, edge):  # type: ignore[no-untyped-def]
    """C[rows, made] = start + A · B for B packed as panels; `start` is a row as wide as these, `table` A's offsets."""
    size, j = VECTOR // lanes(like), np.int64(0)
    while j < made:
        vectors = width(made - j, size)
        these = min(made - j, vectors * VECTOR // size)
        for k0 in range(0, depth, DEPTH):
            portion = min(DEPTH, depth - k0)
            b, target = packed + k0 * vectors * VECTOR, c + j * size
            begin, begin_row = (start, np.int64(0)) if k0 == 0 else (target, c_row)
            if these == vectors * VECTOR // size:
                call(run, like, (vectors, a, a_row, table + 8 * k0, b, begin, begin_row, target, c_row, rows, portion))
            else:
                edge_panel(
                    run, like, vectors, these, a, a_row, table + 8 * k0, b, begin, begin_row, target, c_row, rows,
                    portion, edge, size,
                )  # fmt: skip
        packed += depth * vectors * VECTOR
        start += vectors * VECTOR
        j += these


@helper
def address_or_0(array):  # type: ignore[no-untyped-def]
    return address(array) if array.size > 0 else np.int64(0)


@kernel(
    "void(const T[:, :, :, ::1], const T[:, :, :, ::1], const T[:, :, ::1], const T[:, ::1], const T[:, ::1], "
    "T[:, :, ::1], T[::1], i8[::1], i8, i8, i8, i8)",
    parallel=True,
)
def forward(x, offset, mask, packed, bias, y, zeros, layout, read, times, run, parts):  # type: ignore[no-untyped-def]
    """y (N, places, K) of x (N, H, W, C), offsets (N, sets · taps, 2, places) and a mask without the 2, or empty.

    A row of `packed` is the kernel of a group, one of `bias`, as wide as its panels, where its sums begin; `zeros` are
    as many as there are channels. `read`, `times` and `run` are the addresses of `fill`, `multiply` and gemm's panel.
    """
    size, like = x.itemsize, y.dtype.type(0)
    groups = len(packed)
    depth, made = layout[10] * (x.shape[3] // groups), y.shape[2] // groups
    tiles = (y.shape[1] + PIXELS - 1) // PIXELS
    for part in prange(parts):
        table, columns = np.empty(depth, np.int64), np.empty(PIXELS * depth * groups, y.dtype)
        edge = np.empty(PIXELS * WIDEST * VECTOR, np.uint8)
        for k in range(depth):
            table[k] = k * size
        for q in range(part * len(y) * tiles // parts, (part + 1) * len(y) * tiles // parts):
            n, first = q // tiles, q % tiles * PIXELS
            count = min(PIXELS, y.shape[1] - first)
            call(read, like, (
                address(x), address(offset), address_or_0(mask), address(layout), offset.shape[1], n, first, count,
                address(zeros), address(columns),
            ))  # fmt: skip
            for g in range(groups):
                call(times, like, (
                    run, address(columns) + g * depth * size, depth * groups * size, address(table), depth,
                    address(packed) + g * packed.strides[0], address(bias) + g * bias.strides[0],
                    address(y) + n * y.strides[0] + first * y.strides[1] + g * made * size, y.strides[1], made, count,
                    address(edge),
                ))  # fmt: skip
        keep(table)
        keep(columns)
        keep(edge)


@kernel(
    "void(const T[:, :, :, ::1], const T[:, :, :, ::1], const T[:, :, ::1], const T[:, ::1], const T[:, :, ::1], "
    "T[:, :, :, ::1], T[:, :, :, ::1], T[:, :, ::1], T[:, :, :, ::1], T[:, ::1], i8[::1], i8, i8, i8, i8, i8)",
    parallel=True,
)
def backward(x, offset, mask, turned, g, gx, go, gm, gw, zeros, layout, read, write, times, run, parts):  # type: ignore[no-untyped-def]
    """The gradients of x, offsets and mask and a part's term (parts, groups, depth, panels) of gw; zeros before.

    g is (N, places, K); a row of `turned` is a group's kernel with the channels made as its rows, packed. A row of
    `zeros` is a part's: zeros as wide as these panels, and in the end what `spread` wants, whose address is `write`.
    """
    size, like = x.itemsize, gx.dtype.type(0)
    groups = len(turned)
    depth, made = layout[10] * (x.shape[3] // groups), g.shape[2] // groups
    for part in prange(parts):
        table, across = np.empty(made, np.int64), np.empty(PIXELS, np.int64)
        for k in range(made):
            table[k] = k * size
        for k in range(PIXELS):
            across[k] = k * depth * groups * size
        columns, pulled = np.empty(PIXELS * depth * groups, gx.dtype), np.empty(PIXELS * depth * groups, gx.dtype)
        edge, packed = np.empty(PIXELS * WIDEST * VECTOR, np.uint8), np.empty(PIXELS * WIDEST * VECTOR, np.uint8)
        nothing = address(zeros) + part * zeros.strides[0]
        for n in range(part * len(x) // parts, (part + 1) * len(x) // parts):
            for first in range(0, g.shape[1], PIXELS):
                count = min(PIXELS, g.shape[1] - first)
                call(read, like, (
                    address(x), address(offset), address_or_0(mask), address(layout), offset.shape[1], n, first, count,
                    nothing, address(columns),
                ))  # fmt: skip
                for group in range(groups):
                    source = address(g) + n * g.strides[0] + first * g.strides[1] + group * made * size
                    target = address(pulled) + group * depth * size
                    call(times, like, (
                        run, source, g.strides[1], address(table), made, address(turned) + group * turned.strides[0],
                        nothing, target, depth * groups * size, depth, count, address(edge),
                    ))  # fmt: skip
                    j, at = np.int64(0), address(gw) + part * gw.strides[0] + group * gw.strides[1]
                    while j < made:
                        vectors = width(made - j, size)
                        these = min(made - j, vectors * VECTOR // size)
                        pack_panel(
                            like, source + j * size, g.strides[1], size, count, these, vectors, size, address(packed)
                        )
                        a = address(columns) + group * depth * size
                        block = (vectors, a, size, address(across), address(packed), at, gw.strides[2], at,
                                 gw.strides[2], depth, count)  # fmt: skip
                        call(run, like, block)
                        at += vectors * VECTOR
                        j += these
                call(write, like, (
                    address(x), address(offset), address_or_0(mask), address(layout), offset.shape[1], n, first, count,
                    nothing + (zeros.shape[1] - 2 * x.shape[3]) * size, address(pulled), address(gx), address(go),
                    address_or_0(gm),
                ))  # fmt: skip
        keep(table)
        keep(across)
        keep(columns)
        keep(pulled)
        keep(edge)
        keep(packed)

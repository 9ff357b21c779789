"""Weighted sums over windows, a row of the result at a time: rows of x are added up, then the row's own windows.

Addresses and strides are bytes. The tables of D, H and W lie behind one another, as `windows.packed` makes them; `at`
and `shares` are those of `windows.taps` for W, where its windows are short. Where a pixel is one number, as many rows
as a vector has entries are turned to lie across, so that they are added up side by side, and the results turned back.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..conv.layout import channels_last as channels_last
from ..gemm.cpu import VECTOR, address
from ..jit import helper, kernel, routine
from ..vector import call, keep, lanes, peek, poke, tile, transpose
from .points import point as point
from .points import sample as sample
from .points import sample_pulled as sample_pulled
from .vectors import pixels


@helper
def entry(table: Any, i: Any) -> Any:
    return peek(np.int64(0), table + 8 * i)


@helper
def combine(
    like: Any, weights: Any, offsets: Any, x: Any, x_row: Any, start: Any, along: Any, out: Any, count: Any, depth: Any
) -> None:
    """out[i] = start[i] + Σ weights[k] · x[k, i] over `depth` >= 1 rows, for i < count; along 0: start is a vector."""
    size, width = VECTOR // lanes(like), lanes(like)
    i = 0
    while count - i >= 4 * width:
        at = i * size
        tile(like, 1, 4, weights, 0, offsets, x + at, x_row, start + along * at, 0, out + at, 0, depth)
        i += 4 * width
    while count - i >= width:
        at = i * size
        tile(like, 1, 1, weights, 0, offsets, x + at, x_row, start + along * at, 0, out + at, 0, depth)
        i += width
    for at in range(i * size, count * size, size):
        total = peek(like, start + along * at)
        for k in range(depth):
            total += peek(like, weights + k * size) * peek(like, x + k * x_row + at)
        poke(out + at, total)


@helper
def sum_rows(
    like: Any, x: Any, d: Any, h: Any, first: Any, offset: Any, weight: Any, geometry: Any, zeros: Any, offsets: Any,
    shares: Any, line: Any,
) -> None:  # fmt: skip
    """line = Σ weights · rows of one image, over the windows d of planes and h of rows."""
    size, height, width = VECTOR // lanes(like), entry(geometry, 1), entry(geometry, 2)
    d0, d1, h0, h1 = entry(offset, d), entry(offset, d + 1), entry(offset, h), entry(offset, h + 1)
    if d0 == d1 or h0 == h1:
        for i in range(width):
            poke(line + i * size, peek(like, zeros))
        return
    for i in range(d0, d1):
        for j in range(h1 - h0):
            poke(shares + j * size, peek(like, weight + i * size) * peek(like, weight + (h0 + j) * size))
        rows = x + ((entry(first, d) + i - d0) * height + entry(first, h)) * width * size
        later = i > d0
        combine(
            like, shares, offsets, rows, width * size, line if later else zeros, 1 if later else 0, line, width, h1 - h0
        )


@helper
def sum_short(like: Any, taps: Any, line: Any, at: Any, shares: Any, out: Any, pixel: Any, places: Any) -> None:
    """The windows of a row, all of 1, 2 or 4 entries."""
    size, width = VECTOR // lanes(like), lanes(like)
    wide = pixel // (4 * width * size) * (4 * width * size)
    whole = pixel // (width * size) * (width * size)
    for c in range(0, wide if places else 0, 4 * width * size):
        if taps == 1:
            pixels(like, 1, 4, line + c, at, shares, out + c, pixel, places)
        elif taps == 2:
            pixels(like, 2, 4, line + c, at, shares, out + c, pixel, places)
        else:
            pixels(like, 4, 4, line + c, at, shares, out + c, pixel, places)
    for c in range(wide, whole if places else 0, width * size):
        if taps == 1:
            pixels(like, 1, 1, line + c, at, shares, out + c, pixel, places)
        elif taps == 2:
            pixels(like, 2, 1, line + c, at, shares, out + c, pixel, places)
        else:
            pixels(like, 4, 1, line + c, at, shares, out + c, pixel, places)
    for c in range(whole, pixel, size):
        for o in range(places):
            total = peek(like, shares + o * taps * size) * peek(like, line + c + entry(at, o * taps))
            for k in range(o * taps + 1, (o + 1) * taps):
                total += peek(like, shares + k * size) * peek(like, line + c + entry(at, k))
            poke(out + c + o * pixel, total)


@routine("void(T, i8, i8, i8, i8, i8, i8, i8)")
def short(like: Any, taps: Any, line: Any, at: Any, shares: Any, out: Any, pixel: Any, places: Any) -> None:
    """`sum_short` for kernels of other files."""
    sum_short(like, taps, line, at, shares, out, pixel, places)


@helper
def sum_long(
    like: Any, line: Any, first: Any, offset: Any, weight: Any, zeros: Any, offsets: Any, out: Any, inner: Any,
    places: Any,
) -> None:  # fmt: skip
    """The windows of a row, of any lengths; the tables begin with those of W."""
    size = VECTOR // lanes(like)
    for o in range(places):
        begin, end = entry(offset, o), entry(offset, o + 1)
        start, to = line + entry(first, o) * inner * size, out + o * inner * size
        if inner == 1 or begin == end:
            for c in range(inner):
                total = peek(like, zeros)
                for j in range(end - begin):
                    total += peek(like, weight + (begin + j) * size) * peek(like, start + j * size)
                poke(to + c * size, total)
        else:
            combine(
                like, weight + begin * size, offsets, start, inner * size, zeros, 0, to, inner, end - begin
            )  # fmt: skip


@helper
def turn(like: Any, source: Any, source_row: Any, rows: Any, columns: Any, target: Any, target_row: Any) -> None:
    """target[j, i] = source[i, j] for i < rows and j < columns, in blocks of vectors as far as whole ones fit."""
    size, count = VECTOR // lanes(like), lanes(like)
    i = 0
    while rows - i >= count:
        j = 0
        while columns - j >= count:
            transpose(
                like, source + i * source_row + j * size, source_row, target + j * target_row + i * size, target_row
            )
            j += count
        for column in range(j, columns):
            for row in range(i, i + count):
                poke(target + column * target_row + row * size, peek(like, source + row * source_row + column * size))
        i += count
    for row in range(i, rows):
        for column in range(columns):
            poke(target + column * target_row + row * size, peek(like, source + row * source_row + column * size))


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def share(like, x, out, first, offset, weight, at, shares, geometry, work, begin, end):  # type: ignore[no-untyped-def]
    """The groups of rows from `begin` to `end`; `work` is memory as `room` says."""
    size, width, row = VECTOR // lanes(like), entry(geometry, 2), entry(geometry, 5)
    depth, height, inner, taps = entry(geometry, 3), entry(geometry, 4), entry(geometry, 6), entry(geometry, 7)
    group, longest, rows = entry(geometry, 8), entry(geometry, 9), entry(geometry, 10)
    image = entry(geometry, 0) * entry(geometry, 1) * width * size
    columns, beside = row // inner, depth + height
    offsets = work
    factors = offsets + 8 * longest
    zeros = factors + 8 * longest
    lines = zeros + 4 * VECTOR
    across = lines + group * width * size
    made = across + group * width * size
    for i in range(longest):
        poke(offsets + 8 * i, np.int64(i * size))
    for i in range(4 * lanes(like)):
        poke(zeros + i * size, like)
    for q in range(begin, end):
        r = q * group
        these = min(group, rows - r)
        for i in range(these):
            n, d, h = (r + i) // (depth * height), (r + i) // height % depth, depth + (r + i) % height
            sum_rows(
                like, x + n * image, d, h, first, offset, weight, geometry, zeros, offsets, factors,
                lines + i * width * size,
            )  # fmt: skip
        to = out + r * row * size
        if taps == 0:
            sum_long(
                like, lines, first + 8 * beside, offset + 8 * beside, weight, zeros, offsets, to, inner, columns
            )  # fmt: skip
        elif inner > 1:
            sum_short(like, taps, lines, at, shares, to, inner * size, columns)
        else:
            turn(like, lines, width * size, these, width, across, group * size)
            sum_short(like, taps, across, at, shares, made, group * size, columns)
            turn(like, made, group * size, columns, these, to, row * size)


def room(size: int, width: int, columns: int, group: int, longest: int) -> int:
    """Bytes of memory that a part needs."""
    return 16 * longest + 4 * VECTOR + group * (2 * width + columns) * size


@kernel(
    "void(const T[:, :, :, ::1], T[:, :, :, ::1], const i8[::1], const i8[::1], const T[::1], const i8[::1], "
    "const T[::1], const i8[::1], i8, i8, i8)",
    parallel=True,
)
def weigh(x, out, first, offset, weight, at, shares, geometry, room, run, parts):  # type: ignore[no-untyped-def]
    """x and out (images, D, H, W · inner); `run` is the address of `share`."""
    like, groups = out.dtype.type(0), (geometry[10] + geometry[8] - 1) // geometry[8]
    for part in prange(parts):
        work = np.empty(room, np.uint8)
        call(run, like, (
            address(x), address(out), address(first), address(offset), address(weight), address(at), address(shares),
            address(geometry), address(work), part * groups // parts, (part + 1) * groups // parts,
        ))  # fmt: skip
        keep(work)

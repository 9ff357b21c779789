"""Maxima a row of the result at a time, as weighted sums are: over rows of x first, then over the row's own windows.

Addresses and steps are bytes. The tables of D, H and W lie behind one another, as `windows.packed` makes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..gemm.cpu import VECTOR, address
from ..jit import helper, inlined, kernel, routine
from ..vector import call, keep, lanes, peek, poke
from .vectors import largest


@helper
def entry(table: Any, i: Any) -> Any:
    return peek(np.int64(0), table + 8 * i)


@helper
def number_at(found: Any) -> Any:
    return np.int64(peek(np.int32(0), found))


@inlined
def one_of(
    like: Any, known: Any, x: Any, x_step: Any, found: Any, found_step: Any, number: Any, number_step: Any, taps: Any,
    out: Any, places: Any,
) -> None:  # fmt: skip
    """`vectors.largest` for one entry."""
    best, place = peek(like, x), number + (number_at(found) if known else 0)
    for t in range(1, taps):
        value = peek(like, x + t * x_step)
        here = number + t * number_step + (number_at(found + t * found_step) if known else 0)
        nan = (value != value) & ((best == best) | (here > place))
        better = (value > best) | nan | ((value == best) & (here < place))
        best, place = value if better else best, here if better else place
    poke(out, best)
    poke(places, np.int32(place))


@helper
def maxima_of(
    like: Any, known: Any, x: Any, x_step: Any, found: Any, found_step: Any, number: Any, number_step: Any, taps: Any,
    out: Any, places: Any, count: Any,
) -> None:  # fmt: skip
    """`vectors.largest` for `count` entries, whole vectors of them or not."""
    size, width = VECTOR // lanes(like), lanes(like)
    whole = count // width
    if whole > 0:
        if known:
            largest(like, 1, x, x_step, found, found_step, number, number_step, taps, out, places, whole)
        else:
            largest(like, 0, x, x_step, found, found_step, number, number_step, taps, out, places, whole)
    for i in range(whole * width, count):
        one_of(
            like, known, x + i * size, x_step, found + 4 * i, found_step, number, number_step, taps, out + i * size,
            places + 4 * i,
        )  # fmt: skip


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def share(like, x, out, at, first, offset, steps, geometry, work, begin, end):  # type: ignore[no-untyped-def]
    """The rows of the result from `begin` to `end`.

    `geometry` holds D, H and W of x, then of the result, and the numbers of a pixel; `work` is memory for the maxima of
    a line of x for each plane of a window, for their numbers, and for one line more of both.
    """
    size, inner = VECTOR // lanes(like), entry(geometry, 6)
    planes, rows, columns = entry(geometry, 0), entry(geometry, 1), entry(geometry, 2)
    depth, height, width = entry(geometry, 3), entry(geometry, 4), entry(geometry, 5)
    deep, line = entry(geometry, 7), columns * inner * size
    lines, founds = work, work + (deep + 1) * line
    step = entry(steps, 2)
    for r in range(begin, end):
        n, d, h = r // (depth * height), r // height % depth, depth + r % height
        z, many = entry(first, d), entry(offset, d + 1) - entry(offset, d)
        y, tall = entry(first, h), entry(offset, h + 1) - entry(offset, h)
        values, numbers = lines, founds
        for i in range(many):
            plane = z + i * entry(steps, 0)
            row = (n * planes + plane) * rows + y
            maxima_of(
                like, False, x + row * line, entry(steps, 1) * line, founds, 0, (plane * rows + y) * columns,
                entry(steps, 1) * columns, tall, lines + i * line, founds + i * columns * inner * 4, columns * inner,
            )  # fmt: skip
        if many > 1:
            values, numbers = lines + deep * line, founds + deep * columns * inner * 4
            maxima_of(
                like, True, lines, line, founds, columns * inner * 4, 0, 0, many, values, numbers, columns * inner
            )
        for o in range(width):
            w, wide = entry(first, depth + height + o), depth + height + o
            if inner == 1:
                one_of(
                    like, True, values + w * size, step * size, numbers + w * 4, step * 4, w, step,
                    entry(offset, wide + 1) - entry(offset, wide), out + (r * width + o) * size,
                    at + (r * width + o) * 4,
                )  # fmt: skip
                continue
            maxima_of(
                like, True, values + w * inner * size, step * inner * size, numbers + w * inner * 4, step * inner * 4,
                w, step, entry(offset, wide + 1) - entry(offset, wide), out + (r * width + o) * inner * size,
                at + (r * width + o) * inner * 4, inner,
            )  # fmt: skip


@kernel(
    "void(const T[:, :, :, ::1], T[:, :, :, ::1], i4[:, :, :, ::1], const i8[::1], const i8[::1], const i8[::1], "
    "const i8[::1], i8, i8)",
    parallel=True,
)
def maxima(x, out, at, first, offset, steps, geometry, run, parts):  # type: ignore[no-untyped-def]
    """x, out and at (images, D, H, W · inner); `run` is the address of `share`."""
    images, depth, height, _ = out.shape
    count, like = images * depth * height, out.dtype.type(0)
    for part in prange(parts):
        work = np.empty((geometry[7] + 1) * x.shape[3] * (x.itemsize + 4), np.uint8)
        call(run, like, (
            address(x), address(out), address(at), address(first), address(offset), address(steps), address(geometry),
            address(work), part * count // parts, (part + 1) * count // parts,
        ))  # fmt: skip
        keep(work)


@kernel("void(const T[:, :, ::1], const i4[:, :, ::1], T[:, :, ::1], i8)", parallel=True)
def gather(x: Any, index: Any, out: Any, parts: int) -> None:
    """out[n, o, c] = x[n, index[n, o, c], c]."""
    images, places, inner = index.shape
    for part in prange(parts):
        for q in range(part * images * places // parts, (part + 1) * images * places // parts):
            n, o = q // places, q % places
            for c in range(inner):
                out[n, o, c] = x[n, index[n, o, c], c]


@kernel("void(const T[:, :, ::1], const i4[:, :, ::1], T[:, :, ::1], b1, i8)", parallel=True)
def scatter(x: Any, index: Any, out: Any, add: bool, parts: int) -> None:
    """Zeros with x[n, o, c] at out[n, index[n, o, c], c], added or written."""
    images, places, inner = index.shape
    T = x.dtype.type
    for part in prange(parts):
        for n in range(part * images // parts, (part + 1) * images // parts):
            out[n] = T(0)
            for o in range(places):
                for c in range(inner):
                    at = index[n, o, c]
                    out[n, at, c] = x[n, o, c] + (out[n, at, c] if add else T(0))

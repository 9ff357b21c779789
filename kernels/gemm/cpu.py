"""Matrix products: C = A · B by blocks of C that stay in vector registers (Goto & van de Geijn, 2008).

Three loops make B and A pass through the caches in portions that fit; `pack` lays a portion of B out as panels, each as
wide as a block of C, so that the innermost loop reads it in order; `panel` runs `vector.tile` down the rows of C. What
does not fill a panel is padded with zeros in the packed copy of B, and computed into scratch memory of which the part
that exists is copied out: no load or store of a tile ever leaves the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, prange

from ..jit import helper, kernel, routine
from ..vector import call, copy, keep, lanes, peek, pointer, poke, registers, tile, transpose, vector_bytes

VECTOR = vector_bytes()
DEPTH = 256  # of a portion of B: a panel of it stays in the first-level cache
ROWS = 96  # of a portion of A, of DEPTH columns: it stays in the second-level cache
COLUMNS = 1024  # of a portion of B
FAR = 1024  # bytes between rows from which a portion of A is copied together: rows far apart share few cache sets
WIDEST = 4 if registers() == 32 else 2  # vectors in a row of the largest tile
TALL = 12 if registers() == 32 else 6  # rows of the tile of two vectors


@helper
def address(array):  # type: ignore[no-untyped-def]
    """Where an array begins; `ctypes.data` alone is unsigned, and with an int64 becomes float64."""
    return np.int64(array.ctypes.data)


@helper
def entries(like, at, rows, columns):  # type: ignore[no-untyped-def]
    """The memory at an address as a matrix, of the type of `like`."""
    return carray(pointer(like, at), (rows, columns))


def _down(height: int, vectors: int) -> Any:
    """Tiles of one size, down a panel from row i on as far as whole ones fit; gives the row where they end."""

    @helper
    def down(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth):  # type: ignore[no-untyped-def]
        b_row = vectors * VECTOR
        while rows - i >= height and (height != 6 or rows - i != 8):  # 4 + 4 rows take less than 6 + 2
            tile(
                like, height, vectors, a + i * a_row, a_row, offsets, b, b_row, start + i * start_row, start_row,
                c + i * c_row, c_row, depth,
            )  # fmt: skip
            i += height
        return i

    return down


# Sums that wait for each other keep the multipliers idle: a tile holds as many as there are registers for.
_6x4, _4x4, _2x4, _1x4 = _down(6, 4), _down(4, 4), _down(2, 4), _down(1, 4)
_tall_x2, _4x2, _2x2, _1x2 = _down(TALL, 2), _down(4, 2), _down(2, 2), _down(1, 2)
_12x1, _4x1, _2x1, _1x1 = _down(12, 1), _down(4, 1), _down(2, 1), _down(1, 1)


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def panel(like, vectors, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth):  # type: ignore[no-untyped-def]
    """C[rows, vectors · lanes] = start + A · B by tiles, for a packed panel B[depth, vectors · lanes].

    A, `offsets` and `start` are those of `vector.tile`; vectors is 1, 2 or WIDEST.
    """
    i = np.int64(0)
    if WIDEST == 4 and vectors == 4:
        i = _6x4(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _4x4(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _2x4(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        _1x4(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
    elif vectors == 2:
        i = _tall_x2(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _4x2(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _2x2(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        _1x2(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
    else:
        i = _12x1(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _4x1(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        i = _2x1(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)
        _1x1(like, i, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth)


@helper
def width(columns, size):  # type: ignore[no-untyped-def]
    """How many vectors the panel of so many columns has: WIDEST, or for the last columns the least that hold them."""
    vectors = (columns * size + VECTOR - 1) // VECTOR
    return WIDEST if vectors > 2 else max(vectors, 1)


@helper
def pack_panel(like, b, b_row, b_col, depth, columns, vectors, size, target):  # type: ignore[no-untyped-def]
    """B[depth, columns] row by row, each row filled up with zeros to `vectors` vectors."""
    count = lanes(like)
    row = vectors * VECTOR
    whole = columns // count
    if b_col == size and whole > 0:  # along memory
        for k in range(depth):
            copy(like, b + k * b_row, target + k * row, whole)
    elif b_row == size:  # across memory: block by block
        blocks = depth // count * count
        for i in range(whole):
            source = b + i * count * b_col
            for k in range(0, blocks, count):
                transpose(like, source + k * size, b_col, target + k * row + i * VECTOR, row)
            for k in range(blocks, depth):
                for j in range(count):
                    poke(target + k * row + i * VECTOR + j * size, peek(like, source + k * size + j * b_col))
    else:
        for k in range(depth):
            for j in range(whole * count):
                poke(target + k * row + j * size, peek(like, b + k * b_row + j * b_col))
    if whole < vectors:
        for k in range(depth):
            for j in range(whole * count, columns):
                poke(target + k * row + j * size, peek(like, b + k * b_row + j * b_col))
            for j in range(columns, vectors * count):
                poke(target + k * row + j * size, zero_like(like))


@helper
def copy_rows(like, source, source_row, rows, columns, size, target, target_row):  # type: ignore[no-untyped-def]
    """Rows of `columns` entries along memory, copied to another place."""
    count = lanes(like)
    whole = columns // count
    for i in range(rows):
        if whole > 0:
            copy(like, source + i * source_row, target + i * target_row, whole)
        for j in range(whole * count, columns):
            poke(target + i * target_row + j * size, peek(like, source + i * source_row + j * size))


@helper
def zero_like(like):  # type: ignore[no-untyped-def]
    return type(like)(0)


@helper
def edge_panel(run, like, vectors, columns, a, a_row, offsets, b, start, start_row, c, c_row, rows, depth, edge, size):  # type: ignore[no-untyped-def]
    """`panel` where only `columns` of C exist: into `edge`, of which those are copied. `start` is C or a row."""
    row = vectors * VECTOR
    if start_row != 0:
        for i in range(rows):
            for j in range(columns):
                poke(edge + i * row + j * size, peek(like, start + i * start_row + j * size))
        start, start_row = edge, row
    call(run, like, (vectors, a, a_row, offsets, b, start, start_row, edge, row, rows, depth))
    for i in range(rows):
        for j in range(columns):
            poke(c + i * c_row + j * size, peek(like, edge + i * row + j * size))


@helper
def is_far(n, a_row, a_col, size):  # type: ignore[no-untyped-def]
    """Whether A's rows lie so far apart that a copy of them, for n columns of C, pays."""
    return n * size >= 4 * WIDEST * VECTOR and max(a_row, a_col) >= FAR and min(a_row, a_col) == size


@helper
def room(n, k, a_row, a_col, size):  # type: ignore[no-untyped-def]
    """The bytes of scratch memory that `product` wants for C[·, n] of depth k."""
    padded = min(n, COLUMNS) * size + WIDEST * VECTOR
    staged = ROWS * (DEPTH * size + 64) if is_far(n, a_row, a_col, size) else 0
    return 64 + 8 * DEPTH + padded * (min(k, DEPTH) + 1) + ROWS * WIDEST * VECTOR + staged


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def product(like, run, a, a_row, a_col, b, b_row, b_col, bias, c, c_row, m, n, k, size, work):  # type: ignore[no-untyped-def]
    """C[m, n] = A[m, k] · B[k, n] + bias; addresses and strides in bytes, 0 for no bias; rows of C lie along memory.

    `run` is the address of `panel`, `work` that of `room` bytes.
    """
    offsets = (work + 63) // 64 * 64
    first = offsets + 8 * DEPTH
    for n0 in range(0, n, COLUMNS):
        columns = min(COLUMNS, n - n0)
        padded = (columns * size + WIDEST * VECTOR - 1) // VECTOR * VECTOR
        packed = first + padded
        edge = packed + padded * min(k, DEPTH)
        for j in range(padded // size):
            if bias != 0 and j < columns:
                poke(first + j * size, peek(like, bias + (n0 + j) * size))
            else:
                poke(first + j * size, zero_like(like))
        for k0 in range(0, max(k, 1), DEPTH):
            depth = min(DEPTH, k - k0)
            if depth <= 0:  # an empty sum
                for i in range(m):
                    for j in range(columns):
                        poke(c + i * c_row + (n0 + j) * size, peek(like, first + j * size))
                break
            staged = edge + ROWS * WIDEST * VECTOR
            far = is_far(n, a_row, a_col, size)
            if not far:
                near_row, near_col = a_row, a_col
            elif a_col == size:
                near_row, near_col = depth * size + 64, size
            else:
                near_row, near_col = size, ROWS * size
            for i in range(depth):
                poke(offsets + 8 * i, i * near_col)
            at, j = packed, 0
            while j < columns:
                vectors = width(columns - j, size)
                these = min(columns - j, vectors * VECTOR // size)
                pack_panel(like, b + k0 * b_row + (n0 + j) * b_col, b_row, b_col, depth, these, vectors, size, at)
                at += depth * vectors * VECTOR
                j += these
            for i in range(0, m, ROWS):
                rows = min(ROWS, m - i)
                a_at = a + i * a_row + k0 * a_col
                if far:
                    if a_col == size:
                        copy_rows(like, a_at, a_row, rows, depth, size, staged, near_row)
                    else:
                        copy_rows(like, a_at, a_col, depth, rows, size, staged, near_col)
                    a_at = staged
                at, j = packed, 0
                while j < columns:
                    vectors = width(columns - j, size)
                    these = min(columns - j, vectors * VECTOR // size)
                    c_at = c + i * c_row + (n0 + j) * size
                    start, start_row = (first + j * size, np.int64(0)) if k0 == 0 else (c_at, c_row)
                    if these == vectors * VECTOR // size:
                        call(
                            run,
                            like,
                            (vectors, a_at, near_row, offsets, at, start, start_row, c_at, c_row, rows, depth),
                        )
                    else:
                        edge_panel(
                            run, like, vectors, these, a_at, near_row, offsets, at, start, start_row, c_at, c_row, rows,
                            depth, edge, size,
                        )  # fmt: skip
                    at += depth * vectors * VECTOR
                    j += these


@helper
def split(part, parts, m, n, columns):  # type: ignore[no-untyped-def]
    """The rows and columns of C that a part computes: columns if C is wide and has panels for all parts, else rows."""
    panels = (n + columns - 1) // columns
    if panels >= 2 * parts and m < n:
        return np.int64(0), m, part * panels // parts * columns, min(n, (part + 1) * panels // parts * columns)
    return part * m // parts, (part + 1) * m // parts, np.int64(0), n


@kernel("void(const T[:, :], const T[:, :], const T[::1], T[:, ::1], i8, i8, i8)", parallel=True)
def matmul(a, b, bias, c, multiply, run, parts):  # type: ignore[no-untyped-def]
    """C = A · B, plus bias if it is not empty."""
    m, k = a.shape
    n = b.shape[1]
    size = c.itemsize
    for part in prange(parts):
        m0, m1, n0, n1 = split(part, parts, m, n, WIDEST * VECTOR // size)
        work = np.empty(room(n1 - n0, k, a.strides[0], a.strides[1], size), np.uint8)
        added = address(bias) + n0 * size if bias.size > 0 else np.int64(0)
        call(multiply, c.dtype.type(0), (
            run, address(a) + m0 * a.strides[0], a.strides[0], a.strides[1],
            address(b) + n0 * b.strides[1], b.strides[0], b.strides[1], added,
            address(c) + m0 * c.strides[0] + n0 * size, c.strides[0], m1 - m0, n1 - n0, k, size, address(work),
        ))  # fmt: skip
        keep(work)


@kernel("void(const T[:, :, :], const T[:, :, :], T[:, :, ::1], i8, i8, i8)", parallel=True)
def batched(a, b, c, multiply, run, parts):  # type: ignore[no-untyped-def]
    """C[i] = A[i] · B[i], each part a share of them."""
    count, m, k = a.shape
    n = b.shape[2]
    size = c.itemsize
    for part in prange(parts):
        work = np.empty(room(n, k, a.strides[1], a.strides[2], size), np.uint8)
        for i in range(part * count // parts, (part + 1) * count // parts):
            call(multiply, c.dtype.type(0), (
                run, address(a) + i * a.strides[0], a.strides[1], a.strides[2],
                address(b) + i * b.strides[0], b.strides[1], b.strides[2], np.int64(0),
                address(c) + i * c.strides[0], c.strides[1], m, n, k, size, address(work),
            ))  # fmt: skip
        keep(work)


@kernel("void(const T[:, :], const T[:, :], T[:, ::1], T[::1], i8, i8, i8)", parallel=True, fast=True)
def weight_gradient(g, x, gw, gb, multiply, run, parts):  # type: ignore[no-untyped-def]
    """gw = gᵀ · x, and gb the sums of g's columns unless it is empty: the gradients of a linear layer's parameters."""
    m, k = gw.shape
    size = gw.itemsize
    for part in prange(parts):
        m0, m1, n0, n1 = split(part, parts, m, k, WIDEST * VECTOR // size)
        work = np.empty(room(n1 - n0, len(g), g.strides[1], g.strides[0], size), np.uint8)
        call(multiply, gw.dtype.type(0), (
            run, address(g) + m0 * g.strides[1], g.strides[1], g.strides[0],
            address(x) + n0 * x.strides[1], x.strides[0], x.strides[1], np.int64(0),
            address(gw) + m0 * gw.strides[0] + n0 * size, gw.strides[0], m1 - m0, n1 - n0, len(g), size, address(work),
        ))  # fmt: skip
        keep(work)
        if gb.size > 0 and n0 == 0:  # of its rows of gw
            sums = gb[m0:m1]
            for j in range(m1 - m0):
                sums[j] = 0
            for i in range(len(g)):
                row = g[i, m0:m1]
                for j in range(m1 - m0):
                    sums[j] += row[j]


# ---- one or two columns, which would fill a small part of a vector
@kernel("void(const T[:, ::1], const T[:, ::1], T[:, ::1])", fast=True)
def thin(a, b, c):  # type: ignore[no-untyped-def]
    """c[i, j] = Σ_k a[i, k] · b[j, k]."""
    for i in range(len(a)):
        for j in range(len(b)):
            total = c.dtype.type(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[j, k]
            c[i, j] = total


@kernel("void(const T[:, ::1], const T[:, :], T[:, ::1])", fast=True)
def thin_transposed(a, b, c):  # type: ignore[no-untyped-def]
    """c[j, i] = Σ_k a[k, i] · b[k, j]."""
    c[:] = c.dtype.type(0)
    for k in range(len(a)):
        for j in range(b.shape[1]):
            for i in range(a.shape[1]):
                c[j, i] += a[k, i] * b[k, j]

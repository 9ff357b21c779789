"""Winograd's F(4 × 4, 3 × 3): a tile of 4 × 4 outputs by 36 products instead of 144 (arXiv 1509.09308).

A tile of outputs is Aᵀ [(G w Gᵀ) ⊙ (Bᵀ d B)] A, where d are the 6 × 6 inputs that it sees. Summed over channels, the
product ⊙ is a matrix product for each of the 36 places, tiles × channels times channels × outputs: `gemm.panel` does
it, for a block of tiles whose transforms stay in the second-level cache. A vector is a pixel's neighbouring channels.
The gradient in the kernel, Gᵀ [Σ (Bᵀ d B) ⊗ (A g Aᵀ)] G, goes the same way with the sum over tiles.

In float32 the largest error is four to nine times that of the direct sum: below 10⁻⁵ of the largest entry for 64
channels, 2·10⁻⁵ for 256. What is not finite spreads over the tiles that see it.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from llvmlite import ir
from numba import prange, types
from numba.extending import intrinsic

from ..gemm.cpu import VECTOR, address, pack_panel, width, zero_like
from ..jit import helper, kernel
from ..vector import Vectors, addresses, call, keep, lanes, peek, poke, written

Matrix: TypeAlias = list[list[float]]
B: Matrix = [
    [4, 0, -5, 0, 1, 0],
    [0, -4, -4, 1, 1, 0],
    [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0],
    [0, 2, -1, -2, 1, 0],
    [0, 4, 0, -5, 0, 1],
]  # Bᵀ
A: Matrix = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]  # Aᵀ
G: Matrix = [
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


MATRICES: dict[str, Matrix] = {
    "input": B,
    "output": A,
    "gradient": _transposed(A),
    "kernel": G,
    "kernel gradient": _transposed(G),
}


def _sum(v: Vectors, terms: list[tuple[float, Any]]) -> Any:
    """Σ factor · vector, without the products by ±1; None for no terms."""
    total = None
    for factor, x in sorted(terms, key=lambda term: abs(term[0]) == 1):  # products first: the rest adds to them
        if total is None:
            total = x if factor == 1 else v.builder.fmul(v.constant(factor), x)
        elif factor == 1:
            total = v.builder.fadd(total, x)
        elif factor == -1:
            total = v.builder.fsub(total, x)
        else:
            total = v.fma(v.constant(factor), x, total)
    return total


def _paired(row: list[float], other: list[float]) -> bool:
    return any(row) and row != other and all(abs(a) == abs(b) for a, b in zip(row, other, strict=True))


def _times(v: Vectors, matrix: Matrix, xs: list[Any]) -> list[Any]:
    """matrix · xs; rows, or columns, that differ in signs alone share their sums."""
    columns = _transposed(matrix)
    for j in range(len(xs)):
        for k in range(j + 1, len(xs)):
            if _paired(columns[j], columns[k]):
                sums = v.builder.fadd(xs[j], xs[k]), v.builder.fsub(xs[j], xs[k])
                same = [a if a == b else 0 for a, b in zip(columns[j], columns[k], strict=True)]
                opposite = [a if a != b else 0 for a, b in zip(columns[j], columns[k], strict=True)]
                kept = [i for i in range(len(xs)) if i not in (j, k)]
                reduced = _transposed([*(columns[i] for i in kept), same, opposite])
                return _times(v, reduced, [*(xs[i] for i in kept), *sums])
    made: dict[int, Any] = {}
    for i, row in enumerate(matrix):
        partner = next((k for k in range(i + 1, len(matrix)) if k not in made and _paired(row, matrix[k])), None)
        if i in made:
            continue
        if partner is None:
            made[i] = _sum(v, [(a, x) for a, x in zip(row, xs, strict=True) if a])
            continue
        signs = [a == b for a, b in zip(row, matrix[partner], strict=True)]
        same = _sum(v, [(a, x) for a, x, s in zip(row, xs, signs, strict=True) if a and s])
        opposite = _sum(v, [(a, x) for a, x, s in zip(row, xs, signs, strict=True) if a and not s])
        made[i], made[partner] = v.builder.fadd(same, opposite), v.builder.fsub(same, opposite)
    return [made[i] for i in range(len(matrix))]


@intrinsic(prefer_literal=True)
def transform(
    context: Any, like: Any, which: Any, source: Any, row: Any, column: Any, target: Any, target_row: Any,
    target_column: Any,
) -> Any:  # fmt: skip
    """M X Mᵀ of a square of vectors at `source`, in registers; `which`, a literal, names M of MATRICES."""
    matrix = MATRICES[which.literal_value]

    def write(builder: Any, like_value: Any, which_value: Any, *values: Any) -> None:
        source, row, column, target, target_row, target_column = values
        v, n = Vectors(builder, like), len(matrix[0])
        i64 = ir.IntType(64)

        def at(base: Any, step: Any, count: int) -> Any:
            return builder.add(base, builder.mul(step, i64(count)))

        columns = [_times(v, matrix, [v.load(at(at(source, column, j), row, i)) for i in range(n)]) for j in range(n)]
        for i in range(len(matrix)):
            for j, x in enumerate(_times(v, matrix, [made[i] for made in columns])):
                v.store(x, at(at(target, target_row, i), target_column, j))

    return written(types.void, [like, which, *addresses(6)], write)


@helper
def tile_of(t, down, across):  # type: ignore[no-untyped-def]
    """The image, and the row and column of tiles, of tile t."""
    n, rest = t // (down * across), t % (down * across)
    return n, rest // across, rest % across


@helper
def take(like, x, n, top, left, side, patch):  # type: ignore[no-untyped-def]
    """(address, bytes from row to row) of a square of pixels of x: as it lies, or copied with zeros outside x."""
    _, height, breadth, channels = x.shape
    size = x.itemsize
    if top >= 0 and left >= 0 and top + side <= height and left + side <= breadth:
        return address(x) + ((n * height + top) * breadth + left) * channels * size, breadth * channels * size
    for i in range(side):
        for j in range(side):
            at = patch + (i * side + j) * channels * size
            h, w = top + i, left + j
            if 0 <= h < height and 0 <= w < breadth:
                source = address(x) + ((n * height + h) * breadth + w) * channels * size
                for c in range(channels):
                    poke(at + c * size, peek(like, source + c * size))
            else:
                for c in range(channels):
                    poke(at + c * size, zero_like(like))
    return patch, side * channels * size


@kernel("void(const T[::1], i8, i8, i8, i8, i8, T[:, ::1])")
def transform_kernel(weight, depth, columns, depth_stride, column_stride, flipped, out):  # type: ignore[no-untyped-def]
    """G w Gᵀ as panels, a row of `out` for each of the 36 places; strides in entries, `flipped` turns w by 180°."""
    size, like = weight.itemsize, weight[0]
    natural = depth_stride == 9  # w's entries of one output lie together: (depth, 9) is a row of a matrix
    work = np.empty(depth * 9 * 4 * VECTOR, np.uint8)
    at = address(out)
    j = np.int64(0)
    while j < columns:
        vectors = width(columns - j, size)
        these = min(columns - j, vectors * VECTOR // size)
        row = vectors * VECTOR
        start = address(weight) + j * column_stride * size
        if natural:
            pack_panel(like, start, size, column_stride * size, depth * 9, these, vectors, size, address(work))
        else:
            for d in range(depth):
                source, target = start + d * depth_stride * size, address(work) + d * 9 * row
                pack_panel(like, source, size, column_stride * size, 9, these, vectors, size, target)
        step = -row if flipped else row
        for d in range(depth):
            first = address(work) + d * 9 * row + (8 * row if flipped else 0)
            for i in range(vectors):
                target = at + d * row + i * VECTOR
                transform(
                    like, "kernel", first + i * VECTOR, 3 * step, step, target, 6 * out.strides[0], out.strides[0]
                )
        at += depth * row
        j += these
    keep(work)


@kernel(
    "void(const T[:, :, :, ::1], const T[:, ::1], const T[::1], T[:, :, :, ::1], i8, i8, i8, i8, i8, i8)",
    parallel=True,
)
def correlate(x, kernels, bias, y, top, left, tiles, wide, run, parts):  # type: ignore[no-untyped-def]
    """y (N, H', W', K) = bias + x (N, H, W, C), with `top` and `left` zeros before, by `kernels` of transform_kernel.

    C and K are multiples of the lanes; `wide` is K in panels, `tiles` how many are transformed at once.
    """
    size, like = x.itemsize, bias[0]
    channels, made, count = x.shape[3], y.shape[3], lanes(bias[0])
    down, across = (y.shape[1] + 3) // 4, (y.shape[2] + 3) // 4
    total = len(x) * down * across
    blocks = (total + tiles - 1) // tiles
    pixel = made * size
    for part in prange(parts):
        place, result = (tiles * channels + 16) * size, (tiles * wide + 16) * size  # 16: not all on one cache set
        work = np.empty(36 * (place + result) + 36 * max(channels, made) * size + 64 + (wide + channels) * 8, np.uint8)
        inputs = (address(work) + 63) // 64 * 64
        products = inputs + 36 * place
        patch = products + 36 * result
        offsets = np.empty(channels, np.int64)
        for c in range(channels):
            offsets[c] = c * size
        zeros = np.zeros(wide, x.dtype)
        for block in range(part * blocks // parts, (part + 1) * blocks // parts):
            first = block * tiles
            here = min(tiles, total - first)
            for i in range(here):
                n, th, tw = tile_of(first + i, down, across)
                source, row = take(like, x, n, th * 4 - top, tw * 4 - left, 6, patch)
                for c in range(0, channels, count):
                    target = inputs + (i * channels + c) * size
                    transform(like, "input", source + c * size, row, channels * size, target, 6 * place, place)
            for p in range(36):
                b, j = address(kernels) + p * kernels.strides[0], np.int64(0)
                while j < made:
                    vectors = width(made - j, size)
                    c_at = products + p * result + j * size
                    call(run, like, (vectors, inputs + p * place, channels * size, address(offsets), b, address(zeros),
                                     0, c_at, wide * size, here, channels))  # fmt: skip
                    b += channels * vectors * VECTOR
                    j += vectors * VECTOR // size
            for i in range(here):
                n, th, tw = tile_of(first + i, down, across)
                rows, columns = min(4, y.shape[1] - th * 4), min(4, y.shape[2] - tw * 4)
                at = address(y) + ((n * y.shape[1] + th * 4) * y.shape[2] + tw * 4) * pixel
                whole = rows == 4 and columns == 4
                target, row = (at, y.shape[2] * pixel) if whole else (patch, 4 * pixel)
                for c in range(0, made, count):
                    source = products + (i * wide + c) * size
                    transform(like, "output", source, 6 * result, result, target + c * size, row, pixel)
                if not whole:
                    for h in range(rows):
                        for w in range(columns):
                            for c in range(made):
                                value = peek(like, patch + (h * 4 + w) * pixel + c * size)
                                poke(at + (h * y.shape[2] + w) * pixel + c * size, value)
                if len(bias) > 1:
                    for h in range(rows):
                        for w in range(columns):
                            for c in range(made):
                                y[n, th * 4 + h, tw * 4 + w, c] += bias[c]
        keep(work)
        keep(offsets)
        keep(zeros)


@kernel(
    "void(const T[:, :, :, ::1], const T[:, :, :, ::1], T[:, :, :, ::1], i8, i8, i8, i8, i8)",
    parallel=True,
)
def weight_gradient(x, g, out, top, left, tiles, run, parts):  # type: ignore[no-untyped-def]
    """out[part, place, c, k] = Σ over a share of the tiles of (Bᵀ d B)[c] · (A g Aᵀ)[k] at each of the 36 places.

    The last axis of `out` is as wide as the panels.
    """
    size, like = x.itemsize, out[0, 0, 0, 0]
    channels, made, count = x.shape[3], g.shape[3], lanes(like)
    down, across = (g.shape[1] + 3) // 4, (g.shape[2] + 3) // 4
    total = len(x) * down * across
    blocks = (total + tiles - 1) // tiles
    for part in prange(parts):
        wide = out.shape[3]
        place, result = (tiles * channels + 16) * size, (tiles * wide + 16) * size
        work = np.empty(36 * (place + result) + 36 * max(channels, made) * size + 64, np.uint8)
        inputs = (address(work) + 63) // 64 * 64
        gradients = inputs + 36 * place
        patch = gradients + 36 * result
        offsets = np.empty(tiles, np.int64)
        for t in range(tiles):
            offsets[t] = t * channels * size
        out[part] = 0
        for block in range(part * blocks // parts, (part + 1) * blocks // parts):
            first = block * tiles
            here = min(tiles, total - first)
            for i in range(here):
                n, th, tw = tile_of(first + i, down, across)
                source, row = take(like, x, n, th * 4 - top, tw * 4 - left, 6, patch)
                for c in range(0, channels, count):
                    target = inputs + (i * channels + c) * size
                    transform(like, "input", source + c * size, row, channels * size, target, 6 * place, place)
                source, row = take(like, g, n, th * 4, tw * 4, 4, patch)
                at, j = gradients, np.int64(0)  # as panels of `here` rows
                while j < made:
                    vectors = width(made - j, size)
                    for v in range(min(vectors, (made - j) // count)):
                        target = at + (i * vectors + v) * VECTOR
                        transform(
                            like, "gradient", source + j * size + v * VECTOR, row, made * size, target, 6 * result,
                            result,
                        )  # fmt: skip
                    at += here * vectors * VECTOR
                    j += vectors * VECTOR // size
            for p in range(36):
                b, j = gradients + p * result, np.int64(0)
                while j < made:
                    vectors = width(made - j, size)
                    c_at = address(out) + part * out.strides[0] + p * out.strides[1] + j * size
                    call(run, like, (vectors, inputs + p * place, size, address(offsets), b, c_at, out.strides[2],
                                     c_at, out.strides[2], channels, here))  # fmt: skip
                    b += here * vectors * VECTOR
                    j += vectors * VECTOR // size
        keep(work)
        keep(offsets)


@kernel("void(T[:, :, :, ::1], T[:, :, :, ::1])")
def transform_gradient(sums, out):  # type: ignore[no-untyped-def]
    """Gᵀ u G: the sum over the parts of `weight_gradient`'s result, as (3, 3, c, k)."""
    size, like = out.itemsize, out[0, 0, 0, 0]
    parts, _, channels, wide = sums.shape
    for part in range(1, parts):
        for place in range(36):
            for c in range(channels):
                for k in range(wide):
                    sums[0, place, c, k] += sums[part, place, c, k]
    for c in range(channels):
        for k in range(0, wide, lanes(like)):
            source = address(sums) + c * sums.strides[2] + k * size
            target = address(out) + c * out.strides[2] + k * size
            transform(
                like, "kernel gradient", source, 6 * sums.strides[1], sums.strides[1], target, out.strides[0],
                out.strides[1],
            )  # fmt: skip

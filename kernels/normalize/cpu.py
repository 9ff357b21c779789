"""Normalisation by mean and variance in loops over rows, over groups of channels, and over channels of a batch.

A mean is found in two steps: the second adds the mean of what the first left, so that the digits that sums of large
numbers lose come back. In a batch, whose channels do not fit the caches, mean and summed square of each block are found
while it is there, and merged into those of the blocks before it (Chan, Golub & LeVeque 1979): every number comes from
memory once. What a backward adds up down the rows it adds up in blocks, for the same digits.

`saved` holds the mean of each row, group or channel, and below it 1 / √(var + eps).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..jit import inlined, kernel
from ..polynomial import constant, exact

BLOCK = 4096  # numbers whose mean is taken while they are in the first-level cache
ROWS = 64  # rows that a sum down the columns adds up before it is added to the total
# Nanoseconds of one thread for each byte of x, about.
TIMES = {
    "rows": 0.07, "rows_pulled": 0.12, "groups": 0.07, "groups_pulled": 0.1,
    "planes": 0.08, "planes_pulled": 0.1, "columns": 0.1, "columns_pulled": 0.12,
}  # fmt: skip


@exact
def inverse_root(var: Any, eps: Any) -> Any:
    """1 / √(var + eps), which is 0 of infinity: as √x / x, which a loop may make of it, it is NaN."""
    return constant(var, 1) / np.sqrt(var + eps)


# ---- rows: layer norm and root-mean-square norm
@inlined
def moments(x: Any, row: Any, centred: Any) -> tuple[Any, Any]:
    """Mean and variance of a row; not `centred`: 0 and the mean square."""
    T = x.dtype.type
    width = x.shape[1]
    mean, scale = T(0), T(1) / T(width)
    if centred:
        for i in range(width):
            mean += x[row, i]
        mean *= scale
    rest, square = T(0), T(0)
    for i in range(width):
        difference = x[row, i] - mean
        rest += difference
        square += difference * difference
    if not centred:
        return mean, square * scale
    rest *= scale
    var = square * scale - rest * rest
    return mean + rest, T(0) if var < T(0) else var


@kernel("void(T[:, ::1], T[::1], T[::1], T[:, ::1], T[:, ::1], f8, b1, i8)", parallel=True, fast=True)
def rows(x: Any, weight: Any, bias: Any, out: Any, saved: Any, eps: float, centred: bool, parts: int) -> None:
    T = x.dtype.type
    count, width = x.shape
    for part in prange(parts):
        for row in range(part * count // parts, (part + 1) * count // parts):
            mean, var = moments(x, row, centred)
            rstd = inverse_root(var, T(eps))
            saved[0, row], saved[1, row] = mean, rstd
            for i in range(width):
                out[row, i] = (x[row, i] - mean) * rstd * weight[i] + bias[i]


@kernel("void(T[:, ::1], T[:, ::1], T[::1], T[:, ::1], T[:, ::1], T[:, :, ::1], b1, i8)", parallel=True, fast=True)
def rows_pulled(g: Any, x: Any, weight: Any, saved: Any, gx: Any, sums: Any, centred: bool, parts: int) -> None:
    """Also each share's sums for the gradients of weight and bias, in sums[share]; parts have several shares."""
    T = x.dtype.type
    count, width = x.shape
    shares = len(sums)
    scale = T(1) / T(max(width, 1))
    for part in prange(parts):
        block = np.zeros((2, width), x.dtype)
        for share in range(part * shares // parts, (part + 1) * shares // parts):
            for i in range(width):
                sums[share, 0, i], sums[share, 1, i] = T(0), T(0)
            last = (share + 1) * count // shares
            for start in range(share * count // shares, last, ROWS):
                for row in range(start, min(start + ROWS, last)):
                    mean, rstd = saved[0, row], saved[1, row]
                    straight, along = T(0), T(0)
                    for i in range(width):
                        normal = (x[row, i] - mean) * rstd
                        pulled = g[row, i] * weight[i]
                        straight += pulled
                        along += pulled * normal
                    straight = straight * scale if centred else T(0)
                    along *= scale
                    for i in range(width):
                        normal = (x[row, i] - mean) * rstd
                        gx[row, i] = (g[row, i] * weight[i] - straight - normal * along) * rstd
                        block[0, i] += g[row, i] * normal
                        block[1, i] += g[row, i]
                for i in range(width):
                    sums[share, 0, i] += block[0, i]
                    sums[share, 1, i] += block[1, i]
                    block[0, i], block[1, i] = T(0), T(0)


# ---- groups of channels of an example: group and instance norm; x (examples · groups, channels of a group, positions)
@kernel("void(T[:, :, ::1], T[::1], T[::1], T[:, :, ::1], T[:, ::1], f8, i8)", parallel=True, fast=True)
def groups(x: Any, weight: Any, bias: Any, out: Any, saved: Any, eps: float, parts: int) -> None:
    T = x.dtype.type
    count, channels, width = x.shape
    flat = x.reshape(count, channels * width)
    for part in prange(parts):
        for row in range(part * count // parts, (part + 1) * count // parts):
            mean, var = moments(flat, row, True)
            rstd = inverse_root(var, T(eps))
            saved[0, row], saved[1, row] = mean, rstd
            first = row * channels % weight.size
            for channel in range(channels):
                scale, shift = rstd * weight[first + channel], bias[first + channel]
                for i in range(width):
                    out[row, channel, i] = (x[row, channel, i] - mean) * scale + shift


@kernel("void(T[:, :, ::1], T[:, :, ::1], T[::1], T[:, ::1], T[:, :, ::1], T[:, :, ::1], i8)", parallel=True, fast=True)
def groups_pulled(g: Any, x: Any, weight: Any, saved: Any, gx: Any, sums: Any, parts: int) -> None:
    T = x.dtype.type
    count, channels, width = x.shape
    over = T(1) / T(max(channels * width, 1))
    for part in prange(parts):
        for i in range(weight.size):
            sums[part, 0, i], sums[part, 1, i] = T(0), T(0)
        for row in range(part * count // parts, (part + 1) * count // parts):
            mean, rstd = saved[0, row], saved[1, row]
            first = row * channels % weight.size
            straight, along = T(0), T(0)
            for channel in range(channels):
                total, with_normal = T(0), T(0)
                for i in range(width):
                    total += g[row, channel, i]
                    with_normal += g[row, channel, i] * ((x[row, channel, i] - mean) * rstd)
                straight += weight[first + channel] * total
                along += weight[first + channel] * with_normal
                sums[part, 0, first + channel] += with_normal
                sums[part, 1, first + channel] += total
            straight, along = straight * over, along * over
            for channel in range(channels):
                scale = weight[first + channel]
                for i in range(width):
                    normal = (x[row, channel, i] - mean) * rstd
                    gx[row, channel, i] = (g[row, channel, i] * scale - straight - normal * along) * rstd


@inlined
def column_sums(x: Any, example: Any, sums: Any) -> None:
    """Of each column of a table of x: its mean in sums[0], and in sums[1] the summed square of what is left."""
    T = x.dtype.type
    height, width = x.shape[1:]
    share = T(1) / T(height)
    for i in range(width):
        sums[0, i], sums[1, i], sums[2, i] = T(0), T(0), T(0)
    for row in range(height):
        for i in range(width):
            sums[0, i] += x[example, row, i]
    for i in range(width):
        sums[0, i] *= share
    for row in range(height):
        for i in range(width):
            difference = x[example, row, i] - sums[0, i]
            sums[1, i] += difference * difference
            sums[2, i] += difference
    for i in range(width):
        square = sums[1, i] - sums[2, i] * sums[2, i] * share
        sums[0, i] += sums[2, i] * share
        sums[1, i] = T(0) if square < T(0) else square


@kernel("void(T[:, :, ::1], T[::1], T[::1], T[:, :, ::1], T[:, ::1], f8, i8)", parallel=True, fast=True)
def groups_last(x: Any, weight: Any, bias: Any, out: Any, saved: Any, eps: float, parts: int) -> None:
    """`groups` of x with the channels last: (examples, positions, channels)."""
    examples, height, width = x.shape
    count = saved.shape[1] // examples
    size = width // count
    for part in prange(parts):
        of = np.empty((3, width), x.dtype)
        for example in range(part * examples // parts, (part + 1) * examples // parts):
            column_sums(x, example, of)
            for group in range(count):
                mean, square = 0.0, 0.0
                for i in range(group * size, (group + 1) * size):
                    mean += of[0, i]
                mean /= size
                for i in range(group * size, (group + 1) * size):
                    square += of[1, i] + height * (of[0, i] - mean) ** 2
                rstd = inverse_root(square / (size * height), eps)
                saved[0, example * count + group], saved[1, example * count + group] = mean, rstd
                for i in range(group * size, (group + 1) * size):
                    of[0, i], of[1, i], of[2, i] = mean, rstd * weight[i], bias[i]
            for row in range(height):
                for i in range(width):
                    out[example, row, i] = (x[example, row, i] - of[0, i]) * of[1, i] + of[2, i]


@kernel("void(T[:, :, ::1], T[:, :, ::1], T[::1], T[:, ::1], T[:, :, ::1], T[:, :, ::1], i8)", parallel=True, fast=True)
def groups_last_pulled(g: Any, x: Any, weight: Any, saved: Any, gx: Any, sums: Any, parts: int) -> None:
    T = x.dtype.type
    examples, height, width = x.shape
    count = saved.shape[1] // examples
    size = width // count
    over = T(1) / T(size * height)
    for part in prange(parts):
        of, block = np.empty((5, width), x.dtype), np.empty((2, width), x.dtype)
        for i in range(width):
            sums[part, 0, i], sums[part, 1, i] = T(0), T(0)
        for example in range(part * examples // parts, (part + 1) * examples // parts):
            for i in range(width):
                group = example * count + i // size
                of[0, i], of[1, i], block[0, i], block[1, i] = saved[0, group], saved[1, group], T(0), T(0)
            for row in range(height):
                for i in range(width):
                    block[0, i] += g[example, row, i] * ((x[example, row, i] - of[0, i]) * of[1, i])
                    block[1, i] += g[example, row, i]
            for group in range(count):
                straight, along = T(0), T(0)
                for i in range(group * size, (group + 1) * size):
                    along += weight[i] * block[0, i]
                    straight += weight[i] * block[1, i]
                for i in range(group * size, (group + 1) * size):
                    scale = of[1, i] * over
                    of[2, i], of[3, i], of[4, i] = of[1, i] * weight[i], along * scale, straight * scale
            for row in range(height):
                for i in range(width):
                    normal = (x[example, row, i] - of[0, i]) * of[1, i]
                    gx[example, row, i] = g[example, row, i] * of[2, i] - normal * of[3, i] - of[4, i]
            for i in range(width):
                sums[part, 0, i] += block[0, i]
                sums[part, 1, i] += block[1, i]


# ---- channels of a batch: batch norm; x (examples, channels, positions), or (examples · positions, channels)
@inlined
def merged(count: Any, mean: Any, square: Any, more: Any, its_mean: Any, its_square: Any) -> Any:
    """Mean and summed square of `count` numbers and `more` others together."""
    apart, share = its_mean - mean, more / (count + more)
    return mean + apart * share, square + its_square + apart * apart * (count * share)


@inlined
def slopes(weight: Any, rstd: Any, total: Any, with_normal: Any, of_mean: Any, of_var: Any, count: Any) -> Any:
    """The factors of g and of the normalised x in the gradient of x, and a summand; without `count` the statistics are
    fixed. `of_mean` and `of_var` are gradients of the statistics themselves."""
    scale = weight * rstd
    if count == 0:
        return scale, 0.0, 0.0
    return scale, (2 * of_var / rstd - scale * with_normal) / count, (of_mean - scale * total) / count


@kernel("void(T[:, :, ::1], T[::1], T[::1], T[:, :, ::1], T[:, ::1], T[::1], f8, b1, i8)", parallel=True, fast=True)
def planes(
    x: Any, weight: Any, bias: Any, out: Any, saved: Any, variance: Any, eps: float, fixed: bool, parts: int
) -> None:
    examples, channels, width = x.shape
    flat = x.reshape(examples * channels, width)
    for part in prange(parts):
        for channel in range(part * channels // parts, (part + 1) * channels // parts):
            if not fixed:
                mean, square = 0.0, 0.0
                for example in range(examples):
                    here, var = moments(flat, example * channels + channel, True)
                    mean, square = merged(example * width, mean, square, width, here, var * width)
                variance[channel] = square / (examples * width)
                saved[0, channel], saved[1, channel] = mean, inverse_root(square / (examples * width), eps)
            mean_, scale, shift = saved[0, channel], saved[1, channel] * weight[channel], bias[channel]
            for example in range(examples):
                for i in range(width):
                    out[example, channel, i] = (x[example, channel, i] - mean_) * scale + shift


@kernel(
    "void(T[:, :, ::1], T[:, :, ::1], T[::1], T[:, ::1], T[:, ::1], T[:, :, ::1], T[:, ::1], b1, i8)",
    parallel=True, fast=True,
)  # fmt: skip
def planes_pulled(
    g: Any, x: Any, weight: Any, saved: Any, of_statistics: Any, gx: Any, sums: Any, fixed: bool, parts: int
) -> None:
    T = x.dtype.type
    examples, channels, width = x.shape
    count = 0 if fixed else examples * width
    for part in prange(parts):
        for channel in range(part * channels // parts, (part + 1) * channels // parts):
            mean, rstd = saved[0, channel], saved[1, channel]
            total, with_normal = 0.0, 0.0
            for example in range(examples):
                here, with_here = T(0), T(0)
                for i in range(width):
                    here += g[example, channel, i]
                    with_here += g[example, channel, i] * ((x[example, channel, i] - mean) * rstd)
                total += here
                with_normal += with_here
            sums[0, channel], sums[1, channel] = with_normal, total
            of_g, of_normal, of_1 = slopes(
                weight[channel], rstd, total, with_normal, of_statistics[0, channel], of_statistics[1, channel], count
            )
            a, b, c = T(of_g), T(of_normal), T(of_1)
            for example in range(examples):
                for i in range(width):
                    normal = (x[example, channel, i] - mean) * rstd
                    gx[example, channel, i] = g[example, channel, i] * a + normal * b + c


@kernel("void(T[:, ::1], f8[:, :, ::1], i8)", parallel=True, fast=True)
def columns_measured(x: Any, found: Any, parts: int) -> None:
    """Of each part's rows, into `found`: the mean and the summed square of every column."""
    T = x.dtype.type
    rows, width = x.shape
    size = max(16, BLOCK // max(width, 1))
    for part in prange(parts):
        first, last = part * rows // parts, (part + 1) * rows // parts
        block = np.empty((3, width), x.dtype)
        for i in range(width):
            found[part, 0, i], found[part, 1, i] = 0.0, 0.0
        for start in range(first, last, size):
            stop = min(start + size, last)
            share = T(1) / T(stop - start)
            for i in range(width):
                block[0, i], block[1, i], block[2, i] = T(0), T(0), T(0)
            for row in range(start, stop):
                for i in range(width):
                    block[0, i] += x[row, i]
            for i in range(width):
                block[0, i] *= share
            for row in range(start, stop):
                for i in range(width):
                    difference = x[row, i] - block[0, i]
                    block[1, i] += difference
                    block[2, i] += difference * difference
            for i in range(width):
                rest = block[1, i] * share
                square = block[2, i] - rest * block[1, i]
                found[part, 0, i], found[part, 1, i] = merged(
                    start - first, found[part, 0, i], found[part, 1, i],
                    stop - start, block[0, i] + rest, T(0) if square < T(0) else square,
                )  # fmt: skip


@kernel(
    "void(T[:, ::1], T[::1], T[::1], T[:, ::1], T[:, ::1], T[::1], const f8[:, :, ::1], f8, b1, i8)",
    parallel=True, fast=True,
)  # fmt: skip
def columns(
    x: Any, weight: Any, bias: Any, out: Any, saved: Any, variance: Any, found: Any, eps: float, fixed: bool, parts: int
) -> None:
    """A row of x may be several rows of the batch, one after the other: where there are few channels. What
    `columns_measured` has found is put together by every part; the first one keeps it."""
    T = x.dtype.type
    rows, width = x.shape
    channels, shares = weight.size, len(found)
    for part in prange(parts):
        of = np.empty((3, width), x.dtype)
        for channel in range(channels):
            if fixed:
                mean, rstd = saved[0, channel], saved[1, channel]
            else:
                count, center, square = 0, 0.0, 0.0
                for k in range(shares):
                    more = (k + 1) * rows // shares - k * rows // shares
                    if more > 0:
                        for i in range(channel, width, channels):
                            center, square = merged(count, center, square, more, found[k, 0, i], found[k, 1, i])
                            count += more
                mean, rstd = T(center), T(inverse_root(square / count, eps))
                if part == 0:
                    variance[channel] = square / count
                    saved[0, channel], saved[1, channel] = mean, rstd
            for i in range(channel, width, channels):
                of[0, i], of[1, i], of[2, i] = mean, rstd * weight[channel], bias[channel]
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            for i in range(width):
                out[row, i] = (x[row, i] - of[0, i]) * of[1, i] + of[2, i]


@kernel("void(T[:, ::1], T[:, ::1], T[:, ::1], f8[:, :, ::1], i8)", parallel=True, fast=True)
def columns_added(g: Any, x: Any, saved: Any, found: Any, parts: int) -> None:
    """Of each part's rows, into `found`: Σ g · (x − mean)·rstd and Σ g of every column."""
    T = x.dtype.type
    rows, width = x.shape
    channels = saved.shape[1]
    for part in prange(parts):
        of = np.empty((2, width), x.dtype)
        for i in range(width):
            of[0, i], of[1, i] = saved[0, i % channels], saved[1, i % channels]
        block = np.empty((2, width), x.dtype)
        for i in range(width):
            found[part, 0, i], found[part, 1, i] = 0.0, 0.0
        last = (part + 1) * rows // parts
        for start in range(part * rows // parts, last, ROWS):
            for i in range(width):
                block[0, i], block[1, i] = T(0), T(0)
            for row in range(start, min(start + ROWS, last)):
                for i in range(width):
                    block[0, i] += g[row, i] * ((x[row, i] - of[0, i]) * of[1, i])
                    block[1, i] += g[row, i]
            for i in range(width):
                found[part, 0, i] += block[0, i]
                found[part, 1, i] += block[1, i]


@kernel(
    "void(T[:, ::1], T[:, ::1], T[::1], T[:, ::1], T[:, ::1], T[:, ::1], T[:, ::1], const f8[:, :, ::1], b1, i8)",
    parallel=True, fast=True,
)  # fmt: skip
def columns_pulled(
    g: Any, x: Any, weight: Any, saved: Any, of_statistics: Any, gx: Any, sums: Any, found: Any, fixed: bool, parts: int
) -> None:
    """What `columns_added` has found is put together by every part; the first one keeps it."""
    rows, width = x.shape
    channels = weight.size
    for part in prange(parts):
        of = np.empty((5, width), x.dtype)
        for channel in range(channels):
            with_normal, total = 0.0, 0.0
            for k in range(len(found)):
                for i in range(channel, width, channels):
                    with_normal += found[k, 0, i]
                    total += found[k, 1, i]
            if part == 0:
                sums[0, channel], sums[1, channel] = with_normal, total
            a, b, c = slopes(
                weight[channel], saved[1, channel], total, with_normal, of_statistics[0, channel],
                of_statistics[1, channel], 0 if fixed else rows * (width // channels),
            )  # fmt: skip
            for i in range(channel, width, channels):
                of[0, i], of[1, i], of[2, i], of[3, i], of[4, i] = saved[0, channel], saved[1, channel], a, b, c
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            for i in range(width):
                gx[row, i] = g[row, i] * of[2, i] + (x[row, i] - of[0, i]) * of[1, i] * of[3, i] + of[4, i]

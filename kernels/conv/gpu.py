"""Launches conv.cu: a block a tile of a result, or a thread an entry where a group has few channels."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ..cuda import launch, plain
from ..dispatch import Array, namespace
from .formula import Pairs, Sizes, spatial

SOURCE = Path(__file__).parent / "conv.cu"
THREADS = 256
FEW = 4  # rows of a result for which its smallest tiles would be nearly empty
FULL = 128  # blocks that leave no card idle: where large tiles would be fewer, small ones serve
SPLIT = 512  # blocks among which the sum of a weight's gradient is split, if each of them
TERMS = 256  # has so many terms
_DEPTH = 8  # of a slice
_LARGE = {4: (128, 128), 8: (64, 64)}  # rows and columns of a tile, by itemsize
_SMALL = (32, 128)


def convolve(
    x: Array, weight: Array, bias: Array | None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    kernel, size = weight.shape[2:], x.shape[2:]
    places = spatial(size, kernel, stride=stride, padding=padding, dilation=dilation)
    y = namespace(x).empty((len(x), len(weight), *places), x.dtype)
    sizes = _sizes(len(x), groups, weight, size, kernel, places, stride, padding, dilation)
    rows, columns = len(weight) // groups, len(x) * math.prod(places)
    _correlate(x, weight, bias, y, False, (rows, columns, 1, 1), sizes)
    return y


def convolve_input(
    g: Array, weight: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    rows = weight.shape[1]
    gx = namespace(g).empty((len(g), groups * rows, *size), g.dtype)
    sizes = _sizes(len(g), groups, weight, size, weight.shape[2:], g.shape[2:], stride, padding, dilation)
    length, step = _three(size, 1), _three(stride, 1)
    columns = len(g) * math.prod(-(-n // s) for n, s in zip(length, step, strict=True))
    phases = (min(step[0], length[0]) * step[1], min(step[2], length[2]))
    _correlate(g, weight, None, gx, True, (rows, columns, *phases), sizes)
    return gx


def _correlate(
    source: Array, weight: Array, bias: Array | None, out: Array, transposed: bool, extent: tuple[int, int, int, int],
    sizes: tuple[int, ...],
) -> None:  # fmt: skip
    """`extent`: the rows of a group, the columns of the largest phase, how many phases there are in y and in z."""
    rows, columns, *phases = extent
    if not out.size:
        return
    weight, groups = plain(weight), sizes[1]
    given = (plain(source), weight, weight if bias is None else plain(bias), int(bias is not None), out)
    arguments = (*given, int(transposed), *sizes)
    if rows <= FEW:
        blocks = groups * rows * -(-columns // THREADS)
        launch(SOURCE, "correlate_direct", (blocks, *phases), THREADS, arguments, by=out)
        return
    tile, large = _SMALL, _LARGE[out.itemsize]
    if 2 * rows > large[0] and _tiles(large, rows, columns) * groups * math.prod(phases) >= FULL:
        tile = large
    name = "correlate_small" if tile is _SMALL else "correlate_large"
    blocks = _tiles(tile, rows, columns) * groups
    launch(SOURCE, name, (blocks, *phases), THREADS, arguments, shared=_shared(tile, out.itemsize), by=out)


def convolve_weight(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    k, c, places = g.shape[1], x.shape[1] // groups, g.shape[2:]
    shape, rows, columns = (k, c, *kernel), k // groups, c * math.prod(kernel)
    xp, dtype, gw = namespace(x), x.dtype, namespace(x).empty(shape, x.dtype)
    if not gw.size:
        return gw
    sizes = _sizes(len(x), groups, gw, x.shape[2:], kernel, places, stride, padding, dilation)
    tile, large = _SMALL, _LARGE[dtype.itemsize]
    if 2 * rows > large[0] and 2 * columns > large[1]:
        tile = large
    blocks = groups * (rows * columns if rows <= FEW else _tiles(tile, rows, columns))
    terms = len(x) * math.prod(places)
    least = TERMS * 4 if rows <= FEW else TERMS  # a thread that has one entry goes through every 256th term
    splits = max(min(SPLIT // blocks, -(-terms // least)), 1)
    span = -(-max(terms, 1) // (splits * _DEPTH)) * _DEPTH
    splits = max(-(-terms // span), 1)
    partial = gw if splits == 1 else xp.empty((splits, *shape), dtype)
    arguments = (plain(g), plain(x), partial, span, *sizes)
    if rows <= FEW:
        shared = THREADS // 32 * dtype.itemsize
        launch(SOURCE, "weight_gradient_direct", (blocks, splits), THREADS, arguments, shared=shared, by=gw)
    else:
        name = "weight_gradient_small" if tile is _SMALL else "weight_gradient_large"
        launch(SOURCE, name, (blocks, splits), THREADS, arguments, shared=_shared(tile, dtype.itemsize), by=gw)
    return gw if splits == 1 else partial.sum(axis=0)


def _tiles(tile: tuple[int, int], rows: int, columns: int) -> int:
    return -(-rows // tile[0]) * -(-columns // tile[1])


def _shared(tile: tuple[int, int], itemsize: int) -> int:
    """The bytes of two slices; 16 part their rows."""
    return 2 * _DEPTH * (sum(tile) * itemsize + 2 * 16)


def _sizes(
    images: int, groups: int, weight: Array, size: Sizes, kernel: Sizes, places: Sizes, stride: Sizes, padding: Pairs,
    dilation: Sizes,
) -> tuple[int, ...]:  # fmt: skip
    """What every kernel is told, with three axes."""
    before = [b for b, _ in padding]
    axes = (*_three(size, 1), *_three(kernel, 1), *_three(places, 1), *_three(stride, 1), *_three(before, 0))
    return (images, groups, weight.shape[1], len(weight) // groups, *axes, *_three(dilation, 1))


def _three(values: Any, fill: int) -> tuple[int, ...]:
    return (*(fill,) * (3 - len(values)), *values)

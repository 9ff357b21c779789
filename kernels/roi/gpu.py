"""Launches the kernels on regions: a source each for the largest pixel, both kinds of means, and suppression."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..cuda import THREADS, launch, launch_each, plain
from ..dispatch import Array, namespace

FOLDER = Path(__file__).parent
CHANNELS = 8  # of a thread
ACROSS, DOWN = 32, 8  # pixels of a tile, one a thread
BITS = 64  # boxes of a word of the matrix of those that overlap


# ---- the largest pixel
def largest(x: Array, boxes: Array, size: tuple[int, int], scale: float) -> tuple[Array, Array]:
    """The largest pixel of each bin and its place; of a box of no image, which nobody looks for here, NaN and -1."""
    xp, shape = namespace(x), (len(boxes), x.shape[1], *size)
    out, place = xp.empty(shape, x.dtype), xp.empty(shape, np.int64)
    arguments = (plain(x), plain(boxes), out, place, *x.shape, len(boxes), *size, x.dtype.type(scale))
    launch_each(FOLDER / "largest.cu", "largest", out.size, arguments, by=x)
    return out, place


def largest_pulled(g: Array, boxes: Array, place: Array, shape: tuple[int, ...]) -> Array:
    """The gradient in x."""
    gx, (n, channels, height, width) = namespace(g).empty(shape, g.dtype), shape
    sizes = (n, channels, height * width, len(boxes), g.shape[2] * g.shape[3])
    arguments = (plain(g), plain(boxes), plain(place, np.int64), gx, *sizes)
    if gx.size:
        shared = THREADS * (g.itemsize + 8) + THREADS // 32 * 4
        launch(FOLDER / "largest.cu", "largest_pulled", n * channels, THREADS, arguments, shared=shared, by=g)
    return gx


# ---- means of samples
def pooled(
    x: Array, boxes: Array, offset: Array | None, size: tuple[int, int], scale: float, ratio: int, aligned: bool,
    gamma: float, sensitive: bool,
) -> Array:  # fmt: skip
    """Means of samples of each bin; NaN of a box of no image."""
    layout = _layout(x, boxes, size, 1 if offset is None else offset.shape[1] // 2, sensitive)
    channels, sets = layout[6:8]
    out = namespace(x).empty((len(boxes), channels, *size), x.dtype)
    threads = len(boxes) * _chunks(channels, sets) * size[0] * size[1]
    sampling = _sampling(x, offset, scale, gamma, ratio, aligned)
    arguments = (plain(x), plain(boxes), _moves(x, offset), out, *layout, *sampling)
    launch_each(FOLDER / "pooled.cu", "pooled", threads, arguments, by=x)
    return out


def pooled_pulled(
    g: Array, x: Array, boxes: Array, offset: Array | None, size: tuple[int, int], scale: float, ratio: int,
    aligned: bool, gamma: float, sensitive: bool,
) -> tuple[Array, Array | None]:  # fmt: skip
    """The gradients in x and in the offsets."""
    layout = _layout(x, boxes, size, 1 if offset is None else offset.shape[1] // 2, sensitive)
    g, boxes, moves = plain(g), plain(boxes), _moves(x, offset)
    settings = (*layout, *_sampling(x, offset, scale, gamma, ratio, aligned))
    gx = _collected("pooled", x, layout, (g, boxes, moves), settings)
    if offset is None:
        return gx, None
    gm = namespace(x).empty(offset.shape, x.dtype)
    if gm.size:
        warps, arguments = gm.size // 2, (g, plain(x), boxes, moves, gm, *settings)
        launch(FOLDER / "pooled.cu", "pooled_moved", -(-warps * 32 // THREADS), THREADS, arguments, by=x)
    return gx, gm


def _moves(x: Array, offset: Array | None) -> Array:
    return namespace(x).empty(0, x.dtype) if offset is None else plain(offset)


def _sampling(x: Array, offset: Array | None, scale: float, gamma: float, ratio: int, aligned: bool) -> tuple[Any, ...]:
    real = x.dtype.type
    return real(scale), real(gamma), ratio, int(aligned), int(offset is not None)


# ---- means of pixels
def averaged(x: Array, boxes: Array, size: tuple[int, int], edges: Any) -> Array:
    """Means of the pixels of each bin; NaN of a box of no image."""
    layout, xp = _layout(x, boxes, size, 1, True), namespace(x)
    out = xp.empty((len(boxes), layout[6], *size), x.dtype)
    arguments = (plain(x), plain(boxes), *_limits(x, edges), out, *layout)
    launch_each(FOLDER / "averaged.cu", "averaged", out.size, arguments, by=x)
    return out


def averaged_pulled(g: Array, x: Array, boxes: Array, edges: Any) -> Array:
    """The gradient in x."""
    layout = _layout(x, boxes, g.shape[2:], 1, True)
    return _collected("averaged", x, layout, (plain(g), plain(boxes), *_limits(x, edges)), layout)


def _limits(x: Array, edges: Any) -> list[Array]:
    return [plain(e, x.dtype) for pair in edges for e in pair]


def _layout(x: Array, boxes: Array, size: Any, sets: int, sensitive: bool) -> tuple[int, ...]:
    """As bins.cuh has it: images, height, width, boxes, P, Q, channels of the result, sets of them, sensitive."""
    n, maps, height, width = x.shape
    channels = maps // (size[0] * size[1]) if sensitive else maps
    return n, height, width, len(boxes), *size, channels, sets, int(sensitive)


def _chunks(channels: int, sets: int) -> int:
    """How many threads one after the other channels of one pixel or bin take: no thread has channels of two sets."""
    return sets * -(-channels // sets // CHANNELS)


def _collected(
    name: str, x: Array, layout: tuple[int, ...], arrays: tuple[Array, ...], settings: tuple[Any, ...]
) -> Array:
    """The gradient in x, by the kernel NAME_pulled of NAME.cu: a block a tile of a chunk of the maps."""
    n, height, width, _, p, q, channels, sets, sensitive = layout
    gx = namespace(x).empty(x.shape, x.dtype)
    if gx.size:
        tiles = -(-height // DOWN) * -(-width // ACROSS)
        blocks = n * _chunks(channels, sets) * (p * q if sensitive else 1) * tiles
        shared = THREADS * (6 * x.itemsize + 10 * 4 + 4) + THREADS // 32 * 4  # what was found, boxes, counts of warps
        launch(FOLDER / f"{name}.cu", f"{name}_pulled", blocks, THREADS, (*arrays, gx, *settings), shared=shared, by=x)
    return gx


# ---- suppression
def suppressed(boxes: Array, scores: Array, labels: Array | None, threshold: float) -> Array:
    """The boxes that stay. The host waits for one number, how many they are: it is the size of the result."""
    xp, n = namespace(boxes), len(boxes)
    if not n:
        return xp.empty(0, np.int64)
    order = xp.argsort(-scores.astype(np.float64), kind="stable").astype(np.int64)
    groups = order if labels is None else _groups(labels)
    across = -(-n // BITS)
    words, dead = xp.empty((n, across), np.uint64), xp.zeros(across, np.uint64)
    kept, count = xp.empty(n, np.int64), xp.empty(1, np.int64)
    pairs = (plain(boxes), order, groups, int(labels is not None), words, n, np.float64(threshold))
    rectangles = BITS * (5 * boxes.itemsize + 12)
    launch(FOLDER / "nms.cu", "overlaps", (across, across), BITS, pairs, shared=rectangles, by=boxes)
    threads = min(512, max(BITS, -(-across // 32) * 32))
    arguments = (words, order, dead, kept, count, n, across)
    launch(FOLDER / "nms.cu", "sweep", 1, threads, arguments, shared=(BITS + 1) * 8, by=boxes)
    return kept[: int(count.get()[0])]


def _groups(labels: Array) -> Array:
    """Whole numbers that are equal where the labels are."""
    if labels.dtype.kind in "iub":
        return plain(labels, np.int64)
    return (labels.astype(np.float64) + 0.0).view(np.int64)  # the bits: + 0.0 makes one of both zeros

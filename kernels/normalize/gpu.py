"""Launches normalize.cu: a block a set of numbers that share mean and variance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..cuda import launch, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "normalize.cu"
SPLITS = 64  # partial sums at most, down the rows of a batch


def rows(x: Array, weight: Any, bias: Any, width: int, eps: float, centred: bool) -> tuple[Array, Array]:
    """Layer norm, or root-mean-square norm: out, statistics."""
    return _normalized("rows", x, weight, bias, x.size // width, width, (1, width, 1), eps, centred)[:2]


def groups(x: Array, weight: Any, bias: Any, count: int, eps: float) -> tuple[Array, Array]:
    """Group norm: out, statistics."""
    n, channels = x.shape[:2]
    layout = (count, channels // count, x.size // (n * channels))
    return _normalized("groups", x, weight, bias, n * count, x.size // (n * count), layout, eps)[:2]


def batch(x: Array, weight: Any, bias: Any, eps: float, fixed: Array | None) -> tuple[Array, Array, Array]:
    """Batch norm: out, statistics, variance."""
    n, channels = x.shape[:2]
    layout = (1, channels, x.size // (n * channels))
    return _normalized("batch", x, weight, bias, channels, x.size // channels, layout, eps, fixed=fixed)


def _normalized(
    name: str, x: Array, weight: Any, bias: Any, sets: int, size: int, layout: tuple[int, int, int], eps: float,
    centred: bool = True, fixed: Array | None = None,
) -> tuple[Array, Array, Array]:  # fmt: skip
    xp, dtype, x = namespace(x), x.dtype, plain(x)
    out, variances = xp.empty(x.shape, dtype), xp.empty(sets, dtype)
    statistics = xp.empty((2, sets), dtype) if fixed is None else plain(fixed)
    affine = (weight is not None) + 2 * (bias is not None)
    arguments = (x, _or(weight, x), _or(bias, x), affine, out, statistics, variances)
    settings = (size, *layout, dtype.type(eps), int(centred), int(fixed is not None))
    _run(name, sets, size, (*arguments, *settings), x)
    return out, statistics, variances


def rows_pulled(g: Array, x: Array, weight: Any, statistics: Array, width: int, centred: bool) -> tuple[Array, ...]:
    """The gradients of x, weight and bias."""
    n, xp = x.size // width, namespace(x)
    g, x, statistics = plain(g, x.dtype), plain(x), plain(statistics)
    gx = _pulled("rows_pulled", g, x, weight, statistics, n, width, (1, width, 1), centred)
    splits = min(SPLITS, -(-n // 8))
    partial = xp.empty((splits, 2, width), x.dtype)
    launch(
        SOURCE, "rows_affine", (-(-width // 32), splits), 256, (g, x, statistics, partial, n, width),
        shared=512 * x.itemsize, by=x,
    )  # fmt: skip
    return gx, *partial.sum(axis=0)


def groups_pulled(g: Array, x: Array, weight: Any, statistics: Array, count: int) -> tuple[Array, ...]:
    """The gradients of x, weight and bias."""
    n, channels = x.shape[:2]
    spatial = x.size // (n * channels)
    g, x, statistics = plain(g, x.dtype), plain(x), plain(statistics)
    layout = (count, channels // count, spatial)
    gx = _pulled("groups_pulled", g, x, weight, statistics, n * count, x.size // (n * count), layout, True)
    sums = namespace(x).empty((2, channels), x.dtype)
    _run("groups_affine", channels, n * spatial, (g, x, statistics, sums, n, *layout), x)
    return gx, *sums


def _pulled(
    name: str, g: Array, x: Array, weight: Any, statistics: Array, sets: int, size: int, layout: tuple[int, int, int],
    centred: bool,
) -> Array:  # fmt: skip
    gx = namespace(x).empty(x.shape, x.dtype)
    arguments = (g, x, _or(weight, x), int(weight is not None), statistics, gx, size, *layout, int(centred))
    _run(name, sets, size, arguments, x)
    return gx


def batch_pulled(
    g: Array, x: Array, weight: Any, statistics: Array, fixed: bool, of_statistics: Any
) -> tuple[Array, ...]:
    """The gradients of x, weight and bias."""
    xp, dtype, (n, channels) = namespace(x), x.dtype, x.shape[:2]
    g, x, statistics = plain(g, dtype), plain(x), plain(statistics)
    moved = xp.zeros((2, channels), dtype)
    if of_statistics is not None:
        moved[0], moved[1] = of_statistics
    gx, sums, size = xp.empty(x.shape, dtype), xp.empty((2, channels), dtype), x.size // channels
    arguments = (g, x, _or(weight, x), int(weight is not None), statistics, moved, gx, sums)
    _run("batch_pulled", channels, size, (*arguments, size, channels, x.size // (n * channels), int(fixed)), x)
    return gx, *sums


def _run(name: str, sets: int, size: int, arguments: tuple[Any, ...], x: Array) -> None:
    threads = min(512, max(32, (size // 4 + 31) // 32 * 32))  # whole warps, with some four numbers a thread
    launch(SOURCE, name, sets, threads, arguments, shared=threads // 32 * x.itemsize, by=x)


def _or(array: Any, other: Array) -> Array:
    return other if array is None else plain(array, other.dtype)

"""Launches resample.cu: a thread or a block a weighted sum; a thread a point, or a pixel that points are added to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from ..cuda import launch_each, plain
from ..cuda_windows import launch_windows
from ..dispatch import Array, namespace
from ..windows import Windows

SOURCE = Path(__file__).parent / "resample.cu"
TAPS = {"nearest": 1, "bilinear": 2, "bicubic": 4}  # of an axis
ENOUGH = 2**18  # threads: up to so many, the channels of a point are shared out, though each thread finds its taps anew
CHANNELS = 4  # of a thread of `collect`, as there, and at least so many of a point


def weigh(x: Array, axes: tuple[Windows, ...]) -> Array:
    """x (N, C, *S) by a table for each spatial axis."""
    out = namespace(x).empty((*x.shape[:2], *(axis.places for axis in axes)), x.dtype)
    launch_windows(SOURCE, "weigh", axes, plain(x), (out,), weighed=True)
    return out


def sample(x: Array, grid: Array, mode: str, padding: int, corners: bool) -> Array:
    """x (N, C, *S) at the points of a grid (N, *O, axes): (N, C, *O)."""
    (n, c), places = x.shape[:2], grid.shape[1:-1]
    out = namespace(x).empty((n, c, *places), x.dtype)
    if out.size:
        points = math.prod(places)
        groups = _groups(n * points, c)
        threads = n * groups * points
        sizes = (np.int64(threads), c, groups, points, *_sizes(x, padding, corners))
        launch_each(SOURCE, f"sample_{mode}{x.ndim - 2}", threads, (plain(x), plain(grid), out, *sizes), by=x)
    return out


def sample_pulled(
    g: Array, x: Array, grid: Array, mode: str, padding: int, corners: bool, needs: Any
) -> tuple[Array | None, Array | None]:
    """The gradients of x and of the grid, where they are needed."""
    xp, dtype, (n, c, *size) = namespace(x), x.dtype, x.shape
    spread, moved = map(bool, needs)
    if not g.size:
        return xp.zeros_like(x), xp.zeros_like(grid)
    axes, points, g = len(size), g.size // (n * c), plain(g, dtype)
    groups, taps = _groups(n * points, c) if moved else 1, TAPS[mode] ** axes
    partial = xp.empty((groups, *grid.shape) if moved else 0, dtype)
    keys, shares = (xp.empty(taps * n * points if spread else 0, kind) for kind in (np.int32, dtype))
    given = (g, plain(x), plain(grid), partial, keys, shares, int(moved), int(spread))
    sizes = (n, c, groups, points, *_sizes(x, padding, corners))
    launch_each(SOURCE, f"sample_pulled_{mode}{axes}", groups * n * points, (*given, *sizes), by=x)
    gx = _collected(g, keys, shares, (n, c, *size)) if spread else None
    return gx, (partial.sum(axis=0) if groups > 1 else partial[0]) if moved else None


def _collected(g: Array, keys: Array, shares: Array, shape: tuple[int, ...]) -> Array:
    """Of each pixel the sum of shares · g over its entries; a stable sort leaves them in order."""
    xp, (n, c, *size) = namespace(g), shape
    pixels = math.prod(size)
    entry = xp.argsort(keys, kind="stable")
    begin = xp.searchsorted(keys[entry], xp.arange(n * pixels + 1, dtype=np.int32))
    gx, threads = xp.empty(shape, g.dtype), n * -(-c // CHANNELS) * pixels
    sizes = (np.int64(threads), c, g.size // (n * c), pixels)
    launch_each(SOURCE, "collect", threads, (g, entry, shares, begin, gx, *sizes), by=g)
    return gx


def _groups(points: int, channels: int) -> int:
    return max(1, min(channels // CHANNELS, ENOUGH // points))


def _sizes(x: Array, padding: int, corners: bool) -> tuple[int, ...]:
    """Of three spatial axes, the first of which may not be there; the padding; whether -1 and 1 are pixels' centres."""
    return (*(1,) * (5 - x.ndim), *x.shape[2:], padding, int(corners))

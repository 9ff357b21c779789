"""Launches pooling.cu: a thread or a block a maximum, a thread an entry that is read, a warp a plane that is made."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from ..cuda import THREADS, launch, launch_each, plain
from ..cuda_windows import launch_windows
from ..dispatch import Array, namespace
from ..windows import Windows

SOURCE = Path(__file__).parent / "pooling.cu"
WARP = 32
WARPS = 4096  # that write: where there are fewer planes, several share one, and each reads all of its places


def maxima(x: Array, axes: tuple[Windows, ...]) -> tuple[Array, Array]:
    """The maxima of x (N, C, *S), and their places in int32."""
    xp, shape = namespace(x), (*x.shape[:2], *(axis.places for axis in axes))
    out, at = xp.empty(shape, x.dtype), xp.empty(shape, np.int32)
    launch_windows(SOURCE, "maxima", axes, plain(x), (out, at))
    return out, at


def gather(x: Array, index: Array) -> Array:
    """out[n, c, o] = x[n, c, index[n, c, o]]"""
    n, c, *size = x.shape
    entries = index.shape[2:]
    out = namespace(x).empty((n, c, *entries), x.dtype)
    sizes = (_sharing(c, index), math.prod(entries), math.prod(size), np.int64(out.size))
    launch_each(SOURCE, "gather", out.size, (plain(x), plain(index, np.int32), out, *sizes), by=x)
    return out


def scatter(x: Array, index: Array, size: tuple[int, ...], add: bool) -> Array:
    """Zeros (N, C, *size) with x[n, c, o] added, or written, at place index[n, c, o]."""
    n, c, *entries = x.shape
    out, pixels = namespace(x).empty((n, c, *size), x.dtype), math.prod(size)
    if out.size:
        slices = max(1, min(WARPS // (n * c), -(-pixels // WARP)))
        warps = n * c * slices
        sizes = (_sharing(c, index), math.prod(entries), pixels, slices, int(add), np.int64(warps))
        blocks = -(-warps // (THREADS // WARP))
        launch(SOURCE, "scatter", blocks, THREADS, (plain(x), plain(index, np.int32), out, *sizes), by=x)
    return out


def _sharing(channels: int, index: Array) -> int:
    """How many channels have one index in common."""
    return channels if index.shape[1] == 1 else 1

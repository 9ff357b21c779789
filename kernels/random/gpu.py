"""Launches random.cu: a thread makes four words at a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cuda import launch_each, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "random.cu"


def words(key: Array, size: int) -> Array:
    """The first `size` words of the key's stream, in uint64."""
    xp = namespace(key)
    out = xp.empty(size, np.uint64)
    launch_each(SOURCE, "words", -(-size // 4), (plain(key), out, np.int64(size)), by=xp.empty(0, np.float32))
    return out


def dropout(x: Array, key: Array, threshold: int, factor: float) -> Array:
    """x · factor, or 0 where the upper 24 bits of a word are below the threshold."""
    out = namespace(x).empty(x.shape, x.dtype)
    arguments = (plain(x), plain(key), out, np.int64(x.size), np.uint32(threshold), x.dtype.type(factor))
    launch_each(SOURCE, "dropout", -(-x.size // 4), arguments, by=x)
    return out

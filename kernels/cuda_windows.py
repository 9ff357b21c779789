"""Launches kernels that go over windows of images: `windows.Windows` on a device, windows.cuh in CUDA."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import numpy as np

from .cuda import launch, launch_each
from .dispatch import Array, namespace
from .windows import Windows, packed

LARGE = 32  # entries of a window from which on a block takes it, where windows lie apart
_KEPT = 1024  # tables


def launch_windows(
    path: Path, name: str, axes: tuple[Windows, ...], x: Array, results: tuple[Array, ...], *, weighed: bool = False
) -> None:
    """Run `name`, a thread an entry of the results, or `name`_of_large, a block an entry.

    A thread reads its whole window, which suits windows that are small, or overlap: neighbours share what they read.
    x (N, C, *S) is contiguous, as are the results; kernels get x, the results, the table of the windows, if `weighed`
    their weights, and the sizes.
    """
    if not (count := results[0].size):
        return
    table, weight = _on_device(axes, x.dtype, namespace(x), x.device.id)
    sizes = (*_three(x.shape[2:]), *_three(results[0].shape[2:]))
    arguments = (x, *results, table, *((weight,) if weighed else ()), *sizes)
    read, places = math.prod(len(axis.weight) for axis in axes), math.prod(axis.places for axis in axes)
    if read < LARGE * places or read > 8 * math.prod(x.shape[2:]):
        launch_each(path, name, count, (*arguments, np.int64(count)), by=x)
        return
    threads = min(512, max(32, (read // places // 4 + 31) // 32 * 32))  # whole warps, with some four entries a thread
    launch(path, f"{name}_of_large", count, threads, arguments, shared=threads // 32 * (x.itemsize + 4), by=x)


@functools.lru_cache(_KEPT)
def _on_device(axes: tuple[Windows, ...], dtype: Any, xp: Any, device: int) -> tuple[Array, Array]:
    """`windows.packed`, the whole numbers in one array; copied there once."""
    first, offset, weight, steps = packed(axes, dtype)
    return xp.asarray(np.concatenate([first, offset, steps]).astype(np.int32)), xp.asarray(weight)


def _three(size: tuple[int, ...]) -> tuple[int, ...]:
    return (*(1,) * (3 - len(size)), *size)

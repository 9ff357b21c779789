"""The k largest or smallest of an array: a threshold, and the few that pass it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]

BLOCK, PART = 512, 32  # so many values are passed over at once; where one is not, so many are looked at one by one


SHARE = 1 << 20  # values that are worth a thread


def select(x: Array, k: int, largest: bool) -> tuple[Array, Array, int]:
    """At least the best k of x, with their indices, in the order of these; and the index of a NaN, or -1."""
    if k == 0:
        return x[:0], np.empty(0, np.int64), -1
    parts = max(1, min(numba.config.NUMBA_NUM_THREADS, x.size // max(SHARE, 8 * k)))
    if parts == 1:
        return scan(x, 0, x.size, k, largest)
    bounds = [x.size * part // parts for part in range(parts + 1)]
    with ThreadPoolExecutor(parts - 1) as pool:
        others = [pool.submit(scan, x, bounds[part], bounds[part + 1], k, largest) for part in range(1, parts)]
        found = [scan(x, 0, bounds[1], k, largest), *(other.result() for other in others)]
    values, indices, missing = zip(*found, strict=True)
    return np.concatenate(values), np.concatenate(indices), max(missing)


@jit
def scan(x: Array, start: int, stop: int, k: int, largest: bool) -> tuple[Array, Array, int]:
    """The best k > 0 of x[start:stop], with their indices, in the order of these; and the index of a NaN, or -1.

    The first values fill a buffer. When it is full, its k-th becomes the threshold and only the best k stay. From then
    on a block of values is passed over unless one of them beats the threshold, or is no number: O(n) time, mostly
    reading, and O(k) memory.
    """
    room = 2 * k + PART
    values, indices = np.empty(room, x.dtype), np.empty(room, np.int64)
    n, missing = 0, -1
    threshold = x[start]
    chosen = False  # whether there is a threshold
    for block in range(start, stop, BLOCK):
        end = min(block + BLOCK, stop)
        if chosen and not _beats(x[block:end], threshold, largest):
            continue
        for part in range(block, end, PART):
            last = min(part + PART, end)
            if chosen and not _beats(x[part:last], threshold, largest):
                continue
            for i in range(part, last):
                value = x[i]
                if value != value:
                    missing = i
                elif not chosen or (value > threshold if largest else value < threshold):
                    values[n], indices[n] = value, i
                    n += 1
            if n > room - PART:
                threshold = _compact(values, indices, n, k, largest)
                n, chosen = k, True
    if n > k:
        _compact(values, indices, n, k, largest)
        n = k
    return values[:n], indices[:n], missing


@jit
def _beats(block: Array, threshold: Any, largest: bool) -> bool:
    """Whether one of them does, or is NaN: without an end before the last, so that many are compared at once."""
    found = False
    if largest:
        for i in range(block.size):
            found |= not (block[i] <= threshold)
    else:
        for i in range(block.size):
            found |= not (block[i] >= threshold)
    return found


@jit
def _compact(values: Array, indices: Array, n: int, k: int, largest: bool) -> Any:
    """Keep the best k of the first n in place and in order, of equals the first ones; returns the k-th best value."""
    place = n - k if largest else k - 1
    threshold = _nth(values[:n].copy(), place)
    better = 0
    for j in range(n):
        better += values[j] > threshold if largest else values[j] < threshold
    equals = k - better
    kept = 0
    for j in range(n):
        value = values[j]
        if value == threshold:
            if equals == 0:
                continue
            equals -= 1
        elif (value < threshold) if largest else (value > threshold):
            continue
        values[kept], indices[kept] = value, indices[j]
        kept += 1
    return threshold


@jit
def _nth(x: Array, place: int) -> Any:
    """What would stand at `place` were x in order: by parting x around one of its values, and then that part. O(n)."""
    first, last = 0, x.size - 1
    while first < last:
        pivot = x[(first + last) // 2]
        i, j = first, last
        while i <= j:
            while x[i] < pivot:
                i += 1
            while pivot < x[j]:
                j -= 1
            if i <= j:
                x[i], x[j] = x[j], x[i]
                i += 1
                j -= 1
        if place <= j:
            last = j
        elif place >= i:
            first = i
        else:
            break
    return x[place]

"""Sorting by a heap, and merging runs by one, of arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


@jit
def sort(x: Array) -> Array:
    """The values rising: a heap with the largest on top, whose top changes places with the last that is left."""
    h = x.copy()
    for i in range(h.size // 2 - 1, -1, -1):
        _sink(h, h[i], i, h.size)
    for n in range(h.size - 1, 0, -1):
        last = h[n]
        h[n] = h[0]
        _sink(h, last, 0, n)
    return h


@jit
def _sink(h: Array, value: Any, hole: int, n: int) -> None:
    """The larger of two children moves up, down to a leaf; from there `value` rises to its place."""
    place = hole
    child = 2 * place + 1
    while child < n:
        if child + 1 < n and h[child] < h[child + 1]:
            child += 1
        h[place] = h[child]
        place = child
        child = 2 * place + 1
    while place > hole and h[(place - 1) // 2] < value:
        h[place] = h[(place - 1) // 2]
        place = (place - 1) // 2
    h[place] = value


@jit
def merge(x: Array, ends: Array, reverse: bool) -> Array:
    """The runs x[ends[r] : ends[r + 1]], merged; of equal values those of earlier runs first."""
    k = ends.size - 1
    at = ends[:-1].copy()
    keys, runs = np.empty(k, x.dtype), np.empty(k, np.int64)
    n = 0
    for run in range(k):
        if at[run] < ends[run + 1]:
            keys[n], runs[n] = x[at[run]], run
            n += 1
    for i in range(n // 2 - 1, -1, -1):
        _settle(keys, runs, i, n, reverse)
    out = np.empty(x.size, x.dtype)
    for i in range(out.size):
        out[i] = keys[0]
        run = runs[0]
        at[run] += 1
        if at[run] < ends[run + 1]:
            keys[0] = x[at[run]]
        else:
            n -= 1
            keys[0], runs[0] = keys[n], runs[n]
        _settle(keys, runs, 0, n, reverse)
    return out


@jit
def _settle(keys: Array, runs: Array, place: int, n: int, reverse: bool) -> None:
    """What stands at `place` sinks to where neither child precedes it."""
    key, run = keys[place], runs[place]
    child = 2 * place + 1
    while child < n:
        if child + 1 < n and _precedes(keys[child + 1], runs[child + 1], keys[child], runs[child], reverse):
            child += 1
        if not _precedes(keys[child], runs[child], key, run, reverse):
            break
        keys[place], runs[place] = keys[child], runs[child]
        place = child
        child = 2 * place + 1
    keys[place], runs[place] = key, run


@jit
def _precedes(a: Any, i: int, b: Any, j: int, reverse: bool) -> bool:
    if a == b:
        return i < j
    return bool(a > b) if reverse else bool(a < b)

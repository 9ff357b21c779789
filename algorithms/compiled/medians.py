"""Two neighbours in the order of all that was read, or of a window, for every position of an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


MIDDLE = 256  # values between the two heaps, in order


@jit
def running(x: Array, firsts: Array, lasts: Array) -> tuple[Array, Array]:
    """For every i, the values of ranks firsts[i] and lasts[i] in x[: i + 1]: O(n log n) by two heaps, mostly O(1) each.

    Ranks count from 0. Both stay or grow by 1 from one i to the next, and lasts[i] is firsts[i] or the next rank.
    Between the lower part, a heap with its largest on top, and the upper part, a heap with its smallest on top, some
    values stand in order, those that are asked for among them. A value that belongs to a heap rises there from the
    bottom, which is O(1) on average; values leave a heap only when the ranks have wandered out of what stands in order.
    """
    n = x.size
    low, high = np.empty(n, x.dtype), np.empty(n, x.dtype)
    lower, upper = np.empty(n, x.dtype), np.empty(n, x.dtype)
    ordered = np.empty(MIDDLE, x.dtype)
    a, m, b = 0, 0, 0  # how many are below, in order, above
    for i in range(n):
        value = x[i]
        if m == MIDDLE:
            a, m, b = _part_with(ordered, m, lower, a, MIDDLE // 4, upper, b, MIDDLE // 4)
        if m and value <= ordered[0]:
            _rise_large(lower, value, a)
            a += 1
        elif m and value >= ordered[m - 1]:
            _rise_small(upper, value, b)
            b += 1
        else:
            place = m
            while place and value < ordered[place - 1]:
                ordered[place] = ordered[place - 1]
                place -= 1
            ordered[place] = value
            m += 1
        first, last = firsts[i], lasts[i]
        if first < a:
            taken = min(a, MIDDLE // 2)
            a, m, b = _part_with(ordered, m, lower, a, 0, upper, b, max(0, m + taken - MIDDLE))
            for j in range(m - 1, -1, -1):
                ordered[taken + j] = ordered[j]
            for j in range(taken - 1, -1, -1):
                a -= 1
                ordered[j] = lower[0]
                _sink_large(lower, lower[a], 0, a)
            m += taken
        elif last >= a + m:
            taken = min(b, MIDDLE // 2)
            a, m, b = _part_with(ordered, m, lower, a, max(0, m + taken - MIDDLE), upper, b, 0)
            for j in range(taken):
                b -= 1
                ordered[m + j] = upper[0]
                _sink_small(upper, upper[b], 0, b)
            m += taken
        low[i], high[i] = ordered[first - a], ordered[last - a]
    return low, high


@jit
def _part_with(
    ordered: Array, m: int, lower: Array, a: int, lowest: int, upper: Array, b: int, highest: int
) -> tuple[int, int, int]:
    """Give the lowest few of what stands in order to the lower heap, the highest few to the upper; returns a, m, b."""
    for j in range(lowest):
        _rise_large(lower, ordered[j], a + j)
    for j in range(highest):
        _rise_small(upper, ordered[m - 1 - j], b + j)
    m -= lowest + highest
    for j in range(m if lowest else 0):
        ordered[j] = ordered[lowest + j]
    return a + lowest, m, b + highest


@jit
def sliding(x: Array, order: Array, window: int) -> tuple[Array, Array]:
    """The lower and the upper middle of every x[i : i + window]: O(n log window) by two heaps that know every place.

    The value that enters takes the place of the one that leaves, and moves from there: both halves keep their sizes.
    Values that come and go on the same side of the middle move O(1) places on average. `order` is that of the first
    window.
    """
    n = x.size - window + 1
    low, high = np.empty(n, x.dtype), np.empty(n, x.dtype)
    a, b = (window + 1) // 2, window // 2
    lower, upper = np.empty(a, x.dtype), np.empty(b, x.dtype)
    # Which value stands at each place, by its index modulo the window; and where each stands: above, as -1 - place.
    lower_of, upper_of, where = np.empty(a, np.int64), np.empty(b, np.int64), np.empty(window, np.int64)
    for i in range(a):
        _put(lower, lower_of, where, i, x[order[a - 1 - i]], order[a - 1 - i], False)
    for i in range(b):
        _put(upper, upper_of, where, i, x[order[a + i]], order[a + i], True)
    low[0] = lower[0]
    high[0] = upper[0] if a == b else lower[0]
    for i in range(1, n):
        entering = x[i + window - 1]
        slot = (i - 1) % window
        place = where[slot]
        if place >= 0:
            if b and upper[0] < entering:
                top, top_slot = upper[0], upper_of[0]
                _settle(upper, upper_of, where, 0, entering, slot, True)
                entering, slot = top, top_slot
            _settle(lower, lower_of, where, place, entering, slot, False)
        else:
            if entering < lower[0]:
                top, top_slot = lower[0], lower_of[0]
                _settle(lower, lower_of, where, 0, entering, slot, False)
                entering, slot = top, top_slot
            _settle(upper, upper_of, where, -1 - place, entering, slot, True)
        low[i] = lower[0]
        high[i] = upper[0] if a == b else lower[0]
    return low, high


@jit
def _put(h: Array, of: Array, where: Array, place: int, value: Any, slot: int, above: bool) -> None:
    h[place], of[place] = value, slot
    where[slot] = -1 - place if above else place


@jit
def _settle(h: Array, of: Array, where: Array, place: int, value: Any, slot: int, above: bool) -> None:
    """The value replaces what stands at `place` and goes up, or down, to where it belongs; `above`: smallest on top."""
    start = place
    while place:
        parent = (place - 1) // 2
        if not (value < h[parent] if above else h[parent] < value):
            break
        _put(h, of, where, place, h[parent], of[parent], above)
        place = parent
    if place == start:
        child = 2 * place + 1
        while child < h.size:
            if child + 1 < h.size and (h[child + 1] < h[child] if above else h[child] < h[child + 1]):
                child += 1
            if not (h[child] < value if above else value < h[child]):
                break
            _put(h, of, where, place, h[child], of[child], above)
            place = child
            child = 2 * place + 1
    _put(h, of, where, place, value, slot, above)


@jit
def _rise_large(h: Array, value: Any, place: int) -> None:
    while place and h[(place - 1) // 2] < value:
        h[place] = h[(place - 1) // 2]
        place = (place - 1) // 2
    h[place] = value


@jit
def _rise_small(h: Array, value: Any, place: int) -> None:
    while place and value < h[(place - 1) // 2]:
        h[place] = h[(place - 1) // 2]
        place = (place - 1) // 2
    h[place] = value


@jit
def _sink_large(h: Array, value: Any, place: int, n: int) -> None:
    child = 2 * place + 1
    while child < n:
        if child + 1 < n and h[child] < h[child + 1]:
            child += 1
        if h[child] <= value:
            break
        h[place] = h[child]
        place = child
        child = 2 * place + 1
    h[place] = value


@jit
def _sink_small(h: Array, value: Any, place: int, n: int) -> None:
    child = 2 * place + 1
    while child < n:
        if child + 1 < n and h[child + 1] < h[child]:
            child += 1
        if value <= h[child]:
            break
        h[place] = h[child]
        place = child
        child = 2 * place + 1
    h[place] = value

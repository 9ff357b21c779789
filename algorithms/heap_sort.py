"""Heap sort, and the merging of many sorted runs by a heap.

Of arrays of numbers both run as compiled loops and give arrays; equal values are alike there (0 and −0 are equal).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from . import compiled
from .checks import comparable
from .heaps import Entries, Item, MaxHeap, MinHeap


@overload
def heap_sort(values: NDArray[Any], *, reverse: bool = False) -> NDArray[Any]: ...  # type: ignore[overload-overlap]
@overload
def heap_sort(
    values: Iterable[Item], *, key: Callable[[Item], Any] | None = None, reverse: bool = False
) -> list[Item]: ...
def heap_sort(values: Any, *, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> Any:
    """Sorted values: a heap of them all, popped until it is empty. O(n log n), about n log₂ n comparisons; stable.

    An array of numbers without a `key` gives an array; anything else, a list.

    >>> heap_sort([3, 1, 2]), heap_sort("heap", reverse=True)
    ([1, 2, 3], ['p', 'h', 'e', 'a'])
    >>> heap_sort(np.array([3.0, 1.0, 2.0]))
    array([1., 2., 3.])
    """
    if key is None and compiled.numeric(values, "heap_sort"):
        compiled.without_nan(values, "heap_sort")
        if not compiled.enabled():
            return np.array(heap_sort(values.tolist(), reverse=reverse), values.dtype)
        from .compiled import heaps

        made = compiled.restored(heaps.sort(compiled.canonical(values)), values.dtype)
        return made[::-1].copy() if reverse else made
    heap = (MaxHeap if reverse else MinHeap)(values, key=key)
    return [heap.pop() for _ in range(len(heap))]


@overload
def k_way_merge(*runs: NDArray[Any], reverse: bool = False) -> NDArray[Any]: ...  # type: ignore[overload-overlap]
@overload
def k_way_merge(
    *runs: Iterable[Item], key: Callable[[Item], Any] | None = None, reverse: bool = False
) -> Iterator[Item]: ...
def k_way_merge(*runs: Any, key: Callable[[Any], Any] | None = None, reverse: bool = False) -> Any:
    """The items of k runs, each in order, in one order: O(n log k), O(k) memory; of equals those of earlier runs first.

    A heap holds the next item of each run; the first of them goes out, and the one behind it in its run comes in.
    `reverse` is for runs that are in falling order. Arrays of numbers without a `key` give an array; anything else, an
    iterator that reads no further than it must.

    >>> list(k_way_merge([1, 4, 7], [2, 5], [0, 9]))
    [0, 1, 2, 4, 5, 7, 9]
    >>> k_way_merge(np.array([1, 4]), np.array([2, 3]))
    array([1, 2, 3, 4])
    """
    if runs and key is None and all(compiled.numeric(run, "k_way_merge") for run in runs):
        dtype = np.result_type(*runs)
        if not compiled.enabled():
            return np.array(list(_merged([run.tolist() for run in runs], None, reverse)), dtype)
        from .compiled import heaps

        ends = np.cumsum([0, *(run.size for run in runs)])
        values = compiled.canonical(compiled.without_nan(np.concatenate(runs), "k_way_merge"))
        return compiled.restored(heaps.merge(values, ends, reverse), dtype)
    return _merged(runs, key, reverse)


def _merged(runs: Iterable[Iterable[Any]], key: Callable[[Any], Any] | None, reverse: bool) -> Iterator[Any]:
    """An entry's number is that of its run, which settles which of equals is the first."""
    heap: Entries[Any] = Entries("max" if reverse else "min")
    rest = [iter(run) for run in runs]
    for number, run in enumerate(rest):
        for item in run:
            heap._rise((comparable(item if key is None else key(item)), number, item), len(heap))
            break
    while heap:
        _, number, item = heap._entries[0]
        yield item
        for following in rest[number]:
            heap._sink((comparable(following if key is None else key(following)), number, following), 0, len(heap))
            break
        else:
            heap._remove(0)

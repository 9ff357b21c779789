"""The k largest or smallest of a stream, with O(k) memory; those of an array, at the speed of reading it.

The k largest so far stand in a heap with the *smallest* of them on top: that one is the threshold, which a new item
must beat, and leaves when one does. Most items don't, and cost one comparison; so n items cost O(n log k) at worst, and
n + O(k log k log(n / k)) comparisons where they come in random order.

Of equal items the first ones stay, and come first in the results: the answer is `sorted(items, reverse=True)[:k]`.
k = 0 keeps nothing; where k exceeds the number of items, all are kept. **NaN** has no rank: it is an error, or with
nan="skip" left out.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, Literal, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import compiled
from .checks import choice, comparable, whole
from .heaps import Entries, Item, Order

Method = Literal["heap", "sign"]
Policy = Literal["raise", "skip"]
OPPOSITE: dict[Order, Order] = {"min": "max", "max": "min"}


def negated(key: Any) -> Any:
    """−key of a number, in integers without end: those of NumPy have no −x for the smallest or for unsigned ones.

    >>> negated(np.int8(-128)), negated(np.uint8(3)), negated(0.5)
    (128, -3, -0.5)
    >>> negated("a")
    Traceback (most recent call last):
    ...
    TypeError: the sign trick is for real numbers, got 'a': method="heap" takes whatever can be compared
    """
    if isinstance(key, numbers.Integral):
        return -int(key)
    if not isinstance(key, numbers.Real):
        raise TypeError(
            f'the sign trick is for real numbers, got {key!r}: method="heap" takes whatever can be compared'
        )
    return -key


class _Best(Generic[Item]):
    """What TopK and BtmK share: all but which end of the order is the better one."""

    _worst: ClassVar[Order]  # what stands on top of the heap of the best

    def __init__(
        self,
        k: SupportsIndex,
        *,
        key: Callable[[Item], Any] | None = None,
        method: Method = "heap",
        nan: Policy = "raise",
    ) -> None:
        name = type(self).__name__
        self.k = whole(name, "k", k, 0)
        self._key = key
        self._skip = choice(name, "nan", nan, ("raise", "skip")) == "skip"
        self._sign = choice(name, "method", method, ("heap", "sign")) == "sign"
        self._heap: Entries[Item] = Entries(OPPOSITE[self._worst] if self._sign else self._worst)

    def push(self, item: Item) -> None:
        """Take `item` in if it is among the k best so far: O(log k), and one comparison if it is not.

        >>> top = TopK(2)
        >>> for x in [3, 1, 4, 1, 5]:
        ...     top.push(x)
        >>> top.sorted()
        [5, 4]
        """
        key = item if self._key is None else self._key(item)
        if self._skip and key != key:
            return
        comparable(key)
        heap = self._heap
        # Of equals the latest leaves first, so numbers fall.
        entry = (negated(key) if self._sign else key, -heap._pushed, item)
        if len(heap) < self.k:
            heap._rise(entry, len(heap))
        elif self.k and heap._before(heap._entries[0], entry):
            heap._sink(entry, 0, self.k)
        heap._pushed += 1

    def extend(self, items: Iterable[Item]) -> None:
        """Push every item; of an array of numbers, without a key, only the few that a compiled loop finds worth it.

        >>> btm = BtmK(2)
        >>> btm.extend(np.array([3.0, 1.0, 2.0])); btm.extend([0.5])
        >>> btm.sorted()
        [0.5, 1.0]
        """
        name = type(self).__name__
        if self._key is None and compiled.numeric(items, name):
            items = _selected(name, items, self.k, self._worst == "min", self._skip)[0].tolist()
        for item in items:
            self.push(item)

    def peek(self) -> Item:
        """The least good of the kept, which the next better one replaces: O(1); IndexError where nothing is kept.

        >>> top = TopK(2)
        >>> top.extend([5, 1, 4]); top.peek()
        4
        """
        return self._heap._nonempty(f"peek at the {type(self).__name__}")[0][2]

    def sorted(self) -> list[Item]:
        """The kept, the best first, of equals the earliest: O(k log k); the stream goes on."""
        rest: Entries[Item] = Entries(self._heap.order)
        rest._entries = list(self._heap._entries)
        return [rest._remove(0)[2] for _ in range(len(rest))][::-1]

    def __len__(self) -> int:
        """How many are kept: k, or all where fewer came."""
        return len(self._heap)

    def __iter__(self) -> Iterator[Item]:
        """The kept, in no order."""
        return (item for _, _, item in self._heap._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.k}): {self.sorted()!r}"

    def _check(self) -> None:
        """Assert the heap's order, and that there are no more than k."""
        self._heap._check()
        assert len(self._heap) == min(self.k, self._heap._pushed)


class TopK(_Best[Item]):
    """The k largest of a stream, by `key` if there is one: a heap of k with the smallest on top. O(k) memory.

    `method` "sign" is for numbers: they enter with the other sign, and a heap with the largest on top does.

    >>> top = TopK(2, key=len)
    >>> top.extend(["fig", "apple", "pear", "grape"])
    >>> top.sorted()
    ['apple', 'grape']
    """

    _worst = "min"


class BtmK(_Best[Item]):
    """The k smallest of a stream, by `key` if there is one: a heap of k with the largest on top. O(k) memory.

    `method` "sign" is for numbers: −e is pushed, and −(−e) popped, so that a heap with the smallest on top does.

    >>> btm = BtmK(2, method="sign")
    >>> btm.extend([3, 1, 2])
    >>> btm.sorted()
    [1, 2]
    """

    _worst = "max"


class Selected(NamedTuple):
    """The best first, and where each was."""

    values: Any
    indices: Any


def top_k(
    values: Any,
    k: SupportsIndex,
    *,
    largest: bool = True,
    key: Callable[[Any], Any] | None = None,
    nan: Policy = "raise",
) -> Selected:
    """The k largest values, or smallest, the best first, and their indices; of equals the first: mostly O(n + k log k).

    An array of numbers without a `key` gives two arrays, and is read by all cores if it is large; anything else, lists.

    >>> top_k([3, 9, 9, 1], 2)
    Selected(values=[9, 9], indices=[1, 2])
    >>> top_k(np.array([3.0, 9.0, 4.0]), 2).indices
    array([1, 2])
    """
    k = whole("top_k", "k", k, 0)
    skip = choice("top_k", "nan", nan, ("raise", "skip")) == "skip"
    if key is None and compiled.numeric(values, "top_k"):
        return _selected("top_k", values, k, largest, skip)
    kind = TopK if largest else BtmK
    best: _Best[tuple[int, Any]] = kind(k, key=lambda pair: pair[1] if key is None else key(pair[1]), nan=nan)
    best.extend(enumerate(values))
    kept = best.sorted()
    return Selected([value for _, value in kept], [index for index, _ in kept])


def nlargest(k: SupportsIndex, values: Any, key: Callable[[Any], Any] | None = None) -> Any:
    """The k largest, the largest first, as `sorted(values, key=key, reverse=True)[:k]`: O(n log k), O(k) memory.

    An array of numbers without a `key` gives an array; anything else, a list.

    >>> nlargest(2, ["fig", "apple", "pear"], key=len)
    ['apple', 'pear']
    """
    return top_k(values, k, key=key).values


def nsmallest(k: SupportsIndex, values: Any, key: Callable[[Any], Any] | None = None) -> Any:
    """The k smallest, the smallest first, as `sorted(values, key=key)[:k]`: O(n log k), O(k) memory.

    >>> nsmallest(2, np.array([3, 1, 2]))
    array([1, 2])
    """
    return top_k(values, k, largest=False, key=key).values


def _selected(caller: str, x: NDArray[Any], k: int, largest: bool, skip: bool) -> Selected:
    if not compiled.enabled():
        kind = TopK if largest else BtmK
        best: _Best[tuple[int, Any]] = kind(k, key=lambda pair: pair[1], nan="skip" if skip else "raise")
        best.extend(enumerate(x.tolist()))
        indices = np.array([index for index, _ in best.sorted()], np.int64)
        return Selected(x[indices], indices)
    from .compiled import top_k as loops

    values, indices, missing = loops.select(compiled.canonical(x, single=True), min(k, x.size), largest)
    if missing >= 0 and not skip:
        raise ValueError(f'{caller}: NaN at index {missing} has no rank: leave it out, or give nan="skip"')
    if largest:  # the sort is stable: read from the back, so that of equals the first come last
        order = values.size - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    else:
        order = np.argsort(values, kind="stable")
    indices = indices[order[:k]]
    return Selected(x[indices], indices)

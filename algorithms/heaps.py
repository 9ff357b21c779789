"""Binary heaps in a list: MinHeap, MaxHeap (nothing is negated), and IndexedHeap, whose keys change.

The children of the entry at place i are at 2i + 1 and 2i + 2, and neither leaves the heap before it; so the first to
leave is at place 0, and a path from there to a leaf has at most log₂ n steps.

Two entries are compared by one `<` of their keys. Of equal keys, the one that was pushed first leaves first, in MaxHeap
too: which of two entries is the older is known from their numbers, and tells which way round to ask. All comparisons of
a step are made before anything moves, so one that raises leaves the heap as it was. NaN, which no `<` puts in its
place, is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, Literal, TypeVar

from .checks import choice, comparable

Item = TypeVar("Item")
Entry = tuple[Any, int, Item]  # key, the number that tells the older of two, item
Order = Literal["min", "max"]


def _smaller(a: Entry[Any], b: Entry[Any]) -> bool:
    return not b[0] < a[0] if a[1] < b[1] else a[0] < b[0]


def _larger(a: Entry[Any], b: Entry[Any]) -> bool:
    return not a[0] < b[0] if a[1] < b[1] else b[0] < a[0]


# Whether entry a leaves before entry b.
BEFORE: dict[Order, Callable[[Entry[Any], Entry[Any]], bool]] = {"min": _smaller, "max": _larger}


class Entries(Generic[Item]):
    """The list of entries, and the two ways in which one finds its place: up towards the top, or down below it."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self._before = BEFORE[order]
        self._entries: list[Entry[Item]] = []
        self._pushed = 0  # how many ever were: the next one's number

    def __len__(self) -> int:
        """How many there are, in O(1)."""
        return len(self._entries)

    def _rise(self, entry: Entry[Item], hole: int) -> int:
        """Put `entry` into the hole, or above it: entries that it precedes move down. At most log₂ n comparisons."""
        entries, before = self._entries, self._before
        place = hole
        while place and before(entry, entries[(place - 1) // 2]):
            place = (place - 1) // 2
        if hole == len(entries):
            entries.append(entry)
        i = hole
        while i > place:
            entries[i] = entries[(i - 1) // 2]
            i = (i - 1) // 2
        entries[place] = entry
        self._moved(place, hole)
        return place

    def _sink(self, entry: Entry[Item], hole: int, n: int) -> Entry[Item]:
        """Put `entry` into the hole, or below it among the first n; returns what was in the hole.

        The way down follows the earlier of two children to a leaf, and only then is `entry` compared, on the way back:
        it mostly belongs near the bottom, as most entries do. So it takes log₂ n comparisons and a few, at most twice
        as many.
        """
        entries, before = self._entries, self._before
        place = hole
        while (child := 2 * place + 1) < n:
            place = child + (child + 1 < n and before(entries[child + 1], entries[child]))
        while place > hole and before(entry, entries[place]):
            place = (place - 1) // 2
        i = place
        while i > hole:
            entries[i], entry = entry, entries[i]
            i = (i - 1) // 2
        entries[hole], entry = entry, entries[hole]
        self._moved(hole, place)
        return entry

    def _remove(self, hole: int) -> Entry[Item]:
        """Take out the entry in the hole; the last one fills it. At most 2 log₂ n comparisons."""
        entries, n = self._entries, len(self._entries) - 1
        last, removed = entries[n], entries[hole]
        if hole < n:
            if hole and self._before(last, entries[(hole - 1) // 2]):
                self._rise(last, hole)
            else:
                self._sink(last, hole, n)
        entries.pop()
        return removed

    def _moved(self, top: int, bottom: int) -> None:
        """Told of every change: between place `top` and place `bottom` below it, on the path that joins them."""

    def _nonempty(self, doing: str) -> list[Entry[Item]]:
        if not self._entries:
            raise IndexError(f"{doing} of an empty {type(self).__name__}: ask `if heap:` first")
        return self._entries

    def _check(self) -> None:
        """Assert that no entry leaves before the one above it, and that no two have one number."""
        entries = self._entries
        for i in range(1, len(entries)):
            assert not self._before(entries[i], entries[(i - 1) // 2]), f"{entries[i]} at {i} precedes its parent"
        numbers = {number for _, number, _ in entries}
        assert len(numbers) == len(entries) and all(number < self._pushed for number in numbers), numbers


class _Heap(Entries[Item]):
    """What MinHeap and MaxHeap share: all but the order."""

    _order: ClassVar[Order]

    def __init__(self, items: Iterable[Item] = (), *, key: Callable[[Item], Any] | None = None) -> None:
        super().__init__(self._order)
        self._key = key
        self.extend(items)

    def _entry(self, item: Item) -> Entry[Item]:
        entry = (comparable(item if self._key is None else self._key(item)), self._pushed, item)
        self._pushed += 1
        return entry

    def push(self, item: Item) -> None:
        """Add `item`: O(log n), at most log₂ n comparisons, and O(1) on average where items come in random order.

        >>> heap = MinHeap([3, 1])
        >>> heap.push(2)
        >>> heap.pop(), heap.pop(), heap.pop()
        (1, 2, 3)
        """
        self._rise(self._entry(item), len(self._entries))

    def pop(self) -> Item:
        """Remove the first and return it: O(log n), at most 2 log₂ n comparisons; IndexError where there is none.

        >>> MaxHeap([3, 1, 4]).pop()
        4
        """
        self._nonempty("pop")
        return self._remove(0)[2]

    def peek(self) -> Item:
        """The first, which stays: O(1); IndexError where there is none.

        >>> MinHeap(["pear", "fig"], key=len).peek()
        'fig'
        """
        return self._nonempty("peek")[0][2]

    def replace(self, item: Item) -> Item:
        """Pop, then push `item`, in one pass: O(log n); IndexError where there is nothing to pop.

        >>> heap = MinHeap([2, 5])
        >>> heap.replace(1), heap.peek()
        (2, 1)
        """
        n = len(self._nonempty("replace"))
        return self._sink(self._entry(item), 0, n)[2]

    def pushpop(self, item: Item) -> Item:
        """Push `item`, then pop, in one pass: O(log n), and one comparison where `item` itself is the first.

        >>> heap = MinHeap([2, 5])
        >>> heap.pushpop(1), heap.pushpop(3), heap.peek()
        (1, 2, 3)
        """
        entry = self._entry(item)
        if not self._entries or self._before(entry, self._entries[0]):
            return item
        return self._sink(entry, 0, len(self._entries))[2]

    def extend(self, items: Iterable[Item]) -> None:
        """Add m items: O(min(n + m, m log(n + m))), by building the heap anew, bottom-up, or by pushing one by one.

        Built anew, at most 2 (n + m) comparisons: half of the entries are leaves, a quarter sinks one step at most, an
        eighth two. So `MinHeap(items)` is O(n).

        >>> heap = MinHeap([5, 3])
        >>> heap.extend([4, 1])
        >>> heap.pop(), heap.pop()
        (1, 3)
        """
        new = [self._entry(item) for item in items]
        n = len(self._entries) + len(new)
        if len(new) * n.bit_length() <= 2 * n:
            for entry in new:
                self._rise(entry, len(self._entries))
        else:
            before = self._entries
            self._entries = before + new
            try:
                for i in reversed(range(n // 2)):
                    self._sink(self._entries[i], i, n)
            except BaseException:
                self._entries = before
                raise

    def merge(self, other: _Heap[Item]) -> None:
        """Add all that `other`, a heap of the same order, holds; it stays as it is. As `extend`, O(n + m) at most.

        Of equal keys those that were here come first; the keys are those of this heap's key function.

        >>> heap = MaxHeap([1, 4])
        >>> heap.merge(MaxHeap([3, 5]))
        >>> [heap.pop() for _ in range(len(heap))]
        [5, 4, 3, 1]
        """
        if not isinstance(other, type(self)):
            name = type(self).__name__
            raise TypeError(f"merge: expected a {name}, got {type(other).__name__}; other items are added by extend")
        self.extend([item for _, _, item in sorted(other._entries, key=lambda entry: entry[1])])

    def __iter__(self) -> Iterator[Item]:
        """The items from the top of the heap to the bottom, which is no order of theirs; the first is the first.

        >>> sorted(MinHeap("heap"))
        ['a', 'e', 'h', 'p']
        """
        return (item for _, _, item in self._entries)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({[item for _, _, item in self._entries]!r})"


class MinHeap(_Heap[Item]):
    """The smallest leaves first, by `key` if there is one, and of equals the first pushed: O(n) to build.

    >>> heap = MinHeap([(2, "b"), (1, "z"), (2, "a")], key=lambda pair: pair[0])
    >>> [heap.pop()[1] for _ in range(3)]
    ['z', 'b', 'a']
    """

    _order = "min"


class MaxHeap(_Heap[Item]):
    """The largest leaves first, by `key` if there is one, and of equals the first pushed: O(n) to build.

    Items are compared the other way round, so anything that knows `<` will do.

    >>> heap = MaxHeap(["fig", "pear", "plum"])
    >>> heap.pop(), heap.pop()
    ('plum', 'pear')
    """

    _order = "max"


class IndexedHeap(Entries[Item]):
    """Items with keys that change: the first leaves first, and every item's place is known. Items are hashable.

    `order` is "min" or "max". Of equal keys, the item that was pushed first leaves first, whenever its key changed.

    >>> heap = IndexedHeap("min")
    >>> for city, distance in [("Oslo", 5), ("Rome", 7), ("Bern", 6)]:
    ...     heap.push(city, distance)
    >>> heap.change("Rome", 4)
    >>> heap.pop(), heap["Bern"], "Rome" in heap
    (('Rome', 4), 6, False)
    """

    def __init__(self, order: Order = "min") -> None:
        choice("IndexedHeap", "order", order, ("min", "max"))
        super().__init__(order)
        self._places: dict[Item, int] = {}

    def _moved(self, top: int, bottom: int) -> None:
        while True:
            self._places[self._entries[bottom][2]] = bottom
            if bottom == top:
                return
            bottom = (bottom - 1) // 2

    def _place(self, item: Item) -> int:
        try:
            return self._places[item]
        except KeyError:
            raise KeyError(f"{item!r} is not in this heap: push it first") from None

    def push(self, item: Item, key: Any) -> None:
        """Add `item`: O(log n), at most log₂ n comparisons; ValueError where it is there already.

        >>> heap = IndexedHeap("max")
        >>> heap.push("a", 1)
        >>> heap.peek()
        ('a', 1)
        """
        if item in self._places:
            raise ValueError(f"push: {item!r} is in this heap already: change(item, key) gives it another key")
        self._rise((comparable(key), self._pushed, item), len(self._entries))
        self._pushed += 1

    def pop(self) -> tuple[Item, Any]:
        """Remove the first and return (item, key): O(log n); IndexError where there is none.

        >>> heap = IndexedHeap("max")
        >>> heap.push("a", 1); heap.push("b", 2)
        >>> heap.pop()
        ('b', 2)
        """
        self._nonempty("pop")
        return self._taken(0)

    def peek(self) -> tuple[Item, Any]:
        """The first with its key, which stays: O(1); IndexError where there is none.

        >>> heap = IndexedHeap()
        >>> heap.push("a", 1); heap.push("b", 0)
        >>> heap.peek()
        ('b', 0)
        """
        key, _, item = self._nonempty("peek")[0]
        return item, key

    def change(self, item: Item, key: Any) -> None:
        """Give `item` another key, smaller or larger: O(log n), at most 2 log₂ n + 1 comparisons; KeyError if absent.

        >>> heap = IndexedHeap()
        >>> heap.push("a", 1); heap.push("b", 2)
        >>> heap.change("a", 3)
        >>> heap.pop()
        ('b', 2)
        """
        place = self._place(item)
        entry = (comparable(key), self._entries[place][1], item)
        if place and self._before(entry, self._entries[(place - 1) // 2]):
            self._rise(entry, place)
        else:
            self._sink(entry, place, len(self._entries))

    def decrease_key(self, item: Item, key: Any) -> None:
        """As `change`, where the key must not grow: ValueError if it would.

        >>> heap = IndexedHeap()
        >>> heap.push("a", 1)
        >>> heap.decrease_key("a", 2)
        Traceback (most recent call last):
        ...
        ValueError: decrease_key: 2 is more than 1, the key of 'a': call increase_key or change
        """
        if (old := self[item]) < key:
            raise ValueError(
                f"decrease_key: {key!r} is more than {old!r}, the key of {item!r}: call increase_key or change"
            )
        self.change(item, key)

    def increase_key(self, item: Item, key: Any) -> None:
        """As `change`, where the key must not shrink: ValueError if it would.

        >>> heap = IndexedHeap()
        >>> heap.push("a", 1)
        >>> heap.increase_key("a", 2)
        >>> heap["a"]
        2
        """
        if key < (old := self[item]):
            raise ValueError(
                f"increase_key: {key!r} is less than {old!r}, the key of {item!r}: call decrease_key or change"
            )
        self.change(item, key)

    def remove(self, item: Item) -> Any:
        """Remove `item`, wherever it stands, and return its key: O(log n); KeyError if absent.

        >>> heap = IndexedHeap()
        >>> heap.push("a", 1); heap.push("b", 2)
        >>> heap.remove("b"), len(heap)
        (2, 1)
        """
        return self._taken(self._place(item))[1]

    def _taken(self, place: int) -> tuple[Item, Any]:
        key, _, item = self._remove(place)
        del self._places[item]
        return item, key

    def __getitem__(self, item: Item) -> Any:
        """The key of `item`: O(1); KeyError if absent."""
        return self._entries[self._place(item)][0]

    def __contains__(self, item: object) -> bool:
        """Whether `item` is here: O(1)."""
        return item in self._places

    def __iter__(self) -> Iterator[Item]:
        """The items, from the top of the heap to the bottom."""
        return (item for _, _, item in self._entries)

    def __repr__(self) -> str:
        return f"IndexedHeap({ {item: key for key, _, item in self._entries}!r})"

    def _check(self) -> None:
        """Assert the heap's order, and that every item stands where it is said to."""
        super()._check()
        assert self._places == {item: place for place, (_, _, item) in enumerate(self._entries)}, self._places

"""The pairing heap: a tree in which no item leaves before the one above it, of any shape; two of them join in O(1).

Fredman, Sedgewick, Sleator and Tarjan, "The pairing heap: a new form of self-adjusting heap", Algorithmica 1 (1986).
An item may have any number of children: the first one is known to it, and each knows the next. Joining makes the later
of two roots the first child of the earlier one. Nothing is put in order until `pop`, which joins the children of the
root that left in pairs, and these from the last to the first.

Of equal keys, the one that was pushed first leaves first, whichever heap it was pushed into. NaN is refused.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Generic

from .checks import choice, comparable
from .heaps import BEFORE, Item, Order

_NUMBERS = itertools.count()  # of pushes, into any heap: which of two was the earlier


class Handle(Generic[Item]):
    """An item in a pairing heap: what `push` returns, and what `change` and `remove` take."""

    __slots__ = ("_child", "_next", "_number", "_owner", "_previous", "item", "key")

    def __init__(self, item: Item, key: Any, number: int, owner: _Owner) -> None:
        self.item, self.key, self._number = item, key, number
        self._owner: _Owner | None = owner  # None once it has left
        self._child: Handle[Item] | None = None
        self._next: Handle[Item] | None = None
        self._previous: Handle[Item] | None = None  # the one before it among its siblings, or its parent

    def __repr__(self) -> str:
        return f"Handle({self.item!r}, key={self.key!r}{'' if self._owner else ', no longer in a heap'})"


class _Owner:
    """Which heap handles are of. A heap that takes over another's handles is what the other's owner points to."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now: _Owner | None = None

    def last(self) -> _Owner:
        """The end of the chain, which is halved on the way: as good as O(1)."""
        owner = self
        while owner.now is not None:
            if owner.now.now is not None:
                owner.now = owner.now.now
            owner = owner.now
        return owner


class PairingHeap(Generic[Item]):
    """A heap that joins another in O(1) and brings an item forward in o(log n) amortised; `order` is "min" or "max".

    >>> heap = PairingHeap("min")
    >>> oslo = heap.push("Oslo", 5); bern = heap.push("Bern", 3)
    >>> heap.change(oslo, 2)
    >>> heap.pop(), heap.peek()
    (('Oslo', 2), ('Bern', 3))
    """

    def __init__(self, order: Order = "min") -> None:
        choice("PairingHeap", "order", order, ("min", "max"))
        self.order = order
        self._root: Handle[Item] | None = None
        self._n = 0
        self._owner = _Owner()
        self._before: Callable[[Any, Any], bool] = BEFORE[order]

    def __len__(self) -> int:
        """How many there are, in O(1)."""
        return self._n

    def push(self, item: Item, key: Any) -> Handle[Item]:
        """Add `item` and return its handle: O(1), one comparison.

        >>> PairingHeap().push("a", 1)
        Handle('a', key=1)
        """
        handle = Handle(item, comparable(key), next(_NUMBERS), self._owner)
        self._root = self._joined(self._root, handle)
        self._n += 1
        return handle

    def peek(self) -> tuple[Item, Any]:
        """The first with its key, which stays: O(1); IndexError where there is none."""
        root = self._nonempty("peek")
        return root.item, root.key

    def pop(self) -> tuple[Item, Any]:
        """Remove the first and return (item, key): O(log n) amortised, O(n) at worst; IndexError where there is none.

        >>> heap = PairingHeap("max")
        >>> for x in [3, 9, 4]:
        ...     _ = heap.push(str(x), x)
        >>> heap.pop(), heap.pop(), heap.pop()
        (('9', 9), ('4', 4), ('3', 3))
        """
        root = self._nonempty("pop")
        self._root = self._paired(root)
        return self._left(root)

    def merge(self, other: PairingHeap[Item]) -> None:
        """Take over all that `other` holds, and its handles: O(1), one comparison. `other` is empty afterwards.

        >>> a, b = PairingHeap(), PairingHeap()
        >>> _ = a.push("x", 2); y = b.push("y", 3)
        >>> a.merge(b); a.change(y, 1)
        >>> a.pop(), len(b)
        (('y', 1), 0)
        """
        if not isinstance(other, PairingHeap) or other.order != self.order:
            raise TypeError(f"merge: expected a PairingHeap of order {self.order!r}, got {other!r}")
        if other is self:
            raise ValueError("merge: a heap can't take over its own items")
        self._root = self._joined(self._root, other._root)
        self._n += other._n
        other._owner.now = self._owner
        other._root, other._n, other._owner = None, 0, _Owner()

    def change(self, handle: Handle[Item], key: Any) -> None:
        """Give an item another key: O(1) and one comparison to bring it forward, O(log n) amortised to put it back.

        ValueError where the item has left, or is in another heap.

        >>> heap = PairingHeap()
        >>> a = heap.push("a", 1); b = heap.push("b", 2)
        >>> heap.change(a, 3)
        >>> heap.pop()
        ('b', 2)
        """
        self._mine("change", handle)
        comparable(key)
        later = self._before((handle.key, 0), (key, 1))
        self._cut(handle, with_children=not later)
        handle.key = key
        self._root = self._joined(self._root, handle)

    def remove(self, handle: Handle[Item]) -> Any:
        """Remove an item, wherever it stands, and return its key: O(log n) amortised; ValueError as for `change`.

        >>> heap = PairingHeap()
        >>> heap.remove(heap.push("a", 1)), len(heap)
        (1, 0)
        """
        self._mine("remove", handle)
        self._cut(handle, with_children=False)
        return self._left(handle)[1]

    def __iter__(self) -> Iterator[Item]:
        """The items, in no order."""
        return (handle.item for handle in self._handles())

    def __repr__(self) -> str:
        return f"PairingHeap({self.order!r}) of {self._n}"

    def _nonempty(self, method: str) -> Handle[Item]:
        if self._root is None:
            raise IndexError(f"{method} of an empty PairingHeap: ask `if heap:` first")
        return self._root

    def _mine(self, method: str, handle: Handle[Item]) -> None:
        if handle._owner is None or handle._owner.last() is not self._owner:
            where = "has left its heap" if handle._owner is None else "is in another heap"
            raise ValueError(f"{method}: {handle!r} {where}; push it to get a handle")

    def _left(self, handle: Handle[Item]) -> tuple[Item, Any]:
        handle._owner = None
        self._n -= 1
        return handle.item, handle.key

    def _joined(self, a: Handle[Item] | None, b: Handle[Item] | None) -> Handle[Item] | None:
        """Of two roots, the later becomes the first child of the earlier, which is returned."""
        if a is None or b is None:
            return a or b
        if self._before((b.key, b._number), (a.key, a._number)):
            a, b = b, a
        b._previous, b._next = a, a._child
        if a._child is not None:
            a._child._previous = b
        a._child = b
        return a

    def _paired(self, parent: Handle[Item]) -> Handle[Item] | None:
        """The children joined in pairs, and the pairs from the last to the first; `parent` has none afterwards."""
        pairs: list[Handle[Item] | None] = []
        child, parent._child = parent._child, None
        while child is not None:
            second = child._next
            following = second._next if second is not None else None
            for handle in (child, second):
                if handle is not None:
                    handle._previous = handle._next = None
            pairs.append(self._joined(child, second))
            child = following
        root: Handle[Item] | None = None
        for pair in reversed(pairs):
            root = self._joined(root, pair)
        return root

    def _cut(self, handle: Handle[Item], with_children: bool) -> None:
        """Take an item out, and leave its children here unless it keeps them."""
        if handle is self._root:
            self._root = None
        else:
            previous = handle._previous
            assert previous is not None
            if previous._child is handle:
                previous._child = handle._next
            else:
                previous._next = handle._next
            if handle._next is not None:
                handle._next._previous = previous
            handle._previous = handle._next = None
        if not with_children:
            self._root = self._joined(self._root, self._paired(handle))

    def _handles(self) -> Iterator[Handle[Item]]:
        """All of them, a parent before its children; without recursion, since a heap may be a chain."""
        waiting: list[Handle[Item]] = [] if self._root is None else [self._root]
        while waiting:
            handle = waiting.pop()
            yield handle
            waiting += self._children(handle)

    def _children(self, handle: Handle[Item]) -> Iterable[Handle[Item]]:
        child = handle._child
        while child is not None:
            yield child
            child = child._next

    def _check(self) -> None:
        """Assert that no child leaves before its parent, that links go both ways, and that all handles are ours."""
        assert self._root is None or (self._root._previous is None and self._root._next is None)
        count = 0
        for handle in self._handles():
            count += 1
            assert handle._owner is not None and handle._owner.last() is self._owner, handle
            previous = handle
            for child in self._children(handle):
                assert not self._before((child.key, child._number), (handle.key, handle._number)), (child, handle)
                assert child._previous is previous, (child, previous)
                previous = child
        assert count == self._n, (count, self._n)

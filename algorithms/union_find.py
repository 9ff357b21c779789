"""Disjoint sets that only grow together (union–find), and the connected components of a graph by them.

Each set is a tree whose root stands for it; `find` climbs to the root. Two ideas keep the climb short. **Union by
rank** hangs the lower tree below the higher one, so a tree of height h has at least 2ʰ elements. **Path halving** makes
every other element on a climb point to its grandparent. Together n operations cost O(n α(n)), where α, the inverse of
Ackermann's function, is at most 4 for any n there will ever be (Tarjan and van Leeuwen 1984). Nothing recurses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import compiled
from .graphs import Graph, read


class DisjointSet:
    """The elements 0 … n − 1, at first each in a set of its own: O(n).

    >>> sets = DisjointSet(5)
    >>> sets.union(0, 1), sets.union(3, 4), sets.union(1, 0)
    (True, True, False)
    >>> sets.n_sets, list(sets)
    (3, [[0, 1], [2], [3, 4]])
    """

    def __init__(self, n: int = 0) -> None:
        if n < 0:
            raise ValueError(f"DisjointSet: expected a number of elements, got {n}: write DisjointSet(0) for none")
        self._parent = list(range(n))
        self._rank = [0] * n
        self.n_sets = n

    def __len__(self) -> int:
        """How many elements there are, in O(1)."""
        return len(self._parent)

    def add(self) -> int:
        """Add an element, in a set of its own, and return its number: O(1).

        >>> DisjointSet(3).add()
        3
        """
        self._parent.append(len(self._parent))
        self._rank.append(0)
        self.n_sets += 1
        return len(self._parent) - 1

    def find(self, x: int) -> int:
        """The element that stands for the set of `x`: O(α(n)) amortised, O(log n) at worst. IndexError for no element.

        >>> sets = DisjointSet(3)
        >>> sets.union(0, 2)
        True
        >>> sets.find(0) == sets.find(2), sets.find(1)
        (True, 1)
        """
        parent = self._parent
        if not 0 <= x < len(parent):
            raise IndexError(f"{x!r} is no element of a DisjointSet of {len(parent)}: add() makes more")
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    def union(self, a: int, b: int) -> bool:
        """Join the sets of `a` and `b`: O(α(n)) amortised. Returns whether they were two.

        >>> sets = DisjointSet(2)
        >>> sets.union(0, 1), sets.union(0, 1)
        (True, False)
        """
        a, b = self.find(a), self.find(b)
        if a == b:
            return False
        if self._rank[a] < self._rank[b]:
            a, b = b, a
        self._parent[b] = a
        if self._rank[a] == self._rank[b]:
            self._rank[a] += 1
        self.n_sets -= 1
        return True

    def connected(self, a: int, b: int) -> bool:
        """Whether `a` and `b` are in one set: O(α(n)) amortised.

        >>> DisjointSet(2).connected(0, 1)
        False
        """
        return self.find(a) == self.find(b)

    def __iter__(self) -> Iterator[list[int]]:
        """The sets, each a rising list, by their first elements: O(n α(n))."""
        sets: dict[int, list[int]] = {}
        for x in range(len(self._parent)):
            sets.setdefault(self.find(x), []).append(x)
        return iter(sets.values())

    def __repr__(self) -> str:
        return f"DisjointSet of {len(self)} elements in {self.n_sets} sets"

    def _check(self) -> None:
        """Assert that ranks rise towards the root, that a root of rank r has 2ʳ elements, and the number of sets.

        Halving shortens climbs and leaves ranks, so a rank bounds the height of what hangs below.
        """
        parent, rank = self._parent, self._rank
        sizes = [0] * len(parent)
        for x, above in enumerate(parent):
            assert above == x or rank[x] < rank[above], f"{x} of rank {rank[x]} hangs below {above} of {rank[above]}"
            while parent[x] != x:  # climbs without halving: a check changes nothing
                x = parent[x]
            sizes[x] += 1
        roots = [x for x, above in enumerate(parent) if above == x]
        assert len(roots) == self.n_sets, (roots, self.n_sets)
        for root in roots:
            assert sizes[root] >= 2 ** rank[root], f"{root} has rank {rank[root]} and {sizes[root]} elements"


def connected_components(graph: Graph, edges: Any = None, weights: Any = None) -> Any:
    """The number of each node's component, counted from 0 in the order of their first nodes: O((n + m) α(n)).

    Takes a graph in any form that `algorithms.graphs` names. The answer is a list, an array where arrays were given,
    and for a NetworkX graph a dictionary by node.

    >>> connected_components(5, [(3, 1), (0, 4)])
    [0, 1, 2, 1, 0]
    >>> connected_components(5, np.array([[3, 1], [0, 4]])).tolist()
    [0, 1, 2, 1, 0]
    """
    found = read("connected_components", graph, edges, weights)
    if found.arrays and compiled.enabled():
        from .compiled import union_find

        return union_find.components(found.n, found.ends)
    sets = DisjointSet(found.n)
    for u, v in found.lists()[0]:
        sets.union(u, v)
    number: dict[int, int] = {}
    labels = [number.setdefault(sets.find(x), len(number)) for x in range(found.n)]
    if found.names is not None:
        return dict(zip(found.names, labels, strict=True))
    return np.array(labels, np.int64) if found.arrays else labels

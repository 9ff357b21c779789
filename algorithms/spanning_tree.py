"""Minimum spanning trees, and forests where a graph is not connected: Kruskal's and Borůvka's algorithms.

A spanning forest joins what the graph joins, with as few edges as that takes: n minus the number of components. Two
properties find the lightest one. The **cut property**: of the edges between a set of nodes and the rest, the lightest
belongs to it. The **cycle property**: the heaviest edge of a cycle does not. Where weights are equal, the edge that
comes first in the list counts as the lighter; so there is one minimum forest, and all algorithms here, and Prim's, find
that one. Self-loops never belong to it, and of parallel edges at most one.

What a graph may be given as stands in `algorithms.graphs`. Arrays go through compiled loops in `kruskal`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from . import compiled
from .checks import choice
from .graphs import Edges, Graph, read
from .union_find import DisjointSet


@dataclass(frozen=True)
class Forest:
    """Edges (u, v), their total weight, and how many trees they make; an isolated node is one.

    `weights` are those of the edges, and `indices` their places in the list of edges that was given (for a NetworkX
    graph: in `graph.edges`), None for a matrix. All three are lists, or arrays where arrays were given, in the order
    in which the algorithm chose them.
    """

    edges: Any
    weight: Any
    n_components: int
    weights: Any
    indices: Any

    def _check(self) -> None:
        """Assert that no edge closes a cycle, and that `weight` is the sum."""
        nodes: dict[Any, int] = {}
        for u, v in self.edges:
            for end in (u, v):
                nodes.setdefault(end, len(nodes))
        sets = DisjointSet(len(nodes))
        for u, v in self.edges:
            assert sets.union(nodes[u], nodes[v]), f"({u}, {v}) closes a cycle"
        assert len(self.edges) == len(self.weights)
        total = sum(self.weights, start=0)
        assert abs(total - self.weight) <= 1e-9 * max(1, sum(map(abs, self.weights), start=0)), (total, self.weight)


def forest(graph: Edges, chosen: Any) -> Forest:
    """The Forest of the edges numbered `chosen` of `graph`: O(n)."""
    index: Any
    edges: Any
    if graph.arrays:
        index = np.asarray(chosen, np.int64)
        weights = graph.weights[index]
        edges = graph.ends[index].astype(np.int64)
        total = weights.sum(dtype=np.float64 if weights.dtype.kind == "f" else None).item()
    else:
        index, edges = list(chosen), [graph.ends[e] for e in chosen]
        weights = [graph.weights[e] for e in chosen]
        total = sum(weights[1:], weights[0]) if weights else 0
        if graph.names is not None:
            edges = [(graph.names[u], graph.names[v]) for u, v in edges]
    return Forest(edges, total, graph.n - len(index), weights, index if graph.listed else None)


def kruskal(
    graph: Graph, edges: Any = None, weights: Any = None, *, method: Literal["sort", "filter"] | None = None
) -> Forest:
    """Kruskal's algorithm: from the lightest edge to the heaviest, each that joins two trees is taken. O(m log m).

    `method="sort"` sorts all m edges, m log₂ m comparisons at most. `"filter"` (Osipov, Sanders and Singler 2009) is a
    quicksort whose heavy half is only looked at when the light one is done, and loses the edges by then useless: about
    m + n log n log (m / n) comparisons where weights are random. Lists are sorted by default, arrays filtered.

    >>> kruskal(4, [(0, 1, 5), (1, 2, 1), (0, 2, 3), (1, 1, -9)])
    Forest(edges=[(1, 2), (0, 2)], weight=4, n_components=2, weights=[1, 3], indices=[1, 2])
    >>> kruskal(3, np.array([[0, 1], [1, 2], [0, 2]]), np.array([0.5, -1.0, 0.0])).edges.tolist()
    [[1, 2], [0, 2]]
    """
    found = read("kruskal", graph, edges, weights)
    if method is None:
        method = "filter" if found.arrays else "sort"
    filtered = choice("kruskal", "method", method, ("sort", "filter")) == "filter"
    if found.arrays and compiled.enabled():
        return forest(found, _compiled_kruskal(found, filtered))
    ends, values = found.lists()
    sets = DisjointSet(found.n)
    chosen: list[int] = []
    for run in _filtered(ends, values, sets) if filtered else [range(len(ends))]:
        for e in sorted(run, key=values.__getitem__):  # stable: of equals the first comes first
            if sets.union(*ends[e]):
                chosen.append(e)
    return forest(found, chosen)


FEW, SAMPLE = 32, 15  # edges that are sorted rather than divided; of more, how many give the pivot


def _filtered(ends: list[tuple[int, int]], weights: list[Any], sets: DisjointSet) -> Any:
    """The edges in runs, each no lighter than the one before, without those that have become useless meanwhile."""
    waiting = [list(range(len(ends)))]
    while waiting:
        run = [e for e in waiting.pop() if not sets.connected(*ends[e])]
        if len(run) <= FEW:
            yield run
            continue
        sample = sorted(run[:: 1 + len(run) // SAMPLE], key=weights.__getitem__)
        pivot = weights[sample[len(sample) // 2]]
        lighter: list[int] = []
        equal: list[int] = []
        heavier: list[int] = []
        for e in run:
            (lighter if weights[e] < pivot else heavier if pivot < weights[e] else equal).append(e)
        if len(equal) == len(run):  # in their order already
            yield equal
        else:
            waiting += [heavier, equal, lighter]


def _compiled_kruskal(graph: Edges, filtered: bool) -> Any:
    from .compiled import spanning_tree

    weights = graph.weights
    kind = {"f": 2, "u": 0}.get(weights.dtype.kind, 1)
    bits = np.ascontiguousarray(weights, (np.uint64, np.int64, np.float64)[kind]).view(np.uint64)
    return spanning_tree.kruskal(graph.n, graph.ends, bits, kind, filtered)


def boruvka(graph: Graph, edges: Any = None, weights: Any = None) -> Forest:
    """Borůvka's algorithm: in each round every tree takes its lightest way out. O(m log n).

    The number of trees with a way out at least halves in a round, so there are at most log₂ n rounds, each of at most
    2 m comparisons; edges within a tree are dropped on the way. Lists and arrays are both served by plain Python.

    >>> boruvka(4, [(0, 1, 5), (1, 2, 1), (0, 2, 3), (1, 1, -9)])
    Forest(edges=[(0, 2), (1, 2)], weight=4, n_components=2, weights=[3, 1], indices=[2, 1])
    """
    found = read("boruvka", graph, edges, weights)
    ends, values = found.lists()
    sets = DisjointSet(found.n)
    chosen: list[int] = []
    left: Any = range(len(ends))
    while True:
        lightest: dict[int, int] = {}  # the way out of each tree
        outside = []
        for e in left:
            a, b = (sets.find(end) for end in ends[e])
            if a == b:
                continue
            outside.append(e)
            for tree in (a, b):
                if tree not in lightest or values[e] < values[lightest[tree]]:
                    lightest[tree] = e
        if not outside:
            return forest(found, chosen)
        # Two trees may take one edge. Others cannot close a cycle: on one, each edge would be lighter than the next.
        chosen += [e for e in lightest.values() if sets.union(*ends[e])]
        left = outside


def second_best_spanning_tree(graph: Graph, edges: Any = None, weights: Any = None) -> Forest:
    """The lightest spanning forest but for the minimum one: O(m log m). ValueError where there is only one.

    It is the minimum forest with one edge e exchanged: e comes in, and the heaviest edge on the path that joined its
    ends goes. That edge is found in O(log n): without path halving, the sets of Kruskal's algorithm stay the trees as
    which they grew, no higher than log₂ n, and on the way between two elements the edge that came last is the heaviest
    on their path. Weights are subtracted, so they must know `-` too.

    >>> second_best_spanning_tree(3, [(0, 1, 1), (1, 2, 2), (0, 2, 4)]).edges
    [(0, 1), (0, 2)]
    """
    found = read("second_best_spanning_tree", graph, edges, weights)
    ends, values = found.lists()
    grown = _GrownSets(found.n)
    order = sorted(range(len(ends)), key=values.__getitem__)
    chosen = [e for e in order if grown.union(*ends[e])]
    in_tree = set(chosen)
    best: tuple[Any, int, int] | None = None  # how much heavier; the place of what goes, in chosen; what comes
    for e in order:
        u, v = ends[e]
        if u == v or e in in_tree:
            continue
        place = grown.last_between(u, v)
        more = values[e] - values[chosen[place]]
        if best is None or more < best[0]:
            best = (more, place, e)
    if best is None:
        raise ValueError(
            "second_best_spanning_tree: the graph has one spanning forest only, for no edge closes a cycle"
        )
    _, place, e = best
    return forest(found, [*chosen[:place], *chosen[place + 1 :], e])


class _GrownSets:
    """Sets joined by rank without path halving, which remember by which union each element came below another."""

    def __init__(self, n: int) -> None:
        self._parent, self._rank = list(range(n)), [0] * n
        self._joined = [n] * n  # the number of the union, later than all for a root
        self._unions = 0

    def union(self, a: int, b: int) -> bool:
        """Join two sets: O(log n)."""
        a, b = self._root(a), self._root(b)
        if a == b:
            return False
        if self._rank[a] < self._rank[b]:
            a, b = b, a
        self._parent[b] = a
        self._rank[a] += self._rank[a] == self._rank[b]
        self._joined[b] = self._unions
        self._unions += 1
        return True

    def _root(self, x: int) -> int:
        while self._parent[x] != x:
            x = self._parent[x]
        return x

    def last_between(self, a: int, b: int) -> int:
        """The number of the union that joined `a` and `b`: O(log n). Unions get later on the way up."""
        last = -1
        while a != b:
            if self._joined[a] > self._joined[b]:
                a, b = b, a
            last = self._joined[a]
            a = self._parent[a]
        return last


def count_spanning_trees(graph: Graph, edges: Any = None, weights: Any = None) -> int:
    """How many spanning trees a graph has, exactly: any cofactor of its Laplacian (Kirchhoff 1847). O(n³).

    Weights do not matter; parallel edges are told apart, self-loops belong to no tree, and a graph that is not
    connected has none. The determinant is found without fractions (Bareiss 1968), in integers of Python, which do not
    overflow. ValueError for a graph without nodes.

    >>> count_spanning_trees(5, [(u, v) for v in range(5) for u in range(v)]) == 5**3  # Cayley: n ** (n − 2)
    True
    """
    found = read("count_spanning_trees", graph, edges, weights)
    if found.n == 0:
        raise ValueError("count_spanning_trees: expected at least one node, got 0")
    laplacian = [[0] * found.n for _ in range(found.n)]
    for u, v in found.lists()[0]:
        laplacian[u][u] += 1
        laplacian[v][v] += 1
        laplacian[u][v] -= 1  # a self-loop cancels itself
        laplacian[v][u] -= 1
    rows = [row[:-1] for row in laplacian[:-1]]
    before = 1
    for k in range(len(rows)):
        # A zero here is one of a positive semi-definite minor: then the whole determinant is zero.
        if rows[k][k] == 0:
            return 0
        for i in range(k + 1, len(rows)):
            for j in range(k + 1, len(rows)):
                rows[i][j] = (rows[i][j] * rows[k][k] - rows[i][k] * rows[k][j]) // before
        before = rows[k][k]
    return before

"""Graphs at random, and what a right algorithm finds on small ones: shared by the tests of spanning trees."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import pytest

from tinygrad_zoo.algorithms import prim
from tinygrad_zoo.algorithms.spanning_tree import Forest
from tinygrad_zoo.algorithms.union_find import DisjointSet

Edge = tuple[int, int, int]


def drawn(rng: np.random.Generator, most: int = 16) -> tuple[int, list[Edge]]:
    """A multigraph, often not connected, with self-loops, ties, zero and negative weights."""
    n = int(rng.integers(1, most))
    m = int(rng.integers(0, 4 * n))
    spread = int(rng.integers(1, 40))
    ends = rng.integers(0, n, (m, 2)).tolist()
    return n, [(u, v, w) for (u, v), w in zip(ends, rng.integers(-spread, spread + 1, m).tolist(), strict=True)]


def arrays(n: int, edges: list[Edge], dtype: Any = np.int64) -> tuple[int, Any, Any]:
    table = np.array(edges, np.int64).reshape(-1, 3)
    return n, table[:, :2], table[:, 2].astype(dtype)


def spanning_trees(n: int, edges: list[Edge]) -> list[tuple[int, ...]]:
    """The places of the edges of each, by trying all."""
    trees = []
    for chosen in combinations(range(len(edges)), n - 1):
        sets = DisjointSet(n)
        if all(sets.union(*edges[e][:2]) for e in chosen):
            trees.append(chosen)
    return trees


def check_small(tree: Any, grown: Any = prim) -> None:
    """Minimum, second-best and number of trees for small multigraphs, by all trees that there are."""
    rng = np.random.default_rng(4)
    for i in range(60):
        n = 1 + i % 6
        m = int(rng.integers(n - 1, 11))
        edges = [(int(u), int(v), int(w)) for u, v, w in rng.integers((0, 0, -4), (n, n, 5), (m, 3))]
        every = spanning_trees(n, edges)
        assert tree.count_spanning_trees(n, edges) == len(every)
        if not every:
            continue
        totals = sorted(sum(edges[e][2] for e in chosen) for chosen in every)
        for algorithm in (tree.kruskal, tree.boruvka, *(by(grown.prim, m) for m in ("lazy", "indexed", "dense"))):
            found = algorithm(n, edges)
            assert found.weight == totals[0] and tuple(sorted(found.indices)) in every
        assert tree.kruskal(n, edges, method="filter").weight == totals[0]
        if len(every) == 1:
            with pytest.raises(ValueError, match="one spanning forest only"):
                tree.second_best_spanning_tree(n, edges)
            continue
        second = tree.second_best_spanning_tree(n, edges)
        assert second.weight == totals[1] and tuple(sorted(second.indices)) in every
        assert sorted(second.indices) != sorted(tree.kruskal(n, edges).indices)


def by(algorithm: Callable[..., Forest], method: str) -> Callable[..., Forest]:
    return lambda *graph: algorithm(*graph, method=method)

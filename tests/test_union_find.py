"""Union–find against sets that are joined one by one, and components against networkx and SciPy."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from algorithm_checks import PLAIN, planted
from benchmarks.algorithms_graphs import Parents
from tinygrad_zoo.algorithms import union_find
from tinygrad_zoo.algorithms.union_find import DisjointSet, connected_components


class Machine(RuleBasedStateMachine):
    """Beside the structure, the sets themselves."""

    def __init__(self) -> None:
        super().__init__()
        self.sets, self.model = DisjointSet(), [set[int]() for _ in range(0)]

    def of(self, x: int) -> set[int]:
        return next(group for group in self.model if x in group)

    @rule()
    def add(self) -> None:
        x = self.sets.add()
        assert x == sum(map(len, self.model))
        self.model.append({x})

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def union(self, data: st.DataObject) -> None:
        a, b = (data.draw(st.integers(0, len(self.sets) - 1)) for _ in "ab")
        one, other = self.of(a), self.of(b)
        assert self.sets.connected(a, b) == (one is other)
        assert self.sets.union(a, b) == (one is not other)
        if one is not other:
            one |= other
            self.model.remove(other)

    @precondition(lambda self: self.model)
    @rule(data=st.data())
    def find(self, data: st.DataObject) -> None:
        x = data.draw(st.integers(0, len(self.sets) - 1))
        assert {y for y in range(len(self.sets)) if self.sets.find(y) == self.sets.find(x)} == self.of(x)

    @invariant()
    def holds(self) -> None:
        self.sets._check()
        assert list(self.sets) == sorted(map(sorted, self.model))
        assert (self.sets.n_sets, len(self.sets)) == (len(self.model), sum(map(len, self.model)))


TestMachine = Machine.TestCase
TestMachine.settings = settings(max_examples=40, stateful_step_count=30)


def reads(n: int, pairs: list[tuple[int, int]], sets: Any = None) -> int:
    sets = sets or DisjointSet(n)
    sets._parent = Parents(sets._parent)
    for a, b in pairs:
        sets.union(a, b)
    return int(sets._parent.reads)


def tournament(n: int) -> list[tuple[int, int]]:
    """Unions of equals with equals, which make trees as high as they get."""
    return [(i, i + step) for step in (1 << k for k in range(n.bit_length() - 1)) for i in range(0, n - step, 2 * step)]


def check_union_find(module: Any) -> None:
    """What a right structure does, and one with a fault does not: heights, costs, sets."""
    n = 1024
    sets = module.DisjointSet(n)
    for a, b in tournament(n):
        assert sets.union(a, b)
        assert not sets.union(b, a)
        sets._check() if a == 0 else None
    assert sets.n_sets == 1
    deep = module.DisjointSet(n)
    for i in range(n - 1):  # without rank, one chain
        deep.union(i + 1, 0)
        deep.union(0, i + 1)
    deep._check()
    height = 0
    for x in range(n):
        steps = 0
        while deep._parent[x] != x:
            x, steps = deep._parent[x], steps + 1
        height = max(height, steps)
    assert height <= math.log2(n)
    assert reads(n, [(0, n - 1)] * 50, sets) < 50 * 8 + 4 * math.log2(n)  # halved again and again, the climb is short
    assert module.connected_components(5, [(3, 1), (0, 2)]) == [0, 1, 0, 1, 2]
    assert module.connected_components(0, []) == []


def test_union_find_is_as_low_and_as_cheap_as_it_says() -> None:
    check_union_find(union_find)


@pytest.mark.parametrize(
    "change",
    [
        ("if self._rank[a] < self._rank[b]:\n            a, b = b, a\n", "pass\n"),
        ("if self._rank[a] < self._rank[b]", "if self._rank[a] > self._rank[b]"),
        ("self._rank[a] += 1", "self._rank[a] += 2"),
        ("if self._rank[a] == self._rank[b]:", "if True:"),
        ("self._parent[b] = a", "self._parent[a] = b"),
        ("parent[x] = parent[parent[x]]\n", "pass\n"),
        ("self.n_sets -= 1", "pass"),
        ("a, b = self.find(a), self.find(b)\n", "pass\n"),
        ("if a == b:\n            return False\n", "pass\n"),
        ("number.setdefault(sets.find(x), len(number))", "sets.find(x)"),
    ],
)
def test_faults_show(change: tuple[str, str]) -> None:
    with planted("union_find", change) as module, pytest.raises((AssertionError, IndexError, KeyError)):
        check_union_find(module)


@pytest.mark.parametrize("kernels", [True, False])
def test_components_are_those_of_networkx_and_scipy(kernels: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not kernels:
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    rng = np.random.default_rng(0)
    for _ in range(100):
        n = int(rng.integers(1, 30))
        pairs = rng.integers(0, n, (int(rng.integers(0, 2 * n)), 2))
        labels = connected_components(n, pairs)
        assert labels.dtype == np.int64 and labels.tolist() == connected_components(n, pairs.tolist())
        matrix = scipy.sparse.coo_array((np.ones(len(pairs)), pairs.T), shape=(n, n))
        count, theirs = scipy.sparse.csgraph.connected_components(matrix, directed=False)
        assert labels.tolist() == theirs.tolist() and labels.max() + 1 == count
        assert connected_components(matrix).tolist() == labels.tolist()
        graph = nx.Graph(pairs.tolist())
        graph.add_nodes_from(range(n))
        found = connected_components(graph)
        assert {frozenset(v for v in found if found[v] == label) for label in set(found.values())} == set(
            map(frozenset, nx.connected_components(graph))
        )


def test_the_loop_stays_within_its_arrays() -> None:
    with planted("compiled.union_find", PLAIN) as loops:
        ends = np.array([[4, 2], [2, 4], [0, 0], [1, 4]], np.int32)
        assert loops.components(6, ends).tolist() == [0, 1, 1, 2, 1, 3]
        assert loops.components(0, ends[:0]).tolist() == []


def test_what_is_no_element_is_refused() -> None:
    sets = DisjointSet(2)
    for x in (-1, 2):
        with pytest.raises(IndexError, match=r"no element of a DisjointSet of 2: add\(\)"):
            sets.find(x)
    with pytest.raises(ValueError, match="expected a number of elements"):
        DisjointSet(-1)
    assert repr(sets) == "DisjointSet of 2 elements in 2 sets"

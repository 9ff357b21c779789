"""Spanning forests against networkx, SciPy, and all spanning trees there are; the properties that define them."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from algorithm_checks import Counted
from graph_checks import Edge, arrays, check_small, drawn
from tinygrad_zoo.algorithms import prim, spanning_tree
from tinygrad_zoo.algorithms.prim import euclidean_spanning_tree
from tinygrad_zoo.algorithms.spanning_tree import (
    Forest,
    boruvka,
    count_spanning_trees,
    kruskal,
    second_best_spanning_tree,
)
from tinygrad_zoo.algorithms.union_find import DisjointSet

ALGORITHMS: dict[str, Callable[..., Forest]] = {
    "kruskal": kruskal,
    "kruskal sort": lambda *graph: kruskal(*graph, method="sort"),
    "kruskal filter": lambda *graph: kruskal(*graph, method="filter"),
    "boruvka": boruvka,
    "prim lazy": lambda *graph: prim.prim(*graph, method="lazy"),
    "prim indexed": lambda *graph: prim.prim(*graph, method="indexed"),
    "prim dense": lambda *graph: prim.prim(*graph, method="dense"),
}


@pytest.fixture(params=[True, False], ids=["loops", "Python"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether arrays go through compiled loops."""
    if not request.param:
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    return bool(request.param)


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small graphs are filtered too."""
    monkeypatch.setattr(spanning_tree, "FEW", 3)


def multigraph(n: int, edges: list[Edge]) -> Any:
    graph = nx.MultiGraph()
    graph.add_nodes_from(range(n))
    graph.add_weighted_edges_from(edges)
    return graph


# ---- oracles
def test_500_graphs_have_the_forests_of_networkx_and_scipy(divided: None) -> None:
    rng = np.random.default_rng(0)
    for _ in range(500):
        n, edges = drawn(rng)
        graph = multigraph(n, edges)
        theirs = nx.minimum_spanning_tree(graph, algorithm="kruskal")
        components = nx.number_connected_components(graph)
        first = kruskal(n, edges)
        for name, algorithm in ALGORITHMS.items():
            found = algorithm(n, edges)
            found._check()
            assert found.weight == theirs.size("weight"), name
            assert (found.n_components, len(found.edges)) == (components, n - components), name
            assert sorted(found.indices) == sorted(first.indices), name
            assert [(*edge, w) for edge, w in zip(found.edges, found.weights, strict=True)] == [
                edges[i] for i in found.indices
            ], name
        table = arrays(n, edges)
        made = kruskal(*table)
        assert made.indices.tolist() == first.indices and made.edges.tolist() == [list(edge) for edge in first.edges]
        assert (made.weight, made.n_components, made.weights.tolist()) == (
            first.weight,
            first.n_components,
            first.weights,
        )
        named = kruskal(graph)
        assert named.weight == first.weight and named.n_components == components
        # SciPy takes a zero for no edge, and adds up parallel ones.
        weight = {(min(u, v), max(u, v)): w or 50 for u, v, w in edges if u != v}
        matrix = scipy.sparse.coo_array((list(weight.values()), list(zip(*weight, strict=True)) or ((), ())), (n, n))
        assert kruskal(matrix.astype(float)).weight == scipy.sparse.csgraph.minimum_spanning_tree(matrix).sum()


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int8", "int64", "uint8", "uint64", "bool"])
def test_arrays_of_any_type_give_what_lists_give(dtype: str, kernels: bool) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        n, edges = drawn(rng)
        table = arrays(n, edges, dtype if dtype[0] != "u" else "int64")
        weights = (table[2] + 40).astype(dtype) if dtype[0] == "u" else table[2]
        if dtype.startswith("float"):
            weights = weights * np.asarray(rng.choice([0.25, -1e-3, np.inf], len(weights)), dtype)
            weights[np.isnan(weights)] = -0.0
        plain = kruskal(n, [(u, v, w) for (u, v), w in zip(table[1].tolist(), weights.tolist(), strict=True)])
        for name, algorithm in ALGORITHMS.items():
            found = algorithm(n, table[1].astype(rng.choice(["int32", "uint8", "int64"])), weights)
            assert found.weights.dtype == weights.dtype and found.edges.dtype == np.int64
            assert sorted(found.indices.tolist()) == sorted(plain.indices), name
            assert found.weight == pytest.approx(plain.weight, nan_ok=True)
            assert isinstance(found.weight, float if dtype.startswith("float") else int)


def test_a_large_graph_is_filtered_in_rounds() -> None:
    rng = np.random.default_rng(2)
    for n, m, weigh in ((3000, 60_000, rng.random), (200, 50_000, lambda m: rng.integers(0, 3, m))):
        ends, weights = rng.integers(0, n, (m, 2)), weigh(m)
        found = kruskal(n, ends, weights)
        assert found.indices.tolist() == kruskal(n, ends, weights, method="sort").indices.tolist()
        order = np.lexsort((np.arange(m), weights))
        sets = DisjointSet(n)
        assert [e for e in order.tolist() if sets.union(*ends[e].tolist())] == found.indices.tolist()


def test_matrices_and_points_have_the_trees_of_their_pairs(kernels: bool) -> None:
    rng = np.random.default_rng(3)
    for i in range(40):
        n, d = int(rng.integers(1, 12)), int(rng.integers(1, 4))
        points = rng.integers(0, 4, (n, d)) if i % 2 else rng.standard_normal((n, d))
        pairs = list(combinations(range(n), 2))
        distances = cdist(points, points)
        squares = [float(sum((points[u] - points[v]) ** 2)) for u, v in pairs]
        expected = prim.prim(n, pairs, squares)
        found = euclidean_spanning_tree(points)
        assert list(map(tuple, found.edges.tolist())) == expected.edges
        assert np.allclose(found.weights**2, expected.weights) and found.n_components == min(n, 1)
        holes = np.triu(rng.random((n, n)) < 0.5, 1)
        weights = np.round(distances - 1, 1)
        weights[holes | holes.T] = np.inf
        kept = [(u, v, weights[u, v]) for u, v in pairs if weights[u, v] < np.inf]
        roots = rng.permutation(n)[:2].tolist()
        matrix = prim.prim(weights, method="dense", roots=roots)
        expected = prim.prim(n, kept, roots=roots)
        assert list(map(tuple, matrix.edges.tolist())) == expected.edges
        assert matrix.n_components == expected.n_components and matrix.weight == pytest.approx(expected.weight)
        assert kruskal(weights).weight == pytest.approx(expected.weight) and kruskal(weights).indices is None


# ---- all spanning trees
def test_small_graphs_by_brute_force(divided: None) -> None:
    check_small(spanning_tree)


def complete(n: int) -> list[tuple[int, int]]:
    return list(combinations(range(n), 2))


def test_cayleys_formula_and_others() -> None:
    for n in range(2, 13):
        assert count_spanning_trees(n, complete(n)) == n ** (n - 2)
    assert count_spanning_trees(40, complete(40)) == 40**38  # exactly, far above 2**64
    for a, b in ((1, 4), (3, 4), (5, 2)):
        bipartite = [(u, a + v) for u in range(a) for v in range(b)]
        assert count_spanning_trees(a + b, bipartite) == a ** (b - 1) * b ** (a - 1)
    assert count_spanning_trees(7, [(i, (i + 1) % 7) for i in range(7)]) == 7
    assert count_spanning_trees(nx.petersen_graph()) == 2000
    assert [count_spanning_trees(1, []), count_spanning_trees(2, []), count_spanning_trees(2, [(0, 1)] * 3)] == [
        1,
        0,
        3,
    ]
    with pytest.raises(ValueError, match="at least one node"):
        count_spanning_trees(0, [])


def test_second_best_of_a_graph_that_is_not_connected() -> None:
    edges = [(0, 1, 1), (0, 1, 7), (2, 3, 1), (3, 4, 2), (2, 4, 4)]
    found = second_best_spanning_tree(6, edges)
    assert (sorted(found.indices), found.weight, found.n_components) == ([0, 2, 4], 6, 3)


# ---- what makes a forest minimal
@st.composite
def multigraphs(draw: st.DrawFn) -> tuple[int, list[Edge]]:
    n = draw(st.integers(1, 9))
    node = st.integers(0, n - 1)
    return n, draw(st.lists(st.tuples(node, node, st.integers(-5, 5)), max_size=30))


@given(multigraphs(), st.sampled_from(sorted(ALGORITHMS)), st.data())
def test_cut_property(graph: tuple[int, list[Edge]], name: str, data: st.DataObject) -> None:
    """The lightest edge between some nodes and the others is in the forest."""
    n, edges = graph
    inside = data.draw(st.sets(st.integers(0, n - 1)))
    crossing = [(w, e) for e, (u, v, w) in enumerate(edges) if (u in inside) != (v in inside)]
    assert not crossing or min(crossing)[1] in ALGORITHMS[name](n, edges).indices


@given(multigraphs(), st.sampled_from(sorted(ALGORITHMS)))
def test_cycle_property(graph: tuple[int, list[Edge]], name: str) -> None:
    """An edge that is not in the forest is the heaviest of the cycle that it closes."""
    n, edges = graph
    found = ALGORITHMS[name](n, edges)
    tree = nx.MultiGraph()
    tree.add_nodes_from(range(n))
    for i in found.indices:
        tree.add_edge(*edges[i][:2], key=i)
    for e in set(range(len(edges))) - set(found.indices):
        u, v, w = edges[e]
        path = nx.shortest_path(tree, u, v)
        assert all((edges[i][2], i) < (w, e) for a, b in pairwise(path) for i in tree[a][b])


@given(multigraphs(), st.permutations(range(9)))
def test_roots_change_the_order_alone(graph: tuple[int, list[Edge]], roots: list[int]) -> None:
    n, edges = graph
    roots = [root for root in roots if root < n][: n // 2 + 1]
    grown = [prim.prim(n, edges, method=method, roots=roots).indices for method in ("lazy", "indexed", "dense")]
    assert grown[0] == grown[1] == grown[2]
    assert sorted(grown[0]) == sorted(kruskal(n, edges).indices)
    if grown[0] and any(roots[0] in edge[:2] and edge[0] != edge[1] for edge in edges):
        assert roots[0] in edges[grown[0][0]][:2]


# ---- forms of graphs
def test_weights_may_be_anything_ordered() -> None:
    third = Fraction(1, 3)
    found = kruskal(3, [(0, 1, third), (1, 2, 2 * third), (0, 2, third)])
    assert found.weight == 2 * third and found.edges == [(0, 1), (0, 2)]
    assert kruskal(3, [(0, 1), (1, 2)], [5, 6]).weight == 11
    assert kruskal(3, np.array([[0, 1], [1, 2]])).weight == 2


def test_graphs_of_networkx_keep_the_names_of_their_nodes() -> None:
    graph = nx.Graph()
    graph.add_edge("Oslo", "Bern", weight=2.5)
    graph.add_edge("Bern", "Rome")
    graph.add_node(("lonely", 1))
    found = prim.prim(graph, roots=["Rome"])
    assert found.edges == [("Bern", "Rome"), ("Oslo", "Bern")] and found.weight == 3.5 and found.n_components == 2


def test_sparse_matrices_keep_explicit_zeros_and_take_the_lighter_of_two() -> None:
    matrix = scipy.sparse.csr_array(([0.0, 4.0, 3.0, 9.0], ([0, 1, 2, 2], [1, 2, 1, 2])), shape=(4, 4))
    for form in (matrix, matrix.tocsc(), matrix.tocoo(), scipy.sparse.csr_matrix(matrix)):
        found = kruskal(form)
        assert (found.edges.tolist(), found.weights.tolist(), found.n_components) == ([[0, 1], [1, 2]], [0, 3], 2)


def test_empty_graphs(kernels: bool) -> None:
    for name, algorithm in ALGORITHMS.items():
        assert algorithm(0, []) == Forest([], 0, 0, [], []), name
        assert algorithm(3, []).n_components == 3, name
        assert algorithm(2, [(0, 0, -1), (1, 1, -1)]).edges == [], name
        none = algorithm(2, np.zeros((0, 2), int), np.zeros(0))
        assert none.edges.shape == (0, 2) and none.weight == 0.0 and none.n_components == 2, name
    assert euclidean_spanning_tree(np.zeros((0, 2))).n_components == 0
    assert prim.prim(np.zeros((0, 0)), method="dense").n_components == 0


NAN = float("nan")


@pytest.mark.parametrize(
    ("graph", "error", "text"),
    [
        ((3, [(0, 3, 1)]), ValueError, r"edge \(0, 3, 1\) joins no nodes among 0 to 2"),
        ((3, [(0, -1, 1)]), ValueError, "joins no nodes"),
        ((3, [(0, 1, NAN)]), ValueError, "weight of edge 0 is NaN"),
        ((3, [(0, 1, 2, 3)]), ValueError, r"expected edges \(u, v, weight\)"),
        ((3, [(0, 1, 2)], [1]), ValueError, r"expected edges \(u, v, weight\)"),
        ((3, [(0, 1)], [1, 2]), ValueError, "1 edges have 2 weights"),
        ((3,), TypeError, r"a number of nodes alone is no graph: write kruskal\(3, edges\)"),
        ((-1, []), ValueError, "got -1"),
        ((3, np.zeros((2, 3), int)), ValueError, r"expected edges as integers \(m, 2\)"),
        ((3, np.zeros((2, 2))), ValueError, r"expected edges as integers \(m, 2\)"),
        ((3, np.array([[0, 1], [0, 3]])), ValueError, r"edge \[0, 3\] at 1"),
        ((3, np.array([[0, -1]])), ValueError, "joins no nodes"),
        ((3, np.array([[0, 1]]), np.ones(2)), ValueError, "expected 1 real weights"),
        ((3, np.array([[0, 1]]), np.ones(1, complex)), ValueError, "expected 1 real weights"),
        ((3, np.array([[0, 1]]), np.array([NAN])), ValueError, "weight of edge 0 is NaN"),
        ((np.zeros((2, 3)),), ValueError, "expected a square array"),
        ((np.array([[0, NAN], [NAN, 0]]),), ValueError, "write np.inf where there is no edge"),
        ((np.array([[0, 1], [2, 0]]),), ValueError, r"give np.minimum\(w, w.T\)"),
        ((np.zeros((2, 2)), [(0, 1)]), TypeError, "go with a number of nodes"),
        ((scipy.sparse.csr_array((2, 3)),), ValueError, "expected a square matrix"),
        ((nx.DiGraph([(0, 1)]),), ValueError, r"graph.to_undirected\(\)"),
        (([(0, 1)],), TypeError, "expected a graph, got list: write"),
        ((True, []), TypeError, "go with a number"),
    ],
)
def test_what_is_no_graph_is_refused(graph: tuple[Any, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        kruskal(*graph)


def test_what_else_is_refused() -> None:
    with pytest.raises(ValueError, match="expected method to be 'sort' or 'filter', got 'quick'"):
        kruskal(1, [], method="quick")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected method to be 'lazy' or 'indexed' or 'dense', got 'eager'"):
        prim.prim(1, [], method="eager")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="prim: roots: 5 is no node of this graph of 2 nodes"):
        prim.prim(2, [], roots=[5])
    with pytest.raises(TypeError, match="go with a number of nodes"):
        prim.prim(np.zeros((2, 2)), [(0, 1)], method="dense")
    with pytest.raises(ValueError, match=r"expected real points \(n, d\)"):
        euclidean_spanning_tree([1.0, 2.0])
    with pytest.raises(ValueError, match="expected finite coordinates"):
        euclidean_spanning_tree([[np.inf]])


# ---- counted operations
def random_graph(n: int, m: int) -> tuple[int, list[tuple[int, int, Counted]]]:
    rng = np.random.default_rng(5)
    table = zip(*rng.integers(0, n, (2, m)).tolist(), rng.permutation(m).tolist(), strict=True)
    return n, [(u, v, Counted(w)) for u, v, w in table]


def comparisons(algorithm: Callable[..., Forest], n: int, m: int) -> int:
    graph = random_graph(n, m)
    Counted.comparisons = 0
    algorithm(*graph)
    return Counted.comparisons


def test_filtering_compares_less_than_sorting_does() -> None:
    sort, filtered = (comparisons(ALGORITHMS[f"kruskal {name}"], 200, 20_000) for name in ("sort", "filter"))
    assert sort <= 20_000 * math.log2(20_000) and filtered < sort / 3


def test_the_indexed_heap_is_no_larger_than_the_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: dict[str, int] = {}

    def watched(kind: type) -> Any:
        class Watched(kind):  # type: ignore[misc]
            def push(self, *entry: Any) -> None:
                super().push(*entry)
                sizes[kind.__name__] = max(sizes.get(kind.__name__, 0), len(self))

        return Watched

    for name in ("MinHeap", "IndexedHeap"):
        monkeypatch.setattr(prim, name, watched(getattr(prim, name)))
    n, m = 30, 3000
    for method in ("lazy", "indexed"):
        prim.prim(*random_graph(n, m), method=method)
    assert sizes["IndexedHeap"] < n < sizes["MinHeap"] <= m

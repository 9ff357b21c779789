"""Spanning trees and tree traversal, on arrays.

- `mst-sparse`: the minimum spanning tree of 10⁵ nodes and about 10⁶ edges, no two of them parallel, of float64 weights.
  Ours gets the arrays of ends and weights, each peer its own graph, built beforehand.
- `mst-dense`: that of 2000 points in the plane. Ours gets the points, and makes distances as it needs them; SciPy gets
  their matrix, built beforehand, so the time for that is not counted.
- `inorder`: the values of 10⁶ nodes, numbered at random, in order. Ours gets arrays, the textbook's recursion nodes.
"""

import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from .growth import Counter, Growth, Key, linear, linearithmic
from .harness import Case, Contender, Workload

NODES, EDGES, POINTS, TREE = 100_000, 1_000_000, 2000, 1_000_000


def graph() -> tuple[Any, Any]:
    """Ends (m, 2) and weights (m,): a path through all nodes, and edges at random."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, NODES, (EDGES, 2))
    ends[: NODES - 1] = np.stack([np.arange(NODES - 1), np.arange(1, NODES)], 1)
    ends = np.sort(ends[ends[:, 0] != ends[:, 1]], axis=1)
    _, first = np.unique(ends @ np.array([NODES, 1]), return_index=True)
    ends = ends[rng.permutation(first)]
    return ends, rng.random(len(ends))


def build_sparse() -> Workload:
    """Our Kruskal."""
    kruskal = import_module("tinygrad_zoo.algorithms.spanning_tree").kruskal
    ends, weights = graph()
    return Workload(run=lambda: kruskal(NODES, ends, weights), answer=lambda: kruskal(NODES, ends, weights).weight)


def build_sparse_scipy() -> Workload:
    """SciPy's Kruskal, on a matrix of compressed rows."""
    sparse = import_module("scipy.sparse")
    tree = import_module("scipy.sparse.csgraph").minimum_spanning_tree
    ends, weights = graph()
    matrix = sparse.csr_array((weights, tuple(ends.T)), shape=(NODES, NODES))
    return Workload(run=lambda: tree(matrix), answer=lambda: tree(matrix).sum())


def build_sparse_rustworkx() -> Workload:
    """rustworkx's Kruskal, which asks for each edge's weight by a call."""
    rustworkx = import_module("rustworkx")
    ends, weights = graph()
    made = rustworkx.PyGraph()
    made.add_nodes_from(range(NODES))
    made.add_edges_from([(u, v, w) for (u, v), w in zip(ends.tolist(), weights.tolist(), strict=True)])

    def run() -> Any:
        return rustworkx.minimum_spanning_edges(made, weight_fn=float)

    return Workload(run=run, answer=lambda: sum(weight for _, _, weight in run()))


def points() -> Any:
    """Points (n, 2)."""
    return np.random.default_rng(0).random((POINTS, 2))


def build_dense() -> Workload:
    """Our Prim, on points."""
    tree = import_module("tinygrad_zoo.algorithms.prim").euclidean_spanning_tree
    given = points()
    return Workload(run=lambda: tree(given), answer=lambda: tree(given).weight)


def build_dense_scipy() -> Workload:
    """SciPy's Kruskal, on the matrix of all distances."""
    tree = import_module("scipy.sparse.csgraph").minimum_spanning_tree
    matrix = import_module("scipy.spatial.distance").cdist(points(), points())
    return Workload(run=lambda: tree(matrix), answer=lambda: tree(matrix).sum())


def children() -> tuple[Any, Any]:
    """The children of a complete tree whose nodes are numbered at random."""
    names = np.random.default_rng(0).permutation(TREE)
    sides = np.full((2, TREE), -1)
    for side in (0, 1):
        below = np.arange(1 + side, TREE, 2)
        sides[side, names[(below - 1) // 2]] = names[below]
    return sides[0], sides[1]


def build_inorder() -> Workload:
    """Our loop."""
    trees, traversal = (import_module(f"tinygrad_zoo.algorithms.{name}") for name in ("trees", "tree_traversal"))
    tree = trees.ArrayTree(*children())
    return Workload(run=lambda: traversal.inorder(tree), answer=lambda: traversal.inorder(tree))


class Node:
    """What a textbook's tree is made of."""

    __slots__ = ("left", "right", "val")

    def __init__(self, val: int) -> None:
        self.val = val
        self.left: Node | None = None
        self.right: Node | None = None


def visit(node: Node | None, out: list[int]) -> None:
    """What a textbook's recursion does."""
    if node is not None:
        visit(node.left, out)
        out.append(node.val)
        visit(node.right, out)


def build_recursion() -> Workload:
    """The recursion on nodes."""
    left, right = children()
    nodes = [Node(i) for i in range(TREE)]
    for node, a, b in zip(nodes, left.tolist(), right.tolist(), strict=True):
        node.left, node.right = (nodes[child] if child >= 0 else None for child in (a, b))
    root = nodes[(set(range(TREE)) - set(left.tolist()) - set(right.tolist())).pop()]

    def run() -> list[int]:
        out: list[int] = []
        visit(root, out)
        return out

    return Workload(run=run, answer=lambda: np.array(run()))


def case(name: str, ours: Any, peers: dict[str, tuple[Any, tuple[str, ...], float]]) -> Case:
    """The case `name`; each peer with what it imports and its bar."""
    return Case(
        bench="algorithms",
        name=name,
        direction="fwd",
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo", "numba")),
        peers=tuple(Contender(name=peer, build=build, requires=needs) for peer, (build, needs, _) in peers.items()),
        bars={peer: bar for peer, (_, _, bar) in peers.items()},
        tolerance=1e-9,
    )


CASES = [
    case(
        "mst-sparse",
        build_sparse,
        {
            "rustworkx": (build_sparse_rustworkx, ("rustworkx",), 0.7),
            "scipy": (build_sparse_scipy, ("scipy",), 0.35),
        },
    ),
    case("mst-dense", build_dense, {"scipy": (build_dense_scipy, ("scipy",), 0.02)}),
    case("inorder", build_inorder, {"python-recursion": (build_recursion, (), 0.08)}),
]


# ---- counted operations, for `growth`
def at_random(n: int, m: int, counter: Counter) -> tuple[int, list[tuple[int, int, Key]]]:
    """A graph of n nodes and m edges whose weights all differ."""
    rng = np.random.default_rng(0)
    ends = rng.integers(0, n, (m, 2)).tolist()
    return n, [(u, v, weight) for (u, v), weight in zip(ends, counter.keys(rng.permutation(m).tolist()), strict=True)]


def in_halves(n: int, m: int, counter: Counter) -> tuple[int, list[tuple[int, int, Key]]]:
    """Borůvka's worst: in each round the trees of a path join in pairs, and m edges between its halves stay useless."""
    path = [(i - 1, i, counter.key((i & -i).bit_length())) for i in range(1, n)]
    half = n // 2
    return n, path + [(i % half, half + i % half, counter.key(n + i)) for i in range(m)]


def compared(module: str, name: str, made: Callable[[int, Counter], Any], **settings: Any) -> Callable[[int], int]:
    """The comparisons of the algorithm `name` on the graph that is made for n."""

    def count(n: int) -> int:
        counter = Counter()
        graph = made(n, counter)
        getattr(import_module(f"tinygrad_zoo.algorithms.{module}"), name)(*graph, **settings)
        return counter.since()

    return count


class Parents(list[int]):
    """The parents of a disjoint set, counted as they are read."""

    reads = 0

    def __getitem__(self, i: Any) -> Any:
        self.reads += 1
        return super().__getitem__(i)


def joined(n: int) -> int:
    """How often parents are read in 2 n unions of elements at random."""
    sets = import_module("tinygrad_zoo.algorithms.union_find").DisjointSet(n)
    parents = sets._parent = Parents(sets._parent)
    for a, b in np.random.default_rng(0).integers(0, n, (2 * n, 2)).tolist():
        sets.union(a, b)
    return parents.reads


def walked(order: str, method: str) -> Callable[[int], int]:
    """How often children are read in traversing a balanced tree."""

    def count(n: int) -> int:
        reads = 0

        class Watched(Node):
            def __getattribute__(self, name: str) -> Any:
                nonlocal reads
                reads += name in ("left", "right")
                return super().__getattribute__(name)

        made = [Watched(i) for i in range(n)]
        for i, node in enumerate(made):
            node.left, node.right = (made[child] if child < n else None for child in (2 * i + 1, 2 * i + 2))
        reads = 0
        for _ in import_module("tinygrad_zoo.algorithms.tree_traversal").nodes(made[0], order, method):
            pass
        return reads

    return count


GROWTHS = [
    Growth(
        "kruskal, sort",
        "m log m",
        linearithmic,
        compared("spanning_tree", "kruskal", lambda n, c: at_random(n // 5, n, c)),
    ),
    Growth(
        "kruskal, filter",
        "m, being 30 v",
        linear,
        compared("spanning_tree", "kruskal", lambda n, c: at_random(3 * n // 10, 9 * n, c), method="filter"),
    ),
    Growth(
        "boruvka",
        "m log v",
        lambda n: n * math.log2(n / 4),
        compared("spanning_tree", "boruvka", lambda n, c: in_halves(n // 4, n, c)),
    ),
    Growth(
        "prim, lazy",
        "m log m",
        linearithmic,
        compared("prim", "prim", lambda n, c: at_random(n // 5, n, c), method="lazy"),
    ),
    Growth(
        "prim, indexed",
        "m + v log v",
        lambda n: n + n / 5 * math.log2(n / 5),
        compared("prim", "prim", lambda n, c: at_random(n // 5, n, c), method="indexed"),
    ),
    Growth(
        "prim, dense",
        "v²",
        lambda n: n * n,
        compared("prim", "prim", lambda n, c: at_random(n // 10, n // 2, c), method="dense"),
    ),
    Growth("union (parents read)", "n", linear, joined),
    *(
        Growth(f"{method} {order} (reads)", "n", linear, walked(order, method))
        for method, order in (
            ("recursive", "in"),
            ("template", "in"),
            ("stack", "pre"),
            ("unified", "post"),
            ("color", "in"),
            ("morris", "in"),
            ("morris", "post"),
        )
    ),
]

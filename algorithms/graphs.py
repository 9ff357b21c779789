"""What the graph algorithms accept, read into one form: nodes 0 … n − 1, pairs of them, and a weight for each pair.

A graph is one of

- `n, edges`: the number of nodes, and any iterable of (u, v, weight), or of (u, v), whose weight is 1;
- `n, edges, weights`: the pairs, and their weights beside them. Where the pairs are an integer array (m, 2), the answer
  is made of arrays too, by compiled loops where there are some;
- a SciPy sparse matrix: its stored entries are edges, explicit zeros among them. Of (i, j) and (j, i) the lighter
  counts;
- a square NumPy array of floats, symmetric, `inf` where there is no edge; the diagonal is not looked at;
- an undirected NetworkX graph or multigraph, whose nodes may be anything; an edge without "weight" weighs 1.

Everywhere a self-loop and a parallel edge are edges like others, and a weight is anything that knows `<` and `+`.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Graph: TypeAlias = Any  # one of the forms above; SciPy and NetworkX are not imported for their types
MOST_NODES = 2**31 - 1  # and edges: they are numbered in int32


@dataclass(frozen=True)
class Edges:
    """A graph of n nodes: `ends[i]` are the nodes that edge i joins, and `weights[i]` is its weight.

    Both are lists, or both arrays: ends (m, 2) in int32, weights (m,). `names` are those of the nodes, where they have
    other ones than 0 … n − 1; `listed` tells whether the edges were given as a list, in this order.
    """

    n: int
    ends: Any
    weights: Any
    names: Sequence[Hashable] | None = None
    listed: bool = True

    @property
    def arrays(self) -> bool:
        """Whether these are arrays."""
        return isinstance(self.ends, np.ndarray)

    def lists(self) -> tuple[list[tuple[int, int]], list[Any]]:
        """Ends and weights as lists of Python's own numbers."""
        if self.arrays:
            return list(map(tuple, self.ends.tolist())), self.weights.tolist()
        return self.ends, self.weights

    def node(self, caller: str, name: Any) -> int:
        """The number of the node called `name`; ValueError where there is none."""
        numbers: Any = range(self.n) if self.names is None else self.names
        try:
            return int(numbers.index(name))
        except ValueError:
            raise ValueError(f"{caller}: {name!r} is no node of this graph of {self.n} nodes") from None

    def neighbours(self) -> list[list[tuple[int, int]]]:
        """For each node, the (other end, number) of its edges but self-loops: O(n + m)."""
        beside: list[list[tuple[int, int]]] = [[] for _ in range(self.n)]
        for e, (u, v) in enumerate(self.lists()[0]):
            if u != v:
                beside[u].append((v, e))
                beside[v].append((u, e))
        return beside


def read(caller: str, graph: Graph, edges: Any = None, weights: Any = None) -> Edges:
    """The graph in the form above: O(n + m), and a sort for a sparse matrix.

    Raises TypeError for what is no graph, and ValueError for a NaN, an end that is no node or a directed graph.

    >>> read("f", 3, [(0, 1, 2.5), (1, 2)])
    Edges(n=3, ends=[(0, 1), (1, 2)], weights=[2.5, 1], names=None, listed=True)
    """
    if isinstance(graph, int | np.integer) and not isinstance(graph, bool):
        if edges is None:
            raise TypeError(f"{caller}: a number of nodes alone is no graph: write {caller}({graph}, edges)")
        if not 0 <= graph <= MOST_NODES:
            raise ValueError(f"{caller}: expected 0 to {MOST_NODES} nodes, got {graph}")
        if isinstance(edges, np.ndarray):
            return _from_arrays(caller, int(graph), edges, weights)
        return _from_list(caller, int(graph), edges, weights)
    if edges is not None or weights is not None:
        raise TypeError(f"{caller}: edges and weights go with a number of nodes, not with a {type(graph).__name__}")
    if isinstance(graph, np.ndarray):
        matrix = square(caller, graph)
        rows, columns = np.nonzero(np.triu(np.isfinite(matrix) | (matrix == -np.inf), 1))
        return Edges(len(matrix), np.stack([rows, columns], 1).astype(np.int32), matrix[rows, columns], None, False)
    if hasattr(graph, "tocsr") and hasattr(graph, "shape"):
        return _from_sparse(caller, graph)
    if hasattr(graph, "is_directed") and hasattr(graph, "edges"):
        return _from_networkx(caller, graph)
    raise TypeError(
        f"{caller}: expected a graph, got {type(graph).__name__}: write {caller}(n, edges) with edges (u, v, weight), "
        f"{caller}(n, edges, weights) with arrays, or give a SciPy sparse matrix, a square array or a NetworkX graph"
    )


def square(caller: str, matrix: NDArray[Any]) -> NDArray[np.float64]:
    """A dense matrix of weights in float64; ValueError unless it is square, symmetric and free of NaN off the diagonal.

    >>> square("f", np.array([[0, 1], [2, 0]]))
    Traceback (most recent call last):
    ...
    ValueError: f: the matrix of weights is not symmetric: give np.minimum(w, w.T), or a sparse matrix
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or matrix.dtype.kind not in "biuf":
        raise ValueError(f"{caller}: expected a square array of real weights, got {matrix.dtype} {matrix.shape}")
    made: NDArray[np.float64] = matrix.astype(np.float64) + 0.0  # −0 becomes 0
    np.fill_diagonal(made, np.inf)
    if np.isnan(made).any():
        raise ValueError(f"{caller}: NaN is no weight: write np.inf where there is no edge")
    if not np.array_equal(made, made.T):
        raise ValueError(
            f"{caller}: the matrix of weights is not symmetric: give np.minimum(w, w.T), or a sparse matrix"
        )
    return made


def _from_list(caller: str, n: int, edges: Iterable[Any], weights: Iterable[Any] | None) -> Edges:
    ends: list[tuple[int, int]] = []
    found: list[Any] = []
    for edge in edges:
        u, v, *weight = edge
        if len(weight) > 1 or (weight and weights is not None):
            raise ValueError(
                f"{caller}: expected edges (u, v, weight), or (u, v) and their weights beside, got {edge!r}"
            )
        if not (0 <= u < n and 0 <= v < n):
            raise ValueError(f"{caller}: edge {edge!r} joins no nodes among 0 to {n - 1}")
        ends.append((int(u), int(v)))
        found.append(weight[0] if weight else 1)
    if weights is not None:
        found = list(weights)
    return Edges(n, ends, _checked(caller, found, len(ends)))


def _checked(caller: str, weights: list[Any], m: int) -> list[Any]:
    if len(weights) != m:
        raise ValueError(f"{caller}: {m} edges have {len(weights)} weights: expected one for each")
    for i, weight in enumerate(weights):
        if weight != weight:
            raise ValueError(
                f"{caller}: the weight of edge {i} is NaN, which has no place in an order: leave the edge out"
            )
    return weights


def _from_arrays(caller: str, n: int, edges: NDArray[Any], weights: Any) -> Edges:
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(
            f"{caller}: expected edges as integers (m, 2), and weights (m,) beside, got {edges.dtype} {edges.shape}"
        )
    if len(edges) > MOST_NODES:
        raise ValueError(f"{caller}: expected at most {MOST_NODES} edges, got {len(edges)}")
    if edges.size and not (edges.min() >= 0 and edges.max() < n):
        wrong = int(((edges < 0) | (edges >= n)).any(1).argmax())
        raise ValueError(f"{caller}: edge {edges[wrong].tolist()} at {wrong} joins no nodes among 0 to {n - 1}")
    weight = np.ones(len(edges), np.int64) if weights is None else np.asarray(weights)
    if weight.shape != (len(edges),) or weight.dtype.kind not in "biuf" or weight.dtype.itemsize > 8:
        raise ValueError(
            f"{caller}: expected {len(edges)} real weights, one for each edge, got {weight.dtype} {weight.shape}"
        )
    if weight.dtype.kind == "f" and (missing := np.isnan(weight)).any():
        raise ValueError(f"{caller}: the weight of edge {missing.argmax()} is NaN, which has no place in an order")
    return Edges(n, np.ascontiguousarray(edges, np.int32), weight)


def _from_sparse(caller: str, matrix: Any) -> Edges:
    if matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{caller}: expected a square matrix, got shape {matrix.shape}")
    entries = matrix.tocsr().tocoo()  # entries of one place are added up, explicit zeros stay
    low, high = np.minimum(entries.row, entries.col), np.maximum(entries.row, entries.col)
    order = np.lexsort((entries.data, high, low))
    low, high, data = low[order], high[order], entries.data[order]
    lightest = np.ones(len(low), bool)
    lightest[1:] = (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    ends = np.stack([low[lightest], high[lightest]], 1)
    found = _from_arrays(caller, matrix.shape[0], ends, data[lightest])
    return Edges(found.n, found.ends, found.weights, None, False)


def _from_networkx(caller: str, graph: Any) -> Edges:
    if graph.is_directed():
        raise ValueError(f"{caller}: a directed graph has no spanning tree of this kind: give graph.to_undirected()")
    names = list(graph)
    numbers = {name: i for i, name in enumerate(names)}
    triples = [(numbers[u], numbers[v], weight) for u, v, weight in graph.edges(data="weight", default=1)]
    found = _from_list(caller, len(names), triples, None)
    return Edges(found.n, found.ends, found.weights, names)

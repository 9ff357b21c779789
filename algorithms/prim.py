"""Prim's algorithm: a tree grows from a root, each time by the lightest edge that leaves it.

Three ways to find that edge, which find the same one: `lazy` keeps all edges that left the tree in a heap, and skips
those whose other end has joined since; `indexed` keeps each node beside the tree once, with its lightest edge, and
lowers its key as lighter ones appear; `dense` looks through all nodes. Where the graph is not connected, the next tree
starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from . import compiled
from .checks import choice
from .graphs import Edges, Graph, read, square
from .heaps import IndexedHeap, MinHeap
from .spanning_tree import Forest, forest

Method = Literal["lazy", "indexed", "dense"]


def prim(
    graph: Graph,
    edges: Any = None,
    weights: Any = None,
    *,
    method: Method = "indexed",
    roots: Iterable[Any] | None = None,
) -> Forest:
    """The minimum spanning forest of a graph, its edges in the order in which the trees grow.

    `lazy` takes O(m log m), `indexed` O(m log n) with a heap of at most n, `dense` O(n² + m) without a heap. A square
    array under `dense` goes through a compiled loop. `roots` are nodes from which trees start, in this order; the
    components in which there is none start from their first nodes. What else a graph may be: see `algorithms.graphs`.

    >>> prim(4, [(0, 1, 5), (1, 2, 1), (0, 2, 3), (1, 1, -9)], roots=[2])
    Forest(edges=[(1, 2), (0, 2)], weight=4, n_components=2, weights=[1, 3], indices=[1, 2])
    >>> prim(np.array([[0.0, 2.0, np.inf], [2.0, 0.0, -1.0], [np.inf, -1.0, 0.0]]), method="dense").edges.tolist()
    [[0, 1], [1, 2]]
    """
    choice("prim", "method", method, tuple(_GROW))
    if isinstance(graph, np.ndarray) and method == "dense" and compiled.enabled():
        return _of_matrix(graph, edges, weights, roots)
    found = read("prim", graph, edges, weights)
    beside, values = found.neighbours(), found.lists()[1]
    joined = [False] * found.n
    chosen: list[int] = []
    for start in _starts(found, roots):
        if not joined[start]:
            chosen += _GROW[method](start, beside, values, joined)
    return forest(found, chosen)


def _starts(graph: Edges, roots: Iterable[Any] | None) -> list[int]:
    """The roots, then all other nodes."""
    first = dict.fromkeys(graph.node("prim: roots", name) for name in roots or ())
    return list(first | dict.fromkeys(range(graph.n)))


def _grow_lazily(start: int, beside: Any, weights: list[Any], joined: list[bool]) -> Iterator[int]:
    """An edge enters the heap when its first end joins, so at most m are in it."""
    heap: MinHeap[tuple[int, int]] = MinHeap(key=lambda way: (weights[way[0]], way[0]))
    joined[start] = True
    node = start
    while True:
        for other, e in beside[node]:
            if not joined[other]:
                heap.push((e, other))
        while heap:
            e, node = heap.pop()
            if not joined[node]:
                break
        else:
            return
        joined[node] = True
        yield e


def _grow_indexed(start: int, beside: Any, weights: list[Any], joined: list[bool]) -> Iterator[int]:
    """A node is in the heap once, under its lightest edge to the tree: at most n in it."""
    heap: IndexedHeap[int] = IndexedHeap()
    joined[start] = True
    node = start
    while True:
        for other, e in beside[node]:
            if joined[other]:
                continue
            key = (weights[e], e)
            if other not in heap:
                heap.push(other, key)
            elif key < heap[other]:
                heap.decrease_key(other, key)
        if not heap:
            return
        node, (_, e) = heap.pop()
        joined[node] = True
        yield e


def _grow_densely(start: int, beside: Any, weights: list[Any], joined: list[bool]) -> Iterator[int]:
    """Every node's lightest edge to the tree stands in a list that is looked through each time."""
    lightest: list[int | None] = [None] * len(joined)
    joined[start] = True
    node = start
    while True:
        for other, e in beside[node]:
            known = lightest[other]
            if not joined[other] and (known is None or (weights[e], e) < (weights[known], known)):
                lightest[other] = e
        lightest[node] = None
        best, node = None, -1
        for other, way in enumerate(lightest):
            if way is not None and (best is None or (weights[way], way) < (weights[best], best)):
                best, node = way, other
        if best is None:
            return
        joined[node] = True
        yield best


_GROW = {"lazy": _grow_lazily, "indexed": _grow_indexed, "dense": _grow_densely}


def _of_matrix(graph: Any, edges: Any, weights: Any, roots: Iterable[Any] | None) -> Forest:
    from .compiled import spanning_tree

    if edges is not None or weights is not None:
        raise TypeError("prim: edges and weights go with a number of nodes, not with a square array")
    matrix = square("prim", graph)
    n = len(matrix)
    starts = np.array(_starts(Edges(n, [], []), roots), np.int64)
    pairs, chosen = spanning_tree.prim_matrix(matrix, matrix.view(np.int64), starts)
    return Forest(pairs, float(chosen.sum()), n - len(pairs), chosen, None)


def euclidean_spanning_tree(points: ArrayLike) -> Forest:
    """The minimum spanning tree of points (n, d) under the distances between them: O(d n²) time, O(d n) memory.

    It is Prim's dense algorithm from point 0, compiled, which makes a distance when it is looked at and stores none.
    Pairs at equal distances count in the order (0, 1), (0, 2), … Raises ValueError for other shapes, NaN or inf.

    >>> euclidean_spanning_tree([[0, 0], [5, 0], [1, 0]]).edges.tolist()
    [[0, 2], [1, 2]]
    """
    rows = np.asarray(points)
    if rows.ndim != 2 or rows.dtype.kind not in "biuf" or not rows.shape[1]:
        raise ValueError(f"euclidean_spanning_tree: expected real points (n, d), got {rows.dtype} {rows.shape}")
    rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("euclidean_spanning_tree: expected finite coordinates, got NaN or inf: leave such points out")
    n = len(rows)
    if compiled.enabled():
        from .compiled import spanning_tree

        pairs, squares = spanning_tree.prim_points(np.ascontiguousarray(rows.T))
    else:
        pairs, squares = _of_points(rows.tolist())
    lengths = np.sqrt(squares)
    return Forest(pairs, float(lengths.sum()), min(n, 1), lengths, None)


def _of_points(points: list[list[float]]) -> tuple[Any, Any]:
    n = len(points)
    nearest = [(np.inf, 0, 0)] * n  # of each point that has not joined: square, smaller end, larger end
    waiting = set(range(1, n))
    pairs, squares = [], []
    node = 0
    while waiting:
        here = points[node]
        for other in waiting:
            square_length = 0.0
            for x, y in zip(points[other], here, strict=True):
                square_length += (x - y) * (x - y)
            nearest[other] = min(nearest[other], (square_length, min(node, other), max(node, other)))
        node = min(waiting, key=nearest.__getitem__)
        waiting.remove(node)
        pairs.append(nearest[node][1:])
        squares.append(nearest[node][0])
    return np.array(pairs, np.int64).reshape(-1, 2), np.array(squares, np.float64)

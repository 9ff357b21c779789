"""Single-linkage clustering: the minimum spanning tree of the points, cut at its longest edges."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .checks import choice
from .prim import euclidean_spanning_tree, prim
from .union_find import DisjointSet


def single_linkage(
    data: ArrayLike, *, metric: Literal["euclidean", "precomputed"] = "euclidean"
) -> NDArray[np.float64]:
    """The merges (n − 1, 4) of the two nearest clusters, from n single points to one: as SciPy's `linkage` writes them.

    Row i joins clusters `[a, b, distance, size]` with a < b into cluster n + i; the distance is that of their nearest
    points. Two clusters are nearest along the shortest edge of the minimum spanning tree that is not yet within one, so
    the tree's edges in order are the merges (Gower and Ross 1969): O(n²) time, O(n) memory for points (n, d). With
    `metric="precomputed"`, `data` are distances (n, n). Raises ValueError for an empty one, or inf or NaN in it.

    >>> single_linkage([[0.0], [5.0], [1.0]])
    array([[0., 2., 1., 2.],
           [1., 3., 4., 3.]])
    """
    choice("single_linkage", "metric", metric, ("euclidean", "precomputed"))
    given = np.asarray(data)
    if not len(given):
        raise ValueError("single_linkage: expected at least one point, got none")
    tree = euclidean_spanning_tree(given) if metric == "euclidean" else prim(given, method="dense")
    n = len(given)
    if tree.n_components > 1:
        raise ValueError("single_linkage: expected finite distances: inf joins no clusters")
    sets = DisjointSet(n)
    names, sizes = list(range(n)), [1] * n  # of the cluster for which an element stands
    merges = np.empty((n - 1, 4))
    for i, e in enumerate(np.argsort(tree.weights, kind="stable")):
        a, b = (sets.find(int(end)) for end in tree.edges[e])
        low, high = sorted((names[a], names[b]))
        size = sizes[a] + sizes[b]
        merges[i] = low, high, tree.weights[e], size
        sets.union(a, b)
        root = sets.find(a)
        names[root], sizes[root] = n + i, size
    return merges


def cut(merges: NDArray[Any], n_clusters: int) -> NDArray[np.int64]:
    """The cluster of each point (n,), counted from 0 in the order of their first points, where n_clusters are left.

    O(n α(n)). ValueError unless there are 1 to n clusters.

    >>> cut(single_linkage([[0.0], [5.0], [1.0]]), 2).tolist()
    [0, 1, 0]
    """
    n = len(merges) + 1
    if not 1 <= n_clusters <= n:
        raise ValueError(f"cut: expected 1 to {n} clusters of {n} points, got {n_clusters}")
    sets = DisjointSet(2 * n - 1)
    for i, (a, b) in enumerate(merges[: n - n_clusters, :2].astype(int).tolist()):
        sets.union(a, n + i)
        sets.union(b, n + i)
    number: dict[int, int] = {}
    return np.array([number.setdefault(sets.find(x), len(number)) for x in range(n)], np.int64)

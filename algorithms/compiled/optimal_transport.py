"""The transportation simplex on arrays: the pivots of `optimal_transport.emd`, one by one the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]


@jit
def solve(p: Array, q: Array, cost: Array, tolerance: float) -> tuple[Array, Array, Array]:
    """The parent of each node in the optimal tree, the mass on the arc to it, and the node's potential.

    Sources are the nodes 0 … n − 1, sinks those after them; the root is the last. `first[v]` is a child of v, and
    `after` and `before` link a node to its siblings; −1 stands for none.
    """
    n, m = cost.shape
    root = n + m - 1
    parent, depth = np.full(n + m, -1, np.int32), np.zeros(n + m, np.int32)
    first, after = np.full(n + m, -1, np.int32), np.full(n + m, -1, np.int32)
    before, stack = np.full(n + m, -1, np.int32), np.empty(n + m, np.int32)
    flow, potential = np.zeros(n + m), np.zeros(n + m)
    links = (parent, first, after, before)
    i = j = 0
    supply, demand = p[0], q[0]
    while i < n - 1 or j < m - 1:
        if j == m - 1 or (i < n - 1 and supply < demand):
            _hang(links, i, n + j)
            flow[i] = supply
            demand -= supply
            i += 1
            supply = p[i]
        else:
            _hang(links, n + j, i)
            flow[n + j] = demand
            supply -= demand
            j += 1
            demand = q[j]
    _hang(links, i, n + j)
    flow[i] = max(supply, 0.0)
    _measure(root, links, depth, potential, cost, stack)
    row = waiting = 0
    while waiting < n:
        best, column = -tolerance, -1
        for j in range(m):
            reduced = cost[row, j] - potential[row] - potential[n + j]
            if reduced < best:
                best, column = reduced, j
        if column < 0:
            waiting += 1
        else:
            waiting = 0
            _pivot(row, n + column, links, depth, flow)
            _measure(row if parent[row] == n + column else n + column, links, depth, potential, cost, stack)
        row = row + 1 if row < n - 1 else 0
    return parent, flow, potential


@jit
def _pivot(source: int, sink: int, links: Any, depth: Array, flow: Array) -> None:
    """Send mass round the cycle that the arc from `source` to `sink` closes, and drop the arc that runs empty."""
    parent = links[0]
    a, b, least, leaving, sourceward = source, sink, np.inf, -1, True
    n_up, n_down = depth[a], depth[b]
    # Twice up to where the paths of both ends meet: to find the least mass that shrinks, then to change all of it.
    shrinks_a = shrinks_b = True
    least_b, leaving_b = np.inf, -1
    while a != b:
        if n_up >= n_down:
            if shrinks_a and flow[a] < least:
                least, leaving = flow[a], a
            shrinks_a = not shrinks_a
            a = parent[a]
            n_up -= 1
        else:
            if shrinks_b and flow[b] <= least_b:
                least_b, leaving_b = flow[b], b
            shrinks_b = not shrinks_b
            b = parent[b]
            n_down -= 1
    if least_b <= least:
        least, leaving, sourceward = least_b, leaving_b, False
    apex = a
    for start in (source, sink):
        v, sign = start, -1.0
        while v != apex:
            flow[v] += sign * least
            sign = -sign
            v = parent[v]
    # What hung below the leaving arc now hangs on the entering one: the path to it is turned round.
    v, above, mass = (source, sink, least) if sourceward else (sink, source, least)
    while True:
        was, carried = parent[v], flow[v]
        _unhang(links, v)
        _hang(links, v, above)
        flow[v] = mass
        if v == leaving:
            break
        v, above, mass = was, v, carried


@jit
def _measure(top: int, links: Any, depth: Array, potential: Array, cost: Array, stack: Array) -> None:
    """Depths and potentials of `top` and all below it, from those of its parent."""
    parent, first, after, _ = links
    n = cost.shape[0]
    stack[0] = top
    count = 1
    while count:
        count -= 1
        v = stack[count]
        u = parent[v]
        if u >= 0:
            depth[v] = depth[u] + 1
            potential[v] = (cost[v, u - n] if v < n else cost[u, v - n]) - potential[u]
        v = first[v]
        while v >= 0:
            stack[count] = v
            count += 1
            v = after[v]


@jit
def _hang(links: Any, v: int, above: int) -> None:
    parent, first, after, before = links
    parent[v] = above
    after[v], before[v] = first[above], -1
    if first[above] >= 0:
        before[first[above]] = v
    first[above] = v


@jit
def _unhang(links: Any, v: int) -> None:
    parent, first, after, before = links
    if before[v] >= 0:
        after[before[v]] = after[v]
    else:
        first[parent[v]] = after[v]
    if after[v] >= 0:
        before[after[v]] = before[v]

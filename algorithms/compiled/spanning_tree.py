"""Minimum spanning forests of graphs in arrays: filter-Kruskal for lists of edges, Prim for matrices and points.

Weights are compared as integers: the bits of a float, read as an integer, are in the order of the floats once those of
the negative ones are turned round. So ties are ties, a radix sort serves for all types, and the smallest of many is
found many at a time. Of equal weights the edge that comes first in the list is the lighter: the forest is one and the
same whatever algorithm finds it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import jit

Array = NDArray[Any]

SIGN, ALL, ONE, ZERO = np.uint64(1 << 63), np.uint64((1 << 64) - 1), np.uint64(1), np.uint64(0)
DIGIT, PASSES = np.uint64(11), 6  # 6 digits of 11 bits hold 64
BUCKETS = 1 << 11
SAMPLE = 1024  # of the edges that are left, for the pivot
FEW = 4096  # edges that are sorted as they are
LARGEST = np.int64((1 << 63) - 1)
INFINITE = np.int64(0x7FF0000000000000)  # the bits of inf


# ---- Kruskal
@jit
def kruskal(n: Any, ends: Array, bits: Array, kind: int, filtered: bool) -> Array:
    """The numbers of the forest's edges, from the lightest to the heaviest.

    `bits` (m,) uint64 are the weights: of kind 0 unsigned integers, 1 signed ones, 2 float64. In each round the
    lightest edges that are left, about twice as many as there are sets, are sorted and joined; those of the rest whose
    ends have met are dropped unsorted. A quarter of the edges or more goes in each round, so the rounds cost O(m) and
    the sorting far less than O(m log m) where m is large beside n.
    """
    left = np.empty(bits.size, np.int32)
    k = 0
    for e in range(bits.size):
        left[k] = e
        k += ends[e, 0] != ends[e, 1]
    parent = np.full(n, -1, np.int32)  # of a root: minus the size of its set
    chosen = np.empty(max(n - 1, 0), np.int64)
    found = 0
    light, other = np.empty(k, np.int32), np.empty(k, np.int32)
    sorted_keys, other_keys = np.empty(k, np.uint64), np.empty(k, np.uint64)
    while k > 0 and found < n - 1:
        pivot = ALL
        if filtered and k > FEW:
            pivot = _pivot(bits, kind, left, k, max(2 * (n - found), k // 4), sorted_keys, light, other_keys, other)
        taken = rest = 0
        for i in range(k):
            e = left[i]
            key = _key(bits[e], kind)
            if key <= pivot:
                light[taken], sorted_keys[taken] = e, key
                taken += 1
            else:
                left[rest] = e
                rest += 1
        if _radix_sort(sorted_keys, light, other_keys, other, taken):
            light, other = other, light
            sorted_keys, other_keys = other_keys, sorted_keys
        for i in range(taken):
            e = light[i]
            a, b = _find(parent, ends[e, 0]), _find(parent, ends[e, 1])
            if a != b:
                if parent[a] > parent[b]:
                    a, b = b, a
                parent[a] += parent[b]
                parent[b] = a
                chosen[found] = e
                found += 1
                if found == n - 1:
                    break
        k = 0
        if rest and found < n - 1:
            roots = np.empty(n, np.int32)
            for x in range(n):
                roots[x] = _find(parent, x)
            for i in range(rest):
                e = left[i]
                if roots[ends[e, 0]] != roots[ends[e, 1]]:
                    left[k] = e
                    k += 1
    return chosen[:found]


@jit
def _key(b: Any, kind: int) -> Any:
    """The bits of a weight as an unsigned integer that is in the order of the weights."""
    if kind == 1:
        return b ^ SIGN
    if kind == 2:
        if b == SIGN:  # −0 is 0
            b = ZERO
        return b ^ ALL if b & SIGN else b ^ SIGN
    return b


@jit
def _pivot(
    bits: Array,
    kind: int,
    left: Array,
    k: int,
    wanted: int,
    sample: Array,
    names: Array,
    other: Array,
    other_names: Array,
) -> Any:
    """A key that about `wanted` of the k edges that are left do not exceed, by a sample of them."""
    if wanted >= k:
        return ALL
    for i in range(SAMPLE):
        sample[i] = _key(bits[left[i * k // SAMPLE]], kind)
    at = min(wanted * SAMPLE // k, SAMPLE - 1)
    return other[at] if _radix_sort(sample, names, other, other_names, SAMPLE) else sample[at]


@jit
def _radix_sort(keys: Array, names: Array, other_keys: Array, other_names: Array, n: int) -> bool:
    """Sort the first n keys and names by the keys, stably; returns whether the result is in the other two arrays.

    Digit by digit from the last; one that all keys share is passed over.
    """
    counts = np.zeros((PASSES, BUCKETS), np.int64)
    for i in range(n):
        key = keys[i]
        for d in range(PASSES):
            counts[d, key & np.uint64(BUCKETS - 1)] += 1
            key >>= DIGIT
    swapped = False
    for d in range(PASSES):
        shift = np.uint64(d) * DIGIT
        if counts[d, (keys[0] >> shift) & np.uint64(BUCKETS - 1)] == n:
            continue
        start = 0
        for bucket in range(BUCKETS):
            count = counts[d, bucket]
            counts[d, bucket] = start
            start += count
        for i in range(n):
            digit = (keys[i] >> shift) & np.uint64(BUCKETS - 1)
            at = counts[d, digit]
            counts[d, digit] = at + 1
            other_keys[at], other_names[at] = keys[i], names[i]
        keys, other_keys = other_keys, keys
        names, other_names = other_names, names
        swapped = not swapped
    return swapped


@jit
def _find(parent: Array, x: Any) -> Any:
    while parent[x] >= 0:
        above = parent[x]
        if parent[above] >= 0:
            parent[x] = parent[above]
        x = above
    return x


# ---- Prim
@jit
def prim_matrix(weights: Array, bits: Array, starts: Array) -> tuple[Array, Array]:
    """The edges of the forest (k, 2) and their weights, in the order of growth; inf where there is no edge.

    `bits` is `weights` as int64, no −0 among them. O(n²) time, and three passes over n numbers for each node that
    joins. Trees begin at the nodes of `starts`, in this order, which names them all.
    """
    n = weights.shape[0]
    best, near, free = np.full(n, INFINITE), np.full(n, n), np.ones(n, np.int64)
    edges, chosen = np.empty((max(n - 1, 0), 2), np.int64), np.empty(max(n - 1, 0))
    found = 0
    for start in starts:
        if not free[start]:
            continue
        node = start
        while node >= 0:
            free[node] = 0
            best[node] = LARGEST
            row = bits[node]
            for j in range(n):
                b = row[j]
                b = b ^ ((b >> 63) & LARGEST)
                better = ((b < best[j]) | ((b == best[j]) & (node < near[j]))) & (free[j] == 1)
                best[j] = b if better else best[j]
                near[j] = node if better else near[j]
            least = LARGEST
            for j in range(n):
                least = min(least, best[j])
            node = -1
            if least < INFINITE:
                node = _first_pair(best, near, np.arange(n), n, least)
                a, b = near[node], node
                edges[found, 0], edges[found, 1] = min(a, b), max(a, b)
                chosen[found] = weights[a, b]
                found += 1
    return edges[:found], chosen[:found]


@jit
def prim_points(points: Array) -> tuple[Array, Array]:
    """The edges (n − 1, 2) and squared lengths of the tree of the points (d, n), from point 0, in the order of growth.

    O(d n²) time and O(d n) memory: distances from the point that has just joined are made when they are needed, in one
    loop for each coordinate. What has joined leaves the arrays, its place taken by the last.
    """
    dimensions, n = points.shape
    at = points.copy()
    names = np.arange(n)
    best, near, far = np.full(n, np.inf), np.full(n, n), np.empty(n)
    keys = best.view(np.int64)  # squares are not negative, so their bits are in their order
    edges, chosen = np.empty((max(n - 1, 0), 2), np.int64), np.empty(max(n - 1, 0))
    node, place = 0, 0
    for found in range(n - 1):
        k = n - 1 - found
        here = at[:, place].copy()
        for d in range(dimensions):
            at[d, place] = at[d, k]
        names[place], best[place], near[place] = names[k], best[k], near[k]
        for d in range(dimensions):
            line, x = at[d], here[d]
            if d == 0:
                for j in range(k):
                    far[j] = (line[j] - x) * (line[j] - x)
            else:
                for j in range(k):
                    far[j] += (line[j] - x) * (line[j] - x)
        for j in range(k):
            better = (far[j] < best[j]) | ((far[j] == best[j]) & (node < near[j]))
            best[j] = far[j] if better else best[j]
            near[j] = node if better else near[j]
        least = LARGEST
        for j in range(k):
            least = min(least, keys[j])
        place = _first_pair(keys, near, names, k, least)
        node = names[place]
        edges[found, 0], edges[found, 1] = min(near[place], node), max(near[place], node)
        chosen[found] = best[place]
    return edges, chosen


@jit
def _first_pair(keys: Array, near: Array, names: Array, n: int, least: Any) -> int:
    """The place of the key `least` whose edge (smaller end, larger end) is the first of the upper triangle."""
    place = -1
    for j in range(n):
        if keys[j] == least:
            if place >= 0:
                low, high = min(near[j], names[j]), max(near[j], names[j])
                first_low, first_high = min(near[place], names[place]), max(near[place], names[place])
                if low > first_low or (low == first_low and high > first_high):
                    continue
            place = j
    return place

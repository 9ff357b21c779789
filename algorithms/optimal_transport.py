"""Optimal transport, exactly: the transportation simplex, its certificates, the closed form on a line, Farkas' lemma.

To move masses p to places where q are wanted, at D[i, j] for each unit from i to j, is a linear program:
min ⟨Γ, D⟩ over plans Γ >= 0 with row sums p and column sums q. Its dual is max p·f + q·g over potentials with
f[i] + g[j] <= D[i, j]. Adding up these constraints, no plan costs less than any such potentials are worth (**weak
duality**), and at the optimum both are equal (**strong duality**), so that potentials prove a plan to be optimal:
`optimality` checks it. Where D is a distance, g = −f on common points and f is 1-Lipschitz: the form of Kantorovich and
Rubinstein.

Arrays of masses go through a compiled loop, which makes the same pivots as the Python here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import compiled

Array = NDArray[np.float64]
BALANCE = 1e-9  # how far the two sums of masses may be apart, of their size


class Transport(NamedTuple):
    """A plan (n, m), what it costs, and the potentials (f, g) that prove it optimal.

    >>> found = emd([1, 1], [1, 1], [[0, 3], [3, 4]])
    >>> found.plan.tolist(), found.value, float(sum(map(sum, found.potentials)))
    ([[1.0, 0.0], [0.0, 1.0]], 4.0, 4.0)
    """

    plan: Array
    value: float
    potentials: tuple[Array, Array]


def emd(p: ArrayLike, q: ArrayLike, D: ArrayLike) -> Transport:
    """min ⟨Γ, D⟩ over plans Γ >= 0 with Γ 1 = p and Γᵀ 1 = q: the earth mover's distance, exactly.

    The simplex method on the network of n sources and m sinks (Dantzig 1951): a basis is a spanning tree, each pivot
    takes in the cheapest arc of a source's, and drops the arc that runs empty first. Trees stay strongly feasible
    (Cunningham 1976), so that no sequence of trees repeats itself. O(n m) a round of the sources, and as many pivots as
    it takes, on average a few times n + m; memory O(n + m) beside D and the plan. Masses of whole numbers move whole.

    p (n,) and q (m,) are >= 0 with one sum (up to 1e-9 of it; q is then scaled to that of p), D (n, m) is finite.
    ValueError otherwise.

    >>> plan, value, (f, g) = emd([1, 2], [2, 1], [[0, 1], [1, 0]])
    >>> plan.tolist(), value
    ([[1.0, 0.0], [1.0, 1.0]], 1.0)
    >>> float(f @ [1, 2] + g @ [2, 1])
    1.0
    """
    supply, demand, cost = _problem("emd", p, q, D)
    rows, columns = np.flatnonzero(supply), np.flatnonzero(demand if supply.any() else demand + 1)  # who takes part
    plan, g = np.zeros(cost.shape), np.zeros(len(demand))
    if len(rows):
        p, q, within = supply[rows], demand[columns], np.ascontiguousarray(cost[np.ix_(rows, columns)])
        # A potential is a sum along the tree, of at most n + m roundings of about this size.
        tolerance = 4 * np.finfo(float).eps * (len(p) + len(q)) * np.abs(within).max()
        if compiled.enabled():
            from .compiled import optimal_transport

            solve: Any = optimal_transport.solve
        else:
            solve = _simplex
        parent, flow, potential = solve(p, q, within, tolerance)
        for v in range(len(parent) - 1):  # the last is the root
            i, j = sorted((v, parent[v]))
            plan[rows[i], columns[j - len(p)]] = flow[v]
        g[columns] = potential[len(p) :]
    # The greatest f that g allows, which at the sources that took part is theirs up to rounding; then g at other sinks.
    f = c_transform(cost[:, columns], g[columns])
    rest = np.setdiff1d(np.arange(len(demand)), columns)
    g[rest] = c_transform(cost[:, rest].T, f)
    return Transport(plan, float((plan * cost).sum()), (f, g))


def _problem(caller: str, p: ArrayLike, q: ArrayLike, D: ArrayLike) -> tuple[Array, Array, Array]:
    """Both masses, of one sum, and the costs between them, in float64."""
    supply, demand, cost = (np.asarray(given, np.float64) for given in (p, q, D))
    if supply.ndim != 1 or demand.ndim != 1 or not (supply.size and demand.size):
        raise ValueError(f"{caller}: expected masses p (n,) and q (m,), got {supply.shape} and {demand.shape}")
    if cost.shape != (len(supply), len(demand)):
        raise ValueError(
            f"{caller}: expected costs D {(len(supply), len(demand))}, one from each source to each sink, "
            f"got {cost.shape}"
        )
    if not (np.isfinite(cost).all() and np.isfinite(supply).all() and np.isfinite(demand).all()):
        raise ValueError(
            f"{caller}: expected finite masses and costs: for a forbidden pair write a cost above all sums"
        )
    if supply.min() < 0 or demand.min() < 0:
        name, i = ("p", supply.argmin()) if supply.min() < 0 else ("q", demand.argmin())
        raise ValueError(f"{caller}: a mass is negative: {name}[{i}] is {min(supply.min(), demand.min())}")
    total, wanted = supply.sum(), demand.sum()
    if abs(total - wanted) > BALANCE * max(total, wanted):
        raise ValueError(
            f"{caller}: p sums to {total} and q to {wanted}: no plan moves one into the other; write p / p.sum() and "
            "q / q.sum()"
        )
    return supply, demand * (total / wanted) if wanted != total else demand, cost


# ---- the simplex on trees
class _Tree:
    """A spanning tree of sources 0 … n − 1 and sinks n … n + m − 1 rooted at the last, with the mass on its arcs.

    `flow[v]` moves between v and its parent, from the source of the two to the sink. Of arcs without mass, all go from
    a child to its parent: the tree is strongly feasible.
    """

    def __init__(self, p: Array, q: Array, cost: Array) -> None:
        self.cost, self.n, self.m = cost, *cost.shape
        nodes = self.n + self.m
        self.parent, self.depth = [-1] * nodes, [0] * nodes
        self.children: list[set[int]] = [set() for _ in range(nodes)]
        self.flow, self.potential = np.zeros(nodes), np.zeros(nodes)
        # The north-west corner: each source serves the sinks in turn, from where the one before it stopped.
        i = j = 0
        supply, demand = p[0], q[0]
        while i < self.n - 1 or j < self.m - 1:
            if j == self.m - 1 or (i < self.n - 1 and supply < demand):
                self._hang(i, self.n + j, supply)
                demand -= supply
                i += 1
                supply = p[i]
            else:
                self._hang(self.n + j, i, demand)
                supply -= demand
                j += 1
                demand = q[j]
        self._hang(i, self.n + j, max(supply, 0.0))  # below zero by rounding
        self._measure(nodes - 1)

    def _hang(self, v: int, above: int, mass: float) -> None:
        self.parent[v], self.flow[v] = above, mass
        self.children[above].add(v)

    def _measure(self, top: int) -> None:
        """Depths and potentials of `top` and all below it: f + g is the cost on each arc of the tree."""
        waiting = [top]
        while waiting:
            v = waiting.pop()
            u = self.parent[v]
            if u >= 0:
                self.depth[v] = self.depth[u] + 1
                self.potential[v] = self.cost[min(u, v), max(u, v) - self.n] - self.potential[u]
            waiting += self.children[v]

    def cheapest(self, i: int, tolerance: float) -> int | None:
        """The sink to which source `i` saves most if it sends there; None where it saves nothing."""
        reduced = self.cost[i] - self.potential[i] - self.potential[self.n :]
        j = int(reduced.argmin())
        return self.n + j if reduced[j] < -tolerance else None

    def pivot(self, source: int, sink: int) -> None:
        """Send as much as can be from `source` to `sink`, round the cycle that this arc closes in the tree.

        Upwards from the source, and from the sink, every other arc shrinks, the first one first. Of those that run
        empty, the last on the way from the top through the source and the sink back to the top leaves the tree.
        """
        ends = [[source], [sink]]  # the paths up to where they meet
        while ends[0][-1] != ends[1][-1]:
            path = max(ends, key=lambda path: self.depth[path[-1]])
            path.append(self.parent[path[-1]])
        up, down = ends[0][:-1], ends[1][:-1]
        leaving = min(down[::2][::-1] + up[::2], key=self.flow.__getitem__)  # min takes the first of equals
        mass = self.flow[leaving]
        for path in (up, down):
            self.flow[path[::2]] -= mass
            self.flow[path[1::2]] += mass
        # What hung below the leaving arc now hangs on the entering one: the path to it is turned round.
        turned, above = (up, sink) if leaving in up else (down, source)
        for v in turned[: turned.index(leaving) + 1]:
            self.children[self.parent[v]].remove(v)
            kept = self.flow[v]
            self._hang(v, above, mass)
            above, mass = v, kept
        self._measure(turned[0])

    def _check(self) -> None:
        """Assert that it is a tree, strongly feasible, of which the potentials match."""
        root = self.n + self.m - 1
        for v, u in enumerate(self.parent):
            assert (u == -1) == (v == root) and (u == -1 or v in self.children[u])
            if u >= 0:
                assert (v < self.n) != (u < self.n) and self.depth[v] == self.depth[u] + 1
                assert self.flow[v] > 0 or (self.flow[v] == 0 and v < self.n), (v, self.flow[v])
                reduced = self.cost[min(u, v), max(u, v) - self.n] - self.potential[v] - self.potential[u]
                assert abs(reduced) <= 1e-9 * np.abs(self.cost).max()
        assert sum(map(len, self.children)) == root


def _simplex(p: Array, q: Array, cost: Array, tolerance: float) -> tuple[list[int], Array, Array]:
    """Parents, masses and potentials of the optimal tree: the sources take turns until none of them saves anything."""
    tree = _Tree(p, q, cost)
    row = idle = 0
    while idle < tree.n:
        sink = tree.cheapest(row, tolerance)
        if sink is None:
            idle += 1
        else:
            idle = 0
            tree.pivot(row, sink)
        row = (row + 1) % tree.n
    return tree.parent, tree.flow, tree.potential


# ---- certificates
def c_transform(D: ArrayLike, g: ArrayLike) -> Array:
    """f[i] = min over j of D[i, j] − g[j]: the greatest f with f[i] + g[j] <= D[i, j]. O(n m).

    For g of `c_transform(D.T, f)`, hand over D.T. Rows of D may be other points than those that g was found for: f is
    then the potential there, and 1-Lipschitz where D is a distance. ValueError for shapes that do not fit.

    >>> c_transform([[0, 1], [1, 0], [2, 1]], [0, 0.5]).tolist()
    [0.0, -0.5, 0.5]
    """
    cost, potential = np.asarray(D, np.float64), np.asarray(g, np.float64)
    if cost.ndim != 2 or potential.shape != cost.shape[1:]:
        raise ValueError(f"c_transform: expected D (n, m) and g (m,), got {cost.shape} and {potential.shape}")
    found: Array = (cost - potential).min(axis=1)
    return found


class Optimality(NamedTuple):
    """By how much a plan and potentials miss what makes both optimal; `holds` says whether they do.

    Primal and dual feasibility bound the optimum from both sides up to their misses, and `gap` is between the bounds.
    """

    marginals: float  # Σ |row sums − p| + Σ |column sums − q| + the negative masses
    infeasibility: float  # the largest f[i] + g[j] − D[i, j], 0 where none is above
    slackness: float  # Σ Γ[i, j] |D[i, j] − f[i] − g[j]|: mass moves where the constraint is tight
    gap: float  # ⟨Γ, D⟩ − p·f − q·g
    scale: float  # that of the numbers added up in them: the largest |D|, |f| or |g|, times the mass

    def holds(self, tolerance: float = 1e-9) -> bool:
        """Whether all are at most `tolerance` of their scale (the marginals, of the mass moved that is 1).

        >>> plan, _, (f, g) = emd([1, 1], [1, 1], [[0, 1], [1, 0]])
        >>> optimality([1, 1], [1, 1], [[0, 1], [1, 0]], plan, (f, g)).holds()
        True
        >>> optimality([1, 1], [1, 1], [[0, 1], [1, 0]], plan[::-1], (f, g)).holds()
        False
        """
        misses = (self.infeasibility, self.slackness, abs(self.gap))
        return self.marginals <= tolerance and max(misses) <= tolerance * self.scale


def optimality(
    p: ArrayLike, q: ArrayLike, D: ArrayLike, plan: ArrayLike, potentials: tuple[ArrayLike, ArrayLike]
) -> Optimality:
    """Check a plan and potentials against the problem, without solving it: O(n m). ValueError as for `emd`.

    >>> found = optimality([1, 1], [1, 1], [[0, 1], [1, 0]], [[0, 1], [1, 0]], ([0, 0], [0, 0]))
    >>> found.marginals, found.infeasibility, found.gap  # a plan and potentials, but 1 too dear for each unit
    (0.0, 0.0, 1.0)
    """
    supply, demand, cost = _problem("optimality", p, q, D)
    moved, f, g = (np.asarray(given, np.float64) for given in (plan, *potentials))
    if (moved.shape, f.shape, g.shape) != (cost.shape, supply.shape, demand.shape):
        raise ValueError(
            f"optimality: expected a plan {cost.shape} and potentials {supply.shape} and {demand.shape}, "
            f"got {moved.shape}, {f.shape} and {g.shape}"
        )
    mass = supply.sum() or 1.0
    misses = np.abs(moved.sum(1) - supply).sum() + np.abs(moved.sum(0) - demand).sum() - np.minimum(moved, 0).sum()
    slack = cost - f[:, None] - g
    return Optimality(
        float(misses / mass),
        float(max(0.0, -slack.min())),
        float((np.abs(moved) * np.abs(slack)).sum() / mass),
        float(((moved * cost).sum() - supply @ f - demand @ g) / mass),
        float(max(np.abs(array).max() for array in (cost, f, g))),
    )


class Farkas(NamedTuple):
    """Either x >= 0 with A x = b, or y with Aᵀ y <= 0 and b·y > 0; the other one is None.

    >>> found = farkas_certificate([[1, 1]], [-1])
    >>> found.x is None, found.holds([[1, 1]], [-1]), found.holds([[1, 1]], [1])  # the last has a solution
    (True, True, False)
    """

    x: list[Fraction] | None
    y: list[Fraction] | None

    def holds(self, A: ArrayLike, b: ArrayLike) -> bool:
        """Whether it proves what it says, without a rounding: O(m n)."""
        rows, right = _exactly("Farkas.holds", A, b)
        if self.x is not None:
            solved = all(_dot(row, self.x) == value for row, value in zip(rows, right, strict=True))
            return self.y is None and solved and min(self.x, default=0) >= 0
        if self.y is None:
            return False
        return all(_dot(column, self.y) <= 0 for column in zip(*rows, strict=True)) and _dot(right, self.y) > 0


def farkas_certificate(A: ArrayLike, b: ArrayLike) -> Farkas:
    """A x = b, x >= 0: a solution x, or a y that proves there is none, for Aᵀ y <= 0 < b·y would make 0 >= yᵀA x > 0.

    Farkas' lemma (1902) says that it is always one of the two. Which, the simplex method finds in exact fractions, as
    which floating-point numbers are taken too: it minimises the sum of what each equation lacks, choosing by the
    smallest index (Bland 1977), so that it ends. For small systems: O(m n) fractions a pivot, and these grow.

    A is (m, n), b (m,). ValueError for other shapes, and numbers that are not finite.

    >>> farkas_certificate([[1, 1], [1, -1]], [3, 1])
    Farkas(x=[Fraction(2, 1), Fraction(1, 1)], y=None)
    >>> found = farkas_certificate([[1, 1], [2, 2]], [1, 3])
    >>> found.x is None, [int(value) for value in found.y], found.holds([[1, 1], [2, 2]], [1, 3])
    (True, [-2, 1], True)
    """
    rows, right = _exactly("farkas_certificate", A, b)
    m, n = len(rows), len(rows[0])
    signs = [-1 if value < 0 else 1 for value in right]
    # Columns: A, what each equation lacks, b. The last row holds reduced costs: 1 for each lacking unit, priced out.
    table = [
        [sign * a for a in row] + [Fraction(i == k) for k in range(m)] + [sign * value]
        for i, (sign, row, value) in enumerate(zip(signs, rows, right, strict=True))
    ]
    costs = [-sum((row[j] for row in table), Fraction(0)) for j in range(n + m + 1)]
    costs[n : n + m] = [Fraction(0)] * m
    basis = list(range(n, n + m))
    while (entering := next((j for j in range(n) if costs[j] < 0), None)) is not None:
        ratios = [(row[-1] / row[entering], basis[i], i) for i, row in enumerate(table) if row[entering] > 0]
        leaving = min(ratios)[2]  # there is one: the sum is bounded by 0
        pivot = table[leaving][entering]
        table[leaving] = [a / pivot for a in table[leaving]]
        for row in (*(row for i, row in enumerate(table) if i != leaving), costs):
            factor = row[entering]
            if factor:
                row[:] = [a - factor * b for a, b in zip(row, table[leaving], strict=True)]
        basis[leaving] = entering
    if costs[-1] == 0:
        x = [Fraction(0)] * n
        for i, j in enumerate(basis):
            if j < n:
                x[j] = table[i][-1]
        return Farkas(x, None)
    return Farkas(None, [sign * (1 - cost) for sign, cost in zip(signs, costs[n : n + m], strict=True)])


def _exactly(caller: str, A: ArrayLike, b: ArrayLike) -> tuple[list[list[Fraction]], list[Fraction]]:
    """Both as fractions; what NumPy would round, such as fractions in a list, is left as it is."""
    matrix, right = np.asarray(A, object), np.asarray(b, object)
    if matrix.ndim != 2 or right.shape != matrix.shape[:1] or not matrix.size:
        raise ValueError(f"{caller}: expected A (m, n) and b (m,), got {matrix.shape} and {right.shape}")
    try:
        return [[Fraction(a) for a in row] for row in matrix.tolist()], [Fraction(value) for value in right.tolist()]
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{caller}: expected finite numbers ({error})") from error


def _dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
    return sum((x * y for x, y in zip(a, b, strict=True)), Fraction(0))


# ---- on a line
def wasserstein_1d(
    x: ArrayLike,
    y: ArrayLike,
    x_weights: ArrayLike | None = None,
    y_weights: ArrayLike | None = None,
    *,
    p: float = 1.0,
) -> float:
    """(∫₀¹ |F⁻¹(u) − G⁻¹(u)|ᵖ du)^(1/p): on a line, mass keeps its order. O(n log n + m log m).

    F and G are the distributions of the points x (n,) and y (m,), of equal weights by default; weights need not sum
    to 1. ValueError for other shapes, negative weights, none at all, and p < 1.

    >>> wasserstein_1d([0, 1, 3], [5, 6, 8])
    5.0
    >>> wasserstein_1d([0], [0, 3], y_weights=[3, 1], p=2)
    1.5
    """
    if not p >= 1:
        raise ValueError(f"wasserstein_1d: expected p >= 1, got {p}")
    places, levels = zip(*(_quantiles(*given) for given in (("x", x, x_weights), ("y", y, y_weights))), strict=True)
    ends = np.sort(np.concatenate(levels))  # of pieces on which both quantile functions are constant
    shares = np.diff(ends, prepend=0.0)
    shares[shares <= 4 * np.finfo(float).eps * len(ends)] = 0  # two levels that differ by rounding are one
    apart = [z[np.minimum(np.searchsorted(level, ends), len(z) - 1)] for z, level in zip(places, levels, strict=True)]
    distance = np.abs(apart[0] - apart[1])
    farthest = float(distance[shares > 0].max())
    if farthest == 0 or np.isinf(p):
        return farthest
    return farthest * math.pow((shares * (distance / farthest) ** p).sum(), 1 / p)


def _quantiles(name: str, points: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array]:
    """The points in order, and the share of the mass up to each of them."""
    values = np.asarray(points, np.float64)
    masses = np.ones(values.shape) if weights is None else np.asarray(weights, np.float64)
    if values.ndim != 1 or not values.size or masses.shape != values.shape:
        raise ValueError(
            f"wasserstein_1d: expected {name} (n,) and a weight for each, got {values.shape} and {masses.shape}; in "
            "more than one dimension call emd"
        )
    if not (np.isfinite(values).all() and np.isfinite(masses).all() and masses.min() >= 0 and masses.sum() > 0):
        raise ValueError(f"wasserstein_1d: expected finite {name}, and weights >= 0 of which one at least is above 0")
    order: Any = np.argsort(values, kind="stable")
    order = order[masses[order] > 0]
    reached = np.cumsum(masses[order])
    return values[order], reached / reached[-1]

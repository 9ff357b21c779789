"""Exact transport against linear programs and POT, its certificates, Farkas' lemma, the closed form on a line."""

from __future__ import annotations

import itertools
import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

import oracles
from tinygrad_zoo.algorithms import optimal_transport as module
from tinygrad_zoo.algorithms.optimal_transport import (
    c_transform,
    emd,
    farkas_certificate,
    optimality,
    wasserstein_1d,
)

ot = oracles.load("ot")


@pytest.fixture(params=[True, False], ids=["loops", "Python"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether arrays go through compiled loops."""
    if not request.param:
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    return bool(request.param)


def problem(n: int, m: int, seed: int, uniform: bool = False, metric: str = "euclidean") -> tuple[Any, Any, Any]:
    """Masses of sum 1, and distances of points."""
    draw = np.random.default_rng(seed)
    x, y = draw.standard_normal((n, 2)), draw.standard_normal((m, 2)) + 1
    p, q = (np.ones(n), np.ones(m)) if uniform else (draw.random(n), draw.random(m))
    return p / p.sum(), q / q.sum(), cdist(x, y, metric)


def constraints(n: int, m: int) -> np.ndarray[Any, Any]:
    """The matrix that takes a plan, row after row, to its row sums and column sums: (n + m, n m)."""
    return np.concatenate([np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))])


def programmed(p: Any, q: Any, D: Any) -> float:
    """The optimum by SciPy's linear programming."""
    A = constraints(len(p), len(q))
    return float(linprog(np.ravel(D), A_eq=A[:-1], b_eq=np.concatenate([p, q])[:-1], method="highs").fun)


SHAPES = [(1, 1), (1, 5), (6, 1), (2, 2), (7, 4), (12, 15)]


@pytest.mark.parametrize("metric", ["euclidean", "cityblock", "sqeuclidean"])
def test_the_value_is_that_of_the_linear_program_and_is_certified(metric: str, kernels: bool) -> None:
    for (n, m), uniform in itertools.product(SHAPES, (False, True)):
        p, q, D = problem(n, m, seed=n, uniform=uniform, metric=metric)
        plan, value, potentials = emd(p, q, D)
        assert value == pytest.approx(programmed(p, q, D), rel=1e-9, abs=1e-12)
        np.testing.assert_allclose(plan.sum(1), p, atol=1e-15)
        np.testing.assert_allclose(plan.sum(0), q, atol=1e-15)
        assert plan.min() >= 0 and (plan > 0).sum() <= n + m - 1
        assert p @ potentials[0] + q @ potentials[1] == pytest.approx(value, rel=1e-12, abs=1e-13)  # strong duality
        assert optimality(p, q, D, plan, potentials).holds(1e-12)


@given(st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_whole_masses_that_tie_move_whole(n: int, m: int, seed: int) -> None:
    """Few values, zeros among them, so that many arcs run empty at once."""
    draw = np.random.default_rng(seed)
    p, D = draw.integers(0, 4, n), draw.integers(-2, 4, (n, m))
    q = np.bincount(draw.integers(0, m, p.sum()), minlength=m)
    plan, value, potentials = emd(p, q, D)
    assert (plan == plan.round()).all() and value == round(value)
    assert value == pytest.approx(programmed(p, q, D), abs=1e-9)
    assert optimality(p, q, D, plan, potentials).holds(0)


def test_both_ways_make_the_same_pivots(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [problem(30, 40, 1), problem(40, 40, 2, uniform=True), ([2, 0, 1], [0, 3], np.zeros((3, 2)))]
    compiled = [emd(*each) for each in problems]
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    for each, expected in zip(problems, compiled, strict=True):
        found = emd(*each)
        assert np.array_equal(found.plan, expected.plan) and found.value == expected.value
        assert all(map(np.array_equal, found.potentials, expected.potentials))


@pytest.mark.parametrize("uniform", [False, True])
def test_the_tree_stays_strongly_feasible(uniform: bool) -> None:
    """And every pivot that moves mass makes the plan cheaper."""
    p, q, D = problem(12, 12, 5, uniform)
    if uniform:
        p, q = p * 12, q * 12
    tree = module._Tree(p, q, D)
    tree._check()
    arcs = lambda: sum(tree.flow[v] * D[min(u, v), max(u, v) - 12] for v, u in enumerate(tree.parent[:-1]))
    costs, degenerate = [arcs()], 0
    while sinks := [(i, sink) for i in range(12) if (sink := tree.cheapest(i, 1e-12)) is not None]:
        before = tree.flow.copy()
        tree.pivot(*sinks[0])
        tree._check()
        costs.append(arcs())
        degenerate += sorted(before) == sorted(tree.flow)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(costs)) and len(costs) > 12
    assert (degenerate > 0) == uniform  # an assignment is where trees without strong feasibility run in circles


def test_assignments_are_those_of_scipy(kernels: bool) -> None:
    D = np.random.default_rng(0).random((30, 30))
    plan, value, _ = emd(np.ones(30), np.ones(30), D)
    rows, columns = linear_sum_assignment(D)
    assert value == pytest.approx(D[rows, columns].sum(), rel=1e-12)
    assert np.array_equal(plan.argmax(1), columns) and np.array_equal(np.sort(plan, axis=None)[-30:], np.ones(30))


def test_massless_places_have_potentials_too() -> None:
    p, q, D = problem(8, 9, 3)
    p[[0, 5]], q[[2, 8]] = 0, 0
    plan, value, (f, g) = emd(p, q * p.sum() / q.sum(), D)
    assert value == pytest.approx(programmed(p, q * p.sum() / q.sum(), D), rel=1e-9)
    assert not plan[[0, 5]].any() and not plan[:, [2, 8]].any() and np.isfinite([*f, *g]).all()
    assert (f[:, None] + g <= D + 1e-12).all()
    assert emd([0, 0], [0], [[1], [2]]).value == 0


@pytest.mark.oracle("ot")
@pytest.mark.parametrize("uniform", [False, True])
def test_200_by_200_points_as_pot_within_seconds(uniform: bool, kernels: bool) -> None:
    p, q, D = problem(200, 200, 7, uniform)
    emd(p[:2] / p[:2].sum(), q[:2] / q[:2].sum(), D[:2, :2])  # compiled by now
    start = time.process_time()
    plan, value, potentials = emd(p, q, D)
    assert time.process_time() - start < 10
    expected, log = ot.emd2(p, q, D, log=True, return_matrix=True)
    assert value == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(plan, log["G"], atol=1e-9)  # random distances: there is one optimal plan
    for proof in (potentials, (log["u"], log["v"])):  # where masses tie there are several
        assert optimality(p, q, D, plan, proof).holds(1e-12)


# ---- duality
def test_weak_duality_bounds_every_plan_by_every_potentials() -> None:
    draw = np.random.default_rng(0)
    p, q, D = problem(6, 7, 0)
    value = emd(p, q, D).value
    for _ in range(20):
        g = draw.standard_normal(7)
        assert p @ c_transform(D, g) + q @ g <= value <= (np.outer(p, q) * D).sum()


def test_the_potential_of_a_distance_is_lipschitz_and_gives_the_dual_of_one_function() -> None:
    """W = sup E_p f − E_q f over 1-Lipschitz f (Kantorovich–Rubinstein), here on all points at once."""
    draw = np.random.default_rng(1)
    points, mask = draw.standard_normal((40, 2)), np.arange(40) < 25
    p, q = np.where(mask, 1 / 25, 0.0), np.where(mask, 0.0, 1 / 15)
    for metric in ("euclidean", "cityblock", "sqeuclidean"):
        D = cdist(points, points, metric)
        _, value, (_, g) = emd(p, q, D)
        f = c_transform(D, g)
        rises = f[:, None] - f - D
        one_function = float((p - q) @ f)
        if metric == "sqeuclidean":  # no distance: f − f∘ no longer reaches W
            assert one_function < value * 0.9 or rises.max() > 0.1
            assert max_of_one_function(p, q, D) < 0.9 * value
        else:
            assert rises.max() <= 1e-12 and one_function == pytest.approx(value, rel=1e-12)
            assert max_of_one_function(p, q, D) == pytest.approx(value, rel=1e-9)


def max_of_one_function(p: Any, q: Any, D: Any) -> float:
    """max (p − q)·f over f[i] − f[j] <= D[i, j], by linear programming: the form that only distances have."""
    n = len(p)
    rows = [np.eye(n)[i] - np.eye(n)[j] for i in range(n) for j in range(n) if i != j]
    bounds = [D[i, j] for i in range(n) for j in range(n) if i != j]
    return -float(linprog(-(p - q), A_ub=np.array(rows), b_ub=bounds, bounds=(None, None), method="highs").fun)


def test_squared_distances_have_no_dual_of_one_function() -> None:
    """Between 0 and 2, by way of 1: f may rise by 1 twice, yet the mass pays 4."""
    squares = np.array([[0.0, 1.0, 4.0], [1.0, 0.0, 1.0], [4.0, 1.0, 0.0]])
    p, q = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    assert emd(p, q, squares).value == 4 and max_of_one_function(p, q, squares) == pytest.approx(2)
    assert emd(p, q, np.sqrt(squares)).value == 2 == pytest.approx(max_of_one_function(p, q, np.sqrt(squares)))


def test_c_transforms_tighten_once() -> None:
    """f^cc >= f, and f^ccc = f^c."""
    D = np.random.default_rng(2).random((5, 6))
    g = np.random.default_rng(3).standard_normal(6)
    f = c_transform(D, g)
    assert (f[:, None] + g <= D + 1e-15).all() and np.isclose(f[:, None] + g, D).any(axis=1).all()
    tight = c_transform(D.T, f)
    assert (tight >= g - 1e-15).all() and (tight > g + 1e-3).any()
    np.testing.assert_allclose(c_transform(D, tight), f, rtol=1e-14)


@pytest.mark.parametrize("fault", ["plan", "row", "negative", "f", "g", "not optimal", "not tight"])
def test_a_wrong_certificate_is_refused(fault: str) -> None:
    p, q, D = problem(6, 7, 4)
    plan, _, (f, g) = emd(p, q, D)
    assert optimality(p, q, D, plan, (f, g)).holds(1e-12)
    if fault == "plan":
        plan = np.outer(p, q)
    elif fault == "row":
        plan = plan * (1 + 1e-6)
    elif fault == "negative":
        plan = plan.copy()
        plan[:2, :2] += [[-1, 1], [1, -1]]
    elif fault == "f":
        f = f + 1e-6 * np.eye(6)[2]
    elif fault == "g":
        g = g + 1e-6 * np.eye(7)[3]
    elif fault == "not optimal":
        g = g - 0.1
    else:
        f = f - 1e-6 * (p > p.mean())
    found = optimality(p, q, D, plan, (f, g))
    assert not found.holds(1e-9)
    bad = {"row": "marginals", "negative": "marginals", "f": "infeasibility", "g": "infeasibility"}.get(fault)
    assert getattr(found, bad) > 1e-8 if bad else found.gap > 1e-8 and found.slackness > 1e-8


# ---- Farkas' lemma
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**32 - 1))
def test_either_a_solution_or_a_proof_that_there_is_none(m: int, n: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    A, b = draw.integers(-2, 3, (m, n)), draw.integers(-3, 4, m)
    found = farkas_certificate(A, b)
    assert (found.x is None) != (found.y is None) and found.holds(A, b)
    theirs = linprog(np.zeros(n), A_eq=A, b_eq=b, method="highs").status
    assert theirs == (0 if found.x is not None else 2)


def test_a_proof_is_checked_exactly() -> None:
    A, b = [[1.0, 1.0], [2.0, 2.0]], [0.1, 0.2]
    assert farkas_certificate(A, b).x is not None
    nearly = [0.1, np.nextafter(0.2, 1)]
    found = farkas_certificate(A, nearly)
    assert found.x is None and found.holds(A, nearly) and not found.holds(A, b)
    for x, y in [([1, -1], None), ([1, 1], None), (None, [0, 0]), (None, [1, 0]), (None, None), ([0, 0], [0, 0])]:
        assert not module.Farkas(x, y).holds([[1, 1], [2, 2]], [1, 3])  # type: ignore[arg-type]
    thirds = farkas_certificate([[Fraction(1, 3)]], [Fraction(1, 7)])
    assert thirds.x == [Fraction(3, 7)]


def test_strong_duality_follows_from_the_lemma() -> None:
    """That no plan costs less than W − ε is proved by a y which, divided, is potentials worth more than W − ε."""
    p, q = [3, 1, 2], [2, 2, 2]
    D = np.array([[1, 4, 2], [3, 1, 5], [2, 2, 3]])
    value = emd(p, q, D).value
    A = np.zeros((7, 10), int)  # the plan, and what is left of the budget
    A[:6, :9], A[6, :9], A[6, 9] = constraints(3, 3), D.ravel(), 1
    for below, solvable in ((Fraction(0), True), (Fraction(1, 1000), False)):
        right = [*p, *q, Fraction(value) - below]
        found = farkas_certificate(A, right)
        assert found.holds(A, right) and (found.x is not None) == solvable
    assert found.y is not None and found.y[6] < 0
    f, g = ([-y / found.y[6] for y in part] for part in (found.y[:3], found.y[3:6]))
    assert all(f[i] + g[j] <= int(D[i, j]) for i in range(3) for j in range(3))
    assert value - 0.001 < sum(a * b for a, b in zip(p, f, strict=True)) + sum(a * b for a, b in zip(q, g, strict=True))


# ---- on a line
@pytest.mark.parametrize("weighted", [False, True])
def test_on_a_line_as_scipy_and_as_the_exact_solver(weighted: bool) -> None:
    draw = np.random.default_rng(0)
    for n, m in SHAPES:
        x, y = draw.standard_normal(n), draw.standard_normal(m) + 1
        u, v = (draw.random(n), draw.random(m)) if weighted else (None, None)
        assert wasserstein_1d(x, y, u, v) == pytest.approx(wasserstein_distance(x, y, u, v), rel=1e-9)
        for p in (1.0, 2.0, 3.0):
            a, b = (np.ones(n) if u is None else u), (np.ones(m) if v is None else v)
            exact = emd(a / a.sum(), b / b.sum(), np.abs(x[:, None] - y) ** p).value
            assert wasserstein_1d(x, y, u, v, p=p) == pytest.approx(exact ** (1 / p), rel=1e-9)


@pytest.mark.oracle("ot")
def test_on_a_line_as_pot() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 50))
    for p in (1, 2):
        assert wasserstein_1d(x, y[:40], p=p) ** p == pytest.approx(ot.wasserstein_1d(x, y[:40], p=p), rel=1e-9)


def test_facts_of_the_line() -> None:
    x = np.random.default_rng(1).standard_normal(20)
    assert wasserstein_1d(x, x[::-1]) == 0 and wasserstein_1d(x, x - 3) == pytest.approx(3)
    assert wasserstein_1d(x, 4 * x, p=2) == pytest.approx(3 * math.sqrt((x * x).mean()))
    assert wasserstein_1d([0, 1], [0, 5], [1, 1], [3, 1], p=math.inf) == 4
    assert wasserstein_1d([0, 9], [0], [1, 0]) == 0
    assert wasserstein_1d([1.0] * 3, [2.0] * 7, p=math.inf) == 1  # levels of thirds and sevenths


# ---- errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: emd([1], [2], [[0]]), "p sums to 1.0 and q to 2.0: no plan moves one into the other"),
        (lambda: emd([1, -1], [0], [[0], [0]]), r"a mass is negative: p\[1\] is -1.0"),
        (
            lambda: emd([1], [1, 0], [[0]]),
            r"expected costs D \(1, 2\), one from each source to each sink, got \(1, 1\)",
        ),
        (lambda: emd([[1]], [1], [[0]]), r"expected masses p \(n,\) and q \(m,\), got \(1, 1\) and \(1,\)"),
        (lambda: emd([1], [1], [[np.inf]]), "for a forbidden pair write a cost above all sums"),
        (lambda: optimality([1], [1], [[0]], [1], ([0], [0])), r"expected a plan \(1, 1\) and potentials"),
        (lambda: c_transform([[0, 1]], [0]), r"expected D \(n, m\) and g \(m,\), got \(1, 2\) and \(1,\)"),
        (lambda: farkas_certificate([1], [1]), r"expected A \(m, n\) and b \(m,\), got \(1,\) and \(1,\)"),
        (lambda: farkas_certificate([[np.nan]], [1]), "expected finite numbers"),
        (lambda: wasserstein_1d([[0, 1]], [0]), r"expected x \(n,\) and a weight for each, got \(1, 2\) and \(1, 2\)"),
        (lambda: wasserstein_1d([0], [0], p=0.5), "expected p >= 1, got 0.5"),
        (lambda: wasserstein_1d([0], [0], None, [0]), "weights >= 0 of which one at least is above 0"),
    ],
)
def test_errors(call: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()

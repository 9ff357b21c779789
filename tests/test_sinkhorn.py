"""Sinkhorn's algorithm against POT and the exact solver, its gradients; distances between samples."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import scipy.stats
from scipy.spatial.distance import cdist

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import optimal_transport
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.optimal_transport import emd, energy_distance, sinkhorn, sliced_wasserstein, wasserstein_1d
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

ot = oracles.load("ot")


def problem(n: int = 6, m: int = 8, seed: int = 0) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(seed)
    p, q = draw.random(n), draw.random(m)
    return p / p.sum(), q / q.sum(), cdist(draw.standard_normal((n, 2)), draw.standard_normal((m, 2)) + 1)


def value(x: Any) -> float:
    return float(x.numpy())


@pytest.mark.oracle("ot")
@pytest.mark.parametrize(("epsilon", "iterations"), [(1.0, 200), (0.2, 1000), (0.05, 4000)])
def test_plan_and_cost_are_those_of_pot(epsilon: float, iterations: int) -> None:
    p, q, D = problem()
    with tz.no_grad():
        found = sinkhorn(p, q, D, epsilon=epsilon, iterations=iterations)
    settings: Any = {"reg": epsilon, "method": "sinkhorn_log", "numItermax": iterations, "stopThr": 1e-14}
    np.testing.assert_allclose(found.plan.numpy(), ot.sinkhorn(p, q, D, **settings), atol=1e-9)
    assert value(found.cost) == pytest.approx(float(ot.sinkhorn2(p, q, D, **settings)), rel=1e-9)
    assert value(found.violation) < 1e-9
    solved = ot.solve(D, p, q, reg=epsilon, reg_type="KL", max_iter=10 * iterations, tol=1e-14)  # KL(Γ ‖ p qᵀ)
    assert value(found.regularised) == pytest.approx(float(solved.value), rel=1e-9)


def test_neither_number_is_the_distance_and_both_tend_to_it() -> None:
    """The cost from above, the regularised value from further above still, and each apart from the other."""
    p, q, D = problem()
    exact = emd(p, q, D).value
    before = np.inf
    for epsilon in (1.0, 0.3, 0.1, 0.03):
        with tz.no_grad():
            found = sinkhorn(p, q, D, epsilon=epsilon, iterations=1000)
        cost, regularised, plan = value(found.cost), value(found.regularised), found.plan.numpy()
        divergence = (plan * np.log(plan / np.outer(p, q))).sum()
        assert regularised == pytest.approx(cost + epsilon * divergence, rel=1e-9)
        assert exact < cost < before and cost + 0.9 * epsilon * divergence < regularised
        assert cost == pytest.approx((plan * D).sum(), rel=1e-12)
        before = cost
    assert before - exact < 0.01 * exact


def test_a_small_epsilon_overflows_nothing_and_warm_potentials_save_iterations() -> None:
    p, q, D = problem()
    warm: Any = None
    with tz.no_grad():
        for epsilon in np.geomspace(1, 1e-3, 12):
            found = sinkhorn(p, q, D, epsilon=float(epsilon), iterations=50, g=warm)
            warm = found.potentials[1]
        cold = sinkhorn(p, q, D, epsilon=1e-3, iterations=50)
    assert value(found.cost) == pytest.approx(emd(p, q, D).value, rel=2e-3)
    assert value(found.violation) < value(cold.violation) / 10
    assert np.isfinite(sinkhorn(p, q, 1e6 * D, epsilon=1e-3).plan.numpy()).all()


def test_every_iteration_raises_the_dual_bound_and_meets_the_columns() -> None:
    p, q, D = problem()
    bounds = []
    for iterations in (1, 2, 5, 20, 100):
        found = sinkhorn(p, q, D, epsilon=0.1, iterations=iterations)
        np.testing.assert_allclose(found.plan.numpy().sum(0), q, rtol=1e-12)
        assert value(found.violation) == pytest.approx(np.abs(found.plan.numpy().sum(1) - p).sum())
        bounds.append(value(found.regularised))
    assert all(a < b for a, b in itertools.pairwise(bounds))


def test_gradients_flow_through_the_iterations() -> None:
    p, q, D = problem(3, 4)
    for output in (lambda x: x.cost, lambda x: x.regularised + x.potentials[1][0]):
        check_gradients(
            lambda p, D, f=output: f(sinkhorn(p / p.sum(), q, D, epsilon=0.3, iterations=2)), 2 * p, D, order=2
        )


def test_the_gradient_of_the_regularised_value_is_the_plan() -> None:
    p, q, D = problem()
    cost = tz.tensor(D, requires_grad=True)
    found = sinkhorn(p, q, cost, epsilon=0.2, iterations=500)
    found.regularised.backward()
    np.testing.assert_allclose(cost.grad.numpy(), found.plan.numpy(), atol=1e-12)


def test_places_without_mass() -> None:
    p, q, D = problem()
    p, q = p * (np.arange(6) != 2), q * (np.arange(8) != 5)
    p, q = p / p.sum(), q / q.sum()
    cost = tz.tensor(D, requires_grad=True)
    found = sinkhorn(p, q, cost, epsilon=0.1, iterations=400)
    (found.cost + found.regularised).backward()
    assert not found.plan.numpy()[2].any() and not found.plan.numpy()[:, 5].any() and value(found.violation) < 1e-6
    assert np.isfinite(cost.grad.numpy()).all() and np.isfinite(found.potentials[0].numpy()).all()


def test_sinkhorn_moves_points_onto_others() -> None:
    """Descent on a differentiable cost."""
    draw = np.random.default_rng(0)
    target = tz.tensor(draw.standard_normal((20, 2)) + 3)
    x = tz.tensor(draw.standard_normal((20, 2)), requires_grad=True)
    optimizer = tz.optim.Adam([x], lr=0.3)
    ones, start = np.ones(20) / 20, None
    for _ in range(60):
        optimizer.zero_grad()
        cost = sinkhorn(ones, ones, tz.cdist(x, target), epsilon=0.1, iterations=20).cost
        cost.backward()
        optimizer.step()
        start = start or value(cost)
    assert emd(ones, ones, cdist(x.numpy(), target.numpy())).value < 0.15 * start


# ---- between samples
def samples(n: int = 30, m: int = 45, dim: int = 2) -> tuple[Any, Any]:
    draw = np.random.default_rng(1)
    return draw.standard_normal((n, dim)), 1.5 * draw.standard_normal((m, dim)) + 0.5


@pytest.mark.oracle("ot")
@pytest.mark.parametrize("p", [1, 2])
def test_sliced_distances_are_those_of_pot(p: int) -> None:
    x, y = samples()
    directions = np.random.default_rng(0).standard_normal((2, 16))
    found = sliced_wasserstein(x, y, p=p, n_projections=16, rng=np.random.default_rng(0))
    directions /= np.linalg.norm(directions, axis=0)
    assert value(found) == pytest.approx(
        float(ot.sliced_wasserstein_distance(x, y, projections=directions, p=p)), rel=1e-9
    )


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_one_dimension_has_one_slice(p: float) -> None:
    for n, m in ((7, 7), (6, 9), (5, 8), (1, 4)):
        x, y = samples(n, m, 1)
        found = sliced_wasserstein(x, y, p=p, n_projections=3, rng=np.random.default_rng(0))
        assert value(found) == pytest.approx(wasserstein_1d(x[:, 0], y[:, 0], p=p), rel=1e-12)


def test_equal_marginals_do_not_hide_a_difference() -> None:
    """The diagonal and the other one: sorted coordinates agree, the distributions do not."""
    t = np.linspace(-1, 1, 50)
    x, y = np.stack([t, t], 1), np.stack([t, -t], 1)
    assert np.allclose(np.sort(x, 0), np.sort(y, 0))
    assert value(sliced_wasserstein(x, y, rng=np.random.default_rng(0))) > 0.3
    assert value(energy_distance(x, y)) > 0.1


def test_energy_distance_is_that_of_scipy_and_unbiased_without_it() -> None:
    x, y = samples(30, 45, 1)
    expected = scipy.stats.energy_distance(x[:, 0], y[:, 0]) ** 2
    assert value(energy_distance(x, y, unbiased=False)) == pytest.approx(expected, rel=1e-9)
    draw = np.random.default_rng(0)
    nulls = [value(energy_distance(draw.standard_normal((6, 2)), draw.standard_normal((6, 2)))) for _ in range(400)]
    assert abs(np.mean(nulls)) < 3 * np.std(nulls) / 20 < 0.1 and min(nulls) < 0


def test_gradients_of_the_distances() -> None:
    x, y = samples(4, 6)
    check_gradients(lambda x, y: energy_distance(x, y), x, y, order=2)
    for p in (1.0, 2.0):
        check_gradients(
            lambda x, y, p=p: sliced_wasserstein(x, y, p=p, n_projections=3, rng=np.random.default_rng(0)),
            x,
            y,
            order=2,
        )


def test_sums_that_differ_by_rounding_are_one_and_whole_costs_leave_masses_whole() -> None:
    p, q, D = problem(300, 200)
    for dtype in ("float32", "float64"):
        masses = [x.astype(dtype) / x.astype(dtype).sum() for x in (p, q)]
        assert value(sinkhorn(*masses, D.astype(dtype), epsilon=1.0, iterations=2).violation) < 1
    assert value(sinkhorn([0.5, 0.5], [0.5, 0.5], [[0, 1], [1, 0]], epsilon=0.1).plan.sum()) == pytest.approx(1)


def test_masses_on_a_device_are_not_asked() -> None:
    p, q, D = (tz.tensor(x, device="cupysim") for x in problem())
    with forbid_sync():
        found = sinkhorn(p, q, D, epsilon=0.2, iterations=3)
    np.testing.assert_allclose(found.plan.numpy(), sinkhorn(*problem(), epsilon=0.2, iterations=3).plan.numpy())


# ---- errors
def test_errors() -> None:
    with pytest.raises(
        ShapeError, match=r"expected p \(n,\), q \(m,\) and D \(n, m\), got \(1,\), \(2,\) and \(1, 1\)"
    ):
        sinkhorn([1.0], [0.5, 0.5], tz.zeros(1, 1), epsilon=0.1)
    for epsilon, iterations in ((0.0, 10), (0.1, 0), (float("nan"), 10)):
        with pytest.raises(UsageError, match="without regularisation call emd"):
            sinkhorn([1.0], [1.0], tz.zeros(1, 1), epsilon=epsilon, iterations=iterations)
    for p, got in (([-0.5, 1.5], "-0.5 to 1.5"), ([np.inf, 0.0], "0 to inf"), ([np.nan, 1.0], "nan to nan")):
        with pytest.raises(UsageError, match=f"sinkhorn: expected finite masses p >= 0, got {got}"):
            sinkhorn(p, [1.0], tz.zeros(2, 1), epsilon=0.1)
    with pytest.raises(UsageError, match=r"p sums to 2\.0 and q to 1\.0: no plan .* write p / p\.sum\(\)"):
        sinkhorn([1.0, 1.0], [1.0], tz.zeros(2, 1), epsilon=0.1)
    with pytest.raises(ShapeError, match=r"got \(0,\), \(1,\) and \(0, 1\)"):
        sinkhorn(np.zeros(0), [1.0], tz.zeros(0, 1), epsilon=0.1)
    with pytest.raises(ShapeError, match=r"expected g of the shape of q, \(1,\), got \(2,\)"):
        sinkhorn([1.0], [1.0], tz.zeros(1, 1), epsilon=0.1, g=tz.zeros(2))
    with pytest.raises(ShapeError, match=r"energy_distance: expected samples \(n >= 1, d\)"):
        energy_distance(tz.zeros(3), tz.zeros(3))
    with pytest.raises(UsageError, match="unbiased takes two points of each, got 1 and 3"):
        energy_distance(tz.zeros(1, 2), tz.zeros(3, 2))
    with pytest.raises(DTypeError, match=r"sliced_wasserstein: rng .* write rng=numpy\.random\.default_rng\(0\)"):
        sliced_wasserstein(tz.zeros(1, 2), tz.zeros(3, 2))
    with pytest.raises(UsageError, match=r"expected p >= 1 and n_projections >= 1, got 0\.5 and 128"):
        sliced_wasserstein(tz.zeros(1, 2), tz.zeros(3, 2), p=0.5, rng=np.random.default_rng(0))


def test_the_exact_solver_is_reached_from_here() -> None:
    assert tz.optimal_transport is optimal_transport
    assert optimal_transport.emd is tz.algorithms.optimal_transport.emd

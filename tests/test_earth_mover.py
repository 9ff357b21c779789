"""The learnt bounds of the earth mover's distance: always on their sides of the exact value, and closing in."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import tinygrad_zoo as tz
from tinygrad_zoo.models.optimal_transport import earth_mover
from tinygrad_zoo.models.optimal_transport.earth_mover import RECIPE, bounds, epsilon_at, soft_transform
from tinygrad_zoo.optimal_transport import c_transform, emd, sinkhorn
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit


def problem(n: int = 6, m: int = 9) -> np.ndarray:
    draw = np.random.default_rng(0)
    return cdist(draw.standard_normal((n, 2)), draw.standard_normal((m, 2)) + 1)


def test_any_potential_and_any_plan_bound_the_exact_value() -> None:
    D, draw = problem(), np.random.default_rng(1)
    exact = emd(np.full(6, 1 / 6), np.full(9, 1 / 9), D).value
    for epsilon in (1.0, 0.1, 0.01):
        for _ in range(20):
            f = draw.standard_normal(6)
            below, above = bounds(f, soft_transform(f, D, epsilon)[1], D)
            assert below <= exact + 1e-12 and above >= exact - 1e-12
            assert below == pytest.approx(f.mean() + c_transform(D.T, f).mean(), rel=1e-12)
    f = emd(np.full(6, 1 / 6), np.full(9, 1 / 9), D).potentials[0]
    below, above = bounds(f, soft_transform(f, D, 1e-4)[1], D)
    assert below == pytest.approx(exact, rel=1e-9)  # the best potential is worth all of it


def test_the_plan_meets_the_columns_and_the_gradient_is_what_the_rows_lack() -> None:
    D = problem()
    f = tz.tensor(np.random.default_rng(2).standard_normal(6), requires_grad=True)
    g, plan = soft_transform(f, D, 0.3)
    (f.mean() + g.mean()).backward()
    np.testing.assert_allclose(plan.numpy().sum(0), 1 / 9, rtol=1e-12)
    np.testing.assert_allclose(f.grad.numpy(), 1 / 6 - plan.numpy().sum(1), rtol=1e-9, atol=1e-15)


def test_where_ascent_ends_sinkhorn_ends() -> None:
    D = problem()
    solved = sinkhorn(np.full(6, 1 / 6), np.full(9, 1 / 9), D, epsilon=0.3, iterations=500)
    _, plan = soft_transform(solved.potentials[0].numpy(), D, 0.3)
    np.testing.assert_allclose(plan, solved.plan.numpy(), atol=1e-12)
    np.testing.assert_allclose(plan.sum(1), 1 / 6, atol=1e-12)


def test_distances() -> None:
    x, y = np.random.default_rng(0).standard_normal((2, 5, 2))
    np.testing.assert_allclose(
        earth_mover.Potential(x).distances(tz.tensor(y[:3])).numpy(), cdist(x, y[:3]), rtol=1e-14
    )


def test_epsilon_falls_by_the_same_factor_each_step() -> None:
    config = RECIPE.config
    assert epsilon_at(config, 0) == config.epsilon
    assert epsilon_at(config, config.steps) == pytest.approx(config.last_epsilon)
    assert epsilon_at(config, 10) / epsilon_at(config, 9) == pytest.approx(
        epsilon_at(config, 1) / epsilon_at(config, 0)
    )


def test_a_short_run_closes_in(tmp_path: Path) -> None:
    assert find("G9") is find("earth_mover") is RECIPE
    run = fit(RECIPE, steps=60, out=tmp_path / "run", progress=False, overrides={"last_epsilon": 0.05})
    (nothing,) = run.baseline.values()
    assert run.metrics["gap"] < nothing / 2
    assert run.metrics["below"] < run.metrics["exact"] < run.metrics["above"] and run.metrics["exact_gap"] < 1e-12
    assert (run.out / "figure.png").stat().st_size > 10_000


@pytest.mark.train
def test_the_bar(tmp_path: Path) -> None:
    start = time.perf_counter()
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    gaps = [run.metrics["gap"] for run in runs]
    print(f"earth_mover gap: min {min(gaps):.5f} median {np.median(gaps):.5f} max {max(gaps):.5f}")
    print(f"baseline {runs[0].baseline}, {(time.perf_counter() - start) / len(runs):.0f} s a seed")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert all(run.metrics["exact_gap"] < 1e-9 for run in runs)

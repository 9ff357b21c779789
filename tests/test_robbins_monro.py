"""Roots, minima and regressions as stochastic approximation: the recipes of row E4 and what they claim."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from bars import report
from tinygrad_zoo import optim
from tinygrad_zoo.models.stochastic_approximation import kiefer_wolfowitz as kw
from tinygrad_zoo.models.stochastic_approximation import robbins_monro as rm
from tinygrad_zoo.models.stochastic_approximation import sgd_as_robbins_monro as sgd
from tinygrad_zoo.recipe import Recipe, find
from tinygrad_zoo.stochastic_approximation import PowerSteps, check_step_sizes, last, robbins_monro
from tinygrad_zoo.training import fit

RECIPES = (rm.RECIPE, kw.RECIPE, sgd.RECIPE)


def undrawn(recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
    return dataclasses.replace(recipe, figure=lambda state, path: path.write_bytes(b""))


@pytest.mark.train
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_the_bar(recipe: Recipe[Any, Any], tmp_path: Path) -> None:
    runs = [fit(recipe, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(recipe.bar.seeds)]
    report(recipe, runs)
    assert recipe.bar.holds(*(run.metrics for run in runs))
    assert all(value > 2 * recipe.bar.at_most for value in runs[0].baseline.values())


def test_the_row_has_three_systems() -> None:
    for recipe in RECIPES:
        assert find(recipe.name) is recipe and recipe.row == "E4"


# ---- Robbins-Monro
def test_robbins_monro_reaches_the_limit_and_its_counter_examples_do_not(tmp_path: Path) -> None:
    run = fit(undrawn(rm.RECIPE), out=tmp_path / "run", progress=False, steps=300, overrides={"runs": 500})
    k = 3000
    limit = rm.SIGMA / np.sqrt(k)
    assert run.metrics["rmse_harmonic"] == pytest.approx(limit, rel=0.1)
    assert run.metrics["rmse_averaged"] < 1.1 * limit
    assert run.metrics["rmse_stalling"] > 0.5
    assert run.metrics["rmse_hovering"] == pytest.approx(rm.SIGMA * np.sqrt(0.1 / 1.9), rel=0.1)
    assert run.metrics["rmse_near"] < 0.01 and run.metrics["rmse_far"] > rm.LOST
    lines = tmp_path.joinpath("run", "metrics.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == 300


def test_the_steps_of_the_recipe_are_those_of_one_call() -> None:
    """Ten updates a step, each going on at the k where the last one ended."""
    config = dataclasses.replace(rm.RECIPE.config, steps=3, runs=5)
    split = rm.RECIPE.data(config, np.random.default_rng(0))
    parts = rm.RECIPE.build(config, split, np.random.default_rng(0))
    state = tz.recipe.State(
        config=config, seed=0, rng=Silent(), data=split, model=parts.model, optimizers={}, schedules={},
        extras=parts.extras, device="cpu",
    )  # fmt: skip
    for k in range(3):
        rm.RECIPE.step(state, ())
        state.step = k + 1
    for name, steps in rm.STEPS.items():
        expected = last(robbins_monro(lambda w: np.tanh(w - 1), np.full(5, 3.0), steps, 30))
        np.testing.assert_allclose(parts.model.w[name].numpy(), expected, rtol=1e-14)


class Silent:
    """A generator of no noise."""

    def standard_normal(self, shape: Any) -> Any:
        return np.zeros(shape)


# ---- Kiefer-Wolfowitz
def test_kiefer_wolfowitz_falls_with_the_exponent_of_its_width(tmp_path: Path) -> None:
    run = fit(undrawn(kw.RECIPE), out=tmp_path / "run", progress=False, steps=100)
    assert run.metrics["slope_gap"] < 0.06
    slopes = [run.metrics[f"slope_{name}"] for name in ("third", "quarter", "sixth")]
    assert slopes == sorted(slopes, reverse=True)
    assert min(run.baseline.values()) > 0.3


@pytest.mark.parametrize(("gamma", "square_summable"), [(1 / 6, True), (1 / 3, True), (0.5, False), (0.6, False)])
def test_the_width_must_fall_slower_than_the_root_of_k(gamma: float, square_summable: bool) -> None:
    """Σ (a_k / c_k)² < ∞ with a_k = 1/k, c_k = k^-γ."""
    assert check_step_sizes(PowerSteps(1.0, 1.0 - gamma)).squares_converge is square_summable


# ---- SGD
@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_optimum_is_where_the_gradient_vanishes(loss: Any) -> None:
    split = sgd.RECIPE.data(sgd.Settings(loss=loss), np.random.default_rng(0))
    x, y = (array.astype(np.float64) for array in split.train)
    best = sgd.optimum(x, y, loss)
    model = tz.nn.Linear(x.shape[1], 1, rng=np.random.default_rng(0)).to("float64")
    model.weight.data, model.bias.data = best[None, :-1].copy(), best[-1:].copy()
    sgd.penalised(model, x, y, loss).backward()
    assert max(float(abs(p.grad).max()) for p in model.parameters()) < 1e-12


def test_the_optimum_is_that_of_lstsq_and_of_sklearn() -> None:
    from sklearn.linear_model import LinearRegression, LogisticRegression

    x, y = sgd.RECIPE.data(sgd.Settings(loss="squared"), np.random.default_rng(0)).train
    theirs = LinearRegression().fit(x.astype(np.float64), y)
    np.testing.assert_allclose(sgd.optimum(x, y, "squared"), [*theirs.coef_, theirs.intercept_], rtol=1e-7, atol=1e-9)
    x, y = sgd.RECIPE.data(sgd.Settings(loss="logistic"), np.random.default_rng(0)).train
    ones = np.column_stack([x, np.ones(len(x))])  # so that the bias is penalised too, as ours is
    inverse = 1 / (sgd.DECAY["logistic"] * len(y))
    theirs = LogisticRegression(C=inverse, fit_intercept=False, tol=1e-10, max_iter=5000).fit(ones, y)
    np.testing.assert_allclose(sgd.optimum(x, y, "logistic"), theirs.coef_[0], rtol=1e-5, atol=1e-6)


def test_an_update_of_sgd_is_a_step_of_robbins_monro() -> None:
    """optim.SGD with a_k on one example at a time, beside robbins_monro with g̃(w) = ∇f(w, x_k): the same iterates."""
    x, y = sgd.RECIPE.data(sgd.Settings(loss="squared"), np.random.default_rng(0)).train
    x, y = np.column_stack([x, np.ones(len(x))]).astype(np.float64), y.astype(np.float64)
    steps, order = PowerSteps(1.0, 1.0, shift=50.0), np.random.default_rng(1).integers(0, len(x), 200)
    w = tz.tensor(np.zeros(x.shape[1]), requires_grad=True)
    optimizer = optim.SGD([w], lr=1.0)
    schedule = optim.LambdaLR(optimizer, lambda k: steps(k + 1))
    for i in order:
        optimizer.zero_grad()
        (((tz.tensor(x[i]) * w).sum() - y[i]) ** 2 / 2).backward()
        optimizer.step()
        schedule.step()
    drawn = iter(order)

    def gradient(w: Any) -> Any:
        i = next(drawn)
        return (x[i] @ w - y[i]) * x[i]

    np.testing.assert_allclose(w.numpy(), last(robbins_monro(gradient, np.zeros(x.shape[1]), steps, 200)), rtol=1e-10)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_the_relative_error_of_a_gradient_is_within_its_bound(loss: Any) -> None:
    """δ = ‖∇̃f − ∇f‖ / ‖∇f‖ ≤ ‖∇̃f − ∇f‖ / (c ‖w − w*‖): small far from w*, without bound close to it."""
    config = sgd.Settings(loss=loss)
    split = sgd.RECIPE.data(config, np.random.default_rng(0))
    state = tz.recipe.State(
        config=config, seed=0, rng=np.random.default_rng(1), data=split,
        model=sgd.RECIPE.build(config, split, np.random.default_rng(0)).model, optimizers={}, schedules={}, extras={},
        device="cpu",
    )  # fmt: skip
    away, errors, bound = sgd.gradient_errors(state)
    assert (errors <= bound).all() and errors[0] > 100 * errors[-1]
    np.testing.assert_allclose(away[[0, -1]] / np.linalg.norm(state.model.best.numpy()), [1e-3, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("size", "a", "n", "near"), [(1, 8.0, 4000, 0.2), (16, 8.0, 1000, 0.12), (143, 30.0, 400, 3e-3)]
)
def test_linear_regression_by_sgd_ends_at_lstsq(size: int, a: float, n: int, near: float) -> None:
    """optim.SGD by steps a/(k + 100), on one example at a time, some, or all."""
    x, y = sgd.RECIPE.data(sgd.Settings(loss="squared"), np.random.default_rng(0)).train
    expected, _, _, _ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y, rcond=None)
    layer, draw = tz.nn.Linear(x.shape[1], 1, rng=np.random.default_rng(0)), np.random.default_rng(2)
    steps, optimizer = PowerSteps(a, 1.0, shift=100.0), optim.SGD(layer.parameters(), lr=1.0)
    schedule = optim.LambdaLR(optimizer, lambda k: steps(k + 1))
    for _ in range(n):
        some = draw.permutation(len(x))[:size]
        optimizer.zero_grad()
        sgd.penalised(layer, tz.tensor(x[some]), tz.tensor(y[some]), "squared").backward()
        optimizer.step()
        schedule.step()
    found = np.append(layer.weight.numpy(), layer.bias.numpy())
    distance = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    print(f"{size} of {len(x)}: {distance:.4f}")
    assert len(x) == 143 and distance < near


def test_the_averaging_sets_differ_in_nothing_else(tmp_path: Path) -> None:
    """On a batch that is all of the data, BGD and MBGD do the same."""
    config = dataclasses.replace(sgd.RECIPE.config, steps=5)
    n = len(sgd.RECIPE.data(config, np.random.default_rng(0)).train[0])
    run = fit(undrawn(sgd.RECIPE), out=tmp_path / "run", progress=False, steps=5, overrides={"batch_size": n})
    assert run.metrics["distance_batch"] == pytest.approx(run.metrics["distance_minibatch"], rel=1e-5)
    assert run.metrics["distance"] != pytest.approx(run.metrics["distance_batch"], rel=1e-3)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_sgd_gets_nearer_and_gradients_reach_every_parameter(loss: str, tmp_path: Path) -> None:
    config = sgd.Settings(loss=loss)
    split = sgd.RECIPE.data(config, np.random.default_rng(0))
    parts = sgd.RECIPE.build(config, split, np.random.default_rng(0))
    for name in sgd.SETS:
        sgd.penalised(parts.model.maps[name], parts.model.x, parts.model.y, loss).backward()
    assert all(np.abs(p.grad.numpy()).max() > 1e-6 for p in parts.model.maps[name].parameters())
    run = fit(undrawn(sgd.RECIPE), out=tmp_path / "run", progress=False, steps=150, overrides={"loss": loss})
    assert run.metrics["distance"] < 0.7 and run.metrics["distance_batch"] < 0.7

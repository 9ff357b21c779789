"""A Gaussian fitted to two modes: closed forms, a minimiser of SciPy's, and which divergence covers, which seeks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import scipy.stats

import autoregressive_laws as laws
import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.models.autoregressive import mode_seeking
from tinygrad_zoo.models.autoregressive.mode_seeking import DIVERGENCES, GRID, MEAN, MEANS, RECIPE, STD, STDS, Gaussians
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
X, P_DENSITY, P_CUMULATIVE = RECIPE.data(RECIPE.config, np.random.default_rng(0)).test


def value(name: str, loc: float, scale: float) -> float:
    q, cumulative = scipy.stats.norm.pdf(X, loc, scale), scipy.stats.norm.cdf(X, loc, scale)
    return float(DIVERGENCES[name](tz.tensor(P_DENSITY), tz.tensor(q), tz.tensor(P_CUMULATIVE), tz.tensor(cumulative)))


@pytest.fixture(scope="module")
def state() -> Any:
    """A whole run."""
    config = RECIPE.config
    data, rng = RECIPE.data(config, np.random.default_rng(0)), np.random.default_rng(1)
    parts = RECIPE.build(config, data, rng)
    state = State(config=config, seed=0, rng=rng, data=data, device="cpu", **vars(parts))
    for _ in range(config.steps):
        RECIPE.step(state, tuple(tz.tensor(column) for column in data.train))
    return state


def test_the_density_is_one_with_the_moments_that_it_is_said_to_have() -> None:
    cell = GRID[1] - GRID[0]
    assert P_DENSITY.sum() * cell == pytest.approx(1, abs=1e-12)
    assert (P_DENSITY * X).sum() * cell == pytest.approx(MEAN, abs=1e-12)
    assert ((P_DENSITY * (X - MEAN) ** 2).sum() * cell) ** 0.5 == pytest.approx(STD, abs=1e-12)
    np.testing.assert_allclose(np.gradient(P_CUMULATIVE, cell)[1:-1], P_DENSITY[1:-1], atol=2e-3)


def test_wasserstein_is_the_distance_of_quantiles() -> None:
    """∫ |F⁻¹ - G⁻¹|; the farther of two samples of one shape is their shift."""
    levels = (np.arange(4000) + 0.5) / 4000
    quantiles = np.interp(levels, P_CUMULATIVE, X)
    for loc, scale in ((0.0, 1.0), (-3.0, 0.6), (1.0, 3.0)):
        expected = scipy.stats.wasserstein_distance(quantiles, scipy.stats.norm.ppf(levels, loc, scale))
        assert value("Wasserstein", loc, scale) == pytest.approx(expected, rel=2e-3)
    one, other = (tz.tensor(scipy.stats.norm.cdf(X, loc, 1.0)) for loc in (-1.0, 2.5))
    assert mode_seeking.wasserstein(None, None, one, other).item() == pytest.approx(3.5, rel=1e-9)


def test_kl_covers_and_its_reverse_seeks(state: Any) -> None:
    metrics = RECIPE.evaluate(state)
    assert metrics["covering"] < 1e-2 and metrics["seeking"] < 1e-2 and RECIPE.bar.holds(metrics)
    assert metrics["modes_chosen"] == 2  # each of them from some start
    assert RECIPE.baseline(state.data) == {"the heavier mode": pytest.approx(STD - STDS[0])}
    assert mode_seeking.distance(np.array([[MEAN, STD], [MEAN, STD + 0.2]]), (MEAN, STD), (9, 9)) == pytest.approx(0.2)


def test_the_closed_form_is_where_scipy_finds_the_minimum() -> None:
    for name, start, expected in (
        ("KL(p‖q)", (1.0, 1.5), (MEAN, STD)),
        ("KL(q‖p)", (-2.0, 1.0), (MEANS[0], STDS[0])),
        ("KL(q‖p)", (2.0, 1.0), (MEANS[1], STDS[1])),
    ):
        found = scipy.optimize.minimize(lambda at, name=name: value(name, *at), start, method="Nelder-Mead")
        np.testing.assert_allclose(found.x, expected, atol=5e-3)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_they_end_in_minima(state: Any, name: str) -> None:
    """No step to any side of where a start ended leads lower, by more than what is left of the way there."""
    for loc, scale in mode_seeking.fitted(state.model)[name]:
        around = [value(name, loc + 0.1 * np.cos(a), scale + 0.1 * np.sin(a)) for a in np.arange(8) * np.pi / 4]
        assert min(around) > value(name, loc, scale) - 1e-4


@pytest.mark.oracle("torch")
def test_torch_values_and_gradients() -> None:
    draw = np.random.default_rng(3)
    model = Gaussians(draw.uniform(-3, 3, (5, 4)), draw.uniform(0.5, 2, (5, 4)))
    leaves = [torch.tensor(p.numpy(), requires_grad=True) for p in (model.loc, model.log_scale)]
    normal = torch.distributions.Normal(leaves[0][..., None], leaves[1].exp()[..., None])
    x, p, P = (torch.tensor(column) for column in (X, P_DENSITY, P_CUMULATIVE))
    q, Q = normal.log_prob(x).exp(), normal.cdf(x)
    cell, half = GRID[1] - GRID[0], (p + q[2]) / 2
    expected = [
        (p * (p.log() - q[0].log())).sum(-1) * cell,
        (q[1] * (q[1].log() - p.log())).sum(-1) * cell,
        0.5 * ((p * (p / half).log()).sum(-1) + (q[2] * (q[2] / half).log()).sum(-1)) * cell,
        0.5 * (p - q[3]).abs().sum(-1) * cell,
        (P - Q[4]).abs().sum(-1) * cell,
    ]
    weights = draw.standard_normal((5, 4))
    (torch.stack(expected) * torch.tensor(weights)).sum().backward()
    ours_q, ours_Q = model(tz.tensor(X))
    given = tz.tensor(P_DENSITY), tz.tensor(P_CUMULATIVE)
    ours = [d(given[0], ours_q[i], given[1], ours_Q[i]) for i, d in enumerate(DIVERGENCES.values())]
    (tz.stack(*ours) * weights).sum().backward()
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9)
    for mine, theirs in zip((model.loc, model.log_scale), leaves, strict=True):
        np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_the_recipe_runs(tmp_path: Path) -> None:
    run = fit(RECIPE, out=tmp_path / "run", progress=False, steps=30)
    assert find("mode_seeking") is RECIPE and laws.ratio_of_losses(RECIPE, run) < 0.8
    assert (run.out / "figure.png").stat().st_size > 10_000


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    laws.report(RECIPE, runs)

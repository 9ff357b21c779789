"""Row G2: a Gaussian fitted by single samples; the pathwise gradient's variance against the score function's."""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import gradient_estimators as estimators
from tinygrad_zoo.distributions import Normal
from tinygrad_zoo.models.estimators.gaussian_fit import AT, METHODS, RECIPE, TARGET, Gaussian, derivatives, excess
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_some_steps_bring_the_divergence_down(tmp_path: Path) -> None:
    assert find("gaussian_fit") is RECIPE and find("G2") is RECIPE
    run = fit(UNDRAWN, out=tmp_path / "run", steps=60, progress=False)
    start = RECIPE.baseline(RECIPE.data(RECIPE.config, rng()))["N(0, 1)"]
    assert start == 1.5 and run.metrics["error"] < 1.2
    again = fit(UNDRAWN, out=tmp_path / "again", steps=60, progress=False)
    assert again.metrics == run.metrics


@pytest.mark.parametrize("name", METHODS)
def test_gradients_reach_both_parameters(name: str) -> None:
    model, p = Gaussian(), Normal(*TARGET)
    q = model()
    getattr(estimators, name)(excess(q, p), q, rng=rng()).backward()
    assert all(x.grad.numpy() != 0 for x in model.parameters())


def test_the_scale_is_positive_whatever_the_parameter() -> None:
    model = Gaussian()
    for rho in (-20.0, -1.0, 0.0, 5.0):
        model.rho.data = np.array(rho, np.float32)
        assert float(model().scale) == pytest.approx(math.log1p(math.exp(rho)), rel=1e-5)


def test_the_estimates_are_right_on_average_and_their_variances_are_the_closed_forms() -> None:
    for name, variance in (("pathwise", 4.0), ("score_function", AT**4 + 14 * AT**2 + 15)):
        found = derivatives(name, AT, 100_000, rng())
        assert abs(found.mean() - 2 * AT) < 3 * found.std() / math.sqrt(len(found))
        assert found.var() == pytest.approx(variance, rel=0.05)
    path, score = (derivatives(name, AT, 100_000, rng(1)).var() for name in METHODS)
    print(f"variance ratio {score / path:.1f}")
    assert score >= 10 * path


def test_at_the_target_every_single_gradient_is_nothing() -> None:
    p = Normal(np.full((50,), 1.5), np.full((50,), 0.6))
    for name in METHODS:
        loc, scale = (tz.tensor(x.numpy(), requires_grad=True) for x in (p.loc, p.scale))
        q = Normal(loc, scale)
        getattr(estimators, name)(excess(q, p), q, rng=rng()).sum().backward()
        for x in (loc, scale):
            np.testing.assert_allclose(x.grad.numpy(), 0, atol=1e-12)


@pytest.mark.oracle("torch")
def test_a_single_sample_has_torchs_gradients() -> None:
    model: Any = Gaussian().to("float64")
    model.loc.data, model.rho.data = np.array(0.3), np.array(-0.4)
    q, p = model(), Normal(*(tz.tensor(x, "float64") for x in TARGET))
    value = estimators.pathwise(excess(q, p), q, 3, rng=rng())
    value.backward()
    noise = Normal(np.zeros(()), np.ones(())).sample((3,), rng=rng()).numpy()
    loc, rho = (torch.tensor(x.numpy(), requires_grad=True) for x in (model.loc, model.rho))
    theirs = torch.distributions.Normal(loc, torch.nn.functional.softplus(rho))
    target = torch.distributions.Normal(*(torch.tensor(x, dtype=torch.float64) for x in TARGET))
    z = theirs.loc + theirs.scale * torch.tensor(noise)
    fixed = torch.distributions.Normal(theirs.loc.detach(), theirs.scale.detach())
    expected = (fixed.log_prob(z) - target.log_prob(z)).mean()
    expected.backward()
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-9)
    for a, b in ((model.loc, loc), (model.rho, rho)):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9)


@pytest.mark.train
def test_the_bar(tmp_path: Path) -> None:
    began, runs = time.perf_counter(), []
    for seed in range(RECIPE.bar.seeds):
        runs.append(fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False).metrics)
    errors = [run["error"] for run in runs]
    seconds = (time.perf_counter() - began) / len(runs)
    print(f"\nerror min {min(errors):.4f} median {np.median(errors):.4f} baseline 1.5; {seconds:.1f} s a seed; {runs}")
    assert RECIPE.bar.holds(*runs)
    assert all(run["variance_ratio"] >= 10 for run in runs)

"""A drifting mean by 1/k and by a constant step: the recipe and what it claims."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bars import report
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.stochastic_approximation import incremental_mean as system
from tinygrad_zoo.models.stochastic_approximation.incremental_mean import FACES, MEAN, RECIPE, VARIANCE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.stochastic_approximation import RunningMoments, incremental_mean, last
from tinygrad_zoo.training import fit


def test_the_expectation_of_a_finite_support() -> None:
    """E[X] = Σ p_i x_i: what the mean of the rolls tends to, within its standard error."""
    assert (FACES / 6).sum() == pytest.approx(MEAN) and (FACES**2 / 6).sum() - MEAN**2 == pytest.approx(VARIANCE)
    rolls = np.random.default_rng(0).choice(FACES, (500, 400))
    final = last(incremental_mean(rolls))
    assert abs(final.mean() - MEAN) < 4 * np.sqrt(VARIANCE / rolls.size)
    assert final.var(ddof=1) == pytest.approx(VARIANCE / 500, rel=0.3)


@pytest.mark.parametrize("alpha", [0.02, 0.1, 0.5])
def test_the_variance_of_a_constant_step(alpha: float) -> None:
    """σ²α/(2−α), by 2000 replicates, the first 5/α steps dropped."""
    draw, drop = np.random.default_rng(1), int(5 / alpha)
    estimates = incremental_mean((draw.standard_normal(2000) for _ in range(drop + 400)), alpha, start=np.zeros(2000))
    moments = RunningMoments()
    for k, w in enumerate(estimates):
        if k >= drop:
            moments.extend(w)
    assert float(moments.variance()) == pytest.approx(alpha / (2 - alpha), rel=0.05)


@pytest.mark.parametrize("seeds", [1, pytest.param(RECIPE.bar.seeds, marks=pytest.mark.train)])
def test_the_recipe_meets_its_bar(seeds: int, tmp_path: Path) -> None:
    assert find("e3") is find("incremental_mean") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(seeds)]
    report(RECIPE, runs)
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.metrics["error_tracking"] < 0.4 < 1.3 < run.metrics["error_exact"]  # only one follows the drift
        assert all(gap > 0.9 for gap in run.baseline.values())


def test_a_run_of_another_alpha_is_judged_by_its_own_variance(tmp_path: Path) -> None:
    run = fit(RECIPE, out=tmp_path / "run", progress=False, steps=600, overrides={"alpha": 0.2})
    assert run.metrics["variance_expected"] == pytest.approx(system.VARIANCE * 0.2 / 1.8)
    assert run.metrics["variance_gap"] < 0.05
    with pytest.raises(UsageError, match="0 < alpha < 1 and batch_size = 1"):
        fit(RECIPE, out=tmp_path / "wrong", progress=False, overrides={"alpha": 1.0})


def test_a_resumed_run_is_bitwise_the_same(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"progress": False, "steps": 120, "overrides": {"runs": 50}}
    recipe = dataclasses.replace(RECIPE, figure=lambda state, path: path.write_bytes(b""))
    whole = fit(recipe, out=tmp_path / "whole", **settings)
    advanced, parts = [], tmp_path / "parts"

    def stopping(state: Any, batch: Any) -> Any:
        advanced.append(state.step)
        if len(advanced) == 115:
            raise KeyError("stopped")
        return RECIPE.step(state, batch)

    with pytest.raises(KeyError):
        fit(dataclasses.replace(recipe, step=stopping), out=parts, checkpoint_every=110, **settings)
    resumed = fit(recipe, out=parts, resume=True, **settings)
    assert resumed.metrics == whole.metrics and whole.metrics["variance_gap"] < 0.5
    assert (parts / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()

"""The digits MLP: its bar over five seeds, and what it is made of."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tinygrad_zoo as tz
from tinygrad_zoo.models.classification.digits_mlp import MLP, RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit


def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("digits_mlp") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    best = max(runs[0].baseline.values())
    assert 0.85 < runs[0].baseline["nearest centroid"] < runs[0].baseline["logistic regression"] == best < 0.965
    assert RECIPE.bar.value(*(run.metrics for run in runs)) > best
    assert all((run.out / "figure.png").stat().st_size > 10_000 for run in runs)


def test_the_network() -> None:
    model = MLP(64, 128, 128, 10, dropout=0.5, rng=np.random.default_rng(0))
    assert [type(x).__name__ for x in model.net] == ["Linear", "ReLU", "Dropout"] * 2 + ["Linear"]
    assert sum(x.size for x in model.parameters()) == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10
    x = tz.ones((3, 64))
    assert not np.array_equal(model(x).numpy(), model(x).numpy())  # dropout
    model.eval()
    assert np.array_equal(model(x).numpy(), model(x).numpy())


def test_an_untrained_network_misses_the_bar() -> None:
    split = RECIPE.data(RECIPE.config, np.random.default_rng(0))
    model = RECIPE.build(RECIPE.config, split, np.random.default_rng(0)).model.eval()
    x, y = split.test
    accuracy = float((model(x).numpy().argmax(axis=1) == y).mean())
    assert not RECIPE.bar.holds(*[{"test_accuracy": accuracy}] * RECIPE.bar.seeds)

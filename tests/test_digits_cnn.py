"""The digits CNN: its bar over five seeds, and what it is made of."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.models.classification import digits_mlp
from tinygrad_zoo.models.classification.digits_cnn import CNN, RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, baseline=lambda data: {}, figure=lambda state, path: None)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("digits_cnn") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(1, RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert set(runs[0].baseline) == {"nearest centroid", "logistic regression", "nearest image"}
    assert RECIPE.bar.value(*(run.metrics for run in runs)) > max(runs[0].baseline.values())
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


def test_the_network() -> None:
    model = CNN(dropout=0.5, rng=np.random.default_rng(0))
    assert [type(x).__name__ for x in model.features] == ["Conv2d", "BatchNorm2d", "ReLU"] * 3
    maps = 9 * (1 * 16 + 16 * 32 + 32 * 64) + 2 * (16 + 32 + 64)
    assert sum(x.size for x in model.parameters()) == maps + 1024 * 10 + 10
    x = tz.tensor(np.random.default_rng(1).random((3, 1, 8, 8), np.float32))
    assert not np.array_equal(model(x).numpy(), model(x).numpy())  # dropout
    model.eval()
    assert np.array_equal(model(x).numpy(), model(x).numpy())
    assert np.allclose(model(x[:1]).numpy(), model(x).numpy()[:1], atol=1e-5)  # an image alone is read as among others


def test_the_images_are_those_of_the_perceptron_with_the_same_linear_baselines() -> None:
    rng = np.random.default_rng(0)
    split, flat = RECIPE.data(RECIPE.config, rng), digits_mlp.RECIPE.data(digits_mlp.RECIPE.config, rng)
    for (x, y), (pixels, labels) in zip(split.parts().values(), flat.parts().values(), strict=True):
        assert x.shape == (len(y), 1, 8, 8)
        assert np.array_equal(x.reshape(-1, 64), pixels) and np.array_equal(y, labels)
    (x, y), (x_test, y_test) = flat.train, flat.test
    nearest = np.array([y[((x - image) ** 2).sum(axis=1).argmin()] for image in x_test])
    expected = {**digits_mlp.baseline(flat), "nearest image": float((nearest == y_test).mean())}
    assert RECIPE.baseline(split) == expected


def test_an_untrained_network_misses_the_bar() -> None:
    split = RECIPE.data(RECIPE.config, np.random.default_rng(0))
    model = RECIPE.build(RECIPE.config, split, np.random.default_rng(0)).model.eval()
    x, y = split.test
    accuracy = float((model(x).numpy().argmax(axis=1) == y).mean())
    assert not RECIPE.bar.holds(*[{"test_accuracy": accuracy}] * RECIPE.bar.seeds)

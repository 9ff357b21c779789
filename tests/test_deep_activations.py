"""Twenty layers of one activation: the bar, sigmoids that stay at chance, dead units, and how each network starts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.classification.activations import (
    RECIPE,
    SCALAR,
    DeepMLP,
    Settings,
    accuracy,
    dead_share,
    gain,
    gallery,
    gradient_norms,
    learn,
)
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

DATA = RECIPE.data(RECIPE.config, np.random.default_rng(0))
UNDRAWN = dataclasses.replace(RECIPE, baseline=lambda data: {}, figure=lambda state, path: None)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("activations") is RECIPE and find("P3") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(1, RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert 0.05 < runs[0].baseline["most frequent digit"] < 0.15
    assert runs[0].baseline["twenty layers of sigmoids"] < 0.2
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


@pytest.mark.parametrize("seed", range(3))
def test_sigmoids_stay_near_chance_where_others_learn(seed: int) -> None:
    reached = {
        name: accuracy(learn(Settings(activation=name), DATA, seed)[0], *DATA.test)
        for name in ("sigmoid", "relu", "gelu", "selu")
    }
    assert reached.pop("sigmoid") < 0.2
    assert min(reached.values()) >= 0.85, reached


@pytest.mark.parametrize("seed", range(3))
def test_too_large_a_rate_kills_units_of_relu_and_none_of_leaky_relu(seed: int) -> None:
    shares = {
        name: dead_share(learn(Settings(activation=name, lr=0.1), DATA, seed)[0], DATA.train[0])
        for name in ("relu", "leaky_relu")
    }
    assert shares["relu"] > 0.5 and shares["leaky_relu"] == 0
    untrained = DeepMLP(64, *[64] * 19, 10, activation="relu", rng=np.random.default_rng(seed))
    assert dead_share(untrained, DATA.train[0]) < 0.25


def test_a_unit_is_dead_where_its_slope_is_0_on_every_row() -> None:
    model = DeepMLP(2, 3, 2, activation="relu", rng=np.random.default_rng(0))
    first = model.layers[0]
    first.weight.data[...] = [[1, 0], [-1, -1], [1, 1]]
    first.bias.data[...] = [0, 0, -10]
    x = np.array([[1.0, 2.0], [3.0, 1.0], [0.5, 4.0]], "float32")
    assert dead_share(model, x) == pytest.approx(2 / 3)
    first.bias.data[...] = [0, 3.5, -4.4]  # the second unit is on for the first row alone, the third for the last
    assert dead_share(model, x) == 0
    assert dead_share(DeepMLP(2, 3, 2, activation="step", rng=np.random.default_rng(0)), x) == 1


def test_the_gradient_of_sigmoids_vanishes_and_that_of_selu_does_not() -> None:
    def ratio(name: str) -> float:
        model = DeepMLP(64, *[64] * 19, 10, activation=name, rng=np.random.default_rng(0))
        norms = gradient_norms(model, *[array[:128] for array in DATA.train])
        assert len(norms) == 20 and all(x.grad is None for x in model.parameters())
        return norms[0] / norms[-1]

    assert ratio("sigmoid") < 1e-6
    assert all(0.05 < ratio(name) < 20 for name in ("relu", "gelu", "selu"))


def test_each_network_starts_with_the_second_moment_kept() -> None:
    init = nn.init.calculate_gain
    assert gain(SCALAR["relu"]) == pytest.approx(init("relu"), rel=1e-6)
    assert gain(SCALAR["leaky_relu"]) == pytest.approx(init("leaky_relu"), rel=1e-6)
    assert gain(SCALAR["selu"]) == pytest.approx(1, rel=1e-6)
    x = np.random.default_rng(1).standard_normal((2000, 300)).astype("float32")
    for name in SCALAR:
        model = DeepMLP(300, 300, 300, 10, activation=name, rng=np.random.default_rng(0)).eval()
        first, second = model.layers[:2]
        z = second(model.activations[0](first(tz.tensor(x)) / gain(SCALAR[name])))  # N(0, 1) comes to the activation
        assert float((z.numpy() ** 2).mean()) == pytest.approx(1, rel=0.15), name


@pytest.mark.parametrize("name", SCALAR)
def test_every_activation_trains(name: str) -> None:
    model, losses = learn(Settings(activation=name, steps=3, depth=4), DATA, seed=0)
    assert len(losses) == 3 and np.isfinite(losses).all() and not model.training
    assert [type(x) for x in model.activations] == [SCALAR[name].module] * 3


def test_an_unknown_activation_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean gelu"):
        DeepMLP(2, 2, 2, activation="gleu", rng=np.random.default_rng(0))
    with pytest.raises(UsageError, match="maxout"):
        learn(Settings(activation="maxout"), DATA, seed=0)


@pytest.mark.parametrize("name", ["step", "swish"])
def test_the_figure_is_drawn_also_of_a_function_without_slope(name: str, tmp_path: Path) -> None:
    short = dataclasses.replace(RECIPE, baseline=lambda data: {})
    run = fit(short, overrides={"activation": name, "depth": 3}, steps=2, out=tmp_path / name, progress=False)
    assert (run.out / "figure.png").stat().st_size > 10_000
    model = DeepMLP(64, 8, 8, 10, activation="step", rng=np.random.default_rng(0))
    *before, last = gradient_norms(model, *[array[:20] for array in DATA.train])
    assert before == [0.0, 0.0] and last > 0


def test_a_network_without_a_hidden_layer_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a hidden layer, got \(64, 10\)"):
        learn(Settings(depth=1), DATA, seed=0)


def test_the_gallery_shows_them_all(tmp_path: Path) -> None:
    gallery(tmp_path / "gallery.png")
    assert (tmp_path / "gallery.png").stat().st_size > 50_000

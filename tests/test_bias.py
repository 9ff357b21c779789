"""A bias as a threshold that is learnt: the statements of row P2 and its recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from bars import report
from tinygrad_zoo import nn, ops
from tinygrad_zoo.errors import DTypeError, ShapeError
from tinygrad_zoo.models.perceptron import fold_bias, threshold_sweep
from tinygrad_zoo.models.perceptron.bias import (
    FEATURE,
    GRID,
    RECIPE,
    best_of_grid,
    gradient_before_batch_norm,
    learnt_unit,
    through_zero,
)
from tinygrad_zoo.models.perceptron.iris import FEATURES, iris
from tinygrad_zoo.recipe import find
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_a_bias_is_a_weight_on_a_constant_input() -> None:
    layer, x = nn.Linear(4, 3, rng=rng()).to("float64"), rng(1).standard_normal((7, 4))
    folded = fold_bias(layer.weight, layer.bias)
    ones = np.column_stack([x, np.ones(7)])
    np.testing.assert_allclose(ops.linear(ones, folded).numpy(), layer(x).numpy(), rtol=1e-14)
    check_gradients(fold_bias, tz.tensor(rng(2).standard_normal((3, 4))), tz.tensor(rng(3).standard_normal(3)), order=1)
    with pytest.raises(ShapeError, match=r"fold_bias: expected weight \(out, in\) and bias \(out,\)"):
        fold_bias(layer.weight, np.zeros(4))
    assert fold_bias(layer.weight.tolist(), layer.bias.tolist()).shape == (3, 5)
    free = nn.Linear(4, 3, bias=False, rng=rng())
    with pytest.raises(DTypeError, match=r"fold_bias: expected bias \(out,\), got None: .* write that"):
        fold_bias(free.weight, free.bias)


def test_a_higher_threshold_fires_less() -> None:
    x, weight = rng(4).standard_normal((500, 3)), rng(5).standard_normal(3)
    thresholds = np.linspace(-12, 12, 241)
    shares = threshold_sweep(x, weight, thresholds)
    assert (np.diff(shares) <= 0).all() and shares[0] == 1 and shares[-1] == 0
    np.testing.assert_allclose(shares, [(x @ weight > t).mean() for t in thresholds], rtol=0, atol=1e-15)


@pytest.mark.parametrize("seed", range(3))
def test_a_learnt_threshold_is_no_worse_than_the_best_of_a_grid(seed: int) -> None:
    unit, feature, fires = learnt_unit(seed)
    assert np.array_equal(feature, iris(FEATURE)[0][:, 0])
    learnt = ((unit(feature[:, None]).numpy()[:, 0] > 0) == fires).mean()
    best, grid, accuracies = best_of_grid(feature, fires, GRID)
    assert len(grid) == GRID and accuracies.max() == best
    assert learnt >= best > 2 / 3  # what never firing gives


def test_the_best_of_a_grid_is_that_of_units_with_fixed_thresholds() -> None:
    feature, fires = iris(FEATURE)[0], iris()[1] == 1
    best, grid, accuracies = best_of_grid(feature[:, 0], fires, GRID)
    for t, accuracy in zip(grid, accuracies, strict=True):
        found = []
        for sign in (1.0, -1.0):
            unit = nn.ThresholdUnit(1)
            unit.weight.data, unit.bias.data = np.array([[sign]]), np.array([-sign * t])
            found.append(((unit(feature).numpy()[:, 0] > 0) == fires).mean())
        assert max(found) == pytest.approx(accuracy)
    assert FEATURE in FEATURES and best == accuracies.max()


def test_a_bias_before_batch_norm_has_no_gradient() -> None:
    assert all(gradient_before_batch_norm(rng(seed)) <= 1e-12 for seed in range(5))
    layer, norm = nn.Linear(5, 4, rng=rng()).to("float64"), nn.BatchNorm1d(4).to("float64")
    x = rng(1).standard_normal((32, 5))
    before = norm(layer(x)).numpy().copy()
    layer.bias.data = layer.bias.data + rng(2).standard_normal(4)
    np.testing.assert_allclose(norm(layer(x)).numpy(), before, rtol=1e-10, atol=1e-12)  # nor any effect
    (ops.tanh(layer(x)) ** 2).sum().backward()
    assert np.abs(layer.bias.grad.numpy()).min() > 1e-3  # without the normalisation it has


@pytest.mark.oracle("torch")
def test_the_gradients_before_batch_norm_are_those_of_torch() -> None:
    ours, norm = nn.Linear(5, 4, rng=rng()).to("float64"), nn.BatchNorm1d(4).to("float64")
    theirs, their_norm = torch.nn.Linear(5, 4).double(), torch.nn.BatchNorm1d(4).double()
    theirs.load_state_dict({name: torch.tensor(value) for name, value in ours.state_dict().items()})
    x, weights = rng(1).standard_normal((32, 5)), rng(2).standard_normal((32, 4))
    (ops.tanh(norm(ours(x))) * weights).sum().backward()
    (torch.tanh(their_norm(theirs(torch.tensor(x)))) * torch.tensor(weights)).sum().backward()
    for p, q in ((ours.weight, theirs.weight), (ours.bias, theirs.bias), (norm.bias, their_norm.bias)):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-9, atol=1e-12)
    assert abs(ours.bias.grad.numpy()).max() <= 1e-12 and abs(theirs.bias.grad.numpy()).max() <= 1e-12


def network(bias: bool) -> nn.Sequential:
    layers: list[Any] = []
    for seed, (n_in, n_out) in enumerate(((3, 8), (8, 8), (8, 2))):
        layers += [nn.Linear(n_in, n_out, bias=bias, rng=rng(seed)), nn.ReLU()]
    return nn.Sequential(*layers[:-1]).to("float64")


@pytest.mark.parametrize("c", [0.0, 0.5, 3.0])
def test_a_network_without_biases_is_positively_homogeneous(c: float) -> None:
    x = rng(6).standard_normal((20, 3))
    free, biased = network(False), network(True)
    np.testing.assert_allclose(free(c * x).numpy(), c * free(x).numpy(), rtol=1e-12, atol=1e-14)
    assert np.abs(biased(c * x).numpy() - c * biased(x).numpy()).max() > 1e-2
    assert not free(0 * x).numpy().any() and biased(0 * x).numpy().all()  # so it cannot fit f(0) ≠ 0


@pytest.mark.parametrize("seeds", [1, pytest.param(RECIPE.bar.seeds, marks=pytest.mark.train)])
def test_the_recipe_meets_its_bar(seeds: int, tmp_path: Path) -> None:
    """y = 3 + 2x: with bias nothing remains; without, what least squares through 0 leaves."""
    assert find("p2") is find("bias") is RECIPE
    split = RECIPE.data(RECIPE.config, rng())
    (x, y), (test_x, test_y) = split.train, split.test
    (slope,), _, _, _ = np.linalg.lstsq(x, y[:, 0], rcond=None)
    assert through_zero(split) == pytest.approx(slope, rel=1e-12)
    solution, _, _, _ = np.linalg.lstsq(np.column_stack([x, np.ones(len(x))]), y[:, 0], rcond=None)
    np.testing.assert_allclose(solution, [2.0, 3.0], rtol=1e-12)
    remains = float(((slope * test_x - test_y) ** 2).mean())
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(seeds)]
    report(RECIPE, runs)
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.baseline["the best line through 0"] == pytest.approx(remains, rel=1e-12) and remains > 1
        assert run.metrics["mse_free"] == pytest.approx(remains, rel=0.02)  # of batches: least squares but for noise
        assert run.metrics["accuracy_learnt"] >= run.metrics["accuracy_grid"]
        assert run.metrics["gradient_before_batch_norm"] <= 1e-12


def test_without_a_bias_gradient_descent_ends_at_least_squares_through_zero() -> None:
    """On all of the data at once, to the last digits."""
    x, y = RECIPE.data(RECIPE.config, rng()).train
    model = RECIPE.build(RECIPE.config, RECIPE.data(RECIPE.config, rng()), rng(1)).model
    optimizer = tz.optim.SGD(model.parameters(), lr=0.2)
    for _ in range(300):
        optimizer.zero_grad()
        losses = {name: ops.mse_loss(line, y) for name, line in model(x).items()}
        (losses["biased"] + losses["free"]).backward()
        assert all(p.grad.numpy().any() for p in model.parameters()) or float(losses["biased"]) < 1e-20
        optimizer.step()
    (slope,), (remains,), _, _ = np.linalg.lstsq(x, y[:, 0], rcond=None)
    assert float(model.lines["free"].weight.numpy()[0, 0]) == pytest.approx(slope, rel=1e-12)
    assert float(losses["free"]) == pytest.approx(remains / len(x), rel=1e-12)
    assert float(losses["biased"]) <= 1e-20

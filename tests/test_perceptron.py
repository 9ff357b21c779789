"""Threshold units, Rosenblatt's rule, the pocket, Novikoff's bound, and logic of McCulloch and Pitts."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from bars import report
from tinygrad_zoo import nn, ops
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.models.perceptron import Perceptron, Pocket, hard_margin, mcculloch_pitts, xor
from tinygrad_zoo.models.perceptron.iris import iris
from tinygrad_zoo.models.perceptron.perceptron import CORNERS, PARITY, RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def species(kind: int) -> tuple[Any, Any]:
    x, labels = iris()
    return x, np.where(labels == kind, 1, -1)


# ---- the unit
def test_the_unit_fires_above_its_threshold_and_not_on_it() -> None:
    unit = nn.ThresholdUnit(1)
    unit.weight.data, unit.bias.data = np.array([[2.0]]), np.array([-3.0])
    assert unit.threshold.tolist() == [3.0]
    assert unit(np.array([[1.0], [1.5], [np.nextafter(1.5, 2)], [-4.0]]))[:, 0].tolist() == [0, 0, 1, 0]


def test_a_signed_unit_says_minus_one_for_zero() -> None:
    """The variant ±1, which the rule moves alike."""
    unit = nn.ThresholdUnit(1, signed=True)
    unit.weight.data, unit.bias.data = np.array([[2.0]]), np.array([-3.0])
    assert unit(np.array([[1.0], [1.5], [1.6]]))[:, 0].tolist() == [-1, -1, 1]
    assert repr(unit) == "ThresholdUnit(1, 1, signed=True)  # 2 parameters"
    x, y = species(0)
    signed, plain = Perceptron(4, signed=True).fit(x, y), Perceptron(4).fit(x, y)
    assert np.array_equal(signed.coef_, plain.coef_)
    assert np.array_equal(signed(x).numpy()[:, 0], y) and np.array_equal(plain(x).numpy()[:, 0], y > 0)


def test_no_gradient_comes_through_the_threshold() -> None:
    """Its derivative is 0 almost everywhere, so backpropagation has nothing to say to the layers below."""
    first, unit = nn.Linear(3, 4, rng=rng()).to("float64"), nn.ThresholdUnit(4, 2).to("float64")
    unit.weight.data, unit.bias.data = rng(1).standard_normal((2, 4)), rng(2).standard_normal(2)
    x = tz.tensor(rng(3).standard_normal((50, 3)), requires_grad=True)
    ((unit(first(x)) - 1.0) ** 2).sum().backward()
    for p in (x, *first.parameters(), *unit.parameters()):
        assert p.grad is None or not p.grad.numpy().any()
    before, nudge = unit(first(x)).numpy(), 1e-9
    unit.bias.data = unit.bias.data + nudge
    assert np.array_equal(unit(first(x)).numpy(), before)  # and finite differences agree
    ops.sigmoid(unit.potential(first(x))).sum().backward()
    assert all(p.grad.numpy().any() for p in (*first.parameters(), *unit.parameters()))  # of a smooth unit they come


def test_the_unit_as_a_module() -> None:
    unit = nn.ThresholdUnit(3, 2)
    assert repr(unit) == "ThresholdUnit(3, 2)  # 8 parameters"
    assert list(unit.state_dict()) == ["weight", "bias"] and not any(p.numpy().any() for p in unit.parameters())
    with pytest.raises(UsageError, match="expected an integer in_features >= 1"):
        nn.ThresholdUnit(0)


# ---- logic
@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_and_or_of_any_number_of_inputs(n: int) -> None:
    inputs = np.array(list(itertools.product((0.0, 1.0), repeat=n)))
    assert np.array_equal(mcculloch_pitts("and_", n)(inputs).numpy()[:, 0], inputs.all(axis=1))
    assert np.array_equal(mcculloch_pitts("or_", n)(inputs).numpy()[:, 0], inputs.any(axis=1))


def test_not_and_xor() -> None:
    assert mcculloch_pitts("not_")(np.array([[0.0], [1.0]]))[:, 0].tolist() == [1, 0]
    assert xor()(CORNERS)[:, 0].tolist() == PARITY.tolist()
    assert not any(p.requires_grad for p in xor().parameters())
    for gate, n in (("nand", None), ("not_", 2), ("and_", 0)):
        with pytest.raises(UsageError, match="mcculloch_pitts"):
            mcculloch_pitts(gate, n)  # type: ignore[arg-type]


def test_gates_make_every_function_of_two_inputs() -> None:
    """As a sum of products: OR of ANDs of inputs and NOTs."""
    negate, both = mcculloch_pitts("not_"), mcculloch_pitts("and_")
    literals = np.stack([CORNERS, np.column_stack([negate(CORNERS[:, k : k + 1]).numpy() for k in range(2)])])
    for table in itertools.product((0, 1), repeat=4):
        terms = [
            both(np.column_stack([literals[int(1 - a), :, 0], literals[int(1 - b), :, 1]])).numpy()[:, 0]
            for (a, b), fires in zip(CORNERS, table, strict=True)
            if fires
        ]
        found = mcculloch_pitts("or_", len(terms))(np.column_stack(terms)).numpy()[:, 0] if terms else np.zeros(4)
        assert found.tolist() == list(table)


# ---- the rule
@pytest.mark.parametrize("eta", [1.0, 0.25])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_rule_moves_on_a_mistake_alone(eta: float, sign: float) -> None:
    unit, x = Perceptron(2, eta), np.array([2.0, -1.0])
    unit.bias.data = np.array([-sign * 5.0 * eta])  # a mistake, until five corrections of b ± … have undone it
    weight, bias = unit.coef_.copy(), unit.intercept_.copy()
    assert bool(unit.correct(x, sign))
    assert np.array_equal(unit.coef_, weight + eta * sign * x) and unit.intercept_ == bias + eta * sign
    while bool(unit.correct(x, sign)):
        pass
    weight, bias = unit.coef_.copy(), unit.intercept_.copy()
    assert sign * (weight @ x + bias) > 0
    assert not bool(unit.correct(x, sign))
    assert np.array_equal(unit.coef_, weight) and np.array_equal(unit.intercept_, bias)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("epochs", [1, 7, 40])
def test_the_weights_are_those_of_sklearn(kind: int, epochs: int) -> None:
    from sklearn.linear_model import Perceptron as Theirs

    x, y = species(kind)
    theirs = Theirs(shuffle=False, eta0=1, tol=None, max_iter=epochs, penalty=None).fit(x, y)
    ours = Perceptron(4).fit(x, y, shuffle=False, max_epochs=epochs)
    np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-12, atol=1e-12)
    assert np.array_equal(ours.intercept_, theirs.intercept_)
    assert np.array_equal(Perceptron(4).fit(x, y > 0, max_epochs=epochs).coef_, ours.coef_)  # labels 0 and 1


def test_the_weights_are_those_of_sklearn_on_random_points() -> None:
    from sklearn.linear_model import Perceptron as Theirs

    for seed in range(5):
        x = rng(seed).standard_normal((60, 3))
        y = np.where(x @ [1.0, -2.0, 0.5] + 0.3 + 0.2 * rng(seed + 50).standard_normal(60) > 0, 1, -1)
        theirs = Theirs(shuffle=False, eta0=0.5, tol=None, max_iter=9, penalty=None).fit(x, y)
        ours = Perceptron(3, eta=0.5).fit(x, y, max_epochs=9)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, rtol=1e-10, atol=1e-12)


# ---- Novikoff
@pytest.mark.parametrize("shuffle", [False, True])
def test_setosa_is_learnt_within_novikoffs_bound(shuffle: bool) -> None:
    x, y = species(0)
    unit = Perceptron(4).fit(x, y, shuffle=shuffle, rng=rng())
    margin, radius = hard_margin(x, y)
    assert unit.converged_ and 0 < unit.mistakes_ <= (radius / margin) ** 2
    assert np.array_equal(unit(x).numpy()[:, 0], y > 0)


def test_novikoffs_bound_is_never_passed() -> None:
    """Many separable sets, of margins from wide to narrow, and one that takes half of it."""
    for seed in range(40):
        x = rng(seed).standard_normal((12, 2))
        y = np.where(x @ rng(seed + 100).standard_normal(2) > 0, 1, -1)
        if abs(y.sum()) == 12:
            continue
        margin, radius = hard_margin(x, y)
        unit = Perceptron(2).fit(x, y, max_epochs=100_000)
        assert unit.converged_ and unit.mistakes_ <= (radius / margin) ** 2
    x, y = np.eye(8), np.tile([1, -1], 4)
    margin, radius = hard_margin(x, y)
    assert (radius / margin) ** 2 == pytest.approx(16)
    assert 8 <= Perceptron(8).fit(x, y).mistakes_ <= 16


def test_the_hard_margin_has_a_certificate_and_is_that_of_sklearn() -> None:
    from sklearn.svm import SVC

    x, y = species(0)
    margin, radius = hard_margin(x, y)
    ones = np.column_stack([x, np.ones(len(x))])
    assert radius == np.linalg.norm(ones, axis=1).max()
    doubled, signs = (
        np.concatenate([ones, -ones]),
        np.concatenate([y, -y]),
    )  # symmetric: the best plane has no intercept
    machine = SVC(kernel="linear", C=1e8, tol=1e-10).fit(doubled, signs)
    assert abs(machine.intercept_[0]) < 1e-6
    assert margin == pytest.approx(1 / np.linalg.norm(machine.coef_), rel=1e-5)
    assert hard_margin(CORNERS, 2 * PARITY - 1)[0] == 0
    assert hard_margin(*species(1))[0] == 0


def test_the_hard_margin_takes_labels_as_fit_does() -> None:
    x, y = species(0)
    margin, radius = hard_margin(x, y)
    assert hard_margin(x, y > 0) == hard_margin(x.tolist(), (y > 0).astype(int)) == (margin, radius) and margin > 0
    with pytest.raises(UsageError, match=r"hard_margin: expected labels 0 and 1, or -1 and 1, got .*: write np"):
        hard_margin(x, iris()[1])
    for wrong in ((x, y[:-1]), (x[:, 0], y), (x[:0], y[:0]), (x, y[:, None])):
        with pytest.raises(ShapeError, match=r"hard_margin: expected x \(N >= 1, n_features\) and y \(N,\), got"):
            hard_margin(*wrong)


# ---- what is not separable
def test_xor_never_converges() -> None:
    unit = Perceptron(2).fit(CORNERS, PARITY, max_epochs=1000)
    assert not unit.converged_ and len(unit.mistakes_per_epoch_) == 1000
    assert min(unit.mistakes_per_epoch_) > 0 and unit.mistakes_ > 3000
    assert not np.array_equal(unit(CORNERS).numpy()[:, 0], PARITY)


def test_the_pocket_keeps_the_best_weights_met() -> None:
    x, y = species(1)
    plain = Perceptron(4).fit(x, y, max_epochs=10, shuffle=True, rng=rng(1))
    kept = Perceptron(4).fit(x, y, max_epochs=10, shuffle=True, rng=rng(1), pocket=True)
    assert kept.mistakes_ == plain.mistakes_ and not kept.converged_

    def errors(unit: Any) -> int:
        return int((np.where(unit(x).numpy()[:, 0] > 0, 1, -1) != y).sum())

    assert errors(kept) < min(errors(plain), 45)  # 50 are versicolor
    unit, best, draw = Perceptron(4), [], rng(1)
    for _ in range(10):
        for i in draw.permutation(len(x)):
            unit.correct(x[i], y[i])
            best.append(errors(unit))
    assert errors(kept) == min(best)
    pocket = Pocket(plain).keep(kept, x, y).keep(plain, x, y)
    assert np.array_equal(pocket.weight.numpy(), kept.coef_) and int(pocket.errors) == errors(kept)


def test_fit_starts_anew_and_is_deterministic() -> None:
    x, y = species(0)
    unit = Perceptron(4).fit(*species(2), max_epochs=3)
    again = unit.fit(x, y, shuffle=True, rng=rng(5)).coef_.copy()
    assert np.array_equal(again, Perceptron(4).fit(x, y, shuffle=True, rng=rng(5)).coef_)


def test_errors() -> None:
    x, y = species(0)
    with pytest.raises(ShapeError, match=r"expected x \(N, 3\) and y \(N,\), got \(150, 4\), 150"):
        Perceptron(3).fit(x, y)
    with pytest.raises(UsageError, match=r"expected labels 0 and 1, or -1 and 1, got \[0, 1, 2\]"):
        Perceptron(4).fit(x, iris()[1])
    with pytest.raises(DTypeError, match=r"shuffle=True needs a generator; write rng=numpy\.random\.default_rng\(0\)"):
        Perceptron(4).fit(x, y, shuffle=True)
    with pytest.raises(UsageError, match="expected eta > 0"):
        Perceptron(4, eta=0.0)


# ---- the recipe
@pytest.mark.parametrize("seeds", [1, pytest.param(RECIPE.bar.seeds, marks=pytest.mark.train)])
def test_the_recipe_meets_its_bar(seeds: int, tmp_path: Path) -> None:
    assert find("p1") is find("perceptron") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(seeds)]
    report(RECIPE, runs)
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert 0 < run.metrics["mistakes"] <= run.metrics["bound"] and run.metrics["setosa_accuracy"] == 1
        assert run.baseline["gradient descent"] == 40  # every setosa of the training set

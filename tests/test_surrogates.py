"""Rows M2 and M3: smooth accuracy and F1 are the metrics of hard answers; training on them, and on cross-entropy."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import metrics, ops
from tinygrad_zoo.distributions import Categorical
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, UsageError
from tinygrad_zoo.gradient_estimators import score_function
from tinygrad_zoo.losses import CrossEntropyLoss, SmoothAccuracyLoss, SmoothF1Loss
from tinygrad_zoo.models.surrogates import accuracy_and_entropy, smooth_f1
from tinygrad_zoo.recipe import find
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- hard answers
@given(st.integers(0, 2**32 - 1), st.integers(2, 5), st.integers(1, 12))
@settings(max_examples=80)
def test_of_hard_probabilities_they_are_the_metrics(seed: int, classes: int, n: int) -> None:
    """Exactly: nothing is added to a denominator. Classes that do not occur, and no positives, are among the draws."""
    from sklearn.metrics import accuracy_score, f1_score

    predicted, target = rng(seed).integers(classes, size=(2, n))
    hard = np.eye(classes)[predicted]
    assert ops.smooth_accuracy(hard, target) == pytest.approx(accuracy_score(target, predicted), abs=1e-15)
    for average in ("macro", "micro"):
        expected = f1_score(target, predicted, average=average, zero_division=0)
        assert ops.smooth_f1(hard, target, average=average) == pytest.approx(expected, abs=1e-15)
    binary, truth = (x == 1 for x in (predicted, target))
    found = ops.smooth_f1(binary.astype(float), truth.astype(int))
    assert found == pytest.approx(f1_score(truth, binary, zero_division=0), abs=1e-15)


def test_a_batch_without_positives_has_f1_0_and_no_nan() -> None:
    p = tz.tensor(np.array([0.0, 0.0, 0.0]), requires_grad=True)
    value = ops.smooth_f1(p, tz.tensor([0, 0, 0]))
    value.backward()
    assert value.item() == 0 and p.grad.tolist() == [0, 0, 0]
    some = ops.smooth_f1(np.array([0.2, 0.2, 0.2]), np.array([0, 0, 0]))
    assert some == 0


def test_nothing_biases_small_counts() -> None:
    """One positive with a tiny probability: 2p / (1 + p), not less."""
    for p in (1e-3, 1e-8):
        assert ops.smooth_f1(np.array([p, 0.0]), np.array([1, 0])) == pytest.approx(2 * p / (1 + p), rel=1e-12)


def test_f1_is_of_the_batch_and_not_the_mean_of_its_examples() -> None:
    p, t = np.array([0.9, 0.6, 0.2, 0.1]), np.array([1, 0, 1, 0])
    whole = ops.smooth_f1(p, t)
    assert whole == pytest.approx(2 * (0.9 + 0.2) / (1.8 + 2))
    single = np.mean([ops.smooth_f1(p[i : i + 1], t[i : i + 1]) for i in range(4)])
    assert abs(whole - single) > 0.05
    slope = tz.grad(lambda p: ops.smooth_f1(p, t))(tz.tensor(p)).numpy()
    moved = tz.grad(lambda p: ops.smooth_f1(p, t))(tz.tensor(np.array([0.9, 0.6, 0.2, 0.9]))).numpy()
    assert not np.allclose(slope[:3], moved[:3])  # one example changes the gradients of the others


# ---- gradients
def test_the_accuracy_has_the_gradient_that_its_doc_says_and_it_vanishes_far_from_the_boundary() -> None:
    logits, y = tz.tensor(rng(1).standard_normal((4, 3)), requires_grad=True), np.array([0, 2, 1, 1])
    ops.smooth_accuracy(ops.softmax(logits), y).backward()
    p = ops.softmax(logits).numpy()
    own = p[np.arange(4), y][:, None]
    np.testing.assert_allclose(logits.grad.numpy(), own * (np.eye(3)[y] - p) / 4, rtol=1e-12)
    for scale, at_most in ((1.0, 0.2), (20.0, 1e-8)):
        wrong = tz.tensor(scale * np.array([[1.0, -1.0]]), requires_grad=True)
        SmoothAccuracyLoss()(wrong, np.array([1])).backward()
        assert np.abs(wrong.grad.numpy()).max() < at_most
        wrong.grad = None
        CrossEntropyLoss()(wrong, np.array([1])).backward()
        assert np.abs(wrong.grad.numpy()).max() > 0.8


@pytest.mark.oracle("torch")
def test_losses_and_their_gradients_are_those_of_torch() -> None:
    logits, y, t = rng(2).standard_normal((8, 3)), rng(3).integers(3, size=8), rng(4).integers(2, size=8)

    def counted(p: Any, t: Any, axis: int | None) -> Any:
        together, either = (
            ((p * t).sum(axis), (p + t).sum(axis)) if axis is not None else ((p * t).sum(), (p + t).sum())
        )
        return (2 * together / either).mean()

    one_hot = torch.nn.functional.one_hot(torch.tensor(y), 3).double()
    cases: list[tuple[Any, Any, Any, Callable[[Any], Any]]] = [
        (SmoothAccuracyLoss(), logits, y, lambda x: 1 - (torch.softmax(x, 1) * one_hot).sum(1).mean()),
        (SmoothF1Loss(), logits[:, 0], t, lambda x: 1 - counted(torch.sigmoid(x), torch.tensor(t), 0)),
        (SmoothF1Loss("macro"), logits, y, lambda x: 1 - counted(torch.softmax(x, 1), one_hot, 0)),
        (SmoothF1Loss("micro"), logits, y, lambda x: 1 - counted(torch.softmax(x, 1), one_hot, None)),
    ]
    for loss, x, target, theirs in cases:
        ours, other = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        value, expected = loss(ours, tz.tensor(target)), theirs(other)
        value.backward()
        expected.backward()
        assert value.item() == pytest.approx(expected.item(), rel=1e-12)
        np.testing.assert_allclose(ours.grad.numpy(), other.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_losses_have_second_derivatives() -> None:
    y = np.array([0, 2, 1])
    for loss in (SmoothAccuracyLoss(), SmoothF1Loss("macro"), SmoothF1Loss("micro")):
        check_gradients(lambda x, loss=loss: loss(x, y), rng(5).standard_normal((3, 3)), order=2)
    check_gradients(lambda x: SmoothF1Loss()(x, np.array([1, 0, 1])), rng(6).standard_normal(3), order=2)


def test_micro_is_the_smooth_accuracy() -> None:
    p, y = rng(7).dirichlet(np.ones(4), 6), rng(8).integers(4, size=6)
    assert ops.smooth_f1(p, y, average="micro") == pytest.approx(ops.smooth_accuracy(p, y), rel=1e-14)


def test_a_reward_of_1_for_a_right_answer_has_the_smooth_accuracys_gradient() -> None:
    """E r ∇ log p(answer): exactly, by all answers, and estimated by a policy gradient from draws of them."""
    logits, y = rng(9).standard_normal((3, 4)), np.array([1, 0, 3])
    p = ops.softmax(logits)
    score = np.eye(4)[None] - p[:, None]  # ∇ log p of every answer: (N, answer, 4)
    reward = np.eye(4)[y]  # (N, answer)
    expected = (p[..., None] * reward[..., None] * score).sum(axis=1) / 3
    slope = tz.grad(lambda x: ops.smooth_accuracy(ops.softmax(x), y))(tz.tensor(logits))
    np.testing.assert_allclose(slope.numpy(), expected, rtol=1e-12)
    x, n = tz.tensor(logits, requires_grad=True), 40_000
    right = score_function(lambda answer: (answer == tz.tensor(y)).to("float64"), Categorical(logits=x), n, rng=rng(1))
    right.mean().backward()
    np.testing.assert_allclose(x.grad.numpy(), expected, atol=4 / 3 / n**0.5)


# ---- errors
def test_errors() -> None:
    p = np.full((2, 3), 1 / 3)
    with pytest.raises(ShapeError, match=r"smooth_accuracy: expected probabilities \(N, C\) and classes \(N,\)"):
        ops.smooth_accuracy(p, np.array([0, 1, 2]))
    with pytest.raises(DTypeError, match="target holds class indices, integers, not float64"):
        ops.smooth_accuracy(p, np.array([0.0, 1.0]))
    with pytest.raises(IndexingError, match="classes from 0 to 3 do not fit input with C=3"):
        ops.smooth_accuracy(p, np.array([0, 3]))
    with pytest.raises(ShapeError, match="of several classes write average='macro' or 'micro'"):
        ops.smooth_f1(p, np.array([0, 1]))
    logits, y = np.array([[0.1, -2.0], [3.0, 0.2]]), np.array([0, 1])
    for call, squashed in (
        (lambda x: ops.smooth_accuracy(x, y), r"softmax\(input, axis=-1\)"),
        (lambda x: ops.smooth_f1(x, y, average="macro"), r"softmax\(input, axis=-1\)"),
        (lambda x: ops.smooth_f1(x[0], y), r"sigmoid\(input\)"),
        (lambda x: ops.smooth_f1(-x[0], y), r"sigmoid\(input\)"),
    ):
        with pytest.raises(UsageError, match=rf"expected probabilities in \[0, 1\], got .*tinygrad_zoo\.{squashed}"):
            call(logits)
    for target in (np.array([1, 2]), np.array([-1, 1]), np.array([0.4, 1.0])):
        with pytest.raises(UsageError, match=r"smooth_f1: expected target 0 or 1, got .*: write target > 0\.5"):
            ops.smooth_f1(p[0, :2], target)
    for make in (lambda: ops.smooth_f1(p, np.array([0, 1]), average="weighted"), lambda: SmoothF1Loss("weighted")):
        with pytest.raises(UsageError, match="expected average 'binary', 'macro' or 'micro', got 'weighted'"):
            make()
    assert repr(SmoothF1Loss("macro")) == "SmoothF1Loss(average='macro')"


# ---- M2: rare positives
UNDRAWN = dataclasses.replace(smooth_f1.RECIPE, figure=lambda state, path: None)


def history(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def test_smooth_f1_after_cross_entropy_raises_it(tmp_path: Path) -> None:
    run = fit(smooth_f1.RECIPE, out=tmp_path / "run", steps=60, overrides={"warmup": 30, "lr": 0.2}, progress=False)
    lines = history(run.out)
    assert lines[29]["f1_smooth_f1"] == lines[29]["f1_cross_entropy"]  # the first half is the same
    assert lines[-1]["f1_smooth_f1"] > lines[-1]["f1_cross_entropy"] + 0.02
    assert run.metrics["gain"] == run.metrics["smooth_f1"] - run.metrics["cross_entropy"] > 0.05
    assert run.metrics["cross_entropy_tuned"] > run.metrics["cross_entropy"]
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_one_in_twenty_is_positive_and_three_features_tell() -> None:
    x, t = smooth_f1.points(20_000, rng())
    assert abs(t.mean() - 0.05) < 0.005 and x.shape == (20_000, 10)
    gaps = x[t == 1].mean(axis=0) - x[t == 0].mean(axis=0)
    assert (gaps[:3] > 0.7).all() and (np.abs(gaps[3:]) < 0.15).all()


@pytest.mark.train
def test_smooth_f1_meets_its_bar(tmp_path: Path) -> None:
    """Over the recipe's seeds, and over five data sets, whose differences are larger."""
    recipe = smooth_f1.RECIPE
    seeds = [fit(UNDRAWN, seed=seed, out=tmp_path / f"s{seed}", progress=False) for seed in range(recipe.bar.seeds)]
    assert recipe.bar.holds(*(run.metrics for run in seeds))
    sets = []
    for draw in range(5):
        drawn = dataclasses.replace(UNDRAWN, data=lambda config, _, draw=draw: smooth_f1.data(config, rng(draw)))
        sets.append(fit(drawn, out=tmp_path / f"d{draw}", progress=False))
    for what, runs in (("seeds", seeds), ("data sets", sets)):
        names = ("gain", "cross_entropy", "cross_entropy_tuned", "smooth_f1")
        means = {name: round(float(np.mean([run.metrics[name] for run in runs])), 3) for name in names}
        gains = [run.metrics["gain"] for run in runs]
        print(f"smooth_f1, 5 {what}: {means}, gain min {min(gains):.3f} median {np.median(gains):.3f}, "
              f"{runs[0].baseline}, {runs[0].seconds:.1f} s")  # fmt: skip
        assert means["gain"] >= 0.12


# ---- M3: cross-entropy and accuracy disagree
def test_lower_cross_entropy_with_lower_accuracy_constructed() -> None:
    """One model sure and right but once, and very sure then; one hardly sure, and wrong twice."""
    y = np.zeros(10, np.int64)
    margins = {"sure": [2.0] * 9 + [-20.0], "unsure": [0.5] * 8 + [-0.1] * 2}
    logits = {name: np.stack([np.array(m), np.zeros(10)], axis=1) for name, m in margins.items()}
    entropy = {name: float(ops.cross_entropy(x, y)) for name, x in logits.items()}
    accuracy = {name: metrics.accuracy(x.argmax(-1), y) for name, x in logits.items()}
    assert entropy["unsure"] < entropy["sure"] and accuracy["unsure"] < accuracy["sure"]


def test_cross_entropy_goes_down_and_accuracy_with_it(tmp_path: Path) -> None:
    recipe = accuracy_and_entropy.RECIPE
    assert find("accuracy_and_entropy") is recipe and find("M3") is recipe
    run = fit(recipe, out=tmp_path / "run", steps=80, overrides={"switch": 40, "lr": 0.3}, progress=False)
    lines = history(run.out)
    assert lines[-1]["cross_entropy"] < lines[39]["cross_entropy"] - 0.1
    assert lines[-1]["accuracy"] < lines[39]["accuracy"] - 0.1
    assert run.metrics["lost"] == run.metrics["accuracy_after_accuracy"] - run.metrics["accuracy_after_cross_entropy"]
    assert run.metrics["entropy_after_cross_entropy"] < run.metrics["entropy_after_accuracy"]
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_lost_is_negative_where_both_agree() -> None:
    """The sign is that of the disagreement: a second phase that loses both loses nothing to it."""
    recipe = accuracy_and_entropy.RECIPE
    split = recipe.data(recipe.config, rng())
    parts = recipe.build(recipe.config, split, rng(1))
    parts.model.before.weight.data = np.array([[-2.0, 0.0], [2.0, 0.0]], np.float32)
    parts.model.line.weight.data = -4 * parts.model.before.weight.data  # the wrong way round, and sure of it
    state: Any = type("State", (), {"data": split, "model": parts.model, "device": "cpu"})
    found = recipe.evaluate(state)
    assert found["entropy_after_cross_entropy"] > found["entropy_after_accuracy"] and found["lost"] < -0.3


def test_gradients_reach_every_parameter_of_both() -> None:
    for recipe in (smooth_f1.RECIPE, accuracy_and_entropy.RECIPE):
        split = recipe.data(recipe.config, rng())
        parts = recipe.build(recipe.config, split, rng(1))
        x, y = (tz.tensor(part[:200]) for part in split.train)
        if recipe is smooth_f1.RECIPE:
            SmoothF1Loss()(parts.model["smooth_f1"](x)[:, 0], y).backward()
            learnt = parts.model["smooth_f1"]
        else:
            SmoothAccuracyLoss()(parts.model(x), y).backward()
            learnt = parts.model.line
        assert all(np.abs(p.grad.numpy()).min() > 0 for p in learnt.parameters())


@pytest.mark.train
def test_accuracy_and_entropy_meets_its_bar(tmp_path: Path) -> None:
    recipe = dataclasses.replace(accuracy_and_entropy.RECIPE, figure=lambda state, path: None)
    runs = [fit(recipe, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(recipe.bar.seeds)]
    lost = sorted(run.metrics["lost"] for run in runs)
    print(f"accuracy_and_entropy: lost min {lost[0]:.3f} median {lost[1]:.3f}, {runs[0].metrics}, "
          f"{runs[0].baseline}, {runs[0].seconds:.1f} s")  # fmt: skip
    assert recipe.bar.holds(*(run.metrics for run in runs))

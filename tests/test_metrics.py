"""Accuracy, precision, recall, F1, the confusion matrix and perplexity against scikit-learn and torchmetrics."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import metrics
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, UsageError

torch = oracles.load("torch")
torchmetrics = oracles.load("torchmetrics")
SCORES = (metrics.precision, metrics.recall, metrics.f1)


def drawn(seed: int, classes: int, n: int) -> tuple[Any, Any]:
    predicted, target = np.random.default_rng(seed).integers(classes, size=(2, n))
    return predicted, target


@given(st.integers(0, 2**32 - 1), st.integers(2, 6), st.integers(1, 15), st.sampled_from([0.0, 1.0]), st.data())
@settings(max_examples=200)
def test_scores_are_scikit_learns(seed: int, classes: int, n: int, zero: float, data: st.DataObject) -> None:
    """Few draws of several classes: some are missing, of the truth, of the predictions, or of both."""
    from sklearn import metrics as theirs

    predicted, target = drawn(seed, classes, n)
    assert metrics.accuracy(predicted, target) == theirs.accuracy_score(target, predicted)
    labels = range(classes)
    assert np.array_equal(
        metrics.confusion_matrix(predicted, target, num_classes=classes),
        theirs.confusion_matrix(target, predicted, labels=labels),
    )
    average = data.draw(st.sampled_from(["macro", "micro"] + ["binary"] * (classes == 2)))
    for ours, other in zip(SCORES, (theirs.precision_score, theirs.recall_score, theirs.f1_score), strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = other(target, predicted, average=average, zero_division=zero)
        found = ours(predicted, target, average=average, zero_division=zero)
        assert found == pytest.approx(expected, abs=1e-12), (ours, average)


@pytest.mark.oracle("torch", "torchmetrics")
def test_scores_are_torchmetrics() -> None:
    predicted, target = drawn(0, 4, 200)
    p, t = torch.tensor(predicted), torch.tensor(target)
    functional = torchmetrics.functional
    for ours, other in zip(SCORES, (functional.precision, functional.recall, functional.f1_score), strict=True):
        for average in ("macro", "micro"):
            expected = other(p, t, task="multiclass", num_classes=4, average=average).item()
            assert ours(predicted, target, average=average) == pytest.approx(expected, rel=1e-6)
    expected = functional.confusion_matrix(p, t, task="multiclass", num_classes=4).numpy()
    assert np.array_equal(metrics.confusion_matrix(predicted, target), expected)
    logits = np.random.default_rng(1).standard_normal((3, 5, 7))
    words = np.random.default_rng(2).integers(7, size=(3, 5))
    log_p = tz.log_softmax(tz.tensor(logits)).numpy()
    ours_ppl = metrics.perplexity(np.take_along_axis(log_p, words[..., None], -1))
    theirs_ppl = functional.text.perplexity(torch.tensor(logits), torch.tensor(words)).item()
    assert ours_ppl == pytest.approx(theirs_ppl, rel=1e-6)


def test_identities() -> None:
    predicted, target = drawn(3, 5, 300)
    table = metrics.confusion_matrix(predicted, target)
    assert np.trace(table) / table.sum() == metrics.accuracy(predicted, target)
    assert (table.sum(axis=1) == np.bincount(target)).all() and (table.sum(axis=0) == np.bincount(predicted)).all()
    for ours in SCORES:
        assert ours(predicted, target, average="micro") == metrics.accuracy(predicted, target)
    p, t = predicted > 2, target > 2
    pre, rec = metrics.precision(p, t), metrics.recall(p, t)
    assert metrics.f1(p, t) == pytest.approx(2 * pre * rec / (pre + rec), rel=1e-14)
    assert metrics.precision(p, t) == metrics.recall(t, p)


def test_tensors_and_devices() -> None:
    predicted, target = drawn(4, 3, 20)
    for device in ("cpu", "cupysim"):
        on = [tz.tensor(x, device=device) for x in (predicted, target)]
        assert metrics.accuracy(*on) == metrics.accuracy(predicted, target)
        assert metrics.f1(*on, average="macro") == metrics.f1(predicted, target, average="macro")


def test_nothing_to_divide_by_is_never_nan() -> None:
    none = np.zeros(4, np.int64)
    for ours in SCORES:
        assert ours(none, none) == 0 and ours(none, none, zero_division=1.0) == 1
    assert metrics.f1(none, np.array([0, 0, 0, 1])) == 0  # nothing predicted
    assert metrics.f1(np.array([0, 0, 0, 1]), none) == 0  # nothing there


def test_perplexity() -> None:
    assert metrics.perplexity(np.log(np.full((3, 4), 0.125))) == pytest.approx(8)
    assert metrics.perplexity(np.array([0.0, -np.inf])) == math.inf
    assert metrics.perplexity(tz.tensor([0.0, 0.0])) == 1
    with pytest.raises(UsageError, match="expected log-probabilities <= 0"):
        metrics.perplexity(np.array([0.5]))


def test_errors() -> None:
    with pytest.raises(DTypeError, match=r"accuracy: predicted holds classes.*write x.argmax\(-1\)"):
        metrics.accuracy(np.zeros((3, 2)), np.zeros(3, np.int64))
    with pytest.raises(ShapeError, match=r"f1: expected predicted and target of one shape, not empty"):
        metrics.f1([0, 1], [0])
    with pytest.raises(UsageError, match="expected average 'binary', 'macro' or 'micro', got 'samples'"):
        metrics.recall([0, 1], [0, 1], average="samples")
    with pytest.raises(UsageError, match="average='binary' is for labels 0 and 1"):
        metrics.precision([0, 2], [0, 1])
    with pytest.raises(IndexingError, match=r"classes from 0 to 3; expected 0\.\.2"):
        metrics.confusion_matrix([0, 3], [0, 1], num_classes=3)

"""Smooth stand-ins for counts of right answers: 1 for the predicted class becomes the probability p of each.

Of hard probabilities, 0 and 1, they are the metrics themselves. Nothing is added to a denominator.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import namespace, on_host
from ..errors import DTypeError, IndexingError, ShapeError, UsageError
from ..variable import Array, data_of, looked_at
from .composite import composite
from .elementwise import where
from .indexing import one_hot, take_along_axis
from .precision import as_float
from .sampling import sample

AVERAGES = ("binary", "macro", "micro")
_ROUNDING = 1e-3  # by which a probability may be off, in half precision


def _check_probabilities(op: str, input: Any, squash: str) -> None:
    """UsageError for what is below 0 or above 1, on the host: logits, as a rule."""
    p = looked_at(input)
    if on_host(p) and p.size and (p.min() < -_ROUNDING or p.max() > 1 + _ROUNDING):
        raise UsageError(
            f"{op}: expected probabilities in [0, 1], got input from {p.min():g} to {p.max():g}: of logits write "
            f"{op}(tinygrad_zoo.{squash}, target)"
        )


def _check_classes(op: str, input: Any, target: Any) -> None:
    if input.ndim != 2 or target.shape != input.shape[:1]:
        raise ShapeError(
            f"{op}: expected probabilities (N, C) and classes (N,), got input {input.shape} and target {target.shape}"
        )
    if target.dtype.kind not in "iu":
        raise DTypeError(f"{op}: target holds class indices, integers, not {target.dtype}")
    index = looked_at(target)
    if on_host(index) and index.size and not (index.min() >= 0 and index.max() < input.shape[1]):
        raise IndexingError(
            f"{op}: classes from {index.min()} to {index.max()} do not fit input with C={input.shape[1]}"
        )


def check_average(op: str, average: str) -> None:
    if average not in AVERAGES:
        raise UsageError(f"{op}: expected average 'binary', 'macro' or 'micro', got {average!r}")


@composite(
    samples=lambda r: [
        sample(r.probabilities(4, 3), r.integers(3, 4)),
        sample(r.probabilities(1, 2), r.integers(2, 1)),
    ],
    reference=lambda input, target: np.mean(input[np.arange(len(input)), target]),
)
def smooth_accuracy(input: Array, target: Array) -> Any:
    """Σ p_y / N: the expected accuracy of answers drawn from probabilities p (N, C), for the classes y (N,).

    Its gradient in logits is p_y (1_y - p) / N, which vanishes where an answer is sure, right or wrong: begin with
    cross-entropy. On the host, UsageError for an input outside [0, 1].

    >>> tz.smooth_accuracy(tz.tensor([[0.75, 0.25], [0.5, 0.5]]), tz.tensor([0, 1])).item()
    0.625
    """
    _check_classes("smooth_accuracy", input, target)
    _check_probabilities("smooth_accuracy", input, "softmax(input, axis=-1)")
    return take_along_axis(input, target[:, None], axis=1).mean()


def _f1_reference(input: Any, target: Any, average: str) -> Any:
    t = target if average == "binary" else np.eye(input.shape[1])[target]
    axis = 0 if average != "micro" else None
    together, either = np.sum(input * t, axis), np.sum(input + t, axis)
    return np.mean(2 * together / either)


@composite(
    samples=lambda r: [
        sample(r.uniform(0.1, 0.9, 4), np.arange(4) % 2),
        sample(r.uniform(0.1, 0.9, 3), np.arange(3) > 0),
        sample(r.probabilities(4, 3), r.integers(3, 4), average="macro"),
        sample(r.probabilities(4, 3), r.integers(3, 4), average="micro"),
    ],
    reference=_f1_reference,
)
def smooth_f1(input: Array, target: Array, *, average: str = "binary") -> Any:
    """2 Σ p t / Σ (p + t) over the batch, which it couples: of few examples, or of one, it is another quantity.

    "binary": probabilities p (N,) of being positive and t (N,), 1 or 0. "macro": the mean over the classes of p (N, C)
    with t their one-hot vectors, target (N,); "micro": one fraction of all, the smooth accuracy where rows sum to 1.
    A fraction 0 / 0, of a class that is neither there nor predicted, is 0 and counts in no mean, as in scikit-learn.
    On the host, UsageError for an input outside [0, 1], and for a binary target other than 0 and 1.

    >>> tz.smooth_f1(tz.tensor([1.0, 0.5, 0.0]), tz.tensor([1, 0, 1])).item()
    0.5714285969734192
    """
    check_average("smooth_f1", average)
    if average == "binary":
        if input.ndim != 1 or target.shape != input.shape:
            raise ShapeError(
                f"smooth_f1: expected probabilities (N,) and target (N,), got {input.shape} and {target.shape}; of "
                "several classes write average='macro' or 'micro'"
            )
        labels = looked_at(target)
        if on_host(labels) and not ((labels == 0) | (labels == 1)).all():
            raise UsageError(
                f"smooth_f1: expected target 0 or 1, got {labels.min():g} to {labels.max():g}: write target > 0.5"
            )
        t = as_float(target, input)
    else:
        _check_classes("smooth_f1", input, target)
        t = as_float(one_hot(target, input.shape[1]), input)
    _check_probabilities("smooth_f1", input, "sigmoid(input)" if average == "binary" else "softmax(input, axis=-1)")
    axis = None if average == "micro" else 0
    together, either = (input * t).sum(axis=axis), (input + t).sum(axis=axis)
    none = either == 0
    share = 2 * together / where(none, 1, either)
    if average != "macro":
        return share
    values = data_of(none)
    count = namespace(values).maximum((~values).sum(), 1).astype(share.dtype)
    return share.sum() / count

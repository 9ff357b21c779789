"""Losses that are the negated smooth accuracy and F1 (`ops.smooth_accuracy`, `ops.smooth_f1`), of logits.

Both are flat where the answers are sure: train by cross-entropy first, then by one of these.
"""

from __future__ import annotations

from typing import Any

from .. import ops
from ..nn import Module
from ..ops.surrogates import check_average


class SmoothAccuracyLoss(Module):
    """1 - Σ p_y / N with p = softmax(logits): logits (N, C), classes (N,).

    >>> import tinygrad_zoo as tz
    >>> SmoothAccuracyLoss()(tz.tensor([[0.0, 0.0]]), tz.tensor([1])).item()
    0.5
    """

    def forward(self, input: Any, target: Any) -> Any:
        return 1 - ops.smooth_accuracy(ops.softmax(input, axis=-1), target)


class SmoothF1Loss(Module):
    """1 - 2 Σ p t / Σ (p + t) over the whole batch: a large one, since a batch without positives teaches nothing.

    "binary": logits (N,), p = σ(logits), target (N,) of 1 and 0. "macro", "micro": logits (N, C), p = softmax(logits),
    classes (N,).

    >>> import tinygrad_zoo as tz
    >>> SmoothF1Loss()(tz.tensor([0.0, 0.0]), tz.tensor([1, 0])).item()
    0.5
    """

    def __init__(self, average: str = "binary") -> None:
        check_average("SmoothF1Loss", average)
        self.average = average

    def forward(self, input: Any, target: Any) -> Any:
        p = ops.sigmoid(input) if self.average == "binary" else ops.softmax(input, axis=-1)
        return 1 - ops.smooth_f1(p, target, average=self.average)

    def settings(self) -> str:
        return f"average={self.average!r}"

"""Losses of a prediction and its target. `reduction` is 'mean', 'sum' or 'none'; formulas stand in `ops.loss`."""

from __future__ import annotations

from typing import Any

from .. import ops
from ..errors import UsageError
from ..nn import Buffer, Module
from ..ops.loss_reduction import check_reduction


def _reduction(who: str, reduction: str) -> str:
    check_reduction(who, reduction)
    return reduction


def _buffer(weight: Any) -> Buffer | None:
    return None if weight is None else Buffer(weight)


class MSELoss(Module):
    """(input - target)²

    >>> import tinygrad_zoo as tz
    >>> MSELoss()(tz.tensor([1.0, 2.0]), tz.tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = _reduction("MSELoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return ops.mse_loss(input, target, reduction=self.reduction)

    def settings(self) -> str:
        return f"reduction={self.reduction!r}"


class CrossEntropyLoss(Module):
    """-Σ_c w_c q_c log softmax(input)_c, with q the (smoothed) target: class indices (N, …) or probabilities (N, C, …).

    >>> import tinygrad_zoo as tz
    >>> CrossEntropyLoss()(tz.tensor([[0.0, 0.0]]), tz.tensor([1])).item()
    0.6931471824645996
    """

    weight: Buffer | None

    def __init__(
        self,
        weight: Any = None,
        *,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        if not 0 <= label_smoothing <= 1:
            raise UsageError(f"CrossEntropyLoss: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
        self.weight = _buffer(weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing
        self.reduction = _reduction("CrossEntropyLoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return ops.cross_entropy(
            input,
            target,
            self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )

    def settings(self) -> str:
        return f"reduction={self.reduction!r}, label_smoothing={self.label_smoothing:g}"


class BCEWithLogitsLoss(Module):
    """-w [p⁺ t log σ(x) + (1 - t) log(1 - σ(x))], with w = weight and p⁺ = pos_weight.

    >>> import tinygrad_zoo as tz
    >>> BCEWithLogitsLoss()(tz.tensor([0.0]), tz.tensor([1.0])).item()
    0.6931471824645996
    """

    weight: Buffer | None
    pos_weight: Buffer | None

    def __init__(self, weight: Any = None, *, reduction: str = "mean", pos_weight: Any = None) -> None:
        self.weight, self.pos_weight = _buffer(weight), _buffer(pos_weight)
        self.reduction = _reduction("BCEWithLogitsLoss", reduction)

    def forward(self, input: Any, target: Any) -> Any:
        return ops.binary_cross_entropy_with_logits(
            input, target, self.weight, self.pos_weight, reduction=self.reduction
        )

    def settings(self) -> str:
        return f"reduction={self.reduction!r}"

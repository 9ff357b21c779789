"""What the losses share: the setting `reduction`, and input and target of one shape."""

from __future__ import annotations

import math
from typing import Any

from ..errors import ShapeError, UsageError
from ..variable import Array


def check_reduction(op: str, reduction: str) -> None:
    if reduction not in ("mean", "sum", "none"):
        raise UsageError(f"{op}: reduction={reduction!r}: expected 'mean', 'sum' or 'none'")


def check_same_shape(op: str, input: Array, target: Array) -> None:
    if input.shape != target.shape:
        raise ShapeError(f"{op}: input has shape {input.shape} and target {target.shape}; expected the same")


def reduced(values: Array, reduction: str) -> Array:
    return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values


def unreduced(g: Any, input: Any, reduction: str) -> Any:
    """The gradient of every single value."""
    return g * (1 / (math.prod(input.shape) or 1)) if reduction == "mean" else g

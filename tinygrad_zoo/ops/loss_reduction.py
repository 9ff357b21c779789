"""What the losses share: the setting `reduction`, and input and target of one shape."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import ShapeError, UsageError
from ..variable import Array


def _among(*known: str) -> Callable[[Any], bool]:
    return lambda v: isinstance(v, str) and v in known


REDUCTIONS = ("mean", "sum", "none")
KL_REDUCTIONS = (*REDUCTIONS, "batchmean")
_REDUCTION = (_among(*REDUCTIONS), "reduction 'mean', 'sum' or 'none'")
_IGNORE_INDEX = (lambda v: isinstance(v, (int, np.integer)) and not isinstance(v, bool), "ignore_index, an integer")
_LIMITS: dict[str, dict[str, tuple[Callable[[Any], bool], str]]] = {
    "cross_entropy": {
        "label_smoothing": (lambda v: 0 <= v <= 1, "0 <= label_smoothing <= 1"),
        "ignore_index": _IGNORE_INDEX,
    },
    "gaussian_nll_loss": {"eps": (lambda v: v > 0, "eps > 0")},
    "huber_loss": {"delta": (lambda v: v > 0, "delta > 0")},
    "kl_div": {"reduction": (_among(*KL_REDUCTIONS), f"{_REDUCTION[1]}, or 'batchmean'")},
    "multi_margin_loss": {"p": (lambda v: isinstance(v, (int, float)) and v in (1, 2), "p = 1 or 2")},
    "nll_loss": {"ignore_index": _IGNORE_INDEX},
    "poisson_nll_loss": {"eps": (lambda v: isinstance(v, (int, float)) and v >= 0, "eps >= 0")},
    "smooth_l1_loss": {"beta": (lambda v: v >= 0, "beta >= 0")},
    "triplet_margin_loss": {"margin": (lambda v: v > 0, "margin > 0")},
}


def check_settings(op: str, who: str = "", **settings: Any) -> None:
    """That the settings of a loss are within its limits; `who` asks, if not the op itself: its module, when made."""
    limits = {"reduction": _REDUCTION, **_LIMITS.get(op, {})}
    for name, (holds, text) in limits.items():
        if name in settings and not holds(settings[name]):
            raise UsageError(f"{who or op}: expected {text}, got {settings[name]!r}")


def check_same_shape(op: str, input: Array, target: Array) -> None:
    if input.shape != target.shape:
        raise ShapeError(f"{op}: input has shape {input.shape} and target {target.shape}; expected the same")


def check_fits(op: str, input: Array, **arrays: Array | None) -> None:
    """That each of `arrays`, where it is given, broadcasts to the shape of `input`."""
    for name, array in arrays.items():
        if array is not None and _joined(array.shape, input.shape) != input.shape:
            raise ShapeError(
                f"{op}: {name} has shape {array.shape}; expected one that broadcasts to that of input, {input.shape}"
            )


def _joined(*shapes: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return np.broadcast_shapes(*shapes)
    except ValueError:
        return None


def reduced(values: Any, reduction: str) -> Any:
    return values.mean() if reduction == "mean" else values.sum() if reduction == "sum" else values


def unreduced(g: Any, input: Any, reduction: str) -> Any:
    """The gradient of every single value."""
    return g * (1 / (math.prod(input.shape) or 1)) if reduction == "mean" else g


def reduced_by_numpy(values: Any, reduction: str) -> Any:
    """The same for the references, in NumPy's own words."""
    return np.mean(values) if reduction == "mean" else np.sum(values) if reduction == "sum" else np.asarray(values)

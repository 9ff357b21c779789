"""Losses: input first, target second; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import fused, primitive
from ..backend import errstate, namespace, on_host
from ..errors import DTypeError, GradientError, IndexingError, ShapeError, UsageError
from ..variable import Array
from .activation import sigmoid, softplus
from .elementwise import where
from .indexing import embedding, take_along_axis
from .loss_reduction import check_reduction, check_same_shape, reduced, unreduced
from .sampling import sample
from .softmax import log_softmax


def _bce_rule(
    g: Any, out: Any, input: Any, target: Any, weight: Any, pos_weight: Any, needs: Any, reduction: str
) -> list[Any]:
    g = unreduced(g, input, reduction)
    scaled = g if weight is None else g * weight
    positive = target if pos_weight is None else pos_weight * target
    p = sigmoid(input)
    softplus_minus, softplus_plus = _softplus_pair(input)
    weighted_minus = softplus_minus if pos_weight is None else pos_weight * softplus_minus
    return [
        scaled * ((1 - target) * p - positive * (1 - p)) if needs[0] else None,
        scaled * (weighted_minus - softplus_plus) if needs[1] else None,
        g * (positive * softplus_minus + (1 - target) * softplus_plus) if needs[2] else None,
        scaled * target * softplus_minus if needs[3] else None,
    ]


def _softplus_pair(x: Any) -> tuple[Any, Any]:
    """-log sigmoid(x) and -log(1 - sigmoid(x))."""
    return softplus(-x), softplus(x)


def _bce_reference(input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    p = 1 / (1 + np.exp(-input))
    loss = -(1 if pos_weight is None else pos_weight) * target * np.log(p) - (1 - target) * np.log(1 - p)
    return reduced(loss * (1 if weight is None else weight), reduction)


@primitive(
    vjp=_bce_rule,
    samples=lambda r: [
        sample(r(2, 3), r.uniform(0, 1, 2, 3), None, None),
        sample(r(2, 3), r.uniform(0, 1, 2, 3), r.positive(3), r.positive(3), reduction="sum"),
        sample(r(3), r.uniform(0, 1, 3), None, r.positive(3), reduction="none"),
    ],
    reference=_bce_reference,
)
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """-w [p⁺ t log σ(x) + (1 - t) log(1 - σ(x))], safe for large |x|; target in [0, 1].

    >>> import tinygrad_zoo as tz
    >>> tz.binary_cross_entropy_with_logits(tz.tensor([0.0, 1e4]), tz.tensor([1.0, 1.0]), reduction="none").tolist()
    [0.6931471824645996, 0.0]
    """
    check_reduction("binary_cross_entropy_with_logits", reduction)
    check_same_shape("binary_cross_entropy_with_logits", input, target)
    for name, array in (("weight", weight), ("pos_weight", pos_weight)):
        if array is not None and np.broadcast_shapes(array.shape, input.shape) != input.shape:
            raise ShapeError(
                f"binary_cross_entropy_with_logits: {name} has shape {array.shape}; expected one that broadcasts to "
                f"that of input, {input.shape}"
            )
    minus, plus = _softplus_pair(input)
    loss = (target if pos_weight is None else pos_weight * target) * minus + (1 - target) * plus
    return reduced(loss if weight is None else weight * loss, reduction)


def _class_axis(input: Any) -> int:
    return 0 if input.ndim == 1 else 1


def _along_classes(weight: Any, input: Any) -> Any:
    """A weight (C,) in a shape that broadcasts against `input`."""
    return weight.reshape((-1,) + (1,) * (input.ndim - 1 - _class_axis(input)))


def cross_entropy_formula(
    input: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    axis = _class_axis(input)
    classes = input.shape[axis]
    weighted = log_softmax(input, axis=axis)
    if weight is not None:
        weighted = weighted * _along_classes(weight, input)
    if target.dtype.kind == "f":
        smooth = (1 - label_smoothing) * target + label_smoothing / classes
        loss, total = -(smooth * weighted).sum(axis=axis), math.prod(input.shape) // classes
    else:
        kept = target != ignore_index
        index = where(kept, target, 0)
        picked = -take_along_axis(weighted, _expand(index, axis), axis=axis).sum(axis=axis)
        smoothed = (1 - label_smoothing) * picked - (label_smoothing / classes) * weighted.sum(axis=axis)
        loss = where(kept, smoothed, 0)
        total = kept if weight is None else where(kept, embedding(index, weight.reshape(-1, 1))[..., 0], 0)
    if reduction == "none":
        return loss
    loss = loss.sum()
    return loss if reduction == "sum" else loss / (total if isinstance(total, int) else total.sum())


def _expand(index: Any, axis: int) -> Any:
    return index[(slice(None),) * axis + (None,)]


def _rows(x: Array, axis: int) -> Array:
    """(N, C, …) or (C,) as a matrix with a row an example: (M, C)."""
    return x if x.ndim == 2 else namespace(x).moveaxis(x, axis, -1).reshape(-1, x.shape[axis])


def _unrows(rows: Array, input: Array, axis: int) -> Array:
    if input.ndim == 2:
        return rows
    lead = input.shape[:axis] + input.shape[axis + 1 :]
    return namespace(input).moveaxis(rows.reshape(*lead, rows.shape[1]), -1, axis)


def _cross_entropy_backward(
    g: Array, out: Array, input: Array, target: Array, weight: Any, log_probability: Array, share: Array, *,
    needs: Any, ignore_index: int, reduction: str, label_smoothing: float,
) -> list[Any]:  # fmt: skip
    """(Σ_c q · softmax - q) · share, with q the weighted target distribution and share a row's part of the result."""
    if needs[2]:
        raise GradientError("cross_entropy: weight takes no gradient; write weight.detach()")
    axis, xp = _class_axis(input), namespace(input)
    classes = input.shape[axis]
    scale = share * g.reshape(-1, 1) if share.ndim == 0 else (share * g.reshape(-1))[:, None]
    p = xp.exp(log_probability)
    if target.dtype.kind == "f":
        w = 1 if weight is None else weight
        gt = -(1 - label_smoothing) * scale * w * log_probability if needs[1] else None
        q = w * ((1 - label_smoothing) * _rows(target, axis) + label_smoothing / classes)
        gx = scale * (q.sum(axis=1, keepdims=True) * p - q)
        return [_unrows(gx, input, axis), gt if gt is None else _unrows(gt, input, axis), None]
    rows = xp.arange(len(p))
    index = target.reshape(-1)
    if share.ndim:
        index = xp.where(index == ignore_index, 0, index)
    if weight is None and not label_smoothing:
        p[rows, index] -= 1
        p *= scale
        return [_unrows(p, input, axis), None, None]
    q = xp.zeros_like(p)
    q[rows, index] = 1 - label_smoothing
    q += label_smoothing / classes
    if weight is not None:
        q *= weight
    return [_unrows(scale * (q.sum(axis=1, keepdims=True) * p - q), input, axis), None, None]


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _fit_classes(index: Array, classes: int) -> bool:
    """Whether 0 <= index < classes, on the host: as unsigned numbers negative ones are large."""
    return bool(index.view(_UNSIGNED[index.itemsize]).max() < classes)


def _all_count(target: Array, classes: int, ignore_index: int) -> bool:
    """Whether it is plain that no example is ignored; a look at the values of a device would wait for them."""
    return (
        type(target) is np.ndarray
        and target.size > 0
        and not 0 <= ignore_index < classes
        and _fit_classes(target, classes)
    )


def _check_classes(index: Array, classes: int) -> None:
    if on_host(index) and index.size and not _fit_classes(index, classes):
        raise IndexingError(
            f"cross_entropy: class indices from {index.min()} to {index.max()} do not fit input with C={classes}"
        )


def _cross_entropy_reference(
    input: Any, target: Any, weight: Any, ignore_index: int, reduction: str, label_smoothing: float
) -> Any:
    """One example at a time."""
    axis = _class_axis(input)
    rows = np.moveaxis(input, axis, -1)
    classes = rows.shape[-1]
    w = np.ones(classes) if weight is None else weight
    soft = target.dtype.kind == "f"
    targets = np.moveaxis(target, axis, -1) if soft else target
    losses, norms = np.zeros(rows.shape[:-1]), np.zeros(rows.shape[:-1])
    for at in np.ndindex(*rows.shape[:-1]):
        logp = rows[at] - np.log(np.exp(rows[at]).sum())
        if not soft and targets[at] == ignore_index:
            continue
        q = targets[at] if soft else np.eye(classes)[targets[at]]
        losses[at] = -(w * ((1 - label_smoothing) * q + label_smoothing / classes) * logp).sum()
        norms[at] = 1 if soft else w[targets[at]]
    return losses if reduction == "none" else losses.sum() / (norms.sum() if reduction == "mean" else 1)


@fused(
    formula=cross_entropy_formula,
    backward=_cross_entropy_backward,
    saved=("log_probability", "share"),
    samples=lambda r: [
        sample(r(4, 3), r.integers(3, 4), None),
        sample(r(3), r.integers(3), None, label_smoothing=0.1),
        sample(r(4, 3), np.array([0, -100, 2, 1]), None, reduction="sum"),
        sample(r(2, 3, 2), r.integers(3, 2, 2), None, ignore_index=1, reduction="none", label_smoothing=0.2),
        sample(r(2, 3), r.probabilities(2, 3), None),
        sample(r(2, 3, 2), r.probabilities(2, 3, 2), None, reduction="sum", label_smoothing=0.3),
    ],
    reference=_cross_entropy_reference,
)
def cross_entropy(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """-Σ_c w_c q_c log softmax(input)_c with q the (smoothed) target, over the class axis.

    input: logits (N, C, …) or (C,); target: class indices (N, …) or probabilities in the shape of input; weight: (C,),
    which takes no gradient. The mean is over examples, each counted by its class weight, without those ignored.

    >>> import tinygrad_zoo as tz
    >>> tz.cross_entropy(tz.tensor([[0.0, 0.0]]), tz.tensor([1])).item()
    0.6931471824645996
    """
    check_reduction("cross_entropy", reduction)
    if not 0 <= label_smoothing <= 1:
        raise UsageError(f"cross_entropy: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
    if input.ndim == 0:
        raise ShapeError("cross_entropy: expected logits of shape (N, C, …) or (C,), got a scalar")
    axis = _class_axis(input)
    classes = input.shape[axis]
    soft = target.dtype.kind == "f"
    expected = input.shape if soft else input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != expected:
        raise ShapeError(f"cross_entropy: for input {input.shape} expected a target of {expected}, got {target.shape}")
    if target.dtype.kind not in "fiu":
        raise DTypeError(f"cross_entropy: target holds class indices or probabilities, not {target.dtype}")
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"cross_entropy: expected a weight of shape ({classes},), got {weight.shape}")
    xp = namespace(input)
    rows = input if input.ndim == 2 else _rows(input, axis)
    log_probability = rows - rows.max(axis=1, keepdims=True)
    log_probability -= xp.log(xp.exp(log_probability).sum(axis=1, keepdims=True))
    if weight is None and not soft and not label_smoothing and _all_count(target, classes, ignore_index):
        index = target.reshape(-1)
        share = np.asarray(1 / len(index) if reduction == "mean" else 1, input.dtype)
        loss = log_probability[xp.arange(len(index)), index]
        loss = -loss.reshape(expected) if reduction == "none" else loss.sum() * -share
        return loss, log_probability, share
    if soft:
        q = (1 - label_smoothing) * _rows(target, axis) + label_smoothing / classes
        loss = -((q if weight is None else q * weight) * log_probability).sum(axis=1)
        counts = norms = xp.ones_like(loss)
    else:
        index = target.reshape(-1)
        kept = index != ignore_index
        index = xp.where(kept, index, 0)
        _check_classes(index, classes)
        counts = norms = kept.astype(input.dtype)
        loss = -log_probability[xp.arange(len(index)), index]
        if weight is not None:
            norms = counts * weight[index]
            loss = loss * weight[index]
        if label_smoothing:
            spread = (log_probability if weight is None else log_probability * weight).sum(axis=1)
            loss = (1 - label_smoothing) * loss - (label_smoothing / classes) * spread
        loss = xp.where(kept, loss, 0)
    if reduction == "none":
        return loss.reshape(expected if not soft else expected[:axis] + expected[axis + 1 :]), log_probability, counts
    if reduction == "sum":
        return loss.sum(), log_probability, counts
    with errstate(input):
        total = norms.sum()
        return loss.sum() / total, log_probability, xp.where(counts > 0, counts / total, 0)  # no NaN if none count

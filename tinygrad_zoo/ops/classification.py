"""Losses of a choice among classes: input first, target second; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import fused
from ..backend import errstate, namespace, on_host
from ..errors import DTypeError, IndexingError, ShapeError, UsageError
from ..kernels import softmax as kernels
from ..variable import Array, looked_at
from .composite import composite
from .elementwise import div, where
from .indexing import embedding, take_along_axis
from .loss_reduction import check_settings, reduced_by_numpy
from .precision import narrowed, widened
from .sampling import sample
from .softmax import log_softmax


def _class_axis(input: Any) -> int:
    return 0 if input.ndim == 1 else 1


def _along_classes(weight: Any, input: Any) -> Any:
    """A weight (C,) in a shape that broadcasts against `input`."""
    return weight.reshape((-1,) + (1,) * (input.ndim - 1 - _class_axis(input)))


def cross_entropy_formula(input: Any, target: Any, weight: Any, **settings: Any) -> Any:
    return _from_logs(log_softmax(widened(input), axis=_class_axis(input)), target, widened(weight), **settings)


def _from_logs(
    log_probability: Any, target: Any, weight: Any, *, ignore_index: int, reduction: str, label_smoothing: float = 0.0
) -> Any:
    axis = _class_axis(log_probability)
    classes = log_probability.shape[axis]
    weighted = log_probability if weight is None else log_probability * _along_classes(weight, log_probability)
    if target.dtype.kind == "f":
        smooth = (1 - label_smoothing) * target + label_smoothing / classes
        loss, total = -(smooth * weighted).sum(axis=axis), math.prod(weighted.shape) // classes
    else:
        kept = target != ignore_index
        index = where(kept, target, 0)
        loss = -take_along_axis(weighted, _expand(index, axis), axis=axis).sum(axis=axis)
        if label_smoothing:
            loss = (1 - label_smoothing) * loss - (label_smoothing / classes) * weighted.sum(axis=axis)
        loss = where(kept, loss, 0)
        counts = 1 if weight is None else embedding(index, weight.reshape(-1, 1))[..., 0]
        total = where(kept, counts, 0).sum().astype(loss.dtype) if reduction == "mean" else 1
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else div(loss.sum(), total)


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
    g: Array, out: Array, input: Array, target: Array, weight: Any, normalizers: Array, share: Any, *,
    needs: Any, ignore_index: int, reduction: str, label_smoothing: float,
) -> list[Any]:  # fmt: skip
    """Of input (Σ_c wq · softmax - wq) · scale: q the target's distribution, scale the gradient of a row's loss."""
    axis, xp, soft = _class_axis(input), namespace(input), target.dtype.kind == "f"
    classes, x = input.shape[axis], _rows(input, axis)
    if not (soft or needs[1] or needs[2]):
        gx = kernels.cross_entropy_pulled(
            g, x, target, weight, normalizers, share, ignore_index=ignore_index, label_smoothing=label_smoothing
        )
        if gx is not None:
            return [_unrows(gx, input, axis), None, None]
    scale, index = (share * g).reshape(-1, 1), target.reshape(-1)
    log_probability = _log_shares(x, normalizers)
    p = xp.exp(log_probability)
    if soft:
        q = (1 - label_smoothing) * _rows(target, axis) + label_smoothing / classes
    else:
        kept = index != ignore_index
        scale, index = xp.where(kept[:, None], scale, 0), xp.where(kept, index, 0)
        hot = xp.zeros_like(p)
        hot[xp.arange(len(p)), index] = 1
        q = (1 - label_smoothing) * hot + label_smoothing / classes
    w = 1 if weight is None else weight
    gt = gw = None
    if needs[1]:
        gt = _unrows(-(1 - label_smoothing) * scale * w * log_probability, input, axis)
    if needs[2]:
        gw = -(scale * q * log_probability).sum(axis=0)
        if reduction == "mean" and not soft:  # the weights of the targets are what it divides by too
            gw = gw - out * (scale * hot).sum(axis=0)
    q = w * q
    return [_unrows(scale * (q.sum(axis=1, keepdims=True) * p - q), input, axis), gt, gw]


def _normalizers(x: Array) -> Array:
    """The largest entry of each row, and the logarithm of the sum of exp(row - it): (2, M)."""
    xp, top = namespace(x), x.max(axis=1)
    return xp.stack([top, xp.log(xp.exp(x - top[:, None]).sum(axis=1))])


def _log_shares(x: Array, normalizers: Array) -> Array:
    """log softmax of each row."""
    return (x - normalizers[0][:, None]) - normalizers[1][:, None]


_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


def _fit_classes(index: Array, classes: int) -> bool:
    """Whether 0 <= index < classes, on the host: as unsigned numbers negative ones are large."""
    return bool(index.view(_UNSIGNED[index.itemsize]).max() < classes)


def _check_classes(op: str, index: Array, classes: int) -> None:
    if on_host(index) and index.size and not _fit_classes(index, classes):
        raise IndexingError(
            f"{op}: class indices from {index.min()} to {index.max()} do not fit input with C={classes}"
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
    saved=("normalizers", "share"),
    samples=lambda r: [
        sample(r(4, 3), r.integers(3, 4), None),
        sample(r(3), r.integers(3), None, label_smoothing=0.1),
        sample(r(4, 3), np.array([0, -100, 2, 1]), None, reduction="sum"),
        sample(r(2, 3, 2), r.integers(3, 2, 2), None, ignore_index=1, reduction="none", label_smoothing=0.2),
        sample(r(4, 3), np.array([0, 2, 2, 1]), r.positive(3), ignore_index=1, label_smoothing=0.3),
        sample(r(2, 3), r.probabilities(2, 3), None),
        sample(r(2, 3), r.probabilities(2, 3), r.positive(3)),
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

    input: logits (N, C, …) or (C,); target: class indices (N, …) or probabilities in the shape of input; weight: (C,).
    The mean is over examples, each counted by the weight of its class index, without those ignored.

    >>> tz.cross_entropy(tz.tensor([[0.0, 0.0]]), tz.tensor([1])).item()
    0.6931471824645996
    """
    check_settings("cross_entropy", reduction=reduction, label_smoothing=label_smoothing, ignore_index=ignore_index)
    _check("cross_entropy", input, target, weight, "logits", " or probabilities")
    if ignore_index >= 0 and target.dtype.kind == "f":
        raise UsageError(f"cross_entropy: target holds probabilities, no class {ignore_index=} to ignore")
    axis, like = _class_axis(input), (input, target, weight)
    input, weight = widened(input), widened(weight)
    x, xp, soft = _rows(input, axis), namespace(input), target.dtype.kind == "f"
    classes, expected = input.shape[axis], input.shape[:axis] + input.shape[axis + 1 :]
    if not soft:
        made = kernels.cross_entropy(
            x, target, weight, ignore_index=ignore_index, reduction=reduction, label_smoothing=label_smoothing
        )
        if made is not None:
            if made.wrong:
                _check_classes("cross_entropy", target[target != ignore_index], classes)
            return narrowed(made.loss.reshape(expected if reduction == "none" else ()), *like), *made[1:3]
    normalizers = _normalizers(x)
    log_probability = _log_shares(x, normalizers)
    if soft:
        q = (1 - label_smoothing) * _rows(target, axis) + label_smoothing / classes
        loss = -((q if weight is None else q * weight) * log_probability).sum(axis=1)
        norms = xp.ones_like(loss)
    else:
        index = target.reshape(-1)
        kept = index != ignore_index
        index = xp.where(kept, index, 0)
        _check_classes("cross_entropy", index, classes)
        norms = kept.astype(input.dtype)
        loss = -log_probability[xp.arange(len(index)), index]
        if weight is not None:
            norms = norms * weight[index]
            loss = loss * weight[index]
        if label_smoothing:
            spread = (log_probability if weight is None else log_probability * weight).sum(axis=1)
            loss = (1 - label_smoothing) * loss - (label_smoothing / classes) * spread
        loss = xp.where(kept, loss, 0)
    if reduction == "none":
        return narrowed(loss.reshape(expected), *like), normalizers, 1.0
    if reduction == "sum":
        return narrowed(loss.sum(), *like), normalizers, 1.0
    with errstate(input):
        loss, total = loss.sum(), norms.sum()
        return narrowed(loss / total, *like), normalizers, 1 / total


def _check(op: str, input: Any, target: Any, weight: Any, scores: str, or_probabilities: str = "") -> None:
    if input.ndim == 0:
        raise ShapeError(f"{op}: expected {scores} of shape (N, C, …) or (C,), got a scalar")
    if target.dtype.kind not in ("fiu" if or_probabilities else "iu"):
        raise DTypeError(f"{op}: target holds class indices{or_probabilities}, not {target.dtype}")
    axis = _class_axis(input)
    expected = input.shape if target.dtype.kind == "f" else input.shape[:axis] + input.shape[axis + 1 :]
    if target.shape != expected:
        classes = "; classes are integers: write target.long()" if target.dtype.kind == "f" else ""
        raise ShapeError(f"{op}: for input {input.shape} expected a target of {expected}, got {target.shape}{classes}")
    if weight is not None and weight.shape != (input.shape[axis],):
        raise ShapeError(f"{op}: expected a weight of shape ({input.shape[axis]},), got {weight.shape}")


def _nll_reference(input: Any, target: Any, weight: Any, ignore_index: int, reduction: str) -> Any:
    """That of cross-entropy: normalising what is a logarithm of probabilities changes nothing."""
    shift = np.log(np.exp(input).sum(axis=_class_axis(input), keepdims=True))
    values = _cross_entropy_reference(input - shift, target, weight, ignore_index, "none", 0.0)
    kept = target != ignore_index
    w = kept if weight is None else np.where(kept, weight[np.where(kept, target, 0)], 0)
    values = values - w * np.squeeze(shift, _class_axis(input))
    return values.sum() / w.sum() if reduction == "mean" else reduced_by_numpy(values, reduction)


@composite(
    samples=lambda r: [
        sample(r(4, 3), r.integers(3, 4), None),
        sample(r(3), r.integers(3), r.positive(3)),
        sample(r(4, 3), np.array([0, -100, 2, 1]), r.positive(3), reduction="sum"),
        sample(r(2, 3, 2), np.array([[0, 1], [1, 2]]), r.positive(3), ignore_index=1),
        sample(r(2, 3, 2), r.integers(3, 2, 2), None, reduction="none"),
    ],
    reference=_nll_reference,
)
def nll_loss(
    input: Array, target: Array, weight: Array | None = None, *, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """-w_t input_t for the class index t, of log-probabilities (N, C, …) or (C,); the mean divides by Σ w_t.

    `cross_entropy` of logits is this of their `log_softmax`.

    >>> tz.nll_loss(tz.tensor([[-1.0, -2.0], [-3.0, -4.0]]), tz.tensor([1, 0])).item()
    2.5
    """
    check_settings("nll_loss", reduction=reduction, ignore_index=ignore_index)
    _check("nll_loss", input, target, weight, "log-probabilities")
    values = looked_at(target)
    kept = namespace(values).where(values == ignore_index, 0, values)
    _check_classes("nll_loss", kept, input.shape[_class_axis(input)])
    return _from_logs(input, target, weight, ignore_index=ignore_index, reduction=reduction)

"""Losses that ask for a margin, of scores or of distances; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..backend import on_host
from ..errors import IndexingError, ShapeError, UsageError
from ..variable import Array, looked_at
from .activation import softplus
from .composite import composite
from .elementwise import clip, minimum, where
from .exponential import sqrt
from .indexing import embedding, one_hot, take_along_axis
from .loss_reduction import check_same_shape, check_settings, reduced, reduced_by_numpy
from .norm import norm
from .piecewise import relu
from .precision import as_float
from .sampling import sample


def _check(name: str, input: Array, target: Array, reduction: str) -> None:
    check_settings(name, reduction=reduction)
    check_same_shape(name, input, target)


def _above(x: Any) -> Any:
    """max(x, 0), with derivative 1 at 0: PyTorch's clamp."""
    return clip(x, min=0)


def _signs(r: Any, *shape: int) -> Any:
    return 2 * r.boolean(*shape) - 1


def _off_margin(x: Any, *others: Any) -> tuple[Any, ...]:
    """A repair: no value near 0 nor near the margins ±0.5, ±1."""
    near = np.abs(2 * x - np.round(2 * x)) < 0.1
    return (np.where(near, x + 0.2, x), *others)


def _scored(r: Any, *shape: int) -> Any:
    return _off_margin(r(*shape))[0]


# ---- one score, and whether it should be high or low: target is 1 or -1
@composite(
    samples=lambda r: [
        sample(_scored(r, 2, 3), _signs(r, 2, 3)),
        sample(_scored(r, 2, 3), _signs(r, 2, 3), reduction="sum"),
        sample(_scored(r, 3), 1.0 * _signs(r, 3), reduction="none"),
    ],
    reference=lambda input, target, reduction: reduced_by_numpy(np.maximum(0, 1 - target * input), reduction),
    repair=lambda input, target: (input, np.round(2 * target) + 0.3),
)
def hinge_loss(input: Array, target: Array, *, reduction: str = "mean") -> Any:
    """max(0, 1 - target · input), the support vector machine's, with target 1 or -1; its derivative at 1 is -target.

    >>> tz.hinge_loss(tz.tensor([2.0, 0.5, 0.5]), tz.tensor([1, 1, -1]), reduction="none").tolist()
    [0.0, 0.5, 1.5]
    """
    _check("hinge_loss", input, target, reduction)
    return reduced(_above(1 - as_float(target, input) * input), reduction)


@composite(
    samples=lambda r: [
        sample(r(2, 3), _signs(r, 2, 3)),
        sample(20 * r(2, 3), r(2, 3), reduction="sum"),
        sample(r(3), 1.0 * _signs(r, 3), reduction="none"),
    ],
    reference=lambda input, target, reduction: reduced_by_numpy(np.logaddexp(0, -target * input), reduction),
)
def soft_margin_loss(input: Array, target: Array, *, reduction: str = "mean") -> Any:
    """log(1 + exp(-target · input)), with target 1 or -1; safe for large scores.

    >>> tz.soft_margin_loss(tz.tensor([1e4, -1e4]), tz.tensor([1, 1]), reduction="sum").item()
    10000.0
    """
    _check("soft_margin_loss", input, target, reduction)
    return reduced(softplus(-(as_float(target, input) * input)), reduction)


@composite(
    samples=lambda r: [
        sample(_scored(r, 2, 3), _signs(r, 2, 3)),
        sample(_scored(r, 2, 3), _signs(r, 2, 3), margin=0.5, reduction="sum"),
        sample(_scored(r, 3), _signs(r, 3), reduction="none"),
    ],
    reference=lambda input, target, margin, reduction: reduced_by_numpy(
        np.where(target != 1, np.maximum(0, margin - input), 0) + np.where(target != -1, input, 0), reduction
    ),
    repair=_off_margin,
)
def hinge_embedding_loss(input: Array, target: Array, *, margin: float = 1.0, reduction: str = "mean") -> Any:
    """A distance `input` where target is 1, max(0, margin - input) where it is -1; any other target adds the two.

    >>> tz.hinge_embedding_loss(tz.tensor([0.2, 0.25, 3.0]), tz.tensor([1, -1, -1]), reduction="sum").item()
    0.949999988079071
    """
    _check("hinge_embedding_loss", input, target, reduction)
    loss = where(target == 1, 0, _above(margin - input)) + where(target == -1, 0, input)
    return reduced(loss, reduction)


# ---- two or three things to be told apart
@composite(
    samples=lambda r: [
        sample(_scored(r, 2, 3), np.zeros((2, 3)), _signs(r, 2, 3)),
        sample(_scored(r, 2, 3), np.zeros((2, 3)), 1.0 * _signs(r, 2, 1), margin=0.5, reduction="sum"),
        sample(_scored(r, 3), np.zeros(3), _signs(r, 3), reduction="none"),
    ],
    reference=lambda input1, input2, target, margin, reduction: reduced_by_numpy(
        np.maximum(0, margin - target * (input1 - input2)), reduction
    ),
    repair=lambda input1, input2, target: (
        np.round(input1) + 0.3,
        np.round(input2),
        np.round(2 * target) + 0.3 + 0 * input1.sum(),
    ),
)
def margin_ranking_loss(
    input1: Array, input2: Array, target: Array, *, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """max(0, margin - target (input1 - input2)), with target 1 where input1 should rank higher and -1 where lower.

    >>> one, other = tz.tensor([1.0, 1.0]), tz.tensor([0.0, 3.0])
    >>> tz.margin_ranking_loss(one, other, tz.tensor([1, 1]), reduction="none").tolist()
    [0.0, 2.0]
    """
    check_settings("margin_ranking_loss", reduction=reduction)
    if not input1.ndim == input2.ndim == target.ndim:
        raise ShapeError(
            f"margin_ranking_loss: expected as many axes in each, got {input1.shape}, {input2.shape} and {target.shape}"
        )
    return reduced(_above(margin - as_float(target, input1) * (input1 - input2)), reduction)


def _triplets(r: Any, *shape: int, **settings: Any) -> Any:
    """Of anchors, positives and negatives no two the same, the loss neither at its kink nor far from 0."""
    anchor = 0.1 * r(*shape)
    steps = np.arange(1, 1 + shape[-1])
    return sample(anchor, anchor + steps + 0.1 * r(*shape), anchor - steps[::-1] + 0.1 * r(*shape), **settings)


def _triplet_reference(
    anchor: Any, positive: Any, negative: Any, margin: float, p: float, eps: float, swap: bool, reduction: str
) -> Any:
    near, far = (np.linalg.norm(anchor - x + eps, p, axis=-1) for x in (positive, negative))
    if swap:
        far = np.minimum(far, np.linalg.norm(positive - negative + eps, p, axis=-1))
    return reduced_by_numpy(np.maximum(0, margin + near - far), reduction)


@composite(
    samples=lambda r: [
        _triplets(r, 2, 3),
        _triplets(r, 2, 3, p=1.0, margin=2.0, swap=True, reduction="sum"),
        _triplets(r, 2, 2, 3, p=3.0, reduction="none"),
        _triplets(r, 4),
    ],
    reference=_triplet_reference,
    repair=lambda anchor, positive, negative: _triplets(lambda *shape: np.tanh(anchor), *anchor.shape).inputs,
)
def triplet_margin_loss(
    anchor: Array,
    positive: Array,
    negative: Array,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    reduction: str = "mean",
) -> Any:
    """max(0, margin + d(anchor, positive) - d(anchor, negative)) of vectors (…, D), with d(x, y) = ‖x - y + eps‖ₚ.

    `swap` takes d(positive, negative) where that is smaller (Balntas et al. 2016); shapes may broadcast.

    >>> anchor, positive, negative = tz.tensor([[0.0]]), tz.tensor([[1.0]]), tz.tensor([[-3.0]])
    >>> tz.triplet_margin_loss(anchor, positive, negative, margin=3.0, eps=0.0).item()
    1.0
    """
    check_settings("triplet_margin_loss", reduction=reduction, margin=margin)
    if not anchor.ndim == positive.ndim == negative.ndim or not anchor.ndim:
        raise ShapeError(
            f"triplet_margin_loss: expected vectors (…, D) with as many axes in each, got {anchor.shape}, "
            f"{positive.shape} and {negative.shape}"
        )
    near = norm(anchor - positive + eps, p=p, axis=-1)
    far = norm(anchor - negative + eps, p=p, axis=-1)
    if swap:
        far = minimum(far, norm(positive - negative + eps, p=p, axis=-1))
    return reduced(_above(margin + near - far), reduction)


_LEAST_SQUARE = 1e-12  # added to the squared lengths


def _cosine_embedding_reference(x1: Any, x2: Any, target: Any, margin: float, reduction: str) -> Any:
    cos = (x1 * x2).sum(-1) / np.sqrt(((x1 * x1).sum(-1) + 1e-12) * ((x2 * x2).sum(-1) + 1e-12))
    loss = np.where(target == 1, 1 - cos, np.where(target == -1, np.maximum(0, cos - margin), 0))
    return reduced_by_numpy(loss, reduction)


@composite(
    samples=lambda r: [
        sample(r.positive(2, 3), r.positive(2, 3), _signs(r, 2)),
        sample(r.positive(2, 3), r.positive(2, 3), _signs(r, 2), margin=0.25, reduction="none"),
        sample(r.positive(3), r.positive(3), np.asarray(-1.0), reduction="sum"),
    ],
    reference=_cosine_embedding_reference,
    repair=lambda input1, input2, target: (np.abs(input1) + 0.3, np.abs(input2) + 0.3, target),
)
def cosine_embedding_loss(
    input1: Array, input2: Array, target: Array, *, margin: float = 0.0, reduction: str = "mean"
) -> Any:
    """1 - cos where target is 1, max(0, cos - margin) where it is -1, of vectors (N, D) or (D,).

    cos is x · y / √((|x|² + 1e-12) (|y|² + 1e-12)), PyTorch's here; its other targets give 0.

    >>> x, y = tz.tensor([[3.0, 4.0]]), tz.tensor([[4.0, 3.0]])
    >>> tz.cosine_embedding_loss(x, y, tz.tensor([-1]), margin=0.5).item()
    0.4599999785423279
    """
    check_settings("cosine_embedding_loss", reduction=reduction)
    if input1.ndim not in (1, 2) or input1.ndim != input2.ndim or target.ndim != input1.ndim - 1:
        raise ShapeError(
            "cosine_embedding_loss: expected inputs (N, D) with a target (N,), or (D,) with one number, got "
            f"{input1.shape}, {input2.shape} and {target.shape}"
        )
    squares = ((x * x).sum(axis=-1) + _LEAST_SQUARE for x in (input1, input2))
    cos = (input1 * input2).sum(axis=-1) / sqrt(next(squares) * next(squares))
    loss = where(target == 1, 1 - cos, 0) + where(target == -1, _above(cos - margin), 0)
    return reduced(loss, reduction)


# ---- a score a class
def _check_classes(name: str, input: Any, target: Any) -> None:
    if input.ndim not in (1, 2) or target.shape not in (input.shape[:-1], (1,)[: 2 - input.ndim]):
        raise ShapeError(
            f"{name}: expected scores (N, C) with classes (N,), or (C,) with one, got {input.shape} and {target.shape}"
        )
    if target.dtype.kind not in "iu":
        raise UsageError(f"{name}: target holds class indices, not {target.dtype}")
    index = looked_at(target)
    if on_host(index) and index.size and not (index.min() >= 0 and index.max() < input.shape[-1]):
        raise IndexingError(
            f"{name}: class indices from {index.min()} to {index.max()} do not fit input with C={input.shape[-1]}"
        )


def _multi_margin_reference(input: Any, target: Any, weight: Any, p: int, margin: float, reduction: str) -> Any:
    rows, classes = input.reshape(-1, input.shape[-1]), np.reshape(target, -1)
    out = np.zeros(len(rows))
    for i, (row, y) in enumerate(zip(rows, classes, strict=True)):
        others = [max(0, margin - row[y] + x) ** p for c, x in enumerate(row) if c != y]
        out[i] = (1 if weight is None else weight[y]) * sum(others) / len(row)
    return reduced_by_numpy(out.reshape(target.shape), reduction)


@composite(
    samples=lambda r: [
        sample(0.3 + r.distinct(2, 3), r.integers(3, 2)),
        sample(0.3 + r.distinct(2, 3), r.integers(3, 2), r.positive(3), p=2, margin=0.55, reduction="sum"),
        sample(r.distinct(3), r.integers(3), margin=0.55, reduction="none"),
    ],
    reference=_multi_margin_reference,
    repair=lambda input, target, *weight: (np.round(input) + 0.1 * np.arange(1, 1 + input.shape[-1]), target, *weight),
    order=("input", "target", "p", "margin", "weight"),
)
def multi_margin_loss(
    input: Array,
    target: Array,
    weight: Array | None = None,
    *,
    p: int = 1,
    margin: float = 1.0,
    reduction: str = "mean",
) -> Any:
    """w_t Σ_c max(0, margin - x_t + x_c)ᵖ / C over the classes c ≠ t, of scores x (N, C) or (C,) and the class t.

    >>> tz.multi_margin_loss(tz.tensor([[1.0, 0.5]]), tz.tensor([0])).item()
    0.25
    """
    check_settings("multi_margin_loss", reduction=reduction, p=p)
    input = input if input.ndim else input.reshape((1,))
    _check_classes("multi_margin_loss", input, target)
    classes, target = input.shape[-1], target.reshape(input.shape[:-1])
    if weight is not None and weight.shape != (classes,):
        raise ShapeError(f"multi_margin_loss: expected a weight of shape ({classes},), got {weight.shape}")
    true = take_along_axis(input, target[..., None], axis=-1)
    gap = where(one_hot(target, classes) == 0, relu(margin - true + input), 0)
    if p == 2:
        gap = gap * gap
    if weight is not None:
        gap = gap * embedding(target, weight[:, None])
    return reduced(gap.sum(axis=-1) / classes, reduction)


@composite(
    samples=lambda r: [
        sample(r(2, 3), r.integers(2, 2, 3), None),
        sample(20 * r(2, 3), r.uniform(0, 1, 2, 3), r.positive(3), reduction="sum"),
        sample(r(2, 2, 3), r.integers(2, 2, 2, 3), None, reduction="none"),
    ],
    reference=lambda input, target, weight, reduction: reduced_by_numpy(
        np.mean(
            (target * np.logaddexp(0, -input) + (1 - target) * np.logaddexp(0, input))
            * (1 if weight is None else weight),
            -1,
        ),
        reduction,
    ),
)
def multilabel_soft_margin_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean"
) -> Any:
    """The mean over the classes (…, C) of -w [t log σ(x) + (1 - t) log(1 - σ(x))], with t whether the class is there.

    >>> tz.multilabel_soft_margin_loss(tz.tensor([[1e4, -1e4]]), tz.tensor([[1, 0]])).item()
    0.0
    """
    _check("multilabel_soft_margin_loss", input, target, reduction)
    if not input.ndim:
        raise ShapeError("multilabel_soft_margin_loss: expected scores (…, C), got a scalar")
    t = as_float(target, input)
    loss = t * softplus(-input) + (1 - t) * softplus(input)
    return reduced((loss if weight is None else weight * loss).mean(axis=-1), reduction)

"""Boxes (x1, y1, x2, y2): how much they overlap, and which of many that overlap are kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace, to_host
from ..errors import ShapeError
from ..kernels import roi as kernels
from ..variable import Array
from .composite import composite
from .elementwise import clip, maximum, minimum
from .precision import widened
from .sampling import sample


def _check(op: str, **boxes: Any) -> None:
    for name, given in boxes.items():
        if given.ndim != 2 or given.shape[1] != 4:
            raise ShapeError(f"{op}: expected {name} of shape (N, 4), got {given.shape}")


# ---- overlap
def _some(r: Any, count: int) -> Any:
    """No two edges lie on one line."""
    corners = r.distinct(2, 2, count)
    return np.concatenate([np.minimum(*corners), np.maximum(*corners)]).T


def _iou_reference(boxes1: Any, boxes2: Any) -> Any:
    out = np.zeros((len(boxes1), len(boxes2)))
    for i, j in np.ndindex(*out.shape):
        (a, b, c, d), (e, f, g, h) = boxes1[i], boxes2[j]
        both = max(0.0, min(c, g) - max(a, e)) * max(0.0, min(d, h) - max(b, f))
        out[i, j] = both / ((c - a) * (d - b) + (g - e) * (h - f) - both)
    return out


@composite(
    samples=lambda r: [
        (*(lambda b: (b[:3], b[3:]))(_some(r, 5)),),
        (r(0, 4), _some(r, 2)),
    ],
    reference=_iou_reference,
)
def box_iou(boxes1: Any, boxes2: Any) -> Any:
    """The area that two boxes share over the area that they cover together: (N, 4) and (M, 4) → (N, M).

    NaN for two boxes without area.

    >>> tz.box_iou(tz.tensor([[0.0, 0.0, 2.0, 2.0]]), tz.tensor([[1.0, 0.0, 3.0, 2.0], [2.0, 2.0, 3.0, 3.0]])).tolist()
    [[0.3333333432674408, 0.0]]
    """
    _check("box_iou", boxes1=boxes1, boxes2=boxes2)
    one, other = boxes1[:, None], boxes2[None]
    sides = clip(minimum(one[..., 2:], other[..., 2:]) - maximum(one[..., :2], other[..., :2]), 0, None)
    shared = sides[..., 0] * sides[..., 1]
    areas = [(b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1]) for b in (one, other)]
    return shared / (areas[0] + areas[1] - shared)


# ---- suppression
def _kept(op: str, boxes: Array, scores: Array, labels: Array | None, iou_threshold: float) -> Array:
    _check(op, boxes=boxes)
    for name, given in (("scores", scores), ("idxs", labels)):
        if given is not None and given.shape != boxes.shape[:1]:
            raise ShapeError(f"{op}: expected {name} of shape ({len(boxes)},), one a box, got {given.shape}")
    wide = widened(boxes)
    kept = kernels.suppressed(wide, scores, labels, iou_threshold)
    if kept is not None:
        return kept
    of_each = None if labels is None else to_host(labels)
    return namespace(boxes).asarray(kernels.suppressed(to_host(wide), to_host(scores), of_each, iou_threshold))


def _kept_by_pairs(boxes: Any, scores: Any, labels: Any, iou_threshold: float) -> Any:
    overlap = np.nan_to_num(_iou_reference(boxes, boxes))
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        if all(labels[i] != labels[j] or overlap[j, i] <= iou_threshold for j in kept):
            kept.append(i)
    return np.array(kept, np.int64)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(_some(r, 6), r.distinct(6), iou_threshold=0.3),
        sample(_some(r, 3)[[0, 1, 0, 2]], np.zeros(4), iou_threshold=0.0),
        sample(r(0, 4), r(0), iou_threshold=0.5),
    ],
    reference=lambda boxes, scores, iou_threshold: _kept_by_pairs(boxes, scores, np.zeros(len(boxes)), iou_threshold),
)
def nms(boxes: Array, scores: Array, *, iou_threshold: float) -> Array:
    """Non-maximum suppression: the indices of the boxes kept, from the highest score down; of equal ones the first.

    One after the other, a box of (N, 4) is kept unless its `box_iou` with a kept one exceeds `iou_threshold`. From a
    device one number is read back, how many are kept.

    >>> boxes = tz.tensor([[0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 2.0, 1.5], [5.0, 5.0, 6.0, 6.0]])
    >>> tz.nms(boxes, tz.tensor([0.5, 0.9, 0.7]), 0.5).tolist()
    [1, 2]
    """
    return _kept("nms", boxes, scores, None, iou_threshold)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(_some(r, 6), r.distinct(6), r.integers(2, 6), iou_threshold=0.2),
        sample(_some(r, 2)[[0, 1, 0, 0]], np.zeros(4), np.array([1, 0, 0, 1]), iou_threshold=0.5),
    ],
    reference=_kept_by_pairs,
)
def batched_nms(boxes: Array, scores: Array, idxs: Array, *, iou_threshold: float) -> Array:
    """`nms` of each group on its own: idxs (N,) says to which a box belongs, its class say.

    >>> boxes = tz.tensor([[0.0, 0.0, 2.0, 2.0]]).broadcast_to((3, 4))
    >>> tz.batched_nms(boxes, tz.tensor([0.5, 0.9, 0.7]), tz.tensor([0, 1, 0]), 0.5).tolist()
    [1, 2]
    """
    return _kept("batched_nms", boxes, scores, idxs, iou_threshold)

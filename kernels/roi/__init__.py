"""Regions of interest: the largest pixel of each bin, means of samples or of pixels, their gradients; suppression.

x is (N, C, H, W), `boxes` (K, 5) of its dtype: the index of an image, x1, y1, x2, y2. Results are (K, C, P, Q). Every
function here returns None where no kernel serves: for other arrays than those of float32 and float64, for arrays of
several dtypes, and where kernels are turned off. Then the formula does, which stands in the op. A box that is not
finite gives NaN, and no gradient; on a device, where nobody looks, so does one of an image that there is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda, threads
from ..dispatch import Array, module
from ..jit import COMPILED

_ADDED = 8.0  # products that are added up in a nanosecond, of one thread, where channels are neighbours
_APART = 1.0  # where they are not
_NONE = -1  # the image of a box that is not finite


def largest(x: Array, boxes: Array, size: tuple[int, int], scale: float) -> Any:
    """The largest pixel of each bin and its place in the plane: the first of equal ones; 0 and -1 of no pixels.

    >>> x, boxes = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[0.0, 0, 0, 3, 3]])
    >>> [a.tolist() for a in largest(x, boxes, (1, 2), 1.0)]
    [[[[[13.0, 15.0]]]], [[[[13, 15]]]]]
    """
    if _on_device(x, boxes):
        return cuda.module(__name__).largest(x, boxes, size, scale)
    if (cpu := _served(x, boxes)) is None:
        return None
    last, shape = _last(x), (len(boxes), *size, x.shape[1])
    out, place = np.empty(shape, x.dtype), np.empty(shape, np.int64)
    parts = threads.parts(_pixels(x, boxes, scale) * x.shape[1] / _APART)
    cpu.largest[x.dtype](last, boxes, out, place, scale, parts)
    return _first(out), _first(place)


def largest_pulled(g: Array, boxes: Array, place: Array, shape: tuple[int, ...]) -> Any:
    """The gradient of `largest` in x, of that shape.

    >>> largest_pulled(np.ones((1, 1, 1, 1)), np.zeros((1, 5)), np.array([[[[1]]]]), (1, 1, 1, 2)).tolist()
    [[[[0.0, 1.0]]]]
    """
    if _on_device(g, boxes):
        return cuda.module(__name__).largest_pulled(g, boxes, place, shape)
    if (cpu := _served(g, boxes)) is None:
        return None
    n, channels, height, width = shape
    gx = np.zeros((n, height, width, channels), g.dtype)
    parts = min(threads.parts(g.size / _APART), max(channels, 1))
    bins = g.shape[2] * g.shape[3]
    by_channel = np.ascontiguousarray(place.transpose(0, 2, 3, 1)).reshape(len(boxes), bins, channels)
    cpu.largest_pulled[g.dtype](
        _last(g).reshape(by_channel.shape), boxes, by_channel, gx.reshape(n, height * width, channels), parts
    )
    return _first(gx)


def pooled(
    x: Array, boxes: Array, offset: Array | None, size: tuple[int, int], *, spatial_scale: float, sampling_ratio: int,
    aligned: bool, gamma: float = 0.0, sensitive: bool = False,
) -> Any:  # fmt: skip
    """Means of samples of each bin, moved by gamma · offset (K, 2 · sets, P, Q) · the size of the box.

    Set s is for its share of the channels; `sensitive`: bin b of channel c reads map c · P · Q + b.

    >>> x, boxes = np.arange(16.0).reshape(1, 1, 4, 4), np.array([[0.0, 0, 0, 2, 2]])
    >>> pooled(x, boxes, None, (1, 1), spatial_scale=1.0, sampling_ratio=2, aligned=False).tolist()
    [[[[5.0]]]]
    """
    if _on_device(x, boxes, offset):
        return cuda.module(__name__).pooled(
            x, boxes, offset, size, spatial_scale, sampling_ratio, aligned, gamma, sensitive
        )
    if (cpu := _served(x, boxes, offset)) is None:
        return None
    made = x.shape[1] // (size[0] * size[1] if sensitive else 1)
    out = np.empty((len(boxes), *size, made), x.dtype)
    parts = min(threads.parts(_work(x, boxes, out, spatial_scale, sampling_ratio)), max(len(boxes), 1))
    how = spatial_scale, sampling_ratio, gamma, int(aligned), int(sensitive)
    cpu.pooled[x.dtype](_last(x), boxes, _moves(offset, x.dtype), out, *how, parts)
    return _first(out)


def pooled_pulled(
    g: Array, x: Array, boxes: Array, offset: Array | None, size: tuple[int, int], *, spatial_scale: float,
    sampling_ratio: int, aligned: bool, gamma: float = 0.0, sensitive: bool = False,
) -> Any:  # fmt: skip
    """The gradients of `pooled` in x and in the offsets.

    >>> x, boxes = np.arange(4.0).reshape(1, 1, 2, 2), np.array([[0.0, 0, 0, 1, 1]])
    >>> settings = {"spatial_scale": 1.0, "sampling_ratio": 1, "aligned": False}
    >>> pooled_pulled(np.ones((1, 1, 1, 1)), x, boxes, None, (1, 1), **settings)[0].tolist()
    [[[[0.25, 0.25], [0.25, 0.25]]]]
    """
    if _on_device(x, g, boxes, offset):
        return cuda.module(__name__).pooled_pulled(
            g, x, boxes, offset, size, spatial_scale, sampling_ratio, aligned, gamma, sensitive
        )
    if (cpu := _served(x, g, boxes, offset)) is None:
        return None
    n, channels, height, width = x.shape
    moves = _moves(offset, x.dtype)
    parts = min(threads.parts(2 * _work(x, boxes, g, spatial_scale, sampling_ratio)), max(g.shape[1], 1))
    gx, gm = np.zeros((n, height, width, channels), x.dtype), np.zeros((parts, *moves.shape), x.dtype)
    how = spatial_scale, sampling_ratio, gamma, int(aligned), int(sensitive)
    cpu.pooled_pulled[x.dtype](_last(g), _last(x), boxes, moves, gx, gm, *how, parts)
    return _first(gx), None if offset is None else gm.sum(axis=0).reshape(offset.shape)


def averaged(x: Array, boxes: Array, size: tuple[int, int], edges: Any) -> Any:
    """Means of the pixels of each bin, of map c · P · Q + b for bin b; `edges` are two (K, P) and two (K, Q).

    >>> edges = [(np.array([[0.0]]), np.array([[1.0]])), (np.array([[0.0]]), np.array([[2.0]]))]
    >>> averaged(np.array([[[[1.0, 3.0]]]]), np.zeros((1, 5)), (1, 1), edges).tolist()
    [[[[2.0]]]]
    """
    if _on_device(x, boxes):
        return cuda.module(__name__).averaged(x, boxes, size, edges)
    if (cpu := _served(x, boxes)) is None:
        return None
    out = np.empty((len(boxes), x.shape[1] // (size[0] * size[1]), *size), x.dtype)
    image, *limits = _whole(boxes, edges)
    parts = threads.parts(out.size * 20.0 / _APART)
    cpu.averaged[x.dtype](x, image, *limits, out, parts)
    return out


def averaged_pulled(g: Array, x: Array, boxes: Array, edges: Any) -> Any:
    """The gradient of `averaged` in x.

    >>> edges = [(np.array([[0.0]]), np.array([[1.0]])), (np.array([[0.0]]), np.array([[2.0]]))]
    >>> averaged_pulled(np.ones((1, 1, 1, 1)), np.array([[[[1.0, 3.0]]]]), np.zeros((1, 5)), edges).tolist()
    [[[[0.5, 0.5]]]]
    """
    if _on_device(x, g, boxes):
        return cuda.module(__name__).averaged_pulled(g, x, boxes, edges)
    if (cpu := _served(x, g, boxes)) is None:
        return None
    gx = np.zeros(x.shape, x.dtype)
    image, *limits = _whole(boxes, edges)
    parts = min(threads.parts(g.size * 20.0 / _APART), max(g.shape[1], 1))
    cpu.averaged_pulled[x.dtype](g, image, *limits, gx, parts)
    return gx


def suppressed(boxes: Array, scores: Array, labels: Array | None, threshold: float) -> Array | None:
    """The boxes (N, 4) that stay, by falling score: each but those that overlap one before them by more.

    Boxes of different labels do not overlap. A score that is NaN is the least. All of NumPy's arrays are served,
    whatever their dtype; on a device the host waits for one number, how many boxes stay: the size of the result.

    >>> suppressed(np.array([[0.0, 0, 2, 2], [0, 0, 2, 1.5], [5, 5, 6, 6]]), np.array([0.5, 0.9, 0.7]), None, 0.5)
    array([1, 2])
    """
    given = [a for a in (boxes, scores, labels) if a is not None]
    if not all(isinstance(a, np.ndarray) for a in given):
        together = cuda.served(boxes) and all(type(a) is type(boxes) for a in given)
        if not together or given[-1].dtype.kind not in "iubf":
            return None
        return cuda.module(__name__).suppressed(boxes, scores, labels, threshold)
    order = np.argsort(-scores.astype(np.float64), kind="stable")
    sides = np.ascontiguousarray(boxes[order].T)
    groups = np.zeros(len(order), np.int64) if labels is None else labels[order]
    groups = np.unique(groups, return_inverse=True)[1].astype(np.int64).reshape(-1)
    cpu = module(__name__) if sides.dtype in COMPILED else None
    dead = np.zeros(len(order), np.uint8)
    if cpu is not None:
        cpu.suppress[sides.dtype](sides, groups, threshold, dead)
        return order[dead == 0]
    x1, y1, x2, y2 = sides
    areas = (x2 - x1) * (y2 - y1)
    for i in range(len(order)):
        if not dead[i]:
            width = np.minimum(x2[i], x2[i + 1 :]) - np.maximum(x1[i], x1[i + 1 :])
            height = np.minimum(y2[i], y2[i + 1 :]) - np.maximum(y1[i], y1[i + 1 :])
            shared = np.maximum(width, 0) * np.maximum(height, 0)
            with np.errstate(all="ignore"):
                over = shared / (areas[i] + areas[i + 1 :] - shared) > np.float64(threshold)
            dead[i + 1 :] |= over & (groups[i + 1 :] == groups[i])
    return order[dead == 0]


# ---- arrays as the kernels take them
def _on_device(x: Array, *others: Array | None) -> bool:
    """Whether CUDA kernels serve these arrays."""
    same = all(a is None or (type(a) is type(x) and a.dtype == x.dtype) for a in others)
    return type(x) is not np.ndarray and cuda.served(x) and same


def _served(x: Array, *others: Array | None) -> Any:
    """The module of the kernels, where they serve these arrays."""
    dtype = x.dtype
    if dtype not in COMPILED:
        return None
    if any(a is not None and (type(a) is not np.ndarray or a.dtype != dtype) for a in (x, *others)):
        return None
    return module(__name__)


def _last(x: Array) -> Array:
    """(N, C, H, W) as (N, H, W, C), in that order in memory."""
    from ..conv.cpu import channels_last

    return channels_last(x)[:, 0]


def _first(x: Array) -> Array:
    """(N, H, W, C) as (N, C, H, W), a view."""
    return x.transpose(0, 3, 1, 2)


def _moves(offset: Array | None, dtype: Any) -> Array:
    """(K, sets, 2, P, Q); no sets for none."""
    if offset is None:
        return np.empty((0, 0, 2, 0, 0), dtype)
    k, twice, p, q = offset.shape
    return np.ascontiguousarray(offset).reshape(k, twice // 2, 2, p, q)


def _whole(boxes: Array, edges: Any) -> list[Array]:
    """The images and the edges as integers; image `_NONE` of a box that is not finite."""
    finite = np.isfinite(boxes).all(axis=1)
    image = np.where(finite, boxes[:, 0], _NONE).astype(np.int64)
    return [image, *(np.where(finite[:, None], e, 0).astype(np.int64) for pair in edges for e in pair)]


def _pixels(x: Array, boxes: Array, scale: float) -> float:
    """About how many pixels all boxes have."""
    sides = np.clip(np.abs(boxes[:, 3:] - boxes[:, 1:3]) * scale, 1, max(x.shape[2:], default=1))
    return float(np.nansum(sides[:, 0] * sides[:, 1]))


def _work(x: Array, boxes: Array, out: Array, scale: float, ratio: int) -> float:
    """About how many nanoseconds the samples of `out` take."""
    samples = 4.0 * ratio * ratio * out.size if ratio > 0 else 4.0 * _pixels(x, boxes, scale) * x.shape[1]
    return float(samples / _ADDED + 100.0 * out.size / max(x.shape[1], 1))

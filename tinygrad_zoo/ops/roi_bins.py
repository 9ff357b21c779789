"""Regions of interest: boxes on images become bins, and a bin says with what weight it reads which pixel.

A bin is a product: its pixel (h, w) has the weight of row h times that of column w. So every op of the family but the
one that takes a maximum is a sum over rows and columns with two arrays of weights, which is its formula here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..backend import module_of, namespace, on_host
from ..errors import IndexingError, ShapeError
from ..variable import Array, data_of
from .conv_plan import Sizes, per_axis
from .einsum import einsum
from .elementwise import where
from .indexing import index_select

_NEAR = 6  # samples half a pixel or more apart that can meet one pixel


# ---- boxes
def table(op: str, x: Array, boxes: Sequence[Array]) -> Array:
    """The boxes as (K, 5), in the dtype that x is computed in: the index of an image, then x1, y1, x2, y2.

    They come so, or as one (L, 4) for each image.
    """
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ShapeError(f"{op}: expected images (N, C, H, W) that have pixels, got {x.shape}")
    given = [data_of(b) for b in boxes]
    shapes: list[tuple[int, ...]] = [getattr(b, "shape", ()) for b in given]
    xp, dtype = module_of(x), working_dtype(x)
    if len(given) == 1 and len(shapes[0]) == 2 and shapes[0][1] == 5:
        found = given[0].astype(dtype)
    elif len(given) == len(x) and all(len(s) == 2 and s[1] == 4 for s in shapes):
        numbered = [
            xp.concatenate([xp.full((len(b), 1), i, dtype=dtype), b.astype(dtype)], axis=1) for i, b in enumerate(given)
        ]
        found = xp.concatenate(numbered, axis=0) if numbered else xp.zeros((0, 5), dtype=dtype)
    else:
        raise ShapeError(
            f"{op}: expected boxes (K, 5), whose rows are image, x1, y1, x2, y2, or a list of (L, 4), one for each of "
            f"{len(x)} images, got {shapes}"
        )
    if on_host(found):
        image = found[:, 0]
        if not ((image >= 0) & (image < len(x)) & (image == xp.floor(image))).all():
            raise IndexingError(f"{op}: boxes[:, 0] holds {image.tolist()}, expected indices of {len(x)} images")
    return xp.ascontiguousarray(found)


def working_dtype(x: Array) -> Any:
    """Of coordinates: that of x, but at least float32."""
    return np.result_type(x.dtype, np.float32)


def pooled_size(op: str, output_size: Sizes) -> tuple[int, int]:
    rows, columns = per_axis(op, "output_size", output_size, 2)
    return rows, columns


def image_of(boxes: Array) -> Array:
    return boxes[:, 0].astype("int64")


def corners_of(boxes: Array) -> Array:
    """x1, y1, x2, y2 of each; 0 for what is not finite, where `blanked` puts NaN in the end."""
    xp = namespace(boxes)
    return xp.where(xp.isfinite(boxes[:, 1:]), boxes[:, 1:], 0)


def half_away(x: Array) -> Array:
    """The nearest whole number, of two the one farther from 0."""
    xp = namespace(x)
    whole = xp.floor(xp.abs(x))
    return xp.copysign(whole + (xp.abs(x) - whole >= 0.5), x)


class Span(NamedTuple):
    """Where regions begin and how long they are on one axis: (K,) each, in pixels of the image."""

    start: Array
    length: Array

    def firsts(self, count: int) -> Array:
        """Where each of `count` bins begins: (K, count)."""
        i = namespace(self.start).arange(count, dtype=self.start.dtype)
        return i * (self.length / count)[:, None] + self.start[:, None]


def spans(boxes: Array, spatial_scale: float, aligned: bool) -> tuple[Span, Span]:
    """Rows and columns, of boxes that are not rounded; without `aligned` at least one pixel each."""
    xp, corners = namespace(boxes), corners_of(boxes) * spatial_scale - (0.5 if aligned else 0.0)
    found = []
    for axis in (1, 0):
        length = corners[:, axis + 2] - corners[:, axis]
        found.append(Span(corners[:, axis], length if aligned else xp.maximum(length, 1)))
    return found[0], found[1]


# ---- weights
def sampled(first: Any, bin_size: Array, size: int, sampling_ratio: int) -> Any:
    """The weights (K, …, size) of the pixels of an axis in bins that begin at `first` (K, …), a Tensor or an array.

    A bin is the mean of `sampling_ratio` samples, ⌈bin_size⌉ of them if that is not positive, each at the centre of an
    equal part and read between its two pixels; within a pixel beside the image it reads the border, and 0 farther out.
    """
    xp, at = namespace(bin_size), data_of(first)[..., None, None]  # behind it: samples, pixels
    each = bin_size.reshape((-1, *(1,) * (at.ndim - 1)))
    pixel = xp.arange(size, dtype=bin_size.dtype)
    if sampling_ratio > 0:
        count, near = xp.full(each.shape, sampling_ratio, dtype=each.dtype), sampling_ratio
        step, begin = each / sampling_ratio, xp.zeros((), dtype=each.dtype)
    else:
        count, near = xp.ceil(each), _NEAR
        step = each / xp.where(count > 0, count, 1)
        begin = xp.maximum(xp.floor((pixel - 1 - at) / xp.where(step > 0, step, 1) - 0.5), 0)
    number = begin + xp.arange(near, dtype=bin_size.dtype)[:, None]
    y = first[..., None, None] + (number + 0.5) * step
    place = data_of(y)
    counted = (number < count) & (place >= -1) & (place <= size)
    low = xp.floor(xp.clip(place, 0, size - 1))
    part = where((place >= 0) & (place < size - 1), y - low, 0.0)
    share = where(counted & (low == pixel), 1 - part, where(counted & (low + 1 == pixel), part, 0.0))
    return share.sum(axis=-2) / xp.where(count > 0, count, 1)[..., 0]


def edges(first: Array, bin_size: Array, bins: int) -> tuple[Array, Array]:
    """The pixels from ⌊first + i · bin_size⌋ up to ⌈first + (i + 1) · bin_size⌉ of each bin i: (K, bins) each."""
    xp = namespace(first)
    i = xp.arange(bins, dtype=first.dtype)
    before = xp.floor(i * bin_size[:, None] + first[:, None])
    return before, xp.ceil((i + 1) * bin_size[:, None] + first[:, None])


def averaged(start: Array, end: Array, size: int) -> Array:
    """The weights (K, bins, size) of the mean over whole pixels from `start` (K, bins) to before `end`; 0 if none."""
    xp = namespace(start)
    pixel = xp.arange(size, dtype=start.dtype)
    inside = (pixel >= start[..., None]) & (pixel < end[..., None])
    return inside / xp.maximum(end - start, 1)[..., None].astype(start.dtype)


def summed(x: Any, image: Array, rows: Any, columns: Any, output_size: tuple[int, int], sensitive: bool) -> Any:
    """Σ_h Σ_w rows[k, s, b, h] · columns[k, s, b, w] · x[image[k], c, h, w]: (K, C, P, Q) for bins b = i · Q + j.

    Set s of weights is for its share of the channels. `sensitive`: bin b of channel c reads map c · P · Q + b.
    """
    (p, q), sets = output_size, rows.shape[1]
    (k, size), bins = (image.shape[0], x.shape[2:]), p * q
    if not sensitive:
        c = x.shape[1]
        each = index_select(x, image, axis=0).reshape((k, sets, c // sets, *size))
        across = einsum("kschw,ksbw->ksbch", each, columns)
    else:
        c = x.shape[1] // bins
        each = index_select(x, image, axis=0).reshape((k, sets, c // sets, bins, *size))
        across = einsum("kscbhw,ksbw->ksbch", each, columns)
    return einsum("ksbch,ksbh->kscb", across, rows).reshape((k, c, p, q))


def per_bin(rows: Any, columns: Any) -> tuple[Any, Any]:
    """Weights of P rows of bins and of Q columns, (K, P, H) and (K, Q, W), as weights of all bins: (K, 1, P · Q, …)."""
    xp, (k, p, height), (_, q, width) = namespace(rows), rows.shape, columns.shape
    rows = xp.broadcast_to(rows[:, None, :, None], (k, 1, p, q, height))
    columns = xp.broadcast_to(columns[:, None, None], (k, 1, p, q, width))
    return rows.reshape((k, 1, p * q, height)), columns.reshape((k, 1, p * q, width))


def blanked(out: Any, finite: Array) -> Any:
    """`out` (K, C, P, Q) with NaN where `finite`, which broadcasts against it, is False."""
    return where(finite, out, float("nan"))


def are_finite(boxes: Array) -> Array:
    """Which boxes are, as (K, 1, 1, 1)."""
    return namespace(boxes).isfinite(boxes).all(axis=1).reshape((-1, 1, 1, 1))

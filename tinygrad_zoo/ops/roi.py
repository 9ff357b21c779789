"""Pooling of regions of interest: a box of an image, of whatever size, becomes P × Q bins of every channel.

Boxes are one (K, 5), whose rows are the index of an image and x1, y1, x2, y2, or a list of one (L, 4) for each image;
`spatial_scale` turns their coordinates into pixels of x. They get no gradient. A box that is not finite gives NaN.
Names, arguments and conventions are those of torchvision.ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import fused
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..kernels import roi as kernels
from ..variable import Array, data_of
from . import roi_bins as bins
from . import roi_reference as by_loops
from .composite import pulled
from .conv_plan import Sizes
from .elementwise import where
from .indexing import take
from .precision import narrowed, widened
from .sampling import sample

_ORDER = ("x", "boxes", "output_size", "spatial_scale")
_CONVENTIONS = ("torchvision", "caffe")


def _boxes(r: Any, count: int) -> Any:
    """Whole numbers, so that nothing of a box has a gradient: some reach out of an image of 4 × 5 pixels."""
    one, other = r.integers(7, 2, count, 2) - 1
    return np.concatenate([r.integers(2, count, 1), np.minimum(one, other), np.maximum(one, other)], axis=1)


# ---- the maximum
def _largest(x: Any, boxes: Array, output_size: Any, spatial_scale: float) -> Array:
    """Where in its plane each bin's largest pixel is, the first in C order of equal ones; -1 for a bin of no pixels."""
    xp, (n, c, height, width) = namespace(boxes), x.shape
    corners = bins.half_away(bins.corners_of(boxes) * spatial_scale)
    met = []
    for axis, count, size in zip((1, 0), output_size, (height, width), strict=True):
        length = xp.maximum(corners[:, axis + 2] - corners[:, axis] + 1, 1)
        edges = bins.edges(xp.zeros_like(length), length / count, count)
        start, end = (xp.clip(e + corners[:, axis, None], 0, size) for e in edges)
        pixel = xp.arange(size, dtype=boxes.dtype)
        met.append((pixel >= start[..., None]) & (pixel < end[..., None]))
    rows, columns = met
    backwards = xp.flip(data_of(x).reshape((n, c, height * width)), 2)  # in a stable order, NaN last: ranks
    rising = xp.argsort(backwards, axis=2, kind="stable")
    rank = xp.flip(xp.argsort(rising, axis=2), 2)
    image = bins.image_of(boxes)
    each = rank[image].reshape((len(boxes), c, height, width))
    across = [xp.where(columns[:, None, None, j], each, -1).max(axis=3) for j in range(output_size[1])]
    lines = xp.stack(across, axis=3)  # (K, C, H, Q)
    best = xp.stack([xp.where(rows[:, None, i, :, None], lines, -1).max(axis=2) for i in range(output_size[0])], axis=2)
    places = (height * width - 1 - rising)[image]  # (K, C, H · W), by rank
    by_rank = xp.maximum(best, 0).reshape((len(boxes), c, output_size[0] * output_size[1]))
    found = xp.take_along_axis(places, by_rank, axis=2)
    return xp.where((best >= 0) & bins.are_finite(boxes), found.reshape(best.shape), -1)


def _pool_at(x: Any, boxes: Array, place: Array) -> Any:
    """The pixels at those places, 0 where there is none."""
    xp, (_, c, height, width) = namespace(boxes), x.shape
    plane = bins.image_of(boxes)[:, None] * c + xp.arange(c)
    at = plane[:, :, None, None] * (height * width) + xp.maximum(place, 0)
    read = where(place >= 0, take(x.reshape((-1,)), at), 0.0) if x.size else xp.zeros(place.shape, dtype=x.dtype)
    return bins.blanked(read, bins.are_finite(boxes))


def _pool_formula(x: Any, *boxes: Any, output_size: Any, spatial_scale: float) -> Any:
    size = bins.pooled_size("roi_pool", output_size)
    regions = bins.table("roi_pool", x, boxes)
    return _pool_at(x, regions, _largest(x, regions, size, spatial_scale))


def _pool_backward(
    g: Array, out: Array, x: Array, *others: Array, needs: Sequence[bool], output_size: Any, spatial_scale: float
) -> list[Any]:
    *boxes, place = others
    regions = bins.table("roi_pool", x, boxes)
    gx = kernels.largest_pulled(g, regions, place, x.shape) if needs[0] else None
    if needs[0] and gx is None:
        (gx,) = pulled(lambda x: _pool_at(x, regions, place), g, [x], [True], {})
    return [gx, *(None for _ in boxes)]


@fused(
    formula=_pool_formula,
    backward=_pool_backward,
    saved=("place",),
    samples=lambda r: [
        sample(r.distinct(2, 2, 4, 5), _boxes(r, 3), output_size=2),
        sample(r.distinct(2, 1, 4, 5), _boxes(r, 3), output_size=(3, 1), spatial_scale=0.5),
        sample(r.distinct(2, 1, 4, 5), _boxes(r, 2)[:, 1:], _boxes(r, 1)[:, 1:], output_size=(1, 3)),
        sample(r.distinct(1, 2, 4, 5), r.integers(1, 0, 5), output_size=2),
    ],
    reference=by_loops.roi_pool,
    order=_ORDER,
)
def roi_pool(x: Array, *boxes: Array, output_size: Sizes, spatial_scale: float = 1.0) -> Any:
    """roi_pool(x, boxes, output_size, spatial_scale): the largest pixel of each bin (arXiv 1504.08083), (K, C, P, Q).

    Corners are rounded to pixels, half away from 0, both belong to the region, and bins share the pixels at their
    edges. A bin outside the image is 0. The gradient goes to the first of the largest.

    >>> tz.roi_pool(tz.arange(16.0).reshape(1, 1, 4, 4), tz.tensor([[0, 0, 0, 3, 3]]), 2).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    size = bins.pooled_size("roi_pool", output_size)
    regions = bins.table("roi_pool", x, boxes)
    made = kernels.largest(x, regions, size, spatial_scale)
    if made is not None:
        return made
    place = _largest(x, regions, size, spatial_scale)
    return _pool_at(x, regions, place), place


# ---- means of samples
def _align_formula(
    x: Any, *boxes: Any, output_size: Any, spatial_scale: float, sampling_ratio: int, aligned: bool
) -> Any:
    size = bins.pooled_size("roi_align", output_size)
    regions, wide = bins.table("roi_align", x, boxes), widened(x)
    weights = []
    for span, count, pixels in zip(bins.spans(regions, spatial_scale, aligned), size, x.shape[2:], strict=True):
        weights.append(bins.sampled(span.firsts(count), span.length / count, pixels, sampling_ratio))
    out = bins.summed(wide, bins.image_of(regions), *bins.per_bin(*weights), size, False)
    return narrowed(bins.blanked(out, bins.are_finite(regions)), x)


def _align_backward(
    g: Array, out: Array, x: Array, *boxes: Array, needs: Sequence[bool], output_size: Any, **settings: Any
) -> list[Any]:
    size = bins.pooled_size("roi_align", output_size)
    made = kernels.pooled_pulled(g, x, bins.table("roi_align", x, boxes), None, size, **settings) if needs[0] else None
    if made is None:
        return pulled(_align_formula, g, (x, *boxes), needs, {"output_size": size, **settings})
    return [made[0], *(None for _ in boxes)]


@fused(
    formula=_align_formula,
    backward=_align_backward,
    samples=lambda r: [
        sample(r(2, 2, 4, 5), _boxes(r, 3), output_size=2, sampling_ratio=2),
        sample(r(2, 2, 4, 5), _boxes(r, 2), output_size=(1, 3), spatial_scale=0.5, sampling_ratio=1, aligned=True),
        sample(r(2, 2, 4, 5), _boxes(r, 2)[:, 1:], _boxes(r, 1)[:, 1:], output_size=(2, 1), spatial_scale=0.75),
        sample(r(1, 2, 4, 5), r.integers(1, 0, 5), output_size=2, aligned=True),
    ],
    reference=by_loops.roi_align,
    order=(*_ORDER, "sampling_ratio", "aligned"),
)
def roi_align(
    x: Array, *boxes: Array, output_size: Sizes, spatial_scale: float = 1.0, sampling_ratio: int = -1,
    aligned: bool = False,
) -> Any:  # fmt: skip
    """roi_align(x, boxes, output_size, spatial_scale, sampling_ratio, aligned): means of samples, (K, C, P, Q).

    A bin has sampling_ratio² samples, if that is not positive ⌈its height⌉ · ⌈its width⌉, read bilinearly
    (arXiv 1703.06870). `aligned` takes half a pixel off the coordinates; without it, regions are at least 1 pixel wide.

    >>> tz.roi_align(tz.arange(16.0).reshape(1, 1, 4, 4), tz.tensor([[0, 0, 0, 2, 2]]), 1).tolist()
    [[[[5.0]]]]
    """
    settings: dict[str, Any] = {"spatial_scale": spatial_scale, "sampling_ratio": sampling_ratio, "aligned": aligned}
    size, regions = bins.pooled_size("roi_align", output_size), bins.table("roi_align", x, boxes)
    made = kernels.pooled(x, regions, None, size, **settings)
    return _align_formula(x, *boxes, output_size=size, **settings) if made is None else made


# ---- position-sensitive means of pixels
def _ps_edges(regions: Array, size: Any, x: Any, scale: float, convention: str) -> list[tuple[Array, Array]]:
    """The first pixel of each bin and the one behind its last: (K, P) each, then (K, Q) each."""
    xp, corners, found = namespace(regions), bins.corners_of(regions), []
    for axis, count, pixels in zip((1, 0), size, x.shape[2:], strict=True):
        low, high = corners[:, axis], corners[:, axis + 2]
        if convention == "torchvision":
            start, last = bins.half_away(low * scale), pixels - 1
            length = xp.maximum(bins.half_away(high * scale) - start, 1)
            edges = [e + start[:, None] for e in bins.edges(xp.zeros_like(start), length / count, count)]
        else:
            start, last = bins.half_away(low) * scale, pixels
            length = xp.maximum((bins.half_away(high) + 1) * scale - start, 0.1)
            edges = [*bins.edges(start, length / count, count)]
        found.append((xp.clip(edges[0], 0, last), xp.clip(edges[1], 0, last)))
    return found


def _ps_formula(x: Any, *boxes: Any, output_size: Any, spatial_scale: float, convention: str) -> Any:
    size = ps_size("ps_roi_pool", x, output_size)
    regions, wide = bins.table("ps_roi_pool", x, boxes), widened(x)
    weights = [
        bins.averaged(*edges, pixels)
        for edges, pixels in zip(_ps_edges(regions, size, x, spatial_scale, convention), x.shape[2:], strict=True)
    ]
    out = bins.summed(wide, bins.image_of(regions), *bins.per_bin(*weights), size, True)
    return narrowed(bins.blanked(out, bins.are_finite(regions)), x)


def ps_size(op: str, x: Any, output_size: Any) -> tuple[int, int]:
    p, q = bins.pooled_size(op, output_size)
    if x.ndim == 4 and x.shape[1] % (p * q):
        raise ShapeError(f"{op}: x has {x.shape[1]} channels, expected a multiple of {p} · {q}, a map for each bin")
    return p, q


def _ps_backward(
    g: Array, out: Array, x: Array, *boxes: Array, needs: Sequence[bool], output_size: Any, spatial_scale: float,
    convention: str,
) -> list[Any]:  # fmt: skip
    size = ps_size("ps_roi_pool", x, output_size)
    regions = bins.table("ps_roi_pool", x, boxes)
    edges = _ps_edges(regions, size, x, spatial_scale, convention)
    made = kernels.averaged_pulled(g, x, regions, edges) if needs[0] else None
    if made is None:
        settings = {"output_size": size, "spatial_scale": spatial_scale, "convention": convention}
        return pulled(_ps_formula, g, (x, *boxes), needs, settings)
    return [made, *(None for _ in boxes)]


@fused(
    formula=_ps_formula,
    backward=_ps_backward,
    samples=lambda r: [
        sample(r(2, 8, 4, 5), _boxes(r, 3), output_size=2),
        sample(r(2, 6, 4, 5), _boxes(r, 3), output_size=(3, 2), spatial_scale=0.5, convention="caffe"),
        sample(r(2, 2, 4, 5), _boxes(r, 2)[:, 1:], _boxes(r, 1)[:, 1:], output_size=(1, 2), convention="caffe"),
        sample(r(1, 4, 4, 5), r.integers(1, 0, 5), output_size=2),
    ],
    reference=by_loops.ps_roi_pool,
    order=(*_ORDER, "convention"),
)
def ps_roi_pool(
    x: Array, *boxes: Array, output_size: Sizes, spatial_scale: float = 1.0, convention: str = "torchvision"
) -> Any:
    """ps_roi_pool(x, boxes, output_size, spatial_scale): bin (i, j) of channel c is a mean of map (c · P + i) · Q + j.

    Position-sensitive pooling (arXiv 1605.06409): x (N, C · P · Q, H, W) becomes (K, C, P, Q). By `convention`
    "torchvision" a region is from round(x1 · scale) to round(x2 · scale), at least 1 wide, and no bin reads the last
    row or column of x; by "caffe" from round(x1) · scale to (round(x2) + 1) · scale, at least 0.1 wide.

    >>> maps = tz.arange(4.0).reshape(1, 4, 1, 1).broadcast_to((1, 4, 6, 6))
    >>> tz.ps_roi_pool(maps, tz.tensor([[0, 0, 0, 4, 4]]), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    if convention not in _CONVENTIONS:
        raise UsageError(f"ps_roi_pool: convention={convention!r}: expected one of {', '.join(_CONVENTIONS)}")
    size = ps_size("ps_roi_pool", x, output_size)
    regions = bins.table("ps_roi_pool", x, boxes)
    made = kernels.averaged(x, regions, size, _ps_edges(regions, size, x, spatial_scale, convention))
    if made is not None:
        return made
    return _ps_formula(x, *boxes, output_size=size, spatial_scale=spatial_scale, convention=convention)

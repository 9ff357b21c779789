"""Deformable convolution and pooling: where they read the image is itself computed (arXiv 1703.06211, 1811.11168).

A position between pixels is read bilinearly. On a row or column of pixels the derivative in the position is that of the
side below, or to the right. Offsets come as pairs (Δy, Δx).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import fused
from ..backend import module_of, namespace
from ..errors import ShapeError
from ..kernels import deform as kernels
from ..kernels import roi as roi_kernels
from ..variable import Array, data_of
from . import roi_bins as bins
from . import roi_reference as by_loops
from .composite import pulled
from .conv import over_places
from .conv_plan import Sizes, check_bias, check_weight, per_axis, places_of
from .elementwise import clip, where
from .indexing import take_along_axis
from .joining import stack
from .linalg import product
from .precision import narrowed, widened
from .roi import ps_size
from .rounding import floor
from .sampling import sample


# ---- convolution
def _plan(x: Any, offset: Any, weight: Any, bias: Any, mask: Any, **settings: Any) -> dict[str, Any]:
    """The settings as pairs, after all checks; `places` of the result, `groups` of the weight and of the offsets."""
    op = "deform_conv2d"
    check_weight(op, weight, 2, "out, in / groups")
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ShapeError(f"{op}: expected x (N, C, H, W) that has pixels, got {x.shape}")
    stride, dilation = (per_axis(op, name, settings[name], 2) for name in ("stride", "dilation"))
    padding = tuple((p, p) for p in per_axis(op, "padding", settings["padding"], 2, least=0))
    kernel, (n, channels) = weight.shape[2:], x.shape[:2]
    places = places_of(op, x.shape[2:], kernel, {"stride": stride, "padding": padding, "dilation": dilation})
    per_group = weight.shape[1]
    groups = channels // per_group if per_group else 0
    if not per_group or channels != groups * per_group or not groups or weight.shape[0] % groups:
        raise ShapeError(
            f"{op}: a weight of {weight.shape} takes {per_group} channels in each of as many groups as there are in "
            f"x's {channels}, which must divide its {weight.shape[0]}"
        )
    check_bias(op, bias, weight.shape[0])
    each = 2 * kernel[0] * kernel[1]
    offset_groups = offset.shape[1] // each if offset.ndim == 4 else 0
    if not offset_groups or offset.shape != (n, offset_groups * each, *places) or channels % offset_groups:
        raise ShapeError(
            f"{op}: expected offsets ({n}, {each} · groups, {places[0]}, {places[1]}), (Δy, Δx) for each tap of a "
            f"kernel {kernel} in groups that divide {channels} channels, got {offset.shape}"
        )
    expected = (n, offset_groups * each // 2, *places)
    if mask is not None and mask.shape != expected:
        raise ShapeError(f"{op}: expected a mask of shape {expected}, got {mask.shape}")
    return {
        "stride": stride, "before": tuple(p for p, _ in padding), "dilation": dilation, "places": places,
        "groups": groups, "offset_groups": offset_groups,
    }  # fmt: skip


def _between(at: Any) -> tuple[Any, Any]:
    """The pixel before each position, and how far behind it the position is."""
    low = floor(at)
    return data_of(low), at - low


def _columns(x: Any, offset: Any, mask: Any, kernel: tuple[int, int], plan: dict[str, Any]) -> Any:
    """What each tap reads for each place, times the mask: (N, C, taps, places)."""
    xp, (n, c, height, width) = module_of(x), x.shape
    groups, taps, (rows, columns) = plan["offset_groups"], kernel[0] * kernel[1], plan["places"]
    moved = offset.reshape((n, groups, taps, 2, rows * columns))
    dtype, positions = offset.dtype, []
    for axis, (count, size) in enumerate(zip(plan["places"], (height, width), strict=True)):
        place = xp.arange(count, dtype=dtype) * plan["stride"][axis] - plan["before"][axis]
        tap = xp.arange(kernel[axis], dtype=dtype) * plan["dilation"][axis]
        shape = (kernel[0], 1, rows, 1) if axis == 0 else (1, kernel[1], 1, columns)
        near = tap.reshape((-1, 1, 1, 1)) if axis == 0 else tap.reshape((1, -1, 1, 1))
        base = xp.broadcast_to(near + place.reshape((1, 1, *shape[2:])), (*kernel, rows, columns))
        at = moved[:, :, :, axis] + base.reshape((taps, rows * columns))
        positions.append(_between(clip(at, -2, size + 1)))  # farther out all is zero too
    (top, down), (left, right) = positions
    i = xp.stack([top, top, top + 1, top + 1], axis=2)  # (N, G, 4, taps, places): the pixels around a position
    j = xp.stack([left, left + 1, left, left + 1], axis=2)
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    index = xp.where(inside, i * width + j, 0).astype(np.int64)
    share = stack([(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=2)
    flat = x.reshape((n, groups, c // groups, height * width))
    value = take_along_axis(flat, index.reshape((n, groups, 1, 4 * taps * rows * columns)), axis=3)
    value = value.reshape((n, groups, c // groups, *inside.shape[2:]))
    total = (where(inside[:, :, None], value, 0.0) * share[:, :, None]).sum(axis=3)
    if mask is not None:
        total = total * mask.reshape((n, groups, 1, taps, rows * columns))
    return total.reshape((n, c, taps, rows * columns))


def _conv_formula(x: Any, offset: Any, weight: Any, bias: Any, mask: Any, **settings: Any) -> Any:
    plan = _plan(x, offset, weight, bias, mask, **settings)
    given = (x, offset, weight, bias, mask)
    x, offset, weight, bias, mask = map(widened, given)
    (k, c, *kernel), groups, n = weight.shape, plan["groups"], len(x)
    columns = _columns(x, offset, mask, (kernel[0], kernel[1]), plan)
    columns = columns.reshape((n, groups, c * kernel[0] * kernel[1], columns.shape[3]))
    out = product(weight.reshape((groups, k // groups, columns.shape[2])), columns).reshape((n, k, *plan["places"]))
    return narrowed(out if bias is None else out + bias.reshape((k, 1, 1)), *given)


def _conv_backward(
    g: Array, out: Array, x: Array, offset: Array, weight: Array, bias: Any, mask: Any, *, needs: Sequence[bool],
    **settings: Any,
) -> list[Any]:  # fmt: skip
    plan = _plan(x, offset, weight, bias, mask, **settings)
    made = kernels.convolve_pulled(g, x, offset, weight, mask, **plan) if any((*needs[:3], needs[4])) else [None] * 4
    if made is None:
        return pulled(_conv_formula, g, (x, offset, weight, bias, mask), needs, settings)
    gx, go, gw, gm = made
    return [gx, go, gw, over_places(g) if needs[3] else None, gm]


def _offsets(r: Any, *shape: int) -> Any:
    """Far from whole numbers, where there is a kink."""
    return r.integers(5, *shape) - 2 + r.uniform(0.2, 0.8, *shape)


def _conv_reference(
    x: Any, offset: Any, weight: Any, bias: Any, mask: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    (sh, sw), (ph, pw), (dh, dw) = (np.broadcast_to(n, 2) for n in (stride, padding, dilation))
    (n, _, rows, columns), (k, per_group, kh, kw) = offset.shape, weight.shape
    share = x.shape[1] // (offset.shape[1] // (2 * kh * kw))  # channels that one offset is for
    out = np.zeros((n, k, rows, columns)) if bias is None else np.zeros((n, k, rows, columns)) + bias[:, None, None]
    for i, o, row, column, c, a, b in np.ndindex(n, k, rows, columns, per_group, kh, kw):
        channel = o // (k // (x.shape[1] // per_group)) * per_group + c
        tap = channel // share * kh * kw + a * kw + b
        y, z = offset[i, 2 * tap : 2 * tap + 2, row, column]
        read = by_loops.bilinear(x[i, channel], row * sh - ph + a * dh + y, column * sw - pw + b * dw + z)
        out[i, o, row, column] += weight[o, c, a, b] * read * (1 if mask is None else mask[i, tap, row, column])
    return out


def _conv_samples(r: Any) -> list[Any]:
    moved = {"stride": 2, "padding": (1, 0), "dilation": (2, 1)}
    plain = {"stride": 1, "padding": 0, "dilation": 1}
    return [
        sample(r(1, 2, 2, 3), _offsets(r, 1, 8, 1, 2), r(2, 2, 2, 2)),
        sample(r(2, 4, 3, 3), _offsets(r, 2, 8, 2, 2), r(2, 2, 2, 1), r(2), r(2, 4, 2, 2), **moved),
        sample(r(0, 1, 2, 2), r(0, 2, 2, 2), r(1, 1, 1, 1), r(1), r(0, 1, 2, 2), **plain),
    ]


@fused(
    formula=_conv_formula,
    backward=_conv_backward,
    samples=_conv_samples,
    reference=_conv_reference,
    order=("x", "offset", "weight", "bias", "stride", "padding", "dilation", "mask"),
)
def deform_conv2d(
    x: Array, offset: Array, weight: Array, bias: Array | None = None, mask: Array | None = None, *,
    stride: Sizes = 1, padding: Sizes = 0, dilation: Sizes = 1,
) -> Any:  # fmt: skip
    """Σ over channels and taps of weight · mask · x at the tap's pixel plus its offset, zeros outside x; plus bias.

    deform_conv2d(x, offset, weight, bias, stride, padding, dilation, mask): `conv2d` whose taps are moved, of x
    (N, C, H, W) and weight (out, C / groups, kH, kW). Offsets (N, G · kH · kW · 2, H', W') are (Δy, Δx) for each tap in
    C order, one set for each of G shares of the channels; a mask (N, G · kH · kW, H', W') makes it version 2.

    >>> x, offset = tz.tensor([[[[1.0, 2.0, 4.0]]]]), tz.zeros(1, 2, 1, 3)
    >>> tz.deform_conv2d(x, offset + tz.tensor([0.0, 0.5]).reshape(1, 2, 1, 1), tz.ones(1, 1, 1, 1)).tolist()
    [[[[1.5, 3.0, 2.0]]]]
    """
    settings = {"stride": stride, "padding": padding, "dilation": dilation}
    made = kernels.convolve(x, offset, weight, bias, mask, **_plan(x, offset, weight, bias, mask, **settings))
    return _conv_formula(x, offset, weight, bias, mask, **settings) if made is None else made


# ---- pooling of regions
def _pool_plan(op: str, x: Any, offset: Any, boxes: Any, output_size: Any, sensitive: bool) -> tuple[Any, Any]:
    """The size in bins, and the table of boxes."""
    size = ps_size(op, x, output_size) if sensitive else bins.pooled_size(op, output_size)
    regions = bins.table(op, x, boxes)
    channels = x.shape[1] // (size[0] * size[1] if sensitive else 1)
    sets = offset.shape[1] // 2 if offset.ndim == 4 else 0
    if not sets or offset.shape != (len(regions), 2 * sets, *size) or channels % sets or (sets > 1 and not sensitive):
        wanted = f"2 · classes, which divide {channels} channels" if sensitive else "2"
        raise ShapeError(
            f"{op}: expected offsets ({len(regions)}, {wanted}, {size[0]}, {size[1]}), (Δy, Δx) for each bin of each "
            f"box, got {offset.shape}"
        )
    return size, regions


def _pool_formula(
    op: str, x: Any, offset: Any, boxes: Any, sensitive: bool, *, output_size: Any, spatial_scale: float,
    sampling_ratio: int, gamma: float, aligned: bool,
) -> Any:  # fmt: skip
    size, regions = _pool_plan(op, x, offset, boxes, output_size, sensitive)
    (k, twice), wide, moved = offset.shape[:2], widened(x), widened(offset)
    moved = moved.reshape((k, twice // 2, 2, *size))
    weights = []
    for axis, (span, pixels) in enumerate(zip(bins.spans(regions, spatial_scale, aligned), x.shape[2:], strict=True)):
        first = span.firsts(size[axis])
        first = first[:, None, :, None] if axis == 0 else first[:, None, None]
        at = first + gamma * moved[:, :, axis] * span.length[:, None, None, None]  # (K, classes, P, Q)
        at = at.reshape((k, twice // 2, size[0] * size[1]))
        weights.append(bins.sampled(at, span.length / size[axis], pixels, sampling_ratio))
    out = bins.summed(wide, bins.image_of(regions), weights[0], weights[1], size, sensitive)
    known = ~module_of(x).isnan(data_of(moved)).any(axis=2)  # (K, classes, P, Q)
    share = namespace(known).repeat(known, out.shape[1] // known.shape[1], axis=1)
    return narrowed(bins.blanked(out, share & bins.are_finite(regions)), x, offset)


def _region(r: Any) -> Any:
    """Two, of which one reaches out of 4 × 5 pixels."""
    return np.array([[r.integers(2).item(), -1, 1, 4, 3], [0, 1, 0, 6, 5]])


def _moves(r: Any, *shape: int) -> Any:
    """By which no sample of these boxes comes near a row or column of pixels, where there is a kink."""
    return 0.2 * (r.integers(4, *shape) - 1) + r.uniform(0.006, 0.012, *shape)


def _pool_samples(r: Any, sensitive: bool) -> list[Any]:
    classes, four, two = (2, 4, 2) if sensitive else (1, 1, 1)
    halved = {"output_size": (1, 2), "spatial_scale": 0.5, "gamma": 1.0, "aligned": True}
    return [
        sample(r(2, 2 * four, 4, 5), _moves(r, 2, 2, 2, 2), _region(r), output_size=2, sampling_ratio=2, gamma=1.0),
        sample(r(2, 2 * two, 4, 5), _moves(r, 2, 2 * classes, 1, 2), _region(r), **halved),
        sample(r(1, 2, 4, 5), r(0, 2, 1, 1), r.integers(1, 0, 5), output_size=1),
    ]


def _pool_row(op: str, sensitive: bool) -> dict[str, Any]:
    """What the rows of both share."""

    def formula(x: Any, offset: Any, *boxes: Any, **settings: Any) -> Any:
        return _pool_formula(op, x, offset, boxes, sensitive, **settings)

    def backward(
        g: Array, out: Array, x: Array, offset: Array, *boxes: Array, needs: Sequence[bool], output_size: Any,
        **settings: Any,
    ) -> list[Any]:  # fmt: skip
        size, regions = _pool_plan(op, x, offset, boxes, output_size, sensitive)
        made = roi_kernels.pooled_pulled(g, x, regions, offset, size, sensitive=sensitive, **settings)
        if made is None:
            return pulled(formula, g, (x, offset, *boxes), needs, {"output_size": size, **settings})
        return [*made, *(None for _ in boxes)]

    def reference(x: Any, offset: Any, *boxes: Any, **settings: Any) -> Any:
        return by_loops.deform_roi_pool(x, offset, *boxes, sensitive=sensitive, **settings)

    order = ("x", "offset", "boxes", "output_size", "spatial_scale", "sampling_ratio", "gamma", "aligned")
    return {
        "formula": formula, "backward": backward, "reference": reference, "order": order,
        "samples": lambda r: _pool_samples(r, sensitive),
    }  # fmt: skip


def _pooled(op: str, x: Any, offset: Any, boxes: Any, sensitive: bool, output_size: Any, **settings: Any) -> Any:
    size, regions = _pool_plan(op, x, offset, boxes, output_size, sensitive)
    made = roi_kernels.pooled(x, regions, offset, size, sensitive=sensitive, **settings)
    if made is not None:
        return made
    return _pool_formula(op, x, offset, boxes, sensitive, output_size=size, **settings)


@fused(**_pool_row("deform_roi_pool", False))
def deform_roi_pool(
    x: Array, offset: Array, *boxes: Array, output_size: Sizes, spatial_scale: float = 1.0, sampling_ratio: int = -1,
    gamma: float = 0.1, aligned: bool = False,
) -> Any:  # fmt: skip
    """deform_roi_pool(x, offset, boxes, output_size, …): `roi_align` whose bins are moved by gamma · offset · size.

    Offsets (K, 2, P, Q) are (Δy, Δx) for each bin of each box, in units of the box's height and width, which gamma
    scales.

    >>> x, box = tz.arange(16.0).reshape(1, 1, 4, 4), tz.tensor([[0, 0, 0, 2, 2]])
    >>> moved = tz.tensor([[[[0.0]], [[5.0]]]])  # by 0.1 · 5 widths
    >>> tz.deform_roi_pool(x, moved, box, 1).tolist()
    [[[[6.0]]]]
    """
    return _pooled(
        "deform_roi_pool", x, offset, boxes, False, output_size, spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio, gamma=gamma, aligned=aligned,
    )  # fmt: skip


@fused(**_pool_row("deform_ps_roi_pool", True))
def deform_ps_roi_pool(
    x: Array, offset: Array, *boxes: Array, output_size: Sizes, spatial_scale: float = 1.0, sampling_ratio: int = -1,
    gamma: float = 0.1, aligned: bool = False,
) -> Any:  # fmt: skip
    """deform_ps_roi_pool(x, offset, boxes, output_size, …): `deform_roi_pool` of position-sensitive maps.

    Bin (i, j) of channel c reads map (c · P + i) · Q + j of x (N, C · P · Q, H, W). Offsets (K, 2 · classes, P, Q) move
    the bins of each class, a share of the channels, on their own.

    >>> maps = tz.arange(4.0).reshape(1, 4, 1, 1).broadcast_to((1, 4, 6, 6))
    >>> tz.deform_ps_roi_pool(maps, tz.zeros(1, 2, 2, 2), tz.tensor([[0, 0, 0, 4, 4]]), 2).tolist()
    [[[[0.0, 1.0], [2.0, 3.0]]]]
    """
    return _pooled(
        "deform_ps_roi_pool", x, offset, boxes, True, output_size, spatial_scale=spatial_scale,
        sampling_ratio=sampling_ratio, gamma=gamma, aligned=aligned,
    )  # fmt: skip

"""The settings and arguments of convolutions: what a call wrote becomes what the kernels take, or a typed error."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, TypeAlias

import numpy as np

from ..errors import ShapeError, UsageError
from ..kernels import conv as kernels
from ..variable import Array

Sizes: TypeAlias = int | tuple[int, ...]
Padding: TypeAlias = str | Sizes | kernels.Pairs


# ---- settings
def per_axis(op: str, name: str, value: Any, axes: int, least: int = 1) -> tuple[int, ...]:
    """A setting as one integer an axis: given as one for all of them, or as so many."""
    if type(value) is int and value >= least:  # most of them
        return (value,) * axes
    values = tuple(value) if isinstance(value, (tuple, list)) else (value,)
    integers = all(isinstance(n, (int, np.integer)) and not isinstance(n, bool) for n in values)
    if not integers or len(values) not in (1, axes) or min(values) < least:
        several = f", or {axes} of them" if axes > 1 else ""
        raise UsageError(f"{op}: {name}={value!r}: expected an integer >= {least}{several}")
    return tuple(map(index, values if len(values) == axes else values * axes))


def pairs(
    op: str, padding: Any, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> kernels.Pairs:
    """`padding` as (before, after) for each axis; an odd 'same' has its extra entry after, as in PyTorch."""
    if isinstance(padding, str):
        if padding not in ("same", "valid"):
            raise UsageError(f"{op}: padding={padding!r}: expected 'same', 'valid' or numbers")
        if padding == "same" and any(s != 1 for s in stride):
            raise UsageError(f"{op}: padding='same' with stride={tuple(stride)}: write stride=1, or padding in numbers")
        whole = [d * (k - 1) if padding == "same" else 0 for k, d in zip(kernel, dilation, strict=True)]
        return tuple((n // 2, n - n // 2) for n in whole)
    if isinstance(padding, (tuple, list)) and len(padding) == len(kernel) and all(map(_is_pair, padding)):
        return tuple((index(before), index(after)) for before, after in padding)
    return tuple((n, n) for n in per_axis(op, "padding", padding, len(kernel), least=0))


def _is_pair(value: Any) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == 2 and all(hasattr(n, "__index__") for n in value)


def plan_of(op: str, kernel: Sequence[int], *, stride: Any, padding: Any, dilation: Any, groups: Any) -> dict[str, Any]:
    """The settings as the kernels take them."""
    axes = len(kernel)
    stride, dilation = per_axis(op, "stride", stride, axes), per_axis(op, "dilation", dilation, axes)
    padding = pairs(op, padding, kernel, stride, dilation)
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": per_axis(op, "groups", groups, 1)[0]}


def transposed_plan(
    op: str, size: Sequence[int], kernel: Sequence[int], *, padding: Any, output_padding: Any, **settings: Any
) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The settings of the convolution that a transposed one is the adjoint of, and the size of what that is given.

    The size is (size − 1)·stride − 2·padding + dilation·(kernel − 1) + output_padding + 1. The convolution has
    `output_padding` less padding after: so it gives back `size`, whatever the output_padding.
    """
    axes = len(kernel)
    padding = per_axis(op, "padding", padding, axes, least=0)
    extra = per_axis(op, "output_padding", output_padding, axes, least=0)
    plan = plan_of(op, kernel, padding=[(p, p - e) for p, e in zip(padding, extra, strict=True)], **settings)
    stride, dilation = plan["stride"], plan["dilation"]
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise UsageError(
            f"{op}: output_padding={extra}: expected less than the stride {stride} or the dilation {dilation}"
        )
    made = tuple(
        (n - 1) * s - 2 * p + d * (k - 1) + e + 1
        for n, k, s, p, d, e in zip(size, kernel, stride, padding, dilation, extra, strict=True)
    )
    if 0 in size or min(made) < 1:
        raise ShapeError(
            f"{op}: x of {tuple(size)} with padding={padding} makes {made}, expected sizes >= 1: "
            "write less padding, and an x without empty axes"
        )
    return plan, made


# ---- arguments
_SPATIAL = {1: "L", 2: "H, W", 3: "D, H, W"}


def check_weight(op: str, weight: Array, axes: int, channels: str) -> None:
    """Also that the kernel has no empty axis."""
    if weight.ndim != axes + 2 or 0 in weight.shape[2:]:
        sizes = ", ".join(f"k{d}" for d in _SPATIAL[axes].split(", ")) if axes > 1 else "k"
        raise ShapeError(f"{op}: expected a weight of shape ({channels}, {sizes}), got {weight.shape}")


def check_channels(op: str, x: Array, channels: int, weight: Array, groups: int) -> None:
    if weight.shape[0] % groups:
        raise ShapeError(f"{op}: groups={groups} does not divide {weight.shape[0]}, the first axis of weight")
    if x.shape[1] != channels:
        how = f"{weight.shape[1]} in each of groups={groups}" if groups > 1 else f"{channels}"
        raise ShapeError(
            f"{op}: x has {x.shape[1]} channels, a weight of shape {weight.shape} takes {how}: "
            "write an x, a weight or groups that fit"
        )


def places_of(op: str, size: Sequence[int], kernel: Sequence[int], plan: dict[str, Any]) -> tuple[int, ...]:
    """The spatial shape of the convolution's result, if it has any."""
    stride, padding, dilation = plan["stride"], plan["padding"], plan["dilation"]
    places = kernels.spatial(tuple(size), tuple(kernel), stride=stride, padding=padding, dilation=dilation)
    if 0 in places:
        spans = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
        walled = tuple(n + sum(pair) for n, pair in zip(size, padding, strict=True))
        raise ShapeError(
            f"{op}: the kernel spans {spans}, x with its padding only {walled}: write more padding or less dilation"
        )
    return places


def batch_of(op: str, x: Array, axes: int) -> Array:
    """`x` with an axis of examples."""
    if x.ndim not in (axes + 1, axes + 2):
        names = _SPATIAL[axes]
        raise ShapeError(f"{op}: expected x of shape (N, C, {names}) or (C, {names}), got {x.shape}")
    return x if x.ndim == axes + 2 else x[None]


def check_bias(op: str, bias: Array | None, channels: int) -> None:
    if bias is not None and bias.shape != (channels,):
        raise ShapeError(f"{op}: expected a bias of shape ({channels},), one a channel of the result, got {bias.shape}")


def axes_of(op: str, y: Array) -> int:
    """How many spatial axes `y` has."""
    if y.ndim - 2 not in _SPATIAL:
        raise ShapeError(f"{op}: expected y of shape (N, out, …) with 1 to 3 axes behind, got {y.shape}")
    return int(y.ndim - 2)


def check_fit(op: str, y: Array, places: Sequence[int], setting: str) -> None:
    """That `y` is of the spatial shape of the convolution's result."""
    if y.shape[2:] != places:
        raise ShapeError(
            f"{op}: y has the spatial shape {y.shape[2:]}, the convolution gives {places}: write another {setting}"
        )

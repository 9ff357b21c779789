"""The settings of pooling: what a call wrote becomes a table an axis, or a typed error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from ..errors import ShapeError, UsageError
from ..kernels.windows import Windows, adaptive, pooled_size, strided
from ..variable import Array
from .conv_plan import Sizes, per_axis

NAMES = {1: "L", 2: "H, W", 3: "D, H, W"}
OutputSize: TypeAlias = Any  # an integer or None, or one of these an axis


def batch_of(op: str, x: Array, axes: int) -> Array:
    """`x` with an axis of examples; no spatial axis is empty."""
    if x.ndim not in (axes + 1, axes + 2) or 0 in x.shape[-axes:]:
        names = NAMES[axes]
        raise ShapeError(f"{op}: expected x of shape (N, C, {names}) or (C, {names}), no size 0, got {x.shape}")
    return x if x.ndim == axes + 2 else x[None]


def strided_windows(
    op: str, size: Sequence[int], *, kernel_size: Any, stride: Any, padding: Any, dilation: Any = 1, ceil_mode: bool,
    counted: bool = True, divisor: float = 1.0,
) -> tuple[Windows, ...]:  # fmt: skip
    """The windows of each axis; `divisor` counts once, 0 on every axis: the average's own."""
    axes = len(size)
    kernel = per_axis(op, "kernel_size", kernel_size, axes)
    step = kernel if stride in (None, ()) else per_axis(op, "stride", stride, axes)
    walls, spread = per_axis(op, "padding", padding, axes, least=0), per_axis(op, "dilation", dilation, axes)
    if any(2 * p > k for p, k in zip(walls, kernel, strict=True)):
        raise UsageError(f"{op}: padding={padding!r}: expected at most half of kernel_size={kernel_size!r}")
    found = []
    for d, settings in enumerate(zip(size, kernel, step, walls, spread, strict=True)):
        places = pooled_size(*settings, ceil_mode)
        if places < 1:
            raise ShapeError(
                f"{op}: x has the sizes {tuple(size)}, and no window of kernel_size={kernel_size!r} with "
                f"padding={padding!r} fits: write a smaller kernel_size or more padding"
            )
        found.append(strided(*settings, places, counted, divisor if d == 0 or not divisor else 1.0))
        if not found[-1].counts.all():
            raise ShapeError(
                f"{op}: a window of kernel_size={kernel_size!r} with dilation={dilation!r} and padding={padding!r} "
                f"sees no entry of x, which has the sizes {tuple(size)}: write less dilation or less padding"
            )
    return tuple(found)


def adaptive_windows(op: str, size: Sequence[int], output_size: Any) -> tuple[Windows, ...]:
    """The windows of each axis; None keeps the size of an axis."""
    axes = len(size)
    wanted = output_size if isinstance(output_size, (tuple, list)) else (output_size,) * axes
    if len(wanted) != axes:
        raise UsageError(f"{op}: output_size={output_size!r}: expected an integer or None, or {axes} of them")
    filled = tuple(n if m is None else m for n, m in zip(size, wanted, strict=True))
    places = per_axis(op, "output_size", filled, axes, least=0)
    return tuple(adaptive(n, m) for n, m in zip(size, places, strict=True))


def unpooled_size(
    op: str,
    size: Sequence[int],
    shape: Sequence[int],
    kernel_size: Sizes,
    stride: Any,
    padding: Sizes,
    output_size: Any,
) -> tuple[int, ...]:
    """What max_unpool makes: (size − 1)·stride − 2·padding + kernel, or an `output_size` less than a stride from it."""
    axes = len(size)
    kernel = per_axis(op, "kernel_size", kernel_size, axes)
    step = kernel if stride in (None, ()) else per_axis(op, "stride", stride, axes)
    walls = per_axis(op, "padding", padding, axes, least=0)
    usual = tuple((n - 1) * s - 2 * p + k for n, k, s, p in zip(size, kernel, step, walls, strict=True))
    if output_size is None:
        if min(usual) < 1:
            raise ShapeError(f"{op}: x of {tuple(size)} with padding={padding!r} makes {usual}, expected sizes >= 1")
        return usual
    wanted = tuple(output_size)
    if len(wanted) not in (axes, len(shape)):
        raise ShapeError(
            f"{op}: output_size={wanted}: expected a size for each axis, {axes}, or {len(shape)}, as x has"
        )
    wanted = per_axis(op, "output_size", wanted[-axes:], axes)
    if any(abs(n - m) >= s for n, m, s in zip(wanted, usual, step, strict=True)):
        raise ShapeError(f"{op}: output_size={wanted}: expected sizes less than the stride {step} from {usual}")
    return wanted

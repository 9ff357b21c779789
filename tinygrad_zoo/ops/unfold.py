"""Sliding blocks of images as columns (im2col), and back: each op is the other's adjoint, and so its gradient rule."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError
from ..variable import Array
from .conv_plan import Sizes, per_axis
from .precision import narrowed, widened
from .sampling import sample


class _Axis(NamedTuple):
    """The blocks along one axis of an image; for each entry of the kernel, those where it is inside, and its pixels."""

    blocks: int
    taps: list[tuple[slice, slice]]


def _axis(size: int, kernel: int, dilation: int, padding: int, stride: int) -> _Axis:
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    taps = []
    for i in range(kernel):
        offset = i * dilation - padding  # of the pixel in block 0
        first = max(0, -(offset // stride))
        end = max(first, min(count, (size - 1 - offset) // stride + 1))
        start = offset + first * stride
        taps.append((slice(first, end), slice(start, start + (end - first) * stride, stride)))
    return _Axis(count, taps)


class _Blocks(NamedTuple):
    """All blocks of an image. A tap is of one entry of the kernel: an index of (…, *kernel, *grid), and its pixels."""

    kernel: tuple[int, ...]
    grid: tuple[int, ...]
    taps: list[tuple[Any, Any]]
    inside: bool  # whether no block reaches into the padding


def _blocks(op: str, size: tuple[int, ...], kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> _Blocks:
    kernel, padded = per_axis(op, "kernel_size", kernel_size, 2), per_axis(op, "padding", padding, 2, least=0)
    dilated, steps = per_axis(op, "dilation", dilation, 2), per_axis(op, "stride", stride, 2)
    rows, columns = (_axis(*of_axis) for of_axis in zip(size, kernel, dilated, padded, steps, strict=True))
    grid = rows.blocks, columns.blocks
    if min(grid) < 1:
        raise ShapeError(
            f"{op}: no block of kernel_size={kernel_size!r} with dilation={dilation!r} fits an image of {size} with "
            f"padding={padding!r}: write a smaller kernel or more padding"
        )
    taps = [
        ((..., i, j, *places), (..., *pixels))
        for i, j in product(*map(range, kernel))
        for places, pixels in [zip(rows.taps[i], columns.taps[j], strict=True)]
    ]
    return _Blocks(kernel, grid, taps, not any(padded))


def _unfold_reference(x: Any, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    (kh, kw), (dh, dw), (ph, pw), (sh, sw) = (np.broadcast_to(n, 2) for n in (kernel_size, dilation, padding, stride))
    padded = np.pad(x, [(0, 0)] * (x.ndim - 2) + [(ph, ph), (pw, pw)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (dh * (kh - 1) + 1, dw * (kw - 1) + 1), (-2, -1))
    columns = np.moveaxis(windows[..., ::sh, ::sw, ::dh, ::dw], (-2, -1), (-4, -3))  # (…, C, kh, kw, oh, ow)
    *lead, c, _, _, oh, ow = columns.shape
    return columns.reshape(*lead, c * kh * kw, oh * ow)


@primitive(
    vjp=(lambda g, out, x, **settings: fold(g, output_size=x.shape[-2:], **settings),),
    samples=lambda r: [
        sample(r(2, 2, 3, 4), kernel_size=2),
        sample(r(1, 5, 6), kernel_size=(3, 2), stride=(2, 3), padding=(1, 2)),
        sample(r(1, 2, 5, 4), kernel_size=(2, 3), dilation=(3, 1), padding=(2, 0), stride=2),
        sample(r(2, 1, 1, 2), kernel_size=(3, 1), padding=(3, 0), stride=(1, 2)),
        sample(r(0, 1, 2, 2), kernel_size=2),
    ],
    reference=_unfold_reference,
)
def unfold(x: Array, *, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1) -> Array:
    """The blocks of (N, C, H, W) or (C, H, W) as columns: (N, C · kh · kw, L), zero where a block is in the padding.

    Each setting is for both axes, or one integer an axis. L counts the blocks in C order, ⌊(H + 2p - d(k - 1) - 1) / s⌋
    + 1 of them along each axis.

    >>> tz.unfold(tz.tensor([[[1, 2, 3], [4, 5, 6]]]), 2).tolist()
    [[1, 2], [2, 3], [4, 5], [5, 6]]
    """
    if x.ndim not in (3, 4):
        raise ShapeError(f"unfold: expected x of shape (N, C, H, W) or (C, H, W), got {x.shape}")
    *lead, channels, height, width = x.shape
    (kh, kw), (rows, columns), taps, inside = _blocks("unfold", (height, width), kernel_size, dilation, padding, stride)
    xp = namespace(x)
    out = (xp.empty if inside else xp.zeros)((*lead, channels, kh, kw, rows, columns), dtype=x.dtype)
    for places, pixels in taps:
        out[places] = x[pixels]
    return out.reshape(*lead, channels * kh * kw, rows * columns)


def _fold_reference(x: Any, output_size: Any, **settings: Any) -> Any:
    height, width = np.broadcast_to(output_size, 2)
    numbered = np.arange(1, height * width + 1).reshape(1, height, width)
    pixels = _unfold_reference(numbered, **settings).ravel()  # 0 in the padding
    at: Any = (..., pixels)
    columns = x.reshape(*x.shape[:-2], -1, pixels.size) if x.size else np.zeros((*x.shape[:-2], 1, pixels.size))
    out = np.zeros((*columns.shape[:-1], height * width + 1), x.dtype)
    np.add.at(out, at, columns)
    return out[..., 1:].reshape(*columns.shape[:-1], height, width)


@primitive(
    vjp=(lambda g, out, x, output_size, **settings: unfold(g, **settings),),
    samples=lambda r: [
        sample(r(2, 8, 6), output_size=(3, 4), kernel_size=2),
        sample(r(12, 9), output_size=(5, 6), kernel_size=(3, 2), stride=(2, 4), padding=(1, 2)),
        sample(r(1, 12, 3), output_size=(5, 4), kernel_size=(2, 3), dilation=(3, 1), padding=(2, 0), stride=2),
        sample(r(2, 3, 5), output_size=(1, 1), kernel_size=(3, 1), padding=(3, 0)),
        sample(r(0, 4, 1), output_size=2, kernel_size=2),
    ],
    reference=_fold_reference,
)
def fold(
    x: Array, *, output_size: Sizes, kernel_size: Sizes, dilation: Sizes = 1, padding: Sizes = 0, stride: Sizes = 1
) -> Array:
    """Columns of blocks, (N, C · kh · kw, L) or (C · kh · kw, L), added up in an image (N, C, *output_size).

    Where blocks overlap their values are summed: fold(unfold(x)) is x times the number of blocks each pixel is in.

    >>> tz.fold(tz.ones((4, 2)), (2, 3), 2).tolist()
    [[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]
    """
    if x.ndim not in (2, 3):
        raise ShapeError(f"fold: expected x of shape (N, C · kh · kw, L) or (C · kh · kw, L), got {x.shape}")
    size = per_axis("fold", "output_size", output_size, 2)
    (kh, kw), grid, taps, _ = _blocks("fold", size, kernel_size, dilation, padding, stride)
    *lead, length, count = x.shape
    if length % (kh * kw) or count != grid[0] * grid[1]:
        raise ShapeError(
            f"fold: expected x of shape (…, C · {kh} · {kw}, {grid[0]} · {grid[1]}) for an image of {size}, "
            f"got {x.shape}"
        )
    columns = widened(x).reshape(*lead, length // (kh * kw), kh, kw, *grid)
    out = namespace(x).zeros((*lead, length // (kh * kw), *size), dtype=columns.dtype)
    for places, pixels in taps:
        out[pixels] += columns[places]
    return narrowed(out, x)

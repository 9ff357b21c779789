"""Which kernel computes a convolution on the CPU: three functions, each served by the fastest that fits the call.

Arrays are (N, C, *S) with the channels last in memory, as PyTorch's channels_last: x.transpose gives the view, results
have these strides, and other layouts are copied into it first. Fewer than three spatial axes get others of size 1.
"""

from __future__ import annotations

import functools
import itertools
import math
import os
from typing import Any

import numpy as np

from .. import gemm, shares, threads
from ..dispatch import Array
from ..gemm.cpu import VECTOR, WIDEST, panel
from . import depthwise, direct, layout, winograd
from .formula import Pairs, Sizes, spatial

_GFLOPS = 60.0  # of one thread: what an estimate of the time needs
_LANEWISE = 4.0  # products in a nanosecond, of one thread, where every channel has its own kernel
_MOVED = 0.5  # nanoseconds to move an entry to another place
_BLOCK = 1 << 17  # bytes of x that a block of rows sees: they stay in the second-level cache
_TILES = 400_000  # bytes of the transforms of a block of Winograd's tiles: they stay in the second-level cache
_PLACES = 384  # of a block, in the gradient of the kernel: a panel of them stays in the first-level cache


def channels_last(x: Array) -> Array:
    """(N, C, *S) as (N, D, H, W, C), in that order in memory."""
    x = x.reshape(*x.shape[:2], *(1,) * (5 - x.ndim), *x.shape[2:]) if x.ndim < 5 else x
    last = x.transpose(0, 2, 3, 4, 1)
    if last.flags.c_contiguous or not x.flags.c_contiguous or not x.size:
        return np.ascontiguousarray(last)
    out = np.empty(last.shape, x.dtype)
    n, c = x.shape[:2]
    parts = threads.parts(x.size * _MOVED)
    layout.channels_last[x.dtype](x.reshape(n, c, -1), out.reshape(n, -1, c), parts)
    return out


def _first(y: Array, axes: int) -> Array:
    """(N, D, H, W, C) as (N, C, *S), a view."""
    y = y.transpose(0, 4, 1, 2, 3)
    return y[(slice(None), slice(None), *(0,) * (3 - axes))]


def _lifted(values: Any, axes: int, fill: Any) -> tuple[Any, ...]:
    return (*(fill,) * (3 - axes), *values)


def panel_columns(columns: int, size: int) -> int:
    """How wide the panels of so many columns are together, in entries."""
    lanes = VECTOR // size
    wide, rest = divmod(columns, WIDEST * lanes)
    vectors = -(-rest // lanes)
    return (wide * WIDEST + (WIDEST if vectors > 2 else vectors)) * lanes


def _correlate(
    x: Array, weight: Array, bias: Array | None, y: Array, *, stride: Any, start: Any, taps: Any, transposed: bool,
    index: Any, groups: int,
) -> None:  # fmt: skip
    """`direct.correlate` into y, of the taps `index` of weight, which stand at `taps`: a list an axis.

    `transposed`: weight's first axis is summed over and its second one made.
    """
    k, c = weight.shape[:2]
    kernel = weight.shape[2:]
    extent = [max(t) + 1 for t in taps]
    places = y.shape[1:4]
    size, dtype = x.itemsize, x.dtype
    row = ((places[2] - 1) * stride[2] + extent[2]) * x.shape[4] * size * extent[0]
    rows = max(min((_BLOCK // row - extent[1]) // stride[1] + 1, places[1]), 1)
    geometry = np.array([*x.shape[1:4], *places, *stride, *start, *extent, groups, rows], np.int64)
    table = [np.array(t, np.int64) for t in taps]
    if groups == k == x.shape[4] and c == 1:
        kernels = np.ascontiguousarray(weight[(slice(None), 0, *np.ix_(*index))].reshape(k, -1).T)
        parts = threads.parts(y.size * len(kernels) / _LANEWISE)
        depthwise.correlate[dtype](
            x, kernels, np.zeros(k, dtype) if bias is None else np.ascontiguousarray(bias), y, geometry, *table, parts
        )
        return
    spread = np.array([np.ravel_multi_index(at, kernel) for at in itertools.product(*index)], np.int64)
    count = math.prod(kernel)
    summed, made = (k // groups, c) if transposed else (c, k // groups)
    wide = panel_columns(made, size)
    packed = np.empty((groups, len(spread) * summed * wide), dtype)
    strides = (c * count, count) if transposed else (count, c * count)
    direct.pack[dtype](np.ascontiguousarray(weight).reshape(-1), spread, groups, summed, made, *strides, packed)
    begin = np.zeros((groups, wide), dtype)
    if bias is not None:
        begin[:, :made] = bias.reshape(groups, made)
    parts = threads.parts(2 * y.size * len(spread) * summed / _GFLOPS)
    direct.correlate[dtype](x, packed, begin, y, geometry, *table, panel[dtype], parts)


def _is_product(weight: Array, padding: Pairs, plain: bool) -> bool:
    """Whether the convolution is a matrix product of pixels and channels, which the GEMM has for float32."""
    return plain and weight.dtype == np.float32 and set(weight.shape[2:]) == {1} and set(padding) == {(0, 0)}


def _settings_are_plain(stride: Sizes, dilation: Sizes, groups: int) -> bool:
    return groups == 1 and set(stride) == {1} and set(dilation) == {1}


@functools.cache
def winograd_enabled() -> bool:
    """TINYGRAD_ZOO_WINOGRAD=off selects the direct sum, which is more exact, for the process."""
    choice = os.environ.get("TINYGRAD_ZOO_WINOGRAD", "").strip().lower() or "on"
    if choice not in ("on", "off"):
        raise ValueError(f"TINYGRAD_ZOO_WINOGRAD={choice!r}: expected 'on' or 'off'")
    return choice == "on"


def _by_winograd(x: Array, kernel: Sizes, channels: int, made: int, places: Sizes, plain: bool) -> bool:
    """Whether Winograd's algorithm serves: 3 × 3 kernels of float32 and stride 1, whole vectors of channels."""
    lanes = VECTOR // x.itemsize
    return (
        plain
        and kernel == (3, 3)
        and x.dtype == np.float32
        and channels % lanes == 0
        and made % lanes == 0
        and x.size > 0
        and math.prod(places) * x.shape[0] >= 64
        and min(places) >= 4
        and winograd_enabled()
    )


def _winograd_tiles(channels: int, wide: int) -> int:
    """How many tiles to transform at once: a multiple of the rows of a GEMM tile."""
    return min(max(_TILES // (144 * (channels + wide)) // 12 * 12, 12), 96)


def _winograd(x: Array, weight: Array, bias: Array | None, y: Array, before: Any, transposed: bool) -> None:
    """y (N, 1, H', W', K) of x (N, 1, H, W, C) by (K, C, 3, 3), or `transposed` by (C, K, 3, 3) turned by 180°."""
    dtype, channels, made = x.dtype, x.shape[4], y.shape[4]
    wide = panel_columns(made, x.itemsize)
    kernels = np.empty((36, channels * wide), dtype)
    strides = (made * 9, 9) if transposed else (9, channels * 9)
    flat = np.ascontiguousarray(weight).reshape(-1)
    winograd.transform_kernel[dtype](flat, channels, made, *strides, transposed, kernels)
    parts = threads.parts(2 * y.size * channels * 9 / (2 * _GFLOPS))
    winograd.correlate[dtype](
        x[:, 0], kernels, _ZERO if bias is None else np.ascontiguousarray(bias), y[:, 0], *before,
        _winograd_tiles(channels, wide), wide, panel[dtype], parts,
    )  # fmt: skip


_ZERO = np.zeros(1, np.float32)


def convolve(
    x: Array, weight: Array, bias: Array | None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    axes, (n, k) = x.ndim - 2, (x.shape[0], weight.shape[0])
    places = spatial(x.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
    y = np.empty((n, *_lifted(places, axes, 1), k), x.dtype)
    plain = _settings_are_plain(stride, dilation, groups)
    if not weight.size:  # an empty sum
        y[...] = 0 if bias is None else bias
    elif y.size and _is_product(weight, padding, plain):
        pixels = channels_last(x).reshape(-1, x.shape[1])
        return _first(gemm.matmul(pixels, weight.reshape(k, -1).T, bias).reshape(y.shape), axes)
    elif _by_winograd(x, weight.shape[2:], x.shape[1], k, places, plain):
        _winograd(channels_last(x), weight, bias, y, [before for before, _ in padding], False)
    elif y.size:
        kernel = _lifted(weight.shape[2:], axes, 1)
        apart = _lifted(dilation, axes, 1)
        _correlate(
            channels_last(x), weight.reshape(*weight.shape[:2], *kernel), bias, y,
            stride=_lifted(stride, axes, 1),
            start=[-before for before, _ in _lifted(padding, axes, (0, 0))],
            taps=[[r * d for r in range(m)] for m, d in zip(kernel, apart, strict=True)],
            index=[range(m) for m in kernel],
            transposed=False,
            groups=groups,
        )  # fmt: skip
    return _first(y, axes)


def convolve_input(
    g: Array, weight: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    axes, c = g.ndim - 2, groups * weight.shape[1]
    full = (len(g), *_lifted(size, axes, 1), c)
    plain = _settings_are_plain(stride, dilation, groups)
    if g.size and weight.size and _is_product(weight, padding, plain):
        pixels = channels_last(g).reshape(-1, g.shape[1])
        return _first(gemm.matmul(pixels, weight.reshape(len(weight), -1)).reshape(full), axes)
    if _by_winograd(g, weight.shape[2:], g.shape[1], c, size, plain):
        gx = np.empty(full, g.dtype)
        _winograd(channels_last(g), weight, None, gx, [2 - before for before, _ in padding], True)
        return _first(gx, axes)
    steps, apart = _lifted(stride, axes, 1), _lifted(dilation, axes, 1)
    kernel, before = _lifted(weight.shape[2:], axes, 1), [b for b, _ in _lifted(padding, axes, (0, 0))]
    phases = [
        [_phase(i, m, s, d, p) for i in range(min(s, length))]
        for length, m, s, d, p in zip(full[1:4], kernel, steps, apart, before, strict=True)
    ]
    covered = g.size > 0 and all(taps for axis in phases for _, taps, _ in axis)
    gx = (np.empty if covered else np.zeros)(full, g.dtype)
    if gx.size and g.size:
        last, weight = channels_last(g), weight.reshape(*weight.shape[:2], *kernel)
        for at in itertools.product(*(range(len(axis)) for axis in phases)):
            chosen = [axis[i] for axis, i in zip(phases, at, strict=True)]
            if all(taps for _, taps, _ in chosen):
                view = gx[(slice(None), *(slice(i, None, s) for i, s in zip(at, steps, strict=True)))]
                _correlate(
                    last, weight, None, view,
                    stride=(1, 1, 1),
                    start=[start for start, _, _ in chosen],
                    taps=[taps for _, taps, _ in chosen],
                    index=[index for _, _, index in chosen],
                    transposed=True,
                    groups=groups,
                )  # fmt: skip
    return _first(gx, axes)


def _phase(i: int, kernel: int, stride: int, dilation: int, before: int) -> tuple[int, list[int], list[int]]:
    """Of the entries i, i + stride, … of x: where in g the taps first read, each tap's place from there, which taps.

    Entry i + stride·t meets tap r in the output o where o·stride + r·dilation − before = i + stride·t.
    """
    index = [r for r in range(kernel) if (i + before - r * dilation) % stride == 0]
    places = [(i + before - r * dilation) // stride for r in index]
    start = min(places, default=0)
    return start, [p - start for p in places], index


def convolve_weight(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    axes, k, c = x.ndim - 2, g.shape[1], x.shape[1]
    if not g.size or not x.size:
        return np.zeros((k, c // groups, *kernel), x.dtype)
    x, g = channels_last(x), channels_last(g)
    size, dtype = x.itemsize, x.dtype
    if _by_winograd(x, kernel, c, k, g.shape[2:4], _settings_are_plain(stride, dilation, groups)):
        wide = panel_columns(k, size)
        parts = threads.parts(2 * g.size * c * 9 / (2 * _GFLOPS))
        sums, gw = np.empty((parts, 36, c, wide), dtype), np.empty((3, 3, c, wide), dtype)
        before = [b for b, _ in padding]
        winograd.weight_gradient[dtype](x[:, 0], g[:, 0], sums, *before, _winograd_tiles(c, wide), panel[dtype], parts)
        winograd.transform_gradient[dtype](sums, gw)
        return gw[..., :k].transpose(3, 2, 0, 1)
    sizes, apart = _lifted(kernel, axes, 1), _lifted(dilation, axes, 1)
    steps, before = _lifted(stride, axes, 1), [b for b, _ in _lifted(padding, axes, (0, 0))]
    taps = [np.arange(m, dtype=np.int64) * d for m, d in zip(sizes, apart, strict=True)]
    extent = [int(t[-1]) + 1 for t in taps]
    places = g.shape[1:4]
    row = ((places[2] - 1) * steps[2] + extent[2]) * x.shape[4] * size * extent[0]
    rows = max(min((_BLOCK // row - extent[1]) // steps[1] + 1, _PLACES // places[2], places[1]), 1)
    geometry = np.array([*x.shape[1:4], *places, *steps, *(-b for b in before), *extent, groups, rows], np.int64)
    made = k // groups
    if groups == k == c:
        parts = threads.parts(g.size * math.prod(sizes) / _LANEWISE)
        per_tap = np.empty((parts, math.prod(sizes), c), dtype)
        depthwise.weight_gradient[dtype](x, g, per_tap, geometry, *taps, parts)
        return shares.added(per_tap).T.reshape(k, 1, *kernel)
    parts = threads.parts(2 * g.size * math.prod(sizes) * c // groups / _GFLOPS)
    out = np.empty((parts, groups, math.prod(sizes) * c // groups, panel_columns(made, size)), dtype)
    direct.weight_gradient[dtype](x, g, out, geometry, *taps, panel[dtype], parts)
    total = shares.added(out)  # (groups, taps · channels, columns)
    gw = total[:, :, :made].reshape(groups, math.prod(sizes), c // groups, made).transpose(0, 3, 2, 1)
    return gw.reshape(k, c // groups, *kernel)

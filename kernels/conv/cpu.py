"""Which kernel computes a convolution on the CPU: three functions, each served by the fastest that fits the call.

Arrays are (N, C, *S) with the channels last in memory, as PyTorch's channels_last: x.transpose gives the view, results
have these strides, and other layouts are copied into it first. Fewer than three spatial axes get others of size 1.
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .. import gemm, threads
from ..dispatch import Array
from ..gemm.cpu import VECTOR, WIDEST, panel
from . import direct
from .formula import Pairs, Sizes, spatial

_GFLOPS = 60.0  # of one thread: what an estimate of the time needs
_BLOCK = 1 << 17  # bytes of x that a block of rows sees: they stay in the second-level cache
_PLACES = 384  # of a block, in the gradient of the kernel: a panel of them stays in the first-level cache


def _last(x: Array) -> Array:
    """(N, C, *S) as (N, D, H, W, C), in that order in memory."""
    x = x.reshape(*x.shape[:2], *(1,) * (5 - x.ndim), *x.shape[2:]) if x.ndim < 5 else x
    return np.ascontiguousarray(x.transpose(0, 2, 3, 4, 1))


def _first(y: Array, axes: int) -> Array:
    """(N, D, H, W, C) as (N, C, *S), a view."""
    y = y.transpose(0, 4, 1, 2, 3)
    return y[(slice(None), slice(None), *(0,) * (3 - axes))]


def _lifted(values: Any, axes: int, fill: Any) -> tuple[Any, ...]:
    return (*(fill,) * (3 - axes), *values)


def _panel_columns(columns: int, size: int) -> int:
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
    spread = np.array([np.ravel_multi_index(at, kernel) for at in itertools.product(*index)], np.int64)
    count = math.prod(kernel)
    size, dtype = x.itemsize, x.dtype
    summed, made = (k // groups, c) if transposed else (c, k // groups)
    wide = _panel_columns(made, size)
    packed = np.empty((groups, len(spread) * summed * wide), dtype)
    strides = (c * count, count) if transposed else (count, c * count)
    direct.pack[dtype, 1](np.ascontiguousarray(weight).reshape(-1), spread, groups, summed, made, *strides, packed)
    begin = np.zeros((groups, wide), dtype)
    if bias is not None:
        begin[:, :made] = bias.reshape(groups, made)
    extent = [max(t) + 1 for t in taps]
    places = y.shape[1:4]
    row = ((places[2] - 1) * stride[2] + extent[2]) * x.shape[4] * size * extent[0]
    rows = max(min((_BLOCK // row - extent[1]) // stride[1] + 1, places[1]), 1)
    geometry = np.array([*x.shape[1:4], *places, *stride, *start, *extent, groups, rows], np.int64)
    parts = threads.parts(2 * y.size * len(spread) * summed / _GFLOPS)
    planes, lines, columns = (np.array(t, np.int64) for t in taps)
    direct.correlate[dtype, parts](x, packed, begin, y, geometry, planes, lines, columns, panel[dtype], parts)


def convolve(
    x: Array, weight: Array, bias: Array | None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    axes, (n, k) = x.ndim - 2, (x.shape[0], weight.shape[0])
    places = spatial(x.shape[2:], weight.shape[2:], stride=stride, padding=padding, dilation=dilation)
    y = np.empty((n, *_lifted(places, axes, 1), k), x.dtype)
    if y.size:
        kernel = _lifted(weight.shape[2:], axes, 1)
        apart = _lifted(dilation, axes, 1)
        _correlate(
            _last(x), weight.reshape(*weight.shape[:2], *kernel), bias, y,
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
    steps, apart = _lifted(stride, axes, 1), _lifted(dilation, axes, 1)
    kernel, before = _lifted(weight.shape[2:], axes, 1), [b for b, _ in _lifted(padding, axes, (0, 0))]
    phases = [
        [_phase(i, m, s, d, p) for i in range(min(s, length))]
        for length, m, s, d, p in zip(full[1:4], kernel, steps, apart, before, strict=True)
    ]
    covered = g.size > 0 and all(taps for axis in phases for _, taps, _ in axis)
    gx = (np.empty if covered else np.zeros)(full, g.dtype)
    if gx.size and g.size:
        last, weight = _last(g), weight.reshape(*weight.shape[:2], *kernel)
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
    """Of the entries i, i + stride, … of x: where in g the first tap reads first, the taps' places from there, the taps.

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
    x, g = _last(x), _last(g)
    size, dtype = x.itemsize, x.dtype
    sizes, apart = _lifted(kernel, axes, 1), _lifted(dilation, axes, 1)
    steps, before = _lifted(stride, axes, 1), [b for b, _ in _lifted(padding, axes, (0, 0))]
    taps = [np.arange(m, dtype=np.int64) * d for m, d in zip(sizes, apart, strict=True)]
    extent = [int(t[-1]) + 1 for t in taps]
    places = g.shape[1:4]
    row = ((places[2] - 1) * steps[2] + extent[2]) * x.shape[4] * size * extent[0]
    rows = max(min((_BLOCK // row - extent[1]) // steps[1] + 1, _PLACES // places[2], places[1]), 1)
    geometry = np.array([*x.shape[1:4], *places, *steps, *(-b for b in before), *extent, groups, rows], np.int64)
    made = k // groups
    parts = threads.parts(2 * g.size * math.prod(sizes) * c // groups / _GFLOPS)
    out = np.empty((parts, groups, math.prod(sizes) * c // groups, _panel_columns(made, size)), dtype)
    direct.weight_gradient[dtype, parts](x, g, out, geometry, *taps, panel[dtype], parts)
    total = out[0] if parts == 1 else out.sum(axis=0)  # (groups, taps · channels, columns)
    gw = total[:, :, :made].reshape(groups, math.prod(sizes), c // groups, made).transpose(0, 3, 2, 1)
    return gw.reshape(k, c // groups, *kernel)

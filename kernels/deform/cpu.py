"""Deformable convolution on the CPU: the arrays of a call as the kernels of tiles.py take them."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np

from .. import shares, threads
from ..conv import direct
from ..conv.cpu import channels_last, panel_columns
from ..dispatch import Array
from ..gemm.cpu import panel
from . import tiles

_GFLOPS = 45.0  # of one thread: what an estimate of the time needs


class _Call:
    """The arrays of a call as the kernels take them."""

    def __init__(
        self, x: Array, offset: Array, weight: Array, mask: Array | None, stride: Any, before: Any, dilation: Any,
        places: Any, groups: int, offset_groups: int,
    ) -> None:  # fmt: skip
        (n, channels, *size), kernel = x.shape, weight.shape[2:]
        self.taps, self.groups, self.made = math.prod(kernel), groups, weight.shape[0] // groups
        self.per_group, self.places, self.shape = channels // groups, places, x.shape
        self.depth, self.count = self.taps * self.per_group, math.prod(places)
        self.x = channels_last(x)[:, 0]
        self.offset = np.ascontiguousarray(offset).reshape(n, offset_groups * self.taps, 2, self.count)
        shape = (n, offset_groups * self.taps, self.count)
        self.mask = np.empty((0, 0, 0), x.dtype) if mask is None else np.ascontiguousarray(mask).reshape(shape)
        self.weight = np.ascontiguousarray(weight)
        share = channels // offset_groups
        firsts = sorted({*range(0, channels, self.per_group), *range(0, channels, share)})
        runs = [
            (c, end - c, c // self.per_group, c // share)
            for c, end in zip(firsts, [*firsts[1:], channels], strict=True)
        ]
        head = [*size, *places, *stride, *before, channels, groups, self.taps, len(runs)]
        reach = [(a * dilation[0], b * dilation[1]) for a, b in np.ndindex(*kernel)]
        self.layout = np.array([*head, *itertools.chain(*reach, *runs)], np.int64)
        self.work = 2 * n * self.count * self.depth * weight.shape[0] / _GFLOPS


def convolve(x: Array, offset: Array, weight: Array, bias: Array | None, mask: Array | None, **settings: Any) -> Array:
    c = _Call(x, offset, weight, mask, **settings)
    size, dtype = x.itemsize, x.dtype
    wide = panel_columns(c.made, size)
    packed, start = np.empty((c.groups, c.depth * wide), dtype), np.zeros((c.groups, wide), dtype)
    taps = np.arange(c.taps, dtype=np.int64)
    direct.pack[dtype](c.weight.reshape(-1), taps, c.groups, c.per_group, c.made, c.taps, c.per_group * c.taps, packed)
    if bias is not None:
        start[:, : c.made] = bias.reshape(c.groups, c.made)
    y = np.empty((len(x), c.count, weight.shape[0]), dtype)
    parts = threads.parts(c.work)
    zeros, addresses = np.zeros(x.shape[1], dtype), (tiles.fill[dtype], tiles.multiply[dtype], panel[dtype])
    tiles.forward[dtype](c.x, c.offset, c.mask, packed, start, y, zeros, c.layout, *addresses, parts)
    return y.reshape(len(x), *c.places, -1).transpose(0, 3, 1, 2)


def convolve_pulled(
    g: Array, x: Array, offset: Array, weight: Array, mask: Array | None, **settings: Any
) -> tuple[Array, Array, Array, Array | None]:
    c = _Call(x, offset, weight, mask, **settings)
    size, dtype, kernel = x.itemsize, x.dtype, weight.shape[2:]
    by_tap = c.weight.reshape(c.groups, c.made, c.per_group, c.taps).transpose(0, 1, 3, 2)
    turned = np.empty((c.groups, c.made * panel_columns(c.depth, size)), dtype)
    direct.pack[dtype](np.ascontiguousarray(by_tap).reshape(-1), _FIRST, c.groups, c.made, c.depth, c.depth, 1, turned)
    parts = min(threads.parts(3 * c.work), len(x))
    gx, go, gm = np.zeros(c.x.shape, dtype), np.zeros(c.offset.shape, dtype), np.zeros(c.mask.shape, dtype)
    gw = np.zeros((parts, c.groups, c.depth, panel_columns(c.made, size)), dtype)
    last = channels_last(g).reshape(len(x), c.count, -1)
    zeros = np.zeros((parts, max(x.shape[1], panel_columns(c.depth, size)) + x.shape[1]), dtype)
    addresses = tiles.fill[dtype], tiles.spread[dtype], tiles.multiply[dtype], panel[dtype]
    gradients = gx, go, gm, gw
    tiles.backward[dtype](c.x, c.offset, c.mask, turned, last, *gradients, zeros, c.layout, *addresses, parts)
    total = shares.added(gw)
    by_tap = total[:, :, : c.made].reshape(c.groups, c.taps, c.per_group, c.made).transpose(0, 3, 2, 1)
    return (
        gx.transpose(0, 3, 1, 2),
        go.reshape(offset.shape),
        by_tap.reshape(weight.shape[0], c.per_group, *kernel),
        None if mask is None else gm.reshape(mask.shape),
    )


_FIRST = np.zeros(1, np.int64)

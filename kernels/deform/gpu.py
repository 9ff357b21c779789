"""Deformable convolution on a device: deform.cu writes what the taps read, and products of matrices do the rest.

Images are taken so many at a time that the columns of all their places fit into MOST bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import gemm
from ..cuda import THREADS, launch, launch_each, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "deform.cu"
MOST = 1 << 28
_CHANNELS = 16  # of a thread
_TEAM = 128  # threads that have a sample, or a pixel, each


class _Call:
    """The arrays of a call as the kernels take them, and its sizes."""

    def __init__(
        self, x: Array, offset: Array, weight: Array, mask: Array | None, stride: Any, before: Any, dilation: Any,
        places: Any, groups: int, offset_groups: int,
    ) -> None:  # fmt: skip
        self.x, self.offset = plain(x), plain(offset)
        self.mask = None if mask is None else plain(mask)
        self.weight = plain(weight).reshape(groups, len(weight) // groups, -1)
        kernel, self.sets, self.places = weight.shape[2:], offset_groups, math.prod(places)
        self.taps = math.prod(kernel)
        self.sizes = (*x.shape[1:], *places, *stride, *before, *dilation, *kernel, offset_groups)
        self.parts = offset_groups * -(-x.shape[1] // (offset_groups * _CHANNELS))  # that threads make of the channels

    def portions(self) -> Iterator[slice]:
        """The images, so many at a time."""
        each = max(MOST // (self.x.shape[1] * self.taps * self.places * self.x.itemsize), 1)
        return (slice(n, n + each) for n in range(0, len(self.x), each))

    def run(self, name: str, images: slice, blocks: int, threads: int, *results: Array, shared: int = 0) -> None:
        """A kernel that reads x."""
        x = self.x[images]
        arguments = (x, *self.moves(images), *results, len(x), *self.sizes)
        launch(SOURCE, name, blocks, threads, arguments, shared=shared, by=x)

    def moves(self, images: slice) -> tuple[Any, ...]:
        """Offsets and masks, and whether there are masks."""
        offset = self.offset[images]
        return (offset, offset, 0) if self.mask is None else (offset, self.mask[images], 1)

    def columns(self, images: slice) -> Array:
        """What the taps read, (groups, channels · taps, images · places)."""
        count = len(self.x[images]) * self.places
        made = namespace(self.x).empty((self.x.shape[1] * self.taps, count), self.x.dtype)
        self.run("sampled", images, self.parts * self.taps * -(-count // _TEAM), _TEAM, made)
        return made.reshape(len(self.weight), -1, count)

    def pulled_moves(self, images: slice, pulled: Array, g_offset: Array, g_mask: Array) -> None:
        """The gradients of offsets and masks, from those of the columns."""
        blocks = self.sets * self.taps * -(-len(self.x[images]) * self.places // 32)
        self.run("moved", images, blocks, THREADS, pulled, g_offset, g_mask, shared=4 * THREADS * self.x.itemsize)

    def pulled_images(self, images: slice, pulled: Array, gx: Array) -> None:
        """The gradient of x, from those of the columns."""
        xp, (n, _, height, width) = namespace(gx), gx.shape
        samples, bins = self.sets * self.taps * n * self.places, n * self.sets * (height + 1) * (width + 1)
        keys, starts = xp.empty(samples, np.int32), xp.empty(bins + 1, np.int32)
        moves, sizes = self.moves(images), (n, *self.sizes)
        launch_each(SOURCE, "keys", samples, (*moves, keys, *sizes), by=gx)
        order = plain(xp.argsort(keys, kind="stable"), np.int64)
        launch_each(SOURCE, "starts", bins + 1, (keys, order, starts, samples, bins), by=gx)
        blocks = self.parts * -(-n * height * width // _TEAM)
        launch(SOURCE, "spread", blocks, _TEAM, (*moves, pulled, order, starts, gx, *sizes), by=gx)


def convolve(x: Array, offset: Array, weight: Array, bias: Array | None, mask: Array | None, **settings: Any) -> Array:
    c, xp = _Call(x, offset, weight, mask, **settings), namespace(x)
    y = xp.empty((len(x), len(weight), c.places), x.dtype)
    for images in c.portions():
        made = _products(c.weight, c.columns(images)).reshape(len(weight), -1, c.places)
        y[images] = made.swapaxes(0, 1) if bias is None else made.swapaxes(0, 1) + bias.reshape(-1, 1)
    return y.reshape(len(x), len(weight), *settings["places"])


def convolve_pulled(
    g: Array, x: Array, offset: Array, weight: Array, mask: Array | None, **settings: Any
) -> tuple[Array, Array, Array, Array | None]:
    c, xp = _Call(x, offset, weight, mask, **settings), namespace(x)
    gx, go = xp.empty(x.shape, x.dtype), xp.empty(offset.shape, x.dtype)
    gm = None if mask is None else xp.empty(mask.shape, x.dtype)
    g, gw = g.reshape(len(x), len(weight), c.places), xp.zeros(c.weight.shape, x.dtype)
    for images in c.portions():
        by_row = plain(g[images].swapaxes(0, 1)).reshape(len(c.weight), c.weight.shape[1], -1)
        pulled = _products(c.weight.swapaxes(1, 2), by_row)
        c.pulled_moves(images, pulled, go[images], (go if gm is None else gm)[images])
        c.pulled_images(images, pulled, gx[images])
        del pulled  # before the columns are made, which are as many
        gw += _products(by_row, c.columns(images).swapaxes(1, 2))
    return gx, go, gw.reshape(weight.shape), gm


def _products(a: Array, b: Array) -> Array:
    """A product of matrices a group: of one group without a copy of what is transposed."""
    return gemm.matmul(a[0], b[0])[None] if len(a) == 1 else gemm.matmul(a, b)

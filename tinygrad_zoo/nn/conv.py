"""Convolutions and transposed convolutions with their parameters.

A size is one integer for all spatial axes, or a tuple of one an axis; x may be one example, without the axis N. Weight
and bias both start as U(±1/√fan), where the fan is weight.shape[1] times the kernel's size, as in PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..autograd import Op
from ..errors import ShapeError, UsageError
from ..ops.conv_plan import Sizes, pairs, per_axis
from ..tensor import as_tensor
from . import init
from .layers import check_sizes
from .module import Module, Parameter

_MODES = ("zeros", "reflect", "replicate", "circular")
_USUAL = {"stride": 1, "padding": 0, "output_padding": 0, "dilation": 1, "groups": 1, "padding_mode": "zeros"}


class _Convolution(Module):
    """What all of them have: settings of one integer an axis, and parameters."""

    op: ClassVar[Op]
    axes: ClassVar[int]
    weight: Parameter
    bias: Parameter | None

    def __init_subclass__(cls, op: Op | None = None, axes: int = 0) -> None:
        super().__init_subclass__()
        if op is not None:
            cls.op, cls.axes = op, axes

    def _set(
        self, in_channels: int, out_channels: int, kernel_size: Sizes, stride: Sizes, dilation: Sizes, groups: int
    ) -> None:
        who = type(self).__name__
        check_sizes(who, in_channels=in_channels, out_channels=out_channels, groups=groups)
        if in_channels % groups or out_channels % groups:
            raise UsageError(
                f"{who}: groups={groups} does not divide in_channels={in_channels} and out_channels={out_channels}"
            )
        self.in_channels, self.out_channels, self.groups = in_channels, out_channels, groups
        self.kernel_size = self._sizes("kernel_size", kernel_size)
        self.stride, self.dilation = self._sizes("stride", stride), self._sizes("dilation", dilation)

    def _sizes(self, name: str, value: Any, least: int = 1) -> tuple[int, ...]:
        return per_axis(type(self).__name__, name, value, self.axes, least)

    def _start(self, channels: tuple[int, int], bias: bool, rng: np.random.Generator) -> None:
        rng = init.generator(type(self).__name__, rng)
        self.weight = Parameter(np.empty((*channels, *self.kernel_size), np.float32))
        self.bias = Parameter(np.empty(self.out_channels, np.float32)) if bias else None
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(channels[1] * math.prod(self.kernel_size))
            init.uniform_(self.bias, -bound, bound, rng=rng)

    def settings(self) -> str:
        shown = {name: _shown(getattr(self, name)) for name in _USUAL if hasattr(self, name)}
        parts = [f"{self.in_channels}, {self.out_channels}, {_shown(self.kernel_size)}"]
        parts += [f"{name}={value!r}" for name, value in shown.items() if value != _USUAL[name]]
        return ", ".join(parts if self.bias is not None else [*parts, "bias=False"])


def _shown(sizes: Any) -> Any:
    """One integer in place of several of the same."""
    return sizes[0] if isinstance(sizes, tuple) and len({*sizes}) == 1 else sizes


class _Conv(_Convolution):
    padding: str | tuple[int, ...]

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: str | Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        *,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, stride, dilation, groups)
        if padding_mode not in _MODES:
            who = type(self).__name__
            raise UsageError(f"{who}: padding_mode={padding_mode!r}: expected one of {', '.join(_MODES)}")
        self.padding = padding if isinstance(padding, str) else self._sizes("padding", padding, least=0)
        self.padding_mode = padding_mode
        widths = pairs(type(self).__name__, self.padding, self.kernel_size, self.stride, self.dilation)
        self._pad = tuple(width for pair in reversed(widths) for width in pair)  # as `ops.pad` has them
        self._start((out_channels, in_channels // groups), bias, rng)

    def forward(self, x: Any) -> Any:
        padding: Any = self.padding
        if self.padding_mode != "zeros":
            x, padding = ops.pad(as_tensor(x), pad=self._pad, mode=self.padding_mode), 0
        settings = {"stride": self.stride, "padding": padding, "dilation": self.dilation, "groups": self.groups}
        return type(self).op(x, self.weight, self.bias, **settings)


class Conv1d(_Conv, op=ops.conv1d, axes=1):
    """Convolution of (N, in_channels, L) with weight (out_channels, in_channels / groups, k), plus a bias a channel.

    `padding` entries stand around x, zeros or by `padding_mode` what 'reflect', 'replicate' or 'circular' puts there;
    'same' keeps the size.

    >>> Conv1d(2, 4, 3, padding="same", rng=np.random.default_rng(0))(np.zeros((1, 2, 10), np.float32)).shape
    (1, 4, 10)
    """


class Conv2d(_Conv, op=ops.conv2d, axes=2):
    """Convolution of (N, in_channels, H, W) with weight (out_channels, in_channels / groups, kH, kW); see `Conv1d`.

    >>> layer = Conv2d(3, 8, 3, stride=2, padding=(1, 0), rng=np.random.default_rng(0))
    >>> layer
    Conv2d(3, 8, 3, stride=2, padding=(1, 0))  # 224 parameters
    >>> layer(np.zeros((1, 3, 8, 9), np.float32)).shape
    (1, 8, 4, 4)
    """


class Conv3d(_Conv, op=ops.conv3d, axes=3):
    """Convolution of (N, in_channels, D, H, W) with weight (out_channels, in_channels / groups, kD, kH, kW).

    >>> Conv3d(1, 2, (1, 2, 2), rng=np.random.default_rng(0))(np.zeros((1, 1, 3, 3, 3), np.float32)).shape
    (1, 2, 3, 2, 2)
    """


class _ConvTranspose(_Convolution):
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        padding_mode: str = "zeros",
        *,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        self._set(in_channels, out_channels, kernel_size, stride, dilation, groups)
        if padding_mode != "zeros":
            raise UsageError(f"{type(self).__name__}: padding_mode={padding_mode!r}: expected 'zeros', it has no other")
        self.padding = self._sizes("padding", padding, least=0)
        self.output_padding = self._sizes("output_padding", output_padding, least=0)
        self._start((in_channels, out_channels // groups), bias, rng)

    def forward(self, x: Any, output_size: Sequence[int] | None = None) -> Any:
        """`output_size`, with or without the axes before, takes the place of the output_padding that leads to it."""
        extra = self.output_padding if output_size is None else self._output_padding(as_tensor(x), output_size)
        return type(self).op(
            x,
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            output_padding=extra,
            groups=self.groups,
            dilation=self.dilation,
        )

    def _output_padding(self, x: Any, output_size: Sequence[int]) -> tuple[int, ...]:
        who, size = type(self).__name__, x.shape[-self.axes :]
        wanted = tuple(output_size)
        if len(wanted) not in (self.axes, x.ndim):
            raise ShapeError(
                f"{who}: output_size={wanted}: expected a size for each axis, {self.axes}, or {x.ndim}, as x has"
            )
        least = tuple(
            (n - 1) * s - 2 * p + d * (k - 1) + 1
            for n, s, p, d, k in zip(size, self.stride, self.padding, self.dilation, self.kernel_size, strict=True)
        )
        extra = tuple(n - m for n, m in zip(wanted[-self.axes :], least, strict=True))
        if any(not 0 <= e < s for e, s in zip(extra, self.stride, strict=True)):
            most = tuple(m + s - 1 for m, s in zip(least, self.stride, strict=True))
            raise ShapeError(f"{who}: output_size={wanted}: x of {size} leads to sizes from {least} to {most}")
        return extra


class ConvTranspose1d(_ConvTranspose, op=ops.conv_transpose1d, axes=1):
    """The adjoint of a convolution: (N, in_channels, L) with weight (in_channels, out_channels / groups, k).

    The size is (L − 1)·stride − 2·padding + dilation·(k − 1) + output_padding + 1.

    >>> ConvTranspose1d(2, 4, 3, stride=2, rng=np.random.default_rng(0))(np.zeros((1, 2, 5), np.float32)).shape
    (1, 4, 11)
    """


class ConvTranspose2d(_ConvTranspose, op=ops.conv_transpose2d, axes=2):
    """The adjoint of a convolution: (N, in_channels, H, W) with weight (in_channels, out_channels / groups, kH, kW).

    >>> layer = ConvTranspose2d(8, 3, 4, stride=2, padding=1, rng=np.random.default_rng(0))
    >>> layer
    ConvTranspose2d(8, 3, 4, stride=2, padding=1)  # 387 parameters
    >>> layer(np.zeros((1, 8, 5, 5), np.float32)).shape, layer(np.zeros((8, 5, 5), np.float32), (11, 10)).shape
    ((1, 3, 10, 10), (3, 11, 10))
    """


class ConvTranspose3d(_ConvTranspose, op=ops.conv_transpose3d, axes=3):
    """The adjoint of a convolution: (N, in_channels, D, H, W) with weight (in_channels, out_channels / groups, …).

    >>> ConvTranspose3d(1, 2, 2, stride=2, rng=np.random.default_rng(0))(np.zeros((1, 1, 2, 2, 2), np.float32)).shape
    (1, 2, 4, 4, 4)
    """

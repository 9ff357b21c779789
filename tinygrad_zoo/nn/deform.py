"""Deformable convolution with the branch that computes its offsets (arXiv 1703.06211; the mask: 1811.11168)."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..errors import UsageError
from ..ops.conv_plan import Sizes, per_axis
from . import init
from .conv import Conv2d
from .layers import check_sizes
from .module import Module


class DeformConv2d(Module):
    """A convolution whose taps move by offsets that another convolution of x computes: zeros at first.

    `offset_groups` shares of the channels have offsets of their own. `modulated` adds a mask, the sigmoid of further
    channels of the branch: 1/2 at first. With `optim.branch_groups` the branch learns at `offset_lr` times the rate.

    >>> layer = DeformConv2d(2, 4, 3, padding=1, rng=np.random.default_rng(0))
    >>> x = np.ones((1, 2, 5, 5), np.float32)
    >>> bool(abs(layer(x) - layer.convolution(x)).max() < 1e-6), layer.offsets(x)[0].shape
    (True, (1, 18, 5, 5))
    """

    convolution: Conv2d
    branch: Conv2d

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        *,
        offset_groups: int = 1,
        modulated: bool = False,
        offset_lr: float = 1.0,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        rng = init.generator("DeformConv2d", rng)
        check_sizes("DeformConv2d", in_channels=in_channels, offset_groups=offset_groups)
        if in_channels % offset_groups:
            raise UsageError(f"DeformConv2d: offset_groups={offset_groups} does not divide in_channels={in_channels}")
        per_axis("DeformConv2d", "padding", padding, 2, least=0)  # in numbers, unlike Conv2d's
        if not offset_lr > 0:
            raise UsageError(f"DeformConv2d: offset_lr={offset_lr}: expected a number > 0")
        where = (kernel_size, stride, padding, dilation)
        self.convolution = Conv2d(in_channels, out_channels, *where, groups=groups, bias=bias, rng=rng)
        self.offset_groups, self.modulated = offset_groups, modulated
        rows, columns = self.convolution.kernel_size
        self.taps = offset_groups * rows * columns
        drawn = np.random.default_rng(0)  # for nothing: so the same network without offsets draws the same weights
        self.branch = Conv2d(in_channels, (3 if modulated else 2) * self.taps, *where, rng=drawn)
        self.offset_lr = offset_lr
        for p in self.branch.parameters():
            init.zeros_(p)

    def offsets(self, x: Any) -> tuple[Any, Any]:
        """The offsets (N, 2 · taps, H', W'), (Δy, Δx) of each tap, and the mask (N, taps, H', W') or None."""
        made = self.branch(x)
        if not self.modulated:
            return made, None
        return made[:, : 2 * self.taps], ops.sigmoid(made[:, 2 * self.taps :])

    def forward(self, x: Any) -> Any:
        c = self.convolution
        offset, mask = self.offsets(x)
        settings = {"stride": c.stride, "padding": c.padding, "dilation": c.dilation}
        return ops.deform_conv2d(x, offset, c.weight, c.bias, mask=mask, **settings)

    def settings(self) -> str:
        usual = {"offset_groups": 1, "modulated": False, "offset_lr": 1.0}
        return ", ".join(f"{n}={value!r}" for n in usual if (value := getattr(self, n)) != usual[n])

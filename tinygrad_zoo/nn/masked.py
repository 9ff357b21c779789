"""Convolutions that see only what comes before in raster order: row by row, from left to right (arXiv 1601.06759)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from .. import ops
from ..errors import UsageError
from ..ops.conv_plan import Sizes
from . import init
from .conv import Conv2d
from .module import Buffer


class MaskedConv2d(Conv2d):
    """A convolution of (N, C, H, W) that keeps the size, whose kernel is 0 after its centre in raster order.

    The centre itself is 0 for mask "A", of the first layer, which hides the pixel that is to be predicted, and stays
    for mask "B", of all later ones, whose input knows nothing of that pixel any more. The kernel's sizes are odd.

    >>> layer = MaskedConv2d(1, 8, 3, mask_type="A", rng=np.random.default_rng(0))
    >>> layer.mask.tolist()
    [[1.0, 1.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    >>> layer(np.zeros((1, 1, 5, 4), np.float32)).shape
    (1, 8, 5, 4)
    """

    mask: Buffer

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        dilation: Sizes = 1,
        bias: bool = True,
        *,
        mask_type: Literal["A", "B"],
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        if mask_type not in ("A", "B"):
            raise UsageError(f'MaskedConv2d: mask_type must be "A" or "B", got {mask_type!r}')
        super().__init__(in_channels, out_channels, kernel_size, padding="same", dilation=dilation, bias=bias, rng=rng)
        rows, columns = self.kernel_size
        if not (rows % 2 and columns % 2):
            raise UsageError(f"MaskedConv2d: a kernel with a centre has odd sizes, got {self.kernel_size}")
        self.mask_type = mask_type
        before = np.arange(rows * columns) < rows * columns // 2 + (mask_type == "B")
        self.mask = Buffer(before.reshape(rows, columns).astype(np.float32))

    def forward(self, x: Any) -> Any:
        return ops.conv2d(x, self.weight * self.mask, self.bias, padding="same", dilation=self.dilation)

    def settings(self) -> str:
        return f"{super().settings()}, mask_type={self.mask_type!r}"

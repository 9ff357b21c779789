"""Layers that pool windows of an image, and the one that undoes max pooling.

Arguments are in PyTorch's order, and so is the way a layer is shown.
"""

from __future__ import annotations

from typing import Any, ClassVar

from .. import ops
from ..autograd import Op
from ..ops.conv_plan import per_axis
from .op_module import OpModule


class _Pool(OpModule):
    """Shown with some of its settings, whatever their values: `shown` names them."""

    shown: ClassVar[list[str]] = []

    def __init_subclass__(cls, op: Op | None = None, arguments: str = "", shown: str = "") -> None:
        super().__init_subclass__(op, arguments)
        cls.shown = shown.split() or cls.shown

    def settings(self) -> str:
        return ", ".join(f"{name}={getattr(self, name)!r}" for name in self.shown)


class _Strided(_Pool):
    """Its stride is its kernel_size unless given. With `axes`, its sizes are kept as one integer an axis."""

    axes: ClassVar[int] = 0
    kernel_size: Any
    stride: Any

    def __init_subclass__(cls, axes: int = 0, **row: Any) -> None:
        super().__init_subclass__(**row)
        cls.axes = axes

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.stride = self.kernel_size if self.stride is None else self.stride
        for name, least in (("kernel_size", 1), ("stride", 1), ("padding", 0)) if self.axes else ():
            setattr(self, name, per_axis(type(self).__name__, name, getattr(self, name), self.axes, least))


_MAX = "kernel_size stride padding dilation return_indices ceil_mode"
_MAX_SHOWN = "kernel_size stride padding dilation ceil_mode"
_AVERAGE_1D = "kernel_size stride padding ceil_mode count_include_pad"
_AVERAGE, _PLACED = f"{_AVERAGE_1D} divisor_override", "kernel_size stride padding"
_POWER = "norm_type kernel_size stride ceil_mode"


class MaxPool1d(_Strided, op=ops.max_pool1d, arguments=_MAX, shown=_MAX_SHOWN): ...


class MaxPool2d(_Strided, op=ops.max_pool2d, arguments=_MAX, shown=_MAX_SHOWN): ...


class MaxPool3d(_Strided, op=ops.max_pool3d, arguments=_MAX, shown=_MAX_SHOWN): ...


class AvgPool1d(_Strided, axes=1, op=ops.avg_pool1d, arguments=_AVERAGE_1D, shown=_PLACED): ...


class AvgPool2d(_Strided, op=ops.avg_pool2d, arguments=_AVERAGE, shown=_PLACED): ...


class AvgPool3d(_Strided, op=ops.avg_pool3d, arguments=_AVERAGE, shown=_PLACED): ...


class AdaptiveMaxPool1d(_Pool, op=ops.adaptive_max_pool1d, shown="output_size"): ...


class AdaptiveMaxPool2d(_Pool, op=ops.adaptive_max_pool2d, shown="output_size"): ...


class AdaptiveMaxPool3d(_Pool, op=ops.adaptive_max_pool3d, shown="output_size"): ...


class AdaptiveAvgPool1d(_Pool, op=ops.adaptive_avg_pool1d, shown="output_size"): ...


class AdaptiveAvgPool2d(_Pool, op=ops.adaptive_avg_pool2d, shown="output_size"): ...


class AdaptiveAvgPool3d(_Pool, op=ops.adaptive_avg_pool3d, shown="output_size"): ...


class LPPool1d(_Pool, op=ops.lp_pool1d, arguments=_POWER, shown=_POWER): ...


class LPPool2d(_Pool, op=ops.lp_pool2d, arguments=_POWER, shown=_POWER): ...


class _Unpool(_Strided):
    def forward(self, x: Any, indices: Any, output_size: Any = None) -> Any:
        """`output_size`, with or without the axes before, where pooling came from another size than the usual one."""
        settings = {name: getattr(self, name) for name in self.arguments}
        return type(self).op(x, indices, **settings, output_size=output_size)


class MaxUnpool1d(_Unpool, axes=1, op=ops.max_unpool1d, arguments=_PLACED, shown=_PLACED): ...


class MaxUnpool2d(_Unpool, axes=2, op=ops.max_unpool2d, arguments=_PLACED, shown=_PLACED): ...


class MaxUnpool3d(_Unpool, axes=3, op=ops.max_unpool3d, arguments=_PLACED, shown=_PLACED): ...

"""Entries put around the last one, two or three axes of (N, C, …) or (C, …); `padding` is one width, or all of them:
before and behind the last axis, then the one before it, … Negative widths crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from .. import ops
from ..errors import UsageError
from ..tensor import as_tensor
from .module import Module


class _Pad(Module):
    axes: ClassVar[int]
    mode: ClassVar[str]
    value: float = 0.0

    def __init_subclass__(cls, axes: int = 0, mode: str = "constant") -> None:
        super().__init_subclass__()
        cls.axes, cls.mode = axes, mode

    def __init__(self, padding: int | Sequence[int]) -> None:
        widths = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)
        if len(widths) != 2 * self.axes:
            raise UsageError(f"{type(self).__name__}: expected one width or {2 * self.axes}, got {padding!r}")
        self.padding = widths

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        if x.ndim not in (self.axes + 1, self.axes + 2):
            raise UsageError(f"{type(self).__name__}: expected {self.axes + 1} or {self.axes + 2} axes, got {x.shape}")
        return ops.pad(x, pad=self.padding, mode=self.mode, value=self.value)

    def settings(self) -> str:
        return str(self.padding)


class _ConstantPad(_Pad):
    def __init__(self, padding: int | Sequence[int], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def settings(self) -> str:
        return f"{self.padding}, {self.value!r}"


class ZeroPad1d(_Pad, axes=1, mode="constant"): ...


class ZeroPad2d(_Pad, axes=2, mode="constant"): ...


class ZeroPad3d(_Pad, axes=3, mode="constant"): ...


class ConstantPad1d(_ConstantPad, axes=1, mode="constant"): ...


class ConstantPad2d(_ConstantPad, axes=2, mode="constant"): ...


class ConstantPad3d(_ConstantPad, axes=3, mode="constant"): ...


class ReflectionPad1d(_Pad, axes=1, mode="reflect"): ...


class ReflectionPad2d(_Pad, axes=2, mode="reflect"): ...


class ReflectionPad3d(_Pad, axes=3, mode="reflect"): ...


class ReplicationPad1d(_Pad, axes=1, mode="replicate"): ...


class ReplicationPad2d(_Pad, axes=2, mode="replicate"): ...


class ReplicationPad3d(_Pad, axes=3, mode="replicate"): ...


class CircularPad1d(_Pad, axes=1, mode="circular"): ...


class CircularPad2d(_Pad, axes=2, mode="circular"): ...


class CircularPad3d(_Pad, axes=3, mode="circular"): ...

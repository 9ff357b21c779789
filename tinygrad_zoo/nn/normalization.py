"""Layers that normalise: over the last axes, over a batch, over each example's positions or groups of channels.

Those with running statistics normalise by them in evaluation, and move them in training: each forward call moves them
once, under `no_grad` too; the second run of a `checkpoint` does not.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from .. import ops
from ..errors import ShapeError, UsageError
from ..grad_mode import effect
from ..ops.precision import widened
from ..ops.random import recomputing
from ..tensor import as_tensor
from .layers import check_sizes
from .module import Buffer, Module, Parameter


def _affine(shape: tuple[int, ...], affine: bool, bias: bool) -> tuple[Parameter | None, Parameter | None]:
    """Scales of one and shifts of zero."""
    weight = Parameter(np.ones(shape, np.float32)) if affine else None
    return weight, Parameter(np.zeros(shape, np.float32)) if affine and bias else None


def _left_out(weight: Parameter | None, bias: Parameter | None, affine: str = "affine") -> str:
    """The settings, for a repr, that say which of the two there is not."""
    return f", {affine}=False" if weight is None else ", bias=False" if bias is None else ""


def _shown(shape: tuple[int, ...]) -> int | tuple[int, ...]:
    return shape[0] if len(shape) == 1 else shape


def _shape(who: str, normalized_shape: Any) -> tuple[int, ...]:
    shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (normalized_shape,)
    if not shape:
        raise UsageError(f"{who}: expected normalized_shape of one size or more, got ()")
    check_sizes(who, **{f"normalized_shape[{i}]": n for i, n in enumerate(shape)})
    return shape


class LayerNorm(Module):
    """(x - mean) / √(var + eps) · weight + bias over the last axes, those of `normalized_shape` (arXiv 1607.06450).

    >>> LayerNorm(2)(np.array([[1.0, 3.0]], np.float32)).numpy().round(3).tolist()
    [[-1.0, 1.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        self.normalized_shape, self.eps = _shape("LayerNorm", normalized_shape), eps
        self.weight, self.bias = _affine(self.normalized_shape, elementwise_affine, bias)

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        return ops.layer_norm(x, self.weight, self.bias, normalized_shape=self.normalized_shape, eps=self.eps)

    def settings(self) -> str:
        left_out = _left_out(self.weight, self.bias, "elementwise_affine")
        return f"{_shown(self.normalized_shape)}, eps={self.eps:g}{left_out}"


class RMSNorm(Module):
    """x / √(mean x² + eps) · weight over the last axes, those of `normalized_shape` (arXiv 1910.07467).

    eps None is the machine epsilon of x.

    >>> RMSNorm(2)(np.array([[3.0, -3.0]], np.float32)).numpy().round(3).tolist()
    [[1.0, -1.0]]
    """

    weight: Parameter | None

    def __init__(
        self, normalized_shape: int | Sequence[int], eps: float | None = None, elementwise_affine: bool = True
    ) -> None:
        self.normalized_shape, self.eps = _shape("RMSNorm", normalized_shape), eps
        self.weight, _ = _affine(self.normalized_shape, elementwise_affine, bias=False)

    def forward(self, x: Any) -> Any:
        return ops.rms_norm(as_tensor(x), self.weight, normalized_shape=self.normalized_shape, eps=self.eps)

    def settings(self) -> str:
        left_out = _left_out(self.weight, self.weight, "elementwise_affine")
        return f"{_shown(self.normalized_shape)}, eps={self.eps}{left_out}"


class GroupNorm(Module):
    """(x - mean) / √(var + eps) · weight + bias over each of `num_groups` runs of channels of an example of (N, C, …).

    arXiv 1803.08494.

    >>> GroupNorm(2, 4)(np.array([[1.0, 3.0, 10.0, 20.0]], np.float32)).numpy().round(3).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, *, bias: bool = True
    ) -> None:
        check_sizes("GroupNorm", num_groups=num_groups, num_channels=num_channels)
        if num_channels % num_groups:
            raise UsageError(f"GroupNorm: {num_channels} channels do not make {num_groups} groups of one size")
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps
        self.weight, self.bias = _affine((num_channels,), affine, bias)

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        if x.ndim < 2 or x.shape[1] != self.num_channels:
            raise ShapeError(f"GroupNorm: expected x of shape (N, {self.num_channels}, …), got {x.shape}")
        return ops.group_norm(x, self.weight, self.bias, num_groups=self.num_groups, eps=self.eps)

    def settings(self) -> str:
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps:g}{_left_out(self.weight, self.bias)}"


class _Running(Module):
    """Scale, shift and running statistics of `num_features` channels."""

    axes: ClassVar[tuple[int, ...]]  # how many x may have

    weight: Parameter | None
    bias: Parameter | None
    running_mean: Buffer | None
    running_var: Buffer | None
    num_batches_tracked: Buffer | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        bias: bool = True,
    ) -> None:
        check_sizes(type(self).__name__, num_features=num_features)
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.weight, self.bias = _affine((num_features,), affine, bias)
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = Buffer(np.zeros(num_features, np.float32))
            self.running_var = Buffer(np.ones(num_features, np.float32))
            self.num_batches_tracked = Buffer(np.array(0))

    def _checked(self, x: Any) -> Any:
        x = as_tensor(x)
        if x.ndim not in self.axes or x.shape[self._channels(x)] != self.num_features:
            raise ShapeError(
                f"{type(self).__name__}: expected x of {' or '.join(map(str, self.axes))} axes, "
                f"{self.num_features} channels among them, got {x.shape}"
            )
        return x

    def _channels(self, x: Any) -> int:
        """The axis of the channels."""
        return 1

    def _move(self, mean: Any, var: Any, count: int, share: Any) -> None:
        """The running statistics that `share` towards these, of arrays; `count` values went into each variance."""
        assert self.running_mean is not None and self.running_var is not None
        for running, new in ((self.running_mean, mean), (self.running_var, var * (count / (count - 1)))):
            running.data[...] = (1 - share) * running.data + share * new
            running.mark_written()

    def reset_running_stats(self) -> None:
        """Forget what was seen."""
        for x, value in ((self.running_mean, 0), (self.running_var, 1), (self.num_batches_tracked, 0)):
            if x is not None:
                x.data[...] = value
                x.mark_written()

    def settings(self) -> str:
        tracked = "" if self.running_mean is not None else ", track_running_stats=False"
        left_out = _left_out(self.weight, self.bias)
        return f"{self.num_features}, eps={self.eps:g}, momentum={self.momentum}{left_out}{tracked}"


class _BatchNorm(_Running):
    def forward(self, x: Any) -> Any:
        x = self._checked(x)
        if self.training and self.running_mean is not None:
            out, mean, var = ops.batch_norm_with_statistics(x, self.weight, self.bias, eps=self.eps)
            if not recomputing():
                self._count(mean, var, x.size // self.num_features)
            return out
        own = self.training or self.running_mean is None
        return ops.batch_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, training=own, eps=self.eps
        )

    @effect
    def _count(self, mean: Any, var: Any, count: int) -> None:
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.data[...] += 1
        self.num_batches_tracked.mark_written()
        share = 1 / self.num_batches_tracked.data if self.momentum is None else self.momentum
        self._move(mean.data, var.data, count, share)


class BatchNorm1d(_BatchNorm):
    """(x - mean) / √(var + eps) · weight + bias for each channel of (N, C) or (N, C, L) (arXiv 1502.03167).

    In training by the batch, and the running mean and (corrected) variance move by `momentum` towards its own; None
    averages over all batches. In evaluation by those, or by the batch with track_running_stats=False.

    >>> norm = BatchNorm1d(1, momentum=1.0)
    >>> norm(np.array([[1.0], [3.0]], np.float32)).numpy().round(3).tolist()
    [[-1.0], [1.0]]
    >>> norm.running_mean.tolist(), norm.running_var.tolist()
    ([2.0], [2.0])
    """

    axes = (2, 3)


class BatchNorm2d(_BatchNorm):
    """`BatchNorm1d` for each channel of (N, C, H, W)."""

    axes = (4,)


class BatchNorm3d(_BatchNorm):
    """`BatchNorm1d` for each channel of (N, C, D, H, W)."""

    axes = (5,)


class _InstanceNorm(_Running):
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, bias=bias)

    def _channels(self, x: Any) -> int:
        return 1 if x.ndim == max(self.axes) else 0

    def forward(self, x: Any) -> Any:
        x = self._checked(x)
        if x.ndim < max(self.axes):
            return self._normalized(x[None])[0]
        return self._normalized(x)

    def _normalized(self, x: Any) -> Any:
        own = self.training or self.running_mean is None
        if self.training and self.running_mean is not None and not recomputing():
            self._move_by(x)
        return ops.instance_norm(
            x, self.running_mean, self.running_var, self.weight, self.bias, use_input_stats=own, eps=self.eps
        )

    @effect
    def _move_by(self, x: Any) -> None:
        """Towards the mean over the examples of their means and variances."""
        axes = tuple(range(2, x.ndim))
        wide = widened(x.data)
        count = math.prod(x.shape[2:])
        if count > 1:  # else the op refuses
            share = 0.0 if self.momentum is None else self.momentum
            self._move(wide.mean(axis=axes).mean(axis=0), wide.var(axis=axes).mean(axis=0), count, share)


class InstanceNorm1d(_InstanceNorm):
    """(x - mean) / √(var + eps) · weight + bias for each channel of each example of (N, C, L) or (C, L).

    arXiv 1607.08022. With track_running_stats the running statistics move in training and are used in evaluation; as in
    PyTorch, num_batches_tracked stays 0, and momentum None moves nothing.

    >>> InstanceNorm1d(1)(np.array([[[1.0, 3.0]]], np.float32)).numpy().round(3).tolist()
    [[[-1.0, 1.0]]]
    """

    axes = (2, 3)


class InstanceNorm2d(_InstanceNorm):
    """`InstanceNorm1d` for each channel of each example of (N, C, H, W) or (C, H, W)."""

    axes = (3, 4)


class InstanceNorm3d(_InstanceNorm):
    """`InstanceNorm1d` for each channel of each example of (N, C, D, H, W) or (C, D, H, W)."""

    axes = (4, 5)

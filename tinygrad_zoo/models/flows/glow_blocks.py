"""The blocks of Glow and of multi-scale flows of images (arXiv 1605.08803 and 1807.03039).

Images stand in rows (N, C·H·W), as points do, and each block knows their shape (C, H, W).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn, ops
from ...backend import to_host
from ...errors import ShapeError, UsageError
from ...ops.random import draw
from ...tensor import Tensor, tensor
from .couplings import Shape, bounded, check_bound
from .transforms import Compose, Transform


class ActNorm(Transform):
    """z = (x - loc) exp(log_scale), both a number a channel; log |det| = h·w·Σ log_scale (arXiv 1807.03039, 3.1).

    `initialise(x)` sets them so that each channel of z has mean 0 and variance 1 on these first data; until then it is
    the identity. Of shape (dim,) every coordinate is a channel.

    >>> norm = ActNorm((2, 2, 2))
    >>> x = np.arange(24.0).reshape(3, 8)
    >>> norm.initialise(x)
    >>> norm(x)[0].numpy().reshape(3, 2, 4).var(axis=(0, 2)).round(5).tolist()
    [1.0, 1.0]
    """

    def __init__(self, shape: Shape | tuple[int]) -> None:
        self.shape, self.dim, self.places = shape, math.prod(shape), math.prod(shape[1:])
        self.loc = nn.Parameter(np.zeros((shape[0], 1), np.float32))
        self.log_scale = nn.Parameter(np.zeros((shape[0], 1), np.float32))

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        z = (self._channels(x) - self.loc) * ops.exp(self.log_scale)
        return z.reshape(x.shape), (self.places * self.log_scale.sum()).broadcast_to((len(x),))

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        return (self._channels(z) * ops.exp(-self.log_scale) + self.loc).reshape(z.shape)

    def initialise(self, x: Any) -> None:
        """From points (N, dim); raises UsageError where a channel is constant: no scale would give it variance 1."""
        channels = to_host(self._channels(self._points(x)).data).astype(np.float64)  # (N, C, places)
        constant = np.flatnonzero(channels.max(axis=(0, 2)) == channels.min(axis=(0, 2)))
        if len(constant):
            raise UsageError(
                f"ActNorm: channels {constant.tolist()} are constant in the {len(channels)} points to initialise on; "
                "give it data that vary, such as dequantised pixels"
            )
        for parameter, value in (
            (self.loc, channels.mean(axis=(0, 2))),
            (self.log_scale, -np.log(channels.std(axis=(0, 2)))),
        ):
            parameter.data = tensor(value[:, None], parameter.dtype, parameter.device).data

    def settings(self) -> str:
        return f"{self.dim}, shape={self.shape}"

    def _channels(self, x: Tensor) -> Any:
        return x.reshape(len(x), self.shape[0], self.places)


class ImageTransform(Transform):
    """A map of images (C, H, W) that stand in rows (N, C·H·W)."""

    shape: Shape

    def _images(self, x: Any) -> Any:
        """(N, C·H·W) → (N, C, H, W)."""
        x = self._points(x)
        return x.reshape(len(x), *self.shape)

    def settings(self) -> str:
        return f"{self.dim}, shape={self.shape}"


class InvertibleConv1x1(ImageTransform):
    """z_hw = W x_hw at every place, W = P L (U + diag s); log |det| = h·w·Σ log |s| (arXiv 1807.03039, 3.2).

    P is a permutation, L unit lower and U strictly upper triangular; they start as the factors of a random rotation. P
    and the signs of s stay; L, U and log |s| are learnt, so that W cannot become singular.

    >>> conv = InvertibleConv1x1((3, 2, 2), rng=np.random.default_rng(0))
    >>> bool(np.allclose(conv(np.ones((1, 12), np.float32))[1].numpy(), 0, atol=1e-5))
    True
    """

    def __init__(self, shape: Shape, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        from scipy.linalg import lu

        channels, height, width = shape
        self.shape, self.dim, self.places = shape, channels * height * width, height * width
        normal = draw(rng, lambda rng: rng.standard_normal((channels, channels)), "InvertibleConv1x1")
        permutation, lower, upper = lu(np.linalg.qr(normal)[0])
        s = np.diag(upper)
        self.permutation = nn.Buffer(permutation.astype(np.float32))  # (C, C)
        self.sign = nn.Buffer(np.sign(s).astype(np.float32))
        self.lower = nn.Parameter(np.tril(lower, -1).astype(np.float32))
        self.upper = nn.Parameter(np.triu(upper, 1).astype(np.float32))
        self.log_s = nn.Parameter(np.log(np.abs(s)).astype(np.float32))  # (C,)
        self.one = nn.Buffer(np.eye(channels, dtype=np.float32))

    def weight(self) -> Any:
        """W (C, C)"""
        lower, upper = self._factors()
        return self.permutation @ lower @ upper

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        z = self.weight() @ x.reshape(len(x), self.shape[0], self.places)  # (N, C, H·W)
        return z.reshape(x.shape), (self.places * self.log_s.sum()).broadcast_to((len(x),))

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        lower, upper = self._factors()
        places = z.reshape(len(z), self.shape[0], self.places).swapaxes(0, 1)  # (C, N, H·W)
        y = self.permutation.T @ places.reshape(self.shape[0], -1)  # (C, N·H·W): all places as columns
        y = ops.solve_triangular(lower, y, upper=False, unitriangular=True)
        x = ops.solve_triangular(upper, y, upper=True)
        return x.reshape(places.shape).swapaxes(0, 1).reshape(z.shape)

    def _factors(self) -> tuple[Any, Any]:
        """L and U + diag s, (C, C)."""
        diagonal = self.one * (self.sign * ops.exp(self.log_s))
        return ops.tril(self.lower, -1) + self.one, ops.triu(self.upper, 1) + diagonal


class ChannelCoupling(ImageTransform):
    """z = [x₁, (x₂ + t(x₁))⊙exp s(x₁)], x₁ and x₂ the halves of the channels; log |det| = Σ s (arXiv 1807.03039, 3.3).

    s and t come from convolutions 3x3, 1x1, 3x3 with `hidden` channels, of which the last starts at zero, so that the
    coupling starts as the identity; s is bounded by ±`max_log_scale`, as in AffineCoupling.

    >>> coupling = ChannelCoupling((4, 2, 2), hidden=8, rng=np.random.default_rng(0))
    >>> x = np.ones((3, 16), np.float32)
    >>> bool((coupling(x)[0].numpy() == x).all())
    True
    """

    def __init__(
        self,
        shape: Shape,
        hidden: int,
        *,
        max_log_scale: float = 4.0,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        check_bound(type(self).__name__, max_log_scale)
        self.shape, self.dim, self.half = shape, math.prod(shape), _half(type(self).__name__, shape)
        self.max_log_scale = max_log_scale
        kept = shape[0] // 2
        last = nn.Conv2d(hidden, 2 * kept, 3, padding=1, rng=rng)
        for x in last.parameters():
            nn.init.zeros_(x)
        self.net = nn.Sequential(
            nn.Conv2d(kept, hidden, 3, padding=1, rng=rng),
            nn.ReLU(),
            nn.Conv2d(hidden, hidden, 1, rng=rng),
            nn.ReLU(),
            last,
        )

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        kept, changed = x[:, : self.half], x[:, self.half :]
        s, t = self._scale_and_shift(kept)
        return ops.concat(kept, (changed + t) * ops.exp(s), axis=1), s.sum(axis=1)

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        kept, changed = z[:, : self.half], z[:, self.half :]
        s, t = self._scale_and_shift(kept)
        return ops.concat(kept, changed * ops.exp(-s) - t, axis=1)

    def _scale_and_shift(self, kept: Any) -> tuple[Any, Any]:
        """s and t, (N, dim / 2) each."""
        channels, height, width = self.shape
        out = self.net(kept.reshape(len(kept), channels // 2, height, width)).reshape(len(kept), self.dim)
        return bounded(out[:, : self.half], self.max_log_scale), out[:, self.half :]


class Squeeze2d(ImageTransform):
    """(C, H, W) → (4 C, H/2, W/2): each block of 2 x 2 pixels becomes four channels; volume stays (1605.08803, 3.6).

    >>> Squeeze2d((1, 2, 4))(np.arange(8.0)[None])[0].tolist()  # channels 0 4 | 1 5 …: places (0, 0), (0, 1), …
    [[0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]]
    """

    def __init__(self, shape: Shape) -> None:
        channels, height, width = shape
        if height % 2 or width % 2:
            raise ShapeError(f"Squeeze2d: expected an even height and width, got {shape}")
        self.shape, self.dim = shape, math.prod(shape)
        self.squeezed = (4 * channels, height // 2, width // 2)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        images = self._images(x)
        return ops.pixel_unshuffle(images, 2).reshape(len(images), self.dim), self._no_log_det(images)

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        return ops.pixel_shuffle(z.reshape(len(z), *self.squeezed), 2).reshape(z.shape)


class Split2d(ImageTransform):
    """z = [f(x₁), (x₂ - μ(x₁)) exp(-s(x₁))]: half of the channels are done, the others go through `transforms` f.

    So later maps cost less, and the done half has a Gaussian whose mean and scale are computed from the other half by a
    convolution 3x3 that starts at zero (arXiv 1605.08803, 3.6; 1807.03039). |s| stays below `max_log_scale`.

    >>> split = Split2d((2, 2, 2), [Squeeze2d((1, 2, 2))], rng=np.random.default_rng(0))
    >>> split(np.ones((3, 8), np.float32))[0].shape
    (3, 8)
    """

    def __init__(
        self,
        shape: Shape,
        transforms: Sequence[Transform],
        *,
        max_log_scale: float = 4.0,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        check_bound(type(self).__name__, max_log_scale)
        self.shape, self.dim, self.half = shape, math.prod(shape), _half(type(self).__name__, shape)
        self.max_log_scale = max_log_scale
        self.rest = Compose(transforms)
        if self.rest.dim != self.half:
            raise ShapeError(f"Split2d: half of {shape} are {self.half} numbers, the transforms take {self.rest.dim}")
        self.prior = nn.Conv2d(shape[0] // 2, shape[0], 3, padding=1, rng=rng)
        for x in self.prior.parameters():
            nn.init.zeros_(x)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        kept, done = x[:, : self.half], x[:, self.half :]
        s, mean = self._scale_and_mean(kept)
        z, log_det = self.rest(kept)
        return ops.concat(z, (done - mean) * ops.exp(-s), axis=1), log_det - s.sum(axis=1)

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        kept = self.rest.inverse(z[:, : self.half])
        s, mean = self._scale_and_mean(kept)
        return ops.concat(kept, z[:, self.half :] * ops.exp(s) + mean, axis=1)

    def initialise(self, x: Any) -> None:
        self.rest.initialise(self._points(x)[:, : self.half])

    def _scale_and_mean(self, kept: Any) -> tuple[Any, Any]:
        """s and μ, (N, dim / 2) each."""
        channels, height, width = self.shape
        out = self.prior(kept.reshape(len(kept), channels // 2, height, width)).reshape(len(kept), self.dim)
        return bounded(out[:, : self.half], self.max_log_scale), out[:, self.half :]


def _half(who: str, shape: Shape) -> int:
    """How many of the numbers of an image stand in the first half of its channels."""
    if shape[0] % 2:
        raise ShapeError(f"{who}: expected an even number of channels, got {shape}")
    return math.prod(shape) // 2

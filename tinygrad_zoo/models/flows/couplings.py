"""Couplings: some coordinates pass unchanged, and a network computes from them what becomes of the others.

So the Jacobian is triangular and the inverse costs one pass, whatever the network. Which coordinates pass is a mask b:
every second one, a checkerboard of pixels, or half of the channels; two couplings of different parity change all.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops
from ...errors import ShapeError, UsageError
from ...tensor import Tensor
from .transforms import Transform

Shape = tuple[int, int, int]  # (C, H, W)
Mask = NDArray[np.bool_]


def checkerboard_mask(shape: Shape) -> Mask:
    """Where row + column is even, in rows (C·H·W,) of images (C, H, W) (arXiv 1605.08803, figure 3).

    >>> checkerboard_mask((1, 2, 3)).astype(int).tolist()
    [1, 0, 1, 0, 1, 0]
    """
    _, height, width = shape
    board = (np.arange(height)[:, None] + np.arange(width)) % 2 == 0
    return np.broadcast_to(board, shape).ravel()


def channel_mask(shape: Shape) -> Mask:
    """The first half of the channels, in rows (C·H·W,) of images (C, H, W).

    >>> channel_mask((2, 1, 2)).astype(int).tolist()
    [1, 1, 0, 0]
    """
    channels = np.arange(shape[0])[:, None, None]
    return np.broadcast_to(2 * channels < shape[0], shape).ravel()


class Coupling(Transform):
    """What masked couplings share: the mask, and a network (dim) → hidden → hidden → outputs · dim.

    `mask` (dim,) says which coordinates are kept at parity 0, every second by default; at parity 1 the others are.
    """

    def __init__(
        self, dim: int, hidden: int, parity: int, outputs: int, mask: Mask | None, rng: np.random.Generator
    ) -> None:
        who = type(self).__name__
        if dim < 2 or parity not in (0, 1):
            raise UsageError(f"{who}: expected dim >= 2 and parity 0 or 1, got {dim} and {parity}")
        mask = np.arange(dim) % 2 == 0 if mask is None else np.asarray(mask, bool)
        if mask.shape != (dim,):
            raise ShapeError(f"{who}: expected a mask of shape ({dim},), got {mask.shape}")
        if mask.all() or not mask.any():
            raise UsageError(f"{who}: the mask keeps {'all' if mask.all() else 'none'} of the coordinates")
        self.dim, self.parity = dim, parity
        self.kept = nn.Buffer((mask == (parity == 0)).astype(np.float32))  # b: (dim,)
        self.changed = nn.Buffer(1 - self.kept)
        self.net = nn.mlp(dim, hidden, hidden, outputs * dim, rng=rng)

    def settings(self) -> str:
        return f"{self.dim}, parity={self.parity}"


class AffineCoupling(Coupling):
    """z = b⊙x + (1 - b)⊙(x⊙exp s(b⊙x) + t(b⊙x)), log |det| = Σ (1 - b)⊙s (arXiv 1605.08803, equation 9).

    The log-scale is s = c tanh(· / c), with slope 1 at 0 and bounded by c = `max_log_scale`, since an unbounded exp(s)
    overflows. For `parity` and `mask` see Coupling.

    >>> coupling = AffineCoupling(2, hidden=8, parity=0, rng=np.random.default_rng(0))
    >>> z, log_det = coupling(np.ones((5, 2), np.float32))
    >>> z.shape, log_det.shape
    ((5, 2), (5,))
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        parity: int,
        *,
        mask: Mask | None = None,
        max_log_scale: float = 4.0,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        check_bound(type(self).__name__, max_log_scale)
        super().__init__(dim, hidden, parity, 2, mask, rng)
        self.max_log_scale = max_log_scale

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        s, t = self._scale_and_shift(x)
        return x * ops.exp(s) + t, s.sum(axis=1)  # (N, dim), (N,)

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        s, t = self._scale_and_shift(z)  # as in `forward`: the kept coordinates are the same
        return (z - t) * ops.exp(-s)

    def _scale_and_shift(self, x: Tensor) -> tuple[Any, Any]:
        """s and t, (N, dim) each, zero at the coordinates that are kept."""
        out = self.net(x * self.kept)  # (N, 2 dim)
        s = bounded(out[:, : self.dim], self.max_log_scale)
        return s * self.changed, out[:, self.dim :] * self.changed


class AdditiveCoupling(Coupling):
    """z = x + (1 - b)⊙m(b⊙x), log |det| = 0: volume stays (arXiv 1410.8516, section 3.2). See Coupling.

    >>> coupling = AdditiveCoupling(2, hidden=8, parity=0, rng=np.random.default_rng(0))
    >>> coupling(np.ones((3, 2), np.float32))[1].tolist()
    [0.0, 0.0, 0.0]
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        parity: int,
        *,
        mask: Mask | None = None,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        super().__init__(dim, hidden, parity, 1, mask, rng)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        return x + self._shift(x), self._no_log_det(x)

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        return z - self._shift(z)

    def _shift(self, x: Any) -> Any:
        return self.net(x * self.kept) * self.changed  # (N, dim)


def bounded(s: Any, bound: float) -> Any:
    """c tanh(s / c): s near 0, never beyond ±c."""
    return bound * ops.tanh(s / bound)


def check_count(who: str, n_coupling: int) -> None:
    """With one parity, half of the coordinates would never change."""
    if n_coupling < 2:
        raise UsageError(f"{who}: expected n_coupling >= 2, one of each parity at least, got {n_coupling}")


def check_bound(who: str, max_log_scale: float) -> None:
    if max_log_scale <= 0:
        raise UsageError(f"{who}: expected max_log_scale > 0, got {max_log_scale}")

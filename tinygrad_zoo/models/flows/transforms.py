"""Invertible maps with tractable Jacobians, and the density they make of a simple one (arXiv 1505.05770).

With z = f(x) and z ~ p_z, log p(x) = log p_z(f(x)) + log |det ∂f/∂x|. The log-determinants of a chain of maps add up.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from ... import nn, ops
from ...creation import zeros
from ...distributions import Distribution
from ...errors import ShapeError, UsageError
from ...grad_mode import no_grad
from ...tensor import Tensor, as_tensor


class Transform(nn.Module):
    """An invertible map of points (N, dim), from data towards the latent space."""

    dim: int

    @abstractmethod
    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        """z = f(x) of shape (N, dim), and log |det ∂f/∂x| of shape (N,)."""

    @abstractmethod
    def inverse(self, z: Any) -> Any:
        """x = f⁻¹(z) of shape (N, dim)."""

    def settings(self) -> str:
        return str(self.dim)

    def _points(self, x: Any) -> Any:
        """`x` as a Tensor (N, dim): a single column would broadcast, and its log-determinant be wrong."""
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ShapeError(f"{type(self).__name__}: expected points (N, {self.dim}), got {x.shape}")
        return x


class AffineCoupling(Transform):
    """z = b⊙x + (1 - b)⊙(x⊙exp s(b⊙x) + t(b⊙x)), log |det| = Σ (1 - b)⊙s (arXiv 1605.08803, equation 9).

    b keeps every second coordinate, from number `parity` on; those pass unchanged and a network computes from them how
    to scale and shift the others. Two couplings of different parity change all coordinates. The log-scale is
    s = c tanh(· / c), with slope 1 at 0 and bounded by c = `max_log_scale`, since an unbounded exp(s) overflows.

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
        max_log_scale: float = 4.0,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        if dim < 2 or parity not in (0, 1) or max_log_scale <= 0:
            raise UsageError(
                "AffineCoupling: expected dim >= 2, parity 0 or 1 and max_log_scale > 0, "
                f"got {dim}, {parity} and {max_log_scale}"
            )
        self.dim, self.parity, self.max_log_scale = dim, parity, max_log_scale
        self.kept = nn.Buffer((np.arange(dim) % 2 == parity).astype(np.float32))  # b: (dim,)
        self.changed = nn.Buffer(1 - self.kept)
        self.net = nn.Sequential(
            nn.Linear(dim, hidden, rng=rng),
            nn.ReLU(),
            nn.Linear(hidden, hidden, rng=rng),
            nn.ReLU(),
            nn.Linear(hidden, 2 * dim, rng=rng),
        )

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
        s = self.max_log_scale * ops.tanh(out[:, : self.dim] / self.max_log_scale)
        return s * self.changed, out[:, self.dim :] * self.changed

    def settings(self) -> str:
        return f"{self.dim}, parity={self.parity}"


class Permutation(Transform):
    """z_i = x_order[i]: volume stays.

    >>> Permutation([2, 0, 1])(np.array([[1.0, 2.0, 3.0]]))[0].tolist()
    [[3.0, 1.0, 2.0]]
    """

    def __init__(self, order: Sequence[int]) -> None:
        if sorted(order) != list(range(len(order))) or not len(order):
            raise UsageError(f"Permutation: expected each of 0..{len(order) - 1} once, got {list(order)}")
        self.dim = len(order)
        self.order = nn.Buffer(np.asarray(order, np.int64))
        self.back = nn.Buffer(np.argsort(order))

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        return x[:, self.order], zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Any) -> Any:
        return self._points(z)[:, self.back]


class Reverse(Transform):
    """z_i = x_(dim-1-i): volume stays.

    >>> Reverse(3)(np.array([[1.0, 2.0, 3.0]]))[0].tolist()
    [[3.0, 2.0, 1.0]]
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        return ops.flip(x, axis=1), zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z: Any) -> Any:
        return ops.flip(self._points(z), axis=1)


class Flow(Transform):
    """f = f_K ∘ … ∘ f_1 and the density log p(x) = log p_base(f(x)) + Σ log |det ∂f_k|.

    >>> from tinygrad_zoo.distributions import Independent, Normal
    >>> base = Independent(Normal(np.zeros(2), np.ones(2)), 1)
    >>> flow = Flow(base, [Reverse(2)])
    >>> flow.log_prob(np.zeros((3, 2))).shape, flow.sample(4, rng=np.random.default_rng(0)).shape
    ((3,), (4, 2))
    """

    def __init__(self, base: Distribution, transforms: Sequence[Transform]) -> None:
        if base.batch_shape or len(base.event_shape) != 1:
            raise ShapeError(f"Flow: expected a base of events (dim,) without a batch, got {base!r}; use Independent")
        self.base, self.transforms = base, list(transforms)
        (self.dim,) = base.event_shape
        if any(transform.dim != self.dim for transform in self.transforms):
            dims = [transform.dim for transform in self.transforms]
            raise ShapeError(f"Flow: the base has dimension {self.dim}, the transforms {dims}")

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        z = self._points(x)
        total = zeros(len(z), dtype=z.dtype, device=z.device)  # (N,)
        for transform in self.transforms:
            z, log_det = transform(z)
            total = total + log_det
        return z, total

    def inverse(self, z: Any) -> Any:
        x = self._points(z)
        for transform in reversed(self.transforms):
            x = transform.inverse(x)
        return x

    def log_prob(self, x: Any) -> Any:
        """log p(x): (N, dim) → (N,)."""
        z, log_det = self(x)
        return self.base.log_prob(z) + log_det

    def sample(self, n: int, *, rng: np.random.Generator) -> Any:
        """n points (n, dim), without gradient: the base's samples through the inverse."""
        with no_grad():
            return self.inverse(self.base.sample((n,), rng=rng))

"""Invertible maps with tractable Jacobians, and the density they make of a simple one (arXiv 1505.05770).

With z = f(x) and z ~ p_z, log p(x) = log p_z(f(x)) + log |det ∂f/∂x|. The log-determinants of a chain of maps add up.
Points are rows (N, dim) everywhere; a map of images says which `shape` (C, H, W) stands in a row.
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

    def inverse_and_log_det(self, z: Any) -> tuple[Tensor, Tensor]:
        """x = f⁻¹(z) and log |det ∂f⁻¹/∂z| = -log |det ∂f/∂x|, (N, dim) and (N,)."""
        x = self.inverse(z)
        return x, -self.forward(x)[1]

    def initialise(self, x: Any) -> None:
        """Set what is to be set from the first data x (N, dim), before any training: only ActNorm has such."""

    def settings(self) -> str:
        return str(self.dim)

    def _points(self, x: Any) -> Any:
        """`x` as a Tensor (N, dim): a single column would broadcast, and its log-determinant be wrong."""
        x = as_tensor(x)
        if x.ndim != 2 or x.shape[1] != self.dim:
            raise ShapeError(f"{type(self).__name__}: expected points (N, {self.dim}), got {x.shape}")
        return x

    def _no_log_det(self, x: Tensor) -> Tensor:
        """That of a map that keeps volumes: 0 for each point, (N,)."""
        return zeros(len(x), dtype=x.dtype, device=x.device)


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
        return x[:, self.order], self._no_log_det(x)

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
        return ops.flip(x, axis=1), self._no_log_det(x)

    def inverse(self, z: Any) -> Any:
        return ops.flip(self._points(z), axis=1)


class Scaling(Transform):
    """z = x ⊙ exp(s) with learnt s (dim,), log |det| = Σ s_i: NICE's last layer (arXiv 1410.8516, section 3.3).

    What volume-preserving couplings cannot do; after training a large s_i marks a coordinate that varies little.

    >>> z, log_det = Scaling(2)(np.array([[1.0, 2.0]]))
    >>> z.tolist(), log_det.tolist()
    ([[1.0, 2.0]], [0.0])
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.log_scale = nn.Parameter(np.zeros(dim, np.float32))

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        return x * ops.exp(self.log_scale), self.log_scale.sum().broadcast_to((len(x),))

    def inverse(self, z: Any) -> Any:
        return self._points(z) * ops.exp(-self.log_scale)


class Inverse(Transform):
    """f⁻¹ in the place of f: for a map whose cheap direction is from the latent space towards data.

    >>> Inverse(Permutation([2, 0, 1]))(np.array([[3.0, 1.0, 2.0]]))[0].tolist()
    [[1.0, 2.0, 3.0]]
    """

    def __init__(self, transform: Transform) -> None:
        self.dim, self.transform = transform.dim, transform

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        return self.transform.inverse_and_log_det(self._points(x))

    def inverse(self, z: Any) -> Any:
        return self.inverse_and_log_det(z)[0]

    def inverse_and_log_det(self, z: Any) -> tuple[Tensor, Tensor]:
        x, log_det = self.transform(self._points(z))
        return x, log_det


class Compose(Transform):
    """f = f_K ∘ … ∘ f_1, log |det ∂f| = Σ log |det ∂f_k|.

    >>> Compose([Reverse(2), Scaling(2)])(np.array([[1.0, 2.0]]))[0].tolist()
    [[2.0, 1.0]]
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        self.transforms = list(transforms)
        dims = [transform.dim for transform in self.transforms]
        if len(set(dims)) != 1:
            raise ShapeError(f"{type(self).__name__}: expected transforms of one dimension, got {dims}")
        self.dim = dims[0]

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        z = self._points(x)
        total = self._no_log_det(z)  # (N,)
        for transform in self.transforms:
            z, log_det = transform(z)
            total = total + log_det
        return z, total

    def inverse(self, z: Any) -> Any:
        x = self._points(z)
        for transform in reversed(self.transforms):
            x = transform.inverse(x)
        return x

    def inverse_and_log_det(self, z: Any) -> tuple[Tensor, Tensor]:
        x = self._points(z)
        total = self._no_log_det(x)
        for transform in reversed(self.transforms):
            x, log_det = transform.inverse_and_log_det(x)
            total = total + log_det
        return x, total

    def initialise(self, x: Any) -> None:
        x = self._points(x)
        with no_grad():
            for transform in self.transforms:
                transform.initialise(x)
                x, _ = transform(x)


class Flow(Compose):
    """The density log p(x) = log p_base(f(x)) + Σ log |det ∂f_k| of x = f⁻¹(z), z ~ p_base, f = f_K ∘ … ∘ f_1.

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

    def log_prob(self, x: Any) -> Any:
        """log p(x): (N, dim) → (N,)."""
        z, log_det = self(x)
        return self.base.log_prob(z) + log_det

    def rsample_and_log_prob(self, n: int, *, rng: np.random.Generator) -> tuple[Any, Any]:
        """n points (n, dim) as a differentiable function of the parameters, and their log p, (n,), found on the way.

        This is what a reverse KL needs, and cheap where the inverses are.
        """
        z = self.base.rsample((n,), rng=rng)
        x, log_det = self.inverse_and_log_det(z)
        return x, self.base.log_prob(z) - log_det

    def sample(self, n: int, *, temperature: float = 1.0, rng: np.random.Generator) -> Any:
        """n points (n, dim), without gradient: the base's samples, times `temperature`, through the inverse.

        Below 1 they are more typical than the density's own (arXiv 1807.03039, section 6).
        """
        with no_grad():
            return self.inverse(temperature * self.base.sample((n,), rng=rng))

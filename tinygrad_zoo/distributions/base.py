"""What every distribution has, and `Independent`, which turns a batch of them into one of vectors."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, TypeAlias

import numpy as np

from ..errors import ShapeError, UsageError
from ..grad_mode import no_grad
from ..nn import Buffer, Module, Parameter
from ..ops import draw_key, standard_normal
from ..ops.random import generator
from ..tensor import Tensor, as_tensor, tensor

LOG_TAU = math.log(2 * math.pi)
Shape: TypeAlias = int | tuple[int, ...]  # n is (n,)


class Distribution(Module):
    """A density over values of `event_shape`, or a batch of `batch_shape` of them.

    With S the shape asked of `rsample` (a number n is (n,)), B the batch shape and E the event shape: samples are
    S + B + E, `log_prob` takes what broadcasts to … + B + E and returns … + B, `mean` and `variance` are B + E,
    `entropy` is B.

    A distribution is a Module: constant parameters become Buffers and move with the model that holds them; Parameters
    are learnt; Tensors that were computed keep their history.
    """

    batch_shape: tuple[int, ...]
    event_shape: tuple[int, ...]

    @property
    @abstractmethod
    def mean(self) -> Any:
        """E x"""

    @property
    @abstractmethod
    def variance(self) -> Any:
        """E (x - E x)²"""

    @abstractmethod
    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """Samples as a differentiable function of the parameters; `rng` gives the key of the noise."""

    @abstractmethod
    def log_prob(self, value: Any) -> Any:
        """log p(value)"""

    @abstractmethod
    def entropy(self) -> Any:
        """-E log p(x), in nats."""

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """Samples without gradient."""
        with no_grad():
            return self.rsample(shape, rng=rng)

    @property
    def stddev(self) -> Any:
        """√variance"""
        return self.variance.sqrt()

    def settings(self) -> str:
        return f"batch_shape={self.batch_shape}, event_shape={self.event_shape}"

    def _checked(self, value: Any) -> Tensor:
        """`value` as a Tensor that fits: events whole, only batch axes broadcast."""
        x: Tensor = as_tensor(value)
        who, n = type(self).__name__, x.ndim - len(self.event_shape)
        if n < 0 or x.shape[n:] != self.event_shape:
            raise ShapeError(f"{who}: expected events of shape {self.event_shape}, got values of shape {x.shape}")
        try:
            np.broadcast_shapes(x.shape[:n], self.batch_shape)
        except ValueError as error:
            raise ShapeError(f"{who}: {x.shape} does not broadcast with the batch {self.batch_shape}") from error
        return x

    def _noise(self, shape: Shape, rng: np.random.Generator, like: Tensor) -> Tensor:
        """Standard normal noise of shape S + B + E, in the dtype and on the device of `like`."""
        lead = shape if isinstance(shape, tuple | list) else (shape,)
        full = (*lead, *self.batch_shape, *self.event_shape)
        key = Tensor(draw_key(generator(type(self).__name__, rng), like.device))
        noise: Tensor = standard_normal(key, shape=full, dtype=like.dtype)
        return noise


def parameter(value: Any) -> Tensor:
    """A distribution's parameter: a constant becomes a Buffer; what is learnt or was computed stays as it is."""
    if isinstance(value, Parameter | Buffer) or (isinstance(value, Tensor) and value.requires_grad):
        return value
    constant = tensor(value)
    return Buffer(constant if constant.dtype.kind == "f" else constant.to("float32"))


class Independent(Distribution):
    """log p(x) = Σ log p(x_i): the last `ndims` batch axes of `base` as event axes.

    >>> from tinygrad_zoo.distributions import Normal
    >>> vectors = Independent(Normal(np.zeros(2), np.ones(2)), 1)
    >>> vectors.log_prob(np.zeros((5, 2))).shape
    (5,)
    """

    def __init__(self, base: Distribution, ndims: int) -> None:
        if not 0 <= ndims <= len(base.batch_shape):
            raise UsageError(f"Independent: expected 0 <= ndims <= {len(base.batch_shape)}, got {ndims}")
        split = len(base.batch_shape) - ndims
        self.base, self.ndims = base, ndims
        self.batch_shape = base.batch_shape[:split]
        self.event_shape = base.batch_shape[split:] + base.event_shape

    @property
    def mean(self) -> Any:
        return self.base.mean

    @property
    def variance(self) -> Any:
        return self.base.variance

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return self.base.rsample(shape, rng=rng)

    def log_prob(self, value: Any) -> Any:
        return self._summed(self.base.log_prob(self._checked(value)))

    def entropy(self) -> Any:
        return self._summed(self.base.entropy())

    def _summed(self, values: Tensor) -> Any:
        return values.sum(axis=tuple(range(-self.ndims, 0))) if self.ndims else values

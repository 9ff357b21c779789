"""What every distribution has, and `Independent`, which turns a batch of them into one of vectors."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, TypeAlias

import numpy as np

from ..backend import on_host
from ..errors import GradientError, ShapeError, UsageError
from ..grad_mode import no_grad
from ..nn import Buffer, Module, Parameter
from ..ops import clip, draw_key, standard_normal, standard_uniform
from ..ops.random import generator
from ..tensor import Tensor, as_tensor, tensor
from ..variable import looked_at

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
    has_rsample: bool = True

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

    def _extended(self, shape: Shape) -> tuple[int, ...]:
        """S + B + E"""
        lead = shape if isinstance(shape, tuple | list) else (shape,)
        return (*lead, *self.batch_shape, *self.event_shape)

    def _key(self, rng: np.random.Generator, like: Tensor) -> Tensor:
        """A fresh key of noise on the device of `like`."""
        return Tensor(draw_key(generator(type(self).__name__, rng), like.device))

    def _noise(self, shape: Shape, rng: np.random.Generator, like: Tensor) -> Tensor:
        """Standard normal noise of shape S + B + E, in the dtype and on the device of `like`."""
        noise: Tensor = standard_normal(self._key(rng, like), shape=self._extended(shape), dtype=like.dtype)
        return noise

    def _fractions(self, shape: Shape, rng: np.random.Generator, like: Tensor) -> Tensor:
        """Uniform noise of shape S + B + E in [0, 1), in the dtype and on the device of `like`."""
        noise: Tensor = standard_uniform(self._key(rng, like), shape=self._extended(shape), dtype=like.dtype)
        return noise

    def _inner_fractions(self, shape: Shape, rng: np.random.Generator, like: Tensor) -> Tensor:
        """The same in (0, 1): 0, whose logarithm is infinite, becomes half the distance to its neighbour."""
        inner: Tensor = clip(self._fractions(shape, rng, like), min=0.25 * float(np.finfo(like.dtype).eps))
        return inner


class NotReparameterised(Distribution):
    """One whose samples are no differentiable function of its parameters."""

    has_rsample = False

    @abstractmethod
    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """Samples without gradient."""

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """Raises GradientError, and says what there is instead."""
        raise no_rsample(self)


def no_rsample(distribution: Distribution) -> GradientError:
    return GradientError(
        f"{type(distribution).__name__}: no rsample, since samples have no derivative in the parameters: write sample "
        "and tinygrad_zoo.gradient_estimators.score_function, or a relaxed distribution, whose has_rsample is True"
    )


def no_closed_form(distribution: Distribution, what: str) -> UsageError:
    return UsageError(
        f"{type(distribution).__name__}: {what} has no closed form: estimate it from sample(n, rng=rng)"
        + (" as the mean of -log_prob" if what == "entropy" else "")
    )


def parameter(value: Any) -> Tensor:
    """A distribution's parameter: a constant becomes a Buffer; what is learnt or was computed stays as it is."""
    if isinstance(value, Parameter | Buffer) or (isinstance(value, Tensor) and value.requires_grad):
        return value
    constant = tensor(value)
    return Buffer(constant if constant.dtype.kind == "f" else constant.to("float32"))


def checked_positive(who: str, **values: Tensor) -> None:
    """Raises UsageError where one is not > 0 (on the host; a device is not asked, since that would wait for it)."""
    for name, x in values.items():
        array = looked_at(x)
        if on_host(array) and not (array > 0).all():
            raise UsageError(f"{who}: expected {name} > 0, got {array.min()}")


def broadcast(who: str, **values: Tensor) -> tuple[int, ...]:
    """The batch shape of parameters, or a ShapeError that names them."""
    try:
        return np.broadcast_shapes(*(x.shape for x in values.values()))
    except ValueError as error:
        said = " and ".join(f"{name} {x.shape}" for name, x in values.items())
        raise ShapeError(f"{who}: {said} do not broadcast") from error


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
        self.base, self.ndims, self.has_rsample = base, ndims, base.has_rsample
        self.batch_shape = base.batch_shape[:split]
        self.event_shape = base.batch_shape[split:] + base.event_shape

    @property
    def mean(self) -> Any:
        return self.base.mean

    @property
    def variance(self) -> Any:
        return self.base.variance

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return self.base.sample(shape, rng=rng)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return self.base.rsample(shape, rng=rng)

    def log_prob(self, value: Any) -> Any:
        return self._summed(self.base.log_prob(self._checked(value)))

    def entropy(self) -> Any:
        return self._summed(self.base.entropy())

    def _summed(self, values: Tensor) -> Any:
        return values.sum(axis=tuple(range(-self.ndims, 0))) if self.ndims else values

"""Densities of numbers by a location and a scale, or by two ends."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..backend import on_host
from ..errors import UsageError
from ..variable import looked_at
from .base import Distribution, Shape, broadcast, checked_positive, parameter

EULER_GAMMA = 0.5772156649015329  # the mean of a standard Gumbel number


class _LocationScale(Distribution):
    """loc + scale · ε: a subclass has what ε is."""

    def __init__(self, loc: Any, scale: Any) -> None:
        self.loc, self.scale = parameter(loc), parameter(scale)
        checked_positive(type(self).__name__, scale=self.scale)
        self.batch_shape = broadcast(type(self).__name__, loc=self.loc, scale=self.scale)
        self.event_shape = ()

    @property
    def mean(self) -> Any:
        return self.loc.broadcast_to(self.batch_shape)

    def _standardised(self, value: Any) -> Any:
        return (self._checked(value) - self.loc) / self.scale

    def _scaled(self, factor: float) -> Any:
        return (factor * self.scale).broadcast_to(self.batch_shape)

    def _log_scale(self, more: float) -> Any:
        return (ops.log(self.scale) + more).broadcast_to(self.batch_shape)


class Laplace(_LocationScale):
    """log p(x) = -|x - loc| / scale - log(2 scale); a batch, in the shape of loc and scale broadcast.

    Raises UsageError where scale <= 0 (on the host).

    >>> round(Laplace(0.0, 1.0).log_prob(2.0).item(), 4)
    -2.6931
    """

    @property
    def variance(self) -> Any:
        return 2 * ops.square(self._scaled(1))

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """loc - scale · sign(v) log(1 - |v|) with v ~ U(-1, 1): the inverse of the cdf."""
        v = 2 * self._inner_fractions(shape, rng, self.loc) - 1
        return self.loc - self.scale * ops.sign(v) * ops.log1p(-ops.abs(v))

    def log_prob(self, value: Any) -> Any:
        return -ops.abs(self._standardised(value)) - ops.log(2 * self.scale)

    def cdf(self, value: Any) -> Any:
        """P(x <= value) = ½ - ½ sign(z) (exp(-|z|) - 1) with z = (value - loc) / scale."""
        z = self._standardised(value)
        return 0.5 - 0.5 * ops.sign(z) * ops.expm1(-ops.abs(z))

    def entropy(self) -> Any:
        """1 + log(2 scale)"""
        return self._log_scale(1 + math.log(2))


class Logistic(_LocationScale):
    """log p(x) = -z - 2 log(1 + exp(-z)) - log scale with z = (x - loc) / scale: its cdf is the sigmoid of z.

    Raises UsageError where scale <= 0 (on the host).

    >>> round(Logistic(0.0, 1.0).log_prob(0.0).item(), 4), Logistic(1.0, 2.0).cdf(1.0).item()
    (-1.3863, 0.5)
    """

    @property
    def variance(self) -> Any:
        return ops.square(self._scaled(math.pi / math.sqrt(3)))

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """loc + scale · log(u / (1 - u)) with u ~ U(0, 1): the inverse of the cdf."""
        return self.loc + self.scale * ops.logit(self._inner_fractions(shape, rng, self.loc))

    def log_prob(self, value: Any) -> Any:
        z = self._standardised(value)
        return ops.logsigmoid(z) + ops.logsigmoid(-z) - ops.log(self.scale)

    def cdf(self, value: Any) -> Any:
        """P(x <= value) = σ((value - loc) / scale)"""
        return ops.sigmoid(self._standardised(value))

    def entropy(self) -> Any:
        """2 + log scale"""
        return self._log_scale(2)


class Gumbel(_LocationScale):
    """log p(x) = -z - exp(-z) - log scale with z = (x - loc) / scale: the law of the largest of many.

    Raises UsageError where scale <= 0 (on the host).

    >>> Gumbel(0.0, 1.0).log_prob(0.0).item()
    -1.0
    """

    @property
    def mean(self) -> Any:
        return self.loc + self._scaled(EULER_GAMMA)

    @property
    def variance(self) -> Any:
        return ops.square(self._scaled(math.pi / math.sqrt(6)))

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """loc - scale · log(-log u) with u ~ U(0, 1): the inverse of the cdf."""
        key, full = self._key(rng, self.loc), self._extended(shape)
        return self.loc + self.scale * ops.standard_gumbel(key, shape=full, dtype=self.loc.dtype)

    def log_prob(self, value: Any) -> Any:
        z = self._standardised(value)
        return -z - ops.exp(-z) - ops.log(self.scale)

    def cdf(self, value: Any) -> Any:
        """P(x <= value) = exp(-exp(-(value - loc) / scale))"""
        return ops.exp(-ops.exp(-self._standardised(value)))

    def entropy(self) -> Any:
        """1 + γ + log scale"""
        return self._log_scale(1 + EULER_GAMMA)


class Uniform(Distribution):
    """log p(x) = -log(high - low) where low <= x < high, else -∞.

    Raises UsageError where not low < high (on the host).

    >>> Uniform(0.0, 2.0).log_prob(tz.tensor([1.0, 2.0])).tolist()
    [-0.6931471824645996, -inf]
    """

    def __init__(self, low: Any, high: Any) -> None:
        self.low, self.high = parameter(low), parameter(high)
        self.batch_shape = broadcast("Uniform", low=self.low, high=self.high)
        self.event_shape = ()
        low_array, high_array = looked_at(self.low), looked_at(self.high)
        if on_host(low_array) and on_host(high_array) and not (low_array < high_array).all():
            raise UsageError(f"Uniform: expected low < high, got low={low_array} and high={high_array}")

    @property
    def mean(self) -> Any:
        return (self.low + self.high) / 2

    @property
    def variance(self) -> Any:
        return ops.square(self.high - self.low) / 12

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """low + (high - low) · u with u ~ U[0, 1)."""
        return self.low + (self.high - self.low) * self._fractions(shape, rng, self.low)

    def log_prob(self, value: Any) -> Any:
        x = self._checked(value)
        inside = ops.logical_and(self.low <= x, x < self.high)
        return ops.where(inside, -ops.log(self.high - self.low), -math.inf)

    def cdf(self, value: Any) -> Any:
        """P(x <= value) = (value - low) / (high - low), within [0, 1]."""
        return ops.clip((self._checked(value) - self.low) / (self.high - self.low), min=0, max=1)

    def entropy(self) -> Any:
        """log(high - low)"""
        return ops.log(self.high - self.low)

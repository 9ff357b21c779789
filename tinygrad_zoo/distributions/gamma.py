"""The gamma distribution and what is made of it, sampled by implicit reparameterisation (arXiv 1805.08498)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..errors import ShapeError
from .base import Distribution, Shape, broadcast, checked_positive, parameter


def _standard_gammas(distribution: Distribution, concentration: Any, shape: Shape, rng: np.random.Generator) -> Any:
    """Samples of Gamma(concentration, 1) of shape S + B + E."""
    full = concentration.broadcast_to(distribution._extended(shape))
    return ops.standard_gamma(full, distribution._key(rng, concentration))


class Gamma(Distribution):
    """log p(x) = α log β + (α - 1) log x - β x - log Γ(α) for x > 0, with α = concentration and β = rate.

    A batch, in the shape of the two broadcast. Raises UsageError where one of them is <= 0 (on the host).

    >>> Gamma(1.0, 2.0).log_prob(0.0).exp().item(), Gamma(3.0, 2.0).mean.item()
    (2.0, 1.5)
    """

    def __init__(self, concentration: Any, rate: Any) -> None:
        self.concentration, self.rate = parameter(concentration), parameter(rate)
        checked_positive("Gamma", concentration=self.concentration, rate=self.rate)
        self.batch_shape = broadcast("Gamma", concentration=self.concentration, rate=self.rate)
        self.event_shape = ()

    @property
    def mean(self) -> Any:
        return self.concentration / self.rate

    @property
    def variance(self) -> Any:
        return self.concentration / ops.square(self.rate)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """F⁻¹(u; α) / β, whose derivative in α is -(∂F/∂α) / p."""
        return _standard_gammas(self, self.concentration, shape, rng) / self.rate

    def log_prob(self, value: Any) -> Any:
        value, a, rate = self._checked(value), self.concentration, self.rate
        x = ops.where(value >= 0, value, 1.0)
        density = a * ops.log(rate) + ops.xlogy(a - 1, x) - rate * x - ops.lgamma(a)
        return ops.where(value >= 0, density, -math.inf)

    def entropy(self) -> Any:
        """α - log β + log Γ(α) + (1 - α) ψ(α)"""
        a = self.concentration
        return a - ops.log(self.rate) + ops.lgamma(a) + (1 - a) * ops.digamma(a)


class Dirichlet(Distribution):
    """log p(x) = Σ (α - 1) log x + log Γ(Σ α) - Σ log Γ(α) on the simplex x >= 0, Σ x = 1; α = concentration (…, K).

    Off the simplex, by more than rounding, log p = -∞. Raises UsageError where α <= 0 (on the host).

    >>> round(Dirichlet(np.ones(3)).log_prob([0.2, 0.3, 0.5]).exp().item(), 4)
    2.0
    """

    def __init__(self, concentration: Any) -> None:
        self.concentration = parameter(concentration)
        checked_positive("Dirichlet", concentration=self.concentration)
        if not self.concentration.shape:
            raise ShapeError("Dirichlet: expected concentration (…, K), got a number")
        self.batch_shape, self.event_shape = self.concentration.shape[:-1], self.concentration.shape[-1:]

    @property
    def mean(self) -> Any:
        return self.concentration / self.concentration.sum(axis=-1, keepdims=True)

    @property
    def variance(self) -> Any:
        mean, total = self.mean, self.concentration.sum(axis=-1, keepdims=True)
        return mean * (1 - mean) / (total + 1)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """z / Σ z with independent z_i ~ Gamma(α_i, 1)."""
        z = _standard_gammas(self, self.concentration, shape, rng)
        return z / z.sum(axis=-1, keepdims=True)

    def log_prob(self, value: Any) -> Any:
        value = self._checked(value)
        eps = float(np.finfo(value.dtype).eps) if value.dtype.kind == "f" else 0.0
        summing = ops.abs(value.sum(axis=-1) - 1) <= max(1e-6, self.event_shape[0] * eps)
        on = ops.logical_and(ops.all(value >= 0, axis=-1), summing)  # the simplex
        x = ops.where(on[..., None], value, 0.5)
        return ops.where(on, ops.xlogy(self.concentration - 1, x).sum(axis=-1) - self.log_normaliser(), -math.inf)

    def log_normaliser(self) -> Any:
        """log B(α) = Σ log Γ(α) - log Γ(Σ α)"""
        return ops.lgamma(self.concentration).sum(axis=-1) - ops.lgamma(self.concentration.sum(axis=-1))

    def entropy(self) -> Any:
        """log B(α) + (Σ α - K) ψ(Σ α) - Σ (α - 1) ψ(α)"""
        a, total = self.concentration, self.concentration.sum(axis=-1)
        spread = (total - self.event_shape[0]) * ops.digamma(total)
        return self.log_normaliser() + spread - ((a - 1) * ops.digamma(a)).sum(axis=-1)


class Beta(Distribution):
    """log p(x) = (a - 1) log x + (b - 1) log(1 - x) - log B(a, b) for 0 <= x <= 1: the first coordinate of a Dirichlet.

    a is concentration1 and b concentration0, a batch in the shape of the two broadcast. Raises UsageError where one of
    them is <= 0 (on the host).

    >>> round(Beta(2.0, 3.0).log_prob(0.5).exp().item(), 4), round(Beta(2.0, 3.0).mean.item(), 4)
    (1.5, 0.4)
    """

    def __init__(self, concentration1: Any, concentration0: Any) -> None:
        self.concentration1, self.concentration0 = parameter(concentration1), parameter(concentration0)
        checked_positive("Beta", concentration1=self.concentration1, concentration0=self.concentration0)
        given = {"concentration1": self.concentration1, "concentration0": self.concentration0}
        self.batch_shape, self.event_shape = broadcast("Beta", **given), ()

    @property
    def dirichlet(self) -> Dirichlet:
        """Of (x, 1 - x)."""
        both = (x.broadcast_to(self.batch_shape) for x in (self.concentration1, self.concentration0))
        return Dirichlet(ops.stack(tuple(both), axis=-1))

    @property
    def mean(self) -> Any:
        return self.dirichlet.mean[..., 0]

    @property
    def variance(self) -> Any:
        return self.dirichlet.variance[..., 0]

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """z₁ / (z₁ + z₀) with independent z₁ ~ Gamma(a, 1) and z₀ ~ Gamma(b, 1)."""
        return self.dirichlet.rsample(shape, rng=rng)[..., 0]

    def log_prob(self, value: Any) -> Any:
        value, a, b = self._checked(value), self.concentration1, self.concentration0
        inside = ops.logical_and(value >= 0, value <= 1)
        x = ops.where(inside, value, 0.5)
        density = ops.xlogy(a - 1, x) + ops.xlogy(b - 1, 1 - x) - self.dirichlet.log_normaliser()
        return ops.where(inside, density, -math.inf)

    def entropy(self) -> Any:
        return self.dirichlet.entropy()

"""Mixtures: one of K distributions, drawn first."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..errors import DTypeError, ShapeError
from .base import Distribution, NotReparameterised, Shape, no_closed_form
from .discrete import Categorical


class MixtureSameFamily(NotReparameterised):
    """log p(x) = log Σ_k π_k p_k(x): the last batch axis of `component_distribution` are the K of the mixture.

    mixture_distribution: a Categorical of batch shape B and K values; component_distribution: of batch shape B + (K,).
    Raises ShapeError where they do not fit.

    >>> from tinygrad_zoo.distributions import Normal
    >>> two = MixtureSameFamily(Categorical(probs=[0.5, 0.5]), Normal([-1.0, 1.0], [1.0, 1.0]))
    >>> two.mean.item(), two.variance.item(), two.log_prob(np.zeros(7)).shape
    (0.0, 2.0, (7,))
    """

    def __init__(self, mixture_distribution: Categorical, component_distribution: Distribution) -> None:
        if not isinstance(mixture_distribution, Categorical):
            raise DTypeError(f"MixtureSameFamily: expected a Categorical, got {type(mixture_distribution).__name__}")
        self.mixture_distribution, self.component_distribution = mixture_distribution, component_distribution
        expected = mixture_distribution.given.shape
        if component_distribution.batch_shape != expected:
            raise ShapeError(
                f"MixtureSameFamily: a mixture of weights {expected} needs components of batch shape {expected}, "
                f"got {component_distribution.batch_shape}"
            )
        self.batch_shape = mixture_distribution.batch_shape
        self.event_shape = component_distribution.event_shape

    @property
    def mean(self) -> Any:
        """Σ π_k μ_k"""
        return self._weighted(self.component_distribution.mean)

    @property
    def variance(self) -> Any:
        """Σ π_k (σ²_k + μ²_k) - μ²"""
        mean = self.component_distribution.mean
        apart = mean - ops.expand_dims(self.mean, self._axis)
        return self._weighted(self.component_distribution.variance + ops.square(apart))

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        k = self.mixture_distribution.sample(shape, rng=rng)  # S + B
        each = self.component_distribution.sample(shape, rng=rng)  # S + B + (K,) + E
        chosen = k.reshape(*k.shape, 1, *(1 for _ in self.event_shape))
        chosen = chosen.broadcast_to((*k.shape, 1, *self.event_shape))
        return ops.take_along_axis(each, chosen, axis=k.ndim).squeeze(k.ndim)

    def log_prob(self, value: Any) -> Any:
        x = ops.expand_dims(self._checked(value), self._axis)
        log_weights = self.mixture_distribution.logits  # B + (K,)
        return ops.logsumexp(log_weights + self.component_distribution.log_prob(x), axis=-1)

    def entropy(self) -> Any:
        raise no_closed_form(self, "entropy")

    @property
    def _axis(self) -> int:
        """The axis of the K, counted from the end."""
        return -1 - len(self.event_shape)

    def _weighted(self, values: Any) -> Any:
        """Σ π_k v_k of values B + (K,) + E."""
        probs = self.mixture_distribution.probs
        return (probs.reshape(*probs.shape, *(1 for _ in self.event_shape)) * values).sum(axis=self._axis)

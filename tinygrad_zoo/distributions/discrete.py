"""Distributions of whole numbers, by probabilities or by logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from ..backend import on_host
from ..errors import DTypeError, ShapeError, UsageError
from ..tensor import Tensor
from ..variable import looked_at
from .base import Distribution, NotReparameterised, Shape, parameter


def either(who: str, probs: Any, logits: Any) -> tuple[Tensor, bool]:
    """The one parameter that was given, and whether it holds logits; probabilities are checked on the host."""
    if (probs is None) == (logits is None):
        raise UsageError(f"{who}: give either probs= or logits=, not {'none' if probs is None else 'both'} of them")
    given = parameter(logits if probs is None else probs)
    array = looked_at(given)
    if probs is not None and on_host(array) and not (array >= 0).all():
        raise UsageError(f"{who}: expected probs >= 0, got {array.min()}; for log-probabilities write logits=")
    return given, probs is None


def within(who: str, value: Tensor, low: int, high: int, fix: str) -> None:
    """Raises UsageError where a value is not in low..high (on the host; a device is not asked: that would wait)."""
    x = looked_at(value)
    if on_host(x) and not ((x >= low) & (x <= high)).all():
        raise UsageError(f"{who}: expected values in {low}..{high}, got some from {x.min()} to {x.max()}: {fix}")


def _least(x: Tensor) -> float:
    """The least probability whose logarithm counts: below it is the spacing of numbers near 1."""
    return float(np.finfo(x.dtype).eps)


class BinaryParameter(Distribution):
    """What has one probability a value: `given` holds it, or its logit."""

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        who = type(self).__name__
        self.given, self.from_logits = either(who, probs, logits)
        array = looked_at(self.given)
        if not self.from_logits and on_host(array) and not (array <= 1).all():
            raise UsageError(f"{who}: expected probs <= 1, got {array.max()}; for log-odds write logits=")
        self.batch_shape, self.event_shape = self.given.shape, ()

    @property
    def probs(self) -> Any:
        """P(x = 1)"""
        return ops.sigmoid(self.given) if self.from_logits else self.given

    @property
    def logits(self) -> Any:
        """log(p / (1 - p)), finite: a probability of 0 or 1 counts as one at the distance of a rounding error."""
        return self.given if self.from_logits else ops.logit(self.given, eps=_least(self.given))


class Bernoulli(BinaryParameter, NotReparameterised):
    """p(1) = probs = σ(logits), p(0) = 1 - probs; give one of the two. Samples are 0.0 and 1.0.

    `log_prob` of a value between is that of the two in proportion, which is minus the binary cross-entropy.
    Raises UsageError where probs, or values, are not in [0, 1] (on the host).

    >>> Bernoulli(probs=0.25).log_prob([1.0, 0.0]).exp().numpy().round(4)
    array([0.25, 0.75], dtype=float32)
    """

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        p = self.probs.detach()
        return (self._fractions(shape, rng, p) < p).to(p.dtype)

    def log_prob(self, value: Any) -> Any:
        x, logits = self._checked(value), self.logits
        within("Bernoulli", x, 0, 1, "make bits of them, (x > threshold).to('float32')")
        return x * logits - ops.softplus(logits)

    def entropy(self) -> Any:
        """log(1 + exp logits) - probs · logits"""
        return ops.softplus(self.logits) - self.probs * self.logits


class CategoricalParameter(Distribution):
    """What has K probabilities: `given` (…, K) holds weights in their proportion, or logits."""

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        who = type(self).__name__
        self.given, self.from_logits = either(who, probs, logits)
        if not self.given.shape or not self.given.shape[-1]:
            raise ShapeError(f"{who}: expected one or more values along the last axis, got shape {self.given.shape}")
        array = looked_at(self.given)
        if not self.from_logits and on_host(array) and not (array.sum(axis=-1) > 0).all():
            raise UsageError(f"{who}: probs sum to 0 in some row")
        self.batch_shape, self.event_shape = self.given.shape[:-1], ()

    @property
    def probs(self) -> Any:
        """(…, K), summing to 1."""
        if self.from_logits:
            return ops.softmax(self.given)
        return self.given / self.given.sum(axis=-1, keepdims=True)

    @property
    def logits(self) -> Any:
        """Log-probabilities (…, K), of probs no lower than that of a rounding error."""
        if self.from_logits:
            return ops.log_softmax(self.given)
        return ops.log(ops.clip(self.probs, min=_least(self.given)))

    @property
    def finite_logits(self) -> Any:
        """The logits with the least finite number for -∞, so that 0 · log 0 is 0."""
        return ops.clip(self.logits, min=float(np.finfo(self.given.dtype).min))

    def _gumbel_max(self, shape: Shape, rng: np.random.Generator) -> Any:
        """argmax(log p + g) with Gumbel noise g, a draw of p (`ops.gumbel_softmax` proves it): S + B, whole numbers."""
        log_p = self.given.detach() if self.from_logits else ops.log(self.probs.detach())  # -∞ is never drawn
        full = (*self._extended(shape)[: -len(self.event_shape) or None], log_p.shape[-1])
        noise = ops.standard_gumbel(self._key(rng, log_p), shape=full, dtype=log_p.dtype)
        return ops.argmax(log_p + noise, axis=-1)

    def entropy(self) -> Any:
        """-Σ p log p"""
        return -(self.probs * self.finite_logits).sum(axis=-1)


class Categorical(CategoricalParameter, NotReparameterised):
    """p(k) = probs_k / Σ probs = softmax(logits)_k for k = 0 … K-1; give one of the two, (…, K). Samples are int64.

    `mean` and `variance` are NaN, as in PyTorch: the numbers are names. Raises UsageError where probs are negative or
    sum to 0, and for values that are none of these k (on the host).

    >>> weather = Categorical(probs=[1.0, 2.0, 1.0])
    >>> round(weather.log_prob(1).item(), 4), weather.sample((3,), rng=np.random.default_rng(0)).shape
    (-0.6931, (3,))
    """

    @property
    def mean(self) -> Any:
        return self.given[..., 0] * float("nan")

    variance = mean

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return self._gumbel_max(shape, rng)

    def log_prob(self, value: Any) -> Any:
        k = self._checked(value)
        if k.dtype.kind not in "iu":
            raise DTypeError(f"Categorical: values are whole numbers 0 … K-1, got {k.dtype}: write value.to('int64')")
        within("Categorical", k, 0, self.given.shape[-1] - 1, f"write k with 0 <= k < {self.given.shape[-1]}")
        shape, logits = np.broadcast_shapes(k.shape, self.batch_shape), self.logits
        logits = logits.broadcast_to((*shape, logits.shape[-1]))
        return ops.take_along_axis(logits, k.broadcast_to(shape)[..., None], axis=-1)[..., 0]


class OneHotCategorical(CategoricalParameter, NotReparameterised):
    """`Categorical` with the values as vectors: event k has a 1 at k and zeros elsewhere, in the dtype of the weights.

    >>> OneHotCategorical(logits=np.zeros(4)).sample(rng=np.random.default_rng(0)).sum().item()
    1.0
    """

    def __init__(self, probs: Any = None, logits: Any = None) -> None:
        super().__init__(probs, logits)
        self.event_shape = self.given.shape[-1:]

    @property
    def mean(self) -> Any:
        return self.probs

    @property
    def variance(self) -> Any:
        return self.probs * (1 - self.probs)

    def sample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return ops.one_hot(self._gumbel_max(shape, rng), num_classes=self.event_shape[0]).to(self.given.dtype)

    def log_prob(self, value: Any) -> Any:
        return (self._checked(value) * self.finite_logits).sum(axis=-1)

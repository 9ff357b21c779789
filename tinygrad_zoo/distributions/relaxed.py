"""Concrete distributions: discrete ones made continuous by a temperature (arXiv 1611.00712, 1611.01144)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..errors import GradientError, UsageError
from ..tensor import Tensor
from .base import Distribution, Shape, no_closed_form
from .discrete import BinaryParameter, CategoricalParameter


def _temperature(who: str, value: Any) -> float:
    if isinstance(value, Tensor) and value.requires_grad:
        raise GradientError(
            f"{who}: temperature is a number; the gradient of a Tensor that requires one would be lost: write "
            "temperature=float(t), or, to learn t, divide logits plus Gumbel noise by it and take the softmax yourself"
        )
    found = float(value)
    if not found > 0:
        raise UsageError(f"{who}: expected temperature > 0, got {found}")
    return found


class _Relaxed(Distribution):
    """What a relaxed distribution has not."""

    temperature: float

    @property
    def mean(self) -> Any:
        raise no_closed_form(self, "mean")

    @property
    def variance(self) -> Any:
        raise no_closed_form(self, "variance")

    def entropy(self) -> Any:
        raise no_closed_form(self, "entropy")


class LogitRelaxedBernoulli(_Relaxed, BinaryParameter):
    """The logit of a RelaxedBernoulli: Logistic(logits / t, 1 / t), with t = temperature, a number > 0.

    >>> round(LogitRelaxedBernoulli(0.5, probs=0.5).log_prob(0.0).item(), 4)
    -2.0794
    """

    def __init__(self, temperature: float, probs: Any = None, logits: Any = None) -> None:
        super().__init__(probs, logits)
        self.temperature = _temperature(type(self).__name__, temperature)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """(logits + log(u / (1 - u))) / t with u ~ U(0, 1)."""
        logits = self.logits
        return (logits + ops.logit(self._inner_fractions(shape, rng, logits))) * (1 / self.temperature)

    def log_prob(self, value: Any) -> Any:
        z = self.temperature * self._checked(value) - self.logits
        return math.log(self.temperature) + ops.logsigmoid(z) + ops.logsigmoid(-z)


class RelaxedBernoulli(LogitRelaxedBernoulli):
    """y = σ((logits + l) / t) in (0, 1), with logistic noise l: as t → 0 a Bernoulli of P(1) = probs.

    temperature: a number > 0; give probs or logits.

    >>> relaxed = RelaxedBernoulli(0.01, probs=[0.0, 1.0])
    >>> relaxed.rsample(rng=np.random.default_rng(0)).numpy().round(3).tolist()
    [0.0, 1.0]
    """

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        return ops.sigmoid(super().rsample(shape, rng=rng))

    def log_prob(self, value: Any) -> Any:
        """That of the logit of y, and -log y (1 - y), the derivative of the logit."""
        y = self._checked(value)
        return super().log_prob(ops.logit(y)) - ops.log(y) - ops.log1p(-y)


class RelaxedOneHotCategorical(_Relaxed, CategoricalParameter):
    """y = softmax((logits + g) / t) on the simplex (…, K), with Gumbel noise g: as t → 0 a one-hot Categorical.

    log p(y) = log (K-1)! + (K-1) log t + Σ (log π_k - (t+1) log y_k) - K log Σ π_k y_k^-t, π the probabilities.
    temperature: a number > 0; give probs or logits, (…, K).

    >>> uniform = RelaxedOneHotCategorical(1.0, logits=np.zeros(3))
    >>> round(uniform.log_prob(np.ones(3) / 3).exp().item(), 4)
    2.0
    """

    def __init__(self, temperature: float, probs: Any = None, logits: Any = None) -> None:
        super().__init__(probs, logits)
        self.temperature = _temperature("RelaxedOneHotCategorical", temperature)
        self.event_shape = self.given.shape[-1:]

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        logits = self.logits
        full = logits.broadcast_to(self._extended(shape))
        return ops.gumbel_softmax(full, self._key(rng, logits), tau=self.temperature)

    def log_prob(self, value: Any) -> Any:
        k, log_y = self.event_shape[0], ops.log(self._checked(value))
        scores = ops.log_softmax(self.logits - self.temperature * log_y)  # (…, K)
        return (scores - log_y).sum(axis=-1) + (math.lgamma(k) + (k - 1) * math.log(self.temperature))

"""Gradients of expectations: of f(z) with z drawn from a distribution whose parameters are learnt.

Each estimator gives a surrogate (a Tensor whose gradient, not whose value, is the estimate of ∇ E f(z)): call its
`backward`, or take its `grad`. The score-function ones know only values of f, a black box; pathwise goes through f.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .distributions import Distribution
from .distributions.base import no_rsample
from .errors import ShapeError, UsageError
from .grad_mode import no_grad
from .ops.composite import straight_through
from .tensor import Tensor, as_tensor

__all__ = ["optimal_baseline", "pathwise", "rloo", "score_function", "straight_through"]

BlackBox = Callable[[Any], Any]  # of samples, (n, …, *event), the values (n, …): a Tensor or an array


def score_function(
    f: BlackBox, distribution: Distribution, n: int = 1, *, baseline: Any = 0.0, rng: np.random.Generator
) -> Any:
    """Σ_i (f(z_i) - b) log p(z_i) / n, whose gradient estimates ∇ E f(z) (REINFORCE, Williams 1992).

    The gradient of log p at a sample is the score; that of E f is E[f · score], and E[b · score] = 0 for every b that
    does not depend on this sample: a number, what broadcasts to the batch, or one a sample (n, …). A mean of the same
    f(z_i) would depend on it, which biases the estimate: `rloo` leaves z_i out. f is called once, without a graph, on
    n samples; the result has the batch shape of `distribution`. Raises ShapeError where f gives other than a value a
    sample, or the baseline is of another shape.

    A control variate is a c(z) like f(z) whose E c is known, a Tensor of the parameters:
    `score_function(lambda z: f(z) - c(z), distribution, rng=rng) + mean_of_c` is unbiased too, and varies less.

    >>> from tinygrad_zoo.distributions import Normal
    >>> loc = tz.tensor(2.0, requires_grad=True)
    >>> score_function(lambda z: z, Normal(loc, 1.0), 100_000, baseline=2.0, rng=np.random.default_rng(0)).backward()
    >>> loc.grad.numpy().round(1)  # of E z = loc
    np.float32(1.0)
    """
    z, values = _evaluated("score_function", f, distribution, n, rng)
    shape, batch = baseline.shape if hasattr(baseline, "shape") else np.shape(baseline), distribution.batch_shape
    if shape != values.shape and not _broadcasts(shape, batch):
        raise ShapeError(
            f"score_function: baseline is a number, or broadcasts to the batch {batch}, or is one a sample "
            f"{values.shape}, got {shape}: write baseline.reshape(…) to one of these"
        )
    b = baseline.detach() if isinstance(baseline, Tensor) else baseline
    return ((values - b) * distribution.log_prob(z)).mean(axis=0)


def pathwise(f: BlackBox, distribution: Distribution, n: int = 1, *, rng: np.random.Generator) -> Any:
    """Σ_i f(z_i) / n with z_i = g(ε_i; θ): both an estimate of E f(z) and, by its gradient, of ∇ E f(z).

    The gradient goes through f and through the samples, so f must be made of ops, and the distribution must have an
    rsample (arXiv 1312.6114). Raises GradientError where it has none.

    >>> from tinygrad_zoo.distributions import Normal
    >>> loc = tz.tensor(2.0, requires_grad=True)
    >>> pathwise(lambda z: 3 * z, Normal(loc, 1.0), rng=np.random.default_rng(0)).backward()
    >>> loc.grad.item()  # exact from one sample, since f is linear
    3.0
    """
    if not distribution.has_rsample:
        raise no_rsample(distribution)
    z = distribution.rsample((_count("pathwise", n, 1),), rng=rng)
    return _per_sample("pathwise", f(z), z, distribution).mean(axis=0)


def rloo(f: BlackBox, distribution: Distribution, n: int = 2, *, rng: np.random.Generator) -> Any:
    """`score_function` of n >= 2 samples, each with the mean of f at the others as its baseline (arXiv 1903.03319).

    Unbiased, since the baseline of z_i knows nothing of z_i; nothing is to be fitted.

    >>> from tinygrad_zoo.distributions import Categorical
    >>> logits = tz.tensor([0.0, 0.0], requires_grad=True)
    >>> rloo(lambda z: z + 7.0, Categorical(logits=logits), 10_000, rng=np.random.default_rng(0)).backward()
    >>> logits.grad.numpy().round(2)  # of E z = P(1)
    array([-0.25,  0.25], dtype=float32)
    """
    z, values = _evaluated("rloo", f, distribution, _count("rloo", n, 2), rng)
    others = (values.sum(axis=0) - values) / (n - 1)
    return ((values - others) * distribution.log_prob(z)).mean(axis=0)


def optimal_baseline(values: Any, scores: Any) -> Any:
    """b* = E[f s²] / E[s²], the constant baseline of least variance, of the values f and scores s of samples (n, …).

    The scores are ∂ log p(z_i) / ∂θ of one number θ; for several, sum over them what stands above and below. Estimate
    it from samples other than those whose baseline it becomes. Raises ShapeError where the two do not fit.

    >>> optimal_baseline(np.array([1.0, 5.0]), np.array([1.0, 1.0])).item()
    3.0
    """
    f, s = as_tensor(values).detach(), as_tensor(scores).detach()
    if f.shape != s.shape or not f.shape or not f.shape[0]:
        raise ShapeError(f"optimal_baseline: expected a score a value, (n >= 1, …), got {f.shape} and {s.shape}")
    squares = s * s
    return (f * squares).sum(axis=0) / squares.sum(axis=0)


def _evaluated(
    who: str, f: BlackBox, distribution: Distribution, n: int, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """n samples and the values of f there, both without a graph."""
    z = distribution.sample((_count(who, n, 1),), rng=rng)
    with no_grad():
        values = _per_sample(who, f(z), z, distribution)
    return z, values.detach()


def _per_sample(who: str, values: Any, z: Tensor, distribution: Distribution) -> Tensor:
    found: Tensor = as_tensor(values)
    expected = z.shape[: z.ndim - len(distribution.event_shape)]
    if found.shape != expected:
        raise ShapeError(
            f"{who}: f must give one value a sample: {expected} for samples {z.shape} of events "
            f"{distribution.event_shape}, got {found.shape}"
        )
    return found


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    """Whether what has that shape is stretched to `to`, and stretches it nowhere."""
    return len(shape) <= len(to) and all(n in (1, m) for n, m in zip(shape[::-1], to[::-1], strict=False))


def _count(who: str, n: int, least: int) -> int:
    if n < least:
        raise UsageError(f"{who}: expected n >= {least} samples, got n={n}")
    return n

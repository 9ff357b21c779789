"""KL(p ‖ q) = E_p[log p(x) - log q(x)] of pairs of distributions that have a closed form."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from .. import ops
from ..errors import ShapeError, UsageError
from .base import Distribution, Independent
from .continuous import EULER_GAMMA, Gumbel, Laplace, Uniform
from .discrete import Bernoulli, Categorical, CategoricalParameter, OneHotCategorical
from .gamma import Beta, Dirichlet, Gamma
from .normal import MultivariateNormal, Normal

Formula: TypeAlias = Callable[[Any, Any], Any]
_FORMULAS: dict[tuple[type[Distribution], type[Distribution]], Formula] = {}


def register_kl(type_p: type[Distribution], type_q: type[Distribution]) -> Callable[[Formula], Formula]:
    """Makes `kl_divergence` of these types, and of their subclasses that have no nearer entry, the decorated formula.

    >>> class Fixed(Normal): ...
    >>> @register_kl(Fixed, Fixed)
    ... def none(p, q):
    ...     return p.mean * 0
    >>> kl_divergence(Fixed(0.0, 1.0), Fixed(1.0, 1.0)).item(), kl_divergence(Fixed(0.0, 1.0), Normal(1.0, 1.0)).item()
    (0.0, 0.5)
    """

    def register(formula: Formula) -> Formula:
        _FORMULAS[type_p, type_q] = formula
        return formula

    return register


def kl_divergence(p: Distribution, q: Distribution) -> Any:
    """KL(p ‖ q) in nats, of the batch shapes broadcast: differentiable in the parameters of both.

    Raises UsageError for a pair without a registered formula, ShapeError where shapes do not fit.

    >>> kl_divergence(Normal(1.0, 1.0), Normal(0.0, 1.0)).item()
    0.5
    """
    found = next(
        (_FORMULAS[a, b] for a in type(p).__mro__ for b in type(q).__mro__ if (a, b) in _FORMULAS),
        None,
    )
    who = f"kl_divergence of {type(p).__name__} and {type(q).__name__}"
    if found is None:
        raise UsageError(
            f"{who}: no closed form is registered: estimate it as the mean of p.log_prob(x) - q.log_prob(x) over "
            "x = p.rsample(n, rng=rng), or register one with @register_kl"
        )
    if p.event_shape != q.event_shape:
        raise ShapeError(f"{who}: events of shape {p.event_shape} and {q.event_shape} differ")
    return found(p, q)


@register_kl(Independent, Independent)
def _independent(p: Independent, q: Independent) -> Any:
    if p.ndims != q.ndims:
        raise UsageError(f"kl_divergence of Independent and Independent: ndims={p.ndims} and ndims={q.ndims} differ")
    return p._summed(kl_divergence(p.base, q.base))


@register_kl(Normal, Normal)
def _normal(p: Normal, q: Normal) -> Any:
    """½ (r + ((μ_p - μ_q) / σ_q)² - 1 - log r) with r = (σ_p / σ_q)²"""
    ratio = ops.square(p.scale / q.scale)
    return 0.5 * (ratio + ops.square((p.loc - q.loc) / q.scale) - 1 - ops.log(ratio))


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normal(p: MultivariateNormal, q: MultivariateNormal) -> Any:
    """½ (‖L_q⁻¹ L_p‖² + ‖L_q⁻¹(μ_p - μ_q)‖² - d) + Σ log L_q,ii - Σ log L_p,ii"""
    spread = ops.solve_triangular(q.scale_tril, ops.tril(p.scale_tril), upper=False)  # (…, d, d)
    apart = ops.solve_triangular(q.scale_tril, (p.loc - q.loc)[..., None], upper=False)[..., 0]  # (…, d)
    squares = ops.square(spread).sum(axis=(-2, -1)) + ops.square(apart).sum(axis=-1)
    return 0.5 * (squares - p.event_shape[0]) + q._half_log_det() - p._half_log_det()


@register_kl(Laplace, Laplace)
def _laplace(p: Laplace, q: Laplace) -> Any:
    """(s_p exp(-Δ / s_p) + Δ) / s_q - 1 + log(s_q / s_p) with Δ = |μ_p - μ_q|"""
    apart = ops.abs(p.loc - q.loc)
    return (p.scale * ops.exp(-apart / p.scale) + apart) / q.scale - 1 + ops.log(q.scale / p.scale)


@register_kl(Gumbel, Gumbel)
def _gumbel(p: Gumbel, q: Gumbel) -> Any:
    """z + (r - 1) γ - 1 - log r + Γ(1 + r) exp(-z) with r = s_p / s_q and z = (μ_p - μ_q) / s_q"""
    ratio, z = p.scale / q.scale, (p.loc - q.loc) / q.scale
    return z + (ratio - 1) * EULER_GAMMA - 1 - ops.log(ratio) + ops.exp(ops.lgamma(1 + ratio) - z)


@register_kl(Uniform, Uniform)
def _uniform(p: Uniform, q: Uniform) -> Any:
    """log of the ratio of lengths, ∞ where p reaches outside q."""
    inside = ops.logical_and(q.low <= p.low, p.high <= q.high)
    return ops.where(inside, ops.log((q.high - q.low) / (p.high - p.low)), math.inf)


@register_kl(Bernoulli, Bernoulli)
def _bernoulli(p: Bernoulli, q: Bernoulli) -> Any:
    """p (log p/q) + (1 - p) log((1 - p) / (1 - q)), from the logits."""
    return p.probs * (p.logits - q.logits) - ops.softplus(p.logits) + ops.softplus(q.logits)


@register_kl(Categorical, Categorical)
@register_kl(OneHotCategorical, OneHotCategorical)
def _categorical(p: CategoricalParameter, q: CategoricalParameter) -> Any:
    """Σ p (log p - log q), ∞ where q = 0 < p."""
    if p.given.shape[-1] != q.given.shape[-1]:
        raise ShapeError(f"kl_divergence: {p.given.shape[-1]} categories and {q.given.shape[-1]} differ")
    probs = p.probs
    terms = ops.where(q.probs > 0, probs * (p.finite_logits - q.finite_logits), math.inf)
    return ops.where(probs > 0, terms, 0.0).sum(axis=-1)


@register_kl(Gamma, Gamma)
def _gamma(p: Gamma, q: Gamma) -> Any:
    """α_q log(β_p / β_q) + log Γ(α_q) - log Γ(α_p) + (α_p - α_q) ψ(α_p) + α_p (β_q - β_p) / β_p"""
    a, b = p.concentration, q.concentration
    rates = b * ops.log(p.rate / q.rate) + a * (q.rate / p.rate - 1)
    return rates + ops.lgamma(b) - ops.lgamma(a) + (a - b) * ops.digamma(a)


@register_kl(Dirichlet, Dirichlet)
def _dirichlet(p: Dirichlet, q: Dirichlet) -> Any:
    """log B(q) - log B(p) + Σ (α - β)(ψ(α) - ψ(Σ α))"""
    a, b = p.concentration, q.concentration
    expected = ops.digamma(a) - ops.digamma(a.sum(axis=-1, keepdims=True))  # E log x
    return q.log_normaliser() - p.log_normaliser() + ((a - b) * expected).sum(axis=-1)


@register_kl(Beta, Beta)
def _beta(p: Beta, q: Beta) -> Any:
    return kl_divergence(p.dirichlet, q.dirichlet)

"""Samples as differentiable functions of the parameters of their distribution, the noise given by a key."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import device_of, namespace, on_host, special, to_device
from ..errors import UsageError
from ..variable import Array, Variable
from .composite import composite
from .elementwise import where
from .exponential import exp, expm1, log, log1p
from .precision import narrowed, widened
from .random import check_draw, inner_fractions, some_key, standard_gumbel
from .sampling import sample
from .softmax import softmax, softmax_rule
from .special import digamma


def _gumbel_softmax_reference(logits: Any, key: Any, tau: float, hard: bool, axis: int) -> Any:
    z = (logits + standard_gumbel(key, logits.shape, "float64")) / tau
    y = np.exp(z - np.logaddexp.reduce(z, axis=axis, keepdims=True))
    return (y == y.max(axis=axis, keepdims=True)).astype(float) if hard else y


def _gumbel_softmax_rule(g: Any, out: Any, logits: Any, key: Any, tau: float, hard: bool, axis: int) -> Any:
    y = gumbel_softmax(logits, key, tau=tau, axis=axis) if hard else out
    return softmax_rule(widened(g), widened(y), axis) * (1 / tau)


@primitive(
    vjp=(_gumbel_softmax_rule, lambda g, out, logits, key, tau, hard, axis: None),
    samples=lambda r: [
        sample(r(2, 3), some_key(r)),
        sample(r(3, 2), some_key(r), tau=0.5, axis=0),
        sample(r(2, 2, 3), some_key(r), tau=2.0, axis=1),
    ],
    reference=_gumbel_softmax_reference,
)
def gumbel_softmax(logits: Array, key: Array, *, tau: float = 1.0, hard: bool = False, axis: int = -1) -> Array:
    """softmax((logits + g) / tau) with Gumbel noise g of the key (arXiv 1611.01144, 1611.00712).

    With `hard`, the value is one-hot, a sample of Categorical(softmax(logits)), and the gradient that of the soft one
    (the straight-through estimator). As tau → 0 the soft one becomes one-hot too, as tau → ∞ uniform.

    Why the largest log p_i + g_i is a sample (Gumbel-max), p = softmax(logits): P(g <= x) = exp(-e^-x), so that given
    g_i = x all others are smaller with probability Π exp(-e^-(x + log p_i - log p_j)) = exp(-e^-x Σ p_j / p_i), over
    j ≠ i. Times the density e^-x exp(-e^-x) of g_i it is e^-x exp(-e^-x / p_i), as 1 + Σ p_j / p_i = 1 / p_i. With
    u = e^-x its integral over x is ∫ exp(-u / p_i) du = p_i, u from 0 to ∞.

    Raises UsageError where not tau > 0.

    >>> key = tz.draw_key(np.random.default_rng(0))
    >>> tz.gumbel_softmax(tz.zeros(2, 3), key, tau=0.5, hard=True).sum(axis=1).tolist()
    [1.0, 1.0]
    """
    if not tau > 0:
        raise UsageError(f"gumbel_softmax: expected tau > 0, got tau={tau}")
    check_draw("gumbel_softmax", key, logits.shape, logits.dtype)
    x = widened(logits)
    y = softmax((x + standard_gumbel(key, shape=x.shape, dtype=x.dtype)) * (1 / tau), axis=axis)
    return narrowed(_largest(y, axis) if hard else y, logits)


def _values(x: Any) -> Array:
    return x.data if isinstance(x, Variable) else x


def _largest(y: Array, axis: int) -> Array:
    """1 at the first largest entry along `axis`, 0 elsewhere, in the dtype of y."""
    xp = namespace(y)
    rows = xp.moveaxis(y, axis, -1)
    hot = rows.argmax(axis=-1)[..., None] == xp.arange(rows.shape[-1])
    return xp.moveaxis(hot, -1, axis).astype(y.dtype)


# ---- the gamma distribution
def _gamma_grad_reference(concentration: Any, sample: Any) -> Any:
    """-∂F/∂α / p at each sample, the integral of ∂p/∂α up to z, or on from z, by adaptive quadrature in log(t / z)."""
    from scipy.integrate import quad
    from scipy.special import psi

    def one(a: float, z: float) -> float:
        sign = -1.0 if z <= a else 1.0
        shift = math.log(z) - float(psi(a))

        def integrand(r: float) -> float:
            return (shift + sign * r) * math.exp(min(sign * a * r - z * math.expm1(min(sign * r, 600.0)), 600.0))

        # Asked for more digits than there are, it says so in a warning, or with full_output in its result.
        settings = {"epsabs": 0, "epsrel": 1e-13, "limit": 200, "full_output": 1}
        return sign * z * float(sum(quad(integrand, *ends, **settings)[0] for ends in ((0, 1), (1, math.inf))))

    return np.vectorize(one, otypes=[float])(concentration, sample)


def _gamma_samples(r: Any) -> list[Any]:
    return [(r.positive(2, 3), r.positive(2, 3)), (r.uniform(0.05, 0.5, 3), r.uniform(0.01, 0.5, 3))]


_TAUS, _TAU_STEP = np.linspace(-3.5, 4.4, 80, retstep=True)
_NODES = np.exp(_TAUS - np.exp(-_TAUS))  # x = exp(τ - exp(-τ)): a double-exponential rule for ∫₀^∞ f(x) dx,
_WEIGHTS = _TAU_STEP * _NODES * (1 + np.exp(-_TAUS))  # of functions that decay like exp(-x) on whatever scale


@composite(
    samples=_gamma_samples,
    reference=_gamma_grad_reference,
    elementwise=True,
    repair=lambda concentration, sample: (np.abs(concentration) + 0.2, np.abs(sample) + 0.2),
)
def standard_gamma_grad(concentration: Array, sample: Array) -> Array:
    """dz/dα = -(∂F(z; α)/∂α) / p(z; α), of a sample z of Gamma(α, 1): implicit reparameterisation (arXiv 1805.08498).

    ∂F/∂α is the integral of ∂p/∂α = p(t; α) (log t - ψ(α)) over t from 0 to z where z <= α, and minus that from z to
    ∞ where not: p falls from z on, and nothing cancels. Accurate to some rounding errors for all α.

    >>> round(tz.standard_gamma_grad(tz.tensor([1.0]), tz.tensor([1.0])).item(), 4)
    1.1736
    """
    a, z = concentration[..., None], sample[..., None]
    below, s, ds, y, dy = _gamma_nodes(_values(a), _values(z))
    low, high = where(below, z, a), where(below, a, z)  # each side in its own domain, also where it is not taken
    # z <= α: t = z exp(-s), and 1/α - s, of which digits cancel where α is small, integrated by parts.
    under = (log(low) - digamma(a + 1) - (low / a) * s * exp(-s)) * exp(-a * s - low * expm1(-s)) * ds
    # z > α: t = z + y
    over = (log(high + y) - digamma(a)) * exp((a - 1) * log1p(y / high) - y) * dy
    return where(below[..., 0], -(low[..., 0] * under.sum(axis=-1)), over.sum(axis=-1))


def _gamma_nodes(a: Array, z: Array) -> tuple[Array, ...]:
    """Whether z <= α; s and y of the integrals on either side, with their weights, on the scale of each integrand."""
    xp = namespace(a)
    nodes, weights = (to_device(x.astype(a.dtype), device_of(a)) for x in (_NODES, _WEIGHTS))
    below = z <= a
    low, high = xp.where(below, z, a), xp.where(below, a, z)
    under = 1 / (a - low + xp.minimum(a, xp.sqrt(a)))
    over = high / (high - a + xp.sqrt(high))
    return below, under * nodes, under * weights, over * nodes, over * weights


def _gamma_reference(concentration: Any, key: Any) -> Any:
    """The root of the cdf less u, by bisection in the logarithm."""
    from scipy.optimize import brentq
    from scipy.special import gammainc

    u = inner_fractions(key, np.shape(concentration), np.dtype(np.float64))

    def one(a: float, u: float) -> float:
        return math.exp(float(brentq(lambda x: gammainc(a, math.exp(x)) - u, -600, 10, xtol=1e-14, rtol=1e-14)))

    return np.vectorize(one, otypes=[float])(concentration, u)


@primitive(
    vjp=(
        lambda g, out, concentration, key: g * standard_gamma_grad(concentration, out),
        lambda g, out, concentration, key: None,
    ),
    samples=lambda r: [(r.positive(2, 3), some_key(r)), (r.uniform(0.1, 20.0, 4), some_key(r))],
    reference=_gamma_reference,
    repair=lambda concentration, key: (np.abs(concentration) + 0.2, key),
)
def standard_gamma(concentration: Array, key: Array) -> Array:
    """Samples z of Gamma(α, 1), one for each α: F⁻¹(u; α), a differentiable function of α at the u of the key.

    Its derivative is that of implicit reparameterisation, `standard_gamma_grad`. What would underflow is the least
    normal number instead. Computed in float64: a narrower dtype has those numbers from 32 bits of u, rounded.
    Raises UsageError where α <= 0 (on the host).

    >>> tz.standard_gamma(tz.tensor([0.5, 2.0]), tz.draw_key(np.random.default_rng(0))).shape
    (2,)
    """
    check_draw("standard_gamma", key, concentration.shape, concentration.dtype)
    if on_host(concentration) and not (concentration > 0).all():
        raise UsageError(f"standard_gamma: expected concentration > 0, got {concentration.min()}")
    u = inner_fractions(key, concentration.shape, concentration.dtype)
    z = special(concentration).gammaincinv(concentration.astype(np.float64), u)
    return namespace(z).maximum(z, float(np.finfo(concentration.dtype).tiny)).astype(concentration.dtype)

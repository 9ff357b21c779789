"""Special functions: the error function, the gamma function and their kin, one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, special
from ..errors import DTypeError, UsageError
from ..variable import Array
from .comparison import logical_and
from .elementwise import where
from .exponential import exp, log
from .precision import half_in_single
from .sampling import sample, to_inside, to_positive, unary, unary_inside, unary_positive

_ROOT_PI, _ROOT_2PI = math.sqrt(math.pi), math.sqrt(2 * math.pi)


def _special(name: str, x: Array) -> Array:
    """SciPy's (on a device CuPy's) function of x, in the dtype of x."""
    with errstate(x):
        out = getattr(special(x), name)(x)
    return out.astype(x.dtype, copy=False) if x.dtype.kind == "f" else out


# ---- the error function
@primitive(
    vjp=(lambda g, out, x: g * (2 / _ROOT_PI) * exp(-(x * x)),),
    samples=unary,
    reference=np.vectorize(math.erf, otypes=[float]),
    elementwise=True,
)
def erf(x: Array) -> Array:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt.

    >>> tz.erf(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return _special("erf", x)


@primitive(
    vjp=(lambda g, out, x: g * (-2 / _ROOT_PI) * exp(-(x * x)),),
    samples=unary,
    reference=np.vectorize(math.erfc, otypes=[float]),
    elementwise=True,
)
def erfc(x: Array) -> Array:
    """1 - erf x, exact where that is tiny.

    >>> tz.erfc(tz.tensor([0.0])).tolist()
    [1.0]
    """
    return _special("erfc", x)


_ERFCX_SERIES = [(-1.0) ** k * math.prod(range(1, 2 * k, 2)) for k in range(1, 13)]


def _erfcx_slope(out: Any, x: Any) -> Any:
    """2x · erfcx x - 2/√π, of which digits cancel as x grows: from 10 on, its asymptotic series in 1/(2x²)."""
    far = x > 10
    t = 0.5 / (large := where(far, x, 10)) / large
    series: Any = 0.0
    for coefficient in reversed(_ERFCX_SERIES):
        series = t * (coefficient + series)
    return where(far, 2 / _ROOT_PI * series, 2 * where(far, 0, x) * out - 2 / _ROOT_PI)


@primitive(
    vjp=(lambda g, out, x: g * _erfcx_slope(out, x),),
    samples=unary,
    reference=lambda x: np.exp(x * x) * np.vectorize(math.erfc, otypes=[float])(x),
    elementwise=True,
)
def erfcx(x: Array) -> Array:
    """exp(x²) · erfc x, which neither over- nor underflows for x > 0.

    >>> tz.erfcx(tz.tensor([0.0])).tolist()
    [1.0]
    """
    return _special("erfcx", x)


def _normal_quantile_reference(x: Any) -> Any:
    from scipy.stats import norm

    return norm.ppf((x + 1) / 2) / math.sqrt(2)


@primitive(
    vjp=(lambda g, out, x: g * (_ROOT_PI / 2) * exp(out * out),),
    samples=unary_inside,
    reference=_normal_quantile_reference,
    elementwise=True,
    repair=to_inside,
)
def erfinv(x: Array) -> Array:
    """The inverse of erf: ±inf at ±1, NaN outside.

    >>> tz.erfinv(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return _special("erfinv", x)


# ---- the normal distribution
@primitive(
    vjp=(lambda g, out, x: g * exp(-0.5 * x * x) / _ROOT_2PI,),
    samples=unary,
    reference=lambda x: np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2,
    elementwise=True,
)
def ndtr(x: Array) -> Array:
    """The standard normal distribution function, (1 + erf(x/√2)) / 2.

    >>> tz.ndtr(tz.tensor([0.0])).tolist()
    [0.5]
    """
    return _special("ndtr", x)


def _hazard(x: Any) -> Any:
    """Density over distribution function of the standard normal at x: on the left both are 0 at last."""
    left, right = where(x < 0, x, 0), where(x < 0, 0, x)
    tail = math.sqrt(2 / math.pi) / erfcx(left * -math.sqrt(0.5))
    return where(x < 0, tail, exp(-0.5 * right * right) / (_ROOT_2PI * ndtr(right)))


@primitive(
    vjp=(lambda g, out, x: g * _hazard(x),),
    samples=lambda r: [(r(2, 3),), (8 * r(3),)],
    reference=lambda x: np.log(np.vectorize(math.erfc, otypes=[float])(-x / math.sqrt(2)) / 2),
    elementwise=True,
)
def log_ndtr(x: Array) -> Array:
    """The logarithm of `ndtr`, exact where that is 0 or 1.

    >>> f"{tz.log_ndtr(tz.tensor([-100.0])).item():.1f}"
    '-5005.5'
    """
    return _special("log_ndtr", x)


# ---- the gamma function
@primitive(
    vjp=(lambda g, out, x: g * digamma(x),),
    samples=unary_positive,
    reference=np.vectorize(math.lgamma, otypes=[float]),
    elementwise=True,
    repair=to_positive,
)
def lgamma(x: Array) -> Array:
    """log |Γ(x)|: inf at 0, -1, -2, …

    >>> tz.lgamma(tz.tensor([1.0, 2.0])).tolist()
    [0.0, 0.0]
    """
    return _special("gammaln", x)


def _digamma_reference(x: Any) -> Any:
    """By the recurrence ψ(x) = ψ(x + 1) - 1/x up to where the asymptotic series holds."""
    z, out = x, 0 * x
    for _ in range(16):
        out, z = out - 1 / z, z + 1
    series = [-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132]
    return out + np.log(z) - 1 / (2 * z) + sum(c / z ** (2 * k + 2) for k, c in enumerate(series))


@primitive(
    vjp=(lambda g, out, x: g * polygamma(1, x),),
    samples=unary_positive,
    reference=_digamma_reference,
    elementwise=True,
    repair=to_positive,
)
def digamma(x: Array) -> Array:
    """ψ(x), the derivative of lgamma.

    >>> f"{-tz.digamma(tz.tensor([1.0])).item():.4f}"
    '0.5772'
    """
    return _special("digamma", x)


def _polygamma_reference(n: Any, x: Any) -> Any:
    """(-1)ⁿ⁺¹ n! ζ(n + 1, x), the zeta function by its first terms and Euler and Maclaurin's sum of the rest."""
    n, x, m = np.asarray(n, dtype=float), np.asarray(x), 20
    s, z = n + 1, x + m
    zeta = sum((x + k) ** -s for k in range(m)) + z ** (1 - s) / n + z**-s / 2
    factor, b2k = s, [1 / 6, -1 / 30, 1 / 42, -1 / 30]
    for k, b in enumerate(b2k, 1):
        zeta = zeta + b / math.factorial(2 * k) * factor * z ** (1 - s - 2 * k)
        factor = factor * (s + 2 * k - 1) * (s + 2 * k)
    return (-1.0) ** (n + 1) * np.vectorize(math.gamma, otypes=[float])(n + 1) * zeta


@primitive(
    vjp=(lambda g, out, n, x: None, lambda g, out, n, x: g * polygamma(n + 1, x)),
    samples=lambda r: [(1, r.positive(2, 3)), (2, r.positive(3)), (3, r.positive(2))],
    reference=_polygamma_reference,
    elementwise=True,
    repair=lambda n, x: (np.ceil(np.abs(n)).astype(int), *to_positive(x)),
)
def polygamma(n: Array, x: Array) -> Array:
    """ψ⁽ⁿ⁾(x), the derivative of order n of digamma; n are whole numbers.

    >>> f"{tz.polygamma(1, tz.tensor([1.0])).item():.4f}"
    '1.6449'
    """
    if not isinstance(n, int) and getattr(n, "dtype", np.dtype(float)).kind not in "iu":
        raise DTypeError(f"polygamma: expected whole numbers n, got {getattr(n, 'dtype', n)}: write polygamma(1, x)")
    if isinstance(n, int):
        if n < 0:
            raise UsageError(f"polygamma: expected n >= 0, got {n}")
        n = namespace(x).full((), n)
    with errstate(x):
        out = special(x).polygamma(n, x)
    return out.astype(x.dtype, copy=False) if x.dtype.kind == "f" else out


# ---- of probabilities
@primitive(
    vjp=(lambda g, out, x: -(g * (log(x) + 1)),),
    samples=unary_positive,
    reference=lambda x: -x * np.log(x),
    elementwise=True,
    repair=to_positive,
)
@half_in_single
def entr(x: Array) -> Array:
    """-x log x, the terms of an entropy: 0 at 0, -inf below.

    >>> tz.entr(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return _special("entr", x)


def _rel_entr_rule(g: Any, out: Any, p: Any, q: Any) -> Any:
    """g (log p - log q + 1), the logarithms apart: a quotient overflows where q is tiny."""
    none = p == 0
    return where(none, 0, g * (log(where(none, 1, p)) - log(where(none, 1, q)) + 1))


@primitive(
    vjp=(
        _rel_entr_rule,
        lambda g, out, p, q: -(g * p / where(p == 0, 1, q)),
    ),
    samples=lambda r: [(r.positive(2, 3), r.positive(2, 3)), (r.positive(2, 1), r.positive(3))],
    reference=lambda p, q: p * np.log(p / q),
    elementwise=True,
    repair=lambda p, q: (np.abs(p) + 0.2, np.abs(q) + 0.2),
)
@half_in_single
def rel_entr(p: Array, q: Array) -> Array:
    """p log(p / q), the terms of a relative entropy: 0, with gradient 0, at p = 0; inf outside of p >= 0, q > 0.

    >>> tz.rel_entr(tz.tensor([0.0, 1.0]), tz.tensor([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    with errstate(p):
        return special(p).rel_entr(p, q)


def _logit_rule(g: Any, out: Any, x: Any, eps: float | None) -> Any:
    slope = g / (x * (1 - x))
    return slope if eps is None else where(logical_and(x >= eps, x <= 1 - eps), slope, 0)


@primitive(
    vjp=(_logit_rule,),
    samples=lambda r: [sample(r.uniform(0.1, 0.9, 2, 3)), sample(np.round(r.uniform(0, 1, 9), 1) + 0.02, eps=0.25)],
    reference=lambda x, eps: np.log(x / (1 - x)) if eps is None else np.log((c := np.clip(x, eps, 1 - eps)) / (1 - c)),
    elementwise=True,
    repair=lambda x: (np.round(0.4 * np.tanh(x), 1) + 0.52,),
)
@half_in_single
def logit(x: Array, *, eps: float | None = None) -> Array:
    """log(x / (1 - x)), the inverse of sigmoid, of x limited to [eps, 1 - eps] if eps is given.

    >>> tz.logit(tz.tensor([0.5, 1.0])).tolist()
    [0.0, inf]
    """
    return _special("logit", x if eps is None else x.clip(eps, 1 - eps))

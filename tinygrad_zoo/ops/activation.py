"""Smooth activation functions: stable for any argument, with second derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import UsageError
from ..kernels import elementwise as kernels
from ..variable import Array
from .elementwise import abs, clip, where
from .exponential import exp
from .precision import half_in_single
from .sampling import off_zero, sample
from .special import ndtr
from .trigonometry import tanh


def _near_and_far(r: Any) -> list[Any]:
    return [(r(2, 3),), (20 * r(3),)]


@primitive(
    vjp=(lambda g, out, x: g * out * (1 - out),),
    backward=lambda g, out, x: kernels.pulled("sigmoid", g, out),
    samples=_near_and_far,
    reference=lambda x: np.exp(-np.logaddexp(0, -x)),
    elementwise=True,
)
def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), exact in relative terms on both sides.

    >>> tz.sigmoid(tz.tensor([0.0])).tolist()
    [0.5]
    """
    if (out := kernels.value("sigmoid", x)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        e = xp.exp(-xp.absolute(x))
        return xp.where(x >= 0, 1, e) / (1 + e)


@primitive(
    vjp=(lambda g, out, x: g * sigmoid(-x),),
    backward=lambda g, out, x: kernels.pulled("logsigmoid", g, x),
    samples=_near_and_far,
    reference=lambda x: -np.logaddexp(0, -x),
    elementwise=True,
)
def logsigmoid(x: Array) -> Array:
    """log(1 / (1 + e⁻ˣ)), computed as min(x, 0) - log(1 + e^(-|x|)).

    >>> tz.logsigmoid(tz.tensor([-1e4, 1e4])).tolist()
    [-10000.0, 0.0]
    """
    if (out := kernels.value("logsigmoid", x)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        return xp.minimum(x, 0) - xp.log1p(xp.exp(-xp.absolute(x)))


def _softplus_rule(g: Any, out: Any, x: Any, beta: float, threshold: float) -> Any:
    slope = sigmoid(beta * x)
    return g * (slope if threshold == math.inf else where(beta * x > threshold, 1, slope))


@primitive(
    vjp=(_softplus_rule,),
    backward=lambda g, out, x, beta, threshold: (
        kernels.pulled("softplus", g, x, beta) if threshold == math.inf else None
    ),
    samples=lambda r: [
        sample(r(2, 3)),
        sample(r(3), beta=2.0),
        sample(50 * r(3)),
        sample(r.positive(3) * np.array([-1.0, 0.05, 1.0]), beta=3.0, threshold=0.6),
    ],
    reference=lambda x, beta, threshold: np.where(beta * x > threshold, x, np.logaddexp(0, beta * x) / beta),
    elementwise=True,
    repair=lambda x: (np.where(np.abs(3 * x - 0.6) < 0.3, x + 0.5, x),),
)
@half_in_single
def softplus(x: Array, *, beta: float = 1.0, threshold: float = math.inf) -> Array:
    """log(1 + e^(βx)) / β, computed as max(x, 0) + log(1 + e^(-β|x|)) / β; x itself where βx > threshold.

    Stability needs no threshold, so there is none by default (PyTorch's is 20).

    >>> tz.softplus(tz.tensor([-1e4, 1e4])).tolist()
    [0.0, 10000.0]
    """
    if beta <= 0:
        raise UsageError(f"softplus: expected beta > 0, got {beta}")
    if threshold == math.inf and (out := kernels.value("softplus", x, beta)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        out = xp.maximum(x, 0) + xp.log1p(xp.exp(-beta * xp.absolute(x))) / beta
        return out if threshold == math.inf else xp.where(beta * x > threshold, x, out)


@primitive(
    vjp=(lambda g, out, x: g / (1 + abs(x)) / (1 + abs(x)),),
    samples=lambda r: [(r.nonzero(2, 3),), (20 * r.nonzero(3),)],
    reference=lambda x: np.sign(x) * (1 - 1 / (1 + np.abs(x))),
    elementwise=True,
    repair=off_zero,
)
def softsign(x: Array) -> Array:
    """x / (1 + |x|), with second derivative 0 at 0.

    >>> tz.softsign(tz.tensor([1.0, -3.0])).tolist()
    [0.5, -0.75]
    """
    with errstate(x):
        return x / (1 + namespace(x).absolute(x))


def _tanhshrink_rule(g: Any, out: Any, x: Any) -> Any:
    t = tanh(x)
    return g * t * t


@primitive(
    vjp=(_tanhshrink_rule,),
    samples=_near_and_far,
    reference=lambda x: x - np.tanh(x),
    elementwise=True,
)
@half_in_single
def tanhshrink(x: Array) -> Array:
    """x - tanh(x)

    >>> tz.tanhshrink(tz.tensor([0.0, 50.0])).tolist()
    [0.0, 49.0]
    """
    with errstate(x):
        return x - namespace(x).tanh(x)


# ---- x times a gate
_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715
_GELU = {"none": "gelu", "tanh": "gelu_tanh"}  # the kernels of both


def _bounded(x: Any) -> Any:
    """x where e^-|x| is not 0 in any dtype: beyond, slopes have reached 0 or 1, but products with x may overflow."""
    return clip(x, min=-800, max=800)


def gelu_slope(x: Any, approximate: str) -> Any:
    """The derivative of `gelu` at x."""
    if approximate == "tanh":
        x = clip(x, min=-10, max=10)  # beyond, the slope is 0 or 1 to the last bit, but x * x may overflow
        t = tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
        return 0.5 * (1 + t + x * (1 - t * t) * _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x))
    x = _bounded(x)
    density = exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return ndtr(x) + x * density


def gelu_reference(x: Any, approximate: str) -> Any:
    """`gelu` in SciPy's words."""
    from scipy.stats import norm

    if approximate == "none":
        return x * norm.cdf(x)
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@primitive(
    vjp=(lambda g, out, x, approximate: g * gelu_slope(x, approximate),),
    backward=lambda g, out, x, approximate: kernels.pulled(_GELU[approximate], g, x),
    samples=lambda r: [sample(r(2, 3)), sample(r(3), approximate="tanh"), sample(20 * r(3))],
    reference=gelu_reference,
    elementwise=True,
)
@half_in_single
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """x · Φ(x) with Φ the normal distribution function, or its tanh approximation (arXiv 1606.08415).

    >>> tz.gelu(tz.tensor([0.0, 10.0])).tolist()
    [0.0, 10.0]
    """
    if approximate not in _GELU:
        raise UsageError(f"gelu: approximate={approximate!r}: expected 'none' or 'tanh'")
    if (out := kernels.value(_GELU[approximate], x)) is not None:
        return out
    with errstate(x):
        if approximate == "none":
            return x * ndtr(x)
        return 0.5 * x * (1 + namespace(x).tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x)))


def silu_slope(x: Any) -> Any:
    """The derivative of `silu` at x."""
    x = _bounded(x)
    s = sigmoid(x)
    return s * (1 + x * (1 - s))


@primitive(
    vjp=(lambda g, out, x: g * silu_slope(x),),
    backward=lambda g, out, x: kernels.pulled("swish", g, x, 1.0),
    samples=_near_and_far,
    reference=lambda x: x * np.exp(-np.logaddexp(0, -x)),
    elementwise=True,
)
@half_in_single
def silu(x: Array) -> Array:
    """x · sigmoid(x) (arXiv 1702.03118): `swish` with β = 1.

    >>> tz.silu(tz.tensor([0.0])).tolist()
    [0.0]
    """
    if (out := kernels.value("swish", x, 1.0)) is not None:
        return out
    return x * sigmoid(x)


@primitive(
    vjp=(lambda g, out, x, beta: g * silu_slope(beta * x), lambda g, out, x, beta: g * out * (x - out)),
    samples=lambda r: [(r(2, 3), r(3)), (20 * r(3), r.positive()), (r(3), 1.702)],
    reference=lambda x, beta: x * np.exp(-np.logaddexp(0, -beta * x)),
    elementwise=True,
)
@half_in_single
def swish(x: Array, beta: Array) -> Array:
    """x · sigmoid(βx), its β an array that may be learnt (arXiv 1710.05941).

    >>> tz.swish(tz.tensor([2.0]), tz.tensor(0.0)).tolist()
    [1.0]
    """
    with errstate(x):
        return x * sigmoid(beta * x)


_QUICK = 1.702


@primitive(
    vjp=(lambda g, out, x: g * silu_slope(_QUICK * x),),
    backward=lambda g, out, x: kernels.pulled("swish", g, x, _QUICK),
    samples=_near_and_far,
    reference=lambda x: x * np.exp(-np.logaddexp(0, -1.702 * x)),
    elementwise=True,
)
@half_in_single
def quick_gelu(x: Array) -> Array:
    """x · sigmoid(1.702 x), the quick approximation of `gelu` (arXiv 1606.08415).

    >>> tz.quick_gelu(tz.tensor([0.0, 50.0])).tolist()
    [0.0, 50.0]
    """
    if (out := kernels.value("swish", x, _QUICK)) is not None:
        return out
    with errstate(x):
        return x * sigmoid(_QUICK * x)


def _mish_rule(g: Any, out: Any, x: Any) -> Any:
    x = _bounded(x)
    gate = tanh(softplus(x))
    return g * (gate + x * sigmoid(x) * (1 - gate * gate))


@primitive(
    vjp=(_mish_rule,),
    backward=lambda g, out, x: kernels.pulled("mish", g, x),
    samples=_near_and_far,
    reference=lambda x: x * np.tanh(np.logaddexp(0, x)),
    elementwise=True,
)
@half_in_single
def mish(x: Array) -> Array:
    """x · tanh(softplus(x)) (arXiv 1908.08681), by one exponential of -|x|.

    >>> tz.mish(tz.tensor([0.0, 50.0])).tolist()
    [0.0, 50.0]
    """
    if (out := kernels.value("mish", x)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        e = xp.exp(-xp.absolute(x))
        rising = xp.where(x >= 0, 1 + 2 * e, e * (2 + e))  # e²ˣ + 2eˣ, divided by e²ˣ where x >= 0
        return x * (rising / (rising + xp.where(x >= 0, 2 * e * e, 2)))

"""Activation functions: stable for any argument, with second derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import UsageError
from ..variable import Array
from .exponential import exp
from .sampling import sample
from .special import erf
from .trigonometry import tanh


@primitive(
    vjp=(lambda g, out, x: g * out * (1 - out),),
    samples=lambda r: [(r(2, 3),), (20 * r(3),)],
    reference=lambda x: np.exp(-np.logaddexp(0, -x)),
    elementwise=True,
)
def sigmoid(x: Array) -> Array:
    """1 / (1 + e⁻ˣ), exact in relative terms on both sides.

    >>> import tinygrad_zoo as tz
    >>> tz.sigmoid(tz.tensor([0.0])).tolist()
    [0.5]
    """
    xp = namespace(x)
    with errstate(x):
        e = xp.exp(-xp.absolute(x))
        return xp.where(x >= 0, 1, e) / (1 + e)


@primitive(
    vjp=(lambda g, out, x, beta: g * sigmoid(beta * x),),
    samples=lambda r: [sample(r(2, 3)), sample(r(3), beta=2.0), sample(50 * r(3))],
    reference=lambda x, beta: np.logaddexp(0, beta * x) / beta,
    elementwise=True,
)
def softplus(x: Array, *, beta: float = 1.0) -> Array:
    """log(1 + e^(βx)) / β, computed as max(x, 0) + log(1 + e^(-β|x|)) / β: no threshold is needed.

    >>> import tinygrad_zoo as tz
    >>> tz.softplus(tz.tensor([-1e4, 1e4])).tolist()
    [0.0, 10000.0]
    """
    if beta <= 0:
        raise UsageError(f"softplus: expected beta > 0, got {beta}")
    xp = namespace(x)
    with errstate(x):
        return xp.maximum(x, 0) + xp.log1p(xp.exp(-beta * xp.absolute(x))) / beta


_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


def _gelu_rule(g: Any, out: Any, x: Any, approximate: str) -> Any:
    if approximate == "tanh":
        t = tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x))
        return g * 0.5 * (1 + t + x * (1 - t * t) * _TANH_SCALE * (1 + 3 * _TANH_CUBIC * x * x))
    density = exp(-0.5 * x * x) / math.sqrt(2 * math.pi)
    return g * (0.5 * (1 + erf(x / math.sqrt(2))) + x * density)


def _gelu_reference(x: Any, approximate: str) -> Any:
    from scipy.stats import norm

    if approximate == "none":
        return x * norm.cdf(x)
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


@primitive(
    vjp=(_gelu_rule,),
    samples=lambda r: [sample(r(2, 3)), sample(r(3), approximate="tanh"), sample(20 * r(3))],
    reference=_gelu_reference,
    elementwise=True,
)
def gelu(x: Array, *, approximate: str = "none") -> Array:
    """x · Φ(x) with Φ the normal distribution function, or its tanh approximation (arXiv 1606.08415).

    >>> import tinygrad_zoo as tz
    >>> tz.gelu(tz.tensor([0.0, 10.0])).tolist()
    [0.0, 10.0]
    """
    with errstate(x):
        if approximate == "none":
            return 0.5 * x * (1 + erf(x / math.sqrt(2)))
        if approximate == "tanh":
            return 0.5 * x * (1 + namespace(x).tanh(_TANH_SCALE * (x + _TANH_CUBIC * x * x * x)))
    raise UsageError(f"gelu: approximate={approximate!r}: expected 'none' or 'tanh'")


def _silu_rule(g: Any, out: Any, x: Any) -> Any:
    s = sigmoid(x)
    return g * s * (1 + x * (1 - s))


@primitive(
    vjp=(_silu_rule,),
    samples=lambda r: [(r(2, 3),), (20 * r(3),)],
    reference=lambda x: x * np.exp(-np.logaddexp(0, -x)),
    elementwise=True,
)
def silu(x: Array) -> Array:
    """x · sigmoid(x), also called swish (arXiv 1702.03118).

    >>> import tinygrad_zoo as tz
    >>> tz.silu(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return x * sigmoid(x)

"""Activation functions: stable for any argument, with second derivatives."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import fused, primitive
from ..backend import errstate, namespace, on_host
from ..errors import UsageError
from ..variable import Array
from .elementwise import erf, exp, tanh, where
from .sampling import sample


def _off_zero(x: Any) -> tuple[Any]:
    return (np.where(np.abs(x) < 0.1, x + 0.3, x),)


def _relu_backward(g: Array, out: Array, x: Array, *, needs: Any) -> list[Array]:
    """g where x > 0: by a product, three times as fast as a choice, unless that makes NaN of an infinite g."""
    flat = (found := g * (out > 0)).reshape(-1)
    if not on_host(flat) or math.isnan(flat @ flat):
        found = namespace(g).where(out > 0, g, 0)
    return [found]


@fused(
    formula=lambda x: where(x > 0, x, 0),
    backward=_relu_backward,
    samples=lambda r: [(r.nonzero(2, 3),)],
    reference=lambda x: np.maximum(x, 0),
    elementwise=True,
    repair=_off_zero,
)
def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0.

    >>> import tinygrad_zoo as tz
    >>> tz.relu(tz.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return namespace(x).maximum(x, 0)


@primitive(
    vjp=(lambda g, out, x, negative_slope: where(x > 0, g, g * negative_slope),),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), negative_slope=0.2)],
    reference=lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    elementwise=True,
    repair=_off_zero,
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope · x (its slope at 0).

    >>> import tinygrad_zoo as tz
    >>> tz.leaky_relu(tz.tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    return namespace(x).where(x > 0, x, negative_slope * x)


@primitive(
    vjp=(lambda g, out, x, alpha: where(x > 0, g, g * (out + alpha)),),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), alpha=0.5)],
    reference=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    elementwise=True,
    repair=_off_zero,
)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha · (eˣ - 1).

    >>> import tinygrad_zoo as tz
    >>> tz.elu(tz.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


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


@primitive(
    vjp=(lambda g, out, x, axis: out * (g - (g * out).sum(axis=axis, keepdims=True)),),
    samples=lambda r: [sample(r(2, 5)), sample(r(2, 3), axis=0), sample(100 * r(3))],
    reference=lambda x, axis: np.exp(x - np.logaddexp.reduce(x, axis=axis, keepdims=True)),
)
def softmax(x: Array, *, axis: int = -1) -> Array:
    """eˣ / Σ eˣ along `axis`, safe for large x.

    >>> import tinygrad_zoo as tz
    >>> tz.softmax(tz.tensor([1000.0, 1000.0])).tolist()
    [0.5, 0.5]
    """
    e = namespace(x).exp(x - x.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@primitive(
    vjp=(lambda g, out, x, axis: g - exp(out) * g.sum(axis=axis, keepdims=True),),
    samples=lambda r: [sample(r(2, 5)), sample(r(2, 3), axis=0), sample(100 * r(3))],
    reference=lambda x, axis: x - np.logaddexp.reduce(x, axis=axis, keepdims=True),
)
def log_softmax(x: Array, *, axis: int = -1) -> Array:
    """x - log Σ eˣ along `axis`, safe for large x.

    >>> import tinygrad_zoo as tz
    >>> tz.log_softmax(tz.tensor([1000.0, 0.0])).tolist()
    [0.0, -1000.0]
    """
    shifted = x - x.max(axis=axis, keepdims=True)
    xp = namespace(x)
    return shifted - xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))

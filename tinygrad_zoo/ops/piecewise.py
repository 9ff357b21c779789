"""Activation functions with a kink: steps, rectifiers, clipped lines. At the kink the slope is the published one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import ShapeError, UsageError
from ..kernels import elementwise as kernels
from ..variable import Array
from .elementwise import abs, where
from .exponential import exp
from .precision import half_in_single
from .random import check_draw, some_key, standard_uniform
from .sampling import off_zero, sample, unary_nonzero


def _off(*kinks: float) -> Callable[[Any], tuple[Any]]:
    """A repair: values nearer than 0.1 to one of these points are moved 0.15 above it."""

    def repair(x: Any) -> tuple[Any]:
        for kink in kinks:
            x = np.where(np.abs(x - kink) < 0.1, kink + 0.15, x)
        return (x,)

    return repair


# ---- thresholds
@primitive(
    vjp=(lambda g, out, x: None,),
    samples=unary_nonzero,
    reference=lambda x: np.heaviside(x, 0.0),
    elementwise=True,
    repair=off_zero,
)
def step(x: Array) -> Array:
    """1 where x > 0, else 0: a threshold unit fires or not; its derivative is 0 everywhere (McCulloch & Pitts 1943).

    >>> tz.step(tz.tensor([-1.0, 0.0, 2.0])).tolist()
    [0.0, 0.0, 1.0]
    """
    xp = namespace(x)
    return xp.sign(xp.maximum(x, 0))


@primitive(
    vjp=(lambda g, out, x, threshold, value: where(x <= threshold, 0, g),),
    samples=lambda r: [
        sample(*_off(0.5)(2 * r(2, 3)), threshold=0.5, value=2.0),
        sample(r.nonzero(3), threshold=0.0, value=0.0),
    ],
    reference=lambda x, threshold, value: np.where(x > threshold, x, value),
    elementwise=True,
    repair=_off(0.0, 0.5),
)
def threshold(x: Array, *, threshold: float, value: float) -> Array:
    """x where x > threshold, else `value`.

    >>> tz.threshold(tz.tensor([0.5, 2.0]), 1.0, -1.0).tolist()
    [-1.0, 2.0]
    """
    return namespace(x).where(x <= threshold, value, x)


@primitive(
    vjp=(lambda g, out, x, lambd: where(abs(x) <= lambd, 0, g),),
    samples=lambda r: [sample(*_off(-0.5, 0.5)(2 * r(2, 3))), sample(*_off(-1.0, 1.0)(2 * r(4)), lambd=1.0)],
    reference=lambda x, lambd: x * (np.abs(x) > lambd),
    elementwise=True,
    repair=_off(-1.0, -0.5, 0.5, 1.0),
)
def hardshrink(x: Array, *, lambd: float = 0.5) -> Array:
    """0 where |x| <= lambd, else x.

    >>> tz.hardshrink(tz.tensor([-2.0, 0.5, 1.0])).tolist()
    [-2.0, 0.0, 1.0]
    """
    xp = namespace(x)
    return xp.where(xp.absolute(x) <= lambd, 0, x)


@primitive(
    vjp=(lambda g, out, x, lambd: where(abs(x) <= lambd, 0, g),),
    samples=lambda r: [sample(*_off(-0.5, 0.5)(2 * r(2, 3))), sample(*_off(-1.0, 1.0)(2 * r(4)), lambd=1.0)],
    reference=lambda x, lambd: np.sign(x) * np.maximum(np.abs(x) - lambd, 0),
    elementwise=True,
    repair=_off(-1.0, -0.5, 0.5, 1.0),
)
def softshrink(x: Array, *, lambd: float = 0.5) -> Array:
    """x moved towards 0 by lambd, and 0 where it would cross: the proximal map of lambd·|x|.

    >>> tz.softshrink(tz.tensor([-2.0, 0.5, 1.0])).tolist()
    [-1.5, 0.0, 0.5]
    """
    if lambd < 0:
        raise UsageError(f"softshrink: expected lambd >= 0, got {lambd}")
    xp = namespace(x)
    return xp.where(xp.absolute(x) <= lambd, 0, x - lambd * xp.sign(x))


# ---- clipped lines
def _inside(g: Any, x: Any, low: float, high: float) -> Any:
    """g where low < x < high, else 0."""
    return where(x <= low, 0, where(x >= high, 0, g))


@primitive(
    vjp=(lambda g, out, x, min_val, max_val: _inside(g, x, min_val, max_val),),
    samples=lambda r: [
        sample(*_off(-1.0, 1.0)(2 * r(2, 3))),
        sample(*_off(-0.5, 2.0)(2 * r(4)), min_val=-0.5, max_val=2.0),
    ],
    reference=lambda x, min_val, max_val: np.clip(x, min_val, max_val),
    elementwise=True,
    repair=_off(-1.0, -0.5, 1.0, 2.0),
)
def hardtanh(x: Array, *, min_val: float = -1.0, max_val: float = 1.0) -> Array:
    """x limited to [min_val, max_val], with derivative 0 at both ends (`clip` passes gradients there).

    >>> tz.hardtanh(tz.tensor([-3.0, 0.5, 3.0])).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min_val > max_val:
        raise UsageError(f"hardtanh: expected min_val <= max_val, got {min_val} and {max_val}")
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, min_val), max_val)


@primitive(
    vjp=(lambda g, out, x: _inside(g / 6, x, -3, 3),),
    samples=lambda r: [_off(-3.0, 3.0)(3 * r(2, 3))],
    reference=lambda x: np.clip(x / 6 + 0.5, 0, 1),
    elementwise=True,
    repair=_off(-3.0, 3.0),
)
def hardsigmoid(x: Array) -> Array:
    """min(max(x + 3, 0), 6) / 6.

    >>> tz.hardsigmoid(tz.tensor([-9.0, 0.0, 9.0])).tolist()
    [0.0, 0.5, 1.0]
    """
    xp = namespace(x)
    return xp.minimum(xp.maximum(x + 3, 0), 6) / 6


@primitive(
    vjp=(lambda g, out, x: where(x <= -3, 0, where(x < 3, g * (x / 3 + 0.5), g)),),
    samples=lambda r: [_off(-3.0, 3.0)(3 * r(2, 3))],
    reference=lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    elementwise=True,
    repair=_off(-3.0, 3.0),
)
@half_in_single
def hardswish(x: Array) -> Array:
    """x · min(max(x + 3, 0), 6) / 6 (arXiv 1905.02244).

    >>> tz.hardswish(tz.tensor([-9.0, 0.0, 9.0])).tolist()
    [0.0, 0.0, 9.0]
    """
    xp = namespace(x)
    with errstate(x):
        return xp.where(x <= -3, 0, xp.where(x < 3, x * (x / 6 + 0.5), x))


# ---- rectifiers
@primitive(
    vjp=(lambda g, out, x: where(x > 0, g, 0),),
    backward=lambda g, out, x: kernels.pulled("relu", g, out),
    samples=lambda r: [(r.nonzero(2, 3),)],
    reference=lambda x: np.maximum(x, 0),
    elementwise=True,
    repair=off_zero,
)
def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0.

    >>> tz.relu(tz.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return namespace(x).maximum(x, 0) if (out := kernels.value("relu", x)) is None else out


@primitive(
    vjp=(lambda g, out, x: _inside(g, x, 0, 6),),
    samples=lambda r: [_off(0.0, 6.0)(r.uniform(-2, 8, 2, 3))],
    reference=lambda x: np.clip(x, 0, 6),
    elementwise=True,
    repair=_off(0.0, 6.0),
)
def relu6(x: Array) -> Array:
    """min(max(x, 0), 6), with derivative 0 at both ends (Krizhevsky 2010).

    >>> tz.relu6(tz.tensor([-1.0, 2.0, 9.0])).tolist()
    [0.0, 2.0, 6.0]
    """
    xp = namespace(x)
    return xp.minimum(xp.maximum(x, 0), 6)


@primitive(
    vjp=(lambda g, out, x: g * (2 * relu(x)),),
    samples=unary_nonzero,
    reference=lambda x: np.where(x > 0, x**2, 0),
    elementwise=True,
    repair=off_zero,
)
def relu_squared(x: Array) -> Array:
    """max(x, 0)² (arXiv 2109.08668).

    >>> tz.relu_squared(tz.tensor([-1.0, 3.0])).tolist()
    [0.0, 9.0]
    """
    return namespace(x).maximum(x, 0) ** 2


@primitive(
    vjp=(lambda g, out, x, negative_slope: where(x > 0, g, g * negative_slope),),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), negative_slope=0.2)],
    reference=lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    elementwise=True,
    repair=off_zero,
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope · x (its slope at 0).

    >>> tz.leaky_relu(tz.tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    return namespace(x).where(x > 0, x, negative_slope * x)


def _by_channel(weight: Any, x: Any) -> Any:
    """`weight` in a shape that broadcasts over `x`: its entries are those of axis 1."""
    return weight.reshape((-1,) + (1,) * (x.ndim - 2) if x.ndim > 1 else ())


def _prelu_weight_rule(g: Any, out: Any, x: Any, weight: Any) -> Any:
    over = tuple(i for i in range(x.ndim) if i != 1 or weight.size == 1)
    return where(x > 0, 0, g * x).sum(axis=over).reshape(weight.shape)


@primitive(
    vjp=(lambda g, out, x, weight: where(x > 0, g, g * _by_channel(weight, x)), _prelu_weight_rule),
    samples=lambda r: [
        (r.nonzero(2, 3), r(3)),
        (r.nonzero(2, 3, 2), r(3)),
        (r.nonzero(2, 3), r(1)),
        (r.nonzero(3), r()),
        (r.nonzero(), r(1)),
    ],
    reference=lambda x, weight: (
        np.maximum(x, 0) + weight.reshape(-1, *(1,) * (x.ndim - 2)) * np.minimum(x, 0)
        if x.ndim > 1
        else np.maximum(x, 0) + weight.item() * np.minimum(x, 0)
    ),
    repair=lambda x, weight: (*off_zero(x), weight),
)
def prelu(x: Array, weight: Array) -> Array:
    """x where x > 0, else weight · x, the weight one number or one for each index of axis 1 (arXiv 1502.01852).

    >>> tz.prelu(tz.tensor([[-1.0, -1.0]]), tz.tensor([0.25, 0.5])).tolist()
    [[-0.25, -0.5]]
    """
    channels = x.shape[1] if x.ndim > 1 else 1
    if weight.ndim > 1 or weight.size not in (1, channels):
        raise ShapeError(
            f"prelu: weight has shape {weight.shape}; x, of shape {x.shape}, takes one number or {channels}, of axis 1"
        )
    with errstate(x):
        return namespace(x).where(x > 0, x, _by_channel(weight, x) * x)


def _rrelu_slope(x: Any, key: Any, lower: float, upper: float, training: bool) -> Any:
    """The slope of each value below 0."""
    if not training:
        return (lower + upper) / 2
    return lower + (upper - lower) * standard_uniform(key, shape=x.shape, dtype=x.dtype)


def _rrelu_reference(x: Any, key: Any, lower: float, upper: float, training: bool) -> Any:
    below = np.full(x.shape, (lower + upper) / 2)
    if training:
        drawn = np.array(standard_uniform(key, shape=x.shape, dtype="float64").ravel().tolist()).reshape(x.shape)
        below = (1 - drawn) * lower + drawn * upper
    return np.maximum(x, 0) + below * np.minimum(x, 0)


@primitive(
    vjp=(
        lambda g, out, x, key, **settings: where(x > 0, g, g * _rrelu_slope(x, key, **settings)),
        lambda g, out, x, key, **settings: None,
    ),
    samples=lambda r: [
        sample(r.nonzero(2, 3), None),
        sample(r.nonzero(3), None, lower=0.1, upper=0.2),
        sample(r.nonzero(3, 2), some_key(r), training=True),
        sample(r.nonzero(5), some_key(r), lower=0.0, upper=1.0, training=True),
    ],
    reference=_rrelu_reference,
)
def rrelu(
    x: Array, key: Array | None = None, *, lower: float = 1 / 8, upper: float = 1 / 3, training: bool = False
) -> Array:
    """x where x > 0, else a · x: in training each a is uniform in [lower, upper), else their mean (arXiv 1505.00853).

    Which numbers are drawn is a pure function of the key.

    >>> key = tz.draw_key(np.random.default_rng(0))
    >>> drawn = tz.rrelu(-tz.ones(100), key, training=True).numpy()
    >>> bool(((-1 / 3 < drawn) & (drawn <= -1 / 8)).all()), tz.rrelu(-tz.ones(1), lower=0.0, upper=0.5).tolist()
    (True, [-0.25])
    """
    if lower > upper:
        raise UsageError(f"rrelu: expected lower <= upper, got {lower} and {upper}")
    if training or key is not None:
        check_draw("rrelu", key, x.shape, x.dtype)
    return namespace(x).where(x > 0, x, x * _rrelu_slope(x, key, lower, upper, training))


# ---- exponential units
@primitive(
    vjp=(lambda g, out, x, alpha: where(x > 0, g, g * (out + alpha)),),
    backward=lambda g, out, x, alpha: kernels.pulled("elu", g, x, alpha, 1.0),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), alpha=0.5)],
    reference=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    elementwise=True,
    repair=off_zero,
)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha · (eˣ - 1) (arXiv 1511.07289).

    >>> tz.elu(tz.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    if (out := kernels.value("elu", x, alpha, 1.0)) is not None:
        return out
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


SELU_ALPHA = 1.6732632423543772848170429916717  # with these two, N(0, 1) in means mean 0 and variance 1 out
SELU_SCALE = 1.0507009873554804934193349852946


@primitive(
    vjp=(lambda g, out, x: where(x > 0, SELU_SCALE * g, g * (out + SELU_SCALE * SELU_ALPHA)),),
    backward=lambda g, out, x: kernels.pulled("elu", g, x, SELU_ALPHA, SELU_SCALE),
    samples=unary_nonzero,
    reference=lambda x: np.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * np.expm1(x)),
    elementwise=True,
    repair=off_zero,
)
def selu(x: Array) -> Array:
    """λ · elu(x, α) with the λ and α that make mean 0 and variance 1 a fixed point (arXiv 1706.02515).

    >>> tz.selu(tz.tensor([-1e4, 1.0], "float64")).tolist()
    [-1.7580993408473766, 1.0507009873554805]
    """
    if (out := kernels.value("elu", x, SELU_ALPHA, SELU_SCALE)) is not None:
        return out
    xp = namespace(x)
    return xp.where(x > 0, SELU_SCALE * x, SELU_SCALE * SELU_ALPHA * xp.expm1(xp.minimum(x, 0)))


@primitive(
    vjp=(lambda g, out, x, alpha: where(x > 0, g, g * exp(where(x > 0, 0, x) / alpha)),),
    backward=lambda g, out, x, alpha: kernels.pulled("celu", g, x, alpha) if alpha > 0 else None,
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), alpha=0.5)],
    reference=lambda x, alpha: np.maximum(x, 0) + np.minimum(0, alpha * (np.exp(x / alpha) - 1)),
    elementwise=True,
    repair=off_zero,
)
def celu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha · (exp(x / alpha) - 1): its slope is continuous for every alpha (arXiv 1704.07483).

    >>> tz.celu(tz.tensor([-1e4, 2.0]), alpha=0.5).tolist()
    [-0.5, 2.0]
    """
    if alpha == 0:
        raise UsageError("celu: expected alpha other than 0")
    if alpha > 0 and (out := kernels.value("celu", x, alpha)) is not None:
        return out
    xp = namespace(x)
    with errstate(x):
        return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0) / alpha))

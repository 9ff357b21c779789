"""Smooth stand-ins for functions whose derivative is 0 or missing: the larger `beta`, the nearer they are.

`beta`, the inverse of a temperature, has no default: at 1 none of them is near. None overflows, however large it is.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array, Variable
from .activation import sigmoid, softplus
from .axes import Axis, along, axes_of, axis_of, reduced
from .composite import composite
from .elementwise import where
from .precision import half_in_single, narrowed, widened
from .reduction import logsumexp
from .rounding import floor
from .sampling import Draw, sample
from .softmax import softmax, softmax_rule
from .trigonometry import tanh

_FAR = 40.0  # σ(-40) < 5e-18: a step that far away is 0 or 1
_NEWTON_STEPS = 8  # four or five reach the last bits


def _check(op: str, beta: float, *, signed: bool = False) -> None:
    if not (math.isfinite(beta) and (beta != 0 if signed else beta > 0)):
        raise UsageError(f"{op}: expected a finite beta {'other than 0' if signed else '> 0'}, got {beta!r}")


def _values(x: Any) -> Any:
    return x.data if isinstance(x, Variable) else x


def _shifted(op: str, x: Any, beta: float, axis: Axis) -> tuple[Any, Any]:
    """β (x - peak) <= 0 and the peak, the largest x along `axis` (the smallest for β < 0), kept with size 1."""
    _check(op, beta, signed=True)
    axes, values = axes_of(x, axis), _values(x)
    if not math.prod(n for d, n in enumerate(x.shape) if d in axes):
        raise ShapeError(f"{op}: the shape {x.shape} has no values along axis={axis}")
    peak = values.max(axis=axes, keepdims=True) if beta > 0 else values.min(axis=axes, keepdims=True)
    xp = namespace(values)
    peak = xp.where(xp.isfinite(peak), peak, xp.zeros_like(peak))
    return beta * (x - peak), peak


def _weights(x: Any, beta: float, axis: int) -> Any:
    """softmax(β x), for references."""
    from scipy.special import softmax as reference

    return reference(beta * x, axis=axis)


# ---- the largest of several
def _max_reference(x: Any, beta: float, axis: Axis, keepdims: bool) -> Any:
    from scipy.special import logsumexp as reference

    return reference(beta * x, axis=axis, keepdims=keepdims) / beta


@composite(
    samples=lambda r: [
        sample(r(2, 3), beta=2.0),
        sample(r(2, 3), beta=-3.0, axis=0, keepdims=True),
        sample(100 * r(2, 3, 2), beta=0.5, axis=(0, -1)),
        sample(r(), beta=4.0, axis=-1),
    ],
    reference=_max_reference,
)
def smooth_max(x: Array, *, beta: float, axis: Axis = None, keepdims: bool = False) -> Any:
    """log(Σ e^(βx)) / β: above the largest of n values by at most log(n) / β; β < 0 gives a smooth minimum.

    Its gradient is softmax(βx); at β = 1 it is logsumexp. Of two values there are others, which stay below the larger:
    b + gelu(c (a - b)) / c = ½ (a + b + (a - b) erf(μ (a - b))) with c = √2 μ, and b + swish(a - b, β), which is
    (a - b) σ(β (a - b)) + b.

    >>> tz.smooth_max(tz.tensor([1000.0, 999.0]), beta=1e6).item()
    1000.0
    >>> tz.smooth_max(tz.tensor([3.0, 1.0]), beta=-100.0).item()
    1.0
    """
    z, peak = _shifted("smooth_max", x, beta, axis)
    shape = reduced(x, axis, keepdims)
    return (logsumexp(z, axis=axis) / beta).reshape(shape) + peak.reshape(shape)


@primitive(
    vjp=(lambda g, out, x, beta, axis: beta * softmax_rule(widened(g), widened(out), axis),),
    samples=lambda r: [sample(r(2, 3), beta=2.0), sample(r(2, 3), beta=-3.0, axis=0), sample(100 * r(3), beta=0.1)],
    reference=_weights,
)
def smooth_onehot(x: Array, *, beta: float, axis: int = -1) -> Any:
    """softmax(βx) along `axis`: near the one-hot vector of the argmax; of the argmin for β < 0.

    >>> tz.smooth_onehot(tz.tensor([1.0, 3.0, 2.0]), beta=1e6).tolist()
    [0.0, 1.0, 0.0]
    """
    return narrowed(softmax(_shifted("smooth_onehot", widened(x), beta, axis)[0], axis=axis), x)


def _argmax_reference(x: Any, beta: float, axis: int, keepdims: bool) -> Any:
    index = np.expand_dims(np.arange(x.shape[axis]), tuple(range(1, x.ndim - axis % x.ndim)))
    return np.sum(index * _weights(x, beta, axis), axis, keepdims=keepdims)


def _index(x: Array, axis: int) -> Array:
    """0, 1, … along `axis`, in the dtype of x."""
    after = x.ndim - 1 - axis_of(x, axis)
    return namespace(x).arange(x.shape[axis], dtype=x.dtype).reshape((-1, *(1,) * after))


def _argmax_rule(g: Any, out: Any, x: Any, beta: float, axis: int, keepdims: bool) -> Any:
    x, kept = widened(x), reduced(x, axis, keepdims=True)
    g, out = widened(g).reshape(kept), widened(out).reshape(kept)
    return beta * g * smooth_onehot(x, beta=beta, axis=axis) * (_index(_values(x), axis) - out)


@primitive(
    vjp=(_argmax_rule,),
    samples=lambda r: [
        sample(r(2, 3), beta=2.0),
        sample(r(2, 3), beta=-3.0, axis=0, keepdims=True),
        sample(100 * r(3), beta=0.1),
    ],
    reference=_argmax_reference,
)
def smooth_argmax(x: Array, *, beta: float, axis: int = -1, keepdims: bool = False) -> Any:
    """Σ i softmax(βx)_i along `axis`, a real number near the index of the largest value.

    Warning: it is a mean of indices. Scores with two equal peaks give the middle of them, where none of the two is,
    and no β helps; nor does β help where the peaks differ by less than about 1 / β.

    >>> tz.smooth_argmax(tz.tensor([0.0, 9.0, 0.0, 0.0]), beta=10.0).item()
    1.0
    >>> tz.smooth_argmax(tz.tensor([9.0, 0.0, 0.0, 0.0, 9.0]), beta=10.0).item()
    2.0
    """
    if not x.ndim:
        raise ShapeError("smooth_argmax: expected an array with an axis, got a scalar")
    weights = softmax(_shifted("smooth_argmax", widened(x), beta, axis)[0], axis=axis)
    return narrowed((weights * _index(weights, axis)).sum(axis=axis, keepdims=keepdims), x)


# ---- the k largest
def _places(z: Any, k: int, axis: int) -> Any:
    """σ(z - t) with the t for which they sum to k, 0 < k < n: by Newton's steps, kept in the interval that holds it.

    The equation is log Σ σ(z - t) over the n - k others = log Σ σ(t - z) over the k largest, what these lack: small
    numbers, of which a sum near k would lose the digits. Between the two groups the slope of its sides is 1 to 2.
    """
    xp, n = namespace(z), z.shape[axis]
    far = float(np.finfo(z.dtype).max) / 4  # so that what is infinite has a middle, too
    z = z.clip(-far, far)
    ordered = xp.sort(z, axis=axis)
    within, beyond = ordered[along(axis, slice(n - k, n))], ordered[along(axis, slice(0, n - k))]
    middle = within.min(axis=axis, keepdims=True) / 2 + beyond.max(axis=axis, keepdims=True) / 2
    within, beyond = ((part - middle).clip(-_FAR, _FAR) for part in (within, beyond))
    t = xp.zeros_like(middle)
    low, high = t - math.log(n) - 1 - _FAR, t + math.log(n) + 1 + _FAR
    for _ in range(_NEWTON_STEPS):
        more, less = _sigmoid(beyond - t), _sigmoid(t - within)
        has, lacks = more.sum(axis=axis, keepdims=True), less.sum(axis=axis, keepdims=True)
        above = has > lacks
        low, high = xp.where(above, t, low), xp.where(above, high, t)
        slope = (more * (1 - more)).sum(axis=axis, keepdims=True) / has
        slope = slope + (less * (1 - less)).sum(axis=axis, keepdims=True) / lacks
        t = xp.minimum(xp.maximum(t + (xp.log(has) - xp.log(lacks)) / slope, low), high)
    return sigmoid(z - middle - t)


def _sigmoid(x: Any) -> Any:
    """Of |x| below 100, where nothing overflows: fewer steps than the op takes."""
    return 1 / (1 + namespace(x).exp(-x))


def _topk_rule(g: Any, out: Any, x: Any, k: int, beta: float, axis: int) -> Any:
    """Of σ(βx - t): the threshold moves so that the sum stays k."""
    slope = out * (1 - out)
    total = slope.sum(axis=axis, keepdims=True)
    mean = (slope * g).sum(axis=axis, keepdims=True) / where(total == 0, 1, total)
    return beta * slope * (g - mean)


def _topk_reference(x: Any, k: int, beta: float, axis: int) -> Any:
    from scipy.optimize import brentq

    def of_line(line: Any) -> Any:
        if k in (0, len(line)):
            return np.full(len(line), k / len(line))
        z = beta * line
        spread = np.ptp(z) + len(line)
        t = brentq(lambda t: np.sum(1 / (1 + np.exp(t - z))) - k, z.min() - spread, z.max() + spread, xtol=1e-14)
        return 1 / (1 + np.exp(t - z))

    return np.apply_along_axis(of_line, axis, x)


def _topk_samples(r: Draw) -> list[Any]:
    return [
        sample(r(2, 4), k=2, beta=2.0),
        sample(r(3, 2), k=1, beta=5.0, axis=0),
        sample(r(3), k=3, beta=1.0),
        sample(r(3), k=0, beta=1.0),
    ]


@primitive(vjp=(_topk_rule,), samples=_topk_samples, reference=_topk_reference)
@half_in_single
def smooth_topk(x: Array, *, k: int, beta: float, axis: int = -1) -> Array:
    """σ(βx - t) along `axis`, with the t for which these sum to k: near 1 for the k largest and near 0 for the others.

    The entropic optimal transport of the values to k places and n - k others (arXiv 2002.06504, ε = 2 / β). Values
    that tie for the last places share them. `x * smooth_topk(x, k=k, beta=beta)` keeps the k largest values.

    >>> tz.smooth_topk(tz.tensor([1.0, 4.0, 2.0, 3.0]), k=2, beta=100.0).round(decimals=6).tolist()
    [0.0, 1.0, 0.0, 1.0]
    >>> tz.smooth_topk(tz.tensor([5.0, 5.0, 1.0]), k=1, beta=100.0).round(decimals=6).tolist()
    [0.5, 0.5, 0.0]
    """
    _check("smooth_topk", beta)
    k = operator.index(k)
    if not x.ndim:
        raise ShapeError("smooth_topk: expected an array with an axis, got a scalar")
    axis = axis_of(x, axis)
    if not 0 <= k <= x.shape[axis]:
        raise UsageError(f"smooth_topk: expected k from 0 to the {x.shape[axis]} values of axis {axis}, got {k}")
    x = x if x.dtype.kind == "f" else x.astype(np.float64)
    if k in (0, x.shape[axis]):
        return namespace(x).full_like(x, 1 if k else 0)
    return _places(_shifted("smooth_topk", x, beta, axis)[0], k, axis)


# ---- of one value
@composite(
    samples=lambda r: [sample(r(2, 3), beta=2.0), sample(20 * r(3), beta=0.5)],
    reference=lambda x, beta: np.logaddexp(beta * x, -beta * x) / beta,
    elementwise=True,
)
def smooth_abs(x: Array, *, beta: float) -> Any:
    """log(e^(βx) + e^(-βx)) / β, the smooth maximum of x and -x: above |x| by at most log(2) / β.

    >>> tz.smooth_abs(tz.tensor([-3.0, 0.0, 1e4]), beta=100.0).round(decimals=4).tolist()
    [3.0, 0.006899999920278788, 10000.0]
    """
    _check("smooth_abs", beta)
    return where(x >= 0, x + softplus(-2 * x, beta=beta), softplus(2 * x, beta=beta) - x)


@composite(
    samples=lambda r: [sample(r(2, 3), beta=2.0), sample(20 * r(3), beta=0.5)],
    reference=lambda x, beta: np.tanh(beta * x),
    elementwise=True,
)
def smooth_sign(x: Array, *, beta: float) -> Any:
    """tanh(βx) = 2 σ(2βx) - 1, the derivative of `smooth_abs`.

    >>> tz.smooth_sign(tz.tensor([-3.0, 0.0, 3.0]), beta=100.0).tolist()
    [-1.0, 0.0, 1.0]
    """
    _check("smooth_sign", beta)
    return tanh(beta * x)


def _floor_reference(x: Any, beta: float) -> Any:
    from scipy.special import expit

    steps = np.arange(-500, 501)
    return np.sum(expit(beta * (np.asarray(x)[..., None] - steps)) - (steps <= 0), axis=-1)


def _stairs(x: Any, beta: float) -> Any:
    """Σ over the whole numbers n of σ(β (x - n)), less the count of those up to 0: only steps that are near count."""
    whole = floor(_values(x))
    part = widened(x - whole)  # in [0, 1)
    steps = math.ceil(_FAR / beta)
    above = [sigmoid(beta * (part - n)) for n in range(1, steps + 1)]
    below = [sigmoid(-beta * (part + n)) for n in range(steps + 1)]
    return whole + (sum(above[1:], above[0]) - sum(below[1:], below[0]))


def _check_stairs(op: str, beta: float) -> None:
    if not (math.isfinite(beta) and beta >= 1):
        raise UsageError(f"{op}: expected a finite beta >= 1 (below, the stairs are a ramp), got {beta!r}")


@composite(
    samples=lambda r: [sample(r(2, 3), beta=10.0), sample(20 * r(3), beta=40.0)],
    reference=_floor_reference,
    elementwise=True,
)
def smooth_floor(x: Array, *, beta: float) -> Any:
    """Stairs of sigmoids, Σₙ σ(β (x - n)): ⌊x⌋ but near whole numbers, where they go through the middle of the step.

    >>> tz.smooth_floor(tz.tensor([1.5, 2.0, -0.3]), beta=100.0).tolist()
    [1.0, 1.5, -1.0]
    """
    _check_stairs("smooth_floor", beta)
    return _stairs(x, beta)


@composite(
    samples=lambda r: [sample(r(2, 3), beta=10.0), sample(20 * r(3), beta=40.0)],
    reference=lambda x, beta: _floor_reference(x + 0.5, beta),
    elementwise=True,
)
def smooth_round(x: Array, *, beta: float) -> Any:
    """Stairs of sigmoids, Σₙ σ(β (x + ½ - n)): the nearest whole number but near halves, where they go through x.

    >>> tz.smooth_round(tz.tensor([1.4, 1.5, -0.7]), beta=100.0).round(decimals=3).tolist()
    [1.0, 1.5, -1.0]
    """
    _check_stairs("smooth_round", beta)
    return _stairs(x + 0.5, beta)

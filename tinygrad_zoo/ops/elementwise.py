"""Arithmetic and elementary functions, one value at a time; two arrays broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import UsageError
from ..variable import Array
from .comparison import isfinite, isnan, logical_and, logical_or
from .precision import half_in_single
from .rounding import off_multiples, quotient_to_zero
from .sampling import off_zero, sample, unary, unary_nonzero


@primitive(
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: g),
    samples=lambda r: [(r(2, 3), r(3)), (r(2, 1), r(1, 3)), (r(2), 2.0)],
    reference=np.add,
    elementwise=True,
)
def add(x: Array, y: Array) -> Array:
    """x + y

    >>> (tz.tensor([1.0, 2.0]) + 1).tolist()
    [2.0, 3.0]
    """
    return x + y


@primitive(
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -g),
    samples=lambda r: [(r(2, 3), r(3)), (r(2, 1), r(1, 3)), (2.0, r(2))],
    reference=np.subtract,
    elementwise=True,
)
def sub(x: Array, y: Array) -> Array:
    """x - y

    >>> (1 - tz.tensor([1.0, 2.0])).tolist()
    [0.0, -1.0]
    """
    return x - y


@primitive(
    vjp=(lambda g, out, x, y: g * y, lambda g, out, x, y: g * x),
    samples=lambda r: [(r(2, 3), r(3)), (r(2, 1), r(1, 3)), (r(2), 2.0)],
    reference=np.multiply,
    elementwise=True,
)
def mul(x: Array, y: Array) -> Array:
    """x * y

    >>> (tz.tensor([1.0, 2.0]) * 3).tolist()
    [3.0, 6.0]
    """
    return x * y


def _divided(x: Any, y: Any, rounding_mode: str | None) -> Any:
    quotient = x / y
    return quotient if rounding_mode is None else getattr(np, rounding_mode)(quotient)


@primitive(
    vjp=(
        lambda g, out, x, y, rounding_mode: None if rounding_mode else g / y,
        lambda g, out, x, y, rounding_mode: None if rounding_mode else -(g * out / y),
    ),
    samples=lambda r: [
        (r(2, 3), r.nonzero(3)),
        (r(2, 1), r.nonzero(1, 3)),
        (1.0, r.nonzero(2)),
        *(sample(*off_multiples(r(2, 3), r(3)), rounding_mode=mode) for mode in ("trunc", "floor")),
    ],
    reference=_divided,
    elementwise=True,
    repair=off_multiples,
)
def div(x: Array, y: Array, *, rounding_mode: str | None = None) -> Array:
    """x / y, as IEEE 754 has it: x / 0 is ±inf, 0 / 0 is NaN; rounded towards 0 ('trunc') or down ('floor').

    >>> (tz.tensor([1.0, 2.0]) / 2).tolist(), tz.div(tz.tensor([-7.0]), 2, rounding_mode="trunc").tolist()
    ([0.5, 1.0], [-3.0])
    """
    with errstate(x):
        if rounding_mode is None:
            return x / y
        if rounding_mode == "trunc":
            return quotient_to_zero(x, y)
        if rounding_mode == "floor":
            return namespace(x, y).floor_divide(x, y)
    raise UsageError(f"div: rounding_mode={rounding_mode!r}: expected None, 'trunc' or 'floor'")


@primitive(vjp=(lambda g, out, x: -g,), samples=lambda r: [(r(2, 3),)], reference=np.negative, elementwise=True)
def neg(x: Array) -> Array:
    """-x

    >>> (-tz.tensor([1.0, -2.0])).tolist()
    [-1.0, 2.0]
    """
    return -x


@primitive(
    vjp=(lambda g, out, x: g * sign(x),),
    samples=unary_nonzero,
    reference=np.abs,
    elementwise=True,
    repair=off_zero,
)
def abs(x: Array) -> Array:
    """abs(x), with derivative 0 at 0.

    >>> tz.abs(tz.tensor([1.0, -2.0])).tolist()
    [1.0, 2.0]
    """
    return namespace(x).absolute(x)


@primitive(
    vjp=(lambda g, out, x: None,),
    samples=unary_nonzero,
    reference=np.sign,
    elementwise=True,
    repair=off_zero,
)
def sign(x: Array) -> Array:
    """-1, 0 or 1; its derivative is 0 everywhere.

    >>> tz.sign(tz.tensor([3.0, 0.0, -2.0])).tolist()
    [1.0, 0.0, -1.0]
    """
    return namespace(x).sign(x)


def _off_ties(x: Any, y: Any) -> tuple[Any, Any]:
    return np.round(5 * x) / 5, np.round(5 * y) / 5 + 0.1


@primitive(
    vjp=(
        lambda g, out, x, y: where(x > y, g, where(x == y, g / 2, 0)),
        lambda g, out, x, y: where(y > x, g, where(x == y, g / 2, 0)),
    ),
    samples=lambda r: [(r.uniform(1, 2, 2, 3), r.uniform(-1, 0.5, 3)), (r.uniform(-2, -1, 3), r.uniform(0, 1, 2, 3))],
    reference=np.maximum,
    elementwise=True,
    repair=_off_ties,
)
def maximum(x: Array, y: Array) -> Array:
    """The larger of the two; at a tie each gets half of the gradient.

    >>> tz.maximum(tz.tensor([1.0, 5.0]), 2).tolist()
    [2.0, 5.0]
    """
    return namespace(x, y).maximum(x, y)


@primitive(
    vjp=(
        lambda g, out, x, y: where(x < y, g, where(x == y, g / 2, 0)),
        lambda g, out, x, y: where(y < x, g, where(x == y, g / 2, 0)),
    ),
    samples=lambda r: [(r.uniform(1, 2, 2, 3), r.uniform(-1, 0.5, 3)), (r.uniform(-2, -1, 3), r.uniform(0, 1, 2, 3))],
    reference=np.minimum,
    elementwise=True,
    repair=_off_ties,
)
def minimum(x: Array, y: Array) -> Array:
    """The smaller of the two; at a tie each gets half of the gradient.

    >>> tz.minimum(tz.tensor([1.0, 5.0]), 2).tolist()
    [1.0, 2.0]
    """
    return namespace(x, y).minimum(x, y)


@primitive(
    vjp=(
        lambda g, out, condition, x, y: None,
        lambda g, out, condition, x, y: where(condition, g, 0),
        lambda g, out, condition, x, y: where(condition, 0, g),
    ),
    samples=lambda r: [(r.boolean(2, 3), r(2, 3), r(3)), (r.boolean(3), r(2, 1), 0.0)],
    reference=np.where,
    elementwise=True,
    repair=lambda condition, x, y: (condition > 0, x, y),
)
def where(condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, else y. The branch not taken sends no gradient, and no NaN.

    >>> tz.where(tz.tensor([True, False]), tz.tensor([1.0, 2.0]), 0).tolist()
    [1.0, 0.0]
    """
    return namespace(condition, x, y).where(condition, x, y)


def quotient(x: Any, y: Any, hole: Any) -> Any:
    """x / y, but 0 in the hole, where y may be 0: for rules."""
    return where(hole, 0, x / where(hole, 1, y))


def _inside(x: Any, min: Any, max: Any) -> Any:
    """Whether min <= x <= max, of the bounds that are given."""
    if min is None or max is None:
        return x <= max if min is None else x >= min
    return logical_and(x >= min, x <= max)


def _off_bounds(x: Any, min: Any, max: Any) -> tuple[Any, Any, Any]:
    return np.round(x, 1) + 0.02, np.round(min, 1) - 0.02, np.round(max, 1) + 0.05


@primitive(
    vjp=(
        lambda g, out, x, min, max: where(_inside(x, min, max), g, 0),
        lambda g, out, x, min, max: where(x < min if max is None else logical_and(x < min, min < max), g, 0),
        lambda g, out, x, min, max: where(x > max if min is None else logical_or(x > max, max < min), g, 0),
    ),
    samples=lambda r: [
        (r.distinct(2, 3), -0.25, 0.25),
        (r.distinct(4), 0.05),
        (r.distinct(4), None, 0.05),
        _off_bounds(r(3, 4), r(4) - 0.5, r(3, 1) + 0.5),
        (*_off_bounds(r(6), r(6), r(1))[:2], None),
    ],
    reference=lambda x, min, max: np.clip(x, min, max),
    elementwise=True,
    repair=_off_bounds,
)
def clip(x: Array, min: Array | None = None, max: Array | None = None) -> Array:
    """x limited to [min, max], numbers or arrays; max wins where they cross.

    The gradient passes inside and on the bounds, else goes to the bound.

    >>> tz.clip(tz.tensor([-2.0, 0.5, 2.0]), -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise UsageError("clip: expected a min, a max or both")
    if not any(hasattr(bound, "dtype") for bound in (min, max)) and hasattr(x, "dtype"):
        return x.clip(min, max)
    xp = namespace(x, min, max)
    out = x if min is None else xp.maximum(x, min)
    return out if max is None else xp.minimum(out, max)


clamp = clip


@primitive(
    vjp=(lambda g, out, x, nan, posinf, neginf: where(isfinite(x), g, 0),),
    samples=lambda r: [sample(r(2, 3)), sample(r(3), nan=1.0, posinf=2.0, neginf=-2.0)],
    reference=lambda x, nan, posinf, neginf: np.nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf),
    elementwise=True,
)
def nan_to_num(x: Array, *, nan: float = 0.0, posinf: float | None = None, neginf: float | None = None) -> Array:
    """x with numbers in place of NaN, inf and -inf: by default 0 and the largest and least of its dtype.

    >>> tz.nan_to_num(tz.tensor([1.0, float("nan"), float("inf")]), posinf=9.0).tolist()
    [1.0, 0.0, 9.0]
    """
    return namespace(x).nan_to_num(x, nan=nan, posinf=posinf, neginf=neginf)


# ---- of two and three arrays
@primitive(
    vjp=(lambda g, out, x, y: g * sign(x) * sign(out), lambda g, out, x, y: None),
    samples=lambda r: [(r.nonzero(2, 3), r.nonzero(3)), (r.nonzero(2), -0.0)],
    reference=np.copysign,
    elementwise=True,
    repair=lambda x, y: (*off_zero(x), *off_zero(y)),
)
def copysign(x: Array, y: Array) -> Array:
    """The size of x with the sign of y, that of a zero included; the derivative is 0 at x = 0.

    >>> tz.copysign(tz.tensor([1.0, -2.0]), -0.0).tolist()
    [-1.0, -2.0]
    """
    return namespace(x, y).copysign(x, y)


@primitive(
    vjp=(lambda g, out, x, values: None, lambda g, out, x, values: where(x == 0, g, 0)),
    samples=lambda r: [((r.integers(3, 3, 4) - 1).astype("int8"), r(4)), (r.nonzero(2, 3), r(3)), (r.boolean(9), r(9))],
    reference=np.heaviside,
    elementwise=True,
    repair=lambda x, values: (*off_zero(x), values),
)
def heaviside(x: Array, values: Array) -> Array:
    """0 where x < 0, `values` where x = 0, 1 where x > 0.

    >>> tz.heaviside(tz.tensor([-2.0, 0.0, 2.0]), 0.5).tolist()
    [0.0, 0.5, 1.0]
    """
    return namespace(x, values).heaviside(x, values)


def _apart(r: Any) -> list[Any]:
    """Pairs without ties, of which either is now the larger."""
    return [_off_ties(r(2, 3), r(3)), _off_ties(r(3, 1), r(1, 3))]


@primitive(
    vjp=(
        lambda g, out, x, y: where(logical_or(x >= y, isnan(y)), g, 0),
        lambda g, out, x, y: where(logical_or(x >= y, isnan(y)), 0, g),
    ),
    samples=_apart,
    reference=np.fmax,
    elementwise=True,
    repair=_off_ties,
)
def fmax(x: Array, y: Array) -> Array:
    """The larger of the two, or the one that is no NaN; at a tie x gets the gradient.

    >>> tz.fmax(tz.tensor([1.0, float("nan")]), 0).tolist()
    [1.0, 0.0]
    """
    return namespace(x, y).fmax(x, y)


@primitive(
    vjp=(
        lambda g, out, x, y: where(logical_or(x <= y, isnan(y)), g, 0),
        lambda g, out, x, y: where(logical_or(x <= y, isnan(y)), 0, g),
    ),
    samples=_apart,
    reference=np.fmin,
    elementwise=True,
    repair=_off_ties,
)
def fmin(x: Array, y: Array) -> Array:
    """The smaller of the two, or the one that is no NaN; at a tie x gets the gradient.

    >>> tz.fmin(tz.tensor([1.0, float("nan")]), 2).tolist()
    [1.0, 2.0]
    """
    return namespace(x, y).fmin(x, y)


@primitive(
    vjp=(
        lambda g, out, input, end, weight: g * (1 - weight),
        lambda g, out, input, end, weight: g * weight,
        lambda g, out, input, end, weight: g * (end - input),
    ),
    samples=lambda r: [(r(2, 3), r(3), r(2, 1)), (r(3), r(3), 0.3), (r(3), r(3), 0.8)],
    reference=lambda input, end, weight: (1 - weight) * input + weight * end,
    elementwise=True,
)
@half_in_single
def lerp(input: Array, end: Array, weight: Array) -> Array:
    """input + weight · (end - input), which is `end` itself at weight 1.

    >>> tz.lerp(tz.tensor([0.0, 1.0]), tz.tensor([4.0, 3.0]), 0.25).tolist()
    [1.0, 1.5]
    """
    with errstate(input):
        way = end - input
        if isinstance(weight, (int, float)):
            return input + weight * way if weight < 0.5 else end - (1 - weight) * way
        return namespace(weight).where(weight < 0.5, input + weight * way, end - (1 - weight) * way)


@primitive(
    vjp=(
        lambda g, out, input, tensor1, tensor2, value: g,
        lambda g, out, input, tensor1, tensor2, value: g * (value * tensor2),
        lambda g, out, input, tensor1, tensor2, value: g * (value * tensor1),
    ),
    samples=lambda r: [sample(r(2, 3), r(3), r(2, 1)), sample(r(3), r(3), r(3), value=0.3)],
    reference=lambda input, tensor1, tensor2, value: input + value * tensor1 * tensor2,
    elementwise=True,
)
@half_in_single
def addcmul(input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """input + value · tensor1 · tensor2

    >>> tz.addcmul(tz.tensor([1.0]), tz.tensor([2.0]), tz.tensor([3.0]), value=0.5).tolist()
    [4.0]
    """
    return input + value * tensor1 * tensor2


@primitive(
    vjp=(
        lambda g, out, input, tensor1, tensor2, value: g,
        lambda g, out, input, tensor1, tensor2, value: g * (value / tensor2),
        lambda g, out, input, tensor1, tensor2, value: -(g * (value * (tensor1 / tensor2 / tensor2))),
    ),
    samples=lambda r: [sample(r(2, 3), r(3), r.nonzero(2, 1)), sample(r(3), r(3), r.nonzero(3), value=0.3)],
    reference=lambda input, tensor1, tensor2, value: input + value * tensor1 / tensor2,
    elementwise=True,
    repair=lambda input, tensor1, tensor2: (input, tensor1, *off_zero(tensor2)),
)
@half_in_single
def addcdiv(input: Array, tensor1: Array, tensor2: Array, *, value: float = 1) -> Array:
    """input + value · tensor1 / tensor2

    >>> tz.addcdiv(tz.tensor([1.0]), tz.tensor([2.0]), tz.tensor([4.0]), value=2).tolist()
    [2.0]
    """
    with errstate(input):
        return input + value * tensor1 / tensor2


@primitive(
    vjp=(lambda g, out, x, dtype: g,),
    samples=lambda r: [sample(r(2, 3), dtype="float64")],
    reference=lambda x, dtype: np.array(x, dtype=dtype),
    dtypes=("float64",),
)
def astype(x: Array, *, dtype: Any) -> Array:
    """A copy of x in another dtype; the gradient comes back in x's own.

    >>> tz.astype(tz.tensor([1.7]), "int64").tolist()
    [1]
    """
    return x.astype(dtype)


@primitive(vjp=(lambda g, out, x: g,), samples=unary, reference=np.array)
def copy(x: Array) -> Array:
    """The same values in memory of their own (PyTorch's `clone`).

    >>> tz.copy(tz.tensor([1.0])).tolist()
    [1.0]
    """
    return x.copy()

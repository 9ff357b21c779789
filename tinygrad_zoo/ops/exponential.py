"""Powers, exponentials and logarithms, one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..kernels import elementwise as kernels
from ..variable import Array
from .comparison import logical_and
from .elementwise import where
from .precision import half_in_single
from .sampling import off_zero, to_positive, unary, unary_nonzero, unary_positive

_LN2, _LN10 = math.log(2), math.log(10)


def _log_of_number(x: float, at_zero: float) -> float:
    """A number, which unlike a scalar of NumPy leaves the dtype of arrays as it is."""
    return math.log(x) if x > 0 else at_zero if x == 0 else math.nan


def _log_base(x: Any, y: Any) -> Any:
    """log x with 0 at x = 0, y >= 0, where x ** y is flat in y."""
    if isinstance(x, (int, float)):
        return _log_of_number(x, 0.0)
    return log(where(logical_and(x == 0, y >= 0), 1, x))


def _power_less_one(x: Any, y: Any) -> Any:
    """x ** (y - 1), with 1 in place of 0 ** -1 at y = 0, where the factor y cancels it."""
    return x ** ((1 if y == 0 else y - 1) if isinstance(y, (int, float)) else where(y == 0, 1, y - 1))


@primitive(
    vjp=(
        lambda g, out, x, y: g * y * _power_less_one(x, y),
        lambda g, out, x, y: g * out * _log_base(x, y),
    ),
    samples=lambda r: [
        (r.positive(2, 3), r(3)),
        (r.positive(2, 1), r(1, 3)),
        (r.nonzero(3), 3),
        (r.nonzero(3), -2),
        (2.5, r(3)),
    ],
    reference=np.power,
    elementwise=True,
    repair=lambda x, y: (np.abs(x) + 0.2, y),
)
def pow(x: Array, y: Array) -> Array:
    """x ** y; the derivative in y is 0 at x = 0 where y >= 0.

    >>> (tz.tensor([2.0, 3.0]) ** 2).tolist()
    [4.0, 9.0]
    """
    with errstate(x):
        return x**y


@primitive(
    vjp=(lambda g, out, x: 2 * g * x,),
    samples=lambda r: [(r(2, 3),)],
    reference=np.square,
    elementwise=True,
)
def square(x: Array) -> Array:
    """x * x

    >>> tz.square(tz.tensor([3.0])).tolist()
    [9.0]
    """
    return x * x


@primitive(
    vjp=(lambda g, out, x: g / (2 * out),),
    samples=unary_positive,
    reference=np.sqrt,
    elementwise=True,
    repair=to_positive,
)
def sqrt(x: Array) -> Array:
    """The square root; NaN below 0.

    >>> tz.sqrt(tz.tensor([4.0])).tolist()
    [2.0]
    """
    with errstate(x):
        return namespace(x).sqrt(x)


@primitive(
    vjp=(lambda g, out, x: -(g * out * out),),
    samples=unary_nonzero,
    reference=np.reciprocal,
    elementwise=True,
    repair=to_positive,
)
def reciprocal(x: Array) -> Array:
    """1 / x

    >>> tz.reciprocal(tz.tensor([4.0])).tolist()
    [0.25]
    """
    with errstate(x):
        return 1 / x


@primitive(
    vjp=(lambda g, out, x: -(g * out * out * out) / 2,),
    samples=unary_positive,
    reference=lambda x: x**-0.5,
    elementwise=True,
    repair=to_positive,
)
def rsqrt(x: Array) -> Array:
    """1 / √x: inf at 0, NaN below.

    >>> tz.rsqrt(tz.tensor([4.0])).tolist()
    [0.5]
    """
    with errstate(x):
        return 1 / namespace(x).sqrt(x)


@primitive(
    vjp=(
        lambda g, out, x, y: g * (x / where(out == 0, 1, out)),
        lambda g, out, x, y: g * (y / where(out == 0, 1, out)),
    ),
    samples=lambda r: [(r(2, 3), r(3)), (r(2, 1), r(1, 3)), (r(2), r())],
    reference=np.hypot,
    elementwise=True,
    repair=lambda x, y: (*off_zero(x), y),
)
def hypot(x: Array, y: Array) -> Array:
    """√(x² + y²) without overflow on the way; the derivatives are 0 at (0, 0).

    >>> tz.hypot(tz.tensor([3.0]), tz.tensor([4.0])).tolist()
    [5.0]
    """
    with errstate(x):
        return namespace(x, y).hypot(x, y)


@primitive(vjp=(lambda g, out, x: g * out,), samples=unary, reference=np.exp, elementwise=True)
def exp(x: Array) -> Array:
    """e ** x

    >>> tz.exp(tz.tensor([0.0])).tolist()
    [1.0]
    """
    if (out := kernels.value("exp", x)) is not None:
        return out
    with errstate(x):
        return namespace(x).exp(x)


@primitive(vjp=(lambda g, out, x: g * out * _LN2,), samples=unary, reference=np.exp2, elementwise=True)
def exp2(x: Array) -> Array:
    """2 ** x

    >>> tz.exp2(tz.tensor([3.0])).tolist()
    [8.0]
    """
    with errstate(x):
        return namespace(x).exp2(x)


@primitive(vjp=(lambda g, out, x: g * (out + 1),), samples=unary, reference=np.expm1, elementwise=True)
def expm1(x: Array) -> Array:
    """e ** x - 1, exact near 0.

    >>> tz.expm1(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).expm1(x)


@primitive(
    vjp=(lambda g, out, x: g / x,),
    samples=unary_positive,
    reference=np.log,
    elementwise=True,
    repair=to_positive,
)
def log(x: Array) -> Array:
    """The natural logarithm: -inf at 0, NaN below.

    >>> tz.log(tz.tensor([1.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).log(x)


@primitive(
    vjp=(lambda g, out, x: g / x / _LN2,),
    samples=unary_positive,
    reference=np.log2,
    elementwise=True,
    repair=to_positive,
)
def log2(x: Array) -> Array:
    """The logarithm to base 2.

    >>> tz.log2(tz.tensor([8.0])).tolist()
    [3.0]
    """
    with errstate(x):
        return namespace(x).log2(x)


@primitive(
    vjp=(lambda g, out, x: g / x / _LN10,),
    samples=unary_positive,
    reference=np.log10,
    elementwise=True,
    repair=to_positive,
)
def log10(x: Array) -> Array:
    """The logarithm to base 10.

    >>> tz.log10(tz.tensor([10.0])).tolist()
    [1.0]
    """
    with errstate(x):
        return namespace(x).log10(x)


@primitive(
    vjp=(lambda g, out, x: g / (1 + x),),
    samples=unary_positive,
    reference=np.log1p,
    elementwise=True,
    repair=to_positive,
)
def log1p(x: Array) -> Array:
    """log(1 + x), exact near 0.

    >>> tz.log1p(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).log1p(x)


def _below(x: Any, y: Any, out: Any) -> Any:
    """y - x; inf where both are -inf, so that neither has a share in the sum."""
    return where(out == -math.inf, math.inf, y - x)


@primitive(
    vjp=(
        lambda g, out, x, y: g * exp(-logaddexp(0, _below(x, y, out))),
        lambda g, out, x, y: g * exp(-logaddexp(0, _below(y, x, out))),
    ),
    samples=lambda r: [(r(2, 3), r(3)), (20 * r(2, 1), 20 * r(1, 3)), (r(2), r())],
    reference=lambda x, y: np.log(np.exp(x) + np.exp(y)),
    elementwise=True,
)
def logaddexp(x: Array, y: Array) -> Array:
    """log(eˣ + eʸ) for values of any size.

    >>> tz.logaddexp(tz.tensor([1000.0]), 0).tolist()
    [1000.0]
    """
    with errstate(x):
        return namespace(x, y).logaddexp(x, y)


@primitive(
    vjp=(
        lambda g, out, x, y: g * exp2(-logaddexp2(0, _below(x, y, out))),
        lambda g, out, x, y: g * exp2(-logaddexp2(0, _below(y, x, out))),
    ),
    samples=lambda r: [(r(2, 3), r(3)), (20 * r(2, 1), 20 * r(1, 3)), (r(2), r())],
    reference=lambda x, y: np.log2(np.exp2(x) + np.exp2(y)),
    elementwise=True,
)
def logaddexp2(x: Array, y: Array) -> Array:
    """log₂(2ˣ + 2ʸ) for values of any size.

    >>> tz.logaddexp2(tz.tensor([3.0]), 3.0).tolist()
    [4.0]
    """
    with errstate(x):
        return namespace(x, y).logaddexp2(x, y)


def _off_the_pole(x: Any, y: Any) -> Any:
    """y, or 1 where x = 0 and y <= 0: there x log y is 0 without a logarithm."""
    return where(logical_and(x == 0, y <= 0), 1, y)


@primitive(
    vjp=(
        lambda g, out, x, y: g * log(_off_the_pole(x, y)),
        lambda g, out, x, y: g * x / _off_the_pole(x, y),
    ),
    samples=lambda r: [(r(2, 3), r.positive(3)), (r(2, 1), r.positive(1, 3)), (0.5, r.positive(2))],
    reference=lambda x, y: x * np.log(y),
    elementwise=True,
    repair=lambda x, y: (x, *to_positive(y)),
)
@half_in_single
def xlogy(x: Array, y: Array) -> Array:
    """x · log y, which is 0 where x = 0, as are its derivatives where y <= 0 as well.

    >>> tz.xlogy(tz.tensor([0.0, 2.0]), tz.tensor([0.0, 1.0])).tolist()
    [0.0, 0.0]
    """
    xp = namespace(x, y)
    with errstate(x):
        log_y = _log_of_number(y, -math.inf) if isinstance(y, (int, float)) else xp.log(y)
        return xp.where((x == 0) & (y == y), 0, x * log_y)

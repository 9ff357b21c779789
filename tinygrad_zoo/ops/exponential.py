"""Powers, exponentials and logarithms, one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..variable import Array
from .elementwise import where
from .sampling import to_positive, unary, unary_nonzero, unary_positive


def _log_base(x: Any) -> Any:
    """log x with 0 at x = 0, where x ** y is flat in y."""
    if isinstance(x, (int, float)):
        return math.log(x) if x > 0 else (0.0 if x == 0 else math.nan)
    return log(where(x == 0, 1, x))


def _power_less_one(x: Any, y: Any) -> Any:
    """x ** (y - 1), with 1 in place of 0 ** -1 at y = 0, where the factor y cancels it."""
    return x ** ((1 if y == 0 else y - 1) if isinstance(y, (int, float)) else where(y == 0, 1, y - 1))


@primitive(
    vjp=(
        lambda g, out, x, y: g * y * _power_less_one(x, y),
        lambda g, out, x, y: g * out * _log_base(x),
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
    """x ** y; the derivative in y is 0 at x = 0.

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
    >>> tz.reciprocal(tz.tensor([4.0])).tolist()
    [0.25]
    """
    with errstate(x):
        return 1 / x


@primitive(vjp=(lambda g, out, x: g * out,), samples=unary, reference=np.exp, elementwise=True)
def exp(x: Array) -> Array:
    """e ** x

    >>> import tinygrad_zoo as tz
    >>> tz.exp(tz.tensor([0.0])).tolist()
    [1.0]
    """
    with errstate(x):
        return namespace(x).exp(x)


@primitive(vjp=(lambda g, out, x: g * (out + 1),), samples=unary, reference=np.expm1, elementwise=True)
def expm1(x: Array) -> Array:
    """e ** x - 1, exact near 0.

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
    >>> tz.log(tz.tensor([1.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).log(x)


@primitive(
    vjp=(lambda g, out, x: g / (1 + x),),
    samples=unary_positive,
    reference=np.log1p,
    elementwise=True,
    repair=to_positive,
)
def log1p(x: Array) -> Array:
    """log(1 + x), exact near 0.

    >>> import tinygrad_zoo as tz
    >>> tz.log1p(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).log1p(x)

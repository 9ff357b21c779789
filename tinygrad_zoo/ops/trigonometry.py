"""Circular and hyperbolic functions and their inverses, one value at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..kernels import elementwise as kernels
from ..variable import Array
from .comparison import logical_and
from .elementwise import abs, where
from .exponential import hypot, sqrt
from .precision import half_in_single
from .sampling import off_zero, to_inside, unary, unary_inside


@primitive(vjp=(lambda g, out, x: g * cos(x),), samples=unary, reference=np.sin, elementwise=True)
def sin(x: Array) -> Array:
    """The sine of x radians.

    >>> tz.sin(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).sin(x)


@primitive(vjp=(lambda g, out, x: -(g * sin(x)),), samples=unary, reference=np.cos, elementwise=True)
def cos(x: Array) -> Array:
    """The cosine of x radians.

    >>> tz.cos(tz.tensor([0.0])).tolist()
    [1.0]
    """
    return namespace(x).cos(x)


@primitive(
    vjp=(lambda g, out, x: g * (1 - out * out),),
    backward=lambda g, out, x: kernels.pulled("tanh", g, out),
    samples=unary,
    reference=np.tanh,
    elementwise=True,
)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent.

    >>> tz.tanh(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).tanh(x) if (out := kernels.value("tanh", x)) is None else out


def _off_poles(x: Any) -> tuple[Any]:
    """A repair: values come into (-1.2, 1.2), away from the poles of the tangent."""
    return (1.2 * np.tanh(x),)


@primitive(
    vjp=(lambda g, out, x: g * (1 + out * out),),
    samples=lambda r: [_off_poles(r(2, 3))],
    reference=lambda x: np.sin(x) / np.cos(x),
    elementwise=True,
    repair=_off_poles,
)
def tan(x: Array) -> Array:
    """The tangent of x radians.

    >>> tz.tan(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).tan(x)


# ---- inverses
@primitive(
    vjp=(lambda g, out, x: g / sqrt((1 - x) * (1 + x)),),
    samples=unary_inside,
    reference=np.arcsin,
    elementwise=True,
    repair=to_inside,
)
def asin(x: Array) -> Array:
    """The angle in [-π/2, π/2] whose sine is x; NaN outside [-1, 1].

    >>> tz.asin(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).arcsin(x)


@primitive(
    vjp=(lambda g, out, x: -(g / sqrt((1 - x) * (1 + x))),),
    samples=unary_inside,
    reference=np.arccos,
    elementwise=True,
    repair=to_inside,
)
def acos(x: Array) -> Array:
    """The angle in [0, π] whose cosine is x; NaN outside [-1, 1].

    >>> tz.acos(tz.tensor([1.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).arccos(x)


@primitive(vjp=(lambda g, out, x: g / (1 + x * x),), samples=unary, reference=np.arctan, elementwise=True)
def atan(x: Array) -> Array:
    """The angle in (-π/2, π/2) whose tangent is x.

    >>> tz.atan(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).arctan(x)


def _distance(x: Any, y: Any) -> Any:
    """That of the point (x, y) from the origin; 1 at the origin."""
    return where(logical_and(x == 0, y == 0), 1, hypot(x, y))


@primitive(
    vjp=(
        lambda g, out, input, other: g * (other / (h := _distance(input, other)) / h),
        lambda g, out, input, other: -(g * (input / (h := _distance(input, other)) / h)),
    ),
    samples=lambda r: [(r(2, 3), r(3) + 2), (r.nonzero(2, 1), r(1, 3)), (r.nonzero(2), r())],
    reference=np.arctan2,
    elementwise=True,
    repair=lambda input, other: (*off_zero(input), other),
)
def atan2(input: Array, other: Array) -> Array:
    """The angle in [-π, π] of the point (other, input); its derivatives are 0 at the origin.

    >>> tz.atan2(tz.tensor([0.0, 0.0]), tz.tensor([1.0, -1.0])).tolist()
    [0.0, 3.1415927410125732]
    """
    return namespace(input, other).arctan2(input, other)


# ---- hyperbolic functions
@primitive(vjp=(lambda g, out, x: g * cosh(x),), samples=unary, reference=np.sinh, elementwise=True)
def sinh(x: Array) -> Array:
    """(eˣ - e⁻ˣ) / 2

    >>> tz.sinh(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).sinh(x)


@primitive(vjp=(lambda g, out, x: g * sinh(x),), samples=unary, reference=np.cosh, elementwise=True)
def cosh(x: Array) -> Array:
    """(eˣ + e⁻ˣ) / 2

    >>> tz.cosh(tz.tensor([0.0])).tolist()
    [1.0]
    """
    with errstate(x):
        return namespace(x).cosh(x)


@primitive(vjp=(lambda g, out, x: g / hypot(x, 1),), samples=unary, reference=np.arcsinh, elementwise=True)
def asinh(x: Array) -> Array:
    """log(x + √(x² + 1)), the inverse of sinh.

    >>> tz.asinh(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).arcsinh(x)


@primitive(
    vjp=(lambda g, out, x: g / (sqrt(x - 1) * sqrt(x + 1)),),
    samples=lambda r: [(1 + r.positive(2, 3),)],
    reference=np.arccosh,
    elementwise=True,
    repair=lambda x: (1.2 + np.abs(x),),
)
def acosh(x: Array) -> Array:
    """log(x + √(x² - 1)), the inverse of cosh; NaN below 1.

    >>> tz.acosh(tz.tensor([1.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).arccosh(x)


@primitive(
    vjp=(lambda g, out, x: g / ((1 - x) * (1 + x)),),
    samples=unary_inside,
    reference=np.arctanh,
    elementwise=True,
    repair=to_inside,
)
def atanh(x: Array) -> Array:
    """log((1 + x) / (1 - x)) / 2, the inverse of tanh; ±inf at ±1, NaN outside.

    >>> tz.atanh(tz.tensor([0.0])).tolist()
    [0.0]
    """
    with errstate(x):
        return namespace(x).arctanh(x)


# ---- others
_SINC_SERIES = [(-1) ** k * 2 * k * math.pi ** (2 * k) / math.factorial(2 * k + 1) for k in range(1, 8)]


def _sinc_slope(out: Any, x: Any) -> Any:
    """(cos πx - sinc x) / x; its series where that loses digits."""
    near, square = abs(x) < 0.15, x * x
    series: Any = 0.0
    for coefficient in reversed(_SINC_SERIES):
        series = coefficient + square * series
    return where(near, x * series, (cos(math.pi * x) - out) / where(near, 1, x))


@primitive(
    vjp=(lambda g, out, x: g * _sinc_slope(out, x),),
    samples=lambda r: [(r(2, 3),), (0.1 * r(3),)],
    reference=lambda x: np.sin(np.pi * x) / (np.pi * x),
    elementwise=True,
    repair=off_zero,
)
@half_in_single
def sinc(x: Array) -> Array:
    """sin(πx) / (πx), 1 at 0.

    >>> tz.sinc(tz.tensor([0.0])).tolist()
    [1.0]
    """
    return namespace(x).sinc(x)


@primitive(vjp=(lambda g, out, x: g * (math.pi / 180),), samples=unary, reference=np.deg2rad, elementwise=True)
def deg2rad(x: Array) -> Array:
    """Degrees to radians.

    >>> tz.deg2rad(tz.tensor([180.0])).tolist()
    [3.1415927410125732]
    """
    return x * (math.pi / 180)


@primitive(vjp=(lambda g, out, x: g * (180 / math.pi),), samples=unary, reference=np.rad2deg, elementwise=True)
def rad2deg(x: Array) -> Array:
    """Radians to degrees.

    >>> tz.rad2deg(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return x * (180 / math.pi)

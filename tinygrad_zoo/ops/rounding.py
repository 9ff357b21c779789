"""Rounding, and division with a remainder. What is rounded is flat: its gradient is 0 wherever there is one."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..variable import Array
from .precision import half_in_single
from .sampling import sample


def _off_whole(x: Any) -> tuple[Any]:
    """A repair: values keep an eighth away from whole numbers and halves."""
    return (np.floor(4 * x) / 4 + 0.125,)


def off_multiples(x: Any, y: Any) -> tuple[Any, Any]:
    """A repair: x keeps an eighth away from the multiples of y, which is at least a half."""
    return _off_whole(x)[0], np.copysign(np.ceil(2 * np.abs(y)) / 2, y)


def _rounded(name: str, x: Array) -> Array:
    """x rounded by the array function `name`; integers are copied, of which CuPy would make floats."""
    return getattr(namespace(x), name)(x) if x.dtype.kind == "f" else x.copy()


@half_in_single
def quotient_to_zero(x: Array, y: Array) -> Array:
    """x / y rounded towards 0; of integers an integer, exactly."""
    xp = namespace(x, y)
    whole = all(isinstance(a, int) or getattr(a, "dtype", np.dtype(float)).kind in "iu" for a in (x, y))
    return xp.floor_divide(x - xp.fmod(x, y), y) if whole else xp.trunc(x / y)


def _unary_samples(r: Any) -> list[Any]:
    return [_off_whole(3 * r(2, 3))]


def _binary_samples(r: Any) -> list[Any]:
    return [off_multiples(3 * r(2, 3), r(3)), off_multiples(r(2, 1), r(1, 3)), (off_multiples(r(3), r(3))[0], -1.5)]


@primitive(
    vjp=(lambda g, out, x: None,), samples=_unary_samples, reference=np.floor, elementwise=True, repair=_off_whole
)
def floor(x: Array) -> Array:
    """The largest whole number <= x.

    >>> tz.floor(tz.tensor([1.7, -1.2])).tolist()
    [1.0, -2.0]
    """
    return _rounded("floor", x)


@primitive(
    vjp=(lambda g, out, x: None,), samples=_unary_samples, reference=np.ceil, elementwise=True, repair=_off_whole
)
def ceil(x: Array) -> Array:
    """The smallest whole number >= x.

    >>> tz.ceil(tz.tensor([1.2, -1.7])).tolist()
    [2.0, -1.0]
    """
    return _rounded("ceil", x)


@primitive(
    vjp=(lambda g, out, x: None,), samples=_unary_samples, reference=np.trunc, elementwise=True, repair=_off_whole
)
def trunc(x: Array) -> Array:
    """x without what follows the point: rounded towards 0.

    >>> tz.trunc(tz.tensor([1.7, -1.7])).tolist()
    [1.0, -1.0]
    """
    return _rounded("trunc", x)


@primitive(
    vjp=(lambda g, out, x, decimals: None,),
    samples=lambda r: [sample(*_off_whole(30 * r(2, 3)), decimals=k) for k in (0, 1, -1)],
    reference=lambda x, decimals: np.round(x, decimals),
    elementwise=True,
    repair=_off_whole,
)
@half_in_single
def round(x: Array, *, decimals: int = 0) -> Array:
    """x rounded to so many decimals (before the point where below 0), halves to the even neighbour.

    >>> tz.round(tz.tensor([0.5, 1.5, -2.7])).tolist(), tz.round(tz.tensor([12.34]), decimals=-1).tolist()
    ([0.0, 2.0, -3.0], [10.0])
    """
    xp = namespace(x)
    if x.dtype.kind != "f":
        return xp.round(x, decimals) if decimals < 0 else x.copy()
    if decimals == 0:
        return xp.rint(x)
    scale = 10.0 ** (decimals if decimals > 0 else -decimals)
    with errstate(x):
        scaled = x * scale if decimals > 0 else x / scale
        out = xp.rint(scaled) / scale if decimals > 0 else xp.rint(scaled) * scale
        return xp.where(xp.isfinite(scaled), out, x)  # else too large to have decimals


@primitive(
    vjp=(lambda g, out, x: g,),
    samples=_unary_samples,
    reference=lambda x: np.fmod(x, 1.0),
    elementwise=True,
    repair=_off_whole,
)
def frac(x: Array) -> Array:
    """What follows the point, with the sign of x: x - trunc(x).

    >>> tz.frac(tz.tensor([1.75, -1.75])).tolist()
    [0.75, -0.75]
    """
    with errstate(x):
        return x - _rounded("trunc", x)


@primitive(
    vjp=(lambda g, out, x, y: None, lambda g, out, x, y: None),
    samples=_binary_samples,
    reference=np.floor_divide,
    elementwise=True,
    repair=off_multiples,
)
def floor_divide(x: Array, y: Array) -> Array:
    """x / y rounded down: how often y goes into x where `remainder` is left.

    >>> tz.floor_divide(tz.tensor([7.0, -7.0]), 2).tolist()
    [3.0, -4.0]
    """
    with errstate(x):
        return namespace(x, y).floor_divide(x, y)


@primitive(
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -(g * floor_divide(x, y))),
    samples=_binary_samples,
    reference=np.remainder,
    elementwise=True,
    repair=off_multiples,
)
def remainder(x: Array, y: Array) -> Array:
    """x - y · floor(x / y), which has the sign of y (Python's %).

    >>> tz.remainder(tz.tensor([7.0, -7.0]), 4).tolist()
    [3.0, 1.0]
    """
    with errstate(x):
        return namespace(x, y).remainder(x, y)


@primitive(
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: -(g * round((x - out) / y))),
    samples=_binary_samples,
    reference=np.fmod,
    elementwise=True,
    repair=off_multiples,
)
def fmod(x: Array, y: Array) -> Array:
    """x - y · trunc(x / y), which has the sign of x (C's fmod).

    >>> tz.fmod(tz.tensor([7.0, -7.0]), 4).tolist()
    [3.0, -3.0]
    """
    with errstate(x):
        return namespace(x, y).fmod(x, y)

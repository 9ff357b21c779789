"""Questions about values: comparisons and logic. Their answers are booleans, which have no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..variable import Array
from .precision import half_in_single
from .sampling import sample


def _compare_samples(r: Any) -> list[Any]:
    return [(r(2, 3), r(3)), (r.integers(3, 4), r.integers(3, 4)), (r(2), 0.0)]


@primitive(vjp=None, samples=_compare_samples, reference=np.equal, elementwise=True)
def eq(x: Array, y: Array) -> Array:
    """x == y

    >>> (tz.tensor([1, 2]) == 2).tolist()
    [False, True]
    """
    return x == y


@primitive(vjp=None, samples=_compare_samples, reference=np.not_equal, elementwise=True)
def ne(x: Array, y: Array) -> Array:
    """x != y

    >>> (tz.tensor([1, 2]) != 2).tolist()
    [True, False]
    """
    return x != y


@primitive(vjp=None, samples=_compare_samples, reference=np.less, elementwise=True)
def lt(x: Array, y: Array) -> Array:
    """x < y

    >>> (tz.tensor([1, 2]) < 2).tolist()
    [True, False]
    """
    return x < y


@primitive(vjp=None, samples=_compare_samples, reference=np.less_equal, elementwise=True)
def le(x: Array, y: Array) -> Array:
    """x <= y

    >>> (tz.tensor([1, 2, 3]) <= 2).tolist()
    [True, True, False]
    """
    return x <= y


@primitive(vjp=None, samples=_compare_samples, reference=np.greater, elementwise=True)
def gt(x: Array, y: Array) -> Array:
    """x > y

    >>> (tz.tensor([1, 2]) > 1).tolist()
    [False, True]
    """
    return x > y


@primitive(vjp=None, samples=_compare_samples, reference=np.greater_equal, elementwise=True)
def ge(x: Array, y: Array) -> Array:
    """x >= y

    >>> (tz.tensor([1, 2]) >= 2).tolist()
    [False, True]
    """
    return x >= y


def _logic_samples(r: Any) -> list[Any]:
    return [(r.boolean(2, 3), r.boolean(3)), (r.integers(2, 8) * r(8), r(8))]


@primitive(vjp=None, samples=_logic_samples, reference=np.logical_and, elementwise=True)
def logical_and(x: Array, y: Array) -> Array:
    """Whether both are true (non-zero).

    >>> tz.logical_and(tz.tensor([True, True]), tz.tensor([True, False])).tolist()
    [True, False]
    """
    return namespace(x, y).logical_and(x, y)


@primitive(vjp=None, samples=_logic_samples, reference=np.logical_or, elementwise=True)
def logical_or(x: Array, y: Array) -> Array:
    """Whether either is true (non-zero).

    >>> tz.logical_or(tz.tensor([True, False]), tz.tensor([False, False])).tolist()
    [True, False]
    """
    return namespace(x, y).logical_or(x, y)


@primitive(vjp=None, samples=_logic_samples, reference=np.logical_xor, elementwise=True)
def logical_xor(x: Array, y: Array) -> Array:
    """Whether one of them is true (non-zero), and one alone.

    >>> tz.logical_xor(tz.tensor([True, True]), tz.tensor([True, False])).tolist()
    [False, True]
    """
    return namespace(x, y).logical_xor(x, y)


@primitive(
    vjp=None,
    samples=lambda r: [s[:1] for s in _logic_samples(r)],
    reference=np.logical_not,
    elementwise=True,
)
def logical_not(x: Array) -> Array:
    """Whether x is false (zero).

    >>> tz.logical_not(tz.tensor([True, False])).tolist()
    [False, True]
    """
    return namespace(x).logical_not(x)


def _special_samples(r: Any) -> list[Any]:
    return [(r(2, 3),), (np.array([1.0, np.nan, np.inf, -np.inf]),)]


@primitive(vjp=None, samples=_special_samples, reference=np.isfinite, elementwise=True)
def isfinite(x: Array) -> Array:
    """Whether x is neither NaN nor infinite.

    >>> tz.isfinite(tz.tensor([1.0, float("inf")])).tolist()
    [True, False]
    """
    return namespace(x).isfinite(x)


@primitive(vjp=None, samples=_special_samples, reference=np.isnan, elementwise=True)
def isnan(x: Array) -> Array:
    """Whether x is NaN.

    >>> tz.isnan(tz.tensor([1.0, float("nan")])).tolist()
    [False, True]
    """
    return namespace(x).isnan(x)


@primitive(vjp=None, samples=_special_samples, reference=np.isinf, elementwise=True)
def isinf(x: Array) -> Array:
    """Whether x is inf or -inf.

    >>> tz.isinf(tz.tensor([1.0, -float("inf")])).tolist()
    [False, True]
    """
    return namespace(x).isinf(x)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(x := r(2, 3), x * (1 + 1e-5 * r(2, 3))),
        sample(r(2, 3), r(3), rtol=0.5, atol=0.5),
        sample(np.array([1.0, np.nan, np.inf]), np.array([1.0, np.nan, np.inf]), equal_nan=True),
    ],
    reference=np.isclose,
    elementwise=True,
)
@half_in_single
def isclose(x: Array, y: Array, *, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Array:
    """|x - y| <= atol + rtol · |y|, or equal infinities (or NaNs, if equal_nan).

    >>> tz.isclose(tz.tensor([1.0, 1.0]), tz.tensor([1.000001, 1.1])).tolist()
    [True, False]
    """
    xp = namespace(x, y)
    if not hasattr(x, "dtype"):  # CuPy takes a number as y alone
        x = xp.asarray(x, dtype=np.result_type(y.dtype, x))
    return xp.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)


# ---- bits
def _bit_samples(r: Any) -> list[Any]:
    return [(r.boolean(2, 3), r.boolean(3)), (r.integers(64, 2, 3) - 32, r.integers(64, 3) - 32), (r.integers(9, 4), 5)]


def _booleans(*arrays: Any) -> tuple[Any, ...]:
    """A repair: booleans in place of floats."""
    return tuple(x > 0 for x in arrays)


@primitive(vjp=None, samples=_bit_samples, reference=np.bitwise_and, elementwise=True, repair=_booleans)
def bitwise_and(x: Array, y: Array) -> Array:
    """x & y: bit by bit of integers, whether both are true of booleans.

    >>> tz.bitwise_and(tz.tensor([6, 1]), 3).tolist()
    [2, 1]
    """
    return namespace(x, y).bitwise_and(x, y)


@primitive(vjp=None, samples=_bit_samples, reference=np.bitwise_or, elementwise=True, repair=_booleans)
def bitwise_or(x: Array, y: Array) -> Array:
    """x | y: bit by bit of integers, whether either is true of booleans.

    >>> tz.bitwise_or(tz.tensor([6, 1]), 3).tolist()
    [7, 3]
    """
    return namespace(x, y).bitwise_or(x, y)


@primitive(vjp=None, samples=_bit_samples, reference=np.bitwise_xor, elementwise=True, repair=_booleans)
def bitwise_xor(x: Array, y: Array) -> Array:
    """x ^ y: bit by bit of integers, whether one alone is true of booleans.

    >>> tz.bitwise_xor(tz.tensor([6, 1]), 3).tolist()
    [5, 2]
    """
    return namespace(x, y).bitwise_xor(x, y)


@primitive(
    vjp=None,
    samples=lambda r: [(r.boolean(2, 3),), (r.integers(64, 3) - 32,)],
    reference=np.invert,
    elementwise=True,
    repair=_booleans,
)
def bitwise_not(x: Array) -> Array:
    """~x: every bit of integers turned over, booleans negated.

    >>> tz.bitwise_not(tz.tensor([True, False])).tolist(), tz.bitwise_not(tz.tensor([0, 5])).tolist()
    ([False, True], [-1, -6])
    """
    return namespace(x).invert(x)

"""Questions about values: comparisons and logic. Their answers are booleans, which have no gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..variable import Array


def _compare_samples(r: Any) -> list[Any]:
    return [(r(2, 3), r(3)), (r.integers(3, 4), r.integers(3, 4)), (r(2), 0.0)]


@primitive(vjp=None, samples=_compare_samples, reference=np.equal, elementwise=True)
def eq(x: Array, y: Array) -> Array:
    """x == y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2]) == 2).tolist()
    [False, True]
    """
    return x == y


@primitive(vjp=None, samples=_compare_samples, reference=np.not_equal, elementwise=True)
def ne(x: Array, y: Array) -> Array:
    """x != y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2]) != 2).tolist()
    [True, False]
    """
    return x != y


@primitive(vjp=None, samples=_compare_samples, reference=np.less, elementwise=True)
def lt(x: Array, y: Array) -> Array:
    """x < y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2]) < 2).tolist()
    [True, False]
    """
    return x < y


@primitive(vjp=None, samples=_compare_samples, reference=np.less_equal, elementwise=True)
def le(x: Array, y: Array) -> Array:
    """x <= y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2, 3]) <= 2).tolist()
    [True, True, False]
    """
    return x <= y


@primitive(vjp=None, samples=_compare_samples, reference=np.greater, elementwise=True)
def gt(x: Array, y: Array) -> Array:
    """x > y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2]) > 1).tolist()
    [False, True]
    """
    return x > y


@primitive(vjp=None, samples=_compare_samples, reference=np.greater_equal, elementwise=True)
def ge(x: Array, y: Array) -> Array:
    """x >= y

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1, 2]) >= 2).tolist()
    [False, True]
    """
    return x >= y


@primitive(vjp=None, samples=lambda r: [(r.boolean(2, 3), r.boolean(3))], reference=np.logical_and, elementwise=True)
def logical_and(x: Array, y: Array) -> Array:
    """Whether both are true (non-zero).

    >>> import tinygrad_zoo as tz
    >>> tz.logical_and(tz.tensor([True, True]), tz.tensor([True, False])).tolist()
    [True, False]
    """
    return namespace(x, y).logical_and(x, y)


@primitive(vjp=None, samples=lambda r: [(r.boolean(2, 3), r.boolean(3))], reference=np.logical_or, elementwise=True)
def logical_or(x: Array, y: Array) -> Array:
    """Whether either is true (non-zero).

    >>> import tinygrad_zoo as tz
    >>> tz.logical_or(tz.tensor([True, False]), tz.tensor([False, False])).tolist()
    [True, False]
    """
    return namespace(x, y).logical_or(x, y)


@primitive(vjp=None, samples=lambda r: [(r.boolean(2, 3),)], reference=np.logical_not, elementwise=True)
def logical_not(x: Array) -> Array:
    """Whether x is false (zero).

    >>> import tinygrad_zoo as tz
    >>> tz.logical_not(tz.tensor([True, False])).tolist()
    [False, True]
    """
    return namespace(x).logical_not(x)


@primitive(vjp=None, samples=lambda r: [(r(2, 3),)], reference=np.isfinite, elementwise=True)
def isfinite(x: Array) -> Array:
    """Whether x is neither NaN nor infinite.

    >>> import tinygrad_zoo as tz
    >>> tz.isfinite(tz.tensor([1.0, float("inf")])).tolist()
    [True, False]
    """
    return namespace(x).isfinite(x)

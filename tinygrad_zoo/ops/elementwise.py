"""Arithmetic and elementary functions, one value at a time; two arrays broadcast."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace
from ..errors import DTypeError, UsageError
from ..variable import Array, Variable
from .sampling import off_zero, sample, unary, unary_nonzero


@primitive(
    vjp=(lambda g, out, x, y: g, lambda g, out, x, y: g),
    samples=lambda r: [(r(2, 3), r(3)), (r(2, 1), r(1, 3)), (r(2), 2.0)],
    reference=np.add,
    elementwise=True,
)
def add(x: Array, y: Array) -> Array:
    """x + y

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1.0, 2.0]) * 3).tolist()
    [3.0, 6.0]
    """
    return x * y


@primitive(
    vjp=(lambda g, out, x, y: g / y, lambda g, out, x, y: -(g * out / y)),
    samples=lambda r: [(r(2, 3), r.nonzero(3)), (r(2, 1), r.nonzero(1, 3)), (1.0, r.nonzero(2))],
    reference=np.true_divide,
    elementwise=True,
    repair=lambda x, y: (x, np.where(np.abs(y) < 0.1, y + 0.3, y)),
)
def div(x: Array, y: Array) -> Array:
    """x / y, as IEEE 754 has it: x / 0 is ±inf, 0 / 0 is NaN.

    >>> import tinygrad_zoo as tz
    >>> (tz.tensor([1.0, 2.0]) / 2).tolist()
    [0.5, 1.0]
    """
    with errstate(x):
        return x / y


@primitive(vjp=(lambda g, out, x: -g,), samples=lambda r: [(r(2, 3),)], reference=np.negative, elementwise=True)
def neg(x: Array) -> Array:
    """-x

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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

    >>> import tinygrad_zoo as tz
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
)
def where(condition: Array, x: Array, y: Array) -> Array:
    """x where the condition holds, else y. The branch not taken sends no gradient, and no NaN.

    >>> import tinygrad_zoo as tz
    >>> tz.where(tz.tensor([True, False]), tz.tensor([1.0, 2.0]), 0).tolist()
    [1.0, 0.0]
    """
    return namespace(condition, x, y).where(condition, x, y)


@primitive(
    vjp=(lambda g, out, x, min, max: where(out == x, g, 0),),
    samples=lambda r: [
        sample(r.distinct(2, 3), min=-0.25, max=0.25),
        sample(r.distinct(4), min=0.05),
        sample(r.distinct(4), max=0.05),
    ],
    reference=lambda x, min, max: np.clip(x, min, max),
    repair=lambda x: (np.round(x, 1) + 0.02,),
)
def clip(x: Array, *, min: float | None = None, max: float | None = None) -> Array:
    """x limited to [min, max]; the gradient passes inside and on the bounds.

    >>> import tinygrad_zoo as tz
    >>> tz.clip(tz.tensor([-2.0, 0.5, 2.0]), -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if min is None and max is None:
        raise UsageError("clip: expected a min, a max or both")
    if any(isinstance(bound, Variable) or hasattr(bound, "dtype") for bound in (min, max)):
        raise DTypeError("clip: min and max are numbers; for bounds that are arrays write maximum and minimum")
    return x.clip(min, max)


@primitive(
    vjp=(lambda g, out, x, dtype: g,),
    samples=lambda r: [sample(r(2, 3), dtype="float64")],
    reference=lambda x, dtype: np.array(x, dtype=dtype),
    dtypes=("float64",),
)
def astype(x: Array, *, dtype: Any) -> Array:
    """A copy of x in another dtype; the gradient comes back in x's own.

    >>> import tinygrad_zoo as tz
    >>> tz.astype(tz.tensor([1.7]), "int64").tolist()
    [1]
    """
    return x.astype(dtype)


@primitive(vjp=(lambda g, out, x: g,), samples=unary, reference=np.array)
def copy(x: Array) -> Array:
    """The same values in memory of their own (PyTorch's `clone`).

    >>> import tinygrad_zoo as tz
    >>> tz.copy(tz.tensor([1.0])).tolist()
    [1.0]
    """
    return x.copy()

"""Circular and hyperbolic functions and their inverses, one value at a time."""

from __future__ import annotations

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..variable import Array
from .sampling import unary


@primitive(vjp=(lambda g, out, x: g * cos(x),), samples=unary, reference=np.sin, elementwise=True)
def sin(x: Array) -> Array:
    """The sine of x radians.

    >>> import tinygrad_zoo as tz
    >>> tz.sin(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).sin(x)


@primitive(vjp=(lambda g, out, x: -(g * sin(x)),), samples=unary, reference=np.cos, elementwise=True)
def cos(x: Array) -> Array:
    """The cosine of x radians.

    >>> import tinygrad_zoo as tz
    >>> tz.cos(tz.tensor([0.0])).tolist()
    [1.0]
    """
    return namespace(x).cos(x)


@primitive(vjp=(lambda g, out, x: g * (1 - out * out),), samples=unary, reference=np.tanh, elementwise=True)
def tanh(x: Array) -> Array:
    """The hyperbolic tangent.

    >>> import tinygrad_zoo as tz
    >>> tz.tanh(tz.tensor([0.0])).tolist()
    [0.0]
    """
    return namespace(x).tanh(x)

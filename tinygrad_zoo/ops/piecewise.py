"""Activation functions with a kink: rectifiers and clipped lines. At the kink the slope is the published one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import fused, primitive
from ..backend import namespace, on_host
from ..variable import Array
from .elementwise import where
from .sampling import off_zero, sample


def _relu_backward(g: Array, out: Array, x: Array, *, needs: Any) -> list[Array]:
    """g where x > 0: by a product, three times as fast as a choice, unless that makes NaN of an infinite g."""
    flat = (found := g * (out > 0)).reshape(-1)
    if not on_host(flat) or math.isnan(flat @ flat):
        found = namespace(g).where(out > 0, g, 0)
    return [found]


@fused(
    formula=lambda x: where(x > 0, x, 0),
    backward=_relu_backward,
    samples=lambda r: [(r.nonzero(2, 3),)],
    reference=lambda x: np.maximum(x, 0),
    elementwise=True,
    repair=off_zero,
)
def relu(x: Array) -> Array:
    """max(x, 0), with derivative 0 at 0.

    >>> import tinygrad_zoo as tz
    >>> tz.relu(tz.tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    return namespace(x).maximum(x, 0)


@primitive(
    vjp=(lambda g, out, x, negative_slope: where(x > 0, g, g * negative_slope),),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), negative_slope=0.2)],
    reference=lambda x, negative_slope: np.maximum(x, 0) + negative_slope * np.minimum(x, 0),
    elementwise=True,
    repair=off_zero,
)
def leaky_relu(x: Array, *, negative_slope: float = 0.01) -> Array:
    """x where x > 0, else negative_slope · x (its slope at 0).

    >>> import tinygrad_zoo as tz
    >>> tz.leaky_relu(tz.tensor([-1.0, 2.0]), 0.5).tolist()
    [-0.5, 2.0]
    """
    return namespace(x).where(x > 0, x, negative_slope * x)


@primitive(
    vjp=(lambda g, out, x, alpha: where(x > 0, g, g * (out + alpha)),),
    samples=lambda r: [sample(r.nonzero(2, 3)), sample(r.nonzero(3), alpha=0.5)],
    reference=lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)),
    elementwise=True,
    repair=off_zero,
)
def elu(x: Array, *, alpha: float = 1.0) -> Array:
    """x where x > 0, else alpha · (eˣ - 1).

    >>> import tinygrad_zoo as tz
    >>> tz.elu(tz.tensor([0.0, 2.0])).tolist()
    [0.0, 2.0]
    """
    xp = namespace(x)
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))

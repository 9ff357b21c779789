"""Gated linear units: one half of a layer's outputs, through an activation, is the gate of the other half.

`glu` is PyTorch's, and takes both halves in one array, the gate last. The others take the gate and what it gates, of
shapes that broadcast (arXiv 2002.05202); the bilinear one is `gate * value`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..errors import ShapeError
from ..variable import Array
from .activation import gelu, gelu_reference, gelu_slope, sigmoid, silu, silu_slope
from .elementwise import where
from .joining import concat
from .piecewise import relu
from .precision import half_in_single
from .sampling import off_zero, sample


def _halves(x: Any, axis: int) -> tuple[Any, Any]:
    half = x.shape[axis] // 2
    before = (slice(None),) * (axis % x.ndim)
    return x[(*before, slice(None, half))], x[(*before, slice(half, None))]


def _glu_rule(g: Any, out: Any, x: Any, axis: int) -> Any:
    value, gate = _halves(x, axis)
    s = sigmoid(gate)
    return concat(g * s, g * value * (s * sigmoid(-gate)), axis=axis)


@primitive(
    vjp=(_glu_rule,),
    samples=lambda r: [sample(r(2, 6)), sample(r(4, 3), axis=0), sample(20 * r(2, 2, 3), axis=1), sample(r(2, 0))],
    reference=lambda x, axis: np.split(x, 2, axis=axis)[0] * np.exp(-np.logaddexp(0, -np.split(x, 2, axis=axis)[1])),
)
def glu(x: Array, *, axis: int = -1) -> Array:
    """a · sigmoid(b) for the halves a and b of x along `axis` (arXiv 1612.08083).

    >>> tz.glu(tz.tensor([3.0, 0.0])).tolist()
    [1.5]
    """
    if not -x.ndim <= axis < x.ndim or x.shape[axis] % 2:
        raise ShapeError(f"glu: x has shape {x.shape}; expected an axis {axis} of even length")
    value, gate = _halves(x, axis)
    return value * sigmoid(gate)


@primitive(
    vjp=(lambda g, out, gate, value: where(gate > 0, g * value, 0), lambda g, out, gate, value: g * relu(gate)),
    samples=lambda r: [(r.nonzero(2, 3), r(3)), (r.nonzero(2, 1), r(1, 3))],
    reference=lambda gate, value: np.where(gate > 0, gate * value, 0 * value),
    elementwise=True,
    repair=lambda gate, value: (*off_zero(gate), value),
)
def reglu(gate: Array, value: Array) -> Array:
    """relu(gate) · value (arXiv 2002.05202).

    >>> tz.reglu(tz.tensor([-1.0, 2.0]), tz.tensor([3.0, 3.0])).tolist()
    [0.0, 6.0]
    """
    return relu(gate) * value


@primitive(
    vjp=(
        lambda g, out, gate, value, approximate: g * value * gelu_slope(gate, approximate),
        lambda g, out, gate, value, approximate: g * gelu(gate, approximate=approximate),
    ),
    samples=lambda r: [
        sample(r(2, 3), r(3)),
        sample(20 * r(2, 1), r(1, 3)),
        sample(r(2, 3), r(3), approximate="tanh"),
    ],
    reference=lambda gate, value, approximate: gelu_reference(gate, approximate) * value,
    elementwise=True,
)
@half_in_single
def geglu(gate: Array, value: Array, *, approximate: str = "none") -> Array:
    """gelu(gate) · value (arXiv 2002.05202).

    >>> tz.geglu(tz.tensor([0.0, 10.0]), tz.tensor([3.0, 3.0])).tolist()
    [0.0, 30.0]
    """
    return gelu(gate, approximate=approximate) * value


@primitive(
    vjp=(lambda g, out, gate, value: g * value * silu_slope(gate), lambda g, out, gate, value: g * silu(gate)),
    samples=lambda r: [(r(2, 3), r(3)), (20 * r(2, 1), r(1, 3))],
    reference=lambda gate, value: gate * np.exp(-np.logaddexp(0, -gate)) * value,
    elementwise=True,
)
@half_in_single
def swiglu(gate: Array, value: Array) -> Array:
    """silu(gate) · value (arXiv 2002.05202).

    >>> tz.swiglu(tz.tensor([0.0, 50.0]), tz.tensor([3.0, 2.0])).tolist()
    [0.0, 100.0]
    """
    return silu(gate) * value

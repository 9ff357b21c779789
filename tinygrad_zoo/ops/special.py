"""Special functions: the error function and its kin, one value at a time."""

from __future__ import annotations

import math

import numpy as np

from ..autograd import primitive
from ..backend import special
from ..variable import Array
from .exponential import exp
from .sampling import unary


@primitive(
    vjp=(lambda g, out, x: g * (2 / math.sqrt(math.pi)) * exp(-(x * x)),),
    samples=unary,
    reference=np.vectorize(math.erf, otypes=[float]),
    elementwise=True,
)
def erf(x: Array) -> Array:
    """The error function, 2/√π ∫₀ˣ exp(-t²) dt.

    >>> import tinygrad_zoo as tz
    >>> tz.erf(tz.tensor([0.0])).tolist()
    [0.0]
    """
    out = special(x).erf(x)
    return out.astype(x.dtype, copy=False) if x.dtype.kind == "f" else out

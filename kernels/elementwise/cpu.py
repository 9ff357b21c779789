"""Functions of one number, and what their backward multiplies g by, in loops over memory.

`VALUES[name]` writes f(x), `PULLED[name]` g · f'(x), which for tanh, sigmoid and relu is told by f(x) instead of x.
`BIASED` and `BIASED_PULLED` do the same for x + bias, with one bias a column. Each loop is written once, and a function
is a definition of a line or a few, compiled into a loop of its own. `a` and `b` are its settings, if it has any.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import Any

import numpy as np
from numba import prange

from ..jit import Kernel, kernel
from ..pieces.cpu import share
from ..polynomial import (
    constant,
    exact,
    exp,
    exp_below,
    expm1_below,
    fma,
    log1p,
    maximum,
    normal,
    sigmoid,
    sigmoids,
    tanh,
)

ROWS = 64  # a sum down a column adds up so many numbers before it adds them to the total: fewer digits are lost


# ---- the functions, of x and of the settings
@exact
def _exp(x: Any, a: Any, b: Any) -> Any:
    return exp(x)


@exact
def _tanh(x: Any, a: Any, b: Any) -> Any:
    return tanh(x)


@exact
def _sigmoid(x: Any, a: Any, b: Any) -> Any:
    return sigmoid(x)


@exact
def _logsigmoid(x: Any, a: Any, b: Any) -> Any:
    return (x if x < constant(x, 0) else constant(x, 0)) - log1p(exp_below(-abs(x)))


@exact
def _softplus(x: Any, a: Any, b: Any) -> Any:
    return (constant(x, 0) if x < constant(x, 0) else x) + log1p(exp_below(-a * abs(x))) / a


@exact
def _swish(x: Any, a: Any, b: Any) -> Any:
    return x * sigmoid(a * x)


@exact
def _mish(x: Any, a: Any, b: Any) -> Any:
    e = exp_below(-abs(x))
    twice = constant(x, 2)
    rising = e * (twice + e) if x < constant(x, 0) else fma(twice, e, constant(x, 1))
    return x * (rising / (rising + (twice if x < constant(x, 0) else twice * e * e)))


@exact
def _gelu(x: Any, a: Any, b: Any) -> Any:
    return x * normal(x)[0]


@exact
def _gelu_tanh(x: Any, a: Any, b: Any) -> Any:
    """x · sigmoid(2u) is x/2 · (1 + tanh u), of which digits cancel."""
    return x * sigmoid(constant(x, "gelu_scale") * fma(constant(x, "gelu_cubic") * x * x, x, x))


@exact
def _relu(x: Any, a: Any, b: Any) -> Any:
    return maximum(x, constant(x, 0))


@exact
def _elu(x: Any, a: Any, b: Any) -> Any:
    return b * (x if x > constant(x, 0) else a * expm1_below(x))


@exact
def _celu(x: Any, a: Any, b: Any) -> Any:
    return x if x > constant(x, 0) else a * expm1_below(x / a)


# ---- g times their slopes
@exact
def _bounded(x: Any, most: Any) -> Any:
    """x in [-most, most]: beyond, slopes have reached 0 or 1, but a product with x may overflow."""
    x = -most if x < -most else x
    return most if x > most else x


@exact
def _tanh_pulled(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g * fma(-out, out, constant(out, 1))


@exact
def _sigmoid_pulled(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g * out * (constant(out, 1) - out)


@exact
def _relu_pulled(g: Any, out: Any, a: Any, b: Any) -> Any:
    return g if out > constant(out, 0) else constant(g, 0)


@exact
def _logsigmoid_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    return g * sigmoid(-x)


@exact
def _softplus_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    return g * sigmoid(a * x)


@exact
def _swish_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    x = _bounded(a * x, -constant(x, "flushed"))
    share, other = sigmoids(x)
    return g * fma(share * x, other, share)


@exact
def _mish_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    x = _bounded(x, -constant(x, "flushed"))
    e = exp_below(-abs(x))
    one, twice = constant(x, 1), constant(x, 2)
    rising = e * (twice + e) if x < constant(x, 0) else fma(twice, e, one)
    rest = twice if x < constant(x, 0) else twice * e * e
    scale = one / (rising + rest)
    gate, less = rising * scale, rest * scale
    return g * fma(x * (e if x < constant(x, 0) else one) / (one + e), less * (one + gate), gate)


@exact
def _gelu_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    x = _bounded(x, constant(x, "far"))
    below, bell = normal(x)
    return g * fma(constant(x, "density") * x, bell, below)


@exact
def _gelu_tanh_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    x = _bounded(x, constant(x, 25))
    square, scale = constant(x, "gelu_cubic") * x * x, constant(x, "gelu_scale")
    share, other = sigmoids(scale * fma(square, x, x))
    return g * fma(share * x, other * scale * fma(constant(x, 3), square, constant(x, 1)), share)


@exact
def _elu_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    return b * (g if x > constant(x, 0) else g * (a * exp_below(x)))


@exact
def _celu_pulled(g: Any, x: Any, a: Any, b: Any) -> Any:
    return g if x > constant(x, 0) else g * exp_below(x / a)


@exact
def _tanh_pulled_to_x(g: Any, x: Any, a: Any, b: Any) -> Any:
    return _tanh_pulled(g, tanh(x), a, b)


@exact
def _sigmoid_pulled_to_x(g: Any, x: Any, a: Any, b: Any) -> Any:
    share, other = sigmoids(x)
    return g * share * other


# ---- the loops
function: Any = None  # stands for the function of the loop


def value(x: Any, out: Any, a: float, b: float, parts: int) -> None:
    T = x.dtype.type
    for part in prange(parts):
        first, last = share(part, parts, x.size)
        x_part, out_part = x[first:last], out[first:last]
        for i in range(x_part.size):
            out_part[i] = function(x_part[i], T(a), T(b))


def pulled(g: Any, x: Any, gx: Any, a: float, b: float, parts: int) -> None:
    T = x.dtype.type
    for part in prange(parts):
        first, last = share(part, parts, x.size)
        g_part, x_part, gx_part = g[first:last], x[first:last], gx[first:last]
        for i in range(x_part.size):
            gx_part[i] = function(g_part[i], x_part[i], T(a), T(b))


def biased(x: Any, bias: Any, out: Any, a: float, b: float, parts: int) -> None:
    T = x.dtype.type
    rows = len(x)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            x_row, out_row = x[row], out[row]
            for i in range(bias.size):
                out_row[i] = function(x_row[i] + bias[i], T(a), T(b))


def biased_pulled(g: Any, x: Any, bias: Any, gx: Any, sums: Any, a: float, b: float, parts: int) -> None:
    """A row of `sums` is what the rows of gx in a share add up to; parts have several shares."""
    T = x.dtype.type
    rows, shares = len(x), len(sums)
    for part in prange(parts):
        block = np.zeros_like(bias)
        for k in range(part * shares // parts, (part + 1) * shares // parts):
            total = sums[k]
            total[:] = T(0)
            last = (k + 1) * rows // shares
            for start in range(k * rows // shares, last, ROWS):
                block[:] = T(0)
                for row in range(start, min(start + ROWS, last)):
                    g_row, x_row, gx_row = g[row], x[row], gx[row]
                    for i in range(bias.size):
                        gx_row[i] = function(g_row[i], x_row[i] + bias[i], T(a), T(b))
                    for i in range(bias.size):
                        block[i] += gx_row[i]
                for i in range(bias.size):
                    total[i] += block[i]


def _loops(loop: Callable[..., None], signature: str, functions: dict[str, Any]) -> dict[str, Kernel]:
    """The loop as a kernel for each function, as its global: Numba's cache would take closures for one another."""
    made = {}
    for name, of in functions.items():
        copy = FunctionType(loop.__code__, {**globals(), "function": of}, f"{name}_{loop.__name__}")
        copy.__qualname__, copy.__module__ = copy.__name__, __name__
        made[name] = kernel(signature, parallel=True)(copy)
    return made


_VALUES = {
    "exp": _exp, "tanh": _tanh, "sigmoid": _sigmoid, "logsigmoid": _logsigmoid, "softplus": _softplus, "swish": _swish,
    "mish": _mish, "gelu": _gelu, "gelu_tanh": _gelu_tanh, "relu": _relu, "elu": _elu, "celu": _celu,
}  # fmt: skip
_PULLED = {
    "tanh": _tanh_pulled, "sigmoid": _sigmoid_pulled, "logsigmoid": _logsigmoid_pulled, "softplus": _softplus_pulled,
    "swish": _swish_pulled, "mish": _mish_pulled, "gelu": _gelu_pulled, "gelu_tanh": _gelu_tanh_pulled,
    "relu": _relu_pulled, "elu": _elu_pulled, "celu": _celu_pulled,
}  # fmt: skip
_TO_X = {"tanh": _tanh_pulled_to_x, "sigmoid": _sigmoid_pulled_to_x}

VALUES = _loops(value, "void(T[::1], T[::1], f8, f8, i8)", _VALUES)
PULLED = _loops(pulled, "void(T[::1], T[::1], T[::1], f8, f8, i8)", _PULLED)
BIASED = _loops(biased, "void(T[:, ::1], T[::1], T[:, ::1], f8, f8, i8)", _VALUES)
BIASED_PULLED = _loops(
    biased_pulled, "void(T[:, ::1], T[:, ::1], T[::1], T[:, ::1], T[:, ::1], f8, f8, i8)", {**_PULLED, **_TO_X}
)
# Nanoseconds of one thread for each byte of x, about.
TIMES = {
    "exp": 0.1, "tanh": 0.14, "sigmoid": 0.11, "logsigmoid": 0.2, "softplus": 0.22, "swish": 0.15, "mish": 0.2,
    "gelu": 0.24, "gelu_tanh": 0.17, "relu": 0.03, "elu": 0.11, "celu": 0.12,
}  # fmt: skip

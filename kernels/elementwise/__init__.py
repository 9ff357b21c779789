"""Functions of one number, entry by entry, and their gradients: by kernels, where there are any for the arrays.

Every function here returns None where no kernel serves: for other arrays than those of float32 and float64, and where
kernels are turned off. Then the formula does, which stands in the op. Results lie in memory as x does.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda, shares, threads
from ..dispatch import Array, module
from ..jit import COMPILED


def value(name: str, x: Any, a: float = 0.0, b: float = 0.0) -> Array | None:
    """f(x) for the function called `name` in cpu.py, with settings a and b.

    >>> value("relu", np.array([-1.0, 2.0]))
    array([0., 2.])
    >>> value("relu", [1.0]) is None
    True
    """
    if type(x) is not np.ndarray and cuda.served(x):
        return cuda.module(__name__).value(name, x, None, a, b)
    if type(x) is not np.ndarray or x.dtype not in COMPILED or (cpu := module(__name__)) is None:
        return None
    if x.flags.carray:
        out = np.empty(x.shape, x.dtype)
    else:
        out = np.empty_like(x := _compact(x))
    parts = threads.parts(x.nbytes * cpu.TIMES[name])
    cpu.VALUES[name][x.dtype](x.ravel("K"), out.ravel("K"), a, b, parts)
    return out


def pulled(name: str, g: Array, x: Any, a: float = 0.0, b: float = 0.0) -> Array | None:
    """g · f'(x); tanh, sigmoid and relu are given f(x) instead of x.

    >>> pulled("relu", np.array([3.0, 3.0]), np.array([0.0, 2.0]))
    array([0., 3.])
    """
    if type(x) is not np.ndarray and cuda.served(x):
        return cuda.module(__name__).pulled(name, g, x, a, b)
    if type(x) is not np.ndarray or x.dtype not in COMPILED or (cpu := module(__name__)) is None:
        return None
    if x.flags.carray and g.flags.carray and g.dtype is x.dtype:
        gx = np.empty(x.shape, x.dtype)
    else:
        gx = np.empty_like(x := _compact(x))
        g = _like(g, x)
    parts = threads.parts(x.nbytes * cpu.TIMES[name])
    cpu.PULLED[name][x.dtype](g.ravel("K"), x.ravel("K"), gx.ravel("K"), a, b, parts)
    return gx


def biased(name: str, x: Any, bias: Any, a: float = 0.0, b: float = 0.0) -> Array | None:
    """f(x + bias) for x (…, C) and bias (C,).

    >>> biased("relu", np.array([[-1.0, 2.0]]), np.array([2.0, 1.0]))
    array([[1., 3.]])
    """
    if type(x) is not np.ndarray and cuda.served(x) and bias.dtype == x.dtype:
        return cuda.module(__name__).value(name, x, bias, a, b)
    if (cpu := _served(x, bias)) is None:
        return None
    out = np.empty(x.shape, x.dtype)
    parts = threads.parts(x.nbytes * cpu.TIMES[name])
    rows = (len(bias) and x.size // len(bias), len(bias))
    cpu.BIASED[name][x.dtype](_plain(x).reshape(rows), _plain(bias), out.reshape(rows), a, b, parts)
    return out


def biased_pulled(name: str, g: Array, x: Any, bias: Any, a: float = 0.0, b: float = 0.0) -> tuple[Array, Array] | None:
    """g · f'(x + bias), and its sum over all but the last axis.

    >>> [y.tolist() for y in biased_pulled("relu", np.ones((2, 1)), np.ones((2, 1)), np.ones(1))]
    [[[1.0], [1.0]], [2.0]]
    """
    if type(x) is not np.ndarray and cuda.served(x) and bias.dtype == x.dtype:
        pulled: tuple[Array, Array] = cuda.module(__name__).biased_pulled(name, g, x, bias, a, b)
        return pulled
    if (cpu := _served(x, bias)) is None:
        return None
    gx = np.empty(x.shape, x.dtype)
    rows = (len(bias) and x.size // len(bias), len(bias))
    nanoseconds = x.nbytes * cpu.TIMES[name]
    cut = shares.count(rows[0], nanoseconds)
    parts = min(threads.parts(nanoseconds), cut)
    sums = np.empty((cut, len(bias)), x.dtype)
    g = _plain(g).astype(x.dtype, copy=False)
    cpu.BIASED_PULLED[name][x.dtype](
        g.reshape(rows), _plain(x).reshape(rows), _plain(bias), gx.reshape(rows), sums, a, b, parts
    )
    return gx, shares.added(sums)


def _served(x: Any, bias: Any) -> Any:
    """cpu.py for two arrays of one dtype that its kernels serve, else None."""
    if type(x) is not np.ndarray or type(bias) is not np.ndarray or x.dtype not in COMPILED or bias.dtype != x.dtype:
        return None
    return module(__name__)


def _plain(x: Array) -> Array:
    """x, or a copy, writable and in C order: what a kernel takes."""
    return x if x.flags.carray else x.copy()


def _compact(x: Array) -> Array:
    """x, or a copy, such that `x.ravel("K")` is writable and a view of it."""
    flat = x.ravel("K")
    return x.copy() if flat.flags.owndata or not flat.flags.carray else x


def _like(g: Array, x: Array) -> Array:
    """The entries of g, in the dtype and in the order in memory of x."""
    out = np.empty_like(x)
    out[...] = g
    return out

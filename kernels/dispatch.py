"""Picks the implementation that serves a call from its arrays; Numba loads when it is first needed.

A folder of kernels has its formulas on whole arrays in `__init__.py`: they serve every array module and every dtype.
Beside them `cpu.py` holds loops for NumPy arrays. Which of the two serves a call depends on the call and on
NUMBA_DISABLE_JIT alone, never on what happens to be compiled already, so that reruns are bitwise equal.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from .jit import enabled

Array: TypeAlias = Any  # numpy.ndarray, cupy.ndarray
_COMPILED = frozenset({np.dtype(np.float32), np.dtype(np.float64)})


class Loop(dict[np.dtype[Any], Callable[..., None]]):
    """A loop over flat arrays; `loop[dtype]` compiles it for that dtype, once.

    `signature` is Numba's, with T for the dtype: "void(T[::1], T[::1], f8)". The machine code is kept on disk beside
    the source. Numba renews it when the file of the loop changes, not when a function called from another file does:
    a loop calls none. No fastmath flag is set, so every element goes through the same correctly rounded operations as
    in NumPy, at any vector width: results are bitwise those of the formula.

    >>> @loop("void(T[::1], f8)")
    ... def scale(x, factor):
    ...     for i in range(x.size):
    ...         x[i] *= x.dtype.type(factor)
    >>> scale
    Loop(scale)
    """

    def __init__(self, function: Callable[..., None], signature: str) -> None:
        self.function, self.signature = function, signature

    def __missing__(self, dtype: np.dtype[Any]) -> Callable[..., None]:
        import numba

        signature = self.signature.replace("T", dtype.name)
        settings: dict[str, Any] = {"error_model": "numpy", "nogil": True}
        try:
            compiled = numba.njit(signature, cache=True, **settings)(self.function)
        except RuntimeError as error:  # neither the source's folder nor the user's cache folder is writable
            if "cannot cache" not in str(error):
                raise
            compiled = numba.njit(signature, **settings)(self.function)
        self[dtype] = compiled
        return self[dtype]

    def __repr__(self) -> str:
        return f"Loop({self.function.__name__})"


def loop(signature: str) -> Callable[[Callable[..., None]], Loop]:
    """The decorator that makes a Loop."""
    return lambda function: Loop(function, signature)


def namespace(*arrays: Any) -> Any:
    """The array module of the first array among the arguments: numpy, cupy, or the stand-in for cupy.

    A device array's class says it: `cupy.ndarray.__module__` is "cupy".

    >>> namespace(2.0, np.ones(3)).__name__
    'numpy'
    """
    for a in arrays:
        if type(a) is np.ndarray:
            return np
        if hasattr(a, "dtype") and not isinstance(a, np.generic):
            return np if isinstance(a, np.ndarray) else sys.modules[type(a).__module__]
    return np


def loops(package: str, *arrays: Array) -> Any:
    """The module `package`.cpu where its loops can serve, else None: the formula serves.

    They serve writable, contiguous NumPy arrays of one length and one dtype, float32 or float64. They check no bounds
    and take the arrays to be disjoint.

    >>> loops("tinygrad_zoo.kernels.optimizer", np.ones(4)[::2], np.ones(2)) is None
    True
    """
    first = arrays[0]
    if type(first) is not np.ndarray or first.ndim != 1:
        return None
    shape, dtype = first.shape, first.dtype
    for array in arrays:
        if type(array) is not np.ndarray or not array.flags.carray or array.shape != shape or array.dtype != dtype:
            return None
    return module(package) if dtype in _COMPILED else None


@functools.cache
def module(package: str) -> Any:
    """`package`.cpu, or None where kernels are turned off: the formula serves."""
    return importlib.import_module(f"{package}.cpu") if enabled() else None

"""A strict stand-in for CuPy, on the host: `TINYGRAD_ZOO_BACKEND=cupysim`.

The names, signatures and refusals are those of CuPy (api.json); the arithmetic is NumPy's and SciPy's. What CuPy
refuses raises: host arrays among device arrays, lists as data or indices, implicit conversion, arguments and names that
NumPy has and CuPy has not. So does what CuPy leaves undefined, `a[i] = v` with an index given twice, and what it reads
past, an index out of bounds. Memory of `empty` is NaN, and so is the result of a factorisation that fails, since CuPy
does not look. What waits for the device, `float(x)` or `x[mask]`, is noted in the log of `transfers.watch()` and raises
under `transfers.forbid_sync()`. A stream can be captured into a graph (capturing.py). Three things are stricter than
CuPy: NumPy's functions of a device array (`np.exp(x)`), which CuPy runs on the device; lists and host arrays as
indices, which it uploads; writing to a broadcast view.

The stand-in imports NumPy and SciPy, and nothing else of this package.

>>> from tinygrad_zoo.testing import cupysim as xp
>>> xp.asarray([1.0, 2.0]) * 2
cupysim.array([2., 4.])
>>> import numpy as np
>>> xp.ones(2) + np.ones(2)
Traceback (most recent call last):
TypeError: __add__ of a device array: Unsupported type <class 'numpy.ndarray'>
"""

from __future__ import annotations

from typing import Any

import numpy as np

from . import cuda
from .api import api as _api
from .calls import Namespace as _Namespace
from .calls import lookup as _lookup
from .device_array import ndarray
from .generators import random
from .raw_module import RawModule

newaxis = None
linalg, fft = _Namespace("cupy.linalg"), _Namespace("cupy.fft")
__version__: str = f"{_api()['cupy version']} (stand-in)"
ndarray.__module__ = __name__  # as `cupy.ndarray` says "cupy"
__all__ = [
    "RawModule", "asnumpy", "cuda", "fft", "get_array_module", "get_default_pinned_memory_pool", "linalg", "ndarray",
    "newaxis", "random",
]  # fmt: skip


def asnumpy(a: Any, stream: Any = None, order: str = "C", out: Any = None, *, blocking: bool = True) -> Any:
    """A copy on the host."""
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a, order=order)  # type: ignore[call-overload]


def get_default_pinned_memory_pool() -> cuda.PinnedMemoryPool:
    """The one that copies from the host take memory of."""
    return _pinned


_pinned = cuda.PinnedMemoryPool()


def get_array_module(*args: Any) -> Any:
    """This module if a device array is among the arguments, else NumPy."""
    import sys

    return sys.modules[__name__] if any(isinstance(a, ndarray) for a in args) else np


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return _lookup("cupy", name)

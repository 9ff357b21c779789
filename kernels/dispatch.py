"""Picks the implementation that serves a call from its arrays; Numba loads when it is first needed.

A folder of kernels has its formulas on whole arrays in `__init__.py`: they serve every array module and every dtype.
Beside them `cpu.py` holds kernels for NumPy arrays. Which of the two serves a call depends on the call and on
`jit.enabled` alone, never on what happens to be compiled already, so that reruns are bitwise equal.
"""

from __future__ import annotations

import functools
import importlib
import sys
from typing import Any, TypeAlias

import numpy as np

from .jit import COMPILED, enabled
from .memory import keep_freed

Array: TypeAlias = Any  # numpy.ndarray, cupy.ndarray


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
    """The module `package`.cpu where its loops over flat arrays can serve, else None: the formula serves.

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
    return module(package) if dtype in COMPILED else None


@functools.cache
def module(package: str) -> Any:
    """`package`.cpu, or None where kernels are turned off: the formula serves."""
    if not enabled():
        return None
    keep_freed()
    return importlib.import_module(f"{package}.cpu")

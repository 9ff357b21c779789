"""Array in, array out: the same algorithms as loops that Numba compiles on first use, one module a topic.

Nothing here is called by users: the functions beside them, in readable Python, choose by what they are given. Where
Numba is missing, or NUMBA_DISABLE_JIT=1, those serve. Every module keeps its helpers to itself, because Numba's cache
notices no change in another file.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

Function = TypeVar("Function", bound=Callable[..., Any])
_TOP = np.uint64(1 << 63)


def enabled() -> bool:
    """Whether there is a compiler: Numba, and no NUMBA_DISABLE_JIT."""
    return os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") and importlib.util.find_spec("numba") is not None


def jit(function: Function) -> Function:
    """The decorator of every loop: compiled once for each combination of types, kept on disk where that can be."""
    import numba

    try:
        made: Function = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no folder for the cache can be written: compiled for this process alone
        made = numba.njit(nogil=True, error_model="numpy")(function)
    return made


def numeric(values: object, caller: str) -> TypeGuard[NDArray[Any]]:
    """Whether `values` is an array of numbers that a loop can take; ValueError where it has not one axis.

    >>> numeric(np.ones(3), "f"), numeric([1.0], "f"), numeric(np.array(["a"]), "f")
    (True, False, False)
    """
    if not (isinstance(values, np.ndarray) and values.dtype.kind in "biuf" and values.dtype.itemsize <= 8):
        return False
    if values.ndim != 1:
        raise ValueError(f"{caller}: expected an array with one axis, got shape {values.shape}; call it on x.ravel()")
    return True


def without_nan(values: NDArray[Any], caller: str) -> NDArray[Any]:
    """`values`, or ValueError where a NaN is among them.

    >>> without_nan(np.array([1.0, np.nan]), "f")
    Traceback (most recent call last):
    ...
    ValueError: f: NaN at index 1 has no place in an order: leave it out, as in x[~np.isnan(x)]
    """
    if values.dtype.kind == "f" and (missing := np.isnan(values)).any():
        raise ValueError(
            f"{caller}: NaN at index {missing.argmax()} has no place in an order: leave it out, as in x[~np.isnan(x)]"
        )
    return values


def canonical(values: NDArray[Any], *, single: bool = False) -> NDArray[Any]:
    """`values` in one of the few forms that loops are compiled for: contiguous, read-only, float64 or int64, in order.

    Unsigned integers of 64 bits lose their half of the range, so that the order stays. `single` is for loops that are
    compiled for float32 as well, which saves a copy.

    >>> canonical(np.array([1, 2], np.int8)).dtype, canonical(np.ones(6, np.float16)[::2]).dtype
    (dtype('int64'), dtype('float64'))
    """
    if values.dtype == np.uint64:
        values = (values ^ _TOP).view(np.int64)
    elif values.dtype.kind != "f":
        values = values.astype(np.int64, copy=False)
    else:
        values = values.astype(np.float32 if single and values.dtype.itemsize <= 4 else np.float64, copy=False)
    view = np.ascontiguousarray(values).view()
    view.flags.writeable = False
    return view


def restored(made: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """What a loop made of canonical values, in the dtype that they had.

    >>> restored(canonical(np.array([2**64 - 1], np.uint64)), np.dtype(np.uint64))
    array([18446744073709551615], dtype=uint64)
    """
    if dtype == np.uint64:
        unsigned: NDArray[Any] = made.view(np.uint64) ^ _TOP
        return unsigned
    return made.astype(dtype, copy=False)

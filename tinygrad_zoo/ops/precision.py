"""In which dtype an op computes: float16, whose sums and squares overflow, as float32, and only the end is rounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np

from ..backend import namespace, on_host, real_dtype
from ..grad_mode import state
from ..kernels import halves
from ..variable import Array

_HALF, _SINGLE, _INT64 = np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.int64)


def accumulators(x: Array, dtype: Any, op: str) -> tuple[Any, Any]:
    """The dtypes to add and multiply `x` in, and to return: wider for float16, int64 for integers and booleans."""
    out = x.dtype
    if dtype is not None:
        out = real_dtype(dtype, f"{op}: expected a dtype")
    elif out.kind != "f":
        out = _INT64
    return (_SINGLE if out.char == "e" else out), out


def widened(x: Any) -> Any:
    """float16 as float32; all else as it is.

    >>> widened(np.ones(2, np.float16)).dtype, widened(None) is None
    (dtype('float32'), True)
    """
    return x.astype(dtype=np.float32) if getattr(x, "dtype", None) is _HALF else x


def narrowed(out: Any, *inputs: Any) -> Any:
    """`out` in float16 if all that is floating among the inputs is: labels, of integers, do not count.

    >>> x, labels = np.ones(2, np.float16), np.array([0, 1])
    >>> narrowed(widened(x), x, labels).dtype, narrowed(widened(x), x, widened(x)).dtype
    (dtype('float16'), dtype('float32'))
    """
    found = False
    for x in inputs:
        dtype = getattr(x, "dtype", None)
        if dtype is _HALF:
            found = True
        elif dtype is not None and dtype.kind == "f":
            return out
    return out.astype(dtype=_HALF) if found else out


def as_float(x: Array, like: Array) -> Any:
    """Labels and counts, which may be integers or booleans, in the dtype of `like`."""
    return x if x.dtype.kind == "f" else x.astype(like.dtype)


def half_in_single(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward` of several steps on widened arrays; its result is in the dtype that NumPy's promotion gives the arrays,
    integers among them: float16 with int64 makes float64."""

    @wraps(forward)
    def run(*arrays: Any, **settings: Any) -> Any:
        for a in arrays:
            if getattr(a, "dtype", None) is _HALF:
                break
        else:
            return forward(*arrays, **settings)
        out = forward(*map(widened, arrays), **settings)
        given = [a for a in arrays if a is not None]
        return out.astype(namespace(*given).result_type(*given), copy=False) if out.dtype.kind == "f" else out

    return run


# ---- under autocast
def lowered(x: Any) -> Any:
    """x as a product takes it: under `autocast`, what is float32 rounded to 16 bits, on a device in that dtype."""
    if state.precision is None or getattr(x, "dtype", None) != _SINGLE:
        return x
    dtype = None if on_host(x) else halves.dtype_of(state.precision)
    return halves.rounded(x, state.precision) if dtype is None else x.astype(dtype)


def raised(out: Any) -> Any:
    """The result of a product of what was `lowered`, in float32 again: a number of 16 bits, too."""
    if state.precision is None:
        return out
    return halves.rounded(out, state.precision) if out.dtype == _SINGLE else out.astype(_SINGLE)


def in_sixteen_bits(forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward`, under `autocast` on float32 arrays rounded to 16 bits, its result rounded as well."""

    @wraps(forward)
    def run(*arrays: Any, **settings: Any) -> Any:
        if state.precision is None or any(a is not None and a.dtype != _SINGLE for a in arrays):
            return forward(*arrays, **settings)
        factors = (a if a is None else halves.rounded(a, state.precision) for a in arrays)
        return halves.rounded(forward(*factors, **settings), state.precision)

    return run

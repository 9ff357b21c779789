"""Numbers of 16 bits as the factors of products: float16, and bfloat16, float32's range with 8 bits of precision."""

from __future__ import annotations

import functools
from typing import Any, Literal, TypeAlias

import numpy as np

from .dispatch import Array, namespace

Kind: TypeAlias = Literal["float16", "bfloat16"]
_SINGLE = np.dtype(np.float32)


def rounded(x: Array, kind: Kind) -> Array:
    """x of float32, rounded to the nearest numbers of 16 bits, ties to even: what float16 cannot hold is inf.

    >>> rounded(np.array([1 / 3, 7e4], np.float32), "float16").tolist()
    [0.333251953125, inf]
    >>> rounded(np.array([1 / 3, 7e4], np.float32), "bfloat16").tolist()
    [0.333984375, 70144.0]
    """
    if kind == "float16":
        with np.errstate(all="ignore"):
            return x.astype(np.float16).astype(_SINGLE)
    plain = namespace(x).ascontiguousarray(x)
    bits = plain.view(np.uint32)
    even = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(_SINGLE)
    return namespace(x).where(x == x, even, x)


def dtype_of(kind: Kind) -> Any:
    """The dtype whose arrays a device multiplies; None for bfloat16 where ml_dtypes is not installed."""
    return np.dtype(np.float16) if kind == "float16" else _bfloat16()


@functools.cache
def _bfloat16() -> Any:
    try:
        from ml_dtypes import bfloat16
    except ImportError:
        return None
    return np.dtype(bfloat16)

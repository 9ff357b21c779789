"""The same values in every memory layout that an array can have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..backend import namespace, on_host
from ..variable import Array


def _c(x: Array) -> Array:
    return x.copy(order="C")


def _f(x: Array) -> Array:
    return x.copy(order="F")


def _transposed(x: Array) -> Array:
    """The first axis innermost in memory."""
    return namespace(x).moveaxis(namespace(x).moveaxis(x, 0, -1).copy(order="C"), -1, 0) if x.ndim else _c(x)


def _strided(x: Array) -> Array:
    """Every second value of an array that is twice as long."""
    return namespace(x).stack([x, x], axis=-1)[..., 0]


def _negative(x: Array) -> Array:
    """Strides below zero, along every axis."""
    back = (..., *(slice(None, None, -1),) * x.ndim)  # the ellipsis keeps 0-d arrays arrays
    return x[back].copy(order="C")[back]


def _read_only(x: Array) -> Array:
    x = x.copy(order="C")
    if on_host(x):  # a device array has no such flag
        x.setflags(write=False)
    return x


# Each gives an array of the same values and shape in memory of its own.
LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "C": _c,
    "F": _f,
    "transposed": _transposed,
    "strided": _strided,
    "negative-stride": _negative,
    "read-only": _read_only,
}


def zero_stride(x: Array) -> Array:
    """The first layer of `x` repeated along its first axis without a copy: the one layout that changes values.

    >>> import numpy as np
    >>> zero_stride(np.array([1.0, 2.0])).strides
    (0,)
    """
    if not x.ndim or not x.shape[0]:
        return _c(x)
    repeated: Any = namespace(x).broadcast_to(_c(x[:1]), x.shape)
    return repeated

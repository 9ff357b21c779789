"""Ops that join arrays, cut them and repeat them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array
from .sampling import sample


def _pieces(g: Any, arrays: Sequence[Any], axis: int) -> list[Any]:
    """`g` cut along `axis` into the lengths of `arrays`."""
    ends = np.cumsum([x.shape[axis] for x in arrays]).tolist()
    before = (slice(None),) * (axis % g.ndim)
    return [g[(*before, slice(lo, hi))] for lo, hi in zip([0, *ends[:-1]], ends, strict=True)]


@primitive(
    vjp=lambda g, out, *arrays, needs, axis: _pieces(g, arrays, axis),
    samples=lambda r: [sample(r(2, 3), r(2, 1), axis=1), sample(r(2), r(0), r(3)), sample(r(1, 2), axis=-1)],
    reference=lambda *arrays, axis: np.concatenate(arrays, axis),
)
def concat(*arrays: Array, axis: int = 0) -> Array:
    """Join arrays along an axis they may differ in; `concat([a, b], 0)` or `concat(a, b, axis=0)`.

    >>> import tinygrad_zoo as tz
    >>> tz.concat([tz.tensor([1, 2]), tz.tensor([3])]).tolist()
    [1, 2, 3]
    """
    if not arrays:
        raise ShapeError("concat: expected at least one array")
    return namespace(*arrays).concatenate(arrays, axis)


def _layers(g: Any, count: int, axis: int) -> list[Any]:
    before = (slice(None),) * (axis % g.ndim)
    return [g[(*before, i)] for i in range(count)]


@primitive(
    vjp=lambda g, out, *arrays, needs, axis: _layers(g, len(arrays), axis),
    samples=lambda r: [sample(r(2, 3), r(2, 3), axis=1), sample(r(), r()), sample(r(2), r(2), r(2), axis=-1)],
    reference=lambda *arrays, axis: np.stack(arrays, axis),
)
def stack(*arrays: Array, axis: int = 0) -> Array:
    """Join arrays of one shape along a new axis.

    >>> import tinygrad_zoo as tz
    >>> tz.stack([tz.tensor([1, 2]), tz.tensor([3, 4])], axis=1).tolist()
    [[1, 3], [2, 4]]
    """
    if not arrays:
        raise ShapeError("stack: expected at least one array")
    return namespace(*arrays).stack(arrays, axis)


def _parts(length: int, sections: int | Sequence[int]) -> list[int]:
    if isinstance(sections, int):
        if sections < 1:
            raise UsageError(f"split: expected pieces of at least 1, got {sections}")
        return [builtins.min(sections, length - at) for at in range(0, length, sections)] or [0]
    if builtins.sum(sections) != length:
        raise ShapeError(f"split: sections {list(sections)} sum to {builtins.sum(sections)}, the axis has {length}")
    return list(sections)


@primitive(
    vjp=lambda g, out, x, needs, split_size_or_sections, axis: [
        concat(*(g if isinstance(g, (tuple, list)) else (g,)), axis=axis)
    ],
    samples=lambda r: [
        sample(r(5, 2), split_size_or_sections=2),
        sample(r(2, 6), split_size_or_sections=(1, 3, 2), axis=1),
        sample(r(3), split_size_or_sections=3),
    ],
    reference=lambda x, split_size_or_sections, axis: tuple(
        np.split(x, np.cumsum(_parts(x.shape[axis], split_size_or_sections))[:-1], axis)
    ),
    view=True,
)
def split(x: Array, *, split_size_or_sections: int | tuple[int, ...], axis: int = 0) -> tuple[Array, ...]:
    """Cut along `axis` into pieces of one size (the last may be shorter) or of the sizes given.

    >>> import tinygrad_zoo as tz
    >>> [piece.tolist() for piece in tz.split(tz.tensor([1, 2, 3]), 2)]
    [[1, 2], [3]]
    """
    ends = np.cumsum(_parts(x.shape[axis], split_size_or_sections)).tolist()
    before = (slice(None),) * (axis % x.ndim)
    return tuple(x[(*before, slice(lo, hi))] for lo, hi in zip([0, *ends[:-1]], ends, strict=True))

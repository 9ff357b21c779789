"""Which axes a call means: negative ones count from the end, and a 0-d array has an axis 0 to reduce, sort or index."""

from __future__ import annotations

from typing import Any, TypeAlias

from numpy.lib.array_utils import normalize_axis_index, normalize_axis_tuple

Axis: TypeAlias = int | tuple[int, ...] | None


def axis_of(x: Any, axis: int) -> int:
    """`axis`, counted from the front."""
    if isinstance(axis, bool):
        raise TypeError(f"an axis is an integer, not {axis}")
    return int(normalize_axis_index(axis, max(x.ndim, 1)))


def axes_of(x: Any, axis: Axis) -> tuple[int, ...]:
    """All of `axis`, counted from the front; every axis for None."""
    if axis is None:
        return tuple(range(x.ndim))
    if isinstance(axis, (tuple, list)):
        return tuple(normalize_axis_tuple(axis, max(x.ndim, 1)))[: x.ndim]
    return (axis_of(x, axis),)[: x.ndim]


def as_given(x: Any, axis: Axis) -> Axis:
    """`axis` for a reduction of the array module: as it is where that reads it like `axes_of`, which takes longer."""
    return axis if axis is None or (type(axis) is int and x.ndim) else axes_of(x, axis)


def reduced(x: Any, axis: Axis, keepdims: bool) -> tuple[int, ...]:
    """The shape of `x` with `axis` reduced."""
    axes = axes_of(x, axis)
    return tuple(1 if d in axes else n for d, n in enumerate(x.shape) if keepdims or d not in axes)


def kept(reduction: Any, x: Any, axis: Axis) -> Any:
    """A `reduction` of `x` over `axis` with the reduced axes back, of size 1."""
    return reduction.reshape(reduced(x, axis, True))


def along(axis: int, index: Any) -> tuple[Any, ...]:
    """The index that applies `index` to an axis >= 0."""
    return (*(slice(None),) * axis, index)


def as_line(x: Any) -> Any:
    """`x`, with an axis if it has none."""
    return x if x.ndim else x.reshape((1,))


def as_lines(*arrays: Any) -> tuple[Any, ...]:
    return tuple(as_line(x) for x in arrays)


def as_was(line: Any, x: Any) -> Any:
    """`line` without its axis if `x` had none."""
    return line if x.ndim else line.reshape(())

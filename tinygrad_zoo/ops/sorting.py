"""Sorting, ranks and the middle. Ties stand in the order of their indices; NaN counts as the largest value."""

from __future__ import annotations

import operator
from typing import Any, NamedTuple

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array
from .axes import along, as_line, axis_of, reduced
from .indexing import take_along_axis_adjoint
from .sampling import Draw, sample, to_distinct
from .shape import expand_dims


class Selected(NamedTuple):
    """Values taken along an axis, and where each stood."""

    values: Any
    indices: Any


def selected_rule(g: Any, out: Any, x: Any, needs: Any, *, axis: int, **_: Any) -> list[Any]:
    """The rule of ops that return `Selected`: a value's gradient goes to where the value stood."""
    g, at = g[0], out[1]
    if not x.ndim:
        return [g.reshape(())]
    if at.ndim < x.ndim:
        g, at = expand_dims(g, axis=axis), expand_dims(at, axis=axis)
    return [take_along_axis_adjoint(g, at, axis=axis, size=x.shape[axis])]


def _order(x: Array, axis: int, descending: bool = False) -> Array:
    """The indices that sort `x`, stable in both directions."""
    xp = namespace(x)
    if descending:
        return x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, kind="stable"), axis)
    return xp.argsort(x, axis=axis, kind="stable")


def _taken(x: Array, order: Array, axis: int, shape: tuple[int, ...] | None = None) -> Selected:
    values = namespace(x).take_along_axis(x, order, axis)
    return Selected(values, order) if shape is None else Selected(values.reshape(shape), order.reshape(shape))


def _sort_samples(r: Draw) -> list[Any]:
    return [
        sample(r.distinct(5)),
        sample(r.distinct(2, 4), axis=0),
        sample(r.distinct(2, 4), axis=1, descending=True),
        sample(r.distinct()),
        sample(r.distinct(0, 2), axis=0),
    ]


def _sort_reference(x: Any, axis: int, descending: bool, stable: bool) -> Any:
    if not x.ndim:
        return x, np.asarray(0)
    order = np.argsort(-x if descending else x, axis=axis, stable=True)
    return np.take_along_axis(x, order, axis), order


@primitive(vjp=selected_rule, samples=_sort_samples, reference=_sort_reference, repair=to_distinct)
def sort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Selected:
    """(values, indices) in order along `axis`; always stable, whatever is asked.

    >>> values, indices = tz.sort(tz.tensor([3.0, 1.0, 2.0]))
    >>> values.tolist(), indices.tolist()
    ([1.0, 2.0, 3.0], [1, 2, 0])
    """
    axis, line = axis_of(x, axis), as_line(x)
    return _taken(line, _order(line, axis, descending), axis, x.shape)


@primitive(vjp=None, samples=_sort_samples, reference=lambda x, **settings: _sort_reference(x, **settings)[1])
def argsort(x: Array, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Array:
    """The indices that sort along `axis`; always stable, whatever is asked.

    >>> tz.argsort(tz.tensor([3.0, 1.0, 2.0])).tolist()
    [1, 2, 0]
    """
    axis, line = axis_of(x, axis), as_line(x)
    return _order(line, axis, descending).reshape(x.shape)


def _topk_reference(x: Any, k: int, axis: int, largest: bool, sorted: bool) -> Any:
    values, order = _sort_reference(x, axis, largest, True)
    return (np.take(values, range(k), axis), np.take(order, range(k), axis)) if x.ndim else (values, order)


@primitive(
    vjp=selected_rule,
    samples=lambda r: [
        sample(r.distinct(5), k=2),
        sample(r.distinct(2, 4), k=3, axis=1, largest=False),
        sample(r.distinct(3, 2), k=1, axis=0),
        sample(r.distinct(2), k=0),
        sample(r.distinct(), k=1),
    ],
    reference=_topk_reference,
    repair=to_distinct,
)
def topk(x: Array, *, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> Selected:
    """(values, indices) of the k largest (or smallest) along `axis`; always in order, whatever is asked.

    >>> tz.topk(tz.tensor([3.0, 1.0, 2.0]), 2).indices.tolist()
    [0, 2]
    """
    axis, line = axis_of(x, axis), as_line(x)
    k = operator.index(k)
    if not 0 <= k <= line.shape[axis]:
        raise UsageError(f"topk: expected k from 0 to the {line.shape[axis]} values of axis {axis}, got {k}")
    order = _order(line, axis, largest)[along(axis, slice(k))]
    return _taken(line, order, axis, x.shape if not x.ndim and k else None)


def _ranked(op: str, x: Array, rank: int, axis: int) -> Array:
    """Where the value of `rank` (from 0) stands along `axis`, which stays with size 1."""
    if not 0 <= rank < x.shape[axis]:
        raise UsageError(f"{op}: axis {axis} has {x.shape[axis]} values; there is none of rank {rank + 1}")
    return _order(x, axis)[along(axis, slice(rank, rank + 1))]


def _kth_reference(x: Any, k: int, axis: int, keepdims: bool) -> Any:
    values, order = _sort_reference(x, axis, False, True)
    if not x.ndim:
        return values, order
    at = [k - 1] if keepdims else k - 1
    return np.take(values, at, axis), np.take(order, at, axis)


@primitive(
    vjp=selected_rule,
    samples=lambda r: [
        sample(r.distinct(5), k=2),
        sample(r.distinct(2, 4), k=4, axis=1, keepdims=True),
        sample(r.distinct(3, 2), k=1, axis=0),
        sample(r.distinct(), k=1),
    ],
    reference=_kth_reference,
    repair=to_distinct,
)
def kthvalue(x: Array, *, k: int, axis: int = -1, keepdims: bool = False) -> Selected:
    """(values, indices) of the k-th smallest along `axis`, counted from 1.

    >>> tz.kthvalue(tz.tensor([3.0, 1.0, 2.0]), 2).values.item()
    2.0
    """
    axis, line = axis_of(x, axis), as_line(x)
    at = _ranked("kthvalue", line, operator.index(k) - 1, axis)
    return _taken(line, at, axis, reduced(x, axis, keepdims))


def _median_rule(g: Any, out: Any, x: Any, needs: Any, at: Any, axis: int | None, keepdims: bool) -> list[Any]:
    if axis is None or not x.ndim:
        g = g[0] if isinstance(g, (list, tuple)) else g
        flat = take_along_axis_adjoint(g.reshape((1,)), at.reshape((1,)), axis=0, size=x.size)
        return [flat.reshape(x.shape)]
    return selected_rule(g, out, x, needs, axis=axis)


def _median_reference(x: Any, axis: int | None, keepdims: bool) -> Any:
    if axis is None or not x.ndim:
        value = np.sort(x, axis=None)[(x.size - 1) // 2].reshape((1,) * x.ndim if keepdims else ())
        return value if axis is None else (value, np.asarray(0))
    return _kth_reference(x, (x.shape[axis] - 1) // 2 + 1, axis, keepdims)


@primitive(
    vjp=_median_rule,
    samples=lambda r: [
        sample(r.distinct(5)),
        sample(r.distinct(2, 4)),
        sample(r.distinct(2, 4), axis=1),
        sample(r.distinct(3, 2), axis=0, keepdims=True),
        sample(r.distinct(), axis=-1),
    ],
    reference=_median_reference,
    repair=to_distinct,
    saved=("at",),
)
def median(x: Array, *, axis: int | None = None, keepdims: bool = False) -> Any:
    """The middle value, of an even number the lower of the two; with an axis (values, indices) along it.

    A NaN among the values is the median. Of ties the first has the index, and the gradient.

    >>> tz.median(tz.tensor([3.0, 1.0, 2.0, 5.0])).item()
    2.0
    """
    line, d = (x.reshape(-1), 0) if axis is None else (as_line(x), axis_of(x, axis))
    if not line.shape[d]:
        raise ShapeError(f"median: axis={axis} of the shape {x.shape} has no values, so there is no middle one")
    xp, nan = namespace(x), line != line
    at = _ranked("median", line, (line.shape[d] - 1) // 2, d)
    at = xp.where(nan.any(axis=d, keepdims=True), xp.argmax(nan, axis=d, keepdims=True), at)
    if axis is None:
        return line[at[0]].reshape((1,) * x.ndim if keepdims else ()), at
    found = _taken(line, at, d, reduced(x, d, keepdims))
    return found, found.indices


def _searchsorted_samples(r: Draw) -> list[Any]:
    rows, values = np.sort(r(2, 5), axis=-1), r(2, 3)
    return [  # a sequence of one axis and more entries serves values of every shape, which a law takes for a bad call
        sample(rows, values),
        sample(rows, rows[:, ::2], right=True),
        sample(rows, rows, side="right", out_int32=True),
        sample(rows[0], 0.5),
        sample(r(1), values, right=True),
        sample(rows[:, ::-1].copy(), values, np.tile(np.arange(5)[::-1], (2, 1))),
        sample(r(0), values),
    ]


def _searchsorted_reference(rows: Any, values: Any, sorter: Any, right: bool, side: Any, out_int32: bool) -> Any:
    side = side or ("right" if right else "left")
    if rows.ndim == 1:
        return np.asarray(np.searchsorted(rows, values, side, sorter))
    pairs = zip(rows, values, sorter if sorter is not None else [None] * len(rows), strict=True)
    return np.array([np.searchsorted(row, v, side, s) for row, v, s in pairs])


@primitive(vjp=None, samples=_searchsorted_samples, reference=_searchsorted_reference)
def searchsorted(
    sorted_sequence: Array,
    values: Array,
    sorter: Array | None = None,
    *,
    right: bool = False,
    side: str | None = None,
    out_int32: bool = False,
) -> Array:
    """Where each value goes so that the order stays: before equal entries, or behind them with `right`.

    (…, n) and (…, m) → (…, m); a sequence of one axis serves values of any shape. `sorter` is an argsort of it.

    >>> tz.searchsorted(tz.tensor([1, 3, 5]), tz.tensor([0, 3, 9])).tolist()
    [0, 1, 3]
    """
    if side not in (None, "left", "right") or (side == "left" and right):
        raise UsageError(f"searchsorted: expected side='left' or 'right' and no right beside 'left', got {side!r}")
    xp, n = namespace(sorted_sequence, values), sorted_sequence.shape[-1] if sorted_sequence.ndim else 0
    if not hasattr(values, "dtype"):
        values = xp.asarray(values, dtype=np.result_type(sorted_sequence.dtype, values))
    if not sorted_sequence.ndim or (sorted_sequence.ndim > 1 and sorted_sequence.shape[:-1] != values.shape[:-1]):
        raise ShapeError(
            f"searchsorted: expected a sequence of one axis, or (…, n) and values (…, m) with the same axes before; "
            f"got {sorted_sequence.shape} and {values.shape}"
        )
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape or sorter.dtype.kind not in "iu":
            raise ShapeError(
                f"searchsorted: expected a sorter of {sorted_sequence.shape} indices, got {sorter.dtype} "
                f"of shape {sorter.shape}"
            )
        sorted_sequence = xp.take_along_axis(sorted_sequence, sorter, -1)
    low, high = (xp.full(values.shape, k, dtype=np.int64) for k in (0, n))
    nan = values != values
    for _ in range(n.bit_length()):  # halves what is left between low and high
        middle = (low + high) // 2
        at = xp.minimum(middle, n - 1)
        here = sorted_sequence[at] if sorted_sequence.ndim == 1 else xp.take_along_axis(sorted_sequence, at, -1)
        before = (here <= values) | nan if right or side == "right" else (here < values) | (nan & (here == here))
        before = before & (low < high)
        low, high = xp.where(before, middle + 1, low), xp.where(before, high, middle)
    return low.astype(np.int32) if out_int32 else low

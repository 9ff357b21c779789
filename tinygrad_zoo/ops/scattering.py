"""Writing at indices: each op gives a changed copy of its first array. Bounds are checked as in indexing.py."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import add_at, max_at, namespace, on_host
from ..errors import ShapeError
from ..variable import Array, data_of
from .axes import along, as_line, as_lines, as_was, axis_of
from .elementwise import where
from .indexing import (
    check_bounds,
    check_mask,
    corner,
    embedded,
    fits,
    getitem,
    index_select,
    places,
    plain,
    read,
    scatter_by_loop,
)
from .sampling import sample


def _written(index: Any, like: Array) -> tuple[Array, Array]:
    """Which value x[index] = … leaves at each entry of `like`, counted from 1 in C order (0: none), and the mask of the
    values that stay: of several written to one place the last one, on every device."""
    xp = namespace(like)
    flat = xp.arange(like.size).reshape(like.shape)[index]
    order = xp.arange(1, flat.size + 1, dtype=np.uint64)  # a dtype of CuPy's atomic maximum
    last = xp.zeros(like.size, dtype=np.uint64)
    if on_host(like):
        last[flat.reshape(-1)] = order
    else:
        max_at(last, flat.reshape(-1), order)
    return last.astype(np.int64).reshape(like.shape), last[flat] == order.reshape(flat.shape)


def _put(x: Array, index: Any, values: Array) -> Array:
    """A copy of x with x[index] = values, in the wider of their dtypes."""
    xp = namespace(x)
    out = x.astype(xp.result_type(x, values))
    if not _may_repeat(index):
        out[index] = values
    elif on_host(x):  # NumPy writes in the order of memory, so that is made C order
        parts = index if isinstance(index, tuple) else (index,)
        out[tuple(np.ascontiguousarray(i) if hasattr(i, "dtype") else i for i in parts)] = np.ascontiguousarray(values)
    elif x.size and math.prod(shape := x[index].shape):
        last, _ = _written(index, x)
        flat = xp.broadcast_to(xp.asarray(values, dtype=out.dtype), shape).reshape(-1)
        out = xp.where(last > 0, flat[last - (last > 0)], out)
    return out


def _may_repeat(index: Any) -> bool:
    """Whether an index, one with arrays of integers, may name a place twice."""
    return any(hasattr(i, "dtype") and i.dtype.kind in "iu" for i in (index if isinstance(index, tuple) else (index,)))


def _index_put_rule(g: Any, out: Any, x: Any, values: Any, needs: Any, indices: Any, accumulate: bool) -> list[Any]:
    gx = None
    if needs[0]:
        gx = g if accumulate else index_put(g, 0.0, indices=indices)
    if not needs[1]:
        return [gx, None]
    found, like = getitem(g, index=indices), data_of(x)
    at = plain(indices, like)
    if not accumulate and _may_repeat(at):
        found = where(_written(at, like)[1], found, 0)
    return [gx, found]


def _index_put_reference(x: Any, values: Any, indices: Any, accumulate: bool) -> Any:
    """One value after the other."""
    out, flat = x.copy(), np.arange(x.size).reshape(x.shape)[indices]
    for place, value in zip(flat.ravel(), np.broadcast_to(values, flat.shape).ravel(), strict=True):
        at = np.unravel_index(place, x.shape)
        out[at] = out[at] + value if accumulate else value
    return out


@primitive(
    vjp=_index_put_rule,
    samples=lambda r: [
        sample(r(4), r(4), indices=np.array([0, 2, 2, -1])),
        sample(r(4), r(4), indices=np.array([0, 2, 2, -1]), accumulate=True),
        sample(r(4, 3), r(3), indices=(np.array([1, 3]),)),
        sample(r(4, 3), r(), indices=(slice(1, 3), 0)),
        sample(r(2, 3), 2.0, indices=np.array([[True, False, True], [False, False, True]])),
        sample(r(4, 3), r(2, 1), indices=(slice(None, None, 2), np.array([0, 0, 2])), accumulate=True),
    ],
    reference=_index_put_reference,
    order=("x", "indices", "values", "accumulate"),
)
def index_put(x: Array, values: Array, *, indices: Any, accumulate: bool = False) -> Array:
    """index_put(x, indices, values): a copy of x after x[indices] = values, or x[indices] += values with `accumulate`.

    Where an index is repeated, the last value stays and has the gradient; with `accumulate` all are added.

    >>> tz.index_put(tz.zeros(3), [0, 2, 2], tz.tensor([1.0, 2.0, 3.0])).tolist()
    [1.0, 0.0, 3.0]
    """
    at = plain(indices, x)
    place, shape = x[at].shape, getattr(values, "shape", ())
    if len(shape) > len(place) or any(n not in (1, m) for n, m in zip(shape[::-1], place[::-1], strict=False)):
        raise ShapeError(f"index_put: values of shape {shape} do not broadcast to {place}, which the index names")
    if not accumulate:
        return _put(x, at, values)
    out = x.astype(namespace(x).result_type(x, values))
    add_at(out, at, values)
    return out


@primitive(
    vjp=(
        lambda g, out, x, index, source, axis, alpha: g,
        lambda g, out, x, index, source, axis, alpha: None,
        lambda g, out, x, index, source, axis, alpha: alpha * index_select(g, index, axis=axis),
    ),
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 4), r(2, 4), axis=1),
        sample(r(3, 2), r.integers(3, 2), r(2, 2), axis=-2, alpha=-0.5),
        sample(r(), r.integers(1, 1), r(), axis=0, alpha=2.0),
    ],
    reference=lambda x, index, source, axis, alpha: (
        x + alpha * source
        if not x.ndim
        else x + alpha * np.moveaxis(np.eye(x.shape[axis])[:, index] @ np.moveaxis(source, axis, 0), 0, axis)
    ),
    order=("x", "axis", "index", "source", "alpha"),
)
def index_add(x: Array, index: Array, source: Array, *, axis: int, alpha: float = 1) -> Array:
    """index_add(x, axis, index, source): x with alpha · slice j of `source` added to slice index[j], along `axis`.

    >>> tz.index_add(tz.zeros(3), 0, tz.tensor([1, 1]), tz.tensor([2.0, 3.0])).tolist()
    [0.0, 5.0, 0.0]
    """
    whole, at, added = as_lines(x, index, source)
    axis = axis_of(whole, axis)
    if at.ndim != 1 or added.shape != (*whole.shape[:axis], len(at), *whole.shape[axis + 1 :]):
        raise ShapeError(
            f"index_add: expected an index (n) and a source like x, with length n along axis {axis}, got "
            f"x {x.shape}, index {index.shape}, source {source.shape}"
        )
    check_bounds("index_add", at, whole.shape[axis], axis)
    out = whole.astype(namespace(x).result_type(x, source))
    add_at(out, along(axis, at), added if alpha == 1 else alpha * added)
    return as_was(out, x)


@primitive(
    vjp=(
        lambda g, out, x, mask, value: where(mask, 0, g),
        lambda g, out, x, mask, value: None,
        lambda g, out, x, mask, value: where(mask, g, 0),
    ),
    samples=lambda r: [(r(2, 3), r.boolean(2, 3), 0.5), (r(2, 3), r.boolean(3), r()), (r(3), r.boolean(2, 1), r())],
    reference=lambda x, mask, value: np.where(mask, value, x),
)
def masked_fill(x: Array, mask: Array, value: Array) -> Array:
    """x with `value`, a number or a 0-d array, wherever the mask holds.

    >>> tz.masked_fill(tz.tensor([1.0, 2.0]), tz.tensor([True, False]), 0.0).tolist()
    [0.0, 2.0]
    """
    check_mask("masked_fill", mask)
    if getattr(value, "ndim", 0):
        raise ShapeError(f"masked_fill: value is one number, got shape {value.shape}: write where(mask, value, x)")
    return namespace(x).where(mask, value, x)


def _scatter_add_rule(g: Any, out: Any, x: Any, index: Any, src: Any, needs: Any, axis: int) -> list[Any]:
    if not needs[2]:
        return [g, None, None]
    whole, index, added = as_lines(g, index, src)
    return [g, None, as_was(embedded(read(whole, index, axis), added.shape), src)]


@primitive(
    vjp=_scatter_add_rule,
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 2, 4), r(2, 4), axis=1),
        sample(r(3, 3), r.integers(3, 3, 3), r(3, 3), axis=0),
        sample(r(3, 4), r.integers(3, 2, 3), r(2, 4), axis=0),
        sample(r(3), r.integers(3, 0), r(2), axis=-1),
        sample(r(), r.integers(1), r(), axis=0),
    ],
    reference=lambda x, index, src, axis: scatter_by_loop(x, index, src, axis, np.add),
    order=("x", "axis", "index", "src"),
)
def scatter_add(x: Array, index: Array, src: Array, *, axis: int) -> Array:
    """scatter_add(x, axis, index, src): x with src[i, j] added at [index[i, j], j] for axis 0, and so on.

    >>> tz.scatter_add(tz.zeros(3), 0, tz.tensor([2, 2]), tz.tensor([1.0, 2.0])).tolist()
    [0.0, 0.0, 3.0]
    """
    whole, at, added = as_lines(x, index, src)
    axis = fits("scatter_add", whole, at, axis, added)
    out = whole.astype(namespace(x).result_type(x, src))
    add_at(out, places(at, axis, at.shape), added[corner(at.shape)])
    return as_was(out, x)


def _scatter_rule(g: Any, out: Any, x: Any, index: Any, src: Any, needs: Any, axis: int) -> list[Any]:
    gx = scatter(g, index, 0.0, axis=axis) if needs[0] else None
    if not needs[2]:
        return [gx, None, None]
    at, like = as_lines(data_of(index), data_of(x))
    stays = _written(places(at, axis % like.ndim, at.shape), like)[1]
    gsrc = where(stays, read(as_line(g), at, axis), 0)
    return [gx, None, embedded(gsrc, src.shape) if src.ndim else gsrc]


@primitive(
    vjp=_scatter_rule,
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 2, 4), r(2, 4), axis=1),
        sample(r(3, 4), r.integers(3, 2, 3), r(2, 4), axis=0),
        sample(r(3, 2), r.integers(3, 2, 2), 2.0, axis=0),
        sample(r(3), r.integers(3, 2), r(), axis=-1),
        sample(r(3), r.integers(3, 0), r(2), axis=-1),
    ],
    reference=lambda x, index, src, axis: scatter_by_loop(x, index, src, axis, lambda old, new: new),
    order=("x", "axis", "index", "src"),
)
def scatter(x: Array, index: Array, src: Array, *, axis: int) -> Array:
    """scatter(x, axis, index, src): x with src[i, j], or one number, at [index[i, j], j] for axis 0, and so on.

    Where an index is repeated, the last value stays and has the gradient, as in `index_put`.

    >>> tz.scatter(tz.zeros(3), 0, tz.tensor([0, 2]), tz.tensor([1.0, 2.0])).tolist()
    [1.0, 0.0, 2.0]
    """
    whole, at = as_lines(x, index)
    several = getattr(src, "ndim", 0) > 0
    axis = fits("scatter", whole, at, axis, src if several else None)
    return as_was(_put(whole, places(at, axis, at.shape), src[corner(at.shape)] if several else src), x)

"""Ops that join arrays and cut them."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace, on_host
from ..errors import DTypeError, IndexingError, ShapeError, UsageError
from ..variable import Array, data_of
from .axes import along, axis_of
from .indexing import getitem_adjoint
from .sampling import sample


def _cut(x: Any, lengths: Sequence[int], axis: int) -> list[Any]:
    """`x` in pieces of `lengths` along `axis`."""
    ends = np.cumsum(lengths).tolist()
    d = axis_of(x, axis)
    return [x[along(d, slice(lo, hi))] for lo, hi in zip([0, *ends[:-1]], ends, strict=True)]


@primitive(
    vjp=lambda g, out, *arrays, needs, axis: _cut(g, [x.shape[axis] for x in arrays], axis),
    samples=lambda r: [sample(r(2, 3), r(2, 1), axis=1), sample(r(2), r(0), r(3)), sample(r(1, 2), axis=-1)],
    reference=lambda *arrays, axis: np.concatenate(arrays, axis),
)
def concat(*arrays: Array, axis: int = 0) -> Array:
    """Join arrays along an axis they may differ in; `concat([a, b], 0)` or `concat(a, b, axis=0)`.

    >>> tz.concat([tz.tensor([1, 2]), tz.tensor([3])]).tolist()
    [1, 2, 3]
    """
    if not arrays:
        raise ShapeError("concat: expected at least one array")
    return namespace(*arrays).concatenate(arrays, axis)


cat = concat


def _layers(g: Any, count: int, axis: int) -> list[Any]:
    d = axis_of(g, axis)
    return [g[(*along(d, i), ...)] for i in range(count)]  # with the dots a view, also of a vector


@primitive(
    vjp=lambda g, out, *arrays, needs, axis: _layers(g, len(arrays), axis),
    samples=lambda r: [sample(r(2, 3), r(2, 3), axis=1), sample(r(), r()), sample(r(2), r(2), r(2), axis=-1)],
    reference=lambda *arrays, axis: np.stack(arrays, axis),
)
def stack(*arrays: Array, axis: int = 0) -> Array:
    """Join arrays of one shape along a new axis.

    >>> tz.stack([tz.tensor([1, 2]), tz.tensor([3, 4])], axis=1).tolist()
    [[1, 3], [2, 4]]
    """
    if not arrays:
        raise ShapeError("stack: expected at least one array")
    return namespace(*arrays).stack(arrays, axis)


# ---- cutting
def host_integers(op: str, name: str, value: Any) -> int | list[int]:
    """An integer or a list of them, from numbers or an array: the host must know what decides the result's shape."""
    value = data_of(value)
    if hasattr(value, "dtype"):
        if value.dtype.kind not in "iu":
            raise DTypeError(f"{op}: {name} must be integers, not {value.dtype}")
        if not on_host(value):
            raise UsageError(f"{op}: the result's shape depends on {name}: move it to the host, {name}.tolist()")
        value = value.tolist()
    return [operator.index(n) for n in value] if isinstance(value, (list, tuple)) else operator.index(value)


def _joined(g: Any, out: Any, x: Any, needs: Any, axis: int, **_: Any) -> list[Any]:
    """The rule of every op that cuts an axis: the pieces' gradients, joined again."""
    return [concat(*g, axis=axis) if isinstance(g, (tuple, list)) else g]


def _parts(length: int, sections: int | Sequence[int]) -> list[int]:
    """The lengths that split cuts an axis of `length` into."""
    if hasattr(sections, "__index__"):
        size = operator.index(sections)
        if size < 1 and (size or length):
            raise UsageError(f"split: expected pieces of at least 1, got {size}")
        return [min(size, length - at) for at in range(0, length, size or 1)] or [0]
    if sum(sections) != length or min(sections, default=0) < 0:
        raise ShapeError(
            f"split: sections {list(sections)} sum to {sum(sections)}, the axis has {length}; "
            "expected sizes >= 0 that sum to it"
        )
    return list(sections)


def _check_cut(op: str, x: Array, axis: int) -> int:
    if not x.ndim:
        raise ShapeError(f"{op}: a 0-d array has no axis to cut")
    return axis_of(x, axis)


@primitive(
    vjp=_joined,
    samples=lambda r: [
        sample(r(5, 2), split_size_or_sections=2),
        sample(r(2, 6), split_size_or_sections=(1, 3, 2), axis=1),
        sample(r(3), split_size_or_sections=3),
        sample(r(2, 0), split_size_or_sections=2, axis=-1),
    ],
    reference=lambda x, split_size_or_sections, axis: tuple(
        np.split(x, np.cumsum(_parts(x.shape[axis], split_size_or_sections))[:-1], axis)
    ),
    view=True,
)
def split(x: Array, *, split_size_or_sections: int | tuple[int, ...], axis: int = 0) -> tuple[Array, ...]:
    """Cut along `axis` into pieces of one size (the last may be shorter) or of the sizes given.

    >>> [piece.tolist() for piece in tz.split(tz.tensor([1, 2, 3]), 2)]
    [[1, 2], [3]]
    """
    axis = _check_cut("split", x, axis)
    return tuple(_cut(x, _parts(x.shape[axis], split_size_or_sections), axis))


@primitive(
    vjp=_joined,
    samples=lambda r: [
        sample(r(7, 2), chunks=3),
        sample(r(2, 6), chunks=4, axis=1),
        sample(r(3), chunks=1),
        sample(r(0, 2), chunks=2),
    ],
    reference=lambda x, chunks, axis: tuple(
        np.array_split(x, chunks, axis)
        if not x.shape[axis]
        else np.split(x, range(-(-x.shape[axis] // chunks), x.shape[axis], -(-x.shape[axis] // chunks)), axis)
    ),
    view=True,
)
def chunk(x: Array, *, chunks: int, axis: int = 0) -> tuple[Array, ...]:
    """Cut along `axis` into at most `chunks` pieces of one size, ⌈n / chunks⌉; the last may be shorter.

    >>> [piece.tolist() for piece in tz.chunk(tz.tensor([1, 2, 3, 4, 5, 6]), 4)]
    [[1, 2], [3, 4], [5, 6]]
    """
    axis, n = _check_cut("chunk", x, axis), operator.index(chunks)
    if n < 1:
        raise UsageError(f"chunk: expected at least 1 chunk, got {n}")
    length = x.shape[axis]
    return tuple(_cut(x, _parts(length, -(-length // n)) if length else [0] * n, axis))


def _spans(length: int, sections: Any) -> list[tuple[int, int]]:
    """Where the pieces of tensor_split begin and end on an axis of `length`."""
    sections = host_integers("tensor_split", "indices_or_sections", sections)
    if isinstance(sections, int):
        if sections < 1:
            raise UsageError(f"tensor_split: expected at least 1 piece, got {sections}")
        ends = np.cumsum([length // sections + (i < length % sections) for i in range(sections)]).tolist()
        return list(zip([0, *ends[:-1]], ends, strict=True))
    ends = [slice(None, i).indices(length)[1] for i in sections]
    if ends != sorted(ends):
        raise UsageError(f"tensor_split: expected indices in order, got {sections}: pieces would overlap")
    return list(zip([0, *ends], [*ends, length], strict=True))


def _tensor_split_samples(r: Any) -> list[Any]:
    return [
        sample(r(7, 2), indices_or_sections=3),
        sample(r(2, 6), indices_or_sections=(2, -1), axis=1),
        sample(r(4), indices_or_sections=(1, 1, 9)),
        sample(r(2), indices_or_sections=3),
    ]


@primitive(
    vjp=_joined,
    samples=_tensor_split_samples,
    reference=lambda x, indices_or_sections, axis: tuple(np.array_split(x, indices_or_sections, axis)),
    view=True,
)
def tensor_split(x: Array, *, indices_or_sections: Any, axis: int = 0) -> tuple[Array, ...]:
    """Cut along `axis` into that many pieces, as even as can be, the longer ones first; or before the indices given.

    >>> [piece.tolist() for piece in tz.tensor_split(tz.tensor([1, 2, 3, 4]), 3)]
    [[1, 2], [3], [4]]
    """
    axis = _check_cut("tensor_split", x, axis)
    return tuple(x[along(axis, slice(lo, hi))] for lo, hi in _spans(x.shape[axis], indices_or_sections))


@primitive(
    vjp=lambda g, out, x, needs, axis: [stack(*(g if isinstance(g, (tuple, list)) else (g,)), axis=axis)],
    samples=lambda r: [sample(r(3, 2)), sample(r(2, 3), axis=-1), sample(r(2)), sample(r(1, 2))],
    reference=lambda x, axis: tuple(np.moveaxis(x, axis, 0)),
    view=True,
)
def unbind(x: Array, *, axis: int = 0) -> tuple[Array, ...]:
    """The slices along `axis`, each without it.

    >>> [row.tolist() for row in tz.unbind(tz.tensor([[1, 2], [3, 4]]))]
    [[1, 2], [3, 4]]
    """
    axis = _check_cut("unbind", x, axis)
    return tuple(_layers(x, x.shape[axis], axis))


def _narrowed(x: Any, axis: int, start: int, length: int) -> tuple[slice, ...]:
    """The index of what narrow takes."""
    d = _check_cut("narrow", x, axis)
    n, first = x.shape[d], operator.index(start)
    first = first + n if first < 0 else first
    if not 0 <= first <= first + length <= n:
        raise IndexingError(f"narrow: {length} entries from {start} on do not fit axis {axis} of {n}")
    return along(d, slice(first, first + length))


@primitive(
    vjp=(
        lambda g, out, x, axis, start, length: getitem_adjoint(
            g, index=_narrowed(x, axis, start, length), shape=x.shape
        ),
    ),
    samples=lambda r: [
        sample(r(5), axis=0, start=1, length=3),
        sample(r(2, 4), axis=-1, start=-2, length=2),
        sample(r(2, 3), axis=0, start=1, length=0),
    ],
    reference=lambda x, axis, start, length: np.take(x, np.arange(length) + start % x.shape[axis], axis),
    view=True,
)
def narrow(x: Array, *, axis: int, start: int, length: int) -> Array:
    """`length` entries of an axis, from `start` on.

    >>> tz.narrow(tz.tensor([1, 2, 3, 4]), 0, 1, 2).tolist()
    [2, 3]
    """
    return x[_narrowed(x, axis, start, length)]


# ---- differences
def _diff_rule(g: Any, out: Any, x: Any, prepend: Any, append: Any, needs: Any, n: int, axis: int) -> list[Any]:
    d = axis_of(x, axis)
    if not n:
        return [g, None, None]
    lengths = [0 if a is None else a.shape[d] for a in (prepend, x, append)]
    for step in reversed(range(min(n, sum(lengths)))):
        shape = (*out.shape[:d], sum(lengths) - step, *out.shape[d + 1 :])
        late, early = (getitem_adjoint(g, index=along(d, at), shape=shape) for at in (slice(1, None), slice(None, -1)))
        g = late - early
    first, middle, last = _cut(g, lengths, d)
    return [middle, first, last]


@primitive(
    vjp=_diff_rule,
    samples=lambda r: [
        sample(r(4)),
        sample(r(2, 5), n=2, axis=0),
        sample(r(2, 5), r(2, 2), r(2, 2), n=3, axis=1),
        sample(r(3), None, r(1), n=1, axis=0),
        sample(r(3), n=0),
    ],
    reference=lambda x, prepend, append, n, axis: np.diff(
        x, n, axis, **{k: a for k, a in (("prepend", prepend), ("append", append)) if a is not None}
    ),
    order=("x", "n", "axis", "prepend", "append"),
)
def diff(x: Array, prepend: Array | None = None, append: Array | None = None, *, n: int = 1, axis: int = -1) -> Array:
    """x[i + 1] - x[i] along `axis`, n times over; `prepend` and `append` are joined to x first (n = 0: x as it is).

    >>> tz.diff(tz.tensor([1.0, 4.0, 9.0])).tolist()
    [3.0, 5.0]
    """
    d = _check_cut("diff", x, axis)
    if n < 0:
        raise UsageError(f"diff: expected n >= 0, got {n}")
    if not n:
        return x.copy()
    x = namespace(x).concatenate([a for a in (prepend, x, append) if a is not None], d)
    for _ in range(min(n, x.shape[d])):
        x = x[along(d, slice(1, None))] - x[along(d, slice(None, -1))]
    return x

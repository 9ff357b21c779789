"""Reading at indices. The gradient of a read is a scatter-add: repeated indices add up.

An index out of bounds raises IndexingError on the host. On a device nothing is read back to check it, and CuPy wraps
integer arrays around the axis in silence.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import add_at, device_of, namespace, on_host
from ..errors import DeviceError, DTypeError, IndexingError, ShapeError, UsageError
from ..kernels import scatter
from ..variable import Array, data_of
from .axes import along, as_lines, as_was, axis_of
from .elementwise import where
from .sampling import sample

_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def _is_basic(index: Any) -> bool:
    """Whether `index` selects a view: no array, list or boolean among its parts."""
    return _BASIC.issuperset(map(type, index if type(index) is tuple else (index,)))


def plain(index: Any, x: Array) -> Any:
    """`index` with Tensors and lists replaced by arrays of the device of `x`."""
    if isinstance(index, tuple):
        return tuple(plain(i, x) for i in index)
    index = data_of(index)
    if isinstance(index, (list, range)):
        index = namespace(x).asarray(index)
        index = index.astype(np.intp) if index.size == 0 else index
    elif isinstance(index, (float, str)):
        raise DTypeError(f"getitem: an index holds integers or booleans, not {index!r}")
    if not hasattr(index, "dtype"):
        return index
    if index.dtype.kind not in "iub":
        raise DTypeError(f"getitem: an index holds integers or booleans, not {index.dtype}")
    if on_host(index) and index.ndim == 0:
        return index.item()
    if device_of(index) != device_of(x):
        raise DeviceError(f"getitem: the tensor is on {device_of(x)}, its index on {device_of(index)}: move it first")
    return index


@primitive(
    vjp=(lambda g, out, x, index: getitem_adjoint(g, index=index, shape=x.shape),),
    samples=lambda r: [
        sample(r(4, 3), index=(slice(1, None, 2), -1)),
        sample(r(4, 3), index=(None, Ellipsis, slice(None, None, -1))),
        sample(r(4), index=np.array([0, 2, 2, -1])),
        sample(r(4, 3), index=(np.array([[0], [3]]), np.array([0, 0]))),
        sample(r(2, 3), index=np.array([[True, False, True], [False, False, True]])),
        sample(r(4, 3), index=(slice(None), np.array([1, 1]))),
    ],
    reference=lambda x, index: np.array(x[index]),
    view=True,
)
def getitem(x: Array, *, index: Any) -> Array:
    """x[index], with integers, slices, None, Ellipsis, integer arrays and boolean masks, as in NumPy.

    >>> tz.tensor([1, 2, 3])[[0, 2, 2]].tolist()
    [1, 3, 3]
    """
    try:
        return x[index if _is_basic(index) else plain(index, x)]
    except IndexError as error:
        if "broadcast" not in str(error):
            raise
        raise IndexingError(f"getitem: {error}") from error  # the shapes are those of the index


@primitive(
    vjp=(lambda g, out, x, index, shape: getitem(g, index=index),),
    samples=lambda r: [
        sample(r(2), index=(slice(1, None, 2), -1), shape=(4, 3)),
        sample(r(4), index=np.array([0, 2, 2, -1]), shape=(4,)),
        sample(r(2, 2), index=(slice(None), np.array([1, 1])), shape=(2, 3)),
    ],
    reference=lambda x, index, shape: _adjoint_by_matrix(x, index, shape),
)
def getitem_adjoint(x: Array, *, index: Any, shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` with `x` added at `index`, repeated indices each: the gradient of `getitem`.

    >>> tz.getitem_adjoint(tz.tensor([1.0, 2.0, 3.0]), index=[0, 1, 1], shape=(3,)).tolist()
    [1.0, 5.0, 0.0]
    """
    out = namespace(x).zeros(shape, dtype=x.dtype)
    if _is_basic(index):
        out[index] = x
        return out
    index = plain(index, out)
    if not scatter.add_rows(out, index, x):
        add_at(out, index, x)
    return out


def _adjoint_by_matrix(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """The transpose of the 0/1 matrix that reads at `index`."""
    size = int(np.prod(shape))
    read = np.stack([e.reshape(shape)[index].ravel() for e in np.eye(size)])
    return (read @ x.ravel()).reshape(shape)


# ---- whole slices, and positions counted in C order
def check_bounds(op: str, index: Array, length: int, axis: int | None) -> None:
    """Refuse an index that is no integer or, on the host, that is out of bounds."""
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{op}: an index holds integers, not {index.dtype}")
    if on_host(index) and index.size and not (-length <= index.min() and index.max() < length):
        worst = index.max() if index.max() >= length else index.min()
        place = f"axis {axis} of length" if axis is not None else "an array of size"
        raise IndexingError(f"{op}: index {worst} is out of bounds for {place} {length}")


def _index_select_rule(g: Any, out: Any, x: Any, index: Any, axis: int) -> Any:
    g, whole, index = as_lines(g, x, index)
    return as_was(getitem_adjoint(g, index=along(axis % whole.ndim, index), shape=whole.shape), x)


@primitive(
    vjp=(_index_select_rule, lambda g, out, x, index, axis: None),
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 4), axis=1),
        sample(r(3, 2), r.integers(3, 2), axis=-2),
        sample(r(3), r.integers(3, 0), axis=0),
        sample(r(), r.integers(1, 1), axis=0),
    ],
    reference=lambda x, index, axis: np.take(x, index, axis) if x.ndim else x,
    order=("x", "axis", "index"),
)
def index_select(x: Array, index: Array, *, axis: int) -> Array:
    """index_select(x, axis, index): the slices of x at the entries of `index`, a vector, along `axis`.

    >>> tz.index_select(tz.tensor([[1, 2, 3]]), 1, tz.tensor([2, 0])).tolist()
    [[3, 1]]
    """
    whole, at = as_lines(x, index)
    axis = axis_of(whole, axis)
    if at.ndim != 1 or (not x.ndim and at.shape != (1,)):
        raise ShapeError(f"index_select: expected a vector as index, got shape {index.shape} for x of {x.shape}")
    check_bounds("index_select", at, whole.shape[axis], axis)
    return as_was(namespace(x).take(whole, at, axis=axis), x)


@primitive(
    vjp=(
        lambda g, out, x, index: getitem_adjoint(g, index=index, shape=(x.size,)).reshape(x.shape),
        lambda g, out, x, index: None,
    ),
    samples=lambda r: [(r(2, 3, 1), r.integers(6, 2, 2)), (r(4, 1), r.integers(4, 3) - 4), (r(3, 1), r.integers(3))],
    reference=lambda x, index: x.ravel()[index],
)
def take(x: Array, index: Array) -> Array:
    """The entries of x at positions counted in C order: out has the shape of `index`.

    >>> tz.take(tz.tensor([[1, 2], [3, 4]]), tz.tensor([3, 0])).tolist()
    [4, 1]
    """
    check_bounds("take", index, x.size, None)
    return namespace(x).take(x, index)


# ---- one index an entry, along one axis
def places(index: Array, axis: int, shape: tuple[int, ...]) -> tuple[Array, ...]:
    """The index that reads `index` along `axis` and all the rest of `shape` in place."""
    xp, n = namespace(index), len(shape)
    grid = [xp.arange(size).reshape((-1,) + (1,) * (n - 1 - d)) for d, size in enumerate(shape)]
    grid[axis] = index
    return tuple(grid)


def checked_axis(op: str, x: Array, indices: Array, axis: int) -> int:
    """`axis`, counted from the front, if the index has as many axes as `x`, and one at least."""
    if indices.ndim != x.ndim or not x.ndim:
        raise ShapeError(f"{op}: the index has {indices.ndim} axes and x {x.ndim}; expected as many, and one at least")
    return axis_of(x, axis)


def _take_along_rule(g: Any, out: Any, x: Any, indices: Any, axis: int | None) -> Any:
    if axis is None:
        flat = take_along_axis_adjoint(g, indices.reshape(-1), axis=0, size=x.size)
        return flat.reshape(x.shape)
    return take_along_axis_adjoint(g, indices, axis=axis, size=x.shape[axis])


@primitive(
    vjp=(_take_along_rule, lambda g, out, x, indices, axis: None),
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 2, 4), axis=1),
        sample(r(3, 2), r.integers(3, 1, 2), axis=0),
        sample(r(4), r.integers(4, 3), axis=-1),
        sample(r(1, 3), r.integers(3, 4, 2), axis=1),
        sample(r(3, 2), r.integers(3, 2, 1), axis=0),
        sample(r(2, 3, 1), r.integers(6, 4)),
    ],
    reference=lambda x, indices, axis: np.take_along_axis(x, indices, axis),
)
def take_along_axis(x: Array, indices: Array, *, axis: int | None = None) -> Array:
    """out[…, j, …] = x[…, indices[…, j, …], …] with j on `axis`; all other axes broadcast. None: of x as a vector.

    >>> tz.take_along_axis(tz.tensor([[1, 2], [3, 4]]), tz.tensor([[1], [0]]), axis=1).tolist()
    [[2], [3]]
    """
    if axis is None:
        x, indices, axis = x.reshape(-1), indices.reshape(-1), 0
    axis = checked_axis("take_along_axis", x, indices, axis)
    check_bounds("take_along_axis", indices, x.shape[axis], axis)
    return namespace(x).take_along_axis(x, indices, axis)


take_along_dim = take_along_axis


@primitive(
    vjp=(
        lambda g, out, x, indices, axis, size: take_along_axis(g, indices, axis=axis),
        lambda g, out, x, indices, axis, size: None,
    ),
    samples=lambda r: [
        sample(r(2, 4), r.integers(3, 2, 4), axis=1, size=3),
        sample(r(3), r.integers(4, 3), axis=-1, size=4),
        sample(r(2, 3), r.integers(2, 1, 3), axis=1, size=2),
    ],
    reference=lambda x, indices, axis, size: scatter_by_loop(
        np.zeros([size if d == axis % x.ndim else n for d, n in enumerate(x.shape)]),
        np.broadcast_to(indices, x.shape),
        x,
        axis,
        np.add,
    ),
)
def take_along_axis_adjoint(x: Array, indices: Array, *, axis: int, size: int) -> Array:
    """Zeros with `size` entries on `axis`, and `x` added at `indices` there: the gradient of `take_along_axis`.

    >>> tz.take_along_axis_adjoint(tz.tensor([1.0, 2.0]), tz.tensor([2, 2]), axis=0, size=3).tolist()
    [0.0, 0.0, 3.0]
    """
    axis = checked_axis("take_along_axis_adjoint", x, indices, axis)
    check_bounds("take_along_axis_adjoint", indices, size, axis)
    out = namespace(x).zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), dtype=x.dtype)
    add_at(out, places(indices, axis, x.shape), x)
    return out


def scatter_by_loop(out: Any, index: Any, src: Any, axis: int, combine: Any) -> Any:
    """Entry by entry, for references."""
    out, src = np.array(out), np.broadcast_to(src, index.shape) if np.ndim(src) == 0 else src
    for at in np.ndindex(*index.shape):
        to = list(at)
        if to:
            to[axis] = int(index[at])
        out[tuple(to)] = combine(out[tuple(to)], src[at])
    return out


def corner(shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The index of the first entries of each axis."""
    return tuple(slice(n) for n in shape)


def embedded(g: Any, shape: tuple[int, ...]) -> Any:
    """`g` in the corner of zeros of `shape`."""
    return g if g.shape == shape else getitem_adjoint(g, index=corner(g.shape), shape=shape)


def read(x: Any, index: Any, axis: int) -> Any:
    """x at `index` along `axis`, as far as the index goes on the others."""
    shape = tuple(x.shape[d] if d == axis % x.ndim else n for d, n in enumerate(index.shape))
    return take_along_axis(x if shape == x.shape else getitem(x, index=corner(shape)), index, axis=axis)


def fits(op: str, x: Array, index: Array, axis: int, src: Array | None = None) -> int:
    """The axis from the front, after the checks of gather and scatter."""
    axis = checked_axis(op, x, index, axis)
    if any(n > m for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if d != axis):
        raise ShapeError(
            f"{op}: the index, of shape {index.shape}, exceeds x, of {x.shape}, not only along axis {axis}"
        )
    if src is not None and (src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape, strict=True))):
        raise ShapeError(f"{op}: the index, of shape {index.shape}, exceeds src, of {src.shape}")
    check_bounds(op, index, x.shape[axis], axis)
    return axis


def _gather_reference(x: Any, index: Any, axis: int) -> Any:
    """Entry by entry."""
    out = np.zeros(index.shape)
    for at in np.ndindex(*index.shape):
        place = list(at)
        if x.ndim:
            place[axis] = int(index[at])
        out[at] = x[tuple(place)]
    return out


def _gather_rule(g: Any, out: Any, x: Any, index: Any, axis: int) -> Any:
    if not index.size:
        return None
    g, whole, index = as_lines(g, x, index)
    return as_was(embedded(take_along_axis_adjoint(g, index, axis=axis, size=whole.shape[axis]), whole.shape), x)


@primitive(
    vjp=(_gather_rule, lambda g, out, x, index, axis: None),
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 2, 4), axis=1),
        sample(r(3, 4), r.integers(3, 2, 3), axis=0),
        sample(r(3, 2, 2), r.integers(2, 1, 2, 3), axis=-1),
        sample(r(2, 3), r.integers(3, 0, 3), axis=1),
        sample(r(), r.integers(1), axis=0),
    ],
    reference=_gather_reference,
    order=("x", "axis", "index"),
)
def gather(x: Array, index: Array, *, axis: int) -> Array:
    """gather(x, axis, index): out[i, j] = x[index[i, j], j] for axis 0, x[i, index[i, j]] for 1, and so on.

    Along the other axes the index may be shorter than x; `take_along_axis` broadcasts them instead.

    >>> tz.gather(tz.tensor([[1, 2], [3, 4]]), 1, tz.tensor([[1, 1, 0]])).tolist()
    [[2, 2, 1]]
    """
    if not index.size:  # which may have any shape
        return namespace(x).zeros(index.shape, dtype=x.dtype)
    whole, at = as_lines(x, index)
    return as_was(read(whole, at, fits("gather", whole, at, axis)), index)


# ---- by value
def check_mask(op: str, mask: Array) -> None:
    if mask.dtype.kind != "b":
        raise DTypeError(f"{op}: expected a mask of booleans, got {mask.dtype}: write mask != 0")


def _masked_select_rule(g: Any, out: Any, x: Any, mask: Any) -> Any:
    mask, shape = data_of(mask), np.broadcast_shapes(x.shape, mask.shape)
    return getitem_adjoint(g, index=namespace(mask).broadcast_to(mask, shape), shape=shape)


@primitive(
    vjp=(_masked_select_rule, lambda g, out, x, mask: None),
    samples=lambda r: [
        (r(2, 3), r.boolean(2, 3)),
        (r(2, 3), np.array([True, False, True])),
        (r(3), np.array([[True], [False]])),
        (r(2), np.array([False, False])),
    ],
    reference=lambda x, mask: np.array([v for v, m in np.broadcast(x, mask) if m], dtype=x.dtype),
)
def masked_select(x: Array, mask: Array) -> Array:
    """The entries of x where the mask holds, as a vector in C order; its length is read back from a device.

    >>> tz.masked_select(tz.tensor([1.0, 2.0, 3.0]), tz.tensor([True, False, True])).tolist()
    [1.0, 3.0]
    """
    check_mask("masked_select", mask)
    xp, shape = namespace(x), np.broadcast_shapes(x.shape, mask.shape)
    return xp.broadcast_to(x, shape)[xp.broadcast_to(mask, shape)]


@primitive(
    vjp=None,
    samples=lambda r: [(r.integers(2, 3, 4),), sample(r.boolean(2, 3), as_tuple=True), (r.integers(2),)],
    reference=lambda x, as_tuple: tuple(np.nonzero(x)) if as_tuple else np.argwhere(x),
)
def nonzero(x: Array, *, as_tuple: bool = False) -> Any:
    """Where x is not zero: (…) → (count, ndim), or an index of vectors, one an axis, with `as_tuple`.

    Its length is read back from a device.

    >>> tz.nonzero(tz.tensor([[0, 1], [2, 0]])).tolist()
    [[0, 1], [1, 0]]
    """
    return tuple(namespace(x).nonzero(*as_lines(x))) if as_tuple else namespace(x).argwhere(x)


argwhere = nonzero


# ---- tables of rows
def _embedding_rule(g: Any, out: Any, input: Any, weight: Any, padding_idx: int | None) -> Any:
    if padding_idx is not None:
        g = where((input == padding_idx % len(weight))[..., None], 0, g)
    return getitem_adjoint(g, index=input, shape=weight.shape)


@primitive(
    vjp=(lambda g, out, input, weight, padding_idx: None, _embedding_rule),
    samples=lambda r: [(r.integers(4, 2, 3), r(4, 5)), (r.integers(2, 3), r(2, 1))],
    reference=lambda input, weight, padding_idx: weight[input],
)
def embedding(input: Array, weight: Array, *, padding_idx: int | None = None) -> Array:
    """Row `input` of `weight`, for every index in `input`: (…) and (V, D) → (…, D).

    Row `padding_idx` is read like any other, and its gradient is taken as 0.

    >>> tz.embedding(tz.tensor([1, 0]), tz.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    if input.dtype.kind not in "iu":
        raise DTypeError(f"embedding: input holds indices, so integers, not {input.dtype}")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected a weight of shape (V, D), got {weight.shape}")
    if padding_idx is not None and not -len(weight) <= padding_idx < len(weight):
        raise UsageError(f"embedding: padding_idx={padding_idx} is none of the {len(weight)} rows")
    if on_host(input) and input.size and not (input.min() >= 0 and input.max() < len(weight)):
        raise IndexingError(
            f"embedding: indices from {input.min()} to {input.max()} do not fit a table of {len(weight)} rows"
        )
    return weight[input]


@primitive(
    vjp=None,
    samples=lambda r: [sample(r.integers(3, 2, 2), num_classes=3), sample(r.integers(2, 4), num_classes=5)],
    reference=lambda x, num_classes: np.eye(num_classes, dtype=np.int64)[x],
)
def one_hot(x: Array, *, num_classes: int = -1) -> Array:
    """1 at the index x along a new last axis, 0 elsewhere: (…) → (…, num_classes), int64.

    With -1 there are as many classes as the largest index needs; on a device it must be given.

    >>> tz.one_hot(tz.tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if x.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: expected integers, got {x.dtype}")
    if num_classes < 0:
        if not on_host(x) or not x.size:
            raise UsageError("one_hot: write num_classes; it is counted only on the host, from at least one index")
        num_classes = int(x.max()) + 1
    if on_host(x) and x.size and not (x.min() >= 0 and x.max() < num_classes):
        raise IndexingError(f"one_hot: classes from {x.min()} to {x.max()} do not fit num_classes={num_classes}")
    return (x[..., None] == namespace(x).arange(num_classes)).astype(np.int64)

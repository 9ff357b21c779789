"""Ops that read and write at indices. The gradient of a read is a scatter-add: repeated indices add up."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import add_at, device_of, namespace, on_host
from ..errors import DeviceError, DTypeError, IndexingError, ShapeError
from ..variable import Array, Variable
from .sampling import sample

_BASIC = frozenset((int, slice, type(None), type(Ellipsis)))


def _is_basic(index: Any) -> bool:
    """Whether `index` selects a view: no array, list or boolean among its parts."""
    return _BASIC.issuperset(map(type, index if type(index) is tuple else (index,)))


def _plain(index: Any, x: Array) -> Any:
    """`index` with Tensors and lists replaced by arrays of the device of `x`."""
    if isinstance(index, tuple):
        return tuple(_plain(i, x) for i in index)
    if isinstance(index, Variable):
        index = index.data
    elif isinstance(index, list):
        index = namespace(x).asarray(index)
        index = index.astype(np.intp) if index.size == 0 else index
    if not hasattr(index, "dtype"):
        return index
    if index.dtype.kind not in "iub":
        raise DTypeError(f"getitem: an index holds integers or booleans, not {index.dtype}")
    if on_host(index) and index.ndim == 0 and index.dtype.kind in "iu":
        return int(index)
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

    >>> import tinygrad_zoo as tz
    >>> tz.tensor([1, 2, 3])[[0, 2, 2]].tolist()
    [1, 3, 3]
    """
    return x[index if _is_basic(index) else _plain(index, x)]


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
    """Zeros of `shape` with `x` added at `index`; repeated indices add up.

    >>> import tinygrad_zoo as tz
    >>> tz.getitem_adjoint(tz.tensor([1.0, 2.0, 3.0]), index=[0, 1, 1], shape=(3,)).tolist()
    [1.0, 5.0, 0.0]
    """
    out = namespace(x).zeros(shape, dtype=x.dtype)
    if _is_basic(index):
        out[index] = x
    else:
        add_at(out, _plain(index, out), x)
    return out


def _adjoint_by_matrix(x: Any, index: Any, shape: tuple[int, ...]) -> Any:
    """The transpose of the 0/1 matrix that reads at `index`."""
    size = int(np.prod(shape))
    read = np.stack([e.reshape(shape)[index].ravel() for e in np.eye(size)])
    return (read @ x.ravel()).reshape(shape)


def _same_but(axis: int, x: Array, indices: Array, op: str) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"{op}: indices must be integers, not {indices.dtype}")
    if indices.ndim != x.ndim:
        raise ShapeError(f"{op}: x has {x.ndim} axes and indices {indices.ndim}; expected as many")
    if on_host(indices) and indices.size and not (-x.shape[axis] <= indices.min() and indices.max() < x.shape[axis]):
        raise IndexingError(
            f"{op}: indices from {indices.min()} to {indices.max()} do not fit an axis of {x.shape[axis]}"
        )


@primitive(
    vjp=(
        lambda g, out, x, indices, axis: take_along_axis_adjoint(g, indices, axis=axis, size=x.shape[axis]),
        lambda g, out, x, indices, axis: None,
    ),
    samples=lambda r: [
        sample(r(2, 3), r.integers(3, 2, 4), axis=1),
        sample(r(3, 2), r.integers(3, 1, 2), axis=0),
        sample(r(4), r.integers(4, 3), axis=-1),
    ],
    reference=lambda x, indices, axis: np.take_along_axis(x, indices, axis),
)
def take_along_axis(x: Array, indices: Array, *, axis: int) -> Array:
    """out[…, j, …] = x[…, indices[…, j, …], …] with j on `axis`; all other axes agree (PyTorch's `gather`).

    >>> import tinygrad_zoo as tz
    >>> tz.take_along_axis(tz.tensor([[1, 2], [3, 4]]), tz.tensor([[1], [0]]), axis=1).tolist()
    [[2], [3]]
    """
    _same_but(axis, x, indices, "take_along_axis")
    return namespace(x).take_along_axis(x, indices, axis)


@primitive(
    vjp=(
        lambda g, out, x, indices, axis, size: take_along_axis(g, indices, axis=axis),
        lambda g, out, x, indices, axis, size: None,
    ),
    samples=lambda r: [
        sample(r(2, 4), r.integers(3, 2, 4), axis=1, size=3),
        sample(r(3), r.integers(4, 3), axis=-1, size=4),
    ],
    reference=lambda x, indices, axis, size: _take_adjoint_by_loop(x, indices, axis, size),
)
def take_along_axis_adjoint(x: Array, indices: Array, *, axis: int, size: int) -> Array:
    """Zeros with `size` entries on `axis`, and `x` added at `indices` there (PyTorch's `scatter_add` into zeros).

    >>> import tinygrad_zoo as tz
    >>> tz.take_along_axis_adjoint(tz.tensor([1.0, 2.0]), tz.tensor([2, 2]), axis=0, size=3).tolist()
    [0.0, 0.0, 3.0]
    """
    xp = namespace(x)
    axis %= x.ndim
    out = xp.zeros((*x.shape[:axis], size, *x.shape[axis + 1 :]), dtype=x.dtype)
    _same_but(axis, out, indices, "take_along_axis_adjoint")
    grid = [xp.arange(n).reshape((-1,) + (1,) * (x.ndim - 1 - d)) for d, n in enumerate(indices.shape)]
    grid[axis] = indices
    add_at(out, tuple(grid), x)
    return out


def _take_adjoint_by_loop(x: Any, indices: Any, axis: int, size: int) -> Any:
    out = np.zeros((*x.shape[: axis % x.ndim], size, *x.shape[axis % x.ndim + 1 :]))
    for at in np.ndindex(*x.shape):
        to = list(at)
        to[axis] = int(indices[at])
        out[tuple(to)] += x[at]
    return out


@primitive(
    vjp=(
        lambda g, out, input, weight: None,
        lambda g, out, input, weight: getitem_adjoint(g, index=input, shape=weight.shape),
    ),
    samples=lambda r: [(r.integers(4, 2, 3), r(4, 5)), (r.integers(2, 3), r(2, 1))],
    reference=lambda input, weight: weight[input],
)
def embedding(input: Array, weight: Array) -> Array:
    """Row `input` of `weight`, for every index in `input`: (…) and (V, D) → (…, D).

    >>> import tinygrad_zoo as tz
    >>> tz.embedding(tz.tensor([1, 0]), tz.tensor([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    if input.dtype.kind not in "iu":
        raise DTypeError(f"embedding: input holds indices, so integers, not {input.dtype}")
    if weight.ndim != 2:
        raise ShapeError(f"embedding: expected a weight of shape (V, D), got {weight.shape}")
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
def one_hot(x: Array, *, num_classes: int) -> Array:
    """1 at the index x along a new last axis, 0 elsewhere: (…) → (…, num_classes), int64.

    >>> import tinygrad_zoo as tz
    >>> tz.one_hot(tz.tensor([1, 0]), 3).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    if x.dtype.kind not in "iu":
        raise DTypeError(f"one_hot: expected integers, got {x.dtype}")
    if on_host(x) and x.size and not (x.min() >= 0 and x.max() < num_classes):
        raise IndexingError(f"one_hot: classes from {x.min()} to {x.max()} do not fit num_classes={num_classes}")
    return (x[..., None] == namespace(x).arange(num_classes)).astype(np.int64)

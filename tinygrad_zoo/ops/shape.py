"""Ops that move values without changing them."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import device_of, namespace
from ..backend import to_device as move
from ..errors import ShapeError, UsageError
from ..variable import Array
from .sampling import sample


@primitive(
    vjp=(lambda g, out, x, shape: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 6), shape=(3, 4)), sample(r(4), shape=(2, -1)), sample(r(1), shape=())],
    reference=lambda x, shape: np.reshape(x, shape),
    view=True,
)
def reshape(x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """The same values in C order under another shape; one size may be -1.

    >>> import tinygrad_zoo as tz
    >>> tz.reshape(tz.tensor([1, 2, 3, 4]), (2, 2)).tolist()
    [[1, 2], [3, 4]]
    """
    return x.reshape(shape)


@primitive(
    vjp=(lambda g, out, x, dims: permute(g, dims=tuple(int(i) for i in np.argsort([d % x.ndim for d in dims]))),),
    samples=lambda r: [sample(r(2, 3, 4), dims=(2, 0, 1)), sample(r(2, 3), dims=(-1, 0))],
    reference=lambda x, dims: np.transpose(x, dims),
    view=True,
)
def permute(x: Array, *, dims: tuple[int, ...]) -> Array:
    """Axis i of the result is axis `dims[i]` of `x`.

    >>> import tinygrad_zoo as tz
    >>> tz.permute(tz.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return x.transpose(dims)


@primitive(
    vjp=(lambda g, out, x, axis1, axis2: g.swapaxes(axis1, axis2),),
    samples=lambda r: [sample(r(2, 3, 4), axis1=0, axis2=2), sample(r(2, 3), axis1=-1, axis2=-2)],
    reference=lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2),
    view=True,
)
def swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    """Exchange two axes (PyTorch's `transpose`).

    >>> import tinygrad_zoo as tz
    >>> tz.swapaxes(tz.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    return x.swapaxes(axis1, axis2)


@primitive(
    vjp=(lambda g, out, x, axis: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 3), axis=1), sample(r(3), axis=(0, -1)), sample(r(), axis=0)],
    reference=lambda x, axis: np.expand_dims(x, axis),
    view=True,
)
def expand_dims(x: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Insert axes of size 1 at `axis` of the result (PyTorch's `unsqueeze`).

    >>> import tinygrad_zoo as tz
    >>> tz.expand_dims(tz.zeros((2, 3)), -1).shape
    (2, 3, 1)
    """
    return namespace(x).expand_dims(x, axis)


@primitive(
    vjp=(lambda g, out, x, axis: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 1, 3, 1)), sample(r(2, 1, 3), axis=1), sample(r(1, 1), axis=(0, 1))],
    reference=lambda x, axis: np.squeeze(x, axis),
    view=True,
)
def squeeze(x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Drop axes of size 1: all of them, or those named.

    >>> import tinygrad_zoo as tz
    >>> tz.squeeze(tz.zeros((2, 1, 3))).shape
    (2, 3)
    """
    return x.squeeze(axis)


@primitive(
    vjp=(lambda g, out, x, shape: g,),
    samples=lambda r: [sample(r(3), shape=(2, 3)), sample(r(2, 1), shape=(2, 4)), sample(r(), shape=(2,))],
    reference=lambda x, shape: np.broadcast_to(x, shape),
    view=True,
)
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """Repeat `x` along new axes and axes of size 1, without copying; -1 keeps a size (PyTorch's `expand`).

    >>> import tinygrad_zoo as tz
    >>> tz.broadcast_to(tz.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    lead = len(shape) - x.ndim
    return namespace(x).broadcast_to(x, tuple(x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape)))


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


@primitive(
    vjp=(lambda g, out, x, axis: flip(g, axis=axis),),
    samples=lambda r: [sample(r(2, 3)), sample(r(2, 3), axis=1), sample(r(2, 3, 2), axis=(0, -1))],
    reference=lambda x, axis: np.flip(x, axis),
    view=True,
)
def flip(x: Array, *, axis: int | tuple[int, ...] | None = None) -> Array:
    """Reverse the order along the axes named (all of them by default).

    >>> import tinygrad_zoo as tz
    >>> tz.flip(tz.tensor([1, 2, 3])).tolist()
    [3, 2, 1]
    """
    return namespace(x).flip(x, axis)


@primitive(
    vjp=(lambda g, out, x, diagonal: tril(g, diagonal=diagonal),),
    samples=lambda r: [sample(r(3, 3)), sample(r(2, 3, 4), diagonal=1), sample(r(4, 2), diagonal=-1)],
    reference=lambda x, diagonal: np.tril(x, diagonal),
)
def tril(x: Array, *, diagonal: int = 0) -> Array:
    """Zero above the given diagonal of the last two axes.

    >>> import tinygrad_zoo as tz
    >>> tz.tril(tz.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    return namespace(x).tril(x, diagonal)


@primitive(
    vjp=(lambda g, out, x, diagonal: triu(g, diagonal=diagonal),),
    samples=lambda r: [sample(r(3, 3)), sample(r(2, 3, 4), diagonal=1), sample(r(4, 2), diagonal=-1)],
    reference=lambda x, diagonal: np.triu(x, diagonal),
)
def triu(x: Array, *, diagonal: int = 0) -> Array:
    """Zero below the given diagonal of the last two axes.

    >>> import tinygrad_zoo as tz
    >>> tz.triu(tz.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return namespace(x).triu(x, diagonal)


@primitive(
    vjp=(
        lambda g, out, x, device: to_device(
            g, device=device_of(getattr(x, "data", x) if not hasattr(x, "strides") else x)
        ),
    ),
    samples=lambda r: [sample(r(2, 3), device="cpu")],
    reference=lambda x, device: x,
    view=True,
)
def to_device(x: Array, *, device: str) -> Array:
    """x on another device: 'cpu', 'cupy' or 'cupy:1'; x itself where it is there already.

    >>> import tinygrad_zoo as tz
    >>> tz.to_device(tz.tensor([1.0]), "cpu").device
    'cpu'
    """
    return move(x, device)

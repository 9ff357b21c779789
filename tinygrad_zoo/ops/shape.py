"""Ops that move values without changing them."""

from __future__ import annotations

import numpy as np

from ..autograd import primitive
from ..backend import device_of, namespace
from ..backend import to_device as move
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

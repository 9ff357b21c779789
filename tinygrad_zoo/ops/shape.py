"""Ops that move values without changing them."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import device_of, namespace
from ..backend import to_device as move
from ..errors import ShapeError
from ..variable import Array, data_of
from .axes import Axis, axes_of, axis_of
from .sampling import sample


@primitive(
    vjp=(lambda g, out, x, shape: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 6), shape=(3, 4)), sample(r(4), shape=(2, -1)), sample(r(1), shape=())],
    reference=lambda x, shape: np.reshape(x, shape),
    view=True,
)
def reshape(x: Array, *, shape: int | tuple[int, ...]) -> Array:
    """The same values in C order under another shape; one size may be -1.

    >>> tz.reshape(tz.tensor([1, 2, 3, 4]), (2, 2)).tolist()
    [[1, 2], [3, 4]]
    """
    out = x.reshape(shape)
    if out.shape != shape and any(n < -1 for n in (shape if isinstance(shape, (tuple, list)) else (shape,))):
        raise ShapeError(f"reshape: expected sizes >= 0 and one -1 at most, got shape={shape}")  # NumPy takes any < 0
    return out


@primitive(
    vjp=(lambda g, out, x, dims: permute(g, dims=tuple(int(i) for i in np.argsort([d % x.ndim for d in dims]))),),
    samples=lambda r: [sample(r(2, 3, 4), dims=(2, 0, 1)), sample(r(2, 3), dims=(-1, 0)), sample(r(), dims=())],
    reference=lambda x, dims: np.transpose(x, dims),
    view=True,
)
def permute(x: Array, *, dims: tuple[int, ...]) -> Array:
    """Axis i of the result is axis `dims[i]` of `x`.

    >>> tz.permute(tz.zeros((2, 3, 4)), (2, 0, 1)).shape
    (4, 2, 3)
    """
    return x.transpose(dims)


def _swapaxes_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3, 4), axis1=0, axis2=2),
        sample(r(2, 3), axis1=-1, axis2=-2),
        sample(r(), axis1=0, axis2=0),
    ]


@primitive(
    vjp=(lambda g, out, x, axis1, axis2: swapaxes(g, axis1=axis1, axis2=axis2),),
    samples=_swapaxes_samples,
    reference=lambda x, axis1, axis2: np.swapaxes(x, axis1, axis2) if x.ndim else x,
    view=True,
)
def swapaxes(x: Array, *, axis1: int, axis2: int) -> Array:
    """Exchange two axes (PyTorch's `transpose`).

    >>> tz.swapaxes(tz.zeros((2, 3, 4)), 0, 2).shape
    (4, 3, 2)
    """
    axis1, axis2 = axis_of(x, axis1), axis_of(x, axis2)
    return x.swapaxes(axis1, axis2) if x.ndim else x


transpose = swapaxes


def _movedim_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3, 4), source=0, destination=-1),
        sample(r(2, 3, 4), source=(0, 1), destination=(1, 2)),
        sample(r(), source=0, destination=0),
    ]


@primitive(
    vjp=(lambda g, out, x, source, destination: movedim(g, source=destination, destination=source),),
    samples=_movedim_samples,
    reference=lambda x, source, destination: np.moveaxis(x, source, destination) if x.ndim else x,
    view=True,
)
def movedim(x: Array, *, source: int | tuple[int, ...], destination: int | tuple[int, ...]) -> Array:
    """Axis `source` (or each of them) becomes axis `destination`; the others keep their order.

    >>> tz.movedim(tz.zeros((2, 3, 4)), 0, -1).shape
    (3, 4, 2)
    """
    source, destination = axes_of(x, source), axes_of(x, destination)
    return namespace(x).moveaxis(x, source, destination)


moveaxis = movedim


@primitive(
    vjp=(lambda g, out, x, axis: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 3), axis=1), sample(r(3), axis=(0, -1)), sample(r(), axis=0)],
    reference=lambda x, axis: np.expand_dims(x, axis),
    view=True,
)
def expand_dims(x: Array, *, axis: int | tuple[int, ...]) -> Array:
    """Insert axes of size 1 at `axis` of the result (PyTorch's `unsqueeze`).

    >>> tz.expand_dims(tz.zeros((2, 3)), -1).shape
    (2, 3, 1)
    """
    return namespace(x).expand_dims(x, axis)


unsqueeze = expand_dims


@primitive(
    vjp=(lambda g, out, x, axis: g.reshape(x.shape),),
    samples=lambda r: [
        sample(r(2, 1, 3, 1)),
        sample(r(2, 1, 3), axis=1),
        sample(r(1, 1), axis=(0, 1)),
        sample(r(2, 1), axis=(0, 1)),
        sample(r(), axis=0),
    ],
    reference=lambda x, axis: x.reshape(
        [n for d, n in enumerate(x.shape) if n != 1 or (axis is not None and d not in np.atleast_1d(axis) % x.ndim)]
    ),
    view=True,
)
def squeeze(x: Array, *, axis: Axis = None) -> Array:
    """Drop axes of size 1: all of them, or those named; an axis of another size stays, where NumPy raises.

    >>> tz.squeeze(tz.zeros((2, 1, 3))).shape
    (2, 3)
    """
    return x.squeeze(tuple(d for d in axes_of(x, axis) if x.shape[d] == 1))


def _broadcast_reference(x: Any, shape: tuple[int, ...]) -> Any:
    kept = (*shape[: len(shape) - x.ndim], *x.shape)
    return np.broadcast_to(x, tuple(m if n == -1 else n for n, m in zip(shape, kept, strict=True)))


@primitive(
    vjp=(lambda g, out, x, shape: g,),
    samples=lambda r: [
        sample(r(3), shape=(2, 3)),
        sample(r(2, 1), shape=(-1, 4)),
        sample(r(), shape=(2,)),
        sample(r(1), shape=(0,)),
    ],
    reference=_broadcast_reference,
    view=True,
)
def broadcast_to(x: Array, *, shape: tuple[int, ...]) -> Array:
    """Repeat `x` along new axes and axes of size 1, without copying; -1 keeps a size (PyTorch's `expand`).

    >>> tz.broadcast_to(tz.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2], [1, 2]]
    """
    lead = len(shape) - x.ndim
    if lead >= 0 and min(shape, default=0) >= 0:
        return namespace(x).broadcast_to(x, tuple(shape))
    if lead < 0 or any(n < 0 and (n < -1 or i < lead) for i, n in enumerate(shape)):
        raise ShapeError(
            f"broadcast_to: the shape {x.shape} cannot become {tuple(shape)}; expected at least {x.ndim} sizes, "
            "and -1 for none but sizes to keep"
        )
    return namespace(x).broadcast_to(x, tuple(x.shape[i - lead] if n == -1 else n for i, n in enumerate(shape)))


expand = broadcast_to


def _flip_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3)),
        sample(r(2, 3), axis=1),
        sample(r(2, 3, 2), axis=(0, -1)),
        sample(r(2), axis=()),
        sample(r()),
    ]


@primitive(
    vjp=(lambda g, out, x, axis: flip(g, axis=axis),),
    samples=_flip_samples,
    reference=lambda x, axis: np.flip(x, axis),
    view=True,
)
def flip(x: Array, *, axis: Axis = None) -> Array:
    """Reverse the order along the axes named (all of them by default).

    >>> tz.flip(tz.tensor([1, 2, 3])).tolist()
    [3, 2, 1]
    """
    return namespace(x).flip(x, axes_of(x, axis))


@primitive(
    vjp=(
        lambda g, out, x, shifts, dims: roll(
            g, shifts=tuple(-n for n in shifts) if isinstance(shifts, (tuple, list)) else -shifts, dims=dims
        ),
    ),
    samples=lambda r: [
        sample(r(2, 3), shifts=2),
        sample(r(2, 3), shifts=-4, dims=1),
        sample(r(2, 3), shifts=(1, 2), dims=(0, 1)),
        sample(r(0, 2), shifts=1, dims=0),
        sample(r(), shifts=3),
    ],
    reference=lambda x, shifts, dims: np.roll(x, shifts, dims),
)
def roll(x: Array, *, shifts: int | tuple[int, ...], dims: Axis = None) -> Array:
    """Move the entries on by `shifts` along `dims`, from the end to the front again; without dims in flat order.

    >>> tz.roll(tz.tensor([1, 2, 3]), 1).tolist()
    [3, 1, 2]
    """
    shifts = tuple(shifts) if isinstance(shifts, (tuple, list)) else (operator.index(shifts),)
    axes = (0,) if dims is None else axes_of(x, dims)
    if len(shifts) != len(axes) and x.ndim:
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes; expected as many")
    if x.size < 2:
        return x.copy()
    return namespace(x).roll(x, shifts[0] if dims is None else shifts, None if dims is None else axes)


# ---- several axes as one
@primitive(
    vjp=(lambda g, out, x, start_dim, end_dim: g.reshape(x.shape),),
    samples=lambda r: [sample(r(2, 3, 2)), sample(r(2, 3, 2), start_dim=1), sample(r(2, 3), end_dim=0), sample(r())],
    reference=lambda x, start_dim, end_dim: x.reshape(
        (*x.shape[:start_dim], -1, *(x.shape[end_dim % x.ndim + 1 :] if x.ndim else ()))
    ),
    view=True,
)
def flatten(x: Array, *, start_dim: int = 0, end_dim: int = -1) -> Array:
    """The axes from start_dim to end_dim as one.

    >>> tz.flatten(tz.zeros((2, 3, 4)), 1).shape
    (2, 12)
    """
    start, end = axis_of(x, start_dim), axis_of(x, end_dim)
    if start > end:
        raise ShapeError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim} in the shape {x.shape}")
    return x.reshape((*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


def _unflattened(x: Any, axis: int, sizes: Sequence[int]) -> tuple[int, ...]:
    """The shape of `x` with `axis` as `sizes`, one of which may be -1."""
    d, known = axis_of(x, axis), math.prod(n for n in sizes if n != -1)
    rest = x.shape[d] // known if known else 0
    sizes = tuple(rest if n == -1 else n for n in sizes)
    if not sizes or min(sizes) < 0 or math.prod(sizes) != x.shape[d]:
        raise ShapeError(f"unflatten: axis {axis} has {x.shape[d]} entries, which {sizes} does not multiply to")
    return (*x.shape[:d], *sizes, *x.shape[d + 1 :])


def _unflatten_samples(r: Any) -> list[Any]:
    return [
        sample(r(6), axis=0, sizes=(2, 3)),
        sample(r(2, 6), axis=-1, sizes=(-1, 2)),
        sample(r(4, 0), axis=1, sizes=(2, 0)),
    ]


@primitive(
    vjp=(lambda g, out, x, axis, sizes: g.reshape(x.shape),),
    samples=_unflatten_samples,
    reference=lambda x, axis, sizes: x.reshape((*x.shape[: axis % x.ndim], *sizes, *x.shape[axis % x.ndim + 1 :])),
    view=True,
)
def unflatten(x: Array, *, axis: int, sizes: tuple[int, ...]) -> Array:
    """One axis as several of these sizes, of which one may be -1.

    >>> tz.unflatten(tz.zeros((2, 12)), 1, (3, 4)).shape
    (2, 3, 4)
    """
    return x.reshape(_unflattened(x, axis, sizes))


@primitive(
    vjp=(lambda g, out, x, device: to_device(g, device=device_of(data_of(x))),),
    samples=lambda r: [sample(r(2, 3), device="cpu")],
    reference=lambda x, device: x,
    view=True,
)
def to_device(x: Array, *, device: str) -> Array:
    """x on another device: 'cpu', 'cupy' or 'cupy:1'; x itself where it is there already.

    >>> tz.to_device(tz.tensor([1.0]), "cpu").device
    'cpu'
    """
    return move(x, device)

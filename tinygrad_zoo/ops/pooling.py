"""Max pooling and its inverse over one, two or three axes.

A maximum's place is a number: that of its pixel among those of the (n, c) plane, h · W + w. The gradient of a maximum
goes there. `scatter_planes` and `gather_planes` write and read at such places, each the other's adjoint and so its
gradient rule: gradients of every order run on these two.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from ..autograd import primitive
from ..backend import on_host
from ..errors import DTypeError, IndexingError, ShapeError
from ..kernels import pooling as kernels
from ..kernels.windows import Windows
from ..variable import Array
from .conv_plan import Sizes
from .pool_plan import NAMES, OutputSize, adaptive_windows, batch_of, strided_windows, unpooled_size
from .sampling import Draw, sample, to_distinct


class Maxima(NamedTuple):
    """A pooled array and the place of each of its entries in the plane."""

    values: Any
    indices: Any


# ---- reading and writing at places of a plane
def _check_places(op: str, index: Array, size: tuple[int, ...]) -> None:
    """That an index holds integers and, where they can be looked at, that they are places of the plane."""
    if index.dtype.kind not in "iu":
        raise DTypeError(f"{op}: an index holds integers, not {index.dtype}")
    count = math.prod(size)
    if on_host(index) and index.size and not (index.min() >= 0 and index.max() < count):
        worst = index.min() if index.min() < 0 else index.max()
        raise IndexingError(f"{op}: index {worst} is no place of a plane of {size}: expected 0 <= index < {count}")


def _gather_reference(x: Any, index: Any) -> Any:
    out = np.empty((*x.shape[:2], *index.shape[2:]))
    for n, c in np.ndindex(*x.shape[:2]):
        out[n, c] = x[n, c].ravel()[index[n, c % index.shape[1]]]
    return out


_GATHER: dict[str, Any] = {
    "vjp": (
        lambda g, out, x, index: scatter_planes(g, index, size=x.shape[2:]),
        lambda g, out, x, index: None,
    ),
    "samples": lambda r: [
        (r(2, 3, 2, 3), r.integers(6, 2, 3, 4)),
        (r(1, 2, 5), r.integers(5, 1, 2, 2, 2)),
        (r(2, 2, 1, 2, 2), r.integers(4, 2, 1, 3)),
        (r(0, 2, 3), r.integers(3, 0, 2, 2)),
    ],
    "reference": _gather_reference,
}


@primitive(**_GATHER)
def gather_planes(x: Array, index: Array) -> Array:
    """out[n, c, …] = x[n, c] at the place index[n, c, …] of the plane: (N, C, *S), (N, C, *O) → (N, C, *O).

    An index of one channel, (N, 1, *O), is for all of them.

    >>> tz.gather_planes(tz.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), tz.tensor([[[3, 0]]])).tolist()
    [[[4.0, 1.0]]]
    """
    if x.ndim < 3 or index.ndim < 3 or index.shape[0] != x.shape[0] or index.shape[1] not in (1, x.shape[1]):
        raise ShapeError(
            f"gather_planes: expected x (N, C, …) and an index (N, C, …) or (N, 1, …), got {x.shape} and {index.shape}"
        )
    _check_places("gather_planes", index, x.shape[2:])
    return kernels.gather(x, index)


def _scatter_reference(x: Any, index: Any, size: Any, write: bool = False) -> Any:
    out = np.zeros((*x.shape[:2], math.prod(size)))
    for n, c in np.ndindex(*x.shape[:2]):
        for value, at in zip(x[n, c].ravel(), index[n, c % index.shape[1]].ravel(), strict=True):
            out[n, c, at] = value + (0 if write else out[n, c, at])
    return out.reshape(*x.shape[:2], *size)


_SCATTER: dict[str, Any] = {
    "vjp": (lambda g, out, x, index, size: gather_planes(g, index), lambda g, out, x, index, size: None),
    "samples": lambda r: [
        sample(r(2, 3, 4), r.integers(6, 2, 3, 4), size=(2, 3)),
        sample(r(1, 2, 2, 2), r.integers(5, 1, 2, 2, 2), size=(5,)),
        sample(r(2, 2, 3), r.integers(4, 2, 1, 3), size=(1, 2, 2)),
        sample(r(0, 2, 2), r.integers(3, 0, 2, 2), size=(3,)),
    ],
    "reference": _scatter_reference,
}


@primitive(**_SCATTER)
def scatter_planes(x: Array, index: Array, *, size: tuple[int, ...]) -> Array:
    """Zeros (N, C, *size) with x[n, c, …] added at the place index[n, c, …] of the plane; see `gather_planes`.

    >>> tz.scatter_planes(tz.tensor([[[1.0, 2.0, 5.0]]]), tz.tensor([[[3, 0, 3]]]), size=(2, 2)).tolist()
    [[[[2.0, 0.0], [0.0, 6.0]]]]
    """
    if x.ndim < 3 or index.shape not in (x.shape, (*x.shape[:1], 1, *x.shape[2:])):
        raise ShapeError(
            f"scatter_planes: expected x (N, C, …) and an index of its shape, or with one channel, got {x.shape} and "
            f"{index.shape}"
        )
    size = tuple(size)
    _check_places("scatter_planes", index, size)
    return kernels.scatter(x, index, size)


# ---- maxima
def _max_rule(g: Any, out: Any, x: Any, needs: Any, at: Any, **settings: Any) -> list[Any]:
    g = g[0] if isinstance(g, (list, tuple)) else g
    single = at.ndim > g.ndim
    found = scatter_planes(g[None] if single else g, at, size=x.shape[2 - single :])
    return [found[0] if single else found]


def _pooled(x: Array, batch: Array, axes: tuple[Windows, ...], return_indices: bool) -> Any:
    """The maxima, with their places where they are asked for; and the places once more, for backward."""
    values, at = kernels.maxima(batch, axes)
    single = x.ndim < batch.ndim
    shown = values[0] if single else values
    if not return_indices:
        return shown, at
    indices = at.astype(np.int64)
    return Maxima(shown, indices[0] if single else indices), at


def _by_loop(x: Any, axes: tuple[Windows, ...], return_indices: bool) -> Any:
    """One window after the other."""
    batch = x.reshape(math.prod(x.shape[: -len(axes)]), *x.shape[-len(axes) :])
    places = tuple(axis.places for axis in axes)
    values, at = np.empty((len(batch), *places)), np.empty((len(batch), *places), np.int64)
    numbered = np.arange(math.prod(batch.shape[1:])).reshape(batch.shape[1:])
    for o in np.ndindex(*places):
        runs = zip(axes, o, strict=True)
        window = np.ix_(*(axis.first[i] + axis.step * np.arange(axis.counts[i]) for axis, i in runs))
        flat, inside = batch[(slice(None), *window)], numbered[window].ravel()
        flat = flat.reshape(len(batch), inside.size)
        best = flat.argmax(axis=1)
        values[(slice(None), *o)], at[(slice(None), *o)] = flat.max(axis=1), inside[best]
    shape = (*x.shape[: -len(axes)], *places)
    return (values.reshape(shape), at.reshape(shape)) if return_indices else values.reshape(shape)


def _max_row(axes: int) -> dict[str, Any]:
    """What the rows of max_pool1d, max_pool2d and max_pool3d share."""

    def samples(r: Draw) -> list[Any]:
        small, size = (3, 2, 2)[:axes], (5, 4, 2)[:axes]
        return [
            sample(r.distinct(1, 2, *small), kernel_size=2),
            sample(r.distinct(1, 2, *size), kernel_size=(3, 2, 2)[:axes], stride=(2, 1, 1)[:axes], padding=1),
            sample(r.distinct(2, *size), kernel_size=2, dilation=(3, 2, 1)[:axes], stride=1, return_indices=True),
            sample(r.distinct(1, 1, *size), kernel_size=2, stride=2, ceil_mode=True, return_indices=True),
            sample(r(0, 1, *small), kernel_size=1),
        ]

    def reference(x: Any, return_indices: bool, **settings: Any) -> Any:
        return _by_loop(x, strided_windows("", x.shape[-axes:], **settings), return_indices)

    return {
        "vjp": _max_rule, "saved": ("at",), "samples": samples, "reference": reference, "repair": to_distinct,
    }  # fmt: skip


def _max_pooled(
    x: Array, axes: int, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool,
    return_indices: bool,
) -> Any:  # fmt: skip
    op = f"max_pool{axes}d"
    batch = batch_of(op, x, axes)
    tables = strided_windows(
        op, batch.shape[2:], kernel_size=kernel_size, stride=stride, padding=padding, dilation=dilation,
        ceil_mode=ceil_mode,
    )  # fmt: skip
    return _pooled(x, batch, tables, return_indices)


@primitive(**_max_row(1))
def max_pool1d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """out[n, c, o] = max over r of x[n, c, o·stride + r·dilation − padding], of entries in x alone.

    x (N, C, L) or (C, L); stride is kernel_size unless given. There are ⌊(L + 2·padding − dilation·(kernel_size − 1) −
    1) / stride⌋ + 1 windows, rounded up with `ceil_mode`, where that adds one that begins in x. With `return_indices`
    (values, indices). Of equal maxima the first has the index, and the gradient; a NaN counts as the largest.

    >>> tz.max_pool1d(tz.tensor([[1.0, 4.0, 2.0, 3.0]]), 2, return_indices=True).indices.tolist()
    [[1, 3]]
    """
    return _max_pooled(x, 1, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@primitive(**_max_row(2))
def max_pool2d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool1d` over two axes: x (N, C, H, W) or (C, H, W); an index counts h · W + w.

    >>> values, indices = tz.max_pool2d(tz.tensor([[[1.0, 4.0], [6.0, 3.0]]]), 2, return_indices=True)
    >>> values.item(), indices.item()
    (6.0, 2)
    """
    return _max_pooled(x, 2, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


@primitive(**_max_row(3))
def max_pool3d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, dilation: Sizes = 1,
    ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    """`max_pool1d` over three axes: x (N, C, D, H, W) or (C, D, H, W); an index counts (d · H + h) · W + w.

    >>> tz.max_pool3d(tz.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[7.0]]]]
    """
    return _max_pooled(x, 3, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _adaptive_row(axes: int) -> dict[str, Any]:
    """What the rows of adaptive_max_pool1d, adaptive_max_pool2d and adaptive_max_pool3d share."""

    def samples(r: Draw) -> list[Any]:
        size = (5, 3, 2)[:axes]
        return [
            sample(r.distinct(1, 2, *(3, 2, 2)[:axes]), output_size=1),
            sample(r.distinct(1, 2, *size), output_size=(3, 2, 2)[:axes]),
            sample(r.distinct(2, *size), output_size=(2, None, 3)[:axes], return_indices=True),
            sample(r(0, 1, *size), output_size=2),
        ]

    def reference(x: Any, output_size: Any, return_indices: bool) -> Any:
        return _by_loop(x, adaptive_windows("", x.shape[-axes:], output_size), return_indices)

    return {
        "vjp": _max_rule, "saved": ("at",), "samples": samples, "reference": reference, "repair": to_distinct,
    }  # fmt: skip


def _adaptive_pooled(x: Array, axes: int, output_size: Any, return_indices: bool) -> Any:
    op = f"adaptive_max_pool{axes}d"
    batch = batch_of(op, x, axes)
    return _pooled(x, batch, adaptive_windows(op, batch.shape[2:], output_size), return_indices)


@primitive(**_adaptive_row(1))
def adaptive_max_pool1d(x: Array, *, output_size: OutputSize, return_indices: bool = False) -> Any:
    """The maximum of each of `output_size` windows, from ⌊o · L / output_size⌋ to ⌈(o + 1) · L / output_size⌉.

    x (N, C, L) or (C, L); 1 pools all of it. None keeps a size. With `return_indices` (values, indices), see
    `max_pool1d`.

    >>> tz.adaptive_max_pool1d(tz.tensor([[1.0, 4.0, 2.0, 3.0, 0.0]]), 2).tolist()
    [[4.0, 3.0]]
    """
    return _adaptive_pooled(x, 1, output_size, return_indices)


@primitive(**_adaptive_row(2))
def adaptive_max_pool2d(x: Array, *, output_size: OutputSize, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` over two axes: x (N, C, H, W) or (C, H, W).

    >>> tz.adaptive_max_pool2d(tz.arange(6.0).reshape(1, 2, 3), (1, None)).tolist()
    [[[3.0, 4.0, 5.0]]]
    """
    return _adaptive_pooled(x, 2, output_size, return_indices)


@primitive(**_adaptive_row(3))
def adaptive_max_pool3d(x: Array, *, output_size: OutputSize, return_indices: bool = False) -> Any:
    """`adaptive_max_pool1d` over three axes: x (N, C, D, H, W) or (C, D, H, W).

    >>> tz.adaptive_max_pool3d(tz.arange(8.0).reshape(1, 2, 2, 2), 1, return_indices=True).indices.tolist()
    [[[[7]]]]
    """
    return _adaptive_pooled(x, 3, output_size, return_indices)


# ---- unpooling
def _unpool_row(axes: int) -> dict[str, Any]:
    """What the rows of max_unpool1d, max_unpool2d and max_unpool3d share."""

    def places(r: Draw, shape: tuple[int, ...], count: int) -> Any:
        """Different ones in every plane: what is written twice has no gradient that finite differences would find."""
        lines = [r.rng.permutation(count)[: math.prod(shape[-axes:])] for _ in range(math.prod(shape[:-axes]))]
        return np.array(lines, np.int64).reshape(shape)

    def samples(r: Draw) -> list[Any]:
        size = (2, 1, 2)[:axes]
        whole, given = math.prod(2 * n for n in size), tuple(2 * n + 1 for n in size)
        padded = math.prod(2 * n - 1 for n in size)
        return [
            sample(r(1, 2, *size), places(r, (1, 2, *size), whole), kernel_size=2),
            sample(r(2, *size), places(r, (2, *size), math.prod(given)), kernel_size=2, output_size=(2, *given)),
            sample(r(1, 1, *size), places(r, (1, 1, *size), padded), kernel_size=3, stride=2, padding=1),
            sample(r(0, 1, *size), np.zeros((0, 1, *size), np.int64), kernel_size=2),
        ]

    def reference(x: Any, indices: Any, kernel_size: Any, stride: Any, padding: Any, output_size: Any) -> Any:
        size = unpooled_size("", x.shape[-axes:], x.shape, kernel_size, stride, padding, output_size)
        lead = x.shape[:-axes]
        planes = (1, math.prod(lead), *x.shape[-axes:])
        return _scatter_reference(x.reshape(planes), indices.reshape(planes), size, True).reshape(*lead, *size)

    def rule(g: Any, out: Any, x: Any, indices: Any, needs: Any, **settings: Any) -> list[Any]:
        if x.ndim == axes + 2:
            return [gather_planes(g, indices), None]
        return [gather_planes(g[None], indices[None])[0], None]

    return {"vjp": rule, "samples": samples, "reference": reference}


def _unpooled(
    x: Array, indices: Array, axes: int, kernel_size: Any, stride: Any, padding: Any, output_size: Any
) -> Array:
    op, names = f"max_unpool{axes}d", NAMES[axes]
    if x.ndim not in (axes + 1, axes + 2) or indices.shape != x.shape or 0 in x.shape[-axes:]:
        raise ShapeError(
            f"{op}: expected x of shape (N, C, {names}) or (C, {names}), no size 0, and indices of the same shape, got "
            f"{x.shape} and {indices.shape}"
        )
    size = unpooled_size(op, x.shape[-axes:], x.shape, kernel_size, stride, padding, output_size)
    _check_places(op, indices, size)
    if x.ndim == axes + 2:
        return kernels.scatter(x, indices, size, add=False)
    return kernels.scatter(x[None], indices[None], size, add=False)[0]


@primitive(**_unpool_row(1))
def max_unpool1d(
    x: Array, indices: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """Zeros with x[n, c, o] written at the place indices[n, c, o]: what `max_pool1d` with `return_indices` came from.

    x (N, C, L) or (C, L), indices of its shape. The size is (L − 1)·stride − 2·padding + kernel_size; pooling leads
    there from other sizes too, so `output_size`, with or without the axes before, may say which one it was.

    Windows that overlap can have a maximum in common. Then the last of the values written to a place stays, but, as in
    PyTorch, each of them is given the gradient of the place: that is the derivative where their values are equal, as
    those of pooling are.

    >>> tz.max_unpool1d(tz.tensor([[4.0, 3.0]]), tz.tensor([[1, 3]]), 2).tolist()
    [[0.0, 4.0, 0.0, 3.0]]
    """
    return _unpooled(x, indices, 1, kernel_size, stride, padding, output_size)


@primitive(**_unpool_row(2))
def max_unpool2d(
    x: Array, indices: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """`max_unpool1d` over two axes: x (N, C, H, W) or (C, H, W), whose indices count along the plane (1311.2901).

    >>> tz.max_unpool2d(tz.tensor([[[6.0]]]), tz.tensor([[[2]]]), 2).tolist()
    [[[0.0, 0.0], [6.0, 0.0]]]
    """
    return _unpooled(x, indices, 2, kernel_size, stride, padding, output_size)


@primitive(**_unpool_row(3))
def max_unpool3d(
    x: Array, indices: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    output_size: Any = None,
) -> Array:  # fmt: skip
    """`max_unpool1d` over three axes: x (N, C, D, H, W) or (C, D, H, W), whose indices count along the volume.

    >>> tz.max_unpool3d(tz.tensor([[[[7.0]]]]), tz.tensor([[[[7]]]]), 2).tolist()
    [[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 7.0]]]]
    """
    return _unpooled(x, indices, 3, kernel_size, stride, padding, output_size)

"""Normalisation by mean and variance, and its gradients: by kernels, where there are any for the arrays.

Every function here returns None where no kernel serves: for other arrays than those of float32 and float64, for arrays
of several dtypes or without entries, and where kernels are turned off. Then the formula does, which stands in the op.

`statistics` are (2, …): the means and 1 / √(var + eps) of all rows, groups or channels. Backward returns the gradients
of x, weight and bias, of the last two as they are for a weight and a bias of which x has none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda, shares, threads
from ..dispatch import Array, module
from ..jit import COMPILED

WIDTH = 128  # of a row for which the loops over columns are at their best


def rows(x: Any, weight: Any, bias: Any, width: int, eps: float, *, centred: bool = True) -> Any:
    """Layer norm of each run of `width` numbers, or (not `centred`) root-mean-square norm: out, statistics.

    >>> out, statistics = rows(np.array([[1.0, 3.0]]), None, None, 2, 0.0)
    >>> out.tolist(), statistics.tolist()
    ([[-1.0, 1.0]], [[2.0], [1.0]])
    """
    if _on_device(x, weight, bias):
        return cuda.module(__name__).rows(x, weight, bias, width, eps, centred)
    if (cpu := _served(x, weight, bias)) is None:
        return None
    shape, dtype = (x.size // width, width), x.dtype
    out, statistics = np.empty(x.shape, dtype), np.empty((2, shape[0]), dtype)
    parts = threads.parts(x.nbytes * cpu.TIMES["rows"])
    cpu.rows[dtype](
        _plain(x, shape), _each(weight, width, 1, dtype), _each(bias, width, 0, dtype), out.reshape(shape), statistics,
        eps, centred, parts,
    )  # fmt: skip
    return out, statistics


def rows_pulled(g: Array, x: Any, weight: Any, statistics: Array, width: int, *, centred: bool = True) -> Any:
    """The backward of `rows`.

    >>> x, g = np.array([[1.0, 3.0]]), np.array([[1.0, 0.0]])
    >>> [y.tolist() for y in rows_pulled(g, x, None, np.array([[2.0], [1.0]]), 2)]
    [[[0.0, 0.0]], [-1.0, 0.0], [1.0, 0.0]]
    """
    if _on_device(x, weight, g):
        return cuda.module(__name__).rows_pulled(g, x, weight, statistics, width, centred)
    if (cpu := _served(x, weight, g)) is None:
        return None
    shape, dtype = (x.size // width, width), x.dtype
    nanoseconds = x.nbytes * cpu.TIMES["rows_pulled"]
    cut = shares.count(shape[0], nanoseconds)
    parts = min(threads.parts(nanoseconds), cut)
    gx, sums = np.empty(x.shape, dtype), np.empty((cut, 2, width), dtype)
    cpu.rows_pulled[dtype](
        _plain(g, shape), _plain(x, shape), _each(weight, width, 1, dtype), statistics.reshape(2, -1),
        gx.reshape(shape), sums, centred, parts,
    )  # fmt: skip
    return gx, *shares.added(sums)


def groups(x: Any, weight: Any, bias: Any, count: int, eps: float) -> Any:
    """Group norm of (N, C, …), `count` groups of channels an example: out, statistics.

    The result lies in memory as x does, be it with the channels first or last.

    >>> groups(np.array([[1.0, 3.0, 5.0, 9.0]]), None, None, 2, 0.0)[0].tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    if _on_device(x, weight, bias):
        return cuda.module(__name__).groups(x, weight, bias, count, eps)
    if (cpu := _served(x, weight, bias)) is None:
        return None
    (n, channels), dtype = x.shape[:2], x.dtype
    statistics = np.empty((2, n * count), dtype)
    affine = _each(weight, channels, 1, dtype), _each(bias, channels, 0, dtype)
    parts = threads.parts(x.nbytes * cpu.TIMES["groups"])
    last = _channels_last(x)
    if last is None:
        out, shape = np.empty(x.shape, dtype), (n * count, channels // count, x.size // (n * channels))
        cpu.groups[dtype](_plain(x, shape), *affine, out.reshape(shape), statistics, eps, parts)
        return out, statistics
    out, shape = np.empty(last.shape, dtype), (n, x.size // (n * channels), channels)
    cpu.groups_last[dtype](last.reshape(shape), *affine, out.reshape(shape), statistics, eps, parts)
    return np.moveaxis(out, -1, 1), statistics


def groups_pulled(g: Array, x: Any, weight: Any, statistics: Array, count: int) -> Any:
    """The backward of `groups`.

    >>> x, g = np.array([[1.0, 3.0]]), np.array([[1.0, 0.0]])
    >>> [y.tolist() for y in groups_pulled(g, x, None, np.array([[2.0], [1.0]]), 1)]
    [[[0.0, 0.0]], [-1.0, 0.0], [1.0, 0.0]]
    """
    if _on_device(x, weight, g):
        return cuda.module(__name__).groups_pulled(g, x, weight, statistics, count)
    if (cpu := _served(x, weight, g)) is None:
        return None
    (n, channels), dtype = x.shape[:2], x.dtype
    weight, statistics = _each(weight, channels, 1, dtype), statistics.reshape(2, -1)
    parts = threads.parts(x.nbytes * cpu.TIMES["groups_pulled"])
    sums = np.empty((parts, 2, channels), dtype)
    last = _channels_last(x)
    if last is None:
        gx, shape = np.empty(x.shape, dtype), (n * count, channels // count, x.size // (n * channels))
        cpu.groups_pulled[dtype](_plain(g, shape), _plain(x, shape), weight, statistics, gx.reshape(shape), sums, parts)
    else:
        made, shape = np.empty(last.shape, dtype), (n, x.size // (n * channels), channels)
        cpu.groups_last_pulled[dtype](
            _plain(np.moveaxis(g, 1, -1), shape), last.reshape(shape), weight, statistics, made.reshape(shape), sums,
            parts,
        )  # fmt: skip
        gx = np.moveaxis(made, -1, 1)
    return gx, *(sums[0] if parts == 1 else sums.sum(axis=0))


def batch(x: Any, weight: Any, bias: Any, eps: float, fixed: Array | None = None) -> Any:
    """Batch norm of (N, C, …), by its own statistics or by `fixed` ones: out, statistics, variance (C,).

    The result lies in memory as x does, be it with the channels first or last.

    >>> batch(np.array([[1.0], [3.0]]), None, None, 0.0)[0].tolist()
    [[-1.0], [1.0]]
    """
    if _on_device(x, weight, bias, fixed):
        return cuda.module(__name__).batch(x, weight, bias, eps, fixed)
    if (cpu := _served(x, weight, bias, fixed)) is None:
        return None
    dtype, channels = x.dtype, x.shape[1]
    variance = np.empty(channels, dtype)
    statistics = np.empty((2, channels), dtype) if fixed is None else _plain(fixed, (2, channels))
    affine = _each(weight, channels, 1, dtype), _each(bias, channels, 0, dtype)
    last = _channels_last(x)
    if last is None:
        shape = (x.shape[0], channels, x.size // (x.shape[0] * channels))
        out = np.empty(x.shape, dtype)
        parts = min(threads.parts(x.nbytes * cpu.TIMES["planes"]), channels)
        cpu.planes[dtype](
            _plain(x, shape), *affine, out.reshape(shape), statistics, variance, eps, fixed is not None, parts
        )
        return out, statistics, variance
    table = _folded(last)
    parts = threads.parts(x.nbytes * cpu.TIMES["columns"])
    out, found = np.empty(table.shape, dtype), np.empty((parts, 2, table.shape[1]))
    if fixed is None:
        cpu.columns_measured[dtype](table, found, parts)
    cpu.columns[dtype](table, *affine, out, statistics, variance, found, eps, fixed is not None, parts)
    return np.moveaxis(out.reshape(last.shape), -1, 1), statistics, variance


def batch_pulled(
    g: Array, x: Any, weight: Any, statistics: Array, *, fixed: bool = False, of_statistics: Any = None
) -> Any:
    """The backward of `batch`; `of_statistics` are the gradients of mean and variance, (C,) each, as results.

    >>> x, g = np.array([[1.0], [3.0]]), np.array([[1.0], [0.0]])
    >>> [y.tolist() for y in batch_pulled(g, x, None, np.array([[2.0], [1.0]]))]
    [[[0.0], [0.0]], [-1.0], [1.0]]
    """
    if _on_device(x, weight, g):
        return cuda.module(__name__).batch_pulled(g, x, weight, statistics, fixed, of_statistics)
    if (cpu := _served(x, weight, g)) is None:
        return None
    dtype, channels = x.dtype, x.shape[1]
    weight, statistics = _each(weight, channels, 1, dtype), statistics.reshape(2, channels)
    moved = np.zeros((2, channels), dtype)
    if of_statistics is not None:
        moved[0], moved[1] = of_statistics
    sums = np.empty((2, channels), dtype)
    last = _channels_last(x)
    if last is None:
        shape = (x.shape[0], channels, x.size // (x.shape[0] * channels))
        gx = np.empty(x.shape, dtype)
        parts = min(threads.parts(x.nbytes * cpu.TIMES["planes_pulled"]), channels)
        cpu.planes_pulled[dtype](
            _plain(g, shape), _plain(x, shape), weight, statistics, moved, gx.reshape(shape), sums, fixed, parts
        )
        return gx, *sums
    table = _folded(last)
    parts = threads.parts(x.nbytes * cpu.TIMES["columns_pulled"])
    gx, found = np.empty(table.shape, dtype), np.empty((parts, 2, table.shape[1]))
    g = _plain(np.moveaxis(g, 1, -1), table.shape)
    cpu.columns_added[dtype](g, table, statistics, found, parts)
    cpu.columns_pulled[dtype](g, table, weight, statistics, moved, gx, sums, found, fixed, parts)
    return np.moveaxis(gx.reshape(last.shape), -1, 1), *sums


def _on_device(x: Any, *others: Any) -> bool:
    """Whether CUDA kernels serve x and the others."""
    same = all(other is None or other.dtype == x.dtype for other in others)
    return type(x) is not np.ndarray and cuda.served(x) and x.size > 0 and same


def _served(x: Any, *others: Any) -> Any:
    """cpu.py where its kernels serve x and the others, those of them that are there, else None."""
    if type(x) is not np.ndarray or x.dtype not in COMPILED or x.size == 0:
        return None
    for other in others:
        if other is not None and other.dtype != x.dtype:
            return None
    return module(__name__)


def _plain(x: Array, shape: tuple[int, ...]) -> Array:
    """x in a shape, as kernels take it: writable, in C order, a copy where it has to be."""
    x = x if x.flags.carray else x.copy()
    return x if x.shape == shape else x.reshape(shape)


def _each(values: Any, count: int, otherwise: float, dtype: Any) -> Array:
    """A weight or a bias as a row, or of those that are not there what changes nothing."""
    return np.full(count, otherwise, dtype) if values is None else _plain(values, (count,))


def _channels_last(x: Array) -> Array | None:
    """(N, …, C) where x (N, C, …) lies so in memory."""
    moved = np.moveaxis(x, 1, -1) if x.ndim > 2 else x
    return moved if moved.flags.carray else None


def _folded(x: Array) -> Array:
    """(N, …, C) as a matrix: with several rows of C next to one another, where C is small."""
    channels = x.shape[-1]
    rows = x.size // channels
    fold = 1
    while rows % (2 * fold) == 0 and 2 * fold * channels <= WIDTH:
        fold *= 2
    return x.reshape(rows // fold, fold * channels)

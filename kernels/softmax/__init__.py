"""Softmax, its logarithm and cross-entropy, and their gradients: by kernels, where there are any for the arrays.

Every function here returns None where no kernel serves: for other arrays than those of float32 and float64, and where
kernels are turned off. Then the formula does, which stands in the op.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import cuda, threads
from ..dispatch import Array, module, namespace
from ..jit import COMPILED

_INT64 = np.dtype(np.int64)


def softmax(x: Any, axis: int = -1) -> Array | None:
    """eˣ / Σ eˣ along `axis`.

    >>> softmax(np.array([1000.0, 1000.0]))
    array([0.5, 0.5])
    """
    return _along("softmax", axis, x)


def softmax_pulled(g: Array, out: Any, axis: int = -1) -> Array | None:
    """The gradient of x, by that of out = softmax(x).

    >>> softmax_pulled(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
    array([ 0.25, -0.25])
    """
    return _along("softmax_pulled", axis, out, g)


def log_softmax(x: Any, axis: int = -1) -> Array | None:
    """x - log Σ eˣ along `axis`.

    >>> log_softmax(np.array([1000.0, 0.0]))
    array([    0., -1000.])
    """
    return _along("log_softmax", axis, x)


def log_softmax_pulled(g: Array, out: Any, axis: int = -1) -> Array | None:
    """The gradient of x, by that of out = log_softmax(x).

    >>> log_softmax_pulled(np.array([1.0, 0.0]), np.log(np.array([0.5, 0.5])))
    array([ 0.5, -0.5])
    """
    return _along("log_softmax_pulled", axis, out, g)


def _along(name: str, axis: int, x: Any, g: Array | None = None) -> Array | None:
    """A kernel on the rows of a matrix; an axis that is not the last one becomes it meanwhile."""
    on_device = cuda.served(x)
    if not on_device and (type(x) is not np.ndarray or x.dtype not in COMPILED or module(__name__) is None):
        return None
    xp = namespace(x)
    if x.ndim != 2 or axis not in (-1, 1):
        moved = xp.moveaxis(x, axis, -1) if x.ndim else x.reshape(1)
        rows = (x.size // max(moved.shape[-1], 1), moved.shape[-1])
        g = None if g is None else (xp.moveaxis(g, axis, -1) if x.ndim else g).reshape(rows)
        out: Any = _along(name, -1, moved.reshape(rows), g)
        return xp.moveaxis(out.reshape(moved.shape), -1, axis) if x.ndim else out.reshape(())
    dtype = x.dtype
    if on_device:
        return cuda.module(__name__).along(name, x, g)
    cpu = module(__name__)
    out = np.empty(x.shape, dtype)
    parts = threads.parts(x.nbytes * cpu.TIMES[name])
    x = x if x.flags.carray else x.copy()
    if g is None:
        getattr(cpu, name)[dtype](x, out, parts)
    else:
        getattr(cpu, name)[dtype](_plain(g, dtype), x, out, parts)
    return out


def _plain(x: Array, dtype: Any) -> Array:
    """x, or a copy of it, as a kernel takes it: of that dtype, in C order, writable."""
    return x if x.flags.carray and x.dtype == dtype else np.array(x, dtype, order="C")


class CrossEntropy(NamedTuple):
    loss: Array  # of each row, or their mean or sum
    normalizers: Array  # (2, N): the largest entry of each row, and the logarithm of the sum of exp(row - it)
    share: Any  # that every row has in the loss: a number, or on a device an array
    wrong: int  # how many targets are no class: then the other results mean nothing; on a device nobody counts


def cross_entropy(
    x: Any, target: Array, weight: Array | None, *, ignore_index: int, reduction: str, label_smoothing: float
) -> CrossEntropy | None:
    """-log softmax(x)[target] of each row of a matrix, weighted by class, smoothed, and reduced.

    >>> x, target = np.zeros((3, 2)), np.array([0, 1, -100])
    >>> made = cross_entropy(x, target, None, ignore_index=-100, reduction="sum", label_smoothing=0.0)
    >>> f"{made.loss:.4f}"
    '1.3863'
    """
    if weight is not None and weight.dtype != x.dtype:
        return None
    if cuda.served(x):
        loss, normalizers, share = cuda.module(__name__).cross_entropy(
            x, target, weight, ignore_index, reduction, label_smoothing
        )
        return CrossEntropy(loss, normalizers, share, 0)
    if type(x) is not np.ndarray or x.dtype not in COMPILED or (cpu := module(__name__)) is None:
        return None
    dtype, n = x.dtype, len(x)
    parts = threads.parts(x.nbytes * cpu.TIMES["cross_entropy"])
    losses = np.empty(n if reduction == "none" else 0, dtype)
    normalizers, sums = np.empty((2, n), dtype), np.empty((parts, 3))
    cpu.cross_entropy[dtype](
        _plain(x, dtype), _plain(target.reshape(-1), _INT64), _weights(weight, dtype), losses, normalizers, sums,
        ignore_index, label_smoothing, parts,
    )  # fmt: skip
    loss, total, wrong = sums.sum(axis=0).tolist() if parts > 1 else sums[0].tolist()
    if reduction == "none":
        return CrossEntropy(losses, normalizers, 1.0, int(wrong))
    if reduction == "sum":
        return CrossEntropy(np.array(loss, dtype), normalizers, 1.0, int(wrong))
    share = 1 / total if total else np.inf
    return CrossEntropy(np.array(loss * share, dtype), normalizers, share, int(wrong))


def cross_entropy_pulled(
    g: Array, x: Any, target: Array, weight: Array | None, normalizers: Array, share: Any, *, ignore_index: int,
    label_smoothing: float,
) -> Array | None:  # fmt: skip
    """The gradient of x, by that of the loss, one number or one a row.

    >>> normalizers = np.array([[0.0], [np.log(2)]])
    >>> x, target = np.zeros((1, 2)), np.array([0])
    >>> cross_entropy_pulled(np.ones(1), x, target, None, normalizers, 1.0, ignore_index=-1, label_smoothing=0.0)
    array([[-0.5,  0.5]])
    """
    if weight is not None and weight.dtype != x.dtype:
        return None
    if cuda.served(x):
        return cuda.module(__name__).cross_entropy_pulled(
            g, x, target, weight, normalizers, share, ignore_index, label_smoothing
        )
    if type(x) is not np.ndarray or x.dtype not in COMPILED or (cpu := module(__name__)) is None:
        return None
    dtype = x.dtype
    gx = np.empty(x.shape, dtype)
    parts = threads.parts(x.nbytes * cpu.TIMES["cross_entropy_pulled"])
    cpu.cross_entropy_pulled[dtype](
        _plain(g.reshape(-1), dtype), _plain(x, dtype), _plain(target.reshape(-1), _INT64), _weights(weight, dtype),
        normalizers, gx, share, ignore_index, label_smoothing, parts,
    )  # fmt: skip
    return gx


def _weights(weight: Array | None, dtype: Any) -> Array:
    return _NO_WEIGHTS[dtype] if weight is None else _plain(weight, dtype)


_NO_WEIGHTS = {dtype: np.empty(0, dtype) for dtype in COMPILED}

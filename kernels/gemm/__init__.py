"""Matrix products of float32 arrays by our own GEMM: it never wakes a BLAS, whose threads would spin against ours.

Other arrays, of float64 among them, and every array where kernels are turned off, are multiplied by their own module;
those of a device while it is captured into a graph, where that can't be, by `gpu.py`, but for numbers of 16 bits.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from .. import cuda, threads
from ..dispatch import Array, module

_SINGLE = np.dtype(np.float32)
_NONE = np.empty(0, _SINGLE)
_THIN = 2  # columns that are too few for a panel
_FLOPS = 90.0  # in a nanosecond, of one thread: what an estimate of the time needs


def _served(x: Array, y: Array) -> Any:
    """cpu.py where its kernels can serve, else None."""
    if type(x) is np.ndarray and type(y) is np.ndarray and x.dtype is _SINGLE and y.dtype is _SINGLE:
        return module(__name__)
    return None


def _recorded(x: Array, y: Array) -> bool:
    """Whether gpu.py serves."""
    return cuda.recording() and cuda.served(x) and cuda.served(y) and bool(x.dtype == y.dtype)


def matmul(x: Array, y: Array, bias: Array | None = None) -> Array:
    """x @ y + bias: (…, n, k) and (…, k, m), or a vector in the place of either, as NumPy's `@` has it.

    >>> matmul(np.ones((2, 3), np.float32), np.ones((3, 1), np.float32), np.ones(1, np.float32))
    array([[4.],
           [4.]], dtype=float32)
    """
    if _recorded(x, y):
        out = cuda.module(__name__).matmul(x, y)
        return out if bias is None else out + bias
    cpu = _served(x, y)
    if cpu is None or x.ndim == 0 or y.ndim == 0 or (bias is not None and bias.dtype is not _SINGLE):
        out = x.dot(y) if x.ndim == 2 == y.ndim else x @ y
        return out if bias is None else out + bias
    if x.ndim == 2 and y.ndim == 2 and (bias is None or bias.shape == y.shape[1:]):
        return _flat(cpu, x, y, _NONE if bias is None else np.ascontiguousarray(bias))
    a = x[None] if x.ndim == 1 else x
    b = y[:, None] if y.ndim == 1 else y
    lead: tuple[int, ...] = ()
    if b.ndim == 2:  # one product of all rows
        lead = a.shape[:-2]
        out = _flat(cpu, a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b, _NONE).reshape(
            *lead, a.shape[-2], b.shape[-1]
        )
    else:
        lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        out = _batched(cpu, a, b, lead).reshape(*lead, a.shape[-2], b.shape[-1])
    if x.ndim == 1:
        out = out[..., 0, :]
    if y.ndim == 1:
        out = out[..., 0]
    return out if bias is None else out + bias


def _flat(cpu: Any, x: Array, y: Array, bias: Array) -> Array:
    (n, k), m = x.shape, y.shape[1]
    if k != len(y):
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not fit")
    if m <= _THIN and not bias.size and (x.flags.c_contiguous or x.flags.f_contiguous):
        return _thin(cpu, x, y)
    out = np.empty((n, m), _SINGLE)
    parts = threads.parts(2 * n * k * m / _FLOPS)
    cpu.matmul[_SINGLE](x, y, bias, out, cpu.product[_SINGLE], cpu.panel[_SINGLE], parts)
    return out


def _thin(cpu: Any, x: Array, y: Array) -> Array:
    """x @ y for one or two columns."""
    if x.flags.c_contiguous:
        out = np.empty((len(x), y.shape[1]), _SINGLE)
        cpu.thin[_SINGLE](x, np.ascontiguousarray(y.T), out)
        return out
    across = np.empty((y.shape[1], len(x)), _SINGLE)
    cpu.thin_transposed[_SINGLE](x.T, y, across)
    return np.ascontiguousarray(across.T)


def _batched(cpu: Any, a: Array, b: Array, lead: tuple[int, ...]) -> Array:
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {a.shape} and {b.shape} do not fit")
    count = math.prod(lead)
    a, b = (np.broadcast_to(z, lead + z.shape[-2:]).reshape(count, *z.shape[-2:]) for z in (a, b))
    out = np.empty((count, a.shape[1], b.shape[2]), _SINGLE)
    parts = min(threads.parts(2 * out.size * a.shape[2] / _FLOPS), max(count, 1))
    cpu.batched[_SINGLE](a, b, out, cpu.product[_SINGLE], cpu.panel[_SINGLE], parts)
    return out


@functools.lru_cache(maxsize=32)
def _ones(n: int) -> Array:
    ones = np.ones((n, 1), _SINGLE)
    ones.flags.writeable = False
    return ones


def weight_gradient(g: Array, x: Array, sums: bool) -> tuple[Array, Array | None]:
    """gᵀ x, and with `sums` those of g's columns: the gradients of weight and bias of `x @ weightᵀ + bias`.

    >>> gw, gb = weight_gradient(np.ones((2, 1)), np.ones((2, 3)), True)
    >>> gw.tolist(), gb.tolist()
    ([[2.0, 2.0, 2.0]], [2.0])
    """
    cpu = _served(g, x)
    if cpu is None:
        return matmul(g.T, x), g.sum(axis=0) if sums else None
    if len(g) != len(x):
        raise ValueError(f"weight_gradient: shapes {g.shape} and {x.shape} do not fit")
    if x.shape[1] <= _THIN and g.flags.c_contiguous:
        return _thin(cpu, g.T, x), _thin(cpu, g.T, _ones(len(g)))[:, 0] if sums else None
    out = np.empty((g.shape[1], x.shape[1]), _SINGLE)
    gb = np.empty(g.shape[1] if sums else 0, _SINGLE)
    parts = threads.parts(2 * out.size * len(g) / _FLOPS)
    cpu.weight_gradient[_SINGLE](g, x, out, gb, cpu.product[_SINGLE], cpu.panel[_SINGLE], parts)
    return out, gb if sums else None

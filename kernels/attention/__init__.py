"""Attention and its gradients without an N × N array: by kernels, where there are any for the arrays.

Both functions return None where no kernel serves: for other arrays than those of float32 and float64, on a device with
tensor cores also of 16 bits, and where kernels are turned off. Then the formula does, which stands in the op.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda, gemm, threads
from ..dispatch import Array, module
from ..jit import COMPILED

_FLOPS = {4: 60.0, 8: 30.0}  # in a nanosecond, of one thread, by itemsize: what an estimate of the time needs
_KEYS = 64  # of a block, backward: the two tiles of a block, of weights and their gradients, stay in the nearest caches
_NOBODY = np.empty((0, 0), np.uint8)


def _served(q: Array, *others: Array) -> Any:
    """cpu.py where its kernels can serve, gpu.py where those can, else None."""
    if any(type(x) is not type(q) or x.dtype != q.dtype or not x.size for x in (q, *others)):
        return None
    if type(q) is np.ndarray:
        return module(__name__) if q.dtype in COMPILED else None
    if cuda.served(q):
        return cuda.module(__name__)
    return cuda.module(__name__) if takes_halves(q, *others[:2]) else None


def takes_halves(q: Array, k: Array, v: Array) -> bool:
    """Whether tensor cores serve: for float16 and bfloat16 on a device, up to 128 columns, multiples of 8.

    Sums are float32 there; weights, and the gradients of scores, are rounded to 16 bits before they multiply.

    >>> takes_halves(*[np.ones((1, 1, 2, 8), np.float16)] * 3)
    False
    """
    if type(q) is np.ndarray or not (q.dtype == k.dtype == v.dtype) or not cuda.served_halves(q):
        return False
    return bool(cuda.module(__name__).takes(q, k, v))


def _flags(hidden: Array | None) -> Array:
    return _NOBODY if hidden is None else np.ascontiguousarray(hidden, np.bool_).view(np.uint8)


def attention(
    q: Array, k: Array, v: Array, hidden: Array | None, *, causal: bool, scale: float, block_q: int, block_k: int
) -> tuple[Array, Array] | None:
    """softmax(Q Kᵀ · scale) V of (B, H, N, D), (B, H, M, D), (B, H, M, E), and log Σ exp(scores): (B, H, N).

    `hidden` is True for keys that nobody sees, (B, M). The result lies in memory as q does, heads last or not.

    >>> ones = np.ones((1, 1, 2, 3))
    >>> out, logs = attention(ones, ones, ones, None, causal=True, scale=0.0, block_q=64, block_k=64)
    >>> out.shape, logs.round(3)
    ((1, 1, 2, 3), array([[[0.   , 0.693]]]))
    """
    if (kernels := _served(q, k, v)) is None:
        return None
    if type(q) is not np.ndarray:
        return kernels.attention(q, k, v, hidden, causal, scale)  # type: ignore[no-any-return]
    cpu = kernels
    dtype, (batch, heads, queries, columns), (keys, values) = q.dtype, q.shape, v.shape[2:]
    out = _like(q, values)
    normalizers = np.empty((batch, heads, queries), dtype)
    panel = cpu.WIDEST * cpu.VECTOR // dtype.itemsize
    block_q, block_k = min(block_q, queries), -(-min(block_k, keys) // panel) * panel
    work = batch * heads * queries * keys * (columns + values) * (1 if causal else 2)
    parts = min(threads.parts(work / _FLOPS[dtype.itemsize]), batch * heads * -(-queries // block_q))
    cpu.attention[dtype](
        q, k, v, _flags(hidden), out, normalizers, dtype.type(scale), causal, block_q, block_k, cpu.pack[dtype],
        cpu.attend[dtype], module(gemm.__name__).panel[dtype], parts,
    )  # fmt: skip
    return out, normalizers


def attention_pulled(
    g: Array, out: Array, q: Array, k: Array, v: Array, hidden: Array | None, normalizers: Array, *, causal: bool,
    scale: float, block_q: int, block_k: int,
) -> tuple[Array, Array, Array] | None:  # fmt: skip
    """The gradients of q, k and v, by that of what `attention` returned.

    >>> ones, settings = np.ones((1, 1, 2, 3)), {"causal": False, "scale": 1.0, "block_q": 64, "block_k": 64}
    >>> out, logs = attention(ones, ones, ones, None, **settings)
    >>> attention_pulled(ones, out, ones, ones, ones, None, logs, **settings)[2].round(6).tolist()
    [[[[1.0, 1.0, 1.0], [1.0, 1.0, 1.0]]]]
    """
    if (kernels := _served(q, k, v, g)) is None:
        return None
    if type(q) is not np.ndarray:
        return kernels.attention_pulled(g, out, q, k, v, hidden, normalizers, causal, scale)  # type: ignore[no-any-return]
    cpu = kernels
    dtype, (batch, heads, queries, columns), (keys, values) = q.dtype, q.shape, v.shape[2:]
    block_q, block_k = min(block_q, queries), min(block_k, keys, _KEYS)
    work = batch * heads * queries * keys * (3 * columns + 2 * values) * (1 if causal else 2)
    parts, blocks = threads.parts(work / _FLOPS[dtype.itemsize]), -(-keys // block_k)
    shares = min(-(-parts // (batch * heads)), blocks)  # of the keys of a head, where there are fewer heads than parts
    parts = min(parts, batch * heads * shares)
    vector = cpu.VECTOR // dtype.itemsize
    panel = vector * cpu.WIDEST if columns > 2 * vector else -(-columns // vector) * vector
    gq = np.empty((shares, batch, heads, queries, -(-columns // panel) * panel), dtype)
    gk, gv = _like(k, columns), _like(v, values)
    cpu.attention_pulled[dtype](
        q, k, v, _flags(hidden), out, normalizers, g, gq, gk, gv, dtype.type(scale), causal, block_q, block_k,
        cpu.pack[dtype], cpu.pull[dtype], module(gemm.__name__).panel[dtype], parts,
    )  # fmt: skip
    return (gq[0] if shares == 1 else gq.sum(axis=0))[..., :columns], gk, gv


def _like(x: Array, last: int) -> Array:
    """A new array like x but for its last axis, with the axes in the same order in memory."""
    return np.empty_like(x, shape=(*x.shape[:-1], last)) if x.ndim == 4 else np.empty((*x.shape[:-1], last), x.dtype)

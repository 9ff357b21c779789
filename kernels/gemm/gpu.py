"""Products of device arrays by the kernels of convolution, which is a product of matrices for each group of channels.

While a stream is captured CuPy calls no cuBLAS. With a kernel of one tap the three convolutions are the three products
of rows that lie side by side: x y is a convolution of y by the weight x, xᵀ y the gradient of its image, and x yᵀ that
of its weight. Only xᵀ yᵀ needs a copy. A group is one product of a batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..conv import gpu as conv
from ..cuda import plain
from ..dispatch import Array, namespace


def matmul(x: Array, y: Array) -> Array:
    """x @ y as NumPy has it: vectors on either side, and batches that are broadcast."""
    if x.ndim == 0 or y.ndim == 0:
        raise ValueError("matmul: expected vectors or matrices, got a number")
    a = x[None] if x.ndim == 1 else x
    b = y[:, None] if y.ndim == 1 else y
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: shapes {x.shape} and {y.shape} do not fit")
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    if not math.prod((*lead, a.shape[-2], b.shape[-2], b.shape[-1])):
        out = namespace(x).zeros((*lead, a.shape[-2], b.shape[-1]), x.dtype)
    elif b.ndim == 2:  # one product of all rows
        out = _batched(a.reshape(1, math.prod(a.shape[:-1]), a.shape[-1]) if a.ndim > 2 else a[None], b[None])
    else:
        out = _batched(*(_stacked(z, lead) for z in (a, b)))
    out = out.reshape(*lead, a.shape[-2], b.shape[-1])
    out = out[..., 0, :] if x.ndim == 1 else out
    return out[..., 0] if y.ndim == 1 else out


def _stacked(z: Array, lead: tuple[int, ...]) -> Array:
    """Matrices as one batch: of one matrix where all share it, else of as many as `lead` says."""
    if math.prod(z.shape[:-2]) == 1:
        return z.reshape(1, *z.shape[-2:])
    return namespace(z).broadcast_to(z, lead + z.shape[-2:]).reshape(math.prod(lead), *z.shape[-2:])


def _batched(a: Array, b: Array) -> Array:
    """(B, n, k) and (B, k, m), or one of either for all, to (B, n, m)."""
    (n, k), m, count = a.shape[1:], b.shape[2], max(len(a), len(b))
    if len(a) < len(b):  # images of one weight
        return conv.convolve(b, plain(a[0])[..., None], None, stride=(1,), padding=((0, 0),), dilation=(1,), groups=1)
    if len(b) < len(a):
        b = namespace(b).broadcast_to(b, (count, k, m))
    along: dict[str, Any] = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": count}
    if b.swapaxes(-1, -2).flags.c_contiguous and not b.flags.c_contiguous:
        g, x = plain(a).reshape(1, count * n, k), b.swapaxes(-1, -2).reshape(1, count * m, k)
        return conv.convolve_weight(g, x, kernel=(1,), **along).reshape(count, n, m)
    image = plain(b).reshape(1, count * k, m)
    if a.swapaxes(-1, -2).flags.c_contiguous and not a.flags.c_contiguous:
        weight = a.swapaxes(-1, -2).reshape(count * k, n, 1)
        return conv.convolve_input(image, weight, size=(m,), **along).reshape(count, n, m)
    return conv.convolve(image, plain(a).reshape(count * n, k, 1), None, **along).reshape(count, n, m)

"""Bounds on gradients, between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import backend
from ..errors import NonFiniteError, UsageError
from ..grad_mode import effect
from ..kernels import optimizer as kernels
from ..kernels.pieces import Pieces, pieces
from ..tensor import Tensor, tensor
from ..variable import Variable, mark_all_written


@effect
def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """g ← g · min(1, max_norm / (‖g‖ + 1e-6)), g all gradients as one vector; returns ‖g‖ from before.

    `norm_type` is any p > 0 or inf. The norm is summed in float64. Where it is NaN or Inf, NaN spreads through the
    gradients, as in PyTorch, unless `error_if_nonfinite` asks for NonFiniteError before anything is written; nothing
    else waits for a device.

    >>> p = tensor([0.0, 0.0], requires_grad=True)
    >>> (p * tensor([3.0, 4.0])).sum().backward()
    >>> clip_grad_norm_([p], max_norm=1.0)
    tensor(5.)
    >>> p.grad.numpy().round(4)
    array([0.6, 0.8], dtype=float32)
    """
    if not norm_type > 0:
        raise UsageError(f"clip_grad_norm_: expected norm_type > 0 or inf, got {norm_type}")
    grads = _gradients(parameters)
    if not grads:
        return tensor(0.0)
    arrays = [g._data for g in grads]
    table = pieces(arrays, np.cumsum([0, *(a.size for a in arrays)]))
    norm = _norm(grads, table, norm_type)
    if error_if_nonfinite and not math.isfinite(norm):
        raise NonFiniteError(f"clip_grad_norm_: the gradients' norm is {norm}; they were left as they are")
    # A look at the norm would wait for the device, so the gradients are multiplied by 1 where they are small enough.
    factor = backend.namespace(grads[0]._data).minimum(max_norm / (norm + 1e-6), 1.0)
    if table is None:
        for g in grads:
            g._data *= backend.to_device(factor, g.device).astype(g._data.dtype)
        mark_all_written(grads)
    elif factor != 1:
        kernels.scale(table, float(factor))
        mark_all_written(grads)
    return tensor(norm, dtype=grads[0].dtype, device=grads[0].device)


@effect
def clip_grad_value_(parameters: Any, clip_value: float) -> None:
    """g ← min(max(g, −clip_value), clip_value), for every element of every gradient.

    >>> p = tensor([0.0, 0.0], requires_grad=True)
    >>> (p * tensor([3.0, -0.5])).sum().backward()
    >>> clip_grad_value_([p], 1.0)
    >>> p.grad
    tensor([ 1. , -0.5])
    """
    for g in _gradients(parameters):
        backend.namespace(g._data).clip(g._data, -clip_value, clip_value, out=g._data)
        g.mark_written()


def _gradients(parameters: Any) -> list[Tensor]:
    tensors: Iterable[Any] = [parameters] if isinstance(parameters, Variable) else parameters
    return [p.grad for p in tensors if p.grad is not None]


def _norm(grads: list[Tensor], table: Pieces | None, p: float) -> Any:
    """(Σ|g|ᵖ)^(1/p) over all of them on the device of the first, scaled by the largest |g|: no power overflows."""
    if table is not None and p == 2:
        norm = kernels.norm(table)
        if 1e-140 < norm < math.inf:  # the squares of what counts are normal numbers
            return np.float64(norm)
    xp, device = backend.namespace(grads[0]._data), grads[0].device
    joined = xp.concatenate([backend.to_device(g._data, device) for g in grads], axis=None)
    values = abs(joined.astype(np.float64))
    if values.size == 0:
        return values.sum()
    largest = values.max()
    if p == math.inf:
        return largest
    scale = xp.where((largest > 0) & (largest < math.inf), largest, 1.0)
    return scale * ((values / scale) ** p).sum() ** (1 / p)

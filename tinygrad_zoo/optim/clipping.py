"""Bounds on gradients, between `backward()` and `step()`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from .. import backend
from ..errors import NonFiniteError, UsageError
from ..tensor import Tensor, tensor
from ..variable import Variable


def clip_grad_norm_(
    parameters: Any, max_norm: float, norm_type: float = 2.0, error_if_nonfinite: bool = False
) -> Tensor:
    """g ← g · min(1, max_norm / (‖g‖ + 1e-6)), g all gradients as one vector; returns ‖g‖ from before.

    `norm_type` is any p > 0 or inf. The norm is summed in float64. Where it is NaN or Inf, NaN spreads through the
    gradients, as in PyTorch, unless `error_if_nonfinite` asks for NonFiniteError before anything is written.

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
    norm = _norm(np.array([_norm(g._data, norm_type) for g in grads]), norm_type)  # the norm of the norms
    if error_if_nonfinite and not math.isfinite(norm):
        raise NonFiniteError(f"clip_grad_norm_: the gradients' norm is {norm}; they were left as they are")
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # also where it is NaN
        for g in grads:
            g._data *= g._data.dtype.type(factor)
            g.mark_written()
    return tensor(norm, dtype=grads[0].dtype, device=grads[0].device)


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


def _norm(g: Any, p: float) -> float:
    """(Σ|g|ᵖ)^(1/p), scaled by the largest element so that no power overflows."""
    if g.size == 0:
        return 0.0
    g = abs(g.astype(np.float64))
    largest = float(g.max())
    if p == math.inf or largest == 0 or not math.isfinite(largest):
        return largest
    total = float(((g / largest) ** p).sum())
    return largest * math.pow(total, 1 / p)

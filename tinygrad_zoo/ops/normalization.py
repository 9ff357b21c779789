"""Normalisation over axes, with learnt scale and shift."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import fused
from ..backend import namespace
from ..errors import ShapeError
from ..variable import Array
from .exponential import sqrt
from .sampling import sample


def _axes(x: Any, normalized_shape: tuple[int, ...] | None) -> tuple[int, ...]:
    n = 1 if normalized_shape is None else len(normalized_shape)
    return tuple(range(x.ndim - n, x.ndim))


def layer_norm_formula(x: Any, weight: Any, bias: Any, *, normalized_shape: tuple[int, ...] | None, eps: float) -> Any:
    axes = _axes(x, normalized_shape)
    centred = x - x.mean(axis=axes, keepdims=True)
    out = centred / sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    if weight is not None:
        out = out * weight
    return out if bias is None else out + bias


def _backward(
    g: Array, out: Array, x: Array, weight: Any, bias: Any, mean: Array, rstd: Array, *,
    needs: Any, normalized_shape: tuple[int, ...] | None, eps: float,
) -> list[Any]:  # fmt: skip
    axes = _axes(x, normalized_shape)
    rows = tuple(range(x.ndim - len(axes)))
    normal = (x - mean) * rstd
    gx = gw = None
    if needs[0]:
        gn = g if weight is None else g * weight
        gx = gn - gn.mean(axis=axes, keepdims=True) - normal * (gn * normal).mean(axis=axes, keepdims=True)
        gx *= rstd
    if needs[1]:
        gw = (g * normal).sum(axis=rows)
    return [gx, gw, g.sum(axis=rows) if needs[2] else None]


def _reference(x: Any, weight: Any, bias: Any, normalized_shape: Any, eps: float) -> Any:
    axes = _axes(x, normalized_shape)
    out = (x - np.mean(x, axes, keepdims=True)) / np.sqrt(np.var(x, axes, keepdims=True) + eps)
    return out * (1 if weight is None else weight) + (0 if bias is None else bias)


@fused(
    formula=layer_norm_formula,
    backward=_backward,
    saved=("mean", "rstd"),
    samples=lambda r: [
        sample(r(3, 4), r(4), r(4)),
        sample(r(2, 3, 4), None, None),
        sample(r(2, 3, 4), r(3, 4), None, normalized_shape=(3, 4), eps=1e-2),
        sample(r(4), None, r(4)),
    ],
    reference=_reference,
)
def layer_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: tuple[int, ...] | None = None,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias over the last axes (arXiv 1607.06450); var is uncorrected.

    `normalized_shape` gives those axes' sizes; None means the last one. weight and bias have that shape.

    >>> import tinygrad_zoo as tz
    >>> tz.layer_norm(tz.tensor([[1.0, 3.0]]), eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    expected = x.shape[-1:] if normalized_shape is None else tuple(normalized_shape)
    if x.ndim == 0 or x.shape[x.ndim - len(expected) :] != expected:
        raise ShapeError(f"layer_norm: normalized_shape {expected} does not end the shape {x.shape} of x")
    for name, array in (("weight", weight), ("bias", bias)):
        if array is not None and array.shape != expected:
            raise ShapeError(f"layer_norm: expected a {name} of shape {expected}, got {array.shape}")
    axes, dtype = _axes(x, normalized_shape), x.dtype
    if dtype == np.float16:  # whose squares overflow
        x = x.astype(np.float32)
    mean = x.mean(axis=axes, keepdims=True)
    centred = x - mean
    rstd = 1 / namespace(x).sqrt((centred * centred).mean(axis=axes, keepdims=True) + eps)
    out = centred * rstd
    if weight is not None:
        out = out * weight
    if bias is not None:
        out = out + bias
    return out.astype(dtype) if dtype == np.float16 else out, mean, rstd

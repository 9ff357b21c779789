"""Channels as pixels and back, the sub-pixel convolution's last step: each op is the other's inverse and gradient rule.

Channel c r² + i r + j holds the pixel (i, j) of each r x r block of channel c (arXiv 1609.05158).
"""

from __future__ import annotations

import math
from operator import index
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array
from .sampling import sample


def _factor(op: str, name: str, value: Any) -> int:
    if index(value) < 1:
        raise UsageError(f"{op}: {name}={value!r}: expected an integer >= 1")
    return index(value)


def _shuffle_reference(x: Any, upscale_factor: int) -> Any:
    r = upscale_factor
    *lead, channels, h, w = x.shape
    out = np.zeros((*lead, channels // r**2, h * r, w * r))
    for i in range(r):
        for j in range(r):
            out[..., i::r, j::r] = x[..., i * r + j :: r**2, :, :]
    return out


@primitive(
    vjp=(lambda g, out, x, upscale_factor: pixel_unshuffle(g, downscale_factor=upscale_factor),),
    samples=lambda r: [
        sample(r(2, 8, 2, 3), upscale_factor=2),
        sample(r(9, 1, 2), upscale_factor=3),
        sample(r(2, 1, 4, 1, 1), upscale_factor=2),
        sample(r(3, 2, 2), upscale_factor=1),
    ],
    reference=_shuffle_reference,
)
def pixel_shuffle(x: Array, *, upscale_factor: int) -> Array:
    """out[…, c, h r + i, w r + j] = x[…, c r² + i r + j, h, w]: (…, C r², H, W) → (…, C, H r, W r).

    >>> tz.pixel_shuffle(tz.tensor([[[1]], [[2]], [[3]], [[4]]]), 2).tolist()
    [[[1, 2], [3, 4]]]
    """
    r = _factor("pixel_shuffle", "upscale_factor", upscale_factor)
    if x.ndim < 3 or x.shape[-3] % r**2:
        raise ShapeError(f"pixel_shuffle: expected x of shape (…, C · {r**2}, H, W), got {x.shape}")
    *lead, channels, h, w = x.shape
    n = math.prod(lead) * (channels // r**2)
    out = namespace(x).empty((*lead, channels // r**2, h * r, w * r), dtype=x.dtype)
    out.reshape(n, h, r, w, r)[...] = x.reshape(n, r, r, h, w).transpose(0, 3, 1, 4, 2)
    return out


def _unshuffle_reference(x: Any, downscale_factor: int) -> Any:
    r = downscale_factor
    *lead, channels, h, w = x.shape
    parts = [x[..., i::r, j::r] for i in range(r) for j in range(r)]
    return np.stack(parts, -3).reshape(*lead, channels * r**2, h // r, w // r)


@primitive(
    vjp=(lambda g, out, x, downscale_factor: pixel_shuffle(g, upscale_factor=downscale_factor),),
    samples=lambda r: [
        sample(r(2, 2, 4, 6), downscale_factor=2),
        sample(r(1, 3, 6), downscale_factor=3),
        sample(r(2, 1, 1, 2, 2), downscale_factor=2),
        sample(r(3, 2, 2), downscale_factor=1),
    ],
    reference=_unshuffle_reference,
)
def pixel_unshuffle(x: Array, *, downscale_factor: int) -> Array:
    """out[…, c r² + i r + j, h, w] = x[…, c, h r + i, w r + j]: (…, C, H r, W r) → (…, C r², H, W).

    >>> tz.pixel_unshuffle(tz.tensor([[[1, 2], [3, 4]]]), 2).tolist()
    [[[1]], [[2]], [[3]], [[4]]]
    """
    r = _factor("pixel_unshuffle", "downscale_factor", downscale_factor)
    if x.ndim < 3 or x.shape[-2] % r or x.shape[-1] % r:
        raise ShapeError(f"pixel_unshuffle: expected x of shape (…, C, H · {r}, W · {r}), got {x.shape}")
    *lead, channels, h, w = x.shape
    n, h, w = math.prod(lead) * channels, h // r, w // r
    out = namespace(x).empty((*lead, channels * r**2, h, w), dtype=x.dtype)
    out.reshape(n, r, r, h, w)[...] = x.reshape(n, h, r, w, r).transpose(0, 2, 4, 1, 3)
    return out

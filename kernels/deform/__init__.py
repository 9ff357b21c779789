"""Deformable convolution and its gradients: by kernels, where there are any for the arrays.

Both functions return None where no kernel serves: for other arrays than those of float32 and float64, for arrays of
several dtypes or without entries, and where kernels are turned off. Then the formula does, which stands in the op.

x is (N, C, H, W), `weight` (out, C / groups, kH, kW), `offset` (N, G · kH · kW · 2, H', W'), `mask` without the 2, or
None. `before` is the padding of each axis, `places` are H' and W'.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda
from ..dispatch import Array, module
from ..jit import COMPILED

Pair = tuple[int, int]


def convolve(
    x: Array, offset: Array, weight: Array, bias: Array | None, mask: Array | None, *, stride: Pair, before: Pair,
    dilation: Pair, places: Pair, groups: int, offset_groups: int,
) -> Any:  # fmt: skip
    """Σ over channels and taps of weight · mask · x at the tap's pixel plus its offset, plus bias[k] if there is one.

    >>> x, offset = np.array([[[[1.0, 2.0, 4.0]]]]), np.zeros((1, 2, 1, 3)) + np.array([0.0, 0.5]).reshape(1, 2, 1, 1)
    >>> settings = {"stride": (1, 1), "before": (0, 0), "dilation": (1, 1), "places": (1, 3)}
    >>> convolve(x, offset, np.ones((1, 1, 1, 1)), None, None, **settings, groups=1, offset_groups=1).tolist()
    [[[[1.5, 3.0, 2.0]]]]
    """
    if (kernels := _served(x, offset, weight, bias, mask)) is None:
        return None
    settings: dict[str, Any] = {"stride": stride, "before": before, "dilation": dilation, "places": places}
    return kernels.convolve(x, offset, weight, bias, mask, **settings, groups=groups, offset_groups=offset_groups)


def convolve_pulled(
    g: Array, x: Array, offset: Array, weight: Array, mask: Array | None, *, stride: Pair, before: Pair,
    dilation: Pair, places: Pair, groups: int, offset_groups: int,
) -> Any:  # fmt: skip
    """The gradients in x, offset, weight and mask (None without one).

    >>> x, offset = np.array([[[[1.0, 2.0, 4.0]]]]), np.zeros((1, 2, 1, 3)) + np.array([0.0, 0.5]).reshape(1, 2, 1, 1)
    >>> settings = {"stride": (1, 1), "before": (0, 0), "dilation": (1, 1), "places": (1, 3)}
    >>> g, weight = np.ones((1, 1, 1, 3)), np.ones((1, 1, 1, 1))
    >>> made = convolve_pulled(g, x, offset, weight, None, **settings, groups=1, offset_groups=1)
    >>> made[0].tolist(), made[1][0, 1].tolist(), made[2].tolist()
    ([[[[0.5, 1.0, 1.0]]]], [[1.0, 2.0, -4.0]], [[[[6.5]]]])
    """
    if (kernels := _served(x, g, offset, weight, mask)) is None:
        return None
    settings: dict[str, Any] = {"stride": stride, "before": before, "dilation": dilation, "places": places}
    return kernels.convolve_pulled(g, x, offset, weight, mask, **settings, groups=groups, offset_groups=offset_groups)


def _served(x: Array, *others: Array | None) -> Any:
    """cpu.py or gpu.py."""
    kind, dtype = type(x), x.dtype
    if dtype not in COMPILED or not x.size:
        return None
    if any(a is not None and (type(a) is not kind or a.dtype != dtype or not a.size) for a in others):
        return None
    if kind is np.ndarray:
        return module(__name__)
    return cuda.module(__name__) if cuda.served(x) else None

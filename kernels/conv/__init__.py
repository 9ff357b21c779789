"""Convolution over 1 to 3 spatial axes and its two adjoints: three functions, each the gradient of the other two.

y[n, k, o] = Σ_c Σ_r x[n, c, o·stride + r·dilation − before] · weight[k, c, r], with zeros outside x, where the channels
of x and y fall into `groups` of which each sees its own: x (N, C, *S), weight (K, C / groups, *R), y (N, K, *O). It is
one bilinear form in x, weight and y with one of the three left open.

`stride` and `dilation` are an integer an axis, `padding` is a pair (before, after) an axis, of which a negative one
crops. Sizes are taken to fit: O = `spatial`(S, R, ...). Results have the dtype of NumPy's promotion and any memory
layout.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda
from ..dispatch import Array, module
from ..jit import COMPILED
from . import formula
from .formula import Pairs as Pairs
from .formula import Sizes as Sizes
from .formula import spatial as spatial


def convolve(
    x: Array, weight: Array, bias: Array | None = None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    """y, plus bias[k] if there is one.

    >>> import numpy as np
    >>> x, weight = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]])
    >>> convolve(x, weight, stride=(1,), padding=((1, 0),), dilation=(1,), groups=1)
    array([[[10., 21., 42.]]])
    """
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (_kernels(x, weight, bias) or formula).convolve(x, weight, bias, **settings)


def convolve_input(
    g: Array, weight: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    """Σ g·y's gradient in x, whose spatial shape is `size`: transposed convolution.

    >>> import numpy as np
    >>> g, weight = np.array([[[1.0, 2.0, 4.0]]]), np.array([[[1.0, 10.0]]])
    >>> convolve_input(g, weight, size=(3,), stride=(1,), padding=((1, 0),), dilation=(1,), groups=1)
    array([[[12., 24., 40.]]])
    """
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (_kernels(g, weight) or formula).convolve_input(g, weight, size=size, **settings)


def convolve_weight(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    """Σ g·y's gradient in weight, whose spatial shape is `kernel`.

    >>> import numpy as np
    >>> g, x = np.array([[[1.0, 0.0, 10.0]]]), np.array([[[1.0, 2.0, 4.0]]])
    >>> convolve_weight(g, x, kernel=(2,), stride=(1,), padding=((1, 0),), dilation=(1,), groups=1)
    array([[[20., 41.]]])
    """
    settings: dict[str, Any] = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    return (_kernels(g, x) or formula).convolve_weight(g, x, kernel=kernel, **settings)


def _kernels(x: Array, *others: Array | None) -> Any:
    """The module whose kernels serve these arrays, cpu.py or gpu.py; None: the formula does."""
    kind, dtype = type(x), x.dtype
    if dtype not in COMPILED or not 3 <= x.ndim <= 5:
        return None
    if any(a is not None and (type(a) is not kind or a.dtype != dtype) for a in others):
        return None
    if kind is np.ndarray:
        return module(__name__)
    return cuda.module(__name__) if cuda.served(x) else None

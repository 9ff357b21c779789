"""One step of an optimizer over flat arrays: parameters, gradients and state are written in one pass.

`p` is the parameters, `g` their gradients; `p` and the state after it are written, `g` is not. All have one dtype and
do not overlap. Scalars are computed in float64 and rounded once to that dtype; those that change from step to step
(learning rate, step count) are values like all others, so nothing is compiled anew.

The formulas below are operators that NumPy and CuPy share. `cpu.py` has them as loops, bitwise equal.
"""

from __future__ import annotations

import math
from typing import Any

from ..dispatch import Array, loops, namespace


def sgd(
    p: Array,
    g: Array,
    buffer: Array | None = None,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> None:
    """p ← p − lr·d, with d = g + λp; with a buffer b ← μb + (1−dampening)d, d = b, or d + μb if nesterov.

    >>> import numpy as np
    >>> p = np.array([1.0, 2.0])
    >>> sgd(p, np.array([10.0, 0.0]), lr=0.01)
    >>> p
    array([0.9, 2. ])
    """
    arrays = (p, g) if buffer is None else (p, g, buffer)
    scalars = (lr, weight_decay) if buffer is None else (lr, weight_decay, momentum, 1 - dampening)
    cpu = loops(__name__, *arrays)
    if cpu is not None:
        if buffer is None:
            cpu.sgd[p.dtype](p, g, *scalars)
        else:
            cpu.momentum[p.dtype](p, g, buffer, *scalars, nesterov)
        return
    lr, l2, *rest = _rounded(p, scalars)
    d = g + l2 * p
    if buffer is not None:
        mu, keep = rest
        buffer[...] = mu * buffer + keep * d
        d = d + mu * buffer if nesterov else buffer
    p -= lr * d


def adam(
    p: Array,
    g: Array,
    m: Array,
    v: Array,
    v_max: Array | None = None,
    *,
    t: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Adam (arXiv 1412.6980), step t = 1, 2, …: p ← p − lr·m̂ / (√v̂ + ε).

    m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g², m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ). With `v_max` (AMSGrad, Reddi et al. 2018)
    v_max ← max(v_max, v) stands for v in v̂. Weight decay adds λp to g; `decoupled` (AdamW, arXiv 1711.05101) takes
    lr·λ·p off p instead, where p is the value before the step.

    >>> import numpy as np
    >>> p, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    >>> adam(p, np.array([3.0, -4.0]), m, v, t=1, lr=0.1)
    >>> p.round(6)  # the first step is lr·sign(g)
    array([-0.1,  0.1])
    """
    arrays = (p, g, m, v) if v_max is None else (p, g, m, v, v_max)
    step, root = lr / (1 - beta1**t), math.sqrt(1 - beta2**t)
    l2, decay = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    scalars = (step, root, beta1, 1 - beta1, beta2, 1 - beta2, eps, l2, decay)
    cpu = loops(__name__, *arrays)
    if cpu is not None:
        (cpu.adam if v_max is None else cpu.amsgrad)[p.dtype](*arrays, *scalars)
        return
    step, root, beta1, rest1, beta2, rest2, eps, l2, decay = _rounded(p, scalars)
    d = g + l2 * p
    m[...] = beta1 * m + rest1 * d
    v[...] = beta2 * v + rest2 * (d * d)
    xp = namespace(p)
    if v_max is not None:
        v = xp.maximum(v_max, v, out=v_max)
    p[...] = decay * p - step * (m / (xp.sqrt(v) / root + eps))


def rmsprop(
    p: Array,
    g: Array,
    square: Array,
    mean: Array | None = None,
    buffer: Array | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    """p ← p − lr·d / (√s + ε), with d = g + λp and s ← αs + (1−α)d² (Hinton's lecture 6e, 2012).

    With `mean`, a ← αa + (1−α)d and s − a², a variance, stands under the root (Graves 2013); rounding can take it below
    0, where it counts as 0. With `buffer`, b ← μb + d/(√s + ε) and p ← p − lr·b.

    >>> import numpy as np
    >>> p, s = np.zeros(1), np.zeros(1)
    >>> rmsprop(p, np.array([5.0]), s, lr=0.1)
    >>> p.round(6)  # 0.1 / √(1 − 0.99)
    array([-1.])
    """
    arrays = [x for x in (p, g, square, mean, buffer) if x is not None]
    scalars = (lr, alpha, 1 - alpha, eps, weight_decay, momentum)
    cpu = loops(__name__, *arrays)
    if cpu is not None:
        none = p[:0]  # stands for an array that is not there
        kernel = cpu.rmsprop[p.dtype]
        kernel(p, g, square, none if mean is None else mean, none if buffer is None else buffer, *scalars)
        return
    lr, alpha, rest, eps, l2, mu = _rounded(p, scalars)
    d = g + l2 * p
    square[...] = alpha * square + rest * (d * d)
    xp, s = namespace(p), square
    if mean is not None:
        mean[...] = alpha * mean + rest * d
        s = xp.maximum(square - mean * mean, 0)
    d = d / (xp.sqrt(s) + eps)
    if buffer is not None:
        buffer[...] = d = mu * buffer + d
    p -= lr * d


def adagrad(p: Array, g: Array, total: Array, *, lr: float, eps: float = 1e-10, weight_decay: float = 0.0) -> None:
    """p ← p − lr·d / (√s + ε), with d = g + λp and s ← s + d² (Duchi, Hazan, Singer 2011).

    >>> import numpy as np
    >>> p, s = np.zeros(1), np.full(1, 9.0)
    >>> adagrad(p, np.array([4.0]), s, lr=1.0)
    >>> p.round(6)
    array([-0.8])
    """
    scalars = (lr, eps, weight_decay)
    cpu = loops(__name__, p, g, total)
    if cpu is not None:
        cpu.adagrad[p.dtype](p, g, total, *scalars)
        return
    lr, eps, l2 = _rounded(p, scalars)
    d = g + l2 * p
    total += d * d
    p -= lr * (d / (namespace(p).sqrt(total) + eps))


def ema(average: Array, x: Array, *, decay: float) -> None:
    """a ← x + decay·(a − x): a constant x is a fixed point, and decay 0 copies x, both exactly.

    >>> import numpy as np
    >>> a = np.array([1.0])
    >>> ema(a, np.array([3.0]), decay=0.75)
    >>> a
    array([1.5])
    """
    cpu = loops(__name__, average, x)
    if cpu is not None:
        cpu.ema[x.dtype](average, x, decay)
        return
    (decay,) = _rounded(x, (decay,))
    average[...] = x + decay * (average - x)


def _rounded(p: Array, scalars: tuple[float, ...]) -> list[Any]:
    """The scalars in the dtype of `p`."""
    return [p.dtype.type(scalar) for scalar in scalars]

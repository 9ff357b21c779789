"""The formulas of this folder as loops over contiguous arrays, operation by operation in the same order.

T(x) rounds a float64 scalar to the arrays' dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import loop


@loop("void(T[::1], T[::1], f8, f8)")
def sgd(p: Any, g: Any, lr: float, l2: float) -> None:
    T = p.dtype.type
    lr, l2 = T(lr), T(l2)
    for i in range(p.size):
        p[i] -= lr * (g[i] + l2 * p[i])


@loop("void(T[::1], T[::1], T[::1], f8, f8, f8, f8, b1)")
def momentum(p: Any, g: Any, buffer: Any, lr: float, l2: float, mu: float, keep: float, nesterov: bool) -> None:
    T = p.dtype.type
    lr, l2, mu, keep = T(lr), T(l2), T(mu), T(keep)
    for i in range(p.size):
        d = g[i] + l2 * p[i]
        b = mu * buffer[i] + keep * d
        buffer[i] = b
        p[i] -= lr * (d + mu * b if nesterov else b)


@loop("void(T[::1], T[::1], T[::1], T[::1], f8, f8, f8, f8, f8, f8, f8, f8, f8)")
def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    step: float,
    root: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    eps: float,
    l2: float,
    decay: float,
) -> None:
    T = p.dtype.type
    step, root, eps, l2, decay = T(step), T(root), T(eps), T(l2), T(decay)
    beta1, rest1, beta2, rest2 = T(beta1), T(rest1), T(beta2), T(rest2)
    for i in range(p.size):
        d = g[i] + l2 * p[i]
        m_i = beta1 * m[i] + rest1 * d
        v_i = beta2 * v[i] + rest2 * (d * d)
        m[i], v[i] = m_i, v_i
        p[i] = decay * p[i] - step * (m_i / (np.sqrt(v_i) / root + eps))


@loop("void(T[::1], T[::1], T[::1], T[::1], T[::1], f8, f8, f8, f8, f8, f8, f8, f8, f8)")
def amsgrad(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    v_max: Any,
    step: float,
    root: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    eps: float,
    l2: float,
    decay: float,
) -> None:
    T = p.dtype.type
    step, root, eps, l2, decay = T(step), T(root), T(eps), T(l2), T(decay)
    beta1, rest1, beta2, rest2 = T(beta1), T(rest1), T(beta2), T(rest2)
    for i in range(p.size):
        d = g[i] + l2 * p[i]
        m_i = beta1 * m[i] + rest1 * d
        v_i = beta2 * v[i] + rest2 * (d * d)
        m[i], v[i] = m_i, v_i
        v_i = v_max[i] if v_max[i] >= v_i else v_i  # a NaN stays, as in np.maximum
        v_max[i] = v_i
        p[i] = decay * p[i] - step * (m_i / (np.sqrt(v_i) / root + eps))


@loop("void(T[::1], T[::1], T[::1], T[::1], T[::1], f8, f8, f8, f8, f8, f8)")
def rmsprop(
    p: Any,
    g: Any,
    square: Any,
    mean: Any,
    buffer: Any,
    lr: float,
    alpha: float,
    rest: float,
    eps: float,
    l2: float,
    mu: float,
) -> None:
    T = p.dtype.type
    lr, alpha, rest, eps, l2, mu, zero = T(lr), T(alpha), T(rest), T(eps), T(l2), T(mu), T(0)
    centered, heavy = mean.size > 0, buffer.size > 0
    for i in range(p.size):
        d = g[i] + l2 * p[i]
        s = alpha * square[i] + rest * (d * d)
        square[i] = s
        if centered:
            a = alpha * mean[i] + rest * d
            mean[i] = a
            s = s - a * a
            s = zero if s < zero else s  # a NaN stays, as in np.maximum
        d = d / (np.sqrt(s) + eps)
        if heavy:
            d = mu * buffer[i] + d
            buffer[i] = d
        p[i] -= lr * d


@loop("void(T[::1], T[::1], T[::1], f8, f8, f8)")
def adagrad(p: Any, g: Any, total: Any, lr: float, eps: float, l2: float) -> None:
    T = p.dtype.type
    lr, eps, l2 = T(lr), T(eps), T(l2)
    for i in range(p.size):
        d = g[i] + l2 * p[i]
        s = total[i] + d * d
        total[i] = s
        p[i] -= lr * (d / (np.sqrt(s) + eps))


@loop("void(T[::1], T[::1], f8)")
def ema(average: Any, x: Any, decay: float) -> None:
    T = x.dtype.type
    decay = T(decay)
    for i in range(x.size):
        average[i] = x[i] + decay * (average[i] - x[i])

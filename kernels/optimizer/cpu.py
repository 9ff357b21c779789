"""The formulas of this folder as loops over contiguous arrays, operation by operation in the same order.

The gradients, or what else is only read, come in pieces: `addresses` and `bounds`. The elements of each part are its
own, so results do not depend on the number of parts. T(x) rounds a float64 scalar to the arrays' dtype.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..jit import kernel
from ..pieces.cpu import overlap, piece, share

# Nanoseconds an element, about, of one thread with all arrays in its caches.
TIMES = dict.fromkeys(("adam", "amsgrad", "rmsprop", "centered", "adagrad"), 0.4)
TIMES |= dict.fromkeys(("sgd", "momentum", "ema", "squares", "scale"), 0.1)
BLOCK = 4096  # elements: `squares` sums whole blocks, so that its rounding does not depend on the number of parts


@kernel("void(T[::1], i8[::1], i8[::1], i8, f8, f8)", parallel=True)
def sgd(p: Any, addresses: Any, bounds: Any, parts: int, lr: float, l2: float) -> None:
    T = p.dtype.type
    lr, l2 = T(lr), T(l2)
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x = piece(p, addresses, bounds, k, here), p[here]
            for i in range(g.size):
                x[i] -= lr * (g[i] + l2 * x[i])


@kernel("void(T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8, f8, b1)", parallel=True)
def momentum(
    p: Any,
    buffer: Any,
    addresses: Any,
    bounds: Any,
    parts: int,
    lr: float,
    l2: float,
    mu: float,
    keep: float,
    nesterov: bool,
) -> None:
    T = p.dtype.type
    lr, l2, mu, keep = T(lr), T(l2), T(mu), T(keep)
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, b = piece(p, addresses, bounds, k, here), p[here], buffer[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                b_i = mu * b[i] + keep * d
                b[i] = b_i
                x[i] -= lr * (d + mu * b_i if nesterov else b_i)


@kernel("void(T[::1], T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8, f8, f8, f8, f8, f8, f8)", parallel=True)
def adam(
    p: Any,
    m: Any,
    v: Any,
    addresses: Any,
    bounds: Any,
    parts: int,
    step: float,
    scale: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    eps: float,
    l2: float,
    decay: float,
) -> None:
    T = p.dtype.type
    step, scale, eps, l2, decay = T(step), T(scale), T(eps), T(l2), T(decay)
    beta1, rest1, beta2, rest2 = T(beta1), T(rest1), T(beta2), T(rest2)
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, mean, square = piece(p, addresses, bounds, k, here), p[here], m[here], v[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                m_i = beta1 * mean[i] + rest1 * d
                v_i = beta2 * square[i] + rest2 * (d * d)
                mean[i], square[i] = m_i, v_i
                x[i] = decay * x[i] - step * (m_i / (np.sqrt(v_i) * scale + eps))


@kernel("void(T[::1], T[::1], T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8, f8, f8, f8, f8, f8, f8)", parallel=True)
def amsgrad(
    p: Any,
    m: Any,
    v: Any,
    v_max: Any,
    addresses: Any,
    bounds: Any,
    parts: int,
    step: float,
    scale: float,
    beta1: float,
    rest1: float,
    beta2: float,
    rest2: float,
    eps: float,
    l2: float,
    decay: float,
) -> None:
    T = p.dtype.type
    step, scale, eps, l2, decay = T(step), T(scale), T(eps), T(l2), T(decay)
    beta1, rest1, beta2, rest2 = T(beta1), T(rest1), T(beta2), T(rest2)
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, mean, square, most = piece(p, addresses, bounds, k, here), p[here], m[here], v[here], v_max[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                m_i = beta1 * mean[i] + rest1 * d
                v_i = beta2 * square[i] + rest2 * (d * d)
                mean[i], square[i] = m_i, v_i
                most_i = most[i]
                v_i = most_i if most_i >= v_i else v_i  # a NaN stays, as in np.maximum
                most[i] = v_i
                x[i] = decay * x[i] - step * (m_i / (np.sqrt(v_i) * scale + eps))


@kernel("void(T[::1], T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8, f8, f8, f8)", parallel=True)
def rmsprop(
    p: Any,
    square: Any,
    buffer: Any,
    addresses: Any,
    bounds: Any,
    parts: int,
    lr: float,
    alpha: float,
    rest: float,
    eps: float,
    l2: float,
    mu: float,
) -> None:
    T = p.dtype.type
    lr, alpha, rest, eps, l2, mu = T(lr), T(alpha), T(rest), T(eps), T(l2), T(mu)
    heavy = buffer.size > 0
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, s, b = piece(p, addresses, bounds, k, here), p[here], square[here], buffer[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                s_i = alpha * s[i] + rest * (d * d)
                s[i] = s_i
                d = d / (np.sqrt(s_i) + eps)
                if heavy:
                    d = mu * b[i] + d
                    b[i] = d
                x[i] -= lr * d


@kernel("void(T[::1], T[::1], T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8, f8, f8, f8)", parallel=True)
def centered(
    p: Any,
    square: Any,
    mean: Any,
    buffer: Any,
    addresses: Any,
    bounds: Any,
    parts: int,
    lr: float,
    alpha: float,
    rest: float,
    eps: float,
    l2: float,
    mu: float,
) -> None:
    T = p.dtype.type
    lr, alpha, rest, eps, l2, mu, zero = T(lr), T(alpha), T(rest), T(eps), T(l2), T(mu), T(0)
    heavy = buffer.size > 0
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, s, a, b = piece(p, addresses, bounds, k, here), p[here], square[here], mean[here], buffer[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                s_i = alpha * s[i] + rest * (d * d)
                a_i = alpha * a[i] + rest * d
                s[i], a[i] = s_i, a_i
                s_i = max(s_i - a_i * a_i, zero)  # in this order a NaN stays, as in np.maximum
                d = d / (np.sqrt(s_i) + eps)
                if heavy:
                    d = mu * b[i] + d
                    b[i] = d
                x[i] -= lr * d


@kernel("void(T[::1], T[::1], i8[::1], i8[::1], i8, f8, f8, f8)", parallel=True)
def adagrad(p: Any, total: Any, addresses: Any, bounds: Any, parts: int, lr: float, eps: float, l2: float) -> None:
    T = p.dtype.type
    lr, eps, l2 = T(lr), T(eps), T(l2)
    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, x, s = piece(p, addresses, bounds, k, here), p[here], total[here]
            for i in range(g.size):
                d = g[i] + l2 * x[i]
                s_i = s[i] + d * d
                s[i] = s_i
                x[i] -= lr * (d / (np.sqrt(s_i) + eps))


@kernel("void(T[::1], i8[::1], i8[::1], i8, f8)", parallel=True)
def ema(average: Any, addresses: Any, bounds: Any, parts: int, decay: float) -> None:
    T = average.dtype.type
    decay = T(decay)
    for part in prange(parts):
        first, last = share(part, parts, average.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            x, a = piece(average, addresses, bounds, k, here), average[here]
            for i in range(x.size):
                a[i] = x[i] + decay * (a[i] - x[i])


@kernel("void(T[::1], i8[::1], i8[::1], f8[::1], i8)", parallel=True, fast=True)
def squares(like: Any, addresses: Any, bounds: Any, sums: Any, parts: int) -> None:
    """The sum of squares of each block, in float64."""
    for part in prange(parts):
        k = 0
        for block in range(part * sums.size // parts, (part + 1) * sums.size // parts):
            start, end = block * BLOCK, min((block + 1) * BLOCK, bounds[-1])
            total = 0.0
            while start < end:
                while bounds[k + 1] <= start:
                    k += 1
                here = overlap(bounds, k, start, end)
                for x in piece(like, addresses, bounds, k, here):
                    total += np.float64(x) * np.float64(x)
                start = here.stop
            sums[block] = total


@kernel("void(T[::1], i8[::1], i8[::1], i8, f8)", parallel=True)
def scale(like: Any, addresses: Any, bounds: Any, parts: int, factor: float) -> None:
    factor = like.dtype.type(factor)
    for part in prange(parts):
        first, last = share(part, parts, bounds[-1])
        for k in range(addresses.size):
            x = piece(like, addresses, bounds, k, overlap(bounds, k, first, last))
            for i in range(x.size):
                x[i] *= factor

"""Softmax, its logarithm and cross-entropy, a row of a matrix at a time.

A row stays in the first-level cache while it is read three times: for its largest entry, for the exponentials and their
sum, and for the quotient. Backward reads it twice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..jit import inlined, kernel
from ..polynomial import exact, exp_below, maximum

# Nanoseconds of one thread for each byte of x, about.
TIMES = {
    "softmax": 0.17, "softmax_pulled": 0.08, "log_softmax": 0.17, "log_softmax_pulled": 0.15,
    "cross_entropy": 0.15, "cross_entropy_pulled": 0.14,
}  # fmt: skip


@inlined
def largest(x: Any, row: Any) -> Any:
    top = x.dtype.type(-np.inf)
    for i in range(x.shape[1]):
        top = maximum(top, x[row, i])
    return top


@inlined
def normalizers(x: Any, row: Any) -> tuple[Any, Any]:
    """The largest entry, and the logarithm of the sum of exp(entry - it)."""
    top, total = largest(x, row), x.dtype.type(0)
    for i in range(x.shape[1]):
        total += exp_below(x[row, i] - top)
    return top, np.log(total)


@exact
def log_share(x: Any, top: Any, log_total: Any) -> Any:
    """The logarithm of a probability; `top` first, which may be so large that log_total would be lost in it."""
    return (x - top) - log_total


@kernel("void(T[:, ::1], T[:, ::1], i8)", parallel=True, fast=True)
def softmax(x: Any, out: Any, parts: int) -> None:
    T = x.dtype.type
    rows, width = x.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            top, total = largest(x, row), T(0)
            for i in range(width):
                out[row, i] = exp_below(x[row, i] - top)
            for i in range(width):  # alone: see jit.py
                total += out[row, i]
            scale = T(1) / total
            for i in range(width):
                out[row, i] *= scale


@kernel("void(T[:, ::1], T[:, ::1], T[:, ::1], i8)", parallel=True, fast=True)
def softmax_pulled(g: Any, out: Any, gx: Any, parts: int) -> None:
    """out · (g - Σ g·out)"""
    T = out.dtype.type
    rows, width = out.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            along = T(0)
            for i in range(width):
                along += g[row, i] * out[row, i]
            for i in range(width):
                gx[row, i] = out[row, i] * (g[row, i] - along)


@kernel("void(T[:, ::1], T[:, ::1], i8)", parallel=True, fast=True)
def log_softmax(x: Any, out: Any, parts: int) -> None:
    rows, width = x.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            top, log_total = normalizers(x, row)
            for i in range(width):
                out[row, i] = log_share(x[row, i], top, log_total)


@kernel("void(T[:, ::1], T[:, ::1], T[:, ::1], i8)", parallel=True, fast=True)
def log_softmax_pulled(g: Any, out: Any, gx: Any, parts: int) -> None:
    """g - exp(out) · Σ g"""
    T = out.dtype.type
    rows, width = out.shape
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            total = T(0)
            for i in range(width):
                total += g[row, i]
            for i in range(width):
                gx[row, i] = g[row, i] - exp_below(out[row, i]) * total


@kernel("void(T[:, ::1], i8[::1], T[::1], T[::1], T[:, ::1], f8[:, ::1], i8, f8, i8)", parallel=True, fast=True)
def cross_entropy(
    x: Any, target: Any, weight: Any, losses: Any, saved: Any, sums: Any, ignored: int, smoothing: float, parts: int
) -> None:
    """Fill in the `normalizers` of each row, the losses (where there is room for them), and for each part in `sums`:
    the losses, the weights that they count by, and how many targets are no class."""
    T = x.dtype.type
    rows, classes = x.shape
    weighted, smooth = weight.size > 0, smoothing > 0
    sharp, even = T(1 - smoothing), T(smoothing / max(classes, 1))
    for part in prange(parts):
        loss_sum, weight_sum, wrong = 0.0, 0.0, 0
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            index, loss = target[row], T(0)
            top, log_total = normalizers(x, row)
            saved[0, row], saved[1, row] = top, log_total
            if index != ignored:
                if index < 0 or index >= classes:
                    wrong += 1
                else:
                    counted = weight[index] if weighted else T(1)
                    loss = -counted * log_share(x[row, index], top, log_total)
                    if smooth:
                        spread = T(0)
                        for i in range(classes):
                            share = log_share(x[row, i], top, log_total)
                            spread += share * weight[i] if weighted else share
                        loss = sharp * loss - even * spread
                    loss_sum += loss
                    weight_sum += counted
            if losses.size:
                losses[row] = loss
        sums[part, 0], sums[part, 1], sums[part, 2] = loss_sum, weight_sum, wrong


@kernel("void(T[::1], T[:, ::1], i8[::1], T[::1], T[:, ::1], T[:, ::1], f8, i8, f8, i8)", parallel=True, fast=True)
def cross_entropy_pulled(
    g: Any, x: Any, target: Any, weight: Any, saved: Any, gx: Any, share: float, ignored: int, smoothing: float,
    parts: int,
) -> None:  # fmt: skip
    """g · share · (softmax(x) Σ q - q), q the target's distribution times the weight; g of each row, or of all."""
    T = x.dtype.type
    rows, classes = x.shape
    weighted, smooth = weight.size > 0, smoothing > 0
    sharp, even = T(1 - smoothing), T(smoothing / max(classes, 1))
    weights = T(0)
    if smooth:
        for i in range(classes):
            weights += weight[i] if weighted else T(1)
    for part in prange(parts):
        for row in range(part * rows // parts, (part + 1) * rows // parts):
            index = target[row]
            if index == ignored:
                for i in range(classes):
                    gx[row, i] = T(0)
            else:
                scale = g[row if g.size == rows else 0] * T(share)
                at = scale * sharp * (weight[index] if weighted else T(1))
                spread = scale * even
                total = at + spread * weights
                top, log_total = saved[0, row], saved[1, row]
                for i in range(classes):
                    gx[row, i] = total * exp_below(log_share(x[row, i], top, log_total))
                if smooth:
                    for i in range(classes):
                        gx[row, i] -= spread * weight[i] if weighted else spread
                gx[row, index] -= at

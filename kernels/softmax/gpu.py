"""Launches softmax.cu: a block a row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..cuda import launch, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "softmax.cu"


def along(name: str, x: Array, g: Array | None) -> Array:
    """The kernel `name` on every row of matrices (n, width), contiguous and of one dtype."""
    out = namespace(x).empty(x.shape, x.dtype)
    x = plain(x)
    _run(name, x, (x, out) if g is None else (plain(g, x.dtype), x, out), x.shape[1])
    return out


def cross_entropy(
    x: Array, target: Array, weight: Array | None, ignore_index: int, reduction: str, label_smoothing: float
) -> tuple[Array, Array, Array]:
    """The loss, each row's normalizers (2, n), and the share of a row in the loss."""
    xp, dtype, n = namespace(x), x.dtype, len(x)
    x, losses, counts, normalizers = plain(x), xp.empty(n, dtype), xp.empty(n, dtype), xp.empty((2, n), dtype)
    _run(
        "cross_entropy",
        x,
        (x, plain(target.reshape(-1), np.int64), *_weights(weight, x), losses, counts, normalizers),
        x.shape[1],
        np.int64(ignore_index),
        dtype.type(label_smoothing),
    )
    if reduction == "none":
        return losses, normalizers, xp.ones((), dtype)
    if reduction == "sum":
        return losses.sum(), normalizers, xp.ones((), dtype)
    share = 1 / counts.sum()
    return losses.sum() * share, normalizers, share


def cross_entropy_pulled(
    g: Array, x: Array, target: Array, weight: Array | None, normalizers: Array, share: Array, ignore_index: int,
    label_smoothing: float,
) -> Array:  # fmt: skip
    """The gradient of x."""
    dtype, gx = x.dtype, namespace(x).empty(x.shape, x.dtype)
    x, g = plain(x), plain(g.reshape(-1), dtype)
    _run(
        "cross_entropy_pulled",
        x,
        (g, int(g.size > 1), x, plain(target.reshape(-1), np.int64), *_weights(weight, x), normalizers, share, gx),
        x.shape[1],
        np.int64(ignore_index),
        dtype.type(label_smoothing),
    )
    return gx


def _run(name: str, x: Array, arguments: tuple[Any, ...], *rest: Any) -> None:
    n, width = x.shape
    threads = min(256, max(32, (width // 4 + 31) // 32 * 32))  # whole warps, with some four entries a thread
    if x.size:
        launch(SOURCE, name, n, threads, (*arguments, *rest), shared=threads // 32 * x.itemsize, by=x)


def _weights(weight: Array | None, x: Array) -> tuple[Array, int]:
    """The weights, or any array in their place, and whether they are weights."""
    return (x, 0) if weight is None else (plain(weight, x.dtype), 1)

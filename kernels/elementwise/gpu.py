"""Launches elementwise.cu. A sum over rows, the gradient of a bias, is the array module's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cuda import launch_each, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "elementwise.cu"


TOLD = ("tanh", "sigmoid")  # whose slopes are told by f(x), and by x in kernels of their own


def value(name: str, x: Array, bias: Array | None, a: float, b: float) -> Array:
    """f(x), or f(x + bias)."""
    out = namespace(x).empty(x.shape, x.dtype)
    _run(f"{name}_value", (plain(x),), bias, out, a, b)
    return out


def pulled(name: str, g: Array, x: Array, a: float, b: float) -> Array:
    """g · f'(x)"""
    gx = namespace(x).empty(x.shape, x.dtype)
    _run(f"{name}_pulled", (plain(g, x.dtype), plain(x)), None, gx, a, b)
    return gx


def biased_pulled(name: str, g: Array, x: Array, bias: Array, a: float, b: float) -> tuple[Array, Array]:
    """g · f'(x + bias), and its sum over the rows."""
    gx = namespace(x).empty(x.shape, x.dtype)
    _run(f"{name}{'_at' if name in TOLD else ''}_pulled", (plain(g, x.dtype), plain(x)), bias, gx, a, b)
    return gx, gx.reshape(-1, len(bias)).sum(axis=0) if gx.size else bias * 0


def _run(name: str, read: tuple[Array, ...], bias: Array | None, out: Array, a: float, b: float) -> None:
    kind, columns = out.dtype.type, 0 if bias is None else len(bias)
    arguments = (*read, out if bias is None else plain(bias), out, np.int64(out.size), columns, kind(a), kind(b))
    launch_each(SOURCE, name, out.size, arguments, by=out)

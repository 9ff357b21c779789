"""Launches softmax.cu: a block a row."""

from __future__ import annotations

from pathlib import Path

from ..cuda import launch
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "softmax.cu"


def along(name: str, x: Array, g: Array | None) -> Array:
    """The kernel `name` on every row of matrices (n, width), contiguous and of one dtype."""
    out = namespace(x).empty(x.shape, x.dtype)
    n, width = x.shape
    if x.size:
        threads = threads_of(width)
        arguments = (x, out, width) if g is None else (g, x, out, width)
        launch(SOURCE, name, n, threads, arguments, shared=threads // 32 * x.itemsize, by=x)
    return out


def threads_of(width: int) -> int:
    """Whole warps, at most 8, with some four entries a thread."""
    return min(256, max(32, (width // 4 + 31) // 32 * 32))

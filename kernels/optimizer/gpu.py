"""Launches optimizer.cu on flat arrays of one dtype and size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..cuda import launch_each
from ..dispatch import Array

SOURCE = Path(__file__).parent / "optimizer.cu"


def run(name: str, g: Array, written: tuple[Array | None, ...], *scalars: Any) -> None:
    """The kernel that serves the formula `name`."""
    p, kind = written[0], written[0].dtype.type  # type: ignore[union-attr]
    arrays: list[Any] = list(written)
    if name in ("adam", "amsgrad"):
        name, arrays = "adam", [*arrays[:3], *_optional(arrays[3] if len(arrays) > 3 else None, p)]
    elif name in ("rmsprop", "centered"):
        mean, buffer = (None, arrays[2]) if name == "rmsprop" else arrays[2:]
        name, arrays = "rmsprop", [*arrays[:2], *_optional(mean, p), *_optional(buffer, p)]
    rest = [np.int32(scalar) if isinstance(scalar, bool) else kind(scalar) for scalar in scalars]
    launch_each(SOURCE, name, g.size, (*arrays, g, np.int64(g.size), *rest), by=g)


def _optional(array: Array | None, other: Array) -> tuple[Array, int]:
    """An array, or any in its place, and whether it is there."""
    return (other, 0) if array is None else (array, 1)

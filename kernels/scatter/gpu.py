"""Launches scatter.cu, after the places were sorted."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..cuda import launch_each, plain
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "scatter.cu"


def add_rows(table: Array, index: Array, rows: Array) -> None:
    """table[index[i]] += rows[i]; places outside of the table are passed over, since nobody looks on a device."""
    xp, length, n = namespace(table), len(table), index.size
    width = table.size // length
    flat = index.reshape(-1).astype(np.int64)
    flat = xp.where(flat < 0, flat + length, flat)
    entry = xp.argsort(flat, kind="stable")
    arguments = (table, flat[entry], entry.astype(np.int64), plain(rows), np.int64(n), width, np.int64(length))
    launch_each(SOURCE, "add_rows", n * width, arguments, by=table)

"""Rows added at places of a table, as the gradient of an embedding is: NumPy's `add.at` takes fifty times as long."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import cuda
from ..dispatch import module
from ..jit import COMPILED


def add_rows(table: Any, index: Any, rows: Any) -> bool:
    """table[index[i]] += rows[i] for every entry of `index`, in order, if a kernel serves the arrays; whether it did.

    >>> table = np.zeros((2, 1))
    >>> add_rows(table, np.array([1, 0, -1]), np.array([[1.0], [2.0], [4.0]])), table.tolist()
    (True, [[2.0], [5.0]])
    """
    if type(table) is not np.ndarray and cuda.served(table) and type(index) is type(rows) is type(table):
        fits = table.ndim > 1 and table.flags.c_contiguous and rows.shape == index.shape + table.shape[1:]
        if not (fits and rows.size and rows.dtype == table.dtype and index.dtype.kind in "iu"):
            return False
        cuda.module(__name__).add_rows(table, index, rows)
        return True
    if type(table) is not np.ndarray or type(index) is not np.ndarray or type(rows) is not np.ndarray:
        return False
    fits = table.ndim > 1 and table.flags.carray and rows.shape == index.shape + table.shape[1:]
    if not fits or table.dtype not in COMPILED or rows.dtype != table.dtype or index.dtype.kind not in "iu":
        return False
    if not rows.size or index.min() < -len(table) or index.max() >= len(table) or (cpu := module(__name__)) is None:
        return False
    width = table.size // len(table)
    rows = rows if rows.flags.carray else rows.copy()
    flat = np.ascontiguousarray(index, np.int64).reshape(-1)
    cpu.add_rows[table.dtype](table.reshape(-1, width), flat, rows.reshape(-1, width))
    return True

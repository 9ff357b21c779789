"""Sums over rows that several threads add up: cut into shares by the number of rows, never by that of threads, so that
bits are the same for any number of threads, and a captured step can share out its rows as it likes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..dispatch import Array, module

MOST = 16


def count(rows: int, nanoseconds: float) -> int:
    """Into how many shares to cut a sum over `rows` rows that takes one thread about so long: a power of 2.

    >>> count(1000, 1e5), count(1000, 1e3), count(9, 1e5)
    (16, 1, 2)
    """
    if nanoseconds < 8_000:
        return 1
    return 1 << min(MOST, max(rows // 4, 1)).bit_length() - 1


def added(sums: Array) -> Any:
    """The sum over the first axis, one share after the other.

    >>> added(np.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [4.0, 6.0]
    """
    cpu = module(__name__)
    if len(sums) == 1 or cpu is None:
        return sums[0] if len(sums) == 1 else sums.sum(axis=0)
    out = np.empty(sums.shape[1:], sums.dtype)
    cpu.added[sums.dtype](sums.reshape(len(sums), -1), out.reshape(-1))
    return out

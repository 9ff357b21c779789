"""Rows added at places of a table, one after the other: the sums are those of NumPy's `add.at` to the last bit."""

from __future__ import annotations

from ..jit import kernel


@kernel("void(T[:, ::1], const i8[::1], T[:, ::1])")
def add_rows(table, index, rows):  # type: ignore[no-untyped-def]
    """table[index[i]] += rows[i]; an index below 0 counts from the end."""
    for i in range(len(index)):
        at = index[i]
        if at < 0:
            at += len(table)
        for j in range(table.shape[1]):
            table[at, j] += rows[i, j]

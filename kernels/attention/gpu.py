"""Launches attention.cu, a block a tile of a result, and attention_mma*.cu for numbers of 16 bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..cuda import HALVES, launch
from ..dispatch import Array, namespace

SOURCE = Path(__file__).parent / "attention.cu"
HALVES_SOURCE, HALVES_BACKWARD = SOURCE.with_name("attention_mma.cu"), SOURCE.with_name("attention_mma_backward.cu")
TEAM = 64  # threads
_TILE = {4: 64, 8: 32}  # rows and columns of a tile, by itemsize
_WARPS = 8  # of a block of attention_inner, which is a warp a query
_ROWS = 64  # of a block of attention_mma, 16 a warp
_WIDTHS = (32, 64, 128)  # of its tiles: columns, and 8 more that part the rows


def attention(q: Array, k: Array, v: Array, hidden: Array | None, causal: bool, scale: float) -> tuple[Array, Array]:
    """The result, laid in memory as q is, and the normalizers (B, H, N)."""
    (batch, heads, queries, columns), (keys, values), xp = q.shape, v.shape[2:], namespace(q)
    (q, q_last), (k, k_last), (v, v_last) = _laid(q), _laid(k), _laid(v)
    single = np.dtype(np.float32) if q.dtype.name in HALVES else q.dtype
    out, logs = _empty(xp, (batch, heads, queries, values), q.dtype, q_last), xp.empty((batch, heads, queries), single)
    lasts = q_last | k_last << 1 | v_last << 2 | q_last << 3
    sizes = (heads, queries, keys, columns, values, single.type(scale), int(causal), int(hidden is not None), lasts)
    given = (q, k, v, _flags(xp, hidden), out, logs, *sizes)
    if single is not q.dtype:
        wide = _wide(columns, values)
        shared = 5 * _ROWS * (wide + 8) * q.itemsize  # Q, and twice K and V
        _run_halves(HALVES_SOURCE, f"attention_{wide}", batch * heads, queries, shared, given)
    else:
        _run("attention", batch * heads * _tiles(queries, q) * _tiles(values, q), 1, given)
    return _given(out, q_last), logs


def attention_pulled(
    g: Array, out: Array, q: Array, k: Array, v: Array, hidden: Array | None, logs: Array, causal: bool, scale: float
) -> tuple[Array, Array, Array]:
    """The gradients of q, k and v, each laid as that is."""
    (batch, heads, queries, columns), (keys, values), xp = q.shape, v.shape[2:], namespace(q)
    (q, q_last), (k, k_last), (v, v_last), (out, out_last) = _laid(q), _laid(k), _laid(v), _laid(out)
    g = xp.ascontiguousarray(_given(g, out_last))
    gq = _empty(xp, (batch, heads, queries, columns), q.dtype, q_last)
    gk = _empty(xp, (batch, heads, keys, columns), q.dtype, k_last)
    gv = _empty(xp, (batch, heads, keys, values), q.dtype, v_last)
    inner, flags, rows = xp.empty_like(logs), _flags(xp, hidden), batch * heads * queries
    lasts = q_last | k_last << 1 | v_last << 2 | out_last << 3
    sizes = (heads, queries, keys, columns, values, logs.dtype.type(scale), int(causal), int(hidden is not None), lasts)
    if q.dtype.name in HALVES:
        g, out, wide = _aligned(g), _aligned(out), _wide(columns, values)
        walked = _ROWS if wide <= 64 else _ROWS // 2
        shared = (2 * _ROWS + 4 * walked) * (wide + 8) * q.itemsize  # two tiles, and twice two to walk over
        _run_halves(
            HALVES_BACKWARD, f"attention_pulled_queries_{wide}", batch * heads, queries, shared,
            (q, k, v, flags, g, out, logs, inner, gq, *sizes),
        )  # fmt: skip
        _run_halves(
            HALVES_BACKWARD, f"attention_pulled_keys_{wide}", batch * heads, keys, shared + 4 * walked * logs.itemsize,
            (q, k, v, flags, g, logs, inner, gk, gv, *sizes),
        )  # fmt: skip
    else:
        launch(SOURCE, "attention_inner", -(-rows // _WARPS), 32 * _WARPS, (g, out, inner, rows, *sizes), by=q)
        given = (q, k, v, flags, g, logs, inner)
        of_queries, of_keys = _tiles(queries, q) * _tiles(columns, q), _tiles(keys, q) * _tiles(max(columns, values), q)
        _run("attention_pulled_queries", batch * heads * of_queries, 1, (*given, gq, *sizes))
        _run("attention_pulled_keys", batch * heads * of_keys, 2, (*given, gk, gv, *sizes))
    return _given(gq, q_last), _given(gk, k_last), _given(gv, v_last)


def takes(q: Array, k: Array, v: Array) -> bool:
    """Whether attention_mma takes them, numbers of 16 bits: up to 128 columns that can be copied 16 bytes at a time."""
    return all(x.shape[-1] % 8 == 0 and x.shape[-1] <= _WIDTHS[-1] and x.data.ptr % 16 == 0 for x in (q, k, v))


def _run_halves(path: Path, name: str, heads: int, rows: int, shared: int, given: tuple[Any, ...]) -> None:
    """A block of four warps makes _ROWS rows of a head."""
    launch(path, name, heads * -(-rows // _ROWS), 2 * _ROWS, given, shared=shared, by=given[0])


def _wide(columns: int, values: int) -> int:
    """The width of the tiles that so many columns lie in."""
    return next(w for w in _WIDTHS if max(columns, values) <= w)


def _aligned(x: Array) -> Array:
    """x, or a copy where it begins between boundaries of 16 bytes."""
    return x if x.data.ptr % 16 == 0 else x.copy()


def _run(name: str, blocks: int, teams: int, arguments: tuple[Array, ...]) -> None:
    """A team has two panels in shared memory, and a block that has but one team a third one, for weights."""
    q = arguments[0]
    panel = _TILE[q.itemsize] ** 2 * q.itemsize
    launch(SOURCE, name, blocks, TEAM * teams, arguments, shared=max(2 * teams, 3) * panel, by=q)


def _tiles(n: int, q: Array) -> int:
    return -(-n // _TILE[q.itemsize])


def _given(x: Array, last: int) -> Array:
    """(B, N, H, D) as (B, H, N, D) where heads lie last, and back."""
    return x.transpose(0, 2, 1, 3) if last else x


def _laid(x: Array) -> tuple[Array, int]:
    """x contiguous, and 1 where that is (B, N, H, D): heads that lie last need no copy."""
    if not x.flags.c_contiguous and (turned := x.transpose(0, 2, 1, 3)).flags.c_contiguous:
        return turned, 1
    return namespace(x).ascontiguousarray(x), 0


def _empty(xp: object, shape: tuple[int, int, int, int], dtype: object, last: int) -> Array:
    batch, heads, rows, columns = shape
    return xp.empty((batch, rows, heads, columns) if last else shape, dtype)  # type: ignore[attr-defined]


def _flags(xp: object, hidden: Array | None) -> Array:
    return xp.empty(0, bool) if hidden is None else xp.ascontiguousarray(hidden)  # type: ignore[attr-defined]

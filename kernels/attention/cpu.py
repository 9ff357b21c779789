"""Attention by tiles: a block of queries against a block of keys at a time, so that no N × N array is ever made.

Forward is the online softmax (arXiv 1805.02867, 2205.14135). Of each query it keeps the largest score m met so far,
ℓ = Σ exp(score - m) and o = Σ exp(score - m) v; a block of keys with a larger score shrinks ℓ and o by exp(m - m').
Backward computes the scores again, and from L = m + log ℓ their weights:

    P = exp(S - L)    dV += Pᵀ dO    dS = P ∘ (dO Vᵀ - rowsum(dO ∘ O))    dK += dSᵀ Q    dQ += dS K

All products are `gemm.cpu.panel` on memory of the kernel's own. Their right factors lie there in panels, packed once a
head (forward: K, V; backward: Q, dO): that is all that grows with the number of keys. Q is packed times the scale.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ..gemm.cpu import VECTOR, WIDEST, address, entries, pack_panel, width, zero_like
from ..jit import helper, kernel, routine
from ..polynomial import exp_below, maximum
from ..vector import call, keep, lanes, peek, poke

ZEROS = WIDEST * VECTOR  # bytes: what a product starts from
BYTE = np.uint8(0)


# ---- panels
@helper
def breadth(columns, size):  # type: ignore[no-untyped-def]
    """The bytes in a row of a panel of a matrix of so many columns; its last panel is filled up with zeros."""
    return width(columns, size) * VECTOR


@helper
def filled(columns, size):  # type: ignore[no-untyped-def]
    """The bytes in a row of all its panels."""
    wide = breadth(columns, size)
    return (columns * size + wide - 1) // wide * wide


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8)")
def pack(scale, x, row, column, rows, columns, wide, size, target):  # type: ignore[no-untyped-def]
    """x · scale in panels of `wide` bytes; strides in bytes."""
    at = target
    for first in range(0, columns, wide // size):
        these = min(columns - first, wide // size)
        pack_panel(scale, x + first * column, row, column, rows, these, wide // VECTOR, size, at)
        at += rows * wide
    if scale != 1:
        packed = entries(scale, target, np.int64(1), (at - target) // size)
        for i in range(packed.shape[1]):
            packed[0, i] *= scale


@helper
def scaled(source, step, target, target_step, count, factor, size):  # type: ignore[no-untyped-def]
    """`count` numbers · factor from one address to another, by vectors where the steps, in bytes, are `size`."""
    if step == size and target_step == size:
        x, out = entries(factor, source, np.int64(1), count), entries(factor, target, np.int64(1), count)
        for i in range(count):
            out[0, i] = x[0, i] * factor
    else:
        for i in range(count):
            poke(target + i * target_step, peek(factor, source + i * step) * factor)


@helper
def multiply(run, like, a, a_row, offsets, rows, depth, b, b_rows, wide, columns, start, c, c_row, size):  # type: ignore[no-untyped-def]
    """C = A · B, for `depth` rows of panels that have b_rows; added to C unless `start` is the address of zeros."""
    for p in range((columns * size + wide - 1) // wide):
        at = c + p * wide
        if start == 0:
            call(run, like, (wide // VECTOR, a, a_row, offsets, b, at, c_row, at, c_row, rows, depth))
        else:
            call(run, like, (wide // VECTOR, a, a_row, offsets, b, start, np.int64(0), at, c_row, rows, depth))
        b += b_rows * wide


@helper
def hide(scores, n, hidden, first_key, first_query):  # type: ignore[no-untyped-def]
    """-inf for hidden keys (flags at an address, or 0), and where first_query >= 0 for those behind a query."""
    lowest = scores.dtype.type(-np.inf)
    if hidden != 0:
        flags = entries(BYTE, hidden + first_key, np.int64(1), n)
        for r in range(len(scores)):
            for x in range(n):
                if flags[0, x] != 0:
                    scores[r, x] = lowest
    if first_query >= 0 and first_key + n - 1 > first_query:
        for r in range(len(scores)):
            for x in range(max(first_query + r + 1 - first_key, 0), n):
                scores[r, x] = lowest


# ---- forward
@helper
def forward_room(rows, block, columns, values, size):  # type: ignore[no-untyped-def]
    """The bytes of scratch memory of `attend`."""
    table = 8 * max(columns, block)
    return 64 + ZEROS + table + rows * (columns * size + filled(block, size) + filled(values, size) + 2 * size)


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def attend(  # type: ignore[no-untyped-def]
    scale, run, q, q_row, q_column, rows, columns, k_packed, v_packed, values, keys, seen, block, hidden, first_query,
    out, out_row, out_column, normalizers, work,
):  # fmt: skip
    """A block of queries against the first `seen` of the packed keys; first_query is -1 where no order hides any."""
    like, size, one = zero_like(scale), VECTOR // lanes(scale), np.int64(1)
    k_wide, v_wide = breadth(keys, size), breadth(values, size)
    q_bytes, s_bytes, o_bytes = columns * size, filled(block, size), filled(values, size)
    zeros = (work + 63) // 64 * 64
    table = zeros + ZEROS
    staged = table + 8 * max(columns, block)
    scores_at = staged + rows * q_bytes
    sums_at = scores_at + rows * s_bytes
    tops_at = sums_at + rows * o_bytes
    entries(like, zeros, one, ZEROS // size)[:] = like
    for i in range(max(columns, block)):
        poke(table + 8 * i, i * size)
    for r in range(rows):
        scaled(q + r * q_row, q_column, staged + r * q_bytes, size, columns, scale, size)
    scores, sums = entries(like, scores_at, rows, s_bytes // size), entries(like, sums_at, rows, o_bytes // size)
    tops, totals = entries(like, tops_at, one, rows), entries(like, tops_at + rows * size, one, rows)
    tops[:] = -np.inf
    totals[:] = like
    sums[:] = like
    for first in range(0, seen, block):
        n = min(block, seen - first)
        multiply(
            run, like, staged, q_bytes, table, rows, columns, k_packed + first * size * columns, columns, k_wide, n,
            zeros, scores_at, s_bytes, size,
        )  # fmt: skip
        hide(scores, n, hidden, first, first_query)
        for r in range(rows):
            top = tops[0, r]
            for x in range(n):
                top = maximum(top, scores[r, x])
            if top == -np.inf:
                for x in range(n):
                    scores[r, x] = like
            else:
                total = like
                for x in range(n):
                    e = exp_below(scores[r, x] - top)
                    scores[r, x] = e
                    total += e
                if top != tops[0, r]:
                    shrunk = exp_below(tops[0, r] - top)
                    totals[0, r] *= shrunk
                    for x in range(sums.shape[1]):
                        sums[r, x] *= shrunk
                    tops[0, r] = top
                totals[0, r] += total
        multiply(
            run, like, scores_at, s_bytes, table, rows, n, v_packed + first * v_wide, keys, v_wide, values, np.int64(0),
            sums_at, o_bytes, size,
        )  # fmt: skip
    for r in range(rows):
        total = totals[0, r]
        share = type(scale)(1) / total if total != 0 else like
        scaled(sums_at + r * o_bytes, size, out + r * out_row, out_column, values, share, size)
        poke(normalizers + r * size, tops[0, r] + np.log(total) if total != 0 else type(scale)(np.inf))


@kernel(
    "void(const T[:, :, :, :], const T[:, :, :, :], const T[:, :, :, :], const u1[:, ::1], T[:, :, :, :], "
    "T[:, :, ::1], T, i8, i8, i8, i8, i8, i8, i8)",
    parallel=True,
)
def attention(  # type: ignore[no-untyped-def]
    q, k, v, hidden, out, normalizers, scale, causal, block_q, block_k, packing, attending, run, parts
):
    """out = softmax(Q Kᵀ · scale) V, and log Σ exp(score) of each query; hidden is empty or of (batch, keys)."""
    batch, heads, queries, columns = q.shape
    keys, values, size = k.shape[2], v.shape[3], np.int64(out.itemsize)
    one = normalizers.dtype.type(1)
    blocks = (queries + block_q - 1) // block_q
    tasks = batch * heads * blocks
    k_wide, v_wide = breadth(keys, size), breadth(values, size)
    k_bytes, v_bytes = columns * filled(keys, size), keys * filled(values, size)
    for part in prange(parts):
        work = np.empty(64 + k_bytes + v_bytes + forward_room(block_q, block_k, columns, values, size), np.uint8)
        k_packed = (address(work) + 63) // 64 * 64
        v_packed = k_packed + k_bytes
        head = np.int64(-1)
        for task in range(part * tasks // parts, (part + 1) * tasks // parts):
            if task // blocks != head:
                head = task // blocks
                b, h = head // heads, head % heads
                call(packing, one, (
                    address(k) + b * k.strides[0] + h * k.strides[1], k.strides[3], k.strides[2], columns, keys, k_wide,
                    size, k_packed,
                ))  # fmt: skip
                call(packing, one, (
                    address(v) + b * v.strides[0] + h * v.strides[1], v.strides[2], v.strides[3], keys, values, v_wide,
                    size, v_packed,
                ))  # fmt: skip
            b, h, first = head // heads, head % heads, task % blocks * block_q
            rows = min(block_q, queries - first)
            call(attending, scale, (
                run, address(q) + b * q.strides[0] + h * q.strides[1] + first * q.strides[2], q.strides[2],
                q.strides[3], rows, columns, k_packed, v_packed, values, keys,
                min(keys, first + rows) if causal else keys, block_k,
                address(hidden) + b * keys if hidden.size > 0 else np.int64(0), first if causal else np.int64(-1),
                address(out) + b * out.strides[0] + h * out.strides[1] + first * out.strides[2], out.strides[2],
                out.strides[3], address(normalizers) + (head * queries + first) * size, v_packed + v_bytes,
            ))  # fmt: skip
        keep(work)


# ---- backward
@helper
def backward_room(rows, block, columns, values, size):  # type: ignore[no-untyped-def]
    """The bytes of scratch memory of `pull`."""
    return 64 + ZEROS + 8 * (columns + values + max(rows, block)) + 2 * rows * filled(block, size)


@helper
def panel_table(table, rows, columns, wide, size):  # type: ignore[no-untyped-def]
    """Where the entries of a row lie in panels of so many rows."""
    for i in range(columns):
        poke(table + 8 * i, i * size // wide * rows * wide + i * size % wide)


@routine("void(T, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8, i8)")
def pull(  # type: ignore[no-untyped-def]
    like, run, q_packed, g_packed, normalizers, along, queries, columns, values, k_across, v_across, k_packed, n,
    block_q, block_k, hidden, first_key, causal, gq, gq_row, gk, gv, work,
):  # fmt: skip
    """The gradients by a block of n keys, for the queries of a head: gk and gv have rows of panels, gq is added to."""
    size, one, nothing = VECTOR // lanes(like), np.int64(1), zero_like(like)
    q_wide, g_wide, s_wide = breadth(columns, size), breadth(values, size), breadth(block_k, size)
    k_bytes, v_bytes, s_bytes = filled(columns, size), filled(values, size), filled(block_k, size)
    zeros = (work + 63) // 64 * 64
    q_table = zeros + ZEROS
    g_table = q_table + 8 * columns
    row_table = g_table + 8 * values
    weights_at = row_table + 8 * max(block_q, block_k)
    pulled_at = weights_at + block_q * s_bytes
    entries(like, zeros, one, ZEROS // size)[:] = nothing
    panel_table(q_table, queries, columns, q_wide, size)
    panel_table(g_table, queries, values, g_wide, size)
    entries(like, gk, n, k_bytes // size)[:] = nothing
    entries(like, gv, n, v_bytes // size)[:] = nothing
    logs, alongs = entries(like, normalizers, one, queries), entries(like, along, one, queries)
    for first in range(first_key // block_q * block_q if causal else 0, queries, block_q):
        rows = min(block_q, queries - first)
        q_at, g_at = q_packed + first * q_wide, g_packed + first * g_wide
        for i in range(max(rows, n)):
            poke(row_table + 8 * i, i * size)
        multiply(
            run, like, q_at, q_wide, q_table, rows, columns, k_across, columns, s_wide, n, zeros, weights_at, s_bytes,
            size,
        )  # fmt: skip
        multiply(
            run, like, g_at, g_wide, g_table, rows, values, v_across, values, s_wide, n, zeros, pulled_at, s_bytes, size
        )
        weights = entries(like, weights_at, rows, s_bytes // size)
        pulled = entries(like, pulled_at, rows, s_bytes // size)
        hide(weights, n, hidden, first_key, first if causal else np.int64(-1))
        for r in range(rows):
            log, less = logs[0, first + r], alongs[0, first + r]
            for x in range(n):
                weight = exp_below(weights[r, x] - log)
                weights[r, x] = weight
                pulled[r, x] = weight * (pulled[r, x] - less)
        multiply(
            run, like, pulled_at, s_bytes, row_table, rows, n, k_packed, n, q_wide, columns, np.int64(0),
            gq + first * gq_row, gq_row, size,
        )  # fmt: skip
        for i in range(rows):
            poke(row_table + 8 * i, i * s_bytes)
        multiply(
            run, like, weights_at, size, row_table, n, rows, g_at, queries, g_wide, values, np.int64(0), gv, v_bytes,
            size,
        )  # fmt: skip
        multiply(
            run, like, pulled_at, size, row_table, n, rows, q_at, queries, q_wide, columns, np.int64(0), gk, k_bytes,
            size,
        )  # fmt: skip


@kernel(
    "void(const T[:, :, :, :], const T[:, :, :, :], const T[:, :, :, :], const u1[:, ::1], const T[:, :, :, :], "
    "const T[:, :, ::1], const T[:, :, :, :], T[:, :, :, :, ::1], T[:, :, :, :], T[:, :, :, :], "
    "T, i8, i8, i8, i8, i8, i8, i8)",
    parallel=True,
    fast=True,
)
def attention_pulled(  # type: ignore[no-untyped-def]
    q, k, v, hidden, out, normalizers, g, gq, gk, gv, scale, causal, block_q, block_k, packing, pulling, run, parts
):
    """The gradients of q, k and v; gq is of (shares of the keys, batch, heads, queries, room for a row of panels)."""
    batch, heads, queries, columns = q.shape
    keys, values, size = k.shape[2], v.shape[3], np.int64(gk.itemsize)
    one = normalizers.dtype.type(1)
    shares = len(gq)
    blocks = (keys + block_k - 1) // block_k
    q_wide, g_wide, s_wide = breadth(columns, size), breadth(values, size), breadth(block_k, size)
    k_bytes, v_bytes = filled(columns, size), filled(values, size)
    across = filled(block_k, size)
    pieces = batch * heads * shares
    for part in prange(parts):
        room = (queries + 2 * block_k) * (k_bytes + v_bytes) - block_k * v_bytes + (columns + values) * across
        work = np.empty(64 + room + queries * size + backward_room(block_q, block_k, columns, values, size), np.uint8)
        q_packed = (address(work) + 63) // 64 * 64
        g_packed = q_packed + queries * k_bytes
        k_across = g_packed + queries * v_bytes
        v_across = k_across + columns * across
        k_packed = v_across + values * across
        gk_sums = k_packed + block_k * k_bytes
        gv_sums = gk_sums + block_k * k_bytes
        along = gv_sums + block_k * v_bytes
        rest = along + queries * size
        for piece in range(part * pieces // parts, (part + 1) * pieces // parts):
            head, share = piece // shares, piece % shares
            b, h = head // heads, head % heads
            call(packing, scale, (
                address(q) + b * q.strides[0] + h * q.strides[1], q.strides[2], q.strides[3], queries, columns, q_wide,
                size, q_packed,
            ))  # fmt: skip
            call(packing, one, (
                address(g) + b * g.strides[0] + h * g.strides[1], g.strides[2], g.strides[3], queries, values, g_wide,
                size, g_packed,
            ))  # fmt: skip
            for i in range(queries):
                total = zero_like(one)
                for c in range(values):  # in the order of a product's sum: of a weight of 1 the two cancel
                    total += g[b, h, i, c] * out[b, h, i, c]
                poke(along + i * size, total)
                for c in range(gq.shape[4]):
                    gq[share, b, h, i, c] = zero_like(one)
            k_at = address(k) + b * k.strides[0] + h * k.strides[1]
            v_at = address(v) + b * v.strides[0] + h * v.strides[1]
            for block in range(share * blocks // shares, (share + 1) * blocks // shares):
                first = block * block_k
                n = min(block_k, keys - first)
                k_here, v_here = k_at + first * k.strides[2], v_at + first * v.strides[2]
                call(packing, one, (k_here, k.strides[3], k.strides[2], columns, n, s_wide, size, k_across))
                call(packing, one, (v_here, v.strides[3], v.strides[2], values, n, s_wide, size, v_across))
                call(packing, one, (k_here, k.strides[2], k.strides[3], n, columns, q_wide, size, k_packed))
                call(pulling, one, (
                    run, q_packed, g_packed, address(normalizers) + head * queries * size, along, queries, columns,
                    values, k_across, v_across, k_packed, n, block_q, block_k,
                    address(hidden) + b * keys if hidden.size > 0 else np.int64(0), first, np.int64(causal),
                    address(gq) + (share * batch * heads + head) * gq.strides[2], gq.strides[3], gk_sums, gv_sums, rest,
                ))  # fmt: skip
                gk_at = address(gk) + b * gk.strides[0] + h * gk.strides[1] + first * gk.strides[2]
                gv_at = address(gv) + b * gv.strides[0] + h * gv.strides[1] + first * gv.strides[2]
                for i in range(n):
                    scaled(gk_sums + i * k_bytes, size, gk_at + i * gk.strides[2], gk.strides[3], columns, one, size)
                    scaled(gv_sums + i * v_bytes, size, gv_at + i * gv.strides[2], gv.strides[3], values, one, size)
            for i in range(queries):
                for c in range(columns):
                    gq[share, b, h, i, c] *= scale
        keep(work)

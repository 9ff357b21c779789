"""CUDA attention in the emulation: against attention by all weights in float64, at ragged sizes, in several orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from kernel_checks import attention_by_weights
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import attention
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
NEAR = {"float32": 2e-5, "float64": 1e-12}
BLOCKS = {"block_q": 64, "block_k": 64}  # of the kernels on the CPU
# batch, heads, queries, keys, columns, values: tiles are of 64 in float32, of 32 in float64
SIZES = [
    (2, 2, 7, 5, 3, 2),
    (1, 2, 70, 130, 16, 24),
    (2, 1, 65, 64, 72, 5),
    (1, 1, 1, 33, 8, 70),
    (1, 1, 129, 35, 65, 129),
    (1, 1, 128, 64, 64, 64),
]


def laid(x: np.ndarray[Any, Any], layout: str) -> Any:
    """x on the device, with another order in memory or gaps."""
    if layout == "heads last":
        return cupysim.asarray(x.transpose(0, 2, 1, 3).copy()).transpose(0, 2, 1, 3)
    if layout == "gaps":
        return cupysim.asarray(np.repeat(x, 2, axis=-1))[..., ::2]
    return cupysim.asarray(x)


def drawn(sizes: tuple[int, ...], dtype: str, seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    batch, heads, n, m, d, e = sizes
    shapes = (n, d), (m, d), (m, e), (n, e)
    return [rng.standard_normal((batch, heads, *shape)).astype(dtype) for shape in shapes]


def check(
    sizes: tuple[int, ...], dtype: str, *, causal: bool, hide: bool, layouts: tuple[str, ...] = ("C",) * 4
) -> None:
    q, k, v, g = drawn(sizes, dtype)
    hidden = np.random.default_rng(1).random((sizes[0], sizes[3])) < 0.4 if hide else None
    if hidden is not None:
        hidden[0, 0] = True
        hidden[-1] |= sizes[0] > 1
    settings = {"causal": causal, "scale": 0.7, **BLOCKS}
    on_device = [laid(x, layout) for x, layout in zip((q, k, v, g), layouts, strict=True)]
    flags = None if hidden is None else cupysim.asarray(hidden)
    made = attention.attention(*on_device[:3], flags, **settings)
    assert made is not None
    out, logs = made
    pulled = attention.attention_pulled(on_device[3], out, *on_device[:3], flags, logs, **settings)
    assert pulled is not None
    for name, x, y in zip("oqkv", (out, *pulled), attention_by_weights(q, k, v, g, hidden, causal, 0.7), strict=True):
        assert x.shape == y.shape and x.dtype == dtype, name
        near = NEAR[dtype]
        np.testing.assert_allclose(x.get(), y, rtol=near, atol=near * max(1, np.abs(y).max()), err_msg=name)
    on_host = attention.attention(q, k, v, hidden, **settings)
    assert on_host is not None
    np.testing.assert_allclose(logs.get(), on_host[1], rtol=NEAR[dtype], atol=NEAR[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("seed", SEEDS)
def test_attention(seed: int, sizes: tuple[int, ...], dtype: str) -> None:
    with schedule(seed):
        check(sizes, dtype, causal=False, hide=False)
        check(sizes, dtype, causal=True, hide=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_causal_or_masked(dtype: str) -> None:
    check((1, 2, 70, 140, 5, 4), dtype, causal=True, hide=False)
    check((3, 1, 100, 40, 4, 5), dtype, causal=False, hide=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "layouts",
    [("heads last",) * 4, ("heads last", "C", "gaps", "C"), ("C", "heads last", "heads last", "gaps"), ("gaps",) * 4],
)
def test_any_order_in_memory(layouts: tuple[str, ...], dtype: str) -> None:
    check((2, 3, 35, 34, 6, 8), dtype, causal=False, hide=True, layouts=layouts)


def test_results_lie_as_their_arguments_do() -> None:
    q, k, v, g = (laid(x, "heads last") for x in drawn((2, 3, 5, 4, 6, 8), "float32"))
    settings = {"causal": False, "scale": 1.0, **BLOCKS}
    made = attention.attention(q, k, v, None, **settings)
    assert made is not None
    pulled = attention.attention_pulled(g, made[0], q, k, v, None, made[1], **settings)
    assert pulled is not None
    for x in (made[0], *pulled):
        assert x.transpose(0, 2, 1, 3).flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_query_that_sees_nothing_gives_zero_and_gets_no_gradient(dtype: str) -> None:
    q, k, v, g = map(cupysim.asarray, drawn((2, 1, 40, 70, 4, 4), dtype))
    hidden = np.zeros((2, 70), bool)
    hidden[0] = True
    hidden[1, :66] = True
    settings = {"causal": False, "scale": 1.0, **BLOCKS}
    made = attention.attention(q, k, v, cupysim.asarray(hidden), **settings)
    assert made is not None
    pulled = attention.attention_pulled(g, made[0], q, k, v, cupysim.asarray(hidden), made[1], **settings)
    assert pulled is not None
    out, gq, gk, gv = (x.get() for x in (made[0], *pulled))
    assert (out[0] == 0).all() and (gq[0] == 0).all() and (gk[0] == 0).all() and (gv[0] == 0).all()
    assert (gk[1, 0, :66] == 0).all() and (gv[1, 0, :66] == 0).all()
    assert (out[1] != 0).all() and (gq[1] != 0).all() and (gv[1, 0, 66:] != 0).all()
    assert (made[1].get()[0] == np.inf).all()


def test_large_scores_and_nan() -> None:
    q, k, v, _ = drawn((1, 1, 40, 90, 4, 3), "float64")
    k[0, 0, 35] = np.nan
    settings = {"causal": True, "scale": 1e4, **BLOCKS}
    made = attention.attention(*map(cupysim.asarray, (q, k, v)), None, **settings)
    assert made is not None
    out = made[0].get()[0, 0]
    expected = attention_by_weights(q[..., :35, :], k[..., :35, :], v[..., :35, :], v[..., :35, :], None, True, 1e4)[0]
    np.testing.assert_allclose(out[:35], expected[0, 0], rtol=1e-9)
    assert np.isnan(out[35:]).all()


def test_the_op_runs_them() -> None:
    """Both orders of gradients: `flash_attention` on the device is that on the host."""
    arrays = [x[:, 0] for x in drawn((2, 1, 9, 9, 4, 4), "float64")]
    results = []
    for place in (np.asarray, cupysim.asarray):
        q, k, v = (tz.Tensor(place(x), requires_grad=True) for x in arrays[:3])
        out = ops.flash_attention(q, k, v, is_causal=True)
        first = gradients([out], [q, k, v], [place(arrays[3])], create_graph=True)
        second = gradients([(first[0] * first[1]).sum()], [q, k, v], [place(np.ones(()))])
        results.append([x.numpy() for x in (out, *first, *second)])
    for host, device in zip(*results, strict=True):
        np.testing.assert_allclose(device, host, rtol=1e-11, atol=1e-12)


# What must be noticed: the file below kernels, what stands there once, what is written for it, and the test that fails.
CUDA_FAULTS = [
    ("attention/attention.cu", "    __syncthreads();  // what was in the panels has been read\n", "", "test_attention"),
    (
        "attention/attention.cu",
        "    load_across(right, y, y_row, column);\n    __syncthreads();",
        "    load_across(right, y, y_row, column);",
        "test_attention",
    ),
    (
        "attention/attention.cu",
        "  __syncthreads();  // the weights are written; what was in the other panel has been read\n",
        "",
        "test_attention",
    ),
    (
        "attention/attention.cu",
        "  load_along(right, y, row, column);\n  __syncthreads();",
        "  load_along(right, y, row, column);",
        "test_attention",
    ),
    ("attention/attention.cu", "    __syncthreads();  // the panels have been read\n", "", "test_attention"),
    ("attention/attention.cu", "    __syncthreads();  // P' is written\n", "", "test_attention"),
    (
        "attention/attention.cu",
        "    __syncthreads();  // P' is written\n",
        "    if (second) __syncthreads();\n",
        "test_attention",
    ),
    ("attention/attention.cu", "other < 8; other *= 2", "other < 4; other *= 2", "test_attention"),
    ("attention/attention.cu", "other < 8; other *= 2", "other < 16; other *= 2", "test_attention"),
    ("attention/attention.cuh", "query >= queries || key >= keys ||", "query >= queries ||", "test_attention"),
    ("attention/attention.cuh", "key > query)) return false", "key >= query)) return false", "test_causal_or_masked"),
    (
        "attention/attention.cu",
        "(i64)(head / heads) * keys : nullptr, queries, keys, causal != 0};\n\n  T log",
        "0 : nullptr, queries, keys, causal != 0};\n\n  T log",
        "test_causal_or_masked",
    ),
    ("attention/attention.cu", "k < (depth + 3) / 4 * 4;", "k < depth / 4 * 4;", "test_attention"),
    ("attention/attention.cu", "i < 4 && column + i < x.columns; i++", "i < 4; i++", "test_attention"),
    ("attention/attention.cuh", "last ? heads * columns : columns, rows", "columns, rows", "test_any_order_in_memory"),
    (
        "attention/attention.cu",
        "total[i] = 0;\n  int end = causal ? min(keys, row + TILE)",
        "total[i] = 0;\n  int end = causal ? min(keys, row)",
        "test_attention",
    ),
    (
        "attention/attention.cu",
        "causal ? row : 0; first < queries",
        "causal ? row + TILE : 0; first < queries",
        "test_attention",
    ),
    (
        "attention/attention.cu",
        "most == -INFINITY ? 0 : most",
        "most",
        "test_a_query_that_sees_nothing_gives_zero_and_gets_no_gradient",
    ),
    ("attention/attention.cu", "total[i] *= shrunk;", "", "test_attention"),
    (
        "attention/attention.cu",
        "threadIdx.x % WARP == 0) inner[at] = sum",
        "threadIdx.x % WARP == 1) inner[at + 1] = sum",
        "test_attention",
    ),
    ("attention/attention.cu", "if (c + x < out.columns) to[x]", "to[x]", "test_attention"),
]

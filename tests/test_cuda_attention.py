"""CUDA attention in the emulation: against attention by all weights in float64, at ragged sizes, in several orders."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from kernel_checks import attention_by_weights
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import attention, cuda
from tinygrad_zoo.kernels.attention import gpu
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


# ---- numbers of 16 bits, on tensor cores
def brain(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """x rounded to bfloat16: as float32, of which that is the upper half."""
    bits = x.astype(np.float32).view(np.uint32).astype(np.uint64)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16).astype(np.uint32).view(np.float32)


def as_brain(x: np.ndarray[Any, Any]) -> Any:
    return cupysim.asarray((x.view(np.uint32) >> 16).astype(np.uint16))


def from_brain(x: Any) -> np.ndarray[Any, Any]:
    return (x.get().astype(np.uint32) << 16).view(np.float32)


def run_brain(
    q: np.ndarray[Any, Any], k: np.ndarray[Any, Any], v: np.ndarray[Any, Any], causal: bool,
    g: np.ndarray[Any, Any] | None = None,
) -> tuple[np.ndarray[Any, Any], ...]:  # fmt: skip
    """attention_mma*.cu for bfloat16, of which NumPy knows nothing, by hand: the result and logs, or the gradients."""
    (batch, heads, n, d), (m, e) = q.shape, v.shape[2:]
    wide = gpu._wide(d, e)
    sizes = (*map(np.int32, (heads, n, m, d, e)), np.float32(0.7), np.int32(causal), np.int32(0), np.int32(0))
    given = (*map(as_brain, (q, k, v)), cupysim.empty(0, bool))

    def run(path: Any, name: str, rows: int, *arrays: Any) -> None:
        kernel = cuda.kernel(cupysim, path, f"{name}_{wide}", "Brain")
        kernel.max_dynamic_shared_size_bytes = shared = 96 * 1024
        kernel((batch * heads * -(-rows // 64),), (128,), (*given, *arrays, *sizes), shared_mem=shared)

    out, logs = cupysim.empty((batch, heads, n, e), np.uint16), cupysim.empty((batch, heads, n), np.float32)
    run(gpu.HALVES_SOURCE, "attention", n, out, logs)
    if g is None:
        return from_brain(out), logs.get()
    inner, (gq, gk, gv) = cupysim.empty_like(logs), (cupysim.empty(x.shape, np.uint16) for x in (q, k, v))
    run(gpu.HALVES_BACKWARD, "attention_pulled_queries", n, as_brain(g), out, logs, inner, gq)
    run(gpu.HALVES_BACKWARD, "attention_pulled_keys", m, as_brain(g), logs, inner, gk, gv)
    return from_brain(gq), from_brain(gk), from_brain(gv)


HALF_SIZES = [(2, 2, 7, 5, 16, 8), (1, 2, 70, 130, 64, 64), (1, 1, 129, 200, 24, 32), (1, 1, 65, 64, 128, 80)]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", HALF_SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("seed", SEEDS)
def test_halves(seed: int, sizes: tuple[int, ...], causal: bool) -> None:
    """Weights and results are rounded to 11 bits, of bfloat16 to 8, and the sums are of numbers around 1."""
    q, k, v, g = drawn(sizes, "float16")
    hidden = np.random.default_rng(1).random((sizes[0], sizes[3])) < 0.3
    hidden[0, 0] = False
    hidden[-1] |= sizes[0] > 1
    settings = {"causal": causal, "scale": 0.7, **BLOCKS}
    with schedule(seed):
        for flags in (None, hidden):
            on_device = [laid(x, "heads last") for x in (q, k, v)]
            made = attention.attention(*on_device, None if flags is None else cupysim.asarray(flags), **settings)
            assert made is not None and made[0].dtype == np.float16 and made[1].dtype == np.float32
            expected = attention_by_weights(q, k, v, g, flags, causal, 0.7)[0]
            np.testing.assert_allclose(made[0].get(), expected, rtol=2e-3, atol=2e-3)
            host = attention.attention(*(x.astype(np.float32) for x in (q, k, v)), flags, **settings)
            assert host is not None
            np.testing.assert_allclose(made[1].get(), host[1], rtol=1e-5, atol=1e-5)
        q, k, v, g = map(brain, (q, k, v, g))
        out, logs = run_brain(q, k, v, causal)
        np.testing.assert_allclose(
            out, attention_by_weights(q, k, v, g, None, causal, 0.7)[0], rtol=1.6e-2, atol=1.6e-2
        )
        host = attention.attention(q, k, v, None, **settings)
        assert host is not None
        np.testing.assert_allclose(logs, host[1], rtol=1e-5, atol=1e-5)


def near_all(made: Any, expected: Any, near: float) -> None:
    """Each array near that expected: in shares of its largest entry, since sums of weighted rows are rounded terms."""
    for name, x, y in zip("qkv", made, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=near, atol=near * max(1, np.abs(y).max()), err_msg=name)


def gradients_of_halves(
    arrays: Any, hidden: Any, causal: bool, layouts: tuple[str, ...] = ("C",) * 4
) -> list[np.ndarray[Any, Any]]:
    """Those of q, k and v, by the kernels."""
    settings = {"causal": causal, "scale": 0.7, **BLOCKS}
    q, k, v, g = (laid(x, layout) for x, layout in zip(arrays, layouts, strict=True))
    flags = None if hidden is None else cupysim.asarray(hidden)
    made = attention.attention(q, k, v, flags, **settings)
    assert made is not None
    pulled = attention.attention_pulled(g, made[0], q, k, v, flags, made[1], **settings)
    assert pulled is not None and all(x.dtype == np.float16 for x in pulled)
    return [x.get() for x in pulled]


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", HALF_SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_halves(seed: int, sizes: tuple[int, ...], causal: bool) -> None:
    """Weights, what is pulled back to scores, and results are rounded to 11 bits, of bfloat16 to 8."""
    arrays = drawn(sizes, "float16")
    hidden = np.random.default_rng(1).random((sizes[0], sizes[3])) < 0.3
    hidden[0, 0] = True
    hidden[-1] |= sizes[0] > 1
    with schedule(seed):
        for flags, layouts in ((None, ("heads last",) * 4), (hidden, ("C", "heads last", "gaps", "gaps"))):
            made = gradients_of_halves(arrays, flags, causal, layouts)
            near_all(made, attention_by_weights(*arrays, flags, causal, 0.7)[1:], 3e-3)
        q, k, v, g = map(brain, arrays)
        near_all(run_brain(q, k, v, causal, g), attention_by_weights(q, k, v, g, None, causal, 0.7)[1:], 2.4e-2)


def test_gradients_of_halves_where_all_scores_are_low() -> None:
    """A key behind the last one would have a score of 0, and so an infinite weight."""
    for columns in (16, 128):
        q, k, v, g = drawn((1, 1, 70, 70, columns, 16), "float16")
        q[..., :16], k[..., :16] = np.abs(q[..., :16]) + 16, -np.abs(k[..., :16]) / 4 - 0.75
        assert (q.astype(np.float32) @ k.astype(np.float32).swapaxes(-1, -2)).max() * 0.7 < -100
        expected = attention_by_weights(q, k, v, g, None, False, 0.7)[1:]
        near_all(gradients_of_halves((q, k, v, g), None, False), expected, 5e-3)


def test_gradients_of_halves_are_bitwise_the_same_in_any_order() -> None:
    arrays = drawn((1, 2, 70, 130, 32, 32), "float16")
    results = []
    for seed in SEEDS:
        with schedule(seed):
            results.append(gradients_of_halves(arrays, None, True))
    for other in results[1:]:
        assert all((x == y).all() for x, y in zip(results[0], other, strict=True))


def test_gradients_through_the_op_and_what_tensor_cores_leave() -> None:
    """float16: columns that are no multiple of 8 go by float32."""
    for columns in (16, 12, 136):
        q, k, v, g = (x[:, 0] for x in drawn((2, 1, 9, 11, columns, columns), "float16"))
        assert attention.takes_halves(*(cupysim.asarray(x) for x in (q, k, v))) == (columns == 16)
        results = []
        for place in (np.asarray, cupysim.asarray):
            inputs = [tz.Tensor(place(x), requires_grad=True) for x in (q, k, v)]
            out = ops.flash_attention(*inputs, is_causal=True)
            results.append([x.numpy() for x in (out, *gradients([out], inputs, [place(g)]))])
        for host, device in zip(*results, strict=True):
            assert device.dtype == np.float16
            np.testing.assert_allclose(device, host, rtol=4e-3, atol=4e-3)


def test_rounding_to_16_bits_in_the_emulation() -> None:
    """A weight of 1 hands on finite float16 as it is, the smallest and the largest ones too."""
    numbers = (
        np.r_[np.arange(0, 2**15, 13), np.arange(2**15, 2**16, 11), 1023, 1024, 31743]
        .astype(np.uint16)
        .view(np.float16)
    )
    numbers = numbers[np.isfinite(numbers)]
    v = np.resize(numbers, (numbers.size // 128 + 1, 1, 1, 128))
    q = np.zeros((len(v), 1, 1, 8), np.float16)
    settings = {"causal": False, "scale": 1.0, **BLOCKS}
    made = attention.attention(*(cupysim.asarray(x) for x in (q, q, v)), None, **settings)
    assert made is not None
    assert (made[0].get() == v).all()


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
    ("attention/attention_mma.cu", "wait_for_copies<1>()", "wait_for_copies<2>()", "test_halves"),
    ("attention/attention_mma.cu", "wait_for_copies<1>();\n", "", "test_halves"),
    ("attention/attention_mma.cu", "    __syncthreads();  // this tile is there\n", "", "test_halves"),
    (
        "attention/attention_mma.cu",
        "    __syncthreads();  // this tile has been read, and the next but one may come\n",
        "",
        "test_halves",
    ),
    (
        "attention/attention_mma.cuh",
        "(lane % 8 + lane / 16 * 8) * (WIDE + 8) + d * 16 + lane / 8 % 2 * 8",
        "(lane % 8 + lane / 8 % 2 * 8) * (WIDE + 8) + d * 16 + lane / 16 * 8",
        "test_halves",
    ),
    ("attention/attention_mma.cuh", "load_matrices_transposed(b", "load_matrices(b", "test_halves"),
    (
        "attention/attention_mma.cuh",
        "rounded<T>(near[2], near[3]), rounded<T>(far[0], far[1])",
        "rounded<T>(far[0], far[1]), rounded<T>(near[2], near[3])",
        "test_halves",
    ),
    ("attention/attention_mma.cu", "ROW = WIDE + 8,", "ROW = WIDE + 4,", "test_halves"),
    ("attention/attention_mma.cuh", "&& c < x.columns;", ";", "test_halves"),
    ("attention/attention_mma.cu", "first + TILE - 1 <= row)", "first <= row)", "test_halves"),
    ("attention/attention_mma.cu", "!masked && first + TILE <= keys", "!masked", "test_halves"),
    ("attention/attention_mma.cu", "(k_tiles + (half ^ 1) * SIZE", "(k_tiles + half * SIZE", "test_halves"),
    (
        "attention/attention_mma.cuh",
        "return operation(value, __shfl_xor_sync(ALL, value, 2));",
        "return value;",
        "test_halves",
    ),
    ("attention/attention_mma.cuh", "if (j * 8 < out.columns) {", "{", "test_halves"),
    ("attention/attention_mma.cu", "sums[j][i] *= shrunk[i / 2]", "sums[j][i] *= shrunk[i % 2]", "test_halves"),
    ("attention/attention_mma.cu", "half ^= 1", "half ^= 0", "test_halves"),
    (
        "attention/attention_mma_backward.cu",
        "wait_for_copies<1>();\n    __syncthreads();  // these keys are there",
        "wait_for_copies<2>();\n    __syncthreads();  // these keys are there",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "wait_for_copies<1>();\n    __syncthreads();  // these queries are there",
        "__syncthreads();  // these queries are there",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "    __syncthreads();  // these keys are there\n",
        "",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "    __syncthreads();  // these queries are there\n",
        "",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "    __syncthreads();  // these keys have been read, and the next but one may come\n",
        "",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "    __syncthreads();  // these queries have been read, and the next but one may come\n",
        "",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "    __syncthreads();  // these queries are there\n",
        "    if (threadIdx.x < 96) __syncthreads();\n",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "(scale * LOG2_E) - log[i / 2]",
        "(scale * LOG2_E) - log[i % 2]",
        "test_gradients_of_halves",
    ),
    ("attention/attention_mma_backward.cu", "(i % 2 ? log.y : log.x)", "log.x", "test_gradients_of_halves"),
    ("attention/attention_mma_backward.cu", "(i % 2 ? mean.y : mean.x)", "mean.y", "test_gradients_of_halves"),
    (
        "attention/attention_mma_backward.cu",
        "lane % 4 * 2 + i % 2, own + i / 2 * 8)",
        "lane % 4 * 2, own + i / 2 * 8)",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "seen(own + i / 2 * 8, first + span + j * 8",
        "seen(own + i / 2 * 8, first + j * 8",
        "test_gradients_of_halves",
    ),
    ("attention/attention_mma_backward.cu", "first + L::WALK - 1 <= row)", "first <= row)", "test_gradients_of_halves"),
    ("attention/attention_mma_backward.cu", "row + TILE - 1 <= first)", "row <= first)", "test_gradients_of_halves"),
    (
        "attention/attention_mma_backward.cu",
        "!masked && first + L::WALK <= keys &&",
        "!masked &&",
        "test_gradients_of_halves_where_all_scores_are_low",
    ),
    (
        "attention/attention_mma_backward.cu",
        "next = of_query(first + L::WALK + threadIdx.x",
        "next = of_query(first + threadIdx.x",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "of_queries[(half ^ 1) * 2 * L::WALK + threadIdx.x] = next",
        "of_queries[half * 2 * L::WALK + threadIdx.x] = next",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "if (query >= queries) return second ? 0 : INFINITY;",
        "",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "half * 2 * L::WALK + span + lane % 4 * 2",
        "half * 2 * L::WALK + lane % 4 * 2",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "if (lane % 4 == 0 && query < queries) inner[place]",
        "if (lane % 4 == 0) inner[place]",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "(k_tiles + (half ^ 1) * L::STEP",
        "(k_tiles + half * L::STEP",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "int start = causal ? row : 0",
        "int start = causal ? row + TILE : 0",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "c < x.columns; c += 32",
        "c < x.columns; c += 64",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "weigh<WIDE>(of_v, weights, g_rows)",
        "weigh<WIDE>(of_v, weights, q_rows)",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "threadIdx.x / WARP * 16 * (WIDE + 8)",
        "threadIdx.x / WARP * 16 * WIDE",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "if (KEPT == 1) load_left<WIDE>(parts[0], rows, d)",
        "if (KEPT == 1) load_left<WIDE>(parts[0], rows, 0)",
        "test_gradients_of_halves",
    ),
    (
        "attention/attention_mma_backward.cu",
        "weight * (pulled[j][i] - mean[i / 2])",
        "weight * pulled[j][i] - mean[i / 2]",
        "test_gradients_of_halves",
    ),
]

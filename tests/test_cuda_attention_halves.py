"""CUDA attention of 16-bit numbers on the emulation's tensor cores: every entry within what roundings account for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from kernel_checks import attention_by_weights
from test_cuda_attention import BLOCKS, SEEDS, drawn, laid
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import attention, cuda
from tinygrad_zoo.kernels.attention import gpu
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule


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
# How far a rounding takes a number: half the distance of 1 and the next one as a share of it; and, of float16, half the
# distance of subnormal numbers, which no bfloat16 here is.
ROUNDED = {"float16": (2.0**-11, 2.0**-25), "bfloat16": (2.0**-8, 0.0)}
FLOAT = 1e-5  # what arithmetic in float adds to that share: the logs are held to as much
MANY = 3  # times the root of the sum of squares of all roundings of an entry, see `expected_within`


def expected_within(
    q: Any, k: Any, v: Any, g: Any, hidden: Any, causal: bool, *, scale: float = 0.7, dtype: str = "float16"
) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
    """The result and the gradients of q, k and v in float64, and how far roundings may take each entry from it.

    The kernels round the weights P, dS and every result; and inner = Σ dO O, of which dS = P (dO V' - inner), is of an
    O that was made of rounded weights, and rounded. To first order the error of an entry is a sum of independent
    roundings, each times a factor that is known. With r(x) the square of what a rounding of x may do, and squares of
    factors, the sum of squares is
      of O: r(P) V² + r(O)    of dV: r(P)' dO² + r(dV)    of inner: Σ r(P) (dO V')² + Σ dO² r(O)
      of dQ: scale² (r(dS) K² + inner's (P K)²) + r(dQ)    of dK: scale² (r(dS) + P² inner's)' Q² + r(dK)
    A rounding is less than its most; were all spread evenly up to that, a root of this sum would be √3 standard
    deviations, and at most three entries in 10⁶ would be off by MANY roots (Hoeffding). Measured over the tests below
    the largest errors are 1.3 roots (O), 1.6 (dQ), 1.6 (dK) and 1.9 (dV). As shares of the largest entry they are 4e-4,
    1.7e-3, 1.4e-3 and 5e-4 in float16; 2.7e-3, 4.3e-3, 7.4e-3 and 3.6e-3 in bfloat16. An entry that is exactly 0,
    where nothing is seen, must be that.
    """
    share, least = ROUNDED[dtype]

    def r(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return ((share + FLOAT) * np.abs(x) + least * (x != 0)) ** 2

    def turned(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        return x.swapaxes(-1, -2)

    q, k, v, g = (np.asarray(x, np.float64) for x in (q, k, v, g))
    out, gq, gk, gv = attention_by_weights(q, k, v, g, hidden, causal, scale)
    pulled, each = g @ turned(v), np.broadcast_to(np.eye(k.shape[2]), (*k.shape[:2], k.shape[2], k.shape[2]))
    weights = attention_by_weights(q, k, each, pulled, hidden, causal, scale)[0]
    inner = (r(weights) * pulled**2).sum(axis=-1, keepdims=True) + (g**2 * r(out)).sum(axis=-1, keepdims=True)
    r_gs = r(weights * (pulled - (g * out).sum(axis=-1, keepdims=True)))
    r_gs += (FLOAT * weights * (np.abs(g) @ turned(np.abs(v)))) ** 2
    squares = (
        r(weights) @ v**2 + r(out),
        scale**2 * (r_gs @ k**2 + inner * (weights @ k) ** 2) + r(gq),
        scale**2 * turned(r_gs + weights**2 * inner) @ q**2 + r(gk),
        turned(r(weights)) @ g**2 + r(gv),
    )
    return [(x, MANY * np.sqrt(square)) for x, square in zip((out, gq, gk, gv), squares, strict=True)]


def demand(made: Any, expected: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> None:
    """Each array is what is expected, or as near as that says."""
    for k, (x, (y, off)) in enumerate(zip(made, expected, strict=True)):
        errors = np.abs(x.astype(np.float64) - y)
        assert x.shape == y.shape and (errors <= off).all(), f"result {k} is too far off by {np.max(errors - off)}"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("sizes", HALF_SIZES, ids=lambda sizes: "x".join(map(str, sizes)))
@pytest.mark.parametrize("seed", SEEDS)
def test_halves(seed: int, sizes: tuple[int, ...], causal: bool) -> None:
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
            demand([made[0].get()], expected_within(q, k, v, g, flags, causal)[:1])
            host = attention.attention(*(x.astype(np.float32) for x in (q, k, v)), flags, **settings)
            assert host is not None
            np.testing.assert_allclose(made[1].get(), host[1], rtol=FLOAT, atol=FLOAT)
        q, k, v, g = map(brain, (q, k, v, g))
        out, logs = run_brain(q, k, v, causal)
        demand([out], expected_within(q, k, v, g, None, causal, dtype="bfloat16")[:1])
        host = attention.attention(q, k, v, None, **settings)
        assert host is not None
        np.testing.assert_allclose(logs, host[1], rtol=FLOAT, atol=FLOAT)


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
    arrays = drawn(sizes, "float16")
    hidden = np.random.default_rng(1).random((sizes[0], sizes[3])) < 0.3
    hidden[0, 0] = True
    hidden[-1] |= sizes[0] > 1
    with schedule(seed):
        for flags, layouts in ((None, ("heads last",) * 4), (hidden, ("C", "heads last", "gaps", "gaps"))):
            made = gradients_of_halves(arrays, flags, causal, layouts)
            demand(made, expected_within(*arrays, flags, causal)[1:])
        q, k, v, g = map(brain, arrays)
        demand(run_brain(q, k, v, causal, g), expected_within(q, k, v, g, None, causal, dtype="bfloat16")[1:])


def test_gradients_of_halves_where_all_scores_are_low() -> None:
    """A key behind the last one would have a score of 0, and so an infinite weight."""
    for columns in (16, 128):
        q, k, v, g = drawn((1, 1, 70, 70, columns, 16), "float16")
        q[..., :16], k[..., :16] = np.abs(q[..., :16]) + 16, -np.abs(k[..., :16]) / 4 - 0.75
        assert (q.astype(np.float32) @ k.astype(np.float32).swapaxes(-1, -2)).max() * 0.7 < -100
        demand(gradients_of_halves((q, k, v, g), None, False), expected_within(q, k, v, g, None, False)[1:])


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
        expected = expected_within(*(x[:, None] for x in (q, k, v, g)), None, True, scale=columns**-0.5)
        for place in (np.asarray, cupysim.asarray):
            inputs = [tz.Tensor(place(x), requires_grad=True) for x in (q, k, v)]
            out = ops.flash_attention(*inputs, is_causal=True)
            made = [x.numpy() for x in (out, *gradients([out], inputs, [place(g)]))]
            assert all(x.dtype == np.float16 for x in made)
            demand([x[:, None] for x in made], expected)


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

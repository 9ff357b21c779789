"""Attention with and without its weights, the softmax from parts, and attention in linear time."""

from __future__ import annotations

import functools
import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from kernel_checks import attention_by_weights, check_attention
from kernel_memory import Canaries
from tinygrad_zoo import kernels, ops
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.kernels import attention as attention_kernels
from tinygrad_zoo.ops.linear_attention import LinearAttentionState
from tinygrad_zoo.ops.online_softmax import SoftmaxState

torch = oracles.load("torch")
LENGTHS = st.sampled_from([1, 7, 64, 130])


def made(seed: int, *shapes: tuple[int, ...], dtype: str = "float64", spread: float = 1.0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [(spread * rng.standard_normal(shape)).astype(dtype) for shape in shapes]


def all_of(op, arrays, g, **settings):
    """The result, and the gradients of the arrays."""
    tensors = [tz.tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    out = op(*tensors, **settings)
    out.backward(tz.tensor(g))
    return [out.numpy(), *(x.grad.numpy() for x in tensors if x.requires_grad)]


def near(found, expected, tolerance):
    for x, y in zip(found, expected, strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1, np.abs(y).max(initial=0)))


# ---- kernel against formula
@given(
    n=LENGTHS, m=LENGTHS, d=st.integers(1, 40), e=st.integers(1, 40), dtype=st.sampled_from(["float32", "float64"]),
    causal=st.booleans(), hide=st.booleans(), block_q=st.integers(1, 140), block_k=st.integers(1, 300),
    layout=st.sampled_from(["C", "F", "strided", "negative"]), seed=st.integers(0, 99),
)  # fmt: skip
def test_the_kernel_is_its_formula(n, m, d, e, dtype, causal, hide, block_q, block_k, layout, seed):
    rng = np.random.default_rng(seed)
    check_attention(
        attention_kernels, Canaries(), rng, 2, 1, n, m, d, e, dtype, layout, causal, hide, (block_q, block_k)
    )


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("causal", [False, True])
def test_threads_share_the_work(heads, causal, monkeypatch):
    """Fewer heads than parts: they share the keys of a head, and their sums for the queries are added up."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(kernels.threads, "parts", lambda nanoseconds: 4)
    check_attention(attention_kernels, Canaries(), rng, 1, heads, 130, 300, 16, 8, "float32", "C", causal)


@given(n=LENGTHS, m=LENGTHS, causal=st.booleans(), masked=st.booleans(), seed=st.integers(0, 99))
def test_flash_is_attention_with_weights(n, m, causal, masked, seed):
    q, k, v, g = made(seed, (2, 2, n, 5), (2, 2, m, 5), (2, 2, m, 3), (2, 2, n, 3))
    hidden = np.random.default_rng(seed).random((2, m)) < 0.5
    seen = np.broadcast_to(~hidden[:, None, None], (2, 2, n, m))
    flash = all_of(ops.flash_attention, [q, k, v], g, is_causal=causal, key_padding_mask=hidden if masked else None)
    whole = all_of(
        ops.scaled_dot_product_attention, [q, k, v], g, is_causal=causal, attn_mask=seen.copy() if masked else None
    )
    near(flash[:1], whole[:1], 1e-12)
    near(flash[1:], whole[1:], 1e-10)


@pytest.mark.parametrize("spread", [1.0, 100.0])
def test_blocks_change_rounding_alone(spread):
    """Also of scores up to ± 10⁴, of which one takes all."""
    arrays = made(0, (3, 70, 8), (3, 50, 8), (3, 50, 8), spread=spread)
    g = made(1, (3, 70, 8))[0]
    first = all_of(ops.flash_attention, arrays, g, block_q=70, block_k=50)
    for block_q, block_k in [(1, 1), (3, 7), (64, 8), (16, 16), (500, 500)]:
        near(all_of(ops.flash_attention, arrays, g, block_q=block_q, block_k=block_k), first, 1e-11)
    whole = all_of(ops.scaled_dot_product_attention, arrays, g)
    near(first, whole, 1e-11)
    assert all(np.isfinite(x).all() for x in first)


@pytest.mark.parametrize("op", [ops.flash_attention, ops.scaled_dot_product_attention])
def test_a_query_that_sees_nothing_gives_zero_and_gets_no_gradient(op):
    q, k, v, g = made(0, (2, 3, 4), (2, 5, 4), (2, 5, 4), (2, 3, 4))
    hidden = np.array([[True] * 5, [False, True, True, False, True]])
    mask = {"key_padding_mask": hidden} if op is ops.flash_attention else {"attn_mask": ~hidden[:, None]}
    out, gq, gk, gv = all_of(op, [q, k, v], g, **mask)
    assert (out[0] == 0).all() and (gq[0] == 0).all() and (gk[0] == 0).all() and (gv[0] == 0).all()
    assert (gk[1, [1, 2, 4]] == 0).all() and (gv[1, [1, 2, 4]] == 0).all()
    assert (out[1] != 0).all() and (gq[1] != 0).all()


def test_no_query_and_no_key():
    q, k, v = made(0, (2, 3, 4), (2, 0, 4), (2, 0, 5))
    assert (ops.flash_attention(q, k, v) == np.zeros((2, 3, 5))).all()
    assert (ops.scaled_dot_product_attention(q, k, v) == np.zeros((2, 3, 5))).all()
    assert ops.flash_attention(q[:, :0], k, v).shape == (2, 0, 5)


def test_nan_reaches_the_queries_that_see_it():
    q, k, v = made(0, (6, 4), (6, 4), (6, 4))
    k[3, 0] = np.nan
    out = ops.flash_attention(q, k, v, is_causal=True)
    assert np.isfinite(out[:3]).all() and np.isnan(out[3:]).all()


def test_heads_that_lie_inside_the_tokens_stay_there():
    """What a module reshapes back to (B, N, H·E) is no copy."""
    x = np.random.default_rng(0).standard_normal((2, 5, 3, 4)).transpose(0, 2, 1, 3)
    out = ops.flash_attention(x, x, x)
    assert out.transpose(0, 2, 1, 3).flags.c_contiguous


def peak(run):
    tracemalloc.start()
    run()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return most


def test_no_array_of_all_scores_is_made_forward_or_backward():
    """Row A2's bar."""
    n, d = 4096, 32
    arrays = made(0, (n, d), (n, d), (n, d), dtype="float32")
    g = made(1, (n, d), dtype="float32")[0]
    all_of(ops.flash_attention, [x[:8] for x in arrays], g[:8])
    flash = peak(lambda: all_of(ops.flash_attention, arrays, g))
    assert flash <= 8 * (n * d + 64 * 256) * 4 + 10e6
    whole = peak(lambda: all_of(ops.scaled_dot_product_attention, arrays, g))
    assert whole >= 10 * flash


# ---- the settings
def test_the_scale_counts_once():
    q, k, v = made(0, (3, 16), (3, 16), (3, 2))
    scores = q @ k.T / 4
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) @ v
    for op in (ops.flash_attention, ops.scaled_dot_product_attention):
        np.testing.assert_allclose(op(q, k, v), expected, rtol=1e-12)
        np.testing.assert_allclose(op(2 * q, k, v, scale=1 / 8), expected, rtol=1e-12)
        np.testing.assert_allclose(op(q, k, v, scale=-0.25), op(-q, k, v), rtol=1e-12)


def test_a_mask_belongs_to_keys():
    """Of (N, M): a mask over the wrong axis would hide queries."""
    q, k, v = made(0, (2, 4), (3, 4), (3, 2))
    mask = np.array([[True, False, True], [False, True, True]])
    out = ops.scaled_dot_product_attention(q, k, v, mask)
    np.testing.assert_allclose(out[0], ops.scaled_dot_product_attention(q[:1], k[[0, 2]], v[[0, 2]])[0])
    np.testing.assert_allclose(out[1], ops.scaled_dot_product_attention(q[1:], k[1:], v[1:])[0])
    added = np.where(mask, 0.0, -np.inf)
    assert (ops.scaled_dot_product_attention(q, k, v, added) == out).all()
    with pytest.raises(ShapeError):
        ops.scaled_dot_product_attention(q, k, v, mask.T)


def test_a_mask_of_numbers_has_a_gradient():
    arrays = made(0, (2, 3, 4), (2, 3, 4), (2, 3, 4), (3, 3))
    tz.testing.check_gradients(ops.scaled_dot_product_attention, *arrays)


def test_dropout_drops_weights_by_its_key():
    q, k, v = made(0, (40, 4), (50, 4), (50, 50))
    v[:] = np.eye(50)  # the result is the weights
    key = tz.draw_key(np.random.default_rng(0))
    weights = ops.scaled_dot_product_attention(q, k, v)
    dropped = ops.scaled_dot_product_attention(q, k, v, None, 0.25, dropout_key=key)
    assert 0.2 < (dropped == 0).mean() < 0.3
    np.testing.assert_allclose(dropped[dropped > 0], weights[dropped > 0] / 0.75)
    with pytest.raises(UsageError, match=r"dropout_p=0.25 needs a key: write dropout_key=tinygrad_zoo\.draw_key"):
        ops.scaled_dot_product_attention(q, k, v, None, 0.25)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("causal", [False, True])
def test_float32_is_near_torchs_tiles(causal):
    arrays = made(0, (2, 3, 130, 64), (2, 3, 130, 64), (2, 3, 130, 64), dtype="float32")
    g = made(1, (2, 3, 130, 64), dtype="float32")[0]
    leaves = [torch.tensor(x, requires_grad=True) for x in arrays]
    out = torch.nn.functional.scaled_dot_product_attention(*leaves, is_causal=causal)
    out.backward(torch.tensor(g))
    expected = [out.detach().numpy(), *(x.grad.numpy() for x in leaves)]
    near(all_of(ops.flash_attention, arrays, g, is_causal=causal), expected, 1e-5)


def test_bad_calls_say_what_to_write():
    x = np.ones((2, 3, 4))
    flash, whole = ops.flash_attention, ops.scaled_dot_product_attention
    for op in (flash, whole):
        with pytest.raises(ShapeError, match=r"rows of different length.*write x\.mT"):
            op(x, x.swapaxes(1, 2), x)
        with pytest.raises(ShapeError, match="a value for each key"):
            op(x, x, x[:, :2])
        with pytest.raises(ShapeError, match=r"expected .…, N, D"):
            op(x[0, 0], x, x)
    with pytest.raises(ShapeError, match=r"write x.expand"):
        flash(x, x[:1], x[:1])
    with pytest.raises(ShapeError, match=r"key_padding_mask of shape \(2, 3\), got \(3,\)"):
        flash(x, x, x, np.ones(3, bool))
    with pytest.raises(DTypeError, match="True for keys to be ignored"):
        flash(x, x, x, np.ones((2, 3)))
    with pytest.raises(UsageError, match="block_q=0"):
        flash(x, x, x, block_q=0)
    with pytest.raises(DTypeError, match="booleans or floating point, got int64"):
        whole(x, x, x, np.ones((3, 3), np.int64))
    with pytest.raises(ShapeError, match="enable_gqa expects"):
        whole(x, np.ones((3, 3, 4)), np.ones((3, 3, 4)), enable_gqa=True)
    with pytest.raises(UsageError, match="0 <= dropout_p <= 1"):
        whole(x, x, x, dropout_p=1.5)


# ---- the softmax from parts
@given(seed=st.integers(0, 999), cuts=st.tuples(st.integers(0, 9), st.integers(0, 9)), spread=st.sampled_from([1, 1e4]))
def test_merging_is_associative_and_order_does_not_matter(seed, cuts, spread):
    scores, values = made(seed, (4, 9), (9, 3))
    scores *= spread
    scores[np.random.default_rng(seed).random(scores.shape) < 0.3] = -np.inf
    low, high = sorted(cuts)
    a, b, c = (SoftmaxState.of(scores[:, i:j], values[i:j]) for i, j in ((0, low), (low, high), (high, 9)))
    whole = SoftmaxState.of(scores, values)
    for state in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)):
        for found, expected in zip(state, whole, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-13)
    assert (whole.result()[np.isinf(scores).all(axis=1)] == 0).all()


def test_a_state_has_gradients():
    def by_parts(scores, values):
        parts = [SoftmaxState.of(scores[:, i : i + 2], values[i : i + 2]) for i in range(0, 5, 2)]
        return functools.reduce(SoftmaxState.merge, parts).result()

    tz.testing.check_gradients(by_parts, *made(0, (3, 5), (5, 2)))


def test_online_softmax_is_softmax_for_every_block():
    (x,) = made(0, (3, 10), spread=1e3)
    for block in (1, 3, 10, 99):
        np.testing.assert_allclose(ops.online_softmax(x, block=block), ops.softmax(x), rtol=1e-13, atol=0)


# ---- in linear time
@pytest.mark.parametrize("kind", ["elu", "cosine"])
@pytest.mark.parametrize("chunk", [1, 3, 64])
def test_chunks_and_steps_are_the_parallel_form(kind, chunk):
    q, k, v = made(0, (2, 7, 4), (2, 7, 4), (2, 7, 3))
    out = ops.linear_attention(q, k, v, kind=kind, is_causal=True, chunk=chunk)
    state, steps = LinearAttentionState.start(kind), []
    for t in range(7):
        token, state = state.step(q[:, t], k[:, t], v[:, t])
        steps.append(token)
    np.testing.assert_allclose(out, np.stack(steps, axis=1), rtol=1e-12)
    last = ops.linear_attention(q[:, -1:], k, v, kind=kind)
    np.testing.assert_allclose(out[:, -1:], last, rtol=1e-12)


@pytest.mark.parametrize("kind", ["elu", "cosine"])
def test_no_output_knows_what_comes_later(kind):
    q, k, v = made(0, (9, 4), (9, 4), (9, 3))
    before = ops.linear_attention(q, k, v, kind=kind, is_causal=True, chunk=4)
    for x in (q, k, v):
        x[6:] += 1
    after = ops.linear_attention(q, k, v, kind=kind, is_causal=True, chunk=4)
    assert (before[:6] == after[:6]).all() and (before[6:] != after[6:]).all()


@pytest.mark.parametrize("kind", ["elu", "softmax", "cosine"])
def test_weights_sum_to_one(kind):
    q, k = made(0, (5, 4), (6, 4))
    np.testing.assert_allclose(ops.linear_attention(q, k, np.ones((6, 1)), kind=kind), 1, rtol=1e-12)


@pytest.mark.parametrize(
    ("kind", "causal"),
    [("elu", False), ("elu", True), ("softmax", False), ("cosine", False), ("cosine", True)],
)
def test_no_array_grows_with_the_square(kind, causal):
    n = 4096
    x = made(0, (n, 8), dtype="float32")[0]
    assert peak(lambda: all_of(ops.linear_attention, [x, x, x], x, kind=kind, is_causal=causal)) < n * n


def test_what_linear_attention_refuses():
    x = np.ones((3, 4))
    with pytest.raises(UsageError, match="see those behind it: write kind='elu'"):
        ops.linear_attention(x, x, x, kind="softmax", is_causal=True)
    with pytest.raises(UsageError, match="kind='relu': expected one of elu, softmax, cosine"):
        ops.linear_attention(x, x, x, kind="relu")
    with pytest.raises(UsageError, match="expected 'elu' or 'cosine'"):
        LinearAttentionState.start("softmax")
    with pytest.raises(ShapeError, match="as many queries as keys"):
        ops.linear_attention(x[:2], x, x, is_causal=True)
    with pytest.raises(ShapeError, match=r"expected .…, N, D"):
        ops.linear_attention(x, x, x[:2])


def test_attention_by_weights_is_right_itself():
    """The oracle above, by a row worked out by hand."""
    q, k, v, g = (np.array(x)[None, None] for x in ([[1.0]], [[0.0], [math.log(3)]], [[4.0], [8.0]], [[1.0]]))
    out, gq, _, gv = attention_by_weights(q, k, v, g, None, False, 1.0)
    assert out.item() == pytest.approx(7) and gv.ravel() == pytest.approx([0.25, 0.75])
    assert gq.item() == pytest.approx(math.log(3) * 0.75 * (8 - 7))

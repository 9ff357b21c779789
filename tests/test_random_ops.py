"""Keyed random ops: their distribution, their independence of dtype and layout, and their replay in a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.distributions import Distribution, Independent, MultivariateNormal, Normal
from tinygrad_zoo.ops.random import random_bits, recorded_draws, replayed_draws
from tinygrad_zoo.testing import op_laws


def key(seed: int = 0) -> Any:
    return tz.draw_key(np.random.default_rng(seed))


@pytest.mark.parametrize("name", ["standard_normal", "standard_uniform"])
def test_the_laws_hold(name: str) -> None:
    for seed in range(5):
        assert op_laws(getattr(ops, name), seed).laws["forward"] >= 4


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_normal_numbers(dtype: str) -> None:
    x = ops.standard_normal(key(1), (100_000,), dtype)
    assert x.dtype == dtype and np.isfinite(x).all()
    wide = x.astype(np.float64)
    if dtype != "float16":  # whose steps the test would see
        assert stats.kstest(wide, stats.norm.cdf).pvalue > 1e-3
    assert abs(wide.mean()) < 0.015 and abs(wide.std() - 1) < 0.01 and abs(stats.kurtosis(wide)) < 0.08
    first, second = wide[:50_000], wide[50_000:]  # the cosines and the sines of the same pairs
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.02 and abs(np.corrcoef(first**2, second**2)[0, 1]) < 0.02
    assert abs(np.corrcoef(wide[:-1], wide[1:])[0, 1]) < 0.02


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers(dtype: str) -> None:
    x = ops.standard_uniform(key(2), (100_000,), dtype)
    assert x.dtype == dtype and (x >= 0).all() and (x < 1).all()
    if dtype != "float16":
        assert stats.kstest(x, stats.uniform.cdf).pvalue > 1e-3
    counts = np.bincount((x.astype(np.float64) * 64).astype(int), minlength=64)
    assert stats.chisquare(counts).pvalue > 1e-3


def test_a_narrower_dtype_rounds_the_same_numbers() -> None:
    half, single, double = (ops.standard_uniform(key(), (999,), d) for d in ("float16", "float32", "float64"))
    np.testing.assert_array_equal(single, np.floor(double * 2**24) * 2.0**-24)
    np.testing.assert_array_equal(half, np.floor(double * 2**11) * 2.0**-11)
    # Normal numbers: 32 bits of u and v against 53; the angle's error of 2π 2⁻³³ times the radius, below 7.
    single, double = (ops.standard_normal(key(), (999,), d) for d in ("float32", "float64"))
    np.testing.assert_allclose(single, double, rtol=1e-6, atol=1e-7)


def test_the_least_and_greatest_words_give_finite_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from tinygrad_zoo.ops import random

    for word in (0, 2**32 - 1):
        monkeypatch.setattr(random, "random_bits", lambda key, size, word=word: np.full(size, word, np.uint64))
        for dtype in ("float16", "float32", "float64"):
            x, u = ops.standard_normal(key(), (4,), dtype), ops.standard_uniform(key(), (4,), dtype)
            assert np.isfinite(x).all() and (np.abs(x) < 9).all() and (u >= 0).all() and (u < 1).all()


def test_numbers_are_a_function_of_the_key_and_its_prefix_of_the_size() -> None:
    for op in (ops.standard_normal, ops.standard_uniform):
        a, b, other = op(key(0), (2, 3)), op(key(0), (2, 3)), op(key(1), (2, 3))
        assert a.tobytes() == b.tobytes() != other.tobytes() and a.shape == (2, 3)
        assert op(key(), ()).shape == () and op(key(), 3).shape == (3,) and op(key(), (0, 2)).shape == (0, 2)
        through = op(tz.tensor(key(0)), (2, 3))
        assert type(through) is tz.Tensor and not through.requires_grad and through.data.tobytes() == a.tobytes()
    assert random_bits(key(), 5).tolist() == random_bits(key(), 9)[:5].tolist()


def test_the_stand_in_for_a_device_gives_the_same_bits() -> None:
    there = tz.tensor(key()).to("cupysim")
    for op in (ops.standard_normal, ops.standard_uniform):
        assert op(there, (2, 3), "float64").device.startswith("cupysim")
        np.testing.assert_array_equal(op(there, (2, 3), "float64").numpy(), op(key(), (2, 3), "float64"))


# ---- what a checkpoint replays


def test_draws_are_recorded_and_given_out_again() -> None:
    rng, drawn = np.random.default_rng(0), []  # type: ignore[var-annotated]
    with recorded_draws(drawn):
        first = [tz.draw_key(rng).tolist(), tz.randn(2, rng=rng).tolist()]
    state = rng.bit_generator.state
    with replayed_draws(drawn):
        again = [tz.draw_key(rng).tolist(), tz.randn(2, rng=rng).tolist()]
    assert first == again and rng.bit_generator.state == state and len(drawn) == 2


def test_what_is_done_to_a_draw_does_not_change_its_replay() -> None:
    rng, drawn = np.random.default_rng(0), []  # type: ignore[var-annotated]
    with recorded_draws(drawn):
        x = tz.randn(2, rng=rng, dtype="float64")
    expected = x.tolist()
    x.data[...] = 0
    with replayed_draws(drawn):
        assert tz.randn(2, rng=rng, dtype="float64").tolist() == expected


TRIL = np.array([[1.0, 0.0], [0.5, 2.0]])


@pytest.mark.parametrize(
    "make",
    [
        lambda loc: Normal(loc, 2.0),
        lambda loc: Independent(Normal(loc, tz.ones(2, dtype="float64")), 1),
        lambda loc: MultivariateNormal(loc, TRIL),
    ],
    ids=["Normal", "Independent", "MultivariateNormal"],
)
def test_a_checkpointed_rsample_has_the_gradient_of_a_plain_one(make: Callable[[Any], Distribution]) -> None:
    def loss(loc: Any, rng: np.random.Generator) -> Any:
        return (make(loc).rsample((5,), rng=rng) ** 3).sum()

    a, b = (tz.tensor(np.array([0.5, -1.0]), requires_grad=True) for _ in range(2))
    rng = np.random.default_rng(7)
    tz.checkpoint(lambda loc: loss(loc, rng), a).backward()
    loss(b, np.random.default_rng(7)).backward()
    assert a.grad.tolist() == b.grad.tolist()
    assert (a.grad.numpy() != 0).all()


def test_samples_are_those_of_scipys_distributions() -> None:
    rng = np.random.default_rng(0)
    x = Normal(1.0, 3.0).sample((50_000,), rng=rng).numpy()
    assert stats.kstest(x, stats.norm(1, 3).cdf).pvalue > 1e-3
    y = MultivariateNormal(np.zeros(2), TRIL).sample((50_000,), rng=rng).numpy()
    radius = (np.linalg.solve(TRIL, y.T) ** 2).sum(axis=0)
    assert stats.kstest(radius, stats.chi2(2).cdf).pvalue > 1e-3
    assert math.isclose(np.corrcoef(y.T)[0, 1], 0.5 / math.sqrt(0.25 + 4), abs_tol=0.02)

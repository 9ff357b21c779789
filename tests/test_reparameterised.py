"""Gumbel-softmax and gamma samples as functions of their parameters: values, gradients, limits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.distributions import Beta, Dirichlet, Gamma
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.nn import functional as F

torch = oracles.load("torch")

LOGITS = np.random.default_rng(0).standard_normal((5, 4))


def key(seed: int = 0) -> Any:
    return tz.draw_key(np.random.default_rng(seed))


# ---- Gumbel noise
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_gumbel_numbers(dtype: str) -> None:
    x = ops.standard_gumbel(key(1), (50_000,), dtype)
    assert x.dtype == dtype and np.isfinite(x).all()
    if dtype != "float16":  # whose steps the test would see
        assert stats.kstest(x.astype(np.float64), stats.gumbel_r.cdf).pvalue > 1e-3


def test_the_least_and_greatest_words_give_finite_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """u = 0 and u = 1 would be infinite."""
    from tinygrad_zoo.ops import random

    for word in (0, 2**32 - 1):
        monkeypatch.setattr(random, "random_bits", lambda key, size, word=word: np.full(size, word, np.uint64))
        for dtype in ("float16", "float32", "float64"):
            g = ops.standard_gumbel(key(), (4,), dtype)
            assert np.isfinite(g).all() and (np.abs(g) < 40).all()
            z = ops.standard_gamma(np.full(4, 0.5, dtype), key())
            assert np.isfinite(z).all() and (z > 0).all()


# ---- Gumbel-softmax
def test_soft_values_are_a_softmax_of_logits_and_noise() -> None:
    y = F.gumbel_softmax(LOGITS, key(), tau=0.7)
    noise = ops.standard_gumbel(key(), LOGITS.shape, "float64")
    np.testing.assert_allclose(y, special.softmax((LOGITS + noise) / 0.7, axis=-1), rtol=1e-12)
    # Rows of one batch have noise of their own.
    assert len(np.unique(F.gumbel_softmax(np.zeros((50, 4)), key()).round(12), axis=0)) == 50


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("axis", [-1, 0])
def test_values_and_gradients_of_torch_with_the_same_noise(
    hard: bool, axis: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch's noise is -log of exponential numbers, which here are exp(-g)."""
    noise = torch.tensor(ops.standard_gumbel(key(), LOGITS.shape, "float64"))
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(torch.exp(-noise)))
    theirs = torch.tensor(LOGITS, requires_grad=True)
    expected = torch.nn.functional.gumbel_softmax(theirs, tau=0.6, hard=hard, dim=axis)
    mine = tz.tensor(LOGITS, requires_grad=True)
    y = F.gumbel_softmax(mine, key(), tau=0.6, hard=hard, axis=axis)
    np.testing.assert_allclose(y.numpy(), expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    weights = np.random.default_rng(1).standard_normal(LOGITS.shape)
    (y * weights).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    assert np.abs(mine.grad.numpy()).max() > 0.01
    np.testing.assert_allclose(mine.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_hard_values_are_exactly_one_hot_and_their_gradient_that_of_the_soft_ones(device: str, dtype: str) -> None:
    where = tz.tensor(key()).to(device)
    gradients, values = [], []
    for hard in (False, True):
        x = tz.tensor(LOGITS, dtype, device, requires_grad=True)
        y = F.gumbel_softmax(x, where, tau=0.5, hard=hard)
        (y * tz.tensor(np.arange(4.0), dtype, device)).sum().backward()
        gradients.append(x.grad.numpy())
        values.append(y.numpy())
    soft, one_hot = values
    assert np.array_equal(one_hot, np.eye(4)[soft.argmax(axis=-1)]) and one_hot.dtype == dtype
    assert np.array_equal(*gradients) and np.abs(gradients[0]).max() > 0
    assert F.gumbel_softmax(LOGITS, key(), hard=True, axis=0).sum(axis=0).tolist() == [1.0] * 4


def test_a_second_derivative_through_hard_values_is_that_of_the_soft_ones() -> None:
    def second(hard: bool) -> Any:
        x = tz.tensor(LOGITS)
        return tz.hvp(lambda x: (F.gumbel_softmax(x, key(), hard=hard) * np.arange(4.0)).sum(), x, tz.ones_like(x) * x)

    np.testing.assert_allclose(second(True).numpy(), second(False).numpy(), rtol=1e-12)


def test_hard_values_are_samples_of_the_categories() -> None:
    p = np.array([0.1, 0.2, 0.3, 0.4])
    y = F.gumbel_softmax(np.log(np.broadcast_to(p, (20_000, 4))), key(3), tau=0.3, hard=True)
    assert stats.chisquare(y.sum(axis=0), 20_000 * p).pvalue > 1e-3


def test_the_limits_of_the_temperature() -> None:
    cold, hot = (F.gumbel_softmax(LOGITS, key(), tau=tau) for tau in (1e-3, 1e4))
    assert np.allclose(cold, F.gumbel_softmax(LOGITS, key(), hard=True), atol=1e-6)
    assert np.allclose(hot, 0.25, atol=1e-2)


def test_a_softmax_that_is_only_annealed_does_not_sample() -> None:
    """Without noise a low temperature takes the likeliest category always: nothing else is ever tried."""
    p = np.array([0.4, 0.35, 0.25])
    logits = np.log(np.broadcast_to(p, (1000, 3)))
    annealed = ops.softmax(logits / 0.01).argmax(axis=-1)
    drawn = F.gumbel_softmax(logits, key(), tau=0.01).argmax(axis=-1)
    assert np.bincount(annealed, minlength=3).tolist() == [1000, 0, 0]
    assert stats.chisquare(np.bincount(drawn, minlength=3), 1000 * p).pvalue > 1e-3


def test_errors() -> None:
    with pytest.raises(UsageError, match="expected tau > 0, got tau=0"):
        F.gumbel_softmax(LOGITS, key(), tau=0)
    with pytest.raises(DTypeError, match=r"write key=tinygrad_zoo\.draw_key"):
        F.gumbel_softmax(LOGITS, LOGITS)
    with pytest.raises(ShapeError, match=r"key of shape \(4,\)"):
        ops.standard_gamma(np.ones(3), key()[:2])
    with pytest.raises(UsageError, match="expected concentration > 0, got 0"):
        ops.standard_gamma(np.zeros(3), key())


# ---- gamma samples
CONCENTRATIONS = np.array([0.003, 0.05, 0.3, 1.0, 2.5, 10.0, 200.0, 5000.0])
QUANTILES = np.array([1e-6, 1e-3, 0.1, 0.5, 0.9, 0.999, 1 - 1e-6])


def implicit(a: Any, z: Any) -> Any:
    """-∂F/∂α / p by differences of SciPy's regularised incomplete gamma function, the smaller of the two."""
    h = 1e-4 * a
    low = special.gammainc(a, z) < 0.5
    at = [np.where(low, special.gammainc(a + k * h, z), -special.gammaincc(a + k * h, z)) for k in (-2, -1, 1, 2)]
    return -(at[0] - 8 * at[1] + 8 * at[2] - at[3]) / (12 * h) / stats.gamma(a).pdf(z)


def test_the_implicit_gradient_over_all_concentrations_and_quantiles() -> None:
    a, u = (x.ravel() for x in np.meshgrid(CONCENTRATIONS, QUANTILES))
    z = special.gammaincinv(a, u)
    there = (z > 1e-280) & (np.abs(z - a) > 0)
    a, z = a[there], z[there]
    np.testing.assert_allclose(ops.standard_gamma_grad(a, z), implicit(a, z), rtol=1e-6)
    single = [x[z > 1e-37].astype(np.float32) for x in (a, z)]
    exact = ops.standard_gamma_grad(*(x.astype(np.float64) for x in single))
    np.testing.assert_allclose(ops.standard_gamma_grad(*single), exact, rtol=3e-3)


@pytest.mark.oracle("torch")
def test_the_implicit_gradient_of_torch() -> None:
    """Whose own is an approximation of some four digits."""
    a, u = (x.ravel() for x in np.meshgrid([0.05, 0.3, 1.0, 2.5, 10.0, 200.0], [0.01, 0.3, 0.6, 0.99]))
    z = special.gammaincinv(a, u)
    theirs = torch._standard_gamma_grad(torch.tensor(a), torch.tensor(z)).numpy()
    np.testing.assert_allclose(ops.standard_gamma_grad(a, z), theirs, rtol=2e-3)


def test_samples_are_the_quantiles_of_the_noise() -> None:
    z = ops.standard_gamma(np.full(20_000, 0.7, np.float32), key())
    assert z.dtype == "float32" and stats.kstest(z.astype(np.float64), stats.gamma(0.7).cdf).pvalue > 1e-3
    small = ops.standard_gamma(np.full(100, 1e-3, np.float32), key())
    assert (small > 0).all() and np.isfinite(ops.standard_gamma_grad(np.full(100, 1e-3, np.float32), small)).all()


@pytest.mark.parametrize("a", [0.5, 3.0])
def test_gradients_of_expectations_are_unbiased(a: float) -> None:
    """d/dα E f(z) against closed forms: E z = α/β, E z² = α(α+1)/β², E log z = ψ(α) - log β; of x ~ Beta(a, 2), too."""
    n = 20_000

    def slopes(draw: Any, f: Any) -> Any:
        alpha = tz.tensor(np.full(n, a), requires_grad=True)
        f(draw(alpha)).sum().backward()
        return alpha.grad.numpy()

    def gamma(alpha: Any) -> Any:
        return Gamma(alpha, 2.0).rsample(rng=np.random.default_rng(0))

    def beta(alpha: Any) -> Any:
        return Beta(alpha, 2.0).rsample(rng=np.random.default_rng(0))

    def dirichlet(alpha: Any) -> Any:
        both = tz.stack([alpha, 0 * alpha + 2.0, 0 * alpha + 1.0], axis=-1)
        return Dirichlet(both).rsample(rng=np.random.default_rng(0))[..., 1]

    for draw, f, exact in (
        (gamma, lambda z: z, 1 / 2),
        (gamma, lambda z: z * z, (2 * a + 1) / 4),
        (gamma, ops.log, special.polygamma(1, a)),
        (beta, lambda x: x, 2 / (a + 2) ** 2),
        (beta, ops.log, special.polygamma(1, a) - special.polygamma(1, a + 2)),
        (dirichlet, lambda x: x, -2 / (a + 3) ** 2),
        (dirichlet, ops.log, -special.polygamma(1, a + 3)),
    ):
        found = slopes(draw, f)
        assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(n)


def test_implicit_gradients_of_a_beta_given_its_sample() -> None:
    """The mean of dx/da over the samples near x is -(∂F/∂a) / p of the beta distribution there."""
    n, a, b = 40_000, 2.0, 3.0
    alpha = tz.tensor(np.full(n, a), requires_grad=True)
    x = Beta(alpha, b).rsample(rng=np.random.default_rng(2))
    x.sum().backward()
    values, slopes = x.numpy(), alpha.grad.numpy()
    h = 1e-5
    for low, high in ((0.1, 0.15), (0.35, 0.4), (0.7, 0.75)):
        near = (values > low) & (values < high)
        exact = -(special.betainc(a + h, b, values) - special.betainc(a - h, b, values)) / (2 * h)
        exact = (exact / stats.beta(a, b).pdf(values))[near]
        error = slopes[near] - exact
        assert near.sum() > 500 and abs(error.mean()) < 4 * error.std() / np.sqrt(near.sum())

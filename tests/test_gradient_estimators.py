"""Estimators of ∇ E f(z): against enumeration and closed forms, their variances, and that f stays a black box."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import gradient_estimators as estimators
from tinygrad_zoo import ops
from tinygrad_zoo.distributions import Categorical, Distribution, Independent, Normal
from tinygrad_zoo.errors import GradientError, ShapeError, UsageError
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

torch = oracles.load("torch")

N = 20_000
LOGITS = np.random.default_rng(0).standard_normal(6)
VALUES = np.random.default_rng(1).standard_normal(6) + 5  # a large mean, which a baseline takes away


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def black_box(z: Any) -> Any:
    """VALUES[z], in NumPy: no gradient could pass."""
    return VALUES[z.numpy()]


def exact() -> Any:
    """∇ Σ p_k f_k by enumeration."""
    logits = tz.tensor(LOGITS, requires_grad=True)
    (ops.softmax(logits) * VALUES).sum().backward()
    return logits.grad.numpy()


def singles(estimate: Callable[[Distribution], Any], n: int = N, logits: Any = LOGITS) -> Any:
    """n independent estimates (n, 6): a batch of n equal distributions, whose estimates do not mix."""
    x = tz.tensor(np.broadcast_to(logits, (n, len(logits))).copy(), requires_grad=True)
    estimate(Categorical(logits=x)).sum().backward()
    return x.grad.numpy()


ESTIMATES: dict[str, Callable[[Distribution], Any]] = {
    "score_function": lambda d: estimators.score_function(black_box, d, rng=rng()),
    "score_function of 3": lambda d: estimators.score_function(black_box, d, 3, rng=rng()),
    "with a baseline": lambda d: estimators.score_function(black_box, d, baseline=5.0, rng=rng()),
    "rloo of 2": lambda d: estimators.rloo(black_box, d, 2, rng=rng()),
    "rloo of 5": lambda d: estimators.rloo(black_box, d, 5, rng=rng()),
}


def bias_in_errors(found: Any) -> Any:
    """By how many standard errors the mean of estimates is off, for each parameter."""
    return np.abs(found.mean(axis=0) - exact()) / (found.std(axis=0) / np.sqrt(len(found)))


@pytest.mark.parametrize("name", ESTIMATES)
def test_unbiased_against_enumeration(name: str) -> None:
    found = singles(ESTIMATES[name])
    assert (bias_in_errors(found) < 3).all()
    assert found.std(axis=0).min() > 0.01  # estimates that do not vary would be no estimates


def test_a_baseline_of_the_same_samples_is_biased() -> None:
    """The mean of the n values themselves shrinks the gradient by (n - 1) / n, and advantages of one sample vanish."""

    def contaminated(n: int) -> Any:
        def estimate(d: Distribution) -> Any:
            z = d.sample((n,), rng=rng())
            values = black_box(z)
            return ((values - values.mean(axis=0)) * d.log_prob(z)).mean(axis=0)

        return singles(estimate)

    assert bias_in_errors(contaminated(2)).max() > 10
    assert not contaminated(1).any()
    np.testing.assert_allclose(2 * contaminated(2), singles(ESTIMATES["rloo of 2"]), atol=1e-12)


def scores_of(index: int, n: int, seed: int) -> tuple[Any, Any]:
    """Values f(z_i), and the scores of one logit, onehot(z_i) - p there."""
    d = Categorical(logits=LOGITS)
    z = d.sample((n,), rng=rng(seed)).numpy()
    return VALUES[z], (z == index) - d.probs.numpy()[index]


def test_the_optimal_baseline_has_the_least_variance() -> None:
    p, index = np.exp(LOGITS) / np.exp(LOGITS).sum(), int(LOGITS.argmax())
    s = (np.arange(6) == index) - p[index]
    best = (p * VALUES * s**2).sum() / (p * s**2).sum()
    b = float(estimators.optimal_baseline(*scores_of(index, 50_000, 0)))
    assert b == pytest.approx(best, abs=0.05)

    def variance(b: float) -> float:
        return float(singles(lambda d: estimators.score_function(black_box, d, baseline=b, rng=rng()))[:, index].var())

    with_it, plain = variance(b), variance(0.0)
    print(f"variance: plain {plain:.3f}, with b* {with_it:.4f}: {plain / with_it:.0f} times less")
    assert plain >= 3 * with_it
    assert with_it < variance(b + 0.5) and with_it < variance(b - 0.5)
    spread = ((VALUES - best) ** 2 * s**2 * p).sum() - ((VALUES - best) * s * p).sum() ** 2  # by enumeration
    assert with_it == pytest.approx(spread, rel=0.05)


def test_leave_one_out_takes_most_of_the_variance() -> None:
    plain, left_out = (singles(ESTIMATES[name]).var(axis=0).sum() for name in ("score_function", "rloo of 5"))
    assert plain / 5 >= 3 * left_out  # of five samples each


def test_a_baseline_is_no_broader_than_the_batch() -> None:
    """(B, 1) beside (n, B) would weigh each sample by the baselines of all: a number, (B,) or (n, B) do not."""
    normal, n = Normal(tz.tensor(np.zeros(3), requires_grad=True), 1.0), 2
    f = lambda z: z * z + 1.0
    said = r"score_function: baseline is .* the batch \(3,\), .* a sample \(2, 3\), got"
    for shape in ((3, 1), (1, 3), (2, 1), (2,), (4,), (1, 2, 3)):
        with pytest.raises(ShapeError, match=said):
            estimators.score_function(f, normal, n, baseline=np.ones(shape), rng=rng())
    z = normal.sample((n,), rng=rng())
    expected = ((f(z) - 1.0) * normal.log_prob(z)).mean(axis=0).numpy()
    for ones in (1.0, np.ones(1), np.ones(3), tz.ones(n, 3, dtype="float64")):
        found = estimators.score_function(f, normal, n, baseline=ones, rng=rng())
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)


# ---- against the pathwise estimator: f = z² of z ~ N(2, 1)
def normal_estimates(estimate: Callable[..., Any], f: Any, mu: float = 2.0, n: int = 100_000) -> Any:
    loc = tz.tensor(np.full(n, mu), requires_grad=True)
    estimate(f, Normal(loc, np.ones(())), rng=rng()).sum().backward()
    return loc.grad.numpy()


def test_variances_of_both_have_their_closed_forms() -> None:
    """Of f = z² at N(μ, 1): the pathwise one 2z has variance 4; z²(z - μ) has μ⁴ + 14 μ² + 15."""
    path = normal_estimates(estimators.pathwise, ops.square)
    score = normal_estimates(estimators.score_function, ops.square)
    for found in (path, score):
        assert abs(found.mean() - 4) < 3 * found.std() / np.sqrt(len(found))
    assert path.var() == pytest.approx(4, rel=0.05)
    assert score.var() == pytest.approx(2**4 + 14 * 2**2 + 15, rel=0.05)
    assert score.var() >= 10 * path.var()


def test_variances_of_a_shifted_square() -> None:
    """Of f = (z - c)²: with d = μ - c the same forms in d."""
    shifted = normal_estimates(estimators.score_function, lambda z: ops.square(z - 1.0), 2.5)
    assert shifted.var() == pytest.approx(1.5**4 + 14 * 1.5**2 + 15, rel=0.05)
    assert normal_estimates(estimators.pathwise, lambda z: ops.square(z - 1.0), 2.5).var() == pytest.approx(4, rel=0.05)


def test_a_control_variate_takes_variance_and_adds_no_bias() -> None:
    """f = z³ at N(μ, 1), less its Taylor polynomial c of degree 2, plus E c: what is left has the variance 96."""
    mu = 2.0

    def estimate(f: Any, q: Normal, rng: np.random.Generator) -> Any:
        c = lambda z: mu**3 + 3 * mu**2 * (z - mu) + 3 * mu * (z - mu) ** 2
        rest = estimators.score_function(lambda z: f(z) - c(z), q, rng=rng)
        return rest + mu**3 + 3 * mu**2 * (q.mean - mu) + 3 * mu * ((q.mean - mu) ** 2 + q.variance)

    plain, controlled = (normal_estimates(by, lambda z: z**3, mu) for by in (estimators.score_function, estimate))
    for found in (plain, controlled):
        assert abs(found.mean() - (3 * mu**2 + 3)) < 3 * found.std() / np.sqrt(len(found))
    assert controlled.var() == pytest.approx(96, rel=0.2)  # of ε⁴
    assert plain.var() >= 10 * controlled.var()


@pytest.mark.oracle("torch")
def test_pathwise_is_torchs_rsample_with_the_same_noise() -> None:
    loc, scale = (tz.tensor(np.array(v), requires_grad=True) for v in ([0.5, -1.0], [0.7, 2.0]))
    estimators.pathwise(lambda z: ops.sin(z) * z, Normal(loc, scale), 5, rng=rng()).sum().backward()
    noise = Normal(np.zeros(2), np.ones(2)).sample((5,), rng=rng()).numpy()
    theirs = [torch.tensor(x.numpy(), requires_grad=True) for x in (loc, scale)]
    z = theirs[0] + theirs[1] * torch.tensor(noise)
    (torch.sin(z) * z).mean(0).sum().backward()
    for a, b in zip((loc, scale), theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12)


# ---- f is a black box
def test_no_gradient_goes_through_f() -> None:
    """A parameter inside f gets none, and f sees samples without a graph."""
    inside = tz.tensor(3.0, requires_grad=True)

    def f(z: Any) -> Any:
        assert not z.requires_grad and not tz.is_grad_enabled()
        return ops.square(z * inside)

    for estimate in (estimators.score_function, estimators.rloo):
        loc = tz.tensor(np.zeros(4), requires_grad=True)
        estimate(f, Normal(loc, np.ones(())), 2, rng=rng()).sum().backward()
        assert inside.grad is None and (loc.grad.numpy() != 0).all()


def test_a_baseline_gets_no_gradient() -> None:
    b = tz.tensor(3.0, requires_grad=True)
    loc = tz.tensor(np.zeros(4), requires_grad=True)
    estimators.score_function(ops.square, Normal(loc, 1.0), baseline=b, rng=rng()).sum().backward()
    assert b.grad is None


def test_events_are_counted_once() -> None:
    loc = tz.tensor(np.zeros((4, 3)), requires_grad=True)
    vectors = Independent(Normal(loc, np.ones(3)), 1)
    for estimate in (estimators.score_function, estimators.rloo, estimators.pathwise):
        assert estimate(lambda z: ops.square(z).sum(axis=-1), vectors, 2, rng=rng()).shape == (4,)
        with pytest.raises(ShapeError, match=r"one value a sample: \(2, 4\) for samples \(2, 4, 3\)"):
            estimate(ops.square, vectors, 2, rng=rng())


def test_steps_on_a_device_wait_for_nothing() -> None:
    there = tz.tensor(np.zeros(4), device="cupysim", requires_grad=True)
    one = tz.tensor(np.ones(4), device="cupysim")
    with forbid_sync():
        for estimate in (estimators.score_function, estimators.rloo, estimators.pathwise):
            estimate(ops.square, Normal(there, one), 2, rng=rng()).sum().backward()
    here = tz.tensor(np.zeros(4), requires_grad=True)
    for estimate in (estimators.score_function, estimators.rloo, estimators.pathwise):
        estimate(ops.square, Normal(here, np.ones(4)), 2, rng=rng()).sum().backward()
    np.testing.assert_allclose(there.grad.numpy(), here.grad.numpy(), rtol=1e-12)


# ---- straight through
def test_straight_through_has_the_values_of_one_and_the_gradient_of_the_other() -> None:
    x = tz.tensor([0.1, 0.7, -2.3], "float64", requires_grad=True)
    hard = ops.round(ops.sigmoid(x))
    y = estimators.straight_through(hard, ops.sigmoid(x))
    assert np.array_equal(y.numpy(), [1.0, 1.0, 0.0])
    (y * np.array([1.0, 2.0, 3.0])).sum().backward()
    s = 1 / (1 + np.exp(-x.numpy()))
    np.testing.assert_allclose(x.grad.numpy(), s * (1 - s) * [1, 2, 3], rtol=1e-12)


def test_errors() -> None:
    with pytest.raises(GradientError, match="Categorical: no rsample"):
        estimators.pathwise(lambda z: z, Categorical(logits=LOGITS), rng=rng())
    with pytest.raises(UsageError, match="rloo: expected n >= 2 samples, got n=1"):
        estimators.rloo(black_box, Categorical(logits=LOGITS), 1, rng=rng())
    with pytest.raises(UsageError, match="score_function: expected n >= 1 samples, got n=0"):
        estimators.score_function(black_box, Categorical(logits=LOGITS), 0, rng=rng())
    with pytest.raises(ShapeError, match=r"a score a value, \(n >= 1, …\), got \(2,\) and \(3,\)"):
        estimators.optimal_baseline(np.zeros(2), np.zeros(3))

"""Running means and moments, Robbins-Monro, Kiefer-Wolfowitz, SPSA, averaging, and the conditions on step sizes."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import backend
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.stochastic_approximation import (
    PowerSteps,
    RunningMean,
    RunningMoments,
    check_conditions,
    check_step_sizes,
    incremental_mean,
    kiefer_wolfowitz,
    last,
    polyak_average,
    robbins_monro,
    spsa,
)

sm = oracles.load("statsmodels")

OFFSET = 1e8


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def far_samples(n: int = 100_000) -> np.ndarray[Any, Any]:
    return OFFSET + rng().standard_normal((n, 2)) * np.array([1.0, 3.0])


# ---- means
def test_one_over_k_is_the_mean_so_far() -> None:
    x = rng().standard_normal((50, 3))
    for k, w in enumerate(incremental_mean(x), 1):
        np.testing.assert_allclose(w, x[:k].mean(axis=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("alpha", [0.01, 0.3, 1.0])
@pytest.mark.parametrize("start", [None, -2.0])
def test_a_constant_step_weighs_by_alpha_times_one_minus_alpha_to_the_age(alpha: float, start: float | None) -> None:
    x = rng(1).standard_normal(40)
    found = float(last(incremental_mean(x, alpha, start=start)))
    first = x[0] if start is None else start
    weights = alpha * (1 - alpha) ** np.arange(39, -1, -1)
    assert found == pytest.approx((weights * x).sum() + (1 - alpha) ** 40 * first, rel=1e-13)


def test_a_long_stream_is_never_held() -> None:
    """Only what is asked for is taken from it."""
    seen = iter(range(1, 5000))
    estimates = incremental_mean(float(k) for k in seen)
    for _ in range(1000):
        w = next(estimates)
    assert float(w) == 500.5 and next(seen) == 1001


def test_a_float32_stream_is_averaged_in_float64() -> None:
    x = np.full(3, 1 / 3, np.float32)
    mean = RunningMean()
    mean.update(np.float32(2**24) + x)
    for _ in range(2**10):
        mean.update(np.float32(2**24) + 2 + 0 * x)
    assert mean.mean.dtype == np.float64
    np.testing.assert_allclose(mean.mean, 2**24 + 2 * 2**10 / (2**10 + 1), rtol=1e-15)


def test_moments_far_from_zero_lose_no_digits() -> None:
    x = far_samples()
    mean, moments = RunningMean(), RunningMoments()
    for row in x:
        mean.update(row)
        moments.update(row)
    np.testing.assert_allclose(mean.mean, x.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(moments.mean, x.mean(axis=0), rtol=1e-12)
    for ddof in (0, 1):
        np.testing.assert_allclose(moments.variance(ddof), x.var(axis=0, ddof=ddof), rtol=1e-12)
    naive = (x * x).mean(axis=0) - x.mean(axis=0) ** 2
    assert (np.abs(naive / x.var(axis=0) - 1) > 1e-3).all()  # what sums of squares make of them


@pytest.mark.parametrize("cuts", [(1,), (10, 11, 400), (999,), tuple(range(50, 1000, 50))])
def test_merged_moments_are_those_of_the_whole(cuts: tuple[int, ...]) -> None:
    x = far_samples(1000)
    parts = [RunningMoments().extend(part) for part in np.split(x, cuts)]
    whole = RunningMoments()
    for part in parts:
        whole.merge(part)
    assert whole.count == 1000
    np.testing.assert_allclose(whole.mean, x.mean(axis=0), rtol=1e-15)
    np.testing.assert_allclose(whole.variance(1), x.var(axis=0, ddof=1), rtol=1e-12)
    whole.merge(RunningMoments())
    assert whole.count == 1000


@pytest.mark.parametrize("kind", [RunningMean, RunningMoments])
def test_an_array_that_is_written_again_is_no_part_of_the_mean(kind: Any) -> None:
    x, running = np.array([1.0, 2.0]), kind()
    running.update(x)
    x[:] = 5.0
    assert running.mean.tolist() == [1.0, 2.0]


def test_merge_does_not_change_the_other() -> None:
    other = RunningMoments().extend([1.0, 2.0])
    before = other.state_dict()
    RunningMoments().merge(other).update(100.0)
    RunningMoments().update(-5.0).merge(other).update(100.0)
    assert other.state_dict() == before


@pytest.mark.parametrize("kind", [RunningMean, RunningMoments])
def test_a_saved_state_goes_on_bitwise(kind: Any) -> None:
    x = rng(2).standard_normal((20, 4))
    whole, half, rest = kind(), kind(), kind()
    for row in x:
        whole.update(row)
    for row in x[:7]:
        half.update(row)
    rest.load_state_dict(half.state_dict())
    for row in x[7:]:
        rest.update(row)
    assert whole.count == rest.count == 20 and np.array_equal(whole.mean, rest.mean)
    empty = kind()
    empty.load_state_dict(kind().state_dict())
    assert np.array_equal(empty.update(x[0]).mean, x[0])


@pytest.mark.parametrize("kind", [RunningMean, RunningMoments])
def test_means_on_a_device(kind: Any) -> None:
    x = rng(3).standard_normal((9, 4))
    host, device = kind(), kind()
    for row in x[:5]:
        host.update(row)
        device.update(backend.to_device(row, "cupysim"))
    moved = kind()
    moved.load_state_dict(device.state_dict())
    for row in x[5:]:
        host.update(row)
        moved.update(backend.to_device(row, "cupysim"))
    assert backend.device_of(moved.mean) == "cupysim:0"
    np.testing.assert_allclose(backend.to_host(moved.mean), host.mean, rtol=1e-15)


def test_errors_of_means() -> None:
    with pytest.raises(UsageError, match="nothing was seen so far"):
        RunningMean().mean  # noqa: B018
    with pytest.raises(UsageError, match="nothing was seen so far"):
        RunningMoments().mean  # noqa: B018
    with pytest.raises(UsageError, match="1 seen, expected more than ddof=1"):
        RunningMoments().update(3.0).variance(1)
    with pytest.raises(ShapeError, match=r"expected an x of shape \(3,\), got \(\)"):
        RunningMean().update(np.zeros(3)).update(1.0)
    with pytest.raises(ShapeError, match=r"expected an x of shape \(\), got \(2,\)"):
        RunningMoments().update(1.0).update(np.zeros(2))
    with pytest.raises(ShapeError, match=r"the shapes \(2,\) and \(\) differ"):
        RunningMoments().update(np.zeros(2)).merge(RunningMoments().update(0.0))
    with pytest.raises(ShapeError, match=r"expected an array \(n >= 1, …\)"):
        RunningMoments().extend([])
    with pytest.raises(UsageError, match="expected a number > 0 or a function"):
        RunningMean(0.0)
    with pytest.raises(UsageError, match="no iterate is left after burn_in=1"):
        polyak_average([1.0], burn_in=1)
    with pytest.raises(UsageError, match="no iterates"):
        last([])


def test_a_constant_step_is_the_exponential_average_of_pandas() -> None:
    pd = pytest.importorskip("pandas")
    x = rng(4).standard_normal(300)
    for alpha in (0.05, 0.5):
        ours = np.array(list(incremental_mean(x, alpha)))
        theirs = pd.Series(x).ewm(alpha=alpha, adjust=False).mean().to_numpy()
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-14)
        # Pandas' adjusted weights are those of the step sizes α / (1 − (1 − α)^k).
        ours = np.array(list(incremental_mean(x, lambda k, a=alpha: a / (1 - (1 - a) ** k))))
        np.testing.assert_allclose(ours, pd.Series(x).ewm(alpha=alpha).mean().to_numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.oracle("statsmodels")
def test_a_constant_step_is_the_simple_exponential_smoothing_of_statsmodels() -> None:
    from statsmodels.tsa.holtwinters import SimpleExpSmoothing

    x = rng(5).standard_normal(200)
    fitted = SimpleExpSmoothing(x, initialization_method="known", initial_level=0.3).fit(
        smoothing_level=0.2, optimized=False
    )
    ours = np.array(list(incremental_mean(x, 0.2, start=0.3)))
    np.testing.assert_allclose(ours[:-1], fitted.fittedvalues[1:], rtol=1e-12, atol=1e-14)  # it forecasts the next


# ---- step sizes
def one_over_k_log(k: int) -> float:
    return 1 / (k * math.log(k + 1))


FAMILIES: list[tuple[Any, bool | None, bool | None]] = [  # Σ a_k = ∞, Σ a_k² < ∞
    (1.0, True, False),
    (PowerSteps(3.0, 0.0), True, False),
    (PowerSteps(3.0, 0.5), True, False),
    (PowerSteps(0.1, 0.51), True, True),
    (PowerSteps(3.0, 1.0, shift=100.0), True, True),
    (PowerSteps(3.0, 1.01), False, True),
    (PowerSteps(3.0, 2.0), False, True),
    (PowerSteps(3.0, -0.5), True, False),
]
FUNCTIONS: list[tuple[Callable[[int], float], bool | None, bool | None]] = [
    (lambda k: 0.01, True, False),
    (lambda k: 1 / k, True, True),
    (lambda k: 5 / (k + 1000), True, True),
    (lambda k: k**-0.5, True, False),
    (lambda k: k**-0.6, True, True),
    (lambda k: k**-1.02, False, True),
    (lambda k: k**-2.0, False, True),
    (lambda k: math.log(k + 1) / k, True, True),
    (lambda k: 1 / (k * math.log(k + 1) ** 2), False, True),
    (lambda k: 1 / math.sqrt(k * math.log(k + 1) ** 3), True, True),
    (one_over_k_log, None, True),  # it diverges, like log log k: too slowly to be seen
    (lambda k: 0.5 ** (k // 30), False, True),
    (lambda k: 1 / k if k < 1000 else 0.0, False, True),
    (lambda k: 1 + math.sin(k), None, None),
    (lambda k: float(k), None, None),
]


@pytest.mark.parametrize(("steps", "diverges", "squares"), FAMILIES)
def test_step_sizes_of_a_family_are_decided_by_the_exponent(steps: Any, diverges: bool, squares: bool) -> None:
    check = check_step_sizes(steps)
    assert (check.sum_diverges, check.squares_converge, check.proven) == (diverges, squares, True)
    assert check.holds is (diverges and squares)
    if callable(steps) and steps.p > 0:  # the numbers alone agree
        judged = check_step_sizes(lambda k: steps(k))
        assert (judged.sum_diverges, judged.squares_converge) in [(diverges, squares), (diverges, None)]
        assert not judged.proven


@pytest.mark.parametrize(("steps", "diverges", "squares"), FUNCTIONS)
def test_step_sizes_of_a_function_are_judged_by_its_values(
    steps: Any, diverges: bool | None, squares: bool | None
) -> None:
    check = check_step_sizes(steps)
    assert (check.sum_diverges, check.squares_converge, check.proven) == (diverges, squares, False), check.reason
    expected = False if False in (diverges, squares) else None if None in (diverges, squares) else True
    assert check.holds is expected


def test_errors_of_step_sizes() -> None:
    for wrong in (lambda k: -1 / k, lambda k: math.nan, lambda k: math.inf):
        with pytest.raises(UsageError, match="expected a finite number >= 0"):
            check_step_sizes(wrong)
    for arguments in ({"a": 0.0}, {"a": math.nan}, {"p": math.inf}, {"shift": -1.0}):
        with pytest.raises(UsageError, match="PowerSteps: expected a > 0"):
            PowerSteps(**arguments)


# ---- roots
def noisy(g: Callable[[Any], Any], sigma: float, draw: np.random.Generator) -> Callable[[Any], Any]:
    return lambda w: g(w) + sigma * draw.standard_normal(w.shape)


def test_mean_estimation_is_robbins_monro() -> None:
    x = rng(6).standard_normal(100)
    draws = iter(x)
    w = last(robbins_monro(lambda w: w - next(draws), 7.0, PowerSteps(), 100))
    assert float(w) == pytest.approx(x.mean(), abs=1e-15)


@pytest.mark.parametrize(
    ("g", "low", "high"),
    [(lambda w: np.tanh(w - 1), -3.0, 4.0), (lambda w: np.exp(w) - 2, -1.0, 2.0), (lambda w: w + np.sin(w) - 1, 0, 3)],
)
def test_the_root_is_that_of_brentq(g: Callable[[Any], Any], low: float, high: float) -> None:
    from scipy.optimize import brentq

    root = brentq(g, low, high)
    w0 = np.full(100, high)
    average = polyak_average(robbins_monro(noisy(g, 0.5, rng(7)), w0, PowerSteps(1.0, 0.7), 4000), burn_in=1000)
    assert abs(average.mean() - root) < 4 * average.std(ddof=1) / 10 + 1e-3
    assert average.std() < 0.03


@pytest.mark.parametrize("a", [1.0, 2.0])
def test_the_central_limit_theorem_of_robbins_monro(a: float) -> None:
    """√k (w_k − w*) → N(0, a²σ²/(2ac − 1)): 2000 runs, their variance and their distribution."""
    from scipy.stats import chi2, kstest

    c, sigma, n, runs = 1.0, 0.5, 2000, 2000
    w = last(robbins_monro(noisy(lambda w: c * (w - 1), sigma, rng(8)), np.full(runs, 3.0), PowerSteps(a), n))
    scaled = math.sqrt(n) * (w - 1)
    expected = a**2 * sigma**2 / (2 * a * c - 1)
    assert scaled.var() == pytest.approx(expected, rel=0.08)
    low, high = chi2.ppf([1e-3, 1 - 1e-3], runs - 1) / (runs - 1)
    assert low < scaled.var(ddof=1) / expected < high
    assert kstest(scaled / math.sqrt(expected), "norm").pvalue > 1e-3


def test_averaging_reaches_the_least_variance_whatever_the_step() -> None:
    c, sigma, n, runs = 0.5, 0.5, 4000, 1000
    g = noisy(lambda w: c * (w - 1), sigma, rng(9))
    iterates = robbins_monro(g, np.full(runs, 1.0), PowerSteps(2.0, 0.65), n)
    assert n * polyak_average(iterates).var() == pytest.approx(sigma**2 / c**2, rel=0.1)
    slow = last(robbins_monro(g, np.full(runs, 1.0), PowerSteps(8.0), n))  # a²σ²/(2ac − 1): 2.3 times that
    assert n * slow.var() > 1.8 * sigma**2 / c**2


@pytest.mark.parametrize(
    ("p", "q", "goes"),
    [(1.0, 1.0, True), (0.6, 0.8, True), (2.0, 1.0, False), (1.0, 0.5, False)],  # Σ α_k < ∞; Σ β_k² = ∞
)
def test_dvoretzky(p: float, q: float, goes: bool) -> None:
    """Δ ← (1 − α_k) Δ + β_k η_k → 0 where Σ α_k = ∞ and Σ β_k² < ∞: robbins_monro of g = Δ − (β_k/α_k) η_k."""
    draw, ks = rng(10), itertools.count(1)
    alpha, beta = PowerSteps(1.0, p, shift=1.0), PowerSteps(1.0, q)

    def g(delta: Any) -> Any:
        k = next(ks)
        return delta - beta(k) / alpha(k) * draw.standard_normal(delta.shape)

    w = last(robbins_monro(g, np.full(500, 50.0), alpha, 3000))
    mean, variance = 50.0, 0.0
    for k in range(1, 3001):
        mean, variance = (1 - alpha(k)) * mean, (1 - alpha(k)) ** 2 * variance + beta(k) ** 2
    expected = math.sqrt(mean**2 + variance)
    assert math.sqrt((w * w).mean()) == pytest.approx(expected, rel=0.1)
    assert (expected < 0.1) is goes


def test_what_breaks_a_condition_does_not_converge() -> None:
    g = noisy(lambda w: np.tanh(w - 1), 0.5, rng(11))
    w0 = np.full(300, 3.0)
    stalled = last(robbins_monro(g, w0, PowerSteps(1.0, 2.0), 3000))
    assert (stalled - 1).mean() > 0.5  # Σ 1/k² = 1.64 is less than the way
    hovering = [last(robbins_monro(g, w0, 0.2, n)) for n in (500, 4000)]
    spread = math.sqrt(0.2 * 0.25 / (2 - 0.2))  # √(ασ²/(2 − α)) of the linear g
    assert all(math.sqrt(((w - 1) ** 2).mean()) == pytest.approx(spread, rel=0.15) for w in hovering)
    with np.errstate(over="ignore", invalid="ignore"):
        diverged = last(robbins_monro(noisy(lambda w: w**3 - 5, 0.5, rng(12)), 10.0, PowerSteps(), 8))
    assert not abs(float(diverged)) < 1e6


def test_steps_go_on_where_another_call_ended() -> None:
    whole = list(robbins_monro(noisy(np.tanh, 0.5, rng(13)), [2.0, -1.0], PowerSteps(), 10))
    g = noisy(np.tanh, 0.5, rng(13))
    half = last(robbins_monro(g, [2.0, -1.0], PowerSteps(), 4))
    rest = list(robbins_monro(g, half, PowerSteps(), 6, first=5))
    assert np.array_equal(whole[3], half) and np.array_equal(whole[4:], rest)


def test_the_conditions() -> None:
    noise = rng(14).standard_normal(4000)
    tanh = check_conditions(lambda w: tz.tanh(w - 1.0), -1.0, 3.0, PowerSteps(), noise)
    assert tanh.failures == [] and tanh.slopes == pytest.approx((1 / math.cosh(2) ** 2, 1.0), rel=1e-5)
    assert tanh.noise_square == pytest.approx(1, abs=0.1)
    cases: list[tuple[Any, Any, Any, str]] = [
        (lambda w: w**3 - 5.0, PowerSteps(), noise, "g' ≤ c₂ fails"),
        (lambda w: -w, PowerSteps(), noise, "0 < g' fails: g' is -1 somewhere"),
        (lambda w: w - 1.0, PowerSteps(1.0, 2.0), noise, "Σ a_k = ∞ fails"),
        (lambda w: w - 1.0, 0.1, noise, "Σ a_k² < ∞ fails"),
        (lambda w: w - 1.0, PowerSteps(), noise + 0.2, r"E\[η\] = 0 fails"),
    ]
    for g, steps, draws, message in cases:
        with pytest.raises(AssertionError, match=message):
            failures = check_conditions(g, 1.0, 3.0, steps, draws).failures
            assert not failures, "; ".join(failures)
    with pytest.raises(UsageError, match="low < high"):
        check_conditions(lambda w: w, 1.0, 1.0, 0.1, noise)
    with pytest.raises(ShapeError, match="two draws of the noise or more, got 1"):
        check_conditions(lambda w: w, 0.0, 1.0, 0.1, [0.0])


# ---- minima
def quadratic(w: Any) -> Any:
    return 0.5 * (w * w).sum(-1)


def test_differences_without_noise_are_the_gradient() -> None:
    """Of a quadratic, exactly: so a step of Kiefer-Wolfowitz is one of gradient descent."""
    matrix = np.array([[2.0, 0.5, 0.0], [0.5, 1.0, -0.3], [0.0, -0.3, 3.0]])
    w0 = rng(15).standard_normal((5, 3))
    f = lambda w: 0.5 * (w * (w @ matrix)).sum(-1)
    w = last(kiefer_wolfowitz(f, w0, 0.1, 0.3, 1))
    np.testing.assert_allclose(w, w0 - 0.1 * w0 @ matrix, rtol=1e-12, atol=1e-13)
    draws = np.stack([last(spsa(f, w0, 0.1, 0.3, 1, rng=rng(seed))) for seed in range(4000)])
    np.testing.assert_allclose(draws.mean(axis=0), w, atol=5 * draws.std(axis=0).max() / math.sqrt(4000))


@pytest.mark.parametrize("method", ["kiefer_wolfowitz", "spsa"])
def test_a_minimum_is_found_from_noisy_values_alone(method: str) -> None:
    draw = rng(16)
    f = lambda w: quadratic(w - np.array([1.0, -2.0])) + 0.1 * draw.standard_normal(w.shape[:-1])
    arguments: tuple[Any, ...] = (f, np.zeros((50, 2)), PowerSteps(), PowerSteps(1.0, 1 / 6), 1500)
    w = last(kiefer_wolfowitz(*arguments) if method == "kiefer_wolfowitz" else spsa(*arguments, rng=rng(17)))
    np.testing.assert_allclose(w.mean(axis=0), [1.0, -2.0], atol=0.01)
    assert (w.std(axis=0) < 0.03).all()


def test_how_many_observations_a_step_takes() -> None:
    seen = []

    def f(w: Any) -> Any:
        seen.append(math.prod(w.shape[:-1]))
        return quadratic(w)

    last(kiefer_wolfowitz(f, np.zeros(7), 0.1, 0.1, 1))
    assert sum(seen) == 14
    seen.clear()
    last(spsa(f, np.zeros(7), 0.1, 0.1, 1, rng=rng()))
    assert sum(seen) == 2


def test_roots_and_minima_on_a_device() -> None:
    w0 = rng(18).standard_normal((4, 3))
    f = lambda w: (w * w * 0.5).sum(axis=-1)
    methods: list[Callable[[Any], Any]] = [
        lambda w: last(robbins_monro(lambda w: w - 1.0, w, PowerSteps(), 5)),
        lambda w: last(kiefer_wolfowitz(f, w, PowerSteps(), PowerSteps(p=1 / 6), 5)),
        lambda w: last(spsa(f, w, PowerSteps(), PowerSteps(p=1 / 6), 5, rng=rng())),
        lambda w: polyak_average(robbins_monro(lambda w: w - 1.0, w, PowerSteps(), 5)),
    ]
    for method in methods:
        found = method(backend.to_device(w0, "cupysim"))
        assert backend.device_of(found) == "cupysim:0"
        np.testing.assert_allclose(backend.to_host(found), method(w0), rtol=1e-13, atol=1e-14)


def test_errors_of_the_methods() -> None:
    with pytest.raises(UsageError, match=r"n and first must be integers, got 1\.5 and 1"):
        robbins_monro(lambda w: w, 0.0, 0.1, 1.5)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="expected n >= 0 steps from first >= 1, got n=3 and first=0"):
        robbins_monro(lambda w: w, 0.0, 0.1, 3, first=0)
    with pytest.raises(UsageError, match="robbins_monro: expected a number > 0 or a function"):
        robbins_monro(lambda w: w, 0.0, -0.1, 3)
    with pytest.raises(ShapeError, match=r"kiefer_wolfowitz: expected points w0 \(…, d >= 1\), got shape \(\)"):
        kiefer_wolfowitz(quadratic, 0.0, 0.1, 0.1, 3)
    with pytest.raises(ShapeError, match="spsa: expected points"):
        spsa(quadratic, np.zeros((3, 0)), 0.1, 0.1, 3, rng=rng())


def test_observations_of_another_shape_are_refused() -> None:
    """They would broadcast: one run's noise would move all."""
    runs, points = np.zeros(4), np.zeros((5, 3))
    total = lambda w: (w * w).sum()
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: robbins_monro(lambda w: w[:, None], runs, 0.1, 1), r"g_noisy .* \(4,\) .* got \(4, 1\)"),
        (lambda: robbins_monro(total, runs, 0.1, 1), r"robbins_monro: g_noisy .* got \(\): return one number for each"),
        (lambda: robbins_monro(lambda w: [w], 0.0, 0.1, 1), r"robbins_monro: g_noisy .* got \(1,\)"),
        (lambda: kiefer_wolfowitz(total, points, 0.1, 0.1, 1), r"f_noisy .* \(5, 3\) at w \(5, 3, 3\), got \(\)"),
        (lambda: kiefer_wolfowitz(lambda w: w, points, 0.1, 0.1, 1), r"kiefer_wolfowitz: f_noisy .* got \(5, 3, 3\)"),
        (lambda: spsa(total, points, 0.1, 0.1, 1, rng=rng()), r"spsa: f_noisy .* \(5,\) at w \(5, 3\), got \(\)"),
    ]
    for call, message in calls:
        with pytest.raises(ShapeError, match=message):
            last(call())


@pytest.mark.parametrize("wrong", [None, "0.1", [0.1, 0.2]])
def test_what_is_no_step_size_is_refused(wrong: Any) -> None:
    said = "expected a number > 0 or a function of k = 1, 2, … as "
    fix = "write step_size=0.1, or step_size=PowerSteps"
    with pytest.raises(DTypeError, match=f"robbins_monro: {said}step_size, got .*: {fix}"):
        robbins_monro(lambda w: w, 0.0, wrong, 3)
    with pytest.raises(DTypeError, match=f"kiefer_wolfowitz: {said}width, got .*: write width=0.1"):
        kiefer_wolfowitz(quadratic, np.zeros(2), 0.1, wrong, 3)
    with pytest.raises(DTypeError, match=f"spsa: {said}step_size"):
        spsa(quadratic, np.zeros(2), wrong, 0.1, 3, rng=rng())
    with pytest.raises(DTypeError, match=f"check_step_sizes: {said}step_size"):
        check_step_sizes(wrong)
    with pytest.raises(DTypeError, match="PowerSteps: a, p and shift are numbers, got PowerSteps"):
        PowerSteps(wrong)
    if wrong is not None:  # which is 1/k there
        with pytest.raises(DTypeError, match=f"RunningMean: {said}step_size"):
            RunningMean(wrong)

"""Laws of every distribution: values and gradients against SciPy and PyTorch, samples against the density."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from scipy import stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import distributions
from tinygrad_zoo.distributions import (
    Bernoulli,
    Beta,
    Categorical,
    Dirichlet,
    Distribution,
    Gamma,
    Gumbel,
    Independent,
    Laplace,
    Logistic,
    LogitRelaxedBernoulli,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    RelaxedBernoulli,
    RelaxedOneHotCategorical,
    Uniform,
)
from tinygrad_zoo.errors import GradientError, UsageError
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

torch = oracles.load("torch")
td = oracles.load("torch.distributions")

DRAW = np.random.default_rng(0)
LOC, SCALE = DRAW.standard_normal((4, 1, 3)), DRAW.random((2, 3)) + 0.5
REAL, UNIT = DRAW.standard_normal((5, 4, 2, 3)), DRAW.uniform(0.05, 0.95, (5, 4, 2, 3))
SHAPE, RATE = DRAW.uniform(0.3, 4, (4, 1, 3)), DRAW.uniform(0.5, 2, (2, 3))
SIMPLEX = np.random.default_rng(1).dirichlet(np.ones(3), (5, 4))
LOGITS, PROBS = DRAW.standard_normal((4, 3)), np.random.default_rng(2).dirichlet(np.ones(3), 4)
BITS = (DRAW.random((5, 4, 3)) < 0.5).astype(np.float64)


@dataclass
class Family:
    """How a distribution is made, on what it is evaluated, and its counterparts."""

    make: Callable[..., Distribution]
    parameters: tuple[Any, ...]
    x: Any
    torch: Callable[..., Any] | None = None  # of tensors; None where PyTorch has none
    scipy: Callable[..., Any] | None = None
    moments: bool = True  # mean, variance and entropy have closed forms
    onto: Callable[[Any], Any] = lambda x: x  # the support, from close by: differences would leave it
    draws: tuple[Any, ...] = field(default=())  # the parameters of one distribution, for samples
    cdf: Any = None  # of that one, for them


def mixture(logits: Any, loc: Any, scale: Any) -> Distribution:
    return MixtureSameFamily(Categorical(logits=logits), Normal(loc, scale))


def mixture_of_vectors(logits: Any, loc: Any, scale: Any) -> Distribution:
    return MixtureSameFamily(Categorical(logits=logits), Independent(Normal(loc, scale), 1))


def torch_mixture(logits: Any, loc: Any, scale: Any) -> Any:
    return td.MixtureSameFamily(td.Categorical(logits=logits), td.Normal(loc, scale))


def torch_mixture_of_vectors(logits: Any, loc: Any, scale: Any) -> Any:
    return td.MixtureSameFamily(td.Categorical(logits=logits), td.Independent(td.Normal(loc, scale), 1))


def scipy_uniform(low: Any, high: Any) -> Any:
    return stats.uniform(low, high - low)


def scipy_gamma(concentration: Any, rate: Any) -> Any:
    return stats.gamma(concentration, scale=1 / rate)


FAMILY: dict[str, Family] = {
    "Normal": Family(Normal, (LOC, SCALE), REAL, lambda *p: td.Normal(*p), stats.norm, draws=(1.0, 2.0)),
    "Laplace": Family(Laplace, (LOC, SCALE), REAL, lambda *p: td.Laplace(*p), stats.laplace, draws=(1.0, 2.0)),
    "Logistic": Family(Logistic, (LOC, SCALE), REAL, None, stats.logistic, draws=(1.0, 2.0)),
    "Gumbel": Family(Gumbel, (LOC, SCALE), REAL, lambda *p: td.Gumbel(*p), stats.gumbel_r, draws=(1.0, 2.0)),
    "Uniform": Family(Uniform, (LOC - 4, SCALE + 4), REAL, lambda *p: td.Uniform(*p), scipy_uniform, draws=(-1.0, 2.0)),
    "Gamma": Family(Gamma, (SHAPE, RATE), 3 * UNIT, lambda *p: td.Gamma(*p), scipy_gamma, draws=(0.6, 2.0)),
    "Beta": Family(Beta, (SHAPE, RATE), UNIT, lambda *p: td.Beta(*p), stats.beta, draws=(0.6, 2.0)),
    "MultivariateNormal": Family(
        MultivariateNormal,
        (LOC[0, 0], np.tril(LOC[:3, 0]) + 3 * np.eye(3)),
        REAL,
        lambda a, b: td.MultivariateNormal(a, scale_tril=b),
    ),
    "Dirichlet": Family(
        Dirichlet,
        (SHAPE[:, 0],),
        SIMPLEX,
        lambda a: td.Dirichlet(a),
        onto=lambda x: x / x.sum(axis=-1, keepdims=True),
    ),
    "Bernoulli logits": Family(lambda a: Bernoulli(logits=a), (LOGITS,), BITS, lambda a: td.Bernoulli(logits=a)),
    "Bernoulli probs": Family(Bernoulli, (PROBS,), BITS, lambda a: td.Bernoulli(a)),
    "Categorical logits": Family(
        lambda a: Categorical(logits=a),
        (LOGITS,),
        DRAW.integers(0, 3, (5, 4)),
        lambda a: td.Categorical(logits=a),
        moments=False,
    ),
    "Categorical probs": Family(
        Categorical, (3 * PROBS,), DRAW.integers(0, 3, (5, 4)), lambda a: td.Categorical(a), moments=False
    ),
    "OneHotCategorical": Family(
        lambda a: OneHotCategorical(logits=a),
        (LOGITS,),
        np.eye(3)[DRAW.integers(0, 3, (5, 4))],
        lambda a: td.OneHotCategorical(logits=a),
    ),
    "LogitRelaxedBernoulli": Family(
        lambda a: LogitRelaxedBernoulli(0.7, logits=a),
        (LOGITS,),
        REAL[:, :, 0],
        lambda a: td.relaxed_bernoulli.LogitRelaxedBernoulli(torch.tensor(0.7, dtype=torch.float64), logits=a),
        moments=False,
        draws=(0.5,),
        cdf=stats.logistic(0.5 / 0.7, 1 / 0.7).cdf,
    ),
    "RelaxedBernoulli": Family(
        lambda a: RelaxedBernoulli(0.7, probs=a),
        (0.1 + 0.8 * PROBS,),
        UNIT[:, :, 0],
        lambda a: td.RelaxedBernoulli(torch.tensor(0.7, dtype=torch.float64), probs=a),
        moments=False,
        draws=(0.7,),
        cdf=lambda y: stats.logistic(np.log(0.7 / 0.3) / 0.7, 1 / 0.7).cdf(np.log(y / (1 - y))),
    ),
    "RelaxedOneHotCategorical": Family(
        lambda a: RelaxedOneHotCategorical(0.7, logits=a),
        (LOGITS,),
        SIMPLEX,
        lambda a: td.RelaxedOneHotCategorical(torch.tensor(0.7, dtype=torch.float64), logits=a),
        moments=False,
    ),
    "Independent": Family(
        lambda a, b: Independent(Gumbel(a, b), 2),
        (LOC, SCALE),
        REAL,
        lambda a, b: td.Independent(td.Gumbel(a, b), 2),
    ),
    "Independent of bits": Family(
        lambda a: Independent(Bernoulli(logits=a), 1),
        (LOGITS,),
        BITS,
        lambda a: td.Independent(td.Bernoulli(logits=a), 1),
    ),
    "MixtureSameFamily": Family(
        mixture,
        (LOGITS, LOC[:, 0], SCALE[0]),
        REAL[..., 0, 0],
        torch_mixture,
        draws=(np.log([0.2, 0.8]), np.array([-2.0, 1.0]), np.array([0.5, 1.0])),
        cdf=lambda x: 0.2 * stats.norm.cdf(x, -2, 0.5) + 0.8 * stats.norm.cdf(x, 1, 1),
    ),
    "MixtureSameFamily of vectors": Family(
        mixture_of_vectors,
        (LOGITS, REAL[0, :, 0, :, None] + [0.0, 1.0], SCALE[0, :2]),
        REAL[..., :2].mean(2),
        torch_mixture_of_vectors,
    ),
}
DISCRETE = {"Bernoulli logits", "Bernoulli probs", "Categorical logits", "Categorical probs", "OneHotCategorical"}
WITHOUT_RSAMPLE = DISCRETE | {"Independent of bits", "MixtureSameFamily", "MixtureSameFamily of vectors"}
WITHOUT_ENTROPY = {"MixtureSameFamily", "MixtureSameFamily of vectors"} | {name for name in FAMILY if "Relaxed" in name}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(name: str) -> Distribution:
    return FAMILY[name].make(*FAMILY[name].parameters)


def test_the_family_is_complete() -> None:
    classes = {getattr(distributions, name) for name in distributions.__all__ if name[0].isupper()}
    assert {type(made(name)) for name in FAMILY} == classes - {Distribution}


# ---- values
@pytest.mark.parametrize("name", [name for name, member in FAMILY.items() if member.scipy])
def test_values_of_scipy(name: str) -> None:
    member = FAMILY[name]
    ours, theirs = made(name), member.scipy(*member.parameters)  # type: ignore[misc]
    batch = np.zeros((4, 2, 3))
    assert ours.batch_shape == batch.shape and ours.event_shape == ()
    compared = {
        "log_prob": (ours.log_prob(member.x), theirs.logpdf(member.x)),
        "mean": (ours.mean, theirs.mean() + batch),
        "variance": (ours.variance, theirs.var() + batch),
        "stddev": (ours.stddev, theirs.std() + batch),
        "entropy": (ours.entropy(), theirs.entropy() + batch),
    }
    if hasattr(ours, "cdf"):
        compared["cdf"] = ours.cdf(member.x), theirs.cdf(member.x)
    for what, (value, expected) in compared.items():
        assert value.shape == expected.shape, what
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-10, atol=1e-11, err_msg=what)


@pytest.mark.parametrize(
    ("distribution", "outside"),
    [(Uniform(0.0, 2.0), [-0.1, 2.0]), (Gamma(2.0, 1.0), [-0.1]), (Beta(2.0, 2.0), [-0.1, 1.1])],
)
def test_there_is_no_density_outside(distribution: Distribution, outside: list[float]) -> None:
    x = tz.tensor([*outside, 0.5], requires_grad=True)
    log_prob = distribution.log_prob(x)
    assert (log_prob.numpy()[:-1] == -np.inf).all() and np.isfinite(log_prob.numpy()[-1])
    (log_prob[-1] + 0 * x.sum()).backward()
    assert (x.grad.numpy()[:-1] == 0).all() and np.isfinite(x.grad.numpy()).all()


def test_a_dirichlet_has_no_density_off_the_simplex() -> None:
    """Nor do its gradients become NaN there; rounding, of however many values, is no way off."""
    x = tz.tensor([[0.2, 0.2, 0.2], [1.2, -0.1, -0.1], [0.5, 0.6, -0.1], [0.2, 0.3, 0.5]], requires_grad=True)
    log_prob = Dirichlet([0.5, 3.0, 1.0]).log_prob(x)
    assert (log_prob.numpy()[:-1] == -np.inf).all() and np.isfinite(log_prob.numpy()[-1])
    (log_prob[-1] + 0 * x.sum()).backward()
    assert (x.grad.numpy()[:-1] == 0).all() and np.isfinite(x.grad.numpy()).all()
    many = Dirichlet(np.ones(5000, np.float32))
    assert np.isfinite(many.log_prob(many.sample((20,), rng=rng())).numpy()).all()


@pytest.mark.parametrize(
    ("distribution", "value", "said"),
    [
        (Bernoulli(0.5), 16.0, r"Bernoulli: expected values in 0\.\.1, got some from 16\.0 to 16\.0: make bits"),
        (Bernoulli(0.5), -0.1, r"Bernoulli: expected values in 0\.\.1"),
        (Bernoulli(0.5), np.nan, r"Bernoulli: expected values in 0\.\.1"),
        (Independent(Bernoulli([0.5, 0.5]), 1), [0.0, 2.0], r"Bernoulli: .* got some from 0\.0 to 2\.0"),
        (Categorical(np.ones(3)), [-1, 1], r"Categorical: .* 0\.\.2, got some from -1 to 1: .*0 <= k < 3"),
        (Categorical(np.ones(3)), 3, r"Categorical: expected values in 0\.\.2, got some from 3 to 3"),
    ],
)
def test_what_no_sample_can_be_is_refused(distribution: Distribution, value: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        distribution.log_prob(value)


def test_a_bit_between_is_both_in_proportion() -> None:
    half = Bernoulli(probs=0.2)
    assert half.log_prob(0.5).item() == pytest.approx((np.log(0.2) + np.log(0.8)) / 2, rel=1e-6)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", [name for name, member in FAMILY.items() if member.torch])
def test_values_and_gradients_of_torch(name: str) -> None:
    member = FAMILY[name]
    whole = np.asarray(member.x).dtype.kind == "i"
    mine = [tz.tensor(v, requires_grad=True) for v in member.parameters]
    theirs = [torch.tensor(np.array(v), requires_grad=True) for v in member.parameters]
    x, torch_x = tz.tensor(member.x, requires_grad=not whole), torch.tensor(member.x, requires_grad=not whole)
    ours, expected = member.make(*mine), member.torch(*theirs)  # type: ignore[misc]
    assert ours.batch_shape == tuple(expected.batch_shape) and ours.event_shape == tuple(expected.event_shape)
    pairs = [(ours.log_prob(x), expected.log_prob(torch_x))]
    if name not in WITHOUT_ENTROPY:
        pairs.append((ours.entropy(), expected.entropy()))
    if member.moments:
        pairs += [(ours.mean, expected.mean), (ours.variance, expected.variance)]
    for value, reference in pairs:
        assert value.shape == tuple(reference.shape)
        np.testing.assert_allclose(value.numpy(), reference.detach().numpy(), rtol=1e-9, atol=1e-10)
    weights = [rng(k).standard_normal(value.shape) for k, (value, _) in enumerate(pairs)]
    sum((value * w).sum() for (value, _), w in zip(pairs, weights, strict=True)).backward()  # type: ignore[union-attr]
    total: Any = sum((value * torch.tensor(w)).sum() for (_, value), w in zip(pairs, weights, strict=True))
    total.backward()
    compared = [*zip(mine, theirs, strict=True), *([] if name in DISCRETE else [(x, torch_x)])]
    for a, b in compared:
        got, want = (np.zeros(a.shape) if t.grad is None else t.grad.numpy() for t in (a, b))
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-9)


# ---- gradients
@pytest.mark.parametrize("name", FAMILY)
def test_gradients(name: str) -> None:
    member = FAMILY[name]
    small = [p[:1] if p is LOC or p is SHAPE else p for p in member.parameters]
    fitting = member.x[:1, : len(small[0])] if np.ndim(small[0]) == 3 else member.x[:1]
    continuous = name not in DISCRETE | {"Independent of bits"}
    if continuous:
        check_gradients(lambda x, *p: member.make(*p).log_prob(member.onto(x)), fitting, *small)
    else:
        check_gradients(lambda *p: member.make(*p).log_prob(fitting), *small)
    if name not in WITHOUT_ENTROPY:
        check_gradients(lambda *p: member.make(*p).entropy(), *small)
    if name not in WITHOUT_RSAMPLE:
        check_gradients(lambda *p: member.make(*p).rsample((2,), rng=rng()), *small)


@pytest.mark.parametrize("name", sorted(WITHOUT_RSAMPLE))
def test_what_has_no_rsample_says_so(name: str) -> None:
    ours = made(name)
    assert not ours.has_rsample
    with pytest.raises(GradientError, match=r"no rsample, .*write sample and .*score_function"):
        ours.rsample(rng=rng())


@pytest.mark.parametrize("name", sorted(WITHOUT_ENTROPY))
def test_what_has_no_entropy_says_so(name: str) -> None:
    with pytest.raises(UsageError, match=r"entropy has no closed form: estimate it from sample"):
        made(name).entropy()


# ---- samples
@pytest.mark.parametrize("name", FAMILY)
def test_sample_has_no_gradient_and_the_numbers_of_rsample(name: str) -> None:
    member = FAMILY[name]
    ours = member.make(*(tz.tensor(v, requires_grad=True) for v in member.parameters))
    x = ours.sample((2, 3), rng=rng())
    assert not x.requires_grad and x.node is None
    assert x.shape == (2, 3, *ours.batch_shape, *ours.event_shape)
    assert np.array_equal(x.numpy(), ours.sample((2, 3), rng=rng()).numpy())
    assert not np.array_equal(x.numpy(), ours.sample((2, 3), rng=rng(1)).numpy())
    assert ours.sample(3, rng=rng()).shape == ours.sample((3,), rng=rng()).shape
    assert np.isfinite(ours.log_prob(x).numpy()).all()
    if name not in WITHOUT_RSAMPLE:
        assert ours.has_rsample
        again = ours.rsample((2, 3), rng=rng())
        assert again.requires_grad and np.array_equal(again.numpy(), x.numpy())


@pytest.mark.parametrize("name", [name for name, member in FAMILY.items() if member.draws])
def test_samples_of_numbers_follow_the_density(name: str) -> None:
    member = FAMILY[name]
    cdf = member.cdf or member.scipy(*member.draws).cdf  # type: ignore[misc]
    for dtype in ("float32", "float64"):
        ours = member.make(*(tz.tensor(v, dtype) for v in member.draws))
        x = ours.sample((20_000,), rng=rng(3)).numpy()
        assert x.dtype == dtype and stats.kstest(x.astype(np.float64), cdf).pvalue > 1e-3


@pytest.mark.parametrize("name", [name for name, member in FAMILY.items() if member.moments])
def test_samples_have_the_moments(name: str) -> None:
    ours, n = made(name), 5_000
    x = ours.sample((n,), rng=rng(5)).numpy()
    mean, std = ours.mean.numpy(), ours.stddev.numpy()
    assert (np.abs(x.mean(axis=0) - mean) < 5 * std / np.sqrt(n)).all()
    assert (np.abs(x.var(axis=0) / std**2 - 1) < 0.25).all()


@pytest.mark.parametrize("name", ["Categorical logits", "Categorical probs", "OneHotCategorical"])
def test_gumbel_max_draws_the_categories(name: str) -> None:
    """argmax(log p + g) ~ Categorical(p): χ² of the counts, one for each of the batch."""
    ours, n = made(name), 20_000
    x = ours.sample((n,), rng=rng(1)).numpy()
    k = x.argmax(axis=-1) if name == "OneHotCategorical" else x
    for row, p in enumerate(ours.probs.numpy()):  # type: ignore[attr-defined]
        assert stats.chisquare(np.bincount(k[:, row], minlength=3), n * p).pvalue > 1e-3


def test_what_has_no_probability_is_never_drawn() -> None:
    for ours in (Categorical(probs=[0.0, 1.0, 0.0]), Categorical(logits=[-np.inf, 0.0, -np.inf])):
        assert (ours.sample((1000,), rng=rng()).numpy() == 1).all()
    assert Bernoulli(probs=[0.0, 1.0]).sample((1000,), rng=rng()).numpy().mean(axis=0).tolist() == [0.0, 1.0]


def test_concrete_samples_approach_the_discrete_ones_as_the_temperature_falls() -> None:
    p = np.array([0.2, 0.3, 0.5])
    for tau, tail in ((0.05, 0.1), (100.0, 1.0)):
        y = RelaxedOneHotCategorical(tau, probs=p).sample((5000,), rng=rng()).numpy()
        assert np.allclose(y.sum(axis=-1), 1) and (y > 0.05).sum(axis=-1).mean() <= 1 + 2 * tail
        counts = np.bincount(y.argmax(axis=-1), minlength=3)
        assert stats.chisquare(counts, 5000 * p).pvalue > 1e-3  # the largest is a sample of p at any temperature
    assert np.abs(y - 1 / 3).max() < 0.05  # and near uniform when it is high


@pytest.mark.parametrize("kind", [LogitRelaxedBernoulli, RelaxedBernoulli, RelaxedOneHotCategorical])
def test_a_temperature_loses_no_gradient_in_silence(kind: Any) -> None:
    t = tz.tensor(0.5, requires_grad=True)
    with pytest.raises(GradientError, match=rf"{kind.__name__}: temperature .* write temperature=float\(t\)"):
        kind(t, probs=[0.2, 0.8])
    assert kind(t.detach(), probs=[0.2, 0.8]).temperature == kind(float(t), probs=[0.2, 0.8]).temperature == 0.5


# ---- on a device
@pytest.mark.parametrize("name", FAMILY)
def test_the_stand_in_for_a_device_gives_the_same_and_waits_for_nothing(name: str) -> None:
    member = FAMILY[name]
    there = [tz.tensor(v, device="cupysim") for v in member.parameters]
    x = tz.tensor(member.x, device="cupysim")
    ours = made(name)
    with forbid_sync():
        device = member.make(*there)
        found = {"log_prob": device.log_prob(x), "sample": device.sample((2,), rng=rng())}
        if name not in WITHOUT_ENTROPY:
            found["entropy"] = device.entropy()
    expected = {
        "log_prob": lambda: ours.log_prob(member.x),
        "sample": lambda: ours.sample((2,), rng=rng()),
        "entropy": lambda: ours.entropy(),
    }
    for what, value in found.items():
        assert value.device.startswith("cupysim")
        np.testing.assert_allclose(value.numpy(), expected[what]().numpy(), rtol=1e-9, atol=1e-11)

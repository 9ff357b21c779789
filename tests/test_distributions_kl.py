"""kl_divergence: closed forms against PyTorch's and against quadrature, and the errors of what has none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import oracles
import tinygrad_zoo as tz
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
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    OneHotCategorical,
    Uniform,
    kl_divergence,
    register_kl,
)
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.testing import check_gradients

td = oracles.load("torch.distributions")
torch = oracles.load("torch")

DRAW = np.random.default_rng(0)
LOC, SCALE = DRAW.standard_normal((2, 4, 3)), DRAW.random((2, 4, 3)) + 0.5
POSITIVE = DRAW.uniform(0.3, 4, (2, 2, 4, 3))
LOGITS, PROBS = DRAW.standard_normal((2, 4, 3)), DRAW.dirichlet(np.ones(3), (2, 4))
TRIL = np.tril(DRAW.standard_normal((2, 4, 3, 3))) + 3 * np.eye(3)


def tril(loc: Any, scale_tril: Any) -> MultivariateNormal:
    return MultivariateNormal(loc, scale_tril)


PAIRS: dict[str, tuple[Callable[..., Distribution], Callable[..., Any], tuple[Any, ...]]] = {
    "Normal": (Normal, lambda *p: td.Normal(*p), (LOC, SCALE)),
    "Laplace": (Laplace, lambda *p: td.Laplace(*p), (LOC, SCALE)),
    "Gumbel": (Gumbel, lambda *p: td.Gumbel(*p), (LOC, SCALE)),
    "Uniform": (
        Uniform,
        lambda *p: td.Uniform(*p),
        (np.stack([LOC[0], LOC[0] - 1]), np.stack([LOC[0] + 1, LOC[0] + 2])),
    ),
    "Gamma": (Gamma, lambda *p: td.Gamma(*p), tuple(POSITIVE)),
    "Beta": (Beta, lambda *p: td.Beta(*p), tuple(POSITIVE)),
    "Dirichlet": (Dirichlet, lambda a: td.Dirichlet(a), (POSITIVE[0],)),
    "Bernoulli logits": (lambda a: Bernoulli(logits=a), lambda a: td.Bernoulli(logits=a), (LOGITS,)),
    "Bernoulli probs": (Bernoulli, lambda a: td.Bernoulli(a), (PROBS,)),
    "Categorical logits": (lambda a: Categorical(logits=a), lambda a: td.Categorical(logits=a), (LOGITS,)),
    "Categorical probs": (Categorical, lambda a: td.Categorical(a), (3 * PROBS,)),
    "OneHotCategorical": (OneHotCategorical, lambda a: td.OneHotCategorical(a), (PROBS,)),
    "MultivariateNormal": (tril, lambda a, b: td.MultivariateNormal(a, scale_tril=b.tril()), (LOC, TRIL)),
    "Independent": (
        lambda a, b: Independent(Normal(a, b), 1),
        lambda a, b: td.Independent(td.Normal(a, b), 1),
        (LOC, SCALE),
    ),
}


def pair(name: str, which: int = 0) -> list[Any]:
    return [p[which] for p in PAIRS[name][2]]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_of_torch(name: str) -> None:
    make, theirs, parameters = PAIRS[name]
    mine = [[tz.tensor(p[k], requires_grad=True) for p in parameters] for k in range(2)]
    torchs = [[torch.tensor(p[k], requires_grad=True) for p in parameters] for k in range(2)]
    ours = kl_divergence(*(make(*p) for p in mine))
    expected = td.kl_divergence(*(theirs(*p) for p in torchs))
    assert ours.shape == tuple(expected.shape) and (ours.numpy() > 0).all()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-10)
    ours.sum().backward()
    expected.sum().backward()
    for a, b in zip([*mine[0], *mine[1]], [*torchs[0], *torchs[1]], strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_a_distribution_is_at_no_distance_from_itself(name: str) -> None:
    p = PAIRS[name][0](*pair(name))
    np.testing.assert_allclose(kl_divergence(p, p).numpy(), 0, atol=1e-12)


@pytest.mark.parametrize("name", PAIRS)
def test_gradients(name: str) -> None:
    make, _, parameters = PAIRS[name]
    n = len(parameters)
    values = [p[k][:1] for k in range(2) for p in parameters]
    check_gradients(lambda *p: kl_divergence(make(*p[:n]), make(*p[n:])), *values)


@pytest.mark.parametrize(
    ("p", "q", "ours"),
    [
        (stats.norm(0, 1), stats.norm(1, 2), (Normal(0.0, 1.0), Normal(1.0, 2.0))),
        (stats.laplace(0, 1), stats.laplace(1, 2), (Laplace(0.0, 1.0), Laplace(1.0, 2.0))),
        (stats.gumbel_r(0, 1), stats.gumbel_r(1, 2), (Gumbel(0.0, 1.0), Gumbel(1.0, 2.0))),
        (stats.gamma(2, scale=1), stats.gamma(3, scale=0.5), (Gamma(2.0, 1.0), Gamma(3.0, 2.0))),
        (stats.beta(2, 3), stats.beta(1, 2), (Beta(2.0, 3.0), Beta(1.0, 2.0))),
    ],
    ids=["Normal", "Laplace", "Gumbel", "Gamma", "Beta"],
)
def test_quadrature_and_the_order_of_the_arguments(p: Any, q: Any, ours: tuple[Any, Any]) -> None:
    """E_p, not E_q: the other order gives another number."""
    both = []
    for a, b in ((p, q), (q, p)):
        low, high = a.ppf(1e-13), a.ppf(1 - 1e-13)
        both.append(a.expect(lambda x, a=a, b=b: a.logpdf(x) - b.logpdf(x), lb=low, ub=high))
    found = [float(kl_divergence(*ours)), float(kl_divergence(*ours[::-1]))]
    np.testing.assert_allclose(found, both, rtol=1e-5)
    assert abs(both[0] - both[1]) > 0.05


def test_categorical_with_zeros() -> None:
    p, q = Categorical(probs=[0.5, 0.5, 0.0]), Categorical(probs=[0.25, 0.25, 0.5])
    assert kl_divergence(p, q).item() == pytest.approx(np.log(2), rel=1e-6)
    assert kl_divergence(q, p).item() == np.inf
    masked = Categorical(logits=[0.0, 0.0, -np.inf])
    assert kl_divergence(masked, q).item() == pytest.approx(np.log(2), rel=1e-6)
    assert masked.entropy().item() == pytest.approx(np.log(2), rel=1e-6)


def test_uniform_that_reaches_outside() -> None:
    assert kl_divergence(Uniform(0.0, 3.0), Uniform(0.0, 2.0)).item() == np.inf
    assert kl_divergence(Uniform(0.0, 1.0), Uniform(-1.0, 1.0)).item() == pytest.approx(np.log(2))


def test_batches_broadcast() -> None:
    assert kl_divergence(Normal(np.zeros((2, 1)), 1.0), Normal(np.zeros(3), 1.0)).shape == (2, 3)
    assert kl_divergence(
        MultivariateNormal(np.zeros(2), np.eye(2)), MultivariateNormal(LOC[:, :, :2], np.eye(2))
    ).shape == (
        2,
        4,
    )


def test_pairs_without_a_closed_form_say_what_to_write() -> None:
    with pytest.raises(
        UsageError, match=r"of Normal and Laplace: no closed form .*p\.rsample\(n, rng=rng\).*register_kl"
    ):
        kl_divergence(Normal(0.0, 1.0), Laplace(0.0, 1.0))
    mixture = MixtureSameFamily(Categorical(probs=[0.5, 0.5]), Normal(np.zeros(2), 1.0))
    with pytest.raises(UsageError, match="of MixtureSameFamily and MixtureSameFamily: no closed form"):
        kl_divergence(mixture, mixture)
    with pytest.raises(ShapeError, match=r"events of shape \(2,\) and \(3,\) differ"):
        kl_divergence(Dirichlet(np.ones(2)), Dirichlet(np.ones(3)))
    with pytest.raises(ShapeError, match="2 categories and 3 differ"):
        kl_divergence(Categorical(probs=np.ones(2)), Categorical(probs=np.ones(3)))
    base = Normal(np.zeros((2, 2)), 1.0)
    with pytest.raises(ShapeError, match=r"events of shape \(2,\) and \(2, 2\) differ"):
        kl_divergence(Independent(base, 1), Independent(base, 2))
    with pytest.raises(UsageError, match="ndims=1 and ndims=0 differ"):
        kl_divergence(Independent(base, 1), Independent(MultivariateNormal(np.zeros(2), np.eye(2)), 0))


def test_the_nearest_registered_pair_is_taken() -> None:
    class Narrow(Normal): ...

    assert kl_divergence(Narrow(1.0, 1.0), Normal(0.0, 1.0)).item() == 0.5

    @register_kl(Narrow, Normal)
    def formula(p: Any, q: Any) -> Any:
        return p.mean * 0 - 1

    assert kl_divergence(Narrow(1.0, 1.0), Narrow(0.0, 1.0)).item() == -1
    assert kl_divergence(Normal(1.0, 1.0), Narrow(0.0, 1.0)).item() == 0.5

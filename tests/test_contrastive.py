"""InfoNCE in all its forms, the NCE loss and its noise: values and gradients against PyTorch, draws against χ²."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.losses import AliasSampler, NoiseDistribution, info_nce, nce_loss
from tinygrad_zoo.testing import check_gradients

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- InfoNCE
Q, K, QUEUE = rng(1).standard_normal((5, 4)), rng(2).standard_normal((5, 4)), rng(3).standard_normal((9, 4))
LABELS = np.array([3, 0, 8, 1, 1])
FORMS: dict[str, tuple[dict[str, Any], Any, Callable[..., Any]]] = {
    "scores": ({}, None, lambda q, _: F.cross_entropy(q, torch.arange(5))),
    "embeddings": ({"temperature": 0.5}, K, lambda q, k: F.cross_entropy(q @ k.T / 0.5, torch.arange(5))),
    "a queue": ({"temperature": 0.07}, QUEUE, lambda q, k: F.cross_entropy(q @ k.T / 0.07, torch.arange(5))),
    "labels": ({"labels": LABELS}, QUEUE, lambda q, k: F.cross_entropy(q @ k.T, torch.tensor(LABELS))),
    "cosines": (
        {"normalize": True, "temperature": 0.1},
        K,
        lambda q, k: F.cross_entropy(F.normalize(q) @ F.normalize(k).T / 0.1, torch.arange(5)),
    ),
    "symmetric": (
        {"symmetric": True, "normalize": True},
        K,
        lambda q, k: (
            (
                F.cross_entropy(F.normalize(q) @ F.normalize(k).T, torch.arange(5))
                + F.cross_entropy(F.normalize(k) @ F.normalize(q).T, torch.arange(5))
            )
            / 2
        ),
    ),
    "one a query": ({"reduction": "none"}, K, lambda q, k: F.cross_entropy(q @ k.T, torch.arange(5), reduction="none")),
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("form", FORMS)
def test_info_nce_and_its_gradients_are_those_of_torch(form: str) -> None:
    settings_, keys, theirs = FORMS[form]
    query = Q if keys is not None else rng(4).standard_normal((5, 5))
    ours = [tz.tensor(x, requires_grad=True) for x in (query, keys) if x is not None]
    other = [torch.tensor(x, requires_grad=True) for x in (query, keys) if x is not None]
    value, expected = info_nce(*ours, **settings_), theirs(*other, *[None] * (2 - len(other)))
    value.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(value.numpy(), expected.detach().numpy(), rtol=1e-12)
    for x, y in zip(ours, other, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-13)


def test_a_temperature_is_learnt() -> None:
    log_t = tz.tensor(0.3, "float64", requires_grad=True)
    info_nce(Q, K, temperature=ops.exp(log_t)).backward()

    def value(at: float) -> float:
        return float(info_nce(Q, K, temperature=math.exp(at)))

    assert log_t.grad.item() == pytest.approx((value(0.3 + 1e-6) - value(0.3 - 1e-6)) / 2e-6, rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(1, 8), st.floats(0.05, 5))
@settings(max_examples=40)
def test_identities_of_info_nce(seed: int, n: int, temperature: float) -> None:
    q, k = rng(seed).standard_normal((2, n, 3))
    value = info_nce(q, k, temperature=temperature).item()
    assert value >= 0
    assert info_nce(q @ k.T / temperature).item() == pytest.approx(value, rel=1e-10, abs=1e-12)
    assert info_nce(q, k, temperature=temperature, labels=np.arange(n)).item() == value
    assert info_nce(np.zeros((n, n))).item() == pytest.approx(math.log(n), abs=1e-12)
    order = rng(seed).permutation(n)
    shuffled = info_nce(q[order], k[order], temperature=temperature)
    assert shuffled.item() == pytest.approx(value, rel=1e-9, abs=1e-12)
    both = [info_nce(*pair, temperature=temperature).item() for pair in ((q, k), (k, q))]
    found = info_nce(q, k, temperature=temperature, symmetric=True).item()
    assert found == pytest.approx(sum(both) / 2, rel=1e-9, abs=1e-12)


def test_the_optimum_tells_the_ratio_of_densities() -> None:
    """-log p(y | x) / p(y) up to what depends on x alone: gradient descent on the scores of all pairs of a table."""
    joint = np.array([[4.0, 1.0], [1.0, 2.0]])
    scores = tz.zeros(2, 2, dtype="float64").requires_grad_()
    x, y = (np.repeat(index, joint.ravel().astype(int)) for index in (np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])))
    for _ in range(300):
        scores.grad = None
        info_nce(scores[x][:, y]).backward()
        scores.data = scores.data - 2.0 * scores.grad.data
    s = scores.numpy()
    ratio = np.log(joint[0, 0] * joint[1, 1] / (joint[0, 1] * joint[1, 0]))
    assert s[0, 0] - s[0, 1] - s[1, 0] + s[1, 1] == pytest.approx(ratio, rel=0.25)


def test_info_nce_on_the_stand_in_for_a_device() -> None:
    on = [tz.tensor(x, device="cupysim") for x in (Q, K)]
    assert info_nce(*on, symmetric=True).item() == pytest.approx(info_nce(Q, K, symmetric=True).item(), rel=1e-12)


def test_second_derivatives() -> None:
    check_gradients(lambda q, k: info_nce(q, k, normalize=True, symmetric=True), Q[:3], K[:3], order=2)
    logq = np.log([0.2, 0.5])
    check_gradients(lambda s, t: nce_loss(s, t, logq, logq, k=3), Q[0, :2], K[0, :2], order=2)


# ---- NCE
@pytest.mark.oracle("torch")
@pytest.mark.parametrize("log_z", [0.0, 0.7, "rows"])
def test_nce_is_binary_cross_entropy_of_whose_draw_it_is(log_z: Any) -> None:
    k, n = 3, 4
    pos, neg = rng(5).standard_normal(n), rng(6).standard_normal((n, k))
    logq_pos, logq_neg = np.log(rng(7).random(n)), np.log(rng(8).random((n, k)))
    z = rng(9).standard_normal(n) if log_z == "rows" else log_z
    ours = [tz.tensor(x, requires_grad=True) for x in (pos, neg)]
    other = [torch.tensor(x, requires_grad=True) for x in (pos, neg)]
    value = nce_loss(*ours, logq_pos, logq_neg, k, log_z=z)
    value.backward()
    of_pos = other[0] - torch.tensor(z, dtype=torch.float64) - torch.tensor(logq_pos) - math.log(k)
    of_neg = other[1] - (torch.tensor(z)[:, None] if log_z == "rows" else z) - torch.tensor(logq_neg) - math.log(k)
    logits = torch.cat([of_pos[:, None], of_neg], 1)
    target = torch.zeros(n, 1 + k, dtype=torch.float64)
    target[:, 0] = 1
    expected = F.binary_cross_entropy_with_logits(logits, target, reduction="sum") / n
    expected.backward()
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    for x, y in zip(ours, other, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-10)


def test_noise_may_be_shared_by_all() -> None:
    pos, neg = rng(10).standard_normal(4), rng(11).standard_normal(5)
    shared = nce_loss(pos, neg, pos, neg, k=5).item()
    assert nce_loss(pos, np.tile(neg, (4, 1)), pos, np.tile(neg, (4, 1)), k=5).item() == pytest.approx(shared)


def test_a_learnt_normaliser_gets_a_gradient() -> None:
    log_z = tz.tensor(0.0, "float64", requires_grad=True)
    pos, neg, logq = rng(12).standard_normal(4), rng(13).standard_normal((4, 2)), np.zeros((4, 2))
    nce_loss(pos, neg, logq[:, 0], logq, 2, log_z=log_z).backward()
    moved = [nce_loss(pos, neg, logq[:, 0], logq, 2, log_z=z).item() for z in (1e-6, -1e-6)]
    assert log_z.grad.item() == pytest.approx((moved[0] - moved[1]) / 2e-6, rel=1e-6)


# ---- noise
def exact(sampler: AliasSampler) -> Any:
    """The distribution that the table draws from."""
    n = len(sampler.shares)
    p = sampler.shares / n
    np.add.at(p, sampler.others, (1 - sampler.shares) / n)
    return p


@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.sampled_from([0.05, 1.0, 20.0]))
def test_the_alias_table_is_exact(seed: int, n: int, concentration: float) -> None:
    p = rng(seed).dirichlet(np.full(n, concentration))
    p[rng(seed).random(n) < 0.2] = 0
    p = p / p.sum() if p.sum() > 0 else np.full(n, 1 / n)
    sampler = AliasSampler(p)
    np.testing.assert_allclose(exact(sampler), p, atol=1e-14)
    assert ((sampler.shares >= 0) & (sampler.shares <= 1)).all()


def test_draws_are_the_distributions() -> None:
    from scipy.stats import chisquare

    p = rng(14).dirichlet(np.ones(30))
    drawn = NoiseDistribution(p).sample((200, 500), rng=rng(15))
    counts = np.bincount(drawn.ravel(), minlength=30)
    assert drawn.shape == (200, 500) and chisquare(counts, p * drawn.size).pvalue > 1e-3
    assert chisquare(counts, np.full(30, drawn.size / 30)).pvalue < 1e-9  # not uniform
    assert np.array_equal(drawn, NoiseDistribution(p).sample((200, 500), rng=rng(15)))
    neighbours = np.bincount(drawn[:, :-1].ravel() * 30 + drawn[:, 1:].ravel(), minlength=900)
    assert chisquare(neighbours, np.outer(p, p).ravel() * neighbours.sum()).pvalue > 1e-3  # independent


def test_what_has_no_probability_is_never_drawn() -> None:
    noise = NoiseDistribution([0.0, 0.5, 0.0, 0.5])
    assert set(noise.sample(2_000, rng=rng(16)).tolist()) == {1, 3}
    assert noise.log_prob(np.array([0, 1])).tolist() == [-math.inf, math.log(0.5)]


def test_unigrams_are_flattened() -> None:
    counts = np.array([81, 16, 1, 0])
    noise = NoiseDistribution.unigram(counts)
    np.testing.assert_allclose(noise.probabilities, np.array([27, 8, 1, 0]) / 36, rtol=1e-12)
    np.testing.assert_allclose(NoiseDistribution.unigram(counts, 1.0).probabilities, counts / 98, rtol=1e-12)
    np.testing.assert_allclose(NoiseDistribution.unigram(counts, 0.0).probabilities, [1 / 3] * 3 + [0], rtol=1e-12)


# ---- errors
def test_errors() -> None:
    with pytest.raises(ShapeError, match=r"info_nce: expected scores \(N, M\), or embeddings"):
        info_nce(np.zeros(3))
    with pytest.raises(DTypeError, match="got int64"):
        info_nce(np.zeros((2, 2), np.int64))
    with pytest.raises(ShapeError, match=r"info_nce: expected keys \(M, 4\), got \(3, 2\)"):
        info_nce(Q, np.zeros((3, 2)))
    with pytest.raises(ShapeError, match="info_nce: 5 queries have 2 keys: give labels"):
        info_nce(Q, K[:2])
    with pytest.raises(ShapeError, match="so it takes no labels and N = M"):
        info_nce(Q, QUEUE, symmetric=True)
    with pytest.raises(UsageError, match="expected temperature > 0, got 0"):
        info_nce(Q, K, temperature=0)
    with pytest.raises(UsageError, match="normalize is for embeddings"):
        info_nce(np.zeros((2, 2)), normalize=True)
    x = np.zeros(2)
    with pytest.raises(UsageError, match="nce_loss: expected k >= 1"):
        nce_loss(x, x, x, x, k=0)
    with pytest.raises(ShapeError, match=r"score_neg has shape \(2,\) and logq_neg \(3,\)"):
        nce_loss(x, x, x, np.zeros(3), k=1)
    column, of_its_own = x[:, None], np.zeros((2, 3))
    for pos, neg, log_z in ((x, of_its_own, column), (column, of_its_own, x), (x, x, x), (x, of_its_own, np.zeros(1))):
        with pytest.raises(ShapeError, match=r"nce_loss: log_z \(.*\) is one a row, with score_pos \(N,\)"):
            nce_loss(pos, neg, pos, neg, k=3, log_z=log_z)
    for wrong in ([0.5, 0.6], [], [-0.5, 1.5]):
        with pytest.raises(UsageError, match="expected probabilities"):
            NoiseDistribution(wrong)
    with pytest.raises(UsageError, match="expected counts"):
        NoiseDistribution.unigram([0, 0])

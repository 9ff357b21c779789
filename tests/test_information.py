"""Row L2: entropies and mutual information against scikit-learn and SciPy; what the bounds bound."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.information import (
    dv_bound,
    entropy,
    infonce_bound,
    js,
    jsd_bound,
    kl,
    ksg_mi,
    mutual_information,
    nwj_bound,
    pair_scores,
)
from tinygrad_zoo.testing import check_gradients

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


SEEDS = st.integers(0, 2**32 - 1)


# ---- discrete
@given(SEEDS, st.integers(1, 8), st.floats(1.1, 10))
def test_entropy_is_scipys(seed: int, n: int, base: float) -> None:
    from scipy import stats

    p = rng(seed).dirichlet(np.full(n, 0.5))
    p[rng(seed).random(n) < 0.3] = 0
    p = p if p.sum() > 0 else np.ones(n)
    assert entropy(p, base=base) == pytest.approx(stats.entropy(p, base=base), abs=1e-12)
    assert 0 <= entropy(p) <= math.log(n) + 1e-12


@given(SEEDS, st.integers(1, 6), st.integers(1, 6), st.integers(1, 60))
@settings(max_examples=100)
def test_mutual_information_of_labels_is_scikit_learns(seed: int, m_x: int, m_y: int, n: int) -> None:
    from sklearn.metrics import mutual_info_score

    x, y = rng(seed).integers(m_x, size=n), rng(seed + 1).integers(m_y, size=n)
    found = mutual_information(x, y)
    assert found == pytest.approx(mutual_info_score(x, y), abs=1e-12)
    assert mutual_information([f"v{i}" for i in x], tz.tensor(y).numpy()) == found  # labels of any kind
    table = np.zeros((m_x, m_y), np.int64)
    np.add.at(table, (x, y), 1)
    assert mutual_information(table) == pytest.approx(found, abs=1e-14)
    assert mutual_information(table / n) == pytest.approx(found, abs=1e-12)


@given(SEEDS, st.integers(1, 6), st.integers(1, 6))
def test_identities_of_any_joint_table(seed: int, m_x: int, m_y: int) -> None:
    """Symmetric, >= 0, at most either entropy, the divergence of the joint from the product, H(X) - H(X | Y)."""
    joint = rng(seed).dirichlet(np.full(m_x * m_y, 0.3)).reshape(m_x, m_y)
    value = mutual_information(joint)
    p, q = joint.sum(axis=1), joint.sum(axis=0)
    assert value == pytest.approx(mutual_information(joint.T), abs=1e-12)
    assert -1e-12 <= value <= min(entropy(p), entropy(q)) + 1e-12
    assert value == pytest.approx(kl(joint.ravel(), np.outer(p, q).ravel()).item(), abs=1e-9)
    of_x_given_y = sum(mass * entropy(column) for mass, column in zip(q, joint.T, strict=True) if mass > 0)
    assert value == pytest.approx(entropy(p) - of_x_given_y, abs=1e-9)
    assert mutual_information(np.outer(p, q)) == pytest.approx(0, abs=1e-12)
    assert mutual_information(np.diag(p)) == pytest.approx(entropy(p), abs=1e-12)  # I(X; X) = H(X)


@given(SEEDS, st.integers(2, 5))
def test_processing_adds_no_information(seed: int, m: int) -> None:
    """X → Y → Z: I(X; Z) <= I(X; Y)."""
    joint = rng(seed).dirichlet(np.full(m * m, 0.3)).reshape(m, m)
    channel = rng(seed + 1).dirichlet(np.full(m, 0.5), m)  # p(z | y)
    assert mutual_information(joint @ channel) <= mutual_information(joint) + 1e-12
    assert mutual_information(joint[:, rng(seed).permutation(m)]) == pytest.approx(mutual_information(joint), abs=1e-12)


def test_the_digests_table() -> None:
    joint = np.array([[0.3, 0.1], [0.2, 0.4]])
    expected = sum(
        joint[i, j] * math.log(joint[i, j] / (joint[i].sum() * joint[:, j].sum())) for i in (0, 1) for j in (0, 1)
    )
    assert mutual_information(joint) == pytest.approx(expected, rel=1e-12)


def test_miller_and_madow_take_most_of_the_bias_away() -> None:
    draws, m, n = 400, 5, 100
    x, y = rng(1).integers(m, size=(2, draws, n))
    plain = np.mean([mutual_information(a, b) for a, b in zip(x, y, strict=True)])
    corrected = np.mean([mutual_information(a, b, miller_madow=True) for a, b in zip(x, y, strict=True)])
    assert plain == pytest.approx((m - 1) ** 2 / (2 * n), rel=0.15)  # the truth is 0
    assert abs(corrected) < 0.15 * plain
    one = mutual_information(x[0], y[0], miller_madow=True) - mutual_information(x[0], y[0])
    both = len({*zip(x[0].tolist(), y[0].tolist(), strict=True)})
    assert one == pytest.approx((2 * m - both - 1) / (2 * n), rel=1e-9)
    entropies = np.mean([entropy(np.bincount(a, minlength=m), miller_madow=True) for a in x])
    assert entropies == pytest.approx(math.log(m), abs=2e-3)


# ---- continuous
def gaussians(rho: float, n: int, d: int = 1, seed: int = 0) -> tuple[Any, Any, float]:
    x, noise = rng(seed).standard_normal((2, n, d))
    return x, rho * x + math.sqrt(1 - rho * rho) * noise, -0.5 * d * math.log(1 - rho * rho)


@pytest.mark.parametrize("k", [3, 5])
def test_nearest_neighbours_are_scikit_learns(k: int) -> None:
    from sklearn.feature_selection import mutual_info_regression

    for rho in (0.0, 0.6, 0.95):
        x, y, _ = gaussians(rho, 400)
        x, y = x / x.std(), y / y.std()  # it scales both
        expected = mutual_info_regression(x, y[:, 0], n_neighbors=k, random_state=0)[0]
        assert ksg_mi(x, y, k=k) == pytest.approx(expected, abs=1e-9)


def test_nearest_neighbours_find_the_gaussian_truth() -> None:
    for rho, d in ((0.0, 1), (0.5, 1), (0.9, 1), (0.6, 3)):
        x, y, truth = gaussians(rho, 3_000, d)
        assert ksg_mi(x, y) == pytest.approx(truth, abs=0.07)
        assert ksg_mi(x, y) == pytest.approx(ksg_mi(y, x), abs=1e-12)
    x, y, _ = gaussians(0.9, 500)
    assert ksg_mi(np.exp(x), y**3) == pytest.approx(ksg_mi(x, y), abs=0.15)  # no change by invertible maps


# ---- bounds
def critic(rho: float, x: Any, y: Any) -> Any:
    """log p(x, y) / p(x) p(y) of every x with every y, (N, N)."""
    a, b = x[:, None], y[None]
    return (
        (a * a + b * b) / 2 - (a * a - 2 * rho * a * b + b * b) / (2 * (1 - rho * rho)) - 0.5 * math.log(1 - rho * rho)
    ).sum(-1)


@pytest.mark.parametrize("rho", [0.3, 0.6])
def test_with_the_best_critic_they_are_the_truth(rho: float) -> None:
    x, y, truth = gaussians(rho, 3_000)
    scores = critic(rho, x, y)
    own, others = pair_scores(scores)
    for value in (dv_bound(own, others), nwj_bound(own + 1, others + 1)):
        assert value.item() == pytest.approx(truth, abs=0.03)
    assert infonce_bound(scores).item() == pytest.approx(truth, abs=0.03)
    assert dv_bound(own + 5, others + 5).item() == pytest.approx(dv_bound(own, others).item(), abs=1e-9)


@given(SEEDS, st.integers(2, 12), st.floats(0.01, 50))
@settings(max_examples=60)
def test_what_holds_for_any_scores(seed: int, n: int, scale: float) -> None:
    scores = scale * rng(seed).standard_normal((n, n))
    own, others = pair_scores(scores)
    assert infonce_bound(scores).item() <= math.log(n) + 1e-12
    assert nwj_bound(own, others).item() <= dv_bound(own, others).item() + 1e-9 * scale  # e^(u - 1) >= u
    assert jsd_bound(own, others).item() <= 1e-12
    shift = math.log(np.exp(others.numpy() - others.numpy().max()).mean()) + others.numpy().max() - 1
    same = nwj_bound(own - shift, others - shift).item()  # normalised, NWJ is DV
    assert same == pytest.approx(dv_bound(own, others).item(), abs=1e-9 * max(1, scale))


@given(SEEDS, st.integers(2, 5))
@settings(max_examples=60)
def test_no_critic_beats_the_truth(seed: int, m: int) -> None:
    """Of a finite table the expectations are sums: both bounds, and the JS one, for any T and for the best one."""
    joint = rng(seed).dirichlet(np.ones(m * m)).reshape(m, m)
    product, truth = np.outer(joint.sum(1), joint.sum(0)), mutual_information(joint)
    divergence = 2 * js(joint.ravel(), product.ravel()).item() - 2 * math.log(2)

    def values(t: Any) -> tuple[float, float, float]:
        dv = (joint * t).sum() - math.log((product * np.exp(t)).sum())
        nwj = (joint * t).sum() - (product * np.exp(t - 1)).sum()
        jsd = -(joint * np.logaddexp(0, -t)).sum() - (product * np.logaddexp(0, t)).sum()
        return dv, nwj, jsd

    dv, nwj, jsd = values(rng(seed + 1).standard_normal((m, m)))
    assert nwj <= dv + 1e-12 and dv <= truth + 1e-12 and jsd <= divergence + 1e-9
    best = np.log(joint / product)
    assert values(best)[0] == pytest.approx(truth, abs=1e-9) and values(best + 1)[1] == pytest.approx(truth, abs=1e-9)
    assert values(best)[2] == pytest.approx(divergence, abs=1e-7)


def test_the_functions_are_those_sums_over_draws() -> None:
    """Each pair as often as its probability says: the functions give the expectations exactly."""
    counts = np.array([[6, 2], [1, 3]])
    t = rng(2).standard_normal((2, 2))
    product = np.outer(counts.sum(1), counts.sum(0))
    own, others = np.repeat(t.ravel(), counts.ravel()), np.repeat(t.ravel(), product.ravel())
    p, q = counts / counts.sum(), product / product.sum()
    assert dv_bound(own, others).item() == pytest.approx((p * t).sum() - math.log((q * np.exp(t)).sum()), rel=1e-12)
    assert nwj_bound(own, others).item() == pytest.approx((p * t).sum() - (q * np.exp(t - 1)).sum(), rel=1e-12)
    expected = -(p * np.logaddexp(0, -t)).sum() - (q * np.logaddexp(0, t)).sum()
    assert jsd_bound(own, others).item() == pytest.approx(expected, rel=1e-12)


def test_a_batchs_own_pairs_are_not_among_the_others() -> None:
    scores = np.arange(16.0).reshape(4, 4)
    own, others = pair_scores(scores)
    assert own.tolist() == [0, 5, 10, 15]
    assert sorted(others.tolist()) == sorted({*range(16)} - {0, 5, 10, 15})


def test_the_bounds_do_not_overflow() -> None:
    own, others = np.array([1e4, 2e4]), np.array([1e4, -1e4, 3e4])
    assert dv_bound(own, others).item() == pytest.approx(1.5e4 - 3e4 + math.log(3))
    assert jsd_bound(own, others).item() == pytest.approx(-4e4 / 3)
    assert infonce_bound(1e5 * np.eye(3)).item() == pytest.approx(math.log(3))


@pytest.mark.oracle("torch")
def test_gradients_are_those_of_torch() -> None:
    values = rng(3).standard_normal((6, 6))
    eye = torch.eye(6, dtype=torch.bool)
    theirs = {
        dv_bound: lambda t: t[eye].mean() - (torch.logsumexp(t[~eye], 0) - math.log(30)),
        nwj_bound: lambda t: t[eye].mean() - torch.exp(t[~eye] - 1).mean(),
        jsd_bound: lambda t: (
            -torch.nn.functional.softplus(-t[eye]).mean() - torch.nn.functional.softplus(t[~eye]).mean()
        ),
        infonce_bound: lambda t: math.log(6) - torch.nn.functional.cross_entropy(t, torch.arange(6)),
    }
    for bound, other in theirs.items():
        ours, expected = tz.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        value = bound(ours) if bound is infonce_bound else bound(*pair_scores(ours))
        value.backward()
        other(expected).backward()
        assert value.item() == pytest.approx(other(expected).item(), rel=1e-12)
        np.testing.assert_allclose(ours.grad.numpy(), expected.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_second_derivatives() -> None:
    scores = rng(4).standard_normal((3, 3))
    for bound in (dv_bound, nwj_bound, jsd_bound):
        check_gradients(lambda t, bound=bound: bound(*pair_scores(t)), scores, order=2)
    check_gradients(infonce_bound, scores, order=2)


# ---- errors
def test_errors() -> None:
    with pytest.raises(UsageError, match="entropy: expected probabilities or counts >= 0, not all 0"):
        entropy([0.0, 0.0])
    with pytest.raises(UsageError, match="entropy: expected base > 1, got 1"):
        entropy([0.5, 0.5], base=1)
    with pytest.raises(UsageError, match="entropy: miller_madow needs counts"):
        entropy([0.5, 0.5], miller_madow=True)
    with pytest.raises(ShapeError, match=r"expected a joint table \(m_x, m_y\), got \(2,\)"):
        mutual_information([0.5, 0.5])
    with pytest.raises(ShapeError, match=r"expected labels \(N,\) and \(N,\), got \(2,\) and \(3,\)"):
        mutual_information([0, 1], [0, 1, 1])
    with pytest.raises(UsageError, match="expected 1 <= k < N = 3, got 3"):
        ksg_mi([0.0, 1.0, 2.0], [0.0, 1.0, 2.0], k=3)
    with pytest.raises(UsageError, match="ksg_mi: expected finite numbers"):
        ksg_mi([0.0, math.nan], [0.0, 1.0], k=1)
    for wrong in (np.zeros((2, 3)), np.zeros(4), np.zeros((1, 1))):
        with pytest.raises(ShapeError, match=r"pair_scores: expected scores \(N, N\) with N >= 2"):
            pair_scores(wrong)
    matrix = np.zeros((3, 3))
    for bound in (dv_bound, nwj_bound, jsd_bound):
        for pair in ((np.zeros(2), np.zeros(0)), (matrix, matrix), (np.zeros(3), matrix), (matrix, np.zeros(3))):
            with pytest.raises(ShapeError, match=rf"write {bound.__name__}\(\*pair_scores\(scores\)\)"):
                bound(*pair)
    with pytest.raises(ShapeError, match=r"infonce_bound: expected scores \(N, N\), got \(2, 3\)"):
        infonce_bound(np.zeros((2, 3)))

"""Divergences: what each must be, where supports part, gradients of both orders, and other libraries' numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import information
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.information import js, kl, reverse_kl, tv
from tinygrad_zoo.testing import check_gradients

torch = oracles.load("torch")
ALL = (kl, reverse_kl, js, tv)


def drawn(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).dirichlet(np.ones(shape[-1]), shape[:-1])


def test_kl_is_of_the_first_under_the_first() -> None:
    """KL(p‖q) in numbers: swapped arguments give another one."""
    p, q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])
    forward = 0.7 * math.log(7) + 0.2 * math.log(2 / 3) + 0.1 * math.log(1 / 6)
    backward = 0.1 * math.log(1 / 7) + 0.3 * math.log(1.5) + 0.6 * math.log(6)
    assert abs(forward - backward) > 0.09
    assert kl(p, q).item() == pytest.approx(forward, rel=1e-14)
    assert reverse_kl(p, q).item() == kl(q, p).item() == pytest.approx(backward, rel=1e-14)


@pytest.mark.parametrize("divergence", ALL)
def test_none_from_itself_and_positive_from_another(divergence: Any) -> None:
    p, q = drawn(50, 6), drawn(50, 6, seed=1)
    assert (divergence(p, p).numpy() == 0).all()
    values = divergence(p, q).numpy()
    assert values.shape == (50,) and (values > 0).all()


def test_symmetry_and_bounds() -> None:
    p, q = drawn(50, 6), drawn(50, 6, seed=1)
    for divergence in (js, tv):
        np.testing.assert_allclose(divergence(p, q).numpy(), divergence(q, p).numpy(), rtol=1e-12)
    distance, forward = tv(p, q).numpy(), kl(p, q).numpy()
    assert (distance**2 <= forward / 2).all()  # Pinsker
    assert (js(p, q).numpy() <= math.log(2) * distance).all()  # Lin
    events = np.stack([((np.arange(64)[:, None] >> i) & 1) for i in range(6)], -1)[:, 0]
    differences = np.abs((p - q) @ events.T)
    np.testing.assert_allclose(distance, differences.max(axis=1), rtol=1e-12)  # the largest of any event


def test_supports_that_part() -> None:
    left, right, both = [0.5, 0.5, 0.0, 0.0], [0.0, 0.0, 0.25, 0.75], [0.25, 0.25, 0.25, 0.25]
    assert kl(left, right).item() == reverse_kl(left, right).item() == kl(both, left).item() == math.inf
    assert kl(left, both).item() == pytest.approx(math.log(2))
    assert js(left, right).item() == pytest.approx(math.log(2)) and tv(left, right).item() == 1
    nan = [math.nan, 0.5, 0.25, 0.25]
    assert all(math.isnan(divergence(*pair).item()) for divergence in ALL for pair in ((nan, both), (both, nan)))


@pytest.mark.parametrize("divergence", ALL)
def test_gradients(divergence: Any) -> None:
    p, q = (tz.tensor(0.1 + drawn(2, 4, seed=seed)) for seed in (0, 1))  # away from 0, and |p - q| from its kink
    check_gradients(divergence, p, q, order=2)


@pytest.mark.parametrize("divergence", [kl, js, tv])
def test_gradients_where_an_entry_of_p_is_none(divergence: Any) -> None:
    p, q = (
        tz.tensor([0.0, 0.4, 0.6], "float64").requires_grad_(),
        tz.tensor([0.3, 0.3, 0.4], "float64").requires_grad_(),
    )
    divergence(p, q).backward()
    assert np.isfinite(p.grad.numpy()).all() and np.isfinite(q.grad.numpy()).all()
    assert q.grad.numpy()[0] == pytest.approx({"kl": 0.0, "js": 0.5 * math.log(2), "tv": 0.5}[divergence.__name__])


def test_the_gradient_of_maximum_likelihood() -> None:
    """∂KL(p‖softmax(a))/∂a = softmax(a) - p: that of the cross-entropy."""
    p, a = drawn(3, 5), tz.tensor(np.random.default_rng(2).standard_normal((3, 5))).requires_grad_()
    kl(p, tz.softmax(a, axis=-1)).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), tz.softmax(a, axis=-1).numpy() - p, atol=1e-14)


def gaussian(x: np.ndarray[Any, Any], mean: float, std: float) -> np.ndarray[Any, Any]:
    return scipy.stats.norm.pdf(x, mean, std)


def test_densities_on_a_grid() -> None:
    x, cell = np.linspace(-15, 15, 6001, retstep=True)
    p, q = gaussian(x, 0.0, 1.0), gaussian(x, 1.0, 2.0)
    closed = math.log(2) + (1 + 1) / 8 - 0.5  # of KL(N(0, 1)‖N(1, 4))
    assert kl(p, q, cell=cell).item() == pytest.approx(closed, rel=1e-10)
    assert reverse_kl(p, q, cell=cell).item() == pytest.approx(-math.log(2) + (4 + 1) / 2 - 0.5, rel=1e-10)
    shifted = 2 * scipy.stats.norm.cdf(0.5) - 1  # of two normals of variance 1, one apart
    assert tv(p, gaussian(x, 1.0, 1.0), cell=cell).item() == pytest.approx(shifted, rel=1e-5)
    y = np.linspace(-8, 8, 201)
    plane = gaussian(y, 0, 1)[:, None] * gaussian(y, 0, 1), gaussian(y, 0.5, 1)[:, None] * gaussian(y, -1, 1)
    area = (y[1] - y[0]) ** 2
    assert kl(*plane, axis=None, cell=area).item() == pytest.approx((0.25 + 1) / 2, rel=1e-9)
    assert kl(*plane, axis=(0, 1), cell=area).item() == pytest.approx((0.25 + 1) / 2, rel=1e-9)


def test_tiny_probabilities_do_not_overflow() -> None:
    p, q = tz.tensor([1.0, 0.0], "float32"), tz.tensor([1e-44, 1.0], "float32")
    assert kl(p, q).item() == pytest.approx(-math.log(float(q.numpy()[0])), rel=1e-6)


def test_scipy() -> None:
    p, q = drawn(20, 7), drawn(20, 7, seed=1)
    p[:, 2] = 0
    p /= p.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(kl(p, q).numpy(), scipy.stats.entropy(p, q, axis=1), rtol=1e-12)
    expected = scipy.spatial.distance.jensenshannon(p, q, axis=1) ** 2
    np.testing.assert_allclose(js(p, q).numpy(), expected, rtol=1e-12)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("divergence", "swapped"), [(kl, False), (reverse_kl, True)])
def test_torch_values_and_gradients(divergence: Any, swapped: bool) -> None:
    p, q = drawn(20, 7), drawn(20, 7, seed=1)
    theirs = [torch.tensor(x, requires_grad=True) for x in (p, q)]
    both = [torch.distributions.Categorical(logits=x.log()) for x in theirs]
    expected = torch.distributions.kl_divergence(*(both[::-1] if swapped else both))
    np.testing.assert_allclose(divergence(p, q).numpy(), expected.detach().numpy(), rtol=1e-12)
    weights = np.random.default_rng(3).standard_normal(20)
    (expected * torch.tensor(weights)).sum().backward()
    ours = [tz.tensor(x).requires_grad_() for x in (p, q)]
    normalised = [x / x.sum(axis=-1, keepdims=True) for x in ours]  # a Categorical is
    (divergence(*normalised) * weights).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.oracle("torch")
def test_torch_normals() -> None:
    x, cell = np.linspace(-11, 12, 8001, retstep=True)  # no density is 0 here
    normal = torch.distributions.Normal
    for m, s in ((0.3, 0.7), (-2.0, 1.5), (1.0, 3.0)):
        expected = torch.distributions.kl_divergence(normal(0.5, 1.0), normal(m, s)).item()
        assert kl(gaussian(x, 0.5, 1.0), gaussian(x, m, s), cell=cell).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("divergence", ALL)
def test_errors(divergence: Any) -> None:
    with pytest.raises(UsageError, match=rf"{divergence.__name__}: expected q >= 0, got -1: of logits write"):
        divergence([0.5, 0.5], [-1.0, 2.0])
    with pytest.raises(UsageError, match=r"expected p >= 0, got -0\.5"):
        divergence([-0.5, 1.5], [0.5, 0.5])
    with pytest.raises(ShapeError, match=r"p \(2, 3\) and q \(2, 1\) are not over the same values"):
        divergence(np.ones((2, 3)), np.ones((2, 1)))
    with pytest.raises(ShapeError):
        divergence(np.ones((2, 3)), np.ones((4, 3)))


def test_it_is_reached_by_name() -> None:
    assert tz.information is information and tz.information.kl is kl

"""Distributions against scipy.stats, torch.distributions and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.distributions import Independent, MultivariateNormal, Normal
from tinygrad_zoo.errors import DTypeError, LinAlgError, ShapeError, UsageError
from tinygrad_zoo.testing import check_gradients

torch = oracles.load("torch")

DRAW = np.random.default_rng(0)
LOC, SCALE = DRAW.standard_normal((4, 1, 3)), DRAW.random((2, 3)) + 0.5
TRIL = np.tril(DRAW.standard_normal((2, 3, 3))) + 3 * np.eye(3)
X = DRAW.standard_normal((5, 4, 2, 3))


def test_normal_against_scipy() -> None:
    ours, theirs = Normal(LOC, SCALE), stats.norm(LOC, SCALE)
    assert ours.batch_shape == (4, 2, 3) and ours.event_shape == ()
    for name, expected in {
        "log_prob": theirs.logpdf(X),
        "cdf": theirs.cdf(X),
        "entropy": theirs.entropy() + np.zeros((4, 2, 3)),
        "mean": theirs.mean(),
        "variance": theirs.var() + np.zeros((4, 2, 3)),
        "stddev": theirs.std() + np.zeros((4, 2, 3)),
    }.items():
        value = getattr(ours, name)
        value = value(X) if name in ("log_prob", "cdf") else value() if name == "entropy" else value
        assert value.shape == expected.shape
        np.testing.assert_allclose(value.numpy(), expected, rtol=1e-12, atol=1e-12)


def test_independent_sums_over_event_axes() -> None:
    base = Normal(LOC, SCALE)
    for ndims in range(4):
        joint = Independent(base, ndims)
        axes = tuple(range(-ndims, 0))
        assert joint.batch_shape == (4, 2, 3)[: 3 - ndims] and joint.event_shape == (4, 2, 3)[3 - ndims :]
        np.testing.assert_allclose(joint.log_prob(X).numpy(), base.log_prob(X).numpy().sum(axis=axes))
        np.testing.assert_allclose(joint.entropy().numpy(), base.entropy().numpy().sum(axis=axes))
        assert joint.sample((7,), rng=np.random.default_rng(0)).shape == (7, 4, 2, 3)
        assert np.array_equal(joint.mean.numpy(), base.mean.numpy())
        assert np.array_equal(joint.variance.numpy(), base.variance.numpy())
    with pytest.raises(UsageError, match="0 <= ndims <= 3, got 4"):
        Independent(base, 4)


def test_multivariate_normal_against_scipy() -> None:
    ours = MultivariateNormal(LOC, TRIL + np.triu(np.ones((3, 3)), 1))  # what is above the diagonal is not read
    assert ours.batch_shape == (4, 2) and ours.event_shape == (3,)
    assert ours.mean.shape == ours.variance.shape == (4, 2, 3) and ours.entropy().shape == (4, 2)
    log_prob, covariance = ours.log_prob(X), ours.covariance_matrix.numpy()
    assert log_prob.shape == (5, 4, 2)
    for i, j in np.ndindex(4, 2):
        theirs = stats.multivariate_normal(LOC[i, 0], TRIL[j] @ TRIL[j].T)
        np.testing.assert_allclose(log_prob.numpy()[:, i, j], theirs.logpdf(X[:, i, j]), rtol=1e-12)
        np.testing.assert_allclose(ours.entropy().numpy()[i, j], theirs.entropy(), rtol=1e-12)
        np.testing.assert_allclose(covariance[i, j], theirs.cov, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.variance.numpy()[i, j], np.diag(theirs.cov), rtol=1e-12)


def test_one_triangle_for_many_points_is_the_same_as_a_batch_of_it() -> None:
    one, many = MultivariateNormal(LOC[0, 0], TRIL[0]), MultivariateNormal(LOC[0, 0], TRIL[:1])
    np.testing.assert_allclose(one.log_prob(X).numpy(), many.log_prob(X).numpy(), rtol=1e-12)


def test_fit_is_the_maximum_likelihood_gaussian() -> None:
    x = DRAW.standard_normal((50, 3)) @ TRIL[0].T + 1
    fitted = MultivariateNormal.fit(x.astype(np.float32))
    assert fitted.loc.dtype.name == "float64"
    np.testing.assert_allclose(fitted.mean.numpy(), x.mean(0), rtol=1e-6)
    np.testing.assert_allclose(fitted.covariance_matrix.numpy(), np.cov(x.T, bias=True), rtol=1e-6)
    fitted = MultivariateNormal.fit(x)  # at the maximum, the mean NLL of the data is the entropy
    np.testing.assert_allclose(-fitted.log_prob(x).numpy().mean(), fitted.entropy().numpy(), rtol=1e-12)
    assert MultivariateNormal.fit(x[:, :1]).event_shape == (1,)
    with pytest.raises(LinAlgError, match="hyperplane"):
        MultivariateNormal.fit(np.ones((5, 2)))
    with pytest.raises(ShapeError, match=r"more points than dimensions, \(n, d\), got \(2, 2\)"):
        MultivariateNormal.fit(np.eye(2))


@pytest.mark.parametrize(
    ("distribution", "mean", "covariance"),
    [
        (Normal(2.0, 3.0), 2.0, 9.0),
        (Independent(Normal([1.0, 2.0], [1.0, 3.0]), 1), [1.0, 2.0], np.diag([1.0, 9.0])),
        (MultivariateNormal(LOC[0, 0], TRIL[0]), LOC[0, 0], TRIL[0] @ TRIL[0].T),
    ],
)
def test_samples_have_the_moments(distribution: Any, mean: Any, covariance: Any) -> None:
    x = distribution.sample((200_000,), rng=np.random.default_rng(1))
    assert not x.requires_grad and x.shape == (200_000, *distribution.event_shape)
    np.testing.assert_allclose(x.numpy().mean(0), mean, atol=0.05)
    np.testing.assert_allclose(np.cov(x.numpy().T), covariance, rtol=0.02, atol=0.08)
    again = distribution.rsample((200_000,), rng=np.random.default_rng(1))
    assert np.array_equal(again.numpy(), x.numpy())


def test_gradients() -> None:
    x = DRAW.standard_normal((2, 3))
    check_gradients(lambda x, loc, scale: Normal(loc, scale).log_prob(x), x, LOC[0], SCALE)
    check_gradients(lambda x, loc, scale: Normal(loc, scale).cdf(x), x, LOC[0], SCALE)
    check_gradients(lambda scale: Normal(0.0, scale).entropy(), SCALE)
    check_gradients(lambda x, loc, tril: MultivariateNormal(loc, tril).log_prob(x), x, LOC[0, 0], TRIL[0])
    check_gradients(lambda tril: MultivariateNormal(np.zeros(3), tril).entropy(), TRIL[0])
    draws = {
        "normal": lambda loc, scale: Normal(loc, scale).rsample((4,), rng=np.random.default_rng(0)),
        "joint": lambda loc, scale: Independent(Normal(loc, scale), 1).rsample((4,), rng=np.random.default_rng(0)),
    }
    for draw in draws.values():
        check_gradients(draw, LOC[0], SCALE)
    check_gradients(
        lambda loc, tril: MultivariateNormal(loc, tril).rsample((4,), rng=np.random.default_rng(0)), LOC[0, 0], TRIL[0]
    )


def test_a_density_indexes_with_no_array_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device refuses one."""
    getitem = tz.Tensor.__getitem__

    def checked(x: Any, index: Any) -> Any:
        assert not any(isinstance(part, np.ndarray) for part in (index if isinstance(index, tuple) else (index,)))
        return getitem(x, index)

    monkeypatch.setattr(tz.Tensor, "__getitem__", checked)
    for tril in (TRIL, TRIL[0]):
        ours = MultivariateNormal(LOC, tril)
        assert np.isfinite(ours.log_prob(X).numpy()).all() and np.isfinite(ours.entropy().numpy()).all()


@pytest.mark.parametrize(
    "distribution",
    [Normal(LOC, SCALE), Independent(Normal(LOC, SCALE), 1), MultivariateNormal(LOC[0, 0], TRIL[0])],
)
def test_a_number_is_a_shape(distribution: Any) -> None:
    for n in (3, np.int64(3)):
        x, y = (distribution.sample(shape, rng=np.random.default_rng(0)) for shape in (n, (3,)))
        assert x.shape == y.shape and np.array_equal(x.numpy(), y.numpy())


def test_parameters_buffers_and_computed_tensors() -> None:
    loc = nn.Parameter([0.0, 1.0])
    learnt = Independent(Normal(loc, 2), 1)
    assert list(learnt.parameters()) == [loc] and list(learnt.state_dict()) == ["base.loc", "base.scale"]
    assert learnt.base.scale.dtype.name == "float32"  # an integer is a number like another
    computed = loc * 2
    assert Normal(computed, 1.0).loc is computed
    sample = learnt.to("float64").sample(rng=np.random.default_rng(0))
    assert sample.dtype.name == "float64" and sample.shape == (2,)
    assert repr(learnt).startswith("Independent(batch_shape=(), event_shape=(2,))  # 2 parameters\n  base: Normal(")


def test_errors() -> None:
    with pytest.raises(UsageError, match="scale > 0"):
        Normal(0.0, [1.0, 0.0])
    with pytest.raises(UsageError, match="scale > 0"):
        Normal(0.0, float("nan"))
    with pytest.raises(ShapeError, match="do not broadcast"):
        Normal(np.zeros(2), np.ones(3))
    with pytest.raises(ShapeError, match=r"\(5,\) does not broadcast with the batch \(3,\)"):
        Normal(0.0, np.ones(3)).log_prob(np.zeros(5))
    with pytest.raises(ShapeError, match=r"events of shape \(2,\), got values of shape \(5, 1\)"):
        Independent(Normal(0.0, np.ones(2)), 1).log_prob(np.zeros((5, 1)))  # would broadcast to a wrong density
    with pytest.raises(ShapeError, match=r"scale_tril \(…, d, d\), got \(2,\) and \(3, 3\)"):
        MultivariateNormal(np.zeros(2), np.eye(3))
    with pytest.raises(UsageError, match="diagonal of scale_tril must be > 0"):
        MultivariateNormal(np.zeros(2), -np.eye(2))
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        Normal(0.0, 1.0).sample(rng=0)  # type: ignore[arg-type]


@pytest.mark.oracle("torch")
def test_against_torch_distributions() -> None:
    td = torch.distributions
    cases = [
        (lambda loc, scale: Normal(loc, scale), td.Normal, LOC, SCALE),
        (
            lambda loc, scale: Independent(Normal(loc, scale), 2),
            lambda a, b: td.Independent(td.Normal(a, b), 2),
            LOC,
            SCALE,
        ),
        (MultivariateNormal, lambda a, b: td.MultivariateNormal(a, scale_tril=b), LOC, TRIL),
    ]
    for make, theirs, *values in cases:
        mine = [tz.tensor(v, requires_grad=True) for v in (*values, X)]
        torchs = [torch.tensor(v, requires_grad=True) for v in (*values, X)]
        ours, expected = make(*mine[:2]), theirs(*torchs[:2])
        assert ours.batch_shape == tuple(expected.batch_shape) and ours.event_shape == tuple(expected.event_shape)
        for value, reference in (
            (ours.log_prob(mine[2]), expected.log_prob(torchs[2])),
            (ours.entropy(), expected.entropy()),
            (ours.mean, expected.mean),
            (ours.variance, expected.variance),
        ):
            np.testing.assert_allclose(value.numpy(), reference.detach().numpy(), rtol=1e-12, atol=1e-12)
        (ours.log_prob(mine[2]).sum() + ours.entropy().sum()).backward()
        (expected.log_prob(torchs[2]).sum() + expected.entropy().sum()).backward()
        for a, b in zip(mine, torchs, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-9)

"""Initialisers: their distributions by Kolmogorov-Smirnov tests, their fans and gains, and torch.nn.init's names."""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.nn import init

torch = oracles.load("torch")

SHAPE = (40, 30, 3)  # fan_in 90, fan_out 120
GAIN = math.sqrt(2 / (1 + 0.2**2))  # of leaky_relu with slope 0.2


def uniform(bound: float) -> Any:
    return stats.uniform(-bound, 2 * bound)


CASES: list[tuple[str, dict[str, Any], Any]] = [
    ("uniform_", {"a": -1.0, "b": 3.0}, stats.uniform(-1, 4)),
    ("normal_", {"mean": 2.0, "std": 3.0}, stats.norm(2, 3)),
    ("trunc_normal_", {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 4.0}, stats.truncnorm(-0.75, 1.75, 0.5, 2)),
    ("trunc_normal_", {"a": 6.0, "b": 7.0}, stats.truncnorm(6, 7)),  # far out in the upper tail
    ("trunc_normal_", {"a": -30.0, "b": -29.0}, stats.truncnorm(-30, -29)),
    ("xavier_uniform_", {"gain": 2.0}, uniform(2 * math.sqrt(6 / 210))),
    ("xavier_normal_", {"gain": 2.0}, stats.norm(0, 2 * math.sqrt(2 / 210))),
    ("kaiming_uniform_", {}, uniform(math.sqrt(6 / 90))),
    ("kaiming_uniform_", {"a": 0.2, "mode": "fan_out"}, uniform(GAIN * math.sqrt(3 / 120))),
    ("kaiming_normal_", {"a": 0.2}, stats.norm(0, GAIN / math.sqrt(90))),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "tanh"}, stats.norm(0, 5 / 3 / math.sqrt(120))),
    ("lecun_normal_", {}, stats.norm(0, 1 / math.sqrt(90))),
]


@pytest.mark.parametrize(("name", "settings", "expected"), CASES)
def test_distribution(name: str, settings: dict[str, Any], expected: Any) -> None:
    x = tz.zeros(SHAPE, dtype="float64")
    memory, version = x.data, x.version[0]
    assert getattr(init, name)(x, **settings, rng=np.random.default_rng(0)) is x
    assert x.data is memory and x.version[0] > version
    assert stats.kstest(x.numpy().ravel(), expected.cdf).pvalue > 0.01
    again = getattr(init, name)(tz.zeros(SHAPE), **settings, rng=np.random.default_rng(0))
    assert np.array_equal(again.numpy(), x.numpy().astype(np.float32))  # the same numbers in every dtype


def test_constants() -> None:
    x = tz.ones(3)
    assert init.zeros_(x).tolist() == [0, 0, 0] and init.ones_(x).tolist() == [1, 1, 1]
    assert init.constant_(x, 2.5).tolist() == [2.5, 2.5, 2.5]


@pytest.mark.parametrize("shape", [(5, 5), (3, 8), (8, 3), (4, 2, 3)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    w = init.orthogonal_(tz.zeros(shape, dtype="float64"), gain=2.0, rng=np.random.default_rng(0)).numpy()
    w = w.reshape(shape[0], -1)
    product = w @ w.T if w.shape[0] <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 4 * np.eye(len(product)), atol=1e-12)


def test_orthogonal_is_haar_distributed() -> None:
    """Without the signs of R's diagonal, the first entry would never be positive."""
    draw = np.random.default_rng(0)
    first = [init.orthogonal_(tz.zeros((2, 2)), rng=draw).numpy()[0, 0] for _ in range(400)]
    angles = np.arccos(np.array(first))  # uniform on [0, π] for a random direction of the plane
    assert stats.kstest(angles, stats.uniform(0, math.pi).cdf).pvalue > 0.01


def test_errors() -> None:
    draw = np.random.default_rng(0)
    with pytest.raises(ShapeError, match=r"kaiming_uniform_: expected a weight .* got shape \(3,\)"):
        init.kaiming_uniform_(tz.zeros(3), rng=draw)
    with pytest.raises(UsageError, match="mode='fan'"):
        init.kaiming_normal_(tz.zeros((2, 2)), mode="fan", rng=draw)
    with pytest.raises(UsageError, match="no gain for 'gelu'"):
        init.calculate_gain("gelu")
    with pytest.raises(UsageError, match="a < b"):
        init.trunc_normal_(tz.zeros(3), a=1, b=1, rng=draw)
    with pytest.raises(UsageError, match="std >= 0"):
        init.normal_(tz.zeros(3), std=-1, rng=draw)


@pytest.mark.oracle("torch")
def test_gains_names_and_defaults_are_torchs() -> None:
    for name in ("linear", "sigmoid", "tanh", "relu", "selu"):
        assert init.calculate_gain(name) == pytest.approx(torch.nn.init.calculate_gain(name))
    assert init.calculate_gain("leaky_relu", 0.3) == pytest.approx(torch.nn.init.calculate_gain("leaky_relu", 0.3))
    for name in {case[0] for case in CASES} - {"lecun_normal_"} | {"orthogonal_"}:
        theirs = inspect.signature(getattr(torch.nn.init, name)).parameters
        for parameter in inspect.signature(getattr(init, name)).parameters.values():
            if parameter.name not in ("tensor", "rng"):
                assert theirs[parameter.name].default == parameter.default

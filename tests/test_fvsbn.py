"""FVSBN: the laws, its definition bit by bit, PyTorch's numbers, and the recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoregressive_laws as laws
import oracles
import tinygrad_zoo as tz
from autoregressive_laws import all_bits, drawn, rng
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.models.autoregressive import FVSBN
from tinygrad_zoo.models.autoregressive.fvsbn import RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
ORDERS: list[Any] = [None, [2, 0, 3, 1, 4, 9, 6, 5, 8, 7], np.arange(10)[::-1]]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("law", laws.LAWS)
def test_laws(law: Any, order: Any) -> None:
    law(drawn(FVSBN(10, order=order)))


def test_draws_agree_with_the_density() -> None:
    laws.law_samples(drawn(FVSBN(5, order=[3, 1, 0, 4, 2]), spread=0.7))


def test_gradients_and_state() -> None:
    laws.law_gradients(FVSBN(10), rng().integers(0, 2, (20, 10)))
    laws.law_state(lambda seed: FVSBN(4), all_bits(4))
    assert repr(FVSBN(2, order=[1, 0])) == "FVSBN(2, order=[1, 0])  # 6 parameters"


def test_each_bit_is_a_logistic_regression_on_those_before() -> None:
    model = drawn(FVSBN(6))
    weight, bias = model.weight.numpy(), model.bias.numpy()
    for x in all_bits(6)[::7]:
        total = 0.0
        for i in range(6):
            p = 1 / (1 + np.exp(-(bias[i] + sum(weight[i, j] * x[j] for j in range(i)))))
            total += np.log(p if x[i] else 1 - p)
        assert model.log_prob(x[None]).item() == pytest.approx(total, rel=1e-12)


def test_two_bits_have_any_distribution_and_three_have_not() -> None:
    """n (n + 1) / 2 numbers are the 2ⁿ - 1 of a table for n = 2; for n = 3 one is missing: no x₂ = x₀ xor x₁."""
    p = np.array([[0.1, 0.2], [0.3, 0.4]])  # of x₀, x₁
    model = FVSBN(2).to("float64")
    first, (second, third) = np.log(p[1].sum() / p[0].sum()), np.log(p[:, 1] / p[:, 0])
    model.bias.data = np.array([first, second])
    model.weight.data = np.array([[0.0, 0.0], [third - second, 0.0]])
    np.testing.assert_allclose(np.exp(model.log_prob(all_bits(2)).numpy()), p.ravel(), rtol=1e-12)
    parity = np.array([x for x in all_bits(3) if x.sum() % 2 == 0])
    other = FVSBN(3).to("float64")
    optimizer = tz.optim.Adam(other.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        nll = -other.log_prob(parity).mean()
        nll.backward()
        optimizer.step()
    assert nll.item() == pytest.approx(3 * np.log(2), abs=1e-6)  # where 2 log 2 is the entropy


def test_at_the_optimum_expectations_are_the_data_s() -> None:
    """Of an exponential family: Σ (x - σ(a)) = 0, and so it is times every bit before."""
    x = (rng(3).random((60, 4)) < [0.3, 0.5, 0.6, 0.4]).astype(float)
    model = FVSBN(4).to("float64")
    optimizer = tz.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(600):
        optimizer.zero_grad()
        (-model.log_prob(x).mean()).backward()
        optimizer.step()
    left = x - tz.sigmoid(model(x)).numpy()
    np.testing.assert_allclose(left.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(np.tril(left.T @ x / len(x), -1), 0, atol=1e-4)


@pytest.mark.oracle("torch")
def test_torch_values_and_gradients() -> None:
    order = [3, 0, 4, 1, 2]
    model, x = drawn(FVSBN(5, order=order)), all_bits(5)
    ours = model.log_prob(x)
    (ours * tz.tensor(rng(4).standard_normal(32))).sum().backward()
    weight, bias = (torch.tensor(p.numpy(), requires_grad=True) for p in (model.weight, model.bias))
    rows, total = torch.tensor(x), torch.zeros(32, dtype=torch.float64)
    for place, i in enumerate(order):  # one regression after the other, by index
        earlier = order[:place]
        logits = bias[i] + rows[:, earlier] @ weight[i, earlier]
        total = total + torch.distributions.Bernoulli(logits=logits).log_prob(rows[:, i])
    (total * torch.tensor(rng(4).standard_normal(32))).sum().backward()
    np.testing.assert_allclose(ours.numpy(), total.detach().numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.weight.grad.numpy(), weight.grad.numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(model.bias.grad.numpy(), bias.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"an order with each of 0\.\.2 once, got \[0, 0, 2\]"):
        FVSBN(3, order=[0, 0, 2])
    with pytest.raises(ShapeError, match=r"FVSBN: expected bits \(N, 3\), got \(2, 4\)"):
        FVSBN(3).log_prob(np.zeros((2, 4)))
    with pytest.raises(UsageError, match=r"expected bits, 0 or 1: write \(x > threshold\)"):
        FVSBN(3).log_prob(np.full((2, 3), 0.5))
    with pytest.raises(tz.errors.DTypeError, match=r"FVSBN\.sample: rng must be a numpy Generator"):
        FVSBN(3).sample(2, rng=0)  # type: ignore[arg-type]


def test_the_recipe_learns(tmp_path: Path) -> None:
    run = fit(RECIPE, steps=150, out=tmp_path / "run", progress=False)
    assert find("fvsbn") is RECIPE and laws.ratio_of_losses(RECIPE, run) < 0.7
    assert run.metrics["test_nll"] < run.baseline["independent bits"]
    assert run.baseline == pytest.approx({"independent bits": 25.336, "Chow–Liu tree": 20.885}, abs=1e-3)
    assert (run.out / "figure.png").stat().st_size > 10_000
    assert np.load(run.out / "samples.npz")["digits"].shape == (40, 8, 8)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    laws.report(RECIPE, runs)
    assert all(run.metrics["test_nll"] < run.baseline["Chow–Liu tree"] - 0.8 for run in runs)

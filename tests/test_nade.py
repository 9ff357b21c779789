"""NADE: the laws, its definition, its cost, PyTorch's numbers, and the recipe."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoregressive_laws as laws
import oracles
import tinygrad_zoo as tz
from autoregressive_laws import all_bits, drawn, rng
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.models.autoregressive import NADE, Autoregressive
from tinygrad_zoo.models.autoregressive.nade import RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
ORDERS: list[Any] = [None, [2, 0, 3, 1, 4, 9, 6, 5, 8, 7], np.arange(10)[::-1]]


def nade(n: int, hidden: int = 6, order: Any = None, seed: int = 0) -> NADE:
    return NADE(n, hidden, order=order, rng=rng(seed))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("law", laws.LAWS)
def test_laws(law: Any, order: Any) -> None:
    law(drawn(nade(10, order=order)))


def test_draws_agree_with_the_density() -> None:
    laws.law_samples(drawn(nade(5, order=[3, 1, 0, 4, 2]), spread=0.6))


def test_gradients_and_state() -> None:
    laws.law_gradients(nade(10), rng().integers(0, 2, (20, 10)))
    laws.law_state(lambda seed: nade(4, seed=seed), all_bits(4))
    assert repr(nade(2, 3)) == "NADE(2)  # 14 parameters"


def test_each_bit_has_a_hidden_layer_on_those_before() -> None:
    """hᵢ = σ(c + W x_<i) from its beginning, for every bit anew: O(n²)."""
    model = drawn(nade(6))
    weight, c, out, bias = (p.numpy() for p in (model.weight, model.hidden_bias, model.out, model.bias))
    for x in all_bits(6)[::7]:
        total = 0.0
        for i in range(6):
            hidden = 1 / (1 + np.exp(-(c + x[:i] @ weight[:i])))
            p = 1 / (1 + np.exp(-(bias[i] + out[i] @ hidden)))
            total += np.log(p if x[i] else 1 - p)
        assert model.log_prob(x[None]).item() == pytest.approx(total, rel=1e-12)


def test_the_running_sum_draws_what_whole_passes_draw() -> None:
    model = drawn(nade(12, order=rng(1).permutation(12)))
    running, passes = model.sample(500, rng=rng(2)), Autoregressive.sample(model, 500, rng=rng(2))
    assert np.array_equal(running.numpy(), passes.numpy())


def peak(bits: int) -> int:
    model, x = nade(bits, 16), np.zeros((8, bits), np.float32)
    with tz.no_grad():
        model.log_prob(x)
        tracemalloc.start()
        model.log_prob(x)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


def test_memory_grows_with_the_bits_and_not_with_their_square() -> None:
    assert peak(800) < 2.3 * peak(400)


@pytest.mark.oracle("torch")
def test_torch_values_and_gradients() -> None:
    order = [3, 0, 4, 1, 2]
    model, x = drawn(nade(5, order=order)), all_bits(5)
    weights = rng(4).standard_normal(32)
    ours = model.log_prob(x)
    (ours * weights).sum().backward()
    names = [name for name, _ in model.named_parameters()]
    leaves = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    rows, total = torch.tensor(x), torch.zeros(32, dtype=torch.float64)
    running = leaves["hidden_bias"].expand(32, -1)
    for place, i in enumerate(order):
        logits = torch.sigmoid(running) @ leaves["out"][place] + leaves["bias"][place]
        total = total + torch.distributions.Bernoulli(logits=logits).log_prob(rows[:, i])
        if place < 4:
            running = running + torch.outer(rows[:, i], leaves["weight"][place])
    (total * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(ours.numpy(), total.detach().numpy(), rtol=1e-9, atol=1e-9)
    assert len(names) == 4
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), leaves[name].grad.numpy(), rtol=1e-9, atol=1e-9)


def test_errors() -> None:
    with pytest.raises(UsageError, match=r"NADE: expected n >= 2 bits and hidden >= 1, got 1 and 4"):
        nade(1, 4)
    with pytest.raises(UsageError, match=r"NADE: expected an order with each of 0\.\.2 once"):
        nade(3, order=[1, 2, 3])
    with pytest.raises(ShapeError, match=r"NADE: expected bits \(N, 3\), got \(3,\)"):
        nade(3).log_prob(np.zeros(3))
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        NADE(3, 4)


def test_the_recipe_learns(tmp_path: Path) -> None:
    run = fit(RECIPE, steps=30, out=tmp_path / "run", progress=False)
    assert find("nade") is RECIPE and laws.ratio_of_losses(RECIPE, run) < 0.75
    assert (run.out / "figure.png").stat().st_size > 10_000


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    laws.report(RECIPE, runs)

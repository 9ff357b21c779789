"""MADE: the laws under every order, masks that a law must notice, PyTorch's numbers, and the recipe."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoregressive_laws as laws
import oracles
import tinygrad_zoo as tz
from autoregressive_laws import all_bits, drawn, rng
from tinygrad_zoo import nn
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.models.autoregressive import MADE
from tinygrad_zoo.models.autoregressive.made import RECIPE, masks
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")
ORDERS: list[Any] = [
    [range(10)],
    [[2, 0, 3, 1, 4, 9, 6, 5, 8, 7]],
    [range(10), np.arange(10)[::-1], [2, 0, 3, 1, 4, 9, 6, 5, 8, 7]],
]


def made(n: int, hidden: Any = (24,), orders: Any = None, seed: int = 0) -> MADE:
    return MADE(n, hidden, orders=orders, rng=rng(seed))


@pytest.mark.parametrize("hidden", [(24,), (20, 30)])
@pytest.mark.parametrize("orders", ORDERS)
@pytest.mark.parametrize("law", laws.LAWS)
def test_laws(law: Any, orders: Any, hidden: Any) -> None:
    law(drawn(made(10, hidden, orders), spread=0.7))


def test_every_order_of_four_bits() -> None:
    model = drawn(made(4, (9,), list(permutations(range(4)))), spread=0.7)
    laws.law_autoregressive(model)
    assert abs(np.exp(model.log_prob(all_bits(4)).numpy()).sum() - 1) < 1e-10


def test_draws_agree_with_the_density_of_the_mixture() -> None:
    laws.law_samples(drawn(made(5, orders=[range(5), [3, 1, 0, 4, 2]]), spread=0.6))


def test_gradients_and_state() -> None:
    model = made(10, orders=[range(10), np.arange(10)[::-1]])
    laws.law_gradients(model, rng().integers(0, 2, (20, 10)))
    laws.law_state(lambda seed: made(4, orders=[range(4), [3, 2, 1, 0]], seed=seed), all_bits(4))
    assert repr(model).startswith("MADE(10, orders=2)") and "514 parameters" in repr(model)


def test_the_mixture_is_the_mean_of_its_orders() -> None:
    orders = [range(6), [5, 2, 0, 1, 4, 3]]
    model, x = drawn(made(6, orders=orders)), all_bits(6)
    each = []
    for which, order in enumerate(orders):
        alone = made(6, orders=[order])
        alone.layers = model.layers
        each.append(np.exp(alone.to("float64").log_prob(x).numpy()))
        np.testing.assert_allclose(model.log_probs(x, which).numpy(), alone.log_probs(x).numpy(), rtol=1e-12)
    assert np.abs(each[0] - each[1]).max() > 0.01
    np.testing.assert_allclose(np.exp(model.log_prob(x).numpy()), np.mean(each, axis=0), rtol=1e-12)


# ---- masks that a law must notice
def leaking(made: list[Any], n: int) -> list[Any]:
    """A logit sees hidden units of its own degree, so its own bit."""
    degrees = 1 + np.arange(made[-1].shape[1]) % (n - 1)
    return [*made[:-1], (np.arange(1, n + 1)[:, None] >= degrees).astype(np.float32)]


def strict(made: list[Any], n: int) -> list[Any]:
    """A hidden unit does not see the bit of its own degree."""
    degrees = 1 + np.arange(made[0].shape[0]) % (n - 1)
    return [(degrees[:, None] > np.arange(1, n + 1)).astype(np.float32), *made[1:]]


def unmasked_first(made: list[Any], n: int) -> list[Any]:
    return [np.ones_like(made[0]), *made[1:]]


def unmasked_middle(made: list[Any], n: int) -> list[Any]:
    return [made[0], np.ones_like(made[1]), made[2]]


def unmasked_last(made: list[Any], n: int) -> list[Any]:
    return [*made[:-1], np.ones_like(made[-1])]


def backwards(made: list[Any], n: int) -> list[Any]:
    """Those of the reversed order: normalised, but of another order than the model says it has."""
    return list(masks(np.arange(n)[::-1], [len(mask) for mask in made[:-1]]))


def closed(made: list[Any], n: int) -> list[Any]:
    """No path at all: independent bits."""
    return [np.zeros_like(mask) for mask in made]


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (leaking, laws.law_autoregressive),
        (leaking, laws.law_normalised),
        (strict, laws.law_autoregressive),
        (unmasked_first, laws.law_autoregressive),
        (unmasked_first, laws.law_normalised),
        (unmasked_middle, laws.law_autoregressive),
        (unmasked_middle, laws.law_normalised),
        (unmasked_last, laws.law_autoregressive),
        (unmasked_last, laws.law_normalised),
        (backwards, laws.law_autoregressive),
        (backwards, laws.law_normalised),
        (closed, laws.law_autoregressive),
    ],
)
def test_planted_masks_break_a_law(fault: Callable[[list[Any], int], list[Any]], law: Any) -> None:
    model = made(10, (20, 30))
    model.masks = [[nn.Buffer(mask) for mask in fault([m.numpy() for m in model.masks[0]], 10)]]
    with pytest.raises(AssertionError):
        law(drawn(model, spread=0.7))


def test_masks_by_hand() -> None:
    first, last = masks([0, 1, 2], [4])  # degrees of the hidden units: 1, 2, 1, 2
    assert first.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0], [1, 1, 0]]
    assert last.tolist() == [[0, 0, 0, 0], [1, 0, 1, 0], [1, 1, 1, 1]]
    turned, _ = masks([2, 0, 1], [4])  # bit 2 is the first
    assert turned.tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 1], [1, 0, 1]]


@pytest.mark.oracle("torch")
def test_torch_values_and_gradients() -> None:
    """The same network with a path cut where paths are counted to lead backwards: weights by index, no masks."""
    orders = [[0, 1, 2, 3, 4], [3, 0, 4, 1, 2]]
    model, x, weights = drawn(made(5, (7, 6), orders), spread=0.7), all_bits(5), rng(4).standard_normal(32)
    ours = model.log_prob(x)
    (ours * weights).sum().backward()
    leaves = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    rows, degrees = torch.tensor(x), {1: 1 + np.arange(7) % 4, 2: 1 + np.arange(6) % 4}
    each = []
    for order in orders:
        place = {bit: k + 1 for k, bit in enumerate(order)}
        values = {(0, place[bit], bit): rows[:, bit] for bit in range(5)}  # (layer, degree, unit)
        for layer, size in ((1, 7), (2, 6), (3, 5)):
            weight, bias = leaves[f"layers.{layer - 1}.weight"], leaves[f"layers.{layer - 1}.bias"]
            for unit in range(size):
                degree = place[unit] if layer == 3 else int(degrees[layer][unit])
                total = bias[unit].expand(32)
                for (below, limit, other), value in list(values.items()):
                    if below == layer - 1 and (limit < degree or (layer < 3 and limit == degree)):
                        total = total + weight[unit, other] * value
                values[layer, degree, unit] = torch.relu(total) if layer < 3 else total
        logits = torch.stack([values[3, place[bit], bit] for bit in range(5)], 1)
        each.append(torch.distributions.Bernoulli(logits=logits).log_prob(rows).sum(1))
    expected = torch.logsumexp(torch.stack(each), 0) - np.log(2)
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), leaves[name].grad.numpy(), rtol=1e-9, atol=1e-9)


def test_errors() -> None:
    with pytest.raises(UsageError, match="MADE: expected n >= 2 bits, a hidden layer and an order, got 5, "):
        made(5, ())
    with pytest.raises(UsageError, match="MADE: expected n >= 2 bits, a hidden layer and an order"):
        made(5, orders=[])
    with pytest.raises(UsageError, match=r"each of 0\.\.4 once, got \[0, 1, 2, 3, 3\]"):
        made(5, orders=[[0, 1, 2, 3, 3]])
    with pytest.raises(ShapeError, match=r"MADE: expected bits \(N, 5\), got \(2, 4\)"):
        made(5).log_prob(np.zeros((2, 4)))
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        MADE(5, [8])
    with pytest.raises(DTypeError, match=r"MADE\.sample: rng must be a numpy Generator"):
        made(5).sample(3, rng=None)  # type: ignore[arg-type]


def test_the_recipe_learns_in_every_order(tmp_path: Path) -> None:
    run = fit(RECIPE, steps=40, out=tmp_path / "run", progress=False)
    assert find("made") is RECIPE and laws.ratio_of_losses(RECIPE, run) < 0.75
    assert (run.out / "figure.png").stat().st_size > 10_000
    parts = RECIPE.build(RECIPE.config, RECIPE.data(RECIPE.config, rng()), rng())
    assert len(parts.model.orders) == RECIPE.config.orders > 1
    assert len({tuple(order) for order in parts.model.orders}) == RECIPE.config.orders


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    laws.report(RECIPE, runs)
    assert all(run.metrics["test_nll"] <= run.baseline["Chow–Liu tree"] - 0.8 for run in runs)


def test_order_matters_to_what_is_drawn() -> None:
    """A model whose second bit copies the first can be drawn in that order alone."""
    model = made(2, (2,)).to("float64")
    for layer, (weight, bias) in zip(
        model.layers, (([[1, 0], [1, 0]], [0, 0]), ([[0, 0], [20, 20]], [0, -20])), strict=True
    ):
        layer.weight.data, layer.bias.data = np.array(weight, float), np.array(bias, float)
    x = model.sample(1000, rng=rng()).numpy()
    assert np.array_equal(x[:, 0], x[:, 1]) and 400 < x[:, 0].sum() < 600
    assert tz.sigmoid(model([[1.0, 0.0]])).numpy()[0, 1] > 0.99

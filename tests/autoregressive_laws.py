"""What holds of every autoregressive model of bits: each law raises an AssertionError for a model that breaks it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import scipy.stats

import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.models.autoregressive import MADE, Autoregressive
from tinygrad_zoo.recipe import Recipe

Array = np.ndarray[Any, Any]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def drawn(model: Any, spread: float = 1.0, seed: int = 3) -> Any:
    """In float64, with weights that leave no conditional near a half."""
    draw = rng(seed)
    for x in model.to("float64").parameters():
        nn.init.normal_(x, 0.0, spread, rng=draw)
    return model


def all_bits(n: int) -> Array:
    """(2ⁿ, n)"""
    return np.array(list(product((0.0, 1.0), repeat=n)))


def law_normalised(model: Autoregressive) -> None:
    """Σ p(x) = 1 over all x, and what a beginning has is the same however it goes on."""
    order = model.order
    x = all_bits(len(order))
    p = np.exp(model.log_prob(x).numpy())
    assert p.max() < 0.9 and abs(p.sum() - 1) < 1e-10
    begun = np.cumsum(model.log_probs(x).numpy()[:, order], axis=1)  # log p of the first bits, in the model's order
    for k in range(1, len(order)):
        beginning = x[:, order[:k]] @ 2 ** np.arange(k)
        _, first, which = np.unique(beginning, return_index=True, return_inverse=True)
        np.testing.assert_allclose(begun[:, k - 1], begun[first, k - 1][which], rtol=1e-12, atol=1e-12)


def law_autoregressive(model: Autoregressive) -> None:
    """∂ logit of bit i / ∂ bit j is 0 exactly where j does not come before i in the order, of each order."""
    n = len(model.order)
    points = tz.tensor(3 * rng(5).standard_normal((16, n)))  # several, and far: a ReLU may cut a path at one
    orders = model.orders if isinstance(model, MADE) else [model.order]
    for which, order in enumerate(orders):
        settings = {"which": which} if isinstance(model, MADE) else {}
        jacobian = tz.jacobian(lambda row, settings=settings: model(row[None], **settings)[0])
        seen = np.any([jacobian(x).numpy() != 0 for x in points], axis=0)
        before = np.argsort(order) < np.argsort(order)[:, None]
        assert np.array_equal(seen, before)
    seen = model.dependence((points > 0).numpy())
    assert seen.shape == (n, n) and not np.triu(seen[np.ix_(model.order, model.order)]).any()


def chi_square(probabilities: Array, codes: Array) -> float:
    """How likely counts so far from those expected are, at least 5 being expected of each."""
    expected = probabilities * len(codes)
    assert expected.min() >= 5
    counts = np.bincount(codes, minlength=len(expected))
    return float(scipy.stats.chisquare(counts, expected * counts.sum() / expected.sum()).pvalue)


def law_samples(model: Autoregressive) -> None:
    """Frequencies of draws are what `log_prob` says (χ²); they need no gradient, and one seed gives the same."""
    n = len(model.order)
    x = model.sample(40_000, rng=rng(7))
    assert x.shape == (40_000, n) and not x.requires_grad and set(np.unique(x.numpy())) == {0.0, 1.0}
    assert np.array_equal(x.numpy(), model.sample(40_000, rng=rng(7)).numpy())
    codes = (x.numpy() @ 2.0 ** np.arange(n)[::-1]).astype(int)  # as `all_bits` counts
    assert chi_square(np.exp(model.log_prob(all_bits(n)).numpy()), codes) > 1e-3


def law_gradients(model: Any, x: Any, *labels: Any) -> None:
    """Of every parameter, and finite."""
    model.log_prob(x, *labels).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and np.isfinite(parameter.grad.numpy()).all(), name
        assert np.abs(parameter.grad.numpy()).max() > 0, name


def law_state(make: Callable[[int], Any], x: Any) -> None:
    """What is saved and loaded gives the same numbers."""
    model, other = drawn(make(1), seed=1), drawn(make(2), seed=2)
    assert not np.array_equal(model.log_prob(x).numpy(), other.log_prob(x).numpy())
    other.load_state_dict(model.state_dict())
    assert np.array_equal(model.log_prob(x).numpy(), other.log_prob(x).numpy())


LAWS = (law_normalised, law_autoregressive)


def ratio_of_losses(recipe: Recipe[Any, Any], run: Any) -> float:
    """The mean metric of the last tenth of a run by that of the first tenth."""
    import json

    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    values = np.array([line[recipe.metric] for line in lines])
    tenth = max(1, len(values) // 10)
    return float(values[-tenth:].mean() / values[:tenth].mean())


def report(recipe: Recipe[Any, Any], runs: list[Any]) -> None:
    """Prints what the runs over seeds reached, and asserts the bar."""
    values = [run.metrics[recipe.bar.metric] for run in runs]
    seconds = [run.training_seconds for run in runs]
    print(
        f"{recipe.name}: min {min(values):.4f}, median {np.median(values):.4f}, max {max(values):.4f}; "
        f"{recipe.bar.text}; {dict(runs[0].baseline)}; {np.median(seconds):.1f} s a seed"
    )
    assert recipe.bar.holds(*(run.metrics for run in runs))

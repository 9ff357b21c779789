"""Row G4: digits learnt from rewards alone; the policy gradient against enumeration and against PyTorch."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import gradient_estimators as estimators
from tinygrad_zoo import nn, ops
from tinygrad_zoo.distributions import Categorical
from tinygrad_zoo.models.estimators.policy_gradient import METHODS, RECIPE, probed, reward
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_rewards_rise_within_some_steps(tmp_path: Path) -> None:
    assert find("policy_gradient") is RECIPE and find("G4") is RECIPE
    run = fit(UNDRAWN, out=tmp_path / "run", steps=80, progress=False)
    chance = RECIPE.baseline(RECIPE.data(RECIPE.config, rng()))["the commonest class"]
    assert 0.08 < chance < 0.12 and run.metrics["accuracy"] > 0.5
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    plain, mean, best = (np.array([line[f"noise_{name}"] for line in lines]) for name in ("plain", "mean", "best"))
    assert (best <= (1 + 1e-5) * plain).all() and (best <= (1 + 1e-5) * mean).all()  # the least of all on its samples
    assert best.mean() < 0.95 * plain.mean()
    assert lines[-1]["best_baseline"] < lines[-1]["baseline"]


def test_a_run_is_a_function_of_its_seed(tmp_path: Path) -> None:
    runs = [
        fit(UNDRAWN, seed=seed, out=tmp_path / str(k), steps=10, progress=False) for k, seed in enumerate((0, 0, 1))
    ]
    first, again, other = ((run.out / "metrics.jsonl").read_text("utf-8") for run in runs)
    assert first == again != other


def made_state() -> tuple[Any, Any]:
    data = RECIPE.data(RECIPE.config, rng())
    parts = RECIPE.build(RECIPE.config, data, rng())
    state = State(config=RECIPE.config, seed=0, rng=rng(5), data=data, device="cpu", **vars(parts))
    return state, tuple(tz.tensor(array[:64]) for array in data.train)


def test_gradients_reach_every_parameter_and_both_start_equal() -> None:
    state, batch = made_state()
    before = {name: state.model[name].weight.numpy().copy() for name in METHODS}
    assert np.array_equal(*before.values())
    RECIPE.step(state, batch)
    for name in METHODS:
        assert all(np.abs(p.grad.numpy()).max() > 0 for p in state.model[name].parameters())
        assert not np.array_equal(state.model[name].weight.numpy(), before[name])


def test_a_policy_is_told_rewards_alone() -> None:
    told = reward(tz.tensor([3, 1]))(tz.tensor([[3, 3], [0, 1]]))
    assert told.tolist() == [[1.0, 0.0], [0.0, 1.0]] and not told.requires_grad


def test_the_probe_is_the_reward_of_a_try_and_the_length_of_its_score() -> None:
    logits = tz.tensor(rng().standard_normal((6, 10)), requires_grad=True)
    actions, label = Categorical(logits=logits), tz.tensor([0, 1, 2, 3, 4, 5])
    rewards, lengths = probed(actions, label, rng(1))
    a = actions.sample(rng=rng(1))
    assert rewards.tolist() == (a.numpy() == label.numpy()).astype(float).tolist()
    actions.log_prob(a).sum().backward()
    np.testing.assert_allclose(lengths.numpy(), np.linalg.norm(logits.grad.numpy(), axis=1), rtol=1e-12)
    assert not lengths.requires_grad


def test_gradients_are_those_of_the_mean_reward() -> None:
    """∇ π(label | x) by enumeration, against the mean over 40,000 equal digits with a probe for the baseline."""
    n, label, values = 40_000, 2, rng().standard_normal(10)
    exact = tz.tensor(values, requires_grad=True)
    ops.softmax(exact)[label].backward()
    logits = tz.tensor(np.tile(values, (n, 1)), requires_grad=True)
    actions, labels = Categorical(logits=logits), tz.tensor(np.full(n, label))
    b = estimators.optimal_baseline(*probed(actions, labels, rng(1)))
    estimators.score_function(reward(labels), actions, baseline=b, rng=rng(2)).sum().backward()
    found = logits.grad.numpy()
    assert found.std(axis=0).min() > 0.001
    assert (np.abs(found.mean(axis=0) - exact.grad.numpy()) < 3.5 * found.std(axis=0) / np.sqrt(n)).all()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("b", [0.0, 0.7])
def test_same_actions_same_gradients_as_torch(b: float) -> None:
    policy: Any = nn.Linear(6, 5, rng=rng()).to("float64")
    x, label = rng(1).standard_normal((7, 6)), rng(2).integers(0, 5, 7)
    actions = Categorical(logits=policy(tz.tensor(x)))
    value = estimators.score_function(reward(tz.tensor(label)), actions, 3, baseline=b, rng=rng(3)).mean()
    value.backward()
    a = torch.tensor(actions.sample((3,), rng=rng(3)).numpy())
    weight, bias = (torch.tensor(p.numpy(), requires_grad=True) for p in (policy.weight, policy.bias))
    theirs = torch.distributions.Categorical(logits=torch.nn.functional.linear(torch.tensor(x), weight, bias))
    expected = (((a == torch.tensor(label)).double() - b) * theirs.log_prob(a)).mean()
    expected.backward()
    np.testing.assert_allclose(value.item(), expected.item(), rtol=1e-6)  # rewards and b are float32
    for mine, other in ((policy.weight, weight), (policy.bias, bias)):
        np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-6, atol=1e-8)


@pytest.mark.train
def test_the_bar(tmp_path: Path) -> None:
    began, runs = time.perf_counter(), []
    for seed in range(RECIPE.bar.seeds):
        runs.append(fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False).metrics)
    accuracies = [run["accuracy"] for run in runs]
    seconds = (time.perf_counter() - began) / len(runs)
    print(f"\naccuracy min {min(accuracies):.3f} median {np.median(accuracies):.3f}; {seconds:.1f} s a seed; {runs}")
    assert RECIPE.bar.holds(*runs)

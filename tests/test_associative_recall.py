"""Row A1's system: attention alone looks a key up, and without positions it cannot where order says what belongs."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.models.language.associative_recall import (
    KEYS,
    PAIRS,
    RECIPE,
    VALUES,
    AttentionOnly,
    Settings,
    sequences,
)
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)


def model(**settings: Any) -> AttentionOnly:
    return AttentionOnly(dataclasses.replace(RECIPE.config, **settings), rng=np.random.default_rng(0))


def accuracies(out: Path, **overrides: Any) -> list[float]:
    runs = [
        fit(UNDRAWN, seed=seed, out=out / str(seed), overrides=overrides, progress=False)
        for seed in range(RECIPE.bar.seeds)
    ]
    reached = [run.metrics["test_accuracy"] for run in runs]
    print(f"\nassociative_recall {overrides}: {reached}, min {min(reached)}, median {np.median(reached)}")
    return reached


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("associative_recall") is RECIPE and find("A1") is RECIPE and RECIPE.config.steps <= 1000
    assert min(accuracies(tmp_path)) >= 0.98 == RECIPE.bar.at_least


@pytest.mark.train
def test_without_positions_it_stays_at_chance_where_order_matters(tmp_path: Path) -> None:
    chance = 1 / PAIRS
    assert all(abs(reached - chance) < 0.03 for reached in accuracies(tmp_path, positions=False))  # 4 standard errors


@pytest.mark.train
def test_without_positions_it_solves_what_needs_no_order(tmp_path: Path) -> None:
    assert min(accuracies(tmp_path, positions=False, joined=True)) >= 0.98


def test_short_runs_fall_and_are_drawn(tmp_path: Path) -> None:
    for joined in (False, True):
        run = fit(RECIPE, steps=20, out=tmp_path / str(joined), overrides={"joined": joined}, progress=False)
        losses = [json.loads(line)["loss"] for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
        assert np.mean(losses[-5:]) < losses[0] - 0.1
        assert (run.out / "figure.png").stat().st_size > 10_000
        assert run.metrics["test_accuracy"] < 0.5 and not run.holds  # an untrained network misses the bar
    assert 1 / VALUES - 0.02 < run.baseline["the key's most frequent value"] < 1 / VALUES + 0.02
    assert 1 / PAIRS - 0.03 < run.baseline["the value shown last"] < 1 / PAIRS + 0.03


def test_a_sequence_asks_for_the_value_of_one_of_its_keys() -> None:
    tokens, answers = sequences(500, np.random.default_rng(0))
    assert tokens.shape == (500, 17) and answers.shape == (500,)
    places = []
    for row, answer in zip(tokens, answers, strict=True):
        keys, values, query = row[:-1:2].tolist(), row[1:-1:2].tolist(), row[-1]
        assert len(set(keys)) == len(set(values)) == PAIRS
        assert set(keys) <= set(range(KEYS)) and set(values) <= set(range(KEYS, KEYS + VALUES))
        places.append(keys.index(query))
        assert values[places[-1]] == KEYS + answer
    assert np.bincount(places, minlength=PAIRS).min() > 30  # every place is asked for
    assert np.unique(tokens[:, 0]).size == KEYS and np.unique(answers).size == VALUES


def test_training_sequences_are_as_many_as_are_read_and_differ_from_the_tests() -> None:
    split = RECIPE.data(dataclasses.replace(RECIPE.config, steps=10), np.random.default_rng(0))
    assert len(split.train[0]) == 10 * RECIPE.config.batch_size
    assert not {row.tobytes() for row in split.train[0]} & {row.tobytes() for row in split.test[0]}


def test_without_positions_the_values_may_change_places_and_nothing_shows() -> None:
    tokens, _ = sequences(20, np.random.default_rng(1))
    other = tokens.copy()
    other[:, 1:-1:2] = np.roll(tokens[:, 1:-1:2], 1, axis=1)
    blind, sighted = model(positions=False).to("float64"), model().to("float64")
    assert not blind.biases and len(sighted.biases) == 2
    assert np.allclose(blind(tokens).numpy(), blind(other).numpy(), rtol=0, atol=1e-12)
    for bias in sighted.biases:
        bias.data = np.random.default_rng(2).standard_normal(bias.shape)
    assert np.abs(sighted(tokens).numpy() - sighted(other).numpy()).max() > 1e-3
    joined = model(positions=False, joined=True).to("float64")
    assert np.abs(joined(tokens).numpy() - joined(other).numpy()).max() > 1e-3


def test_a_bias_is_of_how_far_apart_two_tokens_are() -> None:
    sighted, (tokens, _) = model().to("float64"), sequences(3, np.random.default_rng(3))
    for bias in sighted.biases:
        bias.data[2 * PAIRS - 1] = 50  # of the place before
    for weights in sighted.weights(tokens):
        assert weights.shape == (3, 17, 17) and np.allclose(weights.sum(axis=-1).numpy(), 1)
        before = weights.numpy()[:, np.arange(1, 17), np.arange(16)]
        assert before.min() > 0.99


def test_there_is_no_feedforward_block_and_a_gradient_reaches_every_parameter() -> None:
    sighted, (tokens, answers) = model(), sequences(8, np.random.default_rng(4))
    tz.ops.cross_entropy(sighted(tokens), tz.tensor(answers)).backward()
    for name, p in sighted.named_parameters():
        assert p.grad is not None and (p.grad.numpy() != 0).any(), name
    d = RECIPE.config.d
    layers = 2 * (4 * d * d + 2 * d + 33)
    assert sum(p.size for p in sighted.parameters()) == layers + (KEYS + VALUES) * d + 2 * d + VALUES * d
    assert not any(isinstance(module, nn.FeedForward | nn.GELU | nn.ReLU) for module in sighted.modules())


def test_positions_learn_at_their_own_rate() -> None:
    config = Settings(lr=1e-3, lr_positions=0.5)
    split = RECIPE.data(dataclasses.replace(config, steps=1), np.random.default_rng(0))
    parts = RECIPE.build(config, split, np.random.default_rng(0))
    rates = {id(p): group["lr"] for group in parts.optimizers["adam"].param_groups for p in group["params"]}
    assert {rates[id(p)] for p in parts.model.biases} == {0.5}
    assert len(rates) == len(list(parts.model.parameters())) and list(rates.values()).count(0.5) == 2

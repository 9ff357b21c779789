"""Row A2's system: the character-level Transformer, the same with tiles as without, and what it is measured by."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinygrad_zoo.data import Split, char_vocabulary, decode_chars, text
from tinygrad_zoo.models.language.char_transformer import RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)
BARE = dataclasses.replace(UNDRAWN, baseline=lambda data: {}, evaluate=lambda state: {"test_nll": 0.0})
DATA = RECIPE.data(RECIPE.config, np.random.default_rng(0))


def losses(run: Any) -> Any:
    lines = (run.out / "metrics.jsonl").read_text("utf-8").splitlines()
    return np.array([json.loads(line)["loss"] for line in lines])


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("char_transformer") is RECIPE and find("A2") is RECIPE
    runs = [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    nll = [run.metrics["test_nll"] for run in runs]
    print(f"\nchar_transformer: {np.round(nll, 4)}, min {min(nll):.4f}, median {np.median(nll):.4f}")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    baseline = runs[0].baseline
    assert baseline["characters"] > baseline["pairs"] > baseline["triples"] > (RECIPE.bar.at_most or 0) + 0.2


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_tiles_and_the_formula_have_one_loss_curve(dtype: str, tmp_path: Path) -> None:
    def build(config: Any, data: Split, rng: np.random.Generator) -> Any:
        parts = RECIPE.build(config, data, rng)
        parts.model.to(dtype)
        return parts

    recipe = dataclasses.replace(BARE, build=build)
    tiles, formula = (
        losses(fit(recipe, steps=20, out=tmp_path / kind, overrides={"attention": kind}, progress=False))
        for kind in ("flash", "formula")
    )
    assert len(tiles) == 20 and tiles[-1] < tiles[0] - 0.5
    assert np.abs(tiles - formula).max() <= 1e-6
    if dtype == "float64":  # where rounding shows: they are two computations
        assert not np.array_equal(tiles, formula)


def test_a_short_run_falls_and_is_drawn(tmp_path: Path) -> None:
    run = fit(RECIPE, steps=20, out=tmp_path / "run", progress=False)
    curve = losses(run)
    assert curve[0] == pytest.approx(np.log(len(char_vocabulary(text()))), abs=0.5)
    assert curve[-1] < curve[0] - 0.5
    assert run.metrics["test_nll"] > RECIPE.bar.at_most and not run.holds
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_the_windows_are_of_the_text_and_those_of_the_test_are_not_among_them() -> None:
    prose, ((train,), (test,)) = text(), (DATA.train, DATA.test)
    vocabulary = char_vocabulary(prose)
    assert train.shape[1] == test.shape[1] == 65
    cut = len(train) + 64
    assert cut == int(len(prose) * 0.9)
    assert decode_chars(train[1000], vocabulary) == prose[1000:1065]
    assert decode_chars(test[:3].reshape(-1), vocabulary) == prose[cut : cut + 3 * 65]
    assert len(prose) - cut - test.size < 65  # all of the rest


def slow(stream: list[int], windows: list[list[int]], order: int) -> float:
    """The mean of -log p(token | up to `order` before it in its window), by Witten and Bell's recursion."""
    size, costs = 1 + max(stream + [t for window in windows for t in window]), []

    def chance(before: tuple[int, ...], token: int) -> float:
        n = len(before)
        followers = [stream[i] for i in range(n, len(stream)) if tuple(stream[i - n : i]) == before]
        shorter = chance(before[1:], token) if before else 1 / size
        kinds = len(collections.Counter(followers))
        return (followers.count(token) + kinds * shorter) / (len(followers) + kinds) if followers else shorter

    for window in windows:
        for i in range(1, len(window)):
            costs.append(-np.log(chance(tuple(window[max(0, i - order) : i]), window[i])))
    return float(np.mean(costs))


def test_the_baselines_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(0)
    stream = (rng.integers(0, 4, 120) * rng.integers(0, 2, 120)).tolist()
    test = rng.integers(0, 5, (6, 9))
    windows = np.lib.stride_tricks.sliding_window_view(np.array(stream), 9)
    found = RECIPE.baseline(Split(train=(windows,), test=(test,)))
    expected = {name: slow(stream, test.tolist(), n) for n, name in enumerate(("characters", "pairs", "triples"))}
    assert found == pytest.approx(expected, rel=1e-12)

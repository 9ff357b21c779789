"""Row A3's system: digits pixel by pixel, by linear attention and by softmax."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from tinygrad_zoo.data import Split, digits
from tinygrad_zoo.models.language.pixel_digits import LEVELS, RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)
DATA = RECIPE.data(RECIPE.config, np.random.default_rng(0))


@pytest.mark.train
def test_the_recipe_meets_its_bar_and_is_near_softmax(tmp_path: Path) -> None:
    assert find("pixel_digits") is RECIPE and find("A3") is RECIPE
    reached = {}
    for attention in ("elu", "flash"):
        runs = [
            fit(
                UNDRAWN, seed=seed, out=tmp_path / f"{attention}{seed}", overrides={"attention": attention},
                progress=False,
            )
            for seed in range(RECIPE.bar.seeds)
        ]  # fmt: skip
        assert RECIPE.bar.holds(*(run.metrics for run in runs))
        assert RECIPE.bar.value(*(run.metrics for run in runs)) < min(runs[0].baseline.values())
        nll = [run.metrics["test_nll"] for run in runs]
        reached[attention] = float(np.median(nll))
        print(f"\npixel_digits {attention}: {np.round(nll, 4)}, min {min(nll):.4f}, median {np.median(nll):.4f}")
    assert reached["elu"] <= reached["flash"] + 0.04


@pytest.mark.parametrize("attention", ["elu", "flash"])
def test_a_short_run_falls_and_is_drawn(attention: str, tmp_path: Path) -> None:
    run = fit(RECIPE, steps=20, out=tmp_path / "run", overrides={"attention": attention}, progress=False)
    losses = [json.loads(line)["loss"] for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert losses[-1] < losses[0] - 0.7
    assert (run.out / "figure.png").stat().st_size > 10_000
    assert run.metrics["test_nll"] > RECIPE.bar.at_most and not run.holds


def test_the_network_is_of_the_size_that_its_figures_are_of() -> None:
    model = RECIPE.build(RECIPE.config, DATA, np.random.default_rng(0)).model
    assert 70_000 < sum(p.size for p in model.parameters()) < 75_000


def test_a_window_is_a_black_pixel_and_an_image_row_by_row() -> None:
    for (windows,), (images, _) in zip(DATA.parts().values(), digits(pixels="raw").parts().values(), strict=True):
        assert windows.shape == (len(images), 65) and windows.dtype == np.int64
        assert not windows[:, 0].any() and windows.min() == 0 and windows.max() == LEVELS - 1
        assert np.array_equal(windows[:, 1 + 8 * 2 + 5], images[:, 2, 5])


def test_the_baselines_are_those_of_a_slow_count() -> None:
    rng = np.random.default_rng(1)
    train, test = (np.pad(rng.integers(0, top, (n, 3)), ((0, 0), (1, 0))) for n, top in ((40, 4), (30, 5)))
    alone, after = [], []
    for row in test.tolist():
        for place in (1, 2, 3):
            column = train[:, place].tolist()
            share = (column.count(row[place]) + 1) / (len(column) + LEVELS)
            followers = [b for a, b in train[:, place - 1 : place + 1].tolist() if a == row[place - 1]]
            kinds = len(collections.Counter(followers))
            alone.append(share)
            after.append(
                (followers.count(row[place]) + kinds * share) / (len(followers) + kinds) if followers else share
            )
    expected = {"each pixel alone": -np.log(alone).mean(), "the pixel before": -np.log(after).mean()}
    assert RECIPE.baseline(Split(train=(train,), test=(test,))) == pytest.approx(expected, rel=1e-12)


def test_a_pixel_alone_costs_what_it_is_known_to() -> None:
    assert RECIPE.baseline(DATA)["each pixel alone"] == pytest.approx(1.687, abs=0.01)

"""Row C4's bar: with stored switches an auto-encoder draws digits better than from a bed of nails."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.autoencoding.digits_switches import RECIPE, AutoEncoder, corners
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)
SPLIT = RECIPE.data(RECIPE.config, np.random.default_rng(0))


def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("digits_switches") is RECIPE and find("C4") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(1, RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    variance = SPLIT.test[0].var(axis=0).mean()  # the error of the mean digit
    for run in runs:
        assert run.metrics["ratio"] == run.metrics["test_switches"] / run.metrics["test_nails"]
        assert run.metrics["test_nails"] < 0.6 * variance  # no decoder that has learnt nothing
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


def test_both_start_equal_and_differ_in_the_places_alone() -> None:
    model = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(0)).model
    states = [model[name].state_dict() for name in ("switches", "nails")]
    assert states[0].keys() == states[1].keys() and len(states[0]) == 12
    assert all(np.array_equal(x, states[1][key]) for key, x in states[0].items())
    other = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(1)).model
    assert not np.array_equal(states[0]["narrow.weight"], other["nails"].state_dict()["narrow.weight"])


def test_switches_bring_values_back_to_their_places() -> None:
    model = AutoEncoder(4, places="switches", rng=np.random.default_rng(0))
    x = tz.rand(3, 16, 8, 8, rng=np.random.default_rng(1))
    pooled, indices = model.pool(x)
    back = model.unpool(pooled, indices).numpy()
    blocks = x.numpy().reshape(3, 16, 4, 2, 4, 2)
    kept = blocks == blocks.max(axis=(3, 5), keepdims=True)
    assert np.array_equal(back, np.where(kept, blocks, 0).reshape(3, 16, 8, 8))
    nails = model.unpool(pooled, corners(indices)).numpy()
    assert np.array_equal(nails[:, :, ::2, ::2], pooled.numpy()) and np.count_nonzero(nails) == pooled.size


def test_switches_tell_more_than_the_code() -> None:
    """With nails all goes through the code; with switches a drawing has the places of another's switches."""
    x = tz.rand(2, 1, 8, 8, rng=np.random.default_rng(1))
    for places, same in (("nails", True), ("switches", False)):
        model = AutoEncoder(4, places=places, rng=np.random.default_rng(0))
        code, fine, coarse = model.encode(x)
        swapped = model.decode(code, fine.flip(0), coarse.flip(0)).numpy()
        assert np.array_equal(swapped, model(x).numpy()) is same


def test_unknown_places_are_refused() -> None:
    with pytest.raises(UsageError, match="places must be one of switches, nails, got 'mean'"):
        AutoEncoder(4, places="mean", rng=np.random.default_rng(0))

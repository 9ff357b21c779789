"""Row F3's system of images: Glow on digits."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.data import batches
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.flows import (
    ActNorm,
    ChannelCoupling,
    Glow,
    InvertibleConv1x1,
    Split2d,
    Squeeze2d,
    digit_pixels,
)
from tinygrad_zoo.models.flows.glow import RECIPE
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

SPLIT = RECIPE.data(RECIPE.config, np.random.default_rng(0))


def fresh(**settings: Any) -> State[Any, Any]:
    config, rng = dataclasses.replace(RECIPE.config, **settings), np.random.default_rng(1)
    parts = RECIPE.build(config, SPLIT, rng)
    return State(
        config=config, seed=0, rng=rng, data=SPLIT, model=parts.model, optimizers=parts.optimizers,
        schedules=parts.schedules, extras={}, device="cpu",
    )  # fmt: skip


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("glow") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    reached = [run.metrics["test_nll"] for run in runs]
    seconds = max(run.seconds for run in runs)
    print(f"\nglow: {reached}, median {np.median(reached):.3f}, {runs[0].baseline}, {seconds:.0f} s")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.metrics["test_bits"] == pytest.approx((run.metrics["test_nll"] + np.log(17)) / np.log(2))
        assert (run.out / "figure.png").stat().st_size > 10_000


def test_some_steps_bring_the_loss_down_and_reach_every_parameter() -> None:
    state, losses = fresh(steps=30, depth=2), []
    for (x,) in batches(SPLIT.train, 64, seed=0, steps=30):
        losses.append(float(RECIPE.step(state, (tz.tensor(x),))["nll"]))
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    for name, x in state.model.named_parameters():
        assert np.abs(x.grad.numpy()).max() > 0, name


def test_it_starts_from_the_data() -> None:
    """Couplings and priors start as the identity, so ActNorm alone makes the first NLL what it is."""
    state = fresh(depth=2)
    bare = Glow(digit_pixels.SHAPE, state.config.hidden, 2, 2, rng=np.random.default_rng(1))
    norms = [module for module in state.model.modules() if isinstance(module, ActNorm)]
    assert len(norms) == 4
    assert all(float(abs(x).min()) > 0 for norm in norms for x in norm.parameters())
    x = digit_pixels.dequantized(SPLIT)
    assert abs(float(state.model(x)[0].mean())) < 1e-5
    assert -float(state.model.log_prob(x).mean()) < -float(bare.log_prob(x).mean()) - 32  # half a nat a pixel


def test_the_order_of_blocks_and_their_shapes() -> None:
    model = Glow((1, 8, 8), hidden=4, depth=2, levels=2, rng=np.random.default_rng(0))
    step = [ActNorm, InvertibleConv1x1, ChannelCoupling]
    assert [type(x) for x in model.transforms] == [Squeeze2d, *step, *step, Split2d]
    split = model.transforms[-1]
    assert isinstance(split, Split2d) and split.shape == (4, 4, 4)
    assert [type(x) for x in split.rest.transforms] == [Squeeze2d, *step, *step]
    assert split.rest.transforms[1].shape == (8, 2, 2)  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="depth >= 1 and levels >= 1, got 0 and 2"):
        Glow((1, 8, 8), 4, 0, 2, rng=np.random.default_rng(0))


def test_every_pixel_depends_on_the_latent_coordinates_of_both_levels() -> None:
    state = fresh(depth=2)
    for (x,) in batches(SPLIT.train, 64, seed=0, steps=3):
        RECIPE.step(state, (tz.tensor(x),))
    z, _ = state.model(SPLIT.test[0][:4])
    image = state.model.inverse(z).numpy()
    np.testing.assert_allclose(image, SPLIT.test[0][:4], atol=1e-4)
    for half in (slice(0, 32), slice(32, 64)):  # the deep half, and the one that was done early
        moved = z.numpy().copy()
        moved[:, half] += 0.5
        assert (np.abs(state.model.inverse(moved).numpy() - image).max(axis=0) > 1e-3).all()

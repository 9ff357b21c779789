"""Row G6's second stage: the prior of codes, after the VQ-VAE is trained and frozen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.data.loading import batch_indices, stream
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.latent.code_prior import RECIPE, CodePrior, Kind
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

KINDS: tuple[Kind, Kind] = ("pixelcnn", "transformer")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(kind: Kind, K: int = 6, shape: tuple[int, int] = (4, 4)) -> Any:
    """In float64, its parameters drawn so wide that every code matters."""
    prior = CodePrior(kind, K=K, shape=shape, classes=3, width=8, layers=2, rng=rng()).to("float64").eval()
    for x in prior.parameters():
        x.data = 0.3 * rng(x.size).standard_normal(x.shape)
    return prior


CODES, Y = rng(1).integers(0, 6, (5, 4, 4)), np.arange(5) % 3


# ---- the distribution


@pytest.mark.parametrize("kind", KINDS)
def test_each_code_depends_on_those_before_it_and_on_the_class(kind: Kind) -> None:
    prior = made(kind)
    before = prior(CODES, Y).numpy().reshape(5, 16, 6)
    seen = np.zeros((16, 16), bool)
    for j in range(16):
        changed = CODES.reshape(5, 16).copy()
        changed[:, j] = (changed[:, j] + 1) % 6
        after = prior(changed.reshape(5, 4, 4), Y).numpy().reshape(5, 16, 6)
        seen[:, j] = np.abs(after - before).max(axis=(0, 2)) > 1e-9
    assert not np.triu(seen).any()
    assert seen[np.tril_indices(16, -1)].all()
    other = prior(CODES, (Y + 1) % 3).numpy().reshape(5, 16, 6)
    assert (np.abs(other - before).max(axis=2) > 1e-9).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_probabilities_sum_to_one(kind: Kind) -> None:
    """Of all last three codes after thirteen given ones: the chain rule leaves nothing out."""
    prior = made(kind)
    maps = np.tile(CODES[0].reshape(-1), (6**3, 1))
    maps[:, 13:] = np.array(list(np.ndindex(6, 6, 6)))
    maps = maps.reshape(-1, 4, 4)
    log_probs = prior.log_probs(maps, np.full(len(maps), 1)).numpy().reshape(-1, 16)
    assert np.exp(log_probs[:, 13:].sum(axis=1)).sum() == pytest.approx(1, rel=1e-12)
    np.testing.assert_allclose(log_probs[:, :13], np.broadcast_to(log_probs[0, :13], (216, 13)), rtol=1e-9)
    whole = prior.log_prob(maps, np.full(len(maps), 1)).numpy()
    np.testing.assert_allclose(whole, log_probs.sum(axis=1), rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_have_the_distribution(kind: Kind) -> None:
    prior, n = made(kind), 3000
    codes = prior.sample(np.full(n, 2), rng=rng(3))
    assert codes.shape == (n, 4, 4) and not codes.requires_grad
    assert np.array_equal(codes.numpy(), prior.sample(np.full(n, 2), rng=rng(3)).numpy())
    with tz.no_grad():
        first = np.exp(prior.log_probs(np.tile(np.arange(6)[:, None, None], (1, 4, 4)), np.full(6, 2)).numpy()[:, 0, 0])
        probs = tz.ops.softmax(prior(codes, np.full(n, 2))).numpy()  # (n, 4, 4, 6)
    drawn = np.eye(6)[codes.numpy()]
    np.testing.assert_allclose(drawn[:, 0, 0].mean(axis=0), first, atol=0.04)
    np.testing.assert_allclose(drawn.mean(axis=0), probs.mean(axis=0), atol=0.04)
    surprise = (np.log(probs) * (drawn - probs)).sum(axis=-1)  # 0 in the mean, where codes are drawn from these
    assert np.abs(surprise.mean(axis=0)).max() < 5 * surprise.std() / np.sqrt(n)


@pytest.mark.parametrize("kind", KINDS)
def test_maps_of_another_shape(kind: Kind) -> None:
    """All 64 maps of 2 x 3 bits have the probability 1, and those that are drawn are of that shape."""
    prior = made(kind, K=2, shape=(2, 3))
    maps = np.array(list(np.ndindex((2,) * 6))).reshape(-1, 2, 3)
    assert prior.log_prob(maps, np.full(64, 1)).exp().sum().item() == pytest.approx(1, rel=1e-12)
    assert prior.sample(Y, rng=rng()).shape == (5, 2, 3)


def test_another_kind_is_refused() -> None:
    kind: Any = "lstm"
    with pytest.raises(UsageError, match='kind must be "pixelcnn" or "transformer", got \'lstm\''):
        CodePrior(kind, K=4, shape=(4, 4), classes=2, width=8, layers=1, rng=rng())


# ---- the two stages


def begun(**overrides: Any) -> State[Any, Any]:
    config = RECIPE.config.overridden(overrides)
    data = RECIPE.data(config, rng())
    parts = RECIPE.build(config, data, stream(0, 0))
    return State(
        config=config, seed=0, rng=stream(0, 0), data=data, model=parts.model.train(), optimizers=parts.optimizers,
        schedules=parts.schedules, extras={}, device="cpu",
    )  # fmt: skip


def advance(state: State[Any, Any]) -> Any:
    rows = batch_indices(len(state.data.train[0]), state.config.batch_size, 0, state.step)
    found = RECIPE.step(state, tuple(tz.tensor(array[rows]) for array in state.data.train))
    state.step += 1
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_first_the_codes_then_the_prior_of_frozen_codes(kind: Kind) -> None:
    state = begun(steps=5, first=0.6, kind=kind, width=8)
    for stage, still, name in (("vqvae", "prior", "mse"),) * 3 + (("prior", "vqvae", "nll"),) * 2:
        before = state.model.state_dict()
        found = advance(state)
        assert found.keys() == {"loss", name}
        after = state.model.state_dict()
        moved = {key.split(".")[0] for key, x in after.items() if not np.array_equal(x, before[key])}
        assert moved == {stage} and still not in moved
        assert all(np.abs(p.grad.numpy()).max() > 0 for p in getattr(state.model, stage).parameters())
    assert all(p.grad is not None for p in state.model.prior.parameters())


def test_a_short_run_is_drawn_and_its_measures_are_by_hand(tmp_path: Path) -> None:
    assert find("code_prior") is RECIPE
    run = fit(RECIPE, steps=40, out=tmp_path / "run", progress=False, overrides={"width": 16, "lr": "5e-3"})
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    mse = [line["mse"] for line in lines if "mse" in line]
    nll = [line["nll"] for line in lines if "nll" in line]
    assert len(mse) == 24 and len(nll) == 16 and mse[-1] < 0.6 * mse[0] and nll[-1] < nll[0] - 0.2
    assert run.metrics["unigram_nll"] < np.log(32) == run.baseline["uniform codes"]
    assert np.exp(run.metrics["unigram_nll"]) == pytest.approx(run.metrics["perplexity"], rel=0.1)
    assert (run.out / "figure.png").stat().st_size > 10_000
    drawn = np.load(run.out / "samples.npz")
    assert drawn["x"].shape == (200, 8, 8) and drawn["codes"].shape == (200, 4, 4)
    assert np.array_equal(drawn["y"][::20], range(10))


@pytest.mark.train
@pytest.mark.parametrize("kind", KINDS)
def test_the_recipe_meets_its_bar(kind: Kind, tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [
        fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False, overrides={"kind": kind})
        for seed in range(RECIPE.bar.seeds)
    ]
    found = {name: np.round([run.metrics[name] for run in runs], 4) for name in runs[0].metrics}
    nll, seconds = found["test_nll"], max(run.seconds for run in runs)
    print(f"\ncode_prior, {kind}: min {nll.min():.3f}, median {np.median(nll):.3f}; {seconds:.0f} s a seed")
    print(f"{runs[0].baseline}; {found}")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert (nll < found["unigram_nll"] - 0.5).all()
    assert found["recognised"].min() >= 0.45 and found["test_mse"].max() <= 0.008 and found["perplexity"].min() >= 20


def test_the_pixelcnn_is_that_of_pixels() -> None:
    """It, and the Transformer's decoder, have oracles of their own."""
    prior = made("pixelcnn")
    np.testing.assert_allclose(
        prior.log_probs(CODES, Y).numpy(), prior.net.pixels.log_probs(CODES, Y).numpy(), rtol=1e-12
    )

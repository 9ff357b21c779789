"""Row F1's system: planar flows find both segments of a ring, of which they know the log-density alone."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.models.flows import planar_flow
from tinygrad_zoo.models.flows.planar_flow import (
    LENGTHS,
    RECIPE,
    SampledPlanar,
    evaluate,
    gaussian_kl,
    log_densities,
    log_normaliser,
    log_target,
)
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

SPLIT = RECIPE.data(RECIPE.config, np.random.default_rng(0))


def run_of(steps: int, **overrides: float) -> State:
    """A run after some steps."""
    config = dataclasses.replace(RECIPE.config, steps=steps, **overrides)
    rng = np.random.default_rng(1)
    parts = RECIPE.build(config, SPLIT, rng)
    state = State(
        config=config, seed=0, rng=rng, data=SPLIT, model=parts.model, optimizers=parts.optimizers,
        schedules=parts.schedules, extras={}, device="cpu",
    )  # fmt: skip
    for _ in range(steps):
        (z,) = SPLIT.train
        rows = slice(state.step * config.batch_size, (state.step + 1) * config.batch_size)
        state.metrics = RECIPE.step(state, (tz.tensor(z[rows]),))  # type: ignore[attr-defined]
        state.step += 1
    return state


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("F1") is find("planar_flow") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    reached = [run.metrics["kl_8"] for run in runs]
    seconds = max(run.seconds for run in runs)
    print(f"\nplanar_flow: {reached}, median {np.median(reached):.3f}, {runs[0].baseline}, {seconds:.0f} s")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.metrics["kl_8"] < run.metrics["kl_2"] < run.baseline["Gaussian over both"]
        assert run.metrics["log_z"] == pytest.approx(run.metrics["log_z_exact"], abs=0.05)
        assert (run.out / "figure.png").stat().st_size > 10_000


def test_some_steps_bring_the_divergence_down_and_move_every_parameter() -> None:
    start, state = run_of(1), run_of(60, annealed=0.5)
    with tz.no_grad():
        before, after = evaluate(start), evaluate(state)
    assert after["kl_8"] < before["kl_8"] - 1
    assert after["kl_8"] < 3.1  # what is better than a Gaussian over both segments
    assert all(np.abs(x.grad.numpy()).max() > 0 for x in state.model.parameters())


def test_the_target_is_the_paper_s_and_its_normaliser_is_right() -> None:
    x = np.random.default_rng(0).uniform(-4, 4, (100, 2))
    potential = 0.5 * ((np.linalg.norm(x, axis=1) - 2) / 0.4) ** 2 - np.log(
        np.exp(-0.5 * ((x[:, 0] - 2) / 0.6) ** 2) + np.exp(-0.5 * ((x[:, 0] + 2) / 0.6) ** 2)
    )
    np.testing.assert_allclose(log_target(x), -potential, rtol=1e-12)
    np.testing.assert_allclose(log_target(tz.tensor(x)).numpy(), -potential, rtol=1e-12)
    points = np.random.default_rng(1).uniform(-6, 6, (400_000, 2))
    assert math.log(144 * np.exp(log_target(points)).mean()) == pytest.approx(log_normaliser(), abs=0.02)


def test_the_measured_divergence_is_the_one_of_the_densities_on_a_grid() -> None:
    """KL(q ‖ p) from draws, against the integral of q log(q / p) with q by inverting every map."""
    flow = run_of(40).model["kl_4"]
    side = np.linspace(-7, 7, 281)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    flow.to("float64")
    with tz.no_grad():
        log_q = flow.log_prob(tz.tensor(grid)).numpy()
        x, log_q_x, log_p_x = log_densities(flow, tz.tensor(SPLIT.test[0], "float64"))
        np.testing.assert_allclose(log_q_x.numpy(), flow.log_prob(x).numpy(), rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(log_p_x.numpy(), log_target(x).numpy())
        ratio = log_q_x - log_p_x
    area = (side[1] - side[0]) ** 2
    assert np.exp(log_q).sum() * area == pytest.approx(1, abs=1e-3)
    exact = (np.exp(log_q) * (log_q - log_target(grid) + log_normaliser())).sum() * area
    error = float(ratio.numpy().std()) / math.sqrt(len(SPLIT.test[0]))
    assert float(ratio.mean()) + log_normaliser() == pytest.approx(exact, abs=5 * error)


def test_gradients_of_the_divergence_go_through_the_samples() -> None:
    """Of KL(q ‖ p) = ∫ q log(q / p), by finite differences of the mean over the same draws."""
    flow = SampledPlanar(2, rng=np.random.default_rng(0)).to("float64")
    z = tz.tensor(SPLIT.test[0][:50], "float64")

    def divergence() -> Any:
        _, log_q, log_p = log_densities(flow, z)
        return (log_q - log_p).mean()

    divergence().backward()
    for x in flow.parameters():
        place = (0,) * x.ndim
        values = []
        for h in (1e-5, -1e-5):
            x.data[place] += h
            values.append(float(divergence()))
            x.data[place] -= h
        assert x.grad.numpy()[place] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-6, abs=1e-8)


def test_the_baselines() -> None:
    """A Gaussian's KL by quadrature is that by sampling; one segment, for which a reverse KL may settle, has log 2."""
    scale, x = np.array([0.4, 0.9]), np.random.default_rng(0).standard_normal((400_000, 2))
    log_q = -0.5 * (x**2).sum(1) - math.log(2 * math.pi) - np.log(scale).sum()
    sampled = (log_q - log_target([1.8, 0] + scale * x)).mean()
    assert gaussian_kl(1.8, np.log(scale)) == pytest.approx(sampled + log_normaliser(), abs=0.01)
    known = RECIPE.baseline(SPLIT)
    assert known["Gaussian over both"] == pytest.approx(3.17, abs=0.01)
    assert known["Gaussian on one segment"] == pytest.approx(0.902, abs=0.001)
    side = np.linspace(-6, 6, 401)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    p = np.exp(log_target(grid))
    right = (p * (grid[:, 0] > 0)) / (p * (grid[:, 0] > 0)).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        kl = np.where(right > 0, right * np.log(right / (p / p.sum())), 0).sum()
    assert kl == pytest.approx(known["one segment, exactly"], abs=0.01)
    assert RECIPE.bar.at_most is not None and RECIPE.bar.at_most < min(known.values())


def test_lengths_and_their_names() -> None:
    model = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(0)).model
    assert [len(model[f"kl_{length}"].transforms) for length in LENGTHS] == list(LENGTHS)
    assert planar_flow.RECIPE.metric == f"kl_{LENGTHS[-1]}"

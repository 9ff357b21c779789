"""Row F2's systems: NICE on two moons, and on digits, whose lower halves it completes."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.data import batches, digits
from tinygrad_zoo.distributions import Independent, MultivariateNormal, Normal
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.flows import NICE, Flow, Scaling, Whitening, digit_pixels, nice, nice_digits
from tinygrad_zoo.models.flows.nice_digits import KNOWN, gaussian_completion, most_likely_completion
from tinygrad_zoo.recipe import Recipe, State, find
from tinygrad_zoo.training import fit

MOONS = nice.RECIPE.data(nice.RECIPE.config, np.random.default_rng(0))
DIGITS = nice_digits.RECIPE.data(nice_digits.RECIPE.config, np.random.default_rng(0))


def trained(recipe: Recipe[Any, Any], split: Any, steps: int) -> tuple[State[Any, Any], list[float]]:
    config = dataclasses.replace(recipe.config, steps=steps)
    rng = np.random.default_rng(1)
    parts = recipe.build(config, split, rng)
    state: State[Any, Any] = State(
        config=config, seed=0, rng=rng, data=split, model=parts.model, optimizers=parts.optimizers,
        schedules=parts.schedules, extras={}, device="cpu",
    )  # fmt: skip
    losses = []
    for (x,) in batches(split.train, config.batch_size, seed=0, steps=steps):
        losses.append(float(recipe.step(state, (tz.tensor(x),))["nll"]))
    return state, losses


def report(recipe: Recipe[Any, Any], out: Path) -> list[Any]:
    runs = [fit(recipe, seed=seed, out=out / str(seed), progress=False) for seed in range(recipe.bar.seeds)]
    reached = [run.metrics[recipe.bar.metric] for run in runs]
    seconds = max(run.seconds for run in runs)
    print(f"\n{recipe.name}: {reached}, median {np.median(reached):.3f}, {runs[0].baseline}, {seconds:.0f} s")
    assert recipe.bar.holds(*(run.metrics for run in runs))
    assert all((run.out / "figure.png").stat().st_size > 10_000 for run in runs)
    return runs


# ---- two moons
@pytest.mark.train
def test_the_recipe_on_two_moons_meets_its_bar(tmp_path: Path) -> None:
    assert find("nice") is nice.RECIPE
    for run in report(nice.RECIPE, tmp_path):
        (gaussian,) = run.baseline.values()
        assert run.metrics["test_nll"] < gaussian - 0.5
        assert run.metrics["entropy"] < run.metrics["test_nll"]


def test_some_steps_on_two_moons() -> None:
    state, losses = trained(nice.RECIPE, MOONS, 60)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.2
    assert all(np.abs(x.grad.numpy()).max() > 0 for x in state.model.parameters())


@pytest.mark.parametrize("prior", ["logistic", "gaussian"])
def test_volume_changes_by_the_scaling_alone(prior: str) -> None:
    model = NICE(4, 8, 4, prior, rng=np.random.default_rng(0)).to("float64")
    for x in model.parameters():
        nn.init.normal_(x, 0.0, 0.5, rng=np.random.default_rng(1))
    *couplings, scaling = model.transforms
    x = tz.tensor(np.random.default_rng(2).standard_normal((5, 4)))
    z, log_det = model(x)
    jacobian = tz.jacobian(lambda row: Flow(model.base, couplings)(row.reshape(1, 4))[0][0])
    for row in x.numpy():
        assert np.linalg.det(jacobian(tz.tensor(row)).numpy()) == pytest.approx(1, abs=1e-10)  # affine ones have not
    assert isinstance(scaling, Scaling) and np.abs(scaling.log_scale.numpy()).min() > 0
    np.testing.assert_allclose(log_det.numpy(), scaling.log_scale.numpy().sum(), rtol=1e-12)
    np.testing.assert_allclose(model.inverse(z).numpy(), x.numpy(), atol=1e-10)


def test_every_coordinate_depends_on_every_other() -> None:
    """From three couplings on: two leave half of the Jacobian's entries at those of a triangular one."""
    full = {}
    for count in (2, 3):
        model = NICE(4, 8, count, rng=np.random.default_rng(0)).to("float64")
        jacobian = tz.jacobian(lambda row, model=model: model(row.reshape(1, 4))[0][0])(tz.tensor(np.ones(4))).numpy()
        full[count] = bool((np.abs(jacobian) > 1e-12).all())
    assert full == {2: False, 3: True}


def test_the_scales_find_a_wasted_dimension() -> None:
    """The last of five coordinates hardly varies: its scale becomes the largest, and all of them make up for it."""
    draw = np.random.default_rng(0)
    x = (draw.standard_normal((256, 5)) * [1, 1, 1, 1, 0.02]).astype(np.float32)
    model = NICE(5, 8, 3, "gaussian", rng=draw)
    adam = optim.Adam(model.parameters(), lr=0.03)
    for _ in range(120):
        adam.zero_grad()
        (-model.log_prob(x).mean()).backward()
        adam.step()
    scales = model.transforms[-1].log_scale.numpy()
    assert scales.argmax() == 4 and scales[4] > 2 + scales[:4].max()
    assert scales.sum() == pytest.approx(-np.log(0.02), abs=0.3)  # couplings keep volumes


def test_priors_have_unit_variance() -> None:
    for prior in nice.PRIORS:
        base = NICE(3, 4, 3, prior, rng=np.random.default_rng(0)).base
        np.testing.assert_allclose(base.variance.numpy(), 1, rtol=1e-6)
    z = np.array([[0.5, -2.0, 1.0]])
    u = z * np.pi / np.sqrt(3)
    paper = (-np.log1p(np.exp(u)) - np.log1p(np.exp(-u)) + np.log(np.pi / np.sqrt(3))).sum()
    model = NICE(3, 4, 3, "logistic", rng=np.random.default_rng(0))
    np.testing.assert_allclose(model.base.log_prob(z).numpy(), [paper], rtol=1e-6)
    with pytest.raises(UsageError, match="one of logistic, gaussian, got 'cauchy'"):
        NICE(3, 4, 3, "cauchy", rng=np.random.default_rng(0))


# ---- digits
@pytest.mark.train
def test_the_recipe_on_digits_meets_its_bar_and_completes_better_than_a_gaussian(tmp_path: Path) -> None:
    assert find("nice_digits") is nice_digits.RECIPE
    for run in report(nice_digits.RECIPE, tmp_path):
        print({name: value for name, value in run.metrics.items() if name.startswith("inpainting")})
        (gaussian,) = run.baseline.values()
        assert run.metrics["test_nll"] < gaussian - 0.05
        assert run.metrics["inpainting_nice"] < run.metrics["inpainting_gaussian"]  # row F1's second bar


def test_some_steps_on_digits_beat_the_gaussian() -> None:
    state, losses = trained(nice_digits.RECIPE, DIGITS, 60)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.01
    assert all(np.abs(x.grad.numpy()).max() > 0 for x in state.model.parameters())
    (gaussian,) = nice_digits.RECIPE.baseline(DIGITS).values()
    assert gaussian == pytest.approx(-0.785, abs=0.002)
    with tz.no_grad():
        assert digit_pixels.nll(state) < gaussian


def test_the_steps_see_other_noise_each_time() -> None:
    """The training counts are whole numbers: their density would have no bound without the noise."""
    (train, _), (test, _) = digits(pixels="raw", flat=True).parts().values()
    assert np.array_equal(DIGITS.train[0], train) and np.array_equal(np.floor(DIGITS.test[0] * 17), test)
    assert not np.array_equal(DIGITS.test[0] * 17, test)
    state, _ = trained(nice_digits.RECIPE, DIGITS, 1)
    seen: list[Any] = []
    log_prob = state.model.log_prob
    state.model.log_prob = lambda x: seen.append(x.numpy()) or log_prob(x)
    for _ in range(2):
        nice_digits.RECIPE.step(state, (tz.tensor(train[:8]),))
    assert not np.array_equal(*seen)
    for x in seen:
        assert np.array_equal(np.floor(x * 17), train[:8])


def test_a_gaussian_completes_by_its_conditional_mean() -> None:
    """Which is where log p of the whole is highest: from anywhere, the flow that is that Gaussian comes there."""
    train = np.random.default_rng(0).standard_normal((300, 4)) @ np.random.default_rng(1).standard_normal((4, 4))
    known = train[:7, :2]
    expected = gaussian_completion(train, known)
    gaussian = MultivariateNormal.fit(train)
    whole = tz.tensor(np.concatenate([known, expected], axis=1), requires_grad=True)
    gaussian.log_prob(whole).sum().backward()
    np.testing.assert_allclose(whole.grad.numpy()[:, 2:], 0, atol=1e-2)  # divisors n and n - 1 cancel
    flow = Flow(Independent(Normal(np.zeros(4), np.ones(4)), 1), [Whitening.fit(train)])
    start = tz.tensor(np.zeros((7, 2)))
    with tz.no_grad():
        found = most_likely_completion(flow, tz.tensor(known), start, steps=600, lr=0.05)
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-3)
    assert not found.requires_grad and np.array_equal(start.numpy(), np.zeros((7, 2)))


def test_completions_keep_the_known_half_and_climb() -> None:
    state, _ = trained(nice_digits.RECIPE, DIGITS, 30)
    known, start = (tz.tensor(x) for x in (DIGITS.test[0][:20, :KNOWN], np.full((20, 32), 0.3, np.float32)))
    with tz.no_grad():
        found = most_likely_completion(state.model, known, start, steps=20)
        before, after = (float(state.model.log_prob(tz.concat(known, x, axis=1)).mean()) for x in (start, found))
    assert found.shape == (20, 32) and after > before + 10
    assert all(x.grad is None for x in state.model.parameters())

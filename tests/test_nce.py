"""Row L3: NCE finds the distribution and its constant, exactly by enumeration and from draws."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.information import kl
from tinygrad_zoo.losses import NoiseDistribution, nce_loss
from tinygrad_zoo.models.contrastive.nce import RECIPE, TRUE_LAMBDA, Unnormalised, gradients, log_partition, softmax_of
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

V, WORDS = 20, 400


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


COUNTS = 1 + rng(1).multinomial(WORDS - V, rng(2).dirichlet(np.ones(V)))  # every word occurs
P = COUNTS / WORDS
NOISES = {
    "flattened unigram": NoiseDistribution.unigram(COUNTS),
    "uniform": NoiseDistribution.unigram(COUNTS, 0.0),
    "another": NoiseDistribution(rng(3).dirichlet(np.ones(V))),
}


def expected_loss(scores: Any, noise: NoiseDistribution, k: int, log_z: Any = 0.0) -> Any:
    """`nce_loss` in expectation: the mean of one word and its noise, over all words as often as P and q say."""
    p, q = tz.tensor(P), tz.tensor(noise.probabilities)
    none = np.zeros(1)
    total: Any = 0.0
    for w in range(V):
        one, logq = scores[w : w + 1], noise.log_prob(np.arange(w, w + 1))
        far = tz.tensor(none - 1e4)  # a word that surely is noise adds nothing
        of_data = nce_loss(one, far, logq, none, k, log_z)
        of_noise = nce_loss(-far, one, none, logq, k, log_z)
        total = total + p[w] * of_data + q[w] * of_noise
    return total


def optimum(noise: NoiseDistribution, k: int) -> Any:
    from scipy.optimize import minimize

    loss = tz.value_and_grad(lambda s: expected_loss(s, noise, k))

    def at(scores: Any) -> tuple[float, Any]:
        value, slope = loss(tz.tensor(scores))
        return value.item(), slope.numpy()

    return minimize(at, np.zeros(V), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 1e-15}).x


# ---- by enumeration
@pytest.mark.parametrize("noise", NOISES)
def test_the_optimum_is_the_empirical_distribution_normalised_by_itself(noise: str) -> None:
    scores = optimum(NOISES[noise], k=100)
    assert kl(P, softmax_of(scores)).item() <= 1e-3
    assert np.exp(scores).sum() == pytest.approx(1, abs=5e-3)  # though nothing normalised it
    np.testing.assert_allclose(np.exp(scores), P, rtol=0.05)


def test_a_learnt_constant_takes_up_what_a_model_is_off_by() -> None:
    """Scores log p + 3 are 3 too high: at log_z = 3 the loss is flat, and least."""
    noise, off = NOISES["another"], tz.tensor(np.log(P) + 3)
    at = {
        z: tz.value_and_grad(lambda z: expected_loss(off, noise, 10, z))(tz.tensor(z, "float64"))
        for z in (2.9, 3.0, 3.1)
    }
    assert abs(at[3.0][1].item()) < 1e-10
    assert at[3.0][0].item() < min(at[2.9][0].item(), at[3.1][0].item())
    shifted = expected_loss(off - 3, noise, 10).item()
    assert at[3.0][0].item() == pytest.approx(shifted, rel=1e-12)


def test_the_gradient_becomes_the_likelihoods() -> None:
    noise, k_of_10 = NOISES["another"], {}
    scores = np.log(softmax_of(rng(4).standard_normal(V)))
    for k in (1, 10, 100, 1000):
        slope = -tz.grad(lambda s, k=k: expected_loss(s, noise, k))(tz.tensor(scores)).numpy()
        by_formula, likelihood = gradients(scores, P, noise.probabilities, k)
        np.testing.assert_allclose(slope, by_formula, rtol=1e-9, atol=1e-13)
        k_of_10[k] = np.linalg.norm(slope - likelihood) / np.linalg.norm(likelihood)
    far = list(k_of_10.values())
    assert far[0] > 0.2 and far[3] < 0.02 and all(b < 0.5 * a for a, b in itertools.pairwise(far))
    expected = tz.grad(lambda s: (tz.tensor(P) * ops.log_softmax(s)).sum())(tz.tensor(scores)).numpy()
    np.testing.assert_allclose(likelihood, expected, rtol=1e-12, atol=1e-15)


# ---- the Gaussian
def test_the_expected_optimum_of_the_gaussian_is_the_truth() -> None:
    """On a grid, data and noise by their densities: the gradient in λ and c is 0 there, and not next to it."""
    x = np.linspace(-8, 8, 4001)
    width = x[1] - x[0]
    p = np.exp(-0.5 * TRUE_LAMBDA * x**2 - log_partition(TRUE_LAMBDA))
    q = np.exp(-0.5 * x**2 - log_partition(1.0))
    for c_off in (0.0, 0.1):
        model = Unnormalised().to("float64")
        model.log_lambda.data, model.c.data = (np.asarray(v) for v in
                                               (math.log(TRUE_LAMBDA), c_off - log_partition(TRUE_LAMBDA)))  # fmt: skip
        delta = model(x) - tz.tensor(np.log(q) + math.log(10))
        loss = -(tz.tensor(p * width) * ops.logsigmoid(delta)).sum()
        loss = loss - 10 * (tz.tensor(q * width) * ops.logsigmoid(-delta)).sum()
        loss.backward()
        slopes = [abs(model.log_lambda.grad.item()), abs(model.c.grad.item())]
        assert max(slopes) < 1e-9 if c_off == 0 else min(slopes) > 1e-3


def test_a_few_steps_lower_the_loss_and_reach_both_parameters(tmp_path: Path) -> None:
    assert find("nce") is RECIPE
    run = fit(RECIPE, out=tmp_path / "run", steps=60, overrides={"lr": 0.1}, progress=False)
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert np.mean([line["loss"] for line in lines[-10:]]) < lines[0]["loss"] - 0.1
    assert lines[-1]["lambda"] > 2 and lines[-1]["c"] < -0.05
    assert run.metrics["mass"] == pytest.approx(math.exp(run.metrics["c"] + log_partition(run.metrics["lambda"])))
    assert run.metrics["worst"] == max(run.metrics["of_lambda"], run.metrics["of_c"])
    assert (run.out / "figure.png").stat().st_size > 10_000


def test_the_baselines_are_what_they_say() -> None:
    found = RECIPE.baseline(RECIPE.data(RECIPE.config, rng()))
    assert found["maximum likelihood, integral known"] < 0.03 < found["the noise"]


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    worst = sorted(run.metrics["worst"] for run in runs)
    print(f"nce: max {worst[-1]:.4f} median {worst[1]:.4f}, {runs[0].baseline}, {runs[0].seconds:.1f} s")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))

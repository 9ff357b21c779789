"""Row G3: four ways to train an encoder whose code is a row of choices."""

from __future__ import annotations

import dataclasses
import itertools
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.distributions import Independent, OneHotCategorical, kl_divergence
from tinygrad_zoo.models.latent.categorical_vae import RECIPE, CategoricalVAE, surrogate
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None, samples=None)
ESTIMATORS = ("gumbel", "straight_through", "reinforce", "reinforce_baseline")
X = (np.random.default_rng(0).random(6) < 0.5).astype(np.float64)
LOGITS = np.random.default_rng(1).standard_normal((2, 3))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def small() -> Any:
    model = CategoricalVAE(6, 5, latents=2, categories=3, rng=rng()).to("float64")
    for parameter in model.parameters():
        parameter.data = rng(parameter.size).standard_normal(parameter.shape)
    return model


def state_of(model: Any, estimator: str, seed: int = 0, step: int = 0) -> Any:
    config = dataclasses.replace(RECIPE.config, estimator=estimator)
    return SimpleNamespace(model=model, config=config, rng=rng(seed), step=step)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_some_steps_bring_the_bound_down_and_gradients_reach_all(estimator: str, tmp_path: Path) -> None:
    assert find("categorical_vae") is RECIPE and find("G3") is RECIPE
    run = fit(UNDRAWN, out=tmp_path / "run", steps=30, overrides={"estimator": estimator}, progress=False)
    assert run.metrics["test_neg_elbo"] < 36  # from 44.5, of bits that are either with equal chance
    model = small()
    x = tz.tensor(X[None])
    loss, error = surrogate(state_of(model, estimator), model.posterior(x), x)
    assert loss.shape == error.shape == (1,)
    loss.sum().backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters())


def exact(model: Any) -> tuple[Any, list[Any]]:
    """The gradients of E_q[-log p(x | z)] in the logits and in the decoder, by enumeration of all nine codes."""
    logits = tz.tensor(LOGITS, requires_grad=True)
    codes = np.eye(3)[list(itertools.product(range(3), repeat=2))]  # (9, 2, 3)
    q = Independent(OneHotCategorical(logits=logits), 1)
    p = ops.exp(q.log_prob(codes))
    np.testing.assert_allclose(p.sum().item(), 1, rtol=1e-12)
    (p * -model.likelihood(tz.tensor(codes)).log_prob(X)).sum().backward()
    found = [x.grad.numpy() for x in model.decoder.parameters()]
    for x in model.parameters():
        x.grad = None
    return logits.grad.numpy(), found


@pytest.mark.parametrize(
    ("estimator", "mean"), [("reinforce", 0.0), ("reinforce_baseline", 0.0), ("reinforce_baseline", 4.0)]
)
def test_reinforce_is_right_on_average_whatever_the_baseline(estimator: str, mean: float) -> None:
    model, n = small(), 40_000
    expected, decoder = exact(model)
    model.mean_error.data = np.array(mean)
    logits = tz.tensor(np.tile(LOGITS, (n, 1, 1)), requires_grad=True)
    q = Independent(OneHotCategorical(logits=logits), 1)
    loss, _ = surrogate(state_of(model, estimator, step=1), q, tz.tensor(np.tile(X, (n, 1))))
    loss.mean().backward()
    found = n * logits.grad.numpy()
    assert found.std(axis=0).min() > 0.01
    assert (np.abs(found.mean(axis=0) - expected) < 3.5 * found.std(axis=0) / np.sqrt(n)).all()
    for parameter, want in zip(model.decoder.parameters(), decoder, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), want, atol=0.03 * np.abs(want).max())


def test_the_baseline_is_of_earlier_batches_and_takes_variance() -> None:
    def spread(mean: float) -> float:
        model = small()
        model.mean_error.data = np.array(mean)
        logits = tz.tensor(np.tile(LOGITS, (2000, 1, 1)), requires_grad=True)
        q = Independent(OneHotCategorical(logits=logits), 1)
        surrogate(state_of(model, "reinforce_baseline", step=1), q, tz.tensor(np.tile(X, (2000, 1))))[
            0
        ].sum().backward()
        return float(logits.grad.numpy().var(axis=0).sum())

    model, x = small(), tz.tensor(np.tile(X, (50, 1)))
    state = state_of(model, "reinforce_baseline")
    _, first = surrogate(state, model.posterior(x), x)
    assert model.mean_error.item() == pytest.approx(first.mean().item(), rel=1e-6)
    state.step = 1
    loss, error = surrogate(state, model.posterior(x), x)
    z_score = (loss - error).numpy()  # (f - b) log q, with b of the first batch
    assert not np.allclose(z_score, 0)
    assert model.mean_error.item() == pytest.approx(0.99 * first.mean().item() + 0.01 * error.mean().item(), rel=1e-6)
    assert spread(first.mean().item()) < 0.5 * spread(0.0)


def test_straight_through_decodes_choices_and_gumbel_mixtures() -> None:
    seen: dict[str, Any] = {}
    for estimator in ("gumbel", "straight_through"):
        model = small()
        likelihood = model.likelihood
        model.likelihood = lambda z, of=estimator, likelihood=likelihood: likelihood(seen.setdefault(of, z))
        surrogate(state_of(model, estimator), model.posterior(tz.tensor(X[None])), tz.tensor(X[None]))
    soft, hard = seen["gumbel"].numpy(), seen["straight_through"].numpy()
    assert np.array_equal(hard, np.eye(3)[soft.argmax(axis=-1)]) and 0.01 < soft.max(axis=-1).min() < 0.99


def test_the_bound_is_of_discrete_codes() -> None:
    """By enumeration, and never above log p(x)."""
    model = small()
    x = tz.tensor(np.tile(X, (3000, 1)))
    error, kl = (part.numpy() for part in model.negative_elbo(x, 20, rng=rng()))
    codes = np.eye(3)[list(itertools.product(range(3), repeat=2))]
    q = model.posterior(x[:1])
    p = np.exp(q.log_prob(codes[:, None]).numpy())[:, 0]
    nll = -model.likelihood(tz.tensor(codes)).log_prob(X).numpy()
    assert error.mean() == pytest.approx((p * nll).sum(), rel=0.02)
    assert kl[0] == pytest.approx((p * np.log(9 * p)).sum(), rel=1e-9)
    assert error.mean() + kl[0] > -np.log(np.exp(-nll).mean())


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("hard", [False, True])
def test_same_weights_and_noise_same_gradients_as_torch(hard: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, x = small(), (rng(3).random((4, 6)) < 0.5).astype(np.float64)
    state = state_of(model, "straight_through" if hard else "gumbel", seed=7, step=300)
    q = model.posterior(tz.tensor(x))
    loss, _ = surrogate(state, q, tz.tensor(x))
    total = (loss + kl_divergence(q, model.prior)).mean()
    total.backward()
    noise = torch.tensor(ops.standard_gumbel(tz.draw_key(rng(7)), (4, 2, 3), "float64"))
    monkeypatch.setattr(torch.Tensor, "exponential_", lambda self: self.copy_(torch.exp(-noise)))
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}

    def net(part: str, h: Any) -> Any:
        for layer, active in (("0", True), ("2", False)):
            h = torch.nn.functional.linear(h, theirs[f"{part}.{layer}.weight"], theirs[f"{part}.{layer}.bias"])
            h = torch.relu(h) if active else h
        return h

    logits = net("encoder", torch.tensor(x)).reshape(4, 2, 3).log_softmax(-1)
    z = torch.nn.functional.gumbel_softmax(logits, tau=max(0.5, float(np.exp(-0.001 * 300))), hard=hard)
    log_p = torch.distributions.Bernoulli(logits=net("decoder", z.reshape(4, 6))).log_prob(torch.tensor(x)).sum(1)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Categorical(logits=logits),
        torch.distributions.Categorical(logits=torch.zeros(2, 3, dtype=torch.float64)),
    ).sum(1)
    expected = (kl - log_p).mean()
    expected.backward()
    np.testing.assert_allclose(total.item(), expected.item(), rtol=1e-9)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), rtol=1e-9, atol=1e-10)


@pytest.mark.train
def test_the_bars(tmp_path: Path) -> None:
    found: dict[str, list[float]] = {}
    for estimator in ESTIMATORS:
        began = time.perf_counter()
        for seed in range(RECIPE.bar.seeds):
            out = tmp_path / f"{estimator}_{seed}"
            run = fit(UNDRAWN, seed=seed, out=out, overrides={"estimator": estimator}, progress=False)
            found.setdefault(estimator, []).append(run.metrics["test_neg_elbo"])
        values, seconds = found[estimator], (time.perf_counter() - began) / RECIPE.bar.seeds
        print(f"\n{estimator}: min {min(values):.2f} median {np.median(values):.2f}; {seconds:.1f} s a seed; {values}")
    assert max(found["gumbel"]) <= 22 and max(found["straight_through"]) <= 22
    assert np.median(found["reinforce"]) - np.median(found["reinforce_baseline"]) >= 1

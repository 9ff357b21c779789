"""Row G5: the conditional variational auto-encoder, whose three networks know the class."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.data import Split
from tinygrad_zoo.distributions import Independent, Normal
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.latent import vae
from tinygrad_zoo.models.latent.cvae import CVAE, RECIPE
from tinygrad_zoo.models.latent.recognition import recognised
from tinygrad_zoo.models.latent.vae import BernoulliLikelihood
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(classes: int = 4) -> CVAE:
    """One of 7 pixels and 3 latent numbers in float64, its prior means drawn."""
    draw = rng(0)
    encoder, decoder = nn.mlp(7 + classes, 11, 6, rng=draw), nn.mlp(3 + classes, 11, 7, rng=draw)
    model = CVAE(encoder, decoder, 3, BernoulliLikelihood(), classes).to("float64")
    model.means.data = draw.standard_normal((classes, 3))
    model.decoder[2].weight.data = 4 * model.decoder[2].weight.data
    return model


X, Y = (rng(1).random((9, 7)) > 0.4).astype(np.float64), np.arange(9) % 4


def test_the_bound_by_hand() -> None:
    model = made()
    reconstruction, kl = model.terms(X, Y, rng=rng(3))
    known = np.eye(4)[Y]
    hidden = model.encoder(np.concatenate([X, known], axis=1)).numpy()
    mean, log_variance = hidden[:, :3], hidden[:, 3:]
    away = mean - model.means.numpy()[Y]
    np.testing.assert_allclose(
        kl.numpy(), 0.5 * (away**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1), rtol=1e-12
    )
    z = mean + np.exp(log_variance / 2) * Independent(Normal(np.zeros((9, 3)), 1.0), 1).sample(rng=rng(3)).numpy()
    p = 1 / (1 + np.exp(-model.decoder(np.concatenate([z, known], axis=1)).numpy()))
    np.testing.assert_allclose(reconstruction.numpy(), np.log(np.where(X > 0, p, 1 - p)).sum(axis=1), rtol=1e-12)


def test_the_bounds_use_each_image_s_own_class() -> None:
    """In any order and company, for one guess and for many."""
    model, order = made(), rng(5).permutation(9)
    with tz.no_grad():
        for k in (1, 6):
            weights = model.log_weights(X, Y, k=k, rng=rng(2)).numpy()
            q, p = model.posterior(X, Y), model.prior(Y)
            z = q.rsample((k,), rng=rng(2))
            by_hand = model.decode(z, Y).log_prob(X) + p.log_prob(z) - q.log_prob(z)
            assert weights.shape == (k, 9) and np.array_equal(weights, by_hand.numpy())
        mean = model.posterior(X, Y).mean.numpy()
        np.testing.assert_allclose(model.posterior(X[order], Y[order]).mean.numpy(), mean[order], rtol=1e-12)
        again = model.reconstruct(X, Y).numpy()
        np.testing.assert_allclose(model.reconstruct(X[order], Y[order]).numpy(), again[order], rtol=1e-12)
        assert np.abs(model.reconstruct(X, (Y + 1) % 4).numpy() - again).max() > 1e-2


def test_a_class_that_was_forgotten_is_asked_for() -> None:
    model = made()
    for call in (
        lambda: model.elbo(X, rng=rng()),
        lambda: model.sample(3, rng=rng()),
        lambda: model.reconstruct(X),
        lambda: model.decode(tz.tensor(np.zeros((9, 3)))),
        lambda: model.elbo(X, Y, Y, rng=rng()),
    ):
        with pytest.raises(UsageError, match=r"CVAE: .* classes y \(N,\), got [02]: write elbo\(x, y, rng=rng\)"):
            call()


def test_samples_are_of_the_class_that_is_asked_for() -> None:
    model, classes = made(), np.arange(4)
    drawn = model.sample(4000, classes, rng=rng(3)).numpy()
    assert drawn.shape == (4000, 4, 7) and set(np.unique(drawn)) == {0.0, 1.0}
    z = model.means.numpy() + rng(4).standard_normal((4000, 4, 3))
    expected = model.decode(tz.tensor(z), classes).mean.numpy().mean(axis=0)
    np.testing.assert_allclose(drawn.mean(axis=0), expected, atol=0.04)
    apart = np.abs(expected[:, None] - expected).max(axis=2)
    assert apart[~np.eye(4, dtype=bool)].min() > 0.1  # else the comparison says nothing


def test_the_recognition_counts_what_is_read_as_meant() -> None:
    (train, labels), (test, classes) = RECIPE.data(RECIPE.config, rng()).parts().values()
    real = recognised((train, labels), test, classes)
    assert 0.9 < real < 1 and recognised((train, labels), test.reshape(-1, 8, 8), classes) == real
    assert recognised((train, labels), test, (classes + 1) % 10) < 0.05
    half = np.where(np.arange(360) < 180, classes, (classes + 1) % 10)
    assert recognised((train, labels), test, half) == pytest.approx(real / 2, abs=0.05)


def test_the_baselines_by_hand() -> None:
    (x, y), (asked, classes) = RECIPE.data(RECIPE.config, rng()).parts().values()
    found = RECIPE.baseline(Split(train=(x, y), test=(asked, classes)))
    total = 0.0
    for image, label in zip(asked, classes, strict=True):
        own = x[y == label]
        for pixel, bit in enumerate(image):
            total -= np.log(((own[:, pixel] == bit).sum() + 0.5) / (len(own) + 1))
    assert found["independent pixels a class"] == pytest.approx(total / len(asked))
    unconditional = vae.RECIPE.baseline(Split(train=(x,), test=(asked,)))
    below = min(unconditional.values()) - 2
    assert found["Chow–Liu tree a class"] < found["independent pixels a class"] < below


def test_a_short_run_falls_and_reaches_every_parameter(tmp_path: Path) -> None:
    assert find("cvae") is RECIPE
    run = fit(RECIPE, steps=60, out=tmp_path / "run", progress=False)
    curve = [json.loads(line)["neg_elbo"] for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert curve[0] == pytest.approx(64 * np.log(2), abs=1) and np.mean(curve[-10:]) < 29
    assert (run.out / "figure.png").stat().st_size > 10_000
    drawn = np.load(run.out / "samples.npz")
    assert drawn["x"].shape == (20, 10, 64) and np.array_equal(drawn["y"][3], range(10))
    split = RECIPE.data(RECIPE.config, rng())
    model = RECIPE.build(RECIPE.config, split, rng()).model
    (-model.elbo(*(part[:64] for part in split.train), rng=rng()).mean()).backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters())


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    nll, read = ([run.metrics[name] for run in runs] for name in ("test_nll", "recognised"))
    seconds = max(run.seconds for run in runs)
    print(f"\ncvae: {np.round(nll, 3)}, min {min(nll):.3f}, median {np.median(nll):.3f}; {seconds:.0f} s a seed")
    print(f"{runs[0].baseline}; recognised {np.round(read, 3)}")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert max(nll) < min(runs[0].baseline.values()) and min(read) > 0.9


@pytest.mark.oracle("torch")
def test_same_weights_same_bound_and_gradients_as_torch() -> None:
    from torch import distributions as D

    model = made()
    noise = Independent(Normal(np.zeros((9, 3)), 1.0), 1).sample(rng=rng(3)).numpy()
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    y, known = torch.tensor(Y), torch.nn.functional.one_hot(torch.tensor(Y), 4).double()

    def net(name: str, x: Any) -> Any:
        h = torch.cat([x, known], 1)
        for layer in (0, 2):
            h = torch.nn.functional.linear(h, theirs[f"{name}.{layer}.weight"], theirs[f"{name}.{layer}.bias"])
            h = h if layer else h.relu()
        return h

    mean, log_variance = net("encoder", torch.tensor(X)).chunk(2, -1)
    scale = (log_variance / 2).exp()
    out = net("decoder", mean + scale * torch.tensor(noise))
    kl = D.kl_divergence(D.Normal(mean, scale), D.Normal(theirs["means"][y], torch.ones(3).double())).sum(-1)
    expected = D.Bernoulli(logits=out).log_prob(torch.tensor(X)).sum(-1) - kl
    expected.mean().backward()
    ours = model.elbo(X, Y, rng=rng(3))
    ours.mean().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-9)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)

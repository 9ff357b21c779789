"""Row G5: the variational auto-encoder's bounds, what each of its terms is for, and its closed form, PPCA."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.data import batches
from tinygrad_zoo.distributions import Independent, Normal, kl_divergence
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.models import estimators, latent
from tinygrad_zoo.models.latent.vae import RECIPE, VAE, BernoulliLikelihood, GaussianLikelihood, measured
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(likelihood: nn.Module | None = None, pixels: int = 7, latent: int = 3, seed: int = 0) -> VAE:
    draw = rng(seed)
    encoder, decoder = nn.mlp(pixels, 11, 2 * latent, rng=draw), nn.mlp(latent, 11, pixels, rng=draw)
    return VAE(encoder, decoder, latent, likelihood or BernoulliLikelihood()).to("float64")


def bits(*shape: int, seed: int = 1) -> Any:
    return (rng(seed).random(shape) > 0.4).astype(np.float64)


# ---- the two terms


def test_the_bound_is_a_sum_over_pixels_and_latents_as_by_hand() -> None:
    model, x = made(), bits(5, 7)
    reconstruction, kl = model.terms(x, rng=rng(3))
    hidden = model.encoder(x).numpy()
    mean, log_variance = hidden[:, :3], hidden[:, 3:]
    np.testing.assert_allclose(
        kl.numpy(), 0.5 * (mean**2 + np.exp(log_variance) - log_variance - 1).sum(axis=1), rtol=1e-12
    )
    noise = Independent(Normal(np.zeros((5, 3)), np.ones((5, 3))), 1).sample(rng=rng(3)).numpy()
    p = 1 / (1 + np.exp(-model.decoder(mean + np.exp(log_variance / 2) * noise).numpy()))
    np.testing.assert_allclose(reconstruction.numpy(), np.log(np.where(x > 0, p, 1 - p)).sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(model.elbo(x, rng=rng(3)).numpy(), (reconstruction - kl).numpy(), rtol=1e-14)
    np.testing.assert_allclose(model.elbo(x, rng=rng(3), beta=4).numpy(), (reconstruction - 4 * kl).numpy(), rtol=1e-14)


def test_the_gaussian_likelihood_is_a_density() -> None:
    """Not a mean squared error: it integrates to 1 at every scale, and its best is the error's root mean square."""
    for scale in (0.3, 1.0, 2.0):
        likelihood = GaussianLikelihood(scale).to("float64")
        grid = np.linspace(-30, 30, 6001)
        density = np.exp(likelihood(tz.tensor([[0.7]]), 1).log_prob(grid[:, None]).numpy())
        assert density.sum() * (grid[1] - grid[0]) == pytest.approx(1, abs=1e-6)
    x, guess = rng(0).standard_normal((2, 400, 7))
    likelihood = GaussianLikelihood(np.sqrt(((x - guess) ** 2).mean())).to("float64")
    nll = -likelihood(tz.tensor(guess), 1).log_prob(x).mean()
    nll.backward()
    assert abs(likelihood.log_scale.grad.item()) < 1e-6
    assert nll.item() == pytest.approx(7 * (0.5 + np.log(likelihood.log_scale.exp().item()) + 0.5 * np.log(2 * np.pi)))


def test_images_of_any_shape() -> None:
    """A decoder that convolves sees one batch axis, however many guesses there are."""
    draw = rng(0)
    encoder = nn.Sequential(nn.Conv2d(1, 2, 3, stride=2, rng=draw), nn.Flatten(), nn.Linear(18, 4, rng=draw))
    decoder = nn.Sequential(
        nn.Linear(2, 32, rng=draw), nn.Unflatten(1, (2, 4, 4)), nn.ConvTranspose2d(2, 1, 2, 2, rng=draw)
    )
    model, x = VAE(encoder, decoder, 2, BernoulliLikelihood()), bits(5, 1, 8, 8).astype(np.float32)
    assert model.elbo(x, rng=rng()).shape == model.iwae(x, k=3, rng=rng()).shape == (5,)
    assert model.reconstruct(x).shape == x.shape and model.sample(4, rng=rng()).shape == (4, 1, 8, 8)


def trained(terms: str, steps: int = 150) -> Any:
    """The posterior's mean σ and KL, and -log p(x | z), of a small model trained by one term or by both."""
    split, draw = RECIPE.data(RECIPE.config, rng()), rng(0)
    model = VAE(nn.mlp(64, 32, 8, rng=draw), nn.mlp(4, 32, 64, rng=draw), 4, BernoulliLikelihood())
    adam = optim.Adam(model.parameters(), lr=1e-2)
    for (x,) in batches(split.train, 64, seed=0, steps=steps):
        adam.zero_grad()
        reconstruction, kl = model.terms(x, rng=draw)
        loss = {"both": kl - reconstruction, "reconstruction": -reconstruction, "kl": kl}[terms]
        loss.mean().backward()
        adam.step()
    with tz.no_grad():
        (x,) = split.test
        q = model.posterior(x)
        reconstruction, kl = model.terms(x, rng=draw)
        same = model.reconstruct(x).numpy().std(axis=0).mean()
    return q.stddev.numpy().mean(), kl.numpy().mean(), -reconstruction.numpy().mean(), same


def test_both_terms_are_needed() -> None:
    sigma, kl, nll, spread = trained("both")
    alone_sigma, alone_kl, alone_nll, _ = trained("reconstruction")
    assert 0.2 < sigma < 0.8 and 2 < kl < 8
    assert alone_sigma < 0.2 * sigma and alone_kl > 2 * kl and alone_nll < nll - 1  # an auto-encoder: σ → 0
    prior_sigma, prior_kl, prior_nll, prior_spread = trained("kl")
    assert abs(prior_sigma - 1) < 0.05 and prior_kl < 0.05  # q is the prior: z says nothing of x
    assert prior_spread < 0.1 * spread and prior_nll > 40 > nll + 15


# ---- bounds


def linear(d: int = 6, q: int = 2, seed: int = 0) -> Any:
    """x = W z + b + s ε as a VAE, its exact log p(x) and points of it."""
    draw = rng(seed)
    model = VAE(
        nn.Linear(d, 2 * q, rng=draw), nn.Linear(q, d, rng=draw), q, GaussianLikelihood(0.6)
    ).to("float64")  # fmt: skip
    model.decoder.weight.data = draw.standard_normal((d, q))
    x = draw.standard_normal((500, q)) @ model.decoder.weight.numpy().T + model.decoder.bias.numpy()
    return model, x + 0.6 * draw.standard_normal((500, d))


def exact(model: VAE, x: Any) -> Any:
    """log N(x; b, W Wᵀ + s² I) of a linear model."""
    w, b, s = model.decoder.weight.numpy(), model.decoder.bias.numpy(), np.exp(model.likelihood.log_scale.numpy())
    covariance = w @ w.T + s**2 * np.eye(len(w))
    away = np.linalg.solve(np.linalg.cholesky(covariance), (x - b).T)
    return -0.5 * (away**2).sum(axis=0) - 0.5 * np.linalg.slogdet(2 * np.pi * covariance)[1]


def test_the_bounds_rise_to_the_exact_likelihood() -> None:
    model, x = linear()
    truth = exact(model, x)
    w = model.decoder.weight.numpy()
    precision = w.T @ w / 0.36 + np.eye(2)  # of the true posterior, whose mean and (too large) scale the encoder gets
    towards = np.linalg.solve(precision, w.T) / 0.36
    model.encoder.weight.data = np.concatenate([towards, np.zeros((2, 6))])
    model.encoder.bias.data = np.concatenate([-towards @ model.decoder.bias.numpy(), [-1.5, -1.5]])
    with tz.no_grad():
        bounds = [np.mean([model.elbo(x, rng=rng(seed)).numpy() for seed in range(40)])]
        bounds += [np.mean([model.iwae(x, k=k, rng=rng(seed)).numpy() for seed in range(8)]) for k in (2, 8, 64, 512)]
    assert all(a < b - 1e-3 for a, b in zip(bounds[:-1], [*bounds[1:-1], truth.mean()], strict=True))
    assert bounds[0] < truth.mean() - 0.1 and abs(bounds[-1] - truth.mean()) < 2e-3


def test_more_guesses_of_the_same_are_a_higher_bound() -> None:
    """By Jensen's inequality, whatever was drawn: the log of a mean is at least the mean of the logs."""
    model, x = made(), bits(20, 7)
    weights = model.log_weights(x, k=64, rng=rng(1)).numpy()
    means = [np.logaddexp.reduce(weights.reshape(64 // k, k, 20), axis=1).mean() - np.log(k) for k in (1, 2, 4, 16, 64)]
    assert means == sorted(means) and means[-1] > means[0] + 1e-3
    iwae = model.iwae(x, k=64, rng=rng(1))
    np.testing.assert_allclose(iwae.numpy(), np.logaddexp.reduce(weights, axis=0) - np.log(64), rtol=1e-12)
    elbo = np.mean([model.elbo(x, rng=rng(seed)).numpy() for seed in range(100)], axis=0)
    many = model.log_weights(x, k=4000, rng=rng(2)).numpy().mean(axis=0)
    np.testing.assert_allclose(elbo, many, atol=0.5)
    assert elbo.mean() == pytest.approx(many.mean(), abs=0.1)


def test_a_linear_vae_finds_the_principal_subspace() -> None:
    """Its optimum is probabilistic PCA (Tipping & Bishop, 1999): subspace, noise and likelihood are known."""
    _, x = linear(seed=4)
    draw = rng(0)
    model = VAE(nn.Linear(6, 4, rng=draw), nn.Linear(2, 6, rng=draw), 2, GaussianLikelihood()).to("float64")
    steps = 600
    adam = optim.Adam(model.parameters(), lr=3e-2)
    schedule = optim.CosineAnnealingLR(adam, steps)
    for _ in range(steps):
        adam.zero_grad()
        (-model.elbo(x, rng=draw).mean()).backward()
        adam.step()
        schedule.step()
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    noise, axes = values[:-2].mean(), vectors[:, -2:]
    best = linear()[0]
    best.decoder.weight.data = axes * np.sqrt(values[-2:] - noise)
    best.decoder.bias.data, best.likelihood.log_scale.data = x.mean(axis=0), np.array(0.5 * np.log(noise))
    ours, optimum = exact(model, x).mean(), exact(best, x).mean()
    assert ours <= optimum and abs(ours - optimum) < 0.005 * abs(optimum)
    from scipy.linalg import subspace_angles

    assert np.degrees(subspace_angles(model.decoder.weight.numpy(), axes).max()) < 5
    assert np.exp(2 * model.likelihood.log_scale.item()) == pytest.approx(noise, rel=0.05)
    posterior = np.linalg.inv(best.decoder.weight.numpy().T @ best.decoder.weight.numpy() / noise + np.eye(2))
    sigma = model.posterior(x).stddev.numpy().mean(axis=0)
    assert (sigma**2).sum() == pytest.approx(np.trace(posterior), rel=0.1)


# ---- samples, errors


def test_samples_and_reconstructions() -> None:
    model, x = made(), bits(5, 7)
    drawn = model.sample(4000, rng=rng(3))
    assert not drawn.requires_grad and np.array_equal(drawn.numpy(), model.sample(4000, rng=rng(3)).numpy())
    assert set(np.unique(drawn.numpy())) == {0.0, 1.0}
    z = rng(4).standard_normal((4000, 3))
    np.testing.assert_allclose(
        drawn.numpy().mean(axis=0), model.decode(tz.tensor(z)).mean.numpy().mean(axis=0), atol=0.04
    )
    mean = model.posterior(x).mean
    again = model.reconstruct(x).numpy()
    np.testing.assert_allclose(again, 1 / (1 + np.exp(-model.decoder(mean).numpy())), rtol=1e-12)
    assert made(GaussianLikelihood(0.01)).sample(5, rng=rng()).shape == (5, 7)


def test_an_encoder_of_another_size_is_refused() -> None:
    model = VAE(nn.mlp(7, 3, rng=rng()), nn.mlp(3, 7, rng=rng()), 3, BernoulliLikelihood())
    with pytest.raises(ShapeError, match=r"latent_dim=3, so 6 numbers an image, got shape \(5, 3\)"):
        model.elbo(bits(5, 7).astype(np.float32), rng=rng())


def test_what_a_plain_vae_would_ignore_is_refused() -> None:
    model, x, y = made(), bits(5, 7), np.arange(5)
    for call in (
        lambda: model.elbo(x, y, rng=rng()),
        lambda: model.iwae(x, y, k=2, rng=rng()),
        lambda: model.sample(3, y, rng=rng()),
        lambda: model.reconstruct(x, y),
        lambda: model.decode(tz.tensor(np.zeros((5, 3))), y),
    ):
        with pytest.raises(UsageError, match=r"VAE: .* would ignore 1 more: write elbo\(x, rng=rng\), .* a CVAE"):
            call()


def test_the_family_exports_its_models() -> None:
    assert latent.VAE is VAE and latent.GaussianLikelihood is GaussianLikelihood
    assert {"CVAE", "VQVAE", "CategoricalVAE", "CodePrior", "BernoulliLikelihood"} <= set(latent.__all__)
    assert all(issubclass(getattr(latent, name), nn.Module) for name in latent.__all__)
    assert estimators.Gaussian()().mean.item() == 0


# ---- the recipe


def test_a_short_run_falls_and_reaches_every_parameter(tmp_path: Path) -> None:
    assert find("vae") is RECIPE
    run = fit(RECIPE, steps=60, out=tmp_path / "run", progress=False)
    curve = [json.loads(line)["neg_elbo"] for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert curve[0] == pytest.approx(64 * np.log(2), abs=1) and np.mean(curve[-10:]) < 29
    assert run.metrics["test_nll"] < run.metrics["test_neg_elbo"]
    assert (run.out / "figure.png").stat().st_size > 10_000
    assert np.load(run.out / "samples.npz")["x"].shape == (256, 64)
    split = RECIPE.data(RECIPE.config, rng())
    model = RECIPE.build(RECIPE.config, split, rng()).model
    (-model.elbo(split.train[0][:32], rng=rng()).mean()).backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters())


def test_the_measure_is_the_mean_over_all_images() -> None:
    model, x = made(), bits(50, 7)
    with tz.no_grad():
        whole, parts = (measured(model, (x,), "cpu", rng(1), rows=rows) for rows in (50, 7))
        assert whole["test_kl"] == pytest.approx(kl_divergence(model.posterior(x), model.prior()).mean().item())
        assert whole["test_kl"] == pytest.approx(parts["test_kl"])
        assert whole["test_nll"] == pytest.approx(parts["test_nll"], abs=0.1)
        assert whole["test_nll"] == pytest.approx(-model.iwae(x, k=2000, rng=rng(2)).mean().item(), abs=0.05)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    nll, seconds = [run.metrics["test_nll"] for run in runs], [run.seconds for run in runs]
    made = fit(find("made"), out=tmp_path / "made", progress=False).metrics["test_nll"]
    print(f"\nvae: {np.round(nll, 3)}, min {min(nll):.3f}, median {np.median(nll):.3f}; {max(seconds):.0f} s a seed")
    print(f"{runs[0].baseline}, MADE {made:.3f}")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert max(nll) < made < min(runs[0].baseline.values())
    for run in runs:
        assert run.metrics["test_nll"] < run.metrics["test_neg_elbo"] and 4 < run.metrics["test_kl"] < 8


# ---- oracle


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("gaussian", [False, True])
def test_same_weights_same_bound_and_gradients_as_torch(gaussian: bool) -> None:
    from torch import distributions as D

    model, x = made(GaussianLikelihood(0.7) if gaussian else None), bits(9, 7)
    noise = Independent(Normal(np.zeros((9, 3)), np.ones((9, 3))), 1).sample(rng=rng(3)).numpy()
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}

    def net(name: str, h: Any) -> Any:
        for layer in (0, 2):
            h = torch.nn.functional.linear(h, theirs[f"{name}.{layer}.weight"], theirs[f"{name}.{layer}.bias"])
            h = h if layer else h.relu()
        return h

    mean, log_variance = net("encoder", torch.tensor(x)).chunk(2, -1)
    scale = (log_variance / 2).exp()
    out = net("decoder", mean + scale * torch.tensor(noise))
    likelihood = D.Normal(out, theirs["likelihood.log_scale"].exp()) if gaussian else D.Bernoulli(logits=out)
    kl = D.kl_divergence(D.Normal(mean, scale), D.Normal(torch.zeros(3).double(), torch.ones(3).double()))
    expected = likelihood.log_prob(torch.tensor(x)).sum(-1) - kl.sum(-1)
    expected.mean().backward()
    ours = model.elbo(x, rng=rng(3))
    ours.mean().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-9)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)

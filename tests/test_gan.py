"""GAN: the optimal discriminator, who is updated when in every adversarial system, what counts as found, the bar."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.data import eight_gaussians
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.losses import gan_discriminator
from tinygrad_zoo.models.adversarial import GAN, gan, ring, wgan_clip, wgan_gp
from tinygrad_zoo.recipe import State, find
from tinygrad_zoo.training import fit

ot = oracles.load("ot")
SYSTEMS = {"gan": gan, "wgan_gp": wgan_gp, "wgan_clip": wgan_clip}


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def prepared(system: Any, **settings: Any) -> tuple[State[Any, Any], Any]:
    """A state before the first step, with narrow networks, and a batch."""
    config = system.RECIPE.config.overridden({"hidden": 16, **settings})
    data = system.RECIPE.data(config, rng())
    parts = system.RECIPE.build(config, data, rng(1))
    state = State(
        config=config,
        seed=0,
        rng=rng(2),
        data=data,
        model=parts.model,
        optimizers=parts.optimizers,
        schedules=parts.schedules,
        extras=parts.extras,
        device="numpy",
    )
    return state, (tz.tensor(data.train[0][:32]),)


def weights(network: Any) -> list[Any]:
    return [x.numpy().copy() for x in network.parameters()]


def moved(network: Any, before: list[Any]) -> list[bool]:
    return [not np.array_equal(x.numpy(), old) for x, old in zip(network.parameters(), before, strict=True)]


# ---- the discriminator
def test_a_trained_discriminator_is_p_over_p_plus_p_g() -> None:
    """Against a fixed generator on a line, within 0.05 wherever either density is above 0.05."""
    draw = rng(0)
    parameters = (0.0, 1.0), (1.5, 0.7)
    layers = [nn.Linear(1, 32, rng=draw), nn.Tanh(), nn.Linear(32, 32, rng=draw), nn.Tanh(), nn.Linear(32, 1, rng=draw)]
    critic, steps = nn.Sequential(*layers), 400
    optimizer = optim.Adam(critic.parameters(), lr=1e-2)
    schedule = optim.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        real, fake = (tz.tensor(mean + std * draw.standard_normal((2048, 1)), "float32") for mean, std in parameters)
        optimizer.zero_grad()
        gan_discriminator(critic(real), critic(fake)).backward()
        optimizer.step()
        schedule.step()
    x = np.linspace(-5, 5, 401)
    p, p_g = (np.exp(-(((x - m) / s) ** 2) / 2) / (s * math.sqrt(2 * math.pi)) for m, s in parameters)
    with tz.no_grad():
        found = critic(tz.tensor(x[:, None], "float32")).sigmoid().numpy()[:, 0]
    dense = np.maximum(p, p_g) > 0.05
    assert np.abs(found - p / (p + p_g))[dense].max() <= 0.05 and dense.sum() > 100


# ---- any two networks
def test_losses_of_a_gan_of_other_networks() -> None:
    """Of images, by convolutions: what it minimises are the losses of the logits, and samples are constants to D."""
    draw = rng(0)
    generator = nn.Sequential(nn.Linear(3, 16, rng=draw), nn.Unflatten(1, (1, 4, 4)))
    discriminator = nn.Sequential(nn.Conv2d(1, 2, 3, rng=draw), nn.Flatten(), nn.Linear(8, 1, rng=draw))
    x, z = (tz.tensor(draw.standard_normal(shape), "float32") for shape in ((5, 1, 4, 4), (5, 3)))
    for loss in ("ns", "minimax", "wasserstein"):
        model = GAN(generator, discriminator, loss)  # type: ignore[arg-type]
        fake = model(z)
        real_scores, scores = discriminator(x).numpy(), discriminator(fake).numpy()
        of_d = {"wasserstein": scores.mean() - real_scores.mean()}
        of_d = of_d.get(loss, np.logaddexp(0, -real_scores).mean() + np.logaddexp(0, scores).mean())
        of_g = {"ns": np.logaddexp(0, -scores), "minimax": -np.logaddexp(0, scores), "wasserstein": -scores}[loss]
        d_loss, g_loss = model.discriminator_loss(x, fake), model.generator_loss(fake)
        assert d_loss.item() == pytest.approx(of_d, rel=1e-5) and g_loss.item() == pytest.approx(of_g.mean(), rel=1e-5)
        for network in (generator, discriminator):
            network.zero_grad()
        d_loss.backward()
        assert all(p.grad is None for p in generator.parameters())
        assert all(p.grad is not None for p in discriminator.parameters())
        g_loss.backward()
        assert all(np.abs(p.grad.numpy()).max() > 0 for p in generator.parameters())
    assert GAN(generator, discriminator).loss == "ns" and "GAN(loss='ns')" in repr(GAN(generator, discriminator))
    with pytest.raises(UsageError, match="GAN: expected loss to be 'ns' or 'minimax' or 'wasserstein', got 'hinge'"):
        GAN(generator, discriminator, "hinge")  # type: ignore[arg-type]


def test_the_figures_curves_are_the_two_reasons_to_leave_minimax() -> None:
    logits = np.linspace(-12, 12, 49)
    d = 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(gan.slopes(logits, "minimax"), d, rtol=1e-12)
    np.testing.assert_allclose(gan.slopes(logits, "ns"), 1 - d, rtol=1e-9)
    shifts = np.array([0.25, 1.0, 1.7, 3.0])
    blind, distance = gan.apart(shifts)
    np.testing.assert_allclose(blind, np.minimum(shifts, 1) * math.log(2), rtol=1e-9)
    np.testing.assert_allclose(distance, shifts, rtol=1e-9)


# ---- who is updated when
@pytest.mark.parametrize("name", SYSTEMS)
def test_each_update_moves_one_network(name: str) -> None:
    """Neither the critic's update, with samples for data, reaches the generator, nor the other way round."""
    for still, mover in (("generator", "discriminator"), ("discriminator", "generator")):
        state, batch = prepared(SYSTEMS[name])
        for optimizer_name, optimizer in state.optimizers.items():
            if (optimizer_name == "generator") == (still == "generator"):
                for group in optimizer.param_groups:
                    group["lr"] = 0.0
        still_network, moving = getattr(state.model, still), getattr(state.model, mover)
        if name == "wgan_clip":
            wgan_clip.clip_weights(still_network, state.config.clip)  # what is cut once is not moved by it again
        before = weights(still_network), weights(moving)
        SYSTEMS[name].RECIPE.step(state, batch)
        assert not any(moved(still_network, before[0])), f"{still} moved"
        assert all(moved(moving, before[1])[:-1]), f"{mover} stood still"  # the last bias of a critic may cancel


@pytest.mark.parametrize("name", SYSTEMS)
def test_samples_come_to_the_critics_update_without_their_graph(name: str) -> None:
    """So that a step sends one gradient through the generator, and n_critic + 1 through the critic."""
    updates = {"d_steps": 3} if name == "gan" else {"n_critic": 3}
    state, batch = prepared(SYSTEMS[name], **updates)
    # One that is smooth, as ReLU's is not: a penalty of its slopes would have a gradient in the samples, too.
    state.model.discriminator = nn.mlp(2, 16, 1, activation=nn.Tanh, rng=rng())
    counts = dict.fromkeys(("generator", "discriminator"), 0)

    def counting(network: str) -> Any:
        def hook(gradient: Any) -> None:
            counts[network] += 1

        return hook

    for network in counts:
        next(iter(getattr(state.model, network).parameters())).register_hook(counting(network))
    SYSTEMS[name].RECIPE.step(state, batch)
    assert counts["generator"] == 1 and counts["discriminator"] == 3 + 1


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_critic_judges_each_point_by_itself(name: str) -> None:
    """No statistics of the batch are shared between data and samples."""
    state, (x,) = prepared(SYSTEMS[name])
    together = state.model.discriminator(x).numpy()
    alone = np.concatenate([state.model.discriminator(x[i : i + 1]).numpy() for i in range(len(x))])
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_short_run_learns_and_gradients_reach_every_parameter(name: str, tmp_path: Path) -> None:
    system = SYSTEMS[name]
    state, batch = prepared(system)
    twin, _ = prepared(system)
    metrics = [system.RECIPE.step(state, batch)[system.RECIPE.metric].item() for _ in range(30)]
    again = [system.RECIPE.step(twin, batch)[system.RECIPE.metric].item() for _ in range(5)]
    assert again == metrics[:5]
    assert all(x.grad is not None and np.isfinite(x.grad.numpy()).all() for x in state.model.parameters())
    assert all(np.abs(x.grad.numpy()).max() > 0 for x in state.model.generator.parameters())
    better = min(metrics[1:]) < metrics[0] - 0.02 if name == "gan" else max(metrics[1:]) > metrics[0] + 0.01
    assert better, metrics
    run = fit(system.RECIPE, steps=5, overrides={"hidden": 16}, out=tmp_path / "run", progress=False)
    assert np.load(run.out / "samples.npz")["samples"].shape == (ring.SAMPLES, 2)
    assert (run.out / "figure.png").stat().st_size > 10_000


# ---- what counts as found
def test_modes_found() -> None:
    points, labels = eight_gaussians(ring.SAMPLES, 0, ring.RADIUS, ring.NOISE)
    assert ring.found(points) == {"modes": 8, "within_5_sigma": 1}
    assert ring.found(points[labels < 3])["modes"] == 3
    for few, expected in ((25, 7), (40, 8)):  # of about 900: a quarter of an eighth is 28
        rare = np.concatenate([points[labels != 2], points[labels == 2][:few]])
        assert ring.found(rare)["modes"] == expected
    between = points * 0.5
    assert ring.found(between) == {"modes": 0, "within_5_sigma": 0}
    half = np.concatenate([points[:500], between[:500]])
    assert ring.found(half)["within_5_sigma"] == 0.5


def test_the_distance_of_samples_is_the_exact_one() -> None:
    points = eight_gaussians(200, 0, ring.RADIUS, ring.NOISE)[0]
    assert ring.wasserstein(points, points[::-1]) == pytest.approx(0, abs=1e-12)
    assert ring.wasserstein(points, points + np.array([3.0, 4.0])) == pytest.approx(5, rel=1e-6)
    t = np.linspace(-1, 1, 50)
    # Coordinates of equal distributions, points of others: sorted one by one they would not differ.
    assert ring.wasserstein(np.stack([t, t], 1), np.stack([t, -t], 1)) > 0.5


@pytest.mark.oracle("ot")
def test_the_distance_of_samples_is_that_of_pot() -> None:
    x, y = eight_gaussians(150, 0, ring.RADIUS, ring.NOISE)[0], rng(1).standard_normal((200, 2))
    distance = np.linalg.norm(x[:, None].astype(np.float64) - y, axis=2)
    expected = ot.emd2(np.full(150, 1 / 150), np.full(200, 1 / 200), distance)
    assert ring.wasserstein(x, y) == pytest.approx(expected, rel=1e-9)


def test_baselines_are_far_from_the_bars() -> None:
    data = ring.ring(rng())
    assert gan.baseline(data)["fitted Gaussian"] <= 4
    assert wgan_gp.baseline(data)["fitted Gaussian"] > 2 * 0.35
    assert 0.05 < ring.floor(data) < 0.2  # what even data are apart


def test_names_and_rows() -> None:
    assert find("G8") is find("gan") is gan.RECIPE
    assert find("wgan_gp") is wgan_gp.RECIPE and find("wgan_clip") is wgan_clip.RECIPE


@pytest.mark.train
def test_the_gan_finds_most_modes(tmp_path: Path) -> None:
    recipe, start = gan.RECIPE, time.perf_counter()
    runs = [fit(recipe, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(recipe.bar.seeds)]
    seconds = (time.perf_counter() - start) / len(runs)
    for key in ("modes", "within_5_sigma", "w1"):
        values = [run.metrics[key] for run in runs]
        print(f"gan {key}: min {min(values):.3f} median {np.median(values):.3f} max {max(values):.3f}")
    print(f"gan baseline {runs[0].baseline}, {seconds:.0f} s a seed")
    assert recipe.bar.holds(*(run.metrics for run in runs))
    assert np.median([run.metrics["within_5_sigma"] for run in runs]) >= 0.7

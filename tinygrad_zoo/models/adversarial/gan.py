"""GAN: a generator against a discriminator (Goodfellow et al. 2014, arXiv 1406.2661).

D learns to tell data from samples, max E log D(x) + E log(1 − D(G(z))), and is best as D = p / (p + p_g); G learns to
pass for data. A step is `d_steps` updates of D, for which G's samples are constants, and one of G, for which D's
weights are. G's loss is the non-saturating −log D(G(z)): at the start D is sure of itself, and "minimax" has almost no
gradient there. Nor could it: at D's best it is 2 JS(p ‖ p_g) − log 4, and JS is log 2 wherever the two do not overlap,
near or far. The figure draws both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import optim, plotting
from ...data import Split
from ...grad_mode import enable_grad
from ...information import js
from ...losses import gan_generator
from ...optimal_transport import wasserstein_1d
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from ...transforms import grad
from . import ring
from .base import GAN

Array = NDArray[Any]
Loss = Literal["ns", "minimax"]
NAMES: dict[Loss, str] = {"ns": "non-saturating", "minimax": "minimax"}


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 2_500
    batch_size: int = 256
    lr: float = 1e-3
    hidden: int = 128
    d_steps: int = 1
    loss: Loss = "ns"


def data(config: Settings, rng: np.random.Generator) -> Split:
    return ring.ring(rng)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[GAN]:
    model = ring.adversaries(config.hidden, config.loss, rng=rng)
    networks = {"generator": model.generator, "discriminator": model.discriminator}
    adam = {name: optim.Adam(net.parameters(), lr=config.lr, betas=(0.5, 0.9)) for name, net in networks.items()}
    return Parts(model=model, optimizers=adam)


def step(state: State[Settings, GAN], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 2)
    model, optimizers, n = state.model, state.optimizers, len(x)
    for _ in range(state.config.d_steps):
        fake = ring.sample(model, n, rng=state.rng)
        optimizers["discriminator"].zero_grad()
        d_loss = model.discriminator_loss(x, fake)
        d_loss.backward()
        optimizers["discriminator"].step()
    optimizers["generator"].zero_grad()
    g_loss = model.generator_loss(ring.sample(model, n, rng=state.rng))
    g_loss.backward()  # through D, whose own gradients its next update throws away
    optimizers["generator"].step()
    return {"d_loss": d_loss, "g_loss": g_loss}


def baseline(data: Split) -> Mapping[str, float]:
    return {"fitted Gaussian": ring.found(ring.gaussian(data))["modes"]}


def slopes(logits: Array, loss: Loss) -> Array:
    """|∂ loss / ∂ logit| of a sample of each logit, (n,): how much it teaches the generator.

    >>> [slopes(np.array([-10.0, 0.0]), loss).round(4).tolist() for loss in NAMES]
    [[1.0, 0.5], [0.0, 0.5]]
    """
    with enable_grad():
        found = grad(lambda x: gan_generator(x, loss=loss))(tensor(logits))
    steepness: Array = len(logits) * np.abs(found.numpy())
    return steepness


def apart(shifts: Array) -> tuple[Array, Array]:
    """JS and W₁ of two uniform distributions on intervals of length 1, one of them shifted: (n,) each.

    >>> [distances.round(3).tolist() for distances in apart(np.array([0.0, 0.5, 1.0, 2.0]))]
    [[0.0, 0.347, 0.693, 0.693], [0.0, 0.5, 1.0, 2.0]]
    """
    places = np.arange(0.005, 1 + shifts.max(), 0.01)
    p, q = places < 1, np.abs(places - shifts[:, None] - 0.5) < 0.5  # (places,), (n, places)
    return js(p * 1.0, q * 1.0, cell=0.01).numpy(), np.array([wasserstein_1d(places[p], places[row]) for row in q])


def figure(state: State[Settings, GAN], path: Path) -> None:
    """The ring's panels, the gradient that either loss leaves a sample, and what a discriminator sees of a distance."""
    fig, (*shared, teaching, distance) = plotting.figure((2, 3), title=f"GAN, {NAMES[state.config.loss]} loss")
    ring.draw(shared, state, "d_loss", "g_loss")
    logits = np.linspace(-10, 10, 201)
    for (loss, name), colour in zip(NAMES.items(), (plotting.BLUE, plotting.ORANGE), strict=True):
        teaching.semilogy(logits, slopes(logits, loss), color=colour, label=name)
    teaching.set(title="gradient in D's logit of a sample", xlabel="logit: below 0 D sees through it")
    shifts = np.linspace(0, 3, 31)
    for values, label, colour in zip(apart(shifts), ("JS", "W₁"), (plotting.BLUE, plotting.ORANGE), strict=True):
        distance.plot(shifts, values, color=colour, label=label)
    distance.axhline(np.log(2), color="black", linewidth=0.5, linestyle=":")
    distance.set(title="of two intervals: JS ends at log 2", xlabel="shift, in their length")
    for panel in (teaching, distance):
        panel.legend(frameon=False)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="gan",
    row="G8",
    family="adversarial",
    title="GAN on a ring of eight Gaussians",
    paper="arXiv 1406.2661",
    config=Settings(),
    metric="d_loss",
    data=data,
    build=build,
    step=step,
    evaluate=ring.evaluate,
    baseline=baseline,
    bar=Bar(
        metric="modes",
        at_least=6,
        statistic="median",
        seeds=3,
        also=(Bar(metric="within_5_sigma", at_least=0.7, statistic="median", seeds=3),),
    ),
    figure=figure,
    samples=ring.samples,
)

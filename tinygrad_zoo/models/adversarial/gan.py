"""GAN: a generator against a discriminator (Goodfellow et al. 2014, arXiv 1406.2661).

D learns to tell data from samples, max E log D(x) + E log(1 − D(G(z))), and is best as D = p / (p + p_g); G learns to
pass for data. A step is `d_steps` updates of D, for which G's samples are constants, and one of G, for which D's
weights are. G's loss is the non-saturating −log D(G(z)): at the start D is sure of itself, and "minimax" has almost no
gradient there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ... import optim
from ...data import Split
from ...losses import gan_discriminator, gan_generator
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor
from . import ring
from .ring import Adversaries


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 2_500
    batch_size: int = 256
    lr: float = 1e-3
    hidden: int = 128
    d_steps: int = 1
    loss: Literal["non_saturating", "minimax"] = "non_saturating"


def data(config: Settings, rng: np.random.Generator) -> Split:
    return ring.ring(rng)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Adversaries]:
    model = Adversaries(config.hidden, rng=rng)
    networks = {"generator": model.generator, "discriminator": model.critic}
    adam = {name: optim.Adam(net.parameters(), lr=config.lr, betas=(0.5, 0.9)) for name, net in networks.items()}
    return Parts(model=model, optimizers=adam)


def step(state: State[Settings, Adversaries], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 2)
    model, optimizers, n = state.model, state.optimizers, len(x)
    for _ in range(state.config.d_steps):
        fake = model.sample(n, rng=state.rng).detach()  # G is not part of this update
        optimizers["discriminator"].zero_grad()
        d_loss = gan_discriminator(model.critic(x), model.critic(fake))
        d_loss.backward()
        optimizers["discriminator"].step()
    optimizers["generator"].zero_grad()
    g_loss = gan_generator(model.critic(model.sample(n, rng=state.rng)), loss=state.config.loss)
    g_loss.backward()  # through D, whose own gradients its next update throws away
    optimizers["generator"].step()
    return {"d_loss": d_loss, "g_loss": g_loss}


def baseline(data: Split) -> Mapping[str, float]:
    return {"fitted Gaussian": ring.found(ring.gaussian(data))["modes"]}


def figure(state: State[Settings, Adversaries], path: Path) -> None:
    ring.figure(state, path, "d_loss", "g_loss", title=f"GAN, {state.config.loss.replace('_', '-')} loss")


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
    bar=Bar(metric="modes", at_least=6, statistic="median", seeds=3),
    figure=figure,
    samples=ring.samples,
)

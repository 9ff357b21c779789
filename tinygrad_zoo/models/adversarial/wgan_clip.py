"""WGAN with clipped weights: how not to make a critic Lipschitz (Arjovsky, Chintala & Bottou 2017, arXiv 1701.07875).

The critic climbs E_p f − E_g f, and after each update every weight is cut to [−c, c]. That bounds the slope of f, by a
number nobody asked for, and nearly all weights end at ±c: the critic becomes far too simple a function to see eight
narrow modes. Kept beside `wgan_gp` as the failure that the penalty repairs: it is held to finding few modes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import nn, optim
from ...backend import namespace
from ...data import Split
from ...grad_mode import effect
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor
from . import ring
from .base import GAN


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_200
    batch_size: int = 256
    lr: float = 5e-4
    hidden: int = 128
    n_critic: int = 5
    clip: float = 0.1


def data(config: Settings, rng: np.random.Generator) -> Split:
    return ring.ring(rng)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[GAN]:
    model = ring.adversaries(config.hidden, "wasserstein", rng=rng)
    networks = {"generator": model.generator, "critic": model.discriminator}
    rmsprop = {name: optim.RMSprop(net.parameters(), lr=config.lr) for name, net in networks.items()}
    return Parts(model=model, optimizers=rmsprop)


@effect
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Every weight into [−limit, limit], in the memory where the optimizer keeps it."""
    for parameter in critic.parameters():
        namespace(parameter.data).clip(parameter.data, -limit, limit, out=parameter.data)
        parameter.mark_written()


def step(state: State[Settings, GAN], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 2)
    model, config, optimizers, n = state.model, state.config, state.optimizers, len(x)
    for _ in range(config.n_critic):
        fake = ring.sample(model, n, rng=state.rng)
        optimizers["critic"].zero_grad()
        loss = model.discriminator_loss(x, fake)
        loss.backward()
        optimizers["critic"].step()
        clip_weights(model.discriminator, config.clip)
    optimizers["generator"].zero_grad()
    model.generator_loss(ring.sample(model, n, rng=state.rng)).backward()
    optimizers["generator"].step()
    return {"gap": -loss}


def baseline(data: Split) -> Mapping[str, float]:
    return {"fitted Gaussian": ring.found(ring.gaussian(data))["modes"]}


def figure(state: State[Settings, GAN], path: Path) -> None:
    ring.figure(state, path, "gap", title=f"WGAN with weights clipped at {state.config.clip:g}")


RECIPE = Recipe(
    name="wgan_clip",
    row="G10",
    family="adversarial",
    title="WGAN with clipped weights, which fails, on a ring of eight Gaussians",
    paper="arXiv 1701.07875",
    config=Settings(),
    metric="gap",
    data=data,
    build=build,
    step=step,
    evaluate=ring.evaluate,
    baseline=baseline,
    bar=Bar(metric="modes", at_most=5, seeds=3),
    figure=figure,
    samples=ring.samples,
)

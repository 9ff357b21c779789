"""WGAN-GP: the critic's slope is held near 1 by a penalty (Gulrajani et al. 2017, arXiv 1704.00028).

By Kantorovich and Rubinstein, W₁(p, p_g) = sup E_p f − E_g f over 1-Lipschitz f. A WGAN's critic climbs this gap and
its generator descends it, so that the loss says how far apart the two still are, and has a gradient however far. Here f
is made about 1-Lipschitz by λ E(‖∇f(x̂)‖ − 1)² at points x̂ between data and samples: a loss of a gradient, whose own
gradient is of second order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import optim
from ...data import Split
from ...losses import gradient_penalty
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor
from . import ring
from .base import GAN


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 800
    batch_size: int = 256
    lr: float = 1e-3
    hidden: int = 128
    n_critic: int = 4
    weight: float = 1.0
    one_sided: bool = False


def data(config: Settings, rng: np.random.Generator) -> Split:
    return ring.ring(rng)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[GAN]:
    model = ring.adversaries(config.hidden, "wasserstein", rng=rng)
    networks = {"generator": model.generator, "critic": model.discriminator}
    adam = {name: optim.Adam(net.parameters(), lr=config.lr, betas=(0.5, 0.9)) for name, net in networks.items()}
    return Parts(model=model, optimizers=adam)


def step(state: State[Settings, GAN], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 2)
    model, config, optimizers, n = state.model, state.config, state.optimizers, len(x)
    for _ in range(config.n_critic):
        fake = ring.sample(model, n, rng=state.rng).detach()  # G is not part of this update
        optimizers["critic"].zero_grad()
        loss = model.discriminator_loss(x, fake)
        penalty = gradient_penalty(model.discriminator, x, fake, rng=state.rng, one_sided=config.one_sided)
        (loss + config.weight * penalty).backward()
        optimizers["critic"].step()
    optimizers["generator"].zero_grad()
    model.generator_loss(ring.sample(model, n, rng=state.rng)).backward()
    optimizers["generator"].step()
    return {"gap": -loss, "penalty": penalty}


def baseline(data: Split) -> Mapping[str, float]:
    return {"fitted Gaussian": ring.wasserstein(ring.gaussian(data), data.test[0])}


def figure(state: State[Settings, GAN], path: Path) -> None:
    ring.figure(state, path, "gap", "penalty", title=f"WGAN with gradient penalty, λ = {state.config.weight:g}")


RECIPE = Recipe(
    name="wgan_gp",
    row="G10",
    family="adversarial",
    title="WGAN with gradient penalty on a ring of eight Gaussians",
    paper="arXiv 1704.00028",
    config=Settings(),
    metric="gap",
    data=data,
    build=build,
    step=step,
    evaluate=ring.evaluate,
    baseline=baseline,
    bar=Bar(metric="w1", at_most=0.35, seeds=3, also=(Bar(metric="modes", at_least=8, seeds=3),)),
    figure=figure,
    samples=ring.samples,
)

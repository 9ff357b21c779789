"""RealNVP: density estimation by affine couplings (Dinh, Sohl-Dickstein & Bengio 2016, arXiv 1605.08803).

A coupling leaves half of the coordinates as they are and scales and shifts the other half by functions of the first, so
that it is inverted in one pass and its Jacobian is triangular. Stacked with alternating halves they bend two moons
into a Gaussian: training maximises log p(x) = log N(f(x); 0, I) + log |det ∂f/∂x|.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split, two_moons_entropy, two_moons_split
from ...distributions import Independent, MultivariateNormal, Normal
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from .couplings import AffineCoupling
from .transforms import Flow

NOISE = 0.10


class RealNVP(Flow):
    """`n_coupling` affine couplings of alternating parity over a standard normal base.

    >>> model = RealNVP(dim=2, hidden=16, n_coupling=4, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 2), np.float32)).shape
    (3,)
    """

    def __init__(self, dim: int, hidden: int, n_coupling: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        super().__init__(
            Independent(Normal(np.zeros(dim, np.float32), np.ones(dim, np.float32)), 1),
            [AffineCoupling(dim, hidden, parity=k % 2, rng=rng) for k in range(n_coupling)],
        )


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 512
    lr: float = 3e-3
    hidden: int = 64
    n_coupling: int = 6


def data(config: Settings, rng: np.random.Generator) -> Split:
    return two_moons_split(rng, noise=NOISE)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[RealNVP]:
    dim = data.train[0].shape[1]
    model = RealNVP(dim, config.hidden, config.n_coupling, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, RealNVP], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 2)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    nll = -ops.mean(state.model.log_prob(x))
    nll.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"nll": nll}


def evaluate(state: State[Settings, RealNVP]) -> dict[str, float]:
    """In nats, on the standardised test points; no model can have a lower NLL than the entropy."""
    (x,) = state.data.test
    nll = -float(state.model.log_prob(tensor(x, device=state.device)).mean())
    entropy = two_moons_entropy(x, NOISE, state.data.statistics)
    return {"test_nll": nll, "entropy": entropy, "gap": nll - entropy}


def baseline(data: Split) -> Mapping[str, float]:
    (train,), (test,) = data.train, data.test
    gaussian = MultivariateNormal.fit(train)
    return {"fitted Gaussian": -float(gaussian.log_prob(tensor(test, "float64")).mean())}


def figure(state: State[Settings, RealNVP], path: Path) -> None:
    """Data, samples, the learnt density, and the grid of the latent space warped into data space."""
    model, (points,), square = state.model, state.data.test, (-2.6, 2.6, -2.6, 2.6)

    def on_device(x: Any) -> Tensor:
        return tensor(x, "float32", state.device)

    fig, (data, samples, density, grid) = plotting.figure(4)
    plotting.scatter_panel(data, points[:3000], title="data", extent=square)
    plotting.scatter_panel(samples, model.sample(3000, rng=state.rng).numpy(), title="samples", extent=square)
    plotting.density_panel(density, lambda x: model.log_prob(on_device(x)).numpy(), square, title="density")
    plotting.grid_panel(
        grid, lambda z: model.inverse(on_device(z)).numpy(), square, view=square, title="warped latent grid"
    )
    plotting.save(fig, path)


RECIPE = Recipe(
    name="realnvp",
    row="F3",
    family="flows",
    title="RealNVP on two moons",
    paper="arXiv 1605.08803",
    config=Settings(),
    metric="nll",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_nll", at_most=1.98, seeds=3),
    figure=figure,
)

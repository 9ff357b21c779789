"""RealNVP: density estimation by affine couplings (Dinh, Sohl-Dickstein & Bengio 2016, arXiv 1605.08803).

A coupling leaves half of the coordinates as they are and scales and shifts the other half by functions of the first, so
that it is inverted in one pass and its Jacobian is triangular. Stacked with alternating halves they bend two moons
into a Gaussian: training maximises log p(x) = log N(f(x); 0, I) + log |det ∂f/∂x|.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ... import nn, optim
from ...data import Split
from ...distributions import Independent, Normal
from ...recipe import Bar, Config, Parts, Recipe
from . import two_moons
from .couplings import AffineCoupling, check_count
from .transforms import Flow


class RealNVP(Flow):
    """`n_coupling` affine couplings of alternating parity over a standard normal base.

    >>> model = RealNVP(dim=2, hidden=16, n_coupling=4, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 2), np.float32)).shape
    (3,)
    """

    def __init__(self, dim: int, hidden: int, n_coupling: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        check_count("RealNVP", n_coupling)
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


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[RealNVP]:
    dim = data.train[0].shape[1]
    model = RealNVP(dim, config.hidden, config.n_coupling, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


RECIPE = Recipe(
    name="realnvp",
    row="F3",
    family="flows",
    title="RealNVP on two moons",
    paper="arXiv 1605.08803",
    config=Settings(),
    metric="nll",
    data=two_moons.data,
    build=build,
    step=two_moons.step,
    evaluate=two_moons.evaluate,
    baseline=two_moons.baseline,
    bar=Bar(metric="test_nll", at_most=1.98, seeds=3),
    figure=two_moons.figure,
    samples=two_moons.samples,
)

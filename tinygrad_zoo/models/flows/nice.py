"""NICE: density estimation by additive couplings (Dinh, Krueger & Bengio 2014, arXiv 1410.8516).

A coupling adds to one half of the coordinates a function of the other, which keeps volumes: its Jacobian has
determinant 1. Stacked, they fold space without squeezing it anywhere, and one diagonal scaling at the end is all that
changes volumes. Training maximises log p(x) = Σ log p(z_i) + Σ s_i with z = exp(s)⊙h(x).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ... import nn, optim
from ...data import Split
from ...distributions import Independent, Logistic, Normal
from ...errors import UsageError
from ...recipe import Bar, Config, Parts, Recipe
from . import two_moons
from .couplings import AdditiveCoupling, check_count
from .transforms import Flow, Scaling, Transform

PRIORS = ("logistic", "gaussian")


class NICE(Flow):
    """`n_coupling` additive couplings of alternating parity and a Scaling, over a prior of independent coordinates.

    Both priors have mean 0 and variance 1; the logistic is log p(z) = -log(1 + e^z) - log(1 + e^-z) so scaled.
    `before` are transforms that come first, such as a Whitening.

    >>> model = NICE(dim=2, hidden=16, n_coupling=4, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 2), np.float32)).shape
    (3,)
    """

    def __init__(
        self,
        dim: int,
        hidden: int,
        n_coupling: int,
        prior: str = "logistic",
        *,
        before: Sequence[Transform] = (),
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        if prior not in PRIORS:
            raise UsageError(f"NICE: prior must be one of {', '.join(PRIORS)}, got {prior!r}")
        check_count("NICE", n_coupling)
        loc, one = np.zeros(dim, np.float32), np.ones(dim, np.float32)
        coordinates = Normal(loc, one) if prior == "gaussian" else Logistic(loc, one * math.sqrt(3) / math.pi)
        couplings = [AdditiveCoupling(dim, hidden, parity=k % 2, rng=rng) for k in range(n_coupling)]
        super().__init__(Independent(coordinates, 1), [*before, *couplings, Scaling(dim)])


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 512
    lr: float = 3e-3
    hidden: int = 64
    n_coupling: int = 6
    prior: Literal["logistic", "gaussian"] = "gaussian"


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[NICE]:
    dim = data.train[0].shape[1]
    model = NICE(dim, config.hidden, config.n_coupling, config.prior, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


RECIPE = Recipe(
    name="nice",
    row="F2",
    family="flows",
    title="NICE on two moons",
    paper="arXiv 1410.8516",
    config=Settings(),
    metric="nll",
    data=two_moons.data,
    build=build,
    step=two_moons.step,
    evaluate=two_moons.evaluate,
    baseline=two_moons.baseline,
    bar=Bar(metric="test_nll", at_most=2.245, seeds=3, text="test_nll ≤ 2.245 (max of 3 seeds), Gaussian 2.745"),
    figure=two_moons.figure,
    samples=two_moons.samples,
)

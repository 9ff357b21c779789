"""FVSBN: a fully visible sigmoid belief network, a logistic regression a bit (Frey 1998; Gan et al., AISTATS 2015).

Bit i is 1 with probability σ(bᵢ + Σⱼ Wᵢⱼ xⱼ), the sum over the bits before it: n (n + 1) / 2 numbers in place of the
2ⁿ - 1 of a table. Learning is convex, so all weights start at 0 and every seed goes to the same optimum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import nn, ops, optim
from ...data import Split
from ...recipe import Bar, Config, Parts, Recipe
from . import binary_digits
from .base import Autoregressive, checked_order


class FVSBN(Autoregressive):
    """aᵢ = bᵢ + Σⱼ Wᵢⱼ xⱼ over the bits j before i in `order`, by default 0..n-1.

    >>> model = FVSBN(3)
    >>> model.log_prob(np.array([[0, 1, 1]])).exp().tolist()
    [0.125]
    >>> model.sample(2, rng=np.random.default_rng(0)).shape
    (2, 3)
    """

    weight: nn.Parameter
    bias: nn.Parameter
    before: nn.Buffer

    def __init__(self, n: int, *, order: Sequence[int] | None = None) -> None:
        self.order = checked_order("FVSBN", n, order)
        self.weight, self.bias = nn.Parameter(np.zeros((n, n), np.float32)), nn.Parameter(np.zeros(n, np.float32))
        rank = np.argsort(self.order)  # of bit i: its place in the order
        self.before = nn.Buffer((rank < rank[:, None]).astype(np.float32))  # (n, n): whether j stands before i

    def forward(self, x: Any) -> Any:
        return ops.linear(self._rows(x), self.weight * self.before, self.bias)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 0.1


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[FVSBN]:
    model = FVSBN(data.train[0].shape[1])
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


RECIPE = Recipe(
    name="fvsbn",
    row="G1",
    family="autoregressive",
    title="Binarised digits by a logistic regression a pixel",
    paper="Gan et al., AISTATS 2015",
    config=Settings(),
    metric="nll",
    data=binary_digits.data,
    build=build,
    step=binary_digits.step,
    evaluate=binary_digits.evaluate,
    baseline=binary_digits.baseline,
    bar=Bar(metric="test_nll", at_most=19.5, seeds=3),
    figure=binary_digits.figure,
    samples=binary_digits.samples,
)

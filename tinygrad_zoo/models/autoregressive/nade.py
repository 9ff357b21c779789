"""NADE: neural autoregressive distribution estimation (Larochelle & Murray 2011; Uria et al., arXiv 1605.02226).

A hidden layer before every bit, hᵢ = σ(c + Σⱼ xⱼ Wⱼ) over the bits j before it, with weights that all of them share. So
each layer's pre-activation is the one before plus a single row of W, and all n conditionals together cost O(n d) for d
hidden units, where n separate networks would cost O(n² d).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ... import nn, ops, optim
from ...data import Split
from ...errors import UsageError
from ...grad_mode import no_grad
from ...recipe import Bar, Config, Parts, Recipe
from . import binary_digits
from .base import Autoregressive, checked_order


class NADE(Autoregressive):
    """aᵢ = bᵢ + Vᵢ·hᵢ, hᵢ = σ(c + Σⱼ xⱼ Wⱼ): `weight` W (n - 1, hidden) and `out` V (n, hidden) have their rows in
    `order`, by default 0..n-1.

    >>> model = NADE(5, hidden=8, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 5))).shape, model.sample(2, rng=np.random.default_rng(0)).shape
    ((3,), (2, 5))
    """

    weight: nn.Parameter
    hidden_bias: nn.Parameter
    out: nn.Parameter
    bias: nn.Parameter

    def __init__(
        self, n: int, hidden: int, *, order: Sequence[int] | None = None, rng: np.random.Generator = nn.init.REQUIRED
    ) -> None:
        if n < 2 or hidden < 1:
            raise UsageError(f"NADE: expected n >= 2 bits and hidden >= 1, got {n} and {hidden}")
        self.order = checked_order("NADE", n, order)
        rng = nn.init.generator("NADE", rng)
        self.weight, self.out = (nn.Parameter(np.empty((rows, hidden), np.float32)) for rows in (n - 1, n))
        for matrix in (self.weight, self.out):
            nn.init.normal_(matrix, 0.0, 1 / np.sqrt(hidden), rng=rng)
        self.hidden_bias, self.bias = (nn.Parameter(np.zeros(size, np.float32)) for size in (hidden, n))
        self.forth, self.back = nn.Buffer(self.order), nn.Buffer(np.argsort(self.order))

    def forward(self, x: Any) -> Any:
        x = self._rows(x)[:, self.forth]  # in the model's order
        first = self.hidden_bias.broadcast_to((len(x), 1, len(self.hidden_bias)))
        running = ops.cumsum(ops.concat(first, x[:, :-1, None] * self.weight, axis=1), axis=1)  # (N, n, hidden)
        logits = (ops.sigmoid(running) * self.out).sum(axis=2) + self.bias
        return logits[:, self.back]

    def sample(self, n: int, *, rng: np.random.Generator) -> Any:
        """n draws (n, bits), without gradient: O(n bits hidden), as one pass costs, since the sum runs along."""
        with no_grad():
            x, uniform = self._blank(n, rng)
            running = self.hidden_bias.broadcast_to((n, len(self.hidden_bias)))
            for place, i in enumerate(self.order.tolist()):
                logit = (ops.sigmoid(running) * self.out[place]).sum(axis=1) + self.bias[place]
                x.data[:, i] = uniform[:, i] < ops.sigmoid(logit).data
                if place < len(self.weight):
                    running = running + x[:, i : i + 1] * self.weight[place]
            return x


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 64
    lr: float = 5e-3
    weight_decay: float = 0.1
    hidden: int = 100


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[NADE]:
    model = NADE(data.train[0].shape[1], config.hidden, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


RECIPE = Recipe(
    name="nade",
    row="G1",
    family="autoregressive",
    title="Binarised digits by NADE",
    paper="arXiv 1605.02226",
    config=Settings(),
    metric="nll",
    data=binary_digits.data,
    build=build,
    step=binary_digits.step,
    evaluate=binary_digits.evaluate,
    baseline=binary_digits.baseline,
    bar=Bar(metric="test_nll", at_most=18.8, seeds=3),
    figure=binary_digits.figure,
    samples=binary_digits.samples,
)

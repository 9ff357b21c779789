"""MADE: a masked auto-encoder for distribution estimation (Germain, Gregor, Murray & Larochelle, arXiv 1502.03509).

An ordinary network from bits to logits, in which masks cut every path from a bit to a logit that does not come after
it: unit k of a hidden layer may see the first m(k) bits of an order, and be seen by logits of later ones alone. So one
pass gives all conditionals. Another order is another set of masks over the same weights; a model of several orders is
trained on them in turn and is their mixture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim
from ...data import Split
from ...errors import UsageError
from ...grad_mode import no_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from . import binary_digits
from .base import Autoregressive, checked_order, fill, log_probs_of_bits


def masks(order: Sequence[int] | NDArray[np.int64], hidden: Sequence[int]) -> list[NDArray[np.float32]]:
    """Which input (column) each unit (row) may see, layer by layer, for bits taken in `order`.

    Degrees are compared: of a bit its place in the order, from 1 to n, of hidden units 1..n-1 in turn. A hidden unit
    sees degrees up to its own, a logit those below its own.

    >>> [mask.tolist() for mask in masks([1, 0], hidden=[1])]
    [[[0.0, 1.0]], [[1.0], [0.0]]]
    """
    n = len(order)
    bits = np.argsort(order) + 1
    degrees = [bits, *(1 + np.arange(units) % (n - 1) for units in hidden)]
    seen = [after[:, None] >= before for before, after in pairwise(degrees)]
    return [mask.astype(np.float32) for mask in (*seen, bits[:, None] > degrees[-1])]


class MADE(Autoregressive):
    """p(x) = 1/K Σ p(x; order k), each a network of ReLU layers of `hidden` units under the masks of its order.

    `orders` holds K orders of the n bits, by default the one 0..n-1, which `forward` and `log_probs` are about.

    >>> model = MADE(5, hidden=[16], orders=[[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]], rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 5))).shape, model.sample(2, rng=np.random.default_rng(0)).shape
    ((3,), (2, 5))
    """

    layers: list[nn.Linear]
    masks: list[list[nn.Buffer]]  # order, layer

    def __init__(
        self,
        n: int,
        hidden: Sequence[int],
        *,
        orders: Sequence[Any] | None = None,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        self.orders = [checked_order("MADE", n, order) for order in ([None] if orders is None else orders)]
        if n < 2 or not len(hidden) or not self.orders:
            raise UsageError(f"MADE: expected n >= 2 bits, a hidden layer and an order, got {n}, {hidden}, {orders}")
        self.order = self.orders[0]
        rng = nn.init.generator("MADE", rng)
        self.layers = [nn.Linear(*sizes, rng=rng) for sizes in pairwise([n, *hidden, n])]
        self.masks = [[nn.Buffer(mask) for mask in masks(order, hidden)] for order in self.orders]

    def forward(self, x: Any, which: int = 0) -> Any:
        """The logits (N, n) of bits (N, n), under the order number `which`."""
        x = self._rows(x)
        for layer, mask in zip(self.layers, self.masks[which], strict=True):
            x = ops.linear(x, layer.weight * mask, layer.bias)
            x = x if layer is self.layers[-1] else ops.relu(x)
        return x

    def log_probs(self, x: Any, which: int = 0) -> Any:
        """log p(xᵢ | what comes before it in the order number `which`), (N, n)."""
        x = self._bits(x)
        return log_probs_of_bits(self(x, which), x)

    def log_prob(self, x: Any) -> Any:
        """log of the mean over the orders of p(x; order), (N, n) → (N,)."""
        each = ops.stack(*(self.log_probs(x, which).sum(axis=1) for which in range(len(self.orders))))
        return ops.logsumexp(each, axis=0) - math.log(len(self.orders))

    def sample(self, n: int, *, rng: np.random.Generator) -> Any:
        """n draws (n, bits), without gradient: each by an order drawn for it, in as many passes as there are bits."""
        rng = nn.init.generator("MADE.sample", rng)
        with no_grad():
            parts = []
            for which, count in enumerate(rng.multinomial(n, [1 / len(self.orders)] * len(self.orders))):
                x, uniform = self._blank(int(count), rng)
                fill(x, uniform, self.orders[which], partial(self, which=which))
                parts.append(x)
            return ops.concat(*parts)[tensor(rng.permutation(n), device=x.device)]

    def settings(self) -> str:
        return f"{super().settings()}, orders={len(self.orders)}"


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 4_000
    batch_size: int = 128
    lr: float = 1e-2
    weight_decay: float = 0.1
    hidden: int = 256
    orders: int = 4


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[MADE]:
    n = data.train[0].shape[1]
    orders = [np.arange(n), *(rng.permutation(n) for _ in range(config.orders - 1))]
    model = MADE(n, [config.hidden], orders=orders, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def which(state: State[Settings, MADE]) -> int:
    """The order of a batch: the next one in turn."""
    return state.step % len(state.model.orders)


def step(state: State[Settings, MADE], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 64)
    return binary_digits.update(state, -ops.mean(state.model.log_probs(x, which(state)).sum(axis=1)))


RECIPE = Recipe(
    name="made",
    row="G1",
    family="autoregressive",
    title="Binarised digits by MADE",
    paper="arXiv 1502.03509",
    config=Settings(),
    metric="nll",
    data=binary_digits.data,
    build=build,
    step=step,
    phase=which,
    evaluate=binary_digits.evaluate,
    baseline=binary_digits.baseline,
    bar=Bar(metric="test_nll", at_most=18.0, seeds=3),
    figure=binary_digits.figure,
    samples=binary_digits.samples,
)

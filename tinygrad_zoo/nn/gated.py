"""The feed-forward block of a transformer, plain and gated, with as many parameters (arXiv 2002.05202)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..errors import UsageError
from . import init
from .activation import GELU
from .layers import Linear
from .module import Module


class FeedForward(Module):
    """activation(x W) W₂: (…, d) → (…, hidden) → (…, d), GELU by default.

    >>> FeedForward(8, 24, rng=np.random.default_rng(0))
    FeedForward()  # 384 parameters
      up: Linear(8, 24, bias=False)  # 192 parameters
      activation: GELU()
      down: Linear(24, 8, bias=False)  # 192 parameters
    """

    def __init__(
        self,
        d: int,
        hidden: int,
        activation: Module | None = None,
        *,
        bias: bool = False,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        rng = init.generator("FeedForward", rng)
        self.up = Linear(d, hidden, bias=bias, rng=rng)
        self.activation = GELU() if activation is None else activation
        self.down = Linear(hidden, d, bias=bias, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.down(self.activation(self.up(x)))


def _sigmoid_gate(gate: Any, value: Any) -> Any:
    return ops.sigmoid(gate) * value


GATED: dict[str, Callable[..., Any]] = {
    "glu": _sigmoid_gate,
    "bilinear": ops.mul,
    "reglu": ops.reglu,
    "geglu": ops.geglu,
    "swiglu": ops.swiglu,
}


class GLUFeedForward(Module):
    """(gate(x W) ⊗ x V) W₂: (…, d) → twice (…, h) → (…, d), with the parameters of `FeedForward(d, hidden)`.

    A hidden unit costs 3d numbers in place of 2d (with biases 3d + 2 in place of 2d + 1), so `h` is 2/3 of `hidden`,
    rounded to the nearest integer: the counts differ by at most half of what one hidden unit costs. `variant` names the
    gate's activation: glu (the logistic function), bilinear (none), reglu, geglu, swiglu.

    >>> GLUFeedForward(8, 24, "swiglu", rng=np.random.default_rng(0))
    GLUFeedForward(swiglu)  # 384 parameters
      gate: Linear(8, 16, bias=False)  # 128 parameters
      value: Linear(8, 16, bias=False)  # 128 parameters
      down: Linear(16, 8, bias=False)  # 128 parameters
    """

    def __init__(
        self,
        d: int,
        hidden: int,
        variant: str = "swiglu",
        *,
        bias: bool = False,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        if variant not in GATED:
            raise UsageError(f"GLUFeedForward: no variant {variant!r}; expected one of {', '.join(GATED)}")
        rng = init.generator("GLUFeedForward", rng)
        h = max(1, round(hidden * (2 * d + bias) / (3 * d + 2 * bias)))
        self.variant = variant
        self.gate = Linear(d, h, bias=bias, rng=rng)
        self.value = Linear(d, h, bias=bias, rng=rng)
        self.down = Linear(h, d, bias=bias, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.down(GATED[self.variant](self.gate(x), self.value(x)))

    def settings(self) -> str:
        return self.variant

"""The threshold unit, which fires or does not."""

from __future__ import annotations

from typing import Any

import numpy as np

from .. import ops
from .layers import check_sizes
from .module import Module, Parameter


class ThresholdUnit(Module):
    """1[w·x > T], as step(x @ weightᵀ + bias) with bias = −T: (…, in_features) → (…, out_features), each 0 or 1.

    McCulloch & Pitts 1943; Rosenblatt 1958. With `signed`, −1 or 1: the sign of `potential`, and −1 where that is 0.
    Weight (out, in) and bias (out,) start as zeros, from where Rosenblatt's rule moves them. Its derivative is 0
    wherever it has one, so no gradient ever reaches them: see `models.perceptron` for how it learns.

    >>> unit = ThresholdUnit(2)
    >>> unit.weight.data, unit.bias.data = np.array([[1.0, 1.0]]), np.array([-1.5])
    >>> unit(np.array([[0.0, 1.0], [1.0, 1.0]])).tolist(), unit.threshold.tolist()
    ([[0.0], [1.0]], [1.5])
    >>> ThresholdUnit(2, signed=True)(np.zeros(2)).tolist()
    [-1.0]
    """

    weight: Parameter
    bias: Parameter

    def __init__(self, in_features: int, out_features: int = 1, *, signed: bool = False) -> None:
        check_sizes("ThresholdUnit", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features, self.signed = in_features, out_features, signed
        self.weight = Parameter(np.zeros((out_features, in_features), np.float32))
        self.bias = Parameter(np.zeros(out_features, np.float32))

    @property
    def threshold(self) -> Any:
        """T = −bias: what w·x must exceed."""
        return -self.bias

    def potential(self, x: Any) -> Any:
        """w·x − T, whose sign decides: (…, in_features) → (…, out_features)."""
        return ops.linear(x, self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        fires = ops.step(self.potential(x))
        return 2 * fires - 1 if self.signed else fires

    def settings(self) -> str:
        return f"{self.in_features}, {self.out_features}{', signed=True' if self.signed else ''}"

"""The activation functions as modules; formulas and derivatives stand in `tinygrad_zoo.ops.activation`."""

from __future__ import annotations

from typing import Any

from .. import ops
from .module import Module


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return ops.relu(x)


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        return ops.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Any:
        return ops.sigmoid(x)


class SiLU(Module):
    """x · sigmoid(x) (arXiv 1702.03118)."""

    def forward(self, x: Any) -> Any:
        return ops.silu(x)


class GELU(Module):
    """x · Φ(x) (arXiv 1606.08415); `approximate` is 'none' or 'tanh'."""

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    def forward(self, x: Any) -> Any:
        return ops.gelu(x, approximate=self.approximate)

    def settings(self) -> str:
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + e^(βx)) / β."""

    def __init__(self, beta: float = 1.0) -> None:
        self.beta = beta

    def forward(self, x: Any) -> Any:
        return ops.softplus(x, beta=self.beta)

    def settings(self) -> str:
        return f"beta={self.beta:g}"


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return ops.leaky_relu(x, negative_slope=self.negative_slope)

    def settings(self) -> str:
        return f"negative_slope={self.negative_slope:g}"


class ELU(Module):
    """x where x > 0, else alpha · (eˣ - 1) (arXiv 1511.07289)."""

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def forward(self, x: Any) -> Any:
        return ops.elu(x, alpha=self.alpha)

    def settings(self) -> str:
        return f"alpha={self.alpha:g}"


class Softmax(Module):
    """eˣ / Σ eˣ along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return ops.softmax(x, axis=self.dim)

    def settings(self) -> str:
        return f"dim={self.dim}"


class LogSoftmax(Module):
    """x - log Σ eˣ along `dim`."""

    def __init__(self, dim: int = -1) -> None:
        self.dim = dim

    def forward(self, x: Any) -> Any:
        return ops.log_softmax(x, axis=self.dim)

    def settings(self) -> str:
        return f"dim={self.dim}"

"""The planar and the radial flow: maps with few parameters that stretch space at a plane or a point (arXiv 1505.05770).

Both are cheap in the direction of their formula alone, so that a flow that is sampled takes them by `Inverse`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ... import nn, ops
from ...backend import on_host
from ...errors import UsageError
from ...grad_mode import no_grad
from ...tensor import Tensor
from ...variable import looked_at
from .transforms import Transform

HALVINGS = 40  # of an interval: a root to twelve digits
NEWTON_STEPS = 2  # from there, to the last bit; they carry gradients, right up to the third order


class PlanarFlow(Transform):
    """z = x + û tanh(wᵀx + b), log |det| = log(1 + wᵀû (1 - tanh²(wᵀx + b))) (arXiv 1505.05770, equations 10 to 12).

    û = u + (m(wᵀu) - wᵀu) w / ‖w‖² with m(a) = -1 + softplus(a) has wᵀû > -1, without which two points could have
    one image (appendix A.1). The inverse solves a = wᵀx + b, one number a point, by halving an interval. w = 0 is no
    plane: û has no limit there, and UsageError says so (on the host).

    >>> flow = PlanarFlow(2, rng=np.random.default_rng(0))
    >>> x = np.ones((3, 2), np.float32)
    >>> bool(np.allclose(flow.inverse(flow(x)[0]).numpy(), x, atol=1e-6))
    True
    """

    def __init__(self, dim: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.dim = dim
        self.u = nn.init.normal_(nn.Parameter(np.zeros(dim, np.float32)), 0.0, 0.1, rng=rng)
        self.w = nn.init.normal_(nn.Parameter(np.zeros(dim, np.float32)), 0.0, 1 / math.sqrt(dim), rng=rng)
        self.b = nn.Parameter(np.zeros((), np.float32))

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        u, slope = self._constrained()
        h = ops.tanh(x @ self.w + self.b)  # (N,)
        return x + ops.outer(h, u), ops.log1p(slope * (1 - h * h))

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        u, slope = self._constrained()
        y = z @ self.w + self.b  # (N,): a + slope tanh a = y, of which the left grows with a
        with no_grad():
            low, high = y - ops.abs(slope), y + ops.abs(slope)
            for _ in range(HALVINGS):
                a = 0.5 * (low + high)
                above = a + slope * ops.tanh(a) > y
                low, high = ops.where(above, low, a), ops.where(above, a, high)
            a = 0.5 * (low + high)
        for _ in range(NEWTON_STEPS):
            h = ops.tanh(a)
            a = a - (a + slope * h - y) / (1 + slope * (1 - h * h))
        return z - ops.outer(ops.tanh(a), u)

    def _constrained(self) -> tuple[Any, Any]:
        """û (dim,) and wᵀû > -1."""
        a, square = self.w @ self.u, self.w @ self.w
        value = looked_at(square)
        if on_host(value) and not value:
            raise UsageError("PlanarFlow: w is 0, so there is no plane to stretch space at: start from a random w")
        slope = ops.softplus(a) - 1
        return self.u + (slope - a) * self.w / square, slope


class RadialFlow(Transform):
    """z = x + β (x - x₀) / (α + r), r = ‖x - x₀‖: towards or away from the point x₀ (arXiv 1505.05770, equation 14).

    log |det| = (dim - 1) log(1 + β / (α + r)) + log(1 + α β / (α + r)²). α = exp(log_alpha) > 0, and β = -α +
    softplus(beta) > -α, without which the map would fold (appendix A.2). The inverse solves a quadratic equation in r.

    >>> flow = RadialFlow(2, rng=np.random.default_rng(0))
    >>> x = np.ones((3, 2), np.float32)
    >>> bool(np.allclose(flow.inverse(flow(x)[0]).numpy(), x, atol=1e-6))
    True
    """

    def __init__(self, dim: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.dim = dim
        self.center = nn.init.normal_(nn.Parameter(np.zeros(dim, np.float32)), rng=rng)
        self.log_alpha = nn.Parameter(np.zeros((), np.float32))
        self.beta = nn.Parameter(np.full((), math.log(math.e - 1), np.float32))  # β = 0 at first: the identity

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        alpha, beta = self._constrained()
        away = x - self.center
        reach = alpha + ops.vector_norm(away, axis=1)  # (N,)
        log_det = (self.dim - 1) * ops.log1p(beta / reach) + ops.log1p(alpha * beta / (reach * reach))
        return x + (beta / reach)[:, None] * away, log_det

    def inverse(self, z: Any) -> Any:
        z = self._points(z)
        alpha, beta = self._constrained()
        away = z - self.center
        radius = ops.vector_norm(away, axis=1)  # r (1 + β / (α + r)), for which r² + (α + β - radius) r = α radius
        linear = alpha + beta - radius
        r = 0.5 * (ops.sqrt(linear * linear + 4 * alpha * radius) - linear)
        return self.center + away / (1 + beta / (alpha + r))[:, None]

    def _constrained(self) -> tuple[Any, Any]:
        """α > 0 and β > -α."""
        alpha = ops.exp(self.log_alpha)
        return alpha, ops.softplus(self.beta) - alpha

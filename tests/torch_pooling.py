"""PyTorch's pooling and resampling, called with our arrays by position and our settings by keyword."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import oracles

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")


def _planes(index: Any, channels: int) -> Any:
    return index.expand(-1, channels, *index.shape[2:]).flatten(2)


def _gather_planes(x: Any, index: Any) -> Any:
    if not x.numel():
        return x.sum() + x.new_zeros((*x.shape[:2], *index.shape[2:]))
    places = _planes(index, x.shape[1])
    return x.flatten(2).gather(2, places).reshape(*x.shape[:2], *index.shape[2:])


def _scatter_planes(x: Any, index: Any, size: Any) -> Any:
    zeros = x.new_zeros((*x.shape[:2], math.prod(size)))
    return zeros.scatter_add(2, _planes(index, x.shape[1]), x.flatten(2)).reshape(*x.shape[:2], *size)


def _adjoint(function: Callable[..., Any], y: Any, size: Any, **settings: Any) -> Any:
    """The gradient of Σ y · function(x), which PyTorch can differentiate again."""
    x = y.new_zeros((*y.shape[:2], *size)).requires_grad_()
    with torch.enable_grad():
        return torch.autograd.grad(function(x, **settings), x, y, create_graph=True)[0]


def _average(x: Any, divisor_override: Any = None, **settings: Any) -> Any:
    more = {} if x.ndim == 3 else {"divisor_override": divisor_override}
    return (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[x.ndim - 3](x, **settings, **more)


def _adaptive_adjoint(y: Any, size: Any) -> Any:
    pool = (F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d)[y.ndim - 3]
    return _adjoint(pool, y, size, output_size=tuple(y.shape[2:]))


def _interpolate_adjoint(y: Any, size: Any, scale_factor: Any, **settings: Any) -> Any:
    places = tuple(y.shape[2:]) if scale_factor is None else None
    if not y.numel():
        return y.sum() + y.new_zeros((*y.shape[:2], *size))
    return _adjoint(lambda x: F.interpolate(x, places, scale_factor, **settings), y, size)


def _unpool(axes: int) -> Callable[..., Any]:
    def unpool(x: Any, indices: Any, output_size: Any, **settings: Any) -> Any:
        size = output_size and output_size[-axes:]
        return getattr(F, f"max_unpool{axes}d")(x, indices, output_size=size, **settings)

    return unpool


def _lp_pool1d(x: Any, kernel_size: Any, **settings: Any) -> Any:
    """Its own takes no tuple."""
    return F.lp_pool1d(x, kernel_size=kernel_size[0] if isinstance(kernel_size, tuple) else kernel_size, **settings)


def _held(at: Any, n: int, padding: str, corners: bool) -> Any:
    if padding == "reflection":
        low, span = (0.0, max(n - 1, 1)) if corners else (-0.5, n)
        away = torch.remainder(at - low, 2 * span)
        at = torch.where(away > span, 2 * span - away, away) + low
    return at if padding == "zeros" else at.clamp(0, n - 1)


def _weights(g: Any, n: int, mode: str, padding: str, corners: bool) -> Any:
    """How much of each of n entries a coordinate reads: (…, n)."""
    entries = torch.arange(n, dtype=g.dtype)
    at = (g + 1) / 2 * (n - 1) if corners else (g + 1) / 2 * n - 0.5
    if mode == "bilinear":
        return F.relu(1 - (_held(at, n, padding, corners)[..., None] - entries).abs())
    if mode == "nearest":
        return (_held(at, n, padding, corners).round()[..., None] == entries).to(g.dtype) + 0 * g[..., None]
    base, total = at.floor().detach(), 0
    for k in range(-1, 3):
        d = (at - base - k).abs()
        near, far = (1.25 * d - 2.25) * d * d + 1, ((-0.75 * d + 3.75) * d - 6) * d + 3
        weight = near if k in (0, 1) else far
        total = total + weight[..., None] * (_held(base + k, n, padding, corners)[..., None] == entries)
    return total


def _grid_sample(x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """By a weight for each entry of each axis: its own has no second derivative."""
    letters, points = "hwd"[: x.ndim - 2], "pqr"[: x.ndim - 2]
    axes = [_weights(grid[..., -1 - d], n, mode, padding_mode, align_corners) for d, n in enumerate(x.shape[2:])]
    terms = ",".join(f"n{points}{letter}" for letter in letters)
    return torch.einsum(f"nc{letters},{terms}->nc{points}", x, *axes)


def _affine_grid(theta: Any, size: Any, align_corners: bool) -> Any:
    if not len(theta):  # which it refuses
        return theta.sum() + theta.new_zeros((0, *size[2:], len(size) - 2))
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that one pixel was another once
        return F.affine_grid(theta, list(size), align_corners)


def _of_functional(name: str) -> Callable[..., Any]:
    return lambda *arrays, **settings: getattr(F, name)(*arrays, **settings)


_SAME = "adaptive_avg_pool adaptive_max_pool max_pool"  # of F, which torch has too, but otherwise

ADAPTED: dict[str, Callable[..., Any]] = {
    "adaptive_avg_pool_adjoint": _adaptive_adjoint,
    "affine_grid": _affine_grid,
    "avg_pool_adjoint": lambda y, size, **settings: _adjoint(_average, y, size, **settings),
    "gather_planes": _gather_planes,
    "grid_sample": _grid_sample,
    "interpolate_adjoint": _interpolate_adjoint,
    "lp_pool1d": _lp_pool1d,
    "scatter_planes": _scatter_planes,
}
ADAPTED |= {f"{name}{axes}d": _of_functional(f"{name}{axes}d") for name in _SAME.split() for axes in (1, 2, 3)}
ADAPTED |= {f"max_unpool{axes}d": _unpool(axes) for axes in (1, 2, 3)}

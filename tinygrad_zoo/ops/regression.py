"""Losses of real-valued predictions: input first, target second; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, on_host
from ..errors import ShapeError, UsageError
from ..variable import Array, looked_at
from .composite import composite, floored
from .elementwise import abs, sign, where
from .exponential import exp, log
from .loss_reduction import check_fits, check_same_shape, check_settings, reduced, reduced_by_numpy, unreduced
from .precision import as_float, narrowed, widened
from .sampling import sample


# ---- losses of the difference d = input - target
def _difference(input: Any, target: Any) -> Any:
    input = widened(input)
    return input - as_float(widened(target), input)


def _of_difference(values: Callable[..., Any], slope: Callable[..., Any], weigh: bool = True) -> Callable[..., Any]:
    """The rules of a loss with the values `values(d)`, of derivative `slope(d)`, both in ops.

    `weigh`: whether the mean with a weight divides by its sum.
    """

    def rule(
        g: Any, out: Any, input: Any, target: Any, weight: Any = None, *, needs: Any, reduction: str, **settings: Any
    ) -> list[Any]:
        d, g, weight = _difference(input, target), widened(g), widened(weight)
        if weigh and weight is not None and reduction == "mean":
            g, mean = g / weight.sum(), out
        else:
            g, mean = unreduced(g, input, reduction), 0
        found: list[Any] = [None] * len(needs)
        if needs[0] or needs[1]:
            gd = g * slope(d, **settings)
            gd = gd if weight is None else gd * weight
            found[:2] = gd if needs[0] else None, -gd if needs[1] else None
        if len(needs) > 2 and needs[2]:
            found[2] = g * (values(d, **settings) - mean)
        return found

    return rule


def _of_difference_reference(values: Callable[..., Any], weigh: bool = True) -> Callable[..., Any]:
    def reference(input: Any, target: Any, weight: Any = None, *, reduction: str, **settings: Any) -> Any:
        loss = values(np.subtract(input, target), **settings)
        if weight is not None:
            loss = loss * weight
            if weigh and reduction == "mean":
                return loss.sum() / weight.sum()
        return reduced_by_numpy(loss, reduction)

    return reference


def _reduce(
    name: str, loss: Array, input: Array, target: Array, weight: Array | None, reduction: str, weigh: bool = True
) -> Array:
    if weight is not None:
        if weight.shape != input.shape:
            raise ShapeError(f"{name}: expected a weight of the shape of input, {input.shape}, got {weight.shape}")
        weight = widened(weight)
        loss = loss * weight
        if weigh and reduction == "mean":
            with errstate(loss):
                return narrowed(loss.sum() / weight.sum(), input, target)
    return narrowed(reduced(loss, reduction), input, target)


def _weighted_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3), r(2, 3), None),
        sample(r(2, 3), r(2, 3), r.positive(2, 3)),
        sample(r(2, 3), r(2, 3), r.positive(2, 3), reduction="sum"),
        sample(r(3), r(3), None, reduction="none"),
    ]


def _check(name: str, input: Array, target: Array, **settings: Any) -> None:
    check_settings(name, **settings)
    check_same_shape(name, input, target)


@primitive(
    vjp=_of_difference(lambda d: d * d, lambda d: 2 * d),
    samples=_weighted_samples,
    reference=_of_difference_reference(np.square),
)
def mse_loss(input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean") -> Array:
    """w (input - target)²; the mean with a weight divides by Σ w.

    >>> tz.mse_loss(tz.tensor([1.0, 2.0]), tz.tensor([1.0, 4.0])).item()
    2.0
    """
    _check("mse_loss", input, target, reduction=reduction)
    d = _difference(input, target)
    return _reduce("mse_loss", d * d, input, target, weight, reduction)


def _apart(input: Any, target: Any, *weight: Any) -> tuple[Any, ...]:
    """A repair: no difference near 0, where |d| has its kink, nor near 1, where the smooth losses have theirs."""
    d = input - target
    near = np.abs(np.abs(d) - np.round(np.abs(d))) < 0.05
    return (np.where(near, input + np.where(d < 0, -0.2, 0.2), input), target, *weight)


@primitive(
    vjp=_of_difference(abs, sign),
    samples=lambda r: [sample(*_apart(*s.inputs), **s.settings) for s in _weighted_samples(r)],
    reference=_of_difference_reference(np.abs),
    repair=_apart,
)
def l1_loss(input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean") -> Array:
    """w |input - target|, of derivative 0 where they agree; the mean with a weight divides by Σ w.

    >>> tz.l1_loss(tz.tensor([1.0, 2.0]), tz.tensor([1.0, 4.0])).item()
    1.0
    """
    _check("l1_loss", input, target, reduction=reduction)
    return _reduce("l1_loss", namespace(input).absolute(_difference(input, target)), input, target, weight, reduction)


def _huber(d: Any, delta: float) -> Any:
    """d²/2 up to |d| = delta, from there on delta (|d| - delta/2)."""
    size = abs(d)
    return where(size < delta, 0.5 * d * d, delta * (size - 0.5 * delta))


def _huber_slope(d: Any, delta: float) -> Any:
    return where(abs(d) < delta, d, delta * sign(d))


@primitive(
    vjp=_of_difference(_huber, _huber_slope, weigh=False),
    samples=lambda r: [
        *(sample(*_apart(2 * r(2, 3), r(2, 3)), reduction=how, delta=2.0) for how in ("mean", "sum", "none")),
        sample(*_apart(2 * r(2, 3), r(2, 3), r.positive(2, 3)), reduction="mean", delta=1.0),
        sample(*_apart(r(3), r(3))),
    ],
    reference=_of_difference_reference(
        lambda d, delta: np.minimum(np.abs(d), delta) * (np.abs(d) - np.minimum(np.abs(d), delta) / 2), weigh=False
    ),
    repair=_apart,
    order=("input", "target", "reduction", "delta", "weight"),
)
def huber_loss(
    input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean", delta: float = 1.0
) -> Array:
    """w d²/2 where |d| < delta, else w delta (|d| - delta/2), with d = input - target.

    >>> tz.huber_loss(tz.tensor([1.0, 5.0]), tz.tensor([0.0, 0.0]), delta=2.0, reduction="none").tolist()
    [0.5, 8.0]
    """
    _check("huber_loss", input, target, reduction=reduction, delta=delta)
    loss = _huber(_difference(input, target), delta)
    return _reduce("huber_loss", loss, input, target, weight, reduction, weigh=False)


def _smooth_l1(d: Any, beta: float) -> Any:
    return _huber(d, beta) / beta if beta else abs(d)


@primitive(
    vjp=_of_difference(_smooth_l1, lambda d, beta: _huber_slope(d, beta) / beta if beta else sign(d)),
    samples=lambda r: [
        *(sample(*_apart(r(2, 3), r(2, 3)), reduction=how) for how in ("mean", "sum", "none")),
        sample(*_apart(2 * r(2, 3), r(2, 3)), beta=2.0, reduction="sum"),
        sample(*_apart(r(3), r(3)), beta=0.0),
    ],
    reference=_of_difference_reference(
        lambda d, beta: np.where(np.abs(d) < beta, d * d / (2 * (beta or 1)), np.abs(d) - beta / 2)
    ),
    repair=_apart,
)
def smooth_l1_loss(input: Array, target: Array, *, reduction: str = "mean", beta: float = 1.0) -> Array:
    """d²/(2 beta) where |d| < beta, else |d| - beta/2, with d = input - target (arXiv 1504.08083).

    >>> tz.smooth_l1_loss(tz.tensor([1.0, 5.0]), tz.tensor([0.0, 0.0]), beta=2.0, reduction="none").tolist()
    [0.25, 4.0]
    """
    _check("smooth_l1_loss", input, target, reduction=reduction, beta=beta)
    return _reduce("smooth_l1_loss", _smooth_l1(_difference(input, target), beta), input, target, None, reduction)


# ---- likelihoods
def _variance(input: Any, var: Any) -> Any:
    """The variance in a shape that broadcasts to that of input: one a value, or one for the last or for one axis."""
    if var.shape == input.shape or var.ndim == 0:
        return var
    if var.shape == input.shape[:-1]:
        return var[..., None]
    sizes = [m for n, m in zip(input.shape, var.shape, strict=False) if n != m]
    if var.ndim == input.ndim and sizes == [1]:
        return var
    raise ShapeError(
        f"gaussian_nll_loss: var has shape {var.shape}; expected that of input, {input.shape}, without its last axis "
        "or with one axis of size 1"
    )


def _gaussian_reference(input: Any, target: Any, var: Any, full: bool, eps: float, reduction: str) -> Any:
    from scipy.stats import norm

    var = var[..., None] if 0 < var.ndim < input.ndim else var
    constant = 0 if full else 0.5 * np.log(2 * np.pi)
    return reduced_by_numpy(-norm.logpdf(target, input, np.sqrt(np.maximum(var, eps))) - constant, reduction)


@composite(
    samples=lambda r: [
        sample(r(2, 3), r(2, 3), r.positive(2, 3)),
        sample(r(2, 3), r(2, 3), r.positive(2), full=True, reduction="sum"),
        sample(r(2, 3), r(2, 3), r.positive(1, 3), reduction="none"),
        sample(r(3), r(3), np.asarray(0.7)),
    ],
    reference=_gaussian_reference,
)
def gaussian_nll_loss(
    input: Array, target: Array, var: Array, *, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Any:
    """½ (log v + (input - target)² / v), with v = max(var, eps); `full` adds ½ log 2π.

    var: a value each, or one for all on the last or on another axis, or one number; its gradient is that in v. target
    may broadcast to the shape of input.

    >>> tz.gaussian_nll_loss(tz.tensor([1.0]), tz.tensor([3.0]), tz.tensor([1.0])).item()
    2.0
    """
    check_settings("gaussian_nll_loss", reduction=reduction, eps=eps)
    check_fits("gaussian_nll_loss", input, target=target)
    if not hasattr(var, "shape"):
        var = 0 * input + var
    _check_variance(var)
    v = floored(_variance(input, as_float(var, input)), eps)
    d = _difference(input, target)
    loss = 0.5 * (log(v) + d * d / v)
    return reduced(loss + 0.5 * math.log(2 * math.pi) if full else loss, reduction)


def _check_variance(var: Any) -> None:
    values = looked_at(var)
    if on_host(values) and values.size and values.min() < 0:
        raise UsageError(f"gaussian_nll_loss: expected variances >= 0, got {values.min():g} in var")


def _poisson_reference(input: Any, target: Any, log_input: bool, full: bool, eps: float, reduction: str) -> Any:
    rate = np.exp(input) if log_input else input + eps
    loss = (rate if log_input else input) - target * np.log(rate)
    if full:
        t = np.maximum(target, 1)
        loss = loss + np.where(target > 1, t * np.log(t) - t + 0.5 * np.log(2 * np.pi * t), 0)
    return reduced_by_numpy(loss, reduction)


@composite(
    samples=lambda r: [
        sample(r(2, 3), r.positive(2, 3)),
        sample(r(2, 3), r.integers(4, 2, 3)),
        sample(r.positive(2, 3), r.uniform(1.1, 3, 2, 3), log_input=False, full=True, reduction="sum"),
        sample(r(3), r.uniform(0, 0.9, 3), full=True, reduction="none"),
    ],
    reference=_poisson_reference,
)
def poisson_nll_loss(
    input: Array,
    target: Array,
    *,
    log_input: bool = True,
    full: bool = False,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Any:
    """e^input - target · input, or input - target · log(input + eps) without `log_input`.

    `full` adds Stirling's target log target - target + ½ log(2π target) where target > 1.

    >>> tz.poisson_nll_loss(tz.tensor([0.0, 0.0]), tz.tensor([3, 1])).item()
    1.0
    """
    _check("poisson_nll_loss", input, target, reduction=reduction, eps=eps)
    t = as_float(target, input)
    loss = exp(input) - t * input if log_input else input - t * log(input + eps)
    if full:
        more = where(t > 1, t, 1)
        loss = loss + where(t > 1, more * log(more) - more + 0.5 * log(2 * math.pi * more), 0)
    return reduced(loss, reduction)

"""Roots and minima of functions whose values are seen with noise, step by step, and the mean of the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from ..backend import device_of, namespace, to_device
from ..errors import ShapeError, UsageError
from ..variable import Array
from .base import Function, StepSize, floats, step_function, step_numbers
from .means import RunningMean


def last(iterates: Iterable[Any]) -> Any:
    """The final one of the iterates. Raises UsageError where there is none.

    >>> last(iter([1.0, 0.5, 0.25]))
    0.25
    """
    final = deque(iterates, maxlen=1)
    if not final:
        raise UsageError("last: there were no iterates; take n >= 1 steps")
    return final.pop()


def polyak_average(iterates: Iterable[Any], burn_in: int = 0) -> Array:
    """The mean of all iterates after the first `burn_in` (Polyak & Juditsky 1992; Ruppert 1988).

    With step sizes a/k^p, 1/2 < p < 1, it has the least asymptotic variance there is, σ²/(c²k), whatever the a.
    Raises UsageError where no iterate is left.

    >>> float(polyak_average([9.0, 1.0, 3.0], burn_in=1))
    2.0
    """
    average = RunningMean()
    for k, w in enumerate(iterates):
        if k >= burn_in:
            average.update(w)
    if not average.count:
        raise UsageError(f"polyak_average: no iterate is left after burn_in={burn_in}")
    return average.mean


def robbins_monro(g_noisy: Function, w0: Any, step_size: StepSize, n: int, *, first: int = 1) -> Iterator[Array]:
    """w ← w − a_k g̃(w): the n iterates that lead from w0 to a root of g, of which g̃ = g + noise is observed.

    w0 may be an array of many runs, which g_noisy takes whole. `first` is the number k of the first step, for going on
    where another call ended. What must hold for it to converge: `check_conditions`. Raises ShapeError where g_noisy
    returns what is not of the shape of w.
    SGD is this with g = ∇E f(w, X), a mean with g = w − E[X]. For a g of slope c at the root and a_k = a/k, 2ac > 1,
    √k (w_k − w*) → N(0, a²σ²/(2ac − 1)).

    >>> float(last(robbins_monro(lambda w: w - 2.0, 0.0, 0.5, n=3)))
    1.75
    """
    a, numbers, w = step_function("robbins_monro", step_size), step_numbers("robbins_monro", n, first), floats(w0)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            w = w - a(k) * _observed("robbins_monro: g_noisy", g_noisy(w), w, w.shape)
            yield w

    return iterates(w)


def kiefer_wolfowitz(
    f_noisy: Function, w0: Any, step_size: StepSize, width: StepSize, n: int, *, first: int = 1
) -> Iterator[Array]:
    """w ← w − a_k (f̃(w + c_k eᵢ) − f̃(w − c_k eᵢ)) / 2c_k for each coordinate i: a minimum of f, without its gradient.

    f_noisy takes points (…, d) and returns (…), with noise of its own for every one; w0 is (…, d); a step takes 2d
    observations. With a_k = a/k and c_k = c/k^γ, 0 < γ < 1/2, the error on a quadratic falls like k^-(1/2 − γ). Where
    third derivatives bias the differences, γ = 1/6 is best. Raises ShapeError for a w0 without coordinates, and where
    f_noisy gives other than a number a point.

    >>> w = last(kiefer_wolfowitz(lambda w: (w * w).sum(-1) / 2, [2.0, -4.0], 0.5, 0.1, n=2))
    >>> w.round(9).tolist()
    [0.5, -1.0]
    """
    a, c = step_function("kiefer_wolfowitz", step_size), step_function("kiefer_wolfowitz", width, "width")
    numbers, w = step_numbers("kiefer_wolfowitz", n, first), _points("kiefer_wolfowitz", w0)
    who, axes = "kiefer_wolfowitz: f_noisy", namespace(w).eye(w.shape[-1]).astype(w.dtype)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            here, aside = w[..., None, :], c(k) * axes  # (…, 1, d), (d, d)
            above, below = (_observed(who, f_noisy(x), x, w.shape) for x in (here + aside, here - aside))  # (…, d)
            w = w - a(k) / (2 * c(k)) * (above - below)
            yield w

    return iterates(w)


def spsa(
    f_noisy: Function,
    w0: Any,
    step_size: StepSize,
    width: StepSize,
    n: int,
    *,
    rng: np.random.Generator,
    first: int = 1,
) -> Iterator[Array]:
    """w ← w − a_k (f̃(w + c_k Δ) − f̃(w − c_k Δ)) / 2c_k · 1/Δ, the signs Δ = ±1 drawn anew: all coordinates at once.

    Simultaneous perturbation (Spall 1992): as Kiefer–Wolfowitz, with 2 observations a step instead of 2d. Every run of
    w0 (…, d) has signs of its own, from `rng`. Errors are those of `kiefer_wolfowitz`.

    >>> w = last(spsa(lambda w: (w * w).sum(-1) / 2, [2.0], 0.5, 0.1, n=2, rng=np.random.default_rng(0)))
    >>> w.round(9).tolist()
    [0.5]
    """
    a, c = step_function("spsa", step_size), step_function("spsa", width, "width")
    numbers, w = step_numbers("spsa", n, first), _points("spsa", w0)
    who, place = "spsa: f_noisy", device_of(w)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            signs = to_device((2.0 * rng.integers(0, 2, w.shape) - 1).astype(w.dtype), place)
            ends = (w + c(k) * signs, w - c(k) * signs)
            above, below = (_observed(who, f_noisy(x), x, w.shape[:-1]) for x in ends)  # (…)
            w = w - a(k) / (2 * c(k)) * (above - below)[..., None] * signs  # 1/Δ = Δ
            yield w

    return iterates(w)


def _points(where: str, w0: Any) -> Array:
    w = floats(w0)
    if not w.ndim or not w.shape[-1]:
        raise ShapeError(f"{where}: expected points w0 (…, d >= 1), got shape {w.shape}; write w0[..., None] for d = 1")
    return w


def _observed(who: str, found: Any, points: Array, shape: tuple[int, ...]) -> Array:
    """What a function gave at points, which must be of that shape: what would broadcast mixes the runs."""
    values = floats(found)
    if values.shape != shape:
        due = "one number for each of w" if shape == points.shape else "one number a point, as (w * w).sum(-1) is"
        raise ShapeError(f"{who} must give values {shape} at w {points.shape}, got {values.shape}: return {due}")
    return values

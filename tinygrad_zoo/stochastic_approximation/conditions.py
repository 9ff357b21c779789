"""The conditions under which stochastic approximation converges: on its step sizes, its function and its noise."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..backend import to_host
from ..errors import ShapeError, UsageError
from ..grad_mode import enable_grad
from ..tensor import tensor
from ..variable import Array
from .base import Function, PowerSteps, StepSize, floats, step_function


# ---- step sizes
class StepSizeCheck(NamedTuple):
    """Whether Σ a_k = ∞ and Σ a_k² < ∞: True, False, or None where that could not be told."""

    sum_diverges: bool | None  # else the steps may end before the root
    squares_converge: bool | None  # else the noise is never averaged out
    proven: bool  # from the formula; otherwise from values of a_k at some k, which can prove nothing
    reason: str

    @property
    def holds(self) -> bool | None:
        """Both, if both could be told."""
        verdicts = (self.sum_diverges, self.squares_converge)
        return False if False in verdicts else None if None in verdicts else True


def check_step_sizes(step_size: StepSize) -> StepSizeCheck:
    """Robbins and Monro's conditions on step sizes: Σ a_k = ∞ and Σ a_k² < ∞.

    Of a number and of `PowerSteps` they are decided by the exponent p: the one holds for p ≤ 1, the other for p > 1/2.
    Of another function they are judged by its values at k = 2^j up to 2^60: where these fall, Σ a_k converges if and
    only if Σ 2^j a(2^j) does (Cauchy). That finds the exponent p, and q of a factor log^-q k where p = 1. Near q = 1,
    and where a_k does not fall, there is no verdict; what a function does between the k looked at, or after, cannot
    be known.

    Raises UsageError for a step size that is negative or not finite, DTypeError for what is no number or function.

    >>> check_step_sizes(PowerSteps(1.0, p=2.0))
    StepSizeCheck(sum_diverges=False, squares_converge=True, proven=True, reason='a / k^2')
    >>> check_step_sizes(0.1).holds, check_step_sizes(lambda k: k**-0.7).holds
    (False, True)
    >>> print(check_step_sizes(lambda k: 1 / (k * math.log(k + 1))).sum_diverges)
    None
    """
    if not callable(step_size):
        step_size = PowerSteps(step_function("check_step_sizes", step_size)(1), p=0.0)
    if isinstance(step_size, PowerSteps):
        p = step_size.p
        return StepSizeCheck(p <= 1, 2 * p > 1, True, f"a / k^{p:g}")
    rises = _rises(step_size)
    if rises:
        return StepSizeCheck(None, None, False, f"a_k does not fall at k = {rises}: its sums cannot be judged")
    converges, why = _sum_converges(step_size, 1)
    squares_converge, why_squares = _sum_converges(step_size, 2)
    sum_diverges = None if converges is None else not converges
    return StepSizeCheck(sum_diverges, squares_converge, False, f"Σ a_k: {why}; Σ a_k²: {why_squares}")


_FAR = 60  # the last k looked at is 2^60


def _size(step_size: Callable[[int], float], k: int) -> float:
    value = float(step_size(k))
    if not (value >= 0 and math.isfinite(value)):
        raise UsageError(f"step_size({k}) is {value}: expected a finite number >= 0")
    return value


def _rises(step_size: Callable[[int], float]) -> int:
    """A late k with a_{k+1} > a_k, or 0."""
    for j in range(10, _FAR, 5):
        looked_at: list[int] = [*range(1 << j, (1 << j) + 65), 2 << j]
        for k, following in pairwise(looked_at):
            if _size(step_size, following) > _size(step_size, k) * (1 + 1e-12):
                return k
    return 0


def _sum_converges(step_size: Callable[[int], float], power: int) -> tuple[bool | None, str]:
    """Whether Σ a_k^power < ∞, and why: from the local exponents at 2^30 and 2^60."""
    places, excess = (_FAR // 2, _FAR), []  # of k^-p log^-q k, the exponent between 2^(j-1) and 2^j exceeds p
    for j in places:  # by q / ((j − 1/2) ln 2)
        near, far = (_size(step_size, 2**i) for i in (j - 1, j))
        if far == 0:
            return True, f"it is 0 at 2^{j}"
        excess.append(power * math.log2(near / far) - 1)
    half, whole = (j - 0.5 for j in places)
    limit = (whole * excess[1] - half * excess[0]) / (whole - half)  # p − 1
    if abs(limit) > 1e-3:
        return limit > 0, f"terms like k^-{1 + limit:.3g}"
    q = excess[1] * whole * math.log(2)
    if abs(q - 1) < 0.15:
        return None, f"terms like 1/(k log^{q:.2f} k), too near to the border"
    return q > 1, f"terms like 1/(k log^{q:.2f} k)"


# ---- the function and the noise
class Conditions(NamedTuple):
    """Robbins and Monro's conditions, as far as numbers show them."""

    slopes: tuple[float, float]  # the least and the greatest g' found
    beyond: float  # the greatest |g'| found on a range ten times as wide
    steps: StepSizeCheck
    noise_mean: float
    noise_error: float  # the standard error of that mean
    noise_square: float  # the mean of η²

    @property
    def failures(self) -> list[str]:
        """Those that do not hold, in words."""
        least, greatest = self.slopes
        broken = {
            f"0 < g' fails: g' is {least:.3g} somewhere": least <= 0,
            f"g' ≤ c₂ fails: it grows from {greatest:.3g} to {self.beyond:.3g} farther out": not self.beyond
            <= 10 * abs(greatest),
            "Σ a_k = ∞ fails": self.steps.sum_diverges is False,
            "Σ a_k² < ∞ fails": self.steps.squares_converge is False,
            f"E[η] = 0 fails: it is {self.noise_mean:.3g} ± {self.noise_error:.1g}": abs(self.noise_mean)
            > 5 * self.noise_error,
            "E[η²] < ∞ fails": not math.isfinite(self.noise_square),
        }
        return [text for text, fails in broken.items() if fails]


def check_conditions(
    g: Function, low: float, high: float, step_size: StepSize, noise: Any, *, points: int = 2001
) -> Conditions:
    """0 < c₁ ≤ g'(w) ≤ c₂ on low..high, Σ a_k = ∞, Σ a_k² < ∞, E[η] = 0 and E[η²] < ∞, looked for rather than proven.

    g is a function of one number, written in ops, so autograd finds its slope at `points` places, and at as many of
    a range ten times as wide: where |g'| is tenfold there, it is taken for unbounded. `noise` are independent draws of
    η: a mean off zero by five standard errors is a failure. That η's variance is finite no sample can show.

    >>> noise = np.random.default_rng(0).standard_normal(1000)
    >>> check_conditions(lambda w: tz.tanh(w - 1.0), -2.0, 4.0, PowerSteps(), noise).failures
    []
    >>> check_conditions(lambda w: w**3 - 5.0, 1.0, 3.0, 0.1, noise).failures
    ["g' ≤ c₂ fails: it grows from 27 to 432 farther out", 'Σ a_k² < ∞ fails']
    """
    if not (low < high and points >= 2):
        raise UsageError(f"check_conditions: expected low < high and points >= 2, got {low}, {high} and {points}")
    draws = to_host(floats(noise)).astype(np.float64).ravel()
    if len(draws) < 2:
        raise ShapeError(f"check_conditions: expected two draws of the noise or more, got {len(draws)}")
    middle, half = (low + high) / 2, (high - low) / 2
    near, far = (_slopes(g, np.linspace(middle - r, middle + r, points)) for r in (half, 10 * half))
    return Conditions(
        (float(near.min()), float(near.max())),
        float(np.abs(far).max()),
        check_step_sizes(step_size),
        float(draws.mean()),
        float(draws.std(ddof=1) / math.sqrt(len(draws))),
        float((draws * draws).mean()),
    )


@enable_grad()
def _slopes(g: Function, places: Array) -> Array:
    w = tensor(places, requires_grad=True, device="cpu")
    g(w).sum().backward()
    return w.grad.numpy()

"""Means, roots and minima from noisy observations, one step each: w ← w − a_k · (what was observed at w).

Robbins & Monro, "A Stochastic Approximation Method", 1951; Kiefer & Wolfowitz 1952; Dvoretzky 1956; Spall 1992 (SPSA);
Polyak & Juditsky 1992 (averaging). Every method is an iterator over its estimates, so nothing is kept that is not asked
for: `last(…)` is the final one, `polyak_average(…)` their mean. Arrays of many runs take their steps at once.
"""

from __future__ import annotations

import math
import operator
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np

from .backend import device_of, namespace, to_device, to_host
from .errors import ShapeError, UsageError
from .grad_mode import enable_grad
from .tensor import Tensor, tensor
from .variable import Array

StepSize: TypeAlias = "Callable[[int], float] | float"  # of step k = 1, 2, …, or the same at every step
Function: TypeAlias = Callable[[Any], Any]


# ---- step sizes
@dataclass(frozen=True)
class PowerSteps:
    """a_k = a / (k + shift)^p, whose sums `check_step_sizes` knows.

    >>> steps = PowerSteps(2.0, p=0.5)
    >>> steps(1), steps(4)
    (2.0, 1.0)
    """

    a: float = 1.0
    p: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not (self.a > 0 and math.isfinite(self.a) and math.isfinite(self.p) and self.shift > -1):
            raise UsageError(f"PowerSteps: expected a > 0, a finite p and shift > -1, got {self}")

    def __call__(self, k: int) -> float:
        return float(self.a / (k + self.shift) ** self.p)


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

    Raises UsageError for a step size that is negative or not finite.

    >>> check_step_sizes(PowerSteps(1.0, p=2.0))
    StepSizeCheck(sum_diverges=False, squares_converge=True, proven=True, reason='a / k^2')
    >>> check_step_sizes(0.1).holds, check_step_sizes(lambda k: k**-0.7).holds
    (False, True)
    >>> print(check_step_sizes(lambda k: 1 / (k * math.log(k + 1))).sum_diverges)
    None
    """
    if not callable(step_size):
        step_size = PowerSteps(step_size, p=0.0)
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


def _steps(where: str, step_size: StepSize) -> Callable[[int], float]:
    if callable(step_size):
        return step_size
    if not (step_size > 0 and math.isfinite(step_size)):
        raise UsageError(f"{where}: expected a number > 0 or a function of k = 1, 2, …, got {step_size!r}")
    return lambda k: step_size


def _numbers(where: str, n: int, first: int) -> range:
    try:
        n, first = operator.index(n), operator.index(first)
    except TypeError:
        raise UsageError(f"{where}: n and first must be integers, got {n!r} and {first!r}") from None
    if n < 0 or first < 1:
        raise UsageError(f"{where}: expected n >= 0 steps from first >= 1, got n={n} and first={first}")
    return range(first, first + n)


def _floats(x: Any) -> Array:
    """The array of x, in float64 unless x is floating already."""
    array = x.data if isinstance(x, Tensor) else x
    if not hasattr(array, "dtype"):
        return np.asarray(array, np.float64)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _doubles(x: Any) -> Array:
    return _floats(x).astype(np.float64, copy=False)


def _beside(array: Array, *parts: Any) -> tuple[Array, ...]:
    """The parts on the device of the array: they are elsewhere after a state was loaded."""
    place = device_of(array)
    return tuple(part if device_of(part) == place else to_device(part, place) for part in parts)


# ---- means
class RunningMean:
    """w ← w − α_k (w − x_k): by default, α_k = 1/k, the mean of all x so far.

    With a constant step size α it is the exponential average, of weights α(1−α)^(k−i), which follows a mean that moves
    and has the variance σ²α/(2−α) in the end. `start` is the w of before the first x; without it, that x itself.
    It is kept in float64: in float32, 1/k of a difference soon vanishes beside w. An x may be an array of any shape.

    >>> mean = RunningMean()
    >>> for x in (1.0, 2.0, 6.0):
    ...     _ = mean.update(x)
    >>> float(mean.mean), mean.count
    (3.0, 3)
    >>> float(RunningMean(step_size=0.5, start=0.0).update(1.0).update(3.0).mean)
    1.75
    """

    def __init__(self, step_size: StepSize | None = None, *, start: Any = None) -> None:
        self._step_size = (lambda k: 1 / k) if step_size is None else _steps("RunningMean", step_size)
        self.count = 0
        self._mean: Array | None = None if start is None else _doubles(start)

    @property
    def mean(self) -> Array:
        """The estimate. Raises UsageError before there is one."""
        if self._mean is None:
            raise UsageError("RunningMean.mean: nothing was seen so far; call update, or give start=")
        return self._mean

    def update(self, x: Any) -> Self:
        """Take in one more x, of the shape of those before: O(1) memory. Raises ShapeError for another."""
        array = _doubles(x)
        if self._mean is None:
            self.count, self._mean = 1, array.copy()
            return self
        if array.shape != self._mean.shape:
            raise ShapeError(f"RunningMean: expected an x of shape {self._mean.shape}, got {array.shape}")
        self.count += 1
        (w,) = _beside(array, self._mean)
        self._mean = w - self._step_size(self.count) * (w - array)
        return self

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        return {"count": self.count, "mean": None if self._mean is None else to_host(self._mean)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.count, self._mean = state["count"], state["mean"]


def incremental_mean(stream: Iterable[Any], step_size: StepSize | None = None, *, start: Any = None) -> Iterator[Array]:
    """The estimates w ← w − α_k (w − x_k) after each x_k of the stream; α_k = 1/k by default (see RunningMean).

    >>> [float(w) for w in incremental_mean([1.0, 2.0, 6.0])]
    [1.0, 1.5, 3.0]
    """
    running = RunningMean(step_size, start=start)
    return (running.update(x).mean for x in stream)


class RunningMoments:
    """Mean and variance of what was seen, element by element: M₂ ← M₂ + (x − w_old)(x − w_new) (Welford 1962).

    Two of them merge (Chan, Golub & LeVeque 1979): M₂ = M₂ᵃ + M₂ᵇ + δ² nᵃnᵇ/n with δ the difference of the means.
    Means are kept as differences from the first x, so a large common offset costs no digits.

    >>> moments = RunningMoments().update(1.0).update(2.0).update(6.0)
    >>> float(moments.mean), float(moments.variance(ddof=1))
    (3.0, 7.0)
    >>> whole = RunningMoments().extend([1.0, 2.0]).merge(RunningMoments().update(6.0))
    >>> float(whole.mean), float(whole.variance(ddof=1)), whole.count
    (3.0, 7.0, 3)
    """

    def __init__(self) -> None:
        self.count = 0
        self._origin: Array | None = None  # the first x
        self._offset: Array | None = None  # mean − origin
        self._m2: Array | None = None  # Σ (x − mean)²

    def update(self, x: Any) -> Self:
        """Take in one more x, of the shape of those before: O(1) memory. Raises ShapeError for another."""
        array = _doubles(x)
        if self._origin is None:
            self.count, self._origin, self._offset, self._m2 = 1, array.copy(), array * 0, array * 0
            return self
        if array.shape != self._origin.shape:
            raise ShapeError(f"RunningMoments: expected an x of shape {self._origin.shape}, got {array.shape}")
        origin, offset, m2 = _beside(array, self._origin, self._offset, self._m2)
        x = array - origin
        self.count += 1
        new = offset - (offset - x) / self.count
        self._origin, self._offset, self._m2 = origin, new, m2 + (x - offset) * (x - new)
        return self

    def extend(self, xs: Any) -> Self:
        """Take in all x = xs[0], xs[1], …: an array (n, …), by one merge. Raises ShapeError for an empty one."""
        array = _doubles(xs)
        if not array.ndim or not len(array):
            raise ShapeError(f"RunningMoments.extend: expected an array (n >= 1, …), got shape {array.shape}")
        part = RunningMoments()
        rest = array - array[0]
        part.count, part._origin, part._offset = len(array), array[0].copy(), rest.mean(axis=0)
        part._m2 = ((rest - part._offset) ** 2).sum(axis=0)
        return self.merge(part)

    def merge(self, other: RunningMoments) -> Self:
        """Take in all that the other has seen, in O(1). Raises ShapeError where that is of another shape."""
        if other._origin is None:
            return self
        if self._origin is None:
            self.count, self._origin, self._offset, self._m2 = other.count, other._origin, other._offset, other._m2
            return self
        if other._origin.shape != self._origin.shape:
            raise ShapeError(f"RunningMoments.merge: the shapes {self._origin.shape} and {other._origin.shape} differ")
        origin, offset, m2 = _beside(other._origin, self._origin, self._offset, self._m2)
        delta = (other._origin - origin) + (other._offset - offset)
        n = self.count + other.count
        share = other.count / n
        self._origin, self._offset = origin, offset + share * delta
        self._m2 = m2 + other._m2 + delta * delta * (share * self.count)
        self.count = n
        return self

    @property
    def mean(self) -> Array:
        """Raises UsageError where nothing was seen."""
        if self._origin is None:
            raise UsageError("RunningMoments.mean: nothing was seen so far; call update or extend")
        return self._origin + self._offset

    def variance(self, ddof: int = 0) -> Array:
        """M₂ / (n − ddof). Raises UsageError unless more than ddof were seen."""
        if self._m2 is None or self.count <= ddof:
            raise UsageError(f"RunningMoments.variance: {self.count} seen, expected more than ddof={ddof}")
        return self._m2 / (self.count - ddof)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs."""
        parts = {"origin": self._origin, "offset": self._offset, "m2": self._m2}
        return {"count": self.count, **{k: None if part is None else to_host(part) for k, part in parts.items()}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.count = state["count"]
        self._origin, self._offset, self._m2 = state["origin"], state["offset"], state["m2"]


# ---- roots and minima
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
    where another call ended. What must hold for it to converge: `check_conditions`.
    SGD is this with g = ∇E f(w, X), a mean with g = w − E[X]. For a g of slope c at the root and a_k = a/k, 2ac > 1,
    √k (w_k − w*) → N(0, a²σ²/(2ac − 1)).

    >>> float(last(robbins_monro(lambda w: w - 2.0, 0.0, 0.5, n=3)))
    1.75
    """
    a, numbers, w = _steps("robbins_monro", step_size), _numbers("robbins_monro", n, first), _floats(w0)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            w = w - a(k) * _floats(g_noisy(w))
            yield w

    return iterates(w)


def kiefer_wolfowitz(
    f_noisy: Function, w0: Any, step_size: StepSize, width: StepSize, n: int, *, first: int = 1
) -> Iterator[Array]:
    """w ← w − a_k (f̃(w + c_k eᵢ) − f̃(w − c_k eᵢ)) / 2c_k for each coordinate i: a minimum of f, without its gradient.

    f_noisy takes points (…, d) and returns (…), with noise of its own for every one; w0 is (…, d); a step takes 2d
    observations. With a_k = a/k and c_k = c/k^γ, 0 < γ < 1/2, the error on a quadratic falls like k^-(1/2 − γ). Where
    third derivatives bias the differences, γ = 1/6 is best. Raises ShapeError for a w0 without coordinates.

    >>> w = last(kiefer_wolfowitz(lambda w: (w * w).sum(-1) / 2, [2.0, -4.0], 0.5, 0.1, n=2))
    >>> w.round(9).tolist()
    [0.5, -1.0]
    """
    a, c = _steps("kiefer_wolfowitz", step_size), _steps("kiefer_wolfowitz", width)
    numbers, w = _numbers("kiefer_wolfowitz", n, first), _points("kiefer_wolfowitz", w0)
    axes = namespace(w).eye(w.shape[-1]).astype(w.dtype)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            here, aside = w[..., None, :], c(k) * axes  # (…, 1, d), (d, d)
            difference = _floats(f_noisy(here + aside)) - _floats(f_noisy(here - aside))  # (…, d)
            w = w - a(k) / (2 * c(k)) * difference
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
    w0 (…, d) has signs of its own, from `rng`.

    >>> w = last(spsa(lambda w: (w * w).sum(-1) / 2, [2.0], 0.5, 0.1, n=2, rng=np.random.default_rng(0)))
    >>> w.round(9).tolist()
    [0.5]
    """
    a, c = _steps("spsa", step_size), _steps("spsa", width)
    numbers, w = _numbers("spsa", n, first), _points("spsa", w0)
    place = device_of(w)

    def iterates(w: Array) -> Iterator[Array]:
        for k in numbers:
            signs = to_device((2.0 * rng.integers(0, 2, w.shape) - 1).astype(w.dtype), place)
            difference = _floats(f_noisy(w + c(k) * signs)) - _floats(f_noisy(w - c(k) * signs))  # (…)
            w = w - a(k) / (2 * c(k)) * difference[..., None] * signs  # 1/Δ = Δ
            yield w

    return iterates(w)


def _points(where: str, w0: Any) -> Array:
    w = _floats(w0)
    if not w.ndim or not w.shape[-1]:
        raise ShapeError(f"{where}: expected points w0 (…, d >= 1), got shape {w.shape}; write w0[..., None] for d = 1")
    return w


# ---- the conditions of convergence
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
    draws = to_host(_floats(noise)).astype(np.float64).ravel()
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

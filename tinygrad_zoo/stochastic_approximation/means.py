"""Means and variances of a stream, by one step for each number seen."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from ..backend import to_host
from ..errors import ShapeError, UsageError
from ..variable import Array
from .base import StepSize, beside, doubles, step_function


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
        self._step_size = (lambda k: 1 / k) if step_size is None else step_function("RunningMean", step_size)
        self.count = 0
        self._mean: Array | None = None if start is None else doubles(start)

    @property
    def mean(self) -> Array:
        """The estimate. Raises UsageError before there is one."""
        if self._mean is None:
            raise UsageError("RunningMean.mean: nothing was seen so far; call update, or give start=")
        return self._mean

    def update(self, x: Any) -> Self:
        """Take in one more x, of the shape of those before: O(1) memory. Raises ShapeError for another."""
        array = doubles(x)
        if self._mean is None:
            self.count, self._mean = 1, array.copy()
            return self
        if array.shape != self._mean.shape:
            raise ShapeError(f"RunningMean: expected an x of shape {self._mean.shape}, got {array.shape}")
        self.count += 1
        (w,) = beside(array, self._mean)
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
        array = doubles(x)
        if self._origin is None:
            self.count, self._origin, self._offset, self._m2 = 1, array.copy(), array * 0, array * 0
            return self
        if array.shape != self._origin.shape:
            raise ShapeError(f"RunningMoments: expected an x of shape {self._origin.shape}, got {array.shape}")
        origin, offset, m2 = beside(array, self._origin, self._offset, self._m2)
        x = array - origin
        self.count += 1
        new = offset - (offset - x) / self.count
        self._origin, self._offset, self._m2 = origin, new, m2 + (x - offset) * (x - new)
        return self

    def extend(self, xs: Any) -> Self:
        """Take in all x = xs[0], xs[1], …: an array (n, …), by one merge. Raises ShapeError for an empty one."""
        array = doubles(xs)
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
        origin, offset, m2 = beside(other._origin, self._origin, self._offset, self._m2)
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

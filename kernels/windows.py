"""Windows of an axis: for each place of a result, the entries of the input that it is the maximum or a weighted sum of.

Pooling and resampling work on one axis after the other, so that what distinguishes them is a table an axis. Tables are
made once for a size and a setting. A window is a run of entries, one for each `step`; the starts and the ends of
windows do not decrease, so those that see an entry are neighbours too, and a table has a transpose of its own kind.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Ints: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]
Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]
_KEPT = 1024  # tables


@dataclass(frozen=True, eq=False)
class Windows:
    """Place o is made of the entries first[o], first[o] + step, …, one for each weight[offset[o] : offset[o + 1]]."""

    size: int  # of the axis that is read
    first: Ints
    offset: Ints
    weight: Floats
    step: int = 1

    @property
    def places(self) -> int:
        return len(self.first)

    @property
    def counts(self) -> Ints:
        """How many entries each window has."""
        return np.diff(self.offset)

    @functools.cached_property
    def transposed(self) -> Windows:
        """For each entry the places that see it, with the same weights; of windows of step 1.

        >>> linear(2, 4, None, False).transposed.weight.tolist()
        [1.0, 0.75, 0.25, 0.0, 0.25, 0.75, 1.0]
        """
        counts = self.counts
        place = np.repeat(np.arange(self.places), counts)
        entry = np.arange(len(place)) - np.repeat(self.offset[:-1] - self.first, counts)
        order = np.argsort(entry, kind="stable")
        offset = _offsets(np.bincount(entry, minlength=self.size))
        first = np.append(place[order], 0)[offset[:-1]] * (np.diff(offset) > 0)
        made = Windows(self.places, first, offset, self.weight[order])
        made.__dict__["transposed"] = self
        return made


def _offsets(counts: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _runs(size: int, first: Ints, counts: Ints, weight: Floats | None = None, step: int = 1) -> Windows:
    """Windows of equal weights, or of those given: a row a place, of which the first `counts` count."""
    if weight is None:
        weight = np.repeat(1.0 / np.maximum(counts, 1), counts)
    elif weight.ndim == 2:
        weight = weight[np.arange(weight.shape[1]) < counts[:, None]]
    return Windows(size, first.astype(np.int64), _offsets(counts), weight, step)


# ---- pooling
def pooled_size(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """How many windows there are; one that rounding up adds has to begin inside the input or the padding before it.

    >>> pooled_size(5, 2, 2, 0, 1, False), pooled_size(5, 2, 2, 0, 1, True)
    (2, 3)
    """
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    places = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    return places - 1 if ceil_mode and (places - 1) * stride >= size + padding else places


@functools.lru_cache(_KEPT)
def strided(
    size: int, kernel: int, stride: int, padding: int, dilation: int, places: int, counted: bool, divisor: float
) -> Windows:
    """The entries inside of windows that begin at o · stride − padding.

    Weights are 1 / divisor; where that is 0, 1 over the number of entries, with those in the padding if `counted`.

    >>> table = strided(3, 2, 2, 1, 1, 2, True, 0)
    >>> table.first.tolist(), table.counts.tolist(), table.weight.tolist()
    ([0, 1], [1, 2], [0.5, 0.5, 0.5])
    """
    begin = np.arange(places) * stride - padding
    first = begin + -(np.minimum(begin, 0) // dilation) * dilation  # the first entry inside
    span = dilation * (kernel - 1) + 1
    counts = np.maximum(-((first - np.minimum(begin + span, size)) // dilation), 0)
    whole = np.minimum(begin + span, size + padding) - begin  # beyond the padding nothing counts
    over = np.full(places, divisor) if divisor else whole if counted else np.maximum(counts, 1)
    return _runs(size, first, counts, np.repeat(1.0 / over, counts), dilation)


@functools.lru_cache(_KEPT)
def adaptive(size: int, places: int) -> Windows:
    """Windows from ⌊o · size / places⌋ to ⌈(o + 1) · size / places⌉, of equal weights.

    >>> table = adaptive(5, 3)
    >>> table.first.tolist(), table.counts.tolist()
    ([0, 1, 3], [2, 3, 2])
    """
    o = np.arange(places)
    first = o * size // max(places, 1)
    return _runs(size, first, -(-(o + 1) * size // max(places, 1)) - first)


# ---- interpolation
def _scale(size: int, places: int, factor: float | None, corners: bool) -> float:
    """Entries of the input for each place of the result; a factor that was given counts, not the ratio of the sizes."""
    if corners:
        return (size - 1) / (places - 1) if places > 1 else 0.0
    return 1 / factor if factor else size / places


@functools.lru_cache(_KEPT)
def nearest(size: int, places: int, factor: float | None, exact: bool) -> Windows:
    """The entry ⌊o · scale⌋, or ⌊(o + ½) · scale⌋ where `exact`, computed in float32, as PyTorch does.

    Like PyTorch's for images, ⌊o · scale⌋ is o or ⌊o / 2⌋ where the size stays or doubles, whatever the factor.

    >>> nearest(3, 5, None, False).first.tolist(), nearest(3, 5, None, True).first.tolist()
    ([0, 0, 1, 1, 2], [0, 0, 1, 2, 2])
    """
    factor = None if places in (size, 2 * size) and not exact else factor
    scale = np.float32(_scale(size, places, factor, False))
    at = (np.arange(places) + (0.5 if exact else 0.0)).astype(np.float32) * scale
    first = np.minimum(np.floor(at).astype(np.int64), size - 1)
    return _runs(size, first, np.ones(places, np.int64))


def _sources(size: int, places: int, factor: float | None, corners: bool) -> Floats:
    """Where each place lies among the entries."""
    scale = _scale(size, places, factor, corners)
    o = np.arange(places, dtype=np.float64)
    return o * scale if corners else (o + 0.5) * scale - 0.5


@functools.lru_cache(_KEPT)
def linear(size: int, places: int, factor: float | None, corners: bool) -> Windows:
    """The two entries beside a place, weighted by nearness; beyond the outermost one there is its value.

    >>> linear(2, 4, None, False).weight.tolist()
    [1.0, 0.0, 0.75, 0.25, 0.25, 0.75, 1.0]
    """
    if size == places:
        return _runs(size, np.arange(size), np.ones(size, np.int64))
    at = np.maximum(_sources(size, places, factor, corners), 0)
    first = np.minimum(np.floor(at).astype(np.int64), size - 1)
    part = np.minimum(at - first, 1)
    counts = np.minimum(size - first, 2)
    part = np.where(counts < 2, 0.0, part)
    return _runs(size, first, counts, np.stack([1 - part, part], 1))


def cubic_weights(t: Any) -> tuple[Any, Any, Any, Any]:
    """Keys' weights (1981, a = −¾) of the entries −1, 0, 1 and 2 for a place t of the way from 0 to 1.

    >>> cubic_weights(0.5)
    (-0.09375, 0.59375, 0.59375, -0.09375)
    """
    a, s = -0.75, 1 - t
    return (
        ((a * (t + 1) - 5 * a) * (t + 1) + 8 * a) * (t + 1) - 4 * a,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((a + 2) * s - (a + 3)) * s * s + 1,
        ((a * (s + 1) - 5 * a) * (s + 1) + 8 * a) * (s + 1) - 4 * a,
    )


@functools.lru_cache(_KEPT)
def cubic(size: int, places: int, factor: float | None, corners: bool) -> Windows:
    """Four entries around a place by `cubic_weights`; those beyond the outermost one add to its weight.

    >>> cubic(1, 2, None, False).weight.tolist()
    [1.0, 1.0]
    """
    at = _sources(size, places, factor, corners)
    base = np.minimum(np.floor(at).astype(np.int64), size - 1)
    weights = cubic_weights(np.clip(at - base, 0, 1))
    taps = np.clip(base[:, None] + np.arange(-1, 3), 0, size - 1)
    first, counts = taps[:, 0], taps[:, 3] - taps[:, 0] + 1
    summed = np.zeros((places, 4))
    for k, weight in enumerate(weights):
        np.add.at(summed, (np.arange(places), taps[:, k] - first), weight)
    return _runs(size, first, counts, summed)


# ---- for kernels
MOST = 4  # entries of windows that are added up in registers


@functools.lru_cache(_KEPT)
def taps(axis: Windows, dtype: Any, pixel: int) -> tuple[int, Ints, Any]:
    """All windows made as long as the longest: that length, of each entry how many bytes it lies along, and its weight.

    A short one has its last entry several times, with a share of the weight each, by halves: that rounds nothing. The
    length is 1, 2 or MOST, or 0, with empty tables, where that is not enough.

    >>> length, at, weight = taps(linear(2, 3, None, False), np.dtype("f4"), 4)
    >>> length, at.tolist(), weight.tolist()
    (2, [0, 4, 0, 4, 4, 4], [1.0, 0.0, 0.5, 0.5, 0.5, 0.5])
    """
    counts = axis.counts
    length = int(counts.max(initial=0))
    if length > MOST or (counts == 0).any():
        return 0, np.zeros(0, np.int64), np.zeros(0, dtype)
    length = length if length < 3 else MOST
    t = np.arange(length)
    kept = np.minimum(t, counts[:, None] - 1)
    repeats = length - counts[:, None]  # of the last entry, beside itself
    halved = np.where(t < counts[:, None] - 1, 0, np.minimum(t - counts[:, None] + 2, repeats))
    weight = axis.weight[axis.offset[:-1, None] + kept] * 0.5**halved
    at = (axis.first[:, None] + kept) * pixel
    return length, at.ravel().astype(np.int64), weight.ravel().astype(dtype)


@functools.lru_cache(_KEPT)
def packed(axes: tuple[Windows, ...], dtype: Any) -> tuple[Ints, Ints, Any, Ints]:
    """first, offset and weight of three axes behind one another, and the steps; axes that are not there come first."""
    axes = (*(_ONE,) * (3 - len(axes)), *axes)
    before = np.cumsum([0, *(len(axis.weight) for axis in axes)])
    offset = [axis.offset[:-1] + n for axis, n in zip(axes, before, strict=False)]
    return (
        np.concatenate([axis.first for axis in axes]),
        np.concatenate([*offset, before[-1:]]).astype(np.int64),
        np.concatenate([axis.weight for axis in axes]).astype(dtype),
        np.array([axis.step for axis in axes], np.int64),
    )


_ONE = _runs(1, np.zeros(1, np.int64), np.ones(1, np.int64))

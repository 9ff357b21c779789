"""The median of a stream after every number, of its last numbers, and any quantile, by two heaps.

The lower half stands in a heap with its largest on top, the upper half in one with its smallest on top: the middle of
the order is on the two tops. A new number is pushed into one half *through* the other (pushpop), so that no number of
the lower half ever exceeds one of the upper half.

Means of two middle numbers are exact where Python's are: integers don't overflow, nor do floats near the largest. NaN
has no place in an order and is refused. Of arrays, running_median, running_quantile and sliding_median are compiled
loops.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any, SupportsFloat, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from . import compiled
from .checks import comparable, whole
from .heaps import MaxHeap, MinHeap


def midpoint(a: Any, b: Any) -> Any:
    """(a + b) / 2, where a + b may be too large for a float or for one of NumPy's integers.

    >>> midpoint(np.int8(127), np.int8(126)), midpoint(1.5e308, 1.7e308)
    (126.5, 1.6e+308)
    """
    a, b = (x.item() if isinstance(x, np.generic) else x for x in (a, b))
    middle = (a + b) / 2
    return a / 2 + b / 2 if isinstance(middle, float) and math.isinf(middle) else middle


class _Halves:
    """Two heaps, all of the lower one at most as large as all of the upper one."""

    def __init__(self) -> None:
        self._lower: MaxHeap[Any] = MaxHeap()
        self._upper: MinHeap[Any] = MinHeap()

    def _add(self, x: Any, *, below: bool) -> None:
        """Make the lower half one larger, or the upper half: at most 4 log₂ n comparisons."""
        if below:
            self._lower.push(self._upper.pushpop(x))
        else:
            self._upper.push(self._lower.pushpop(x))

    def __len__(self) -> int:
        """How many numbers came, in O(1)."""
        return len(self._lower) + len(self._upper)

    def _nonempty(self, method: str, add: str = "add_num") -> None:
        if not len(self):
            raise ValueError(f"{method}: there are no numbers yet; {add} first")

    def _check(self) -> None:
        """Assert the heaps' order, and that the halves are in order."""
        self._lower._check()
        self._upper._check()
        assert not (self._lower and self._upper and self._upper.peek() < self._lower.peek()), (self._lower, self._upper)


class RunningMedian(_Halves):
    """The median of all numbers so far: O(log n) a number, O(1) to ask, O(n) memory.

    >>> stream = RunningMedian()
    >>> stream.add_num(1); stream.add_num(2)
    >>> stream.find_median()
    1.5
    >>> stream.add_num(3)
    >>> stream.find_median()
    2
    """

    def add_num(self, x: Any) -> None:
        """Take in a number: O(log n), the lower half holding as many as the upper half or one more."""
        self._add(x, below=len(self._lower) == len(self._upper))

    def find_median(self) -> Any:
        """The middle number, or the mean of the two: O(1); ValueError where there are none."""
        self._nonempty("find_median")
        if len(self._lower) > len(self._upper):
            return self._lower.peek()
        return midpoint(self._lower.peek(), self._upper.peek())

    def _check(self) -> None:
        """Assert also that the halves are as large as each other, or the lower one larger by 1."""
        super()._check()
        assert len(self._lower) - len(self._upper) in (0, 1), (self._lower, self._upper)


MedianFinder = RunningMedian


class RunningQuantile(_Halves):
    """The q-quantile of all numbers so far, 0 ≤ q ≤ 1, as numpy.quantile: O(log n) a number, O(1) to ask.

    Of n numbers in order it stands at q (n − 1), counted from 0, and between two numbers on the line that joins them.
    The halves share the numbers as q says.

    >>> stream = RunningQuantile(0.25)
    >>> for x in [4, 1, 3, 2]:
    ...     stream.add_num(x)
    >>> stream.find_quantile()
    1.75
    """

    def __init__(self, q: SupportsFloat) -> None:
        super().__init__()
        try:
            self.q = float(q)
        except (TypeError, ValueError):
            raise TypeError(f"RunningQuantile: expected a number from 0 to 1 as q, got {q!r}") from None
        if not 0 <= self.q <= 1:
            raise ValueError(f"RunningQuantile: expected q from 0 to 1, got {q}; 0.95 is the 95th percentile")
        self._numerator, self._denominator = self.q.as_integer_ratio()  # so that no product is rounded

    def add_num(self, x: Any) -> None:
        """Take in a number: O(log n); floor(q (n − 1)) + 1 numbers make the lower half."""
        self._add(x, below=self._at(len(self))[0] == len(self._lower))

    def _at(self, last: int) -> tuple[int, int]:
        """Where the quantile of last + 1 numbers stands: the whole part, and what is left in denominators."""
        return divmod(self._numerator * last, self._denominator)

    def find_quantile(self) -> Any:
        """The quantile: O(1); ValueError where there are no numbers."""
        self._nonempty("find_quantile")
        part = self._at(len(self) - 1)[1] / self._denominator
        low = self._lower.peek()
        if part == 0 or low == self._upper.peek():
            return low
        high = self._upper.peek()
        if part == 0.5:
            return midpoint(low, high)
        low, high = (float(x) for x in (low, high))
        step = high - low
        if math.isinf(step):
            return low * (1 - part) + high * part
        return low + step * part if part < 0.5 else high - step * (1 - part)

    def _check(self) -> None:
        """Assert also that the lower half has its share."""
        super()._check()
        if len(self):
            assert len(self._lower) == self._at(len(self) - 1)[0] + 1, (self._lower, self._upper)


class SlidingMedian:
    """The median of the last `window` numbers: O(log window) a number on average, O(1) to ask, O(window) memory.

    Heaps can't remove from their midst, so a number that left the window stays where it is until it comes to a top
    (*lazy deletion*). Who is gone is known from when it came, never from its value, as equal numbers may still be here.
    A heap of which more than half is gone is built anew, which costs O(1) a number.

    >>> stream = SlidingMedian(3)
    >>> for x in [9, 1, 2, 7]:
    ...     stream.add_num(x)
    >>> stream.find_median()
    2
    """

    def __init__(self, window: SupportsIndex) -> None:
        self.window = whole("SlidingMedian", "window", window, 1)
        # Pairs (number, when it came).
        self._lower: MaxHeap[tuple[Any, int]] = MaxHeap(key=itemgetter(0))
        self._upper: MinHeap[tuple[Any, int]] = MinHeap(key=itemgetter(0))
        self._came = 0
        self._is_below = [False] * self.window  # of a number that came at `when`, at when % window
        self._below = 0  # how many of the window are in the lower half

    def __len__(self) -> int:
        """How many numbers are in the window, in O(1)."""
        return min(self._came, self.window)

    def add_num(self, x: Any) -> None:
        """Take in a number, for the oldest one if the window is full: O(log window) on average."""
        comparable(x)
        pair, slot = (x, self._came), self._came % self.window
        below = self._below > 0 and x < self._lower.peek()[0]
        if self._came >= self.window:
            self._below -= self._is_below[slot]
        self._came += 1
        self._put(pair, below)
        share = (len(self) + 1) // 2
        while self._below < share:
            self._put(self._top(self._upper, remove=True), True)
        while self._below > share:
            self._below -= 1
            self._put(self._top(self._lower, remove=True), False)
        for heap in (self._lower, self._upper):
            self._top(heap)

    def _put(self, pair: tuple[Any, int], below: bool) -> None:
        heap: Any = self._lower if below else self._upper
        heap.push(pair)
        self._is_below[pair[1] % self.window] = below
        self._below += below
        if len(heap) > 2 * self.window:
            rest = [pair for pair in heap if self._is_here(pair)]
            if below:
                self._lower = MaxHeap(rest, key=itemgetter(0))
            else:
                self._upper = MinHeap(rest, key=itemgetter(0))

    def _is_here(self, pair: tuple[Any, int]) -> bool:
        return pair[1] >= self._came - self.window

    def _top(self, heap: Any, remove: bool = False) -> Any:
        """The first of a half that is still in the window, if there is one: those before it go."""
        while heap and not self._is_here(heap.peek()):
            heap.pop()
        return heap.pop() if remove else None

    def find_median(self) -> Any:
        """The middle number of the window, or the mean of the two: O(1); ValueError where there are none."""
        if not self._came:
            raise ValueError("find_median: there are no numbers yet; add_num first")
        low = self._lower.peek()[0]
        return low if len(self) % 2 else midpoint(low, self._upper.peek()[0])

    def _check(self) -> None:
        """Assert that the halves hold the window and are in order, that their tops are in it, and O(window) memory."""
        self._lower._check()
        self._upper._check()
        here = [sorted(when for _, when in filter(self._is_here, heap)) for heap in (self._lower, self._upper)]
        assert sorted(here[0] + here[1]) == list(range(max(0, self._came - self.window), self._came)), here
        assert len(here[0]) == self._below == (len(self) + 1) // 2, here
        assert all(self._is_below[when % self.window] for when in here[0])
        assert not any(self._is_below[when % self.window] for when in here[1])
        heaps: tuple[Any, Any] = (self._lower, self._upper)
        assert all(len(heap) <= 2 * self.window and (not heap or self._is_here(heap.peek())) for heap in heaps)
        assert not (here[0] and here[1]) or not self._upper.peek()[0] < self._lower.peek()[0]


def running_median(values: Any) -> Any:
    """The medians of values[:1], values[:2] … values: O(n log n). An array of numbers gives an array; else a list.

    Medians of integers are float64; those of floats have their dtype.

    >>> running_median([1, 2, 3, 0]), running_median(np.array([1, 2, 3, 0]))
    ([1, 1.5, 2, 1.5], array([1. , 1.5, 2. , 1.5]))
    """
    if compiled.numeric(values, "running_median"):
        x = compiled.without_nan(values, "running_median")
        if compiled.enabled():
            from .compiled import medians

            place = np.arange(x.size)
            return _midpoints(*medians.running(compiled.canonical(x), place // 2, (place + 1) // 2), x.dtype)
        return np.array(list(_running(x.tolist())), _median_dtype(x.dtype))
    return list(_running(values))


def _running(values: Iterable[Any]) -> Iterator[Any]:
    stream = RunningMedian()
    for x in values:
        stream.add_num(x)
        yield stream.find_median()


def running_quantile(values: Any, q: SupportsFloat) -> Any:
    """The q-quantiles of values[:1], values[:2] … values, as numpy.quantile: O(n log n).

    An array of numbers gives an array, with the dtypes of running_median; anything else, a list.

    >>> running_quantile([4, 1, 3, 2], 0.25), running_quantile(np.array([4, 1, 3, 2]), 0.25)
    ([4, 1.75, 2.0, 1.75], array([4.  , 1.75, 2.  , 1.75]))
    """
    stream = RunningQuantile(q)
    if not compiled.numeric(values, "running_quantile"):
        return list(_quantiles(values, stream))
    x = compiled.without_nan(values, "running_quantile")
    if not compiled.enabled():
        return np.array(list(_quantiles(x.tolist(), stream)), _median_dtype(x.dtype))
    from .compiled import medians

    place, part = _places(stream.q, x.size)
    return _between(*medians.running(compiled.canonical(x), place, place + (part > 0)), part, x.dtype)


def _quantiles(values: Iterable[Any], stream: RunningQuantile) -> Iterator[Any]:
    for x in values:
        stream.add_num(x)
        yield stream.find_quantile()


def _places(q: float, n: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """⌊q i⌋ and q i − ⌊q i⌋ for every i < n, of the products as they are, not as they are rounded.

    0.3 is a little less than 3/10, and so is 10 times it than 3:

    >>> places, parts = _places(0.3, 11)
    >>> places[10].item(), parts[10].item(), 0.3 * 10
    (2, 0.9999999999999999, 3.0)
    """
    i = np.arange(n, dtype=np.float64)
    product = q * i
    # What a product loses in rounding is a float, found from halves of q, of 26 bits, whose products lose nothing where
    # i has 27 bits at most (Dekker 1971).
    high = q * (2.0**27 + 1) - (q * (2.0**27 + 1) - q)
    low = q - high
    lost = (high * i - product) + low * i
    place = np.floor(product)
    part = (product - place) + lost
    place -= part < 0
    return place.astype(np.int64), np.where(part < 0, 1 + part, part)


def sliding_median(values: Any, window: SupportsIndex) -> Any:
    """The medians of values[0 : window], values[1 : window + 1] …: O(n log window). An array for an array, else a list.

    There are n − window + 1; ValueError where the window exceeds the n values. dtypes are those of running_median.

    >>> sliding_median([9, 1, 2, 7], 3), sliding_median(np.array([9.0, 1.0, 2.0, 7.0]), 2)
    ([2, 2], array([5. , 1.5, 4.5]))
    """
    window = whole("sliding_median", "window", window, 1)
    if not compiled.numeric(values, "sliding_median"):
        return _sliding(values, window)
    x = compiled.without_nan(values, "sliding_median")
    if x.size < window or not compiled.enabled():
        return np.array(_sliding(x.tolist(), window), _median_dtype(x.dtype))
    from .compiled import medians

    return _midpoints(*medians.sliding(compiled.canonical(x), np.argsort(x[:window]), window), x.dtype)


def _sliding(values: Iterable[Any], window: int) -> list[Any]:
    stream = SlidingMedian(window)
    made = []
    for x in values:
        stream.add_num(x)
        if len(stream) == window:
            made.append(stream.find_median())
    if not made:
        raise ValueError(f"sliding_median: the window of {window} exceeds the {len(stream)} values; make it smaller")
    return made


def _median_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else np.dtype(np.float64)


def _between(low: NDArray[Any], high: NDArray[Any], part: NDArray[np.float64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`find_quantile` for arrays that the loop made of numbers of `dtype`."""
    middle = _midpoints(low, high, dtype)  # right where part is 0, as the two are one, or ½
    a, b = (compiled.restored(x, dtype).astype(np.float64, copy=False) for x in (low, high))
    with np.errstate(invalid="ignore", over="ignore"):  # of −∞ and ∞ all quantiles are NaN
        step = b - a
        made = np.where(part < 0.5, a + step * part, b - step * (1 - part))
        made = np.where(np.isinf(step), a * (1 - part) + b * part, made).astype(middle.dtype)
    return np.where((part == 0) | (part == 0.5) | (low == high), middle, made)


def _midpoints(a: NDArray[Any], b: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """`midpoint` of arrays that the loops made of numbers of `dtype`, in the dtype of their median."""
    if dtype.kind != "f":
        a, b = (compiled.restored(x, np.dtype(np.uint64)) if dtype == np.uint64 else x for x in (a, b))
        # ⌊(a + b) / 2⌋ fits. Its halves of 32 bits are exact floats, and so is the lower one with the ½ that is left.
        floor = (a >> 1) + (b >> 1) + (a & b & 1)
        low = (floor & 0xFFFFFFFF).astype(np.float64) + 0.5 * ((a ^ b) & 1)
        middle: NDArray[Any] = (floor >> 32).astype(np.float64) * 2.0**32 + low
        return middle
    with np.errstate(invalid="ignore", over="ignore"):  # of −∞ and ∞ the mean is NaN
        middle = a + b
        middle *= 0.5
        if np.isinf(middle).any():
            middle = np.where(np.isinf(middle), a / 2 + b / 2, middle)
        return middle.astype(dtype, copy=False)

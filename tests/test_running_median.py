"""Medians and quantiles of streams and windows: which, how exactly, at what cost; and the compiled loops' agreement."""

from __future__ import annotations

import itertools
import math
import random
import statistics
import tracemalloc
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest

import heap_machines
from benchmarks.growth import Counter
from tinygrad_zoo.algorithms import running_median as module
from tinygrad_zoo.algorithms.compiled import medians
from tinygrad_zoo.algorithms.running_median import (
    MedianFinder,
    RunningMedian,
    RunningQuantile,
    SlidingMedian,
    midpoint,
    running_median,
    running_quantile,
    sliding_median,
)

QUANTILES = [0, 1, 0.5, 0.25, 0.3, 0.1, 1 / 3, 0.99, 1e-3]
STREAMS = ["mixed", "equal", "few", "rising", "falling", "walk", "zigzag", "saw"]


def stream(name: str, n: int, seed: int = 0) -> list[int]:
    """Numbers whose order is hard on something: on a heap, on its ties, on what wanders."""
    rng = random.Random(seed)
    mixed = rng.sample(range(10 * n), n)
    if name == "walk":
        place, walk = 0, []
        for _ in range(n):
            place += rng.choice([-3, -1, 1, 3])
            walk.append(place)
        return walk
    return {
        "mixed": mixed,
        "equal": [7] * n,
        "few": [x % 4 for x in mixed],
        "rising": list(range(n)),
        "falling": list(range(n))[::-1],
        "zigzag": [(-1) ** i * i for i in range(n)],
        "saw": [i % 37 for i in range(n)],
    }[name]


def test_any_stream() -> None:
    heap_machines.run(heap_machines.MedianMachine, steps=8)


def test_the_example() -> None:
    finder = MedianFinder()
    finder.add_num(1)
    finder.add_num(2)
    assert finder.find_median() == 1.5
    finder.add_num(3)
    assert finder.find_median() == 2


@pytest.mark.parametrize("name", STREAMS)
def test_streams_against_statistics(name: str) -> None:
    values = stream(name, 300)
    finder, quantile = RunningMedian(), RunningQuantile(0.3)
    for i, x in enumerate(values, 1):
        finder.add_num(x)
        quantile.add_num(x)
        if i % 7 == 0 or i < 20:
            finder._check()
            quantile._check()
            assert finder.find_median() == statistics.median(values[:i])
            assert quantile.find_quantile() == pytest.approx(np.quantile(values[:i], 0.3), rel=1e-12)
            assert len(finder) == len(quantile) == i


@pytest.mark.parametrize("window", [1, 2, 3, 10, 31, 64])
@pytest.mark.parametrize("name", STREAMS)
def test_windows_against_statistics_and_in_little_memory(name: str, window: int) -> None:
    values = stream(name, 400)
    finder = SlidingMedian(window)
    for i, x in enumerate(values, 1):
        finder.add_num(x)
        finder._check()
        assert finder.find_median() == statistics.median(values[max(0, i - window) : i])


@pytest.mark.parametrize("name", STREAMS)
def test_compiled_and_readable_running_medians_agree(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long enough that the compiled loop's middle part overflows and wanders."""
    values = stream(name, 3000)
    expected = running_median(values)
    assert running_median(np.array(values)).tolist() == expected
    made = running_median(np.array(values, np.float32))
    assert made.dtype == np.float32 and made.tolist() == np.array(expected, np.float32).tolist()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    short = running_median(np.array(values[:50], np.float32))
    assert short.dtype == np.float32 and np.array_equal(short, made[:50])


@pytest.mark.parametrize("window", [1, 2, 3, 50, 101, 1500])
@pytest.mark.parametrize("name", STREAMS)
def test_compiled_and_readable_sliding_medians_agree(name: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    values = stream(name, 1500)
    made = sliding_median(np.array(values), window)
    expected = pd.Series(values).rolling(window).median().to_numpy()[window - 1 :]
    assert made.shape == (1501 - window,) and np.array_equal(made, expected)
    assert (
        sliding_median(values[:200], min(window, 200))
        == sliding_median(np.array(values[:200]), min(window, 200)).tolist()
    )
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert np.array_equal(
        sliding_median(np.array(values[:200]), min(window, 200)), pandas(values[:200], min(window, 200))
    )


def pandas(values: list[int], window: int) -> Any:
    return pd.Series(values).rolling(window).median().to_numpy()[window - 1 :]


@pytest.mark.parametrize("middle", [4, 8])
@pytest.mark.parametrize("name", STREAMS)
def test_the_middle_part_may_be_small(name: str, middle: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same source, not compiled, with its capacity passed again and again."""
    for function in ("running", "_part_with", "_rise_large", "_rise_small", "_sink_large", "_sink_small"):
        monkeypatch.setattr(medians, function, getattr(medians, function).py_func)
    monkeypatch.setattr(medians, "MIDDLE", middle)
    values = stream(name, 200)
    assert running_median(np.array(values)).tolist() == running_median(values)
    for q in QUANTILES:
        assert running_quantile(np.array(values), q).tolist() == running_quantile(values, q), q


@pytest.mark.parametrize("dtype", ["float16", "int8", "uint8", "bool", "uint64", "int64", "float64"])
def test_dtypes(dtype: str) -> None:
    x = np.array([1, 0, 1, 1, 0, 1], dtype)
    expected = np.float64 if np.dtype(dtype).kind != "f" else dtype
    for made, values in ((running_median(x[::2]), [1, 1, 1]), (sliding_median(x, 2), [0.5, 0.5, 1, 0.5, 0.5])):
        assert made.dtype == expected and made.tolist() == values
    assert running_median(x[:0]).dtype == expected and running_median(x[:0]).shape == (0,)


# ---- quantiles of arrays
@pytest.mark.parametrize("q", QUANTILES)
@pytest.mark.parametrize("name", STREAMS)
def test_compiled_and_readable_running_quantiles_agree(name: str, q: float, monkeypatch: pytest.MonkeyPatch) -> None:
    values = stream(name, 2000)
    expected = running_quantile(values, q)
    made = running_quantile(np.array(values), q)
    assert made.dtype == np.float64 and made.tolist() == expected
    for i in (1, 2, 11, 500, 2000):
        assert made[i - 1] == pytest.approx(np.quantile(values[:i], q), rel=1e-12, abs=1e-12)
    assert running_quantile(np.array(values, np.float32), q).tolist() == np.array(expected, np.float32).tolist()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert running_quantile(np.array(values[:60]), q).tolist() == expected[:60]


@pytest.mark.parametrize("q", [0.1, 0.3, 0.7, 1 / 3, 2 / 3, 1e-3, 1e-12, 5e-324, 1 - 2**-53, 0.57, 1.0])
def test_where_a_quantile_stands_is_not_rounded(q: float) -> None:
    """0.3 · 10 is 3.0 in floats but lies between 2 and 3: beside an infinite number it makes the difference."""
    places, parts = module._places(q, 30_000)
    for i in [*range(200), *range(200, 30_000, 61)]:
        exact = Fraction(q) * i
        assert places[i] == math.floor(exact) and parts[i] == float(exact - math.floor(exact)), i
    values = [0.0] * 3 + [math.inf] * 8
    assert running_quantile(np.array(values), 0.3)[10] == math.inf == running_quantile(values, 0.3)[10]
    assert running_quantile(np.array(values), 0.25)[8] == 0


def test_quantiles_of_large_and_infinite_numbers() -> None:
    largest, smallest = np.finfo(np.float64).max, np.finfo(np.float64).smallest_subnormal
    for values in (
        [largest, largest, -largest, smallest, -largest],
        [math.inf, math.inf, math.inf],
        [-math.inf, -math.inf, 1.0, math.inf],
        [-math.inf, math.inf],
        [2**63 - 1, 2**63 - 3, 2**62 + 1, -(2**63)],
        [1.0],
        [],
    ):
        for q in QUANTILES:
            made = running_quantile(np.array(values), q)
            assert np.array_equal(made, np.array(running_quantile(values, q), np.float64), equal_nan=True), (values, q)
    unsigned = [2**64 - 1, 2**64 - 3, 5, 2**63]
    assert running_quantile(np.array(unsigned, np.uint64), 0.3).tolist() == [
        *map(float, running_quantile(unsigned, 0.3))
    ]
    assert running_quantile([math.inf] * 2, 0.3)[1] == math.inf


# ---- means without overflow
def test_means_of_large_integers_are_those_of_python() -> None:
    for dtype in (np.int64, np.uint64):
        limits = np.iinfo(dtype)
        around = [limits.min, limits.max, 2**53, 2**62, 2**54 + 2, 0]
        edges = [
            v
            for x in around
            for d in (-3, -2, -1, 0, 1, 2, 3, 1023, 1024, 1025)
            if limits.min <= (v := x + d) <= limits.max
        ]
        values = edges + edges[::-1]
        random.Random(0).shuffle(values)
        expected = [float(m) for m in running_median(values)]
        assert running_median(np.array(values, dtype)).tolist() == expected
        assert running_quantile(np.array(values, dtype), 0.5).tolist() == expected
        assert sliding_median(np.array(values, dtype), 2).tolist() == [
            (a + b) / 2 for a, b in itertools.pairwise(values)
        ]


def test_means_of_numbers_of_numpy_do_not_overflow() -> None:
    assert midpoint(np.int8(100), np.int8(100)) == 100
    assert midpoint(np.uint64(2**64 - 1), np.uint64(2**64 - 1)) == float(2**64 - 1)
    assert midpoint(np.float32(3e38), np.float32(3e38)) == float(np.float32(3e38))
    finder = RunningMedian()
    for x in (np.int64(2**63 - 1), np.int64(2**63 - 3)):
        finder.add_num(x)
    assert finder.find_median() == (2**63 - 1 + 2**63 - 3) / 2


def test_means_of_large_and_infinite_floats() -> None:
    largest = np.finfo(np.float64).max
    x = np.array([largest, largest, np.inf, -np.inf, -np.inf, -largest])
    assert (
        running_median(x).tolist() == running_median(x.tolist()) == [largest, largest, largest, largest, largest, 0.0]
    )
    for made in (sliding_median(x, 2), sliding_median(x.tolist(), 2)):
        assert list(made[:2]) == [largest, np.inf] and math.isnan(made[2]) and list(made[3:]) == [-np.inf, -np.inf]
    single = np.finfo(np.float32).max
    assert running_median(np.array([single, single], np.float32)).tolist() == [single, single]


# ---- what is refused
def test_nan_is_refused_and_changes_nothing() -> None:
    for finder in (RunningMedian(), RunningQuantile(0.5), SlidingMedian(3)):
        finder.add_num(1.0)
        for nan in (math.nan, np.float32("nan")):
            with pytest.raises(ValueError, match="NaN has no place in an order"):
                finder.add_num(nan)
        finder.add_num(2.0)
        finder._check()
        assert len(finder) == 2
    for values in ([1.0, math.nan], np.array([1.0, math.nan])):
        for call in (
            lambda values=values: running_median(values),
            lambda values=values: sliding_median(values, 1),
            lambda values=values: running_quantile(values, 0.3),
        ):
            with pytest.raises(ValueError, match="NaN"):
                call()


def test_wrong_calls_say_what_is_right() -> None:
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: RunningMedian().find_median(), ValueError, "find_median: there are no numbers yet; add_num first"),
        (lambda: RunningQuantile(0.1).find_quantile(), ValueError, "find_quantile: there are no numbers yet"),
        (lambda: SlidingMedian(2).find_median(), ValueError, "find_median: there are no numbers yet"),
        (lambda: RunningQuantile(95), ValueError, "expected q from 0 to 1, got 95; 0.95 is the 95th"),
        (lambda: RunningQuantile(math.nan), ValueError, "expected q from 0 to 1, got nan"),
        (lambda: SlidingMedian(0), ValueError, "SlidingMedian: expected window of at least 1, got 0"),
        (lambda: SlidingMedian(2.0), TypeError, "SlidingMedian: expected a whole number as window, got 2.0"),
        (lambda: sliding_median([1], 0), ValueError, "sliding_median: expected window of at least 1, got 0"),
        (lambda: sliding_median([1, 2], 3), ValueError, "the window of 3 exceeds the 2 values"),
        (lambda: sliding_median(np.ones(2), 3), ValueError, "the window of 3 exceeds the 2 values"),
        (lambda: sliding_median(np.ones(0), 1), ValueError, "the window of 1 exceeds the 0 values"),
        (lambda: running_quantile([1], "median"), TypeError, "expected a number from 0 to 1 as q, got 'median'"),
        (lambda: running_quantile([1], 95), ValueError, "expected q from 0 to 1, got 95; 0.95 is the 95th"),
        (lambda: running_quantile(np.ones((2, 2)), 0.5), ValueError, r"one axis, got shape \(2, 2\)"),
        (lambda: running_median(np.ones((2, 2))), ValueError, r"one axis, got shape \(2, 2\)"),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()
    assert running_median([]) == []


# ---- cost
@pytest.mark.parametrize("name", STREAMS)
def test_comparisons_of_a_stream(name: str) -> None:
    counter, n = Counter(), 3000
    finder, counts = RunningMedian(), []
    for x in counter.keys(stream(name, n)):
        finder.add_num(x)
        counts.append(counter.since())
    assert sum(counts) / n <= 4 * math.log2(n)
    assert all(count <= 8 * math.log2(i) for i, count in enumerate(counts[1:], 2))


@pytest.mark.parametrize("name", STREAMS)
def test_comparisons_of_a_window_do_not_depend_on_the_stream(name: str) -> None:
    counter, window = Counter(), 50
    finder = SlidingMedian(window)
    for x in counter.keys(stream(name, 3000)):
        finder.add_num(x)
    assert counter.since() / 3000 <= 8 * math.log2(window)


@pytest.mark.parametrize("name", STREAMS)
def test_memory_of_a_window(name: str) -> None:
    values = stream(name, 4000)
    tracemalloc.start()
    try:
        finder = SlidingMedian(20)
        for x in values:
            finder.add_num(x)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 20_000  # the pairs of all numbers would be 350 kB

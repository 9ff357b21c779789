"""The k best of streams and of arrays: which ones, in which order, with how little memory and how few comparisons."""

from __future__ import annotations

import heapq
import math
import random
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import heap_machines
from benchmarks.growth import Counter
from test_heaps import ARRAYS, numbers
from tinygrad_zoo.algorithms.compiled import top_k as loops
from tinygrad_zoo.algorithms.heap_sort import heap_sort
from tinygrad_zoo.algorithms.top_k import BtmK, TopK, nlargest, nsmallest, top_k

KINDS: list[Any] = [TopK, BtmK]


def test_any_stream() -> None:
    heap_machines.run(heap_machines.TopKMachine)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers())), st.integers(0, 9))
def test_against_heapq(pairs: list[tuple[int, int]], k: int) -> None:
    def first(pair: tuple[int, int]) -> int:
        return pair[0]

    assert nlargest(k, pairs, key=first) == heapq.nlargest(k, pairs, key=first)
    assert nsmallest(k, iter(pairs), key=first) == heapq.nsmallest(k, pairs, key=first)
    assert nlargest(k, pairs) == heapq.nlargest(k, pairs)
    values, indices = top_k(pairs, k, key=first)
    assert values == [pairs[i] for i in indices] == nlargest(k, pairs, key=first)


# ---- arrays
def expected(x: Any, k: int, largest: bool) -> list[int]:
    """The indices by a stable sort of everything, in Python's integers, which have no overflow."""
    values = x.tolist()
    return sorted(range(len(values)), key=lambda i: -values[i] if largest else values[i])[:k]


@pytest.mark.parametrize("form", ["compiled", "readable"])
@pytest.mark.parametrize("dtype", ARRAYS)
def test_the_best_of_an_array(dtype: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "readable":
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    for n in (0, 1, 5, 64, 65, 700, 2500):
        x = numbers(dtype, 2 * n, n)[::2]
        for k in (0, 1, 2, 7, n // 2, n, n + 3):
            for largest in (True, False):
                made = top_k(x, k, largest=largest)
                assert made.values.dtype == x.dtype and made.indices.dtype == np.int64
                assert made.indices.tolist() == expected(x, k, largest), (n, k, largest)
                assert np.array_equal(made.values, x[made.indices])
        assert np.array_equal(nlargest(3, x), np.sort(x)[::-1][:3])
        assert np.array_equal(nsmallest(3, x), np.sort(x)[:3])


@pytest.mark.parametrize("order", ["rising", "falling", "equal"])
@pytest.mark.parametrize("largest", [True, False])
def test_the_best_of_arrays_in_order(order: str, largest: bool) -> None:
    n = 5000
    x = {"rising": np.arange(n), "falling": np.arange(n)[::-1].copy(), "equal": np.ones(n, np.int64)}[order]
    for k in (1, 10, 1500):
        assert top_k(x, k, largest=largest).indices.tolist() == expected(x, k, largest)


@pytest.mark.parametrize("largest", [True, False])
def test_shares_of_several_threads_are_put_together(largest: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "SHARE", 100)
    monkeypatch.setattr(loops.numba.config, "NUMBA_NUM_THREADS", 3)
    x = np.random.default_rng(0).integers(0, 40, 1001)
    for k in (1, 9, 30, 120):
        assert top_k(x, k, largest=largest).indices.tolist() == expected(x, k, largest)
    y = np.where(np.arange(1001) == 444, np.nan, x)
    with pytest.raises(ValueError, match="NaN at index 444"):
        top_k(y, 3, largest=largest)
    assert 444 not in top_k(y, 1001, nan="skip", largest=largest).indices


def test_infinities_have_a_rank() -> None:
    x = np.array([-np.inf, 0.0, np.inf, 1.0])
    assert top_k(x, 2).indices.tolist() == [2, 3]
    assert top_k(x, 2, largest=False).indices.tolist() == [0, 1]


# ---- NaN
@pytest.mark.parametrize("form", ["compiled", "readable", "list"])
@pytest.mark.parametrize("at", [0, 1, 63, 64, 1023, 1024, 2999])
def test_nan_is_an_error_or_left_out(at: int, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "readable":
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    x = np.random.default_rng(0).standard_normal(3000)
    x[at] = np.nan
    values: Any = x.tolist() if form == "list" else x
    for largest in (True, False):
        with pytest.raises(ValueError, match=r"NaN .*has no (rank|place)"):
            top_k(values, 5, largest=largest)
        made = top_k(values, 5, largest=largest, nan="skip")
        kept = sorted((i for i in range(3000) if i != at), key=lambda i: -x[i] if largest else x[i])[:5]
        assert list(made.indices) == kept
    for kind in KINDS:
        with pytest.raises(ValueError, match="NaN"):
            kind(3).extend(values)
        stream = kind(3, nan="skip")
        stream.extend(values)
        stream.push(math.nan)
        stream._check()
        assert stream.sorted() == sorted((v for v in x.tolist() if v == v), reverse=kind is TopK)[:3]


def test_nan_alone_leaves_nothing() -> None:
    x = np.full(2000, np.nan)
    assert top_k(x, 3, nan="skip").values.tolist() == []
    assert top_k(x.tolist(), 3, nan="skip").values == []


# ---- the sign trick
def test_the_sign_trick_has_no_overflow() -> None:
    values = [np.int8(-128), np.int8(127), np.int8(-128)]
    for kind in KINDS:
        trick, heap = kind(2, method="sign"), kind(2)
        trick.extend(values)
        heap.extend(values)
        assert trick.sorted() == heap.sorted()
    unsigned: BtmK[Any] = BtmK(2, method="sign")
    unsigned.extend([np.uint8(0), np.uint8(255), np.uint8(3)])
    assert unsigned.sorted() == [0, 3]
    flags: TopK[bool] = TopK(1, method="sign")
    flags.extend([False, True])
    assert flags.sorted() == [True]


# ---- what is refused
@pytest.mark.parametrize("k", [-1, np.int64(-3)])
def test_a_negative_k_is_refused(k: Any) -> None:
    for call in (lambda: TopK(k), lambda: BtmK(k), lambda: top_k([1], k), lambda: nlargest(k, np.ones(3))):
        with pytest.raises(ValueError, match=rf"expected k of at least 0, got {k}"):
            call()


def test_wrong_calls_say_what_is_right() -> None:
    wrong: list[tuple[Any, type[Exception], str]] = [
        (lambda: TopK(1.5), TypeError, "TopK: expected a whole number as k, got 1.5"),
        (lambda: top_k([1], "1"), TypeError, "top_k: expected a whole number as k, got '1'"),
        (lambda: TopK(1, nan="drop"), ValueError, "expected nan to be 'raise' or 'skip', got 'drop'"),
        (lambda: top_k([1], 1, nan="drop"), ValueError, "expected nan to be 'raise' or 'skip', got 'drop'"),
        (lambda: BtmK(1, method="minus"), ValueError, "expected method to be 'heap' or 'sign', got 'minus'"),
        (lambda: BtmK(1, method="sign").push("a"), TypeError, "real numbers, got 'a': method=\"heap\""),
        (lambda: TopK(2).peek(), IndexError, "peek at the TopK of an empty"),
        (lambda: top_k(np.ones((2, 2)), 1), ValueError, r"one axis, got shape \(2, 2\)"),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()


# ---- cost
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["heap", "sign"])
def test_memory_is_that_of_k_items(kind: Any, method: str) -> None:
    def peak(n: int) -> int:
        rng = random.Random(0)
        tracemalloc.start()
        try:
            kept = kind(100, method=method)
            kept.extend(rng.random() for _ in range(n))
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(30_000) <= 1.5 * peak(3_000) < 60_000  # of O(n) it would be 10


def test_the_compiled_scan_allocates_for_k_alone() -> None:
    x = np.random.default_rng(0).random(1 << 20)
    top_k(x, 10)
    tracemalloc.start()
    try:
        top_k(x, 10)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_most_items_cost_one_comparison() -> None:
    counter, n, k = Counter(), 20_000, 20
    values = list(range(n))
    random.Random(0).shuffle(values)
    kept: TopK[Any] = TopK(k)
    kept.extend(counter.keys(values))
    entered = k * (1 + math.log(n / k))  # how many beat the threshold, on average
    assert counter.since() <= n + 1.3 * entered * 2 * math.log2(k)
    kept = TopK(k)
    kept.extend(counter.keys(range(n)))  # each beats all before it
    assert counter.since() <= n * (2 * math.log2(k) + 1)


def test_a_stream_costs_a_fifth_of_sorting_it() -> None:
    counter, n, k = Counter(), 20_000, 100
    values = np.random.default_rng(0).random(n).tolist()
    kept: TopK[Any] = TopK(k)
    kept.extend(counter.keys(values))
    few = counter.since()
    assert [key.value for key in heap_sort(counter.keys(values), reverse=True)[:k]] == [
        key.value for key in kept.sorted()
    ]
    assert few <= counter.since() / 5

"""Heaps: what they do in any order of doing it, what they cost in comparisons, and what they refuse."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from operator import itemgetter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import heap_machines
from benchmarks.growth import Counter
from tinygrad_zoo.algorithms import compiled
from tinygrad_zoo.algorithms.heap_sort import heap_sort, k_way_merge
from tinygrad_zoo.algorithms.heaps import IndexedHeap, MaxHeap, MinHeap
from tinygrad_zoo.algorithms.pairing_heap import PairingHeap

KINDS: list[Any] = [MinHeap, MaxHeap]


@pytest.mark.parametrize("machine", heap_machines.MACHINES[:4], ids=lambda machine: machine.__name__)
def test_any_order_of_operations(machine: Any) -> None:
    heap_machines.run(machine)


@given(st.lists(st.integers(0, 9)))
def test_against_heapq(values: list[int]) -> None:
    heap, peer = MinHeap(values), list(values)
    heapq.heapify(peer)
    for x in values[::2]:
        assert heap.pushpop(x) == heapq.heappushpop(peer, x)
        assert heap.replace(x + 1) == heapq.heapreplace(peer, x + 1)
    assert [heap.pop() for _ in values] == [heapq.heappop(peer) for _ in values]


def test_no_heap_is_heapq() -> None:
    import sys

    users = [
        name
        for name, module in sys.modules.items()
        if name.startswith("tinygrad_zoo.algorithms")
        if hasattr(module, "heapq")
    ]
    assert users == []


# ---- comparisons
def orders(n: int) -> dict[str, list[int]]:
    """Rising, falling, with few different values, and at random."""
    mixed = list(range(n))
    random.Random(0).shuffle(mixed)
    return {"rising": list(range(n)), "falling": list(range(n))[::-1], "equal": [x % 3 for x in mixed], "mixed": mixed}


@pytest.mark.parametrize("order", orders(1))
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000, 1023, 1024])
def test_a_heap_is_built_with_two_comparisons_an_item(n: int, kind: Any, order: str) -> None:
    counter = Counter()
    heap = kind(counter.keys(orders(n)[order]))
    assert counter.since() <= 2 * n
    heap._check()


@pytest.mark.parametrize("order", orders(1))
@pytest.mark.parametrize("kind", KINDS)
def test_comparisons_of_every_step(kind: Any, order: str) -> None:
    counter, n = Counter(), 600
    heap = kind()
    for i, value in enumerate(orders(n)[order], 1):
        heap.push(counter.key(value))
        assert counter.since() <= math.log2(i) + 1
    heap.pushpop(counter.key(-1 if kind is MinHeap else n))
    assert counter.since() == 1
    for i in range(n, 0, -1):
        for step in (heap.pushpop, heap.replace):
            step(counter.key(n // 2))
            assert counter.since() <= 2 * math.log2(i) + 1
        heap.pop()
        assert counter.since() <= 2 * math.log2(i)


def test_comparisons_of_changes() -> None:
    counter, rng = Counter(), random.Random(0)
    heap: IndexedHeap[int] = IndexedHeap()
    for i in range(500):
        heap.push(i, counter.key(rng.random()))
    counter.since()
    for _ in range(500):
        heap.change(rng.randrange(500), counter.key(rng.random()))
        assert counter.since() <= 2 * math.log2(500) + 2
    pairs: PairingHeap[int] = PairingHeap()
    handles = [pairs.push(i, counter.key(rng.random())) for i in range(500)]
    assert counter.since() == 499
    for i, handle in enumerate(handles):
        pairs.change(handle, counter.key(-i))
        assert counter.since() <= 2  # one to see that it comes forward, one with the root
    other: PairingHeap[int] = PairingHeap()
    other.push(0, counter.key(0.5))
    pairs.merge(other)
    assert counter.since() == 1
    for _ in range(501):
        pairs.pop()
    assert counter.since() <= 501 * 2 * math.log2(501)


def test_few_are_pushed_and_many_are_built_anew() -> None:
    counter = Counter()
    heap = MinHeap(counter.keys(range(1000)))
    counter.since()
    heap.extend(counter.keys([-1, -2]))
    assert counter.since() <= 2 * math.log2(1002) + 2
    heap.extend(counter.keys(range(1000, 0, -1)))
    assert counter.since() <= 2 * 2002
    heap._check()


# ---- failures leave a heap as it was
class Stubborn:
    """Compares as its value, a number of times, and then raises."""

    patience = 10**9

    def __init__(self, value: int) -> None:
        self.value = value

    def __lt__(self, other: Stubborn) -> bool:
        if Stubborn.patience <= 0:
            raise ArithmeticError("no more")
        Stubborn.patience -= 1
        return self.value < other.value


@pytest.mark.parametrize("patience", range(12))
@pytest.mark.parametrize("step", ["push", "pop", "replace", "pushpop", "extend"])
def test_a_comparison_that_raises_leaves_a_heap_as_it_was(
    step: str, patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [Stubborn((7 * i) % 31) for i in range(31)]
    heap = MinHeap(values)
    before = list(heap)
    arguments: Any = {"pop": (), "extend": ([Stubborn(3)] * 31,)}.get(step, (Stubborn(40),))
    if step == "push":
        arguments = (Stubborn(-1),)
    monkeypatch.setattr(Stubborn, "patience", patience)
    try:
        getattr(heap, step)(*arguments)
    except ArithmeticError:
        monkeypatch.setattr(Stubborn, "patience", 10**9)
        assert list(heap) == before
    monkeypatch.setattr(Stubborn, "patience", 10**9)
    heap._check()


# ---- what is refused
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("method", ["pop", "peek", "replace"])
def test_an_empty_heap_says_so(kind: Any, method: str) -> None:
    with pytest.raises(IndexError, match=rf"{method} of an empty {kind.__name__}: ask `if heap:`"):
        getattr(kind(), method)(*([1] if method == "replace" else []))
    assert kind().pushpop(3) == 3


def test_nan_is_refused_everywhere_and_changes_nothing() -> None:
    heap: Any = MinHeap([1.0, 2.0])
    indexed: IndexedHeap[str] = IndexedHeap()
    pairing: PairingHeap[str] = PairingHeap()
    indexed.push("a", 1.0)
    handle = pairing.push("a", 1.0)
    for step in (
        lambda: heap.push(math.nan),
        lambda: heap.replace(math.nan),
        lambda: heap.pushpop(np.float32("nan")),
        lambda: heap.extend([0.0, math.nan]),
        lambda: indexed.push("b", math.nan),
        lambda: indexed.change("a", math.nan),
        lambda: pairing.push("b", math.nan),
        lambda: pairing.change(handle, math.nan),
        lambda: heap_sort([1.0, math.nan]),
        lambda: list(k_way_merge([1.0], [math.nan])),
        lambda: heap_sort(np.array([1.0, math.nan])),
        lambda: k_way_merge(np.array([1.0]), np.array([math.nan])),
    ):
        with pytest.raises(ValueError, match=r"NaN .*has no place in an order"):
            step()
    assert sorted(heap) == [1.0, 2.0] and indexed.pop() == ("a", 1.0) and pairing.pop() == ("a", 1.0)
    for whole in (heap, indexed, pairing):
        whole._check()


def test_wrong_calls_say_what_is_right() -> None:
    heap: Any = MinHeap([1])
    indexed: IndexedHeap[str] = IndexedHeap("max")
    indexed.push("a", 1)
    pairing, other = PairingHeap[str](), PairingHeap[str]()
    handle = pairing.push("a", 1)
    gone = pairing.push("b", 0)
    assert pairing.pop() == ("b", 0)
    wrong: list[tuple[Any, type[Exception], str]] = [
        (
            lambda: heap.merge(MaxHeap([1])),
            TypeError,
            "expected a MinHeap, got MaxHeap; other items are added by extend",
        ),
        (lambda: heap.push("a"), TypeError, "not supported"),
        (lambda: IndexedHeap("least"), ValueError, "expected order to be 'min' or 'max', got 'least'"),  # type: ignore[arg-type]
        (lambda: indexed.push("a", 2), ValueError, "'a' is in this heap already: change"),
        (lambda: indexed.change("b", 2), KeyError, "'b' is not in this heap: push it first"),
        (lambda: indexed.remove("b"), KeyError, "'b' is not in this heap"),
        (lambda: indexed["b"], KeyError, "'b' is not in this heap"),
        (lambda: indexed.decrease_key("a", 2), ValueError, "2 is more than 1, the key of 'a'"),
        (lambda: indexed.increase_key("a", 0), ValueError, "0 is less than 1, the key of 'a'"),
        (lambda: IndexedHeap().pop(), IndexError, "pop of an empty IndexedHeap"),
        (lambda: IndexedHeap().peek(), IndexError, "peek of an empty IndexedHeap"),
        (lambda: PairingHeap("least"), ValueError, "expected order to be 'min' or 'max'"),  # type: ignore[arg-type]
        (lambda: PairingHeap().pop(), IndexError, "pop of an empty PairingHeap"),
        (lambda: PairingHeap().peek(), IndexError, "peek of an empty PairingHeap"),
        (lambda: other.change(handle, 0), ValueError, "is in another heap"),
        (lambda: pairing.change(gone, 0), ValueError, "no longer in a heap.* has left its heap"),
        (lambda: pairing.remove(gone), ValueError, "has left its heap"),
        (lambda: pairing.merge(PairingHeap("max")), TypeError, "expected a PairingHeap of order 'min'"),
        (lambda: pairing.merge(pairing), ValueError, "its own items"),
        (
            lambda: heap_sort(np.ones((2, 2))),
            ValueError,
            r"heap_sort: expected an array with one axis, got shape \(2, 2\)",
        ),
    ]
    for call, error, message in wrong:
        with pytest.raises(error, match=message):
            call()
    for whole in (heap, indexed, pairing, other):
        whole._check()
        assert len(whole) == (whole is not other)


def test_a_heap_merged_with_itself() -> None:
    heap = MinHeap([2, 1])
    heap.merge(heap)
    heap._check()
    assert [heap.pop() for _ in range(4)] == [1, 1, 2, 2]


def test_a_pairing_heap_of_one_long_chain_needs_no_stack() -> None:
    heap: PairingHeap[int] = PairingHeap()
    for i in range(20_000, 0, -1):
        heap.push(i, i)
    heap._check()
    assert sum(1 for _ in heap) == 20_000 and heap.pop() == (1, 1)


# ---- sorting and merging
ARRAYS = ["float64", "float32", "float16", "int64", "int8", "uint64", "uint8", "bool"]


def numbers(dtype: str, n: int, seed: int) -> Any:
    """Numbers of any size of the dtype, some of them equal."""
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return np.where(rng.random(n) < 0.5, rng.integers(-2, 3, n), rng.standard_normal(n) * 1e3).astype(dtype)
    if dtype == "bool":
        return rng.integers(0, 2, n).astype(bool)
    limits = np.iinfo(dtype)
    edges = np.array([limits.min, limits.max, 0, 1], dtype)
    return np.where(rng.random(n) < 0.5, edges[rng.integers(0, 4, n)], rng.integers(limits.min, limits.max, n, dtype))


@given(st.lists(st.tuples(st.integers(0, 4), st.integers())), st.booleans())
def test_heap_sort_is_sorted(pairs: list[tuple[int, int]], reverse: bool) -> None:
    assert heap_sort(pairs, reverse=reverse) == sorted(pairs, reverse=reverse)
    by_first: Any = itemgetter(0)
    assert heap_sort(pairs, key=by_first, reverse=reverse) == sorted(pairs, key=by_first, reverse=reverse)


@given(st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers())), max_size=5), st.booleans())
def test_merging_is_that_of_heapq(runs: list[list[tuple[int, int]]], reverse: bool) -> None:
    by_first: Any = itemgetter(0)
    runs = [sorted(run, key=by_first, reverse=reverse) for run in runs]
    expected = list(heapq.merge(*runs, key=by_first, reverse=reverse))
    assert list(k_way_merge(*runs, key=by_first, reverse=reverse)) == expected
    assert list(k_way_merge(*map(iter, runs), key=by_first, reverse=reverse)) == expected


@pytest.mark.parametrize("form", ["compiled", "readable"])
@pytest.mark.parametrize("dtype", ARRAYS)
def test_arrays_are_sorted_and_merged(dtype: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if form == "readable":
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    for n in (0, 1, 2, 3, 100):
        x = numbers(dtype, 2 * n, n)[::2]  # not contiguous
        before = x.copy()
        for reverse in (False, True):
            expected = np.sort(x)[::-1] if reverse else np.sort(x)
            made: Any = heap_sort(x, reverse=reverse)
            assert made.dtype == x.dtype and np.array_equal(made, expected) and np.array_equal(x, before)
            cuts = [0, n // 3, n // 3, n]
            runs = [heap_sort(x[a:b], reverse=reverse) for a, b in itertools.pairwise(cuts)]
            merged: Any = k_way_merge(*runs, reverse=reverse)
            assert merged.dtype == x.dtype and np.array_equal(merged, expected)


def test_merging_reads_no_further_than_it_must() -> None:
    read: list[int] = []

    def run(start: int) -> Any:
        for i in range(start, start + 100):
            read.append(i)
            yield i

    merged = k_way_merge(run(0), run(50))
    assert [next(merged) for _ in range(10)] == list(range(10))
    assert len(read) == 11


def test_mixed_arrays_are_merged_in_their_common_dtype() -> None:
    merged: Any = k_way_merge(np.array([1, 3], np.int8), np.array([1.5, 2.5], np.float32))
    assert merged.dtype == np.float32 and merged.tolist() == [1, 1.5, 2.5, 3]
    assert list(k_way_merge()) == [] and list(k_way_merge([], [])) == []
    assert list(k_way_merge(np.array([1, 4]), [2])) == [1, 2, 4]


@settings(max_examples=30)
@given(st.lists(st.integers(-5, 5), max_size=40), st.integers(1, 5))
def test_compiled_and_readable_merging_agree(values: list[int], k: int) -> None:
    runs = [sorted(values[i::k]) for i in range(k)]
    merged: Any = k_way_merge(*[np.array(run, np.int64) for run in runs])
    assert merged.tolist() == list(k_way_merge(*runs))


def test_compiled_loops_are_chosen_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert compiled.enabled()
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert not compiled.enabled()
    monkeypatch.delenv("NUMBA_DISABLE_JIT")
    monkeypatch.setattr(compiled.importlib.util, "find_spec", lambda name: None)
    assert not compiled.enabled()

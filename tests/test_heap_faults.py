"""The tests of heaps, top-k and medians notice what they are there for: faults are planted, and each is found."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import heap_machines
import test_heaps
import test_huffman
import test_running_median
import test_top_k
from planting import planted
from tinygrad_zoo.algorithms import heap_sort, heaps, huffman, pairing_heap, running_median, top_k
from tinygrad_zoo.algorithms.compiled import heaps as loops_of_heaps
from tinygrad_zoo.algorithms.compiled import medians as loops_of_medians
from tinygrad_zoo.algorithms.compiled import top_k as loops_of_top_k

EXAMPLES = 60


def machine(kind: Any) -> Callable[[], None]:
    return lambda: heap_machines.run(kind, examples=EXAMPLES, steps=12)


def costs() -> None:
    for order in test_heaps.orders(1):
        test_heaps.test_comparisons_of_every_step(heaps.MinHeap, order)
        test_heaps.test_a_heap_is_built_with_two_comparisons_an_item(1000, heaps.MinHeap, order)


def codes() -> None:
    for weights in ((1, 1, 1, 1, 1), (1, 1, 2, 4, 9), (2, 3, 3, 3, 4, 8)):
        code = huffman.HuffmanCode(dict(enumerate(weights)))
        assert sum(weights[i] * len(word) for i, word in code.codes.items()) == test_huffman.shortest(weights)
        assert code.decode(code.encode(range(len(weights)))) == list(range(len(weights)))


def removals() -> None:
    """From a heap so large that what fills the hole may belong above it."""
    rng = random.Random(0)
    heap: heaps.IndexedHeap[int] = heaps.IndexedHeap()
    for i in range(200):
        heap.push(i, rng.random())
    for i in rng.sample(range(200), 150):
        heap.remove(i)
        heap._check()


def quantiles_are_not_rounded() -> None:
    for q in (0.1, 0.3, 1 / 3, 0.57):
        test_running_median.test_where_a_quantile_stands_is_not_rounded(q)


def merging() -> None:
    runs = [[0, 3, 3], [1, 3], [2, 3, 9]]
    pairs = [[(x, i) for x in run] for i, run in enumerate(runs)]
    merged = list(heap_sort.k_way_merge(*pairs, key=lambda pair: pair[0]))
    assert merged == sorted((pair for run in pairs for pair in run), key=lambda pair: pair[0])


# Module, class ("" for a function), method, the text in it, what it becomes, what notices.
FAULTS: dict[str, tuple[Any, str, str, str, str, Callable[[], None]]] = {
    # ---- heaps
    "equals: the latest first": (
        heaps,
        "",
        "_smaller",
        "a[1] < b[1]",
        "a[1] > b[1]",
        machine(heap_machines.HeapMachine),
    ),
    "a min-heap in a max-heap": (
        heaps,
        "",
        "_larger",
        "b[0] < a[0]",
        "a[0] < b[0]",
        machine(heap_machines.MaxHeapMachine),
    ),
    **{
        f"sift: {old} -> {new}": (heaps, "Entries", method, old, new, machine(heap_machines.HeapMachine))
        for method, old, new in [
            ("_rise", "while place and", "if place and"),
            ("_rise", "while place and", "while place > 1 and"),
            ("_rise", "before(entry, entries[(place - 1) // 2])", "before(entry, entries[place // 2])"),
            ("_rise", "while i > place", "while i > place + 1"),
            ("_rise", "entries[place] = entry", "entries[hole] = entry"),
            ("_sink", "2 * place + 1) < n", "2 * place + 2) < n"),
            ("_sink", "2 * place + 1) < n", "2 * place + 1) < n - 1"),
            ("_sink", "child + 1 < n and ", ""),
            ("_sink", "before(entries[child + 1], entries[child])", "before(entries[child], entries[child + 1])"),
            ("_sink", "before(entries[child + 1], entries[child])", "True"),
            ("_sink", "while place > hole and before(entry, entries[place])", "while False"),
            ("_sink", "while place > hole and", "while place > hole + 1 and"),
            ("_sink", "while i > hole", "while i > hole + 1"),
            ("_remove", "len(self._entries) - 1", "len(self._entries) - 2"),
        ]
    },
    "built but for one": (
        heaps,
        "_Heap",
        "extend",
        "range(n // 2)",
        "range(1, n // 2)",
        machine(heap_machines.HeapMachine),
    ),
    "built from the top": (
        heaps,
        "_Heap",
        "extend",
        "reversed(range(n // 2))",
        "range(n // 2)",
        machine(heap_machines.HeapMachine),
    ),
    "not built": (heaps, "_Heap", "extend", "range(n // 2)", "range(0)", machine(heap_machines.HeapMachine)),
    "built by pushing": (heaps, "_Heap", "extend", "len(new) * n.bit_length() <= 2 * n", "True", costs),
    "pushpop without the push": (
        heaps,
        "_Heap",
        "pushpop",
        "return item",
        "return self._entries[0][2]",
        machine(heap_machines.HeapMachine),
    ),
    "pushpop that always sinks": (
        heaps,
        "_Heap",
        "pushpop",
        "self._before(entry, self._entries[0])",
        "False",
        machine(heap_machines.HeapMachine),
    ),
    "replace by the bottom": (
        heaps,
        "_Heap",
        "replace",
        "0, n)[2]",
        "n - 1, n)[2]",
        machine(heap_machines.HeapMachine),
    ),
    "merging in the heap's order": (
        heaps,
        "_Heap",
        "merge",
        "sorted(other._entries, key=lambda entry: entry[1])",
        "other._entries",
        machine(heap_machines.HeapMachine),
    ),
    **{
        f"index: {method}: {old} -> {new}": (
            heaps,
            "IndexedHeap",
            method,
            old,
            new,
            machine(heap_machines.IndexedMachine),
        )
        for method, old, new in [
            ("_moved", "if bottom == top:", "if True:"),
            ("_taken", "del self._places[item]", "pass"),
            ("change", "if place and self._before(entry, self._entries[(place - 1) // 2]):", "if True:"),
            ("change", "if place and self._before(entry, self._entries[(place - 1) // 2]):", "if False:"),
            ("change", "self._entries[place][1]", "self._pushed + 1"),
            ("push", "self._pushed += 1", "pass"),
        ]
    },
    "index: the last always sinks": (
        heaps,
        "Entries",
        "_remove",
        "if hole and self._before(last, entries[(hole - 1) // 2]):",
        "if False:",
        removals,
    ),
    "merge: of equals the later run": (
        heap_sort,
        "",
        "_merged",
        "following)), number, following)",
        "following)), -number, following)",
        merging,
    ),
    "merge: a run that ends stays": (heap_sort, "", "_merged", "heap._remove(0)", "return", merging),
    # ---- pairing heaps
    **{
        f"pairing: {method}: {old} -> {new}": (
            pairing_heap,
            "PairingHeap",
            method,
            old,
            new,
            machine(heap_machines.PairingMachine),
        )
        for method, old, new in [
            ("_joined", "a, b = b, a", "pass"),
            ("_joined", "a._child._previous = b", "pass"),
            ("_joined", "b._previous, b._next = a, a._child", "b._previous, b._next = a, None"),
            ("_paired", "pairs.append(self._joined(child, second))", "pairs.append(child)"),
            ("_paired", "root = self._joined(root, pair)", "root = pair"),
            ("_cut", "if previous._child is handle:", "if False:"),
            ("_cut", "handle._next._previous = previous", "pass"),
            ("_cut", "if not with_children:", "if False:"),
            ("change", "with_children=not later", "with_children=True"),
            ("merge", "self._n += other._n", "pass"),
            ("merge", "other._owner.now = self._owner", "pass"),
            ("_left", "self._n -= 1", "pass"),
        ]
    },
    # ---- top-k
    **{
        f"top-k: {method}: {old} -> {new}": (top_k, "_Best", method, old, new, machine(heap_machines.TopKMachine))
        for method, old, new in [
            ("push", "len(heap) < self.k", "len(heap) <= self.k"),
            ("push", "len(heap) < self.k", "len(heap) < self.k - 1"),
            ("push", "elif self.k and", "elif"),
            ("push", "-heap._pushed", "heap._pushed"),
            ("push", "heap._before(heap._entries[0], entry)", "heap._before(entry, heap._entries[0])"),
            ("push", "heap._before(heap._entries[0], entry)", "True"),
            ("push", "negated(key) if self._sign else key", "key"),
            ("sorted", "[::-1]", ""),
        ]
    },
    "top-k: integers of NumPy negated": (
        top_k,
        "",
        "negated",
        "-int(key)",
        "-key",
        test_top_k.test_the_sign_trick_has_no_overflow,
    ),
    # ---- medians
    **{
        f"median: {owner}.{method}: {old} -> {new}": (
            running_median,
            owner,
            method,
            old,
            new,
            machine(heap_machines.MedianMachine),
        )
        for owner, method, old, new in [
            ("_Halves", "_add", "self._lower.push(self._upper.pushpop(x))", "self._lower.push(x)"),
            ("_Halves", "_add", "self._upper.push(self._lower.pushpop(x))", "self._upper.push(x)"),
            ("RunningMedian", "add_num", "len(self._lower) == len(self._upper)", "True"),
            ("RunningMedian", "add_num", "len(self._lower) == len(self._upper)", "not self._upper"),
            ("RunningMedian", "find_median", "len(self._lower) > len(self._upper)", "True"),
            ("RunningQuantile", "add_num", "len(self))", "len(self) - 1)"),
            ("RunningQuantile", "find_quantile", "low + step * part", "low + step * (1 - part)"),
            ("SlidingMedian", "add_num", "self._below -= self._is_below[slot]", "pass"),
            ("SlidingMedian", "add_num", "while self._below < share:", "while False:"),
            ("SlidingMedian", "add_num", "while self._below > share:", "while False:"),
            ("SlidingMedian", "add_num", "(len(self) + 1) // 2", "len(self) // 2 + 1"),
            ("SlidingMedian", "_put", "len(heap) > 2 * self.window", "False"),
            ("SlidingMedian", "_is_here", "self._came - self.window", "self._came - self.window - 1"),
            ("SlidingMedian", "_top", "not self._is_here(heap.peek())", "heap.peek()[1] < 0"),
        ]
    },
    "median: means overflow": (
        running_median,
        "",
        "midpoint",
        "x.item() if isinstance(x, np.generic) else x",
        "x",
        test_running_median.test_means_of_numbers_of_numpy_do_not_overflow,
    ),
    "median: large floats overflow": (
        running_median,
        "",
        "midpoint",
        "math.isinf(middle)",
        "False",
        test_running_median.test_means_of_large_and_infinite_floats,
    ),
    "median: sums of integers": (
        running_median,
        "",
        "_midpoints",
        "(a >> 1) + (b >> 1) + (a & b & 1)",
        "(a + b) >> 1",
        test_running_median.test_means_of_large_integers_are_those_of_python,
    ),
    "median: half of an odd sum": (
        running_median,
        "",
        "_midpoints",
        "(a & b & 1)",
        "0",
        test_running_median.test_means_of_large_integers_are_those_of_python,
    ),
    "median: floats of whole numbers": (
        running_median,
        "",
        "_midpoints",
        "(floor >> 32).astype(np.float64) * 2.0**32 + low",
        "floor.astype(np.float64) + 0.5 * ((a ^ b) & 1)",
        test_running_median.test_means_of_large_integers_are_those_of_python,
    ),
    **{
        f"quantiles of arrays: {function}: {old} -> {new}": (running_median, "", function, old, new, check)
        for function, old, new, check in [
            ("_places", "+ lost", "", quantiles_are_not_rounded),
            ("_places", "place -= part < 0", "", quantiles_are_not_rounded),
            ("_places", "2.0**27 + 1) - q)", "2.0**30 + 1) - q)", quantiles_are_not_rounded),
            (
                "_between",
                "(part == 0.5)",
                "False",
                test_running_median.test_means_of_large_integers_are_those_of_python,
            ),
            ("_between", "np.isinf(step)", "False", test_running_median.test_quantiles_of_large_and_infinite_numbers),
            ("_between", "(low == high)", "False", test_running_median.test_quantiles_of_large_and_infinite_numbers),
            (
                "_between",
                "compiled.restored(x, dtype)",
                "x",
                test_running_median.test_quantiles_of_large_and_infinite_numbers,
            ),
        ]
    },
    # ---- Huffman
    "huffman: not the lightest": (
        huffman,
        "",
        "huffman_tree",
        "key=lambda tree: tree.weight",
        "key=lambda tree: -tree.weight",
        codes,
    ),
    "huffman: weights of one": (huffman, "", "huffman_tree", "left.weight + right.weight", "left.weight", codes),
    "huffman: one word twice": (huffman, "", "_leaves", 'word + "1"', 'word + "0"', codes),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    *place, check = FAULTS[fault]
    module, name, made = planted(*place)
    monkeypatch.setattr(module, name, made)
    if name in ("_smaller", "_larger"):
        monkeypatch.setitem(heaps.BEFORE, "min" if name == "_smaller" else "max", made)
    with pytest.raises(Exception):  # noqa: B017 - an assertion, or whatever a broken structure leads to
        check()


@pytest.mark.parametrize("check", [costs, codes, removals, merging, quantiles_are_not_rounded])
def test_without_faults_nothing_is_noticed(check: Callable[[], None]) -> None:
    check()


# ---- compiled loops: their source, not compiled
LOOPS: dict[str, tuple[Any, str, str, str]] = {
    f"{module.__name__.rpartition('.')[2]}.{function}: {old} -> {new}": (module, function, old, new)
    for module, function, old, new in [
        (loops_of_heaps, "sort", "h.size // 2 - 1", "h.size // 2 - 2"),
        (loops_of_heaps, "sort", "range(h.size - 1, 0, -1)", "range(h.size - 1, 1, -1)"),
        (loops_of_heaps, "_sink", "child + 1 < n and h[child]", "child + 1 < n - 1 and h[child]"),
        (loops_of_heaps, "_sink", "while child < n", "while child < n - 1"),
        (loops_of_heaps, "_sink", "while place > hole and", "while place > hole + 1 and"),
        (loops_of_heaps, "merge", "n // 2 - 1", "n // 2 - 2"),
        (loops_of_heaps, "merge", "n -= 1", "pass"),
        (loops_of_heaps, "_settle", "child + 1 < n and", "child + 2 < n and"),
        (loops_of_heaps, "_precedes", "a > b", "a < b"),
        (loops_of_top_k, "select", "part + 1]", "part + 1] - 1"),
        (loops_of_top_k, "scan", "2 * k + PART", "2 * k"),
        (loops_of_top_k, "scan", "value > threshold if largest", "value < threshold if largest"),
        (loops_of_top_k, "scan", "value < threshold)", "value > threshold)"),
        (loops_of_top_k, "scan", "missing = i", "pass"),
        (loops_of_top_k, "scan", "if n > k:", "if False:"),
        (loops_of_top_k, "_beats", "not (block[i] <= threshold)", "block[i] > threshold"),
        (loops_of_top_k, "_beats", "not (block[i] >= threshold)", "block[i] < threshold"),
        (
            loops_of_top_k,
            "_beats",
            "range(block.size):\n            found |= not (block[i] <= ",
            "range(1, block.size):\n            found |= not (block[i] <= ",
        ),
        (loops_of_top_k, "_compact", "n - k if largest", "n - k + 1 if largest"),
        (loops_of_top_k, "_compact", "equals -= 1", "pass"),
        (loops_of_top_k, "_compact", "equals = k - better", "equals = n"),
        (loops_of_top_k, "_nth", "place <= j", "place < j"),
        (loops_of_medians, "running", "ordered[m - 1]", "ordered[0]"),
        (loops_of_medians, "running", "value < ordered[place - 1]", "value > ordered[place - 1]"),
        (loops_of_medians, "running", "if first < a:", "if first < a - 1:"),
        (loops_of_medians, "running", "elif last >= a + m:", "elif last > a + m:"),
        (loops_of_medians, "running", "if m == MIDDLE:", "if m == MIDDLE + 1:"),
        (loops_of_medians, "_part_with", "ordered[m - 1 - j]", "ordered[m - 1]"),
        (loops_of_medians, "_rise_large", "h[(place - 1) // 2] < value", "value < h[(place - 1) // 2]"),
        (loops_of_medians, "_rise_small", "while place and", "while place > 1 and"),
        (loops_of_medians, "_sink_large", "h[child] <= value", "h[child] >= value"),
        (loops_of_medians, "_sink_small", "child + 1 < n and", "child + 2 < n and"),
        (loops_of_medians, "sliding", "b and upper[0] < entering", "False"),
        (loops_of_medians, "sliding", "if entering < lower[0]:", "if False:"),
        (loops_of_medians, "sliding", "(i - 1) % window", "i % window"),
        (loops_of_medians, "sliding", "-1 - place, entering", "0, entering"),
        (loops_of_medians, "_put", "-1 - place if above", "-place if above"),
        (loops_of_medians, "_settle", "if place == start:", "if False:"),
        (loops_of_medians, "_settle", "while place:", "while False:"),
        (loops_of_medians, "_settle", "child + 1 < h.size and", "child + 2 < h.size and"),
    ]
}


def uncompiled(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in vars(module).copy().items():
        if hasattr(value, "py_func"):
            monkeypatch.setattr(module, name, value.py_func)


def check_loops(module: Any) -> None:
    """Small arrays, of few values and of many, against sorting."""
    rng = np.random.default_rng(0)
    for n in [*range(1, 9), *range(20, 50), *[150] * 5]:
        steps = np.cumsum(rng.integers(-3, 4, n))
        there = np.concatenate([rng.permutation(n - n // 2) + 5 * n, rng.permutation(n // 2)])  # high first, then low
        for x in (rng.integers(0, 4, n), rng.permutation(n), np.arange(n), -np.arange(n), steps, there, -there):
            ordered = np.sort(x)
            if module is loops_of_heaps:
                assert np.array_equal(module.sort(x), ordered)
                cuts = np.sort(rng.integers(0, n + 1, 4))
                ends = np.array([0, *cuts, n])
                for sign in (1, -1):
                    runs = sign * np.concatenate([np.sort(part) for part in np.split(x, cuts)])
                    assert np.array_equal(module.merge(runs, ends, sign < 0), sign * ordered)
            elif module is loops_of_top_k:
                for k in {1, 2, n // 3 or 1, n}:
                    for sign in (1, -1):
                        values, indices, missing = module.select(x.astype(float), k, sign < 0)
                        best = np.argsort(sign * x, kind="stable")[:k]
                        assert missing == -1 and np.array_equal(values, x[indices]) and np.all(np.diff(indices) > 0)
                        assert set(best) <= set(indices)
                        values, indices, missing = module.scan(x.astype(float), 0, n, k, sign < 0)
                        assert missing == -1 and np.array_equal(indices, np.sort(best))
                        hole = x.astype(float)
                        hole[n - 1] = math.nan
                        assert module.select(hole, k, sign < 0)[2] == n - 1
            else:
                low, high = module.running(x, np.arange(x.size) // 2, np.arange(1, x.size + 1) // 2)
                assert ((low + high) / 2).tolist() == [float(np.median(x[: i + 1])) for i in range(n)]
                for window in {1, min(2, n), n // 2 or 1, n}:
                    low, high = module.sliding(x, np.argsort(x[:window]), window)
                    windows = np.lib.stride_tricks.sliding_window_view(x, window)
                    assert np.array_equal((low + high) / 2, np.median(windows, axis=1))


def small(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks and buffers so small that a short array fills them."""
    if module is loops_of_top_k:
        for name, value in (("BLOCK", 8), ("PART", 4), ("SHARE", 50)):
            monkeypatch.setattr(module, name, value)
        monkeypatch.setattr(module.numba.config, "NUMBA_NUM_THREADS", 2)
    if module is loops_of_medians:
        monkeypatch.setattr(module, "MIDDLE", 8)


@pytest.mark.parametrize("fault", LOOPS)
def test_a_fault_of_a_loop_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, function, old, new = LOOPS[fault]
    place = planted(module, "", function, old, new)
    uncompiled(module, monkeypatch)
    small(module, monkeypatch)
    monkeypatch.setattr(*place)
    with pytest.raises((AssertionError, IndexError, ValueError)):
        check_loops(module)


@pytest.mark.parametrize(
    "module", [loops_of_heaps, loops_of_top_k, loops_of_medians], ids=lambda module: module.__name__
)
def test_without_faults_no_loop_is_wrong(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    check_loops(module)
    uncompiled(module, monkeypatch)
    small(module, monkeypatch)
    check_loops(module)


def test_the_faults_are_many() -> None:
    assert len(FAULTS) + len(LOOPS) > 100

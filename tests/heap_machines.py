"""Machines that do whatever can be done with a heap, a top-k or a median, and compare with the obvious way."""

from __future__ import annotations

import math
import statistics
from fractions import Fraction
from operator import itemgetter
from typing import Any, ClassVar

import numpy as np
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tinygrad_zoo.algorithms.heaps import IndexedHeap, MaxHeap, MinHeap
from tinygrad_zoo.algorithms.pairing_heap import Handle, PairingHeap
from tinygrad_zoo.algorithms.running_median import RunningMedian, RunningQuantile, SlidingMedian
from tinygrad_zoo.algorithms.top_k import BtmK, TopK

KEYS = st.integers(0, 6)
NUMBERS = st.integers(-4, 4) | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**20), 10**20)


def leaves_first(order: str, items: Any) -> Any:
    """Of pairs (key, age) with its key at 0 and its age at 1, the one that a heap gives up first."""
    return min(items, key=lambda pair: (pair[0] if order == "min" else -pair[0], pair[1]))


class HeapMachine(RuleBasedStateMachine):
    """Items are pairs (key, age); the model is the list of them."""

    kind: ClassVar[Any] = MinHeap
    order: ClassVar[str] = "min"

    @initialize(keys=st.lists(KEYS, max_size=12))
    def build(self, keys: list[int]) -> None:
        self.age = 0
        self.model = [self.item(key) for key in keys]
        self.heap = self.kind(self.model, key=itemgetter(0))

    def item(self, key: int) -> tuple[int, int]:
        self.age += 1
        return key, self.age

    def gone(self) -> tuple[int, int]:
        first: tuple[int, int] = leaves_first(self.order, self.model)
        self.model.remove(first)
        return first

    @rule(key=KEYS)
    def push(self, key: int) -> None:
        self.model.append(self.item(key))
        self.heap.push(self.model[-1])

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        assert self.heap.pop() == self.gone()

    @precondition(lambda self: self.model)
    @rule(key=KEYS)
    def replace(self, key: int) -> None:
        first = self.gone()
        self.model.append(self.item(key))
        assert self.heap.replace(self.model[-1]) == first

    @rule(key=KEYS)
    def pushpop(self, key: int) -> None:
        self.model.append(self.item(key))
        assert self.heap.pushpop(self.model[-1]) == self.gone()

    @rule(keys=st.lists(KEYS, max_size=9), merge=st.booleans())
    def add(self, keys: list[int], merge: bool) -> None:
        new = [self.item(key) for key in keys]
        self.model += new
        if merge:
            other = self.kind(new, key=itemgetter(0))
            self.heap.merge(other)
            assert sorted(other) == sorted(new)
        else:
            self.heap.extend(iter(new))

    @invariant()
    def agree(self) -> None:
        self.heap._check()
        assert sorted(self.heap) == sorted(self.model) and len(self.heap) == len(self.model)
        if self.model:
            assert self.heap.peek() == next(iter(self.heap)) == leaves_first(self.order, self.model)

    def teardown(self) -> None:
        while getattr(self, "model", None):
            self.pop()
            self.heap._check()


class MaxHeapMachine(HeapMachine):
    kind, order = MaxHeap, "max"


class IndexedMachine(RuleBasedStateMachine):
    """The model maps an item to its key and age."""

    @initialize(order=st.sampled_from(["min", "max"]))
    def build(self, order: Any) -> None:
        self.heap: IndexedHeap[str] = IndexedHeap(order)
        self.model: dict[str, tuple[int, int]] = {}
        self.order, self.age = order, 0

    @rule(item=st.sampled_from("abcdefghijklmnop"), key=KEYS, how=st.sampled_from(["change", "decrease", "remove"]))
    def put(self, item: str, key: int, how: str) -> None:
        self.age += 1
        if item not in self.model:
            self.heap.push(item, key)
            self.model[item] = key, self.age
        elif how == "remove":
            assert self.heap.remove(item) == self.model.pop(item)[0]
        else:
            old, age = self.model[item]
            if how == "change":
                self.heap.change(item, key)
            else:
                (self.heap.decrease_key if key <= old else self.heap.increase_key)(item, key)
            self.model[item] = key, age

    @precondition(lambda self: self.model)
    @rule()
    def pop(self) -> None:
        key, age = leaves_first(self.order, self.model.values())
        item = next(item for item, value in self.model.items() if value == (key, age))
        assert self.heap.peek() == (item, key)
        assert self.heap.pop() == (item, key)
        del self.model[item]

    @invariant()
    def agree(self) -> None:
        self.heap._check()
        assert {item: self.heap[item] for item in self.heap} == {item: key for item, (key, _) in self.model.items()}
        assert len(self.heap) == len(self.model) and all(item in self.heap for item in self.model)

    def teardown(self) -> None:
        while getattr(self, "model", None):
            self.pop()
            self.heap._check()


class PairingMachine(RuleBasedStateMachine):
    """Two heaps; the model of each maps a handle to its key and age."""

    @initialize(order=st.sampled_from(["min", "max"]))
    def build(self, order: Any) -> None:
        self.order, self.age = order, 0
        self.heaps: list[PairingHeap[int]] = [PairingHeap(order), PairingHeap(order)]
        self.models: list[dict[Handle[int], tuple[int, int]]] = [{}, {}]

    @rule(which=st.integers(0, 1), keys=st.lists(KEYS, min_size=1, max_size=6))
    def push(self, which: int, keys: list[int]) -> None:
        for key in keys:
            self.age += 1
            self.models[which][self.heaps[which].push(self.age, key)] = key, self.age

    @rule(which=st.integers(0, 1), at=st.integers(0, 99), key=KEYS, remove=st.booleans())
    def change(self, which: int, at: int, key: int, remove: bool) -> None:
        model = self.models[which]
        if model:
            handle = list(model)[at % len(model)]
            old, age = model[handle]
            if remove:
                assert self.heaps[which].remove(handle) == old
                del model[handle]
            else:
                self.heaps[which].change(handle, key)
                model[handle] = key, age

    @rule(which=st.integers(0, 1))
    def merge(self, which: int) -> None:
        self.heaps[which].merge(self.heaps[1 - which])
        self.models[which] |= self.models[1 - which]
        self.models[1 - which] = {}

    @rule(which=st.integers(0, 1))
    def pop(self, which: int) -> None:
        model = self.models[which]
        if model:
            key, age = leaves_first(self.order, model.values())
            assert self.heaps[which].peek() == self.heaps[which].pop() == (age, key)
            del model[next(handle for handle, value in model.items() if value == (key, age))]

    @invariant()
    def agree(self) -> None:
        for heap, model in zip(self.heaps, self.models, strict=True):
            heap._check()
            assert sorted(heap) == sorted(age for _, age in model.values()) and len(heap) == len(model)

    def teardown(self) -> None:
        for which, model in enumerate(getattr(self, "models", ())):
            while model:
                self.pop(which)
                self.heaps[which]._check()


class TopKMachine(RuleBasedStateMachine):
    """Pairs (key, age) and plain numbers, through all four ways at once; the model is the stream."""

    @initialize(k=st.integers(0, 6))
    def build(self, k: int) -> None:
        self.k = k
        self.pairs: list[tuple[int, int]] = []
        self.numbers: list[Any] = []
        first: Any = itemgetter(0)
        methods: list[Any] = ["heap", "sign"]
        self.kept: list[tuple[bool, Any, Any]] = [
            (kind is TopK, kind(k, key=first, method=method), kind(k, method=method))
            for kind in (TopK, BtmK)
            for method in methods
        ]

    @rule(keys=st.lists(KEYS, max_size=5), how=st.sampled_from(["push", "extend", "array"]))
    def add(self, keys: list[int], how: str) -> None:
        new = [(key, len(self.pairs) + i) for i, key in enumerate(keys)]
        self.pairs += new
        self.numbers += keys
        for _, pairs, numbers in self.kept:
            pairs.extend(new)
            if how == "push":
                for key in keys:
                    numbers.push(key)
            else:
                numbers.extend(np.array(keys, np.int64) if how == "array" else iter(keys))

    @invariant()
    def agree(self) -> None:
        for largest, pairs, numbers in self.kept:
            pairs._check()
            best = sorted(self.pairs, key=itemgetter(0), reverse=largest)[: self.k]
            assert pairs.sorted() == best and sorted(pairs) == sorted(best) and len(pairs) == len(best)
            assert numbers.sorted() == [key for key, _ in best]
            if best:
                assert numbers.peek() == best[-1][0]


class MedianMachine(RuleBasedStateMachine):
    """All numbers, the last few and a quantile; the model is the stream."""

    @initialize(window=st.integers(1, 6), q=st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.99, 1.0]) | st.floats(0, 1))
    def build(self, window: int, q: float) -> None:
        self.stream: list[Any] = []
        self.window, self.q = window, q
        self.median, self.sliding, self.quantile = RunningMedian(), SlidingMedian(window), RunningQuantile(q)

    @rule(numbers=st.lists(NUMBERS, min_size=1, max_size=8), order=st.sampled_from(["as it is", "rising", "falling"]))
    def add(self, numbers: list[Any], order: str) -> None:
        if order != "as it is":
            numbers.sort(reverse=order == "falling")
        for number in numbers:
            self.stream.append(number)
            for finder in (self.median, self.sliding, self.quantile):
                finder.add_num(number)
                finder._check()
            assert close(self.sliding.find_median(), self.stream[-self.window :])
        assert close(self.median.find_median(), self.stream)
        assert len(self.sliding) == min(self.window, len(self.stream))
        scale = max(abs(float(x)) for x in self.stream)  # for what is lost where numbers of both signs are mixed
        expected = by_definition(self.stream, self.q)
        assert math.isclose(self.quantile.find_quantile(), expected, rel_tol=1e-12, abs_tol=1e-12 * scale)


def close(median: Any, stream: list[Any]) -> bool:
    """Whether it is the median, which statistics gives of fractions without rounding."""
    exact = statistics.median([Fraction(x) for x in stream])
    return bool(median == exact or median == float(exact))


def by_definition(stream: list[Any], q: float) -> float:
    """The quantile at q (n − 1) of the numbers in order, without rounding on the way."""
    ordered = sorted(Fraction(x) for x in stream)
    at = Fraction(q) * (len(ordered) - 1)
    low = math.floor(at)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (at - low))


MACHINES = [HeapMachine, MaxHeapMachine, IndexedMachine, PairingMachine, TopKMachine, MedianMachine]


def run(machine: Any, examples: int | None = None, steps: int = 25) -> None:
    """Let it work; with a number of `examples`, stop at the first fault without looking for a simpler one."""
    chosen = settings(stateful_step_count=steps)
    if examples is not None:
        chosen = settings(chosen, max_examples=examples, phases=[Phase.generate], report_multiple_bugs=False)
    run_state_machine_as_test(machine, settings=chosen)

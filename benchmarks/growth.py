"""Counted comparisons from n to 10 n against the stated complexity: seconds would measure caches as well.

Keys that know `<` and nothing else go through the readable forms; each `<` is counted. The ratio of the two counts must
be within 15 % of that of the stated law.
"""

import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .harness import machine

SIZES = (1_000, 10_000)
SLACK = 0.15


class Counter:
    """Makes keys, and counts every `<` between them."""

    def __init__(self) -> None:
        self.count = 0

    def key(self, value: Any) -> "Key":
        """One key."""
        return Key(value, self)

    def keys(self, values: Iterable[Any]) -> "list[Key]":
        """A key for each value."""
        return [Key(value, self) for value in values]

    def since(self) -> int:
        """The comparisons since this was asked last."""
        count, self.count = self.count, 0
        return count


class Key:
    """A value that knows `<`, and how to be added, which a sum of weights needs."""

    __slots__ = ("counter", "value")

    def __init__(self, value: Any, counter: Counter) -> None:
        self.value, self.counter = value, counter

    def __lt__(self, other: Any) -> bool:
        if not isinstance(other, Key):
            return bool(self.value < other)
        self.counter.count += 1
        return bool(self.value < other.value)

    def __add__(self, other: "Key") -> "Key":
        return Key(self.value + other.value, self.counter)

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


@dataclass(frozen=True)
class Growth:
    """`count(n)` comparisons, which are stated to grow as `law(n)`, in words `text`."""

    name: str
    text: str
    law: Callable[[int], float]
    count: Callable[[int], int]

    def counts(self) -> tuple[int, int]:
        """At n and at 10 n."""
        small, large = (self.count(n) for n in SIZES)
        return small, large

    @property
    def stated(self) -> float:
        """The ratio that the law says."""
        return self.law(SIZES[1]) / self.law(SIZES[0])


def mixed(n: int) -> list[int]:
    """0 to n − 1 in a random order."""
    values = list(range(n))
    random.Random(0).shuffle(values)
    return values


def counted(
    module: str, use: Callable[[Any, list[Key], Counter], object], order: Callable[[int], Iterable[int]]
) -> Any:
    """The comparisons of `use(module, keys, counter)` with n keys in that order."""

    def count(n: int) -> int:
        counter = Counter()
        use(import_module(f"tinygrad_zoo.algorithms.{module}"), counter.keys(order(n)), counter)
        return counter.since()

    return count


def falling(n: int) -> Iterable[int]:
    """n − 1 to 0: each is pushed to the top of a min-heap."""
    return range(n - 1, -1, -1)


def push_all(heaps: Any, keys: list[Key], _: Counter) -> None:
    """One after the other."""
    heap = heaps.MinHeap()
    for key in keys:
        heap.push(key)


def add_all(finder: Any, keys: list[Key]) -> None:
    """Into what finds medians or quantiles."""
    for key in keys:
        finder.add_num(key)


def index(heaps: Any, keys: list[Key], counter: Counter) -> None:
    """n pushes, n keys that become smaller, n pops."""
    heap = heaps.IndexedHeap("min")
    for item, key in enumerate(keys):
        heap.push(item, key)
    for item, key in enumerate(keys):
        heap.decrease_key(item, counter.key(key.value - len(keys)))
    while heap:
        heap.pop()


def pair(pairing: Any, keys: list[Key], _: Counter) -> None:
    """n pushes, n pops."""
    heap = pairing.PairingHeap("min")
    for key in keys:
        heap.push(None, key)
    while heap:
        heap.pop()


def linear(n: int) -> float:
    """n."""
    return float(n)


def linearithmic(n: int) -> float:
    """n log n."""
    return n * math.log2(n)


RUNS, BEST, WINDOW = 16, 10, 50

GROWTHS = [
    Growth("heapify", "n", linear, counted("heaps", lambda m, keys, _: m.MinHeap(keys), mixed)),
    Growth("push, falling", "n log n", linearithmic, counted("heaps", push_all, falling)),
    Growth("push, mixed", "n", linear, counted("heaps", push_all, mixed)),
    Growth("indexed heap", "n log n", linearithmic, counted("heaps", index, mixed)),
    Growth("pairing heap", "n log n", linearithmic, counted("pairing_heap", pair, mixed)),
    Growth("heap_sort", "n log n", linearithmic, counted("heap_sort", lambda m, keys, _: m.heap_sort(keys), mixed)),
    Growth(
        "k_way_merge, 16 runs",
        "n",
        linear,
        counted("heap_sort", lambda m, keys, _: list(m.k_way_merge(*[keys[i::RUNS] for i in range(RUNS)])), range),
    ),
    Growth(
        "top 10, rising",
        "n",
        linear,
        counted("top_k", lambda m, keys, _: m.TopK(BEST).extend(keys), range),
    ),
    Growth(
        "top 10, mixed",
        "n + k log k log n/k",
        lambda n: n + BEST * math.log2(BEST) * math.log2(n / BEST),
        counted("top_k", lambda m, keys, _: m.TopK(BEST).extend(keys), mixed),
    ),
    Growth(
        "running median",
        "n log n",
        linearithmic,
        counted("running_median", lambda m, keys, _: add_all(m.RunningMedian(), keys), mixed),
    ),
    Growth(
        "running quantile",
        "n log n",
        linearithmic,
        counted("running_median", lambda m, keys, _: add_all(m.RunningQuantile(0.5), keys), mixed),
    ),
    Growth(
        "sliding median of 50",
        "n",
        linear,
        counted("running_median", lambda m, keys, _: add_all(m.SlidingMedian(WINDOW), keys), mixed),
    ),
    Growth(
        "huffman_tree",
        "n log n",
        linearithmic,
        counted("huffman", lambda m, keys, _: m.huffman_tree(dict(enumerate(keys))), mixed),
    ),
]


def report(growths: Sequence[Growth], *, as_json: bool) -> bool:
    """Print the counts; whether all are within the slack."""
    good = True
    if not as_json:
        print(f"\ncomparisons        {'':12}n = {SIZES[0]:,}  n = {SIZES[1]:,}   ratio  stated")
    for growth in growths:
        small, large = growth.counts()
        ratio = large / small
        holds = abs(ratio / growth.stated - 1) <= SLACK
        good &= holds
        if as_json:
            record = {
                "bench": "algorithms",
                "case": "growth",
                "operation": growth.name,
                "law": growth.text,
                "sizes": list(SIZES),
                "comparisons": [small, large],
                "ratio": round(ratio, 4),
                "stated": round(growth.stated, 4),
                "holds": holds,
                "machine": machine(),
            }
            print(json.dumps(record))
        else:
            print(
                f"{growth.name:21} {small:>18,}  {large:>10,}  {ratio:6.2f}  {growth.stated:6.2f}  "
                f"{growth.text}{'' if holds else ': NOT within 15 %'}"
            )
    return good

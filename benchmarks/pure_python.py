"""Seconds of the readable forms, in pure Python: what a lesson, or a machine without Numba, has to wait for.

Each is timed from prepared input to result, `RUNS` times; the median is compared with the bar of the specification.
"""

import json
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .harness import machine

NODES, EDGES, STREAM, CHAIN = 20_000, 100_000, 100_000, 100_000
RUNS = 5


@dataclass(frozen=True)
class Timed:
    """`make()` gives what is run, which should take less than `bar` seconds."""

    name: str
    bar: float
    make: Callable[[], Callable[[], object]]

    def seconds(self) -> float:
        """The median of a few runs."""
        run = self.make()
        taken = []
        for _ in range(RUNS):
            began = time.perf_counter()
            run()
            taken.append(time.perf_counter() - began)
        return statistics.median(taken)


def of(module: str) -> Any:
    """A module of ours, imported when it is used."""
    return import_module(f"tinygrad_zoo.algorithms.{module}")


def tree_of(module: str, name: str, **settings: Any) -> Callable[[], Callable[[], object]]:
    """The spanning tree of a random graph that is given as lists."""

    def make() -> Callable[[], object]:
        rng = random.Random(0)
        edges = [(rng.randrange(NODES), rng.randrange(NODES), rng.random()) for _ in range(EDGES)]
        algorithm = getattr(of(module), name)
        return lambda: algorithm(NODES, edges, **settings)

    return make


def medians() -> Callable[[], object]:
    """The median after every number of a list."""
    rng = random.Random(0)
    values = [rng.gauss(0, 1) for _ in range(STREAM)]
    median = of("running_median").running_median
    return lambda: median(values)


def traversed(method: str, order: str) -> Callable[[], Callable[[], object]]:
    """The nodes of a chain that turns at every node, so that its depth is its size."""

    def make() -> Callable[[], object]:
        node, root = of("trees").TreeNode, None
        for i in range(CHAIN):
            root = node(i, root, None) if i % 2 else node(i, None, root)
        nodes = of("tree_traversal").nodes
        return lambda: sum(1 for _ in nodes(root, order, method))

    return make


TIMED = [
    Timed(f"kruskal, {EDGES:,} edges", 2, tree_of("spanning_tree", "kruskal")),
    Timed(f"prim, {EDGES:,} edges", 3, tree_of("prim", "prim", method="lazy")),
    Timed(f"prim, indexed, {EDGES:,} edges", 3, tree_of("prim", "prim", method="indexed")),
    Timed(f"running median of {STREAM:,}", 2, medians),
    *(
        Timed(f"chain of {CHAIN:,}, {method}", 1, traversed(method, "post"))
        for method in ("template", "stack", "unified", "color", "morris")
    ),
]


def report(timed: Sequence[Timed], *, as_json: bool) -> None:
    """Print the seconds beside their bars."""
    if not as_json:
        print(f"\npure Python                         seconds (median of {RUNS})   bar")
    for one in timed:
        seconds = one.seconds()
        if as_json:
            record = {
                "bench": "algorithms",
                "case": "pure-python",
                "operation": one.name,
                "seconds": round(seconds, 4),
                "runs": RUNS,
                "bar": one.bar,
                "met": seconds <= one.bar,
                "machine": machine(),
            }
            print(json.dumps(record))
        else:
            print(f"{one.name:36} {seconds:20.3f}  {one.bar:6.1f}{'' if seconds <= one.bar else '  MISSED'}")

"""The classic algorithms on arrays, against what people use.

- `running-median`: the median of all numbers so far, for each of 10⁶ normal numbers. The peer is two heaps of heapq, in
  the fewest steps: one push through the other heap and one push for each number, on a list of floats.
- `sliding-median`: that of every window of 1001 of them. The peer is pandas's rolling median.
- `topk`: the 100 largest of 10⁷ float32, the largest first. The peer is np.partition, and a sort of what it leaves.
- `pure-python`: seconds of the readable forms beside the bars of their specification (`pure_python.py`); no peer.
- `growth`: comparisons counted at n and at 10 n of every algorithm (`growth.py`); nothing is timed.

Those of graphs and trees stand in `algorithms_graphs.py`.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from . import algorithms_graphs, growth, pure_python
from .harness import Case, Contender, Workload, check_known, run

STREAM, WINDOW, VALUES, BEST = 1_000_000, 1001, 10_000_000, 100


def numbers() -> Any:
    """The stream."""
    return np.random.default_rng(0).standard_normal(STREAM)


def called(function: Callable[[], Any]) -> Workload:
    """What is run is what answers."""
    return Workload(run=function, answer=function)


def build_running() -> Workload:
    """Our loop."""
    median = import_module("tinygrad_zoo.algorithms.running_median").running_median
    x = numbers()
    return called(lambda: median(x))


def two_heaps(values: list[float]) -> list[float]:
    """heapq knows the smallest only, so the lower half is kept with the other sign."""
    from heapq import heappush, heappushpop

    lower: list[float] = []
    upper: list[float] = []
    medians = []
    for value in values:
        if len(lower) == len(upper):
            heappush(lower, -heappushpop(upper, value))
            medians.append(-lower[0])
        else:
            heappush(upper, -heappushpop(lower, -value))
            medians.append((upper[0] - lower[0]) / 2)
    return medians


def build_two_heaps() -> Workload:
    """heapq, which is given a list and makes one."""
    x = numbers().tolist()
    return Workload(run=lambda: two_heaps(x), answer=lambda: np.array(two_heaps(x)))


def build_sliding() -> Workload:
    """Our loop."""
    median = import_module("tinygrad_zoo.algorithms.running_median").sliding_median
    x = numbers()
    return called(lambda: median(x, WINDOW))


def build_pandas() -> Workload:
    """pandas, whose first windows, which are not full, are left out of the answer."""
    rolling = import_module("pandas").Series(numbers()).rolling(WINDOW)
    return Workload(run=rolling.median, answer=lambda: rolling.median().to_numpy()[WINDOW - 1 :])


def many() -> Any:
    """What the best are looked for in."""
    return np.random.default_rng(0).random(VALUES, np.float32)


def build_topk() -> Workload:
    """Our loop."""
    nlargest = import_module("tinygrad_zoo.algorithms.top_k").nlargest
    x = many()
    return called(lambda: nlargest(BEST, x))


def build_partition() -> Workload:
    """NumPy."""
    x = many()
    return called(lambda: np.sort(np.partition(x, -BEST)[-BEST:])[::-1])


def case(name: str, ours: Callable[[], Workload], peer: Contender, bar: float) -> Case:
    """The case `name`, with its one peer."""
    return Case(
        bench="algorithms",
        name=name,
        direction="fwd",
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo", "numba")),
        peers=(peer,),
        bars={peer.name: bar},
        tolerance=1e-15,
    )


CASES = [
    case("running-median", build_running, Contender(name="heapq", build=build_two_heaps), 0.15),
    case("sliding-median", build_sliding, Contender(name="pandas", build=build_pandas, requires=("pandas",)), 1.0),
    case("topk", build_topk, Contender(name="np-partition", build=build_partition), 0.08),
    *algorithms_graphs.CASES,
]
GROWTH, PURE = "growth", "pure-python"


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases, time what has no peer, and count."""
    check_known("cases", cases, {GROWTH, PURE, *(case.name for case in CASES)})
    paired = None if cases is None else [name for name in cases if name not in (GROWTH, PURE)]
    status = 0
    if paired is None or paired:
        status = run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=paired)
    if cases is None or PURE in cases:
        pure_python.report(pure_python.TIMED, as_json=as_json)
    if cases is None or GROWTH in cases:
        status |= not growth.report([*growth.GROWTHS, *algorithms_graphs.GROWTHS], as_json=as_json)
    return status

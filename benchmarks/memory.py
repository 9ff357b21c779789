"""Bytes that Python and NumPy hold more of after 10,000 MLP training steps than after 1,000, the collector off.

A graph that is part of a reference cycle is freed by the collector alone: with it off, such a graph shows as growth.
`python -m benchmarks memory --json` prints {"bench", "case", "steps", "bytes", "bar_bytes", "machine"}: there is no
peer and no time.
"""

import gc
import json
import multiprocessing
import tracemalloc
from collections.abc import Callable, Sequence

from . import step
from .harness import INSTALL, BenchmarkError, Workload, machine

CASE = "mlp-eager"
FIRST, LAST = 1_000, 10_000
BAR_BYTES = 64 * 1024


def growth(build: Callable[[], Workload], first: int = FIRST, last: int = LAST) -> int:
    """The traced bytes after step `last` minus those after step `first`; turns the collector off meanwhile."""
    enabled = gc.isenabled()
    gc.disable()
    tracemalloc.start()
    try:
        run = build().run
        held = []
        for steps in (first, last - first):
            for _ in range(steps):
                run()
            held.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
        if enabled:
            gc.enable()
    return held[1] - held[0]


def in_own_process(build: Callable[[], Workload]) -> int:
    """Measure `growth(build)` in a freshly spawned process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(growth, (build,))


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the case in a process of its own and print its growth."""
    if (pairs, peers, cases) != (None, None, None):
        raise BenchmarkError("memory has one case and compares with nobody: --pairs, --peers and --cases do not apply")
    ours = next(case.ours for case in step.CASES if case.name == CASE)
    if missing := ours.missing():
        raise BenchmarkError(f"ours needs {', '.join(missing)}: {INSTALL}, or run this in the repository's root")
    grown = in_own_process(ours.build)
    if as_json:
        record = {"bench": "memory", "case": CASE, "steps": [FIRST, LAST], "bytes": grown, "bar_bytes": BAR_BYTES}
        print(json.dumps(record | {"machine": machine()}))
    else:
        verdict = "met" if grown <= BAR_BYTES else "MISSED"
        print(machine())
        print(f"{CASE}: {grown:,} bytes grown from step {FIRST:,} to {LAST:,}; bar <= {BAR_BYTES:,} {verdict}")
    return 0

"""The case `time-to-second-replay` of the benchmark `capture`: seconds from the first call of a step to the end of the
fourth, in a fresh process that has imported the library and made the model. Our first two calls record, and the other
two are replays; a peer compiles in its first call. Compiled kernels are cached, those of the peers where they cache.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

import numpy as np

from .harness import BenchmarkError, Contender, Result, gate, machine, verdict

CASE = "time-to-second-replay"
BAR = 0.3  # seconds, of ours
CALLS = 4


def program(contender: Contender) -> None:
    """What the process runs; prints the seconds and the loss of the fourth call."""
    workload = contender.build()
    start = time.perf_counter()
    for _ in range(CALLS):
        loss = workload.run()
    print(json.dumps([time.perf_counter() - start, float(loss.item())]))  # type: ignore[attr-defined]


def seconds(name: str) -> tuple[float, float]:
    """The time of one contender in a process of its own, and its loss."""
    command = [sys.executable, "-m", "benchmarks.capture", name]
    found = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=False)
    if found.returncode:
        raise BenchmarkError(f"{name} failed: {found.stderr.strip().splitlines()[-1]}")
    taken, loss = json.loads(found.stdout.strip().splitlines()[-1])
    return float(taken), float(loss)


def run(contenders: Mapping[str, Contender], peers: Sequence[str] | None, pairs: int, *, as_json: bool) -> None:
    """Ours and each installed peer, taking turns."""
    names = [p for p in contenders if p != "ours" and (peers is None or p in peers) and not contenders[p].missing()]
    taken: dict[str, list[float]] = {name: [] for name in ("ours", *names)}
    for k in range(pairs + 1):
        losses = {}
        for name, times in taken.items():
            found, losses[name] = seconds(name)
            times += [found] * (k > 0)  # the first round fills the caches
        for name in names:
            gate(np.asarray(losses["ours"]), np.asarray(losses[name]), 1e-3)
    for name in names:
        if as_json:
            what = {"bench": "capture", "case": CASE, "direction": "step", "peer": name}
            result = Result(**what, ours=taken["ours"], theirs=taken[name], machine=machine((name.split("-")[0],)))  # type: ignore[arg-type]
            print(json.dumps(result.record()), flush=True)
    if not as_json:
        middle = {name: statistics.median(times) for name, times in taken.items()}
        others = "".join(f", {name} {middle[name]:.2f} s" for name in names)
        print(f"{CASE}  ours {middle['ours']:.3f} s, bar {verdict(middle['ours'], BAR)}{others}", flush=True)

"""How long `import` takes: NumPy, ours and PyTorch, each the median of 10 fresh processes taking turns.

Ours imports NumPy, so what it adds is the median difference from NumPy alone, round by round. In JSON `direction` is
"step" (the whole thing), and what ours adds is `ours_ms - peer_ms` of the line whose peer is `numpy`.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence

from .harness import INSTALL, BenchmarkError, Result, check_known, check_pairs, machine, warn_of_load

OURS, PEERS = "tinygrad_zoo", ("numpy", "torch")
ROUNDS = 10
BAR_MS = 50.0  # ours beyond NumPy's
PROGRAM = "from time import perf_counter; start = perf_counter(); import {}; print(perf_counter() - start)"


def import_seconds(package: str) -> float:
    """The time of `import package` in a fresh process, without the interpreter's own start."""
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(package)], capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"import {package} failed: {done.stderr.strip().splitlines()[-1]}")
    return float(done.stdout)


def installed(package: str) -> bool:
    """Whether `package` can be imported; imports nothing."""
    return importlib.util.find_spec(package) is not None


def record(peer: str, ours: Sequence[float], theirs: Sequence[float]) -> dict[str, object]:
    """The object that `--json` prints."""
    result = Result(
        bench="import", case=OURS, direction="step", peer=peer, ours=ours, theirs=theirs, machine=machine((peer,))
    )
    return result.record()


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Print milliseconds; `pairs` is the number of rounds."""
    check_known("cases", cases, {OURS})
    rounds = check_pairs(ROUNDS if pairs is None else pairs)
    chosen = PEERS if peers is None else tuple(dict.fromkeys(peers))
    check_known("peers", chosen, set(PEERS))
    warn_of_load()
    times: dict[str, list[float]] = {name: [] for name in dict.fromkeys(("numpy", OURS, *chosen)) if installed(name)}
    for name in times:
        import_seconds(name)  # the first import compiles byte code and fills the file cache
    for _ in range(rounds):
        for name, taken in times.items():
            taken.append(import_seconds(name))
    absent = [f"{name:13} not installed ({INSTALL})" for name in (OURS, *chosen) if name not in times]
    if as_json:
        for peer in chosen:
            if OURS in times and peer in times:
                print(json.dumps(record(peer, times[OURS], times[peer])))
        for text in absent:
            print(text, file=sys.stderr)
        return 0
    print(f"{machine(chosen)}\nmedian of {rounds} fresh processes\n\nimport               ms  beyond numpy, ms")
    for name, taken in times.items():
        beyond = statistics.median(a - b for a, b in zip(taken, times["numpy"], strict=True)) * 1e3
        verdict = f"   bar <= {BAR_MS:g} {'met' if beyond <= BAR_MS else 'MISSED'}" if name == OURS else ""
        print(f"{name:13}  {statistics.median(taken) * 1e3:8.1f}  {beyond:16.1f}{verdict}")
    for text in absent:
        print(text)
    return 0

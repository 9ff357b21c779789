"""Seconds from the start of a fresh process to the end of the first training step of a digits CNN.

The process imports the library, builds the network, and does forward, backward and one step of Adam on 64 images of
8 x 8 pixels (drawn, not loaded). `cnn-cold-cache` begins with an empty folder for compiled kernels, the one that
TINYGRAD_ZOO_CACHE names, and `cnn-warm-cache` with what a run before left there. PyTorch does the same, for comparison:
the bars are seconds of ours. Both start from the same weights, and their losses after the step are compared.
"""

import importlib.util
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .harness import (
    INSTALL,
    BenchmarkError,
    Result,
    check_known,
    check_pairs,
    gate,
    machine,
    verdict,
    warn_of_load,
)

BARS = {"cnn-warm-cache": 1.5, "cnn-cold-cache": 40.0}  # seconds
OURS, PEER = "tinygrad_zoo", "torch"


def first_step(library: str) -> None:
    """The program; its only line of output is the loss of the batch after the step."""
    import importlib

    import numpy as np

    lib = importlib.import_module(library)
    nn = lib.nn
    rng = np.random.default_rng(0)
    seeded = {"rng": np.random.default_rng(1)} if library == "tinygrad_zoo" else {}
    model = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1, **seeded),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, padding=1, **seeded),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, stride=2, padding=1, **seeded),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(1024, 10, **seeded),
    )
    weights = {}
    for name, value in model.state_dict().items():
        bound = float(np.prod(value.shape[1:] or value.shape)) ** -0.5
        array = rng.uniform(-bound, bound, tuple(value.shape)).astype(np.float32)
        weights[name] = array if library == "tinygrad_zoo" else lib.tensor(array)
    model.load_state_dict(weights)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-3)
    x, y = lib.tensor(rng.random((64, 1, 8, 8), np.float32)), lib.tensor(rng.integers(0, 10, 64))
    loss = nn.functional.cross_entropy(model(x), y)
    loss.backward()
    optimizer.step()
    print("done", flush=True)
    print(nn.functional.cross_entropy(model(x), y).item())


def first_step_seconds(library: str, cache: Path) -> tuple[float, float]:
    """The time of the program up to the step's end, and the loss after it; `cache` is for compiled kernels."""
    program = f"{inspect.getsource(first_step)}\nfirst_step({library!r})"
    environment = os.environ | {"TINYGRAD_ZOO_CACHE": str(cache)}
    command = [sys.executable, "-c", program]
    start = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        taken = time.perf_counter() - start
        loss, complaint = child.communicate()
    if child.returncode:
        raise BenchmarkError(f"the first step of {library} failed: {complaint.strip().splitlines()[-1]}")
    return taken, float(loss)


def measure(case: str, pairs: int, peers: Sequence[str]) -> tuple[list[float], dict[str, list[float]]]:
    """Our times and each peer's, taking turns."""
    ours: list[float] = []
    theirs: dict[str, list[float]] = {peer: [] for peer in peers}
    with tempfile.TemporaryDirectory() as folder:
        warm = Path(folder, "warm")
        for library in (OURS, *peers):
            first_step_seconds(library, warm)  # compiles byte code, fills the file cache and the folder
        for k in range(pairs):
            taken, loss = first_step_seconds(OURS, warm if case == "cnn-warm-cache" else Path(folder, str(k)))
            ours.append(taken)
            for peer in peers:
                taken, expected = first_step_seconds(peer, warm)
                gate(np.asarray(loss), np.asarray(expected), 1e-3)
                theirs[peer].append(taken)
    return ours, theirs


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run both cases, and print seconds, or milliseconds in JSON."""
    pairs = check_pairs(7 if pairs is None else pairs)
    check_known("peers", peers, {PEER})
    check_known("cases", cases, set(BARS))
    warn_of_load()
    compared = [PEER] if importlib.util.find_spec(PEER) else []
    if not compared:
        print(f"{PEER} not installed ({INSTALL})", file=sys.stderr)
    if not as_json:
        print(f"{machine(compared)}\nmedian of {pairs} fresh processes\n\n{'case':14}  {OURS}, s  {PEER}, s")
    for case in BARS if cases is None else cases:
        ours, theirs = measure(case, pairs, compared)
        if as_json:
            for peer, taken in theirs.items():
                result = Result(
                    bench="cold",
                    case=case,
                    direction="step",
                    peer=peer,
                    ours=ours,
                    theirs=taken,
                    machine=machine((peer,)),
                )
                print(json.dumps(result.record()), flush=True)
        else:
            middle = statistics.median(ours)
            others = "".join(f"{statistics.median(taken):10.2f}" for taken in theirs.values())
            print(f"{case:14}  {middle:15.2f}{others}   bar {verdict(middle, BARS[case])}", flush=True)
    return 0

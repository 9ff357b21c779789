"""ratio = median over pairs of (our time / the peer's time), each contender alone in a process of its own.

How a figure comes about:

1. Ours and one peer start in two freshly spawned processes, because thread pools of two libraries in one process
   slow each other down. No environment variable is set: what is measured is what a user gets.
2. **Correctness gate.** Both give their answer (the loss after 20 steps, say, or a result and all gradients). Answers
   that differ by more than the tolerance end the comparison: there is no time without a right result.
3. Each contender's number of inner iterations is calibrated so that one block takes about 50 ms.
4. The two take turns, A B A B, one block each; every turn begins with an untimed warm-up. Only one of the two works at
   a time, and a pause before each turn lets the other's worker threads, which spin for a while after their last task,
   fall asleep.
5. A pair of blocks during which other programs kept more than a quarter of the machine's cores busy is repeated, up to
   five times; the quietest stands, and what stays disturbed is said on stderr. A slow block is never repeated for being
   slow.
6. Each pair of neighbouring blocks gives one ratio, so that a slow drift of the machine cancels; their median counts.

`--peers self` runs ours against itself: its ratio must be 1 within the noise, which shows how far to trust the others.

Bars bind on processors with AVX-512, for which they were set; on others the table reports, and judges nothing.
"""

import importlib.metadata
import importlib.util
import json
import math
import multiprocessing
import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

BLOCK_SECONDS = 0.05
SETTLE_SECONDS = 0.1  # OpenBLAS's idle workers spin for 2**26 clock ticks, about 30 ms, before they sleep
MINIMUM_PAIRS = 5
ATTEMPTS, QUIET = 5, 0.25  # repetitions of a disturbed pair; the share of all cores that other programs may use
INSTALL = 'pip install -e ".[bench]"'

Direction = Literal["fwd", "fb", "step"]
Answer = NDArray[np.floating[Any]]
CPU_INFORMATION = Path("/proc/cpuinfo")


class BenchmarkError(RuntimeError):
    """A contender that could not be built, died, or gave another answer than ours."""


class Block(NamedTuple):
    """The time of one call, and the share of all cores that other programs used meanwhile (NaN where unknown)."""

    seconds: float
    others: float


@dataclass(frozen=True)
class Workload:
    """What a contender's process holds: `run`, timed, and `answer`, asked once before and compared with the peer's."""

    run: Callable[[], object]
    answer: Callable[[], object]  # a number, an array of numbers, or a tuple of these


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A named `build`, called in the contender's own process (so it must pickle), and the packages it imports."""

    name: str
    build: Callable[[], Workload]
    requires: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """The packages of `requires` that are not installed; imports none of them."""
        return tuple(package for package in self.requires if importlib.util.find_spec(package) is None)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to compute, by ours and by every peer; `bars` maps a peer's name to the ratio that must be reached.

    Where several peers do the same thing in different ways, `best_bar` is for the ratio to whichever is the fastest.
    """

    bench: str
    name: str
    direction: Direction
    ours: Contender
    peers: tuple[Contender, ...]
    bars: Mapping[str, float] = field(default_factory=dict)
    best_bar: float | None = None
    tolerance: float = 1e-3  # relative, of the answers

    def chosen(self, names: Sequence[str] | None) -> tuple[Contender, ...]:
        """The peers called `names`, all of them for None; "self" is ours once more."""
        if names is None:
            return self.peers
        offered = {peer.name: peer for peer in self.peers}
        offered["self"] = Contender(name="self", build=self.ours.build, requires=self.ours.requires)
        return tuple(offered[name] for name in names if name in offered)

    def best(self, results: "Sequence[Result]") -> "Result | None":
        """The comparison with the fastest peer, under `best_bar`; None where there is no such bar, or a peer lacks."""
        by_peer = {result.peer: result for result in results}
        if self.best_bar is None or any(peer.name not in by_peer for peer in self.peers):
            return None
        hardest = max((by_peer[peer.name] for peer in self.peers), key=lambda result: result.ratio)
        return replace(hardest, peer="the fastest", bar=self.best_bar)


@dataclass(frozen=True, kw_only=True)
class Result:
    """One comparison: the paired times of a block's iteration, in seconds, and what they are of."""

    bench: str
    case: str
    direction: Direction
    peer: str
    ours: Sequence[float]
    theirs: Sequence[float]
    machine: str
    bar: float | None = None
    answers: tuple[str, str] = ("", "")
    disturbed: int = 0  # pairs during which other programs were busy

    @property
    def ours_ms(self) -> float:
        """Our median time in milliseconds."""
        return statistics.median(self.ours) * 1e3

    @property
    def peer_ms(self) -> float:
        """The peer's median time in milliseconds."""
        return statistics.median(self.theirs) * 1e3

    @property
    def ratios(self) -> list[float]:
        """Ours/peer of every pair."""
        return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]

    @property
    def ratio(self) -> float:
        """The median over pairs of ours/peer, which is not the ratio of the two medians."""
        return statistics.median(self.ratios)

    def record(self) -> dict[str, object]:
        """The object that `--json` prints, one a line."""
        return {
            "bench": self.bench,
            "case": self.case,
            "direction": self.direction,
            "peer": self.peer,
            "ours_ms": round(self.ours_ms, 5),
            "peer_ms": round(self.peer_ms, 5),
            "ratio": round(self.ratio, 4),
            "pairs": len(self.ratios),
            "machine": self.machine,
        }

    def cells(self) -> tuple[str, ...]:
        """The cells of the table under HEADER."""
        spread = f"{min(self.ratios):.3f}-{max(self.ratios):.3f}"
        times = (f"{self.ours_ms:.4f}", f"{self.peer_ms:.4f}")
        return (
            self.case,
            self.direction,
            self.peer,
            *times,
            f"{self.ratio:.3f}",
            spread,
            verdict(self.ratio, self.bar),
            ", ".join(self.answers),
        )


def bars_bind() -> bool:
    """Whether this processor has AVX-512, as Linux tells."""
    if not CPU_INFORMATION.exists():
        return False
    return re.search(r"^flags\b.*\bavx512f\b", CPU_INFORMATION.read_text(), re.MULTILINE) is not None


def verdict(value: float, bar: float | None) -> str:
    """The bar, and whether it is met where it binds; nothing where there is none."""
    if bar is None:
        return ""
    return f"<= {bar:.2f} {('met' if value <= bar else 'MISSED') if bars_bind() else '(AVX-512)'}"


@dataclass(frozen=True, kw_only=True)
class Absent:
    """A peer without a figure, and why; `failed` tells a wrong or broken contender from one that is not installed."""

    case: str
    direction: Direction
    peer: str
    reason: str
    failed: bool

    def cells(self) -> tuple[str, ...]:
        """The reason stands in place of the figures."""
        return (self.case, self.direction, self.peer, self.reason)


# What runs in a contender's process.


def seconds(run: Callable[[], object], iterations: int) -> float:
    """The wall-clock time of `iterations` calls of `run`."""
    start = time.perf_counter()
    for _ in range(iterations):
        run()
    return time.perf_counter() - start


def calibrate(run: Callable[[], object], timer: Callable[[Callable[[], object], int], float] = seconds) -> int:
    """The number of calls that take about 50 ms, found by doubling until a block is long enough to extrapolate."""
    iterations = 1
    while (taken := timer(run, iterations)) < BLOCK_SECONDS / 4:
        iterations *= 2
    return max(1, round(iterations * BLOCK_SECONDS / taken))


def busy_seconds(stat: Path = Path("/proc/stat")) -> float:
    """The seconds that all cores together have worked since the machine started; NaN where Linux's file is missing."""
    if not stat.exists():
        return math.nan
    user, nice, system, _idle, _waiting, *interrupts_and_steal = stat.read_text().splitlines()[0].split()[1:9]
    return sum(map(int, (user, nice, system, *interrupts_and_steal))) / os.sysconf("SC_CLK_TCK")


def block(run: Callable[[], object], iterations: int) -> Block:
    """One turn: a warm-up of a fifth of the calls (caches, clock frequency, worker threads), then the timed ones."""
    start, busy, own = time.perf_counter(), busy_seconds(), time.process_time()
    seconds(run, 1 + iterations // 5)
    taken = seconds(run, iterations)
    others = (busy_seconds() - busy) - (time.process_time() - own)
    return Block(taken / iterations, others / (time.perf_counter() - start) / (os.cpu_count() or 1))


def serve(connection: Connection, build: Callable[[], Workload]) -> None:
    """Build the workload, then answer "answer" | "calibrate" | "block" until the other end says "stop"."""
    try:
        workload = build()
        iterations = 1
        while (request := connection.recv()) != "stop":
            reply: object = None
            if request == "answer":
                answer = workload.answer()
                reply = [np.asarray(x, np.float64) for x in (answer if isinstance(answer, tuple) else (answer,))]
            elif request == "calibrate":
                iterations = calibrate(workload.run)
            else:
                reply = block(workload.run, iterations)
            connection.send((True, reply))
    except Exception as error:  # the parent is told and raises it there, with the contender's name
        connection.send((False, f"{type(error).__name__}: {error}"))
        with suppress(EOFError):
            connection.recv()  # leaving earlier could break the pipe before the parent has read why


# What runs in the parent.


class Process:
    """A contender in a freshly spawned process: `with Process(contender) as process: process.ask("answer")`."""

    def __init__(self, contender: Contender) -> None:
        context = multiprocessing.get_context("spawn")
        self.name = contender.name
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, contender.build), daemon=True)
        self.process.start()
        theirs.close()

    def ask(self, request: Literal["answer", "calibrate", "block"]) -> Any:
        """Send a request, wait for its reply; raise BenchmarkError if the contender raised or died."""
        try:
            self.connection.send(request)
            succeeded, reply = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            raise BenchmarkError(f"{self.name}: its process ended with status {self.process.exitcode}") from None
        if not succeeded:
            raise BenchmarkError(f"{self.name}: {reply}")
        return reply

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):  # it is gone already, and ask() has said so
            self.connection.send("stop")
        self.process.join(5)
        if self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.connection.close()


def shown(answer: Answer) -> str:
    """A number as it is; an array by its shape and Euclidean norm."""
    return f"{answer.item():.6g}" if answer.size == 1 else f"{answer.shape} norm {np.linalg.norm(answer):.6g}"


def gates(ours: Sequence[Answer], peer: Sequence[Answer], tolerance: float) -> tuple[str, str]:
    """`gate` for each part of the answers; returns the texts of the first part, and how many more agree."""
    if len(ours) != len(peer):
        raise BenchmarkError(f"different answers, not timed: ours has {len(ours)} parts, peer {len(peer)}")
    (mine, theirs), *others = (gate(a, b, tolerance) for a, b in zip(ours, peer, strict=True))
    return mine, f"{theirs} and {len(others)} more" if others else theirs


def gate(ours: Answer, peer: Answer, tolerance: float) -> tuple[str, str]:
    """max|ours - peer| <= tolerance * max|peer|, else BenchmarkError; returns both answers as text."""
    texts = shown(ours), shown(peer)
    with np.errstate(invalid="ignore"):
        agree = ours.shape == peer.shape and np.max(np.abs(ours - peer)) <= tolerance * np.max(np.abs(peer))
    if not agree:  # written so that a NaN, which compares false, is refused too
        raise BenchmarkError(f"different answers, not timed: ours {texts[0]}, peer {texts[1]}, tolerance {tolerance:g}")
    return texts


def turn(process: Process) -> Block:
    """Let the other's worker threads fall asleep, then time one block."""
    time.sleep(SETTLE_SECONDS)
    timed: Block = process.ask("block")
    return timed


def pair(ours: Process, theirs: Process) -> tuple[Block, Block]:
    """One block of each, the quietest of up to five where other programs disturb."""
    tried: list[tuple[Block, Block]] = []
    while len(tried) < ATTEMPTS:
        tried.append((turn(ours), turn(theirs)))
        if not disturbed(tried[-1]):
            return tried[-1]
    return min(tried, key=lambda blocks: max(block.others for block in blocks))


def disturbed(blocks: tuple[Block, Block]) -> bool:
    """Whether other programs kept too many cores busy during either block."""
    return any(block.others > QUIET for block in blocks)


def compare(case: Case, peer: Contender, pairs: int) -> Result | Absent:
    """Ours against one peer, as the head of this file says."""
    absent = partial(Absent, case=case.name, direction=case.direction, peer=peer.name)
    if missing := peer.missing():
        return absent(reason=f"not installed: {', '.join(missing)} ({INSTALL})", failed=False)
    try:
        with Process(case.ours) as ours, Process(peer) as theirs:
            answers = gates(ours.ask("answer"), theirs.ask("answer"), case.tolerance)
            for contender in (ours, theirs):
                time.sleep(SETTLE_SECONDS)
                contender.ask("calibrate")
            timed = [pair(ours, theirs) for _ in range(pairs)]
    except BenchmarkError as error:
        return absent(reason=f"failed: {error}", failed=True)
    return Result(
        bench=case.bench,
        case=case.name,
        direction=case.direction,
        peer=peer.name,
        ours=[mine.seconds for mine, _ in timed],
        theirs=[other.seconds for _, other in timed],
        machine=machine(peer.requires),
        bar=case.bars.get(peer.name),
        answers=answers,
        disturbed=sum(map(disturbed, timed)),
    )


def machine(packages: Sequence[str] = ()) -> str:
    """The processor, its cores, the system and the versions of Python, NumPy, Numba and `packages`."""
    model = platform.processor() or platform.machine()
    if CPU_INFORMATION.exists():
        named = [
            line.partition(":")[2].strip() for line in CPU_INFORMATION.read_text().splitlines() if "model name" in line
        ]
        model = named[0] if named else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = [f"Python {platform.python_version()}"]
    for package in dict.fromkeys(("numpy", "numba", "tinygrad_zoo", *packages)):
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:  # ours may run from a checkout
            continue
    return f"{model}, {cores} cores, {platform.system()} {platform.machine()}; {', '.join(versions)}"


HEADER = ("case", "dir", "peer", "ours ms", "peer ms", "ratio", "range", "bar", "answers: ours, peer")
LAYOUT = ("<19", "<4", "<19", ">9", ">9", ">6", "<13", "<17", "")


def line(cells: Sequence[str]) -> str:
    """One line of the table; fewer cells than columns leave the last one free to run on."""
    layout = (*LAYOUT[: len(cells) - 1], "")
    return "  ".join(format(cell, width) for cell, width in zip(cells, layout, strict=True)).rstrip()


def run(
    cases: Sequence[Case],
    *,
    as_json: bool,
    pairs: int | None,
    peers: Sequence[str] | None,
    names: Sequence[str] | None = None,
    usual_pairs: int = MINIMUM_PAIRS,
) -> int:
    """Run the cases called `names`, all for None, and print a table or JSON lines.

    The exit status is 1 if a contender failed or answered wrongly. A missed bar is printed, but is no failure: times
    depend on the machine and on what else it does. `usual_pairs` are those of a run that was not told how many.
    """
    pairs = check_pairs(usual_pairs if pairs is None else pairs)
    check_known("peers", peers, {"self", *(peer.name for case in cases for peer in case.peers)})
    check_known("cases", names, {case.name for case in cases})
    cases = [case for case in cases if names is None or case.name in names]
    if missing := {package for case in cases for package in case.ours.missing()}:
        raise BenchmarkError(
            f"ours needs {', '.join(sorted(missing))}: {INSTALL}, or run this in the repository's root"
        )
    if not as_json:
        print(f"{machine()}\nmedian of {pairs} pairs; ratio = ours / peer, below 1 ours is faster\n\n{line(HEADER)}")
    failed = False
    for case in cases:
        results = []
        for peer in case.chosen(peers):
            outcome = compare(case, peer, pairs)
            report(outcome, as_json=as_json)
            if isinstance(outcome, Result):
                results.append(outcome)
            else:
                failed |= outcome.failed
        best = case.best(results)
        if best is not None and not as_json:  # whoever reads the records finds it there: the greatest of the ratios
            print(line(best.cells()), flush=True)
    return int(failed)


def check_pairs(pairs: int) -> int:
    """`pairs`, if they are enough."""
    if pairs < MINIMUM_PAIRS:
        raise BenchmarkError(f"--pairs must be at least {MINIMUM_PAIRS} for a median to mean something, got {pairs}")
    return pairs


def check_known(what: str, names: Sequence[str] | None, known: set[str]) -> None:
    """That each of the names given for --`what` is one of those known."""
    if unknown := [name for name in names or () if name not in known]:
        raise BenchmarkError(f"unknown {what} {', '.join(unknown)}; known: {', '.join(sorted(known))}")


def warn_of_load() -> None:
    """For what is timed in processes that end: nobody can say which of them other programs disturbed."""
    if os.getloadavg()[0] > 0.5:
        print("warning: other programs are busy: do not record these figures", file=sys.stderr)


def report(outcome: Result | Absent, *, as_json: bool) -> None:
    """Print one comparison; in JSON, standard output holds figures only."""
    if isinstance(outcome, Result) and outcome.disturbed:
        warning = (
            f"other programs were busy during {outcome.disturbed} of the next {len(outcome.ratios)} pairs: "
            "do not record them"
        )
        print(f"warning: {warning}", file=sys.stderr, flush=True)
    if not as_json:
        print(line(outcome.cells()), flush=True)
    elif isinstance(outcome, Result):
        print(json.dumps(outcome.record()), flush=True)
    else:
        print(line(outcome.cells()), file=sys.stderr, flush=True)

"""The benchmarks' honesty, without timing anything: what is compared, what is refused, what is printed."""

from __future__ import annotations

import gc
import json
import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import harness, import_time, memory, step
from benchmarks.harness import Absent, BenchmarkError, Block, Case, Contender, Process, Result, Workload

KEYS = ["bench", "case", "direction", "peer", "ours_ms", "peer_ms", "ratio", "pairs", "machine"]


def answering(name: str, text: str, **settings: Any) -> Contender:
    """A contender whose answer is the number in `text`; built of the standard library, so that any process can."""
    return Contender(name=name, build=partial(Workload, run=int, answer=partial(float, text)), **settings)


def case_of(*peers: Contender, ours: str = "2.5") -> Case:
    return Case(bench="b", name="c", direction="step", ours=answering("ours", ours), peers=peers)


def result(**changes: Any) -> Result:
    values: dict[str, Any] = {
        "bench": "b",
        "case": "c",
        "direction": "fb",
        "peer": "p",
        "ours": [1e-3, 2e-3, 9e-3],
        "theirs": [4e-3, 2e-3, 10e-3],
        "machine": "m",
    }
    return Result(**values | changes)


def test_ratio_is_the_median_of_the_pairs_ratios() -> None:
    assert result().ratios == pytest.approx([0.25, 1.0, 0.9])
    assert result().ratio == pytest.approx(0.9)  # the ratio of the medians would be 0.5
    assert (result().ours_ms, result().peer_ms) == pytest.approx((2.0, 4.0))
    with pytest.raises(ValueError, match="shorter"):
        _ = result(theirs=[1.0]).ratios


def test_record_is_the_documented_object() -> None:
    record = json.loads(json.dumps(result().record()))
    assert list(record) == KEYS
    assert record == {
        "bench": "b",
        "case": "c",
        "direction": "fb",
        "peer": "p",
        "ours_ms": 2.0,
        "peer_ms": 4.0,
        "ratio": 0.9,
        "pairs": 3,
        "machine": "m",
    }


@pytest.mark.parametrize(("bar", "verdict"), [(0.95, "<= 0.95 met"), (0.9 - 1e-9, "<= 0.90 MISSED"), (None, "")])
def test_table_states_the_bar(bar: float | None, verdict: str) -> None:
    assert result(bar=bar).cells()[7] == verdict
    assert verdict in harness.line(result(bar=bar).cells())


@pytest.mark.parametrize(
    ("ours", "peer"),
    [(1.0, 1.0011), (1.0, -1.0), (math.nan, 1.0), (1.0, math.nan), (math.nan, math.nan), (math.inf, math.inf)],
)
def test_gate_refuses(ours: float, peer: float) -> None:
    with pytest.raises(BenchmarkError, match="different answers, not timed"):
        harness.gate(np.asarray(ours), np.asarray(peer), 1e-3)


def test_gate_compares_every_entry_and_the_shape() -> None:
    right = np.array([1.0, 100.0])
    assert harness.gate(right, right + np.array([0.0, 0.09]), 1e-3)[0] == "(2,) norm 100.005"
    with pytest.raises(BenchmarkError, match=r"tolerance 0\.001"):
        harness.gate(right, right + np.array([0.2, 0.0]), 1e-3)
    with pytest.raises(BenchmarkError):
        harness.gate(right[:1], right, 1e-3)
    assert harness.gate(np.asarray(2.27823), np.asarray(2.27824), 1e-3) == ("2.27823", "2.27824")


def test_different_answers_are_never_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    ask = Process.ask

    def spy(self: Process, request: Any) -> Any:
        asked.append(request)
        return ask(self, request)

    monkeypatch.setattr(Process, "ask", spy)
    outcome = harness.compare(case_of(), answering("wrong", "2.6"), 5)
    assert isinstance(outcome, Absent)
    assert outcome.failed
    assert "ours 2.5, peer 2.6" in outcome.reason
    assert asked == ["answer", "answer"]


def test_a_contender_that_raises_or_dies_is_named() -> None:
    with (
        Process(answering("broken", "three")) as broken,
        pytest.raises(BenchmarkError, match=r"broken: ValueError.*three"),
    ):
        broken.ask("answer")
    unbuildable = Contender(name="unbuildable", build=partial(int, "x"))  # type: ignore[arg-type]
    with Process(unbuildable) as process, pytest.raises(BenchmarkError, match="unbuildable: ValueError"):
        process.ask("answer")
    dying = Contender(name="dying", build=partial(Workload, run=int, answer=partial(os._exit, 3)))
    with Process(dying) as process, pytest.raises(BenchmarkError, match="dying: its process ended with status 3"):
        process.ask("answer")


def test_peer_that_is_not_installed_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    case = case_of(answering("ghost", "2.5", requires=("json", "no_such_package")))
    for as_json in (False, True):
        assert harness.run([case], as_json=as_json, pairs=None, peers=None) == 0
        printed = capsys.readouterr()
        shown, silent = (printed.err, printed.out) if as_json else (printed.out, printed.err)
        listed = next(text for text in shown.splitlines() if "ghost" in text)
        assert 'not installed: no_such_package (pip install -e ".[bench]")' in listed
        assert "ghost" not in silent


def test_run_prints_one_object_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def compared(case: Case, peer: Contender, pairs: int) -> Result | Absent:
        if peer.name == "wrong":
            return Absent(case=case.name, direction="step", peer=peer.name, reason="failed: because", failed=True)
        return result(peer=peer.name, ours=[1.0] * pairs, theirs=[2.0] * pairs, disturbed=2)

    monkeypatch.setattr(harness, "compare", compared)
    case = case_of(answering("right", "2.5"), answering("wrong", "2.6"))
    assert harness.run([case], as_json=True, pairs=None, peers=["right", "self"]) == 0
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [list(record) for record in records] == [KEYS, KEYS]
    assert [(record["peer"], record["ratio"], record["pairs"]) for record in records] == [
        ("right", 0.5, 5),
        ("self", 0.5, 5),
    ]
    assert harness.run([case], as_json=False, pairs=7, peers=None) == 1
    printed = capsys.readouterr()
    assert "failed: because" in printed.out
    assert "other programs were busy during 2 of the next 7 pairs" in printed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["step", "--pairs", "4"], "--pairs must be at least 5"),
        (["import", "--pairs", "4"], "--pairs must be at least 5"),
        (["step", "--peers", "torch-eager,toarch"], "unknown peers toarch; known: jax-jit, mygrad, self, torch-"),
        (["import", "--peers", "jax"], "unknown peers jax; known: numpy, torch"),
        (["memory", "--pairs", "5"], "--pairs and --peers do not apply"),
        (["stop"], "invalid choice: 'stop'"),
    ],
)
def test_wrong_arguments_say_what_is_right(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_calibration_aims_at_a_block_of_50_ms() -> None:
    def costing(each: float) -> int:
        return harness.calibrate(int, lambda _run, iterations: each * iterations)

    assert costing(1e-4) == 500
    assert costing(0.02) == 2
    assert costing(3.0) == 1


class Scripted:
    """A process that replies to "block" what it is given, in turn."""

    def __init__(self, *blocks: tuple[float, float]) -> None:
        self.blocks = iter([Block(*block) for block in blocks])

    def ask(self, request: str) -> Block:
        assert request == "block"
        return next(self.blocks)


def test_pairs_are_repeated_for_disturbance_and_never_for_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "SETTLE_SECONDS", 0.0)

    def paired(ours: list[tuple[float, float]], theirs: list[tuple[float, float]]) -> tuple[float, float, bool]:
        blocks = harness.pair(Scripted(*ours), Scripted(*theirs))  # type: ignore[arg-type]
        return (*(block.seconds for block in blocks), harness.disturbed(blocks))  # type: ignore[return-value]

    assert paired([(9.0, 0.1)], [(1.0, 0.2)]) == (9.0, 1.0, False)
    assert paired([(9.0, math.nan)], [(1.0, math.nan)]) == (9.0, 1.0, False)
    assert paired([(1.0, 0.1), (2.0, 0.0)], [(1.0, 0.9), (3.0, 0.0)]) == (2.0, 3.0, False)
    theirs = [(1.0, 0.9), (2.0, 0.8), (3.0, 0.3), (4.0, 0.6), (5.0, 0.7)]
    assert paired([(1.0, 0.0)] * 5, theirs) == (1.0, 3.0, True)


def test_busy_seconds_leave_out_idling_and_waiting(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    assert math.isnan(harness.busy_seconds(stat))
    stat.write_text("cpu  100 20 30 9999 888 4 5 6 70 80\ncpu0 1 2 3 4 5 6 7 8 9 10\n")
    assert harness.busy_seconds(stat) == pytest.approx(165 / os.sysconf("SC_CLK_TCK"))


def test_machine_names_processor_cores_and_versions() -> None:
    text = harness.machine(("pytest", "no_such_package"))
    assert " cores, " in text
    for part in ("Python ", f"numpy {np.__version__}", f"pytest {pytest.__version__}"):
        assert part in text
    assert "no_such_package" not in text


def test_cases_of_step() -> None:
    assert [(case.name, case.bars) for case in step.CASES] == [
        ("mlp-eager", {"torch-eager": 0.40}),
        ("realnvp-eager", {"torch-eager": 0.55}),
    ]
    common = ["torch-eager", "torch-compile", "jax-jit"]
    assert [[peer.name for peer in case.peers] for case in step.CASES] == [[*common, "mygrad"], common]
    assert [peer.name for peer in step.CASES[0].chosen(["self", "mygrad"])] == ["self", "mygrad"]
    assert step.CASES[0].chosen(["self"])[0].build is step.CASES[0].ours.build


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", ["mlp-eager", "realnvp-eager"])
def test_ours_computes_what_torch_does(name: str) -> None:
    ours, peer = step.ours(name).answer(), step.torch_step(name, compiled=False).answer()
    harness.gate(np.asarray(ours), np.asarray(peer), 1e-5)


def test_growth_sees_leaks_and_cycles() -> None:
    kept: list[bytearray] = []

    def cycle() -> None:
        loop: list[Any] = [bytearray(1000)]
        loop.append(loop)

    for run in (lambda: kept.append(bytearray(1000)), cycle):
        assert memory.growth(partial(Workload, run=run, answer=int), 10, 110) >= 100_000
    assert memory.growth(partial(Workload, run=lambda: bytearray(1000), answer=int), 10, 110) < 1_000
    assert gc.isenabled()


def test_memory_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(memory, "in_own_process", lambda _build: 70_000)
    assert memory.main(as_json=True, pairs=None, peers=None) == 0
    record = json.loads(capsys.readouterr().out)
    assert list(record) == ["bench", "case", "steps", "bytes", "bar_bytes", "machine"]
    assert (record["bytes"], record["bar_bytes"], record["steps"]) == (70_000, 65_536, [1_000, 10_000])
    assert memory.main(as_json=False, pairs=None, peers=None) == 0
    assert "mlp-eager: 70,000 bytes grown from step 1,000 to 10,000; bar <= 65,536 MISSED" in capsys.readouterr().out


def test_import_reports_beyond_numpy(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    taken = {"numpy": 0.060, "tinygrad_zoo": 0.090, "torch": 0.900}
    monkeypatch.setattr(import_time, "import_seconds", taken.__getitem__)
    monkeypatch.setattr(import_time, "installed", lambda name: name != "torch")
    assert import_time.main(as_json=False, pairs=None, peers=None) == 0
    shown = capsys.readouterr().out.splitlines()
    ours = next(text.split() for text in shown if text.startswith("tinygrad_zoo"))
    assert ours == ["tinygrad_zoo", "90.0", "30.0", "bar", "<=", "50", "met"]
    assert 'torch         not installed (pip install -e ".[bench]")' in shown
    assert import_time.main(as_json=True, pairs=6, peers=None) == 0
    printed = capsys.readouterr()
    records = [json.loads(text) for text in printed.out.splitlines()]
    assert [list(record) for record in records] == [KEYS]
    assert (records[0]["peer"], records[0]["ours_ms"], records[0]["pairs"]) == ("numpy", 90.0, 6)
    assert "torch" in printed.err

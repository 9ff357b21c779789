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
from benchmarks import cold, conv, deform, fused, harness, import_time, matmul, memory, optim, roi, step
from benchmarks.harness import Absent, BenchmarkError, Block, Case, Contender, Process, Result, Workload
from tinygrad_zoo.kernels import jit

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


@pytest.fixture
def processor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that gives this machine a processor with these features."""

    def becomes(*features: str) -> None:
        text = f"processor\t: 0\nmodel name\t: Test\nflags\t\t: fpu {' '.join(features)} sse\nbugs\t\t: avx512f\n\n"
        (tmp_path / "cpuinfo").write_text(text * 2)
        monkeypatch.setattr(harness, "CPU_INFORMATION", tmp_path / "cpuinfo")

    return becomes


@pytest.mark.parametrize(("bar", "verdict"), [(0.95, "<= 0.95 met"), (0.9 - 1e-9, "<= 0.90 MISSED"), (None, "")])
def test_table_states_the_bar(bar: float | None, verdict: str, processor: Any) -> None:
    processor("avx2", "avx512f", "avx512dq")
    assert harness.machine().startswith("Test, ")
    assert result(bar=bar).cells()[7] == verdict
    assert verdict in harness.line(result(bar=bar).cells())


def test_bars_bind_with_avx512_alone(processor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for features in [("avx2",), ("avx2", "avx512fp16"), ()]:
        processor(*features)
        assert [result(bar=bar).cells()[7] for bar in (0.95, 0.1, None)] == [
            "<= 0.95 (AVX-512)",
            "<= 0.10 (AVX-512)",
            "",
        ]
    processor("avx512f")
    assert harness.bars_bind()
    monkeypatch.setattr(harness, "CPU_INFORMATION", Path("no such file"))
    assert not harness.bars_bind()


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


def test_every_part_of_an_answer_is_compared() -> None:
    def parts(*last: float) -> list[Any]:
        return [np.asarray(1e6), np.array([1.0, 2.0]), *map(np.asarray, last)]

    assert harness.gates(parts(3.0), parts(3.0), 1e-3) == ("1e+06", "1e+06 and 2 more")
    assert harness.gates(parts()[:1], parts()[:1], 1e-3) == ("1e+06", "1e+06")
    with pytest.raises(BenchmarkError, match=r"ours 3, peer 3\.1"):  # small beside the first part
        harness.gates(parts(3.0), parts(3.1), 1e-3)
    with pytest.raises(BenchmarkError, match="ours has 2 parts, peer 3"):
        harness.gates(parts(), parts(3.0), 1e-3)


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


def test_the_fastest_peer_is_the_one_to_beat(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processor: Any
) -> None:
    processor("avx512f")
    seconds = {"a": 4.0, "b": 2.0, "c": 3.0, "self": 1.0}
    monkeypatch.setattr(
        harness, "compare", lambda case, peer, pairs: result(peer=peer.name, ours=[1.0], theirs=[seconds[peer.name]])
    )
    peers = [answering(name, "2.5") for name in "abc"]
    case = Case(bench="b", name="c", direction="fb", ours=answering("ours", "2.5"), peers=tuple(peers), best_bar=0.4)

    def table(**settings: Any) -> list[list[str]]:
        harness.run([case], **{"as_json": False, "pairs": None, "peers": None} | settings)
        rows = [text.split("  ") for text in capsys.readouterr().out.splitlines() if text.startswith("c ")]
        return [[cell.strip() for cell in row if cell] for row in rows]

    rows = table()
    assert [row[2] for row in rows] == ["a", "b", "c", "the fastest"]
    assert rows[-1][5:8] == ["0.500", "0.500-0.500", "<= 0.40 MISSED"]
    assert not any("0.40" in cell for row in rows[:-1] for cell in row)
    assert table(peers=["a", "self"])[-1][2] == "self"  # not all took part: nobody knows which is the fastest
    assert table(peers=["self", "c", "b", "a"])[-1][2:6:3] == ["the fastest", "0.500"]
    assert harness.run([case], as_json=True, pairs=None, peers=None) == 0
    assert [json.loads(text)["peer"] for text in capsys.readouterr().out.splitlines()] == ["a", "b", "c"]


def test_cases_are_chosen_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str, int]] = []

    def compared(case: Case, peer: Contender, pairs: int) -> Result:
        ran.append((case.name, case.direction, pairs))
        return result()

    monkeypatch.setattr(harness, "compare", compared)
    assert command.main(["matmul", "--cases", "linear,64"]) == 0
    assert ran == [("64", "fwd", 7), ("64", "fb", 7), ("linear", "fwd", 7), ("linear", "fb", 7)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["conv", "--pairs", "4"], "--pairs must be at least 5"),
        (["cold", "--pairs", "4"], "--pairs must be at least 5"),
        (["cold", "--peers", "jax"], "unknown peers jax; known: torch"),
        (["cold", "--cases", "cnn"], "unknown cases cnn; known: cnn-cold-cache, cnn-warm-cache"),
        (["optim", "--cases", "adam"], "unknown cases adam; known: adamw-100k, adamw-10m"),
        (["import", "--cases", "numpy"], "unknown cases numpy; known: tinygrad_zoo"),
        (["memory", "--cases", "mlp-eager"], "--pairs, --peers and --cases do not apply"),
        (["step", "--pairs", "4"], "--pairs must be at least 5"),
        (["import", "--pairs", "4"], "--pairs must be at least 5"),
        (["step", "--peers", "torch-eager,toarch"], "unknown peers toarch; known: jax-jit, mygrad, self, torch-"),
        (["import", "--peers", "jax"], "unknown peers jax; known: numpy, torch"),
        (["memory", "--pairs", "5"], "--pairs, --peers and --cases do not apply"),
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
        ("mlp-eager", {"torch-eager": 0.25}),
        ("realnvp-eager", {"torch-eager": 0.30}),
        ("transformer-eager", {"torch-eager": 0.8}),
    ]
    common = ["torch-eager", "torch-compile", "jax-jit"]
    assert [[peer.name for peer in case.peers] for case in step.CASES] == [[*common, "mygrad"], common, common[:2]]
    assert [peer.name for peer in step.CASES[0].chosen(["self", "mygrad"])] == ["self", "mygrad"]
    assert step.CASES[0].chosen(["self"])[0].build is step.CASES[0].ours.build


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", ["mlp-eager", "realnvp-eager"])
def test_ours_computes_what_torch_does(name: str) -> None:
    ours, peer = step.ours(name).answer(), step.torch_step(name, compiled=False).answer()
    harness.gate(np.asarray(ours), np.asarray(peer), 1e-5)


def test_cases_and_bars_of_the_kernels() -> None:
    def bars(module: Any) -> dict[str, Any]:
        for direction in ("fwd", "fb"):
            names = [case.name for case in module.CASES if case.direction == direction]
            assert names == list(dict.fromkeys(case.name for case in module.CASES))
        return {case.name: case.best_bar or case.bars["torch"] for case in module.CASES}

    assert bars(matmul) == {"64": 0.8, "512": 1.05, "linear": 0.5}
    assert bars(conv) == {
        "3x3s1-small": 0.55,
        "3x3s1-large": 0.55,
        "3x3s2": 1.0,
        "1x1": 1.0,
        "groups4": 1.0,
        "5x5c1": 1.0,
        "depthwise": 1.2,
    }
    assert bars(deform) == {"v2-32": 0.3, "v2-56": 0.3} and bars(roi) == {"roi-align-256": 1.0}
    names = ("softmax", "layernorm", "gelu", "cross-entropy")
    assert bars(fused) == {f"{name}-small": 0.6 for name in names} | {f"{name}-large": 1.0 for name in names}
    assert [(case.name, case.bars) for case in optim.CASES] == [
        ("adamw-10m", {"torch-fused": 1.0}),
        ("adamw-100k", {"torch-fused": 0.15}),
    ]
    assert cold.BARS == {"cnn-warm-cache": 1.5, "cnn-cold-cache": 40.0}
    assert {peer.name for case in conv.CASES for peer in case.peers} == {"torch-nchw", "torch-channels-last"}
    assert {peer.name for case in optim.CASES for peer in case.peers} == {"torch-fused", "torch-foreach"}


def answered(contender: Contender) -> list[Any]:
    """What the gate gets, computed in this process, after the workload was run as it is timed."""
    workload = contender.build()
    workload.run()
    answer = workload.answer()
    return [np.asarray(x, np.float64) for x in (answer if isinstance(answer, tuple) else (answer,))]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("case", [*deform.CASES, *roi.CASES], ids=lambda case: f"{case.name}-{case.direction}")
def test_deformed_and_pooled_images_of_ours_are_those_of_torch(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deform, "SHAPES", {name: s._replace(n=2, size=9) for name, s in deform.SHAPES.items()})
    for name, value in (("CHANNELS", 9), ("COUNTS", {"roi-align-256": 7})):
        monkeypatch.setattr(roi, name, value)
    ours, peer = answered(case.ours), answered(case.peers[0])
    assert len(ours) == (2 if case.bench == "roi" else 6)
    harness.gates(ours, peer, case.tolerance)


SMALLER = [case for case in [*matmul.CASES, *fused.CASES] if case.name != "512" and not case.name.endswith("-large")]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("case", SMALLER, ids=lambda case: f"{case.name}-{case.direction}")
def test_an_operation_of_ours_computes_what_torch_does(case: Case) -> None:
    ours, peer = answered(case.ours), answered(case.peers[0])
    expected = {"64": 3, "linear": 4, "layernorm-small": 4}.get(case.name, 2)
    assert len(ours) == expected
    harness.gates(ours, peer, 1e-5)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", list(conv.SHAPES))
def test_a_convolution_of_ours_computes_what_torch_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(conv.SHAPES, name, conv.SHAPES[name]._replace(n=2, size=9))
    for case in conv.CASES:
        if case.name == name:
            ours = answered(case.ours)
            assert len(ours) == (3 if name == "5x5c1" else 4)
            assert ours[0].shape == (2, conv.SHAPES[name].out, *[conv.SHAPES[name].out_size] * 2)
            for peer in case.peers:
                harness.gates(ours, answered(peer), case.tolerance)


@pytest.mark.oracle("torch")
def test_convolutions_get_the_layouts_that_are_named() -> None:
    import torch

    import tinygrad_zoo as tz

    images = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    last = conv.laid_out(torch, torch.tensor(images), "channels-last")
    assert last.is_contiguous(memory_format=torch.channels_last) and np.array_equal(last.numpy(), images)
    assert conv.laid_out(torch, torch.tensor(images), "nchw").is_contiguous()
    ours = conv.laid_out(tz, tz.tensor(images), "ours")
    assert np.array_equal(ours.numpy(), images) and ours.is_leaf
    kernel = tz.ones((6, 3, 3, 3))
    assert np.argsort(ours.data.strides).tolist() == np.argsort(tz.conv2d(ours, kernel).data.strides).tolist()


@pytest.mark.oracle("torch")
def test_an_optimizer_of_ours_steps_as_torch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(optim.SIZES, "adamw-100k", (3, 50))
    case = optim.CASES[1]
    ours = answered(case.ours)
    assert ours[0].shape == (150,)
    for peer in case.peers:
        harness.gates(ours, answered(peer), case.tolerance)


def test_cold_starts_get_their_folders(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    started: list[tuple[str, str, bool]] = []
    losses = {"torch": 2.0, "tinygrad_zoo": 2.0}

    def pretended(library: str, cache: Path) -> tuple[float, float]:
        started.append((library, cache.name, cache.exists()))
        cache.mkdir(exist_ok=True)
        return {"torch": 2.0, "tinygrad_zoo": 1.0}[library], losses[library]

    monkeypatch.setattr(cold, "first_step_seconds", pretended)
    monkeypatch.setattr(cold.importlib.util, "find_spec", lambda name: name)
    assert command.main(["cold", "--json", "--pairs", "5"]) == 0
    ours = [(cache, filled) for library, cache, filled in started if library == "tinygrad_zoo"]
    assert ours[:6] == [("warm", False), *[("warm", True)] * 5]
    assert ours[6:] == [("warm", False), *[(str(k), False) for k in range(5)]]
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(record["case"], record["ours_ms"], record["ratio"]) for record in records] == [
        ("cnn-warm-cache", 1000.0, 0.5),
        ("cnn-cold-cache", 1000.0, 0.5),
    ]
    losses["torch"] = 2.1
    with pytest.raises(SystemExit):
        command.main(["cold", "--cases", "cnn-warm-cache"])
    assert "different answers, not timed" in capsys.readouterr().err


def test_cold_states_seconds_and_bars(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], processor: Any
) -> None:
    processor("avx512f")
    monkeypatch.setattr(cold, "measure", lambda case, pairs, peers: ([2.0] * pairs, {peer: [3.0] for peer in peers}))
    monkeypatch.setattr(cold.importlib.util, "find_spec", lambda name: None)
    assert cold.main(as_json=False, pairs=None, peers=None) == 0
    printed = capsys.readouterr()
    assert "torch not installed" in printed.err and "median of 7 fresh processes" in printed.out
    rows = [text.split() for text in printed.out.splitlines() if text.startswith("cnn-")]
    assert rows == [
        ["cnn-warm-cache", "2.00", "bar", "<=", "1.50", "MISSED"],
        ["cnn-cold-cache", "2.00", "bar", "<=", "40.00", "met"],
    ]


@pytest.mark.oracle("torch")
def test_the_first_step_of_a_network_in_a_process_of_its_own() -> None:
    cache = jit.cache_folder()  # compiled kernels that are there already serve
    (ours, loss), (_, expected) = (cold.first_step_seconds(library, cache) for library in (cold.OURS, cold.PEER))
    assert loss == pytest.approx(expected, rel=1e-4) and 0.05 < ours < 600
    with pytest.raises(BenchmarkError, match=r"the first step of json failed: .*'nn'"):
        cold.first_step_seconds("json", cache)


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

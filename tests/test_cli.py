"""The command line: what it prints, its exit codes, and that errors are one line."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import tiny_recipe
import tinygrad_zoo.testing
from tinygrad_zoo import __version__, cli, errors, recipe
from tinygrad_zoo.kernels import jit, threads
from tinygrad_zoo.kernels.vector import vector_bytes

ROOT = Path(__file__).resolve().parents[1]
MODULE = [sys.executable, "-m", "tinygrad_zoo"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """runs/ is made in a temporary folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tiny recipe is the only one registered."""
    quick = dataclasses.replace(tiny_recipe.RECIPE, figure=lambda state, path: path.write_bytes(b"drawn"))
    monkeypatch.setattr(recipe, "registered", lambda: (quick,))


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}


def test_list_shows_every_system_and_its_last_result(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list"]) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "row", "family", "system", "paper", "bar", "last", "result"]
    assert row.split("  ")[0] == "tiny" and row.endswith("test_mse ≤ 100")
    assert cli.main(["train", "tiny", "--quiet"]) == 0
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(" met")
    assert cli.main(["train", "tiny", "--quiet", "--steps", "3"]) == 0
    capsys.readouterr()
    assert cli.main(["list"]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(" (settings changed)")


def test_train_takes_every_setting(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "t99", "--steps", "6", "--seed", "3", "--out", "here", "--device", "cpu", "--quiet"]
    assert cli.main([*arguments, "--set", "lr=0.1", "--set", "note=a=b", "--checkpoint-every", "2"]) == 0
    out, err = capsys.readouterr()
    assert "Linear regression (T99)" in out and "6 steps in" in out and "in here/" in out and err == ""
    config = json.loads(Path("here/config.json").read_text())
    assert (config["seed"], config["config"]["steps"], config["config"]["lr"]) == (3, 6, 0.1)
    assert config["config"]["note"] == "a=b"
    assert cli.main([*arguments, "--set", "lr=0.1", "--set", "note=a=b", "--resume"]) == 0


def test_train_captured(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["train", "tiny", "--quiet", "--device", "cpu"]
    assert cli.main([*arguments, "--out", "eager"]) == 0
    assert " native steps, " not in capsys.readouterr().out
    assert cli.main([*arguments, "--out", "captured", "--capture"]) == 0
    assert " native steps, " in capsys.readouterr().out
    assert Path("eager/config.json").read_bytes() == Path("captured/config.json").read_bytes()
    assert cli.main([*arguments, "--out", "captured", "--resume"]) == 0  # it is no other run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "tyni"], "no system 'tyni' (did you mean tiny?); `tinygrad-zoo list` shows them all"),
        (["train", "tiny", "--set", "lr"], "--set expects KEY=VALUE, got 'lr'"),
        (["train", "tiny", "--set", "rl=1"], "no setting 'rl' (did you mean lr?); the settings are"),
        (["train", "tiny", "--set", "lr=fast"], "lr expects a finite number, got 'fast'"),
        (["train", "tiny", "--device", "tpu"], "no device 'tpu'"),
        (["train", "tiny", "--seed", "-1"], "seed must be an integer >= 0"),
        (["train", "tiny", "--steps", "0"], "TinyConfig.steps must be >= 1, got 0"),
        (["train", "tiny", "--out", "/proc/nowhere"], "cannot write to /proc/nowhere"),
        (["train"], "train expects a NAME, as `tinygrad-zoo list` shows them, or --all"),
        (["train", "tiny", "--all"], "train expects a NAME"),
        (["train", "--all", "--out", "x"], "--out is of one system; with --all each has its own folder, runs/NAME"),
        (["train", "--all", "--report"], "a report goes to benchmarks/results/: run it in the root of a checkout"),
        (["train", "--all", "--report", "--seed", "1"], "--report trains every seed of a bar: leave out --seed"),
        (["train", "tiny", "--report", "--steps", "3"], "--report is of the recipes as they are: leave out --steps"),
        (["train", "tiny", "--report", "--capture"], "--report is of the recipes as they are: leave out --capture"),
        (["check", "mull"], "no op 'mull' (did you mean mul?)"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(
    arguments: list[str], message: str, tiny: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"tinygrad-zoo: {message}")
    with pytest.raises(tinygrad_zoo.errors.TinygradZooError):
        cli.main([*arguments, "--debug"])


@pytest.mark.parametrize("arguments", [[], ["trian"], ["train", "tiny", "--steps", "many"]])
def test_a_command_line_that_makes_no_sense_is_exit_code_2(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2 and "usage: tinygrad-zoo" in capsys.readouterr().err


def test_an_unfinished_run_is_not_lost(tiny: None, capsys: pytest.CaptureFixture[str]) -> None:
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/checkpoint.safetensors").write_bytes(b"precious")
    assert cli.main(["train", "tiny", "--quiet"]) == 2
    assert "--resume" in capsys.readouterr().err
    assert Path("runs/tiny/checkpoint.safetensors").read_bytes() == b"precious"
    assert cli.main(["train", "tiny", "--quiet", "--resume"]) == 2
    assert "is damaged" in capsys.readouterr().err


def rows(order1: str, order2: str) -> Iterator[dict[str, Any]]:
    yield {"op": "mul", "backend": "cpu", "order1": "passed", "order2": "passed", "examples": 5, "worst": 1.2e-9}
    yield {"op": "argmax", "backend": "cpu", "order1": "integer", "order2": "integer", "examples": 5, "worst": 0.0}
    row = {"op": "div", "backend": "cpu", "order1": order1, "order2": order2, "examples": 2, "worst": 0.5}
    yield row | ({"error": "two\nlines"} if "failed" in (order1, order2) else {})


@pytest.mark.parametrize(("orders", "code"), [(("passed", "passed"), 0), (("passed", "failed"), 1)])
def test_check_prints_a_table_or_json_and_fails_with_its_ops(
    orders: tuple[str, str], code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tinygrad_zoo.testing, "check_report", lambda op: rows(*orders))
    assert cli.main(["check"]) == code
    out = capsys.readouterr().out
    assert out.splitlines()[0].split() == ["op", "backend", "order1", "order2", "examples", "worst"]
    assert "1.2e-09" in out and f"3 checked, {code} failed" in out and ("    two\n    lines" in out) == bool(code)
    assert cli.main(["check", "--json"]) == code
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == list(rows(*orders))


def test_check_of_one_op_runs_the_real_checks(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["check", "mul", "--json"]) == 0
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (line["op"], line["order1"], line["order2"]) == ("mul", "passed", "passed")
    assert set(line) == {"op", "backend", "order1", "order2", "examples", "worst"} and line["examples"] > 0


def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    for part in (f"tinygrad_zoo    {__version__}", "numpy", "default device", "CuPy", "CPU", "BLAS", "[zoo]"):
        assert part in out
    assert f"threads, threading layer: {threads.describe()['layer']}, vectors of {vector_bytes()} bytes" in out
    assert f"MB in {jit.cache_folder()}" in out


def test_warmup_compiles_all_kernels_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "tinygrad_zoo", tmp_path / "tinygrad_zoo", ignore=shutil.ignore_patterns("__pycache__"))
    for path in (tmp_path / "tinygrad_zoo" / "kernels").glob("*/cpu.py"):
        if path.parent.name != "pieces":  # two kernels will do
            path.unlink()
    cache = tmp_path / "cache"
    variables = {"PYTHONPATH": str(tmp_path), "TINYGRAD_ZOO_CACHE": str(cache)}

    def warmup(**more: str) -> subprocess.CompletedProcess[str]:
        surroundings = {**os.environ, **variables, **more}
        return subprocess.run([*MODULE, "warmup"], env=surroundings, capture_output=True, text=True, cwd=tmp_path)

    found = []
    for _ in range(2):
        done = warmup()
        assert (done.returncode, done.stderr) == (0, "compiling kernels: 2 …\n")
        assert re.fullmatch(rf"2 kernels ready in [\d.]+ s: 4 files, 0\.\d MB in {cache}\n", done.stdout)
        found.append({path: path.stat().st_mtime_ns for path in cache.rglob("*.nb?")})
    assert found[0] == found[1] and len(found[0]) == 4
    done = warmup(TINYGRAD_ZOO_CACHE=f"{MODULE[0]}/cache")
    assert done.returncode == 2 and done.stderr.splitlines()[1:] == [
        f"tinygrad-zoo: cannot write to {MODULE[0]}/cache, so every process compiles again; set TINYGRAD_ZOO_CACHE"
    ]


def test_the_bar_of_warmup_needs_a_terminal_and_tqdm(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(cli._with_bar(iter("ab"), 2, "doing")) == ["a", "b"]
    assert capsys.readouterr().err == "doing: 2 …\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(cli._with_bar(iter("ab"), 2, "doing")) == ["a", "b"]
    bar = capsys.readouterr().err
    assert "doing" in bar and "2/2" in bar
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert list(cli._with_bar(iter("ab"), 2, "doing")) == ["a", "b"]
    assert capsys.readouterr().err == "doing: 2 …\n"


def test_version_and_python_m() -> None:
    answer = subprocess.run([*MODULE, "--version"], env=environment(), capture_output=True, text=True, check=True)
    assert answer.stdout == f"tinygrad_zoo {__version__}\n"


def test_a_reader_that_leaves_is_no_error() -> None:
    process = subprocess.Popen([*MODULE, "list"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b"" and process.wait() == 141


SLOW = """
import dataclasses, sys, time, tiny_recipe
from tinygrad_zoo import cli, recipe
def step(state, batch):
    time.sleep(0.01)
    return tiny_recipe.step(state, batch)
slow = dataclasses.replace(tiny_recipe.RECIPE, step=step)
recipe.registered = lambda: (slow,)
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_leaves_a_checkpoint_and_says_how_to_go_on(signum: signal.Signals, code: int) -> None:
    command = [sys.executable, "-c", SLOW, "train", "tiny", "--steps", "3000", "--checkpoint-every", "1"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not Path("runs/tiny/checkpoint.safetensors").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signum)
    _, err = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in err
    assert "checkpoint saved; to go on: tinygrad-zoo train tiny --resume --set steps=3000" in err
    assert Path("runs/tiny/checkpoint.safetensors").exists() and not Path("runs/tiny/result.json").exists()


def test_info_says_what_is_wrong_with_the_backend(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> str:
        raise errors.DeviceError("TINYGRAD_ZOO_BACKEND='foo': expected 'numpy' or 'cupy'")

    monkeypatch.setattr(cli.backend, "default_device", broken)
    assert cli.main(["info"]) == 0
    out = capsys.readouterr().out
    assert "none: TINYGRAD_ZOO_BACKEND='foo'" in out and "numpy" in out


def test_ctrl_c_outside_the_loop_says_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(options: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "_info", interrupted)
    assert cli.main(["info"]) == 130
    assert "tinygrad-zoo: interrupted" in capsys.readouterr().err

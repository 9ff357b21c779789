"""`train --all` and its report: every seed, what is kept, what is gone on with, and the files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import tiny_recipe
from tinygrad_zoo import cli, recipe
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.recipe import Bar
from tinygrad_zoo.training import report as module
from tinygrad_zoo.training.report import markdown, number, read, report, summary

KEYS = ["row", "system", "paper", "metric", "bar", "min", "median", "baseline", "seconds", "twin_seconds", "met"]
SEEDS = 3


def named(name: str, row: str, bar: Bar) -> Any:
    return dataclasses.replace(
        tiny_recipe.RECIPE, name=name, row=row, bar=bar, figure=lambda state, path: path.write_bytes(b"drawn")
    )


EASY = named("easy", "Z1", Bar(metric="test_mse", at_most=100, seeds=SEEDS))
HARD = named("hard", "Z2", Bar(metric="test_mse", at_most=0, seeds=1))


@pytest.fixture(autouse=True)
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder with a folder benchmarks; no twins."""
    (tmp_path / "benchmarks").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(recipe, "registered", lambda: (EASY, HARD))
    return tmp_path


def test_every_system_over_the_seeds_of_its_bar(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--all", "--report", "--quiet"]) == 0
    said = capsys.readouterr().out
    assert "1 of 2 bars met" in said and "MISSED: hard" in said
    easy, hard = json.loads((checkout / "benchmarks" / "results" / "zoo.json").read_text("utf-8"))
    assert list(easy) == list(hard) == KEYS and (easy["system"], hard["system"]) == ("easy", "hard")
    assert easy["met"] and not hard["met"] and easy["twin_seconds"] is None and easy["baseline"]
    runs = [json.loads((checkout / f"runs/zoo/easy/{seed}/result.json").read_text("utf-8")) for seed in range(SEEDS)]
    values = sorted(run["metrics"]["test_mse"] for run in runs)
    assert (easy["min"], easy["median"]) == (values[0], values[1]) and values[0] < values[1] < values[2]
    assert [run["seed"] for run in runs] == [0, 1, 2] and not (checkout / "runs/zoo/hard/1").exists()
    table = (checkout / "benchmarks" / "results" / "zoo.md").read_text("utf-8")
    assert "| Z1 | easy |" in table and table.count(" MISSED |") == 1 and "1 of 2 bars are met" in table


def test_finished_runs_are_kept_and_the_report_goes_on(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report([HARD], progress=False)
    with pytest.raises(UsageError, match="is not empty: continue the run in it with --resume"):
        report([HARD], progress=False)
    made = []
    monkeypatch.setattr(
        module, "fit", lambda recipe, **settings: made.append(settings["seed"]) or fit(recipe, **settings)
    )
    report([EASY], progress=False)
    (checkout / "runs/zoo/easy/1/result.json").unlink()
    made.clear()
    report([HARD, EASY], resume=True, progress=False)
    assert made == [1]
    assert [entry["system"] for entry in read()] == ["easy", "hard"]


fit = module.fit


def test_a_system_alone_leaves_the_others_entries(checkout: Path) -> None:
    report([EASY, HARD], progress=False)
    before = read()
    better = dataclasses.replace(HARD, bar=Bar(metric="test_mse", at_most=200))
    (after,) = [entry for entry in report([better], resume=True, progress=False) if entry["system"] == "hard"]
    assert after["met"] and read()[0] == before[0] and read()[1] == after


def test_outside_a_checkout(checkout: Path) -> None:
    (checkout / "benchmarks").rmdir()
    with pytest.raises(UsageError, match="run it in the root of a checkout"):
        report([EASY], progress=False)
    assert not (checkout / "runs").exists()


def test_a_run_that_is_not_a_number_meets_no_bar() -> None:
    run: Mapping[str, Any] = {"metrics": {"test_mse": None}, "baseline": {"mean": 1.0}, "training_seconds": 0.5}
    entry = summary(EASY, [dict(run)] * 3, None)
    assert entry["median"] is None and not entry["met"]
    assert number(entry["median"]) == "nan" and "| nan | nan | mean 1 | 0.5 |  | MISSED |" in markdown([entry])
    assert math.isclose(entry["seconds"], 0.5)


def test_the_twin_is_timed_in_a_process_of_its_own(checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    twins = checkout / "benchmarks" / "twins"
    twins.mkdir()
    assert module.twin_seconds("easy") is None
    (twins / "easy.py").touch()
    (twins / "__init__.py").touch()
    main = twins / "__main__.py"
    main.write_text("import json, sys\nprint(json.dumps({'system': sys.argv[1], 'seconds': 1.234567}))\n")
    assert module.twin_seconds("easy") == 1.23
    main.write_text("raise ModuleNotFoundError('no torch')\n")
    assert module.twin_seconds("easy") is None
    assert "easy: no time of its twin: ['ModuleNotFoundError: no torch']" in capsys.readouterr().err

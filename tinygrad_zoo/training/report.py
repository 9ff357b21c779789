"""Every system over the seeds of its bar, in a table: what `tinygrad-zoo train --all --report` writes."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UsageError
from ..recipe import Recipe
from .folder import RESULT, RUNS, to_json, write
from .loop import fit

FOLDER = Path("benchmarks") / "results"
HEAD = ("row", "system", "paper", "bar", "min", "median", "baseline", "seconds", "twin", "")


def report(
    recipes: Sequence[Recipe[Any, Any]], *, resume: bool = False, progress: bool = True, twins: bool = True
) -> list[dict[str, Any]]:
    """Train every recipe over the seeds of its bar, and write zoo.json and zoo.md below benchmarks/results.

    Runs are kept in runs/zoo/NAME/SEED. With `resume`, those that are finished are not made again, and an unfinished
    one goes on; without it, UsageError where there are some. The files are written after every system, so that nothing
    is lost; systems that are not among `recipes` keep their entries. Seconds are those of the steps of one seed, the
    median; the twin's are of the same steps in PyTorch (benchmarks/twins), null where there is none or no PyTorch.

    Raises UsageError outside a checkout, where there is no folder benchmarks.
    """
    if not FOLDER.parent.is_dir():
        raise UsageError(f"a report goes to {FOLDER}/: run it in the root of a checkout of tinygrad_zoo")
    entries = {entry["system"]: entry for entry in read()}
    for recipe in recipes:
        runs = [_run(recipe, seed, resume, progress) for seed in range(recipe.bar.seeds)]
        entries[recipe.name] = summary(recipe, runs, twin_seconds(recipe.name) if twins else None)
        made = sorted(entries.values(), key=lambda entry: (entry["row"], entry["system"]))
        FOLDER.mkdir(exist_ok=True)
        write(FOLDER / "zoo.json", json.dumps(made, indent=1, ensure_ascii=False) + "\n")
        write(FOLDER / "zoo.md", markdown(made))
    return list(entries.values())


def read() -> list[dict[str, Any]]:
    """The entries of zoo.json, none where there is no such file yet."""
    path = FOLDER / "zoo.json"
    entries: list[dict[str, Any]] = json.loads(path.read_text("utf-8")) if path.exists() else []
    return entries


def _run(recipe: Recipe[Any, Any], seed: int, resume: bool, progress: bool) -> dict[str, Any]:
    """result.json of a run, which is made unless it is there."""
    out = RUNS / "zoo" / recipe.name / str(seed)
    path = out / RESULT
    if not (resume and path.exists()):
        fit(recipe, seed=seed, out=out, resume=resume, progress=progress)
    result: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return result


def summary(recipe: Recipe[Any, Any], runs: Sequence[dict[str, Any]], twin: float | None) -> dict[str, Any]:
    """One entry of zoo.json, of the result.json of every seed."""
    bar, metrics = recipe.bar, [{k: np.nan if v is None else v for k, v in run["metrics"].items()} for run in runs]
    values = [float(run[bar.metric]) for run in metrics]
    entry = {
        "row": recipe.row,
        "system": recipe.name,
        "paper": recipe.paper,
        "metric": bar.metric,
        "bar": bar.text,
        "min": min(values),
        "median": statistics.median(values),
        "baseline": runs[0]["baseline"],
        "seconds": round(statistics.median(run["training_seconds"] for run in runs), 2),
        "twin_seconds": twin,
        "met": bar.holds(*metrics),
    }
    finite: dict[str, Any] = json.loads(to_json(entry))
    return {key: finite[key] for key in entry}


def twin_seconds(name: str) -> float | None:
    """How long the system's twin in PyTorch takes for the same steps, in a process of its own; None without one."""
    if not (FOLDER.parent / "twins" / f"{name}.py").exists():
        return None
    command = [sys.executable, "-m", "benchmarks.twins", name]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        print(f"{name}: no time of its twin: {ran.stderr.strip().splitlines()[-1:]}", file=sys.stderr)
        return None
    return round(float(json.loads(ran.stdout)["seconds"]), 2)


def markdown(entries: Iterable[dict[str, Any]]) -> str:
    """The table of zoo.md."""
    rows = [
        (
            entry["row"],
            entry["system"],
            entry["paper"],
            entry["bar"],
            number(entry["min"]),
            number(entry["median"]),
            ", ".join(f"{name} {number(value)}" for name, value in entry["baseline"].items()),
            f"{entry['seconds']:.1f}",
            "" if entry["twin_seconds"] is None else f"{entry['twin_seconds']:.1f}",
            "met" if entry["met"] else "MISSED",
        )
        for entry in entries
    ]
    lines = [HEAD, ("---",) * len(HEAD), *rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in line) + " |" for line in lines)
    met = sum(row[-1] == "met" for row in rows)
    return f"""# The systems, trained

Each over the seeds of its bar: the least and the median of its metric, the baselines, seconds of one seed's steps, and
seconds of the same steps in PyTorch where there is a twin. {met} of {len(rows)} bars are met.
Written by `tinygrad-zoo train --all --report`.

{table}
"""


def number(value: float | None) -> str:
    """Four digits.

    >>> number(0.123456), number(None), number(1234.5)
    ('0.1235', 'nan', '1234')
    """
    return "nan" if value is None else format(value, ".4g")

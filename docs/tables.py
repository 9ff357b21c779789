"""Rewrites the README's tables of ops and systems from the code: `python docs/tables.py`."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tinygrad_zoo import ops, recipe
from tinygrad_zoo.autograd import Op
from tinygrad_zoo.training.report import number

README = Path(__file__).parents[1] / "README.md"
RESULTS = README.parent / "benchmarks" / "results" / "zoo.json"


def cell(text: str) -> str:
    """`text` as one table cell."""
    return " ".join(text.split()).replace("|", r"\|")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    lines = [list(head), ["---"] * len(list(head)), *([cell(text) for text in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ops_table() -> str:
    """One row a module of ops: their names, in the order of definition."""
    modules: dict[str, list[str]] = {}
    for name, op in vars(ops).items():
        if isinstance(op, Op) and not name.startswith("_"):
            modules.setdefault(op.__module__.rpartition(".")[2], []).append(f"`{name}`")
    count = sum(map(len, modules.values()))
    rows = ([f"`ops/{module}.py`", " ".join(names)] for module, names in sorted(modules.items()))
    return f"{count} ops:\n\n" + table(["module", "ops"], rows)


def systems_table() -> str:
    """One row a system: how to train it, what it is, where it stands, what it must reach and what it did.

    Results are those of benchmarks/results/zoo.json, which `tinygrad-zoo train --all --report` writes.
    """
    results = {entry["system"]: entry for entry in json.loads(RESULTS.read_text("utf-8"))} if RESULTS.exists() else {}
    rows = (
        [
            f"`{entry.name}`",
            entry.row,
            f"[{entry.title}]({source(entry.build)})",
            entry.paper,
            entry.bar.text,
            reached(results.get(entry.name)),
        ]
        for entry in recipe.registered()
    )
    return table(["name", "row", "system", "paper", "bar", "min / median"], rows)


def reached(result: dict[str, Any] | None) -> str:
    """The least and the median over the seeds."""
    if result is None:
        return ""
    return f"{number(result['min'])} / {number(result['median'])}{'' if result['met'] else ' MISSED'}"


def source(function: Callable[..., object]) -> str:
    """The path of the file that defines `function`, from the repository's root."""
    return Path(inspect.getfile(function)).resolve().relative_to(README.parent.resolve()).as_posix()


def updated(text: str) -> str:
    """`text` with both regions filled anew."""
    for name, content in (("ops", ops_table()), ("systems", systems_table())):
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"the README has no region {begin} … {end}")
        text = f"{before}{begin}\n{content}\n{end}{after}"
    return text


if __name__ == "__main__":
    README.write_text(updated(README.read_text("utf-8")), "utf-8")

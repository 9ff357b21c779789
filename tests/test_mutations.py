"""Every fault of mutations.py can be planted and its test exists; the runner tells a killed one from a survivor."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import mutate
from mutations import MUTATIONS, Mutation

PACKAGE = mutate.ROOT / "tinygrad_zoo"


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.row}-{Path(m.file).stem}-{m.old[:30]!r}")
def test_a_fault_can_be_planted(mutation: Mutation) -> None:
    source = (PACKAGE / mutation.file).read_text("utf-8")
    assert source.count(mutation.old) == 1 and mutation.old != mutation.new, "plant it anew"
    ast.parse(source.replace(mutation.old, mutation.new))
    file, _, name = mutation.test.partition("::")
    assert name in functions(Path(__file__).parent / file)


def test_no_fault_is_listed_twice() -> None:
    places = [(mutation.file, mutation.old, mutation.new) for mutation in MUTATIONS]
    assert len(set(places)) == len(places)


def test_the_runner(tmp_path: Path) -> None:
    (tmp_path / "tinygrad_zoo").mkdir()
    (tmp_path / "tests").mkdir()
    (tmp_path / "tinygrad_zoo" / "__init__.py").write_text("")
    (tmp_path / "tinygrad_zoo" / "half.py").write_text("def half(x):\n    return x / 2\n")
    (tmp_path / "tests" / "test_half.py").write_text(
        "from tinygrad_zoo.half import half\n\ndef test_half():\n    assert half(4) == 2\n"
    )
    test = "test_half.py::test_half"
    assert mutate.passes(test, tmp_path)
    assert mutate.killed(Mutation("X", "half.py", "x / 2", "x / 3", test), tmp_path)
    assert not mutate.killed(Mutation("X", "half.py", "x / 2", "x * 0.5", test), tmp_path)
    assert mutate.passes(test, tmp_path)
    with pytest.raises(RuntimeError, match="did not run"):
        mutate.passes("test_half.py::test_third", tmp_path)

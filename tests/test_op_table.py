"""The table of ops as a whole: how many there are, how long a definition is, and that nothing is written twice."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import tinygrad_zoo as tz
from tinygrad_zoo.autograd import Op
from tinygrad_zoo.nn import functional
from tinygrad_zoo.testing import public_ops

ROOT = Path(__file__).parents[1]
SOURCES = sorted((ROOT / "tinygrad_zoo" / "ops").glob("*.py"))
MAKERS = {"primitive", "fused", "composite"}


def definitions() -> Iterator[ast.FunctionDef]:
    """The functions that the decorators of ops stand on."""
    nodes = (node for path in SOURCES for node in ast.parse(path.read_text("utf-8")).body)
    for node in nodes:
        makers = {ast.unparse(d.func) for d in getattr(node, "decorator_list", []) if isinstance(d, ast.Call)}
        if isinstance(node, ast.FunctionDef) and makers & MAKERS and not node.name.startswith("_"):
            yield node


def test_the_table_is_full() -> None:
    ops = public_ops()
    differentiable = sum(op.differentiable for op in ops.values())
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(ops) >= 150 and f"{differentiable} have a gradient" in readme


def test_a_definition_is_short() -> None:
    lengths = {node.name: (node.end_lineno or 0) - node.decorator_list[0].lineno + 1 for node in definitions()}
    assert lengths.keys() | {"alias"} == public_ops().keys()
    assert statistics.median(lengths.values()) <= 15, sorted(lengths.items(), key=lambda item: item[1])


def test_methods_and_functions_are_the_ops_themselves() -> None:
    ops = {name: value for name, value in vars(tz.ops).items() if isinstance(value, Op)}
    methods = {name: value for name, value in vars(tz.Tensor).items() if name in ops}
    assert len(methods) > 60
    others = {name for name, value in methods.items() if value is not ops[name]}
    assert others == {"polygamma"}  # x.polygamma(n) is polygamma(n, x)
    assert all(getattr(tz, name) is op for name, op in ops.items())
    assert all(value is ops[name] for name, value in vars(functional).items() if isinstance(value, Op))

"""Imports point one way: a module may import only layers that stand left of its own."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tinygrad_zoo"

LAYERS = [
    *("_checkout", "_version", "errors", "algorithms", "kernels", "explain", "signature", "grad_mode", "variable"),
    *("op", "autograd", "threads", "backend", "anomaly", "ops", "dtypes", "casts", "elsewhere", "interop", "tensor"),
    *(
        "creation",
        "draws",
        "array_api",
        "transforms",
        "capture",
        "nn",
        "losses",
        "optim",
        "amp",
        "distributions",
        "metrics",
        "data",
        "information",
    ),
    *("gradient_estimators", "stochastic_approximation", "optimal_transport", "integrate"),
    *("plotting", "recipe", "models"),
    *("training", "distributed", "testing", "demos", "cli", "__main__"),
]
ISOLATED = {"kernels", "algorithms"}  # they import nothing of ours
UNKNOWN_TO = {"autograd": {"kernels"}}  # the core knows no device
# What a module may import when it is itself imported; everything else is imported on first use.
EAGER = {"numpy"}
EAGER_IN = {"testing": {"hypothesis"}, "kernels": {"numba", "llvmlite"}, "algorithms": {"numba"}}
CUPY_IN = {"kernels", "backend"}
# It could be lifted out of the package: backend reaches it by name, as it does CuPy.
LIFTABLE = "testing/cupysim/"


@dataclass(frozen=True)
class Import:
    """One imported name: where, and whether it happens when the module is imported or for types alone."""

    target: str
    line: int
    eager: bool
    types: bool
    relative: bool


def imports(source: str, module: str, package: bool) -> Iterator[Import]:
    """Every import of `source`, at any depth, as absolute names; `from a import b` gives "a.b"."""
    lines = source.splitlines()

    def walk(node: ast.AST, eager: bool, types: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for name in child.names:
                    yield Import(name.name, child.lineno, eager, types, False)
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    parts = module.split(".")
                    parts = parts[: len(parts) - child.level + package]
                    base = ".".join([*parts, base] if base else parts)
                exempt = types and "# layers: " in lines[child.lineno - 1]
                for name in child.names:
                    yield Import(f"{base}.{name.name}", child.lineno, eager, exempt, child.level > 0)
            else:
                guard = isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING")
                function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
                yield from walk(child, eager and not function and not guard, types or guard)

    yield from walk(ast.parse(source), True, False)


def layer_of(target: str, names: set[str]) -> str | None:
    """The layer of an absolute name of ours; "" is a name of the package's own __init__, None not ours."""
    parts = target.split(".")
    if parts[0] != "tinygrad_zoo":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in names else ""


def violations(source: str, path: str, root_rank: int = len(LAYERS)) -> list[str]:
    """What the module at `path` ("ops/mul.py", relative to the package) imports and may not.

    `root_rank` is that of the rightmost layer which the package's `__init__` imports.
    """
    parts = path.removesuffix(".py").split("/")
    package = parts[-1] == "__init__"
    module = ".".join(["tinygrad_zoo", *(parts[:-1] if package else parts)])
    own = parts[0]
    names = set(LAYERS)
    if own not in names and own != "__init__":
        return [f"{path}: {own!r} has no layer: give it one in tests/test_layers.py"]
    found = []

    def complain(entry: Import, why: str) -> None:
        found.append(f"{path}:{entry.line}: imports {entry.target}: {why}")

    for entry in imports(source, module, package):
        layer = layer_of(entry.target, names)
        if layer is None:
            top = entry.target.split(".")[0]
            if top in ISOLATED:
                complain(entry, f"write tinygrad_zoo.{top}, or a relative import inside it")
            elif top in {"cupy", "cupyx"} and own not in CUPY_IN:
                complain(entry, "only kernels and backend know CuPy")
            elif entry.eager and top not in sys.stdlib_module_names | EAGER | EAGER_IN.get(own, set()):
                complain(entry, "third-party modules beyond NumPy are imported inside functions")
        elif own in ISOLATED:
            if layer != own or not entry.relative:
                complain(entry, f"{own} imports nothing of ours, and itself by relative imports")
        elif path.startswith(LIFTABLE):
            if not entry.target.startswith("tinygrad_zoo.testing.cupysim"):
                complain(entry, "the stand-in for CuPy imports nothing else of ours")
        elif layer in UNKNOWN_TO.get(own, set()):
            complain(entry, f"{own} knows no {layer}")
        elif own == "__init__" or entry.types:
            continue
        elif (LAYERS.index(layer) if layer else root_rank) > LAYERS.index(own):
            complain(entry, f"{layer or 'the package itself'} stands right of {own}")
    return found


def sources() -> list[str]:
    """The paths of all modules, relative to the package; the two linked folders included."""
    folders = [PACKAGE, PACKAGE / "kernels", PACKAGE / "algorithms"]
    paths = {path for folder in folders for path in folder.rglob("*.py")}
    return sorted(path.relative_to(PACKAGE).as_posix() for path in paths)


def test_every_module_imports_only_leftwards() -> None:
    init = (PACKAGE / "__init__.py").read_text("utf-8")
    layers = [layer_of(entry.target, set(LAYERS)) for entry in imports(init, "tinygrad_zoo", True) if entry.eager]
    root_rank = max(LAYERS.index(layer) for layer in layers if layer)
    found = [line for path in sources() for line in violations((PACKAGE / path).read_text("utf-8"), path, root_rank)]
    assert not found, "\n".join(found)


def test_the_walk_reaches_both_linked_folders() -> None:
    found = sources()
    assert {"__init__.py", "kernels/__init__.py", "algorithms/__init__.py", "autograd.py"} <= set(found)
    assert len(found) == len(set(found))


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ops/mul.py", "from ..tensor import Tensor"),
        ("ops/mul.py", "from .. import tensor"),
        ("ops/mul.py", "import tinygrad_zoo.tensor"),
        ("ops/mul.py", "from tinygrad_zoo import Tensor"),
        ("ops/mul.py", "def f():\n    if True:\n        from ..nn import Module"),
        ("ops/__init__.py", "from ..tensor import Tensor"),
        ("ops/mul.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..tensor import Tensor"),
        ("ops/mul.py", "from ..autograd import primitive; from ..cli import main"),
        ("autograd.py", "from .kernels import dispatch"),
        ("kernels/conv/cpu.py", "from ...errors import ShapeError"),
        ("kernels/conv/cpu.py", "from tinygrad_zoo.kernels import dispatch"),
        ("kernels/conv/cpu.py", "from kernels import dispatch"),
        ("algorithms/heaps.py", "from ..kernels import dispatch"),
        ("ops/linalg.py", "from scipy import linalg"),
        ("ops/linalg.py", "try:\n    import numba\nexcept ImportError:\n    pass"),
        ("ops/linalg.py", "class A:\n    import tqdm"),
        ("nn/linear.py", "def f():\n    import cupy"),
        ("testing/cupysim/calls.py", "from ...errors import ShapeError"),
        ("testing/cupysim/calls.py", "from ..layouts import zero_stride"),
        ("testing/cupysim/calls.py", "def f():\n    import cupy"),
        ("backend.py", "def f():\n    from .testing import cupysim"),
        ("brand_new.py", "import math"),
    ],
)
def test_a_violation_is_caught(path: str, source: str) -> None:
    assert violations(source, path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("ops/mul.py", "from ..autograd import primitive\nfrom .. import errors, kernels\nfrom . import add"),
        ("ops/__init__.py", "from .mul import mul\nfrom . import add\nfrom ..kernels import conv"),
        (
            "ops/linalg.py",
            "import numpy as np\nfrom collections.abc import Callable\ndef f():\n    import scipy.linalg",
        ),
        ("ops/mul.py", "if TYPE_CHECKING:\n    from ..tensor import Tensor  # layers: an op returns what it was given"),
        (
            "kernels/conv/cpu.py",
            "import numba\nfrom ..cuda import load\nfrom . import gpu\ndef f():\n    import cupy",
        ),
        ("testing/cupysim/calls.py", "from .api import entry\nfrom . import cuda"),
        ("testing/strategies.py", "import hypothesis\nfrom ..training import fit\nfrom . import laws"),
        (
            "models/flows/realnvp.py",
            "import tinygrad_zoo as tz\nfrom tinygrad_zoo import nn\nfrom ...recipe import Bar",
        ),
    ],
)
def test_what_is_allowed_is_not(path: str, source: str) -> None:
    assert not violations(source, path, LAYERS.index("transforms"))

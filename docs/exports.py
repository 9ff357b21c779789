"""Rewrites `tinygrad_zoo/ops/__init__.py` from the definitions beside it: `python docs/exports.py`."""

from __future__ import annotations

import ast
from pathlib import Path

OPS = Path(__file__).parents[1] / "tinygrad_zoo" / "ops"
DOC = '''"""The ops: one op, one definition: a module-level `Op` with forward, gradient rule, doc, reference, samples.

Written by docs/exports.py, from the definitions beside it.
"""'''
FUNCTIONS = {"random": ["draw_key"]}  # what is exported and no op


def defined(tree: ast.Module) -> list[str]:
    """The ops that a module defines, and its other names for ops (`amax = max`)."""
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            makers = {ast.unparse(d.func) for d in node.decorator_list if isinstance(d, ast.Call)}
            if makers & {"primitive", "fused"} and not node.name.startswith("_"):
                found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in found:
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


def text() -> str:
    """What the file should hold."""
    exports = {
        path.stem: sorted([*defined(ast.parse(path.read_text("utf-8"))), *FUNCTIONS.get(path.stem, [])])
        for path in sorted(OPS.glob("*.py"))
        if path.stem != "__init__"
    }
    lines = [DOC, ""]
    for module, names in exports.items():
        line = f"from .{module} import {', '.join(names)}"
        if len(line) > 120:
            line = f"from .{module} import (\n" + "".join(f"    {name},\n" for name in names) + ")"
        lines += [line] if names else []
    everything = sorted(name for names in exports.values() for name in names)
    if len(set(everything)) != len(everything):
        raise SystemExit(f"defined twice: {sorted({n for n in everything if everything.count(n) > 1})}")
    return "\n".join([*lines, "", "__all__ = [", *(f'    "{name}",' for name in everything), "]", ""])


if __name__ == "__main__":
    (OPS / "__init__.py").write_text(text(), "utf-8")

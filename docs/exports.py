"""Rewrites `tinygrad_zoo/ops/__init__.py`, from the definitions beside it, and `nn/functional.py`, from the names here.

Run: python docs/exports.py
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

OPS = Path(__file__).parents[1] / "tinygrad_zoo" / "ops"
DOC = '''"""The ops: one op, one definition: a module-level `Op` with forward, gradient rule, doc, reference, samples.

Written by docs/exports.py, from the definitions beside it.
"""'''
FUNCTIONS = {"random": ["draw_key"]}  # what is exported and no op

FUNCTIONAL = OPS.parent / "nn" / "functional.py"
FUNCTIONAL_DOC = '''"""The ops of `tinygrad_zoo.ops` that PyTorch keeps in `torch.nn.functional`, and their kin.

Written by docs/exports.py.
"""'''
FUNCTIONAL_NAMES = """
    adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d adaptive_max_pool2d
    adaptive_max_pool3d affine_grid avg_pool1d avg_pool2d avg_pool3d batch_norm binary_cross_entropy
    binary_cross_entropy_with_logits celu conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d
    cosine_embedding_loss cosine_similarity cross_entropy deform_conv2d deform_ps_roi_pool deform_roi_pool dropout
    elu embedding fold gaussian_nll_loss geglu gelu glu grid_sample group_norm gru_step gumbel_softmax hardshrink
    hardsigmoid hardswish hardtanh hinge_embedding_loss hinge_loss huber_loss instance_norm interpolate kl_div
    l1_loss layer_norm leaky_relu linear log_softmax logsigmoid lp_pool1d lp_pool2d lstm_step margin_ranking_loss
    max_pool1d max_pool2d max_pool3d max_unpool1d max_unpool2d max_unpool3d maxout mish mse_loss multi_margin_loss
    multilabel_soft_margin_loss nll_loss normalize one_hot pad pairwise_distance pixel_shuffle pixel_unshuffle
    poisson_nll_loss prelu ps_roi_pool quick_gelu reglu relu relu6 relu_squared rms_norm roi_align roi_pool rrelu
    selu sigmoid sign silu smooth_l1_loss soft_margin_loss softmax softmin softplus softshrink softsign step
    swiglu swish tanh tanhshrink threshold triplet_margin_loss unfold
"""


def defined(tree: ast.Module) -> list[str]:
    """The ops that a module defines, and its other names for ops (`amax = max`)."""
    found: list[str] = []
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            makers = {ast.unparse(d.func) for d in node.decorator_list if isinstance(d, ast.Call)}
            if makers & {"primitive", "fused", "composite"} and not node.name.startswith("_"):
                found.append(node.name)
        elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and node.value.id in found:
            found += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return found


def text() -> str:
    """What `ops/__init__.py` should hold."""
    exports = {
        path.stem: sorted([*defined(ast.parse(path.read_text("utf-8"))), *FUNCTIONS.get(path.stem, [])])
        for path in sorted(OPS.glob("*.py"))
        if path.stem != "__init__"
    }
    lines = [DOC, ""]
    lines += [imported(f".{module}", names) for module, names in exports.items() if names]
    everything = sorted(name for names in exports.values() for name in names)
    if len(set(everything)) != len(everything):
        raise SystemExit(f"defined twice: {sorted({n for n in everything if everything.count(n) > 1})}")
    return "\n".join([*lines, "", listed(everything)])


def functional() -> str:
    """What `nn/functional.py` should hold."""
    names = sorted(FUNCTIONAL_NAMES.split())
    return "\n".join([FUNCTIONAL_DOC, "", imported("..ops", names), "", listed(names)])


def natural(name: str) -> list[Any]:
    """Sorts log2 before log10, as ruff does."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def imported(module: str, names: list[str]) -> str:
    names = sorted(names, key=natural)
    line = f"from {module} import {', '.join(names)}"
    return line if len(line) <= 120 else f"from {module} import (\n" + "".join(f"    {n},\n" for n in names) + ")"


def listed(names: list[str]) -> str:
    return "\n".join(["__all__ = [", *(f'    "{name}",' for name in names), "]", ""])


if __name__ == "__main__":
    (OPS / "__init__.py").write_text(text(), "utf-8")
    FUNCTIONAL.write_text(functional(), "utf-8")

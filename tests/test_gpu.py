"""On CuPy and an NVIDIA GPU, by `pytest -m gpu`: the laws of every op, and every system's losses beside the CPU's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import backend
from tinygrad_zoo.amp import autocast
from tinygrad_zoo.recipe import Recipe, registered
from tinygrad_zoo.testing import Executed, op_laws, public_ops
from tinygrad_zoo.training import Saved, fit
from tinygrad_zoo.training.loop import advance, captured_step, prepare

pytestmark = pytest.mark.gpu
OPS = public_ops()
STEPS = 20
EARLY = 5  # steps after which losses of chaotic systems may part, since float32 sums have another order


@pytest.mark.parametrize("name", OPS)
def test_an_op_keeps_the_laws(name: str) -> None:
    op, ran = OPS[name], Executed()
    with backend.using("cupy"):
        for seed in range(2):
            ran.add(op_laws(op, seed))
    assert ran.laws["forward"] and ran.laws["bad_inputs"]
    if op.differentiable:
        assert ran.order1 > 0 and ran.order2 > 0 and ran.worst < 1e-7


@pytest.mark.parametrize("recipe", registered(), ids=lambda recipe: recipe.name)
def test_a_system_trains_as_on_the_cpu(recipe: Recipe[Any, Any], tmp_path: Path) -> None:
    losses = []
    for device in ("cpu", "cupy"):
        run = fit(recipe, out=tmp_path / device, steps=STEPS, device=device, progress=False)
        lines = (run.out / "metrics.jsonl").read_text("utf-8").splitlines()
        losses.append([json.loads(line)[recipe.metric] for line in lines])
    expected, made = np.array(losses)
    assert len(made) == STEPS and np.isfinite(made).all()
    np.testing.assert_allclose(made[:EARLY], expected[:EARLY], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(made, expected, rtol=0.05, atol=1e-3)


@pytest.mark.parametrize("recipe", registered(), ids=lambda recipe: recipe.name)
def test_captured_steps_are_those_of_eager_training(recipe: Recipe[Any, Any]) -> None:
    """By CUDA graphs; products, which eagerly are cuBLAS's, have a kernel of their own there."""
    with backend.using("cupy"):
        config = recipe.config.overridden({"steps": STEPS})
        eager, state = (prepare(recipe, config, seed=0) for _ in range(2))
        captured = captured_step(recipe, state)
        for _ in range(STEPS):
            expected, found = advance(recipe, eager), advance(recipe, state, captured)
            theirs = eager.model.state_dict()
            assert float(found[recipe.metric]) == pytest.approx(float(expected[recipe.metric]), rel=1e-4, abs=1e-5)
            for name, array in state.model.state_dict().items():
                ours, wanted = backend.to_host(array), backend.to_host(theirs[name])
                np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max(initial=1e-3))
            Saved.of(eager).restore(state)
    assert captured.counts["replayed"] > 0
    assert captured.report()["graphs"] > 0 or captured.report()["steps"] <= 2


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize(("queries", "keys", "columns"), [(65, 65, 64), (40, 130, 32), (128, 128, 128)])
def test_attention_on_tensor_cores(queries: int, keys: int, columns: int, precision: Any) -> None:
    """Forward and backward in 16 bits, beside float32 on the CPU."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 3, n, columns)).astype(np.float32) for n in (queries, keys, keys)]
    results = []
    for device, kind in (("cpu", "float32"), ("cupy", precision)):
        x = [tz.tensor(a, device=device, requires_grad=True) for a in arrays]
        with autocast(kind):
            out = tz.flash_attention(*x, is_causal=queries == keys)
        out.sum().backward()
        results.append([out.detach().numpy(), *(p.grad.numpy() for p in x)])
    for made, expected in zip(*reversed(results), strict=True):
        np.testing.assert_allclose(made, expected, rtol=0, atol=0.03 * np.abs(expected).max())

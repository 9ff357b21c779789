"""The laws on the stand-in for CuPy, and every system trained on it: NumPy's losses, no step that waits for it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import backend
from tinygrad_zoo.recipe import Recipe, find, registered
from tinygrad_zoo.testing import op_laws
from tinygrad_zoo.testing.cupysim.transfers import HiddenCopyError, forbid_sync, watch
from tinygrad_zoo.training import fit
from tinygrad_zoo.training.loop import advance, prepare

BY_KERNELS = 2  # steps in the emulation
STEPS = 4  # NumPy and the stand-in part at the first step that differs, and every one is compared
TRAINING = str(Path(sys.modules[fit.__module__].__file__ or "").parent)


# ---- ops that are right on NumPy and not on a device; each is x
def reads_in_the_forward(x: Any) -> Any:
    return x + 0.0 * float(abs(x).max())


def mixes_in_a_host_array(x: Any) -> Any:
    return x * np.ones(3, dtype=x.dtype)


def asks_for_what_cupy_has_not(x: Any) -> Any:
    return backend.namespace(x).add(x, 0, where=True)


def reads_in_the_rule(g: Any, out: Any, x: Any) -> Any:
    return g * (2.0 if g.sum() == 1e9 else 1.0)


WRONG: dict[str, tuple[Any, Any, str]] = {
    "a forward that reads": (reads_in_the_forward, None, r"copies: float\(\) copies from the device to the host"),
    "a rule that reads": (lambda x: x + 0, reads_in_the_rule, "copies: .* copies from the device to the host"),
    "a host array in the forward": (mixes_in_a_host_array, None, "Unsupported type"),
    "an argument that CuPy has not": (asks_for_what_cupy_has_not, None, "unexpected keyword argument 'where'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_the_laws_on_the_stand_in_see_what_numpy_does_not(what: str) -> None:
    forward, rule, message = WRONG[what]
    define = tz.primitive(
        vjp=(rule or (lambda g, out, x: g),), samples=lambda r: [(r.positive(3),)], reference=np.array
    )
    op = define(forward)
    assert not op_laws(op).laws["copies"]
    with backend.using("cupysim"), pytest.raises(tz.errors.TinygradZooError, match=message):
        op_laws(op)


def test_the_laws_on_the_stand_in_hold_of_a_right_op() -> None:
    with backend.using("cupysim"):
        ran = op_laws(tz.ops.mul)
    assert ran.laws["copies"] and ran.order1 and ran.order2


# ---- systems
def losses(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text("utf-8").splitlines()]


def same(found: list[dict[str, float]], expected: list[dict[str, float]]) -> None:
    assert len(found) == len(expected) == STEPS
    for a, b in zip(found, expected, strict=True):
        assert a == pytest.approx(b, rel=1e-6, abs=0)


def forbidding(recipe: Recipe[Any, Any]) -> Recipe[Any, Any]:
    """The recipe with a step that may not wait: forward, backward, clipping, update."""

    def step(state: Any, batch: Any) -> Any:
        with forbid_sync():
            return recipe.step(state, batch)

    return dataclasses.replace(recipe, step=step)


@pytest.mark.usefixtures("formulas")
@pytest.mark.parametrize("recipe", list(registered()), ids=lambda recipe: recipe.name)
def test_a_system_trains_as_on_numpy_and_its_steps_wait_for_nothing(recipe: Recipe[Any, Any], tmp_path: Path) -> None:
    models = []

    def build(*arguments: Any) -> Any:
        parts = recipe.build(*arguments)
        models.append(parts.model)
        return parts

    host = dataclasses.replace(recipe, build=build, figure=lambda state, path: None)  # it is drawn once, below
    expected = fit(host, out=tmp_path / "numpy", steps=STEPS, progress=False)
    with watch() as log:
        run = fit(forbidding(recipe), out=tmp_path / "cupysim", steps=STEPS, device="cupysim", progress=False)
    same(losses(run.out), losses(expected.out))
    assert run.metrics == pytest.approx(expected.metrics, rel=1e-6)
    # The loop reads before a checkpoint whether the parameters, if any, are finite: nobody else waits while it trains.
    checked = len([copy for copy in log.hidden if copy.place.startswith(TRAINING)])
    assert checked >= STEPS * any(True for _ in models[0].parameters())
    assert log.uploads >= STEPS
    assert json.loads((run.out / "config.json").read_text("utf-8"))["device"] == "cupysim:0"


@pytest.mark.parametrize("recipe", list(registered()), ids=lambda recipe: recipe.name)
def test_a_system_takes_its_steps_by_cuda_kernels(recipe: Recipe[Any, Any]) -> None:
    """In the emulation, beside the kernels of the CPU; their sums have another order."""
    metrics = []
    for device in ("cpu", "cupysim"):
        with backend.using(device):
            state = prepare(recipe, recipe.config, 0)
            metrics.append([advance(recipe, state)[recipe.metric] for _ in range(BY_KERNELS)])
    assert metrics[1] == pytest.approx(metrics[0], rel=1e-4, abs=1e-5)


def test_a_step_that_waits_is_caught(tmp_path: Path) -> None:
    recipe = find("digits_mlp")

    def step(state: Any, batch: Any) -> Any:
        metrics = recipe.step(state, batch)
        return {name: float(value) for name, value in metrics.items()}

    waiting = forbidding(dataclasses.replace(recipe, step=step))
    with pytest.raises(HiddenCopyError):
        fit(waiting, out=tmp_path / "run", steps=2, device="cupysim", progress=False)


def test_the_command_line_trains_on_the_backend_that_the_variable_names(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tinygrad_zoo", "train", "realnvp", "--steps", str(STEPS), "--quiet"]
    for device in ("numpy", "cupysim"):
        environment = os.environ | {"TINYGRAD_ZOO_BACKEND": device, "TINYGRAD_ZOO_KERNELS": "off"}
        out = ["--out", str(tmp_path / device)]
        made = subprocess.run([*command, *out], env=environment, capture_output=True, text=True, check=False)
        assert made.returncode == 0, made.stderr
    same(losses(tmp_path / "cupysim"), losses(tmp_path / "numpy"))


@pytest.mark.usefixtures("formulas")  # what a kernel computes is no matter here, and the emulation takes half a minute
def test_a_run_on_the_stand_in_resumes(tmp_path: Path) -> None:
    recipe = find("realnvp")
    whole = fit(recipe, out=tmp_path / "whole", steps=STEPS, device="cupysim", progress=False)
    fit(recipe, out=tmp_path / "parts", steps=STEPS, device="cupysim", progress=False, checkpoint_every=STEPS // 2)
    (tmp_path / "parts" / "result.json").unlink()
    resumed = fit(recipe, out=tmp_path / "parts", steps=STEPS, device="cupysim", progress=False, resume=True)
    assert resumed.metrics == whole.metrics
    assert losses(resumed.out) == losses(whole.out)

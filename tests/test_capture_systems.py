"""Every system of the zoo trained through `capture`, beside eager training.

Both runs take each step from the same state. Where all that is computed is computed by the same operations, the whole
runs are equal to the last bit: EXACT. In the others some sums are added up in another order, by the gradient rules on
tensors (which numpy adds up eagerly) or by the program, so a step is the same to rounding, and the captured run is put
back onto the eager one after every step: otherwise a difference of one bit would grow, as it does where a network plays
against another one.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tinygrad_zoo import backend
from tinygrad_zoo.recipe import Recipe, registered
from tinygrad_zoo.training import Saved
from tinygrad_zoo.training.loop import advance, captured_step, prepare

STEPS = 50
FEWER = {"pixel_digits": 30, "char_transformer": 30}  # the slowest steps
EARLIER: dict[str, dict[str, Any]] = {  # so that all phases come
    "critic_slope": {"one_sided_steps": 25},
    "smooth_f1": {"warmup": 25},
    "accuracy_and_entropy": {"switch": 25},
}
EXACT = {
    "activations", "bias", "char_transformer", "deformable_cnn", "digits_autoencoder", "digits_cnn", "digits_mlp",
    "digits_switches", "espcn", "incremental_mean", "kiefer_wolfowitz", "perceptron", "pixel_digits", "robbins_monro",
}  # fmt: skip

# How far one step may be off, of the largest entry of a parameter, and of a metric or 1.
OFF = 5e-6, 1e-6
LARGER = {
    "earth_mover": (5e-6, 5e-6),  # a difference of bounds
    "wgan_clip": (5e-6, 5e-6),  # a difference of means
    "glow": (5e-6, 1e-5),  # a sum of many logarithms of scales
}
# InfoNCE does not see what moves all h(y) alike, as these do, a hidden one where its unit is on for all y: such a
# gradient is 0 but for rounding, and Adam divides it by its own size.
ROUNDING, OF_ROUNDING = re.compile(r"infonce_\d+\.h\.\d\.bias"), 1e-2


@pytest.fixture(autouse=True)
def on_the_host() -> Any:
    with backend.using("cpu"):
        yield


def off(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any], scale: float = 0.0) -> float:
    """The largest difference, of the largest entry."""
    if np.array_equal(found, expected, equal_nan=True):
        return 0.0
    if not np.array_equal(np.isnan(found), np.isnan(expected)):
        return np.inf
    difference = np.nanmax(np.abs(found.astype(np.float64) - expected.astype(np.float64)))
    return float(difference / max(np.nanmax(np.abs(expected)), scale, 1e-300))


@pytest.mark.parametrize("recipe", registered(), ids=lambda recipe: recipe.name)
def test_captured_steps_are_those_of_eager_training(recipe: Recipe[Any, Any]) -> None:
    steps = FEWER.get(recipe.name, STEPS)
    config = recipe.config.overridden({"steps": steps, **EARLIER.get(recipe.name, {})})
    eager, state = (prepare(recipe, config, seed=0) for _ in range(2))
    captured = captured_step(recipe, state)
    exact, (of_parameters, of_metrics) = recipe.name in EXACT, LARGER.get(recipe.name, OFF)
    phases = set()
    for _ in range(steps):
        phases.add(recipe.phase(eager))
        expected, found = advance(recipe, eager), advance(recipe, state, captured)
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            here = off(np.asarray(float(found[name])), np.asarray(float(value)), scale=1.0)
            assert here <= (0 if exact else of_metrics), f"{name} after {eager.step} steps: off by {here:.1e}"
        theirs = eager.model.state_dict()
        for name, array in state.model.state_dict().items():
            here, most = off(array, theirs[name]), OF_ROUNDING if ROUNDING.fullmatch(name) else of_parameters
            assert here <= (0 if exact else most), f"{name} after {eager.step} steps: off by {here:.1e}"
        assert state.rng.bit_generator.state == eager.rng.bit_generator.state
        if not exact:
            Saved.of(eager).restore(state)
    counts = captured.counts
    assert counts["programs"] == len(phases) and counts["replayed"] >= steps - 3 * len(phases)
    if exact:
        assert Saved.of(state).checksum() == Saved.of(eager).checksum()

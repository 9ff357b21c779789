"""The minimum of a function of which only noisy values are seen (Kiefer & Wolfowitz 1952; SPSA: Spall 1992).

There is no gradient to be had, so differences (f̃(w + c_k eᵢ) − f̃(w − c_k eᵢ)) / 2c_k stand in for it. A narrow width
c_k magnifies the noise, a wide one is biased where f is no quadratic; so c_k = c/k^γ must fall, and slowly. Here f is
½‖w‖² in three dimensions: with a_k = 1/k and c = 1 the error of a coordinate is σ/√(2(2γ+1)) · k^-(1/2 − γ), a straight
line in logarithms, whose slope is measured for three γ over 400 runs. SPSA moves along one random diagonal instead of
along every axis: the same error after a step of 2 observations instead of 6.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, plotting
from ...backend import to_device
from ...data import Split
from ...grad_mode import effect
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...stochastic_approximation import PowerSteps, StepSize, kiefer_wolfowitz, last, spsa
from ...tensor import Tensor

DIM, SIGMA = 3, 0.5
GAMMAS = {"third": 1 / 3, "quarter": 1 / 4, "sixth": 1 / 6, "spsa": 1 / 6}
LABELS = {"third": "γ = 1/3", "quarter": "γ = 1/4", "sixth": "γ = 1/6", "spsa": "γ = 1/6, SPSA"}
OBSERVATIONS = {name: 2 if name == "spsa" else 2 * DIM for name in GAMMAS}  # a step


def exponent(gamma: float) -> float:
    """Of k in the error: −(1/2 − γ)."""
    return gamma - 0.5


def theory(k: Any, gamma: float) -> Any:
    """The root mean square error of a coordinate after k steps, for large k."""
    return SIGMA / math.sqrt(2 * (2 * gamma + 1)) * k ** exponent(gamma)


def log_slope(k: np.ndarray, errors: np.ndarray) -> float:
    """The slope of log error against log k by least squares, over the last two decades of k, evenly in log k.

    >>> k = np.arange(1, 5001)
    >>> round(log_slope(k, 3 * k**-0.25), 9)
    -0.25
    """
    chosen = np.unique(np.searchsorted(k, np.geomspace(max(k[0], k[-1] / 100), k[-1], 60)))
    return float(np.polyfit(np.log(k[chosen]), np.log(errors[chosen]), 1)[0])


class Runs(nn.Module):
    """The iterates of every method, (runs, DIM), and their root mean square error after every step (steps,)."""

    def __init__(self, start: np.ndarray, steps: int) -> None:
        self.w = {name: nn.Parameter(start, requires_grad=False) for name in GAMMAS}
        self.errors = {name: nn.Buffer(np.full(steps, np.nan)) for name in GAMMAS}


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_000
    batch_size: int = 1  # unused: an observation is made where w is, not taken from data
    updates: int = 10  # of every run, a step
    runs: int = 400


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Where the runs start."""
    start = rng.uniform(-2, 2, (config.runs, DIM))
    return Split(train=(start,), test=(start,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Runs]:
    return Parts(model=Runs(data.train[0], config.steps), optimizers={})


def search(
    name: str, w: Any, steps: StepSize, n: int, rng: np.random.Generator, *, first: int = 1, device: str = "cpu"
) -> Iterator[Any]:
    """The iterates of one method on ½‖w‖² + noise, from w (runs, DIM)."""

    def f(w: Any) -> Any:  # (…, DIM) -> (…)
        return (w * w).sum(axis=-1) / 2 + to_device(SIGMA * rng.standard_normal(w.shape[:-1]), device)

    width = PowerSteps(1.0, GAMMAS[name])
    if name == "spsa":
        return spsa(f, w, steps, width, n, rng=rng, first=first)
    return kiefer_wolfowitz(f, w, steps, width, n, first=first)


@effect
def go_on(state: State[Settings, Runs]) -> tuple[Tensor, ...]:
    """The next updates of every run: the errors of the methods after them."""
    n = state.config.updates
    errors = {}
    for name, iterate in state.model.w.items():
        first = state.step * n + 1
        iterate.data = last(search(name, iterate, PowerSteps(), n, state.rng, first=first, device=state.device))
        errors[name] = ops.sqrt(ops.mean(iterate**2))
        state.model.errors[name].data[state.step] = errors[name].data
        state.model.errors[name].mark_written()
    return tuple(errors.values())


def step(state: State[Settings, Runs], batch: Batch) -> dict[str, Tensor]:
    return dict(zip(state.model.errors, go_on(state), strict=True))


def curves(state: State[Settings, Runs]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """k, and the errors of every method then."""
    k = state.config.updates * np.arange(1, state.step + 1)
    return k, {name: errors.numpy()[: state.step] for name, errors in state.model.errors.items()}


def evaluate(state: State[Settings, Runs]) -> dict[str, float]:
    """The slopes of log error against log k; `slope_gap` is how far the worst of the γ is off −(1/2 − γ).

    SPSA's is left out of it: a first step along one diagonal leaves more of the start, which is still seen at k = 100.
    """
    k, errors = curves(state)
    slopes = {name: log_slope(k, errors[name]) for name in GAMMAS}
    gaps = [abs(slope - exponent(GAMMAS[name])) for name, slope in slopes.items() if name != "spsa"]
    return {"slope_gap": max(gaps), **{f"slope_{name}": slope for name, slope in slopes.items()}}


def baseline(data: Split) -> Mapping[str, float]:
    """The gap with a constant step size, whose error grows as the width falls."""
    k, errors = np.arange(1, 1001), []
    for w in search("sixth", data.train[0][:100], 0.1, len(k), np.random.default_rng(0)):
        errors.append(math.sqrt((w * w).mean()))
    return {"a constant step": abs(log_slope(k, np.array(errors)) - exponent(GAMMAS["sixth"]))}


def figure(state: State[Settings, Runs], path: Path) -> None:
    """Errors against steps beside theory, against observations, and one run of each as it nears the minimum."""
    k, errors = curves(state)
    colours = dict(zip(GAMMAS, ("#8c4fa8", plotting.BLUE, plotting.ORANGE, "#3c8d5a"), strict=True))
    fig, (steps, observations, runs) = plotting.figure(3, size=4)
    for name, gamma in GAMMAS.items():
        label = f"{LABELS[name]}: slope {log_slope(k, errors[name]):.3f}"
        steps.loglog(k, errors[name], color=colours[name], linewidth=1.2, label=label)
        if name != "spsa":
            theoretical = f"theory: {exponent(gamma):.3f}"
            steps.loglog(k, theory(k, gamma), color="black", linestyle="--", linewidth=0.8, label=theoretical)
        observations.loglog(k * OBSERVATIONS[name], errors[name], color=colours[name], label=LABELS[name])
        start = np.array([2.0, -2.0, 1.0])
        w = np.array(list(search(name, start, PowerSteps(1.0, 1.0, shift=10), 300, state.rng)))
        runs.plot(w[:, 0], w[:, 1], color=colours[name], linewidth=0.8, label=LABELS[name])
    steps.set(title=f"½‖w‖²: error over {state.config.runs} runs", xlabel="steps k", ylabel="root mean square")
    observations.set(title="what it cost", xlabel="observations of f", ylabel="root mean square")
    runs.set(title="one run of each, 300 steps", xlabel="w₁", ylabel="w₂")
    runs.plot([0], [0], color="black", marker="+", markersize=12)
    steps.set_ylim(top=6 * errors["third"].max())
    observations.set_ylim(top=4 * errors["third"].max())
    for ax in (steps, observations, runs):
        ax.legend(frameon=False, fontsize=7, loc="upper right")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="kiefer_wolfowitz",
    row="E4",
    family="stochastic_approximation",
    title="A minimum from noisy values, without gradients",
    paper="Kiefer & Wolfowitz 1952",
    config=Settings(),
    metric="sixth",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="slope_gap", at_most=0.04, seeds=3),
    figure=figure,
)

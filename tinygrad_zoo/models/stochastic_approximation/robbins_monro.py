"""The root of tanh(w − 1), of which only noisy values are seen (Robbins & Monro 1951).

w ← w − a_k (g(w) + η_k) from w = 3, in 2000 runs at once. With a_k = 1/k, √k (w_k − 1) → N(0, σ²): the slope c at the
root is 1, and a²σ²/(2ac − 1) = σ². The mean of the iterates of a_k = k^-2/3 does as well without knowing the slope
(Polyak & Ruppert). What breaks a condition fails: 1/k² is summable and stalls on the way, a constant step hovers about
the root for ever, and the slope of w³ − 5 is unbounded, so that a start too far out is thrown farther at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, plotting
from ...backend import namespace, to_device
from ...data import Split
from ...grad_mode import effect
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...stochastic_approximation import PowerSteps, RunningMean, check_conditions, incremental_mean, last, robbins_monro
from ...tensor import Tensor

ROOT, CUBE_ROOT, SIGMA = 1.0, 5 ** (1 / 3), 0.5
STEPS = {
    "harmonic": PowerSteps(1.0, 1.0),
    "averaged": PowerSteps(1.0, 2 / 3),
    "stalling": PowerSteps(1.0, 2.0),
    "hovering": PowerSteps(0.1, 0.0),
}
LABELS = {
    "harmonic": "1/k",
    "averaged": "k^-2/3, averaged",
    "stalling": "1/k²: stalls",
    "hovering": "0.1: hovers",
}
CUBIC = {"near": 2.0, "far": 6.0}  # starts of the search for the root of w³ − 5, by a_k = 0.1/k
CUBIC_STEPS = PowerSteps(0.1, 1.0)
LOST = 1e6  # a run of the cubic this far out is left where it is: a few steps more and it would overflow


def cubic(w: Any) -> Any:
    """w³ − 5, whose slope 3w² is unbounded."""
    return w * w * w - 5.0


class Runs(nn.Module):
    """The iterates of every method (runs,), and their root mean square error after every step (steps,)."""

    def __init__(self, start: np.ndarray, steps: int) -> None:
        self.w = {name: nn.Parameter(start, requires_grad=False) for name in STEPS}
        self.cubic = {name: nn.Buffer(0 * start + w) for name, w in CUBIC.items()}
        self.errors = {name: nn.Buffer(np.full(steps, np.nan)) for name in (*STEPS, *CUBIC)}


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_000
    batch_size: int = 1  # unused: an observation is made where w is, not taken from data
    updates: int = 10  # of every run, a step
    runs: int = 2_000


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Where the runs start."""
    start = np.full(config.runs, 3.0)
    return Split(train=(start,), test=(start,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Runs]:
    return Parts(model=Runs(data.train[0], config.steps), optimizers={}, extras={"averaged": RunningMean()})


@effect
def go_on(state: State[Settings, Runs]) -> tuple[Tensor, ...]:
    """The next updates of every run: the errors of the methods after them."""
    model, average, n = state.model, state.extras["averaged"], state.config.updates
    first = state.step * n + 1

    def observed(g: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda w: g(w) + to_device(SIGMA * state.rng.standard_normal(w.shape), state.device)

    def search(iterate: Tensor, g: Callable[[Any], Any], steps: PowerSteps) -> Any:
        for w in robbins_monro(g, iterate, steps, n, first=first):
            iterate.data = w
            yield w

    found = {}
    for name, steps in STEPS.items():
        iterates = search(model.w[name], observed(lambda w: ops.tanh(w - ROOT)), steps)
        w = last(average.update(w).mean for w in iterates) if name == "averaged" else last(iterates)
        found[name] = w - ROOT
    for name, iterate in model.cubic.items():
        noisy = observed(cubic)
        g = lambda w, noisy=noisy: namespace(w).where(abs(w) < LOST, noisy(w), 0.0)
        found[name] = last(search(iterate, g, CUBIC_STEPS)) - CUBE_ROOT
    errors = {name: ops.sqrt(ops.mean(Tensor(error) ** 2)) for name, error in found.items()}
    for name, error in errors.items():
        model.errors[name].data[state.step] = error.data
        model.errors[name].mark_written()
    return tuple(errors.values())


def step(state: State[Settings, Runs], batch: Batch) -> dict[str, Tensor]:
    return dict(zip(state.model.errors, go_on(state), strict=True))


def evaluate(state: State[Settings, Runs]) -> dict[str, float]:
    """Errors of the last iterates. `clt_gap`: how far √k · error is off σ, for 1/k on either side, averaged above."""
    k = state.step * state.config.updates
    errors = {name: float(error.numpy()[state.step - 1]) for name, error in state.model.errors.items()}
    ratios = {name: math.sqrt(k) * errors[name] / SIGMA for name in ("harmonic", "averaged")}
    return {
        "clt_gap": max(abs(ratios["harmonic"] - 1), ratios["averaged"] - 1),
        **{f"rmse_{name}": error for name, error in errors.items()},
    }


def baseline(data: Split) -> Mapping[str, float]:
    """The gap of the constant step, whose error stays at about √(ασ²/(2−α)), at the recipe's last k."""
    alpha, k = STEPS["hovering"].a, Settings().steps * Settings().updates
    return {"a constant step": math.sqrt(k * alpha / (2 - alpha)) - 1}


# ---- the picture
COLOURS = dict(zip(STEPS, (plotting.BLUE, "#3c8d5a", "#8c4fa8", plotting.ORANGE), strict=True))


def figure(state: State[Settings, Runs], path: Path) -> None:
    """Errors against k, the scaled errors beside their limits, which condition each method breaks, and the cubic."""
    model, every = state.model, state.config.updates
    k = every * np.arange(1, state.config.steps + 1)
    fig, (errors, limit, paths, lost) = plotting.figure((2, 2), size=4)
    for name in STEPS:
        errors.loglog(k, model.errors[name].numpy(), color=COLOURS[name], label=LABELS[name])
    errors.loglog(k, SIGMA / np.sqrt(k), color="black", linestyle="--", linewidth=1, label="σ/√k")
    errors.set(title=f"tanh(w − 1): error over {state.config.runs} runs", xlabel="k", ylabel="root mean square")
    errors.set_ylim(top=30)

    last_k = state.step * every
    scaled = math.sqrt(last_k) * (model.w["harmonic"].numpy() - ROOT)
    grid = np.linspace(-4, 4, 200) * SIGMA
    limit.hist(scaled, bins=40, range=(-4 * SIGMA, 4 * SIGMA), density=True, color=plotting.GREY, label="1/k")
    density = np.exp(-grid * grid / (2 * SIGMA**2)) / (SIGMA * math.sqrt(2 * math.pi))
    limit.plot(grid, density, color=plotting.BLUE, label="N(0, σ²)")
    limit.set(
        title=f"√k (w − 1): deviation {scaled.std():.3f}, theory {SIGMA:g}", xlabel="√k (w − 1)", ylabel="density"
    )
    limit.set_ylim(top=1.3 * density.max())

    noise = SIGMA * state.rng.standard_normal(1_000)

    def observed(g: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda w: g(w) + SIGMA * state.rng.standard_normal()

    for name, steps in STEPS.items():
        iterates = robbins_monro(observed(lambda w: np.tanh(w - ROOT)), 3.0, steps, 2_000)
        w = list(incremental_mean(iterates) if name == "averaged" else iterates)
        broken = check_conditions(lambda w: ops.tanh(w - ROOT), -1.0, 3.0, steps, noise).failures
        label = f"{LABELS[name].split(':')[0]}: {'; '.join(broken) or 'all conditions hold'}"
        paths.semilogx(range(1, 2_001), w, color=COLOURS[name], linewidth=1, label=label)
    paths.axhline(ROOT, color="black", linestyle="--", linewidth=1)
    paths.set(title="one run of each", xlabel="k", ylabel="w_k", ylim=(0, 5))

    for (name, start), colour in zip(CUBIC.items(), (plotting.BLUE, plotting.ORANGE), strict=True):
        run = takewhile(lambda w: abs(w) < 1e30, robbins_monro(observed(cubic), start, CUBIC_STEPS, 2_000))
        distances = np.abs(np.array([start, *run]) - CUBE_ROOT)
        text = f"from {start:g}; error of all runs {model.errors[name].numpy()[state.step - 1]:.1g}"
        lost.loglog(
            range(1, len(distances) + 1), distances, color=colour, marker=".", markersize=3, linewidth=0.8, label=text
        )
    slopes = check_conditions(cubic, 1.0, 3.0, CUBIC_STEPS, noise)
    title = f"w³ − 5: slopes up to {slopes.slopes[1]:.0f}, farther out {slopes.beyond:.0f}"
    lost.set(title=title, xlabel="k", ylabel="|w_k − root|", ylim=(1e-6, 1e22))
    for ax in (errors, limit, paths, lost):
        ax.legend(frameon=False, fontsize=8, loc="upper right")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="robbins_monro",
    row="E4",
    family="stochastic_approximation",
    title="The root of tanh(w − 1) from noisy values",
    paper="Robbins & Monro 1951",
    config=Settings(),
    metric="harmonic",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="clt_gap", at_most=0.1, seeds=3),
    figure=figure,
)

"""A mean that moves, estimated one observation at a time (the setting of Robbins & Monro 1951).

w ← w − α_k (w − x_k) needs no memory of the x before. With α_k = 1/k it is their exact mean, which averages over the
whole past, and so lags ever farther behind a mean that drifts. With a constant α it forgets: the weights α(1−α)^age
make an average over about 2/α of the latest, which follows the drift and never settles: its variance stays
σ²α/(2−α). 2000 dice are rolled side by side while the number that is added to them swings slowly; their estimates'
empirical variance, from step 5/α on, must be that.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import nn, ops, plotting
from ...data import Split
from ...errors import UsageError
from ...grad_mode import effect
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...stochastic_approximation import RunningMean
from ...tensor import Tensor

FACES = np.arange(1, 7)  # each of probability 1/6
MEAN = float(FACES.mean())  # E[X] = Σ p_i x_i
VARIANCE = float(((FACES - MEAN) ** 2).mean())
SWING, PERIOD = 2.0, 800  # of what is added: SWING · sin(2πk / PERIOD)
ALPHA = 0.05
ESTIMATES = ("exact", "tracking")  # α_k = 1/k, α_k = α


def moving_mean(k: int) -> float:
    """E[X_k] at step k = 1, 2, …

    >>> moving_mean(PERIOD), moving_mean(PERIOD // 4)
    (3.5, 5.5)
    """
    return MEAN + SWING * round(math.sin(2 * math.pi * k / PERIOD), 12)


def variance_of_constant_step(alpha: float) -> float:
    """σ²α/(2−α): what the estimates of a constant step size α keep, however many the observations."""
    return VARIANCE * alpha / (2 - alpha)


class Course(nn.Module):
    """What one of the runs estimated at every step: (steps,) for each way to estimate."""

    def __init__(self, steps: int) -> None:
        self.estimates = {name: nn.Buffer(np.full(steps, np.nan)) for name in ESTIMATES}


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 2_000
    batch_size: int = 1  # observations of each run at a step
    alpha: float = ALPHA
    runs: int = 2_000


def data(config: Settings, rng: np.random.Generator) -> Split:
    rolls = rng.choice(FACES, (2_000, config.runs)).astype(np.float64)  # (time, runs), in any order of time
    return Split(train=(rolls,), test=(rolls,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Course]:
    if not 0 < config.alpha < 1 or config.batch_size != 1:
        raise UsageError(f"incremental_mean: expected 0 < alpha < 1 and batch_size = 1, got {config}")
    estimators = {"exact": RunningMean(), "tracking": RunningMean(config.alpha)}
    found = {name: RunningMean() for name in ("variance", *(f"square_{name}" for name in ESTIMATES))}
    return Parts(model=Course(config.steps), optimizers={}, extras={**estimators, **found})


@effect
def observe(state: State[Settings, Course], rolls: Tensor) -> tuple[Tensor, ...]:
    """One more roll of each run, (1, runs): the errors of the ESTIMATES after it."""
    k, extras, mean = state.step + 1, state.extras, moving_mean(state.step + 1)
    x = rolls.data[0] + (mean - MEAN)
    errors, settled = [], k > 5 / state.config.alpha
    for name in ESTIMATES:
        w = Tensor(extras[name].update(x).mean)  # (runs,)
        square = ops.mean((w - mean) ** 2)
        errors.append(ops.sqrt(square))
        if settled:
            extras[f"square_{name}"].update(square)
        course = state.model.estimates[name]
        course.data[state.step] = w.data[0]
        course.mark_written()
    if settled:
        extras["variance"].update(ops.var(w))  # over the runs, which share the drift
    return tuple(errors)


def step(state: State[Settings, Course], batch: Batch) -> dict[str, Tensor]:
    return dict(zip(ESTIMATES, observe(state, *batch), strict=True))


def evaluate(state: State[Settings, Course]) -> dict[str, float]:
    """`variance_gap` is |empirical / σ²α/(2−α) − 1|; `error_…` the root mean square errors over runs and steps.

    Of the first 5/α steps nothing is counted: they end with a gap of 1 and errors of 0.
    """
    expected = variance_of_constant_step(state.config.alpha)
    variance, squares = state.extras["variance"], {name: state.extras[f"square_{name}"] for name in ESTIMATES}
    return {
        "variance_gap": abs(float(variance.mean) / expected - 1) if variance.count else 1.0,
        "variance_expected": expected,
        **{f"error_{name}": math.sqrt(float(x.mean)) if x.count else 0.0 for name, x in squares.items()},
    }


def estimate(state: State[Settings, Course], name: str) -> np.ndarray:
    """The present estimates of all runs, on the host: (runs,)."""
    return Tensor(state.extras[name].mean).numpy()


def baseline(data: Split) -> Mapping[str, float]:
    """What the gap would be did the exact mean, or the latest observation alone, take the place of the estimate."""
    (rolls,) = data.train
    expected = variance_of_constant_step(ALPHA)
    exact, latest = rolls.mean(axis=0).var(ddof=1), rolls[-1].var(ddof=1)
    return {"the exact mean, 1/k": abs(exact / expected - 1), "the latest observation": abs(latest / expected - 1)}


def figure(state: State[Settings, Course], path: Path) -> None:
    """The course of one run, the errors of all, and the spread of their estimates in the end beside its variance."""
    alpha, expected = state.config.alpha, variance_of_constant_step(state.config.alpha)
    colours = dict(zip(ESTIMATES, (plotting.BLUE, plotting.ORANGE), strict=True))
    labels = dict(zip(ESTIMATES, ("α = 1/k", f"α = {alpha:g}"), strict=True))
    steps = np.arange(1, state.config.steps + 1)
    fig, (course, errors, spread) = plotting.figure(3, size=4)
    course.plot(steps, [moving_mean(int(k)) for k in steps], color="black", linestyle="--", label="the mean")
    for name in ESTIMATES:
        course.plot(steps, state.model.estimates[name].numpy(), color=colours[name], linewidth=1, label=labels[name])
        line = [entry[name] for entry in state.history]
        errors.plot([entry["step"] for entry in state.history], line, color=colours[name], label=labels[name])
    errors.axhline(math.sqrt(expected), color=plotting.GREY, linestyle="--", label="√(σ²α/(2−α))")
    course.set(title="one die, its mean drifting", xlabel="observation", ylabel="estimate", ylim=(0.5, 8))
    errors.set(title=f"error over {state.config.runs} dice", xlabel="observation", ylabel="RMS", ylim=(0, 3))
    final = estimate(state, "tracking")
    grid = np.linspace(-4, 4, 200) * math.sqrt(expected)
    density = np.exp(-grid * grid / (2 * expected)) / math.sqrt(2 * math.pi * expected)
    spread.hist(final - final.mean(), bins=40, density=True, color=plotting.GREY, label=f"α = {alpha:g}, last step")
    spread.plot(grid, density, color=plotting.ORANGE, label="N(0, σ²α/(2−α))")
    found = f"{float(state.extras['variance'].mean):.4f}" if state.extras["variance"].count else "none yet"
    spread.set(title=f"variance {found}, theory {expected:.4f}", xlabel="estimate − its mean", ylabel="density")
    spread.set_ylim(top=1.35 * density.max())
    for ax in (course, errors, spread):
        ax.legend(frameon=False, fontsize=8, loc="upper right")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="incremental_mean",
    row="E3",
    family="stochastic_approximation",
    title="A drifting mean, by 1/k and by a constant step",
    paper="Robbins & Monro 1951",
    config=Settings(),
    metric="tracking",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="variance_gap", at_most=0.05, seeds=3),
    figure=figure,
)

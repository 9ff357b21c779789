"""The perceptron and its learning rule (Rosenblatt, The Perceptron, 1958; Novikoff 1962; Gallant's pocket, 1990).

The unit 1[w·x > T] has no slope to descend, so it learns from its mistakes alone: one that should have fired gets the
example added to its weights, one that should not has it subtracted, and T = −b moves likewise. If some plane separates
the examples with margin γ and none is longer than R, there are at most (R/γ)² mistakes, in whatever order they come:
setosa against the other irises. If none does the mistakes never end, as for XOR; then a pocket keeps the best weights
met so far: versicolor, which lies between the other two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...backend import namespace
from ...data import Split, train_test_split
from ...grad_mode import effect, enable_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from .iris import iris
from .logic import xor
from .rule import Perceptron, Pocket, hard_margin

CORNERS, PARITY = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1, 0])


class Model(nn.Module):
    """Two perceptrons, the pocket of the second, and the course of the first: w₁, w₂, b after every step (steps, 3)."""

    def __init__(self, train: tuple[Any, ...], steps: int) -> None:
        x, species = train
        self.setosa, self.versicolor = Perceptron(x.shape[1]), Perceptron(x.shape[1])
        self.pocket = Pocket(self.versicolor)
        self.x, self.signs = nn.Buffer(x), nn.Buffer(np.where(species == 1, 1.0, -1.0))
        self.mistakes = nn.Buffer(np.zeros(()))
        self.course = nn.Buffer(np.zeros((steps, x.shape[1] + 1)))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 600
    batch_size: int = 1  # the rule takes one example after the other


def data(config: Settings, rng: np.random.Generator) -> Split:
    x, species = iris("petal length", "petal width")
    return train_test_split((x, species), n_test=30, rng=0, stratify=species)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Model]:
    return Parts(model=Model(data.train, config.steps), optimizers={})


@effect
def learn(state: State[Settings, Model], examples: Tensor, kinds: Tensor) -> tuple[Tensor, ...]:
    """From x (N, 2) and species (N,), in turn: the mistakes so far, the errors of the last weights, the pocket's."""
    model, where = state.model, namespace(examples.data).where
    for x, species in zip(examples.data, kinds.data, strict=True):  # (2,), ()
        wrong = model.setosa.correct(x, where(species == 0, 1.0, -1.0))
        model.mistakes.data[...] += wrong
        model.mistakes.mark_written()
        model.versicolor.correct(x, where(species == 1, 1.0, -1.0))
        model.pocket.keep(model.versicolor, model.x.data, model.signs.data)
    model.course.data[state.step, :-1] = model.setosa.weight.data[0]
    model.course.data[state.step, -1:] = model.setosa.bias.data
    model.course.mark_written()
    plain = ops.mean((model.signs * model.versicolor.potential(model.x)[:, 0] <= 0).astype("float64"))
    return model.mistakes * 1.0, plain, model.pocket.errors / len(model.x)


def step(state: State[Settings, Model], batch: Batch) -> dict[str, Tensor]:
    return dict(zip(("mistakes", "plain", "pocket"), learn(state, *batch), strict=True))


def errors(unit: nn.ThresholdUnit, x: Any, fires: Any) -> int:
    """How many of the examples x (N, n_features) it takes for what they are not; `fires` (N,) are booleans."""
    return int(((unit(tensor(x, device=unit.weight.device)).numpy()[:, 0] > 0) != fires).sum())


def evaluate(state: State[Settings, Model]) -> dict[str, float]:
    """`novikoff` is mistakes / (R/γ)², and 1 more for each flower of the training set that is still taken wrongly."""
    model, (x, species), (test_x, test_species) = state.model, state.data.train, state.data.test
    margin, radius = hard_margin(x, np.where(species == 0, 1, -1))
    bound, mistakes = (radius / margin) ** 2, float(model.mistakes)
    wrong = errors(model.setosa, x, species == 0)
    return {
        "novikoff": mistakes / bound + wrong,
        "mistakes": mistakes,
        "bound": bound,
        "setosa_accuracy": 1 - errors(model.setosa, test_x, test_species == 0) / len(test_x),
        "versicolor_errors": errors(model.versicolor, x, species == 1) / len(x),
        "pocket_errors": float(model.pocket.errors) / len(x),
    }


def baseline(data: Split) -> Mapping[str, float]:
    """The same unit by gradient descent: no gradient comes through the step, so every setosa stays unseen."""
    x, species = data.train
    unit = nn.ThresholdUnit(x.shape[1]).to("float64")
    optimizer = optim.SGD(unit.parameters(), lr=0.1)
    with enable_grad():
        for _ in range(20):
            optimizer.zero_grad()
            ops.mse_loss(unit(tensor(x))[:, 0], tensor(np.where(species == 0, 1.0, 0.0))).backward()
            optimizer.step()
    return {"gradient descent": float(errors(unit, x, species == 0))}


def figure(state: State[Settings, Model], path: Path) -> None:
    """The line's way to the flowers it separates, mistakes beside Novikoff's bound, the pocket, and XOR."""
    metrics, (x, species) = evaluate(state), state.data.train
    course, history = state.model.course.numpy(), state.history
    fig, (lines, mistakes, kept, gate) = plotting.figure((2, 2), size=4)
    for sort, colour, label in ((species == 0, plotting.BLUE, "setosa"), (species != 0, plotting.ORANGE, "the others")):
        lines.scatter(*x[sort].T, s=8, color=colour, label=label)
    moves = np.flatnonzero(np.any(np.diff(course, axis=0) != 0, axis=1)) + 1
    along = np.array([0.0, 8.0])
    for n, k in enumerate(moves):
        (w1, w2, b), done = course[k], n == len(moves) - 1
        if w2:
            shade = "black" if done else str(0.85 - 0.5 * n / len(moves))
            text = f"the line after {len(moves) + 1} mistakes" if done else None
            lines.plot(along, -(b + w1 * along) / w2, color=shade, linewidth=1.8 if done else 0.7, label=text)
    lines.set(title="the separating line's path", xlabel="petal length, cm", ylabel="petal width, cm")
    lines.set(xlim=(0, 8), ylim=(-1, 4))

    steps = [line["step"] for line in history]
    mistakes.semilogy(steps, [line["mistakes"] for line in history], color=plotting.BLUE, label="setosa")
    mistakes.axhline(metrics["bound"], color="black", linestyle="--", label=f"(R/γ)² = {metrics['bound']:.0f}")
    alone = Perceptron(2).to("cpu").fit(CORNERS, PARITY, max_epochs=len(steps) // 4)
    counted = np.cumsum(alone.mistakes_per_epoch_)
    mistakes.semilogy(4 * np.arange(1, len(counted) + 1), counted, color=plotting.ORANGE, label="XOR: no bound")
    mistakes.set(
        title=f"setosa: {metrics['mistakes']:.0f} mistakes in all", xlabel="examples seen", ylabel="mistakes so far"
    )

    for name, colour, label in (
        ("plain", plotting.GREY, "present weights"),
        ("pocket", plotting.BLUE, "in the pocket"),
    ):
        kept.plot(steps, [line[name] for line in history], color=colour, label=label)
    kept.set(title="versicolor: no line separates it", xlabel="examples seen", ylabel="share of errors", ylim=(0, 1))

    side = np.linspace(-0.5, 1.5, 200)
    plane = np.stack(np.meshgrid(side, side), axis=-1)  # (200, 200, 2)
    gate.imshow(
        xor().to("cpu")(plane).numpy()[..., 0], origin="lower", extent=(-0.5, 1.5, -0.5, 1.5), cmap="Blues", vmax=2
    )
    for corner, fires in zip(CORNERS, PARITY, strict=True):
        gate.text(*corner, str(fires), ha="center", va="center", fontsize=14)
    gate.set(title="XOR of two layers of threshold units", xlabel="x₁", ylabel="x₂")
    for ax, place in ((lines, "upper left"), (mistakes, "lower right"), (kept, "upper right")):
        ax.legend(frameon=False, fontsize=8, loc=place)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="perceptron",
    row="P1",
    family="perceptron",
    title="Rosenblatt's rule on irises",
    paper="Rosenblatt 1958",
    config=Settings(),
    metric="mistakes",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="novikoff", at_most=1.0, seeds=3),
    figure=figure,
)

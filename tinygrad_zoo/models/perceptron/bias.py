"""A bias is a threshold that is learnt: w·x > T is w·x + b > 0 with b = −T (after McCulloch & Pitts 1943).

With the threshold on the left it is one weight more, on an input that is always 1, and the rule or the gradient that
moves the weights moves it too. Four things are shown: the share of inputs that fire falls as T rises; a unit that
learns its threshold is at least as right as the best of a grid of fixed ones (versicolor against the other irises, by
one feature); y = 3 + 2x is fitted with a bias, while without one the best line through 0 is what remains; and before a
batch normalisation, which subtracts the mean, a bias does nothing: its gradient is 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split
from ...errors import DTypeError, ShapeError
from ...grad_mode import enable_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, as_tensor, tensor
from .iris import iris
from .rule import Perceptron

INTERCEPT, SLOPE = 3.0, 2.0
FEATURE = "sepal width"  # the one by which versicolor is told from the others
GRID = 15  # fixed thresholds, evenly over the feature's range


def fold_bias(weight: Any, bias: Any) -> Any:
    """[W | b], with which W x + b = [W | b] (x, 1): (out, in) and (out,) → (out, in + 1).

    Raises DTypeError for a bias that is None, ShapeError for other shapes.

    >>> fold_bias([[2.0]], [3.0]).tolist()
    [[2.0, 3.0]]
    """
    if bias is None:
        raise DTypeError("fold_bias: expected bias (out,), got None: without one, [W | b] is W alone: write that")
    weight, bias = as_tensor(weight), as_tensor(bias)
    if weight.ndim != 2 or bias.shape != (weight.shape[0],):
        raise ShapeError(f"fold_bias: expected weight (out, in) and bias (out,), got {weight.shape} and {bias.shape}")
    return ops.concat([weight, bias[:, None]], axis=1)


def threshold_sweep(x: Any, weight: Any, thresholds: Any) -> Any:
    """The share of examples x (N, d) whose w·x exceeds each T: weight (d,), thresholds (n,) → (n,), on the host.

    >>> threshold_sweep(np.array([[1.0], [2.0], [3.0], [4.0]]), np.array([1.0]), np.array([0.0, 2.0, 5.0])).tolist()
    [1.0, 0.5, 0.0]
    """
    unit = nn.ThresholdUnit(len(weight), len(thresholds)).to("cpu")
    unit.weight.data = np.tile(np.asarray(weight), (len(thresholds), 1))
    unit.bias.data = -np.asarray(thresholds)
    return unit(x).mean(axis=0).numpy()


def best_of_grid(x: Any, fires: Any, n: int) -> tuple[float, Any, Any]:
    """The best accuracy of ±x > ±T over n fixed thresholds T, the grid, and the accuracy of the better sign at each.

    x (N,), fires (N,) booleans.
    """
    grid = np.linspace(x.min(), x.max(), n)
    above = ((x[:, None] > grid) == fires[:, None]).mean(axis=0)  # (n,)
    below = ((x[:, None] < grid) == fires[:, None]).mean(axis=0)
    accuracy = np.maximum(above, below)
    return float(accuracy.max()), grid, accuracy


class Lines(nn.Module):
    """y = w x with a bias and without, in float64: (N, 1) → (N, 1) each."""

    def __init__(self, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.lines = nn.ModuleDict({"biased": nn.Linear(1, 1, rng=rng), "free": nn.Linear(1, 1, bias=False, rng=rng)})
        self.to("float64")

    def forward(self, x: Any) -> dict[str, Any]:
        return {name: self.lines[name](x) for name in ("biased", "free")}


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 400
    batch_size: int = 64
    lr: float = 0.2


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Points of y = 3 + 2x, x about 0.5, without noise."""
    x = rng.normal(0.5, 1.0, (256, 1))
    y = INTERCEPT + SLOPE * x
    return Split(train=(x[:192], y[:192]), test=(x[192:], y[192:]))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Lines]:
    model = Lines(rng=rng)
    optimizer = optim.SGD(model.parameters(), lr=config.lr)
    return Parts(
        model=model,
        optimizers={"sgd": optimizer},
        schedules={"cosine": optim.CosineAnnealingLR(optimizer, config.steps)},
    )


def step(state: State[Settings, Lines], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 1), (N, 1)
    losses = {name: ops.mse_loss(line, y) for name, line in state.model(x).items()}
    optimizer = state.optimizers["sgd"]
    optimizer.zero_grad()
    (losses["biased"] + losses["free"]).backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return losses


@enable_grad()
def gradient_before_batch_norm(rng: np.random.Generator) -> float:
    """The largest gradient of the bias of a layer that batch normalisation follows."""
    layer, norm = nn.Linear(5, 4, rng=rng).to("float64"), nn.BatchNorm1d(4).to("float64")
    x, weights = (tensor(rng.standard_normal(shape), "float64") for shape in ((32, 5), (32, 4)))
    (ops.tanh(norm(layer(x))) * weights).sum().backward()
    _, bias = layer.parameters()
    return float(abs(bias.grad).max())


def learnt_unit(seed: int) -> tuple[Perceptron, Any, Any]:
    """A perceptron of one feature with its weights from the pocket, the feature (150,), and where it shall fire."""
    x, species = iris(FEATURE)
    unit = Perceptron(1).to("cpu")
    unit.fit(x, species == 1, shuffle=True, pocket=True, max_epochs=60, rng=np.random.default_rng(seed))
    return unit, x[:, 0], species == 1


def evaluate(state: State[Settings, Lines]) -> dict[str, float]:
    """Errors on the test points, accuracies on the irises, and the gradient of a bias before batch normalisation."""
    x, y = (tensor(array, device=state.device) for array in state.data.test)
    unit, feature, fires = learnt_unit(state.seed)
    learnt = float(((unit(feature[:, None]).numpy()[:, 0] > 0) == fires).mean())
    best = best_of_grid(feature, fires, GRID)[0]
    return {
        **{f"mse_{name}": float(ops.mse_loss(line, y)) for name, line in state.model(x).items()},
        "accuracy_learnt": learnt,
        "accuracy_grid": best,
        "gradient_before_batch_norm": gradient_before_batch_norm(state.rng),
    }


def through_zero(data: Split) -> float:
    """Least squares without an intercept: Σxy / Σx² of the training points."""
    x, y = data.train
    return float((x * y).sum() / (x * x).sum())


def baseline(data: Split) -> Mapping[str, float]:
    x, y = data.test
    return {"the best line through 0": float(((through_zero(data) * x - y) ** 2).mean())}


def figure(state: State[Settings, Lines], path: Path) -> None:
    """Both lines, the share that fires against T, the accuracy of fixed thresholds and of the learnt one."""
    x, y = state.data.test
    metrics = evaluate(state)
    fig, (fit, curves, firing, accuracy) = plotting.figure((2, 2), size=4)
    fit.scatter(x[:, 0], y[:, 0], s=10, color=plotting.GREY, label="3 + 2x")
    along = np.linspace(-2.5, 3.5, 2)[:, None]
    lines = state.model(tensor(along, device=state.device))
    for name, colour, label in (("biased", plotting.BLUE, "with bias"), ("free", plotting.ORANGE, "without")):
        text = f"{label}: MSE {metrics[f'mse_{name}']:.2g}"
        fit.plot(along[:, 0], lines[name].numpy()[:, 0], color=colour, label=text)
        curves.semilogy([h["step"] for h in state.history], [h[name] for h in state.history], color=colour, label=label)
    fit.set(title="y = 3 + 2x", xlabel="x", ylabel="y", ylim=(-6, 16))
    curves.set(title="mean squared error of batches", xlabel="step", ylabel="mean squared error")

    unit, feature, fires = learnt_unit(state.seed)
    best, grid, right = best_of_grid(feature, fires, GRID)
    fine = np.linspace(feature.min(), feature.max(), 200)
    firing.plot(fine, threshold_sweep(feature[:, None], np.ones(1), fine), color=plotting.BLUE, label="all irises")
    chosen = feature[fires][:, None]
    firing.plot(fine, threshold_sweep(chosen, np.ones(1), fine), color=plotting.ORANGE, label="versicolor")
    firing.set(title="a higher threshold fires less", xlabel=f"threshold of {FEATURE}, cm", ylabel="share that fires")
    accuracy.plot(grid, right, color=plotting.GREY, marker="o", label=f"fixed: at best {best:.3f}")
    place = float(unit.threshold.numpy()[0] / unit.weight.numpy()[0, 0])
    label = f"learnt: {metrics['accuracy_learnt']:.3f}"
    accuracy.plot(
        [place], [metrics["accuracy_learnt"]], color=plotting.BLUE, marker="*", markersize=12, linestyle="", label=label
    )
    accuracy.set(title="versicolor or not, by one feature", xlabel=f"threshold of {FEATURE}, cm", ylabel="accuracy")
    accuracy.set_ylim(top=right.max() + 0.12)
    for ax, where in (
        (fit, "upper left"),
        (curves, "center right"),
        (firing, "upper right"),
        (accuracy, "upper right"),
    ):
        ax.legend(frameon=False, fontsize=8, loc=where)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="bias",
    row="P2",
    family="perceptron",
    title="A bias is a threshold that is learnt",
    paper="McCulloch & Pitts 1943",
    config=Settings(),
    metric="biased",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="mse_biased", at_most=1e-6, seeds=3),
    figure=figure,
)

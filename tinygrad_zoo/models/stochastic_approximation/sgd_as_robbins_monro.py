"""Gradient descent, by batches, minibatches or single examples, is Robbins–Monro (after Robbins & Monro 1951).

Minimising E f(w, X) is finding the root of g(w) = ∇E f(w, X), of which the gradient on some of the examples is a noisy
observation. So one update, `optim.SGD`, is all there is; BGD, MBGD and SGD differ in the set over which it averages:
all, some or one of the examples. Far from the optimum w* they go the same way, since the relative error of the gradient
is at most ‖∇̃f − ∇f‖ / (c ‖w − w*‖), c the least curvature of f; close to it the noise remains, and only step sizes
with Σ a_k = ∞ and Σ a_k² < ∞ take it to 0. The losses are squared error (wine: alcohol from the rest;
w* by least squares) or logistic regression (breast cancer, with weight decay; w* by Newton's method).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split, standardize, train_test_split
from ...errors import require
from ...grad_mode import effect, enable_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...stochastic_approximation import PowerSteps, check_step_sizes
from ...tensor import Tensor, tensor

SETS = ("batch", "minibatch", "single")  # BGD, MBGD, SGD
LABELS = {"batch": "BGD, all", "minibatch": "MBGD, {n}", "single": "SGD, 1"}
DECAY = {"squared": 0.0, "logistic": 0.1}  # λ of ½λ‖w‖², the bias included
MEAN_FEATURES = slice(0, 10)  # of the 30 measures of breast cancer, those that are means


def penalised(model: Any, x: Any, y: Any, loss: str) -> Any:
    """E f: the mean loss on x (N, d), y (N,) and the weight decay ½λ‖w‖² of all parameters."""
    out = model(x)[:, 0]  # (N,)
    error = ops.mse_loss(out, y) / 2 if loss == "squared" else ops.binary_cross_entropy_with_logits(out, y)
    return error + DECAY[loss] / 2 * sum((p * p).sum() for p in model.parameters())


def optimum(x: NDArray[Any], y: NDArray[Any], loss: str) -> NDArray[Any]:
    """w* = (weights, bias) (d + 1,) of `penalised`: least squares, or Newton's iteration w ← w − H⁻¹∇."""
    ones = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    if loss == "squared":
        return np.linalg.lstsq(ones, y.astype(np.float64), rcond=None)[0]
    w = np.zeros(ones.shape[1])
    for _ in range(30):
        p = 1 / (1 + np.exp(-ones @ w))
        gradient = ones.T @ (p - y) / len(y) + DECAY[loss] * w
        hessian = (ones * (p * (1 - p))[:, None]).T @ ones / len(y) + DECAY[loss] * np.eye(len(w))
        w = w - np.linalg.solve(hessian, gradient)
    return w


def curvature(x: NDArray[Any], loss: str) -> float:
    """The least eigenvalue c of the Hessian of `penalised`, at whatever w: then ‖∇f(w)‖ ≥ c ‖w − w*‖.

    Of squares it is the same everywhere; of logistic regression the weight decay alone is sure to remain.
    """
    ones = np.column_stack([x, np.ones(len(x))]).astype(np.float64)
    least = np.linalg.eigvalsh(ones.T @ ones / len(x))[0] if loss == "squared" else 0.0
    return float(least) + DECAY[loss]


class Rivals(nn.Module):
    """An affine map (N, d) → (N, 1) for each averaging set, from zeros; all examples, and w*, beside them."""

    def __init__(self, train: tuple[NDArray[Any], ...], loss: str, steps: int) -> None:
        x, y = train
        d = x.shape[1]
        self.maps = nn.ModuleDict({name: nn.Linear(d, 1, rng=np.random.default_rng(0)) for name in SETS})
        for parameter in self.maps.parameters():
            nn.init.zeros_(parameter)
        self.x, self.y, self.best = nn.Buffer(x), nn.Buffer(y), nn.Buffer(optimum(x, y, loss).astype(np.float32))
        self.distances = {name: nn.Buffer(np.full(steps, np.nan)) for name in SETS}

    def distance(self, name: str) -> Any:
        """‖w − w*‖ / ‖w*‖."""
        weight, bias = self.maps[name].parameters()
        w = ops.concat([weight[0], bias], axis=0)
        return ops.sqrt(((w - self.best) ** 2).sum() / (self.best**2).sum())


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 5_000
    batch_size: int = 16  # of MBGD
    loss: Literal["squared", "logistic"] = "logistic"
    a: float = 10.0  # of the step sizes a / (k + shift)^p
    p: float = 1.0
    shift: float = 100.0


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Standardised features (N, d) and y (N,), all in float32: to train on, and a few to test."""
    datasets = require("sklearn.datasets", "zoo")
    if config.loss == "squared":
        table = datasets.load_wine().data
        x, y = table[:, 1:], (table[:, 0] - table[:, 0].mean()) / table[:, 0].std()
    else:
        loaded = datasets.load_breast_cancer()
        x, y = loaded.data[:, MEAN_FEATURES], loaded.target
    split = train_test_split((x.astype(np.float32), y.astype(np.float32)), n_test=len(x) // 5, rng=0)
    return standardize(split)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Rivals]:
    model = Rivals(data.train, config.loss, config.steps)
    steps = PowerSteps(config.a, config.p, config.shift)
    optimizers = {name: optim.SGD(model.maps[name].parameters(), lr=1.0) for name in SETS}
    schedules = {name: optim.LambdaLR(sgd, lambda k: steps(k + 1)) for name, sgd in optimizers.items()}
    return Parts(model=model, optimizers=optimizers, schedules=schedules)


@effect
def note_distance(state: State[Settings, Rivals], name: str, distance: Tensor) -> None:
    """Write down how far a rival is after this step."""
    course = state.model.distances[name]
    course.data[state.step] = distance.data
    course.mark_written()


def step(state: State[Settings, Rivals], batch: Batch) -> dict[str, Tensor]:
    model, (x, y) = state.model, batch  # (B, d), (B,)
    sets = {"batch": (model.x, model.y), "minibatch": (x, y), "single": (x[:1], y[:1])}
    distances = {}
    for name, (some_x, some_y) in sets.items():
        sgd = state.optimizers[name]
        sgd.zero_grad()
        penalised(model.maps[name], some_x, some_y, state.config.loss).backward()
        sgd.step()
        state.schedules[name].step()
        distances[name] = model.distance(name).detach()
        note_distance(state, name, distances[name])
    return distances


def evaluate(state: State[Settings, Rivals]) -> dict[str, float]:
    """The distances ‖w − w*‖ / ‖w*‖ (`distance` that of single examples), and the losses on the test part."""
    x, y = (tensor(array, device=state.device) for array in state.data.test)
    maps = state.model.maps
    return {
        "distance": float(state.model.distance("single")),
        **{f"distance_{name}": float(state.model.distance(name)) for name in SETS[:2]},
        **{f"test_{name}": float(penalised(maps[name], x, y, state.config.loss)) for name in SETS},
    }


@enable_grad()
def constant_step(split: Split, config: Settings, rate: float, steps: int, seed: int) -> list[float]:
    """The distances of SGD on single examples with one rate at every step, on the host: it hovers."""
    x, y = (tensor(array, device="cpu") for array in split.train)
    model = Rivals(split.train, config.loss, 1).to("cpu")
    sgd = optim.SGD(model.maps["single"].parameters(), lr=rate)
    distances = []
    for i in np.random.default_rng(seed).integers(0, len(x), steps):
        sgd.zero_grad()
        penalised(model.maps["single"], x[int(i) : int(i) + 1], y[int(i) : int(i) + 1], config.loss).backward()
        sgd.step()
        distances.append(float(model.distance("single")))
    return distances


def baseline(data: Split) -> Mapping[str, float]:
    """Where a constant step hovers, averaged over the last half of 1000 steps; and what doing nothing leaves."""
    loss: Literal["squared", "logistic"] = "logistic" if set(np.unique(data.train[1])) == {0, 1} else "squared"
    distances = constant_step(data, Settings(loss=loss), 0.05, 1_000, seed=0)
    return {"a constant step": float(np.mean(distances[500:])), "no step": 1.0}


def gradient_errors(state: State[Settings, Rivals]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """On the way from 0 to w*: ‖w − w*‖, the relative error δ = ‖∇̃f − ∇f‖ / ‖∇f‖ of one example's gradient, a mean
    over 40 examples, and its bound ‖∇̃f − ∇f‖ / (c ‖w − w*‖)."""
    model, loss, (x, y) = state.model, state.config.loss, state.data.train
    best = model.best.numpy()
    probe = nn.Linear(x.shape[1], 1, rng=np.random.default_rng(0)).to("cpu")
    weight, bias = probe.parameters()
    lengths, noise, whole = np.geomspace(1e-3, 1, 20), np.zeros(20), np.zeros(20)
    rows = state.rng.integers(0, len(x), 40)

    @enable_grad()
    def gradient(some: Any) -> NDArray[Any]:
        probe.zero_grad()
        penalised(probe, tensor(x[some], device="cpu"), tensor(y[some], device="cpu"), loss).backward()
        return np.append(weight.grad.numpy(), bias.grad.numpy())

    for k, length in enumerate(lengths):
        w = best * (1 - length)
        weight.data, bias.data = w[None, :-1].astype(np.float32), w[-1:].astype(np.float32)
        exact = gradient(slice(None))
        noise[k] = np.mean([np.linalg.norm(gradient(slice(i, i + 1)) - exact) for i in rows])
        whole[k] = np.linalg.norm(exact)
    away = lengths * np.linalg.norm(best)
    return away, noise / whole, noise / (curvature(x, loss) * away)


def figure(state: State[Settings, Rivals], path: Path) -> None:
    """The distances to w* of the three averaging sets and of a constant step, and the relative error of a gradient."""
    config, k = state.config, np.arange(1, state.step + 1)
    colours = dict(zip(SETS, ("#3c8d5a", plotting.BLUE, plotting.ORANGE), strict=True))
    fig, (distances, relative) = plotting.figure(2, size=4.5)
    for name in SETS:
        line = state.model.distances[name].numpy()[: state.step]
        distances.loglog(k, line, color=colours[name], label=LABELS[name].format(n=config.batch_size))
    hovering = constant_step(state.data, config, 0.05, min(state.step, 1_000), state.seed)
    distances.loglog(k[: len(hovering)], hovering, color=plotting.GREY, linewidth=0.7, label="SGD, a constant step")
    distances.loglog(k, k**-0.5, color="black", linestyle="--", linewidth=1, label="k^-1/2")
    holds = check_step_sizes(PowerSteps(config.a, config.p, config.shift)).holds
    distance = float(state.model.distance("single"))
    title = f"SGD ends {distance:.3f} from w*; its steps are Robbins–Monro's: {'yes' if holds else 'no'}"
    distances.set(title=title, xlabel="step", ylabel="‖w − w*‖ / ‖w*‖")
    away, errors, bound = gradient_errors(state)
    relative.loglog(away, errors, color=plotting.ORANGE, marker="o", label="measured")
    relative.loglog(away, bound, color="black", linestyle="--", label="‖∇̃f − ∇f‖ / (c ‖w − w*‖)")
    relative.set(title="relative error of one example's gradient", xlabel="‖w − w*‖", ylabel="‖∇̃f − ∇f‖ / ‖∇f‖")
    for ax, place in ((distances, "lower left"), (relative, "upper right")):
        ax.title.set_fontsize(10)
        ax.legend(frameon=False, fontsize=8, loc=place)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="sgd_as_robbins_monro",
    row="E4",
    family="stochastic_approximation",
    title="BGD, MBGD and SGD as Robbins–Monro",
    paper="Robbins & Monro 1951",
    config=Settings(),
    metric="single",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="distance", at_most=0.05, seeds=3),
    figure=figure,
)

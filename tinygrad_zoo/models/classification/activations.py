"""Twenty layers of one activation function: which of them learn? (McCulloch & Pitts 1943 to arXiv 2109.08668)

The same narrow, deep network reads digits through any function of `nn.ACTIVATIONS`. Every weight starts as
N(0, gain² / fan_in) with the gain that keeps the second moment, 1 / √E[f(z)²] for z ~ N(0, 1): He's √2 for ReLU (arXiv
1502.01852), LeCun's 1 for SELU (arXiv 1706.02515), and the like for the rest, so none is held back by its start.
A sigmoid's slope is at most 1/4, so twenty of them leave no gradient for the first layers; ReLU's is 1 or 0, and a unit
whose slope is 0 on every image is dead: too large a learning rate kills most of them, and none of leaky ReLU's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split, batch_indices, digits
from ...errors import UsageError
from ...grad_mode import enable_grad
from ...nn.activation import ACTIVATIONS, Activation
from ...recipe import Bar, Batch, Config, Parts, Recipe, State, nearest
from ...tensor import Tensor, tensor

SCALAR = {name: known for name, known in ACTIVATIONS.items() if known.of == "a number"}


def gain(activation: Activation) -> float:
    """1 / √E[f(z)²] for z ~ N(0, 1).

    >>> [round(gain(ACTIVATIONS[name]), 4) for name in ("relu", "selu", "step")]
    [1.4142, 1.0, 1.4142]
    """
    z = (np.arange(-40_000, 40_000) + 0.5) / 4000  # midpoints: no kink falls on one
    density = np.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    return float(1 / math.sqrt((activation(z) ** 2 * density).sum() / 4000))


class DeepMLP(nn.Module):
    """Affine layers of the given sizes with one activation function between them: (N, sizes[0]) → (N, sizes[-1]).

    >>> net = DeepMLP(64, 16, 16, 10, activation="selu", rng=np.random.default_rng(0))
    >>> net(np.zeros((5, 64), np.float32)).shape, len(net.layers), len(net.activations)
    ((5, 10), 3, 2)
    """

    def __init__(self, *sizes: int, activation: str, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        if activation not in SCALAR:
            raise UsageError(f"no activation {activation!r}{nearest(activation, SCALAR)}: one of {', '.join(SCALAR)}")
        if len(sizes) < 3:
            raise UsageError(f"DeepMLP: expected three sizes or more, so that there is a hidden layer, got {sizes}")
        known = SCALAR[activation]
        draws: dict[str, Any] = {"rng": rng} if known.module is nn.RReLU else {}
        self.layers = [nn.Linear(n_in, n_out, rng=rng) for n_in, n_out in pairwise(sizes)]
        self.activations = [known.module(**known.settings, **draws) for _ in sizes[2:]]
        scale = gain(known)
        for layer in self.layers:
            nn.init.normal_(layer.weight, std=scale / math.sqrt(layer.in_features), rng=rng)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, x: Any) -> Any:
        for layer, activation in zip(self.layers, self.activations, strict=False):
            x = activation(layer(x))
        return self.layers[-1](x)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 300
    batch_size: int = 64
    activation: str = "relu"
    depth: int = 20
    width: int = 64
    lr: float = 1e-3


def data(config: Settings, rng: np.random.Generator) -> Split:
    return digits(flat=True)  # pixels (N, 64) in [0, 1], labels (N,)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[DeepMLP]:
    model = DeepMLP(64, *[config.width] * (config.depth - 1), 10, activation=config.activation, rng=rng)
    return Parts(model=model, optimizers={"adam": optim.Adam(model.parameters(), lr=config.lr)})


def update(model: DeepMLP, optimizer: optim.Optimizer, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """One step on the batch x (N, 64), y (N,)."""
    logits = model(x)  # (N, 10)
    loss = ops.cross_entropy(logits, y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"loss": loss, "accuracy": (logits.argmax(axis=1) == y).astype(dtype="float32").mean()}


def step(state: State[Settings, DeepMLP], batch: Batch) -> dict[str, Tensor]:
    return update(state.model, state.optimizers["adam"], *batch)


# ---- what there is to see
def accuracy(model: DeepMLP, x: Any, y: Any) -> float:
    """The share of images x (N, 64) that are read as their labels y (N,)."""
    return float((model(tensor(x)).numpy().argmax(axis=1) == y).mean())


@enable_grad()
def dead_share(model: DeepMLP, x: Any) -> float:
    """The share of hidden units whose slope is 0 on every row of x: no gradient passes, so they stay as they are."""
    h, dead = tensor(x), []
    for layer, activation in zip(model.layers, model.activations, strict=False):
        z = layer(h).detach().requires_grad_()  # (N, width)
        h = activation(z)
        h.sum().backward()
        dead.append(np.ones(z.shape[1], bool) if z.grad is None else ~(z.grad.numpy() != 0).any(axis=0))
    return float(np.mean(dead))


@enable_grad()
def gradient_norms(model: DeepMLP, x: Any, y: Any) -> list[float]:
    """The norm of the loss's gradient in each layer's weight, first to last, on x (N, 64), y (N,); 0 if none comes."""
    model.zero_grad()
    ops.cross_entropy(model(tensor(x)), tensor(y)).backward()
    found = [layer.weight.grad for layer in model.layers]
    model.zero_grad()
    return [0.0 if g is None else float(np.linalg.norm(g.numpy())) for g in found]


@enable_grad()
def learn(config: Settings, data: Split, seed: int) -> tuple[DeepMLP, list[float]]:
    """A network trained like the recipe's, without a run folder, and its loss at each step."""
    parts = build(config, data, np.random.default_rng(seed))
    losses = []
    for k in range(config.steps):
        rows = batch_indices(len(data.train[0]), config.batch_size, seed, k)
        batch = [tensor(array[rows]) for array in data.train]  # (B, 64), (B,)
        losses.append(float(update(parts.model, parts.optimizers["adam"], *batch)["loss"]))
    return parts.model.eval(), losses


def evaluate(state: State[Settings, DeepMLP]) -> dict[str, float]:
    x, y = state.data.test
    return {
        "test_accuracy": accuracy(state.model, x, y),
        "test_nll": float(ops.cross_entropy(state.model(tensor(x)), tensor(y))),
        "dead_share": dead_share(state.model, state.data.train[0]),
    }


def baseline(data: Split) -> Mapping[str, float]:
    """The most frequent training label, and the same network of sigmoids."""
    sigmoids, _ = learn(Settings(activation="sigmoid"), data, seed=0)
    return {
        "most frequent digit": float((data.test[1] == np.bincount(data.train[1]).argmax()).mean()),
        "twenty layers of sigmoids": accuracy(sigmoids, *data.test),
    }


# ---- pictures
COLOURS = (plotting.BLUE, plotting.ORANGE, "#3c8d5a", "#8c4fa8", "#7a5c3e", "#b23a48")
RIVALS = ("sigmoid", "relu", "gelu", "selu")
RATES = (1e-3, 1e-2, 1e-1)


def figure(state: State[Settings, DeepMLP], path: Path) -> None:
    """This run beside others of its seed: losses, accuracies, gradients at the start, units dead at each rate."""
    config, split = state.config, state.data
    names = list(dict.fromkeys((config.activation, *RIVALS)))
    colours = dict(zip(dict.fromkeys((*names, "leaky_relu")), COLOURS, strict=False))
    steps, logged = ([line[key] for line in state.history] for key in ("step", "loss"))  # of a long run not every step
    losses = {config.activation: np.interp(range(1, config.steps + 1), steps, logged).tolist()}
    accuracies = {config.activation: accuracy(state.model, *split.test)}
    fig, (curves, bars, gradients, deaths) = plotting.figure((2, 2), size=4)
    batch = [array[:256] for array in split.train]
    for name in names:
        other = replace(config, activation=name)
        norms = gradient_norms(build(other, split, np.random.default_rng(state.seed)).model, *batch)
        gradients.semilogy(range(1, config.depth + 1), norms, color=colours[name], marker=".", label=name)
        if name not in accuracies:
            model, losses[name] = learn(other, split, state.seed)
            accuracies[name] = accuracy(model, *split.test)
    gradients.set(title="gradient of each weight, before training", xlabel="layer", ylabel="norm")
    history = [{"step": k + 1, **{name: losses[name][k] for name in names}} for k in range(config.steps)]
    plotting.curve_panel(curves, history, *names, title="cross-entropy of training batches")
    drawn = bars.barh(names, [accuracies[name] for name in names], color=[colours[name] for name in names])
    bars.bar_label(drawn, fmt="%.2f", padding=3)
    bars.axvline(0.1, color=plotting.GREY, linestyle="--")
    bars.set(title="test accuracy (dashed: chance)", xlim=(0, 1.12), ylim=(len(names) - 0.5, -0.5))  # from the top
    for name in ("relu", "leaky_relu"):
        learnt = [learn(replace(config, activation=name, lr=lr), split, state.seed)[0] for lr in RATES]
        shares = [dead_share(model, split.train[0]) for model in learnt]
        deaths.semilogx(RATES, shares, color=colours[name], marker="o", label=name)
    deaths.set(title="dead units after training", xlabel="learning rate", ylabel="share", ylim=(-0.05, 1.05))
    for ax, place in ((gradients, "best"), (deaths, "upper left")):
        ax.legend(frameon=False, loc=place)
        ax.grid(color=plotting.GREY, linewidth=0.3)
    plotting.save(fig, path)


@enable_grad()
def gallery(path: Path | str) -> None:
    """Every activation function of one number and its derivative, in the order of their years."""
    known = sorted(SCALAR.items(), key=lambda entry: entry[1].year)
    fig, panels = plotting.figure(
        (-(-len(known) // 7), 7), size=2, title="activations (blue) and their slopes (orange)"
    )
    for ax in panels[len(known) :]:
        ax.set_axis_off()
    for ax, (name, activation) in zip(panels, known, strict=False):
        right = 7 if name == "relu6" else 4
        x = tensor(np.unique([*np.linspace(-4, right, 441), *activation.kinks]), requires_grad=True)
        y = activation(x)
        y.sum().backward()
        values, slopes = y.numpy().copy(), np.zeros(x.shape) if x.grad is None else x.grad.numpy().copy()
        at_kink = np.isin(x.numpy(), activation.kinks)
        slopes[at_kink] = np.nan  # lines are broken there
        if name in ("step", "sign", "hardshrink"):
            values[at_kink] = np.nan
        ax.axhline(0, color=plotting.GREY, linewidth=0.5)
        ax.axvline(0, color=plotting.GREY, linewidth=0.5)
        ax.plot(x.numpy(), slopes, color=plotting.ORANGE, linewidth=1.2)
        ax.plot(x.numpy(), values, color=plotting.BLUE, linewidth=1.4)
        ax.set(xlim=(-4, right), ylim=(-1.5, right), xticks=range(-4, right + 1, 2))
        ax.set_title(f"{name} {activation.year}", fontsize=9)
        ax.tick_params(labelsize=6)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="activations",
    row="P3",
    family="classification",
    title="Twenty layers of one activation function on digits",
    paper="arXiv 1502.01852",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_accuracy", at_least=0.85, seeds=3),
    figure=figure,
)

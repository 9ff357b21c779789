"""A recipe that trains in milliseconds with every kind of state: dropout, noise, two optimizers, a schedule, extras."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tinygrad_zoo import nn, ops, optim, plotting
from tinygrad_zoo.data import Split
from tinygrad_zoo.draws import randn
from tinygrad_zoo.grad_mode import each_step, effect
from tinygrad_zoo.recipe import Bar, Batch, Config, Parts, Recipe, State
from tinygrad_zoo.tensor import Tensor, tensor
from tinygrad_zoo.training import fit


@dataclass(frozen=True, kw_only=True)
class TinyConfig(Config):
    steps: int = 12
    batch_size: int = 8
    lr: float = 0.05
    noise: float = 0.01
    bias: bool = True
    loss: Literal["mse", "l1"] = "mse"
    note: str = ""


class Average:
    """A running mean of the loss whose state holds a scalar of NumPy, a tuple and integer keys."""

    def __init__(self) -> None:
        self.mean, self.seen, self.last = np.float32(0), (0, "steps"), {0: np.zeros(2), 1: np.zeros(())}

    @effect
    def add(self, mean: Tensor) -> None:
        loss = mean.item()
        self.mean = np.float32(0.9) * self.mean + np.float32(0.1) * np.float32(loss)
        self.seen = (self.seen[0] + 1, self.seen[1])
        self.last = {0: np.array([self.last[0][1], loss]), 1: np.array(loss)}

    def state_dict(self) -> dict[str, Any]:
        return {"mean": self.mean, "seen": self.seen, "last": self.last}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert type(state["mean"]) is np.float32 and type(state["seen"]) is tuple and state["last"].keys() == {0, 1}
        self.mean, self.seen, self.last = state["mean"], state["seen"], state["last"]


def data(config: TinyConfig, rng: np.random.Generator) -> Split:
    x = rng.standard_normal((40, 3)).astype(np.float32)
    y = x @ np.array([[1.0], [-2.0], [0.5]], np.float32) + np.float32(0.3)
    return Split(train=(x[:32], y[:32]), test=(x[32:], y[32:]))


def build(config: TinyConfig, data: Split, rng: np.random.Generator) -> Parts[nn.Sequential]:
    first, last = nn.Linear(3, 4, rng=rng), nn.Linear(4, 1, bias=config.bias, rng=rng)
    adam, sgd = optim.Adam(first.parameters(), lr=config.lr), optim.SGD(last.parameters(), lr=config.lr, momentum=0.9)
    return Parts(
        model=nn.Sequential(first, nn.Tanh(), nn.Dropout(0.1, rng=rng), last),
        optimizers={"adam": adam, "sgd": sgd},
        schedules={"cosine": optim.CosineAnnealingLR(adam, config.steps)},
        extras={"average": Average()},
    )


def step(state: State[TinyConfig, nn.Sequential], batch: Batch) -> dict[str, Tensor | float]:
    x, y = batch
    assert state.training
    error = state.model(x + state.config.noise * randn(*x.shape, rng=state.rng, device=state.device)) - y
    loss = ops.mean(error * error if state.config.loss == "mse" else ops.abs(error))
    for optimizer in state.optimizers.values():
        optimizer.zero_grad()
    loss.backward()
    for optimizer in state.optimizers.values():
        optimizer.step()
    state.schedules["cosine"].step()
    state.extras["average"].add(loss)
    return {"loss": loss, "lr": each_step(lambda: state.schedules["cosine"].get_last_lr()[0])}


def evaluate(state: State[TinyConfig, nn.Sequential]) -> dict[str, float]:
    x, y = (tensor(array, device=state.device) for array in state.data.test)
    assert not state.training
    return {"test_mse": float(ops.mean(ops.square(state.model(x) - y))), "draw": float(state.rng.random())}


def baseline(data: Split) -> dict[str, float]:
    return {"mean of the training part": float(np.square(data.test[1] - data.train[1].mean()).mean())}


def figure(state: State[TinyConfig, nn.Sequential], path: Path) -> None:
    fig, (ax,) = plotting.figure(1, size=1.5)
    plotting.curve_panel(ax, state.history, "loss")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="tiny",
    row="T99",
    family="tests",
    title="Linear regression",
    paper="Gauss 1809",
    config=TinyConfig(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_mse", at_most=100.0),
    figure=figure,
)

# ---- for the tests of the loop
TINY = dataclasses.replace(RECIPE, figure=lambda state, path: path.write_bytes(b"drawn"))
STEPS = TINY.config.steps


def train(out: Path, recipe: Any = TINY, **settings: Any) -> Any:
    return fit(recipe, out=out, **{"progress": False, "checkpoint_every": 5, **settings})


def with_step(change: Callable[[Any, Any, dict[str, Any]], dict[str, Any]], before: bool = False) -> Any:
    """TINY whose step also does `change(state, batch, metrics)`; state.step is the number of the step, from 0."""

    def step(state: Any, batch: Any) -> dict[str, Any]:
        if before:
            change(state, batch, {})
        metrics = RECIPE.step(state, batch)
        return metrics if before else change(state, batch, dict(metrics))

    return dataclasses.replace(TINY, step=step)


def kept(out: Path) -> list[bytes]:
    """The files that do not depend on time."""
    return [(out / name).read_bytes() for name in ("checkpoint.safetensors", "metrics.jsonl", "config.json")]


class Crash(Exception):
    pass

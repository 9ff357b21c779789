"""Whole training steps, captured: recorded twice, then replayed (`tinygrad_zoo.capture`).

- `mlp`, `realnvp`, `transformer`: the models, weights and batches of the benchmark `step`, ours captured.
- `cnn`: two 3 x 3 convolutions of 16 and 32 channels with ReLU, 2 x 2 max-pooling and a linear layer, on 64 images of
  8 x 8 pixels (drawn, not loaded), cross-entropy and Adam.
- `time-to-second-replay`: in second_replay.py.

Peers: `torch-eager`, `torch-compile`, `jax-jit`, as in `step`.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import second_replay, step, transformer_step
from .harness import Case, Contender, Workload, check_known, check_pairs, run
from .operation import training

CHANNELS, IMAGES, SIDE = (16, 32), 64, 8
LEARNING_RATE = 1e-3
# Against torch-eager, and against jax-jit or torch-compile.
BARS = {
    "mlp": {"torch-eager": 0.12, "jax-jit": 0.5},
    "realnvp": {"torch-eager": 0.20, "jax-jit": 0.8},
    "transformer": {"torch-eager": 0.40, "torch-compile": 1.0},
    "cnn": {"torch-eager": 0.50},
}

Array = NDArray[Any]


# ---- the digits CNN
def network(library: Any, **seeded: Any) -> Any:
    """The network, in the words that both libraries share."""
    nn, (first, second) = library.nn, CHANNELS
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1, **seeded), nn.ReLU(), nn.Conv2d(first, second, 3, padding=1, **seeded),
        nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(second * (SIDE // 2) ** 2, 10, **seeded),
    )  # fmt: skip


def cnn_weights() -> dict[str, Array]:
    """Uniform in ±1/√(inputs of a unit), by the parameters' names."""
    import tinygrad_zoo as tz

    rng = np.random.default_rng(0)
    state = network(tz, rng=np.random.default_rng(1)).state_dict()
    bounds = {name: float(np.prod(value.shape[1:] or value.shape)) ** -0.5 for name, value in state.items()}
    return {name: rng.uniform(-bounds[name], bounds[name], x.shape).astype(np.float32) for name, x in state.items()}


def images() -> list[tuple[Array, Array]]:
    rng = np.random.default_rng(2)
    return [(rng.random((IMAGES, 1, SIDE, SIDE), np.float32), rng.integers(0, 10, IMAGES)) for _ in range(16)]


def cnn_jax() -> Workload:
    """The same in JAX, its parameters in a list."""
    import jax
    import jax.numpy as jnp

    def convolved(x: Any, weight: Any, bias: Any) -> Any:
        made = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
        return jnp.maximum(made + bias[:, None, None], 0)

    def loss_of(parameters: Sequence[Any], x: Any, y: Any) -> Any:
        w1, b1, w2, b2, w3, b3 = parameters
        x = convolved(convolved(x, w1, b1), w2, b2)
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), "VALID")
        scores = jax.nn.log_softmax(x.reshape(len(x), -1) @ w3.T + b3)
        return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

    return step.jax_training(loss_of, list(cnn_weights().values()), images())


# ---- steps
def updating(optimizer: Any, loss_of: Callable[..., Any]) -> Callable[..., Any]:
    """A step, a function of a batch, in the words that both libraries share."""

    def update(*batch: Any) -> Any:
        optimizer.zero_grad()
        loss = loss_of(*batch)
        loss.backward()
        optimizer.step()
        return loss

    return update


def ours_parts(name: str) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """Our step, a function of a batch, and its batches."""
    import tinygrad_zoo as tz

    batches: list[tuple[Any, ...]]
    if name == "transformer":
        model = transformer_step.decoder()
        optimizer: Any = tz.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
        batches = [(w[:, :-1], w[:, 1:].reshape(-1)) for w in transformer_step.windows()]
        size = transformer_step.VOCABULARY
        loss_of = lambda x, y: tz.nn.functional.cross_entropy(model(x).reshape(-1, size), y)
    elif name == "cnn":
        model = network(tz, rng=np.random.default_rng(1))
        model.load_state_dict(cnn_weights())
        optimizer = tz.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        batches = list(images())
        loss_of = lambda x, y: tz.nn.functional.cross_entropy(model(x), y)
    else:
        make = step.ours_mlp if name == "mlp" else step.ours_realnvp
        model, loss_of = make(np.random.default_rng(0))
        model.load_state_dict(dict(zip(model.state_dict(), step.initial(f"{name}-eager"), strict=True)))
        optimizer = tz.optim.Adam(model.parameters(), lr=LEARNING_RATE)
        batches = list(step.batches(f"{name}-eager"))

    return updating(optimizer, loss_of), [tuple(map(tz.tensor, batch)) for batch in batches]


def ours(name: str) -> Workload:
    """tinygrad_zoo on its default backend, captured."""
    import tinygrad_zoo as tz

    update, batches = ours_parts(name)
    captured, stream = tz.capture(update), cycle(batches)
    return training(lambda: captured(*next(stream)))


def torch_parts(name: str, *, compiled: bool) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """PyTorch's step of the CNN, its loss eager or compiled, and its batches."""
    import torch

    model = network(torch)
    model.load_state_dict({key: torch.from_numpy(value) for key, value in cnn_weights().items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    loss_of: Any = lambda x, y: torch.nn.functional.cross_entropy(model(x), y)
    loss_of = torch.compile(loss_of) if compiled else loss_of

    return updating(optimizer, loss_of), [tuple(map(torch.from_numpy, batch)) for batch in images()]


def torch_step(name: str, *, compiled: bool) -> Workload:
    """PyTorch's whole step."""
    if name == "transformer":
        return transformer_step.torch_step(compiled=compiled)
    if name != "cnn":
        return step.torch_step(f"{name}-eager", compiled=compiled)
    update, batches = torch_parts(name, compiled=compiled)
    stream = cycle(batches)
    return training(lambda: update(*next(stream)))


def case(name: str) -> Case:
    peers = [
        Contender(name="torch-eager", build=partial(torch_step, name, compiled=False), requires=("torch",)),
        Contender(name="torch-compile", build=partial(torch_step, name, compiled=True), requires=("torch",)),
    ]
    if name in ("mlp", "realnvp"):
        peers.append(Contender(name="jax-jit", build=partial(step.jax_step, f"{name}-eager"), requires=("jax",)))
    elif name == "cnn":
        peers.append(Contender(name="jax-jit", build=cnn_jax, requires=("jax",)))
    mine = Contender(name="ours", build=partial(ours, name), requires=("tinygrad_zoo",))
    return Case(bench="capture", name=name, direction="step", ours=mine, peers=tuple(peers), bars=BARS[name])


CASES = tuple(map(case, BARS))


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases; `time-to-second-replay` last, of the `mlp`."""
    names = [*BARS, second_replay.CASE] if cases is None else list(cases)
    check_known("cases", names, {*BARS, second_replay.CASE})
    status = 0
    if steps := [name for name in names if name in BARS]:
        status = run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=steps, usual_pairs=7)
    if second_replay.CASE in names:
        second_replay.run(contenders(), peers, check_pairs(5 if pairs is None else pairs), as_json=as_json)
    return status


def contenders() -> dict[str, Contender]:
    """Those of the `mlp`, by name."""
    (mlp,) = (c for c in CASES if c.name == "mlp")
    return {contender.name: contender for contender in (mlp.ours, *mlp.peers)}


if __name__ == "__main__":
    second_replay.program(contenders()[sys.argv[1]])

"""One whole training step (zero the gradients, forward, backward, Adam) of small models, written as users write it.

- `mlp-eager`: 64-128-128-10 with ReLU, batch 32, cross-entropy.
- `realnvp-eager`: six affine couplings on 2-D points, batch 256; each conditioner is 1-64-64-2 with tanh, the log-scale
  is 2 tanh(.), and the halves alternate (RealNVP, arXiv 1605.08803).
- `transformer-eager`: in transformer_step.py.

Everybody starts from the same NumPy-made weights and sees the same 64 batches of Gaussian inputs in turn: on a single
batch, or on inputs that leave hidden units dead, gradients die away and one times arithmetic on denormal numbers.

Peers: `torch-eager`, with Adam as `torch.optim.Adam(...)` gives it (not fused); `torch-compile`, the loss through
`torch.compile` and the same Adam; `jax-jit`, the whole step in one `jax.jit` with donated state; `mygrad` (the MLP
only) with Adam in NumPy.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import transformer_step
from .harness import Case, Contender, Workload, run
from .operation import training

LEARNING_RATE, BETA1, BETA2, EPSILON = 1e-3, 0.9, 0.999, 1e-8
BATCHES = 64
COUPLINGS, WIDTH = 6, 64
LOG_TAU = math.log(2 * math.pi)

Array = NDArray[Any]


def initial(name: str) -> list[Array]:
    """Weight (out, in) and bias of every layer, uniform in +-1/sqrt(in), in the order of the model's parameters."""
    rng = np.random.default_rng(0)
    layers = (
        [(64, 128), (128, 128), (128, 10)]
        if name == "mlp-eager"
        else [(1, WIDTH), (WIDTH, WIDTH), (WIDTH, 2)] * COUPLINGS
    )
    shapes = [(n, shape) for n, out in layers for shape in ((out, n), (out,))]
    return [rng.uniform(-(n**-0.5), n**-0.5, shape).astype(np.float32) for n, shape in shapes]


def batches(name: str) -> list[tuple[Array, ...]]:
    """For the MLP inputs (32, 64) and labels (32,); for the flow bent Gaussian points (256, 2)."""
    rng = np.random.default_rng(1)
    if name == "mlp-eager":
        return [(rng.standard_normal((32, 64), np.float32), rng.integers(0, 10, 32)) for _ in range(BATCHES)]
    points = rng.standard_normal((BATCHES, 256, 2)).astype(np.float32)
    points[:, :, 1] += points[:, :, 0] ** 2
    return [(batch,) for batch in points]


def ours_mlp(rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    """Our MLP and its loss."""
    import tinygrad_zoo as tz
    from tinygrad_zoo import nn

    model = nn.Sequential(
        nn.Linear(64, 128, rng=rng), nn.ReLU(), nn.Linear(128, 128, rng=rng), nn.ReLU(), nn.Linear(128, 10, rng=rng)
    )
    return model, lambda x, y: tz.nn.functional.cross_entropy(model(x), y)


def ours_realnvp(rng: np.random.Generator) -> tuple[Any, Callable[..., Any]]:
    """Our flow and its loss, the mean negative log-likelihood."""
    import tinygrad_zoo as tz
    from tinygrad_zoo import nn

    def conditioner() -> nn.Module:
        return nn.Sequential(
            nn.Linear(1, WIDTH, rng=rng),
            nn.Tanh(),
            nn.Linear(WIDTH, WIDTH, rng=rng),
            nn.Tanh(),
            nn.Linear(WIDTH, 2, rng=rng),
        )

    class RealNVP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conditioners = nn.ModuleList([conditioner() for _ in range(COUPLINGS)])

        def forward(self, x: tz.Tensor) -> tz.Tensor:
            a, b = x[:, :1], x[:, 1:]
            log_det: Any = 0.0
            for net in self.conditioners:
                h = net(a)  # (N, 2): raw log-scale, shift
                s = 2.0 * tz.tanh(h[:, :1])
                a, b = b * tz.exp(s) + h[:, 1:], a
                log_det = log_det + s
            return (0.5 * (a * a + b * b) - log_det).mean() + LOG_TAU

    model = RealNVP()
    return model, model


def ours(name: str) -> Workload:
    """tinygrad_zoo on its default backend."""
    import tinygrad_zoo as tz

    model, loss_of = (ours_mlp if name == "mlp-eager" else ours_realnvp)(np.random.default_rng(0))
    model.load_state_dict(dict(zip(model.state_dict(), initial(name), strict=True)))
    optimizer = tz.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    stream = cycle([tuple(tz.tensor(array) for array in batch) for batch in batches(name)])

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(*next(stream))
        loss.backward()
        optimizer.step()
        return loss

    return training(step)


def torch_mlp() -> tuple[Any, Callable[..., Any]]:
    """`ours_mlp` in PyTorch."""
    from torch import nn

    model = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 10))
    return model, lambda x, y: nn.functional.cross_entropy(model(x), y)


def torch_realnvp() -> tuple[Any, Callable[..., Any]]:
    """`ours_realnvp` in PyTorch."""
    import torch
    from torch import nn

    def conditioner() -> nn.Module:
        return nn.Sequential(nn.Linear(1, WIDTH), nn.Tanh(), nn.Linear(WIDTH, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 2))

    class RealNVP(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conditioners = nn.ModuleList([conditioner() for _ in range(COUPLINGS)])

        def forward(self, x: torch.Tensor) -> Any:
            a, b = x[:, :1], x[:, 1:]
            log_det: Any = 0.0
            for net in self.conditioners:
                h = net(a)
                s = 2.0 * torch.tanh(h[:, :1])
                a, b = b * torch.exp(s) + h[:, 1:], a
                log_det = log_det + s
            return (0.5 * (a * a + b * b) - log_det).mean() + LOG_TAU

    model = RealNVP()
    return model, model


def torch_step(name: str, *, compiled: bool) -> Workload:
    """PyTorch, its loss eager or compiled."""
    import torch

    model, loss_of = torch_mlp() if name == "mlp-eager" else torch_realnvp()
    values = map(torch.from_numpy, initial(name))
    model.load_state_dict(dict(zip(model.state_dict(), values, strict=True)))
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    stream = cycle([tuple(torch.from_numpy(array) for array in batch) for batch in batches(name)])
    if compiled:
        loss_of = torch.compile(loss_of)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(*next(stream))
        loss.backward()
        optimizer.step()
        return loss

    return training(step)


def jax_losses(name: str) -> Callable[..., Any]:
    """The loss of a list of parameters and a batch, in JAX."""
    import jax
    import jax.numpy as jnp

    def network(parameters: Sequence[Any], x: Any, activation: Callable[[Any], Any]) -> Any:
        *hidden, last_weight, last_bias = parameters
        for weight, bias in zip(hidden[::2], hidden[1::2], strict=True):
            x = activation(x @ weight + bias)
        return x @ last_weight + last_bias

    def mlp(parameters: Sequence[Any], x: Any, y: Any) -> Any:
        scores = jax.nn.log_softmax(network(parameters, x, jax.nn.relu))
        return -jnp.take_along_axis(scores, y[:, None], axis=1).mean()

    def realnvp(parameters: Sequence[Any], x: Any) -> Any:
        a, b = x[:, :1], x[:, 1:]
        log_det: Any = 0.0
        for first in range(0, len(parameters), 6):
            h = network(parameters[first : first + 6], a, jnp.tanh)
            s = 2.0 * jnp.tanh(h[:, :1])
            a, b = b * jnp.exp(s) + h[:, 1:], a
            log_det = log_det + s
        return (0.5 * (a * a + b * b) - log_det).mean() + LOG_TAU

    return mlp if name == "mlp-eager" else realnvp


def jax_step(name: str) -> Workload:
    """JAX's step of the MLP or the flow."""
    return jax_training(jax_losses(name), [value.T for value in initial(name)], batches(name))


def jax_training(loss_of: Callable[..., Any], values: Sequence[Array], data: Sequence[tuple[Array, ...]]) -> Workload:
    """JAX: loss, gradient and Adam in one compiled function; each call waits for its result, as the others do."""
    import jax
    import jax.numpy as jnp

    @partial(jax.jit, donate_argnums=0)
    def update(state: Any, *batch: Any) -> Any:
        parameters, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(parameters, *batch)
        count = count + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, grads, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
        rate, correction = LEARNING_RATE / (1 - BETA1**count), 1 - BETA2**count
        parameters = [
            p - rate * m / (jnp.sqrt(v / correction) + EPSILON)
            for p, m, v in zip(parameters, first, second, strict=True)
        ]
        return (parameters, first, second, count), loss

    parameters = [jnp.array(value) for value in values]
    state = (
        parameters,
        [jnp.zeros_like(p) for p in parameters],
        [jnp.zeros_like(p) for p in parameters],
        jnp.float32(0),
    )
    stream = cycle([tuple(jnp.array(array) for array in batch) for batch in data])

    def step() -> Any:
        nonlocal state
        state, loss = update(state, *next(stream))
        return loss.block_until_ready()

    return training(step)


def mygrad_step(name: str) -> Workload:
    """MyGrad's MLP, with Adam in NumPy."""
    if name != "mlp-eager":
        raise ValueError(f"mygrad takes part in mlp-eager only, got {name}")
    import mygrad as mg
    from mygrad.nnet.activations import relu
    from mygrad.nnet.losses import softmax_crossentropy
    from mygrad.tensor_base import tensor

    parameters: list[Any] = [tensor(value.T.copy()) for value in initial(name)]
    first = [np.zeros_like(p.data) for p in parameters]
    second = [np.zeros_like(p.data) for p in parameters]
    stream = cycle(batches(name))
    count = 0

    def step() -> Any:
        nonlocal count
        x, y = next(stream)
        w1, b1, w2, b2, w3, b3 = parameters
        hidden = relu(mg.matmul(relu(mg.matmul(x, w1) + b1), w2) + b2)
        loss = softmax_crossentropy(mg.matmul(hidden, w3) + b3, y)
        loss.backward()
        count += 1
        rate, correction = LEARNING_RATE / (1 - BETA1**count), 1 - BETA2**count
        for p, m, v in zip(parameters, first, second, strict=True):
            m += (1 - BETA1) * (p.grad - m)
            v += (1 - BETA2) * (p.grad * p.grad - v)
            p.data -= rate * m / (np.sqrt(v / correction) + EPSILON)
            p.null_grad()
        return loss

    return training(step)


def case(name: str, bar: float) -> Case:
    """Put together the case `name` with its peers; `bar` is against torch-eager."""
    peers = [
        Contender(name="torch-eager", build=partial(torch_step, name, compiled=False), requires=("torch",)),
        Contender(name="torch-compile", build=partial(torch_step, name, compiled=True), requires=("torch",)),
        Contender(name="jax-jit", build=partial(jax_step, name), requires=("jax",)),
    ]
    if name == "mlp-eager":
        peers.append(Contender(name="mygrad", build=partial(mygrad_step, name), requires=("mygrad",)))
    mine = Contender(name="ours", build=partial(ours, name), requires=("tinygrad_zoo",))
    return Case(bench="step", name=name, direction="step", ours=mine, peers=tuple(peers), bars={"torch-eager": bar})


CASES = (case("mlp-eager", 0.25), case("realnvp-eager", 0.30), transformer_step.CASE)


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

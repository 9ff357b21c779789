"""The case `transformer-eager` of the benchmark `step`: a character-level Transformer's whole training step.

d = 64, 4 heads, 2 blocks (pre-LN, GELU, 4 d hidden), T = 32, batch 16, 96 characters; zero the gradients, forward,
backward, AdamW. Ours is `models.language.Decoder`; the peer is the same model in PyTorch as a user writes it, with
`scaled_dot_product_attention` and `torch.optim.AdamW(...)` as it comes. Both start from the same weights.
"""

from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .harness import Case, Contender, Workload
from .operation import training

VOCABULARY, WIDTH, HEADS, BLOCKS, LENGTH, BATCH = 96, 64, 4, 2, 32, 16
LEARNING_RATE = 1e-3
BATCHES = 16


def windows() -> list[NDArray[Any]]:
    """Batches of (16, 33) characters, in which every third repeats the one before the last."""
    rng = np.random.default_rng(0)
    made = rng.integers(0, VOCABULARY, (BATCHES, BATCH, LENGTH + 1))
    made[:, :, 2::3] = made[:, :, 0:-2:3]
    return list(made)


def decoder() -> Any:
    """Our model, which is where both get their weights from."""
    from tinygrad_zoo.models.language.decoder import Decoder

    rng = np.random.default_rng(0)
    return Decoder(VOCABULARY, d=WIDTH, heads=HEADS, blocks=BLOCKS, length=LENGTH, rng=rng)


def ours() -> Workload:
    """tinygrad_zoo on its default backend."""
    import tinygrad_zoo as tz

    model = decoder()
    optimizer = tz.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    stream = cycle([(tz.tensor(w[:, :-1]), tz.tensor(w[:, 1:].reshape(-1))) for w in windows()])

    def step() -> Any:
        x, y = next(stream)
        optimizer.zero_grad()
        loss = tz.nn.functional.cross_entropy(model(x).reshape(-1, VOCABULARY), y)
        loss.backward()
        optimizer.step()
        return loss

    return training(step)


def torch_decoder() -> Any:
    """`Decoder` in PyTorch, with the same names of parameters."""
    import torch
    from torch import nn

    class FeedForward(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, x: Any) -> Any:
            return self.down(nn.functional.gelu(self.up(x)))

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention_norm, self.feedforward_norm = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
            self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.feedforward = FeedForward()

        def forward(self, x: Any) -> Any:
            n, t, d = x.shape
            qkv = self.qkv(self.attention_norm(x)).reshape(n, t, 3, HEADS, d // HEADS)
            q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out(seen.transpose(1, 2).reshape(n, t, d))
            return x + self.feedforward(self.feedforward_norm(x))

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(LENGTH, WIDTH)
            self.blocks = nn.ModuleList([Block() for _ in range(BLOCKS)])
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, VOCABULARY, bias=False)

        def forward(self, tokens: Any) -> Any:
            x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
            for block in self.blocks:
                x = block(x)
            return self.head(self.norm(x))

    model = Decoder()
    model.load_state_dict({name: torch.from_numpy(value) for name, value in decoder().state_dict().items()})
    return model


def torch_step(*, compiled: bool) -> Workload:
    """PyTorch, its loss eager or compiled."""
    import torch

    model = torch_decoder()
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE)
    stream = cycle([(torch.from_numpy(w[:, :-1]), torch.from_numpy(w[:, 1:].reshape(-1))) for w in windows()])

    def loss_of(x: Any, y: Any) -> Any:
        return torch.nn.functional.cross_entropy(model(x).reshape(-1, VOCABULARY), y)

    if compiled:
        loss_of = torch.compile(loss_of)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_of(*next(stream))
        loss.backward()
        optimizer.step()
        return loss

    return training(step)


CASE = Case(
    bench="step",
    name="transformer-eager",
    direction="step",
    ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo",)),
    peers=(
        Contender(name="torch-eager", build=partial(torch_step, compiled=False), requires=("torch",)),
        Contender(name="torch-compile", build=partial(torch_step, compiled=True), requires=("torch",)),
    ),
    bars={"torch-eager": 0.8},
)

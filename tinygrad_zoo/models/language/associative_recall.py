"""Associative recall by attention alone (arXiv 1706.03762): eight keys with their values, and which value is one key's?

A sequence is k₁ v₁ k₂ v₂ … k₈ v₈ q, where q is one of the keys; what is asked for is that key's value. There is no
feed-forward block: the network is attention and its projections, and nothing is masked. It takes two layers. In the
first a value looks at the place before its own, and so comes to know its key; in the second the query looks at the
value that knows the query's key (arXiv 2209.11895 calls the two an induction head).

That a value belongs to the key before it, order alone says. Without positions attention sees a set, in which every
value shown is as good an answer as any other: chance is 1/8. With `joined`, a key and its value are one token, order
says nothing, and the network needs no positions. Positions are numbers added to the scores by how far apart two tokens
are, one each for each layer (arXiv 1910.10683): "the place before" is one of them, found within some hundred steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

PAIRS, KEYS, VALUES = 8, 16, 16  # tokens 0 to KEYS - 1 are keys; KEYS to KEYS + VALUES - 1 are values
TESTED = 2000  # sequences


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 600
    batch_size: int = 128
    lr: float = 3e-3
    lr_positions: float = 6e-2  # a score moves by several before a softmax makes up its mind
    d: int = 64
    layers: int = 2
    positions: bool = True
    joined: bool = False


class AttentionOnly(nn.Module):
    """Layers of x + attention(norm(x)) on tokens (N, 17), then the logits of the query's value (N, VALUES).

    >>> model = AttentionOnly(Settings(d=8), rng=np.random.default_rng(0))
    >>> tokens, answers = sequences(3, np.random.default_rng(1))
    >>> model(tokens).shape, [weights.shape for weights in model.weights(tokens)]
    ((3, 16), [(3, 17, 17), (3, 17, 17)])
    """

    def __init__(self, config: Settings, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        rng = nn.init.generator("AttentionOnly", rng)
        d, self.joined = config.d, config.joined
        self.tokens = nn.Embedding(KEYS + VALUES, d, rng=rng)
        nn.init.normal_(self.tokens.weight, std=0.3, rng=rng)
        self.norms = nn.ModuleList([nn.LayerNorm(d) for _ in range(config.layers)])
        self.attentions = nn.ModuleList(
            [nn.MultiheadAttention(d, 1, bias=False, batch_first=True, rng=rng) for _ in range(config.layers)]
        )
        t = PAIRS + 1 if config.joined else 2 * PAIRS + 1
        distances = np.arange(t) - np.arange(t)[:, None]  # of a query's place, the row, to a key's
        self.distances = nn.Buffer(distances + t - 1)
        self.biases = [nn.Parameter(np.zeros(2 * t - 1, np.float32)) for _ in range(config.layers * config.positions)]
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, VALUES, bias=False, rng=rng)

    def forward(self, tokens: Any) -> Any:
        x = self.through(tokens, need_weights=False)[0]
        return self.head(self.norm(x[:, -1]))

    def weights(self, tokens: Any) -> list[Any]:
        """How much each token (a row) looks at each: (N, T, T), for every layer."""
        return self.through(tokens, need_weights=True)[1]

    def through(self, tokens: Any, need_weights: bool) -> tuple[Any, list[Any]]:
        """What the last layer makes of the tokens, (N, T, d), and the weights of all layers."""
        x, seen = self.tokens(tokens), []  # (N, 17, d)
        if self.joined:
            pairs = x[:, :-1].reshape(x.shape[0], PAIRS, 2, x.shape[-1]).sum(axis=2)
            x = ops.concat(pairs, x[:, -1:], axis=1)  # (N, 9, d)
        for k, (norm, attention) in enumerate(zip(self.norms, self.attentions, strict=True)):
            y, mask = norm(x), self.biases[k][self.distances] if self.biases else None
            out, weights = attention(y, y, y, need_weights=need_weights, attn_mask=mask)
            x = x + out
            seen.append(weights)
        return x, seen


def sequences(n: int, rng: np.random.Generator) -> tuple[Any, Any]:
    """Tokens (n, 17), and the value that is the answer, 0 to VALUES - 1, (n,): keys are distinct, and so are values.

    >>> tokens, answers = sequences(1, np.random.default_rng(0))
    >>> shown = dict(zip(tokens[0, 0:-1:2], tokens[0, 1:-1:2], strict=True))
    >>> bool(shown[tokens[0, -1]] == KEYS + answers[0])
    True
    """
    keys, values = (rng.random((n, size)).argsort(axis=1)[:, :PAIRS] for size in (KEYS, VALUES))
    asked = rng.integers(0, PAIRS, n)
    pairs = np.stack([keys, KEYS + values], axis=2).reshape(n, 2 * PAIRS)
    rows = np.arange(n)
    return np.concatenate([pairs, keys[rows, asked, None]], axis=1), values[rows, asked]


def data(config: Settings, rng: np.random.Generator) -> Split:
    """As many training sequences as the run reads, so that it sees none twice."""
    test = sequences(TESTED, rng)
    return Split(train=sequences(config.steps * config.batch_size, rng), test=test)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[AttentionOnly]:
    model = AttentionOnly(config, rng=rng)
    biases = {id(p) for p in model.biases}
    groups: list[dict[str, Any]] = [{"params": [p for p in model.parameters() if id(p) not in biases]}]
    if biases:
        groups.append({"params": model.biases, "lr": config.lr_positions})
    optimizer = optim.Adam(groups, lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, AttentionOnly], batch: Batch) -> dict[str, Tensor]:
    tokens, answers = batch  # (N, 17), (N,)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    logits = state.model(tokens)  # (N, VALUES)
    loss = ops.cross_entropy(logits, answers)
    loss.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"loss": loss, "accuracy": (logits.argmax(axis=1) == answers).astype(dtype="float32").mean()}


def evaluate(state: State[Settings, AttentionOnly]) -> dict[str, float]:
    tokens, answers = state.data.test
    logits = state.model(tensor(tokens, device=state.device))
    nll = ops.cross_entropy(logits, tensor(answers, device=state.device))
    return {"test_accuracy": float((logits.numpy().argmax(axis=1) == answers).mean()), "test_nll": float(nll)}


def baseline(data: Split) -> Mapping[str, float]:
    """Answers without looking a key up: what the key's value most often was, and one of the values shown."""
    (tokens, answers), (tokens_test, answers_test) = data.train, data.test
    counts = np.bincount(tokens[:, -1] * VALUES + answers, minlength=KEYS * VALUES).reshape(KEYS, VALUES)
    return {
        "the key's most frequent value": float((counts.argmax(axis=1)[tokens_test[:, -1]] == answers_test).mean()),
        "the value shown last": float((tokens_test[:, -2] - KEYS == answers_test).mean()),
    }


def named(tokens: Any) -> list[str]:
    """Keys as letters, values as numbers from 1, and a question mark behind the query.

    >>> named([0, KEYS, 15, KEYS + 1, 0])
    ['A', '1', 'P', '2', 'A?']
    """
    names = [chr(ord("A") + t) if t < KEYS else str(t - KEYS + 1) for t in tokens]
    return [*names[:-1], names[-1] + "?"]


def figure(state: State[Settings, AttentionOnly], path: Path) -> None:
    """The losses, and what looks at what in one sequence: in the last layer's last row, the query finds its value."""
    (tokens, answers), model = state.data.test, state.model
    layers = [weights.numpy()[0] for weights in model.weights(tensor(tokens[:1], device=state.device))]
    names = named(tokens[0])
    if model.joined:
        names = [*(key + value for key, value in zip(names[:-1:2], names[1::2], strict=True)), names[-1]]
    fig, (curves, *maps) = plotting.figure(1 + len(layers), size=4.5)
    plotting.curve_panel(curves, state.history, "loss", "accuracy", title="training batches")
    for number, (ax, weights) in enumerate(zip(maps, layers, strict=True), 1):
        ax.imshow(weights, cmap="Blues", vmin=0, vmax=1)
        places = range(len(names))
        ax.set(xticks=places, yticks=places, xticklabels=names, yticklabels=names, xlabel="is looked at by the row")
        ax.set_title(f"layer {number}" + (f": {names[-1]} is {answers[0] + 1}" if number == len(layers) else ""))
    plotting.save(fig, path)


RECIPE = Recipe(
    name="associative_recall",
    row="A1",
    family="language",
    title="Associative recall by attention alone",
    paper="arXiv 1706.03762",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_accuracy", at_least=0.98, seeds=3),
    figure=figure,
)

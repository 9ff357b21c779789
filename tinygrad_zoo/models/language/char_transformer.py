"""A character-level Transformer on English prose (arXiv 1706.03762): which character comes next, from the last 64.

The text is that of the standard library's help topics. A window of T + 1 characters gives T questions, each of which
sees what stands before it; the loss is the mean cross-entropy in nats, what a character costs to write down. Attention
"flash" keeps no T x T array and "formula" does; their loss curves are the same but for rounding. Feed-forward blocks
are compared in docs/feedforward.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import ops, optim, plotting
from ...amp import GradScaler, Precision, autocast
from ...data import Split, char_vocabulary, decode_chars, encode_chars, text
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from .decoder import Attention, Decoder, FeedForward, continued, loss_of, mean_loss


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1500
    batch_size: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.1
    length: int = 64
    d: int = 64
    heads: int = 4
    blocks: int = 2
    attention: Attention = "flash"
    feedforward: FeedForward = "gelu"
    precision: Precision = "float32"  # of products and attention


TESTED = 0.1  # the last part of the text


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Windows of characters (N, T + 1): every place of the training text, and the test text cut in pieces."""
    prose = text()
    tokens = encode_chars(prose, char_vocabulary(prose))
    cut, size = int(len(tokens) * (1 - TESTED)), config.length + 1
    train = np.lib.stride_tricks.sliding_window_view(tokens[:cut], size)
    test = tokens[cut:][: (len(tokens) - cut) // size * size].reshape(-1, size)
    return Split(train=(train,), test=(test,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Decoder]:
    model = Decoder(
        len(char_vocabulary(text())), d=config.d, heads=config.heads, blocks=config.blocks, length=config.length,
        attention=config.attention, feedforward=config.feedforward, rng=rng,
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    scaler = GradScaler(enabled=config.precision == "float16")
    return Parts(
        model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule}, extras={"scaler": scaler}
    )


def step(state: State[Settings, Decoder], batch: Batch) -> dict[str, Tensor]:
    (windows,) = batch  # (N, T + 1)
    optimizer, scaler = state.optimizers["adamw"], state.extras["scaler"]
    optimizer.zero_grad()
    with autocast(state.config.precision):
        loss = loss_of(state.model, windows)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    state.schedules["cosine"].step()
    return {"loss": loss}


def evaluate(state: State[Settings, Decoder]) -> dict[str, float]:
    (windows,) = state.data.test
    return {"test_nll": mean_loss(state.model, windows, state.device)}


def baseline(data: Split) -> Mapping[str, float]:
    """Counts of one, two and three characters in a row, of the longer mixed with the shorter as they were rare
    (Witten & Bell, 1991): what there is to win by looking back further, within a window."""
    (train,), (test,) = data.train, data.test
    stream = np.concatenate([train[:, 0], train[-1, 1:]])
    size = int(max(stream.max(), test.max())) + 1
    chances = np.full(test[:, 1:].shape, 1 / size)
    found = {}
    for n, name in enumerate(("characters", "pairs", "triples")):
        before, count = np.zeros(len(stream) - n, np.int64), np.zeros(test[:, 1:].shape, np.int64)
        for back in range(n, 0, -1):
            before = before * size + stream[n - back : len(stream) - back]
            shifted = np.pad(test, ((0, 0), (n, 0)))[:, n + 1 - back : n + test.shape[1] - back]
            count = count * size + shifted
        rows = size**n
        seen = np.bincount(before, minlength=rows)
        pairs = np.bincount(before * size + stream[n:], minlength=rows * size).reshape(rows, size)
        kinds = (pairs > 0).sum(axis=1)
        weight = (seen / np.maximum(seen + kinds, 1))[count]
        weight[:, : max(0, n - 1)] = 0  # a window's first places have not so much before them
        share = pairs[count, test[:, 1:]] / np.maximum(seen[count], 1)
        chances = weight * share + (1 - weight) * chances
        found[name] = float(-np.log(chances).mean())
    return found


def figure(state: State[Settings, Decoder], path: Path) -> None:
    """The loss beside the baselines, where in a window it is high, and what the model writes."""
    (windows,), model = state.data.test, state.model
    vocabulary = char_vocabulary(text())
    some = tensor(windows[:256], device=state.device)
    logits = model(some[:, :-1])
    each = ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), some[:, 1:].reshape(-1), reduction="none")
    by_place = each.reshape(len(some), -1).mean(axis=0).numpy()

    fig, (curve, place, written) = plotting.figure((1, 3), size=4.2)
    plotting.curve_panel(curve, state.history, "loss", title="nats a character, training batches")
    for name, value in RECIPE.baseline(state.data).items():
        curve.axhline(value, color="grey", linestyle=":", linewidth=1)
        curve.annotate(name, (0, value), fontsize=7, va="bottom")
    place.plot(np.arange(1, len(by_place) + 1), by_place)
    place.set_title("test text: by the number of characters seen")
    place.set_xlabel("characters seen")
    prompt = encode_chars("The ", vocabulary)
    sample = decode_chars(continued(model, prompt[None], 300, state.rng)[0], vocabulary)
    lines = [sample[i : i + 40] for i in range(0, len(sample), 40)]
    written.text(0, 1, "\n".join(lines).replace("$", r"\$"), va="top", family="monospace", fontsize=8)
    written.set_title("written by the model, from “The ”")
    written.axis("off")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="char_transformer",
    row="A2",
    family="language",
    title="Character-level Transformer",
    paper="arXiv 1706.03762",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_nll", at_most=1.45, seeds=3),
    figure=figure,
)

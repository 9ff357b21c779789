"""Handwritten digits as sequences of pixels, each drawn after those before it, by linear attention (arXiv 2006.16236).

An image is 64 tokens of 17 grey levels, row by row; before the first stands a black one. A Transformer says how likely
each level is for the next pixel, so its loss is an exact code length, and an image is drawn pixel by pixel. Attention
"elu" replaces exp(q·k) by φ(q)·φ(k), φ = elu + 1, which costs time in proportion to the length and nearly nothing in
likelihood; "flash" is softmax attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ... import ops, optim, plotting
from ...data import Split, digits
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from .decoder import Attention, Decoder, FeedForward, continued, loss_of, mean_loss

LEVELS, SIDE = 17, 8


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 700
    batch_size: int = 32
    lr: float = 3e-3
    weight_decay: float = 0.1
    d: int = 64
    heads: int = 4
    blocks: int = 2
    expansion: int = 2
    attention: Attention = "elu"
    feedforward: FeedForward = "gelu"


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Windows of a black pixel and the 64 of an image, 0 to 16: (N, 65)."""
    images = digits(pixels="raw", flat=True).parts().values()
    train, test = (np.pad(x.astype(np.int64), ((0, 0), (1, 0))) for x, _ in images)
    return Split(train=(train,), test=(test,))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Decoder]:
    model = Decoder(
        LEVELS, d=config.d, heads=config.heads, blocks=config.blocks, length=SIDE * SIDE, attention=config.attention,
        feedforward=config.feedforward, expansion=config.expansion, rng=rng,
    )  # fmt: skip
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, Decoder], batch: Batch) -> dict[str, Tensor]:
    (windows,) = batch  # (N, 65)
    optimizer = state.optimizers["adamw"]
    optimizer.zero_grad()
    loss = loss_of(state.model, windows)
    loss.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"loss": loss}


def evaluate(state: State[Settings, Decoder]) -> dict[str, float]:
    (windows,) = state.data.test
    return {"test_nll": mean_loss(state.model, windows, state.device)}


def baseline(data: Split) -> Mapping[str, float]:
    """How often a place has a level, one being added to each count; and how often after the level of the place before,
    mixed with the former as that is rare (Witten & Bell, 1991)."""
    (train,), (test,) = data.train, data.test
    alone, after = np.empty((2, *test[:, 1:].shape))
    for place in range(1, test.shape[1]):
        counts = np.zeros((LEVELS, LEVELS))  # of the level before and the level
        np.add.at(counts, (train[:, place - 1], train[:, place]), 1)
        shares = (counts.sum(axis=0) + 1) / (len(train) + LEVELS)
        alone[:, place - 1] = shares[test[:, place]]
        kinds, seen = (counts > 0).sum(axis=1, keepdims=True), counts.sum(axis=1, keepdims=True)
        mixed = (counts + kinds * shares) / np.maximum(seen + kinds, 1)
        mixed[seen[:, 0] == 0] = shares
        after[:, place - 1] = mixed[test[:, place - 1], test[:, place]]
    return {"each pixel alone": -float(np.log(alone).mean()), "the pixel before": -float(np.log(after).mean())}


def figure(state: State[Settings, Decoder], path: Path) -> None:
    """The losses, which pixels cost most, digits drawn by the model, and upper halves that it completes."""
    (windows,), model = state.data.test, state.model
    logits = model(tensor(windows[:, :-1], device=state.device))
    truth = tensor(windows[:, 1:].reshape(-1), device=state.device)
    each = ops.cross_entropy(logits.reshape(-1, LEVELS), truth, reduction="none").reshape(len(windows), -1)

    black = np.zeros((30, 1), np.int64)
    drawn = continued(model, black, SIDE * SIDE, state.rng)
    half = 1 + SIDE * SIDE // 2
    given = windows[:6]
    completed = continued(model, given[:, :half].repeat(4, axis=0), SIDE * SIDE // 2, state.rng).reshape(6, 4, -1)
    upper = np.pad(given[:, :half], ((0, 0), (0, SIDE * SIDE // 2)))
    rows = np.concatenate([upper[:, None], completed, given[:, None]], axis=1)  # (6, 6, 65): a digit a row

    fig, (curves, costs, samples, completions) = plotting.figure((1, 4), size=4)
    plotting.curve_panel(curves, state.history, "loss", title="nats a pixel, training batches")
    for name, value in RECIPE.baseline(state.data).items():
        curves.axhline(value, color=plotting.GREY, linestyle="--", linewidth=1)
        curves.annotate(name, (0, value), fontsize=7, va="bottom")
    image = costs.imshow(each.mean(axis=0).numpy().reshape(SIDE, SIDE), cmap="magma", vmin=0)
    fig.colorbar(image, ax=costs, shrink=0.8)
    costs.set(title="test digits: nats by place", xticks=[], yticks=[])
    plotting.images_panel(samples, drawn[:, 1:].reshape(-1, SIDE, SIDE), 6, title="drawn by the model")
    title = "upper half, four completions, truth"
    plotting.images_panel(completions, rows.reshape(-1, 65)[:, 1:].reshape(-1, SIDE, SIDE), 6, title=title)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="pixel_digits",
    row="A3",
    family="language",
    title="Digits pixel by pixel, by linear attention",
    paper="arXiv 2006.16236",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_nll", at_most=1.4, seeds=3),
    figure=figure,
)

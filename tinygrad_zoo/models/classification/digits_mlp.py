"""A multilayer perceptron that reads handwritten digits (Rumelhart, Hinton & Williams 1986, Nature 323).

Each layer is an affine map and max(x, 0); the last one's outputs are the logits of ten classes, and training minimises
the cross-entropy -log softmax(logits)[label]. 1,437 images are few: dropout (arXiv 1207.0580), decoupled weight decay
(arXiv 1711.05101) and label smoothing (arXiv 1512.00567) keep the network from learning them by heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split, digits
from ...errors import require
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor


class MLP(nn.Module):
    """Affine layers of the given sizes, with ReLU and dropout between them: (N, sizes[0]) → (N, sizes[-1]).

    >>> MLP(64, 128, 10, dropout=0.2, rng=np.random.default_rng(0))(np.zeros((5, 64), np.float32)).shape
    (5, 10)
    """

    def __init__(self, *sizes: int, dropout: float, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.net = nn.Sequential()
        for i, (n_in, n_out) in enumerate(pairwise(sizes)):
            if i:
                self.net.extend([nn.ReLU(), nn.Dropout(dropout, rng=rng)])
            self.net.append(nn.Linear(n_in, n_out, rng=rng))

    def forward(self, x: Any) -> Any:
        return self.net(x)


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    hidden: int = 128
    dropout: float = 0.2
    label_smoothing: float = 0.05


def data(config: Settings, rng: np.random.Generator) -> Split:
    return digits(flat=True)  # pixels (N, 64) in [0, 1], labels (N,)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[MLP]:
    model = MLP(64, config.hidden, config.hidden, 10, dropout=config.dropout, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, MLP], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 64), (N,)
    optimizer = state.optimizers["adamw"]
    optimizer.zero_grad()
    logits = state.model(x)  # (N, 10)
    loss = ops.cross_entropy(logits, y, label_smoothing=state.config.label_smoothing)
    loss.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"loss": loss, "accuracy": (logits.argmax(axis=1) == y).astype(dtype="float32").mean()}


def evaluate(state: State[Settings, MLP]) -> dict[str, float]:
    x, y = state.data.test
    logits = state.model(tensor(x, device=state.device))
    nll = ops.cross_entropy(logits, tensor(y, device=state.device))
    return {"test_accuracy": float((logits.numpy().argmax(axis=1) == y).mean()), "test_nll": float(nll)}


def baseline(data: Split) -> Mapping[str, float]:
    """Linear classifiers on the same pixels: the nearest class mean, and multinomial logistic regression (C = 1)."""
    (x, y), (x_test, y_test) = data.train, data.test
    means = np.stack([x[y == label].mean(axis=0) for label in range(10)])  # (10, 64)
    nearest = ((x_test[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)  # (N,)
    logistic = require("sklearn.linear_model", "zoo").LogisticRegression(max_iter=1000).fit(x, y)
    return {
        "nearest centroid": float((nearest == y_test).mean()),
        "logistic regression": float(logistic.score(x_test, y_test)),
    }


def figure(state: State[Settings, MLP], path: Path) -> None:
    """Training curves, the confusion matrix of the test digits, and the twelve hardest digits."""
    images, labels = state.data.test
    probabilities = ops.softmax(state.model(tensor(images, device=state.device))).numpy()  # (N, 10)
    read = probabilities.argmax(axis=1)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, read), 1)
    hardest = probabilities[np.arange(len(labels)), labels].argsort()[:12]

    fig, (curves, matrix, mosaic) = plotting.figure(3, size=4)
    plotting.curve_panel(curves, state.history, "loss", "accuracy", title="training batches")
    plotting.matrix_panel(matrix, confusion, title="test digits", xlabel="read as", ylabel="is")
    captions = [f"{labels[k]} → {read[k]}" for k in hardest]
    tiles = images[hardest].reshape(12, 8, 8)
    plotting.images_panel(mosaic, tiles, 4, title="least sure of: label → read as", captions=captions)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="digits_mlp",
    row="",
    family="classification",
    title="Multilayer perceptron on 8 x 8 digits",
    paper="Rumelhart, Hinton & Williams 1986",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_accuracy", at_least=0.965, statistic="median", seeds=5),
    figure=figure,
)

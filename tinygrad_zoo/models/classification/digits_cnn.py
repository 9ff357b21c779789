"""A small convolutional network that reads handwritten digits (LeCun et al. 1998, Proceedings of the IEEE 86).

A convolution looks at a 3 x 3 neighbourhood with the same weights everywhere, so what it learns to see in one place it
sees in all; three of them, the last with stride 2, turn an image into 64 maps of 4 x 4 features, of which an affine
layer makes the logits. Each is followed by batch normalisation (arXiv 1502.03167) and ReLU. Dropout, decoupled weight
decay and label smoothing are those of the perceptron beside it; no image is shifted or distorted to make more of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...amp import GradScaler, Precision, autocast
from ...data import Split, digits
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor
from . import digits_mlp


class CNN(nn.Module):
    """Three convolutions, each normalised and rectified, then an affine layer: (N, 1, 8, 8) → (N, 10).

    >>> CNN(dropout=0.5, rng=np.random.default_rng(0))(np.zeros((5, 1, 8, 8), np.float32)).shape
    (5, 10)
    """

    def __init__(self, *, dropout: float, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.features = nn.Sequential()
        for n_in, n_out, stride in [(1, 16, 1), (16, 32, 1), (32, 64, 2)]:  # the bias is the normalisation's
            convolution = nn.Conv2d(n_in, n_out, 3, stride=stride, padding=1, bias=False, rng=rng)
            self.features.extend([convolution, nn.BatchNorm2d(n_out), nn.ReLU()])
        self.head = nn.Sequential(nn.Dropout(dropout, rng=rng), nn.Flatten(), nn.Linear(64 * 4 * 4, 10, rng=rng))

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 400
    batch_size: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    dropout: float = 0.5
    label_smoothing: float = 0.05
    precision: Precision = "float32"  # of convolutions and products


def data(config: Settings, rng: np.random.Generator) -> Split:
    (x, y), (x_test, y_test) = digits().parts().values()
    return Split(train=(x[:, None], y), test=(x_test[:, None], y_test))  # pixels (N, 1, 8, 8) in [0, 1], labels (N,)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[CNN]:
    model = CNN(dropout=config.dropout, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    scaler = GradScaler(enabled=config.precision == "float16")
    return Parts(
        model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule}, extras={"scaler": scaler}
    )


def step(state: State[Settings, CNN], batch: Batch) -> dict[str, Tensor]:
    x, y = batch  # (N, 1, 8, 8), (N,)
    optimizer, scaler = state.optimizers["adamw"], state.extras["scaler"]
    optimizer.zero_grad()
    with autocast(state.config.precision):
        logits = state.model(x)  # (N, 10)
    loss = ops.cross_entropy(logits, y, label_smoothing=state.config.label_smoothing)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    state.schedules["cosine"].step()
    return {"loss": loss, "accuracy": (logits.argmax(axis=1) == y).astype(dtype="float32").mean()}


def evaluate(state: State[Settings, CNN]) -> dict[str, float]:
    x, y = state.data.test
    logits = state.model(tensor(x, device=state.device))
    nll = ops.cross_entropy(logits, tensor(y, device=state.device))
    return {"test_accuracy": float((logits.numpy().argmax(axis=1) == y).mean()), "test_nll": float(nll)}


def baseline(data: Split) -> Mapping[str, float]:
    """Classifiers that know nothing of neighbouring pixels: two linear ones, and the label of the nearest image."""
    (x, y), (x_test, y_test) = ((images.reshape(len(images), -1), labels) for images, labels in (data.train, data.test))
    distance = (x * x).sum(axis=1) - 2 * x_test @ x.T  # (N_test, N), less |x_test|²
    linear = digits_mlp.baseline(Split(train=(x, y), test=(x_test, y_test)))
    return {**linear, "nearest image": float((y[distance.argmin(axis=1)] == y_test).mean())}


def figure(state: State[Settings, CNN], path: Path) -> None:
    """Training curves, kernels, the maps that the layers make of one digit, confusions, and the hardest digits."""
    model, (images, labels) = state.model, state.data.test
    probabilities = ops.softmax(model(tensor(images, device=state.device))).numpy()  # (N, 10)
    read = probabilities.argmax(axis=1)
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (labels, read), 1)
    hardest = probabilities[np.arange(len(labels)), labels].argsort()[:12]
    captions = [f"{labels[k]} → {read[k]}" for k in hardest]

    seen = tensor(images[labels == 3][:1], device=state.device)
    maps = []  # after each ReLU: (C, H, W)
    for layer in model.features:
        seen = layer(seen)
        if isinstance(layer, nn.ReLU):
            maps.append(seen.numpy()[0])

    fig, (curves, kernels, first, last, matrix, mosaic) = plotting.figure((2, 3), size=4)
    plotting.curve_panel(curves, state.history, "loss", "accuracy", title="training batches")
    weight = model.features[0].weight.numpy()[:, 0]  # (16, 3, 3)
    plotting.images_panel(kernels, weight, 4, title="the first layer's kernels")
    plotting.images_panel(first, maps[0], 4, title="its maps of a three")
    plotting.images_panel(last, maps[-1], 8, title="the last layer's maps of it")
    plotting.matrix_panel(matrix, confusion, title="test digits", xlabel="read as", ylabel="is")
    title = "least sure of: label → read as"
    plotting.images_panel(mosaic, images[hardest, 0], 4, title=title, captions=captions)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="digits_cnn",
    row="",
    family="classification",
    title="Convolutional network on 8 x 8 digits",
    paper="LeCun et al. 1998",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_accuracy", at_least=0.985, statistic="median", seeds=5),
    figure=figure,
)

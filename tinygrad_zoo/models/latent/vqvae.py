"""Digits as 4 x 4 codes of a learnt list: a VQ-VAE (van den Oord, Vinyals & Kavukcuoglu 2017, arXiv 1711.00937).

A convolutional encoder makes a vector of each of the 16 blocks of an image; the nearest of K vectors, the codebook,
takes its place, and a decoder draws the image from these. So an image of 8 x 8 grey levels becomes 16 whole numbers of
5 bits. There is no KL term, and nothing to draw new images from: that is a second model's work, `code_prior`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split, digits
from ...errors import require
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

SIDE = 4  # codes a row


class VQVAE(nn.Module):
    """Images (N, 1, 8, 8) ↔ codes (N, 4, 4) out of 0 … K - 1.

    >>> model = VQVAE(K=32, d=16, width=8, rng=np.random.default_rng(0))
    >>> x = tz.zeros(5, 1, 8, 8)
    >>> drawn, codes, loss = model(x)
    >>> drawn.shape, codes.shape, model.decode(model.encode(x)).shape
    ((5, 1, 8, 8), (5, 4, 4), (5, 1, 8, 8))
    """

    def __init__(self, K: int, d: int, width: int, *, rng: np.random.Generator = nn.init.REQUIRED) -> None:
        self.encoder = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, rng=rng), nn.ReLU(),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, rng=rng), nn.ReLU(),
            nn.Conv2d(2 * width, d, 1, rng=rng),
        )  # fmt: skip
        self.quantizer = nn.VectorQuantizer(K, d, axis=1, rng=rng)
        self.decoder = nn.Sequential(
            nn.Conv2d(d, 2 * width, 3, padding=1, rng=rng), nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1, rng=rng), nn.ReLU(),
            nn.Conv2d(width, 1, 3, padding=1, rng=rng),
        )  # fmt: skip

    def forward(self, x: Any) -> tuple[Any, Any, Any]:
        """The image drawn again, its codes, and the quantizer's loss."""
        quantized = self.quantizer(self.encoder(x))  # (N, d, 4, 4)
        return self.decoder(quantized.values), quantized.codes, quantized.loss

    def encode(self, x: Any) -> Any:
        """Images → codes; the codebook does not follow."""
        return self.quantizer.nearest(self.encoder(x))

    def decode(self, codes: Any) -> Any:
        """Codes → images."""
        return self.decoder(self.quantizer.lookup(codes))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1500
    batch_size: int = 64
    lr: float = 2e-3
    K: int = 32
    d: int = 16
    width: int = 32


def data(config: Settings, rng: np.random.Generator) -> Split:
    (train, _), (test, _) = digits().parts().values()
    return Split(train=(train[:, None],), test=(test[:, None],))  # pixels (N, 1, 8, 8) in [0, 1]


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[VQVAE]:
    model = VQVAE(config.K, config.d, config.width, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, VQVAE], batch: Batch) -> dict[str, Tensor]:
    (x,) = batch  # (N, 1, 8, 8)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    drawn, _, loss = state.model(x)
    mse = ops.mse_loss(drawn, x)
    (mse + loss).backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"mse": mse, "commitment": loss, "perplexity": state.model.quantizer.perplexity}


def evaluate(state: State[Settings, VQVAE]) -> dict[str, float]:
    """The error a pixel, and how many codes the test digits make use of."""
    model, x = state.model, tensor(state.data.test[0], device=state.device)
    codes = model.encode(x)
    return {
        "test_mse": float(ops.mse_loss(model.decode(codes), x)),
        "perplexity": float(model.quantizer.perplexity_of(codes)),
    }


def baseline(data: Split) -> Mapping[str, float]:
    """The error of the first 8, and of the first 16, principal components, which are real numbers."""
    train, test = (part.reshape(len(part), -1).astype(np.float64) for (part,) in data.parts().values())
    axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)[2]  # (64, 64)
    away = test - train.mean(axis=0)
    errors = {n: away - away @ axes[:n].T @ axes[:n] for n in (8, 16)}
    return {f"PCA-{n}": float((error**2).mean()) for n, error in errors.items()}


def colours(order: NDArray[Any]) -> Any:
    """A colour for each code, (K, 3), dark for the first of `order`."""
    return require("matplotlib", "zoo").colormaps["turbo"](np.argsort(order) / len(order))[:, :3]


def coloured(codes: NDArray[Any], colours: NDArray[Any]) -> Any:
    """Code maps (N, 4, 4) as images (N, 8, 8, 3)."""
    return colours[codes].repeat(2, axis=1).repeat(2, axis=2)


def figure(state: State[Settings, VQVAE], path: Path) -> None:
    """Curves; test digits, their codes as colours, and what is drawn from these; each code alone, and its share."""
    model, (test,) = state.model, state.data.test
    indices = model.encode(tensor(test, device=state.device))
    drawn, codes = model.decode(indices).numpy(), indices.numpy()
    error, perplexity = ((drawn - test) ** 2).mean(), float(model.quantizer.perplexity_of(indices))
    counts = np.bincount(codes.reshape(-1), minlength=model.quantizer.K)
    order = np.argsort(-counts)  # the most frequent code first

    fig, (curve, digits, words, usage) = plotting.figure(4, size=3.8)
    plotting.curve_panel(curve, state.history, "mse", "commitment", title="mean squares, training batches")
    curve.set(yscale="log")
    blocks = coloured(codes[:16], colours(order))
    grey = [images[:16, 0, :, :, None].repeat(3, axis=-1).clip(0, 1) for images in (test, drawn)]
    rows = np.stack([grey[0], blocks, grey[1]]).reshape(3, 2, 8, 8, 8, 3).swapaxes(0, 1)  # two times three rows of 8
    title = f"digits, codes, drawings: MSE {error:.4f}"
    plotting.images_panel(digits, rows.reshape(48, 8, 8, 3), 8, title=title)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(test[:, 0], ((0, 0), (1, 1), (1, 1))), (4, 4), (1, 2))
    around = around[:, ::2, ::2]  # (N, 4, 4, 4, 4): the block of each code, and a pixel about it
    means = [around[codes == k].mean(axis=0) if counts[k] else np.zeros((4, 4)) for k in order]
    plotting.images_panel(words, means, 8, title="mean pixels about each code")
    usage.bar(range(len(counts)), counts[order] / counts.sum(), color=colours(order)[order])
    usage.set(title=f"shares of test codes, perplexity {perplexity:.1f}", xlabel="code, by frequency")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="vqvae",
    row="G6",
    family="latent",
    title="Digits as 4 x 4 codes of a learnt list",
    paper="arXiv 1711.00937",
    config=Settings(),
    metric="mse",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="test_mse", at_most=0.008, seeds=3, also=(Bar(metric="perplexity", at_least=20, seeds=3),)),
    figure=figure,
)

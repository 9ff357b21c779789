"""ESPCN: super-resolution by a sub-pixel convolution (Shi et al. 2016, arXiv 1609.05158).

All convolutions work at the low resolution. The last one makes r² channels for each of the image's, one for every place
in the r x r block of fine pixels that a coarse pixel becomes, and a pixel shuffle moves them there: a transposed
convolution of stride r whose kernel is sorted by phase. ICNR (arXiv 1707.02937) starts the r² channels equal, so that
the first images have no checkerboard. Training minimises the mean squared error, of which PSNR = -10 log10 MSE is the
logarithm. The paper's tanh is ReLU here, which fits the digits better in as many steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim, plotting
from ...data import Split, digits
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

Array = NDArray[Any]


# ---- what needs no training
def nearest(t: float) -> float:
    """1 on (-½, ½]."""
    return float(-0.5 < t <= 0.5)


def linear(t: float) -> float:
    """max(0, 1 - |t|)."""
    return max(0.0, 1 - abs(t))


def cubic(t: float, a: float = -0.75) -> float:
    """Keys' kernel (1981): two cubics of |t|, smooth where they meet at 1, and 0 from 2 on."""
    t = abs(t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return a * (((t - 5) * t + 8) * t - 4) if t < 2 else 0.0


INTERPOLATIONS = {"nearest": nearest, "bilinear": linear, "bicubic": cubic}


def interpolate(images: Array, factor: int, kernel: Callable[[float], float]) -> Array:
    """out[i] = Σ_j kernel((i + ½) / factor - ½ - j) · in[j] along both axes: (…, H, W) → (…, factor · H, factor · W).

    Beyond the border every pixel is like the one at the border.

    >>> interpolate(np.array([[0.0, 1.0]]), 2, linear).tolist()
    [[0.0, 0.25, 0.75, 1.0], [0.0, 0.25, 0.75, 1.0]]
    """

    def weights(n: int) -> Array:
        w = np.zeros((factor * n, n))
        for i in range(factor * n):
            at = (i + 0.5) / factor - 0.5
            for j in range(math.floor(at) - 1, math.floor(at) + 3):
                w[i, min(max(j, 0), n - 1)] += kernel(at - j)
        return w

    height, width = images.shape[-2:]
    out: Array = weights(height) @ images @ weights(width).T
    return out.astype(images.dtype)


def psnr(images: Array, truth: Array) -> float:
    """-10 log10 of the mean squared error, in decibels, of images clipped to [0, 1].

    >>> round(psnr(np.array([0.4, 7.0]), np.array([0.5, 1.0])), 4)
    23.0103
    """
    return float(-10 * np.log10(np.mean((np.clip(images, 0, 1).astype(np.float64) - truth) ** 2)))


# ---- the network
class ESPCN(nn.Module):
    """Two convolutions with ReLU, a sub-pixel convolution: (N, channels, H, W) → (N, channels, r · H, r · W).

    >>> model = ESPCN(2, rng=np.random.default_rng(0))
    >>> model(np.zeros((5, 1, 4, 4), np.float32)).shape
    (5, 1, 8, 8)
    """

    def __init__(
        self, upscale_factor: int, *, channels: int = 1, width: int = 32, rng: np.random.Generator = nn.init.REQUIRED
    ) -> None:
        sub_pixel = nn.Conv2d(width, channels * upscale_factor**2, 3, padding=1, rng=rng)
        bound = 1 / math.sqrt(9 * width)
        for parameter in sub_pixel.parameters():
            nn.init.icnr_(parameter, upscale_factor, nn.init.uniform_, a=-bound, b=bound, rng=rng)
        self.net = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, rng=rng),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, rng=rng),
            nn.ReLU(),
            sub_pixel,
            nn.PixelShuffle(upscale_factor),
        )

    def forward(self, x: Any) -> Any:
        return self.net(x)


FACTOR = 2


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 800
    batch_size: int = 64
    lr: float = 5e-3
    width: int = 32


def data(config: Settings, rng: np.random.Generator) -> Split:
    """The means of blocks of 2 x 2 pixels, (N, 1, 4, 4), and the digits, (N, 1, 8, 8)."""

    def halved(images: Array) -> tuple[Array, Array]:
        blocks = images.reshape(len(images), 1, 8 // FACTOR, FACTOR, 8 // FACTOR, FACTOR)
        return blocks.mean(axis=(3, 5)), images[:, None]

    split = digits()
    return Split(train=halved(split.train[0]), test=halved(split.test[0]))


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[ESPCN]:
    model = ESPCN(FACTOR, width=config.width, rng=rng)
    optimizer = optim.Adam(model.parameters(), lr=config.lr)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adam": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, ESPCN], batch: Batch) -> dict[str, Tensor]:
    coarse, fine = batch  # (N, 1, 4, 4), (N, 1, 8, 8)
    optimizer = state.optimizers["adam"]
    optimizer.zero_grad()
    loss = ops.mse_loss(state.model(coarse), fine)
    loss.backward()
    optimizer.step()
    state.schedules["cosine"].step()
    return {"loss": loss}


def evaluate(state: State[Settings, ESPCN]) -> dict[str, float]:
    coarse, fine = state.data.test
    reached = psnr(state.model(tensor(coarse, device=state.device)).numpy(), fine)
    return {"test_psnr": reached, "gain": reached - max(baseline(state.data).values())}


def baseline(data: Split) -> Mapping[str, float]:
    coarse, fine = data.test
    return {name: psnr(interpolate(coarse, FACTOR, kernel), fine) for name, kernel in INTERPOLATIONS.items()}


def figure(state: State[Settings, ESPCN], path: Path) -> None:
    """The same test digits coarse, interpolated, by the network, and as they are."""
    coarse, fine = (images[:12] for images in state.data.test)
    reached = evaluate(state)["test_psnr"]
    columns = {"4 x 4 pixels": coarse}
    for name, value in baseline(state.data).items():
        columns[f"{name}: {value:.1f} dB"] = interpolate(coarse, FACTOR, INTERPOLATIONS[name])
    columns[f"ESPCN: {reached:.1f} dB"] = state.model(tensor(coarse, device=state.device)).numpy()
    columns["the digits"] = fine

    fig, panels = plotting.figure(len(columns))
    for panel, (title, images) in zip(panels, columns.items(), strict=True):
        plotting.images_panel(panel, images[:, 0].clip(0, 1), 3, title=title)
    plotting.save(fig, path)


RECIPE = Recipe(
    name="espcn",
    row="C3",
    family="super_resolution",
    title="ESPCN: digits of 4 x 4 pixels at twice the resolution",
    paper="arXiv 1609.05158",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(
        metric="test_psnr",
        at_least=16.23,
        seeds=3,
        text="test_psnr ≥ 16.23 dB, 3 dB above the best interpolation (min of 3 seeds)",
    ),
    figure=figure,
)

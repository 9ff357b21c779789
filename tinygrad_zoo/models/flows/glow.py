"""Glow on digits of 8 x 8 pixels (Kingma & Dhariwal 2018, arXiv 1807.03039).

A step normalises the channels, mixes them by an invertible 1x1 convolution, and scales and shifts one half of them by
functions of the other. Squeezing trades places for channels; after the first level half of the channels are done, so
that coarse structure is found by the deeper steps. Sampling at a temperature below 1 gives more typical digits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, optim, plotting
from ...data import Split
from ...distributions import Independent, MultivariateNormal, Normal
from ...errors import UsageError
from ...recipe import Bar, Config, Parts, Recipe, State
from ...tensor import tensor
from . import digit_pixels
from .couplings import Shape
from .digit_pixels import DIM, SHAPE
from .glow_blocks import ActNorm, ChannelCoupling, InvertibleConv1x1, Split2d, Squeeze2d
from .transforms import Flow, Transform


def glow_level(shape: Shape, hidden: int, depth: int, levels: int, rng: np.random.Generator) -> list[Transform]:
    """Squeeze, `depth` steps of ActNorm, 1x1 convolution and coupling, and a split behind which the next level is."""
    squeeze = Squeeze2d(shape)
    shape = squeeze.squeezed  # (4 C, H/2, W/2)
    transforms: list[Transform] = [squeeze]
    for _ in range(depth):
        coupling = ChannelCoupling(shape, hidden, max_log_scale=2.0, rng=rng)
        transforms += [ActNorm(shape), InvertibleConv1x1(shape, rng=rng), coupling]
    if levels > 1:
        half = (shape[0] // 2, *shape[1:])
        transforms.append(Split2d(shape, glow_level(half, hidden, depth, levels - 1, rng), max_log_scale=2.0, rng=rng))
    return transforms


class Glow(Flow):
    """A density of images (C, H, W) that stand in rows (N, C·H·W): `levels` levels of `depth` steps.

    Call `initialise(x)` with data before training: ActNorm starts from their means and variances.

    >>> model = Glow((1, 4, 4), hidden=8, depth=2, levels=2, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((3, 16), np.float32)).shape
    (3,)
    """

    def __init__(
        self, shape: Shape, hidden: int, depth: int, levels: int, *, rng: np.random.Generator = nn.init.REQUIRED
    ) -> None:
        if depth < 1 or levels < 1:
            raise UsageError(f"Glow: expected depth >= 1 and levels >= 1, got {depth} and {levels}")
        dim = math.prod(shape)
        base = Independent(Normal(np.zeros(dim, np.float32), np.ones(dim, np.float32)), 1)
        super().__init__(base, glow_level(shape, hidden, depth, levels, rng))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 600
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 1e-2
    hidden: int = 32
    depth: int = 3
    levels: int = 2


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Glow]:
    model = Glow(SHAPE, config.hidden, config.depth, config.levels, rng=rng)
    model.initialise(tensor(digit_pixels.dequantized(data)))
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def evaluate(state: State[Settings, Glow]) -> dict[str, float]:
    """In nats a pixel, of x in [0, 1]; and in bits a pixel, of the counts."""
    nll = digit_pixels.nll(state)
    return {"test_nll": nll, "test_bits": digit_pixels.bits(nll)}


def samples(state: State[Settings, Glow]) -> Mapping[str, Any]:
    return {"digits": digit_pixels.images(state.model.sample(100, rng=state.rng))}


def figure(state: State[Settings, Glow], path: Path) -> None:
    """Digits, a Gaussian's samples, Glow's at two temperatures, ways between digits through the latent space."""
    model, (test,) = state.model, state.data.test
    (known,) = digit_pixels.baseline(state.data).values()
    gaussian = MultivariateNormal.fit(digit_pixels.dequantized(state.data)).sample(40, rng=state.rng)
    ends, _ = model(tensor(test[:10], device=state.device))  # (10, 64)
    mix = np.linspace(0, 1, 8, dtype=np.float32)[:, None, None]
    between = (1 - mix) * ends.numpy()[:5] + mix * ends.numpy()[5:]  # (8, 5, 64)
    ways = model.inverse(tensor(between.swapaxes(0, 1).reshape(-1, DIM), device=state.device))
    fig, (truth, simple, warm, cool, morphs, curve) = plotting.figure((2, 3), size=3.8)
    for ax, x, title in (
        (truth, test[:40], "test digits"),
        (simple, gaussian, f"the Gaussian's samples: NLL {known:.3f} a pixel"),
        (warm, model.sample(40, rng=state.rng), f"Glow's samples: NLL {digit_pixels.nll(state):.3f} a pixel"),
        (cool, model.sample(40, temperature=0.7, rng=state.rng), "Glow's samples at temperature 0.7"),
        (morphs, ways, "from digit to digit in the latent space"),
    ):
        plotting.images_panel(ax, digit_pixels.images(x), 8, title=title)
    plotting.curve_panel(curve, state.history, "nll", title="training NLL, nats a pixel")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="glow",
    row="F3",
    family="flows",
    title="Glow on digits",
    paper="arXiv 1807.03039",
    config=Settings(),
    metric="bits",
    data=digit_pixels.data,
    build=build,
    step=digit_pixels.step,
    evaluate=evaluate,
    baseline=digit_pixels.baseline,
    bar=Bar(metric="test_nll", at_most=-0.985, seeds=3, text="test_nll ≤ -0.985 (max of 3 seeds), Gaussian -0.785"),
    figure=figure,
    samples=samples,
)

"""What the adversarial systems share: eight Gaussians on a ring, a GAN for it, and what of it a generator found.

The modes are so narrow (σ = 0.05 at radius 2) that between them there is nothing: a generator must tear its one
connected blob of noise apart to cover all, and one that settles on a few modes (mode collapse) is seen at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, plotting
from ...data import Split, eight_gaussians
from ...draws import randn
from ...optimal_transport import emd
from ...recipe import State
from ...tensor import Tensor, tensor
from .base import GAN, Loss

Array = NDArray[Any]
RADIUS, NOISE = 2.0, 0.05
LATENT = 2  # dimensions of the noise
SAMPLES = 1_000  # that are drawn, and test points that they are compared with
FEWEST = 1 / 32  # of all samples, by which a mode counts as found: a quarter of its share
SQUARE = (-2.8, 2.8, -2.8, 2.8)


def ring(rng: np.random.Generator) -> Split:
    """20,000 points to learn from, and as many as there are samples to compare them with."""
    (train, _), (test, _) = (eight_gaussians(n, rng, RADIUS, NOISE) for n in (20_000, SAMPLES))
    return Split(train=(train,), test=(test,))


def adversaries(hidden: int, loss: Loss, *, rng: np.random.Generator) -> GAN:
    """A generator from noise to the plane, and a discriminator from the plane to a number: a logit, or f's value."""
    return GAN(nn.mlp(LATENT, hidden, hidden, 2, rng=rng), nn.mlp(2, hidden, hidden, 1, rng=rng), loss)


def sample(model: GAN, n: int, *, rng: np.random.Generator) -> Tensor:
    """G(z) of n draws z ~ N(0, I): (n, 2).

    >>> sample(adversaries(16, "ns", rng=np.random.default_rng(0)), 5, rng=np.random.default_rng(1)).shape
    (5, 2)
    """
    device = next(iter(model.generator.parameters())).device
    drawn: Tensor = model(randn(n, LATENT, rng=rng, device=device))
    return drawn


def found(points: Array) -> dict[str, float]:
    """The modes that have at least a quarter of their share of samples within 5 σ, and the part of all that is so near.

    >>> found(np.array([[2.0, 0.0], [2.1, 0.1], [0.0, 0.0], [0.0, -2.0]]))
    {'modes': 2.0, 'within_5_sigma': 0.75}
    """
    angles = np.arange(8) * (np.pi / 4)
    centres = RADIUS * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    distance = np.linalg.norm(np.asarray(points, np.float64)[:, None] - centres, axis=2)  # (n, 8)
    near = distance.min(1) <= 5 * NOISE
    counts = np.bincount(distance.argmin(1)[near], minlength=8)
    return {"modes": float((counts >= FEWEST * len(points)).sum()), "within_5_sigma": float(near.mean())}


def wasserstein(x: Array, y: Array) -> float:
    """W₁ between two sets of points of equal weights, exactly."""
    x, y = (np.asarray(points, np.float64) for points in (x, y))
    distance = np.linalg.norm(x[:, None] - y, axis=2)
    return emd(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), distance).value


def evaluate(state: State[Any, GAN]) -> dict[str, float]:
    """Of 1,000 samples: the modes found, the share within 5 σ of one, and the exact W₁ to the 1,000 test points."""
    drawn = sample(state.model, SAMPLES, rng=state.rng).numpy()
    return {**found(drawn), "w1": wasserstein(drawn, state.data.test[0])}


def floor(data: Split) -> float:
    """W₁ between 1,000 other data points and the test points: what a perfect generator would reach."""
    return wasserstein(data.train[0][:SAMPLES], data.test[0])


def gaussian(data: Split) -> Array:
    """As many samples as there are test points of one Gaussian of the data's mean and covariance, for comparison."""
    x, rng = data.train[0].astype(np.float64), np.random.default_rng(0)
    return rng.multivariate_normal(x.mean(0), np.cov(x.T), SAMPLES)


def samples(state: State[Any, GAN]) -> Mapping[str, Tensor]:
    return {"samples": sample(state.model, SAMPLES, rng=state.rng)}


def draw(panels: Sequence[plotting.Axes], state: State[Any, GAN], *curves: str) -> None:
    """Data, samples with what was found, the critic's landscape with the samples on it, and training curves."""
    data, made, landscape, history = panels
    drawn = sample(state.model, SAMPLES, rng=state.rng).numpy()
    scores = {**found(drawn), "w1": wasserstein(drawn, state.data.test[0])}
    plotting.scatter_panel(
        data, state.data.test[0], title=f"data; W₁ of other data {floor(state.data):.2f}", extent=SQUARE
    )
    caption = f"{scores['modes']:.0f} of 8 modes, {scores['within_5_sigma']:.0%} within 5σ, W₁ {scores['w1']:.2f}"
    plotting.scatter_panel(made, drawn, title=caption, extent=SQUARE)
    x, y = np.meshgrid(np.linspace(*SQUARE[:2], 120), np.linspace(*SQUARE[2:], 120))
    plane = np.stack([x.ravel(), y.ravel()], axis=1)
    heights = state.model.discriminator(tensor(plane, "float32", state.device)).numpy().reshape(x.shape)
    landscape.contourf(x, y, heights, levels=24, cmap="RdBu_r")
    plotting.scatter_panel(landscape, drawn[:300], title="critic: red where it sees data", extent=SQUARE)
    plotting.curve_panel(history, state.history, *curves, title="losses")


def figure(state: State[Any, GAN], path: Path, *curves: str, title: str) -> None:
    """The panels of `draw`."""
    fig, panels = plotting.figure(4, title=title)
    draw(panels, state, *curves)
    plotting.save(fig, path)

"""Deformable convolutions read digits of any size and angle (arXiv 1703.06211).

A convolution looks at the same neighbourhood whatever it sees; digits between 0.6 and 1.4 times the usual size, turned
by up to 40°, do not keep to it. Two small networks see them on a canvas of 16 x 16 pixels: three convolutions, each
normalised and rectified, the mean of each map, and an affine layer. They differ in one thing: the last two
convolutions of one compute from their input where each of their taps reads. Both are trained in one run, on the same
batches, of several sizes and angles of every training digit: the plain one has to learn them from examples alone.

Of what was learnt the test digits tell: whether it reads them better, how far the taps move, and whether they move the
further apart, the larger a digit is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ... import nn, ops, optim, plotting
from ...data import Split, digits
from ...grad_mode import no_grad
from ...recipe import Bar, Batch, Config, Parts, Recipe, State
from ...tensor import Tensor, tensor

CANVAS = 16
USUAL = 1.4  # pixels of the canvas to a pixel of a digit of size 1
SIZES, ANGLE = (0.6, 1.4), 40.0


class CNN(nn.Module):
    """(N, 1, 16, 16) → (N, 10); `deformable` are the last two convolutions.

    >>> CNN(deformable=True, rng=np.random.default_rng(0))(np.zeros((5, 1, 16, 16), np.float32)).shape
    (5, 10)
    """

    features: nn.Sequential

    def __init__(
        self, *, deformable: bool, offset_lr: float = 1.0, rng: np.random.Generator = nn.init.REQUIRED
    ) -> None:
        self.features = nn.Sequential()
        for i, (n_in, n_out, stride) in enumerate([(1, 16, 1), (16, 32, 2), (32, 64, 2)]):
            where: dict[str, Any] = {"stride": stride, "padding": 1, "bias": False, "rng": rng}
            if deformable and i > 0:
                layer: nn.Module = nn.DeformConv2d(n_in, n_out, 3, offset_lr=offset_lr, **where)
            else:
                layer = nn.Conv2d(n_in, n_out, 3, **where)
            self.features.extend([layer, nn.BatchNorm2d(n_out), nn.ReLU()])
        self.head = nn.Linear(64, 10, rng=rng)

    def forward(self, x: Any) -> Any:
        return self.head(self.features(x).mean(axis=(2, 3)))

    def offsets(self, x: Any) -> list[Any]:
        """Of each deformable convolution the offsets (N, 18, H', W') that it computes for images."""
        found = []
        for layer in self.features:
            if isinstance(layer, nn.DeformConv2d):
                found.append(layer.offsets(x)[0])
            x = layer(x)
        return found


class Pair(nn.Module):
    """The network and the same with plain convolutions, begun alike."""

    def __init__(self, *, offset_lr: float, rng: np.random.Generator) -> None:
        seed = int(rng.integers(2**32))
        self.deformable = CNN(deformable=True, offset_lr=offset_lr, rng=np.random.default_rng(seed))
        self.plain = CNN(deformable=False, rng=np.random.default_rng(seed))


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 300
    batch_size: int = 64
    lr: float = 4e-3
    offset_lr: float = 0.5
    weight_decay: float = 0.02
    copies: int = 3


def transformed(images: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The digits (N, 8, 8) on a canvas (N, 1, 16, 16), each of a size (N,) and at an angle of its own."""
    n = len(images)
    sizes, angles = rng.uniform(*SIZES, n), np.deg2rad(rng.uniform(-ANGLE, ANGLE, n))
    shrink = CANVAS / (images.shape[1] * USUAL * sizes)  # half an image is 1 long, in the grid of either
    turn = np.stack([np.cos(angles), -np.sin(angles), np.sin(angles), np.cos(angles)], axis=1).reshape(n, 2, 2)
    theta = np.concatenate([turn * shrink[:, None, None], np.zeros((n, 2, 1))], axis=2).astype(images.dtype)
    grid = ops.affine_grid(theta, size=(n, 1, CANVAS, CANVAS), align_corners=False)
    return ops.grid_sample(images[:, None], grid, align_corners=False), sizes


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Images (N, 1, 16, 16), labels (N,) and sizes (N,): several of each digit, all of different size and angle."""
    parts = []
    for images, labels in digits().parts().values():
        canvas, sizes = transformed(np.repeat(images, config.copies, axis=0), rng)
        parts.append((canvas, np.repeat(labels, config.copies), sizes))
    return Split(train=parts[0], test=parts[1])


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[Pair]:
    model = Pair(offset_lr=config.offset_lr, rng=rng)
    optimizer = optim.AdamW(optim.branch_groups(model, config.lr), weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


def step(state: State[Settings, Pair], batch: Batch) -> dict[str, Tensor]:
    x, y, _ = batch  # (N, 1, 16, 16), (N,)
    state.optimizers["adamw"].zero_grad()
    deformable = ops.cross_entropy(state.model.deformable(x), y)
    plain = ops.cross_entropy(state.model.plain(x), y)
    (deformable + plain).backward()
    state.optimizers["adamw"].step()
    state.schedules["cosine"].step()
    return {"loss": deformable, "plain_loss": plain}


def spread(offset: np.ndarray) -> np.ndarray:
    """By how much offsets (N, 18, H', W') move taps apart, in pixels: their mean along the taps' directions."""
    taps = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=2).reshape(1, 9, 2, 1, 1)
    moved = offset.reshape(len(offset), 9, 2, *offset.shape[2:])
    return np.asarray((moved * taps).sum(axis=(1, 2)).mean(axis=(1, 2)) / np.abs(taps).sum())


def rank_correlation(x: np.ndarray, y: np.ndarray) -> float:
    """Spearman's ρ of values without ties.

    >>> rank_correlation(np.array([1.0, 2.0, 9.0]), np.array([3.0, 4.0, 5.0]))
    1.0
    """
    one, other = (np.argsort(np.argsort(v)) for v in (x, y))
    return float(np.corrcoef(one, other)[0, 1]) if min(np.ptp(x), np.ptp(y)) > 0 else 0.0


def evaluate(state: State[Settings, Pair]) -> dict[str, float]:
    x, y, sizes = state.data.test
    seen = tensor(x, device=state.device)
    with no_grad():
        read = {name: getattr(state.model, name)(seen).numpy().argmax(axis=1) for name in ("deformable", "plain")}
        offsets = [o.numpy() for o in state.model.deformable.offsets(seen)]
    right = {name: float((labels == y).mean()) for name, labels in read.items()}
    return {
        "test_accuracy": right["deformable"],
        "plain_accuracy": right["plain"],
        "gain": right["deformable"] - right["plain"],
        "offset_variance": float(np.mean([o.var() for o in offsets])),
        "size_correlation": max(rank_correlation(spread(o), sizes) for o in offsets),
    }


def baseline(data: Split) -> Mapping[str, float]:
    """What the plain network gains on itself: nothing. It is trained in the same run."""
    return {"the plain network": 0.0}


def sampled(offsets: list[np.ndarray], n: int, place: tuple[int, int]) -> np.ndarray:
    """Where image n is read for one place of the last layer, through both 3 x 3 convolutions: (81, 2), y and x."""

    def taps(offset: np.ndarray, row: int, column: int) -> np.ndarray:
        base = np.stack(np.meshgrid(np.arange(3), np.arange(3), indexing="ij"), axis=2).reshape(9, 2)
        return np.asarray(base + 2 * np.array([row, column]) - 1 + offset[n, :, row, column].reshape(9, 2))

    inner, outer = offsets
    middle = np.clip(np.rint(taps(outer, *place)), 0, inner.shape[2] - 1).astype(int)
    return np.concatenate([taps(inner, row, column) for row, column in middle.tolist()])


def figure(state: State[Settings, Pair], path: Path) -> None:
    """Both networks' losses; test digits from small to large, and where the middle of the last layer reads them."""
    x, y, sizes = state.data.test
    with no_grad():
        offsets = [o.numpy() for o in state.model.deformable.offsets(tensor(x, device=state.device))]
    straight = [np.zeros_like(o) for o in offsets]
    by_size = np.argsort(sizes)
    chosen = by_size[(np.array([0.02, 0.25, 0.5, 0.75, 0.98]) * len(by_size)).astype(int)]
    fig, (curves, *panels) = plotting.figure((2, 3), size=3.6)
    plotting.curve_panel(curves, state.history, "loss", "plain_loss", title="training batches")
    for panel, n in zip(panels, chosen.tolist(), strict=True):
        panel.imshow(x[n, 0], cmap="gray")
        for found, colour, width in ((straight, plotting.GREY, 14), (offsets, plotting.ORANGE, 10)):
            at = sampled(found, n, (2, 2))
            panel.scatter(at[:, 1], at[:, 0], s=width, color=colour, linewidths=0)
        panel.set(xlim=(-3.5, CANVAS + 2.5), ylim=(CANVAS + 2.5, -3.5), facecolor="black", xticks=[], yticks=[])
        panel.set_title(f"a {y[n]}, {sizes[n]:.2f} times the usual size")
    plotting.save(fig, path)


RECIPE = Recipe(
    name="deformable_cnn",
    row="C7",
    family="classification",
    title="Deformable convolutional network on digits of any size and angle",
    paper="arXiv 1703.06211",
    config=Settings(),
    metric="loss",
    data=data,
    build=build,
    step=step,
    evaluate=evaluate,
    baseline=baseline,
    bar=Bar(metric="gain", at_least=0.015, seeds=3),
    figure=figure,
)

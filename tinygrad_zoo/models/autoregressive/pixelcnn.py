"""PixelCNN: each pixel given those before it in raster order, by masked convolutions (van den Oord et al., 1601.06759).

A first convolution, mask "A", does not see the pixel that is to be predicted; the later ones, mask "B", may see what
the first made of it. So one pass gives the conditionals of all pixels, by weights that all places share; drawing takes
a pass a pixel. Pixels are whole numbers, so that it is a density of codes too, and may be conditioned on a class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops, optim
from ...backend import on_host
from ...creation import zeros
from ...data import Split
from ...errors import ShapeError, UsageError
from ...grad_mode import no_grad
from ...recipe import Bar, Config, Parts, Recipe
from ...tensor import Tensor, as_tensor
from ...transforms import jacobian
from ...variable import looked_at
from . import binary_digits


class Block(nn.Module):
    """x + conv₁ₓ₁(relu(conv₃ₓ₃(relu(conv₁ₓ₁(relu(x)))))), all masked "B", half of the channels inside (figure 5)."""

    def __init__(self, channels: int, *, rng: np.random.Generator) -> None:
        half = max(1, channels // 2)
        sizes = ((channels, half, 1), (half, half, 3), (half, channels, 1))
        self.layers = [nn.MaskedConv2d(*size, mask_type="B", rng=rng) for size in sizes]

    def forward(self, x: Any) -> Any:
        h = x
        for layer in self.layers:
            h = layer(ops.relu(h))
        return x + h


class PixelCNN(nn.Module):
    """p(x) = Π p(pixel | pixels above, and left of it in its row), of images (N, height, width) of 0..levels-1.

    With `classes`, labels (N,) are given too, and every block adds a vector of theirs.

    >>> model = PixelCNN(4, 4, levels=3, channels=8, blocks=1, rng=np.random.default_rng(0))
    >>> model.log_prob(np.zeros((2, 4, 4))).shape, model.sample(2, rng=np.random.default_rng(0)).shape
    ((2,), (2, 4, 4))
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        levels: int = 2,
        channels: int,
        blocks: int,
        classes: int = 0,
        kernel_size: int = 7,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        rng = nn.init.generator("PixelCNN", rng)
        self.height, self.width, self.levels, self.classes = height, width, levels, classes
        self.first = nn.MaskedConv2d(levels, channels, kernel_size, mask_type="A", rng=rng)
        self.blocks = [Block(channels, rng=rng) for _ in range(blocks)]
        self.labels = [nn.Embedding(classes, channels, rng=rng) for _ in range(blocks if classes else 0)]
        self.last = [nn.MaskedConv2d(channels, n, 1, mask_type="B", rng=rng) for n in (channels, levels)]

    def forward(self, planes: Any, labels: Any = None) -> Any:
        """The logits of each level (N, levels, height, width) of images in one-hot planes of that shape."""
        h = self.first(planes)  # (N, channels, height, width)
        for i, block in enumerate(self.blocks):
            if labels is not None:
                h = h + self.labels[i](labels)[:, :, None, None]
            h = block(h)
        for layer in self.last:
            h = layer(ops.relu(h))
        return h

    def log_probs(self, x: Any, labels: Any = None) -> Any:
        """log p of each pixel given those before, (N, height, width).

        Raises ShapeError for images of another size, UsageError for what is no level (on the host), and for labels
        that are missing, or not wanted.
        """
        levels = self._levels(x, labels)
        return -ops.cross_entropy(self(self._planes(levels), labels), levels, reduction="none")

    def log_prob(self, x: Any, labels: Any = None) -> Any:
        """log p(x), (N, height, width) → (N,), in nats. Errors are those of `log_probs`."""
        return self.log_probs(x, labels).sum(axis=(1, 2))

    def sample(self, n: int, labels: Any = None, *, rng: np.random.Generator) -> Any:
        """n images (n, height, width) of whole numbers, without gradient, with `labels` (n,) if there are classes."""
        like = self.first.weight
        x = zeros(n, self.height, self.width, dtype="int64", device=like.device)
        self._levels(x, labels)
        key = ops.draw_key(nn.init.generator("PixelCNN.sample", rng), like.device)
        uniform = ops.standard_uniform(key, shape=x.shape, dtype=like.dtype)
        with no_grad():
            planes = self._planes(x)
            for row, column in np.ndindex(self.height, self.width):
                above = planes[:, :, : row + 1]  # what is below is not seen
                p = ops.softmax(self(above, labels)[:, :, row, column], axis=1)
                below = ops.cumsum(p, axis=1).data[:, :-1]  # the last is 1, but for rounding
                x.data[:, row, column] = (uniform[:, row, column, None] >= below).sum(axis=1)
                planes.data[:, :, row, column] = ops.one_hot(x[:, row, column], self.levels).data
        return x

    def dependence(self, x: Any) -> NDArray[Any]:
        """Σ |∂ logit of pixel i / ∂ planes of pixel j|, (pixels, pixels), in raster order, of one image (no labels).

        The logit is that of the highest level against the lowest.
        """

        def logits(planes: Any) -> Any:
            made = self(planes)[0]
            return made[-1] - made[0]  # (height, width)

        n = self.height * self.width
        gradients: Any = jacobian(logits)(self._planes(self._levels(x, None)[:1])).numpy()
        return np.asarray(np.abs(gradients).reshape(n, self.levels, n).sum(axis=1))

    def settings(self) -> str:
        classes = f", classes={self.classes}" if self.classes else ""
        return f"{self.height}, {self.width}, levels={self.levels}{classes}"

    def _levels(self, x: Any, labels: Any) -> Tensor:
        """The images as whole numbers."""
        x = as_tensor(x)
        if x.ndim != 3 or x.shape[1:] != (self.height, self.width):
            raise ShapeError(f"PixelCNN: expected images (N, {self.height}, {self.width}), got {x.shape}")
        if (labels is None) == bool(self.classes):
            raise UsageError(f"PixelCNN: labels are to be given where there are classes, and classes={self.classes}")
        values = looked_at(x)
        if on_host(values) and not ((values >= 0) & (values < self.levels) & (values % 1 == 0)).all():
            raise UsageError(f"PixelCNN: expected whole numbers from 0 to {self.levels - 1}")
        whole: Tensor = ops.astype(x, dtype="int64")
        return whole

    def _planes(self, levels: Tensor) -> Tensor:
        hot = ops.moveaxis(ops.one_hot(levels, self.levels), -1, 1)
        planes: Tensor = ops.astype(hot, dtype=self.first.weight.dtype)
        return planes


@dataclass(frozen=True, kw_only=True)
class Settings(Config):
    steps: int = 1_500
    batch_size: int = 64
    lr: float = 3e-3
    weight_decay: float = 0.1
    channels: int = 32
    blocks: int = 3


def data(config: Settings, rng: np.random.Generator) -> Split:
    """Images (N, 8, 8) of 0 and 1."""
    side = binary_digits.SIDE
    train, test = ((x.reshape(-1, side, side),) for (x,) in binary_digits.data(config, rng).parts().values())
    return Split(train=train, test=test)


def build(config: Settings, data: Split, rng: np.random.Generator) -> Parts[PixelCNN]:
    model = PixelCNN(*data.train[0].shape[1:], channels=config.channels, blocks=config.blocks, rng=rng)
    optimizer = optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = optim.CosineAnnealingLR(optimizer, config.steps)
    return Parts(model=model, optimizers={"adamw": optimizer}, schedules={"cosine": schedule})


RECIPE = Recipe(
    name="pixelcnn",
    row="G1",
    family="autoregressive",
    title="Binarised digits by PixelCNN",
    paper="arXiv 1601.06759",
    config=Settings(),
    metric="nll",
    data=data,
    build=build,
    step=binary_digits.step,
    evaluate=binary_digits.evaluate,
    baseline=binary_digits.baseline,
    bar=Bar(metric="test_nll", at_most=19.2, seeds=3),
    figure=binary_digits.figure,
    samples=binary_digits.samples,
)

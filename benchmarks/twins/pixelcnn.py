"""PixelCNN on binarised digits: masked convolutions, the batch's NLL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The parameters, the optimizer and one step."""
    import torch
    from torch import nn

    class Masked(nn.Conv2d):
        def __init__(self, n_in: int, n_out: int, size: int, sees_centre: int) -> None:
            super().__init__(n_in, n_out, size, padding="same")
            before = torch.arange(size * size) < size * size // 2 + sees_centre
            self.register_buffer("mask", before.reshape(size, size).float())

        def forward(self, x: Any) -> Any:
            return nn.functional.conv2d(x, self.weight * self.mask, self.bias, padding="same")

    class Block(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            half, layers = channels // 2, []
            for n_in, n_out, size in ((channels, half, 1), (half, half, 3), (half, channels, 1)):
                layers += [nn.ReLU(), Masked(n_in, n_out, size, 1)]
            self.layers = nn.Sequential(*layers)

        def forward(self, x: Any) -> Any:
            return x + self.layers(x)

    c = config.channels
    last = [nn.ReLU(), Masked(c, c, 1, 1), nn.ReLU(), Masked(c, 2, 1, 1)]
    model = nn.Sequential(Masked(2, c, 7, 0), *(Block(c) for _ in range(config.blocks)), *last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0]).long()
        planes = nn.functional.one_hot(x, 2).permute(0, 3, 1, 2).float()
        nll = nn.functional.cross_entropy(model(planes), x, reduction="sum") / len(x)
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        schedule.step()
        return nll.item()

    return step

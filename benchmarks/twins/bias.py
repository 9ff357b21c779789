"""A line with a bias and one without, on y = 3 + 2x (P2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    import torch

    lines = [torch.nn.Linear(1, 1, bias=bias, dtype=torch.float64) for bias in (True, False)]
    optimizer = torch.optim.SGD([p for line in lines for p in line.parameters()], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, y = (torch.from_numpy(array) for array in batch)
        biased, free = (torch.nn.functional.mse_loss(line(x), y) for line in lines)
        optimizer.zero_grad()
        (biased + free).backward()
        optimizer.step()
        schedule.step()
        return biased.item()

    return step

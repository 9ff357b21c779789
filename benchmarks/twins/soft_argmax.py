"""Scores moved through soft-argmax: the argmax measured, the soft-argmax and the spread trained; the second's loss."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The scores, the optimizers and one step."""
    import torch

    torch.manual_seed(seed)
    start = config.scale * torch.randn(len(data.train[0]), config.n)
    tables = [start.clone().requires_grad_() for _ in range(3)]
    adams = [torch.optim.Adam([table], lr=config.lr, betas=(0.9, 0.95), eps=1e-12) for table in tables]
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps) for adam in adams]
    places, done = torch.arange(config.n, dtype=torch.float32), 0

    def step(batch: tuple[np.ndarray, ...]) -> float:
        nonlocal done
        row, target = torch.from_numpy(batch[0]), torch.from_numpy(batch[1]).float()
        beta = config.beta ** max(0.0, 2 * done / config.steps - 1)
        done += 1
        x = [torch.nn.functional.embedding(row, table) for table in tables]
        weights = torch.softmax(x[1], 1), torch.softmax(beta * x[2], 1)
        losses = [
            ((x[0].argmax(1).float() - target) ** 2).mean(),
            (((weights[0] * places).sum(1) - target) ** 2).mean(),
            (weights[1] * (places - target[:, None]) ** 2).sum(1).mean(),
        ]
        for loss, adam, schedule in zip(losses, adams, schedules, strict=True):
            adam.zero_grad()
            if loss.requires_grad:
                loss.backward()
                adam.step()
                schedule.step()
        return float(losses[1].detach())

    return step

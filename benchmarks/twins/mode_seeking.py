"""Gaussians fitted to two modes by five divergences on a grid, each from its own starts; in float64."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The parameters, the optimizer and one step."""
    import torch
    from torch import nn

    from tinygrad_zoo.models.autoregressive.mode_seeking import CELL, LOCS, SCALES

    draw = torch.Generator().manual_seed(seed)
    uniform = torch.rand(2, config.starts, generator=draw, dtype=torch.float64)
    start = [low + (high - low) * u for (low, high), u in zip((LOCS, SCALES), uniform, strict=True)]
    loc, log_scale = (nn.Parameter(x.expand(5, -1).clone()) for x in (start[0], start[1].log()))
    optimizer = torch.optim.Adam([loc, log_scale], lr=config.lr, betas=(0.9, 0.9))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def relative_entropy(p: Any, q: Any) -> Any:
        return torch.special.xlogy(p, p) - torch.special.xlogy(p, q)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, p, P = (torch.from_numpy(column) for column in batch)
        normal = torch.distributions.Normal(loc[..., None], log_scale.exp()[..., None])
        q, Q = normal.log_prob(x).exp(), normal.cdf(x)
        middle = 0.5 * (p + q[2])
        values = [
            relative_entropy(p, q[0]),
            relative_entropy(q[1], p),
            0.5 * (relative_entropy(p, middle) + relative_entropy(q[2], middle)),
            0.5 * (p - q[3]).abs(),
            (P - Q[4]).abs(),
        ]
        each = torch.stack(values).sum(-1) * CELL
        optimizer.zero_grad()
        each.sum().backward()
        optimizer.step()
        schedule.step()
        return each.mean().item()

    return step

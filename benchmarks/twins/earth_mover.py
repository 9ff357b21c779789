"""Potentials by ascent on the softened dual, with both bounds: how far these are apart."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizers and one step."""
    import torch

    sources, n = torch.from_numpy(data.train[0]), len(data.train[0])
    f = torch.zeros(n, requires_grad=True)
    adam = torch.optim.Adam([f], config.lr, (0.5, 0.9))
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    ratio, taken = config.last_epsilon / config.epsilon, 0

    def step(batch: tuple[np.ndarray, ...]) -> float:
        nonlocal taken
        epsilon = config.epsilon * ratio ** (taken / config.steps)
        taken += 1
        distance = torch.cdist(sources, torch.from_numpy(batch[1]))
        m = distance.shape[1]
        adam.zero_grad()
        reach = (f[:, None] - distance) / epsilon
        soft = torch.logsumexp(reach, 0)
        plan = torch.exp(reach - soft) / m
        (-(f.mean() + (epsilon * (math.log(n) - soft)).mean())).backward()
        with torch.no_grad():
            below = f.mean() + (distance - f[:, None]).amin(0).mean()
            sent = plan.sum(1)
            share = torch.minimum(1 / (n * sent), torch.tensor(1.0))
            rows, columns = 1 / n - share * sent, 1 / m - share @ plan
            rest = (rows * (distance @ columns)).sum() / rows.sum().clamp(min=1e-30)
            above = (share * (plan * distance).sum(1)).sum() + rest
        adam.step()
        cosine.step()
        return float(above - below)

    return step

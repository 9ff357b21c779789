"""BGD, MBGD and SGD with step sizes a/(k + shift)^p on a convex loss (E4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split
from tinygrad_zoo.models.stochastic_approximation.sgd_as_robbins_monro import DECAY, optimum


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    import torch

    whole = tuple(torch.from_numpy(array) for array in data.train)
    best = torch.from_numpy(optimum(*data.train, config.loss).astype(np.float32))
    maps = [torch.nn.Linear(whole[0].shape[1], 1) for _ in range(3)]
    for p in (p for each in maps for p in each.parameters()):
        torch.nn.init.zeros_(p)
    optimizers = [torch.optim.SGD(each.parameters(), lr=1.0) for each in maps]
    rate = lambda k: config.a / (k + 1 + config.shift) ** config.p
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, rate) for each in optimizers]

    def loss(model: Any, x: Any, y: Any) -> Any:
        out = model(x)[:, 0]
        error = (
            torch.nn.functional.mse_loss(out, y) / 2
            if config.loss == "squared"
            else torch.nn.functional.binary_cross_entropy_with_logits(out, y)
        )
        return error + DECAY[config.loss] / 2 * sum((p * p).sum() for p in model.parameters())

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, y = (torch.from_numpy(array) for array in batch)
        distances = []
        for model, sgd, schedule, some in zip(
            maps, optimizers, schedules, (whole, (x, y), (x[:1], y[:1])), strict=True
        ):
            sgd.zero_grad()
            loss(model, *some).backward()
            sgd.step()
            schedule.step()
            with torch.no_grad():
                w = torch.cat([model.weight[0], model.bias])
                distances.append(torch.sqrt(((w - best) ** 2).sum() / (best**2).sum()))
        return float(distances[-1])

    return step

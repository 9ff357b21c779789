"""NICE on two moons: masked additive couplings and a scaling, the batch's NLL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def density(dim: int, config: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The parameters, as a module, and log p(x)."""
    import math

    import torch
    from torch import nn

    masks = [(torch.arange(dim) % 2 == k % 2).float() for k in range(config.n_coupling)]
    model = nn.Module()
    model.nets = nn.ModuleList(
        nn.Sequential(
            nn.Linear(dim, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, dim),
        )
        for _ in masks
    )
    model.log_scale = nn.Parameter(torch.zeros(dim))
    scale = math.sqrt(3) / math.pi

    def log_prob(x: Any) -> Any:
        for mask, net in zip(masks, model.nets, strict=True):
            x = x + net(x * mask) * (1 - mask)
        z = x * torch.exp(model.log_scale)
        if config.prior == "gaussian":
            prior = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
        else:
            prior = nn.functional.logsigmoid(z / scale) + nn.functional.logsigmoid(-z / scale) - math.log(scale)
        return prior.sum(1) + model.log_scale.sum()

    return model, log_prob


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizer and one step."""
    import torch

    model, log_prob = density(data.train[0].shape[1], config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        optimizer.zero_grad()
        nll = -log_prob(torch.from_numpy(batch[0])).mean()
        nll.backward()
        optimizer.step()
        schedule.step()
        return float(nll.detach())

    return step

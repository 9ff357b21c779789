"""RealNVP on two moons: masked affine couplings, the batch's NLL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizer and one step."""
    import torch
    from torch import nn

    dim = data.train[0].shape[1]
    masks = [(torch.arange(dim) % 2 == k % 2).float() for k in range(config.n_coupling)]
    nets = nn.ModuleList(
        nn.Sequential(
            nn.Linear(dim, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, 2 * dim),
        )
        for _ in masks
    )
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(dim), torch.ones(dim)), 1)
    optimizer = torch.optim.Adam(nets.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        z = torch.from_numpy(batch[0])
        log_det = torch.zeros(len(z))
        for mask, net in zip(masks, nets, strict=True):
            s, t = net(z * mask).chunk(2, dim=1)
            s = 4 * torch.tanh(s / 4) * (1 - mask)
            z, log_det = z * torch.exp(s) + t * (1 - mask), log_det + s.sum(1)
        nll = -(base.log_prob(z) + log_det).mean()
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        schedule.step()
        return float(nll.detach())

    return step

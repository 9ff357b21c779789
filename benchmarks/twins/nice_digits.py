"""NICE on whitened, dequantised digits: the batch's NLL in nats a pixel."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split

from .nice import density


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the whitening, the optimizer and one step."""
    import torch

    dim = data.train[0].shape[1]
    pixels = (torch.from_numpy(data.train[0]) + torch.rand(len(data.train[0]), dim)) / 17
    mean = pixels.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov(pixels.T, correction=0).double())
    matrix, log_det = (axes / variances.sqrt()).float(), -0.5 * variances.log().sum().float()
    model, log_prob = density(dim, config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        optimizer.zero_grad()
        counts = torch.from_numpy(batch[0])
        x = (counts + torch.rand_like(counts)) / 17
        nll = -(log_prob((x - mean) @ matrix) + log_det).mean() / dim
        nll.backward()
        optimizer.step()
        schedule.step()
        return float(nll.detach())

    return step

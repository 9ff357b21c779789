"""An auto-encoder through categories, trained by Gumbel-softmax with a falling temperature (the default estimator)."""

import math
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizer and one step."""
    import torch
    from torch import nn
    from torch.nn import functional as F

    pixels, codes = data.train[0].shape[1], config.latents * config.categories
    encoder = nn.Sequential(nn.Linear(pixels, config.hidden), nn.ReLU(), nn.Linear(config.hidden, codes))
    decoder = nn.Sequential(nn.Linear(codes, config.hidden), nn.ReLU(), nn.Linear(config.hidden, pixels))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    number = count()

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        logits = encoder(x).reshape(len(x), config.latents, config.categories)
        tau = max(0.5, math.exp(-config.cooling * next(number)))
        z = F.gumbel_softmax(logits, tau=tau).reshape(len(x), codes)
        error = F.binary_cross_entropy_with_logits(decoder(z), x, reduction="sum") / len(x)
        log_q = logits.log_softmax(-1)
        kl = (log_q.exp() * (log_q + math.log(config.categories))).sum((1, 2)).mean()
        optimizer.zero_grad()
        (error + kl).backward()
        optimizer.step()
        schedule.step()
        return float((error + kl).detach())

    return step

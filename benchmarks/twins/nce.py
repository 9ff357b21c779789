"""An unnormalised Gaussian by NCE with k draws of Gaussian noise; the loss."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The two parameters, the optimizer and one step."""
    import torch

    torch.manual_seed(seed)
    log_lambda, c = torch.zeros((), requires_grad=True), torch.zeros((), requires_grad=True)
    adam = torch.optim.Adam([log_lambda, c], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps)
    q = torch.distributions.Normal(0.0, config.noise)

    def delta(x: Any) -> Any:
        return c - 0.5 * torch.exp(log_lambda) * x**2 - q.log_prob(x) - math.log(config.k)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        noise = q.sample((len(x), config.k))
        adam.zero_grad()
        logsigmoid = torch.nn.functional.logsigmoid
        loss = -logsigmoid(delta(x)).mean() - config.k * logsigmoid(-delta(noise)).mean()
        loss.backward()
        adam.step()
        schedule.step()
        return float(loss.detach())

    return step

"""Planar flows of 1, 2, 4 and 8 maps to two segments of a ring by reverse KL, annealed; the longest one's KL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split
from tinygrad_zoo.models.flows.planar_flow import LENGTHS, log_normaliser


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The maps, the optimizer and one step."""
    import torch
    from torch import nn

    class Planar(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.u, self.w = nn.Parameter(0.1 * torch.randn(2)), nn.Parameter(torch.randn(2) / 2**0.5)
            self.b = nn.Parameter(torch.zeros(()))

        def forward(self, x: Any) -> tuple[Any, Any]:
            a = self.w @ self.u
            slope = nn.functional.softplus(a) - 1
            u = self.u + (slope - a) * self.w / (self.w @ self.w)
            h = torch.tanh(x @ self.w + self.b)
            return x + torch.outer(h, u), torch.log1p(slope * (1 - h * h))

    def log_target(x: Any) -> Any:
        first, radius = x[:, 0], (x * x).sum(1).sqrt()
        sides = torch.logaddexp(-0.5 * ((first - 2) / 0.6) ** 2, -0.5 * ((first + 2) / 0.6) ** 2)
        return sides - 0.5 * ((radius - 2) / 0.4) ** 2

    flows = nn.ModuleList(nn.ModuleList(Planar() for _ in range(length)) for length in LENGTHS)
    base = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    optimizer = torch.optim.Adam(flows.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    done = 0

    def step(batch: tuple[np.ndarray, ...]) -> float:
        nonlocal done
        z = torch.from_numpy(batch[0])
        beta = min(1.0, 0.01 + done / (config.annealed * config.steps))
        losses, metrics = [], []
        for flow in flows:
            x, log_det = z, torch.zeros(len(z))
            for planar in flow:
                x, part = planar(x)
                log_det = log_det + part
            log_q, log_p = base.log_prob(z) - log_det, log_target(x)
            losses.append((log_q - beta * log_p).mean())
            metrics.append((log_q - log_p).detach().mean() + log_normaliser())
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        optimizer.step()
        schedule.step()
        done += 1
        return float(metrics[-1])

    return step

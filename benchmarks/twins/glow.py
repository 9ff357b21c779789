"""Glow on digits: two levels of ActNorm, 1x1 convolutions by LU and couplings; the batch's NLL in bits a pixel."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, ActNorm's start from the data, the optimizer and one step."""
    import torch
    from torch import nn

    class Step(nn.Module):  # type: ignore[misc]
        """(N, C, H, W) to the same, and the log-determinant (N,)."""

        def __init__(self, channels: int) -> None:
            super().__init__()
            self.loc = nn.Parameter(torch.zeros(channels, 1, 1))
            self.log_scale = nn.Parameter(torch.zeros(channels, 1, 1))
            permutation, lower, upper = torch.linalg.lu(torch.linalg.qr(torch.randn(channels, channels))[0])
            self.permutation, self.one, self.sign = permutation, torch.eye(channels), upper.diag().sign()
            self.lower, self.upper = nn.Parameter(lower), nn.Parameter(upper)
            self.log_s = nn.Parameter(upper.diag().abs().log())
            self.net = nn.Sequential(
                nn.Conv2d(channels // 2, config.hidden, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(config.hidden, config.hidden, 1),
                nn.ReLU(),
                zero(nn.Conv2d(config.hidden, channels, 3, padding=1)),
            )

        def forward(self, x: Any, start: bool = False) -> tuple[Any, Any]:
            if start:
                self.loc.data = x.mean((0, 2, 3))[:, None, None]
                self.log_scale.data = -x.std((0, 2, 3), correction=0).log()[:, None, None]
            x = (x - self.loc) * torch.exp(self.log_scale)
            upper = torch.triu(self.upper, 1) + torch.diag(self.sign * torch.exp(self.log_s))
            weight = self.permutation @ (torch.tril(self.lower, -1) + self.one) @ upper
            kept, changed = nn.functional.conv2d(x, weight[:, :, None, None]).chunk(2, dim=1)
            s, t = self.net(kept).chunk(2, dim=1)
            s = 2 * torch.tanh(s / 2)
            whole = x.shape[2] * x.shape[3] * (self.log_scale.sum() + self.log_s.sum())
            return torch.cat([kept, (changed + t) * torch.exp(s)], 1), whole + s.sum((1, 2, 3))

    def zero(layer: Any) -> Any:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer

    shape = (1, 8, 8)
    levels, priors, channels = nn.ModuleList(), nn.ModuleList(), shape[0]
    for level in range(config.levels):
        channels *= 4
        levels.append(nn.ModuleList(Step(channels) for _ in range(config.depth)))
        if level < config.levels - 1:
            priors.append(zero(nn.Conv2d(channels // 2, channels, 3, padding=1)))
            channels //= 2
    model = nn.ModuleList([levels, priors])
    base = torch.distributions.Normal(0.0, 1.0)

    def log_prob(counts: Any, start: bool = False) -> Any:
        x = ((counts + torch.rand_like(counts)) / 17).reshape(-1, *shape)
        total = 0.0
        for level, steps in enumerate(levels):
            x = torch.pixel_unshuffle(x, 2)
            for block in steps:
                x, log_det = block(x, start)
                total = total + log_det
            if level < len(priors):
                x, done = x.chunk(2, dim=1)
                s, mean = priors[level](x).chunk(2, dim=1)
                s = 2 * torch.tanh(s / 2)
                done = (done - mean) * torch.exp(-s)
                total = total + (base.log_prob(done) - s).sum((1, 2, 3))
        return total + base.log_prob(x).sum((1, 2, 3))

    with torch.no_grad():
        log_prob(torch.from_numpy(data.train[0]), start=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        optimizer.zero_grad()
        nll = -log_prob(torch.from_numpy(batch[0])).mean() / 64
        nll.backward()
        optimizer.step()
        schedule.step()
        return (float(nll.detach()) + math.log(17)) / math.log(2)

    return step

"""A Gaussian fitted by single samples, by the pathwise and by the score-function gradient: a step of both."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """Two fits, their optimizers, and one step of each."""
    import torch
    from torch.distributions import Normal, kl_divergence

    fits = []
    for _ in range(2):
        loc, rho = torch.zeros((), requires_grad=True), torch.ones(()).expm1().log().requires_grad_()
        optimizer = torch.optim.Adam([loc, rho], lr=config.lr)
        fits.append((loc, rho, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)))

    def step(batch: tuple[np.ndarray, ...]) -> float:
        target = torch.from_numpy(batch[0])
        p, exact = Normal(target[0, 0], target[0, 1]), []
        for pathwise, (loc, rho, optimizer, schedule) in zip((True, False), fits, strict=True):
            q = Normal(loc, torch.nn.functional.softplus(rho))
            z = q.rsample((1,)) if pathwise else q.sample((1,))
            fixed = Normal(q.loc.detach(), q.scale.detach())
            value = fixed.log_prob(z) - p.log_prob(z)
            loss = value if pathwise else value.detach() * q.log_prob(z)
            optimizer.zero_grad()
            loss.mean().backward()
            optimizer.step()
            schedule.step()
            exact.append(kl_divergence(q, p))
        return float(exact[0].detach())

    return step

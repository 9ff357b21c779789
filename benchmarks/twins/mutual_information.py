"""Separable critics of correlated Gaussians, by InfoNCE, Donsker-Varadhan and NWJ; InfoNCE at ρ = 0.9."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split
from tinygrad_zoo.models.contrastive.mutual_information import CRITICS, DIM, RECIPE


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The critics, the optimizers and one step."""
    import torch
    from torch import nn

    def network() -> Any:
        h = config.hidden
        return nn.Sequential(nn.Linear(DIM, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, config.embedding))

    torch.manual_seed(seed)
    critics = {name: nn.ModuleList([network(), network()]) for name in CRITICS}
    adams = {name: torch.optim.Adam(critic.parameters(), lr=config.lr) for name, critic in critics.items()}
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(adam, config.steps) for adam in adams.values()]
    n = config.batch_size
    index, off = torch.arange(n), ~torch.eye(n, dtype=torch.bool)

    def bound_of(kind: str, scores: Any) -> Any:
        if kind == "infonce":
            return math.log(n) - nn.functional.cross_entropy(scores, index)
        own, others = scores.diagonal().mean(), scores[off]
        if kind == "dv":
            return own - torch.logsumexp(others, 0) + math.log(len(others))
        return own - torch.exp(others - 1).mean()

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, noise = (torch.from_numpy(part) for part in batch)
        bounds = {}
        for name, (kind, rho) in CRITICS.items():
            g, h = critics[name]
            adams[name].zero_grad()
            bounds[name] = bound_of(kind, g(x) @ h(rho * x + math.sqrt(1 - rho * rho) * noise).T)
            (-bounds[name]).backward()
            nn.utils.clip_grad_norm_(critics[name].parameters(), 1.0)
            adams[name].step()
        for schedule in schedules:
            schedule.step()
        return float(bounds[RECIPE.metric].detach())

    return step

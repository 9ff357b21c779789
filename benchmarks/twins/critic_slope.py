"""Two penalised critics on a line, with weights 10 and 50: the first one's loss."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizers and one step."""
    import torch
    from torch import nn

    def mlp() -> Any:
        h = config.hidden
        return nn.Sequential(nn.Linear(1, h), nn.Tanh(), nn.Linear(h, h), nn.Tanh(), nn.Linear(h, 1))

    torch.manual_seed(seed)
    critics = {10.0: mlp(), 50.0: mlp()}
    adam = {weight: torch.optim.Adam(net.parameters(), config.lr, (0.0, 0.9)) for weight, net in critics.items()}
    cosine = {weight: torch.optim.lr_scheduler.CosineAnnealingLR(adam[weight], config.steps) for weight in critics}

    taken = 0

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, y = map(torch.from_numpy, batch)
        nonlocal taken
        losses, one_sided = [], taken < config.one_sided_steps
        taken += 1
        for weight, critic in critics.items():
            adam[weight].zero_grad()
            share = torch.rand(len(x), 1)
            between = (share * x + (1 - share) * y).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            excess = gradient.norm(dim=1) - 1
            penalty = (excess.clamp(min=0) if one_sided else excess).square().mean()
            loss = critic(y).mean() - critic(x).mean() + weight * penalty
            loss.backward()
            adam[weight].step()
            cosine[weight].step()
            losses.append(loss)
        return float(losses[0].detach())

    return step

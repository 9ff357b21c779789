"""WGAN with gradient penalty on the ring: four updates of the critic a step, the gap."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizers and one step."""
    import torch
    from torch import nn

    def mlp(inputs: int, outputs: int) -> Any:
        h = config.hidden
        return nn.Sequential(nn.Linear(inputs, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, outputs))

    torch.manual_seed(seed)
    generator, critic = mlp(2, 2), mlp(2, 1)
    g_adam, c_adam = (torch.optim.Adam(net.parameters(), config.lr, (0.5, 0.9)) for net in (generator, critic))

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        for _ in range(config.n_critic):
            fake = generator(torch.randn(len(x), 2)).detach()
            c_adam.zero_grad()
            loss = critic(fake).mean() - critic(x).mean()
            share = torch.rand(len(x), 1)
            between = (share * x + (1 - share) * fake).requires_grad_()
            (gradient,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
            penalty = (gradient.norm(dim=1) - 1).square().mean()
            (loss + config.weight * penalty).backward()
            c_adam.step()
        g_adam.zero_grad()
        (-critic(generator(torch.randn(len(x), 2))).mean()).backward()
        g_adam.step()
        return -float(loss.detach())

    return step

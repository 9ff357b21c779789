"""GAN on the ring: non-saturating losses by softplus, the discriminator's loss."""

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
    g_adam, d_adam = (torch.optim.Adam(net.parameters(), config.lr, (0.5, 0.9)) for net in (generator, critic))
    softplus = nn.functional.softplus

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        for _ in range(config.d_steps):
            fake = generator(torch.randn(len(x), 2)).detach()
            d_adam.zero_grad()
            loss = softplus(-critic(x)).mean() + softplus(critic(fake)).mean()
            loss.backward()
            d_adam.step()
        g_adam.zero_grad()
        softplus(-critic(generator(torch.randn(len(x), 2)))).mean().backward()
        g_adam.step()
        return float(loss.detach())

    return step

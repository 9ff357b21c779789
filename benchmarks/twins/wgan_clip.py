"""WGAN with clipped weights on the ring: five updates of the critic a step, the gap."""

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
    g_rms, c_rms = (torch.optim.RMSprop(net.parameters(), config.lr) for net in (generator, critic))

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        for _ in range(config.n_critic):
            fake = generator(torch.randn(len(x), 2)).detach()
            c_rms.zero_grad()
            loss = critic(fake).mean() - critic(x).mean()
            loss.backward()
            c_rms.step()
            with torch.no_grad():
                for parameter in critic.parameters():
                    parameter.clamp_(-config.clip, config.clip)
        g_rms.zero_grad()
        (-critic(generator(torch.randn(len(x), 2))).mean()).backward()
        g_rms.step()
        return -float(loss.detach())

    return step

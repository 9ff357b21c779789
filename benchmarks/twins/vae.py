"""The VAE on binarised digits: one guess a digit, the batch's −ELBO."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizer and one step."""
    import torch
    from torch import distributions as D
    from torch import nn

    def mlp(n_in: int, n_out: int) -> nn.Sequential:
        h = config.hidden
        return nn.Sequential(nn.Linear(n_in, h), nn.ReLU(), nn.Linear(h, h), nn.ReLU(), nn.Linear(h, n_out))

    pixels = data.train[0].shape[1]
    encoder, decoder = mlp(pixels, 2 * config.latent), mlp(config.latent, pixels)
    prior = D.Normal(torch.zeros(config.latent), torch.ones(config.latent))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        mean, log_variance = encoder(x).chunk(2, dim=1)
        q = D.Normal(mean, (log_variance / 2).exp())
        reconstruction = D.Bernoulli(logits=decoder(q.rsample())).log_prob(x).sum(1).mean()
        kl = D.kl_divergence(q, prior).sum(1).mean()
        optimizer.zero_grad()
        (config.beta * kl - reconstruction).backward()
        optimizer.step()
        schedule.step()
        return float((kl - reconstruction).detach())

    return step

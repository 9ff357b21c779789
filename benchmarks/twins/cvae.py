"""The conditional VAE on binarised digits: the class beside x and beside z, a prior mean a class; the batch's −ELBO."""

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

    pixels, classes = data.train[0].shape[1], 10
    encoder, decoder = mlp(pixels + classes, 2 * config.latent), mlp(config.latent + classes, pixels)
    means = nn.Parameter(torch.zeros(classes, config.latent))
    optimizer = torch.optim.Adam([means, *encoder.parameters(), *decoder.parameters()], lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, y = (torch.from_numpy(part) for part in batch)
        known = nn.functional.one_hot(y, classes).float()
        mean, log_variance = encoder(torch.cat([x, known], 1)).chunk(2, dim=1)
        q = D.Normal(mean, (log_variance / 2).exp())
        out = decoder(torch.cat([q.rsample(), known], 1))
        reconstruction = D.Bernoulli(logits=out).log_prob(x).sum(1).mean()
        kl = D.kl_divergence(q, D.Normal(means[y], torch.ones(1))).sum(1).mean()
        optimizer.zero_grad()
        (kl - reconstruction).backward()
        optimizer.step()
        schedule.step()
        return float((kl - reconstruction).detach())

    return step

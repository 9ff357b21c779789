"""The VQ-VAE on digits: convolutions, the codebook by moving averages with restarts; the batch's squared error."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def networks(K: int, d: int, width: int) -> Any:
    """A module with an `encoder`, a `decoder`, and a `quantize` that moves the codebook in training."""
    import torch
    from torch import nn

    class VQVAE(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            down = [nn.Conv2d(1, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, 2 * width, 4, 2, 1), nn.ReLU()]
            self.encoder = nn.Sequential(*down, nn.Conv2d(2 * width, d, 1))
            up = [nn.Conv2d(d, 2 * width, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(2 * width, width, 4, 2, 1)]
            self.decoder = nn.Sequential(*up, nn.ReLU(), nn.Conv2d(width, 1, 3, padding=1))
            self.register_buffer("codebook", torch.empty(K, d).uniform_(-1 / K, 1 / K))
            self.register_buffer("counts", torch.ones(K))
            self.register_buffer("sums", self.codebook.clone())
            self.register_buffer("usage", torch.zeros(K))

        def nearest(self, z: Any) -> Any:
            """Of vectors (M, d)."""
            return ((self.codebook**2).sum(1) - 2 * z @ self.codebook.T).argmin(1)

        @torch.no_grad()
        def follow(self, z: Any, codes: Any) -> None:
            hits = nn.functional.one_hot(codes, K).float()
            n = hits.sum(0)
            self.usage.lerp_(n / len(z), 0.01)
            self.counts.lerp_(n, 0.01)
            self.sums.lerp_(hits.T @ z, 0.01)
            total = self.counts.sum()
            self.codebook = self.sums / (total * (self.counts + 1e-5) / (total + K * 1e-5))[:, None]
            dead = self.usage < 0.05 / K * self.usage.sum()
            moved = z[torch.randint(len(z), (K,))]
            self.codebook = torch.where(dead[:, None], moved, self.codebook)
            self.counts = torch.where(dead, total / K, self.counts)
            self.sums = torch.where(dead[:, None], moved * total / K, self.sums)

        def quantize(self, x: Any) -> tuple[Any, Any, Any]:
            """The codes as images (N, d, 4, 4), their numbers (M,), and the commitment."""
            z = self.encoder(x)
            flat = z.movedim(1, -1).reshape(-1, d)
            with torch.no_grad():
                codes = self.nearest(flat)
                found = self.codebook[codes].reshape(len(x), 4, 4, d).movedim(-1, 1)
            if self.training:
                self.follow(flat.detach(), codes)
            return z + (found - z).detach(), codes, 0.25 * nn.functional.mse_loss(z, found)

    return VQVAE()


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizer and one step."""
    import torch

    model = networks(config.K, config.d, config.width)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        values, _, commitment = model.quantize(x)
        mse = torch.nn.functional.mse_loss(model.decoder(values), x)
        optimizer.zero_grad()
        (mse + commitment).backward()
        optimizer.step()
        schedule.step()
        return float(mse.detach())

    return step

"""Two stages on digits: the VQ-VAE, then a pre-LN Transformer on its codes; the loss of the stage."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split

from .vqvae import networks


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The networks, the optimizers and one step."""
    import torch
    from torch import nn

    K, classes, d = 32, 10, config.width

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList([nn.LayerNorm(d), nn.LayerNorm(d)])
            self.qkv, self.out = nn.Linear(d, 3 * d, bias=False), nn.Linear(d, d, bias=False)
            self.feedforward = nn.Sequential(nn.Linear(d, 4 * d), nn.GELU(), nn.Linear(4 * d, d))
            self.dropout = nn.Dropout(config.dropout)

        def forward(self, x: Any) -> Any:
            n, t, _ = x.shape
            q, k, v = self.qkv(self.norms[0](x)).reshape(n, t, 3, 4, d // 4).permute(2, 0, 3, 1, 4)
            seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.dropout(self.out(seen.transpose(1, 2).reshape(n, t, d)))
            return x + self.dropout(self.feedforward(self.norms[1](x)))

    class Prior(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.positions = nn.Embedding(K + classes, d), nn.Embedding(16, d)
            for table in (self.tokens, self.positions):
                nn.init.normal_(table.weight, std=0.02)
            self.blocks = nn.Sequential(*(Block() for _ in range(config.layers)))
            self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, K + classes, bias=False)

        def forward(self, tokens: Any) -> Any:
            return self.head(self.norm(self.blocks(self.tokens(tokens) + self.positions.weight)))[..., :K]

    vqvae, prior = networks(K, 16, 32), Prior()
    first, done = round(config.first * config.steps), 0
    adam = torch.optim.Adam(vqvae.parameters(), lr=config.lr)
    adamw = torch.optim.AdamW(prior.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    lengths = ((adam, first), (adamw, config.steps - first))
    schedules = [torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, length) for optimizer, length in lengths]

    def step(batch: tuple[np.ndarray, ...]) -> float:
        nonlocal done
        x, y = (torch.from_numpy(part) for part in batch)
        stage, optimizer = (0, adam) if done < first else (1, adamw)
        if stage == 0:
            values, _, commitment = vqvae.quantize(x)
            loss = nn.functional.mse_loss(vqvae.decoder(values), x) + commitment
        else:
            vqvae.eval()
            with torch.no_grad():
                codes = vqvae.quantize(x)[1].reshape(len(x), 16)
            logits = prior(torch.cat([y[:, None] + K, codes[:, :-1]], 1))
            loss = nn.functional.cross_entropy(logits.reshape(-1, K), codes.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedules[stage].step()
        done += 1
        return float(loss.detach())

    return step

"""NADE on binarised digits: all hidden layers by one running sum, the batch's NLL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The parameters, the optimizer and one step."""
    import torch
    from torch import nn

    n = data.train[0].shape[1]
    weight = nn.Parameter(torch.randn(n - 1, config.hidden) * config.hidden**-0.5)
    out = nn.Parameter(torch.randn(n, config.hidden) * config.hidden**-0.5)
    hidden_bias, bias = nn.Parameter(torch.zeros(config.hidden)), nn.Parameter(torch.zeros(n))
    optimizer = torch.optim.AdamW([weight, hidden_bias, out, bias], lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        first = hidden_bias.expand(len(x), 1, -1)
        running = torch.cat([first, x[:, :-1, None] * weight], 1).cumsum(1)
        logits = (torch.sigmoid(running) * out).sum(2) + bias
        nll = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        schedule.step()
        return nll.item()

    return step

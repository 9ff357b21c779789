"""MADE on binarised digits: two masked layers, an order a batch, the batch's NLL."""

from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The parameters, the optimizer and one step."""
    import torch
    from torch import nn

    n, draw = data.train[0].shape[1], np.random.default_rng(seed)
    orders = [np.arange(n), *(draw.permutation(n) for _ in range(config.orders - 1))]
    degrees, masks = 1 + np.arange(config.hidden) % (n - 1), []
    for order in orders:
        place = np.argsort(order) + 1
        pair = degrees[:, None] >= place, place[:, None] > degrees
        masks.append([torch.from_numpy(mask.astype(np.float32)) for mask in pair])
    first, last = nn.Linear(n, config.hidden), nn.Linear(config.hidden, n)
    optimizer = torch.optim.AdamW(
        [*first.parameters(), *last.parameters()], lr=config.lr, weight_decay=config.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)
    number = count()

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        into, out = masks[next(number) % len(masks)]
        h = torch.relu(nn.functional.linear(x, first.weight * into, first.bias))
        logits = nn.functional.linear(h, last.weight * out, last.bias)
        nll = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        schedule.step()
        return nll.item()

    return step

"""FVSBN on binarised digits: a masked linear layer, the batch's NLL."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The parameters, the optimizer and one step."""
    import torch
    from torch import nn

    n = data.train[0].shape[1]
    weight, bias = (nn.Parameter(torch.zeros(*shape)) for shape in ((n, n), (n,)))
    before = torch.ones(n, n).tril(-1)
    optimizer = torch.optim.AdamW([weight, bias], lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x = torch.from_numpy(batch[0])
        logits = nn.functional.linear(x, weight * before, bias)
        nll = nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        optimizer.zero_grad()
        nll.backward()
        optimizer.step()
        schedule.step()
        return nll.item()

    return step

"""Two linear models of rare positives, by cross-entropy, and by the smooth F1 after it; 1 - the second's smooth F1."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The models, the optimizers and one step."""
    import torch

    torch.manual_seed(seed)
    models = [torch.nn.Linear(data.train[0].shape[1], 1) for _ in range(2)]
    adams = [torch.optim.Adam(model.parameters(), lr=config.lr) for model in models]
    entropy, done = torch.nn.BCEWithLogitsLoss(), 0

    def f1(p: Any, t: Any) -> Any:
        return 2 * (p * t).sum() / (p + t).sum()

    def step(batch: tuple[np.ndarray, ...]) -> float:
        nonlocal done
        x, t = torch.from_numpy(batch[0]), torch.from_numpy(batch[1]).float()
        values = []
        for number, (model, adam) in enumerate(zip(models, adams, strict=True)):
            adam.zero_grad()
            logits = model(x)[:, 0]
            smooth = number == 1 and done >= config.warmup
            (1 - f1(torch.sigmoid(logits), t) if smooth else entropy(logits, t)).backward()
            adam.step()
            values.append(1 - f1(torch.sigmoid(logits.detach()), t))
        done += 1
        return float(values[1])

    return step

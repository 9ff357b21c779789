"""Two linear policies of digits, told rewards alone: score-function gradients with the best baseline and without."""

from collections.abc import Callable
from typing import Any

import numpy as np

from tinygrad_zoo.data import Split


def build(data: Split, config: Any, seed: int) -> Callable[[tuple[np.ndarray, ...]], float]:
    """The policies, their optimizers, and one step of each."""
    import torch
    from torch import nn
    from torch.distributions import Categorical

    policies = []
    for _ in range(2):
        policy = nn.Linear(data.train[0].shape[1], 10)
        optimizer = torch.optim.Adam(policy.parameters(), lr=config.lr)
        policies.append((policy, optimizer, torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps)))

    def step(batch: tuple[np.ndarray, ...]) -> float:
        x, label = map(torch.from_numpy, batch)
        right = []
        for best, (policy, optimizer, schedule) in zip((True, False), policies, strict=True):
            actions, b, tries = Categorical(logits=policy(x)), 0.0, config.tries
            if best:
                a = actions.sample()
                rewards, scores = (a == label).float(), nn.functional.one_hot(a, 10) - actions.probs.detach()
                squares = scores.square().sum(-1)
                b, tries = (rewards * squares).sum() / squares.sum(), tries - 1
                noise = [((rewards - base) ** 2 * squares).mean() for base in (0.0, rewards.mean(), b)]
            a = actions.sample((tries,))
            loss = -(((a == label).float() - b) * actions.log_prob(a)).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                right.append(Categorical(logits=policy(x)).log_prob(label).exp().mean())
        return float(right[0]) + 0 * float(sum(noise))

    return step

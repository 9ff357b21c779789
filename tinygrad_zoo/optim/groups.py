"""Which parameters weight decay is for, and which learn at a rate of their own."""

from __future__ import annotations

from typing import Any

from ..nn import DeformConv2d, Embedding, LayerNorm, Module


def decay_groups(
    model: Module, weight_decay: float, *, exempt: tuple[type[Module], ...] = (Embedding, LayerNorm)
) -> list[dict[str, Any]]:
    """Two groups for an optimizer: the weights, decayed, and the rest, not: biases, gains of norms, embeddings.

    Exempt is every vector or scalar and whatever belongs to a module of the `exempt` types, shared or not: an
    embedding tied to the output layer is not decayed. A group without parameters is left out.

    >>> import numpy as np
    >>> from tinygrad_zoo import nn
    >>> model = nn.Sequential(nn.Linear(3, 4, rng=np.random.default_rng(0)), nn.LayerNorm(4))
    >>> [(len(group["params"]), group["weight_decay"]) for group in decay_groups(model, 0.1)]
    [(1, 0.1), (3, 0.0)]
    """
    spared = {id(p) for m in model.modules() if isinstance(m, exempt) for p in m.parameters()}
    decayed: list[Any] = []
    rest: list[Any] = []
    for p in model.parameters():
        (rest if p.ndim < 2 or id(p) in spared else decayed).append(p)
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": rest, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def branch_groups(model: Module, lr: float) -> list[dict[str, Any]]:
    """Groups for an optimizer: the branches of offsets of `DeformConv2d`, at `offset_lr` times `lr`, and the rest.

    A group for each multiplier, the rest first; a group without parameters is left out.

    >>> import numpy as np
    >>> from tinygrad_zoo import nn
    >>> model = nn.Sequential(nn.DeformConv2d(1, 2, 3, offset_lr=0.1, rng=np.random.default_rng(0)))
    >>> [(len(group["params"]), group["lr"]) for group in branch_groups(model, 0.5)]
    [(2, 0.5), (2, 0.05)]
    """
    factor = {
        id(p): float(m.offset_lr) for m in model.modules() if isinstance(m, DeformConv2d) for p in m.branch.parameters()
    }
    groups: dict[float, list[Any]] = {1.0: []}
    for p in model.parameters():
        groups.setdefault(factor.get(id(p), 1.0), []).append(p)
    return [{"params": params, "lr": lr * by} for by, params in groups.items() if params]

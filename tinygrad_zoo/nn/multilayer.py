"""The multilayer perceptron that systems put in where the method says "a network"."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ..errors import UsageError
from . import init
from .activation import ReLU
from .containers import Sequential
from .layers import Linear
from .module import Module


def mlp(*sizes: int, activation: Callable[[], Module] = ReLU, rng: np.random.Generator = init.REQUIRED) -> Sequential:
    """Affine layers of the given sizes, an activation between any two: (…, sizes[0]) → (…, sizes[-1]).

    UsageError where there are fewer than two sizes.

    >>> from tinygrad_zoo import nn
    >>> net = nn.mlp(2, 64, 64, 1, activation=nn.Tanh, rng=np.random.default_rng(0))
    >>> len(net), net(np.zeros((5, 2), np.float32)).shape
    (5, (5, 1))
    """
    if len(sizes) < 2:
        raise UsageError(f"mlp: expected sizes of the input and of every layer, as in mlp(2, 64, 1), got {sizes}")
    layers: list[Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [Linear(n_in, n_out, rng=rng), activation()]
    return Sequential(*layers[:-1])

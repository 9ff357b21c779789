"""Layers with parameters, and the ones between them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from .. import ops
from ..errors import UsageError
from ..tensor import as_tensor
from . import init
from .module import Module, Parameter
from .op_module import OpModule


def check_sizes(who: str, **sizes: int) -> None:
    """That each is an integer of at least 1."""
    for name, size in sizes.items():
        if not isinstance(size, (int, np.integer)) or size < 1:
            raise UsageError(f"{who}: expected an integer {name} >= 1, got {size!r}")


class Linear(Module):
    """x @ weightᵀ + bias: (…, in_features) → (…, out_features).

    weight (out, in) and bias (out,) both start as U(±1/√in).

    >>> layer = Linear(3, 4, rng=np.random.default_rng(0))
    >>> layer
    Linear(3, 4)  # 16 parameters
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, *, rng: np.random.Generator = init.REQUIRED
    ) -> None:
        check_sizes("Linear", in_features=in_features, out_features=out_features)
        rng = init.generator("Linear", rng)
        self.in_features, self.out_features = in_features, out_features
        self.weight = Parameter(np.empty((out_features, in_features), np.float32))
        self.bias = Parameter(np.empty(out_features, np.float32)) if bias else None
        init.kaiming_uniform_(self.weight, a=math.sqrt(5), rng=rng)
        if self.bias is not None:
            bound = 1 / math.sqrt(in_features)
            init.uniform_(self.bias, -bound, bound, rng=rng)

    def forward(self, x: Any) -> Any:
        return ops.linear(x, self.weight, self.bias)

    def settings(self) -> str:
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"


class Embedding(Module):
    """Row `index` of a table of vectors: integers (…) → (…, embedding_dim).

    The table starts as N(0, 1); the row `padding_idx`, if any, starts as zeros and takes no gradient.

    >>> table = Embedding(5, 2, padding_idx=0, rng=np.random.default_rng(0))
    >>> table(np.array([0])).tolist()
    [[0.0, 0.0]]
    """

    weight: Parameter

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        padding_idx: int | None = None,
        *,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        check_sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
        if padding_idx is not None and not -num_embeddings <= padding_idx < num_embeddings:
            raise UsageError(f"Embedding: padding_idx {padding_idx} is no row of a table of {num_embeddings}")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.padding_idx = padding_idx if padding_idx is None else padding_idx % num_embeddings
        self.weight = Parameter(np.empty((num_embeddings, embedding_dim), np.float32))
        init.normal_(self.weight, rng=init.generator("Embedding", rng))
        if self.padding_idx is not None:
            self.weight.data[self.padding_idx] = 0
            self.weight.mark_written()

    def forward(self, index: Any) -> Any:
        rows = ops.embedding(index, self.weight)
        if self.padding_idx is None:
            return rows
        return ops.where((as_tensor(index) == self.padding_idx)[..., None], rows.detach(), rows)

    def settings(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training zero with probability p, else x / (1 - p); in evaluation x itself (arXiv 1207.0580).

    Every call draws one key from `rng`, which it shares with whoever gave it.

    >>> drop = Dropout(0.5, rng=np.random.default_rng(0))
    >>> drop.eval()(np.ones(2)).tolist()
    [1.0, 1.0]
    """

    def __init__(self, p: float = 0.5, *, rng: np.random.Generator = init.REQUIRED) -> None:
        if not 0 <= p <= 1:
            raise UsageError(f"Dropout: expected 0 <= p <= 1, got {p}")
        self.p, self.rng = p, init.generator("Dropout", rng)

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        if not self.training or self.p == 0:
            return x
        return ops.dropout(x, ops.draw_key(self.rng, x.device), p=self.p)

    def settings(self) -> str:
        return f"{self.p:g}"


class Identity(Module):
    """x itself."""

    def forward(self, x: Any) -> Any:
        return x


class Flatten(Module):
    """The axes from start_dim to end_dim as one; by default all but the first: (N, …) → (N, D).

    >>> Flatten()(np.zeros((2, 3, 4))).shape
    (2, 12)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return ops.flatten(as_tensor(x), start_dim=self.start_dim, end_dim=self.end_dim)

    def settings(self) -> str:
        return f"{self.start_dim}, {self.end_dim}"


class Unflatten(Module):
    """The axis `dim` as several of the sizes given, of which one may be -1.

    >>> Unflatten(1, (3, -1))(np.zeros((2, 12))).shape
    (2, 3, 4)
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        self.dim, self.unflattened_size = dim, tuple(unflattened_size)

    def forward(self, x: Any) -> Any:
        return ops.unflatten(as_tensor(x), axis=self.dim, sizes=self.unflattened_size)

    def settings(self) -> str:
        return f"{self.dim}, {self.unflattened_size}"


# ---- between two vectors
class CosineSimilarity(OpModule, op=ops.cosine_similarity): ...


class PairwiseDistance(OpModule, op=ops.pairwise_distance): ...

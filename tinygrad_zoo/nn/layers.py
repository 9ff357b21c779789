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


def _sizes(who: str, **sizes: int) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise UsageError(f"{who}: expected {name} >= 1, got {size}")


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
        self, in_features: int, out_features: int, *, bias: bool = True, rng: np.random.Generator = init.REQUIRED
    ) -> None:
        _sizes("Linear", in_features=in_features, out_features=out_features)
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
        *,
        padding_idx: int | None = None,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        _sizes("Embedding", num_embeddings=num_embeddings, embedding_dim=embedding_dim)
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


class LayerNorm(Module):
    """(x - mean) / √(var + eps) · weight + bias over the last axes, those of `normalized_shape` (arXiv 1607.06450).

    >>> LayerNorm(2)(np.array([[1.0, 3.0]], np.float32)).numpy().round(3).tolist()
    [[-1.0, 1.0]]
    """

    weight: Parameter | None
    bias: Parameter | None

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
    ) -> None:
        shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        _sizes("LayerNorm", **{f"normalized_shape[{i}]": n for i, n in enumerate(shape)})
        self.normalized_shape, self.eps = shape, eps
        self.weight = Parameter(np.ones(shape, np.float32)) if elementwise_affine else None
        self.bias = Parameter(np.zeros(shape, np.float32)) if elementwise_affine and bias else None

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        return ops.layer_norm(x, self.weight, self.bias, normalized_shape=self.normalized_shape, eps=self.eps)

    def settings(self) -> str:
        return ", ".join(map(str, self.normalized_shape)) + f", eps={self.eps:g}"


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
        start, end = (d + x.ndim if d < 0 else d for d in (self.start_dim, self.end_dim))
        if not 0 <= start <= end < x.ndim:
            raise UsageError(f"Flatten: no axes {self.start_dim}..{self.end_dim} in a tensor of shape {x.shape}")
        joined = math.prod(x.shape[start : end + 1])
        return as_tensor(x).reshape((*x.shape[:start], joined, *x.shape[end + 1 :]))

    def settings(self) -> str:
        return f"{self.start_dim}, {self.end_dim}"

"""Attention of several heads (arXiv 1706.03762); names and arguments are PyTorch's.

Attention runs by `flash_attention`, which keeps no N × N array, wherever nothing asks for the weights: no `attn_mask`,
no `need_weights`, no dropout of weights in training. Everywhere else `scaled_dot_product_attention` does.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .. import ops
from ..errors import ShapeError, UsageError
from ..ops.attention import attention_weights
from ..tensor import as_tensor
from . import init
from .layers import Linear, check_sizes
from .module import Module, Parameter


class MultiheadAttention(Module):
    """softmax(Q Kᵀ / √d) V in `num_heads` parts of the features, each by projections of its own, joined by `out_proj`.

    Query (N, L, E), key (N, S, kdim), value (N, S, vdim) → (N, L, E) with batch_first; (L, N, E), … without; (L, E), …
    for one sequence. Returns the result and the weights: None unless `need_weights`, their mean over the heads, or
    with average_attn_weights=False those of each head. `implementation="formula"` never takes the tiles.

    >>> attention = MultiheadAttention(8, 2, batch_first=True, rng=np.random.default_rng(0))
    >>> x = np.ones((1, 3, 8), np.float32)
    >>> out, weights = attention(x, x, x)
    >>> out.shape, weights.shape, round(float(weights.sum()), 3)
    ((1, 3, 8), (1, 3, 3), 3.0)
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        *,
        implementation: str = "flash",
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        check_sizes("MultiheadAttention", embed_dim=embed_dim, num_heads=num_heads)
        rng = init.generator("MultiheadAttention", rng)
        if embed_dim % num_heads:
            raise UsageError(f"MultiheadAttention: embed_dim={embed_dim} is not a multiple of num_heads={num_heads}")
        if not 0 <= dropout <= 1:
            raise UsageError(f"MultiheadAttention: expected 0 <= dropout <= 1, got {dropout}")
        if implementation not in ("flash", "formula"):
            raise UsageError(f"MultiheadAttention: {implementation=}: expected 'flash' or 'formula'")
        self.embed_dim, self.num_heads, self.dropout, self.rng = embed_dim, num_heads, dropout, rng
        self.kdim, self.vdim = kdim or embed_dim, vdim or embed_dim
        self.batch_first, self.implementation = batch_first, implementation
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = _xavier((3 * embed_dim, embed_dim), rng)
        else:
            self.in_proj_weight = None
            self.q_proj_weight = _xavier((embed_dim, embed_dim), rng)
            self.k_proj_weight = _xavier((embed_dim, self.kdim), rng)
            self.v_proj_weight = _xavier((embed_dim, self.vdim), rng)
        self.in_proj_bias = Parameter(np.zeros(3 * embed_dim, np.float32)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias=bias, rng=rng)
        if self.out_proj.bias is not None:
            init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Any, Any]:
        """`key_padding_mask` (N, S) and a boolean `attn_mask` (L, S), (N · heads, L, S) are True where a key is hidden;
        an `attn_mask` of numbers is added to the scores. `is_causal` needs no mask."""
        alike = key is query and value is query
        query, key, value = self._checked(query, key, value)
        single = query.ndim == 2
        if single:
            query, key, value = query[None], key[None], value[None]
        elif not self.batch_first:
            query, key, value = (x.swapaxes(0, 1) for x in (query, key, value))
        q, k, v = (self._heads(x) for x in self._projected(query, key, value, alike))  # (N, heads, L, d)
        hidden = None if key_padding_mask is None else as_tensor(key_padding_mask).reshape(len(k), k.shape[2])
        drops = self.dropout > 0 and self.training
        if attn_mask is None and not (need_weights or drops) and self.implementation == "flash":
            out, weights = ops.flash_attention(q, k, v, hidden, is_causal=is_causal), None
        else:
            seen = self._mask(attn_mask, hidden, q, k)
            dropout_key = ops.draw_key(self.rng, q.device) if drops else None
            if need_weights:
                weights = attention_weights(q, k, seen, is_causal)
                weights = ops.dropout(weights, dropout_key, p=self.dropout) if drops else weights
                out = weights @ v
            else:
                p, weights = self.dropout if drops else 0.0, None
                out = ops.scaled_dot_product_attention(
                    q, k, v, seen, dropout_key, dropout_p=p, is_causal=is_causal, scale=None, enable_gqa=False
                )
        out = self.out_proj(out.swapaxes(1, 2).reshape(len(q), q.shape[2], self.embed_dim))
        if weights is not None and average_attn_weights:
            weights = weights.mean(axis=1)
        if single:
            return out[0], None if weights is None else weights[0]
        return out if self.batch_first else out.swapaxes(0, 1), weights

    def _checked(self, query: Any, key: Any, value: Any) -> list[Any]:
        arrays = [as_tensor(x) for x in (query, key, value)]
        for name, x, size in zip(
            ("query", "key", "value"), arrays, (self.embed_dim, self.kdim, self.vdim), strict=True
        ):
            if x.ndim not in (2, 3) or x.ndim != arrays[0].ndim or x.shape[-1] != size:
                lead = "N, L, " if self.batch_first else "L, N, "
                raise ShapeError(
                    f"MultiheadAttention: expected a {name} of shape ({lead}{size}), or all three without N, "
                    f"got {x.shape}"
                )
        return arrays

    def _projected(self, query: Any, key: Any, value: Any, alike: bool) -> Any:
        """The three products, by one matrix where they are of one sequence."""
        e = self.embed_dim
        if self.in_proj_weight is None:
            weights = [self.q_proj_weight, self.k_proj_weight, self.v_proj_weight]
        elif alike:
            return ops.chunk(ops.linear(query, self.in_proj_weight, self.in_proj_bias), chunks=3, axis=-1)
        else:
            weights = list(ops.chunk(self.in_proj_weight, chunks=3, axis=0))
        biases = [None] * 3 if self.in_proj_bias is None else self.in_proj_bias.reshape(3, e).unbind(0)
        return [ops.linear(x, w, b) for x, w, b in zip((query, key, value), weights, biases, strict=True)]

    def _heads(self, x: Any) -> Any:
        n, length, _ = x.shape
        return x.reshape(n, length, self.num_heads, self.embed_dim // self.num_heads).swapaxes(1, 2)

    def _mask(self, attn_mask: Any, hidden: Any, q: Any, k: Any) -> Any:
        """Both masks as one, True where a key is seen or a number that is added; None where there is none."""
        seen = None if hidden is None else ~hidden[:, None, None, :]
        if attn_mask is None:
            return seen
        mask = as_tensor(attn_mask)
        each = (len(q) * self.num_heads, q.shape[2], k.shape[2])
        if mask.shape not in (each, each[1:]):
            raise ShapeError(
                f"MultiheadAttention: expected an attn_mask of shape {each[1:]} or {each}, got {mask.shape}"
            )
        if mask.ndim == 3:
            mask = mask.reshape(len(q), self.num_heads, *each[1:])
        if mask.dtype.kind == "b":
            return ~mask if seen is None else ~mask & seen
        return mask if seen is None else ops.where(seen, mask, -math.inf)

    def settings(self) -> str:
        return f"{self.embed_dim}, {self.num_heads}"


def _xavier(shape: tuple[int, ...], rng: np.random.Generator) -> Parameter:
    parameter = Parameter(np.empty(shape, np.float32))
    init.xavier_uniform_(parameter, rng=rng)
    return parameter

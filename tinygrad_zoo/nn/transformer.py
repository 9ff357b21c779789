"""The layers of a transformer's encoder and decoder (arXiv 1706.03762), and positions; arguments are PyTorch's.

With `norm_first` each branch is x + branch(norm(x)) (pre-LN, arXiv 2002.04745), else norm(x + branch(x)).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .. import ops
from ..errors import ShapeError, UsageError
from ..tensor import as_tensor
from . import init
from .attention import MultiheadAttention
from .layers import Dropout, Linear, check_sizes
from .module import Buffer, Module
from .normalization import LayerNorm

_ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"relu": ops.relu, "gelu": ops.gelu}


class _Layer(Module):
    """Branches of attention, then one that treats each token alone: linear2(activation(linear1(x)))."""

    attentions: tuple[str, ...]  # the names of the former

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: str | Callable[[Any], Any] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        *,
        implementation: str = "flash",
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        who = type(self).__name__
        check_sizes(who, d_model=d_model, nhead=nhead, dim_feedforward=dim_feedforward)
        if isinstance(activation, str) and activation not in _ACTIVATIONS:
            raise UsageError(f"{who}: {activation=}: expected 'relu', 'gelu' or a function")
        rng = init.generator(who, rng)
        self.norm_first, self.activation = norm_first, activation
        for name in self.attentions:
            attention = MultiheadAttention(
                d_model, nhead, dropout, bias, batch_first=batch_first, implementation=implementation, rng=rng
            )
            setattr(self, name, attention)
        self.linear1 = Linear(d_model, dim_feedforward, bias, rng=rng)
        self.dropout = Dropout(dropout, rng=rng)
        self.linear2 = Linear(dim_feedforward, d_model, bias, rng=rng)
        for i in range(1, len(self.attentions) + 2):
            setattr(self, f"norm{i}", LayerNorm(d_model, layer_norm_eps, bias=bias))
            setattr(self, f"dropout{i}", Dropout(dropout, rng=rng))

    def _through(self, x: Any, branches: list[Callable[[Any], Any]]) -> Any:
        for i, branch in enumerate(branches, 1):
            norm, drop = getattr(self, f"norm{i}"), getattr(self, f"dropout{i}")
            x = x + drop(branch(norm(x))) if self.norm_first else norm(x + drop(branch(x)))
        return x

    def _feedforward(self, x: Any) -> Any:
        activation = _ACTIVATIONS[self.activation] if isinstance(self.activation, str) else self.activation
        return self.linear2(self.dropout(activation(self.linear1(x))))

    def settings(self) -> str:
        return "norm_first=True" if self.norm_first else ""


class TransformerEncoderLayer(_Layer):
    """Self-attention, then a feed-forward block: (N, L, d_model) with batch_first, else (L, N, d_model).

    >>> layer = TransformerEncoderLayer(8, 2, 16, 0.0, batch_first=True, rng=np.random.default_rng(0))
    >>> layer(np.ones((1, 3, 8), np.float32)).shape
    (1, 3, 8)
    """

    attentions = ("self_attn",)
    self_attn: MultiheadAttention

    def forward(self, src: Any, src_mask: Any = None, src_key_padding_mask: Any = None, is_causal: bool = False) -> Any:
        """Masks as in `MultiheadAttention`; `is_causal` needs none."""

        def attend(x: Any) -> Any:
            return self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)[0]

        return self._through(as_tensor(src), [attend, self._feedforward])


class TransformerDecoderLayer(_Layer):
    """Self-attention, attention to an encoder's output `memory`, and a feed-forward block.

    >>> layer = TransformerDecoderLayer(8, 2, 16, 0.0, batch_first=True, rng=np.random.default_rng(0))
    >>> layer(np.ones((1, 3, 8), np.float32), np.ones((1, 5, 8), np.float32), tgt_is_causal=True).shape
    (1, 3, 8)
    """

    attentions = ("self_attn", "multihead_attn")
    self_attn: MultiheadAttention
    multihead_attn: MultiheadAttention

    def forward(
        self,
        tgt: Any,
        memory: Any,
        tgt_mask: Any = None,
        memory_mask: Any = None,
        tgt_key_padding_mask: Any = None,
        memory_key_padding_mask: Any = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Any:
        """Masks as in `MultiheadAttention`; `tgt_is_causal` needs none."""
        memory = as_tensor(memory)

        def attend(x: Any) -> Any:
            return self.self_attn(x, x, x, tgt_key_padding_mask, False, tgt_mask, is_causal=tgt_is_causal)[0]

        def cross(x: Any) -> Any:
            return self.multihead_attn(
                x, memory, memory, memory_key_padding_mask, False, memory_mask, is_causal=memory_is_causal
            )[0]

        return self._through(as_tensor(tgt), [attend, cross, self._feedforward])


class SinusoidalPositions(Module):
    """x + p, p[t, 2i] = sin(t / 10000^(2i / d)), p[t, 2i + 1] = cos of it: (…, L, d) for L up to max_len.

    >>> SinusoidalPositions(4, 8)(np.zeros((2, 4), np.float32)).round(2).tolist()[1]
    [0.8399999737739563, 0.5400000214576721, 0.009999999776482582, 1.0]
    """

    def __init__(self, d_model: int, max_len: int = 1024) -> None:
        check_sizes("SinusoidalPositions", d_model=d_model, max_len=max_len)
        angle = np.arange(max_len)[:, None] / 10000 ** (np.arange(0, d_model, 2) / d_model)
        table = np.stack([np.sin(angle), np.cos(angle)], axis=-1).reshape(max_len, -1)[:, :d_model]
        self.table = Buffer(table.astype(np.float32))

    def forward(self, x: Any) -> Any:
        x = as_tensor(x)
        most, d_model = self.table.shape
        if x.ndim < 2 or x.shape[-1] != d_model or x.shape[-2] > most:
            raise ShapeError(f"SinusoidalPositions: expected (…, L <= {most}, {d_model}), got {x.shape}")
        return x + self.table[: x.shape[-2]]

    def settings(self) -> str:
        return f"{self.table.shape[1]}, {self.table.shape[0]}"

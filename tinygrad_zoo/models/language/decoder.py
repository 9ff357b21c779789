"""A decoder: what comes next in a sequence of tokens, by attention to all that came before (arXiv 1706.03762).

Each block is x + attention(norm(x)), then x + feedforward(norm(x)) (pre-LN, arXiv 2002.04745). What the language models
of this folder differ in are settings: how attention is computed, and the feed-forward block.
"""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import numpy as np

from ... import nn, ops
from ...errors import UsageError
from ...tensor import tensor

Attention: TypeAlias = Literal["flash", "formula", "elu", "cosine"]
FeedForward: TypeAlias = Literal["relu", "gelu", "glu", "bilinear", "reglu", "geglu", "swiglu"]
PLAIN: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU}
SHARP = 4.0  # by this q and k of linear attention start larger than those of softmax


def attend(q: Any, k: Any, v: Any, kind: str) -> Any:
    """Causal attention of (N, H, T, D): softmax by tiles or with its weights kept, or linear by a kernel's name."""
    if kind == "flash":
        return ops.flash_attention(q, k, v, is_causal=True)
    if kind == "formula":
        return ops.scaled_dot_product_attention(q, k, v, is_causal=True)
    return ops.linear_attention(q, k, v, kind=kind, is_causal=True)


class Block(nn.Module):
    """Attention among the tokens, then a feed-forward block for each of them: (N, T, d) → (N, T, d)."""

    def __init__(
        self,
        d: int,
        heads: int,
        attention: Attention,
        feedforward: FeedForward,
        expansion: int,
        dropout: float,
        rng: np.random.Generator,
    ) -> None:
        if d % heads:
            raise UsageError(f"Block: d={d} is not a multiple of heads={heads}")
        self.heads, self.attention = heads, attention
        self.attention_norm, self.feedforward_norm = nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d, bias=False, rng=rng), nn.Linear(d, d, bias=False, rng=rng)
        if attention == "elu":  # which is nearly constant where q and k are small: each query sees the mean of values
            self.qkv.weight.data[: 2 * d] *= SHARP
            self.qkv.weight.mark_written()
        if feedforward in PLAIN:
            self.feedforward: nn.Module = nn.FeedForward(d, expansion * d, PLAIN[feedforward](), rng=rng)
        else:
            self.feedforward = nn.GLUFeedForward(d, expansion * d, feedforward, rng=rng)
        self.dropout = nn.Dropout(dropout, rng=rng)

    def forward(self, x: Any) -> Any:
        n, t, d = x.shape
        qkv = self.qkv(self.attention_norm(x)).reshape(n, t, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (N, H, T, d / H) each
        seen = attend(q, k, v, self.attention).swapaxes(1, 2).reshape(n, t, d)
        x = x + self.dropout(self.out(seen))
        return x + self.dropout(self.feedforward(self.feedforward_norm(x)))


class Decoder(nn.Module):
    """Tokens (N, T) → logits of the next one (N, T, vocabulary), T up to `length`.

    A feed-forward block has the parameters of one with `expansion` · d hidden units; of what each half of a block adds,
    `dropout` is left out in training.

    >>> model = Decoder(10, d=8, heads=2, blocks=1, length=5, rng=np.random.default_rng(0))
    >>> model(np.zeros((2, 5), np.int64)).shape
    (2, 5, 10)
    """

    def __init__(
        self,
        vocabulary: int,
        *,
        d: int,
        heads: int,
        blocks: int,
        length: int,
        attention: Attention = "flash",
        feedforward: FeedForward = "gelu",
        expansion: int = 4,
        dropout: float = 0.0,
        rng: np.random.Generator = nn.init.REQUIRED,
    ) -> None:
        rng = nn.init.generator("Decoder", rng)
        self.length = length
        self.tokens, self.positions = nn.Embedding(vocabulary, d, rng=rng), nn.Embedding(length, d, rng=rng)
        for table in (self.tokens, self.positions):
            nn.init.normal_(table.weight, std=0.02, rng=rng)
        self.blocks = nn.ModuleList(
            [Block(d, heads, attention, feedforward, expansion, dropout, rng) for _ in range(blocks)]
        )
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, vocabulary, bias=False, rng=rng)

    def forward(self, tokens: Any) -> Any:
        t = tokens.shape[1]
        if t > self.length:
            raise UsageError(f"Decoder: {t} tokens are more than its positions, length={self.length}")
        x = self.tokens(tokens) + self.positions.weight[:t]  # (N, T, d)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))  # (N, T, vocabulary)

    def settings(self) -> str:
        return f"length={self.length}"


def loss_of(model: nn.Module, windows: Any) -> Any:
    """The mean over all places of -log p(next token), in nats, of windows (N, T + 1)."""
    logits = model(windows[:, :-1])  # (N, T, V)
    return ops.cross_entropy(logits.reshape(-1, logits.shape[-1]), windows[:, 1:].reshape(-1))


def mean_loss(model: nn.Module, windows: Any, device: str, rows: int = 128) -> float:
    """`loss_of` all windows (N, T + 1) of a NumPy array, some `rows` at a time."""
    parts = np.array_split(windows, -(-len(windows) // rows))
    return sum(float(loss_of(model, tensor(part, device=device))) * len(part) for part in parts) / len(windows)


def continued(model: Decoder, tokens: Any, count: int, rng: np.random.Generator) -> Any:
    """Tokens (N, n) of a NumPy array and `count` more, each drawn from what the model makes of those before it.

    >>> model = Decoder(10, d=8, heads=2, blocks=1, length=5, rng=np.random.default_rng(0))
    >>> continued(model, np.zeros((2, 1), np.int64), 7, np.random.default_rng(1)).shape
    (2, 8)
    """
    for _ in range(count):
        seen = tensor(tokens[:, -model.length :], device=model.head.weight.device)
        chances = ops.softmax(model(seen)[:, -1]).numpy().astype(np.float64).cumsum(axis=1)  # (N, V)
        drawn = (chances > rng.random((len(tokens), 1)) * chances[:, -1:]).argmax(axis=1)
        tokens = np.concatenate([tokens, drawn[:, None]], axis=1)
    return tokens

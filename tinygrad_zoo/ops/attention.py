"""Softmax attention, softmax(Q Kᵀ / √D) V (arXiv 1706.03762), twice: with the N × N weights kept, and without them.

A query that sees no key gives 0, and gets no gradient. `is_causal` lets query i see keys 0 to i.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import fused
from ..backend import errstate, module_of
from ..errors import DTypeError, ShapeError, UsageError
from ..kernels import attention as kernels
from ..variable import Array, data_of
from .composite import pulled
from .elementwise import where
from .linalg import product, transposed
from .precision import lowered, narrowed, raised, widened
from .random import dropout, some_key
from .repeating import repeat_interleave
from .sampling import sample
from .softmax import softmax


def _check(op: str, query: Any, key: Any, value: Any, groups: bool = False) -> None:
    shapes = f"got {query.shape}, {key.shape} and {value.shape}"
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ShapeError(f"{op}: expected (…, N, D), (…, M, D) and (…, M, E), {shapes}")
    if query.shape[-1] != key.shape[-1]:
        raise ShapeError(f"{op}: query and key have rows of different length, {shapes}: write x.mT to transpose")
    if key.shape[-2] != value.shape[-2]:
        raise ShapeError(f"{op}: expected a value for each key, {shapes}")
    if groups:
        if min(query.ndim, key.ndim, value.ndim) < 3 or query.shape[-3] % max(key.shape[-3], 1):
            raise ShapeError(f"{op}: enable_gqa expects (…, heads, N, D) and (…, heads / n, M, D), {shapes}")
        if key.shape[-3] != value.shape[-3]:
            raise ShapeError(f"{op}: expected as many heads of key as of value, {shapes}")


def _scale(scale: float | None, query: Any) -> float:
    return 1 / math.sqrt(max(query.shape[-1], 1)) if scale is None else scale


# ---- with the weights
def _shared(query: Any, x: Any, enable_gqa: bool) -> Any:
    """Keys or values with a head for each head of the query: neighbours share one."""
    if not enable_gqa or x.shape[-3] == query.shape[-3]:
        return x
    return repeat_interleave(x, repeats=query.shape[-3] // max(x.shape[-3], 1), axis=-3)


def attention_weights(query: Any, key: Any, attn_mask: Any, is_causal: bool, scale: float | None = None) -> Any:
    """softmax(Q Kᵀ · scale + mask), with 0 for all keys where a query sees none."""
    scores = product(query, transposed(key)) * _scale(scale, query)
    xp = module_of(scores)
    if is_causal:
        seen = xp.arange(scores.shape[-2])[:, None] >= xp.arange(scores.shape[-1])
        scores = where(seen, scores, -math.inf)
    if attn_mask is None or not scores.shape[-1]:
        return softmax(scores)
    scores = where(attn_mask, scores, -math.inf) if attn_mask.dtype.kind == "b" else scores + attn_mask
    blind = data_of(scores).max(axis=-1, keepdims=True) == -math.inf
    return where(blind, 0.0, softmax(where(blind, 0.0, scores)))


def _attention_formula(
    query: Any, key: Any, value: Any, attn_mask: Any, dropout_key: Any, *, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> Any:  # fmt: skip
    q, k, v = widened(query), _shared(query, widened(key), enable_gqa), _shared(query, widened(value), enable_gqa)
    weights = attention_weights(q, k, widened(attn_mask), is_causal, scale)
    if dropout_p:
        weights = dropout(weights, dropout_key, p=dropout_p)
    return narrowed(product(weights, v), query, key, value, attn_mask)


def _grouped(gradient: Any, like: Any, enable_gqa: bool) -> Any:
    """The gradient of what `_shared` repeated."""
    if not enable_gqa or gradient.shape[-3] == like.shape[-3]:
        return gradient
    *lead, heads, rows, columns = gradient.shape
    return gradient.reshape(*lead, like.shape[-3], heads // like.shape[-3], rows, columns).sum(axis=-3)


def _attention_backward(
    g: Array, out: Array, query: Array, key: Array, value: Array, attn_mask: Any, dropout_key: Any, weights: Array, *,
    needs: Any, dropout_p: float, is_causal: bool, scale: float | None, enable_gqa: bool,
) -> list[Any]:  # fmt: skip
    g, q = widened(g), widened(query)
    k, v = (_shared(query, widened(x), enable_gqa) for x in (key, value))
    gq = gk = gv = None
    if needs[2]:
        kept = dropout.forward(weights, dropout_key, p=dropout_p) if dropout_p else weights
        gv = _grouped(product(transposed(kept), g), value, enable_gqa)
    gw = product(g, transposed(v))
    if dropout_p:
        gw = dropout.forward(gw, dropout_key, p=dropout_p)
    assert softmax.backward is not None
    (gs,) = softmax.backward.forward(gw, weights, weights, needs=(True,), axis=-1, dtype=None)
    if needs[0]:
        gq = product(gs, k) * _scale(scale, q)
    if needs[1]:
        gk = _grouped(product(transposed(gs), q) * _scale(scale, q), key, enable_gqa)
    return [gq, gk, gv, gs if needs[3] else None, None]


def _attention_reference(
    query: Any, key: Any, value: Any, attn_mask: Any, dropout_key: Any, dropout_p: float, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> Any:  # fmt: skip
    """Query by query, over the keys that it sees."""
    groups = query.shape[-3] // key.shape[-3] if enable_gqa else 1
    lead = np.broadcast_shapes(query.shape[:-2], value.shape[:-2]) if groups == 1 else query.shape[:-2]
    n, m = query.shape[-2], key.shape[-2]
    mask = np.zeros((*lead, n, m)) if attn_mask is None else np.broadcast_to(attn_mask, (*lead, n, m))
    kept = np.ones((*lead, n, m))
    if dropout_p:
        kept = np.asarray(dropout.forward(kept, dropout_key, p=dropout_p))
    out = np.zeros((*lead, n, value.shape[-1]))
    for *at, i in np.ndindex(*lead, n):
        here = (*at[:-1], at[-1] // groups) if groups > 1 else tuple(at)
        ks, vs = (np.broadcast_to(x, lead + x.shape[-2:])[here] if groups == 1 else x[here] for x in (key, value))
        row = np.broadcast_to(query, lead + query.shape[-2:])[(*at, i)]
        added = mask[(*at, i)]
        added = np.where(added, 0, -np.inf) if added.dtype == bool else added
        seen = np.flatnonzero((added > -np.inf) & ((np.arange(m) <= i) | (not is_causal)))
        scores = ks[seen] @ row * (1 / math.sqrt(len(row)) if scale is None else scale) + added[seen]
        e = np.exp(scores - np.logaddexp.reduce(scores)) if len(seen) else scores
        out[(*at, i)] = (e * kept[(*at, i)][seen]) @ vs[seen]
    return out


def _sample(query: Any, key: Any, value: Any, attn_mask: Any = None, dropout_key: Any = None, **settings: Any) -> Any:
    usual = {"dropout_p": 0.0, "is_causal": False, "scale": None, "enable_gqa": False}
    return sample(query, key, value, attn_mask, dropout_key, **{**usual, **settings})


@fused(
    formula=_attention_formula,
    backward=_attention_backward,
    saved=("weights",),
    samples=lambda r: [
        _sample(r(3, 2), r(4, 2), r(4, 3)),
        _sample(r(2, 1, 3, 2), r(2, 1, 4, 2), r(2, 1, 4, 2), r.boolean(2, 1, 3, 4), is_causal=True),
        _sample(r(2, 3, 2), r(2, 3, 2), r(2, 3, 1), r(3, 3), scale=0.5),
        _sample(r(4, 2, 2), r(2, 3, 2), r(2, 3, 2), None, some_key(r), dropout_p=0.3, enable_gqa=True),
        _sample(r(2, 2), r(2, 2), r(2, 2), np.array([[False, False], [True, False]])),
        _sample(r(1, 0, 2), r(1, 2, 2), r(1, 2, 2)),
    ],
    reference=_attention_reference,
    order=(
        "query", "key", "value", "attn_mask", "dropout_p", "is_causal", "scale", "enable_gqa", "dropout_key",
    ),
)  # fmt: skip
def scaled_dot_product_attention(
    query: Array, key: Array, value: Array, attn_mask: Array | None = None, dropout_key: Array | None = None, *,
    dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Any:  # fmt: skip
    """softmax(Q Kᵀ · scale + mask) V of (…, N, D), (…, M, D), (…, M, E) → (…, N, E); scale is 1/√D unless given.

    `attn_mask` broadcasts to (…, N, M): boolean, True where a query sees a key, or numbers that are added. Weights are
    dropped with probability `dropout_p`, by `dropout_key = draw_key(rng)`. With `enable_gqa` neighbouring heads of the
    query share a head of key and value, axis -3 (arXiv 2305.13245). `flash_attention` is the same without N × M arrays.

    >>> x = tz.tensor([[0.0], [1.0]])
    >>> tz.scaled_dot_product_attention(x, x, x, is_causal=True).round(3).tolist()
    [[0.0], [0.7310000061988831]]
    """
    op = "scaled_dot_product_attention"
    _check(op, query, key, value, enable_gqa)
    if not 0 <= dropout_p <= 1:
        raise UsageError(f"{op}: expected 0 <= dropout_p <= 1, got {dropout_p}")
    if dropout_p and dropout_key is None:
        raise UsageError(f"{op}: dropout_p={dropout_p} needs a key: write dropout_key=tinygrad_zoo.draw_key(rng)")
    if attn_mask is not None and attn_mask.dtype.kind not in "fb":
        raise DTypeError(f"{op}: expected an attn_mask of booleans or floating point, got {attn_mask.dtype}")
    q, k, v = widened(query), _shared(query, widened(key), enable_gqa), _shared(query, widened(value), enable_gqa)
    with errstate(q):
        weights = attention_weights(q, k, widened(attn_mask), is_causal, scale)
        kept = dropout.forward(weights, dropout_key, p=dropout_p) if dropout_p else weights
        return narrowed(product(kept, v), query, key, value, attn_mask), weights


# ---- without them
def _flash_formula(
    query: Any, key: Any, value: Any, key_padding_mask: Any, *, is_causal: bool, scale: float | None, block_q: int,
    block_k: int,
) -> Any:  # fmt: skip
    mask = None
    if key_padding_mask is not None:
        m = key_padding_mask.shape[-1]
        mask = ~data_of(key_padding_mask).reshape(*key_padding_mask.shape[:-1], *(1,) * (query.ndim - 2), m)
    return scaled_dot_product_attention(
        query, key, value, mask, None, dropout_p=0.0, is_causal=is_causal, scale=scale, enable_gqa=False
    )


def _batches(*arrays: Array) -> list[Any]:
    """(N, D) or (B, N, D) as (B, H, N, D), and float16 as float32 but where tensor cores take it; all in one dtype."""
    arrays = tuple(map(lowered, arrays))
    wide = list(arrays) if kernels.takes_halves(*arrays[:3]) else [widened(x) for x in arrays]
    if len({x.dtype for x in wide}) > 1:
        dtype = np.result_type(*(x.dtype for x in wide))
        wide = [x.astype(dtype) for x in wide]
    ndim = arrays[0].ndim
    return wide if ndim == 4 else [x[:, None] if ndim == 3 else x[None, None] for x in wide]


def _flash_backward(
    g: Array, out: Array, query: Array, key: Array, value: Array, key_padding_mask: Any, normalizers: Any, *,
    needs: Any, is_causal: bool, scale: float | None, block_q: int, block_k: int,
) -> list[Any]:  # fmt: skip
    settings = {"is_causal": is_causal, "scale": scale, "block_q": block_q, "block_k": block_k}
    made = None
    if normalizers is not None:
        q, k, v, g4, out4 = _batches(query, key, value, g, out)
        made = kernels.attention_pulled(
            g4, out4, q, k, v, _of_batches(key_padding_mask, query), normalizers, causal=is_causal,
            scale=_scale(scale, query), block_q=block_q, block_k=block_k,
        )  # fmt: skip
    if made is None:
        return pulled(_flash_formula, g, (query, key, value, key_padding_mask), [*needs[:3], False], settings)
    return [*(x.reshape(like.shape) for x, like in zip(made, (query, key, value), strict=True)), None]


def _of_batches(key_padding_mask: Any, query: Array) -> Any:
    """The mask as (B, M)."""
    return key_padding_mask if key_padding_mask is None or query.ndim > 2 else key_padding_mask[None]


def _flash_reference(
    query: Any, key: Any, value: Any, key_padding_mask: Any, is_causal: bool, scale: Any, **_: Any
) -> Any:
    mask = None
    if key_padding_mask is not None:
        mask = ~key_padding_mask.reshape(*key_padding_mask.shape[:-1], *(1,) * (query.ndim - 2), -1)
    return _attention_reference(query, key, value, mask, None, 0.0, is_causal, scale, False)


@fused(
    formula=_flash_formula,
    backward=_flash_backward,
    saved=("normalizers",),
    samples=lambda r: [
        sample(r(3, 2), r(4, 2), r(4, 3), None),
        sample(r(2, 2, 3, 2), r(2, 2, 3, 2), r(2, 2, 3, 2), r.boolean(2, 3), is_causal=True, block_q=2, block_k=1),
        sample(r(2, 3, 2), r(2, 5, 2), r(2, 5, 1), r.boolean(2, 5), scale=2.0),
        sample(r(2, 2), r(2, 2), r(2, 2), np.array([True, True])),
        sample(r(1, 0, 2), r(1, 2, 2), r(1, 2, 2), None),
    ],
    reference=_flash_reference,
)
def flash_attention(
    query: Array, key: Array, value: Array, key_padding_mask: Array | None = None, *, is_causal: bool = False,
    scale: float | None = None, block_q: int = 64, block_k: int = 256,
) -> Any:  # fmt: skip
    """softmax(Q Kᵀ · scale) V by tiles, forward and backward without an N × M array (arXiv 2205.14135, 2307.08691).

    (B, H, N, D), (B, H, M, D), (B, H, M, E) → (B, H, N, E); so for (B, N, D) and (N, D). scale is 1/√D unless given.
    `key_padding_mask`, of (B, M) or (M), is True for keys that no query of that entry sees. The blocks change rounding
    alone. A gradient of a gradient is that of `scaled_dot_product_attention`, which keeps the weights.

    >>> x = tz.tensor([[0.0], [1.0]])
    >>> tz.flash_attention(x, x, x, is_causal=True).round(3).tolist()
    [[0.0], [0.7310000061988831]]
    """
    op = "flash_attention"
    _check(op, query, key, value)
    if not query.ndim == key.ndim == value.ndim <= 4 or not query.shape[:-2] == key.shape[:-2] == value.shape[:-2]:
        raise ShapeError(
            f"{op}: expected (B, H, N, D), (B, H, M, D) and (B, H, M, E), or those without H or without both, got "
            f"{query.shape}, {key.shape} and {value.shape}: write x.expand(...) for what is shared"
        )
    if block_q < 1 or block_k < 1:
        raise UsageError(f"{op}: expected blocks of at least 1, got {block_q=} and {block_k=}")
    if key_padding_mask is not None:
        expected = (*query.shape[:-2][:1], key.shape[-2])
        if key_padding_mask.shape != expected:
            raise ShapeError(f"{op}: expected a key_padding_mask of shape {expected}, got {key_padding_mask.shape}")
        if key_padding_mask.dtype.kind != "b":
            raise DTypeError(
                f"{op}: expected a boolean key_padding_mask, True for keys to be ignored, got {key_padding_mask.dtype}"
            )
    q, k, v = _batches(query, key, value)
    made = kernels.attention(
        q, k, v, _of_batches(key_padding_mask, query), causal=is_causal, scale=_scale(scale, query), block_q=block_q,
        block_k=block_k,
    )  # fmt: skip
    if made is None:
        formula = _flash_formula(
            query, key, value, key_padding_mask, is_causal=is_causal, scale=scale, block_q=block_q, block_k=block_k
        )
        return formula, None
    out, normalizers = made
    return narrowed(raised(out.reshape(*query.shape[:-1], value.shape[-1])), query, key, value), normalizers

"""Attention in linear time: (Q Kᵀ) V = Q (Kᵀ V) where the weights are products of features instead of a softmax.

"elu": sim(q, k) = φ(q)·φ(k), φ = elu + 1 (arXiv 2006.16236). "cosine": sim = 1 + cos(q, k) >= 0, the first order of
eˣ on the unit sphere. "softmax": softmax_D(Q) (softmax_M(K)ᵀ V), whose weights of a query sum to 1 (arXiv 1812.01243).

The first two divide by Σ sim: values get a column of ones, whose result is that sum. Causal, they are a recurrent
network: S_t = S_{t-1} + φ(k_t) v_tᵀ, o_t = φ(q_t) S_t; a chunk of keys at a time, its inner part is a small matrix.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..backend import module_of
from ..errors import ShapeError, UsageError
from ..variable import Array, data_of
from .composite import composite
from .distance import normalize
from .elementwise import where
from .joining import concat
from .linalg import product, transposed
from .piecewise import elu
from .sampling import sample
from .softmax import softmax

KINDS = ("elu", "softmax", "cosine")


def _with_ones(x: Any) -> Any:
    """x with a column of ones behind it."""
    ones = module_of(x).ones((*x.shape[:-1], 1), dtype=x.dtype)
    return concat(x, ones, axis=-1)


def _features(x: Any, kind: str) -> Any:
    """φ(x), whose products are `sim`."""
    return elu(x, alpha=1.0) + 1 if kind == "elu" else _with_ones(normalize(x, p=2.0, axis=-1, eps=1e-12))


def _quotient(sums: Any) -> Any:
    """Σ sim v / Σ sim; 0 where all weights are."""
    total = sums[..., -1:]
    nothing = data_of(total) == 0
    return where(nothing, 0.0, sums[..., :-1] / where(nothing, 1.0, total))


class LinearAttentionState(NamedTuple):
    """What decoding keeps of all tokens so far: Σ φ(k) [v, 1]ᵀ, of size D × (E + 1) whatever their number.

    >>> state = LinearAttentionState.start("elu")
    >>> out, state = state.step(np.ones((1, 2)), np.ones((1, 2)), np.full((1, 3), 5.0))
    >>> out.tolist()
    [[5.0, 5.0, 5.0]]
    """

    kind: str
    sums: Any

    @classmethod
    def start(cls, kind: str = "elu") -> LinearAttentionState:
        """Of no tokens."""
        if kind not in ("elu", "cosine"):
            raise UsageError(f"LinearAttentionState: kind={kind!r}: expected 'elu' or 'cosine'")
        return cls(kind, 0.0)

    def step(self, query: Any, key: Any, value: Any) -> tuple[Any, LinearAttentionState]:
        """The next token's output, (…, D), (…, D), (…, E) → (…, E), and the state that includes it."""
        q, k = _features(query, self.kind), _features(key, self.kind)
        sums = self.sums + k[..., :, None] * _with_ones(value)[..., None, :]
        out = _quotient(product(q[..., None, :], sums))[..., 0, :]
        return out, LinearAttentionState(self.kind, sums)


def _causal(q: Any, k: Any, v: Any, chunk: int) -> Any:
    """Σ over keys up to the query's own of φ(q)·φ(k) v, a chunk of queries at a time."""
    xp, before, outs = module_of(q), None, []
    for i in range(0, q.shape[-2], chunk):
        qs, ks, vs = (x[..., i : i + chunk, :] for x in (q, k, v))
        n = qs.shape[-2]
        seen = xp.arange(n)[:, None] >= xp.arange(n)
        out = product(where(seen, product(qs, transposed(ks)), 0.0), vs)
        made = product(transposed(ks), vs)
        outs.append(out if before is None else out + product(qs, before))
        before = made if before is None else before + made
    return concat(*outs, axis=-2)


def _reference(query: Any, key: Any, value: Any, kind: str, is_causal: bool, chunk: int) -> Any:
    """By the N × M weights."""
    if kind == "softmax":
        of_keys = np.exp(key - np.logaddexp.reduce(key, axis=-2, keepdims=True))
        weights = np.exp(query - np.logaddexp.reduce(query, axis=-1, keepdims=True)) @ np.swapaxes(of_keys, -1, -2)
        return weights @ value
    if kind == "elu":
        one, other = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (query, key))
        sim = one @ np.swapaxes(other, -1, -2)
    else:
        one, other = (x / np.linalg.norm(x, axis=-1, keepdims=True) for x in (query, key))
        sim = 1 + one @ np.swapaxes(other, -1, -2)
    sim = np.tril(sim) if is_causal else sim
    return sim @ value / sim.sum(axis=-1, keepdims=True)


@composite(
    samples=lambda r: [
        sample(r.nonzero(3, 2), r.nonzero(4, 2), r(4, 3)),
        sample(r.nonzero(2, 5, 2), r.nonzero(2, 5, 2), r(2, 5, 1), is_causal=True, chunk=2),
        sample(r(3, 2), r(4, 2), r(4, 2), kind="softmax"),
        sample(r.nonzero(3, 2), r.nonzero(4, 2), r(4, 2), kind="cosine"),
        sample(r.nonzero(2, 1, 3, 2), r.nonzero(2, 1, 3, 2), r(2, 1, 3, 2), kind="cosine", is_causal=True, chunk=3),
        sample(r(1, 0, 2), r(1, 0, 2), r(1, 0, 3), is_causal=True),
    ],
    reference=_reference,
    repair=lambda query, key, value: (
        *(np.where(np.abs(x) < 0.1, 0.1 + np.abs(x), x) for x in (query, key)),
        value,
    ),
)
def linear_attention(
    query: Array, key: Array, value: Array, *, kind: str = "elu", is_causal: bool = False, chunk: int = 64
) -> Any:
    """Σ_j sim(q_i, k_j) v_j / Σ_j sim(q_i, k_j) for (…, N, D), (…, M, D), (…, M, E): (…, N, E), in time N + M.

    kind "elu" and "cosine" may be causal, `chunk` tokens at a time; "softmax", whose second one is over all keys, not.

    >>> x = tz.tensor([[1.0], [-1.0]])
    >>> tz.linear_attention(x, x, x, kind="cosine").tolist()
    [[1.0], [-1.0]]
    """
    op = "linear_attention"
    if kind not in KINDS:
        raise UsageError(f"{op}: kind={kind!r}: expected one of {', '.join(KINDS)}")
    if (
        min(query.ndim, key.ndim, value.ndim) < 2
        or query.shape[-1] != key.shape[-1]
        or key.shape[-2] != value.shape[-2]
    ):
        raise ShapeError(
            f"{op}: expected (…, N, D), (…, M, D) and (…, M, E), got {query.shape}, {key.shape} and {value.shape}"
        )
    if chunk < 1:
        raise UsageError(f"{op}: expected a chunk of at least 1, got {chunk=}")
    if kind == "softmax":
        if is_causal:
            raise UsageError(
                f"{op}: kind='softmax' takes a softmax over all keys, so each query would see those behind it: write "
                "kind='elu' or kind='cosine'"
            )
        return product(softmax(query), product(transposed(softmax(key, axis=-2)), value))
    q, k, v = _features(query, kind), _features(key, kind), _with_ones(value)
    if not is_causal or not query.shape[-2]:
        return _quotient(product(q, product(transposed(k), v)))
    if query.shape[-2] != key.shape[-2]:
        raise ShapeError(f"{op}: is_causal expects as many queries as keys, got {query.shape} and {key.shape}")
    return _quotient(_causal(q, k, v, chunk))

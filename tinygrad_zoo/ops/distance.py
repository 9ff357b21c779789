"""Distances and angles between vectors; the derivative of a distance is 0 where the two points are one."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError
from ..variable import Array, Variable
from .composite import composite, floored
from .elementwise import clip, where
from .linalg import product, transposed
from .norm import norm
from .sampling import sample
from .shape import broadcast_to


def _powers(d: Any, p: float, axis: int, keepdims: bool = False) -> Any:
    """The norm, for references."""
    return np.linalg.norm(d, p, axis, keepdims=keepdims)


def _well_apart(x1: Any, x2: Any, **settings: Any) -> tuple[Any, Any]:
    """A repair: no two coordinates closer than a bit, so that no |x1 - x2| and no maximum of them has a tie."""
    steps = 0.5 * np.arange(1, 1 + x1.shape[-1]) if x1.ndim else 1.0
    return 0.2 * np.tanh(x1) + steps * 2, 0.2 * np.tanh(x2)


def _apart(r: Any, one: tuple[int, ...], other: tuple[int, ...], **settings: Any) -> Any:
    return sample(*_well_apart(r(*one), r(*other)), **settings)


@composite(
    samples=lambda r: [
        _apart(r, (2, 3), (2, 3)),
        _apart(r, (2, 3), (3,), p=1.0, keepdims=True),
        _apart(r, (3,), (3,), p=math.inf),
        _apart(r, (2, 3), (2, 3), p=3.0, eps=0.0),
    ],
    reference=lambda x1, x2, p, eps, keepdims: _powers(x1 - x2 + eps, p, -1, keepdims),
    repair=_well_apart,
)
def pairwise_distance(x1: Array, x2: Array, *, p: float = 2.0, eps: float = 1e-6, keepdims: bool = False) -> Any:
    """The p-norm of x1 - x2 + eps over the last axis: (…, D), (…, D) → (…).

    >>> tz.pairwise_distance(tz.tensor([[3.0, 4.0]]), tz.tensor([[0.0, 0.0]]), eps=0.0).tolist()
    [5.0]
    """
    if not (x1.ndim and x2.ndim):
        raise ShapeError(f"pairwise_distance: expected vectors (…, D), got {x1.shape} and {x2.shape}")
    return norm(x1 - x2 + eps, p=p, axis=-1, keepdims=keepdims)


def _joined(x1: Any, x2: Any) -> tuple[Any, Any]:
    """Both in the shape that they broadcast to."""
    shape = np.broadcast_shapes(x1.shape, x2.shape)
    return broadcast_to(x1, shape=shape), broadcast_to(x2, shape=shape)


@composite(
    samples=lambda r: [
        sample(r(2, 3), r(2, 3)),
        sample(r(2, 3), r(3), axis=-1, eps=1e-3),
        sample(r(2, 3, 2), r(2, 1, 2), axis=0),
        sample(r.nonzero(3), r.nonzero(3), axis=0),
    ],
    reference=lambda x1, x2, axis, eps: (
        np.sum(x1 * x2, axis)
        / np.maximum(_powers(x1 + 0 * x2, 2, axis), eps)
        / np.maximum(_powers(x2 + 0 * x1, 2, axis), eps)
    ),
)
def cosine_similarity(x1: Array, x2: Array, *, axis: int = 1, eps: float = 1e-8) -> Any:
    """x1 · x2 / (max(|x1|, eps) max(|x2|, eps)) along `axis`; as in PyTorch, its gradient knows of no maximum.

    >>> tz.cosine_similarity(tz.tensor([[3.0, 4.0]]), tz.tensor([[1.0, 0.0]])).tolist()
    [0.6000000238418579]
    """
    x1, x2 = _joined(x1, x2)
    one, other = (x / floored(norm(x, axis=axis, keepdims=True), eps) for x in (x1, x2))
    return (one * other).sum(axis=axis)


@composite(
    samples=lambda r: [
        sample(r(2, 3)),
        sample(r.distinct(2, 3, 2), p=1.0, axis=-1),
        sample(r(3), p=3.0, axis=0, eps=1e-3),
        sample(r.distinct(2, 3), p=math.inf),
        sample(r(2, 3), eps=100.0),
    ],
    reference=lambda x, p, axis, eps: x / np.maximum(_powers(x, p, axis, True), eps),
    repair=lambda x: (x + 0.5 * np.arange(1, 1 + x.size).reshape(x.shape),),
)
def normalize(x: Array, *, p: float = 2.0, axis: int = 1, eps: float = 1e-12) -> Any:
    """x / max(‖x‖ₚ, eps) along `axis`.

    >>> tz.normalize(tz.tensor([[3.0, 4.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    return x / clip(norm(x, p=p, axis=axis, keepdims=True), min=eps)


# ---- all pairs
_AT_ONCE = 1 << 22  # how many differences are held at a time


def _differences(x1: Any, x2: Any) -> Any:
    """(…, P, M), (…, R, M) → (…, P, R, M)"""
    return x1[..., :, None, :] - x2[..., None, :, :]


def _euclidean_rule(g: Any, out: Any, x1: Any, x2: Any, needs: Any) -> list[Any]:
    """Σ g (x1 - x2) / out by products of matrices, for coordinates around the middle of x2."""
    values = x2.data if isinstance(x2, Variable) else x2
    middle = values.sum(axis=-2, keepdims=True) / (x2.shape[-2] or 1)
    x1, x2, zero = x1 - middle, x2 - middle, out == 0
    q = where(zero, 0, g / where(zero, 1, out))
    return [
        q.sum(axis=-1, keepdims=True) * x1 - product(q, x2) if needs[0] else None,
        transposed(q.sum(axis=-2, keepdims=True)) * x2 - product(transposed(q), x1) if needs[1] else None,
    ]


@primitive(vjp=_euclidean_rule)
def _euclidean(x1: Array, x2: Array) -> Array:
    """Not by |x1|² - 2 x1·x2 + |x2|², which leaves nothing of a small distance between large numbers."""
    xp = namespace(x1)
    step = max(1, _AT_ONCE // (math.prod(x1.shape[:-2]) * x2.shape[-2] * x2.shape[-1] or 1))
    blocks = [
        xp.sqrt((_differences(x1[..., i : i + step, :], x2) ** 2).sum(axis=-1))
        for i in range(0, x1.shape[-2] or 1, step)
    ]
    return blocks[0] if len(blocks) == 1 else xp.concatenate(blocks, axis=-2)


def _cdist_reference(x1: Any, x2: Any, p: float) -> Any:
    from scipy.spatial.distance import cdist as of_two

    lead = np.broadcast_shapes(x1.shape[:-2], x2.shape[:-2])
    one, other = (np.broadcast_to(x, lead + x.shape[-2:]) for x in (x1, x2))
    out = np.zeros((*lead, x1.shape[-2], x2.shape[-2]))
    metric = {math.inf: {"metric": "chebyshev"}}.get(p, {"metric": "minkowski", "p": p})
    for at in np.ndindex(*lead):
        out[at] = of_two(one[at], other[at], **metric)
    return out


@composite(
    samples=lambda r: [
        sample(r(3, 2), 3 + r(4, 2)),
        sample(r(2, 3, 2), 3 + r(4, 2)),
        _apart(r, (2, 3), (1, 3), p=1.0),
        _apart(r, (2, 2, 3), (2, 1, 3), p=3.0),
        _apart(r, (2, 3), (1, 3), p=math.inf),
    ],
    reference=_cdist_reference,
    repair=lambda x1, x2, **settings: (0.2 * np.tanh(x1) + np.arange(1, 1 + x1.shape[-1]), 0.2 * np.tanh(x2)),
)
def cdist(x1: Array, x2: Array, *, p: float = 2.0) -> Any:
    """The p-norm of every x1[…, i, :] - x2[…, j, :]: (…, P, M), (…, R, M) → (…, P, R).

    >>> tz.cdist(tz.tensor([[0.0, 0.0], [3.0, 4.0]]), tz.tensor([[0.0, 0.0]])).tolist()
    [[0.0], [5.0]]
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise ShapeError(f"cdist: expected points (…, P, M) and (…, R, M), got {x1.shape} and {x2.shape}")
    return _euclidean(x1, x2) if p == 2 else norm(_differences(x1, x2), p=p, axis=-1)

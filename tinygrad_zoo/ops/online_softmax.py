"""The softmax from parts: what is known of some scores, and how two such states become one (arXiv 1805.02867)."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import numpy as np

from ..backend import module_of, namespace
from ..errors import ShapeError, UsageError
from ..variable import Array, data_of
from .axes import axis_of
from .composite import composite
from .elementwise import maximum, where
from .exponential import exp
from .linalg import product
from .sampling import sample
from .shape import movedim


class SoftmaxState(NamedTuple):
    """Of scores s (…, N, M) and values v (…, M, E): m = max s, ℓ = Σ exp(s - m), o = Σ exp(s - m) v.

    Gradients take m for a constant: ℓ and o shrink by the same factor, which no result depends on.

    >>> scores, values = np.log([[1.0, 2.0, 5.0]]), np.array([[1.0], [1.0], [3.0]])
    >>> left = SoftmaxState.of(scores[:, :1], values[:1])
    >>> left.merge(SoftmaxState.of(scores[:, 1:], values[1:])).result().round(6)
    array([[2.25]])
    """

    top: Any  # (…, N, 1)
    total: Any  # (…, N, 1)
    sums: Any  # (…, N, E)

    @classmethod
    def of(cls, scores: Any, values: Any) -> SoftmaxState:
        """The state of all scores at once; of no score, or of -inf alone, m is -inf and ℓ is 0."""
        data = data_of(scores)
        if data.shape[-1]:
            top = data.max(axis=-1, keepdims=True)
        else:
            top = namespace(data).full((*data.shape[:-1], 1), -math.inf, dtype=data.dtype)
        e = exp(scores - where(top == -math.inf, 0.0, top))
        return cls(top, e.sum(axis=-1, keepdims=True), product(e, values))

    def merge(self, other: SoftmaxState) -> SoftmaxState:
        """The state of the scores of both: an associative and commutative product."""
        top = maximum(self.top, other.top)
        shift = where(top == -math.inf, 0.0, top)
        one, two = exp(self.top - shift), exp(other.top - shift)
        return SoftmaxState(top, self.total * one + other.total * two, self.sums * one + other.sums * two)

    def result(self) -> Any:
        """Σ softmax(s) v; 0 where there was nothing to see."""
        nothing = self.total == 0
        return where(nothing, 0.0, self.sums / where(nothing, 1.0, self.total))


@composite(
    samples=lambda r: [
        sample(r(2, 5), block=2),
        sample(r(3, 2), axis=0, block=1),
        sample(100 * r(4)),
        sample(r(2, 0)),
    ],
    reference=lambda x, axis, block: np.exp(x - np.logaddexp.reduce(x, axis=axis, keepdims=True)),
)
def online_softmax(x: Array, *, axis: int = -1, block: int = 256) -> Any:
    """softmax along `axis` that meets the entries `block` at a time: one pass for m and ℓ, one for exp(x - m) / ℓ.

    >>> tz.online_softmax(tz.tensor([1000.0, 1000.0]), block=1).tolist()
    [0.5, 0.5]
    """
    if not x.ndim:
        raise ShapeError("online_softmax: expected an array of at least one axis, got a number: write x[None]")
    if block < 1:
        raise UsageError(f"online_softmax: expected a block of at least 1, got {block=}")
    rows = movedim(x, source=axis_of(x, axis), destination=-1)
    xp, n = module_of(x), rows.shape[-1]
    states = [
        SoftmaxState.of(rows[..., i : i + block], xp.empty((min(block, n - i), 0), dtype=x.dtype))
        for i in range(0, n, block)
    ]
    if not states:
        return x
    state = functools.reduce(SoftmaxState.merge, states)
    return movedim(exp(rows - state.top) / state.total, source=-1, destination=axis_of(x, axis))

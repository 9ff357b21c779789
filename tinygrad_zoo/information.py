"""How far apart two distributions are, in nats: what a generative model minimises (0 log 0 is 0 everywhere).

A distribution is its probabilities along `axis`, or its density on a grid: then `cell` is the volume that a point of
the grid stands for, and sums become integrals. Nothing is normalised. Inputs broadcast.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from . import ops
from .backend import on_host
from .errors import ShapeError, UsageError
from .tensor import Tensor, as_tensor

Axes: TypeAlias = int | tuple[int, ...] | None  # None is all of them


# ---- divergences
def kl(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """KL(p‖q) = Σ p log(p / q): what it costs to believe q where p is true; inf where q = 0 and p > 0 somewhere.

    Minimised over q, it makes q cover all that p does: maximum likelihood. An entry with p = 0 adds 0, with gradient 0.
    Raises UsageError for a negative entry (on the host), ShapeError where p and q do not broadcast.

    >>> round(kl([0.5, 0.5], [0.25, 0.75]).item(), 4)
    0.1438
    >>> kl([0.5, 0.5], [1.0, 0.0]).item()
    inf
    """
    p, q = _densities("kl", p, q)
    return _summed(_relative_entropy(p, q), axis, cell)


def reverse_kl(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """KL(q‖p): of data p and a model q, what makes the model avoid places without data. Errors are those of `kl`.

    >>> round(reverse_kl([0.5, 0.5], [0.25, 0.75]).item(), 4)
    0.1308
    """
    p, q = _densities("reverse_kl", p, q)
    return _summed(_relative_entropy(q, p), axis, cell)


def js(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """½ KL(p‖m) + ½ KL(q‖m) with m = ½ (p + q) (Lin 1991): symmetric, at most log 2. Errors are those of `kl`.

    >>> round(js([1.0, 0.0], [0.0, 1.0]).item(), 4)
    0.6931
    """
    p, q = _densities("js", p, q)
    middle = 0.5 * (p + q)
    return _summed(0.5 * (_relative_entropy(p, middle) + _relative_entropy(q, middle)), axis, cell)


def tv(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """½ Σ |p - q|, the largest difference of probability of any event: at most 1. Errors are those of `kl`.

    >>> tv([0.5, 0.5], [0.25, 0.75]).item()
    0.25
    """
    p, q = _densities("tv", p, q)
    return _summed(0.5 * ops.abs(p - q), axis, cell)


def _relative_entropy(p: Tensor, q: Tensor) -> Any:
    """p log(p / q), entry by entry."""
    none = p == 0
    # Logarithms apart: a quotient overflows where q is tiny.
    return ops.where(none, 0, p * (ops.log(ops.where(none, 1, p)) - ops.log(ops.where(none, 1, q))))


def _summed(values: Any, axis: Axes, cell: float) -> Any:
    return values.sum(axis=axis) * cell


def _densities(who: str, p: Any, q: Any) -> tuple[Tensor, Tensor]:
    """Both as Tensors that broadcast and have no negative entry."""
    p, q = as_tensor(p), as_tensor(q)
    for name, x in (("p", p), ("q", q)):
        if on_host(x.data) and x.size and x.data.min() < 0:
            raise UsageError(
                f"{who}: expected {name} >= 0, got {x.data.min():g}: of logits write "
                f"{who}(…, tinygrad_zoo.softmax({name}, axis=-1))"
            )
    if p.ndim and q.ndim and p.shape[-1] != q.shape[-1]:
        raise ShapeError(f"{who}: p {p.shape} and q {q.shape} are not over the same values")
    return p, q

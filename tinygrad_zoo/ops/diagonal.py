"""Triangles and diagonals of matrices."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError
from ..variable import Array
from .axes import axis_of
from .precision import accumulators
from .sampling import sample
from .shape import broadcast_to


def _check_matrix(op: str, x: Array) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{op}: expected at least two axes, (…, n, m), got the shape {x.shape}")


def _triangle_samples(r: Any) -> list[Any]:
    return [sample(r(3, 3)), sample(r(2, 3, 4), diagonal=1), sample(r(4, 2), diagonal=-1), sample(r(2, 0, 3))]


@primitive(
    vjp=(lambda g, out, x, diagonal: tril(g, diagonal=diagonal),),
    samples=_triangle_samples,
    reference=lambda x, diagonal: np.tril(x, diagonal),
)
def tril(x: Array, *, diagonal: int = 0) -> Array:
    """Zero above the given diagonal of the last two axes.

    >>> tz.tril(tz.ones((2, 2))).tolist()
    [[1.0, 0.0], [1.0, 1.0]]
    """
    _check_matrix("tril", x)
    return namespace(x).tril(x, operator.index(diagonal))


@primitive(
    vjp=(lambda g, out, x, diagonal: triu(g, diagonal=diagonal),),
    samples=_triangle_samples,
    reference=lambda x, diagonal: np.triu(x, diagonal),
)
def triu(x: Array, *, diagonal: int = 0) -> Array:
    """Zero below the given diagonal of the last two axes.

    >>> tz.triu(tz.ones((2, 2))).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    _check_matrix("triu", x)
    return namespace(x).triu(x, operator.index(diagonal))


def _diagonal_samples(r: Any) -> list[Any]:
    return [
        sample(r(3, 3)),
        sample(r(2, 4), offset=1),
        sample(r(4, 2), offset=-2),
        sample(r(2, 3, 4), offset=-1, dim1=2, dim2=0),
        sample(r(2, 3), offset=5),
        sample(r(0, 2)),
    ]


@primitive(
    vjp=(lambda g, out, x, **where: diagonal_adjoint(g, **where, shape=x.shape),),
    samples=_diagonal_samples,
    reference=lambda x, offset, dim1, dim2: np.diagonal(x, offset, dim1, dim2),
    view=True,
)
def diagonal(x: Array, *, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Array:
    """x[i, i + offset] for every i, with the rows on axis dim1, the columns on dim2; the diagonal is the last axis.

    >>> tz.diagonal(tz.tensor([[1, 2], [3, 4]]), 1).tolist()
    [2]
    """
    _check_matrix("diagonal", x)
    return x.diagonal(offset, dim1, dim2)


def _put(x: Array, offset: int, dim1: int, dim2: int, shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` with the last axis of `x` on a diagonal."""
    xp = namespace(x)
    out = xp.zeros(shape, dtype=x.dtype)
    matrices = xp.moveaxis(out, (dim1, dim2), (-2, -1))
    expected = (*matrices.shape[:-2], _length(matrices, offset))
    if x.shape != expected:
        raise ShapeError(f"diagonal_adjoint: the diagonal of {tuple(shape)} has the shape {expected}, x has {x.shape}")
    i = xp.arange(x.shape[-1])
    matrices[..., i + max(-offset, 0), i + max(offset, 0)] = x
    return out


def _length(x: Any, offset: int) -> int:
    """That of a diagonal of the last two axes."""
    rows, columns = (int(n) for n in x.shape[-2:])
    return max(min(rows - max(-offset, 0), columns - max(offset, 0)), 0)


def _diagonal_adjoint_reference(x: Any, offset: int, dim1: int, dim2: int, shape: tuple[int, ...]) -> Any:
    """The transpose of the 0/1 matrix that reads the diagonal."""
    basis = np.eye(math.prod(shape)).reshape(math.prod(shape), *shape)
    read = [np.diagonal(e, offset, dim1, dim2).ravel() for e in basis]
    return np.array([row @ x.ravel() for row in read]).reshape(shape)


def _diagonal_adjoint_samples(r: Any) -> list[Any]:
    return [
        sample(r(3), shape=(3, 3)),
        sample(r(2), offset=-2, shape=(4, 2)),
        sample(r(3, 2), offset=-1, dim1=2, dim2=0, shape=(2, 3, 4)),
        sample(r(0), shape=(0, 2)),
    ]


@primitive(
    vjp=(lambda g, out, x, offset, dim1, dim2, shape: diagonal(g, offset=offset, dim1=dim1, dim2=dim2),),
    samples=_diagonal_adjoint_samples,
    reference=_diagonal_adjoint_reference,
)
def diagonal_adjoint(x: Array, *, offset: int = 0, dim1: int = 0, dim2: int = 1, shape: tuple[int, ...]) -> Array:
    """Zeros of `shape` whose `diagonal` is x: the gradient of `diagonal`.

    >>> tz.diagonal_adjoint(tz.tensor([1, 2]), shape=(2, 3)).tolist()
    [[1, 0, 0], [0, 2, 0]]
    """
    return _put(x, offset, dim1, dim2, shape)


def _embed_shape(x: Any, offset: int, dim1: int, dim2: int) -> tuple[int, ...]:
    n = x.shape[-1] + abs(offset)
    shape = list(x.shape[:-1])
    for d in sorted((dim1 % (x.ndim + 1), dim2 % (x.ndim + 1))):
        shape.insert(d, n)
    return tuple(shape)


def _embed_reference(x: Any, offset: int, dim1: int, dim2: int) -> Any:
    flat = [np.diag(row, offset) for row in x.reshape(-1, x.shape[-1])]
    n = x.shape[-1] + abs(offset)
    return np.moveaxis(np.array(flat).reshape(*x.shape[:-1], n, n), (-2, -1), (dim1, dim2))


@primitive(
    vjp=(lambda g, out, x, offset, dim1, dim2: diagonal(g, offset=offset, dim1=dim1, dim2=dim2),),
    samples=lambda r: [
        sample(r(3)),
        sample(r(2, 3), offset=1),
        sample(r(2, 3), offset=-2, dim1=0, dim2=2),
        sample(r(2, 3), dim1=-1, dim2=0),
    ],
    reference=_embed_reference,
)
def diag_embed(x: Array, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Array:
    """Square matrices of zeros with the last axis of x on a diagonal: (…, n) → (…, n + |offset|, n + |offset|).

    >>> tz.diag_embed(tz.tensor([1, 2])).tolist()
    [[1, 0], [0, 2]]
    """
    if not x.ndim:
        raise ShapeError("diag_embed: expected at least one axis, got a 0-d array")
    made = np.empty((0,) * (x.ndim + 1))
    if axis_of(made, dim1) == axis_of(made, dim2):
        raise ShapeError(f"diag_embed: dim1={dim1} and dim2={dim2} are the same axis")
    return _put(x, offset, dim1, dim2, _embed_shape(x, offset, dim1, dim2))


def _diag_rule(g: Any, out: Any, x: Any, **settings: int) -> Any:
    offset = settings["diagonal"]
    return diagonal(g, offset=offset) if x.ndim == 1 else diagonal_adjoint(g, offset=offset, shape=x.shape)


@primitive(
    vjp=(_diag_rule,),
    samples=lambda r: [
        sample(r(3)),
        sample(r(2), diagonal=-1),
        sample(r(3, 3)),
        sample(r(2, 4), diagonal=2),
        sample(r(3, 2), diagonal=-1),
    ],
    reference=lambda x, diagonal: np.diag(x, diagonal),
)
def diag(x: Array, *, diagonal: int = 0) -> Array:
    """The matrix with the vector x on a diagonal; of a matrix x, that diagonal.

    >>> tz.diag(tz.tensor([[1, 2], [3, 4]])).tolist()
    [1, 4]
    """
    if x.ndim == 1:
        return _put(x, diagonal, 0, 1, _embed_shape(x, diagonal, 0, 1))
    if x.ndim != 2:
        raise ShapeError(f"diag: expected a vector or a matrix, got the shape {x.shape}; write diagonal or diag_embed")
    return x.diagonal(diagonal).copy()


def _trace_rule(g: Any, out: Any, x: Any, offset: int) -> Any:
    rows = broadcast_to(g.reshape((*g.shape, 1)), shape=(*g.shape, _length(x, offset)))
    return diagonal_adjoint(rows, offset=offset, dim1=-2, dim2=-1, shape=x.shape)


@primitive(
    vjp=(_trace_rule,),
    samples=lambda r: [sample(r(3, 3)), sample(r(2, 3, 4), offset=1), sample(r(4, 2), offset=-3), sample(r(2, 0, 3))],
    reference=lambda x, offset: np.trace(x, offset, -2, -1),
)
def trace(x: Array, *, offset: int = 0) -> Array:
    """Σᵢ x[…, i, i + offset]: (…, n, m) → (…), over the last two axes.

    >>> tz.trace(tz.tensor([[1.0, 2.0], [3.0, 4.0]])).item()
    5.0
    """
    _check_matrix("trace", x)
    wide, out = accumulators(x, None, "trace")
    return x.diagonal(offset, -2, -1).sum(axis=-1, dtype=wide).astype(out)

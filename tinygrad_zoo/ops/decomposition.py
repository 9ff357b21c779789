"""Factorisations of matrices, and what is computed through them; axes before the last two are a batch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import primitive
from ..backend import namespace
from ..errors import LinAlgError, ShapeError
from ..variable import Array
from .diagonal import tril, triu
from .linalg import transposed
from .sampling import sample


@primitive(
    vjp=(lambda g, out, x: -(transposed(out) @ g @ transposed(out)),),
    samples=lambda r: [(r.well_conditioned(3, 3),), (r.well_conditioned(2, 2, 2),)],
    reference=lambda x: np.stack([np.linalg.solve(m, np.eye(len(m))) for m in x.reshape(-1, *x.shape[-2:])]).reshape(
        x.shape
    ),
    dtypes=("float32", "float64"),
)
def inv(x: Array) -> Array:
    """The inverse matrix: (…, n, n); raises LinAlgError where there is none (on a device, if CuPy is set to).

    >>> import tinygrad_zoo as tz
    >>> tz.inv(tz.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    return namespace(x).linalg.inv(x)


class SignLogDet(NamedTuple):
    """det = sign · exp(logabsdet)."""

    sign: Any
    logabsdet: Any


@primitive(
    vjp=lambda g, out, x, needs: [g[1][..., None, None] * transposed(inv(x))],
    samples=lambda r: [(r.well_conditioned(3, 3),), (r.well_conditioned(2, 2, 2)[..., ::-1],), (r(1, 1),)],
    reference=lambda x: (np.sign(np.linalg.det(x)), np.log(np.abs(np.linalg.det(x)))),
    dtypes=("float32", "float64"),
)
def slogdet(x: Array) -> SignLogDet:
    """(sign, log |det x|) of square matrices: (…, n, n) → (…) and (…); (0, -inf) for a singular one.

    >>> import tinygrad_zoo as tz
    >>> sign, logabsdet = tz.slogdet(tz.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), abs(logabsdet.item())
    (-1.0, 0.0)
    """
    sign, logabsdet = namespace(x).linalg.slogdet(x)
    return SignLogDet(sign, logabsdet)


def _triangle(x: Any, upper: bool, unitriangular: bool) -> Any:
    k = 1 if unitriangular else 0
    return triu(x, diagonal=k) if upper else tril(x, diagonal=-k)


def _solve_triangular_rule(g: Any, out: Any, a: Any, b: Any, needs: Any, upper: bool, unitriangular: bool) -> list[Any]:
    gb = solve_triangular(transposed(a), g, upper=not upper, unitriangular=unitriangular)
    return [_triangle(-(gb @ transposed(out)), upper, unitriangular) if needs[0] else None, gb]


def _solve_triangular_reference(a: Any, b: Any, upper: bool, unitriangular: bool) -> Any:
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        a = a - np.einsum("...ii->...i", a)[..., None] * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    return np.linalg.inv(a) @ b


@primitive(
    vjp=_solve_triangular_rule,
    samples=lambda r: [
        sample(r.well_conditioned(3, 3), r(3, 2), upper=True),
        sample(r.well_conditioned(2, 2, 2), r(2, 1), upper=False),
        sample(r.well_conditioned(3, 3), r(2, 3, 1), upper=False, unitriangular=True),
    ],
    reference=_solve_triangular_reference,
    dtypes=("float32", "float64"),
)
def solve_triangular(a: Array, b: Array, *, upper: bool, unitriangular: bool = False) -> Array:
    """The x of a @ x = b, reading only one triangle of a: (…, n, n), (…, n, k) → (…, n, k).

    With `unitriangular` the diagonal is taken as ones and not read. Raises LinAlgError for a zero on the diagonal.

    >>> import tinygrad_zoo as tz
    >>> tz.solve_triangular(tz.tensor([[2.0, 0.0], [1.0, 1.0]]), tz.tensor([[2.0], [3.0]]), upper=False).tolist()
    [[1.0], [2.0]]
    """
    if a.ndim < 2 or a.shape[-1] != a.shape[-2] or b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ShapeError(f"solve_triangular: expected (…, n, n) and (…, n, k), got {a.shape} and {b.shape}")
    try:
        return backend.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"solve_triangular: {error}") from error

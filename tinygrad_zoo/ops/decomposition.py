"""Factorisations of matrices, and what is computed through them; axes before the last two are a batch.

Each is of float32 or float64. What the algorithms cannot take (a singular matrix, one that is not positive definite)
raises LinAlgError on the host; on a device CuPy gives NaN, unless `cupyx.errstate(linalg="raise")` is set.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import backend
from ..autograd import fused, primitive
from ..backend import namespace
from ..errors import DTypeError, GradientError, LinAlgError, ShapeError, UsageError
from ..variable import Array
from .diagonal import tril, triu
from .joining import concat
from .linalg import transposed
from .sampling import sample

FLOATS = ("float32", "float64")


def checked(op: str, x: Array, square: bool = True) -> None:
    """Refuses what is no stack of matrices in float32 or float64."""
    if x.ndim < 2 or (square and x.shape[-1] != x.shape[-2]):
        raise ShapeError(f"{op}: expected {'(…, n, n)' if square else '(…, m, n)'}, got shape {x.shape}")
    if x.dtype.name not in FLOATS:
        raise DTypeError(f'{op}: matrices are factorised in float32 or float64, not {x.dtype}: write x.to("float32")')


def folded(g: Any, upper: bool = False) -> Any:
    """The gradient of the triangle that is read, from that of the symmetric matrix it stands for."""
    if upper:
        return triu(g) + triu(transposed(g), diagonal=1)
    return tril(g) + tril(transposed(g), diagonal=-1)


def mirrored(x: Any) -> Any:
    """The symmetric matrix that the lower triangle stands for."""
    return tril(x) + transposed(tril(x, diagonal=-1))


def per_matrix(function: Any) -> Any:
    """A reference that treats a stack matrix by matrix."""

    def reference(*stacks: Any, **settings: Any) -> Any:
        lead = np.broadcast_shapes(*(x.shape[:-2] for x in stacks))
        stacks = tuple(np.broadcast_to(x, lead + x.shape[-2:]) for x in stacks)
        made = [function(*(x[i] for x in stacks), **settings) for i in np.ndindex(*lead)]
        if isinstance(made[0], tuple):
            return tuple(np.stack(parts).reshape(lead + parts[0].shape) for parts in zip(*made, strict=True))
        return np.stack(made).reshape(lead + np.shape(made[0]))

    return reference


@primitive(
    vjp=(lambda g, out, x: -(transposed(out) @ g @ transposed(out)),),
    samples=lambda r: [(r.well_conditioned(3, 3),), (r.well_conditioned(2, 2, 2),)],
    reference=per_matrix(lambda x: np.linalg.solve(x, np.eye(len(x)))),
    dtypes=FLOATS,
)
def inv(x: Array) -> Array:
    """The inverse matrix: (…, n, n).

    >>> tz.inv(tz.tensor([[2.0, 0.0], [0.0, 4.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.25]]
    """
    checked("inv", x)
    return namespace(x).linalg.inv(x)


def _matrix_power_rule(g: Any, out: Any, x: Any, n: int) -> Any:
    if n == 0:
        return None
    y = transposed(inv(x) if n < 0 else x)
    total, power = g, y
    for _ in range(abs(n) - 1):
        total, power = y @ total + g @ power, power @ y
    return -(y @ total @ y) if n < 0 else total


@primitive(
    vjp=(_matrix_power_rule,),
    samples=lambda r: [sample(0.5 * r.well_conditioned(3, 3), n=n) for n in (3, 1, -2)],
    reference=lambda x, n: np.linalg.matrix_power(x, n),
    dtypes=FLOATS,
)
def matrix_power(x: Array, *, n: int) -> Array:
    """x @ x @ …, n times; the identity for n = 0, the power of the inverse below.

    >>> tz.matrix_power(tz.tensor([[1.0, 1.0], [0.0, 1.0]]), 3).tolist()
    [[1.0, 3.0], [0.0, 1.0]]
    """
    checked("matrix_power", x)
    return namespace(x).linalg.matrix_power(x, n).astype(x.dtype)  # a copy: x itself for n = 1


# ---- determinants
def _without_one(s: Array) -> Array:
    """The products of all entries but one, for each; zeros among them are no trouble."""
    xp, ones = namespace(s), s[..., :1] * 0 + 1
    before = xp.cumprod(xp.concatenate([ones, s[..., :-1]], axis=-1), axis=-1)
    after = xp.cumprod(xp.concatenate([ones, s[..., :0:-1]], axis=-1), axis=-1)
    return before * after[..., ::-1]


def _without_two(s: Array) -> Array:
    """The products of all entries but two, for each pair; 0 where the two are one."""
    same = namespace(s).eye(s.shape[-1], dtype=s.dtype)
    return (1 - same) * _without_one(namespace(s).where(same == 1, same, s[..., None, :]))


def _signed_svd(x: Array) -> tuple[Array, Array, Array, Array]:
    """U, S, Vh, and det U · det Vh as matrices of one entry."""
    linalg = namespace(x).linalg
    u, s, vh = linalg.svd(x, full_matrices=False)
    return u, s, vh, (linalg.det(u) * linalg.det(vh))[..., None, None]


def _cofactor_backward(g: Array, out: Array, x: Array, needs: Any) -> list[Any]:
    """In the axes of the singular vectors, x is diagonal and the derivative finite whatever its rank."""
    xp, (u, s, vh, sign) = namespace(x), _signed_svd(x)
    m, rest = transposed(u) @ g @ transposed(vh), _without_two(s)
    diagonal = (rest @ xp.diagonal(m, axis1=-2, axis2=-1)[..., None]) * xp.eye(s.shape[-1], dtype=x.dtype)
    return [sign * (u @ (diagonal - rest * transposed(m)) @ vh)]


@fused(
    formula=lambda x: det(x)[..., None, None] * transposed(inv(x)),
    backward=_cofactor_backward,
    samples=lambda r: [(r.well_conditioned(3, 3),), (r.well_conditioned(2, 2, 2),), (r.well_conditioned(1, 1),)],
    reference=per_matrix(lambda x: np.linalg.det(x) * np.linalg.inv(x).T),
    dtypes=FLOATS,
)
def cofactor(x: Array) -> Array:
    """The gradient of det x, also of a singular x: each entry's determinant without its row and column, signed.

    By singular values, so that nothing is divided. Its own gradient exists everywhere too; the next needs x⁻¹.

    >>> tz.cofactor(tz.tensor([[1.0, 2.0], [3.0, 4.0]])).numpy().round(4).tolist()
    [[4.0, -3.0], [-2.0, 1.0]]
    """
    checked("cofactor", x)
    u, s, vh, sign = _signed_svd(x)
    return sign * ((u * _without_one(s)[..., None, :]) @ vh)


@primitive(
    vjp=(lambda g, out, x: g[..., None, None] * cofactor(x),),
    samples=lambda r: [(r.well_conditioned(3, 3),), (r(2, 2, 2),), (r(1, 1),)],
    reference=per_matrix(lambda x: _det_by_minors(x)),
    dtypes=FLOATS,
)
def det(x: Array) -> Array:
    """The determinant of square matrices: (…, n, n) → (…); differentiable twice at singular matrices too.

    >>> tz.det(tz.tensor([[2.0, 0.0], [1.0, 3.0]])).item()
    6.0
    """
    checked("det", x)
    return namespace(x).linalg.det(x)


def _det_by_minors(x: Any) -> Any:
    if not len(x):
        return np.float64(1)
    return sum((-1) ** j * x[0, j] * _det_by_minors(np.delete(x[1:], j, axis=1)) for j in range(len(x)))


class SignLogDet(NamedTuple):
    """det = sign · exp(logabsdet)."""

    sign: Any
    logabsdet: Any


@primitive(
    vjp=lambda g, out, x, needs: [g[1][..., None, None] * transposed(inv(x))],
    samples=lambda r: [(r.well_conditioned(3, 3),), (r.well_conditioned(2, 2, 2)[..., ::-1],), (r(1, 1),)],
    reference=lambda x: (np.sign(np.linalg.det(x)), np.log(np.abs(np.linalg.det(x)))),
    dtypes=FLOATS,
)
def slogdet(x: Array) -> SignLogDet:
    """(sign, log |det x|) of square matrices: (…, n, n) → (…) and (…); (0, -inf) for a singular one.

    >>> sign, logabsdet = tz.slogdet(tz.tensor([[0.0, 1.0], [1.0, 0.0]]))
    >>> sign.item(), abs(logabsdet.item())
    (-1.0, 0.0)
    """
    checked("slogdet", x)
    sign, logabsdet = namespace(x).linalg.slogdet(x)
    return SignLogDet(sign, logabsdet)


# ---- systems of equations
def _is_vector(a: Any, b: Any) -> bool:
    """Whether b holds vectors, as PyTorch has it: one, or one for each matrix of the batch."""
    return bool(b.ndim == 1 or (b.ndim == a.ndim - 1 and b.shape == a.shape[:-1]))


def _solve_rule(g: Any, out: Any, a: Any, b: Any, needs: Any, left: bool) -> list[Any]:
    gb = solve(transposed(a), g, left=left)
    if not needs[0]:
        return [None, gb]
    if _is_vector(a, b):
        return [-(gb[..., None] * out[..., None, :]), gb]
    return [-(gb @ transposed(out)) if left else -(transposed(out) @ gb), gb]


def _solve_reference(a: Any, b: Any, left: bool) -> Any:
    inverse = np.linalg.inv(a)
    if _is_vector(a, b):
        return np.einsum("...ij,...j->...i", inverse, b)
    return inverse @ b if left else b @ inverse


@primitive(
    vjp=_solve_rule,
    samples=lambda r: [
        (r.well_conditioned(3, 3), r(3, 2)),
        (r.well_conditioned(3, 3), r(3)),
        (r.well_conditioned(2, 2, 2), r(2, 2)),
        (r.well_conditioned(2, 2, 2), r(3, 1, 2, 1)),
        sample(r.well_conditioned(2, 2), r(2, 3, 2), left=False),
    ],
    reference=_solve_reference,
    dtypes=FLOATS,
)
def solve(a: Array, b: Array, *, left: bool = True) -> Array:
    """The x of a @ x = b, or with left=False of x @ a = b: (…, n, n) and (…, n, k), or vectors (n) or (…, n).

    >>> tz.solve(tz.tensor([[2.0, 0.0], [0.0, 4.0]]), tz.tensor([2.0, 4.0])).tolist()
    [1.0, 1.0]
    """
    checked("solve", a)
    vector = _is_vector(a, b)
    if b.ndim == 0 or (vector and not left) or b.shape[-1 if vector or not left else -2] != a.shape[-1]:
        form = "(…, n, k), (…, n) or (n)" if left else "(…, k, n)"
        raise ShapeError(f"solve: expected a of (…, n, n) and b of {form}, got {a.shape} and {b.shape}")
    right = b[..., None] if vector else b if left else transposed(b)
    lead = np.broadcast_shapes(a.shape[:-2], right.shape[:-2])
    if lead != a.shape[:-2] or lead != right.shape[:-2]:  # CuPy does not broadcast
        xp = namespace(a)
        a, right = xp.broadcast_to(a, lead + a.shape[-2:]), xp.broadcast_to(right, lead + right.shape[-2:])
    out = namespace(a).linalg.solve(a if left else transposed(a), right)
    return out[..., 0] if vector else out if left else transposed(out)


def _triangle(x: Any, upper: bool, unitriangular: bool) -> Any:
    k = 1 if unitriangular else 0
    return triu(x, diagonal=k) if upper else tril(x, diagonal=-k)


def _solve_triangular_rule(
    g: Any, out: Any, a: Any, b: Any, needs: Any, upper: bool, left: bool, unitriangular: bool
) -> list[Any]:
    gb = solve_triangular(transposed(a), g, upper=not upper, left=left, unitriangular=unitriangular)
    if not needs[0]:
        return [None, gb]
    ga = gb @ transposed(out) if left else transposed(out) @ gb
    return [_triangle(-ga, upper, unitriangular), gb]


def _solve_triangular_reference(a: Any, b: Any, upper: bool, left: bool, unitriangular: bool) -> Any:
    a = np.triu(a) if upper else np.tril(a)
    if unitriangular:
        a = a - np.einsum("...ii->...i", a)[..., None] * np.eye(a.shape[-1]) + np.eye(a.shape[-1])
    return np.linalg.inv(a) @ b if left else b @ np.linalg.inv(a)


@primitive(
    vjp=_solve_triangular_rule,
    samples=lambda r: [
        sample(r.well_conditioned(3, 3), r(3, 2), upper=True),
        sample(r.well_conditioned(2, 2, 2), r(2, 1), upper=False),
        sample(r.well_conditioned(3, 3), r(2, 3, 1), upper=False, unitriangular=True),
        sample(r.well_conditioned(2, 2), r(3, 2), upper=True, left=False),
    ],
    reference=_solve_triangular_reference,
    dtypes=FLOATS,
)
def solve_triangular(a: Array, b: Array, *, upper: bool, left: bool = True, unitriangular: bool = False) -> Array:
    """The x of a @ x = b, or with left=False of x @ a = b, reading only one triangle of a: (…, n, n), (…, n, k).

    With `unitriangular` the diagonal is taken as ones and not read. Raises LinAlgError for a zero on the diagonal.

    >>> tz.solve_triangular(tz.tensor([[2.0, 0.0], [1.0, 1.0]]), tz.tensor([[2.0], [3.0]]), upper=False).tolist()
    [[1.0], [2.0]]
    """
    checked("solve_triangular", a)
    if b.ndim < 2 or b.shape[-2 if left else -1] != a.shape[-1]:
        form = "(…, n, k)" if left else "(…, k, n)"
        raise ShapeError(f"solve_triangular: expected (…, n, n) and {form}, got {a.shape} and {b.shape}")
    if not left:
        a, b, upper = transposed(a), transposed(b), not upper
    try:
        out = backend.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)
    except np.linalg.LinAlgError as error:
        raise LinAlgError(f"solve_triangular: {error}") from error
    return out if left else transposed(out)


# ---- cholesky and qr
def _cholesky_rule(g: Any, out: Any, x: Any, upper: bool) -> Any:
    factor, g = (transposed(out), transposed(g)) if upper else (out, g)
    m = transposed(factor) @ g
    halved = 0.5 * (tril(m) + tril(m, diagonal=-1))
    y = solve_triangular(transposed(factor), halved, upper=True)
    return folded(solve_triangular(factor, y, upper=False, left=False), upper)


def symmetric(x: Any, upper: bool) -> Any:
    """The symmetric matrix that one triangle stands for, for references."""
    return np.triu(x) + np.triu(x, 1).T if upper else np.tril(x) + np.tril(x, -1).T


def _cholesky_reference(x: Any, upper: bool) -> Any:
    """Row by row, by the definition."""
    x, n = symmetric(x, upper), len(x)
    factor = np.zeros((n, n))
    for i in range(n):
        for j in range(i + 1):
            rest = x[i, j] - factor[i, :j] @ factor[j, :j]
            factor[i, j] = np.sqrt(rest) if i == j else rest / factor[j, j]
    return factor.T if upper else factor


@primitive(
    vjp=(_cholesky_rule,),
    samples=lambda r: [
        (r.well_conditioned(3, 3),),
        sample(r.well_conditioned(2, 2, 2), upper=True),
        sample(r.well_conditioned(1, 1)),
    ],
    reference=per_matrix(_cholesky_reference),
    dtypes=FLOATS,
)
def cholesky(x: Array, *, upper: bool = False) -> Array:
    """The lower triangular L with positive diagonal of x = L Lᵀ, or with `upper` the U of x = Uᵀ U.

    Only that triangle of x is read, and the gradient is of what is read: zero in the other triangle, where PyTorch's
    is spread evenly over both. The two are the same to whatever x was computed from.

    >>> tz.cholesky(tz.tensor([[4.0, 2.0], [2.0, 2.0]])).tolist()
    [[2.0, 0.0], [1.0, 1.0]]
    """
    checked("cholesky", x)
    cholesky_ = namespace(x).linalg.cholesky
    return transposed(cholesky_(transposed(x))) if upper else cholesky_(x)


class QR(NamedTuple):
    """x = Q @ R."""

    Q: Any
    R: Any


def _tall_qr_rule(gq: Any, gr: Any, q: Any, r: Any) -> Any:
    m = r @ transposed(gr) - transposed(gq) @ q
    return solve_triangular(transposed(r), gq + q @ mirrored(m), upper=False, left=False)


def _qr_rule(g: Any, out: Any, x: Any, needs: Any, mode: str) -> list[Any]:
    (gq, gr), (q, r), (m, n) = g, out, x.shape[-2:]
    if m >= n:
        if mode == "complete" and m > n:
            raise GradientError(f"qr: the last {m - n} columns of a complete Q are arbitrary: write mode='reduced'")
        return [_tall_qr_rule(gq, gr, q, r)]
    left = _tall_qr_rule(gq + x[..., m:] @ transposed(gr[..., m:]), gr[..., :m], q, r[..., :m])
    return [concat(left, q @ gr[..., m:], axis=-1)]


def _qr_reference(x: Any, mode: str) -> Any:
    """Reflections of one column after the other (Householder)."""
    m, n = x.shape
    q, r = np.eye(m), x.copy()
    for k in range(min(m - 1, n)):
        v = r[k:, k].copy()
        v[0] += np.copysign(np.linalg.norm(v), v[0])
        h = np.eye(m)
        h[k:, k:] -= 2 * np.outer(v, v) / (v @ v or 1.0)
        q, r = q @ h, h @ r
    k = min(m, n) if mode == "reduced" else m
    return q[:, :k], np.triu(r[:k])


@primitive(
    vjp=_qr_rule,
    samples=lambda r: [
        (r.well_conditioned(3, 3),),
        (r.well_conditioned(2, 4, 4)[..., :2],),
        (r.well_conditioned(3, 3)[:2],),
        sample(r.well_conditioned(2, 2), mode="complete"),
    ],
    reference=per_matrix(_qr_reference),
    dtypes=FLOATS,
)
def qr(x: Array, *, mode: str = "reduced") -> QR:
    """(Q, R): orthonormal columns and an upper triangle with Q @ R = x; the signs are those of LAPACK.

    (…, m, n) → (…, m, k) and (…, k, n), where k = min(m, n), or m with mode="complete". The gradient is that of a
    matrix of full rank, and exists for a complete Q with m ≤ n alone.

    >>> q, r = tz.qr(tz.tensor([[3.0, 1.0], [4.0, 2.0]]))
    >>> abs(r[0, 0].item()), (q @ r).numpy().round(4).tolist()
    (5.0, [[3.0, 1.0], [4.0, 2.0]])
    """
    checked("qr", x, square=False)
    if mode not in ("reduced", "complete"):
        raise UsageError(f"qr: mode is 'reduced' or 'complete', not {mode!r}")
    q, r = namespace(x).linalg.qr(x, mode=mode)
    return QR(q, r)

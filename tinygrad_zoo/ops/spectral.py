"""Eigenvalues and singular values, and what is computed through them; axes before the last two are a batch.

Eigenvectors, and pairs of singular vectors, may be turned around: here the first entry of at least 0.65 of the largest
magnitude is positive, whatever library computed them. Vectors of equal eigenvalues (or singular values) are arbitrary:
a gradient through them is NaN.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array, data_of
from .axes import axes_of, reduced
from .comparison import logical_and
from .decomposition import FLOATS, checked, folded, mirrored, per_matrix, symmetric
from .elementwise import abs, quotient, sign, where
from .linalg import transposed
from .sampling import sample
from .shape import movedim


def _turn(vectors: Array, k: int | None = None) -> Array:
    """The sign of the first large entry of each column (1 beyond the first k), as a row."""
    xp, shape = namespace(vectors), (*vectors.shape[:-2], 1, vectors.shape[-1])
    if not vectors.size:
        return xp.ones(shape, dtype=vectors.dtype)
    size = xp.absolute(vectors)
    first = (size >= 0.65 * size.max(axis=-2, keepdims=True)).argmax(axis=-2)[..., None, :]
    turned = xp.take_along_axis(vectors, first, axis=-2) < 0
    if k is not None:
        turned = turned & (xp.arange(shape[-1]) < k)
    return xp.where(turned, -1, 1).astype(vectors.dtype)


def _turn_by_loop(vectors: Any) -> Any:
    """The same, for references."""
    return np.array([np.copysign(1.0, next(e for e in v if np.abs(e) >= 0.65 * np.abs(v).max())) for v in vectors.T])


def _ratio(x: Any, y: Any, asked: Any) -> Any:
    """x / y, but 0 for a y of 0 where nothing was asked for."""
    return quotient(x, y, logical_and(y == 0, asked == 0))


def _turning(m: Any, gaps: Any) -> Any:
    """m - mᵀ over the gaps between the values, with 0 on the diagonal: how the vectors turn into each other."""
    like = data_of(gaps)
    eye = namespace(like).eye(like.shape[-1], dtype=like.dtype)
    return _ratio(m - transposed(m), gaps + eye, abs(m) + abs(transposed(m)))


# ---- symmetric matrices
def _check_triangle(op: str, x: Array, uplo: str) -> None:
    checked(op, x)
    if uplo not in ("L", "U"):
        raise UsageError(f"{op}: UPLO is 'L' or 'U', the triangle to read, not {uplo!r}")


class Eigh(NamedTuple):
    """x = V diag(w) Vᵀ."""

    eigenvalues: Any
    eigenvectors: Any


def _eigh_rule(g: Any, out: Any, x: Any, needs: Any, UPLO: str) -> list[Any]:
    (gw, gv), (w, v) = g, out
    inner = 0.5 * _turning(transposed(v) @ gv, w[..., None, :] - w[..., :, None])
    return [folded(v @ inner @ transposed(v) + (v * gw[..., None, :]) @ transposed(v), UPLO == "U")]


def _spread_out(r: Any, *shape: int) -> Any:
    """Symmetric matrices whose eigenvalues are about 1 apart."""
    x = 0.2 * r(*shape)
    return x + np.swapaxes(x, -1, -2) + np.diag(np.arange(shape[-1]) - 0.6)


def _eigh_samples(r: Any) -> list[Any]:
    return [sample(_spread_out(r, 3, 3)), sample(_spread_out(r, 2, 2, 2), UPLO="U"), sample(r(1, 1))]


def _eigh_reference(x: Any, UPLO: str) -> tuple[Any, Any]:
    """By rotations of two axes at a time (Jacobi)."""
    a = symmetric(x, UPLO == "U")
    v = np.eye(len(a))
    for _ in range(30):
        for i, j in zip(*np.triu_indices(len(a), 1), strict=True):
            angle = 0.5 * np.arctan2(2 * a[i, j], a[j, j] - a[i, i])
            turn = np.eye(len(a))
            turn[[i, i, j, j], [i, j, i, j]] = np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)
            a, v = turn.T @ a @ turn, v @ turn
    order = np.argsort(np.diag(a))
    v = v[:, order]
    return np.diag(a)[order], v * _turn_by_loop(v)


@primitive(vjp=_eigh_rule, samples=_eigh_samples, reference=per_matrix(_eigh_reference), dtypes=FLOATS)
def eigh(x: Array, *, UPLO: str = "L") -> Eigh:
    """(w, V), the eigenvalues of a symmetric matrix in ascending order and its eigenvectors as columns.

    Only the lower triangle is read, or with UPLO="U" the upper, and the gradient is of what is read, as in `cholesky`.
    For the eigenvalues alone write `eigvalsh`.

    >>> w, v = tz.eigh(tz.tensor([[2.0, 0.0], [0.0, 1.0]]))
    >>> w.tolist(), v.tolist()
    ([1.0, 2.0], [[0.0, 1.0], [1.0, 0.0]])
    """
    _check_triangle("eigh", x, UPLO)
    w, v = namespace(x).linalg.eigh(x, UPLO=UPLO)
    return Eigh(w, v * _turn(v))


def _eigvalsh_rule(g: Any, out: Any, x: Any, UPLO: str) -> Any:
    v = eigh(x, UPLO=UPLO).eigenvectors
    return folded((v * g[..., None, :]) @ transposed(v), UPLO == "U")


@primitive(
    vjp=(_eigvalsh_rule,),
    samples=_eigh_samples,
    reference=per_matrix(lambda x, UPLO: _eigh_reference(x, UPLO)[0]),
    dtypes=FLOATS,
)
def eigvalsh(x: Array, *, UPLO: str = "L") -> Array:
    """The eigenvalues of a symmetric matrix, of which one triangle is read, in ascending order: (…, n, n) → (…, n).

    >>> tz.eigvalsh(tz.tensor([[2.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 2.0]
    """
    _check_triangle("eigvalsh", x, UPLO)
    return namespace(x).linalg.eigvalsh(x, UPLO=UPLO)


# ---- singular values
class SVD(NamedTuple):
    """x = U diag(S) Vh."""

    U: Any
    S: Any
    Vh: Any


def _svd_rule(g: Any, out: Any, x: Any, needs: Any, full_matrices: bool) -> list[Any]:
    (u, s, vh), (gu, gs, gvh), k = out, g, min(x.shape[-2:])
    u, gu, v, gv = u[..., :k], gu[..., :k], transposed(vh[..., :k, :]), transposed(gvh[..., :k, :])
    row, column = s[..., None, :], s[..., :, None]
    gaps = (row - column) * (row + column)
    left, right = transposed(u) @ gu, transposed(v) @ gv
    gx = u @ (_turning(left, gaps) * row + column * _turning(right, gaps)) @ transposed(v)
    gx = gx + (u * gs[..., None, :]) @ transposed(v)
    if x.shape[-2] > k:
        gx = gx + _ratio(gu - u @ left, row, gu) @ transposed(v)
    if x.shape[-1] > k:
        gx = gx + u @ transposed(_ratio(gv - v @ right, row, gv))
    return [gx]


def _svd_samples(r: Any) -> list[Any]:
    square = r.well_conditioned(3, 3) * np.array([1.0, 0.5, 0.25])
    return [
        sample(square),
        sample(r.well_conditioned(2, 3, 3)[..., :2] * np.array([1.0, 0.5]), full_matrices=False),
        sample(square[:2], full_matrices=False),
        sample(r.nonzero(1, 1)),
    ]


def _svd_reference(x: Any, full_matrices: bool) -> tuple[Any, Any, Any]:
    """From the eigenvectors of xᵀ x, or of x xᵀ."""
    if x.shape[0] < x.shape[1]:
        v, s, uh = _svd_reference(x.T, full_matrices)
        turn = _turn_by_loop(uh.T)
        return uh.T * turn, s, (v * turn).T
    v = _eigh_reference(x.T @ x, "L")[1][:, ::-1]
    s = np.linalg.norm(x @ v, axis=0)
    u = x @ v / s
    return u * (turn := _turn_by_loop(u)), s, (v * turn).T


@primitive(vjp=_svd_rule, samples=_svd_samples, reference=per_matrix(_svd_reference), dtypes=FLOATS)
def svd(x: Array, *, full_matrices: bool = True) -> SVD:
    """(U, S, Vh), with S descending: (…, m, n) → (…, m, m), (…, k), (…, n, n), where k = min(m, n).

    With full_matrices=False U is (…, m, k) and Vh (…, k, n). What full matrices have beyond is arbitrary and passes no
    gradient. For the singular values alone write `svdvals`.

    >>> tz.svd(tz.tensor([[0.0, 2.0], [1.0, 0.0]])).S.tolist()
    [2.0, 1.0]
    """
    checked("svd", x, square=False)
    u, s, vh = namespace(x).linalg.svd(x, full_matrices=full_matrices)
    turn, k = _turn(u, s.shape[-1]), s.shape[-1]
    vh[..., :k, :] *= transposed(turn[..., :k])
    return SVD(u * turn, s, vh)


def _svdvals_rule(g: Any, out: Any, x: Any) -> Any:
    u, _, vh = svd(x, full_matrices=False)
    return (u * g[..., None, :]) @ vh


@primitive(
    vjp=(_svdvals_rule,),
    samples=lambda r: [s.inputs for s in _svd_samples(r)],
    reference=per_matrix(lambda x: _svd_reference(x, False)[1]),
    dtypes=FLOATS,
)
def svdvals(x: Array) -> Array:
    """The singular values in descending order: (…, m, n) → (…, min(m, n)).

    >>> tz.svdvals(tz.tensor([[0.0, 2.0], [1.0, 0.0]])).tolist()
    [2.0, 1.0]
    """
    checked("svdvals", x, square=False)
    return namespace(x).linalg.svd(x, compute_uv=False)


# ---- through singular values
def _column(number: Any) -> Any:
    """A setting that may be an array, one number a matrix."""
    number = data_of(number)
    return number[..., None] if hasattr(number, "ndim") and number.ndim else number


def _cutoff(largest: Array, x: Array, atol: Any, rtol: Any) -> Array:
    """What counts as zero, beside the largest singular value."""
    if rtol is None:
        rtol = max(x.shape[-2:]) * float(np.finfo(x.dtype).eps) if atol is None else 0.0
    return namespace(x).maximum(_column(0.0 if atol is None else atol), _column(rtol) * largest)


def _pinv_rule(g: Any, out: Any, x: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    x = mirrored(x) if hermitian else x
    p, q, h = out, transposed(out), transposed(g)
    gx = (h - x @ (p @ h)) @ (p @ q) + (q @ p) @ (h - (h @ p) @ x) - q @ g @ q
    return folded(gx) if hermitian else gx


def _pinv_reference(x: Any, atol: Any, rtol: Any, hermitian: bool) -> Any:
    """By the normal equations, of full rank."""
    x = symmetric(x, False) if hermitian else x
    return x.T @ np.linalg.inv(x @ x.T) if x.shape[0] <= x.shape[1] else np.linalg.inv(x.T @ x) @ x.T


@primitive(
    vjp=(_pinv_rule,),
    samples=lambda r: [
        (r.well_conditioned(3, 3)[:, :2],),
        (r.well_conditioned(2, 3, 3)[..., :2, :],),
        sample(r.well_conditioned(2, 2), hermitian=True),
    ],
    reference=per_matrix(_pinv_reference),
    dtypes=FLOATS,
)
def pinv(x: Array, *, atol: float | None = None, rtol: float | None = None, hermitian: bool = False) -> Array:
    """The pseudo-inverse: (…, m, n) → (…, n, m). Singular values up to max(atol, rtol · the largest) count as zero.

    rtol is max(m, n) times the precision unless one of the two is given. With `hermitian` the lower triangle of a
    symmetric matrix is read. The gradient is that at constant rank: where the rank changes there is none.

    >>> tz.pinv(tz.tensor([[2.0, 0.0], [0.0, 0.0]])).tolist()
    [[0.5, 0.0], [0.0, 0.0]]
    """
    checked("pinv", x, square=hermitian)
    xp = namespace(x)
    u, s, vh = xp.linalg.svd(mirrored(x) if hermitian else x, full_matrices=False)
    kept = s > _cutoff(s[..., :1], x, atol, rtol)
    inverse = xp.where(kept, 1 / xp.where(kept, s, 1), 0)
    return transposed(vh) @ (inverse[..., None] * transposed(u))


@primitive(
    vjp=None,
    samples=lambda r: [(r.well_conditioned(3, 3)[:2],), sample(r.positive(2, 3, 1) @ r.positive(1, 4), atol=0.01)],
    reference=lambda x, atol, rtol, hermitian: np.linalg.matrix_rank(x, tol=atol),
    dtypes=FLOATS,
)
def matrix_rank(x: Array, *, atol: float | None = None, rtol: float | None = None, hermitian: bool = False) -> Array:
    """How many singular values do not count as zero, by the settings of `pinv`: (…, m, n) → (…), int64.

    >>> tz.matrix_rank(tz.tensor([[1.0, 2.0], [2.0, 4.0]])).item()
    1
    """
    checked("matrix_rank", x, square=hermitian)
    s = namespace(x).linalg.svd(mirrored(x) if hermitian else x, compute_uv=False)
    return (s > _cutoff(s[..., :1], x, atol, rtol)).sum(axis=-1).astype(np.int64)


def _shares(x: Any, axis: int, largest: bool) -> Any:
    """1 at the largest (or smallest) along `axis`, shared evenly where there are several."""
    hit = x == (x.max if largest else x.min)(axis=axis, keepdims=True)
    return where(hit, 1 / hit.sum(axis=axis, keepdims=True), 0)


def _matrix_norm_rule(g: Any, out: Any, x: Any, ord: Any, axis: tuple[int, int], keepdims: bool) -> Any:
    x = movedim(x, source=axis, destination=(-2, -1))
    g, out = g.reshape((*x.shape[:-2], 1, 1)), out.reshape((*x.shape[:-2], 1, 1))
    if ord == "fro":
        slope = _ratio(x, out, x)
    elif ord in ("nuc", 2, -2):
        u, s, vh = svd(x, full_matrices=False)
        slope = u @ vh if ord == "nuc" else (u * _shares(s[..., None, :], -1, ord > 0)) @ vh
    else:
        summed = -2 if ord in (1, -1) else -1
        slope = sign(x) * _shares(abs(x).sum(axis=summed, keepdims=True), -3 - summed, ord > 0)
    return movedim(g * slope, source=(-2, -1), destination=axis)


def _matrix_norm_reference(x: Any, ord: Any, axis: tuple[int, int], keepdims: bool) -> Any:
    return np.linalg.norm(x, ord, axis, keepdims)


@primitive(
    vjp=(_matrix_norm_rule,),
    samples=lambda r: (
        [
            sample(r.well_conditioned(3, 3) * np.array([1.0, 0.5, 0.25]), ord=ord)
            for ord in ("nuc", 2, -2, 1, -1, float("inf"), -float("inf"))
        ]
        + [
            sample(r(2, 3, 4)),
            sample(r(2, 3, 2), axis=(2, 0), keepdims=True),
            sample(_spread_out(r, 3, 3)[:, :2], ord=2),
        ]
    ),
    reference=_matrix_norm_reference,
    dtypes=FLOATS,
)
def matrix_norm(x: Array, *, ord: Any = "fro", axis: tuple[int, int] = (-2, -1), keepdims: bool = False) -> Array:
    """A norm of the matrices along two axes.

    'fro': √Σx²; 'nuc': the sum of the singular values; 2, -2: the largest, the smallest; 1, -1: the largest, the
    smallest sum of magnitudes of a column; inf, -inf: of a row. Ties share the gradient; 'fro' at 0 has 0.

    >>> x = tz.tensor([[3.0, 0.0], [0.0, -4.0]])
    >>> tz.matrix_norm(x).item(), tz.matrix_norm(x, 1).item()
    (5.0, 4.0)
    """
    axes = axes_of(x, axis)
    if len(axes) != 2:
        raise ShapeError(f"matrix_norm: axis={axis} does not name two axes of an array of shape {x.shape}")
    if ord not in ("fro", "nuc", 2, -2, 1, -1, np.inf, -np.inf):
        raise UsageError(f"matrix_norm: ord is 'fro', 'nuc', ±2, ±1 or ±inf, not {ord!r}")
    xp = namespace(x)
    matrices = xp.moveaxis(x, axes, (-2, -1))
    checked("matrix_norm", matrices, square=False)
    if ord == "fro":
        out = xp.sqrt((matrices * matrices).sum(axis=(-2, -1)))
    elif ord in ("nuc", 2, -2):
        s = xp.linalg.svd(matrices, compute_uv=False)
        out = s.sum(axis=-1) if ord == "nuc" else s.max(axis=-1) if ord == 2 else s.min(axis=-1)
    else:
        sums = xp.absolute(matrices).sum(axis=-2 if ord in (1, -1) else -1)
        out = sums.max(axis=-1) if ord > 0 else sums.min(axis=-1)
    return out.reshape(reduced(x, axes, keepdims))

"""Linear algebra: PyTorch's to the second order through functions that no sign changes, and the singular cases."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError, GradientError, LinAlgError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.testing.strategies import seeds

torch = oracles.load("torch")


def leaf(values: Any) -> Any:
    return tz.tensor(np.asarray(values, dtype=np.float64), requires_grad=True)


def slope(fn: Callable[..., Any], *values: Any, weights: Any = None) -> list[Any]:
    """The gradients of the weighted sum of fn(*values)."""
    xs = [leaf(v) for v in values]
    y = fn(*xs)
    w = np.ones(y.shape) if weights is None else weights
    return [None if g is None else g.numpy() for g in gradients([y], xs, [tz.tensor(w)])]


def same_as_torch(ours: Callable[..., Any], theirs: Callable[..., Any], *values: Any, tolerance: float = 1e-9) -> None:
    """Values, gradients, and gradients of ⟨gradients, v⟩ in the values and the cotangent."""
    rng = np.random.default_rng(1)
    xs, ts = [leaf(v) for v in values], [torch.tensor(np.asarray(v), requires_grad=True) for v in values]
    y, t = ours(*xs), theirs(*ts)
    w = rng.standard_normal(tuple(t.shape))
    wx, wt = tz.tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    first = gradients([y], xs, [wx], create_graph=True)
    raw = gradients([y], xs, [wx])
    expected = torch.autograd.grad(t, ts, wt, create_graph=True)
    vs = [rng.standard_normal(np.shape(v)) for v in values]
    second = gradients(first, [*xs, wx], [tz.tensor(v) for v in vs])
    theirs_too = torch.autograd.grad(expected, [*ts, wt], [torch.tensor(v) for v in vs], allow_unused=True)
    pairs = [(y, t), *zip(first, expected, strict=True), *zip(raw, expected, strict=True)]
    for found, e in [*pairs, *zip(second, theirs_too, strict=True)]:
        assert found is None or e is None or found.shape == e.shape
        a, b = np.zeros(1) if found is None else found.numpy(), np.zeros(1) if e is None else e.numpy(force=True)
        scale = max(1.0, float(np.abs(b).max(initial=0)))
        np.testing.assert_allclose(*np.broadcast_arrays(a, b), rtol=tolerance, atol=tolerance * scale)


# ---- einsum
EQUATIONS = {
    "ij,jk": [(2, 3), (3, 4)],
    "ij,jk->ki": [(2, 3), (3, 4)],
    "bij,bjk->bik": [(2, 3, 2), (2, 2, 4)],
    "ii": [(3, 3)],
    "ii->i": [(3, 3)],
    "iij->ji": [(2, 2, 3)],
    "iii->": [(2, 2, 2)],
    "ij->": [(2, 3)],
    "ba": [(2, 3)],
    "...ij->...ji": [(2, 2, 3)],
    "...i,...i->...": [(2, 1, 3), (4, 3)],
    "...ij,jk": [(2, 2, 3), (3, 2)],
    "i...,i...->...": [(2, 3), (2, 3)],
    "i...j->...": [(2, 3, 4)],
    "ij,ij,jk->ik": [(2, 3), (2, 3), (3, 2)],
    "a,b,c->cab": [(2,), (3,), (4,)],
    "ij,ij->ij": [(2, 3), (2, 1)],
    "ij,kl->": [(1, 2), (2, 1)],
    ",i->i": [(), (3,)],
    "aB,Bc": [(2, 3), (3, 2)],
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum_is_that_of_torch(equation: str) -> None:
    rng = np.random.default_rng(0)
    values = [rng.standard_normal(shape) for shape in EQUATIONS[equation]]
    same_as_torch(lambda *xs: ops.einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), *values)


@given(st.data(), seeds())
def test_any_einsum_is_numpys_and_has_the_gradient_of_its_linear_maps(data: Any, seed: int) -> None:
    rng = np.random.default_rng(seed)
    sizes = {c: int(rng.integers(1, 4)) for c in "abcd"}
    terms = [data.draw(st.text("abcd", max_size=3)) for _ in range(data.draw(st.integers(1, 3)))]
    used = sorted({c for term in terms for c in term})
    result = "".join(data.draw(st.permutations(used))[: data.draw(st.integers(0, len(used)))])
    equation = f"{','.join(terms)}->{result}"
    values = [rng.standard_normal(tuple(sizes[c] for c in term)) for term in terms]
    xs = [leaf(v) for v in values]
    y = ops.einsum(equation, *xs)
    expected = np.einsum(equation, *values)
    np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-9)
    g = rng.standard_normal(expected.shape)
    for i, found in enumerate(gradients([y], xs, [tz.tensor(g)])):  # it is linear in each array
        u = rng.standard_normal(values[i].shape)
        moved = np.einsum(equation, *values[:i], u, *values[i + 1 :])
        assert np.sum(moved * g) == pytest.approx(np.sum(found.numpy() * u), rel=1e-9, abs=1e-9)


def test_the_calls_of_einsum() -> None:
    x, y = tz.tensor(np.ones((2, 3))), tz.tensor(np.ones((3, 4)))
    for z in (
        ops.einsum("ij,jk->ik", x, y),
        ops.einsum("ij, jk -> ik", [x, y]),
        ops.einsum(x, y, equation="ij,jk->ik"),
    ):
        assert z.shape == (2, 4) and (z.numpy() == 3).all()
    half = tz.tensor(np.ones((1, 65_536)), "float16")  # a running sum in float16 stops at 1024
    summed = ops.einsum("ij,ij->i", half, 0.5 * half)
    assert summed.dtype == np.float16 and summed.item() == 32_768
    diagonal = ops.einsum("ii->i", square := tz.tensor(np.eye(2)))
    assert not np.shares_memory(diagonal.data, square.data)


# ---- products
@pytest.mark.oracle("torch")
def test_products_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    r = rng.standard_normal
    for x, y in [((2, 3), (3, 2)), ((2,), (3, 4)), ((2, 1, 2), (3,)), ((), (2, 2))]:
        same_as_torch(ops.kron, torch.kron, r(x), r(y))
    for x, y, dims in [((2, 3, 4), (3, 4, 2), 2), ((2, 3), (3, 2), ([0, 1], [1, 0])), ((1, 2), (3, 2), ([0], [0]))]:
        same_as_torch(
            lambda a, b, d=dims: ops.tensordot(a, b, d), lambda a, b, d=dims: torch.tensordot(a, b, d), r(x), r(y)
        )
    same_as_torch(
        lambda a, b: ops.cross(a, b, axis=1), lambda a, b: torch.linalg.cross(a, b, dim=1), r((2, 3)), r((2, 3))
    )
    same_as_torch(ops.outer, torch.outer, r(3), r(2))
    same_as_torch(ops.dot, torch.dot, r(3), r(3))
    same_as_torch(ops.matmul, torch.matmul, r((2, 2, 0)), r((0, 3)))


# ---- factorisations, through what no sign changes
def matrices(*shape: int, seed: int = 0) -> Any:
    """Far from singular and from repeated singular values."""
    rng = np.random.default_rng(seed)
    x = 0.3 * rng.standard_normal(shape)
    k = min(shape[-2:])
    x[..., range(k), range(k)] += 1.0 + np.arange(k)
    return x


def mT(x: Any) -> Any:
    return x.swapaxes(-1, -2)


def symmetric(x: Any) -> Any:
    return x + mT(x)


def functions(lib: Any, linalg: Any, qr: Any, svd: Any) -> dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]]:
    """One text for both libraries: a shape, and a function of a matrix."""

    def orthogonal(x: Any) -> Any:
        q, _ = qr(x)
        return q @ mT(q)

    def triangle(x: Any) -> Any:
        _, r = qr(x)
        return abs(r)

    def q_of_r(x: Any) -> Any:
        q, r = qr(x)
        return (q * 2.0) @ (r * r * r)  # odd in the sign of a row of r, as q is in that of its column

    def exponential(x: Any) -> Any:
        w, v = linalg.eigh(symmetric(x))
        return (v * lib.exp(0.3 * w)[..., None, :]) @ mT(v)

    def lowest(x: Any) -> Any:
        _, v = linalg.eigh(symmetric(x))
        return v[..., :1] @ mT(v[..., :1])

    def halves(x: Any) -> Any:
        u, s, vh = svd(x)
        return (u * (s * s)[..., None, :]) @ vh

    def polar(x: Any) -> Any:
        u, _, vh = svd(x)
        return u @ vh

    def leading(x: Any) -> Any:
        u, s, _ = svd(x)
        return (u[..., :2] @ mT(u[..., :2])) * s[..., :1, None]

    def right(x: Any) -> Any:
        _, s, vh = svd(x)
        return mT(vh[..., :1, :]) @ vh[..., :1, :] * s[..., None, -1:]

    def cholesky(x: Any) -> Any:
        return linalg.cholesky(x @ mT(x))

    def cholesky_upper(x: Any) -> Any:
        return linalg.cholesky(symmetric(x) + 3.0 * lib.eye(3, dtype=x.dtype), upper=True)

    tall, wide, square, batch = (4, 3), (2, 4), (3, 3), (2, 3, 3)
    return {
        **{f"QQᵀ {s}": (s, orthogonal) for s in (tall, (2, 4, 2))},
        **{f"|R| {s}": (s, triangle) for s in (tall, wide, batch)},
        **{f"Q R³ {s}": (s, q_of_r) for s in (tall, wide, square)},
        **{f"V exp(w) Vᵀ {s}": (s, exponential) for s in (square, batch)},
        **{f"the projection on the lowest {s}": (s, lowest) for s in (square, batch)},
        **{f"U S² Vh {s}": (s, halves) for s in (tall, wide, batch)},
        **{f"U Vh {s}": (s, polar) for s in (tall, wide, square)},
        **{f"the projection on two u {s}": (s, leading) for s in (tall, square, (3, 5))},
        **{f"the projection on a v {s}": (s, right) for s in (tall, wide, batch)},
        **{f"cholesky {s}": (s, cholesky) for s in (square, batch, wide)},
        "cholesky, upper": (square, cholesky_upper),
        "the singular values": ((3, 2), lambda x: linalg.svdvals(x) ** 2),
        "the eigenvalues": (batch, lambda x: linalg.eigvalsh(symmetric(x)) ** 2),
        "pinv": (tall, linalg.pinv),
        "det": (batch, linalg.det),
        "inv": (batch, linalg.inv),
        **{f"norm {ord}": (tall, lambda x, o=ord: linalg.matrix_norm(x, o)) for ord in ("fro", "nuc", 2, -2, 1, -1)},
        "power 4": (square, lambda x: linalg.matrix_power(x, 4)),
        "power -3": (square, lambda x: linalg.matrix_power(x, -3)),
        "power 0": (square, lambda x: linalg.matrix_power(x, 0) * x),
    }


OURS = functions(tz, ops, ops.qr, lambda x: ops.svd(x, full_matrices=False))


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OURS)
def test_a_factorisation_is_that_of_torch(name: str) -> None:
    theirs = functions(torch, torch.linalg, torch.linalg.qr, lambda x: torch.linalg.svd(x, full_matrices=False))
    shape, ours = OURS[name]
    for seed in (0, 1):
        same_as_torch(ours, theirs[name][1], matrices(*shape, seed=seed), tolerance=1e-8)


@pytest.mark.oracle("torch")
def test_systems_of_equations_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    for a, b, left in [
        ((3, 3), (3,), True),
        ((2, 3, 3), (3,), True),
        ((2, 3, 3), (2, 3), True),
        ((2, 3, 3), (3, 2), True),
        ((3, 3), (2, 3, 1), True),
        ((3, 3), (2, 4, 3), False),
    ]:
        same_as_torch(
            lambda x, y, left=left: ops.solve(x, y, left=left),
            lambda x, y, left=left: torch.linalg.solve(x, y, left=left),
            matrices(*a),
            rng.standard_normal(b),
        )
        if len(b) > 1 and b != (2, 3):
            same_as_torch(
                lambda x, y, left=left: ops.solve_triangular(x, y, upper=True, left=left),
                lambda x, y, left=left: torch.linalg.solve_triangular(x, y, upper=True, left=left),
                matrices(*a),
                rng.standard_normal(b),
            )


@given(seeds())
def test_factorisations_give_their_matrix_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 6, 2)
    x = rng.standard_normal((int(rng.integers(0, 3)), m, n))
    for mode in ("reduced", "complete"):
        q, r = ops.qr(x, mode=mode)
        np.testing.assert_allclose(q @ r, x, atol=1e-12)
        np.testing.assert_allclose(
            mT(q) @ q, np.broadcast_to(np.eye(q.shape[-1]), (len(x), *[q.shape[-1]] * 2)), atol=1e-12
        )
    for full in (True, False):
        u, s, vh = ops.svd(x, full_matrices=full)
        k = s.shape[-1]
        np.testing.assert_allclose((u[..., :k] * s[..., None, :]) @ vh[..., :k, :], x, atol=1e-12)
        np.testing.assert_allclose(ops.svdvals(x), s, atol=1e-12)
    gram = mT(x) @ x + np.eye(n)
    w, v = ops.eigh(gram)
    np.testing.assert_allclose(gram @ v, v * w[..., None, :], atol=1e-10)
    factor = ops.cholesky(gram)
    np.testing.assert_allclose(factor @ mT(factor), gram, atol=1e-10)
    np.testing.assert_allclose(x @ ops.pinv(x) @ x, x, atol=1e-10)


# ---- signs and triangles
def test_vectors_have_the_same_signs_in_every_dtype() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 2, 5, 9):
        x = rng.standard_normal((20, n, n))
        for make in (lambda x: ops.eigh(x + mT(x)).eigenvectors, lambda x: ops.svd(x).U):
            v = make(x)
            large = np.abs(v) >= 0.65 * np.abs(v).max(axis=-2, keepdims=True)
            first = np.take_along_axis(v, large.argmax(axis=-2)[..., None, :], axis=-2)
            assert (first > 0).all()
            agree = np.abs(make(x.astype("float32")) - v).max(axis=(-2, -1)) < 1e-2
            assert agree.mean() > 0.9  # two values may be close, and an entry close to 0.65


@pytest.mark.parametrize("upper", [False, True])
def test_the_gradient_is_of_the_triangle_that_is_read(upper: bool) -> None:
    x = matrices(3, 3)
    x = x + x.T + 4 * np.eye(3)
    other = np.tril(np.ones((3, 3)), -1) if upper else np.triu(np.ones((3, 3)), 1)
    uplo = "U" if upper else "L"
    for fn in (
        lambda x: ops.cholesky(x, upper=upper),
        lambda x: ops.eigvalsh(x, UPLO=uplo),
        lambda x: ops.eigh(x, UPLO=uplo).eigenvectors,
        *([] if upper else [lambda x: ops.pinv(x, hermitian=True)]),
    ):
        assert np.array_equal(fn(x), fn(x + 5 * other)), "it reads the other triangle"
        y = fn(x)
        w = np.random.default_rng(0).standard_normal(y.shape)
        (g,) = slope(fn, x, weights=w)
        assert not (g * other).any() and np.abs(g).max() > 1e-3
        (even,) = slope(lambda x, fn=fn: fn((x + mT(x)) * 0.5), x, weights=w)  # PyTorch's: spread over both
        np.testing.assert_allclose((g + g.T) / 2, even, atol=1e-12)


# ---- singular matrices and repeated values
def minors(x: Any) -> Any:
    n = len(x)
    return np.array(
        [[(-1) ** (i + j) * np.linalg.det(np.delete(np.delete(x, i, 0), j, 1)) for j in range(n)] for i in range(n)]
    )


@pytest.mark.parametrize("rank", [3, 2, 1, 0])
def test_det_has_its_derivatives_at_singular_matrices(rank: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(-3, 4, (3, rank)) @ rng.integers(-3, 4, (rank, 3)) * 1.0
    assert np.linalg.matrix_rank(x) == rank
    np.testing.assert_allclose(slope(ops.det, x)[0], minors(x), atol=1e-10)
    check_gradients(ops.det, x)  # to the second order


def test_the_third_derivative_of_det_is_of_regular_matrices() -> None:
    check_gradients(ops.det, matrices(2, 2), order=3)
    with pytest.raises(LinAlgError, match=r"inv: .*ingular"):
        check_gradients(ops.det, np.ones((2, 2)), order=3)


def test_a_diagonal_det_to_the_second_order_is_exact() -> None:
    hessian = tz.hessian(lambda d: ops.det(ops.einsum("i,ij->ij", d, tz.eye(4, dtype="float64"))))
    d = np.array([2.0, 0.0, -3.0, 0.0])
    expected = [[0 if i == j else np.prod(np.delete(d, [i, j])) for j in range(4)] for i in range(4)]
    np.testing.assert_allclose(hessian(d).numpy(), expected, atol=1e-12)


@pytest.mark.oracle("torch")
def test_pinv_of_deficient_rank_is_that_of_torch() -> None:
    rng = np.random.default_rng(0)
    for m, n, k in [(4, 3, 2), (3, 5, 1), (4, 4, 2)]:
        a, b = rng.standard_normal((m, k)), rng.standard_normal((n, k))
        same_as_torch(lambda a, b: ops.pinv(a @ b.mT), lambda a, b: torch.linalg.pinv(a @ b.mT), a, b, tolerance=1e-7)
    x = np.diag([3.0, 1e-3])
    assert np.allclose(ops.pinv(x, rtol=1e-2), np.diag([1 / 3, 0])) and ops.matrix_rank(x, atol=0.5) == 1
    assert np.allclose(ops.pinv(x, atol=1e-4), np.diag([1 / 3, 1e3])) and ops.matrix_rank(x) == 2
    batch = np.stack([x, x])
    assert ops.matrix_rank(batch, atol=np.array([0.5, 1e-4])).tolist() == [1, 2]
    assert not ops.pinv(np.zeros((2, 3))).any()


def test_repeated_eigenvalues() -> None:
    eye = np.eye(3)
    np.testing.assert_allclose(slope(ops.eigvalsh, eye)[0], eye, atol=1e-15)
    np.testing.assert_allclose(slope(ops.svdvals, eye)[0], eye, atol=1e-15)
    np.testing.assert_allclose(slope(lambda x: ops.eigh(x).eigenvalues, eye)[0], eye, atol=1e-15)
    np.testing.assert_allclose(slope(lambda x: ops.svd(x).S, eye)[0], eye, atol=1e-15)
    assert np.isnan(slope(lambda x: ops.eigh(x).eigenvectors, eye)[0]).any()
    assert np.isnan(slope(lambda x: ops.svd(x).U, eye)[0]).any()
    for n in (1, 2):  # 0 as a singular value: that of some choice of vectors
        found = slope(lambda x: ops.svd(x, full_matrices=False).S, np.zeros((3, n)))[0]
        np.testing.assert_allclose(found.T @ found, np.eye(n), atol=1e-15)


def test_nearly_repeated_eigenvalues_cost_as_many_digits_as_the_gap() -> None:
    rng = np.random.default_rng(0)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    c = rng.standard_normal((3, 3))
    for gap in (1e-2, 1e-4, 1e-6):
        w = np.array([1.0, 1.0 + gap, 2.0])
        x = turn @ np.diag(w) @ turn.T

        def root(x: Any) -> Any:
            w, v = ops.eigh((x + mT(x)) * 0.5)
            return (v * ops.sqrt(w)[..., None, :]) @ mT(v)

        roots = np.sqrt(w)  # the exact derivative is that of X with X² = x: no gap in it
        exact = turn @ ((turn.T @ (c + c.T) @ turn) / 2 / (roots[:, None] + roots)) @ turn.T
        error = np.abs(slope(root, x, weights=c)[0] - exact).max()
        assert error < 1e-14 / gap


def test_the_arbitrary_columns_of_a_factorisation_pass_no_gradient() -> None:
    x = matrices(4, 2)
    assert np.allclose(slope(lambda x: ops.svd(x).U[:, 2:] ** 2, x)[0], 0)
    with pytest.raises(GradientError, match=r"last 2 columns .* mode='reduced'"):
        slope(lambda x: ops.qr(x, mode="complete").Q, x)


def test_ties_of_a_norm_share_the_gradient() -> None:
    eye, ones = np.eye(2), np.ones((2, 2))
    assert np.allclose(slope(lambda x: ops.matrix_norm(x, 2), eye)[0], eye / 2)
    assert np.array_equal(slope(lambda x: ops.matrix_norm(x, 1), ones)[0], ones / 2)
    assert np.array_equal(slope(lambda x: ops.matrix_norm(x, -np.inf), ones)[0], ones / 2)
    assert np.array_equal(slope(ops.matrix_norm, np.zeros((2, 2)))[0], np.zeros((2, 2)))


def test_empty_matrices() -> None:
    empty = np.zeros((0, 0))
    assert ops.det(empty) == 1 and ops.inv(empty).shape == (0, 0) and ops.cholesky(empty).shape == (0, 0)
    assert slope(ops.det, np.zeros((2, 0, 0)))[0].shape == (2, 0, 0)
    for shape in [(0, 3), (3, 0), (2, 0, 3)]:
        u, s, vh = ops.svd(np.zeros(shape))
        assert (u.shape[-1], s.shape[-1], vh.shape[-1]) == (shape[-2], 0, shape[-1])
        assert ops.pinv(np.zeros(shape)).shape == (*shape[:-2], shape[-1], shape[-2])
        assert slope(lambda x: ops.qr(x).R, np.zeros(shape))[0].shape == shape
    assert ops.solve(np.zeros((0, 2, 2)), np.zeros((0, 2, 3))).shape == (0, 2, 3)


def test_single_precision_stays_single() -> None:
    x = tz.tensor(matrices(3, 3), "float32", requires_grad=True)
    for fn in (ops.det, ops.inv, lambda x: ops.svd(x).U, lambda x: ops.qr(x).Q, lambda x: ops.cholesky(x @ x.mT)):
        y = fn(x)
        (g,) = gradients([y], [x], [tz.tensor(np.ones(y.shape), "float32")])
        wide = slope(fn, x.data.astype("float64"))[0]
        assert y.dtype == g.dtype == np.float32
        np.testing.assert_allclose(g.numpy(), wide, rtol=1e-3, atol=1e-4 * np.abs(wide).max())


# ---- errors
SQUARE = np.ones((2, 2))
FLAT = np.ones((2, 3))
BAD: dict[str, tuple[type[TinygradZooError], str, Callable[[], Any]]] = {
    "inv, no square": (ShapeError, r"inv: expected \(…, n, n\), got shape \(2, 3\)", lambda: ops.inv(FLAT)),
    "qr of a vector": (ShapeError, r"qr: expected \(…, m, n\), got shape \(2,\)", lambda: ops.qr(np.ones(2))),
    "half precision": (DTypeError, r'svd: .* not float16: write x.to\("float32"\)', lambda: ops.svd(FLAT.astype("f2"))),
    "integers": (DTypeError, "det: .* not int64", lambda: ops.det(np.ones((2, 2), dtype=int))),
    "inv of a singular one": (LinAlgError, "inv: .*ingular", lambda: ops.inv(SQUARE * 0)),
    "solve with a singular one": (LinAlgError, "solve: .*ingular", lambda: ops.solve(SQUARE * 0, np.ones(2))),
    "solve, shapes": (ShapeError, r"solve: .* got \(2, 2\) and \(3, 2\)", lambda: ops.solve(SQUARE, np.ones((3, 2)))),
    "solve, vector from the right": (ShapeError, "solve", lambda: ops.solve(SQUARE, np.ones(2), left=False)),
    "solve_triangular, shapes": (ShapeError, "n, k", lambda: ops.solve_triangular(SQUARE, np.ones(2), upper=True)),
    "not positive definite": (LinAlgError, "cholesky: .*positive definite", lambda: ops.cholesky(-np.eye(2))),
    "qr, mode": (UsageError, "'reduced' or 'complete', not 'r'", lambda: ops.qr(FLAT, mode="r")),
    "eigh, UPLO": (UsageError, "UPLO is 'L' or 'U'", lambda: ops.eigh(SQUARE, UPLO="lower")),
    "norm, ord": (UsageError, "ord is 'fro'", lambda: ops.matrix_norm(FLAT, 3)),
    "norm, axes": (ShapeError, "names an axis twice", lambda: ops.matrix_norm(FLAT, axis=(0, 0))),
    "outer of matrices": (ShapeError, "outer: expected two vectors", lambda: ops.outer(FLAT, FLAT)),
    "dot of two lengths": (ShapeError, "one length, got 2 and 3", lambda: ops.dot(np.ones(2), np.ones(3))),
    "cross of four": (ShapeError, "3 entries along axis -1", lambda: ops.cross(np.ones(4), np.ones(4))),
    "tensordot": (ShapeError, "do not pair axes", lambda: ops.tensordot(FLAT, FLAT, 1)),
    "einsum, letters": (ShapeError, "different length under 'j'", lambda: ops.einsum("ij,jk", FLAT, FLAT)),
    "einsum, axes": (ShapeError, "'ijk' .* does not fit", lambda: ops.einsum("ijk", FLAT)),
    "einsum, arrays": (UsageError, "names 2 arrays, got 1", lambda: ops.einsum("ij,jk", FLAT)),
    "einsum, result": (UsageError, "letters of the result", lambda: ops.einsum("ij->k", FLAT)),
    "einsum, twice in the result": (UsageError, "each once", lambda: ops.einsum("ij->ii", FLAT)),
    "einsum, no equation": (TinygradZooError, "equation", lambda: ops.einsum(FLAT, FLAT)),
    "einsum, nonsense": (UsageError, "expected an equation like", lambda: ops.einsum("i1->", FLAT)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_raises_an_error_that_says_what_is_wrong(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_the_alphabet_is_long_enough() -> None:
    x = np.ones((1,) * 20)
    assert ops.einsum(string.ascii_letters[:20] + "...", x).shape == (1,) * 20


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
def test_nan_propagates_through_systems_of_equations(device: str) -> None:
    a, b = tz.tensor([[2.0, 0.0], [1.0, 1.0]], device=device), tz.tensor([[np.nan], [1.0]], device=device)
    assert np.isnan(tz.solve_triangular(a, b, upper=False).numpy()).all()
    assert np.isnan(tz.solve(a, b).numpy()).all()
    x = (a @ a.T).requires_grad_()
    with np.errstate(all="ignore"):
        tz.cholesky(x).log().diagonal().sum().backward()  # log 0 beside the diagonal: 0 / 0 in its gradient
    assert np.isnan(x.grad.numpy()).any()

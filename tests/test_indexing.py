"""Indexing reads what NumPy reads, its gradients are scatters, and writes give copies in which the last value stays."""

from __future__ import annotations

import itertools
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
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.kernels import scatter
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.testing.strategies import indices, seeds, shapes

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

X = np.arange(24.0).reshape(2, 3, 4)


def leaf(values: Any) -> Any:
    return tz.tensor(np.asarray(values, dtype=np.float64), requires_grad=True)


def pulled(y: Any, *wrt: Any, weights: Any = None) -> list[Any]:
    """The gradients of the sum of y, weighted."""
    w = np.ones(y.shape) if weights is None else weights
    return [g if g is None else g.numpy() for g in gradients([y], wrt, [tz.tensor(w)])]


# ---- reading
@st.composite
def forms(draw: Any, index: Any) -> Any:
    """The index as NumPy arrays, as Tensors, lists or arrays of another integer dtype."""

    def form(part: Any) -> Any:
        if not isinstance(part, np.ndarray):
            return np.int64(part) if isinstance(part, int) and draw(st.booleans()) else part
        how = draw(st.sampled_from(["array", "tensor", "list", "int32", "int8"]))
        if how == "tensor":
            return tz.tensor(part)
        if how == "list" and part.size and part.ndim:
            return part.tolist()
        return part.astype(how) if how.startswith("int") and part.dtype.kind == "i" else part

    return tuple(form(part) for part in index) if isinstance(index, tuple) else form(index)


@given(st.data(), seeds())
def test_an_index_reads_what_numpy_reads_and_its_gradient_is_a_scatter(data: Any, seed: int) -> None:
    shape = data.draw(shapes(min_dims=0, max_dims=3))
    index = data.draw(indices(shape))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    expected = x[index]
    tensor = leaf(x)
    y = tensor[data.draw(forms(index))]
    assert y.shape == expected.shape and np.array_equal(y.numpy(), expected)

    g = rng.standard_normal(expected.shape)
    (gradient,) = pulled(y, tensor, weights=g)
    scattered, places = np.zeros(x.size), np.arange(x.size).reshape(shape)[index]
    for place, value in zip(np.ravel(places), np.ravel(g), strict=True):
        scattered[place] += value
    np.testing.assert_allclose(gradient, scattered.reshape(shape), rtol=1e-12, atol=1e-12)
    adjoint = ops.getitem_adjoint(g, index=index, shape=shape)
    assert np.sum(expected * g) == pytest.approx(np.sum(x * adjoint), rel=1e-9, abs=1e-9)


TRUE, FALSE = True, False
FORMS: dict[str, Any] = {
    "an integer": 1,
    "a NumPy integer": np.int64(-1),
    "a 0-d array": np.array(1),
    "a slice with a negative step": np.s_[:, ::-2],
    "newaxis and ellipsis": (None, ..., None, 0),
    "a list": [1, 0, 1],
    "a nested list": [[0, 1], [1, 1]],
    "an empty list": [],
    "an empty list on the second axis": (slice(None), []),
    "a range": (slice(None), range(2)),
    "a list of booleans": [True, False],
    "True": TRUE,
    "False": FALSE,
    "a NumPy boolean": np.bool_(True),
    "a mask of two axes": X[..., 0] > 3,
    "a mask of all axes": X > 5,
    "a mask and an integer": (X[..., 0] > 3, 2),
    "a mask of no axes": np.array(True),
    "a mask on the last axis": (..., np.array([True, False, True, True])),
    "arrays that broadcast": (np.array([[0], [1]]), np.array([0, 2, 2])),
    "arrays apart: their axis comes first": (np.array([0, 1]), slice(None), np.array([1, 2])),
    "arrays together: their axis stays": (slice(None), np.array([0, 1]), np.array([1, 2])),
    "an integer apart from an array": (0, slice(None), np.array([1, 2])),
    "an integer beside an array": (slice(None), 0, np.array([1, 2])),
    "an array beside newaxis": (np.array([1, 0]), None, np.array([1, 2])),
    "uint8": np.array([1, 0], dtype=np.uint8),
    "int32": np.array([-1, 0], dtype=np.int32),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_index_is_numpys(form: str) -> None:
    index = FORMS[form]
    x = leaf(X)
    y = x[index]
    expected = X[tuple(index) if isinstance(index, tuple) else index]
    assert y.shape == expected.shape and np.array_equal(y.numpy(), expected)
    (found,) = pulled(y, x)
    counts = np.bincount(np.arange(24).reshape(X.shape)[index].ravel(), minlength=24)
    assert np.array_equal(found, counts.reshape(X.shape))


def test_tensors_in_an_index_and_in_a_tuple() -> None:
    i, j, mask = tz.tensor([1, 0]), tz.tensor(2), tz.tensor([True, False, True])
    x = tz.tensor(X)
    assert np.array_equal(x[i].numpy(), X[[1, 0]])
    assert np.array_equal(x[j - 1, j].numpy(), X[1, 2])
    assert np.array_equal(x[i, mask.data.nonzero()[0]].numpy(), X[[1, 0], [0, 2]])
    assert np.array_equal(x[:, mask].numpy(), X[:, [0, 2]])


# ---- gather, take, select
def test_pytorchs_calls_are_understood() -> None:
    x, index = tz.tensor(X[0]), tz.tensor([[3, 0], [1, 1]])
    expected = np.array([[3.0, 0.0], [5.0, 5.0]])
    for y in (
        ops.gather(x, 1, index),
        ops.gather(x, index, axis=1),
        ops.gather(x, dim=1, index=index),
        ops.gather(x, -1, index=index),
    ):
        assert np.array_equal(y.numpy(), expected)
    zeros, ones = tz.zeros((3, 4)), tz.ones((2, 2))
    added = ops.scatter_add(zeros, 1, index, ones).numpy()
    assert added[1].tolist() == [0, 2, 0, 0]
    assert np.array_equal(ops.scatter_add(zeros, index, ones, axis=1).numpy(), added)
    assert ops.scatter(zeros, 1, index, 5.0).numpy()[0].tolist() == [5, 0, 0, 5]
    assert ops.index_put(zeros, (tz.tensor([1]),), 1.0, True).numpy().sum() == 4
    with pytest.raises(DTypeError, match=r"axis is given twice|missing"):
        ops.gather(x, 1, index, axis=1)
    with pytest.raises(DTypeError, match="index is missing"):
        ops.gather(x, 1)


def test_take_along_axis_broadcasts_the_other_axes() -> None:
    rng = np.random.default_rng(0)
    for a, b, axis in [((1, 3), (4, 2), 1), ((4, 3), (1, 2), 1), ((3, 1, 2), (2, 5, 1), 0), ((4,), (3,), -1)]:
        x, indices_ = rng.standard_normal(a), rng.integers(-a[axis], a[axis], b)
        expected = np.take_along_axis(x, indices_, axis)
        assert np.array_equal(ops.take_along_axis(x, indices_, axis=axis), expected)
        check_gradients(lambda v, i=indices_, axis=axis: ops.take_along_axis(v, i, axis=axis), x)
    flat = ops.take_along_dim(X, np.array([[23, -24]]))
    assert flat.tolist() == [23.0, 0.0]


def test_an_index_of_nothing_gathers_nothing_whatever_its_shape() -> None:
    x = leaf([1.0, 2.0])
    y = ops.gather(x, 0, tz.tensor(np.zeros((2, 0), dtype=np.int64)))
    assert y.shape == (2, 0) and pulled(y, x) == [None]


def test_masked_select_and_nonzero() -> None:
    x, mask = leaf([[1.0, 2.0, 3.0]]), np.array([[True], [False], [True]])
    y = ops.masked_select(x, mask)
    assert y.tolist() == [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]
    assert np.array_equal(pulled(y, x)[0], [[2.0, 2.0, 2.0]])
    at = ops.nonzero(tz.tensor([[0, 1], [2, 0]]), as_tuple=True)
    assert [i.tolist() for i in at] == [[0, 1], [1, 0]]
    assert tz.tensor([[5, 6], [7, 8]])[at].tolist() == [6, 7]
    assert ops.nonzero(tz.tensor(3), as_tuple=True)[0].tolist() == [0] and ops.argwhere(tz.tensor(3)).shape == (1, 0)
    assert ops.one_hot(tz.tensor([2, 0])).shape == (2, 3)


# ---- writing
@given(st.data(), seeds())
def test_of_values_written_to_one_place_the_last_stays(data: Any, seed: int) -> None:
    shape = data.draw(shapes(min_dims=1, max_dims=3))
    index = data.draw(indices(shape))
    accumulate = data.draw(st.booleans())
    rng = np.random.default_rng(seed)
    x, places = rng.standard_normal(shape), np.arange(int(np.prod(shape))).reshape(shape)[index]
    narrowed = tuple(1 if data.draw(st.booleans()) else n for n in places.shape)
    values = rng.standard_normal(narrowed)
    expected, last = x.copy().ravel(), {}
    each = np.broadcast_to(values, places.shape).ravel()
    for k, place in enumerate(np.ravel(places)):
        expected[place] = expected[place] + each[k] if accumulate else each[k]
        last[int(place)] = k
    a, b = leaf(x), leaf(values)
    y = ops.index_put(a, index, b, accumulate)
    np.testing.assert_allclose(y.numpy(), expected.reshape(shape), rtol=1e-12, atol=1e-12)
    assert np.array_equal(a.numpy(), x), "x itself was written"

    g = rng.standard_normal(shape)
    ga, gb = pulled(y, a, b, weights=g)
    kept = g.copy().ravel()
    stays = np.ones(places.size) if accumulate else np.isin(np.arange(places.size), list(last.values()))
    if not accumulate:
        kept[list(last)] = 0
    np.testing.assert_allclose(ga, kept.reshape(shape), rtol=1e-12, atol=1e-12)
    of_each = (g[index].ravel() * stays).reshape(places.shape)
    narrow = tuple(d for d, n in enumerate(narrowed) if n == 1)
    np.testing.assert_allclose(gb, of_each.sum(axis=narrow, keepdims=True), rtol=1e-12, atol=1e-12)


def test_the_last_value_is_the_last_in_c_order_whatever_the_layout() -> None:
    """NumPy itself writes in the order in which the index or the values lie in memory."""
    rng = np.random.default_rng(3)
    layouts: list[Callable[[Any], Any]] = [
        np.ascontiguousarray,
        np.asfortranarray,
        lambda a: np.ascontiguousarray(a[::-1])[::-1],
        lambda a: np.ascontiguousarray(a[:, ::-1])[:, ::-1],
    ]
    for of_rows, of_columns, of_values in itertools.product(layouts, repeat=3):
        i, j, v = rng.integers(0, 3, (4, 5)), rng.integers(0, 2, (4, 5)), rng.standard_normal((4, 5))
        expected, x = np.zeros((3, 2)), np.zeros((3, 2))
        for at in np.ndindex(4, 5):
            expected[i[at], j[at]] = v[at]
        assert np.array_equal(ops.index_put(x, (of_rows(i), of_columns(j)), of_values(v)), expected)


def test_repeated_indices_have_the_gradient_of_their_value() -> None:
    rng = np.random.default_rng(0)
    at = np.array([0, 2, 2, 0, -1])
    check_gradients(lambda x, v: ops.index_put(x, at, v) ** 2, rng.standard_normal(4), rng.standard_normal(5))
    index = np.array([[1, 1, 0], [0, 0, 0]])
    x, src = rng.standard_normal((2, 3)), rng.standard_normal((3, 3))
    check_gradients(lambda x, v: ops.scatter(x, 1, index, v) ** 2, x, src)
    assert ops.scatter(x, 1, index, src)[1].tolist() == [src[1, 2], x[1, 1], x[1, 2]]


def test_a_number_or_a_wider_array_may_be_written() -> None:
    x = tz.zeros(3, dtype="float32")
    assert ops.index_put(x, [0], 1.5).dtype == np.float32
    assert ops.index_put(x, [0], tz.tensor(np.float64(1.5))).dtype == np.float64
    assert ops.index_put(tz.tensor([1, 2]), 0, 0.5).tolist() == [0.5, 2.0]
    assert ops.index_put(tz.tensor([1, 2]), tz.tensor([True, False]), 7).tolist() == [7, 2]
    assert ops.masked_fill(x, tz.tensor([True, False, True]), -np.inf).tolist() == [-np.inf, 0.0, -np.inf]


def test_index_add_adds_repeated_rows_up() -> None:
    x, source = leaf(np.zeros((3, 2))), leaf([[1.0, 2.0], [3.0, 4.0]])
    y = ops.index_add(x, 0, tz.tensor([1, 1]), source, alpha=2)
    assert y.tolist() == [[0, 0], [8, 12], [0, 0]]
    assert np.array_equal(pulled(y, source)[0], np.full((2, 2), 2.0))


@pytest.mark.oracle("torch")
def test_the_padding_row_has_no_gradient_as_in_pytorch() -> None:
    rng = np.random.default_rng(0)
    weight, at = rng.standard_normal((4, 3)), rng.integers(0, 4, (2, 5))
    for padding_idx in (None, 1, -1):
        ours, theirs = leaf(weight), torch.tensor(weight, requires_grad=True)
        g = rng.standard_normal((2, 5, 3))
        (found,) = pulled(tz.embedding(tz.tensor(at), ours, padding_idx=padding_idx), ours, weights=g)
        F.embedding(torch.tensor(at), theirs, padding_idx).backward(torch.tensor(g))
        np.testing.assert_allclose(found, theirs.grad.numpy(), rtol=1e-12, atol=1e-12)


# ---- errors
T = tz.tensor(np.ones((2, 3)))
BAD: dict[str, tuple[type[TinygradZooError], str, Callable[[], Any]]] = {
    "an index too large": (IndexingError, r"index 3 is out of bounds for axis 1 .* 3 entries", lambda: T[:, 3]),
    "an array too large": (IndexingError, r"index 5 is out of bounds for axis 0 .* 2 entries", lambda: T[[0, 5]]),
    "too many indices": (IndexingError, "too many indices", lambda: T[0, 0, 0]),
    "a mask of another shape": (IndexingError, r"does not fit x of shape \(2, 3\)", lambda: T[np.array([True])]),
    "a float": (DTypeError, "integers or booleans, not 0.5", lambda: T[0.5]),
    "an array of floats": (DTypeError, "integers or booleans, not float64", lambda: T[np.array([0.5])]),
    "a list of floats": (DTypeError, "integers or booleans, not float64", lambda: T[[0.0, 1.0]]),
    "a string": (DTypeError, "integers or booleans, not 'a'", lambda: T["a"]),
    "arrays that do not broadcast": (IndexingError, "broadcast", lambda: T[[0, 1], [0, 1, 2]]),
    "gather, too large": (
        IndexingError,
        "gather: index 4 .* axis 1 of length 3",
        lambda: ops.gather(T, 1, np.array([[4]])),
    ),
    "gather, negative": (IndexingError, "index -4 .* length 3", lambda: ops.gather(T, 1, np.array([[-4]]))),
    "gather, another ndim": (ShapeError, "index has 1 axes and x 2", lambda: ops.gather(T, 0, np.array([0]))),
    "gather, an index too long": (ShapeError, "exceeds x", lambda: ops.gather(T, 0, np.zeros((1, 4), dtype=int))),
    "gather, floats": (DTypeError, "holds integers, not float64", lambda: ops.gather(T, 0, np.ones((1, 1)))),
    "gather, axis": (
        ShapeError,
        "axis=2 is out of bounds: x has 2 axes",
        lambda: ops.gather(T, 2, np.zeros((1, 1), int)),
    ),
    "scatter, src too short": (
        ShapeError,
        "exceeds src",
        lambda: ops.scatter(T, 0, np.zeros((2, 2), dtype=int), np.ones((1, 2))),
    ),
    "index_select of a matrix": (ShapeError, "vector", lambda: ops.index_select(T, 0, np.zeros((1, 1), dtype=int))),
    "index_add, source": (ShapeError, "source", lambda: ops.index_add(T, 0, np.array([0]), np.ones((1, 2)))),
    "take": (IndexingError, "index 6 .* size 6", lambda: ops.take(T, np.array([6]))),
    "masked_fill with numbers": (DTypeError, "mask != 0", lambda: ops.masked_fill(T, np.ones((2, 3)), 0.0)),
    "masked_fill with an array": (
        ShapeError,
        "write where",
        lambda: ops.masked_fill(T, np.ones((2, 3), dtype=bool), np.ones(3)),
    ),
    "masked_select with numbers": (DTypeError, "mask != 0", lambda: ops.masked_select(T, np.ones((2, 3)))),
    "index_put, values": (ShapeError, r"values of shape \(4,\)", lambda: ops.index_put(T, 0, np.ones(4))),
    "index_put, more axes": (ShapeError, "do not broadcast", lambda: ops.index_put(T, 0, np.ones((1, 3)))),
    "index_put, out of bounds": (IndexingError, "out of bounds", lambda: ops.index_put(T, [7], 0.0)),
    "one_hot of nothing": (UsageError, "write num_classes", lambda: ops.one_hot(np.zeros(0, dtype=int))),
    "embedding, padding": (UsageError, "none of the 2 rows", lambda: tz.embedding(np.array([0]), T, padding_idx=2)),
    "writing in place": (IndexingError, "not written in place", lambda: T.__setitem__(0, 1.0)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_index_raises_an_error_that_says_what_is_wrong(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_rows_are_added_as_numpy_adds_them(dtype):
    """To the last bit, whatever the layouts; what does not fit is left to NumPy."""
    rng = np.random.default_rng(0)
    for shape, index_shape in (((5, 3), (40,)), ((4, 2, 3), (3, 5)), ((1, 1), (9,)), ((7, 9), ())):
        index = rng.integers(-shape[0], shape[0], index_shape)
        rows = rng.standard_normal((*index_shape, *shape[1:])).astype(dtype)
        for x, at in ((rows, index), (np.asfortranarray(rows), index.astype(np.int32)), (rows[..., ::-1], index)):
            found, expected = np.ones(shape, dtype), np.ones(shape, dtype)
            assert scatter.add_rows(found, at, x)
            np.add.at(expected, at, x)
            assert (found == expected).all()
    table = np.zeros((3, 2))
    for refused in (np.array([3]), np.array([-4]), np.array([0.5]), np.array([True])):
        assert not scatter.add_rows(table, refused, np.ones((1, 2)))
    assert not scatter.add_rows(table.T, np.array([0]), np.ones((1, 3))) and not table.any()
    with pytest.raises(IndexingError):
        tz.getitem_adjoint(np.ones((1, 2)), index=np.array([3]), shape=(3, 2))

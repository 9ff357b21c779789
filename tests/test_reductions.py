"""Reductions, running sums and sorting where samples do not go: zeros, ties, NaN, nothing at all, float16."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from test_ops_oracle import same
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.ops.sampling import Sample
from torch_ops import ours, theirs

torch = oracles.load("torch")

NAN, INF = math.nan, math.inf


def gradient(fn: Callable[[Any], Any], x: Any) -> Any:
    """That of the sum of fn(x), as an array."""
    leaf = tz.tensor(np.array(x, dtype=np.float64), requires_grad=True)
    fn(leaf).sum().backward()
    return leaf.grad.numpy()


def hessian(fn: Callable[[Any], Any], x: Any) -> Any:
    return tz.hessian(lambda v: fn(v).sum())(tz.tensor(np.array(x, dtype=np.float64))).numpy()


def against_torch(name: str, *inputs: Any, **settings: Any) -> None:
    """Values and both orders, as PyTorch has them."""
    bound = Sample(*getattr(tz, name).signature.bind(inputs, settings))
    same(ours(name, bound), theirs(name, bound), 1e-9, f"{name} of {inputs}, {settings}")


# ---- products with zeros
@pytest.mark.parametrize("zeros", range(5))
def test_prod_has_both_derivatives_at_any_number_of_zeros(zeros: int) -> None:
    x = np.array([2.0, -3.0, 0.5, 4.0])
    x[:zeros] = 0
    others = [np.prod(np.delete(x, i)) for i in range(4)]
    pairs = [[0.0 if i == j else np.prod(np.delete(x, [i, j])) for j in range(4)] for i in range(4)]
    np.testing.assert_array_equal(gradient(tz.prod, x), others)
    np.testing.assert_allclose(hessian(tz.prod, x), pairs, rtol=1e-15, atol=0)


def test_prod_has_its_third_derivative_at_zeros() -> None:
    x = tz.tensor(np.array([0.0, 0.0, 0.0, 5.0]), requires_grad=True)
    y = tz.prod(x)
    for i in range(3):
        y = gradients([y], [x], [tz.tensor(np.array(1.0))], create_graph=True)[0][i]
    assert y.item() == 5.0


def test_prod_does_not_divide() -> None:
    tiny = np.array([1e-200, 1e-200, 1e300])
    np.testing.assert_allclose(gradient(tz.prod, tiny), [1e100, 1e100, 0.0], rtol=1e-12)
    np.testing.assert_array_equal(gradient(tz.prod, [INF, 2.0]), [2.0, INF])


ZEROS = list(itertools.product([0.0, 2.0], repeat=4))


@pytest.mark.parametrize("pattern", ZEROS)
def test_cumprod_has_both_derivatives_at_any_zeros(pattern: tuple[float, ...]) -> None:
    x = np.array(pattern) * [1.0, -1.5, 0.5, 3.0]
    w = np.array([1.0, -2.0, 3.0, 0.5])

    def rest(k: int, *gone: int) -> Any:
        return np.prod(np.delete(x[: k + 1], gone))

    first = [sum(w[k] * rest(k, i) for k in range(i, 4)) for i in range(4)]
    second = [
        [0 if i == j else sum(w[k] * rest(k, i, j) for k in range(max(i, j), 4)) for j in range(4)] for i in range(4)
    ]

    def weighted(v: Any) -> Any:
        return tz.cumprod(v, 0) * tz.tensor(w)

    np.testing.assert_allclose(gradient(weighted, x), first, rtol=1e-14, atol=0)
    np.testing.assert_allclose(hessian(weighted, x), second, rtol=1e-14, atol=0)


@pytest.mark.oracle("torch")
def test_products_with_zeros_are_those_of_torch() -> None:
    rng = np.random.default_rng(0)
    for axis in (None, 0, 1, (0, 1)):
        x = rng.standard_normal((4, 3, 2))
        x[0, 0], x[1, 0, 0], x[2, 1], x[0, 2] = 0, 0, 0, 0
        against_torch("prod", x, axis=axis)
        against_torch("prod", x, axis=axis, keepdims=True)
    for pattern in ZEROS:
        against_torch("cumprod", np.array(pattern) * rng.standard_normal(4), axis=0)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 31, 64])
def test_a_linear_recurrence_of_any_length(n: int) -> None:
    rng = np.random.default_rng(n)
    a, b = rng.standard_normal((2, n)), rng.standard_normal((2, n))
    expected, last = [], np.zeros(2)
    for i in range(n):
        last = a[:, i] * last + b[:, i]
        expected.append(last)
    np.testing.assert_allclose(tz.linear_recurrence(a, b), np.stack(expected, 1), rtol=1e-12, atol=1e-12)
    tz.testing.check_gradients(tz.linear_recurrence, a, b)


# ---- norms
P = [0.5, 1, 1.5, 2, "fro", 3, 7, -1, -2.5, INF, -INF]


@pytest.mark.parametrize("p", P)
def test_a_norm_has_no_slope_at_the_zero_vector(p: Any) -> None:
    for x in (np.zeros(3), np.zeros((2, 3)), np.zeros(())):
        assert not gradient(lambda v: tz.norm(v, p), x).any()
        assert not hessian(lambda v: tz.norm(v, p), x).any()
    rows = gradient(lambda v: tz.norm(v, p, 1), [[0.0, 0.0], [3.0, 4.0]])
    assert not rows[0].any() and np.isfinite(rows).all()


@pytest.mark.parametrize("p", P)
def test_a_norm_has_finite_derivatives_beside_a_zero_entry(p: Any) -> None:
    x = [3.0, 0.0, -4.0]
    assert np.isfinite(gradient(lambda v: tz.norm(v, p), x)).all() and gradient(lambda v: tz.norm(v, p), x)[1] == 0
    assert np.isfinite(hessian(lambda v: tz.norm(v, p), x)).all()


def test_the_euclidean_norm_curves_at_a_zero_entry() -> None:
    np.testing.assert_allclose(hessian(tz.norm, [3.0, 0.0, 4.0])[1], [0, 1 / 5, 0], atol=1e-16)


def test_the_count_of_what_is_not_zero_has_no_slope() -> None:
    x = tz.tensor([3.0, 0.0, -4.0], requires_grad=True)
    y = tz.norm(x, 0)
    y.backward()
    assert y.item() == 2.0 and x.grad is None


def test_the_maximum_norm_shares_its_gradient_among_ties() -> None:
    assert gradient(lambda v: tz.norm(v, INF), [2.0, -2.0, 1.0]).tolist() == [0.5, -0.5, 0.0]
    assert gradient(lambda v: tz.norm(v, -INF), [2.0, -1.0, 1.0]).tolist() == [0.0, -0.5, 0.5]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("p", [0, *P])
def test_norms_are_those_of_torch(p: Any) -> None:
    rng = np.random.default_rng(1)
    for shape, axis in [((5,), None), ((2, 3), None), ((2, 3), 1), ((2, 3, 2), (0, -1)), ((), None)]:
        against_torch("norm", rng.uniform(0.5, 2, shape) * rng.choice([-1, 1], shape), p=p, axis=axis)
    for x in ([0.0, 0.0], [0.0, 3.0, -1.0], [0.0, 0.0, 2.0]):  # at zeros PyTorch's second derivatives are not defined
        bound = Sample((np.array(x),), {"p": p, "axis": None, "keepdims": False})
        same(ours("norm", bound)[:2], theirs("norm", bound)[:2], 1e-12, f"{p}, {x}")


# ---- NaN and Inf
REDUCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "sum": (tz.sum, np.sum),
    "mean": (tz.mean, np.mean),
    "prod": (tz.prod, np.prod),
    "max": (tz.max, np.max),
    "min": (tz.min, np.min),
    "var": (tz.var, lambda x, **kw: np.var(x, ddof=1, **kw)),
    "std": (tz.std, lambda x, **kw: np.std(x, ddof=1, **kw)),
    "all": (tz.all, np.all),
    "any": (tz.any, np.any),
    "argmax": (tz.argmax, np.argmax),
    "argmin": (tz.argmin, np.argmin),
    "count_nonzero": (tz.count_nonzero, np.count_nonzero),
    "nansum": (tz.nansum, np.nansum),
    "nanmean": (tz.nanmean, np.nanmean),
    "norm": (tz.norm, np.linalg.norm),
    "cumsum": (tz.cumsum, np.cumsum),
    "cumprod": (tz.cumprod, np.cumprod),
    "logcumsumexp": (tz.logcumsumexp, np.logaddexp.accumulate),
    "cummax": (lambda x, axis: tz.cummax(x, axis).values, np.maximum.accumulate),
    "cummin": (lambda x, axis: tz.cummin(x, axis).values, np.minimum.accumulate),
    "sort": (lambda x, axis: tz.sort(x, axis).values, np.sort),
}
SPECIAL = st.lists(st.sampled_from([0.0, -0.0, 1.0, -2.0, NAN, INF, -INF]), min_size=2, max_size=6)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
@pytest.mark.parametrize("name", REDUCTIONS)
@given(SPECIAL)
def test_special_values_go_through_as_in_numpy(name: str, values: list[float]) -> None:
    fn, reference = REDUCTIONS[name]
    x = np.array([values, values[::-1]])
    with np.errstate(all="ignore"):
        expected = reference(x, axis=1)
        found = fn(tz.tensor(x), axis=1).numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@given(SPECIAL)
def test_special_values_go_through_logsumexp_and_median(values: list[float]) -> None:
    from scipy.special import logsumexp

    x = np.array(values)
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(tz.logsumexp(tz.tensor(x)).numpy(), logsumexp(x), rtol=1e-12)
    lower = NAN if np.isnan(x).any() else np.sort(x)[(len(x) - 1) // 2]
    value, index = tz.median(tz.tensor(x), 0)
    for found in (value.item(), tz.median(tz.tensor(x)).item(), x[index.item()]):
        np.testing.assert_equal(found + 0.0, lower + 0.0)  # which zero of two is the lower one depends on the processor


def test_nan_has_no_gradient_where_it_is_left_out() -> None:
    x = [[1.0, NAN], [NAN, NAN]]
    assert gradient(tz.nansum, x).tolist() == [[1.0, 0.0], [0.0, 0.0]]
    assert gradient(lambda v: tz.nanmean(v, 1), x).tolist() == [[1.0, 0.0], [0.0, 0.0]]


# ---- axes
OVER_AXES = {
    **{name: REDUCTIONS[name] for name in ("sum", "mean", "prod", "max", "min", "var", "std", "all", "any")},
    **{name: REDUCTIONS[name] for name in ("count_nonzero", "nansum", "nanmean")},
    "norm": (tz.norm, np.linalg.vector_norm),
    "logsumexp": (tz.logsumexp, lambda x, **kw: np.log(np.sum(np.exp(x), **kw))),
}


@pytest.mark.parametrize("name", OVER_AXES)
def test_every_choice_of_axes(name: str) -> None:
    fn, reference = OVER_AXES[name]
    x = np.random.default_rng(5).standard_normal((2, 3, 4))
    for axes in itertools.chain.from_iterable(itertools.combinations(range(3), n) for n in (1, 2, 3)):
        for keepdims in (False, True):
            expected = reference(x, axis=axes, keepdims=keepdims)
            spellings: list[Any] = [axes, list(axes), axes[::-1], tuple(a - 3 for a in axes)]
            spellings += [axes[0], axes[0] - 3, np.int64(axes[0])] if len(axes) == 1 else []
            spellings += [None] if len(axes) == 3 else []
            for axis in spellings:
                found = fn(tz.tensor(x), dim=axis, keepdim=keepdims)
                np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12)
                assert found.shape == expected.shape


# ---- nothing to reduce
def test_what_an_empty_reduction_gives() -> None:
    for shape, axis in [((0,), None), ((0, 2), 0), ((2, 0), 1), ((0, 0), (0, 1))]:
        x = tz.zeros(shape)
        kept = x.sum(axis=axis).shape
        for fn, value in [(tz.sum, 0.0), (tz.prod, 1.0), (tz.nansum, 0.0), (tz.logsumexp, -INF), (tz.norm, 0.0)]:
            out = fn(x, axis=axis)
            assert out.shape == kept and (out.numpy() == value).all()
        assert np.isnan(tz.mean(x, axis=axis).numpy()).all()
        assert (tz.count_nonzero(x, axis=axis).numpy() == 0).all()
        assert tz.all(x, axis=axis).numpy().all() and not tz.any(x, axis=axis).numpy().any()


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin", "median"])
def test_an_empty_extreme_names_the_axis(name: str) -> None:
    for shape, axis in [((0,), None), ((3, 0), 1), ((0, 2), 0)]:
        with pytest.raises(ShapeError, match=rf"{name}: .*axis={axis}" if "arg" not in name else "no values along"):
            getattr(tz, name)(tz.zeros(shape), axis=axis)
    assert getattr(tz, name)(tz.zeros((0, 2)), 1) is not None  # there is nothing to find an extreme for


def test_no_axes_reduce_nothing() -> None:
    x = tz.tensor([[1.0, -2.0]])
    for fn in (tz.sum, tz.mean, tz.prod, tz.max, tz.min, tz.logsumexp):
        assert fn(x, axis=()).tolist() == x.tolist()


def test_a_0_d_array_has_an_axis_to_reduce_and_sort() -> None:
    x = tz.tensor(2.0)
    for fn in (tz.sum, tz.mean, tz.prod, tz.max, tz.min, tz.logsumexp, tz.norm, tz.nansum, tz.nanmean):
        assert fn(x, axis=0).item() == fn(x, axis=(-1,), keepdims=True).item() == 2.0
    for fn in (tz.cumsum, tz.cumprod, tz.logcumsumexp):
        assert (fn(x, 0).shape, fn(x, -1).item()) == ((), 2.0)
    for fn in (tz.sort, tz.cummax, tz.cummin, tz.median):
        values, indices = fn(x, axis=0)
        assert (values.shape, values.item(), indices.item()) == ((), 2.0, 0)
    assert tz.topk(x, 1).values.item() == tz.kthvalue(x, 1).values.item() == 2.0
    with pytest.raises(TinygradZooError, match="out of bounds"):
        tz.sum(x, axis=1)


# ---- dtypes
def test_integers_and_booleans_add_up_in_int64() -> None:
    for dtype in ("bool", "uint8", "int8", "int32", "int64"):
        x = tz.tensor(np.ones((300, 2), dtype))
        for fn in (tz.sum, tz.prod, tz.cumsum, tz.cumprod, tz.nansum):
            assert fn(x, axis=0).dtype == np.int64
        assert tz.sum(x).item() == 600 and tz.cumsum(x, 0)[-1, 0].item() == 300
        assert tz.max(x).dtype == tz.cummax(x, 0).values.dtype == tz.sort(x, 0).values.dtype == np.dtype(dtype)
    assert tz.trace(tz.tensor(np.full((2, 2), 200, np.uint8))).item() == 400
    assert tz.mean(tz.tensor([1, 2])).item() == 1.5


def test_a_dtype_to_reduce_in() -> None:
    x = tz.tensor(np.full(3, 1e30, "float32"), requires_grad=True)
    for fn in (tz.prod, lambda v, dtype: tz.cumprod(v, 0, dtype)[-1]):
        y = fn(x, dtype="float64")
        assert y.dtype == np.float64 and y.item() == pytest.approx(1e90)
    tz.sum(x, dtype="float64").backward()
    assert x.grad.dtype == np.float32 and x.grad.tolist() == [1.0] * 3
    assert tz.mean(tz.tensor([1, 2]), dtype="float32").dtype == np.float32
    assert tz.sum(tz.tensor([1.5, 1.5]), dtype="int64").item() == 2
    with pytest.raises(DTypeError, match="floating-point dtype"):
        tz.mean(tz.tensor([1, 2]), dtype="int64")
    with pytest.raises(DTypeError, match="sum: expected a dtype"):
        tz.sum(x, dtype="complex64")


def test_float16_does_not_overflow_on_the_way() -> None:
    def half(values: Any) -> Any:
        return tz.tensor(np.array(values, dtype=np.float16), requires_grad=True)

    cases = {
        "sum": (tz.sum, np.tile([60000.0, -60000.0, 1.0], 3), 3.0),
        "prod": (tz.prod, [200.0, 300.0, 1 / 1024], 58.59375),
        "norm": (tz.norm, [600.0, 800.0], 1000.0),
        "norm of 3": (lambda x: tz.norm(x, 3), [600.0, 600.0], 756.0),
        "std": (tz.std, [0.0, 1000.0, 2000.0], 1000.0),
        "logsumexp": (tz.logsumexp, np.zeros(70000), np.log(70000)),
        "cumsum": (lambda x: tz.cumsum(x, 0)[-1], np.ones(4096), 4096.0),
        "cumprod": (lambda x: tz.cumprod(x, 0)[-1], [200.0, 300.0, 1 / 1024], 58.59375),
        "var": (tz.var, [0.0, 300.0, 0.0, 300.0], 30000.0),
    }
    for name, (fn, values, expected) in cases.items():
        x = half(values)
        y = fn(x)
        y.backward()
        assert y.dtype == x.grad.dtype == np.float16 and y.item() == pytest.approx(expected, rel=1e-3), name
        assert np.isfinite(x.grad.numpy()).all(), name


# ---- ties, and the order of sorting
def test_ties_keep_the_order_of_their_indices() -> None:
    x = tz.tensor([2.0, 1.0, 2.0, 1.0])
    assert tz.sort(x).indices.tolist() == [1, 3, 0, 2]
    assert tz.sort(x, descending=True).indices.tolist() == [0, 2, 1, 3]
    assert tz.argsort(x, descending=True).tolist() == [0, 2, 1, 3]
    assert tz.topk(x, 3).indices.tolist() == [0, 2, 1]
    assert tz.topk(x, 3, largest=False).indices.tolist() == [1, 3, 0]
    assert tz.kthvalue(x, 2).indices.item() == 3 and tz.median(x, 0).indices.item() == 3
    assert tz.cummax(x, 0).indices.tolist() == [0, 0, 2, 2]
    assert tz.cummin(x, 0).indices.tolist() == [0, 1, 1, 3]


def test_the_gradient_goes_to_the_one_that_was_taken() -> None:
    x = [2.0, 1.0, 2.0, 1.0]
    w = tz.tensor(np.array([1.0, 2.0, 3.0, 4.0]))
    assert gradient(lambda v: tz.sort(v).values * w, x).tolist() == [3.0, 1.0, 4.0, 2.0]
    assert gradient(lambda v: tz.topk(v, 1).values, x).tolist() == [1.0, 0.0, 0.0, 0.0]
    assert gradient(lambda v: tz.cummax(v, 0).values * w, x).tolist() == [3.0, 0.0, 7.0, 0.0]
    assert gradient(lambda v: tz.cummin(v, 0).values * w, x).tolist() == [1.0, 5.0, 0.0, 4.0]
    assert gradient(lambda v: tz.kthvalue(v, 1).values, x).tolist() == [0.0, 1.0, 0.0, 0.0]
    assert gradient(tz.median, x).tolist() == [0.0, 0.0, 0.0, 1.0]
    assert gradient(lambda v: tz.max(v), x).tolist() == [0.5, 0.0, 0.5, 0.0]
    for fn in (lambda v: tz.sort(v).values, lambda v: tz.cummax(v, 0).values, tz.median):
        assert not hessian(fn, x).any()


@pytest.mark.parametrize("fn", [tz.max, tz.min])
def test_an_extreme_that_is_nan_has_no_gradient(fn: Callable[..., Any]) -> None:
    assert np.isnan(fn(tz.tensor([1.0, NAN, 2.0])).item())
    assert gradient(fn, [1.0, NAN, 2.0]).tolist() == [0.0, 0.0, 0.0]
    assert gradient(lambda x: fn(x, 1), [[1.0, NAN], [5.0, 5.0]]).tolist() == [[0.0, 0.0], [0.5, 0.5]]


@pytest.mark.parametrize(("fn", "ufunc"), [(tz.cummax, np.maximum), (tz.cummin, np.minimum)])
def test_running_extremes_are_the_entries_at_their_indices(fn: Callable[..., Any], ufunc: Any) -> None:
    """The same on both devices, with ties and NaN, at any length."""
    rng = np.random.default_rng(6)
    for n in (1, 2, 3, 7, 8, 9, 40):
        x = rng.integers(-2, 3, (3, n)) * 1.0
        x[rng.random((3, n)) < 0.1] = NAN
        for device in ("cpu", "cupysim"):
            values, indices = (a.to("cpu").numpy() for a in fn(tz.tensor(x, device=device), 1))
            np.testing.assert_array_equal(values, ufunc.accumulate(x, 1))
            np.testing.assert_array_equal(values, np.take_along_axis(x, indices, 1))
            last = [
                [max(j for j in range(i + 1) if row[j] == v or row[j] != row[j]) for i, v in enumerate(vs)]
                for row, vs in zip(x, values, strict=True)
            ]
            assert indices.tolist() == last


def test_nan_counts_as_the_largest() -> None:
    x = tz.tensor([1.0, NAN, INF, NAN, -1.0])
    assert tz.sort(x).indices.tolist() == [4, 0, 2, 1, 3]
    assert tz.sort(x, descending=True).indices.tolist() == [1, 3, 2, 0, 4]
    assert tz.topk(x, 1).indices.item() == 1 and tz.median(x, 0).indices.item() == 1
    assert tz.argmax(x).item() == tz.argmin(x).item() == 1
    assert tz.cummax(x, 0).indices.tolist() == [0, 1, 1, 3, 3]
    assert tz.searchsorted(tz.tensor([1.0, INF, NAN]), x).tolist() == [0, 2, 1, 2, 0]
    assert tz.searchsorted(tz.tensor([1.0, INF, NAN]), x, right=True).tolist() == [1, 3, 2, 3, 0]


@pytest.mark.oracle("torch")
def test_ties_and_nan_are_those_of_torch() -> None:
    rng = np.random.default_rng(2)
    for special in ([0.0, 1.0, 2.0], [0.0, 1.0, NAN, -INF]):
        for shape, axis in [((9,), 0), ((4, 5), 0), ((4, 5), 1), ((3, 1, 4), -1)]:
            x = rng.choice(special, shape)
            for descending in (False, True):
                against_torch("sort", x, axis=axis, descending=descending)
            against_torch("cummax", x, axis=axis)
            against_torch("cummin", x, axis=axis)
            np.testing.assert_array_equal(tz.median(x, axis).values, torch.median(torch.tensor(x), axis).values)
            np.testing.assert_array_equal(tz.topk(x, 1, axis).values, torch.topk(torch.tensor(x), 1, axis).values)


@pytest.mark.oracle("torch")
def test_searchsorted_is_that_of_torch_at_equal_entries() -> None:
    rng = np.random.default_rng(3)
    for n, right in itertools.product([1, 2, 3, 7, 8], [False, True]):
        rows, values = np.sort(rng.integers(0, 4, (3, n)), -1), rng.integers(-1, 5, (3, 6))
        theirs_ = torch.searchsorted(torch.tensor(rows), torch.tensor(values), right=right)
        np.testing.assert_array_equal(tz.searchsorted(rows, values, right=right), theirs_)
        theirs_ = torch.searchsorted(torch.tensor(rows[0]), torch.tensor(values), right=right)
        np.testing.assert_array_equal(tz.searchsorted(rows[0], values, right=right), theirs_)


# ---- running sums over wide ranges
def test_logcumsumexp_is_stable() -> None:
    x = tz.tensor(np.array([-INF, -1e4, 1e4, -INF, 1e4, 0.0]), requires_grad=True)
    y = tz.logcumsumexp(x, 0)
    np.testing.assert_allclose(y.numpy(), [-INF, -1e4, 1e4, 1e4, 1e4 + np.log(2), 1e4 + np.log(2)], rtol=1e-15)
    y[1:].sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), [0.0, 1.0, 3.0, 0.0, 1.0, 0.0], rtol=1e-12)
    assert not gradient(lambda v: tz.logcumsumexp(v, 0), [-INF, -INF]).any()


@pytest.mark.oracle("torch")
def test_running_sums_are_those_of_torch_over_wide_ranges() -> None:
    rng = np.random.default_rng(4)
    for scale in (1.0, 30.0):
        against_torch("logcumsumexp", scale * rng.standard_normal((3, 7)), axis=1)
    against_torch("logsumexp", 300 * rng.standard_normal((3, 7)), axis=(0, 1))
    for correction in (0, 1, 2, 0.5, -1, 2.9):
        for name in ("var", "std"):
            against_torch(name, rng.standard_normal((3, 4)), axis=0, correction=correction)
            against_torch(name, rng.standard_normal((3, 4)), axis=(0, 1), correction=correction, keepdims=True)


# ---- errors
BAD: dict[str, tuple[type[TinygradZooError], str, Callable[[], Any]]] = {
    "axis": (ShapeError, "out of bounds", lambda: tz.prod(tz.ones((2, 3)), axis=2)),
    "axis twice": (TinygradZooError, "twice", lambda: tz.prod(tz.ones((2, 3)), axis=(0, -2))),
    "axis as a fraction": (DTypeError, "norm", lambda: tz.norm(tz.ones(3), axis=0.5)),
    "axis as a boolean": (DTypeError, "axis is an integer", lambda: tz.std(tz.ones((2, 3)), True)),
    "too few for the correction": (UsageError, "std: 2 values .* by 2", lambda: tz.std(tz.ones(2), correction=2)),
    "norm of integers": (DTypeError, "floating-point", lambda: tz.norm(tz.tensor([1, 2]))),
    "nuclear norm": (UsageError, "matrix_norm", lambda: tz.norm(tz.ones((2, 2)), "nuc")),
    "maximum norm of nothing": (ShapeError, "axis=1", lambda: tz.norm(tz.ones((2, 0)), INF, 1)),
    "k too large": (UsageError, "from 0 to the 3 values", lambda: tz.topk(tz.ones(3), 4)),
    "k below 0": (UsageError, "got -1", lambda: tz.topk(tz.ones(3), -1)),
    "kth of none": (UsageError, "rank 4", lambda: tz.kthvalue(tz.ones(3), 4)),
    "kth from 0": (UsageError, "rank 0", lambda: tz.kthvalue(tz.ones(3), 0)),
    "recurrence shapes": (ShapeError, "one shape", lambda: tz.linear_recurrence(tz.ones(3), tz.ones(2))),
    "search in rows": (ShapeError, "same axes before", lambda: tz.searchsorted(tz.ones((2, 3)), tz.ones((3, 3)))),
    "search side": (UsageError, "side='left' or", lambda: tz.searchsorted(tz.ones(3), tz.ones(1), side="middle")),
    "search sorter": (ShapeError, "sorter", lambda: tz.searchsorted(tz.ones(3), tz.ones(1), tz.tensor([0]))),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_raises_the_typed_error(case: str) -> None:
    kind, message, call = BAD[case]
    with pytest.raises(kind, match=message):
        call()


def test_other_names_are_the_same_op() -> None:
    assert (tz.amax, tz.amin, tz.vector_norm) == (tz.max, tz.min, tz.norm)


@pytest.mark.parametrize("op", [tz.logsumexp, tz.logcumsumexp])
def test_the_slope_of_a_logarithm_of_sums_that_is_not_finite(op: Any) -> None:
    def slope(*values: float) -> Any:
        x = tz.tensor(np.array(values), requires_grad=True)
        with np.errstate(all="ignore"):
            op(x, axis=0).sum().backward()
        return x.grad.numpy()

    inf, nan = np.inf, np.nan
    assert slope(-inf, -inf).tolist() == [0.0, 0.0]
    assert np.isnan(slope(3.0, inf)[1])  # of inf - inf, as PyTorch
    assert np.isnan(slope(0.0, nan, 0.0)).all()

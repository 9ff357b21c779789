"""New tensors: values, dtypes and devices against NumPy and PyTorch; draws against their distributions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import creation, draws
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.tensor import Tensor

torch = oracles.load("torch")

DTYPES = ["float16", "float32", "float64", "int8", "int64", "uint8", "bool"]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- filled and counted


@pytest.mark.parametrize("dtype", DTYPES)
def test_filled_tensors_are_numpys(dtype: str) -> None:
    like = tz.tensor(np.ones((2, 3)), dtype=dtype)
    for made, expected in (
        (tz.zeros(2, 3, dtype=dtype), np.zeros((2, 3), dtype)),
        (tz.ones((2, 3), dtype=dtype), np.ones((2, 3), dtype)),
        (tz.full((2, 3), 7, dtype=dtype), np.full((2, 3), 7, dtype)),
        (tz.eye(3, dtype=dtype), np.eye(3, dtype=dtype)),
        (tz.eye(2, 4, k=1, dtype=dtype), np.eye(2, 4, 1, dtype=dtype)),
        (tz.zeros_like(like), np.zeros((2, 3), dtype)),
        (tz.ones_like(like), np.ones((2, 3), dtype)),
        (tz.full_like(like, 5), np.full((2, 3), 5, dtype)),
    ):
        assert type(made) is Tensor and made.dtype == expected.dtype and made.is_leaf and not made.requires_grad
        np.testing.assert_array_equal(made.numpy(), expected)


def test_the_dtype_of_a_filled_tensor_is_that_of_its_value() -> None:
    values = (3, 2.5, True, np.float64(1), np.int8(1))
    assert [tz.full(2, v).dtype.name for v in values] == ["int64", "float32", "bool", "float64", "int8"]
    assert tz.full_like([1.0, 2.0], 5).tolist() == [5.0, 5.0] and tz.full((), 2.0).shape == ()
    assert tz.zeros_like(tz.ones(2), dtype="int64").dtype == np.int64 and tz.zeros(0, 3).shape == (0, 3)


def test_what_takes_a_gradient_says_so() -> None:
    x = tz.zeros(2)
    for made in (
        *(tz.zeros(2, requires_grad=True), tz.ones(2, requires_grad=True), tz.full(2, 1.0, requires_grad=True)),
        *(tz.zeros_like(x, requires_grad=True), tz.ones_like(x, requires_grad=True), tz.eye(2, requires_grad=True)),
        *(tz.full_like(x, 2, requires_grad=True), tz.arange(2.0, requires_grad=True)),
        *(tz.linspace(0, 1, 2, requires_grad=True), tz.logspace(0, 1, 2, requires_grad=True)),
        *(tz.rand(2, rng=rng(), requires_grad=True), tz.randn(2, rng=rng(), requires_grad=True)),
        *(tz.rand_like(x, rng=rng(), requires_grad=True), tz.randn_like(x, rng=rng(), requires_grad=True)),
        tz.normal(0.0, 1.0, 2, rng=rng(), requires_grad=True),
        tz.uniform(0.0, 1.0, 2, rng=rng(), requires_grad=True),
        tz.tensor([1.0], requires_grad=True),
    ):
        assert made.requires_grad and made.is_leaf
        (made * 2).sum().backward()
        assert (made.grad.numpy() == 2).all()


@pytest.mark.parametrize(
    "arguments", [(5,), (2, 7), (7, 2, -2), (0.0, 1.0, 0.25), (2.5,), (5, 2), (0, 1, 0.1), (np.int64(3),), (-3, 3)]
)
def test_arange_is_numpys(arguments: tuple[Any, ...]) -> None:
    made, expected = tz.arange(*arguments), np.arange(*arguments)
    assert made.dtype == (np.float32 if expected.dtype.kind == "f" else np.int64)
    np.testing.assert_array_equal(made.numpy(), expected.astype(made.dtype))
    assert tz.arange(*arguments, dtype="float64").numpy().tolist() == expected.astype(np.float64).tolist()


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_linspace_and_logspace_are_numpys_rounded_once(dtype: str) -> None:
    for endpoint in (True, False):
        for n in (0, 1, 2, 7):
            made = tz.linspace(-1, 2, n, endpoint=endpoint, dtype=dtype)
            np.testing.assert_array_equal(made.numpy(), np.linspace(-1, 2, n, endpoint=endpoint).astype(dtype))
            made = tz.logspace(-1, 2, n, base=2.0, endpoint=endpoint, dtype=dtype)
            np.testing.assert_array_equal(
                made.numpy(), np.logspace(-1, 2, n, base=2, endpoint=endpoint).astype(dtype), strict=True
            )


@pytest.mark.oracle("torch")
def test_against_torch() -> None:
    for name, arguments in (
        ("zeros", (2, 3)),
        ("ones", ((2, 3),)),
        ("full", ((2,), 3)),
        ("full", ((2,), 3.0)),
        ("full", ((2,), True)),
        ("eye", (3,)),
        ("eye", (2, 3)),
        ("arange", (5,)),
        ("arange", (0.0, 1.0, 0.25)),
        ("arange", (7, 2, -2)),
        ("linspace", (0, 1, 7)),
        ("logspace", (0, 2, 5)),
    ):
        ours, theirs = getattr(tz, name)(*arguments), getattr(torch, name)(*arguments)
        assert str(theirs.dtype) == f"torch.{ours.dtype}" and ours.shape == tuple(theirs.shape)
        np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


def test_asarray_copies_only_where_it_must() -> None:
    array, x = np.ones(2), tz.ones(2)
    assert tz.asarray(x) is x and tz.asarray(x, dtype="float32") is x and tz.asarray(x, copy=False) is x
    assert np.shares_memory(tz.asarray(array, copy=False).data, array)
    for copied in (tz.asarray(array, copy=True), tz.asarray(array, dtype="float32"), tz.asarray([1.0, 1.0])):
        assert not np.shares_memory(copied.data, array) and copied.tolist() == [1.0, 1.0]
    with pytest.raises(UsageError, match="copy=False, but ndarray data needs one: write copy=None"):
        tz.asarray(array, dtype="float32", copy=False)


def test_from_numpy_shares_memory_whatever_the_array() -> None:
    for array in (np.zeros(2), np.zeros((2, 3), "int8").T, np.zeros(()), np.zeros((0, 2)), np.zeros(4)[::-2]):
        x = tz.from_numpy(array)
        array[...] = 3
        assert x.data is array and x.tolist() == array.tolist()


def test_everything_public_is_exported() -> None:
    for module in (creation, draws):
        assert {name for name, f in vars(module).items() if getattr(f, "__module__", "") == module.__name__} >= {
            *module.__all__
        }
        assert all(getattr(tz, name) is getattr(module, name) and name in tz.__all__ for name in module.__all__)


# ---- drawn at random


DRAWS: dict[str, tuple[Callable[[Any], Tensor], Any]] = {
    "rand": (lambda r: tz.rand(20_000, rng=r), stats.uniform),
    "randn": (lambda r: tz.randn(200, 100, rng=r), stats.norm),
    "rand float64": (lambda r: tz.rand(20_000, rng=r, dtype="float64"), stats.uniform),
    "rand_like": (lambda r: tz.rand_like(tz.zeros(20_000), rng=r), stats.uniform),
    "randn_like": (lambda r: tz.randn_like(tz.zeros(20_000), rng=r), stats.norm),
    "normal": (lambda r: tz.normal(3.0, 2.0, (20_000,), rng=r), stats.norm(3, 2)),
    "uniform": (lambda r: tz.uniform(-1.0, 4.0, 20_000, rng=r), stats.uniform(-1, 5)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_have_their_distribution_and_come_from_the_rng_alone(name: str) -> None:
    draw, distribution = DRAWS[name]
    x, same, other = draw(rng(1)), draw(rng(1)), draw(rng(2))
    assert x.tolist() == same.tolist() != other.tolist() and not x.requires_grad
    assert stats.kstest(x.numpy().ravel(), distribution.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_uniform_numbers_stay_below_one_in_every_dtype(dtype: str) -> None:
    class Highest(np.random.Generator):
        def random(self, size: Any = None, **_: Any) -> Any:  # type: ignore[override]
            return np.full(size, 1 - 2.0**-53)

    x = tz.rand(3, rng=Highest(np.random.PCG64(0)), dtype=dtype)
    assert x.dtype == dtype and (x.numpy() < 1).all() and (x.numpy() > 0.99).all()


def test_parameters_broadcast_and_give_the_dtype() -> None:
    mean, std = np.array([[0.0], [100.0]]), np.array([1e-6, 1e-6, 1e-6])
    x = tz.normal(mean, std, rng=rng())
    assert x.shape == (2, 3) and x.dtype == np.float64
    np.testing.assert_allclose(x.numpy(), mean + 0 * std, atol=1e-4)
    assert tz.normal(mean, std, (5, 2, 3), rng=rng()).shape == (5, 2, 3)
    assert tz.uniform(tz.zeros(3), 1, rng=rng()).dtype == np.float32 and tz.normal(0, 1, 2, rng=rng()).dtype.kind == "f"
    assert tz.normal(0.0, 1.0, 2, rng=rng(), dtype="float16").dtype == np.float16
    with pytest.raises(ShapeError):
        tz.normal(mean, std, (2, 2), rng=rng())


def test_whole_numbers_are_as_likely_each() -> None:
    for x in (tz.randint(2, 8, (60_000,), rng=rng()), tz.randint(6, (60_000,), rng=rng()) + 2):
        assert x.dtype == np.int64 and set(np.unique(x.numpy())) == {2, 3, 4, 5, 6, 7}
        assert stats.chisquare(np.bincount(x.numpy())[2:]).pvalue > 1e-3
    assert tz.randint(0, 128, (5,), rng=rng(), dtype="int8").dtype == np.int8
    assert tz.randint(0, 2, (), rng=rng()).shape == ()


def test_permutations_are_as_likely_each() -> None:
    assert sorted(tz.randperm(10, rng=rng()).tolist()) == list(range(10)) and tz.randperm(0, rng=rng()).shape == (0,)
    r = rng()
    counts: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(tz.randperm(3, rng=r).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6 and stats.chisquare(list(counts.values())).pvalue > 1e-3


def test_bernoulli_and_multinomial_have_their_frequencies() -> None:
    p = np.array([0.0, 0.2, 0.7, 1.0])
    x = tz.bernoulli(p, (20_000, 4), rng=rng())
    assert x.dtype == np.float64 and set(np.unique(x.numpy())) == {0.0, 1.0}
    np.testing.assert_allclose(x.numpy().mean(0), p, atol=0.015)
    assert tz.bernoulli([0.5, 0.5], rng=rng()).dtype == np.float32
    weights = np.array([3.0, 0.0, 1.0, 4.0])
    drawn = tz.multinomial(weights, 40_000, replacement=True, rng=rng())
    counts = np.bincount(drawn.numpy(), minlength=4)
    assert drawn.dtype == np.int64 and counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 40_000 * weights[[0, 2, 3]] / 8).pvalue > 1e-3


def test_multinomial_without_replacement_draws_one_after_the_other() -> None:
    """P(i then j) = pᵢ pⱼ / (1 - pᵢ)"""
    p = np.array([0.5, 0.3, 0.2])
    pairs = tz.multinomial(np.tile(p * 7, (30_000, 1)), 2, rng=rng()).numpy()
    assert pairs.shape == (30_000, 2) and (pairs[:, 0] != pairs[:, 1]).all()
    orders = [(i, j) for i in range(3) for j in range(3) if i != j]
    counts = [int(((pairs == order).all(axis=1)).sum()) for order in orders]
    expected = [30_000 * p[i] * p[j] / (1 - p[i]) for i, j in orders]
    assert stats.chisquare(counts, expected).pvalue > 1e-3
    assert sorted(tz.multinomial(p, 3, rng=rng()).tolist()) == [0, 1, 2]
    rows = tz.multinomial([[1.0, 0.0], [0.0, 1.0]], 3, replacement=True, rng=rng())
    assert rows.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(
    "draw",
    [
        lambda r, x: tz.randn(3, rng=r),
        lambda r, x: tz.rand_like(x, rng=r),
        lambda r, x: tz.bernoulli(0.5, (3,), rng=r),
        lambda r, x: tz.normal(1.0, 2.0, (3,), rng=r),
        lambda r, x: tz.randint(5, (3,), rng=r),
    ],
    ids=["randn", "rand_like", "bernoulli", "normal", "randint"],
)
def test_a_checkpoint_draws_the_same_again(draw: Callable[[Any, Any], Tensor]) -> None:
    def noisy(x: Any, r: np.random.Generator) -> Any:
        return ((x + 1) * draw(r, x)).sin()

    x, y = (tz.tensor([0.5, 1.0, 2.0], requires_grad=True) for _ in range(2))
    r = rng(3)
    out = tz.checkpoint(lambda x: noisy(x, r), x)
    out.sum().backward()
    plain = noisy(y, rng(3))
    plain.sum().backward()
    assert out.tolist() == plain.tolist() and x.grad.tolist() == y.grad.tolist()

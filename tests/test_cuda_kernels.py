"""CUDA kernels in the emulation: against NumPy in float64, at ragged sizes, in several orders of threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.special

from tinygrad_zoo.kernels import elementwise, normalize, optimizer, random, scatter, softmax
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}


@pytest.fixture(params=SEEDS, ids=lambda seed: f"order{seed}")
def order(request: pytest.FixtureRequest) -> Any:
    with schedule(request.param):
        yield


def device(x: Any, dtype: str | None = None) -> Any:
    return None if x is None else cupysim.asarray(np.asarray(x, dtype))


def near(made: Any, expected: Any, dtype: str) -> None:
    tolerance = TOLERANCE[dtype]
    assert made.dtype == dtype
    scale = max(1.0, float(np.abs(expected).max(initial=0)))
    np.testing.assert_allclose(made.get(), expected, rtol=tolerance, atol=tolerance * scale)


def draw(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).standard_normal(shape)


# ---- softmax and cross-entropy
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "axis"), [((3, 5), -1), ((2, 700), 1), ((2, 7, 33), 1), ((1, 1025), -1), ((5,), 0)])
def test_softmax(shape: tuple[int, ...], axis: int, dtype: str, order: None) -> None:
    x, g = 10 * draw(*shape), draw(*shape, seed=1)
    out, logs = softmax.softmax(device(x, dtype), axis), softmax.log_softmax(device(x, dtype), axis)
    p = scipy.special.softmax(x.astype(dtype).astype(float), axis)
    near(out, p, dtype)
    near(logs, np.log(p), dtype)
    gx = softmax.softmax_pulled(device(g, dtype), device(p, dtype), axis)
    near(gx, p * (g - (g * p).sum(axis, keepdims=True)), dtype)
    gx = softmax.log_softmax_pulled(device(g, dtype), device(np.log(p), dtype), axis)
    near(gx, g - p * g.sum(axis, keepdims=True), dtype)


def test_softmax_of_large_numbers_and_of_none(order: None) -> None:
    x = np.array([[1e4, -1e4, 1e4], [-np.inf, 0, 0], [-1e4, -np.inf, -1e4], [np.nan, 0, 1]])
    made = softmax.softmax(device(x)).get()
    assert made[:3].tolist() == [[0.5, 0, 0.5], [0, 0.5, 0.5], [0.5, 0, 0.5]] and np.isnan(made[3]).all()
    assert softmax.softmax(device(np.empty((0, 3)))).shape == (0, 3)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("weighted", "smoothing"), [(False, 0.0), (True, 0.0), (True, 0.1), (False, 0.3)])
@pytest.mark.parametrize("classes", [3, 300])
def test_cross_entropy(classes: int, weighted: bool, smoothing: float, reduction: str, dtype: str) -> None:
    n = 5
    x, target = draw(n, classes), np.array([0, 2, -100, classes - 1, 1])
    weight = np.linspace(0.5, 2, classes) if weighted else None
    settings = {"ignore_index": -100, "label_smoothing": smoothing}
    host = softmax.cross_entropy(x, target, weight, reduction=reduction, **settings)
    assert host is not None
    with schedule(1):
        arrays = device(x, dtype), device(target), device(weight, dtype)
        made = softmax.cross_entropy(*arrays, reduction=reduction, **settings)
        assert made is not None
        near(made.loss, host.loss, dtype)
        near(made.normalizers, host.normalizers, dtype)
        g = np.linspace(1, 2, n) if reduction == "none" else np.array(1.5)
        pulled = softmax.cross_entropy_pulled(device(g, dtype), *arrays, made.normalizers, made.share, **settings)
        expected = softmax.cross_entropy_pulled(g, x, target, weight, host.normalizers, host.share, **settings)
        near(pulled, expected, dtype)


def test_a_target_that_is_no_class_gives_nan() -> None:
    settings: dict[str, Any] = {"ignore_index": -100, "label_smoothing": 0.0}
    arrays = device(np.zeros((3, 2))), device(np.array([2, -1, 0])), None
    made = softmax.cross_entropy(*arrays, reduction="none", **settings)
    assert made is not None and np.isnan(made.loss.get()).tolist() == [True, True, False]


# ---- functions of one number
SETTINGS = {"softplus": (2.0, 0.0), "swish": (1.5, 0.0), "elu": (0.7, 1.3), "celu": (0.7, 0.0)}
NAMES = sorted({"tanh", "sigmoid", "relu", "logsigmoid", "mish", "gelu", "gelu_tanh", *SETTINGS})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_functions_of_one_number(name: str, dtype: str) -> None:
    a, b = SETTINGS.get(name, (0.0, 0.0))
    x = np.concatenate([np.linspace(-6, 6, 290), [-1e4, 1e4, 0.0, -30, 30, 90, -90]]).reshape(-1, 3).astype(dtype)
    g, bias = draw(*x.shape, seed=2).astype(dtype), np.array([0.1, -0.2, 0.3], dtype)
    wide = x.astype(float)
    near(elementwise.value(name, device(x), a, b), elementwise.value(name, wide, a, b), dtype)
    near(elementwise.biased(name, device(x), device(bias), a, b), elementwise.value(name, wide + bias, a, b), dtype)
    told = elementwise.value(name, wide, a, b) if name in ("tanh", "sigmoid", "relu") else wide
    expected = elementwise.pulled(name, g.astype(float), told, a, b)
    near(elementwise.pulled(name, device(g), device(told, dtype), a, b), expected, dtype)
    made = elementwise.biased_pulled(name, device(g), device(x), device(bias), a, b)
    wanted = elementwise.biased_pulled(name, g.astype(float), wide, bias.astype(float), a, b)
    assert made is not None and wanted is not None
    for found, right in zip(made, wanted, strict=True):
        near(found, right, dtype)
    assert np.isnan(elementwise.value(name, device(np.array([np.nan], dtype)), a, b).get()).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["swish", "mish", "gelu", "gelu_tanh", "elu", "celu", "softplus", "logsigmoid"])
def test_slopes_at_infinity(name: str, dtype: str) -> None:
    x, g = np.array([-np.inf, np.inf], dtype), np.ones(2, dtype)
    made = elementwise.pulled(name, device(g), device(x), *SETTINGS.get(name, (0.0, 0.0)))
    near(made, elementwise.pulled(name, g, x, *SETTINGS.get(name, (0.0, 0.0))), dtype)


# ---- optimizers: the same operations in the same order, so the same bits
STEPS: dict[str, tuple[Callable[..., None], int, dict[str, Any]]] = {
    "sgd": (optimizer.sgd, 0, {"lr": 0.1, "weight_decay": 0.01}),
    "momentum": (optimizer.sgd, 1, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    "nesterov": (optimizer.sgd, 1, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "adam": (optimizer.adam, 2, {"t": 3, "lr": 0.1, "weight_decay": 0.01}),
    "adamw": (optimizer.adam, 2, {"t": 3, "lr": 0.1, "weight_decay": 0.01, "decoupled": True}),
    "amsgrad": (optimizer.adam, 3, {"t": 3, "lr": 0.1}),
    "rmsprop": (optimizer.rmsprop, 1, {"lr": 0.1}),
    "centered, momentum": (optimizer.rmsprop, 3, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.1}),
    "adagrad": (optimizer.adagrad, 1, {"lr": 0.1}),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", STEPS)
def test_steps_of_optimizers_are_bitwise_the_cpus(name: str, dtype: str) -> None:
    step, states, settings = STEPS[name]
    p, g = draw(700).astype(dtype), draw(700, seed=1).astype(dtype)
    state = [np.abs(draw(700, seed=2 + k)).astype(dtype) for k in range(states)]
    on_device = [device(x) for x in (p, g, *state)]
    step(*on_device, **settings)
    host = [x.copy() for x in (p, g, *state)]
    step(*host, **settings)
    for made, right in zip(on_device, host, strict=True):
        assert np.array_equal(made.get(), right)
    assert not np.array_equal(host[0], p)


def test_an_average_is_bitwise_the_cpus() -> None:
    average, x = draw(300), draw(300, seed=1)
    made = device(average)
    optimizer.ema(made, device(x), decay=0.9)
    optimizer.ema(average, x, decay=0.9)
    assert np.array_equal(made.get(), average)


# ---- random words
@pytest.mark.parametrize("size", [0, 1, 4, 1027])
def test_random_words_are_the_cpus(size: int, order: None) -> None:
    key = np.array([1, 2**32 - 1, 3, 2**31], np.uint32)
    assert np.array_equal(random.words(device(key), size).get(), random.words(key, size))


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_is_the_cpus(dtype: str, order: None) -> None:
    key, x = np.array([5, 6, 7, 8], np.uint32), draw(3, 347).astype(dtype)
    for p in (0.0, 0.25, 0.9):
        assert np.array_equal(random.dropout(device(x), device(key), p).get(), random.dropout(x, key, p))


# ---- rows added at places
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [1, 5, 40])
def test_rows_are_added_in_order(width: int, dtype: str, order: None) -> None:
    rng = np.random.default_rng(0)
    table, index = draw(6, width).astype(dtype), rng.integers(-6, 6, (50,))
    rows, made = draw(50, width, seed=1).astype(dtype), device(table)
    assert scatter.add_rows(made, device(index), device(rows))
    expected = np.zeros((6, width), dtype)
    np.add.at(expected, index, rows)
    assert np.array_equal(made.get(), table + expected)


# ---- normalisation
def affine(n: int) -> tuple[Any, Any]:
    return np.linspace(0.5, 1.5, n), np.linspace(-1, 1, n)


def compare(made: Any, expected: Any, dtype: str) -> None:
    for found, right in zip(made, expected, strict=True):
        near(found, right, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("with_affine", [True, False])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(("n", "width"), [(3, 7), (70, 33), (2, 1100)])
def test_norms_of_rows(n: int, width: int, centred: bool, with_affine: bool, dtype: str, order: None) -> None:
    x, g = 3 + draw(n, width), draw(n, width, seed=1)
    weight, bias = affine(width) if with_affine else (None, None)
    host = normalize.rows(x, weight, bias, width, 1e-5, centred=centred)
    pulled = normalize.rows_pulled(g, x, weight, host[1], width, centred=centred)
    x_, g_, weight_, bias_ = (device(a, dtype) for a in (x, g, weight, bias))
    made = normalize.rows(x_, weight_, bias_, width, 1e-5, centred=centred)
    compare(made, host, dtype)
    compare(normalize.rows_pulled(g_, x_, weight_, made[1], width, centred=centred), pulled, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("shape", "count"), [((2, 6, 5, 3), 3), ((3, 4), 2), ((2, 2, 300), 1)])
def test_norms_of_groups(shape: tuple[int, ...], count: int, dtype: str, order: None) -> None:
    x, g, (weight, bias) = 3 + draw(*shape), draw(*shape, seed=1), affine(shape[1])
    host = normalize.groups(x, weight, bias, count, 1e-5)
    pulled = normalize.groups_pulled(g, x, weight, host[1], count)
    x_, g_, weight_, bias_ = (device(a, dtype) for a in (x, g, weight, bias))
    made = normalize.groups(x_, weight_, bias_, count, 1e-5)
    compare(made, host, dtype)
    compare(normalize.groups_pulled(g_, x_, weight_, made[1], count), pulled, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shape", [(7, 3), (4, 5, 3, 3), (2, 2, 300)])
def test_norms_of_batches(shape: tuple[int, ...], fixed: bool, dtype: str) -> None:
    x, g, (weight, bias) = 3 + draw(*shape), draw(*shape, seed=1), affine(shape[1])
    statistics = np.stack(affine(shape[1])) if fixed else None
    moved = None if fixed else affine(shape[1])
    host = normalize.batch(x, weight, bias, 1e-5, statistics)
    pulled = normalize.batch_pulled(g, x, weight, host[1], fixed=fixed, of_statistics=moved)
    with schedule(1):
        x_, g_, weight_, bias_, statistics_ = (device(a, dtype) for a in (x, g, weight, bias, statistics))
        made = normalize.batch(x_, weight_, bias_, 1e-5, statistics_)
        compare(made[: 2 if fixed else 3], host[: 2 if fixed else 3], dtype)
        moved_ = None if moved is None else tuple(device(m, dtype) for m in moved)
        compare(normalize.batch_pulled(g_, x_, weight_, made[1], fixed=fixed, of_statistics=moved_), pulled, dtype)

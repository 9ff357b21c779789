"""kernels/{elementwise,softmax,normalize}: their digits, and that they give what the formulas give, in any parts."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import TinygradZooError
from tinygrad_zoo.kernels import elementwise, normalize, softmax, threads
from tinygrad_zoo.testing import op_laws

FOLDERS = (elementwise, softmax, normalize)
pytestmark = pytest.mark.skipif(
    elementwise.value("relu", np.ones(1)) is None, reason="kernels are turned off: there is nothing to compare"
)


@contextlib.contextmanager
def formulas() -> Iterator[None]:
    """Without kernels."""
    with pytest.MonkeyPatch.context() as patch:
        for folder in FOLDERS:
            patch.setattr(folder, "module", lambda package: None)
        yield


@contextlib.contextmanager
def in_parts(count: int) -> Iterator[None]:
    """Every kernel cut into `count` parts, whatever its size: the serial variant for 1, else the parallel one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "parts", lambda nanoseconds: count)
        yield


# ---- digits
def sigmoid_of(x: Any) -> Any:
    return np.where(x < 0, np.exp(x), 1) / (1 + np.exp(-np.abs(x)))


def mish_of(x: Any) -> Any:
    return x * np.tanh(np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0))


def normal_of(x: Any) -> Any:
    """Φ(x): SciPy's own loses the square of x in its rounding, and with it three digits of the tail."""
    tail = special.erfcx(np.abs(x).astype(np.float64) / np.sqrt(2)) / 2 * np.exp(-x * x / np.longdouble(2))
    return np.where(x < 0, tail, 1 - tail)


def gelu_slope_of(x: Any) -> Any:
    return special.ndtr(x) + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi)


def gelu_tanh_of(x: Any) -> Any:
    return x * sigmoid_of(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


# The function, its settings, what it is in NumPy's words, from where to where its values are normal numbers in float32
# and float64, and how many units in the last place it may be off.
VALUES: dict[str, tuple[tuple[float, ...], Callable[..., Any], tuple[float, float], float, float]] = {
    "exp": ((), np.exp, (-87.3, -708.3), 88.7, 1.5),
    "tanh": ((), np.tanh, (-30, -30), 30, 2.5),
    "sigmoid": ((), sigmoid_of, (-87.3, -708.3), 40, 3),
    "logsigmoid": ((), lambda x: np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x))), (-80, -700), 80, 4),
    "softplus": ((1.0,), lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))), (-80, -700), 80, 4),
    "swish": ((1.0,), lambda x: x * sigmoid_of(x), (-80, -700), 80, 4),
    "mish": ((), mish_of, (-80, -700), 80, 5),
    "gelu": ((), lambda x: x * normal_of(x), (-13, -37), 40, 16),
    "gelu_tanh": ((), gelu_tanh_of, (-3, -3), 10, 40),
    "elu": ((1.0, 1.0), lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))), (-80, -700), 10, 2.5),
    "celu": ((2.0,), lambda x: np.where(x > 0, x, 2 * np.expm1(np.minimum(x, 0) / 2)), (-80, -700), 10, 3),
}


def exact(function: Callable[..., Any], x: Any) -> Any:
    """In more digits than x has: float64 for float32, NumPy's long double for float64."""
    with np.errstate(all="ignore"):
        return function(x.astype(np.float64 if x.dtype == np.float32 else np.longdouble))


def off_by(made: Any, expected: Any) -> Any:
    """The largest difference, in units in the last place of the values that are normal numbers."""
    least = float(np.finfo(made.dtype).tiny)
    unit = np.spacing(np.maximum(np.abs(expected), least).astype(made.dtype))
    return (np.abs(made.astype(expected.dtype) - expected) / unit.astype(expected.dtype)).max()


def points(dtype: str, low: float, high: float) -> Any:
    """From low to high, and about 0 at every scale."""
    small = np.logspace(-30, 0, 40_001)
    return np.concatenate([np.linspace(low, high, 400_001), small, -small]).clip(low, high).astype(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", VALUES)
def test_the_last_digits_of_a_function(name: str, dtype: str) -> None:
    settings, function, lows, high, limit = VALUES[name]
    x = points(dtype, lows[dtype == "float64"], high)
    made = elementwise.value(name, x, *settings)
    assert made is not None and made.dtype == dtype
    assert off_by(made, exact(function, x)) <= limit


SLOPES: dict[str, tuple[tuple[float, ...], Callable[..., Any]]] = {
    "logsigmoid": ((), lambda x: sigmoid_of(-x)),
    "softplus": ((2.0,), lambda x: sigmoid_of(2 * x)),
    "swish": ((1.702,), lambda x: sigmoid_of(1.702 * x) * (1 + 1.702 * x * sigmoid_of(-1.702 * x))),
    "mish": ((), lambda x: (w := np.tanh(np.logaddexp(0, x))) + x * sigmoid_of(x) * (1 - w * w)),
    "gelu": ((), gelu_slope_of),
    "gelu_tanh": (
        (),
        lambda x: (
            sigmoid_of(u := 2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
            + x * sigmoid_of(u) * sigmoid_of(-u) * 2 * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)
        ),
    ),
    "elu": ((0.5, 2.0), lambda x: 2 * np.where(x > 0, 1, 0.5 * np.exp(np.minimum(x, 0)))),
    "celu": ((2.0,), lambda x: np.where(x > 0, 1, np.exp(np.minimum(x, 0) / 2))),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SLOPES)
def test_the_last_digits_of_a_slope(name: str, dtype: str) -> None:
    """In units of 1: near its zeros a slope is a difference."""
    settings, function = SLOPES[name]
    x = points(dtype, -60, 60)
    made = elementwise.pulled(name, np.ones_like(x), x, *settings)
    assert made is not None and np.abs(made - function(x.astype(np.float64))).max() <= 16 * np.finfo(dtype).eps


def test_a_tail_is_exact_in_relative_terms() -> None:
    x = np.linspace(-12.9, -2, 100_001)
    for dtype, limit in (("float32", 1e-6), ("float64", 2e-15)):
        at = x.astype(dtype)
        np.testing.assert_allclose(ops.gelu(at), at * normal_of(at.astype(np.longdouble)), rtol=limit)
        np.testing.assert_allclose(ops.sigmoid(6 * at), sigmoid_of((6 * at).astype(np.float64)), rtol=limit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [3, 1000, 100_003])
def test_the_last_digits_of_softmax(width: int, dtype: str) -> None:
    x = (30 * np.random.default_rng(0).standard_normal((4, width))).astype(dtype)
    x[1] += 1e4  # of which log_softmax must lose nothing more than float32 has
    x[2] = 0
    wide = x.astype(np.longdouble if dtype == "float64" else np.float64)
    shifted = wide - wide.max(1, keepdims=True)
    expected = np.exp(shifted) / np.exp(shifted).sum(1, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    eps = float(np.finfo(dtype).eps)
    off = (8 + np.sqrt(width) / 4 + np.abs(shifted)) * eps  # of sums of that length, of differences of that size
    assert (np.abs(ops.log_softmax(x) - logs) <= off).all()
    assert (np.abs(ops.softmax(x) - expected) <= off * expected + np.finfo(dtype).tiny).all()
    losses = ops.cross_entropy(x, np.zeros(4, int), reduction="none")
    assert (np.abs(losses + logs[:, 0]) <= off[:, 0]).all()


@pytest.mark.parametrize("op", [ops.layer_norm, ops.batch_norm, ops.group_norm, ops.batch_norm_with_statistics])
def test_a_large_mean_costs_no_digits(op: Any) -> None:
    """The normalised values of numbers about 1e4 with a spread of 1 are as exact as float32 has these numbers."""
    x = (1e4 + np.random.default_rng(0).standard_normal((64, 32, 33))).astype(np.float32)
    settings = {"num_groups": 4} if op is ops.group_norm else {"training": True} if op is ops.batch_norm else {}
    for laid in (x, np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)):
        made, expected = (op(a, **settings) for a in (laid, x.astype(np.float64)))
        made, expected = (y[0] if isinstance(y, tuple) else y for y in (made, expected))
        assert np.abs(made - expected).max() < 1e-3
        with formulas():
            by_formula = op(laid, **settings)
        by_formula = by_formula[0] if isinstance(by_formula, tuple) else by_formula
        assert np.abs(made - expected).max() <= np.abs(by_formula - expected).max() + 1e-6


# ---- the same as the formulas
def norm_of(op: Any, settings: dict[str, Any] | None = None, bias: bool = True) -> Callable[..., Any]:
    def run(x: Any, weight: Any, shift: Any) -> Any:
        affine = {"weight": weight, "bias": shift} if bias else {"weight": weight}
        return op(x, **affine, **(settings or {}))

    return run


def channels(x: Any) -> int:
    return int(x.shape[1])


def last(x: Any) -> int:
    return int(x.shape[-1])


def _unary(op: Any, **settings: Any) -> Callable[..., Any]:
    return lambda x: op(x, **settings)


UNARY = {
    "exp": _unary(ops.exp),
    "tanh": _unary(ops.tanh),
    "sigmoid": _unary(ops.sigmoid),
    "relu": _unary(ops.relu),
    "logsigmoid": _unary(ops.logsigmoid),
    "softplus": _unary(ops.softplus),
    "softplus 3": _unary(ops.softplus, beta=3.0),
    "silu": _unary(ops.silu),
    "quick_gelu": _unary(ops.quick_gelu),
    "mish": _unary(ops.mish),
    "gelu": _unary(ops.gelu),
    "gelu_tanh": _unary(ops.gelu, approximate="tanh"),
    "elu": _unary(ops.elu, alpha=0.7),
    "selu": _unary(ops.selu),
    "celu": _unary(ops.celu, alpha=0.7),
    "softmax": _unary(ops.softmax),
    "softmin": _unary(ops.softmin),
    "softmax 0": _unary(ops.softmax, axis=0),
    "log_softmax": _unary(ops.log_softmax),
    "log_softmax 0": _unary(ops.log_softmax, axis=0),
}
AFFINE: dict[str, tuple[Callable[..., Any], Callable[[Any], int]]] = {
    "layer_norm": (norm_of(ops.layer_norm), last),
    "rms_norm": (norm_of(ops.rms_norm, {"eps": 1e-3}, bias=False), last),
    "batch_norm": (
        lambda x, weight, bias: ops.batch_norm(x, None, None, weight, bias, training=True, eps=1e-3),
        channels,
    ),
    "batch_norm, fixed": (
        lambda x, weight, bias: ops.batch_norm(x, 0.1 * weight, weight * weight + 0.5, weight, bias),
        channels,
    ),
    "batch_norm_with_statistics": (norm_of(ops.batch_norm_with_statistics, {"eps": 1e-3}), channels),
    "instance_norm": (lambda x, weight, bias: ops.instance_norm(x, None, None, weight, bias, eps=1e-3), channels),
    "group_norm": (norm_of(ops.group_norm, {"num_groups": 2, "eps": 1e-3}), channels),
}


def outcome(call: Callable[..., Any], arrays: list[Any], seed: int) -> list[Any]:
    """The values, the gradients of the arrays by a random one, and the gradients of those."""
    rng = np.random.default_rng(seed)
    leaves = [tz.Tensor(x, requires_grad=x.dtype.kind == "f") for x in arrays]
    made = call(*leaves)
    outputs = list(made) if isinstance(made, tuple) else [made]
    ws = [tz.tensor(rng.standard_normal(y.shape).astype(y.data.dtype)) for y in outputs]
    wrt = [x for x in leaves if x.requires_grad]
    found = gradients(outputs, wrt, ws)
    return [y.data for y in outputs] + [None if g is None else g.data for g in found]


def same(call: Callable[..., Any], arrays: list[Any], seed: int = 0, slack: float = 1.0) -> None:
    """Kernels, in one part and in several, give what the formulas give."""
    with formulas(), np.errstate(all="ignore"):
        expected = outcome(call, arrays, seed)
    limit = 300 * slack * max(float(np.finfo(x.dtype).eps) for x in arrays if x.dtype.kind == "f")
    for count in (1, 2, 3):
        with in_parts(count):
            made = outcome(call, arrays, seed)
        for a, b in zip(made, expected, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                assert a.dtype == b.dtype and a.shape == b.shape
                scale = float(np.abs(b[np.isfinite(b)]).max(initial=1))
                np.testing.assert_allclose(a, b, rtol=limit, atol=limit * scale)


def layouts(x: Any) -> dict[str, Any]:
    """x as it may lie in memory."""
    wide = np.zeros((*x.shape[:-1], 2 * x.shape[-1]), x.dtype) if x.ndim else x
    frozen = x.copy()
    frozen.flags.writeable = False
    found = {"C": x, "Fortran": np.asfortranarray(x), "read-only": frozen}
    if x.ndim:
        wide[..., ::2] = x
        found |= {"strided": wide[..., ::2], "reversed": np.ascontiguousarray(x[::-1])[::-1]}
    if x.ndim > 2:
        found["channels last"] = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1)
    return found


DTYPES = st.sampled_from(["float32", "float64"])
SHAPES = st.one_of(
    st.tuples(st.integers(0, 9), st.integers(1, 70)),
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 37)),
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
)


@pytest.mark.parametrize("name", UNARY)
@given(shape=st.one_of(SHAPES, st.just(()), st.tuples(st.integers(0, 40))), dtype=DTYPES, seed=st.integers(0, 1000))
def test_functions_are_their_formulas(name: str, shape: Any, dtype: str, seed: int) -> None:
    if not shape and "softm" in name:
        shape = (1,)
    x = np.asarray(3 * np.random.default_rng(seed).standard_normal(shape), dtype)
    laid = layouts(x)
    same(UNARY[name], [laid[sorted(laid)[seed % len(laid)]]], seed)


@pytest.mark.parametrize("name", AFFINE)
@given(shape=SHAPES, dtype=DTYPES, seed=st.integers(0, 1000))
def test_norms_are_their_formulas(name: str, shape: Any, dtype: str, seed: int) -> None:
    call, width = AFFINE[name]
    if "group" in name or "batch" in name or "instance" in name:
        shape = (max(shape[0], 1), 2 * shape[1], *shape[2:], 3)
    rng = np.random.default_rng(seed)
    x = (1 + rng.standard_normal(shape)).astype(dtype)
    affine = [(1 + 0.3 * rng.standard_normal(width(x))).astype(dtype) for _ in range(2)]
    laid = layouts(x)
    x = laid[sorted(laid)[seed % len(laid)]]
    if name == "rms_norm":
        same(lambda x, weight: call(x, weight, None), [x, affine[0]], seed)
    else:
        same(call, [x, *affine], seed, slack=4)
    same(lambda x: call(x, None, None) if name != "batch_norm, fixed" else call(x, *affine), [x], seed, slack=4)


@pytest.mark.parametrize("activation", ["gelu", "relu", "tanh"])  # of each kind of kernel one: the laws run them all
@given(shape=st.one_of(SHAPES, st.tuples(st.integers(0, 40))), dtype=DTYPES, seed=st.integers(0, 1000))
def test_bias_and_activation_are_their_formula(activation: str, shape: Any, dtype: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, bias = (3 * rng.standard_normal(n).astype(dtype) for n in (shape, shape[-1:]))
    laid = layouts(x)
    x = laid[sorted(laid)[seed % len(laid)]]
    same(lambda x, bias: ops.bias_activation(x, bias, activation), [x, bias], seed)


@given(
    rows=st.integers(1, 40), classes=st.integers(1, 30), dtype=DTYPES, seed=st.integers(0, 1000),
    reduction=st.sampled_from(["mean", "sum", "none"]), smoothing=st.sampled_from([0.0, 0.3]),
    ignored=st.sampled_from([-100, 0]), weighted=st.booleans(), spatial=st.booleans(),
    integer=st.sampled_from(["int64", "int32", "uint8"]),
)  # fmt: skip
def test_cross_entropy_is_its_formula(
    rows: int, classes: int, dtype: str, seed: int, reduction: str, smoothing: float, ignored: int, weighted: bool,
    spatial: bool, integer: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(seed)
    x = (5 * rng.standard_normal((rows, classes, 3) if spatial else (rows, classes))).astype(dtype)
    target = rng.integers(0, classes, (rows, 3) if spatial else rows).astype(integer)
    if ignored < 0 and integer != "uint8":
        target.reshape(-1)[rng.random(target.size) < 0.2] = ignored
    weight = rng.uniform(0.5, 2, classes).astype(dtype) if weighted else None
    settings = {"reduction": reduction, "label_smoothing": smoothing, "ignore_index": ignored}
    if (target == ignored).all() and reduction == "mean":
        target.reshape(-1)[0], settings["ignore_index"] = 0, -100
    same(lambda x: ops.cross_entropy(x, target, weight, **settings), [x], seed)


def test_cross_entropy_keeps_two_numbers_a_row() -> None:
    x = tz.zeros((5, 7), requires_grad=True)
    loss = ops.cross_entropy(x, np.zeros(5, int))
    assert [np.shape(a) for a in loss.node.saved] == [(2, 5), ()]


# ---- at the edges
EDGES = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1e30, -1e30, 1e4, -1e4, 88.5, -88.5, 3.4e38, -3.4e38]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in UNARY if "softm" not in name])
def test_edges_are_those_of_the_formulas(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        x = np.array(EDGES * 3, dtype)  # in the vector loop and in its tail
        with formulas():
            (expected, slope) = outcome(UNARY[name], [x], 0)
        made, its = outcome(UNARY[name], [x], 0)
        tiny = 128 * float(np.finfo(dtype).tiny)  # x e⁻ˣ, where e⁻ˣ is no normal number any more
        np.testing.assert_allclose(made, expected, rtol=1e-6, atol=tiny)
        np.testing.assert_allclose(its, slope, rtol=1e-5, atol=1e-5)
        assert (np.signbit(made) == np.signbit(expected))[~np.isnan(made) & (np.abs(expected) > tiny)].all()


@pytest.mark.parametrize("place", [0, 5, 70])
@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_in_a_row_come_out_as_of_the_formulas(poison: float, place: int) -> None:
    x = np.random.default_rng(0).standard_normal((4, 71)).astype(np.float32)
    x[1, place], x[2] = poison, poison
    calls = [ops.softmax, ops.log_softmax, ops.layer_norm, lambda x: ops.rms_norm(x, eps=1e-3)]
    calls += [lambda x: ops.cross_entropy(x, np.arange(4), reduction="none")]
    calls += [lambda x: ops.batch_norm(x, training=True), lambda x: ops.group_norm(x, 1)]
    for call in calls:
        with formulas(), np.errstate(all="ignore"):
            expected = outcome(call, [x], 0)
        for a, b in zip(outcome(call, [x], 0), expected, strict=True):
            assert np.array_equal(np.isnan(a), np.isnan(b)) and np.array_equal(a == np.inf, b == np.inf)
            assert np.isfinite(a[0]).all() or a.ndim == 2  # a batch's statistics are of all rows


def test_the_signs_of_zeros_are_kept() -> None:
    zeros = np.array([0.0, -0.0] * 20)
    for name in ("tanh", "silu", "gelu", "mish"):
        assert np.array_equal(np.signbit(UNARY[name](zeros)), np.signbit(zeros)), name


# ---- memory
@pytest.mark.parametrize("name", ["tanh", "gelu", "relu"])
def test_a_function_keeps_the_layout_of_its_argument(name: str) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    x = np.moveaxis(x, -1, 1)  # (2, 5, 3, 4), the channels last in memory
    g = np.random.default_rng(1).standard_normal(x.shape).astype(np.float32)
    leaf = tz.Tensor(x, requires_grad=True)
    y = UNARY[name](leaf)
    (pulled,) = gradients([y], [leaf], [tz.Tensor(g)])
    assert y.data.strides == x.strides == pulled.data.strides
    assert np.array_equal(y.data, UNARY[name](np.ascontiguousarray(x)))


@pytest.mark.parametrize(
    "call",
    [
        lambda x, w: ops.batch_norm(x, w, w, w, w, training=True),
        lambda x, w: ops.batch_norm(x, w, w, w, w),
        lambda x, w: ops.group_norm(x, 3, w, w),
        lambda x, w: ops.instance_norm(x, None, None, w, w),
    ],
)
def test_a_norm_over_positions_keeps_the_layout_of_its_argument(call: Callable[..., Any]) -> None:
    x = np.moveaxis(np.random.default_rng(0).standard_normal((2, 3, 4, 6)).astype(np.float32), -1, 1)
    for laid in (x, np.ascontiguousarray(x)):
        leaf = tz.Tensor(laid, requires_grad=True)
        y = call(leaf, np.linspace(1, 2, 6, dtype=np.float32))
        (g,) = gradients([y], [leaf], [tz.Tensor(np.ascontiguousarray(x))])
        assert y.data.strides == laid.strides == g.data.strides


@pytest.mark.parametrize("count", [2, 3, 7])
def test_elements_and_rows_do_not_depend_on_the_number_of_parts(count: int) -> None:
    x = np.random.default_rng(0).standard_normal((5, 33)).astype(np.float32)
    for name in UNARY:
        with in_parts(1):
            expected = outcome(UNARY[name], [x], 0)
        with in_parts(count):
            made = outcome(UNARY[name], [x], 0)
        assert all(np.array_equal(a, b) for a, b in zip(made, expected, strict=True)), name


# ---- which of the two serves
def test_other_arrays_take_the_formulas() -> None:
    for x in (np.ones((2, 3), np.float16), np.ones((2, 3), int), np.ones((2, 3), ">f4"), np.float64(1.0), 1.0):
        assert elementwise.value("tanh", x) is None
        assert softmax.softmax(x) is None
        assert normalize.rows(x, None, None, 3, 1e-5) is None
    x, wide = np.ones((2, 3), np.float32), np.ones(3)
    assert normalize.rows(x, wide, None, 3, 1e-5) is None and normalize.batch(x, None, wide, 1e-5) is None
    settings: Any = {"ignore_index": -100, "reduction": "mean", "label_smoothing": 0.0}
    assert softmax.cross_entropy(x, np.zeros(2, int), wide, **settings) is None


SCRIPT = """
import sys
import numpy as np
import tinygrad_zoo as tz
x = tz.tensor(np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4), requires_grad=True)
y = tz.gelu(tz.layer_norm(x)) + tz.softmax(x) + tz.batch_norm(x, training=True)
loss = tz.cross_entropy(y, np.array([0, 1, 2])) + tz.tanh(y).sum()
loss.backward()
print("numba" in sys.modules, float(loss.data), *x.grad.numpy().ravel().tolist())
"""


@pytest.mark.parametrize("setting", [("NUMBA_DISABLE_JIT", "1"), ("TINYGRAD_ZOO_KERNELS", "off")])
def test_a_setting_selects_the_formulas_for_a_process(setting: tuple[str, str]) -> None:
    environment = {**os.environ, setting[0]: setting[1]}
    run = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    loaded, *numbers = run.stdout.split()
    with formulas():
        x = tz.tensor(np.linspace(-3, 3, 12, dtype=np.float32).reshape(3, 4), requires_grad=True)
        y = tz.gelu(tz.layer_norm(x)) + tz.softmax(x) + tz.batch_norm(x, training=True)
        loss = tz.cross_entropy(y, np.array([0, 1, 2])) + tz.tanh(y).sum()
        loss.backward()
    assert loaded == "False"
    assert [float(n) for n in numbers] == [float(loss.data), *x.grad.numpy().ravel().tolist()]


# ---- planted faults
PLANTS: list[tuple[Any, str, str]] = [
    (elementwise, "value", "exp tanh sigmoid logsigmoid softplus silu quick_gelu mish gelu relu elu selu celu"),
    (elementwise, "pulled", "tanh sigmoid logsigmoid softplus silu quick_gelu mish gelu relu elu selu celu"),
    (elementwise, "biased", "bias_activation"),
    (elementwise, "biased_pulled", "bias_activation"),
    (softmax, "softmax", "softmax softmin"),
    (softmax, "softmax_pulled", "softmax softmin"),
    (softmax, "log_softmax", "log_softmax"),
    (softmax, "log_softmax_pulled", "log_softmax"),
    (softmax, "cross_entropy", "cross_entropy"),
    (softmax, "cross_entropy_pulled", "cross_entropy"),
    (normalize, "rows", "layer_norm rms_norm"),
    (normalize, "rows_pulled", "layer_norm rms_norm"),
    (normalize, "groups", "group_norm instance_norm"),
    (normalize, "groups_pulled", "group_norm instance_norm"),
    (normalize, "batch", "batch_norm batch_norm_with_statistics"),
    (normalize, "batch_pulled", "batch_norm batch_norm_with_statistics"),
]


def _faulty(result: Any) -> Any:
    """The first array with its largest entry off in the sixth digit."""
    if result is None:
        return None
    if isinstance(result, tuple):
        return type(result)(*(_faulty(result[0]), *result[1:])) if hasattr(result, "_fields") else (
            _faulty(result[0]), *result[1:]
        )  # fmt: skip
    wrong = np.array(result)
    if wrong.size:
        wrong.reshape(-1)[np.abs(wrong).argmax()] *= 1 + 1e-6
    return wrong


@pytest.mark.parametrize(("folder", "kernel", "name"), [(f, k, n) for f, k, names in PLANTS for n in names.split()])
def test_the_laws_notice_a_kernel_that_is_off_in_the_sixth_digit(
    folder: Any, kernel: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(folder, kernel)
    op_laws(getattr(ops, name), 0)
    monkeypatch.setattr(folder, kernel, lambda *arguments, **settings: _faulty(right(*arguments, **settings)))
    with pytest.raises(TinygradZooError):
        op_laws(getattr(ops, name), 0)

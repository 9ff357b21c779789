"""Elementwise ops at single points: exact slopes where squares would overflow, subgradients, integers and booleans."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.errors import DTypeError, TinygradZooError

INF, NAN = math.inf, math.nan


def slopes(fn: Callable[..., Any], *values: Any) -> list[Any]:
    """The gradients of the sum of fn(*values); None where there is none."""
    xs = [tz.tensor(np.array(v, dtype=np.float64), requires_grad=True) for v in values]
    with np.errstate(all="ignore"):
        fn(*xs).sum().backward()
    return [None if x.grad is None else x.grad.tolist() for x in xs]


# What PyTorch's own formulas miss: the slopes by hand.
EXACT_SLOPES: dict[str, tuple[Callable[..., Any], list[float], list[float]]] = {
    "acosh, huge": (tz.acosh, [1e300], [1e-300]),
    "asinh, huge": (tz.asinh, [1e300], [1e-300]),
    "asinh, tiny": (tz.asinh, [1e-300], [1.0]),
    "atan2, huge": (tz.atan2, [1e300, 1e300], [5e-301, -5e-301]),
    "atan2, tiny": (tz.atan2, [1e-300, 1e-300], [5e299, -5e299]),
    "hypot, huge": (tz.hypot, [3e300, 4e300], [0.6, 0.8]),
    "hypot, tiny": (tz.hypot, [3e-300, 4e-300], [0.6, 0.8]),
    "log_ndtr, far left": (tz.log_ndtr, [-1e300], [1e300]),
    "logaddexp, huge": (tz.logaddexp, [1e300, 1e300], [0.5, 0.5]),
    "logaddexp, one far below": (tz.logaddexp, [-700.0, 0.0], [math.exp(-700), 1.0]),
    "sinc, tiny": (tz.sinc, [1e-300], [-(math.pi**2) / 3 * 1e-300]),
    "sinc, small": (tz.sinc, [1e-4], [-(math.pi**2) / 3 * 1e-4 + math.pi**4 / 30 * 1e-12]),
    "fmod, a quotient that rounds up": (tz.fmod, [1.0, 0.1], [1.0, -9.0]),
    "remainder, a quotient that rounds up": (tz.remainder, [1.0, 0.1], [1.0, -9.0]),
    "addcdiv, huge": (lambda x: tz.addcdiv(0.0, 1e300, x), [1e300], [-1e-300]),
}


@pytest.mark.parametrize("case", EXACT_SLOPES)
def test_slopes_are_right_where_squares_would_overflow(case: str) -> None:
    fn, values, expected = EXACT_SLOPES[case]
    np.testing.assert_allclose(slopes(fn, *values), expected, rtol=1e-14)


def test_second_slopes_stay_finite_where_exponentials_overflow() -> None:
    for gap in (100.0, 800.0, 1e300):
        h = tz.hessian(lambda x: tz.logaddexp(x[0], x[1]))(np.array([0.0, gap])).numpy()
        np.testing.assert_allclose(h, math.exp(-gap) * np.array([[1.0, -1.0], [-1.0, 1.0]]), rtol=1e-12)
    for x in (-30.0, 30.0):
        assert np.isfinite(tz.hessian(tz.log_ndtr)(np.array(x)).item())
    assert tz.hessian(tz.log_ndtr)(np.array(-1e4)).item() == pytest.approx(1e-8 - 1, rel=1e-14)
    assert abs(tz.hessian(tz.sinc)(np.array(0.0)).item() + math.pi**2 / 3) < 1e-14


@pytest.mark.parametrize("x", [9.99, 10.01, 11.0, 20.0, 1e3, 1e6, 1e100])
def test_the_slopes_of_erfcx_cancel_nowhere(x: float) -> None:
    """Against the continued fraction of erfcx, by which its slope is -2/√π · f / (x + f), f = (1/2)/(x + 1/(x + …))."""
    f = 0.0
    for k in range(400, 0, -1):
        f = 0.5 * k / (x + f)
    first = -2 / math.sqrt(math.pi) * f / (x + f)
    ((found,),) = slopes(tz.erfcx, [x])
    assert found == pytest.approx(first, rel=1e-12 if x < 12 else 4e-15, abs=0)
    second = 2 / math.sqrt(math.pi) / (x + f) + 2 * x * first  # of (2x · erfcx x)'
    if x < 12:
        assert tz.hessian(tz.erfcx)(np.array(x)).item() == pytest.approx(second, rel=1e-9, abs=0)
    else:
        leading, rest = 2 / math.sqrt(math.pi) / x / x / x, max(4 / x / x, 1e-14)
        assert tz.hessian(tz.erfcx)(np.array(x)).item() == pytest.approx(leading, rel=rest, abs=0)


# ---- where there is no derivative
SUBGRADIENTS: dict[str, tuple[Callable[..., Any], list[Any], list[Any]]] = {
    "floor": (tz.floor, [[-1.0, 0.5]], [None]),
    "ceil": (tz.ceil, [[-1.0, 0.5]], [None]),
    "trunc": (tz.trunc, [[-1.0, 0.5]], [None]),
    "round": (tz.round, [[-1.0, 0.5]], [None]),
    "frac at whole numbers": (tz.frac, [[-1.0, 0.0, 1.5]], [[1.0, 1.0, 1.0]]),
    "floor_divide": (tz.floor_divide, [[1.0, 2.0], [2.0, 2.0]], [None, None]),
    "div, rounded": (lambda x, y: tz.div(x, y, rounding_mode="trunc"), [[1.0], [2.0]], [None, None]),
    "remainder at multiples": (tz.remainder, [[4.0, -4.0], [2.0, 2.0]], [[1.0, 1.0], [-2.0, 2.0]]),
    "fmod at multiples": (tz.fmod, [[4.0, -4.0], [2.0, 2.0]], [[1.0, 1.0], [-2.0, 2.0]]),
    "copysign at 0": (tz.copysign, [[0.0, -0.0, 2.0, -2.0], [-1.0, 1.0, -0.0, 0.0]], [[0.0, 0.0, -1.0, -1.0], None]),
    "heaviside": (tz.heaviside, [[-1.0, 0.0, -0.0, 1.0], [0.5] * 4], [None, [0.0, 1.0, 1.0, 0.0]]),
    "fmax: tie and NaN": (
        tz.fmax,
        [[1.0, 1.0, NAN, 1.0, NAN], [1.0, 2.0, 1.0, NAN, NAN]],
        [[1.0, 0.0, 0.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 0.0]],
    ),
    "fmin: tie and NaN": (
        tz.fmin,
        [[1.0, 1.0, NAN, 1.0, NAN], [1.0, 2.0, 1.0, NAN, NAN]],
        [[1.0, 1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 0.0, 0.0]],
    ),
    "maximum: NaN": (tz.maximum, [[NAN, 1.0], [1.0, NAN]], [[0.0, 0.0], [0.0, 0.0]]),
    "nan_to_num": (tz.nan_to_num, [[NAN, INF, -INF, 1.0]], [[0.0, 0.0, 0.0, 1.0]]),
    "clip: arrays as bounds": (
        tz.clip,
        [[-2.0, -1.0, 0.0, 1.0, 2.0], [-1.0] * 5, [1.0] * 5],
        [[0.0, 1.0, 1.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]],
    ),
    "clip: bounds that cross": (
        tz.clip,
        [[-2.0, 0.0, 2.0], [1.0] * 3, [-1.0] * 3],
        [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]],
    ),
    "hypot at the origin": (tz.hypot, [[0.0, 3.0], [0.0, 4.0]], [[0.0, 0.6], [0.0, 0.8]]),
    "atan2 at the origin": (tz.atan2, [[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, -1.0]]),
    "xlogy at the origin": (tz.xlogy, [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
    "logaddexp: both -inf": (tz.logaddexp, [[-INF, -INF], [-INF, 0.0]], [[0.0, 0.0], [0.0, 1.0]]),
    "logaddexp2: both -inf": (tz.logaddexp2, [[-INF, -INF], [-INF, 0.0]], [[0.0, 0.0], [0.0, 1.0]]),
    "sinc at 0": (tz.sinc, [[0.0, -0.0]], [[0.0, 0.0]]),
    "sqrt at 0": (tz.sqrt, [[0.0, 4.0]], [[INF, 0.25]]),
    "log at 0": (tz.log, [[0.0]], [[INF]]),
    "log2 at 0": (tz.log2, [[0.0]], [[INF]]),
    "log10 at 0": (tz.log10, [[0.0]], [[INF]]),
    "log1p at -1": (tz.log1p, [[-1.0]], [[INF]]),
    "acosh at 1": (tz.acosh, [[1.0]], [[INF]]),
    "rsqrt at 0": (tz.rsqrt, [[0.0, 4.0]], [[-INF, -0.0625]]),
    "asin at 1": (tz.asin, [[-1.0, 1.0]], [[INF, INF]]),
    "acos at 1": (tz.acos, [[-1.0, 1.0]], [[-INF, -INF]]),
    "atanh at 1": (tz.atanh, [[-1.0, 1.0]], [[INF, INF]]),
    "erfinv at 1": (tz.erfinv, [[-1.0, 1.0]], [[INF, INF]]),
    "logit at 0 and 1": (tz.logit, [[0.0, 1.0]], [[INF, INF]]),
    "logit, limited": (lambda x: tz.logit(x, eps=0.25), [[0.0, 0.25, 0.5, 1.0]], [[0.0, 16 / 3, 4.0, 0.0]]),
    "entr at 0": (tz.entr, [[0.0, 1.0]], [[INF, -1.0]]),
    "rel_entr at 0": (tz.rel_entr, [[0.0, 0.0, 1.0], [0.0, 1.0, 1.0]], [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]),
    "pow: base 0, exponent below 0": (tz.pow, [[0.0], [-1.0]], [[-INF], [-INF]]),
}


@pytest.mark.parametrize("case", SUBGRADIENTS)
def test_a_subgradient_is_exact(case: str) -> None:
    fn, values, expected = SUBGRADIENTS[case]
    for found, due in zip(slopes(fn, *values), expected, strict=True):
        assert (found is None) == (due is None)
        np.testing.assert_array_equal([] if found is None else found, [] if due is None else due)


# ---- integers and booleans
def test_comparisons_of_mixed_dtypes() -> None:
    integers, floats = tz.tensor([0, 1, 2]), tz.tensor([0.0, 1.5, 2.0])
    booleans = tz.tensor([False, True, True])
    assert (integers == floats).tolist() == [True, False, True]
    assert (integers == booleans).tolist() == [True, True, False]
    assert (booleans < floats).tolist() == [False, True, True]
    assert (tz.tensor([1], dtype="int8") < 300).tolist() == [True]
    assert tz.eq(tz.tensor([2**62 + 1]), tz.tensor([2**62])).tolist() == [False]
    assert tz.ne(tz.tensor([NAN]), tz.tensor([NAN])).tolist() == [True]


def test_logic_of_bits_and_of_booleans() -> None:
    a, b = tz.tensor([True, True, False, False]), tz.tensor([True, False, True, False])
    assert tz.bitwise_and(a, b).tolist() == tz.logical_and(a, b).tolist() == [True, False, False, False]
    assert tz.bitwise_or(a, b).tolist() == tz.logical_or(a, b).tolist() == [True, True, True, False]
    assert tz.bitwise_xor(a, b).tolist() == tz.logical_xor(a, b).tolist() == [False, True, True, False]
    assert tz.bitwise_not(a).tolist() == tz.logical_not(a).tolist() == [False, False, True, True]
    assert tz.bitwise_not(tz.tensor([0, 5])).tolist() == [-1, -6]
    with pytest.raises(DTypeError, match="bitwise_and"):
        tz.bitwise_and(tz.tensor([1.0]), 1)


def test_rounded_quotients_of_integers_are_integers() -> None:
    x, y = tz.tensor([7, -7, 2**60 + 1]), tz.tensor([2, 2, 1])
    assert tz.div(x, y, rounding_mode="trunc").tolist() == [3, -3, 2**60 + 1]
    assert tz.div(x, y, rounding_mode="floor").tolist() == [3, -4, 2**60 + 1]
    for op in (tz.floor, tz.ceil, tz.trunc, tz.round):
        assert op(x).tolist() == x.tolist() and op(x).dtype == np.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tz.clip(tz.ones(3)), "clip: expected a min"),
        (lambda: tz.div(tz.ones(3), 2, rounding_mode="up"), "rounding_mode='up'"),
        (lambda: tz.polygamma(0.5, tz.ones(3)), "whole numbers"),
        (lambda: tz.polygamma(tz.ones(3), 1), "whole numbers"),
        (lambda: tz.polygamma(-1, tz.ones(3)), "n >= 0"),
    ],
)
def test_calls_that_cannot_be_are_typed(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(TinygradZooError, match=message):
        call()

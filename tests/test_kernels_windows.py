"""kernels/{pooling,resample}: drawn windows, points and layouts against the formulas; no access elsewhere; threads."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_memory import Canaries
from tinygrad_zoo.kernels import images, jit, pooling, resample, threads, windows
from tinygrad_zoo.ops.resampling import _sample_formula
from tinygrad_zoo.testing import seeds

if not jit.enabled():
    pytest.skip("kernels are turned off", allow_module_level=True)

from tinygrad_zoo.kernels.gemm.cpu import VECTOR

CANARIES = Canaries()
LAYOUTS = ("C", "channels last", "F", "strided", "negative", "rows apart")
MORE = settings(max_examples=2 * settings().max_examples)
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}

dtypes = st.sampled_from(["float32", "float64"])
layouts = st.sampled_from(LAYOUTS)
parts = st.sampled_from([1, 2])


@pytest.fixture(autouse=True, scope="module")
def _threads() -> None:
    threads.openmp()  # chosen before the first parallel loop


@contextlib.contextmanager
def served(count: int) -> Iterator[None]:
    """The kernels' results lie among canaries, and work is cut into `count` parts however small it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "parts", lambda nanoseconds: count)
        for module in (images, pooling, resample):
            patch.setattr(module, "np", CANARIES)
        yield
    CANARIES.check()


def drawn_shape(draw: np.random.Generator) -> tuple[int, ...]:
    """Of no examples, of one pixel, with channels that fill vectors or do not."""
    axes = int(draw.integers(1, 4))
    channels = int(draw.choice([1, 2, 3, 5, 8, 9, 16, 17, 33, 40, 70]))
    size = draw.integers(1, (18, 8, 5)[axes - 1], axes) * draw.integers(0, 2, axes) + 1
    return int(draw.choice([0, 1, 2, 3])), channels, *(int(n) for n in size)


def drawn_table(draw: np.random.Generator, size: int, dilated: bool) -> windows.Windows:
    """Windows of one of the kinds; `dilated`: of pooling alone, with gaps between entries."""
    places, corners = int(draw.integers(1, 20)), bool(draw.integers(2))
    factor = None if draw.random() < 0.5 else places / size * float(draw.uniform(0.9, 1.1))
    kind = int(draw.integers(2 if dilated else 6))
    if kind == 0:
        return windows.adaptive(size, places)
    if kind == 1:
        kernel, stride, padding = int(draw.integers(1, size + 1)), int(draw.integers(1, 4)), 0
        spread = int(draw.integers(1, 3)) if dilated and 2 * (kernel - 1) < size else 1
        padding = min(kernel // 2, int(draw.integers(0, 3))) if spread == 1 else 0
        count = windows.pooled_size(size, kernel, stride, padding, spread, bool(draw.integers(2)))
        return windows.strided(size, kernel, stride, padding, spread, count, bool(draw.integers(2)), 0.0)
    make = (windows.linear, windows.cubic, windows.nearest, windows.nearest)[kind - 2]
    return make(size, places, factor, corners)


def near(found: Any, expected: Any, dtype: str, *what: Any) -> None:
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    assert found.shape == expected.shape and found.dtype == dtype, what
    good = np.isclose(found, expected, rtol=0, atol=TOLERANCE[dtype] * scale, equal_nan=True)
    assert good.all(), what


# ---- weighted sums
@MORE
@given(seeds(), dtypes, layouts, parts)
def test_weighted_sums_are_the_formulas(seed: int, dtype: str, layout: str, count: int) -> None:
    """Of every kind of windows and of their adjoints."""
    draw = np.random.default_rng(seed)
    shape = drawn_shape(draw)
    axes = tuple(drawn_table(draw, n, False) for n in shape[2:])
    x = draw.standard_normal(shape).astype(dtype)
    with served(count):
        made = resample.weigh(CANARIES.laid(x, layout), axes)
        y = draw.standard_normal(made.shape).astype(dtype)
        back = tuple(axis.transposed for axis in axes)
        pulled = resample.weigh(CANARIES.laid(y, layout), back)
        near(made, resample.formula(x, axes), dtype, shape, axes)
        near(pulled, resample.formula(y, back), dtype, shape, axes)
    exact = (made.astype(np.float64) * y).sum() - (x.astype(np.float64) * pulled).sum()
    assert abs(exact) <= 50 * TOLERANCE[dtype] * (1 + np.abs(y).sum())
    if shape[1] > 1 and layout == "channels last":
        assert images.last(made).flags.c_contiguous


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("layout", ["C", "channels last"])
@pytest.mark.parametrize("poison", [np.nan, np.inf])
def test_what_is_not_finite_shows_where_it_is_seen_and_nowhere_else(poison: float, layout: str, dtype: str) -> None:
    """Short windows are made longer by entries of their own, so what is beside them does not count."""
    draw = np.random.default_rng(0)
    for size, places in ((5, 9), (9, 5), (4, 4), (1, 3)):
        for table in (
            windows.linear(size, places, None, False),
            windows.linear(size, places, None, True),
            windows.cubic(size, places, None, False),
            windows.nearest(size, places, None, False),
            windows.adaptive(size, places),
        ):
            for axes in ((table, table), (table.transposed, table.transposed)):
                for at in range(axes[0].size):
                    x = draw.integers(1, 5, (1, VECTOR // 4 + 1, axes[0].size, axes[0].size)).astype(dtype)
                    x[:, :, at, at] = poison
                    with np.errstate(invalid="ignore"), served(1):
                        made = resample.weigh(CANARIES.laid(x, layout), axes)
                        expected = resample.formula(x, axes)
                        assert np.array_equal(np.isfinite(made), np.isfinite(expected)), (size, places, at)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_copy_is_exact(dtype: str) -> None:
    """Also of the smallest numbers there are."""
    least = np.finfo(dtype).smallest_subnormal
    for shape in ((2, 3, 5, 4), (2, 40, 5, 4)):
        x = (least * np.random.default_rng(0).integers(1, 9, shape)).astype(dtype)
        table = windows.nearest(5, 10, None, False), windows.nearest(4, 7, None, False)
        with served(1):
            made = resample.weigh(CANARIES.laid(x, "channels last"), table)
        assert np.array_equal(made, x[:, :, table[0].first][..., table[1].first])


# ---- maxima
@MORE
@given(seeds(), dtypes, layouts, parts)
def test_maxima_are_the_formulas(seed: int, dtype: str, layout: str, count: int) -> None:
    """With their places: of few values, so that many are equal, and of NaN and infinities."""
    draw = np.random.default_rng(seed)
    shape = drawn_shape(draw)
    axes = tuple(drawn_table(draw, n, True) for n in shape[2:])
    x = draw.integers(-2, 3, shape).astype(dtype)
    if draw.random() < 0.5:
        x = np.where(draw.random(shape) < 0.3, draw.choice([np.nan, np.inf, -np.inf], shape), x).astype(dtype)
    with served(count):
        values, places = pooling.maxima(CANARIES.laid(x, layout), axes)
        expected, at = pooling.maxima_formula(x, axes)
        assert np.array_equal(values, expected, equal_nan=True) and values.dtype == dtype, (shape, axes)
        assert np.array_equal(places, at) and places.dtype == np.int32, (shape, axes)


# ---- places
@given(seeds(), dtypes, layouts, layouts, parts, st.sampled_from(["int32", "int64"]))
def test_reading_and_writing_at_places(seed: int, dtype: str, layout: str, other: str, count: int, kind: str) -> None:
    draw = np.random.default_rng(seed)
    shape = drawn_shape(draw)
    made = (*shape[:2], *(int(n) for n in draw.integers(1, 5, draw.integers(1, 4))))
    index = draw.integers(0, np.prod(shape[2:]), made).astype(kind)
    x, y = draw.standard_normal(shape).astype(dtype), draw.integers(-4, 5, made).astype(dtype)
    with served(count):
        at = CANARIES.laid(index, other)
        read = pooling.gather(CANARIES.laid(x, layout), at)
        added = pooling.scatter(CANARIES.laid(y, layout), at, shape[2:])
        written = pooling.scatter(CANARIES.laid(y, layout), at, shape[2:], add=False)
        flat, planes = index.reshape(*shape[:2], int(np.prod(made[2:]))), x.reshape(*shape[:2], int(np.prod(shape[2:])))
        expected = np.take_along_axis(planes, flat, 2).reshape(made)
        assert np.array_equal(read, expected)
        assert np.array_equal(added, pooling._scatter_formula(y, index, shape[2:], True))
        assert np.array_equal(written, pooling._scatter_formula(y, index, shape[2:], False))


# ---- points
@MORE
@given(seeds(), dtypes, layouts, parts, st.sampled_from(resample.MODES), st.sampled_from(resample.PADDINGS))
def test_points_are_the_formulas(seed: int, dtype: str, layout: str, count: int, mode: str, padding: str) -> None:
    draw = np.random.default_rng(seed)
    axes, corners = 2 if mode == "bicubic" else int(draw.integers(2, 4)), bool(draw.integers(2))
    shape = (*drawn_shape(draw)[:2], *(int(n) for n in draw.integers(1, 6, axes)))
    grid = draw.uniform(-2.5, 2.5, (shape[0], *draw.integers(0, 7, axes), axes))
    if draw.random() < 0.3:
        grid = draw.choice([-1, -0.5, 0, 0.5, 1, np.nan, np.inf, -np.inf], grid.shape)
    x, grid = draw.standard_normal(shape).astype(dtype), grid.astype(dtype)
    named = {"mode": mode, "padding": padding, "corners": corners}
    with served(count), np.errstate(invalid="ignore"):
        made = resample.sample(CANARIES.laid(x, layout), CANARIES.laid(grid, "C"), **named)
        expected = _sample_formula(x, grid, mode=mode, padding_mode=padding, align_corners=corners)
        assert made.shape == expected.shape and made.dtype == dtype
        tolerance = 0 if mode == "nearest" else 20 * TOLERANCE[dtype]
        assert np.allclose(made, expected, rtol=0, atol=tolerance, equal_nan=True), (shape, grid.shape, corners)


@pytest.mark.parametrize("mode", resample.MODES)
def test_parts_and_needs_change_no_gradient(mode: str) -> None:
    draw = np.random.default_rng(0)
    x, g = draw.standard_normal((3, 9, 5, 4)), draw.standard_normal((3, 9, 6, 7))
    grid = draw.uniform(-1.2, 1.2, (3, 6, 7, 2))
    found = []
    for count in (1, 2, 5):
        for needs in ((True, True), (False, True)):
            with served(count):
                gx, ggrid = resample.sample_pulled(
                    g, CANARIES.laid(x, "C"), grid, mode, "border", False, needs
                )  # fmt: skip
                found.append((gx.copy() if needs[0] else found[0][0], ggrid.copy()))
    for gx, ggrid in found[1:]:
        assert np.array_equal(gx, found[0][0]) and np.array_equal(ggrid, found[0][1])


# ---- what no kernel serves
def test_arrays_that_no_kernel_serves_take_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    table = windows.adaptive(4, 2)
    x = np.arange(16.0).reshape(1, 1, 4, 4)
    unaligned = np.frombuffer(b" " + x.tobytes(), np.uint8)[1:].view(np.float64).reshape(x.shape)
    assert np.array_equal(resample.weigh(unaligned, (table, table)), resample.formula(x, (table, table)))
    assert np.array_equal(pooling.maxima(unaligned, (table, table))[1], [[[[5, 7], [13, 15]]]])
    assert resample.sample(x, np.zeros((1, 1, 1, 2), np.float32), "bilinear", "zeros", False) is None
    assert resample.sample(x.astype(np.float16), np.zeros((1, 1, 1, 2), np.float16), "nearest", "zeros", True) is None
    monkeypatch.setattr(pooling, "module", lambda package: None)
    monkeypatch.setattr(resample, "module", lambda package: None)
    assert np.array_equal(pooling.maxima(x, (table, table))[0], [[[[5, 7], [13, 15]]]])
    assert np.array_equal(resample.weigh(x, (table, table)), resample.formula(x, (table, table)))

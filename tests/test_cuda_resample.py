"""CUDA kernels of resampling in the emulation: against the formulas in float64, at ragged sizes, in several orders."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import cuda, resample
from tinygrad_zoo.kernels.resample import gpu
from tinygrad_zoo.kernels.windows import Windows, adaptive, cubic, linear, nearest, strided
from tinygrad_zoo.ops.composite import pulled
from tinygrad_zoo.ops.resampling import _sample_formula
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")
NEAR = {"float32": 2e-5, "float64": 1e-12}


@contextlib.contextmanager
def running(seed: int) -> Iterator[None]:
    """In that order, with so few blocks that threads go on to further entries, and nothing copied to the host."""
    with pytest.MonkeyPatch.context() as patch, schedule(seed), forbid_sync():
        patch.setattr(cuda, "MOST_BLOCKS", 1)
        yield


def near(made: Any, expected: Any, dtype: str, what: str) -> None:
    assert made.dtype == dtype and made.shape == expected.shape
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    np.testing.assert_allclose(made.get(), expected, rtol=NEAR[dtype], atol=NEAR[dtype] * scale, err_msg=what)


def drawn(*shape: int, dtype: str, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# ---- windows
WEIGHED: dict[str, tuple[tuple[int, ...], tuple[Windows, ...]]] = {
    "one axis": ((2, 5, 37), (linear(37, 61, None, False),)),
    "two": ((2, 3, 9, 7), (cubic(9, 13, None, True), linear(7, 11, 1.7, False))),
    "three": ((1, 2, 4, 7, 5), (linear(4, 6, None, False), nearest(7, 3, None, True), adaptive(5, 2))),
    "averages": ((2, 2, 11, 8), (strided(11, 3, 2, 1, 1, 6, False, 0.0), strided(8, 2, 3, 0, 1, 3, True, 0.0))),
    "two warps": ((2, 2, 19, 23), (adaptive(19, 3), adaptive(23, 1))),
    "many warps": ((1, 1, 3, 40, 30), (adaptive(3, 1), adaptive(40, 1), adaptive(30, 1))),
    "one warp": ((3, 1, 7, 11), (adaptive(7, 1), adaptive(11, 2))),
    "nothing": ((0, 2, 4), (adaptive(4, 2),)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_weigh(seed: int, dtype: str) -> None:
    """And the adjoints, some of whose windows are empty."""
    for name, (shape, axes) in WEIGHED.items():
        for tables in (axes, tuple(axis.transposed for axis in axes)):
            x = drawn(*shape[:2], *(axis.size for axis in tables), dtype=dtype)
            with running(seed):
                made = resample.weigh(cupysim.asarray(x), tables)
            near(made, resample.formula(x.astype(float), tables), dtype, name)


def test_what_lies_outside_of_a_window_does_not_count() -> None:
    x = np.ones((1, 1, 6, 6))
    x[..., 3, 4] = np.nan
    axes = (strided(6, 2, 2, 0, 1, 3, True, 0.0),) * 2
    with running(0):
        made = resample.weigh(cupysim.asarray(x), axes)
    assert np.argwhere(np.isnan(made.get())).tolist() == [[0, 0, 1, 2]]


# ---- points
SETTINGS = [(mode, 2) for mode in resample.MODES] + [(mode, 3) for mode in resample.MODES[:2]]


def points(size: tuple[int, ...], corners: bool, *shape: int, seed: int) -> Any:
    """Some of them outside; away from pixels, where slopes change."""
    rng = np.random.default_rng(seed)
    last_first = np.array(size[::-1])
    at = rng.integers(-3, last_first + 2, (*shape, len(size))) + rng.uniform(0.15, 0.35, (*shape, len(size)))
    return 2 * at / (last_first - 1) - 1 if corners else (2 * at + 1) / last_first - 1


def check_points(x: Any, grid: Any, mode: str, padding: str, corners: bool, seeds: tuple[int, ...] = SEEDS) -> None:
    """The result and both gradients, which are the same bits in every order.

    Entries outside leave a point that is not finite a gradient of 0, where the formula multiplies 0 by its weight:
    there it is the one that the kernel on the host makes.
    """
    dtype, what = str(x.dtype), f"{mode}, {padding}, {corners}"
    g = drawn(*x.shape[:2], *grid.shape[1:-1], dtype=dtype, seed=2)
    wide = x.astype(float), grid.astype(float)
    named = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    with np.errstate(all="ignore"):
        out = _sample_formula(*wide, **named)
        gx, ggrid = pulled(_sample_formula, g.astype(float), wide, (True, True), named)
        if not np.isfinite(grid).all():
            on_host = resample.sample_pulled(g, x, grid, mode, padding, corners, (True, True))
            assert on_host is not None and on_host[1] is not None
            ggrid = np.where(np.isfinite(grid).all(axis=-1, keepdims=True), ggrid, on_host[1])
    expected = (out, gx, ggrid)
    bits = []
    for seed in seeds:
        with running(seed):
            on_device = [cupysim.asarray(a) for a in (g, x, grid)]
            out = resample.sample(*on_device[1:], mode, padding, corners)
            made = resample.sample_pulled(*on_device, mode, padding, corners, (True, True))
        assert made is not None
        for name, found, right in zip(("out", "gx", "ggrid"), (out, *made), expected, strict=True):
            near(found, right, dtype, f"{name}: {what}")
        bits.append([found.get().tobytes() for found in (out, *made)])
    assert all(one == bits[0] for one in bits)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("mode", "axes"), SETTINGS)
def test_points(mode: str, axes: int, dtype: str) -> None:
    shape = (2, 3, 5, 4) if axes == 2 else (1, 2, 3, 4, 2)
    for padding, corners in itertools.product(resample.PADDINGS, (False, True)):
        grid = points(shape[2:], corners, shape[0], 3, *(7, 5)[: axes - 1], seed=axes).astype(dtype)
        check_points(drawn(*shape, dtype=dtype), grid, mode, padding, corners)


@pytest.mark.parametrize("dtype", DTYPES)
def test_channels_are_shared_out_to_threads(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = points((3, 4), True, 2, 5, 29, seed=3).astype(dtype)
    check_points(drawn(2, 23, 3, 4, dtype=dtype), grid, "bilinear", "border", True, (0,))
    monkeypatch.setattr(gpu, "ENOUGH", 3 * 2 * 5 * 29)  # three groups
    check_points(drawn(2, 23, 3, 4, dtype=dtype), grid, "bilinear", "zeros", True)


@pytest.mark.parametrize("mode", resample.MODES)
def test_points_on_pixels_at_edges_and_nowhere(mode: str) -> None:
    special = [-1.0, -0.75, -0.5, 0.0, 0.5, 1.0, -1.5, 3.25, np.nan, np.inf, -np.inf]
    grid = np.array(list(itertools.product(special, repeat=2))).reshape(1, len(special), len(special), 2)
    x = drawn(1, 2, 4, 1, dtype="float64")
    for padding, corners in itertools.product(resample.PADDINGS, (False, True)):
        check_points(x, grid, mode, padding, corners, (1,))
        check_points(x.transpose(0, 1, 3, 2).repeat(2, 2), grid, mode, padding, corners, (1,))


def test_an_entry_of_an_image_that_is_nan_is_seen_where_it_is_read() -> None:
    x = drawn(1, 1, 4, 5, dtype="float64")
    grid = points((4, 5), False, 1, 6, 7, seed=4)
    for mode, value in [*itertools.product(resample.MODES[:2], (np.nan, np.inf)), ("bicubic", np.nan)]:
        x[0, 0, 2, 3] = value
        check_points(x, grid, mode, "zeros", False, (0,))


def test_no_points_no_examples_and_one_gradient_alone() -> None:
    for shape, places in [((1, 2, 3, 3), (0, 4)), ((0, 2, 3, 3), (2, 2))]:
        x, grid = cupysim.zeros(shape), cupysim.zeros((shape[0], *places, 2))
        out = resample.sample(x, grid, "bilinear", "zeros", False)
        assert out is not None and out.shape == (*shape[:2], *places)
        made = resample.sample_pulled(out, x, grid, "bilinear", "zeros", False, (True, True))
        assert made is not None and [m.shape for m in made] == [x.shape, grid.shape]
        assert not made[0].get().any()
    g, x = drawn(1, 2, 2, 2, dtype="float64"), drawn(1, 2, 3, 3, dtype="float64")
    grid = points((3, 3), False, 1, 2, 2, seed=5)
    arrays = [cupysim.asarray(a) for a in (g, x, grid)]
    both = resample.sample_pulled(*arrays, "bicubic", "border", False, (True, True))
    first = resample.sample_pulled(*arrays, "bicubic", "border", False, (True, False))
    second = resample.sample_pulled(*arrays, "bicubic", "border", False, (False, True))
    assert both is not None and first is not None and second is not None
    assert first[1] is None and second[0] is None
    np.testing.assert_array_equal(first[0].get(), both[0].get())
    np.testing.assert_array_equal(second[1].get(), both[1].get())


def test_the_ops_run_them() -> None:
    """Both orders of gradients are the host's, in any order in memory."""
    x, grid = drawn(2, 5, 4, 3, dtype="float64").transpose(0, 3, 1, 2), points((5, 4), False, 2, 3, 6, seed=6)
    results = []
    for place in (np.asarray, cupysim.asarray):
        leaves = [tz.Tensor(place(a), requires_grad=True) for a in (x, grid)]
        out = tz.grid_sample(tz.interpolate(leaves[0], size=(5, 4), mode="bilinear"), leaves[1], mode="bicubic")
        one = place(np.ones(()))
        first = gradients([(out**2).sum()], leaves, [one], create_graph=True)
        second = gradients([(first[0] ** 2).sum() + (first[1] ** 2).sum()], leaves, [one])
        results.append([made.numpy() for made in (out, *first, *second)])
    for host, made in zip(*results, strict=True):
        np.testing.assert_allclose(made, host, rtol=1e-10, atol=1e-10)


CUDA_FAULTS = [
    ("windows.cuh", "j += blockDim.x", "j += WARP", "test_weigh"),
    ("windows.cuh", "int line = j / broad, a = line / tall", "int line = j / tall, a = line / broad", "test_weigh"),
    ("windows.cuh", "y += box.h.step", "y += 2 * box.h.step", "test_weigh"),
    ("windows.cuh", "box.d.begin + a, box.h.begin + b, box.w.begin + c);\n  }", "a, b, c);\n  }", "test_weigh"),
    (
        "resample/resample.cu",
        "weight[d] * weight[h] * weight[w] * plane[place];\n    });\n    out",
        "weight[d] * weight[h] * plane[place];\n    });\n    out",
        "test_weigh",
    ),
    ("resample/resample.cu", "over_block(total, Sum(), dynamic_shared<T>())", "over_warp(total, Sum())", "test_weigh"),
    (
        "resample/resample.cu",
        "  total = over_block(total, Sum(), dynamic_shared<T>());\n  if (threadIdx.x == 0) out",
        "  if (threadIdx.x == 0) total = over_block(total, Sum(), dynamic_shared<T>());\n  if (threadIdx.x == 0) out",
        "test_weigh",
    ),
    ("resample/resample.cu", "(at < least) == even ? T(-1)", "at < least ? T(-1)", "test_points"),
    ("resample/resample.cu", "even ? rest : span - rest", "even ? span - rest : rest", "test_points"),
    ("resample/resample.cu", "if (at >= size - 1) return {T(size - 1), 0};", "", "test_points"),
    (
        "resample/resample.cu",
        "if (!(at > 0)) return",
        "if (at <= 0) return",
        "test_points_on_pixels_at_edges_and_nowhere",
    ),
    ("resample/resample.cu", "rint(at)", "floor(at + T(0.5))", "test_points_on_pixels_at_edges_and_nowhere"),
    ("resample/resample.cu", "slope[2] = -scale", "slope[2] = scale", "test_points"),
    ("resample/resample.cu", "place <= size - 1 ?", "place <= size ?", "test_points"),
    ("resample/resample.cu", "g[AXES - 1 - d], size", "g[d], size", "test_points"),
    (
        "resample/resample.cu",
        "places[tap] < 0 ? T(0) : plane[places[tap]]",
        "plane[places[tap] < 0 ? 0 : places[tap]]",
        "test_points",
    ),
    ("resample/resample.cu", "AXES - 1 - d] = made", "d] = made", "test_points"),
    ("resample/resample.cu", "place < 0 ? (i64)images * of.pixels() :", "place < 0 ? 0 :", "test_points"),
    ("resample/resample.cu", "shares[tap * all + p] =", "shares[p * Taps::TAPS + tap] =", "test_points"),
    ("resample/resample.cu", "k = begin[n * pixels + q];", "k = begin[n * pixels + q] + 1;", "test_points"),
    ("resample/resample.cu", "if (j < these) gx", "gx", "test_points"),
    (
        "resample/resample.cu",
        "(int)((i64)channels * group / groups)",
        "channels / groups * group",
        "test_channels_are_shared_out_to_threads",
    ),
    (
        "resample/resample.cu",
        "group = (int)(line - n * of.groups)",
        "group = 0",
        "test_channels_are_shared_out_to_threads",
    ),
    ("resample/resample.cu", "i < of.groups * all", "i < all", "test_channels_are_shared_out_to_threads"),
]

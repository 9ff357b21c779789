"""CUDA kernels of pooling in the emulation: against the formulas in float64, at ragged sizes, in several orders."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import cuda, pooling
from tinygrad_zoo.kernels.pooling import gpu
from tinygrad_zoo.kernels.windows import Windows, adaptive, pooled_size, strided
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")


@contextlib.contextmanager
def running(seed: int) -> Iterator[None]:
    """In that order, with so few blocks that threads go on to further entries, and nothing copied to the host."""
    with pytest.MonkeyPatch.context() as patch, schedule(seed), forbid_sync():
        patch.setattr(cuda, "MOST_BLOCKS", 1)
        yield


def pool(size: int, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> Windows:
    places = pooled_size(size, kernel, stride, padding, dilation, False)
    return strided(size, kernel, stride, padding, dilation, places, True, 1.0)


MAXIMA: dict[str, tuple[tuple[int, ...], tuple[Windows, ...]]] = {
    "one axis": ((2, 9, 67), (pool(67, 3, 2, 1),)),
    "two": ((2, 3, 13, 10), (pool(13, 3, 2, 1), pool(10, 2, 1, 0, 3))),
    "three": ((1, 2, 5, 9, 7), (pool(5, 2, 2), pool(9, 3, 1, 1, 2), adaptive(7, 3))),
    "two warps": ((2, 2, 19, 23), (adaptive(19, 3), adaptive(23, 1))),
    "many warps": ((1, 1, 3, 40, 30), (adaptive(3, 1), adaptive(40, 1), adaptive(30, 1))),
    "one warp": ((3, 1, 7, 11), (adaptive(7, 1), adaptive(11, 2))),
    "nothing": ((0, 2, 4), (adaptive(4, 2),)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_maxima(seed: int, dtype: str) -> None:
    for name, (shape, axes) in MAXIMA.items():
        rng = np.random.default_rng(len(name))
        for values in ("distinct", "equal", "NaN", "infinite"):
            x = rng.permutation(math.prod(shape)).reshape(shape).astype(float)
            x = x if values == "distinct" else x % 4
            if values == "NaN":
                x[rng.random(shape) < 0.1] = np.nan
            if values == "infinite":
                x[...] = -np.inf
            with running(seed):
                out, at = pooling.maxima(cupysim.asarray(x.astype(dtype)), axes)
            expected, places = pooling.maxima_formula(x, axes)
            assert out.dtype == dtype and at.dtype == np.int32
            np.testing.assert_array_equal(out.get(), expected, err_msg=f"{name}, {values}")
            np.testing.assert_array_equal(at.get(), places, err_msg=f"{name}, {values}")


def indexed(shape: tuple[int, ...], index: tuple[int, ...], pixels: int, dtype: str) -> tuple[Any, Any]:
    rng = np.random.default_rng(pixels)
    return rng.standard_normal(shape).astype(dtype), rng.integers(0, pixels, index)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_gather(seed: int, dtype: str) -> None:
    for shape, places in [((2, 3, 4, 5), (2, 3, 67)), ((3, 2, 7), (3, 1, 5, 11)), ((2, 1, 2, 2, 3), (2, 1, 1, 2, 1))]:
        x, index = indexed(shape, places, math.prod(shape[2:]), dtype)
        index[0, 0].flat[:2] = -1, math.prod(shape[2:])
        for kind in (np.int32, np.int64):
            with running(seed):
                made = pooling.gather(cupysim.asarray(x), cupysim.asarray(index.astype(kind)))
            whole = np.broadcast_to(index, (*shape[:2], *places[2:]))
            expected = np.full(whole.shape, np.nan)
            for at in np.ndindex(*whole.shape):
                if 0 <= whole[at] < math.prod(shape[2:]):
                    expected[at] = x[at[:2]].flat[whole[at]]
            assert made.dtype == dtype
            np.testing.assert_array_equal(made.get(), expected)


SCATTERED: dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {  # x, index, size
    "few places": ((2, 3, 13, 17), (2, 3, 13, 17), (5,)),
    "several warps a plane": ((2, 3, 300), (2, 3, 300), (7, 11)),
    "one index for all channels": ((3, 4, 70), (3, 1, 70), (3, 4, 5)),
    "one place": ((1, 2, 129), (1, 2, 129), (1,)),
    "no entries": ((2, 2, 0), (2, 2, 0), (3,)),
    "no planes": ((0, 2, 3), (0, 2, 3), (4, 2)),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", SEEDS)
def test_scatter(seed: int, dtype: str) -> None:
    """In the order of the entries, so bitwise what a loop makes, and what a later one wrote stays."""
    for name, (shape, places, size) in SCATTERED.items():
        x, index = indexed(shape, places, math.prod(size), dtype)
        for add in (True, False):
            with running(seed):
                made = pooling.scatter(cupysim.asarray(x), cupysim.asarray(index), size, add=add)
            expected = np.zeros((*shape[:2], math.prod(size)), dtype)
            for n, c in np.ndindex(*shape[:2]):
                at = index[n, c % places[1]].ravel()
                if add:
                    np.add.at(expected[n, c], at, x[n, c].ravel())
                else:
                    expected[n, c, at] = x[n, c].ravel()
            assert made.dtype == dtype and made.shape == (*shape[:2], *size)
            np.testing.assert_array_equal(made.get().reshape(expected.shape), expected, err_msg=name)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_warp_writes_several_slices_and_places_outside_are_passed_over(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, index = indexed((2, 5, 140), (2, 5, 140), 200, "float64")
    index -= 50
    monkeypatch.setattr(gpu, "WARPS", 35)  # three a plane
    for add in (True, False):
        with running(seed):
            made = pooling.scatter(cupysim.asarray(x), cupysim.asarray(index), (101,), add=add)
        expected = np.zeros((2, 5, 101))
        for at in np.ndindex(*index.shape):
            if 0 <= index[at] < 101:
                expected[(*at[:2], index[at])] = x[at] + (expected[(*at[:2], index[at])] if add else 0)
        np.testing.assert_array_equal(made.get(), expected)


def test_arrays_of_any_order_in_memory() -> None:
    x = np.random.default_rng(0).standard_normal((2, 6, 8, 3))
    moved = cupysim.asarray(x).transpose(0, 3, 1, 2)
    host = x.transpose(0, 3, 1, 2)
    axes = (pool(6, 3, 2), pool(8, 2, 2))
    with running(0):
        out, at = pooling.maxima(moved, axes)
        back = pooling.scatter(out[:, ::2], at[:, ::2], (6, 8))
        read = pooling.gather(moved[:, ::2], at[:, ::2])
    expected, places = pooling.maxima_formula(host, axes)
    np.testing.assert_array_equal(out.get(), expected)
    np.testing.assert_array_equal(read.get(), expected[:, ::2])
    np.testing.assert_array_equal(back.get(), pooling.scatter(expected[:, ::2].copy(), places[:, ::2].copy(), (6, 8)))


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_the_ops_run_them(axes: int) -> None:
    """Both orders of gradients are the host's."""
    x = np.random.default_rng(axes).permutation(5 * 7**axes).reshape(1, 5, *(7,) * axes) / 10.0
    results = []
    for place in (np.asarray, cupysim.asarray):
        leaf = tz.Tensor(place(x), requires_grad=True)
        out = getattr(tz, f"max_pool{axes}d")(leaf, 3, stride=2, padding=1)
        (first,) = gradients([(out**3).sum()], [leaf], [place(np.ones(()))], create_graph=True)
        (second,) = gradients([(first**2).sum()], [leaf], [place(np.ones(()))])
        results.append([made.numpy() for made in (out, first, second)])
    for host, made in zip(*results, strict=True):
        np.testing.assert_allclose(made, host, rtol=1e-12)


CUDA_FAULTS = [
    ("windows.cuh", "c < box.w.end", "c < box.w.end - (c > box.w.begin + 1)", "test_maxima"),
    ("windows.cuh", "offset[all + 1 + axis]", "offset[all + 1]", "test_maxima"),
    ("windows.cuh", "(int)(line - slab * of.high)", "(int)(line % of.wide)", "test_maxima"),
    ("windows.cuh", "j < count;", "j < count - 1;", "test_maxima"),
    ("pooling/pooling.cu", "b.value == a.value && b.place < a.place", "b.value == a.value", "test_maxima"),
    ("pooling/pooling.cu", "a.value == a.value || b.place > a.place", "a.value == a.value", "test_maxima"),
    (
        "pooling/pooling.cu",
        "  __syncthreads();\n  if (threadIdx.x) return;",
        "  if (threadIdx.x) return;",
        "test_maxima",
    ),
    (
        "pooling/pooling.cu",
        "  __syncthreads();\n  if (threadIdx.x) return;",
        "  if (threadIdx.x) return;\n  __syncthreads();",
        "test_maxima",
    ),
    ("pooling/pooling.cu", "other = WARP / 2; other", "other = WARP / 4; other", "test_maxima"),
    ("pooling/pooling.cu", "warp = 1; warp < warps", "warp = 1; warp < warps - 1", "test_maxima"),
    ("pooling/pooling.cu", "index[plane / sharing * entries", "index[plane % sharing * entries", "test_gather"),
    ("pooling/pooling.cu", "place >= 0 && place < pixels ?", "place < pixels ?", "test_gather"),
    ("pooling/pooling.cu", "if (turn == now) out", "if (turn >= now) out", "test_scatter"),
    ("pooling/pooling.cu", "if (turn == now) out", "if (turn >= 0 && now == 0) out", "test_scatter"),
    ("pooling/pooling.cu", "__popc(same & ((1u << lane) - 1))", "__popc(same >> lane)", "test_scatter"),
    ("pooling/pooling.cu", "places[k] >= 0 && same >> lane == 1", "places[k] >= 0", "test_scatter"),
    ("pooling/pooling.cu", "first - lane < entries", "first < entries", "test_scatter"),
    ("pooling/pooling.cu", "first += AHEAD * WARP", "first += WARP", "test_scatter"),
    (
        "pooling/pooling.cu",
        "places[k] < begin || places[k] >= end",
        "places[k] < begin || places[k] > end",
        "test_scatter",
    ),
    ("pooling/pooling.cu", "if (warp >= warps) return;", "if (warp > warps) return;", "test_scatter"),
    ("pooling/pooling.cu", "x += plane * entries, index += plane", "x += plane, index += plane", "test_scatter"),
    ("pooling/pooling.cu", "__any_sync(ALL, turn >= now)", "now < 2", "test_scatter"),
]

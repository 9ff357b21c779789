"""CUDA convolution in the emulation: against the formula in float64, at ragged sizes, in several orders of threads."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from tinygrad_zoo.kernels import conv
from tinygrad_zoo.kernels.conv import formula, gpu
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync, watch

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")
NEAR = {"float32": 2e-6, "float64": 1e-14}  # of the largest entry, for each root of the number of terms


class Case(NamedTuple):
    images: int
    channels: int
    made: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1

    @property
    def settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    @property
    def places(self) -> tuple[int, ...]:
        return formula.spatial(self.size, self.kernel, stride=self.stride, padding=self.padding, dilation=self.dilation)

    def drawn(self, dtype: Any) -> list[np.ndarray[Any, Any]]:
        """x, weight, bias, g."""
        rng = np.random.default_rng(0)
        weight = (self.made, self.channels // self.groups, *self.kernel)
        shapes = (self.images, self.channels, *self.size), weight, (self.made,), (self.images, self.made, *self.places)
        return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


# A small tile has 32 rows and 128 columns, a slice 8 terms; up to 4 rows there is no tile.
CASES = {
    "line": Case(2, 6, 40, (17,), (4,), (3,), ((2, 1),), (2,)),
    "plane": Case(2, 9, 33, (9, 21), (3, 2), (1, 2), ((1, 1), (0, 1)), (2, 1)),
    "fours": Case(1, 8, 36, (8, 8), (3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1)),
    "groups": Case(3, 10, 14, (7, 6), (2, 3), (2, 2), ((1, 1), (1, 1)), (1, 2), 2),
    "volume": Case(2, 5, 6, (4, 5, 3), (2, 3, 2), (2, 1, 2), ((1, 0), (1, 1), (0, 2)), (1, 2, 1)),
    "phases without taps": Case(2, 6, 7, (15,), (2,), (4,), ((1, 2),), (2,)),
    "cropped": Case(1, 5, 9, (9, 8), (2, 2), (1, 1), ((-1, 2), (1, -2)), (1, 1)),
    "stride beyond": Case(3, 5, 5, (2, 3), (1, 1), (5, 2), ((0, 1), (0, 0)), (1, 1)),
    "depthwise": Case(2, 4, 8, (6, 7), (3, 3), (2, 1), ((1, 1), (1, 2)), (1, 2), 4),
    "few": Case(2, 3, 4, (3, 4, 9), (2, 2, 3), (1, 2, 2), ((0, 0), (1, 0), (1, 1)), (1, 1, 3)),
    "many places": Case(5, 1, 2, (60,), (3,), (1,), ((1, 1),), (1,)),
}
LARGE = Case(2, 70, 130, (5, 17), (1, 2), (1, 1), ((0, 0), (0, 0)), (1, 1))
LARGE_FOURS = Case(1, 68, 66, (4, 20), (3, 1), (1, 1), ((1, 1), (0, 0)), (1, 1))


def near(made: Any, expected: Any, terms: int) -> None:
    assert made.shape == expected.shape
    scale = np.abs(expected).max(initial=0) * max(terms, 1) ** 0.5
    np.testing.assert_allclose(made.get(), expected, rtol=0, atol=NEAR[made.dtype.name] * scale)


def results(case: Case, dtype: str) -> tuple[Any, Any, Any, Any]:
    """y without and with bias, the gradients of x and weight."""
    x, weight, bias, g = map(cupysim.asarray, case.drawn(dtype))
    gx = conv.convolve_input(g, weight, size=case.size, **case.settings)
    gw = conv.convolve_weight(g, x, kernel=case.kernel, **case.settings)
    made = conv.convolve(x, weight, **case.settings), conv.convolve(x, weight, bias, **case.settings), gx, gw
    assert all(type(a) is cupysim.ndarray and a.dtype == dtype for a in made)
    return made


def check(case: Case, dtype: str) -> None:
    x, weight, bias, g = (a.astype(float) for a in case.drawn(dtype))
    plain, biased, gx, gw = results(case, dtype)
    kernel, places = int(np.prod(case.kernel)), int(np.prod(case.places))
    terms = kernel * case.channels // case.groups
    near(plain, formula.convolve(x, weight, None, **case.settings), terms)
    near(biased, formula.convolve(x, weight, bias, **case.settings), terms)
    expected = formula.convolve_input(g, weight, size=case.size, **case.settings)
    near(gx, expected, kernel * case.made // case.groups)
    near(gw, formula.convolve_weight(g, x, kernel=case.kernel, **case.settings), case.images * places)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", SEEDS)
def test_convolution_and_its_adjoints(seed: int, name: str, dtype: str) -> None:
    with schedule(seed):
        check(CASES[name], dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", [LARGE, LARGE_FOURS], ids=["ragged", "fours"])
@pytest.mark.parametrize("seed", SEEDS[1:])
def test_large_tiles(seed: int, case: Case, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "FULL", 1)
    launched = []
    launch = gpu.launch
    monkeypatch.setattr(gpu, "launch", lambda path, name, *a, **k: (launched.append(name), launch(path, name, *a, **k)))
    with schedule(seed):
        check(case, dtype)
    assert launched == ["correlate_large", "weight_gradient_large", "correlate_large", "correlate_large"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["plane", "depthwise", "many places"])
def test_a_sum_over_places_that_is_split(name: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TERMS", 24)
    check(CASES[name], dtype)


@pytest.mark.parametrize("name", ["groups", "depthwise", "many places"])
def test_the_order_of_threads_changes_no_bit(name: str) -> None:
    made = []
    for seed in SEEDS:
        with schedule(seed):
            made.append([a.get() for a in results(CASES[name], "float32")])
    assert all(np.array_equal(a, b) for other in made[1:] for a, b in zip(made[0], other, strict=True))


def test_sums_without_terms() -> None:
    for case in (Case(0, 6, 7, (5,), (2,), (1,), ((1, 1),), (1,)), Case(2, 0, 6, (5,), (2,), (1,), ((1, 1),), (1,))):
        check(case, "float32")
    check(Case(2, 6, 5, (0,), (2,), (1,), ((2, 1),), (1,)), "float32")
    x = cupysim.ones((2, 6, 3), np.float32)
    none = conv.convolve_input(x[:, :0], cupysim.ones((0, 6, 1), np.float32), size=(3,), **CASES["line"].settings)
    assert none.shape == (2, 6, 3) and (none.get() == 0).all()


def test_any_order_in_memory() -> None:
    case = CASES["groups"]
    x, weight, _, _ = case.drawn("float64")
    one = np.broadcast_to(np.float64(2), (case.images, case.made, *case.places))  # as the gradient of a sum is
    turned = cupysim.asarray(x.transpose(0, 2, 3, 1).copy()).transpose(0, 3, 1, 2)
    flipped, g = cupysim.asarray(weight[::-1].copy())[::-1], cupysim.broadcast_to(cupysim.asarray(2.0), one.shape)
    near(conv.convolve(turned, flipped, **case.settings), formula.convolve(x, weight, None, **case.settings), 30)
    made = conv.convolve_input(g, flipped, size=case.size, **case.settings)
    near(made, formula.convolve_input(one, weight, size=case.size, **case.settings), 42)
    made = conv.convolve_weight(g, turned, kernel=case.kernel, **case.settings)
    near(made, formula.convolve_weight(one, x, kernel=case.kernel, **case.settings), 60)


def test_what_kernels_serve() -> None:
    x, weight = (cupysim.asarray(a) for a in CASES["plane"].drawn("float32")[:2])
    assert conv._kernels(x, weight) is conv._kernels(x, weight, weight[:, 0, 0, 0]) is gpu
    for a, b in ((x, weight.astype(np.float64)), (x.astype(np.float16), weight.astype(np.float16)), (x[0, 0],) * 2):
        assert conv._kernels(a, b) is None
    assert conv._kernels(x[..., None, None], weight[..., None, None]) is None


def test_nothing_is_copied_from_the_device() -> None:
    with watch() as log, forbid_sync():
        case = CASES["plane"]
        x, weight, bias, g = map(cupysim.asarray, case.drawn("float32"))
        uploads = log.uploads
        conv.convolve(x, weight, bias, **case.settings)
        conv.convolve_input(g, weight, size=case.size, **case.settings)
        conv.convolve_weight(g, x, kernel=case.kernel, **case.settings)
    assert not log.hidden and not log.explicit and log.uploads == uploads


# What must be noticed: the file below kernels, what stands there once, what is written for it, and the test that fails.
SOURCE, ADJOINTS = "conv/conv.cu", "test_convolution_and_its_adjoints"
SPLIT = "test_a_sum_over_places_that_is_split"
CUDA_FAULTS = [
    (SOURCE, "    source.write(slices);\n    __syncthreads();", "    source.write(slices);", ADJOINTS),
    (SOURCE, "      __syncthreads();  // this slice has been read, the next one is there\n", "", ADJOINTS),
    (SOURCE, "__syncthreads();  // this slice", "if (threadIdx.x < 128) __syncthreads();  // this slice", ADJOINTS),
    (SOURCE, "source.write(slices + (half ^ 1) * SLICE)", "source.write(slices + half * SLICE)", ADJOINTS),
    (SOURCE, "bool more = done + DEPTH < depth;", "bool more = done + 2 * DEPTH < depth;", ADJOINTS),
    (SOURCE, "if (to.c >= c) to.c -= c, to.b++;", "if (to.c > c) to.c -= c, to.b++;", ADJOINTS),
    (SOURCE, "if (to.b >= b) to.b -= b, to.a++;", "if (to.b >= b) to.b -= b;", ADJOINTS),
    (SOURCE, "threadIdx.x / WARP / (ACROSS / 8) * 4", "threadIdx.x / WARP % (ACROSS / 8) * 4", ADJOINTS),
    (SOURCE, "group = blockIdx.x / tiles % groups;", "group = blockIdx.x % groups;", ADJOINTS),
    (SOURCE, "(j / 4 * ACROSS + across) * 4 + j % 4", "(j / 4 * 8 + across) * 4 + j % 4", "test_large_tiles"),
    (SOURCE, "inside(at.b, of.in.b) && ", "", ADJOINTS),
    (SOURCE, "if (n + x < of.columns) out[to[x]", "if (n + x + 1 < of.columns) out[to[x]", ADJOINTS),
    (SOURCE, "c.phase + t.c * c.step}", "c.phase + t.c}", ADJOINTS),
    (SOURCE, "while (step * dilation % stride) step++;", "step = stride;", ADJOINTS),
    (SOURCE, "(size - phase + stride - 1) / stride", "size / stride", ADJOINTS),
    (SOURCE, "-(step * dilation / stride)", "step * dilation / stride", ADJOINTS),
    (SOURCE, "places.volume(), first + span)", "places.volume(), first + span - 1)", SPLIT),
    (SOURCE, "first = blockIdx.y * span", "first = blockIdx.y * (span - 1)", SPLIT),
    (SOURCE, "step = split.places.digits(blockDim.x)", "step = split.places.digits(WARP)", ADJOINTS),
    (SOURCE, "if (n + y < split.columns) to[y]", "if (n + y + 1 < split.columns) to[y]", ADJOINTS),
    (SOURCE, "biased ? bias[part.group * of.rows + r]", "biased ? bias[r]", ADJOINTS),
    (SOURCE, "sum = over_block(sum, Sum(), dynamic_shared<T>());", "sum = over_warp(sum, Sum());", ADJOINTS),
]

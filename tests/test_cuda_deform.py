"""CUDA deformable convolution in the emulation: against the formula in float64, in several orders of threads."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.kernels import deform
from tinygrad_zoo.kernels.deform import gpu
from tinygrad_zoo.ops.composite import pulled
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync, watch

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")
NEAR = {"float32": 1e-5, "float64": 1e-13}  # of the largest entry


class Case(NamedTuple):
    images: int
    channels: int
    made: int
    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    sets: int = 1
    masked: bool = True
    far: float = 2.0  # how far offsets go

    @property
    def settings(self) -> dict[str, Any]:
        return {"stride": self.stride, "padding": self.padding, "dilation": self.dilation}

    @property
    def plan(self) -> dict[str, Any]:
        """The settings as kernels take them."""
        settings = {"stride": self.stride, "before": self.padding, "dilation": self.dilation, "places": self.places}
        return {**settings, "groups": self.groups, "offset_groups": self.sets}

    @property
    def places(self) -> tuple[int, ...]:
        each = zip(self.size, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in each)

    def drawn(self, dtype: Any) -> list[Any]:
        """x, offset, weight, bias, mask, g."""
        rng, n, taps = np.random.default_rng(0), self.images, math.prod(self.kernel)
        offset = rng.uniform(-self.far, self.far, (n, 2 * self.sets * taps, *self.places))
        mask = rng.uniform(0.5, 1.5, (n, self.sets * taps, *self.places)) if self.masked else None
        x, g = rng.standard_normal((n, self.channels, *self.size)), rng.standard_normal((n, self.made, *self.places))
        weight = rng.standard_normal((self.made, self.channels // self.groups, *self.kernel))
        arrays = x, offset, weight, rng.standard_normal(self.made), mask, g
        return [None if a is None else a.astype(dtype) for a in arrays]


# A thread makes 16 channels of a share, a block 128 places of a tap, or 32.
CASES = {
    "plain": Case(2, 3, 4, (5, 6), (3, 3), padding=(1, 1), masked=False),
    "ragged": Case(2, 20, 6, (9, 11), (2, 3), (1, 1), (0, 1)),
    "settings": Case(3, 4, 6, (8, 7), (3, 2), (2, 1), (2, 0), (1, 3), groups=2),
    "sets": Case(2, 36, 4, (4, 5), (1, 2), groups=2, sets=2),
    "sets across groups": Case(1, 6, 4, (5, 4), (2, 2), groups=2, sets=3, masked=False),
    "far away": Case(1, 2, 2, (4, 3), (3, 3), padding=(1, 1), far=12.0),
}


def device(x: Any) -> Any:
    return None if x is None else cupysim.asarray(x)


def near(made: Any, expected: Any) -> None:
    assert made.shape == expected.shape
    scale = np.abs(expected).max(initial=0)
    np.testing.assert_allclose(made.get(), expected, rtol=0, atol=NEAR[made.dtype.name] * scale)


def results(case: Case, arrays: list[Any]) -> list[Any]:
    """y, and the gradients of x, offset, weight and of the mask if there is one."""
    x, offset, weight, bias, mask, g = map(device, arrays)
    y = deform.convolve(x, offset, weight, bias, mask, **case.plan)
    found = deform.convolve_pulled(g, x, offset, weight, mask, **case.plan)
    assert y is not None and found is not None and (found[3] is None) == (mask is None)
    made = [y, *found] if case.masked else [y, *found[:3]]
    assert all(type(a) is cupysim.ndarray and a.dtype == arrays[0].dtype for a in made)
    return made


def expected(case: Case, arrays: list[Any]) -> list[Any]:
    """By the formula, in float64."""
    *inputs, g = (None if a is None else a.astype(float) for a in arrays)
    formula = ops.deform_conv2d.formula
    assert formula is not None
    found = pulled(formula, g, inputs, [True, True, True, False, case.masked], case.settings)
    wanted = [formula(*inputs, **case.settings), *found[:3], found[4]]
    return wanted if case.masked else wanted[:4]


def check(case: Case, arrays: list[Any]) -> list[Any]:
    made = results(case, arrays)
    for a, b in zip(made, expected(case, arrays), strict=True):
        near(a, b)
    return made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", SEEDS)
def test_all_gradients(seed: int, name: str, dtype: str) -> None:
    with schedule(seed):
        check(CASES[name], CASES[name].drawn(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_on_pixels_and_at_the_border(dtype: str) -> None:
    """Offsets in halves: samples on pixels, on the last row and column, and up to one pixel beside the image."""
    case = CASES["settings"]
    arrays = case.drawn(dtype)
    arrays[1] = np.round(2 * arrays[1]) / 2
    check(case, arrays)


def test_positions_that_are_no_numbers() -> None:
    case = CASES["plain"]
    x, offset, weight, bias, _, g = case.drawn("float64")
    offset[0, 0, 0, 0], offset[1, 3, 2, 1], offset[0, 4, 1, 1], offset[1, 5, 0, 0] = np.nan, np.nan, np.inf, -np.inf
    y, gx, go, _ = (a.get() for a in results(case, [x, offset, weight, bias, None, g]))
    lost = np.zeros(case.places, bool)
    lost[0, 0] = True
    assert (np.isnan(y[0]) == lost).all() and np.isfinite(y[1, :, 0, 0]).all()
    assert (np.isnan(y[1]).any(axis=0) == (np.indices(case.places) == [[[2]], [[1]]]).all(axis=0)).all()
    assert np.isfinite(gx).all() and np.isfinite(go).sum() >= go.size - 4
    finite = np.where(np.isfinite(offset), offset, 1e9)
    near(device(gx), expected(case, [x, finite, weight, bias, None, g])[1])


@pytest.mark.parametrize("name", ["ragged", "sets"])
def test_the_order_of_threads_changes_no_bit(name: str) -> None:
    made = []
    for seed in SEEDS:
        with schedule(seed):
            made.append([a.get() for a in results(CASES[name], CASES[name].drawn("float32"))])
    assert all(np.array_equal(a, b) for other in made[1:] for a, b in zip(made[0], other, strict=True))


def test_many_samples_around_one_pixel() -> None:
    """All taps of all places read near pixel (1, 2)."""
    case = Case(1, 3, 2, (4, 5), (2, 2))
    arrays = case.drawn("float32")
    at = np.indices(case.places) + np.indices(case.kernel).reshape(2, 4, 1, 1).swapaxes(0, 1)  # (taps, 2, places)
    moved = np.array([1.25, 2.5]).reshape(1, 2, 1, 1) - at
    arrays[1] = moved.reshape(arrays[1].shape).astype(np.float32)
    gx = check(case, arrays)[1].get()
    touched = np.zeros(case.size, bool)
    touched[1:3, 2:4] = True
    assert ((gx[0, 0] != 0) == touched).all()


def test_images_in_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["settings"]
    arrays = case.drawn("float64")
    whole = results(case, arrays)
    for images in (1, 2):
        monkeypatch.setattr(gpu, "MOST", images * 8 * case.channels * math.prod((*case.kernel, *case.places)))
        for a, b in zip(results(case, arrays), whole, strict=True):
            near(a, b.get())


def test_any_order_in_memory() -> None:
    case = CASES["settings"]
    arrays = case.drawn("float64")
    _, offset, weight, bias, _, g = map(device, arrays)
    turned = device(arrays[0].transpose(0, 2, 3, 1).copy()).transpose(0, 3, 1, 2)
    flipped = device(arrays[4][::-1].copy())
    one = np.broadcast_to(np.float64(2), arrays[5].shape)  # as the gradient of a sum is
    wanted = expected(case, [*arrays[:5], one])
    near(deform.convolve(turned, offset, weight, bias, flipped[::-1], **case.plan), wanted[0])
    made = deform.convolve_pulled(
        cupysim.broadcast_to(cupysim.asarray(2.0), g.shape), turned, offset, weight, flipped[::-1], **case.plan
    )
    for a, b in zip(made, wanted[1:], strict=True):
        near(a, b)


def test_what_kernels_serve() -> None:
    case = CASES["settings"]
    x, offset, weight, _, mask, _ = map(device, case.drawn("float32"))
    assert deform._served(x, offset, weight, None, mask) is gpu
    assert deform._served(x, offset.astype(np.float64), weight, None, mask) is None
    assert deform._served(x.astype(np.float16), offset, weight, None, mask) is None
    assert deform._served(x[:0], offset[:0], weight, None, None) is None


@pytest.mark.parametrize("images", [0, 2])
def test_the_op_runs_them(images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both orders of gradients: `deform_conv2d` on the device is the formula on the host; of no images too."""
    monkeypatch.setattr(deform, "module", lambda package: None)
    case = Case(images, 2, 2, (3, 4), (2, 2), padding=(1, 0))
    arrays, made = case.drawn("float64"), []
    for place in (np.asarray, cupysim.asarray):
        inputs = [tz.Tensor(place(a), requires_grad=True) for a in arrays[:5]]
        out = ops.deform_conv2d(*inputs[:4], mask=inputs[4], padding=case.padding)
        by_kernels = gradients([out], inputs, [place(arrays[5])])
        first = gradients([out], inputs, [place(arrays[5])], create_graph=True)
        total = sum(((a * a).sum() for a in first[1:]), start=(first[0] * first[0]).sum())
        second = gradients([total], inputs[:3], [place(np.ones(()))])
        made.append([a.numpy() for a in (out, *by_kernels, *first, *second)])
    for host, there in zip(*made, strict=True):
        np.testing.assert_allclose(there, host, rtol=1e-10, atol=1e-11)


def test_nothing_is_copied_from_the_device() -> None:
    case = CASES["settings"]
    x, offset, weight, bias, mask, g = map(device, case.drawn("float32"))
    with watch() as log, forbid_sync():
        deform.convolve(x, offset, weight, bias, mask, **case.plan)
        deform.convolve_pulled(g, x, offset, weight, mask, **case.plan)
    assert not log.hidden and not log.explicit and not log.uploads


# What must be noticed: the file below kernels, what stands there once, what is written for it, and the test that fails.
SOURCE, ALL = "deform/deform.cu", "test_all_gradients"
CUDA_FAULTS = [
    (SOURCE, "  __syncthreads();\n", "", ALL),
    (SOURCE, "  __syncthreads();\n", "  if (there) __syncthreads();\n", ALL),
    (SOURCE, "other = WARP + lane; other < apart", "other = WARP + lane; other < apart - WARP", ALL),
    (SOURCE, "own = warp * WARP + lane, apart", "own = warp * lane, apart", ALL),
    (SOURCE, "if (warp || !there) return;", "if (!there) return;", ALL),
    (SOURCE, "channel += warps)", "channel += 1)", ALL),
    (SOURCE, "around.at += (i64)warps * s.pixels();", "around.at += s.pixels();", ALL),
    (SOURCE, "begin = part % parts * CHANNELS", "begin = part % parts", ALL),
    (SOURCE, "set = part / parts, first", "set = part % s.sets, first", ALL),
    (SOURCE, "!(at >= -1 && at < size)", "!(at >= 0 && at < size)", "test_on_pixels_and_at_the_border"),
    (SOURCE, "behind = at == at ? T(0) : at;", "behind = 0;", "test_positions_that_are_no_numbers"),
    (SOURCE, "sample.y >= -1 && sample.y + 1 < s.height", "sample.y >= -1 && sample.y < s.height", ALL),
    (SOURCE, "right = sample.x >= -1 && sample.x + 1 < s.width", "right = sample.x + 1 < s.width", ALL),
    (SOURCE, "(above ? found.down : 1 - found.down)", "(above ? 1 - found.down : found.down)", ALL),
    (SOURCE, "(k < own ? found.right", "(k <= own ? found.right", ALL),
    (SOURCE, "(keys[order[middle]] < bin)", "(keys[order[middle]] <= bin)", ALL),
    (SOURCE, "(keys[order[middle]] < bin)", "(keys[middle] < bin)", ALL),
    (SOURCE, "bool seen = found.y >= -1 && found.x >= -1;", "bool seen = found.y >= -1;", ALL),
    (SOURCE, "+ y + 1 - above) * (width + 1) + x;", "+ y + 1 - above) * width + x;", ALL),
    (SOURCE, ": 1 - found.right) * found.factor;", ": 1 - found.right);", ALL),
]

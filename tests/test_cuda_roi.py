"""CUDA kernels of regions in the emulation: against their formulas, at ragged sizes, in several orders of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from test_boxes import kept_by_pairs
from test_roi import odd_regions, regions
from tinygrad_zoo.kernels import roi as kernels
from tinygrad_zoo.ops import composite
from tinygrad_zoo.testing import cupysim
from tinygrad_zoo.testing.cupysim.raw_module import schedule
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync, watch

SEEDS = (0, 1, 5)  # threads in order, backwards, shuffled
DTYPES = ("float32", "float64")
NEAR = {"float32": 3e-5, "float64": 1e-11}


@pytest.fixture(params=SEEDS, ids=lambda seed: f"order{seed}")
def order(request: pytest.FixtureRequest) -> Any:
    with schedule(request.param):
        yield


def device(x: Any) -> Any:
    return None if x is None else cupysim.asarray(x)


def draw(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    return rng.standard_normal(shape).astype(dtype)


def boxes_on(
    rng: np.random.Generator, shape: tuple[int, ...], count: int, dtype: str, scale: float = 1.0, on_pixels: float = 0.0
) -> np.ndarray[Any, Any]:
    """Half of them lie on images of that shape, and half are odd; in a random order."""
    plain = regions(rng, count // 2, shape[0], 1.0)
    plain[:, 1:] *= np.array([shape[3], shape[2]] * 2) / scale
    whole = rng.random(len(plain)) < on_pixels
    plain[whole] = np.round(plain[whole])
    odd = odd_regions(rng, shape[0], count - len(plain), dtype, on_pixels)
    return rng.permutation(np.concatenate([plain.astype(dtype), odd]))


def near(made: Any, expected: Any, dtype: str) -> None:
    assert made.dtype == dtype and made.shape == expected.shape
    scale = np.abs(expected[np.isfinite(expected)]).max(initial=1.0)
    np.testing.assert_allclose(made.get(), expected, rtol=NEAR[dtype], atol=NEAR[dtype] * scale)


def on_device(op: Any, inputs: list[Any], settings: dict[str, Any], g: Any = None) -> list[Any]:
    """The value of an op and the gradients of all but the last input, which are boxes, with nothing read back."""
    arrays, needs = [device(a) for a in inputs], [True] * (len(inputs) - 1) + [False]
    with forbid_sync():
        out, *saved = made if isinstance(made := op.forward(*arrays, **settings), tuple) else (made,)
        pulled = op.backward.forward(device(g), out, *arrays, *saved, needs=needs, **settings) if g is not None else []
    return [out, *pulled[: len(inputs) - 1]]


def check(op: Any, inputs: list[Any], shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    """Both are near those of the op's formula in float64."""
    dtype, wide = inputs[0].dtype.name, [a.astype(np.float64) for a in inputs]
    g = draw(np.random.default_rng(9), dtype, *shape)
    needs = [True] * (len(inputs) - 1) + [False]
    with np.errstate(all="ignore"):
        expected = [
            op.formula(*wide, **settings),
            *composite.pulled(op.formula, g.astype(float), wide, needs, settings),
        ]
    made = on_device(op, inputs, settings, g)
    for found, right in zip(made, expected[: len(inputs)], strict=True):
        near(found, right, dtype)


# ---- the largest pixel
def pixels(rng: np.random.Generator, dtype: str, *shape: int) -> np.ndarray[Any, Any]:
    """Many are equal, some are not finite."""
    x = np.round(draw(rng, dtype, *shape))
    some = rng.random(x.shape) < 0.05
    x[some] = rng.choice([np.nan, np.inf, -np.inf], some.sum())
    return x


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "count", "size", "scale"),
    [((2, 3, 9, 7), 60, (3, 4), 1.0), ((3, 1, 20, 21), 300, (1, 1), 0.25), ((1, 2, 1, 2), 3, (7, 7), 0.5)],
)
def test_the_largest_pixel(
    shape: tuple[int, ...], count: int, size: tuple[int, int], scale: float, dtype: str, order: None
) -> None:
    """The formula's bits in its dtype: equal pixels, NaN, more boxes and more bins than a block has threads."""
    rng = np.random.default_rng(count)
    x, boxes = pixels(rng, dtype, *shape), boxes_on(rng, shape, count, dtype, scale, 0.4)
    settings = {"output_size": size, "spatial_scale": scale}
    with np.errstate(all="ignore"):
        expected, place = tz.roi_pool.formula(x, boxes, **settings), tz.ops.roi._largest(x, boxes, size, scale)
    out, at = kernels.largest(device(x), device(boxes), size, scale)
    assert out.dtype == dtype and np.array_equal(out.get(), expected, equal_nan=True)
    assert np.array_equal(at.get(), place)
    g = draw(rng, dtype, *expected.shape)
    gx = np.zeros((*shape[:2], shape[2] * shape[3]))
    k, c, *_ = found = np.nonzero(place >= 0)
    np.add.at(gx, (boxes[k, 0].astype(int), c, place[found]), g[found])
    near(kernels.largest_pulled(device(g), device(boxes), at, shape), gx.reshape(shape), dtype)


# ---- means of samples
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 1, 3])
def test_means_of_samples(ratio: int, aligned: bool, dtype: str, order: None) -> None:
    """Several tiles, ragged, and a chunk of channels that is not full; more bins near a tile than it has threads."""
    rng = np.random.default_rng(ratio + 5)
    x = draw(rng, dtype, 2, 10, 11, 35)
    boxes = boxes_on(rng, x.shape, 24, dtype, 0.5)
    settings = {"output_size": (4, 8), "spatial_scale": 0.5, "sampling_ratio": ratio, "aligned": aligned}
    check(tz.roi_align, [x, boxes], (24, 10, 4, 8), settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("aligned", [False, True])
def test_samples_on_pixels_and_on_the_border(aligned: bool, dtype: str) -> None:
    """Whole numbers and halves are computed without rounding: samples at -1 and at the end are inside."""
    rng = np.random.default_rng(3)
    x, corners = draw(rng, dtype, 1, 2, 5, 6), rng.integers(-6, 16, (40, 4)) / 2
    boxes = np.concatenate([np.zeros((40, 1)), corners], axis=1).astype(dtype)
    for ratio in (1, 2):
        settings = {"output_size": (1, 2), "spatial_scale": 1.0, "sampling_ratio": ratio, "aligned": aligned}
        check(tz.roi_align, [x, boxes], (40, 2, 1, 2), settings)


@pytest.mark.parametrize("dtype", DTYPES)
def test_more_boxes_than_a_block_has_threads(dtype: str, order: None) -> None:
    rng = np.random.default_rng(4)
    x = draw(rng, dtype, 2, 1, 9, 9)
    boxes = boxes_on(rng, x.shape, 600, dtype)
    settings = {"output_size": 1, "spatial_scale": 1.0, "sampling_ratio": 2, "aligned": True}
    check(tz.roi_align, [x, boxes], (600, 1, 1, 1), settings)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("ratio", [-1, 2])
def test_moved_bins(ratio: int, dtype: str, order: None) -> None:
    """All channels by one move, and position-sensitive maps by one for each class."""
    rng = np.random.default_rng(ratio + 5)
    boxes = boxes_on(rng, (2, 41, 10, 36), 7, dtype)
    settings = {"spatial_scale": 1.0, "sampling_ratio": ratio, "gamma": 0.3, "aligned": ratio > 0}
    offset, classes = draw(rng, dtype, 7, 2, 3, 2), draw(rng, dtype, 7, 4, 2, 2)
    offset[0, 0, 0, 0], offset[1, 1, 2, 1], classes[2, 1, 1, 1], classes[3, 2, 0, 0] = np.nan, 30, np.nan, -40
    x, maps = draw(rng, dtype, 2, 41, 10, 36), draw(rng, dtype, 2, 18 * 4, 10, 36)
    check(tz.deform_roi_pool, [x, offset, boxes], (7, 41, 3, 2), {"output_size": (3, 2), **settings})
    check(tz.deform_ps_roi_pool, [maps, classes, boxes], (7, 18, 2, 2), {"output_size": 2, **settings})


# ---- means of pixels
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
@pytest.mark.parametrize(("shape", "count", "size"), [((2, 80, 10, 34), 9, (4, 2)), ((1, 2, 9, 9), 300, (2, 1))])
def test_means_of_pixels(
    shape: tuple[int, ...], count: int, size: tuple[int, int], convention: str, dtype: str, order: None
) -> None:
    rng = np.random.default_rng(6)
    x, boxes = draw(rng, dtype, *shape), boxes_on(rng, shape, count, dtype, 0.5, 0.4)
    made = (count, shape[1] // (size[0] * size[1]), *size)
    check(tz.ps_roi_pool, [x, boxes], made, {"output_size": size, "spatial_scale": 0.5, "convention": convention})


# ---- of all
SETTINGS: dict[Any, dict[str, Any]] = {
    tz.roi_pool: {},
    tz.ps_roi_pool: {"convention": "caffe"},
    tz.roi_align: {"sampling_ratio": 2, "aligned": False},
    tz.deform_roi_pool: {"sampling_ratio": -1, "aligned": False, "gamma": 0.1},
}


def inputs_of(op: Any, rng: np.random.Generator, boxes: Any, n: int, channels: int, dtype: str) -> list[Any]:
    offset = [draw(rng, dtype, len(boxes), 2, 2, 2)] if op is tz.deform_roi_pool else []
    return [draw(rng, dtype, n, channels, 6, 7), *offset, boxes]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", SETTINGS)
def test_a_box_of_no_image_is_nan_and_sends_no_gradient(op: Any, dtype: str) -> None:
    """Nobody looks at indices on a device: such boxes read nothing, and those beside them are what they are alone."""
    box, settings = [1.0, 0, 0, 3, 4], {"output_size": (2, 2), "spatial_scale": 1.0, **SETTINGS[op]}
    boxes = np.array([[2, *box[1:]], box, [-1, *box[1:]], [np.nan, *box[1:]], [1, 0, np.inf, 1, 2], [1e9, 0, 0, 1, 1]])
    inputs = inputs_of(op, np.random.default_rng(1), boxes.astype(dtype), 2, 4, dtype)
    g = draw(np.random.default_rng(2), dtype, 6, 1 if op is tz.ps_roi_pool else 4, 2, 2)
    out, gx, *moved = on_device(op, inputs, settings, g)
    alone = [inputs[0], *(a[1:2] for a in inputs[1:])]
    out_alone, gx_alone, *moved_alone = on_device(op, alone, settings, g[1:2])
    assert np.array_equal(out.get()[1:2], out_alone.get()) and np.array_equal(gx.get(), gx_alone.get())
    assert np.isnan(out.get()[[0, 2, 3, 4, 5]]).all() and np.isfinite(out_alone.get()).all()
    for all_moved, one_moved in zip(moved, moved_alone, strict=True):
        assert np.array_equal(all_moved.get()[1:2], one_moved.get())
        assert not all_moved.get()[[0, 2, 3, 4, 5]].any()


@pytest.mark.parametrize("op", SETTINGS)
def test_of_nothing(op: Any) -> None:
    settings = {"output_size": (2, 2), "spatial_scale": 1.0, **SETTINGS[op]}
    for n, channels, count in ((2, 4, 0), (0, 4, 0), (1, 0, 3)):
        inputs = inputs_of(op, np.random.default_rng(0), np.zeros((count, 5)), n, channels, "float64")
        made = channels // 4 if op is tz.ps_roi_pool else channels
        out, *pulled = on_device(op, inputs, settings, np.ones((count, made, 2, 2)))
        assert out.shape == (count, made, 2, 2)
        for gradient, a in zip(pulled, inputs[:-1], strict=True):
            assert gradient.shape == a.shape and not gradient.get().any()


def test_a_pixel_that_is_not_a_number_shows_where_it_is_read() -> None:
    x, boxes = np.ones((1, 4, 6, 6)), np.array([[0.0, 0, 0, 3, 3], [0, 3.5, 3.5, 5, 5], [0, 2.5, 2.5, 4.5, 4.5]])
    x[0, :, 5, 5] = np.nan
    sampled = {"output_size": (2, 2), "spatial_scale": 1.0, "sampling_ratio": 1, "aligned": False}
    (out,) = on_device(tz.roi_align, [x, boxes], sampled)
    assert np.isnan(out.get()).any(axis=(2, 3)).tolist() == [[False] * 4, [True] * 4, [False] * 4]
    g = np.ones(out.shape)
    g[1] = np.nan  # goes to the pixels around the second box alone
    gx = on_device(tz.roi_align, [x, boxes], sampled, g)[1].get()
    assert np.isnan(gx[..., 3:, 3:]).all() and np.isfinite(gx[..., :3, :]).all() and np.isfinite(gx[..., :3]).all()


def test_gradients_are_the_same_bits_in_any_order_of_threads() -> None:
    rng = np.random.default_rng(7)
    boxes = boxes_on(rng, (2, 4, 6, 7), 60, "float32")
    for op, found in SETTINGS.items():
        settings, made = {"output_size": (2, 2), "spatial_scale": 1.0, **found}, set()
        inputs = inputs_of(op, rng, boxes, 2, 8, "float32")
        g = draw(rng, "float32", 60, 2 if op is tz.ps_roi_pool else 8, 2, 2)
        for seed in SEEDS:
            with schedule(seed):
                made.add(tuple(a.get().tobytes() for a in on_device(op, inputs, settings, g)))
        assert len(made) == 1


# ---- suppression
def crowd(rng: np.random.Generator, n: int, dtype: str) -> np.ndarray[Any, Any]:
    """Boxes on whole numbers, of which many overlap, some by just half, some are the same, and few are not finite."""
    low = rng.integers(0, 2 + n // 8, (n, 2))
    boxes = np.concatenate([low, low + rng.integers(0, 5, (n, 2))], axis=1).astype(dtype)
    boxes[rng.random((n, 4)) < 0.01] = rng.choice([np.nan, np.inf])
    return boxes


@pytest.fixture
def by_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's arrays are served by no kernel."""
    monkeypatch.setattr(kernels, "module", lambda package: None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [0, 1, 5, 63, 64, 65, 200])
def test_suppression(n: int, dtype: str, order: None, by_formula: None) -> None:
    """As on the host, by falling score, of equal ones the first, and the last those that are NaN."""
    rng = np.random.default_rng(n)
    boxes, scores, labels = crowd(rng, n, dtype), rng.integers(-4, 4, n) / 4, rng.integers(-2, 1, n)
    signed = labels / 2 * (1 - 2 * rng.integers(0, 2, n))  # 0 and -0 are one group
    scores[rng.random(n) < 0.05] = np.nan
    for threshold in (0.0, 0.25, 1 / 3, 0.5):
        for of_each in (None, labels, signed, labels < 0):
            made = kernels.suppressed(device(boxes), device(scores), device(of_each), threshold)
            expected = kernels.suppressed(boxes, scores, of_each, threshold)
            assert made.dtype == np.int64 and made.get().tolist() == expected.tolist()
            if dtype == "float64" and not np.isnan(scores).any():
                groups = np.zeros(n) if of_each is None else of_each
                with np.errstate(all="ignore"):
                    assert expected.tolist() == kept_by_pairs(boxes, scores, groups, threshold)


def test_of_boxes_that_all_overlap_one_stays(order: None) -> None:
    boxes, scores = np.zeros((700, 4), np.float32), np.arange(700, dtype=np.int32)
    boxes[:, 2:] = 1
    assert kernels.suppressed(device(boxes), device(scores), None, 0.9).get().tolist() == [699]
    assert kernels.suppressed(device(boxes), device(scores), device(np.arange(700)), 0.9).get().tolist() == [
        *range(699, -1, -1)
    ]


def test_suppression_reads_one_number_back() -> None:
    boxes, scores, labels = (device(a) for a in (np.eye(4), np.arange(4.0), np.zeros(4, np.int64)))
    with watch() as log:
        kept = (
            tz.nms.forward(boxes, scores, iou_threshold=0.5),
            tz.batched_nms.forward(boxes, scores, labels, iou_threshold=0.5),
        )
    assert not log.hidden and not log.uploads and [copy.what for copy in log.explicit] == ["get()"] * 2
    assert all(type(k) is type(boxes) for k in kept)
    whole = device(np.array([[0, 0, 2, 2], [0, 0, 2, 2]])), device(np.array([1, 2]))  # no kernel: the host's serve
    assert kernels.suppressed(*whole, None, 0.5) is None
    assert tz.nms.forward(*whole, iou_threshold=0.5).get().tolist() == [1]


# What must be noticed: the file below kernels, what stands there once, what is written for it, and the test that fails.
CUDA_FAULTS = [
    (
        "roi/roi.cuh",
        "  __syncthreads();  // the counts are there, and nobody reads the last list any more\n",
        "",
        "test_means_of_samples",
    ),
    (
        "roi/roi.cuh",
        "  __syncthreads();  // the list is there, and the counts have been read\n",
        "",
        "test_means_of_samples",
    ),
    ("roi/roi.cuh", "votes & ((1u << lane) - 1)", "votes & ((2u << lane) - 1)", "test_means_of_samples"),
    ("roi/roi.cuh", "if (other < warp) before", "if (other <= warp) before", "test_means_of_samples"),
    ("roi/roi.cuh", "  if (lane == 0) counts[warp]", "  if (lane == warp) counts[0]", "test_means_of_samples"),
    (
        "roi/roi.cuh",
        "box[0] >= 0 && box[0] < images",
        "box[0] >= 0 && box[0] <= images",
        "test_a_box_of_no_image_is_nan_and_sends_no_gradient",
    ),
    ("roi/roi.cuh", "i = 1; i < 5", "i = 1; i < 4", "test_the_largest_pixel"),
    ("roi/largest.cu", "size - whole >= T(0.5)", "size - whole > T(0.5)", "test_the_largest_pixel"),
    ("roi/largest.cu", "value > best ||", "value >= best ||", "test_the_largest_pixel"),
    ("roi/largest.cu", " || (value != value && best == best)", "", "test_the_largest_pixel"),
    ("roi/largest.cu", "      __syncthreads();  // the last bins have been added\n", "", "test_the_largest_pixel"),
    (
        "roi/largest.cu",
        "values[threadIdx.x] = value;\n      __syncthreads();\n",
        "values[threadIdx.x] = value;\n",
        "test_the_largest_pixel",
    ),
    (
        "roi/largest.cu",
        "      __syncthreads();  // the last bins have been added\n",
        "      if (at >= 0) __syncthreads();\n",
        "test_the_largest_pixel",
    ),
    ("roi/largest.cu", "leads = leads && other >= threadIdx.x, total", "total", "test_the_largest_pixel"),
    ("roi/largest.cu", "if (leads) plane[at] += total", "if (leads) plane[at] = total", "test_the_largest_pixel"),
    (
        "roi/largest.cu",
        "first < count; first += blockDim.x",
        "first < count && !first; first += blockDim.x",
        "test_the_largest_pixel",
    ),
    (
        "roi/bins.cuh",
        "if (h < bin.rows.low || h > bin.rows.high",
        "if (h < bin.rows.low || h >= bin.rows.high",
        "test_means_of_samples",
    ),
    ("roi/bins.cuh", "rows.low < top + DOWN", "rows.low < top + DOWN - 1", "test_means_of_samples"),
    (
        "roi/bins.cuh",
        "if (h >= at.height || w >= at.width) return;",
        "if (h >= at.height) return;",
        "test_means_of_samples",
    ),
    (
        "roi/bins.cuh",
        "base < found * per; base += blockDim.x",
        "base < found * per && !base; base += blockDim.x",
        "test_means_of_samples",
    ),
    (
        "roi/bins.cuh",
        "first < at.count; first += blockDim.x",
        "first < at.count && !first; first += blockDim.x",
        "test_more_boxes_than_a_block_has_threads",
    ),
    ("roi/bins.cuh", "at.sensitive ? own : e % per", "e % per", "test_means_of_pixels"),
    ("roi/bins.cuh", "(sensitive ? b : 0)", "0", "test_means_of_pixels"),
    ("roi/bins.cuh", "at.each() + chunk * CHANNELS, many", "at.each() + chunk, many", "test_means_of_samples"),
    ("roi/averaged.cu", "low, behind - 1}", "low, behind}", "test_means_of_pixels"),
    ("roi/averaged.cu", "max(behind - low, 1)", "(behind - low)", "test_means_of_pixels"),
    ("roi/averaged.cu", "k * at.p + b / at.q", "k * at.p + b % at.p", "test_means_of_pixels"),
    ("roi/pooled.cu", "at >= -1 && at <= pixels", "at > -1 && at < pixels", "test_samples_on_pixels_and_on_the_border"),
    ("roi/pooled.cu", "limited(most + 1, pixels - 1)", "limited(most, pixels - 1)", "test_means_of_samples"),
    (
        "roi/pooled.cu",
        "    last = limited((pixel + 1 - first) / step + T(1.5), last);\n",
        "    last = limited((pixel - first) / step, last);\n",
        "test_means_of_samples",
    ),
    ("roi/pooled.cu", "if (last - i > 4 && step > 0)", "if (last - i > 2)", "test_means_of_samples"),
    ("roi/pooled.cu", "if (weight == 0) continue;", "", "test_a_pixel_that_is_not_a_number_shows_where_it_is_read"),
    ("roi/pooled.cu", "return y == y && x == x;", "return y == y;", "test_moved_bins"),
    ("roi/pooled.cu", "aligned || length > 1 ? length", "length > 1 ? length", "test_means_of_samples"),
    ("roi/pooled.cu", "(row.inner ? width : 0)", "width", "test_moved_bins"),
    (
        "roi/pooled.cu",
        "c < (s + 1) * at.each(); c += WARP",
        "c < (s + 1) * at.each() && c < WARP; c += WARP",
        "test_moved_bins",
    ),
    ("roi/pooled.cu", "along_y = over_warp(along_y, Sum()), along_x", "along_x", "test_moved_bins"),
    ("roi/pooled.cu", "return moved || tile.meets", "return tile.meets", "test_moved_bins"),
    ("roi/nms.cu", "  __syncthreads();\n  if (row >= n) return;", "  if (row >= n) return;", "test_suppression"),
    (
        "roi/nms.cu",
        "  __syncthreads();\n  if (row >= n) return;",
        "  if (row >= n) return;\n  __syncthreads();",
        "test_suppression",
    ),
    ("roi/nms.cu", "? threadIdx.x + 1 : 0", "? threadIdx.x + 2 : 0", "test_suppression"),
    ("roi/nms.cu", "area - shared) > threshold", "area - shared) >= threshold", "test_suppression"),
    (
        "roi/nms.cu",
        "    __syncthreads();  // the words are there, and who is dead of these boxes\n",
        "",
        "test_suppression",
    ),
    ("roi/nms.cu", "u64 alive = ~dead[block]", "u64 alive = ~dead[0]", "test_suppression"),
    ("roi/nms.cu", "    before += __popcll(stay);", "    before += many;", "test_suppression"),
    ("roi/nms.cu", "if (stay >> row & 1) hit", "hit", "test_suppression"),
    ("roi/nms.cu", "      if (many < BITS) alive &= (1ull << many) - 1;\n", "", "test_suppression"),
    (
        "roi/nms.cu",
        "word = block + 1 + threadIdx.x; word < across; word += blockDim.x",
        "word = block + 2 + threadIdx.x; word < across; word += blockDim.x",
        "test_suppression",
    ),
]

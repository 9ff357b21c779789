"""Regions of interest: torchvision's numbers, torch's compositions, kernels against formulas, and what goes wrong."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from kernel_memory import Canaries
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, UsageError
from tinygrad_zoo.kernels import jit, threads
from tinygrad_zoo.kernels import roi as kernels
from tinygrad_zoo.ops import composite, deform, roi, roi_bins
from tinygrad_zoo.ops import roi_reference as by_loops
from tinygrad_zoo.testing import seeds

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

GOLDEN = np.load(Path(__file__).parent / "goldens" / "torchvision.npz")
CASES = sorted({key.rpartition("/out")[0] for key in GOLDEN.files if key.endswith("/out")})
FEWER = settings().max_examples // 4


def golden(case: str) -> tuple[list[Any], dict[str, Any]]:
    """The arrays and settings of a case."""
    arrays = [GOLDEN[f"{case}/{i}"] for i in range(8) if f"{case}/{i}" in GOLDEN.files]
    found = json.loads(str(GOLDEN[f"{case}/settings"]))
    return arrays, {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}


def close(found: Any, expected: Any, dtype: str) -> None:
    tolerance = 1e-9 if dtype == "float64" else 1e-5
    scale = max(1.0, float(np.abs(expected[np.isfinite(expected)]).max(initial=0)))
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * scale)


def with_gradients(case: str, call: Any, arrays: list[Any], dtype: str) -> None:
    """Values and gradients of the golden file's."""
    tensors = [
        tz.tensor(a.astype(dtype), requires_grad=f"{case}/grad/{i}" in GOLDEN.files) for i, a in enumerate(arrays)
    ]
    out = call(*tensors)
    close(out.numpy(), GOLDEN[f"{case}/out"], dtype)
    if f"{case}/weight" not in GOLDEN.files:
        return
    out.backward(tz.tensor(GOLDEN[f"{case}/weight"].astype(dtype)))
    for i, t in enumerate(tensors):
        if t.requires_grad:
            close(t.grad.numpy(), GOLDEN[f"{case}/grad/{i}"], dtype)


# ---- torchvision's numbers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in CASES if c.partition("/")[0] in ("roi_pool", "ps_roi_pool", "roi_align")])
def test_pooling_is_that_of_torchvision(case: str, dtype: str) -> None:
    op = getattr(tz, case.partition("/")[0])
    arrays, found = golden(case)
    with_gradients(case, lambda x, boxes: op(x, boxes, **found), arrays, dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("ps_roi_align")])
def test_deformable_pooling_that_is_not_moved_is_that_of_torchvision(case: str, dtype: str) -> None:
    """Position-sensitive maps, by its ps_roi_align."""
    (x, boxes), found = golden(case)
    zeros = np.zeros((len(boxes), 2, *np.broadcast_to(found["output_size"], 2)), dtype)
    with_gradients(
        case, lambda x, b: tz.deform_ps_roi_pool(x, tz.tensor(zeros), b, aligned=True, **found), [x, boxes], dtype
    )


@pytest.mark.parametrize("case", [c for c in CASES if c.startswith("roi_align")])
def test_deformable_pooling_that_is_not_moved_is_roi_align(case: str) -> None:
    (x, boxes), found = golden(case)
    zeros = np.zeros((len(boxes), 2, *np.broadcast_to(found["output_size"], 2)))
    with_gradients(case, lambda x, b: tz.deform_roi_pool(x, tz.tensor(zeros), b, **found), [x, boxes], "float64")


@pytest.mark.parametrize("case", [c for c in CASES if c.partition("/")[0] in ("nms", "batched_nms", "box_iou")])
def test_boxes_are_those_of_torchvision(case: str) -> None:
    op = getattr(tz, case.partition("/")[0])
    arrays, found = golden(case)
    if op is tz.box_iou:
        with_gradients(case, op, arrays, "float64")
    else:
        assert op(*arrays, **found).tolist() == GOLDEN[f"{case}/out"].tolist()


# ---- torch's compositions
def sampled_by_torch(x: Any, boxes: Any, offset: Any, size: Any, ratio: int, gamma: float) -> Any:
    """Means of ratio² samples of each bin, by grid_sample within one image."""
    (_, c, height, width), (p, q) = x.shape, size
    at = boxes[:, 1:]
    wide, high = (at[:, 2] - at[:, 0]).clamp(min=1), (at[:, 3] - at[:, 1]).clamp(min=1)
    i, j = torch.arange(p)[:, None], torch.arange(q)[None]
    step = (torch.arange(ratio, dtype=x.dtype) + 0.5) / ratio
    y = at[:, 1, None, None] + (i + gamma * offset[:, 0] * p) * (high / p)[:, None, None]  # (K, P, Q)
    z = at[:, 0, None, None] + (j + gamma * offset[:, 1] * q) * (wide / q)[:, None, None]
    y = y[..., None, None] + (step[:, None] * (high / p)[:, None, None, None, None])
    z = z[..., None, None] + (step[None] * (wide / q)[:, None, None, None, None])
    y, z = torch.broadcast_tensors(y, z)  # (K, P, Q, r, r)
    grid = torch.stack([2 * z / (width - 1) - 1, 2 * y / (height - 1) - 1], -1).reshape(len(boxes), p * q, ratio**2, 2)
    read = F.grid_sample(x[boxes[:, 0].long()], grid, align_corners=True, padding_mode="border")
    inside = ((y >= -1) & (y <= height) & (z >= -1) & (z <= width)).reshape(len(boxes), 1, p * q, ratio**2)
    return (read * inside).mean(-1).reshape(len(boxes), c, p, q)


def regions(rng: np.random.Generator, count: int, n: int, size: float) -> np.ndarray:
    low = rng.uniform(-1, 0.8 * size, (count, 2))
    return np.concatenate([rng.integers(0, n, (count, 1)), low, low + rng.uniform(0, size, (count, 2))], axis=1)


@pytest.mark.oracle("torch")
@settings(max_examples=FEWER)
@given(seeds(), st.sampled_from([("float64", 1e-9), ("float32", 1e-5)]))
def test_both_orders_of_gradients_of_moved_bins_are_those_of_torch(seed: int, kind: tuple[str, float]) -> None:
    dtype, tolerance = kind
    rng = np.random.default_rng(seed)
    n, c, p, q, ratio = (int(v) for v in rng.integers(1, 4, 5))
    x, boxes = rng.standard_normal((n, c, 6, 7)).astype(dtype), regions(rng, 3, n, 6).astype(dtype)
    offset, g = (rng.standard_normal(s).astype(dtype) for s in ((3, 2, p, q), (3, c, p, q)))
    a, b = rng.standard_normal(x.shape).astype(dtype), rng.standard_normal(offset.shape).astype(dtype)

    def derivatives(lib: Any, grad: Any, call: Any) -> list[Any]:
        leaves = [lib.tensor(v, requires_grad=True) for v in (x, offset, g)]
        out = call(leaves[0], leaves[1])
        gx, go = grad([(out * leaves[2]).sum()], leaves[:2], True)
        second = grad([(gx * lib.tensor(a)).sum() + (go * lib.tensor(b)).sum()], leaves, False)
        zeros = [np.zeros(v.shape) for v in (x, offset, g)]
        return [v if z is None else z for v, z in zip(zeros, [*second], strict=True)] + [gx, go, out]

    def ours(outputs: Any, leaves: Any, graph: bool) -> Any:
        return tz.autograd.gradients(outputs, leaves, [tz.ones((), dtype=dtype)], create_graph=graph)

    def theirs(outputs: Any, leaves: Any, graph: bool) -> Any:
        return torch.autograd.grad(outputs, leaves, create_graph=graph, retain_graph=True, allow_unused=True)

    mine = derivatives(
        tz, ours, lambda x, o: tz.deform_roi_pool(x, o, tz.tensor(boxes), (p, q), sampling_ratio=ratio, gamma=0.3)
    )
    expected = derivatives(torch, theirs, lambda x, o: sampled_by_torch(x, torch.tensor(boxes), o, (p, q), ratio, 0.3))
    for found, right in zip(mine, expected, strict=True):
        found, right = (np.asarray(v.detach().numpy() if hasattr(v, "detach") else v) for v in (found, right))
        np.testing.assert_allclose(found, right, rtol=tolerance, atol=tolerance * max(1, np.abs(right).max(initial=0)))


# ---- kernels against formulas
CANARIES = Canaries()


@contextlib.contextmanager
def in_parts(parts: int, *modules: Any) -> Iterator[None]:
    """New arrays lie among canaries, and work is cut into so many parts however small it is."""
    before, whole = [m.np for m in modules], threads.parts
    threads.openmp()
    threads.parts = lambda nanoseconds: parts
    for m in modules:
        m.np = CANARIES
    try:
        yield
    finally:
        threads.parts = whole
        for m, old in zip(modules, before, strict=True):
            m.np = old


def agrees_with_its_formula(op: Any, inputs: list[Any], found: dict[str, Any], parts: int, *modules: Any) -> Any:
    """Value and gradients of an op's kernels; returns the value."""
    boxes = "output_size" in found  # the last array then, which has no gradient
    needs = [x is not None and not (boxes and i == len(inputs) - 1) for i, x in enumerate(inputs)]
    with in_parts(parts, *modules):
        out, *saved = made if isinstance(made := op.forward(*inputs, **found), tuple) else (made,)
        g = np.random.default_rng(0).standard_normal(out.shape).astype(out.dtype)
        pulled = op.backward.forward(g, out, *inputs, *saved, needs=needs, **found)
    CANARIES.check()
    expected = [op.formula(*inputs, **found), *composite.pulled(op.formula, g, inputs, needs, found)]
    tolerance = 1e-10 if out.dtype == "float64" else 1e-4
    for mine, right in zip([out, *pulled], expected, strict=True):
        assert (mine is None) == (right is None)
        if mine is not None:
            assert mine.dtype == right.dtype and mine.shape == right.shape
            scale = np.abs(right[np.isfinite(right)]).max(initial=1.0)
            np.testing.assert_allclose(mine, right, rtol=tolerance, atol=tolerance * scale)
    return out


def odd_regions(rng: np.random.Generator, n: int, count: int, dtype: str, on_pixels: float = 0.4) -> np.ndarray:
    """Points, boxes that end before they begin, outside, far outside, on pixels, not finite."""
    corners = rng.uniform(-4, 12, (count, 4))
    corners[rng.random(count) < 0.3] += 1000
    whole = rng.random(count) < on_pixels
    corners[whole] = np.round(corners[whole])
    point = rng.random(count) < 0.2
    corners[point, 2:] = corners[point, :2]
    corners[rng.random((count, 4)) < 0.03] = rng.choice([np.nan, np.inf, -np.inf, 1e6])
    return np.concatenate([rng.integers(0, n, (count, 1)), corners], axis=1).astype(dtype)


COMPILED = st.sampled_from(
    [("float64", 1), ("float32", 1), ("float32", 2), ("float32", 3)]
)  # fewer to compile than all


@pytest.mark.skipif(not jit.enabled(), reason="kernels are turned off")
@settings(max_examples=FEWER)
@given(seeds(), COMPILED)
def test_kernels_are_their_formulas(seed: int, kind: tuple[str, int]) -> None:
    dtype, parts = kind
    rng = np.random.default_rng(seed)
    n, c, count = (int(v) for v in rng.integers((1, 1, 0), (3, 20, 5)))
    (p, q), (height, width) = rng.choice([1, 2, 4], 2).tolist(), rng.choice([1, 2, 7, 9], 2).tolist()
    scale, ratio = float(rng.choice([1.0, 0.5, 0.25])), int(rng.choice([-1, 1, 2]))
    boxes = odd_regions(rng, n, count, dtype, 0.4 if ratio > 0 else 0.0)  # where sums of thirds would be rounded
    x = rng.standard_normal((n, c, height, width)).astype(dtype)
    x = x if rng.random() < 0.5 else np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    maps = rng.standard_normal((n, c * p * q, height, width)).astype(dtype)
    common: dict[str, Any] = {"output_size": (p, q), "spatial_scale": scale}
    sampled = {**common, "sampling_ratio": ratio, "aligned": bool(rng.integers(2))}
    moved = {**sampled, "gamma": float(rng.choice([0.1, 1.0]))}
    offset = rng.standard_normal((count, 2, p, q)).astype(dtype)
    offset[rng.random(offset.shape) < 0.05] = rng.choice([np.nan, 30.0])
    classes = rng.standard_normal((count, 2 * c, p, q)).astype(dtype)
    with np.errstate(all="ignore"):
        agrees_with_its_formula(tz.roi_align, [x, boxes], sampled, parts, kernels)
        agrees_with_its_formula(tz.deform_roi_pool, [x, offset, boxes], moved, parts, kernels)
        agrees_with_its_formula(tz.deform_ps_roi_pool, [maps, classes, boxes], moved, parts, kernels)
        for convention in ("torchvision", "caffe"):
            agrees_with_its_formula(tz.ps_roi_pool, [maps, boxes], {**common, "convention": convention}, parts, kernels)
        x, boxes = np.round(x), odd_regions(rng, n, count, dtype)  # ties, and halves
        x[rng.random(x.shape) < 0.05] = rng.choice([np.nan, np.inf, -np.inf])
        agrees_with_its_formula(tz.roi_pool, [x, boxes], common, parts, kernels)


def test_a_part_more_changes_no_bit() -> None:
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((2, 9, 7, 8), np.float32), odd_regions(rng, 2, 9, "float32")
    results = []
    for parts in (1, 2, 3):
        with in_parts(parts):
            leaf = tz.tensor(x, requires_grad=True)
            out = tz.roi_align(leaf, boxes, 3) * 2 + tz.roi_pool(leaf, boxes, 3)
            out.backward(np.nan_to_num(out.numpy()))
            results.append((out.numpy().tobytes(), leaf.grad.numpy().tobytes()))
    assert len({*results}) == 1


@pytest.mark.skipif(not jit.enabled(), reason="kernels are turned off")
def test_a_pixel_that_is_not_a_number_shows_where_it_is_read() -> None:
    x = np.ones((1, 3, 6, 6))
    x[0, :, 5, 5] = np.nan
    boxes = np.array([[0.0, 0, 0, 3, 3], [0, 3.5, 3.5, 5, 5]])
    for out in (tz.roi_align(x, boxes, 2), tz.roi_pool(x, boxes, 2), tz.ps_roi_pool(x, boxes, 1, 1.0, "caffe")):
        assert not np.isnan(out[0]).any() and np.isnan(out[1]).any()
    one = tz.roi_pool(x, boxes, 2)
    assert np.isnan(one[1, :, 1, 1]).all() and (one[1, :, 0, 0] == 1).all()


@pytest.mark.parametrize("op", [tz.roi_pool, tz.roi_align, tz.ps_roi_pool])
def test_boxes_that_are_not_finite_are_nan_and_send_no_gradient(op: Any) -> None:
    x = tz.tensor(np.ones((1, 4, 5, 5)), requires_grad=True)
    boxes = np.array([[0.0, np.nan, 0, 3, 3], [0, 0, 0, np.inf, 3], [0, 1, 1, 3, 3]])
    out = op(x, boxes, 2)
    assert np.isnan(out.numpy()[:2]).all() and not np.isnan(out.numpy()[2]).any()
    out.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


# ---- by hand
def test_a_list_of_boxes_is_the_table_of_them() -> None:
    rng = np.random.default_rng(0)
    x, table = rng.standard_normal((3, 4, 6, 6)), regions(rng, 6, 3, 6)
    table = table[np.argsort(table[:, 0], kind="stable")]
    listed = [tz.tensor(table[table[:, 0] == i, 1:]) for i in range(3)]
    for op in (tz.roi_pool, tz.roi_align, tz.ps_roi_pool):
        expected = op(x, table, 2, 0.5)
        for found in (op(x, listed, 2, 0.5), op(x, boxes=listed, output_size=2, spatial_scale=0.5)):
            assert np.array_equal(np.asarray(found), expected)
        assert np.array_equal(op(x, *[b.numpy() for b in listed], 2, 0.5), expected)
    assert tz.roi_align(x[:1], [np.zeros((0, 4))], 2).shape == (0, 4, 2, 2)
    assert tz.roi_align(x[:0], [], 2).shape == (0, 4, 2, 2)
    leaf = tz.tensor(x, requires_grad=True)
    tz.roi_align(leaf, np.zeros((0, 5)), 2).sum().backward()
    assert not leaf.grad.numpy().any()


def test_boxes_get_no_gradient() -> None:
    x, boxes = tz.tensor(np.ones((1, 1, 4, 4)), requires_grad=True), tz.tensor([[0.0, 0, 0, 2, 2]], requires_grad=True)
    for op in (tz.roi_pool, tz.roi_align, tz.ps_roi_pool):
        op(x, boxes, 1).sum().backward()
        assert boxes.grad is None and x.grad is not None


def test_of_equal_pixels_the_first_gets_the_gradient_of_every_region_over_it() -> None:
    x = tz.tensor(np.array([[[[1.0, 5.0, 5.0], [5.0, 0.0, 0.0]]]]), requires_grad=True)
    tz.roi_pool(x, np.array([[0.0, 0, 0, 2, 1]] * 3), 1).sum().backward()
    assert x.grad.tolist() == [[[[0.0, 3.0, 0.0], [0.0, 0.0, 0.0]]]]


def test_a_region_outside_pools_to_zero() -> None:
    x, outside = np.full((1, 4, 3, 3), 7.0), np.array([[0.0, 20, 20, 25, 25], [0, -9, -9, -6, -6]])
    for op in (tz.roi_pool, tz.roi_align, tz.ps_roi_pool):
        assert not np.asarray(op(x, outside, 2)).any()


def position_sensitive(pool: Callable[..., Any]) -> None:
    """Maps that are constant, their own index, show which map a bin reads."""
    for p, q in ((2, 3), (3, 1)):
        maps = np.broadcast_to(np.arange(4.0 * p * q).reshape(1, -1, 1, 1), (1, 4 * p * q, 9, 9))
        out = pool(maps, np.array([[0.0, 1, 1, 6, 6]]), (p, q))
        assert np.allclose(out, np.arange(4 * p * q).reshape(1, 4, p, q))


@pytest.mark.parametrize("convention", ["torchvision", "caffe"])
def test_a_bin_reads_the_map_of_its_place(convention: str) -> None:
    position_sensitive(lambda x, b, size: tz.ps_roi_pool(x, b, size, convention=convention))
    position_sensitive(lambda x, b, size: tz.deform_ps_roi_pool(x, np.zeros((1, 2, *size)), b, size))


def moves_like_the_box(pool: Callable[..., Any]) -> None:
    """A bin moved by whole pixels is the bin of the box moved by them: y apart from x."""
    rng = np.random.default_rng(0)
    x, box = rng.standard_normal((1, 2, 20, 20)), np.array([[0.0, 6, 5, 11, 8]])  # 5 wide, 3 high
    for dy, dx in ((2, 0), (0, 3), (-3, 1)):
        offset = np.broadcast_to(np.array([dy / (0.1 * 3), dx / (0.1 * 5)]).reshape(1, 2, 1, 1), (1, 2, 2, 2))
        expected = tz.roi_align(x, box + np.array([0, dx, dy, dx, dy]), 2, sampling_ratio=2)
        assert np.allclose(pool(x, offset, box, output_size=2, sampling_ratio=2), expected, rtol=0, atol=1e-12)


def each_region_has_its_own(pool: Callable[..., Any]) -> None:
    rng = np.random.default_rng(0)
    x, boxes, offset = rng.standard_normal((1, 2, 9, 9)), regions(rng, 3, 1, 6), rng.standard_normal((3, 2, 2, 2))
    alone = [pool(x, offset[k : k + 1], boxes[k : k + 1], output_size=2) for k in range(3)]
    assert np.allclose(pool(x, offset, boxes, output_size=2), np.concatenate(alone), rtol=0, atol=1e-12)


def test_offsets_are_in_units_of_each_region() -> None:
    moves_like_the_box(tz.deform_roi_pool)
    each_region_has_its_own(tz.deform_roi_pool)


def test_a_class_has_offsets_of_its_own() -> None:
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((1, 4 * 4, 9, 9)), np.array([[0.0, 1, 1, 6, 7]])
    offset = rng.standard_normal((1, 4, 2, 2))
    both = tz.deform_ps_roi_pool(x, offset, boxes, 2)
    for s in range(2):
        assert np.allclose(both[:, 2 * s : 2 * s + 2], tz.deform_ps_roi_pool(
            x[:, 8 * s : 8 * s + 8], offset[:, 2 * s : 2 * s + 2], boxes, 2
        ))  # fmt: skip


def test_what_does_not_fit_is_refused() -> None:
    x, boxes = np.ones((2, 4, 5, 5)), np.array([[0.0, 0, 0, 2, 2]])
    with pytest.raises(IndexingError, match="indices of 2 images"):
        tz.roi_align(x, boxes + 2, 2)
    with pytest.raises(IndexingError):
        tz.roi_pool(x, boxes + 0.5, 2)
    with pytest.raises(IndexingError):
        tz.roi_pool(x, np.array([[np.nan, 0, 0, 1, 1]]), 2)
    with pytest.raises(ShapeError, match="one for each of 2 images"):
        tz.roi_align(x, [boxes[:, 1:]], 2)
    with pytest.raises(ShapeError, match=r"boxes \(K, 5\)"):
        tz.roi_align(x, boxes[:, :3], 2)
    with pytest.raises(ShapeError):
        tz.roi_align(x[0], boxes, 2)
    with pytest.raises(ShapeError):
        tz.roi_align(x[..., :0], boxes, 2)
    with pytest.raises(ShapeError, match="multiple of 3 · 3"):
        tz.ps_roi_pool(x, boxes, 3)
    with pytest.raises(UsageError, match="torchvision, caffe"):
        tz.ps_roi_pool(x, boxes, 2, convention="mine")
    with pytest.raises(UsageError):
        tz.roi_align(x, boxes, 0)
    with pytest.raises(ShapeError, match=r"offsets \(1, 2, 2, 2\)"):
        tz.deform_roi_pool(x, np.zeros((1, 4, 2, 2)), boxes, 2)
    with pytest.raises(ShapeError, match="classes"):
        tz.deform_ps_roi_pool(x, np.zeros((1, 6, 2, 2)), boxes, 2)
    with pytest.raises(DTypeError):
        tz.roi_align(x, "boxes", 2)
    with pytest.raises(ShapeError, match="one a box"):
        tz.nms(np.ones((3, 4)), np.ones(2), 0.5)
    with pytest.raises(ShapeError, match="idxs"):
        tz.batched_nms(np.ones((3, 4)), np.ones(3), np.ones(2, int), 0.5)
    with pytest.raises(ShapeError, match="boxes2"):
        tz.box_iou(np.ones((3, 4)), np.ones((2, 5)))


# ---- what is easily got wrong
def mutant(module: ModuleType, old: str, new: str) -> ModuleType:
    """The module with another text in one place."""
    text = inspect.getsource(module)
    assert text.count(old) == 1, (module.__name__, old)
    made = ModuleType(module.__name__)
    made.__dict__.update({"__package__": module.__package__, "__file__": module.__file__})
    exec(compile(text.replace(old, new), str(module.__file__), "exec"), made.__dict__)
    return made


def as_torchvision(name: str) -> Callable[[Any], None]:
    """A check of a formula by the golden values."""

    def check(op: Callable[..., Any]) -> None:
        for case in CASES:
            if case.partition("/")[0] == name:
                arrays, found = golden(case)
                close(op(*arrays, **{**DEFAULTS.get(name, {}), **found}), GOLDEN[f"{case}/out"], "float64")

    return check


DEFAULTS = {"ps_roi_pool": {"convention": "torchvision"}}
MOVED = {"spatial_scale": 1.0, "sampling_ratio": 2, "gamma": 0.1, "aligned": False}


def moved_by_formula(module: ModuleType) -> Callable[..., Any]:
    return lambda *inputs, **found: module.deform_roi_pool.formula(*inputs, **{**MOVED, **found})


def sensitive_by_formula(module: ModuleType) -> Callable[..., Any]:
    return lambda *inputs: module.ps_roi_pool.formula(
        *inputs[:-1], output_size=inputs[-1], spatial_scale=1.0, convention="torchvision"
    )


# A mistake: the module, its text, the text in its place, what is checked of the module, by what.
MISTAKES: dict[str, tuple[ModuleType, str, str, Callable[[ModuleType], Any], Callable[[Any], None]]] = {
    "a region without its last pixel": (
        roi, "- corners[:, axis] + 1, 1)", "- corners[:, axis], 1)",
        lambda m: m.roi_pool.formula, as_torchvision("roi_pool"),
    ),
    "an average called RoI pooling": (
        roi, "return _pool_at(x, regions, _largest(x, regions, size, spatial_scale))",
        "return roi_align(x, *boxes, output_size=size, spatial_scale=spatial_scale)",
        lambda m: m.roi_pool.formula, as_torchvision("roi_pool"),
    ),
    "offsets in pixels": (
        deform, "gamma * moved[:, :, axis] * span.length[:, None, None, None]", "gamma * moved[:, :, axis]",
        moved_by_formula, moves_like_the_box,
    ),
    "no gamma": (deform, "gamma * moved[:, :, axis]", "moved[:, :, axis]", moved_by_formula, moves_like_the_box),
    "Δx before Δy": (
        deform, "gamma * moved[:, :, axis]", "gamma * moved[:, :, 1 - axis]", moved_by_formula, moves_like_the_box,
    ),
    "offsets of all regions at once": (
        deform, "gamma * moved[:, :, axis]", "gamma * moved[:1, :, axis]", moved_by_formula, each_region_has_its_own,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str) -> None:
    module, old, new, taken, check = MISTAKES[name]
    check(taken(module))
    with pytest.raises(AssertionError):
        check(taken(mutant(module, old, new)))


# The same of roi_bins, which the ops read when they run.
SHARED_MISTAKES: dict[str, tuple[str, str, Callable[[], Any], Callable[[Any], None]]] = {
    "half rounded to even": (
        "return xp.copysign(whole + (xp.abs(x) - whole >= 0.5), x)", "return xp.rint(x)",
        lambda: roi.roi_pool.formula, as_torchvision("roi_pool"),
    ),
    "half rounded to even, position-sensitive": (
        "return xp.copysign(whole + (xp.abs(x) - whole >= 0.5), x)", "return xp.rint(x)",
        lambda: roi.ps_roi_pool.formula, as_torchvision("ps_roi_pool"),
    ),
    "maps in order of bins": (
        "each = index_select(x, image, axis=0).reshape((k, sets, c // sets, bins, *size))",
        "each = index_select(x, image, axis=0).reshape((k, sets, bins, c // sets, *size)).swapaxes(2, 3)",
        lambda: sensitive_by_formula(roi), position_sensitive,
    ),
    "every bin of all maps": (
        "each = index_select(x, image, axis=0).reshape((k, sets, c // sets, bins, *size))",
        "each = index_select(x, image, axis=0).reshape((k, sets, c // sets, bins, *size))\n"
        "        each = each * 0 + each.mean(axis=3, keepdims=True)",
        lambda: sensitive_by_formula(roi), position_sensitive,
    ),
    "samples farther out than a pixel": (
        "(place >= -1) & (place <= size)", "(place >= -2) & (place <= size + 1)",
        lambda: roi.roi_align.formula, as_torchvision("roi_align"),
    ),
    "one sample a bin": (
        "count, near = xp.ceil(each), _NEAR", "count, near = xp.ones_like(each), _NEAR",
        lambda: roi.roi_align.formula, as_torchvision("roi_align"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHARED_MISTAKES)
def test_a_shared_mistake_is_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, taken, check = SHARED_MISTAKES[name]
    check(taken())
    monkeypatch.setattr(roi, "bins", mutant(roi_bins, old, new))
    with pytest.raises(AssertionError):
        check(taken())


def test_references_read_what_formulas_read() -> None:
    """Loops over samples, on boxes that are not whole numbers."""
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((2, 3, 5, 6)), odd_regions(rng, 2, 30, "float64")
    boxes = boxes[np.isfinite(boxes).all(axis=1)]
    for ratio in (-1, 2):
        for aligned in (False, True):
            found = {"output_size": (2, 3), "spatial_scale": 0.5, "sampling_ratio": ratio, "aligned": aligned}
            np.testing.assert_allclose(
                tz.roi_align(x, boxes, **found), by_loops.roi_align(x, boxes, **found), atol=1e-12
            )

"""Deformable convolution: torchvision's numbers, torch's composition to the second order, its formula, its module."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import oracles
import tinygrad_zoo as tz
from test_boxes import python_calls
from test_roi import (
    CASES,
    COMPILED,
    GOLDEN,
    agrees_with_its_formula,
    close,
    golden,
    mutant,
    with_gradients,
)
from tinygrad_zoo.errors import ShapeError, UsageError
from tinygrad_zoo.kernels import jit
from tinygrad_zoo.kernels.conv import formula as convolution
from tinygrad_zoo.ops import deform
from tinygrad_zoo.testing import seeds

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

FEWER = settings().max_examples // 4
OWN = [case for case in CASES if case.startswith("deform_conv2d")]


def called(function: Callable[..., Any], case: str) -> tuple[Callable[..., Any], list[Any]]:
    arrays, found = golden(case)
    return lambda x, o, w, b, m=None: function(x, o, w, b, mask=m, **found), arrays


# ---- torchvision's numbers
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", OWN)
def test_values_and_gradients_are_those_of_torchvision(case: str, dtype: str) -> None:
    call, arrays = called(tz.deform_conv2d, case)
    with_gradients(case, call, arrays, dtype)


# ---- torch's composition
def by_grid_sample(
    x: Any, offset: Any, weight: Any, bias: Any, mask: Any, stride: Any, padding: Any, dilation: Any
) -> Any:
    """Every tap's pixels by grid_sample, each share of the channels with its own offsets, then products."""
    (n, c, height, width), (k, each, kh, kw) = x.shape, weight.shape
    taps, (rows, columns) = kh * kw, offset.shape[2:]
    sets, groups = offset.shape[1] // (2 * taps), c // each
    offset = offset.reshape(n * sets, taps, 2, rows, columns)
    a, b = torch.arange(taps) // kw * dilation[0], torch.arange(taps) % kw * dilation[1]
    y = offset[:, :, 0] + a[:, None, None] - padding[0] + torch.arange(rows)[:, None] * stride[0]
    z = offset[:, :, 1] + b[:, None, None] - padding[1] + torch.arange(columns) * stride[1]
    grid = torch.stack([(2 * z + 1) / width - 1, (2 * y + 1) / height - 1], -1).reshape(
        n * sets, taps * rows, columns, 2
    )
    read = F.grid_sample(x.reshape(n * sets, c // sets, height, width), grid, align_corners=False)
    read = read.reshape(n, sets, c // sets, taps, rows, columns)
    if mask is not None:
        read = read * mask.reshape(n, sets, 1, taps, rows, columns)
    read = read.reshape(n, groups, each * taps, rows * columns)
    out = torch.matmul(weight.reshape(groups, k // groups, each * taps), read).reshape(n, k, rows, columns)
    return out if bias is None else out + bias[:, None, None]


def drawn(rng: np.random.Generator, dtype: str) -> tuple[list[Any], dict[str, Any]]:
    """Any groups of both kinds, strides, paddings and dilations; offsets that reach far out."""
    sets, groups, shares = (int(v) for v in rng.integers(1, 4, 3))
    c, k, n = sets * groups * int(rng.integers(1, 3)), groups * int(rng.integers(1, 4)), int(rng.integers(1, 4))
    kernel, stride, dilation, padding = (tuple(rng.integers(1, 4, 2).tolist()) for _ in range(4))
    size = [
        max(d * (m - 1) + 1 - 2 * p, 1) + int(rng.integers(0, 6))
        for d, m, p in zip(dilation, kernel, padding, strict=True)
    ]
    places = [
        (s + 2 * p - d * (m - 1) - 1) // t + 1
        for s, p, d, m, t in zip(size, padding, dilation, kernel, stride, strict=True)
    ]
    taps = kernel[0] * kernel[1]
    offset = rng.standard_normal((n, 2 * sets * taps, *places)) * shares
    arrays = [rng.standard_normal((n, c, *size)), offset, rng.standard_normal((k, c // groups, *kernel))]
    arrays += [rng.standard_normal(k) if rng.random() < 0.7 else None]
    arrays += [rng.standard_normal((n, sets * taps, *places)) if rng.random() < 0.7 else None]
    found = {"stride": stride, "padding": padding, "dilation": dilation}
    return [None if a is None else a.astype(dtype) for a in arrays], found


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-5)])
@settings(max_examples=FEWER)
@given(seed=seeds())
def test_values_and_both_orders_of_gradients_are_those_of_torch(seed: int, dtype: str, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    arrays, found = drawn(rng, dtype)
    if dtype == "float32":  # rounded positions must lie between the same pixels in both
        arrays[1] = np.floor(arrays[1]) + rng.uniform(0.1, 0.9, arrays[1].shape).astype(dtype)
    g = rng.standard_normal(tz.deform_conv2d.formula(*arrays, **found).shape).astype(dtype)
    vs = [None if a is None else rng.standard_normal(a.shape).astype(dtype) for a in arrays]

    def derivatives(lib: Any, grad: Callable[..., Any], call: Callable[..., Any]) -> list[Any]:
        slots = [None if a is None else lib.tensor(a, requires_grad=True) for a in arrays]
        leaves, cotangent = [s for s in slots if s is not None], lib.tensor(g, requires_grad=True)
        out = call(*slots)
        first = grad((out * cotangent).sum(), leaves, True)
        total = sum((f * lib.tensor(v)).sum() for f, v in zip(first, [v for v in vs if v is not None], strict=True))
        return [out, *first, *grad(total, [*leaves, cotangent], False)]

    def ours(value: Any, leaves: Any, graph: bool) -> Any:
        return tz.autograd.gradients([value], leaves, [tz.ones((), dtype=dtype)], create_graph=graph)

    def theirs(value: Any, leaves: Any, graph: bool) -> Any:
        return torch.autograd.grad(value, leaves, create_graph=graph, retain_graph=True, allow_unused=True)

    mine = derivatives(tz, ours, lambda x, o, w, b, m: tz.deform_conv2d(x, o, w, b, mask=m, **found))
    expected = derivatives(torch, theirs, lambda *slots: by_grid_sample(*slots, **found))
    for ours_, right in zip(mine, expected, strict=True):
        if right is None or ours_ is None:
            assert all(v is None or not v.detach().numpy().any() for v in (ours_, right))
            continue
        right = right.detach().numpy()
        bound = tolerance * max(1, np.abs(right).max(initial=0))
        np.testing.assert_allclose(ours_.numpy(), right, rtol=tolerance, atol=bound)


# ---- kernels against the formula
@pytest.mark.skipif(not jit.enabled(), reason="kernels are turned off")
@settings(max_examples=FEWER)
@given(seeds(), COMPILED)
def test_kernels_are_the_formula(seed: int, kind: tuple[str, int]) -> None:
    """Offsets on whole numbers, on the border, far outside; tails of channels; x in either layout."""
    dtype, parts = kind
    from tinygrad_zoo.kernels.deform import cpu

    rng = np.random.default_rng(seed)
    arrays, found = drawn(rng, dtype)
    x, offset, weight = arrays[:3]
    if rng.random() < 0.4:  # channels by the vector, and some more
        times = int(rng.choice([7, 16, 33]))
        arrays[0], arrays[2] = np.repeat(x, times, axis=1), np.repeat(weight, times, axis=1)
    whole = rng.random(offset.shape) < 0.4
    offset[whole] = np.round(offset[whole])
    offset[rng.random(offset.shape) < 0.1] = rng.choice([1e9, -1e30, np.inf, -40.0])
    if rng.random() < 0.5:
        arrays[0] = np.ascontiguousarray(arrays[0].transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    agrees_with_its_formula(tz.deform_conv2d, arrays, found, parts, cpu)


@pytest.mark.skipif(not jit.enabled(), reason="kernels are turned off")
def test_large_images_are_cut_into_tiles_and_parts() -> None:
    rng = np.random.default_rng(0)
    x, offset, mask = (rng.standard_normal(s, np.float32) for s in ((3, 9, 13, 11), (3, 18, 13, 11), (3, 9, 13, 11)))
    weight, found = (
        rng.standard_normal((70, 9, 3, 3), np.float32),
        {"stride": (1, 1), "padding": (1, 1), "dilation": (1, 1)},
    )
    weight = np.concatenate([weight] * 2, axis=0)
    results = [
        agrees_with_its_formula(tz.deform_conv2d, [x, offset, weight, None, mask], found, parts) for parts in (1, 2, 3)
    ]
    assert len({out.tobytes() for out in results}) == 1


@pytest.mark.parametrize("module", ["kernel", "formula"])
def test_an_offset_that_is_not_a_number_makes_its_place_one(module: str) -> None:
    rng = np.random.default_rng(0)
    x, offset, weight = rng.standard_normal((1, 5, 6, 6)), np.zeros((1, 18, 6, 6)), rng.standard_normal((3, 5, 3, 3))
    offset[0, 7, 2, 3] = np.nan
    found = {"stride": 1, "padding": 1, "dilation": 1}
    forward = tz.deform_conv2d.forward if module == "kernel" else tz.deform_conv2d.formula
    out = forward(x, offset, weight, None, None, **found)
    assert np.isnan(out[0, :, 2, 3]).all() and np.isnan(out).sum() == 3
    gx = tz.deform_conv2d.backward.forward(
        np.ones_like(out), out, x, offset, weight, None, None, needs=[True] * 5, **found
    )[0]
    assert np.isfinite(gx).all()


# ---- by hand
def convolved(conv: Callable[..., Any]) -> None:
    """Without offsets it is the convolution."""
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((2, 4, 6, 7)), rng.standard_normal((6, 2, 3, 2))
    settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    plain = {**settings, "padding": ((1, 1), (2, 2)), "groups": 2}
    expected = convolution.convolve(x, weight, None, **plain)
    zeros = np.zeros((2, 12, *expected.shape[2:]))
    assert np.allclose(conv(x, zeros, weight, None, **settings), expected, rtol=0, atol=1e-13)


def shifted(conv: Callable[..., Any]) -> None:
    """Whole offsets are shifted taps, (Δy, Δx) for each in C order; outside there are zeros."""
    x = np.arange(1.0, 36).reshape(1, 1, 5, 7)
    padded = np.pad(x[0, 0], 9)
    for tap in range(6):
        for dy, dx in ((1, 0), (0, 2), (-3, 1), (4, -6)):
            offset, weight = np.zeros((1, 12, 4, 5)), np.zeros((1, 1, 2, 3))
            offset[:, 2 * tap], offset[:, 2 * tap + 1] = dy, dx
            weight.flat[tap] = 1.0
            top, left = 9 + tap // 3 + dy, 9 + tap % 3 + dx
            assert np.allclose(conv(x, offset, weight, None)[0, 0], padded[top : top + 4, left : left + 5])


def between_pixels(conv: Callable[..., Any]) -> None:
    x, weight = np.array([[[[1.0, 3.0], [5.0, 11.0]]]]), np.ones((1, 1, 1, 1))
    for y, z, expected in (
        (0.5, 0, 3.0),
        (0, 0.25, 1.5),
        (0.5, 0.5, 5.0),
        (-0.25, 0, 0.75),
        (-1, 0, 0.0),
        (0, -0.5, 0.5),
    ):
        offset = np.zeros((1, 2, 2, 2))
        offset[0, :, 0, 0] = y, z
        assert conv(x, offset, weight, None)[0, 0, 0, 0] == pytest.approx(expected)
    offset[0, :, 1, 1] = 0.5, 0.75
    assert conv(x, offset, weight, None)[0, 0, 1, 1] == pytest.approx(11.0 * 0.5 * 0.25)  # zeros begin at once


@pytest.mark.parametrize("check", [convolved, shifted, between_pixels])
def test_by_hand(check: Callable[..., None]) -> None:
    check(tz.deform_conv2d)


def slope(conv: Callable[..., Any], y: float, z: float) -> list[float]:
    """The derivative of one sample in its offset."""
    x, offset = np.array([[[[1.0, 3.0], [5.0, 11.0]]]]), tz.tensor(np.zeros((1, 2, 2, 2)), requires_grad=True)
    moved = np.zeros((1, 2, 2, 2))
    moved[0, :, 0, 0] = y, z
    out = conv(x, offset + moved, np.ones((1, 1, 1, 1)), None)
    if not isinstance(out, tz.Tensor):
        return []
    out[0, 0, 0, 0].backward()
    return [] if offset.grad is None else offset.grad.numpy()[0, :, 0, 0].tolist()


def slopes(conv: Callable[..., Any]) -> None:
    """The differences of pixels; on a row or column those below and to the right; nothing far out."""
    for y, z, expected in (
        *((0.5, 0.25, [5.0, 4.0]), (0.0, 0.0, [4.0, 2.0]), (-1.0, 0.0, [1.0, 0.0]), (1.0, 0.0, [-5.0, 6.0])),
        *((2.0, 0.0, [0.0, 0.0]), (-1.5, 0.5, [0.0, 0.0]), (40.0, -3.0, [0.0, 0.0])),
    ):
        assert slope(conv, y, z) == pytest.approx(expected)


def test_the_derivative_on_a_row_is_that_of_the_side_below() -> None:
    slopes(tz.deform_conv2d)


def test_what_does_not_fit_is_refused() -> None:
    x, weight, offset = np.ones((1, 4, 5, 5)), np.ones((6, 2, 3, 3)), np.zeros((1, 18, 3, 3))
    assert tz.deform_conv2d(x, offset, weight).shape == (1, 6, 3, 3)
    for wrong in (offset[:, :17], offset[..., :2], offset[0], np.zeros((1, 18 * 3, 3, 3))):
        with pytest.raises(ShapeError, match="offsets"):
            tz.deform_conv2d(x, wrong, weight)
    with pytest.raises(ShapeError, match="mask"):
        tz.deform_conv2d(x, offset, weight, mask=np.ones((1, 18, 3, 3)))
    with pytest.raises(ShapeError, match="bias"):
        tz.deform_conv2d(x, offset, weight, np.ones(3))
    with pytest.raises(ShapeError, match="channels"):
        tz.deform_conv2d(x, offset, np.ones((6, 3, 3, 3)))
    with pytest.raises(ShapeError, match="channels"):
        tz.deform_conv2d(x, offset, np.ones((5, 2, 3, 3)))
    with pytest.raises(ShapeError, match="has pixels"):
        tz.deform_conv2d(x[0], offset, weight)
    with pytest.raises(ShapeError, match="more padding"):
        tz.deform_conv2d(x, offset, weight, dilation=3)
    with pytest.raises(UsageError, match="stride"):
        tz.deform_conv2d(x, offset, weight, stride=0)


# ---- what is easily got wrong
def by_formula(module: ModuleType) -> Callable[..., Any]:
    def conv(x: Any, offset: Any, weight: Any, bias: Any, mask: Any = None, **found: Any) -> Any:
        usual = {"stride": 1, "padding": 0, "dilation": 1}
        return module._conv_formula(x, offset, weight, bias, mask, **{**usual, **found})

    return conv


def as_torchvision(conv: Callable[..., Any]) -> None:
    for case in OWN:
        call, arrays = called(conv, case)
        close(call(*arrays), GOLDEN[f"{case}/out"], "float64")


MISTAKES: dict[str, tuple[str, str, tuple[Callable[..., None], ...]]] = {
    "the nearest pixel": (
        "return data_of(low), at - low", "return data_of(low), (at - low).round()", (between_pixels, as_torchvision),
    ),
    "no gradient in the offsets": (
        "return data_of(low), at - low", "return data_of(low), data_of(at - low)", (slopes,),
    ),
    "Δx before Δy": ("moved[:, :, :, axis]", "moved[:, :, :, 1 - axis]", (shifted, slopes, as_torchvision)),
    "the border goes on": (
        "    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)\n",
        "    i, j = xp.clip(i, 0, height - 1), xp.clip(j, 0, width - 1)\n    inside = i >= 0\n",
        (between_pixels, shifted, as_torchvision),
    ),
    "the mask of another tap": (
        "mask.reshape((n, groups, 1, taps, rows * columns))",
        "mask.reshape((n, groups, 1, taps, rows * columns))[:, :, :, ::-1]", (as_torchvision,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_noticed(name: str) -> None:
    old, new, checks = MISTAKES[name]
    wrong = by_formula(mutant(deform, old, new))
    for check in checks:
        check(by_formula(deform))
        with pytest.raises(AssertionError):
            check(wrong)


@pytest.mark.parametrize("kind", ["kernel", "formula"])
def test_no_loop_of_python_runs_over_pixels(kind: str) -> None:
    def calls(size: int) -> int:
        x, offset, weight = np.ones((1, 2, size, size)), np.zeros((1, 18, size, size)), np.ones((2, 2, 3, 3))
        conv = tz.deform_conv2d if kind == "kernel" else by_formula(deform)
        return python_calls(lambda: conv(x, offset, weight, None, padding=1))

    assert calls(24) <= calls(4) + 3

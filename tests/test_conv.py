"""Convolutions: torch's over drawn settings, by hand, in every memory layout; transposed ones and what they are not."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import oracles
import tinygrad_zoo as tz
from test_ops_oracle import same
from tinygrad_zoo.kernels import conv as kernels
from tinygrad_zoo.kernels.conv import formula
from tinygrad_zoo.ops.sampling import Sample
from tinygrad_zoo.testing import op_laws, seeds
from tinygrad_zoo.testing.laws import placed
from torch_ops import ours, theirs

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

FEWER = settings().max_examples // 4


def one_or_several(sizes: Any) -> Any:
    """A setting of one number an axis as PyTorch's users write it."""
    sizes = tuple(int(n) for n in sizes)
    return sizes[0] if len({*sizes}) == 1 else sizes


def with_channels(draw: np.random.Generator) -> tuple[int, int, int]:
    """Groups, and the channels in each of them: of the input, of the output."""
    return tuple(int(n) for n in draw.integers(1, (4, 3, 3)))


def drawn(draw: np.random.Generator, axes: int) -> Sample:
    """A convolution with an image not smaller than the kernel; of no examples, of one pixel, without a batch, too."""
    kernel, stride, dilation = (draw.integers(1, 4, axes) for _ in range(3))
    padding: Any = draw.integers(0, 3, axes)
    least = np.maximum(dilation * (kernel - 1) + 1 - 2 * padding, 1)
    said = one_or_several(padding)
    if draw.random() < 0.25:
        said, least = "valid", dilation * (kernel - 1) + 1
    elif draw.random() < 0.3:
        said, least, stride = "same", np.ones(axes, int), np.ones(axes, int)
    size = least + draw.integers(0, 4, axes) * draw.integers(0, 2, axes)  # often as small as it can be
    groups, c, k = with_channels(draw)
    lead = [int(draw.integers(0, 4))] if draw.random() < 0.8 else []
    x = draw.standard_normal((*lead, groups * c, *size))
    weight = draw.standard_normal((groups * k, c, *kernel))
    bias = draw.standard_normal(groups * k) if draw.random() < 0.7 else None
    steps = {"stride": one_or_several(stride), "dilation": one_or_several(dilation)}
    return Sample((x, weight, bias), {**steps, "padding": said, "groups": groups})


def drawn_transposed(draw: np.random.Generator, axes: int) -> Sample:
    """A transposed convolution whose result is not empty, with any output_padding that there can be."""
    while True:
        kernel, stride, dilation, size = (draw.integers(1, 4, axes) for _ in range(4))
        padding, extra = draw.integers(0, 3, axes), draw.integers(0, np.maximum(stride, dilation))
        if ((size - 1) * stride - 2 * padding + dilation * (kernel - 1) + extra + 1).min() >= 1:
            break
    groups, c, k = with_channels(draw)
    lead = [int(draw.integers(0, 4))] if draw.random() < 0.8 else []
    x = draw.standard_normal((*lead, groups * c, *size))
    weight = draw.standard_normal((groups * c, k, *kernel))
    bias = draw.standard_normal(groups * k) if draw.random() < 0.7 else None
    named = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
    return Sample((x, weight, bias), {n: one_or_several(v) for n, v in named.items()} | {"groups": groups})


def agrees_with_torch(name: str, s: Sample, dtype: str, tolerance: float) -> None:
    shapes = [None if a is None else a.shape for a in s.inputs]
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that an uneven 'same' is slower
        expected = theirs(name, s, dtype)
    same(ours(name, s, dtype), expected, tolerance, f"{name}, {shapes}, {s.settings}")


DRAWN = {f"conv{axes}d": (drawn, axes) for axes in (1, 2, 3)}
DRAWN |= {f"conv_transpose{axes}d": (drawn_transposed, axes) for axes in (1, 2, 3)}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", DRAWN)
@given(seed=seeds())
def test_values_and_both_orders_of_gradients_are_those_of_torch(name: str, seed: int) -> None:
    make, axes = DRAWN[name]
    agrees_with_torch(name, make(np.random.default_rng(seed), axes), "float64", 1e-9)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", DRAWN)
@settings(max_examples=FEWER)
@given(seed=seeds())
def test_single_precision_is_that_of_torch(name: str, seed: int) -> None:
    make, axes = DRAWN[name]
    agrees_with_torch(name, make(np.random.default_rng(seed), axes), "float32", 1e-5)


@pytest.mark.oracle("torch")
def test_the_third_order_is_that_of_torch() -> None:
    draw = np.random.default_rng(0)
    x, w = draw.standard_normal((2, 2, 5, 4)), draw.standard_normal((4, 1, 2, 3))

    def third(lib: Any, grad: Callable[..., Any], conv: Callable[..., Any], x: Any, w: Any) -> Any:
        value = (conv(x, w, stride=2, padding=1, groups=2) ** 3).sum()
        for _ in range(3):
            gx, gw = grad(value, [x, w])
            value = (gx * gx).sum() + (gw**3).sum()
        return value

    def ours_grad(value: Any, wrt: list[Any]) -> Any:
        return tz.autograd.gradients([value], wrt, [tz.ones((), dtype="float64")], create_graph=True)

    def their_grad(value: Any, wrt: list[Any]) -> Any:
        return torch.autograd.grad(value, wrt, create_graph=True)

    mine = third(tz, ours_grad, tz.conv2d, tz.tensor(x, requires_grad=True), tz.tensor(w, requires_grad=True))
    leaves = [torch.tensor(a, requires_grad=True) for a in (x, w)]
    assert mine.item() == pytest.approx(third(torch, their_grad, F.conv2d, *leaves).item(), rel=1e-9)


# ---- by hand
def test_a_kernel_is_not_flipped() -> None:
    x = tz.tensor([[[1.0, 2.0, 4.0, 8.0]]])
    w = tz.tensor([[[1.0, 10.0, 100.0]]])
    assert tz.conv1d(x, w).tolist() == [[[421.0, 842.0]]]
    assert tz.conv1d(x, w, stride=2, padding=1).tolist() == [[[210.0, 842.0]]]
    assert tz.conv1d(x, tz.tensor([[[1.0, 10.0]]]), dilation=3).tolist() == [[[81.0]]]


def test_same_keeps_the_size_and_has_its_odd_entry_after() -> None:
    x = tz.tensor([[[1.0, 2.0, 4.0]]])
    assert tz.conv1d(x, tz.tensor([[[1.0, 10.0]]]), padding="same").tolist() == [[[21.0, 42.0, 4.0]]]
    four = tz.tensor([[[1.0, 10.0, 100.0, 1000.0]]])
    assert tz.conv1d(x, four, padding="same").tolist() == [[[4210.0, 421.0, 42.0]]]
    assert tz.conv1d(x, four, padding=((1, 2),)).tolist() == tz.conv1d(x, four, padding="same").tolist()


def test_pairs_pad_and_crop_each_side() -> None:
    x, w = tz.tensor([[[1.0, 2.0, 4.0]]]), tz.tensor([[[1.0, 10.0]]])
    assert tz.conv1d(x, w, padding=((1, 0),)).tolist() == [[[10.0, 21.0, 42.0]]]
    assert tz.conv1d(x, w, padding=((-1, 1),)).tolist() == [[[42.0, 4.0]]]
    assert tz.conv1d(x, w, padding=((-2, 3),)).tolist() == [[[4.0, 0.0, 0.0]]]
    assert tz.conv1d(x, w, padding=((-5, 6),)).tolist() == [[[0.0, 0.0, 0.0]]]  # nothing of x is left
    assert tz.conv1d(x, w, padding=((4, -5),)).tolist() == [[[0.0]]]


def test_a_group_of_channels_sees_its_own() -> None:
    x = tz.tensor([[1.0], [10.0], [100.0], [1000.0]])
    w = tz.tensor([[[1.0], [2.0]], [[3.0], [4.0]], [[5.0], [6.0]], [[7.0], [8.0]]])
    assert tz.conv1d(x, w, groups=2).tolist() == [[21.0], [43.0], [6500.0], [8700.0]]
    transposed = tz.conv_transpose1d(x, w, groups=2)
    assert transposed.tolist() == [[31.0], [42.0], [7500.0], [8600.0]]


def test_an_empty_image_in_its_padding_is_zeros() -> None:
    x, w = tz.zeros(2, 1, 0, requires_grad=True), tz.ones(3, 1, 2, requires_grad=True)
    out = tz.conv1d(x, w, tz.ones(3), padding=1)
    assert out.tolist() == [[[1.0]] * 3] * 2
    out.sum().backward()
    assert x.grad.shape == (2, 1, 0) and w.grad.tolist() == [[[0.0, 0.0]]] * 3


@pytest.mark.parametrize("module", [kernels, formula])
def test_a_kernel_larger_than_the_image_has_no_place(module: Any) -> None:
    """Below the op, which refuses it."""
    plan: dict[str, Any] = {"stride": (3, 1), "padding": ((0, 0), (1, 0)), "dilation": (2, 1), "groups": 1}
    x, w = np.ones((2, 3, 4, 5)), np.ones((1, 3, 3, 2))
    y = module.convolve(x, w, np.ones(1), **plan)
    assert y.shape == (2, 1, 0, 5)
    gx, gw = module.convolve_input(y, w, size=(4, 5), **plan), module.convolve_weight(y, x, kernel=(3, 2), **plan)
    assert gx.shape == x.shape and gw.shape == w.shape and not gx.any() and not gw.any()


def test_no_channels_in_and_none_out() -> None:
    assert tz.conv2d(tz.zeros(2, 0, 3, 3), tz.zeros(4, 0, 2, 2), tz.ones(4)).tolist() == [[[[1.0] * 2] * 2] * 4] * 2
    assert tz.conv2d(tz.zeros(2, 3, 3, 3), tz.zeros(0, 3, 2, 2)).shape == (2, 0, 2, 2)
    assert tz.conv_transpose2d(tz.zeros(2, 0, 3, 3), tz.zeros(0, 4, 2, 2)).tolist() == [[[[0.0] * 4] * 4] * 4] * 2


def test_whole_numbers_stay_whole() -> None:
    out = tz.conv1d(tz.tensor([[1, 2, 4]]), tz.tensor([[[1, 10]]]), tz.tensor([5]))
    assert out.tolist() == [[26, 47]] and out.dtype == np.int64


def test_half_precision_adds_up_in_single() -> None:
    x = tz.ones(1, 4096, 1, dtype="float16")
    w = tz.full((1, 4096, 1), 0.75, "float16")
    out = tz.conv1d(x, w)  # float16 alone would stop at 2048
    assert out.dtype == np.float16 and out.item() == 3072.0


# ---- memory
def channels_last(x: Any) -> Any:
    """The same values with the channels innermost in memory."""
    xp = tz.backend.namespace(x)
    return xp.moveaxis(xp.moveaxis(x, 1, -1).copy(order="C"), -1, 1)


def test_channels_last_images_give_the_same() -> None:
    draw = np.random.default_rng(0)
    x, w, g = (placed(draw.standard_normal(shape)) for shape in ((2, 4, 5, 6), (6, 2, 3, 2), (2, 6, 3, 3)))
    made = []
    for layout in (lambda a: a, channels_last):
        leaves = [tz.Tensor(layout(a), requires_grad=True) for a in (x, w)]
        out = tz.conv2d(*leaves, stride=2, padding=(1, 0), groups=2)
        found = tz.autograd.gradients([out], leaves, [tz.Tensor(layout(g))])
        made.append([a.numpy() for a in (out, *found)])
    for a, b in zip(*made, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", [*DRAWN, "conv_adjoint_input", "conv_adjoint_weight"])
def test_no_rule_minds_results_with_channels_last(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the kernels give them."""

    def last(function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arrays, **settings: channels_last(function(*arrays, **settings))

    for kernel in ("convolve", "convolve_input", "convolve_weight"):
        monkeypatch.setattr(kernels, kernel, last(getattr(formula, kernel)))
    op_laws(getattr(tz, name), 0)


def test_the_formula_has_one_product_a_tap_and_no_loop_over_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[int] = []
    counted = SimpleNamespace(
        zeros=np.zeros,
        result_type=np.result_type,
        matmul=lambda a, b: products.append(1) or np.matmul(a, b),
    )
    monkeypatch.setattr(formula, "namespace", lambda *arrays: counted)
    plan: dict[str, Any] = {"stride": (2, 1), "padding": ((1, 1), (0, 0)), "dilation": (1, 1), "groups": 2}
    for side in (4, 40):
        x, w = np.ones((3, 4, side, side)), np.ones((2, 2, 3, 2))
        out = formula.convolve(x, w, None, **plan)
        formula.convolve_input(out, w, size=(side, side), **plan)
        formula.convolve_weight(out, x, kernel=(3, 2), **plan)
    assert len(products) == 2 * 3 * 6


# ---- transposed convolution: row C5
def scattered(x: Any, weight: Any, bias: Any, **plan: Any) -> Any:
    """By its definition: each entry of x adds a multiple of the kernel to the result, padding is cut off at the end."""
    axes, groups = weight.ndim - 2, plan["groups"]
    stride, padding, extra, dilation = (
        np.broadcast_to(plan[n], axes) for n in ("stride", "padding", "output_padding", "dilation")
    )
    batch = x if x.ndim == axes + 2 else x[None]
    (n, c), size, kernel = batch.shape[:2], batch.shape[2:], weight.shape[2:]
    whole = (np.array(size) - 1) * stride + dilation * (np.array(kernel) - 1) + 1 + extra
    out = np.zeros((n, groups, weight.shape[1], *whole))
    batch = batch.reshape(n, groups, c // groups, *size)
    weight = weight.reshape(groups, c // groups, *weight.shape[1:])
    for i in np.ndindex(size):
        for r in np.ndindex(kernel):
            at = tuple(np.array(i) * stride + np.array(r) * dilation)
            out[(..., *at)] += np.einsum("ngc,gck->ngk", batch[(..., *i)], weight[(..., *r)])
    out = out.reshape(n, -1, *whole) if n else np.zeros((0, groups * out.shape[2], *whole))
    kept = (slice(p, m - p) for p, m in zip(padding, whole, strict=True))
    out = out[(slice(None), slice(None), *kept)]
    out = out if bias is None else out + bias.reshape(-1, *(1,) * axes)
    return out if x.ndim == axes + 2 else out[0]


def transposed(x: Any, weight: Any, bias: Any = None, **plan: Any) -> Any:
    return (tz.conv_transpose1d, tz.conv_transpose2d, tz.conv_transpose3d)[weight.ndim - 3](x, weight, bias, **plan)


def upsampled_then_convolved(x: Any, weight: Any, bias: Any, *, stride: Any, groups: int, **plan: Any) -> Any:
    """Every entry repeated instead of zeros put between them."""
    axes = weight.ndim - 2
    x = x if x.ndim == axes + 2 else x[None]
    for d, s in enumerate(np.broadcast_to(stride, axes), 2):
        x = np.repeat(x, s, d)[(slice(None),) * d + (slice(0, (x.shape[d] - 1) * s + 1),)]
    return transposed(x, weight, bias, groups=groups, **plan)


def without_groups(x: Any, weight: Any, bias: Any, *, groups: int, **plan: Any) -> Any:
    return transposed(x, np.tile(weight, (1, groups, *(1,) * (weight.ndim - 2))), bias, groups=1, **plan)


def without_output_padding(x: Any, weight: Any, bias: Any, *, output_padding: Any, **plan: Any) -> Any:
    return transposed(x, weight, bias, **plan)


def zeros_for_output_padding(x: Any, weight: Any, bias: Any, *, output_padding: Any, **plan: Any) -> Any:
    """The right size, by zeros behind instead of what is there."""
    out = transposed(x, weight, bias, **plan)
    axes = weight.ndim - 2
    extra = np.broadcast_to(output_padding, axes)
    return np.pad(out, [(0, 0)] * (out.ndim - axes) + [(0, e) for e in extra])


CASES = [drawn_transposed(np.random.default_rng(seed), 1 + seed % 3) for seed in range(60)]


def problems(conv_transpose: Callable[..., Any]) -> list[str]:
    """The cases in which it differs from the definition, or is not adjoint to our convolution."""
    found = []
    for s in CASES:
        x, weight, bias = s.inputs
        plan = dict(s.settings)
        try:
            out = conv_transpose(x, weight, bias, **plan)
            expected = scattered(x, weight, bias, **plan)
            if out.shape != expected.shape or not np.allclose(out, expected, rtol=1e-12, atol=1e-12):
                found.append(f"values: {plan}")
            out = conv_transpose(x, weight, None, **plan)
            extra = plan.pop("output_padding")
            axes = weight.ndim - 2
            pads = [
                (p, p - e) for p, e in zip(*(np.broadcast_to(v, axes) for v in (plan["padding"], extra)), strict=True)
            ]
            y = np.random.default_rng(0).standard_normal(out.shape)
            conv = (tz.conv1d, tz.conv2d, tz.conv3d)[axes - 1]
            back = conv(y, weight, **{**plan, "padding": tuple(pads)})
            if back.shape != x.shape or not np.isclose((out * y).sum(), (x * back).sum(), rtol=1e-11, atol=1e-11):
                found.append(f"adjoint: {plan}")
        except (tz.errors.ShapeError, ValueError) as error:
            found.append(f"{error}: {plan}")
    return found


def test_transposed_convolution_is_its_definition_and_the_adjoint_of_ours() -> None:
    assert problems(transposed) == []


def test_the_cases_are_many_and_of_every_kind() -> None:
    def several(name: str, usual: int) -> set[int]:
        return {i for i, s in enumerate(CASES) if np.any(np.array(s.settings[name]) != usual)}

    kinds = [
        several(n, u) for n, u in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1), ("groups", 1))
    ]
    assert len(CASES) >= 40 and all(len(a & b) >= 10 for a, b in itertools.combinations(kinds, 2))
    assert len(set.intersection(*kinds)) >= 5


@pytest.mark.parametrize(
    "wrong", [upsampled_then_convolved, without_groups, without_output_padding, zeros_for_output_padding]
)
def test_what_it_is_not_is_noticed(wrong: Callable[..., Any]) -> None:
    assert len(problems(wrong)) >= 10


@given(seeds())
def test_transposed_convolution_undoes_the_shape_of_convolution(seed: int) -> None:
    """⟨conv(x), y⟩ = ⟨x, conv_transpose(y)⟩, with the output_padding that the stride left over."""
    draw = np.random.default_rng(seed)
    axes = int(draw.integers(1, 4))
    s = drawn(draw, axes)
    x, weight, _ = s.inputs
    if isinstance(s.settings["padding"], str):
        s.settings["padding"] = 3  # with which the largest kernel fits one pixel
    stride, padding, dilation = (np.broadcast_to(s.settings[n], axes) for n in ("stride", "padding", "dilation"))
    left = (np.array(x.shape[-axes:]) + 2 * padding - dilation * (np.array(weight.shape[2:]) - 1) - 1) % stride
    conv = (tz.conv1d, tz.conv2d, tz.conv3d)[axes - 1]
    out = conv(x, weight, **s.settings)
    y = draw.standard_normal(out.shape)
    back = transposed(y, weight, output_padding=one_or_several(left), **s.settings)
    assert back.shape == x.shape
    assert (out * y).sum() == pytest.approx((x * back).sum(), rel=1e-10, abs=1e-10)

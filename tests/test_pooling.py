"""Pooling and unpooling (rows C2 and C4): torch's over drawn settings, ties and NaN, switches, layers, refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from test_ops_oracle import same
from tinygrad_zoo import backend, nn
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, UsageError
from tinygrad_zoo.ops.sampling import Sample
from tinygrad_zoo.testing import seeds
from torch_ops import ours, theirs

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

TOLERANCES = {"float64": 1e-9, "float32": 1e-5}
axes_of = st.integers(1, 3)


def ints(values: Any) -> Any:
    """A setting as users write it: one number where all are the same."""
    values = tuple(int(v) for v in values)
    return values[0] if len({*values}) == 1 else values


def drawn_image(draw: np.random.Generator, size: Any) -> Any:
    """Distinct values, so that gradients of maxima are defined; also of no examples, and without a batch."""
    lead = [int(draw.integers(0, 3)), int(draw.integers(1, 4))][int(draw.random() < 0.2) :]
    lead[-1] = max(lead[-1], 1)
    shape = (*lead, *(int(n) for n in size))
    return draw.permutation(math.prod(shape)).reshape(shape) / 8.0 - 3


def drawn_windows(draw: np.random.Generator, axes: int, dilated: bool) -> tuple[Any, dict[str, Any]]:
    """The size of an image, often as small as it can be, and settings of which a window fits, each with an entry."""
    while True:
        kernel, stride = draw.integers(1, 4, axes), draw.integers(1, 4, axes)
        dilation = draw.integers(1, 3, axes) if dilated and draw.random() < 0.5 else np.ones(axes, int)
        padding = draw.integers(0, kernel // 2 + 1)
        size = np.maximum(dilation * (kernel - 1) + 1 - 2 * padding, 1) + draw.integers(0, 4, axes)
        if (size >= padding + 1).all() and not ((dilation > 1) & (size < dilation + padding)).any():
            break
    settings = {"kernel_size": ints(kernel), "padding": ints(padding), "ceil_mode": bool(draw.random() < 0.5)}
    settings["stride"] = None if draw.random() < 0.3 else ints(stride)
    return size, settings | ({"dilation": ints(dilation)} if dilated else {})


def drawn_max(draw: np.random.Generator, axes: int) -> Sample:
    size, settings = drawn_windows(draw, axes, True)
    return Sample((drawn_image(draw, size),), settings | {"return_indices": bool(draw.random() < 0.5)})


def drawn_average(draw: np.random.Generator, axes: int) -> Sample:
    size, settings = drawn_windows(draw, axes, False)
    if axes == 3:  # where torch wants an image not smaller than the kernel
        size = np.maximum(size, 3)
    settings["count_include_pad"] = bool(draw.random() < 0.5)
    if axes > 1:
        settings["divisor_override"] = None if draw.random() < 0.6 else int(draw.integers(1, 5))
    return Sample((drawn_image(draw, size),), settings)


def drawn_adaptive(draw: np.random.Generator, axes: int) -> Sample:
    size, wanted = draw.integers(1, 8, axes), draw.integers(1, 6, axes)
    output_size = tuple(int(n) if draw.random() < 0.8 else None for n in wanted) if axes > 1 else int(wanted[0])
    return Sample((drawn_image(draw, size),), {"output_size": output_size})


def drawn_adaptive_max(draw: np.random.Generator, axes: int) -> Sample:
    made = drawn_adaptive(draw, axes)
    return Sample(made.inputs, made.settings | {"return_indices": bool(draw.random() < 0.5)})


DRAWN: dict[str, Callable[..., Sample]] = {
    "max_pool": drawn_max,
    "avg_pool": drawn_average,
    "adaptive_max_pool": drawn_adaptive_max,
    "adaptive_avg_pool": drawn_adaptive,
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", DRAWN)
@given(seed=seeds(), axes=axes_of, dtype=st.sampled_from(["float64", "float32"]))
def test_values_and_both_orders_of_gradients_are_those_of_torch(name: str, seed: int, axes: int, dtype: str) -> None:
    s = DRAWN[name](np.random.default_rng(seed), axes)
    whole = f"{name}{axes}d"
    bound = Sample(*getattr(tz, whole).signature.bind(s.inputs, dict(s.settings)))
    shown = f"{whole}, {s.inputs[0].shape}, {s.settings}"
    same(ours(whole, bound, dtype), theirs(whole, bound, dtype), TOLERANCES[dtype], shown)


@pytest.mark.oracle("torch")
@given(seed=seeds(), axes=st.integers(1, 2), p=st.sampled_from([1, 2, 2.5, 3.0, math.inf]), ceil_mode=st.booleans())
def test_power_averages_are_those_of_torch(seed: int, axes: int, p: float, ceil_mode: bool) -> None:
    draw = np.random.default_rng(seed)
    kernel, stride = int(draw.integers(1, 4)), None if draw.random() < 0.5 else int(draw.integers(1, 4))
    x = draw.permutation(2 * 6**axes).reshape(1, 2, *(6,) * axes) / 8.0 + 0.1
    s = Sample((x,), {"norm_type": p, "kernel_size": kernel, "stride": stride, "ceil_mode": ceil_mode})
    same(ours(f"lp_pool{axes}d", s), theirs(f"lp_pool{axes}d", s), 1e-9, str(s.settings))


@pytest.mark.oracle("torch")
def test_a_power_average_of_zeros_has_no_gradient() -> None:
    x = np.array([[[0.0, 0.0, 1.0, 2.0]]])
    given, leaf = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    tz.lp_pool1d(given, 3.0, 2).sum().backward()
    F.lp_pool1d(leaf, 3.0, 2).sum().backward()
    np.testing.assert_allclose(given.grad.numpy(), leaf.grad.numpy(), atol=1e-15)


# ---- maxima: ties, NaN, infinities
@pytest.mark.oracle("torch")
@pytest.mark.parametrize("layout", ["first", "last"])
@given(seed=seeds(), axes=axes_of)
def test_ties_and_nan_are_torchs(layout: str, seed: int, axes: int) -> None:
    draw = np.random.default_rng(seed)
    size, settings = drawn_windows(draw, axes, True)
    x = draw.integers(-2, 3, (2, 9, *size)).astype(draw.choice(["float32", "float64"]))
    if draw.random() < 0.5:
        x = np.where(draw.random(x.shape) < 0.3, draw.choice([np.nan, np.inf, -np.inf], x.shape), x).astype(x.dtype)
    moved = np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1) if layout == "last" else x
    values, indices = getattr(tz, f"max_pool{axes}d")(moved, **settings, return_indices=True)
    expected, places = getattr(F, f"max_pool{axes}d")(torch.from_numpy(x), **settings, return_indices=True)
    assert values.dtype == x.dtype and indices.dtype == np.int64
    assert np.array_equal(values, expected.numpy(), equal_nan=True) and np.array_equal(indices, places.numpy())


def test_the_first_of_equal_maxima_has_the_gradient() -> None:
    x = tz.ones(1, 1, 3, 3, requires_grad=True)
    values, indices = tz.max_pool2d(x, 2, stride=1, return_indices=True)
    assert indices.tolist() == [[[[0, 1], [3, 4]]]]
    values.backward(tz.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    assert x.grad.tolist() == [[[[1.0, 2.0, 0.0], [3.0, 4.0, 0.0], [0.0, 0.0, 0.0]]]]
    assert tz.max_pool1d(-math.inf * tz.ones(1, 1, 3), 3, padding=1, return_indices=True).indices.tolist() == [[[0]]]


def test_the_last_nan_has_the_gradient() -> None:
    x = tz.tensor([[[math.nan, 9.0, math.nan, 1.0]]], requires_grad=True)
    tz.adaptive_max_pool1d(x, 1).sum().backward()
    assert x.grad.tolist() == [[[0.0, 0.0, 1.0, 0.0]]]


def test_the_padding_is_never_a_maximum() -> None:
    x = tz.tensor([[[-5.0, -3.0, -4.0]]], requires_grad=True)
    out = tz.max_pool1d(x, 3, 2, 1)
    assert out.tolist() == [[[-3.0, -3.0]]]
    out.sum().backward()
    assert x.grad.tolist() == [[[0.0, 2.0, 0.0]]]


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float16"])
def test_maxima_of_any_dtype(dtype: str) -> None:
    x = np.arange(16).reshape(1, 1, 4, 4).astype(dtype)
    values, indices = tz.max_pool2d(x, 2, return_indices=True)
    assert values.dtype == dtype and values.tolist() == [[[[5, 7], [13, 15]]]] == indices.tolist()


# ---- switches
def test_indices_count_along_the_plane_and_not_the_window() -> None:
    x = np.array([[[[1.0, 2.0, 7.0, 3.0], [9.0, 4.0, 5.0, 6.0]], [[8.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]]])
    assert tz.max_pool2d(x, 2, return_indices=True).indices.tolist() == [[[[4, 2]], [[0, 7]]]]


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_unpooling_puts_values_back_and_zeros_elsewhere(axes: int, device: str) -> None:
    draw = np.random.default_rng(axes)
    host = draw.standard_normal((2, 3, *(6, 4, 2)[:axes]))
    pool, unpool = getattr(nn, f"MaxPool{axes}d")(2, return_indices=True), getattr(nn, f"MaxUnpool{axes}d")(2)
    with backend.using(device):
        x = tz.tensor(host, requires_grad=True)
        values, indices = pool(x)
        assert not indices.requires_grad and indices.dtype == np.int64
        back = unpool(values, indices)
        kept = np.isin(host, values.numpy())  # not repeated over the block: one value a window
        assert np.array_equal(back.numpy(), np.where(kept, host, 0)) and kept.sum() * 2**axes == host.size
        back.sum().backward()
        assert np.array_equal(x.grad.numpy(), kept)


def test_the_size_of_unpooling_may_be_said() -> None:
    x = tz.arange(5.0).reshape(1, 1, 5)
    values, indices = tz.max_pool1d(x, 2, return_indices=True)
    layer = nn.MaxUnpool1d(2)
    assert layer(values, indices).tolist() == [[[0.0, 1.0, 0.0, 3.0]]]
    for size in ((5,), x.shape, [1, 1, 5]):
        assert layer(values, indices, output_size=size).tolist() == [[[0.0, 1.0, 0.0, 3.0, 0.0]]]


@pytest.mark.oracle("torch")
@given(seed=seeds(), axes=axes_of)
def test_unpooling_is_torchs_even_where_windows_overlap(seed: int, axes: int) -> None:
    """Of values written to one place the last stays, and all of them have its gradient."""
    draw = np.random.default_rng(seed)
    kernel, stride, size = draw.integers(1, 4, axes), draw.integers(1, 4, axes), draw.integers(3, 7, axes)
    x = draw.integers(-4, 5, (2, 3, *size)).astype(np.float64)
    values, indices = getattr(F, f"max_pool{axes}d")(
        torch.from_numpy(x), ints(kernel), ints(stride), return_indices=True
    )
    values = torch.from_numpy(draw.standard_normal(values.shape))  # that two of one place differ
    settings = {"kernel_size": ints(kernel), "stride": ints(stride), "padding": 0}
    settings["output_size"] = tuple(int(n) for n in size)
    s = Sample((values.numpy(), indices.numpy()), settings)
    same(ours(f"max_unpool{axes}d", s), theirs(f"max_unpool{axes}d", s), 1e-12, str(settings))


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
def test_the_last_of_several_values_stays(device: str) -> None:
    with backend.using(device):
        x = tz.tensor([[[1.0, 2.0, 3.0]]], requires_grad=True)
        out = tz.max_unpool1d(x, tz.tensor([[[1, 1, 0]]]), 2)
        assert out.tolist() == [[[3.0, 2.0, 0.0, 0.0, 0.0, 0.0]]]
        out.backward(tz.tensor([[[10.0, 20.0, 0.0, 0.0, 0.0, 0.0]]]))
        assert x.grad.tolist() == [[[20.0, 20.0, 10.0]]]


# ---- averages
def test_what_counts_in_an_average() -> None:
    x = tz.tensor([[[6.0, 12.0, 18.0]]])
    assert tz.avg_pool1d(x, 3, 2, 1).tolist() == [[[6.0, 10.0]]]
    assert tz.avg_pool1d(x, 3, 2, 1, count_include_pad=False).tolist() == [[[9.0, 15.0]]]
    assert tz.avg_pool1d(x, 2, ceil_mode=True).tolist() == [[[9.0, 18.0]]]  # beyond the padding nothing counts
    square = tz.ones(1, 1, 3, 3)
    assert tz.avg_pool2d(square, 2, 2, 1, divisor_override=1).tolist() == [[[[1.0, 2.0], [2.0, 4.0]]]]
    assert tz.avg_pool2d(square, 3, divisor_override=-3).tolist() == [[[[-3.0]]]]


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_global_pooling_is_adaptive_to_one(axes: int) -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, *(5, 4, 3)[:axes]))
    over = tuple(range(2, 2 + axes))
    mean, largest = (getattr(nn, f"Adaptive{kind}Pool{axes}d")(1)(x) for kind in ("Avg", "Max"))
    np.testing.assert_allclose(mean, x.mean(axis=over, keepdims=True), atol=1e-15)
    assert np.array_equal(largest, x.max(axis=over, keepdims=True))


@given(seeds(), axes_of)
def test_an_average_and_its_adjoint(seed: int, axes: int) -> None:
    """⟨Ax, y⟩ = ⟨x, Aᵀy⟩."""
    draw = np.random.default_rng(seed)
    size, settings = drawn_windows(draw, axes, False)
    x = draw.standard_normal((2, 3, *size))
    made = getattr(tz, f"avg_pool{axes}d")(x, **settings)
    y = draw.standard_normal(made.shape)
    back = tz.avg_pool_adjoint(y, size=x.shape[2:], **settings)
    assert (made * y).sum() == pytest.approx((x * back).sum(), abs=1e-12)
    adapted = getattr(tz, f"adaptive_avg_pool{axes}d")(x, 2)
    y = draw.standard_normal(adapted.shape)
    assert (adapted * y).sum() == pytest.approx(
        (x * tz.adaptive_avg_pool_adjoint(y, size=x.shape[2:])).sum(), abs=1e-12
    )


# ---- layers
LAYERS = [
    "MaxPool1d(2)", "MaxPool2d(3, 2, 1)", "MaxPool2d((3, 2), stride=(2, 1), ceil_mode=True)",
    "MaxPool3d(2, 2, 1, 1, True, True)", "AvgPool1d(3, 2, 1)", "AvgPool2d(2)", "AvgPool2d(3, 2, 1, True, False, 5)",
    "AvgPool3d((2, 1, 2), 2)", "AdaptiveAvgPool1d(3)", "AdaptiveAvgPool2d((None, 3))", "AdaptiveAvgPool3d(2)",
    "AdaptiveMaxPool1d(4)", "AdaptiveMaxPool2d((2, None), True)", "AdaptiveMaxPool3d(1)", "LPPool1d(2, 3)",
    "LPPool2d(1.2, (3, 2), stride=(2, 1))", "MaxUnpool1d(2)", "MaxUnpool2d(2, stride=2)",
    "MaxUnpool3d((2, 1, 1), 2, 0)",
]  # fmt: skip


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("text", LAYERS)
def test_layers_are_torchs(text: str) -> None:
    layer, peer = (eval(f"nn.{text}", {"nn": library}) for library in (nn, torch.nn))
    assert repr(layer) == repr(peer)
    axes = int(text.partition("d(")[0][-1])
    x = np.abs(np.random.default_rng(0).standard_normal((2, 3, *(6, 5, 4)[:axes])))
    if "Unpool" in text:
        values, indices = getattr(F, f"max_pool{axes}d")(torch.from_numpy(x), 2, return_indices=True)
        found = layer(values.numpy(), indices.numpy(), x.shape) if "(2" in text and axes < 3 else None
        if found is not None:
            assert np.array_equal(found, peer(values, indices, output_size=x.shape).numpy())
        return
    found, expected = layer(x), peer(torch.from_numpy(x))
    for a, b in zip(*(y if isinstance(y, tuple) else (y,) for y in (found, expected)), strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=1e-12)


# ---- refusals
IMAGE = np.zeros((1, 2, 4, 4))
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "axes": (lambda: tz.max_pool2d(IMAGE[0, 0], 2), ShapeError, r"max_pool2d: expected x of shape \(N, C, H, W\) or"),
    "empty": (lambda: tz.avg_pool1d(np.zeros((1, 2, 0)), 1), ShapeError, r"no size 0, got \(1, 2, 0\)"),
    "too large": (
        lambda: tz.max_pool2d(IMAGE, 5),
        ShapeError,
        r"no window of kernel_size=5 with padding=0 fits: write",
    ),
    "padding": (lambda: tz.max_pool2d(IMAGE, 2, padding=2), UsageError, r"padding=2: expected at most half of kernel_"),
    "padded": (lambda: tz.avg_pool2d(IMAGE, 3, padding=(1, 2)), UsageError, r"padding=\(1, 2\): expected at most half"),
    "nothing seen": (
        lambda: tz.max_pool1d(np.zeros((1, 1, 2)), 2, 1, 1, 3),
        ShapeError,
        r"dilation=3 and padding=1 sees no entry of x, .* write less dilation",
    ),
    "kernel": (lambda: tz.max_pool2d(IMAGE, 0), UsageError, "max_pool2d: kernel_size=0: expected an integer >= 1"),
    "three": (lambda: tz.avg_pool2d(IMAGE, (2, 2, 2)), UsageError, r"kernel_size=\(2, 2, 2\): .*or 2 of them"),
    "stride": (lambda: tz.max_pool1d(IMAGE[0], 2, 0), UsageError, "max_pool1d: stride=0: expected an integer >= 1"),
    "divisor": (
        lambda: tz.avg_pool2d(IMAGE, 2, divisor_override=0),
        UsageError,
        "divisor_override=0: expected a number",
    ),
    "no divisor": (
        lambda: tz.avg_pool_adjoint(np.zeros((1, 1, 2)), (4,), 2, divisor_override=3),
        UsageError,
        "divisor_override=3: avg_pool1d has none",
    ),
    "integers": (
        lambda: tz.avg_pool2d(IMAGE.astype(int), 2),
        UsageError,
        r"avg_pool2d: x of int64: expected floating point: write x.astype\('float32'\)",
    ),
    "output": (
        lambda: tz.adaptive_avg_pool2d(IMAGE, (2,)),
        UsageError,
        r"output_size=\(2,\): expected .* or 2 of them",
    ),
    "negative": (lambda: tz.adaptive_max_pool2d(IMAGE, -1), UsageError, "output_size=.*: expected an integer >= 0"),
    "p": (lambda: tz.lp_pool2d(IMAGE, 0, 2), UsageError, "lp_pool2d: norm_type=0: expected a number > 0, or inf"),
    "adjoint": (
        lambda: tz.avg_pool_adjoint(np.zeros((1, 1, 3)), size=(4,), kernel_size=2),
        ShapeError,
        r"avg_pool_adjoint: y has the spatial shape \(3,\), .* to \(2,\)",
    ),
    "indices": (lambda: tz.max_unpool2d(IMAGE, IMAGE[0].astype(int), 2), ShapeError, "and indices of the same shape"),
    "a float index": (lambda: tz.max_unpool2d(IMAGE, IMAGE, 2), DTypeError, "an index holds integers, not float64"),
    "far": (
        lambda: tz.max_unpool2d(IMAGE, np.full(IMAGE.shape, 64), 2),
        IndexingError,
        r"index 64 is no place of a plane of \(8, 8\): expected 0 <= index < 64",
    ),
    "before": (lambda: tz.max_unpool2d(IMAGE, np.full(IMAGE.shape, -1), 2), IndexingError, "index -1 is no place"),
    "size": (
        lambda: tz.max_unpool2d(IMAGE, IMAGE.astype(int), 2, output_size=(10, 8)),
        ShapeError,
        r"output_size=\(10, 8\): expected sizes less than the stride \(2, 2\) from \(8, 8\)",
    ),
    "sizes": (
        lambda: tz.max_unpool2d(IMAGE, IMAGE.astype(int), 2, output_size=(1, 8, 8)),
        ShapeError,
        r"output_size=\(1, 8, 8\): expected a size for each axis, 2, or 4, as x has",
    ),
    "unpooled": (
        lambda: tz.max_unpool1d(np.zeros((1, 1, 1)), np.zeros((1, 1, 1), int), 2, padding=1),
        ShapeError,
        r"x of \(1,\) with padding=1 makes \(0,\), expected sizes >= 1",
    ),
    "gathered": (
        lambda: tz.gather_planes(IMAGE, np.zeros((1, 3, 1), int)),
        ShapeError,
        r"an index \(N, C, …\) or \(N, 1, …\), got",
    ),
    "scattered": (
        lambda: tz.scatter_planes(IMAGE, np.zeros((1, 2, 4), int), size=(4,)),
        ShapeError,
        "an index of its shape, or with one channel",
    ),
    "layer": (
        lambda: nn.MaxUnpool2d((2, 2, 2)),
        UsageError,
        r"MaxUnpool2d: kernel_size=\(2, 2, 2\): expected an integer",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_explained(case: str) -> None:
    call, kind, text = BAD[case]
    with pytest.raises(kind, match=text):
        call()

"""Row C3: pixel_shuffle and its inverse, the sub-pixel convolution, and what ICNR and bilinear weights begin as."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import backend, nn
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.nn import init

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


# ---- the shuffle
@pytest.mark.oracle("torch")
@pytest.mark.parametrize("r", [1, 2, 3, 4])
@pytest.mark.parametrize("lead", [(), (2,), (2, 3)])
def test_both_are_those_of_torch_to_the_bit(r: int, lead: tuple[int, ...]) -> None:
    x = rng().standard_normal((*lead, 2 * r * r, 3, 5))
    shuffled = nn.PixelShuffle(r)(x)
    assert np.array_equal(shuffled, torch.nn.PixelShuffle(r)(torch.from_numpy(x)).numpy())
    assert np.array_equal(nn.PixelUnshuffle(r)(shuffled), x)
    assert np.array_equal(tz.pixel_unshuffle(shuffled, r), F.pixel_unshuffle(torch.from_numpy(shuffled), r).numpy())


def in_another_order(x: Any, r: int) -> Any:
    """What also has the right shape, and trains: channels in the order i, j, c."""
    *lead, channels, h, w = x.shape
    parts = x.reshape(*lead, r, r, channels // r**2, h, w)
    return np.moveaxis(parts, (-5, -4), (-3, -1)).reshape(*lead, channels // r**2, h * r, w * r)


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
def test_the_channel_varies_slowest(device: str) -> None:
    with backend.using(device):
        x = tz.arange(8).reshape(8, 1, 1)
        shuffled = tz.pixel_shuffle(x, 2)
        assert shuffled.tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
        assert tz.pixel_unshuffle(shuffled, 2).tolist() == x.tolist()
    wrong = in_another_order(np.arange(8).reshape(8, 1, 1), 2)
    assert wrong.shape == shuffled.shape and wrong.tolist() != shuffled.tolist()


def test_nothing_is_shared_and_nothing_is_lost() -> None:
    for r, shape in ((1, (2, 3, 3)), (2, (4, 1, 1))):  # where a transpose and a reshape would be views
        x = rng().standard_normal(shape)
        there = tz.pixel_shuffle(x, r)
        back = tz.pixel_unshuffle(there, r)
        assert not np.shares_memory(x, there) and not np.shares_memory(there, back) and np.array_equal(back, x)
    assert tz.pixel_shuffle(np.zeros((0, 4, 2, 1)), 2).shape == (0, 1, 4, 2)
    assert tz.pixel_unshuffle(np.zeros((0, 1, 4, 2)), 2).shape == (0, 4, 2, 1)


BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "channels": (lambda: tz.pixel_shuffle(np.zeros((6, 2, 2)), 2), ShapeError, r"\(…, C · 4, H, W\), got \(6, 2, 2\)"),
    "axes": (lambda: tz.pixel_shuffle(np.zeros((4, 4)), 2), ShapeError, r"pixel_shuffle: expected x of shape"),
    "factor": (
        lambda: nn.PixelShuffle(0)(np.zeros((4, 2, 2))),
        UsageError,
        "upscale_factor=0: expected an integer >= 1",
    ),
    "a float": (
        lambda: tz.pixel_shuffle(np.zeros((4, 2, 2)), 2.0),
        DTypeError,
        "upscale_factor is an integer, got 2.0",
    ),
    "sizes": (lambda: tz.pixel_unshuffle(np.zeros((1, 4, 3)), 2), ShapeError, r"H · 2, W · 2\), got \(1, 4, 3\)"),
    "downscale": (lambda: tz.pixel_unshuffle(np.zeros((1, 4, 4)), -1), UsageError, "downscale_factor=-1: expected"),
    "icnr": (lambda: init.icnr_(tz.zeros(6, 3, 1, 1), 2, rng=rng()), ShapeError, r"\(C · 2², …\), got \(6, 3, 1, 1\)"),
    "icnr without rng": (lambda: init.icnr_(tz.zeros(4, 3, 1, 1), 2), DTypeError, "icnr_: rng must be"),
    "icnr of a bias": (lambda: init.icnr_(tz.zeros(4), 2, rng=rng()), ShapeError, r"shape \(1,\), which has no fans"),
    "bilinear": (lambda: init.bilinear_(tz.zeros(4, 3, 2, 2)), ShapeError, r"bilinear_: .* got \(4, 3, 2, 2\)"),
    "no kernel": (lambda: init.bilinear_(tz.zeros(4, 4)), ShapeError, r"bilinear_: expected a weight of shape"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_explained(case: str) -> None:
    call, kind, text = BAD[case]
    with pytest.raises(kind, match=text):
        call()


# ---- the sub-pixel convolution
@pytest.mark.parametrize(("r", "k", "padding"), [(2, 3, 1), (3, 3, 0), (2, 5, 2), (4, 1, 0), (3, 2, 1)])
def test_a_sub_pixel_convolution_is_a_transposed_one(r: int, k: int, padding: int) -> None:
    """Of stride r with the kernel turned round and shuffled itself (arXiv 1609.07009): values and all gradients."""
    draw = rng()
    x = tz.tensor(draw.standard_normal((2, 3, 5, 4)), requires_grad=True)
    w = tz.tensor(draw.standard_normal((2 * r * r, 3, k, k)), requires_grad=True)
    b = tz.tensor(draw.standard_normal(2), requires_grad=True)
    sub_pixel = tz.pixel_shuffle(tz.conv2d(x, w, tz.repeat_interleave(b, r * r), padding=padding), r)
    turned = tz.pixel_shuffle(w.flip((2, 3)).swapaxes(0, 1), r)  # (3, 2, k r, k r)
    transposed = tz.conv_transpose2d(x, turned, b, stride=r, padding=r * (k - 1 - padding))
    np.testing.assert_allclose(sub_pixel.numpy(), transposed.numpy(), rtol=0, atol=1e-12)
    g = tz.tensor(draw.standard_normal(sub_pixel.shape))
    for one, other in zip(*(gradients([y], [x, w, b], [g]) for y in (sub_pixel, transposed)), strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=0, atol=1e-12 * np.abs(one.numpy()).max())


# ---- what the weights begin as
@pytest.mark.parametrize("r", [2, 3])
def test_icnr_begins_as_nearest_neighbour_upsampling(r: int) -> None:
    draw = rng()
    weight, bias = tz.zeros(2 * r * r, 3, 3, 3, dtype="float64"), tz.zeros(2 * r * r, dtype="float64")
    assert init.icnr_(weight, r, rng=draw) is weight
    init.icnr_(bias, r, init.uniform_, rng=draw, a=-1.0, b=1.0)
    assert len(np.unique(weight.numpy())) == 2 * 27 and len(np.unique(bias.numpy())) == 2
    x = tz.tensor(draw.standard_normal((2, 3, 5, 4)))
    shown = tz.pixel_shuffle(tz.conv2d(x, weight, bias, padding=1), r)
    small = tz.conv2d(x, weight[:: r * r], bias[:: r * r], padding=1)
    nearest = small.numpy().repeat(r, 2).repeat(r, 3)
    np.testing.assert_allclose(shown.numpy(), nearest, rtol=0, atol=1e-12)
    init.kaiming_uniform_(weight, rng=draw)
    shown = tz.pixel_shuffle(tz.conv2d(x, weight, bias, padding=1), r)
    assert np.abs(shown.numpy()[..., ::r, ::r] - shown.numpy()[..., 1::r, ::r]).mean() > 0.1  # the checkerboard


def test_icnr_draws_by_the_initialiser_that_it_is_given() -> None:
    weight, small = tz.zeros(8, 3, 2, 2), tz.zeros(2, 3, 2, 2)
    init.icnr_(weight, 2, init.xavier_normal_, rng=rng(), gain=2.0)
    init.xavier_normal_(small, gain=2.0, rng=rng())
    assert np.array_equal(weight.numpy(), small.numpy().repeat(4, 0))


def bilinear(x: Any, s: int) -> Any:
    """Interpolation at (out + ½) / s - ½ along the last two axes; beyond the outermost pixels theirs."""
    for axis in (-2, -1):
        n = x.shape[axis]
        at = (np.arange(n * s) + 0.5) / s - 0.5
        x = np.apply_along_axis(lambda line, at=at, n=n: np.interp(at, np.arange(n), line), axis, x)
    return x


@pytest.mark.parametrize("s", [2, 3, 4])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_a_bilinear_weight_interpolates(s: int, groups: int) -> None:
    k, padding = 2 * s - s % 2, math.ceil((s - 1) / 2)
    weight = init.bilinear_(tz.zeros(4, 4 // groups, k, k, dtype="float64"))
    x = rng().standard_normal((2, 4, 6, 5))
    shown = tz.conv_transpose2d(tz.tensor(x), weight, stride=s, padding=padding, groups=groups).numpy()
    expected = bilinear(x, s)
    assert shown.shape == expected.shape
    inside = (..., slice(s, -s), slice(s, -s))
    np.testing.assert_allclose(shown[inside], expected[inside], rtol=0, atol=1e-14)
    assert np.abs(shown - expected).max() > 0.1  # at the border a transposed convolution has nothing to average with


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("s", [2, 3, 4])
def test_that_interpolation_is_torchs(s: int) -> None:
    x = rng().standard_normal((1, 2, 4, 5))
    theirs = F.interpolate(torch.from_numpy(x), scale_factor=s, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(bilinear(x, s), theirs.numpy(), atol=1e-14)


def test_a_bilinear_weight_of_one_and_three_axes() -> None:
    line = init.bilinear_(tz.zeros(1, 1, 4)).numpy()[0, 0]
    assert line.tolist() == [0.25, 0.75, 0.75, 0.25]
    cube = init.bilinear_(tz.zeros(2, 2, 4, 3, 1)).numpy()
    assert np.array_equal(cube[0, 0], cube[1, 1]) and not cube[0, 1].any()
    assert np.array_equal(cube[0, 0, :, :, 0], np.outer(line, [0.5, 1.0, 0.5]))

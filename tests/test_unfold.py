"""unfold and fold: torch's over drawn settings, each the other's adjoint, convolution by columns, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import backend, nn
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

NAMES = ("kernel_size", "dilation", "padding", "stride")


def draw_settings(draw: np.random.Generator) -> tuple[tuple[int, int], dict[str, Any]]:
    """The size of an image and settings of which at least one block fits it; a setting is one integer or two."""
    while True:
        settings = {name: draw.integers(name != "padding", 4, 2) for name in NAMES}
        size = draw.integers(1, 8, 2)
        room = size + 2 * settings["padding"] - settings["dilation"] * (settings["kernel_size"] - 1)
        if room.min() >= 1:
            return tuple(size.tolist()), {
                name: int(pair[0]) if pair[0] == pair[1] else tuple(pair.tolist()) for name, pair in settings.items()
            }


@pytest.mark.oracle("torch")
def test_both_are_those_of_torch_over_drawn_settings() -> None:
    draw = np.random.default_rng(0)
    for _ in range(120):
        size, settings = draw_settings(draw)
        lead = draw.integers(0, 4, draw.integers(1, 3)) if draw.random() < 0.5 else draw.integers(1, 4, 2)
        lead[-1] = max(lead[-1], 1)  # it wants channels
        x = draw.standard_normal((*lead, *size))
        columns = F.unfold(torch.from_numpy(x), **settings)
        found = tz.unfold(x, **settings)
        assert found.shape == tuple(columns.shape) and np.array_equal(found, columns.numpy())
        y = draw.standard_normal(found.shape)
        image = F.fold(torch.from_numpy(y), size, **settings)
        np.testing.assert_allclose(tz.fold(y, size, **settings), image.numpy(), rtol=0, atol=1e-13)


@given(st.integers(0, 2**32))
def test_each_is_the_adjoint_of_the_other(seed: int) -> None:
    draw = np.random.default_rng(seed)
    size, settings = draw_settings(draw)
    x = draw.standard_normal((2, 3, *size))
    columns = tz.unfold(x, **settings)
    y = draw.standard_normal(columns.shape)
    image = tz.fold(y, size, **settings)
    assert (columns * y).sum() == pytest.approx((x * image).sum(), abs=1e-10)
    given_x, given_y = tz.tensor(x, requires_grad=True), tz.tensor(y, requires_grad=True)
    tz.unfold(given_x, **settings).backward(tz.tensor(y))
    tz.fold(given_y, size, **settings).backward(tz.tensor(x))
    assert np.array_equal(given_x.grad.numpy(), image) and np.array_equal(given_y.grad.numpy(), columns)


@given(st.integers(0, 2**32))
def test_folding_back_counts_the_blocks_of_each_pixel(seed: int) -> None:
    size, settings = draw_settings(np.random.default_rng(seed))
    x = np.arange(1, 2 * size[0] * size[1] + 1).reshape(2, *size)  # integers: exact
    counts = tz.fold(tz.unfold(np.ones_like(x), **settings), size, **settings)
    assert np.array_equal(tz.fold(tz.unfold(x, **settings), size, **settings), counts * x)


@pytest.mark.parametrize("device", ["cpu", "cupysim"])
def test_blocks_side_by_side_are_a_partition(device: str) -> None:
    with backend.using(device):
        x = tz.arange(48).reshape(1, 2, 4, 6)
        columns = tz.unfold(x, (2, 3), stride=(2, 3))
        assert columns.shape == (1, 12, 4)
        assert columns[0, :, 1].tolist() == [3, 4, 5, 9, 10, 11, 27, 28, 29, 33, 34, 35]  # channel, row, column
        assert tz.fold(columns, (4, 6), (2, 3), stride=(2, 3)).tolist() == x.tolist()


def test_a_convolution_is_a_product_with_the_columns() -> None:
    draw = np.random.default_rng(0)
    settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    x, w = draw.standard_normal((2, 3, 7, 6)), draw.standard_normal((4, 3, 3, 2))
    expected = tz.conv2d(x, w, **settings)
    product = w.reshape(4, -1) @ tz.unfold(x, (3, 2), **settings)
    np.testing.assert_allclose(product.reshape(expected.shape), expected, atol=1e-12)
    y = draw.standard_normal(expected.shape)
    columns = w.reshape(4, -1).T @ y.reshape(2, 4, -1)
    spread = tz.fold(columns, (7, 6), (3, 2), **settings)
    np.testing.assert_allclose(spread, tz.conv_transpose2d(y, w, **settings), atol=1e-12)


def test_modules_are_the_ops() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 5, 4))
    unfold, fold = nn.Unfold((3, 2), 1, 1, 2), nn.Fold((5, 4), (3, 2), padding=1, stride=2)
    columns = unfold(x)
    assert np.array_equal(columns, tz.unfold(x, (3, 2), 1, 1, 2))
    assert np.array_equal(fold(columns), tz.fold(columns, (5, 4), (3, 2), 1, 1, 2))
    assert np.array_equal(unfold(x[0]), columns[0]) and np.array_equal(fold(columns[0]), fold(columns)[0])
    assert repr(unfold) == "Unfold(kernel_size=(3, 2), padding=1, stride=2)"


def test_sums_of_half_precision_are_rounded_once() -> None:
    columns = np.full((9, 1024), 0.1, np.float16)
    summed = tz.fold(columns, 34, 3)
    expected = tz.fold(columns.astype(np.float64), 34, 3).astype(np.float16)
    assert summed.dtype == np.float16 and np.array_equal(summed, expected)


IMAGE, COLUMNS = np.zeros((1, 2, 4, 4)), np.zeros((1, 8, 9))
BAD: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "axes": (lambda: tz.unfold(IMAGE[0, 0], 2), ShapeError, r"unfold: expected x of shape \(N, C, H, W\) or"),
    "too large": (
        lambda: tz.unfold(IMAGE, 3, dilation=2),
        ShapeError,
        r"no block of kernel_size=3 with dilation=2 fits",
    ),
    "kernel": (lambda: tz.unfold(IMAGE, (2, 0)), UsageError, r"unfold: kernel_size=\(2, 0\): expected an integer >= 1"),
    "three": (lambda: tz.unfold(IMAGE, (2, 2, 2)), UsageError, r"or 2 of them"),
    "stride": (lambda: tz.unfold(IMAGE, 2, stride=0), UsageError, "unfold: stride=0: expected an integer >= 1"),
    "padding": (lambda: tz.unfold(IMAGE, 2, padding=-1), UsageError, "unfold: padding=-1: expected an integer >= 0"),
    "a float": (lambda: tz.unfold(IMAGE, 2.0), UsageError, "unfold: kernel_size=2.0: expected an integer >= 1"),
    "no kernel": (lambda: tz.unfold(IMAGE), DTypeError, "unfold.* needs the setting 'kernel_size'"),
    "fold's axes": (
        lambda: tz.fold(COLUMNS[0, 0], 4, 2),
        ShapeError,
        r"fold: expected x of shape \(N, C · kh · kw, L\)",
    ),
    "channels": (lambda: tz.fold(COLUMNS, 4, (3, 2)), ShapeError, r"\(…, C · 3 · 2, 2 · 3\) .* got \(1, 8, 9\)"),
    "blocks": (
        lambda: tz.fold(COLUMNS, (4, 5), 2),
        ShapeError,
        r"\(…, C · 2 · 2, 3 · 4\) for an image of \(4, 5\), got",
    ),
    "output": (lambda: tz.fold(COLUMNS, 0, 2), UsageError, "fold: output_size=0: expected an integer >= 1"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_explained(case: str) -> None:
    call, kind, text = BAD[case]
    with pytest.raises(kind, match=text):
        call()

"""Row C7: the deformable network on transformed digits, its bar over three seeds, its data and its measures."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.errors import DTypeError, UsageError
from tinygrad_zoo.models.classification import deformable_cnn
from tinygrad_zoo.models.classification.deformable_cnn import CNN, RECIPE, rank_correlation, sampled, spread
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("C7") is find("deformable_cnn") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in (1, 2)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert run.metrics["offset_variance"] > 0.05 and run.metrics["plain_accuracy"] > 0.85
        assert run.metrics["gain"] == run.metrics["test_accuracy"] - run.metrics["plain_accuracy"]
    assert np.median([run.metrics["size_correlation"] for run in runs]) >= 0.3
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


def test_both_networks_begin_alike() -> None:
    pair = deformable_cnn.Pair(offset_lr=0.5, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).random((3, 1, 16, 16), np.float32)
    assert np.allclose(pair.deformable(x).numpy(), pair.plain(x).numpy(), atol=1e-5)
    assert all(not o.numpy().any() for o in pair.deformable.offsets(x))
    first, branches = optim.branch_groups(pair, 0.1)
    assert branches["lr"] == pytest.approx(0.05) and len(branches["params"]) == 4
    assert sum(p.size for p in branches["params"]) == 18 * (9 * 16 + 1) + 18 * (9 * 32 + 1)
    assert len(first["params"]) + 4 == len([*pair.parameters()])


def test_digits_have_their_size_and_stay_on_the_canvas() -> None:
    rng = np.random.default_rng(0)
    disc = (np.hypot(*np.meshgrid(np.arange(8) - 3.5, np.arange(8) - 3.5)) < 3).astype(np.float32)
    images, sizes = deformable_cnn.transformed(np.repeat(disc[None], 200, axis=0), rng)
    assert images.shape == (200, 1, 16, 16) and images.dtype == np.float32
    assert 0.6 <= sizes.min() < 0.65 and 1.35 < sizes.max() <= 1.4
    area = images.sum(axis=(1, 2, 3)) / disc.sum() / deformable_cnn.USUAL**2
    assert np.allclose(np.sqrt(area), sizes, rtol=0.12)
    bar = np.zeros((200, 8, 8), np.float32)
    bar[:, 1:7, 3:5] = 1  # upright: of what is turned the axis leans by the angle
    turned, _ = deformable_cnn.transformed(bar, np.random.default_rng(1))
    y, x = np.mgrid[:16, :16] - 7.5
    lean = np.arctan2((turned[:, 0] * x * y).sum(axis=(1, 2)), (turned[:, 0] * y * y).sum(axis=(1, 2)))
    assert 25 < np.rad2deg(np.abs(lean)).max() <= 45 and (lean < 0).any() and (lean > 0).any()


def test_the_measures() -> None:
    still, apart = np.zeros((2, 18, 3, 3)), np.zeros((2, 18, 3, 3))
    taps = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=2).reshape(18)
    apart[1] = 0.5 * taps[:, None, None]
    assert spread(still).tolist() == [0.0, 0.0] and spread(apart).tolist() == [0.0, 0.5]
    assert rank_correlation(np.array([1.0, 5.0, 2.0]), np.array([-1.0, -9.0, -3.0])) == pytest.approx(-1)
    assert rank_correlation(np.ones(3), np.arange(3.0)) == 0.0
    grid = sampled([np.zeros((1, 18, 8, 8)), np.zeros((1, 18, 4, 4))], 0, (2, 2))
    assert grid.shape == (81, 2) and grid.min() == 5 and grid.max() == 11  # 2 · (2 · 2 - 1) - 1 and onwards


# ---- the module
def test_a_module_is_the_convolution_until_its_branch_learns() -> None:
    x = tz.tensor(np.random.default_rng(1).standard_normal((2, 4, 6, 7), np.float32))
    layer = nn.DeformConv2d(
        4, 6, 3, stride=2, padding=1, dilation=2, groups=2, offset_groups=2, rng=np.random.default_rng(0)
    )
    assert np.allclose(layer(x).numpy(), layer.convolution(x).numpy(), atol=1e-5)
    offset, mask = layer.offsets(x)
    assert offset.shape == (2, 36, 2, 3) and mask is None
    layer(x).square().sum().backward()
    assert layer.branch.weight.grad.numpy().any() and layer.branch.bias.grad.numpy().any()
    layer.branch.bias.data[:] = 0.5
    assert not np.allclose(layer(x).numpy(), layer.convolution(x).numpy(), atol=1e-2)
    expected = tz.deform_conv2d(x, layer.branch(x), layer.convolution.weight, layer.convolution.bias, 2, 1, 2)
    assert np.array_equal(layer(x).numpy(), expected.numpy())


def test_a_modulated_module_begins_at_half() -> None:
    x = tz.tensor(np.random.default_rng(1).standard_normal((2, 3, 5, 5), np.float32))
    layer = nn.DeformConv2d(3, 4, 3, padding=1, bias=False, modulated=True, rng=np.random.default_rng(0))
    offset, mask = layer.offsets(x)
    assert offset.shape == (2, 18, 5, 5) and mask.shape == (2, 9, 5, 5) and (mask.numpy() == 0.5).all()
    assert np.allclose(layer(x).numpy(), 0.5 * layer.convolution(x).numpy(), atol=1e-5)
    assert repr(layer).startswith("DeformConv2d(modulated=True)")
    again = nn.DeformConv2d(3, 4, 3, padding=1, bias=False, modulated=True, rng=np.random.default_rng(5))
    again.load_state_dict(layer.state_dict())
    assert np.array_equal(again(x).numpy(), layer(x).numpy())


def test_what_a_module_refuses() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(UsageError, match="offset_groups=3 does not divide"):
        nn.DeformConv2d(4, 4, 3, offset_groups=3, rng=rng)
    with pytest.raises(UsageError, match="padding='same'"):
        nn.DeformConv2d(4, 4, 3, padding="same", rng=rng)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="offset_lr"):
        nn.DeformConv2d(4, 4, 3, offset_lr=0.0, rng=rng)
    with pytest.raises(DTypeError, match="rng"):
        nn.DeformConv2d(4, 4, 3)
    assert CNN(deformable=False, rng=rng).offsets(np.zeros((1, 1, 16, 16), np.float32)) == []

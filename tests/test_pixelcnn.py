"""PixelCNN: a density of bits, of codes, and given a class; what a pixel sees; PyTorch's numbers; the recipe."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import autoregressive_laws as laws
import oracles
import tinygrad_zoo as tz
from autoregressive_laws import all_bits, drawn, rng
from tinygrad_zoo import nn
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.models.autoregressive import PixelCNN
from tinygrad_zoo.models.autoregressive.pixelcnn import RECIPE, Block
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def pixelcnn(height: int, width: int, seed: int = 0, **settings: Any) -> PixelCNN:
    return PixelCNN(height, width, **{"channels": 4, "blocks": 2, **settings}, rng=rng(seed))


def seen_by(model: PixelCNN, points: int = 12) -> Any:
    """Which pixel (rows) depends on which, at any of some points between the images."""
    n = model.height * model.width
    some = np.zeros((n, n), bool)
    for x in rng(5).uniform(0, 1, (points, 1, model.levels, model.height, model.width)):
        gradients = tz.jacobian(lambda planes: model(planes))(tz.tensor(x)).numpy()
        some |= (gradients.reshape(model.levels, n, model.levels, n) != 0).any(axis=(0, 2))
    return some


@pytest.mark.parametrize(("height", "width"), [(2, 5), (5, 2), (1, 10)])
def test_it_is_a_density_of_bits(height: int, width: int) -> None:
    model = drawn(pixelcnn(height, width), spread=0.5)
    x = all_bits(10).reshape(-1, height, width)
    p = np.exp(model.log_prob(x).numpy())
    assert p.max() < 0.9 and abs(p.sum() - 1) < 1e-10
    begun = np.cumsum(model.log_probs(x).numpy().reshape(len(x), 10), axis=1)
    for k in range(1, 10):  # in this order rows of one beginning stand together
        rows = begun[:, k - 1].reshape(2**k, -1)
        np.testing.assert_allclose(rows, rows[:, :1].repeat(rows.shape[1], 1), rtol=1e-12)


def test_it_is_a_density_of_codes_given_a_class() -> None:
    model = drawn(pixelcnn(2, 2, levels=4, classes=3), spread=0.6)
    x = np.array(list(product(range(4), repeat=4))).reshape(-1, 2, 2)
    each = [np.exp(model.log_prob(x, np.full(len(x), label)).numpy()) for label in range(3)]
    np.testing.assert_allclose(np.sum(each, axis=1), 1, atol=1e-10)
    assert min(np.abs(each[0] - each[1]).max(), np.abs(each[1] - each[2]).max()) > 0.01


def test_a_pixel_sees_those_before_it_and_never_itself() -> None:
    model = drawn(pixelcnn(4, 4), spread=0.5)
    assert np.array_equal(seen_by(model), np.tril(np.ones((16, 16), bool), -1))  # the first kernel is 7 x 7
    assert not np.triu(model.dependence(np.round(rng().random((3, 4, 4))))).any()


def test_small_kernels_leave_a_blind_spot() -> None:
    """On the right, where kernels look from the row above alone: what arXiv 1606.05328 adds a second stack for."""
    seen = seen_by(drawn(pixelcnn(4, 5, kernel_size=3), spread=0.5))
    assert not np.triu(seen).any()
    assert not seen[11].reshape(4, 5)[1, 4] and seen[11].reshape(4, 5)[1, :3].all()


def test_a_first_layer_of_the_other_mask_is_noticed() -> None:
    model = pixelcnn(2, 5)
    model.first = nn.MaskedConv2d(2, 4, 7, mask_type="B", rng=rng())
    drawn(model, spread=0.5)
    assert np.diagonal(seen_by(model)).all()
    assert abs(np.exp(model.log_prob(all_bits(10).reshape(-1, 2, 5)).numpy()).sum() - 1) > 1e-3


def test_draws_agree_with_the_density() -> None:
    model = drawn(pixelcnn(2, 2, levels=3, channels=3, blocks=1), spread=0.4)
    x = model.sample(20_000, rng=rng(7))
    assert x.shape == (20_000, 2, 2) and x.dtype == np.int64
    assert np.array_equal(x.numpy(), model.sample(20_000, rng=rng(7)).numpy())
    whole = np.array(list(product(range(3), repeat=4))).reshape(-1, 2, 2)
    codes = x.numpy().reshape(-1, 4) @ 3 ** np.arange(4)[::-1]
    assert laws.chi_square(np.exp(model.log_prob(whole).numpy()), codes) > 1e-3


def test_draws_of_a_class_agree_with_its_density() -> None:
    model = drawn(pixelcnn(1, 3, classes=2, channels=3, blocks=1), spread=0.3)
    labels, whole = np.arange(20_000) % 2, all_bits(3).reshape(-1, 1, 3)
    codes = model.sample(20_000, labels, rng=rng(7)).numpy().reshape(-1, 3) @ [4, 2, 1]
    tables = [np.exp(model.log_prob(whole, np.full(8, label)).numpy()) for label in range(2)]
    for label in range(2):
        assert laws.chi_square(tables[label], codes[labels == label]) > 1e-3
        assert laws.chi_square(tables[1 - label], codes[labels == label]) < 1e-6


def test_gradients_and_state() -> None:
    x = rng().integers(0, 3, (20, 4, 4))
    laws.law_gradients(pixelcnn(4, 4, levels=3), x)
    laws.law_gradients(pixelcnn(4, 4, levels=3, classes=2), x, np.arange(20) % 2)
    laws.law_state(lambda seed: pixelcnn(4, 4, seed, levels=3), x)
    assert repr(pixelcnn(4, 4, levels=3, classes=2)).startswith("PixelCNN(4, 4, levels=3, classes=2")


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("classes", [0, 3])
def test_torch_values_and_gradients(classes: int) -> None:
    model = drawn(pixelcnn(5, 4, levels=3, classes=classes), spread=0.4)
    x, weights = rng(1).integers(0, 3, (6, 5, 4)), rng(2).standard_normal(6)
    labels = np.arange(6) % 3 if classes else None
    ours = model.log_prob(x, labels)
    (ours * weights).sum().backward()
    leaves = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}

    def convolved(name: str, h: Any, hides: bool = False) -> Any:
        weight = leaves[f"{name}.weight"]
        size = weight.shape[-1]
        kept = torch.ones(size * size, dtype=torch.float64)
        kept[size * size // 2 + (not hides) :] = 0
        masked = weight * kept.reshape(size, size)
        return torch.nn.functional.conv2d(h, masked, leaves[f"{name}.bias"], padding=size // 2)

    planes = torch.nn.functional.one_hot(torch.tensor(x), 3).permute(0, 3, 1, 2).double()
    h = convolved("first", planes, hides=True)
    for i in range(2):
        if classes:
            h = h + leaves[f"labels.{i}.weight"][torch.tensor(labels)][:, :, None, None]
        inner = h
        for k in range(3):
            inner = convolved(f"blocks.{i}.layers.{k}", torch.relu(inner))
        h = h + inner
    for k in range(2):
        h = convolved(f"last.{k}", torch.relu(h))
    expected = torch.distributions.Categorical(logits=h.permute(0, 2, 3, 1)).log_prob(torch.tensor(x)).sum((1, 2))
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(ours.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), leaves[name].grad.numpy(), rtol=1e-9, atol=1e-9)


def test_a_block_adds_to_what_it_is_given() -> None:
    block = Block(6, rng=rng())
    for layer in block.layers:
        layer.weight.data, layer.bias.data = layer.weight.data * 0, layer.bias.data * 0
    x = rng(1).standard_normal((2, 6, 3, 3)).astype(np.float32)
    assert np.array_equal(block(tz.tensor(x)).numpy(), x)


def test_errors() -> None:
    model = pixelcnn(3, 4)
    with pytest.raises(ShapeError, match=r"PixelCNN: expected images \(N, 3, 4\), got \(2, 4, 3\)"):
        model.log_prob(np.zeros((2, 4, 3)))
    for wrong in (2, -1, 0.5):
        with pytest.raises(UsageError, match="PixelCNN: expected whole numbers from 0 to 1"):
            model.log_prob(np.full((1, 3, 4), wrong))
    with pytest.raises(UsageError, match="labels are to be given where there are classes, and classes=0"):
        model.log_prob(np.zeros((1, 3, 4)), np.zeros(1, np.int64))
    with pytest.raises(UsageError, match="and classes=2"):
        pixelcnn(3, 4, classes=2).sample(3, rng=rng())
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        PixelCNN(3, 4, channels=2, blocks=1)


def test_the_recipe_learns(tmp_path: Path) -> None:
    run = fit(RECIPE, steps=30, out=tmp_path / "run", progress=False)
    assert find("pixelcnn") is RECIPE and laws.ratio_of_losses(RECIPE, run) < 0.8
    assert (run.out / "figure.png").stat().st_size > 10_000
    assert np.load(run.out / "samples.npz")["digits"].shape == (40, 8, 8)


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    laws.report(RECIPE, runs)

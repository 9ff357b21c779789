"""Row C3's system: ESPCN against the fixed interpolations, those against PyTorch's, and how its images start."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.models.super_resolution import ESPCN
from tinygrad_zoo.models.super_resolution.espcn import INTERPOLATIONS, RECIPE, interpolate, psnr
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)
SPLIT = RECIPE.data(RECIPE.config, np.random.default_rng(0))


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("espcn") is RECIPE and find("C3") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(1, RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    best = max(runs[0].baseline.values())
    assert best + 3 <= (RECIPE.bar.at_least or 0) < best + 3.01
    for run in runs:
        assert run.metrics["gain"] == pytest.approx(run.metrics["test_psnr"] - best)
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


def test_an_untrained_network_misses_the_bar() -> None:
    coarse, fine = SPLIT.test
    model = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(0)).model
    assert psnr(model(coarse).numpy(), fine) < max(RECIPE.baseline(SPLIT).values())


def test_the_interpolations_reach_what_they_are_known_for() -> None:
    assert RECIPE.baseline(SPLIT) == pytest.approx({"nearest": 13.01, "bilinear": 12.68, "bicubic": 13.23}, abs=0.005)


def test_coarse_images_are_the_means_of_blocks() -> None:
    for coarse, fine in SPLIT.parts().values():
        assert coarse.shape == (len(fine), 1, 4, 4) and fine.shape == (len(fine), 1, 8, 8)
        assert coarse.dtype == fine.dtype == np.float32
        assert np.array_equal(coarse[:, :, 1, 2], fine[:, :, 2:4, 4:6].mean(axis=(2, 3)))
        assert np.array_equal(coarse.mean(axis=(2, 3)), fine.mean(axis=(2, 3)))


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", INTERPOLATIONS)
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
def test_interpolations_are_pytorchs(name: str, factor: int) -> None:
    import torch

    for shape in [(2, 1, 4, 4), (1, 3, 5, 2), (1, 1, 1, 1)]:
        images = np.random.default_rng(0).standard_normal(shape)
        expected = torch.nn.functional.interpolate(torch.tensor(images), scale_factor=factor, mode=name)
        np.testing.assert_allclose(interpolate(images, factor, INTERPOLATIONS[name]), expected.numpy(), atol=1e-12)


@pytest.mark.parametrize("kernel", INTERPOLATIONS.values(), ids=INTERPOLATIONS.keys())
def test_interpolations_keep_a_constant(kernel: object) -> None:
    grey = np.full((2, 3, 4), 0.7)
    np.testing.assert_allclose(interpolate(grey, 3, kernel), np.full((2, 9, 12), 0.7))  # type: ignore[arg-type]


def test_psnr() -> None:
    truth = np.array([[0.0, 1.0]])
    assert psnr(truth + 0.1 * np.array([[1, -1]]), truth) == pytest.approx(20)
    assert psnr(np.array([[-3.0, 0.9]]), truth) == pytest.approx(-10 * np.log10(0.005))  # clipped


def test_the_first_images_have_no_checkerboard() -> None:
    model = ESPCN(3, channels=2, width=4, rng=np.random.default_rng(0))
    shown = model(tz.rand(2, 2, 5, 4, rng=np.random.default_rng(1))).numpy()
    assert shown.shape == (2, 2, 15, 12)
    assert np.array_equal(shown, np.repeat(np.repeat(shown[..., ::3, ::3], 3, axis=2), 3, axis=3))
    assert shown.std() > 0.01

"""Row C5's bar: a decoder of transposed convolutions draws digits at least as well as nearest + convolution."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.models.autoencoding.digits_autoencoder import (
    RECIPE,
    AutoEncoder,
    Doubled,
    overlaps,
    principal_components,
)
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

UNDRAWN = dataclasses.replace(RECIPE, figure=lambda state, path: None)
SPLIT = RECIPE.data(RECIPE.config, np.random.default_rng(0))


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("digits_autoencoder") is RECIPE and find("C5") is RECIPE
    runs = [fit(RECIPE, seed=0, out=tmp_path / "0", progress=False)]
    runs += [fit(UNDRAWN, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(1, RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    (train,), (test,) = SPLIT.train, SPLIT.test
    affine = ((principal_components(train, test, RECIPE.config.code) - test) ** 2).mean()
    for run in runs:  # neither of the two is a decoder that has learnt nothing
        assert run.metrics["ratio"] == run.metrics["test_transposed"] / run.metrics["test_nearest"]
        assert max(run.metrics["test_transposed"], run.metrics["test_nearest"]) < affine
    assert (runs[0].out / "figure.png").stat().st_size > 10_000


def test_both_start_from_equal_encoders_and_differ_in_the_decoder_alone() -> None:
    model = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(0)).model
    states = {name: model[name].state_dict() for name in ("transposed", "nearest")}
    encoders = [{key: x for key, x in state.items() if key.startswith("encoder")} for state in states.values()]
    assert len(encoders[0]) == 6
    for key, x in encoders[0].items():
        assert np.array_equal(x, encoders[1][key])
    kinds = {name: [type(layer).__name__ for layer in model[name].decoder] for name in states}
    assert kinds["transposed"] == ["Linear", "ReLU", "Unflatten", "ConvTranspose2d", "ReLU", "ConvTranspose2d"]
    assert kinds["nearest"] == ["Linear", "ReLU", "Unflatten", "Doubled", "Conv2d", "ReLU", "Doubled", "Conv2d"]
    other = RECIPE.build(RECIPE.config, SPLIT, np.random.default_rng(1)).model
    assert not np.array_equal(encoders[0]["encoder.0.weight"], other["nearest"].state_dict()["encoder.0.weight"])


@pytest.mark.parametrize("decoder", ["transposed", "nearest"])
def test_all_goes_through_the_code(decoder: str) -> None:
    model = AutoEncoder(2, decoder=decoder, rng=np.random.default_rng(0))
    x = tz.rand(4, 1, 8, 8, rng=np.random.default_rng(1))
    code = model.encoder(x)
    assert code.shape == (4, 2)
    assert np.array_equal(model.decoder(code).numpy(), model(x).numpy())


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(UsageError, match="decoder must be one of transposed, nearest, got 'bilinear'"):
        AutoEncoder(2, decoder="bilinear", rng=np.random.default_rng(0))


def test_doubling_repeats_pixels_and_its_gradient_sums_them() -> None:
    x = tz.tensor(np.arange(12.0).reshape(1, 2, 2, 3), requires_grad=True)
    out = Doubled()(x)
    assert np.array_equal(out.numpy(), np.kron(x.numpy(), np.ones((2, 2))))
    g = np.random.default_rng(0).standard_normal(out.shape)
    out.backward(tz.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), g.reshape(1, 2, 2, 2, 3, 2).sum(axis=(3, 5)))


def test_principal_components_are_the_best_affine_code() -> None:
    (train,), (test,) = SPLIT.train, SPLIT.test
    errors = [((principal_components(train, train, code) - train) ** 2).mean() for code in (1, 8, 63, 64)]
    assert errors == sorted(errors, reverse=True) and errors[0] > 0.05 and errors[-1] < 1e-10
    from sklearn.decomposition import PCA

    pca = PCA(8, svd_solver="full").fit(train.reshape(-1, 64))
    expected = pca.inverse_transform(pca.transform(test.reshape(-1, 64))).reshape(test.shape)
    np.testing.assert_allclose(principal_components(train, test, 8), expected, atol=1e-5)


def test_a_kernel_that_the_stride_does_not_divide_draws_a_checkerboard() -> None:
    uneven, even = (overlaps(kernel, np.random.default_rng(0)) for kernel in (3, 4))
    assert uneven.max() / uneven.min() > 2.5 and even.max() / even.min() < 2  # by the taps 4 and 1
    assert np.array_equal(uneven[::2, ::2].round(4), np.full((6, 6), uneven[0, 0].round(4)))

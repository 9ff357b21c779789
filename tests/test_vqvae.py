"""Row G6: digits as 4 x 4 codes; which gradients go where, and what there is to beat."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.models.latent.vqvae import RECIPE, VQVAE, coloured, colours
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training import fit

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def made(seed: int = 0) -> VQVAE:
    model = VQVAE(K=8, d=4, width=4, rng=rng(seed)).to("float64")
    z = model.encoder(X).numpy().transpose(0, 2, 3, 1).reshape(-1, 4)
    model.quantizer.codebook.data = z[::12] + 0.01 * rng(seed).standard_normal((8, 4))
    return model


X = rng(1).random((6, 1, 8, 8))


def test_codes_are_all_that_the_decoder_sees() -> None:
    model = made().eval()
    drawn, codes, _ = model(X)
    assert codes.shape == (6, 4, 4) and codes.dtype == np.int64 and len(np.unique(codes.numpy())) > 2
    assert np.array_equal(model.encode(X).numpy(), codes.numpy())
    assert np.array_equal(model.decode(codes).numpy(), drawn.numpy())


def test_the_encoder_gets_the_decoder_s_gradient_as_it_comes() -> None:
    """What ∂mse/∂z_q is goes to z_e unchanged, and from there into the encoder; the codebook follows without any."""
    model = made().eval()
    z = model.encoder(X)
    quantized = model.quantizer(z)
    values = tz.tensor(quantized.values.numpy(), requires_grad=True)
    ops.mse_loss(model.decoder(values), X).backward()
    decoder = {name: p.grad.numpy() for name, p in model.decoder.named_parameters()}
    model.zero_grad()
    z.backward(values.grad)
    encoder = {name: p.grad.numpy() for name, p in model.encoder.named_parameters()}
    model.zero_grad()
    ops.mse_loss(model(X)[0], X).backward()
    for network, expected in ((model.decoder, decoder), (model.encoder, encoder)):
        for name, p in network.named_parameters():
            assert np.abs(p.grad.numpy()).max() > 0
            np.testing.assert_allclose(p.grad.numpy(), expected[name], rtol=1e-12, atol=1e-15)
    assert not list(model.quantizer.parameters())


def test_the_baselines_are_principal_components() -> None:
    from sklearn.decomposition import PCA

    split = RECIPE.data(RECIPE.config, rng())
    train, test = (images.reshape(len(images), -1).astype(np.float64) for (images,) in split.parts().values())
    found = RECIPE.baseline(split)
    assert list(found) == ["PCA-8", "PCA-16"]
    for n in (8, 16):
        pca = PCA(n, svd_solver="full").fit(train)
        again = pca.inverse_transform(pca.transform(test))
        assert found[f"PCA-{n}"] == pytest.approx(((again - test) ** 2).mean(), rel=1e-9)


def test_colours_of_codes() -> None:
    tints = colours(np.array([2, 0, 1]))
    assert tints.shape == (3, 3) and tints[2].sum() == pytest.approx(tints.sum(axis=1).min())
    blocks = coloured(np.arange(16).reshape(1, 4, 4) % 3, tints)
    assert blocks.shape == (1, 8, 8, 3) and np.array_equal(blocks[0, 5, 2], tints[9 % 3])


def test_a_short_run_falls_and_reaches_every_parameter(tmp_path: Path) -> None:
    assert find("vqvae") is RECIPE
    run = fit(RECIPE, steps=40, out=tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (run.out / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert np.mean([line["mse"] for line in lines[-5:]]) < 0.4 * lines[0]["mse"]
    assert 1 <= lines[-1]["perplexity"] <= 32 and lines[-1]["perplexity"] != lines[0]["perplexity"]
    assert run.metrics["test_mse"] < 0.12 and 1 < run.metrics["perplexity"] < 32
    assert (run.out / "figure.png").stat().st_size > 10_000
    split = RECIPE.data(RECIPE.config, rng())
    model = RECIPE.build(RECIPE.config, split, rng()).model
    drawn, _, loss = model(split.train[0][:64])
    (ops.mse_loss(drawn, split.train[0][:64]) + loss).backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters())


def test_no_code_is_lost() -> None:
    """The perplexity says how many of the 32 codes are in use; with neither restarts nor smoothing few are."""
    found: dict[float, Any] = {}
    for restart in (0.05, 0.0):
        split = RECIPE.data(RECIPE.config, rng())
        parts = RECIPE.build(dataclasses.replace(RECIPE.config, width=8), split, rng())
        quantizer = parts.model.quantizer
        quantizer.restart, quantizer.eps = restart, 0.0
        for start in range(0, 1400, 28):
            x = split.train[0][start : start + 28]
            parts.optimizers["adam"].zero_grad()
            drawn, _, loss = parts.model(x)
            (ops.mse_loss(drawn, x) + loss).backward()
            parts.optimizers["adam"].step()
        codes = parts.model.encode(split.test[0])
        found[restart] = float(quantizer.perplexity), float(quantizer.perplexity_of(codes))
    assert min(found[0.05]) > 2 * max(found[0.0]), found


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    undrawn = dataclasses.replace(RECIPE, figure=lambda state, path: None)
    runs = [fit(undrawn, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    mse, perplexity = ([run.metrics[name] for run in runs] for name in ("test_mse", "perplexity"))
    seconds = max(run.seconds for run in runs)
    print(f"\nvqvae: {np.round(mse, 5)}, min {min(mse):.5f}, median {np.median(mse):.5f}; {seconds:.0f} s a seed")
    print(f"{runs[0].baseline}; perplexity {np.round(perplexity, 1)}")
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    assert max(mse) < min(runs[0].baseline.values()) and min(perplexity) >= 20


@pytest.mark.oracle("torch")
def test_same_weights_same_loss_and_gradients_as_torch() -> None:
    model = made().eval()
    theirs = {name: torch.tensor(p.numpy(), requires_grad=True) for name, p in model.named_parameters()}
    x, book, F = torch.tensor(X), torch.tensor(model.quantizer.codebook.numpy()), torch.nn.functional

    def conv(name: str, h: Any, function: Any = F.conv2d, **settings: Any) -> Any:
        return function(h, theirs[f"{name}.weight"], theirs[f"{name}.bias"], **settings)

    h = conv("encoder.0", x, padding=1).relu()
    z = conv("encoder.4", conv("encoder.2", h, stride=2, padding=1).relu())
    codes = torch.cdist(z.movedim(1, -1).reshape(-1, 4), book).argmin(1)
    found = book[codes].reshape(6, 4, 4, 4).movedim(-1, 1)
    h = conv("decoder.0", z + (found - z).detach(), padding=1).relu()
    h = conv("decoder.2", h, F.conv_transpose2d, stride=2, padding=1).relu()
    expected = F.mse_loss(conv("decoder.4", h, padding=1), x) + 0.25 * F.mse_loss(z, found)
    expected.backward()
    drawn, own, loss = model(X)
    ours = ops.mse_loss(drawn, X) + loss
    ours.backward()
    assert np.array_equal(own.numpy().reshape(-1), codes.numpy())
    assert ours.item() == pytest.approx(expected.item(), rel=1e-12)
    for name, p in model.named_parameters():
        np.testing.assert_allclose(p.grad.numpy(), theirs[name].grad.numpy(), rtol=1e-9, atol=1e-12, err_msg=name)

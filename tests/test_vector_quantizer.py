"""VectorQuantizer: the nearest codes, what gradients it lets through, and how its codebook follows the vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.testing.cupysim.transfers import forbid_sync
from tinygrad_zoo.transforms import checkpoint

torch = oracles.load("torch")


def made(K: int = 6, d: int = 3, seed: int = 0, **settings: Any) -> nn.VectorQuantizer:
    """One whose codes are spread like its vectors, in float64."""
    draw = np.random.default_rng(seed)
    quantizer = nn.VectorQuantizer(K, d, rng=draw, **settings).to("float64")
    quantizer.codebook.data = draw.standard_normal((K, d))
    if quantizer.ema:
        quantizer.sums.data = quantizer.counts.data[:, None] * quantizer.codebook.data
    return quantizer


def vectors(*shape: int, seed: int = 1) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


# ---- which code


def test_the_nearest_code_is_that_of_scipy_and_of_a_search() -> None:
    from scipy.cluster.vq import vq

    quantizer, z = made(50, 7), vectors(400, 7)
    expected, distances = vq(z, quantizer.codebook.numpy())
    found = quantizer.nearest(z).numpy()
    assert found.dtype == np.int64 and np.array_equal(found, expected)
    apart = ((z[:, None] - quantizer.codebook.numpy()) ** 2).sum(axis=2)
    assert np.array_equal(found, apart.argmin(axis=1))
    error = np.sqrt(((quantizer.eval()(z).values.numpy() - z) ** 2).sum(axis=1))
    np.testing.assert_allclose(error, distances, rtol=1e-12)


def test_the_first_of_several_nearest_codes_is_taken() -> None:
    quantizer = made(4, 1)
    quantizer.codebook.data = np.array([[1.0], [-1.0], [1.0], [3.0]])
    assert quantizer.nearest([[0.0], [1.0], [2.0], [-9.0]]).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize(("shape", "axis"), [((5, 3, 4, 2), 1), ((3, 8), 0), ((5, 4, 3), 2), ((3,), -1)])
def test_the_vectors_may_stand_along_any_axis(shape: tuple[int, ...], axis: int) -> None:
    z, quantizer, last = vectors(*shape), made(axis=axis).eval(), made().eval()
    values, codes, loss = quantizer(z)
    expected = last(np.moveaxis(z, axis, -1))
    assert values.shape == shape and codes.shape == expected.codes.shape == np.moveaxis(z, axis, -1).shape[:-1]
    assert np.array_equal(values.numpy(), np.moveaxis(expected.values.numpy(), -1, axis))
    assert np.array_equal(codes.numpy(), expected.codes.numpy()) and loss.item() == expected.loss.item()
    assert np.array_equal(quantizer.lookup(codes).numpy(), values.numpy())
    assert np.array_equal(quantizer.nearest(z).numpy(), codes.numpy())


def test_the_values_are_codes_to_the_last_bit() -> None:
    quantizer = nn.VectorQuantizer(9, 4, rng=np.random.default_rng(0)).eval()
    values, codes, _ = quantizer(1e3 * vectors(200, 4).astype(np.float32))
    assert values.dtype == np.float32 and np.array_equal(values.numpy(), quantizer.codebook.numpy()[codes.numpy()])


# ---- gradients


@pytest.mark.parametrize("ema", [True, False])
def test_the_encoder_gets_the_decoder_s_gradient_and_the_codebook_none_of_it(ema: bool) -> None:
    quantizer, z = made(ema=ema), tz.tensor(vectors(10, 3), requires_grad=True)
    values, _, _ = quantizer(z)
    weight = vectors(10, 3, seed=2)
    (ops.sin(values) * weight).sum().backward()
    np.testing.assert_allclose(z.grad.numpy(), np.cos(values.numpy()) * weight, rtol=1e-14)
    assert quantizer.codebook.grad is None and list(quantizer.parameters()) == ([] if ema else [quantizer.codebook])


@pytest.mark.parametrize("ema", [True, False])
def test_the_loss_draws_the_vectors_and_without_ema_the_codes(ema: bool) -> None:
    quantizer, z = made(beta=0.25, ema=ema).eval(), tz.tensor(vectors(40, 3), requires_grad=True)
    values, codes, loss = quantizer(z)
    loss.backward()
    away = z.numpy() - values.numpy()
    assert loss.item() == pytest.approx((0.25 if ema else 1.25) * (away**2).mean(), rel=1e-14)
    np.testing.assert_allclose(z.grad.numpy(), 0.25 * 2 * away / z.size, rtol=1e-12)
    if not ema:
        expected = np.zeros((6, 3))
        np.add.at(expected, codes.numpy(), -2 * away / z.size)
        np.testing.assert_allclose(quantizer.codebook.grad.numpy(), expected, rtol=1e-12)


def test_a_checkpoint_recomputes_with_the_codebook_that_was() -> None:
    z, found = vectors(30, 3), []
    for recomputed in (False, True):
        quantizer, x = made(decay=0.5), tz.tensor(z, requires_grad=True)

        def loss(x: Any, quantizer: nn.VectorQuantizer = quantizer) -> Any:
            values, _, commitment = quantizer(x)
            return (values**3).sum() + 100 * commitment

        (checkpoint(loss, x) if recomputed else loss(x)).backward()
        found.append((x.grad.numpy(), quantizer.codebook.numpy(), quantizer.usage.numpy()))
    for plain, recomputed in zip(*found, strict=True):
        assert np.array_equal(plain, recomputed)


# ---- how the codebook follows


def test_one_step_of_the_average_is_one_of_online_k_means() -> None:
    from sklearn.cluster import MiniBatchKMeans

    decay, start = 0.9, np.array([3.0, 1.0, 0.5, 2.0, 1.0, 4.0])
    quantizer, batch = made(decay=decay, eps=0.0, restart=0.0), vectors(64, 3)
    quantizer.counts.data = start
    quantizer.sums.data = start[:, None] * quantizer.codebook.data
    means = MiniBatchKMeans(6, init=quantizer.codebook.numpy(), n_init=1, reassignment_ratio=0.0)
    means.partial_fit(batch)  # which makes what a fit has
    means.cluster_centers_ = quantizer.codebook.numpy().copy()
    means._counts = decay / (1 - decay) * start  # a vector seen now weighs 1 - decay, those before decay in all
    means.partial_fit(batch)
    quantizer(batch)
    np.testing.assert_allclose(quantizer.codebook.numpy(), means.cluster_centers_, rtol=1e-12)


def test_without_memory_the_step_is_lloyd_s() -> None:
    from sklearn.cluster import KMeans

    quantizer, batch = made(decay=0.0, eps=0.0, restart=0.0), vectors(200, 3)
    start = quantizer.codebook.numpy().copy()
    codes = quantizer(batch).codes.numpy()
    assert np.bincount(codes, minlength=6).min() > 0
    expected = np.stack([batch[codes == k].mean(axis=0) for k in range(6)])
    np.testing.assert_allclose(quantizer.codebook.numpy(), expected, rtol=1e-12)
    means = KMeans(6, init=start, n_init=1, max_iter=1).fit(batch)
    assert np.array_equal(means.predict(batch), quantizer.nearest(batch).numpy())


def test_the_averages_and_their_smoothing_by_hand() -> None:
    quantizer = made(decay=0.8, eps=0.5, restart=0.0)
    counts, sums, usage = quantizer.counts.numpy().copy(), quantizer.sums.numpy().copy(), np.zeros(6)
    for seed in range(3):
        batch = vectors(4, 5, 3, seed=seed)
        codes = quantizer(batch).codes.numpy()
        for k in range(6):
            counts[k] = 0.8 * counts[k] + 0.2 * (codes == k).sum()
            sums[k] = 0.8 * sums[k] + 0.2 * batch[codes == k].sum(axis=0)
            usage[k] = 0.8 * usage[k] + 0.2 * (codes == k).mean()
        smoothed = (counts + 0.5) / (counts.sum() + 6 * 0.5) * counts.sum()
        np.testing.assert_allclose(quantizer.codebook.numpy(), sums / smoothed[:, None], rtol=1e-12)
        np.testing.assert_allclose(quantizer.counts.numpy(), counts, rtol=1e-12)
        np.testing.assert_allclose(quantizer.usage.numpy(), usage, rtol=1e-12)


def test_a_dead_code_restarts_at_a_vector_of_the_batch() -> None:
    batch = vectors(64, 3)
    for restart in (0.05, 0.0):
        quantizer = made(restart=restart)
        far = np.array([50.0, 50.0, 50.0])
        quantizer.codebook.data[2] = far
        quantizer.sums.data[2] = far
        before = quantizer.codebook.numpy().copy()
        quantizer(batch)
        after = quantizer.codebook.numpy()
        if restart:
            assert (batch == after[2]).all(axis=1).any()
            total = 0.99 * 6 + 0.01 * 64
            assert quantizer.counts.numpy()[2] == pytest.approx(total / 6)
            np.testing.assert_allclose(quantizer.sums.numpy()[2], after[2] * total / 6)
        else:
            np.testing.assert_allclose(after[2], far, rtol=1e-4)
        used = np.isin(range(6), quantizer.eval().nearest(batch).numpy()) & (np.arange(6) != 2)
        assert used.sum() >= 3 and np.abs(after - before)[used].max() < 0.5  # the others only move on


def test_codes_find_the_clusters_that_there_are() -> None:
    """Without the restart, two far codes stay where they are and the perplexity says so."""
    draw = np.random.default_rng(5)
    centers = np.array([[0.0, 8.0], [8.0, 0.0], [-8.0, 0.0], [0.0, -8.0]])
    perplexity = {}
    for restart in (0.05, 0.0):
        quantizer = nn.VectorQuantizer(4, 2, decay=0.9, eps=0.0, restart=restart, rng=np.random.default_rng(0))
        quantizer.codebook.data = np.array([[1, 1], [-1, -1], [90, 90], [90, 91]], np.float32)
        quantizer.sums.data = quantizer.codebook.data.copy()
        for _ in range(150):
            batch = centers[draw.integers(4, size=64)] + 0.3 * draw.standard_normal((64, 2))
            loss = quantizer(batch.astype(np.float32)).loss
        perplexity[restart] = float(quantizer.perplexity)
        if restart:
            apart = np.linalg.norm(quantizer.codebook.numpy()[:, None] - centers, axis=2)
            assert np.array_equal(np.sort(apart.argmin(axis=1)), range(4)) and apart.min(axis=1).max() < 0.3
            assert loss.item() == pytest.approx(0.25 * 0.3**2, rel=0.3)
    assert perplexity[0.05] > 3.8 and perplexity[0.0] < 2.1


def test_the_perplexity() -> None:
    quantizer = made(8, 2)
    with np.errstate(all="ignore"):
        assert np.isnan(quantizer.perplexity.item())
    for weights, expected in (([1, 1, 1, 1, 0, 0, 0, 0], 4), ([0, 0, 3, 0, 0, 0, 0, 0], 1), ([2] * 8, 8)):
        quantizer.usage.data = np.array(weights) / 7
        assert quantizer.perplexity.item() == pytest.approx(expected)
        codes = np.repeat(np.arange(8), weights)
        assert quantizer.perplexity_of(codes[None]).item() == pytest.approx(expected)
    usage = np.array([4, 2, 1, 1]) / 8
    codes = np.repeat(np.arange(4), [4, 2, 1, 1]).reshape(2, 4)
    assert made(8, 2).perplexity_of(codes).item() == pytest.approx(np.exp(-(usage * np.log(usage)).sum()))


# ---- state, devices, errors


@pytest.mark.parametrize("ema", [True, False])
def test_nothing_moves_in_evaluation_and_without_ema_only_the_usage(ema: bool) -> None:
    quantizer = made(ema=ema)
    before = quantizer.state_dict()
    assert set(before) == {"codebook", "usage"} | ({"counts", "sums"} if ema else set())
    quantizer.eval()(vectors(20, 3))
    quantizer.train().nearest(vectors(20, 3))
    assert all(np.array_equal(x, before[name]) for name, x in quantizer.state_dict().items())
    quantizer(vectors(20, 3))
    moved = {name for name, x in quantizer.state_dict().items() if not np.array_equal(x, before[name])}
    assert moved == (set(before) if ema else {"usage"})
    assert {x.dtype.name for x in before.values()} == {"float64"}


def test_a_saved_quantizer_goes_on_as_if_it_had_not_been() -> None:
    whole, part = made(), made(seed=7)
    whole(vectors(20, 3))
    part.load_state_dict(whole.state_dict())
    part.rng = np.random.default_rng()
    part.rng.bit_generator.state = whole.rng.bit_generator.state
    for seed in range(3):
        whole(vectors(20, 3, seed=seed)), part(vectors(20, 3, seed=seed))
    assert all(np.array_equal(x, part.state_dict()[name]) for name, x in whole.state_dict().items())


def test_vectors_of_another_dtype_leave_the_codebook_s() -> None:
    quantizer = nn.VectorQuantizer(4, 3, rng=np.random.default_rng(0))
    quantizer(vectors(20, 3))
    assert {x.dtype.name for x in quantizer.buffers()} == {"float32"}


def test_a_step_on_a_device_waits_for_nothing_and_gives_the_same() -> None:
    z, found = vectors(8, 3, 4).astype(np.float32), []
    for device in ("cpu", "cupysim"):
        quantizer = nn.VectorQuantizer(6, 3, axis=1, rng=np.random.default_rng(0)).to(device)
        x = tz.tensor(z, device=device, requires_grad=True)
        with forbid_sync():
            values, codes, loss = quantizer(x)
            ((values * values).sum() + loss).backward()
            values, codes, loss = quantizer(x)
        state = quantizer.state_dict()
        found.append([x.grad.numpy(), values.numpy(), codes.numpy(), loss.numpy(), *state.values()])
    for host, there in zip(*found, strict=True):
        np.testing.assert_allclose(host, there, rtol=1e-6)


def test_repr() -> None:
    assert repr(made(axis=1)) == "VectorQuantizer(6, 3, beta=0.25, decay=0.99, restart=0.05, axis=1)"
    assert repr(made(ema=False)) == "VectorQuantizer(6, 3, beta=0.25, ema=False)  # 18 parameters"


def test_errors() -> None:
    rng = np.random.default_rng(0)
    for settings in ({"decay": 1.0}, {"beta": -1.0}, {"eps": -1.0}, {"restart": 1.0}):
        with pytest.raises(UsageError, match=r"expected decay and restart in \[0, 1\), beta and eps >= 0"):
            nn.VectorQuantizer(4, 2, rng=rng, **settings)
    with pytest.raises(UsageError, match="without ema no code is restarted"):
        nn.VectorQuantizer(4, 2, ema=False, restart=0.1, rng=rng)
    with pytest.raises(UsageError, match="expected an integer K >= 1, got 0"):
        nn.VectorQuantizer(0, 2, rng=rng)
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        nn.VectorQuantizer(4, 2)
    for shape, axis in [((5, 4), -1), ((0, 3), -1), ((5, 3), 2), ((5, 4, 3), 1)]:
        with pytest.raises(ShapeError, match=rf"vectors of d=3 numbers along axis {axis}, .* got shape"):
            made(axis=axis)(np.zeros(shape))


# ---- oracles


@pytest.mark.oracle("torch")
def test_same_vectors_same_outputs_and_gradients_as_torch() -> None:
    quantizer, z = made(ema=False), vectors(5, 4, 3)
    weight = vectors(5, 4, 3, seed=3)
    theirs, book = (torch.tensor(x, requires_grad=True) for x in (z, quantizer.codebook.numpy()))
    found = torch.nn.functional.embedding(torch.cdist(theirs.reshape(-1, 3), book).argmin(1), book).reshape(z.shape)
    mse = torch.nn.functional.mse_loss
    loss = mse(found, theirs.detach()) + 0.25 * mse(theirs, found.detach())
    through = theirs + (found - theirs).detach()
    (loss + (through.sin() * torch.tensor(weight)).sum()).backward()
    ours = tz.tensor(z, requires_grad=True)
    values, _, own = quantizer(ours)
    (own + (ops.sin(values) * weight).sum()).backward()
    for a, b in [(values, through), (own, loss), (ours.grad, theirs.grad), (quantizer.codebook.grad, book.grad)]:
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9)


@pytest.mark.oracle("torch", "diffusers")
def test_same_codes_and_loss_as_the_quantizer_of_diffusers() -> None:
    theirs = oracles.load("diffusers.models.autoencoders.vae").VectorQuantizer(6, 3, beta=0.25, legacy=False).double()
    quantizer, z = made(ema=False, axis=1), vectors(5, 3, 4, 2)
    theirs.embedding.weight.data = torch.tensor(quantizer.codebook.numpy())
    x = torch.tensor(z, requires_grad=True)
    found, expected, (_, _, codes) = theirs(x)
    (expected + (found**2).sum()).backward()
    ours = tz.tensor(z, requires_grad=True)
    values, own_codes, own = quantizer(ours)
    (own + (values**2).sum()).backward()
    assert np.array_equal(own_codes.numpy().reshape(-1), codes.numpy().reshape(-1))
    pairs = [(values, found), (own, expected), (ours.grad, x.grad)]
    for a, b in [*pairs, (quantizer.codebook.grad, theirs.embedding.weight.grad)]:
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), rtol=1e-9)

"""What each kind of transform of a flow promises: determinants, no folds, starts from data, blocks of images."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from test_flows import FAMILY, IMAGE, SKEWED, drawn, points, rng, standard
from tinygrad_zoo import ops
from tinygrad_zoo.distributions import MultivariateNormal
from tinygrad_zoo.errors import DTypeError, LinAlgError, ShapeError, UsageError
from tinygrad_zoo.models.flows import (
    ActNorm,
    AffineCoupling,
    ChannelCoupling,
    Flow,
    Glow,
    InvertibleConv1x1,
    PlanarFlow,
    RadialFlow,
    Reverse,
    Scaling,
    Split2d,
    Squeeze2d,
    Transform,
    Whitening,
    channel_mask,
    checkerboard_mask,
    dequantize,
)
from tinygrad_zoo.testing import check_gradients


@pytest.mark.parametrize("name", [name for name in FAMILY if re.match("Additive|Permutation|Reverse|Squeeze2d", name)])
def test_volume_preserving_maps_have_determinant_one_exactly(name: str) -> None:
    transform = drawn(FAMILY[name]())
    _, log_det = transform(points(transform))
    assert np.array_equal(log_det.numpy(), np.zeros(6))


class Unconstrained(PlanarFlow):
    """û = u: wᵀû may be below -1."""

    def _constrained(self) -> tuple[Any, Any]:
        return self.u, self.w @ self.u


class UnconstrainedRadial(RadialFlow):
    """β may be below -α."""

    def _constrained(self) -> tuple[Any, Any]:
        return ops.exp(self.log_alpha), self.beta


def law_one_to_one(transform: Transform) -> None:
    """Along a line through the plane and through the centre, where it could fold, the map is monotone."""
    for x in transform.parameters():
        x.data[...] = 0.5
    if isinstance(transform, PlanarFlow):
        transform.u.data[...] = -4.0  # wᵀu = -4: û is what keeps it from folding
    else:
        transform.beta.data[...] = -4.0
    line = np.linspace(-5, 5, 201)[:, None] * np.ones(2)
    z, log_det = transform(line)
    assert (np.diff(z.numpy(), axis=0) > 0).all() and np.isfinite(log_det.numpy()).all()


@pytest.mark.parametrize(
    ("right", "wrong"), [(PlanarFlow, Unconstrained), (RadialFlow, UnconstrainedRadial)], ids=["planar", "radial"]
)
def test_planar_and_radial_flows_do_not_fold(right: type[Transform], wrong: type[Transform]) -> None:
    law_one_to_one(right(2, rng=rng()).to("float64"))
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        law_one_to_one(wrong(2, rng=rng()).to("float64"))


def test_the_inverse_of_a_planar_flow_is_right_where_it_is_steep() -> None:
    flow = PlanarFlow(2, rng=rng()).to("float64")
    for name, value in {"w": 3.0, "u": -5.0, "b": 0.1}.items():
        getattr(flow, name).data[...] = value  # wᵀû ≈ -1: the slope at the plane is 1e-13
    x = rng(1).standard_normal((200, 2)) * 3
    x = x[np.abs(x @ flow.w.numpy() + 0.1) > 1e-2]
    np.testing.assert_allclose(flow.inverse(flow(x)[0]).numpy(), x, atol=1e-9)


@pytest.mark.parametrize("name", ["Inverse", "Inverse of Inverse"])
def test_second_order_gradients_of_inverses(name: str) -> None:
    transform = drawn(FAMILY[name](), spread=0.3)
    check_gradients(lambda z: transform.inverse(z), points(transform, n=2), order=2)
    check_gradients(lambda x: transform(x)[0], points(transform, n=2), order=2)


@pytest.mark.parametrize("shape", [(2, 2, 2), (8,)])
def test_actnorm_starts_from_the_data(shape: Any) -> None:
    norm, x = ActNorm(shape).to("float64"), 3 * rng().standard_normal((50, 8)) + np.arange(8)
    norm.initialise(x)
    z = norm(x)[0].numpy().reshape(50, shape[0], -1)
    np.testing.assert_allclose(z.mean(axis=(0, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(z.var(axis=(0, 2)), 1, atol=1e-12)
    assert norm.loc.dtype == np.float64 and norm.loc.requires_grad
    x[:, 4:] = 7.0
    constant = [1] if shape == (2, 2, 2) else [4, 5, 6, 7]
    with pytest.raises(UsageError, match=re.escape(f"channels {constant} are constant")):
        norm.initialise(x)
    with pytest.raises(UsageError, match=r"channels \[0, .* are constant in the 50 points"):
        ActNorm(shape).initialise(np.zeros((50, 8)))


def test_initialising_a_flow_initialises_each_actnorm_on_what_reaches_it() -> None:
    flow = Glow((1, 4, 4), 4, depth=2, levels=2, rng=rng()).to("float64")
    norms = [module for module in flow.modules() if isinstance(module, ActNorm)]
    x = rng(1).random((40, 16)) + 2
    flow.initialise(x)
    seen: list[Any] = []
    for norm in norms:
        norm.forward = lambda x, norm=norm: seen.append(ActNorm.forward(norm, x)) or seen[-1]  # type: ignore[misc]
    flow(x)
    assert len(seen) == len(norms) == 4
    for norm, (z, _) in zip(norms, seen, strict=True):
        channels = z.numpy().reshape(40, norm.shape[0], -1)
        np.testing.assert_allclose(channels.mean(axis=(0, 2)), 0, atol=1e-9)
        np.testing.assert_allclose(channels.var(axis=(0, 2)), 1, atol=1e-9)


def test_the_invertible_convolution_multiplies_every_place_by_one_matrix() -> None:
    conv = drawn(InvertibleConv1x1((3, 2, 4), rng=rng()))
    x = rng(1).standard_normal((5, 3, 2, 4))
    z, log_det = conv(x.reshape(5, 24))
    weight = conv.weight().numpy()
    np.testing.assert_allclose(z.numpy().reshape(5, 3, 2, 4), np.einsum("ij,njhw->nihw", weight, x), atol=1e-12)
    np.testing.assert_allclose(log_det.numpy(), 8 * np.linalg.slogdet(weight)[1], rtol=1e-12)  # h·w places


def test_the_invertible_convolution_starts_as_a_rotation() -> None:
    weight = InvertibleConv1x1((6, 1, 1), rng=rng()).weight().numpy()
    np.testing.assert_allclose(weight @ weight.T, np.eye(6), atol=1e-5)
    assert np.abs(weight - np.eye(6)).max() > 0.1


def test_fresh_couplings_are_the_identity() -> None:
    """So a deep flow starts as what ActNorm and rotations make of the data: the last convolution is zero."""
    x = rng(1).standard_normal((3, 16)).astype(np.float32)
    for block in (ChannelCoupling((4, 2, 2), 8, rng=rng()), Split2d((4, 2, 2), [Reverse(8)], rng=rng())):
        z, log_det = block(x)
        moved = z.numpy() if isinstance(block, ChannelCoupling) else np.flip(z.numpy()[:, :8], 1)
        assert np.array_equal(moved, x[:, : moved.shape[1]]) and not log_det.numpy().any()


def test_squeezed_blocks_become_channels() -> None:
    x = np.arange(32.0).reshape(1, 2, 4, 4)
    squeeze = Squeeze2d((2, 4, 4))
    z = squeeze(x.reshape(1, 32))[0].numpy().reshape(squeeze.squeezed)
    for channel, (c, i, j) in enumerate(np.ndindex(2, 2, 2)):
        assert np.array_equal(z[channel], x[0, c, i::2, j::2])


def test_split_sends_half_of_the_channels_through_the_rest() -> None:
    split = drawn(Split2d((2, 2, 2), [Scaling(4)], rng=rng()))
    x = rng(1).standard_normal((3, 8))
    z = split(x)[0].numpy()
    np.testing.assert_allclose(z[:, :4], split.rest(x[:, :4])[0].numpy(), rtol=1e-12)
    other = np.concatenate([x[:, :4], x[:, 4:] + 1.0], axis=1)
    assert np.array_equal(split(other)[0].numpy()[:, :4], z[:, :4])
    fresh = Split2d((2, 2, 2), [Reverse(4)], rng=rng())
    assert np.array_equal(fresh(x)[0].numpy()[:, 4:], x[:, 4:])  # the done half starts as it is


@pytest.mark.parametrize(("mask", "kept"), [(checkerboard_mask, [0, 3, 4, 7]), (channel_mask, [0, 1, 2, 3])])
def test_masks_keep_half_at_each_parity(mask: Any, kept: list[int]) -> None:
    assert np.flatnonzero(mask(IMAGE)).tolist() == kept
    for parity in (0, 1):
        coupling = drawn(AffineCoupling(8, 4, parity, mask=mask(IMAGE), rng=rng()))
        moved = np.abs(coupling(points(coupling))[0].numpy() - points(coupling).numpy()).max(axis=0) > 0
        assert np.flatnonzero(moved == (parity == 1)).tolist() == kept


def test_counts_are_spread_over_their_cells() -> None:
    counts = np.repeat(np.arange(17.0), 200)[None]
    x = dequantize(counts, 17, rng()).numpy()
    assert x.min() >= 0 and x.max() < 1 and np.array_equal(np.floor(x * 17), counts)
    inside = (x * 17 - counts).ravel()
    assert abs(inside.mean() - 0.5) < 0.02 and abs(inside.var() - 1 / 12) < 0.01
    assert not np.array_equal(dequantize(counts, 17, rng(1)).numpy(), x)
    with pytest.raises(UsageError, match="levels >= 1, got 0"):
        dequantize(counts, 0, rng())
    with pytest.raises(DTypeError, match="dequantize: rng must be"):
        dequantize(counts, 17, 0)  # type: ignore[arg-type]


def test_whitening_under_a_standard_normal_is_the_fitted_gaussian() -> None:
    flow, x = Flow(standard(3), [Whitening.fit(SKEWED)]), rng(3).standard_normal((9, 3))
    np.testing.assert_allclose(flow.log_prob(x).numpy(), MultivariateNormal.fit(SKEWED).log_prob(x).numpy(), rtol=1e-9)
    z = flow(SKEWED)[0].numpy()
    np.testing.assert_allclose(np.cov(z.T, bias=True), np.eye(3), atol=1e-9)
    with pytest.raises(LinAlgError, match="in a hyperplane"):
        Whitening.fit(SKEWED[:, [0, 1, 1]])
    with pytest.raises(LinAlgError, match="singular"):
        Whitening(np.zeros(2), np.ones((2, 2)))
    with pytest.raises(ShapeError, match="more points than dimensions"):
        Whitening.fit(SKEWED[:3])
    with pytest.raises(ShapeError, match=r"mean \(d,\) and matrix \(d, d\)"):
        Whitening(np.zeros(2), np.eye(3))

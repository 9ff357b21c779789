"""Flows: the laws of every Transform, faults that the laws must notice, and RealNVP on two moons."""

from __future__ import annotations

import copy
import dataclasses
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops
from tinygrad_zoo.data import batches
from tinygrad_zoo.distributions import Independent, MultivariateNormal, Normal
from tinygrad_zoo.errors import DTypeError, LinAlgError, ShapeError, UsageError
from tinygrad_zoo.models import flows
from tinygrad_zoo.models.flows import (
    NICE,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    ChannelCoupling,
    Compose,
    Flow,
    Glow,
    Inverse,
    InvertibleConv1x1,
    Permutation,
    PlanarFlow,
    RadialFlow,
    RealNVP,
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
from tinygrad_zoo.models.flows.real_nvp import RECIPE
from tinygrad_zoo.recipe import find
from tinygrad_zoo.testing import check_gradients
from tinygrad_zoo.training import fit


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def standard(dim: int) -> Independent:
    return Independent(Normal(np.zeros(dim), np.ones(dim)), 1)


IMAGE = (2, 2, 2)
SKEWED = rng(1).standard_normal((40, 3)) @ rng(2).standard_normal((3, 3)) + 5

FAMILY: dict[str, Callable[[], Transform]] = {
    "AffineCoupling parity 0": lambda: AffineCoupling(2, 8, 0, rng=rng()),
    "AffineCoupling parity 1": lambda: AffineCoupling(2, 8, 1, rng=rng()),
    "AffineCoupling odd": lambda: AffineCoupling(5, 8, 1, max_log_scale=1.5, rng=rng()),
    "AffineCoupling checkerboard": lambda: AffineCoupling(8, 4, 0, mask=checkerboard_mask(IMAGE), rng=rng()),
    "AffineCoupling channels": lambda: AffineCoupling(8, 4, 1, mask=channel_mask(IMAGE), rng=rng()),
    "AdditiveCoupling": lambda: AdditiveCoupling(3, 8, 0, rng=rng()),
    "AdditiveCoupling checkerboard": lambda: AdditiveCoupling(8, 4, 1, mask=checkerboard_mask(IMAGE), rng=rng()),
    "Scaling": lambda: Scaling(3),
    "Permutation": lambda: Permutation([2, 0, 3, 1]),
    "Reverse": lambda: Reverse(3),
    "PlanarFlow": lambda: PlanarFlow(3, rng=rng()),
    "RadialFlow": lambda: RadialFlow(3, rng=rng()),
    "Inverse": lambda: Inverse(PlanarFlow(2, rng=rng())),
    "Inverse of Inverse": lambda: Inverse(Inverse(RadialFlow(2, rng=rng()))),
    "Whitening": lambda: Whitening.fit(SKEWED),
    "ActNorm": lambda: ActNorm(IMAGE),
    "ActNorm of points": lambda: ActNorm((3,)),
    "InvertibleConv1x1": lambda: InvertibleConv1x1((3, 2, 2), rng=rng()),
    "ChannelCoupling": lambda: ChannelCoupling((4, 2, 1), 3, rng=rng()),
    "Squeeze2d": lambda: Squeeze2d((2, 4, 2)),
    "Split2d": lambda: Split2d((4, 2, 2), [Squeeze2d((2, 2, 2)), ChannelCoupling((8, 1, 1), 3, rng=rng())], rng=rng()),
    "Compose": lambda: Compose([PlanarFlow(2, rng=rng()), Inverse(RadialFlow(2, rng=rng())), Reverse(2)]),
    "Flow": lambda: Flow(standard(3), [AffineCoupling(3, 8, 0, rng=rng()), Permutation([1, 2, 0]), Reverse(3)]),
    "RealNVP": lambda: RealNVP(2, 8, 4, rng=rng()),
    "NICE": lambda: NICE(3, 8, 3, rng=rng()),
    "Glow": lambda: Glow((1, 4, 4), 3, depth=1, levels=2, rng=rng()),
}


def drawn(transform: Transform, spread: float = 0.5, seed: int = 3) -> Transform:
    """In float64, with weights large enough to bend."""
    draw = rng(seed)
    for x in transform.to("float64").parameters():
        nn.init.normal_(x, 0.0, spread, rng=draw)
    return transform


def points(transform: Transform, n: int = 6) -> tz.Tensor:
    return tz.tensor(rng(5).standard_normal((n, transform.dim)))


def jacobians(function: Callable[[Any], Any], x: tz.Tensor) -> np.ndarray[Any, Any]:
    """∂f/∂x by autograd, one point at a time: (N, dim, dim)."""
    one = tz.jacobian(lambda row: function(row.reshape(1, -1))[0])
    return np.stack([one(tz.tensor(row)).numpy() for row in x.numpy()])


# ---- the laws: each raises an AssertionError for a transform that breaks it


def law_log_det(transform: Transform) -> None:
    x = points(transform)
    _, log_det = transform(x)
    assert log_det.shape == (len(x),)
    expected = np.linalg.slogdet(jacobians(lambda row: transform(row)[0], x))[1]
    np.testing.assert_allclose(log_det.numpy(), expected, rtol=1e-9, atol=1e-9)


def law_inverse(transform: Transform) -> None:
    x = points(transform)
    np.testing.assert_allclose(transform.inverse(transform(x)[0]).numpy(), x.numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(transform(transform.inverse(x))[0].numpy(), x.numpy(), rtol=1e-9, atol=1e-9)


def law_inverse_and_log_det(transform: Transform) -> None:
    z = points(transform)
    x, log_det = transform.inverse_and_log_det(z)
    assert log_det.shape == (len(z),)
    np.testing.assert_allclose(x.numpy(), transform.inverse(z).numpy(), rtol=1e-9, atol=1e-9)
    expected = np.linalg.slogdet(jacobians(transform.inverse, z))[1]
    np.testing.assert_allclose(log_det.numpy(), expected, rtol=1e-9, atol=1e-9)


def law_points_do_not_mix(transform: Transform) -> None:
    x = points(transform)
    z, log_det = transform(x)
    for i in range(len(x)):
        one, one_log_det = transform(x[i : i + 1])
        np.testing.assert_allclose(one.numpy()[0], z.numpy()[i], rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(one_log_det.numpy()[0], log_det.numpy()[i], rtol=1e-12, atol=1e-12)


def law_bounded(transform: Transform) -> None:
    """Huge weights saturate the scale; they do not overflow it."""
    huge = drawn(copy.deepcopy(transform), spread=1e3)
    x = points(huge).requires_grad_()
    z, log_det = huge(x)
    (z.sum() + log_det.sum()).backward()
    made = [z, log_det, huge.inverse(x), x.grad, *(p.grad for p in huge.parameters())]
    assert all(np.isfinite(value.numpy()).all() for value in made)


def law_every_coordinate_moves(transform: Transform) -> None:
    x = points(transform)
    assert (np.abs(transform(x)[0].numpy() - x.numpy()).max(axis=0) > 1e-3).all()


LAWS = (law_log_det, law_inverse, law_inverse_and_log_det, law_points_do_not_mix)
COMPUTED_SCALES = [name for name in FAMILY if re.match("AffineCoupling|ChannelCoupling|Split2d|RealNVP", name)]


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("name", FAMILY)
def test_laws(name: str, law: Callable[[Transform], None]) -> None:
    law(drawn(FAMILY[name]()))


@pytest.mark.parametrize("name", COMPUTED_SCALES)
def test_computed_scales_are_bounded(name: str) -> None:
    law_bounded(drawn(FAMILY[name]()))


def test_the_family_is_complete() -> None:
    exported = {getattr(flows, name) for name in flows.__all__}
    assert {type(make()) for make in FAMILY.values()} == {x for x in exported if isinstance(x, type)} - {Transform}


# ---- faults that a law must notice


class Dropped(AffineCoupling):
    def forward(self, x: Any) -> tuple[Any, Any]:
        z, log_det = super().forward(x)
        return z, log_det * 0


class Flipped(AffineCoupling):
    def forward(self, x: Any) -> tuple[Any, Any]:
        z, log_det = super().forward(x)
        return z, -log_det


class BatchSummed(AffineCoupling):
    def forward(self, x: Any) -> tuple[Any, Any]:
        z, log_det = super().forward(x)
        return z, log_det.sum().broadcast_to(log_det.shape)


class Scalar(AffineCoupling):
    def forward(self, x: Any) -> tuple[Any, Any]:
        z, log_det = super().forward(x)
        return z, log_det.sum()


class Unbounded(AffineCoupling):
    def _scale_and_shift(self, x: Any) -> tuple[Any, Any]:
        out = self.net(x * self.kept)
        return out[:, : self.dim] * self.changed, out[:, self.dim :] * self.changed


class WrongInverse(AffineCoupling):
    def inverse(self, z: Any) -> Any:
        s, t = self._scale_and_shift(z)
        return z * ops.exp(-s) - t


class Leaking(AffineCoupling):
    """Scales by a function of the coordinates that it changes."""

    def _scale_and_shift(self, x: Any) -> tuple[Any, Any]:
        out = self.net(x)
        return ops.tanh(out[:, : self.dim]) * self.changed, out[:, self.dim :] * self.changed


@pytest.mark.parametrize(
    ("fault", "law"),
    [
        (Dropped, law_log_det),
        (Flipped, law_log_det),
        (BatchSummed, law_log_det),
        (BatchSummed, law_points_do_not_mix),
        (Scalar, law_log_det),
        (Unbounded, law_bounded),
        (WrongInverse, law_inverse),
        (Leaking, law_log_det),
        (Leaking, law_inverse),
    ],
)
def test_planted_faults_break_a_law(fault: type[AffineCoupling], law: Callable[[Transform], None]) -> None:
    with pytest.raises(AssertionError), np.errstate(all="ignore"):
        law(drawn(fault(2, 8, 0, rng=rng())))


def test_a_single_mask_parity_leaves_coordinates_as_they_are() -> None:
    law_every_coordinate_moves(drawn(RealNVP(3, 8, 2, rng=rng())))
    with pytest.raises(AssertionError):
        law_every_coordinate_moves(drawn(Flow(standard(3), [AffineCoupling(3, 8, 0, rng=rng()) for _ in range(4)])))


# ---- gradients


def smooth(transform: Transform) -> Transform:
    """With tanh for ReLU, whose kinks finite differences would meet."""
    for module in transform.modules():
        if isinstance(module, nn.Sequential):
            module.items = [nn.Tanh() if isinstance(x, nn.ReLU) else x for x in module]
    return transform


def slots(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Where the parameters stand, in the order of `parameters()`."""
    for owner in module.modules():
        yield from ((owner, name) for name, value in vars(owner).items() if isinstance(value, nn.Parameter))


@pytest.mark.parametrize("name", [name for name, make in FAMILY.items() if list(make().parameters())])
def test_gradients_of_every_parameter(name: str) -> None:
    transform = smooth(drawn(FAMILY[name](), spread=0.3))
    x, places = points(transform, n=2), list(slots(transform))
    values = [getattr(owner, attribute) for owner, attribute in places]
    assert values and all(a is b for a, b in zip(values, transform.parameters(), strict=True))

    def outputs(x: Any, *parameters: Any) -> Any:
        for (owner, attribute), value in zip(places, parameters, strict=True):
            vars(owner)[attribute] = value
        return transform(x)

    check_gradients(outputs, x, *[value.detach() for value in values], order=1)
    for (owner, attribute), value in zip(places, values, strict=True):
        vars(owner)[attribute] = value
    z, log_det = transform(points(transform, n=20))
    ((z * z).sum() - log_det.sum()).backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in transform.parameters())


def test_second_order_gradients_of_a_coupling() -> None:
    coupling = smooth(drawn(AffineCoupling(2, 4, 0, rng=rng()), spread=0.3))
    check_gradients(lambda x: coupling(x), points(coupling, n=2), order=2)


# ---- what each kind of map promises


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


# ---- densities


PLANE: dict[str, Callable[[], Transform]] = {
    "PlanarFlow": lambda: PlanarFlow(2, rng=rng()),
    "RadialFlow": lambda: RadialFlow(2, rng=rng()),
    "Scaling": lambda: Scaling(2),
    "AdditiveCoupling": lambda: AdditiveCoupling(2, 8, 0, rng=rng()),
    "Compose": FAMILY["Compose"],
}


@pytest.mark.parametrize("name", PLANE)
def test_the_density_of_every_kind_integrates_to_one(name: str) -> None:
    flow = Flow(standard(2), [drawn(PLANE[name](), spread=0.4)])
    side = np.linspace(-12, 12, 321)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    with tz.no_grad():
        total = np.exp(flow.log_prob(tz.tensor(grid)).numpy()).sum() * (side[1] - side[0]) ** 2
    assert abs(total - 1) < 1e-3


def test_the_density_integrates_to_one() -> None:
    flow = drawn(RealNVP(2, 8, 4, rng=rng()), spread=0.3)
    side = np.linspace(-12, 12, 481)
    grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    with tz.no_grad():
        total = np.exp(flow.log_prob(tz.tensor(grid)).numpy()).sum() * (side[1] - side[0]) ** 2
    assert abs(total - 1) < 1e-3
    flow.transforms[1] = drawn(Dropped(2, 8, 1, rng=rng()), spread=0.3)
    with tz.no_grad():
        total = np.exp(flow.log_prob(tz.tensor(grid)).numpy()).sum() * (side[1] - side[0]) ** 2
    assert abs(total - 1) > 1e-2


def law_sample_and_log_prob_agree(flow: Flow) -> None:
    x, z = flow.sample(6, rng=rng(9)), flow.base.sample((6,), rng=rng(9))
    assert not x.requires_grad and np.array_equal(x.numpy(), flow.sample(6, rng=rng(9)).numpy())
    on_the_way = np.linalg.slogdet(jacobians(flow.inverse, z))[1]  # log |det ∂x/∂z|
    np.testing.assert_allclose(flow.log_prob(x).numpy(), flow.base.log_prob(z).numpy() - on_the_way, rtol=1e-9)


class SamplesForwards(RealNVP):
    """Takes the base's samples through the map from data to base."""

    def sample(self, n: int, *, temperature: float = 1.0, rng: np.random.Generator) -> Any:
        with tz.no_grad():
            return self(self.base.sample((n,), rng=rng))[0]


class SamplesAnotherBase(RealNVP):
    def sample(self, n: int, *, temperature: float = 1.0, rng: np.random.Generator) -> Any:
        with tz.no_grad():
            return self.inverse(1.1 * self.base.sample((n,), rng=rng))


FLOWS = {
    "RealNVP": lambda: RealNVP(3, 8, 4, rng=rng()),
    "NICE": lambda: NICE(3, 8, 3, rng=rng()),
    "Glow": lambda: Glow((1, 4, 4), 3, depth=1, levels=2, rng=rng()),
    "planar": lambda: Flow(standard(2), [Inverse(PlanarFlow(2, rng=rng())), RadialFlow(2, rng=rng())]),
}


@pytest.mark.parametrize("name", FLOWS)
def test_sample_and_log_prob_agree(name: str) -> None:
    flow = drawn(FLOWS[name](), spread=0.3)
    law_sample_and_log_prob_agree(flow)
    x, log_prob = flow.rsample_and_log_prob(6, rng=rng(9))
    assert x.requires_grad and log_prob.requires_grad
    np.testing.assert_allclose(x.numpy(), flow.sample(6, rng=rng(9)).numpy(), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_prob.numpy(), flow.log_prob(x.detach()).numpy(), rtol=1e-9, atol=1e-9)


def test_temperature_scales_what_is_sent_back() -> None:
    flow = drawn(RealNVP(2, 8, 4, rng=rng()))
    z, _ = flow(flow.sample(50, temperature=0.5, rng=rng(9)))
    np.testing.assert_allclose(z.numpy(), 0.5 * flow.base.sample((50,), rng=rng(9)).numpy(), atol=1e-9)


@pytest.mark.parametrize("fault", [SamplesForwards, SamplesAnotherBase])
def test_samples_that_disagree_with_log_prob_break_the_law(fault: type[RealNVP]) -> None:
    with pytest.raises(AssertionError):
        law_sample_and_log_prob_agree(drawn(fault(3, 8, 4, rng=rng())))


# ---- state, repr, errors


@pytest.mark.parametrize("name", FAMILY)
def test_save_load_and_repr(name: str) -> None:
    transform, other = drawn(FAMILY[name](), seed=1), drawn(FAMILY[name](), seed=2)
    x = points(transform)
    other.load_state_dict(transform.state_dict())
    for a, b in zip(other(x), transform(x), strict=True):
        assert np.array_equal(a.numpy(), b.numpy())
    count = sum(p.size for p in transform.parameters())
    assert repr(transform).startswith(f"{type(transform).__name__}({transform.dim}")
    assert (f"# {count:,} parameters" in repr(transform)) == (count > 0)


@pytest.mark.parametrize("name", FAMILY)
def test_points_of_another_shape_are_refused(name: str) -> None:
    transform = FAMILY[name]()
    for shape in [(4, 1), (4, transform.dim + 1), (transform.dim,), (2, 2, transform.dim)]:
        for call in (transform, transform.inverse):
            with pytest.raises(ShapeError, match=rf"expected points \(N, {transform.dim}\)"):
                call(tz.zeros(shape))


def test_errors() -> None:
    for dim, parity in [(1, 0), (2, 2)]:
        with pytest.raises(UsageError, match=rf"dim >= 2 and parity 0 or 1, got {dim} and {parity}"):
            AffineCoupling(dim, 8, parity, rng=rng())
    for mask, what in [(np.ones(2), "all"), (np.zeros(2), "none")]:
        with pytest.raises(UsageError, match=f"the mask keeps {what}"):
            AdditiveCoupling(2, 8, 0, mask=mask, rng=rng())
    with pytest.raises(ShapeError, match=r"mask of shape \(2,\), got \(3,\)"):
        AdditiveCoupling(2, 8, 0, mask=np.arange(3) == 1, rng=rng())
    for make in (
        lambda: AffineCoupling(2, 8, 0, max_log_scale=0.0, rng=rng()),
        lambda: ChannelCoupling(IMAGE, 8, max_log_scale=0.0, rng=rng()),
        lambda: Split2d(IMAGE, [Reverse(4)], max_log_scale=0.0, rng=rng()),
    ):
        with pytest.raises(UsageError, match=r"expected max_log_scale > 0, got 0\.0"):
            make()
    for make in (lambda: ChannelCoupling((3, 2, 2), 8, rng=rng()), lambda: Split2d((3, 2, 2), [], rng=rng())):
        with pytest.raises(ShapeError, match="an even number of channels"):
            make()
    with pytest.raises(ShapeError, match="are 4 numbers, the transforms take 3"):
        Split2d(IMAGE, [Reverse(3)], rng=rng())
    with pytest.raises(ShapeError, match="even height and width"):
        Squeeze2d((1, 3, 2))
    with pytest.raises(ShapeError, match=r"one dimension, got \[2, 3\]"):
        Compose([Reverse(2), Reverse(3)])
    with pytest.raises(DTypeError, match=r"write rng=numpy\.random\.default_rng\(0\)"):
        RealNVP(2, 8, 2)
    with pytest.raises(UsageError, match=r"each of 0\.\.2 once, got \[0, 0, 2\]"):
        Permutation([0, 0, 2])
    with pytest.raises(ShapeError, match="use Independent"):
        Flow(Normal(np.zeros(2), np.ones(2)), [])
    with pytest.raises(ShapeError, match=r"dimension 2, the transforms \[3\]"):
        Flow(standard(2), [Reverse(3)])


def test_golden_real_nvp_of_torch() -> None:
    golden = np.load(Path(__file__).parent / "goldens" / "flows.npz")
    state = {name[6:]: golden[name] for name in golden if name.startswith("state/")}
    model = RealNVP(3, 8, 3, rng=rng()).to("float64")
    keys = model.load_state_dict(state, strict=False)
    assert not keys.surplus and all(name.endswith((".kept", ".changed", ".loc", ".scale")) for name in keys.missing)
    z, log_det = model(golden["x"])
    log_prob = model.log_prob(golden["x"])
    for name, value in {"z": z, "log_det": log_det, "log_prob": log_prob}.items():
        np.testing.assert_allclose(value.numpy(), golden[name], rtol=1e-9, atol=1e-9)
    (-log_prob.mean()).backward()
    for name, x in model.named_parameters():
        np.testing.assert_allclose(x.grad.numpy(), golden[f"grad/{name}"], rtol=1e-9, atol=1e-9)


# ---- RealNVP on two moons


@pytest.mark.train
def test_the_recipe_meets_its_bar(tmp_path: Path) -> None:
    assert find("realnvp") is RECIPE
    runs = [fit(RECIPE, seed=seed, out=tmp_path / str(seed), progress=False) for seed in range(RECIPE.bar.seeds)]
    assert RECIPE.bar.holds(*(run.metrics for run in runs))
    for run in runs:
        assert 1.8 < run.metrics["entropy"] < run.metrics["test_nll"]  # no model beats the entropy
        assert run.metrics["gap"] == pytest.approx(run.metrics["test_nll"] - run.metrics["entropy"])
        assert run.baseline["fitted Gaussian"] == pytest.approx(2.745, abs=0.01)
        assert (run.out / "figure.png").stat().st_size > 10_000


def test_training_without_the_log_determinant_is_worse_than_a_gaussian() -> None:
    """So a flow that forgets it cannot meet the bar."""
    config = dataclasses.replace(RECIPE.config, steps=100)
    split = RECIPE.data(config, rng())
    nll = {}
    for forgets in (False, True):
        parts = RECIPE.build(config, split, rng(1))
        for (x,) in batches(split.train, config.batch_size, seed=0, steps=config.steps):
            z, log_det = parts.model(x)
            log_prob = parts.model.base.log_prob(z)
            parts.optimizers["adam"].zero_grad()
            (-(log_prob if forgets else log_prob + log_det).mean()).backward()
            parts.optimizers["adam"].step()
        with tz.no_grad():
            nll[forgets] = -float(parts.model.log_prob(split.test[0]).mean())
    (gaussian,) = RECIPE.baseline(split).values()
    assert nll[False] < gaussian - 0.1 and nll[True] > gaussian + 0.5

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
from tinygrad_zoo.distributions import Independent, Normal
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
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
    for model in (RealNVP, NICE):
        for count in (0, 1):
            with pytest.raises(UsageError, match=f"{model.__name__}: expected n_coupling >= 2, .* got {count}"):
                model(2, 8, count, rng=rng())
    flat = PlanarFlow(2, rng=rng())
    flat.w.data[...] = 0
    for call in (flat, flat.inverse):
        with pytest.raises(UsageError, match="PlanarFlow: w is 0"):
            call(np.ones((3, 2), np.float32))
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

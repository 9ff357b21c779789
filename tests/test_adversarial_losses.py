"""Losses of GANs and WGANs: their optima by quadrature, which gradients vanish, the penalty against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError
from tinygrad_zoo.losses import gan_discriminator, gan_generator, gradient_penalty, wgan_critic, wgan_generator
from tinygrad_zoo.testing import check_gradients

torch = oracles.load("torch")
GRID = np.linspace(-12, 12, 4801)
WIDTH = GRID[1] - GRID[0]


def normal(mean: float, std: float) -> Any:
    return np.exp(-(((GRID - mean) / std) ** 2) / 2) / (std * math.sqrt(2 * math.pi))


def jensen_shannon(p: Any, q: Any) -> float:
    """By quadrature, in nats."""
    middle = (p + q) / 2
    terms = [np.where(a > 0, a * np.log(np.where(a > 0, a, 1) / np.where(middle > 0, middle, 1)), 0) for a in (p, q)]
    return float((terms[0] + terms[1]).sum() * WIDTH / 2)


def expected_discriminator_loss(logits: Any, p: Any, p_g: Any) -> Any:
    """`gan_discriminator` where the means are integrals: as many samples of each place as its density says."""
    return (ops.softplus(-logits) * p + ops.softplus(logits) * p_g).sum() * WIDTH


# ---- GAN
def test_the_losses_are_those_of_the_paper() -> None:
    draw = np.random.default_rng(0)
    real, fake = draw.standard_normal(9), draw.standard_normal(7)
    sigmoid = lambda x: 1 / (1 + np.exp(-x))
    value = -np.log(sigmoid(real)).mean() - np.log(1 - sigmoid(fake)).mean()
    assert gan_discriminator(real, fake).item() == pytest.approx(value, rel=1e-12)
    assert gan_generator(fake).item() == pytest.approx(-np.log(sigmoid(fake)).mean(), rel=1e-12)
    assert gan_generator(fake, loss="minimax").item() == pytest.approx(np.log(1 - sigmoid(fake)).mean(), rel=1e-12)
    for function in (gan_discriminator, lambda real, fake: gan_generator(fake) + gan_generator(fake, loss="minimax")):
        check_gradients(function, real, fake, order=2)
    huge = tz.tensor([-1e4, 1e4], requires_grad=True)
    loss = gan_discriminator(huge, huge) + gan_generator(huge) + gan_generator(huge, loss="minimax")
    loss.backward()
    assert np.isfinite(loss.item()) and np.isfinite(huge.grad.numpy()).all()


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 1.0), (2.0, 0.5), (8.0, 0.5)])
def test_the_optimal_discriminator_reaches_log_4_less_twice_js(mean: float, std: float) -> None:
    p, p_g = normal(0, 1), normal(mean, std)
    logits = tz.tensor(np.log(np.maximum(p, 1e-300) / np.maximum(p_g, 1e-300)), requires_grad=True)  # D = p / (p + p_g)
    loss = expected_discriminator_loss(logits, tz.tensor(p), tz.tensor(p_g))
    assert -loss.item() == pytest.approx(-math.log(4) + 2 * jensen_shannon(p, p_g), abs=1e-9)
    loss.backward()
    assert np.abs(logits.grad.numpy()).max() < 1e-12  # nothing to gain
    worse = expected_discriminator_loss(logits.detach() + 0.1, tz.tensor(p), tz.tensor(p_g))
    assert worse.item() > loss.item() + 1e-4 * (mean < 8)


def test_js_is_log_2_for_all_disjoint_supports_so_no_gradient_says_which_way() -> None:
    """While the distance between them, W, still grows."""
    box = lambda start: ((start < GRID) & (start + 1 >= GRID)) / 1.0
    values = [jensen_shannon(box(0), box(shift)) for shift in (1, 2, 5)]
    assert values == pytest.approx([math.log(2)] * 3, abs=1e-12)
    assert jensen_shannon(box(0), box(0.5)) == pytest.approx(math.log(2) / 2, abs=1e-9)
    wasserstein = [np.abs(np.cumsum(box(0) - box(shift))).sum() * WIDTH**2 for shift in (1, 2, 5)]
    assert wasserstein == pytest.approx([1, 2, 5], rel=1e-6)


def test_minimax_gradients_vanish_where_the_discriminator_is_sure() -> None:
    for loss, expected in (("minimax", -1 / (1 + math.exp(10))), ("ns", 1 / (1 + math.exp(10)) - 1)):
        logit = tz.tensor([-10.0], "float64", requires_grad=True)  # of a sample that fools nobody
        gan_generator(logit, loss=loss).backward()  # type: ignore[arg-type]
        assert logit.grad.item() == pytest.approx(expected, rel=1e-12)
    assert abs(expected) > 1e4 / (1 + math.exp(10)) / 2  # four orders of magnitude apart


# ---- WGAN
def test_critic_and_generator_losses() -> None:
    draw = np.random.default_rng(0)
    real, fake = draw.standard_normal(9), draw.standard_normal(7)
    assert wgan_critic(real, fake).item() == pytest.approx(fake.mean() - real.mean(), rel=1e-12)
    assert wgan_generator(fake).item() == pytest.approx(-fake.mean(), rel=1e-12)


def critic_of(seed: int = 0, dim: int = 2, hidden: int = 8) -> Any:
    draw = np.random.default_rng(seed)
    layers = [nn.Linear(dim, hidden, rng=draw), nn.Tanh(), nn.Linear(hidden, hidden, rng=draw), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(hidden, 1, rng=draw)).to("float64")


def points(n: int = 5, dim: int = 2) -> tuple[Any, Any, Any]:
    draw = np.random.default_rng(3)
    return draw.standard_normal((n, dim)), draw.standard_normal((n, dim)) + 1, draw.random(n)


@pytest.mark.parametrize("one_sided", [False, True])
def test_the_penalty_of_a_linear_critic(one_sided: bool) -> None:
    real, fake, epsilon = points()
    for slope, expected in (
        ((3.0, 4.0), 16.0),
        ((0.3, 0.4), 0.0 if one_sided else 0.25),
        ((0.0, 0.0), 1.0 - one_sided),
    ):
        w = tz.tensor(slope, "float64", requires_grad=True)
        penalty = gradient_penalty(lambda x, w=w: x @ w, real, fake, epsilon=epsilon, one_sided=one_sided)
        assert penalty.item() == pytest.approx(expected, abs=1e-12)
        penalty.backward()
        size = math.hypot(*slope)
        direction = 2 * (size - 1) * np.array(slope) / (size or 1) if size > 1 or not one_sided else np.zeros(2)
        np.testing.assert_allclose(w.grad.numpy(), direction, atol=1e-12)


def test_the_penalty_is_taken_at_a_point_of_its_own_for_each_pair() -> None:
    """f = |x|² / 2 has the slope |x̂|, so that each pair tells its ε."""
    real, fake, epsilon = points(dim=3)
    between = epsilon[:, None] * real + (1 - epsilon[:, None]) * fake
    expected = ((np.linalg.norm(between, axis=1) - 1) ** 2).mean()
    half = lambda x: (x * x).sum(axis=1) / 2
    assert gradient_penalty(half, real, fake, epsilon=epsilon).item() == pytest.approx(expected, rel=1e-12)
    seen: list[Any] = []

    def watching(x: Any) -> Any:
        seen.append(x.numpy())
        return half(x)

    real, fake = np.ones((1000, 2)), np.zeros((1000, 2))
    gradient_penalty(watching, real, fake, rng=np.random.default_rng(0))
    drawn = seen[0][:, 0]
    assert np.array_equal(drawn, seen[0][:, 1]) and len(np.unique(drawn)) == 1000
    assert abs(drawn.mean() - 0.5) < 0.03 and drawn.min() < 0.01 and drawn.max() > 0.99


@pytest.mark.parametrize("one_sided", [False, True])
def test_gradients_of_the_penalty(one_sided: bool) -> None:
    real, fake, epsilon = points()
    weights = [2.0 * p.numpy() for p in critic_of().parameters()]

    def penalty(*weights: Any) -> Any:
        def critic(x: Any) -> Any:
            for i in range(0, len(weights), 2):
                x = ops.linear(x if i == 0 else ops.tanh(x), weights[i], weights[i + 1])
            return x

        return gradient_penalty(critic, real, fake, epsilon=epsilon, one_sided=one_sided)

    check_gradients(penalty, *weights, order=2)


def test_the_penalty_reaches_the_parameters() -> None:
    """Without a graph of the gradient it would be a number without effect."""
    critic = critic_of()
    real, fake, epsilon = points()
    gradient_penalty(critic, real, fake, epsilon=epsilon).backward()
    *inner, last_bias = critic.parameters()
    assert all(np.abs(p.grad.numpy()).max() > 1e-3 for p in inner)
    assert last_bias.grad is None or not last_bias.grad.numpy().any()  # a constant has no slope
    with tz.no_grad():
        assert not gradient_penalty(critic, real, fake, epsilon=epsilon).requires_grad


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("one_sided", [False, True])
@pytest.mark.parametrize("shape", [(5, 2), (4, 3, 2)])
def test_the_penalty_and_its_parameter_gradients_are_those_of_torch(shape: tuple[int, ...], one_sided: bool) -> None:
    draw = np.random.default_rng(5)
    real, fake, epsilon = draw.standard_normal(shape), draw.standard_normal(shape), draw.random(shape[0])
    ours = nn.Sequential(nn.Flatten(), critic_of(1, math.prod(shape[1:])))
    inner = [x for width in (math.prod(shape[1:]), 8) for x in (torch.nn.Linear(width, 8), torch.nn.Tanh())]
    theirs = torch.nn.Sequential(torch.nn.Flatten(), *inner, torch.nn.Linear(8, 1)).double()
    for target, source in zip(theirs.parameters(), ours.parameters(), strict=True):
        source.data *= 3  # slopes on both sides of 1
        target.data = torch.from_numpy(source.numpy().copy())
    share = torch.from_numpy(epsilon).reshape(-1, *(1,) * (len(shape) - 1))
    between = (share * torch.from_numpy(real) + (1 - share) * torch.from_numpy(fake)).requires_grad_()
    (gradient,) = torch.autograd.grad(theirs(between).sum(), between, create_graph=True)
    excess = gradient.flatten(1).norm(dim=1) - 1
    expected = (excess.clamp(min=0) if one_sided else excess).square().mean()
    expected.backward()
    penalty = gradient_penalty(ours, real, fake, epsilon=epsilon, one_sided=one_sided)
    penalty.backward()
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-9) and expected.item() > 0
    assert (excess > 0).any() and (excess < 0).any()
    for theirs_, ours_ in zip(theirs.parameters(), ours.parameters(), strict=True):
        found = 0 if ours_.grad is None else ours_.grad.numpy()
        wanted = 0 if theirs_.grad is None else theirs_.grad.numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


# ---- errors
def test_errors() -> None:
    x = tz.zeros(3, 2)
    with pytest.raises(UsageError, match="expected loss to be 'ns' or 'minimax', got 'hinge'"):
        gan_generator(x, loss="hinge")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match=r"expected real and fake \(N, …\) alike, got \(3, 2\) and \(2, 2\)"):
        gradient_penalty(lambda x: x, x, x[:2], epsilon=tz.zeros(3))
    with pytest.raises(ShapeError, match=r"an epsilon for each of 3 samples, \(3,\), got \(\)"):
        gradient_penalty(lambda x: x, x, x, epsilon=0.5)
    for critic in (lambda x: x, lambda x: x.sum(), lambda x: x.sum(axis=0)):
        with pytest.raises(ShapeError, match=r"expected a critic of one number a sample, \(3,\) or \(3, 1\), got \("):
            gradient_penalty(critic, x, x, epsilon=tz.zeros(3))
    with pytest.raises(DTypeError, match=r"gradient_penalty: rng .* write rng=numpy\.random\.default_rng\(0\)"):
        gradient_penalty(lambda x: x, x, x)
    normalised = nn.Sequential(nn.Linear(2, 1, rng=np.random.default_rng(0)), nn.BatchNorm1d(1))
    with pytest.raises(UsageError, match=r"gradient_penalty: 1 is batch normalisation, .* write LayerNorm"):
        gradient_penalty(normalised, x, x, epsilon=tz.zeros(3))
    gradient_penalty(normalised.eval(), x, x, epsilon=tz.zeros(3))

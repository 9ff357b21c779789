"""Mixed precision: products in 16 bits, their gradients too, and a scale that keeps gradients in float16's range."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, optim
from tinygrad_zoo.amp import GradScaler, autocast, is_autocast_enabled
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.kernels import halves
from tinygrad_zoo.recipe import find
from tinygrad_zoo.training.loop import advance, prepare

torch = oracles.load("torch")
KINDS = ("float16", "bfloat16")
STEP = {"float16": 2.0**-11, "bfloat16": 2.0**-8}  # of rounding, relative


def draw(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# ---- rounding
@pytest.mark.oracle("torch")
@pytest.mark.parametrize("kind", KINDS)
def test_rounding_is_that_of_torch(kind: Any) -> None:
    bits = np.random.default_rng(0).integers(0, 2**32, 100_000, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000  # half way between two numbers of bfloat16
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 3.4e38, 65519.0, 65520.0, 6e-8, 2e-8], np.float32)
    x = np.concatenate([bits.view(np.float32), ties.view(np.float32), special, draw(1000)])
    expected = torch.tensor(x).to(getattr(torch, kind)).float().numpy()
    np.testing.assert_array_equal(halves.rounded(x, kind), expected)


# ---- products and their gradients
PRODUCTS: dict[str, tuple[Callable[..., Any], Callable[..., Any], list[tuple[int, ...]]]] = {
    "matmul": (tz.matmul, lambda x, y: x @ y, [(5, 7), (7, 3)]),
    "batched": (tz.matmul, lambda x, y: x @ y, [(2, 5, 7), (2, 7, 3)]),
    "linear": (tz.linear, lambda *a: torch.nn.functional.linear(*a), [(6, 9), (4, 9), (4,)]),
    "conv2d": (tz.conv2d, lambda *a: torch.nn.functional.conv2d(*a), [(2, 3, 6, 5), (4, 3, 3, 3), (4,)]),
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", PRODUCTS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_torchs_autocast(kind: Any, name: str) -> None:
    ours, theirs, shapes = PRODUCTS[name]
    arrays = [draw(*shape, seed=i) for i, shape in enumerate(shapes)]
    xs, ts = [tz.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    with autocast(kind):
        out = ours(*xs)
    with torch.autocast("cpu", dtype=getattr(torch, kind)):
        expected = theirs(*ts)
    assert out.dtype == "float32" and expected.dtype == getattr(torch, kind)
    near(out.numpy(), expected.detach().float().numpy(), kind)
    g = draw(*out.shape, seed=9)
    out.backward(tz.tensor(g))
    expected.backward(torch.tensor(g).to(expected.dtype))
    for x, t in zip(xs, ts, strict=True):
        near(x.grad.numpy(), t.grad.numpy(), kind)


def near(made: Any, expected: Any, kind: str) -> None:
    """Equal but for sums that fall on either side of a rounding."""
    np.testing.assert_allclose(made, expected, rtol=2 * STEP[kind], atol=2 * STEP[kind] * np.abs(expected).max())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", PRODUCTS)
def test_factors_and_results_are_of_16_bits_forward_and_backward(name: str, kind: Any) -> None:
    """The gradients are those of rounded factors and of a rounded g, though `backward` stands outside of the region."""
    ours, _, shapes = PRODUCTS[name]
    arrays, rounded = [draw(*s, seed=i) for i, s in enumerate(shapes)], lambda a: halves.rounded(a, kind)
    xs = [tz.tensor(a, requires_grad=True) for a in arrays]
    exact = [tz.tensor(rounded(a), requires_grad=True) for a in arrays]
    with autocast(kind):
        out = ours(*xs)
    expected = ours(*exact)
    assert np.array_equal(out.numpy(), rounded(expected.numpy())) and not np.array_equal(out.numpy(), expected.numpy())
    g = draw(*out.shape, seed=9)
    out.backward(tz.tensor(g))
    expected.backward(tz.tensor(rounded(g)))
    assert not is_autocast_enabled()
    for x, e in zip(xs[:2], exact[:2], strict=True):
        np.testing.assert_array_equal(x.grad.numpy(), rounded(e.grad.numpy()))


@pytest.mark.parametrize("attention", [tz.flash_attention, tz.scaled_dot_product_attention])
@pytest.mark.parametrize("kind", KINDS)
def test_attention(attention: Any, kind: Any) -> None:
    arrays = [draw(2, 2, 9, 8, seed=i) for i in range(3)]
    xs, exact = ([tz.tensor(a, requires_grad=True) for a in arrays] for _ in range(2))
    with autocast(kind):
        out = attention(*xs, is_causal=True)
    plain = attention(*exact, is_causal=True)
    g = tz.tensor(draw(*out.shape, seed=9))
    out.backward(g)
    plain.backward(g)
    for made, expected in [(out, plain), *((x.grad, e.grad) for x, e in zip(xs, exact, strict=True))]:
        assert not np.array_equal(made.numpy(), expected.numpy())
        size = np.abs(expected.numpy()).max()
        np.testing.assert_allclose(made.numpy(), expected.numpy(), rtol=0, atol=16 * STEP[kind] * size)
    assert np.array_equal(out.numpy(), halves.rounded(out.numpy(), kind))


def test_what_is_no_product_and_float64_stay_as_they_are() -> None:
    x = tz.tensor(draw(4, 5))
    with autocast("bfloat16"):
        assert np.array_equal(tz.softmax(x).numpy(), tz.softmax(tz.tensor(draw(4, 5))).numpy())
        wide = tz.tensor(draw(3, 3).astype(np.float64) + 1e-12)
        made = wide @ wide
    assert np.array_equal(made.numpy(), (wide @ wide).numpy())


def test_gradients_of_gradients_are_rounded_too() -> None:
    w, x = tz.tensor(draw(3, 3), requires_grad=True), tz.tensor(draw(2, 3, seed=1), requires_grad=True)

    with autocast("bfloat16"):
        h = tz.hvp(lambda w: ((x @ w) ** 3).sum(), w, tz.ones(3, 3))
    exact = tz.hvp(lambda w: ((x @ w) ** 3).sum(), w, tz.ones(3, 3))
    assert not np.array_equal(h.numpy(), exact.numpy())
    np.testing.assert_allclose(h.numpy(), exact.numpy(), rtol=0, atol=0.05 * np.abs(exact.numpy()).max())


# ---- the region
def test_regions_nest_and_end() -> None:
    assert not is_autocast_enabled()
    with autocast("float16"):
        with autocast(enabled=False):
            assert not is_autocast_enabled()
        with pytest.raises(ZeroDivisionError), autocast("bfloat16"):
            raise ZeroDivisionError
        assert is_autocast_enabled()
    assert not is_autocast_enabled()


def test_a_backward_inside_of_a_region_leaves_what_was_made_outside_alone() -> None:
    x, y = (tz.tensor(draw(4, 4, seed=i), requires_grad=True) for i in range(2))
    (x @ y).sum().backward()
    expected, x.grad = x.grad.numpy(), None
    loss = (x @ y).sum()
    with autocast("bfloat16"):
        loss.backward()
        assert is_autocast_enabled()
    assert np.array_equal(x.grad.numpy(), expected)


def test_as_a_decorator() -> None:
    @autocast("bfloat16")
    def product(n: int) -> Any:
        assert is_autocast_enabled()
        return product(n - 1) if n else tz.tensor([[1.0, 1 / 512]]) @ tz.tensor([[1.0], [1.0]])

    assert product(2).item() == 1.0 and not is_autocast_enabled()


def test_other_dtypes_are_refused() -> None:
    with autocast(tz.float16):
        assert is_autocast_enabled()
    with autocast("float32"):
        assert not is_autocast_enabled()
    with pytest.raises(UsageError, match="float16"):
        autocast("float64")


# ---- the scaler
def test_a_scale_saves_gradients_that_float16_has_not() -> None:
    def gradient(scaler: GradScaler) -> float:
        w = nn.Parameter(np.ones((1, 1), np.float32))
        sgd = optim.SGD([w], lr=1.0)
        with autocast("float16"):
            loss = (tz.tensor([[1.0]]) @ w).sum() * 1e-9
        scaler.scale(loss).backward()
        scaler.step(sgd)
        scaler.update()
        return float(w.grad.item())

    assert gradient(GradScaler(enabled=False)) == 0.0
    assert gradient(GradScaler()) == pytest.approx(1e-9, rel=1e-2)


def test_the_scale_backs_off_and_grows() -> None:
    w = nn.Parameter(np.ones(2, np.float32))
    sgd, scaler = optim.SGD([w], lr=0.5), GradScaler(init_scale=4.0, growth_interval=2)
    stepped, scales = [], []
    for slope in (1.0, np.inf, 1.0, 1.0, np.nan):
        sgd.zero_grad()
        scaler.scale((w * tz.tensor(np.array([1.0, slope], np.float32))).sum()).backward()
        stepped.append(scaler.step(sgd))
        scaler.update()
        scales.append(scaler.get_scale())
    assert stepped == [True, False, True, True, False] and scales == [4.0, 2.0, 2.0, 4.0, 2.0]
    assert w.tolist() == [-0.5, -0.5]
    other = GradScaler()
    other.load_state_dict(scaler.state_dict())
    assert (other.get_scale(), other.state_dict()) == (2.0, scaler.state_dict())


def test_gradients_are_unscaled_once() -> None:
    w = nn.Parameter(np.ones(1, np.float32))
    sgd, scaler = optim.SGD([w], lr=1.0), GradScaler()
    scaler.scale(w.sum()).backward()
    scaler.unscale_(sgd)
    assert w.grad.item() == 1.0
    with pytest.raises(UsageError, match="update"):
        scaler.unscale_(sgd)
    assert scaler.step(sgd) and w.item() == 0.0
    with pytest.raises(UsageError, match="update"):
        scaler.step(sgd)
    with pytest.raises(UsageError, match="backoff_factor"):
        GradScaler(backoff_factor=2.0)


# ---- systems
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "steps"), [("digits_cnn", 40), ("char_transformer", 12)])
def test_systems_train_in_it(name: str, steps: int, kind: Any) -> None:
    """As in float32, step by step, but for the rounding."""
    recipe = find(name)
    losses = []
    for precision in ("float32", kind):
        state = prepare(recipe, dataclasses.replace(recipe.config, precision=precision), 0)
        losses.append([advance(recipe, state)[recipe.metric] for _ in range(steps)])
        assert all(p.dtype == "float32" for p in state.model.parameters())
    exact, made = np.array(losses)
    assert not np.array_equal(exact, made) and made[-4:].mean() < 0.9 * made[0]
    np.testing.assert_allclose(made, exact, rtol=0.1)

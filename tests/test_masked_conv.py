"""Masked convolutions: what each pixel depends on, PyTorch's numbers, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.errors import DTypeError, UsageError

torch = oracles.load("torch")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def dependence(layer: nn.Module, height: int, width: int, channels: int = 1) -> np.ndarray[Any, Any]:
    """Which pixel (rows, in raster order) of the output depends on which of the input."""
    layer.to("float64")
    x = tz.tensor(rng(5).standard_normal((1, channels, height, width)))
    jacobian = tz.jacobian(lambda x: layer(x))(x).numpy()  # (1, C', H, W, 1, C, H, W)
    n = height * width
    return (jacobian.reshape(-1, n, channels, n) != 0).any(axis=(0, 2))


@pytest.mark.parametrize(("kernel", "dilation"), [(3, 1), (5, 1), ((3, 5), 1), (3, 2), (1, 1)])
def test_a_pixel_depends_on_those_before_it_alone(kernel: Any, dilation: int) -> None:
    layers = {kind: nn.MaskedConv2d(2, 3, kernel, dilation, mask_type=kind, rng=rng()) for kind in ("A", "B")}
    seen = {kind: dependence(layer, 4, 5, 2) for kind, layer in layers.items()}
    assert not np.triu(seen["A"]).any()
    assert not np.triu(seen["B"], 1).any() and np.diagonal(seen["B"]).all()
    assert np.array_equal(np.tril(seen["B"], -1), seen["A"])
    everything = np.tril(dependence(nn.Conv2d(2, 3, kernel, padding="same", dilation=dilation, rng=rng()), 4, 5, 2))
    assert np.array_equal(everything, seen["B"])  # and on all of those that the kernel reaches


def test_a_stack_has_a_blind_spot_on_the_right() -> None:
    """Which two masked convolutions never see, however many follow: what the paper on gates (1606.05328) mends."""
    stack = nn.Sequential(
        nn.MaskedConv2d(1, 4, 3, mask_type="A", rng=rng()),
        *(nn.MaskedConv2d(4, 4, 3, mask_type="B", rng=rng()) for _ in range(4)),
    )
    seen = dependence(stack, 5, 5)
    assert not np.triu(seen).any()
    centre = seen[12].reshape(5, 5)
    assert centre[:2, :3].all() and centre[1, 3] and not centre[1, 4]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("kind", ["A", "B"])
def test_torch_values_and_gradients(kind: Any) -> None:
    layer = nn.MaskedConv2d(2, 3, (3, 5), mask_type=kind, rng=rng()).to("float64")
    points, weights = rng(1).standard_normal((4, 2, 6, 7)), rng(2).standard_normal((4, 3, 6, 7))
    x = tz.tensor(points).requires_grad_()
    out = layer(x)
    (out * weights).sum().backward()
    leaves = [torch.tensor(value.numpy(), requires_grad=True) for value in (x, layer.weight, layer.bias)]
    kept = torch.zeros(3, 5, dtype=torch.float64)
    kept[0], kept[1, :2] = 1, 1
    kept[1, 2] = float(kind == "B")
    expected = torch.nn.functional.conv2d(leaves[0], leaves[1] * kept, leaves[2], padding=(1, 2))
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-9)
    for ours, theirs in zip((x, layer.weight, layer.bias), leaves, strict=True):
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-9, atol=1e-9)


def test_state_and_repr() -> None:
    layer = nn.MaskedConv2d(2, 3, 3, 2, bias=False, mask_type="B", rng=rng())
    assert (
        repr(layer) == "MaskedConv2d(2, 3, 3, padding='same', dilation=2, bias=False, mask_type='B')  # 54 parameters"
    )
    other = nn.MaskedConv2d(2, 3, 3, 2, bias=False, mask_type="B", rng=rng(1))
    other.load_state_dict(layer.state_dict())
    x = rng(2).standard_normal((1, 2, 6, 6)).astype(np.float32)
    assert np.array_equal(other(x).numpy(), layer(x).numpy())
    assert [name for name, _ in layer.named_parameters()] == ["weight"]


def test_errors() -> None:
    with pytest.raises(UsageError, match=r'mask_type must be "A" or "B", got \'C\''):
        nn.MaskedConv2d(1, 1, 3, mask_type="C", rng=rng())  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"odd sizes, got \(3, 2\)"):
        nn.MaskedConv2d(1, 1, (3, 2), mask_type="A", rng=rng())
    with pytest.raises(DTypeError, match=r"MaskedConv2d: rng must be a numpy Generator"):
        nn.MaskedConv2d(1, 1, 3, mask_type="A")

"""nn.Conv and nn.ConvTranspose against torch.nn, how they start, checkerboards, and what bad calls are told."""

from __future__ import annotations

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn
from tinygrad_zoo.errors import DTypeError, ShapeError, TinygradZooError, UsageError

torch = oracles.load("torch")

MODES = ("zeros", "reflect", "replicate", "circular")
CONVS = ("Conv1d", "Conv2d", "Conv3d")
TRANSPOSES = ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def pair(name: str, *arguments: Any, **settings: Any) -> tuple[Any, Any]:
    """Our module and PyTorch's, of one state, in double precision."""
    mine = getattr(nn, name)(*arguments, **settings, rng=rng()).to("float64")
    theirs = getattr(torch.nn, name)(*arguments, **settings).double()
    theirs.load_state_dict({key: torch.as_tensor(value) for key, value in mine.state_dict().items()})
    return mine, theirs


def agree(mine: Any, theirs: Any, x: Any, what: str, *arguments: Any) -> None:
    """Values, and the gradients of the input and of the parameters."""
    a, b = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # that an uneven 'same' is slower
        out, expected = mine(a, *arguments), theirs(b, *arguments)
    np.testing.assert_allclose(out.numpy(), expected.numpy(force=True), rtol=1e-9, atol=1e-9, err_msg=what)
    w = rng(1).standard_normal(out.shape)
    mine.zero_grad(), theirs.zero_grad()
    out.backward(tz.tensor(w)), expected.backward(torch.tensor(w))
    found = {"x": a.grad, **{key: p.grad for key, p in mine.named_parameters()}}
    wanted = {"x": b.grad, **{key: p.grad for key, p in theirs.named_parameters()}}
    assert found.keys() == wanted.keys()
    for key, g in found.items():
        np.testing.assert_allclose(g.numpy(), wanted[key].numpy(), rtol=1e-9, atol=1e-9, err_msg=f"{what}: {key}")


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_is_that_of_torch_in_every_padding_mode(name: str, mode: str) -> None:
    axes = int(name[-2])
    size, kernel = (5, 4, 3)[:axes], (3, 2, 2)[:axes]
    for padding, step, spread, groups, bias in [
        (0, 1, 1, 1, True),
        (1, 2, 1, 2, True),
        ((2, 1, 0)[:axes], (1, 2, 2)[:axes], 1, 1, False),
        ("same", 1, 1, 2, True),
        ("same", 1, (1, 2, 1)[:axes], 1, True),
        ("valid", (2, 1, 1)[:axes], (2, 1, 2)[:axes], 1, True),
    ]:
        settings = {"stride": step, "padding": padding, "dilation": spread, "groups": groups, "bias": bias}
        layers = pair(name, 4, 6, kernel, **settings, padding_mode=mode)
        for lead in ((2,), (0,), ()):
            agree(*layers, rng().standard_normal((*lead, 4, *size)), f"{name}, {mode}, {settings}, {lead}")


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", TRANSPOSES)
def test_a_transposed_convolution_is_that_of_torch(name: str) -> None:
    axes = int(name[-2])
    size, kernel = (3, 2, 2)[:axes], (3, 2, 2)[:axes]
    for step, padding, extra, groups, spread in itertools.product(
        (1, (2, 3, 2)[:axes]), (0, 1), (0, 1), (1, 2), (1, 2)
    ):
        if extra and step == spread == 1:
            continue
        settings = {"stride": step, "padding": padding, "output_padding": extra, "groups": groups, "dilation": spread}
        layers = pair(name, 4, 6, kernel, **settings, bias=padding == 0)
        for lead in ((2,), (0,), ()):
            agree(*layers, rng().standard_normal((*lead, 4, *size)), f"{name}, {settings}, {lead}")


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", TRANSPOSES)
def test_an_output_size_chooses_the_output_padding(name: str) -> None:
    axes = int(name[-2])
    layers = pair(name, 2, 3, 3, 3, padding=1)
    x = rng().standard_normal((2, 2, *(3, 2, 4)[:axes]))
    least = tuple((n - 1) * 3 + 1 for n in x.shape[2:])
    for extra in itertools.product((0, 1, 2), repeat=axes):
        size = tuple(n + e for n, e in zip(least, extra, strict=True))
        agree(*layers, x, f"{name}, {size}", size)
        agree(*layers, x, f"{name}, {size} with the batch", (2, 3, *size))
        agree(*layers, x[0], f"{name}, {size} without a batch", size)
        assert layers[0](tz.tensor(x), size).shape == (2, 3, *size)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", [*CONVS, *TRANSPOSES])
def test_the_arguments_stand_in_the_order_of_torch(name: str) -> None:
    padding = [1, 0] if "Transpose" in name else [1]
    arguments = (4, 6, 3, 2, *padding, *((2, True, 1) if "Transpose" in name else (1, 2, True)))
    mine, theirs = pair(name, *arguments)
    agree(mine, theirs, rng().standard_normal((1, 4, *(7,) * mine.axes)), name)
    for key in (
        "kernel_size",
        "stride",
        "padding",
        "dilation",
        "groups",
        "in_channels",
        "out_channels",
        "padding_mode",
    ):
        if hasattr(mine, key):
            assert getattr(mine, key) == getattr(theirs, key)


# ---- how they start
@pytest.mark.parametrize("name", [*CONVS, *TRANSPOSES])
def test_they_start_uniform_with_the_fan_of_torch(name: str) -> None:
    layer = getattr(nn, name)(16, 32, 3, groups=4, rng=rng())
    into = 16 // 4 if name in CONVS else 32 // 4
    outof = 32 if name in CONVS else 16
    assert layer.weight.shape == (outof, into, *(3,) * layer.axes) and layer.bias.shape == (32,)
    bound = 1 / math.sqrt(into * 3**layer.axes)
    for values, nearly in ((layer.weight.numpy(), 0.97), (layer.bias.numpy(), 0.8)):
        assert nearly * bound < np.abs(values).max() <= bound and values.dtype == np.float32
    assert layer.weight.numpy().std() == pytest.approx(bound / math.sqrt(3), rel=0.1)
    again = getattr(nn, name)(16, 32, 3, groups=4, rng=rng())
    assert np.array_equal(layer.weight.numpy(), again.weight.numpy())


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", [*CONVS, *TRANSPOSES])
def test_they_start_as_widely_as_those_of_torch(name: str) -> None:
    torch.manual_seed(0)
    mine, theirs = getattr(nn, name)(32, 32, 3, groups=2, rng=rng()), getattr(torch.nn, name)(32, 32, 3, groups=2)
    for ours, its in ((mine.weight, theirs.weight), (mine.bias, theirs.bias)):
        ours, its = ours.numpy(), its.numpy(force=True)
        assert np.abs(ours).max() == pytest.approx(np.abs(its).max(), rel=0.25 if ours.ndim == 1 else 0.02)
        assert ours.std() == pytest.approx(its.std(), rel=0.35 if ours.ndim == 1 else 0.1)


def test_they_say_what_they_are() -> None:
    r = rng()
    assert repr(nn.Conv1d(2, 4, 3, rng=r)) == "Conv1d(2, 4, 3)  # 28 parameters"
    layer = nn.Conv2d(2, 4, (3, 1), 2, "valid", (1, 2), 2, False, "reflect", rng=r)
    said = "2, 4, (3, 1), stride=2, padding='valid', dilation=(1, 2), groups=2, padding_mode='reflect', bias=False"
    assert repr(layer) == f"Conv2d({said})  # 12 parameters"
    layer = nn.ConvTranspose2d(2, 4, 3, (2, 1), 1, (1, 0), 2, True, 1, rng=r)
    said = "2, 4, 3, stride=(2, 1), padding=1, output_padding=(1, 0), groups=2"
    assert repr(layer) == f"ConvTranspose2d({said})  # 40 parameters"
    assert list(nn.Conv3d(1, 1, 1, bias=False, rng=r).state_dict()) == ["weight"]


# ---- checkerboards: row C5
def checkerboard(kernel: int) -> float:
    """How unevenly the power of noise comes out of a fresh ConvTranspose2d of stride 2: its variance from pixel to
    pixel, in units of its squared mean, away from the border."""
    power = []
    for seed in range(4):
        layer = nn.ConvTranspose2d(16, 64, kernel, stride=2, bias=False, rng=rng(seed))
        noise = tz.randn(64, 16, 6, 6, rng=rng(seed))
        out = layer(noise).numpy()
        power.append((out**2).mean(axis=(0, 1))[kernel:-kernel, kernel:-kernel])
    mean = np.mean(power, axis=0)
    return float(mean.var() / mean.mean() ** 2)


def test_a_kernel_that_the_stride_does_not_divide_starts_as_a_checkerboard() -> None:
    uneven, even = checkerboard(3), checkerboard(4)
    taps = np.outer(
        [2, 1], [2, 1]
    )  # of a 3 x 3 kernel that reach a pixel: in turn both rows or one, both columns or one
    assert uneven == pytest.approx(taps.var() / taps.mean() ** 2, rel=0.1)
    assert uneven > 10 * even


# ---- bad calls
X, W = np.ones((2, 4, 5, 6)), np.ones((6, 2, 3, 3))
V, U = np.ones((2, 4, 5)), np.ones((4, 3, 3))
BAD: dict[str, tuple[Any, type[TinygradZooError], str]] = {
    "channels": (
        lambda: tz.conv2d(X, W),
        ShapeError,
        "conv2d: x has 4 channels, a weight of shape (6, 2, 3, 3) takes 2: write an x, a weight or groups that fit",
    ),
    "channels in groups": (lambda: tz.conv2d(X, W, groups=3), ShapeError, "takes 2 in each of groups=3"),
    "groups that do not divide": (
        lambda: tz.conv2d(np.ones((1, 8, 3, 3)), W, groups=4),
        ShapeError,
        "conv2d: groups=4 does not divide 6, the first axis of weight",
    ),
    "groups": (lambda: tz.conv2d(X, W, groups=0), UsageError, "conv2d: groups=0: expected an integer >= 1"),
    "a large kernel": (
        lambda: tz.conv2d(X, W, groups=2, dilation=(3, 1)),
        ShapeError,
        "conv2d: the kernel spans (7, 3), x with its padding only (5, 6): write more padding or less dilation",
    ),
    "bias": (
        lambda: tz.conv2d(X, W, np.ones(4), groups=2),
        ShapeError,
        "conv2d: expected a bias of shape (6,), one a channel of the result, got (4,)",
    ),
    "axes of x": (
        lambda: tz.conv2d(V[0], W),
        ShapeError,
        "conv2d: expected x of shape (N, C, H, W) or (C, H, W), got (4, 5)",
    ),
    "axes of weight": (
        lambda: tz.conv2d(X, U),
        ShapeError,
        "conv2d: expected a weight of shape (out, in / groups, kH, kW), got (4, 3, 3)",
    ),
    "an empty kernel": (lambda: tz.conv1d(V, np.ones((2, 4, 0))), ShapeError, "conv1d: expected a weight of shape"),
    "stride": (
        lambda: tz.conv2d(X, W, stride=0),
        UsageError,
        "conv2d: stride=0: expected an integer >= 1, or 2 of them",
    ),
    "strides": (
        lambda: tz.conv2d(X, W, stride=(1, 2, 3)),
        UsageError,
        "stride=(1, 2, 3): expected an integer >= 1, or 2",
    ),
    "a broken stride": (
        lambda: tz.conv1d(V, U, stride=1.5),
        UsageError,
        "conv1d: stride=1.5: expected an integer >= 1",
    ),
    "a flag": (lambda: tz.conv1d(V, U, dilation=True), UsageError, "conv1d: dilation=True: expected an integer >= 1"),
    "a negative padding": (lambda: tz.conv1d(V, U, padding=-1), UsageError, "padding=-1: expected an integer >= 0"),
    "a padding by name": (
        lambda: tz.conv2d(X, W, padding="full"),
        UsageError,
        "conv2d: padding='full': expected 'same', 'valid' or numbers",
    ),
    "same with a stride": (
        lambda: tz.conv2d(X, W, stride=(1, 2), padding="same"),
        UsageError,
        "conv2d: padding='same' with stride=(1, 2): write stride=1, or padding in numbers",
    ),
    "no weight": (lambda: tz.conv1d(V, None), DTypeError, "conv1d: weight is None; expected a Tensor"),
    "a number": (
        lambda: tz.conv1d(V, V[..., :3], 1.0),
        DTypeError,
        "conv1d: bias is the number 1.0; expected an array",
    ),
    "a name": (lambda: tz.conv1d(V, U, strides=1), DTypeError, "has no 'strides'; did you mean stride?"),
    "a size": (
        lambda: tz.conv_adjoint_input(np.ones((1, 4, 3)), U, size=(4,)),
        ShapeError,
        "conv_adjoint_input: y has the spatial shape (3,), the convolution gives (2,): write another size",
    ),
    "a kernel": (
        lambda: tz.conv_adjoint_weight(np.ones((2, 4, 3)), V, kernel=(2,)),
        ShapeError,
        "conv_adjoint_weight: y has the spatial shape (3,), the convolution gives (4,): write another kernel",
    ),
    "other examples": (
        lambda: tz.conv_adjoint_weight(np.ones((3, 4, 3)), V, kernel=(3,)),
        ShapeError,
        "conv_adjoint_weight: expected y (N, out, …) and x (N, in, …) of one N",
    ),
    "too many axes": (
        lambda: tz.conv_adjoint_weight(np.ones((1,) * 6), np.ones((1,) * 6), kernel=(1,) * 4),
        ShapeError,
        "conv_adjoint_weight: expected y of shape (N, out, …) with 1 to 3 axes behind",
    ),
    "output_padding": (
        lambda: tz.conv_transpose1d(V, U, stride=2, output_padding=2),
        UsageError,
        "conv_transpose1d: output_padding=(2,): expected less than the stride (2,) or the dilation (1,)",
    ),
    "transposed channels": (
        lambda: tz.conv_transpose1d(np.ones((2, 3, 5)), U),
        ShapeError,
        "conv_transpose1d: x has 3 channels, a weight of shape (4, 3, 3) takes 4",
    ),
    "transposed groups": (lambda: tz.conv_transpose1d(V, U, groups=3), ShapeError, "groups=3 does not divide 4"),
    "transposed weight": (
        lambda: tz.conv_transpose1d(V, W),
        ShapeError,
        "conv_transpose1d: expected a weight of shape (in, out / groups, k), got (6, 2, 3, 3)",
    ),
    "transposed bias": (lambda: tz.conv_transpose1d(V, U, np.ones(4)), ShapeError, "expected a bias of shape (3,)"),
    "same, transposed": (
        lambda: tz.conv_transpose1d(V, U, padding="same"),
        UsageError,
        "padding='same': expected an int",
    ),
    "nothing left": (
        lambda: tz.conv_transpose1d(V, U, padding=4),
        ShapeError,
        "conv_transpose1d: x of (5,) with padding=(4,) makes (-1,), expected sizes >= 1: write less padding",
    ),
    "nothing given": (lambda: tz.conv_transpose1d(V[..., :0], U), ShapeError, "and an x without empty axes"),
    "module channels": (
        lambda: nn.Conv2d(0, 1, 1, rng=rng()),
        UsageError,
        "Conv2d: expected an integer in_channels >= 1",
    ),
    "module groups": (
        lambda: nn.ConvTranspose1d(4, 6, 1, groups=4, rng=rng()),
        UsageError,
        "ConvTranspose1d: groups=4 does not divide in_channels=4 and out_channels=6",
    ),
    "module kernel": (lambda: nn.Conv3d(1, 1, (1, 2), rng=rng()), UsageError, "Conv3d: kernel_size=(1, 2): expected"),
    "module padding": (lambda: nn.Conv1d(1, 1, 1, padding="all", rng=rng()), UsageError, "Conv1d: padding='all'"),
    "module same": (
        lambda: nn.Conv1d(1, 1, 1, 2, "same", rng=rng()),
        UsageError,
        "Conv1d: padding='same' with stride=(2,)",
    ),
    "module mode": (
        lambda: nn.Conv1d(1, 1, 1, padding_mode="mirror", rng=rng()),
        UsageError,
        "Conv1d: padding_mode='mirror': expected one of zeros, reflect, replicate, circular",
    ),
    "transposed mode": (
        lambda: nn.ConvTranspose1d(1, 1, 1, padding_mode="reflect", rng=rng()),
        UsageError,
        "ConvTranspose1d: padding_mode='reflect': expected 'zeros'",
    ),
    "module rng": (lambda: nn.Conv1d(1, 1, 1), DTypeError, "Conv1d"),
    "output_size": (
        lambda: nn.ConvTranspose1d(1, 1, 3, 2, rng=rng())(np.ones((1, 1, 4)), (11,)),
        ShapeError,
        "ConvTranspose1d: output_size=(11,): x of (4,) leads to sizes from (9,) to (10,)",
    ),
    "output_sizes": (
        lambda: nn.ConvTranspose1d(1, 1, 3, 2, rng=rng())(np.ones((1, 1, 4)), (1, 9)),
        ShapeError,
        "ConvTranspose1d: output_size=(1, 9): expected a size for each axis, 1, or 3, as x has",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_told_what_to_write(case: str) -> None:
    call, kind, text = BAD[case]
    with pytest.raises(kind) as error:
        call()
    assert text in str(error.value)

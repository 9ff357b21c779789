"""The activation functions: PyTorch's values and both derivatives far out, the table's flags measured, the modules."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops, optim
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.nn import ACTIVATIONS
from tinygrad_zoo.nn.gated import GATED
from tinygrad_zoo.ops.piecewise import SELU_ALPHA, SELU_SCALE

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

SCALAR = {name: known for name, known in ACTIVATIONS.items() if known.of == "a number"}
EXTRA: dict[str, Callable[..., Any]] = {  # those that are not in the table, and other settings
    "logsigmoid": ops.logsigmoid,
    "tanhshrink": ops.tanhshrink,
    "threshold": lambda x: ops.threshold(x, 0.3, -1.0),
    "leaky_relu 0.3": lambda x: ops.leaky_relu(x, 0.3),
    "elu 0.5": lambda x: ops.elu(x, 0.5),
    "celu 0.5": lambda x: ops.celu(x, 0.5),
    "hardtanh -2, 0.5": lambda x: ops.hardtanh(x, -2.0, 0.5),
    "softplus 3": lambda x: ops.softplus(x, beta=3.0),
    "softplus 3 above 0.6": lambda x: ops.softplus(x, beta=3.0, threshold=0.6),
    "softshrink 0": lambda x: ops.softshrink(x, 0.0),
    "hardshrink -1": lambda x: ops.hardshrink(x, -1.0),
    "swish 0": lambda x: ops.swish(x, np.zeros((), x.dtype)),
    "swish 2": lambda x: ops.swish(x, np.asarray(2.0, x.dtype)),
    "rrelu 0.2 to 0.6": lambda x: ops.rrelu(x, None, lower=0.2, upper=0.6),
}
OURS: dict[str, Callable[..., Any]] = {**SCALAR, **EXTRA}
THEIRS: dict[str, Callable[..., Any]] = {  # where it is not the function of that name in torch.nn.functional
    "step": lambda x: F.relu(torch.sign(x)),
    "sign": lambda x: torch.sign(x),
    "hardsigmoid": lambda x: F.relu6(x + 3) / 6,  # PyTorch's own has no second derivative
    "prelu": lambda x: F.prelu(x, torch.tensor(0.25, dtype=x.dtype)),
    "relu_squared": lambda x: F.relu(x) ** 2,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "swish": lambda x: x * torch.sigmoid(x),
    "softplus": lambda x: F.softplus(x, threshold=700),
    "threshold": lambda x: F.threshold(x, 0.3, -1.0),
    "leaky_relu 0.3": lambda x: F.leaky_relu(x, 0.3),
    "elu 0.5": lambda x: F.elu(x, 0.5),
    "celu 0.5": lambda x: F.celu(x, 0.5),
    "hardtanh -2, 0.5": lambda x: F.hardtanh(x, -2.0, 0.5),
    "softplus 3": lambda x: F.softplus(x, 3.0, threshold=700),
    "softplus 3 above 0.6": lambda x: F.softplus(x, 3.0, threshold=0.6),
    "softshrink 0": lambda x: F.softshrink(x, 0.0),
    "hardshrink -1": lambda x: F.hardshrink(x, -1.0),
    "swish 0": lambda x: x / 2,
    "swish 2": lambda x: x * torch.sigmoid(2 * x),
    "rrelu 0.2 to 0.6": lambda x: F.rrelu(x, 0.2, 0.6),
}
TOLERANCE = {"gelu_tanh": 1e-10}  # else 1e-12
FAR = np.array([1e4, 701.0, 746.0, 89.0, 104.0])
GRID = np.concatenate([np.linspace(-50, 50, 4001) + 1e-3, FAR, -FAR])  # off the kinks


def orders(function: Callable[..., Any], points: Any, highest: int = 2) -> list[Any]:
    """Values and derivatives of a function of one number, up to order `highest`, at each point."""
    x = tz.tensor(points, requires_grad=True)
    found = [function(x)]
    if found[0].requires_grad:  # a plain walk, by a kernel where there is one, gives the slopes of the recorded one
        ones = [tz.ones(found[0].shape, dtype=x.dtype)]
        (raw,), (slope,) = (gradients(found, [x], ones, create_graph=graph) for graph in (False, True))
        last = 64 * float(np.finfo(x.dtype).eps)  # the rules lose digits where a slope of 1 is a sum that cancels
        assert raw is slope is None or np.allclose(raw.numpy(), slope.numpy(), last, last, equal_nan=True)
    for _ in range(highest):
        y, g = found[-1], None
        if y.requires_grad:
            (g,) = gradients([y], [x], [tz.ones(y.shape, dtype=y.dtype)], create_graph=True)
        found.append(tz.zeros(x.shape, dtype=x.dtype) if g is None else g)
    return [y.numpy() for y in found]


def torch_orders(function: Callable[..., Any], points: Any) -> list[Any]:
    """The same by PyTorch, up to order 2."""
    x = torch.tensor(points, requires_grad=True)
    found = [function(x)]
    for _ in range(2):
        y, g = found[-1], None
        if y.requires_grad:
            (g,) = torch.autograd.grad(y.sum(), x, create_graph=True, allow_unused=True)
        found.append(torch.zeros_like(x) if g is None else g)
    return [y.numpy(force=True) for y in found]


# ---- against PyTorch
@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OURS)
def test_values_and_both_derivatives_are_those_of_torch(name: str) -> None:
    ours, theirs = orders(OURS[name], GRID), torch_orders(THEIRS.get(name) or getattr(F, name), GRID)
    tolerance = TOLERANCE.get(name, 1e-12)
    if name == "mish":  # PyTorch's second derivative is NaN from 710 on, where it is 0 to the last bit
        theirs[2] = np.where(GRID > 709, 0, theirs[2])
    for what, a, b in zip(("values", "slopes", "second derivatives"), ours, theirs, strict=True):
        assert np.isfinite(a).all(), f"{name}, {what}"
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=f"{name}, {what}")


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", [name for name in OURS if name != "tanh"])
def test_the_slope_at_a_kink_is_that_of_torch(name: str) -> None:
    points = np.array([*getattr(OURS[name], "kinks", ()), -3.0, -2.0, -1.0, -0.5, 0.0, 0.2, 0.3, 0.5, 1.0, 3.0, 6.0])
    function = THEIRS.get(name) or getattr(F, name)
    for a, b in zip(orders(OURS[name], points)[:2], torch_orders(function, points)[:2], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15, err_msg=name)


# ---- stability, without a library
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("name", OURS)
def test_nothing_overflows_that_need_not(name: str, dtype: str) -> None:
    far = {"float16": 6e4, "float32": 1e30, "float64": 1e200}[dtype]
    points = np.array([-far, -1e4, -800, -90, -20, 20, 90, 800, 1e4, far], dtype)
    if name == "relu_squared":  # its values do, from the root of the largest number on
        points = points[np.abs(points) < {"float16": 200, "float32": 1e15, "float64": 1e100}[dtype]]
    made = orders(OURS[name], points)
    exact = orders(OURS[name], points.astype("float64"))
    for a, b in zip(made, exact, strict=True):
        assert a.dtype == dtype and np.isfinite(a).all(), f"{name}: {a}"
        scale = 4 * float(np.finfo(dtype).eps)
        np.testing.assert_allclose(a.astype("float64"), b, rtol=16 * scale, atol=16 * scale, err_msg=name)


@pytest.mark.parametrize("name", ["sigmoid", "logsigmoid", "softplus", "silu", "mish", "swish", "quick_gelu"])
def test_the_lower_tail_is_exact_in_relative_terms(name: str) -> None:
    x = np.array([-700.0, -300.0, -50.0])
    rate = 1.702 if name == "quick_gelu" else 1.0
    x = x / rate
    e = np.exp(rate * x)
    expected = {"sigmoid": e, "softplus": e, "logsigmoid": x}.get(name, x * e)
    np.testing.assert_allclose(ops.gelu(x / 20), x / 20 * norm.cdf(x / 20), rtol=1e-13)
    np.testing.assert_allclose(OURS[name](x), expected, rtol=1e-13)
    np.testing.assert_allclose(ops.logsigmoid(-x), -np.exp(x), rtol=1e-13)


SOFTMAXES = {"softmax": ops.softmax, "log_softmax": ops.log_softmax, "softmin": ops.softmin}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_of_many_halves_does_not_overflow(name: str) -> None:
    function, n = SOFTMAXES[name], 200_000
    x = tz.zeros(n, dtype="float16").requires_grad_()
    y = function(x)
    assert y.dtype == np.float16
    np.testing.assert_allclose(y.numpy().astype(float), -np.log(n) if name == "log_softmax" else 1 / n, rtol=5e-3)
    g = 1.0 if name == "log_softmax" else 60_000.0
    y.backward(tz.full(n, g, "float16"))  # all alike, so no x can gain: 0 but for the rounding of y
    assert x.grad.dtype == np.float16
    assert np.abs(x.grad.numpy()).max() < 0.01 * (g if name == "log_softmax" else g / n)
    big = tz.tensor([6e4, 6e4, -6e4], "float16")
    np.testing.assert_allclose(np.exp(ops.log_softmax(big).numpy().astype(float)), [0.5, 0.5, 0], rtol=1e-3)
    assert ops.softmax(big).tolist() == [0.5, 0.5, 0.0] and ops.softmin(big).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_far_out_keeps_its_derivatives(name: str) -> None:
    for dtype in ("float32", "float64"):
        x = np.array([[1e4, -1e4, 9990.0], [-800.0, 0.0, 800.0]], dtype)
        _, first, second = orders(lambda v, w=x / 1e4: (SOFTMAXES[name](v) * tz.tensor(w)).sum(), x)
        assert np.isfinite(first).all() and np.isfinite(second).all()
    tz.testing.check_gradients(SOFTMAXES[name], np.array([700.0, 700.5, -700.0]))


def test_a_row_of_nothing_but_minus_infinity_has_no_softmax() -> None:
    rows = np.array([[-np.inf, -np.inf], [-np.inf, 0.0]])
    for name in ("softmax", "log_softmax"):
        x = tz.tensor(rows, requires_grad=True)
        y = SOFTMAXES[name](x)
        assert np.isnan(y.numpy()[0]).all()
        assert y.numpy()[1].tolist() == ([0.0, 1.0] if name == "softmax" else [-np.inf, 0.0])
        y.backward(tz.ones((2, 2)).to("float64"))
        assert np.isnan(x.grad.numpy()[0]).all() and x.grad.numpy()[1].tolist() == (
            [0.0, 0.0] if name == "softmax" else [1.0, -1.0]
        )
    assert np.isnan(ops.softmax(np.array([np.inf, 0.0]))).any()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", SOFTMAXES)
def test_the_dtype_of_a_softmax_is_taken_first(name: str) -> None:
    values = np.array([[1.0, 2.0], [3.0, -70_000.0]], "float32")
    x, theirs = tz.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
    y, z = SOFTMAXES[name](x, -1, dtype="float64"), getattr(F, name)(theirs, -1, dtype=torch.float64)
    weights = np.array([[1.0, -2.0], [0.5, 3.0]])
    y.backward(tz.tensor(weights))
    z.backward(torch.tensor(weights))
    assert y.dtype == np.float64 and x.grad.dtype == np.float32
    np.testing.assert_allclose(y.numpy(), z.numpy(force=True), rtol=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), theirs.grad.numpy(), rtol=1e-6, atol=1e-7)


# ---- the table
def names_of(derivative: str) -> set[str]:
    return {node.id for node in ast.walk(ast.parse(derivative)) if isinstance(node, ast.Name)}


def evaluated(derivative: str, **given: Any) -> Any:
    """The value of a derivative's text."""
    known = {"σ": expit, "Φ": norm.cdf, "φ": norm.pdf, "len": len}
    known |= {name: getattr(np, name) for name in names_of(derivative) - known.keys() - given.keys()}
    return eval(derivative, known | given)


@pytest.mark.parametrize("name", SCALAR)
def test_the_derivative_of_the_table_is_that_of_the_op(name: str) -> None:
    x = np.linspace(-8, 8, 4001) + 1e-3
    u = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    expected = np.broadcast_to(evaluated(SCALAR[name].derivative, x=x, u=u), x.shape)
    np.testing.assert_allclose(orders(SCALAR[name], x, 1)[1], expected, rtol=1e-11, atol=1e-13)


def test_the_derivatives_of_functions_of_several_numbers() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal(6)
        for name in ("softmax", "log_softmax", "maxout"):
            known = ACTIVATIONS[name]
            function = (lambda x: ops.maxout(x, 6, 0)) if name == "maxout" else known
            found = tz.jacobian(function)(tz.tensor(x)).numpy()
            np.testing.assert_allclose(
                found, evaluated(known.derivative, x=x, p=np.exp(x) / np.exp(x).sum()), atol=1e-13
            )
        gate, value = rng.standard_normal((2, 5))
        for name in ("bilinear", "reglu", "geglu", "swiglu", "glu"):
            known = ACTIVATIONS[name]
            g = tz.tensor(gate, requires_grad=True)
            y = known(ops.concat(tz.tensor(value), g)) if name == "glu" else known(g, tz.tensor(value))
            y.sum().backward()
            expected = evaluated(known.derivative, gate=gate, value=value)
            np.testing.assert_allclose(g.grad.numpy(), expected, rtol=1e-12, atol=1e-14, err_msg=name)


STEP = 1e-4
DENSE = (np.arange(-80_000, 80_000) + 0.5) * STEP  # every kink lies in the middle between two of these


@pytest.mark.parametrize("name", SCALAR)
def test_kinks_and_smoothness_are_where_the_table_says(name: str) -> None:
    known = SCALAR[name]
    found = [np.abs(np.diff(y)) for y in orders(known, DENSE, 3)]
    jumps = np.unique(np.concatenate([np.flatnonzero(jump > 100 * STEP) for jump in found]))
    middles = (DENSE[jumps] + DENSE[jumps + 1]) / 2
    np.testing.assert_allclose(middles, known.kinks, atol=STEP / 10)
    assert known.smooth == (not known.kinks)


@pytest.mark.parametrize("name", SCALAR)
def test_monotone_and_bounded_are_what_the_table_says(name: str) -> None:
    known = SCALAR[name]
    rises = np.diff(known(DENSE))
    assert (rises >= -1e-15).all() if known.monotone else (rises < -1e-6).any()
    far = np.abs(known(np.array([-1e100, 1e100])))
    assert far.max() <= 10 if known.bounded else far.max() > 1e90


def test_the_flags_of_functions_of_several_numbers() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((500, 6))
    for name, known in ACTIVATIONS.items():
        if known.of == "a number":
            continue

        def function(x: Any, known: Any = known) -> Any:
            return known(x[:, :3], x[:, 3:]) if known.of == "gate and value" else known(x)

        assert known.monotone == bool((jacobians(function, x) >= 0).all()), name
        assert known.bounded == bool(np.abs(function(1e6 * x)).max() < 1e3), name
        # along a path through eight points the slopes of a smooth function change little in a little step
        along = np.concatenate([np.linspace(a, b, 1000) for a, b in pairwise(x[:8])])
        assert known.smooth == bool(np.abs(np.diff(jacobians(function, along), axis=0)).max() < 0.05), name


def jacobians(function: Callable[..., Any], x: Any) -> Any:
    """∂ outputs / ∂ inputs of each row: (N, outputs, inputs)."""
    v = tz.tensor(x, requires_grad=True)
    y = function(v)
    rows = []
    for k in range(y.shape[1]):
        w = np.zeros(y.shape)
        w[:, k] = 1
        rows.append(gradients([y], [v], [tz.tensor(w)])[0].numpy())
    return np.stack(rows, axis=1)


def test_the_table_is_complete_and_dated() -> None:
    asked = (
        "step sign sigmoid tanh hardsigmoid hardtanh relu relu6 leaky_relu prelu rrelu elu selu celu softplus softsign "
    )
    asked += "silu swish hardswish gelu gelu_tanh quick_gelu mish maxout relu_squared softmax log_softmax "
    asked += "glu bilinear reglu geglu swiglu"
    assert set(asked.split()) <= ACTIVATIONS.keys()
    for name, known in ACTIVATIONS.items():
        assert 1943 <= known.year <= 2021 and known.paper and known.derivative, name
        if known.paper.startswith("arXiv "):  # an identifier begins with the year and month it was posted in
            assert 2000 + int(known.paper[6:8]) == known.year, name
        if name not in ("gelu_tanh", "glu", "bilinear"):
            assert known.op is getattr(ops, name), name
    modules = {m for _, m in inspect.getmembers(nn.activation, inspect.isclass) if issubclass(m, nn.Module)}
    modules -= {nn.Module, nn.activation.OpModule}
    rest = {nn.LogSigmoid, nn.Softmin, nn.Tanhshrink, nn.Threshold}
    assert {known.module for known in ACTIVATIONS.values()} == modules - rest


# ---- modules
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_module_is_its_op(name: str) -> None:
    known = ACTIVATIONS[name]
    draws = {"rng": np.random.default_rng(0)} if known.module is nn.RReLU else {}
    module = known.module(**known.settings, **draws).eval()
    x = tz.tensor(np.random.default_rng(1).standard_normal((4, 6)).astype("float32"))
    inputs = (x[:, :3], x[:, 3:]) if known.of == "gate and value" else (x,)
    assert np.array_equal(module(*inputs).numpy(), known(*inputs).numpy())


def test_prelu_learns_a_slope_for_each_channel() -> None:
    module = nn.PReLU(3)
    assert module.weight.tolist() == [0.25] * 3 and nn.PReLU().weight.shape == (1,)
    target = np.array([0.1, -0.5, 2.0], "float32")
    optimizer = optim.Adam(module.parameters(), lr=0.05)
    x = tz.tensor(np.random.default_rng(0).standard_normal((64, 3, 2)).astype("float32"))
    for _ in range(300):
        loss = ((module(x) - ops.prelu(x, tz.tensor(target))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    np.testing.assert_allclose(module.weight.numpy(), target, atol=1e-3)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(
    "shape, weights", [((4,), ()), ((4,), (1,)), ((2, 3), (3,)), ((2, 3, 4), (3,)), ((2, 3), (1,))]
)
def test_prelu_and_the_gradient_of_its_weight_are_those_of_torch(shape: Any, weights: Any) -> None:
    rng = np.random.default_rng(0)
    values, slopes, g = rng.standard_normal(shape), rng.standard_normal(weights), rng.standard_normal(shape)
    x, w = (tz.tensor(np.asarray(a), requires_grad=True) for a in (values, slopes))
    x2, w2 = (torch.tensor(a, requires_grad=True) for a in (values, slopes))
    y, y2 = ops.prelu(x, w), F.prelu(x2, w2)
    y.backward(tz.tensor(g))
    y2.backward(torch.tensor(g))
    for a, b in ((y, y2), (x.grad, x2.grad), (w.grad, w2.grad)):
        np.testing.assert_allclose(a.numpy(), b.numpy(force=True), rtol=1e-12, atol=1e-13)


def test_swish_learns_beta() -> None:
    module = nn.Swish()
    assert module.beta.shape == () and module.beta.item() == 1.0
    x = tz.tensor(np.linspace(-3, 3, 100, dtype="float32"))
    optimizer = optim.Adam(module.parameters(), lr=0.05)
    for _ in range(300):
        loss = ((module(x) - ops.swish(x, tz.tensor(2.5))) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert module.beta.item() == pytest.approx(2.5, abs=1e-2)


def test_rrelu_draws_in_training_and_not_after() -> None:
    module = nn.RReLU(0.1, 0.3, rng=np.random.default_rng(0))
    x = -tz.ones(20_000)
    drawn = -module(x).numpy()
    assert 0.1 <= drawn.min() < 0.101 and 0.299 < drawn.max() < 0.3
    assert abs(drawn.mean() - 0.2) < 0.002 and abs(drawn.std() - 0.2 / np.sqrt(12)) < 0.001
    assert not np.array_equal(-module(x).numpy(), drawn)
    module.eval()
    assert np.allclose(module(x).numpy(), -0.2)
    key = ops.draw_key(np.random.default_rng(1))
    v = tz.tensor(x.numpy(), requires_grad=True)
    y = ops.rrelu(v, key, training=True)
    y.sum().backward()
    assert np.array_equal(v.grad.numpy(), -y.numpy())  # the slope of each is the one it was drawn


# ---- SELU's fixed point
def test_the_constants_of_selu_solve_its_equations() -> None:
    """For z ~ N(0, 1): E selu(z) = 0 and E selu(z)² = 1, in closed form with e = exp(1/2) Φ(-1) and the like."""
    one, two = np.exp(0.5) * norm.cdf(-1), np.exp(2) * norm.cdf(-2)  # E[eᶻ; z < 0], E[e²ᶻ; z < 0]
    mean = SELU_SCALE * (1 / np.sqrt(2 * np.pi) + SELU_ALPHA * (one - 0.5))
    second = SELU_SCALE**2 * (0.5 + SELU_ALPHA**2 * (two - 2 * one + 0.5))
    assert abs(mean) < 1e-15 and abs(second - 1) < 1e-15
    assert (SELU_SCALE, SELU_ALPHA) == (1.0507009873554805, 1.6732632423543772)


@pytest.mark.parametrize("seed", range(3))
def test_selu_keeps_mean_0_and_variance_1_behind_a_lecun_normal_layer(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((4000, 1000)).astype("float32")
    weight = nn.init.lecun_normal_(tz.zeros((1000, 1000)), rng=rng)
    y = ops.selu(ops.linear(tz.tensor(x), weight, None)).numpy()
    assert abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.02
    elu = ops.elu(ops.linear(tz.tensor(x), weight, None)).numpy()
    assert abs(elu.mean()) > 0.1  # what a network without the constants does


# ---- gates
def test_the_gates_are_the_formulas() -> None:
    rng = np.random.default_rng(0)
    gate, value = rng.standard_normal((2, 4, 3))
    for name, activation in {"reglu": ops.relu, "geglu": ops.gelu, "swiglu": ops.silu, "glu": ops.sigmoid}.items():
        np.testing.assert_allclose(GATED[name](gate, value), activation(gate) * value, rtol=1e-15)
    np.testing.assert_allclose(GATED["bilinear"](gate, value), gate * value)
    np.testing.assert_allclose(ops.glu(np.concatenate([value, gate], axis=1), 1), ops.sigmoid(gate) * value)
    assert np.array_equal(ops.geglu(gate, value, approximate="tanh"), ops.gelu(gate, approximate="tanh") * value)


@pytest.mark.oracle("torch")
def test_maxout_is_that_of_torch_also_in_its_gradient() -> None:
    rng = np.random.default_rng(0)
    for shape, pool_size, axis in (((2, 6), 3, 1), ((4, 5, 2), 2, 0), ((3, 8), 4, -1)):
        values = np.round(rng.standard_normal(shape))  # with ties
        x, x2 = tz.tensor(values, requires_grad=True), torch.tensor(values, requires_grad=True)
        y = ops.maxout(x, pool_size, axis)
        y2 = x2.unflatten(axis, (-1, pool_size)).amax(axis % len(shape) + 1)
        g = rng.standard_normal(y.shape)
        y.backward(tz.tensor(g))
        y2.backward(torch.tensor(g))
        np.testing.assert_allclose(y.numpy(), y2.numpy(force=True))
        np.testing.assert_allclose(x.grad.numpy(), x2.grad.numpy(), rtol=1e-12)


def count(module: nn.Module) -> int:
    return sum(x.size for x in module.parameters())


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("variant", GATED)
def test_a_gated_block_has_the_parameters_of_a_plain_one(variant: str, bias: bool) -> None:
    for d, hidden in ((8, 24), (8, 25), (64, 256), (7, 13), (3, 100), (16, 1)):
        gated = nn.GLUFeedForward(d, hidden, variant, bias=bias, rng=np.random.default_rng(0))
        plain = nn.FeedForward(d, hidden, bias=bias, rng=np.random.default_rng(0))
        unit = 3 * d + 2 * bias
        assert abs(count(gated) - count(plain)) <= unit / 2, (d, hidden)
        assert hidden % 3 or bias or count(gated) == count(plain)
        assert len({id(p) for p in gated.parameters()}) == len(list(gated.parameters())) == (6 if bias else 3)


@pytest.mark.parametrize("variant", GATED)
def test_a_gated_block_is_its_formula(variant: str) -> None:
    block = nn.GLUFeedForward(4, 9, variant, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((2, 5, 4)).astype("float32")
    w, v, w2 = (layer.weight.numpy().T for layer in (block.gate, block.value, block.down))
    made = (GATED[variant](x @ w, x @ v)) @ w2
    np.testing.assert_allclose(block(tz.tensor(x)).numpy(), made, rtol=1e-5, atol=1e-6)
    assert all(p.grad is not None and p.grad.numpy().any() for p in backward(block, x))


def backward(block: nn.Module, x: Any) -> list[Any]:
    (block(tz.tensor(x)) ** 2).sum().backward()
    return list(block.parameters())


def test_the_plain_block_is_its_formula() -> None:
    block = nn.FeedForward(4, 6, nn.ReLUSquared(), bias=True, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).standard_normal((3, 4)).astype("float32")
    hidden = np.maximum(x @ block.up.weight.numpy().T + block.up.bias.numpy(), 0) ** 2
    expected = hidden @ block.down.weight.numpy().T + block.down.bias.numpy()
    np.testing.assert_allclose(block(tz.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


# ---- errors
BAD: dict[str, tuple[type[TinygradZooError], Callable[[], Any], str]] = {
    "prelu channels": (ShapeError, lambda: ops.prelu(np.ones((2, 3)), np.ones(2)), r"shape \(2,\).*or 3, of axis 1"),
    "prelu of a vector": (ShapeError, lambda: ops.prelu(np.ones(3), np.ones(3)), "takes one number"),
    "hardtanh bounds": (UsageError, lambda: ops.hardtanh(np.ones(2), 2.0, 1.0), "min_val <= max_val"),
    "softshrink below 0": (UsageError, lambda: ops.softshrink(np.ones(2), -1.0), "lambd >= 0"),
    "celu alpha": (UsageError, lambda: ops.celu(np.ones(2), 0.0), "other than 0"),
    "glu of odd length": (ShapeError, lambda: ops.glu(np.ones(3)), "even length"),
    "glu of another axis": (ShapeError, lambda: ops.glu(np.ones(4), 1), "axis 1"),
    "maxout of an odd length": (ShapeError, lambda: ops.maxout(np.ones((2, 3))), "multiple of pool_size=2"),
    "rrelu bounds": (UsageError, lambda: ops.rrelu(np.ones(2), lower=1.0, upper=0.5), "lower <= upper"),
    "rrelu with a number for a key": (DTypeError, lambda: ops.rrelu(np.ones(2), 0.1, 0.3), "key holds.*got float"),
    "rrelu without a key": (DTypeError, lambda: ops.rrelu(np.ones(2), training=True), "draw_key"),
    "RReLU without rng": (DTypeError, lambda: nn.RReLU(), "rng"),
    "PReLU of nothing": (UsageError, lambda: nn.PReLU(0), "num_parameters >= 1"),
    "GELU of another kind": (UsageError, lambda: nn.GELU("cubic"), "'none' or 'tanh'"),
    "CELU of 0": (UsageError, lambda: nn.CELU(0.0), "other than 0"),
    "Hardtanh bounds": (UsageError, lambda: nn.Hardtanh(2.0, 1.0), "min_val <= max_val"),
    "LeakyReLU of a text": (DTypeError, lambda: nn.LeakyReLU("0.1"), "negative_slope is a number"),
    "variant": (UsageError, lambda: nn.GLUFeedForward(4, 4, "tanglu", rng=np.random.default_rng(0)), "swiglu"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_says_what_to_write(case: str) -> None:
    kind, call, message = BAD[case]
    with pytest.raises(kind, match=message):
        call()

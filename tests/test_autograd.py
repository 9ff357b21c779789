"""Ops and their gradients: rules, fused ops, orders, and the errors of wrong rules."""

from __future__ import annotations

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import alias, fused, gradients, primitive
from tinygrad_zoo.errors import DTypeError, GradientError
from tinygrad_zoo.tensor import Tensor
from tinygrad_zoo.variable import Node, Variable


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def leaf(*values: float, dtype: str = "float64") -> Tensor:
    return tz.tensor(np.array(values, dtype), requires_grad=True)


def derivative(y: Any, x: Any, create_graph: bool = True) -> Any:
    """The gradient of the sum of y."""
    (g,) = gradients([y], [x], [np.ones(y.shape, y.dtype)], create_graph=create_graph)
    return g


def slope(f: Callable[[float], float], x: float, h: float = 1e-3) -> float:
    """f'(x) by a stencil of fourth order."""
    return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


# ---- ops of our own, each one definition


@primitive(vjp=(lambda g, out, x, y, scale: g * y * scale, lambda g, out, x, y, scale: g * x * scale))
def scaled_product(x: Any, y: Any, *, scale: float = 1.0) -> Any:
    return x * y * scale


class Polar(NamedTuple):
    radius: Any
    angle: Any


def _polar_rule(g: Any, out: Any, x: Any, y: Any, needs: Any) -> list[Any]:
    (gr, ga), (r, _) = g, out
    return [
        gr * x / r - ga * y / (r * r) if needs[0] else None,
        gr * y / r + ga * x / (r * r) if needs[1] else None,
    ]


@primitive(vjp=_polar_rule)
def polar(x: Any, y: Any) -> Polar:
    return Polar(np.hypot(x, y), np.arctan2(y, x))


SEEN: list[Any] = []  # what the backward of `cubic` was told


def _cubic_formula(x: Any, y: Any, z: Any, *, scale: float) -> Any:
    return scale * x * x * y * ops.exp(z)


def _cubic_backward(g: Any, out: Any, x: Any, y: Any, z: Any, e: Any, *, needs: Any, scale: float) -> list[Any]:
    SEEN.append(list(needs))
    gs = [2 * g * scale * x * y * e, g * scale * x * x * e, g * out]
    return [gx if need else None for gx, need in zip(gs, needs, strict=True)]


@fused(formula=_cubic_formula, backward=_cubic_backward, saved=("e",))
def cubic(x: Any, y: Any, z: Any, *, scale: float = 1.0) -> Any:
    e = np.exp(z)
    return scale * x * x * y * e, e


def _sincos_backward(gs: Any, gc: Any, s: Any, c: Any, x: Any, *, needs: Any) -> list[Any]:
    return [gs * c - gc * s]


@fused(formula=lambda x: (ops.sin(x), ops.cos(x)), backward=_sincos_backward)
def sincos(x: Any) -> Any:
    return np.sin(x), np.cos(x)


# ---- arrays and Tensors


def test_arrays_in_array_out_and_a_tensor_in_a_tensor_out(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    for out in (ops.exp(x), ops.sum(x), scaled_product(x, 2.0), cubic(x, x, x), alias(x)):
        assert type(out) is np.ndarray
    for out in (ops.exp(tz.tensor(x)), scaled_product(x, tz.tensor(x)), cubic(x, x, tz.tensor(x))):
        assert type(out) is Tensor and out.node is None


def test_an_op_returns_a_tensor_when_given_a_subclass() -> None:
    class Parameter(Tensor):
        __slots__ = ()

    p = Parameter(np.ones(2), requires_grad=True)
    made = [p * 2, -p, 2 / p, p.sum(), p[0], p.detach(), alias(p), polar(p, p).radius, np.ones(2) * p]
    assert {type(y) for y in made} == {Tensor}
    (p * p).sum().backward()
    assert type(p.grad) is Tensor
    assert type(gradients([p * p], [p], [np.ones(2)])[0]) is Tensor
    assert type(copy.deepcopy(p)) is Parameter


def test_outputs_are_arrays_also_without_axes(rng: np.random.Generator) -> None:
    x = rng.standard_normal(3)
    scalars = [ops.sum(x), ops.mean(x), x.sum() + ops.sum(x), ops.add(np.float64(1), 2.0), ops.exp(1.0)]
    assert [type(ops.neg(s)) for s in scalars] == [np.ndarray] * len(scalars)
    t = tz.tensor(x, requires_grad=True)
    (t[0] * t.sum() / t.mean()).backward()
    s = tz.tensor(2.0, requires_grad=True)
    (s * s).backward()
    assert type(t.grad.data) is type(s.grad.data) is np.ndarray
    assert type(derivative(s * s, s, create_graph=False).data) is np.ndarray
    assert type(tz.slogdet(tz.tensor([[2.0]])).logabsdet.data) is np.ndarray


# ---- rules


def test_a_rule_an_input() -> None:
    x, y = leaf(2, 3), leaf(5, 7)
    scaled_product(x, y, scale=10.0).sum().backward()
    assert x.grad.tolist() == [50, 70] and y.grad.tolist() == [20, 30]


def test_the_rule_of_an_input_without_gradient_is_not_run() -> None:
    ran: list[str] = []

    def rule(name: str) -> Callable[..., Any]:
        return lambda g, out, x, y: ran.append(name) or g

    op = primitive(vjp=(rule("x"), rule("y")))(_add)
    op(leaf(1), tz.tensor([1.0])).sum().backward()
    assert ran == ["x"]
    x, y = leaf(1), leaf(2)
    gradients([op(x, y)], [y], [np.ones(1)])  # x takes a gradient, but nobody asks for it
    assert ran == ["x", "y"]


def _add(x: Any, y: Any) -> Any:
    return x + y


def test_joint_rules_and_several_outputs() -> None:
    x, y = leaf(3), leaf(4)
    out = polar(x, y)
    assert type(out) is Polar and out.radius.item() == 5
    radius, angle = out
    (2 * radius + 5 * angle).sum().backward()
    assert x.grad.item() == pytest.approx(2 * 3 / 5 - 5 * 4 / 25) and y.grad.item() == pytest.approx(2 * 4 / 5 + 3 / 5)


@pytest.mark.parametrize("index", [0, 1])
def test_one_output_used_of_several(index: int) -> None:
    x, y = leaf(3), leaf(4)
    g = derivative(polar(x, y)[index], x)
    assert g.item() == pytest.approx([3 / 5, -4 / 25][index])
    second = slope(lambda v: [v / math.hypot(v, 4), -4 / (v * v + 16)][index], 3.0)
    assert derivative(g, x).item() == pytest.approx(second, rel=1e-9)


def test_slogdet_sends_its_gradient_through_logabsdet_alone(rng: np.random.Generator) -> None:
    x = tz.tensor(rng.standard_normal((3, 3)) + 3 * np.eye(3), requires_grad=True)
    sign, logabsdet = tz.slogdet(x)
    np.testing.assert_allclose(derivative(logabsdet, x).data, np.linalg.inv(x.data).T, rtol=1e-12)
    assert not derivative(sign, x).data.any()
    np.testing.assert_allclose(derivative(sign * logabsdet, x).data, np.linalg.inv(x.data).T, rtol=1e-12)


def test_split_gathers_the_gradients_of_the_pieces_that_were_used() -> None:
    x = leaf(*range(6))
    a, b, c = tz.split(x, (1, 3, 2))
    (10 * b.sum() + c[1] + 0 * a.sum()).backward()
    assert x.grad.tolist() == [0, 10, 10, 10, 0, 1]
    x.grad = None
    tz.split(x, 4)[1].sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 0, 1, 1]
    (piece,) = tz.split(x, 6)
    assert derivative(piece, x).tolist() == [1] * 6


def test_integer_outputs_carry_no_gradient() -> None:
    def rule(g: Any, out: Any, x: Any, needs: Any) -> list[Any]:
        assert g[1].dtype == np.int64 and not g[1].any()
        return [g[0] * (x == out[0])]

    @primitive(vjp=rule)
    def largest(x: Any) -> Any:
        return x.max(), x.argmax()

    x = leaf(1, 5, 2)
    value, at = largest(x)
    assert value.requires_grad and not at.requires_grad and at.dtype == np.int64
    (value * 2).backward()
    assert x.grad.tolist() == [0, 2, 0]


def test_a_rule_may_return_none() -> None:
    x = leaf(1, 2)
    tz.sign(x).sum().backward()
    assert x.grad is None
    (tz.sign(x) * x).sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_an_op_without_a_rule_records_nothing() -> None:
    x = leaf(1, 2)
    for y in (x > 1, tz.argmax(x), tz.one_hot(tz.tensor([1]), 3)):
        assert y.node is None and not y.requires_grad


# ---- fused ops


def test_first_order_runs_the_kernel_and_is_told_what_is_needed() -> None:
    x, y = leaf(2), leaf(3)
    SEEN.clear()
    cubic(x, y, 0.5, scale=2.0).sum().backward()
    assert SEEN == [[True, True, False]]
    assert x.grad.item() == pytest.approx(24 * math.exp(0.5)) and y.grad.item() == pytest.approx(8 * math.exp(0.5))
    SEEN.clear()
    gradients([cubic(x, y, leaf(0))], [y], [np.ones(1)])
    assert SEEN == [[False, True, False]]


def test_higher_orders_differentiate_the_formula() -> None:
    x, y, z = leaf(2), leaf(3), leaf(0.5)
    SEEN.clear()
    gx, gz = gradients([cubic(x, y, z)], [x, z], [np.ones(1)], create_graph=True)
    assert SEEN == []
    e = math.exp(0.5)
    assert gx.item() == pytest.approx(12 * e) and gz.item() == pytest.approx(12 * e)
    assert [g.item() for g in gradients([gx], [x, y, z], [np.ones(1)])] == pytest.approx([6 * e, 4 * e, 12 * e])


def test_a_repeated_argument_counts_once_a_slot_in_every_order() -> None:
    """cubic(x, x, x) = x³eˣ."""

    def polynomial(x: float, a: float, b: float, c: float) -> float:  # x³ + a x² + b x + c times eˣ
        return (x**3 + a * x**2 + b * x + c) * math.exp(x)

    x = leaf(0.7)
    y = cubic(x, x, x)
    values = [y]
    for order in (1, 2, 3):
        values.append(derivative(values[-1], x))
        first_order = derivative(values[-2], x, create_graph=False)
        expected = polynomial(0.7, *[(3, 0, 0), (6, 6, 0), (9, 18, 6)][order - 1])
        assert values[-1].item() == pytest.approx(expected, rel=1e-13)
        assert first_order.item() == pytest.approx(expected, rel=1e-13)

    def first(v: float) -> float:
        p = leaf(v)
        return float(derivative(cubic(p, p, p), p, create_graph=False).item())

    assert values[1].item() == pytest.approx(slope(lambda v: v**3 * math.exp(v), 0.7), rel=1e-9)
    assert values[2].item() == pytest.approx(slope(first, 0.7), rel=1e-9)
    assert values[3].item() == pytest.approx(slope(lambda v: slope(first, v), 0.7), rel=1e-7)


def test_inputs_of_a_fused_op_that_derive_from_one_another() -> None:
    """cubic(x, x², sin x) = x⁴ e^(sin x), in two orders, and with respect to the middle value too."""
    x = leaf(0.7)
    square = x * x
    y = cubic(x, square, ops.sin(x))

    def value(v: float) -> float:
        return v**4 * math.exp(math.sin(v))

    gx, gs = gradients([y], [x, square], [np.ones(1)], create_graph=True)
    assert gx.item() == pytest.approx(slope(value, 0.7), rel=1e-9)
    assert gs.item() == pytest.approx(0.7**2 * math.exp(math.sin(0.7)))
    assert derivative(gx, x).item() == pytest.approx(slope(lambda v: slope(value, v), 0.7), rel=1e-7)


def test_a_fused_op_of_several_outputs_one_of_them_used() -> None:
    x = leaf(0.3)
    s, c = sincos(x)
    assert derivative(s, x, create_graph=False).item() == pytest.approx(math.cos(0.3))
    g = derivative(s * c, x)
    assert g.item() == pytest.approx(math.cos(0.6)) and derivative(g, x).item() == pytest.approx(-2 * math.sin(0.6))
    assert derivative(derivative(c, x), x).item() == pytest.approx(-math.cos(0.3))


def test_a_formula_may_return_an_argument_or_ignore_one() -> None:
    @fused(formula=lambda x, y: x, backward=lambda g, out, x, y, needs: [g, None])
    def first(x: Any, y: Any) -> Any:
        return x.copy()

    x, y = leaf(2), leaf(3)
    for create_graph in (False, True):
        gx, gy = gradients([first(x * x, y)], [x, y], [np.ones(1)], create_graph=create_graph)
        assert gx.item() == 4 and gy is None
    assert derivative(derivative(first(x * x, y), x), x).item() == 2


# ---- orders


CLOSED_FORMS: dict[str, tuple[Callable[[Any], Any], Callable[[float], list[float]]]] = {
    "exp": (ops.exp, lambda x: [math.exp(x)] * 5),
    "sin": (ops.sin, lambda x: [math.sin(x), math.cos(x), -math.sin(x), -math.cos(x), math.sin(x)]),
    "log": (ops.log, lambda x: [math.log(x), 1 / x, -1 / x**2, 2 / x**3, -6 / x**4]),
    "reciprocal": (lambda x: 1 / x, lambda x: [1 / x, -1 / x**2, 2 / x**3, -6 / x**4, 24 / x**5]),
    "polynomial": (
        lambda x: 3 * x**5 - x * x + 2,
        lambda x: [3 * x**5 - x * x + 2, 15 * x**4 - 2 * x, 60 * x**3 - 2, 180 * x**2, 360 * x],
    ),
    "tanh": (
        ops.tanh,
        lambda x: [
            (t := math.tanh(x)),
            1 - t * t,
            -2 * t * (1 - t * t),
            (1 - t * t) * (6 * t * t - 2),
            (1 - t * t) * (16 * t - 24 * t**3),
        ],
    ),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_derivatives_up_to_the_fourth_match_closed_forms(name: str) -> None:
    f, closed = CLOSED_FORMS[name]
    x = leaf(0.8)
    y = f(x)
    for expected in closed(0.8):
        assert y.item() == pytest.approx(expected, rel=1e-12)
        y = derivative(y, x)


def test_a_gradient_without_create_graph_has_no_graph() -> None:
    x = leaf(2)
    y = x * x
    assert derivative(y, x, create_graph=False).node is None
    y.sum().backward()
    assert x.grad.node is None and not x.grad.requires_grad
    x.grad = None
    (x * x).sum().backward(create_graph=True)
    assert x.grad.requires_grad
    assert derivative(x.grad, x).item() == 2


def test_gradients_with_respect_to_a_middle_value_and_its_origin() -> None:
    x = leaf(2)
    h = x * x
    y = h * x
    gx, gh = gradients([y], [x, h], [np.ones(1)])
    assert gx.item() == 12 and gh.item() == 2  # total derivatives
    gx, gh = gradients([y], [x, h], [np.ones(1)], stop=True)
    assert gx.item() == 4 and gh.item() == 2  # x and h taken as independent


def test_gradients_of_several_outputs_repeated_and_leaves_among_them() -> None:
    x, y = leaf(2), leaf(3)
    product = x * y
    gx, gy = gradients([product, product, x], [x, y], [np.ones(1), np.ones(1), np.full(1, 10.0)])
    assert gx.item() == 16 and gy.item() == 4
    assert gradients([product], [leaf(1)], [np.ones(1)]) == [None]
    x.sum().backward()
    x.backward(np.array([5.0]))
    assert x.grad.item() == 6


# ---- wrong ops and rules


def test_a_row_or_a_number_of_rules_that_cannot_be() -> None:
    with pytest.raises(DTypeError, match="_add: an op has no sample"):
        primitive(vjp=None, sample=1)(_add)
    for rules in ((), (lambda g, out, x, y: g,), (lambda g, out, x, y: g, None)):
        with pytest.raises(GradientError, match=r"_add\(x.* vjp holds \d rules, expected .* 2 arrays"):
            primitive(vjp=rules)(_add)
    with pytest.raises(GradientError, match="vjp holds 1 rules"):
        primitive(vjp=(lambda g, out, *xs: g,))(_sum_of)


def _sum_of(*arrays: Any) -> Any:
    return sum(arrays)


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda g, x, y: [g], "must return a list of 2"),
        (lambda g, x, y: [g, g, g], "must return a list of 2"),
        (lambda g, x, y: g, "must return a list of 2"),
        (lambda g, x, y: None, "must return a list of 2"),
        (lambda g, x, y: [0.0, g], r"a rule returned 0.0 where a gradient of shape \(2, 3\) is due"),
        (lambda g, x, y: [g.sum(), g], r"returned \(\) where a gradient of shape \(2, 3\)"),
        (lambda g, x, y: [g[:, :2], g], r"returned \(2, 2\) where a gradient of shape \(2, 3\)"),
        (lambda g, x, y: [g.swapaxes(0, 1), g], r"returned \(3, 2\) where a gradient of shape \(2, 3\)"),
        (lambda g, x, y: [g.reshape(6), g], r"returned \(6,\) where a gradient of shape \(2, 3\)"),
        (lambda g, x, y: [g, g.reshape(1, 3, 2)], r"returned \(1, 3, 2\) where a gradient of shape \(2, 3\)"),
    ],
)
def test_a_wrong_rule_is_named(result: Callable[..., Any], message: str, create_graph: bool) -> None:
    @primitive(vjp=lambda g, out, x, y, needs: result(g, x, y))
    def plus(x: Any, y: Any) -> Any:
        return x + y

    x, y = (tz.tensor(np.ones((2, 3)), requires_grad=True) for _ in range(2))
    with pytest.raises(GradientError, match=f"plus: .*{message}"):
        plus(x, y).backward(np.ones((2, 3)), create_graph=create_graph)


def test_an_op_of_a_users_own_in_one_definition() -> None:
    @primitive(vjp=(lambda g, out, x, power: g * power * x ** (power - 1),))
    def raised(x: Any, *, power: int = 2) -> Any:
        """x to the power."""
        return x**power

    assert repr(raised) == raised.__name__ == "raised" and raised.__doc__ == "x to the power."
    x = leaf(2)
    y = raised(x, power=5)
    for expected in (32, 80, 160, 240):
        assert y.item() == expected
        y = derivative(y, x)

    class Vector(Tensor):
        to_the = raised  # an op in a class body is a method

    assert Vector.to_the is raised
    assert Vector(np.array([3.0])).to_the(3).item() == 27


def test_ops_are_copied_and_pickled_like_functions() -> None:
    assert copy.copy(ops.add) is copy.deepcopy([ops.add])[0] is pickle.loads(pickle.dumps(ops.add)) is ops.add


# ---- Variables by themselves


def test_a_variable_holds_an_array() -> None:
    for wrong in (1.0, [1.0], np.float64(1), tz.tensor([1.0]), None):
        with pytest.raises(DTypeError, match=r"expected an array, got .*; write tinygrad_zoo.tensor\(...\)"):
            Tensor(wrong)
        with pytest.raises(DTypeError, match="expected an array"):
            tz.zeros(2).data = wrong
    with pytest.raises(DTypeError, match="real numbers or booleans, got complex128"):
        Tensor(np.ones(2, complex))


def test_a_node_never_points_at_the_tensors_it_made() -> None:
    y = leaf(1) * 2
    assert isinstance(y.node, Node)
    held = [getattr(y.node, slot, None) for slot in Node.__slots__ if slot != "__weakref__"]
    assert not any(v is y for v in held) and not any(isinstance(o, Variable) for o in y.node.outputs)


def test_a_gradient_that_nobody_else_holds_is_kept_without_a_copy() -> None:
    made: list[int] = []

    def doubled(g: Any, out: Any, x: Any) -> Any:
        found = 2 * g
        made.append(id(found))
        return found

    double = primitive(vjp=(doubled,))(lambda x: 2 * x)
    x, y = (tz.tensor(np.ones(3), requires_grad=True) for _ in range(2))
    double(x).backward(np.ones(3))
    assert [id(x.grad.data)] == made
    held: list[Any] = []
    primitive(vjp=(lambda g, out, x: held.append(3 * g) or held[-1],))(lambda x: 3 * x)(y).backward(np.ones(3))
    assert y.grad.data is not held[0] and np.array_equal(y.grad.data, held[0])

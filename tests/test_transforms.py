"""Derivatives as functions, against closed forms and finite differences; and recomputation."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.autograd import gradients, primitive
from tinygrad_zoo.errors import DTypeError, GradientError, NonFiniteError, ShapeError, UsageError
from tinygrad_zoo.grad_mode import observe
from tinygrad_zoo.tensor import Tensor

W = np.array([[1.0, -2.0, 0.5], [0.3, 0.7, -1.0]])


def f(x: Any) -> Any:
    """(3,) → (2,), nonlinear and with a dense second derivative."""
    return tz.tanh(tz.tensor(W) @ x) * x.sum()


def scalar(x: Any) -> Any:
    return (f(x) ** 2).sum()


def difference(function: Callable[[Any], Any], x: Any, h: float = 1e-3) -> Any:
    """The Jacobian by a stencil of fourth order, the input's axes last."""
    columns = []
    for at in np.ndindex(x.shape):
        e = np.zeros_like(x)
        e[at] = h
        values = [np.asarray(function(tz.tensor(x + k * e)).data) for k in (1, -1, 2, -2)]
        columns.append((8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h))
    return np.stack(columns, -1).reshape(*columns[0].shape, *x.shape)


X = np.array([0.3, -0.5, 0.8])
V = np.array([1.0, 2.0, -1.0])


def close(actual: Any, expected: Any) -> None:
    np.testing.assert_allclose(getattr(actual, "data", actual), expected, rtol=1e-8, atol=1e-9)


def test_grad_and_value_and_grad() -> None:
    value, g = tz.value_and_grad(scalar)(X)
    close(value, scalar(tz.tensor(X)).data)
    close(g, difference(scalar, X))
    close(tz.grad(scalar)(tz.tensor(X)), g.data)
    assert value.node is None and g.node is None and tz.is_grad_enabled()
    with tz.no_grad():
        close(tz.grad(scalar)(X), g.data)


def test_grad_of_grad_to_the_fourth() -> None:
    derivative: Callable[..., Any] = lambda x: x**5
    for expected in (80, 160, 240, 240):
        derivative = tz.grad(derivative)
        assert derivative(tz.tensor(2.0)).item() == expected
    assert tz.grad(lambda x: x * x)(3.0).dtype == np.float32


def test_several_arguments_settings_and_what_is_not_used() -> None:
    def function(x: Any, n: int, y: Any, *, scale: float) -> Any:
        return (x * x * n).sum() * scale

    x, y = tz.tensor([1.0, 2.0]), tz.tensor([5.0])
    gx, gy = tz.grad(function, (0, 2))(x, 3, y, scale=10.0)
    assert gx.tolist() == [60, 120] and gy.tolist() == [0]
    assert tz.grad(function, -1)(x, 3, y, scale=1.0).tolist() == [0]
    assert tz.grad(lambda x: tz.tensor(1.0))(x).tolist() == [0, 0]
    assert tz.grad(lambda x, y: (x * y).sum(), (0, 1))(x, x)[1].tolist() == [1, 2]  # one tensor, two arguments


def test_a_gradient_stays_in_the_graph_of_what_it_was_made_of() -> None:
    x = tz.tensor(2.0, requires_grad=True)
    h = x * x
    g = tz.grad(lambda y: y**3)(h)  # 3 x⁴
    g.backward()
    assert g.item() == 48 and x.grad.item() == 12 * 8
    w = tz.tensor(3.0, requires_grad=True)  # captured: a critic's weight in a gradient penalty
    tz.grad(lambda y: w * w * y)(tz.tensor(1.0)).backward()
    assert w.grad.item() == 6
    with tz.no_grad():
        assert tz.grad(lambda y: w * y)(x).node is None


def test_vjp_and_jvp_are_adjoint_and_match_the_jacobian() -> None:
    jacobian = difference(f, X)
    out, pull = tz.vjp(f, X)
    u = np.array([2.0, -3.0])
    close(pull(u)[0], u @ jacobian)
    close(pull(2 * u)[0], 2 * u @ jacobian)  # as often as one likes
    value, pushed = tz.jvp(f, [X], [V])
    close(value, out.data)
    close(pushed, jacobian @ V)
    close((tz.tensor(u) * pushed).sum(), float((pull(u)[0].data * V).sum()))


def test_vjp_passes_over_what_has_no_gradient() -> None:
    out, pull = tz.vjp(lambda x, n, how, i: x[i] * n if how == "scaled" else x, X, 2, "scaled", np.array([0, 0]))
    assert out.tolist() == [0.6, 0.6]
    assert [g.tolist() for g in pull([1, 1])] == [[4, 0, 0]]


def test_jvp_of_several_arguments_and_of_constants() -> None:
    x, y = tz.tensor(np.array([1.0, 2.0])), tz.tensor(np.array(3.0))
    out, pushed = tz.jvp(lambda x, y: x * x * y, [x, y], [np.ones(2), np.array(10.0)])
    assert out.tolist() == [3, 12] and pushed.tolist() == [6 + 10, 12 + 40]
    for constant in (lambda x: tz.zeros(2), lambda x: x.detach() * 1, lambda x: tz.sign(x)):
        assert tz.jvp(constant, [x], [np.ones(2)])[1].tolist() == [0, 0]
    close(tz.jvp(lambda x: tz.cross_entropy(x, tz.tensor(1)), [X], [V])[1], difference(_loss, X) @ V)  # a fused op


def _loss(x: Any) -> Any:
    return tz.cross_entropy(x, tz.tensor(1))


def test_jvp_is_differentiable_in_primals_and_tangents() -> None:
    x, t = tz.tensor(np.array(2.0), requires_grad=True), tz.tensor(np.array(5.0), requires_grad=True)
    pushed = tz.jvp(lambda x: x**3, [x], [t])[1]
    gx, gt = gradients([pushed], [x, t], [np.ones(())])
    assert (pushed.item(), gx.item(), gt.item()) == (60, 60, 12)


def test_jacobian_hessian_and_hvp() -> None:
    close(tz.jacobian(f)(X), difference(f, X))
    hessian = difference(tz.grad(scalar), X)
    close(tz.hessian(scalar)(X), hessian)
    close(tz.hvp(scalar, X, V), hessian @ V)
    assert tz.jacobian(lambda x: x.reshape(3, 1) * x)(X).shape == (3, 3, 3)
    assert tz.jacobian(lambda x: x[:0])(X).shape == (0, 3)
    third = tz.jacobian(tz.hessian(lambda x: (x**3).sum()))(X)
    close(third, 6 * np.einsum("ij,jk->ijk", np.eye(3), np.eye(3)))
    jx, jy = tz.jacobian(lambda x, y: x * y, (0, 1))(X, V)
    close(jx, np.diag(V))
    close(jy, np.diag(X))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tz.grad(f)(X), ShapeError, r"must return one number, it returned shape \(2,\); jacobian"),
        (lambda: tz.grad(lambda x: 3.0)(X), DTypeError, "must return a Tensor, it returned a float"),
        (lambda: tz.jacobian(lambda x: (x, x))(X), DTypeError, "must return a Tensor, it returned a tuple"),
        (lambda: tz.grad(scalar)(2), DTypeError, "argument 0 has no gradient: expected a floating-point tensor, got 2"),
        (lambda: tz.grad(scalar)(tz.tensor([1])), DTypeError, "argument 0 has no gradient"),
        (lambda: tz.grad(scalar, 1)(X), UsageError, "there is no argument 1, the function was given 1"),
        (lambda: tz.vjp(f, X)[1](np.ones(3)), ShapeError, r"shape \(2,\), so expected v of that shape, got \(3,\)"),
        (lambda: tz.jvp(f, [X], []), ShapeError, "1 primals need as many tangents, got 0"),
        (lambda: tz.jvp(f, [X], [np.ones(2)]), ShapeError, r"shape \(3,\), so expected a tangent .*got \(2,\)"),
        (lambda: tz.hvp(scalar, X, np.ones(2)), ShapeError, r"x has shape \(3,\)"),
        (lambda: tz.checkpoint(lambda x: 1.0, tz.tensor(X)), DTypeError, "checkpoint: the function must return"),
    ],
)
def test_wrong_calls(call: Callable[[], Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()
    assert tz.is_grad_enabled()


# ---- recomputation


def test_checkpoint_gives_the_gradients_of_the_function_in_every_mode() -> None:
    x, w = tz.tensor(X, requires_grad=True), tz.tensor(W, requires_grad=True)

    def block(v: Any) -> Any:
        return tz.layer_norm(tz.tanh(w @ v) * v.sum() + w[:, 0])

    for create_graph in (True, False):
        plain = gradients([block(x)], [x, w], [np.array([1.0, 2.0])], create_graph=create_graph)
        again = gradients([tz.checkpoint(block, x)], [x, w], [np.array([1.0, 2.0])], create_graph=create_graph)
        for a, b in zip(plain, again, strict=True):
            np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-15)
    with observe(lambda *call: None):
        watched = gradients([tz.checkpoint(block, x)], [x, w], [np.array([1.0, 2.0])])
    for a, b in zip(plain, watched, strict=True):
        assert a.data.tobytes() == b.data.tobytes()


def test_checkpoint_has_a_second_derivative() -> None:
    x, w = tz.tensor(2.0, requires_grad=True), tz.tensor(3.0, requires_grad=True)
    y = tz.checkpoint(lambda v: w * w * v**3, x)
    (g,) = gradients([y], [x], [np.ones(())], create_graph=True)
    assert [v.item() for v in (g, *gradients([g], [x, w], [np.ones(())]))] == [108, 108, 72]


def test_checkpoint_keeps_nothing_and_recomputes_once_a_walk() -> None:
    runs: list[Any] = []

    def block(v: Any) -> Any:
        hidden = tz.exp(v) * v
        runs.append(weakref.ref(hidden.node))
        return hidden * 2

    x = tz.tensor(X, requires_grad=True)
    gc.collect()
    gc.disable()
    try:
        y = tz.checkpoint(block, x)
        assert len(runs) == 1 and runs[0]() is None
        y.sum().backward()
        assert len(runs) == 2 and runs[1]() is None
        np.testing.assert_allclose(x.grad.data, 2 * np.exp(X) * (1 + X), rtol=1e-12)
        node = weakref.ref(y.node)
        del y
        assert node() is None
    finally:
        gc.enable()


def test_checkpoint_draws_the_same_dropout_and_leaves_the_stream_alone() -> None:
    def block(v: Any, rng: np.random.Generator) -> Any:
        return tz.dropout(v * v, tz.draw_key(rng), p=0.5)

    x = tz.ones(64).requires_grad_()
    rng, other = np.random.default_rng(7), np.random.default_rng(7)
    y = tz.checkpoint(lambda v: block(v, rng), x)
    expected = block(x, other)
    assert y.tolist() == expected.tolist()
    (a,), (b,) = (gradients([out], [x], [np.ones(64, np.float32)]) for out in (y, expected))
    assert a.tolist() == b.tolist() and set(a.tolist()) == {0.0, 4.0}
    assert rng.bit_generator.state == other.bit_generator.state


def test_checkpoint_of_several_outputs_nested_and_without_gradient() -> None:
    x = tz.tensor(X, requires_grad=True)
    one, two = tz.checkpoint(lambda v: (v * v, tz.checkpoint(tz.exp, v)), x)
    (one + 2 * two).sum().backward()
    np.testing.assert_allclose(x.grad.data, 2 * X + 2 * np.exp(X), rtol=1e-12)
    x.grad = None
    tz.checkpoint(lambda v: (v * v, tz.exp(v)), x)[0].sum().backward()
    np.testing.assert_allclose(x.grad.data, 2 * X, rtol=1e-12)
    with tz.no_grad():
        assert tz.checkpoint(tz.exp, x).node is None
    assert tz.checkpoint(tz.exp, tz.tensor(X)).node is None
    w = tz.tensor(X, requires_grad=True)
    middle = w * 2  # captured, and itself made by an op
    tz.checkpoint(lambda v, n: v * middle * n, tz.tensor(X), 3).sum().backward()
    np.testing.assert_allclose(w.grad.data, 6 * X, rtol=1e-12)


def test_checkpoint_of_what_was_written_meanwhile_raises() -> None:
    x, w = tz.tensor(X, requires_grad=True), tz.tensor(X, requires_grad=True)

    def scaled(v: Any) -> Any:
        return v * w

    y = tz.checkpoint(scaled, x).sum()
    w.data[...] = 0
    w.mark_written()
    with pytest.raises(GradientError, match=r"checkpoint\(scaled\): its argument \[1\] was written"):
        y.backward()


def test_an_error_in_the_recomputation_names_the_op() -> None:
    @primitive(vjp=(lambda g, out, v: g / (v * 0),))
    def bad_slope(v: Any) -> Any:
        return v * 1

    x = tz.tensor(X, requires_grad=True)
    with pytest.raises(NonFiniteError, match=r"backward: div made 3 .* gradient of bad_slope"), tz.detect_anomaly():
        tz.checkpoint(bad_slope, x).sum().backward()
    assert type(x) is Tensor and x.grad is None


def test_checkpoint_takes_arguments_of_any_kind() -> None:
    x = tz.tensor([2.0], requires_grad=True)
    tz.checkpoint(lambda xs, mode, n: xs[0] * n if mode == "times" else xs[0], [x], "times", 3).sum().backward()
    assert x.grad.tolist() == [3.0]
    assert not tz.checkpoint(lambda a, b: a + b, tz.tensor([1.0]), 2).requires_grad


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda x: tz.grad(x), r"grad, value_and_grad: function is a Tensor, .* write loss\.backward\(\)"),
        (lambda x: tz.jacobian(x), r"jacobian: function is a Tensor, expected a function: write jacobian\(f\)"),
        (lambda x: tz.checkpoint(x, x), r"checkpoint: function is a Tensor, expected a function"),
    ],
)
def test_a_tensor_in_place_of_a_function_is_refused(call: Any, text: str) -> None:
    with pytest.raises(DTypeError, match=text):
        call(tz.ones(1))

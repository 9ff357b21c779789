"""`tinygrad_zoo.testing` itself: it notices wrong gradients and broken laws, and never complains of right ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_zoo as tz
from tinygrad_zoo import fused, ops, primitive
from tinygrad_zoo.autograd import Op, gradients
from tinygrad_zoo.errors import DTypeError, MissingDependencyError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.ops.sampling import Draw
from tinygrad_zoo.testing import (
    LAYOUTS,
    GradientCheckError,
    LawError,
    arrays,
    axes,
    broadcastable_shapes,
    check_gradients,
    check_report,
    dtypes,
    indices,
    layouts,
    op_laws,
    public_ops,
    seeds,
    shapes,
    zero_stride,
)


def squared(rule: Callable[..., Any], forward: Callable[[Any], Any] = lambda x: x * x, **row: Any) -> Op:
    """x² with the given rule."""

    def square_of(x: Any) -> Any:
        return forward(x)

    row = {"samples": lambda r: [(r(2, 3),)], "reference": np.square, **row}
    return primitive(vjp=(rule,), **row)(square_of)


RIGHT = squared(lambda g, out, x: 2 * g * x)


# ---- check_gradients: what is right passes
RIGHT_FUNCTIONS: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "a matrix product": (lambda x, y: tz.tanh(x @ y), (np.ones((2, 3)) / 3, np.arange(12.0).reshape(3, 4) / 9)),
    "more than 256 entries": (lambda x: tz.exp(-x * x).sum(axis=0), (np.linspace(-2, 2, 400).reshape(20, 20),)),
    "float32 and float16": (lambda x, y: x * tz.sin(y), (np.ones(3, dtype=np.float32), np.ones(3, dtype=np.float16))),
    "a scalar array": (lambda x: tz.exp(x), (np.float64(0.3),)),
    "a constant": (lambda x: tz.ones(3, dtype="float64"), (np.ones(3),)),
    "linear": (lambda x: x.sum(axis=0), (np.ones((3, 2)),)),
    "numbers and None": (lambda x, n, nothing: x**n, (np.array([0.5, 2.0]), 3, None)),
    "integers": (lambda x, i: x[i], (np.array([0.5, 2.0]), np.array([0, 1, 1]))),
    "a key": (lambda x, key: tz.dropout(x, key, p=0.3), (np.ones(20), np.arange(4, dtype=np.uint32))),
    "a generator": (lambda x, rng: x * tz.randn(3, rng=rng, dtype="float64"), (np.ones(3), np.random.default_rng(0))),
    "several outputs": (lambda x: (x * x, tz.exp(x), x.argmax()), (np.array([0.2, 0.9]),)),
    "one tensor returned twice": (lambda x: (x, x), (np.array([0.2, 0.9]),)),
    "no entries": (lambda x: tz.exp(x).sum(), (np.ones((0, 3)),)),
    "far from 1: large": (lambda x: x * x, (np.array([1e8, -3e8]),)),
    "far from 1: small": (lambda x: tz.log(x), (np.array([1e-6, 3e-6]),)),
    "far from 1: both": (lambda x: tz.log(x), (np.array([1e-6, 3.0]),)),
    "saturated": (lambda x: tz.sigmoid(x), (np.array([30.0, 25.0, -700.0]),)),
    "underflown": (lambda x: tz.gelu(x), (np.array([-8.2, -22.0]),)),
    "near a pole": (lambda x: 1 / x, (np.array([1e-2, -1e-3]),)),
    "a gradient itself": (
        lambda x: tz.tensor(2.0, dtype="float64") * _gradient_norm(x),
        (np.array([0.5, -1.5]),),
    ),
}


def _gradient_norm(x: Any) -> Any:
    leaf = x if x.requires_grad else tz.tensor(x, requires_grad=True)
    (g,) = gradients([tz.exp(leaf).sum()], [leaf], [tz.tensor(np.float64(1.0))], create_graph=True)
    return (g * g).sum()


@pytest.mark.parametrize("name", RIGHT_FUNCTIONS)
def test_a_right_gradient_passes(name: str) -> None:
    fn, inputs = RIGHT_FUNCTIONS[name]
    for seed in range(3):
        assert check_gradients(fn, *inputs, seed=seed).worst < 1e-6


def test_aliased_and_tracked_inputs_are_copied() -> None:
    x = tz.tensor([0.5, 2.0], requires_grad=True)
    before = x.numpy().copy()
    check_gradients(lambda a, b, c: a * b + c, x, x, x.detach())
    assert x.grad is None and x.dtype == "float32" and (x.numpy() == before).all()


def test_settings_reach_the_function_and_orders_are_counted() -> None:
    check = check_gradients(ops.sum, np.ones((2, 3)), axis=1, keepdims=True, order=3)
    assert len(check.comparisons) == 3 and all(check.comparisons)


@settings(max_examples=30)
@given(st.data())
def test_right_gradients_pass_at_any_point(data: st.DataObject) -> None:
    left, right = data.draw(broadcastable_shapes(2, max_side=3))
    x, y = data.draw(arrays(left)), data.draw(arrays(right, "positive"))
    check_gradients(lambda x, y: tz.exp(tz.sin(x) / y) * y, x, y, seed=data.draw(seeds()))


# ---- check_gradients: what is wrong is noticed
def _entry_wrong(g: Any, out: Any, x: Any) -> Any:
    factors = np.ones(x.shape)
    factors[3, 7] = 1.5
    return 2 * g * x * factors


WRONG: dict[str, tuple[Callable[..., Any], Any, str]] = {
    "the sign": (lambda g, out, x: -2 * g * x, np.array([0.5, 2.0]), "entry (0,)"),
    "a thousandth": (lambda g, out, x: 2.002 * g * x, np.array([0.5, 2.0]), "entry (0,)"),
    "a thousandth of many": (lambda g, out, x: 2.002 * g * x, np.linspace(1, 2, 300), "entry (0,)"),
    "one entry of many": (_entry_wrong, np.linspace(1, 2, 300).reshape(10, 30), "entry (3, 7)"),
    "missing": (lambda g, out, x: None, np.array([0.5, 2.0]), "entry (0,)"),
    "g ignored": (lambda g, out, x: 2 * x, np.array([0.5, 2.0]), "entry (0,)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_gradient_is_noticed_and_located(name: str) -> None:
    rule, x, entry = WRONG[name]
    with pytest.raises(GradientCheckError) as caught:
        check_gradients(squared(rule), x, seed=17)
    message = str(caught.value)
    assert message.startswith(f"square_of, x (input 0), {entry}"), message
    assert "the rule gives" in message and "finite differences" in message and "seed=17" in message
    assert caught.value.order == 1 and isinstance(caught.value, AssertionError | TinygradZooError)


SECOND_ORDER_WRONG: dict[str, Op] = {
    "the input taken as constant": squared(lambda g, out, x: 2 * g * getattr(x, "data", x)),
    "the cotangent taken as constant": squared(
        lambda g, out, x: 2 * x * (tz.tensor(g.data) if isinstance(g, tz.Tensor) else g)
    ),
    "the gradient with a graph is another": squared(
        lambda g, out, x: 2 * g * x * (1.001 if isinstance(g, tz.Tensor) else 1.0)
    ),
    "the formula is another function": fused(
        formula=lambda x: x * x * 1.001, backward=lambda g, out, x, needs: [2 * g * x]
    )(lambda x: x * x),
}


@pytest.mark.parametrize("name", SECOND_ORDER_WRONG)
def test_a_wrong_second_derivative_is_noticed(name: str) -> None:
    x = np.array([0.5, 2.0])
    check_gradients(SECOND_ORDER_WRONG[name], x, order=1)
    with pytest.raises(GradientCheckError, match="the gradient of") as caught:
        check_gradients(SECOND_ORDER_WRONG[name], x)
    assert caught.value.order == 2


def test_the_input_and_the_output_are_named() -> None:
    wrong = primitive(vjp=(lambda g, out, left, right: g, lambda g, out, left, right: -1.001 * g))(
        lambda left, right: left - right
    )
    with pytest.raises(GradientCheckError, match=r"right \(input 1\), entry \(0, 0\), for entry \(0, 0\) of output 0"):
        check_gradients(wrong, np.ones(2), np.array([[1.0], [2.0]])[:1], directions=0)  # the Jacobian alone
    with pytest.raises(GradientCheckError, match=r"right \(input 1\)"):
        check_gradients(wrong, np.ones(2), np.ones(2))


# ---- check_gradients: what cannot be checked is said
def test_what_cannot_be_checked_is_said() -> None:
    x = np.array([0.5, 2.0])
    drawn = np.random.default_rng(0)
    cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (GradientCheckError, "not finite", lambda: check_gradients(tz.log, -x)),
        (GradientCheckError, "not finite", lambda: check_gradients(tz.sqrt, np.zeros(1))),
        (GradientCheckError, "two different values", lambda: check_gradients(lambda x: x * drawn.random(), x)),
        (GradientCheckError, "decide nothing|wrong along", lambda: check_gradients(_by_float32, x)),
        (GradientCheckError, "decide nothing", lambda: check_gradients(lambda x: tz.sin(1e10 * x), x)),
        (UsageError, "none of the inputs", lambda: check_gradients(tz.eq, np.array([1]), 2)),
        (UsageError, "no floating-point output", lambda: check_gradients(tz.argmax, x)),
        (UsageError, "order >= 1", lambda: check_gradients(tz.exp, x, order=0)),
        (DTypeError, "returned a ndarray", lambda: check_gradients(lambda x: x.numpy(), x)),
    ]
    for kind, words, call in cases:
        with np.errstate(divide="ignore"), pytest.raises(kind, match=words):
            call()


def _by_float32(x: Any) -> Any:
    return tz.exp(x.to("float32")).to("float64")


# ---- laws
def _writes(x: Any) -> Any:
    out = x * x
    x += 0.0
    return out


class _Keeper:
    """A rule that holds on to graphs."""

    kept: list[Any]

    def __init__(self) -> None:
        self.kept = []

    def __call__(self, g: Any, out: Any, x: Any) -> Any:
        self.kept.append(out)
        return 2 * g * x


class _Unsteady:
    """x², differing by one rounding between calls."""

    calls = 0

    def __call__(self, x: Any) -> Any:
        self.calls += 1
        return x * x * (1 + 4e-16 * (self.calls % 2))


BROKEN: dict[str, tuple[Op, str]] = {
    "no samples": (squared(lambda g, out, x: 2 * g * x, samples=None), "lacks samples"),
    "no reference": (squared(lambda g, out, x: 2 * g * x, reference=None), "lacks a reference"),
    "empty samples": (squared(lambda g, out, x: 2 * g * x, samples=lambda r: []), "samples are empty"),
    "wrong values": (squared(lambda g, out, x: 2 * g * x, reference=lambda x: 1.00001 * x * x), "the reference is"),
    "one value wrong": (
        squared(lambda g, out, x: 2 * g * x, reference=lambda x: x * x + 1e-3 * (x == x.max())),
        "the reference is",
    ),
    "another shape": (squared(lambda g, out, x: 2 * g * x, reference=lambda x: (x * x)[None]), "the reference is"),
    "another dtype out": (squared(lambda g, out, x: 2 * g * x, lambda x: (x * x).astype("float64")), "dtypes"),
    "writes to its input": (squared(lambda g, out, x: 2 * g * x, _writes), "read-only"),
    "shares memory": (
        primitive(vjp=(lambda g, out, x: g,), samples=lambda r: [(r(2, 3),)], reference=np.asarray)(lambda x: x[...]),
        "view=True",
    ),
    "keeps the graph": (squared(_Keeper()), "outlives"),
    "unsteady": (squared(lambda g, out, x: 2 * g * x, _Unsteady()), "deterministic"),
    "depends on the layout": (
        squared(lambda g, out, x: 2 * g * x, lambda x: x * x * (1.0 if x.flags.c_contiguous else 1.001)),
        "layouts",
    ),
    "the rule depends on the layout": (
        squared(
            lambda g, out, x: (
                2 * g * x * (1.001 if isinstance(g, np.ndarray) and g.ndim > 1 and not g.flags.c_contiguous else 1.0)
            )
        ),
        "layouts",
    ),
    "accepts any shape": (
        primitive(
            vjp=(lambda g, out, x, y: g * y, lambda g, out, x, y: g * x),
            samples=lambda r: [(r(3), r(1))],
            reference=np.multiply,
        )(lambda x, y: x * y.ravel()[0]),
        "was accepted",
    ),
    "not linear in g": (
        squared(lambda g, out, x: 2 * g * x + 1e-7 * g * g, samples=lambda r: [(10 * r(2, 3),)]),
        "",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_law_is_noticed(name: str) -> None:
    op, words = BROKEN[name]
    with pytest.raises(TinygradZooError) as caught:
        op_laws(op, 3)
    assert words in str(caught.value)
    if op.samples is not None and op.reference is not None:
        assert "op_laws(square_of, seed=3)" in caught.value.__notes__[0] or "<lambda>" in caught.value.__notes__[0]


def test_laws_hold_and_count_what_ran() -> None:
    ran = op_laws(RIGHT, 3)
    assert ran.order1 and ran.order2 and {"forward", "dtypes", "layouts", "vjp", "writes", "freed"} <= set(ran.laws)
    assert op_laws(ops.eq).order1 == 0


def test_a_comparison_in_which_the_rule_did_not_run_is_not_counted() -> None:
    """The op's own rule must be seen to run: comparing zeros with zeros is no check of it."""
    flat = primitive(vjp=(lambda g, out, x: None,), samples=lambda r: [(r(2),)], reference=np.floor)(
        lambda x: np.floor(x).astype(np.int64)
    )
    assert flat.samples is not None
    with pytest.raises(TinygradZooError):
        op_laws(flat)


def test_laws_leave_the_row_as_it_was() -> None:
    before = vars(ops.layer_norm).copy(), vars(ops.layer_norm.backward).copy()
    op_laws(ops.layer_norm)
    assert (vars(ops.layer_norm), vars(ops.layer_norm.backward)) == before


# ---- the report
def test_the_report_has_a_line_an_op() -> None:
    lines = list(check_report(["mul", "eq"], examples=2))
    assert [list(line) for line in lines] == [["op", "backend", "order1", "order2", "examples", "worst"]] * 2
    assert [(line["op"], line["order1"], line["order2"]) for line in lines] == [
        ("mul", "passed", "passed"),
        ("eq", "integer", "integer"),
    ]
    assert lines[0]["examples"] == 2 and 0 < lines[0]["worst"] < 1e-8
    assert next(check_report("exp", examples=1))["op"] == "exp"


@pytest.mark.parametrize(
    ("rule", "orders"),
    [
        (lambda g, out, x, y, needs: [1.001 * g * y, g * x], ("failed", "failed")),
        (lambda g, out, x, y, needs: [g * getattr(y, "data", y), g * x], ("passed", "failed")),
        (lambda g, out, x, y, needs: 1 / 0, ("failed", "failed")),
    ],
)
def test_the_report_goes_on_after_a_failure(
    rule: Callable[..., Any], orders: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ops.mul, "vjp", rule)
    broken, fine = check_report(["mul", "eq"], examples=2)
    assert (broken["order1"], broken["order2"]) == orders and broken["examples"] == 0 and broken["error"]
    assert fine["order1"] == "integer"


def test_a_name_that_is_no_op_is_answered_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="softmax"):
        next(check_report(["sotfmax"]))


def test_public_ops_are_all() -> None:
    assert {repr(value) for value in vars(ops).values() if isinstance(value, Op)} | {"alias"} == set(public_ops())
    assert "max" in public_ops() and "amax" not in public_ops()  # another name is no other op


# ---- layouts
@pytest.mark.parametrize("shape", [(), (1,), (3,), (2, 3), (2, 3, 4), (0, 3)])
def test_layouts_keep_values_in_new_memory(shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    for name, layout in LAYOUTS.items():
        y = layout(x)
        assert isinstance(y, np.ndarray) and y.shape == x.shape and (y == x).all(), name
        assert not np.may_share_memory(x, y), name
    assert zero_stride(x).shape == x.shape


def test_layouts_are_what_they_are_called() -> None:
    x = np.random.default_rng(0).standard_normal((2, 3, 4))
    assert LAYOUTS["C"](x).flags.c_contiguous and LAYOUTS["F"](x).flags.f_contiguous
    y = LAYOUTS["transposed"](x)
    assert y.strides[0] == x.itemsize and not y.flags.c_contiguous and not y.flags.f_contiguous
    assert all(stride < 0 for stride in LAYOUTS["negative-stride"](x).strides)
    assert LAYOUTS["strided"](x).strides[-1] == 2 * x.itemsize
    assert not LAYOUTS["read-only"](x).flags.writeable
    assert zero_stride(x).strides[0] == 0


# ---- strategies
@given(st.data())
def test_shapes_and_groups(data: st.DataObject) -> None:
    shape = data.draw(shapes(min_dims=1, max_dims=3, min_side=1, max_side=4))
    assert 1 <= len(shape) <= 3 and all(1 <= side <= 4 for side in shape)
    group = data.draw(broadcastable_shapes(3))
    assert len(group) == 3
    np.broadcast_shapes(*group)


@given(st.data())
def test_indices_fit(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    x = np.arange(np.prod(shape, dtype=int)).reshape(shape)
    assert np.isin(x[data.draw(indices(shape))], x).all()


@settings(max_examples=25)
@given(st.data())
def test_drawn_indices_have_right_gradients(data: st.DataObject) -> None:
    shape = data.draw(shapes(max_side=3))
    index = data.draw(indices(shape))
    check_gradients(lambda x: x[index] ** 2, data.draw(arrays(shape)))


@given(st.data())
def test_axes_fit(data: st.DataObject) -> None:
    shape = data.draw(shapes())
    axis = data.draw(axes(len(shape)))
    x = np.ones(shape)
    assert np.array_equal(tz.sum(x, axis=axis), x.sum(axis=axis))


@given(st.data())
def test_arrays_keep_to_their_domain(data: st.DataObject) -> None:
    dtype = data.draw(dtypes())
    square = data.draw(arrays((3, 3), "well_conditioned"))
    assert np.linalg.cond(square) < 100
    assert data.draw(arrays((2, 3), "positive", dtype)).dtype == dtype
    assert data.draw(arrays(shapes(), "positive")).min(initial=1.0) > 0
    assert np.abs(data.draw(arrays((4,), "nonzero"))).min() >= 0.3
    assert np.diff(np.sort(data.draw(arrays((5,), "distinct")))).min() > 0.09
    np.testing.assert_allclose(data.draw(arrays((2, 4), "probabilities")).sum(axis=1), 1)
    whole = data.draw(arrays((6,), "integers", high=2))
    assert whole.dtype.kind == "i" and set(whole.tolist()) <= {0, 1}
    assert data.draw(arrays((), "boolean")).dtype == bool
    assert data.draw(layouts(square)).shape == square.shape
    with pytest.raises(UsageError, match="no domain"):
        arrays((2,), "imaginary")


def test_without_hypothesis_the_strategies_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hypothesis.strategies", None)
    with pytest.raises(MissingDependencyError, match=r"tinygrad_zoo\[check\]"):
        shapes()
    op_laws(RIGHT)
    check_gradients(tz.exp, np.ones(2))


def test_errors_have_one_root() -> None:
    for kind in (GradientCheckError, LawError):
        assert issubclass(kind, AssertionError) and issubclass(kind, TinygradZooError)
    assert Draw(np.random.default_rng(0)).positive(2).shape == (2,)
    with pytest.raises(ShapeError):
        tz.dropout(np.ones(3), np.zeros(3, dtype=np.uint32))

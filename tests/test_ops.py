"""Every op keeps every law of `tinygrad_zoo.testing`, and the published subgradients and limits hold exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import tinygrad_zoo as tz
from tinygrad_zoo import backend
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, TinygradZooError, UsageError
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.testing import Executed, gradients, op_laws, public_ops, seeds
from tinygrad_zoo.testing.cupysim.transfers import watch
from tinygrad_zoo.testing.laws import WAITING, placed

OPS = public_ops()
EXAMPLES = settings().max_examples // 25  # of a whole row of laws, over all samples of the op
# What is new on the stand-in is what the arrays allow, not the numbers: gradients are compared along directions alone.
ON_THE_STAND_IN = max(1, EXAMPLES // 5)


# ---- laws
@pytest.mark.parametrize(("device", "examples"), [("cpu", EXAMPLES), ("cupysim", ON_THE_STAND_IN)])
@pytest.mark.parametrize("name", OPS)
def test_an_op_keeps_the_laws(name: str, device: str, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    op, ran = OPS[name], Executed()
    if device == "cupysim":
        monkeypatch.setattr(gradients, "FULL_JACOBIAN", 0)

    @settings(max_examples=examples)
    @given(seeds())
    def laws(seed: int) -> None:
        ran.add(op_laws(op, seed))

    with backend.using(device):
        laws()
    assert device == "cpu" or ran.laws["copies"] or name in WAITING
    assert ran.laws["forward"] and ran.laws["bad_inputs"] and ran.laws["layouts"]
    if op.differentiable:
        assert ran.order1 > 0 and ran.order2 > 0, "the op's rule was never seen to run in a comparison"
        assert all(ran.laws[law] for law in ("dtypes", "vjp", "writes", "freed"))
        assert ran.worst < 1e-7


@pytest.mark.parametrize("name", WAITING)
def test_an_op_that_waits_for_a_device_is_seen_to(name: str) -> None:
    op = OPS[name]
    with backend.using("cupysim"), watch() as log:
        for s in op.samples(Draw(np.random.default_rng(0))):
            inputs, options = s if isinstance(s, Sample) else (s, {})
            op(*map(placed, inputs), **{key: placed(value) for key, value in options.items()})
    assert log.hidden or log.explicit


def test_the_enumeration_is_complete() -> None:
    exported = {repr(getattr(tz.ops, name)) for name in tz.ops.__all__ if name != "draw_key"}
    assert exported | {"alias"} == set(OPS)
    assert all(op.samples is not None and op.reference is not None for op in OPS.values())
    assert all(op.__doc__ for op in OPS.values())
    without = {name for name, op in OPS.items() if not op.differentiable}
    assert without == {
        *("eq", "ne", "lt", "le", "gt", "ge", "isfinite", "isinf", "isnan", "isclose"),
        *("logical_and", "logical_or", "logical_xor", "logical_not"),
        *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_not"),
        *("all", "any", "argmax", "argmin", "argsort", "count_nonzero", "searchsorted", "nonzero", "one_hot"),
        *("matrix_rank", "standard_gumbel", "standard_normal", "standard_uniform", "nms", "batched_nms"),
    }


# ---- subgradients: exact, at the point itself
def slope(fn: Callable[..., Any], *values: Any) -> list[Any]:
    """The gradients of the sum of fn(*values)."""
    xs = [tz.tensor(np.array(v, dtype=np.float64), requires_grad=True) for v in values]
    fn(*xs).sum().backward()
    return [None if x.grad is None else x.grad.tolist() for x in xs]


INF = float("inf")

SUBGRADIENTS: dict[str, tuple[Callable[..., Any], list[Any], list[Any]]] = {
    "relu at 0": (tz.relu, [[0.0, -0.0, 1.0]], [[0.0, 0.0, 1.0]]),
    "leaky_relu at 0": (lambda x: tz.leaky_relu(x, 0.25), [[0.0, 1.0]], [[0.25, 1.0]]),
    "elu at 0": (tz.elu, [[0.0]], [[1.0]]),
    "abs at 0": (tz.abs, [[0.0, -2.0]], [[0.0, -1.0]]),
    "max: two ties": (tz.max, [[1.0, 3.0, 3.0]], [[0.0, 0.5, 0.5]]),
    "max: ties in each row": (
        lambda x: tz.max(x, axis=1),
        [[[2.0, 2.0, 2.0, 2.0], [1.0, 0.0, 0.0, 1.0]]],
        [[[0.25] * 4, [0.5, 0.0, 0.0, 0.5]]],
    ),
    "min: two ties": (tz.min, [[1.0, 1.0, 3.0]], [[0.5, 0.5, 0.0]]),
    "maximum: tie": (tz.maximum, [[1.0, 2.0], [1.0, 1.0]], [[0.5, 1.0], [0.5, 0.0]]),
    "minimum: tie": (tz.minimum, [[1.0, 2.0], [1.0, 1.0]], [[0.5, 0.0], [0.5, 1.0]]),
    "clip inside, on and outside the bounds": (
        lambda x: tz.clip(x, -1, 1),
        [[-2.0, -1.0, 0.0, 1.0, 2.0]],
        [[0.0, 1.0, 1.0, 1.0, 0.0]],
    ),
    "std of equal values": (tz.std, [[2.0, 2.0, 2.0]], [[0.0, 0.0, 0.0]]),
    "sign": (tz.sign, [[-1.0, 0.0, 2.0]], [None]),
    "pow: base 0": (tz.pow, [[0.0, 0.0, 0.0], [1.0, 2.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]]),
    "pow: number as exponent": (lambda x: x**2, [[0.0, -3.0]], [[0.0, -6.0]]),
    "pow: exponent 0": (lambda x: x**0, [[0.0, 5.0]], [[0.0, 0.0]]),
    "pow: number 0 as base": (lambda y: 0.0**y, [[1.0, 2.0]], [[0.0, 0.0]]),
    "where: NaN stays in the branch not taken": (
        lambda x: tz.where(x.data > 0, tz.log(tz.where(x.data > 0, x, 1.0)), 0.0),
        [[-1.0, 0.0, 2.0]],
        [[0.0, 0.0, 0.5]],
    ),
    "logsumexp: all -inf": (tz.logsumexp, [[-INF, -INF]], [[0.0, 0.0]]),
    "logsumexp: one -inf": (tz.logsumexp, [[-INF, 0.0]], [[0.0, 1.0]]),
    "softmax: masked entries": (lambda x: tz.softmax(x)[..., 1], [[-INF, 0.0]], [[0.0, 0.0]]),
    "dropout: everything": (
        lambda x: tz.dropout(x, np.zeros(4, dtype=np.uint32), p=1.0),
        [[1.0, 2.0]],
        [[0.0, 0.0]],
    ),
}


@pytest.mark.parametrize("case", SUBGRADIENTS)
def test_a_subgradient_is_exact(case: str) -> None:
    fn, values, expected = SUBGRADIENTS[case]
    assert slope(fn, *values) == expected


@pytest.mark.parametrize(
    ("fn", "second"),
    [
        (tz.relu, 0.0),
        (tz.abs, 0.0),
        (tz.elu, 1.0),  # of the negative side, e^x
        (lambda x: tz.clip(x, 0, 1), 0.0),
        (lambda x: tz.max(x), 0.0),
        (lambda x: tz.std(x), 0.0),
    ],
)
def test_second_derivatives_at_kinks(fn: Callable[..., Any], second: float) -> None:
    h = tz.hessian(lambda x: fn(x).sum())(np.zeros(3))
    assert np.allclose(h.numpy(), second * np.eye(3), atol=0)


def test_the_branch_not_taken_sends_no_nan() -> None:
    x = np.array([np.nan, 1.0])
    assert slope(lambda x, y: tz.where(np.array([False, True]), x, y), x, [2.0, INF]) == [[0.0, 1.0], [1.0, 0.0]]


# ---- stability
ACTIVATIONS: dict[str, tuple[Callable[..., Any], list[float], list[float]]] = {
    "relu": (tz.relu, [0.0, 1e4], [0.0, 1.0]),
    "leaky_relu": (tz.leaky_relu, [-1e2, 1e4], [0.01, 1.0]),
    "elu": (tz.elu, [-1.0, 1e4], [0.0, 1.0]),
    "sigmoid": (tz.sigmoid, [0.0, 1.0], [0.0, 0.0]),
    "softplus": (tz.softplus, [0.0, 1e4], [0.0, 1.0]),
    "gelu": (tz.gelu, [0.0, 1e4], [0.0, 1.0]),
    "gelu, tanh": (lambda x: tz.gelu(x, approximate="tanh"), [0.0, 1e4], [0.0, 1.0]),
    "silu": (tz.silu, [0.0, 1e4], [0.0, 1.0]),
    "tanh": (tz.tanh, [-1.0, 1.0], [0.0, 0.0]),
    "erf": (tz.erf, [-1.0, 1.0], [0.0, 0.0]),
    "softmax": (tz.softmax, [0.0, 1.0], [0.0, 0.0]),
    "log_softmax": (tz.log_softmax, [-2e4, 0.0], [1.0, -1.0]),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_an_activation_is_stable_far_out(name: str, dtype: str) -> None:
    fn, values, slopes = ACTIVATIONS[name]
    x = tz.tensor(np.array([-1e4, 1e4], dtype=dtype), requires_grad=True)
    with np.errstate(all="ignore"):
        out = fn(x)
        out.sum().backward()
    np.testing.assert_allclose(out.numpy(), values, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(x.grad.numpy(), slopes, rtol=1e-6, atol=1e-30)


def test_tails_are_exact_in_relative_terms() -> None:
    x = np.array([-700.0, -40.0])
    np.testing.assert_allclose(tz.sigmoid(x), np.exp(x), rtol=1e-14)
    np.testing.assert_allclose(tz.softplus(x), np.exp(x), rtol=1e-14)
    np.testing.assert_allclose(tz.log_softmax(np.array([1e4, 0.0])), [0.0, -1e4], rtol=0)
    assert tz.logsumexp(np.array([-1e4, -1e4])) == pytest.approx(-1e4 + np.log(2), abs=1e-11)
    assert tz.logsumexp(np.array([1e4, INF])) == INF
    assert np.isnan(tz.logsumexp(np.array([0.0, np.nan])))


# ---- losses
def test_cross_entropy_counts_examples_by_weight() -> None:
    logits, target = np.log(np.array([[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]])), np.array([0, 2])
    weight = np.array([2.0, 1.0, 3.0])
    losses = np.array([2.0, 3.0]) * -np.log([0.5, 0.5])
    np.testing.assert_allclose(tz.cross_entropy(logits, target, weight, reduction="none"), losses)
    np.testing.assert_allclose(tz.cross_entropy(logits, target, weight, reduction="sum"), losses.sum())
    np.testing.assert_allclose(tz.cross_entropy(logits, target, weight), losses.sum() / 5)
    x = tz.tensor(logits, requires_grad=True)
    tz.cross_entropy(x, target, weight).backward()
    p = np.exp(logits)
    np.testing.assert_allclose(x.grad.numpy(), np.array([[2.0], [3.0]]) / 5 * (p - np.eye(3)[target]), atol=1e-15)


@pytest.mark.parametrize("settings_", [{}, {"label_smoothing": 0.2}, {"reduction": "sum"}, {"reduction": "none"}])
def test_cross_entropy_with_weight_has_right_gradients(settings_: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    weight = tz.tensor(rng.uniform(0.5, 2.0, 3))
    for target in (np.array([0, -100, 2, 1]), rng.dirichlet(np.ones(3), 4)):
        tz.testing.check_gradients(
            lambda x, t=target: tz.cross_entropy(x, t, weight, **settings_), rng.standard_normal((4, 3))
        )


def test_cross_entropy_of_ignored_examples_alone() -> None:
    x = tz.tensor(np.ones((2, 3)), requires_grad=True)
    target = np.array([-100, -100])
    assert tz.cross_entropy(x, target, reduction="sum").item() == 0
    assert np.isnan(tz.cross_entropy(x, target).item())
    loss = tz.cross_entropy(x, target, reduction="sum")
    loss.backward()
    assert not x.grad.numpy().any()


def test_one_key_draws_one_mask() -> None:
    key = tz.draw_key(np.random.default_rng(0))
    x = np.ones(2000)
    once, again = tz.dropout(x, key, p=0.25), tz.dropout(x, key, p=0.25)
    assert (once == again).all() and set(np.unique(once)) == {0.0, 4 / 3}
    assert abs((once > 0).mean() - 0.75) < 0.05


# ---- errors
BAD: dict[str, tuple[type[TinygradZooError], Callable[[], Any]]] = {
    "class too large": (IndexingError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0, 3]))),
    "class below 0": (IndexingError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0, -1]))),
    "boolean target": (DTypeError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([True, False]))),
    "target of another length": (ShapeError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0]))),
    "weight of another length": (ShapeError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0, 1]), np.ones(2))),
    "scalar logits": (ShapeError, lambda: tz.cross_entropy(np.array(1.0), np.array(0))),
    "reduction": (UsageError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0, 1]), reduction="max")),
    "smoothing": (UsageError, lambda: tz.cross_entropy(np.ones((2, 3)), np.array([0, 1]), label_smoothing=1.5)),
    "bce shapes": (ShapeError, lambda: tz.binary_cross_entropy_with_logits(np.ones(3), np.ones((2, 3)))),
    "mse shapes": (ShapeError, lambda: tz.mse_loss(np.ones(3), np.ones(1))),
    "embedding index": (IndexingError, lambda: tz.embedding(np.array([4]), np.ones((4, 2)))),
    "embedding index below 0": (IndexingError, lambda: tz.embedding(np.array([-1]), np.ones((4, 2)))),
    "embedding of floats": (DTypeError, lambda: tz.embedding(np.array([1.0]), np.ones((4, 2)))),
    "gather index": (IndexingError, lambda: tz.take_along_axis(np.ones((2, 3)), np.array([[3]]), axis=1)),
    "gather axes": (ShapeError, lambda: tz.take_along_axis(np.ones((2, 3)), np.array([0]), axis=1)),
    "one_hot class": (IndexingError, lambda: tz.one_hot(np.array([3]), 3)),
    "index": (IndexingError, lambda: tz.tensor([1.0, 2.0])[2]),
    "index of floats": (DTypeError, lambda: tz.tensor([1.0, 2.0])[np.array([0.5])]),
    "axis": (TinygradZooError, lambda: tz.sum(np.ones((2, 3)), axis=2)),
    "matmul": (ShapeError, lambda: tz.matmul(np.ones((2, 3)), np.ones((2, 3)))),
    "singular matrix": (TinygradZooError, lambda: tz.inv(np.zeros((2, 2)))),
    "zero on the diagonal": (
        TinygradZooError,
        lambda: tz.solve_triangular(np.zeros((2, 2)), np.ones((2, 1)), upper=True),
    ),
    "clip without bounds": (UsageError, lambda: tz.clip(np.ones(2))),
    "var of one": (UsageError, lambda: tz.var(np.ones(1))),
    "softplus beta": (UsageError, lambda: tz.softplus(np.ones(1), beta=0.0)),
    "gelu": (UsageError, lambda: tz.gelu(np.ones(1), approximate="fast")),
    "dropout p": (UsageError, lambda: tz.dropout(np.ones(1), np.zeros(4, dtype=np.uint32), p=1.5)),
    "dropout key": (ShapeError, lambda: tz.dropout(np.ones(1), np.zeros(3, dtype=np.uint32))),
    "split sections": (ShapeError, lambda: tz.split(np.ones(4), (1, 2))),
    "concat of nothing": (ShapeError, lambda: tz.concat([])),
    "unknown setting": (DTypeError, lambda: tz.sum(np.ones(2), axes=0)),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_raises_the_typed_error(case: str) -> None:
    kind, call = BAD[case]
    with pytest.raises(kind):
        call()


def test_a_0_d_array_is_reduced_over_axis_0() -> None:
    x = tz.tensor(2.0, requires_grad=True)
    for op in (tz.sum, tz.mean, tz.logsumexp):
        y = op(x, axis=0)
        assert (y.shape, y.item()) == ((), 2.0)
        assert tz.grad(lambda v, op=op: op(v, axis=0))(x.detach()).item() == 1.0


def test_half_precision_does_not_overflow_on_the_way() -> None:
    half = tz.full(70_000, 100.0, "float16").requires_grad_()
    tz.mean(half).backward()
    assert tz.mean(half).item() == 100.0 and half.grad.data.min() > 0
    normed = tz.layer_norm(tz.tensor([0.0, 300.0, 600.0, 900.0], "float16"))
    assert normed.dtype == np.float16 and np.allclose(normed.numpy(), [-1.342, -0.447, 0.447, 1.342], atol=2e-3)
    dropped = tz.dropout(tz.ones(1000, dtype="float16"), tz.draw_key(np.random.default_rng(0)), p=0.999999)
    assert set(dropped.tolist()) <= {0.0, np.inf}


def test_equal_values_have_no_gradient_of_std_whatever_their_mean_rounds_to() -> None:
    x = tz.full(7, 0.1, "float64").requires_grad_()
    tz.std(x).backward()
    assert x.grad.tolist() == [0.0] * 7


def test_no_target_left_gives_nan_and_no_gradient() -> None:
    for create_graph in (False, True):
        x = tz.tensor(np.ones((2, 3)), requires_grad=True)
        loss = tz.cross_entropy(x, tz.tensor([-100, -100]))
        loss.backward(create_graph=create_graph)
        assert np.isnan(loss.item()) and not x.grad.data.any()


def test_an_infinite_gradient_stops_where_relu_is_flat() -> None:
    x = tz.tensor([-1.0, 2.0], requires_grad=True)
    tz.relu(x).backward(tz.tensor([np.inf, np.inf]))
    assert x.grad.tolist() == [0.0, np.inf]


def test_erf_of_integers_is_not_cut_off() -> None:
    assert np.allclose(tz.erf(tz.tensor([1, 2])).numpy(), [0.8427008, 0.9953223])


def test_an_empty_sum_of_exponentials() -> None:
    assert tz.logsumexp(tz.zeros((0, 2)), axis=0).tolist() == [-np.inf, -np.inf]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: tz.binary_cross_entropy_with_logits(tz.ones(3), tz.ones(3), tz.ones((2, 3))), "weight has shape"),
        (lambda: tz.tensor([2]) ** -1, "negative integer powers"),
        (lambda: tz.mean(tz.ones(3), axis=1), "out of bounds"),
        (lambda: tz.mean(tz.ones(3), axis=0.5), "mean"),
        (lambda: tz.dropout(tz.ones(3), 0.5), "draw_key"),
    ],
)
def test_calls_that_cannot_be_are_typed(call: Any, message: str) -> None:
    with pytest.raises(tz.errors.TinygradZooError, match=message):
        call()

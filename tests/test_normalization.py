"""Normalisation: ops and modules against torch over several steps, running statistics, refusals, float16."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import nn, ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError, ShapeError, UsageError

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

DRAW = np.random.default_rng(0)


def close(a: Any, b: Any, what: str = "", tolerance: float = 1e-9) -> None:
    b = b if isinstance(b, np.ndarray) else b.numpy(force=True)
    np.testing.assert_allclose(a.numpy(), b, rtol=tolerance, atol=tolerance, err_msg=what)


def both_orders(mine: Any, its: Any, wrt: list[Any], theirs: list[Any], what: str) -> None:
    """Values, gradients and gradients of squared gradients agree."""
    close(mine, its, what)
    w = DRAW.standard_normal(mine.shape)
    first = gradients([mine], wrt, [tz.tensor(w)], create_graph=True)
    raw = gradients([mine], wrt, [tz.tensor(w)])
    expected = torch.autograd.grad(its, theirs, torch.from_numpy(w), create_graph=True)
    for a, b, e in zip(first, raw, expected, strict=True):
        close(a, e, what, 1e-8)
        close(b, e, what, 1e-8)
    total = gradients([sum(((g * g).sum() for g in first[1:]), (first[0] * first[0]).sum())], wrt, [tz.ones(())])
    squares = sum((g * g).sum() for g in expected)
    for a, e in zip(total, torch.autograd.grad(squares, theirs, allow_unused=True), strict=True):
        close(tz.zeros(1) if a is None else a, np.zeros(1) if e is None else e, what, 1e-7)


# ---- the ops over shapes, parameters and eps
SHAPES = [(6, 4), (3, 4, 5), (2, 4, 3, 2), (2, 4, 2, 1, 3)]
OPS: dict[str, tuple[Callable[..., Any], Callable[..., Any], int]] = {
    "batch_norm": (
        lambda x, w, b, eps: ops.batch_norm(x, None, None, w, b, training=True, eps=eps),
        lambda x, w, b, eps: F.batch_norm(x, None, None, w, b, True, 0.1, eps),
        2,
    ),
    "batch_norm_with_statistics": (
        lambda x, w, b, eps: ops.batch_norm_with_statistics(x, w, b, eps=eps).output,
        lambda x, w, b, eps: F.batch_norm(x, None, None, w, b, True, 0.1, eps),
        2,
    ),
    "instance_norm": (
        lambda x, w, b, eps: ops.instance_norm(x, None, None, w, b, eps=eps),
        lambda x, w, b, eps: F.instance_norm(x, None, None, w, b, True, 0.1, eps),
        3,
    ),
    "group_norm": (
        lambda x, w, b, eps: ops.group_norm(x, 2, w, b, eps),
        lambda x, w, b, eps: F.group_norm(x, 2, w, b, eps),
        2,
    ),
    "layer_norm": (
        lambda x, w, b, eps: ops.layer_norm(x.swapaxes(1, -1), (4,), w, b, eps),
        lambda x, w, b, eps: F.layer_norm(x.swapaxes(1, -1), (4,), w, b, eps),
        2,
    ),
    "rms_norm": (
        lambda x, w, b, eps: ops.rms_norm(x.swapaxes(1, -1), 4, w, eps),
        lambda x, w, b, eps: F.rms_norm(x.swapaxes(1, -1), (4,), w, eps),
        2,
    ),
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OPS)
def test_an_op_is_that_of_torch_over_all_settings(name: str) -> None:
    ours, theirs, least = OPS[name]
    for shape, weighted, biased, eps in itertools.product(SHAPES, (True, False), (True, False), (1e-5, 0.5)):
        if len(shape) < least or (name == "rms_norm" and biased):
            continue
        arrays = [DRAW.standard_normal(shape), DRAW.standard_normal(4), DRAW.standard_normal(4)]
        given = [True, weighted, biased]
        mine = [tz.tensor(a, requires_grad=True) if g else None for a, g in zip(arrays, given, strict=True)]
        its = [torch.tensor(a, requires_grad=True) if g else None for a, g in zip(arrays, given, strict=True)]
        if not weighted:  # without one its second derivatives raise for some of them
            its[1] = torch.ones(4, dtype=torch.float64)
        both_orders(
            ours(*mine, eps),
            theirs(*its, eps),
            [x for x in mine if x is not None],
            [x for x, g in zip(its, given, strict=True) if g],
            f"{name} of {shape}, weight {weighted}, bias {biased}, eps {eps}",
        )


@pytest.mark.oracle("torch")
def test_running_statistics_are_used_as_torch_uses_them() -> None:
    for shape in SHAPES:
        x, mean, var, weight = (DRAW.standard_normal(s) for s in (shape, 4, 4, 4))
        var = var**2 + 0.1
        mine = [tz.tensor(a, requires_grad=i != 1 and i != 2) for i, a in enumerate((x, mean, var, weight))]
        its = [torch.tensor(a, requires_grad=i != 1 and i != 2) for i, a in enumerate((x, mean, var, weight))]
        expected = F.batch_norm(*its, None, False, 0.1, 1e-3)
        for out in (
            ops.batch_norm(*mine, eps=1e-3),
            *([ops.instance_norm(*mine, use_input_stats=False, eps=1e-3)] if len(shape) > 2 else []),
        ):
            both_orders(out, expected, [mine[0], mine[3]], [its[0], its[3]], f"{shape}")


def test_an_op_writes_no_running_statistic() -> None:
    x, mean, var = tz.randn(5, 3, rng=DRAW), tz.zeros(3), tz.ones(3)
    for training in (True, False):
        ops.batch_norm(x, mean, var, training=training)
    ops.instance_norm(tz.randn(2, 3, 4, rng=DRAW), mean, var)
    assert mean.tolist() == [0.0] * 3 and var.tolist() == [1.0] * 3


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_eps_of_rms_norm_is_that_of_torch(dtype: str) -> None:
    x = np.full((1, 4), 1e-4, dtype)
    expected = F.rms_norm(torch.from_numpy(x), (4,)).numpy()
    np.testing.assert_allclose(ops.rms_norm(x), expected, rtol=1e-3 if dtype == "float16" else 1e-6)


# ---- batch normalisation as a module
SETTINGS: list[dict[str, Any]] = [
    {},
    {"eps": 1e-2, "momentum": 0.3},
    {"momentum": None},
    {"affine": False},
    {"track_running_stats": False},
    {"bias": False, "momentum": 1.0},
]
DIMENSIONS = [("1d", (6, 4)), ("1d", (3, 4, 5)), ("2d", (2, 4, 3, 2)), ("3d", (2, 4, 2, 1, 3))]


def pair(name: str, *arguments: Any, **settings: Any) -> tuple[Any, Any]:
    """Our module and torch's, in float64, with the same drawn parameters."""
    ours = getattr(nn, name)(*arguments, **settings).to("float64")
    theirs = getattr(torch.nn, name)(*arguments, **settings).double()
    for x in ours.parameters():
        nn.init.normal_(x, mean=1.0, rng=DRAW)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict({key: torch.from_numpy(value) for key, value in ours.state_dict().items()})
    return ours, theirs


def same_state(ours: Any, theirs: Any) -> None:
    state, expected = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(expected)
    for key, value in expected.items():
        assert state[key].shape == tuple(value.shape) and state[key].dtype == value.numpy().dtype, key
        np.testing.assert_allclose(state[key], value.numpy(), rtol=1e-12, atol=1e-14, err_msg=key)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize(("kind", "shape"), DIMENSIONS)
def test_batch_norm_trains_and_evaluates_as_torchs(kind: str, shape: tuple[int, ...], settings: dict[str, Any]) -> None:
    ours, theirs = pair(f"BatchNorm{kind}", 4, **settings)
    for step in range(5):
        if step in (3, 4):
            ours.eval(), theirs.eval()
        x = 2 * DRAW.standard_normal(shape) + 1
        mine, its = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        wrt, other = [mine, *ours.parameters()], [its, *theirs.parameters()]
        both_orders(ours(mine), theirs(its), wrt, other, f"step {step}")
        same_state(ours, theirs)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("settings", [{}, {"affine": True}, {"track_running_stats": True, "momentum": 0.3}])
@pytest.mark.parametrize(
    ("kind", "shape"),
    [("1d", (3, 4, 5)), ("1d", (4, 5)), ("2d", (2, 4, 3, 2)), ("2d", (4, 3, 2)), ("3d", (2, 4, 2, 1, 3))],
)
def test_instance_norm_trains_and_evaluates_as_torchs(kind: str, shape: Any, settings: dict[str, Any]) -> None:
    ours, theirs = pair(f"InstanceNorm{kind}", 4, **settings)
    for step in range(4):
        if step == 3:
            ours.eval(), theirs.eval()
        x = 2 * DRAW.standard_normal(shape) + 1
        mine, its = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        out, expected = ours(mine), theirs(its)
        close(out, expected)
        w = DRAW.standard_normal(shape)
        found = gradients([out], [mine, *ours.parameters()], [tz.tensor(w)])
        for a, e in zip(
            found, torch.autograd.grad(expected, [its, *theirs.parameters()], torch.from_numpy(w)), strict=True
        ):
            close(a, e, tolerance=1e-8)
        same_state(ours, theirs)


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(
    ("name", "arguments", "settings", "shape"),
    [
        ("GroupNorm", (2, 4), {}, (3, 4, 5)),
        ("GroupNorm", (4, 4), {"eps": 1e-2, "affine": False}, (3, 4, 2, 2)),
        ("GroupNorm", (1, 4), {"bias": False}, (3, 4)),
        ("RMSNorm", (4,), {}, (3, 2, 4)),
        ("RMSNorm", ((2, 4),), {"eps": 1e-2, "elementwise_affine": False}, (3, 2, 4)),
        ("LayerNorm", ((2, 4),), {"bias": False}, (3, 2, 4)),
    ],
)
def test_the_others_are_torchs(name: str, arguments: Any, settings: Any, shape: Any) -> None:
    ours, theirs = pair(name, *arguments, **settings)
    x = DRAW.standard_normal(shape)
    mine, its = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    both_orders(ours(mine), theirs(its), [mine, *ours.parameters()], [its, *theirs.parameters()], name)


def test_running_statistics_by_hand() -> None:
    norm = nn.BatchNorm1d(1, momentum=0.5)
    norm(tz.tensor([[1.0], [3.0]]))  # mean 2, variance 2
    assert norm.running_mean.tolist() == [1.0] and norm.running_var.tolist() == [1.5]
    norm(tz.tensor([[0.0], [0.0]]))
    assert norm.running_mean.tolist() == [0.5] and norm.running_var.tolist() == [0.75]
    assert norm.num_batches_tracked.item() == 2 and norm.num_batches_tracked.dtype == np.int64
    norm.eval()(tz.tensor([[7.0]]))
    assert norm.num_batches_tracked.item() == 2 and norm.running_mean.tolist() == [0.5]
    np.testing.assert_allclose(norm(tz.tensor([[2.0]])).numpy(), [[1.5 / np.sqrt(0.75 + 1e-5)]], rtol=1e-6)
    norm.reset_running_stats()
    assert [x.item() for x in norm.buffers()] == [0.0, 1.0, 0]
    average = nn.BatchNorm1d(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        average(tz.tensor([[value], [value]]))
    assert average.running_mean.item() == pytest.approx(3.0) and average.running_var.item() == pytest.approx(0.0)


def test_a_repr_says_how_the_layer_was_made() -> None:
    assert repr(nn.LayerNorm((3, 4), bias=False)) == "LayerNorm((3, 4), eps=1e-05, bias=False)  # 12 parameters"
    assert repr(nn.RMSNorm(3, elementwise_affine=False)) == "RMSNorm(3, eps=None, elementwise_affine=False)"
    assert repr(nn.GroupNorm(2, 4)) == "GroupNorm(2, 4, eps=1e-05)  # 8 parameters"
    shown = "BatchNorm1d(3, eps=1e-05, momentum=None, affine=False, track_running_stats=False)"
    assert repr(nn.BatchNorm1d(3, momentum=None, affine=False, track_running_stats=False)) == shown


def test_the_state_is_saved_and_loaded() -> None:
    norm = nn.Sequential(nn.BatchNorm2d(3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True))
    x = tz.randn(2, 3, 4, 4, rng=DRAW)
    for _ in range(3):
        norm(x)
    other = nn.Sequential(nn.BatchNorm2d(3), nn.InstanceNorm2d(3, affine=True, track_running_stats=True))
    other.load_state_dict(norm.state_dict())
    assert other[0].num_batches_tracked.item() == 3
    assert np.array_equal(other.eval()(x).numpy(), norm.eval()(x).numpy())
    clone = copy.deepcopy(norm.train())
    clone(x)
    assert clone[0].num_batches_tracked.item() == 4 and norm[0].num_batches_tracked.item() == 3
    assert not np.array_equal(clone[0].running_mean.numpy(), norm[0].running_mean.numpy())


@pytest.mark.parametrize(
    "make", [lambda: nn.BatchNorm1d(3), lambda: nn.InstanceNorm1d(3, affine=True, track_running_stats=True)]
)
def test_every_forward_moves_the_statistics_once(make: Callable[[], Any]) -> None:
    x = tz.randn(4, 3, 5, rng=np.random.default_rng(1)).requires_grad_()
    plain = make()
    plain(x).sum().backward()
    expected, grad = plain.state_dict(), x.grad.numpy().copy()

    def moved(run: Callable[[Any], Any]) -> Any:
        norm = make()
        x.grad = None
        run(norm)
        for key, value in norm.state_dict().items():
            assert np.array_equal(value, expected[key]), key
        return norm

    norm = moved(lambda norm: tz.checkpoint(norm, x).sum().backward())
    np.testing.assert_allclose(x.grad.numpy(), grad, atol=1e-6)
    assert all(p.grad is not None for p in norm.parameters())
    moved(lambda norm: tz.checkpoint(lambda y: tz.checkpoint(norm, y) * 2, x).sum().backward())
    moved(lambda norm: tz.grad(lambda y: norm(y).sum())(x))
    moved(lambda norm: tz.no_grad()(norm)(x))
    moved(lambda norm: norm(x).sum().backward(create_graph=True))
    twice = make()
    for _ in range(2):
        tz.checkpoint(twice, x).sum().backward()
    again = make()
    again(x), again(x)
    assert all(np.array_equal(v, again.state_dict()[k]) for k, v in twice.state_dict().items())


def test_an_evaluation_may_be_pulled_back_before_but_not_after_the_statistics_moved() -> None:
    norm, x = nn.BatchNorm1d(2), tz.randn(4, 2, rng=DRAW).requires_grad_()
    norm.eval()
    out = norm(x).sum()
    norm.train()(x)
    with pytest.raises(tz.errors.GradientError, match=r"running_(mean|var) was written"):
        out.backward()


def test_training_removes_the_effect_of_a_bias_before_it() -> None:
    layer, norm = nn.Linear(3, 4, rng=DRAW).to("float64"), nn.BatchNorm1d(4).to("float64")
    out = norm(layer(tz.randn(8, 3, rng=DRAW, dtype="float64")))
    (out * out * out).sum().backward()
    assert abs(layer.bias.grad.numpy()).max() < 1e-12 < abs(layer.weight.grad.numpy()).max()


# ---- refusals and float16
NORMED = (tz.ones((4, 3, 2)), tz.zeros(3), tz.ones(3), tz.ones(3), tz.zeros(3))


@pytest.mark.parametrize(
    ("kind", "call", "message"),
    [
        (ShapeError, lambda: nn.BatchNorm1d(3)(tz.ones((1, 3))), r"\(1, 3\) has one value"),
        (ShapeError, lambda: ops.batch_norm(tz.ones((1, 3, 1)), training=True), "one value"),
        (ShapeError, lambda: ops.instance_norm(tz.ones((2, 3))), "one value"),
        (ShapeError, lambda: nn.InstanceNorm1d(3, track_running_stats=True)(tz.ones((2, 3, 1))), "one value"),
        (ShapeError, lambda: nn.BatchNorm1d(3)(tz.ones((4, 2))), r"2 or 3 axes, 3 channels.*got \(4, 2\)"),
        (ShapeError, lambda: nn.BatchNorm2d(3)(tz.ones((4, 3))), "expected x of 4 axes"),
        (ShapeError, lambda: nn.BatchNorm3d(3)(tz.ones((4, 3, 2, 2))), "expected x of 5 axes"),
        (ShapeError, lambda: nn.InstanceNorm2d(3)(tz.ones((2, 4, 2, 2))), "3 channels"),
        (ShapeError, lambda: nn.GroupNorm(1, 3)(tz.ones((2, 4))), r"\(N, 3, …\)"),
        (ShapeError, lambda: ops.batch_norm(tz.ones(3), training=True), r"\(N, C, …\)"),
        (ShapeError, lambda: ops.batch_norm(tz.ones((4, 3)), None, None, tz.ones(2), training=True), "a weight of"),
        (ShapeError, lambda: ops.batch_norm(tz.ones((4, 3)), tz.ones(2), tz.ones(3)), "a running_mean of"),
        (UsageError, lambda: ops.batch_norm(tz.ones((4, 3))), "batch_norm: expected running_mean"),
        (UsageError, lambda: ops.instance_norm(tz.ones((4, 3, 2)), use_input_stats=False), "expected running_mean"),
        (ShapeError, lambda: ops.group_norm(tz.ones((4, 3)), num_groups=2), "3 channels do not make 2 groups"),
        (ShapeError, lambda: ops.rms_norm(tz.ones((4, 3)), normalized_shape=4), "does not end"),
        (ShapeError, lambda: ops.layer_norm(tz.ones((4, 3)), normalized_shape=()), "does not end"),
        (ShapeError, lambda: ops.rms_norm(tz.ones((4, 3)), 3, tz.ones(4)), "a weight of"),
        (UsageError, lambda: nn.BatchNorm1d(0), "num_features >= 1, got 0"),
        (UsageError, lambda: nn.GroupNorm(2, 3), "3 channels do not make 2 groups"),
        (UsageError, lambda: nn.RMSNorm((2, 0)), r"normalized_shape\[1\] >= 1"),
        (UsageError, lambda: nn.LayerNorm(2.5), r"an integer normalized_shape\[0\] >= 1, got 2.5"),
        (UsageError, lambda: nn.LayerNorm(()), "of one size or more"),
        # PyTorch's calls by position that mean something else here are errors
        (DTypeError, lambda: ops.batch_norm(*NORMED, True, 0.1, 1e-5), "has no 'momentum'; it takes x, running_mean"),
        (DTypeError, lambda: ops.instance_norm(*NORMED, True, 0.1), "has no 'momentum'"),
        (DTypeError, lambda: ops.layer_norm(tz.ones((4, 3)), tz.ones(3), tz.ones(3)), "normalized_shape is a setting"),
        (DTypeError, lambda: ops.group_norm(tz.ones((4, 3)), tz.ones(3)), "num_groups is a setting"),
    ],
)
def test_what_cannot_be_normalised_is_refused(kind: type[Exception], call: Callable[[], Any], message: str) -> None:
    with pytest.raises(kind, match=message):
        call()


def test_half_precision_takes_its_statistics_in_single() -> None:
    x = tz.tensor(np.linspace(-900, 900, 4 * 6 * 50).reshape(4, 6, 50), "float16").requires_grad_()
    wide = x.detach().to("float64")
    for name, settings in {
        "batch_norm": {"training": True},
        "instance_norm": {},
        "group_norm": {"num_groups": 2},
        "layer_norm": {},
        "rms_norm": {},
    }.items():
        op = getattr(ops, name)
        out, expected = op(x, **settings), op(wide, **settings)
        assert out.dtype == np.float16, name
        np.testing.assert_allclose(out.numpy(), expected.numpy(), rtol=2e-3, atol=2e-3, err_msg=name)
        for create_graph in (False, True):
            (g,) = gradients([out], [x], [tz.ones(x.shape, dtype="float16")], create_graph=create_graph)
            assert g.dtype == np.float16 and np.isfinite(g.numpy()).all(), name
    made, exact = ops.batch_norm_with_statistics(x), ops.batch_norm_with_statistics(wide)
    assert exact.var.numpy().min() > 65504  # beyond float16, so the statistics are float32
    assert [y.dtype.name for y in made] == ["float16", "float32", "float32"]
    for a, b in zip(made, exact, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=2e-3)
    pulled = []
    for leaf in (x, wide.requires_grad_()):
        _, mean, var = ops.batch_norm_with_statistics(leaf)
        pulled += gradients([mean, var], [leaf], [tz.ones(6, dtype=mean.dtype)] * 2)
    assert [g.dtype.name for g in pulled] == ["float16", "float64"]
    np.testing.assert_allclose(pulled[0].numpy(), pulled[1].numpy(), rtol=2e-3, atol=2e-3)
    norm = nn.BatchNorm1d(6).to("float16")
    norm(x / 10)  # the variance itself must fit into float16
    np.testing.assert_allclose(norm.running_mean.numpy(), 0.01 * wide.numpy().mean((0, 2)), rtol=2e-3, atol=0.1)


def test_pads_and_distances_are_their_ops() -> None:
    x, y = tz.randn(2, 3, 4, rng=DRAW), tz.randn(2, 3, 4, rng=DRAW)
    assert np.array_equal(nn.CosineSimilarity(dim=2)(x, y).numpy(), ops.cosine_similarity(x, y, axis=2).numpy())
    expected = ops.pairwise_distance(x, y, p=1.0, keepdims=True)
    assert np.array_equal(nn.PairwiseDistance(p=1.0, keepdim=True)(x, y).numpy(), expected.numpy())
    assert (
        nn.ZeroPad1d(1)(x).shape == (2, 3, 6) and nn.ConstantPad1d((0, 1), 5.0)(x)[..., -1].tolist() == [[5.0] * 3] * 2
    )
    assert nn.ReflectionPad1d((2, 0))(x)[..., 0].tolist() == x[..., 2].tolist()
    assert nn.Unflatten(1, (3, -1))(nn.Flatten()(x)).tolist() == x.tolist()
    with pytest.raises(UsageError, match="one width or 4, got"):
        nn.ZeroPad2d((1, 1))
    with pytest.raises(UsageError, match="3 or 4 axes"):
        nn.ZeroPad2d(1)(tz.ones((2, 2)))


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["ZeroPad", "ConstantPad", "ReflectionPad", "ReplicationPad", "CircularPad"])
def test_pads_are_those_of_torch(kind: str, dims: int) -> None:
    value = (2.5,) if kind == "ConstantPad" else ()
    x = DRAW.standard_normal((2, 3, 4, 5, 3)[: dims + 2])
    for padding in (1, tuple(range(2 * dims))[::-1] if dims == 1 else (1, 2) * dims):
        ours, theirs = (getattr(lib, f"{kind}{dims}d")(padding, *value) for lib in (nn, torch.nn))
        assert np.array_equal(ours(tz.tensor(x)).numpy(), theirs(torch.from_numpy(x)).numpy())
        alone = ours(tz.tensor(x[0])).numpy()
        assert np.array_equal(alone, theirs(torch.from_numpy(x[0])).numpy())

"""Losses as ops and as modules: every setting against torch, kinks exactly, limits, refusals, float16."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import losses, ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.backend import using
from tinygrad_zoo.errors import DTypeError, IndexingError, ShapeError, UsageError
from tinygrad_zoo.losses.supervised import Loss

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

REDUCTIONS = ("mean", "sum", "none")
REDUCED = {name for name, kind in vars(losses).items() if isinstance(kind, type) and issubclass(kind, Loss)}
DRAW = np.random.default_rng(0)
LOGITS, LABELS = DRAW.standard_normal((6, 4)), np.array([0, 3, 1, 1, -100, 2])
TARGETS, WEIGHT = DRAW.random((6, 4)), DRAW.random(4) + 0.5
SIGNS = DRAW.choice([-1, 1], (6, 4))


# ---- the ops over all their settings
def _product(**choices: Any) -> Iterator[dict[str, Any]]:
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


def _normal(*shape: int) -> Any:
    return DRAW.standard_normal(shape)


def _positive(*shape: int) -> Any:
    return DRAW.uniform(0.2, 2, shape)


def _log_probabilities(*shape: int) -> Any:
    x = _normal(*shape)
    return x - np.log(np.exp(x).sum(min(1, x.ndim - 1), keepdims=True))


# Op -> its arrays (in torch's order, optional ones by name) and its settings, all combinations.
OVER_ALL: dict[str, tuple[Callable[[], list[tuple[tuple[Any, ...], dict[str, Any]]]], dict[str, Any]]] = {
    "mse_loss": (
        lambda: [((_normal(3, 2), _normal(3, 2)), {"weight": w}) for w in (None, _positive(3, 2))],
        {},
    ),
    "l1_loss": (lambda: [((_normal(3, 2), _normal(3, 2)), {"weight": w}) for w in (None, _positive(3, 2))], {}),
    "huber_loss": (
        lambda: [((_normal(3, 2), _normal(3, 2)), {"weight": w}) for w in (None, _positive(3, 2))],
        {"delta": (0.3, 1.0, 4.0)},
    ),
    "smooth_l1_loss": (lambda: [((_normal(3, 2), _normal(3, 2)), {})], {"beta": (0.0, 0.3, 1.0, 4.0)}),
    "gaussian_nll_loss": (
        lambda: [((_normal(3, 2), _normal(3, 2), _positive(*shape)), {}) for shape in ((3, 2), (3,), (3, 1), (1, 2))],
        {"full": (False, True), "eps": (1e-6, 0.7)},
    ),
    "poisson_nll_loss": (
        lambda: [
            # no target 0, where PyTorch's full loss has NaN gradients
            ((_positive(3, 2), target), {})
            for target in (3 * _positive(3, 2), 1.0 * DRAW.integers(1, 4, (3, 2)))
        ],
        {"full": (False, True), "log_input": (False, True), "eps": (1e-8, 0.1)},
    ),
    "nll_loss": (
        lambda: [
            ((_log_probabilities(*shape), DRAW.integers(0, 3, shape[:1] + shape[2:])), {"weight": w})
            for shape in ((4, 3), (2, 3, 2), (2, 3, 2, 2))
            for w in (None, _positive(3))
        ],
        {"ignore_index": (-100, 1)},
    ),
    "binary_cross_entropy": (
        lambda: [
            ((DRAW.uniform(0, 1, (3, 4)), DRAW.uniform(0, 1, (3, 4))), {"weight": w})
            for w in (None, _positive(4), _positive(3, 1))
        ],
        {},
    ),
    "kl_div": (
        lambda: [((_log_probabilities(*s), np.exp(_log_probabilities(*s))), {}) for s in ((3, 2), (2, 2, 2), (4,))],
        {"log_target": (False, True), "reduction": (*REDUCTIONS, "batchmean")},
    ),
    "soft_margin_loss": (lambda: [((4 * _normal(3, 2), DRAW.choice([-1.0, 1.0], (3, 2))), {})], {}),
    "hinge_embedding_loss": (
        lambda: [((_positive(3, 2), DRAW.choice([-1.0, 1.0, 0.0], (3, 2))), {})],
        {"margin": (0.5, 1.0)},
    ),
    "margin_ranking_loss": (
        lambda: [((_normal(3, 2), _normal(3, 2), DRAW.choice([-1.0, 1.0], s)), {}) for s in ((3, 2), (3, 1))],
        {"margin": (0.0, 0.5, -0.5)},
    ),
    "triplet_margin_loss": (
        lambda: [((_normal(4, 3), _normal(4, 3), _normal(4, 3)), {}), ((_normal(3), _normal(3), _normal(3)), {})],
        {"margin": (0.5, 3.0), "p": (1.0, 2.0, 3.0), "swap": (False, True), "eps": (1e-6, 0.1)},
    ),
    "cosine_embedding_loss": (
        lambda: [
            ((_normal(4, 3), _normal(4, 3), DRAW.choice([-1.0, 1.0], 4)), {}),
            ((_normal(3), _normal(3), np.asarray(-1.0)), {}),
        ],
        {"margin": (0.0, 0.5, -0.5)},
    ),
    "multi_margin_loss": (
        lambda: [
            ((_normal(*shape), DRAW.integers(0, 3, shape[:-1])), {"weight": w})
            for shape in ((4, 3), (3,))
            for w in (None, _positive(3))
        ],
        {"p": (1, 2), "margin": (0.5, 1.0)},
    ),
    "multilabel_soft_margin_loss": (
        lambda: [
            ((9 * _normal(*s), DRAW.random(s)), {"weight": w}) for s in ((4, 3), (3,)) for w in (None, WEIGHT[:3])
        ],
        {},
    ),
}
NOT_WRT = {"soft_margin_loss": 1, "hinge_embedding_loss": 1, "margin_ranking_loss": 2, "cosine_embedding_loss": 2}
FIRST_ORDER_IN_TORCH = {"multi_margin_loss"}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", OVER_ALL)
def test_a_loss_is_that_of_torch_over_all_settings(name: str) -> None:
    inputs, choices = OVER_ALL[name]
    compared = 0
    for (arrays, named), settings in itertools.product(inputs(), _product(**{"reduction": REDUCTIONS, **choices})):
        mine = [tz.tensor(a) for a in arrays]
        its = [torch.from_numpy(np.array(a)) for a in arrays]
        wrt = [i for i, a in enumerate(arrays[: NOT_WRT.get(name)]) if a.dtype.kind == "f"]
        for i in wrt:
            mine[i].requires_grad, its[i].requires_grad = True, True
        weights = {k: None if w is None else tz.tensor(w) for k, w in named.items()}
        theirs = {k: None if w is None else torch.from_numpy(w) for k, w in named.items()}
        loss = getattr(ops, name)(*mine, **weights, **settings)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # kl_div's mean
            expected = getattr(F, name)(*its, **theirs, **settings)
        what = f"{name} of {[a.shape for a in arrays]}, {[k for k, w in named.items() if w is not None]}, {settings}"
        np.testing.assert_allclose(loss.numpy(), expected.numpy(force=True), rtol=1e-10, atol=1e-12, err_msg=what)
        w = np.asarray(DRAW.standard_normal(loss.shape))
        second = name not in FIRST_ORDER_IN_TORCH
        first = gradients([loss], [mine[i] for i in wrt], [tz.tensor(w)], create_graph=True)
        firsts = torch.autograd.grad(expected, [its[i] for i in wrt], torch.from_numpy(w), create_graph=second)
        for a, b in zip(first, firsts, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(force=True), rtol=1e-8, atol=1e-10, err_msg=what)
        compared += 1
        if not second or not any(g.requires_grad for g in firsts):
            continue
        total = sum((g * g).sum() for g in firsts)
        hessian = torch.autograd.grad(total, [its[i] for i in wrt], allow_unused=True)
        ours = gradients([sum(((g * g).sum() for g in first), tz.tensor(0.0))], [mine[i] for i in wrt], [tz.ones(())])
        for a, b in zip(ours, hessian, strict=True):
            a, b = (np.zeros(()) if g is None else g for g in (a, b))
            b = b if isinstance(b, np.ndarray) else b.numpy(force=True)
            np.testing.assert_allclose(a if isinstance(a, np.ndarray) else a.numpy(), b, rtol=1e-7, atol=1e-9)
    assert compared >= 3


@pytest.mark.oracle("torch")
def test_logarithms_of_0_count_as_minus_100() -> None:
    p, t = np.array([0.0, 1.0, 0.0, 1.0, 1e-60]), np.array([0.0, 1.0, 1.0, 0.0, 1.0])
    mine, its = tz.tensor(p, requires_grad=True), torch.tensor(p, requires_grad=True)
    loss = ops.binary_cross_entropy(mine, tz.tensor(t), reduction="none")
    expected = F.binary_cross_entropy(its, torch.from_numpy(t), reduction="none")
    assert loss.tolist() == expected.tolist() == [0.0, 0.0, 100.0, 100.0, 100.0]
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), [0, 0, -1e12, 1e12, -1e12], rtol=1e-12)  # p (1 - p) counts as 1e-12
    np.testing.assert_allclose(mine.grad.numpy(), its.grad.numpy(), rtol=1e-8)  # whose 1e-12 is a float32


# ---- kinks: exact, at the point itself
def slope(fn: Callable[..., Any], *values: Any) -> list[Any]:
    """The gradients of the sum of fn(*values), which a graph of them repeats."""
    xs = [tz.tensor(np.array(v, dtype=np.float64), requires_grad=True) for v in values]
    found = gradients([fn(*xs).sum()], xs, [tz.tensor(np.array(1.0))])
    again = gradients([fn(*xs).sum()], xs, [tz.tensor(np.array(1.0))], create_graph=True)
    assert [g.tolist() for g in found] == [g.tolist() for g in again]
    return [g.tolist() for g in found]


NONE = {"reduction": "none"}
KINKS: dict[str, tuple[Callable[..., Any], list[Any], list[Any]]] = {
    "l1_loss: equal": (lambda x: ops.l1_loss(x, tz.zeros(2, dtype="float64"), **NONE), [[0.0, 2.0]], [[0.0, 1.0]]),
    "smooth_l1_loss: beta 0": (
        lambda x: ops.smooth_l1_loss(x, tz.zeros(3, dtype="float64"), beta=0.0, **NONE),
        [[0.0, 1.0, -1.0]],
        [[0.0, 1.0, -1.0]],
    ),
    "smooth_l1_loss: |d| = beta": (
        lambda x: ops.smooth_l1_loss(x, tz.zeros(2, dtype="float64"), beta=2.0, **NONE),
        [[2.0, -2.0]],
        [[1.0, -1.0]],
    ),
    "huber_loss: |d| = delta": (
        lambda x: ops.huber_loss(x, tz.zeros(2, dtype="float64"), delta=2.0, **NONE),
        [[2.0, -2.0]],
        [[2.0, -2.0]],
    ),
    "hinge_loss: on the margin": (
        lambda x: ops.hinge_loss(x, tz.tensor([1, -1]), **NONE),
        [[1.0, -1.0]],
        [[-1.0, 1.0]],
    ),
    "hinge_embedding_loss: on the margin": (
        lambda x: ops.hinge_embedding_loss(x, tz.tensor([-1, 1]), **NONE),
        [[1.0, 1.0]],
        [[-1.0, 1.0]],
    ),
    "margin_ranking_loss: on the margin": (
        lambda x, y: ops.margin_ranking_loss(x, y, tz.tensor([1]), margin=0.5, **NONE),
        [[0.5], [0.0]],
        [[-1.0], [1.0]],
    ),
    "triplet_margin_loss: points that are one": (
        lambda x: ops.triplet_margin_loss(x, tz.zeros((1, 2)), tz.zeros((1, 2)), eps=0.0, **NONE),
        [[[0.0, 0.0]]],
        [[[0.0, 0.0]]],
    ),
    "triplet_margin_loss: on the margin": (
        lambda x: ops.triplet_margin_loss(x, tz.zeros((1, 1)), tz.full((1, 1), 3.0), margin=1.0, eps=0.0, **NONE),
        [[[1.0]]],
        [[[2.0]]],
    ),
    "cosine_embedding_loss: on the margin": (
        lambda x: ops.cosine_embedding_loss(x, tz.tensor([[0.0, 1.0]], "float64"), tz.tensor([-1]), **NONE).sum(),
        [[[1.0, 0.0]]],
        [[[0.0, 1 / np.sqrt((1 + 1e-12) * (1 + 1e-12))]]],
    ),
    "multi_margin_loss: on the margin": (
        lambda x: ops.multi_margin_loss(x, tz.tensor([0]), **NONE),
        [[[1.0, 0.0]]],
        [[[0.0, 0.0]]],
    ),
    "gaussian_nll_loss: var below eps": (
        lambda v: ops.gaussian_nll_loss(tz.zeros(2), tz.zeros(2), v, eps=0.5, **NONE),
        [[0.0, 0.25]],
        [[1.0, 1.0]],  # 1 / (2 eps), as if var were eps
    ),
    "kl_div: target 0": (
        lambda x, t: ops.kl_div(x, t, **NONE),
        [[-1.0, -1.0], [0.0, 1.0]],
        [[0.0, -1.0], [-np.inf, 2.0]],
    ),
    "nll_loss: an ignored example of probability 0": (
        lambda x: ops.nll_loss(x, tz.tensor([-100, 1])),
        [[[-np.inf, 0.0], [-1.0, -0.5]]],
        [[[0.0, 0.0], [0.0, -1.0]]],
    ),
    "nll_loss: every example ignored": (lambda x: ops.nll_loss(x, tz.tensor([-100])), [[[-1.0, -2.0]]], [[[0.0, 0.0]]]),
}


@pytest.mark.parametrize("case", KINKS)
def test_a_kink_is_exact(case: str) -> None:
    fn, values, expected = KINKS[case]
    assert slope(fn, *values) == expected


def _at_kink(fn: Callable[[Any, Any], Any], x: Any) -> Any:
    mine, its = tz.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    fn(ops, mine).sum().backward()
    fn(F, its).sum().backward()
    return mine.grad.numpy(), its.grad.numpy()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(
    "fn",
    [
        lambda L, x: L.l1_loss(x, 0 * x, reduction="none"),
        lambda L, x: L.smooth_l1_loss(x, 0 * x, reduction="none"),
        lambda L, x: L.huber_loss(x, 0 * x, reduction="none"),
        lambda L, x: L.hinge_embedding_loss(x, 0 * x - 1, reduction="none"),
        lambda L, x: L.margin_ranking_loss(x, 0 * x, 0 * x + 1, margin=1.0, reduction="none"),
        lambda L, x: L.triplet_margin_loss(x, 0 * x, 0 * x, eps=0.0, reduction="none"),
    ],
)
def test_the_kinks_are_those_of_torch(fn: Callable[[Any, Any], Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mine, its = _at_kink(fn, np.array([0.0, 1.0, -1.0, 0.5]))
    assert mine.tolist() == its.tolist()


# ---- the modules
CASES: list[tuple[str, dict[str, Any], tuple[Any, ...]]] = [
    *(("MSELoss", {"reduction": how}, (TARGETS,)) for how in REDUCTIONS),
    ("L1Loss", {"reduction": "sum"}, (TARGETS,)),
    ("SmoothL1Loss", {"beta": 0.5}, (TARGETS,)),
    ("HuberLoss", {"delta": 0.5}, (TARGETS,)),
    ("GaussianNLLLoss", {"full": True, "eps": 1e-3}, (TARGETS, TARGETS + 0.1)),
    ("PoissonNLLLoss", {"full": True, "reduction": "sum"}, (4 * TARGETS,)),
    *(("CrossEntropyLoss", {"reduction": how}, (LABELS,)) for how in REDUCTIONS),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.2}, (LABELS,)),
    ("CrossEntropyLoss", {"ignore_index": 1}, (np.maximum(LABELS, 0),)),
    ("CrossEntropyLoss", {}, (TARGETS / TARGETS.sum(1, keepdims=True),)),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": -100}, (LABELS,)),
    ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, (TARGETS,)),
    *(("BCEWithLogitsLoss", {"reduction": how}, (TARGETS,)) for how in REDUCTIONS),
    ("BCEWithLogitsLoss", {"weight": WEIGHT, "pos_weight": WEIGHT[::-1].copy()}, (TARGETS,)),
    ("MultiLabelSoftMarginLoss", {"weight": WEIGHT}, (TARGETS,)),
    ("MultiMarginLoss", {"p": 2, "margin": 0.5, "weight": WEIGHT}, (np.maximum(LABELS, 0),)),
    ("SoftMarginLoss", {"reduction": "sum"}, (1.0 * SIGNS,)),
    ("HingeEmbeddingLoss", {"margin": 0.5}, (1.0 * SIGNS,)),
    ("MarginRankingLoss", {"margin": 0.5}, (TARGETS, 1.0 * SIGNS)),
    ("TripletMarginLoss", {"margin": 0.5, "p": 1.0, "swap": True}, (TARGETS, TARGETS[::-1].copy())),
    ("CosineEmbeddingLoss", {"margin": 0.1}, (TARGETS, 1.0 * SIGNS[:, 0])),
]


@pytest.mark.oracle("torch")
@pytest.mark.parametrize(("name", "settings", "others"), CASES)
def test_a_module_is_that_of_torch(name: str, settings: dict[str, Any], others: tuple[Any, ...]) -> None:
    theirs = {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in settings.items()}
    mine, torchs = tz.tensor(LOGITS, requires_grad=True), torch.tensor(LOGITS, requires_grad=True)
    loss = getattr(losses, name)(**settings)(mine, *map(tz.tensor, others))
    expected = getattr(torch.nn, name)(**theirs)(torchs, *map(torch.from_numpy, others))
    np.testing.assert_allclose(loss.numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-12)
    loss.sum().backward()
    expected.sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), torchs.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.oracle("torch")
def test_a_module_takes_what_that_of_torch_takes() -> None:
    import inspect

    assert {case[0] for case in CASES} == REDUCED - {"BCELoss", "HingeLoss"}
    probabilities = 1 / (1 + np.exp(-LOGITS))
    loss = losses.BCELoss(WEIGHT)(tz.tensor(probabilities), tz.tensor(TARGETS))
    expected = torch.nn.BCELoss(torch.from_numpy(WEIGHT))(torch.from_numpy(probabilities), torch.from_numpy(TARGETS))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for name in REDUCED - {"HingeLoss"}:
        taken = set(inspect.signature(getattr(torch.nn, name)).parameters) - {"size_average", "reduce"}
        assert set(getattr(losses, name).arguments) == taken, name


def test_closed_forms() -> None:
    logits = tz.tensor(np.zeros((3, 5)))
    assert losses.CrossEntropyLoss()(logits, tz.tensor([0, 1, 4])).item() == pytest.approx(np.log(5))
    ones = tz.tensor(np.ones((3, 5)))
    assert losses.BCEWithLogitsLoss(reduction="sum")(logits, ones).item() == pytest.approx(15 * np.log(2))
    assert losses.MSELoss("sum")(logits, 2 * ones).item() == 60
    assert losses.MSELoss()(logits, 2 * ones, ones).item() == 4  # a weight a value
    assert losses.HingeLoss("sum")(logits, -ones).item() == 15
    p = tz.tensor([[0.5, 0.25, 0.25]])
    assert losses.KLDivLoss("batchmean")(tz.log(p), p).item() == 0


def test_a_class_weight_is_a_buffer_and_moves_with_the_loss() -> None:
    loss = losses.CrossEntropyLoss(weight=[1.0, 2.0])
    assert list(loss.state_dict()) == ["weight"] and not list(loss.parameters())
    assert loss.to("float64").weight.dtype.name == "float64"
    assert repr(loss) == "CrossEntropyLoss()"
    assert repr(losses.HuberLoss("sum", 2.0)) == "HuberLoss(reduction='sum', delta=2.0)"


@pytest.mark.parametrize("name", sorted(REDUCED))
def test_a_bad_reduction_raises_when_the_loss_is_made(name: str) -> None:
    with pytest.raises(UsageError, match=rf"{name}: expected reduction 'mean', .*, got 'average'"):
        getattr(losses, name)(reduction="average")
    with pytest.raises(UsageError, match="is no setting"):
        getattr(losses, name)(size_average=True)


@pytest.mark.parametrize(
    ("make", "call", "message"),
    [
        (losses.CrossEntropyLoss, ops.cross_entropy, "label_smoothing <= 1, got 1.1"),
        (losses.HuberLoss, ops.huber_loss, "delta > 0, got 0"),
        (losses.SmoothL1Loss, ops.smooth_l1_loss, "beta >= 0, got -1"),
        (losses.TripletMarginLoss, ops.triplet_margin_loss, "margin > 0, got 0"),
        (losses.MultiMarginLoss, ops.multi_margin_loss, "p = 1 or 2, got 3"),
        (losses.GaussianNLLLoss, ops.gaussian_nll_loss, "eps > 0, got 0"),
    ],
)
def test_a_setting_out_of_its_limits_is_refused_by_op_and_module(make: Any, call: Any, message: str) -> None:
    name, value = message.split()[0], message.split()[-1]
    settings = {name: float(value) if "." in value else int(value)}
    with pytest.raises(UsageError, match=message):
        make(**settings)
    arrays = [tz.ones((2, 3))] * len([p for p in call.signature.arrays if p.default is p.empty])
    with pytest.raises(UsageError, match=message):
        call(*arrays, **settings)


# ---- refusals
BAD: dict[str, tuple[type[Exception], Callable[[], Any], str]] = {
    **{
        f"{name}: shapes": (ShapeError, lambda name=name: getattr(ops, name)(tz.ones(3), tz.ones(1)), name)
        for name in (
            *("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "poisson_nll_loss", "binary_cross_entropy"),
            *("kl_div", "hinge_loss", "soft_margin_loss", "hinge_embedding_loss", "multilabel_soft_margin_loss"),
        )
    },
    "mse_loss: weight": (ShapeError, lambda: ops.mse_loss(tz.ones(3), tz.ones(3), tz.ones(1)), "shape of input"),
    "bce: weight": (
        ShapeError,
        lambda: ops.binary_cross_entropy(tz.ones(3), tz.ones(3), tz.ones((2, 3))),
        "broadcasts",
    ),
    "bce: logits": (UsageError, lambda: ops.binary_cross_entropy(tz.full(3, 2.0), tz.ones(3)), r"in \[0, 1\].*_logits"),
    "gaussian: var": (UsageError, lambda: ops.gaussian_nll_loss(*[tz.ones(3)] * 2, tz.full(3, -1.0)), "got -1 in var"),
    "gaussian: var's shape": (ShapeError, lambda: ops.gaussian_nll_loss(*[tz.ones((2, 3))] * 2, tz.ones(3)), "var has"),
    "gaussian: target": (ShapeError, lambda: ops.gaussian_nll_loss(*map(tz.ones, (1, 3, 1))), "target has shape"),
    "ranking: axes": (ShapeError, lambda: ops.margin_ranking_loss(tz.ones(3), tz.ones(3), tz.ones(())), "as many axes"),
    "triplet: axes": (ShapeError, lambda: ops.triplet_margin_loss(tz.ones(3), tz.ones(3), tz.ones((1, 3))), "as many"),
    "cosine: target": (
        ShapeError,
        lambda: ops.cosine_embedding_loss(*[tz.ones((2, 3))] * 2, tz.ones((2, 1))),
        "expected",
    ),
    "multi_margin: class": (IndexingError, lambda: ops.multi_margin_loss(tz.ones((1, 3)), tz.tensor([3])), "C=3"),
    "multi_margin: weight": (
        ShapeError,
        lambda: ops.multi_margin_loss(tz.ones((1, 3)), tz.tensor([0]), weight=tz.ones(2)),
        r"shape \(3,\)",
    ),
    "multi_margin: floats": (UsageError, lambda: ops.multi_margin_loss(tz.ones((1, 3)), tz.ones(1)), "class indices"),
    "nll: class": (IndexingError, lambda: ops.nll_loss(tz.ones((2, 3)), tz.tensor([0, 3])), "nll_loss: class indices"),
    "nll: class below 0": (IndexingError, lambda: ops.nll_loss(tz.ones((2, 3)), tz.tensor([0, -1])), "C=3"),
    "nll: probabilities": (DTypeError, lambda: ops.nll_loss(tz.ones((2, 3)), tz.ones((2, 3))), "class indices, not"),
    "cross_entropy: size_average by position": (
        UsageError,
        lambda: ops.cross_entropy(tz.ones((2, 3)), tz.tensor([0, 1]), None, False),
        "ignore_index, an integer, got False",
    ),
    "nll: size_average by position": (
        UsageError,
        lambda: ops.nll_loss(tz.ones((2, 3)), tz.tensor([0, 1]), None, None),
        "ignore_index, an integer, got None",
    ),
    "cross_entropy: nothing to ignore": (
        UsageError,
        lambda: ops.cross_entropy(tz.ones((2, 3)), tz.ones((2, 3)), ignore_index=1),
        "probabilities, no class ignore_index=1",
    ),
    "huber: weight in place of reduction": (
        UsageError,
        lambda: ops.huber_loss(tz.ones(2), tz.ones(2), tz.ones(2)),
        "expected reduction",
    ),
    "nll: weight": (ShapeError, lambda: ops.nll_loss(tz.ones((2, 3)), tz.tensor([0, 1]), tz.ones(2)), "weight"),
    "batchmean elsewhere": (UsageError, lambda: ops.mse_loss(*[tz.ones(3)] * 2, reduction="batchmean"), "reduction"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_call_is_refused(case: str) -> None:
    kind, call, message = BAD[case]
    with using("cpu"), pytest.raises(kind, match=message):  # values are looked at on the host alone
        call()


def _nll_of_logits(x: Any, *others: Any, **settings: Any) -> Any:
    return ops.nll_loss(ops.log_softmax(x, 1), *others, **settings)


@pytest.mark.parametrize("settings", [{}, {"reduction": "sum"}, {"reduction": "none", "ignore_index": 1}])
def test_cross_entropy_gives_its_class_weight_the_gradient_of_nll_loss(settings: dict[str, Any]) -> None:
    for shape, labels in (((6, 4), LABELS), ((2, 4, 3), np.array([[0, 3, -100], [1, 1, 2]]))):
        values, found = _normal(*shape), []
        target = tz.tensor(np.where(labels < 0, settings.get("ignore_index", -100), labels))
        for loss in (ops.cross_entropy, _nll_of_logits):
            x, weight = tz.tensor(values, requires_grad=True), tz.tensor(WEIGHT, requires_grad=True)
            out = loss(x, target, weight, **settings)
            found.append(gradients([out], [x, weight], [tz.tensor(np.linspace(1, 2, out.size).reshape(out.shape))]))
        for one, other in zip(*found, strict=True):
            np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-12, atol=1e-14)
            assert other.numpy().any()


# ---- float16, large and special numbers
def test_half_precision_sums_in_single() -> None:
    n = 70_000
    x, y = tz.full(n, 3.0, "float16").requires_grad_(), tz.zeros(n, dtype="float16")
    big = tz.full(4, 300.0, "float16").requires_grad_()
    for name in ("mse_loss", "l1_loss", "huber_loss", "smooth_l1_loss"):
        assert getattr(ops, name)(x, y).dtype == np.float16
        assert np.isfinite(getattr(ops, name)(x, y).item()), name
    squares = ops.mse_loss(big, tz.full(4, 299.0, "float16"), tz.full(4, 60_000.0, "float16"))
    assert squares.item() == 1.0  # Σ w overflows float16
    logits = tz.zeros((n, 2), dtype="float16").requires_grad_()
    target = tz.tensor(np.zeros(n, dtype=np.int64))
    for loss in (ops.cross_entropy(logits, target), ops.nll_loss(ops.log_softmax(logits), target)):
        assert loss.dtype == np.float16 and loss.item() == pytest.approx(np.log(2), rel=1e-3)
    ops.cross_entropy(logits, target, reduction="sum", weight=tz.full(2, 1e-2, "float16")).backward()
    np.testing.assert_allclose(logits.grad.numpy()[0], [-0.005, 0.005], rtol=2e-3)
    assert ops.cross_entropy(logits, tz.full((n, 2), 0.5, "float16")).item() == pytest.approx(np.log(2), rel=1e-3)


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: ops.binary_cross_entropy_with_logits(x, tz.tensor([0.0, 1.0])),
        lambda x: ops.soft_margin_loss(x, tz.tensor([-1, 1])),
        lambda x: ops.multilabel_soft_margin_loss(x, tz.tensor([0, 1])),
        lambda x: ops.cross_entropy(x[None], tz.tensor([1])),
    ],
)
def test_a_loss_of_large_logits_is_finite(loss: Callable[[Any], Any]) -> None:
    for sign, value in ((1, 0.0), (-1, None)):
        x = tz.tensor([-sign * 1e4, sign * 1e4], requires_grad=True)
        out = loss(x)
        out.backward()
        assert np.isfinite(out.item()) and np.isfinite(x.grad.numpy()).all()
        assert value is None or out.item() == value


def test_log_probabilities_of_minus_infinity_elsewhere_do_no_harm() -> None:
    x = tz.tensor([[-np.inf, 0.0], [0.0, -np.inf]], requires_grad=True)
    out = ops.nll_loss(x, tz.tensor([1, 0]), tz.tensor([1.0, 2.0]))
    out.backward()
    assert (out.item() == 0 and x.grad.tolist() == [[0.0, -1 / 3], [-2 / 3, 0.0]]) or np.isfinite(x.grad.numpy()).all()


def test_integer_targets_keep_the_dtype() -> None:
    x = tz.ones((2, 3)).requires_grad_()
    labels = tz.tensor(np.ones((2, 3), dtype=np.int64))
    for name in (
        *("mse_loss", "l1_loss", "poisson_nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"),
        *("hinge_loss", "soft_margin_loss", "hinge_embedding_loss", "multilabel_soft_margin_loss"),
    ):
        assert getattr(ops, name)(x, labels).dtype == np.float32, name
    assert ops.margin_ranking_loss(x, x, labels).dtype == np.float32

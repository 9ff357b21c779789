"""The checks notice what they are there for: every gradient rule, and the walk, is broken on purpose."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import autograd
from tinygrad_zoo.autograd import Op
from tinygrad_zoo.errors import TinygradZooError
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.testing import check_gradients, op_laws, public_ops

OPS = {name: op for name, op in public_ops().items() if op.differentiable}
SEEDS = (0, 1)


# ---- faults of a rule
def _one_entry(g: Any) -> Any:
    """The largest entry half as large again."""
    values = getattr(g, "data", None) if isinstance(g, tz.Tensor) else np.asarray(g)
    if not values.size:
        return g
    factors = np.ones(values.shape, dtype=values.dtype)
    factors[np.unravel_index(np.argmax(np.abs(values)), values.shape)] = 1.5
    return g * factors


FAULTS: dict[str, Callable[[Any], Any]] = {
    "x -1": lambda g: -g,
    "x 1.001": lambda g: g * 1.001,
    "x 1.001 with create_graph alone": lambda g: g * 1.001 if isinstance(g, tz.Tensor) else g,
    "x 1.001 without create_graph alone": lambda g: g if isinstance(g, tz.Tensor) else g * 1.001,
    "dropped": lambda g: None,
    "one entry": _one_entry,
}

# Faults that change nothing, each with its reason.
EQUIVALENT = {
    ("add", "y", 0): "both rules are g",
    ("add", "x", 1): "both rules are g",
    ("lstm_step", "hidden_gates", 0): "the two are added",
    ("lstm_step", "input_gates", 1): "the two are added",
}

# Step functions, whose gradient is 0: there is nothing that a fault could change.
FLAT = {"ceil", "floor", "floor_divide", "round", "sign", "step", "trunc"}


@dataclass(frozen=True)
class Plant:
    """A fault in the gradient of one input of one op."""

    name: str
    fault: str  # one of FAULTS, or the argument whose rule stands in for the right one
    slot: int

    def __str__(self) -> str:
        return f"{self.name}, {OPS[self.name].signature.argument(self.slot)}: {self.fault}"


def slots(op: Op) -> list[int]:
    """The inputs that are given a gradient somewhere in the samples."""
    assert op.samples is not None
    samples = [s.inputs if isinstance(s, Sample) else s for s in op.samples(Draw(np.random.default_rng(0)))]
    return sorted({i for s in samples for i, x in enumerate(s) if hasattr(x, "dtype") and x.dtype.kind == "f"})


def plants(name: str) -> Iterator[Plant]:
    op = OPS[name]
    found = slots(op)
    for slot in found:
        yield from (Plant(name, fault, slot) for fault in FAULTS)
        yield from (Plant(name, op.signature.argument(j), slot) for j in found if j != slot)


class _Planted:
    """The op with the fault in: in its rule, and in its kernel if it has one; counts the gradients that it changed."""

    def __init__(self, plant: Plant) -> None:
        self.plant, self.op, self.changed = plant, OPS[plant.name], 0
        places = [(self.op, "vjp"), (self.op.backward, "forward")]
        self.rules = [(place, name, rule) for place, name in places if (rule := getattr(place, name, None)) is not None]

    def changing(self, rule: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *arguments, **settings: self.changed_results(list(rule(*arguments, **settings)))

    def changed_results(self, results: list[Any]) -> list[Any]:
        i = self.plant.slot
        if i >= len(results) or results[i] is None:
            return results
        if self.plant.fault in FAULTS:
            planted = FAULTS[self.plant.fault](results[i])
            self.changed += planted is not results[i]
            results[i] = planted
        else:
            other = [g for j, g in enumerate(results) if self.plant.fault == self.op.signature.argument(j)]
            if not other or other[0] is None or other[0].shape != results[i].shape or not other[0].size:
                return results
            results[i] = other[0]
            self.changed += 1
        return results

    def __enter__(self) -> _Planted:
        for place, name, rule in self.rules:
            setattr(place, name, self.changing(rule))
        return self

    def __exit__(self, *_: object) -> None:
        for place, name, rule in self.rules:
            setattr(place, name, rule)


def complaint(check: Callable[[], Any]) -> str | None:
    """What the checks say, if they notice anything."""
    try:
        with np.errstate(all="ignore"):
            check()
    except (TinygradZooError, ArithmeticError, LookupError, TypeError, ValueError, AttributeError) as error:
        return f"{type(error).__name__}: {error}"
    return None


# Whose faults take longest, some 7 to 15 s an op: found by `.ci/train`, so that the suite stays short.
LONG = {
    *("batch_norm", "conv1d", "conv3d", "conv_adjoint_input", "conv_transpose1d", "conv_transpose3d"),
    *("cosine_embedding_loss", "deform_conv2d", "einsum", "instance_norm", "linear_attention", "lstm_step"),
    *("multilabel_soft_margin_loss", "scaled_dot_product_attention", "triplet_margin_loss"),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.train) if name in LONG else name for name in OPS]
)
def test_faults_of_rules_are_noticed(name: str) -> None:
    noticed = 0
    for plant in plants(name):
        with _Planted(plant) as planted:
            said = None
            for seed in SEEDS:
                said = said or complaint(lambda seed=seed: op_laws(planted.op, seed))
        key = (plant.name, plant.fault, plant.slot)
        noticed += said is not None
        if key in EQUIVALENT:
            assert said is None, f"{plant} is listed as equivalent, yet: {said}"
        else:
            assert said is not None or not planted.changed, f"{plant} was not noticed"
    assert noticed >= 5 if name not in FLAT else noticed == 0


def test_the_plants_are_many() -> None:
    assert sum(1 for name in OPS for _ in plants(name)) > 1200
    assert {name for name, _, _ in EQUIVALENT} <= set(OPS)


def test_a_complaint_names_the_place() -> None:
    with _Planted(Plant("mul", "x 1.001", 1)):
        said = complaint(lambda: op_laws(tz.ops.mul, 0))
    assert said is not None and said.startswith("GradientCheckError: mul, y (input 1), entry (")
    with _Planted(Plant("layer_norm", "one entry", 1)):
        said = complaint(lambda: op_laws(tz.ops.layer_norm, 0))
    assert said is not None and said.startswith("GradientCheckError: layer_norm, weight (input 1), entry (")


# ---- faults of formulas: the second order of fused ops
@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.formula is not None])
@pytest.mark.parametrize("fault", ["x 1.001", "constant"])
def test_faults_of_formulas_are_noticed(name: str, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op = OPS[name]
    formula = op.formula
    assert formula is not None

    def scaled(*inputs: Any, **settings: Any) -> Any:
        return formula(*inputs, **settings) * 1.001

    def constant(first: Any, *rest: Any, **settings: Any) -> Any:
        return formula(first.detach(), *rest, **settings) + 0 * first.sum()

    monkeypatch.setattr(op, "formula", scaled if fault == "x 1.001" else constant)
    assert complaint(lambda: op_laws(op, 0)) is not None
    monkeypatch.setattr(op, "samples", lambda r, samples=op.samples: samples(r)[:1])
    assert complaint(lambda: check_gradients(op, *_first_sample(op))) is not None


def _first_sample(op: Op) -> tuple[Any, ...]:
    assert op.samples is not None
    first = op.samples(Draw(np.random.default_rng(0)))[0]
    return first.inputs if isinstance(first, Sample) else first


# ---- faults of the walk
def _twice(x: Any) -> Any:
    y = tz.exp(x)
    return y * y + x * tz.sin(x), y


def _same_output_twice(x: Any) -> Any:
    y = x * x
    return y, y


CHECKS: dict[str, Callable[[], Any]] = {
    "add": lambda: op_laws(tz.ops.add, 0),
    "mul": lambda: op_laws(tz.ops.mul, 0),
    "exp": lambda: op_laws(tz.ops.exp, 0),
    "reshape": lambda: op_laws(tz.ops.reshape, 0),
    "split": lambda: op_laws(tz.ops.split, 0),
    "layer_norm": lambda: op_laws(tz.ops.layer_norm, 0),
    "a value used twice": lambda: check_gradients(_twice, np.array([0.3, -0.7])),
    "one output twice": lambda: check_gradients(_same_output_twice, np.array([0.3, -0.7])),
    "a fused op of one array": lambda: check_gradients(_normed_by_itself, np.array([0.3, -0.7, 1.1])),
}


def _normed_by_itself(x: Any) -> Any:
    return tz.layer_norm(x, x.shape, x, x)


KERNEL_INSTEAD = "if op.formula is not None:\n        return _pull_recorded(node, g, needs)\n    else:"


def _cut(x: Any) -> Any:
    return x.detach() if isinstance(x, tz.Tensor) else x


# function, the text in it, what it becomes
WALK_FAULTS: dict[str, tuple[str, str, str]] = {
    "missing unbroadcast": ("_fit", "if g.shape != shape:", "if False:"),
    "unbroadcast by the mean": ("_fit", "g = g.sum(axis=", "g = g.mean(axis="),
    "unbroadcast of new axes only": ("_fit", "n == 1 != g.shape[d]", "False"),
    "skipped cast": ("_fit", "return g if g.dtype == array.dtype else g.astype(array.dtype)", "return g"),
    "lost accumulation between nodes": ("_walk", "g if other is None else other + g", "g"),
    "lost accumulation of outputs": ("_walk", "pending[key] + g if key in pending else g", "g"),
    "nodes in the order of creation": ("_order", "order.reverse()", "pass"),
    "pruned too much": ("_order", "(x.node in leads or _key(x) in keys)", "_key(x) in keys"),
    "skipped version check of inputs": ("_pull_arrays", "x.version[0] > number", "False"),
    "skipped version check of the result": ("_pull_arrays", "node.version[0] > number", "False"),
    "skipped version check at second order": ("_check_versions", "any(v[0] > node.number", "any(False"),
    "one cotangent for all outputs": ("_pull_arrays", "_rule(node, g, ", "_rule(node, g * 0 + 1, "),
    "lost cotangents of several outputs": ("_gathered", "if g is None else g for", "if g is None else g * 0 for"),
    "the result constant at second order": ("_pull_graph", "made(o, node, i", "made(o, None, i"),
    "inputs constant at second order": (
        "_pull_graph",
        "node.inputs, needs)\n",
        "[_cut(x) for x in node.inputs], needs)\n",
    ),
    "the kernel at second order": ("_pull_graph", "if op.formula is None:", KERNEL_INSTEAD),
    "a formula without aliases": ("_pull_graph", "alias(x) if need else x", "x"),
    "a formula that walks on": ("_pull_graph", "stop=True", "stop=False"),
    "a formula without a graph": ("_pull_graph", "create_graph=True", "create_graph=False"),
}

WALK_EQUIVALENT = {
    "a formula that walks on": (
        "nobody asks for what lies behind a fresh alias: `stop` saves the walk there, and no gradient depends on it"
    ),
}


@pytest.mark.parametrize("fault", WALK_FAULTS)
def test_faults_of_the_walk_are_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    name, old, new = WALK_FAULTS[fault]
    source = textwrap.dedent(inspect.getsource(getattr(autograd, name)))
    assert source.count(old) == 1, f"{name} no longer says {old!r}: plant this fault anew"
    made: dict[str, Any] = {}
    exec(compile(source.replace(old, new), autograd.__file__, "exec"), {**vars(autograd), "_cut": _cut}, made)
    monkeypatch.setattr(autograd, name, made[name])
    said = {check: found for check, run in CHECKS.items() if (found := complaint(run)) is not None}
    assert bool(said) != (fault in WALK_EQUIVALENT), said


def test_a_view_without_its_version_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tz.ops.reshape, "view", False)
    assert "memory" in (complaint(CHECKS["reshape"]) or "")


def test_without_faults_nothing_is_noticed() -> None:
    assert {name: complaint(check) for name, check in CHECKS.items()} == dict.fromkeys(CHECKS)

"""A captured step gives what the step gives: results, gradients, state, over many replays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_zoo as tz
from capture_checks import (
    MLP,
    agrees,
    arrays,
    batches,
    captured_as_eager,
    replay_of,
    states,
    unlike,
)  # fmt: skip
from tinygrad_zoo import backend, nn, optim
from tinygrad_zoo.errors import IndexingError


class Pair(NamedTuple):
    first: Any
    second: Any


# ---- what comes back
def test_results_in_nests_are_as_eager() -> None:
    def step(x: Any, y: Any) -> Any:
        return {"pair": Pair(x + y, [x * y, (x,)]), "number": 3, "none": None, "text": "loss"}

    captured = agrees(step, (2, 3), (3,))
    result = captured(*map(tz.tensor, arrays(5, (2, 3), (3,))))
    assert type(result["pair"]) is Pair and isinstance(result["pair"].second[1], tuple)
    assert (result["number"], result["none"], result["text"]) == (3, None, "loss")
    assert type(result["pair"].first) is tz.Tensor


def test_results_belong_to_the_caller() -> None:
    step = tz.capture(lambda x: (x * 2, x * 2))
    xs = [tz.tensor(np.full(3, i, np.float32)) for i in range(6)]
    found = [step(x) for x in xs]
    for i, (one, other) in enumerate(found):
        assert one.tolist() == other.tolist() == [2.0 * i] * 3
    memory = [x for pair in found for x in pair]
    assert not any(np.shares_memory(x.numpy(), y.numpy()) for i, x in enumerate(memory) for y in memory[:i])


def test_an_argument_or_an_outer_tensor_comes_back() -> None:
    w = tz.tensor([1.0, 2.0])
    step = tz.capture(lambda x: (x, w, x + w))
    for i in range(4):
        x = tz.tensor([float(i), 0.0])
        same, outer, total = step(x)
        assert same.tolist() == x.tolist() and outer is w and total.tolist() == [i + 1.0, 2.0]


def test_views_come_back() -> None:
    agrees(lambda x: (x.T, x[1:], x.reshape(-1), x[0, 0]), (3, 4))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sizes_of_zero_and_no_axes(dtype: str) -> None:
    agrees(lambda x, y: (x + 1, x.sum(), y * 2, y.exp(), (x * 3).reshape(-1)), (0, 3), (), dtype=dtype)
    agrees(lambda x: (x.sum(axis=0), x.sum(axis=1), x.mean(axis=0), x @ x.T), (3, 0), dtype=dtype)


def test_nan_in_is_nan_out() -> None:
    step = tz.capture(lambda x: (tz.softmax(x), x.exp().sum(), tz.relu(x)))
    good, bad = np.ones((2, 3), np.float32), np.array([[1, np.nan, 2], [np.inf, 1, -np.inf]], np.float32)
    for values in (good, good, bad, good):
        expected = tz.softmax(tz.tensor(values)), tz.tensor(values).exp().sum(), tz.relu(tz.tensor(values))
        assert unlike(step(tz.tensor(values)), expected) is None


# ---- arguments
def test_new_shapes_record_new_programs_and_the_oldest_is_dropped() -> None:
    step = tz.capture(lambda x: x * 2, max_programs=2)
    for n in (1, 1, 1, 2, 2, 2, 1, 3, 3, 3):
        assert step(tz.tensor(np.ones(n, np.float32))).tolist() == [2.0] * n
    assert step.counts == {"recorded": 6, "replayed": 4, "checked": 0, "programs": 3, "dropped": 1}
    step(tz.tensor(np.ones(1, np.float32)))  # used last before 3: still there
    assert step.counts["recorded"] == 6
    step(tz.tensor(np.ones(2, np.float32)))
    assert step.counts["recorded"] == 7


def test_other_arguments_are_part_of_the_key() -> None:
    step = tz.capture(lambda x, scale, *, shift=0.0, name="a": x * scale + shift if name == "a" else x)
    x = tz.tensor([1.0])
    for _ in range(3):
        assert step(x, 2).item() == 2.0
        assert step(x, 2.0, shift=1.0).item() == 3.0
        assert step(x, 3, name="b").item() == 1.0
        assert step(x, scale=2).item() == 2.0
    assert step.counts["programs"] == 4 and step.counts["replayed"] == 4


def test_dtypes_layouts_and_nests_of_arguments_are_told_apart() -> None:
    step = tz.capture(lambda batch: batch["x"] + batch["more"][0])
    for dtype in ("float32", "float64"):
        for _ in range(3):
            x, y = arrays(3, (2, 3), (2, 3), dtype=dtype)
            assert unlike(step({"x": tz.tensor(x), "more": [tz.tensor(y)]}), x + y) is None
            assert unlike(step({"x": tz.tensor(x.T), "more": [tz.tensor(y.T)]}), (x + y).T) is None
    assert step.counts["programs"] == 4


@pytest.mark.parametrize("view", [lambda x: x.T, lambda x: x[:, ::2], lambda x: x[::-1], lambda x: x[..., 0].T[None]])
def test_arguments_that_are_views(view: Callable[[Any], Any]) -> None:
    step = tz.capture(lambda x: (x * 2 + 1, x.sum(axis=-1)))
    for seed in range(4):
        x = view(arrays(seed, (4, 6, 2))[0])
        assert unlike(step(tz.Tensor(x)), (tz.Tensor(x) * 2 + 1, tz.Tensor(x).sum(axis=-1)), 1e-6) is None


def test_an_argument_of_one_value_broadcast() -> None:
    step = tz.capture(lambda x, y: x + y)
    for seed in range(4):
        x, y = arrays(seed, (1, 3), (2, 3))
        wide = np.broadcast_to(x, (2, 3))
        assert unlike(step(tz.Tensor(backend.to_device(wide, backend.default_device())), tz.tensor(y)), x + y) is None


def test_arguments_that_share_memory() -> None:
    step = tz.capture(lambda x, y: (x - y, x * y))
    for seed in range(4):
        both = tz.tensor(arrays(seed, 4)[0])
        assert unlike(step(both, both), (both - both, both * both)) is None
        x, y = arrays(seed, 4, 4)
        assert unlike(step(tz.tensor(x), tz.tensor(y)), (x - y, x * y)) is None
        line = arrays(seed, 5)[0]
        assert (
            unlike(step(tz.Tensor(line[:4]), tz.Tensor(line[1:])), (line[:4] - line[1:], line[:4] * line[1:])) is None
        )


def test_rows_of_one_data_set() -> None:
    data, step = np.random.default_rng(0).standard_normal((1000, 3)).astype(np.float32), tz.capture(lambda x: x * 2)
    for i in range(0, 50, 10):
        assert unlike(step(tz.Tensor(data[i : i + 10])), data[i : i + 10] * 2) is None
    assert step.counts["replayed"] == 3 and step.report()["arena_bytes"] < 1000  # not the whole of it


def test_two_arguments_that_were_one_array_when_recorded() -> None:
    step = tz.capture(lambda x, y: x - y)
    for seed in range(2):
        both = tz.tensor(arrays(seed, 4)[0])
        step(both, both)
    for seed in range(3):
        x, y = arrays(seed, 4, 4)
        assert unlike(step(tz.tensor(x), tz.tensor(y)), x - y) is None


def test_an_argument_that_is_a_parameter_too() -> None:
    w = nn.Parameter(np.array([1.0, 2.0], np.float32))
    step = tz.capture(lambda x: (x * w).sum())
    for x in (w, w, w, tz.tensor([3.0, 4.0]), w):
        assert step(x).item() == float((x.numpy() * w.numpy()).sum())


@pytest.mark.host
def test_arrays_are_arguments_too() -> None:
    step = tz.capture(lambda x, index: tz.tensor([1.0, 2.0, 3.0]) * x + tz.Tensor(index))
    for i in range(4):
        found = step(np.full(3, i, np.float32), np.full(3, i))
        assert found.tolist() == [1.0 * i + i, 2.0 * i + i, 3.0 * i + i]


def test_the_gradient_of_an_argument() -> None:
    def step(x: Any) -> Any:
        loss = (x * x).sum()
        loss.backward()
        return loss, x.grad

    captured = tz.capture(step)
    for seed in range(5):
        x = tz.tensor(arrays(seed, 3)[0], requires_grad=True)
        y = tz.tensor(x.numpy().copy(), requires_grad=True)
        found, expected = captured(x), step(y)
        assert unlike(found, expected) is None
        assert unlike(x.grad, y.grad) is None


def test_an_argument_may_stop_to_require_a_gradient() -> None:
    def step(x: Any, w: Any) -> Any:
        (x * w).sum().backward()
        return x.grad

    captured = tz.capture(step)
    w = tz.tensor([2.0, 3.0], requires_grad=True)
    for _ in range(3):
        assert captured(tz.tensor([1.0, 1.0], requires_grad=True), w.detach().requires_grad_()).tolist() == [2.0, 3.0]
    for _ in range(3):
        assert captured(tz.tensor([1.0, 1.0]), w.detach().requires_grad_()) is None
    assert captured.counts["programs"] == 2


# ---- what lies outside
def test_tensors_kept_in_attributes() -> None:
    class Model:
        pass

    model: Any = Model()

    def step(x: Any) -> Any:
        model.hidden = x * 2
        model.deep = {"list": [model.hidden + 1]}
        return model.hidden.sum()

    captured = tz.capture(step)
    for seed in range(4):
        x = arrays(seed, 3)[0]
        captured(tz.tensor(x))
        assert unlike(model.hidden, x * 2) is None and unlike(model.deep["list"][0], x * 2 + 1) is None


def test_parameters_changed_outside() -> None:
    model, eager = MLP(np.random.default_rng(0)), MLP(np.random.default_rng(0))

    def make(model: Any) -> Any:
        optimizer = optim.Adam(model.parameters(), lr=0.1)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = tz.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured, plain = tz.capture(make(model)), make(eager)
    other = MLP(np.random.default_rng(5)).state_dict()
    for i, (x, y) in enumerate(batches(16)):
        assert unlike(captured(x, y), plain(x, y)) is None, i
        assert unlike(states(model), states(eager)) is None, i
        for m in (model, eager):
            if i == 4:
                m.load_state_dict(other)
            if i == 8:
                m.first.weight.data = np.float32(1) + 0 * m.first.weight.data
            if i == 12:
                m.second.bias.data[...] = 3
                m.second.bias.mark_written()
    assert captured.counts["replayed"] > 8


@pytest.mark.host
def test_indices_out_of_range_in_a_replay() -> None:
    table = tz.tensor(arrays(0, (5, 3))[0], requires_grad=True)
    step = tz.capture(lambda i: tz.embedding(i, table).sum())
    loss = tz.capture(lambda x, y: tz.cross_entropy(x, y))
    x = tz.tensor(arrays(1, (2, 5))[0])
    for _ in range(4):
        step(tz.tensor([1, 4]))
        loss(x, tz.tensor([1, 4]))
    for bad in (5, -6, -1, 1 << 40):
        with pytest.raises(IndexingError):
            step(tz.tensor([1, bad]))
        with pytest.raises(IndexingError):
            loss(x, tz.tensor([1, bad]))
    assert unlike(step(tz.tensor([1, 3])), tz.embedding(tz.tensor([1, 3]), table).sum(), 1e-6) is None
    assert unlike(loss(x, tz.tensor([0, 3])), tz.cross_entropy(x, tz.tensor([0, 3]))) is None


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_share_of_ignored_classes_that_varies(reduction: str, smoothing: float) -> None:
    def step(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        loss = tz.cross_entropy(x, y, ignore_index=1, reduction=reduction, label_smoothing=smoothing)
        loss.sum().backward()
        return loss, x.grad

    x, targets = arrays(0, (4, 3))[0], [[0, 2, 0, 2], [1, 2, 0, 2], [1, 1, 1, 2], [0, 0, 0, 0], [1, 1, 1, 1]]
    first, *others = [[x, np.array(y)] for y in targets]
    said, _ = captured_as_eager(step, first, others, 2e-7)
    assert said is None, said


# ---- counts and reports
def test_check_every() -> None:
    model, twin = MLP(np.random.default_rng(0), dropout=0.2), MLP(np.random.default_rng(0), dropout=0.2)

    def make(model: Any) -> Any:
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        def step(x: Any, y: Any) -> Any:
            optimizer.zero_grad()
            loss = tz.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return step

    captured, eager = tz.capture(make(model), check_every=3), make(twin)
    for x, y in batches(14):
        assert unlike(captured(x, y), eager(x, y)) is None
    assert captured.counts["checked"] == 3 and captured.counts["recorded"] == 2
    assert unlike(states(model), states(twin)) is None


@pytest.mark.host
def test_what_a_report_says() -> None:
    captured = agrees(lambda x: (x * 2 + 1).exp().sum(), (64,), rtol=1e-6)
    report = captured.report()
    assert report["steps"] == report["native"] == 2 and report["launches"] == 2 and report["python"] == {}
    assert report["value_bytes"] > 0 and report["arena_bytes"] == replay_of(captured).arena.size
    assert report["recorded"] == 2 and report["replayed"] == 3

"""What a replay would not do again is refused while the step is recorded, with the line and what to write instead."""

from __future__ import annotations

import inspect
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from capture_checks import unlike
from tinygrad_zoo import nn, optim
from tinygrad_zoo.errors import CaptureError, TinygradZooError, UsageError
from tinygrad_zoo.ops.random import draw


def ones(n: int = 3) -> Any:
    return tz.tensor(np.ones(n, np.float32))


def refused(step: Callable[..., Any], *args: Any, calls: int = 8) -> str:
    """What CaptureError says of a step that is called with the same values again and again."""
    captured = tz.capture(step)
    with pytest.raises(CaptureError) as caught:
        for _ in range(calls):
            captured(*(args or (ones(),)))
    return str(caught.value)


def lines_of(step: Callable[..., Any]) -> range:
    source, first = inspect.getsourcelines(step)
    return range(first, first + len(source))


w = tz.tensor(np.ones(3, np.float32), requires_grad=True)
seen: list[Any] = []


def asked(method: str, *args: Any) -> Callable[..., Any]:
    return lambda x: getattr((x * 2).sum(), method)(*args)


LOOKS: dict[str, Callable[..., Any]] = {
    "item": lambda x: (x * 2).sum().item(),
    "float": lambda x: x * float((x * 2).sum()),
    "int": lambda x: x * int((x * 2).sum()),
    "bool": lambda x: x if (x * 2).sum() > 1 else -x,
    "not": lambda x: x if not (x * 2).sum() else -x,
    "index": lambda x: [1, 2, 3][(x.sum().astype("int64") * 0 + 1)],
    "range": lambda x: list(range(x.sum().astype("int64"))),
    "numpy": lambda x: np.exp((x * 2).numpy()),
    "tolist": lambda x: (x * 2).tolist(),
    "repr": lambda x: print(repr(x * 2)),
    "print": lambda x: print(x),
    "format": lambda x: f"{x.sum():.3f}",
    "data, computed with": lambda x: x * ((x * 2).data + 1),
    "data, compared": lambda x: x * (x.data > 0),
    "data by a function of NumPy": lambda x: np.exp(x.data),
    "data by numpy.asarray": lambda x: x * np.asarray(x.data),
    "data by numpy.array": lambda x: x * np.array(x.data),
    "data by a method": lambda x: x / x.data.max(),
    "data by its entry": lambda x: x * x.data[0],
    "data by a loop": lambda x: list(x.data),
    "data by a float": lambda x: x * float(x.data.sum()),
    "data in a branch": lambda x: x if x.data.any() else -x,
    "array": lambda x: np.asarray(x),
    "dlpack": lambda x: np.from_dlpack(x * 2),
    "an outer tensor's item": lambda x: x * w.sum().item(),
    "an outer tensor's value": lambda x: x * w.numpy(),
    "an outer tensor's data": lambda x: x if (w.data > 0).all() else -x,
    "a gradient's value": lambda x: (w * x).sum().backward() or w.grad.numpy().sum(),
    "in": lambda x: x if 1.0 in x.tolist() else -x,
}


@pytest.mark.parametrize("what", LOOKS)
def test_a_value_taken_out(what: str) -> None:
    said = refused(LOOKS[what])
    found = re.search(r"test_capture_errors\.py:(\d+)", said)
    assert found is not None and int(found[1]) in lines_of(LOOKS[what]), said
    assert "tinygrad_zoo" in said or "outside" in said


MASKS: dict[str, Callable[..., Any]] = {
    "a mask": lambda x: x[x > 0],
    "masked_select": lambda x: tz.masked_select(x, x > 0),
    "nonzero": lambda x: tz.nonzero(x),
    "nms": lambda x: tz.nms(tz.stack(x, x, x + 1, x + 1, axis=1), x, 0.5),
}


@pytest.mark.parametrize("what", MASKS)
def test_as_many_results_as_values_say(what: str) -> None:
    said = refused(MASKS[what])
    assert "depends on values" in said and "where" in said and "test_capture_errors.py" in said


def test_writing_data() -> None:
    def assigns(x: Any) -> None:
        w.data = x.data

    def writes(x: Any) -> None:
        w.data[...] = 0

    def adds(x: Any) -> None:
        w.data -= 0.1

    for step in (assigns, writes, adds):
        assert "effect" in refused(step)
    assert w.tolist() == [1.0, 1.0, 1.0]


# ---- numbers of Python
def test_a_number_that_changes() -> None:
    count = [0]

    def step(x: Any) -> Any:
        count[0] += 1
        return x * count[0]

    said = refused(step)
    assert "each_step" in said and "argument" in said


def test_a_tensor_of_numbers_that_change() -> None:
    count = [0]

    def step(x: Any) -> Any:
        count[0] += 1
        return x * tz.tensor([1.0, 2.0, float(count[0])])

    assert "holds other numbers" in refused(step)


def test_a_branch() -> None:
    count = [0]

    def step(x: Any) -> Any:
        count[0] += 1
        return tz.exp(x) if count[0] % 2 else tz.sin(x)

    said = refused(step)
    assert "exp" in said and "sin" in said and "test_capture_errors.py" in said


def test_a_counter_that_decides_later() -> None:
    count = 0

    def step(x: Any) -> Any:
        nonlocal count
        count += 1
        return x * 2 if count < 5 else x * 3

    said = refused(step)
    assert "count" in said and "effect" in said


class Counting(nn.Module):
    def __init__(self) -> None:
        self.calls, self.weight = 0, nn.Parameter(np.ones(3, np.float32))

    def forward(self, x: Any) -> Any:
        self.calls += 1
        return x * self.weight if self.calls < 5 else x


def test_a_counter_of_a_module() -> None:
    model = Counting()
    assert "model.calls" in refused(lambda x: model(x))


_calls = 0


def _counted(x: Any) -> Any:
    global _calls
    _calls += 1
    return x * 2 if _calls < 5 else x


def test_a_global_counter_of_another_function() -> None:
    assert "_calls" in refused(lambda x: _counted(x))


class Trainer:
    def __init__(self) -> None:
        self.step_count, self.unused, self.log = 0, 0, []

    def step(self, x: Any) -> Any:
        self.step_count += 1
        return x * 2 if self.step_count < 5 else x

    def noted(self, x: Any) -> Any:
        self.log.append(1)
        return x * 2

    def plain(self, x: Any) -> Any:
        return x * 2


def test_counters_and_lists_of_an_object() -> None:
    assert "step_count" in refused(Trainer().step)
    assert "log" in refused(Trainer().noted)
    trainer = Trainer()
    captured = tz.capture(trainer.plain)
    for _ in range(6):
        captured(ones())
        trainer.step_count += 1  # the step does not look at it
    assert captured.counts["replayed"] == 4


def test_a_number_around_the_step_that_is_another_one_later() -> None:
    model, scale = nn.Dropout(0.5, rng=np.random.default_rng(0)), 2.0
    step = tz.capture(lambda x: model(x) * scale)
    for _ in range(4):
        step(ones(64))
    model.eval()
    for _ in range(4):
        assert step(ones(64)).tolist() == [2.0] * 64
    scale = 3.0
    for _ in range(4):
        assert step(ones(64)).tolist() == [3.0] * 64
    model.train()
    assert 0.0 in step(ones(64)).tolist()
    assert step.counts["replayed"] >= 6


def test_a_module_or_a_tensor_in_another_place_later() -> None:
    model = nn.Sequential(nn.Linear(3, 3, rng=np.random.default_rng(0)))
    table = ones()
    step = tz.capture(lambda x: model(x) * table)
    for _ in range(3):
        step(ones())
    table = tz.tensor([1.0, 2.0, 3.0])
    assert unlike(step(ones()), model(ones()) * table) is None
    for _ in range(3):
        assert unlike(step(ones()), model(ones()) * table) is None
    model = nn.Sequential(nn.Linear(3, 3, rng=np.random.default_rng(1)))
    for _ in range(3):
        assert unlike(step(ones()), model(ones()) * table) is None
    model[0].weight = nn.Parameter(np.eye(3, dtype=np.float32))
    for _ in range(3):
        assert unlike(step(ones()), model(ones()) * table) is None


def test_a_frozen_parameter() -> None:
    v = tz.tensor([1.0, 2.0, 3.0], requires_grad=True)
    u = tz.tensor([1.0, 1.0, 1.0], requires_grad=True)

    def step(x: Any) -> Any:
        v.grad = u.grad = None
        (u * v * x).sum().backward()

    captured = tz.capture(step)
    for _ in range(4):
        captured(ones())
        assert v.grad is not None
    v.requires_grad = False
    for _ in range(4):
        captured(ones())
        assert v.grad is None and u.grad.tolist() == [1.0, 2.0, 3.0]


def test_what_changes_in_every_call_is_said() -> None:
    level = 0.0
    captured = tz.capture(lambda x: x if level > 100 else x * 2)
    with pytest.raises(CaptureError, match="level"):
        for i in range(20):
            level = float(i)
            captured(ones())


# ---- random numbers
def test_numbers_drawn_by_the_step_itself() -> None:
    rng = np.random.default_rng(0)
    steps: list[Callable[..., Any]] = [
        lambda x: x if rng.random() < 2 else -x,
        lambda x: x if np.random.random() < 2 else -x,  # noqa: NPY002 (what is refused)
        lambda x: x if random.random() < 2 else -x,
        lambda x: tz.randn(3, rng=rng) + x if rng.random() < 2 else -x,
        lambda x: x * draw(rng, lambda r: r.random(3)).max(),
        lambda x: x if draw(rng, lambda r: r.random()) < 2 else -x,
        lambda x: x * int(draw(rng, lambda r: r.integers(1, 2))),
    ]
    for step in steps:
        said = refused(step)
        assert "test_capture_errors.py" in said or "draws" in said
    assert "draws" in refused(lambda x, rng: x if rng.random() < 2 else -x, ones(), rng)


def test_an_array_that_ops_are_given_as_it_is() -> None:
    """What `.data` gives, and `draw`, may be an op's argument: a replay gives it too."""
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)

    def step(x: Any, rng: Any) -> Any:
        drawn = draw(rng, lambda r: r.integers(0, 3, 2))
        return tz.tensor(x.data) * 2, tz.Tensor(x.data) + x, tz.where(x > 0, x.data, 0), x[drawn], tz.exp(x.data)

    captured = tz.capture(step)
    for i in range(5):
        x = tz.tensor([1.0 - i, 2.0 * i, 3.0])
        assert unlike(captured(x, rng), step(x, twin)) is None
    assert captured.counts["replayed"] == 3


# ---- numbers that are asked anew
def test_arithmetic_on_a_number_that_is_asked_anew() -> None:
    assert "each_step" in refused(lambda x: x * (2 * tz.each_step(lambda: 0.5)))
    assert "each_step" in refused(lambda x: x if tz.each_step(lambda: 0.5) > 0 else -x)


def test_a_number_that_is_asked_anew() -> None:
    rate = [1.0]
    step = tz.capture(lambda x: x * tz.each_step(lambda: rate[0]))
    for i in range(6):
        rate[0] = float(max(1, i))
        assert step(ones()).tolist() == [rate[0]] * 3


def test_what_an_effect_returns() -> None:
    @tz.effect
    def judged(x: Any) -> Any:
        return float(x.numpy().sum()) > 0

    assert "effect" in refused(lambda x: x if judged(x * 2) else -x)


def test_an_effect_has_the_values_of_each_replay() -> None:
    found: list[float] = []

    @tz.effect
    def note(x: Any, more: Any) -> Any:
        found.append(float(x.numpy().sum()) + more["y"][0].item())
        return x * 10

    step = tz.capture(lambda x: note(x * 2, {"y": [x.sum()]}) + 1)
    for i in range(5):
        assert step(tz.tensor([float(i)])).tolist() == [20.0 * i + 1]
    assert found == [3.0 * i for i in range(5)]


def test_what_an_effect_goes_through_once_it_goes_through_in_every_replay() -> None:
    model = nn.Linear(3, 1, bias=False, rng=np.random.default_rng(0))

    def step(x: Any) -> Any:
        model.zero_grad()
        model(x).sum().backward()
        return optim.clip_grad_norm_((p for p in model.parameters()), 1e-3)

    captured = tz.capture(step)
    for i in range(5):
        assert captured(tz.tensor([[3.0 * i, 4.0 * i, 0.0]])).item() == 5.0 * i
        assert np.linalg.norm(model.weight.grad.numpy()) <= 1e-3


# ---- arguments and what lies around
def test_an_argument_with_a_graph() -> None:
    x = ones().requires_grad_() * 2
    assert "detach" in refused(lambda x: x * 2, x)


def test_an_argument_with_a_gradient() -> None:
    x = ones().requires_grad_()
    x.grad = ones()
    assert "grad" in refused(lambda x: (x * x).sum().backward(), x)


def test_an_outer_tensor_with_a_graph() -> None:
    h = w * 2
    said = refused(lambda x: (x * h).sum())
    assert "mul" in said and "detach" in said


def test_captures_do_not_nest() -> None:
    inner = tz.capture(lambda x: x * 2)
    assert "nest" in refused(lambda x: inner(x))
    with tz.detect_anomaly():
        assert "nest" in refused(lambda x: x * 2)


def test_detect_anomaly_inside() -> None:
    def step(x: Any) -> Any:
        with tz.detect_anomaly():
            return x * 2

    with pytest.raises(TinygradZooError, match="nest"):
        tz.capture(step)(ones())


def test_a_failed_recording_leaves_nothing_behind() -> None:
    fails = [True]

    def step(x: Any) -> Any:
        if fails[0]:
            raise RuntimeError("stop")
        return x * 2

    captured = tz.capture(step)
    with pytest.raises(RuntimeError, match="stop"):
        captured(ones())
    assert tz.grad_mode.state.recorder is None and tz.grad_mode.state.observer is None
    fails[0] = False
    for _ in range(4):
        assert captured(ones()).tolist() == [2.0] * 3
    assert captured.counts["replayed"] == 2


def test_settings_of_capture() -> None:
    for settings in ({"check_every": 0}, {"max_programs": 0}, {"max_programs": 1.5}):
        with pytest.raises(UsageError, match=next(iter(settings))):
            tz.capture(lambda x: x, **settings)
    with pytest.raises(UsageError, match="function"):
        tz.capture(3)  # type: ignore[call-overload]
    with pytest.raises(CaptureError, match="twice"):
        tz.capture(lambda x: x).report()


def test_minus_zero_and_nan_are_other_numbers() -> None:
    step = tz.capture(lambda x, y: x / y)
    for _ in range(3):
        assert step(ones(1), 0.0).tolist() == [np.inf] and step(ones(1), -0.0).tolist() == [-np.inf]
        assert np.isnan(step(ones(1), float("nan")).tolist()[0])
    assert step.counts["programs"] == 3


def test_things_are_told_apart_by_what_they_are_not_by_where_they_lie() -> None:
    step = tz.capture(lambda x, f: f(x))
    for i in range(40):
        assert step(ones(1), lambda x, i=i: x * i).tolist() == [float(i)]


# ---- check_every
def test_check_every_notices_what_python_decides() -> None:
    box: dict[str, Any] = {"hidden": type("Hidden", (), {"__slots__": ("on",)})()}
    box["hidden"].on = False
    step = tz.capture(lambda x: x * 3 if box["hidden"].on else x * 2, check_every=2)
    for _ in range(4):
        step(ones())
    box["hidden"].on = True  # in a slot, where nobody looks
    with pytest.raises(CaptureError, match="not what the step does"):
        for _ in range(3):
            step(ones())

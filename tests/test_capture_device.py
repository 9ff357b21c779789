"""Capture on a device, by the stand-in for CuPy, whose graphs run nothing before they are launched.

That captured training is eager training there too is seen in test_capture.py and test_capture_training.py, which run on
both; what is here is of devices alone. Every comparison is bitwise: a graph launches what the ops launch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_zoo as tz
from capture_checks import MLP, arrays, batches, captured_as_eager, fresh, replay_of, states, unlike
from planting import planted
from test_capture_programs import OPS, REFUSED, _alike, _samples, _step, compare
from tinygrad_zoo import backend, nn, optim
from tinygrad_zoo.capture import graphs, replay
from tinygrad_zoo.capture.entries import mapped
from tinygrad_zoo.capture.steps import Drawing, Outside
from tinygrad_zoo.errors import CaptureError
from tinygrad_zoo.ops.random import draw
from tinygrad_zoo.recipe import Recipe, registered
from tinygrad_zoo.testing import cupysim, seeds
from tinygrad_zoo.testing.cupysim.transfers import watch
from tinygrad_zoo.training import Saved
from tinygrad_zoo.training.loop import advance, captured_step, prepare

STEPS = 4
PHASES = {"made", "gan", "wgan_gp", "wgan_clip", "code_prior"}  # whose next steps do something else


@pytest.fixture(autouse=True)
def on_the_stand_in() -> Iterator[None]:
    with backend.using("cupysim"):
        yield


def same(step: Callable[..., Any], *shapes: Any) -> Any:
    """Captured as eager on five batches of these shapes, bitwise; the captured function."""
    first, *others = (arrays(seed, *shapes) for seed in range(5))
    said, captured = captured_as_eager(step, first, others)
    assert said is None, said
    return captured


def defined(forward: Callable[[Any], Any]) -> Any:
    """An op of one array."""
    return tz.primitive(vjp=(lambda g, out, x: g,), samples=lambda r: [(r(3),)], reference=np.asarray)(forward)


# ---- what is in a graph
def test_a_step_between_draws_and_effects_is_one_graph() -> None:
    model = nn.Sequential(nn.LayerNorm(6), nn.Dropout(0.5, rng=np.random.default_rng(0)), nn.GELU(), nn.Dropout(
        0.5, rng=np.random.default_rng(1)
    ))  # fmt: skip
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def step(x: Any) -> Any:
        optimizer.zero_grad()
        loss = (model(x) ** 2).mean()
        loss.backward()
        optimizer.step()
        return loss

    captured = tz.capture(step)
    for x in (arrays(seed, (4, 6)) for seed in range(4)):
        captured(*fresh(x))
    report = captured.report()
    assert report["graphs"] == 1 and report["launches"] == 0
    assert report["python"] == {"draw": 2, "Optimizer.step": 1} and report["native"] == report["steps"] - 3
    assert [type(s) for s in replay_of(captured).steps[:2]] == [Drawing, Drawing]
    assert isinstance(replay_of(captured).steps[-1], Outside)
    assert captured.program.count("\npy ") + captured.program.startswith("py ") == 3


def test_a_replay_waits_for_nothing_and_copies_only_what_is_drawn() -> None:
    model = MLP(np.random.default_rng(0), dropout=0.3)

    def step(x: Any, y: Any) -> Any:
        model.zero_grad()
        loss = tz.cross_entropy(model(x), y)
        loss.backward()
        return loss

    captured = tz.capture(step)
    for x, y in batches(2):
        captured(x, y)
    given = list(batches(3))
    with watch() as log:
        for x, y in given:
            captured(x, y)
    assert captured.counts["replayed"] == 3
    assert not log.hidden and not log.explicit and log.uploads == 3  # a key of dropout


def test_what_waits_for_the_device_stays_python() -> None:
    halved = defined(lambda x: x / 2 if float(x.sum()) > 0 else x)
    captured = same(lambda x: tz.exp(halved(tz.exp(x) * 2)) + 1, (3, 4))
    report = captured.report()
    assert report["graphs"] == 2 and list(report["python"].values()) == [1]
    step = tz.capture(lambda x: halved(x * 1))
    for sign in (1, 1, 1, -1):
        (x,) = arrays(0, (5,))
        assert step(tz.tensor(abs(x) * sign)).tolist() == (abs(x) / 2 if sign > 0 else -abs(x)).tolist()


def test_what_copies_from_the_host_stays_python() -> None:
    drawn = iter(range(100))
    table = np.zeros(3, np.float32)

    def forward(x: Any) -> Any:
        table[:] = next(drawn)  # the memory that a graph would read again, and at another time
        return x + cupysim.asarray(table)

    uploading = defined(forward)
    step = tz.capture(lambda x: uploading(x * 1) * 2)
    found = [step(tz.zeros(3)).tolist()[0] for _ in range(6)]
    assert step.report()["graphs"] == 2
    assert found == sorted(set(found))


def test_a_library_that_is_not_captured_stays_python() -> None:
    captured = same(lambda x: tz.exp(tz.inv(x @ x.mT + 8 * tz.eye(4))).sum(), (2, 4, 4))
    assert captured.report()["python"].get("inv") == 1


def test_a_number_that_is_asked_anew_stays_python() -> None:
    rate = [1.0]
    step = tz.capture(lambda x: (x * tz.each_step(lambda: rate[0])) + 1)
    for k in range(5):
        rate[0] = float(k)
        assert step(tz.ones(2)).tolist() == [k + 1.0] * 2
    assert step.report()["python"] == {"mul": 1}


def test_a_host_array_is_moved_in_every_replay() -> None:
    rng, twin = np.random.default_rng(0), np.random.default_rng(0)

    def step(x: Any, rng: Any) -> Any:
        drawn = draw(rng, lambda r: r.standard_normal(3).astype(np.float32))
        return x * tz.tensor(drawn) + tz.randn(3, rng=rng)

    captured = tz.capture(step)
    for k in range(5):
        x = tz.full((3,), k)
        assert unlike(captured(x, rng), step(x, twin)) is None
    assert captured.counts["replayed"] == 3 and captured.report()["graphs"] == 1


def test_what_is_drawn_by_what_an_effect_wrote_is_drawn_after_it() -> None:
    def build() -> Any:
        rng, state = np.random.default_rng(0), tz.zeros(3)

        @tz.effect
        def add(x: Any) -> None:
            state.data[...] += x.data

        def step(x: Any, rng: Any = rng) -> Any:
            add(x * 2)
            return x * tz.Tensor(draw(rng, lambda r: state.data + float(r.random())))

        return step

    captured, eager = tz.capture(build()), build()
    for k in range(5):
        assert unlike(captured(tz.full((3,), k)), eager(tz.full((3,), k))) is None


def test_a_result_of_another_layout_than_recorded_is_copied() -> None:
    orders = iter("CCCC" + "F" * 20)
    turned = defined(lambda x: x.copy(order=next(orders)))
    step = tz.capture(lambda x: (turned(x * 1), turned(x * 2) + 0 * x))
    for seed in range(5):
        (x,) = arrays(seed, (3, 4))
        assert unlike(step(tz.tensor(x)), (x, x * 2)) is None


@pytest.mark.parametrize("maximize", [False, True])
def test_an_optimizer_between_eager_and_captured_steps(maximize: bool) -> None:
    """A graph puts the gradients side by side; an eager step between two replays has its own."""

    def build() -> Any:
        w, v = (tz.tensor(x, requires_grad=True) for x in arrays(0, (3,), (2, 3)))
        optimizer = optim.SGD([w, v], lr=0.1, momentum=0.9, maximize=maximize)

        def step(x: Any) -> Any:
            optimizer.zero_grad()
            (tz.tanh(w * x).sum() + (v @ x).sum()).backward()
            optimizer.step()
            return w.detach() * 1, v.detach() * 1

        def between() -> None:
            w.grad, v.grad = w.detach() * 2, None
            optimizer.step()

        return step, between

    (step, between), (eager, other) = build(), build()
    captured = tz.capture(step)
    for k in range(8):
        (x,) = arrays(k, (3,))
        assert unlike(captured(tz.tensor(x)), eager(tz.tensor(x))) is None
        if k in (3, 5):
            between(), other()
    assert captured.counts["replayed"] == 6 and captured.report()["python"]["Optimizer.step"] == 1


# ---- what is where
def test_results_and_gradients_survive_the_next_replay() -> None:
    w = tz.tensor([1.0, 2.0], requires_grad=True)

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        return w * x, x.reshape(1, 2)[:, ::-1]

    captured, kept = tz.capture(step), []
    for k in range(5):
        kept.append(captured(tz.full((2,), k)))
        assert w.grad is not None and w.grad.tolist() == [k, k]
    for k, (product, view) in enumerate(kept):
        assert product.tolist() == [k, 2 * k] and view.tolist() == [[k, k]]


def test_gradients_are_added_to_those_of_the_call_before() -> None:
    w = tz.tensor([1.0, 1.0], requires_grad=True)
    step = tz.capture(lambda x: (w * x).sum().backward())
    for k in range(6):
        step(tz.tensor([1.0, 2.0]))
        assert w.grad is not None and w.grad.tolist() == [1.0 + k, 2.0 + 2 * k]


def test_values_that_nobody_needs_lose_their_memory() -> None:
    captured = same(lambda x: tz.exp(tz.exp(tz.exp(x * 0.1) * 0.1) * 0.1), (64,))
    replay = replay_of(captured)
    assert len(replay.bound.memory) == 2  # the argument and the result
    assert replay.arena.size >= 2 * 256 and len(replay.arena.offsets) == 7


def test_a_picture_of_a_program_of_graphs(tmp_path: Any) -> None:
    captured = same(lambda x: tz.exp(x * 2).sum(), (8,))
    captured.draw(tmp_path / "program.png")
    assert (tmp_path / "program.png").stat().st_size > 10_000


def test_programs_of_two_devices_are_told_apart() -> None:
    step = tz.capture(lambda x: x * 2)
    for _ in range(3):
        for device in ("cpu", "cupysim"):
            found = step(tz.tensor([1.0], device=device))
            assert found.device.startswith(device) and found.tolist() == [2.0]
    assert step.counts["programs"] == 2 and step.counts["replayed"] == 2


# ---- what is refused
LOOKS: dict[str, Callable[[Any], Any]] = {
    "item": lambda x: (x * 2).sum().item(),
    "float": lambda x: x * float(x.sum()),
    "a branch": lambda x: x if x.sum() > 0 else -x,
    "numpy": lambda x: (x * 2).numpy(),
    "data, computed with": lambda x: x * ((x * 2).data + 1),
    "data by a method": lambda x: x / x.data.max(),
    "data by get": lambda x: x * x.data.get().sum(),
    "data by the array's module": lambda x: x * cupysim.exp(x.data),
}


@pytest.mark.parametrize("what", LOOKS)
def test_a_value_taken_out(what: str) -> None:
    with pytest.raises(CaptureError, match=r"test_capture_device\.py:\d+"):
        tz.capture(LOOKS[what])(tz.ones(3))


def test_a_mask_is_refused() -> None:
    with pytest.raises(CaptureError, match=r"depends on values: write tinygrad_zoo\.where"):
        tz.capture(lambda x: x[x > 0])(tz.ones(3))


def test_tensors_of_numbers_that_change_are_refused() -> None:
    count = iter(range(100))
    step = tz.capture(lambda x: x * tz.tensor([float(next(count)), 1.0, 2.0]))
    with pytest.raises(CaptureError, match="holds other numbers in every call"):
        for _ in range(5):
            step(tz.ones(3))


def test_check_every_notices_another_result() -> None:
    class Hidden:
        __slots__ = ("scale",)

    hidden = Hidden()
    hidden.scale = 1.0
    scaled = defined(lambda x: x * hidden.scale)
    step = tz.capture(lambda x: scaled(x), check_every=2)
    for _ in range(4):
        step(tz.ones(3))
    hidden.scale = 2.0  # a graph has the number that it was captured with
    with pytest.raises(CaptureError, match="not what the step does: result 0 is"):
        for _ in range(3):
            step(tz.ones(3))


# ---- programs, ops, systems
@pytest.mark.usefixtures("formulas")
@settings(max_examples=settings().max_examples // 10)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), steps=st.integers(3, 12), seed=seeds())
def test_random_programs_are_replayed_as_they_are(data: Any, dtype: str, steps: int, seed: int) -> None:
    with backend.using("cupysim"):
        compare(data.draw, dtype, steps, seed, 1e-6 * steps)


@pytest.mark.usefixtures("formulas")
@pytest.mark.parametrize("group", range(4))
def test_every_op_is_replayed_as_it_is(group: int) -> None:
    """On its first sample."""
    said = []
    for name in sorted(set(OPS) - REFUSED)[group::4]:
        inputs, options = _samples(name, "float32")[0]
        options = mapped(options, lambda x: backend.to_device(x, backend.default_device()))
        first, *others = inputs
        others = [v for v in others if all(map(_alike, v, first))] or [first]
        found, _ = captured_as_eager(_step(OPS[name], options), first, others, 2e-6)
        said += [] if found is None else [f"{name}: {found}"]
    assert not said, "\n".join(said)


@pytest.mark.usefixtures("formulas")
@pytest.mark.parametrize("recipe", registered(), ids=lambda recipe: recipe.name)
def test_captured_steps_are_those_of_eager_training(recipe: Recipe[Any, Any]) -> None:
    config = recipe.config.overridden({"steps": STEPS})
    eager, state = (prepare(recipe, config, seed=0) for _ in range(2))
    captured = captured_step(recipe, state)
    for _ in range(STEPS):
        expected, found = advance(recipe, eager), advance(recipe, state, captured)
        ours, theirs = ({name: float(value) for name, value in run.items()} for run in (found, expected))
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert (said := unlike(states(state.model), states(eager.model), 2e-5)) is None, said
        assert state.rng.bit_generator.state == eager.rng.bit_generator.state
        Saved.of(eager).restore(state)
    assert captured.counts["replayed"] == STEPS - 2 or recipe.name in PHASES


# ---- faults
# function of graphs.py, the text in it, what it becomes, the test that notices
FAULTS: dict[str, tuple[str, str, str, str, Callable[[], None]]] = {
    "a draw before the effect that it reads": (
        "", "draws_first", "behind = len(found)", "pass",
        test_what_is_drawn_by_what_an_effect_wrote_is_drawn_after_it,
    ),
    "another layout that nobody copies": (
        "OnDevice", "adopt", "if value.size and same and start == ref.offset:", "if value.size:",
        test_a_result_of_another_layout_than_recorded_is_copied,
    ),
    "a result that is not copied to its place": (
        "OnDevice", "adopt", "place[...] = value", "pass", test_gradients_are_added_to_those_of_the_call_before,
    ),
    "copies from the host that are captured": (
        "", "_refusing", "raise CaptureError(", "str(", test_what_copies_from_the_host_stays_python,
    ),
    "numbers asked anew that are captured": (
        "Graphs", "_tried", "isinstance(x, Live | Cell)", "isinstance(x, Cell)",
        test_a_number_that_is_asked_anew_stays_python,
    ),
    "a graph that stands for a step less": (
        "Graphs", "run_from", "return graph.launch, end", "return graph.launch, end - (end > first + 1)",
        test_a_step_between_draws_and_effects_is_one_graph,
    ),
    "memory that is given away too early": (
        "Graphs", "_add", "if self._last[block] == at:", "if self._last[block] <= at + 1:",
        test_values_that_nobody_needs_lose_their_memory,
    ),
    "memory that is never given away": (
        "Graphs", "_add", "self.bound.memory.pop(block, None)", "pass", test_values_that_nobody_needs_lose_their_memory,
    ),
    "arguments whose memory is given away": (
        "Graphs", "__init__", "{block.owner for block in kept}", "set()",
        test_results_and_gradients_survive_the_next_replay,
    ),
    "gradients that are put side by side once": (
        "Update", "run", "self.join()", "pass", lambda: test_an_optimizer_between_eager_and_captured_steps(False),
    ),
    "a failed capture that is not ended quietly": (
        "Graphs", "_captured", "contextlib.suppress(Exception)", "contextlib.suppress(KeyError)",
        test_what_waits_for_the_device_stays_python,
    ),
    "steps before and behind one of Python in a wrong order": (
        "Graphs", "run_from", "self._fits[reached], end = False, reached", "self._fits[reached], end = False, first",
        test_what_waits_for_the_device_stays_python,
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, method, old, new, check = FAULTS[fault]
    place, name, function = planted(graphs, owner, method, old, new)
    monkeypatch.setattr(place, name, function)
    if name == "draws_first":  # which another module has by name
        monkeypatch.setattr(replay, name, function)
    with pytest.raises((AssertionError, RuntimeError, LookupError, CaptureError)):
        check()

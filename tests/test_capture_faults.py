"""Faults that are planted in capture are noticed: by the comparison with eager steps, by canaries, by `check_every`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from capture_checks import Canaries, captured_as_eager, overlaps, replay_of, unlike
from planting import planted
from tinygrad_zoo import nn, optim
from tinygrad_zoo.capture import launches, lowering, pointwise, program, recorder, replay, steps, surroundings
from tinygrad_zoo.errors import CaptureError, IndexingError, TinygradZooError

capture: Any = import_module("tinygrad_zoo.capture.captured")


def _arrays(seed: int) -> list[Any]:
    rng = np.random.default_rng(seed)
    classes = rng.integers(0, 4, 16)
    classes[: 3 * seed] = 1  # ignored below
    return [rng.standard_normal((16, 8)).astype(np.float32), classes]


class Model(nn.Module):
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.first, self.norm, self.last = nn.Linear(8, 16, rng=rng), nn.BatchNorm1d(16), nn.Linear(16, 4, rng=rng)
        self.dropout = nn.Dropout(0.3, rng=rng)

    def forward(self, x: Any) -> Any:
        h = self.norm(self.first(x))
        h = tz.tanh(h) * tz.sigmoid(h) + h * h.copy()
        return self.last(self.dropout(tz.softmax(h, axis=-1) + h))


def _training(rate: list[float]) -> tuple[Model, Callable[..., Any]]:
    model = Model()
    optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    schedule = optim.StepLR(optimizer, step_size=2, gamma=0.5)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tz.cross_entropy(model(x), y, ignore_index=1) * tz.each_step(lambda: rate[0])
        loss.backward()
        optimizer.step()
        schedule.step()
        return loss, (loss * 2).exp()

    return model, step


def training() -> None:
    """Two runs, captured and eager, told apart by results and by state."""
    rate = [1.0]
    (model, step), (twin, eager) = _training(rate), _training(rate)
    captured = tz.capture(step)
    canaries = None
    for seed in (0, 0, 1, 2, 3, 4):
        rate[0] = 1.0 + 0.25 * seed
        x, y = map(tz.tensor, _arrays(seed))
        found, expected = captured(x, y), eager(x, y)
        assert (said := unlike(found, expected, 1e-5)) is None, said
        assert (said := unlike(model.state_dict(), twin.state_dict(), 1e-5)) is None, said
        grads = [[p.grad for p in m.parameters()] for m in (model, twin)]
        assert (said := unlike(*grads, 1e-5)) is None, said
        canaries = Canaries(replay_of(captured)) if captured.counts["programs"] and canaries is None else canaries
    assert captured.counts["replayed"] == 4 and canaries is not None
    assert not canaries.touched() and not overlaps(replay_of(captured))


def chains() -> None:
    """Pointwise ops between others, values that are read late, copies of what is written on."""

    def step(x: Any, y: Any) -> Any:
        x = x.detach().requires_grad_()
        a = tz.exp(x * 0.5)
        b = a.sum(axis=0) + tz.tanh(a)
        c = (a.copy() * b).reshape(-1)[3:40] * 2
        d = tz.where(x > 0, a, b * 3)
        ((c.sum() + (d * d).mean()) * tz.max_pool2d(x.reshape(1, 1, 16, 8), 2).sum()).backward()
        e = tz.div(a, 0.3, rounding_mode="floor")
        f = tz.layer_norm(x.T, (16,)) + tz.softmax(x.T, axis=0) + tz.conv1d(x.T[None], tz.ones(8, 8, 3), padding=1)[0]
        return a, b, c, d, e, f, x.grad, tz.embedding(y, x)

    said, _ = captured_as_eager(step, _arrays(0), [_arrays(i) for i in (1, 2, 3)], 1e-5)
    assert said is None, said


def aliases() -> None:
    """Arguments that were one array while recorded, and a parameter that another array takes the place of."""
    w = tz.tensor(np.ones(3, np.float32), requires_grad=True)
    step = tz.capture(lambda x, y: (x - y) * w)
    both = tz.tensor([1.0, 2.0, 3.0])
    step(both, both)
    step(both, both)
    assert step(both, both * 2).tolist() == [-1.0, -2.0, -3.0]
    w.data = np.full(3, 2, np.float32)
    assert step(both, both * 2).tolist() == [-2.0, -4.0, -6.0]


def modes() -> None:
    model = nn.Dropout(0.5, rng=np.random.default_rng(0))
    step = tz.capture(lambda x: model(x))
    for _ in range(3):
        step(tz.tensor(np.ones(64, np.float32)))
    model.eval()
    assert step(tz.tensor(np.ones(64, np.float32))).tolist() == [1.0] * 64


def added() -> None:
    """Gradients that are added to those of the call before."""
    w = tz.tensor([1.0, 1.0], requires_grad=True)
    step = tz.capture(lambda x: (w * x).sum().backward())
    for i in range(6):
        step(tz.tensor([1.0, 2.0]))
        assert w.grad.tolist() == [1.0 + i, 2.0 + 2 * i]


def handed_out() -> None:
    """Gradients that somebody forgets between calls, results that somebody keeps."""

    def step(x: Any) -> Any:
        w.grad = None
        (w * x).sum().backward()
        return w * x

    w, kept = tz.tensor([1.0, 1.0], requires_grad=True), []
    captured = tz.capture(step)
    for i in range(5):
        kept.append(captured(tz.tensor([1.0, i])))
        assert w.grad is not None and w.grad.tolist() == [1.0, i]
        w.grad = None
    assert [x.tolist() for x in kept] == [[1.0, i] for i in range(5)]


def clipped() -> None:
    """Two gradients that are the same until an effect writes into each of them."""
    v, w = (tz.tensor([1.0, 1.0], requires_grad=True) for _ in range(2))

    def step(x: Any) -> Any:
        v.grad = w.grad = None
        ((v + w) * x).sum().backward()
        return optim.clip_grad_norm_([v, w], 0.5)

    captured = tz.capture(step)
    for i in range(5):
        norm = captured(tz.tensor([3.0 + i, 4.0]))
        found = [v.grad.numpy().copy(), w.grad.numpy().copy()]
        assert unlike([norm, *found], [step(tz.tensor([3.0 + i, 4.0])), v.grad, w.grad], 1e-6) is None


def tables() -> None:
    """What a kernel is given comes from values that are the same in both recordings."""
    key = np.arange(4, dtype=np.uint32)
    step = lambda x, y, key: (
        tz.dropout(x.T, key, p=0.5),
        tz.max_unpool1d(*tz.max_pool1d(x, 2, return_indices=True), 2),
    )
    others = [[*_arrays(i), key + np.uint32(i)] for i in (1, 2, 3)]
    said, _ = captured_as_eager(step, [*_arrays(0), key], others)
    assert said is None, said


def refusals() -> None:
    rng = np.random.default_rng(0)
    for step in (
        lambda x: x * np.asarray(x.data),
        lambda x: x if rng.random() < 2 else -x,
        lambda x: x[x > 0],
    ):
        captured = tz.capture(step)
        try:
            for _ in range(3):
                captured(tz.tensor([1.0, 2.0]))
        except CaptureError:
            continue
        raise AssertionError("nothing was refused")


CHECKS: dict[str, Callable[[], None]] = {
    f.__name__: f for f in (training, chains, aliases, modes, added, handed_out, clipped, tables, refusals)
}

# module, class, function, the text in it, what it becomes
# ruff: noqa: E501 (a line a fault)
FAULTS: dict[str, tuple[Any, str, str, str, str]] = {
    "lifetimes that overlap": (program, "", "plan", "if a <= stop and start <= b:", "if a < stop and start < b - 1:"),
    "results that do not last": (program, "", "plan", "used(block, len(steps))", "pass"),
    "no room between blocks, and too little": (program, "Arena", "__init__", "at + b.array.nbytes]", "at + b.array.nbytes + 65]"),
    "an argument that is not copied in": (replay, "Replay", "_put", "place[...] = _data(x)", "pass"),
    "a number that is not asked anew": (replay, "Replay", "_run", "slot[0] = number()", "pass"),
    "gradients that are not handed out": (replay, "Replay", "_run", "x._grad = grad", "pass"),
    "results that are not copied": (replay, "Replay", "_fresh", "self._views[id(x)].copy()", "self._views[id(x)]"),
    "a gradient from before that is not copied in": (replay, "Replay", "_put", "place[...] = grad", "pass"),
    "a rebinding that nobody looks at": (replay, "Replay", "fits", "if x._data is not array", "if False"),
    "a change around that nobody looks at": (surroundings, "Surroundings", "same", "if self.changed() is not None:", "if False:"),
    "a dropped launch": (replay, "Replay", "_native", "run(first, last)", "run(first, last - 1)"),
    "a slice of launches that begins late": (replay, "Replay", "_native", "run(first, last)", "run(first + 1, last)"),
    "an effect that does not run": (steps, "Outside", "action", "result = function(*args, **kwargs)", "result = None"),
    "an effect with the gradients of before": (steps, "Outside", "set_grads", "x._grad = grad", "pass"),
    "a draw that is made once": (steps, "Drawing", "action", "place[...] = values(rng)", "pass"),
    "a chain that keeps less than is read": (
        replay, "", "_store_what_is_read", "if b in kept or readers.get(b, set()) - {i}", "if b in kept"
    ),
    "a chain that goes on behind what it needs": (pointwise, "", "fused", "made & reads and not (takes", "False and not (takes"),
    "a copy that is left out and still read": (
        program,
        "",
        "_without_copies",
        "            and last[x.block.owner] == i\n            and x.block.owner not in needed\n",
        "",
    ),
    "a step that is needed and left out": (program, "", "steps_of", "live |= reads", "pass"),
    "a share that is the recorded one": (lowering, "", "_cross_entropy_backward", "np.zeros(()) if place[0] is None else place[0]", "np.full((), 0.07)"),
    "a sum of fewer numbers": (lowering, "", "_sum", "[a[0], b[0], c[0],", "[a[0], max(b[0] - 1, 1), c[0],"),
    "memory that does not begin as zeros": (steps, "Kernels", "emit", "if plan.zeroed:", "if False:"),
    "copies that a plan leaves out": (steps, "Kernels", "emit", "emit_copy(source, target, bound)", "pass"),
    "tables that come from values": (launches, "_Invented", "like", "elif x != y", "elif False and x != y"),
    "a setting that a chain leaves out": (pointwise, "", "step_of", 'call.settings.get("rounding_mode") is not None', "False"),
    "arguments on the memory of others": (capture, "", "_own", 'x._data.copy(order="K")', "x._data"),
    "data that is given out": (recorder, "Recorder", "read", "return Guarded(array)", "return array"),
    "generators that nobody looks at": (recorder, "Recorder", "check_draws", "self._drawn != self._states()", "False"),
    "masks that are not refused": (recorder, "Recorder", "_refuse_shapes", "masked = any(", "masked = False and any("),
}  # fmt: skip

# With these a kernel would go where overwritten indices say: only steps without such kernels are run.
TAME = {"lifetimes that overlap": ("training", "added", "clipped")}


def complaint(check: Callable[[], None]) -> str | None:
    try:
        with np.errstate(all="ignore"):
            check()
    except (
        AssertionError,
        TinygradZooError,
        ArithmeticError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
    ) as error:
        return f"{type(error).__name__}: {error}"
    return None


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, owner, method, old, new = FAULTS[fault]
    monkeypatch.setattr(*planted(module, owner, method, old, new))
    for name in ("plan", "steps_of", "fused", "_store_what_is_read"):  # where another module has it by name
        if method == name and name in vars(replay):
            monkeypatch.setattr(replay, name, vars(module)[name])
    for table in (lowering.INSTRUCTIONS,):
        for key, value in list(table.items()):
            if value.__name__ == method:
                monkeypatch.setitem(table, key, vars(module)[method])
    said = {name: text for name in TAME.get(fault, CHECKS) if (text := complaint(CHECKS[name])) is not None}
    assert said


def test_without_faults_nothing_is_noticed() -> None:
    assert {name: complaint(check) for name, check in CHECKS.items()} == dict.fromkeys(CHECKS)


@pytest.mark.parametrize(
    "fault",
    ["an argument that is not copied in", "a number that is not asked anew", "a share that is the recorded one"],
)
def test_check_every_notices_a_fault(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, owner, method, old, new = FAULTS[fault]
    place, name, function = planted(module, owner, method, old, new)
    monkeypatch.setattr(place, name, function)
    if method in {f.__name__ for f in lowering.INSTRUCTIONS.values()}:
        monkeypatch.setitem(lowering.INSTRUCTIONS, "cross_entropy_backward", function)
    if fault == "a number that is not asked anew":  # the check asks by itself
        monkeypatch.setattr(*planted(replay, "Replay", "differs", "slot[0] = number()", "pass"))
    rate = [1.0]
    _, step = _training(rate)
    captured = tz.capture(step, check_every=2)
    with pytest.raises((CaptureError, IndexingError), match=r"not what the step does|out of range"):
        for seed in (0, 0, 1, 2, 3, 4, 2):
            rate[0] = 1.0 + 0.25 * seed
            captured(*map(tz.tensor, _arrays(seed)))

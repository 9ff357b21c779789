"""Regions: which launches of a captured step threads may go through without waiting, and that no bit changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from numba import prange

import tinygrad_zoo as tz
from capture_checks import captured_as_eager, replay_of
from planting import planted
from test_capture_programs import OPS, REFUSED, _samples, _step
from tinygrad_zoo import nn, optim
from tinygrad_zoo.capture import program, regions, replay
from tinygrad_zoo.capture.entries import Block, Ref
from tinygrad_zoo.capture.regions import regions_of
from tinygrad_zoo.capture.steps import Bound, Step
from tinygrad_zoo.errors import CaptureError
from tinygrad_zoo.kernels import jit, parts, threads
from tinygrad_zoo.kernels.jit import kernel

if not jit.enabled():
    pytest.skip("kernels are turned off", allow_module_level=True)

SINGLE = np.dtype(np.float32)


# ---- which launches join
@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def doubled(x, out, parts):
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[i] = x[i] + x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def shifted(x, out, parts):
    """The last entry of a part reads the first one of the next part."""
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[i] = x[(i + 1) % x.size]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def flipped(x, out, parts):
    """Reads its own, and writes where the other part's is."""
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[x.size - 1 - i] = x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def signed(x, out, parts):
    """Looks at another part's signs, which NaN has not."""
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[i] = -x[i] if x[x.size - 1 - i] < 0 else x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def finite(x, out, parts):
    """Looks whether another part's entry is NaN, whatever else it may be."""
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            other = x[x.size - 1 - i]
            out[i] = x[i] if other == other else x[i] + 1


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def summed(x, out, parts):
    """A sum of each part: another result for another number of parts."""
    for part in prange(parts):
        total = np.float32(0)
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            total += x[i]
        out[part] = total


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def marked(x, out, parts):
    """A place of each part, with the same number."""
    for part in prange(parts):
        out[part] = x[0]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def added(x, out, parts):
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[i] += x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def evens(x, out, parts):
    for part in prange(parts):
        for i in range(part * x.size // parts // 2 * 2, (part + 1) * x.size // parts, 2):
            out[i] = x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def moved(x, out, parts):
    """Reads its own, and writes some of it where another part's is."""
    for part in prange(parts):
        for i in range(part * x.size // parts, (part + 1) * x.size // parts):
            out[(i + 10) % x.size] = x[i]


@kernel("void(f4[::1], f4[::1], i8)", parallel=True)
def everywhere(x, out, parts):
    """All parts write the same to one place."""
    for part in prange(parts):
        out[0] = x[0] * 2
        for i in range(1 + part * (x.size - 1) // parts, 1 + (part + 1) * (x.size - 1) // parts):
            out[i] = x[i]


@kernel("void(f4[::1], f4[::1])")
def total(x, out):
    out[0] = np.float32(0)
    for i in range(x.size):
        out[0] += x[i]


class Use(Step):
    """A launch of a kernel (x, out[, parts]) on two values, or in place."""

    native = True

    def __init__(self, of: Any, x: Block, out: Block, parts: int = 2) -> None:
        self.of, self.x, self.out, self.count = of, Ref.of(x, x.array), Ref.of(out, out.array), parts
        self.name = self.line = of.function.__name__

    @property
    def parts(self) -> int:
        return self.count

    def reads(self) -> Iterator[Ref]:
        yield self.x

    def writes(self) -> Iterator[Ref]:
        yield self.out

    def emit(self, bound: Bound) -> None:
        arrays = bound.array(self.x), bound.array(self.out)
        given = (*arrays, self.count) if self.of.parallel else arrays
        bound.table.launch(self.of, SINGLE, given)


def values(count: int, size: int = 100, origin: str = "op") -> list[Block]:
    draws = np.random.default_rng(0).uniform(0.5, 2, (count, size)).astype(SINGLE)
    return [Block(x.copy(), origin, i) for i, x in enumerate(draws)]


def found(*steps: Step) -> list[tuple[list[int], list[int]]]:
    """The steps of every region, and those that go ahead of it."""
    return [([i for i, _ in r.launches], [i for i, _ in r.ahead]) for r in regions_of(steps)]


def test_launches_that_stay_among_their_own_are_one_region() -> None:
    a, b, c, d = values(4)
    assert found(Use(doubled, a, b), Use(doubled, b, c), Use(doubled, c, d)) == [([0, 1, 2], [])]
    assert found(Use(doubled, a, b), Use(doubled, b, c, 1)) == [([0, 1], [])]  # a small one is shared too
    assert found(Use(doubled, a, b)) == [] and found() == []
    assert found(Use(doubled, a, b, 1), Use(doubled, b, c, 1)) == []  # a small program stays serial


@pytest.mark.parametrize("of", [shifted, signed, finite, everywhere])
def test_a_launch_that_needs_another_part_begins_a_region(of: Any) -> None:
    a, b, c, d, e = values(5)
    last = [2, 3] if of is everywhere else [1, 2, 3]
    assert found(Use(doubled, a, b), Use(of, b, c), Use(doubled, c, d), Use(doubled, d, e)) == [(last, [])]


def test_what_another_part_has_written_is_not_ones_own() -> None:
    a, b, c, d = values(4)
    assert found(Use(flipped, a, b), Use(doubled, b, c)) == []
    assert found(Use(flipped, a, b), Use(flipped, b, c)) == []
    assert found(Use(flipped, a, b), Use(doubled, a, c), Use(doubled, c, d)) == [([0, 1, 2], [])]


def test_what_depends_on_how_many_parts_there_are_stays_as_it_was() -> None:
    a, b, c = values(3)
    (one,), (two,), (four,) = values(1, 1), values(1, 2), values(1, 4)
    assert found(Use(doubled, a, b), Use(summed, b, one, 1), Use(doubled, b, c)) == [([0, 2], [])]
    assert found(Use(doubled, a, b), Use(summed, b, two), Use(doubled, b, c)) == [([0, 1, 2], [])]
    assert found(Use(doubled, a, b), Use(marked, a, one, 1), Use(doubled, b, c)) == [([0, 2], [1])]
    assert found(Use(doubled, a, b, 4), Use(summed, b, two, 2), Use(doubled, b, c, 4)) == []
    assert found(Use(doubled, a, b, 4), Use(summed, b, four, 4), Use(doubled, b, c, 4)) == [([0, 1, 2], [])]


def test_nothing_is_written_where_others_may_still_read() -> None:
    a, b, c, d = values(4)
    assert found(Use(shifted, a, b), Use(doubled, c, a), Use(doubled, a, d)) == [([1, 2], [])]
    assert found(Use(doubled, a, b), Use(doubled, b, b), Use(doubled, b, c)) == []  # in place
    assert found(Use(doubled, a, b), Use(doubled, c, b), Use(doubled, b, d)) == [([1, 2], [])]  # another step's
    assert found(Use(doubled, a, b), Use(shifted, c, d), Use(flipped, a, b)) == [([0, 1], [])]  # another one's
    assert found(Use(doubled, a, b), Use(moved, a, b)) == []


def crossed() -> None:
    """Two launches of a step, of which the second one writes some of what is another part's."""

    class Twice(Use):
        def emit(self, bound: Bound) -> None:
            super().emit(bound)
            bound.table.launch(moved, SINGLE, (bound.array(self.x), bound.array(self.out), 2))

    a, b = values(2)
    assert found(Twice(doubled, a, b)) == []


def test_two_launches_of_a_step_that_write_the_same() -> None:
    crossed()


def twice() -> None:
    """A launch that adds to what another one of its step has made; and one that reads what nobody has written."""

    class Sum(Use):
        def emit(self, bound: Bound) -> None:
            super().emit(bound)
            bound.table.launch(added, SINGLE, (bound.array(self.x), bound.array(self.out), 2))

    a, b, c = values(3)
    assert found(Sum(doubled, a, b)) == []
    assert found(Use(evens, a, b), Use(evens, b, c)) == [([0, 1], [])]
    assert found(Use(evens, a, b), Use(doubled, b, c)) == []


def test_a_launch_that_adds_and_one_that_reads_what_nobody_wrote() -> None:
    twice()


def test_small_launches_go_ahead_or_are_put_off() -> None:
    a, b, c, d, e = values(5)
    weights, packed, sums = values(3)
    first, last = Use(doubled, a, b), Use(doubled, b, c)
    assert found(first, Use(total, weights, packed), last, Use(doubled, packed, d)) == [([0, 2, 3], [1])]
    assert found(first, Use(total, b, sums), last) == [([0, 2], [])]  # after it
    assert found(first, Use(total, b, sums), last, Use(doubled, sums, d)) == [([0, 2], [])]  # needs that
    assert found(first, Use(total, b, sums), Use(total, sums, d), last) == [([0, 3], [])]
    assert found(first, Use(total, b, sums), Use(doubled, weights, b), last) == [([2, 3], [])]  # not read yet
    assert found(first, Use(total, weights, a), last, Use(doubled, c, d)) == [([0, 2, 3], [])]  # what was to be read
    assert found(first, Use(total, b, sums), Use(total, weights, sums), last, Use(doubled, c, e)) == [([0, 3, 4], [])]

    class Also(Use):
        def reads(self) -> Iterator[Ref]:
            yield from (self.x, Ref.of(weights, weights.array))

    late = Also(total, b, sums)  # which has not read the weights yet
    assert found(first, late, Use(doubled, d, weights), Use(doubled, weights, e)) == [([2, 3], [])]
    assert found(first, last, Use(total, weights, packed)) == [([0, 1], [])]  # behind it as it is


def test_python_and_values_outside_end_a_region() -> None:
    a, b, c, d, e = values(5)
    (outside,) = values(1, origin="outside")
    between = Use(doubled, a, c)
    between.native = False  # type: ignore[misc]
    steps = Use(doubled, a, b), Use(doubled, b, d), between, Use(doubled, a, e), Use(doubled, e, d)
    assert found(*steps) == [([0, 1], []), ([3, 4], [])]
    assert found(Use(doubled, a, b), Use(doubled, outside, c), Use(doubled, c, d)) == [([0, 1, 2], [])]
    assert found(Use(doubled, a, b), Use(doubled, b, outside), Use(doubled, c, d)) == []
    assert outside.array.tobytes() == values(1, origin="outside")[0].array.tobytes()


def test_very_large_values_end_a_region(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b, c, d = values(4)
    steps = Use(doubled, a, b), Use(doubled, b, c), Use(doubled, c, d)
    for largest, expected in ((800, [([0, 1, 2], [])]), (799, [])):
        monkeypatch.setattr(regions, "LARGEST", largest)
        assert found(*steps) == expected


def test_integers_end_a_region() -> None:
    """They may be places where a kernel goes: nothing is put in their stead."""
    a, b, c = values(3)
    places = Block(np.arange(100, dtype=np.int32), "op", 9)

    class Placed(Use):
        def reads(self) -> Iterator[Ref]:
            yield from (self.x, Ref.of(places, places.array))

    class Makes(Use):
        def writes(self) -> Iterator[Ref]:
            yield from (self.out, Ref.of(places, places.array))

        def emit(self, bound: Bound) -> None:
            super().emit(bound)
            numbers = bound.memory[places].view(np.float32)
            bound.table.launch(doubled, SINGLE, (bound.array(self.x), numbers, 2))

    assert found(Makes(doubled, a, b), Use(doubled, b, c)) == [([0, 0, 1], [])]
    assert found(Makes(doubled, a, b), Placed(doubled, b, c)) == [([0, 0], [])]


# ---- whole steps
@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every launch is worth two threads."""
    parts.start()
    monkeypatch.setattr(threads, "WORTH", 1e-3)
    monkeypatch.setattr(threads._state, "most", 2)


class Layer(nn.Module):
    def __init__(self, rng: Any) -> None:
        self.norm, self.other = nn.LayerNorm(32), nn.LayerNorm(32)
        self.qkv, self.out = nn.Linear(32, 96, rng=rng), nn.Linear(32, 32, rng=rng)
        self.up, self.down = nn.Linear(32, 128, rng=rng), nn.Linear(128, 32, rng=rng)

    def forward(self, x: Any) -> Any:
        n, t, _ = x.shape
        q, k, v = tz.permute(self.qkv(self.norm(x)).reshape(n, t, 3, 4, 8), (2, 0, 3, 1, 4)).unbind(0)
        seen = tz.flash_attention(q, k, v, is_causal=True)
        x = x + self.out(tz.permute(seen, (0, 2, 1, 3)).reshape(n, t, 32))
        return x + self.down(tz.gelu(self.up(self.other(x))))


def transformer(rows: int) -> tuple[Any, Callable[..., Any], Callable[[int], list[Any]]]:
    rng = np.random.default_rng(0)
    model = nn.Sequential(nn.Embedding(20, 32, rng=rng), Layer(rng), Layer(rng), nn.Linear(32, 20, rng=rng))
    optimizer = optim.Adam(model.parameters(), lr=0.01)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tz.cross_entropy(model(x).reshape(-1, 20), y)
        loss.backward()
        optimizer.step()
        return loss

    def drawn(seed: int) -> list[Any]:
        words = np.random.default_rng(seed).integers(0, 20, (rows, 17))
        return [words[:, :-1], words[:, 1:].reshape(-1)]

    return model, step, drawn


def convolutional(rows: int) -> tuple[Any, Callable[..., Any], Callable[[int], list[Any]]]:
    rng = np.random.default_rng(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1, rng=rng), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(128, 10, rng=rng),
    )  # fmt: skip
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tz.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    def drawn(seed: int) -> list[Any]:
        draw = np.random.default_rng(seed)
        return [draw.standard_normal((rows, 1, 8, 8)).astype(SINGLE), draw.integers(0, 10, rows)]

    return model, step, drawn


def trained(make: Callable[..., Any], rows: int, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Three runs: as eager, and bit by bit as a program without regions; the program."""
    (model, step, drawn), (twin, other, _), (_, eager, _) = make(rows), make(rows), make(rows)
    said, captured = captured_as_eager(step, drawn(0), [drawn(i) for i in range(1, 6)], 1e-5, eager)
    assert said is None, said
    with monkeypatch.context() as patch:
        patch.setattr(replay, "regions_of", lambda steps: [])
        alone = tz.capture(other)
        for i in (0, 0, *range(1, 6)):
            alone(*map(tz.tensor, drawn(i)))
    assert alone.report()["regions"] == [] and alone.counts == captured.counts
    for (name, x), y in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert x.data.tobytes() == y.data.tobytes(), name
    return replay_of(captured)


@pytest.mark.parametrize(
    ("make", "rows", "least"), [(transformer, 8, 60), (transformer, 7, 15), (convolutional, 16, 8)]
)
def test_a_training_step_has_the_same_bits(
    make: Any, rows: int, least: int, shared: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = trained(make, rows, monkeypatch)
    inside = sum(program.report()["regions"])
    assert inside >= least, program.report()


def test_a_transformer_has_few_regions(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single one in the forward pass, one more in the backward pass for every weight: its gradient is of all rows."""
    report = trained(transformer, 8, monkeypatch).report()
    assert len(report["regions"]) <= 14 and max(report["regions"]) >= 20


def test_more_threads_than_processors(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads._state, "most", 4)
    program = trained(transformer, 8, monkeypatch)
    assert sum(program.report()["regions"]) >= 40 and {r.parts for r in program.regions} == {4}


def test_every_op_is_as_eager(shared: None) -> None:
    """On its first sample; sums may be in another order, as without regions."""
    said, regions_met = [], 0
    with np.errstate(all="ignore"):
        for name in sorted(OPS.keys() - REFUSED):
            (first, *others), options = _samples(name, "float32")[0]
            try:
                complaint, captured = captured_as_eager(_step(OPS[name], options), first, others[:1] or [first], 2e-6)
            except CaptureError:
                continue
            regions_met += len(captured.report()["regions"])
            said += [f"{name}: {complaint}"] if complaint else []
    assert not said, "\n".join(said)
    assert regions_met > 20


# ---- faults
def others(of: Any) -> Callable[[], None]:
    return lambda: test_a_launch_that_needs_another_part_begins_a_region(of)


TRIED = "in (True, False) if elsewhere else (True,)"
MAY_READ = test_nothing_is_written_where_others_may_still_read
SMALL = test_small_launches_go_ahead_or_are_put_off
COUNT = test_what_depends_on_how_many_parts_there_are_stays_as_it_was
ENDS = test_python_and_values_outside_end_a_region
FAULTS = {
    "what a part gives is not looked at": ("joins", "if not same:", "if False:", others(shifted)),
    "NaN alone": ("joins", TRIED, "in (True,)", others(signed)),
    "numbers alone": ("joins", TRIED, "in (False,)", others(finite)),
    "written where others read": ("joins", "(region.read | region.off_reads)", "region.off_reads", MAY_READ),
    "written before a late one reads": ("joins", " | region.off_reads)", ")", SMALL),
    "read before a late one writes": ("joins", "or region.off_writes & self._memory.keys()", "", SMALL),
    "written again": ("joins", "if owners.keys() & region.written.keys() - self._written:", "if False:", MAY_READ),
    "another's entries": ("joins", "(known != mine)).any()", "(known != mine)).all()", crossed),
    "added to": ("joins", "if not self._only_writes(k, owners, before, whole):", "if False:", twice),
    "read where nobody wrote": ("_spoil", "owners != part", "(owners != part) & (owners != NOBODY)", twice),
    "places spoiled": ("joins", 'not in "fb"', 'not in "fbi"', test_integers_end_a_region),
    "written behind a value": ("_owners", "if any((behind != 0xFF).any()", "if not any((behind != 1).any()", COUNT),
    "ahead of who reads what it writes": ("goes_ahead", "written.keys() | region.read |", "written.keys() |", SMALL),
    "ahead of what it reads": (
        "goes_ahead", "able &= all(_same(self._memory[block], whole[block]) for block in writes)", "pass", SMALL,
    ),
    "nobody knows that a late one writes": ("goes_ahead", "region.off_writes |= writes", "pass", SMALL),
    "values outside": ("__init__", '("outside", "constant") for ref in made', '("constant",) for ref in made', ENDS),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_noticed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    method, old, new, check = FAULTS[fault]
    monkeypatch.setattr(*planted(regions, "_Trial", method, old, new))
    with pytest.raises((AssertionError, KeyError)):
        check()


def test_a_region_across_python_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*planted(regions, "", "regions_of", "if trial is None or not trial.count:", "if False:"))
    monkeypatch.setitem(globals(), "regions_of", regions.regions_of)
    with pytest.raises(AssertionError):
        ENDS()


def test_values_of_a_region_that_share_memory_are_noticed(shared: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "plan", lambda steps, lasting, pinned, together: program.plan(steps, lasting, pinned))
    with pytest.raises(AssertionError):
        trained(transformer, 8, monkeypatch)

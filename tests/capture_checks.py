"""What the tests of `capture` share: captured beside eager, and the memory between blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import backend, nn
from tinygrad_zoo.backend import is_array, to_host
from tinygrad_zoo.capture.captured import Captured
from tinygrad_zoo.capture.program import ALIGNED, Arena
from tinygrad_zoo.capture.replay import Replay
from tinygrad_zoo.variable import Variable

PATTERN = 0xA5


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A module that imports this and `device` runs its tests on the host, and on the stand-in for CuPy."""
    host = metafunc.definition.get_closest_marker("host") is not None
    metafunc.parametrize("device", ["cpu"] if host else ["cpu", "cupysim"], indirect=True)


@pytest.fixture(autouse=True)
def device(request: pytest.FixtureRequest) -> Iterator[str]:
    with backend.using(request.param):
        yield request.param


def replay_of(captured: Captured[..., Any]) -> Replay:
    """The program of the latest call."""
    return captured._replayed()


class Canaries:
    """Fills all bytes of an arena that belong to no value with a pattern, and says where it is gone."""

    def __init__(self, replay: Replay) -> None:
        arena = replay.arena
        assert isinstance(arena, Arena)
        self.bytes = arena.bytes
        self.free = np.ones(arena.size, bool)
        for block, at in arena.offsets.items():
            self.free[at : at + block.array.nbytes] = False
        self.bytes[self.free] = PATTERN

    def touched(self) -> list[int]:
        """Offsets of the bytes that somebody wrote."""
        found: list[int] = np.flatnonzero(self.free & (self.bytes != PATTERN)).tolist()
        return found


def overlaps(replay: Replay) -> list[tuple[Any, Any]]:
    """Pairs of blocks that are in use at the same time and share bytes: by brute force, from the steps alone."""
    begins, ends = list(range(len(replay.steps))), list(range(len(replay.steps)))
    for region in replay.regions:  # threads are at different steps of a region at once
        of_region = range(region.launches[0][0], region.launches[-1][0] + 1)
        for i in of_region:
            begins[i], ends[i] = min(begins[i], of_region[0]), max(ends[i], of_region[-1])
    first: dict[Any, int] = {}
    last: dict[Any, int] = {}
    for block in (*replay.pinned, *replay.lasting):
        if block.owner in replay.arena.offsets:
            first[block.owner] = -1 if block in replay.pinned else first.get(block.owner, len(replay.steps))
            last[block.owner] = first[block.owner]
    for i, step in enumerate(replay.steps):
        for ref in (*step.reads(), *step.writes(), *step.scratch()):
            block = ref.block.owner
            if block in replay.arena.offsets:
                first[block] = min(first.get(block, i), begins[i])
                last[block] = max(last.get(block, i), ends[i])
    for block in replay.lasting:
        if block.owner in last:
            last[block.owner] = len(replay.steps)
    spans = [(at, at + b.array.nbytes, first.get(b, 0), last.get(b, 0), b) for b, at in replay.arena.offsets.items()]
    return [
        (x[4], y[4])
        for i, x in enumerate(spans)
        for y in spans[:i]
        if x[0] < y[1] and y[0] < x[1] and x[2] <= y[3] and y[2] <= x[3]
    ]


def arrays_in(nest: Any) -> list[np.ndarray[Any, Any]]:
    """The arrays and the Tensors' arrays in a nest, in order, on the host."""
    if isinstance(nest, Variable):
        return [to_host(nest._data)]
    if is_array(nest):
        return [to_host(nest)]
    if isinstance(nest, dict):
        return [a for x in nest.values() for a in arrays_in(x)]
    if isinstance(nest, list | tuple):
        return [a for x in nest for a in arrays_in(x)]
    return []


def unlike(found: Any, expected: Any, rtol: float = 0.0) -> str | None:
    """The first array of one nest that is not that of the other: bitwise, or within `rtol` of its largest entry."""
    ours, theirs = arrays_in(found), arrays_in(expected)
    if len(ours) != len(theirs):
        return f"{len(ours)} arrays, expected {len(theirs)}"
    for i, (x, y) in enumerate(zip(ours, theirs, strict=True)):
        if x.shape != y.shape or x.dtype != y.dtype:
            return f"array {i} is {x.dtype}{x.shape}, expected {y.dtype}{y.shape}"
        if np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
            continue
        if not rtol or x.dtype.kind != "f":
            return f"array {i}: {_worst(x, y)}"
        with np.errstate(all="ignore"):
            scale = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
            if not np.allclose(x, y, rtol=0, atol=rtol * scale, equal_nan=True):
                return f"array {i}: {_worst(x, y)}"
    return None


def _worst(x: Any, y: Any) -> str:
    with np.errstate(all="ignore"):
        apart = np.abs(np.asarray(x, np.float64) - np.asarray(y, np.float64))
    apart = np.where(np.isnan(apart), np.inf, apart)
    at = np.unravel_index(int(apart.argmax()), apart.shape)
    return f"{x[at]!r}, expected {y[at]!r}, at {tuple(map(int, at))} of {x.shape}"


def captured_as_eager(
    step: Callable[..., Any],
    recorded: Sequence[Any],
    replayed: Iterable[Sequence[Any]],
    rtol: float = 0.0,
    eager: Callable[..., Any] | None = None,
) -> tuple[str | None, Captured[..., Any]]:
    """Captured on arrays `recorded`, twice the same, then replayed on others: what is not as eagerly, or None. `eager`
    is the step with random numbers of its own.

    The same values twice are hardest: what depends on values then looks as if it did not. Memory between the values is
    watched, and no two values may share it while they live.
    """
    captured, eager = tz.capture(step), eager or step
    for _ in range(2):
        if (said := unlike(captured(*fresh(recorded)), eager(*fresh(recorded)), rtol)) is not None:
            return f"while recording: {said}", captured
    canaries = None
    for arrays in replayed:
        if canaries is None and captured.counts["programs"]:
            kind = next(iter(captured._known.values()))
            canaries = Canaries(kind.replays[0]) if isinstance(kind.replays[0].arena, Arena) else None
        said = unlike(captured(*fresh(arrays)), eager(*fresh(arrays)), rtol)
        if said is not None:
            return said, captured
    if canaries is not None and (gone := canaries.touched()):
        return f"bytes between values were written, at {gone[:4]}", captured
    if canaries is not None and (pairs := overlaps(replay_of(captured))):
        return f"{pairs[0][0]} and {pairs[0][1]} share memory", captured
    return None, captured


def fresh(arrays: Sequence[Any]) -> list[Any]:
    """Tensors of copies; what is no array as it is."""
    return [tz.tensor(x.copy()) if isinstance(x, np.ndarray) else x for x in arrays]


assert ALIGNED == 64


def arrays(seed: int, *shapes: Any, dtype: str = "float32") -> list[Any]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def several(*shapes: Any, dtype: str = "float32", count: int = 3) -> list[Any]:
    """Arguments of `count` calls."""
    return [arrays(seed, *shapes, dtype=dtype) for seed in range(1, count + 1)]


def agrees(step: Callable[..., Any], *shapes: Any, dtype: str = "float32", rtol: float = 0.0) -> Any:
    """Captured as eager on normal numbers of these shapes; the captured function."""
    first, *others = several(*shapes, dtype=dtype, count=4)
    said, captured = captured_as_eager(step, first, others, rtol)
    assert said is None, said
    assert captured.counts["replayed"] == 3
    return captured


class MLP(nn.Module):
    def __init__(self, rng: Any, dropout: float = 0.0, norm: bool = False, dtype: str = "float32") -> None:
        self.first, self.second = nn.Linear(6, 16, rng=rng), nn.Linear(16, 4, rng=rng)
        self.norm = nn.BatchNorm1d(16) if norm else None
        self.dropout = nn.Dropout(dropout, rng=rng) if dropout else None
        self.to(dtype)

    def forward(self, x: Any) -> Any:
        x = tz.relu(self.first(x))
        x = x if self.norm is None else self.norm(x)
        return self.second(x if self.dropout is None else self.dropout(x))


def batches(count: int, dtype: str = "float32", n: int = 8) -> Any:
    rng = np.random.default_rng(7)
    return [
        (tz.tensor(rng.standard_normal((n, 6)).astype(dtype)), tz.tensor(rng.integers(0, 4, n))) for _ in range(count)
    ]


def states(model: Any, optimizer: Any = None) -> Any:
    """All that training changes."""
    kept = [model.state_dict(), [None if p.grad is None else p.grad.numpy() for p in model.parameters()]]
    return [*kept, optimizer.state_dict()] if optimizer is not None else kept

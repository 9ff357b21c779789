"""The arena of a program: no two values in one place at a time, nothing written between them, and not too large."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_zoo as tz
from capture_checks import Canaries, overlaps, replay_of
from tinygrad_zoo import nn, optim
from tinygrad_zoo.capture.drawing import kind_of, lifetimes
from tinygrad_zoo.capture.entries import Block, Ref
from tinygrad_zoo.capture.program import ALIGNED, GAP, Arena, plan
from tinygrad_zoo.capture.steps import Step


class Use(Step):
    """A step that reads and writes these blocks."""

    native = True
    name = line = "use"

    def __init__(self, blocks: list[Block]) -> None:
        self.blocks = blocks

    def reads(self) -> Any:
        return (Ref.of(b, b.array) for b in self.blocks)

    def writes(self) -> Any:
        return iter(())


@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 12), st.integers(0, 12)), min_size=1, max_size=25),
    st.sets(st.integers(0, 24)),
    st.sets(st.integers(0, 24)),
)
def test_no_two_values_share_memory_while_they_live(
    drawn: list[tuple[int, int, int]], lasting: set[int], pinned: set[int]
) -> None:
    blocks = [Block(np.zeros(n, np.uint8), "op", i) for i, (n, _, _) in enumerate(drawn)]
    spans = [sorted(span) for _, *span in drawn]
    steps = [Use([b for b, (a, z) in zip(blocks, spans, strict=True) if at in (a, z)]) for at in range(13)]
    kept = [b for i, b in enumerate(blocks) if i in lasting]
    given_ = [b for i, b in enumerate(blocks) if i in pinned]
    offsets, size = plan(steps, kept, given_)
    lives = []
    for i, (block, (first, last)) in enumerate(zip(blocks, spans, strict=True)):
        lives.append({*range(first, last + 1)} | ({*range(-1, last + 1)} if i in pinned else set()))
        lives[-1] |= {*range(min(lives[-1]), 14)} if i in lasting else set()
        assert offsets[block] % ALIGNED == 0 and 0 <= offsets[block] <= size - block.array.nbytes - GAP
    for i, x in enumerate(blocks):
        for j, y in enumerate(blocks[:i]):
            apart = offsets[x] + x.array.nbytes + GAP <= offsets[y] or offsets[y] + y.array.nbytes + GAP <= offsets[x]
            assert apart or not lives[i] & lives[j], f"{x} and {y}"
    arena = Arena(offsets, size)
    assert arena.bytes.ctypes.data % ALIGNED == 0 and arena.bytes.size == size


# ---- models
def _mlp() -> Any:
    rng = np.random.default_rng(0)
    layers = [
        nn.Linear(64, 128, rng=rng),
        nn.ReLU(),
        nn.Linear(128, 128, rng=rng),
        nn.ReLU(),
        nn.Linear(128, 10, rng=rng),
    ]
    return nn.Sequential(*layers), (rng.standard_normal((32, 64)), rng.integers(0, 10, 32))


def _cnn() -> Any:
    rng = np.random.default_rng(0)
    layers = [
        *(nn.Conv2d(1, 8, 3, padding=1, rng=rng), nn.ReLU(), nn.Conv2d(8, 16, 3, padding=1, rng=rng), nn.ReLU()),
        *(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(256, 10, rng=rng)),
    ]
    return nn.Sequential(*layers), (rng.standard_normal((32, 1, 8, 8)), rng.integers(0, 10, 32))


class Transformer(nn.Module):
    def __init__(self, rng: Any) -> None:
        self.table, self.norm = nn.Embedding(30, 32, rng=rng), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 4, rng=rng)
        self.up, self.down, self.head = (nn.Linear(*n, rng=rng) for n in ((32, 64), (64, 32), (32, 30)))

    def forward(self, x: Any) -> Any:
        x = self.table(x)
        y = self.norm(x)
        y = self.attention(y, y, y, is_causal=True)
        x = x + (y[0] if isinstance(y, tuple) else y)
        return self.head(x + self.down(tz.gelu(self.up(self.norm(x))))).reshape(-1, 30)


def _transformer() -> Any:
    rng = np.random.default_rng(0)
    return Transformer(rng), (rng.integers(0, 30, (8, 16)), rng.integers(0, 30, 128))


MODELS = {"mlp": _mlp, "cnn": _cnn, "transformer": _transformer}


def _training(name: str) -> tuple[Any, list[Any]]:
    model, (x, y) = MODELS[name]()
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x: Any, y: Any) -> Any:
        optimizer.zero_grad()
        loss = tz.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return step, [tz.tensor(x.astype(np.float32) if x.dtype.kind == "f" else x), tz.tensor(y)]


@pytest.mark.parametrize("name", MODELS)
def test_a_training_step_stays_in_its_memory_and_needs_no_more_than_eagerly(name: str) -> None:
    step, batch = _training(name)
    captured = tz.capture(step)
    for _ in range(3):
        captured(*batch)
    replay = replay_of(captured)
    canaries = Canaries(replay)
    for _ in range(3):
        captured(*batch)
    assert canaries.touched() == [] and overlaps(replay) == []
    eager, batch = _training(name)
    for _ in range(2):
        eager(*batch)
    tracemalloc.start()
    try:
        eager(*batch)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert not any(
        x.origin == "op" and x.array.base is None for x in replay.recorder.blocks.values()
    )  # what was recorded
    arguments = sum(x.numpy().nbytes for x in batch)  # which the arena holds too, and eagerly the caller
    assert captured.report()["arena_bytes"] - arguments <= peak


def test_canaries_see_a_write_behind_a_value() -> None:
    step, batch = _training("mlp")
    captured = tz.capture(step)
    for _ in range(3):
        captured(*batch)
    replay = replay_of(captured)
    canaries = Canaries(replay)
    block, at = next(iter(replay.arena.offsets.items()))
    replay.arena.bytes[at + block.array.nbytes] = 0
    assert canaries.touched() == [at + block.array.nbytes]


# ---- inspection
def test_a_program_says_what_runs_where(tmp_path: Path) -> None:
    step, batch = _training("transformer")
    captured = tz.capture(step)
    for _ in range(3):
        captured(*batch)
    text = captured.program
    lines = text.split("\n")
    assert len(lines) == captured.report()["steps"]
    assert all("test_capture_memory.py:" in line for line in lines)
    assert "embedding(" in text and "Optimizer.step(" in text and "axis=" in text
    python = [line for line in lines if line.startswith("py")]
    assert len(python) == sum(captured.report()["python"].values()) == len(lines) - captured.report()["native"]
    replay = replay_of(captured)
    assert set(lifetimes(replay)) == set(replay.arena.offsets)
    assert {kind_of(s) for s in replay.steps} <= {"native", "Python", "effect"}
    figure = captured.draw(tmp_path / "program.png")
    assert (tmp_path / "program.png").read_bytes()[:4] == b"\x89PNG"
    above, below = figure.axes
    assert len(above.patches) == len(lines) and len(below.patches) == len(replay.arena.offsets)
    assert captured.draw().axes[1].get_ylabel() == "KiB of the arena"

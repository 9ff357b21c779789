"""What `python -m benchmarks gpu` times does the same in both libraries: tiny, on the stand-in and on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import oracles
from benchmarks import gpu
from benchmarks.harness import BenchmarkError, Workload

torch = oracles.load("torch")
ATTENTION, ROWS = (1, 2, 5, 8), (3, 7)
PAIRS: dict[str, tuple[Callable[[], Workload], Callable[[], Workload], float]] = {
    "attention-fp32": (
        lambda: gpu.ours_attention(ATTENTION, "float32"), lambda: gpu.torch_attention(ATTENTION, "float32"), 1e-5
    ),
    "attention-bf16": (
        lambda: gpu.ours_attention(ATTENTION, "bfloat16"), lambda: gpu.torch_attention(ATTENTION, "bfloat16"), 2e-2
    ),
    "adamw": (lambda: gpu.ours_adamw(100), lambda: gpu.torch_adamw(100), 1e-5),
    **{
        name: (lambda name=name: gpu.ours_rows(name, ROWS), lambda name=name: gpu.torch_rows(name, ROWS), 1e-5)
        for name in ("layer-norm", "softmax", "cross-entropy")
    },
}  # fmt: skip


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", PAIRS)
def test_both_contenders_give_the_same_answers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cupysim")
    monkeypatch.setattr(gpu, "card", lambda: "cpu")
    mine, theirs, tolerance = PAIRS[name]
    a, b = mine(), theirs()
    assert a.answer() == pytest.approx(b.answer(), rel=tolerance)
    a.run(), b.run()


def test_deformable_convolution_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cupysim")
    made: Any = gpu.ours_deform((1, 2, 4, 5), (3, 2, 3, 3)).answer()
    assert len(made) == 5 and min(made) > 0


def test_captured_and_eager_steps_have_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cupysim")
    answers = [gpu.ours_step(lambda build=build: build("mlp")).answer() for build in (gpu.capture.ours, gpu.ours_eager)]
    assert answers[0] == pytest.approx(answers[1], rel=1e-5)


def test_cases_have_names_of_their_own_and_bars() -> None:
    cases = gpu.all_cases()
    assert len({case.name for case in cases}) == len(cases) == 17
    assert sum(bool(case.bars) for case in cases) == 14


def test_without_a_card_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "DEVICE", "cupy:99")
    with pytest.raises(BenchmarkError, match="gpu"):
        gpu.main(as_json=False, pairs=None, peers=None)

"""`python -m benchmarks attention`, and the Transformer's training step: what is compared, and that it is the same."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import attention, harness, step, transformer_step
from test_benchmarks import answered


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("case", attention.CASES, ids=lambda case: f"{case.name}-{case.direction}")
def test_attention_of_ours_is_that_of_torch(case: harness.Case, monkeypatch: pytest.MonkeyPatch) -> None:
    small = {name: shape._replace(length=33, width=5) for name, shape in attention.SHAPES.items()}
    monkeypatch.setattr(attention, "SHAPES", small)
    ours, peer = answered(case.ours), answered(case.peers[0])
    assert len(ours) == 4
    harness.gates(ours, peer, 1e-5)


def test_causal_cases_are_other_than_plain_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "SHAPES", {"512": attention.Shape(1, 1, 9, 4)})
    plain, causal = (answered(attention.case(name, "fwd").ours)[0] for name in ("512", "512-causal"))
    assert np.abs(plain - causal).max() > 0.1


def test_cases_and_bars_of_attention() -> None:
    assert [case.name for case in attention.CASES if case.direction == "fb"] == list(attention.NAMES)
    bars = {case.name: case.bars.get("torch") for case in attention.CASES}
    assert bars == {"512": 0.8, "512-causal": 0.6, "2048": 0.85, "2048-causal": 0.7, "4096": None}
    assert transformer_step.CASE in step.CASES and transformer_step.CASE.bars == {"torch-eager": 0.8}


@pytest.mark.oracle("torch")
def test_the_transformers_step_is_that_of_torch() -> None:
    ours, peer = transformer_step.ours().answer(), transformer_step.torch_step(compiled=False).answer()
    harness.gate(np.asarray(ours), np.asarray(peer), 1e-5)
    assert ours < np.log(transformer_step.VOCABULARY)

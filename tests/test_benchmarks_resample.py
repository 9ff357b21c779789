"""`python -m benchmarks resample`: what is compared, and the loop that a kernel replaces."""

from __future__ import annotations

import pytest

from benchmarks import harness, resample
from test_benchmarks import answered


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", list(resample.OPERATIONS))
def test_resampling_of_ours_computes_what_torch_does(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, *operation = resample.OPERATIONS[name]
    monkeypatch.setitem(resample.OPERATIONS, name, ((2, 3, 8, 9), *operation))
    for case in resample.CASES:
        if case.name == name:
            ours = answered(case.ours)
            assert len(ours) == 2 and ours[1].shape == (2, 3, 8, 9)
            for peer in case.peers:
                harness.gates(ours, answered(peer), case.tolerance)


def test_the_loop_that_a_kernel_replaces_computes_the_same() -> None:
    case = resample.CASES[-1]
    assert case.name == "python-loop" and case.bars == {"python-loop": 1 / 20}
    (ours,), (loop,) = answered(case.ours), answered(case.peers[0])
    assert ours.shape == (16, 64, 64)
    harness.gates([ours], [loop], case.tolerance)
    bars = {(case.name, case.direction): case.best_bar for case in resample.CASES[:-1]}
    expected = {name: 1.0 if name == "bilinear-x2" else None for name in resample.OPERATIONS}
    assert bars == {(name, direction): bar for name, bar in expected.items() for direction in ("fwd", "fb")}

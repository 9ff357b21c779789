"""The benchmark of graphs and trees: its cases, bars, and that all contenders answer alike on small ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks import algorithms_graphs as graphs
from benchmarks import harness
from benchmarks.growth import SLACK, Growth


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("NODES", 50), ("EDGES", 400), ("POINTS", 40), ("TREE", 100)):
        monkeypatch.setattr(graphs, name, size)


@pytest.mark.parametrize("case", graphs.CASES, ids=lambda case: case.name)
def test_all_contenders_answer_alike(small: None, case: Any) -> None:
    ours = np.asarray(case.ours.build().answer(), np.float64)
    for peer in case.peers:
        if not peer.missing():
            workload = peer.build()
            workload.run()
            harness.gate(ours, np.asarray(workload.answer(), np.float64), case.tolerance)


def test_cases_and_bars() -> None:
    assert {case.name: dict(case.bars) for case in graphs.CASES} == {
        "mst-sparse": {"rustworkx": 0.7, "scipy": 0.35},
        "mst-dense": {"scipy": 0.02},
        "inorder": {"python-recursion": 0.08},
    }


def test_the_graph_is_connected_and_simple(small: None) -> None:
    ends, weights = graphs.graph()
    assert len(np.unique(ends, axis=0)) == len(ends) == len(weights) and (ends[:, 0] < ends[:, 1]).all()
    left, right = graphs.children()
    assert sorted(np.concatenate([left, right]).tolist()).count(-1) == graphs.TREE + 1


@pytest.mark.parametrize("growth", graphs.GROWTHS, ids=lambda growth: growth.name)
def test_operations_grow_as_stated(growth: Growth) -> None:
    small, large = growth.counts()
    assert abs(large / small / growth.stated - 1) <= SLACK, (small, large)

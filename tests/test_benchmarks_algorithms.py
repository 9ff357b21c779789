"""The benchmark of heaps and medians: its cases and bars, that all contenders answer alike, and the counts' growth."""

from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import algorithms, growth, harness, pure_python
from test_benchmarks import answered

OWN = algorithms.CASES[:3]


@pytest.mark.parametrize("case", OWN, ids=lambda case: case.name)
def test_all_contenders_answer_alike(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("STREAM", 400), ("WINDOW", 31), ("VALUES", 5000)):
        monkeypatch.setattr(algorithms, name, size)
    (ours,) = answered(case.ours)
    assert ours.shape == {"running-median": (400,), "sliding-median": (370,), "topk": (100,)}[case.name]
    for peer in case.peers:
        harness.gates([ours], answered(peer), case.tolerance)


def test_cases_and_bars() -> None:
    assert {case.name: dict(case.bars) for case in OWN} == {
        "running-median": {"heapq": 0.15},
        "sliding-median": {"pandas": 1.0},
        "topk": {"np-partition": 0.08},
    }
    assert {"mst-sparse", "mst-dense", "inorder"} <= {case.name for case in algorithms.CASES}


@pytest.mark.parametrize("one", growth.GROWTHS, ids=lambda one: one.name)
def test_comparisons_grow_as_stated(one: growth.Growth) -> None:
    small, large = one.counts()
    assert abs(large / small / one.stated - 1) <= growth.SLACK, (small, large, one.stated)


def test_a_wrong_law_is_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    heapify = growth.GROWTHS[0]
    wrong = growth.Growth(heapify.name, "n log n", growth.linearithmic, heapify.count)
    assert growth.report([heapify], as_json=False)
    assert not growth.report([heapify, wrong], as_json=False)
    assert capsys.readouterr().out.count("NOT within 15 %") == 1


def test_the_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "GROWTHS", growth.GROWTHS[:2])
    monkeypatch.setattr(algorithms.algorithms_graphs, "GROWTHS", [])
    assert command.main(["algorithms", "--cases", "growth", "--json"]) == 0
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [(record["operation"], record["sizes"], record["holds"]) for record in records] == [
        ("heapify", [1000, 10000], True),
        ("push, falling", [1000, 10000], True),
    ]
    with pytest.raises(SystemExit):
        command.main(["algorithms", "--cases", "median"])
    assert "unknown cases median; known: growth, inorder" in capsys.readouterr().err


def test_pure_python_is_timed_against_its_bars(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NODES", "EDGES", "STREAM", "CHAIN"):
        monkeypatch.setattr(pure_python, name, 300)
    monkeypatch.setattr(pure_python, "RUNS", 1)
    assert command.main(["algorithms", "--cases", "pure-python", "--json"]) == 0
    records = [json.loads(text) for text in capsys.readouterr().out.splitlines()]
    assert [record["bar"] for record in records] == [2, 3, 3, 2, 1, 1, 1, 1, 1]
    assert all(record["met"] and record["seconds"] > 0 for record in records)
    pure_python.report([pure_python.Timed("too slow", 0.0, lambda: lambda: None)], as_json=False)
    assert "MISSED" in capsys.readouterr().out
    traversed = pure_python.traversed("morris", "post")()
    assert traversed() == 300 and pure_python.tree_of("prim", "prim")()().n_components >= 1

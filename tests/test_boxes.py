"""Suppression of boxes that overlap: by brute force, without kernels, and without a loop in Python."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from test_roi import regions
from tinygrad_zoo.kernels import jit
from tinygrad_zoo.kernels import roi as kernels


def kept_by_pairs(boxes: np.ndarray, scores: np.ndarray, labels: np.ndarray, threshold: float) -> list[int]:
    """One pair after the other."""
    kept: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        (a, b, c, d), free = boxes[i], True
        for j in kept:
            e, f, g, h = boxes[j]
            both = max(min(c, g) - max(a, e), 0) * max(min(d, h) - max(b, f), 0)
            whole = (c - a) * (d - b) + (g - e) * (h - f) - both
            free = free and not (labels[i] == labels[j] and whole > 0 and both / whole > threshold)
        if free:
            kept.append(i)
    return kept


def test_suppression_by_brute_force_on_a_thousand_sets() -> None:
    rng = np.random.default_rng(0)
    for i in range(1000):
        n, threshold = int(rng.integers(0, 12)), float(rng.choice([0.0, 0.25, 1 / 3, 0.5, 0.8]))
        low = rng.integers(0, 6, (n, 2)) if i % 2 else rng.uniform(0, 6, (n, 2))
        boxes = np.concatenate([low, low + rng.integers(0, 5, (n, 2))], axis=1).astype(float)
        scores, labels = rng.integers(0, 4, n) / 4, rng.integers(0, 2, n)
        assert tz.nms(boxes, scores, threshold).tolist() == kept_by_pairs(boxes, scores, 0 * labels, threshold)
        assert tz.batched_nms(boxes, scores, labels, threshold).tolist() == kept_by_pairs(
            boxes, scores, labels, threshold
        )


def test_suppression_of_float32_computes_in_float32() -> None:
    """At the threshold, where rounding decides: for shares of areas as they are, and rounded to float32."""
    rng = np.random.default_rng(2)
    low = rng.integers(0, 6, (60, 2))
    boxes = np.concatenate([low, low + rng.integers(1, 5, (60, 2))], axis=1).astype(np.float32)
    scores, labels = rng.random(60), np.zeros(60)
    shares = np.unique(tz.box_iou(boxes.astype(float), boxes.astype(float)))
    for threshold in np.unique([shares, shares.astype(np.float32).astype(float)]):
        assert tz.nms(boxes, scores, float(threshold)).tolist() == kept_by_pairs(boxes, scores, labels, threshold)


def test_suppression_without_kernels_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    low = rng.integers(0, 20, (60, 2)).astype(float)
    boxes = np.concatenate([low, low + rng.integers(0, 9, (60, 2))], axis=1)
    scores, labels = rng.integers(0, 9, 60) / 9, rng.integers(0, 3, 60)
    expected = [tz.nms(boxes, scores, t).tolist() for t in (0.1, 0.5)] + [
        tz.batched_nms(boxes, scores, labels, 0.2).tolist()
    ]
    monkeypatch.setattr(kernels, "module", lambda package: None)
    found = [tz.nms(boxes, scores, t).tolist() for t in (0.1, 0.5)] + [
        tz.batched_nms(boxes, scores, labels, 0.2).tolist()
    ]
    assert found == expected


def python_calls(function: Callable[[], Any]) -> int:
    """How many functions of Python and of C a call enters."""
    count = 0

    def seen(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    function()
    sys.setprofile(seen)
    try:
        function()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.skipif(not jit.enabled(), reason="kernels are turned off")
def test_no_loop_of_python_runs_over_boxes() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 4, 9, 9))

    def calls(count: int) -> list[int]:
        boxes, scores = regions(rng, count, 1, 9), rng.random(count)
        ops = (lambda: tz.nms(boxes[:, 1:], scores, 0.5), lambda: tz.roi_pool(x, boxes, 2))
        return [*map(python_calls, (*ops, lambda: tz.roi_align(x, boxes, 2), lambda: tz.ps_roi_pool(x, boxes, 2)))]

    for few, many in zip(calls(10), calls(1000), strict=True):
        assert many <= few + 3  # threads may be asked for

"""Distances and angles: coincident points and ties exactly, settings against torch, large and many points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import ShapeError
from tinygrad_zoo.ops import distance

torch = oracles.load("torch")
F = oracles.load("torch.nn.functional")

DRAW = np.random.default_rng(0)


def slope(fn: Callable[..., Any], *values: Any) -> list[Any]:
    """The gradients of the sum of fn(*values), which a graph of them repeats."""
    xs = [tz.tensor(np.array(v, dtype=np.float64), requires_grad=True) for v in values]
    found = gradients([fn(*xs).sum()], xs, [tz.tensor(np.array(1.0))])
    again = gradients([fn(*xs).sum()], xs, [tz.tensor(np.array(1.0))], create_graph=True)
    assert [g.tolist() for g in found] == [g.tolist() for g in again]
    return [g.tolist() for g in found]


POINT = [[1.0, 2.0]]
EXACT: dict[str, tuple[Callable[..., Any], list[Any], list[Any]]] = {
    "cdist: one point": (ops.cdist, [POINT, POINT], [[[0.0, 0.0]]] * 2),
    "cdist: one point, p = 3": (lambda x, y: ops.cdist(x, y, p=3.0), [POINT, POINT], [[[0.0, 0.0]]] * 2),
    "cdist: one point, p = inf": (lambda x, y: ops.cdist(x, y, p=math.inf), [POINT, POINT], [[[0.0, 0.0]]] * 2),
    "cdist: a tie, p = inf": (
        lambda x, y: ops.cdist(x, y, p=math.inf),
        [[[1.0, -1.0]], [[0.0, 0.0]]],
        [[[0.5, -0.5]], [[-0.5, 0.5]]],
    ),
    "cdist: an equal coordinate, p = 1": (
        lambda x, y: ops.cdist(x, y, p=1.0),
        [[[1.0, 3.0]], [[1.0, 2.0]]],
        [[[0.0, 1.0]], [[0.0, -1.0]]],
    ),
    "cdist: p = 0 counts": (lambda x: ops.cdist(x, tz.zeros((1, 2)), p=0.0) + x.sum(), [POINT], [[[1.0, 1.0]]]),
    "pairwise_distance: one point": (
        lambda x, y: ops.pairwise_distance(x, y, eps=0.0),
        [POINT, POINT],
        [[[0.0, 0.0]]] * 2,
    ),
    "normalize: below eps": (lambda x: ops.normalize(x, eps=2.0), [[[0.0, 1.0]]], [[[0.5, 0.5]]]),
    "cosine_similarity: the zero vector": (
        lambda x: ops.cosine_similarity(x, tz.tensor([[3.0, 4.0]], "float64"), eps=0.5),
        [[[0.0, 0.0]]],
        [[[1.2, 1.6]]],
    ),
}


@pytest.mark.parametrize("case", EXACT)
def test_where_there_is_no_derivative_the_choice_is_exact(case: str) -> None:
    fn, values, expected = EXACT[case]
    found = slope(fn, *values)
    np.testing.assert_allclose(found, expected, rtol=1e-15, atol=0)


def both(mine: Any, its: Any, wrt: list[Any], theirs: list[Any], what: str) -> None:
    np.testing.assert_allclose(mine.numpy(), its.numpy(force=True), rtol=1e-10, atol=1e-12, err_msg=what)
    w = DRAW.standard_normal(mine.shape)
    found = gradients([mine], wrt, [tz.tensor(w)])
    for g, e in zip(found, torch.autograd.grad(its, theirs, torch.from_numpy(w)), strict=True):
        np.testing.assert_allclose(g.numpy(), e.numpy(force=True), rtol=1e-8, atol=1e-10, err_msg=what)


def leaves(*arrays: Any) -> tuple[list[Any], list[Any]]:
    mine = [tz.tensor(a, requires_grad=True) for a in arrays]
    return mine, [torch.tensor(a, requires_grad=True) for a in arrays]


@pytest.mark.oracle("torch")
def test_cdist_is_that_of_torch() -> None:
    for p, (one, other) in itertools.product(
        [0.5, 1.0, 1.5, 2.0, 3.0, math.inf],
        [((4, 3), (5, 3)), ((2, 4, 3), (2, 5, 3)), ((2, 1, 4, 3), (3, 5, 3)), ((40, 3), (30, 3)), ((0, 3), (2, 3))],
    ):
        mine, its = leaves(DRAW.standard_normal(one), DRAW.standard_normal(other))
        both(ops.cdist(*mine, p=p), torch.cdist(*its, p=p), mine, its, f"{one}, {other}, p={p}")


@pytest.mark.oracle("torch")
def test_the_others_are_those_of_torch() -> None:
    for p, eps, keepdims in itertools.product([1.0, 2.0, 3.0, math.inf], [1e-6, 0.5], [False, True]):
        mine, its = leaves(DRAW.standard_normal((4, 3)), DRAW.standard_normal(3))
        ours = ops.pairwise_distance(*mine, p=p, eps=eps, keepdim=keepdims)
        both(ours, F.pairwise_distance(*its, p=p, eps=eps, keepdim=keepdims), mine, its, f"{p}, {eps}")
        mine, its = leaves(DRAW.standard_normal((2, 4, 3)))
        for axis in (0, 1, -1):
            both(ops.normalize(*mine, p, axis, eps), F.normalize(*its, p, axis, eps), mine, its, f"{p}, {axis}, {eps}")
    for eps, axis in itertools.product([1e-8, 1.5], [0, 1, -1]):  # 1.5: longer than some of the vectors
        mine, its = leaves(DRAW.standard_normal((2, 4, 3)), DRAW.standard_normal((4, 3)))
        both(ops.cosine_similarity(*mine, axis, eps), F.cosine_similarity(*its, axis, eps), mine, its, f"{eps}, {axis}")


def test_small_distances_far_from_the_origin_are_exact() -> None:
    x = 1e6 + np.array([[0.0, 0.0], [3e-3, 4e-3]])
    expected = np.hypot(*(x[1] - x[0]))
    np.testing.assert_allclose(ops.cdist(x, x), [[0, expected], [expected, 0]], rtol=1e-12)
    (g, _) = slope(lambda a, b: ops.cdist(a, b)[1], x, x)
    np.testing.assert_allclose(g, [[0, 0], (x[1] - x[0]) / expected], rtol=1e-5)


def test_many_points_are_taken_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = DRAW.standard_normal((2, 17, 3)), DRAW.standard_normal((5, 3))
    whole = ops.cdist(x, y)
    monkeypatch.setattr(distance, "_AT_ONCE", 2 * 5 * 3 * 4)
    assert np.array_equal(ops.cdist(x, y), whole)


def test_half_precision() -> None:
    x, y = tz.full((2, 4), 300.0, "float16").requires_grad_(), tz.zeros((2, 4), dtype="float16")
    assert ops.cdist(x, y).tolist() == [[600.0, 600.0]] * 2 and ops.cdist(x, y).dtype == np.float16
    assert ops.normalize(x)[0].tolist() == [0.5] * 4 and ops.pairwise_distance(x, y).tolist() == [600.0, 600.0]
    assert ops.cosine_similarity(x, x).tolist() == [1.0, 1.0]
    ops.cdist(x, y).sum().backward()
    assert x.grad.dtype == np.float16 and np.isfinite(x.grad.numpy()).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ops.cdist(tz.ones(3), tz.ones((2, 3))), r"cdist: expected points \(…, P, M\)"),
        (lambda: ops.cdist(tz.ones((2, 3)), tz.ones((2, 4))), r"got \(2, 3\) and \(2, 4\)"),
        (lambda: ops.pairwise_distance(tz.ones(()), tz.ones(3)), r"vectors \(…, D\)"),
        (lambda: ops.cosine_similarity(tz.ones((2, 3)), tz.ones((2, 4))), "cosine_similarity"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        call()

"""The memory of a leaf's gradient: its own always, and without a copy where nobody else holds it."""

from __future__ import annotations

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.autograd import primitive


def _gradient_by(rule):
    @primitive(vjp=(rule,))
    def op(x):
        return x + 0.0

    x = tz.tensor(np.zeros((2, 3)), requires_grad=True)
    op(x).backward(tz.tensor(np.arange(6.0).reshape(2, 3)))
    assert x.grad.numpy().tolist() == [[0, 1, 2], [3, 4, 5]]
    return x.grad.data


def test_a_gradient_that_nobody_else_holds_is_kept_in_its_layout_without_a_copy():
    made = []

    def rule(g, out, x):
        new = np.array(g.T, order="C")
        made.append(new.ctypes.data)
        return new.T

    assert _gradient_by(rule).ctypes.data == made[0]


@pytest.mark.parametrize("kept", ["the array", "what it is a view of", "a part", "a wider one"])
def test_a_gradient_that_somebody_else_holds_is_copied(kept):
    held = []

    def rule(g, out, x):
        new = np.array(np.pad(g, ((0, 0), (0, 1))) if kept == "a wider one" else g)
        if kept == "a wider one":
            return new[:, :3]
        view = new.T.T if kept != "the array" else new
        held.append({"the array": new, "what it is a view of": new, "a part": new[:1]}[kept])
        return view

    grad = _gradient_by(rule)
    assert not any(np.shares_memory(grad, other) for other in held)
    assert grad.base is None or grad.base.nbytes == grad.nbytes

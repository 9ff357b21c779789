"""Hooks: on leaves, on results, after accumulation; replacing, removing, and those that cannot be."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import ops
from tinygrad_zoo.autograd import gradients, primitive
from tinygrad_zoo.errors import GradientError
from tinygrad_zoo.tensor import Tensor


def leaf(*values: float) -> Tensor:
    return tz.tensor(np.array(values, "float64"), requires_grad=True)


class Pair(NamedTuple):
    total: Any
    product: Any


@primitive(vjp=lambda g, out, x, y, needs: [g[0] + g[1] * y, g[0] + g[1] * x])
def total_and_product(x: Any, y: Any) -> Pair:
    return Pair(x + y, x * y)


def test_hooks_see_and_replace_the_whole_gradient() -> None:
    x = leaf(3)
    h = x * x
    seen: list[float] = []
    h.register_hook(lambda g: seen.append(g.item()))
    h.register_hook(lambda g: g * 10)
    h.register_hook(lambda g: seen.append(g.item()))  # in the order of registration
    x.register_hook(lambda g: seen.append(g.item()))
    (h + h * 2).sum().backward()
    assert seen == [3, 30, 180] and x.grad.item() == 180


def test_hooks_of_leaves_replace_what_is_accumulated_and_what_gradients_returns() -> None:
    x = leaf(3)
    x.register_hook(lambda g: -g)
    (x * x).sum().backward()
    assert x.grad.item() == -6
    assert gradients([x * x], [x], [np.ones(1)])[0].item() == -6
    y = x * x
    y.register_hook(lambda g: g * 5)
    assert gradients([y * 2], [y], [np.ones(1)])[0].item() == 10


def test_a_hook_is_part_of_the_graph_of_a_gradient() -> None:
    x = leaf(3)
    x.register_hook(lambda g: g * g)
    g = gradients([x * x], [x], [np.ones(1)], create_graph=True)[0]
    assert g.item() == 36 and g.node.op is ops.mul
    y = leaf(3)
    z = y * y
    z.register_hook(lambda g: g * y)  # d/dy of 2y·y
    assert gradients(gradients([z], [y], [np.ones(1)], create_graph=True), [y], [np.ones(1)])[0].item() == 12


def test_hooks_are_removed_by_their_handle() -> None:
    x = leaf(3)
    y = x * x
    first, second = y.register_hook(lambda g: g * 10), x.register_hook(lambda g: g * 100)
    y.register_hook(lambda g: g * 7)
    first.remove()
    second.remove()
    second.remove()
    y.sum().backward()
    assert x.grad.item() == 42


def test_a_hook_on_one_output_of_several() -> None:
    x, y = leaf(3), leaf(4)
    out = total_and_product(x, y)
    seen: list[float] = []
    out.product.register_hook(lambda g: seen.append(g.item()))
    out.total.sum().backward()
    assert seen == []  # no gradient arrived there
    (out.total + 2 * out.product).sum().backward()
    assert seen == [2] and x.grad.item() == 10


def test_post_accumulate_hooks_fire_once_when_complete_and_before_the_walk_ends() -> None:
    early, late = leaf(2), leaf(3)
    events: list[tuple[str, float]] = []
    late.register_post_accumulate_grad_hook(lambda p: events.append(("late", p.grad.item())))
    early.register_post_accumulate_grad_hook(lambda p: events.append(("early", p.grad.item())))
    h = early * early
    h.register_hook(lambda g: events.append(("h", g.item())))
    (h * late + late * late).sum().backward()  # `late` is used twice, after `h`
    assert events == [("late", 10), ("h", 3), ("early", 12)]
    handle = early.register_post_accumulate_grad_hook(lambda p: events.append(("never", 0)))
    handle.remove()
    events.clear()
    early.sum().backward()
    assert events == [("early", 13)]
    gradients([early * late], [early, late], [np.ones(1)])  # writes no .grad
    assert events == [("early", 13)]


def test_a_post_accumulate_hook_may_clear_the_gradient() -> None:
    x = leaf(2)

    def step(p: Any) -> None:
        p.data -= 0.1 * p.grad.data
        p.mark_written()
        p.grad = None

    x.register_post_accumulate_grad_hook(step)
    (x * x).sum().backward()
    assert x.grad is None and x.item() == pytest.approx(1.6)


def test_hooks_that_cannot_be() -> None:
    with pytest.raises(GradientError, match="takes no gradient; set requires_grad=True"):
        tz.tensor([1.0]).register_hook(lambda g: None)
    x = leaf(1, 2)
    with pytest.raises(GradientError, match="only leaves"):
        (x * x).register_post_accumulate_grad_hook(lambda p: None)
    for wrong, told in [
        (lambda g: g.numpy(), "ndarray"),
        (lambda g: g[:1], r"float64 of shape \(1,\)"),
        (lambda g: g.to("float32"), "float32 of shape"),
    ]:
        y = x * x
        y.register_hook(wrong)
        for create_graph in (False, True):
            with pytest.raises(
                GradientError, match=rf"a hook returns None or a Tensor .*float64 of shape \(2,\); not {told}"
            ):
                y.sum().backward(create_graph=create_graph)

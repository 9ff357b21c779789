"""Ops whose gradient is that of the ops they are written in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import wraps
from typing import Any

from ..autograd import Op, gradients
from ..grad_mode import enable_grad, unobserved
from ..variable import Variable, wrap
from .precision import narrowed, widened


def composite(**row: Any) -> Callable[[Callable[..., Any]], Op]:
    """Define an op by a body in ops, operators and methods alone: it runs on arrays forward, on Tensors backward.

    Backward computes the body again, so no intermediate value is kept. A body sees float16 as float32, and its result
    is float16 again.
    """

    def define(body: Callable[..., Any]) -> Op:
        @wraps(body)
        def forward(*inputs: Any, **settings: Any) -> Any:
            return narrowed(body(*map(widened, inputs), **settings), *inputs)

        def rule(g: Any, out: Any, *inputs: Any, needs: Sequence[bool], **settings: Any) -> list[Any]:
            return pulled(forward, g, inputs, needs, settings)

        return Op(forward, rule, formula=forward, **row)

    return define


def pulled(
    formula: Callable[..., Any], g: Any, inputs: Sequence[Any], needs: Sequence[bool], settings: dict[str, Any]
) -> list[Any]:
    """The gradients of `formula` in those of its inputs that need one, arrays for an array g: computed anew."""
    slots = [_leaf(x) if need else x for x, need in zip(inputs, needs, strict=True)]
    on_tensors = isinstance(g, Variable)
    with nullcontext() if on_tensors else unobserved():  # arrays are those of a kernel's op
        with enable_grad():
            made = formula(*slots, **settings)
        wanted = [x for x, need in zip(slots, needs, strict=True) if need]
        found = iter(gradients([made], wanted, [g]) if made.node is not None else [None] * len(wanted))
    results = [next(found) if need else None for need in needs]
    return results if on_tensors else [None if p is None else p._data for p in results]


def _leaf(x: Any) -> Any:
    """The values of `x` as the beginning of a graph."""
    leaf = wrap(Variable.result_type, x.data if isinstance(x, Variable) else x)
    leaf.requires_grad = True
    return leaf


def alone(x: Any) -> Any:
    """The values of `x` without its graph."""
    return wrap(Variable.result_type, x._data, version=x.version) if isinstance(x, Variable) else x


def floored(x: Any, least: float) -> Any:
    """max(x, least), with derivative 1 below too: the clamp of a value that its gradient does not know of."""
    values = alone(x)
    return x + (least - values).clip(0, None)


def straight_through(hard: Any, soft: Any) -> Any:
    """The values of `hard`, exactly, with the gradient of `soft` (arXiv 1308.3432)."""
    constant, values = (alone(x) for x in (hard, soft))
    return constant + (soft - values)

"""Four pixels at once, channel by channel in whole vectors: their weighted sum, and back. See vector.py."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..vector import I32, I64, Loop, Vectors, addresses, written


@intrinsic
def mix(
    context: Any, like: Any, a: Any, b: Any, c: Any, d: Any, wa: Any, wb: Any, wc: Any, wd: Any, out: Any, count: Any
) -> Any:
    """out = wa · a + wb · b + wc · c + wd · d, for `count` >= 1 vectors at these addresses."""

    def write(builder: Any, like_value: Any, *values: Any) -> None:
        pixels, weights, out, count = values[:4], values[4:8], values[8], values[9]
        v = Vectors(builder, like)
        spread = [v.splat(w) for w in weights]
        step = I64(v.lanes * v.bytes)
        loop = Loop(builder, count, [*pixels, out])
        *at, to = loop.variables
        total = builder.fmul(spread[0], v.load(at[0]))
        for w, address in zip(spread[1:], at[1:], strict=True):
            total = v.fma(w, v.load(address), total)
        v.store(total, to)
        loop.close([builder.add(x, step) for x in loop.variables])

    return written(types.void, [like, *addresses(4), *[like] * 4, *addresses(2)], write)


@intrinsic
def unmix(
    context: Any, like: Any, g: Any, a: Any, b: Any, c: Any, d: Any, ga: Any, gb: Any, gc: Any, gd: Any, wa: Any,
    wb: Any, wc: Any, wd: Any, count: Any,
) -> Any:  # fmt: skip
    """The sums of g · a, g · b, g · c, g · d; and ga += wa · g, gb += wb · g and so on. `count` >= 1 vectors."""
    returned = types.UniTuple(like, 4)

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        g, pixels, targets, weights, count = values[1], values[2:6], values[6:10], values[10:14], values[14]
        v = Vectors(builder, like)
        spread = [v.splat(w) for w in weights]
        step = I64(v.lanes * v.bytes)
        loop = Loop(builder, count, [g, *pixels, *targets, *[v.constant(0)] * 4])
        at, pixel, target, sums = loop.variables[0], loop.variables[1:5], loop.variables[5:9], loop.variables[9:]
        value = v.load(at)
        following = [v.fma(value, v.load(p), s) for p, s in zip(pixel, sums, strict=True)]
        for w, t in zip(spread, target, strict=True):  # one after the other: two may be the same row
            v.store(v.fma(w, value, v.load(t)), t)
        loop.close([*(builder.add(x, step) for x in (at, *pixel, *target)), *following])
        return context.make_tuple(builder, signature.return_type, [_sum(v, s) for s in following])

    return returned(like, *addresses(9), *[like] * 4, types.int64), code


def _sum(v: Vectors, vector: Any) -> Any:
    """The sum of a vector's entries, by halves."""
    builder, lanes = v.builder, v.lanes
    while lanes > 1:
        lanes //= 2
        masks = [ir.Constant(ir.VectorType(I32, lanes), [*range(i, i + lanes)]) for i in (0, lanes)]
        low, high = (builder.shuffle_vector(vector, vector, mask) for mask in masks)
        vector = builder.fadd(low, high)
    return builder.extract_element(vector, I32(0))

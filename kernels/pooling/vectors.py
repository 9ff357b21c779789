"""The larger of several vectors, entry by entry, with the numbers of their pixels: as LLVM IR."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ..vector import I32, I64, Loop, Vectors, addresses, written


@intrinsic(prefer_literal=True)
def largest(
    context: Any, like: Any, known: Any, x: Any, x_step: Any, found: Any, found_step: Any, number: Any,
    number_step: Any, taps: Any, out: Any, places: Any, vectors: Any,
) -> Any:  # fmt: skip
    """out[i] = the largest of x[t, i] for t < taps, and places[i] = its pixel's number, of `vectors` vectors of i.

    x[t, i] belongs to pixel number + t · number_step, to which, if `known` (a literal) is 1, found[t, i] is added. Of
    equal ones the smallest number is taken; NaN is larger than any other, and of these the largest number. Steps are
    bytes but for the numbers'; taps and vectors >= 1.
    """
    is_known = known.literal_value

    def write(builder: Any, *values: Any) -> None:
        x, x_step, found, found_step, number, number_step, taps, out, places, vectors = values[2:]
        v = Vectors(builder, like)
        whole = ir.VectorType(I32, v.lanes)
        mask = ir.Constant(whole, [0] * v.lanes)

        def numbers(address: Any, value: Any) -> Any:
            short = builder.trunc(value, I32)
            one = builder.insert_element(ir.Constant(whole, ir.Undefined), short, I32(0))
            spread = builder.shuffle_vector(one, one, mask)
            if not is_known:
                return spread
            loaded = builder.load(builder.inttoptr(address, whole.as_pointer()))
            loaded.align = 4
            return builder.add(loaded, spread)

        chunk = Loop(builder, vectors, [x, found, out, places])
        x_at, found_at, out_at, places_at = chunk.variables
        best, place = v.load(x_at), numbers(found_at, number)
        before = builder.block
        with builder.if_then(builder.icmp_signed(">", taps, I64(1))):
            second = [builder.add(x_at, x_step), builder.add(found_at, found_step), builder.add(number, number_step)]
            tap = Loop(builder, builder.sub(taps, I64(1)), [*second, best, place])
            here, found_here, number_here, kept, there = tap.variables
            value, candidate = v.load(here), numbers(found_here, number_here)
            nan = builder.fcmp_unordered("uno", value, value)
            number_kept = builder.fcmp_ordered("ord", kept, kept)
            later = builder.icmp_signed(">", candidate, there)
            larger = builder.fcmp_ordered(">", value, kept)
            larger = builder.or_(larger, builder.and_(nan, builder.or_(number_kept, later)))
            same = builder.fcmp_ordered("==", value, kept)
            larger = builder.or_(larger, builder.and_(same, builder.icmp_signed("<", candidate, there)))
            following = [
                builder.add(here, x_step),
                builder.add(found_here, found_step),
                builder.add(number_here, number_step),
                builder.select(larger, value, kept),
                builder.select(larger, candidate, there),
            ]
            tap.close(following)
            after = builder.block
        best_made, place_made = builder.phi(v.type), builder.phi(whole)
        best_made.add_incoming(best, before)
        best_made.add_incoming(following[3], after)
        place_made.add_incoming(place, before)
        place_made.add_incoming(following[4], after)
        v.store(best_made, out_at)
        stored = builder.store(place_made, builder.inttoptr(places_at, whole.as_pointer()))
        stored.align = 4
        step, short_step = I64(v.lanes * v.bytes), I64(4 * v.lanes)
        chunk.close(
            [
                builder.add(x_at, step),
                builder.add(found_at, short_step),
                builder.add(out_at, step),
                builder.add(places_at, short_step),
            ]
        )

    return written(types.void, [like, known, *addresses(10)], write)

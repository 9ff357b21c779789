"""The windows of a row on whole vectors: as LLVM IR, since a loop over a few channels costs more than its work."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import intrinsic

from ..vector import I64, Loop, Vectors, addresses, written


@intrinsic(prefer_literal=True)
def pixels(
    context: Any, like: Any, taps: Any, vectors: Any, line: Any, at: Any, weights: Any, out: Any, pixel: Any,
    places: Any,
) -> Any:  # fmt: skip
    """out[o] = Σ over `taps` entries t of weights[o, t] · line[at[o, t]], for `vectors` vectors of entries.

    Both are literals; `at` is a table of bytes, and from one place to the next are `pixel` bytes. places >= 1.
    """
    count, width = taps.literal_value, vectors.literal_value

    def write(builder: Any, *values: Any) -> None:
        line, at, weights, out, pixel, places = values[3:]
        v = Vectors(builder, like)
        along = [I64(i * v.lanes * v.bytes) for i in range(width)]
        loop = Loop(builder, places, [at, weights, out])
        table, w, to = loop.variables
        sums: list[Any] = []
        for t in range(count):
            here = builder.add(line, builder.load(builder.inttoptr(builder.add(table, I64(8 * t)), I64.as_pointer())))
            share = v.broadcast(builder.add(w, I64(v.bytes * t)))
            entries = [v.load(builder.add(here, offset)) for offset in along]
            if t:
                sums = [v.fma(share, x, s) for x, s in zip(entries, sums, strict=True)]
            else:
                sums = [builder.fmul(share, x) for x in entries]
        for total, offset in zip(sums, along, strict=True):
            v.store(total, builder.add(to, offset))
        loop.close([builder.add(table, I64(8 * count)), builder.add(w, I64(v.bytes * count)), builder.add(to, pixel)])

    return written(types.void, [like, taps, vectors, *addresses(6)], write)

"""Whether an op did nothing but launch kernels: it is done again by its launches alone, on poisoned memory.

If these give all its results, bit by bit, a replay may launch the kernels and leave the op's Python out. What the op
computed besides, such as a copy of an input in another layout, is then missing, and shows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .recorder import Block, Call, Launch, Ref

Array = np.ndarray[Any, Any]


def reproduced(call: Call) -> str:
    """How the launches of a call give its results: "", they don't; "exact"; "zeroed", where memory begins as zeros."""
    outputs = [x for x in call.outputs if x is not None]
    if not call.launches or not all(isinstance(x, Ref) for x in outputs) or _has_addresses(call):
        return ""
    fresh = {x.block for x in outputs} | _scratch(call)
    if any(b.origin not in ("op", "scratch") for b in fresh):
        return ""
    for start, fill in (("exact", 0xFF), ("zeroed", 0)):
        memory = {block: _filled(block, fill) for block in fresh}
        for launch in call.launches:
            launch.kernel[launch.dtype, launch.parts](*(_array(x, memory) for x in launch.arguments))
        if all(_array(x, memory).tobytes() == _array(x, {}).tobytes() for x in outputs):
            return start
    return ""


def _scratch(call: Call) -> set[Block]:
    blocks = {x.block for launch in call.launches for x in launch.arguments if isinstance(x, Ref)}
    return {b for b in blocks if b.origin == "scratch"}


def _filled(block: Block, fill: int) -> Array:
    memory = np.empty(block.array.nbytes + 1, np.uint8)
    memory[:] = fill
    return memory


def _array(x: Any, memory: dict[Block, Array]) -> Any:
    if not isinstance(x, Ref):
        return x
    base = memory.get(x.block)
    if base is None:
        base = x.block.array
        base = base if base.flags.c_contiguous else base.T
    return np.ndarray(x.shape, x.dtype, base, x.offset, x.strides)


def _has_addresses(call: Call) -> bool:
    """Whether a launch is given an address among its numbers: it would still point where it did."""
    spans = [(b.array.ctypes.data, b.array.ctypes.data + b.array.nbytes) for b in _blocks(call)]
    numbers = [x for launch in call.launches for x in launch.arguments if isinstance(x, int | np.integer)]
    return any(low <= int(x) < high for x in numbers for low, high in spans)


def _blocks(call: Call) -> set[Block]:
    values = [*call.inputs, *call.outputs, *(x for launch in call.launches for x in launch.arguments)]
    return {x.block for x in values if isinstance(x, Ref)}


def same_numbers(one: Launch, other: Launch) -> bool:
    """Whether two launches differ in their arrays alone."""
    if (one.kernel, one.dtype, one.parts) != (other.kernel, other.dtype, other.parts):
        return False
    pairs = zip(one.arguments, other.arguments, strict=True)
    return all(isinstance(x, Ref) or (not isinstance(y, Ref) and (x == y or x != x)) for x, y in pairs)

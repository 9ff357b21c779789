"""From a recording to a program: compare, clean, lower, fuse, plan, bind."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..backend import is_array, to_host
from .entries import Block, Call, Cell, Draw, Effect, Entry, Marked, Pull, Ref, describe
from .guards import Live
from .lowering import lowered
from .recorder import Recorder
from .steps import Drawing, Outside, Python, Rule, Step, refs_in

Array = np.ndarray[Any, Any]
ALIGNED = 64
GAP = 64  # bytes between neighbours, which nothing writes


# ---- two recordings
def difference(first: Recorder, second: Recorder) -> str | None:
    """Where two recordings of the same step part; None where they are the same but for the values."""
    for a, b in zip(first.entries, second.entries, strict=False):
        if _shape_of(a) != _shape_of(b):
            return f"{b.line}: {describe(b)}, where it was {describe(a)} before"
    if len(first.entries) != len(second.entries):
        longer = max(first.entries, second.entries, key=len)
        extra = longer[min(len(first.entries), len(second.entries))]
        return f"{extra.line}: {describe(extra)}, only once in two calls"
    numbers = {block.number: block for block in first.blocks.values()}
    for block in second.blocks.values():
        if block.origin == "constant" and block.number >= 0:
            before = numbers[block.number].array
            if before.shape != block.array.shape or not _same_bits(before, block.array):
                return f"a tensor of shape {block.array.shape} that the step makes holds other numbers in every call"
    return None


def _same_bits(x: Array, y: Array) -> bool:
    x, y = to_host(x), to_host(y)
    return x.dtype == y.dtype and x.shape == y.shape and bool(np.array_equal(_raw(x), _raw(y)))


def _raw(x: Array) -> Array:
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def _shape_of(entry: Entry) -> Any:
    """What must not change from call to call."""

    def plain(x: Any) -> Any:
        if isinstance(x, Ref):
            return x.block.number, *x.kind
        if isinstance(x, Marked):
            return plain(x.ref)
        if isinstance(x, Live):
            return "asked anew"
        if isinstance(x, Cell):
            return "by-product"
        if isinstance(x, (list, tuple)):
            return [plain(i) for i in x]
        if isinstance(x, dict):
            return {k: plain(v) for k, v in x.items()}
        if is_array(x):
            return x.shape, to_host(x).tobytes()
        if isinstance(x, (float, np.generic, slice)):
            return repr(x)
        return x if isinstance(x, (int, str, type(None), np.dtype)) else id(x)

    outputs = plain(entry.outputs)
    if isinstance(entry, Call):
        return entry.op, plain(entry.inputs), plain(entry.settings), outputs
    if isinstance(entry, Pull):
        return entry.node.op, plain(entry.inputs), plain(entry.settings), outputs
    if isinstance(entry, Draw):
        return "draw", outputs
    return (
        entry.function,
        plain(entry.args),
        plain(entry.kwargs),
        [plain(ref) for _, ref in entry.grads + entry.new_grads],
        outputs,
    )


# ---- from entries to steps
def steps_of(first: Recorder, second: Recorder, needed: set[Block]) -> list[Step]:
    """The steps of a recording, in order; what nobody needs is left out."""
    elided = _without_copies(second.entries, needed)
    live = {block.owner for block in needed}
    kept: list[tuple[Entry, Entry]] = []
    for before, entry in reversed(list(zip(first.entries, elided, strict=True))):
        if entry is None:
            continue
        writes = {x.block.owner for x in entry.outputs if isinstance(x, Ref)}
        reads = {x.block.owner for x in read_by(entry)}
        lasting = isinstance(entry, Draw | Effect)
        if (
            not lasting
            and (writes <= reads or not writes & live)
            and not any(isinstance(x, Cell) for x in entry.outputs)
        ):
            continue  # a view, or unused
        live |= reads
        kept.append((before, entry))
    kept.reverse()
    found: list[Step] = []
    for before, entry in kept:
        if isinstance(entry, Call):
            assert isinstance(before, Call)  # the recordings are the same
            found.append(lowered(entry, before) or Python(entry))
        elif isinstance(entry, Pull):
            found.append(Rule(entry))
        elif isinstance(entry, Draw):
            found.append(Drawing(entry))
        else:
            found.append(Outside(entry))
    return found


def read_by(entry: Entry) -> Iterable[Ref]:
    if isinstance(entry, Call | Pull):
        return refs_in(entry.inputs, entry.settings)
    if isinstance(entry, Draw):
        return ()
    return (*refs_in(entry.args, entry.kwargs), *(ref for _, ref in entry.grads if ref is not None))


def _without_copies(entries: Sequence[Entry], needed: set[Block]) -> list[Entry | None]:
    """Without copies of values that nobody looks at afterwards: the copy is the value itself."""
    last: dict[Block, int] = {}
    for i, entry in enumerate(entries):
        for x in read_by(entry):
            last[x.block.owner] = i
    found: list[Entry | None] = list(entries)
    for i, entry in enumerate(entries):
        if not (isinstance(entry, Call) and entry.op.__name__ == "copy" and isinstance(entry.inputs[0], Ref)):
            continue
        x, y = entry.inputs[0], entry.outputs[0]
        if (
            x.block.owner.origin == "op"
            and last[x.block.owner] == i
            and x.block.owner not in needed
            and x.kind == y.kind
        ):
            y.block.alias = x.block
            last[x.block.owner] = max(last[x.block.owner], last.pop(y.block, i))
            if y.block in needed:
                needed.add(x.block.owner)
            found[i] = None
    return found


# ---- memory
def plan(
    steps: Sequence[Step], lasting: Iterable[Block], pinned: Iterable[Block], together: Iterable[tuple[int, int]] = ()
) -> tuple[dict[Block, int], int]:
    """Offsets in one arena, and its size: blocks that are needed at different times share memory.

    `lasting` blocks are needed to the end, `pinned` ones, the arguments, from the beginning; what the steps of a pair
    (first, last) in `together` need, and those between them, is needed at one time.
    """
    begins, ends = list(range(len(steps))), list(range(len(steps)))
    for a, b in together:
        for i in range(a, b + 1):
            begins[i], ends[i] = min(begins[i], a), max(ends[i], b)
    first: dict[Block, int] = {}
    last: dict[Block, int] = {}

    def used(block: Block, at: int) -> None:
        block = block.owner
        if block.origin not in ("outside", "constant"):
            first[block] = min(first.get(block, at), at)
            last[block] = max(last.get(block, at), at)

    for block in pinned:
        used(block, -1)
    for step, begin, end in zip(steps, begins, ends, strict=True):
        for ref in (*step.reads(), *step.writes(), *step.scratch()):
            used(ref.block, begin)
            used(ref.block, end)
    for block in lasting:
        used(block, len(steps))
    offsets: dict[Block, int] = {}
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last
    size = 0
    for block in sorted(first, key=lambda b: (-b.array.nbytes, b.number)):
        start, stop = first[block], last[block]
        nbytes = -(-max(block.array.nbytes, 1) // ALIGNED) * ALIGNED + GAP
        at = 0
        for low, high, a, b in sorted(placed):
            if a <= stop and start <= b:
                if at + nbytes <= low:
                    break
                at = max(at, high)
        offsets[block] = at
        placed.append((at, at + nbytes, start, stop))
        size = max(size, at + nbytes)
    return offsets, size


class Arena:
    """The memory of a program's values: one allocation. Behind every block lie GAP bytes that nobody writes."""

    def __init__(self, offsets: dict[Block, int], size: int) -> None:
        whole = np.zeros(size + ALIGNED, np.uint8)
        skipped = -whole.ctypes.data % ALIGNED
        self.bytes = whole[skipped : skipped + size]
        self.offsets, self.size = offsets, size
        self.memory = {b: self.bytes[at : at + b.array.nbytes] for b, at in offsets.items()}

"""Whether an op does nothing but launch kernels, on its inputs or on copies of them in another layout.

It is found out by experiment. The op's forward runs twice on invented inputs, and what it launches is looked at: the
numbers that its kernels are given, and the memory that they find ready. Of that memory, what is the same in both runs
depends on shapes alone, a table say; what holds an input's values in another order is a copy; the rest is working
memory. Then the launches alone, on poisoned working memory and the recorded inputs, must give the recorded results bit
by bit. If they do, a replay may leave the op's Python out. Whatever else the op computes would be missing, and show.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..backend import root_of
from ..kernels import jit
from .entries import Block, Call, Cell, Launch, Marked, Ref, mapped
from .guards import Live

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class Plan:
    """How launches give the results of a call."""

    zeroed: bool  # working memory and results begin as zeros
    copies: list[tuple[Ref, Ref]]  # from an input, to working memory


def planned(call: Call) -> Plan | None:
    """The plan of a call, whose launches were recorded; None where there is none."""
    outputs = [x for x in call.outputs if x is not None]
    if not call.launches or not all(isinstance(x, Ref) and x.block.origin == "op" for x in outputs):
        return None
    if _has_addresses(call) or _checks_indices(call):
        return None
    extra = _extra(call)
    runs = [_Invented(call, 0), _Invented(call, 1)]
    for seed in range(2, 8):
        if not runs[1].varies(runs[0]):  # few integers may be the same by chance
            runs[1] = _Invented(call, seed)
    one, other = runs
    if not all(run.succeeded and run.like(call) for run in runs):
        return None
    ready = {block: one.ready[i] for i, block in enumerate(extra)}
    tables = {block for i, block in enumerate(extra) if _same(one.ready[i], other.ready[i])}
    if tables and not other.varies(one):
        return None  # or they may have come from values
    copies = [pair for i, block in enumerate(extra) if block not in tables for pair in _copy_of(block, i, runs)]
    written: set[Block] = set()  # no tables: the launches write there
    for poison in ("other values", "NaN", "zeros"):
        if poison == "NaN" and any(block.array.dtype.kind != "f" for block in written):
            continue  # perhaps a place where a kernel goes
        working = {b for b in extra if b not in tables}
        empty = written | {b for b in working if poison == "zeros" and b.array.dtype.kind == "f"}
        begun = {b: ready[b] for b in extra if b not in empty}
        found = _after(call, begun, empty, copies, 0 if poison == "zeros" else 0xFF)
        written |= {b for b in tables if b in found and not _same(found[b], ready[b])}
        if not any(b in found for b in written) and _gives(call, found):
            for block in tables - written:
                block.origin = "constant"
                if not _same(block.array, ready[block]):  # else it may be a table that other calls know too
                    block.array = ready[block]
            return Plan(poison == "zeros", copies)
    return None


def _checks_indices(call: Call) -> bool:
    """Whether an op's Python may look whether integers are in range, which kernels don't. What the backward is given,
    the forward has looked at."""
    if call.op.__name__.endswith("_backward") or places_of(call) is not None:
        return False
    return any(x.dtype.kind == "i" for x in _given(call))


def places_of(call: Call) -> tuple[Ref, int] | None:
    """Integers that a replay looks at itself before the launches, and how many places there are for them."""
    if call.op.__name__ not in ("scatter_planes", "gather_planes") or not isinstance(call.inputs[1], Ref):
        return None
    index, size = call.inputs[1], call.settings["size"] if "size" in call.settings else call.inputs[0].shape[2:]
    whole = math.prod(index.shape) * index.dtype.itemsize
    dense = whole == index.block.array.nbytes and index.offset == 0 and index.dtype.kind == "i"
    return (index, math.prod(size)) if dense and index.dtype.itemsize in (4, 8) else None


def _extra(call: Call) -> list[Block]:
    """Blocks that are known to launches alone, in the order in which they are met."""
    found = [x.block for launch in call.launches for x in launch.arguments if isinstance(x, Ref)]
    return list(dict.fromkeys(b for b in found if b.number < 0))


def _given(call: Call) -> list[Ref]:
    """The values that an op is given, those in its settings included."""
    found: list[Ref] = [x for x in call.inputs if isinstance(x, Ref)]
    mapped(call.settings, lambda x: found.append(x.ref) if isinstance(x, Marked) else None)
    return found


class _Invented:
    """An op's forward on invented inputs: what it launched, and what its kernels found in memory."""

    def __init__(self, call: Call, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.call = call
        self.given: list[Array] = []
        self._cells: list[tuple[float, float]] = []  # invented by-products, and those that were recorded
        values = [self._value(x, rng) for x in call.inputs]
        settings = mapped(call.settings, lambda x: self._value(x.ref, rng) if isinstance(x, Marked) else x)
        self.launches: list[tuple[Any, ...]] = []
        self.ready: list[Array] = []  # as they were before the first launch that knows them
        self._met: dict[int, int] = {}
        self._kept: list[Any] = []
        self.succeeded = True
        seen = jit.watched()
        jit.watch(self._launched)
        try:
            result = call.op.forward(*values, **settings)
        except Exception:  # the op refuses what was invented: it stays a call of Python
            self.succeeded = False
            return
        finally:
            jit.watch(seen)
        roots = {id(root_of(x)) for x in self.given}
        mapped(result, lambda x: roots.add(id(root_of(x))))
        order = [i for root, i in self._met.items() if root not in roots]
        self.ready = [self.ready[i] for i in order]

    def _value(self, x: Any, rng: np.random.Generator) -> Any:
        if not isinstance(x, Ref):
            if isinstance(x, Cell):
                self._cells.append((float(rng.random()), x.value))
                return self._cells[-1][0]
            return float(rng.random()) if isinstance(x, Live) else x
        made = invented(x, rng)
        self.given.append(made)
        return made

    def _launched(self, kernel: Any, dtype: Any, arguments: tuple[Any, ...]) -> None:
        self._kept.append(arguments)
        self.launches.append((kernel, dtype, arguments))
        for x in arguments:
            if isinstance(x, np.ndarray):
                root = root_of(x)
                if id(root) not in self._met:
                    self._met[id(root)] = len(self.ready)
                    self.ready.append(root.copy(order="K"))

    def varies(self, other: _Invented) -> bool:
        """Whether no input is the same in both runs."""
        return not any(x.size and _same(x, y) for x, y in zip(self.given, other.given, strict=True))

    def like(self, call: Call) -> bool:
        """Whether the launches are those of the call, but for the arrays."""
        if len(self.launches) != len(call.launches) or len(self.ready) != len(_extra(call)):
            return False
        for (kernel, dtype, arguments), launch in zip(self.launches, call.launches, strict=True):
            if (kernel, dtype) != (launch.kernel, launch.dtype):
                return False
            for x, y in zip(arguments, launch.arguments, strict=True):
                if isinstance(y, Ref):
                    if not isinstance(x, np.ndarray) or (x.shape, x.strides) != (y.shape, y.strides):
                        return False
                elif x != y and not (x != x and y != y) and (x, y) not in self._cells:
                    return False
        return all(
            (x.shape, x.dtype, x.strides) == (b.array.shape, b.array.dtype, b.array.strides)
            for x, b in zip(self.ready, _extra(call), strict=True)
        )


def invented(x: Ref, rng: np.random.Generator) -> Array:
    """Other values of the same shape, strides and type: floats near the recorded, some of its integers."""
    extent = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if n > 1 and s > 0) + x.dtype.itemsize
    before = sum((n - 1) * s for n, s in zip(x.shape, x.strides, strict=True) if n > 1 and s < 0)
    memory = np.zeros(extent - before, np.uint8)
    made = np.ndarray(x.shape, x.dtype, memory, -before, x.strides)
    recorded = _array(x, {})
    if x.dtype.kind == "f":  # nearer to 0 than recorded, and not 0: what is an index or a place stays inside
        made[...] = recorded * rng.uniform(0.25, 1, x.shape) + 0.01 * rng.uniform(0.1, 1, x.shape)
    else:
        made[...] = rng.choice(_values(recorded), x.shape)
    return made


def _values(recorded: Array) -> Array:
    """Integers that an op may be given in the place of these: of the same, and 0 where all are one."""
    if recorded.dtype == bool:
        return np.array([False, True])
    found = np.unique(recorded)
    return np.array([0, *found], recorded.dtype) if len(found) == 1 and found[0] > 0 else found


def _copy_of(block: Block, i: int, runs: list[_Invented]) -> list[tuple[Ref, Ref]]:
    """The input whose values, perhaps with axes in another order, a kernel found in its memory."""
    call = runs[0].call
    for at, ref in enumerate(_given(call)):
        if ref.dtype != block.array.dtype or int(np.prod(ref.shape)) != block.array.size:
            continue
        for order in _orders(len(ref.shape)):
            shape = [ref.shape[a] for a in order]
            if all(_same(run.given[at].transpose(order).reshape(run.ready[i].shape), run.ready[i]) for run in runs):
                target = block.array.reshape(shape)
                if np.shares_memory(target, block.array):
                    source = Ref(ref.block, ref.offset, tuple(shape), tuple(ref.strides[a] for a in order), ref.dtype)
                    return [(source, Ref.of(block, target))]
    return []


def _orders(n: int) -> Iterator[list[int]]:
    """Orders of axes that layouts come from: one axis moved, or all reversed."""
    yield list(range(n))
    yield list(range(n))[::-1]
    for source in range(n):
        for target in range(n):
            if source != target:
                order = [a for a in range(n) if a != source]
                order.insert(target, source)
                yield order


def _same(x: Array, y: Array) -> bool:
    return x.shape == y.shape and x.dtype == y.dtype and x.tobytes() == y.tobytes()


def _after(
    call: Call, begun: dict[Block, Array], empty: set[Block], copies: list[tuple[Ref, Ref]], fill: int
) -> dict[Block, Array]:
    """What the launches leave in memory that began as `begun`, and as `fill` where it is `empty`, or holds results."""
    results = {x.block for x in call.outputs if x is not None}
    memory = {block: np.full(block.array.nbytes, fill, np.uint8) for block in (*results, *empty, *begun)}
    for block, array in begun.items():
        _array(Ref.of(block, block.array), memory)[...] = array
    for source, target in copies:
        _array(target, memory)[...] = _array(source, memory)
    for launch in call.launches:
        launch.kernel[launch.dtype](*(_array(x, memory) for x in launch.arguments))
    whole = {block: _array(Ref.of(block, block.array), memory) for block in begun}
    return whole | {block: memory[block] for block in results}


def _gives(call: Call, found: dict[Block, Array]) -> bool:
    """Whether the memory of the results holds what was recorded."""
    outputs = [x for x in call.outputs if x is not None]
    return all(_array(x, found).tobytes() == _array(x, {}).tobytes() for x in outputs)


def _array(x: Any, memory: dict[Block, Array]) -> Any:
    if not isinstance(x, Ref):
        return x
    base = memory.get(x.block)
    return x.recorded() if base is None else x.on(base)


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
    if (one.kernel, one.dtype) != (other.kernel, other.dtype):
        return False
    pairs = zip(one.arguments, other.arguments, strict=True)
    return all(isinstance(x, Ref) or (not isinstance(y, Ref) and (x == y or x != x)) for x, y in pairs)

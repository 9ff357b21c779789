"""Native steps for ops: by the kernels that they launch, or by instructions of `kernels.machine`.

An op is lowered by its name in `INSTRUCTIONS`, else by its own launches where these are all it does. What is neither
stays a call of Python.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..backend import root_of
from ..kernels import random, threads
from ..kernels.cuda import on_device
from ..kernels.dispatch import module
from ..kernels.jit import COMPILED
from ..kernels.machine import machine
from . import pointwise
from .entries import Call, Cell, Marked, Ref
from .guards import Live
from .launches import same_numbers
from .steps import Bound, Kernels, OfCall, Step, copyable, emit_copy, emit_launch, merged

Array = np.ndarray[Any, Any]


def lowered(call: Call, before: Call) -> Step | None:
    """The native step of a call, that was `before` in the first recording; None: there is none."""
    if machine() is None or any(on_device(x.block.array) for x in call.outputs if isinstance(x, Ref)):
        return None
    made: Step | None = pointwise.step_of(call)
    if made is None and (instruction := INSTRUCTIONS.get(call.op.__name__)) is not None:
        made = instruction(call)
    if made is not None:
        return made
    if any(isinstance(x, Live | Cell) for x in (*call.inputs, *call.settings.values())):
        return None  # a launch has the number of the recording
    if call.plan is not None and all(map(same_numbers, call.launches, before.launches)):
        return Kernels(call)
    return None


class Native(OfCall):
    """An instruction: `write` appends its launches."""

    native = True

    def __init__(self, call: Call, write: Callable[[Bound], None], scratch: tuple[Ref, ...] = ()) -> None:
        super().__init__(call)
        self._write, self._scratch = write, scratch

    def scratch(self) -> Iterator[Ref]:
        return iter(self._scratch)

    def emit(self, bound: Bound) -> None:
        self._write(bound)


def _kernels() -> Any:
    cpu = machine()
    assert cpu is not None
    return cpu


# ---- sums
def _sum(call: Call) -> Step | None:
    """`sum` and `mean` over neighbouring axes of float32 or float64."""
    x, out = call.inputs[0], call.outputs[0]
    if not isinstance(x, Ref) or x.dtype not in COMPILED or out.dtype != x.dtype or not x.shape:
        return None
    axis = call.settings["axis"]
    axes = range(len(x.shape)) if axis is None else sorted(a % len(x.shape) for a in np.atleast_1d(axis).tolist())
    axes = list(axes)
    if not axes or axes != list(range(axes[0], axes[-1] + 1)) or 0 in x.shape:
        return None
    lead, tail = axes[0], axes[-1] + 1
    kept = [s for i, s in enumerate(out.strides) if not (call.settings["keepdims"] and i in axes)]
    parts = [
        merged(x.shape[:lead], [x.strides[:lead], tuple(kept[:lead])]),
        merged(x.shape[lead:tail], [x.strides[lead:tail]]),
        merged(x.shape[tail:], [x.strides[tail:], tuple(kept[lead:])]),
    ]
    if any(len(shape) > 1 for shape, _ in parts):
        return None
    (a, b, c) = ((shape[0], strides) if shape else (1, None) for shape, strides in parts)

    def step(part: Any, i: int) -> int:
        return 0 if part[1] is None else int(part[1][i][0])

    row = np.array([a[0], b[0], c[0], step(a, 0), step(b, 0), step(c, 0), step(a, 1), step(c, 1)], np.int64)
    divisor = b[0] if call.op.__name__ == "mean" else 1

    def write(bound: Bound) -> None:
        arguments = (np.zeros(1, x.dtype), bound.address(x), bound.address(out), row, divisor)
        bound.table.launch(_kernels().total, x.dtype, arguments)

    return Native(call, write)


# ---- rows by their numbers
def _embedding(call: Call) -> Step | None:
    index, table, out = call.inputs[0], call.inputs[1], call.outputs[0]
    if not all(isinstance(x, Ref) for x in (index, table)) or index.dtype != np.int64 or table.dtype not in COMPILED:
        return None
    if not (_compact(index) and _compact(table) and _compact(out)) or len(table.shape) != 2:
        return None
    rows = (int(np.prod(index.shape)), table.shape[1])

    def write(bound: Bound) -> None:
        arrays = bound.array(table), bound.array(index).reshape(-1), bound.array(out).reshape(rows), bound.wrong
        bound.table.launch(_kernels().gather, table.dtype, arrays)

    return Native(call, write)


def _compact(x: Ref) -> bool:
    expected, stride = [], x.dtype.itemsize
    for n in reversed(x.shape):
        expected.append(stride)
        stride *= n
    return all(s == e or n == 1 for s, e, n in zip(x.strides, reversed(expected), x.shape, strict=True))


# ---- numbers to other places
class Moves(Native):
    """Copies from inputs to parts of the result, which begins as zeros where they leave gaps."""

    def __init__(self, call: Call, moves: list[tuple[Ref, Ref]], gaps: bool) -> None:
        super().__init__(call, self._emit)
        self._moves, self._gaps = moves, gaps

    def _emit(self, bound: Bound) -> None:
        out = self.call.outputs[0]
        if self._gaps:
            base = bound.memory[out.block.owner]
            bound.table.launch(_kernels().clear, np.float64, (base.ctypes.data, base.nbytes))
        for source, target in self._moves:
            emit_copy(source, target, bound)


def _moves(call: Call, pairs: list[tuple[Ref, Ref]], gaps: bool = False) -> Step | None:
    fits = all(source.dtype == target.dtype and copyable(source, target) for source, target in pairs)
    return Moves(call, pairs, gaps) if fits and 0 not in call.outputs[0].shape else None


def _part(out: Ref, take: Callable[[Array], Array]) -> Ref | None:
    """The part of a value that `take` takes of an array; None where that is not a view."""
    whole = out.recorded()
    part = take(whole)
    return Ref.of(out.block, part) if root_of(part) is root_of(whole) else None


def _reshape(call: Call) -> Step | None:
    """`reshape` and its kin, where they must copy: in the order of the input's axes."""
    x, out = call.inputs[0], call.outputs[0]
    part = _part(out, lambda a: a.reshape(x.shape))
    return None if part is None else _moves(call, [(x, part)])


def _stack(call: Call) -> Step | None:
    if not all(isinstance(x, Ref) for x in call.inputs):
        return None
    out, axis = call.outputs[0], call.settings["axis"]
    pairs = []
    for i, x in enumerate(call.inputs):
        part = _part(out, functools.partial(_along, axis=axis, index=i))
        if part is None:
            return None
        pairs.append((x, part))
    return _moves(call, pairs)


def _along(a: Array, axis: int, index: Any) -> Array:
    """What an index takes along one axis: a slice, or one entry, without the axis."""
    moved = np.moveaxis(a, axis, 0)[index]
    return moved if isinstance(index, int) else np.moveaxis(moved, 0, axis)


def _concat(call: Call) -> Step | None:
    if not all(isinstance(x, Ref) for x in call.inputs):
        return None
    out, axis, pairs, start = call.outputs[0], call.settings["axis"], [], 0
    for x in call.inputs:
        stop = start + x.shape[axis]
        part = _part(out, functools.partial(_along, axis=axis, index=slice(start, stop)))
        if part is None:
            return None
        if 0 not in x.shape:
            pairs.append((x, part))
        start = stop
    return _moves(call, pairs)


def _getitem_adjoint(call: Call) -> Step | None:
    """Where the index is made of slices and numbers, or is an array of rows."""
    x, out, index = call.inputs[0], call.outputs[0], call.settings["index"]
    if isinstance(index, Marked):
        return _rows_adjoint(call, x, index.ref, out)
    parts = index if isinstance(index, tuple) else (index,)
    if not all(isinstance(i, int | slice | type(None) | type(Ellipsis)) and not isinstance(i, bool) for i in parts):
        return None
    part = _part(out, lambda a: a[index] if isinstance(a[index], np.ndarray) else a)
    if part is None or part.shape != x.shape:
        return None
    return _moves(call, [(x, part)], gaps=part.shape != out.shape)


def _rows_adjoint(call: Call, x: Ref, index: Ref, out: Ref) -> Step | None:
    """Σ of the rows of x that have one number: the gradient of a table."""
    fits = index.dtype == np.int64 and x.dtype in COMPILED and len(out.shape) == 2 and 0 not in x.shape
    if not fits or not (_compact(index) and _compact(x) and _compact(out)) or x.shape != (*index.shape, out.shape[1]):
        return None
    rows = (int(np.prod(index.shape)), out.shape[1])

    def write(bound: Bound) -> None:
        arrays = bound.array(x).reshape(rows), bound.array(index).reshape(-1), bound.array(out), bound.wrong
        bound.table.launch(_kernels().scatter, x.dtype, arrays)

    return Native(call, write)


# ---- dropout
def _dropout(call: Call) -> Step | None:
    """The kernel, with the key that was drawn for this replay."""
    x, key, out = call.inputs[0], call.inputs[1], call.outputs[0]
    if not (isinstance(x, Ref) and isinstance(key, Ref) and x.dtype in COMPILED and out.dtype == x.dtype):
        return None
    p = float(call.settings["p"])
    if p == 1 or 0 in x.shape or key.dtype != np.uint32 or not all(map(_compact, (x, key, out))):
        return None
    cpu = module(random.__name__)
    threshold, scale = random.kept(p)
    parts = threads.parts(math.prod(x.shape) * cpu.TIMES["dropout"])

    def write(bound: Bound) -> None:
        spread = bound.table.launch(_kernels().spread, np.float64, (bound.address(key), 0, 4))
        arrays = (bound.array(a).reshape(-1) for a in (x, out))
        arguments = (next(arrays), 0, 0, 0, 0, threshold, scale, next(arrays), parts)
        dropped = bound.table.launch(cpu.dropout, x.dtype, arguments)
        bound.links.append(lambda: bound.table.point(spread, 1, dropped, 1))

    return Native(call, write)


# ---- the loss
def _cross_entropy(call: Call) -> Step | None:
    """The kernel's sums, made into the loss and what its gradient needs."""
    loss, reduction = call.outputs[0], call.settings["reduction"]
    if len(call.launches) != 1 or reduction not in ("sum", "mean") or len(call.outputs) != 3:
        return None
    (launch,) = call.launches
    sums, normalizers, share = launch.arguments[5], call.outputs[1], call.outputs[2]
    target = launch.arguments[1]
    if target.block.origin == "scratch" or launch.arguments[0].block.origin == "scratch":
        return None  # it was copied
    if normalizers.block != launch.arguments[4].block:
        return None

    def write(bound: Bound) -> None:
        emit_launch(launch, bound)
        place = np.zeros(())
        bound.cells[share] = [place]
        bound.table.keep.append(place)
        arguments = (
            np.zeros(1, loss.dtype), bound.array(sums), bound.address(loss), place.ctypes.data,
            int(reduction == "mean"), bound.wrong,
        )  # fmt: skip
        bound.table.launch(_kernels().mean_loss, loss.dtype, arguments)

    scratch = tuple(x for x in launch.arguments if isinstance(x, Ref) and x.block.origin == "scratch")
    return Native(call, write, scratch)


def _cross_entropy_backward(call: Call) -> Step | None:
    """The kernel, with the share that the forward found in this replay."""
    if call.plan is None or len(call.launches) != 1 or not isinstance(call.inputs[6], Cell):
        return None
    (launch,) = call.launches
    share = call.inputs[6]

    def write(bound: Bound) -> None:
        place = bound.cell(share)
        cell = place[0] = np.zeros(()) if place[0] is None else place[0]
        bound.table.keep.append(cell)
        for source, target in call.plan.copies:
            emit_copy(source, target, bound)
        move = bound.table.launch(_kernels().move, np.float64, (cell.ctypes.data, 0))
        pulled = emit_launch(launch, bound)

        bound.links.append(lambda: bound.table.point(move, 1, pulled, 6))

    return Native(call, write)


INSTRUCTIONS: dict[str, Callable[[Call], Step | None]] = {
    "sum": _sum,
    "mean": _sum,
    "embedding": _embedding,
    "dropout": _dropout,
    "reshape": _reshape,
    "flatten": _reshape,
    "unflatten": _reshape,
    "stack": _stack,
    "concat": _concat,
    "getitem_adjoint": _getitem_adjoint,
    "cross_entropy": _cross_entropy,
    "cross_entropy_backward": _cross_entropy_backward,
}

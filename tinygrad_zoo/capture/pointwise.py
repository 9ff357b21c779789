"""Chains of pointwise ops as one instruction each: one pass over memory, with what lies between in registers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..kernels import threads
from ..kernels.jit import COMPILED
from ..kernels.machine import machine
from .entries import Call, Ref
from .guards import Live
from .steps import Bound, Step, merged, ordered

MOST = 24  # ops in a chain

# Names of the instructions of kernels/machine/cpu.py, how many of an op's inputs they take, and nanoseconds a number.
_OPS: dict[str, tuple[str, int, float]] = {
    "add": ("ADD", 2, 0.1),
    "sub": ("SUB", 2, 0.1),
    "mul": ("MUL", 2, 0.1),
    "div": ("DIV", 2, 0.2),
    "maximum": ("MAXIMUM", 2, 0.1),
    "minimum": ("MINIMUM", 2, 0.1),
    "lt": ("LT", 2, 0.1),
    "le": ("LE", 2, 0.1),
    "gt": ("GT", 2, 0.1),
    "ge": ("GE", 2, 0.1),
    "where": ("WHERE", 3, 0.1),
    "neg": ("NEG", 1, 0.1),
    "abs": ("ABS", 1, 0.1),
    "square": ("SQUARE", 1, 0.1),
    "sqrt": ("SQRT", 1, 0.5),
    "reciprocal": ("RECIPROCAL", 1, 0.2),
    "exp": ("EXP", 1, 0.4),
    "log": ("LOG", 1, 5.0),
    "tanh": ("TANH", 1, 0.6),
    "sigmoid": ("SIGMOID", 1, 0.5),
    "relu": ("RELU", 1, 0.1),
    "copy": ("SAME", 1, 0.1),
    "astype": ("SAME", 1, 0.1),
    "tanh_backward": ("TANH_PULLED", 2, 0.1),  # g and the result
    "sigmoid_backward": ("SIGMOID_PULLED", 2, 0.1),
    "relu_backward": ("RELU_PULLED", 2, 0.1),
}
_NUMBERS = (int, float)


def step_of(call: Call) -> Chain | None:
    """The instruction of a pointwise op on float32 or float64, and booleans; None for another op, or other types."""
    found = _OPS.get(call.op.__name__)
    if found is None or len(call.outputs) != 1:
        return None
    name, count, _ = found
    if call.settings.get("rounding_mode") is not None:
        return None
    inputs, out = call.inputs[:count], call.outputs[0]
    refs = [x for x in inputs if isinstance(x, Ref)]
    floats = {x.dtype for x in (*refs, out) if x.dtype.kind != "b"}
    if len(floats) != 1 or not floats <= set(COMPILED) or 0 in out.shape or len(refs) == 0:
        return None
    if not all(isinstance(x, Ref | Live) or type(x) in _NUMBERS for x in inputs) or len(out.shape) > machine().AXES:
        return None
    if any(x.dtype.kind == "b" for x in refs) and name not in ("WHERE", "SAME", "MUL"):
        return None
    return Chain([call], floats.pop())


class Chain(Step):
    """Pointwise ops on one shape."""

    native = True

    def __init__(self, calls: list[Call], dtype: np.dtype[Any]) -> None:
        self.calls, self.dtype = calls, dtype
        self.shape = calls[0].outputs[0].shape
        self.line = calls[0].line
        self.stored: set[Any] | None = None  # the results that others need; None: all

    @property
    def name(self) -> str:  # type: ignore[override]
        return " ".join(str(call.op) for call in self.calls)

    def reads(self) -> Iterator[Ref]:
        made = {_key(call.outputs[0]) for call in self.calls}
        for call in self.calls:
            yield from (x for x in _inputs(call) if isinstance(x, Ref) and _key(x) not in made)

    def writes(self) -> Iterator[Ref]:
        for call in self.calls:
            out = call.outputs[0]
            if self.stored is None or out.block.owner in self.stored:
                yield out

    def takes(self, other: Chain) -> bool:
        """Whether `other` can go on where this chain ends."""
        if other.shape != self.shape or other.dtype != self.dtype or len(self.calls) + len(other.calls) > MOST:
            return False
        made = {call.outputs[0].block.owner: _key(call.outputs[0]) for call in self.calls}
        return all(made.get(x.block.owner, _key(x)) == _key(x) for x in other.reads())

    def emit(self, bound: Bound) -> None:
        cpu = machine()
        registers: dict[Any, int] = {}
        operands: list[tuple[str, Any]] = []
        constants: list[Any] = []
        for call in self.calls:
            for x in _inputs(call):
                key = _key(x)
                if key not in registers and not any(key == _key(c.outputs[0]) for c in self.calls):
                    registers[key] = len(operands)
                    operands.append(("ref", x) if isinstance(x, Ref) else ("number", len(constants)))
                    if not isinstance(x, Ref):
                        constants.append(x)
        code = []
        for i, call in enumerate(self.calls):
            registers[_key(call.outputs[0])] = len(operands) + i
        for i, call in enumerate(self.calls):
            given = [registers[_key(x)] for x in _inputs(call)]
            name = _OPS[call.op.__name__][0]
            code.append([getattr(cpu, name), len(operands) + i, *(given + given[:1] * 3)[:3]])
        written = list(self.writes())
        views = [x for what, x in operands if what == "ref"] + written
        shape, strides = merged(self.shape, [_strides(x, self.shape) for x in views])
        shape, strides = ordered(shape, strides)
        of = iter(strides)
        rows = [
            [_kind(x, cpu), bound.address(x), *next(of)] if what == "ref" else [cpu.OF_CONSTANT, x, *[0] * cpu.AXES]
            for what, x in operands
        ]
        results = [[_kind(x, cpu), bound.address(x), *next(of), registers[_key(x)]] for x in written]
        values = np.array([float(x) for x in constants] or [0.0], self.dtype)
        for i, x in enumerate(constants):
            if isinstance(x, Live):
                bound.asked.append((x.number, values[i : i + 1]))
        size = int(np.prod(self.shape))
        cost = sum(_OPS[call.op.__name__][2] for call in self.calls) + 0.1 * len(views)
        arguments = (
            values, np.array(code, np.int64), np.array(rows, np.int64), np.array(results, np.int64),
            np.array(shape, np.int64), threads.parts(size * cost),
        )  # fmt: skip
        bound.table.launch(cpu.pointwise, self.dtype, arguments)


def _inputs(call: Call) -> list[Any]:
    return call.inputs[: _OPS[call.op.__name__][1]]


def _key(x: Any) -> Any:
    if isinstance(x, Ref):
        return x.block.owner, *x.kind
    return ("live", id(x)) if isinstance(x, Live) else ("number", float(x))


def _kind(x: Ref, cpu: Any) -> int:
    return int(cpu.OF_BOOL if x.dtype.kind == "b" else cpu.OF_T)


def _strides(x: Ref, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Its strides as broadcast to `shape`."""
    lead = len(shape) - len(x.shape)
    return (0,) * lead + tuple(0 if n == 1 else s for n, s in zip(x.shape, x.strides, strict=True))


def fused(steps: Sequence[Step]) -> list[Step]:
    """The same steps with chains of pointwise ones made into one; others may move before a chain they don't need."""
    found: list[Step] = []
    open_: list[Chain] = []

    def close(chain: Chain) -> None:
        open_.remove(chain)
        found.append(chain)

    for step in steps:
        reads = {x.block.owner for x in step.reads()}
        writes = {x.block.owner for x in step.writes()}
        merged_into: Chain | None = None
        for chain in list(open_):
            made = {call.outputs[0].block.owner for call in chain.calls}
            takes = isinstance(step, Chain) and chain.takes(step)
            if made & reads and not (takes and merged_into is None and not _others(open_, chain, reads)):
                close(chain)
            elif takes and merged_into is None and made & reads:
                merged_into = chain
            elif made & writes or step.lasting:
                close(chain)
        if merged_into is not None:
            assert isinstance(step, Chain)
            merged_into.calls += step.calls
        elif isinstance(step, Chain):
            open_.append(Chain(list(step.calls), step.dtype))
        else:
            found.append(step)
    for chain in list(open_):
        close(chain)
    return found


def _others(open_: list[Chain], chain: Chain, reads: set[Any]) -> bool:
    """Whether another open chain makes something of what is read: it must be closed first, before `chain` goes on."""
    return any(other is not chain and {call.outputs[0].block.owner for call in other.calls} & reads for other in open_)

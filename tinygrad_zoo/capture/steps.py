"""What a program consists of: native launches, and calls of Python where there is no kernel for an op.

Every step knows the values it reads and writes, so that a program can be cleaned, ordered, planned and described before
it is bound to addresses.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import CaptureError, TinygradZooError
from ..grad_mode import state
from ..kernels import threads
from ..kernels.cuda import on_device
from ..kernels.machine import Program as Table
from ..kernels.machine import machine
from ..tensor import Tensor
from ..variable import wrap
from .entries import Block, Call, Cell, Draw, Effect, Launch, Marked, Pull, Ref, mapped
from .guards import Live
from .launches import places_of

Array = np.ndarray[Any, Any]
Action = Callable[[], None]


class Bound:
    """Where every value lies."""

    def __init__(self, memory: dict[Block, Array]) -> None:
        self.memory = memory  # bytes, of the blocks that are planned
        self.table = Table()
        self.cells: dict[Cell, list[Any]] = {}
        self.asked: list[tuple[Callable[[], float], Array]] = []  # numbers that are asked anew, and where they go
        self.links: list[Action] = []  # what is left to do when all launches have their place
        self.wrong = self.table.failed[1:]  # counts indices that are out of range
        self._tensors: dict[Any, Tensor] = {}

    def array(self, ref: Ref) -> Array:
        base = self.memory.get(ref.block.owner)
        array: Array = ref.on(ref.block.owner.array if base is None else base)
        return array

    def address(self, ref: Ref) -> int:
        base = self.memory.get(ref.block.owner)
        return int((ref.block.owner.array if base is None else base).ctypes.data + ref.offset)

    def tensor(self, ref: Ref) -> Tensor:
        """One Tensor a value, on its memory."""
        key = (ref.block.owner, ref.kind)
        if key not in self._tensors:
            self._tensors[key] = wrap(Tensor, self.array(ref))
        return self._tensors[key]

    def __contains__(self, x: Tensor) -> bool:
        """Whether a Tensor is one of a value."""
        return any(x is tensor for tensor in self._tensors.values())

    def cell(self, cell: Cell) -> list[Any]:
        return self.cells.setdefault(cell, [None])


class Step:
    """One step of a program: native if `emit` appends launches, else a call of Python that `action` gives."""

    native = False
    captured = False  # in a graph of a device
    name: str
    line: str
    lasting = False  # has effects beside its values

    @property
    def parts(self) -> int:
        """For how many threads its largest launch is, as far as that was recorded."""
        return 1

    def reads(self) -> Iterator[Ref]:
        raise NotImplementedError

    def writes(self) -> Iterator[Ref]:
        raise NotImplementedError

    def scratch(self) -> Iterator[Ref]:
        """Memory that only this step needs."""
        return iter(())

    def emit(self, bound: Bound) -> None:
        raise NotImplementedError

    def action(self, bound: Bound) -> Action:
        raise NotImplementedError


def refs_in(*values: Any) -> Iterator[Ref]:
    """The values in a nest."""
    found: list[Ref] = []

    def note(x: Any) -> Any:
        found.append(x.ref if isinstance(x, Marked) else x)
        return x

    for value in values:
        mapped(value, note)
    return (x for x in found if isinstance(x, Ref))


class OfCall(Step):
    """A step that stands for one call of an op."""

    def __init__(self, call: Call) -> None:
        self.call, self.name, self.line = call, str(call.op), call.line

    @property
    def parts(self) -> int:
        return max((launch.parts for launch in self.call.launches), default=1)

    def reads(self) -> Iterator[Ref]:
        return refs_in(self.call.inputs, self.call.settings)

    def writes(self) -> Iterator[Ref]:
        return (x for x in self.call.outputs if isinstance(x, Ref))


class Python(OfCall):
    """An op without a kernel of its own: its forward, and a copy to where the result belongs."""

    def computed(self, bound: Bound) -> Callable[[], Any]:
        call = self.call
        forward = call.op.forward
        values = [_value(x, bound) for x in call.inputs]
        settings = mapped(call.settings, lambda x: bound.tensor(x.ref) if x.tensor else bound.array(x.ref))
        ask = _asking(values, settings, bound)

        def run() -> Any:
            ask()
            try:
                return forward(*values, **settings)
            except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError, TinygradZooError) as error:
                raise call.op.signature.explain(values, settings, error) from error

        return _in_precision(call.precision, run)

    def action(self, bound: Bound) -> Action:
        run, store = self.computed(bound), _storing(self.call, bound)
        return lambda: store(run())


def _in_precision(precision: Any, run: Callable[[], Any]) -> Callable[[], Any]:
    """`run` under the `autocast` under which it was recorded."""
    if precision is None:
        return run

    def inside() -> Any:
        outer, state.precision = state.precision, precision
        try:
            return run()
        finally:
            state.precision = outer

    return inside


def _asking(values: list[Any], settings: dict[str, Any], bound: Bound) -> Action:
    """What puts numbers there that are asked anew, or that another op found in this replay."""
    given: list[tuple[Any, Any, Any]] = [(values, i, x) for i, x in enumerate(values)]
    given += [(settings, name, x) for name, x in settings.items()]
    anew = [(place, key, x.number) for place, key, x in given if isinstance(x, Live)]
    cells = [(place, key, bound.cell(x)) for place, key, x in given if isinstance(x, Cell)]

    def ask() -> None:
        for place, key, number in anew:
            place[key] = number()
        for place, key, cell in cells:
            place[key] = cell[0] if not isinstance(cell[0], np.ndarray) else cell[0].item()

    return ask


def _value(x: Any, bound: Bound) -> Any:
    return bound.array(x) if isinstance(x, Ref) else x


def _storing(call: Call | Pull, bound: Bound) -> Callable[[Any], None]:
    """Copies what an op's forward returns to where it belongs."""
    inside = {x.block for x in refs_in(call.inputs)}
    places: list[Any] = []
    for x in call.outputs:
        if isinstance(x, Cell):
            places.append(bound.cell(x))
        else:  # what shares memory with an input lies there already
            places.append(None if x is None or x.block in inside else bound.array(x))
    saved = isinstance(call, Call) and bool(call.op.saved)
    line = call.line

    def put(place: Any, value: Any) -> None:
        if isinstance(place, list) and isinstance(place[0], np.ndarray):
            place[0][...] = value  # where a launch reads it
        elif isinstance(place, list):
            place[0] = value
        elif place is not None:
            if np.shape(value) != place.shape:
                raise CaptureError(
                    f"capture: {line}: a result has shape {np.shape(value)}, when it was recorded {place.shape}: "
                    "shapes that depend on values can't be replayed"
                )
            place[...] = value

    if len(places) == 1 and not saved and isinstance(call, Call):
        (only,) = places

        def store(result: Any) -> None:
            put(only, result[0] if isinstance(result, tuple) else result)

    else:

        def store(result: Any) -> None:
            for place, value in zip(places, results_of(call, result), strict=False):
                put(place, value)

    return store


def results_of(call: Call | Pull, result: Any) -> Sequence[Any]:
    """What a forward or a rule returned, as the outputs of its entry are ordered: by-products stand last."""
    if isinstance(call, Call) and call.op.saved:
        first, *rest = result
        return (*(first if isinstance(first, tuple) else (first,)), *rest)
    return result if isinstance(result, (tuple, list)) else (result,)


class Rule(Step):
    """A gradient rule that looks at values outside of ops, on arrays."""

    def __init__(self, pull: Pull) -> None:
        self.pull, self.name, self.line = pull, f"the rule of {pull.node.op}", pull.line

    def reads(self) -> Iterator[Ref]:
        return refs_in(self.pull.inputs, self.pull.settings)

    def writes(self) -> Iterator[Ref]:
        return (x for x in self.pull.outputs if isinstance(x, Ref))

    def computed(self, bound: Bound) -> Callable[[], Any]:
        pull = self.pull
        op, needs = pull.node.op, pull.node.needs
        values = [_value(x, bound) for x in pull.inputs]
        count = len(pull.node.outputs)
        gs, outs, rest = values[:count], values[count : 2 * count], values[2 * count :]
        inputs, saved = rest[: len(pull.node.inputs)], rest[len(pull.node.inputs) :]
        g, out = (gs[0], outs[0]) if count == 1 else (gs, outs)
        settings = mapped(pull.settings, lambda x: bound.tensor(x.ref) if x.tensor else bound.array(x.ref))
        settings = {**settings, **dict(zip(op.saved, saved, strict=True))}
        ask, rule = _asking(inputs, settings, bound), op.vjp
        assert rule is not None  # else nothing would have been pulled

        def run() -> Any:
            ask()
            return rule(g, out, *inputs, needs=needs, **settings)

        return _in_precision(pull.precision, run)

    def action(self, bound: Bound) -> Action:
        run, store = self.computed(bound), _storing(self.pull, bound)
        return lambda: store(run())


class Drawing(Step):
    """Numbers that the host draws or hands over."""

    lasting = True

    def __init__(self, draw: Draw) -> None:
        self.draw, self.name, self.line = draw, "draw", draw.line

    def reads(self) -> Iterator[Ref]:
        return iter(())

    def writes(self) -> Iterator[Ref]:
        return iter(self.draw.outputs)

    def action(self, bound: Bound) -> Action:
        rng, values = self.draw.rng, self.draw.values
        places = [bound.array(x) for x in self.draw.outputs]
        if len(places) == 1:
            (place,) = places

            def one() -> None:
                place[...] = values(rng)

            return one

        def run() -> None:
            left = iter(places)

            def put(x: Any) -> None:
                next(left)[...] = x._data if isinstance(x, Tensor) else x

            mapped(values(rng), put)

        return run


class Outside(Step):
    """An effect: the function itself, with this replay's values in its Tensors and in the gradients of the leaves."""

    lasting = True

    def __init__(self, effect: Effect) -> None:
        self.effect, self.line = effect, effect.line
        self.name = getattr(effect.function, "__qualname__", repr(effect.function))

    def reads(self) -> Iterator[Ref]:
        yield from refs_in(self.effect.args, self.effect.kwargs)
        yield from (ref for _, ref in self.effect.grads if ref is not None)

    def writes(self) -> Iterator[Ref]:
        yield from self.effect.outputs
        yield from (ref for _, ref in self.effect.new_grads)

    def set_grads(self, bound: Bound) -> Action:
        grads = [(x, None if ref is None else bound.tensor(ref)) for x, ref in self.effect.grads]

        def run() -> None:
            for x, grad in grads:
                x._grad = grad

        return run

    def action(self, bound: Bound) -> Action:
        effect = self.effect
        function = effect.function
        if machine() is not None and is_step(effect) and not is_on_device(effect):
            return Update(effect.args[0], self.set_grads(bound)).run
        change = lambda x: (bound.tensor(x.ref) if x.tensor else bound.array(x.ref)) if isinstance(x, Marked) else x
        args, kwargs = mapped((effect.args, effect.kwargs), change)
        set_grads = self.set_grads(bound)
        places = [bound.array(x) for x in effect.outputs]
        moved = [(x, bound.array(ref)) for x, ref in effect.new_grads]
        shown: list[Any] = [bound.tensor(ref) for _, ref in effect.grads if ref is not None]
        mapped((args, kwargs), lambda x: shown.append(x) if isinstance(x, Tensor) and x.node is None else None)
        inner = [(x, x._data) for x in shown if x in bound]

        def run() -> None:
            for tensor, array in inner:  # an effect may have given it another one
                tensor._data = array
            set_grads()
            result = function(*args, **kwargs)
            for x, place in moved:
                place[...] = x._grad._data
            if places:
                several = result if isinstance(result, tuple) else (result,)
                for place, value in zip(places, (x for x in several if isinstance(x, Tensor)), strict=True):
                    place[...] = value._data

        return run


def is_step(effect: Effect) -> bool:
    """Whether an effect is the step of an optimizer that can say how a program does it."""
    owner: Any = effect.args[0] if len(effect.args) == 1 and not effect.kwargs else None
    return hasattr(owner, "prepared") and getattr(type(owner).step, "__wrapped__", None) is effect.function


def is_on_device(effect: Effect) -> bool:
    """Whether all gradients lie there."""
    return all(ref is None or on_device(ref.block.array) for _, ref in effect.grads)


class Update:
    """An optimizer's step by launches of its own: Python counts it and computes the scalars, nothing else."""

    def __init__(self, optimizer: Any, set_grads: Action) -> None:
        self.optimizer, self.set_grads = optimizer, set_grads
        self.prepared: Any = None
        self.before: Action | None = None

    def prepare(self) -> None:
        """From the optimizer as it is now, with this program's gradients in place."""
        self.before = None
        self.prepared = made = self.optimizer.prepared()
        if made is None:
            return
        self.table, slots = Table(), []
        for launch in made.launches:
            self.table.launch(*launch)
        self.table.ready()
        for i, ((*_, arguments), count) in enumerate(zip(made.launches, made.scalars, strict=True)):
            first = next(k for k, x in enumerate(arguments) if isinstance(x, float))
            slots.append(self.table.numbers(i, first, count))
        self.before, self.count = made.updating(slots), len(made.launches)

    def run(self) -> None:
        self.set_grads()
        if self.prepared is None or not self.prepared.fits():
            self.prepare()
        if self.before is None or self.prepared is None:
            type(self.optimizer).step.__wrapped__(self.optimizer)
        else:
            self.before()
            self.table.run(0, self.count)


class Kernels(OfCall):
    """The kernels that an op launched when it was recorded, on other memory: all that it did was to launch them."""

    native = True

    def scratch(self) -> Iterator[Ref]:
        for launch in self.call.launches:
            for x in launch.arguments:
                if isinstance(x, Ref) and x.block.origin == "scratch":
                    yield x

    def emit(self, bound: Bound) -> None:
        plan = self.call.plan
        if plan.zeroed:
            cpu = machine()
            for block in {x.block: x for x in (*self.writes(), *self.scratch())}:
                if block.origin != "constant":
                    base = bound.memory[block.owner]
                    bound.table.launch(cpu.clear, np.float64, (base.ctypes.data, base.nbytes))
        if (places := places_of(self.call)) is not None:
            index, size = places
            arguments = bound.address(index), math.prod(index.shape), index.dtype.itemsize, size, bound.wrong
            bound.table.launch(machine().check, np.float64, arguments)
        for source, target in plan.copies:
            emit_copy(source, target, bound)
        for launch in self.call.launches:
            emit_launch(launch, bound)


def emit_copy(source: Ref, target: Ref, bound: Bound) -> None:
    """The numbers of one value to another of the same shape, of four or of eight bytes."""
    cpu = machine()
    dtype = np.dtype(np.float32 if source.dtype.itemsize == 4 else np.float64)
    shape, strides = ordered(*merged(source.shape, [source.strides, target.strides]))
    one, other = (np.array(x, np.int64) for x in strides)
    parts = threads.parts(0.3 * np.prod(source.shape))
    arguments = (
        np.zeros(0, dtype), bound.address(source), one, bound.address(target), other, np.array(shape, np.int64), parts,
    )  # fmt: skip
    bound.table.launch(cpu.copy, dtype, arguments)


def copyable(source: Ref, target: Ref) -> bool:
    """Whether `emit_copy` serves."""
    sizes = source.dtype.itemsize, target.dtype.itemsize
    axes = len(merged(source.shape, [source.strides, target.strides])[0])
    return sizes in ((4, 4), (8, 8)) and axes <= machine().AXES


def merged(shape: Sequence[int], views: Sequence[Sequence[int]]) -> tuple[list[int], list[list[int]]]:
    """A shape with as few axes as the strides of all views allow, and their strides along it.

    >>> merged((2, 3, 4), [(48, 16, 4), (48, 16, 4)])
    ([24], [[4], [4]])
    """
    sizes: list[int] = []
    strides: list[list[int]] = [[] for _ in views]
    for axis in reversed(range(len(shape))):
        if shape[axis] == 1:
            continue
        if sizes and all(view[axis] == found[0] * sizes[0] for view, found in zip(views, strides, strict=True)):
            sizes[0] *= shape[axis]
        else:
            sizes.insert(0, shape[axis])
            for view, found in zip(views, strides, strict=True):
                found.insert(0, view[axis])
    return sizes, strides


def ordered(shape: list[int], strides: list[list[int]]) -> tuple[list[int], list[list[int]]]:
    """As many axes as the machine goes along, the last one long."""
    if shape and shape[-1] < 32 and max(shape) > 4 * shape[-1]:
        longest = shape.index(max(shape))
        for row in (shape, *strides):
            row.append(row.pop(longest))
    more = machine().AXES - len(shape)
    return [1] * more + shape, [[0] * more + row for row in strides]


def emit_launch(launch: Launch, bound: Bound) -> int:
    arguments = tuple(bound.array(x) if isinstance(x, Ref) else x for x in launch.arguments)
    return bound.table.launch(launch.kernel, launch.dtype, arguments)

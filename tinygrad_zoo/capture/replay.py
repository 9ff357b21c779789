"""A program that is bound to memory: what a captured call runs."""

from __future__ import annotations

import os
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..backend import to_host
from ..errors import IndexingError
from ..grad_mode import state
from ..kernels.cuda import on_device
from ..tensor import Tensor
from ..variable import Variable, wrap
from .entries import Block, Draw, Effect, Marked, Ref, mapped
from .graphs import Graphs, Held, OnDevice, device_of_program, draws_first
from .guards import Live
from .lowering import Native
from .pointwise import Chain, fused
from .program import Arena, plan, read_by, steps_of
from .recorder import Recorder
from .regions import Region, regions_of
from .steps import Bound, Drawing, Kernels, Outside, Python, Step, refs_in

Array = np.ndarray[Any, Any]


class Replay:
    """The second recording of a step, made into launches and calls, and ready to run."""

    def __init__(self, first: Recorder, second: Recorder, result: Any) -> None:
        self.result = mapped(result, lambda x: _marked(second, x))
        returned: list[Ref] = []
        mapped(self.result, lambda x: returned.append(x.ref) if isinstance(x, Marked) else None)
        grads = second.grads()
        escaped = _escaped(second, result)
        lasting = {ref.block for ref in returned}
        lasting |= {ref.block for _, ref in grads if ref is not None} | {ref.block for _, ref in escaped}
        arguments = _gradients_of_arguments(second)
        lasting |= {ref.block for _, ref in arguments}
        self._empty, carried = _gradients_before(second)
        pinned = [*second.arguments, *(ref.block for _, ref in carried)]
        if carried:  # what is added to was left by the call before: nothing else may lie there
            pinned += [ref.block for _, ref in grads if ref is not None]
        self.lasting, self.pinned = lasting, pinned
        steps = fused(steps_of(first, second, lasting))
        _store_what_is_read(steps, lasting)
        self.steps: list[Step] = [s for s in steps if not isinstance(s, Chain) or any(s.writes())]
        device = device_of_program(second.blocks.values())
        self.bound: Bound
        self.arena: Arena | Held
        self._graphs: Graphs | None = None
        self.regions: list[Region] = []
        if device is None:
            self.regions = regions_of(self.steps)
            together = [(r.launches[0][0], r.launches[-1][0]) for r in self.regions]
            offsets, size = plan(self.steps, lasting, pinned, together)
            self.arena = Arena(offsets, size)
            self.bound = Bound(self.arena.memory)
        else:
            self.bound = placed = OnDevice(device, pinned)
            self.steps = draws_first(self.steps)
            self._graphs = Graphs(placed, self.steps, [*pinned, *lasting])
        actions = self._bind()
        if self._graphs is not None:
            self.arena = self._graphs.held()
        bound = self.bound
        self.recorder = second
        self._views: dict[int, Array] = {}  # of the results, by the id of what stands for them
        mapped(self.result, self._view)
        self._inputs = [bound.array(Ref.of(block, array)) for block, array in second.given]
        self._actions = actions
        self._final = grads
        tensors = [(x, None if ref is None else bound.tensor(ref)) for x, ref in grads]
        self._grads = [(x, grad, None if grad is None else grad._data) for x, grad in tensors]
        self._escaped = [(ref, bound.array(value)) for ref, value in escaped]
        self._carried = [(x, bound.array(ref)) for x, ref in carried]
        self._of_arguments = [(i, bound.array(ref)) for i, ref in arguments]
        self._outside = list(second.outside.values())
        second.release()

    def _view(self, x: Any) -> None:
        if isinstance(x, Marked):
            self._views[id(x)] = self.bound.array(x.ref)

    def _bind(self) -> list[Callable[[], None]]:
        """Runs of native steps, and calls of Python between them."""
        bound, graphs = self.bound, self._graphs
        spans: list[Any] = []  # of native launches the first and the one behind the last
        self._leaders: list[Step] = []  # the first step of every action
        begins: dict[int, int] = {}  # of a native step, its first launch
        behind = 0  # the steps that are bound, in a graph
        for i, step in enumerate(self.steps):
            if i < behind:
                continue
            if graphs is not None:
                if (found := graphs.run_from(i)) is not None:
                    launch, behind = found
                    spans.append(launch)
                    self._leaders.append(step)
                    continue
                graphs.place(step)
            if not step.native:
                spans.append(step.action(bound) if graphs is None else graphs.action(step))
                self._leaders.append(step)
                continue
            begins[i] = start = len(bound.table.rows)
            step.emit(bound)
            if spans and isinstance(spans[-1], tuple) and spans[-1][1] == start:
                spans[-1] = (spans[-1][0], len(bound.table.rows))
            else:
                spans.append((start, len(bound.table.rows)))
                self._leaders.append(step)
        for region in self.regions:
            launches, ahead = ([begins[i] + k for i, k in places] for places in (region.launches, region.ahead))
            bound.table.together(launches, region.parts, ahead)
        bound.table.ready()
        for link in bound.links:
            link()
        return [self._native(*span) if isinstance(span, tuple) else span for span in spans]

    def _native(self, first: int, last: int) -> Callable[[], None]:
        run = self.bound.table.run

        def launch() -> None:
            try:
                run(first, last)
            except IndexError:
                raise IndexingError("capture: an index or a class of this call's arguments is out of range") from None

        return launch

    def fits(self) -> bool:
        """Whether all that the step looks at besides values is as it was recorded."""
        for x, array, needs in self._outside:
            if x._data is not array or x._requires_grad is not needs:
                return False
        for x in self._empty:
            if x._grad is not None:
                return False
        for x, _ in self._carried:
            if x._grad is None:
                return False
        around = self.recorder.around
        return around is None or around.same()

    def __call__(self, given: Sequence[Any]) -> Any:
        if state.precision is None:
            return self._run(given)
        outer, state.precision = state.precision, None  # steps know their own
        try:
            return self._run(given)
        finally:
            state.precision = outer

    def _put(self, given: Sequence[Any], grads: Sequence[Array]) -> None:
        """Copy in what a call begins with."""
        for (_, place), grad in zip(self._carried, grads, strict=True):
            place[...] = grad
        for place, x in zip(self._inputs, given, strict=True):
            place[...] = _data(x)

    def _run(self, given: Sequence[Any]) -> Any:
        self._put(given, [x._grad._data for x, _ in self._carried])
        for number, slot in self.bound.asked:
            slot[0] = number()
        for action in self._actions:
            action()
        for x, grad, array in self._grads:
            x._grad = grad
            if grad is not None:
                grad._data = array
        for reference, value in self._escaped:
            if (alive := reference()) is not None:
                alive._data = value.copy()
        for i, value in self._of_arguments:
            given[i]._grad = wrap(Tensor, value.copy())
        if isinstance(self.result, Marked):
            return self._fresh(self.result)
        return mapped(self.result, self._fresh, (Live,))

    # ---- what it is
    def text(self) -> str:
        """A line a step: what it writes, what it does, what it reads, its settings, and the user's line; `py` where
        Python runs, `||` in a region. Values are named by their memory: %3 may be written again."""
        rows = []
        shared = {i for region in self.regions for i, _ in region.launches}
        for i, step in enumerate(self.steps):
            writes = ", ".join(map(_named, dict.fromkeys(step.writes())))
            reads = ", ".join([*map(_named, dict.fromkeys(step.reads())), *_settings(step)])
            made = f"{writes} = " if writes else ""
            mark = "py" if by_python(step) else "||" if i in shared else "  "
            rows.append((f"{mark} {made}{step.name}({reads})", os.path.basename(step.line)))
        width = min(100, max((len(text) for text, _ in rows), default=0))
        return "\n".join(f"{text:{width}}  # {line}" for text, line in rows)

    def report(self) -> dict[str, Any]:
        """Bytes, launches, and what is left to Python, by name with how often: see `Captured.report`."""
        python = Counter(step.name for step in self.steps if by_python(step))
        values = sum(b.array.nbytes for b in self.arena.offsets)
        return {
            "arena_bytes": self.arena.size,
            "value_bytes": values,
            "steps": len(self.steps),
            "launches": len(self.bound.table.rows),
            "regions": [len(region.launches) for region in self.regions],
            "graphs": 0 if self._graphs is None else self._graphs.count,
            "native": sum(not by_python(step) for step in self.steps),
            "python": dict(python.most_common()),
        }

    # ---- checks
    def snapshot(self) -> dict[int, Array]:
        """The arrays outside, as they are."""
        self._begun = [x._grad._data.copy() for x, _ in self._carried]
        return {b.number: b.array.copy() for b in self._changing()}

    def _changing(self) -> list[Block]:
        outside = [b for b in self.recorder.blocks.values() if b.origin == "outside"]
        return [b for b in outside if on_device(b.array) or b.array.flags.writeable]

    def differs(self, before: dict[int, Array], eager: Recorder, given: Sequence[Any], result: Any) -> str | None:
        """What this program gives otherwise than the eager call that began at `before`; None: nothing.

        Its native steps and its calls of Python run on what was drawn in that call; in the place of an effect stands
        what it left.
        """
        blocks = {b.number: b for b in self._changing()}
        after = self.snapshot()
        entries = iter([e for e in eager.entries if isinstance(e, Draw | Effect)])
        put = {number: blocks[number].array for number in before}
        try:
            for at, array in before.items():
                put[at][...] = array
            self._put(given, self._begun)
            for number, slot in self.bound.asked:
                slot[0] = number()
            for step, action in zip(self._leaders, self._actions, strict=True):
                if isinstance(step, Drawing):
                    entry = next(entries)
                    for ref, made in zip(step.draw.outputs, entry.outputs, strict=True):
                        self.bound.array(ref)[...] = eager_array(made)
                elif isinstance(step, Outside):
                    entry = next(entries)
                    assert isinstance(entry, Effect)
                    given_to = [ref for _, ref in step.effect.grads if ref is not None]
                    given_to += refs_in(step.effect.args, step.effect.kwargs)
                    for ref, (_, expected) in zip(given_to, entry.given, strict=True):
                        if not close(self.bound.array(ref), expected):
                            found = _few(self.bound.array(ref))
                            return f"{step.line}: {step.name} is given {found}, eagerly {_few(expected)}"
                    for ref, made in zip(step.effect.outputs, entry.outputs, strict=True):
                        self.bound.array(ref)[...] = eager_array(made)
                    for (_, ref), (_, moved) in zip(step.effect.new_grads, entry.new_grads, strict=True):
                        self.bound.array(ref)[...] = eager_array(moved)
                    for at, array in entry.left.items():
                        if at in put:
                            put[at][...] = array
                    for (_, place), grad in zip(step.effect.grads, entry.left_grads, strict=True):
                        if place is not None and grad is not None:
                            self.bound.array(place)[...] = grad
                else:
                    action()
            return self._unlike(eager, result)
        finally:
            for at, array in after.items():
                put[at][...] = array

    def _unlike(self, eager: Recorder, result: Any) -> str | None:
        ours: list[Ref] = []
        mapped(self.result, lambda x: ours.append(x.ref) if isinstance(x, Marked) else None)
        theirs: list[Any] = []
        mapped(result, lambda x: theirs.append(x) if _is_made(eager, x) else None)
        pairs = [(f"result {i}", ref, _data(x)) for i, (ref, x) in enumerate(zip(ours, theirs, strict=True))]
        for (x, ref), (_, other) in zip(self._final, eager.grads(), strict=True):
            if ref is not None and other is not None:
                pairs.append((f"the gradient of a leaf of shape {x._data.shape}", ref, eager_array(other)))
        for what, ref, expected in pairs:
            found = self.bound.array(ref)
            if not close(found, expected):
                return f"{what} is {_few(found)}, eagerly {_few(expected)}"
        return None

    def _fresh(self, x: Any) -> Any:
        if isinstance(x, Live):
            return x.number()
        if not isinstance(x, Marked):
            return x
        array = self._views[id(x)].copy()
        return wrap(Tensor, array) if x.tensor else array


def by_python(step: Step) -> bool:
    """Whether a replay calls Python for a step."""
    return not step.native and not step.captured


def eager_array(ref: Ref) -> Array:
    """A value where it was recorded."""
    return Bound({}).array(ref)


def close(x: Array, y: Array) -> bool:
    """Whether two results are the same but for the order of sums."""
    x, y = to_host(x), to_host(y)
    if x.shape != y.shape or x.dtype != y.dtype:
        return False
    if x.dtype.kind != "f":
        return bool((x == y).all())
    scale = float(np.abs(y[np.isfinite(y)]).max(initial=0.0))
    return bool(np.allclose(x, y, rtol=0, atol=1e3 * float(np.finfo(x.dtype).eps) * scale, equal_nan=True))


def _few(x: Array) -> str:
    return np.array2string(to_host(x).reshape(-1)[:4], precision=8, separator=", ")


def _data(x: Any) -> Array:
    array: Array = x._data if isinstance(x, Variable) else x
    return array


def _is_made(recorder: Recorder, x: Any) -> bool:
    return isinstance(_marked(recorder, x), Marked)


def _marked(recorder: Recorder, x: Any) -> Any:
    array = x._data if isinstance(x, Variable) else x
    ref = recorder.find(array)
    return x if ref is None or ref.block.origin == "outside" else Marked(ref, isinstance(x, Variable))


def _escaped(recorder: Recorder, result: Any) -> list[tuple[weakref.ref[Any], Ref]]:
    """Tensors of the step that somebody still holds, other than by its result."""
    given: set[int] = set()
    mapped(result, lambda x: given.add(id(x)))
    held = recorder.held()
    found = []
    for x in held:
        ref = None if id(x) in given else recorder.find(x._data)
        if ref is not None and ref.block.origin not in ("outside", "constant"):
            found.append((weakref.ref(x), ref))
    return found


def _gradients_of_arguments(recorder: Recorder) -> list[tuple[int, Ref]]:
    """The gradients that arguments got, by number."""
    grads = [(i, x._grad) for i, x in enumerate(recorder.copies) if isinstance(x, Variable) and x._grad is not None]
    return [(i, ref) for i, grad in grads if (ref := recorder.find(grad._data)) is not None]


def _gradients_before(recorder: Recorder) -> tuple[list[Variable], list[tuple[Variable, Ref]]]:
    """The leaves that had no gradient when the step began; those that had one, to which it added, with that."""
    read = {ref.block for entry in recorder.entries for ref in read_by(entry)}
    empty, carried = [], []
    for x, grad in recorder.at_start:
        if id(x) not in recorder.leaves:
            continue
        if grad is None:
            empty.append(x)
        elif (ref := recorder.find(grad._data)) is not None and ref.block in read:
            ref.block.origin = "gradient"
            carried.append((x, ref))
    return empty, carried


def _settings(step: Step) -> list[str]:
    """Of an op, those that are numbers and words."""
    settings = step.call.settings if isinstance(step, Python | Kernels | Native) else {}
    shown = {k: v for k, v in settings.items() if isinstance(v, (int, float, str, tuple)) and not list(refs_in(v))}
    return [f"{name}={value!r:.30}" for name, value in shown.items()]


def _named(x: Ref) -> str:
    return f"{x.block.owner!r}:{x.dtype.name}{list(x.shape)}"


def _store_what_is_read(steps: Sequence[Step], lasting: set[Block]) -> None:
    """Tell chains which of their results others read; the rest stays in registers."""
    readers: dict[Block, set[int]] = {}
    for i, step in enumerate(steps):
        for ref in step.reads():
            readers.setdefault(ref.block.owner, set()).add(i)
    kept = {block.owner for block in lasting}
    for i, step in enumerate(steps):
        if isinstance(step, Chain):
            made = {call.outputs[0].block.owner for call in step.calls}
            step.stored = {b for b in made if b in kept or readers.get(b, set()) - {i}}

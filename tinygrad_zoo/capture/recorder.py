"""What a step did, while it runs eagerly: every op, forward and backward, every draw, every effect, in order.

The recorder is the observer of `grad_mode`, and is told besides of what is no op: draws (`ops.random.draw`), effects
(`grad_mode.effect`: the optimizer's step, running statistics), numbers that are asked anew (`each_step`), and of
attempts to take values out of the graph, which a replay would not repeat.

A value is named by its memory: `Ref` is a view of a `Block`, the array that owns the memory. All arrays are kept while
recording goes on, so that no two blocks share an address.
"""

from __future__ import annotations

import itertools
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from .. import autograd
from ..backend import is_array, place_of, root_of
from ..errors import CaptureError
from ..grad_mode import state
from ..kernels import jit
from ..op import Op
from ..variable import Array, Node, Variable, now, wrap
from .entries import Block, Call, Cell, Draw, Effect, Entry, Launch, Marked, Pull, Ref, mapped
from .guards import Guarded, Live, Unknown, opened, user_line
from .surroundings import Surroundings, drawn

_CALL, _PULL = Op.__call__.__code__, autograd._pull_recorded.__code__


class Recorder:
    """Records while `with recorder:`; `entries` is what was done.

    `known` are blocks' arrays of an earlier recording, by id: what is met there again was not made by the step.
    """

    def __init__(
        self,
        arguments: Sequence[Any],
        before: Recorder | None,
        function: Callable[..., Any],
        snapshots: bool = False,
    ) -> None:
        known = {} if before is None else before.identities()
        self.entries: list[Entry] = []
        self.blocks: dict[int, Block] = {}  # by `place_of` the memory
        self.known = known
        self._numbers = itertools.count(), itertools.count(-1, -1)
        self.kept: list[Any] = []  # what must not be freed, so that no id is given out twice
        self.nodes: list[Node] = []
        self.made: list[weakref.ref[Any]] = []  # the Tensors that were made
        self.leaves: dict[int, Variable] = {}
        self.outside: dict[int, tuple[Variable, Any, bool]] = {}  # Tensors that were there, and their arrays
        self.cells: dict[int, Cell] = {}  # by the id of the number
        self.began = now()
        self.function = function
        self.changing: str | None = None  # what is another one around the step than in the recording before
        self.copies = list(arguments)
        self.at_start = [] if before is None else [(x, x._grad) for x in before.leaves.values()]  # gradients
        if before is not None and before.around is not None:
            self.changing = before.around.changed()
        self.around: Surroundings | None = Surroundings(function)
        self.called: list[Callable[..., Any]] = []  # what replays call too: effects, draws, numbers asked anew
        self._generators: dict[int, np.random.Generator] = {id(g): g for g in self.around.generators}
        self._generators |= {} if before is None else before._generators
        self._drawn = self._states()
        self.inside = 0  # an effect
        self.snapshots = snapshots  # are the arrays outside kept as every effect leaves them?
        self._launches: list[tuple[jit.Kernel, Any, tuple[Any, ...]]] = []
        self._pulling = self._leaking = False  # a rule runs; it looked at values
        arrays = [x._data if isinstance(x, Variable) else x for x in arguments]
        self.arguments = [self._block(root_of(a), "argument") for a in arrays]
        self.given = list(zip(self.arguments, arrays, strict=True))
        self.fresh: dict[int, weakref.ref[Any]] = {}  # the Tensors that were made here, by id

    def identities(self) -> dict[int, Any]:
        """The memory and the Tensors that were met, by place and id: alive as long as the recorder is."""
        met = {id(b.variable): b.variable for b in self.blocks.values() if b.variable is not None}
        return met | {place: b.array for place, b in self.blocks.items()}

    # ---- blocks
    def _block(self, root: Array, origin: str, of_launch: bool = False) -> Block:
        place = place_of(root)
        block = self.blocks.get(place)
        if block is None:  # what only launches know, such as tables, is made in one recording and found in the next
            number = next(self._numbers[of_launch])
            block = self.blocks[place] = Block(root, origin, number)
        return block

    def find(self, array: Array) -> Ref | None:
        """The value of an array, if its memory is known."""
        array = opened(array)
        block = self.blocks.get(place_of(root_of(array)))
        return None if block is None else Ref.of(block, array)

    def ref(self, array: Array, variable: Any = None, origin: str = "constant", of_launch: bool = False) -> Ref:
        """The value of an array that an op is given: from outside, or a constant where it is met for the first time."""
        root = root_of(array)
        block = self.blocks.get(place_of(root))
        if block is None:
            if place_of(root) in self.known or id(variable) in self.known:
                origin = "outside"
            block = self._block(root, origin, of_launch)
            self.kept.append(array)
        if block.origin in ("outside", "constant") and variable is not None:
            block.variable = variable
            self._met(variable, block)
            self.kept.append(variable)
            if variable._requires_grad and variable.node is None:
                self.leaves[id(variable)] = variable
        return Ref.of(block, array)

    def _met(self, x: Variable, block: Block) -> None:
        """A Tensor that the step did not make is used."""
        if x.node is not None and x.node.number < self.began:
            raise CaptureError(
                f"capture: {user_line()} uses what {x.node.op} made outside of the step: its graph would not be made "
                "again: write x.detach(), or compute it inside"
            )
        if block.origin == "outside":
            self.outside[id(x)] = x, x._data, x._requires_grad

    def _input(self, x: Any) -> Any:
        if isinstance(x, Variable):
            return self.ref(x._data, x)
        if is_array(x):
            return self.ref(x)
        return self.cells.get(id(x), x) if type(x) is float else x

    def _output(self, array: Any, origin: str) -> Any:
        if array is None:
            return None
        if not is_array(array):
            self.kept.append(array)
            return self.cells.setdefault(id(array), Cell(array))
        self.kept.append(array)
        return Ref.of(self._block(root_of(array), origin), array)

    # ---- what the engine tells
    def __call__(
        self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any], outputs: Sequence[Any], node: Any
    ) -> None:
        if self.inside:
            return
        launches, self._launches = self._launches, []
        saved = list(node.saved) if node is not None else []
        if node is not None:
            self.nodes.append(node)
        refs = [self._input(x) for x in inputs]
        self._refuse_shapes(op, settings, outputs)
        settings = mapped(settings, lambda x: Marked(self._input(x), isinstance(x, Variable)))
        found = [self._output(a, "op") for a in (*outputs, *saved)]
        call = Call(op, refs, settings, found, user_line(), precision=state.precision)
        call.launches = [Launch(k, d, tuple(map(self._argument, given))) for k, d, given in launches]
        self.kept.append(settings)
        self.entries.append(call)
        if self.known and call.launches:
            from .launches import planned

            with self._outside():
                call.plan = planned(call)

    def _argument(self, x: Any) -> Any:
        if not isinstance(x, np.ndarray):
            return x
        return self.find(x) or self.ref(x, origin="scratch", of_launch=True)

    def _refuse_shapes(self, op: Any, settings: dict[str, Any], outputs: Sequence[Any]) -> None:
        """What has as many results as its values say can't be replayed."""
        index = settings.get("index")
        masked = any(
            getattr(i, "dtype", None) is np.dtype(bool) for i in (index if isinstance(index, tuple) else (index,))
        )
        if op.__name__ in ("masked_select", "nonzero", "nms", "batched_nms") or (op.__name__ == "getitem" and masked):
            raise CaptureError(
                f"capture: {user_line()} calls {op}{' with a mask' * masked}: how many results it has depends on "
                "values: "
                "write tinygrad_zoo.where(mask, x, 0), or weigh by the mask"
            )

    def launched(self, kernel: jit.Kernel, dtype: Any, arguments: tuple[Any, ...]) -> None:
        if not self.inside:
            self.kept.append(arguments)
            self._launches.append((kernel, dtype, arguments))

    def opened(self, x: Any) -> Any:
        """A nest with the arrays behind guarded ones: ops may have them, since replays give them to them too."""
        return mapped(x, opened)

    def as_tensors(self, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        """An op's inputs, Tensors in the place of guarded arrays; itself where there is none."""
        if not any(type(x) is Guarded for x in inputs):
            return inputs
        return tuple(Variable.result_type(x._guarded) if type(x) is Guarded else x for x in inputs)

    def keep(self, variable: Any) -> None:
        if variable is not None and not self.inside:
            self.made.append(weakref.ref(variable))
            self.fresh[id(variable)] = self.made[-1]

    def held(self) -> list[Variable]:
        """The Tensors made here that somebody holds besides the graph."""
        by_nodes = Counter(id(x) for node in self.nodes for x in node.inputs if isinstance(x, Variable))
        found = []
        for reference in self.made:
            x = reference()
            if x is not None and sys.getrefcount(x) - 2 > by_nodes[id(x)]:  # one by `x`, one by the call
                found.append(x)
        return found

    def release(self) -> None:
        """Forget the recorded values: the program has memory of its own for them."""
        self.kept, self.nodes, self.made, self.fresh, self.copies, self.at_start = [], [], [], {}, [], []
        self.given, self.cells, self._launches = [], {}, []
        for entry in self.entries:
            if isinstance(entry, Pull):
                entry.node = SimpleNamespace(op=entry.node.op)  # type: ignore[assignment]
        for block in self.blocks.values():
            if block.origin not in ("outside", "constant"):
                array = block.array  # its size and type stay
                block.array = np.lib.stride_tricks.as_strided(np.zeros(1, array.dtype), array.shape, (0,) * array.ndim)

    # ---- what a replay would not do again
    def _states(self) -> list[str]:
        return drawn(list(self._generators.values()))

    def watch(self, x: Any) -> None:
        """See that nobody but `draw` uses an argument that is a generator."""
        if isinstance(x, np.random.Generator):
            self._generators[id(x)] = x
            self._drawn = self._states()

    def _drew(self, rng: Any = None) -> None:
        """Numbers were drawn where a replay draws them too; until now, by nobody else."""
        self.check_draws()
        if isinstance(rng, np.random.Generator):
            self._generators[id(rng)] = rng

    def check_draws(self, line: str = "") -> None:
        if self._drawn != self._states():
            raise CaptureError(
                f"capture: the step draws numbers itself, before {line or user_line()}, which a replay would not do "
                "again: let tinygrad_zoo.randn(..., rng=rng), tinygrad_zoo.draw_key(rng) and such draw them, or pass "
                "them as an argument"
            )

    def check_around(self) -> None:
        """Refuse a step that counts in Python."""
        assert self.around is not None
        if (name := self.around.changed(plain=True)) is not None:
            raise CaptureError(
                f"capture: the step changes {name}, which a replay would not do again: count outside of the step, in a "
                "tensor, or in a function of its own decorated with tinygrad_zoo.effect"
            )
        moved, self.around = self.around.moved, Surroundings(self.function)
        self.around.moved = moved.union(*(Surroundings(f).places() for f in self.called))

    def hand_back(self, given: Sequence[Any]) -> None:
        """The gradients of the arguments to those that they were copied from."""
        for x, copied in zip(given, self.copies, strict=True):
            if isinstance(x, Variable) and copied._grad is not None:
                x._grad = copied._grad

    def draw(self, rng: Any, values: Callable[[Any], Any]) -> Any:
        if self.inside:
            return values(rng)
        self._drew(rng)
        with self._outside():
            found = values(rng)
        self._drawn = self._states()
        outputs: list[Ref] = []

        def note(x: Any) -> Any:
            if not isinstance(x, Variable | np.generic) and not is_array(x):
                raise CaptureError(
                    f"capture: {user_line()} draws {x!r}, a number of Python, which a replay could not change: draw an "
                    "array, rng.random(1)"
                )
            array = x._data if isinstance(x, Variable) else np.asarray(x) if isinstance(x, np.generic) else x
            fresh = array.copy()  # it may be a view of what is written later
            self.kept.append(fresh)
            outputs.append(Ref.of(self._block(fresh, "draw"), fresh))
            return wrap(type(x), fresh) if isinstance(x, Variable) else Guarded(fresh)

        self.called.append(values)
        found = mapped(found, note, (int, float, np.generic))
        self.entries.append(Draw(rng, values, outputs, user_line()))
        return found

    def live(self, number: Callable[[], float]) -> float:
        with self._outside():
            found = Live(number())
        found.number = number
        self.called.append(number)
        return found

    def look(self, number: Live) -> None:
        """Somebody computes with a number that is asked anew."""
        if not self.inside and not self._in_op():
            raise CaptureError(
                f"capture: {user_line()} computes with the number {number:g} of each_step, which a replay would not do "
                "again: do it inside, each_step(lambda: 2 * rate())"
            )

    def _in_op(self) -> bool:
        """Whether an op's forward runs, or a rule, which are both repeated as a whole."""
        frame: Any = sys._getframe(1)
        while frame is not None and frame.f_code not in (_CALL, _PULL):
            frame = frame.f_back
        if frame is not None and frame.f_code is _PULL and self._pulling:
            self._leaking = True
            return True
        return frame is not None and frame.f_code is _CALL

    def effect(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.inside:
            return function(*args, **kwargs)

        def note(x: Any) -> Any:
            if isinstance(x, Variable):
                ref = self.find(x._data)
                inner = ref is not None and ref.block.origin not in ("outside", "constant")
                return Marked(ref, True) if inner else x  # type: ignore[arg-type]
            ref = self.find(x)
            return Marked(ref, False) if ref is not None and ref.block.origin != "outside" else x

        args, kwargs = tuple(map(_listed, args)), {name: _listed(x) for name, x in kwargs.items()}
        args, kwargs = self.opened((args, kwargs))
        self.called.append(function)
        marked = mapped((args, kwargs), note)
        grads = self.grads()
        refs = [ref for _, ref in grads if ref is not None]
        mapped(marked, lambda x: refs.append(x.ref) if isinstance(x, Marked) else None)
        given = [(ref, ref.recorded().copy()) for ref in refs] if self.snapshots else []
        self._drew()
        around = Surroundings(self.function)
        with self._outside():
            result = function(*args, **kwargs)
        self._drawn = self._states()
        assert self.around is not None
        self.around.moved_from(around)
        outputs: list[Ref] = []
        several = result if isinstance(result, tuple) else (result,)
        for x in several:
            if isinstance(x, Variable):
                found = self._output(x._data, "effect")
                assert found is not None
                outputs.append(found)
                self.keep(x)
        entry = Effect(function, marked[0], marked[1], outputs, grads, user_line())
        for x in self.leaves.values():
            if x._grad is not None and self.find(x._grad._data) is None:
                entry.new_grads.append((x, self._output(x._grad._data, "effect")))
        if self.snapshots:
            entry.given = given
            entry.left = {b.number: b.array.copy() for b in self.blocks.values() if b.origin == "outside"}
            entry.left_grads = [None if x._grad is None else x._grad._data.copy() for x, _ in grads]
        self.entries.append(entry)
        plain = result is not None and not all(isinstance(x, Variable) for x in several)
        return Unknown() if plain else result

    def pull(self, node: Node, g: Any, outs: Sequence[Any], inputs: Sequence[Any], rule: Callable[[], Any]) -> Any:
        """The gradients by a node's rule: by the ops it calls, or, if it looks at values besides, as a whole."""
        if self.inside:
            return rule()
        outer, self._pulling, self._leaking = (self._pulling, self._leaking), True, False
        start, known = len(self.entries), set(self.blocks)
        try:
            results = rule()
            leaking = self._leaking
        finally:
            self._pulling, self._leaking = outer
        if leaking:
            del self.entries[start:]
            for met in self.blocks.keys() - known:
                del self.blocks[met]
            given = [*(g if isinstance(g, list) else [g]), *outs, *inputs, *node.saved]
            refs = [self._input(x) for x in given]
            self.kept.append(node)
            found = [
                None if x is None else self._output(x._data if isinstance(x, Variable) else x, "op") for x in results
            ]
            settings = mapped(node.settings, lambda x: Marked(self._input(x), isinstance(x, Variable)))
            self.entries.append(Pull(node, refs, settings, found, user_line(), state.precision))
            results = [x if x is None or isinstance(x, Variable) else wrap(Variable.result_type, x) for x in results]
        return results

    def grads(self) -> list[tuple[Variable, Ref | None]]:
        """What `.grad` of every leaf is now."""
        found = []
        for x in self.leaves.values():
            grad = x._grad
            found.append((x, None if grad is None else self.ref(grad._data, grad)))
        return found

    def read(self, x: Variable, who: str) -> Any:
        """Somebody asks a Tensor for its array."""
        array = x._data
        if self.inside or self._in_op():
            return array
        made = self.fresh.get(id(x))
        if made is not None and made() is x and self.find(array) is None:  # of numbers of Python, by the step
            return array
        if who in ("data", "a rule"):
            return Guarded(array)
        raise CaptureError(
            f"capture: {user_line()} takes a value out of the step by {who}: a replay would not look at it again: "
            "return the tensor and read it outside, or write an op (tinygrad_zoo.where) in place of a decision"
        )

    def write(self, x: Variable) -> None:
        """Somebody gives a Tensor another array."""
        if not self.inside:
            raise CaptureError(
                f"capture: {user_line()} writes a tensor's data: a replay would not: put it into a function of its own "
                "and decorate that with tinygrad_zoo.effect"
            )

    # ---- with recorder:
    def _outside(self) -> _Outside:
        return _Outside(self)

    def __enter__(self) -> Recorder:
        if state.observer is not None:
            raise CaptureError("capture: an observer is set: neither captured functions nor detect_anomaly nest")
        state.observer = state.recorder = self
        jit.watch(self.launched)
        return self

    def __exit__(self, kind: Any, *_: object) -> None:
        jit.watch(None)
        state.observer = state.recorder = state.node = None
        if kind is None:
            self.check_draws("its end")


def _listed(x: Any) -> Any:
    """What is gone through once can't be given again: a list of it."""
    return list(x) if isinstance(x, Iterator) else x


class _Outside:
    """`with` it, nothing is recorded."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder

    def __enter__(self) -> None:
        self.recorder.inside += 1

    def __exit__(self, *_: object) -> None:
        self.recorder.inside -= 1

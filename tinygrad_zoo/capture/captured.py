"""`capture`: what a call of a captured function does, recording, replaying or checking."""

from __future__ import annotations

import functools
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from ..backend import device_of, is_array
from ..errors import CaptureError
from ..grad_mode import state
from ..variable import Array, Variable, wrap
from .drawing import drawn
from .entries import mapped
from .guards import Live
from .program import difference
from .recorder import Recorder
from .replay import Replay

P = ParamSpec("P")
R = TypeVar("R")
_TRIES = 4  # recordings of one kind of call until two in a row are the same
_VARIANTS = 4  # programs of one kind of call: with and without a gradient from before, say
_PLAIN = (int, bool, str, bytes, type(None))


class Captured(Generic[P, R]):
    """A captured function. `counts` says how many calls ran eagerly ("recorded"), were replayed, and were checked."""

    def __init__(self, function: Callable[P, R], check_every: int | None, max_programs: int) -> None:
        functools.update_wrapper(self, function)
        self.function, self.check_every, self.max_programs = function, check_every, max_programs
        self.counts = {"recorded": 0, "replayed": 0, "checked": 0, "programs": 0, "dropped": 0}
        self._known: OrderedDict[Any, _Kind] = OrderedDict()
        self._last: Replay | None = None
        self._fast: _Fast | None = None  # the latest call's program, where it was given plain Tensors

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        if (fast := self._fast) is not None and not kwargs and fast.like(args) and fast.replay.fits():
            self.counts["replayed"] += 1
            again: R = fast.replay(args)
            return again
        given, key = _signature((args, kwargs))
        kind = self._known.get(key)
        if kind is None:
            kind = self._known[key] = _Kind()
            if len(self._known) > self.max_programs:
                self._known.popitem(last=False)
                self.counts["dropped"] += 1
        elif len(self._known) > 1:
            self._known.move_to_end(key)
        for replay in kind.replays:
            if replay.fits():
                break
        else:  # none yet, or a parameter has another array now, or a module's attribute is another
            return self._record(kind, given, args, kwargs)
        kind.in_vain = 0
        self._last = replay
        self._fast = None if kwargs or self.check_every is not None else _Fast.of(args, replay)
        if self.check_every is not None and (self.counts["replayed"] + 1) % (self.check_every + 1) == 0:
            return self._check(kind, replay, given, args, kwargs)
        self.counts["replayed"] += 1
        result: R = replay(given)
        return result

    def _record(self, kind: _Kind, given: list[Any], args: Any, kwargs: Any) -> R:
        before = kind.recording
        recorder, args, kwargs = self._recorder(given, args, kwargs, before)
        with recorder:
            result = self.function(*args, **kwargs)
        recorder.hand_back(given)
        self.counts["recorded"] += 1
        kind.recording, kind.tries = recorder, kind.tries + 1
        numbers, kind.numbers = kind.numbers, _numbers(result)
        if before is not None:
            different = difference(before, recorder)
            if different is None and numbers != kind.numbers:
                different = f"its result holds the numbers {kind.numbers}, where they were {numbers} before"
            if different is None:
                recorder.check_around()
                self._last = Replay(before, recorder, result)
                kind.replays = [self._last, *kind.replays[: _VARIANTS - 1]]
                kind.tries, kind.in_vain = 0, kind.in_vain + 1
                self.counts["programs"] += 1
                if kind.in_vain > _TRIES:
                    raise CaptureError(
                        f"capture: every call finds {recorder.changing or 'what the step uses'} changed, so that no "
                        "recording is ever replayed: make it an argument, or a tensor that is written in place"
                    )
            elif kind.tries >= _TRIES:
                raise CaptureError(
                    f"capture: the step does something else in every call: {different}. A number that changes from "
                    "call to call is an argument of the step, a tensor, or asked for by tinygrad_zoo.each_step; a "
                    "decision by values is an op, tinygrad_zoo.where, or made outside"
                )
        return result

    def _recorder(
        self, given: list[Any], args: Any, kwargs: Any, before: Recorder | None, snapshots: bool = False
    ) -> tuple[Recorder, Any, Any]:
        """A recorder, and the arguments on memory of their own: so they are told from all else, as in a replay."""
        copies = list(map(_own, given))
        left = iter(copies)
        if copies:
            args, kwargs = mapped((args, kwargs), lambda x: next(left))
        recorder = Recorder(copies, before, self.function, snapshots)
        mapped((args, kwargs), recorder.watch, (np.random.Generator,))
        return recorder, args, kwargs

    def _check(self, kind: _Kind, replay: Replay, given: list[Any], args: Any, kwargs: Any) -> R:
        """Run eagerly, and see that the replay would have given the same."""
        recorder, args, kwargs = self._recorder(given, args, kwargs, replay.recorder, snapshots=True)
        before = replay.snapshot()
        with recorder:
            result = self.function(*args, **kwargs)
        recorder.hand_back(given)
        self.counts["replayed"] += 1
        self.counts["checked"] += 1
        different = difference(replay.recorder, recorder) or replay.differs(before, recorder, given, result)
        if different is not None:
            kind.replays, kind.recording = [], None
            raise CaptureError(f"capture: the replay is not what the step does: {different}")
        return result

    @property
    def program(self) -> str:
        """The program of the latest call, a line a step: what it writes, does and reads, its settings, your line.

        `py` stands before what Python runs, `||` before what is in a parallel region with others. Raises CaptureError
        before there is a program.
        """
        return self._replayed().text()

    def draw(self, path: str | Path | None = None) -> Any:
        """A picture of that program, by matplotlib: its steps in order, coloured by who runs them, and the arena over
        them, a rectangle a value. Returns the figure; with `path` it is written there, a PNG."""
        return drawn(self._replayed(), path)

    def report(self) -> dict[str, Any]:
        """Of the program of the latest call, and of all calls.

        - `arena_bytes`: of the one allocation that holds all values; `value_bytes`: of these, if none shared memory
        - `steps`: of the program; `native` of them run as `launches` of kernels, or in `graphs` on a device, without
          Python
        - `regions`: how many launches each parallel region has, whose threads wait for one another at its end alone
        - `python`: the others by name, and how many there are: ops without a kernel, draws, effects
        - `recorded`, `replayed`, `checked`: how many calls ran eagerly, by a program, and both ways (`check_every`)
        - `programs`, `dropped`: how many were made, and forgotten for want of room
        """
        return {**self._replayed().report(), **self.counts}

    def _replayed(self) -> Replay:
        if self._last is None:
            raise CaptureError("capture: there is no program yet: call the captured function twice")
        return self._last


class _Kind:
    """Calls with arguments of the same shapes."""

    def __init__(self) -> None:
        self.recording: Recorder | None = None  # the latest
        self.replays: list[Replay] = []  # of what fits now the first is taken
        self.numbers = ""
        self.tries = 0  # recordings since two in a row were the same
        self.in_vain = 0  # programs that were made since one was replayed


def _numbers(result: Any) -> str:
    """What a result holds beside tensors, arrays and what is asked anew: a replay gives it as it was."""
    return repr(mapped(result, lambda x: None, (Live,)))


class _Thing:
    """An argument that is no array and no number: the same one has the same program."""

    __slots__ = ("of",)

    def __init__(self, of: Any) -> None:
        self.of = of  # held, so that no other has its id

    def __hash__(self) -> int:
        return id(self.of)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Thing) and self.of is other.of


class _Fast:
    """A program, and the plain Tensors that it is for: told with less ado than by `_signature`."""

    def __init__(self, args: tuple[Any, ...], replay: Replay) -> None:
        self.replay, self.mode = replay, (state.recording, state.precision)
        self.kinds = [(type(x._data), x._data.shape, x._data.dtype, x._data.strides) for x in args]

    @classmethod
    def of(cls, args: tuple[Any, ...], replay: Replay) -> _Fast | None:
        plain = all(isinstance(x, Variable) and not x._requires_grad for x in args)
        return cls(args, replay) if plain else None

    def like(self, args: tuple[Any, ...]) -> bool:
        """Whether a call with `args` is for the same program."""
        if len(args) != len(self.kinds) or (state.recording, state.precision) != self.mode:
            return False
        for x, (kind, shape, dtype, strides) in zip(args, self.kinds, strict=True):
            if not isinstance(x, Variable) or x._requires_grad:
                return False
            array = x._data
            if type(array) is not kind or array.shape != shape or array.dtype is not dtype or array.strides != strides:
                return False
        return True


def _signature(nest: Any) -> tuple[list[Any], Any]:
    """The Tensors and arrays among the arguments, and what else a program depends on."""
    given: list[Any] = []
    key: list[Any] = [state.recording, state.precision]

    def walk(x: Any) -> None:
        if isinstance(x, Variable):
            given.append(x)
            key.append((*_layout(x._data), x._requires_grad))
        elif is_array(x):
            given.append(x)
            key.append((*_layout(x), "array"))
        elif isinstance(x, dict):
            key.append((type(x), len(x)))
            for name, value in x.items():
                key.append(name)
                walk(value)
        elif isinstance(x, (list, tuple)):
            key.append((type(x), len(x)))
            for value in x:
                walk(value)
        elif isinstance(x, (float, np.generic)):  # -0.0 is not 0.0, and NaN is NaN
            key.append((type(x), repr(x)))
        else:
            key.append((type(x), x) if isinstance(x, _PLAIN) else _Thing(x))

    walk(nest)
    return given, tuple(key)


def _layout(x: Array) -> tuple[Any, ...]:
    return x.shape, x.dtype.str, x.strides, device_of(x)


def _own(x: Any) -> Any:
    """A copy of an argument, with its axes in the same order."""
    if not isinstance(x, Variable):
        return x.copy(order="K")
    if x.node is not None:
        raise CaptureError(
            f"capture: an argument was made by {x.node.op}, and a gradient would go on into its graph, which a replay "
            "does not know: pass x.detach(), or compute it inside"
        )
    if x._requires_grad and x._grad is not None:
        raise CaptureError(
            "capture: an argument that requires a gradient has one already, to which a replay would not add: set "
            "x.grad = None before, or let the step return x.grad"
        )
    copied = wrap(Variable.result_type, x._data.copy(order="K"))
    copied._requires_grad = x._requires_grad
    return copied

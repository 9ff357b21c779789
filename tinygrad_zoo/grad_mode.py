"""Whether ops record a graph, and who watches them: the state of the calling thread."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from typing import Any, ClassVar, ParamSpec, Protocol, TypeVar

from .errors import GradientError

P = ParamSpec("P")
R = TypeVar("R")


class Observer(Protocol):
    """Sees every op call on Tensors: capture, anomaly mode and the counting of executed checks."""

    def __call__(
        self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any], outputs: Sequence[Any], node: Any
    ) -> None: ...


class _ThreadState(threading.local):
    recording: bool = True  # are nodes made?
    observer: Observer | None = None
    recorder: Any = None  # of `capture`, while it records: an observer that is also told of what is not an op
    node: Any = None  # the node whose rule is running, while observed
    precision: Any = None  # of products under `autocast`: "float16", "bfloat16"


state = _ThreadState()


touched = [0]  # how often attributes of modules were written: `capture` then looks whether they are as they were


class _GradMode:
    enabled: ClassVar[bool]

    def __init__(self) -> None:
        self._outer: list[bool] = []

    def __enter__(self) -> None:
        self._outer.append(state.recording)
        state.recording = self.enabled

    def __exit__(self, *_: object) -> None:
        state.recording = self._outer.pop()

    def __call__(self, function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def inside(*args: P.args, **kwargs: P.kwargs) -> R:
            with type(self)():  # one a call: `_outer` belongs to a single thread
                return function(*args, **kwargs)

        return inside


class no_grad(_GradMode):
    """Inside `with no_grad():` (or a function so decorated) no graph is recorded."""

    enabled = False


class enable_grad(_GradMode):
    """Records again inside `no_grad`."""

    enabled = True


def is_grad_enabled() -> bool:
    """Whether ops record the graph here and now."""
    return state.recording


@contextlib.contextmanager
def observe(observer: Observer) -> Iterator[None]:
    """Let `observer` see every op call on Tensors, forward and backward. There is one slot."""
    if state.observer is not None:
        raise GradientError("an observer is already set: capture and detect_anomaly do not nest")
    state.observer = observer
    try:
        yield
    finally:
        state.observer = state.node = None


@contextlib.contextmanager
def unobserved() -> Iterator[None]:
    """Inside, ops are part of another one, which is observed as a whole."""
    outer, state.observer = state.observer, None
    try:
        yield
    finally:
        state.observer = outer


def each_step(number: Callable[[], float]) -> float:
    """`number()`, which `capture` asks anew in every replay: a rate that is annealed, say.

    It is for an op's argument or setting as it is, x * each_step(...): arithmetic of Python on it would be done once,
    and is refused.
    """
    return number() if state.recorder is None else state.recorder.live(number)


def effect(function: Callable[P, R]) -> Callable[P, R]:
    """Decorates a function that writes what is no op's result: an optimizer's step, running statistics.

    `capture` calls it again at its place in every replay, with the values of that replay in the Tensors it is given.
    What it returns is None, a Tensor, or a tuple of them.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        if state.recorder is None:
            return function(*args, **kwargs)
        found: R = state.recorder.effect(function, args, kwargs)
        return found

    return call

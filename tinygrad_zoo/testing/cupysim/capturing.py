"""Stream capture of the stand-in: what is called meanwhile is kept, and a launch of the graph calls it again.

As on a card nothing has run when a capture ends: memory that was there is as it was, and new memory holds NaN until the
graph is launched. What can't be captured raises: waiting for the device, and what CuPy gives to a library that it does
not allow meanwhile, cuBLAS, cuSOLVER and cuRAND. A copy from the host takes pinned memory of CuPy's allocator, and a
graph would read that again at every launch, whatever it holds then: who captures must refuse to give any.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np

from .refusals import DeviceArray, leaves

F = TypeVar("F", bound=Callable[..., Any])
# What CuPy has libraries for that it does not call while a stream is captured.
_OF_LIBRARIES = ("cupy.linalg.", "cupyx.scipy.linalg.", "cupy.random.")
_LIBRARIES = {"matmul", "dot", "vdot", "inner", "tensordot", "einsum", "__matmul__", "__rmatmul__"}


class CUDARuntimeError(RuntimeError):
    """As `cupy.cuda.runtime.CUDARuntimeError`."""


class Log:
    """What was called during a capture, and the memory that it met."""

    def __init__(self) -> None:
        self.calls: list[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], Any]] = []
        self.inside = False  # of a call that is kept as a whole
        self.failed = False
        self.before: dict[int, tuple[Any, Any]] = {}  # memory that was there, and what it held
        self.made: dict[int, Any] = {}

    def met(self, values: Any, new: bool) -> None:
        for array in _arrays(values):
            root = root_of(array._values)
            if id(root) in self.made or id(root) in self.before:
                continue
            if new:
                self.made[id(root)] = root
            else:
                self.before[id(root)] = root, root.copy()

    def ended(self) -> None:
        """Nothing has run."""
        for root, values in self.before.values():
            if root.tobytes() != values.tobytes():
                root[...] = values
        for root in self.made.values():
            if root.flags.writeable:
                poisoned(root)


_log: Log | None = None


def capturing() -> bool:
    return _log is not None


def begin() -> None:
    global _log
    if _log is not None:
        raise CUDARuntimeError("cudaErrorIllegalState: the stream is being captured already")
    _log = Log()


def end() -> Log:
    global _log
    log, _log = _log, None
    if log is None:
        raise CUDARuntimeError("cudaErrorIllegalState: no capture was begun")
    log.ended()
    if log.failed:
        raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated: operation failed due to a previous error")
    return log


def launch(log: Log) -> None:
    """Call all again, in order, on the same memory."""
    for function, args, kwargs, results in log.calls:
        again = function(*args, **kwargs)
        for made, place in zip(_arrays(again), _arrays(results), strict=True):
            if not np.may_share_memory(made._values, place._values):
                place._values[...] = made._values


def refuse(what: str) -> None:
    """Invalidate a capture: the device would be waited for."""
    if _log is not None:
        _log.failed = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what} while a stream is captured")


def captured(name: str) -> Callable[[F], F]:
    """Decorates what the device does: `name` is that of CuPy's function."""
    library = name.startswith(_OF_LIBRARIES) or name.rpartition(".")[2] in _LIBRARIES

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def run(*args: Any, **kwargs: Any) -> Any:
            log = _log
            if log is None or log.inside:
                return function(*args, **kwargs)
            if library:
                raise NotImplementedError(f"{name}: calling this API during stream capture is currently unsupported")
            log.met([args, list(kwargs.values())], new=False)
            log.inside = True
            try:
                result = function(*args, **kwargs)
            finally:
                log.inside = False
            log.met(result, new=True)
            log.calls.append((function, args, kwargs, result))
            return result

        return run  # type: ignore[return-value]

    return decorate


def poisoned(memory: Any) -> Any:
    """Memory that nothing has been written to, filled with what shows when it is used."""
    if memory.dtype.kind in "fc":
        memory.fill(np.nan)
    elif memory.dtype.kind in "iu":
        memory.fill(np.iinfo(memory.dtype).max)
    return memory


def root_of(values: Any) -> Any:
    """NumPy's array that owns the memory."""
    while True:
        base = values.base
        if not isinstance(base, np.ndarray):  # as_strided puts an object of its own between
            base = getattr(base, "base", None)
            if not isinstance(base, np.ndarray):
                return values
        values = base


def _arrays(values: Any) -> Iterator[Any]:
    return (v for v in leaves(values) if isinstance(v, DeviceArray))

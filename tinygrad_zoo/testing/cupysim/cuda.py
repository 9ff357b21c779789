"""The little of `cupy.cuda` that choosing a device and capturing a stream ask for: there is one device, number 0."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from . import capturing, transfers


class Device:
    """A device, and a context in which it is the current one."""

    def __init__(self, device: int = 0) -> None:
        if device != 0:
            raise ValueError(f"the stand-in has one device, 0; there is no {device}")
        self.id = device

    compute_capability = "90"  # of the cards whose kernels the emulation runs

    def __enter__(self) -> Device:
        return self

    def __exit__(self, *error: Any) -> None:
        return None

    def use(self) -> Device:
        return self

    def synchronize(self) -> None:
        return None

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, Device) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"<CUDA Device {self.id}>"


class Stream:
    """A stream. All of them run at once, in the order of calls."""

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.null = null or not non_blocking

    def __enter__(self) -> Stream:
        _streams.append(self)
        return self

    def __exit__(self, *error: Any) -> None:
        _streams.pop()

    def synchronize(self) -> None:
        capturing.refuse("Stream.synchronize()")

    def begin_capture(self, mode: int | None = None) -> None:
        if self.null or _streams[-1] is not self:
            raise RuntimeError("cannot capture on the default (legacy) stream, nor on one that is not the current one")
        capturing.begin()

    def end_capture(self) -> Graph:
        return Graph(capturing.end())

    def is_capturing(self) -> bool:
        return capturing.capturing()


_streams = [Stream(null=True)]


def get_current_stream() -> Stream:
    return _streams[-1]


class Graph:
    """What was captured."""

    def __init__(self, log: capturing.Log) -> None:
        self._log = log
        if _pools:
            _pools[-1].bytes += sum(root.nbytes for root in log.made.values())

    def launch(self, stream: Stream | None = None) -> None:
        if capturing.capturing():
            raise capturing.CUDARuntimeError("cudaErrorStreamCaptureUnsupported: a launch while a stream is captured")
        capturing.launch(self._log)


class MemoryPool:
    """Counts what captured graphs hold."""

    def __init__(self) -> None:
        self.bytes = 0

    def malloc(self, size: int) -> Any:
        raise NotImplementedError("the stand-in's memory is NumPy's")

    def total_bytes(self) -> int:
        return self.bytes


_pools: list[MemoryPool] = []


@contextlib.contextmanager
def using_allocator(allocator: Callable[[int], Any]) -> Iterator[None]:
    """Inside, new arrays are of the pool whose `malloc` is given."""
    _pools.append(allocator.__self__)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        _pools.pop()


class PinnedMemoryPool:
    """Gives memory of the host that copies to the device go through: here they need none."""

    def malloc(self, size: int) -> None:
        return None


def set_pinned_memory_allocator(allocator: Callable[[int], Any] | None = None) -> None:
    """Copies from the host ask `allocator` for memory, of numbers without axes excepted."""
    transfers.pinned[0] = allocator


runtime = SimpleNamespace(getDeviceCount=lambda: 1, CUDARuntimeError=capturing.CUDARuntimeError)

"""Copies between host and device: what a program makes of them, seen and forbidden.

A *hidden* copy is one that reads like arithmetic and waits for the device: `float(x)`, `if x > 0`, `x[mask]`. An
*explicit* one says what it does: `x.get()`, `asnumpy(x)`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import capturing

_INSIDE = (str(Path(__file__).parent), str(Path(np.__file__).parent))


class HiddenCopyError(RuntimeError):
    """A copy from the device to the host under `forbid_sync`."""


@dataclass(frozen=True)
class Copy:
    """One copy from the device to the host: by what, and called from where."""

    what: str
    place: str


@dataclass(eq=False)
class Log:
    """The copies made while it was watching."""

    hidden: list[Copy] = field(default_factory=list)
    explicit: list[Copy] = field(default_factory=list)
    uploads: int = 0


_logs: list[Log] = []
_forbidden = 0


@contextlib.contextmanager
def watch() -> Iterator[Log]:
    """The log of what is copied inside.

    >>> from tinygrad_zoo.testing import cupysim
    >>> with watch() as log:
    ...     total = float(cupysim.ones(3).sum())
    >>> [copy.what for copy in log.hidden]
    ['float()']
    """
    log = Log()
    _logs.append(log)
    try:
        yield log
    finally:
        _logs.remove(log)


@contextlib.contextmanager
def forbid_sync() -> Iterator[None]:
    """Inside, a copy from the device to the host raises: a training step must run under it.

    >>> from tinygrad_zoo.testing import cupysim
    >>> with forbid_sync():
    ...     total = float(cupysim.ones(3).sum())
    Traceback (most recent call last):
    tinygrad_zoo.testing.cupysim.transfers.HiddenCopyError: float() copies from the device to the host
    """
    global _forbidden
    _forbidden += 1
    try:
        yield
    finally:
        _forbidden -= 1


def download(what: str, explicit: bool = False) -> None:
    """Note a copy from the device to the host, which the calling code makes by `what`."""
    capturing.refuse(what)
    if _forbidden:
        raise HiddenCopyError(f"{what} copies from the device to the host")
    if _logs:
        copy = Copy(what, _place())
        for log in _logs:
            (log.explicit if explicit else log.hidden).append(copy)


def upload(nbytes: int) -> None:
    """Note a copy from the host to the device, of `nbytes` that lie in pinned memory meanwhile."""
    for log in _logs:
        log.uploads += 1
    if nbytes and pinned[0] is not None:
        pinned[0](nbytes)


pinned: list[Callable[[int], Any] | None] = [None]  # CuPy's allocator of pinned memory, where another is set


def _place() -> str:
    """The innermost line outside this package and NumPy: "file.py:12 in name"."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_INSIDE):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"

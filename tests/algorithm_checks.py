"""What several tests of the algorithms share: values that count their comparisons, and modules with a planted fault."""

from __future__ import annotations

import importlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

# A loop as Python runs it, with its IndexError.
PLAIN = ("from . import jit\n", "def jit(function):\n    return function\n")
SECONDS = 2


class Counted(int):
    """An integer that counts how often it was compared by `<`."""

    comparisons: ClassVar[int] = 0

    def __lt__(self, other: Any) -> bool:
        Counted.comparisons += 1
        return int(self) < int(other)


@contextmanager
def planted(module: str, *changes: tuple[str, str]) -> Iterator[ModuleType]:
    """The module of `tinygrad_zoo.algorithms` called `module` with some text replaced; each text must occur in it once.

    A fault may make a loop endless: after SECONDS of work this is an AssertionError.
    """
    kept = importlib.import_module(f"tinygrad_zoo.algorithms.{module}")
    path = Path(str(kept.__file__))
    text = path.read_text("utf-8")
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    made = ModuleType(kept.__name__)
    made.__package__, made.__file__ = kept.__package__, str(path)
    before = signal.signal(signal.SIGPROF, _too_slow)
    # Again and again: what is raised in a callback of the garbage collector, or before a loop that tidies up, is lost.
    signal.setitimer(signal.ITIMER_PROF, SECONDS, SECONDS)
    try:
        sys.modules[made.__name__] = made  # where dataclasses look
        exec(compile(text, str(path), "exec"), made.__dict__)
        yield made
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        sys.modules[kept.__name__] = kept


def _too_slow(number: int, frame: Any) -> None:
    raise AssertionError(f"no end after {SECONDS} s")

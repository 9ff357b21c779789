"""Anomaly mode: where was the first NaN or Inf made?"""

from __future__ import annotations

import contextlib
import os
import traceback
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from . import backend
from .errors import NonFiniteError
from .grad_mode import observe, state

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_MODELS = os.path.join(_HERE, "models") + os.sep


class _Watch:
    """An observer that looks at every value made, and remembers which line of the user made each node."""

    def __init__(self) -> None:
        self.lines: WeakKeyDictionary[Any, str] = WeakKeyDictionary()

    def __call__(
        self, op: Any, inputs: tuple[Any, ...], settings: dict[str, Any], outputs: Sequence[Any], node: Any
    ) -> None:
        if node is not None:
            self.lines[node] = _user_line()
        for i, array in enumerate(outputs):
            if array is None or array.dtype.kind != "f":
                continue
            finite = backend.namespace(array).isfinite(array)
            if not bool(finite.all()):
                self._report(op, i, array, int((~finite).sum()))

    def _report(self, op: Any, i: int, array: Any, count: int) -> None:
        what = f"{op} made {count} NaN or Inf of {array.size} values (output {i}, {array.dtype} {array.shape})"
        if state.node is None:
            raise NonFiniteError(f"forward: {what}, called at {_user_line()}")
        raise NonFiniteError(
            f"backward: {what}, in the gradient of {state.node.op}, which was called at "
            f"{self.lines.get(state.node, 'a line outside detect_anomaly')}"
        )


def _user_line() -> str:
    """The innermost line outside this package, or in one of its models: 'file:line: text'."""
    for frame in reversed(traceback.extract_stack()):
        if not frame.filename.startswith(_HERE) or frame.filename.startswith(_MODELS):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return "a line inside tinygrad_zoo"


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Inside, the first op that makes a NaN or Inf, forward or backward, raises NonFiniteError.

    It names the op and the line of the user's code that called it. Slower than usual: every value is looked at.

    >>> import tinygrad_zoo as tz
    >>> with detect_anomaly():
    ...     tz.log(tz.tensor([0.0]))
    Traceback (most recent call last):
    tinygrad_zoo.errors.NonFiniteError: forward: log made 1 NaN or Inf of 1 values (output 0, float32 (1,)), ...
    """
    with observe(_Watch()):
        yield

"""How an op is called: what the user wrote becomes arrays and settings, and a failed call names its arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .errors import (
    DeviceError,
    DTypeError,
    IndexingError,
    LinAlgError,
    ShapeError,
    TinygradZooError,
    UsageError,
)

_ABOUT_SHAPES = ("shape", "dimension", "axis", "axes", "size", "broadcast")
PACKED = ("shape", "dims")  # settings that may be written as several integers: x.reshape(2, 3)
SYNONYMS = {"dim": "axis", "keepdim": "keepdims"}  # PyTorch's names for NumPy's


class Signature:
    """The arrays (positional) and settings (keyword-only) of a function.

    PyTorch's habits are understood: settings by position after the arrays, `dim`/`keepdim` for
    `axis`/`keepdims`, and a list in place of a variadic op's arrays.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.name = function.__name__
        self.text = f"{self.name}{inspect.signature(function)}"
        parameters = list(inspect.signature(function).parameters.values())
        self.arrays = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.settings = [p.name for p in keywords]
        self.names = frozenset(self.settings)
        self.defaults = {p.name: p.default for p in keywords if p.default is not p.empty}
        simple = not self.variadic and not self.open and len(self.defaults) == len(self.settings)
        self.arity = len(self.arrays) if simple else -1  # -1: every call needs `bind`
        self.optional = tuple(p.default for p in self.arrays if p.default is not p.empty)

    def bind(self, inputs: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort a call into its arrays and its settings, with every default filled in."""
        if self.open:
            return inputs, settings
        missing = self.arity - len(inputs)
        if not settings and 0 < missing <= len(self.optional):  # only optional arrays are left out
            return inputs + self.optional[-missing:], self.defaults
        if len(inputs) == len(self.arrays) and not self.variadic and settings.keys() <= self.names:
            complete = {**self.defaults, **settings}
            if len(complete) == len(self.names):
                return inputs, complete
        for theirs, ours in SYNONYMS.items():
            if theirs in settings and theirs not in self.settings and ours in self.settings:
                if ours in settings:
                    raise DTypeError(f"{self.text}: {ours} is given twice, as {theirs} too")
                settings[ours] = settings.pop(theirs)
        arrays, extra = self._split(inputs)
        if extra and self.settings and self.settings[0] in PACKED and not isinstance(extra[0], (tuple, list)):
            extra = (extra,)
        if len(extra) > len(self.settings):
            raise DTypeError(f"{self.text}: {len(inputs)} positional arguments are too many")
        for name, value in zip(self.settings, extra, strict=False):
            if name in settings:
                raise DTypeError(f"{self.text}: {name} is given twice")
            settings[name] = value
        for p in self.arrays[len(arrays) :]:
            value = settings.pop(p.name, p.default)
            if value is p.empty:
                raise DTypeError(f"{self.text}: the argument {p.name} is missing")
            arrays = (*arrays, value)
        for name in settings:
            if name not in self.settings:
                known = any(p.name == name for p in self.arrays)
                raise DTypeError(f"{self.text}: {name} is given twice" if known else f"{self.text} has no {name!r}")
        for name in self.settings:
            if name not in settings and name not in self.defaults:
                raise DTypeError(f"{self.text} needs the setting {name!r}")
        return arrays, {**self.defaults, **settings}

    def _split(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        n = len(self.arrays)
        if not self.variadic:
            return inputs[:n], inputs[n:]
        if len(inputs) > n and isinstance(inputs[n], (list, tuple)):  # concat([x, y], 0)
            return (*inputs[:n], *inputs[n]), inputs[n + 1 :]
        return inputs, ()

    def argument(self, i: int) -> str:
        return self.arrays[i].name if i < len(self.arrays) else f"[{i}]"

    def check(self, arrays: Sequence[Any]) -> None:
        """Refuse what is neither array nor number, and arrays of several devices."""
        devices: dict[str, int] = {}
        for i, a in enumerate(arrays):
            if hasattr(a, "dtype") and not isinstance(a, np.generic):
                devices.setdefault(str(getattr(a, "device", "cpu")), i)
            elif a is not None and not isinstance(a, (bool, int, float, np.generic)):
                raise DTypeError(
                    f"{self.name}: argument {self.argument(i)} is a {type(a).__name__}; expected a Tensor, "
                    "an array or a number: write tinygrad_zoo.tensor(...)"
                )
        if len(devices) > 1:
            (one, i), (other, j), *_ = devices.items()
            raise DeviceError(
                f"{self.name}: {self.argument(i)} is on {one} and {self.argument(j)} on {other}: "
                f"move one of them with tensor.to(...) first{self.describe(arrays, {})}"
            )

    def describe(self, arrays: Sequence[Any], settings: dict[str, Any]) -> str:
        """One line an argument: dtype, shape and device, or the value."""
        lines = []
        for i, a in enumerate(arrays):
            what = repr(a)
            if hasattr(a, "dtype"):
                what = f"{a.dtype} of shape {tuple(a.shape)} on {getattr(a, 'device', 'cpu')}"
            lines.append(f"\n  {self.argument(i)}: {what}")
        return "".join([*lines, *(f"\n  {name}={value!r}" for name, value in settings.items())])

    def explain(self, arrays: Sequence[Any], settings: dict[str, Any], error: Exception) -> TinygradZooError:
        """The typed error of a failed call, with the op and its arguments named."""
        kind: type[TinygradZooError] = DTypeError
        if isinstance(error, ValueError):
            kind = ShapeError if any(word in str(error) for word in _ABOUT_SHAPES) else UsageError
        if isinstance(error, np.linalg.LinAlgError):
            kind = LinAlgError
        elif isinstance(error, IndexError) and not isinstance(error, np.exceptions.AxisError):
            kind = IndexingError
        return kind(f"{self.name}: {error}{self.describe(arrays, settings)}")

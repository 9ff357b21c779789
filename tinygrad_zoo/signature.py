"""How an op is called: what the user wrote becomes arrays and settings, and a failed call names its arguments."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

import numpy as np

from .errors import DeviceError, DTypeError, GradientError, TinygradZooError
from .explain import explained, nearest, wrong_setting

_LISTED = "\n  "  # begins the line of an argument in an error
PACKED = {"shape", "dims"}  # settings that may be written as several integers: x.reshape(2, 3)
# PyTorch's names of settings for NumPy's, where an op has only the latter.
SYNONYMS = {"dim": "axis", "dims": "axis", "keepdim": "keepdims", "dim0": "axis1", "dim1": "axis2"}
REAL = "fiub"  # the kinds of dtype that a Tensor holds: floating point, integers, booleans


def _device(array: Any) -> str:
    """'cpu', or 'cupy:0': the module of a device array's class, and the number of its device."""
    device = getattr(array, "device", "cpu")
    return f"{type(array).__module__.rpartition('.')[2]}:{device.id}" if hasattr(device, "id") else str(device)


def _wrong_input(a: Any) -> str | None:
    """Why `a` cannot be an argument of an op among the arrays, and what to write; or None."""
    whose = f"a {type(a).__module__}.{type(a).__name__}"
    if isinstance(a, complex) or (hasattr(a, "dtype") and getattr(a.dtype, "kind", REAL) not in REAL):
        what = a.dtype if hasattr(a, "dtype") else "a complex number"
        return f"{what}; expected real numbers or booleans: write its .real and .imag, or .astype(...)"
    if hasattr(a, "dtype"):
        if not hasattr(a.dtype, "kind"):
            return f"{whose}, an array of another library: write tinygrad_zoo.from_dlpack(...)"
        if isinstance(a, (np.matrix, np.ma.MaskedArray)):
            return f"{whose}, which has an arithmetic of its own: write numpy.asarray(...)"
    elif a is not None and not isinstance(a, (bool, int, float)):
        listed = isinstance(a, (list, tuple)) and any(hasattr(x, "dtype") for x in a)
        hint = f"write tinygrad_zoo.{'stack' if listed else 'tensor'}(...)"
        return f"a {type(a).__name__}; expected a Tensor, an array or a number: {hint}"
    return None


class Signature:
    """The arrays (positional) and settings (keyword-only) of a function.

    PyTorch's habits are understood: settings by position after the arrays, `dim`/`keepdim` for
    `axis`/`keepdims`, and a list in place of a variadic op's arrays.
    """

    def __init__(self, function: Callable[..., Any], order: Sequence[str] = ()) -> None:
        self.name, self.order = function.__name__, order  # of a call, where settings come before arrays
        parameters = list(inspect.signature(function).parameters.values())
        self.text = f"{self.name}{inspect.Signature([p.replace(annotation=p.empty) for p in parameters])}"
        self.arrays = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        self.several = next((p.name for p in parameters if p.kind is p.VAR_POSITIONAL), "")  # the name of `*arrays`
        self.variadic = bool(self.several)
        self.open = any(p.kind is p.VAR_KEYWORD for p in parameters)
        keywords = [p for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.settings = [p.name for p in keywords]
        self.names = frozenset(self.settings)
        self.annotations = {p.name: str(p.annotation) for p in keywords}
        self.flags = tuple(name for name, annotation in self.annotations.items() if annotation == "bool")
        self.defaults = {p.name: p.default for p in keywords if p.default is not p.empty}
        simple = not self.variadic and not self.open and len(self.defaults) == len(self.settings)
        self.arity = len(self.arrays) if simple and not order else -1  # -1: every call needs `bind`
        self.plain = -1 if self.variadic or self.open else len(self.arrays)  # so many inputs are the arrays in order,
        last = max((i for i, name in enumerate(order) if any(p.name == name for p in self.arrays)), default=0)
        self.between = self.names.intersection(order[:last])  # if these settings, which stand among them, are named
        # So many integers by position, or more, are one setting: reshape(2, 3), flip(0, 1); 0: they never are.
        self.packed = 1 if {*self.settings[:1]} & PACKED else 2 if [*self.annotations.values()] == ["Axis"] else 0
        self.optional = tuple(p.default for p in self.arrays if p.default is not p.empty)

    def bind(self, inputs: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Sort a call into its arrays and its settings, with every default filled in."""
        if len(inputs) == self.plain and self.between <= settings.keys() <= self.names:  # most calls
            complete = {**self.defaults, **settings}
            if len(complete) == len(self.names):
                for flag in self.flags:
                    if complete[flag] is not True and complete[flag] is not False:
                        self._check_flag(flag, complete[flag])
                return inputs, complete
        if self.open:
            return inputs, settings
        if self.order:
            inputs, settings = self._sorted(inputs, settings)
        missing = self.arity - len(inputs)
        if not settings and 0 < missing <= len(self.optional):  # only optional arrays are left out
            return inputs + self.optional[-missing:], self.defaults
        for theirs, ours in SYNONYMS.items():
            if theirs in settings and theirs not in self.settings and ours in self.settings:
                if ours in settings:
                    raise DTypeError(f"{self.text}: {ours} is given twice, as {theirs} too: write one")
                settings[ours] = settings.pop(theirs)
        if self.several and self.several in settings:
            rest, left = settings.pop(self.several), [p.name for p in self.arrays[len(inputs) :]]
            inputs = (*inputs, *(settings.pop(name) for name in left if name in settings))
            inputs = (*inputs, *(rest if isinstance(rest, (list, tuple)) else (rest,)))
        arrays, extra = self._split(inputs)
        if self.packed and len(extra) >= self.packed and not isinstance(extra[0], (tuple, list)):
            extra = (extra,)
        if len(extra) > len(self.settings):
            raise self._too_many(inputs)
        for name, value in zip(self.settings, extra, strict=False):
            if name in settings:
                raise DTypeError(f"{self.text}: {name} is given twice, by position and by name: write one")
            settings[name] = value
        for p in self.arrays[len(arrays) :]:
            value = settings.pop(p.name, p.default)
            if value is p.empty:
                drawn = ", with key = tinygrad_zoo.draw_key(rng)" if p.name == "key" else ""
                raise DTypeError(f"{self.text}: the argument {p.name} is missing: write {self.call}{drawn}")
            arrays = (*arrays, value)
        for name in settings:
            if name not in self.settings:
                known = any(p.name == name for p in self.arrays)
                if known:
                    raise DTypeError(f"{self.text}: {name} is given twice, by position and by name: write one")
                raise DTypeError(f"{self.text} has no {name!r}{self._suggestion(name)}")
        for name in self.settings:
            if name not in settings and name not in self.defaults:
                raise DTypeError(f"{self.text} needs the setting {name!r}: write {name}=...")
        complete = {**self.defaults, **settings}
        for flag in self.flags:
            self._check_flag(flag, complete[flag])
        return arrays, complete

    @property
    def call(self) -> str:
        """What to write: "sum(x)"."""
        arrays = ["[...]"] if self.variadic else [p.name for p in self.arrays if p.default is p.empty]
        settings = [f"{name}=..." for name in self.settings if name not in self.defaults]
        return f"{self.name}({', '.join([*arrays, *settings])})"

    def _too_many(self, inputs: tuple[Any, ...]) -> DTypeError:
        return DTypeError(f"{self.text}: {len(inputs)} positional arguments are too many: write {self.call}")

    def _suggestion(self, name: str) -> str:
        known = [*(p.name for p in self.arrays), *self.settings]
        return nearest(name, known) or (f"; it takes {', '.join(known)}" if known else "")

    def _check_flag(self, name: str, value: Any) -> None:
        wrong = None if type(value) is bool else wrong_setting(name, value, "bool")
        if wrong is not None:
            raise DTypeError(f"{self.name}: {wrong}: write {name}=True or {name}=False")

    def _sorted(self, inputs: tuple[Any, ...], settings: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The settings taken out from among the arrays: gather(x, 1, index) is gather(x, index, axis=1)."""
        if len(inputs) > len(self.order) and not self.variadic:
            raise self._too_many(inputs)
        named = {SYNONYMS.get(name, name) for name in settings}
        places = [name for name in self.order if name not in named]
        if self.several in places:  # where several arrays may stand: roi_align(x, boxes, boxes_of_the_next, 7)
            at = places.index(self.several)
            more = itertools.takewhile(lambda x: getattr(x, "ndim", 0) > 0, inputs[at + 1 :])
            places[at:at] = [self.several] * len([*more])
        for name in places[: len(inputs)]:
            if name not in self.names and name != self.several and all(p.name != name for p in self.arrays):
                raise DTypeError(f"{self.text} has no {name!r}{self._suggestion(name)}")
        between = {n: x for n, x in zip(places, inputs, strict=False) if n in self.names}
        arrays = [x for i, x in enumerate(inputs) if i >= len(places) or places[i] not in between]
        return tuple(arrays), {**settings, **between}

    def _split(self, inputs: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        n = len(self.arrays)
        if not self.variadic:
            return inputs[:n], inputs[n:]
        if len(inputs) > n and isinstance(inputs[n], (list, tuple)):  # concat([x, y], 0)
            return (*inputs[:n], *inputs[n]), inputs[n + 1 :]
        return inputs, ()

    def check_rule(self, what: str, rule: Any) -> None:
        """Refuse a gradient rule that cannot be called as rule(g, out, *arrays, **settings)."""
        if type(rule) is not FunctionType:
            return
        code, n = rule.__code__, 2 + len(self.arrays)
        names = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
        named = {*names[min(n, code.co_argcount) :]}
        left_out = {*code.co_varnames[code.co_argcount - len(rule.__defaults__ or ()) : code.co_argcount]}
        left_out |= {*(rule.__kwdefaults__ or ())}
        short = code.co_argcount < n and not code.co_flags & inspect.CO_VARARGS
        unknown = self.names - named if not code.co_flags & inspect.CO_VARKEYWORDS else ()
        surplus = named - self.names - left_out
        if short or unknown or surplus:
            expected = ", ".join(["g", "out", *(p.name for p in self.arrays), *self.settings])
            raise GradientError(f"{self.name}: {what} takes ({', '.join(names)}), expected ({expected})")

    def argument(self, i: int) -> str:
        return self.arrays[i].name if i < len(self.arrays) else f"[{i}]"

    def check(self, arrays: Sequence[Any]) -> None:
        """Refuse what is neither array nor number, what is not real, and arrays of several devices."""
        devices: dict[str, int] = {}
        for i, a in enumerate(arrays):
            wrong = _wrong_input(a)
            if wrong is not None:
                raise DTypeError(f"{self.name}: argument {self.argument(i)} is {wrong}")
            if hasattr(a, "dtype") and not isinstance(a, np.generic):
                devices.setdefault(_device(a), i)
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
                what = f"{a.dtype} of shape {tuple(a.shape)} on {_device(a)}"
            lines.append(f"{_LISTED}{self.argument(i)}: {what}")
        return "".join([*lines, *(f"{_LISTED}{name}={value!r}" for name, value in settings.items())])

    def explain(self, arrays: Sequence[Any], settings: dict[str, Any], error: Exception) -> TinygradZooError:
        """The typed error of a failed call, with the op and its arguments named."""
        said = str(error)
        if isinstance(error, TinygradZooError) and self.name in said:  # its own words, and the arguments
            return type(error)(said if _LISTED in said else f"{said}{self.describe(arrays, settings)}")
        n = len(self.arrays)
        optional = [i < n and self.arrays[i].default is None for i in range(len(arrays))]
        inputs = [(self.argument(i), a, left) for i, (a, left) in enumerate(zip(arrays, optional, strict=True))]
        kind, text = explained(self.name, inputs, settings, self.annotations, error)
        return kind(f"{self.name}: {text}{self.describe(arrays, settings)}")

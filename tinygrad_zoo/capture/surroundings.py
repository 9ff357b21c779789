"""What the Python of a step looks at besides its arguments: closures, globals, attributes of modules, generators.

A replay runs none of that Python. So a number that is another one there in a later call means another program, and one
that the step itself changes means that the step can't be replayed.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Callable, Iterator
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from ..backend import is_array
from ..grad_mode import touched
from ..variable import Variable

_PLAIN = (int, float, bool, str, bytes, type(None))
_MOST = 64  # elements of a list, and attributes of an object, that are looked at
_MISSING: Any = object()
Place = tuple[Any, Any, Any, str]  # a holder, a key, the value there, and its name


class Surroundings:
    """The values that a function's names lead to, as they are when this is made.

    `module` below is what says so by `watched`: a change of its attributes is told to `grad_mode.touched`.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.generators: list[np.random.Generator] = []
        self.moved: set[tuple[int, Any]] = set()  # places that effects write, which replays run too
        self._open: list[Place] = []  # anybody may write there unseen
        self._told: list[Place] = []  # attributes of modules, and what lies behind them
        self._seen: set[int] = set()
        inner = list(_functions(function, set()))
        self._names = set().union(*(_names(f.__code__) for f in inner))
        for bound in _bound(function):
            self._value(bound, type(bound).__name__, self._open)
        for f in inner:
            for name, cell in zip(f.__code__.co_freevars, f.__closure__ or (), strict=True):
                self._place(cell, None, name, self._open)
            for name in sorted(_names(f.__code__) & f.__globals__.keys()):
                self._place(f.__globals__, name, name, self._open)
        self._counted = touched[0]

    def _place(self, holder: Any, key: Any, name: str, where: list[Place]) -> None:
        value = _read(holder, key)
        if isinstance(value, _PLAIN):
            where.append((holder, key, value, name))
        elif isinstance(value, Variable) or is_array(value) or _watched(value):
            where.append((holder, key, value, name))
            self._value(value, name, where)
        else:
            self._value(value, name, where)

    def _value(self, x: Any, name: str, where: list[Place]) -> None:
        if isinstance(x, Variable | type | ModuleType | FunctionType) or is_array(x) or id(x) in self._seen:
            return
        self._seen.add(id(x))
        if isinstance(x, np.random.Generator):
            self.generators.append(x)
        elif _watched(x):
            self._told.append((vars(x), len, len(vars(x)), f"the number of attributes of {name}"))
            for key in list(vars(x)):
                self._place(vars(x), key, f"{name}.{key}", self._told)
        elif isinstance(x, dict | list | tuple):
            if not isinstance(x, tuple):
                where.append((x, len, len(x), f"the length of {name}"))
            keys = list(x) if isinstance(x, dict) else range(len(x))
            for key in keys[:_MOST]:
                self._place(x, key, f"{name}[{key!r}]", where)
        elif hasattr(x, "__dict__"):
            ours = _ours(type(x).__module__)
            for key in [k for k, v in vars(x).items() if (_watched(v) if ours else k in self._names)][:_MOST]:
                self._place(vars(x), key, f"{name}.{key}", where)

    def places(self) -> set[tuple[int, Any]]:
        """All of them, by holder and key."""
        return {(id(holder), key) for holder, key, _, _ in (*self._open, *self._told)}

    def changed(self, plain: bool = False) -> str | None:
        """The name of what is no longer as it was; None: all is. With `plain`, Tensors and modules don't count."""
        for holder, key, value, name in (*self._open, *self._told):
            if plain and not isinstance(value, _PLAIN):
                continue
            if not _same(_read(holder, key), value) and (id(holder), key) not in self.moved:
                return name
        return None

    def same(self) -> bool:
        """Whether all is as it was: quick, where no module was written."""
        for holder, key, value, _ in self._open:
            found = _read(holder, key)
            if found is not value and not _same(found, value) and (id(holder), key) not in self.moved:
                return False
        if self._counted != touched[0]:
            if self.changed() is not None:
                return False
            self._counted = touched[0]
        return True

    def moved_from(self, before: Surroundings) -> None:
        """An effect ran since `before`: what it wrote, replays write too."""
        for holder, key, value, _ in (*before._open, *before._told):
            if not _same(_read(holder, key), value):
                self.moved.add((id(holder), key))


def _read(holder: Any, key: Any) -> Any:
    try:
        if key is None:  # a closure's cell
            return holder.cell_contents
        return len(holder) if key is len else holder[key]
    except (KeyError, IndexError, ValueError):
        return _MISSING


def _same(x: Any, y: Any) -> bool:
    if x is y:
        return True
    return type(x) is type(y) and isinstance(x, _PLAIN) and bool(x == y or (x != x and y != y))


def _watched(x: Any) -> bool:
    return getattr(type(x), "watched", False) is True


def _ours(module: str) -> bool:
    """Objects of this package keep their numbers for effects, an optimizer's rate, say."""
    return module.startswith(f"{__package__.partition('.')[0]}.") and ".models." not in module


def _bound(function: Any) -> Iterator[Any]:
    while isinstance(function, functools.partial):
        yield from function.args
        yield from function.keywords.values()
        function = function.func
    if isinstance(function, MethodType):
        yield function.__self__
    elif not isinstance(function, FunctionType) and not isinstance(function, type):
        yield function  # an object that is called


def _functions(function: Any, seen: set[int]) -> Iterator[FunctionType]:
    """The function, and those of the same file that its names lead to."""
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    if not isinstance(function, FunctionType):
        function = vars(type(function)).get("__call__")
    if not isinstance(function, FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    yield function
    names = _names(function.__code__)
    values = [_read(cell, None) for cell in function.__closure__ or ()]
    values += [function.__globals__[name] for name in sorted(names & function.__globals__.keys())]
    for x in values:
        if isinstance(x, FunctionType) and x.__module__ == function.__module__:
            yield from _functions(x, seen)


@functools.cache
def _names(code: CodeType) -> frozenset[str]:
    """The names of globals and attributes in a function and the functions inside it."""
    inner = [_names(x) for x in code.co_consts if isinstance(x, CodeType)]
    return frozenset(code.co_names).union(*inner)


def drawn(generators: list[np.random.Generator]) -> list[str]:
    """Where generators stand: these, Python's and NumPy's own."""
    _, words, *rest = np.random.get_state()  # noqa: NPY002 (to see that nobody uses it)
    others = [repr(g.bit_generator.state) for g in generators]
    return [str(hash(random.getstate())), f"{hash(np.asarray(words).tobytes())} {rest}", *others]

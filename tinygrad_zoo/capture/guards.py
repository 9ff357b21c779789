"""What stands for numbers and arrays while a step is recorded, and refuses what a replay would not do again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from ..errors import CaptureError
from ..grad_mode import state
from ..variable import Array

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_NUMPY = os.path.dirname(np.__file__) + os.sep
_MODELS = os.path.join(_HERE, "models") + os.sep


class Live(float):
    """A number that a replay asks for anew. Arithmetic on it would not be done again, and says so."""

    number: Callable[[], float]

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        return getattr(ufunc, method)(*map(_plain, inputs), **settings)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return function(*map(_plain, args), **{name: _plain(x) for name, x in kwargs.items()})


def _plain(x: Any) -> Any:
    """The number itself: to NumPy a float has no dtype of its own, and one of another class has."""
    return float.__float__(x) if isinstance(x, Live) else x


def _looked_at(name: str) -> Callable[..., Any]:
    """A method of float on a Live: for ops and rules, which are done again as a whole, and for nobody else."""
    method = getattr(float, name)

    def look(self: Live, *others: Any) -> Any:
        if state.recorder is not None and all(isinstance(x, int | float) for x in others):
            state.recorder.look(self)
        return method(self, *others)

    return look


for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"):
    for _method in (f"__{_name}__", f"__r{_name}__"):
        setattr(Live, _method, _looked_at(_method))
for _name in ("neg", "abs", "float", "int", "round", "bool", "lt", "le", "gt", "ge"):
    setattr(Live, f"__{_name}__", _looked_at(f"__{_name}__"))


class Unknown:
    """What an effect returned beside Tensors: a replay can't give it."""

    def __bool__(self) -> bool:
        raise CaptureError(
            f"capture: {user_line()} decides by what an effect returned, which a replay would not look at again: "
            "decide outside of the captured function"
        )


class Guarded:
    """In place of an array: it says what it is, and refuses to be computed with, which a replay would not do again.

    No subclass of ndarray, whose numbers `numpy.asarray` would give out. Ops take it for the array.
    """

    __class__ = property(lambda self: type(self._guarded))
    shown = ("shape", "dtype", "ndim", "size", "itemsize", "nbytes", "strides", "flags")

    def __init__(self, array: Array) -> None:
        self._guarded = array

    def __getattr__(self, name: str) -> Any:
        if name in Guarded.shown:
            return getattr(self._guarded, name)
        if hasattr(type(self._guarded), name):
            self._refuse()
        raise AttributeError(name)

    def __len__(self) -> int:
        return len(self._guarded)

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise CaptureError(
            f"capture: {user_line()} computes with the array of a tensor, outside of ops: a replay would not do it "
            "again: write it in ops, or put it into a function of its own decorated with tinygrad_zoo.effect"
        )

    __array_ufunc__ = __array_function__ = __array__ = _refuse


def _guard() -> None:
    """All operators of an array are refused."""
    for name, method in vars(np.ndarray).items():
        if name.startswith("__") and name not in vars(Guarded) and name not in vars(object):
            setattr(Guarded, name, Guarded._refuse if callable(method) else property(Guarded._refuse))
    for name in ("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__repr__", "__str__", "__format__"):
        setattr(Guarded, name, Guarded._refuse)


_guard()


def opened(x: Any) -> Any:
    """The array behind a guarded one."""
    return x._guarded if type(x) is Guarded else x


def user_line() -> str:
    """The innermost line outside this package and NumPy, or in one of the models."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((_HERE, _NUMPY)) or name.startswith(_MODELS):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "a line inside tinygrad_zoo"

"""What every method takes: step sizes, numbers of steps, and arrays of floating-point numbers."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ..backend import device_of, to_device
from ..errors import DTypeError, UsageError
from ..tensor import Tensor
from ..variable import Array

StepSize: TypeAlias = "Callable[[int], float] | float"  # of step k = 1, 2, …, or the same at every step
Function: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True)
class PowerSteps:
    """a_k = a / (k + shift)^p, whose sums `check_step_sizes` knows.

    >>> steps = PowerSteps(2.0, p=0.5)
    >>> steps(1), steps(4)
    (2.0, 1.0)
    """

    a: float = 1.0
    p: float = 1.0
    shift: float = 0.0

    def __post_init__(self) -> None:
        if not all(_is_number(x) for x in (self.a, self.p, self.shift)):
            raise DTypeError(f"PowerSteps: a, p and shift are numbers, got {self}: write PowerSteps(1.0, p=0.7)")
        if not (self.a > 0 and math.isfinite(self.a) and math.isfinite(self.p) and self.shift > -1):
            raise UsageError(f"PowerSteps: expected a > 0, a finite p and shift > -1, got {self}")

    def __call__(self, k: int) -> float:
        return float(self.a / (k + self.shift) ** self.p)


def _is_number(x: Any) -> bool:
    return hasattr(x, "__float__") and not getattr(x, "shape", ())


def step_function(where: str, step_size: StepSize, name: str = "step_size") -> Callable[[int], float]:
    """The function of k that the argument `name` is, or stands for."""
    if callable(step_size):
        return step_size
    said = (
        f"{where}: expected a number > 0 or a function of k = 1, 2, … as {name}, got {step_size!r}: "
        f"write {name}=0.1, or {name}=PowerSteps(1.0), which is 1/k"
    )
    if not _is_number(step_size):
        raise DTypeError(said)
    size = float(step_size)
    if not (size > 0 and math.isfinite(size)):
        raise UsageError(said)
    return lambda k: size


def step_numbers(where: str, n: int, first: int) -> range:
    """The k of n steps."""
    try:
        n, first = operator.index(n), operator.index(first)
    except TypeError:
        raise UsageError(f"{where}: n and first must be integers, got {n!r} and {first!r}") from None
    if n < 0 or first < 1:
        raise UsageError(f"{where}: expected n >= 0 steps from first >= 1, got n={n} and first={first}")
    return range(first, first + n)


def floats(x: Any) -> Array:
    """The array of x, in float64 unless x is floating already."""
    array = x.data if isinstance(x, Tensor) else x
    if not hasattr(array, "dtype"):
        return np.asarray(array, np.float64)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def doubles(x: Any) -> Array:
    """The array of x in float64."""
    return floats(x).astype(np.float64, copy=False)


def beside(array: Array, *parts: Any) -> tuple[Array, ...]:
    """The parts on the device of the array: they are elsewhere after a state was loaded."""
    place = device_of(array)
    return tuple(part if device_of(part) == place else to_device(part, place) for part in parts)

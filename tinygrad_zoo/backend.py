"""Devices: NumPy on the host, CuPy on NVIDIA GPUs; `TINYGRAD_ZOO_BACKEND=numpy|cupy` sets the default.

Ops dispatch on their arguments: `namespace(x)` is the module that made `x`. What CuPy does differently from NumPy is
bridged here and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from .errors import DeviceError, DTypeError, MissingDependencyError, require
from .variable import Array

HOST = "cpu"
VARIABLE = "TINYGRAD_ZOO_BACKEND"
_using: list[str] = []


def default_device() -> str:
    """The device of new tensors: that of `using`, or the one TINYGRAD_ZOO_BACKEND names, read once; never guessed.

    >>> default_device() in ("cpu", "cupy:0")
    True
    """
    return _using[-1] if _using else _environment_device()


@functools.cache
def _environment_device() -> str:
    name = os.environ.get(VARIABLE, "").strip()
    if name.lower().partition(":")[0] not in ("", "numpy", "cpu", "cupy"):
        raise DeviceError(f"{VARIABLE}={name!r}: expected 'numpy' or 'cupy'")
    return resolve(name.lower() or "numpy")


@contextlib.contextmanager
def using(device: str) -> Iterator[None]:
    """Inside, `device` is the default one: a training run's `--device`.

    >>> with using("cpu"):
    ...     default_device()
    'cpu'
    """
    _using.append(resolve(device))
    try:
        yield
    finally:
        _using.pop()


def resolve(device: str) -> str:
    """The full name of `device`: 'cpu' for 'cpu' or 'numpy', 'cupy:0' for 'cupy'; raises where there is none."""
    name, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if name in (HOST, "numpy") and not number:
        return HOST
    if name != "cupy" or not (number.isdecimal() or not number):
        raise DeviceError(f"no device {device!r}: write 'numpy' (or 'cpu'), 'cupy' or 'cupy:1'")
    cupy = _cupy()
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError: no driver, or one too old
        raise DeviceError(f"device {device!r}: CuPy finds no usable CUDA driver or device ({error})") from error
    index = int(number or 0)
    if index >= count:
        raise DeviceError(f"device {device!r}: CUDA reports {count} device(s), counted from cupy:0")
    return f"cupy:{index}"


def _cupy() -> ModuleType:
    try:
        return require("cupy", "cuda13")
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{error} (or [cuda12] for CUDA 12)") from error


def namespace(*arrays: Any) -> Any:
    """The array module of the first array among the arguments: numpy, or cupy.

    >>> namespace(2.0, np.ones(3)).__name__
    'numpy'
    """
    for a in arrays:
        if type(a) is np.ndarray:
            return np
        if hasattr(a, "dtype") and not isinstance(a, np.generic):
            return sys.modules[type(a).__module__.partition(".")[0]]
    return np


def on_host(array: Array) -> bool:
    return isinstance(array, (np.ndarray, np.generic))


def device_of(array: Array) -> str:
    """'cpu', or 'cupy:N'."""
    return HOST if on_host(array) else f"cupy:{array.device.id}"


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """A NumPy array: `array` itself on the host, a copy from a device."""
    if isinstance(array, np.ndarray):
        return array
    return np.asarray(array) if on_host(array) else np.asarray(array.get())


def to_device(array: Array, device: str) -> Array:
    """`array` on `device`; itself where it is there already."""
    device = resolve(device)
    if device_of(array) == device:
        return array
    if device == HOST:
        return to_host(array)
    cupy = _cupy()
    with cupy.cuda.Device(int(device.partition(":")[2])):
        return cupy.asarray(array)


def asarray(data: Any, dtype: Any = None, device: str | None = None) -> Array:
    """A new array from numbers, nested lists or an array: Python floats become float32."""
    if not hasattr(data, "dtype"):
        try:
            array = np.array(data)
        except ValueError as error:
            raise DTypeError(f"tensor: {error}") from error
        if array.dtype.kind == "f" and dtype is None:
            array = array.astype(np.float32)
    else:
        array = data.copy() if hasattr(data, "__cuda_array_interface__") else np.array(np.asarray(data))
    if array.dtype.kind not in "fiub":
        raise DTypeError(f"tensor: expected real numbers or booleans, got {array.dtype} from {type(data).__name__}")
    if dtype is not None:
        array = array.astype(real_dtype(dtype, "tensor: expected a dtype"), copy=False)
    target = resolve(device) if device is not None else (default_device() if on_host(array) else device_of(array))
    return to_device(array, target)


def real_dtype(dtype: Any, expected: str) -> np.dtype[Any]:
    """`dtype` as NumPy's object, if tensors can have it.

    >>> real_dtype("float32", "expected a dtype")
    dtype('float32')
    """
    try:
        found: np.dtype[Any] = np.dtype(dtype)
    except TypeError as error:
        raise DTypeError(f"{expected}, got {dtype!r}") from error
    if dtype is None or found.kind not in "fiub":  # None is NumPy's float64
        raise DTypeError(f"{expected} of real numbers or booleans, got {dtype!r}")
    return found


def errstate(array: Any) -> Any:
    """Silences floating-point warnings where a formula is right in spite of them; CuPy never warns."""
    if isinstance(array, (np.ndarray, np.generic, float, int)):
        return np.errstate(all="ignore")
    return contextlib.nullcontext()


def special(array: Array) -> Any:
    """The module of special functions: scipy.special, or its mirror on the device."""
    import importlib

    return importlib.import_module("scipy.special" if on_host(array) else "cupyx.scipy.special")


def add_at(array: Array, index: Any, values: Array) -> None:
    """`array[index] += values` in place, repeated indices counted each."""
    namespace(array).add.at(array, index, values)


def solve_triangular(a: Array, b: Array, *, lower: bool, unit_diagonal: bool) -> Array:
    """x of `a @ x = b` for stacks of triangular matrices (neither SciPy's nor CuPy's takes broadcast stacks)."""
    import importlib

    linalg = importlib.import_module("scipy.linalg" if on_host(a) else "cupyx.scipy.linalg")
    xp = namespace(a)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a_stack = xp.broadcast_to(a, lead + a.shape[-2:]).reshape(-1, *a.shape[-2:])
    b_stack = xp.broadcast_to(b, lead + b.shape[-2:]).reshape(-1, *b.shape[-2:])
    out = xp.empty(b_stack.shape, dtype=xp.result_type(a, b))
    for i in range(len(out)):
        out[i] = linalg.solve_triangular(a_stack[i], b_stack[i], lower=lower, unit_diagonal=unit_diagonal)
    return out.reshape(lead + b.shape[-2:])

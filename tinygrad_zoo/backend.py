"""Devices: NumPy on the host, CuPy on NVIDIA GPUs; `TINYGRAD_ZOO_BACKEND=numpy|cupy|cupysim` sets the default.

Ops dispatch on their arguments: `namespace(x)` is the module that made `x`. What CuPy does differently from NumPy is
bridged here and nowhere else. "cupysim" is the strict stand-in for CuPy, for tests without a GPU: another array module,
reached by name like CuPy.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import math
import os
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np

from .errors import DeviceError, DTypeError, MissingDependencyError, require
from .kernels.cuda import on_device
from .kernels.dispatch import namespace as namespace
from .threads import limit_blas
from .variable import Array, Variable

HOST = "cpu"
VARIABLE = "TINYGRAD_ZOO_BACKEND"
SIMULATED = "tinygrad_zoo.testing.cupysim"
# Kind of device -> its array module, SciPy's special functions and SciPy's linear algebra there.
MODULES = {
    HOST: ("numpy", "scipy.special", "scipy.linalg"),
    "cupy": ("cupy", "cupyx.scipy.special", "cupyx.scipy.linalg"),
    "cupysim": (SIMULATED, f"{SIMULATED}.scipy_special", f"{SIMULATED}.scipy_linalg"),
}
_KINDS = {module: kind for kind, (module, *_) in MODULES.items()}
_using: list[str] = []


def default_device() -> str:
    """The device of new tensors: that of `using`, or the one TINYGRAD_ZOO_BACKEND names, read once; never guessed.

    >>> default_device() in ("cpu", "cupy:0", "cupysim:0")
    True
    """
    return _using[-1] if _using else _environment_device()


@functools.cache
def _environment_device() -> str:
    name = os.environ.get(VARIABLE, "").strip()
    if name and not is_device(name.lower()):
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
    if name not in MODULES or name == HOST or not (number.isdecimal() or not number):
        raise DeviceError(f"no device {device!r}: write 'numpy' (or 'cpu'), 'cupy' or 'cupy:1'")
    cupy = _module(name)
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CUDARuntimeError: no driver, or one too old
        raise DeviceError(f"device {device!r}: CuPy finds no usable CUDA driver or device ({error})") from error
    index = int(number or 0)
    if index >= count:
        raise DeviceError(f"device {device!r}: CUDA reports {count} device(s), counted from {name}:0")
    return f"{name}:{index}"


def is_device(name: Any) -> bool:
    """Whether `name` names a kind of device, with or without a number, there or not.

    >>> is_device("cupy:1"), is_device("float32")
    (True, False)
    """
    return isinstance(name, str) and name.partition(":")[0] in (*MODULES, "numpy")


def _module(kind: str) -> ModuleType:
    """The array module of a kind of device, loaded when it is first asked for."""
    if kind != "cupy":
        return importlib.import_module(MODULES[kind][0])
    try:
        return require("cupy", "cuda13")
    except MissingDependencyError as error:
        raise MissingDependencyError(f"{error} (or [cuda12] for CUDA 12)") from error


def on_host(array: Array) -> bool:
    return isinstance(array, (np.ndarray, np.generic))


def is_array(x: Any) -> bool:
    """Whether x is an array, of NumPy or of a device; a Tensor is not."""
    return isinstance(x, np.ndarray) or on_device(x)


def kind_of_device(array: Array) -> str:
    """'cpu', 'cupy' or 'cupysim'."""
    return HOST if on_host(array) else _KINDS[type(array).__module__]


def device_of(array: Array) -> str:
    """'cpu', or 'cupy:N'."""
    return HOST if on_host(array) else f"{kind_of_device(array)}:{array.device.id}"


def module_of(x: Any) -> Any:
    """The array module of a Tensor's array, as `namespace` gives that of an array."""
    return namespace(x._data if isinstance(x, Variable) else x)


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
    kind, _, number = device.partition(":")
    cupy = _module(kind)
    array = array if on_host(array) or kind_of_device(array) == kind else to_host(array)
    with cupy.cuda.Device(int(number)):
        return cupy.asarray(array)


def asarray(data: Any, dtype: Any = None, device: str | None = None) -> Array:
    """A new array from numbers, nested lists or an array: Python floats become float32."""
    if not hasattr(data, "dtype"):
        try:
            array = np.array(data)
        except ValueError as error:
            ragged = "inhomogeneous" in str(error)
            what = "the lists are of different lengths: pad them to one" if ragged else str(error)
            raise DTypeError(f"tensor: {what}") from error
        if array.dtype.kind == "f" and dtype is None:
            array = array.astype(np.float32)
    elif type(data) is not np.ndarray and isinstance(data, np.ma.MaskedArray):
        raise DTypeError("tensor: a masked array would lose its mask: write array.filled(value)")
    else:
        array = data.copy() if _KINDS.get(type(data).__module__, HOST) != HOST else np.array(np.asarray(data))
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
    return importlib.import_module(MODULES[kind_of_device(array)][1])


def add_at(array: Array, index: Any, values: Array) -> None:
    """`array[index] += values` in place, repeated indices counted each."""
    namespace(array).add.at(array, index, values)


def max_at(array: Array, index: Any, values: Array) -> None:
    """`array[index] = maximum(array[index], values)` in place, the largest of those at a repeated index."""
    namespace(array).maximum.at(array, index, values)


@functools.cache
def _linalg(kind: str) -> Any:
    """SciPy's linear algebra for a kind of device; on the host it comes with a BLAS of its own."""
    module = importlib.import_module(MODULES[kind][2])
    limit_blas()
    return module


def solve_triangular(a: Array, b: Array, *, lower: bool, unit_diagonal: bool) -> Array:
    """x of `a @ x = b` for stacks of triangular matrices (neither SciPy's nor CuPy's takes broadcast stacks)."""
    linalg = _linalg(kind_of_device(a))
    xp = namespace(a)
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    count = math.prod(lead)
    a_stack = xp.broadcast_to(a, lead + a.shape[-2:]).reshape(count, *a.shape[-2:])
    b_stack = xp.broadcast_to(b, lead + b.shape[-2:]).reshape(count, *b.shape[-2:])
    out = xp.empty(b_stack.shape, dtype=xp.result_type(a, b))
    settings = {"lower": lower, "unit_diagonal": unit_diagonal, "check_finite": False}  # NaN and Inf propagate
    for i in range(count if out.size else 0):
        out[i] = linalg.solve_triangular(a_stack[i], b_stack[i], **settings)
    return out.reshape(lead + b.shape[-2:])


# ---- memory
def root_of(array: Array) -> Array:
    """An array of all the memory that `array` lies in: the one that owns it, or one that stands for it on a device."""
    if on_device(array):
        start, base = array.data.mem.ptr, array if array.base is None else array.base
        if base.data.ptr == start and base.flags.c_contiguous:
            return base
        return view_of(array, start - array.data.ptr, (array.data.mem.size,), (1,), np.dtype(np.uint8))
    while True:
        base = array.base
        if not isinstance(base, np.ndarray):  # as_strided puts an object of its own between
            base = getattr(base, "base", None)
            if not isinstance(base, np.ndarray):
                return array
        array = base


def place_of(root: Array) -> int:
    """What names the memory of `root_of`, as long as that is not freed."""
    return -1 - int(root.data.ptr) if on_device(root) else id(root)  # never an id


def address_of(array: Array) -> int:
    """Where the array begins."""
    return int(array.data.ptr if on_device(array) else array.ctypes.data)


def view_of(root: Array, offset: int, shape: Sequence[int], strides: Sequence[int], dtype: np.dtype[Any]) -> Array:
    """Memory of `root_of`, from `offset` bytes on, seen as another array."""
    if on_device(root):
        return namespace(root).ndarray(shape, dtype, memptr=root.data + offset, strides=strides)
    memory = root.transpose(np.argsort([-s for s in root.strides], kind="stable"))  # its axes in their order there
    return np.ndarray(shape, dtype, memory, offset, strides)

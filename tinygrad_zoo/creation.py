"""New Tensors: filled, counted, or on the memory of another library.

Shapes are written f(2, 3) or f((2, 3)). There is no `empty`: uninitialised memory is different on every run.
"""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from . import backend
from .errors import DeviceError, DTypeError, ShapeError, UsageError
from .interop import import_dlpack
from .tensor import Tensor, as_tensor, tensor
from .variable import Variable

__all__ = [
    "arange",
    "asarray",
    "eye",
    "from_dlpack",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "logspace",
    "ones",
    "ones_like",
    "zeros",
    "zeros_like",
]


# ---- what the functions share
def sizes_of(who: str, shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The sizes of an array from how they were written: f(2, 3) or f((2, 3))."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    try:
        found = tuple(map(operator.index, sizes))
    except TypeError:
        found = (-1,)
    if any(n < 0 for n in found) or any(isinstance(n, (bool, Variable)) for n in sizes):
        raise ShapeError(f"{who}: expected sizes >= 0, as in {who}(2, 3), got {sizes!r}; dtype= and device= go by name")
    return found


def whole(who: str, name: str, value: Any, least: int | None = None) -> int:
    """`value` as an int, no smaller than `least`."""
    try:
        n = operator.index(value)
    except TypeError as error:
        raise DTypeError(f"{who}: {name} is a whole number, got {value!r}: write int({name})") from error
    if least is not None and n < least:
        raise UsageError(f"{who}: expected {name} >= {least}, got {n}")
    return n


def _finite(who: str, name: str, value: Any) -> Any:
    """`value`, if it is a finite number."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
        what = f"a tensor: write {name}.item()" if isinstance(value, Variable) else f"{value!r}"
        raise DTypeError(f"{who}: {name} is a number, got {what}")
    if not math.isfinite(value):
        raise UsageError(f"{who}: expected a finite {name}, got {value}")
    return value


def floating(who: str, dtype: Any) -> np.dtype[Any]:
    found = backend.real_dtype(dtype, f"{who}: expected a dtype")
    if found.kind != "f":
        raise DTypeError(f"{who}: expected a floating-point dtype, got {found}: write dtype='float32', then .to(...)")
    return found


def placed(who: str, array: Any, dtype: Any, device: str | None, requires_grad: bool = False) -> Tensor:
    """A Tensor of `dtype` on `device` around a host array that nobody else holds."""
    if dtype is not None:
        array = array.astype(backend.real_dtype(dtype, f"{who}: expected a dtype"), copy=False)
    target = backend.default_device() if device is None else backend.resolve(device)
    return around(who, backend.to_device(array, target), requires_grad)


def around(who: str, array: Any, requires_grad: bool) -> Tensor:
    """A Tensor around an array that nobody else holds."""
    if requires_grad and array.dtype.kind != "f":
        raise DTypeError(
            f"{who}: requires_grad=True needs a floating-point dtype, got {array.dtype}: write dtype='float32'"
        )
    return Tensor(array, requires_grad)


def like(who: str, x: Any, dtype: Any, device: str | None) -> tuple[tuple[int, ...], Any, str]:
    """The shape of `x`, and its dtype and device where none are given."""
    x = as_tensor(x)
    return x.shape, x.dtype if dtype is None else dtype, x.device if device is None else device


# ---- filled
def zeros(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros.

    >>> zeros(2).tolist()
    [0.0, 0.0]
    """
    return placed("zeros", np.zeros(sizes_of("zeros", shape), np.float32), dtype, device, requires_grad)


def ones(*shape: Any, dtype: Any = "float32", device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones.

    >>> ones((1, 2)).tolist()
    [[1.0, 1.0]]
    """
    return placed("ones", np.ones(sizes_of("ones", shape), np.float32), dtype, device, requires_grad)


def full(
    shape: int | tuple[int, ...], value: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False
) -> Tensor:
    """`value` everywhere, in the dtype that `tensor(value)` has.

    >>> full((2,), 3.0), full(2, 7).dtype.name
    (tensor([3., 3.]), 'int64')
    """
    sizes = sizes_of("full", (shape,))
    if not isinstance(value, (bool, int, float, np.generic)):
        raise DTypeError(f"full: value is a number, got {value!r}: write broadcast_to(value, {sizes})")
    one = backend.asarray(value, dtype, backend.HOST)
    return placed("full", np.full(sizes, one), None, device, requires_grad)


def zeros_like(x: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros in the shape, the dtype and on the device of `x`.

    >>> zeros_like(tensor([[1, 2]])).tolist()
    [[0, 0]]
    """
    shape, dtype, device = like("zeros_like", x, dtype, device)
    return zeros(shape, dtype=dtype, device=device, requires_grad=requires_grad)


def ones_like(x: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """Ones in the shape, the dtype and on the device of `x`.

    >>> ones_like(tensor([2.0, 3.0])).tolist()
    [1.0, 1.0]
    """
    shape, dtype, device = like("ones_like", x, dtype, device)
    return ones(shape, dtype=dtype, device=device, requires_grad=requires_grad)


def full_like(x: Any, value: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """`value` everywhere, in the shape, the dtype and on the device of `x`.

    >>> full_like(tensor([2.0, 3.0]), 5).tolist()
    [5.0, 5.0]
    """
    shape, dtype, device = like("full_like", x, dtype, device)
    return full(shape, value, dtype=dtype, device=device, requires_grad=requires_grad)


def eye(
    n: int,
    m: int | None = None,
    *,
    k: int = 0,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Ones on diagonal `k` of a matrix (n, m), which is square without m; zeros elsewhere.

    >>> eye(2, 3).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    rows = whole("eye", "n", n, 0)
    columns = rows if m is None else whole("eye", "m", m, 0)
    return placed("eye", np.eye(rows, columns, whole("eye", "k", k), np.float32), dtype, device, requires_grad)


# ---- counted
def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """start, start + step, … before stop; `arange(n)` counts from 0. Integers give int64, floats float32.

    >>> arange(3).tolist(), arange(0.0, 1.0, 0.5).tolist()
    ([0, 1, 2], [0.0, 0.5])
    """
    start, stop = (0, start) if stop is None else (start, stop)
    for name, value in (("start", start), ("stop", stop), ("step", step)):
        _finite("arange", name, value)
    if step == 0:
        raise UsageError("arange: expected a step other than 0, got 0")
    values = np.arange(start, stop, step)
    dtype = ("float32" if values.dtype.kind == "f" else "int64") if dtype is None else dtype
    return placed("arange", values, dtype, device, requires_grad)


def linspace(
    start: float,
    stop: float,
    num: int,
    *,
    endpoint: bool = True,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """`num` numbers at equal distances from start to stop, the last one left out without `endpoint`.

    >>> linspace(0, 1, 5).tolist()
    [0.0, 0.25, 0.5, 0.75, 1.0]
    """
    ends = _finite("linspace", "start", start), _finite("linspace", "stop", stop)
    values = np.linspace(*ends, whole("linspace", "num", num, 0), endpoint=endpoint)
    return placed("linspace", values, floating("linspace", dtype), device, requires_grad)


def logspace(
    start: float,
    stop: float,
    num: int,
    base: float = 10.0,
    *,
    endpoint: bool = True,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """base to the powers linspace(start, stop, num).

    >>> logspace(0, 2, 3).tolist()
    [1.0, 10.0, 100.0]
    """
    ends = _finite("logspace", "start", start), _finite("logspace", "stop", stop)
    if not _finite("logspace", "base", base) > 0:
        raise UsageError(f"logspace: expected base > 0, got {base}")
    values = np.logspace(*ends, whole("logspace", "num", num, 0), base=float(base), endpoint=endpoint)
    return placed("logspace", values, floating("logspace", dtype), device, requires_grad)


# ---- on the memory of others
def asarray(data: Any, dtype: Any = None, device: str | None = None, copy: bool | None = None) -> Tensor:
    """`data` as a Tensor: itself, or on its memory, unless another dtype, another device or `copy=True` needs a copy.

    >>> x = tensor([1.0])
    >>> asarray(x) is x, asarray(x, copy=True) is x
    (True, False)
    """
    if copy:
        return tensor(data, dtype, device)
    x = as_tensor(data)
    made = x if device is None else x.to(device)
    made = made if dtype is None else made.to(backend.real_dtype(dtype, "asarray: expected a dtype"))
    if copy is False and (made is not x or not (hasattr(data, "dtype") and hasattr(data, "shape"))):
        raise UsageError(f"asarray: copy=False, but {type(data).__name__} data needs one: write copy=None")
    return made


def from_numpy(array: Any) -> Tensor:
    """A Tensor on the memory of a NumPy array: both see what is written to it. Copy with `tensor(array)`.

    >>> array = np.zeros(2)
    >>> np.shares_memory(from_numpy(array).data, array)
    True
    """
    if not isinstance(array, np.ndarray):
        raise DTypeError(f"from_numpy: expected a numpy.ndarray, got {type(array).__name__}: write tensor(...)")
    return Tensor(array)


def from_dlpack(x: Any, *, device: str | None = None, copy: bool | None = None) -> Tensor:
    """A Tensor on the memory of another library's array, such as a PyTorch tensor, without a copy where it can be.

    >>> from_dlpack(np.arange(3)).tolist()
    [0, 1, 2]
    """
    made = Tensor(import_dlpack(x))
    target = made.device if device is None else backend.resolve(device)
    if copy is False and target != made.device:
        raise DeviceError(f"from_dlpack: copy=False cannot move from {made.device} to {target}: write copy=None")
    made = made if target == made.device else made.to(target)
    return tensor(made) if copy else made

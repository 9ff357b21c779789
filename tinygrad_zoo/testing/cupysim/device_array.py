"""`ndarray`: host memory that behaves as if it lay on a device; what CuPy refuses raises, hidden copies are noted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

import numpy as np

from .api import api, bound
from .capturing import captured, poisoned, root_of
from .cuda import Device
from .refusals import SCALARS, DeviceArray, check, key_of, refuse_repeated, unwrap
from .transfers import download, upload

# Functions of NumPy that read no data: they may be asked about a device array.
ABOUT = {"shape", "ndim", "size", "result_type", "can_cast", "iscomplexobj", "isrealobj"}
DTYPES = "?bhilqBHILQefdFD"  # all that CuPy has,
BRAIN = "bfloat16"  # and that of ml_dtypes, where it is installed
QUIET = np.errstate(all="ignore")  # CuPy never warns


def wrap(result: Any) -> Any:
    """`result` on the device: NumPy's scalars are 0-d arrays there, and named tuples plain ones."""
    if isinstance(result, (np.ndarray, np.generic)):
        if (result.dtype.char not in DTYPES and result.dtype.name != BRAIN) or not result.dtype.isnative:
            raise ValueError(f"Unsupported dtype {result.dtype}")
        made = object.__new__(ndarray)
        made._values = np.asarray(result)
        return made
    if isinstance(result, tuple):
        return tuple(map(wrap, result))
    return list(map(wrap, result)) if isinstance(result, list) else result


class Flags:
    """The memory layout."""

    def __init__(self, values: Any) -> None:
        self._flags = values.flags

    def __getattr__(self, name: str) -> Any:
        if name not in api()["flags"]:
            raise AttributeError(f"flags of a device array have no {name!r}: {', '.join(api()['flags'])}")
        return getattr(self._flags, name)


class Memory:
    """An allocation."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self.ptr: int = root.ctypes.data
        self.size: int = root.nbytes
        self.device = Device(0)


class MemoryPointer:
    """Where an array begins."""

    def __init__(self, mem: Memory, offset: int) -> None:
        self.mem, self.ptr, self.device = mem, mem.ptr + offset, mem.device

    def __add__(self, offset: int) -> MemoryPointer:
        return MemoryPointer(self.mem, self.ptr - self.mem.ptr + offset)


def _pointer(values: Any) -> MemoryPointer:
    mem = Memory(root_of(values))
    return MemoryPointer(mem, values.ctypes.data - mem.ptr)


class ndarray(DeviceArray):
    """An array on the device of the stand-in."""

    __slots__ = ()
    __array_priority__ = 100
    __hash__ = None  # type: ignore[assignment]

    def __init__(
        self, shape: Any, dtype: Any = float, memptr: MemoryPointer | None = None, strides: Any = None, order: str = "C"
    ) -> None:
        if memptr is None:
            self._values = poisoned(wrap(np.empty(shape, dtype, order))._values)  # type: ignore[call-overload]
            return
        root = memptr.mem.root
        memory = root.transpose(np.argsort([-s for s in root.strides], kind="stable"))  # in its order
        self._values = np.ndarray(shape, dtype, memory, memptr.ptr - memptr.mem.ptr, strides)

    # ---- what it is
    shape = property(lambda self: self._values.shape)
    dtype = property(lambda self: self._values.dtype)
    ndim = property(lambda self: self._values.ndim)
    size = property(lambda self: self._values.size)
    nbytes = property(lambda self: self._values.nbytes)
    itemsize = property(lambda self: self._values.itemsize)
    strides = property(lambda self: self._values.strides)
    flags = property(lambda self: Flags(self._values))
    data = property(lambda self: _pointer(self._values))
    device = property(lambda self: Device(0))
    T = property(lambda self: wrap(self._values.T))
    mT = property(lambda self: wrap(self._values.mT))
    real = property(lambda self: wrap(self._values.real))
    imag = property(lambda self: wrap(self._values.imag))

    @property
    def base(self) -> Any:
        base = self._values.base
        return None if base is None else wrap(base)

    def __len__(self) -> int:
        return len(self._values)

    # ---- NumPy may not touch it
    def __array__(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Implicit conversion to a NumPy array is not allowed: write x.get()")

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        scalar_first = len(inputs) == 2 and isinstance(inputs[0], np.generic) and isinstance(inputs[1], ndarray)
        if method == "__call__" and scalar_first and not kwargs:  # np.float32(2) * x
            return wrap(ufunc(inputs[0], inputs[1]._values))
        raise TypeError(f"np.{ufunc.__name__} of a device array: call that of the array's own module")

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function.__name__ in ABOUT:
            return function(*unwrap(args, function.__name__), **kwargs)
        raise TypeError(f"np.{function.__name__} of a device array: call that of the array's own module")

    def __dlpack__(self, **kwargs: Any) -> NoReturn:
        raise BufferError("the stand-in's device is no device of another library: nothing can be shared with it")

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0  # kDLCUDA

    # ---- to the host, in so many words
    def get(self, stream: Any = None, order: str = "C", out: Any = None, blocking: bool = True) -> Any:
        download("get()", explicit=True)
        if out is not None:
            np.copyto(out, self._values, casting="no")
            return out
        return self._values.copy(order)

    def set(self, arr: Any, stream: Any = None) -> None:
        if not isinstance(arr, np.ndarray) or arr.dtype != self.dtype or arr.shape != self.shape:
            raise TypeError(f"set: expected a NumPy array, {self.dtype} of shape {self.shape}")
        upload(0)
        self._values[...] = arr

    def __repr__(self) -> str:
        return f"cupysim.{self.get()!r}"

    def __str__(self) -> str:
        return str(self.get())

    def __format__(self, spec: str) -> str:
        return format(self.get(), spec)

    def __reduce__(self) -> Any:
        return _from_host, (self.get(),)

    @captured("ndarray.__copy__")
    def __copy__(self) -> Any:
        return wrap(self._values.copy())

    @captured("ndarray.__deepcopy__")
    def __deepcopy__(self, memo: Any) -> Any:
        return wrap(self._values.copy())

    # ---- to the host, in disguise
    def item(self) -> Any:
        download("item()")
        return self._values.item()

    def tolist(self) -> Any:
        download("tolist()")
        return self._values.tolist()

    def tobytes(self, order: Any = "C") -> bytes:
        download("tobytes()")
        made: bytes = self._values.tobytes(order)
        return made

    def __bool__(self) -> bool:
        download("bool()")
        return bool(self._values)

    def __int__(self) -> int:
        download("int()")
        return int(self._values)

    def __float__(self) -> float:
        download("float()")
        return float(self._values)

    def __complex__(self) -> complex:
        download("complex()")
        return complex(self._values)

    def __iter__(self) -> Iterator[Any]:
        if not self.ndim:
            raise TypeError("iteration over a 0-d array")
        return (self[i] for i in range(len(self)))

    # ---- indices
    @captured("ndarray.__getitem__")
    def __getitem__(self, index: Any) -> Any:
        return wrap(self._values[key_of(index)])

    @captured("ndarray.__setitem__")
    def __setitem__(self, index: Any, value: Any) -> None:
        if not isinstance(value, (ndarray, *SCALARS)):
            raise TypeError(
                f"a[i] = v: v is a {type(value).__name__}, on the host; expected a device array or a number"
            )
        key = key_of(index)
        if isinstance(value, ndarray) and value.size > 1:
            refuse_repeated(self._values, key)
        self._values[key] = unwrap(value, "a[i] = v")

    # ---- methods with arguments of their own
    @captured("ndarray.reshape")
    def reshape(self, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
        wanted = shape[0] if len(shape) == 1 else shape
        return wrap(self._values.reshape(wanted, order=order, copy=copy))

    @captured("ndarray.transpose")
    def transpose(self, *axes: Any) -> Any:
        return wrap(self._values.transpose(*axes))

    @captured("ndarray.astype")
    @QUIET
    def astype(self, dtype: Any, order: Any = "K", casting: Any = None, subok: Any = None, copy: bool = True) -> Any:
        if casting is not None or subok is not None:
            raise TypeError("astype: CuPy takes neither casting nor subok into account")
        if not copy and self.dtype == dtype and order == "K":
            return self
        return wrap(self._values.astype(dtype, order=order, copy=copy))

    @captured("ndarray.view")
    def view(self, dtype: Any = None, type: Any = None) -> Any:
        return wrap(self._values.view() if dtype is None else self._values.view(dtype))

    @captured("ndarray.fill")
    def fill(self, value: Any) -> None:
        if not isinstance(value, SCALARS):
            raise TypeError(f"fill: expected a number, got {type(value).__name__}")
        self._values.fill(value)

    @captured("ndarray.ptp")
    def ptp(self, axis: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return wrap(np.ptp(self._values, axis=axis, keepdims=keepdims)) if out is None else NotImplemented

    @captured("ndarray.scatter_add")
    def scatter_add(self, slices: Any, value: Any) -> None:
        scatter(np.add, self, slices, value)

    @captured("ndarray.scatter_max")
    def scatter_max(self, slices: Any, value: Any) -> None:
        scatter(np.maximum, self, slices, value)

    @captured("ndarray.scatter_min")
    def scatter_min(self, slices: Any, value: Any) -> None:
        scatter(np.minimum, self, slices, value)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in api()["ndarray"]:
            raise NotImplementedError(f"the stand-in has no ndarray.{name}")
        raise AttributeError(f"a device array has no {name!r} (CuPy {api()['cupy version']})")


# The dtypes that the atomic operations behind `ufunc.at` exist for.
_WHOLE = ("int32", "int64", "uint32", "uint64")
SCATTERED = {
    "add": (*_WHOLE, "float16", "float32", "float64"),
    "subtract": ("int32", "uint32"),
    "maximum": (*_WHOLE, "float32", "float64"),
    "minimum": (*_WHOLE, "float32", "float64"),
    "bitwise_and": _WHOLE,
    "bitwise_or": _WHOLE,
    "bitwise_xor": _WHOLE,
}


def scatter(ufunc: Any, a: Any, index: Any, values: Any) -> None:
    """`ufunc.at(a, index, values)` where CuPy has the atomic operation for it."""
    name = f"{ufunc.__name__}.at"
    if not isinstance(a, ndarray) or not isinstance(values, (ndarray, *SCALARS)):
        raise TypeError(f"{name}: expected device arrays, got {type(a)} and {type(values)}")
    if a.dtype.name not in SCATTERED[ufunc.__name__]:
        raise TypeError(f"{name} only supports {', '.join(SCATTERED[ufunc.__name__])} as data type, not {a.dtype}")
    ufunc.at(a._values, key_of(index), np.asarray(unwrap(values, name)).astype(a.dtype))


def _from_host(values: Any) -> Any:
    upload(values.nbytes)
    return wrap(values.copy())


def _operand(other: Any, symbol: str) -> Any:
    """The memory or number on the other side of an operator; NotImplemented for types with operators of their own."""
    if isinstance(other, ndarray):
        return other._values
    if isinstance(other, SCALARS):
        return other
    if isinstance(other, (np.ndarray, list, tuple)) or not hasattr(other, "__array_ufunc__"):
        raise TypeError(f"{symbol} of a device array: Unsupported type {type(other)}")
    return NotImplemented


def _operator(name: str) -> Callable[..., Any]:
    apply = getattr(np.ndarray, name)

    def run(self: Any, other: Any) -> Any:
        operand = other._values if type(other) is ndarray else _operand(other, name)
        if operand is NotImplemented:
            return NotImplemented
        result = apply(self._values, operand)
        return self if result is self._values else wrap(result)

    run.__name__ = name
    return captured(f"ndarray.{name}")(run if name in _SILENT else QUIET(run))


def _unary(name: str) -> Callable[..., Any]:
    apply = getattr(np.ndarray, name)
    return captured(f"ndarray.{name}")(QUIET(lambda self: wrap(apply(self._values))))


def _method(name: str, text: str) -> Callable[..., Any]:
    """A method that NumPy has as well: refuses what CuPy's signature does, and host arrays."""
    numpys = getattr(np.ndarray, name)

    @captured(f"ndarray.{name}")
    @QUIET
    def run(self: Any, *args: Any, **kwargs: Any) -> Any:
        arguments = bound(f"ndarray.{name}", text, args, kwargs)
        check(f"ndarray.{name}", name, arguments)
        if name in ("nonzero", "compress") or arguments.get("mode") == "raise":
            download(f"{name}()")
        out = arguments.get("out")
        result = numpys(self._values, *unwrap(args, name), **{k: unwrap(v, name) for k, v in kwargs.items()})
        return out if isinstance(out, ndarray) else wrap(result)

    run.__name__ = name
    return run


_COMPARISONS = ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__")
_SILENT = {*_COMPARISONS, "__and__", "__or__", "__xor__", "__lshift__", "__rshift__"}  # nothing to warn of
_SYMBOLS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor", "lshift", "rshift"]
for _name in [f"__{place}{symbol}__" for symbol in _SYMBOLS for place in ("", "r", "i")]:
    if _name != "__imatmul__":  # CuPy has none: `x @= y` makes a new array
        setattr(ndarray, _name, _operator(_name))
for _name in (*_COMPARISONS, "__divmod__", "__rdivmod__"):
    setattr(ndarray, _name, _operator(_name))
for _name in ("__neg__", "__pos__", "__abs__", "__invert__"):
    setattr(ndarray, _name, _unary(_name))
for _name, _row in api()["ndarray"].items():
    if _row != "property" and hasattr(np.ndarray, _name) and _name not in {*vars(ndarray), "tofile", "dump", "dumps"}:
        setattr(ndarray, _name, _method(_name, _row["signature"]))

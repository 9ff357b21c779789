"""What other libraries see of a Tensor: NumPy's protocols, DLPack, the array API, pickle.

Arithmetic with a host array gives a Tensor. Functions of NumPy, which would lose the gradient, raise a TypeError that
names our op.
"""

from __future__ import annotations

import importlib
from typing import Any, NoReturn

import numpy as np

from . import backend, ops
from .autograd import Op
from .errors import DeviceError, DTypeError, GradientError, SharingError, UsageError, require
from .grad_mode import state
from .variable import Array, Variable, wrap

# The names of NumPy and of the array API standard for ops that we call otherwise.
STANDARD_NAMES = {
    "absolute": "abs",
    "around": "round",
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctan2": "atan2",
    "arctanh": "atanh",
    "bitwise_invert": "bitwise_not",
    "concatenate": "concat",
    "cumulative_prod": "cumprod",
    "cumulative_sum": "cumsum",
    "degrees": "rad2deg",
    "divide": "div",
    "dot": "matmul",
    "equal": "eq",
    "fabs": "abs",
    "fix": "trunc",
    "greater": "gt",
    "greater_equal": "ge",
    "invert": "bitwise_not",
    "less": "lt",
    "less_equal": "le",
    "multiply": "mul",
    "negative": "neg",
    "not_equal": "ne",
    "permute_dims": "permute",
    "power": "pow",
    "radians": "deg2rad",
    "ravel": "flatten",
    "repeat": "repeat_interleave",
    "rint": "round",
    "subtract": "sub",
    "transpose": "permute",
    "true_divide": "div",
}


def our_op(name: str) -> Op | None:
    """Our op for the function that NumPy or the array API calls `name`.

    >>> our_op("concatenate"), our_op("frexp_of_nothing")
    (concat, None)
    """
    for known in (STANDARD_NAMES.get(name, name), name, f"linalg_{name}"):
        op = getattr(ops, known, None)
        if isinstance(op, Op):
            return op
    return None


# `array * tensor`: NumPy asks the Tensor, by the ufunc of the operator.
_OPERATORS = (
    *("add", "subtract", "multiply", "true_divide", "power", "matmul", "floor_divide", "remainder"),
    *("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"),
    *("bitwise_and", "bitwise_or", "bitwise_xor"),
)
_BINARY = {getattr(np, name): our_op(name) for name in _OPERATORS}


def _refused(name: str, ours: Op | None) -> DTypeError:
    hint = f"tinygrad_zoo.{ours}(...)" if ours else "an op of tinygrad_zoo, or tensor.numpy() to leave the graph"
    return DTypeError(f"numpy.{name} cannot take a Tensor (its gradient would be lost): write {hint}")


class Interop(Variable):
    """The protocols by which other libraries read a Tensor."""

    __slots__ = ()

    # ---- NumPy
    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        """The values outside the graph, for `numpy.asarray`; on the host only."""
        if not backend.on_host(self._data):
            device = backend.device_of(self._data)
            raise DeviceError(f"this tensor is on {device}: write tensor.numpy() to copy it to the host")
        array = self._data if state.recorder is None else state.recorder.read(self, "numpy.asarray()")
        try:
            return np.array(array, dtype=dtype, copy=copy)
        except ValueError as error:
            raise UsageError(f"numpy.asarray: {self._data.dtype} to {dtype} needs a copy: write copy=None") from error

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        ours = _BINARY.get(ufunc)
        if method == "__call__" and ours is not None and not settings:  # array * tensor
            return ours(*inputs)
        name = ufunc.__name__
        out = settings.get("out", ())
        if method == "__call__" and any(isinstance(o, np.ndarray) for o in out):  # array += tensor
            written = f"numpy.{name} with out="
            hint = f"array = tinygrad_zoo.{ours}(array, tensor)" if ours else "array[...] = tensor.numpy()"
            raise DTypeError(
                f"{written} (as array += tensor has it) cannot write a Tensor into an array, since its gradient would "
                f"be lost: write {hint}, or array += tensor.detach().numpy()"
            )
        if method == "reduce":
            reduces = {"add": "sum", "multiply": "prod", "maximum": "max", "minimum": "min"}
            raise _refused(f"{name}.reduce", our_op(reduces.get(name, f"{name}_reduce")))
        if method != "__call__":
            raise _refused(f"{name}.{method}", our_op("cumsum") if (name, method) == ("add", "accumulate") else None)
        raise _refused(name, ours or our_op(name))

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        module = function.__module__.removeprefix("numpy").removeprefix(".")
        public = "" if module.startswith("_") or not module else f"{module}."
        raise _refused(f"{public}{function.__name__}", our_op(function.__name__))

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        """`tinygrad_zoo.array_api`: what we have of the standard, under its names."""
        namespace = importlib.import_module(f"{__package__}.array_api")
        known = namespace.VERSIONS
        if api_version is not None and api_version not in known:
            raise UsageError(f"__array_namespace__: no api_version {api_version!r}: write one of {', '.join(known)}")
        return namespace

    # ---- DLPack
    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[Any, int] | None = None,
        copy: bool | None = None,
    ) -> Any:
        """Share the memory with another library; refuses a tensor that requires a gradient.

        What DLPack or its readers cannot take (negative strides, zero strides, read-only memory) is copied, unless
        `copy=False`.
        """
        if self._requires_grad:
            raise GradientError("dlpack: the gradient would be lost; write tensor.detach() first")
        here = _dlpack_device(self._data)
        asked = {"stream": stream, "max_version": max_version, "dl_device": dl_device}
        given = {name: value for name, value in asked.items() if value is not None}
        there = here if dl_device is None else tuple(map(int, dl_device))
        if there != here:
            raise DeviceError(f"dlpack: this tensor is on device {here}, not {there}: move it with tensor.to(...)")
        if stream is not None and backend.on_host(self._data):
            raise UsageError(f"dlpack: memory of the host has no stream, got stream={stream!r}: write stream=None")
        array = self._data if state.recorder is None else state.recorder.read(self, "DLPack")
        if copy or _is_unreadable(array) or (copy is None and _is_read_only(array)):
            array = _compact(array, copy)
        try:
            return array.__dlpack__(**given)
        except BufferError as error:  # read-only memory with copy=False, another byte order
            if not backend.on_host(array):
                raise _unreachable(array) from error
            array = _compact(array, copy)
        try:
            return array.__dlpack__(**given)
        except BufferError as error:  # longdouble
            raise SharingError(f"dlpack: {error} This tensor is {array.dtype}: write tensor.to('float64')") from error

    def __dlpack_device__(self) -> Any:
        return _dlpack_device(self._data)

    # ---- copy and pickle
    def __copy__(self) -> Any:
        """The same memory and the same place in the graph."""
        made = wrap(type(self), self._data, self.node, self.index, self.version)
        made._requires_grad = self._requires_grad
        return made

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self.node is not None:
            raise GradientError(
                f"deepcopy: {self.node.op} made this tensor; only leaves can be copied: .detach() first"
            )
        array = self._data if state.recorder is None else state.recorder.read(self, "copy.deepcopy()")
        made = wrap(type(self), array.copy())
        made._requires_grad = self._requires_grad
        if self._grad is not None:
            made._grad = self._grad.detach().copy()
        memo[id(self)] = made
        return made

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise DTypeError(
            "pickle: Tensors are not pickled, since reading a pickle runs code: write numpy.save(path, tensor.numpy()) "
            "or safetensors.numpy.save_file(...) with the arrays of module.state_dict()"
        )


def _dlpack_device(array: Array) -> tuple[int, int]:
    """Where the memory is, in DLPack's numbers, if other libraries can reach it."""
    try:
        kind, number = array.__dlpack_device__()
    except (AttributeError, BufferError) as error:
        raise _unreachable(array) from error
    return int(kind), int(number)


def _is_unreadable(array: Array) -> bool:
    """Whether its strides are beyond some reader: negative ones, and zeros, by which writes would repeat."""
    return any(s < 0 or (s == 0 and n > 1 and array.size) for s, n in zip(array.strides, array.shape, strict=True))


def _is_read_only(array: Array) -> bool:
    """DLPack can say so, but PyTorch does not listen."""
    return backend.on_host(array) and not array.flags.writeable


def _unreachable(array: Array) -> DeviceError:
    kind = backend.kind_of_device(array)
    return DeviceError(f"dlpack: arrays of {kind} cannot be shared: write tensor.to('cpu')")


def _compact(array: Array, copy: bool | None) -> Array:
    """A copy that every library can read, if one may be made."""
    if copy is False:
        raise SharingError(
            f"dlpack: copy=False, but this memory (strides {array.strides}) cannot be shared as it is: write copy=None"
        )
    return backend.namespace(array).ascontiguousarray(array.astype(array.dtype.newbyteorder("=")))


def import_dlpack(x: Any) -> Array:
    """The array of another library's memory: NumPy's on the host, CuPy's on a device."""
    if isinstance(x, Variable) and not x._requires_grad:
        return x._data
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise DTypeError(f"from_dlpack: {type(x).__name__} has no __dlpack__: write tinygrad_zoo.tensor(...)")
    if getattr(x, "requires_grad", False) is True:
        raise GradientError(
            f"from_dlpack: this {type(x).__name__} requires a gradient, which would be lost: write x.detach()"
        )
    try:
        module = np if int(x.__dlpack_device__()[0]) == 1 else require("cupy", "cuda13")  # 1: memory of the host
        return module.from_dlpack(x)
    except (BufferError, RuntimeError, TypeError, ValueError) as error:
        raise DTypeError(f"from_dlpack: {type(x).__name__} cannot be read: {error}; convert it first") from error

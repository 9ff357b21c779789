"""Tensor: an array with a history. Its methods are the ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import backend, ops
from .autograd import Op, backward
from .errors import DeviceError, DTypeError, GradientError, IndexingError, ShapeError
from .variable import Variable, wrap

_BINARY = {
    np.add: ops.add,
    np.subtract: ops.sub,
    np.multiply: ops.mul,
    np.true_divide: ops.div,
    np.power: ops.pow,
    np.matmul: ops.matmul,
    np.equal: ops.eq,
    np.not_equal: ops.ne,
    np.less: ops.lt,
    np.less_equal: ops.le,
    np.greater: ops.gt,
    np.greater_equal: ops.ge,
}


_NUMPY_NAMES = {"negative": "neg", "absolute": "abs", "concatenate": "concat", "transpose": "permute", "dot": "matmul"}


def _ours(name: str) -> Op | None:
    """Our op for the NumPy function `name`."""
    op = getattr(ops, _NUMPY_NAMES.get(name, name), None)
    return op if isinstance(op, Op) else None


def _refused(name: str, ours: Op | None) -> DTypeError:
    hint = f"tinygrad_zoo.{ours}(...)" if ours else "an op of tinygrad_zoo, or tensor.numpy() to leave the graph"
    return DTypeError(f"numpy.{name} cannot take a Tensor (its gradient would be lost): write {hint}")


class Tensor(Variable):
    """An n-dimensional array that takes part in differentiation; make one with `tinygrad_zoo.tensor`.

    >>> x = tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()

    # ---- what it is
    @property
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self._data.shape
        return shape

    @property
    def ndim(self) -> int:
        return int(self._data.ndim)

    @property
    def size(self) -> int:
        return int(self._data.size)

    @property
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self._data.dtype
        return dtype

    @property
    def device(self) -> str:
        """'cpu' or 'cupy:N'."""
        return backend.device_of(self._data)

    @property
    def is_leaf(self) -> bool:
        return self.node is None

    def numel(self) -> int:
        return int(self._data.size)

    def __len__(self) -> int:
        if not self._data.shape:
            raise DTypeError("len: a 0-d tensor has no length; read it with .item()")
        return int(self._data.shape[0])

    def __repr__(self) -> str:
        text = np.array2string(backend.to_host(self._data), separator=", ", prefix="tensor(", threshold=60)
        parts = [text]
        if self.dtype.name not in ("float32", "int64", "bool"):
            parts.append(f"dtype={self.dtype}")
        if self._data.size == 0:
            parts.append(f"shape={self.shape}")
        if self.device != backend.HOST:
            parts.append(f"device={self.device!r}")
        if self.node is not None:
            parts.append(f"from {self.node.op}")
        elif self._requires_grad:
            parts.append("requires_grad=True")
        return f"tensor({', '.join(parts)})"

    def __format__(self, spec: str) -> str:
        """f"{loss:.3f}" formats the value of a tensor of one element."""
        return format(self.item(), spec) if spec else repr(self)

    # ---- its values, outside the graph
    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array: shared on the host (writes through it go undetected), a copy from a device."""
        return backend.to_host(self._data)

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"item: expected one element, this tensor has shape {self.shape}; use .tolist()")
        return self._data.item()

    def tolist(self) -> Any:
        return backend.to_host(self._data).tolist()

    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        detached: Tensor = wrap(Tensor, self._data, version=self.version)
        return detached

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def to(self, target: Any) -> Any:
        """The tensor in another dtype ('float64') or on another device ('cpu', 'cupy', 'cupy:1')."""
        if isinstance(target, str) and target.partition(":")[0] in ("cpu", "numpy", "cupy"):
            device = backend.resolve(target)
            return self if device == self.device else ops.to_device(self, device=device)
        dtype = backend.real_dtype(target, "to: expected a dtype or a device ('cpu', 'cupy:0')")
        return self if dtype == self.dtype else ops.astype(self, dtype=dtype)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.device != backend.HOST:
            raise DeviceError(f"this tensor is on {self.device}: write tensor.numpy() to copy it to the host")
        return np.array(self._data, dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **settings: Any) -> Any:
        if method == "__call__" and ufunc in _BINARY and not settings:  # array * tensor
            return _BINARY[ufunc](*inputs)
        ours = _BINARY.get(ufunc) or _ours(ufunc.__name__)
        if method != "__call__":
            raise _refused(f"{ufunc.__name__}.{method}", None)
        raise _refused(ufunc.__name__, ours)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        raise _refused(function.__name__, _ours(function.__name__))

    def __dlpack__(self, **kwargs: Any) -> Any:
        """Share the memory with another library; refuses a tensor that requires a gradient."""
        if self._requires_grad:
            raise GradientError("dlpack: the gradient would be lost; write tensor.detach() first")
        array = self._data.copy() if any(s < 0 for s in self._data.strides) else self._data
        return array.__dlpack__(**kwargs)

    def __dlpack_device__(self) -> Any:
        return self._data.__dlpack_device__()

    def __bool__(self) -> bool:
        return bool(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __float__(self) -> float:
        return float(self.item())

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iu":
            raise DTypeError(f"only integer tensors can be an index, this one is {self.dtype}")
        return int(self.item())

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if self.node is not None:
            raise GradientError(
                f"deepcopy: {self.node.op} made this tensor; only leaves can be copied: .detach() first"
            )
        made = wrap(type(self), self._data.copy())
        made._requires_grad = self._requires_grad
        if self._grad is not None:
            made._grad = self._grad.detach().copy()
        memo[id(self)] = made
        return made

    # ---- its gradient
    def backward(self, gradient: Any = None, create_graph: bool = False) -> None:
        """Add the gradient of this scalar to `.grad` of every leaf it was computed from.

        `gradient` weighs the elements of a non-scalar; with `create_graph` the gradients can be differentiated again.
        """
        backward([self], [self._seed(gradient)], create_graph=create_graph)

    def _seed(self, gradient: Any) -> Any:
        if not self._requires_grad:
            raise GradientError("this tensor was not computed from any that require a gradient, or under no_grad()")
        if gradient is None:
            if self._data.size != 1:
                raise GradientError(
                    f"a tensor of shape {self.shape} has no gradient of its own: reduce it (loss.sum(), loss.mean()) "
                    "or pass gradient="
                )
            ones = self._data.copy()
            ones.fill(1)
            return wrap(Tensor, ones)
        gradient = gradient if isinstance(gradient, Variable) else tensor(gradient, device=self.device)
        if gradient._data.shape != self.shape:
            raise ShapeError(f"backward: expected a gradient of shape {self.shape}, got {gradient._data.shape}")
        return gradient

    # ---- its methods are the ops
    __add__ = __radd__ = add = ops.add
    __mul__ = __rmul__ = mul = ops.mul
    __sub__ = sub = ops.sub
    __truediv__ = div = ops.div
    __pow__ = pow = ops.pow
    __matmul__ = matmul = ops.matmul
    __neg__ = neg = ops.neg
    __abs__ = abs = ops.abs
    __eq__ = eq = ops.eq
    __ne__ = ne = ops.ne
    __lt__ = lt = ops.lt
    __le__ = le = ops.le
    __gt__ = gt = ops.gt
    __ge__ = ge = ops.ge
    __hash__ = object.__hash__

    def __rsub__(self, other: Any) -> Any:
        return ops.sub(other, self)

    def __rtruediv__(self, other: Any) -> Any:
        return ops.div(other, self)

    def __rpow__(self, other: Any) -> Any:
        return ops.pow(other, self)

    def __rmatmul__(self, other: Any) -> Any:
        return ops.matmul(other, self)

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise IndexingError(
            "tensors are not written in place, so that gradients stay right: write "
            "x = tinygrad_zoo.where(mask, value, x), or x.data[i] = value; x.mark_written() on a leaf outside the graph"
        )

    sign, sqrt, square, reciprocal, clip = ops.sign, ops.sqrt, ops.square, ops.reciprocal, ops.clip
    exp, expm1, log, log1p, sin, cos, tanh, erf = (
        ops.exp, ops.expm1, ops.log, ops.log1p, ops.sin, ops.cos, ops.tanh, ops.erf
    )  # fmt: skip
    relu, sigmoid, softmax, log_softmax = ops.relu, ops.sigmoid, ops.softmax, ops.log_softmax
    maximum, minimum, isfinite = ops.maximum, ops.minimum, ops.isfinite
    sum, mean, var, std, max, min = ops.sum, ops.mean, ops.var, ops.std, ops.max, ops.min
    amax, amin = ops.max, ops.min
    argmax, argmin, all, any = ops.argmax, ops.argmin, ops.all, ops.any
    cumsum, logsumexp = ops.cumsum, ops.logsumexp
    reshape, permute, swapaxes, transpose = ops.reshape, ops.permute, ops.swapaxes, ops.swapaxes
    expand_dims = unsqueeze = ops.expand_dims
    broadcast_to = expand = ops.broadcast_to
    squeeze, split, flip, tril, triu = ops.squeeze, ops.split, ops.flip, ops.tril, ops.triu
    astype, take_along_axis = ops.astype, ops.take_along_axis
    copy = clone = ops.copy
    inv, slogdet = ops.inv, ops.slogdet

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return ops.permute(self, dims=tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, axis1=-1, axis2=-2)


Variable.result_type = Tensor


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of `data`: numbers, nested lists, an array or a Tensor.

    It begins a graph of its own, outside that of the data. Python floats become float32, Python ints int64; arrays keep
    their dtype. The device is that of the data, or the default one (TINYGRAD_ZOO_BACKEND).

    >>> tensor([[1.0, 2.0]]).dtype.name, tensor([1]).dtype.name
    ('float32', 'int64')
    """
    if isinstance(data, Variable):
        data = data._data
    elif isinstance(data, (list, tuple)) and any(isinstance(x, Variable) for x in data):
        raise DTypeError("tensor: a list of Tensors would lose their gradients; write tinygrad_zoo.stack([...])")
    return Tensor(backend.asarray(data, dtype, device), requires_grad)


def as_tensor(data: Any) -> Tensor:
    """`data` itself if it is a Tensor; a Tensor on the memory of `data` if it is an array; else `tensor(data)`."""
    if isinstance(data, Tensor):
        return data
    return Tensor(data) if hasattr(data, "dtype") and hasattr(data, "shape") and data.ndim else tensor(data)


def _sizes(shape: tuple[Any, ...]) -> tuple[int, ...]:
    """The sizes of an array from how they were written: f(2, 3) or f((2, 3))."""
    sizes = tuple(shape[0]) if len(shape) == 1 and isinstance(shape[0], (tuple, list)) else shape
    if not all(hasattr(n, "__index__") and not isinstance(n, bool) and int(n) >= 0 for n in sizes):
        raise ShapeError(f"expected sizes >= 0, as in (2, 3), got {sizes!r}; dtype= and device= go by name")
    return tuple(int(n) for n in sizes)


def zeros(*shape: Any, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """Zeros, of the shape written as zeros(2, 3) or zeros((2, 3)).

    >>> zeros(2).tolist()
    [0.0, 0.0]
    """
    return tensor(np.zeros(_sizes(shape), dtype), device=device)


def ones(*shape: Any, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """Ones, of the shape written as ones(2, 3) or ones((2, 3)).

    >>> ones(2).tolist()
    [1.0, 1.0]
    """
    return tensor(np.ones(_sizes(shape), dtype), device=device)


def full(shape: int | tuple[int, ...], value: float, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """`value` everywhere.

    >>> full((2,), 3.0).tolist()
    [3.0, 3.0]
    """
    return tensor(np.full(shape, value, dtype), device=device)


def arange(start: float, stop: float | None = None, step: float = 1, device: str | None = None) -> Tensor:
    """start, start + step, … before stop; `arange(n)` counts from 0. Integers give int64, floats float32.

    >>> arange(3).tolist()
    [0, 1, 2]
    """
    values = np.arange(start) if stop is None else np.arange(start, stop, step)
    return tensor(values, dtype="float32" if values.dtype.kind == "f" else None, device=device)


def eye(n: int, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """The identity matrix.

    >>> eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return tensor(np.eye(n, dtype=dtype), device=device)


def randn(*shape: Any, rng: np.random.Generator, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """Standard normal numbers, drawn on the host so that every device gets the same.

    >>> randn(2, 3, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    return tensor(rng.standard_normal(_sizes(shape)).astype(dtype), device=device)


def rand(*shape: Any, rng: np.random.Generator, dtype: Any = "float32", device: str | None = None) -> Tensor:
    """Uniform numbers in [0, 1), drawn on the host so that every device gets the same.

    >>> rand(2, rng=np.random.default_rng(0)).shape
    (2,)
    """
    return tensor(rng.random(_sizes(shape)).astype(dtype), device=device)

"""Tensor: an array with a history. Its methods are the ops."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from . import backend, ops
from .autograd import Op, alias, backward
from .casts import Casts
from .elsewhere import TENSOR, Elsewhere
from .errors import DeviceError, DTypeError, GradientError, IndexingError, ShapeError
from .grad_mode import state
from .interop import Interop, import_dlpack
from .variable import Variable, wrap


def _rebinding(op: Op) -> Any:
    """`x += y` as x = x + y, except where that would leave a parameter behind as it was."""

    def update(self: Any, other: Any) -> Any:
        if self.node is None and self._requires_grad:
            raise GradientError(
                f"{op}: an assignment like x += y gives x a new tensor and leaves the leaf it was unchanged, and this "
                "leaf requires a gradient: write x = x + y for a new tensor, x.data = x.data - lr * x.grad.data for an "
                "update, or let an optimizer do it"
            )
        return op(self, other)

    return update


class Tensor(Casts, Interop):
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

    def dim(self) -> int:
        return int(self._data.ndim)

    def numel(self) -> int:
        return int(self._data.size)

    def __len__(self) -> int:
        if not self._data.shape:
            raise DTypeError(f"len: {self!r}: a 0-d tensor has no length; read it with .item()")
        return int(self._data.shape[0])

    def __repr__(self) -> str:
        text = np.array2string(backend.to_host(self._read("repr()")), separator=", ", prefix="tensor(", threshold=60)
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
        return format(self._one("format", ".tolist()"), spec) if spec else repr(self)

    # ---- its values, outside the graph
    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as a NumPy array: shared on the host (writes through it go undetected), a copy from a device."""
        return backend.to_host(self._read("numpy()"))

    def item(self) -> Any:
        """The value of a tensor of one element, as a Python number."""
        return self._one("item", ".tolist()")

    def tolist(self) -> Any:
        return backend.to_host(self._read("tolist()")).tolist()

    def detach(self) -> Tensor:
        """The same memory outside the graph."""
        detached: Tensor = wrap(Tensor, self._data, version=self.version)
        if state.recorder is not None:
            state.recorder.keep(detached)
        return detached

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Set `requires_grad` and return the tensor."""
        self.requires_grad = requires_grad
        return self

    def to(self, target: Any) -> Any:
        """The tensor in another dtype ('float64') or on another device ('cpu', 'cupy', 'cupy:1')."""
        if backend.is_device(target):
            device = backend.resolve(target)
            return self if device == self.device else ops.to_device(self, device=device)
        dtype = backend.real_dtype(target, "to: expected a dtype or a device ('cpu', 'cupy:0')")
        return self if dtype == self.dtype else ops.astype(self, dtype=dtype)

    def __bool__(self) -> bool:
        return bool(self._one("bool", ".any() or .all()"))

    def __int__(self) -> int:
        return int(self._one("int", ".astype('int64')"))

    def __float__(self) -> float:
        return float(self._one("float", ".astype('float64')"))

    def __complex__(self) -> complex:
        return complex(self._one("complex", ".numpy().astype(complex)"))

    def __index__(self) -> int:
        if self._data.dtype.kind not in "iu":
            raise DTypeError(f"index: only integer tensors can be an index, this one is {self.dtype}: write int(x)")
        return int(self._one("index", ".tolist()"))

    def _one(self, who: str, instead: str) -> Any:
        """The value of the only element, as a Python number."""
        if self._data.size != 1:
            raise ShapeError(f"{who}: expected one element, this tensor has shape {self.shape}; use {instead}")
        return self._read(f"{who}()").item()

    def _read(self, who: str) -> Any:
        """The array, for `who` to take numbers out of."""
        return self._data if state.recorder is None else state.recorder.read(self, who)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    # ---- its gradient
    def backward(self, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False) -> None:
        """Add the gradient of this scalar to `.grad` of every leaf it was computed from.

        `gradient` weighs the elements of a non-scalar; with `create_graph` the gradients can be differentiated again.
        Graphs live as long as their tensors and may be walked again: `retain_graph` is accepted, and changes nothing.
        """
        backward([self], [self._seed(gradient)], create_graph=create_graph)

    def _seed(self, gradient: Any) -> Any:
        if not self._requires_grad:
            raise GradientError(
                "backward: this tensor was not computed from any that require a gradient, or under no_grad(): "
                "write requires_grad=True"
            )
        if gradient is None:
            if self._data.size != 1:
                raise GradientError(
                    f"backward: a tensor of shape {self.shape} has no gradient of its own: "
                    "reduce it (loss.sum(), loss.mean()) or pass gradient="
                )
            ones = self._data.copy()
            ones.fill(1)
            return wrap(Tensor, ones)
        gradient = gradient if isinstance(gradient, Variable) else tensor(gradient, device=self.device)
        if gradient._data.shape != self.shape:
            raise ShapeError(f"backward: expected a gradient of shape {self.shape}, got {gradient._data.shape}")
        if (there := backend.device_of(gradient._data)) != self.device:
            raise DeviceError(
                f"backward: this tensor is on {self.device}, its gradient on {there}: write gradient.to(...)"
            )
        return gradient

    # ---- its methods are the ops
    __add__ = __radd__ = add = ops.add
    __mul__ = __rmul__ = mul = ops.mul
    __sub__ = sub = ops.sub
    __truediv__ = div = ops.div
    __pow__ = pow = ops.pow
    __matmul__ = matmul = ops.matmul
    __mod__ = remainder = ops.remainder
    __floordiv__ = floor_divide = ops.floor_divide
    __and__ = __rand__ = bitwise_and = ops.bitwise_and
    __or__ = __ror__ = bitwise_or = ops.bitwise_or
    __xor__ = __rxor__ = bitwise_xor = ops.bitwise_xor
    __invert__ = bitwise_not = ops.bitwise_not
    __neg__ = neg = ops.neg
    __pos__ = alias
    __abs__ = abs = ops.abs
    __floor__ = floor = ops.floor
    __ceil__ = ceil = ops.ceil
    __trunc__ = trunc = ops.trunc
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

    def __rmod__(self, other: Any) -> Any:
        return ops.remainder(other, self)

    def __rfloordiv__(self, other: Any) -> Any:
        return ops.floor_divide(other, self)

    __iadd__, __isub__, __imul__, __itruediv__ = map(_rebinding, (ops.add, ops.sub, ops.mul, ops.div))
    __ipow__, __imatmul__, __imod__, __ifloordiv__ = map(
        _rebinding, (ops.pow, ops.matmul, ops.remainder, ops.floor_divide)
    )

    def __divmod__(self, other: Any) -> Any:
        return self // other, self % other

    def __rdivmod__(self, other: Any) -> Any:
        return other // self, other % self

    def __round__(self, digits: int | None = None) -> Any:
        return ops.round(self, decimals=digits or 0)

    def __getitem__(self, index: Any) -> Any:
        return ops.getitem(self, index=index)

    def __setitem__(self, index: Any, value: Any) -> None:
        raise IndexingError(
            f"x[{index!r}] = …: tensors are not written in place, so that gradients stay right: write "
            "x = tinygrad_zoo.index_put(x, index, value) or x = tinygrad_zoo.where(mask, value, x), or, on a leaf "
            "outside the graph, x.data[i] = value; x.mark_written()"
        )

    (
        square, sqrt, rsqrt, reciprocal, exp, exp2, expm1, log, log2, log10, log1p, logaddexp, logaddexp2, xlogy,
        hypot, erf, erfc, erfinv, lgamma, digamma, logit
    ) = (
        ops.square, ops.sqrt, ops.rsqrt, ops.reciprocal, ops.exp, ops.exp2, ops.expm1, ops.log, ops.log2, ops.log10,
        ops.log1p, ops.logaddexp, ops.logaddexp2, ops.xlogy, ops.hypot, ops.erf, ops.erfc, ops.erfinv, ops.lgamma,
        ops.digamma, ops.logit
    )  # fmt: skip
    sin, cos, tan, asin, acos, atan, atan2, sinh, cosh, tanh, asinh, acosh, atanh, sinc, deg2rad, rad2deg = (
        ops.sin, ops.cos, ops.tan, ops.asin, ops.acos, ops.atan, ops.atan2, ops.sinh, ops.cosh, ops.tanh, ops.asinh,
        ops.acosh, ops.atanh, ops.sinc, ops.deg2rad, ops.rad2deg
    )  # fmt: skip
    (
        sign, copysign, heaviside, round, frac, fmod, fmax, fmin, maximum, minimum, clip, clamp, nan_to_num, lerp,
        addcmul, addcdiv
    ) = (
        ops.sign, ops.copysign, ops.heaviside, ops.round, ops.frac, ops.fmod, ops.fmax, ops.fmin, ops.maximum,
        ops.minimum, ops.clip, ops.clamp, ops.nan_to_num, ops.lerp, ops.addcmul, ops.addcdiv
    )  # fmt: skip
    relu, sigmoid, softmax, log_softmax = (
        ops.relu, ops.sigmoid, ops.softmax, ops.log_softmax
    )  # fmt: skip
    isfinite, isinf, isnan, isclose, logical_and, logical_or, logical_xor, logical_not, all, any = (
        ops.isfinite, ops.isinf, ops.isnan, ops.isclose, ops.logical_and, ops.logical_or, ops.logical_xor,
        ops.logical_not, ops.all, ops.any
    )  # fmt: skip
    (
        sum, nansum, mean, nanmean, prod, var, std, max, min, amax, amin, median, argmax, argmin, norm, logsumexp,
        count_nonzero
    ) = (
        ops.sum, ops.nansum, ops.mean, ops.nanmean, ops.prod, ops.var, ops.std, ops.max, ops.min, ops.amax,
        ops.amin, ops.median, ops.argmax, ops.argmin, ops.norm, ops.logsumexp, ops.count_nonzero
    )  # fmt: skip
    cumsum, cumprod, cummax, cummin, logcumsumexp, diff = (
        ops.cumsum, ops.cumprod, ops.cummax, ops.cummin, ops.logcumsumexp, ops.diff
    )  # fmt: skip
    sort, argsort, topk, kthvalue = (
        ops.sort, ops.argsort, ops.topk, ops.kthvalue
    )  # fmt: skip
    (
        reshape, flatten, unflatten, permute, transpose, swapaxes, movedim, moveaxis, expand_dims, unsqueeze,
        squeeze, broadcast_to, expand, flip, roll
    ) = (
        ops.reshape, ops.flatten, ops.unflatten, ops.permute, ops.transpose, ops.swapaxes, ops.movedim,
        ops.moveaxis, ops.expand_dims, ops.unsqueeze, ops.squeeze, ops.broadcast_to, ops.expand, ops.flip, ops.roll
    )  # fmt: skip
    (
        split, chunk, tensor_split, unbind, narrow, tile, repeat_interleave, tril, triu, diag, diagonal, diag_embed,
        trace
    ) = (
        ops.split, ops.chunk, ops.tensor_split, ops.unbind, ops.narrow, ops.tile, ops.repeat_interleave, ops.tril,
        ops.triu, ops.diag, ops.diagonal, ops.diag_embed, ops.trace
    )  # fmt: skip
    (
        take, take_along_axis, take_along_dim, gather, scatter, scatter_add, index_select, index_add, index_put,
        masked_fill, masked_select, nonzero, argwhere
    ) = (
        ops.take, ops.take_along_axis, ops.take_along_dim, ops.gather, ops.scatter, ops.scatter_add,
        ops.index_select, ops.index_add, ops.index_put, ops.masked_fill, ops.masked_select, ops.nonzero,
        ops.argwhere
    )  # fmt: skip
    dot, outer, kron, cross, inv, det, slogdet, cholesky, qr, svd, pinv, matrix_power = (
        ops.dot, ops.outer, ops.kron, ops.cross, ops.inv, ops.det, ops.slogdet, ops.cholesky, ops.qr, ops.svd,
        ops.pinv, ops.matrix_power
    )  # fmt: skip
    astype, view = ops.astype, ops.reshape
    copy = clone = ops.copy
    repeat = ops.tile

    def polygamma(self, n: int) -> Any:
        """The derivative of order n of `digamma`."""
        return ops.polygamma(n, self)

    def cpu(self) -> Any:
        """The tensor on the host."""
        return self.to(backend.HOST)

    def t(self) -> Any:
        """A matrix transposed; a vector as it is."""
        if self.ndim > 2:
            raise ShapeError(f"t: expected at most 2 axes, got {self.shape}: write x.mT for the last two")
        return self.T

    @property
    def T(self) -> Any:
        """All axes reversed."""
        return ops.permute(self, dims=tuple(range(self.ndim))[::-1])

    @property
    def mT(self) -> Any:
        """The last two axes exchanged."""
        return ops.swapaxes(self, axis1=-1, axis2=-2)


Variable.result_type = Tensor
for _name in TENSOR:  # by name, since a __getattr__ would make every attribute of every Tensor slower to read
    setattr(Tensor, _name, Elsewhere("Tensor", _name, TENSOR))


def tensor(data: Any, dtype: Any = None, device: str | None = None, requires_grad: bool = False) -> Tensor:
    """A new Tensor with a copy of `data`: numbers, nested lists, an array or a Tensor.

    It begins a graph of its own, outside that of the data. Python floats become float32, Python ints int64; arrays keep
    their dtype. The device is that of the data, or the default one (TINYGRAD_ZOO_BACKEND).

    >>> tensor([[1.0, 2.0]]).dtype.name, tensor([1]).dtype.name
    ('float32', 'int64')
    """
    if state.recorder is not None:
        data = state.recorder.opened(data)
    if state.recorder is not None and (isinstance(data, Variable) or backend.is_array(data)):
        array = _copied_by_ops(data._data if isinstance(data, Variable) else data, dtype, device)
    elif _holds_tensors(data) and not isinstance(data, Variable):
        raise DTypeError("tensor: a list of Tensors would lose their gradients; write tinygrad_zoo.stack([...])")
    else:
        array = backend.asarray(_native(data._data if isinstance(data, Variable) else data), dtype, device)
    if requires_grad and array.dtype.kind != "f":
        raise DTypeError(
            f"tensor: requires_grad=True, but only floating-point tensors have gradients, not {array.dtype}: "
            "write dtype='float32', or tensor.to('float32')"
        )
    return Tensor(array, requires_grad)


def _copied_by_ops(array: Any, dtype: Any, device: str | None) -> Any:
    """The copy that `tensor` makes, so that `capture` sees it and a replay makes it too."""
    copied = ops.copy(Tensor(array))
    copied = copied if dtype is None else copied.to(dtype)
    device = backend.default_device() if device is None and backend.on_host(array) else device
    return (copied if device is None else copied.to(device))._data


def _holds_tensors(data: Any) -> bool:
    return isinstance(data, Variable) or (isinstance(data, (list, tuple)) and any(map(_holds_tensors, data)))


def _native(data: Any) -> Any:
    """`data`, or NumPy's or CuPy's array on its memory where it is an array of another library."""
    foreign = hasattr(data, "__dlpack__") and not hasattr(data.dtype, "kind")
    return import_dlpack(data) if foreign else data


def as_tensor(data: Any) -> Tensor:
    """`data` itself if it is a Tensor; a Tensor on the memory of `data` if it is an array; else `tensor(data)`."""
    if isinstance(data, Tensor):
        return data
    data = _native(data)
    return Tensor(data) if hasattr(data, "dtype") and hasattr(data, "shape") and data.ndim else tensor(data)

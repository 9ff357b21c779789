"""What we have of the Python array API standard (2024.12), under its names: `x.__array_namespace__()`.

https://data-apis.org/array-api. A function here is our op, with the standard's argument order and defaults where those
differ from PyTorch's, which the ops follow. A name of the standard that we do not have raises an AttributeError.
"""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np

from . import creation, dtypes, ops
from .interop import our_op
from .tensor import Tensor

VERSIONS = ("2021.12", "2022.12", "2023.12", "2024.12")

# The standard's functions that are our ops or creation functions, by name or by STANDARD_NAMES.
_AS_THEY_ARE = """
abs acos acosh add all any arange argmax argmin asarray asin asinh astype atan atan2 atanh bitwise_and bitwise_invert
bitwise_or bitwise_xor broadcast_to ceil clip concat copysign cos cosh count_nonzero divide equal exp expand_dims expm1
eye flip floor floor_divide from_dlpack full full_like greater greater_equal hypot isfinite isinf isnan less less_equal
linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or logical_xor matmul max maximum mean min
minimum moveaxis multiply negative not_equal ones ones_like permute_dims pow prod reciprocal remainder reshape roll
round sign sin sinh sqrt square squeeze stack subtract sum take_along_axis tan tanh tensordot tile tril triu trunc where
zeros zeros_like
"""
_FOUND = {name: getattr(creation, name) if name in creation.__all__ else our_op(name) for name in _AS_THEY_ARE.split()}
_FOUND |= {name: getattr(dtypes, name) for name in dtypes.NAMES if name != "float16"}  # which the standard has not

e, inf, nan, newaxis, pi = math.e, math.inf, math.nan, None, math.pi


# ---- dtypes
def _dtype(x: Any) -> Any:
    return x.dtype if isinstance(x, Tensor) else x


def finfo(type: Any) -> Any:
    """The limits of a floating-point dtype, or of a Tensor's."""
    return np.finfo(_dtype(type))


def iinfo(type: Any) -> Any:
    """The limits of an integer dtype, or of a Tensor's."""
    return np.iinfo(_dtype(type))


def isdtype(dtype: Any, kind: Any) -> Any:
    """Whether a dtype is of a kind: 'real floating', 'integral', 'bool', …"""
    return np.isdtype(dtype, kind)


def can_cast(from_: Any, to: Any) -> Any:
    """Whether promotion may turn the one dtype into the other."""
    return np.can_cast(_dtype(from_), to)


def result_type(*arrays_and_dtypes: Any) -> Any:
    """The dtype that arithmetic between these has."""
    return np.result_type(*map(_dtype, arrays_and_dtypes))


# ---- functions that PyTorch, and so our op, has otherwise
def var(x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: Any = False) -> Any:
    """The variance, with divisor n unless `correction` says otherwise."""
    return ops.var(x, axis=axis, correction=correction, keepdims=keepdims)


def std(x: Any, *, axis: Any = None, correction: float = 0.0, keepdims: Any = False) -> Any:
    """√var"""
    return ops.std(x, axis=axis, correction=correction, keepdims=keepdims)


def sort(x: Any, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Any:
    """The values in order, alone."""
    return ops.sort(x, axis=axis, descending=descending, stable=stable)[0]


def argsort(x: Any, *, axis: int = -1, descending: Any = False, stable: Any = True) -> Any:
    """The indices of the values in order."""
    return ops.argsort(x, axis=axis, descending=descending, stable=stable)


def nonzero(x: Any) -> Any:
    """An array of indices an axis."""
    return ops.nonzero(x, as_tuple=True)


def searchsorted(x1: Any, x2: Any, *, side: str = "left", sorter: Any = None) -> Any:
    """Where x2 belongs in x1."""
    return ops.searchsorted(x1, x2, sorter, side=side)


def take(x: Any, indices: Any, *, axis: int | None = None) -> Any:
    """x at `indices` along `axis`, which only a vector may leave out."""
    return ops.take_along_axis(x, indices, axis=0) if axis is None else ops.index_select(x, axis, indices)


def unstack(x: Any, *, axis: int = 0) -> Any:
    """The layers of x along `axis`."""
    return ops.unbind(x, axis=axis)


def repeat(x: Any, repeats: Any, *, axis: int | None = None) -> Any:
    """Each element, or layer along `axis`, so many times in a row."""
    return ops.repeat_interleave(x, repeats=repeats, axis=axis)


def meshgrid(*arrays: Any, indexing: str = "xy") -> Any:
    """Coordinates of a grid, the first two axes exchanged in "xy"."""
    return list(ops.meshgrid(*arrays, indexing=indexing))


def cumulative_sum(x: Any, *, axis: int | None = None, dtype: Any = None) -> Any:
    """Σ of all up to here along `axis`, which only a vector may leave out."""
    return ops.cumsum(x, axis=_only_axis(x, axis), dtype=dtype)


def cumulative_prod(x: Any, *, axis: int | None = None, dtype: Any = None) -> Any:
    """Π of all up to here along `axis`, which only a vector may leave out."""
    return ops.cumprod(x, axis=_only_axis(x, axis), dtype=dtype)


def matrix_transpose(x: Any) -> Any:
    """The last two axes exchanged."""
    return ops.swapaxes(x, axis1=-1, axis2=-2)


def broadcast_arrays(*arrays: Any) -> list[Any]:
    """All of them in the one shape they broadcast to."""
    shape = np.broadcast_shapes(*(a.shape for a in arrays))
    return [ops.broadcast_to(a, shape=shape) for a in arrays]


def _only_axis(x: Any, axis: int | None) -> int:
    return 0 if axis is None and x.ndim == 1 else axis  # type: ignore[return-value]  # the op refuses None


# ---- the extension linalg
def _diagonal(x: Any, *, offset: int = 0) -> Any:
    """The diagonals of the matrices in the last two axes."""
    return ops.diagonal(x, offset=offset, dim1=-2, dim2=-1)


def _trace(x: Any, *, offset: int = 0, dtype: Any = None) -> Any:
    """The sums of those diagonals."""
    return ops.sum(_diagonal(x, offset=offset), axis=-1, dtype=dtype)


def _vector_norm(x: Any, *, axis: Any = None, keepdims: Any = False, ord: Any = 2) -> Any:
    """(Σ |x|ᵒ)^(1/o) over `axis`."""
    return ops.vector_norm(x, p=ord, axis=axis, keepdims=keepdims)


_LINALG = "cholesky cross det eigh eigvalsh inv matmul matrix_norm matrix_power matrix_rank outer pinv qr slogdet solve"
_LINALG += " svd svdvals tensordot"
linalg = SimpleNamespace(
    **{name: our_op(name) for name in _LINALG.split()},
    diagonal=_diagonal,
    matrix_transpose=matrix_transpose,
    trace=_trace,
    vector_norm=_vector_norm,
)


def positive(x: Any) -> Any:
    """+x"""
    return +x


def __getattr__(name: str) -> Any:
    if name in _FOUND:
        return _FOUND[name]
    raise AttributeError(f"tinygrad_zoo.array_api has no {name!r}")


def __dir__() -> list[str]:
    own = {name for name in globals() if not name.startswith("_")} - _NOT_OURS
    return sorted(own | _FOUND.keys())


_NOT_OURS = {"SimpleNamespace", "Tensor", "Any", "annotations", "creation", "dtypes", "math", "np", "ops", "our_op"}

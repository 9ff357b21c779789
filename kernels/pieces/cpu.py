"""What kernels over pieces are written with.

    for part in prange(parts):
        first, last = share(part, parts, p.size)
        for k in range(addresses.size):
            here = overlap(bounds, k, first, last)
            g, p_k = piece(p, addresses, bounds, k, here), p[here]
            for i in range(g.size):
                ...

Most of the overlaps of a part are empty: passing over them takes a few nanoseconds each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import carray, types
from numba.extending import intrinsic

from ..jit import helper, kernel

# Where a NumPy array's fields lie from the address of the object on, `id(array)`. Every compiled extension relies on
# this layout (PyArrayObject_fields in numpy/ndarraytypes.h), so it stays as it is. Reading it takes 2 µs for 20 arrays;
# `array.ctypes.data` takes 35.
_HEAD = object.__basicsize__  # ends with the address of the object's type
_TYPE, _DATA, _NDIM, _SHAPE, _DTYPE, _FLAGS = _HEAD - 8, _HEAD, _HEAD + 8, _HEAD + 16, _HEAD + 40, _HEAD + 48
_CARRAY = 0x1 | 0x100 | 0x400  # C-contiguous, aligned, writable


@intrinsic
def _pointer(context: Any, address: Any) -> Any:
    """An int64 as a pointer."""

    def code(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.inttoptr(values[0], context.get_value_type(types.voidptr))

    return types.voidptr(types.int64), code


@helper
def _read(address: Any, dtype: Any) -> Any:
    """The number at an address."""
    return carray(_pointer(address), 1, dtype)[0]


@kernel("void(i8[::1], i8, i8, i8[::1], i8[::1])")
def locate(objects: Any, kind: Any, dtype: Any, bounds: Any, addresses: Any) -> None:
    """Fill in where the elements of the arrays lie, up to one that isn't contiguous, of this type, dtype and size."""
    for k in range(objects.size):
        array = objects[k]
        if _read(array + _TYPE, np.int64) != kind:
            return
        flags, shape = _read(array + _FLAGS, np.int32), _read(array + _SHAPE, np.int64)
        if flags & _CARRAY != _CARRAY or _read(array + _DTYPE, np.int64) != dtype:
            return
        size = 1
        for axis in range(_read(array + _NDIM, np.int32)):
            size *= _read(shape + 8 * axis, np.int64)
        if size != bounds[k + 1] - bounds[k]:
            return
        addresses[k] = _read(array + _DATA, np.int64)


@helper
def share(part: Any, parts: Any, size: Any) -> Any:
    """The first and the last element of a part, without the last; no two parts write to one cache line."""
    first, last = part * size // parts, (part + 1) * size // parts
    return first // 16 * 16, last if part + 1 == parts else last // 16 * 16


@helper
def overlap(bounds: Any, k: Any, first: Any, last: Any) -> Any:
    """Which of the flat elements first … last lie in piece k, as a slice, perhaps empty."""
    start = max(first, bounds[k])
    return slice(start, max(start, min(last, bounds[k + 1])))


@helper
def piece(like: Any, addresses: Any, bounds: Any, k: Any, here: Any) -> Any:
    """The flat elements `here`, a slice within piece k, as an array of the dtype of `like`."""
    return carray(_pointer(addresses[k] + (here.start - bounds[k]) * like.itemsize), here.stop - here.start, like.dtype)

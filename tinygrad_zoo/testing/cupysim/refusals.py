"""What may be an argument or an index of the stand-in: memory of the device, numbers, and what is read on the host."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from .transfers import download

SCALARS = (bool, int, float, complex, np.generic)
# Parameters that take device arrays, never lists of numbers, which CuPy refuses or uploads without a word.
ARRAYS = {"a", "x", "x1", "m", "arr", "ary", "array", "condition", "v", "indices", "b", "ar", "weights", "values"}
# Parameters that take several device arrays.
SEVERAL = {"tup", "arrays", "seq"}
# What CuPy reads on the host: parameters of every function, and by function.
SETTINGS = {"shape", "axis", "axis1", "axis2", "axes", "k", "N", "num", "reps", "offset", "decimals"}
READ_HERE = {
    "repeat": "repeats",
    "split": "indices_or_sections",
    "array_split": "indices_or_sections",
    "linspace": "num",
    "roll": "shift",
    "pad": "pad_width",
}
# What takes numbers in place of its first array.
OF_NUMBERS = {"isscalar", "shape", "ndim", "size", "result_type", "can_cast", "iscomplexobj", "isrealobj", "arange"}


class DeviceArray:
    """Memory of the device: what `ndarray` gives methods to."""

    __slots__ = ("__weakref__", "_values")
    _values: Any


def unwrap(value: Any, what: str) -> Any:
    """`value` with the memory of device arrays in their place; host arrays are refused."""
    if isinstance(value, DeviceArray):
        return value._values
    if isinstance(value, np.ndarray):
        raise TypeError(f"{what}: Unsupported type {type(value)}: a host array among device arrays; upload it first")
    if isinstance(value, (list, tuple)):
        return type(value)([unwrap(v, what) for v in value])
    return value


def leaves(value: Any) -> Iterator[Any]:
    """What nested lists and tuples hold."""
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from leaves(v)
    else:
        yield value


def check(name: str, short: str, arguments: dict[str, Any]) -> None:
    """Refuse what CuPy refuses or would upload without a word: host arrays, lists of numbers, numbers for arrays."""
    for key, value in arguments.items():
        if not isinstance(value, (DeviceArray, np.ndarray, list, tuple)):
            continue
        held = list(leaves(value))
        on_device = any(isinstance(v, DeviceArray) for v in held)
        if any(isinstance(v, np.ndarray) for v in held):
            raise TypeError(f"{name}: Unsupported type numpy.ndarray ({key}): a host array; upload it first")
        numbers = not on_device and key != "q"
        if numbers and (key in ARRAYS or any(isinstance(v, float) for v in held)):
            raise TypeError(f"{name}: Unsupported type {type(value)} ({key}): numbers on the host; upload them first")
        if key in SEVERAL and not all(isinstance(v, DeviceArray) for v in held):
            raise TypeError(f"{name}: only device arrays can be joined, not numbers with them")
        if on_device and (READ_HERE.get(short) == key or (key in SETTINGS and name.startswith("cupy."))):
            raise TypeError(f"{name}: {key} is read on the host; expected integers, not device arrays")
    first = next(iter(arguments), None)
    if first in ARRAYS and isinstance(arguments[first], SCALARS) and short not in OF_NUMBERS:
        raise TypeError(f"{name}: expected a device array ({first}), got {arguments[first]!r}")
    if arguments.get("kind") not in (None, "stable"):
        raise ValueError(f"{name}: kind is None or 'stable' in CuPy")


def key_of(index: Any) -> Any:
    """NumPy's index for `index`, after refusing what CuPy would upload or not understand.

    An ellipsis is added, so that a single element comes out as a 0-d view, not as a copied scalar.
    """
    parts = index if isinstance(index, tuple) else (index,)
    masks = 0
    for part in parts:
        if isinstance(part, (np.ndarray, list, tuple)):
            raise TypeError(f"a {type(part).__name__} on the host as index of a device array: upload it first")
        if isinstance(part, slice) and any(isinstance(p, DeviceArray) for p in (part.start, part.stop, part.step)):
            raise TypeError("slice bounds are read on the host: expected integers, not device arrays")
        if isinstance(part, DeviceArray):
            dtype = part._values.dtype
            if dtype.kind not in "iub":
                raise IndexError(f"arrays used as indices must be of integer or boolean type, not {dtype}")
            masks += dtype.kind == "b"
    if masks > 1:
        raise IndexError("CuPy takes one boolean array in an index")
    if masks:
        download("indexing by a boolean array")
    key = tuple(unwrap(part, "index") for part in parts)
    return key if any(part is Ellipsis for part in parts) else (*key, Ellipsis)


def refuse_repeated(memory: Any, key: tuple[Any, ...]) -> None:
    """`a[i] = v` with an index that is there twice: which value stays is undefined in CuPy."""
    if any(isinstance(part, np.ndarray) and part.dtype != bool for part in key):
        written = np.arange(memory.size).reshape(memory.shape)[key]
        if np.unique(written).size != written.size:
            raise ValueError("repeated indices in a[i] = v: undefined on a device; use add.at or unique indices")

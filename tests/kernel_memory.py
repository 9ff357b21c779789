"""Arrays for tests of kernels: memory in which a load or a store of the wrong place shows."""

from __future__ import annotations

import ctypes
import math
import mmap
from typing import Any

import numpy as np

MARGIN = 136  # bytes: more than two of the widest vectors, and vectors there are not aligned
PROT_NONE = 0  # of mprotect


class Places:
    """`numpy` for a module of kernels: new arrays lie where `memory` puts them, and hold NaN until they are written."""

    def __getattr__(self, name: str) -> Any:
        return getattr(np, name)

    def memory(self, count: int) -> np.ndarray:
        """So many bytes, all 255: of floats NaN, of integers -1."""
        return np.full(count, 255, np.uint8)

    def read_only(self, array: np.ndarray) -> np.ndarray:
        """What is done with an array that kernels are to read and never to write."""
        array.setflags(write=False)
        return array

    def check(self) -> None:
        """Raise if something was written beside an array; then all arrays made so far are done with."""

    def empty(self, shape: Any, dtype: Any = np.float64) -> np.ndarray:
        shape, dtype = (shape if isinstance(shape, tuple) else (shape,)), np.dtype(dtype)
        return self.memory(math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)

    def zeros(self, shape: Any, dtype: Any = np.float64) -> np.ndarray:
        made = self.empty(shape, dtype)
        made[...] = 0
        return made

    def array(self, values: Any, dtype: Any = None) -> np.ndarray:
        values = np.asarray(values, dtype)
        made = self.empty(values.shape, values.dtype)
        made[...] = values
        return made

    ascontiguousarray = array

    def laid(self, values: np.ndarray, layout: str = "C") -> np.ndarray:
        """The values in one of LAYOUTS, with NaN in the gaps."""
        if layout in ("one row", "one column"):  # repeated with stride 0: these change the values
            first = values[:1] if layout == "one row" else values[:, :1]
            return np.broadcast_to(self.laid(first), values.shape)
        order, step, pad = LAYOUTS[layout]
        axes = range(values.ndim)
        order = {"C": (*axes,), "F": (*reversed(axes),), "last": (0, *axes[2:], 1)}[order]
        inner = values.transpose(order)
        full = [n * abs(step) for n in inner.shape]
        full[-1] += pad if full[-1] else 0
        whole = self.empty(tuple(full), values.dtype)
        view = whole[tuple(slice(0, n * abs(step), abs(step)) for n in inner.shape)]
        view = view[(slice(None, None, -1),) * view.ndim] if step < 0 else view
        view[...] = inner
        return self.read_only(view.transpose(np.argsort(order)))


# Which axis lies innermost, the step along each of them, and how many entries lie between two innermost lines.
LAYOUTS: dict[str, tuple[str, int, int]] = {
    "C": ("C", 1, 0),
    "F": ("F", 1, 0),
    "rows apart": ("C", 1, 5),
    "columns apart": ("F", 1, 5),
    "rows far apart": ("C", 1, 300),
    "columns far apart": ("F", 1, 300),
    "strided": ("C", 2, 0),
    "negative": ("C", -1, 0),
    "negative F": ("F", -1, 3),
    "negative strided": ("C", -2, 1),
    "channels last": ("last", 1, 0),
}
MATRICES = (*(name for name in LAYOUTS if name != "channels last"), "one row", "one column")


class Canaries(Places):
    """Arrays with margins."""

    def __init__(self) -> None:
        self.whole: list[tuple[np.ndarray, int]] = []

    def memory(self, count: int) -> np.ndarray:
        whole = np.full(count + 2 * MARGIN, 255, np.uint8)
        self.whole.append((whole, count))
        return whole[MARGIN : MARGIN + count]

    def check(self) -> None:
        for whole, count in self.whole:
            assert (whole[:MARGIN] == 255).all(), "a store before an array"
            assert (whole[MARGIN + count :] == 255).all(), "a store behind an array"
        self.whole.clear()


class Pages(Places):
    """Arrays at the end, or the beginning, of memory beyond which any load or store kills the process."""

    def __init__(self, at_end: bool) -> None:
        self.at_end = at_end
        self.kept: list[mmap.mmap] = []
        self.free: dict[int, list[np.ndarray]] = {}
        self.used: list[np.ndarray] = []
        self.protect = ctypes.CDLL(None, use_errno=True).mprotect
        self.protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)

    def memory(self, count: int) -> np.ndarray:
        pages = -(-count // mmap.PAGESIZE)
        inner = self.free[pages].pop() if self.free.get(pages) else self._mapped(pages)
        self.used.append(inner)
        inner[:] = 255
        return inner[len(inner) - count :] if self.at_end else inner[:count]

    def _mapped(self, pages: int) -> np.ndarray:
        size = (pages + 2) * mmap.PAGESIZE
        self.kept.append(mmap.mmap(-1, size))
        whole = np.frombuffer(self.kept[-1], np.uint8)
        for guard in (whole, whole[size - mmap.PAGESIZE :]):
            if self.protect(guard.ctypes.data, mmap.PAGESIZE, PROT_NONE):
                raise OSError(ctypes.get_errno(), "mprotect")
        return whole[mmap.PAGESIZE : size - mmap.PAGESIZE]

    def read_only(self, array: np.ndarray) -> np.ndarray:
        return array

    def check(self) -> None:
        for inner in self.used:
            self.free.setdefault(len(inner) // mmap.PAGESIZE, []).append(inner)
        self.used.clear()

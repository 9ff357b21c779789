"""The explicit-vector kernels as plain Python, with vectors of any width, on memory of which each access is checked.

`Emulation(width, registers)` runs the text of kernels/gemm, conv and attention with other modules in the place of some:
`jit` compiles nothing, `vector` loads and stores through a Memory, and new arrays are those of `Places`. What compiled
code would do out of bounds, or to an array that it should only read, raises Fault here, of scratch memory inside a
kernel too.
"""

from __future__ import annotations

import bisect
import ctypes
import itertools
import sys
from collections.abc import Callable
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.util import spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from llvmlite import ir
from numpy.lib.array_utils import byte_bounds

from kernel_memory import Places
from tinygrad_zoo import kernels
from tinygrad_zoo.kernels import threads
from tinygrad_zoo.kernels.jit import COMPILED

INT = np.dtype(np.int64)
FOLDER = Path(kernels.__file__).parent
_count = itertools.count()


class Fault(AssertionError):
    """An access that a kernel must not make."""


class Memory(Places):
    """The bytes that may be loaded and stored: those of arrays that were made here or that a kernel asks for."""

    def __init__(self) -> None:
        self.check()

    def check(self) -> None:
        self.starts: list[int] = []
        self.regions: list[Region] = []
        self.named: dict[int, tuple[int, np.ndarray]] = {}

    def address(self, array: np.ndarray) -> int:
        """gemm.cpu's `address`: the array's bytes, and no others between them, may be used from now on."""
        if id(array) not in self.named:
            if array.size:
                self.region_of(array).allow(array)
            self.named[id(array)] = int(array.ctypes.data), array
        return self.named[id(array)][0]

    def entries(self, like: Any, address: int, rows: int, columns: int) -> np.ndarray:
        """gemm.cpu's `entries`; read-only where the array is."""
        count, size = int(rows * columns), like.dtype.itemsize
        if not count:
            return np.empty((int(rows), int(columns)), like.dtype)
        region = self.regions[bisect.bisect(self.starts, int(address)) - 1]
        first = int(address) - region.start
        stores = region.stores.find(0, first, first + count * size) < 0
        found = self.at(address, count, like.dtype, stores).reshape(int(rows), int(columns))
        found.flags.writeable = stores
        return found

    def region_of(self, array: np.ndarray) -> Region:
        """That of the array whose memory it is."""
        while isinstance(array.base, np.ndarray):
            array = array.base
        low, _ = byte_bounds(array)
        i = bisect.bisect_left(self.starts, low)
        if i == len(self.starts) or self.starts[i] != low:
            self.starts.insert(i, low)
            self.regions.insert(i, Region(array))
        return self.regions[i]

    def at(self, address: int, count: int, dtype: np.dtype[Any], stores: bool) -> np.ndarray:
        """`count` numbers there."""
        address, bytes_each = int(address), dtype.itemsize
        region = self.regions[bisect.bisect(self.starts, address) - 1]
        first = address - region.start
        region.check(first, first + int(count) * bytes_each, stores)
        return np.frombuffer(region.bytes, dtype, int(count), first)

    def rows(self, addresses: np.ndarray, count: int, dtype: np.dtype[Any]) -> np.ndarray:
        """A copy of `count` numbers at each of the addresses, all of one array."""
        region = self.regions[bisect.bisect(self.starts, int(addresses.flat[0])) - 1]
        first, size = addresses - region.start, count * dtype.itemsize
        for start in first.flat:
            region.check(int(start), int(start) + size, False)
        return np.frombuffer(region.bytes, np.uint8)[first[..., None] + np.arange(size)].view(dtype)


class Region:
    """An array's memory: which bytes may be loaded, which may be stored."""

    def __init__(self, owner: np.ndarray) -> None:
        self.owner = owner  # kept, so that no other array gets its memory
        self.start, end = byte_bounds(owner)
        self.bytes = (ctypes.c_uint8 * (end - self.start)).from_address(self.start)
        self.loads, self.stores = bytearray(end - self.start), bytearray(end - self.start)

    def allow(self, array: np.ndarray) -> None:
        first = array.__array_interface__["data"][0] - self.start
        for allowed in (self.loads, self.stores) if array.flags.writeable else (self.loads,):
            shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
            np.lib.stride_tricks.as_strided(np.frombuffer(allowed, np.uint8)[first:], shape, strides)[...] = 1

    def check(self, first: int, last: int, stores: bool) -> None:
        allowed = self.stores if stores else self.loads
        if first < 0 or last > len(allowed) or allowed.find(0, first, last) >= 0:
            what = f"{'store to' if stores else 'load from'} bytes {first} … {last}"
            raise Fault(f"{what} of {self.owner.dtype}{list(self.owner.shape)}")


def _vector_module(width: int, registers: int, memory: Memory) -> ModuleType:
    """kernels/vector.py, on `memory`."""

    def load(like: Any, address: int, count: int) -> np.ndarray:
        return memory.at(address, count, like.dtype, False).copy()

    def store(like: Any, address: int, values: Any) -> None:
        memory.at(address, len(values), like.dtype, True)[:] = values

    def lanes(like: Any) -> int:
        return width // like.itemsize

    def peek(like: Any, address: int) -> Any:
        return memory.at(address, 1, like.dtype, False)[0]

    def poke(address: int, value: Any) -> None:
        dtype = value.dtype if isinstance(value, np.generic) else INT
        memory.at(address, 1, dtype, True)[0] = value

    def table(address: int, depth: int) -> np.ndarray:
        if depth < 1:
            raise Fault("a loop of no rounds")
        return memory.at(address, depth, INT, False)

    def tile(
        like: Any, rows: int, vectors: int, a: int, a_row: int, offsets: int, b: int, b_row: int, start: int,
        start_row: int, c: int, c_row: int, depth: int,
    ) -> None:  # fmt: skip
        count, down = vectors * lanes(like), np.arange(rows)
        left = memory.rows(a + a_row * down[:, None] + table(offsets, depth), 1, like.dtype)[..., 0]
        right = memory.rows(b + b_row * np.arange(depth), count, like.dtype)
        sums = memory.rows(start + start_row * down, count, like.dtype) + np.einsum("mk,kn->mn", left, right)
        for m in range(rows):
            store(like, c + m * c_row, sums[m])

    def lanewise(
        like: Any, rows: int, x: int, x_rows: int, offsets: int, w: int, w_row: int, start: int, start_row: int,
        y: int, y_row: int, depth: int,
    ) -> None:  # fmt: skip
        count = lanes(like)
        places = table(x_rows, rows)[:, None] + table(offsets, depth)
        seen = memory.rows(x + places, count, like.dtype)
        factors = memory.rows(w + w_row * np.arange(depth), count, like.dtype)
        sums = memory.rows(start + start_row * np.arange(rows), count, like.dtype) + (seen * factors).sum(axis=1)
        for m in range(rows):
            store(like, y + m * y_row, sums[m])

    def transpose(like: Any, source: int, source_row: int, target: int, target_row: int) -> None:
        rows = np.array([load(like, source + i * source_row, lanes(like)) for i in range(lanes(like))])
        for i, column in enumerate(rows.T):
            store(like, target + i * target_row, column)

    def copy(like: Any, source: int, target: int, count: int) -> None:
        if count < 1:
            raise Fault("a loop of no rounds")
        store(like, target, load(like, source, count * lanes(like)))

    def call(function: Callable[..., None], like: Any, arguments: tuple[int, ...]) -> None:
        function(like, *arguments)

    class Vectors:
        """Computes at once what vector.Vectors writes as IR."""

        def __init__(self, builder: Any, like: Any) -> None:
            self.builder, self.like = builder, like

        def load(self, address: int) -> np.ndarray:
            return load(self.like, address, lanes(self.like))

        def store(self, values: np.ndarray, address: int) -> None:
            store(self.like, address, values)

        def constant(self, value: float) -> Any:
            return self.like.dtype.type(value)

        def fma(self, x: Any, y: Any, z: Any) -> Any:
            return x * y + z

    module = ModuleType("vector")
    named = (lanes, peek, poke, tile, lanewise, transpose, copy, call, Vectors)
    vars(module).update({f.__name__: f for f in named})
    module.vector_bytes, module.registers = lambda: width, lambda: registers
    module.keep = lambda array: None
    module.pointer = None  # `entries` is the memory's
    module.addresses = lambda count: [None] * count
    module.written = lambda result, arguments, write: write
    return module


def _number(x: Any) -> Any:
    return x.constant if isinstance(x, ir.Constant) else x


EAGER = SimpleNamespace(  # an IR builder that computes at once
    add=lambda x, y: _number(x) + _number(y),
    mul=lambda x, y: _number(x) * _number(y),
    fadd=lambda x, y: x + y,
    fsub=lambda x, y: x - y,
    fmul=lambda x, y: x * y,
)


class _Any(dict[Any, Any]):
    """A kernel or routine: itself for every dtype and any number of parts."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __missing__(self, key: Any) -> Callable[..., Any]:
        return self.function


class Emulation(MetaPathFinder, Loader):
    """kernels.gemm.cpu, .conv.direct, .conv.cpu and .attention as gemm, direct, conv and attention, on `memory`.

    `changes` (module, old text, new text) plant faults.
    """

    def __init__(self, width: int, registers: int, *changes: tuple[str, str, str]) -> None:
        self.memory, self.changes = Memory(), changes
        self.root = f"emulated_kernels_{next(_count)}"
        jit = ModuleType("jit")
        jit.kernel = jit.routine = lambda *signature, **settings: _Any
        jit.helper, jit.COMPILED, jit.enabled = lambda function: function, COMPILED, lambda: True
        polynomial = ModuleType("polynomial")
        polynomial.exp_below, polynomial.maximum = np.exp, np.maximum
        vector = _vector_module(width, registers, self.memory)
        ours = {"jit": jit, "vector": vector, "threads": threads, "polynomial": polynomial}
        sys.modules.update({f"{self.root}.{name}": module for name, module in ours.items()})
        sys.meta_path.insert(0, self)
        try:
            self.conv, self.direct, self.gemm, self.attention = (
                import_module(f"{self.root}.{name}") for name in ("conv.cpu", "conv.direct", "gemm.cpu", "attention")
            )
            for name in ("gemm", "attention", "shares"):
                import_module(f"{self.root}.dispatch").module(f"{self.root}.{name}")  # and it remembers the module
        finally:
            sys.meta_path.remove(self)
            for name in [name for name in sys.modules if name.partition(".")[0] == self.root]:
                del sys.modules[name]

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        root, *names = name.split(".")
        if root != self.root:
            return None
        place = FOLDER.joinpath(*names)
        file, inside = (place / "__init__.py", []) if place.is_dir() else (place.with_suffix(".py"), None)
        return spec_from_file_location(name, file, loader=self, submodule_search_locations=inside)

    def create_module(self, spec: Any) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        path = Path(module.__file__)
        text, name = path.read_text("utf-8"), module.__name__.partition(".")[2]
        for where, old, new in self.changes:
            if where == name:
                if text.count(old) != 1:
                    raise LookupError(f"{name} has {text.count(old)} times {old!r}")
                text = text.replace(old, new)
        exec(compile(text, str(path), "exec"), vars(module))
        module.np = self.memory
        if name == "gemm.cpu":
            module.address, module.entries = self.memory.address, self.memory.entries
        if name == "conv.winograd":
            module.transform = self._transform(module)

    @staticmethod
    def _transform(module: ModuleType) -> Callable[..., None]:
        """winograd.transform, whose text writes IR: written by a builder that computes at once."""
        define = module.transform._defn

        def transform(like: Any, which: str, *addresses: int) -> None:
            write = define(None, like, SimpleNamespace(literal_value=which), *[None] * len(addresses))
            write(EAGER, None, None, *addresses)

        return transform

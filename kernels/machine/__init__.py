"""Programs of kernel launches, replayed without Python: what `capture` runs a recorded step by.

    program = Program(np.zeros(1, np.int64))
    program.launch(cpu.total, x.dtype, 1, (like, x_address, out_address, plan, 4))
    program.ready()
    program.run(0, 1)

Every launch goes through a trampoline, a function of machine code that takes a kernel's arguments out of memory. There
is one for each list of argument types, made in a few milliseconds, by LLVM alone; nothing is compiled for a program.
Arguments are written down once, arrays by their address, shape and strides: they must stay where they are. The memory
of `arguments` may be written between runs, to change numbers.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from ..dispatch import Array, module
from ..jit import Kernel

_made: dict[str, int] = {}  # addresses of trampolines, by the type of the function that they call
_engines: list[Any] = []  # machine code is freed with its engine


def machine() -> Any:
    """cpu.py, or None where kernels are turned off."""
    return module(__name__)


def of_parts() -> Any:
    """parts.py, whose import takes Numba's."""
    from .. import parts

    return parts


class Program:
    """Launches in a row. `keep` holds what they refer to."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, int, list[Any]]] = []  # type of the function, its address, its arguments
        self.keep: list[Any] = []
        self.places: list[list[int]] = []  # of every launch's arguments among its words
        self.parts: list[int] = []  # of every launch; 0: its kernel knows none
        self._counts: list[int] = []  # which of its words says how many
        self._together: list[tuple[list[int], list[int], int]] = []
        self.failed = np.zeros(2, np.int64)
        self._failed = self.failed.ctypes.data

    def launch(self, kernel: Kernel, dtype: Any, arguments: tuple[Any, ...]) -> int:
        """Append a launch of `kernel[dtype](*arguments)`; returns its number."""
        compiled: Any = kernel[np.dtype(dtype)]
        (found,) = compiled.overloads.values()
        kind, address = _function(found)
        words: list[Any] = []
        places = []
        for value, numba_type in zip(arguments, found.fndesc.argtypes, strict=True):
            places.append(len(words))
            words += _words(value, numba_type)
        self.parts.append(kernel.parts(arguments))
        self._counts.append(places[kernel.count] if kernel.parallel else -1)
        self.keep.append((compiled, arguments))
        self.places.append(places)
        self.rows.append((kind, address, words))
        return len(self.rows) - 1

    def point(self, launch: int, argument: int, target: int, of_target: int) -> None:
        """Make an argument of a launch the address of another launch's argument, a number, which it is to write."""
        place = self.starts[target] + self.places[target][of_target]
        here = self.starts[launch] + self.places[launch][argument]
        self.arguments[here] = self.arguments.ctypes.data + 8 * place

    def numbers(self, launch: int, argument: int, count: int) -> Array:
        """Neighbouring arguments of a launch, numbers of eight bytes, to be written between runs."""
        first = self.starts[launch] + self.places[launch][argument]
        return self.arguments[first : first + count].view(np.float64)

    def together(self, launches: list[int], parts: int, ahead: list[int]) -> None:
        """Make launches one parallel region, in the place of the first of them: every thread does its part of each
        before it waits for the others, so what a part reads no other one may write. Those in `ahead`, which stand
        between them, go before."""
        self._together.append((launches, ahead, parts))

    def one(self, launch: int, part: int, parts: int) -> None:
        """From now on a launch is one of so many parts; by `part` -1, as it was added."""
        place = self.starts[launch] + self._counts[launch]
        self.arguments[place] = self.parts[launch] if part < 0 else of_parts().one(part, parts)

    def ready(self) -> None:
        """Write the table down: no launch can be added any more."""
        count = len(self.rows)
        regions = [
            self.launch(machine().together, np.float32, (0, len(launches), parts))
            for launches, _, parts in self._together
        ]
        _make({kind for kind, _, _ in self.rows})
        self.starts = np.cumsum([0, *(len(words) for _, _, words in self.rows)])
        self.arguments = np.zeros(max(1, self.starts[-1]), np.int64)
        for start, (_, _, words) in zip(self.starts, self.rows, strict=False):
            for i, word in enumerate(words):
                at = self.arguments[start + i : start + i + 1]
                if isinstance(word, float):
                    at.view(np.float64)[0] = word
                elif isinstance(word, np.float32):
                    at.view(np.float32)[0] = word
                else:
                    at[0] = word
        base = self.arguments.ctypes.data
        whole = np.array(
            [(_made[kind], address, base + 8 * start) for (kind, address, _), start in zip(self.rows, self.starts)]  # noqa: B905
            or [(0, 0, 0)],
            np.int64,
        )
        for region, (launches, _, parts) in zip(regions, self._together, strict=True):
            self.arguments[self.starts[region]] = self._tables(whole, launches, parts)
        del self.rows[count:]
        put = {
            launches[0]: [*ahead, region] for region, (launches, ahead, _) in zip(regions, self._together, strict=True)
        }
        moved = {i for launches, ahead, _ in self._together for i in (*launches, *ahead)}
        kept: list[int] = []
        self._at = [0]  # of each launch, its row
        for i in range(count):
            kept += put.get(i, [] if i in moved else [i])
            self._at.append(len(kept))
        self.table = np.ascontiguousarray(whole[kept]) if kept else whole
        self._run: Any = (
            machine().run[np.dtype(np.float32)] if self.rows else None
        )  # where kernels are off there is none
        self._base = self.table.ctypes.data

    def _tables(self, whole: Array, launches: list[int], parts: int) -> int:
        """The address of a table a part, of launches whose arguments say which part it is."""
        tables = np.tile(whole[launches], (parts, 1, 1))
        for part in range(parts):
            for row, i in zip(tables[part], launches, strict=True):
                arguments = self.arguments[self.starts[i] : self.starts[i + 1]].copy()
                arguments[self._counts[i]] = of_parts().one(part, parts)
                row[2] = arguments.ctypes.data
                self.keep.append(arguments)
        self.keep.append(tables)
        return int(tables.ctypes.data)

    def run(self, first: int, last: int) -> None:
        """Run launches first to last - 1, all but those after one that counts failed[1] up: an index out of range, for
        which this raises IndexError. Raises MemoryError where a kernel could not get the memory it needs."""
        first, last = self._at[first], self._at[last]
        self._run(self._base + 24 * first, last - first, self._failed)
        if self.failed[0]:
            self.failed[0] = 0
            raise MemoryError("a kernel of a captured step could not allocate its working memory")
        if self.failed[1]:
            self.failed[1] = 0
            raise IndexError


def _words(value: Any, numba_type: Any) -> list[Any]:
    """What the machine code of a kernel takes for an argument."""
    from numba import types

    if isinstance(numba_type, types.Array):
        array: Array = value
        return [0, 0, array.size, array.itemsize, array.ctypes.data, *array.shape, *array.strides]
    if isinstance(numba_type, types.Float):
        return [np.float32(value) if numba_type.bitwidth == 32 else float(value)]
    return [int(value)]


# ---- trampolines
def _function(found: Any) -> tuple[str, int]:
    """The LLVM type and the address of what Numba compiled."""
    fndesc = found.fndesc
    kind = _type_of(fndesc.restype, tuple(fndesc.argtypes))
    return kind, found.library.get_pointer_to_function(fndesc.llvm_func_name)


@functools.cache
def _type_of(restype: Any, argtypes: tuple[Any, ...]) -> str:
    from numba.core.registry import cpu_target

    context = cpu_target.target_context
    return str(context.call_conv.get_function_type(restype, argtypes))


def _make(kinds: set[str]) -> None:
    """Make the trampolines that there are not yet, in one module."""
    import llvmlite.binding as llvm

    missing = sorted(kinds - _made.keys())
    if not missing:
        return
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    source = "\n".join(_source(f"trampoline{i}", kind) for i, kind in enumerate(missing))
    compiled = llvm.parse_assembly(source)
    compiled.verify()
    engine = llvm.create_mcjit_compiler(compiled, llvm.Target.from_default_triple().create_target_machine(opt=1))
    engine.finalize_object()
    _engines.append(engine)
    for i, kind in enumerate(missing):
        _made[kind] = engine.get_function_address(f"trampoline{i}")


def _source(name: str, kind: str) -> str:
    """A function in LLVM's language: load the arguments, one in eight bytes, call, and return the status.

    The first two of Numba's own arguments are where it returns a value and an exception.
    """
    given = kind[kind.index("(") + 1 : kind.rindex(")")]
    types = _split(given)
    lines = [f"define i64 @{name}(i64 %f, i64 %row) {{"]
    passed = []
    for i, type_ in enumerate(types[:2]):
        inner = type_.removesuffix("*")
        lines += [f"%s{i} = alloca {inner}", f"store {inner} null, {inner}* %s{i}"]
        passed.append(f"{type_} %s{i}")
    for i, type_ in enumerate(types[2:]):
        lines += [f"%a{i} = add i64 %row, {8 * i}", f"%p{i} = inttoptr i64 %a{i} to i64*"]
        if type_.endswith("*"):
            lines += [f"%l{i} = load i64, i64* %p{i}", f"%v{i} = inttoptr i64 %l{i} to {type_}"]
        else:
            lines += [f"%q{i} = inttoptr i64 %a{i} to {type_}*", f"%v{i} = load {type_}, {type_}* %q{i}"]
        passed.append(f"{type_} %v{i}")
    lines += [f"%g = inttoptr i64 %f to {kind}*", f"%r = call i32 %g({', '.join(passed)})"]
    return "\n".join([*lines, "%w = sext i32 %r to i64", "ret i64 %w", "}"])


def _split(given: str) -> list[str]:
    """The types of a list, of which some are structures."""
    found, depth, start = [], 0, 0
    for i, letter in enumerate(given):
        depth += (letter in "{[(") - (letter in "}])")
        if letter == "," and depth == 0:
            found.append(given[start:i].strip())
            start = i + 1
    return [*found, given[start:].strip()] if given.strip() else found

"""`cupy.RawModule` on the CPU: g++ compiles the CUDA source, and emulation/cuda_on_cpu.h runs it.

What CuPy takes in silence raises: a number of Python among the arguments (it would be passed as 8 bytes), a host array,
an array that is not contiguous, a write before or behind an array. `schedule(seed)` shuffles the order in which threads
run.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .capturing import captured
from .device_array import ndarray

HEADER = Path(__file__).parent / "emulation" / "cuda_on_cpu.h"
FLAGS = ("-std=c++17", "-O1", "-ffp-contract=off", "-fPIC", "-shared", "-w")  # compiling costs more than running
CANARY = 256  # bytes before and behind every array that must come back as they were
SLOT = 16  # an argument begins at a multiple of so many bytes

_seed = 0


@contextlib.contextmanager
def schedule(seed: int) -> Iterator[None]:
    """Run threads in another order meanwhile: 0 as they are numbered, 1 backwards, others shuffled."""
    global _seed
    before, _seed = _seed, seed
    try:
        yield
    finally:
        _seed = before


class RawModule:
    """The kernels of a CUDA source."""

    def __init__(
        self, code: str | None = None, *, path: str | None = None, options: Sequence[str] = (), backend: str = "nvrtc"
    ) -> None:
        if code is None or path is not None or backend != "nvrtc":
            raise ValueError("the stand-in compiles a source: write RawModule(code=...)")
        defines = [option for option in options if option.startswith("-D")]
        self._library = ctypes.CDLL(str(_compiled(code, defines)))

    def get_function(self, name: str) -> RawKernel:
        """The kernel of that name."""
        try:
            return RawKernel(name, getattr(self._library, f"cuda_on_cpu_launch_{name}"))
        except AttributeError:
            raise ValueError(f"no kernel {name!r}: is EXPORTED({name}) missing?") from None


class RawKernel:
    """A kernel: called as CuPy's, (grid, block, arguments, shared_mem=bytes)."""

    max_dynamic_shared_size_bytes: int = 48 * 1024  # more must be asked for by setting this, as on a card

    def __init__(self, name: str, function: Any) -> None:
        self._name, self._function = name, function
        function.restype = ctypes.c_char_p

    @captured("RawKernel")
    def __call__(self, grid: Sequence[int], block: Sequence[int], args: Sequence[Any], *, shared_mem: int = 0) -> None:
        if shared_mem > self.max_dynamic_shared_size_bytes:
            raise RuntimeError(
                f"{self._name}: {shared_mem} bytes of shared memory, of {self.max_dynamic_shared_size_bytes} allowed: "
                "set kernel.max_dynamic_shared_size_bytes"
            )
        guarded: dict[tuple[int, int], Guarded] = {}  # an array that is given twice is one
        values = []
        for i, a in enumerate(args):
            if isinstance(a, ndarray):
                copy = guarded.setdefault((a.data.ptr, a.nbytes), Guarded(self._name, i, a))
                values.append(copy.address.to_bytes(8, sys.byteorder))
            else:
                values.append(self._scalar(i, a))
        count = len(values)
        slots = [value.ljust(-(-len(value) // SLOT) * SLOT) for value in values]
        memory = ctypes.create_string_buffer(b"".join(slots))
        starts = itertools.accumulate(map(len, slots[:-1]), initial=ctypes.addressof(memory))
        sizes = (ctypes.c_uint * 6)(*(*grid, 1, 1)[:3], *(*block, 1, 1)[:3])
        places = (ctypes.c_void_p * count)(*starts)
        widths = (ctypes.c_size_t * count)(*map(len, values))
        wrong = self._function(
            sizes, ctypes.c_size_t(shared_mem), places, widths, ctypes.c_size_t(count), ctypes.c_uint(_seed)
        )
        if wrong:
            raise RuntimeError(f"{self._name}: {wrong.decode()}")
        for copy in guarded.values():
            copy.give_back()

    def _scalar(self, i: int, value: Any) -> bytes:
        if not isinstance(value, np.generic):
            what = "a host array" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
            raise TypeError(f"{self._name}: argument {i} is {what}; expected a device array, np.int32(...) or the like")
        return value.tobytes()


class Guarded:
    """A copy of an array between two canaries, for the time of a launch."""

    def __init__(self, kernel: str, i: int, array: ndarray) -> None:
        if not array.flags.c_contiguous:
            raise ValueError(f"{kernel}: argument {i} is not contiguous, and a kernel is given its address alone")
        self._what, self._array = f"{kernel}: argument {i}", array
        size = array.nbytes
        memory = np.full(2 * CANARY + size + 16, 0xFF, np.uint8)
        address: int = memory.__array_interface__["data"][0]
        start = CANARY + -(address + CANARY) % 16
        self._memory, self._start, self._end = memory, start, start + size
        memory[start : self._end] = array._values.reshape(-1).view(np.uint8)
        self.address = address + start

    def give_back(self) -> None:
        """Copy what was written, if nothing was written outside."""
        outside = self._memory[: self._start], self._memory[self._end :]
        if any(canary.tobytes().strip(b"\xff") for canary in outside):
            raise RuntimeError(f"{self._what}: the kernel wrote outside of its {self._array.nbytes} bytes")
        made, values = self._memory[self._start : self._end], self._array._values
        if made.tobytes() != values.tobytes():  # what was only read may be read-only
            values[...] = made.view(values.dtype).reshape(values.shape)


def _compiled(code: str, defines: Sequence[str]) -> Path:
    """The shared library of a source, in a folder that outlives the process."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise RuntimeError(
            f"the stand-in for CuPy runs CUDA kernels by {compiler}, which is not installed (Debian: apt install g++); "
            "TINYGRAD_ZOO_KERNELS=off does without kernels"
        )
    header = b"\0".join(path.read_bytes() for path in sorted(HEADER.parent.glob("*.h")))
    key = hashlib.sha256(b"\0".join([header, code.encode(), repr((defines, FLAGS)).encode()])).hexdigest()[:24]
    folder = Path(os.environ.get("TINYGRAD_ZOO_CACHE") or Path.home() / ".cache" / "tinygrad_zoo") / "cuda_on_cpu"
    made = folder / f"{key}.so"
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        source, library = Path(scratch) / "kernel.cu", Path(scratch) / "kernel.so"
        source.write_text(code, "utf-8")
        command = [compiler, *FLAGS, *defines, "-x", "c++", "-include", str(HEADER), str(source), "-o", str(library)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        if ran.returncode:
            raise RuntimeError(f"a CUDA source does not compile:\n{ran.stderr[:4000]}")
        temporary = folder / f"{key}.{os.getpid()}.tmp"
        shutil.move(library, temporary)
        temporary.replace(made)
    return made

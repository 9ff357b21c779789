"""Compiles CUDA sources to machine code without a GPU, by the NVRTC of pip: `python tests/nvrtc.py` prints a table.

Registers, shared memory and spilled bytes are those that ptxas reports for every kernel, element type and architecture.
"""

from __future__ import annotations

import ctypes
import re
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from tinygrad_zoo.kernels import cuda

KERNELS = Path(cuda.__file__).parent
ARCHITECTURES = ("sm_75", "sm_80", "sm_90")
_ENTRY = re.compile(
    r"Compiling entry function '(?P<name>\w+)' for '(?P<arch>\w+)'.*?"
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers(?P<rest>[^\n]*)",
    re.DOTALL,
)


class Compiled(NamedTuple):
    """What ptxas says of one kernel."""

    kernel: str
    architecture: str
    registers: int
    shared: int  # bytes, static
    spilled: int  # bytes


def sources() -> list[Path]:
    """Every .cu file."""
    return sorted(KERNELS.rglob("*.cu"))


@cache
def library() -> ctypes.CDLL:
    """NVRTC."""
    spec = find_spec("nvidia")
    assert spec is not None and spec.submodule_search_locations
    (path, *_) = sorted(
        path for root in spec.submodule_search_locations for path in Path(root).glob("**/libnvrtc.so.1[23]")
    )
    return ctypes.CDLL(str(path))


def compiled(code: str, architecture: str, options: tuple[str, ...] = ()) -> tuple[int, list[Compiled]]:
    """The size of the machine code in bytes, and its kernels; RuntimeError with the compiler's words otherwise."""
    nvrtc, program, size = library(), ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None) == 0
    flags = ["-std=c++17", f"-arch={architecture}", "--ptxas-options=-v", *options]
    failed = nvrtc.nvrtcCompileProgram(
        program, len(flags), (ctypes.c_char_p * len(flags))(*[flag.encode() for flag in flags])
    )
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, buffer)
    log = buffer.value.decode()
    if failed:
        raise RuntimeError(log)
    nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    found = []
    for entry in _ENTRY.finditer(log):
        shared = re.search(r"(\d+) bytes smem", entry["rest"])
        spilled = int(entry["stores"]) + int(entry["loads"])
        found.append(
            Compiled(entry["name"], entry["arch"], int(entry["registers"]), int(shared[1]) if shared else 0, spilled)
        )
    return size.value, found


def kernels_of(path: Path, element: str, architecture: str) -> list[Compiled]:
    """The kernels of a source, for one type of element and one architecture."""
    return compiled(cuda.source(path), architecture, (f"-DELEMENT={element}",))[1]


def main() -> int:
    """Compile all, print the table; the exit status is 1 where something spills."""
    print(f"{'source':32} {'element':8} {'kernel':28} {'arch':6} {'registers':>9} {'shared':>7} {'spilled':>8}")
    spills = 0
    rows = [
        (path, element, architecture)
        for path in sources()
        for element in cuda.elements(path)
        for architecture in ARCHITECTURES[cuda.needs_tensor_cores(path) :]  # the first has no such instructions
    ]
    with ProcessPoolExecutor() as pool:  # NVRTC compiles one source at a time in a process
        for (path, element, _), found in zip(rows, pool.map(kernels_of, *zip(*rows, strict=True)), strict=True):
            for one in found:
                spills += one.spilled
                print(
                    f"{path.relative_to(KERNELS)!s:32} {element:8} {one.kernel:28} {one.architecture:6} "
                    f"{one.registers:9} {one.shared:7} {one.spilled:8}"
                )
    return 1 if spills else 0


if __name__ == "__main__":
    sys.exit(main())

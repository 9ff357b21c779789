"""Launches the kernels of .cu files on arrays of CuPy, or of the stand-in for it.

A folder of kernels has its CUDA source in `NAME.cu` and the launches in `gpu.py`. A source is compiled for one type of
element by NVRTC when its first kernel is launched; CuPy keeps what was compiled on disk, by source, architecture and
options. Sources that a source includes are put in their place here, so that all of them count.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .dispatch import Array, namespace
from .jit import COMPILED, enabled

ELEMENTS = {np.dtype(np.float32): "float", np.dtype(np.float64): "double"}
HALVES = {"float16": "Half", "bfloat16": "Brain"}  # by name: bfloat16 is ml_dtypes', where that is installed
TENSOR_CORES = 80  # the compute capability from which on sources that include tensor_cores.cuh run
THREADS = 256  # a block's, where nothing speaks for another number
SHARED = 48 * 1024  # bytes of shared memory that a kernel has without asking for more
MOST_BLOCKS = 4096  # of a loop over entries: more than fill any card
_HOST = (np.ndarray, np.generic)
_INCLUDE = re.compile(r'^#include "([^"]+)"\n', re.MULTILINE)


def source(path: Path) -> str:
    """The text of a .cu file, what it includes of ours put in its place."""
    return _INCLUDE.sub(lambda found: source(path.parent / found[1]), path.read_text("utf-8"))


def elements(path: Path) -> list[str]:
    """The types that a source is compiled for."""
    return list((HALVES if needs_tensor_cores(path) else ELEMENTS).values())


def needs_tensor_cores(path: Path) -> bool:
    """Whether a source is for tensor cores, and numbers of 16 bits."""
    return '#include "../tensor_cores.cuh"' in path.read_text("utf-8")


def served(x: Any) -> bool:
    """Whether kernels take x: an array on a device, of a type that they are compiled for."""
    return on_device(x) and x.dtype in COMPILED and enabled()


def on_device(x: Any) -> bool:
    """Whether x is an array of CuPy or of its stand-in; a Tensor is not."""
    return type(x).__name__ == "ndarray" and not isinstance(x, _HOST)


class _Recorded(threading.local):
    inside = False


_state = _Recorded()


@contextlib.contextmanager
def recorded() -> Iterator[None]:
    """Inside, a stream is captured into a graph, in which CuPy calls no cuBLAS."""
    outer, _state.inside = _state.inside, True
    try:
        yield
    finally:
        _state.inside = outer


def recording() -> bool:
    """Whether a stream is captured, or what will be captured is tried."""
    return _state.inside


def plain(x: Array, dtype: Any = None) -> Array:
    """x, or a copy of it, as a kernel takes it: of that dtype, contiguous."""
    return namespace(x).ascontiguousarray(x, dtype)


def served_halves(x: Any) -> bool:
    """Whether kernels for tensor cores take x: numbers of 16 bits on a device that has them."""
    if not on_device(x) or x.dtype.name not in HALVES or not enabled():
        return False
    return _capability(namespace(x), x.device.id) >= TENSOR_CORES


@functools.cache
def _capability(xp: Any, device: int) -> int:
    return int(xp.cuda.Device(device).compute_capability)


@functools.cache
def module(package: str) -> Any:
    """`package`.gpu."""
    return importlib.import_module(f"{package}.gpu")


@functools.cache
def _library(xp: Any, path: Path, element: str) -> Any:
    options = ("-std=c++17", f"-DELEMENT={element}")
    return xp.RawModule(code=source(path), options=options)


@functools.cache
def kernel(xp: Any, path: Path, name: str, element: str) -> Any:
    """A kernel: called with the grid, the block, the arguments and shared_mem=bytes."""
    return _library(xp, path, element).get_function(name)


def launch(
    path: Path,
    name: str,
    blocks: int | tuple[int, ...],
    threads: int,
    arguments: tuple[Any, ...],
    *,
    shared: int = 0,
    by: Array,
) -> None:
    """Run a kernel compiled for the dtype of `by`: whole numbers become int32, arrays must be contiguous."""
    grid = blocks if isinstance(blocks, tuple) else (blocks,)
    converted = tuple(np.int32(a) if isinstance(a, int) else a for a in arguments)
    run = kernel(namespace(by), path, name, ELEMENTS.get(by.dtype) or HALVES[by.dtype.name])
    if shared > SHARED and run.max_dynamic_shared_size_bytes < shared:
        run.max_dynamic_shared_size_bytes = shared
    run(grid, (threads,), converted, shared_mem=shared)


def launch_each(path: Path, name: str, size: int, arguments: tuple[Any, ...], *, by: Array) -> None:
    """Run a kernel whose threads go through `size` entries in strides of all threads together."""
    if size:
        launch(path, name, min(-(-size // THREADS), MOST_BLOCKS), THREADS, arguments, by=by)

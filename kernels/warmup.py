"""All kernels compiled ahead, by as many processes as there are processors: `tinygrad-zoo warmup`."""

from __future__ import annotations

import concurrent.futures
import functools
import importlib
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import threads
from .jit import KERNELS, Kernel, Routine, cache_folder


@functools.cache
def variants() -> list[tuple[Kernel | Routine, Any]]:
    """Every kernel with each dtype that it depends on: `made[dtype]` compiles it."""
    folders = sorted(path.parent.name for path in Path(__file__).parent.glob("*/cpu.py"))
    for name in ("parts", *(f"{folder}.cpu" for folder in folders)):
        importlib.import_module(f"{__package__}.{name}")
    found: list[tuple[Kernel | Routine, Any]] = []
    for made in KERNELS:
        found += [(made, dtype) for dtype in made.dtypes]
    return found


def compile_all() -> Iterator[str]:
    """Compile, or load, each of `variants`, and name it when that is done."""
    count, spawn = len(variants()), multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(min(count, threads.available()), spawn)
    try:
        yield from pool.map(_compile, range(count))
    finally:
        pool.shutdown(cancel_futures=True)


def _compile(index: int) -> str:
    made, key = variants()[index]
    made[key]
    return repr(made)


def kept() -> tuple[int, int]:
    """How many files there are in the folder of the machine code, and how many bytes in them."""
    sizes = [path.stat().st_size for path in cache_folder().rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)

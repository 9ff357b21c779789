"""Plants faults in CUDA sources as they are read, and runs a test of pytest with one, in a process of its own."""

from __future__ import annotations

import multiprocessing
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tinygrad_zoo.kernels import cuda

KERNELS = Path(cuda.__file__).parent
_SERVER = multiprocessing.get_context("forkserver")


def planted(file: str, old: str, new: str) -> Any:
    """`Path.read_text`, in which that file reads otherwise."""
    path, read = (KERNELS / file).resolve(), Path.read_text
    assert path.read_text("utf-8").count(old) == 1, "plant it anew"

    def changed(self: Path, *arguments: Any, **settings: Any) -> str:
        text = read(self, *arguments, **settings)
        return text.replace(old, new) if self.resolve() == path else text

    return changed


def preload(*modules: str) -> None:
    """Processes to come have imported these."""
    _SERVER.set_forkserver_preload([__name__, *modules])


def outcome(test: str, fault: tuple[str, str, str], printed: Path) -> int | None:
    """The exit status of pytest on the test with a fault (file below kernels, old, new), its output in a file."""
    process = _SERVER.Process(target=_run, args=(test, fault, printed))
    process.start()
    process.join()
    return process.exitcode


def _run(test: str, fault: tuple[str, str, str], printed: Path) -> None:
    output = os.open(printed, os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(output, stream)
    Path.read_text = planted(*fault)  # type: ignore[method-assign]
    sys.exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", test]))

"""The folder of a run: runs/NAME, or where `--out` says.

config.json (what was asked for, and the versions that did it), metrics.jsonl (one object a logged step, without
times), checkpoint.safetensors, figure.png, samples.npz of a system that generates, and result.json (written last; the
only file with seconds in it).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, Self

import numpy as np

from .._version import __version__
from ..errors import CheckpointError, UsageError
from ..recipe import Recipe, State

RUNS = Path("runs")
CONFIG, METRICS, CHECKPOINT, FIGURE, SAMPLES, RESULT = (
    "config.json", "metrics.jsonl", "checkpoint.safetensors", "figure.png", "samples.npz", "result.json"
)  # fmt: skip


def run_folder(name: str, out: Path | str | None, resume: bool) -> Path:
    """Where the run goes; UsageError where that would overwrite another."""
    if out is not None:
        folder = Path(out)
        if not resume and _in_use(folder):
            raise UsageError(f"{folder} is not empty: continue the run in it with --resume, or choose another --out")
        return folder
    *used, free = _numbered(name)
    if resume:
        return used[-1] if used else free
    if used and not (used[-1] / RESULT).exists():
        raise UsageError(f"{used[-1]} holds an unfinished run: continue it with --resume, or choose another --out")
    return free


def _numbered(name: str) -> Iterator[Path]:
    """runs/NAME, runs/NAME-2, ... as far as they are in use, and the first free one."""
    for number in count(1):
        folder = RUNS / (name if number == 1 else f"{name}-{number}")
        yield folder
        if not _in_use(folder):
            return


def _in_use(folder: Path) -> bool:
    """Whether there is something to lose: a run without a checkpoint would start from scratch anyway."""
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise UsageError(f"{folder} is a file, not a folder for a run; choose another --out")
    return any(entry.name not in (CONFIG, METRICS) and entry.suffix != ".tmp" for entry in folder.iterdir())


def last_result(name: str) -> dict[str, Any] | None:
    """result.json of the latest finished run of that recipe below runs/, or None."""
    for folder in reversed(list(_numbered(name))):
        if (folder / RESULT).exists():
            result: dict[str, Any] = json.loads((folder / RESULT).read_text("utf-8"))
            return result
    return None


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for this process alone; the system lifts the lock however the process ends.

    Raises UsageError where another run has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(f"another run is training in {folder}; choose another --out") from error
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(descriptor)


def describe(recipe: Recipe[Any, Any], state: State[Any, Any]) -> dict[str, Any]:
    """What config.json holds."""
    return {
        "recipe": recipe.name,
        "row": recipe.row,
        "config": state.config.as_dict(),
        "seed": state.seed,
        "device": state.device,
        "versions": {"python": sys.version.split()[0], "numpy": np.__version__, "tinygrad_zoo": __version__},
    }


def resume_command(
    recipe: Recipe[Any, Any], state: State[Any, Any], folder: Path, device: str | None, capture: bool = False
) -> str:
    """The command line that continues this run; `device` is the one that was asked for."""
    words = ["tinygrad-zoo", "train", recipe.name, "--resume"]
    words += ["--seed", str(state.seed)] if state.seed else []
    words += ["--device", device] if device else []
    words += ["--capture"] if capture else []
    words += ["--out", str(folder)] if folder.parent != RUNS else []
    usual = recipe.config.as_dict()
    for key, value in state.config.as_dict().items():
        if value != usual[key]:
            words += ["--set", f"{key}={value}"]
    return shlex.join(words)


def write(path: Path, content: bytes | str) -> None:
    """Replace the file as a whole: after a crash it is the old one or the new one, never half of it."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name itself
    finally:
        os.close(descriptor)


def to_json(value: Mapping[str, Any], indent: int | None = None) -> str:
    """Sorted JSON and a newline; NaN and Inf, which JSON lacks, are null."""

    def finite(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {key: finite(entry) for key, entry in item.items()}
        return None if isinstance(item, float) and not math.isfinite(item) else item

    return json.dumps(finite(value), sort_keys=True, indent=indent, ensure_ascii=False) + "\n"


class Log:
    """metrics.jsonl, cut to its first `size` bytes: those that the checkpoint knows of."""

    def __init__(self, path: Path, size: int) -> None:
        with path.open("ab") as file:
            if file.tell() < size:
                raise CheckpointError(
                    f"{path} is shorter than when the checkpoint was saved; restore it, or delete both"
                )
            file.truncate(size)
        try:
            self.history: list[dict[str, float]] = [json.loads(line) for line in path.read_bytes().splitlines()]
        except ValueError as error:
            raise CheckpointError(
                f"{path} is damaged ({error}); restore it, or delete it and the checkpoint"
            ) from error
        self._file = path.open("ab")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, metrics: dict[str, float]) -> None:
        self._file.write(to_json(metrics).encode())
        self.history.append(metrics)

    def flush(self) -> int:
        """The size of the file, all of it on the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

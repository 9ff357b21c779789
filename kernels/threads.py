"""How many threads share the work of a kernel.

A kernel's parts run on OpenMP's threads. These take about 2 µs to wake, and a wait for one that another program keeps
from its processor takes milliseconds: work of less than some 30 µs, which gains little, is done alone.
After a fork a process must not enter OpenMP again (GNU's aborts it), and without OpenMP Numba's own pool would abort
when two threads of Python entered it at once: in both cases every kernel has one part.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import sys
import warnings
from typing import Any

WORTH = 30_000  # nanoseconds of work from which threads pay


class _Threads:
    most: int = 0  # 0: not looked at yet
    asked: int | None = None
    entered = False
    alone = False


_state = _Threads()


def parts(nanoseconds: float) -> int:
    """Into how many parts to cut work that takes one thread about so long: none takes less than WORTH / 2.

    >>> parts(100)
    1
    """
    if nanoseconds < WORTH:
        return 1
    most = _state.most or _prepare()
    if most == 1 or _state.alone:
        return 1
    _state.entered = True
    return min(most, int(nanoseconds / WORTH * 2))


def available() -> int:
    """The processors that this process may use; NUMBA_NUM_THREADS and OMP_NUM_THREADS lower it."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    chosen = [os.environ.get(name, "") for name in ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS")]
    return min([processors, *(int(n) for n in chosen if n.isdecimal() and int(n))])


def get_num_threads() -> int:
    """How many threads a kernel may use."""
    return min(_state.asked or available(), available())


def set_num_threads(n: int) -> None:
    """At most `n` threads from now on; sums that are cut into parts are rounded accordingly."""
    _state.asked, _state.most = n, 0


def _prepare() -> int:
    """Choose OpenMP for Numba's threads, once."""
    most = get_num_threads()
    if most > 1 and not openmp():
        most = 1
    if most > 1:
        from . import parts  # whose import takes Numba's

        parts.start()
    _state.most = most
    return most


@functools.cache
def openmp() -> bool:
    """Whether Numba's parallel loops run, or will run, on OpenMP or TBB; else warn, and say what to install."""
    if layer() in ("omp", "tbb"):
        return True
    warnings.warn(
        f"tinygrad_zoo: Numba's threading layer is {layer()!r}, not OpenMP, so kernels use one thread: install libgomp "
        "(Debian: apt install libgomp1), or set NUMBA_THREADING_LAYER=omp",
        RuntimeWarning,
        stacklevel=2,
    )
    return False


@functools.cache
def layer() -> str:
    """Numba's threading layer: the one that runs, or else OpenMP where no other was chosen and it can be loaded."""
    import numba

    with contextlib.suppress(ValueError):  # no parallel loop has run yet
        return str(numba.threading_layer())
    if numba.config.THREADING_LAYER in ("default", "threadsafe", "omp"):
        try:
            importlib.import_module("numba.np.ufunc.omppool")
        except ImportError:
            return "workqueue"
        numba.config.THREADING_LAYER = "omp"
    return str(numba.config.THREADING_LAYER)


def _after_fork() -> None:
    launched = getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False)  # by the user's own loops
    _state.alone = _state.alone or _state.entered or launched
    if _state.alone and (shared := sys.modules.get(f"{__package__}.parts")) is not None:
        shared.stop()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def describe() -> dict[str, Any]:
    """What `tinygrad-zoo info` prints."""
    return {"threads": get_num_threads(), "layer": {"omp": "OpenMP", "tbb": "TBB"}.get(layer(), "none")}

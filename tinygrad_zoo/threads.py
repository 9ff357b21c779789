"""How many threads the library uses: its kernels', and those of the BLAS libraries under NumPy and SciPy."""

from __future__ import annotations

import numpy as np

from .errors import DTypeError, UsageError
from .kernels import threads as _kernels

_asked: list[int] = []  # what `set_num_threads` was last given


def get_num_threads() -> int:
    """How many threads a kernel may use; by default one for each processor that this process may run on.

    OMP_NUM_THREADS=n in the environment lowers it. Work of less than about 30 µs is done by one thread all the same.
    """
    return _kernels.get_num_threads()


def set_num_threads(n: int) -> None:
    """Use at most `n` threads from now on, in kernels and in BLAS.

    Elementwise results do not depend on `n`; sums that threads share are rounded in an order that does. Write
    set_num_threads(1) where several processes share the processors.

    >>> tz.set_num_threads(0)
    Traceback (most recent call last):
    tinygrad_zoo.errors.UsageError: set_num_threads: expected n >= 1, got 0: write set_num_threads(1) for one thread
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool):
        raise DTypeError(f"set_num_threads: expected an integer n >= 1, got {n!r}: write set_num_threads(1)")
    if n < 1:
        raise UsageError(f"set_num_threads: expected n >= 1, got {n}: write set_num_threads(1) for one thread")
    _kernels.set_num_threads(int(n))
    _asked[:] = [int(n)]
    limit_blas()


def limit_blas() -> None:
    """Hold the BLAS libraries that are loaded to what `set_num_threads` was given, if it was called.

    SciPy brings one of its own, loaded later than NumPy's.
    """
    if _asked:
        from threadpoolctl import threadpool_limits

        threadpool_limits(_asked[0], user_api="blas")

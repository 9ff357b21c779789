"""Counter-based random words, and dropout by them in one pass: bitwise the numbers of the formulas.

Every function here returns None where no kernel serves: for other arrays than those of float32 and float64, and where
kernels are turned off. Then the formulas of the ops do. A `key` is four uint32.
"""

from __future__ import annotations

import math

import numpy as np

from .. import cuda, threads
from ..dispatch import Array, module
from ..jit import COMPILED, enabled


def words(key: Array, size: int) -> Array | None:
    """The first `size` words of the key's stream, below 2³², in uint64.

    >>> words(np.zeros(4, np.uint32), 2).tolist()
    [1713891541, 3781805453]
    """
    if cuda.on_device(key) and enabled():
        return cuda.module(__name__).words(key, size)
    cpu = module(__name__) if type(key) is np.ndarray else None
    if cpu is None:
        return None
    out = np.empty(-(-size // 4) * 4, np.uint64)
    parts = threads.parts(size * cpu.TIMES["words"])
    cpu.words[COMPILED[1], parts](*key.tolist(), out, parts)
    return out[:size]


def kept(p: float) -> tuple[int, float]:
    """From which number of 2⁻²⁴ on a word's first 24 bits keep x, and what x is multiplied by.

    >>> kept(0.5)
    (8388608, 2.0)
    """
    return math.ceil(float(np.float32(p)) * 2.0**24), 1 / (1 - p)  # p, too, as a multiple of 2⁻²⁴


def dropout(x: Array, key: Array, p: float) -> Array | None:
    """x / (1 - p) where word i of the key's stream, as a number in [0, 1), is at least p, else 0.

    >>> dropout(np.ones(6), np.zeros(4, np.uint32), 0.5)
    array([0., 2., 2., 2., 2., 0.])
    """
    threshold, scale = kept(p)
    if type(x) is not np.ndarray and cuda.served(x):
        return cuda.module(__name__).dropout(x, key, threshold, scale)
    served = type(x) is np.ndarray and type(key) is np.ndarray and x.dtype in COMPILED and x.flags.aligned
    cpu = module(__name__) if served else None
    if cpu is None:
        return None
    x, out = np.ascontiguousarray(x), np.empty(x.shape, x.dtype)
    parts = threads.parts(x.size * cpu.TIMES["dropout"])
    cpu.dropout[x.dtype](x.reshape(-1), *key.tolist(), threshold, scale, out.reshape(-1), parts)
    return out

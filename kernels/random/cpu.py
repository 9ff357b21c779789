"""Philox4x32-10 (Salmon et al., SC 2011) in loops that LLVM vectorizes: no lane waits for another one's numbers.

Word 4i + w of a stream is word w of block i: ten rounds over the counter (i, i >> 32, key[2], key[3]).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ..jit import helper, kernel

TIMES = {"words": 1.0, "dropout": 1.0}  # nanoseconds an element, about, of one thread
BLOCKS = 64  # whose words are made at once

_MULTIPLY_0, _MULTIPLY_1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_STEP_0, _STEP_1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)


@helper
def fill(words: Any, first: Any, key: Any) -> None:
    """The words of `len(words) // 4` blocks from block `first` on; `key` is four uint64."""
    for j in range(words.size // 4):
        block = np.uint64(first + j)
        c0, c1, c2, c3 = block & _LOW, block >> _HALF, key[2], key[3]
        k0, k1 = key[0], key[1]
        for _ in range(10):
            p0, p1 = c0 * _MULTIPLY_0, c2 * _MULTIPLY_1
            c0, c1, c2, c3 = (p1 >> _HALF) ^ c1 ^ k0, p1 & _LOW, (p0 >> _HALF) ^ c3 ^ k1, p0 & _LOW
            k0, k1 = (k0 + _STEP_0) & _LOW, (k1 + _STEP_1) & _LOW
        words[4 * j], words[4 * j + 1], words[4 * j + 2], words[4 * j + 3] = c0, c1, c2, c3


@kernel("void(i8, i8, i8, i8, u8[::1], i8)", parallel=True)
def words(k0: int, k1: int, k2: int, k3: int, out: Any, parts: int) -> None:
    """Whole blocks of words."""
    key = (np.uint64(k0), np.uint64(k1), np.uint64(k2), np.uint64(k3))
    blocks = out.size // 4
    for part in prange(parts):
        first, last = part * blocks // parts, (part + 1) * blocks // parts
        fill(out[4 * first : 4 * last], first, key)


@kernel("void(const T[::1], i8, i8, i8, i8, i8, f8, T[::1], i8)", parallel=True)
def dropout(x: Any, k0: int, k1: int, k2: int, k3: int, threshold: int, factor: float, out: Any, parts: int) -> None:
    """x · factor where the upper 24 bits of a word are at least the threshold, else 0."""
    key = (np.uint64(k0), np.uint64(k1), np.uint64(k2), np.uint64(k3))
    T = x.dtype.type
    factor, zero, least = T(factor), T(0), np.uint64(threshold) << np.uint64(8)
    chunks = (x.size + 4 * BLOCKS - 1) // (4 * BLOCKS)
    for part in prange(parts):
        words = np.empty(4 * BLOCKS, np.uint32)
        for chunk in range(part * chunks // parts, (part + 1) * chunks // parts):
            fill(words, chunk * BLOCKS, key)
            here = slice(chunk * 4 * BLOCKS, min((chunk + 1) * 4 * BLOCKS, x.size))
            a, b = x[here], out[here]
            for i in range(a.size):
                b[i] = a[i] * factor if words[i] >= least else zero

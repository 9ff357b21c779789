"""Freed memory stays with the process, for the next array.

glibc gives large blocks back to the system at once, and the system clears every page of the next one: where a training
step keeps its intermediate results, as backward needs them, that was a third of a convolution's time. Up to KEPT bytes
are kept instead. TINYGRAD_ZOO_KEEP_MEMORY=off leaves the allocator as it is.
"""

from __future__ import annotations

import ctypes
import functools
import os

KEPT = 1 << 28
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _LARGEST = -1, -3, 1 << 25  # of malloc.h; glibc refuses a larger block


@functools.cache
def keep_freed() -> bool:
    """Ask the allocator, once; False where it can't be asked, or was not to be."""
    choice = os.environ.get("TINYGRAD_ZOO_KEEP_MEMORY", "").strip().lower() or "on"
    if choice not in ("on", "off"):
        raise ValueError(f"TINYGRAD_ZOO_KEEP_MEMORY={choice!r}: expected 'on' or 'off'")
    if choice == "off":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another C library, or another system
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, KEPT))

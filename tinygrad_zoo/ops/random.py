"""Counter-based randomness: Philox4x32-10 (Salmon et al., SC 2011), the same numbers on every device.

A random op takes its key as an array drawn by the caller, so that recomputation, formulas and replays see the same
numbers. Keys are drawn on the host from the user's NumPy Generator.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, to_device
from ..errors import DTypeError, ShapeError, UsageError
from ..variable import Array
from .sampling import sample


class _Tape(threading.local):
    keys: list[Any] | None = None  # keys drawn while a function is recorded
    replay: Iterator[Any] | None = None  # keys given out again while it is recomputed


_tape = _Tape()


@contextlib.contextmanager
def recorded_keys(keys: list[Any]) -> Iterator[None]:
    """Append every key drawn inside to `keys`."""
    outer, _tape.keys = _tape.keys, keys
    try:
        yield
    finally:
        _tape.keys = outer
        if outer is not None:
            outer.extend(keys)


@contextlib.contextmanager
def replayed_keys(keys: list[Any]) -> Iterator[None]:
    """Give out `keys` again, in order, in place of new ones."""
    outer, _tape.replay = _tape.replay, iter(keys)
    try:
        yield
    finally:
        _tape.replay = outer


def draw_key(rng: np.random.Generator, device: str = "cpu") -> Array:
    """A fresh key for one call of a random op: four random 32-bit words, uint32 of shape (4,).

    >>> draw_key(np.random.default_rng(0)).dtype
    dtype('uint32')
    """
    if _tape.replay is not None:
        return to_device(next(_tape.replay), device)
    if not isinstance(rng, np.random.Generator):
        raise DTypeError(f"rng: expected a numpy Generator, got {type(rng).__name__}: write np.random.default_rng(0)")
    key = rng.integers(0, 2**32, 4, dtype=np.uint32)
    if _tape.keys is not None:
        _tape.keys.append(key)
    return to_device(key, device)


_ROUND_CONSTANTS = (0xD2511F53, 0xCD9E8D57)
_KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
_MASK = 0xFFFFFFFF


def philox(counter: tuple[Array, Array, Array, Array], key: tuple[Array, Array]) -> tuple[Array, ...]:
    """Ten Philox rounds: four counter words and two key words (uint64 arrays below 2³²) to four random words."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = c0 * _ROUND_CONSTANTS[0], c2 * _ROUND_CONSTANTS[1]
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & _MASK, (p0 >> 32) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + _KEY_STEPS[0]) & _MASK, (k1 + _KEY_STEPS[1]) & _MASK
    return c0, c1, c2, c3


def random_bits(key: Array, size: int) -> Array:
    """`size` random 32-bit words (in uint64): block i of four is Philox at counter (i, i >> 32, key[2], key[3])."""
    xp = namespace(key)
    wide = key.astype(np.uint64)
    block = xp.arange((size + 3) // 4, dtype=np.uint64)
    high = xp.zeros_like(block)
    words = philox((block & _MASK, block >> 32, high + wide[2], high + wide[3]), (high + wide[0], high + wide[1]))
    return xp.stack(words, axis=-1).reshape(-1)[:size]


def _uniform_bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Multiples of 2⁻²⁴ in [0, 1), float32: exact in every dtype a comparison may use."""
    bits = random_bits(key, int(np.prod(shape)))
    return ((bits >> 8).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def _key_sample(r: Any) -> Any:
    return r.rng.integers(0, 2**32, 4, dtype=np.uint32)


def _dropout_reference(x: Any, key: Any, p: float) -> Any:
    kept = np.array([u >= p for u in _uniform_bits(key, x.shape).ravel().tolist()], dtype=bool).reshape(x.shape)
    return np.where(kept, x / (1 - p) if p < 1 else 0.0, 0.0)


@primitive(
    vjp=(lambda g, out, x, key, p: dropout(g, key, p=p), lambda g, out, x, key, p: None),
    samples=lambda r: [
        sample(r(3, 4), _key_sample(r)),
        sample(r(7), _key_sample(r), p=0.2),
        sample(r(3), _key_sample(r), p=0.0),
        sample(r(3), _key_sample(r), p=1.0),
    ],
    reference=_dropout_reference,
)
def dropout(x: Array, key: Array, *, p: float = 0.5) -> Array:
    """Zero with probability p, else x / (1 - p); which ones is a pure function of the key (arXiv 1207.0580).

    >>> import numpy as np, tinygrad_zoo as tz
    >>> key = tz.draw_key(np.random.default_rng(0))
    >>> tz.dropout(tz.ones(8), key, p=0.5).tolist()
    [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0]
    """
    if getattr(key, "dtype", None) != np.uint32:
        raise DTypeError("dropout: key holds four uint32 words: write key=tinygrad_zoo.draw_key(rng)")
    if not 0 <= p <= 1:
        raise UsageError(f"dropout: expected 0 <= p <= 1, got {p}")
    if key.shape != (4,):
        raise ShapeError(f"dropout: expected a key of shape (4,), from draw_key(rng); got {key.shape}")
    if p == 1:
        return namespace(x).zeros_like(x)
    with errstate(x):  # p close to 1 in float16
        return namespace(x).where(_uniform_bits(key, x.shape) >= p, x * (1 / (1 - p)), 0)

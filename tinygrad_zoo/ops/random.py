"""Counter-based randomness: Philox4x32-10 (Salmon et al., SC 2011), the same numbers on every device.

A random op takes its key as an array drawn by the caller, so that recomputation, formulas and replays see the same
numbers. Keys, and whatever else a Generator gives, are drawn on the host by `draw`, which a `checkpoint` replays.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, real_dtype, to_device
from ..errors import DTypeError, ShapeError, UsageError
from ..grad_mode import state
from ..kernels import random as kernels
from ..variable import Array
from .sampling import sample


class _Tape(threading.local):
    drawn: list[Any] | None = None  # what was drawn while a function is recorded
    replay: Iterator[Any] | None = None  # what is given out again while it is recomputed


_tape = _Tape()


@contextlib.contextmanager
def recorded_draws(drawn: list[Any]) -> Iterator[None]:
    """Append all that is drawn inside to `drawn`."""
    outer, _tape.drawn = _tape.drawn, drawn
    try:
        yield
    finally:
        _tape.drawn = outer
        if outer is not None:
            outer.extend(drawn)


@contextlib.contextmanager
def replayed_draws(drawn: list[Any]) -> Iterator[None]:
    """Give out `drawn` again, in order, in place of new values."""
    outer, _tape.replay = _tape.replay, iter(drawn)
    try:
        yield
    finally:
        _tape.replay = outer


def recomputing() -> bool:
    """Whether a `checkpoint` runs its function again: what a forward does once, such as counting it, is done."""
    return _tape.replay is not None


class _Required:
    """Stands for an `rng` that was not given, so that the error can say what to write."""

    def __repr__(self) -> str:
        return "<required>"


REQUIRED: Any = _Required()


def generator(who: str, rng: Any) -> np.random.Generator:
    """`rng` itself, or a DTypeError that says what to write in its place."""
    if isinstance(rng, np.random.Generator):
        return rng
    got = "it is missing" if rng is REQUIRED else f"got {rng!r}"
    raise DTypeError(f"{who}: rng must be a numpy Generator, {got}: write rng=numpy.random.default_rng(0)")


def draw(rng: np.random.Generator, values: Callable[[np.random.Generator], Any], who: str = "draw") -> Any:
    """`values(rng)`, or what it gave before where a `checkpoint` recomputes.

    >>> draw(np.random.default_rng(0), lambda rng: rng.integers(5, 6))
    np.int64(5)
    """
    generator(who, rng)
    if _tape.replay is not None:
        return next(_tape.replay)
    drawn = values(rng) if state.recorder is None else state.recorder.draw(rng, values)
    if _tape.drawn is not None:
        _tape.drawn.append(drawn)
    return drawn


def draw_key(rng: np.random.Generator, device: str = "cpu") -> Array:
    """A fresh key for one call of a random op: four random 32-bit words, uint32 of shape (4,).

    >>> draw_key(np.random.default_rng(0)).dtype
    dtype('uint32')
    """
    return draw(rng, lambda rng: to_device(rng.integers(0, 2**32, 4, dtype=np.uint32), device), "draw_key")


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
    found = kernels.words(key, size)
    if found is not None:
        return found
    xp = namespace(key)
    wide = key.astype(np.uint64)
    block = xp.arange((size + 3) // 4, dtype=np.uint64)
    high = xp.zeros_like(block)
    words = philox((block & _MASK, block >> 32, high + wide[2], high + wide[3]), (high + wide[0], high + wide[1]))
    return xp.stack(words, axis=-1).reshape(-1)[:size]


def _uniform_bits(key: Array, shape: tuple[int, ...]) -> Array:
    """Multiples of 2⁻²⁴ in [0, 1), float32: exact in every dtype a comparison may use."""
    bits = random_bits(key, math.prod(shape))
    return ((bits >> 8).astype(np.float32) * np.float32(2.0**-24)).reshape(shape)


def _fractions(key: Array, size: int, dtype: np.dtype[Any]) -> tuple[Array, int]:
    """`size` random whole numbers below 2ᵇ, and b: a word each, or 53 bits of two for float64, which refine it."""
    if dtype != np.float64:
        return random_bits(key, size), 32
    bits = random_bits(key, 2 * size)
    return (bits[:size] << 21) | (bits[size:] >> 11), 53


def check_draw(who: str, key: Any, shape: Any, dtype: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """The sizes of `shape`, and the dtype, of numbers drawn by `key`; a typed error if one of the three is none."""
    if getattr(key, "dtype", None) != np.uint32:
        raise DTypeError(
            f"{who}: key holds four uint32 words, got {getattr(key, 'dtype', type(key).__name__)}: "
            "write key=tinygrad_zoo.draw_key(rng)"
        )
    if key.shape != (4,):
        raise ShapeError(f"{who}: expected a key of shape (4,), from draw_key(rng); got {key.shape}")
    sizes = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if not all(isinstance(n, (int, np.integer)) and n >= 0 for n in sizes):
        raise ShapeError(f"{who}: expected a shape of sizes >= 0, as in (2, 3), got shape={shape!r}")
    found = real_dtype(dtype, f"{who}: expected a dtype")
    if found.kind != "f":
        raise DTypeError(f"{who}: expected a floating-point dtype, got dtype={dtype!r}: write dtype='float32'")
    return sizes, found


def some_key(r: Any) -> Any:
    """A key, for samples."""
    return r.rng.integers(0, 2**32, 4, dtype=np.uint32)


def _dropout_reference(x: Any, key: Any, p: float) -> Any:
    kept = np.array([u >= p for u in _uniform_bits(key, x.shape).ravel().tolist()], dtype=bool).reshape(x.shape)
    return np.where(kept, x / (1 - p) if p < 1 else 0.0, 0.0)


@primitive(
    vjp=(lambda g, out, x, key, p: dropout(g, key, p=p), lambda g, out, x, key, p: None),
    samples=lambda r: [
        sample(r(3, 4), some_key(r)),
        sample(r(7), some_key(r), p=0.2),
        sample(r(3), some_key(r), p=0.0),
        sample(r(3), some_key(r), p=1.0),
    ],
    reference=_dropout_reference,
)
def dropout(x: Array, key: Array, *, p: float = 0.5) -> Array:
    """Zero with probability p, else x / (1 - p); which ones is a pure function of the key (arXiv 1207.0580).

    >>> key = tz.draw_key(np.random.default_rng(0))
    >>> tz.dropout(tz.ones(8), key, p=0.5).tolist()
    [2.0, 2.0, 2.0, 0.0, 0.0, 0.0, 0.0, 2.0]
    """
    check_draw("dropout", key, x.shape, np.float32)
    if not 0 <= p <= 1:
        raise UsageError(f"dropout: expected 0 <= p <= 1, got p={p}")
    if p == 1:
        return namespace(x).zeros_like(x)
    p = float(p)
    found = kernels.dropout(x, key, p)
    if found is not None:
        return found
    with errstate(x):  # p close to 1 in float16
        return namespace(x).where(_uniform_bits(key, x.shape) >= p, x * (1 / (1 - p)), 0)


def _uniform_reference(key: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """One number at a time: the leading bits that the dtype can hold."""
    bits, width = _fractions(key, math.prod(shape), np.dtype(dtype))
    kept = {"float16": 11, "float32": 24, "float64": 53}[dtype]
    values = [math.ldexp(word >> (width - kept), -kept) for word in bits.tolist()]
    return np.array(values).reshape(shape)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(some_key(r), shape=(3, 5), dtype="float64"),
        sample(some_key(r), shape=(7,), dtype="float32"),
        sample(some_key(r), shape=(2, 2), dtype="float16"),
        sample(some_key(r), shape=(), dtype="float64"),
        sample(some_key(r), shape=(0, 2), dtype="float64"),
    ],
    reference=_uniform_reference,
)
def standard_uniform(key: Array, *, shape: int | tuple[int, ...], dtype: Any = "float32") -> Array:
    """Uniform numbers in [0, 1), a pure function of the key; a narrower dtype has the leading bits of a wider one's.

    >>> tz.standard_uniform(tz.draw_key(np.random.default_rng(0)), (2,)).dtype
    dtype('float32')
    """
    sizes, found = check_draw("standard_uniform", key, shape, dtype)
    bits, width = _fractions(key, math.prod(sizes), found)
    kept = min(np.finfo(found).nmant + 1, width)
    return ((bits >> (width - kept)).astype(found) * found.type(2.0**-kept)).reshape(sizes)


def _normal_reference(key: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """One pair at a time."""
    size = math.prod(shape)
    bits, width = _fractions(key, size + size % 2, np.dtype(dtype))
    half = (size + 1) // 2
    first, second = [], []
    for a, b in zip(bits[:half].tolist(), bits[half:].tolist(), strict=True):
        radius, angle = math.sqrt(-2 * math.log((a + 0.5) / 2**width)), 2 * math.pi * (b + 0.5) / 2**width
        first.append(radius * math.cos(angle))
        second.append(radius * math.sin(angle))
    return np.array([*first, *second][:size], dtype=dtype).astype(np.float64).reshape(shape)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(some_key(r), shape=(3, 5), dtype="float64"),
        sample(some_key(r), shape=(6,), dtype="float32"),
        sample(some_key(r), shape=(), dtype="float64"),
        sample(some_key(r), shape=(0, 2), dtype="float64"),
    ],
    reference=_normal_reference,
)
def standard_normal(key: Array, *, shape: int | tuple[int, ...], dtype: Any = "float32") -> Array:
    """Standard normal numbers, a pure function of the key: √(-2 log u) cos 2πv and … sin 2πv (Box & Muller, 1958).

    Computed in float64: a narrower dtype has those numbers from 32 bits of u and v, rounded.

    >>> tz.standard_normal(tz.draw_key(np.random.default_rng(0)), (2, 3)).shape
    (2, 3)
    """
    sizes, found = check_draw("standard_normal", key, shape, dtype)
    xp, size = namespace(key), math.prod(sizes)
    half = (size + 1) // 2
    bits, width = _fractions(key, 2 * half, found)
    unit = (bits.astype(np.float64) + 0.5) * 2.0**-width  # in (0, 1]
    radius, angle = xp.sqrt(-2 * xp.log(unit[:half])), 2 * math.pi * unit[half:]
    pairs = xp.concatenate((radius * xp.cos(angle), radius * xp.sin(angle)))
    return pairs[:size].astype(found).reshape(sizes)


def inner_fractions(key: Array, sizes: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Random numbers in (0, 1) in float64, never an end: 32 bits and a half, or 52 where `dtype` is float64."""
    bits, width = _fractions(key, math.prod(sizes), dtype)
    kept = min(width, 52)  # and a half of the last one more: 53 bits, exact in float64
    return (((bits >> (width - kept)).astype(np.float64) + 0.5) * 2.0**-kept).reshape(sizes)


def _gumbel_reference(key: Any, shape: tuple[int, ...], dtype: str) -> Any:
    """One number at a time."""
    bits, width = _fractions(key, math.prod(shape), np.dtype(dtype))
    kept = {32: 32, 53: 52}[width]
    values = [-math.log(-math.log(((word >> (width - kept)) + 0.5) / 2**kept)) for word in bits.tolist()]
    return np.array(values, dtype=dtype).astype(np.float64).reshape(shape)


@primitive(
    vjp=None,
    samples=lambda r: [
        sample(some_key(r), shape=(3, 5), dtype="float64"),
        sample(some_key(r), shape=(6,), dtype="float32"),
        sample(some_key(r), shape=(), dtype="float64"),
        sample(some_key(r), shape=(0, 2), dtype="float64"),
    ],
    reference=_gumbel_reference,
)
def standard_gumbel(key: Array, *, shape: int | tuple[int, ...], dtype: Any = "float32") -> Array:
    """Standard Gumbel numbers -log(-log u), a pure function of the key; u is never 0 or 1, so all are finite.

    Computed in float64: a narrower dtype has those numbers from 32 bits of u, rounded.

    >>> tz.standard_gumbel(tz.draw_key(np.random.default_rng(0)), (2, 3)).shape
    (2, 3)
    """
    sizes, found = check_draw("standard_gumbel", key, shape, dtype)
    xp = namespace(key)
    return (-xp.log(-xp.log(inner_fractions(key, sizes, found)))).astype(found)

"""kernels/random: the words are Philox's, and dropout by them has the bits of its formula."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.kernels import dispatch, threads
from tinygrad_zoo.kernels import random as kernels
from tinygrad_zoo.kernels.random import cpu
from tinygrad_zoo.ops import random

LIMIT = 2**32 - 1
# Counter, key and words of Philox4x32-10, from the known-answer tests of the authors' Random123.
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((LIMIT,) * 4, (LIMIT,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def key(seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, 2**32, 4, dtype=np.uint32)


def by_formula(call: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "module", lambda package: None)
        return call()


@pytest.mark.parametrize(("counter", "pair", "words"), KNOWN)
def test_the_authors_words(counter: tuple[int, ...], pair: tuple[int, ...], words: tuple[int, ...]) -> None:
    wide = [np.array([word], np.uint64) for word in (*counter, *pair)]
    assert tuple(int(word[0]) for word in random.philox(tuple(wide[:4]), tuple(wide[4:]))) == words
    if counter[1] < 2**31:  # the kernel counts blocks in an int64
        out = np.empty(4, np.uint64)
        block = np.int64(counter[0] + (counter[1] << 32))
        cpu.fill(out, block, tuple(np.uint64(word) for word in (*pair, *counter[2:])))
        assert tuple(out.tolist()) == words


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("size", [0, 1, 4, 5, 255, 256, 257, 10_001])
def test_the_kernels_words_are_the_formulas(size: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "parts", lambda nanoseconds: parts)
    for seed in range(3):
        found = random.random_bits(key(seed), size)
        expected = by_formula(lambda seed=seed: random.random_bits(key(seed), size), monkeypatch)
        assert found.dtype == expected.dtype == np.uint64 and found.tolist() == expected.tolist()
    doubled = np.repeat(key(), 2)[::2]
    assert np.array_equal(random.random_bits(doubled, 9), random.random_bits(key(), 9))


def arrays(dtype: str) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((30, 41)).astype(dtype)
    frozen = matrix.copy()
    frozen.flags.writeable = False
    special = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 3e38] * 9, dtype)
    shapes = ((), (1,), (0,), (3, 0), (255,), (256,), (257,), (2, 3, 500), (40_003,))
    return {
        **{f"shape {shape}": rng.standard_normal(shape).astype(dtype) for shape in shapes},
        "transposed": matrix.T,
        "backwards": matrix[::-1, ::-2],
        "frozen": frozen,
        "special": special,
        "spread": np.broadcast_to(matrix[0], (5, 41)),
        "swapped": matrix.astype(np.dtype(dtype).newbyteorder()),
        "unaligned": np.frombuffer(bytearray(8 * 5 + 1), np.uint8)[1:].view(dtype),
    }


@pytest.mark.parametrize("p", [0.0, 1e-9, 0.1, 0.5, 1 / 3, 0.999, 1 - 2.0**-24, 1 - 1e-9])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_kernels_dropout_is_the_formulas(dtype: str, p: float, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, x in arrays(dtype).items():
        expected = by_formula(lambda x=x: tz.dropout(x, key(), p=p), monkeypatch)
        for parts in (1, 2, 3):
            monkeypatch.setattr(threads, "parts", lambda nanoseconds, parts=parts: parts)
            found = tz.dropout(x, key(), p=p)
            assert type(found) is np.ndarray and found.shape == x.shape and found.dtype == expected.dtype, name
            assert not np.shares_memory(found, x) and found.tobytes() == expected.tobytes(), name


def test_a_number_equal_to_p_is_kept_and_the_next_below_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = random._uniform_bits(key(), (64,))
    for i in (3, 10, 41):
        p = float(numbers[i])
        for chosen, kept in ((p, True), (float(np.nextafter(numbers[i], np.float32(2))), False)):
            found = tz.dropout(np.ones(64), key(), p=chosen)
            expected = by_formula(lambda p=chosen: tz.dropout(np.ones(64), key(), p=p), monkeypatch)
            assert (found[i] != 0) == (expected[i] != 0) == kept


def test_p_may_be_a_scalar_of_numpy_and_the_dtype_stays() -> None:
    x = np.ones(8, np.float32)
    assert tz.dropout(x, key(), p=np.float64(0.5)).tobytes() == tz.dropout(x, key(), p=0.5).tobytes()
    half = tz.dropout(x.astype(np.float16), key(), p=np.float64(0.5))
    assert half.dtype == "float16" and np.array_equal(half, tz.dropout(x, key(), p=0.5))


def test_the_gradient_has_the_mask_of_the_value() -> None:
    x = tz.tensor(np.random.default_rng(2).standard_normal(50_000), dtype="float32", requires_grad=True)
    out = tz.dropout(x, key(), p=0.3)
    out.sum().backward()
    assert np.array_equal(x.grad.numpy(), np.where(out.numpy() != 0, np.float32(1 / 0.7), np.float32(0)))
    assert abs((out.numpy() == 0).mean() - 0.3) < 0.01


def test_what_no_kernel_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    assert kernels.dropout(np.ones(3, np.float16), key(), 0.5) is None
    assert kernels.dropout(tz.ones(3), key(), 0.5) is None and kernels.words(tz.tensor(key()), 3) is None
    monkeypatch.setattr(dispatch, "enabled", lambda: False)
    monkeypatch.setattr(kernels, "module", dispatch.module.__wrapped__)
    assert kernels.dropout(np.ones(3), key(), 0.5) is None and kernels.words(key(), 3) is None

"""kernels/parts.py, and the regions of kernels/machine: every part once, whoever does it, and the bits of the whole."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numba import prange

from tinygrad_zoo.kernels import gemm, jit, machine, parts, threads
from tinygrad_zoo.kernels.dispatch import module
from tinygrad_zoo.kernels.jit import kernel

if not jit.enabled():
    pytest.skip("kernels are turned off", allow_module_level=True)

SINGLE = np.dtype(np.float32)


@kernel("void(i8[::1], i8)", parallel=True)
def tally(counts, parts):
    """Every part counts itself."""
    for part in prange(parts):
        counts[part] += 1


@kernel("void(i8[::1], i8, i8)", parallel=True)
def ahead(counts, parts, step):
    """Another argument behind the number of parts, and something before the loop."""
    twice = 2 * step
    for part in prange(parts):
        counts[part] += twice


@kernel("void(i8[::1], i8, i8)", parallel=True)
def failing(counts, wrong, parts):
    for part in prange(parts):
        if part == wrong:
            raise MemoryError("no room")
        counts[part] += 1


@pytest.fixture(params=["threads", "none"])
def threaded(request: pytest.FixtureRequest) -> Iterator[bool]:
    """With threads to ask for, and without: the parts follow one another."""
    before = int(parts.FORK[0])
    parts.start() if request.param == "threads" else parts.stop()
    yield request.param == "threads"
    parts.FORK[0] = before


# ---- a kernel
@pytest.mark.parametrize("count", [1, 2, 3, 7, 64])
def test_every_part_runs_once(count: int, threaded: bool) -> None:
    counts = np.zeros(count, np.int64)
    for time in range(1, 30):
        tally[SINGLE](counts, count)
        assert (counts == time).all()
    ahead[SINGLE](counts, count, 5)
    assert (counts == 39).all()


def test_one_part_alone(threaded: bool) -> None:
    counts = np.zeros(3, np.int64)
    for part, times in enumerate((1, 2, 0)):
        for _ in range(times):
            tally[SINGLE](counts, parts.one(part, 3))
    assert counts.tolist() == [1, 2, 0]


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_part_that_fails_is_told(wrong: int, threaded: bool) -> None:
    counts = np.zeros(3, np.int64)
    with pytest.raises(MemoryError):
        failing[SINGLE](counts, wrong, 3)
    assert counts[wrong] == 0
    failing[SINGLE](counts, -1, 3)
    assert (counts >= 1).all()


def test_a_loop_over_parts_stands_last_and_alone() -> None:
    def two(x, parts):  # type: ignore[no-untyped-def]
        for part in prange(parts):
            x[part] = 1
        for part in prange(parts):
            x[part] = 2

    def behind(x, parts):  # type: ignore[no-untyped-def]
        for part in prange(parts):
            x[part] = 1
        x[0] = 2

    for function in (two, behind):
        with pytest.raises(ValueError, match=rf"{function.__name__}: expected one loop over parts, .* at its end"):
            parts.shared(function)


def test_all_kernels_are_of_that_form() -> None:
    for path in Path(jit.__file__).parent.glob("*/cpu.py"):
        importlib.import_module(f"tinygrad_zoo.kernels.{path.parent.name}.cpu")
    ours = [k for k in jit.KERNELS if isinstance(k, jit.Kernel) and k.function.__module__.startswith("tinygrad_zoo")]
    shared = [k for k in ours if k.parallel]
    assert len(shared) > 60
    for made in shared:
        parts.shared(made.function)


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_products_have_the_bits_of_one_part(count: int, threaded: bool) -> None:
    cpu, rng = module(gemm.__name__), np.random.default_rng(0)
    x, w, g = (rng.standard_normal(shape).astype(SINGLE) for shape in ((37, 70), (129, 70), (37, 129)))
    bias = rng.standard_normal(129).astype(SINGLE)
    addresses = cpu.product[SINGLE], cpu.panel[SINGLE]
    outs = [[np.zeros(shape, SINGLE) for shape in ((37, 129), (129, 70), (129,))] for _ in range(2)]
    for n, (y, gw, gb) in zip((1, count), outs, strict=True):
        cpu.matmul[SINGLE](x, w.T, bias, y, *addresses, n)
        cpu.weight_gradient[SINGLE](g, x, gw, gb, *addresses, n)
    for whole, found in zip(*outs, strict=True):
        assert whole.any() and whole.tobytes() == found.tobytes()
    np.testing.assert_allclose(outs[0][2], g.sum(axis=0), rtol=1e-5, atol=1e-5)


# ---- several kernels in one region
@kernel("void(i8[::1], i8[::1], i8)")
def note(log, at, name):
    log[at[0]] = name
    at[0] += 1


@kernel("void(i8[::1], i8[::1], i8[::1], i8, i8)", parallel=True)
def note_part(log, at, seen, name, parts):
    """The first part writes its name, and each how often it has come."""
    for part in prange(parts):
        if part == 0:
            log[at[0]] = name
            at[0] += 1
        seen[part] += 1


def test_a_region_stands_in_the_place_of_its_first_launch(threaded: bool) -> None:
    program, log, at, seen = machine.Program(), np.zeros(20, np.int64), np.zeros(1, np.int64), np.zeros(3, np.int64)
    for name in range(1, 10):
        if name in (3, 5, 7):
            program.launch(note_part, SINGLE, (log, at, seen, name, 1))
        else:
            program.launch(note, SINGLE, (log, at, name))
    program.together([2, 4, 6], 3, [5])
    program.ready()
    program.run(0, 9)
    assert log[:9].tolist() == [1, 2, 6, 3, 5, 7, 4, 8, 9]
    assert seen.tolist() == [3, 3, 3]
    at[0], log[:] = 0, 0
    program.run(0, 2)
    program.run(7, 9)
    assert log[:5].tolist() == [1, 2, 8, 9, 0] and seen.tolist() == [3, 3, 3]


def test_a_launch_of_a_region_that_fails_is_told(threaded: bool) -> None:
    program, counts = machine.Program(), np.zeros(2, np.int64)
    program.launch(failing, SINGLE, (counts, 1, 2))
    program.launch(tally, SINGLE, (counts, 2))
    program.launch(tally, SINGLE, (counts, 2))
    program.together([0, 1], 2, [])
    program.ready()
    for _ in range(2):
        with pytest.raises(MemoryError):
            program.run(0, 3)
    assert counts.tolist() == [4, 0]  # the other part goes on; what follows the region does not


def test_a_launch_can_be_one_part_for_a_while() -> None:
    program, counts = machine.Program(), np.zeros(3, np.int64)
    program.launch(tally, SINGLE, (counts, 3))
    program.ready()
    program.one(0, 1, 3)
    program.run(0, 1)
    assert counts.tolist() == [0, 1, 0]
    program.one(0, -1, 3)
    program.run(0, 1)
    assert counts.tolist() == [1, 2, 1] and program.parts == [3]


def test_a_forked_child_does_the_parts_alone() -> None:
    program, counts = machine.Program(), np.zeros(4, np.int64)
    for _ in range(2):
        program.launch(tally, SINGLE, (counts, 4))
    program.together([0, 1], 4, [])
    program.ready()
    threads.parts(1e9)
    parts.start()
    program.run(0, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads
        child = os.fork()
    if child == 0:
        for _ in range(5):
            program.run(0, 2)
        tally[SINGLE](counts, 4)
        os._exit(0 if counts.tolist() == [13] * 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
    program.run(0, 2)
    assert counts.tolist() == [4] * 4

"""kernels/optimizer: loops equal array formulas bitwise, and which of them serves depends on the call alone."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tinygrad_zoo.kernels import dispatch, threads
from tinygrad_zoo.kernels import optimizer as kernels
from tinygrad_zoo.kernels.pieces import pieces

PACKAGE = "tinygrad_zoo.kernels.optimizer"
ADAM = {"lr": 0.01, "beta1": 0.8, "beta2": 0.95, "eps": 1e-8}
# Each call: the function, how many arrays it takes, its options at step t.
CALLS = {
    "sgd": (kernels.sgd, 2, lambda t: {"lr": 0.1 / t, "weight_decay": 0.01}),
    "momentum": (kernels.sgd, 3, lambda t: {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    "nesterov": (kernels.sgd, 3, lambda t: {"lr": 0.1, "weight_decay": 0.01, "momentum": 0.9, "nesterov": True}),
    "adam": (kernels.adam, 4, lambda t: ADAM | {"t": t, "weight_decay": 0.1}),
    "adamw": (kernels.adam, 4, lambda t: ADAM | {"t": t, "weight_decay": 0.1, "decoupled": True}),
    "amsgrad": (kernels.adam, 5, lambda t: ADAM | {"t": t}),
    "rmsprop": (kernels.rmsprop, 3, lambda t: {"lr": 0.01}),
    "rmsprop centered": (kernels.rmsprop, 4, lambda t: {"lr": 0.01, "alpha": 0.7}),
    "rmsprop all": (kernels.rmsprop, 5, lambda t: {"lr": 0.01, "weight_decay": 0.1, "momentum": 0.9}),
    "adagrad": (kernels.adagrad, 3, lambda t: {"lr": 0.1 / t, "weight_decay": 0.1}),
    "ema": (kernels.ema, 2, lambda t: {"decay": 1 - 1 / t}),
}


def trajectory(name, dtype, n, *, compiled, steps=6, poison=None, monkeypatch):
    """The arrays of a call after some steps with fresh random gradients."""
    function, count, options = CALLS[name]
    rng = np.random.default_rng([n, len(name)])
    arrays = [rng.standard_normal(n).astype(dtype) for _ in range(2)] + [np.zeros(n, dtype) for _ in range(count - 2)]
    with monkeypatch.context() as patch:
        if not compiled:
            patch.setattr(dispatch, "module", lambda package: None)
        for t in range(1, steps + 1):
            arrays[1][:] = rng.standard_normal(n)
            if poison is not None and t == 3:
                arrays[1][: n // 2] = poison
            function(*arrays, **options(t))
    return arrays


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CALLS)
def test_loops_equal_formulas_bitwise(name, dtype, monkeypatch):
    for n in (0, 1, 7, 16, 33, 1000):
        loops = trajectory(name, dtype, n, compiled=True, monkeypatch=monkeypatch)
        formulas = trajectory(name, dtype, n, compiled=False, monkeypatch=monkeypatch)
        assert [a.tobytes() for a in loops] == [a.tobytes() for a in formulas], n
    assert all(a.dtype == dtype for a in loops)


def cut(array, *bounds):
    """Copies of the pieces of a flat array, and where they begin and end."""
    bounds = np.array((0, *bounds, array.size))
    return [array[a:b].copy() for a, b in itertools.pairwise(bounds)], bounds


@pytest.mark.parametrize("parts", [1, 2, 5])
@pytest.mark.parametrize("name", CALLS)
def test_gradients_in_pieces_give_the_bits_of_gradients_side_by_side(name, parts, monkeypatch):
    function, count, options = CALLS[name]
    rng = np.random.default_rng(5)
    monkeypatch.setattr(threads, "parts", lambda nanoseconds: parts)
    for dtype, n, cuts in (("float32", 1000, (0, 1, 1, 490, 999)), ("float64", 77, (16, 32)), ("float32", 3, ())):
        arrays = [np.abs(rng.standard_normal(n)).astype(dtype) for _ in range(count)]
        expected = [x.copy() for x in arrays]
        function(arrays[0], pieces(*cut(arrays[1], *cuts)), *arrays[2:], **options(3))
        with monkeypatch.context() as patch:
            patch.setattr(dispatch, "module", lambda package: None)
            function(*expected, **options(3))
        assert [a.tobytes() for a in arrays] == [e.tobytes() for e in expected]


def test_only_what_a_kernel_can_read_is_taken_in_pieces(monkeypatch):
    good = np.ones((2, 6), np.float32)
    bounds = np.array([0, 12, 24])
    table = pieces([good, good.ravel()], bounds)
    assert table.addresses.tolist() == [good.ctypes.data] * 2 and (table.size, table.dtype) == (24, "float32")
    assert pieces([good, np.ones((0, 3), np.float32)], np.array([0, 12, 12])).size == 12
    frozen = good.copy()
    frozen.flags.writeable = False
    unaligned = np.frombuffer(bytearray(49), np.uint8)[1:].view(np.float32)
    wrong = [
        *(good.T, good[:, ::-1], good.astype(np.float64), good.astype(">f4"), good.view(np.int32), good[:1], frozen),
        *(unaligned, good.view(type("Subclass", (np.ndarray,), {})), "a string", None, 3.0, np.float32(1)),
    ]
    for other in wrong:
        assert pieces([good, other], bounds) is None, repr(other)
    assert pieces([good.astype(np.float16)] * 2, bounds) is None
    monkeypatch.setattr(dispatch, "module", lambda package: None)
    assert pieces([good, good], bounds) is None


def test_pieces_that_do_not_fit_are_refused():
    table = pieces(*cut(np.ones(6), 2))
    p = np.ones(6)
    for arrays in ((np.ones(7), table), (np.ones(6, np.float32), table), (p, table, np.ones(5))):
        with pytest.raises(ValueError, match="pieces of 6 elements, float64, do not fit"):
            kernels.sgd(*arrays, lr=0.1)
    with pytest.raises(TypeError):  # Numba's own refusal
        kernels.sgd(np.ones(12)[::2], table, lr=0.1)
    assert p.tolist() == [1.0] * 6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_norm_is_exact_to_rounding_and_the_same_at_any_number_of_parts(dtype, monkeypatch):
    rng = np.random.default_rng(6)
    values = (rng.standard_normal(300_001) * 10.0 ** rng.integers(-4, 4, 300_001)).astype(dtype)
    table, found = pieces(*cut(values, 0, 3, 4096, 70_000, 70_000, 299_999)), []
    for parts in (1, 2, 3, 8):
        monkeypatch.setattr(threads, "parts", lambda nanoseconds, parts=parts: parts)
        found.append(kernels.norm(table))
    exact = math.sqrt(math.fsum(float(x) ** 2 for x in values))
    assert len(set(found)) == 1 and found[0] == pytest.approx(exact, rel=1e-14)
    kernels.scale(table, 0.1)
    assert np.array_equal(np.concatenate(table.arrays), values * np.dtype(dtype).type(0.1))
    assert kernels.norm(pieces(*cut(values[:0]))) == 0.0
    values[1234] = np.nan
    assert math.isnan(kernels.norm(pieces(*cut(values, 70_000))))


@pytest.mark.parametrize("poison", [np.nan, np.inf])
@pytest.mark.parametrize("name", CALLS)
def test_non_finite_gradients_show_in_both(name, poison, monkeypatch):
    with np.errstate(all="ignore"):
        settings = {"poison": poison, "monkeypatch": monkeypatch}
        loops = trajectory(name, "float32", 20, compiled=True, **settings)
        formulas = trajectory(name, "float32", 20, compiled=False, **settings)
    for a, b in zip(loops, formulas, strict=True):
        assert np.array_equal(a, b, equal_nan=True)
    if np.isnan(poison) and name != "sgd" and CALLS[name][1] > 2:
        assert np.isnan(loops[0][:10]).all() and np.isfinite(loops[0][10:]).all()


def test_a_constant_is_the_fixed_point_of_ema_and_the_variance_of_centered_rmsprop_stays_finite():
    x = np.full(3, 0.1, np.float32)
    average = x.copy()
    for _ in range(1000):
        kernels.ema(average, x, decay=0.999)
    assert np.array_equal(average, x)
    rng = np.random.default_rng(0)
    gradient = rng.standard_normal(1000).astype(np.float32)
    p, square, mean = (np.zeros(1000, np.float32) for _ in range(3))
    lowest = 0.0
    for _ in range(2000):  # a constant gradient has variance 0, which rounding makes negative
        kernels.rmsprop(p, gradient, square, mean, lr=0.0, alpha=0.9)
        lowest = min(lowest, float((square - mean * mean).min()))
    assert lowest < 0 and np.isfinite(p).all()


def test_loops_serve_what_they_were_written_for_and_nothing_else(monkeypatch):
    monkeypatch.setattr(dispatch, "module", dispatch.module.__wrapped__)  # reads the setting anew
    monkeypatch.setattr(dispatch, "enabled", lambda: True)
    flat = np.zeros(4, np.float32)
    frozen = flat.copy()
    frozen.flags.writeable = False
    assert dispatch.loops(PACKAGE, flat, flat.copy()) is sys.modules[f"{PACKAGE}.cpu"]
    for wrong in (
        flat.astype(np.float16),
        flat.astype(np.float64),
        flat.astype(">f4"),
        np.zeros(8, np.float32)[::2],
        np.zeros(5, np.float32),
        flat.reshape(2, 2),
        frozen,
        flat.view(type("Subclass", (np.ndarray,), {})),
    ):
        assert dispatch.loops(PACKAGE, flat, wrong) is None
        assert dispatch.loops(PACKAGE, wrong, flat) is None
    assert dispatch.loops(PACKAGE, flat.astype(np.float16)) is None
    monkeypatch.setattr(dispatch, "enabled", lambda: False)
    assert dispatch.loops(PACKAGE, flat) is None


@pytest.mark.parametrize("kind", ["float16", "strided", "matrix"])
def test_formulas_serve_the_rest(kind):
    rng = np.random.default_rng(1)
    p, g, m, v = (np.abs(rng.standard_normal((6, 4))) for _ in range(4))
    expected = [x.ravel().copy() for x in (p, g, m, v)]
    kernels.adam(*expected, t=2, lr=0.1, eps=1e-3)
    if kind == "float16":
        arrays = [x.astype(np.float16) for x in (p, g, m, v)]
    else:
        arrays = [np.array(x, order="F")[:, ::1] if kind == "matrix" else x.T for x in (p, g, m, v)]
    kernels.adam(*arrays, t=2, lr=0.1, eps=1e-3)
    for a, e in zip(arrays, expected, strict=True):
        a = a.T if kind == "strided" else a
        assert np.allclose(a.ravel(), e, rtol=0, atol=4e-3 if kind == "float16" else 0)
    assert arrays[0].dtype == ("float16" if kind == "float16" else "float64")


@pytest.mark.parametrize("disabled", ["0", "1"])
def test_numba_loads_at_the_first_step_and_never_where_it_is_disabled(disabled):
    script = """
import sys
import numpy as np
import tinygrad_zoo as tz
from tinygrad_zoo import optim
p = tz.tensor(np.linspace(-1, 1, 9), requires_grad=True)
optimizer = optim.AdamW([p], lr=0.1)
assert "numba" not in sys.modules
for _ in range(3):
    p.grad = tz.tensor(np.sin(9 * p.numpy()))
    optimizer.step()
print("numba" in sys.modules, p.numpy().tobytes().hex())
"""
    environment = os.environ | {"NUMBA_DISABLE_JIT": disabled}
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", script], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    loaded, bits = done.stdout.split()
    assert loaded == str(disabled == "0")
    p, m, v = np.linspace(-1, 1, 9), np.zeros(9), np.zeros(9)
    for t in range(1, 4):
        kernels.adam(p, np.sin(9 * p), m, v, t=t, lr=0.1, weight_decay=0.01, decoupled=True)
    assert bits == p.tobytes().hex()

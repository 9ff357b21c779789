"""Devices: the environment variable, names, a CuPy that is absent or finds no GPU, and moves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo import backend
from tinygrad_zoo.errors import DeviceError, DTypeError, MissingDependencyError

ROOT = Path(tz.__file__).parent.parent

# The little of CuPy that finding a device asks for; each test says what getDeviceCount does.
FAKE_CUPY = """
class runtime:
    calls = 0

    @staticmethod
    def getDeviceCount():
        runtime.calls += 1
        {count}


class cuda:
    runtime = runtime
"""


def run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """`code` in an interpreter of its own, where `folder` comes first on the path."""
    variables = {"PATH": "", "PYTHONPATH": f"{folder}:{ROOT}", **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)


def fake_cupy(folder: Path, count: str) -> Path:
    (folder / "cupy.py").write_text(FAKE_CUPY.format(count=count))
    return folder


def no_cupy(folder: Path) -> Path:
    (folder / "cupy.py").write_text("raise ModuleNotFoundError(\"No module named 'cupy'\")")
    return folder


CAUGHT = """
import tinygrad_zoo as tz
try:
    tz.zeros(2)
except tz.errors.TinygradZooError as error:
    print(type(error).__name__, error)
"""


def test_the_default_is_numpy_and_imports_no_cupy(tmp_path: Path) -> None:
    code = "import sys, tinygrad_zoo as tz; print(tz.zeros(2).device, 'cupy' in sys.modules)"
    for environment in ({}, {"TINYGRAD_ZOO_BACKEND": "numpy"}, {"TINYGRAD_ZOO_BACKEND": " NumPy "}):
        assert run(code, fake_cupy(tmp_path, "return 1"), **environment).stdout == "cpu False\n"


def test_the_variable_is_read_once_and_not_before_it_is_needed(tmp_path: Path) -> None:
    code = """
import os, tinygrad_zoo as tz
os.environ["TINYGRAD_ZOO_BACKEND"] = "numpy"
print(tz.zeros(2).device)
os.environ["TINYGRAD_ZOO_BACKEND"] = "wrong"
print(tz.zeros(2).device)
"""
    result = run(code, tmp_path, TINYGRAD_ZOO_BACKEND="nonsense")
    assert result.stdout == "cpu\ncpu\n", result.stderr


@pytest.mark.parametrize("name", ["nonsense", "auto", "CUDA", "torch"])
def test_an_unknown_backend_is_no_silent_fall_back(name: str, tmp_path: Path) -> None:
    result = run(CAUGHT, tmp_path, TINYGRAD_ZOO_BACKEND=name)
    assert result.stdout == f"DeviceError TINYGRAD_ZOO_BACKEND={name!r}: expected 'numpy' or 'cupy'\n", result.stderr


@pytest.mark.parametrize("name", ["", "numpy", "cpu", " NumPy "])
def test_the_host_has_two_names_and_is_the_default(name: str, tmp_path: Path) -> None:
    result = run("import tinygrad_zoo as tz; print(tz.zeros(2, 3).device)", tmp_path, TINYGRAD_ZOO_BACKEND=name)
    assert result.stdout == "cpu\n", result.stderr


def test_without_cupy_the_extra_is_named(tmp_path: Path) -> None:
    result = run(CAUGHT, no_cupy(tmp_path), TINYGRAD_ZOO_BACKEND="cupy")
    assert result.stdout.startswith("MissingDependencyError cupy is not importable"), result.stderr
    assert 'pip install "tinygrad_zoo[cuda13]" (or [cuda12] for CUDA 12)' in result.stdout


def test_a_driver_that_fails_and_no_device_are_device_errors(tmp_path: Path) -> None:
    failing = fake_cupy(tmp_path, "raise RuntimeError('cudaErrorInsufficientDriver')")
    result = run(CAUGHT, failing, TINYGRAD_ZOO_BACKEND="cupy")
    expected = "DeviceError device 'cupy': CuPy finds no usable CUDA driver or device (cudaErrorInsufficientDriver)\n"
    assert result.stdout == expected, result.stderr
    result = run(CAUGHT, fake_cupy(tmp_path, "return 0"), TINYGRAD_ZOO_BACKEND="cupy")
    assert result.stdout == "DeviceError device 'cupy': CUDA reports 0 device(s), counted from cupy:0\n"


def test_device_names_where_cupy_reports_one_device(tmp_path: Path) -> None:
    code = """
import sys
from tinygrad_zoo import backend, errors
print(backend.default_device(), backend.default_device(), sys.modules["cupy"].runtime.calls)
print(backend.resolve("cupy"), backend.resolve("cupy:0"), backend.resolve("numpy"), backend.resolve("cpu"))
try:
    backend.resolve("cupy:1")
except errors.DeviceError as error:
    print(error)
"""
    result = run(code, fake_cupy(tmp_path, "return 1"), TINYGRAD_ZOO_BACKEND="cupy")
    assert result.stdout.splitlines() == [
        "cupy:0 cupy:0 1",
        "cupy:0 cupy:0 cpu cpu",
        "device 'cupy:1': CUDA reports 1 device(s), counted from cupy:0",
    ], result.stderr


NO_DEVICES = ["gpu", "cuda:0", "cupy:x", "cupy:-1", "cupy:²", "cpu:0", "numpy:1", "cupysims", "cupysim:x", "", 0, None]


@pytest.mark.parametrize("name", NO_DEVICES)
def test_names_that_are_no_device(name: Any) -> None:
    with pytest.raises(DeviceError, match=r"no device .*: write 'numpy' \(or 'cpu'\), 'cupy' or 'cupy:1'"):
        backend.resolve(name)


def test_moving_to_an_absent_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(no_cupy(tmp_path))
    monkeypatch.delitem(sys.modules, "cupy", raising=False)
    x = tz.zeros(2)
    for move in (lambda: x.to("cupy"), lambda: x.to("cupy:1"), lambda: tz.zeros(2, device="cupy")):
        with pytest.raises(MissingDependencyError, match=r"tinygrad_zoo\[cuda13\]"):
            move()
    with pytest.raises(DeviceError, match="no device 'cuda'"):
        tz.zeros(2, device="cuda")
    with pytest.raises(DTypeError, match=r"expected a dtype or a device \('cpu', 'cupy:0'\), got 'cuda'"):
        x.to("cuda")


def test_using_sets_the_default_for_a_while() -> None:
    with backend.using("numpy"):
        assert backend.default_device() == tz.zeros(1).device == "cpu"
        with pytest.raises(DeviceError), backend.using("nowhere"):
            pass
        assert backend.default_device() == "cpu"


def test_the_namespace_is_that_of_the_first_array() -> None:
    assert backend.namespace() is backend.namespace(1.0, None, np.float32(1)) is backend.namespace(np.ones(1)) is np


def test_the_namespace_of_a_device_array_is_what_its_class_says(tmp_path: Path) -> None:
    code = """
import sys, types
import numpy as np
from tinygrad_zoo import backend
cupy = sys.modules["cupy"] = types.ModuleType("cupy")
x = type("ndarray", (), {"__module__": "cupy", "dtype": np.dtype("f"), "device": types.SimpleNamespace(id=1)})()
print(backend.namespace(2.0, x) is cupy, backend.device_of(x), backend.on_host(x))
"""
    assert run(code, tmp_path).stdout == "True cupy:1 False\n"

    class Subclass(np.ndarray): ...

    assert backend.namespace(np.ones(2).view(Subclass)) is np


# ---- the stand-in for CuPy
def test_the_stand_in_is_a_device(tmp_path: Path) -> None:
    code = "import tinygrad_zoo as tz; print(tz.zeros(2).device, (tz.ones(2) * 2).to('cpu').tolist())"
    for name in ("cupysim", "CuPySim", "cupysim:0"):
        result = run(code, no_cupy(tmp_path), TINYGRAD_ZOO_BACKEND=name)
        assert result.stdout == "cupysim:0 [2.0, 2.0]\n", result.stderr
    assert backend.resolve("cupysim") == backend.resolve("cupysim:0") == "cupysim:0"
    with pytest.raises(DeviceError, match="counted from cupysim:0"):
        backend.resolve("cupysim:1")
    assert backend.is_device("cupysim") and backend.is_device("cpu") and not backend.is_device(np.float32)


def test_moves_to_the_stand_in_and_back() -> None:
    x = tz.tensor([1.0, 2.0], requires_grad=True)
    there = x.to("cupysim")
    assert (x.device, there.device) == ("cpu", "cupysim:0") and there.to("cupysim:0") is there
    (there * there).sum().backward()
    assert x.grad.device == "cpu" and x.grad.tolist() == [2.0, 4.0]
    with pytest.raises(DeviceError, match="x is on cpu and y on"):
        x * there
    array = there.data
    assert backend.device_of(array) == "cupysim:0" and not backend.on_host(array)
    assert type(backend.to_host(array)) is np.ndarray and backend.to_device(array, "cupysim") is array
    copied = backend.asarray(array)
    assert backend.device_of(copied) == "cupysim:0" and not backend.namespace(array).may_share_memory(copied, array)
    assert tz.tensor(array, device="cpu").tolist() == there.tolist() == there.numpy().tolist()
    assert repr(there.detach()) == "tensor([1., 2.], device='cupysim:0')"


def test_directions_on_another_device_are_refused_and_arrays_are_moved() -> None:
    x, host = tz.tensor([1.0, 2.0], device="cupysim", requires_grad=True), tz.ones(2)
    for call in (
        lambda v: (x * 2).backward(v),
        lambda v: tz.vjp(lambda y: y * 2, x)[1](v),
        lambda v: tz.jvp(lambda y: y * 2, [x], [v]),
        lambda v: tz.hvp(lambda y: (y * y).sum(), x, v),
    ):
        with pytest.raises(DeviceError, match=r"is on cupysim:0, .* on cpu: write .*\.to\("):
            call(host)
        call(host.numpy())
    assert x.grad.device == "cupysim:0"


def test_inside_using_new_tensors_are_there() -> None:
    with backend.using("cupysim"):
        assert tz.zeros(1).device == tz.tensor(np.ones(2)).device == "cupysim:0"
        with backend.using("cpu"):
            assert tz.zeros(1).device == "cpu"
    assert tz.zeros(1).device == "cpu"


def test_bridges_to_scipy_on_the_stand_in() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 3, 3)) + 3 * np.eye(3), rng.standard_normal((4, 3, 2))
    there = [backend.to_device(x, "cupysim") for x in (a, b)]
    found = backend.solve_triangular(*there, lower=True, unit_diagonal=False)
    assert np.array_equal(backend.to_host(found), backend.solve_triangular(a, b, lower=True, unit_diagonal=False))
    erf = backend.special(there[0]).erf(there[0])
    assert np.array_equal(backend.to_host(erf), backend.special(a).erf(a))
    out = backend.to_device(np.zeros(3), "cupysim")
    backend.add_at(out, backend.to_device(np.array([0, 2, 2]), "cupysim"), backend.to_device(np.ones(3), "cupysim"))
    assert backend.to_host(out).tolist() == [1, 0, 2]


def test_asarray_copies_and_to_device_does_not() -> None:
    array = np.ones(3)
    assert not np.shares_memory(backend.asarray(array), array)
    assert backend.to_device(array, "cpu") is array and backend.to_host(array) is array
    assert type(backend.to_host(np.float64(1))) is np.ndarray
    x = tz.tensor([1.0], requires_grad=True)
    assert x.to("numpy") is x
    tz.to_device(x, device="cpu").backward()
    assert x.grad.tolist() == [1]


def test_division_by_zero_is_silent_also_of_a_number(recwarn: pytest.WarningsRecorder) -> None:
    zero = tz.tensor([0.0])
    assert (1 / zero).tolist() == [np.inf] and (zero / 0).data.dtype == np.float32
    assert (0.0 ** tz.tensor([-1.0])).tolist() == [np.inf] and tz.log(zero).tolist() == [-np.inf]
    assert not recwarn.list


def test_scatter_adds_count_repeated_indices() -> None:
    out = np.zeros(3)
    backend.add_at(out, np.array([0, 2, 2]), np.array([1.0, 2.0, 3.0]))
    assert out.tolist() == [1, 0, 5]


@pytest.mark.parametrize("lower", [False, True])
def test_triangular_stacks_broadcast(lower: bool) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1, 3, 3)) + 3 * np.eye(3), rng.standard_normal((4, 3, 2))
    x = backend.solve_triangular(a, b, lower=lower, unit_diagonal=False)
    triangle = np.tril(a) if lower else np.triu(a)
    assert x.shape == (2, 4, 3, 2)
    np.testing.assert_allclose(triangle @ x, np.broadcast_to(b, x.shape), atol=1e-12)
    empty = backend.solve_triangular(np.zeros((0, 3, 3)), np.zeros((0, 3, 2)), lower=lower, unit_diagonal=False)
    assert empty.shape == (0, 3, 2)

"""The stand-in for CuPy refuses what CuPy refuses, notes what copies to the host, and otherwise computes as NumPy."""

from __future__ import annotations

import ast
import copy
import operator
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo
from tinygrad_zoo.testing import cupysim as xp
from tinygrad_zoo.testing.cupysim import scipy_linalg, scipy_special
from tinygrad_zoo.testing.cupysim.api import api, signature
from tinygrad_zoo.testing.cupysim.transfers import HiddenCopyError, forbid_sync, watch

PACKAGE = Path(tinygrad_zoo.__file__).parent
HOST = np.array([[3.0, -1.0, 2.0], [0.5, 4.0, -2.0]], dtype=np.float32)
ROWS = np.array([1, 0, 1])


def device() -> Any:
    return xp.asarray(HOST)


def assign(x: Any, index: Any, value: Any) -> None:
    x[index] = value


# ---- what raises; x is a device array of shape (2, 3)
REFUSED: dict[str, tuple[type[Exception], Callable[[Any], Any]]] = {
    # NumPy may not touch it
    "np.asarray(x)": (TypeError, np.asarray),
    "np.array([x, x])": (TypeError, lambda x: np.array([x, x])),
    "np.exp(x)": (TypeError, np.exp),
    "np.add(x, x)": (TypeError, lambda x: np.add(x, x)),
    "np.sum(x)": (TypeError, np.sum),
    "np.concatenate": (TypeError, lambda x: np.concatenate([x, x])),
    "np.where": (TypeError, lambda x: np.where(x > 0, x, 0)),
    "np.add.at": (TypeError, lambda x: np.add.at(x, [0], 1)),
    "np.add.reduce": (TypeError, np.add.reduce),
    "np.from_dlpack(x)": (BufferError, np.from_dlpack),
    "memoryview(x)": (TypeError, memoryview),
    # host arrays and lists among device arrays
    "device + host": (TypeError, lambda x: x + HOST),
    "host + device": (TypeError, lambda x: HOST + x),
    "device += host": (TypeError, lambda x: operator.iadd(x, HOST)),
    "host += device": (TypeError, lambda x: operator.iadd(HOST.copy(), x)),
    "device @ host": (TypeError, lambda x: x @ HOST.T),
    "device == host": (TypeError, lambda x: x == HOST),
    "0-d host array * device": (TypeError, lambda x: np.array(2.0) * x),
    "device * list": (TypeError, lambda x: x * [1.0, 2.0, 3.0]),
    "device * None": (TypeError, lambda x: x * None),
    "ufunc of a host array": (TypeError, lambda x: xp.exp(HOST)),
    "ufunc of both": (TypeError, lambda x: xp.maximum(x, HOST)),
    "ufunc of a list": (TypeError, lambda x: xp.exp([1.0, 2.0])),
    "ufunc out= on the host": (TypeError, lambda x: xp.exp(x, out=HOST.copy())),
    "where with a host condition": (TypeError, lambda x: xp.where(HOST > 0, x, 0)),
    "where with a Python bool": (TypeError, lambda x: xp.where(True, x, x)),
    "concatenate": (TypeError, lambda x: xp.concatenate([x, HOST])),
    "stack": (TypeError, lambda x: xp.stack([HOST, HOST])),
    "sum of a list": (TypeError, lambda x: xp.sum([1.0, 2.0])),
    "sum of a number": (TypeError, lambda x: xp.sum(2.0)),
    "stack of an array and a number": (TypeError, lambda x: xp.stack([x[0, 0], 1.0])),
    "einsum(out=)": (TypeError, lambda x: xp.einsum("ij->i", x, out=xp.zeros(2))),
    "polygamma of a number": (ValueError, lambda x: scipy_special.polygamma(1, x)),
    "einsum": (TypeError, lambda x: xp.einsum("ij,ij", x, HOST)),
    "clip": (TypeError, lambda x: xp.clip(x, HOST, None)),
    "x.clip": (TypeError, lambda x: x.clip(HOST, None)),
    "x.dot": (TypeError, lambda x: x.dot(HOST.T)),
    "asarray of device arrays and numbers": (TypeError, lambda x: xp.asarray([x[0, 0], 1.0])),
    "special function of a host array": (TypeError, lambda x: scipy_special.erf(HOST)),
    # indices
    "index by a host array": (TypeError, lambda x: x[ROWS]),
    "index by a list": (TypeError, lambda x: x[[1, 0]]),
    "index by a host mask": (TypeError, lambda x: x[HOST > 0]),
    "index by floats": (IndexError, lambda x: x[x[0]]),
    "index by two masks": (IndexError, lambda x: x[(x > 0)[:, 0], (x > 0)[0]]),
    "slice by a device number": (TypeError, lambda x: x[: xp.asarray(1)]),
    "integer out of bounds": (IndexError, lambda x: x[2]),
    "indices out of bounds": (IndexError, lambda x: x[xp.asarray([2])]),
    "take of a host array": (TypeError, lambda x: xp.take(x, ROWS, axis=0)),
    "take of a list": (TypeError, lambda x: xp.take(x, [1, 0], axis=0)),
    "x.take of a host array": (TypeError, lambda x: x.take(ROWS, 0)),
    "take_along_axis": (TypeError, lambda x: xp.take_along_axis(x, ROWS[None], 0)),
    "assign a host array": (TypeError, lambda x: assign(x, 0, HOST[0])),
    "assign a list": (TypeError, lambda x: assign(x, 0, [1.0, 2.0, 3.0])),
    "assign by a host index": (TypeError, lambda x: assign(x, ROWS[:2], 0.0)),
    "assign with an index twice": (ValueError, lambda x: assign(x, xp.asarray([1, 1]), x)),
    "assign with a pair of indices twice": (
        ValueError,
        lambda x: assign(x, (xp.asarray([0, 0]), xp.asarray([1, -2])), x[0, :2]),
    ),
    "assign to a broadcast view": (ValueError, lambda x: assign(xp.broadcast_to(x, (2, 2, 3)), 0, 1.0)),
    "fill with an array": (TypeError, lambda x: x.fill(x[0, 0])),
    "add.at by host indices": (TypeError, lambda x: xp.add.at(x, ROWS, 1.0)),
    "add.at of host values": (TypeError, lambda x: xp.add.at(x, xp.asarray(ROWS), HOST[[0, 0, 0]])),
    "add.at of int8": (TypeError, lambda x: xp.add.at(x.astype("int8"), xp.asarray(ROWS), 1)),
    "subtract.at of floats": (TypeError, lambda x: xp.subtract.at(x, xp.asarray(ROWS), 1.0)),
    "maximum.at of float16": (TypeError, lambda x: xp.maximum.at(x.astype("float16"), xp.asarray(ROWS), 1)),
    "multiply.at": (NotImplementedError, lambda x: xp.multiply.at(x, xp.asarray(ROWS), 1.0)),
    # arguments that CuPy has not
    "sum(where=)": (TypeError, lambda x: xp.sum(x, where=x > 0)),
    "x.sum(where=)": (TypeError, lambda x: x.sum(where=x > 0)),
    "sum(initial=)": (TypeError, lambda x: xp.sum(x, initial=0.0)),
    "x.max(initial=)": (TypeError, lambda x: x.max(initial=0.0)),
    "exp(where=)": (TypeError, lambda x: xp.exp(x, where=x > 0)),
    "take(mode=)": (TypeError, lambda x: xp.take(x, xp.asarray(ROWS), mode="clip")),
    "argsort(stable=)": (TypeError, lambda x: xp.argsort(x, stable=True)),
    "sort(kind='mergesort')": (ValueError, lambda x: xp.sort(x, kind="mergesort")),
    "x.argsort(kind='heapsort')": (ValueError, lambda x: x.argsort(kind="heapsort")),
    "svd(hermitian=)": (TypeError, lambda x: xp.linalg.svd(x, hermitian=True)),
    "too many arguments": (TypeError, lambda x: xp.tril(x, 0, 0)),
    "no argument": (TypeError, lambda x: xp.concatenate()),
    "three inputs of two": (TypeError, lambda x: xp.add(x, x, x, x)),
    # names and methods that CuPy has not
    "vecdot": (AttributeError, lambda x: xp.vecdot(x, x)),
    "errstate": (AttributeError, lambda x: xp.errstate(all="ignore")),
    "insert": (AttributeError, lambda x: xp.insert(x, 0, 0)),
    "linalg.vector_norm": (AttributeError, lambda x: xp.linalg.vector_norm(x)),
    "special.betainccinv": (AttributeError, lambda x: scipy_special.betainccinv(x, x, x)),
    "eigh(x).eigenvalues": (AttributeError, lambda x: xp.linalg.eigh(x @ x.T).eigenvalues),
    "maximum.reduce": (NotImplementedError, lambda x: xp.maximum.reduce(x)),
    "maximum.accumulate": (NotImplementedError, lambda x: xp.maximum.accumulate(x)),
    "x.setflags": (AttributeError, lambda x: x.setflags(write=False)),
    "x.ctypes": (AttributeError, lambda x: x.ctypes),
    "x.flags.writeable": (AttributeError, lambda x: x.flags.writeable),
    "x @= y stays a new array": (AssertionError, lambda x: _same_object_after_matmul(x)),
    "rng.normal": (AttributeError, lambda x: xp.random.default_rng(0).normal(size=3)),
    "rng.permutation": (AttributeError, lambda x: xp.random.default_rng(0).permutation(3)),
    # dtypes that CuPy has not
    "objects": (ValueError, lambda x: xp.asarray(np.array([None]))),
    "strings": (ValueError, lambda x: xp.asarray(["a"])),
    "dates": (ValueError, lambda x: xp.zeros(2, "M8[s]")),
    "astype of longdouble": (ValueError, lambda x: x.astype(np.longdouble)),
    "astype of big-endian numbers": (ValueError, lambda x: x.astype(">f4")),
    "memory of objects": (ValueError, lambda x: xp.ndarray((2,), object)),
    # what CuPy reads on the host, or has for one matrix only
    "a shape on the device": (TypeError, lambda x: xp.zeros(xp.asarray(2))),
    "a shape of sizes on the device": (TypeError, lambda x: xp.ones((2, xp.asarray(2)))),
    "an axis on the device": (TypeError, lambda x: xp.sum(x, axis=xp.asarray(0))),
    "a diagonal on the device": (TypeError, lambda x: xp.tril(x, xp.asarray(0))),
    "broadcast_to of a number": (TypeError, lambda x: xp.broadcast_to(1.0, (2,))),
    "operator.index(x)": (TypeError, lambda x: operator.index(xp.asarray(1))),
    "range(x)": (TypeError, lambda x: range(xp.asarray(1))),
    "repeat by device counts": (TypeError, lambda x: xp.repeat(x, xp.asarray([1, 2, 1]), axis=1)),
    "x.repeat by device counts": (TypeError, lambda x: x.repeat(xp.asarray([1, 2, 1]), axis=1)),
    "linalg of float16": (TypeError, lambda x: xp.linalg.inv((x @ x.T).astype("float16"))),
    "solve of broadcast stacks": (ValueError, lambda x: xp.linalg.solve(xp.ones((4, 2, 2)), x)),
    "solve_triangular of broadcast stacks": (
        ValueError,
        lambda x: scipy_linalg.solve_triangular(xp.ones((4, 2, 2)), x),
    ),
    "a second device": (ValueError, lambda x: xp.cuda.Device(1)),
    "x.set of another shape": (TypeError, lambda x: x.set(HOST[0])),
    "hash(x)": (TypeError, hash),
}


def _same_object_after_matmul(x: Any) -> None:
    y = x[:, :2]
    before = y
    y @= y
    assert y is before


@pytest.mark.parametrize("what", REFUSED)
def test_what_cupy_refuses_raises(what: str) -> None:
    kind, call = REFUSED[what]
    with pytest.raises(kind):
        call(device())


# ---- what waits for the device
COUNTED: dict[str, Callable[[Any], Any]] = {
    "float(x)": lambda x: float(x.sum()),
    "int(x)": lambda x: int(x.sum()),
    "bool(x)": lambda x: bool(x.sum() > 0),
    "complex(x)": lambda x: complex(x.sum()),
    "if x": lambda x: 1 if (x > 0).any() else 0,
    "and": lambda x: (x > 0).any() and 1,
    "v in x": lambda x: 2.0 in x[0],
    "Python's max": lambda x: max(x[0]),
    "x.item()": lambda x: x[0, 0].item(),
    "x.tolist()": lambda x: x.tolist(),
    "x.tobytes()": lambda x: x.tobytes(),
    "x[mask]": lambda x: x[x > 0],
    "x[mask] = 0": lambda x: assign(x, x > 0, 0.0),
    "x[:, mask]": lambda x: x[:, x[0] > 0],
    "x.nonzero()": lambda x: x.nonzero(),
    "x.compress": lambda x: x.compress(x[:, 0] > 1, axis=0),
    "nonzero": lambda x: xp.nonzero(x),
    "flatnonzero": lambda x: xp.flatnonzero(x),
    "argwhere": lambda x: xp.argwhere(x),
    "where of one argument": lambda x: xp.where(x > 0),
    "unique": lambda x: xp.unique(x),
    "extract": lambda x: xp.extract(x > 0, x),
    "bincount": lambda x: xp.bincount(xp.asarray(ROWS)),
    "histogram": lambda x: xp.histogram(x),
    "delete": lambda x: xp.delete(x, 0, axis=0),
    "average with weights": lambda x: xp.average(x, weights=abs(x)),
    "array_equal(equal_nan=True)": lambda x: xp.array_equal(x, x, equal_nan=True),
    "setdiff1d": lambda x: xp.setdiff1d(x[0], x[1]),
    "shares_memory": lambda x: xp.shares_memory(x, x[0]),
    "nanmax": lambda x: xp.nanmax(x),
    "unravel_index": lambda x: xp.unravel_index(xp.asarray(ROWS), (2, 3)),
    "lu_factor that checks for NaN": lambda x: scipy_linalg.lu_factor(x @ x.T),
}


@pytest.mark.parametrize("what", COUNTED)
def test_a_hidden_copy_is_noted_with_its_place_and_raises_where_forbidden(what: str) -> None:
    x = device()
    with watch() as log:
        COUNTED[what](x)
    assert log.hidden and not log.explicit and log.uploads in (0, 1)
    assert all(entry.place.startswith(__file__) for entry in log.hidden)
    with forbid_sync(), pytest.raises(HiddenCopyError):
        COUNTED[what](x)


EXPLICIT: dict[str, Callable[[Any], Any]] = {
    "x.get()": lambda x: x.get(),
    "asnumpy": lambda x: xp.asnumpy(x),
    "repr": repr,
    "format": lambda x: f"{x}",
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("what", EXPLICIT)
def test_an_explicit_copy_is_noted_apart(what: str) -> None:
    x = device()
    with watch() as outer, watch() as log:
        EXPLICIT[what](x)
    assert len(log.explicit) == len(outer.explicit) == 1 and not log.hidden
    with forbid_sync(), pytest.raises(HiddenCopyError):
        EXPLICIT[what](x)


def test_uploads_are_counted_and_copy() -> None:
    host = HOST.copy()
    with watch() as log, forbid_sync():
        x = xp.asarray(host)
        xp.array([1.0, 2.0])
        x.set(host)
    assert log.uploads == 3
    host[:] = 0
    assert np.array_equal(x.get(), HOST)


def test_forbid_sync_ends() -> None:
    with pytest.raises(ZeroDivisionError), forbid_sync():
        raise ZeroDivisionError
    assert float(device().sum()) == HOST.sum()


# ---- what works, equal to NumPy bit for bit: f(module, array, row indices)
GOOD: dict[str, Callable[[Any, Any, Any], Any]] = {
    "operators": lambda m, x, i: (2 - x) * x / 3 + x**2 % 5 - (x // 2),
    "comparisons": lambda m, x, i: (x > 0) & ~(x >= 2) | (x == 4),
    "NumPy's scalar on the right": lambda m, x, i: x * np.float32(2),
    "NumPy's scalar on the left": lambda m, x, i: np.float64(2) * x,
    "Python's numbers are weak": lambda m, x, i: x.astype("float16") * 2.5 + 1,
    "matmul": lambda m, x, i: x @ x.T,
    "ufuncs": lambda m, x, i: m.exp(x) + m.maximum(x, 0) + m.log1p(abs(x)),
    "out=": lambda m, x, i: m.multiply(x, 2.0, out=m.zeros_like(x)),
    "reductions": lambda m, x, i: x.sum(axis=0) + x.max() + m.mean(x, axis=-1, keepdims=True),
    "a 0-d result is an array": lambda m, x, i: m.asarray(x.sum()).reshape(1),
    "basic indices": lambda m, x, i: x[1, ::-1] + x[..., None, 0],
    "index arrays": lambda m, x, i: x[i],
    "index arrays and slices": lambda m, x, i: x[i, 1:],
    "take": lambda m, x, i: m.take(x, i, axis=0),
    "take_along_axis": lambda m, x, i: m.take_along_axis(x, m.argsort(x, axis=1), axis=1),
    "where": lambda m, x, i: m.where(x > 0, x, -1),
    "concatenate": lambda m, x, i: m.concatenate([x, x], axis=None),
    "stack": lambda m, x, i: m.stack([x, 2 * x], axis=-1),
    "shapes": lambda m, x, i: m.moveaxis(m.broadcast_to(x, (2, 2, 3)), 0, -1).reshape(4, -1),
    "einsum": lambda m, x, i: m.einsum("ij,kj->ik", x, x),
    "cumsum and sort": lambda m, x, i: m.cumsum(m.sort(x, axis=-1), axis=1),
    "tril": lambda m, x, i: m.tril(x, 1),
    "clip": lambda m, x, i: m.clip(x, -1, None),
    "creation": lambda m, x, i: m.arange(6, dtype=x.dtype).reshape(2, 3) + m.eye(2, 3) + m.full((2, 3), 7, x.dtype),
    "repeat": lambda m, x, i: m.repeat(x, 2, axis=1),
    "pad": lambda m, x, i: m.pad(x, ((0, 1), (2, 0))),
    "linear algebra": lambda m, x, i: m.linalg.inv(x @ x.T) + m.linalg.slogdet(x @ x.T)[1],
    "svd": lambda m, x, i: m.linalg.svd(x, full_matrices=False)[1],
    "bits": lambda m, x, i: (m.arange(4, dtype="uint32") * np.uint32(3)) << 2 ^ 5,
    "astype": lambda m, x, i: x.astype("int64").astype("float16"),
}


@pytest.mark.parametrize("what", GOOD)
def test_what_works_is_numpys_bit_for_bit_without_a_copy(what: str) -> None:
    x, rows = device(), xp.asarray(ROWS)
    with forbid_sync():
        found = GOOD[what](xp, x, rows)
    expected = GOOD[what](np, HOST, ROWS)
    assert type(found) is xp.ndarray and found.dtype == expected.dtype
    assert np.array_equal(found.get(), expected)
    assert np.array_equal(x.get(), HOST)


def test_nothing_warns(recwarn: pytest.WarningsRecorder) -> None:
    x = device()
    assert np.isinf((x / 0).get()).all() and np.isnan(xp.log(-abs(x)).get()).all() and (x.astype("e") * 1e5).shape
    assert not recwarn.list


def test_writes_reach_the_memory_they_name() -> None:
    x = device()
    with forbid_sync():
        x[0, 1] = 7.0
        x[1] = x[0]
        x[1, 2:] += 1
        row = x[1]
        row *= 2
        x.T[0][...] = -1.0
        element = x[0, 2]
        element += 100
        xp.add.at(x, xp.asarray([0, 0]), 0.5)
        x[xp.asarray([1, 1])] = 3.0  # one number for all: nothing to be undefined
        xp.diagonal(x)[...] = 9.0
    assert x.get().tolist() == [[9.0, 8.0, 103.0], [3.0, 9.0, 3.0]]


def test_memory_that_nothing_was_written_to_shows() -> None:
    for made in (xp.empty(3), xp.empty_like(device()), xp.ndarray((2,), "float16")):
        assert np.isnan(made.get()).all()
    assert (xp.empty(2, "int32").get() == np.iinfo(np.int32).max).all()


def test_a_factorisation_that_fails_is_not_looked_at() -> None:
    with forbid_sync():
        made = [xp.linalg.inv(xp.zeros((2, 2))), xp.linalg.cholesky(-xp.eye(2)), xp.linalg.inv(xp.zeros((3, 2, 2)))]
    assert all(np.isnan(a.get()).all() for a in made)
    with pytest.raises(np.linalg.LinAlgError):
        xp.linalg.inv(xp.zeros((2, 3)))


def test_half_precision_special_functions_have_cupys_dtypes() -> None:
    half = xp.ones(2, "float16")
    assert scipy_special.erf(half).dtype == "float64"  # SciPy's is float32
    assert scipy_special.erf(xp.ones(2, "float32")).dtype == "float32"
    assert scipy_special.xlogy(half, 2.0).dtype == "float64"
    assert np.allclose(scipy_special.erf(half).get(), 0.8427007929)
    with pytest.raises(TypeError):
        scipy_special.zeta(xp.ones(2), "a")


def test_solve_triangular() -> None:
    a = xp.asarray(np.array([[2.0, 0.0], [1.0, 4.0]]))
    x = scipy_linalg.solve_triangular(a, xp.asarray([[2.0], [9.0]]), lower=True)
    assert x.get().tolist() == [[1.0], [2.0]]


def test_arrays_copy_pickle_and_say_what_they_are() -> None:
    x = device()
    for y in (copy.copy(x), copy.deepcopy(x), pickle.loads(pickle.dumps(x)), x.copy(), x.astype(x.dtype)):
        assert type(y) is xp.ndarray and np.array_equal(y.get(), HOST) and not xp.may_share_memory(x, y)
    assert x.astype(x.dtype, copy=False) is x and xp.asarray(x) is x
    assert sys.modules[type(x).__module__] is xp is xp.get_array_module(x, 1)
    assert xp.get_array_module(1, HOST) is np
    assert str(x.device) == "<CUDA Device 0>" and x.device.id == 0 and x.data.ptr and x.__dlpack_device__() == (2, 0)
    assert np.shape(x) == (2, 3) and np.result_type(x, np.float64) == np.float64
    assert x.flags.c_contiguous and x.T.flags.f_contiguous and repr(x).startswith("cupysim.array([[ 3.")


def test_random_numbers_are_of_the_device() -> None:
    with forbid_sync():
        rng = xp.random.default_rng(0)
        assert type(rng.random(3)) is xp.ndarray and rng.integers(0, 5, size=(2, 2)).shape == (2, 2)
    with pytest.raises(TypeError):
        rng.integers(0, 5, shape=3)


# ---- the list of names
def test_the_list_is_of_the_real_cupy() -> None:
    assert api()["cupy version"] == "14.2.0"
    assert len(api()["cupy"]) > 450 and {"at", "ufunc"} <= set(api()["cupy"]["add"])
    assert "where" not in signature(api()["cupy"]["sum"]["signature"]).parameters
    assert not {"normal", "permutation", "choice"} & set(api()["Generator"])
    assert not {"__index__", "__contains__", "__imatmul__"} & {k for k in vars(xp.ndarray) if "__" in k}


def test_methods_of_the_stand_in_are_cupys() -> None:
    ours = {k for k in vars(xp.ndarray) if not k.startswith("_")}
    assert ours <= set(api()["ndarray"])
    special = (
        {k for k in vars(xp.ndarray) if k.startswith("__")} - set(dir(object)) - {"__annotations__", "__weakref__"}
    )
    assert special <= {*api()["special methods"], "__slots__", "__getattr__"}, special


def test_no_module_of_the_stand_in_hides_a_function_of_cupy() -> None:
    modules = {path.stem for path in (PACKAGE / "testing" / "cupysim").glob("*.py")} - {"__init__"}
    assert not modules & {*api()["cupy"], *dir(np)}


def test_the_stand_in_imports_nothing_else_of_ours() -> None:
    for path in (PACKAGE / "testing" / "cupysim").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1, path
            elif isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
                assert all(name.split(".")[0] in {*sys.stdlib_module_names, "numpy", "scipy"} for name in names), path


def names_called_on_modules(source: str) -> set[str]:
    """The attributes of whatever is called xp, or of namespace(...), and those of xp.linalg."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value)
            if owner == "xp" or (owner.startswith(("namespace(", "backend.namespace(")) and owner.endswith(")")):
                found.add(node.attr)
            elif owner.endswith("linalg") and (owner.startswith("xp.") or "namespace(" in owner):
                found.add(f"linalg.{node.attr}")
    return found


def test_every_name_that_the_package_asks_an_array_module_for_is_in_cupy() -> None:
    known = {*api()["cupy"], "cuda", "linalg", "fft", "random", *(f"linalg.{name}" for name in api()["cupy.linalg"])}
    used: dict[str, set[str]] = {}
    for path in [p for folder in (PACKAGE, PACKAGE / "kernels") for p in folder.rglob("*.py")]:
        if "cupysim" not in path.parts:
            for name in names_called_on_modules(path.read_text("utf-8")):
                used.setdefault(name, set()).add(path.name)
    assert len(used) > 40
    assert not {name: files for name, files in used.items() if name not in known}


def test_the_search_for_names_finds_them() -> None:
    source = "xp.exp(x); namespace(x).linalg.inv(x); backend.namespace(a).sum(a); np.log(x); xp.linalg.eigh(x)"
    assert names_called_on_modules(source) == {"exp", "linalg", "linalg.inv", "sum", "linalg.eigh"}


def test_importing_the_package_loads_no_stand_in() -> None:
    code = "import sys, tinygrad_zoo as tz, tinygrad_zoo.testing; tz.zeros(2); print('cupysim' in ''.join(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_a_failed_solve_leaves_nan_in_the_shape_of_its_result() -> None:
    singular, b = xp.zeros((2, 2)), xp.ones((2, 3))
    assert np.isnan(xp.linalg.solve(singular, b).get()).all() and xp.linalg.solve(singular, b).shape == (2, 3)
    assert np.isnan(xp.linalg.inv(singular).get()).all()

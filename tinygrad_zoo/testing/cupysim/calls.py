"""Functions and ufuncs of the stand-in: CuPy's signatures and refusals, computed by NumPy and SciPy."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from .api import api, bound, entry, signature
from .capturing import captured, poisoned
from .device_array import QUIET, ndarray, scatter, wrap
from .refusals import SCALARS, check, leaves, unwrap
from .transfers import download, upload

UPLOADS = {"array", "asarray", "asanyarray", "ascontiguousarray", "asfortranarray"}
EMPTY = {"empty", "empty_like"}
ON_DEVICE = {"array_equal", "allclose", "array_equiv"}  # NumPy gives a Python bool
# What waits for the device with some arguments only.
SOMETIMES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "where": lambda a: a.get("x") is None and a.get("y") is None,
    "average": lambda a: a.get("weights") is not None,
    "array_equal": lambda a: bool(a.get("equal_nan")),
    "ravel_multi_index": lambda a: a.get("mode") == "raise",
    "solve_triangular": lambda a: bool(a.get("check_finite")),
    "lu": lambda a: bool(a.get("check_finite", True)),
    "lu_factor": lambda a: bool(a.get("check_finite", True)),
    "lu_solve": lambda a: bool(a.get("check_finite", True)),
}


@functools.cache
def mirrored(namespace: str) -> Any:
    """The module that computes for `namespace`."""
    return importlib.import_module(namespace.replace("cupyx.", "").replace("cupy", "numpy"))


@functools.cache
def lookup(namespace: str, name: str) -> Any:
    """What `namespace` has under `name`; AttributeError where CuPy has nothing."""
    row = entry(namespace, name)
    value = getattr(mirrored(namespace), name, None)
    if value is None and row != "constant":
        raise NotImplementedError(f"{namespace}.{name} exists in CuPy, but the stand-in has no NumPy to do it")
    if row in ("constant", "type"):
        return value
    return Ufunc(namespace, name, row, value) if "ufunc" in row else _function(namespace, name, row, value)


class Ufunc:
    """An elementwise function: device arrays and numbers in, device arrays out."""

    def __init__(self, namespace: str, name: str, row: dict[str, Any], numpys: Any) -> None:
        self.name, self.numpys = f"{namespace}.{name}", numpys
        self.nin, self.nout = row["ufunc"]
        self.loops: list[str] = row.get("loops", [])
        self.scatters: bool = row.get("at", False)
        self.call, self.at = captured(self.name)(self._call), captured(f"{self.name}.at")(self._at)

    def __repr__(self) -> str:
        return f"<ufunc '{self.name}'>"

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.call(*args, **settings)

    @QUIET
    def _call(self, *args: Any, out: Any = None, dtype: Any = None, casting: str = "same_kind") -> Any:
        if not self.nin <= len(args) <= self.nin + self.nout:
            raise TypeError(f"{self.name}: expected {self.nin} inputs, got {len(args)} arguments")
        inputs, outs = args[: self.nin], args[self.nin :] or (out if isinstance(out, tuple) else (out,))
        for x in inputs:
            if not isinstance(x, (ndarray, *SCALARS)):
                raise TypeError(f"{self.name}: Unsupported type {type(x)}")
        for x in outs:
            if not isinstance(x, (ndarray, type(None))):
                raise TypeError(f"{self.name}: expected a device array as out, got {type(x)}")
        values = [unwrap(x, self.name) for x in inputs]
        settings = {} if dtype is None else {"dtype": dtype}
        result = self.numpys(*values, **settings)
        results = result if isinstance(result, tuple) else (result,)
        if self.loops and dtype is None:
            results = tuple(
                np.asarray(r).astype(c, copy=False) for r, c in zip(results, self.made(values), strict=True)
            )
        if any(x is not None for x in outs):
            for r, x in zip(results, outs, strict=True):
                _store(r, x, casting)
            return outs[0] if self.nout == 1 else outs
        return wrap(results[0]) if self.nout == 1 else wrap(results)

    def made(self, values: list[Any]) -> str:
        """The dtypes of the results, by the first of CuPy's loops that takes the inputs."""
        arrays = [v.dtype for v in values if hasattr(v, "dtype")]
        dtypes = [v.dtype if hasattr(v, "dtype") else np.result_type(v, *arrays) for v in values]
        for loop in self.loops:
            given, made = loop.split("->")
            if all(np.can_cast(d, c) for d, c in zip(dtypes, given, strict=True)):
                return made
        raise TypeError(f"{self.name} does not support {', '.join(map(str, dtypes))}")

    def _at(self, a: Any, indices: Any, b: Any = None) -> None:
        if not self.scatters:
            raise NotImplementedError(f"`{self.name}.at` is not supported")
        scatter(self.numpys, a, indices, b)

    def reduce(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None, keepdims: bool = False) -> Any:
        return self._by({"cupy.add": "sum", "cupy.multiply": "prod"}, "reduce", array)(axis, dtype, out, keepdims)

    def accumulate(self, array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Any:
        return self._by({"cupy.add": "cumsum", "cupy.multiply": "cumprod"}, "accumulate", array)(axis, dtype, out)

    def outer(self, a: Any, b: Any, **settings: Any) -> Any:
        return self(a.reshape(a.shape + (1,) * b.ndim), b, **settings)

    def _by(self, methods: dict[str, str], what: str, array: Any) -> Any:
        if self.name not in methods:
            raise NotImplementedError(f"`{self.name}.{what}` is not supported")
        return getattr(array, methods[self.name])


def _store(result: Any, out: Any, casting: str) -> None:
    if out is not None:
        if out.shape != np.shape(result):
            raise ValueError(f"out has shape {out.shape}, the result {np.shape(result)}")
        np.copyto(out._values, result, casting=casting)  # type: ignore[arg-type]


def _function(namespace: str, short: str, row: dict[str, Any], numpys: Any) -> Callable[..., Any]:
    name, text = f"{namespace}.{short}", row["signature"]
    special_case = _CASES.get(name)

    @functools.wraps(numpys)
    @captured(name)
    @QUIET
    def run(*args: Any, **kwargs: Any) -> Any:
        arguments = bound(name, text, args, kwargs)
        if short in UPLOADS and namespace == "cupy":
            return _uploaded(numpys, args, kwargs)
        check(name, short, arguments)
        if SOMETIMES[short](arguments) if short in SOMETIMES else row.get("syncs"):
            download(f"{name}()")
        if special_case is not None:
            special_case(arguments)
        args, kwargs = _as_numpy_takes_them(text, numpys, args, kwargs)
        out = kwargs.get("out")
        try:
            result = numpys(*unwrap(args, name), **{k: unwrap(v, name) for k, v in kwargs.items()})
        except np.linalg.LinAlgError as error:
            if "ingular" not in str(error) and "positive definite" not in str(error):
                raise
            arrays = [a for a in arguments.values() if isinstance(a, ndarray)]
            return wrap(_undefined(arrays[-1]))  # of the shape of b in solve(a, b), of a in inv(a)
        if isinstance(out, ndarray):
            return out
        if short in EMPTY:
            poisoned(result)
        if short in ("diagonal", "diag") and isinstance(result, np.ndarray) and result.base is not None:
            result.flags.writeable = result.base.flags.writeable  # NumPy's is a read-only view, CuPy's is not
        return wrap(np.asarray(result) if short in ON_DEVICE else result)

    return run


def _undefined(a: Any) -> Any:
    """What a failed factorisation leaves in CuPy, which by default does not look whether it failed."""
    return np.full(a.shape, np.nan, np.result_type(a.dtype, np.float32))


def _uploaded(numpys: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The functions that make device arrays of what lies on the host, or of device arrays and lists of them."""
    kwargs.pop("blocking", None)
    first, *rest = args
    held = list(leaves(first))
    if any(not isinstance(v, ndarray) for v in held) or not held:
        if any(isinstance(v, ndarray) for v in held):
            raise TypeError("a list of device arrays and host numbers: stack device arrays")
        made = numpys(first, *rest, **kwargs)
        upload(made.nbytes if made.ndim else 0)
        if not made.dtype.isnative:
            made = made.astype(made.dtype.newbyteorder("="))
        return wrap(made.copy(order="K") if isinstance(first, np.ndarray) else made)
    made = numpys(unwrap(first, "asarray"), *rest, **kwargs)
    return first if isinstance(first, ndarray) and made is first._values else wrap(made)


@functools.cache
def _numpy_names(numpys: Any) -> list[str]:
    try:
        parameters = inspect.signature(numpys).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


def _as_numpy_takes_them(
    text: str, numpys: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments where NumPy has them in another order or under another name."""
    ours, theirs = _names(text), _numpy_names(numpys)
    if ours[: len(theirs)] == theirs[: len(ours)]:
        return args, kwargs
    renamed = {o: t for o, t in zip(ours, theirs, strict=False) if o not in theirs and t not in ours}
    kwargs = {renamed.get(k, k): v for k, v in kwargs.items()}
    for k, (o, t) in enumerate(zip(ours, theirs, strict=False)):
        if o != t and o not in renamed and k < len(args):
            return args[:k], kwargs | dict(zip(ours[k:], args[k:], strict=False))
    return args, kwargs


@functools.cache
def _names(text: str) -> list[str]:
    parameters = signature(text).parameters.values()
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]


# ---- where CuPy takes less than NumPy
def _solve(arguments: dict[str, Any]) -> None:
    a, b = arguments["a"], arguments["b"]
    if b.ndim != 1 and a.shape[:-1] != b.shape[:-1]:
        raise ValueError(f"solve: CuPy does not broadcast stacks: a has shape {a.shape}, b {b.shape}")


def _solve_triangular(arguments: dict[str, Any]) -> None:
    a, b = arguments["a"], arguments["b"]
    if a.shape[:-2] != b.shape[: a.ndim - 2] or not a.size:
        raise ValueError(f"solve_triangular: CuPy does not broadcast stacks: a has shape {a.shape}, b {b.shape}")


def _einsum(arguments: dict[str, Any]) -> None:
    if refused := arguments.get("kwargs", {}).keys() - {"dtype", "optimize"}:
        raise TypeError(f"einsum: CuPy takes dtype and optimize, not {', '.join(refused)}")


def _polygamma(arguments: dict[str, Any]) -> None:
    if not all(isinstance(x, ndarray) for x in arguments.values()):
        raise ValueError("polygamma: CuPy broadcasts n and x, which must both be device arrays")


_CASES = {
    "cupy.linalg.solve": _solve,
    "cupy.einsum": _einsum,
    "cupyx.scipy.linalg.solve_triangular": _solve_triangular,
    "cupyx.scipy.special.polygamma": _polygamma,
}


class Namespace:
    """A module of the stand-in: names are those of CuPy."""

    def __init__(self, path: str) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<stand-in for {self._path}>"

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return lookup(self._path, name)

    def __dir__(self) -> list[str]:
        return sorted(api()[self._path])

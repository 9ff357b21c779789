"""Writes tinygrad_zoo/testing/cupysim/api.json: what the installed CuPy offers, for the strict stand-in.

    python tests/goldens/make_cupy_api.py            # where `pip install cupy-cuda13x` has been done; no GPU is needed
    python tests/goldens/make_cupy_api.py --check    # fails if the file is not that of the installed CuPy

Every name has its kind: a signature; a ufunc's number of inputs and outputs, its loops where NumPy's or SciPy's ufunc
of that name computes in other dtypes, and whether it has `at`; "constant", "type" or "property". `syncs` marks the
functions whose source or documentation says that they wait for the device.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import itertools
import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import cupy
import numpy as np

FILE = Path(__file__).parents[2] / "tinygrad_zoo" / "testing" / "cupysim" / "api.json"
NAMESPACES = ("cupy", "cupy.linalg", "cupy.fft", "cupy.random", "cupyx.scipy.special", "cupyx.scipy.linalg")
WAITS = re.compile(
    r"may synchronize|synchronize!|\.item\(\)|\bint\(cupy\.|\bnonzero\(|\bargwhere\(|\bbool\(\(|"
    r"(if|not) .*\.(any|all)\(\)"
)
# What they check is an error code, and by default they do not: cupyx.errstate(linalg=).
ERROR_CODES = {
    "_check_cusolver_dev_info_if_synchronization_allowed",
    "_check_cublas_info_array_if_synchronization_allowed",
}
# They wait for some arguments only, which calls.py knows: their callers are not marked for it.
SOMETIMES = {"where", "average", "array_equal", "ravel_multi_index", "interp", "delete", "ix_", "real_if_close"}
DTYPES = [np.dtype(c) for c in "?bBhHiIlLefd"]


def stub_cuda_libraries() -> None:
    """CuPy's wrappers of CUDA libraries that are not installed: nothing of them is called."""

    class Stub(types.ModuleType):
        def __getattr__(self, name: str) -> int:
            if name.startswith("__"):
                raise AttributeError(name)
            return 0

    libraries = importlib.import_module("cupy_backends.cuda.libs")
    for name in ("cublas", "cusolver", "cusparse", "curand"):
        full = f"{libraries.__name__}.{name}"
        try:
            importlib.import_module(full)
        except ImportError:
            sys.modules[full] = Stub(full)
            setattr(libraries, name, sys.modules[full])


def signature(function: Any) -> str:
    """(a, axis=None, *, out=None): defaults that are no plain constants become `...`."""
    shown = []
    star = False
    for p in inspect.signature(function).parameters.values():
        plain = p.default is None or isinstance(p.default, (bool, int, float, str))
        default = "" if p.default is p.empty else f"={p.default!r}" if plain else "=..."
        if p.kind is p.KEYWORD_ONLY and not star:
            shown.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        shown.append({p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "") + p.name + default)
    return f"({', '.join(shown)})"


def method_signature(text: str) -> str:
    """That of a compiled method, from the first line of its documentation."""
    inside = text.partition("(")[2].rpartition(" -> ")[0] or text.partition("(")[2]
    parts = [part.strip() for part in inside.rstrip().rstrip(")").split(",")]
    names = [re.sub(r"^(?:\w+ )+(?=\w)", "", part) for part in parts if part and part != "self"]
    return f"({', '.join(names)})"


def waits(function: Any, seen: set[Any]) -> bool:
    """Whether it or a function that it calls reads the device."""
    if function in seen or function.__name__ in ERROR_CODES:
        return False
    seen.add(function)
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        return False
    if WAITS.search(re.sub(r"#(?! .*synchronize).*", "", source)):
        return True
    for name in function.__code__.co_names:
        called = function.__globals__.get(name, getattr(cupy, name, None))
        is_called = name not in SOMETIMES and re.search(rf"(?<!numpy\.)\b{name}\(", source)
        if is_called and inspect.isfunction(called) and waits(called, seen):
            return True
    return False


def loop_of(loops: list[str], inputs: tuple[Any, ...]) -> str | None:
    for loop in loops:
        given, made = loop.split("->")
        if not set("EFDG") & set(given) and all(map(np.can_cast, inputs, given)):
            return made
    return None


def computes_alike(ufunc: Any, other: Any) -> bool:
    """Whether NumPy's or SciPy's ufunc gives results of the same dtypes, for all real ones that both take."""
    if not isinstance(other, np.ufunc):
        return False
    for inputs in itertools.product(DTYPES, repeat=ufunc.nin):
        made = loop_of(ufunc.types, inputs)
        try:
            expected = "".join(d.char for d in other.resolve_dtypes(inputs + (None,) * ufunc.nout)[ufunc.nin :])
        except TypeError:
            continue
        if made != expected.replace("q", "l").replace("Q", "L"):
            return False
    return True


def entry(value: Any, other: Any) -> Any:
    if isinstance(value, cupy.ufunc):
        row: dict[str, Any] = {"ufunc": [value.nin, value.nout]}
        if value._scatter_op:
            row["at"] = True
        if not computes_alike(value, other):
            row["loops"] = [loop for loop in value.types if not set("EFD") & set(loop)]
        return row
    if isinstance(value, type):
        return "type"
    if inspect.isfunction(value):
        row = {"signature": signature(value)}
        return row | {"syncs": True} if waits(value, set()) else row
    if callable(value):
        try:
            return {"signature": signature(value)}
        except (TypeError, ValueError):
            return {"signature": "(*args, **kwargs)"}
    return "constant" if isinstance(value, (int, float, type(None))) else None


def listed(module: Any, other: Any) -> dict[str, Any]:
    """The public names of a module with their entries; `other` is the module it mirrors."""
    found = {k: entry(getattr(module, k), getattr(other, k, None)) for k in sorted(dir(module)) if k[0] != "_"}
    return {name: row for name, row in found.items() if row is not None}


def api() -> dict[str, Any]:
    stub_cuda_libraries()
    found: dict[str, Any] = {"cupy version": cupy.__version__, "numpy version": np.__version__}
    for name in NAMESPACES:
        mirrored = name.replace("cupyx.", "").replace("cupy", "numpy")
        found[name] = listed(importlib.import_module(name), importlib.import_module(mirrored))
    found["ndarray"] = {
        name: {"signature": method_signature((value.__doc__ or "()").strip().split("\n")[0])}
        if callable(value)
        else "property"
        for name in sorted(dir(cupy.ndarray))
        if name[0] != "_" and (value := getattr(cupy.ndarray, name)) is not None
    }
    found["special methods"] = sorted(k for k in dir(cupy.ndarray) if k[0] == "_" and k not in dir(object))
    generator = {k: getattr(cupy.random.Generator, k) for k in sorted(dir(cupy.random.Generator)) if k[0] != "_"}
    found["Generator"] = {
        k: {"signature": method_signature(v.__doc__.strip().split("\n")[0])} for k, v in generator.items()
    }
    flags = importlib.import_module("cupy._core.flags").Flags
    found["flags"] = sorted(k for k in dir(flags) if k[0] != "_")
    return found


def as_text(found: dict[str, Any]) -> str:
    """JSON with one name a line."""
    parts = []
    for key, value in found.items():
        if isinstance(value, dict):
            lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in value.items())
            parts.append(f"{json.dumps(key)}: {{\n{lines}\n}}")
        else:
            parts.append(f"{json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    made = as_text(api())
    if not parser.parse_args().check:
        FILE.write_text(made, "utf-8")
        print(f"{FILE}: CuPy {cupy.__version__}")
    elif FILE.read_text("utf-8") != made:
        sys.exit(f"{FILE} is not that of CuPy {cupy.__version__} with NumPy {np.__version__}")


if __name__ == "__main__":
    main()

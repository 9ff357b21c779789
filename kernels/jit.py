"""Kernels: loops that Numba compiles on first use, once for every dtype, and keeps on disk.

    @kernel("void(T[::1], T[::1], i8)", parallel=True)
    def double(x, out, parts):
        for part in prange(parts):
            for i in range(*share(part, parts, x.size)):
                out[i] = x[i] + x[i]

    parts = threads.parts(x.size)              # 1 where threads would cost more than they bring
    double[x.dtype](x, out, parts)

A loop over parts stands last in a kernel. Its machine code is the same for one part and for several (`parts.py`); with
one no thread is woken. Results depend on the call and on the number of threads that was set, never on what happens to
be compiled already.

**The folder.** Machine code lies below TINYGRAD_ZOO_CACHE (default: in the user's cache folder), that of a module
in a folder whose name holds a hash: of the module's source and of all that it imports of ours, of the versions of
Python, NumPy and Numba, and of the processor's features and vector width. Numba alone renews a kernel when its own file
changes, but not when a function that it calls from another file does. Where the folder can't be written, what it holds
is used, and the rest is compiled for this process alone.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS: dict[str, Any] = {"error_model": "numpy", "nogil": True, "boundscheck": False}
# Sums may be reordered and products fused into them, which vectorizing needs; NaN and Inf stay what they are.
FAST = {"contract", "reassoc", "nsz", "arcp"}
COMPILED = (np.dtype(np.float32), np.dtype(np.float64))
KERNELS: list[Kernel | Routine] = []  # all that were imported, for `tinygrad-zoo warmup`


@functools.cache
def enabled() -> bool:
    """Whether kernels serve: NUMBA_DISABLE_JIT=1 or TINYGRAD_ZOO_KERNELS=off select the formulas, for the process."""
    choice = os.environ.get("TINYGRAD_ZOO_KERNELS", "").strip().lower() or "on"
    if choice not in ("on", "off"):
        raise ValueError(f"TINYGRAD_ZOO_KERNELS={choice!r}: expected 'on' or 'off'")
    return choice == "on" and os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0")


class Kernel(dict[np.dtype[Any], Callable[..., Any]]):
    """`kernel[dtype]` is the machine code for arrays of `dtype`, compiled or loaded once.

    `signature` is Numba's, with T for the dtype; an array that is only read is `const T[:, :]`. `fast` allows LLVM what
    vectorizing a sum needs; without it every element goes through the same correctly rounded operations as in NumPy.
    Such a sum stands in a loop that writes no array: where it might overlap with one that is read, by how far apart the
    two lie, LLVM takes the loop that adds one by one, and a call would have other bits from time to time.
    """

    def __init__(self, function: Callable[..., Any], signature: str, parallel: bool, fast: bool) -> None:
        self.function, self.signature, self.parallel, self.fast = function, signature, parallel, fast
        self.dtypes = dtypes_of(signature)
        self.count = function.__code__.co_varnames.index("parts") if parallel else -1  # which argument it is
        KERNELS.append(self)

    def __missing__(self, dtype: np.dtype[Any]) -> Callable[..., Any]:
        known = dtype if len(self.dtypes) > 1 else self.dtypes[0]
        made = self[dtype] = dict.get(self, known) or self._compiled(known)
        self[known] = made
        return made

    def parts(self, arguments: Sequence[Any]) -> int:
        """Into how many parts a call with these arguments is cut; 0 for a kernel that has none."""
        return int(arguments[self.count]) if self.parallel else 0

    def _compiled(self, dtype: np.dtype[Any]) -> Callable[..., Any]:
        import numba

        made = numba.njit(fastmath=FAST if self.fast else False, **SETTINGS)(self.function)

        def missed() -> None:
            if self.parallel:
                made._compiler.py_func = parts.shared(self.function)

        if self.parallel:
            from . import parts  # which machine code refers to
        made._cache = _cache(self.function, str(dtype), missed)
        made.compile(types_of(self.signature, dtype))
        made.disable_compile()
        compiled: Callable[..., Any] = made
        return compiled

    def __repr__(self) -> str:
        return f"Kernel({self.function.__module__.removeprefix('tinygrad_zoo.')}.{self.function.__name__})"


def kernel(signature: str, *, parallel: bool = False, fast: bool = False) -> Callable[[Callable[..., Any]], Kernel]:
    """The decorator that makes a Kernel; `parallel` is for a loop over parts, `for part in prange(parts)`.

    >>> @kernel("void(T[::1], f8)")
    ... def scale(x, factor):
    ...     for i in range(x.size):
    ...         x[i] *= x.dtype.type(factor)
    >>> x = np.ones(2)
    >>> scale[x.dtype](x, 3.0)
    >>> x
    array([3., 3.])
    """
    return lambda function: Kernel(function, signature, parallel, fast)


class Routine(dict[np.dtype[Any], int]):
    """`routine[dtype]` is the address of machine code that kernels call: compiled once, instead of into each of them.

    `signature` is like a Kernel's, and so are the settings; a kernel is given the address and calls `vector.call`.
    """

    def __init__(self, function: Callable[..., Any], signature: str, *, parallel: bool = False) -> None:
        self.function, self.signature, self.parallel = function, signature, parallel
        self.dtypes = dtypes_of(signature)
        self._kept: list[Any] = []  # machine code is freed with the object that holds it
        KERNELS.append(self)

    def __missing__(self, dtype: np.dtype[Any]) -> int:
        import numba
        from numba.core.ccallback import CFunc

        signature = types_of(self.signature, dtype), numba.void
        options = {**SETTINGS, "fastmath": FAST, "nopython": True, "parallel": self.parallel}
        made: Any = CFunc(self.function, signature, locals={}, options=options)
        made._cache = _cache(self.function, f"routine-{dtype}")
        made.compile()
        self._kept.append(made)
        self[dtype] = int(made.address)
        return self[dtype]


def routine(signature: str) -> Callable[[Callable[..., Any]], Routine]:
    """The decorator that makes a Routine."""
    return lambda function: Routine(function, signature)


def helper(function: Callable[..., Any]) -> Any:
    """A function that kernels call: compiled into each of them, never by itself."""
    import numba

    return numba.njit(**SETTINGS, fastmath=FAST)(function)


def inlined(function: Callable[..., Any]) -> Any:
    """A helper that becomes part of the loop that calls it: where a call for each row of a few numbers would show."""
    import numba

    return numba.njit(**SETTINGS, fastmath=FAST, forceinline=True)(function)


def dtypes_of(signature: str) -> tuple[np.dtype[Any], ...]:
    """The dtypes that machine code is made for: one, if it is the same for all."""
    return COMPILED if re.search(r"\bT\b", signature) else COMPILED[:1]


def types_of(signature: str, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Numba's types of the arguments of "void(const T[:, :], f8)", for a dtype."""
    from numba import types

    names = {**vars(types), "T": getattr(types, dtype.name)}
    found = []
    for text in re.split(r",\s*(?![^\[]*\])", signature.removeprefix("void(").removesuffix(")")):
        kind = eval(text.removeprefix("const "), names)
        found.append(kind.copy(readonly=True) if text.startswith("const ") else kind)
    return tuple(found)


# ---- the folder
@functools.cache
def folder(module: str) -> Path:
    """Where the machine code of the kernels of a module lies, or would lie: of these sources, on this processor.

    >>> folder(f"{__package__}.optimizer.cpu").name.partition("-")[0]
    'optimizer'
    """
    import hashlib

    import llvmlite.binding
    import numba

    from .vector import vector_bytes

    target = (llvmlite.binding.get_host_cpu_name(), numba.config.CPU_NAME, numba.config.CPU_FEATURES, vector_bytes())
    versions = (numba.__version__, np.__version__, sys.version_info[:3])
    digest = hashlib.sha256(repr((target, versions)).encode())
    for path in sources(Path(sys.modules[module].__file__ or "")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return cache_folder() / f"{module.rpartition('kernels.')[2].removesuffix('.cpu')}-{digest.hexdigest()[:16]}"


def sources(path: Path) -> list[Path]:
    """The file and all that it imports of ours, at any depth: what its machine code may depend on."""
    found, open_files = {path}, [path]
    while open_files:
        new = set(_imported(open_files.pop())) - found
        found |= new
        open_files += new
    return sorted(found)


_IMPORT = re.compile(r"^[ \t]*from[ \t]+(\.+)([\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n]*)", re.MULTILINE)


@functools.cache
def _imported(file: Path) -> list[Path]:
    """The files of ours that a file imports from: by its text, since parsing all of them takes longer than loading."""
    found = []
    for dots, module, names in _IMPORT.findall(file.read_text("utf-8")):
        base = file.parents[len(dots) - 1].joinpath(*module.split(".") if module else ())
        found += [base.with_suffix(".py"), base / "__init__.py"]
        found += [base / f"{name}.py" for name in re.findall(r"\w+", names)]
    return [name for name in dict.fromkeys(found) if name.is_file()]


def cache_folder() -> Path:
    """Where all of it lies: TINYGRAD_ZOO_CACHE, or a folder of the user's cache folder."""
    chosen = os.environ.get("TINYGRAD_ZOO_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "tinygrad_zoo" / "kernels"
    except RuntimeError:  # a user without a home, as containers have them: a folder that can't be written
        return Path(os.devnull) / "kernels"


def _cache(function: Callable[..., Any], variant: str, missed: Callable[[], None] = lambda: None) -> Any:
    """Numba's cache of one function, in our folder; a folder that can't be written is read all the same. `missed` is
    called where the machine code is not there, before it is compiled."""
    from numba.core import caching

    class Locator(caching._CacheLocator):  # type: ignore[misc]
        """A folder a dtype: processes that add two of them to one index at once can leave it with the name of one on
        the other's code."""

        def get_cache_path(self) -> str:
            return str(folder(function.__module__) / variant)

        def get_source_stamp(self) -> str:
            return folder(function.__module__).name

        def get_disambiguator(self) -> str:
            return str(function.__code__.co_firstlineno)

        @classmethod
        def from_function(cls, py_func: Any, py_file: Any) -> Any:
            return cls()

    class Implementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
        _locator_classes = (Locator,)

    class Cache(caching.FunctionCache):  # type: ignore[misc]
        _impl_class = Implementation

        def save_overload(self, sig: Any, data: Any) -> None:
            with contextlib.suppress(OSError):  # a read-only folder, or a full disk: the kernel serves this process
                super().save_overload(sig, data)

        def load_overload(self, sig: Any, target_context: Any) -> Any:
            found = None
            try:
                found = super().load_overload(sig, target_context)
            except OSError:
                pass
            except Exception:  # a damaged file, as a crash can leave it: forget it, and compile again
                with contextlib.suppress(OSError):
                    self.flush()
            if found is None:
                missed()
            return found

    return Cache(function)


# ---- what `capture` sees
def watch(seen: Callable[[Kernel, np.dtype[Any], tuple[Any, ...]], None] | None) -> None:
    """Call `seen(kernel, dtype, arguments)` in this thread before every launch from now on; None: no longer."""
    _watched.seen = seen
    if seen is None:
        if "__getitem__" in vars(Kernel):
            del Kernel.__getitem__
    else:
        Kernel.__getitem__ = _seen  # type: ignore[method-assign, assignment]


def watched() -> Callable[..., None] | None:
    """What `watch` was given in this thread."""
    return _watched.seen


class _Watched(threading.local):
    seen: Callable[..., None] | None = None


_watched = _Watched()


def _seen(kernel: Kernel, dtype: np.dtype[Any]) -> Callable[..., Any]:
    seen, _watched.seen = _watched.seen, None  # what it looks up itself is no launch
    compiled = dict.get(kernel, dtype) or kernel.__missing__(dtype)
    _watched.seen = seen
    if seen is None:
        return compiled

    def launch(*arguments: Any) -> Any:
        assert _watched.seen is not None
        _watched.seen(kernel, dtype, arguments)
        return compiled(*arguments)

    return launch

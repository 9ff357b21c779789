"""The kernels' run-time: what loads when, where machine code is kept, threads, forks, and the switches."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_zoo as tz
from tinygrad_zoo.errors import DTypeError, UsageError
from tinygrad_zoo.kernels import jit, threads, vector

ROOT = Path(__file__).resolve().parents[1]
MODULE = "tinygrad_zoo.kernels.optimizer.cpu"
SWITCHES = ("NUMBA_", "TINYGRAD_ZOO_", "OMP_", "OPENBLAS_")
# `average(n)` averages n numbers with a kernel; `expected(n)` is what comes out.
START = """
import os, sys, warnings
import numpy as np
from tinygrad_zoo.kernels import jit, optimizer, threads

MANY = 1_000_003  # enough for several threads

def average(n, dtype="float64"):
    a, x = np.arange(n, dtype=dtype), np.full(n, 3, dtype)
    optimizer.ema(a, x, decay=0.25)
    return a

def expected(n):
    return 3 + 0.25 * (np.arange(n) - 3.0)

def check(n):
    assert average(n).tobytes() == expected(n).tobytes(), n

def hits(dtype):  # how often the kernel for one thread was loaded from the folder
    return optimizer.module(optimizer.__name__).ema[np.dtype(dtype)].stats.cache_hits.total()
"""


def run(script: str, cache: Path, root: Path = ROOT, **environment: str) -> str:
    """What a script prints after START in a process of its own; it must succeed and say nothing on stderr."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(SWITCHES)}
    done = subprocess.run(
        [sys.executable, "-W", "always::RuntimeWarning", "-c", START + textwrap.dedent(script)],
        env={**inherited, "PYTHONPATH": str(root), "TINYGRAD_ZOO_CACHE": str(cache), **environment},
        capture_output=True,
        text=True,
        timeout=300,
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def contents(folder: Path) -> dict[str, int]:
    """The files below a folder, and when they were written."""
    return {path.relative_to(folder).as_posix(): path.stat().st_mtime_ns for path in folder.rglob("*.nb?")}


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the kernels that these tests call, made once."""
    cache = tmp_path_factory.mktemp("warm") / "cache"
    run("check(10); check(MANY)", cache)
    return cache


# ---- when Numba loads


def test_nothing_loads_numba_before_a_kernel_is_called(warm: Path) -> None:
    run(
        """
        import tinygrad_zoo as tz
        tz.set_num_threads(2)
        assert tz.get_num_threads() <= 2 and threads.parts(100) == 1
        x = tz.tensor([1.0, 2.0], dtype="float64", requires_grad=True)
        tz.optim.SGD([x])
        assert "numba" not in sys.modules and "llvmlite" not in sys.modules
        check(10)
        assert "numba" in sys.modules
        """,
        warm,
    )


@pytest.mark.parametrize("switch", [{"NUMBA_DISABLE_JIT": "1"}, {"TINYGRAD_ZOO_KERNELS": "off"}])
def test_without_kernels_formulas_serve_and_numba_never_loads(switch: dict[str, str], tmp_path: Path) -> None:
    run(
        """
        import tinygrad_zoo as tz
        from tinygrad_zoo import cli
        assert not jit.enabled()
        check(10); check(MANY)
        rng = np.random.default_rng(0)
        x = tz.tensor(rng.standard_normal((4, 3)), dtype="float32", requires_grad=True)
        optimizer = tz.optim.AdamW([x])
        tz.dropout(x @ x.T, tz.draw_key(rng)).sum().backward()
        tz.optim.clip_grad_norm_([x], 0.1)
        optimizer.step()
        assert cli.main(["warmup"]) == cli.main(["info"]) == 0
        assert "numba" not in sys.modules
        """,
        tmp_path / "cache",
        **switch,
    )
    assert not (tmp_path / "cache").exists()


def test_a_switch_that_makes_no_sense_says_what_to_write(warm: Path) -> None:
    script = """
    try:
        average(10)
    except ValueError as error:
        print(error)
    """
    assert run(script, warm, TINYGRAD_ZOO_KERNELS="fast") == "TINYGRAD_ZOO_KERNELS='fast': expected 'on' or 'off'"
    script = script.replace("average(10)", "from tinygrad_zoo.kernels.vector import vector_bytes; vector_bytes()")
    assert run(script, warm, TINYGRAD_ZOO_VECTOR_BYTES="24") == "TINYGRAD_ZOO_VECTOR_BYTES='24': expected 16, 32 or 64"


# ---- the folder of machine code


def test_a_second_process_loads_what_the_first_has_compiled(tmp_path: Path) -> None:
    script = "check(10); print(hits('float64'))"
    cache = tmp_path / "deep" / "cache"
    cache.parent.mkdir()
    assert run(script, cache) == "0"
    first = contents(cache)
    assert len(first) == 4  # `pieces` has a kernel of its own
    assert all(re.match(r"(optimizer-[0-9a-f]{16}/float64|pieces-[0-9a-f]{16}/float32)/cpu\.", name) for name in first)
    assert run(script, cache) == "1"
    assert contents(cache) == first


def test_the_folders_name_is_of_sources_versions_and_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    source = Path(importlib.import_module(MODULE).__file__ or "")
    name = jit.folder.__wrapped__(MODULE)
    assert name == jit.folder.__wrapped__(MODULE) == jit.folder(MODULE)
    found = {name}
    for target, attribute, value in (
        (numba, "__version__", "0.1"),
        (np, "__version__", "9.9"),
        (numba.config, "CPU_FEATURES", "+none"),
        (vector, "vector_bytes", lambda: 8),
        (sys, "version_info", (3, 99, 0)),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(target, attribute, value)
            found.add(jit.folder.__wrapped__(MODULE))
    assert len(found) == 6
    reached = {path.relative_to(source.parents[1]).as_posix() for path in jit.sources(source)}
    assert {"optimizer/cpu.py", "pieces/cpu.py", "jit.py"} <= reached


def test_a_kernel_changes_when_a_function_it_calls_does_in_another_file(tmp_path: Path) -> None:
    kernels = tmp_path / "tinygrad_zoo" / "kernels"
    shutil.copytree(ROOT / "kernels", kernels, ignore=shutil.ignore_patterns("__pycache__"))
    (kernels.parent / "__init__.py").touch()
    (kernels / "probe").mkdir()
    (kernels / "probe" / "__init__.py").touch()
    (kernels / "probe" / "cpu.py").write_text(
        "from ..jit import kernel\n"
        "from ..callee import callee\n"
        "@kernel('void(T[::1])')\n"
        "def caller(x):\n"
        "    for i in range(x.size):\n"
        "        x[i] = callee(x[i])\n"
    )
    script = """
    from tinygrad_zoo.kernels.probe import cpu
    x = np.full(3, 7.0)
    cpu.caller[x.dtype](x)
    print(x[0])
    """
    cache, before = tmp_path / "cache", (kernels / "probe" / "cpu.py").read_bytes()
    for factor in (2, 3, 2):
        text = f"from .jit import helper\n@helper\ndef callee(x):\n    return {factor} * x\n"
        (kernels / "callee.py").write_text(text)
        assert float(run(script, cache, tmp_path)) == 7 * factor
    assert (kernels / "probe" / "cpu.py").read_bytes() == before
    assert len([path for path in cache.iterdir() if path.name.startswith("probe-")]) == 2  # the third was the first


def test_a_folder_that_cannot_be_written_is_no_obstacle(tmp_path: Path, warm: Path) -> None:
    (tmp_path / "file").write_text("")
    run("check(10)", tmp_path / "file" / "cache")
    deny = """
    from numba.core import caching
    def deny(self):
        raise PermissionError(13, "read-only")
    caching._CacheLocator.ensure_cache_path = deny
    check(10)
    assert average(10, "float32").tobytes() == expected(10).astype("float32").tobytes()
    print(hits("float64"), hits("float32"))
    """
    before = contents(warm)
    assert run(deny, warm) == "1 0" and contents(warm) == before


def test_a_damaged_file_is_compiled_anew(warm: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache)
    for damaged in ("pieces-*/float32/*.nbi", "optimizer-*/float64/*.nbc"):
        for path in cache.glob(damaged):
            path.write_bytes(path.read_bytes()[:20])
    before = contents(cache)
    run("check(10)", cache)
    mended = contents(cache)
    changed = {name.split("-")[0] for name in mended if mended[name] != before.get(name)}
    assert changed == {"pieces", "optimizer"} and mended.keys() == before.keys()
    run("check(10)", cache)
    assert contents(cache) == mended


def test_a_user_without_a_home_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("TINYGRAD_ZOO_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert jit.cache_folder() == Path("/somewhere/tinygrad_zoo/kernels")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert not jit.cache_folder().exists() and not jit.cache_folder().parent.is_dir()
    monkeypatch.setenv("TINYGRAD_ZOO_CACHE", "/chosen")
    assert jit.cache_folder() == Path("/chosen")


# ---- threads and forks


def test_after_a_parallel_kernel_a_forked_child_is_alone_and_right(warm: Path) -> None:
    run(
        """
        check(MANY)
        warnings.simplefilter("ignore", DeprecationWarning)  # Python's, of a fork beside threads
        child = os.fork()
        if child == 0:
            ok = threads.parts(1e9) == 1
            for _ in range(20):
                ok = ok and average(MANY).tobytes() == expected(MANY).tobytes()
            grandchild = os.fork()
            ok = ok and threads.parts(1e9) == 1 and average(MANY).tobytes() == expected(MANY).tobytes()
            if grandchild:
                ok = ok and os.waitpid(grandchild, 0)[1] == 0
            os._exit(0 if ok else 1)
        assert os.waitpid(child, 0)[1] == 0
        check(MANY)
        assert threads.parts(1e9) == threads.get_num_threads()
        """,
        warm,
    )


def test_loops_of_the_users_own_before_a_fork_leave_the_child_alone(warm: Path) -> None:
    run(
        """
        import numba
        numba.config.THREADING_LAYER = "omp"
        @numba.njit(parallel=True)
        def total(n):
            s = 0
            for i in numba.prange(n):
                s += i
            return s
        assert total(1000) == 499500
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            os._exit(0 if average(MANY).tobytes() == expected(MANY).tobytes() and threads.parts(1e9) == 1 else 1)
        assert os.waitpid(child, 0)[1] == 0
        """,
        warm,
    )


def test_a_child_forked_before_any_parallel_kernel_may_use_threads(warm: Path) -> None:
    run(
        """
        check(10)
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
        if child == 0:
            right = average(MANY).tobytes() == expected(MANY).tobytes()
            os._exit(0 if right and threads.parts(1e9) == threads.get_num_threads() else 1)
        assert os.waitpid(child, 0)[1] == 0
        check(MANY)
        """,
        warm,
    )


def test_two_python_threads_may_call_kernels_at_once(warm: Path) -> None:
    run(
        """
        import threading, time
        until, counts, wrong = time.monotonic() + 1.0, [0, 0], []
        def work(k):
            n = MANY // 3 + k
            right = expected(n).tobytes()
            while time.monotonic() < until or counts[k] < 5:
                counts[k] += 1
                if average(n).tobytes() != right:
                    wrong.append(n)
        both = [threading.Thread(target=work, args=(k,)) for k in range(2)]
        for thread in both:
            thread.start()
        for thread in both:
            thread.join()
        assert not wrong
        """,
        warm,
    )


def test_without_openmp_there_is_one_warning_and_one_thread(warm: Path) -> None:
    script = """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(MANY); check(MANY)
        threads.set_num_threads(2)
        check(MANY)
        print(threads.describe())
    (warning,) = caught
    assert warning.category is RuntimeWarning and threads.parts(1e9) == 1
    print(warning.message)
    """
    about, message = run(script, warm, NUMBA_THREADING_LAYER="workqueue").splitlines()
    assert "'layer': 'none'" in about
    assert message == (
        "tinygrad_zoo: Numba's threading layer is 'workqueue', not OpenMP, so kernels use one thread: install libgomp "
        "(Debian: apt install libgomp1), or set NUMBA_THREADING_LAYER=omp"
    )


def test_threads_are_counted_from_the_processors_and_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr(threads, "_state", threads._Threads())
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    for name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        for text, expected in (("", 6), ("3", 3), ("12", 6), ("0", 6), ("many", 6)):
            monkeypatch.setenv(name, text)
            assert threads.available() == tz.get_num_threads() == expected
        monkeypatch.delenv(name)
    for asked, expected in ((4, 4), (1, 1), (99, 6)):
        threads.set_num_threads(asked)
        assert tz.get_num_threads() == expected


def test_the_number_of_threads_is_set_for_kernels_and_for_every_blas(warm: Path) -> None:
    run(
        """
        from threadpoolctl import threadpool_info
        import tinygrad_zoo as tz
        def blas():
            return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
        most = tz.get_num_threads()
        tz.set_num_threads(1)
        assert tz.get_num_threads() == threads.parts(1e9) == 1 and blas() == [1]
        a = tz.tensor(np.eye(3), dtype="float64")
        assert "scipy.linalg" not in sys.modules
        assert tz.solve_triangular(a, a, upper=False).tolist() == a.tolist()
        assert "scipy.linalg" in sys.modules and set(blas()) == {1}, blas()
        check(MANY)
        tz.set_num_threads(np.int64(2))
        assert tz.get_num_threads() == threads.parts(1e9) == min(2, most)
        check(MANY)
        """,
        warm,
    )


@pytest.mark.parametrize("n", [0, -1])
def test_there_is_at_least_one_thread(n: int) -> None:
    with pytest.raises(UsageError, match=rf"set_num_threads: expected n >= 1, got {n}: write set_num_threads\(1\)"):
        tz.set_num_threads(n)


@pytest.mark.parametrize("n", [2.0, "2", None, True])
def test_the_number_of_threads_is_an_integer(n: Any) -> None:
    with pytest.raises(DTypeError, match="set_num_threads: expected an integer n >= 1, got"):
        tz.set_num_threads(n)


def test_reruns_are_bitwise_equal_in_a_process_and_across(warm: Path) -> None:
    script = """
    import hashlib
    from tinygrad_zoo.kernels.pieces import pieces
    rng, seen = np.random.default_rng(0), set()
    g = rng.standard_normal(MANY)
    for n in (1, 2, 2, 1):
        threads.set_num_threads(n)
        table = pieces([g[:7], g[7:]], np.array([0, 7, MANY]))
        a = np.sin(np.arange(MANY))
        optimizer.ema(a, table, decay=0.3)
        seen.add((hashlib.sha256(a).hexdigest(), optimizer.norm(table)))
    print(*seen)
    """
    first = run(script, warm)
    assert first.count("(") == 1 and run(script, warm) == first

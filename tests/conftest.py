"""Hypothesis profiles (HYPOTHESIS_PROFILE=thorough for many more examples) and the oracle tests' selection."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import oracles

# One thread a library, said before NumPy loads: the arrays here are tiny, and on a busy machine BLAS threads that wait
# for one another make linear algebra ten times as slow.
for variable in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

collect_ignore = ["goldens/make_cupy_api.py", "goldens/make_polynomials.py"]  # need CuPy and mpmath, and hold no test

settings.register_profile(
    "ci",
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],  # the first example may compile a kernel
)
settings.register_profile("thorough", settings.get_profile("ci"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))

gc.disable()  # until all tests are collected: a quarter of that time would be spent on looking through what all keep

# A run in the background of a script is started with Ctrl-C ignored, and so would every process of ours be.
signal.signal(signal.SIGINT, signal.default_int_handler)

_states: dict[int, Any] = {}


@pytest.fixture(autouse=True)
def _same_draws_in_any_order(request: pytest.FixtureRequest) -> None:
    """Before each test, a module's generators stand where they stood after the import."""
    import numpy as np

    for value in vars(request.module).values() if request.module else ():
        if isinstance(value, np.random.Generator):
            bits = value.bit_generator
            bits.state = _states.setdefault(id(bits), bits.state)


@pytest.fixture
def formulas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No kernels on either side: in float32 another order of summation shows after some steps."""
    from tinygrad_zoo.kernels import cuda, dispatch

    monkeypatch.setattr(dispatch, "enabled", lambda: False)
    monkeypatch.setattr(cuda, "enabled", lambda: False)
    dispatch.module.cache_clear()
    yield
    dispatch.module.cache_clear()


NOT_RUN = pytest.StashKey[tuple[int, list[str]]]()


@pytest.hookimpl(trylast=True)  # after -k and -m, so that the count is of tests that were asked for
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselects the oracle tests whose library is missing, or fails where all are required."""
    kept, dropped, absent = oracles.select(items)
    if not dropped:
        return
    if oracles.required():
        raise pytest.UsageError(f"TINYGRAD_ZOO_REQUIRE_ORACLES=1, and {oracles.report(len(dropped), absent)}")
    config.stash[NOT_RUN] = (len(dropped), absent)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns the skip of a required oracle test into a failure: an import deep inside must not hide one."""
    report = yield
    if report.skipped and oracles.required() and item.get_closest_marker("oracle"):
        report.outcome = "failed"
        report.longrepr = f"skipped under TINYGRAD_ZOO_REQUIRE_ORACLES=1: {report.longrepr}"
    return report


def pytest_collection_finish() -> None:
    """From here on garbage is collected, but what collecting the tests has made stays."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says how many oracle tests were left out and which extra brings them."""
    if NOT_RUN in config.stash:
        terminalreporter.write_line(oracles.report(*config.stash[NOT_RUN]), yellow=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under pytest-xdist, hands a worker's count to the process that prints the summary."""
    output = getattr(session.config, "workeroutput", None)
    if output is not None and NOT_RUN in session.config.stash:
        output["oracles_not_run"] = session.config.stash[NOT_RUN]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Receives it there."""
    count = getattr(node, "workeroutput", {}).get("oracles_not_run")
    if count is not None:
        node.config.stash[NOT_RUN] = count

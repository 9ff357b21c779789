"""The third-party libraries that tests compare with, and what happens where one is missing.

A test that needs one is marked `@pytest.mark.oracle("torch", "zuko")`; a module of them gets its library by
`torch = oracles.load("torch")`. Where a named library is missing the test is deselected and the summary counts it;
with TINYGRAD_ZOO_REQUIRE_ORACLES=1 it is an error, so a machine that should have them all cannot pass without.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
from collections.abc import Sequence
from functools import cache
from typing import Any, NoReturn

import pytest

# Import name -> distribution; tests/test_packaging.py compares them with the extra.
DISTRIBUTIONS = {
    "torch": "torch",
    "expecttest": "expecttest",
    "transformers": "transformers",
    "diffusers": "diffusers",
    "ot": "POT",
    "zuko": "zuko",
    "nflows": "nflows",
    "normflows": "normflows",
    "torchmetrics": "torchmetrics",
    "gensim": "gensim",
    "statsmodels": "statsmodels",
    "sacrebleu": "sacrebleu",
    "nltk": "nltk",
    "sortedcontainers": "sortedcontainers",
}


def required() -> bool:
    """Whether a missing library is an error."""
    return os.environ.get("TINYGRAD_ZOO_REQUIRE_ORACLES") == "1"


@cache
def missing(library: str) -> bool:
    """Whether `library`, one of DISTRIBUTIONS, cannot be found."""
    return importlib.util.find_spec(library) is None


class _Missing:
    """Stands for a library that is not installed; any use of it fails."""

    def __init__(self, library: str) -> None:
        self._library = library

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # what pytest and inspect ask of every object of a module
            raise AttributeError(name)
        raise RuntimeError(f'{self._library} is not installed, and the test using it lacks @pytest.mark.oracle("...")')


def load(module: str) -> Any:
    """Imports `module` ("torch", "torch.nn.functional"), or gives a stand-in that raises at its first use."""
    library = module.partition(".")[0]
    if library not in DISTRIBUTIONS:
        raise ValueError(f"{library!r} is no oracle: tests/oracles.py knows {', '.join(DISTRIBUTIONS)}")
    return _Missing(library) if missing(library) else importlib.import_module(module)


def select(items: Sequence[pytest.Item]) -> tuple[list[pytest.Item], list[pytest.Item], list[str]]:
    """Parts `items` into those that can run, those that cannot, and the names of the missing libraries."""
    kept: list[pytest.Item] = []
    dropped: list[pytest.Item] = []
    absent: set[str] = set()
    for item in items:
        libraries = {library for marker in item.iter_markers("oracle") for library in marker.args}
        bare = any(not marker.args for marker in item.iter_markers("oracle"))
        if bare or not libraries <= DISTRIBUTIONS.keys():
            raise pytest.UsageError(
                f"{item.nodeid}: the oracle marker names its libraries, as in "
                f'@pytest.mark.oracle("torch"), out of: {", ".join(DISTRIBUTIONS)}'
            )
        gone = {library for library in libraries if missing(library)}
        absent |= gone
        (dropped if gone else kept).append(item)
    return kept, dropped, sorted(absent)


def report(count: int, absent: Sequence[str]) -> str:
    """The line that says what did not run and how to run it."""
    return f'oracle tests not run: {count} (need {", ".join(absent)}): pip install "tinygrad_zoo[oracle]"'

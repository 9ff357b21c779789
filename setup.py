"""The build's guard: everything else is in pyproject.toml."""

import runpy
from pathlib import Path

from setuptools import setup

runpy.run_path(str(Path(__file__).parent / "tinygrad_zoo" / "_checkout.py"))
setup()

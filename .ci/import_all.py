"""Imports every module of the installed tinygrad_zoo, without extras; `argv[1]` is the checkout it must not come from.

A module may ask for an extra by the error that names it; any other ImportError is a failure.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from pathlib import Path

import tinygrad_zoo
from tinygrad_zoo.errors import MissingDependencyError

checkout = Path(sys.argv[1]).resolve()
failed = []
names = [info.name for info in pkgutil.walk_packages(tinygrad_zoo.__path__, "tinygrad_zoo.", onerror=failed.append)]
for name in ["tinygrad_zoo", *names]:
    if name.endswith(".__main__"):  # importing it would run it
        continue
    try:
        module = importlib.import_module(name)
    except MissingDependencyError as error:
        print(f"{name} asks for an extra: {error}")
        continue
    except ImportError as error:
        failed.append(f"{name}: {error}")
        continue
    if module.__file__ and checkout in Path(module.__file__).resolve().parents:
        failed.append(f"{name}: found in the checkout, {module.__file__}")

folders = {name.split(".")[1] for name in names}
failed += [f"tinygrad_zoo.{name}: not in the wheel" for name in ("kernels", "algorithms") if name not in folders]
if not any(Path(tinygrad_zoo.__path__[0]).glob("py.typed")):
    failed.append("py.typed: not in the wheel")
print(f"{len(names) + 1} modules imported from {tinygrad_zoo.__path__[0]}, {len(failed)} failures", *failed, sep="\n  ")
sys.exit(bool(failed))

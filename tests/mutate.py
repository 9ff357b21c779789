"""Plants the faults of mutations.py in a copy of the package, one by one: `python tests/mutate.py [ROW …]`.

A fault is killed where its test passes without it and fails with it. Prints each, and the share that was killed; the
exit status is 1 where one survived, or its test fails without it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mutations import MUTATIONS, Mutation

ROOT = Path(__file__).parents[1]
PARTS = ("tinygrad_zoo", "kernels", "algorithms", "tests", "benchmarks", "docs", "pyproject.toml", "README.md")
FAILED = 1  # pytest's status where tests ran and one failed; others say that none ran


def copy_to(folder: Path) -> None:
    """The package and its tests."""
    for part in PARTS:
        if (ROOT / part).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(ROOT / part, folder / part, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / part, folder / part)


def passes(test: str, folder: Path) -> bool:
    """Whether all cases of the test pass in the copy; RuntimeError where there are none."""
    # Without .pyc files: a fault of the same length, planted within the second, would not be noticed in one.
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1", "MPLBACKEND": "agg"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/{test}"]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if ran.returncode not in (0, FAILED):
        raise RuntimeError(f"{test} did not run:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode == 0


def killed(mutation: Mutation, folder: Path) -> bool:
    """Whether its test fails with the fault planted; the file is as before at the end."""
    path = folder / "tinygrad_zoo" / mutation.file
    text = path.read_text("utf-8")
    path.write_text(text.replace(mutation.old, mutation.new), "utf-8")
    try:
        return not passes(mutation.test, folder)
    finally:
        path.write_text(text, "utf-8")


def main(rows: Sequence[str]) -> int:
    """Plant the faults of these rows, all for none."""
    chosen = [mutation for mutation in MUTATIONS if not rows or mutation.row in rows]
    good: dict[str, bool] = {}
    survived: list[Mutation] = []
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        copy_to(folder)
        for mutation in chosen:
            if mutation.test not in good:
                good[mutation.test] = passes(mutation.test, folder)
            if not good[mutation.test]:
                verdict = "its test fails WITHOUT it"
            else:
                verdict = "killed" if killed(mutation, folder) else "SURVIVED"
            if verdict != "killed":
                survived.append(mutation)
            print(f"{mutation.row:4} {verdict:8} {mutation.file}: {mutation.old!r} -> {mutation.new!r}", flush=True)
    print(f"{len(chosen) - len(survived)} of {len(chosen)} killed")
    return 1 if survived else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="F3, say (default: all)")
    sys.exit(main(parser.parse_args().rows))

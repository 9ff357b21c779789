"""What pip, git and an importing user see: extras, links, the guard, exports, what an import loads."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import os
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

import oracles
import tinygrad_zoo

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
LAZY = ["numba", "cupy", "matplotlib", "tqdm", "scipy", "sklearn", "safetensors", "hypothesis", "threadpoolctl"]
MODULES = {"sklearn": "scikit-learn", "cupyx": "cupy", "cupy_backends": "cupy", "llvmlite": "numba"}


def distribution(requirement: str) -> str:
    """The bare name of a requirement; CuPy's wheels count as cupy."""
    name = re.split(r"[\[<>=!~; ]", requirement)[0]
    return "cupy" if name.startswith("cupy-") else name


def sources() -> list[Path]:
    """Every module of the package; the linked folders are walked at their real paths."""
    return sorted(path for name in ("tinygrad_zoo", "kernels", "algorithms") for path in (ROOT / name).rglob("*.py"))


def named_extras(text: str) -> set[str]:
    """The extras that a source tells its reader to install."""
    quoted = {extra for group in re.findall(r"tinygrad_zoo\[([\w,]+)\]", text) for extra in group.split(",")}
    return quoted | set(re.findall(r"\brequire\(\s*\"[\w.]+\",\s*(?:extra=)?\"(\w+)\"", text))


@pytest.mark.parametrize("path", [*sources(), *ROOT.glob("*.md")], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_extra_named_in_an_error_or_a_text_is_declared(path: Path) -> None:
    assert named_extras(path.read_text("utf-8")) <= EXTRAS.keys()


def test_every_optional_import_comes_with_an_extra() -> None:
    declared = {distribution(line) for lines in (PROJECT["dependencies"], *EXTRAS.values()) for line in lines}
    used = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                used |= {name.name.split(".")[0] for name in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                used.add(str(node.module).split(".")[0])
    used -= sys.stdlib_module_names | {"tinygrad_zoo"}
    assert {MODULES.get(name, name) for name in used} <= declared


def test_the_oracle_extra_is_what_the_tests_know() -> None:
    assert {distribution(line) for line in EXTRAS["oracle"]} == set(oracles.DISTRIBUTIONS.values())


@pytest.mark.parametrize("name", ["kernels", "algorithms"])
def test_the_two_folders_are_relative_links(name: str) -> None:
    link = ROOT / "tinygrad_zoo" / name
    assert link.is_symlink()
    assert os.readlink(link) == f"../{name}"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the sources in which git wrote the links as it does without core.symlinks: as files."""
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("tinygrad_zoo", "kernels", "algorithms"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("kernels", "algorithms"):
        link = tmp_path / "tinygrad_zoo" / name
        link.unlink()
        link.write_text(f"../{name}")
    return tmp_path


ADVICE = "git config core.symlinks true"


def test_the_import_fails_without_the_links(checkout: Path) -> None:
    command = [sys.executable, "-c", "import tinygrad_zoo"]
    run = subprocess.run(command, cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)}, capture_output=True)
    assert run.returncode != 0
    assert ADVICE in run.stderr.decode()
    assert "should be a directory" in run.stderr.decode()


def test_the_build_fails_without_the_links(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = SimpleNamespace(setup=lambda: pytest.fail("the build went on"))
    monkeypatch.setitem(sys.modules, "setuptools", stop)
    with pytest.raises(ImportError, match=ADVICE):
        runpy.run_path(str(checkout / "setup.py"))


def test_the_build_goes_on_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[bool] = []
    monkeypatch.setitem(sys.modules, "setuptools", SimpleNamespace(setup=lambda: called.append(True)))
    runpy.run_path(str(ROOT / "setup.py"))
    assert called


@pytest.mark.parametrize("missing", ["kernels", "algorithms"])
def test_the_guard_names_the_folder(checkout: Path, missing: str) -> None:
    check = runpy.run_path(str(ROOT / "tinygrad_zoo" / "_checkout.py"))["check"]
    other = {"kernels": "algorithms", "algorithms": "kernels"}[missing]
    (checkout / "tinygrad_zoo" / other).unlink()
    (checkout / "tinygrad_zoo" / other).mkdir()
    with pytest.raises(ImportError, match=rf"{missing} should be a directory.* is a file"):
        check(str(checkout / "tinygrad_zoo"))
    (checkout / "tinygrad_zoo" / missing).unlink()
    with pytest.raises(ImportError, match=rf"{missing} should be a directory.* is missing"):
        check(str(checkout / "tinygrad_zoo"))


def packages() -> list[str]:
    """Every package that exports: those of the linked folders and of the model families export on their own terms."""
    return ["tinygrad_zoo"] + [
        info.name
        for info in pkgutil.walk_packages(tinygrad_zoo.__path__, "tinygrad_zoo.")
        if info.ispkg and info.name.split(".")[1] not in {"kernels", "algorithms", "models"}
    ]


@pytest.mark.parametrize("name", packages())
def test_a_package_exports_exactly_its_public_names(name: str) -> None:
    package = importlib.import_module(name)
    exported: list[str] = package.__all__
    assert len(exported) == len(set(exported))
    # Modules, and what loads on first use, may be exported; a dunder is exported by name.
    exported = [e for e in exported if not inspect.ismodule(getattr(package, e)) and e in vars(package)]
    private = re.compile("_|annotations$|TYPE_CHECKING$|Any$")
    public = {
        entry for entry, value in vars(package).items() if not inspect.ismodule(value) and not private.match(entry)
    }
    assert {entry for entry in exported if entry != "__version__"} == public


def test_importing_the_package_loads_numpy_alone() -> None:
    code = f"import sys, tinygrad_zoo; print(*(name for name in {LAZY} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert run.stdout.split() == []


def test_the_installed_version_is_the_packages() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("tinygrad_zoo") == tinygrad_zoo.__version__
    except PackageNotFoundError:  # run from a clone that is not installed
        assert re.fullmatch(r"\d+\.\d+\.\d+", tinygrad_zoo.__version__)

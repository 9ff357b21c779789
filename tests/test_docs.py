"""The README's and the lessons' Python runs, and the README's tables are those of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "lessons").glob("*.md"))]


def program(page: Path) -> str:
    """The page's Python blocks in order, each on the line where it stands, so that errors name it."""
    lines = [""] * (page.read_text("utf-8").count("\n") + 1)
    for block in re.finditer(r"^```python\n(.*?)^```$", page.read_text("utf-8"), flags=re.S | re.M):
        first = page.read_text("utf-8")[: block.start(1)].count("\n")
        code = block[1].splitlines()
        lines[first : first + len(code)] = code
    return "\n".join(lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = program(page)
    assert code.strip(), f"{page} has no Python to run"
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {"__name__": "page"})


def test_the_readme_leads_to_every_lesson() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    lessons = [f"docs/lessons/{page.name}" for page in PAGES[1:]]
    assert re.findall(r"\]\((docs/lessons/[^)]+)\)", readme) == lessons
    assert [page.stem[:2] for page in PAGES[1:]] == [f"{i:02}" for i in range(1, len(lessons) + 1)]


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *PAGES[1:]], ids=lambda page: page.stem)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text("utf-8")):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_tables_are_up_to_date() -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    updated = runpy.run_path(str(ROOT / "docs" / "tables.py"))["updated"]
    assert updated(readme) == readme, "run: python docs/tables.py"


def test_every_cuda_source_is_in_the_page_on_kernels() -> None:
    page = (ROOT / "docs" / "kernels.md").read_text("utf-8").partition("## CUDA kernels")[2]
    sources = [f"{path.parent.name}/{path.name}" for path in (ROOT / "kernels").rglob("*.cu")]
    assert sorted(re.findall(r"`(\w+/\w+\.cu)`", page)) == sorted(sources)


def test_the_readme_names_every_extra() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert all(f"`{extra}`" in readme for extra in project["optional-dependencies"])

"""The oracle marker: what is missing is counted and named, or fails."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

ORACLES = {"torch", "transformers", "diffusers", "ot", "zuko", "nflows", "normflows", "torchmetrics", "gensim"}
ORACLES |= {"statsmodels", "sacrebleu", "nltk", "sortedcontainers", "jax", "mygrad"}

SUITE = """
    import oracles
    import pytest

    here = oracles.load("sortedcontainers")
    gone = oracles.load("zuko")

    def test_plain():
        pass

    @pytest.mark.oracle("zuko")
    def test_gone():
        gone.flows

    @pytest.mark.oracle("sortedcontainers", "zuko")
    def test_half_gone():
        here.SortedList, gone.flows
"""


@pytest.fixture
def suite(
    pytester: pytest.Pytester, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A suite with this directory's conftest in which zuko is missing and sortedcontainers is not."""
    tests = request.path.parent
    pytester.path.joinpath("conftest.py").write_text((tests / "conftest.py").read_text())
    only_zuko = '\n\ndef missing(library: str) -> bool:\n    return library == "zuko"\n'
    pytester.path.joinpath("oracles.py").write_text((tests / "oracles.py").read_text() + only_zuko)
    pytester.makeini("[pytest]\nmarkers = oracle(*libraries): x\naddopts = --strict-markers -p no:cacheprovider")
    monkeypatch.delenv("TINYGRAD_ZOO_REQUIRE_ORACLES", raising=False)
    return pytester


def test_missing_libraries_are_counted_and_the_extra_is_named(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE)
    result = suite.runpytest_subprocess()
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.fnmatch_lines('oracle tests not run: 2 (need zuko): pip install "tinygrad_zoo[[]oracle[]]"')


def test_the_count_is_of_the_tests_asked_for(suite: pytest.Pytester) -> None:
    suite.makepyfile(SUITE)
    result = suite.runpytest_subprocess("-k", "half or plain")
    result.stdout.fnmatch_lines("oracle tests not run: 1 (need zuko)*")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (SUITE, "*TINYGRAD_ZOO_REQUIRE_ORACLES=1, and oracle tests not run: 2 (need zuko)*"),
        (
            'import pytest\n@pytest.mark.oracle("torch")\ndef test_skips():\n    pytest.skip("no reason")',
            "*skipped under TINYGRAD_ZOO_REQUIRE_ORACLES=1*",
        ),
    ],
)
def test_where_oracles_are_required_missing_or_skipped_fails(
    suite: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    monkeypatch.setenv("TINYGRAD_ZOO_REQUIRE_ORACLES", "1")
    suite.makepyfile(body)
    result = suite.runpytest_subprocess()
    assert result.ret != 0
    assert "passed" not in result.parseoutcomes()
    assert any(line for line in result.outlines + result.errlines if message.strip("*") in line)


@pytest.mark.parametrize("marker", ["oracle", 'oracle("pillow")'])
def test_a_marker_names_libraries_of_the_extra(suite: pytest.Pytester, marker: str) -> None:
    suite.makepyfile(f"import pytest\n@pytest.mark.{marker}\ndef test_it():\n    pass")
    result = suite.runpytest_subprocess()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines("*the oracle marker names its libraries*")


def test_an_unmarked_use_of_a_missing_library_fails(suite: pytest.Pytester) -> None:
    suite.makepyfile('import oracles\nzuko = oracles.load("zuko")\ndef test_it():\n    zuko.flows')
    result = suite.runpytest_subprocess()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines("*the test using it lacks @pytest.mark.oracle*")


def test_no_file_of_the_suite_needs_an_oracle_to_be_collected() -> None:
    """pytest imports every file below tests/, the scripts that write goldens too."""
    here = Path(__file__).parent
    for path in sorted(here.rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not {name.partition(".")[0] for name in names} & ORACLES, f"{path.name}: import it in a function"

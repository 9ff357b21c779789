"""Configs are typed, bars are honest about NaN, and recipes are found by name, row or nearly."""

from __future__ import annotations

import dataclasses
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tiny_recipe
from tinygrad_zoo import recipe
from tinygrad_zoo.errors import UsageError
from tinygrad_zoo.recipe import Bar, Config, find, nearest, registered

CONFIG = tiny_recipe.TinyConfig()


@pytest.mark.parametrize(
    ("key", "given", "value"),
    [
        ("steps", "7", 7),
        ("steps", np.int64(7), 7),
        ("lr", "1e-3", 1e-3),
        ("lr", "2", 2.0),
        ("lr", 2, 2.0),
        ("lr", np.float32(0.5), 0.5),
        ("bias", "false", False),
        ("bias", "Yes", True),
        ("loss", "l1", "l1"),
        ("note", "12", "12"),
    ],
)
def test_overrides_take_the_type_of_their_field(key: str, given: Any, value: Any) -> None:
    changed = getattr(CONFIG.overridden({key: given}), key)
    assert changed == value and type(changed) is type(value)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"lrr": "1"}, r"no setting 'lrr' \(did you mean lr\?\); the settings are steps, batch_size, lr"),
        ({"qqqqq": "1"}, "no setting 'qqqqq'; the settings are"),
        ({"steps": "2.5"}, "steps expects an integer, got '2.5'"),
        ({"steps": 2.5}, r"steps expects an integer, got 2\.5"),
        ({"steps": True}, "steps expects an integer, got True"),
        ({"steps": "0"}, "steps must be >= 1, got 0"),
        ({"batch_size": "-1"}, "batch_size must be >= 1"),
        ({"lr": "fast"}, "lr expects a finite number, got 'fast'"),
        ({"lr": "nan"}, "lr expects a finite number, got nan"),
        ({"lr": False}, "lr expects a finite number, got False"),
        ({"bias": "maybe"}, "bias expects true or false, got 'maybe'"),
        ({"bias": 1}, "bias expects true or false, got 1"),
        ({"note": 1}, "note expects text, got 1"),
        ({"loss": "l2"}, "loss must be one of 'mse', 'l1', got 'l2'"),
    ],
)
def test_a_bad_override_says_what_is_expected(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CONFIG.overridden(overrides)


def test_a_config_of_other_types_is_refused() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Listed(Config):
        sizes: list[int]

    with pytest.raises(UsageError, match=r"Listed.sizes is annotated list\[int\]; a config's fields are int"):
        Listed(steps=1, batch_size=1, sizes=[1])


def test_overriding_leaves_the_original_alone() -> None:
    assert CONFIG.overridden({"lr": "1", "steps": "3"}) == dataclasses.replace(CONFIG, lr=1.0, steps=3)
    assert tiny_recipe.TinyConfig() == CONFIG
    assert list(CONFIG.as_dict()) == ["steps", "batch_size", "lr", "noise", "bias", "loss", "note"]


@pytest.mark.parametrize(
    ("bar", "text", "value", "holds"),
    [
        (Bar(metric="x", at_most=2.0, seeds=3), "x ≤ 2 (max of 3 seeds)", 3.0, False),
        (Bar(metric="x", at_least=2.0, seeds=3), "x ≥ 2 (min of 3 seeds)", 1.0, False),
        (Bar(metric="x", at_most=2.0, statistic="median", seeds=3), "x ≤ 2 (median of 3 seeds)", 2.0, True),
        (Bar(metric="x", at_least=1.9, statistic="mean", seeds=3), "x ≥ 1.9 (mean of 3 seeds)", 2.0, True),
        (Bar(metric="x", at_most=0.5, text="half"), "half", 3.0, False),
    ],
)
def test_a_bar_judges_its_statistic_over_runs(bar: Bar, text: str, value: float, holds: bool) -> None:
    runs = [{"x": 1.0, "y": 0.0}, {"x": 3.0}, {"x": 2.0}]
    assert (bar.text, bar.value(*runs), bar.holds(*runs)) == (text, value, holds)


def test_a_bar_of_several_conditions_needs_all_of_them() -> None:
    bar = Bar(metric="x", at_most=2.0, seeds=2, also=(Bar(metric="y", at_least=1.0, statistic="median", seeds=2),))
    assert bar.text == "x ≤ 2 (max of 2 seeds), y ≥ 1 (median of 2 seeds)"
    assert bar.holds({"x": 2.0, "y": 0.5}, {"x": 1.0, "y": 1.5})
    assert not bar.holds({"x": 2.0, "y": 0.0}, {"x": 1.0, "y": 1.5})
    assert not bar.holds({"x": 2.5, "y": 1.0}, {"x": 1.0, "y": 1.5})
    with pytest.raises(UsageError, match="seeds=3"):
        Bar(metric="x", at_most=2.0, seeds=3, also=(Bar(metric="y", at_least=1.0),))


@pytest.mark.parametrize("bound", ["at_most", "at_least"])
def test_nan_meets_no_bar(bound: str) -> None:
    for statistic in ("max", "min", "median", "mean"):
        bar = Bar(metric="x", statistic=statistic, seeds=3, **{bound: 0.0})  # type: ignore[arg-type]
        assert not bar.holds({"x": 0.0}, {"x": math.nan}, {"x": 0.0})


def test_margins_are_positive_where_the_metric_is_better() -> None:
    assert Bar(metric="x", at_most=0.0).margin(1.0, 3.0) == 2.0 == Bar(metric="x", at_least=0.0).margin(3.0, 1.0)


@pytest.mark.parametrize(
    "settings", [{}, {"at_most": 1, "at_least": 1}, {"at_most": 1, "seeds": 0}, {"at_most": 1, "statistic": "mode"}]
)
def test_a_bar_without_sense_is_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="Bar"):
        Bar(metric="x", **settings)


def test_a_bar_needs_its_metric() -> None:
    bar = Bar(metric="x", at_most=0.0)
    for runs in [(), ({"y": 1.0},)]:
        with pytest.raises(UsageError, match="'x'"):
            bar.holds(*runs)


def test_a_name_that_cannot_be_a_folder_is_refused() -> None:
    for name in ("", "../up", "With Space", ".hidden"):
        with pytest.raises(UsageError, match="names a folder"):
            dataclasses.replace(tiny_recipe.RECIPE, name=name)


NAMED = [
    dataclasses.replace(tiny_recipe.RECIPE, name=name, row=row)
    for name, row in [("alpha", "F2"), ("beta", "F10"), ("gamma", "F10"), ("delta", ""), ("epsilon", "T1 T2")]
]


@pytest.mark.parametrize(
    ("asked", "found"), [("alpha", "alpha"), ("F2", "alpha"), ("f2", "alpha"), (" Beta ", "beta"), ("t2", "epsilon")]
)
def test_a_recipe_is_found_by_name_and_by_row(asked: str, found: str) -> None:
    assert find(asked, NAMED).name == found


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("alhpa", r"no system 'alhpa' \(did you mean alpha\?\); `tinygrad-zoo list`"),
        ("F10", "row F10 has several systems: write beta, gamma"),
        ("", "no system ''"),
        ("zzz", "no system 'zzz'; `tinygrad-zoo list`"),
    ],
)
def test_an_unknown_name_gets_the_nearest(asked: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        find(asked, NAMED)


def test_nearest_is_silent_where_nothing_is_near() -> None:
    assert nearest("alpha", []) == "" == nearest("qqq", ["alpha"])


def test_every_recipe_of_the_models_is_registered_and_found() -> None:
    known = registered()
    names = [entry.name for entry in known]
    assert "realnvp" in names and len(set(names)) == len(names)
    for entry in known:
        assert find(entry.name) is entry
        assert all([entry.family, entry.title, entry.paper, entry.bar.text])
    files = Path(recipe.__file__).with_name("models").glob("*/*.py")
    assert len(names) == sum("\nRECIPE = " in file.read_text("utf-8") for file in files)


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A function that adds a package of models whose files are given as text, and forgets what was registered."""
    import tinygrad_zoo.models

    def add(files: dict[str, str]) -> None:
        for name, text in files.items():
            path = tmp_path / "family_of_tests" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        registered.cache_clear()

    monkeypatch.setattr(tinygrad_zoo.models, "__path__", [str(tmp_path)])
    registered.cache_clear()
    yield add
    registered.cache_clear()
    for name in [name for name in sys.modules if "family_of_tests" in name]:
        del sys.modules[name]


RECIPE_FILE = "import dataclasses, tiny_recipe\nRECIPE = dataclasses.replace(tiny_recipe.RECIPE, name='{}', row='{}')\n"


def test_recipes_are_discovered_in_the_order_of_rows(models: Any) -> None:
    models(
        {
            "__init__.py": "from .ten import RECIPE",  # a re-export is the same recipe
            "ten.py": RECIPE_FILE.format("ten", "F10"),
            "two.py": RECIPE_FILE.format("two", "F2"),
            "helpers.py": "x = 1",
        }
    )
    assert [entry.name for entry in registered()] == ["two", "ten"]


def test_two_recipes_of_one_name_are_refused(models: Any) -> None:
    models({"__init__.py": "", "a.py": RECIPE_FILE.format("same", "F1"), "b.py": RECIPE_FILE.format("same", "F2")})
    with pytest.raises(UsageError, match="two recipes are named 'same'"):
        registered()


def test_a_model_that_cannot_be_imported_is_not_passed_over(models: Any) -> None:
    models({"__init__.py": "", "broken.py": "import no_such_module_anywhere"})
    with pytest.raises(ModuleNotFoundError, match="no_such_module_anywhere"):
        registered()

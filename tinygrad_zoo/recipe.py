"""Recipe: what a system must say to be trained, listed and drawn; `training.fit(recipe)` does the rest.

A model file under `tinygrad_zoo/models/` ends with `RECIPE = Recipe(...)`; that alone makes it known by name and row.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import importlib
import math
import pkgutil
import re
import typing
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeAlias, TypeVar

import numpy as np

from .errors import UsageError
from .tensor import Tensor

if TYPE_CHECKING:
    from .data import Split
    from .nn import Module
    from .optim import Optimizer

Batch: TypeAlias = tuple[Any, ...]  # a Tensor for each array of `data.train`, rows of one batch
Statistic: TypeAlias = Literal["max", "min", "median", "mean"]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The numbers of a run; a recipe's own config subclasses it. Fields are int, float, bool, str or a Literal.

    Raises UsageError for a value of another type, or one out of range.

    >>> Config(steps=100, batch_size=32).overridden({"steps": "200"})
    Config(steps=200, batch_size=32)
    """

    steps: int
    batch_size: int

    def __post_init__(self) -> None:
        for name, kind in field_types(type(self)).items():
            object.__setattr__(self, name, _typed(f"{type(self).__name__}.{name}", getattr(self, name), kind))
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{type(self).__name__}.{name} must be >= 1, got {getattr(self, name)}")

    def overridden(self, overrides: Mapping[str, Any]) -> typing.Self:
        """A copy with some fields changed; text is read as the field's type, so that a command line can give it.

        Raises UsageError for an unknown key, naming the nearest, and for a value that is not of the field's type.
        """
        kinds = field_types(type(self))
        values: dict[str, Any] = {}
        for key, value in overrides.items():
            if key not in kinds:
                raise UsageError(f"no setting {key!r}{nearest(key, kinds)}; the settings are {', '.join(kinds)}")
            values[key] = _parsed(key, value, kinds[key]) if isinstance(value, str) else value
        return dataclasses.replace(self, **values)

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, in the order of definition."""
        return dataclasses.asdict(self)


C = TypeVar("C", bound=Config)
M = TypeVar("M", bound="Module")


def field_types(config: type[Any]) -> dict[str, Any]:
    """The type of every field of a config class, annotations resolved.

    >>> field_types(Config)
    {'steps': <class 'int'>, 'batch_size': <class 'int'>}
    """
    hints = typing.get_type_hints(config)
    return {entry.name: hints[entry.name] for entry in dataclasses.fields(config)}


def _typed(where: str, value: Any, kind: Any) -> Any:
    """`value` as exactly `kind`, one of the types a config may have."""
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value in choices:
            return value
        raise UsageError(f"{where} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    if kind not in (int, float, bool, str):
        raise UsageError(f"{where} is annotated {kind}; a config's fields are int, float, bool, str or a Literal")
    if kind is int and isinstance(value, np.integer):
        value = int(value)
    if kind is float and isinstance(value, int | np.integer | np.floating) and not isinstance(value, bool):
        value = float(value)
    if type(value) is not kind or (kind is float and not math.isfinite(value)):
        raise UsageError(f"{where} expects {_expected(kind)}, got {value!r}")
    return value


def _parsed(key: str, text: str, kind: Any) -> Any:
    """The value of type `kind` that `text` stands for."""
    if kind is str:
        return text
    if kind is bool:
        if text.lower() in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            return text.lower() in ("true", "yes", "on", "1")
    elif typing.get_origin(kind) is Literal:
        for choice in typing.get_args(kind):
            if text == str(choice):
                return choice
        return text  # Config says which there are
    else:
        try:
            return kind(text)
        except ValueError:
            pass
    raise UsageError(f"{key} expects {_expected(kind)}, got {text!r}")


def _expected(kind: Any) -> str:
    return {int: "an integer", float: "a finite number", bool: "true or false", str: "text"}[kind]


class Stateful(Protocol):
    """What a checkpoint can hold: a nested dict of arrays, numbers, text, lists and None out, and the same back in."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Any, /) -> Any: ...


class Schedule(Stateful, Protocol):
    """A learning-rate schedule of `tinygrad_zoo.optim`, or something like it."""

    def step(self) -> None: ...

    def get_last_lr(self) -> list[float]: ...


@dataclass(kw_only=True)
class Parts(Generic[M]):
    """What `build` makes. A system of several networks is one Module that holds them.

    `schedules` and `extras` (whatever else has state: an EMA of the weights, a replay memory; see Stateful) are saved
    in checkpoints like the optimizers; it is the recipe's `step` that calls them.
    """

    model: M
    optimizers: Mapping[str, Optimizer]
    schedules: Mapping[str, Schedule] = field(default_factory=dict)
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class State(Generic[C, M]):
    """A run in progress, as `step`, `evaluate` and `figure` see it.

    `rng` is for noise and dropout inside `step`; it is the generator that `build` was given, so modules may keep it,
    and its state is saved in checkpoints. `evaluate` and `figure` find one of their own here, made anew from the seed,
    so that looking at a run does not change it. Tensors are made on `device`, which is the default one during a run.
    """

    config: C
    seed: int
    rng: np.random.Generator
    data: Split
    model: M
    optimizers: Mapping[str, Optimizer]
    schedules: Mapping[str, Schedule]
    extras: Mapping[str, Any]
    device: str
    step: int = 0  # updates done so far
    history: Sequence[Mapping[str, float]] = ()  # the lines of metrics.jsonl, for training curves

    @property
    def training(self) -> bool:
        """Whether the model is in training mode."""
        return bool(self.model.training)


@dataclass(frozen=True, kw_only=True)
class Bar:
    """What must hold: `metric` of `evaluate` at most, or at least, a number, in a statistic over seeds 0..seeds-1.

    `statistic` is the worst seed by default: "max" of at_most, "min" of at_least. `also` are further conditions on the
    same runs, which must hold as well.

    >>> bar = Bar(metric="test_nll", at_most=1.98, seeds=3)
    >>> bar.text
    'test_nll ≤ 1.98 (max of 3 seeds)'
    >>> bar.holds({"test_nll": 1.9}), bar.holds({"test_nll": 1.9}, {"test_nll": 2.0})
    (True, False)
    >>> Bar(metric="modes", at_least=6, also=(Bar(metric="w1", at_most=0.5),)).text
    'modes ≥ 6, w1 ≤ 0.5'
    """

    metric: str
    at_most: float | None = None
    at_least: float | None = None
    statistic: Statistic | None = None
    seeds: int = 1
    text: str = ""
    also: tuple[Bar, ...] = ()

    def __post_init__(self) -> None:
        if (self.at_most is None) == (self.at_least is None):
            raise UsageError(f"Bar({self.metric!r}): give either at_most= or at_least=")
        if self.seeds < 1:
            raise UsageError(f"Bar({self.metric!r}): seeds must be >= 1, got {self.seeds}")
        if any(bar.seeds != self.seeds for bar in self.also):
            raise UsageError(f"Bar({self.metric!r}): also= is judged on the same runs: give it seeds={self.seeds}")
        if self.statistic is None:
            object.__setattr__(self, "statistic", "min" if self.at_most is None else "max")
        elif self.statistic not in typing.get_args(Statistic):
            raise UsageError(f"Bar({self.metric!r}): statistic must be one of {', '.join(typing.get_args(Statistic))}")
        if not self.text:
            over = f" ({self.statistic} of {self.seeds} seeds)" if self.seeds > 1 else ""
            sign, bound = ("≥", self.at_least) if self.at_most is None else ("≤", self.at_most)
            object.__setattr__(self, "text", f"{self.metric} {sign} {bound:g}{over}")
        if self.also:
            object.__setattr__(self, "text", ", ".join((self.text, *(bar.text for bar in self.also))))

    def value(self, *runs: Mapping[str, float]) -> float:
        """The statistic of the metric over the runs, each a dict of `evaluate`; NaN where one of them is NaN."""
        if not runs or any(self.metric not in run for run in runs):
            raise UsageError(f"Bar: expected one dict of metrics a run, each with {self.metric!r}")
        values = [float(run[self.metric]) for run in runs]
        return float(getattr(np, str(self.statistic))(values))

    def holds(self, *runs: Mapping[str, float]) -> bool:
        """Whether the bar is met by these runs, one dict of `evaluate` a seed; never by a NaN."""
        value = self.value(*runs)
        own = value <= self.at_most if self.at_most is not None else value >= typing.cast(float, self.at_least)
        return own and all(bar.holds(*runs) for bar in self.also)

    def margin(self, value: float, baseline: float) -> float:
        """By how much `value` of the metric is better than `baseline`: positive is better."""
        return baseline - value if self.at_most is not None else value - baseline


@dataclass(frozen=True, kw_only=True)
class Recipe(Generic[C, M]):
    """A system: how its data, model and updates are made, and what it must reach.

    - `data(config, rng)`: the Split; the generator is the same for every seed of a run, so the data are too.
    - `build(config, data, rng)`: the Parts; initialisers and dropout draw from `rng`.
    - `step(state, batch)`: one update (or several: the optimizers are all in `state`), the batch a tuple of Tensors;
      returns its metrics, `metric` among them, as scalar Tensors or numbers.
    - `phase(state)`: what `step` decides by beside tensors; `capture` records a program for each. One, as a rule.
    - `evaluate(state)`: the metrics of the test part, the bar's among them; called under no_grad, in eval mode.
    - `baseline(data)`: the name of each baseline and its value of the bar's metric.
    - `figure(state, path)`: draws the PNG; called under no_grad, in eval mode.
    - `samples(state)`: arrays by name, of a system that generates: written to samples.npz. Called as `figure` is.
    """

    name: str
    row: str  # of the table of systems: "F3"
    family: str
    title: str
    paper: str  # "arXiv 1605.08803", or a citation
    config: C
    metric: str  # of `step`, shown in the progress bar; a non-finite one stops the run
    data: Callable[[C, np.random.Generator], Split]
    build: Callable[[C, Split, np.random.Generator], Parts[M]]
    step: Callable[[State[C, M], Batch], Mapping[str, Tensor | float]]
    evaluate: Callable[[State[C, M]], Mapping[str, float]]
    baseline: Callable[[Split], Mapping[str, float]]
    bar: Bar
    figure: Callable[[State[C, M], Path], None]
    phase: Callable[[State[C, M]], Hashable] = lambda state: None
    samples: Callable[[State[C, M]], Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", self.name):
            raise UsageError(f"Recipe: a name is of a-z, 0-9, _ and -, since it names a folder, got {self.name!r}")


@functools.cache
def registered() -> tuple[Recipe[Any, Any], ...]:
    """Every module-level `RECIPE` below tinygrad_zoo.models, in the order of rows, then names.

    Raises UsageError where two recipes have one name.
    """
    try:
        models = importlib.import_module("tinygrad_zoo.models")
    except ModuleNotFoundError as error:
        if error.name != "tinygrad_zoo.models":
            raise
        return ()
    found: dict[str, Recipe[Any, Any]] = {}
    for module in sorted(info.name for info in pkgutil.walk_packages(models.__path__, "tinygrad_zoo.models.")):
        entry = getattr(importlib.import_module(module), "RECIPE", None)
        if entry is None:
            continue
        if entry.name in found and found[entry.name] is not entry:
            raise UsageError(f"two recipes are named {entry.name!r}; the second stands in {module}")
        found[entry.name] = entry
    return tuple(sorted(found.values(), key=lambda entry: (_row_order(entry.row), entry.name)))


def _row_order(row: str) -> tuple[str, float]:
    """F2 before F10; a system without a row last."""
    letters, number = re.match(r"(\D*)(\d*)", row).groups()  # type: ignore[union-attr]  # it matches any text
    return letters or "~", int(number) if number else math.inf


def find(name_or_row: str, recipes: Sequence[Recipe[Any, Any]] | None = None) -> Recipe[Any, Any]:
    """The recipe of that name or row id, in any case, among the registered ones.

    Raises UsageError for an unknown name, with the nearest, and for a row of several systems, with their names.
    """
    recipes = registered() if recipes is None else recipes
    wanted = name_or_row.strip().lower()
    by_name = [entry for entry in recipes if entry.name == wanted]
    matches = by_name or [entry for entry in recipes if wanted in entry.row.lower().split()]
    if len(matches) == 1:
        return matches[0]
    if matches:
        raise UsageError(f"row {name_or_row} has several systems: write {', '.join(entry.name for entry in matches)}")
    known = [*(entry.name for entry in recipes), *(entry.row for entry in recipes)]
    raise UsageError(f"no system {name_or_row!r}{nearest(wanted, known)}; `tinygrad-zoo list` shows them all")


def nearest(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    """A suggestion to append to an error, or nothing.

    >>> nearest("realnpv", ["realnvp", "digits_mlp"])
    ' (did you mean realnvp?)'
    """
    lowered = {entry.lower(): entry for entry in known}
    matches = difflib.get_close_matches(name.lower(), lowered, n=1, cutoff=0.5)
    return f" (did you mean {lowered[matches[0]]}?)" if matches else ""

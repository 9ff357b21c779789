"""What a finished run reports."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..recipe import Config, Recipe


@dataclass(frozen=True, kw_only=True)
class Result:
    """A finished run: what `evaluate` and `baseline` gave, and whether this seed meets the bar."""

    recipe: Recipe[Any, Any]
    config: Config
    seed: int
    out: Path
    step: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    holds: bool
    seconds: float  # of this process: a resumed run counts from its resumption
    training_seconds: float  # of these, those of the steps alone
    program: dict[str, Any] | None = None  # of a captured run: what `Captured.report` says of the last program

    def as_dict(self) -> dict[str, Any]:
        """What result.json holds."""
        return {
            "recipe": self.recipe.name,
            "seed": self.seed,
            "steps": self.step,
            "metrics": self.metrics,
            "baseline": self.baseline,
            "bar": self.recipe.bar.text,
            "holds": self.holds,
            "settings": "changed" if self.config != self.recipe.config else "recipe",
            "seconds": round(self.seconds, 3),
            "training_seconds": round(self.training_seconds, 3),
            **({} if self.program is None else {"program": self.program}),
        }

    def table(self) -> str:
        """The metrics, the baselines and by how much they are beaten, the bar and its verdict, seed and seconds; of a
        captured run, how its step ran."""
        bar = self.recipe.bar
        value = self.metrics[bar.metric]
        rows = [(name, f"{number:.4f}", "") for name, number in self.metrics.items()]
        rows += [
            (name, f"{number:.4f}", f"beaten by {margin:.4f}" if margin > 0 else f"NOT beaten: {margin:.4f}")
            for name, number in self.baseline.items()
            for margin in (bar.margin(value, number),)
        ]
        rows.append(("bar", bar.text, "met" if self.holds else "MISSED"))
        if self.config != self.recipe.config:
            rows[-1] = (*rows[-1][:2], rows[-1][2] + ", with other settings than the recipe's")
        rows.append(("seed", str(self.seed), f"{self.step} steps in {self.seconds:.1f} s"))
        if self.program is not None:
            python = sum(self.program["python"].values())
            native, graphs = self.program["native"], self.program["graphs"]
            said = f"{native} steps in {graphs} graphs" if graphs else f"{native} native steps"
            said += f", {python} calls of Python"
            rows.append(("captured", said, f"{self.program['replayed']} of these steps replayed"))
        first, second = (max(len(row[k]) for row in rows) for k in (0, 1))
        title = f"{self.recipe.title} ({self.recipe.row})" if self.recipe.row else self.recipe.title
        lines = [f"{a:<{first}}  {b:<{second}}  {c}".rstrip() for a, b, c in rows]
        return "\n".join([title, "-" * max(map(len, [title, *lines])), *lines, f"in {self.out}{os.sep}"])

"""What runs of a recipe reached, beside its bar and its baselines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def report(recipe: Any, runs: Sequence[Any]) -> None:
    """Print the bar's metric over the seeds, least, middle and greatest, the baselines, and the seconds a seed took."""
    values = [run.metrics[recipe.bar.metric] for run in runs]
    baselines = ", ".join(f"{name} {value:.4g}" for name, value in runs[0].baseline.items())
    print(
        f"\n{recipe.name}: {recipe.bar.text}: min {min(values):.4g}, median {np.median(values):.4g}, "
        f"max {max(values):.4g}; {baselines}; {max(run.seconds for run in runs):.1f} s a seed"
    )

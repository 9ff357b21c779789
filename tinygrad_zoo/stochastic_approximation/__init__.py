"""Means, roots and minima from noisy observations, one step each: w ← w − a_k · (what was observed at w).

Robbins & Monro, "A Stochastic Approximation Method", 1951; Kiefer & Wolfowitz 1952; Dvoretzky 1956; Spall 1992 (SPSA);
Polyak & Juditsky 1992 (averaging). Every method is an iterator over its estimates, so nothing is kept that is not asked
for: `last(…)` is the final one, `polyak_average(…)` their mean. Arrays of many runs take their steps at once.
"""

from .base import PowerSteps, StepSize
from .conditions import Conditions, StepSizeCheck, check_conditions, check_step_sizes
from .means import RunningMean, RunningMoments, incremental_mean
from .roots import kiefer_wolfowitz, last, polyak_average, robbins_monro, spsa

__all__ = [
    "Conditions",
    "PowerSteps",
    "RunningMean",
    "RunningMoments",
    "StepSize",
    "StepSizeCheck",
    "check_conditions",
    "check_step_sizes",
    "incremental_mean",
    "kiefer_wolfowitz",
    "last",
    "polyak_average",
    "robbins_monro",
    "spsa",
]

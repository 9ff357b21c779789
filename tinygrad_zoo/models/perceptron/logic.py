"""Logic of threshold units with fixed weights (McCulloch & Pitts 1943): one is AND, OR or NOT, two layers are XOR."""

from __future__ import annotations

from typing import Literal

from ... import nn
from ...errors import UsageError
from ...tensor import tensor


def _unit(weights: list[list[float]], thresholds: list[float]) -> nn.ThresholdUnit:
    """1[w·x > T] for each row w of the weights and each T, fixed."""
    unit = nn.ThresholdUnit(len(weights[0]), len(weights))
    unit.weight.data, unit.bias.data = tensor(weights, "float64").data, -tensor(thresholds, "float64").data
    return unit.requires_grad_(False)


def mcculloch_pitts(gate: Literal["and_", "or_", "not_"], n: int | None = None) -> nn.ThresholdUnit:
    """The unit that is AND or OR of n inputs (2 by default), or NOT of one: (…, n) of zeros and ones → (…, 1).

    AND is 1[Σx > n − ½], OR 1[Σx > ½], NOT 1[−x > −½]. Raises UsageError for another gate or number of inputs.

    >>> inputs = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> mcculloch_pitts("and_")(inputs)[:, 0].tolist(), mcculloch_pitts("or_")(inputs)[:, 0].tolist()
    ([0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0])
    """
    least = {"and_": 2, "or_": 2, "not_": 1}
    if gate not in least:
        raise UsageError(f"mcculloch_pitts: expected a gate of {', '.join(least)}, got {gate!r}; XOR takes two: xor()")
    n = least[gate] if n is None else n
    if n < 1 or (gate == "not_" and n != 1):
        raise UsageError(f"mcculloch_pitts: {gate} of {n} inputs has no meaning; NOT takes 1, AND and OR n >= 1")
    if gate == "not_":
        return _unit([[-1.0]], [-0.5])
    return _unit([[1.0] * n], [n - 0.5 if gate == "and_" else 0.5])


def xor() -> nn.Sequential:
    """x₁ XOR x₂ as (x₁ OR x₂) AND NOT (x₁ AND x₂): (…, 2) → (…, 1). No single unit can: its sides are not separable.

    >>> xor()(np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]))[:, 0].tolist()
    [0.0, 1.0, 1.0, 0.0]
    """
    return nn.Sequential(_unit([[1.0, 1.0], [1.0, 1.0]], [0.5, 1.5]), _unit([[1.0, -1.0]], [0.5]))

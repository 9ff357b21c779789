"""Losses of real-valued predictions: input first, target second; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

from ..autograd import primitive
from ..variable import Array
from .loss_reduction import check_reduction, check_same_shape, reduced, unreduced
from .sampling import sample


@primitive(
    vjp=(
        lambda g, out, input, target, reduction: 2 * unreduced(g, input, reduction) * (input - target),
        lambda g, out, input, target, reduction: -2 * unreduced(g, input, reduction) * (input - target),
    ),
    samples=lambda r: [sample(r(2, 3), r(2, 3), reduction=how) for how in ("mean", "sum", "none")],
    reference=lambda input, target, reduction: reduced((input - target) ** 2, reduction),
)
def mse_loss(input: Array, target: Array, *, reduction: str = "mean") -> Array:
    """(input - target)²

    >>> import tinygrad_zoo as tz
    >>> tz.mse_loss(tz.tensor([1.0, 2.0]), tz.tensor([1.0, 4.0])).item()
    2.0
    """
    check_reduction("mse_loss", reduction)
    check_same_shape("mse_loss", input, target)
    return reduced((input - target) ** 2, reduction)

"""Losses of probabilities and distributions; `reduction` is 'mean', 'sum' or 'none'."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import errstate, namespace, on_host
from ..errors import UsageError
from ..variable import Array
from .activation import sigmoid, softplus
from .elementwise import clip
from .exponential import exp, log
from .loss_reduction import (
    KL_REDUCTIONS,
    check_fits,
    check_same_shape,
    check_settings,
    reduced,
    reduced_by_numpy,
    unreduced,
)
from .precision import as_float, narrowed, widened
from .sampling import sample


# ---- of logits
def _wide(input: Any, target: Any, *weights: Any) -> tuple[Any, ...]:
    """All in one floating dtype, wider than float16."""
    input = widened(input)
    return input, as_float(widened(target), input), *map(widened, weights)


def _logits_rule(
    g: Any, out: Any, input: Any, target: Any, weight: Any, pos_weight: Any, needs: Any, reduction: str
) -> list[Any]:
    g, input, target, weight, pos_weight = widened(g), *_wide(input, target, weight, pos_weight)
    g = unreduced(g, input, reduction)
    scaled = g if weight is None else g * weight
    positive = target if pos_weight is None else pos_weight * target
    p = sigmoid(input)
    softplus_minus, softplus_plus = _softplus_pair(input)
    weighted_minus = softplus_minus if pos_weight is None else pos_weight * softplus_minus
    return [
        scaled * ((1 - target) * p - positive * (1 - p)) if needs[0] else None,
        scaled * (weighted_minus - softplus_plus) if needs[1] else None,
        g * (positive * softplus_minus + (1 - target) * softplus_plus) if needs[2] else None,
        scaled * target * softplus_minus if needs[3] else None,
    ]


def _softplus_pair(x: Any) -> tuple[Any, Any]:
    """-log sigmoid(x) and -log(1 - sigmoid(x))."""
    return softplus(-x), softplus(x)


def _logits_reference(input: Any, target: Any, weight: Any, pos_weight: Any, reduction: str) -> Any:
    p = 1 / (1 + np.exp(-input))
    loss = -(1 if pos_weight is None else pos_weight) * target * np.log(p) - (1 - target) * np.log(1 - p)
    return reduced_by_numpy(loss * (1 if weight is None else weight), reduction)


@primitive(
    vjp=_logits_rule,
    samples=lambda r: [
        sample(r(2, 3), r.uniform(0, 1, 2, 3), None, None),
        sample(r(2, 3), r.uniform(0, 1, 2, 3), r.positive(3), r.positive(3), reduction="sum"),
        sample(r(3), r.uniform(0, 1, 3), None, r.positive(3), reduction="none"),
    ],
    reference=_logits_reference,
)
def binary_cross_entropy_with_logits(
    input: Array,
    target: Array,
    weight: Array | None = None,
    pos_weight: Array | None = None,
    *,
    reduction: str = "mean",
) -> Array:
    """-w [p⁺ t log σ(x) + (1 - t) log(1 - σ(x))], safe for large |x|; target in [0, 1].

    >>> tz.binary_cross_entropy_with_logits(tz.tensor([0.0, 1e4]), tz.tensor([1.0, 1.0]), reduction="none").tolist()
    [0.6931471824645996, 0.0]
    """
    check_settings("binary_cross_entropy_with_logits", reduction=reduction)
    check_same_shape("binary_cross_entropy_with_logits", input, target)
    check_fits("binary_cross_entropy_with_logits", input, weight=weight, pos_weight=pos_weight)
    like = input, target
    input, target, weight, pos_weight = _wide(input, target, weight, pos_weight)
    minus, plus = _softplus_pair(input)
    loss = (target if pos_weight is None else pos_weight * target) * minus + (1 - target) * plus
    return narrowed(reduced(loss if weight is None else weight * loss, reduction), *like)


# ---- of probabilities
_LEAST_LOG = -100.0  # what log(0) counts as
_LEAST_VARIANCE = 1e-12  # of p (1 - p) in the derivative


def _logs(p: Any) -> tuple[Any, Any]:
    """log p and log(1 - p), neither below -100."""
    return clip(log(p), min=_LEAST_LOG), clip(log(1 - p), min=_LEAST_LOG)


def _bce_rule(g: Any, out: Any, input: Any, target: Any, weight: Any, needs: Any, reduction: str) -> list[Any]:
    g, input, target, weight = widened(g), *_wide(input, target, weight)
    g = unreduced(g, input, reduction)
    scaled = g if weight is None else g * weight
    gx = gt = gw = None
    if needs[0]:
        gx = scaled * (input - target) / clip(input * (1 - input), min=_LEAST_VARIANCE)
    if needs[1] or needs[2]:
        one, zero = _logs(input)
        gt = scaled * (zero - one) if needs[1] else None
        gw = g * ((target - 1) * zero - target * one) if needs[2] else None
    return [gx, gt, gw]


def _bce_reference(input: Any, target: Any, weight: Any, reduction: str) -> Any:
    one, zero = (np.maximum(np.log(p), -100) for p in (input, 1 - input))
    return reduced_by_numpy(-(target * one + (1 - target) * zero) * (1 if weight is None else weight), reduction)


@primitive(
    vjp=_bce_rule,
    samples=lambda r: [
        sample(r.uniform(0.05, 0.95, 2, 3), r.uniform(0, 1, 2, 3), None),
        sample(r.uniform(0.05, 0.95, 2, 3), r.uniform(0, 1, 2, 3), r.positive(3), reduction="sum"),
        sample(r.uniform(0.05, 0.95, 3), r.integers(2, 3), None, reduction="none"),
    ],
    reference=_bce_reference,
)
def binary_cross_entropy(input: Array, target: Array, weight: Array | None = None, *, reduction: str = "mean") -> Array:
    """-w [t log p + (1 - t) log(1 - p)] of probabilities p, no logarithm below -100; of logits, `…_with_logits`.

    >>> tz.binary_cross_entropy(tz.tensor([0.0, 0.5]), tz.tensor([1.0, 1.0]), reduction="none").tolist()
    [100.0, 0.6931471824645996]
    """
    check_settings("binary_cross_entropy", reduction=reduction)
    check_same_shape("binary_cross_entropy", input, target)
    check_fits("binary_cross_entropy", input, weight=weight)
    if on_host(input) and input.size and not (input.min() >= 0 and input.max() <= 1):
        raise UsageError(
            f"binary_cross_entropy: expected probabilities in [0, 1], got input from {input.min():g} to "
            f"{input.max():g}; for logits write binary_cross_entropy_with_logits"
        )
    like = input, target
    input, target, weight = _wide(input, target, weight)
    with errstate(input):
        one, zero = _logs(input)
    loss = (target - 1) * zero - target * one
    return narrowed(reduced(loss if weight is None else weight * loss, reduction), *like)


# ---- of distributions
def _kl_rules(g: Any, out: Any, input: Any, target: Any, needs: Any, reduction: str, log_target: bool) -> list[Any]:
    g, input, target = widened(g), *_wide(input, target)
    if reduction == "batchmean":
        g = g * (1 / ((input.shape[0] if input.ndim else 1) or 1))
    g = unreduced(g, input, reduction)
    p = exp(target) if log_target else target
    gt = None
    if needs[1]:
        gt = g * (p * (target - input + 1) if log_target else log(target) + 1 - input)
    return [-(g * p) if needs[0] else None, gt]


def _kl_reference(input: Any, target: Any, reduction: str, log_target: bool) -> Any:
    from scipy.special import xlogy

    p = np.exp(target) if log_target else target
    values = xlogy(p, p) - p * input
    if reduction == "batchmean":
        return values.sum() / (len(values) if values.ndim else 1)
    return reduced_by_numpy(values, reduction)


@primitive(
    vjp=_kl_rules,
    samples=lambda r: [
        *(sample(np.log(r.probabilities(2, 3)), r.probabilities(2, 3), reduction=how) for how in KL_REDUCTIONS),
        sample(np.log(r.probabilities(2, 3)), np.log(r.probabilities(2, 3)), log_target=True),
        sample(r(3), r(3), log_target=True, reduction="batchmean"),
    ],
    reference=_kl_reference,
    repair=lambda input, target: (input, np.abs(target) + 0.2),
)
def kl_div(input: Array, target: Array, *, reduction: str = "mean", log_target: bool = False) -> Array:
    """p (log p - input), of log-probabilities `input` and a target p, or log p with `log_target`.

    The divergence of a batch is `reduction="batchmean"`, the sum over the length of axis 0; the mean is of all values.

    >>> tz.kl_div(tz.tensor([[0.0, 0.0]]), tz.tensor([[1.0, 0.0]]), reduction="batchmean").item()
    0.0
    """
    check_settings("kl_div", reduction=reduction)
    check_same_shape("kl_div", input, target)
    like = input, target
    input, target = _wide(input, target)
    xp = namespace(input)
    if log_target:
        values = xp.exp(target) * (target - input)
    else:
        with errstate(input):
            values = xp.where(target == 0, 0, target * xp.log(target)) - target * input
    total = reduced(values, "sum" if reduction == "batchmean" else reduction)
    return narrowed(total / (values.shape[0] if values.ndim else 1) if reduction == "batchmean" else total, *like)

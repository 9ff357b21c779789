"""Normalisation by mean and variance, or by the root of the mean square, with learnt scale and shift.

What the ops differ in is a `_Plan`: over which axes of which view of x the statistics are, and which axes the weight
has there. Channels are on axis 1. Statistics of float16 are computed in float32; no op writes a running statistic.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from operator import index
from typing import Any, NamedTuple

import numpy as np

from ..autograd import fused
from ..backend import errstate, namespace
from ..errors import ShapeError, UsageError
from ..kernels import normalize as kernels
from ..variable import Array
from .exponential import sqrt
from .precision import narrowed, widened
from .sampling import sample


class _Plan(NamedTuple):
    view: tuple[int, ...]  # the shape of x in which the statistics are taken
    axes: tuple[int, ...]  # over these axes of the view
    weight: tuple[int, ...]  # the shape of weight and bias in the view
    rows: tuple[int, ...]  # over these axes of the view weight and bias repeat
    kernel: str  # "rows", "groups" or "batch"
    number: int  # how long a row is, or how many groups there are


def _last(x: Any, normalized_shape: Any = None) -> _Plan:
    ndim = x.ndim
    if normalized_shape is None:
        shape = x.shape[-1:]
    else:
        shape = tuple(normalized_shape) if isinstance(normalized_shape, (tuple, list)) else (index(normalized_shape),)
    lead = ndim - len(shape)
    return _Plan(x.shape, tuple(range(lead, ndim)), shape, tuple(range(lead)), "rows", math.prod(shape))


def _batch(x: Any) -> _Plan:
    others = (0, *range(2, x.ndim))
    return _Plan(x.shape, others, (x.shape[1], *(1,) * (x.ndim - 2)), others, "batch", 0)


def _instance(x: Any) -> _Plan:
    positions = tuple(range(2, x.ndim))
    return _Plan(x.shape, positions, (x.shape[1], *(1,) * (x.ndim - 2)), (0, *positions), "groups", x.shape[1])


def _groups(x: Any, num_groups: int) -> _Plan:
    n, channels, *rest = x.shape
    view = (n, num_groups, channels // num_groups, *rest)
    axes, weight = tuple(range(2, len(view))), (*view[1:3], *(1,) * len(rest))
    return _Plan(view, axes, weight, (0, *axes[1:]), "groups", num_groups)


def _viewed(x: Any, shape: tuple[int, ...]) -> Any:
    """x in this shape, and in float32 for float16."""
    x = widened(x)
    return x if x.shape == shape else x.reshape(shape)


def _scaled(normal: Any, weight: Any, bias: Any, plan: _Plan) -> Any:
    out = normal if weight is None else normal * _viewed(weight, plan.weight)
    return out if bias is None else out + _viewed(bias, plan.weight)


def _promoted(x: Any, *others: Any) -> Any:
    """x in the dtype of the result, but in float32 for float16."""
    dtypes = {a.dtype for a in (x, *others) if a is not None}
    return widened(x if len(dtypes) == 1 else x.astype(np.result_type(*dtypes)))


def _statistics(x: Any, plan: _Plan) -> tuple[Any, Any, Any]:
    """x less its mean, the mean, and the uncorrected variance, in the view."""
    x = _viewed(x, plan.view)
    mean = x.mean(axis=plan.axes, keepdims=True)
    centred = x - mean
    return centred, mean, (centred * centred).mean(axis=plan.axes, keepdims=True)


def _normalized(x: Array, weight: Any, bias: Any, plan: _Plan, eps: float) -> tuple[Array, Array, Any]:
    """The value; mean and 1 / √(var + eps), (2, …); and, at least of a batch, var."""
    if plan.kernel == "batch":
        made = kernels.batch(x, weight, bias, eps)
    else:
        by = kernels.rows if plan.kernel == "rows" else kernels.groups
        made = by(x, weight, bias, plan.number, eps)
    if made is not None:
        return made if len(made) == 3 else (*made, None)
    centred, mean, var = _statistics(_promoted(x, weight, bias), plan)
    rstd = 1 / namespace(x).sqrt(var + eps)
    out = _viewed(_scaled(centred * rstd, weight, bias, plan), x.shape)
    return narrowed(out, x, weight, bias), namespace(x).stack([mean, rstd]), var


def _normalized_formula(x: Any, weight: Any, bias: Any, plan: _Plan, eps: float) -> Any:
    centred, _, var = _statistics(_promoted(x, weight, bias), plan)
    return _viewed(_scaled(centred / sqrt(var + eps), weight, bias, plan), x.shape)


def _pulled(
    g: Array, x: Array, weight: Any, bias: Any, statistics: Array, plan: _Plan, needs: Any, *, fixed: bool = False,
    centred: bool = True, of_statistics: Any = None,
) -> list[Any]:  # fmt: skip
    """The gradients of x, weight and bias; of statistics that are `fixed`, or of a root mean square (not `centred`);
    `of_statistics` are those of mean and variance, where they are results too."""
    if plan.kernel == "batch":
        made = kernels.batch_pulled(g, x, weight, statistics, fixed=fixed, of_statistics=of_statistics)
    elif plan.kernel == "rows":
        made = kernels.rows_pulled(g, x, weight, statistics, plan.number, centred=centred)
    else:
        made = kernels.groups_pulled(g, x, weight, statistics, plan.number)
    if made is not None:
        gx, gw, gb = made
        return [gx, gw.reshape(weight.shape) if needs[1] else None, gb.reshape(bias.shape) if needs[2] else None]
    mean, rstd = _parted(statistics, plan)
    g = _viewed(g, plan.view)
    normal = (_viewed(x, plan.view) - mean) * rstd
    gx = gw = gb = None
    if needs[0]:
        gn = g if weight is None else g * _viewed(weight, plan.weight)
        gx = gn
        if not fixed:
            gx = gx - normal * (gn * normal).mean(axis=plan.axes, keepdims=True)
            gx = gx - gn.mean(axis=plan.axes, keepdims=True) if centred else gx
        gx = gx * rstd
        if of_statistics is not None:
            gm, gv = (_viewed(a, mean.shape) for a in of_statistics)
            gx = gx + (gm + 2 * gv * normal / rstd) * (mean.size / x.size)
        gx = _viewed(gx, x.shape)
    if needs[1]:
        gw = (g * normal).sum(axis=plan.rows).reshape(weight.shape)
    if needs[2]:
        gb = g.sum(axis=plan.rows).reshape(bias.shape)
    return [gx, gw, gb]


def _parted(statistics: Array, plan: _Plan) -> tuple[Array, Array]:
    """Mean and 1 / √(var + eps), each in a shape that broadcasts against the view."""
    kept = tuple(1 if axis in plan.axes else n for axis, n in enumerate(plan.view))
    return statistics[0].reshape(kept), statistics[1].reshape(kept)


def _kernels(plan_of: Callable[..., _Plan]) -> dict[str, Any]:
    """The formula and the backward of x, weight and bias."""

    def formula(x: Any, weight: Any, bias: Any, *, eps: float, **settings: Any) -> Any:
        return _normalized_formula(x, weight, bias, plan_of(x, **settings), eps)

    def backward(
        g: Array, out: Array, x: Array, weight: Any, bias: Any, statistics: Array, *,
        needs: Any, eps: float, **settings: Any,
    ) -> list[Any]:  # fmt: skip
        return _pulled(g, x, weight, bias, statistics, plan_of(x, **settings), needs)

    return {"formula": formula, "backward": backward, "saved": ("statistics",)}


def _reference(plan_of: Callable[..., _Plan]) -> Callable[..., Any]:
    def reference(x: Any, weight: Any, bias: Any, eps: float, **settings: Any) -> Any:
        view, axes, shape = plan_of(x, **settings)[:3]
        v = x.reshape(view)
        out = (v - np.mean(v, axes, keepdims=True)) / np.sqrt(np.var(v, axes, keepdims=True) + eps)
        out = out * (1 if weight is None else weight.reshape(shape)) + (0 if bias is None else bias.reshape(shape))
        return out.reshape(x.shape)

    return reference


def _check_affine(op: str, expected: tuple[int, ...], **arrays: Array | None) -> None:
    for name, array in arrays.items():
        if array is not None and array.shape != expected:
            raise ShapeError(f"{op}: expected a {name} of shape {expected}, got {array.shape}")


def _check_last(op: str, x: Array, plan: _Plan, **arrays: Array | None) -> None:
    expected = plan.weight
    if not expected or x.shape[-len(expected) :] != expected:
        raise ShapeError(f"{op}: normalized_shape {expected} does not end the shape {x.shape} of x")
    _check_affine(op, expected, **arrays)


def _check_channels(op: str, x: Array, **arrays: Array | None) -> None:
    if x.ndim < 2:
        raise ShapeError(f"{op}: expected x of shape (N, C, …), got {x.shape}")
    _check_affine(op, x.shape[1:2], **arrays)


# ---- over the last axes
@fused(
    **_kernels(_last),
    samples=lambda r: [
        sample(r(3, 4), r(4), r(4), normalized_shape=(4,)),
        sample(r(2, 3, 4)),
        sample(r(2, 3, 4), r(3, 4), None, normalized_shape=(3, 4), eps=1e-2),
        sample(r(4), None, r(4), normalized_shape=(4,)),
    ],
    reference=_reference(_last),
    order=("x", "normalized_shape", "weight", "bias", "eps"),
)
def layer_norm(
    x: Array,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    normalized_shape: int | tuple[int, ...] | None = None,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias over the last axes (arXiv 1607.06450); var is uncorrected.

    layer_norm(x, normalized_shape, weight, bias, eps): `normalized_shape`, which weight and bias have too, gives those
    axes' sizes; None means the last one.

    >>> tz.layer_norm(tz.tensor([[1.0, 3.0]]), eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    plan = _last(x, normalized_shape)
    _check_last("layer_norm", x, plan, weight=weight, bias=bias)
    return _normalized(x, weight, bias, plan, eps)[:2]


def _least(x: Any, eps: float | None) -> float:
    """`eps`, or if None the machine epsilon of what is computed in."""
    return float(np.finfo(np.float32 if x.dtype == np.float16 else x.dtype).eps) if eps is None else eps


def rms_norm_formula(x: Any, weight: Any, *, normalized_shape: Any, eps: float | None) -> Any:
    plan, least, x = _last(x, normalized_shape), _least(x, eps), _promoted(x, weight)
    return _scaled(x / sqrt((x * x).mean(axis=plan.axes, keepdims=True) + least), weight, None, plan)


def _rms_backward(
    g: Array, out: Array, x: Array, weight: Any, statistics: Array, *, needs: Any, normalized_shape: Any,
    eps: float | None,
) -> list[Any]:  # fmt: skip
    plan = _last(x, normalized_shape)
    return _pulled(g, x, weight, None, statistics, plan, (*needs, False), centred=False)[:2]


def _rms_reference(x: Any, weight: Any, normalized_shape: Any, eps: float | None) -> Any:
    axes = _last(x, normalized_shape).axes
    root = np.sqrt(np.mean(np.square(x), axes, keepdims=True) + (np.finfo(x.dtype).eps if eps is None else eps))
    return x / root * (1 if weight is None else weight)


@fused(
    formula=rms_norm_formula,
    backward=_rms_backward,
    saved=("statistics",),
    samples=lambda r: [
        sample(r(3, 4), r(4), normalized_shape=(4,)),
        sample(r(2, 3, 4), eps=1e-2),
        sample(r(2, 3, 4), r(3, 4), normalized_shape=(3, 4), eps=1e-2),
        sample(r.nonzero(4)),
    ],
    reference=_rms_reference,
    order=("x", "normalized_shape", "weight", "eps"),
)
def rms_norm(
    x: Array,
    weight: Array | None = None,
    *,
    normalized_shape: int | tuple[int, ...] | None = None,
    eps: float | None = None,
) -> Any:
    """x / √(mean x² + eps) · weight over the last axes (arXiv 1910.07467); eps None is x's machine epsilon.

    rms_norm(x, normalized_shape, weight, eps): `normalized_shape`, which weight has too, gives those axes' sizes; None
    means the last one.

    >>> tz.rms_norm(tz.tensor([[3.0, -3.0]]), eps=0.0).tolist()
    [[1.0, -1.0]]
    """
    plan, least = _last(x, normalized_shape), _least(x, eps)
    _check_last("rms_norm", x, plan, weight=weight)
    made = kernels.rows(x, weight, None, plan.number, least, centred=False)
    if made is not None:
        return made
    xp, wide = namespace(x), _promoted(x, weight)
    rstd = 1 / xp.sqrt((wide * wide).mean(axis=plan.axes, keepdims=True) + least)
    return narrowed(_scaled(wide * rstd, weight, None, plan), x, weight), xp.stack([xp.zeros_like(rstd), rstd])


# ---- over the batch, or the positions of an example
def _running_kernels(plan_of: Callable[..., _Plan], own: str) -> dict[str, Any]:
    """Of x, running mean and variance, weight and bias; the setting `own` says whether by x's own statistics."""

    def formula(x: Any, mean: Any, var: Any, weight: Any, bias: Any, *, eps: float, **settings: Any) -> Any:
        plan = plan_of(x)
        if settings[own]:
            return _normalized_formula(x, weight, bias, plan, eps)
        mean, var = (_viewed(a, plan.weight) for a in (mean, var))
        return _scaled((widened(x) - mean) / sqrt(var + eps), weight, bias, plan)

    def backward(
        g: Array, out: Array, x: Array, mean: Any, var: Any, weight: Any, bias: Any, statistics: Array, *,
        needs: Any, eps: float, **settings: Any,
    ) -> list[Any]:  # fmt: skip
        fixed = not settings[own]
        plan = _batch(x) if fixed else plan_of(x)
        moved = fixed and (needs[1] or needs[2])
        three = (needs[0] or moved, *needs[3:])
        gx, gw, gb = _pulled(g, x, weight, bias, statistics, plan, three, fixed=fixed)
        gm = gv = None
        if moved:
            own_mean, rstd = _parted(statistics, plan)
            gm = -gx.sum(axis=plan.rows).reshape(mean.shape)
            gv = -0.5 * (gx * (x - own_mean) * rstd * rstd).sum(axis=plan.rows).reshape(var.shape)
        return [gx, gm, gv, gw, gb]

    def reference(x: Any, mean: Any, var: Any, weight: Any, bias: Any, eps: float, **settings: Any) -> Any:
        if settings[own]:
            return _reference(plan_of)(x, weight, bias, eps)
        shape = (-1, *(1,) * (x.ndim - 2))
        mean, var = mean.reshape(shape), var.reshape(shape)
        w, b = (default if a is None else a.reshape(shape) for a, default in ((weight, 1), (bias, 0)))
        return (x - mean) / np.sqrt(var + eps) * w + b

    return {"formula": formula, "backward": backward, "saved": ("statistics",), "reference": reference}


def _by_running(
    op: str, own: str, x: Array, mean: Any, var: Any, weight: Any, bias: Any, eps: float
) -> tuple[Array, Array]:
    if mean is None or var is None:
        raise UsageError(f"{op}: expected running_mean and running_var; for those of x write {own}=True")
    plan, xp = _batch(x), namespace(x)
    with errstate(x):
        statistics = xp.stack([widened(mean), 1 / xp.sqrt(widened(var) + eps)])
    made = kernels.batch(x, weight, bias, eps, statistics)
    if made is not None:
        return made[0], statistics
    own_mean, rstd = _parted(statistics, plan)
    return narrowed(_scaled((widened(x) - own_mean) * rstd, weight, bias, plan), x, mean, var, weight, bias), statistics


def _check_several(op: str, x: Array, plan: _Plan) -> None:
    if math.prod(x.shape[a] for a in plan.axes) == 1:
        raise ShapeError(f"{op}: x of shape {x.shape} has one value to take a variance of; expected more")


@fused(
    **_running_kernels(_batch, "training"),
    samples=lambda r: [
        sample(r(4, 2), None, None, r(2), r(2), training=True),
        sample(r(2, 3, 2), None, None, None, r(3), training=True, eps=1e-2),
        sample(r(2, 3, 2, 2), r(3), r.positive(3), r(3), None),
        sample(r(2, 3), r(3), r.positive(3), None, None),
    ],
    repair=lambda x, mean, var, *affine: (x, mean, var if var is None else np.abs(var) + 0.2, *affine),
    order=("x", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
)
def batch_norm(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    training: bool = False,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias for each channel of (N, C, …) (arXiv 1502.03167).

    In training mean and uncorrected variance are those of the channel in the batch, else the running ones. Those are
    never written, so there is no momentum; `nn.BatchNorm2d` updates them by what `batch_norm_with_statistics` returns.

    >>> tz.batch_norm(tz.tensor([[1.0], [3.0]]), training=True, eps=0.0).tolist()
    [[-1.0], [1.0]]
    """
    _check_channels("batch_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not training:
        return _by_running("batch_norm", "training", x, running_mean, running_var, weight, bias, eps)
    _check_several("batch_norm", x, _batch(x))
    return _normalized(x, weight, bias, _batch(x), eps)[:2]


class BatchNormed(NamedTuple):
    """x normalised by its batch, and the mean and uncorrected variance (C,) of each channel."""

    output: Any
    mean: Any
    var: Any


def _with_statistics_formula(x: Any, weight: Any, bias: Any, *, eps: float) -> BatchNormed:
    plan = _batch(x)
    _, mean, var = _statistics(_promoted(x, weight, bias), plan)
    return BatchNormed(_normalized_formula(x, weight, bias, plan, eps), mean.reshape((-1,)), var.reshape((-1,)))


def _with_statistics_backward(
    g: Array, gm: Array, gv: Array, out: Array, mean: Array, var: Array, x: Array, weight: Any, bias: Any,
    statistics: Array, *, needs: Any, eps: float,
) -> list[Any]:  # fmt: skip
    return _pulled(g, x, weight, bias, statistics, _batch(x), needs, of_statistics=(gm, gv))


@fused(
    formula=_with_statistics_formula,
    backward=_with_statistics_backward,
    saved=("statistics",),
    samples=lambda r: [
        sample(r(4, 2), r(2), r(2)),
        sample(r(2, 3, 2), None, r(3), eps=1e-2),
    ],
    reference=lambda x, weight, bias, eps: (
        _reference(_batch)(x, weight, bias, eps),
        np.mean(x, _batch(x).axes),
        np.var(x, _batch(x).axes),
    ),
    dtypes=("float32", "float64"),  # of float16 the statistics are float32: not all that comes out is what went in
)
def batch_norm_with_statistics(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, eps: float = 1e-5
) -> Any:
    """`batch_norm` in training as (output, mean, var): also the batch's mean and uncorrected variance, (C,) each.

    Of float16 the two are float32: a variance soon leaves float16's range.

    >>> tz.batch_norm_with_statistics(tz.tensor([[1.0], [3.0]])).var.tolist()
    [1.0]
    """
    _check_channels("batch_norm_with_statistics", x, weight=weight, bias=bias)
    _check_several("batch_norm_with_statistics", x, _batch(x))
    out, statistics, var = _normalized(x, weight, bias, _batch(x), eps)
    return BatchNormed(out, statistics[0].reshape(-1).copy(), var.reshape(-1)), statistics


@fused(
    **_running_kernels(_instance, "use_input_stats"),
    samples=lambda r: [
        sample(r(2, 3, 4), None, None, r(3), r(3)),
        sample(r(2, 2, 2, 3), None, None, None, r(2), eps=1e-2),
        sample(r(2, 3, 2), r(3), r.positive(3), r(3), None, use_input_stats=False),
    ],
    repair=lambda x, mean, var, *affine: (x, mean, var if var is None else np.abs(var) + 0.2, *affine),
    order=("x", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps"),
)
def instance_norm(
    x: Array,
    running_mean: Array | None = None,
    running_var: Array | None = None,
    weight: Array | None = None,
    bias: Array | None = None,
    *,
    use_input_stats: bool = True,
    eps: float = 1e-5,
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias for each channel of each example of (N, C, …) (arXiv 1607.08022).

    Without `use_input_stats` by the running mean and variance (C,), which are never written.

    >>> tz.instance_norm(tz.tensor([[[1.0, 3.0], [5.0, 1.0]]]), eps=0.0).tolist()
    [[[-1.0, 1.0], [1.0, -1.0]]]
    """
    _check_channels("instance_norm", x, running_mean=running_mean, running_var=running_var, weight=weight, bias=bias)
    if not use_input_stats:
        return _by_running("instance_norm", "use_input_stats", x, running_mean, running_var, weight, bias, eps)
    _check_several("instance_norm", x, _instance(x))
    return _normalized(x, weight, bias, _instance(x), eps)[:2]


@fused(
    **_kernels(_groups),
    samples=lambda r: [
        sample(r(2, 6), r(6), r(6), num_groups=2),
        sample(r(2, 4, 3), None, r(4), num_groups=1, eps=1e-2),
        sample(r(2, 4, 2, 2), r(4), None, num_groups=4),
    ],
    reference=_reference(_groups),
    order=("x", "num_groups", "weight", "bias", "eps"),
)
def group_norm(
    x: Array, weight: Array | None = None, bias: Array | None = None, *, num_groups: int, eps: float = 1e-5
) -> Any:
    """(x - mean) / √(var + eps) · weight + bias over each of `num_groups` runs of channels of (N, C, …), an example
    at a time (arXiv 1803.08494); weight and bias (C,). group_norm(x, num_groups, weight, bias, eps).

    >>> tz.group_norm(tz.tensor([[1.0, 3.0, 10.0, 20.0]]), 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    _check_channels("group_norm", x, weight=weight, bias=bias)
    if num_groups < 1 or x.shape[1] % num_groups:
        raise ShapeError(f"group_norm: {x.shape[1]} channels do not make {num_groups} groups of one size")
    return _normalized(x, weight, bias, _groups(x, num_groups), eps)[:2]

"""Convolution over one, two or three axes, and transposed convolution.

Σ y·conv(x, weight) is linear in y, in x and in weight. So the gradients of convolution are its two adjoints, those of
an adjoint are convolution and the other adjoint, and gradients of every order run on the same three kernels. Transposed
convolution is the adjoint in x (arXiv 1603.07285).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import module_of
from ..errors import ShapeError
from ..kernels import conv as kernels
from ..variable import Array
from .conv_plan import (
    Padding,
    Sizes,
    axes_of,
    batch_of,
    check_bias,
    check_channels,
    check_fit,
    check_weight,
    per_axis,
    places_of,
    plan_of,
    transposed_plan,
)
from .linalg import product
from .precision import half_in_single, in_sixteen_bits
from .sampling import sample
from .shape import moveaxis

# ---- what samples are compared with
_SPLIT = {"x": 1, "weight": 0, "y": 1}  # the axis of channels that falls into groups

_convolve = in_sixteen_bits(kernels.convolve)
_convolve_input = in_sixteen_bits(kernels.convolve_input)
_convolve_weight = in_sixteen_bits(kernels.convolve_weight)


def _by_einsum(result: str, size: Any, kernel: Any, places: Any, plan: dict[str, Any], **two: Any) -> Any:
    """Two of x, weight and y contracted to the third, with a 0/1 array an axis: which tap meets which entry where."""
    axes, groups = len(size), plan["groups"]
    letters = {"x": "ngc" + "ijk"[:axes], "weight": "gmc" + "rst"[:axes], "y": "ngm" + "opq"[:axes]}
    parts, terms = [], []
    for name, a in two.items():
        d = _SPLIT[name]
        parts.append(a.reshape(*a.shape[:d], groups, a.shape[d] // groups, *a.shape[d + 1 :]))
        terms.append(letters[name])
    for d, (before, _) in enumerate(plan["padding"]):
        met = plan["stride"][d] * np.arange(places[d])[:, None] + plan["dilation"][d] * np.arange(kernel[d]) - before
        parts.append((met[..., None] == np.arange(size[d])).astype(np.float64))
        terms.append("opq"[d] + "rst"[d] + "ijk"[d])
    out, d = np.einsum(f"{','.join(terms)}->{letters[result]}", *parts, optimize=True), _SPLIT[result]
    return out.reshape(*out.shape[:d], groups * out.shape[d + 1], *out.shape[d + 2 :])


def _with_bias(out: Any, bias: Any) -> Any:
    return out if bias is None else out + bias.reshape(-1, *(1,) * (out.ndim - 2))


# ---- convolution
def _convolution(x: Any, weight: Any, plan: dict[str, Any]) -> Any:
    """By the op for so many axes."""
    return (conv1d, conv2d, conv3d)[x.ndim - 3](x, weight, None, **plan)


def over_places(g: Any) -> Any:
    """The gradient of a bias; in float32 by a product with ones, a fifth of the time of the reduction."""
    if g.dtype != np.float32:
        return g.sum(axis=(0, *range(2, g.ndim)))
    count = g.shape[0] * math.prod(g.shape[2:])
    ones = module_of(g).ones((1, count), dtype=np.float32)
    return product(ones, moveaxis(g, source=1, destination=-1).reshape((count, g.shape[1])))[0]


def _conv_rule(g: Any, out: Any, x: Any, weight: Any, bias: Any, needs: Sequence[bool], **settings: Any) -> list[Any]:
    plan, single = plan_of("conv", weight.shape[2:], **settings), x.ndim < weight.ndim
    g, x = (g[None], x[None]) if single else (g, x)
    gx: Any = conv_adjoint_input(g, weight, size=x.shape[2:], **plan) if needs[0] else None
    gw = conv_adjoint_weight(g, x, kernel=weight.shape[2:], **plan) if needs[1] else None
    return [gx[0] if needs[0] and single else gx, gw, over_places(g) if needs[2] else None]


@half_in_single
def _convolved(x: Array, weight: Array, bias: Array | None, *, axes: int, **settings: Any) -> Array:
    op = f"conv{axes}d"
    check_weight(op, weight, axes, "out, in / groups")
    plan, batch = plan_of(op, weight.shape[2:], **settings), batch_of(op, x, axes)
    check_channels(op, batch, weight.shape[1] * plan["groups"], weight, plan["groups"])
    check_bias(op, bias, weight.shape[0])
    places_of(op, batch.shape[2:], weight.shape[2:], plan)
    out = _convolve(batch, weight, bias, **plan)
    return out if batch is x else out[0]


def _conv_row(axes: int) -> dict[str, Any]:
    """What the rows of conv1d, conv2d and conv3d share."""

    def samples(r: Any) -> list[Any]:
        size, kernel = (3, 2, 2)[:axes], (2, 2, 1)[:axes]
        return [
            sample(r(1, 2, *size), r(2, 2, *kernel), r(2)),
            sample(r(2, 4, *size), r(2, 2, *kernel), None, stride=2, padding=(1, 1, 0)[:axes], dilation=2, groups=2),
            sample(r(2, *size), r(4, 1, *kernel), r(4), padding="same", dilation=2, groups=2),
            sample(r(0, 1, *size), r(2, 1, *kernel), r(2), padding="valid"),
        ]

    def reference(x: Any, weight: Any, bias: Any, **settings: Any) -> Any:
        batch, kernel = batch_of("", x, axes), weight.shape[2:]
        plan = plan_of("", kernel, **settings)
        places = places_of("", batch.shape[2:], kernel, plan)
        out = _by_einsum("y", batch.shape[2:], kernel, places, plan, x=batch, weight=weight)
        return _with_bias(out, bias).reshape((*x.shape[: -axes - 1], *out.shape[1:]))

    return {"vjp": _conv_rule, "samples": samples, "reference": reference}


@primitive(**_conv_row(1))
def conv1d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """out[n, k, o] = bias[k] + Σ_c Σ_r x[n, c, o·stride + r·dilation − padding] · weight[k, c, r], zeros outside x.

    x (N, in, L) or (in, L), weight (out, in / groups, k), bias (out,); a channel sees those of its own group. Padding
    is a number for both sides, or ((before, after),), of which a negative one crops; 'same' keeps the size of x.

    >>> tz.conv1d(tz.tensor([[[1.0, 2.0, 4.0]]]), tz.tensor([[[1.0, 10.0]]]), padding=1).tolist()
    [[[10.0, 21.0, 42.0, 4.0]]]
    """
    return _convolved(x, weight, bias, axes=1, stride=stride, padding=padding, dilation=dilation, groups=groups)


@primitive(**_conv_row(2))
def conv2d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """`conv1d` over two axes: x (N, in, H, W) or (in, H, W), weight (out, in / groups, kH, kW), bias (out,).

    >>> image, edges = tz.tensor([[[[0.0, 1.0, 1.0], [0.0, 1.0, 1.0]]]]), tz.tensor([[[[-1.0, 1.0]]]])
    >>> tz.conv2d(image, edges).tolist()
    [[[[1.0, 0.0], [1.0, 0.0]]]]
    """
    return _convolved(x, weight, bias, axes=2, stride=stride, padding=padding, dilation=dilation, groups=groups)


@primitive(**_conv_row(3))
def conv3d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """`conv1d` over three axes: x (N, in, D, H, W) or without N, weight (out, in / groups, kD, kH, kW), bias (out,).

    >>> tz.conv3d(tz.ones(1, 1, 2, 2, 3), tz.ones(1, 1, 2, 2, 2)).tolist()
    [[[[[8.0, 8.0]]]]]
    """
    return _convolved(x, weight, bias, axes=3, stride=stride, padding=padding, dilation=dilation, groups=groups)


# ---- its adjoints
def _adjoint_reference(result: str, y: Any, size: Any, kernel: Any, settings: dict[str, Any], **other: Any) -> Any:
    return _by_einsum(result, size, kernel, y.shape[2:], plan_of("", kernel, **settings), y=y, **other)


def _adjoint_input_samples(r: Any) -> list[Any]:
    return [
        sample(r(1, 2, 2), r(2, 2, 2), size=(3,)),
        sample(r(2, 4, 1, 2), r(4, 1, 2, 1), size=(2, 3), stride=(1, 2), padding=(1, 0), dilation=(3, 1), groups=2),
        sample(r(1, 1, 2, 1, 3), r(1, 1, 1, 2, 2), size=(2, 3, 2), padding=((0, 0), (0, -1), (1, 1))),
        sample(r(0, 1, 2), r(1, 1, 2), size=(3,)),
    ]


def _adjoint_input_rule(g: Any, out: Any, y: Any, weight: Any, needs: Any, size: Any, **settings: Any) -> list[Any]:
    plan = plan_of("conv_adjoint_input", weight.shape[2:], **settings)
    gy = _convolution(g, weight, plan) if needs[0] else None
    return [gy, conv_adjoint_weight(y, g, kernel=weight.shape[2:], **plan) if needs[1] else None]


@primitive(
    vjp=_adjoint_input_rule,
    samples=_adjoint_input_samples,
    reference=lambda y, weight, size, **settings: _adjoint_reference(
        "x", y, size, weight.shape[2:], settings, weight=weight
    ),
)
@half_in_single
def conv_adjoint_input(
    y: Array, weight: Array, *, size: tuple[int, ...],
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of Σ y·conv(x, weight) in x, whose spatial shape is `size`: y is of the shape of the convolution.

    >>> tz.conv_adjoint_input(tz.tensor([[[1.0, 2.0]]]), tz.tensor([[[1.0, 10.0]]]), size=(3,)).tolist()
    [[[1.0, 12.0, 20.0]]]
    """
    op, axes = "conv_adjoint_input", axes_of("conv_adjoint_input", y)
    check_weight(op, weight, axes, "out, in / groups")
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    plan, size = plan_of(op, weight.shape[2:], **settings), per_axis(op, "size", size, axes, least=0)
    check_channels(op, y, weight.shape[0], weight, plan["groups"])
    check_fit(op, y, places_of(op, size, weight.shape[2:], plan), "size")
    return _convolve_input(y, weight, size=size, **plan)


def _adjoint_weight_samples(r: Any) -> list[Any]:
    return [
        sample(r(1, 2, 2), r(1, 2, 3), kernel=(2,)),
        sample(r(2, 4, 1, 2), r(2, 2, 2, 3), kernel=(2, 1), stride=(1, 2), padding=(1, 0), dilation=(3, 1), groups=2),
        sample(r(1, 1, 2, 1, 3), r(1, 1, 2, 3, 2), kernel=(1, 2, 2), padding=((0, 0), (0, -1), (1, 1))),
        sample(r(0, 1, 2), r(0, 1, 3), kernel=(2,)),
    ]


def _adjoint_weight_rule(g: Any, out: Any, y: Any, x: Any, needs: Any, kernel: Any, **settings: Any) -> list[Any]:
    plan = plan_of("conv_adjoint_weight", g.shape[2:], **settings)
    gy = _convolution(x, g, plan) if needs[0] else None
    return [gy, conv_adjoint_input(y, g, size=x.shape[2:], **plan) if needs[1] else None]


@primitive(
    vjp=_adjoint_weight_rule,
    samples=_adjoint_weight_samples,
    reference=lambda y, x, kernel, **settings: _adjoint_reference("weight", y, x.shape[2:], kernel, settings, x=x),
)
@half_in_single
def conv_adjoint_weight(
    y: Array, x: Array, *, kernel: tuple[int, ...],
    stride: Sizes = 1, padding: Padding = 0, dilation: Sizes = 1, groups: int = 1,
) -> Array:  # fmt: skip
    """The gradient of Σ y·conv(x, weight) in weight, whose spatial shape is `kernel`: y is of the convolution's shape.

    >>> tz.conv_adjoint_weight(tz.tensor([[[1.0, 10.0]]]), tz.tensor([[[1.0, 2.0, 4.0]]]), kernel=(2,)).tolist()
    [[[21.0, 42.0]]]
    """
    op, axes = "conv_adjoint_weight", axes_of("conv_adjoint_weight", y)
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    kernel = per_axis(op, "kernel", kernel, axes)
    plan = plan_of(op, kernel, **settings)
    if x.ndim != y.ndim or x.shape[0] != y.shape[0] or x.shape[1] % plan["groups"] or y.shape[1] % plan["groups"]:
        raise ShapeError(
            f"{op}: expected y (N, out, …) and x (N, in, …) of one N, with channels that groups={plan['groups']} "
            f"divides, got {y.shape} and {x.shape}"
        )
    check_fit(op, y, places_of(op, x.shape[2:], kernel, plan), "kernel")
    return _convolve_weight(y, x, kernel=kernel, **plan)


# ---- transposed convolution
def _transposed_rule(
    g: Any, out: Any, x: Any, weight: Any, bias: Any, needs: Sequence[bool], **settings: Any
) -> list[Any]:
    kernel, single = weight.shape[2:], x.ndim < weight.ndim
    g, x = (g[None], x[None]) if single else (g, x)
    plan, _ = transposed_plan("conv_transpose", x.shape[2:], kernel, **settings)
    gx: Any = _convolution(g, weight, plan) if needs[0] else None
    gw = conv_adjoint_weight(x, g, kernel=kernel, **plan) if needs[1] else None
    return [gx[0] if needs[0] and single else gx, gw, over_places(g) if needs[2] else None]


@half_in_single
def _transposed(x: Array, weight: Array, bias: Array | None, *, axes: int, **settings: Any) -> Array:
    op = f"conv_transpose{axes}d"
    check_weight(op, weight, axes, "in, out / groups")
    batch = batch_of(op, x, axes)
    plan, size = transposed_plan(op, batch.shape[2:], weight.shape[2:], **settings)
    check_channels(op, batch, weight.shape[0], weight, plan["groups"])
    check_bias(op, bias, weight.shape[1] * plan["groups"])
    out = _with_bias(_convolve_input(batch, weight, size=size, **plan), bias)
    return out if batch is x else out[0]


def _transposed_row(axes: int) -> dict[str, Any]:
    """What the rows of conv_transpose1d, conv_transpose2d and conv_transpose3d share."""

    def samples(r: Any) -> list[Any]:
        size, kernel = (2, 2, 1)[:axes], (2, 1, 2)[:axes]
        return [
            sample(r(1, 2, *size), r(2, 2, *kernel), r(2)),
            sample(r(2, 2, *size), r(2, 1, *kernel), None, stride=2, padding=(1, 0, 0)[:axes], output_padding=1),
            sample(r(4, *size), r(4, 1, *kernel), r(2), output_padding=(1, 0, 0)[:axes], groups=2, dilation=2),
            sample(r(0, 1, *size), r(1, 2, *kernel), r(2)),
        ]

    def reference(x: Any, weight: Any, bias: Any, **settings: Any) -> Any:
        batch, kernel = batch_of("", x, axes), weight.shape[2:]
        plan, size = transposed_plan("", batch.shape[2:], kernel, **settings)
        out = _by_einsum("x", size, kernel, batch.shape[2:], plan, y=batch, weight=weight)
        return _with_bias(out, bias).reshape((*x.shape[: -axes - 1], *out.shape[1:]))

    return {"vjp": _transposed_rule, "samples": samples, "reference": reference}


@primitive(**_transposed_row(1))
def conv_transpose1d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """The adjoint of `conv1d` in x: x[n, c, i] · weight[c, k, r] adds to out[n, k, i·stride + r·dilation − padding].

    x (N, in, L) or (in, L), weight (in, out / groups, k), bias (out,). out has the size (L − 1)·stride − 2·padding +
    dilation·(k − 1) + output_padding + 1; without output_padding it is the least that the convolution takes to L.

    >>> tz.conv_transpose1d(tz.tensor([[[1.0, 2.0]]]), tz.tensor([[[1.0, 1.0, 10.0]]]), stride=2).tolist()
    [[[1.0, 1.0, 12.0, 2.0, 20.0]]]
    """
    return _transposed(
        x, weight, bias, axes=1, stride=stride, padding=padding, output_padding=output_padding, groups=groups,
        dilation=dilation,
    )  # fmt: skip


@primitive(**_transposed_row(2))
def conv_transpose2d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """`conv_transpose1d` over two axes: x (N, in, H, W) or (in, H, W), weight (in, out / groups, kH, kW), bias (out,).

    >>> tz.conv_transpose2d(tz.tensor([[[[1.0, 2.0]]]]), tz.ones(1, 1, 1, 2), stride=2).tolist()
    [[[[1.0, 1.0, 2.0, 2.0]]]]
    """
    return _transposed(
        x, weight, bias, axes=2, stride=stride, padding=padding, output_padding=output_padding, groups=groups,
        dilation=dilation,
    )  # fmt: skip


@primitive(**_transposed_row(3))
def conv_transpose3d(
    x: Array, weight: Array, bias: Array | None = None, *,
    stride: Sizes = 1, padding: Sizes = 0, output_padding: Sizes = 0, groups: int = 1, dilation: Sizes = 1,
) -> Array:  # fmt: skip
    """`conv_transpose1d` over three axes: x (N, in, D, H, W) or without N, weight (in, out / groups, kD, kH, kW).

    >>> tz.conv_transpose3d(tz.ones(1, 1, 1, 1, 2), tz.ones(1, 1, 1, 1, 2)).tolist()
    [[[[[1.0, 2.0, 1.0]]]]]
    """
    return _transposed(
        x, weight, bias, axes=3, stride=stride, padding=padding, output_padding=output_padding, groups=groups,
        dilation=dilation,
    )  # fmt: skip

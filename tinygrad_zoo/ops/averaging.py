"""Average pooling and power-average pooling over one, two or three axes.

An average is linear in x: its gradient is its adjoint, and that of the adjoint the average again.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..autograd import primitive
from ..errors import ShapeError, UsageError
from ..kernels import resample as kernels
from ..kernels.windows import Windows
from ..variable import Array
from .composite import composite
from .conv_plan import Sizes, axes_of, per_axis
from .elementwise import abs, where
from .pool_plan import OutputSize, adaptive_windows, batch_of, strided_windows
from .pooling import max_pool1d, max_pool2d
from .precision import narrowed, widened
from .sampling import Draw, sample


def weighed(op: str, x: Array, axes: tuple[Windows, ...]) -> Array:
    """x by a table an axis; float16 in float32."""
    if x.dtype.kind != "f":
        raise UsageError(f"{op}: x of {x.dtype}: expected floating point: write x.astype('float32')")
    return narrowed(kernels.weigh(widened(x), axes), x)


def adjoint(op: str, y: Array, axes: tuple[Windows, ...]) -> Array:
    """The adjoint of `weighed`, of a y of the shape that makes."""
    places = tuple(axis.places for axis in axes)
    if y.shape[2:] != places:
        raise ShapeError(
            f"{op}: y has the spatial shape {y.shape[2:]}, x of this size is pooled or resized to {places}"
        )
    return weighed(op, y, tuple(axis.transposed for axis in axes))


def by_matrices(x: Any, axes: tuple[Windows, ...], transposed: bool = False) -> Any:
    """`weighed`, or its adjoint, by a matrix an axis: what samples are compared with."""
    for d, axis in enumerate(axes, x.ndim - len(axes)):
        matrix = np.zeros((axis.places, axis.size))
        for o, (start, count) in enumerate(zip(axis.first, axis.counts, strict=True)):
            matrix[o, start : start + count] = axis.weight[axis.offset[o] : axis.offset[o + 1]]
        matrix = matrix.T if transposed else matrix
        x = np.moveaxis(np.tensordot(matrix, x, (1, d)), 0, d)
    return x


# ---- averages over windows of one size
def _average_windows(
    op: str, size: Any, kernel_size: Any, stride: Any, padding: Any, ceil_mode: bool, count_include_pad: bool,
    divisor_override: int | None = None,
) -> tuple[Windows, ...]:  # fmt: skip
    if divisor_override == 0:
        raise UsageError(f"{op}: divisor_override=0: expected a number other than 0, or None")
    return strided_windows(
        op, size, kernel_size=kernel_size, stride=stride, padding=padding, ceil_mode=ceil_mode,
        counted=count_include_pad, divisor=float(divisor_override or 0),
    )  # fmt: skip


def _average_row(axes: int) -> dict[str, Any]:
    """What the rows of avg_pool1d, avg_pool2d and avg_pool3d share."""

    def samples(r: Draw) -> list[Any]:
        small, size = (3, 2, 2)[:axes], (5, 4, 2)[:axes]
        uncounted = {"divisor_override": 3} if axes > 1 else {"count_include_pad": False, "padding": 1}
        return [
            sample(r(1, 2, *small), kernel_size=2),
            sample(r(1, 2, *size), kernel_size=(3, 2, 2)[:axes], stride=(2, 1, 1)[:axes], padding=1),
            sample(r(2, *size), kernel_size=2, padding=1, count_include_pad=False, ceil_mode=True),
            sample(r(1, 1, *size), kernel_size=2, stride=3, ceil_mode=True, **uncounted),
            sample(r(0, 1, *small), kernel_size=1),
        ]

    def rule(g: Any, out: Any, x: Any, **settings: Any) -> Any:
        back = avg_pool_adjoint(g if x.ndim == axes + 2 else g[None], size=x.shape[-axes:], **settings)
        return back if x.ndim == axes + 2 else back[0]

    def reference(x: Any, **settings: Any) -> Any:
        return by_matrices(x, _average_windows("", x.shape[-axes:], **settings))

    return {"vjp": (rule,), "samples": samples, "reference": reference}


def _averaged(x: Array, axes: int, *settings: Any) -> Array:
    op = f"avg_pool{axes}d"
    batch = batch_of(op, x, axes)
    out = weighed(op, batch, _average_windows(op, batch.shape[2:], *settings))
    return out if batch is x else out[0]


@primitive(**_average_row(1))
def avg_pool1d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Array:  # fmt: skip
    """out[n, c, o] = mean over r < kernel_size of x[n, c, o·stride + r − padding], zeros outside x.

    x (N, C, L) or (C, L); stride is kernel_size unless given. With `ceil_mode` the number of windows is rounded up, as
    in `max_pool1d`. The zeros of the padding count in the mean unless `count_include_pad` is False.

    >>> tz.avg_pool1d(tz.tensor([[1.0, 3.0, 2.0, 6.0]]), 2).tolist()
    [[2.0, 4.0]]
    """
    return _averaged(x, 1, kernel_size, stride, padding, ceil_mode, count_include_pad)


@primitive(**_average_row(2))
def avg_pool2d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """`avg_pool1d` over two axes: x (N, C, H, W) or (C, H, W). `divisor_override` divides the sums, if given.

    >>> tz.avg_pool2d(tz.tensor([[[1.0, 3.0], [2.0, 6.0]]]), 2).tolist()
    [[[3.0]]]
    """
    return _averaged(x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


@primitive(**_average_row(3))
def avg_pool3d(
    x: Array, *, kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0, ceil_mode: bool = False,
    count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """`avg_pool2d` over three axes: x (N, C, D, H, W) or (C, D, H, W).

    >>> tz.avg_pool3d(tz.arange(8.0).reshape(1, 2, 2, 2), 2, divisor_override=1).tolist()
    [[[[28.0]]]]
    """
    return _averaged(x, 3, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _average(g: Any, **settings: Any) -> Any:
    """By the op for so many axes."""
    if g.ndim == 3:  # which has no divisor_override of its own
        settings.pop("divisor_override", None)
    return (avg_pool1d, avg_pool2d, avg_pool3d)[g.ndim - 3](g, **settings)


_AVERAGE_ADJOINT: dict[str, Any] = {
    "vjp": (lambda g, out, y, size, **settings: _average(g, **settings),),
    "samples": lambda r: [
        sample(r(1, 2, 2), size=(5,), kernel_size=2, stride=3),
        sample(r(2, 1, 3, 3), size=(5, 4), kernel_size=(3, 2), stride=2, padding=1, count_include_pad=False),
        sample(r(1, 1, 1, 2, 2), size=(2, 3, 3), kernel_size=2, ceil_mode=True, divisor_override=3),
        sample(r(0, 1, 1), size=(2,), kernel_size=2),
    ],
    "reference": lambda y, size, **settings: by_matrices(y, _average_windows("", size, **settings), True),
}


@primitive(**_AVERAGE_ADJOINT)
def avg_pool_adjoint(
    y: Array, *, size: tuple[int, ...], kernel_size: Sizes, stride: Sizes | None = None, padding: Sizes = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Array:  # fmt: skip
    """The gradient of Σ y·avg_pool(x) in x, whose spatial shape is `size`: each average shared out over its window.

    >>> tz.avg_pool_adjoint(tz.tensor([[[2.0, 4.0]]]), size=(5,), kernel_size=2).tolist()
    [[[1.0, 1.0, 2.0, 2.0, 0.0]]]
    """
    op, axes = "avg_pool_adjoint", axes_of("avg_pool_adjoint", y)
    size = per_axis(op, "size", size, axes)
    if axes == 1 and divisor_override is not None:
        raise UsageError(f"{op}: divisor_override={divisor_override}: avg_pool1d has none")
    return adjoint(
        op, y, _average_windows(op, size, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    )


# ---- averages over as many windows as are wanted
def _adaptive_row(axes: int) -> dict[str, Any]:
    """What the rows of adaptive_avg_pool1d, adaptive_avg_pool2d and adaptive_avg_pool3d share."""

    def samples(r: Draw) -> list[Any]:
        size = (5, 3, 2)[:axes]
        return [
            sample(r(1, 2, *(3, 2, 2)[:axes]), output_size=1),
            sample(r(1, 2, *size), output_size=(3, 2, 2)[:axes]),
            sample(r(2, *size), output_size=(2, None, 3)[:axes]),
            sample(r(0, 1, *size), output_size=2),
        ]

    def rule(g: Any, out: Any, x: Any, output_size: Any) -> Any:
        back = adaptive_avg_pool_adjoint(g if x.ndim == axes + 2 else g[None], size=x.shape[-axes:])
        return back if x.ndim == axes + 2 else back[0]

    def reference(x: Any, output_size: Any) -> Any:
        return by_matrices(x, adaptive_windows("", x.shape[-axes:], output_size))

    return {"vjp": (rule,), "samples": samples, "reference": reference}


def _adapted(x: Array, axes: int, output_size: Any) -> Array:
    op = f"adaptive_avg_pool{axes}d"
    batch = batch_of(op, x, axes)
    out = weighed(op, batch, adaptive_windows(op, batch.shape[2:], output_size))
    return out if batch is x else out[0]


@primitive(**_adaptive_row(1))
def adaptive_avg_pool1d(x: Array, *, output_size: OutputSize) -> Array:
    """The mean of each of `output_size` windows, from ⌊o · L / output_size⌋ to ⌈(o + 1) · L / output_size⌉.

    x (N, C, L) or (C, L); 1 is global average pooling. None keeps a size.

    >>> tz.adaptive_avg_pool1d(tz.tensor([[1.0, 4.0, 1.0, 3.0, 5.0]]), 2).tolist()
    [[2.0, 3.0]]
    """
    return _adapted(x, 1, output_size)


@primitive(**_adaptive_row(2))
def adaptive_avg_pool2d(x: Array, *, output_size: OutputSize) -> Array:
    """`adaptive_avg_pool1d` over two axes: x (N, C, H, W) or (C, H, W).

    >>> tz.adaptive_avg_pool2d(tz.arange(6.0).reshape(1, 2, 3), (1, None)).tolist()
    [[[1.5, 2.5, 3.5]]]
    """
    return _adapted(x, 2, output_size)


@primitive(**_adaptive_row(3))
def adaptive_avg_pool3d(x: Array, *, output_size: OutputSize) -> Array:
    """`adaptive_avg_pool1d` over three axes: x (N, C, D, H, W) or (C, D, H, W).

    >>> tz.adaptive_avg_pool3d(tz.arange(8.0).reshape(1, 2, 2, 2), 1).tolist()
    [[[[3.5]]]]
    """
    return _adapted(x, 3, output_size)


_ADAPTIVE_ADJOINT: dict[str, Any] = {
    "vjp": (
        lambda g, out, y, size: (adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_avg_pool3d)[y.ndim - 3](
            g, output_size=y.shape[2:]
        ),
    ),
    "samples": lambda r: [
        sample(r(1, 2, 3), size=(5,)),
        sample(r(2, 1, 2, 3), size=(5, 2)),
        sample(r(1, 1, 1, 2, 1), size=(2, 3, 2)),
        sample(r(0, 1, 1), size=(2,)),
    ],
    "reference": lambda y, size: by_matrices(y, adaptive_windows("", size, y.shape[2:]), True),
}


@primitive(**_ADAPTIVE_ADJOINT)
def adaptive_avg_pool_adjoint(y: Array, *, size: tuple[int, ...]) -> Array:
    """The gradient of Σ y·adaptive_avg_pool(x) in x, whose spatial shape is `size`.

    >>> tz.adaptive_avg_pool_adjoint(tz.tensor([[[4.0, 3.0]]]), size=(4,)).tolist()
    [[[2.0, 2.0, 1.5, 1.5]]]
    """
    op, axes = "adaptive_avg_pool_adjoint", axes_of("adaptive_avg_pool_adjoint", y)
    size = per_axis(op, "size", size, axes)
    return adjoint(op, y, adaptive_windows(op, size, y.shape[2:]))


# ---- power averages
def _power_samples(axes: int) -> Any:
    def samples(r: Draw) -> list[Any]:
        size = (4, 3)[:axes]
        return [
            sample(r.positive(1, 2, *size), norm_type=2.5, kernel_size=2),
            sample(r.nonzero(2, *size), norm_type=2, kernel_size=(3, 2)[:axes], stride=1, ceil_mode=True),
            sample(r.distinct(1, 1, *size), norm_type=math.inf, kernel_size=2),
        ]

    return samples


def _power_reference(axes: int) -> Any:
    def reference(x: Any, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
        settings = {"kernel_size": kernel_size, "stride": stride, "padding": 0, "ceil_mode": ceil_mode}
        if norm_type == math.inf:
            return _maxima_by_loop(np.abs(x), strided_windows("", x.shape[-axes:], **settings))
        count = math.prod(per_axis("", "kernel_size", kernel_size, axes))
        tables = strided_windows("", x.shape[-axes:], **settings, divisor=0.0)
        return (by_matrices(x**norm_type, tables) * count) ** (1 / norm_type)

    return reference


def _maxima_by_loop(x: Any, axes: tuple[Windows, ...]) -> Any:
    for d, axis in enumerate(axes, x.ndim - len(axes)):
        runs = [
            x.take(range(start, start + count), d).max(d) for start, count in zip(axis.first, axis.counts, strict=True)
        ]
        x = np.stack(runs, d)
    return x


def _powered(x: Any, axes: int, norm_type: float, kernel_size: Any, stride: Any, ceil_mode: bool) -> Any:
    settings = {"kernel_size": kernel_size, "stride": stride, "ceil_mode": ceil_mode}
    if norm_type == math.inf:
        return (max_pool1d, max_pool2d)[axes - 1](abs(x), **settings)
    if not norm_type > 0:
        raise UsageError(f"lp_pool{axes}d: norm_type={norm_type!r}: expected a number > 0, or inf")
    count = math.prod(per_axis(f"lp_pool{axes}d", "kernel_size", kernel_size, axes))
    total = (avg_pool1d, avg_pool2d)[axes - 1](x**norm_type, **settings) * count
    zero = total == 0
    return where(zero, 0, where(zero, 1, total) ** (1 / norm_type))


@composite(samples=_power_samples(1), reference=_power_reference(1))
def lp_pool1d(
    x: Array, *, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Array:
    """(Σ xᵖ)^(1/p) over windows of x (N, C, L) or (C, L), for p = norm_type; max |x| for p = inf.

    A sum of 0 has gradient 0, a negative one no root of most orders. A window that `ceil_mode` adds and that reaches
    out of x counts its mean for the entries that it lacks.

    >>> tz.lp_pool1d(tz.tensor([[3.0, 4.0, 0.0, 2.0]]), 2, 2).tolist()
    [[5.0, 2.0]]
    """
    return _powered(x, 1, norm_type, kernel_size, stride, ceil_mode)


@composite(samples=_power_samples(2), reference=_power_reference(2))
def lp_pool2d(
    x: Array, *, norm_type: float, kernel_size: Sizes, stride: Sizes | None = None, ceil_mode: bool = False
) -> Array:
    """`lp_pool1d` over two axes: x (N, C, H, W) or (C, H, W).

    >>> tz.lp_pool2d(tz.ones(1, 4, 4), 2, 2).tolist()
    [[[2.0, 2.0], [2.0, 2.0]]]
    """
    return _powered(x, 2, norm_type, kernel_size, stride, ceil_mode)

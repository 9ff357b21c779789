"""Images in other sizes, and at any points.

`interpolate` is linear in x: its gradient is its adjoint, and that of the adjoint interpolation again.
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..autograd import fused, primitive
from ..backend import module_of, namespace
from ..errors import ShapeError, UsageError
from ..kernels import resample as kernels
from ..kernels import windows
from ..kernels.windows import Windows, adaptive
from ..variable import Array, data_of
from .averaging import adjoint, by_matrices, weighed
from .composite import composite, pulled
from .conv_plan import axes_of, per_axis
from .elementwise import where
from .joining import stack
from .linalg import matmul
from .pooling import gather_planes
from .precision import narrowed, widened
from .sampling import sample
from .shape import swapaxes

# ---- other sizes
_TABLES: dict[str, Callable[..., Windows]] = {
    "nearest": lambda size, places, factor, corners: windows.nearest(size, places, factor, False),
    "nearest-exact": lambda size, places, factor, corners: windows.nearest(size, places, factor, True),
    **dict.fromkeys(("linear", "bilinear", "trilinear"), windows.linear),
    "bicubic": windows.cubic,
    "area": lambda size, places, factor, corners: adaptive(size, places),
}
_AXES = {"linear": 1, "bilinear": 2, "bicubic": 2, "trilinear": 3}  # modes of so many spatial axes alone


def _tables(
    op: str, size: Sequence[int], places: Sequence[int], factors: Sequence[Any], mode: str, align_corners: bool | None
) -> tuple[Windows, ...]:
    axes = len(size)
    if mode not in _TABLES:
        raise UsageError(f"{op}: mode={mode!r}: expected one of {', '.join(_TABLES)}")
    if _AXES.get(mode, axes) != axes:
        fitting = next((m for m, n in _AXES.items() if n == axes), "nearest")
        raise ShapeError(f"{op}: mode={mode!r} is for {_AXES[mode]} spatial axes, x has {axes}: write mode={fitting!r}")
    if align_corners is not None and mode not in _AXES:
        raise UsageError(f"{op}: align_corners={align_corners} with mode={mode!r}: only {', '.join(_AXES)} have it")
    table = functools.partial(_TABLES[mode], corners=bool(align_corners))
    return tuple(table(n, m, f) for n, m, f in zip(size, places, factors, strict=True))


def _factors(op: str, scale_factor: Any, axes: int) -> tuple[float, ...]:
    factors = tuple(scale_factor) if isinstance(scale_factor, (tuple, list)) else (scale_factor,) * axes
    numbers = all(isinstance(f, (int, float, np.number)) and not isinstance(f, bool) for f in factors)
    if len(factors) != axes or not numbers or not all(0 < f < math.inf for f in factors):
        raise UsageError(f"{op}: scale_factor={scale_factor!r}: expected a number > 0, or {axes} of them")
    return tuple(map(float, factors))


def _target(op: str, shape: Sequence[int], size: Any, scale_factor: Any, recompute: Any) -> tuple[Any, Any]:
    """The spatial shape of the result, and the factors that count for coordinates, None for the ratio of the sizes."""
    if len(shape) not in (3, 4, 5) or 0 in shape[1:]:
        raise ShapeError(f"{op}: expected x of shape (N, C, …) with 1 to 3 axes behind, no size 0, got {tuple(shape)}")
    axes = len(shape) - 2
    if (size is None) == (scale_factor is None):
        raise UsageError(f"{op}: expected size or scale_factor, one of them, got {size!r} and {scale_factor!r}")
    if size is not None:
        if recompute:
            raise UsageError(
                f"{op}: recompute_scale_factor=True with size={size!r}: write scale_factor, or leave it out"
            )
        return per_axis(op, "size", size, axes), (None,) * axes
    factors = _factors(op, scale_factor, axes)
    places = tuple(math.floor(n * f) for n, f in zip(shape[2:], factors, strict=True))
    if min(places) < 1:
        raise UsageError(
            f"{op}: scale_factor={scale_factor!r} makes {places} of {tuple(shape[2:])}: write a larger one"
        )
    return places, (None,) * axes if recompute else factors


def _interpolate_samples(r: Any) -> list[Any]:
    return [
        sample(r(1, 2, 3), size=5),
        sample(r(1, 1, 2, 2), scale_factor=(1.5, 1.7), mode="bilinear"),
        sample(r(2, 1, 3, 2), size=(2, 3), mode="bicubic", align_corners=True),
        sample(r(1, 1, 2, 3), scale_factor=0.6, mode="bicubic", recompute_scale_factor=True),
        sample(r(1, 1, 2, 3, 1), size=(3, 1, 2), mode="trilinear"),
        sample(r(1, 1, 3, 2), size=(2, 1), mode="area"),
        sample(r(1, 1, 3), scale_factor=1.5, mode="nearest-exact"),
        sample(r(0, 1, 2), size=4),
    ]


def _interpolate_reference(
    x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute_scale_factor: Any
) -> Any:
    places, factors = _target("", x.shape, size, scale_factor, recompute_scale_factor)
    return by_matrices(x, _tables("", x.shape[2:], places, factors, mode, align_corners))


def _interpolate_rule(
    g: Any, out: Any, x: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any, recompute_scale_factor: Any
) -> Any:
    factor = None if recompute_scale_factor else scale_factor
    return interpolate_adjoint(g, size=x.shape[2:], scale_factor=factor, mode=mode, align_corners=align_corners)


@primitive(vjp=(_interpolate_rule,), samples=_interpolate_samples, reference=_interpolate_reference)
def interpolate(
    x: Array, *, size: Any = None, scale_factor: Any = None, mode: str = "nearest", align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
) -> Array:  # fmt: skip
    """x (N, C, *S) in another size: each place o of an axis reads x near (o + ½) / scale_factor − ½.

    `size` or `scale_factor`, one number or one an axis; the size is then ⌊S · scale_factor⌋, and coordinates go by the
    factor as given, unless `recompute_scale_factor` says to take the ratio of the sizes. `mode`: "nearest" reads entry
    ⌊o / scale_factor⌋, "nearest-exact" ⌊(o + ½) / scale_factor⌋; "linear", "bilinear" and "trilinear", for 1, 2 and 3
    axes, the two beside the place, weighted by nearness; "bicubic" four, by Keys' weights with a = −¾; "area" the mean
    of all, as `adaptive_avg_pool2d`. With `align_corners`, for the modes in between, the outermost entries stay in
    their places: o · (S − 1) / (size − 1).

    >>> tz.interpolate(tz.tensor([[[0.0, 4.0]]]), scale_factor=2, mode="linear").tolist()
    [[[0.0, 1.0, 3.0, 4.0]]]
    >>> tz.interpolate(tz.tensor([[[0.0, 3.0]]]), size=4, mode="linear", align_corners=True).tolist()
    [[[0.0, 1.0, 2.0, 3.0]]]
    """
    places, factors = _target("interpolate", x.shape, size, scale_factor, recompute_scale_factor)
    tables = _tables("interpolate", x.shape[2:], places, factors, mode, align_corners)
    if x.dtype.kind != "f" and mode.startswith("nearest"):
        xp = namespace(x)
        for d, table in enumerate(tables, 2):
            x = xp.take(x, xp.asarray(table.first), axis=d)
        return x
    return weighed("interpolate", x, tables)


def _adjoint_tables(y: Any, size: Any, scale_factor: Any, mode: str, align_corners: Any) -> tuple[Windows, ...]:
    op, axes = "interpolate_adjoint", axes_of("interpolate_adjoint", y)
    size = per_axis(op, "size", size, axes)
    places, factors = y.shape[2:], (None,) * axes
    if scale_factor is not None:
        places, factors = _target(op, (1, 1, *size), None, scale_factor, False)
    return _tables(op, size, places, factors, mode, align_corners)


@primitive(
    vjp=(
        lambda g, out, y, size, scale_factor, mode, align_corners: interpolate(
            g,
            size=y.shape[2:] if scale_factor is None else None,
            scale_factor=scale_factor,
            mode=mode,
            align_corners=align_corners,
        ),
    ),
    samples=lambda r: [
        sample(r(1, 2, 5), size=(3,)),
        sample(r(1, 1, 4, 5), size=(3, 2), scale_factor=(1.5, 2.7), mode="bilinear"),
        sample(r(2, 1, 5, 3), size=(3, 4), mode="bicubic", align_corners=True),
        sample(r(1, 1, 3, 2, 2), size=(2, 3, 1), mode="trilinear"),
        sample(r(1, 1, 3, 3), size=(5, 2), mode="area"),
        sample(r(0, 1, 4), size=(2,), mode="nearest-exact"),
    ],
    reference=lambda y, **settings: by_matrices(y, _adjoint_tables(y, **settings), True),
)
def interpolate_adjoint(
    y: Array, *, size: tuple[int, ...], scale_factor: Any = None, mode: str = "nearest",
    align_corners: bool | None = None,
) -> Array:  # fmt: skip
    """The gradient of Σ y·interpolate(x) in x, whose spatial shape is `size`: y spread with the same weights.

    >>> tz.interpolate_adjoint(tz.tensor([[[1.0, 2.0, 3.0, 4.0]]]), size=(2,)).tolist()
    [[[3.0, 7.0]]]
    """
    return adjoint("interpolate_adjoint", y, _adjoint_tables(y, size, scale_factor, mode, align_corners))


# ---- any points
def _held(at: Any, slope: Any, value: Any) -> Any:
    """`value`, an array, as a function of the coordinate that it comes from; one without a slope has no gradient."""
    moved = where(slope == 0, 0, (at - data_of(at)) * slope)  # 0, but for its gradient
    return value + moved


def _padded(at: Any, size: int, padding: str, corners: bool) -> Any:
    """Where in the image a coordinate is read; held at the edges, which have no slope."""
    if padding == "zeros":
        return at
    here = data_of(at)
    xp = namespace(here)
    slope = xp.ones_like(here)
    if padding == "reflection":
        least, span = (0.0, size - 1) if corners else (-0.5, size)
        away = xp.abs(here - least)
        even = xp.floor(away / max(span, 1)) % 2 == 0
        rest = xp.fmod(away, max(span, 1))
        slope = xp.where((here < least) == even, -slope, slope)
        here = (xp.where(even, rest, span - rest) + least) * (span > 0)
    slope = xp.where((here > 0) & (here < size - 1), slope, 0)
    return _held(at, slope, xp.where(here > 0, xp.minimum(here, size - 1), 0))


def _taps(g: Any, size: int, mode: str, padding: str, corners: bool) -> tuple[Any, Any]:
    """The entries of an axis that coordinates g (N, *O) read, as floats that may lie outside, and their weights:
    (N, T, *O) both."""
    at = (g + 1) * ((size - 1) / 2) if corners else ((g + 1) * size - 1) / 2
    if mode != "bicubic":
        at = _padded(at, size, padding, corners)
    xp = module_of(at)
    if mode == "nearest":
        entry = xp.rint(data_of(at))
        return entry[:, None], _held(at, xp.zeros_like(entry), xp.ones_like(entry))[:, None]
    base = xp.floor(data_of(at))
    t = at - base
    if mode == "bilinear":
        return xp.stack([base, base + 1], 1), stack(1 - t, t, axis=1)
    entries = [_padded(base + k, size, padding, corners) for k in (-1, 0, 1, 2)]
    return xp.stack(entries, 1), stack(*windows.cubic_weights(t), axis=1)


def _crossed(all_before: Any, of_axis: Any, combine: Callable[[Any, Any], Any]) -> Any:
    """(N, K, *O) with (N, T, *O), each with each: (N, K · T, *O)."""
    n, t, *places = of_axis.shape
    return combine(all_before[:, :, None], of_axis[:, None]).reshape((n, all_before.shape[1] * t, *places))


def _sample_formula(x: Any, grid: Any, *, mode: str, padding_mode: str, align_corners: bool) -> Any:
    x, grid, given = widened(x), widened(grid), (x, grid)
    place: Any = None
    inside: Any = None
    weight: Any = None
    for d, n in enumerate(x.shape[2:]):
        entry, share = _taps(grid[..., -1 - d], n, mode, padding_mode, align_corners)
        fits = (entry >= 0) & (entry <= n - 1)
        index = namespace(entry).where(fits, entry, 0).astype(np.int64)
        if place is None:
            place, inside, weight = index, fits, share
        else:
            place = _crossed(place * n, index, operator.add)
            inside, weight = _crossed(inside, fits, operator.and_), _crossed(weight, share, operator.mul)
    value = where(inside[:, None], gather_planes(x, place[:, None]), 0)  # (N, C, K, *O)
    return narrowed((value * weight[:, None]).sum(axis=2), *given)


def _sample_backward(g: Array, out: Array, x: Array, grid: Array, *, needs: Any, **settings: Any) -> Sequence[Any]:
    made = kernels.sample_pulled(g, x, grid, needs=needs, **_named(**settings))
    return pulled(_sample_formula, g, (x, grid), needs, settings) if made is None else made


def _named(mode: str, padding_mode: str, align_corners: bool) -> dict[str, Any]:
    return {"mode": mode, "padding": padding_mode, "corners": align_corners}


def _sample_samples(r: Any) -> list[Any]:
    def points(corners: bool, far: int, *shape: int) -> Any:
        """Away from the pixels of an image of 2 x 3, and from those that its edges mirror; `far` pixels outside."""
        size = np.array([3, 2, 2])[: shape[-1]]
        at = r.rng.integers(-far, size + far - 1, shape) + r.uniform(0.15, 0.35, *shape)
        return 2 * at / (size - 1) - 1 if corners else (2 * at + 1) / size - 1

    return [
        sample(r(1, 2, 2, 3), points(False, 0, 1, 1, 2, 2)),
        sample(
            r(1, 1, 2, 3), points(True, 2, 1, 1, 1, 2), mode="bicubic", padding_mode="reflection", align_corners=True
        ),
        sample(r(1, 1, 2, 3), points(True, 2, 1, 2, 1, 2), padding_mode="border", align_corners=True),
        sample(r(1, 1, 2, 3), points(False, 2, 1, 1, 2, 2), mode="nearest", padding_mode="reflection"),
        sample(r(1, 1, 2, 2, 3), points(False, 1, 1, 1, 1, 1, 3)),
        sample(r(0, 2, 2, 3), points(False, 0, 0, 1, 1, 2)),
    ]


def _mirrored(at: float, size: int, corners: bool) -> float:
    """Thrown back at the edges, or at half a pixel beyond them, until it is inside."""
    low, high = (0.0, size - 1.0) if corners else (-0.5, size - 0.5)
    while not low <= at <= high:
        at = 2 * low - at if at < low else 2 * high - at
    return at


def _sample_reference(x: Any, grid: Any, mode: str, padding_mode: str, align_corners: bool) -> Any:
    """One point after the other, by a matrix row an axis."""
    size = x.shape[2:]
    out = np.zeros((*x.shape[:2], *grid.shape[1:-1]))

    def row(g: float, n: int) -> Any:
        def held(at: float) -> float:
            if padding_mode == "reflection":
                at = _mirrored(at, n, align_corners)
            return at if padding_mode == "zeros" else min(max(at, 0.0), n - 1.0)

        at = (g + 1) / 2 * (n - 1) if align_corners else (g + 1) / 2 * n - 0.5
        if mode == "bicubic":
            base = math.floor(at)
            taps = [(held(base + k), w) for k, w in enumerate(windows.cubic_weights(at - base), -1)]
        else:
            at = held(at)
            base = round(at) if mode == "nearest" else math.floor(at)
            taps = [(base, 1.0)] if mode == "nearest" else [(base, base + 1 - at), (base + 1, at - base)]
        weights = np.zeros(n)
        for entry, weight in taps:
            if 0 <= entry < n:
                weights[int(entry)] += weight
        return weights

    for n, *o in np.ndindex(*grid.shape[:-1]):
        value = x[n]
        for d, length in enumerate(size):
            value = np.tensordot(value, row(grid[(n, *o, len(size) - 1 - d)], length), (1, 0))
        out[(n, slice(None), *o)] = value
    return out


@fused(
    formula=_sample_formula,
    backward=_sample_backward,
    samples=_sample_samples,
    reference=_sample_reference,
)
def grid_sample(
    x: Array, grid: Array, *, mode: str = "bilinear", padding_mode: str = "zeros", align_corners: bool = False
) -> Array:
    """out[n, c, p] = x[n, c] at the point grid[n, p]: (N, C, H, W), (N, P, Q, 2) → (N, C, P, Q), or with three axes.

    A point is (x, y), or (x, y, z): −1 and 1 are the outer edges of the outermost pixels, or their centres with
    `align_corners`. Between pixels "bilinear" weighs the 2 along each axis, "bicubic" 4 (two axes alone), "nearest"
    takes one, of a half the even one. Outside are zeros, or by `padding_mode` what "border" or "reflection" says. A
    coordinate that is held at the border, or is in its place, has no gradient. One that is NaN or infinite gives NaN,
    unless padding brings it to an edge. (Spatial transformer networks, arXiv 1506.02025.)

    >>> x, grid = tz.tensor([[[[1.0, 3.0]]]]), tz.tensor([[[[0.0, 0.0], [1.0, 0.0]]]])
    >>> tz.grid_sample(x, grid).tolist(), tz.grid_sample(x, grid, align_corners=True).tolist()
    ([[[[2.0, 1.5]]]], [[[[2.0, 3.0]]]])
    """
    axes = x.ndim - 2
    if axes not in (2, 3) or 0 in x.shape[1:]:
        raise ShapeError(f"grid_sample: expected x (N, C, H, W) or (N, C, D, H, W), no size 0, got {x.shape}")
    if grid.ndim != x.ndim or grid.shape[0] != x.shape[0] or grid.shape[-1] != axes:
        points = "P, Q" if axes == 2 else "P, Q, R"
        raise ShapeError(
            f"grid_sample: expected a grid ({x.shape[0]}, {points}, {axes}) for x {x.shape}, got {grid.shape}"
        )
    if mode not in kernels.MODES or padding_mode not in kernels.PADDINGS:
        raise UsageError(
            f"grid_sample: mode={mode!r}, padding_mode={padding_mode!r}: expected one of {', '.join(kernels.MODES)}, "
            f"and one of {', '.join(kernels.PADDINGS)}"
        )
    if mode == "bicubic" and axes == 3:
        raise UsageError("grid_sample: mode='bicubic' is for two axes, x has three: write mode='bilinear'")
    settings: dict[str, Any] = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    made = kernels.sample(x, grid, **_named(**settings))
    if made is not None:
        return made
    return _sample_formula(x, grid, **settings)


def _base_grid(size: Sequence[int], align_corners: bool) -> Any:
    """(x, y, 1) or (x, y, z, 1) of every pixel in C order, (P, axes + 1)."""
    lines = []
    for n in size:
        line = np.linspace(-1, 1, n) if n > 1 else np.zeros(1)
        lines.append(line if align_corners else line * (n - 1) / n)
    mesh = np.meshgrid(*lines, indexing="ij")
    return np.stack([*(axis.ravel() for axis in reversed(mesh)), np.ones(math.prod(size))], -1)


@composite(
    samples=lambda r: [
        sample(r(2, 2, 3), size=(2, 1, 2, 3)),
        sample(r(1, 2, 3), size=(1, 4, 3, 1), align_corners=True),
        sample(r(1, 3, 4), size=(1, 1, 2, 1, 3)),
        sample(r(0, 2, 3), size=(0, 1, 2, 2)),
    ],
    reference=lambda theta, size, align_corners: np.einsum(
        "pk,nak->npa", _base_grid(size[2:], align_corners), theta
    ).reshape(len(theta), *size[2:], len(size) - 2),
)
def affine_grid(theta: Array, *, size: tuple[int, ...], align_corners: bool = False) -> Array:
    """grid[n, p] = theta[n] · (x, y, 1) for every pixel p: the points of `grid_sample` for an image turned and moved.

    theta (N, 2, 3) and size (N, C, H, W) → (N, H, W, 2); theta (N, 3, 4) and size (N, C, D, H, W) → (N, D, H, W, 3).

    >>> tz.affine_grid(tz.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]]), (1, 1, 1, 2)).tolist()
    [[[[-0.5, 0.0], [0.5, 0.0]]]]
    """
    axes = len(size) - 2
    if axes not in (2, 3) or theta.shape != (size[0], axes, axes + 1) or min(size[2:]) < 1:
        raise ShapeError(
            f"affine_grid: expected theta (N, 2, 3) and size (N, C, H, W), or (N, 3, 4) and (N, C, D, H, W), no "
            f"size 0, got {theta.shape} and size={tuple(size)}"
        )
    xp = module_of(theta)
    base = xp.asarray(_base_grid(size[2:], align_corners).astype(theta.dtype))
    return matmul(base[None], swapaxes(theta, axis1=1, axis2=2)).reshape((size[0], *size[2:], axes))

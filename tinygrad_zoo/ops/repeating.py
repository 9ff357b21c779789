"""Ops that repeat entries: copies, padding, grids."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..variable import Array
from .axes import along, axis_of
from .indexing import getitem_adjoint
from .joining import concat, host_integers
from .sampling import sample


def _tile_rule(g: Any, out: Any, x: Any, dims: Sequence[int]) -> Any:
    """The sum over the copies."""
    depth = max(len(dims), x.ndim)
    counts = (*(1,) * (depth - len(dims)), *dims)
    sizes = (*(1,) * (depth - x.ndim), *x.shape)
    pairs = [m for pair in zip(counts, sizes, strict=True) for m in pair]
    return g.reshape(tuple(pairs)).sum(axis=tuple(range(0, 2 * depth, 2))).reshape(x.shape)


def _tile_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3), dims=(2, 1)),
        sample(r(3), dims=(2, 2)),
        sample(r(2, 3), dims=(2,)),
        sample(r(), dims=(3,)),
        sample(r(2), dims=(0,)),
    ]


@primitive(
    vjp=(_tile_rule,),
    samples=_tile_samples,
    reference=lambda x, dims: np.tile(x, dims),
)
def tile(x: Array, *, dims: tuple[int, ...]) -> Array:
    """`dims[i]` copies of x one after the other along axis i; axes are matched from the last (PyTorch's `repeat`).

    >>> tz.tile(tz.tensor([1, 2]), (2, 2)).tolist()
    [[1, 2, 1, 2], [1, 2, 1, 2]]
    """
    if any(n < 0 for n in dims):
        raise ShapeError(f"tile: expected counts >= 0, got {tuple(dims)}")
    return namespace(x).tile(x, tuple(dims))


def _counts(repeats: Any) -> int | list[int]:
    """How often to repeat: one number, or one for each entry."""
    counts = host_integers("repeat_interleave", "repeats", repeats)
    if min(counts if isinstance(counts, list) else [counts], default=0) < 0:
        raise UsageError(f"repeat_interleave: expected repeats >= 0, got {repeats}")
    return counts


def _repeat_rule(g: Any, out: Any, x: Any, repeats: Any, axis: int | None, output_size: int | None) -> Any:
    """The sum over the copies."""
    counts, shape = _counts(repeats), x.shape if axis is not None and x.ndim else (x.size,)
    d = (axis or 0) % len(shape)
    if isinstance(counts, int):
        return g.reshape((*shape[:d], shape[d], counts, *shape[d + 1 :])).sum(axis=d + 1).reshape(x.shape)
    counts = counts * shape[d] if len(counts) == 1 else counts
    of = np.repeat(np.arange(shape[d]), counts).tolist()
    return getitem_adjoint(g, index=along(d, of), shape=shape).reshape(x.shape)


@primitive(
    vjp=(_repeat_rule,),
    samples=lambda r: [
        sample(r(2, 3), repeats=2),
        sample(r(2, 3), repeats=3, axis=0),
        sample(r(2, 3), repeats=(2, 0, 1), axis=-1),
        sample(r(), repeats=2),
        sample(r(2), repeats=0),
        sample(r(2), repeats=(1, 2), output_size=3),
    ],
    reference=lambda x, repeats, axis, output_size: np.repeat(x, repeats, axis),
)
def repeat_interleave(x: Array, *, repeats: Any, axis: int | None = None, output_size: int | None = None) -> Array:
    """Each entry along `axis` (of the flattened x, for None) `repeats` times in a row; one number, or one an entry.

    >>> tz.repeat_interleave(tz.tensor([1, 2, 3]), (1, 0, 2)).tolist()
    [1, 3, 3]
    """
    counts, x = _counts(repeats), x if axis is not None and x.ndim else x.reshape(-1)
    axis = axis_of(x, axis or 0)
    if isinstance(counts, list) and len(counts) not in (1, x.shape[axis]):
        raise ShapeError(f"repeat_interleave: {len(counts)} repeats for an axis of {x.shape[axis]}; expected as many")
    out = namespace(x).repeat(x, counts, axis)
    if output_size not in (None, out.shape[axis]):
        raise ShapeError(
            f"repeat_interleave: output_size={output_size}, but the repeats make {out.shape[axis]} entries"
        )
    return out


# ---- padding
# The modes, and NumPy's names of them.
_MODES: dict[str, Any] = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _widths(x: Any, pad: Sequence[int]) -> list[tuple[int, int]]:
    """(before, after) for each axis in order; `pad` has them from the last axis on."""
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(
            f"pad: expected pairs (before, after) from the last axis on, at most {x.ndim} for the shape {x.shape}, "
            f"got {tuple(pad)}"
        )
    widths = [(operator.index(lo), operator.index(hi)) for lo, hi in zip(pad[::2], pad[1::2], strict=True)]
    widths = [(0, 0)] * (x.ndim - len(widths)) + widths[::-1]
    for n, (lo, hi) in zip(x.shape, widths, strict=True):
        if n + min(lo, 0) + min(hi, 0) < 0 or n + lo + hi < 0:
            raise ShapeError(f"pad: {tuple(pad)} crops more than the shape {x.shape} has")
    return widths


def _filled(x: Array, widths: list[tuple[int, int]], value: float) -> Array:
    """`x` between walls of `value`."""
    axes = [(n, lo, hi) for n, (lo, hi) in zip(x.shape, widths, strict=True)]
    out = namespace(x).full(tuple(n + lo + hi for n, lo, hi in axes), value, dtype=x.dtype)
    kept = tuple(slice(max(-lo, 0), n + min(hi, 0)) for n, lo, hi in axes)
    out[tuple(slice(s.start + lo, s.stop + lo) for s, (n, lo, hi) in zip(kept, axes, strict=True))] = x[kept]
    return out


def _positions(n: int, lo: int, hi: int, mode: str) -> list[int]:
    """Which of n entries stands at each place after padding with lo of them before and hi behind."""
    places = range(-lo, n + hi)
    if not places or not (lo > 0 or hi > 0):
        return list(places)
    if mode == "replicate" and n:
        return [min(max(p, 0), n - 1) for p in places]
    first, last = max(-lo, 0), n - 1 + min(hi, 0)  # what is left after cropping
    if mode == "reflect" and max(lo, hi) < n:
        return [2 * first - p if p < first else 2 * last - p if p > last else p for p in places]
    if mode == "circular" and max(lo, hi) <= last + 1 - first:
        return [first + (p - first) % (last + 1 - first) for p in places]
    least = {"replicate": 1, "reflect": max(lo, hi) + 1, "circular": max(lo, hi)}[mode]
    raise ShapeError(
        f"pad: mode={mode!r} with ({lo}, {hi}) needs an axis of at least {least} entries, this one has {n}"
    )


def _pad_rule(g: Any, out: Any, x: Any, mode: str, value: float, **settings: Any) -> Any:
    """The gradient of the entries themselves, and of their copies at the edges added to it."""
    widths = _widths(x, settings["pad"])
    if mode == "constant":
        return pad(g, pad=[-w for w in settings["pad"]])
    for d, (lo, hi) in reversed(list(enumerate(widths))):
        if lo or hi:
            own = pad(g, pad=(0, 0) * (x.ndim - 1 - d) + (-lo, -hi))
            g = own + _uncopied(g, own.shape, d, lo, hi, mode) if lo > 0 or hi > 0 else own
    return g


def _uncopied(g: Any, shape: tuple[int, ...], d: int, lo: int, hi: int, mode: str) -> Any:
    """The gradient of the copies before and behind on axis `d`, added where they were copied from."""
    positions = _positions(shape[d], lo, hi, mode)
    first, last = max(lo, 0), len(positions) - max(hi, 0)
    copies = concat(g[along(d, slice(first))], g[along(d, slice(last, None))], axis=d)
    return getitem_adjoint(copies, index=along(d, positions[:first] + positions[last:]), shape=shape)


def _pad_reference(x: Any, mode: str, value: float, **settings: Any) -> Any:
    pairs = list(zip(settings["pad"][::2], settings["pad"][1::2], strict=True))[::-1]
    filled = {"constant_values": value} if mode == "constant" else {}
    for d, (lo, hi) in enumerate(pairs, x.ndim - len(pairs)):
        x = np.take(x, range(max(-lo, 0), x.shape[d] - max(-hi, 0)), d)
        width = [(max(lo, 0), max(hi, 0)) if k == d else (0, 0) for k in range(x.ndim)]
        x = np.pad(x, width, _MODES[mode], **filled)
    return x


@primitive(
    vjp=(_pad_rule,),
    samples=lambda r: [
        sample(r(2, 3), pad=(1, 2)),
        sample(r(2, 3), pad=(-1, 2, 1, 0), value=0.5),
        sample(r(3), pad=(2, -1)),
        sample(r(0, 2), pad=(0, 0, 1, 1)),
        sample(r(2, 4), pad=(3, 2), mode="reflect"),
        sample(r(3, 4), pad=(-1, 1, 1, 2), mode="reflect"),
        sample(r(2, 3), pad=(4, 1, 0, 2), mode="replicate"),
        sample(r(3, 4), pad=(-1, 2, 3, -1), mode="replicate"),
        sample(r(2, 3), pad=(3, 2, 1, 1), mode="circular"),
        sample(r(2, 4), pad=(-1, 2), mode="circular"),
        sample(r(), pad=()),
    ],
    reference=_pad_reference,
)
def pad(x: Array, *, pad: tuple[int, ...], mode: str = "constant", value: float = 0.0) -> Array:
    """Entries put before and behind: pad = (before, after) of the last axis, then of the one before it, …

    Negative widths crop. The mode 'constant' puts `value`, 'reflect' mirrors at the outermost entry, 'replicate'
    repeats it, 'circular' goes on at the other end.

    >>> tz.pad(tz.tensor([1, 2, 3]), (2, 1), "reflect").tolist()
    [3, 2, 1, 2, 3, 2]
    """
    if mode not in _MODES:
        raise UsageError(f"pad: expected a mode of {', '.join(_MODES)}, got {mode!r}")
    widths = _widths(x, pad)
    if mode == "constant":
        return _filled(x, widths, value)
    xp = namespace(x)
    for d, (lo, hi) in enumerate(widths):
        if lo or hi:
            x = xp.take(x, xp.asarray(_positions(x.shape[d], lo, hi, mode), dtype=np.intp), axis=d)
    return x if any(lo or hi for lo, hi in widths) else x.copy()


# ---- grids
def _grid_rule(g: Any, out: Any, *arrays: Any, needs: Any, indexing: str) -> list[Any]:
    """The sum over every axis but the array's own."""
    order = _grid_axes(len(arrays), indexing)
    gs = g if isinstance(g, (tuple, list)) else (g,)
    summed = [x.sum(axis=tuple(k for k in range(x.ndim) if k != d)) for x, d in zip(gs, order, strict=True)]
    return [s.reshape(x.shape) for s, x in zip(summed, arrays, strict=True)]


def _grid_axes(count: int, indexing: str) -> list[int]:
    if indexing not in ("ij", "xy"):
        raise UsageError(f"meshgrid: expected indexing='ij' or 'xy', got {indexing!r}")
    return [1, 0, *range(2, count)][:count] if indexing == "xy" and count > 1 else list(range(count))


@primitive(
    vjp=_grid_rule,
    samples=lambda r: [
        sample(r(2), r(3)),
        sample(r(2), r(3), r(2), indexing="xy"),
        sample(r(3), r()),
        sample(r(2), indexing="xy"),
    ],
    reference=lambda *arrays, indexing: tuple(np.meshgrid(*arrays, indexing=indexing)),
)
def meshgrid(*arrays: Array, indexing: str = "ij") -> tuple[Array, ...]:
    """Vectors as coordinates of a grid: one array of the grid's shape each; 'xy' exchanges the first two axes.

    >>> [a.tolist() for a in tz.meshgrid(tz.tensor([1, 2]), tz.tensor([3, 4]))]
    [[[1, 1], [2, 2]], [[3, 4], [3, 4]]]
    """
    if not arrays or any(x.ndim > 1 for x in arrays):
        raise ShapeError(f"meshgrid: expected vectors, got the shapes {[x.shape for x in arrays]}")
    xp, order = namespace(*arrays), _grid_axes(len(arrays), indexing)
    shape = [0] * len(arrays)
    for x, d in zip(arrays, order, strict=True):
        shape[d] = x.size
    lined = [x.reshape([-1 if k == d else 1 for k in range(len(shape))]) for x, d in zip(arrays, order, strict=True)]
    return tuple(xp.broadcast_to(x, shape).astype(xp.result_type(*arrays)) for x in lined)

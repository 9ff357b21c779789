"""Hypothesis strategies for arrays and what is asked of them. Values come from a drawn seed, so shrinking is quick."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import UsageError, require
from ..ops.sampling import Draw
from .layouts import LAYOUTS, zero_stride

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

DOMAINS = ("real", "positive", "nonzero", "distinct", "probabilities", "well_conditioned", "integers", "boolean")


def _st() -> Any:
    return require("hypothesis.strategies", "check")


def seeds() -> SearchStrategy[int]:
    """What `op_laws` and `check_gradients` take as `seed`."""
    found: SearchStrategy[int] = _st().integers(0, 2**32 - 1)
    return found


def shapes(
    min_dims: int = 0, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> SearchStrategy[tuple[int, ...]]:
    """Shapes, 0-d and zero-size ones included."""
    st = _st()
    sides = st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims)
    found: SearchStrategy[tuple[int, ...]] = sides.map(tuple)
    return found


def broadcastable_shapes(
    n: int, max_dims: int = 3, min_side: int = 0, max_side: int = 4
) -> SearchStrategy[tuple[tuple[int, ...], ...]]:
    """Groups of `n` shapes that broadcast together: each lacks leading axes, or has size 1, at random."""
    st = _st()

    def groups(draw: Any) -> tuple[tuple[int, ...], ...]:
        whole = draw(shapes(0, max_dims, min_side, max_side))
        group = []
        for _ in range(n):
            kept = whole[draw(st.integers(0, len(whole))) :]
            group.append(tuple(1 if draw(st.booleans()) else side for side in kept))
        return tuple(group)

    found: SearchStrategy[tuple[tuple[int, ...], ...]] = st.composite(groups)()
    return found


def layouts(array: Any) -> SearchStrategy[Any]:
    """`array` in C and Fortran order, transposed, strided, with negative strides, read-only: its values in new memory.

    Zero strides are drawn as well, and repeat its first layer: compare with a copy of what was drawn.
    """
    found: SearchStrategy[Any] = _st().sampled_from([*LAYOUTS.values(), zero_stride]).map(lambda layout: layout(array))
    return found


def arrays(
    shape: tuple[int, ...] | SearchStrategy[tuple[int, ...]], domain: str = "real", dtype: Any = None, high: int = 3
) -> SearchStrategy[Any]:
    """Arrays whose values keep clear of what the domain excludes.

    real; positive; nonzero (off kinks and poles at 0); distinct (no ties); probabilities (sum to one over axis 1);
    well_conditioned (square matrices); integers (in [0, high)); boolean.
    """
    if domain not in DOMAINS:
        raise UsageError(f"arrays: no domain {domain!r}; expected one of {', '.join(DOMAINS)}")
    st = _st()

    def made(seed: int, shape: tuple[int, ...]) -> Any:
        r = Draw(np.random.default_rng(seed))
        if domain == "integers":
            values = r.integers(high, *shape)
        else:
            values = r(*shape) if domain == "real" else getattr(r, domain)(*shape)
        return values if dtype is None else values.astype(dtype)

    found: SearchStrategy[Any] = st.builds(made, seeds(), st.just(shape) if isinstance(shape, tuple) else shape)
    return found


def dtypes(kinds: Sequence[str] = ("float16", "float32", "float64")) -> SearchStrategy[str]:
    """Names of dtypes: the floating-point ones by default."""
    found: SearchStrategy[str] = _st().sampled_from(list(kinds))
    return found


def axes(ndim: int) -> SearchStrategy[int | tuple[int, ...] | None]:
    """What a reduction over `ndim` axes takes as `axis`: None, an axis counted from either end, or several."""
    st = _st()
    if not ndim:
        nothing: SearchStrategy[int | tuple[int, ...] | None] = st.sampled_from([None, ()])
        return nothing
    one = st.integers(-ndim, ndim - 1)
    several = st.lists(one, min_size=0, max_size=ndim, unique_by=lambda axis: axis % ndim).map(tuple)
    found: SearchStrategy[int | tuple[int, ...] | None] = st.one_of(st.none(), one, several)
    return found


def indices(shape: tuple[int, ...]) -> SearchStrategy[Any]:
    """Valid x[index] for an x of `shape`: integers, slices, None, Ellipsis, integer arrays (repeats too), masks."""
    st = _st()

    def parts(draw: Any) -> Any:
        length = draw(st.integers(0, 3))  # index arrays broadcast together: one length for all
        chosen: list[Any] = []
        for side in shape[: draw(st.integers(0, len(shape)))]:
            kind = draw(st.sampled_from(["slice", "integer", "array"]))
            if kind == "slice" or not side:
                chosen.append(draw(st.slices(side)))
            elif kind == "integer":
                chosen.append(draw(st.integers(-side, side - 1)))
            else:
                chosen.append(np.random.default_rng(draw(seeds())).integers(-side, side, length))
        if draw(st.booleans()):
            chosen.append(Ellipsis)
        if draw(st.booleans()):
            chosen.insert(draw(st.integers(0, len(chosen))), None)
        return tuple(chosen)

    masks = st.builds(lambda seed: np.random.default_rng(seed).random(shape) < 0.5, seeds())
    found: SearchStrategy[Any] = st.one_of(st.composite(parts)(), masks) if shape else st.composite(parts)()
    return found

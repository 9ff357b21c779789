"""Sums of products by named axes."""

from __future__ import annotations

import math
import re
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..autograd import primitive
from ..backend import namespace
from ..errors import ShapeError, UsageError
from ..kernels import gemm
from ..variable import Array, data_of
from .precision import half_in_single
from .sampling import sample
from .shape import broadcast_to

_EQUATION = re.compile(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*(,[A-Za-z]*(\.\.\.)?[A-Za-z]*)*(->[A-Za-z]*(\.\.\.)?[A-Za-z]*)?")


def _letters(equation: str, arrays: Sequence[Any]) -> tuple[list[str], str]:
    """A letter for every axis of each array, and of the result: ellipses and an implicit result spelt out."""
    equation = equation.replace(" ", "") if isinstance(equation, str) else equation
    if not isinstance(equation, str) or not _EQUATION.fullmatch(equation):
        raise UsageError(f"einsum: expected an equation like 'ij,jk->ik', got {equation!r}")
    left, arrow, result = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise UsageError(f"einsum: {equation!r} names {len(terms)} arrays, got {len(arrays)}")
    dots = [
        x.ndim - len(term.replace("...", "")) if "..." in term else 0 for term, x in zip(terms, arrays, strict=True)
    ]
    free = "".join(c for c in string.ascii_letters if c not in equation)
    most = max(0, *dots)
    subscripts = [
        term.replace("...", free[most - n : most]) if n > 0 else term.replace("...", "")
        for term, n in zip(terms, dots, strict=True)
    ]
    for term, x, subscript in zip(terms, arrays, subscripts, strict=True):
        if len(subscript) != x.ndim:
            raise ShapeError(f"einsum: {term!r} in {equation!r} does not fit an array of shape {x.shape}")
    if not arrow:
        once = sorted(c for c in set(left) if c.isalpha() and left.count(c) == 1)
        result = free[:most] + "".join(once)
    result = result.replace("...", free[:most])
    sizes = _sizes(subscripts, [x.shape for x in arrays], equation)
    if not set(result) <= set(sizes) or len(set(result)) != len(result):
        raise UsageError(f"einsum: the letters of the result in {equation!r} must be in the arrays, each once")
    return subscripts, result


def _sizes(subscripts: Sequence[str], shapes: Sequence[tuple[int, ...]], equation: str) -> dict[str, int]:
    """The length of every letter's axes; those of length 1 broadcast."""
    sizes: dict[str, int] = {}
    for subscript, shape in zip(subscripts, shapes, strict=True):
        for c, n in zip(subscript, shape, strict=True):
            if n != sizes.setdefault(c, n) and n != 1 and sizes[c] != 1:
                raise ShapeError(f"einsum: {equation!r} has axes of different length under {c!r}: {list(shapes)}")
            sizes[c] = n if sizes[c] == 1 else sizes[c]
    return sizes


def _einsum_rule(g: Any, out: Any, *arrays: Any, needs: Sequence[bool], equation: str) -> list[Any]:
    subscripts, result = _letters(equation, arrays)
    found = []
    for i, (x, need) in enumerate(zip(arrays, needs, strict=True)):
        others = [k for k in range(len(arrays)) if k != i]
        terms, factors = [result, *(subscripts[k] for k in others)], [g, *(arrays[k] for k in others)]
        found.append(_pulled(x, subscripts[i], terms, factors) if need else None)
    return found


def _pulled(x: Any, subscript: str, terms: list[str], factors: list[Any]) -> Any:
    """The factors summed to the shape of `x`: along axes that they lack, and off diagonals, by ones and identities."""
    like = data_of(factors[0])
    xp, dtype = namespace(like), like.dtype
    known = "".join(terms)
    free = iter(c for c in string.ascii_letters if c not in known + subscript)
    axes = ""
    for at, c in enumerate(subscript):
        if c in axes:  # a diagonal was read: this axis becomes one of its own, tied by an identity
            own = next(free)
            terms, factors = [*terms, c + own], [*factors, xp.eye(x.shape[at], dtype=dtype)]
            c = own
        elif c not in known:  # it was summed alone
            terms, factors = [*terms, c], [*factors, xp.ones(x.shape[at], dtype=dtype)]
        axes += c
    found = einsum(*factors, equation=f"{','.join(terms)}->{axes}")
    if all(n >= m for n, m in zip(found.shape, x.shape, strict=True)):  # what x broadcast to is summed in the walk
        return found
    return broadcast_to(found, shape=tuple(max(n, m) for n, m in zip(found.shape, x.shape, strict=True)))


def _einsum_samples(r: Any) -> list[Any]:
    return [
        sample(r(2, 3), r(3, 4), equation="ij,jk->ik"),
        sample(r(2, 3), r(2, 4), r(3, 4), equation="ij,ik,jk"),
        sample(r(3, 3), equation="ii->i"),
        sample(r(2, 3, 3), equation="...ii"),
        sample(r(2, 3), r(4), equation="ij,k->ki"),
        sample(r(2, 1, 2, 3), r(4, 3, 2), equation="...ij, ...jk -> ...ik"),
        sample(r(3, 2, 3), r(3), equation="iji,i->"),
        sample(r(2), r(3), equation="a,b->ba"),
        sample(r(1, 3), r(2, 1), equation="ij,ij->i"),
        sample(r(0, 3), r(3), equation="ij,j->i"),
    ]


@primitive(
    vjp=_einsum_rule,
    samples=_einsum_samples,
    reference=lambda *arrays, equation: np.asarray(np.einsum(equation, *arrays)),
    order=("equation",),
)
@half_in_single
def einsum(*arrays: Array, equation: str) -> Array:
    """einsum(equation, *arrays): the sum of products over all axes whose letter the result lacks.

    A letter that an array has twice reads its diagonal; `...` stands for axes that broadcast. Without `->` the result
    has those axes and then the letters that occur once, in alphabetical order.

    >>> tz.einsum("ij,j->i", tz.tensor([[1.0, 2.0], [3.0, 4.0]]), tz.tensor([1.0, -1.0])).tolist()
    [-1.0, -1.0]
    """
    subscripts, result = _letters(equation, arrays)
    xp, explicit = namespace(*arrays), f"{','.join(subscripts)}->{result}"
    if len(arrays) == 1:
        return xp.einsum(explicit, *arrays).copy()  # it may have been a view
    if len(arrays) == 2:
        return _pair(arrays[0], arrays[1], subscripts[0], subscripts[1], result)
    left, terms = list(arrays), list(subscripts)
    shapes = [np.broadcast_to(np.float32(0), x.shape) for x in arrays]  # NumPy's planner wants arrays of its own
    for chosen in np.einsum_path(explicit, *shapes, optimize="greedy")[0][1:]:
        for at in sorted(chosen, reverse=True):  # the chosen ones go to the end, where pairs of them are contracted
            left.append(left.pop(at))
            terms.append(terms.pop(at))
        for _ in chosen[1:]:
            y, ys, x, xs = left.pop(), terms.pop(), left.pop(), terms.pop()
            rest = {*result, *"".join(terms)}
            kept = "".join(c for c in dict.fromkeys(xs + ys) if c in rest) if left else result
            left.append(_pair(x, y, xs, ys, kept))
            terms.append(kept)
    return left[0]


def _pair(x: Array, y: Array, xs: str, ys: str, result: str) -> Array:
    """The contraction of two arrays: a matrix product where letters of both are summed and each has one of its own."""
    x, xs = _summed(x, xs, ys + result)
    y, ys = _summed(y, ys, xs + result)
    lengths = dict(zip(ys, y.shape, strict=True))
    plain = len(set(xs)) == len(xs) and len(lengths) == len(ys)
    inner = [c for c in xs if c in lengths and c not in result]
    rows, columns = ([c for c in own if c not in other] for own, other in ((xs, ys), (ys, xs)))
    alike = all(lengths.get(c, n) == n for c, n in zip(xs, x.shape, strict=True))
    if not (plain and alike and inner and rows and columns):
        return namespace(x, y).einsum(f"{xs},{ys}->{result}", x, y)
    batch = [c for c in xs if c in lengths and c in result]
    lengths |= dict(zip(xs, x.shape, strict=True))

    def stacked(z: Array, letters: str, *groups: list[str]) -> Array:
        order = [letters.index(c) for group in groups for c in group]
        return z.transpose(order).reshape([math.prod(lengths[c] for c in group) for group in groups if group])

    made = gemm.matmul(stacked(x, xs, batch, rows, inner), stacked(y, ys, batch, inner, columns))
    order = [*batch, *rows, *columns]
    return made.reshape([lengths[c] for c in order]).transpose([order.index(c) for c in result])


def _summed(x: Array, letters: str, others: str) -> tuple[Array, str]:
    """x summed over the axes whose letter nobody else has."""
    alone = tuple(d for d, c in enumerate(letters) if c not in others and letters.count(c) == 1)
    return (
        (x.sum(axis=alone), "".join(c for c in letters if c in others or letters.count(c) > 1))
        if alone
        else (x, letters)
    )


def _contraction(x: Any, y: Any, dims: Any) -> tuple[str, str, str]:
    """The letters of x, of y and of their contraction."""
    n = dims[0] if isinstance(dims, (tuple, list)) and len(dims) == 1 else dims
    if isinstance(n, int):
        left, right = list(range(x.ndim - n, x.ndim)), list(range(n))
    else:
        left, right = ([d] if isinstance(d, int) else list(d) for d in n)
    inside = all(-z.ndim <= d < z.ndim for z, axes in ((x, left), (y, right)) for d in axes)
    lengths = [(x.shape[i], y.shape[j]) for i, j in zip(left, right, strict=False)] if inside else []
    if not inside or len(left) != len(right) or any(n != m and 1 not in (n, m) for n, m in lengths):
        raise ShapeError(f"tensordot: dims={dims} do not pair axes of equal length of {x.shape} and {y.shape}")
    letters = string.ascii_letters
    xs, ys = list(letters[: x.ndim]), list(letters[x.ndim : x.ndim + y.ndim])
    for i, j in zip(left, right, strict=True):
        ys[j] = xs[i]
    return "".join(xs), "".join(ys), "".join(c for c in xs + ys if (xs + ys).count(c) == 1)


def _tensordot_rule(g: Any, out: Any, x: Any, y: Any, needs: Any, dims: Any) -> list[Any]:
    xs, ys, result = _contraction(x, y, dims)
    return [
        _pulled(x, xs, [result, ys], [g, y]) if needs[0] else None,
        _pulled(y, ys, [result, xs], [g, x]) if needs[1] else None,
    ]


@primitive(
    vjp=_tensordot_rule,
    samples=lambda r: [
        sample(r(2, 3, 4), r(3, 4, 2)),
        sample(r(2, 3), r(4, 2, 3), dims=([0, 1], [1, 2])),
        sample(r(2, 3), r(3), dims=1),
        sample(r(2, 1), r(3), dims=0),
        sample(r(2, 3), r(4, 2), dims=([-2], [-1])),
    ],
    reference=lambda x, y, dims: np.tensordot(x, y, dims),
)
def tensordot(x: Array, y: Array, *, dims: Any = 2) -> Array:
    """The sum of products over the last `dims` axes of x and the first of y, or over the two lists of axes in `dims`.

    >>> tz.tensordot(tz.ones((2, 3)), tz.ones((4, 3)), dims=([1], [1])).shape
    (2, 4)
    """
    xs, ys, result = _contraction(x, y, dims)
    return einsum(x, y, equation=f"{xs},{ys}->{result}")

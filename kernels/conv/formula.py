"""Convolution and its two adjoints: sums over the taps of the kernel, on any array module, dtype and memory layout.

Each tap is one product of matrices a group, with the entries that the tap meets: a strided slice of x in its zeros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

from ..dispatch import Array, namespace

Sizes = tuple[int, ...]
Pairs = tuple[tuple[int, int], ...]


def spatial(size: Sizes, kernel: Sizes, *, stride: Sizes, padding: Pairs, dilation: Sizes) -> Sizes:
    """In how many places of an axis a kernel fits: ⌊(size + before + after − dilation·(kernel − 1) − 1) / stride⌋ + 1.

    >>> spatial((5, 2), (3, 3), stride=(2, 1), padding=((1, 1), (0, 0)), dilation=(1, 1))
    (3, 0)
    """
    return tuple(
        max((n + before + after - d * (k - 1) - 1) // s + 1, 0)
        for n, k, s, (before, after), d in zip(size, kernel, stride, padding, dilation, strict=True)
    )


def convolve(
    x: Array, weight: Array, bias: Array | None, *, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    xp, (n, c), k, kernel = namespace(x, weight), x.shape[:2], weight.shape[0], weight.shape[2:]
    places = spatial(x.shape[2:], kernel, stride=stride, padding=padding, dilation=dilation)
    x = _walled(x, padding)
    out = xp.zeros((n, groups, k // groups, math.prod(places)), dtype=xp.result_type(x, weight))
    for tap, met in _taps(kernel, places, stride, dilation):
        seen = x[met].reshape((n, groups, c // groups, math.prod(places)))
        out += xp.matmul(_matrix(weight, tap, groups), seen)
    out = out.reshape((n, k, *places))
    return out if bias is None else out + bias.reshape((k, *(1,) * len(kernel)))


def convolve_input(
    g: Array, weight: Array, *, size: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    xp, (n, k), places = namespace(g, weight), g.shape[:2], g.shape[2:]
    c = groups * weight.shape[1]
    walled = tuple(m + before + after for m, (before, after) in zip(size, padding, strict=True))
    gx = xp.zeros((n, c, *walled), dtype=xp.result_type(g, weight))
    g = g.reshape((n, groups, k // groups, math.prod(places)))
    for tap, met in _taps(weight.shape[2:], places, stride, dilation):
        gx[met] += xp.matmul(_matrix(weight, tap, groups).swapaxes(-1, -2), g).reshape((n, c, *places))
    return _walled(gx, tuple((-before, -after) for before, after in padding))


def convolve_weight(
    g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Pairs, dilation: Sizes, groups: int
) -> Array:
    xp, (n, k), places = namespace(g, x), g.shape[:2], g.shape[2:]
    c, count = x.shape[1], math.prod(places)
    x = _walled(x, padding)
    gw = xp.zeros((k, c // groups, *kernel), dtype=xp.result_type(g, x))
    g = g.reshape((n, groups, k // groups, count)).transpose((1, 2, 0, 3)).reshape((groups, k // groups, n * count))
    for tap, met in _taps(kernel, places, stride, dilation):
        seen = x[met].reshape((n, groups, c // groups, count)).transpose((1, 0, 3, 2))
        gw[(..., *tap)] = xp.matmul(g, seen.reshape((groups, n * count, c // groups))).reshape((k, c // groups))
    return gw


def _taps(kernel: Sizes, places: Sizes, stride: Sizes, dilation: Sizes) -> Iterator[tuple[Sizes, tuple[Any, ...]]]:
    """Each tap of the kernel, with the index of the entries of x in its zeros that it meets, one a place."""
    for tap in product(*map(range, kernel)):
        starts = [r * d for r, d in zip(tap, dilation, strict=True)]
        ends = [a + max((o - 1) * s + 1, 0) for a, o, s in zip(starts, places, stride, strict=True)]
        yield tap, (slice(None), slice(None), *map(slice, starts, ends, stride))


def _matrix(weight: Array, tap: Sizes, groups: int) -> Array:
    """The weight of one tap as a matrix a group: (groups, out / groups, in / groups)."""
    k, c = weight.shape[:2]
    return weight[(..., *tap)].reshape((groups, k // groups, c))


def _walled(x: Array, padding: Sequence[tuple[int, int]]) -> Array:
    """`x` (N, C, …) with so many zeros before and after each spatial axis; negative ones crop."""
    if not any(before or after for before, after in padding):
        return x
    size = x.shape[2:]
    out = namespace(x).zeros(
        (*x.shape[:2], *(n + before + after for n, (before, after) in zip(size, padding, strict=True))), dtype=x.dtype
    )
    kept, at = [slice(None)] * 2, [slice(None)] * 2
    for n, (before, after) in zip(size, padding, strict=True):
        start = max(-before, 0)
        stop = max(n + min(after, 0), start)
        kept.append(slice(start, stop))
        at.append(slice(start + before, stop + before))
    out[tuple(at)] = x[tuple(kept)]
    return out

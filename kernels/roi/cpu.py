"""Pooling of regions and suppression by loops: samples become weights of pixels, axis by axis, before they are read.

With the channels last in memory the innermost loops run along them. Backward, each thread has channels of its own, for
all boxes in order: two boxes that overlap add to the same pixel, and sums do not depend on the number of threads.
"""

from __future__ import annotations

import math

import numpy as np
from numba import prange

from ..jit import helper, kernel

FAR = 1e9  # a sample with a larger number is outside of every image


# ---- one axis
@helper
def rounded(x):  # type: ignore[no-untyped-def]
    """The nearest whole number, half away from 0."""
    whole = math.floor(abs(x))
    if abs(x) - whole >= 0.5:
        whole += 1
    return whole if x >= 0 else -whole


@helper
def limited(x, last):  # type: ignore[no-untyped-def]
    """A whole number in [0, last]; 0 for NaN."""
    return np.int64(min(max(x, 0), last)) if x > 0 else np.int64(0)


@helper
def weigh(first, size, ratio, sums, slopes, place, weight, slope):  # type: ignore[no-untyped-def]
    """The pixels that a bin reads, their weights, and the derivatives of these in `first`; how many they are.

    `sums` and `slopes` are zeros, one a pixel, and are left so.
    """
    pixels = len(sums)
    zero, one = type(first)(0), type(first)(1)
    count = type(first)(ratio) if ratio > 0 else type(first)(math.ceil(size))
    if not count > 0:
        return 0
    step = size / count
    begin, end = np.int64(0), np.int64(ratio)
    if ratio <= 0:  # of many samples those that can be inside
        low = (-1 - first) / step - 2 if step > 0 else zero
        high = min((pixels - first) / step + 2, count) if step > 0 else zero
        if not (low < FAR and high < FAR):
            return 0
        begin, end = np.int64(max(low, zero)), np.int64(max(high, zero))
    lowest, highest = np.int64(pixels), np.int64(-1)
    for i in range(begin, end):
        at = first + (i + type(first)(0.5)) * step
        if not (at >= -1 and at <= pixels):
            continue
        inner = at >= 0 and at < pixels - 1
        near = np.int64(min(max(at, zero), type(first)(pixels - 1)))
        part = at - near if inner else zero
        sums[near] += one - part
        if near < lowest:
            lowest = near
        if near > highest:
            highest = near
        if inner:
            sums[near + 1] += part
            slopes[near] -= one
            slopes[near + 1] += one
            if near + 1 > highest:
                highest = near + 1
    found = 0
    for h in range(lowest, highest + 1):
        if sums[h] != 0 or slopes[h] != 0:
            place[found], weight[found], slope[found] = h, sums[h] / count, slopes[h] / count
            found += 1
        sums[h] = zero
        slopes[h] = zero
    return found


@helper
def region(boxes, k, axis, scale, aligned):  # type: ignore[no-untyped-def]
    """Where box k begins on axis 0 (rows) or 1, and how long it is."""
    like = boxes[k, 0]
    shift = type(like)(0.5) if aligned else type(like)(0)
    low = boxes[k, 2 - axis] * scale - shift
    length = boxes[k, 4 - axis] * scale - shift - low
    return low, length if aligned else max(length, type(like)(1))


@helper
def is_finite(boxes, k):  # type: ignore[no-untyped-def]
    found = True
    for i in range(1, 5):
        found = found and np.isfinite(boxes[k, i])
    return found


# ---- means of samples
@helper
def set_all(out, k, value):  # type: ignore[no-untyped-def]
    """out[k] = value, as loops: Numba compiles an assignment to a slice ten times as long."""
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            for c in range(out.shape[3]):
                out[k, i, j, c] = value


@helper
def clear(array):  # type: ignore[no-untyped-def]
    for i in range(len(array)):
        array[i] = 0


@helper
def accumulate(x, n, h, w, base, step, factor, out, c0, c1):  # type: ignore[no-untyped-def]
    """out[c] += factor · x[base + (c - c0) · step] for channels c from c0 to c1."""
    if step == 1:
        for c in range(c1 - c0):
            out[c0 + c] += factor * x[n, h, w, base + c]
    else:
        for c in range(c1 - c0):
            out[c0 + c] += factor * x[n, h, w, base + c * step]


@kernel(
    "void(const T[:, :, :, ::1], const T[:, ::1], const T[:, :, :, :, ::1], T[:, :, :, ::1], f8, i8, f8, i8, i8, i8)",
    parallel=True,
    fast=True,
)
def pooled(x, boxes, moves, out, scale, ratio, gamma, aligned, sensitive, parts):  # type: ignore[no-untyped-def]
    """out[k, i, j, c], each part a share of the boxes; `moves` (K, sets, 2, P, Q) may have no sets."""
    height, width = x.shape[1:3]
    count, p, q, channels = out.shape
    like = out.dtype.type(0)
    sets = max(moves.shape[1], 1)
    each = channels // sets
    step = p * q if sensitive else 1
    scaled, factor = type(like)(scale), type(like)(gamma)
    for part in prange(parts):
        most = max(height, width)
        sums, slopes = np.empty(most, out.dtype), np.empty(most, out.dtype)
        clear(sums)
        clear(slopes)
        places, weights = np.empty((2, most), np.int64), np.empty((2, most), out.dtype)
        unused = np.empty(most, out.dtype)
        for k in range(part * count // parts, (part + 1) * count // parts):
            if not is_finite(boxes, k):
                set_all(out, k, np.nan)
                continue
            n = np.int64(boxes[k, 0])
            top, high = region(boxes, k, 0, scaled, aligned)
            left, wide = region(boxes, k, 1, scaled, aligned)
            for s in range(sets):
                for i in range(p):
                    for j in range(q):
                        y, z = top + i * (high / p), left + j * (wide / q)
                        if moves.shape[1] > 0:
                            y += factor * moves[k, s, 0, i, j] * high
                            z += factor * moves[k, s, 1, i, j] * wide
                        c0, c1 = s * each, (s + 1) * each
                        total = out[k, i, j]
                        known = y == y and z == z
                        for c in range(c0, c1):
                            total[c] = 0 if known else np.nan
                        if not known:
                            continue
                        rows = weigh(y, high / p, ratio, sums[:height], slopes, places[0], weights[0], unused)
                        columns = weigh(z, wide / q, ratio, sums[:width], slopes, places[1], weights[1], unused)
                        base = c0 * step + (i * q + j if sensitive else 0)
                        for a in range(rows):
                            for b in range(columns):
                                share = weights[0, a] * weights[1, b]
                                if share != 0:
                                    accumulate(x, n, places[0, a], places[1, b], base, step, share, total, c0, c1)


@kernel(
    "void(const T[:, :, :, ::1], const T[:, :, :, ::1], const T[:, ::1], const T[:, :, :, :, ::1], T[:, :, :, ::1], "
    "T[:, :, :, :, :, ::1], f8, i8, f8, i8, i8, i8)",
    parallel=True,
    fast=True,
)
def pooled_pulled(g, x, boxes, moves, gx, gm, scale, ratio, gamma, aligned, sensitive, parts):  # type: ignore[no-untyped-def]
    """gx of `pooled`, and of the moves a term for each part in gm (parts, K, sets, 2, P, Q); both are zeros before."""
    height, width = x.shape[1:3]
    count, p, q, channels = g.shape
    like = gx.dtype.type(0)
    sets = max(moves.shape[1], 1)
    each = channels // sets
    step = p * q if sensitive else 1
    scaled, factor = type(like)(scale), type(like)(gamma)
    for part in prange(parts):
        most = max(height, width)
        sums, slopes = np.empty(most, gx.dtype), np.empty(most, gx.dtype)
        clear(sums)
        clear(slopes)
        places = np.empty((2, most), np.int64)
        weights, derivatives = np.empty((2, most), gx.dtype), np.empty((2, most), gx.dtype)
        for k in range(count):
            if not is_finite(boxes, k):
                continue
            n = np.int64(boxes[k, 0])
            top, high = region(boxes, k, 0, scaled, aligned)
            left, wide = region(boxes, k, 1, scaled, aligned)
            for s in range(sets):
                c0, c1 = s * each + part * each // parts, s * each + (part + 1) * each // parts
                for i in range(p):
                    for j in range(q):
                        y, z = top + i * (high / p), left + j * (wide / q)
                        if moves.shape[1] > 0:
                            y += factor * moves[k, s, 0, i, j] * high
                            z += factor * moves[k, s, 1, i, j] * wide
                        if y != y or z != z:
                            continue
                        rows = weigh(y, high / p, ratio, sums[:height], slopes, places[0], weights[0], derivatives[0])
                        columns = weigh(z, wide / q, ratio, sums[:width], slopes, places[1], weights[1], derivatives[1])
                        base = c0 * step + (i * q + j if sensitive else 0)
                        down, right = like, like
                        for a in range(rows):
                            for b in range(columns):
                                h, w = places[0, a], places[1, b]
                                share = weights[0, a] * weights[1, b]
                                if step == 1:
                                    for c in range(c1 - c0):
                                        gx[n, h, w, base + c] += share * g[k, i, j, c0 + c]
                                else:
                                    for c in range(c1 - c0):
                                        gx[n, h, w, base + c * step] += share * g[k, i, j, c0 + c]
                                if moves.shape[1] > 0:
                                    dot = like
                                    for c in range(c1 - c0):
                                        dot += g[k, i, j, c0 + c] * x[n, h, w, base + c * step]
                                    down += derivatives[0, a] * weights[1, b] * dot
                                    right += weights[0, a] * derivatives[1, b] * dot
                        if moves.shape[1] > 0:
                            gm[part, k, s, 0, i, j] = factor * high * down
                            gm[part, k, s, 1, i, j] = factor * wide * right


# ---- the largest pixel
@kernel(
    "void(const T[:, :, :, ::1], const T[:, ::1], T[:, :, :, ::1], i8[:, :, :, ::1], f8, i8)", parallel=True, fast=True
)
def largest(x, boxes, out, place, scale, parts):  # type: ignore[no-untyped-def]
    """out[k, i, j, c], each part a share of the boxes."""
    height, width, channels = x.shape[1:]
    count, p, q, _ = out.shape
    scaled = out.dtype.type(scale)
    for part in prange(parts):
        for k in range(part * count // parts, (part + 1) * count // parts):
            set_all(place, k, -1)
            if not is_finite(boxes, k):
                set_all(out, k, np.nan)
                continue
            n = np.int64(boxes[k, 0])
            left, top = rounded(boxes[k, 1] * scaled), rounded(boxes[k, 2] * scaled)
            high = max(rounded(boxes[k, 4] * scaled) - top + 1, 1) / out.dtype.type(p)
            wide = max(rounded(boxes[k, 3] * scaled) - left + 1, 1) / out.dtype.type(q)
            for i in range(p):
                h0 = limited(math.floor(i * high) + top, height)
                h1 = limited(math.ceil((i + 1) * high) + top, height)
                for j in range(q):
                    w0 = limited(math.floor(j * wide) + left, width)
                    w1 = limited(math.ceil((j + 1) * wide) + left, width)
                    best, at = out[k, i, j], place[k, i, j]
                    clear(best)
                    for h in range(h0, h1):
                        for w in range(w0, w1):
                            here = h * width + w
                            if h == h0 and w == w0:
                                for c in range(channels):
                                    best[c] = x[n, h, w, c]
                                    at[c] = here
                                continue
                            for c in range(channels):
                                value, old = x[n, h, w, c], best[c]
                                more = value > old or (value != value and old == old)
                                best[c] = value if more else old
                                at[c] = here if more else at[c]


@kernel("void(const T[:, :, ::1], const T[:, ::1], i8[:, :, ::1], T[:, :, ::1], i8)", parallel=True)
def largest_pulled(g, boxes, place, gx, parts):  # type: ignore[no-untyped-def]
    """gx[image, place] += g by channels, each part a share of these; g and place (K, bins, C), gx (N, pixels, C)."""
    count, bins, channels = g.shape
    for part in prange(parts):
        for k in range(count):
            n = np.int64(boxes[k, 0])
            for b in range(bins):
                for c in range(part * channels // parts, (part + 1) * channels // parts):
                    if place[k, b, c] >= 0:
                        gx[n, place[k, b, c], c] += g[k, b, c]


# ---- means of pixels, of one map a bin
@kernel(
    "void(const T[:, :, :, :], i8[::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], T[:, :, :, ::1], i8)",
    parallel=True,
    fast=True,
)
def averaged(x, image, top, bottom, left, right, out, parts):  # type: ignore[no-untyped-def]
    """out[k, c, i, j] = the mean of map (c · P + i) · Q + j over rows [top, bottom) and columns [left, right)."""
    count, channels, p, q = out.shape
    for part in prange(parts):
        for k in range(part * count // parts, (part + 1) * count // parts):
            if image[k] < 0:
                set_all(out, k, np.nan)
                continue
            for c in range(channels):
                for i in range(p):
                    for j in range(q):
                        plane, total = (c * p + i) * q + j, out.dtype.type(0)
                        for h in range(top[k, i], bottom[k, i]):
                            for w in range(left[k, j], right[k, j]):
                                total += x[image[k], plane, h, w]
                        pixels = max(bottom[k, i] - top[k, i], 0) * max(right[k, j] - left[k, j], 0)
                        out[k, c, i, j] = total / out.dtype.type(max(pixels, 1))


@kernel(
    "void(const T[:, :, :, :], i8[::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], i8[:, ::1], T[:, :, :, ::1], i8)",
    parallel=True,
)
def averaged_pulled(g, image, top, bottom, left, right, gx, parts):  # type: ignore[no-untyped-def]
    """The gradient of `averaged` in x, zeros before; each part has channels of its own."""
    count, channels, p, q = g.shape
    for part in prange(parts):
        for k in range(count):
            if image[k] < 0:
                continue
            for c in range(part * channels // parts, (part + 1) * channels // parts):
                for i in range(p):
                    for j in range(q):
                        plane = (c * p + i) * q + j
                        pixels = max(bottom[k, i] - top[k, i], 0) * max(right[k, j] - left[k, j], 0)
                        share = g[k, c, i, j] / gx.dtype.type(max(pixels, 1))
                        for h in range(top[k, i], bottom[k, i]):
                            for w in range(left[k, j], right[k, j]):
                                gx[image[k], plane, h, w] += share


# ---- suppression
@kernel("void(const T[:, ::1], i8[::1], f8, u1[::1])")
def suppress(sides, labels, threshold, dead):  # type: ignore[no-untyped-def]
    """dead[j] = 1 if box j overlaps an earlier one that is not dead; `sides` (4, N): x1, y1, x2, y2."""
    x1, y1, x2, y2 = sides[0], sides[1], sides[2], sides[3]
    zero = sides.dtype.type(0)
    for i in range(len(dead)):
        if dead[i] != 0:
            continue
        area = (x2[i] - x1[i]) * (y2[i] - y1[i])
        for j in range(i + 1, len(dead)):
            width = min(x2[i], x2[j]) - max(x1[i], x1[j])
            height = min(y2[i], y2[j]) - max(y1[i], y1[j])
            shared = max(width, zero) * max(height, zero)
            over = shared / (area + (x2[j] - x1[j]) * (y2[j] - y1[j]) - shared)
            dead[j] |= over > threshold and labels[i] == labels[j]

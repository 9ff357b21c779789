"""What samples of the ops on regions are compared with: bin by bin and sample by sample, in NumPy."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np


# ---- regions
def _rows(boxes: Sequence[Any]) -> Iterator[tuple[int, Any]]:
    """Each box with its image."""
    for i, given in enumerate(boxes):
        for row in given:
            yield (int(row[0]), row[1:]) if len(row) == 5 else (i, row)


def _pair(size: Any) -> Any:
    return np.broadcast_to(size, 2)


def _rounded(x: float) -> int:
    """Half away from 0."""
    return int(math.copysign(math.floor(abs(x) + 0.5), x))


def _bin(start: float, size: float, i: int, shift: float, last: int) -> range:
    """The pixels of bin i."""
    low, high = math.floor(i * size + start) + shift, math.ceil((i + 1) * size + start) + shift
    return range(*(int(min(max(edge, 0), last)) for edge in (low, high)))


def roi_pool(x: Any, *boxes: Any, output_size: Any, spatial_scale: float) -> Any:
    (p, q), made = _pair(output_size), []
    for image, box in _rows(boxes):
        x1, y1, x2, y2 = (_rounded(v * spatial_scale) for v in box)
        high, wide = max(y2 - y1 + 1, 1) / p, max(x2 - x1 + 1, 1) / q
        out = np.zeros((x.shape[1], p, q))
        for i, j in np.ndindex(p, q):
            rows, columns = _bin(0, high, i, y1, x.shape[2]), _bin(0, wide, j, x1, x.shape[3])
            if rows and columns:
                out[:, i, j] = x[image][:, rows][:, :, columns].max(axis=(1, 2))
        made.append(out)
    return np.reshape(made, (len(made), x.shape[1], p, q))


def ps_roi_pool(x: Any, *boxes: Any, output_size: Any, spatial_scale: float, convention: str) -> Any:
    (p, q), made = _pair(output_size), []
    height, width = x.shape[2:]
    for image, box in _rows(boxes):
        out = np.zeros((x.shape[1] // (p * q), p, q))
        for c, i, j in np.ndindex(*out.shape):
            if convention == "caffe":
                x1, y1 = (_rounded(v) * spatial_scale for v in box[:2])
                x2, y2 = ((_rounded(v) + 1) * spatial_scale for v in box[2:])
                rows = _bin(y1, max(y2 - y1, 0.1) / p, i, 0, height)
                columns = _bin(x1, max(x2 - x1, 0.1) / q, j, 0, width)
            else:
                x1, y1, x2, y2 = (_rounded(v * spatial_scale) for v in box)
                rows = _bin(0, max(y2 - y1, 1) / p, i, y1, height - 1)
                columns = _bin(0, max(x2 - x1, 1) / q, j, x1, width - 1)
            if rows and columns:
                out[c, i, j] = x[image, (c * p + i) * q + j][rows][:, columns].mean()
        made.append(out)
    return np.reshape(made, (len(made), x.shape[1] // (p * q), p, q))


# ---- samples
def bilinear(plane: Any, y: float, x: float) -> Any:
    """Σ_p max(0, 1 − |y − p_y|) · max(0, 1 − |x − p_x|) · plane[…, p]: zeros lie around the plane."""
    height, width = plane.shape[-2:]
    rows = np.maximum(0, 1 - np.abs(y - np.arange(height)))
    columns = np.maximum(0, 1 - np.abs(x - np.arange(width)))
    return np.einsum("...hw,h,w->...", plane, rows, columns)


def _read(plane: Any, y: float, x: float) -> Any:
    """The border goes on for one pixel, then zeros begin."""
    height, width = plane.shape[-2:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(plane.shape[:-2])
    return bilinear(plane, min(max(y, 0), height - 1), min(max(x, 0), width - 1))


def _sampled(plane: Any, start: Any, size: Any, ratio: int) -> Any:
    """The mean of the samples of one bin: start and size are (y, x)."""
    high, wide = (ratio if ratio > 0 else math.ceil(s) for s in size)
    total: Any = np.zeros(plane.shape[:-2])
    for a, b in np.ndindex(max(high, 0), max(wide, 0)):
        total = total + _read(plane, start[0] + (a + 0.5) * size[0] / high, start[1] + (b + 0.5) * size[1] / wide)
    return total / max(high * wide, 1)


def roi_align(x: Any, *boxes: Any, output_size: Any, spatial_scale: float, sampling_ratio: int, aligned: bool) -> Any:
    classes = np.zeros((sum(map(len, boxes)), 2, *_pair(output_size)))
    return deform_roi_pool(
        x, classes, *boxes, output_size=output_size, spatial_scale=spatial_scale, sampling_ratio=sampling_ratio,
        gamma=0.0, aligned=aligned,
    )  # fmt: skip


def deform_roi_pool(
    x: Any, offset: Any, *boxes: Any, output_size: Any, spatial_scale: float, sampling_ratio: int, gamma: float,
    aligned: bool, sensitive: bool = False,
) -> Any:  # fmt: skip
    p, q = _pair(output_size)
    channels, classes = x.shape[1] // (p * q if sensitive else 1), offset.shape[1] // 2
    out = np.zeros((len(offset), channels, p, q))
    for k, (image, box) in enumerate(_rows(boxes)):
        start = np.array([box[1], box[0]]) * spatial_scale - 0.5 * aligned
        size = np.array([box[3] - box[1], box[2] - box[0]]) * spatial_scale
        size = size if aligned else np.maximum(size, 1)
        for c, i, j in np.ndindex(channels, p, q):
            s = c // (channels // classes)
            moved = start + size / (p, q) * (i, j) + gamma * offset[k, 2 * s : 2 * s + 2, i, j] * size
            plane = x[image, (c * p + i) * q + j if sensitive else c]
            out[k, c, i, j] = _sampled(plane, moved, size / (p, q), sampling_ratio)
    return out

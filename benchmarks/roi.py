"""Pooling of regions: `roi_align` of float32 images, 7 × 7 bins of 2 × 2 samples; forward, and with its gradient.

`roi-align-256` has 256 boxes of 8 to 40 pixels on two images of 256 channels and 50 × 50 pixels, as a detector's second
stage. The peer is composed of PyTorch's indexing, as torchvision has it where its own kernel is missing: the four
pixels around each sample, their weighted sum, the mean of a bin's samples.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .conv import laid_out
from .harness import Case, Contender, Direction, Workload, run
from .operation import workload

IMAGES, CHANNELS, SIZE, BINS, RATIO = 2, 256, 50, 7, 2
COUNTS = {"roi-align-256": 256}
BAR = 1.0


def drawn_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """(count, 5) inside the images."""
    sides = rng.uniform(8, 40, (count, 2))
    low = rng.uniform(0, SIZE - 1 - sides)
    return np.concatenate([rng.integers(0, IMAGES, (count, 1)), low, low + sides], axis=1).astype(np.float32)


def by_indexing(x: Any, boxes: Any) -> Any:
    """The same in PyTorch."""
    torch = import_module("torch")
    count, samples = len(boxes), BINS * RATIO
    step = (torch.arange(samples) + 0.5) / samples

    def axis(low: Any, high: Any) -> tuple[Any, Any, Any]:
        at = low[:, None] + step * (high - low).clamp(min=1)[:, None]  # (K, samples), inside the image
        near = at.long().clamp(0, SIZE - 2)
        return near, near + 1, at - near

    y0, y1, ly = axis(boxes[:, 2], boxes[:, 4])
    x0, x1, lx = axis(boxes[:, 1], boxes[:, 3])
    image = boxes[:, 0].long()[:, None, None]
    channels_last = x.permute(0, 2, 3, 1)

    def pixels(rows: Any, columns: Any) -> Any:
        return channels_last[image, rows[:, :, None], columns[:, None]]  # (K, samples, samples, C)

    wy, wx = ly[:, :, None, None], lx[:, None, :, None]
    top = pixels(y0, x0) * (1 - wx) + pixels(y0, x1) * wx
    bottom = pixels(y1, x0) * (1 - wx) + pixels(y1, x1) * wx
    read = top * (1 - wy) + bottom * wy
    return read.view(count, BINS, RATIO, BINS, RATIO, CHANNELS).mean((2, 4)).permute(0, 3, 1, 2)


def build(library: str, name: str, direction: Direction) -> Workload:
    """The case in our library or in PyTorch, from the same numbers; images with the channels last in both."""
    lib = import_module(library)
    rng = np.random.default_rng(0)
    boxes = lib.tensor(drawn_boxes(rng, COUNTS[name]))
    x = lib.tensor(rng.standard_normal((IMAGES, CHANNELS, SIZE, SIZE), np.float32))
    g = lib.tensor(rng.standard_normal((COUNTS[name], CHANNELS, BINS, BINS), np.float32))
    layout: Any = "ours" if library == "tinygrad_zoo" else "channels-last"
    x, g = laid_out(lib, x, layout).requires_grad_(), laid_out(lib, g, layout)
    function: Any = by_indexing
    if library == "tinygrad_zoo":
        function = lambda x, boxes: lib.roi_align(x, boxes, BINS, sampling_ratio=RATIO)
    return workload(lib, function, [x, boxes], g, direction)


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    ours, peer = (partial(build, library, name, direction) for library in ("tinygrad_zoo", "torch"))
    return Case(
        bench="roi",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo",)),
        peers=(Contender(name="torch", build=peer, requires=("torch",)),),
        bars={"torch": BAR},
        tolerance=1e-4,
    )


CASES = [case(name, direction) for name in COUNTS for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

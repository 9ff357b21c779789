"""Deformable convolution, version 2, of float32 images: 3 × 3 taps, a mask, stride 1; forward, and with all gradients.

The peer is the best that plain PyTorch has: the pixels of all taps by one `grid_sample`, times the mask, and one matrix
product. Both get the image as their library holds it inside a network: ours with the channels last, PyTorch's
contiguous, which `grid_sample` is fastest on. The offsets are those of a convolution, (N, 18, H, W), in both; what each
library makes of them is timed.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .conv import laid_out
from .harness import Case, Contender, Direction, Workload, run
from .operation import workload


class Shape(NamedTuple):
    """Images (n, channels, size, size) → `out` channels."""

    n: int
    channels: int
    size: int
    out: int


SHAPES = {"v2-32": Shape(8, 32, 32, 64), "v2-56": Shape(2, 64, 56, 64)}
BAR = 0.3


def by_grid_sample(x: Any, offset: Any, mask: Any, weight: Any, bias: Any) -> Any:
    """The same in PyTorch: taps stand one below the other in the grid."""
    torch = import_module("torch")
    n, c, height, width = x.shape
    k = weight.shape[0]
    offset, taps = offset.view(n, 9, 2, height, width), torch.arange(9).view(1, 9, 1, 1)
    y = torch.arange(height).view(1, 1, height, 1) + (taps // 3 - 1) + offset[:, :, 0]
    z = torch.arange(width).view(1, 1, 1, width) + (taps % 3 - 1) + offset[:, :, 1]
    grid = torch.stack([z * (2 / (width - 1)) - 1, y * (2 / (height - 1)) - 1], -1).reshape(n, 9 * height, width, 2)
    read = torch.nn.functional.grid_sample(x, grid, align_corners=True, padding_mode="zeros")
    read = read.view(n, c, 9, height * width) * mask.reshape(n, 1, 9, height * width)
    out = torch.matmul(weight.reshape(k, c * 9), read.reshape(n, c * 9, height * width))
    return out.view(n, k, height, width) + bias[:, None, None]


def build(library: str, name: str, direction: Direction) -> Workload:
    """The case in our library or in PyTorch, from the same numbers."""
    lib = import_module(library)
    n, channels, size, out = SHAPES[name]
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> Any:
        return lib.tensor(rng.standard_normal(shape, np.float32))

    x, offset, g = normal(n, channels, size, size), normal(n, 18, size, size), normal(n, out, size, size)
    mask = lib.tensor(rng.random((n, 9, size, size), np.float32))
    weight = lib.tensor(rng.uniform(-1, 1, (out, channels, 3, 3)).astype(np.float32) / np.float32(3 * channels**0.5))
    bias = normal(out)
    layout: Any = "ours" if library == "tinygrad_zoo" else "nchw"
    x, g = laid_out(lib, x, layout), laid_out(lib, g, layout)
    inputs = [tensor.requires_grad_() for tensor in (x, offset, mask, weight, bias)]
    function: Any = by_grid_sample
    if library == "tinygrad_zoo":
        function = lambda x, offset, mask, weight, bias: lib.deform_conv2d(
            x, offset, weight, bias, padding=1, mask=mask
        )
    return workload(lib, function, inputs, g, direction)


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    ours, peer = (partial(build, library, name, direction) for library in ("tinygrad_zoo", "torch"))
    return Case(
        bench="deform",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo",)),
        peers=(Contender(name="torch", build=peer, requires=("torch",)),),
        bars={"torch": BAR},
        tolerance=1e-3,  # of gradients in the offsets, which are differences of pixels; grid_sample rounds positions
    )


CASES = [case(name, direction) for name in SHAPES for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

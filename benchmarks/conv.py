"""2-D convolutions of float32 images with a bias, forward, and with the gradients of image, weight and bias.

`5x5c1` is a first layer: nobody asks for the gradient of the image, and `fb` has those of weight and bias alone.

**Memory layout.** The peers are PyTorch twice: `torch-nchw`, everything contiguous, and `torch-channels-last`, image,
weight and incoming gradient in that format; the bar is against whichever is faster. Ours gets the image and the
incoming gradient in the layout that they have inside a network of ours, that of a convolution's result (channels last),
and the weight as `nn.Conv2d` holds it, contiguous. A first layer gets its image as the user's array is, contiguous.
Nobody's conversion between layouts is timed, except what an operation itself finds necessary.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, Literal, NamedTuple

import numpy as np

from .harness import Case, Contender, Direction, Workload, run
from .operation import workload


class Shape(NamedTuple):
    """Images (n, channels, size, size) → `out` channels by kernels (kernel, kernel)."""

    n: int
    channels: int
    size: int
    out: int
    kernel: int
    padding: int
    stride: int = 1
    groups: int = 1

    @property
    def out_size(self) -> int:
        """The side of the resulting images."""
        return (self.size + 2 * self.padding - self.kernel) // self.stride + 1


SHAPES = {
    "3x3s1-small": Shape(16, 32, 32, 64, kernel=3, padding=1),
    "3x3s1-large": Shape(8, 64, 56, 64, kernel=3, padding=1),
    "3x3s2": Shape(16, 64, 32, 128, kernel=3, padding=1, stride=2),
    "1x1": Shape(16, 64, 32, 128, kernel=1, padding=0),
    "groups4": Shape(16, 64, 32, 64, kernel=3, padding=1, groups=4),
    "5x5c1": Shape(64, 1, 28, 16, kernel=5, padding=2),
    "depthwise": Shape(16, 64, 32, 64, kernel=3, padding=1, groups=64),
}
BARS = {"3x3s1-small": 0.55, "3x3s1-large": 0.55, "3x3s2": 1.0, "1x1": 1.0, "groups4": 1.0, "5x5c1": 1.0} | {
    "depthwise": 1.2
}
Format = Literal["ours", "nchw", "channels-last"]


def laid_out(lib: Any, images: Any, layout: Format) -> Any:
    """The same images in the memory layout that their library likes."""
    if layout == "nchw":
        return images
    if layout == "channels-last":
        return images.contiguous(memory_format=lib.channels_last)
    channels = images.shape[1]
    identity = np.eye(channels, dtype=np.float32).reshape(channels, channels, 1, 1)
    return lib.nn.functional.conv2d(images, lib.tensor(identity))


def build(name: str, layout: Format, direction: Direction) -> Workload:
    """The case in our library or in PyTorch, from the same numbers everywhere."""
    lib = import_module("tinygrad_zoo" if layout == "ours" else "torch")
    shape = SHAPES[name]
    rng = np.random.default_rng(0)
    fan_in = shape.channels // shape.groups * shape.kernel**2
    kernels = (shape.out, shape.channels // shape.groups, shape.kernel, shape.kernel)
    x = lib.tensor(rng.standard_normal((shape.n, shape.channels, shape.size, shape.size), np.float32))
    weight = lib.tensor(rng.uniform(-(fan_in**-0.5), fan_in**-0.5, kernels).astype(np.float32))
    bias = lib.tensor(rng.uniform(-(fan_in**-0.5), fan_in**-0.5, shape.out).astype(np.float32))
    g = lib.tensor(rng.standard_normal((shape.n, shape.out, shape.out_size, shape.out_size), np.float32))
    g = laid_out(lib, g, layout)
    if layout == "channels-last":
        weight = laid_out(lib, weight, layout)
    if shape.channels > 1:
        x = laid_out(lib, x, layout).requires_grad_()
    inputs = [x, weight.requires_grad_(), bias.requires_grad_()]
    settings = {"stride": shape.stride, "padding": shape.padding, "groups": shape.groups}
    return workload(lib, partial(lib.nn.functional.conv2d, **settings), inputs, g, direction)


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    peers: tuple[Format, ...] = ("nchw", "channels-last")
    return Case(
        bench="conv",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=partial(build, name, "ours", direction), requires=("tinygrad_zoo",)),
        peers=tuple(
            Contender(name=f"torch-{layout}", build=partial(build, name, layout, direction), requires=("torch",))
            for layout in peers
        ),
        best_bar=BARS[name],
        tolerance=1e-3,  # Winograd's rounding errors are larger than the direct sum's
    )


CASES = [case(name, direction) for name in SHAPES for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

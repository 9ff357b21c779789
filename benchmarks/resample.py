"""Images resized and pooled, forward, and with the gradient of the image.

`bilinear-x2` is the case with a bar; `max-pool` (2 x 2), `average-pool` (2 x 2) and `adaptive-average` (to 7 x 7) are
reported beside it. `python-loop` resizes 16 planes, and its peer is the loop in plain Python that a kernel replaces.

**Memory layout.** As for convolutions: the peers are PyTorch twice, `torch-nchw` and `torch-channels-last`, image and
incoming gradient in that format, and the bar is against whichever is faster; ours gets both in the layout that they
have inside a network of ours, that of a convolution's result.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .conv import Format, laid_out
from .harness import Case, Contender, Direction, Workload, run
from .operation import workload

# The shape of the image; the function of torch.nn.functional, and its settings.
OPERATIONS: dict[str, tuple[tuple[int, ...], str, dict[str, Any]]] = {
    "bilinear-x2": ((16, 32, 32, 32), "interpolate", {"scale_factor": 2, "mode": "bilinear"}),
    "max-pool": ((16, 32, 64, 64), "max_pool2d", {"kernel_size": 2}),
    "average-pool": ((16, 32, 64, 64), "avg_pool2d", {"kernel_size": 2}),
    "adaptive-average": ((16, 64, 32, 32), "adaptive_avg_pool2d", {"output_size": 7}),
}
BARS = {"bilinear-x2": 1.0}
PLANES = (1, 16, 32, 32)
FACTOR = 2
TIMES_FASTER = 20  # than the loop


def build(name: str, layout: Format, direction: Direction) -> Workload:
    """The case in our library or in PyTorch, from the same numbers everywhere."""
    lib = import_module("tinygrad_zoo" if layout == "ours" else "torch")
    shape, function, settings = OPERATIONS[name]
    rng = np.random.default_rng(0)
    x = laid_out(lib, lib.tensor(rng.standard_normal(shape, np.float32)), layout).requires_grad_()
    operation: Callable[..., Any] = partial(getattr(lib.nn.functional, function), **settings)
    with lib.no_grad():
        made = operation(x)
    g = laid_out(lib, lib.tensor(rng.standard_normal(tuple(made.shape), np.float32)), layout)
    return workload(lib, operation, [x], g, direction)


def planes() -> Any:
    """What the loop and ours resize."""
    return np.random.default_rng(0).standard_normal(PLANES, np.float32)


def looped(x: list[Any]) -> list[Any]:
    """Bilinear interpolation by FACTOR of planes in nested lists, one pixel after the other."""
    made = []
    for plane in x:
        height, width = len(plane), len(plane[0])
        rows = []
        for i in range(height * FACTOR):
            y = max((i + 0.5) / FACTOR - 0.5, 0.0)
            top = int(y)
            below, down = min(top + 1, height - 1), y - top
            row = []
            for j in range(width * FACTOR):
                at = max((j + 0.5) / FACTOR - 0.5, 0.0)
                left = int(at)
                right, across = min(left + 1, width - 1), at - left
                upper = (1 - across) * plane[top][left] + across * plane[top][right]
                lower = (1 - across) * plane[below][left] + across * plane[below][right]
                row.append((1 - down) * upper + down * lower)
            rows.append(row)
        made.append(rows)
    return made


def build_loop() -> Workload:
    """The planes by the loop, which is given lists and makes lists."""
    x = planes()[0].tolist()
    return Workload(run=lambda: looped(x), answer=lambda: np.array(looped(x)))


def build_planes() -> Workload:
    """The planes by our kernel."""
    lib = import_module("tinygrad_zoo")
    x = lib.tensor(planes())

    def resized() -> Any:
        return lib.nn.functional.interpolate(x, scale_factor=FACTOR, mode="bilinear")

    return Workload(run=resized, answer=lambda: resized().numpy()[0])


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    peers: tuple[Format, ...] = ("nchw", "channels-last")
    return Case(
        bench="resample",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=partial(build, name, "ours", direction), requires=("tinygrad_zoo",)),
        peers=tuple(
            Contender(name=f"torch-{layout}", build=partial(build, name, layout, direction), requires=("torch",))
            for layout in peers
        ),
        best_bar=BARS.get(name),
        tolerance=1e-5,
    )


CASES = [case(name, direction) for name in OPERATIONS for direction in ("fwd", "fb")]
CASES.append(
    Case(
        bench="resample",
        name="python-loop",
        direction="fwd",
        ours=Contender(name="ours", build=build_planes, requires=("tinygrad_zoo",)),
        peers=(Contender(name="python-loop", build=build_loop),),
        bars={"python-loop": 1 / TIMES_FASTER},
        tolerance=1e-5,
    )
)


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

"""Products of float32 matrices: `64` and `512`, square; `linear`, x @ weightᵀ + bias of (32, 128) with 128 units.

`fb` has the gradients of both factors, and that of the bias. The peer is PyTorch.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module

import numpy as np

from .harness import Case, Contender, Direction, Workload, run
from .operation import workload

BARS = {"64": 0.8, "512": 1.05, "linear": 0.5}


def build(library: str, name: str, direction: Direction) -> Workload:
    """The case in `library`, from the same numbers everywhere."""
    lib = import_module(library)
    rng = np.random.default_rng(0)
    shapes = [(32, 128), (128, 128), (128,)] if name == "linear" else [(int(name), int(name))] * 2
    inputs = [lib.tensor(rng.standard_normal(shape, np.float32), requires_grad=True) for shape in shapes]
    gradient = lib.tensor(rng.standard_normal(shapes[0], np.float32))
    return workload(lib, lib.nn.functional.linear if name == "linear" else lib.matmul, inputs, gradient, direction)


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    ours, peer = (partial(build, library, name, direction) for library in ("tinygrad_zoo", "torch"))
    return Case(
        bench="matmul",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo",)),
        peers=(Contender(name="torch", build=peer, requires=("torch",)),),
        bars={"torch": BARS[name]},
        tolerance=1e-4,
    )


CASES = [case(name, direction) for name in BARS for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

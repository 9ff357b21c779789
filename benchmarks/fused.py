"""Operations whose time is memory traffic and transcendental functions: softmax, layer norm, GELU, cross-entropy.

Rows are float32, `-small` (512, 64) or `-large` (4096, 1024), and normalised along the last axis. Layer norm has a
weight and a bias, whose gradients belong to `fb`; GELU is the exact one, x Φ(x), which both libraries compute when
nothing else is said; cross-entropy takes the rows as logits, and its backward begins at the mean loss. The peer is
PyTorch.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .harness import Case, Contender, Direction, Workload, run
from .operation import workload

SIZES = {"small": (512, 64), "large": (4096, 1024)}
BARS = {"small": 0.6, "large": 1.0}
OPERATIONS = ("softmax", "layernorm", "gelu", "cross-entropy")


def build(library: str, operation: str, size: str, direction: Direction) -> Workload:
    """The case in `library`, from the same numbers everywhere."""
    lib = import_module(library)
    functional = lib.nn.functional
    rng = np.random.default_rng(0)
    n, width = SIZES[size]

    def normal(*shape: int, requires_grad: bool = True) -> Any:
        return lib.tensor(rng.standard_normal(shape, np.float32), requires_grad=requires_grad)

    inputs, gradient = [normal(n, width)], normal(n, width, requires_grad=False)
    function: Callable[..., Any]
    if operation == "softmax":
        function = partial(functional.softmax, dim=-1)
    elif operation == "layernorm":
        inputs += [normal(width), normal(width)]
        function = lambda x, weight, bias: functional.layer_norm(x, (width,), weight, bias)
    elif operation == "gelu":
        function = functional.gelu
    else:
        inputs.append(lib.tensor(rng.integers(0, width, n)))
        function, gradient = functional.cross_entropy, None
    return workload(lib, function, inputs, gradient, direction)


def case(operation: str, size: str, direction: Direction) -> Case:
    """Put together the case `operation`-`size` in one direction."""
    ours, peer = (partial(build, library, operation, size, direction) for library in ("tinygrad_zoo", "torch"))
    return Case(
        bench="fused",
        name=f"{operation}-{size}",
        direction=direction,
        ours=Contender(name="ours", build=ours, requires=("tinygrad_zoo",)),
        peers=(Contender(name="torch", build=peer, requires=("torch",)),),
        bars={"torch": BARS[size]},
        tolerance=1e-4,
    )


CASES = [case(operation, size, direction) for size in SIZES for operation in OPERATIONS for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

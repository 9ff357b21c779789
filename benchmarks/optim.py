"""One step of AdamW over float32 parameters: `adamw-10m`, 10 million in 50 tensors; `adamw-100k`, 100,000 in 20.

The gradients are where a backward pass left them. Peers are PyTorch's two fast implementations, `torch-fused` and
`torch-foreach`; the bars are against the first.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np

from .harness import Case, Contender, Workload, run

SIZES = {"adamw-10m": (50, 200_000), "adamw-100k": (20, 5_000)}  # tensors, elements of each
BARS = {"adamw-10m": 1.0, "adamw-100k": 0.15}
CHECKED_STEPS = 5


def build(library: str, name: str, **settings: bool) -> Workload:
    """The optimizer of `library` on the same parameters and gradients everywhere; the answer is 5 steps on."""
    lib = import_module(library)
    rng = np.random.default_rng(0)
    count, size = SIZES[name]
    params = [lib.nn.Parameter(lib.tensor(rng.standard_normal(size, np.float32))) for _ in range(count)]
    optimizer = lib.optim.AdamW(params, lr=1e-3, **settings)
    for p in params:
        (p * lib.tensor(rng.standard_normal(size, np.float32))).sum().backward()

    def answer() -> Any:
        for _ in range(CHECKED_STEPS):
            optimizer.step()
        return np.concatenate([p.detach().numpy() for p in params])

    return Workload(run=optimizer.step, answer=answer)


def case(name: str) -> Case:
    """Put together the case `name`."""
    peers = {"torch-fused": {"fused": True}, "torch-foreach": {"foreach": True}}
    return Case(
        bench="optim",
        name=name,
        direction="step",
        ours=Contender(name="ours", build=partial(build, "tinygrad_zoo", name), requires=("tinygrad_zoo",)),
        peers=tuple(
            Contender(name=peer, build=partial(build, "torch", name, **settings), requires=("torch",))
            for peer, settings in peers.items()
        ),
        bars={"torch-fused": BARS[name]},
        tolerance=1e-5,
    )


CASES = [case(name) for name in SIZES]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run both cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

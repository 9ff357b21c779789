"""Softmax attention of 4 sequences and 8 heads of 64 features, float32, forward, and with the gradients of q, k and v.

`512` and `2048` tokens, each of which sees all others or, in `-causal`, those before it. Ours is `flash_attention`; the
peer is PyTorch's `scaled_dot_product_attention`, which on a CPU goes by tiles as well. `4096` is one head of 32
features, whose memory tests/test_attention.py measures.
"""

from collections.abc import Sequence
from functools import partial
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from .harness import Case, Contender, Direction, Workload, run
from .operation import workload


class Shape(NamedTuple):
    """Queries, keys and values (batch, heads, length, width)."""

    batch: int
    heads: int
    length: int
    width: int


SHAPES = {"512": Shape(4, 8, 512, 64), "2048": Shape(4, 8, 2048, 64), "4096": Shape(1, 1, 4096, 32)}
BARS = {"512": 0.8, "512-causal": 0.6, "2048": 0.85, "2048-causal": 0.7}


def build(name: str, library: str, direction: Direction) -> Workload:
    """The case in our library or in PyTorch, from the same numbers."""
    lib: Any = import_module(library)
    length, _, causal = name.partition("-")
    rng = np.random.default_rng(0)
    *inputs, g = (lib.tensor(rng.standard_normal(SHAPES[length], np.float32)) for _ in range(4))
    function = lib.nn.functional.scaled_dot_product_attention if library == "torch" else lib.flash_attention
    settings = {"is_causal": bool(causal)}
    return workload(lib, partial(function, **settings), [x.requires_grad_() for x in inputs], g, direction)


def case(name: str, direction: Direction) -> Case:
    """Put together the case `name` in one direction."""
    bars = {"torch": BARS[name]} if name in BARS else {}
    return Case(
        bench="attention",
        name=name,
        direction=direction,
        ours=Contender(name="ours", build=partial(build, name, "tinygrad_zoo", direction), requires=("tinygrad_zoo",)),
        peers=(Contender(name="torch", build=partial(build, name, "torch", direction), requires=("torch",)),),
        bars=bars,
        tolerance=1e-3,  # of the largest entry: sums of 2048 products, in another order
    )


NAMES = ("512", "512-causal", "2048", "2048-causal", "4096")
CASES = [case(name, direction) for name in NAMES for direction in ("fwd", "fb")]


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    return run(CASES, as_json=as_json, pairs=pairs, peers=peers, names=cases, usual_pairs=7)

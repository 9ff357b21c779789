"""One step of training of every system that has a twin in PyTorch, at two threads each.

Ours is what `tinygrad-zoo train NAME` does in a step: take the rows, make tensors, run the recipe's `step`, read the
metric. The twin, `benchmarks/twins/NAME.py`, does the same work in eager PyTorch on the same batches. Both start from
weights of their own, so answers are not compared by value: the gate is that the mean of the metric over the first steps
is of the same size, which a twin that does something else misses.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from . import twins
from .harness import Case, Contender, Workload, check_known, run

CHECKED = 20
TOLERANCE = 0.5
TOLERANCES = {"bias": 2.0}  # whose error shrinks in equal ratios from wherever it began
BAR = 1.0


def ours(name: str) -> Workload:
    """The recipe's step."""
    from threadpoolctl import threadpool_limits

    import tinygrad_zoo as tz
    from tinygrad_zoo.recipe import find
    from tinygrad_zoo.training.loop import advance, prepare

    tz.set_num_threads(twins.THREADS)
    threadpool_limits(1, user_api="blas")  # as `fit` does
    recipe = find(name)
    state = prepare(recipe, recipe.config, 0)

    def step() -> float:
        return float(advance(recipe, state)[recipe.metric])

    return Workload(run=step, answer=lambda: first(step))


def twin(name: str) -> Workload:
    """The twin's."""
    step, _ = twins.training(name, 0)
    return Workload(run=step, answer=lambda: first(step))


def first(step: Any) -> float:
    """The mean of the metric over the first steps."""
    return float(np.mean([step() for _ in range(CHECKED)]))


def case(name: str) -> Case:
    """One system."""
    return Case(
        bench="zoo",
        name=name,
        direction="step",
        ours=Contender(name="ours", build=partial(ours, name), requires=("tinygrad_zoo", "numba")),
        peers=(Contender(name="torch-eager", build=partial(twin, name), requires=("torch",)),),
        bars={"torch-eager": BAR},
        tolerance=TOLERANCES.get(name, TOLERANCE),
    )


def main(*, as_json: bool, pairs: int | None, peers: Sequence[str] | None, cases: Sequence[str] | None = None) -> int:
    """Run the cases."""
    check_known("cases", cases, set(twins.names()))
    return run([case(name) for name in twins.names()], as_json=as_json, pairs=pairs, peers=peers, names=cases)

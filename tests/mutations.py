"""Faults of the systems, each with the test that must notice it: what the specification calls the toy version.

`python tests/mutate.py [ROW …]` plants them one by one in a copy of the package and runs their tests. The suite itself
checks that every fault can still be planted (tests/test_mutations.py).
"""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """In `file`, below tinygrad_zoo/, `old`, which stands there once, becomes `new`; then `test` must fail."""

    row: str
    file: str
    old: str
    new: str
    test: str  # "test_flows.py::test_laws"; all its parameters are run


MUTATIONS = [
    # ---- E3
    # ---- E4
    # ---- P1
    # ---- P2
    # ---- G1
    # ---- G2
    # ---- G3
    # ---- G4
    # ---- G5
    # ---- G6
    # ---- G8
    # ---- G9
    # ---- G10
    # ---- F1
    # ---- F2
    # ---- F3
    Mutation("F3", "models/flows/transforms.py", "return z, total", "return z, -total", "test_flows.py::test_laws"),
    # ---- L2
    # ---- L3
    # ---- M1
    # ---- M2
    # ---- M3
]

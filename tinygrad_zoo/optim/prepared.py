"""An optimizer's step in a captured program, whose gradients always lie in the same places.

On the host it is launches that the program makes: only the scalars are computed anew in each replay. On a device a
graph puts the gradients side by side, and the optimizer launches its kernels on them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..kernels import optimizer as kernels
from ..kernels.pieces import Pieces
from ..variable import mark_all_written
from .flat import Flat, Run

if TYPE_CHECKING:
    from .optimizer import Optimizer


class Prepared:
    """The step of an optimizer whose gradients always lie in the same places.

    `launches` are (kernel, dtype, arguments) with the scalars last; `scalars` says how many these are. Before
    each run of them, what `updating(slots)` gives counts the step and writes each launch's scalars into its slot.
    `fits` says whether groups, runs and state are what they were.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.launches: list[tuple[Any, np.dtype[Any], tuple[Any, ...]]] = []
        self.scalars: list[int] = []
        self._runs: list[tuple[Run, dict[str, Any], Any, str]] = []  # run, group, its pieces, the kernel's name
        self._flats: list[tuple[Flat, list[Run]]] = []

    @classmethod
    def of(cls, optimizer: Optimizer) -> Prepared | None:
        """From the gradients as they lie now; None where a kernel can't take them there."""
        made = cls(optimizer)
        for i, group in enumerate(optimizer.param_groups):
            for flat in optimizer._bound(i):
                runs = flat.collect(negated=False)
                made._flats.append((flat, runs))
                for run in runs:
                    if group["maximize"] or not isinstance(run.pieces, Pieces) or not made._take(run, group):
                        return None
        return made

    def _take(self, run: Run, group: dict[str, Any]) -> bool:
        found: list[Any] = []
        run.fixed, t = run.pieces, run.t
        saved = {name: slot.copy() for name, slot in run._slots.items()}
        try:
            with kernels.taken(lambda *launch: found.append(launch)):
                self.optimizer._update(run, group)
        finally:
            fixed, run.fixed, run.t = run.fixed, None, t
            for name, slot in saved.items():
                run.slot(name)[...] = slot
        if len(found) != 1:
            return False
        name, written, table, scalars = found[0]
        kernel, arguments = kernels.launch(name, written, table)
        self.launches.append((kernel, run.data.dtype, (*arguments, *scalars)))
        self.scalars.append(sum(type(x) is not bool for x in scalars))  # which stand last, and don't change
        self._runs.append((run, group, fixed, name))
        return True

    def fits(self) -> bool:
        """Whether this is still the step of the optimizer."""
        return all(flat.runs is runs for flat, runs in self._flats)

    def updating(self, slots: list[Any]) -> Callable[[], None]:
        """What to call before the launches: `slots` are where each finds its scalars."""
        taken: list[tuple[str, tuple[float, ...]]] = []
        by = lambda name, written, table, scalars: taken.append((name, scalars))
        runs = [(*run, slot) for run, slot in zip(self._runs, slots, strict=True)]
        update, taking = self.optimizer._update, kernels.taken(by)

        def before() -> None:
            with taking:
                for run, group, fixed, _, _ in runs:
                    run.fixed = fixed
                    update(run, group)
                    run.fixed = None
                    mark_all_written(run.params)
            for (_, _, _, name, slot), (called, scalars) in zip(runs, taken, strict=True):
                if called != name:
                    raise RuntimeError(f"an option of the optimizer changed its kernel from {name} to {called}")
                slot[:] = scalars[: len(slot)]
            taken.clear()

        return before


class Joined:
    """The step of an optimizer on a device: `join` may be captured, and `update` follows it in every replay.

    `fits` says whether the parameters that have gradients are what they were.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._runs: list[tuple[Run, dict[str, Any]]] = []
        self._flats: list[tuple[Flat, list[Run], dict[str, Any], bool]] = []
        for i, group in enumerate(optimizer.param_groups):
            for flat in optimizer._bound(i):
                runs = flat.collect(negated=group["maximize"])
                self._flats.append((flat, runs, group, group["maximize"]))
                self._runs += [(run, group) for run in runs]

    def join(self) -> None:
        for run, _ in self._runs:
            run.join()

    def fits(self) -> bool:
        return all(flat.runs is runs and group["maximize"] == was for flat, runs, group, was in self._flats)

    def update(self) -> None:
        for run, group in self._runs:
            run.reopen()
            self.optimizer._update(run, group)
            run.close()

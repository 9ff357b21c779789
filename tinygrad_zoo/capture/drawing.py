"""A picture of a program: what runs when, by whom, and where its values lie in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import require
from .steps import Drawing, Outside, Step

if TYPE_CHECKING:
    from .replay import Replay

COLOURS = {"native": "#3b7dd8", "graph": "#3b7dd8", "Python": "#e08e2b", "draw": "#8e6bbf", "effect": "#c8443c"}
NAMED = 48  # steps, at most, that have their names written


def kind_of(step: Step) -> str:
    """Who runs a step: a key of COLOURS."""
    if isinstance(step, Outside):
        return "effect"
    if isinstance(step, Drawing):
        return "draw"
    return "native" if step.native else "graph" if step.captured else "Python"


def lifetimes(replay: Replay) -> dict[Any, tuple[int, int]]:
    """The first and the last step that each block of the arena is needed at; arguments from -1, results to the end."""
    found: dict[Any, tuple[int, int]] = {}

    def used(block: Any, at: int) -> None:
        block = block.owner
        if block in replay.arena.offsets:
            first, last = found.get(block, (at, at))
            found[block] = min(first, at), max(last, at)

    for block in replay.pinned:
        used(block, -1)
    for i, step in enumerate(replay.steps):
        for ref in (*step.reads(), *step.writes(), *step.scratch()):
            used(ref.block, i)
    for block in replay.lasting:
        used(block, len(replay.steps))
    return found


def drawn(replay: Replay, path: str | Path | None) -> Any:
    """The figure, written to `path` if there is one: above the steps in their order, below the arena over them."""
    require("matplotlib", "zoo")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    steps, spans = replay.steps, lifetimes(replay)
    figure = Figure(figsize=(min(18.0, 5 + 0.22 * len(steps)), 7.5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2.2))
    seen: dict[str, None] = {}
    for i, step in enumerate(steps):
        kind = kind_of(step)
        label = kind if kind not in seen else None
        seen[kind] = None
        above.bar(i, 1, width=0.9, color=COLOURS[kind], label=label)
        if len(steps) <= NAMED:
            name = step.name if len(step.name) <= 26 else f"{step.name[:25]}…"
            above.text(i, 0.05, name, rotation=90, ha="center", va="bottom", fontsize=7, color="white")
    above.set(yticks=[], ylim=(0, 1), ylabel="steps")
    above.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    pinned = {block.owner for block in replay.pinned}
    lasting = {block.owner for block in replay.lasting}
    groups = {"arguments": "#6aa84f", "results and gradients": "#444444", "values": "#9fc5e8"}
    labelled: set[str] = set()
    for block, (first, last) in spans.items():
        at, size = replay.arena.offsets[block] / 1024, max(block.array.nbytes, 1) / 1024
        group = "arguments" if block in pinned else "results and gradients" if block in lasting else "values"
        below.bar(
            (first + last) / 2, size, width=last - first + 0.9, bottom=at, color=groups[group], edgecolor="white",
            linewidth=0.4, label=None if group in labelled else group,
        )  # fmt: skip
        labelled.add(group)
    report = replay.report()
    below.set(
        xlabel="step", ylabel="KiB of the arena", xlim=(-1.6, len(steps) + 0.6), ylim=(0, replay.arena.size / 1024)
    )
    below.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    launched = f"{report['graphs']} graphs" if report["graphs"] else f"{report['launches']} launches"
    figure.suptitle(
        f"{len(steps)} steps, {launched}, {report['arena_bytes']:,} bytes for "
        f"{report['value_bytes']:,} bytes of values",
        fontsize=10,
    )
    if path is not None:
        figure.savefig(path, format="png", metadata={"Software": None})
    return figure

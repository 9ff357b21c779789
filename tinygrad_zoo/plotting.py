"""Figures of runs, by matplotlib, as deterministic PNG files; drawings of autograd graphs, as SVG text.

Importing this loads no matplotlib: the first `figure` does. Nothing here touches pyplot or its global state.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .errors import DTypeError, ShapeError, UsageError, require
from .variable import Node, Variable

Figure: TypeAlias = Any  # matplotlib.figure.Figure
Axes: TypeAlias = Any  # matplotlib.axes.Axes
Extent: TypeAlias = tuple[float, float, float, float]  # left, right, bottom, top
Plane: TypeAlias = Callable[[NDArray[Any]], ArrayLike]  # points (n, 2) -> (n,) or (n, 2)

BLUE, ORANGE, GREY = "#1f4e79", "#d9822b", "#b8c0c8"


# ---- figures
def figure(panels: int | tuple[int, int], *, size: float = 3.2, title: str = "") -> tuple[Figure, list[Axes]]:
    """A figure and its panels, left to right, top to bottom: a row of `panels`, or (rows, columns) of them.

    `size` is the side of a panel in inches. Raises UsageError where that is no panel at all.

    >>> fig, (left, right) = figure(2)
    """
    rows, columns = panels if isinstance(panels, tuple) else (1, panels)
    if rows < 1 or columns < 1:
        raise UsageError(f"figure: expected at least one panel, got {panels}")
    require("matplotlib", "zoo")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    fig = Canvas(figsize=(size * columns, size * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(fig)
    if title:
        fig.suptitle(title)
    return fig, list(fig.subplots(rows, columns, squeeze=False).ravel())


def save(fig: Figure, path: Path | str) -> None:
    """Write a PNG: the same bytes for the same figure and version of matplotlib."""
    fig.savefig(path, format="png", metadata={"Software": None})


def scatter_panel(
    ax: Axes, points: ArrayLike, labels: ArrayLike | None = None, *, title: str = "", extent: Extent | None = None
) -> None:
    """Points (n, 2), coloured by their integer labels (n,) if given."""
    xy = _points("scatter_panel", points)
    colour: dict[str, Any] = {"color": BLUE} if labels is None else {"c": np.asarray(labels), "cmap": "tab10"}
    ax.scatter(xy[:, 0], xy[:, 1], s=max(0.5, min(9.0, 6000 / len(xy))), linewidths=0, **colour)
    _plane(ax, title, extent)


def density_panel(ax: Axes, log_density: Plane, extent: Extent, *, title: str = "", resolution: int = 160) -> None:
    """exp(log_density) as an image; `log_density` takes points (n, 2) in their own units and returns (n,)."""
    left, right, bottom, top = extent
    x, y = np.meshgrid(np.linspace(left, right, resolution), np.linspace(bottom, top, resolution))
    values = np.exp(np.asarray(log_density(np.stack([x.ravel(), y.ravel()], axis=1)), np.float64))
    ax.imshow(values.reshape(x.shape), origin="lower", extent=extent, cmap="magma", interpolation="bilinear")
    _plane(ax, title, extent)


def grid_panel(
    ax: Axes,
    warp: Plane,
    extent: Extent,
    *,
    view: Extent | None = None,
    title: str = "",
    lines: int = 21,
    resolution: int = 200,
) -> None:
    """What the map `warp`, (n, 2) -> (n, 2), makes of a square grid of `lines` by `lines` over `extent`.

    `view` is the part of the plane to show, all of it by default.
    """
    left, right, bottom, top = extent
    for across in (False, True):
        start, stop = (bottom, top) if across else (left, right)
        along = np.linspace(left, right, resolution) if across else np.linspace(bottom, top, resolution)
        for at in np.linspace(start, stop, lines):
            fixed = np.full_like(along, at)
            line = np.stack([along, fixed] if across else [fixed, along], axis=1)
            ax.plot(*_points("grid_panel", warp(line)).T, color=ORANGE if across else BLUE, linewidth=0.6)
    _plane(ax, title, view)


def curve_panel(ax: Axes, history: Sequence[Mapping[str, float]], *metrics: str, title: str = "") -> None:
    """Metrics against the step, from the lines of metrics.jsonl (a run's `state.history`), with a running mean."""
    for metric, colour in zip(metrics, (BLUE, ORANGE, "#3c8d5a", "#8c4fa8", "#7a5c3e"), strict=False):
        lines = [line for line in history if line.get(metric) is not None]
        steps = np.array([line["step"] for line in lines])
        values = np.array([line[metric] for line in lines], np.float64)
        ax.plot(steps, values, color=colour, linewidth=0.5, alpha=0.35)
        width = max(1, len(values) // 40)
        ax.plot(steps[width - 1 :], _running_mean(values, width), color=colour, linewidth=1.4, label=metric)
    ax.set(xlabel="step", title=title)
    ax.grid(color=GREY, linewidth=0.3)
    ax.legend(frameon=False)


def matrix_panel(ax: Axes, matrix: ArrayLike, *, title: str = "", xlabel: str = "", ylabel: str = "") -> None:
    """A matrix of counts or weights (rows, columns) with the numbers written in: a confusion matrix."""
    values = np.asarray(matrix)
    if values.ndim != 2:
        raise ShapeError(f"matrix_panel: expected shape (rows, columns), got {values.shape}")
    ax.imshow(values, cmap="Blues")
    middle = values.max(initial=0) / 2
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if value > middle else "black"
        ax.text(column, row, f"{value:.3g}", ha="center", va="center", fontsize=6, color=colour)
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xticks=range(values.shape[1]), yticks=range(values.shape[0]))


def images_panel(ax: Axes, images: ArrayLike, columns: int, *, title: str = "", captions: Sequence[str] = ()) -> None:
    """Images (n, height, width), or with 3 channels last, as one mosaic of `columns` columns, first row first.

    Each may have a caption, written above it.
    """
    pixels = np.asarray(images)
    if pixels.ndim not in (3, 4) or not len(pixels) or columns < 1:
        raise ShapeError(f"images_panel: expected images (n >= 1, height, width[, 3]), got {pixels.shape}")
    n, height, width = pixels.shape[:3]
    rows = -(-n // columns)
    strip = -(-height // 3) if captions else 0  # above each image, for its caption
    tall, wide = height + strip + 1, width + 1
    mosaic = np.full((rows * columns, tall, wide, *pixels.shape[3:]), pixels.max(), pixels.dtype)
    mosaic[:n, strip : strip + height, :width] = pixels
    mosaic = mosaic.reshape(rows, columns, *mosaic.shape[1:]).swapaxes(1, 2)
    ax.imshow(mosaic.reshape(rows * tall, columns * wide, *pixels.shape[3:]), cmap="gray")
    for i, caption in enumerate(captions):
        x, y = wide * (i % columns) + (width - 1) / 2, tall * (i // columns) + strip / 2 - 0.5
        ax.text(x, y, caption, ha="center", va="center", fontsize=9)
    ax.set(title=title, xticks=[], yticks=[])


def _points(where: str, points: ArrayLike) -> NDArray[Any]:
    xy = np.asarray(points)
    if xy.ndim != 2 or xy.shape[1] != 2 or not len(xy):
        raise ShapeError(f"{where}: expected points (n >= 1, 2), got {xy.shape}")
    return xy


def _plane(ax: Axes, title: str, extent: Extent | None) -> None:
    ax.set(title=title, aspect="equal", xticks=[], yticks=[])
    if extent is not None:
        ax.set(xlim=extent[:2], ylim=extent[2:])


def _running_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    total = np.cumsum(np.concatenate([[0.0], values]))
    return np.asarray((total[width:] - total[:-width]) / width)


# ---- graphs
CHARACTER, PADDING, LINE = 7.3, 10, 16  # of the drawing's monospaced text, in pixels
GAP, RISE = 18, 84  # between boxes of one layer, and between layers


@dataclass(eq=False)
class _Box:
    """A vertex of the drawing: an op, a leaf, or (without lines) a bend of an edge that passes its layer."""

    lines: tuple[str, ...] = ()
    kind: str = "bend"
    above: list[tuple[_Box, str]] = field(default_factory=list)  # the boxes it takes its inputs from, and labels
    layer: int = 0
    x: float = 0.0

    @property
    def width(self) -> float:
        return 2 * PADDING + CHARACTER * max(map(len, self.lines)) if self.lines else 2.0

    @property
    def height(self) -> float:
        return 12 + LINE * len(self.lines) if self.lines else 0.0


def draw_graph(
    tensor: Variable,
    path: Path | str | None = None,
    *,
    names: Mapping[str, Variable] | None = None,
    max_nodes: int = 200,
) -> str:
    """The graph that made `tensor` as SVG: ops with the shapes of what they made, leaves with what they are.

    Data flows downwards; what is used twice is drawn once. `names`, such as `dict(model.named_parameters())`, names
    leaves. The text is written to `path` too, if given. Raises UsageError for a graph of more than `max_nodes` boxes.

    >>> import tinygrad_zoo as tz
    >>> w = tz.tensor([1.0, 2.0], requires_grad=True)
    >>> svg = draw_graph((w * 2.0).sum(), names={"w": w})
    >>> [word in svg for word in (">mul<", ">sum<", ">w<", ">(2,) float32<")]
    [True, True, True, True]
    """
    if not isinstance(tensor, Variable):
        raise DTypeError(f"draw_graph: expected a Tensor, got {type(tensor).__name__}")
    boxes = _boxes(tensor, {id(x): name for name, x in (names or {}).items()})
    if len(boxes) > max_nodes:
        raise UsageError(
            f"draw_graph: this graph has {len(boxes)} boxes, more than max_nodes={max_nodes}: draw a part of it (fewer "
            f"layers, an earlier tensor), or write max_nodes={len(boxes)}"
        )
    layers = _layered(boxes)
    _order(layers)
    _place(layers)
    svg = _svg(layers)
    if path is not None:
        Path(path).write_text(svg, "utf-8")
    return svg


def _boxes(tensor: Variable, names: Mapping[int, str]) -> list[_Box]:
    """A box for each node and each leaf, inputs before what is made of them."""
    nodes: set[Node] = set()
    stack = [tensor]
    while stack:
        node = stack.pop().node
        if node is not None and node not in nodes:
            nodes.add(node)
            stack += [x for x in node.inputs if isinstance(x, Variable)]
    made: dict[int, _Box] = {}  # by the identity of a node or of a leaf
    boxes: list[_Box] = []

    def box_of(x: Any) -> _Box:
        key = id(x) if not isinstance(x, Variable) or x.node is None else id(x.node)
        if key not in made:
            made[key] = _leaf(x, names)
            boxes.append(made[key])
        return made[key]

    for node in sorted(nodes, key=lambda node: node.number):
        shapes = [_described(output) for output in node.outputs if output is not None]
        box = _Box((str(node.op), *shapes), "op")
        for x in node.inputs:
            if x is not None:
                several = isinstance(x, Variable) and x.node is not None and len(x.node.outputs) > 1
                box.above.append((box_of(x), f"[{x.index}]" if several else ""))
        made[id(node)] = box
        boxes.append(box)
    if not nodes:
        box_of(tensor)
    return boxes


def _leaf(x: Any, names: Mapping[int, str]) -> _Box:
    if not isinstance(x, Variable):
        return _Box((_described(x) if getattr(x, "ndim", 0) else f"{x:.6g}",), "constant")
    about = (_described(x.data), "requires_grad") if x.requires_grad else (_described(x.data),)
    return _Box((names.get(id(x), type(x).__name__.lower()), *about), "leaf" if x.requires_grad else "input")


def _described(array: Any) -> str:
    return f"{tuple(array.shape)} {array.dtype}"


def _layered(boxes: Sequence[_Box]) -> list[list[_Box]]:
    """The boxes by layer: ops as high as they can be, leaves just above their first use; bends in between."""
    for box in boxes:
        box.layer = 1 + max((above.layer for above, _ in box.above), default=0)
    lowest = max(box.layer for box in boxes)
    leaves = {id(box): lowest for box in boxes if not box.above}
    for box in boxes:
        for above, _ in box.above:
            if id(above) in leaves:
                leaves[id(above)] = min(leaves[id(above)], box.layer - 1)
    for box in boxes:
        box.layer = leaves.get(id(box), box.layer)
    layers: list[list[_Box]] = [[] for _ in range(lowest + 1)]
    for box in boxes:
        layers[box.layer].append(box)
        for k, (above, label) in enumerate(box.above):
            for layer in range(above.layer + 1, box.layer):
                above = _Box(above=[(above, label)], layer=layer)
                layers[layer].append(above)
                label = ""
            box.above[k] = (above, label)
    return [layer for layer in layers if layer]


def _order(layers: list[list[_Box]]) -> None:
    """Few crossings: each layer by the mean place of its neighbours, downwards and upwards in turn."""
    below = _below(layers)
    for sweep in range(8):
        for before, layer in pairwise(layers if sweep % 2 == 0 else layers[::-1]):
            place = {id(box): k for k, box in enumerate(before)}
            centre = {}
            for k, box in enumerate(layer):
                near = [a for a, _ in box.above] if sweep % 2 == 0 else below.get(id(box), [])
                centre[id(box)] = sum(place[id(a)] for a in near) / len(near) if near else k
            layer.sort(key=lambda box: centre[id(box)])


def _below(layers: Iterable[Iterable[_Box]]) -> dict[int, list[_Box]]:
    found: dict[int, list[_Box]] = {}
    for layer in layers:
        for box in layer:
            for above, _ in box.above:
                found.setdefault(id(above), []).append(box)
    return found


def _place(layers: list[list[_Box]]) -> None:
    """x of every box: near the mean of its neighbours, none overlapping, order kept."""
    below = _below(layers)
    for layer in layers:
        _pack(layer, [0.0] * len(layer))
    for _ in range(12):
        for layer in [*layers, *layers[::-1]]:
            wanted = []
            for box in layer:
                near = [a.x for a, _ in box.above] + [b.x for b in below.get(id(box), [])]
                wanted.append(sum(near) / len(near) if near else box.x)
            _pack(layer, wanted)
    left = min(box.x - box.width / 2 for layer in layers for box in layer) - GAP
    for layer in layers:
        for box in layer:
            box.x -= left


def _pack(layer: list[_Box], wanted: list[float]) -> None:
    """Put boxes where they are wanted, as near as their order and widths allow: the least squares (pool neighbours)."""
    offset, offsets = 0.0, []
    for k, box in enumerate(layer):
        offset += (layer[k - 1].width + box.width) / 2 + GAP if k else 0.0
        offsets.append(offset)
    groups: list[tuple[float, int]] = []  # (sum of x - offset, count): boxes that touch share one x - offset
    for x, offset in zip(wanted, offsets, strict=True):
        total, size = x - offset, 1
        while groups and groups[-1][0] / groups[-1][1] >= total / size:
            before, number = groups.pop()
            total, size = total + before, size + number
        groups.append((total, size))
    starts = [total / size for total, size in groups for _ in range(size)]
    for box, start, offset in zip(layer, starts, offsets, strict=True):
        box.x = start + offset


COLOURS = {"op": "#dbe9f6", "leaf": "#fde6c8", "input": "#eeeeee", "constant": "#ffffff"}


def _svg(layers: list[list[_Box]]) -> str:
    rise = max(RISE, 40 + max(box.height for layer in layers for box in layer))
    heights = {id(box): 60 + k * rise for k, layer in enumerate(layers) for box in layer}
    width = max(box.x + box.width / 2 for layer in layers for box in layer) + GAP
    height = 120 + rise * (len(layers) - 1)
    edges, shapes = [], []
    for layer in layers:
        for box in layer:
            y = heights[id(box)]
            for above, label in box.above:
                arrow = ' marker-end="url(#arrow)"' if box.lines else ""
                top, bottom = heights[id(above)] + above.height / 2, y - box.height / 2
                middle = (top + bottom) / 2
                edges.append(
                    f'<path d="M{above.x:.1f},{top:.1f} C{above.x:.1f},{middle:.1f} {box.x:.1f},{middle:.1f} '
                    f'{box.x:.1f},{bottom:.1f}"{arrow}/>'
                )
                if label:
                    edges.append(f'<text x="{above.x + 6:.1f}" y="{top + 12:.1f}">{escape(label)}</text>')
            if not box.lines:
                continue
            lines = "".join(
                f'<tspan x="{box.x:.1f}" y="{y - box.height / 2 + 18 + LINE * k:.1f}">{escape(line)}</tspan>'
                for k, line in enumerate(box.lines)
            )
            shapes.append(
                f'<g class="{box.kind}"><rect x="{box.x - box.width / 2:.1f}" y="{y - box.height / 2:.1f}" '
                f'width="{box.width:.1f}" height="{box.height:.1f}" rx="{9 if box.kind == "op" else 0}" '
                f'fill="{COLOURS[box.kind]}" stroke="{BLUE}"/><text text-anchor="middle">{lines}</text></g>'
            )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
            f'viewBox="0 0 {width:.0f} {height:.0f}" font-family="monospace" font-size="12">',
            f'<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" '
            f'orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{BLUE}"/></marker></defs>',
            '<rect width="100%" height="100%" fill="white"/>',
            f'<g fill="none" stroke="{BLUE}">',
            *(edge for edge in edges if edge.startswith("<path")),
            "</g>",
            *(edge for edge in edges if edge.startswith("<text")),
            *shapes,
            "</svg>",
            "",
        ]
    )

"""The algorithms on small examples, drawn: what `tinygrad-zoo algorithms NAME` shows.

A demo is a function that draws one figure and returns it, with a line that says what is to be seen. `DEMOS` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .algorithms.heaps import MinHeap
from .algorithms.prim import euclidean_spanning_tree
from .algorithms.running_median import running_median, sliding_median
from .algorithms.tree_traversal import nodes
from .algorithms.trees import TreeNode
from .errors import UsageError
from .plotting import BLUE, GREY, ORANGE, Axes, Figure, figure, save

Demo = Callable[[], tuple[Figure, str]]


def run(name: str, path: Path | None = None) -> tuple[Path, str]:
    """Draw the demo called `name` into a PNG, `name`.png by default; returns its path and what is to be seen.

    >>> run("sorting")
    Traceback (most recent call last):
    ...
    tinygrad_zoo.errors.UsageError: 'sorting' is no demo; demos: heap, median, spanning-tree, traversal
    """
    if name not in DEMOS:
        raise UsageError(f"{name!r} is no demo; demos: {', '.join(sorted(DEMOS))}")
    target = path or Path(f"{name}.png")
    fig, caption = DEMOS[name]()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        save(fig, target)
    except OSError as error:
        raise UsageError(f"cannot write {target}: {error.strerror or error}") from error
    return target, caption


def heap() -> tuple[Figure, str]:
    """A heap as the tree that its list stands for."""
    pushed = [7, 2, 9, 4, 1, 8, 3, 6, 5, 0, 12, 11]
    filled: MinHeap[int] = MinHeap(pushed)
    items = list(filled)
    made = [TreeNode(item) for item in items]
    for place, node in enumerate(made):
        node.left, node.right = (made[child] if child < len(made) else None for child in (2 * place + 1, 2 * place + 2))
    fig, (ax,) = figure(1, size=4.8, title="A heap: no item is smaller than the one above it")
    _tree_panel(ax, made[0], {id(node): place for place, node in enumerate(made)})
    return fig, f"{pushed} pushed into a MinHeap: its list is {items}, whose places are written beside the nodes"


def traversal() -> tuple[Figure, str]:
    """One tree four times, its nodes numbered in each order."""
    root = TreeNode("a", TreeNode("b", TreeNode("d"), TreeNode("e", TreeNode("g"))), TreeNode("c", None, TreeNode("f")))
    fig, axes = figure((2, 2), title="Four orders of one tree")
    orders: dict[Any, str] = {"pre": "pre-order", "in": "in-order", "post": "post-order", "level": "level order"}
    for ax, (order, title) in zip(axes, orders.items(), strict=True):
        _tree_panel(ax, root, {id(node): i for i, node in enumerate(nodes(root, order), 1)})
        ax.set_title(title)
    return fig, "each node's place in pre-, in-, post- and level order is written beside it"


def spanning_tree() -> tuple[Figure, str]:
    """The minimum spanning tree of points, its longest edges dashed: cut there, it leaves clusters."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [4.0, 1.0], [1.5, 4.0]])
    points = np.concatenate([rng.normal(centre, 0.7, (25, 2)) for centre in centres])
    tree = euclidean_spanning_tree(points)
    fig, (ax,) = figure(1, size=4.8, title="A minimum spanning tree")
    longest = set(np.argsort(tree.weights)[-2:].tolist())
    for i, (u, v) in enumerate(tree.edges.tolist()):
        style = {"color": ORANGE, "linestyle": "--"} if i in longest else {"color": BLUE}
        ax.plot(*points[[u, v]].T, linewidth=1.4, zorder=1, **style)
    ax.scatter(*points.T, s=18, color="black", zorder=2)
    ax.set(aspect="equal", xticks=[], yticks=[])
    return fig, (
        f"{len(points)} points, {len(tree.edges)} edges of length {tree.weight:.2f} in all; without the two dashed "
        "ones three clusters are left"
    )


def median() -> tuple[Figure, str]:
    """Two medians of a stream that jumps and has outliers."""
    rng = np.random.default_rng(0)
    n, window = 400, 41
    stream = np.where(np.arange(n) < n // 2, 0.0, 3.0) + rng.standard_normal(n)
    stream[rng.random(n) < 0.05] += 8
    fig, (ax,) = figure(1, size=4.8, title="The median of a stream")
    ax.plot(stream, ".", color=GREY, markersize=3, label="the stream")
    ax.plot(running_median(stream), color=BLUE, label="median of all so far")
    ax.plot(
        np.arange(window - 1, n), sliding_median(stream, window), color=ORANGE, label=f"median of the last {window}"
    )
    ax.set(xlabel="number")
    ax.legend(frameon=False)
    return fig, f"{n} numbers that jump by 3 in the middle, a twentieth of them outliers: neither median follows those"


def _tree_panel(ax: Axes, root: TreeNode[Any], number: Mapping[int, int]) -> None:
    """A tree, and beside each node the number of its identity. Its x is its place in order, so that none overlap."""
    blank = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
    deep = {id(root): 0}
    for node in nodes(root, "pre"):
        for child in _children(node):
            deep[id(child)] = deep[id(node)] + 1
    at = {id(node): (x, -deep[id(node)]) for x, node in enumerate(nodes(root, "in"))}
    for node in nodes(root, "pre"):
        x, y = at[id(node)]
        for child in _children(node):
            ax.plot(*zip((x, y), at[id(child)], strict=True), color=GREY, linewidth=1.2, zorder=1)
        ax.text(x, y, str(node.val), ha="center", va="center", zorder=3, fontsize=9, color="white")
        ax.text(x + 0.35, y + 0.2, str(number[id(node)]), va="bottom", fontsize=8, color=ORANGE, bbox=blank)
    ax.scatter(*zip(*at.values(), strict=True), s=190, color=BLUE, zorder=2)
    ax.set(xlim=(-0.8, len(at) - 0.1), ylim=(-max(deep.values()) - 0.6, 0.7))
    ax.axis("off")


def _children(node: TreeNode[Any]) -> Iterable[TreeNode[Any]]:
    return [child for child in (node.left, node.right) if child is not None]


DEMOS: dict[str, Demo] = {"heap": heap, "median": median, "spanning-tree": spanning_tree, "traversal": traversal}


def described() -> Sequence[tuple[str, str]]:
    """Each demo's name and the first line of its docstring."""
    return [(name, (demo.__doc__ or "").splitlines()[0]) for name, demo in sorted(DEMOS.items())]

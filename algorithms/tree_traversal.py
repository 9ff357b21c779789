"""The nodes of a binary tree in pre-, in-, post- and level order, each by the methods that have it:

| method | pre | in | post | level | time | memory beside the answer |
|---|---|---|---|---|---|---|
| `recursive` | yes | yes | yes | | O(n) | O(h), on the interpreter's stack: a RecursionError at a depth of about 1000 |
| `template` | yes | yes | yes | yes | O(n) | O(h); O(n) for level order |
| `stack` | yes | | yes | | O(n) | O(h); O(n) for post-order |
| `unified` | yes | yes | yes | | O(n) | O(h) |
| `color` | yes | yes | yes | yes | O(n) | O(h), twice that of `unified`; O(width) for level order |
| `morris` | yes | yes | yes | | O(n) | O(1); the tree is changed on the way, and as it was at the end |

h is the height. `ArrayTree`s are traversed by compiled loops, and by a method that is named as the nodes they stand
for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import numpy as np

from . import compiled
from .tree_recursion import Visit, walk
from .trees import ArrayTree, TreeNode, by_level

Node: TypeAlias = "TreeNode[Any] | None"
Nodes: TypeAlias = Iterator[TreeNode[Any]]
Order = Literal["pre", "in", "post", "level"]
Method = Literal["recursive", "template", "stack", "unified", "color", "morris"]


def preorder(tree: Node | ArrayTree, method: Method | None = None) -> Any:
    """The values, each node before what is below it, left before right: O(n). A list, or an array of an ArrayTree.

    >>> root = TreeNode(2, TreeNode(1), TreeNode(3))
    >>> preorder(root), preorder(root, "morris")
    ([2, 1, 3], [2, 1, 3])
    """
    return _values(tree, "pre", method)


def inorder(tree: Node | ArrayTree, method: Method | None = None) -> Any:
    """The values, each node between what is left and what is right below it: O(n). A list, or an array of an ArrayTree.

    >>> inorder(TreeNode(2, TreeNode(1), TreeNode(3)))
    [1, 2, 3]
    >>> inorder(ArrayTree([1, -1, -1], [2, -1, -1], values=[2.0, 1.0, 3.0]))
    array([1., 2., 3.])
    """
    return _values(tree, "in", method)


def postorder(tree: Node | ArrayTree, method: Method | None = None) -> Any:
    """The values, each node after what is below it, left before right: O(n). A list, or an array of an ArrayTree.

    >>> postorder(TreeNode(2, TreeNode(1), TreeNode(3)), "color")
    [1, 3, 2]
    """
    return _values(tree, "post", method)


def levelorder(tree: Node | ArrayTree, method: Method | None = None) -> Any:
    """The values, from the root down, each level from left to right: O(n). A list, or an array of an ArrayTree.

    >>> levelorder(TreeNode(2, TreeNode(1), TreeNode(3)))
    [2, 1, 3]
    """
    return _values(tree, "level", method)


def nodes(root: Node, order: Order, method: Method | None = None) -> Nodes:
    """The nodes of a tree in an order, one by one. ValueError where the method does not have the order.

    The tree must not be changed meanwhile. Morris's method changes it itself: it is as before when the iterator has
    ended or was closed.

    >>> next(nodes(TreeNode(2, TreeNode(1), TreeNode(3)), "post")).val
    1
    >>> nodes(None, "level", "morris")
    Traceback (most recent call last):
    ...
    ValueError: method 'morris' has no level order; methods that have it: template, color
    """
    if order not in ("pre", "in", "post", "level"):
        raise ValueError(f"expected an order 'pre', 'in', 'post' or 'level', got {order!r}")
    method = method or ("color" if order == "level" else "unified")
    if method not in METHODS:
        raise ValueError(f"expected a method of {', '.join(METHODS)}, got {method!r}")
    if order not in METHODS[method]:
        able = ", ".join(name for name, orders in METHODS.items() if order in orders)
        raise ValueError(f"method {method!r} has no {order} order; methods that have it: {able}")
    return METHODS[method][order](root)


def _values(tree: Node | ArrayTree, order: Order, method: Method | None) -> Any:
    if not isinstance(tree, ArrayTree):
        if tree is not None and not isinstance(tree, TreeNode):
            raise TypeError(f"{order}order: expected a TreeNode, None or an ArrayTree, got {type(tree).__name__}")
        return [node.val for node in nodes(tree, order, method)]
    if method is None and compiled.enabled():
        from .compiled import trees

        loop = {"pre": trees.preorder, "in": trees.inorder, "post": trees.postorder, "level": trees.levelorder}[order]
        index = loop(tree.children, tree.root)
    else:
        numbered = ArrayTree(tree.left, tree.right, tree.root if len(tree) else None)
        index = np.array([node.val for node in nodes(numbered.nodes(), order, method)], np.int32)
    return index if tree.values is None else tree.values[index]


# ---- by recursion
def _recursive(order: Order) -> Callable[[Node], Nodes]:
    """The textbook's: three lines whose order is the order."""

    def visit(node: Node, out: list[TreeNode[Any]]) -> None:
        if node is None:
            return
        if order == "pre":
            out.append(node)
        visit(node.left, out)
        if order == "in":
            out.append(node)
        visit(node.right, out)
        if order == "post":
            out.append(node)

    def traverse(root: Node) -> Nodes:
        out: list[TreeNode[Any]] = []
        visit(root, out)
        return iter(out)

    return traverse


def _template(order: Order) -> Callable[[Node], Nodes]:
    """The same by the general template, whose stack has no limit; with the depth as a parameter, it has levels too."""

    def visit(node: Node, deep: int, levels: list[list[TreeNode[Any]]]) -> Visit[None]:
        if node is None:
            return
        if order == "level" and deep == len(levels):
            levels.append([])
        out = levels[deep if order == "level" else 0]
        if order in ("pre", "level"):
            out.append(node)
        yield node.left, deep + 1, levels
        if order == "in":
            out.append(node)
        yield node.right, deep + 1, levels
        if order == "post":
            out.append(node)

    def traverse(root: Node) -> Nodes:
        levels: list[list[TreeNode[Any]]] = [[]]
        walk(root, visit, 0, levels)
        return (node for level in levels for node in level)

    return traverse


# ---- by iteration: a stack of what is to be done
def _stack_pre(root: Node) -> Nodes:
    """Push right, then left, so that left comes off first."""
    stack = [root]
    while stack:
        node = stack.pop()
        if node is not None:
            yield node
            stack += (node.right, node.left)


def _stack_post(root: Node) -> Nodes:
    """Left and right the other way round give root, right, left: post-order from behind."""
    stack, out = [root], []
    while stack:
        node = stack.pop()
        if node is not None:
            out.append(node)
            stack += (node.left, node.right)
    return reversed(out)


# ---- by iteration: one stack and a pointer, the same for three orders
def _unified(order: Order) -> Callable[[Node], Nodes]:
    """Down to the left as far as it goes, then up one and to the right. The stack holds the path to the pointer."""

    def traverse(root: Node) -> Nodes:
        stack: list[TreeNode[Any]] = []
        node, last = root, None
        while stack or node is not None:
            while node is not None:
                if order == "pre":
                    yield node
                stack.append(node)
                node = node.left
            top = stack[-1]
            if order == "post":
                if top.right is not None and top.right is not last:  # what is right comes first
                    node = top.right
                else:
                    yield top
                    last = stack.pop()
            else:
                stack.pop()
                if order == "in":
                    yield top
                node = top.right

    return traverse


# ---- by iteration: marks
def _color(order: Order) -> Callable[[Node], Nodes]:
    """A node is met twice: marked, and put back among its children where the order wants it; then given out.

    Marks are of identities: two nodes of one value are two.
    """

    def traverse(root: Node) -> Nodes:
        stack, marked = [root], set[int]()
        while stack:
            node = stack.pop()
            if node is None:
                continue
            if id(node) in marked:
                marked.remove(id(node))
                yield node
                continue
            marked.add(id(node))
            if order == "pre":
                stack += (node.right, node.left, node)
            elif order == "in":
                stack += (node.right, node, node.left)
            else:
                stack += (node, node.right, node.left)

    return traverse


# ---- Morris
def _morris(order: Literal["pre", "in"]) -> Callable[[Node], Nodes]:
    """No stack: the last node of the left subtree is threaded to the node, to lead back to it (Morris 1979).

    Every edge is passed at most three times. A thread is met again when the left subtree is done, and cut.
    """

    def threaded(root: Node) -> Nodes:
        node = root
        while node is not None:
            if node.left is None:
                yield node
                node = node.right
                continue
            last = node.left
            while last.right is not None and last.right is not node:
                last = last.right
            if last.right is None:
                last.right = node
                if order == "pre":
                    yield node
                node = node.left
            else:
                last.right = None
                if order == "in":
                    yield node
                node = node.right

    return lambda root: _to_the_end(threaded(root))


def _morris_post(root: Node) -> Nodes:
    """When a thread is cut, the right edge of the left subtree is given out from below, turned round for that time."""

    def threaded() -> Nodes:
        top: TreeNode[Any] = TreeNode(None, root)  # so that the root's own right edge is one of these
        node: Node = top
        while node is not None:
            if node.left is None:
                node = node.right
                continue
            last = node.left
            while last.right is not None and last.right is not node:
                last = last.right
            if last.right is None:
                last.right = node
                node = node.left
            else:
                last.right = None
                end = _turned(node.left)
                below: Node = end
                while below is not None:
                    yield below
                    below = below.right
                _turned(end)
                node = node.right

    return _to_the_end(threaded())


def _turned(here: Node) -> Node:
    """Turn a right edge round, as a linked list: O(its length) time, O(1) memory. Returns its other end."""
    before: Node = None
    while here is not None:
        here.right, before, here = before, here, here.right
    return before


def _to_the_end(walking: Nodes) -> Nodes:
    """The same nodes; who stops before the last leaves a tree that is as it was, for the walk goes on without him."""
    try:
        for node in walking:  # noqa: UP028 (`yield from` would close the walk where it stands)
            yield node
    finally:
        for _ in walking:
            pass


METHODS: dict[str, dict[str, Callable[[Node], Nodes]]] = {
    "recursive": {order: _recursive(order) for order in ("pre", "in", "post")},
    "template": {order: _template(order) for order in ("pre", "in", "post", "level")},
    "stack": {"pre": _stack_pre, "post": _stack_post},
    "unified": {order: _unified(order) for order in ("pre", "in", "post")},
    "color": {**{order: _color(order) for order in ("pre", "in", "post")}, "level": by_level},
    "morris": {"pre": _morris("pre"), "in": _morris("in"), "post": _morris_post},
}

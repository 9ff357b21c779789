"""What is found on a tree by recursion, written by one template: `walk`, and eight small questions that it answers.

A visit is a generator function. What it is given besides the node are its **parameters**; it asks for what lies below
by `yield child, *parameters` and is sent the answer; it **returns early** by not asking any further; and what it
returns is its **customised value**. It reads as a recursive function does, and `walk` runs it on a stack of its own, so
that depth is bounded by memory and not by the interpreter's limit.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, TypeAlias, TypeVar

from .trees import TreeNode

Node: TypeAlias = "TreeNode[Any] | None"
Answer = TypeVar("Answer")
Visit: TypeAlias = Generator[tuple[Any, ...], Any, Answer]


def walk(node: Any, visit: Callable[..., Visit[Answer]], *parameters: Any) -> Answer:
    """What `visit(node, *parameters)` returns: O(1) for each call, and memory for those that are under way.

    >>> def total(node):
    ...     if node is None:
    ...         return 0
    ...     return node.val + (yield (node.left,)) + (yield (node.right,))
    >>> walk(TreeNode(1, TreeNode(2), TreeNode(3)), total)
    6
    """
    calls = [visit(node, *parameters)]
    answer: Any = None
    while calls:
        try:
            below = calls[-1].send(answer)
        except StopIteration as returned:
            calls.pop()
            answer = returned.value
        else:
            calls.append(visit(*below))
            answer = None
    result: Answer = answer
    return result


def depth(root: Node) -> int:
    """How many nodes the longest path down has: O(n).

    >>> depth(TreeNode(1, TreeNode(2, TreeNode(3)))), depth(None)
    (3, 0)
    """

    def visit(node: Node) -> Visit[int]:
        if node is None:
            return 0
        left: int = yield (node.left,)
        right: int = yield (node.right,)
        return 1 + max(left, right)

    return walk(root, visit)


def diameter(root: Node) -> int:
    """How many edges the longest path between any two nodes has: O(n). Each call returns its depth and its diameter.

    >>> diameter(TreeNode(1, TreeNode(2, TreeNode(3)), TreeNode(4)))
    3
    """

    def visit(node: Node) -> Visit[tuple[int, int]]:
        if node is None:
            return 0, 0
        left_depth, left = yield (node.left,)
        right_depth, right = yield (node.right,)
        return 1 + max(left_depth, right_depth), max(left, right, left_depth + right_depth)

    return walk(root, visit)[1]


def is_search_tree(root: Node) -> bool:
    """Whether all values left of a node are smaller, and all right of it larger: O(n), less where they are not.

    The bounds are parameters; the first node outside its own ends the walk.

    >>> is_search_tree(TreeNode(2, TreeNode(1), TreeNode(3)))
    True
    >>> is_search_tree(TreeNode(2, TreeNode(1, None, TreeNode(5))))
    False
    """

    def visit(node: Node, above: Node, below: Node) -> Visit[bool]:
        if node is None:
            return True
        if (above is not None and not above.val < node.val) or (below is not None and not node.val < below.val):
            return False
        return bool((yield node.left, above, node) and (yield node.right, node, below))

    return walk(root, visit, None, None)


def path_to(root: Node, target: TreeNode[Any]) -> list[TreeNode[Any]]:
    """The nodes from `root` down to the node `target` itself, none where it is not there: O(n).

    >>> leaf = TreeNode(3)
    >>> [node.val for node in path_to(TreeNode(1, TreeNode(3), TreeNode(2, leaf)), leaf)]
    [1, 2, 3]
    """

    def visit(node: Node, path: list[TreeNode[Any]]) -> Visit[bool]:
        if node is None:
            return False
        path.append(node)
        if node is target or (yield node.left, path) or (yield node.right, path):
            return True
        path.pop()
        return False

    path: list[TreeNode[Any]] = []
    walk(root, visit, path)
    return path


def leaf_paths(root: Node) -> list[list[Any]]:
    """The values from the root to each leaf, from left to right: O(n) and the length of what is returned.

    >>> leaf_paths(TreeNode(1, TreeNode(2), TreeNode(3, TreeNode(4))))
    [[1, 2], [1, 3, 4]]
    """

    def visit(node: Node, path: list[Any], found: list[list[Any]]) -> Visit[None]:
        if node is None:
            return
        path.append(node.val)
        if node.left is None and node.right is None:
            found.append(path.copy())
        yield node.left, path, found
        yield node.right, path, found
        path.pop()

    found: list[list[Any]] = []
    walk(root, visit, [], found)
    return found


def lowest_common_ancestor(root: Node, a: TreeNode[Any], b: TreeNode[Any]) -> Node:
    """The deepest node below which, or at which, both nodes stand; None unless both are there. O(n).

    Each call returns how many of the two it has found, and the answer once it has found both, which ends the walk.

    >>> a, b = TreeNode(1), TreeNode(3)
    >>> lowest_common_ancestor(TreeNode(4, TreeNode(2, a, b)), a, b)
    TreeNode(2, …)
    """
    wanted = len({id(a), id(b)})

    def visit(node: Node) -> Visit[tuple[int, Node]]:
        if node is None:
            return 0, None
        count = int(node is a or node is b)
        for child in (node.left, node.right):
            found, answer = yield (child,)
            if answer is not None:
                return found, answer
            count += found
        return count, node if count == wanted else None

    return walk(root, visit)[1]

"""Binary trees, as nodes and as arrays; writing them as text, and telling a tree from two of its orders.

Nothing here recurses: a chain of 10⁵ nodes is a tree like others.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Value = TypeVar("Value")
NONE = -1  # no child, in arrays


class TreeNode(Generic[Value]):
    """A value and two children, each a node or None. Two nodes are equal where they are one.

    >>> root = TreeNode(1, TreeNode(2), TreeNode(3))
    >>> root.left.val, root.right.left
    (2, None)
    """

    __slots__ = ("left", "right", "val")

    def __init__(self, val: Value, left: TreeNode[Value] | None = None, right: TreeNode[Value] | None = None) -> None:
        self.val, self.left, self.right = val, left, right

    def __repr__(self) -> str:
        return f"TreeNode({self.val!r}{', …' if self.left or self.right else ''})"

    def _check(self) -> None:
        """Assert that every node below is reached on one path: no cycle, and nothing shared. O(n)."""
        seen = {id(self)}
        waiting: list[TreeNode[Value]] = [self]
        while waiting:
            node = waiting.pop()
            for child in (node.left, node.right):
                if child is not None:
                    assert id(child) not in seen, f"{child!r} is reached twice"
                    seen.add(id(child))
                    waiting.append(child)


@dataclass(frozen=True, init=False, eq=False)
class ArrayTree:
    """A tree of nodes 0 … n − 1: `left[i]` and `right[i]` are the children of node i, −1 where there is none.

    Both are columns of `children` (n, 2), where what is looked at together stands together.

    `root` is the node without a parent, −1 of a tree without nodes; it is found where it is not given. `values` (n,),
    if given, are what the nodes hold, which is otherwise their numbers. Nodes that the root does not reach are allowed.
    Raises ValueError where a child is no node, or has two parents, or the root has one. `sklearn`'s
    `tree_.children_left` and `tree_.children_right` are such arrays.

    >>> ArrayTree([1, -1, -1], [2, -1, -1]).root
    0
    """

    children: NDArray[np.int32]
    root: int
    values: NDArray[Any] | None

    def __init__(
        self, left: ArrayLike, right: ArrayLike, root: int | None = None, values: ArrayLike | None = None
    ) -> None:
        sides = [_side("left", left), _side("right", right)]
        n = len(sides[0])
        if len(sides[1]) != n:
            raise ValueError(f"ArrayTree: left has {n} nodes and right {len(sides[1])}: each node needs both")
        children = np.stack(sides, 1)
        below = children[children != NONE]
        if below.size and not (below.min() >= 0 and below.max() < n):
            raise ValueError(f"ArrayTree: expected children among 0 to {n - 1}, or −1 for none")
        parents = np.bincount(below, minlength=n)
        if (parents > 1).any():
            raise ValueError(f"ArrayTree: node {parents.argmax()} has {parents.max()} parents: a tree gives it one")
        if root is None:
            tops = np.flatnonzero(parents == 0)
            if len(tops) > 1 or (n and not len(tops)):
                raise ValueError(f"ArrayTree: {len(tops)} nodes have no parent: say which is the root, root=…")
            root = int(tops[0]) if n else NONE
        elif not (0 <= root < n and parents[root] == 0):
            raise ValueError(f"ArrayTree: the root {root} is no node without a parent")
        held = None if values is None else np.asarray(values)
        if held is not None and held.shape != (n,):
            raise ValueError(f"ArrayTree: expected {n} values, one a node, got shape {held.shape}")
        for name, value in (("children", children), ("root", root), ("values", held)):
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        """How many nodes the arrays have."""
        return len(self.children)

    @property
    def left(self) -> NDArray[np.int32]:
        """The left children (n,)."""
        return self.children[:, 0]

    @property
    def right(self) -> NDArray[np.int32]:
        """The right children (n,)."""
        return self.children[:, 1]

    def nodes(self) -> TreeNode[Any] | None:
        """The same tree as nodes, its root returned: O(n)."""
        values: Sequence[Any] = range(len(self)) if self.values is None else self.values.tolist()
        made: list[TreeNode[Any]] = [TreeNode(value) for value in values]
        for node, left, right in zip(made, self.left.tolist(), self.right.tolist(), strict=True):
            node.left = None if left == NONE else made[left]
            node.right = None if right == NONE else made[right]
        return made[self.root] if made else None

    @classmethod
    def of(cls, root: TreeNode[Any] | None) -> ArrayTree:
        """The tree below `root` as arrays, numbered level by level: O(n).

        >>> ArrayTree.of(TreeNode("a", None, TreeNode("b"))).right.tolist()
        [1, -1]
        """
        levels = list(by_level(root))
        number = {id(node): i for i, node in enumerate(levels)}
        number[id(None)] = NONE
        left, right = [number[id(node.left)] for node in levels], [number[id(node.right)] for node in levels]
        return cls(left, right, values=np.array([node.val for node in levels]))


def _side(name: str, side: ArrayLike) -> NDArray[np.int32]:
    given = np.asarray(side)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu") or given.size > np.iinfo(np.int32).max:
        raise ValueError(f"ArrayTree: expected {name} as integers (n,), got {given.dtype} {given.shape}")
    if given.size and (given.max() > np.iinfo(np.int32).max or given.min() < NONE):
        raise ValueError(
            f"ArrayTree: expected {name} to hold nodes, or −1 for none, got {given.min()} to {given.max()}"
        )
    return np.ascontiguousarray(given, np.int32)


def by_level(root: TreeNode[Value] | None) -> Iterator[TreeNode[Value]]:
    """The nodes from the root down, each level from left to right, by a queue: O(n) time, O(width) memory."""
    waiting = deque([root] if root is not None else [])
    while waiting:
        node = waiting.popleft()
        yield node
        waiting += [child for child in (node.left, node.right) if child is not None]


class Codec:
    """A tree as text and back: the values level by level as a JSON list, null for each child that is missing.

    Nulls at the end are left out. Values are what JSON has (numbers, strings, truth values; not null).

    >>> text = Codec.serialize(TreeNode(1, TreeNode(2), TreeNode(3, None, TreeNode(4))))
    >>> text
    '[1, 2, 3, null, null, null, 4]'
    >>> Codec.deserialize(text).right.right.val
    4
    """

    @staticmethod
    def serialize(root: TreeNode[Any] | None) -> str:
        """The text of a tree: O(n). ValueError for a value that would not come back."""
        values: list[Any] = []
        waiting = deque([root])
        while waiting:
            node = waiting.popleft()
            if node is None:
                values.append(None)
                continue
            if not isinstance(node.val, str | int | float) or node.val != node.val:
                raise ValueError(f"Codec.serialize: {node.val!r} is no number, string or truth value: map it to one")
            values.append(node.val)
            waiting += (node.left, node.right)
        while values and values[-1] is None:
            values.pop()
        return json.dumps(values)

    @staticmethod
    def deserialize(text: str) -> TreeNode[Any] | None:
        """The tree of a text: O(n). ValueError where it is none."""
        values = json.loads(text)
        if not isinstance(values, list) or any(isinstance(value, list | dict) for value in values):
            raise ValueError(
                f"Codec.deserialize: expected a list of values, as in '[1, 2, null, 3]', got {text[:40]!r}"
            )
        if not values:
            return None
        nodes = [None if value is None else TreeNode(value) for value in values]
        root = nodes[0]
        parents = deque([] if root is None else [root])
        for i in range(1, len(nodes), 2):
            if not parents:
                raise ValueError(
                    f"Codec.deserialize: value {i} of {text[:40]!r} has no parent: too many null before it"
                )
            parent = parents.popleft()
            parent.left = nodes[i]
            parent.right = nodes[i + 1] if i + 1 < len(nodes) else None
            parents += [child for child in (parent.left, parent.right) if child is not None]
        return root


def from_preorder_inorder(preorder: Iterable[Value], inorder: Iterable[Value]) -> TreeNode[Value] | None:
    """The tree that has these two orders: O(n). Values are hashable and differ; ValueError where there is no such tree.

    >>> from_preorder_inorder([1, 2, 3], [2, 1, 3]).left.val
    2
    """
    return _rebuilt("from_preorder_inorder", list(preorder), list(inorder), _put_left, _put_right)


def from_postorder_inorder(postorder: Iterable[Value], inorder: Iterable[Value]) -> TreeNode[Value] | None:
    """The tree that has these two orders: O(n). Values are hashable and differ; ValueError where there is no such tree.

    It is the other function seen in a mirror: read from behind, the post-order is the pre-order of the mirrored tree.

    >>> from_postorder_inorder([2, 3, 1], [2, 1, 3]).right.val
    3
    """
    return _rebuilt("from_postorder_inorder", list(postorder)[::-1], list(inorder)[::-1], _put_right, _put_left)


def _put_left(node: TreeNode[Value], child: TreeNode[Value]) -> None:
    node.left = child


def _put_right(node: TreeNode[Value], child: TreeNode[Value]) -> None:
    node.right = child


def _rebuilt(
    caller: str,
    preorder: list[Value],
    inorder: list[Value],
    put_near: Callable[[TreeNode[Value], TreeNode[Value]], None],
    put_far: Callable[[TreeNode[Value], TreeNode[Value]], None],
) -> TreeNode[Value] | None:
    """Each value of the pre-order is the near child of the one before, until the in-order says that nothing is nearer.

    `open_` holds the nodes whose far side is still to come: those that the in-order has reached are closed first, and
    the last of them is the parent.
    """
    if len(set(preorder)) != len(preorder):
        raise ValueError(f"{caller}: expected values that all differ: with equal ones, two orders fit several trees")
    if not preorder and not inorder:
        return None
    if len(preorder) != len(inorder) or set(preorder) != set(inorder):
        raise ValueError(f"{caller}: expected two orders of the same values, got {len(preorder)} and {len(inorder)}")
    root = TreeNode(preorder[0])
    open_, reached = [root], 0
    for value in preorder[1:]:
        node = TreeNode(value)
        parent = None
        while open_ and open_[-1].val == inorder[reached]:
            parent = open_.pop()
            reached += 1
        if parent is None:
            put_near(open_[-1], node)
        else:
            put_far(parent, node)
        open_.append(node)
    while open_ and open_[-1].val == inorder[reached]:
        open_.pop()
        reached += 1
    if open_:
        raise ValueError(f"{caller}: these are not two orders of one tree")
    return root

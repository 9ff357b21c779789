"""Every order by every method that has it, on all small shapes, random trees and chains; trees as text, and rebuilt."""

from __future__ import annotations

import gc
import random
import tracemalloc
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import networkx as nx
import numpy as np
import pytest

from algorithm_checks import PLAIN, planted
from tinygrad_zoo.algorithms import tree_recursion, tree_traversal, trees
from tinygrad_zoo.algorithms.trees import ArrayTree, Codec, TreeNode, from_postorder_inorder, from_preorder_inorder

Shape = Any  # None, or (value, shape, shape)
ORDERS = {
    "pre": tree_traversal.preorder,
    "in": tree_traversal.inorder,
    "post": tree_traversal.postorder,
    "level": tree_traversal.levelorder,
}
PAIRS = [(method, order) for method, orders in tree_traversal.METHODS.items() for order in orders]


# ---- shapes
@cache
def shapes(n: int) -> list[Shape]:
    """All binary trees of n nodes, values 0: the Catalan number of them."""
    if n == 0:
        return [None]
    return [(0, a, b) for k in range(n) for a in shapes(k) for b in shapes(n - 1 - k)]


def numbered(shape: Shape, count: Iterator[int]) -> Shape:
    return shape and (next(count), numbered(shape[1], count), numbered(shape[2], count))


def drawn(rng: random.Random, n: int, values: int) -> Shape:
    if n == 0:
        return None
    k = rng.randrange(n)
    return rng.randrange(values), drawn(rng, k, values), drawn(rng, n - 1 - k, values)


def tree(shape: Shape) -> Any:
    return shape and TreeNode(shape[0], tree(shape[1]), tree(shape[2]))


def expected(shape: Shape, order: str) -> list[Any]:
    """The orders as they are defined."""
    if order == "level":
        level, out = [shape], []
        while level := [each for each in level if each]:
            out += [each[0] for each in level]
            level = [child for each in level for child in each[1:]]
        return out
    if not shape:
        return []
    left, right = expected(shape[1], order), expected(shape[2], order)
    own = [shape[0]]
    return {"pre": own + left + right, "in": left + own + right, "post": left + right + own}[order]


def chain(n: int, side: str) -> Any:
    """n nodes of which each is a child of the one before: left, right, or in turns."""
    root: Any = None
    for i in reversed(range(n)):
        left = side == "left" or (side == "turns" and i % 2)
        root = TreeNode(i, root, None) if left else TreeNode(i, None, root)
    return root


def structure(root: Any) -> list[tuple[int, int, int]]:
    return [(id(node), id(node.left), id(node.right)) for node in trees.by_level(root)]


# ---- orders
def check_orders(module: Any) -> None:
    """All shapes up to n = 6, and trees whose values are equal."""
    rng = random.Random(0)
    samples = [numbered(shape, iter(range(9))) for n in range(7) for shape in shapes(n)]
    samples += [drawn(rng, rng.randrange(12), 2) for _ in range(50)]
    for shape in samples:
        root = tree(shape)
        before = structure(root)
        for method, orders in module.METHODS.items():
            for order in orders:
                made = [node.val for node in module.nodes(root, order, method)]
                assert made == expected(shape, order), (shape, method, order)
                assert structure(root) == before, (shape, method, order)


def test_every_order_by_every_method_on_all_429_shapes_of_seven_nodes() -> None:
    found = [numbered(shape, iter(range(7))) for shape in shapes(7)]
    assert len(found) == 429
    for shape in found:
        root = tree(shape)
        before = structure(root)
        array = ArrayTree.of(root)
        for method, order in PAIRS:
            assert ORDERS[order](root, method) == expected(shape, order), (shape, method, order)
            assert structure(root) == before
        for order, traverse in ORDERS.items():
            assert traverse(array).tolist() == traverse(root) == expected(shape, order), (shape, order)


def test_all_smaller_shapes() -> None:
    check_orders(tree_traversal)


def test_ten_thousand_random_trees() -> None:
    rng = random.Random(1)
    for _ in range(10_000):
        shape = drawn(rng, rng.randrange(12), 5)
        root = tree(shape)
        wanted = {order: expected(shape, order) for order in ORDERS}
        for method, order in PAIRS:
            assert ORDERS[order](root, method) == wanted[order], (shape, method, order)


def test_the_orders_are_those_of_networkx() -> None:
    rng = random.Random(2)
    for _ in range(50):
        root = tree(numbered(drawn(rng, 30, 1), iter(range(30))))
        graph = nx.DiGraph()
        for node in trees.by_level(root):
            graph.add_node(node.val)
            graph.add_edges_from((node.val, child.val) for child in (node.left, node.right) if child)
        assert list(nx.dfs_preorder_nodes(graph, 0)) == tree_traversal.preorder(root)
        assert list(nx.dfs_postorder_nodes(graph, 0)) == tree_traversal.postorder(root)
        assert list(nx.bfs_tree(graph, 0)) == tree_traversal.levelorder(root)


def test_the_table_of_methods_is_the_one_that_is_published() -> None:
    assert tree_traversal.__doc__ is not None
    rows = [line.split("|")[1:6] for line in tree_traversal.__doc__.splitlines() if line.startswith("| `")]
    columns = ("pre", "in", "post", "level")
    published = {
        name.strip(" `"): {order for order, cell in zip(columns, cells, strict=True) if cell.strip() == "yes"}
        for name, *cells in rows
    }
    assert published == {method: set(orders) for method, orders in tree_traversal.METHODS.items()}
    for method in published:
        for order, traverse in ORDERS.items():
            if order not in published[method]:
                with pytest.raises(ValueError, match=f"method '{method}' has no {order} order; methods that have it: "):
                    traverse(None, method)  # type: ignore[arg-type]
            else:
                assert traverse(None, method) == []  # type: ignore[arg-type]


LONG = 100_000


@pytest.mark.parametrize("method", [method for method in tree_traversal.METHODS if method != "recursive"])
@pytest.mark.parametrize("side", ["left", "right", "turns"])
def test_chains_of_100_000_nodes_are_traversed(side: str, method: Any) -> None:
    root = chain(LONG, side)
    array = ArrayTree.of(root)
    for order in tree_traversal.METHODS[method]:
        values = ORDERS[order](root, method)
        assert len(values) == LONG and values == ORDERS[order](array).tolist(), order


def test_what_else_chains_of_100_000_nodes_survive() -> None:
    root = chain(LONG, "turns")
    with pytest.raises(RecursionError):
        tree_traversal.preorder(root, "recursive")
    assert (tree_recursion.depth(root), tree_recursion.diameter(root)) == (LONG, LONG - 1)
    assert not tree_recursion.is_search_tree(root) and tree_recursion.is_search_tree(chain(LONG, "right"))
    again = Codec.deserialize(Codec.serialize(root))
    assert tree_traversal.inorder(again) == tree_traversal.inorder(root)
    rebuilt = from_preorder_inorder(tree_traversal.preorder(root), tree_traversal.inorder(root))
    assert tree_traversal.postorder(rebuilt) == tree_traversal.postorder(root)


# ---- Morris
def peak(root: Any, order: str, method: str) -> int:
    """The most memory that a traversal held, in bytes."""
    gc.collect()
    tracemalloc.start()
    try:
        for _ in tree_traversal.nodes(root, order, method):  # type: ignore[arg-type]
            pass
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("order", ["pre", "in", "post"])
def test_morris_needs_no_memory_and_leaves_the_tree_as_it_was(order: str) -> None:
    for side in ("left", "turns"):
        few, many = chain(100, side), chain(10_000, side)
        before = structure(many)
        assert peak(many, order, "morris") <= peak(few, order, "morris") + 200 < 3000
        assert structure(many) == before
        assert peak(many, order, "unified") > 40_000  # a stack shows


@pytest.mark.parametrize("order", ["pre", "in", "post"])
def test_a_walk_of_morris_that_is_not_finished_leaves_the_tree_as_it_was(order: str) -> None:
    root = tree(numbered(drawn(random.Random(3), 40, 1), iter(range(40))))
    before = structure(root)
    for steps in range(40):
        walking = tree_traversal.nodes(root, order, "morris")  # type: ignore[arg-type]
        for _ in range(steps):
            next(walking)
        walking.close()  # type: ignore[attr-defined]
        assert structure(root) == before, steps


# ---- recursion
def test_questions_answered_by_the_template() -> None:
    rng = random.Random(4)
    for _ in range(300):
        shape = drawn(rng, rng.randrange(1, 14), 4)
        root = tree(shape)
        graph = nx.Graph()
        found = list(trees.by_level(root))
        for node in found:
            graph.add_node(id(node))
            graph.add_edges_from((id(node), id(child)) for child in (node.left, node.right) if child)
        away = nx.single_source_shortest_path(graph, id(root))
        assert tree_recursion.depth(root) == max(map(len, away.values()))
        assert tree_recursion.diameter(root) == nx.diameter(graph)
        inorder = expected(shape, "in")
        assert tree_recursion.is_search_tree(root) == all(a < b for a, b in pairwise(inorder))
        a, b = rng.choice(found), rng.choice(found)
        assert [id(node) for node in tree_recursion.path_to(root, a)] == away[id(a)]
        both = [x for x, y in zip(away[id(a)], away[id(b)], strict=False) if x == y]
        assert id(tree_recursion.lowest_common_ancestor(root, a, b)) == both[-1]
        values = {id(node): node.val for node in found}
        leaves = [node for node in tree_traversal.nodes(root, "pre") if node.left is node.right]
        assert tree_recursion.leaf_paths(root) == [[values[x] for x in away[id(leaf)]] for leaf in leaves]
    assert tree_recursion.path_to(root, TreeNode(root.val)) == []
    assert tree_recursion.lowest_common_ancestor(root, root, TreeNode(root.val)) is None
    assert tree_recursion.lowest_common_ancestor(None, root, root) is None
    assert (tree_recursion.leaf_paths(None), tree_recursion.diameter(None)) == ([], 0)


def test_search_trees_are_told_by_more_than_their_children() -> None:
    assert tree_recursion.is_search_tree(tree((4, (2, (1, None, None), (3, None, None)), (6, None, None))))
    assert not tree_recursion.is_search_tree(tree((4, (2, None, (5, None, None)), (6, None, None))))
    assert not tree_recursion.is_search_tree(tree((2, (2, None, None), None)))
    assert not tree_recursion.is_search_tree(tree((2, None, (2, None, None))))


def test_an_early_return_ends_the_walk() -> None:
    asked = []

    def visit(node: Any, deep: int) -> Any:
        if node is None:
            return None
        asked.append(node.val)
        if deep == 2:
            return node.val
        return (yield node.left, deep + 1) or (yield node.right, deep + 1)

    root = tree((1, (2, (3, None, None), None), (4, (5, None, None), None)))
    assert tree_recursion.walk(root, visit, 0) == 3
    assert asked == [1, 2, 3]


# ---- text, orders, arrays
def test_trees_come_back_from_text_and_from_two_orders() -> None:
    rng = random.Random(5)
    for n in range(12):
        for _ in range(20):
            shape = numbered(drawn(rng, n, 1), iter(rng.sample(range(100), n)))
            root = tree(shape)
            wanted = {order: expected(shape, order) for order in ORDERS}
            rebuilt = (
                Codec.deserialize(Codec.serialize(root)),
                from_preorder_inorder(wanted["pre"], wanted["in"]),
                from_postorder_inorder(wanted["post"], wanted["in"]),
                ArrayTree.of(root).nodes(),
            )
            for again in rebuilt:
                assert {order: traverse(again) for order, traverse in ORDERS.items()} == wanted
    assert Codec.serialize(None) == "[]" and Codec.deserialize("[]") is None
    assert Codec.serialize(TreeNode("a,null", None, TreeNode(0.5))) == '["a,null", null, 0.5]'


def test_what_is_no_tree_is_refused() -> None:
    for text, message in (("{}", "expected a list"), ("[[1]]", "expected a list"), ("[null, 1]", "has no parent")):
        with pytest.raises(ValueError, match=message):
            Codec.deserialize(text)
    with pytest.raises(ValueError):
        Codec.deserialize("[1, ")
    for value in (None, float("nan"), (1,)):
        with pytest.raises(ValueError, match="is no number, string or truth value"):
            Codec.serialize(TreeNode(value))
    for one, other in (([1, 1], [1, 1]), ([1, 2], [1]), ([1], [2]), ([1, 2, 3], [3, 1, 2]), ([], [1])):
        for rebuild in (from_preorder_inorder, from_postorder_inorder):
            if (rebuild, one) != (from_postorder_inorder, [1, 2, 3]):
                with pytest.raises(ValueError, match=r"expected|not two orders"):
                    rebuild(one, other)
    with pytest.raises(ValueError, match="not two orders of one tree"):
        from_postorder_inorder([1, 2, 3], [2, 3, 1])
    shared = TreeNode(1)
    with pytest.raises(AssertionError, match="reached twice"):
        TreeNode(0, shared, shared)._check()
    TreeNode(0, TreeNode(1), TreeNode(1))._check()
    with pytest.raises(TypeError, match="inorder: expected a TreeNode, None or an ArrayTree, got list"):
        tree_traversal.inorder([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected a method of recursive, template"):
        tree_traversal.inorder(None, "magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="expected an order"):
        tree_traversal.nodes(None, "zigzag")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([1, -1], [-1]), "left has 2 nodes and right 1"),
        (([2, -1], [-1, -1]), "expected children among 0 to 1"),
        (([-2, -1], [-1, -1]), "−1 for none"),
        (([1, -1], [1, -1]), "node 1 has 2 parents"),
        (([1, 0], [-1, -1]), "0 nodes have no parent"),
        (([-1, -1], [-1, -1]), "2 nodes have no parent: say which is the root"),
        (([1, -1], [-1, -1], 1), "the root 1 is no node without a parent"),
        (([1, -1], [-1, -1], 5), "the root 5 is no node"),
        (([1, -1], [-1, -1], None, [1]), "expected 2 values"),
        (([0.5], [-1]), "expected left as integers"),
    ],
)
def test_arrays_that_are_no_tree_are_refused(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        ArrayTree(*arguments)


def array_trees() -> Iterator[ArrayTree]:
    rng = random.Random(6)
    for n in range(30):
        root = tree(drawn(rng, n, 5))
        made = ArrayTree.of(root)
        order = np.array(rng.sample(range(n), n), np.int64)
        left, right = (np.full(n, -1) for _ in range(2))
        for side, given in ((left, made.left), (right, made.right)):
            side[order] = np.where(given < 0, -1, order[given]) if n else given
        values = np.empty(n)
        values[order] = made.values
        yield ArrayTree(left, right, values=values)


def test_array_trees_are_traversed_as_the_nodes_they_stand_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for given in array_trees():
        root = given.nodes()
        for order, traverse in ORDERS.items():
            made = traverse(given)
            assert made.tolist() == traverse(root) and isinstance(made, np.ndarray)
            with monkeypatch.context() as context:
                context.setenv("NUMBA_DISABLE_JIT", "1")
                assert traverse(given).tolist() == made.tolist()
            for method in tree_traversal.METHODS:
                if order in tree_traversal.METHODS[method]:
                    assert traverse(given, method).tolist() == made.tolist()  # type: ignore[arg-type]
    bare = ArrayTree([3, -1, -1, 1], [2, -1, -1, -1])
    assert [traverse(bare).tolist() for traverse in ORDERS.values()] == [
        [0, 3, 1, 2],
        [1, 3, 0, 2],
        [1, 3, 2, 0],
        [0, 3, 2, 1],
    ]
    assert tree_traversal.levelorder(ArrayTree([1, -1, -1], [-1, -1, -1], root=0)).tolist() == [0, 1]


def test_the_trees_of_scikit_learn_are_array_trees() -> None:
    from sklearn.tree import DecisionTreeClassifier

    rng = np.random.default_rng(0)
    fitted = DecisionTreeClassifier(random_state=0).fit(rng.random((80, 3)), rng.integers(0, 2, 80)).tree_
    given = ArrayTree(fitted.children_left, fitted.children_right)
    assert tree_traversal.preorder(given).tolist() == list(range(fitted.node_count))  # they are numbered so
    assert tree_recursion.depth(given.nodes()) == fitted.max_depth + 1


# ---- planted faults
@pytest.mark.parametrize(
    "change",
    [
        ("            stack += (node.right, node.left)\n", "            stack += (node.left, node.right)\n"),
        ("            stack += (node.left, node.right)\n", "            stack += (node.right, node.left)\n"),
        ("return reversed(out)", "return iter(out)"),
        ("marked.add(id(node))", "marked.add(node.val)"),
        ("if id(node) in marked:", "if node.val in {1}:"),
        ("stack += (node.right, node, node.left)", "stack += (node.left, node, node.right)"),
        ("stack += (node, node.right, node.left)", "stack += (node, node.left, node.right)"),
        ("top.right is not last", "top.right.val != (last and last.val)"),
        ("                node = top.right\n\n", "                node = None\n\n"),
        ("while stack or node is not None:", "while stack:"),
        ("        visit(node.right, out)\n", ""),
        ("yield node.right, deep + 1, levels", "yield node.right, deep, levels"),
        ("                last.right = None\n                if order", "                if order"),
        ("                last.right = None\n                end", "                end"),
        ("                _turned(end)\n", ""),
        ("TreeNode(None, root)", "TreeNode(None, None, root)"),
        (
            '                if order == "pre":\n                    yield node\n                node',
            "                node",
        ),
        (
            '                if order == "in":\n                    yield node\n                node',
            "                node",
        ),
        ('"level": by_level', '"level": _stack_pre'),
    ],
)
def test_faults_show(change: tuple[str, str]) -> None:
    with (
        planted("tree_traversal", change) as module,
        pytest.raises((AssertionError, AttributeError, IndexError, MemoryError)),
    ):
        check_orders(module)


@pytest.mark.parametrize(
    "change",
    [
        ("if children[node, 1 - near] >= 0:", "if children[node, 1 - near] > 0:"),
        (
            "node = children[node, near]\n        if node < 0 and waiting:",
            "node = children[node, near]\n        if waiting:",
        ),
        (
            "        waiting -= 1\n        node = stack[waiting]\n        out",
            "        node = stack[waiting]\n        out",
        ),
        ("return _root_first(children, root, 1)[::-1]", "return _root_first(children, root, 0)[::-1]"),
        ("root, 1)[::-1].copy()", "root, 1)"),
        ("if root >= 0:", "if True:"),
        ("while taken < count:", "while taken + 1 < count:"),
    ],
)
def test_faults_of_the_loops_show(change: tuple[str, str]) -> None:
    with planted("compiled.trees", PLAIN, change) as loops, pytest.raises((AssertionError, IndexError)):
        check_loops(loops)


def check_loops(loops: Any) -> None:
    for given in array_trees():
        numbers = ArrayTree(given.left, given.right, given.root if len(given) else None).nodes()
        for order, traverse in ORDERS.items():
            loop = getattr(loops, f"{order}order")
            assert loop(given.children, given.root).tolist() == traverse(numbers), order


def test_the_loops_stay_within_their_arrays() -> None:
    with planted("compiled.trees", PLAIN) as loops:
        check_loops(loops)

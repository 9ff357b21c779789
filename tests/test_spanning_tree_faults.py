"""Faults planted in the algorithms of spanning trees, and in their loops, show."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from algorithm_checks import PLAIN, planted
from graph_checks import arrays, by, check_small, drawn
from tinygrad_zoo.algorithms import graphs, prim, spanning_tree
from tinygrad_zoo.algorithms.spanning_tree import kruskal


# ---- algorithms
@pytest.mark.parametrize(
    "change",
    [
        ("run, key=values.__getitem__)", "run)"),
        ("            if sets.union(*ends[e]):\n                chosen.append(e)", "            chosen.append(e)"),
        ("waiting += [heavier, equal, lighter]", "waiting += [lighter, equal, heavier]"),
        ("waiting += [heavier, equal, lighter]", "waiting += [heavier, lighter]"),
        ("if not sets.connected(*ends[e])]", "if sets.connected(*ends[e])]"),
        ("for tree in (a, b):", "for tree in (a,):"),
        ("values[e] < values[lightest[tree]]", "values[e] <= values[lightest[tree]]"),
        ("lightest.values() if sets.union(*ends[e])]", "lightest.values()]"),
        ("if best is None or more < best[0]:", "if best is None:"),
        ("if u == v or e in in_tree:", "if e in in_tree:"),
        ("if u == v or e in in_tree:", "if u == v:"),
        ("last = self._joined[a]", "last = self._joined[b]"),
        ("[*chosen[:place], *chosen[place + 1 :], e]", "[*chosen[:place], *chosen[place:], e]"),
        ("laplacian[v][u] -= 1", "pass"),
        ("laplacian[u][v] -= 1", "laplacian[u][v] = -1"),
        ("        before = rows[k][k]\n", ""),
        ("for row in laplacian[:-1]]", "for row in laplacian]"),
    ],
)
def test_faults_of_kruskal_and_others_show(change: tuple[str, str]) -> None:
    with (
        planted("spanning_tree", ("FEW, SAMPLE = 32, 15", "FEW, SAMPLE = 3, 3"), change) as module,
        pytest.raises((AssertionError, IndexError, ValueError, TypeError, ZeroDivisionError, pytest.fail.Exception)),
    ):
        check_small(module)
        check_filtered(module)


def check_filtered(module: Any) -> None:
    rng = np.random.default_rng(6)
    for _ in range(20):
        n, edges = drawn(rng)
        for algorithm in (by(module.kruskal, "filter"), module.boruvka):
            assert sorted(algorithm(n, edges).indices) == sorted(kruskal(n, edges).indices)


@pytest.mark.parametrize(
    "change",
    [
        ("            if not joined[node]:\n                break", "            break"),
        ("            elif key < heap[other]:\n                heap.decrease_key(other, key)\n", ""),
        ("key=lambda way: (weights[way[0]], way[0])", "key=lambda way: way[0]"),
        ("(weights[e], e) < (weights[known], known)", "False"),
        ("        lightest[node] = None\n", ""),
        ("best is None or (weights[way], way) < (weights[best], best)", "best is None"),
        ("first | dict.fromkeys(range(graph.n))", "first or [0][: graph.n]"),  # components are left out
    ],
)
def test_faults_of_prim_show(change: tuple[str, str]) -> None:
    with (
        planted("prim", change) as module,
        pytest.raises((AssertionError, IndexError, ValueError, TypeError)),
    ):
        check_small(spanning_tree, module)
        rng = np.random.default_rng(7)
        for _ in range(20):
            n, edges = drawn(rng)
            for method in ("lazy", "indexed", "dense"):
                found = module.prim(n, edges, method=method)
                assert sorted(found.indices) == sorted(kruskal(n, edges).indices)
                found._check()


# ---- the loops, run by Python, which tells of an index outside
def check_loops(loops: Any) -> None:
    rng = np.random.default_rng(8)
    for i in range(30):
        n, edges = drawn(rng, 12)
        _, ends, weights = arrays(n, edges * 3)
        ends = ends.astype(np.int32)
        weights = weights * (1.0, -0.5, 0.0)[i % 3]
        expected = kruskal(n, ends.tolist(), weights.tolist(), method="sort").indices
        assert loops.kruskal(n, ends, weights.view(np.uint64), 2, True).tolist() == expected
        assert loops.kruskal(n, ends, weights.astype(np.int64).view(np.uint64), 1, True).tolist() == (
            kruskal(n, ends.tolist(), weights.astype(int).tolist()).indices
        )
        unsigned = (weights.astype(np.int64) + 50).astype(np.uint64)
        assert (
            loops.kruskal(n, ends, unsigned, 0, False).tolist() == kruskal(n, ends.tolist(), unsigned.tolist()).indices
        )
        points = rng.integers(0, 3, (n, 2)).astype(float)
        pairs = list(combinations(range(n), 2))
        squares = [float(((points[u] - points[v]) ** 2).sum()) for u, v in pairs]
        grown = prim.prim(n, pairs, squares)
        made, lengths = loops.prim_points(np.ascontiguousarray(points.T))
        assert list(map(tuple, made.tolist())) == grown.edges and lengths.tolist() == grown.weights
        matrix = graphs.square("test", np.where(cdist(points, points) > 1.5, np.inf, cdist(points, points) - 2))
        grown = prim.prim(n, [(u, v, matrix[u, v]) for u, v in pairs if matrix[u, v] < np.inf], roots=range(n)[::-1])
        made, weights = loops.prim_matrix(matrix, matrix.view(np.int64), np.arange(n)[::-1])
        assert list(map(tuple, made.tolist())) == grown.edges and weights.tolist() == grown.weights


SMALL = (PLAIN, ("SAMPLE = 1024", "SAMPLE = 4"), ("FEW = 4096", "FEW = 5"))


def test_the_loops_stay_within_their_arrays() -> None:
    with planted("compiled.spanning_tree", *SMALL) as loops:
        check_loops(loops)


@pytest.mark.parametrize(
    "change",
    [
        ("if b == SIGN:  # −0 is 0", "if False:"),
        ("return b ^ ALL if b & SIGN else b ^ SIGN", "return b ^ SIGN"),
        (
            "    if kind == 1:",
            "    if kind == 3:",
        ),
        ("if key <= pivot:", "if key < pivot:"),
        ("if rest and found < n - 1:", "if False:"),
        ("PASSES = np.uint64(11), 6", "PASSES = np.uint64(11), 5"),
        ("        swapped = not swapped\n", ""),
        ("            start += count\n", "            start += 1\n"),
        ("(far[j] == best[j]) & (node < near[j])", "(far[j] == best[j]) & (node > near[j])"),
        ("k = n - 1 - found\n", "k = n - found\n"),
        ("k = n - 1 - found\n", "k = n - 2 - found\n"),
        ("names[place], best[place], near[place] = names[k]", "names[place], best[place], near[k] = names[k]"),
        ("if least < INFINITE:", "if True:"),
        ("            best[node] = LARGEST\n", ""),
        ("(b == best[j]) & (node < near[j])", "(b == best[j]) & (node > near[j])"),
        ("low > first_low or (low == first_low and high > first_high)", "low > first_low"),
        ("b = b ^ ((b >> 63) & LARGEST)", "pass"),
    ],
)
def test_faults_of_the_loops_show(change: tuple[str, str]) -> None:
    with (
        np.errstate(all="ignore"),
        planted("compiled.spanning_tree", *SMALL, change) as loops,
        pytest.raises((AssertionError, IndexError, ValueError)),
    ):
        check_loops(loops)

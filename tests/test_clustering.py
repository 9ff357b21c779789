"""Single linkage against SciPy, Chow–Liu trees against networkx and by trying all trees."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import networkx as nx
import numpy as np
import pytest
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import cdist
from sklearn.metrics import mutual_info_score

from algorithm_checks import planted
from tinygrad_zoo.algorithms import chow_liu, clustering
from tinygrad_zoo.algorithms.chow_liu import chow_liu_tree, mutual_information
from tinygrad_zoo.algorithms.clustering import cut, single_linkage


@pytest.fixture(params=[True, False], ids=["loops", "Python"])
def kernels(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether arrays go through compiled loops."""
    if not request.param:
        monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    return bool(request.param)


def partition(labels: Any) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def check_linkage(module: Any) -> None:
    rng = np.random.default_rng(0)
    for n in (2, 3, 10, 40):
        points = rng.standard_normal((n, 3))
        theirs = linkage(points, "single")
        for merges in (
            module.single_linkage(points),
            module.single_linkage(cdist(points, points), metric="precomputed"),
        ):
            assert np.allclose(merges, theirs, rtol=1e-12)
            for k in (1, 2, n // 2, n):
                labels = module.cut(merges, k)
                assert labels.max() + 1 == k and list(dict.fromkeys(labels.tolist())) == list(range(k))
                assert partition(labels) == partition(fcluster(theirs, k, "maxclust"))


def test_single_linkage_is_that_of_scipy(kernels: bool) -> None:
    check_linkage(clustering)
    assert single_linkage([[1.0]]).shape == (0, 4) and cut(single_linkage([[1.0]]), 1).tolist() == [0]
    grid = np.array(list(product(range(4), range(3))), float)  # all distances tie
    assert np.allclose(single_linkage(grid)[:, 2], linkage(grid, "single")[:, 2])


@pytest.mark.parametrize(
    "change",
    [
        ("low, high = sorted((names[a], names[b]))", "low, high = names[a], names[b]"),
        ("low, high = sorted((names[a], names[b]))", "low, high = sorted((a, b))"),
        ("names[root], sizes[root] = n + i, size", "names[root], sizes[root] = n + i, size - 1"),
        ('np.argsort(tree.weights, kind="stable")', "range(n - 1)"),
        ("merges[: n - n_clusters, :2]", "merges[: n - n_clusters + 1, :2]"),
        ("        sets.union(b, n + i)\n", ""),
    ],
)
def test_faults_of_linkage_show(change: tuple[str, str]) -> None:
    with planted("clustering", change) as module, pytest.raises((AssertionError, IndexError)):
        check_linkage(module)


def test_what_has_no_clusters_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one point"):
        single_linkage(np.zeros((0, 2)))
    with pytest.raises(ValueError, match="inf joins no clusters"):
        single_linkage([[0, np.inf], [np.inf, 0]], metric="precomputed")
    with pytest.raises(ValueError, match="expected metric to be 'euclidean' or 'precomputed', got 'cosine'"):
        single_linkage([[0.0]], metric="cosine")  # type: ignore[arg-type]
    for k in (0, 3):
        with pytest.raises(ValueError, match="expected 1 to 2 clusters of 2 points"):
            cut(single_linkage([[0.0], [1.0]]), k)


# ---- Chow–Liu
def nll_of_networkx(train: Any, test: Any, smoothing: float) -> float:
    """The same from the definitions, with networkx's spanning tree, for binary data."""
    n, d = train.shape
    counts = np.empty((d, d, 2, 2))
    for a, b in product(range(2), range(2)):
        counts[:, :, a, b] = (train == a).astype(float).T @ (train == b)
    joint = (counts + smoothing) / (n + 4 * smoothing)
    apart = joint.sum(3, keepdims=True) * joint.sum(2, keepdims=True)
    information = (joint * np.log(joint / apart)).sum((2, 3))
    graph = nx.Graph()
    graph.add_weighted_edges_from((i, j, information[i, j]) for i in range(d) for j in range(i))
    tree = nx.maximum_spanning_tree(graph)
    ones = (train[:, 0].sum() + smoothing) / (n + 2 * smoothing)
    total = np.log(np.where(test[:, 0] == 1, ones, 1 - ones))
    for child, parent in nx.bfs_predecessors(tree, 0):
        table = counts[parent, child] + smoothing
        total += np.log((table / table.sum(1, keepdims=True))[test[:, parent], test[:, child]])
    return float(-total.mean())


def test_binarised_digits_reach_20_56_nats() -> None:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = (digits.data > 7.5).astype(int)
    train, test = train_test_split(images, test_size=360, random_state=0, stratify=digits.target)
    model = chow_liu_tree(train, smoothing=0.5, n_values=2)  # some pixels are never set
    model._check()
    found = -model.log_prob(test).mean()
    assert found == pytest.approx(20.56, abs=0.01)
    assert found == pytest.approx(nll_of_networkx(train, test, 0.5), abs=1e-9)
    share = (train.sum(0) + 0.5) / (len(train) + 1)
    independent = -(test * np.log(share) + (1 - test) * np.log(1 - share)).sum(1).mean()
    assert independent == pytest.approx(25.22, abs=0.01)


def drawn(rng: np.random.Generator, n: int, d: int, k: int) -> Any:
    data = rng.integers(0, k, (n, d))
    for i in range(1, d):
        copied = rng.random(n) < rng.random()
        data[copied, i] = data[copied, rng.integers(i)]
    return data


def trees_of(d: int) -> list[list[tuple[int, int]]]:
    """All d ** (d − 2) trees, by Prüfer's sequences."""
    return [
        list(nx.from_prufer_sequence(list(code)).edges) for code in product(range(d), repeat=d - 2)
    ]  # networkx needs d of at least 2


def check_chow_liu(module: Any) -> None:
    rng = np.random.default_rng(1)
    for _ in range(12):
        data = drawn(rng, 60, 5, int(rng.integers(2, 5)))
        information = module.mutual_information(data)
        for i, j in product(range(5), range(5)):
            assert information[i, j] == pytest.approx(mutual_info_score(data[:, i], data[:, j]), abs=1e-12)
        model = module.chow_liu_tree(data, smoothing=0)
        model._check()
        best = max(sum(information[i, j] for i, j in tree) for tree in trees_of(5))
        assert model.information == pytest.approx(best)
        # The mean log-likelihood is Σ I − Σ H, for the tree and the data that it was made of.
        entropies = np.diagonal(information).sum()
        assert model.log_prob(data).mean() == pytest.approx(best - entropies)
        smooth = module.chow_liu_tree(data)
        smooth._check()
        values = data.max(0) + 1
        every = np.array(list(product(*map(range, values))))
        assert np.exp(smooth.log_prob(every)).sum() == pytest.approx(1)
        sample = smooth.sample(4000, rng=rng)
        assert (sample < values).all()
        for row, p in zip(every[:50], np.exp(smooth.log_prob(every[:50])), strict=True):
            assert abs((sample == row).all(1).mean() - p) < 5 * math.sqrt(p / 4000) + 1e-3


def test_chow_liu_trees_by_trying_all_trees() -> None:
    check_chow_liu(chow_liu)


@pytest.mark.parametrize(
    "change",
    [
        ("forest = prim(-information", "forest = prim(information"),
        ("joint / np.where(apart > 0, apart, 1)", "joint"),
        ("return (summed + summed.T) / 2", "return summed / 2"),
        ("table = table + smoothing\n", "table = table + smoothing + 0.01\n"),
        ("total = table.sum(1, keepdims=True)", "total = table.sum(0, keepdims=True)"),
        ("if other != parents[i]:", "if other > i:"),
        ("rows + starts] = 1", "rows + starts] += 2"),
        ("rows[:, self.parents[i]] if i else 0", "rows[:, 0] if i else 0"),
        ("for i in self.order:", "for i in sorted(self.order, reverse=True):"),
        ("* below[above, -1:] >= below[above]", "* below[above, -1:] <= below[above]"),
    ],
)
def test_faults_of_chow_liu_show(change: tuple[str, str]) -> None:
    with (
        np.errstate(all="ignore"),
        planted("chow_liu", change) as module,
        pytest.raises((AssertionError, IndexError, ValueError)),
    ):
        check_chow_liu(module)


def test_variables_may_have_different_numbers_of_values() -> None:
    data = np.array([[0, 2], [1, 0], [1, 2], [0, 1]])
    model = chow_liu_tree(data, n_values=[3, 4], smoothing=1)
    assert [table.shape for table in model.tables] == [(1, 3), (3, 4)]
    assert np.exp(model.log_prob([[2, 3]]))[0] == pytest.approx(1 / 7 / 4)
    assert chow_liu_tree(data > 0).log_prob(data > 0).shape == (4,)
    assert chow_liu_tree([[0], [1], [1]]).tables[0].shape == (1, 2)
    assert chow_liu_tree([[0, 1]], smoothing=0, n_values=2).log_prob([[0, 1], [1, 1]]).tolist() == [0, -np.inf]


@pytest.mark.parametrize(
    ("data", "settings", "text"),
    [
        ([1, 2], {}, r"expected data \(n >= 1, d >= 1\)"),
        (np.zeros((0, 2)), {}, r"expected data \(n >= 1, d >= 1\)"),
        ([[0.5]], {}, "number the categories first"),
        ([[-1]], {}, "whole numbers from 0"),
        ([[np.nan]], {}, "whole numbers from 0"),
        ([[0, 3]], {"n_values": 2}, "variable 1 has the value 3, of 2 values"),
        ([[0]], {"smoothing": -1}, "expected smoothing >= 0, got -1"),
        ([[0]], {"smoothing": math.nan}, "expected smoothing >= 0"),
    ],
)
def test_what_is_no_data_is_refused(data: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        chow_liu_tree(data, **settings)


def test_values_that_the_tree_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="log_prob: variable 0 has the value 2, of 2 values"):
        chow_liu_tree([[0], [1]]).log_prob([[2]])
    assert mutual_information([[0, 0], [1, 1]], smoothing=1).shape == (2, 2)

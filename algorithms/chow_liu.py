"""Chow–Liu trees: of all distributions in which each variable depends on one other, the one nearest to the data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .prim import prim


@dataclass(frozen=True, eq=False)
class ChowLiuTree:
    """p(x) = Π p(xᵢ | x of parent i), variable 0 alone having none: `parents[0]` is −1.

    `tables[i]` (values of the parent, values of i) holds the logarithms of p(xᵢ | parent), one row for variable 0.
    `order` is one in which parents come first, and `information` what the edges hold, in nats, summed.
    """

    parents: NDArray[np.int64]
    order: list[int]
    tables: list[NDArray[np.float64]]
    information: float

    def log_prob(self, data: ArrayLike) -> NDArray[np.float64]:
        """log p of each row of (n, d), in nats: O(n d). ValueError for a value that the tree does not know.

        >>> chow_liu_tree([[0, 0], [1, 1]], smoothing=0).log_prob([[1, 1], [0, 1]]).round(3).tolist()
        [-0.693, -inf]
        """
        rows, counts = _categories("log_prob", data, [table.shape[1] for table in self.tables])
        total = np.zeros(len(rows))
        for i in range(len(counts)):
            total += self.tables[i][rows[:, self.parents[i]] if i else 0, rows[:, i]]
        return total

    def sample(self, n: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
        """n draws (n, d), parents first: O(n d k) for variables of k values.

        >>> chow_liu_tree([[0, 1], [0, 1]], smoothing=0).sample(2, rng=np.random.default_rng(0)).tolist()
        [[0, 1], [0, 1]]
        """
        drawn = np.zeros((n, len(self.parents)), np.int64)
        for i in self.order:
            above = drawn[:, self.parents[i]] if i else np.zeros(n, np.int64)
            below = np.exp(self.tables[i]).cumsum(1)
            drawn[:, i] = (rng.random((n, 1)) * below[above, -1:] >= below[above]).sum(1)
        return drawn

    def _check(self) -> None:
        """Assert that parents come first, and that every row of a table is a distribution."""
        place = {i: at for at, i in enumerate(self.order)}
        assert sorted(self.order) == list(range(len(self.parents))) and self.order[0] == 0 and self.parents[0] == -1
        assert all(place[int(self.parents[i])] < place[i] for i in self.order[1:])
        for table in self.tables:
            assert np.allclose(np.exp(table).sum(1), 1), table


def chow_liu_tree(
    data: ArrayLike, *, smoothing: float = 0.5, n_values: int | Sequence[int] | None = None
) -> ChowLiuTree:
    """The tree of greatest mutual information (Chow and Liu 1968), a maximum spanning tree, of data (n, d).

    Variables are whole numbers from 0, or truth values; `n_values` is how many values each has (default: as many as
    occur, the greatest and those below it). `smoothing` is added to every count, of pairs for the mutual information
    and of values for the tables; without it, likelihood is greatest, and 0 for what did not occur. O(n K²) time for K
    values of all variables together, O(K²) memory. Raises ValueError for other data.

    >>> tree = chow_liu_tree([[0, 0, 1], [1, 1, 0], [0, 0, 0], [1, 1, 1]])
    >>> tree.parents.tolist()
    [-1, 0, 0]
    """
    if not (smoothing >= 0 and np.isfinite(smoothing)):
        raise ValueError(f"chow_liu_tree: expected smoothing >= 0, got {smoothing}")
    rows, values = _categories("chow_liu_tree", data, n_values)
    n, d = rows.shape
    counts, starts = _pair_counts(rows, values)
    information = _mutual_information(counts, starts, values, n, smoothing)
    forest = prim(-information, method="dense")
    parents, order = np.full(d, -1, np.int64), [0]
    beside: list[list[int]] = [[] for _ in range(d)]
    for u, v in forest.edges.tolist():
        beside[u].append(v)
        beside[v].append(u)
    for i in order:
        for other in beside[i]:
            if other != parents[i]:
                parents[other] = i
                order.append(other)
    ends = starts + values
    tables = []
    for i in range(d):
        own = counts[starts[i] : ends[i], starts[i] : ends[i]]
        above = slice(starts[parents[i]], ends[parents[i]])
        table = counts[above, starts[i] : ends[i]] if i else own.sum(0, keepdims=True)
        table = table + smoothing
        total = table.sum(1, keepdims=True)
        # Where the parent's value did not occur and nothing is smoothed, any distribution will do.
        shares = np.where(total > 0, table / np.where(total > 0, total, 1), 1 / values[i])
        with np.errstate(divide="ignore"):
            tables.append(np.log(shares))
    return ChowLiuTree(parents, order, tables, float(-forest.weight))


def mutual_information(
    data: ArrayLike, *, smoothing: float = 0.0, n_values: int | Sequence[int] | None = None
) -> NDArray[np.float64]:
    """Σ p(x, y) log(p(x, y) / (p(x) p(y))) of every two variables (d, d), in nats; the entropies on the diagonal.

    With smoothing, the diagonal is without a meaning. Costs, arguments and errors are those of `chow_liu_tree`.

    >>> mutual_information([[0, 0], [1, 1]]).round(3).tolist()
    [[0.693, 0.693], [0.693, 0.693]]
    """
    rows, values = _categories("mutual_information", data, n_values)
    counts, starts = _pair_counts(rows, values)
    return _mutual_information(counts, starts, values, len(rows), smoothing)


def _mutual_information(counts: Any, starts: Any, values: Any, n: int, smoothing: float) -> NDArray[np.float64]:
    sizes = np.repeat(values, values)  # of the variable that a row of counts is about
    singles = np.diagonal(counts)
    total = n + smoothing * np.outer(sizes, sizes)
    joint = (counts + smoothing) / total
    apart = (singles[:, None] + smoothing * sizes) * (singles + smoothing * sizes[:, None]) / total**2
    terms = np.where(joint > 0, joint * np.log(np.where(joint > 0, joint / np.where(apart > 0, apart, 1), 1)), 0)
    summed: NDArray[np.float64] = np.add.reduceat(np.add.reduceat(terms, starts, 0), starts, 1)
    return (summed + summed.T) / 2  # the two halves differ by rounding


def _pair_counts(rows: NDArray[np.int64], values: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """How often each value of each variable (rows) meets each value of each one (columns), and where these start."""
    starts = np.concatenate([[0], np.cumsum(values)[:-1]])
    indicators = np.zeros((len(rows), values.sum()))
    indicators[np.arange(len(rows))[:, None], rows + starts] = 1
    return indicators.T @ indicators, starts


def _categories(
    caller: str, data: ArrayLike, n_values: int | Sequence[int] | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The data as integers (n, d), and how many values each variable has."""
    given = np.asarray(data)
    if given.ndim != 2 or 0 in given.shape or given.dtype.kind not in "biuf":
        raise ValueError(f"{caller}: expected data (n >= 1, d >= 1), got {given.dtype} {given.shape}")
    with np.errstate(invalid="ignore"):
        rows: NDArray[np.int64] = given.astype(np.int64)
    if (rows != given).any() or (rows < 0).any():
        raise ValueError(f"{caller}: expected whole numbers from 0, or truth values: number the categories first")
    values = np.broadcast_to(np.asarray(rows.max(0) + 1 if n_values is None else n_values, np.int64), given.shape[1:])
    if (rows >= values).any():
        wrong = int((rows >= values).any(0).argmax())
        raise ValueError(f"{caller}: variable {wrong} has the value {rows[:, wrong].max()}, of {values[wrong]} values")
    return rows, values.copy()

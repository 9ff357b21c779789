"""Splits, standardisation and stateless batches: NumPy arrays in, NumPy arrays out."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..errors import DTypeError, ShapeError, UsageError

Array = NDArray[Any]
Seed: TypeAlias = "np.random.Generator | int"  # a string, since numpy.random takes 7 ms to load


def generator(rng: Seed) -> np.random.Generator:
    """The generator itself, or `np.random.default_rng(seed)` for a seed: an integer >= 0.

    >>> generator(7).random() == np.random.default_rng(7).random()
    True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(at_least("rng", rng, 0))


SHUFFLES = 3  # the first number in the keys of the generators that shuffle


def stream(seed: int, *key: int) -> np.random.Generator:
    """One of the generators that a run has by its seed, independent of one another and of `default_rng(seed)`.

    `key` is (0,) for weights, dropout and noise, (1,) for the evaluation, (2,) for the figure, and (SHUFFLES, e) for
    the order of epoch e. Raises UsageError where the seed is no integer >= 0.

    >>> stream(7, 0).random() == stream(7, 1).random()
    False
    """
    return np.random.default_rng(np.random.SeedSequence(at_least("seed", seed, 0), spawn_key=key))


def at_least(name: str, value: int, least: int) -> int:
    """`value` as an int, or a UsageError that says what was expected of the argument `name`.

    >>> at_least("n", np.int64(3), 1)
    3
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError:
        raise UsageError(f"{name} must be an integer >= {least}, got {value!r}") from None
    if number < least:
        raise UsageError(f"{name} must be an integer >= {least}, got {number}")
    return number


def equal_length(where: str, arrays: Sequence[Array]) -> int:
    """The common length n >= 1 of a tuple or list of arrays; `where` names them in the error.

    >>> equal_length("arrays", (np.zeros((3, 2)), np.arange(3)))
    3
    """
    if not isinstance(arrays, tuple | list):
        raise UsageError(f"{where} must be a tuple of arrays, got {type(arrays).__name__}; write (x,) for a single one")
    if not all(isinstance(array, np.ndarray) for array in arrays):
        raise UsageError(f"{where} must be NumPy arrays, got {[type(array).__name__ for array in arrays]}")
    shapes = [array.shape for array in arrays]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    if len(lengths) != 1 or 0 in lengths:
        raise ShapeError(f"{where} needs one or more arrays of one equal length >= 1, got shapes {shapes}")
    return lengths.pop()


@dataclass(frozen=True, eq=False)
class Statistics:
    """z = (x - mean) / std, feature by feature, with mean and std in float64 and of one example's shape.

    >>> s = Statistics.of(np.array([[0.0, 10.0], [4.0, 30.0]]))
    >>> s.mean.tolist(), s.std.tolist()
    ([2.0, 20.0], [2.0, 10.0])
    >>> s.restore(s.standardize(np.array([[1.0, 2.0]]))).tolist()
    [[1.0, 2.0]]
    """

    mean: NDArray[np.float64]
    std: NDArray[np.float64]

    @classmethod
    def of(cls, x: Array) -> Statistics:
        """Mean and standard deviation (ddof 0) over the first axis; a constant feature has std 1: shifted, not scaled.

        Raises DTypeError where x is not floating.
        """
        if not np.issubdtype(x.dtype, np.floating):
            raise DTypeError(f"standardising needs a floating array, got {x.dtype}; write x.astype(np.float32)")
        std = x.std(axis=0, dtype=np.float64)
        constant = x.max(axis=0) == x.min(axis=0)  # not std == 0, which rounding can miss
        return cls(x.mean(axis=0, dtype=np.float64), np.where(constant, 1.0, std))

    @property
    def log_det(self) -> float:
        """log |det dz/dx| = -sum log std, so that log p(x) = log p(z) + log_det.

        >>> Statistics(np.zeros(2), np.array([2.0, 1.0])).log_det
        -0.6931471805599453
        """
        return -float(np.log(self.std).sum())

    def standardize(self, x: Array) -> Array:
        """z = (x - mean) / std, (n, ...) -> (n, ...), in the dtype of x."""
        return ((self._checked(x) - self.mean) / self.std).astype(x.dtype)

    def restore(self, z: Array) -> Array:
        """x = z * std + mean, (n, ...) -> (n, ...), in the dtype of z."""
        return (self._checked(z) * self.std + self.mean).astype(z.dtype)

    def _checked(self, x: Array) -> Array:
        if x.shape[1:] != self.mean.shape:
            raise ShapeError(f"these statistics are of examples of shape {self.mean.shape}, got an array {x.shape}")
        return x


@dataclass(frozen=True, eq=False)
class Split:
    """train, test and (optionally) validation: each a tuple of arrays of equal length, the same number in each part.

    `statistics` are those by which the first array of each part was standardised, or None.
    Raises UsageError for a part that is not a tuple of arrays, ShapeError for unequal or zero lengths.

    >>> Split(train=(np.zeros((6, 2)), np.arange(6)), test=(np.zeros((3, 2)), np.arange(3)))
    Split(train=[6: (2,) float64, () int64], test=[3: (2,) float64, () int64])
    """

    train: tuple[Array, ...]
    test: tuple[Array, ...]
    validation: tuple[Array, ...] | None = None
    statistics: Statistics | None = None

    def __post_init__(self) -> None:
        for name, part in self.parts().items():
            equal_length(f"Split.{name}", part)
            if len(part) != len(self.train):
                raise ShapeError(f"Split.{name} has {len(part)} arrays, Split.train has {len(self.train)}")

    def parts(self) -> dict[str, tuple[Array, ...]]:
        """The parts by name, without an absent validation part.

        >>> list(Split(train=(np.zeros(2),), test=(np.zeros(1),)).parts())
        ['train', 'test']
        """
        parts = {"train": self.train, "test": self.test}
        return parts if self.validation is None else {**parts, "validation": self.validation}

    def __repr__(self) -> str:
        def summary(part: tuple[Array, ...]) -> str:
            return f"{len(part[0])}: " + ", ".join(f"{array.shape[1:]} {array.dtype}" for array in part)

        return "Split(" + ", ".join(f"{name}=[{summary(part)}]" for name, part in self.parts().items()) + ")"


def standardize(split: Split) -> Split:
    """The first array of every part as z = (x - mean) / std, by the mean and std of the training part alone.

    The statistics come back as `.statistics` of the new split: log p(x) = log p(z) + statistics.log_det turns a
    density of the standardised data into one of the data. Other arrays (labels) are passed on as they are.
    Raises UsageError where the split is standardised already, DTypeError where x is not floating.

    >>> s = standardize(Split(train=(np.array([[1.0], [3.0]]),), test=(np.array([[5.0]]),)))
    >>> s.train[0].tolist(), s.test[0].tolist(), s.statistics.mean.tolist()
    ([[-1.0], [1.0]], [[3.0]], [2.0])
    """
    if split.statistics is not None:
        raise UsageError("this split is standardised already: its statistics would be lost")
    statistics = Statistics.of(split.train[0])
    parts = {name: (statistics.standardize(x), *rest) for name, (x, *rest) in split.parts().items()}
    return replace(split, **parts, statistics=statistics)


def train_test_split(
    arrays: Sequence[Array], n_test: int, rng: Seed, *, n_validation: int = 0, stratify: Array | None = None
) -> Split:
    """A random partition of n examples into n_test for test, n_validation for validation and the rest for training.

    With `stratify` (n labels), every part holds each class in proportion, by the method of largest remainders: a
    class of n_c examples puts floor or ceil of n_c * n_test / n into the test part. Each part is in random order.
    Raises UsageError where nothing would be left to train on, ShapeError for unequal lengths.

    >>> x = np.arange(10)
    >>> s = train_test_split((x, x % 2), n_test=4, rng=0, stratify=x % 2)
    >>> sorted(s.test[1].tolist()), sorted(s.train[1].tolist())
    ([0, 0, 1, 1], [0, 0, 0, 1, 1, 1])
    """
    n = equal_length("arrays", arrays)
    n_test, n_validation = at_least("n_test", n_test, 1), at_least("n_validation", n_validation, 0)
    if n_test + n_validation >= n:
        raise UsageError(f"n_test={n_test} and n_validation={n_validation} leave nothing of {n} examples to train on")
    labels = np.zeros(n, np.int64) if stratify is None else np.asarray(stratify)
    if labels.shape != (n,):
        raise ShapeError(f"stratify must hold one label an example, shape ({n},), got {labels.shape}")

    order = generator(rng).permutation(n)
    _, classes, sizes = np.unique(labels[order], return_inverse=True, return_counts=True)
    test_sizes = _apportion(sizes, n_test)
    validation_sizes = _apportion(sizes - test_sizes, n_validation)
    part = np.zeros(n, np.int64)  # 0 train, 1 test, 2 validation
    for label, (tested, validated) in enumerate(zip(test_sizes, validation_sizes, strict=True)):
        members = np.flatnonzero(classes == label)
        part[members[:tested]] = 1
        part[members[tested : tested + validated]] = 2
    train, test, validation = (tuple(array[order[part == which]] for array in arrays) for which in range(3))
    return Split(train, test, validation if n_validation else None)


def _apportion(sizes: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """`total` seats shared in proportion to `sizes`: the floors, and one more to each of the largest remainders."""
    shares, remainders = np.divmod(sizes * total, sizes.sum())
    shares[np.argsort(-remainders, kind="stable")[: total - shares.sum()]] += 1
    return shares


def steps_per_epoch(n: int, batch_size: int, drop_last: bool = True) -> int:
    """floor(n / batch_size), or the ceiling where the last, smaller batch is kept.

    Raises UsageError where that is 0: drop_last with a batch larger than the data.

    >>> steps_per_epoch(10, 4), steps_per_epoch(10, 4, drop_last=False)
    (2, 3)
    """
    n, batch_size = at_least("n", n, 1), at_least("batch_size", batch_size, 1)
    if drop_last and batch_size > n:
        raise UsageError(f"batch_size={batch_size} exceeds the {n} examples and drop_last leaves no batch at all")
    return n // batch_size if drop_last else math.ceil(n / batch_size)


def batch_indices(
    n: int, batch_size: int, seed: int, step: int, shuffle: bool = True, drop_last: bool = True
) -> NDArray[np.int64]:
    """The indices of batch number `step` >= 0, a pure function of the arguments: (batch_size,), or fewer at the end.

    Epoch e = step // steps_per_epoch visits `stream(seed, SHUFFLES, e).permutation(n)` from front to back, so a resumed
    run needs to remember nothing but its step. Without `shuffle` every epoch is in order.

    >>> batch_indices(6, 2, seed=0, step=4, shuffle=False)
    array([2, 3])
    >>> np.sort(np.concatenate([batch_indices(6, 2, seed=0, step=k) for k in range(3)]))
    array([0, 1, 2, 3, 4, 5])
    """
    epoch, position = divmod(at_least("step", step, 0), steps_per_epoch(n, batch_size, drop_last))
    start = position * batch_size
    if not shuffle:
        return np.arange(start, min(start + batch_size, n))
    return _permutation(n, at_least("seed", seed, 0), epoch)[start : start + batch_size]


@lru_cache(maxsize=2)  # the batches of one epoch share it: drawing it anew would cost O(n) every step
def _permutation(n: int, seed: int, epoch: int) -> NDArray[np.int64]:
    order = stream(seed, SHUFFLES, epoch).permutation(n)
    order.flags.writeable = False  # shared by every caller of batch_indices
    return order


def batches(
    arrays: Sequence[Array],
    batch_size: int,
    *,
    seed: int,
    start: int = 0,
    steps: int | None = None,
    shuffle: bool = True,
    drop_last: bool = True,
) -> Iterator[tuple[Array, ...]]:
    """Batches number start, start + 1, ... (`steps` of them, or without end) of the `batch_indices` of these arguments.

    Each is a tuple of copies (batch_size, ...), one for every array. One pass over a test set in order is
    `batches(test, 512, seed=0, shuffle=False, drop_last=False, steps=steps_per_epoch(n, 512, drop_last=False))`.

    >>> x, y = np.arange(4), np.arange(4) ** 2
    >>> [(a.tolist(), b.tolist()) for a, b in batches((x, y), 2, seed=0, steps=2, shuffle=False)]
    [([0, 1], [0, 1]), ([2, 3], [4, 9])]
    >>> late = batches((x,), 2, seed=5, start=1000)
    >>> bool((next(late)[0] == x[batch_indices(4, 2, seed=5, step=1000)]).all())
    True
    """
    n = equal_length("arrays", arrays)
    steps_per_epoch(n, batch_size, drop_last)  # bad arguments raise here, not at the first batch
    at_least("seed", seed, 0), at_least("start", start, 0)
    numbers = count(start) if steps is None else range(start, start + at_least("steps", steps, 0))
    chosen = (batch_indices(n, batch_size, seed, step, shuffle, drop_last) for step in numbers)
    return (tuple(array[indices] for array in arrays) for indices in chosen)

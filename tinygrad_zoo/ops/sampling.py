"""Sample inputs: each op says beside its definition what it is to be checked on."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Sample(NamedTuple):
    """The arguments of one call of an op."""

    inputs: tuple[Any, ...]
    settings: dict[str, Any]


def sample(*inputs: Any, **settings: Any) -> Sample:
    """`op(*inputs, **settings)` as a value.

    >>> sample(1.0, axis=0)
    Sample(inputs=(1.0,), settings={'axis': 0})
    """
    return Sample(inputs, settings)


class Draw:
    """Random float64 arrays by domain; a row's `samples` is given one and calls it `r`.

    >>> r = Draw(np.random.default_rng(0))
    >>> r(2, 3).shape, bool((r.positive(4) > 0).all()), r.integers(5, 2).dtype.kind
    ((2, 3), True, 'i')
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def __call__(self, *shape: int) -> Any:
        """Standard normal values."""
        return np.asarray(self.rng.standard_normal(shape))

    def positive(self, *shape: int) -> Any:
        """Values in [0.3, 3]."""
        return self.uniform(0.3, 3.0, *shape)

    def uniform(self, low: float, high: float, *shape: int) -> Any:
        return np.asarray(self.rng.uniform(low, high, shape))

    def nonzero(self, *shape: int) -> Any:
        """Values of either sign, at least 0.3 from zero: off the kinks and poles there."""
        return np.asarray(self.positive(*shape) * self.rng.choice([-1.0, 1.0], shape))

    def distinct(self, *shape: int) -> Any:
        """Values at least 0.1 apart, in random order: no ties."""
        n = int(np.prod(shape))
        spaced = (np.arange(n) + self.rng.uniform(-0.25, 0.25, n)) * 0.2
        return np.asarray(self.rng.permutation(spaced - spaced.mean()).reshape(shape)) if n else np.zeros(shape)

    def integers(self, high: int, *shape: int) -> Any:
        """Whole numbers in [0, high)."""
        return np.asarray(self.rng.integers(0, high, shape))

    def boolean(self, *shape: int) -> Any:
        return np.asarray(self.rng.random(shape) < 0.5)

    def probabilities(self, *shape: int) -> Any:
        """Positive values that sum to one along axis 1 (the only axis of a vector)."""
        p = self.positive(*shape)
        return p / p.sum(axis=min(1, len(shape) - 1), keepdims=True)

    def well_conditioned(self, *shape: int) -> Any:
        """Square matrices far from singular: a random one plus three times the identity."""
        return self.uniform(-0.5, 0.5, *shape) + 3.0 * np.eye(shape[-1])


# ---- samples and repairs that many rows share
def unary(r: Draw) -> list[Any]:
    """One matrix of normal values."""
    return [(r(2, 3),)]


def unary_positive(r: Draw) -> list[Any]:
    return [(r.positive(2, 3),)]


def unary_nonzero(r: Draw) -> list[Any]:
    return [(r.nonzero(2, 3),)]


def unary_inside(r: Draw) -> list[Any]:
    """One matrix of values in (-1, 1)."""
    return [(r.uniform(-0.9, 0.9, 2, 3),)]


def off_zero(x: Any) -> tuple[Any]:
    """A repair: values near 0 are moved away from it."""
    return (np.where(np.abs(x) < 0.1, x + 0.3, x),)


def to_positive(x: Any) -> tuple[Any]:
    """A repair: values become at least 0.2."""
    return (np.abs(x) + 0.2,)


def to_inside(x: Any) -> tuple[Any]:
    """A repair: values come into (-1, 1)."""
    return (0.9 * np.tanh(x),)


def to_distinct(x: Any) -> tuple[Any]:
    """A repair: the same order, neighbours 0.2 apart."""
    return (0.2 * np.argsort(np.argsort(x, axis=None), axis=None).reshape(x.shape) - 0.1 * x.size,)

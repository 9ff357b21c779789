"""The perceptron's learning rule, the pocket that keeps its best weights, and the margin that bounds its mistakes.

Rosenblatt, The Perceptron, 1958; Novikoff, On Convergence Proofs for Perceptrons, 1962; Gallant, Perceptron-Based
Learning Algorithms, 1990.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from ... import nn
from ...backend import namespace
from ...errors import DTypeError, ShapeError, UsageError
from ...tensor import as_tensor, tensor


class Perceptron(nn.ThresholdUnit):
    """On a mistake, s (w·x + b) ≤ 0 with s = ±1 the wanted sign: w ← w + ηsx, b ← b + ηs. In float64, from zeros.

    Fires 1, else 0; with `signed` 1, else −1.

    >>> x, y = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 0, 0, 1])
    >>> unit = Perceptron(2).fit(x, y)
    >>> unit(x)[:, 0].tolist(), unit.converged_, unit.mistakes_
    ([0.0, 0.0, 0.0, 1.0], True, 18)
    """

    def __init__(self, n_features: int, eta: float = 1.0, *, signed: bool = False) -> None:
        super().__init__(n_features, signed=signed)
        if not eta > 0:
            raise UsageError(f"Perceptron: expected eta > 0, got {eta}")
        self.eta = eta
        self.mistakes_per_epoch_: list[int] = []
        self.to("float64")

    def correct(self, x: Any, sign: Any) -> Any:
        """Whether example x (n_features,) of sign () is a mistake; if so it is learnt from, in place."""
        w, b = self.weight.data, self.bias.data  # (1, n_features), (1,)
        wrong = sign * ((w[0] * x).sum() + b[0]) <= 0
        push = namespace(w).where(wrong, self.eta * sign, 0.0)
        w += push * x
        b += push
        self.weight.mark_written()
        self.bias.mark_written()
        return wrong

    def fit(
        self,
        x: Any,
        y: Any,
        *,
        shuffle: bool = False,
        max_epochs: int = 1000,
        pocket: bool = False,
        rng: np.random.Generator | None = None,
    ) -> Self:
        """Anew from zeros, epochs over the examples x (N, n_features) until one has no mistake: then it has converged.

        y (N,) are 0 and 1, or −1 and 1. `shuffle` takes them in a new order each epoch, drawn from `rng`. `pocket`
        leaves the weights that did best on x, rather than the last ones.
        """
        labels = _signs("Perceptron.fit", y)
        x, signs = (tensor(part, "float64", self.weight.device).data for part in (x, labels))
        if x.ndim != 2 or x.shape[1] != self.in_features or len(signs) != len(x) or not len(x):
            raise ShapeError(
                f"Perceptron.fit: expected x (N, {self.in_features}) and y (N,), got {x.shape}, {len(signs)}"
            )
        if shuffle and rng is None:
            raise DTypeError("Perceptron.fit: shuffle=True needs a generator; write rng=numpy.random.default_rng(0)")
        self.weight.data, self.bias.data = self.weight.data * 0, self.bias.data * 0
        best = Pocket(self).keep(self, x, signs)
        self.mistakes_per_epoch_ = []
        for _ in range(max_epochs):
            mistakes = 0
            for i in rng.permutation(len(x)) if shuffle and rng is not None else range(len(x)):
                wrong = bool(self.correct(x[i], signs[i]))
                mistakes += wrong
                if wrong and pocket:
                    best.keep(self, x, signs)
            self.mistakes_per_epoch_.append(mistakes)
            if not mistakes:
                break
        if pocket:
            self.weight.data, self.bias.data = best.weight.data.copy(), best.bias.data.copy()
        return self

    @property
    def mistakes_(self) -> int:
        """In all epochs of `fit`."""
        return sum(self.mistakes_per_epoch_)

    @property
    def converged_(self) -> bool:
        """Whether the last epoch of `fit` had no mistake."""
        return self.mistakes_per_epoch_[-1:] == [0]

    @property
    def coef_(self) -> Any:
        return self.weight.numpy()  # (1, n_features)

    @property
    def intercept_(self) -> Any:
        return self.bias.numpy()  # (1,)


def _signs(where: str, y: Any) -> Any:
    y = as_tensor(y).numpy()
    if not np.isin(y, (0, 1)).all() and not np.isin(y, (-1, 1)).all():
        said = np.unique(y).tolist()
        raise UsageError(f"{where}: expected labels 0 and 1, or -1 and 1, got {said}: write np.where(y == kind, 1, -1)")
    return np.where(y > 0, 1.0, -1.0)


class Pocket(nn.Module):
    """The weights of a perceptron that made the fewest errors on a whole set so far (Gallant's ratchet)."""

    def __init__(self, unit: Perceptron) -> None:
        self.weight, self.bias = nn.Buffer(unit.weight), nn.Buffer(unit.bias)
        self.errors = nn.Buffer(np.array(np.inf))
        self.to(unit.weight.device)

    def keep(self, unit: Perceptron, x: Any, signs: Any) -> Self:
        """Take the unit's weights if they make fewer errors on x (N, n_features), signs (N,) than those kept."""
        w, b = unit.weight.data, unit.bias.data
        errors = (signs * ((x * w).sum(axis=1) + b) <= 0).sum()
        fewer, where = errors < self.errors.data, namespace(w).where
        self.weight.data, self.bias.data = where(fewer, w, self.weight.data), where(fewer, b, self.bias.data)
        self.errors.data = where(fewer, errors, self.errors.data)
        return self


def hard_margin(x: Any, y: Any) -> tuple[float, float]:
    """γ and R: the widest margin by which a plane separates (x, 1), and the length of the longest of these.

    x (N, n_features); y (N,) are 0 and 1, or −1 and 1, so that s = ±1 are the wanted signs.
    γ = max over |v| = 1 of min sᵢ v·(xᵢ, 1), the hard-margin support vector machine, found as its dual: the distance
    from 0 to the convex hull of all sᵢ (xᵢ, 1), by non-negative least squares. 0 where no plane separates them.

    >>> round(hard_margin(np.array([[2.0], [-2.0]]), np.array([1, -1]))[0], 9)
    2.0
    """
    from scipy.optimize import nnls

    x, signs = tensor(x, "float64", "cpu").numpy(), _signs("hard_margin", y)
    if x.ndim != 2 or signs.shape != x.shape[:1] or not len(x):
        raise ShapeError(f"hard_margin: expected x (N >= 1, n_features) and y (N,), got {x.shape} and {signs.shape}")
    points = np.column_stack([x, np.ones(len(x))])
    z = signs[:, None] * points  # (N, d + 1)
    scale = np.abs(z).max()
    weights, _ = nnls(np.vstack([z.T / scale, np.ones(len(z))]), np.append(np.zeros(z.shape[1]), 1.0))
    nearest = weights / weights.sum() @ z
    margin = float((z @ nearest).min() / max(np.linalg.norm(nearest), 1e-300))
    return max(margin, 0.0), float(np.linalg.norm(points, axis=1).max())

"""The normal distribution, of numbers and of vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..backend import on_host
from ..errors import LinAlgError, ShapeError, UsageError
from ..variable import looked_at
from .base import LOG_TAU, Distribution, Shape, broadcast, checked_positive, parameter


class Normal(Distribution):
    """log p(x) = -½ ((x - loc) / scale)² - log scale - ½ log 2π; a batch, in the shape of loc and scale broadcast.

    Raises UsageError where scale <= 0 (on the host; a device is not asked, since that would wait for it).

    >>> standard = Normal(0.0, 1.0)
    >>> round(standard.log_prob(0.0).item(), 4), round(standard.entropy().item(), 4)
    (-0.9189, 1.4189)
    """

    def __init__(self, loc: Any, scale: Any) -> None:
        self.loc, self.scale = parameter(loc), parameter(scale)
        checked_positive("Normal", scale=self.scale)
        self.batch_shape = broadcast("Normal", loc=self.loc, scale=self.scale)
        self.event_shape = ()

    @property
    def mean(self) -> Any:
        return self.loc.broadcast_to(self.batch_shape)

    @property
    def variance(self) -> Any:
        return ops.square(self.scale).broadcast_to(self.batch_shape)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """loc + scale · ε with ε ~ N(0, I) (arXiv 1312.6114)."""
        return self.loc + self.scale * self._noise(shape, rng, self.loc)

    def log_prob(self, value: Any) -> Any:
        z = (self._checked(value) - self.loc) / self.scale
        return -0.5 * z * z - ops.log(self.scale) - 0.5 * LOG_TAU

    def cdf(self, value: Any) -> Any:
        """P(x <= value) = Φ((value - loc) / scale), exact in the left tail, too."""
        return ops.ndtr((self._checked(value) - self.loc) / self.scale)

    def entropy(self) -> Any:
        """½ log(2πe) + log scale"""
        return (0.5 + 0.5 * LOG_TAU + ops.log(self.scale)).broadcast_to(self.batch_shape)


class MultivariateNormal(Distribution):
    """log p(x) = -½ ‖L⁻¹(x - loc)‖² - Σ log L_ii - d/2 log 2π, with L = scale_tril lower triangular, Σ = L Lᵀ.

    loc: (…, d); scale_tril: (…, d, d), of which the triangle above the diagonal is not read.
    Raises UsageError where the diagonal is not > 0 (on the host).

    >>> standard = MultivariateNormal(np.zeros(2), np.eye(2))
    >>> round(standard.log_prob(np.zeros((1, 2))).item(), 4)
    -1.8379
    """

    def __init__(self, loc: Any, scale_tril: Any) -> None:
        self.loc, self.scale_tril = parameter(loc), parameter(scale_tril)
        d = self.loc.shape[-1:]
        if not d or self.scale_tril.shape[-2:] != d + d:
            raise ShapeError(
                "MultivariateNormal: expected loc (…, d) and scale_tril (…, d, d), "
                f"got {self.loc.shape} and {self.scale_tril.shape}"
            )
        array = looked_at(self.scale_tril)
        diagonal = np.diagonal(array, axis1=-2, axis2=-1) if on_host(array) else None
        if diagonal is not None and not (diagonal > 0).all():
            raise UsageError(f"MultivariateNormal: the diagonal of scale_tril must be > 0, got {diagonal.min()}")
        self.batch_shape = np.broadcast_shapes(self.loc.shape[:-1], self.scale_tril.shape[:-2])
        self.event_shape = d

    @classmethod
    def fit(cls, x: NDArray[Any]) -> MultivariateNormal:
        """The maximum-likelihood Gaussian of points (n, d): their mean and their covariance with divisor n, in float64.

        >>> MultivariateNormal.fit(np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])).variance.tolist()
        [1.0, 4.0]
        """
        if x.ndim != 2 or len(x) <= x.shape[1]:
            raise ShapeError(f"MultivariateNormal.fit: expected more points than dimensions, (n, d), got {x.shape}")
        x = x.astype(np.float64)
        covariance = np.atleast_2d(np.cov(x, rowvar=False, bias=True))
        try:
            return cls(x.mean(axis=0), np.linalg.cholesky(covariance))
        except np.linalg.LinAlgError as error:
            raise LinAlgError(
                "MultivariateNormal.fit: the points lie in a hyperplane, so there is no density"
            ) from error

    @property
    def mean(self) -> Any:
        return self.loc.broadcast_to(self.batch_shape + self.event_shape)

    @property
    def covariance_matrix(self) -> Any:
        """L Lᵀ, (…, d, d)"""
        triangle = ops.tril(self.scale_tril)
        return (triangle @ triangle.mT).broadcast_to(self.batch_shape + 2 * self.event_shape)

    @property
    def variance(self) -> Any:
        """The diagonal of the covariance, (…, d)."""
        return ops.square(ops.tril(self.scale_tril)).sum(axis=-1).broadcast_to(self.batch_shape + self.event_shape)

    def rsample(self, shape: Shape = (), *, rng: np.random.Generator) -> Any:
        """loc + L ε with ε ~ N(0, I)."""
        noise = self._noise(shape, rng, self.loc)
        return self.loc + (ops.tril(self.scale_tril) @ noise[..., None])[..., 0]

    def log_prob(self, value: Any) -> Any:
        deviation = self._checked(value) - self.loc  # (…, d)
        if self.scale_tril.ndim == 2:  # one solve with all points as columns
            columns = deviation.reshape(-1, *self.event_shape).T  # (d, N)
            z = ops.solve_triangular(self.scale_tril, columns, upper=False).T.reshape(deviation.shape)
        else:
            z = ops.solve_triangular(self.scale_tril, deviation[..., None], upper=False)[..., 0]
        return -0.5 * (z * z).sum(axis=-1) - self._half_log_det() - 0.5 * z.shape[-1] * LOG_TAU

    def entropy(self) -> Any:
        """d/2 log(2πe) + Σ log L_ii"""
        return (0.5 * self.event_shape[0] * (1 + LOG_TAU) + self._half_log_det()).broadcast_to(self.batch_shape)

    def _half_log_det(self) -> Any:
        *lead, d, _ = self.scale_tril.shape
        diagonal = self.scale_tril.reshape(*lead, d * d)[..., :: d + 1]  # no index array, which a device would refuse
        return ops.log(diagonal).sum(axis=-1)

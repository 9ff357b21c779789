"""What stands between pixels and a flow: noise that makes counts continuous, and a whitening of known determinant."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import nn, ops
from ...errors import LinAlgError, ShapeError, UsageError
from ...ops.random import generator
from ...tensor import Tensor, as_tensor
from .transforms import Transform


def dequantize(x: Any, levels: int, rng: np.random.Generator) -> Any:
    """(x + u) / levels with u ~ U[0, 1), for whole numbers x in 0..levels-1: points of [0, 1) (arXiv 1511.01844).

    A density of points that lie on a grid has no bound, and its NLL goes to -∞; that of points spread over the cells
    is at most the probability of the cell: E log p((x + u) / levels) - dim log levels ≤ log P(x).

    >>> dequantize(np.float32([[0, 16]]), 17, np.random.default_rng(0)).numpy().astype(float).round(2).tolist()
    [[0.05, 0.97]]
    """
    if levels < 1:
        raise UsageError(f"dequantize: expected levels >= 1, got {levels}")
    x = as_tensor(x)
    key = Tensor(ops.draw_key(generator("dequantize", rng), x.device))
    return (x + ops.standard_uniform(key, shape=x.shape, dtype=x.dtype)) / levels


class Whitening(Transform):
    """z = (x - mean) W with W = V Λ^(-1/2) of the covariance V Λ Vᵀ, log |det| = -½ Σ log λ_i. Nothing is learnt.

    Its densities are of x, as the determinant is counted: whitened points have mean 0 and covariance 1, and what is
    better than the Gaussian of full covariance is what a flow finds beyond second moments.

    >>> x = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
    >>> z, log_det = Whitening.fit(x)(x)
    >>> np.cov(z.numpy().T, bias=True).round(6).tolist(), np.exp(log_det.numpy()[0]).round(6).item()
    ([[1.0, 0.0], [0.0, 1.0]], 0.5)
    """

    def __init__(self, mean: NDArray[Any], matrix: NDArray[Any]) -> None:
        if mean.ndim != 1 or matrix.shape != 2 * mean.shape:
            raise ShapeError(f"Whitening: expected mean (d,) and matrix (d, d), got {mean.shape} and {matrix.shape}")
        wide = matrix.astype(np.float64)
        sign, log_det = np.linalg.slogdet(wide)
        if sign == 0:
            raise LinAlgError("Whitening: the matrix is singular")
        (self.dim,) = mean.shape
        self.mean, self.matrix = nn.Buffer(mean), nn.Buffer(matrix)
        self.back = nn.Buffer(np.linalg.inv(wide).astype(matrix.dtype))
        self.log_det = nn.Buffer(np.asarray(log_det, matrix.dtype))

    @classmethod
    def fit(cls, x: NDArray[Any]) -> Whitening:
        """That of points (n, d), in their dtype; raises LinAlgError where they lie in a hyperplane."""
        if x.ndim != 2 or len(x) <= x.shape[1]:
            raise ShapeError(f"Whitening.fit: expected more points than dimensions, (n, d), got {x.shape}")
        wide = x.astype(np.float64)
        variances, axes = np.linalg.eigh(np.atleast_2d(np.cov(wide, rowvar=False, bias=True)))
        if variances[0] <= 1e-12 * variances[-1]:
            raise LinAlgError("Whitening.fit: the points lie in a hyperplane, where they have no density")
        return cls(wide.mean(axis=0).astype(x.dtype), (axes / np.sqrt(variances)).astype(x.dtype))

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        x = self._points(x)
        return (x - self.mean) @ self.matrix, self.log_det.broadcast_to((len(x),))

    def inverse(self, z: Any) -> Any:
        return self._points(z) @ self.back + self.mean

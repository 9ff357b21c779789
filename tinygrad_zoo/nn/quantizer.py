"""Vectors replaced by the nearest of a learnt list, so that what they say can be written down as whole numbers."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .. import ops
from ..backend import to_device
from ..errors import ShapeError, UsageError
from ..grad_mode import effect, no_grad
from ..ops.composite import straight_through
from ..ops.random import draw, recomputing
from ..tensor import Tensor, as_tensor
from . import init
from .layers import check_sizes
from .module import Buffer, Module, Parameter

RESTART = 0.05


class Quantized(NamedTuple):
    """What `VectorQuantizer` makes of z."""

    values: Any  # like z: its nearest codes, which hand a gradient on to z as it comes
    codes: Any  # which they are: int64, in the shape of z without the axis of the vectors
    loss: Any  # what is to be added to a loss: it draws z and the codes together


class VectorQuantizer(Module):
    """z → e_k with k = argmin_j ‖z - e_j‖², e_1 … e_K a learnt codebook of vectors of d numbers (arXiv 1711.00937).

    z: (N, …, d), or with d at another `axis`, such as 1 for images (N, d, H, W). A gradient passes from e_k to z
    unchanged, since argmin has none (straight-through, arXiv 1308.3432), and the codebook takes none of it.

    With `ema`, each code is the moving average of the vectors nearest to it, which every call in training moves by
    one batch of n_j vectors with the sum Σz: N ← decay N + (1 - decay) n, m ← decay m + (1 - decay) Σz, e = m / N, the
    counts N smoothed by `eps` (Laplace); the loss is beta · mean (z - sg e)². A code whose share of the vectors falls
    below `restart` / K moves to one of the batch, drawn from `rng`. Without `ema` the codebook is a Parameter, no code
    is restarted, and the loss is mean (sg z - e)² + beta · mean (z - sg e)².

    >>> quantizer = VectorQuantizer(2, 1, rng=np.random.default_rng(0))
    >>> quantizer.codebook.data = np.array([[0.0], [1.0]], np.float32)
    >>> values, codes, loss = quantizer.eval()(tz.tensor([[0.2], [0.7], [0.9]]))
    >>> values.tolist(), codes.tolist()
    ([[0.0], [1.0], [1.0]], [0, 1, 1])
    """

    codebook: Parameter | Buffer

    def __init__(
        self,
        K: int,
        d: int,
        beta: float = 0.25,
        ema: bool = True,
        decay: float = 0.99,
        *,
        eps: float = 1e-5,
        restart: float | None = None,
        axis: int = -1,
        rng: np.random.Generator = init.REQUIRED,
    ) -> None:
        check_sizes("VectorQuantizer", K=K, d=d)
        self.K, self.d, self.beta, self.ema, self.decay, self.eps, self.axis = K, d, beta, ema, decay, eps, axis
        self.restart = (RESTART if ema else 0.0) if restart is None else restart
        if not (0 <= decay < 1 and beta >= 0 and eps >= 0 and 0 <= self.restart < 1):
            raise UsageError(
                "VectorQuantizer: expected decay and restart in [0, 1), beta and eps >= 0, "
                f"got decay={decay}, restart={restart}, beta={beta}, eps={eps}"
            )
        if self.restart and not ema:
            raise UsageError(
                "VectorQuantizer: without ema no code is restarted, since the optimizer owns it: restart=0"
            )
        self.rng = init.generator("VectorQuantizer", rng)
        start = self.rng.uniform(-1 / K, 1 / K, (K, d)).astype(np.float32)
        self.codebook = Buffer(start) if ema else Parameter(start)
        self.usage = Buffer(np.zeros(K, np.float32))  # the share of the vectors that each code had lately
        if ema:
            self.counts, self.sums = Buffer(np.ones(K, np.float32)), Buffer(start)

    def forward(self, z: Any) -> Quantized:
        """The nearest codes, their numbers and the loss; in training the moving averages move."""
        z = self._vectors(z)  # (…, d)
        moves = self.training and self.ema
        # What a `checkpoint` recomputes sees the codebook as it was, not as the first run left it.
        codebook, chosen = draw(self.rng, lambda rng: self._drawn(rng, z)) if moves else (self.codebook, None)
        codes = self._nearest(z, codebook)
        found = ops.embedding(codes, codebook)  # (…, d)
        if self.training and not recomputing():
            self._follow(z.detach(), codes, chosen)
        loss = self.beta * ops.mse_loss(z, found.detach())
        if not self.ema:
            loss = loss + ops.mse_loss(found, z.detach())
        return Quantized(straight_through(found, z).moveaxis(-1, self.axis), codes, loss)

    def nearest(self, z: Any) -> Any:
        """The number of the nearest code, the first of several: (N, …, d) → (N, …) in int64. Nothing moves."""
        return self._nearest(self._vectors(z), self.codebook)

    def lookup(self, codes: Any) -> Any:
        """The codes of these numbers: (N, …) → (N, …, d), or with d at `axis`."""
        return ops.embedding(codes, self.codebook).moveaxis(-1, self.axis)

    @property
    def perplexity(self) -> Any:
        """exp H(usage), a scalar: about how many codes are in use, of K, by a moving average; NaN before training."""
        return _perplexity(self.usage)

    def perplexity_of(self, codes: Any) -> Any:
        """exp H of how often each code occurs among `codes`.

        >>> round(VectorQuantizer(8, 1, rng=np.random.default_rng(0)).perplexity_of(np.array([3, 5, 5, 3])).item(), 6)
        2.0
        """
        hits = ops.one_hot(as_tensor(codes).reshape(-1), num_classes=self.K)
        return _perplexity(hits.sum(axis=0).astype(dtype=self.usage.dtype))

    def settings(self) -> str:
        how = f"decay={self.decay:g}, restart={self.restart:g}" if self.ema else "ema=False"
        return f"{self.K}, {self.d}, beta={self.beta:g}, {how}" + (f", axis={self.axis}" if self.axis != -1 else "")

    def _vectors(self, z: Any) -> Any:
        """z with d last."""
        z = as_tensor(z)
        if not -z.ndim <= self.axis < z.ndim or z.shape[self.axis] != self.d or not z.size:
            raise ShapeError(
                f"VectorQuantizer: expected vectors of d={self.d} numbers along axis {self.axis}, at least one of "
                f"them, got shape {z.shape}"
            )
        return z.moveaxis(self.axis, -1)

    def _drawn(self, rng: np.random.Generator, z: Any) -> tuple[Tensor, Any]:
        """The codebook as it is, and which vector of the batch each code would restart at."""
        return self.codebook.detach(), rng.integers(z.size // self.d, size=self.K) if self.restart else None

    def _nearest(self, z: Any, codebook: Any) -> Any:
        with no_grad():  # ‖z - e‖² = ‖z‖² - 2 z·e + ‖e‖², of which the first is the same for all e
            return (ops.square(codebook).sum(axis=1) - 2 * (z @ codebook.T)).argmin(axis=-1)

    @effect
    def _follow(self, z: Any, codes: Any, chosen: Any) -> None:
        """Move the averages by z (…, d) and codes (…); dead codes restart at the rows `chosen`."""
        with no_grad():
            z, rate = z.reshape(-1, self.d).astype(dtype=self.usage.dtype), 1 - self.decay
            hits = ops.one_hot(codes.reshape(-1), num_classes=self.K).astype(dtype=z.dtype)  # (M, K)
            n = hits.sum(axis=0)
            usage = ops.lerp(self.usage, n / len(z), rate)
            self.usage.data[...] = usage.data
            self.usage.mark_written()
            if not self.ema:
                return
            counts = ops.lerp(self.counts, n, rate)
            sums = ops.lerp(self.sums, hits.T @ z, rate)  # (K, d)
            total = counts.sum()
            codebook = sums / (total * (counts + self.eps) / (total + self.K * self.eps))[:, None]
            if self.restart:
                dead = usage < self.restart / self.K * usage.sum()  # of the sum, which starts small
                moved = z[Tensor(to_device(chosen, z.device))]  # (K, d)
                codebook = ops.where(dead[:, None], moved, codebook)
                counts = ops.where(dead, total / self.K, counts)
                sums = ops.where(dead[:, None], moved * (total / self.K), sums)
            # New arrays rather than new values in the old ones: a graph, or a `checkpoint`, may still read those.
            self.codebook.data, self.counts.data, self.sums.data = codebook.data, counts.data, sums.data


def _perplexity(weights: Any) -> Any:
    return ops.exp(ops.entr(weights / weights.sum()).sum())

"""Losses that tell what belongs together from what does not: noise-contrastive estimation and InfoNCE."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import ops
from ..creation import arange
from ..errors import DTypeError, ShapeError, UsageError
from ..tensor import Tensor, as_tensor


# ---- noise-contrastive estimation
def nce_loss(score_pos: Any, score_neg: Any, logq_pos: Any, logq_neg: Any, k: int, log_z: Any = 0.0) -> Any:
    """-E_data log σ(Δ) - k E_noise log σ(-Δ), Δ = score - log_z - log(k q): which of 1 + k draws is the data's?

    score_pos: the model's unnormalised log-probabilities of data; score_neg: of draws from the noise, (N, k) for k of
    their own each, or in any shape, shared by all. logq_pos and logq_neg, of the same shapes: log q of each.
    log_z: a learnt number (Gutmann & Hyvärinen 2010); one a row, of score_pos (N,) and score_neg (N, k); or 0, since
    models of enough freedom learn to normalise themselves (Mnih & Teh 2012, arXiv 1206.6426).
    As k grows, its gradient becomes that of maximum likelihood. Without log(k q) it would be negative sampling, whose
    optimum is another: pass what q is. Raises ShapeError where a log q has not the shape of its score, or log_z is of
    no such shape.

    >>> import tinygrad_zoo as tz
    >>> log_half = tz.tensor([-0.6931472])
    >>> round(nce_loss(log_half, log_half, log_half, log_half, k=1).item(), 4)  # model and noise the same
    1.3863
    """
    if k < 1:
        raise UsageError(f"nce_loss: expected k >= 1 draws of noise for each of the data, got {k}")
    arrays = [as_tensor(x) for x in (score_pos, score_neg, logq_pos, logq_neg)]
    for name, score, logq in (("pos", arrays[0], arrays[2]), ("neg", arrays[1], arrays[3])):
        if score.shape != logq.shape:
            raise ShapeError(f"nce_loss: score_{name} has shape {score.shape} and logq_{name} {logq.shape}")
    log_z = rows = log_z if isinstance(log_z, float | int) else as_tensor(log_z)
    if isinstance(log_z, Tensor) and log_z.ndim:
        of_pos, of_neg = arrays[0].shape, arrays[1].shape
        if log_z.ndim != 1 or of_pos != log_z.shape or len(of_neg) != 2 or of_neg[:1] != of_pos:
            raise ShapeError(
                f"nce_loss: log_z {log_z.shape} is one a row, with score_pos (N,) and score_neg (N, k), but these are "
                f"{of_pos} and {of_neg}: write log_z.reshape(()) for one number, log_z[:, 0] for a column"
            )
        rows = log_z[:, None]  # (N, 1)
    pos, neg = arrays[0] - log_z - (arrays[2] + math.log(k)), arrays[1] - rows - (arrays[3] + math.log(k))
    return -ops.logsigmoid(pos).mean() - k * ops.logsigmoid(-neg).mean()


class AliasSampler:
    """Draws from a discrete distribution in O(1) each, after O(n) to build (Vose 1991).

    Every value has one column of height 1: its own share below `shares[i]`, and above it the share of `others[i]`.

    >>> sampler = AliasSampler([0.5, 0.25, 0.25])
    >>> sampler.shares.tolist(), sampler.others.tolist()
    ([1.0, 0.75, 0.75], [0, 0, 0])
    """

    def __init__(self, probabilities: ArrayLike) -> None:
        p = _probabilities("AliasSampler", probabilities)
        n = len(p)
        self.shares, self.others = np.ones(n), np.arange(n)
        heights = (p * n).tolist()
        low = [i for i, height in enumerate(heights) if height < 1]
        high = [i for i, height in enumerate(heights) if height >= 1]
        while low and high:
            small, large = low.pop(), high[-1]
            self.shares[small], self.others[small] = heights[small], large
            heights[large] -= 1 - heights[small]
            if heights[large] < 1:
                low.append(high.pop())
        for i in low + high:  # what is left is 1 but for rounding
            self.shares[i], self.others[i] = 1.0, i

    def sample(self, shape: int | tuple[int, ...], *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices of that shape: a column, and where in it."""
        column = rng.integers(len(self.shares), size=shape)
        found: NDArray[np.int64] = np.where(rng.random(shape) < self.shares[column], column, self.others[column])
        return found


class NoiseDistribution:
    """A discrete distribution q over 0..n-1, to draw negatives from and to look their log q up.

    >>> noise = NoiseDistribution([0.5, 0.25, 0.25])
    >>> noise.sample((2, 3), rng=np.random.default_rng(0)).shape, noise.log_prob(np.array([0, 2])).round(4).tolist()
    ((2, 3), [-0.6931, -1.3863])
    """

    def __init__(self, probabilities: ArrayLike) -> None:
        self.probabilities = _probabilities("NoiseDistribution", probabilities)
        self.alias_sampler = AliasSampler(self.probabilities)
        with np.errstate(divide="ignore"):
            self._log = np.log(self.probabilities)

    @classmethod
    def unigram(cls, counts: ArrayLike, power: float = 0.75) -> NoiseDistribution:
        """q ∝ count ** power: the frequencies, flattened (Mikolov et al. 2013, arXiv 1310.4546); at 0 uniform.

        >>> NoiseDistribution.unigram([16, 1]).probabilities.round(4).tolist()
        [0.8889, 0.1111]
        """
        found = np.asarray(counts, np.float64)
        if found.ndim != 1 or not found.size or not (found >= 0).all() or not found.sum() > 0:
            raise UsageError(f"NoiseDistribution.unigram: expected counts (n,) >= 0, not all 0, got {counts!r}")
        weights = np.where(found > 0, found, 1.0) ** power * (found > 0)
        return cls(weights / weights.sum())

    def sample(self, shape: int | tuple[int, ...], *, rng: np.random.Generator) -> NDArray[np.int64]:
        """Indices drawn from q, on the host."""
        return self.alias_sampler.sample(shape, rng=rng)

    def log_prob(self, index: NDArray[Any]) -> NDArray[np.float64]:
        """log q of every index, -inf where q is 0."""
        found: NDArray[np.float64] = self._log[index]
        return found


def _probabilities(who: str, probabilities: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(probabilities, np.float64)
    if p.ndim != 1 or not p.size or not (p >= 0).all() or not abs(p.sum() - 1) < 1e-6:
        raise UsageError(f"{who}: expected probabilities (n,) >= 0 that sum to 1, got {p.shape} with the sum {p.sum()}")
    normalised: NDArray[np.float64] = p / p.sum()
    return normalised


# ---- InfoNCE
def info_nce(
    query: Any,
    keys: Any = None,
    temperature: Any = 1.0,
    labels: Any = None,
    *,
    symmetric: bool = False,
    normalize: bool = False,
    reduction: str = "mean",
) -> Any:
    """-log e^(s_iy / τ) / Σ_j e^(s_ij / τ): which key belongs to query i (arXiv 1807.03748)?

    query: the scores s (N, M), or with `keys` (M, d) embeddings (N, d), of which s is the inner product (the cosine
    with `normalize`: SimCLR's, MoCo's and CLIP's). labels (N,) says which key y is query i's; by default key i, and
    keys after the first N are negatives of all (a queue). `symmetric` adds the same question of every key, and takes
    the mean of both (CLIP's). temperature: a number, or a Tensor to be learnt.

    log M - loss is a lower bound of the mutual information of query and key: `information.infonce_bound`.
    Raises ShapeError for what does not fit.

    >>> import tinygrad_zoo as tz
    >>> round(info_nce(tz.zeros(4, 4)).item(), 4)  # log 4
    1.3863
    >>> info_nce(10 * tz.eye(3), 10 * tz.eye(3), symmetric=True).item() < 1e-6
    True
    """
    scores = _scores(query, keys, normalize)
    n, m = scores.shape
    if symmetric and (labels is not None or n != m):
        raise ShapeError(f"info_nce: symmetric pairs key i with query i, so it takes no labels and N = M, got {n}, {m}")
    if not isinstance(temperature, Tensor) and not temperature > 0:
        raise UsageError(f"info_nce: expected temperature > 0, got {temperature}")
    scores = scores / temperature
    if labels is not None:
        return ops.cross_entropy(scores, labels, reduction=reduction)
    if n > m:
        raise ShapeError(f"info_nce: {n} queries have {m} keys: give labels, or a key for each")
    index = arange(n, device=scores.device)
    loss = ops.cross_entropy(scores, index, reduction=reduction)
    return (loss + ops.cross_entropy(scores.T, index, reduction=reduction)) / 2 if symmetric else loss


def _scores(query: Any, keys: Any, normalize: bool) -> Any:
    query = as_tensor(query)
    if query.ndim != 2 or query.dtype.kind != "f":
        raise (ShapeError if query.ndim != 2 else DTypeError)(
            f"info_nce: expected scores (N, M), or embeddings (N, d) with keys (M, d), got {query.dtype} {query.shape}"
        )
    if keys is None:
        if normalize:
            raise UsageError("info_nce: normalize is for embeddings: give keys")
        return query
    keys = as_tensor(keys)
    if keys.ndim != 2 or keys.shape[1] != query.shape[1]:
        raise ShapeError(f"info_nce: expected keys (M, {query.shape[1]}), got {keys.shape}")
    if normalize:
        query, keys = ops.normalize(query, axis=-1), ops.normalize(keys, axis=-1)
    return query @ keys.T

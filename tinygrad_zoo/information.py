"""How far apart two distributions are, and how much one variable says of another, in nats (0 log 0 is 0 everywhere).

A distribution is its probabilities along `axis`, or its density on a grid: then `cell` is the volume that a point of
the grid stands for, and sums become integrals. Nothing is normalised. Inputs broadcast.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import ops
from .backend import on_host
from .errors import ShapeError, UsageError
from .losses.contrastive import info_nce
from .tensor import Tensor, as_tensor
from .variable import looked_at

Axes: TypeAlias = int | tuple[int, ...] | None  # None is all of them


# ---- divergences
def kl(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """KL(p‖q) = Σ p log(p / q): what it costs to believe q where p is true; inf where q = 0 and p > 0 somewhere.

    Minimised over q, it makes q cover all that p does: maximum likelihood. An entry with p = 0 adds 0, with gradient 0.
    Raises UsageError for a negative entry (on the host), ShapeError where p and q do not broadcast.

    >>> round(kl([0.5, 0.5], [0.25, 0.75]).item(), 4)
    0.1438
    >>> kl([0.5, 0.5], [1.0, 0.0]).item()
    inf
    """
    p, q = _densities("kl", p, q)
    return _summed(ops.rel_entr(p, q), axis, cell)


def reverse_kl(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """KL(q‖p): of data p and a model q, what makes the model avoid places without data. Errors are those of `kl`.

    >>> round(reverse_kl([0.5, 0.5], [0.25, 0.75]).item(), 4)
    0.1308
    """
    p, q = _densities("reverse_kl", p, q)
    return _summed(ops.rel_entr(q, p), axis, cell)


def js(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """½ KL(p‖m) + ½ KL(q‖m) with m = ½ (p + q) (Lin 1991): symmetric, at most log 2. Errors are those of `kl`.

    >>> round(js([1.0, 0.0], [0.0, 1.0]).item(), 4)
    0.6931
    """
    p, q = _densities("js", p, q)
    middle = 0.5 * (p + q)
    return _summed(0.5 * (ops.rel_entr(p, middle) + ops.rel_entr(q, middle)), axis, cell)


def tv(p: Any, q: Any, *, axis: Axes = -1, cell: float = 1.0) -> Any:
    """½ Σ |p - q|, the largest difference of probability of any event: at most 1. Errors are those of `kl`.

    >>> tv([0.5, 0.5], [0.25, 0.75]).item()
    0.25
    """
    p, q = _densities("tv", p, q)
    return _summed(0.5 * ops.abs(p - q), axis, cell)


def _summed(values: Any, axis: Axes, cell: float) -> Any:
    return values.sum(axis=axis) * cell


def _densities(who: str, p: Any, q: Any) -> tuple[Tensor, Tensor]:
    """Both as Tensors that broadcast and have no negative entry."""
    p, q = as_tensor(p), as_tensor(q)
    for name, x in (("p", p), ("q", q)):
        array = looked_at(x)
        if on_host(array) and x.size and array.min() < 0:
            raise UsageError(
                f"{who}: expected {name} >= 0, got {array.min():g}: of logits write "
                f"{who}(…, tinygrad_zoo.softmax({name}, axis=-1))"
            )
    if p.ndim and q.ndim and p.shape[-1] != q.shape[-1]:
        raise ShapeError(f"{who}: p {p.shape} and q {q.shape} are not over the same values")
    return p, q


# ---- entropy and mutual information, estimated: of arrays, on the host
def entropy(p: ArrayLike, *, base: float = math.e, miller_madow: bool = False) -> float:
    """H = -Σ p log p of probabilities, or of counts, which are normalised: in nats, or by another `base` (2: bits).

    `miller_madow`, of counts only, adds (m - 1) / 2N nats, with m values seen in N draws: the first order of what the
    plug-in estimate is too low by (Miller 1955).

    >>> entropy([0.5, 0.5], base=2), entropy([1, 0])
    (1.0, 0.0)
    >>> round(entropy([3, 1], miller_madow=True) - entropy([3, 1]), 4)
    0.125
    """
    p = _table("entropy", p).ravel()
    if not base > 1:
        raise UsageError(f"entropy: expected base > 1, got {base}")
    if miller_madow and not (p == np.round(p)).all():
        raise UsageError("entropy: miller_madow needs counts, whole numbers, not probabilities")
    q = p[p > 0] / p.sum()
    value = max(0.0, -float((q * np.log(q)).sum()))
    return (value + (len(q) - 1) / (2 * float(p.sum())) * miller_madow) / math.log(base)


def mutual_information(x: ArrayLike, y: ArrayLike | None = None, *, miller_madow: bool = False) -> float:
    """I(X; Y) = Σ p(x, y) log p(x | y) / p(x) = H(X) - H(X | Y), in nats, of a table or of paired draws.

    x alone: the joint probabilities, or counts, (m_x, m_y), of any size. x and y: labels (N,) each, of any kind; the
    plug-in estimate, which is too high by about (m_x - 1)(m_y - 1) / 2N where they are independent. `miller_madow` adds
    (m_x + m_y - m_xy - 1) / 2N, with the m values seen of x, of y, of both: of counts only; the result may be below 0.

    >>> round(mutual_information([[0.5, 0.0], [0.0, 0.5]]), 4)  # log 2
    0.6931
    >>> mutual_information(["a", "a", "b", "b"], [0, 1, 0, 1])
    0.0
    """
    joint = _table("mutual_information", x) if y is None else _contingency(x, y)
    if joint.ndim != 2:
        raise ShapeError(f"mutual_information: expected a joint table (m_x, m_y), got {joint.shape}")
    parts = joint.sum(axis=1), joint.sum(axis=0), joint
    of_x, of_y, of_both = (entropy(part, miller_madow=miller_madow) for part in parts)
    value = of_x + of_y - of_both
    return value if miller_madow else max(0.0, value)


def _contingency(x: ArrayLike, y: ArrayLike) -> NDArray[Any]:
    """How often each pair of values occurs."""
    x, y = np.asarray(x), np.asarray(y)
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ShapeError(f"mutual_information: expected labels (N,) and (N,), got {x.shape} and {y.shape}")
    (u, i), (v, j) = (np.unique(z, return_inverse=True) for z in (x, y))
    return np.bincount(i * len(v) + j, minlength=len(u) * len(v)).reshape(len(u), len(v))


def ksg_mi(x: ArrayLike, y: ArrayLike, *, k: int = 3) -> float:
    """ψ(k) + ψ(N) - ⟨ψ(n_x + 1) + ψ(n_y + 1)⟩, of points (N,) or (N, d): Kraskov et al. 2004, arXiv cond-mat/0305641.

    n_x counts the points that are nearer in x than the k-th neighbour is in the larger of both distances (their first
    algorithm). For continuous variables without repeated points; in nats, and not below 0.
    The more they tell of one another, the more points it needs: an exponential number in I(X; Y).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.standard_normal(1000)
    >>> bool(abs(ksg_mi(x, x + rng.standard_normal(1000)) - 0.5 * np.log(2)) < 0.1)
    True
    """
    from scipy.spatial import cKDTree
    from scipy.special import digamma

    points = [_host("ksg_mi", z) for z in (x, y)]
    a, b = (z[:, None] if z.ndim == 1 else z for z in points)
    if a.ndim != 2 or b.ndim != 2 or len(a) != len(b):
        raise ShapeError(f"ksg_mi: expected points (N, d) and (N, e), got {points[0].shape} and {points[1].shape}")
    if not 1 <= k < len(a):
        raise UsageError(f"ksg_mi: expected 1 <= k < N = {len(a)}, got {k}")
    both = np.concatenate([a, b], axis=1)
    radius = np.nextafter(cKDTree(both).query(both, k + 1, p=np.inf)[0][:, -1], 0)  # nearer than that, not as near
    counts = [cKDTree(z).query_ball_point(z, radius, p=np.inf, return_length=True) for z in (a, b)]  # and themselves
    value = digamma(k) + digamma(len(a)) - sum(np.mean(digamma(count)) for count in counts)
    return float(max(0.0, value))


def _table(who: str, values: ArrayLike) -> NDArray[Any]:
    found = _host(who, values)
    if not found.size or not (found >= 0).all() or not found.sum() > 0:
        raise UsageError(f"{who}: expected probabilities or counts >= 0, not all 0, got {values!r}")
    return found


def _host(who: str, values: Any) -> NDArray[Any]:
    """A NumPy array of finite numbers."""
    found: NDArray[Any] = values.numpy() if isinstance(values, Tensor) else np.asarray(values)
    if found.dtype.kind not in "fiub" or not np.isfinite(found).all():
        raise UsageError(f"{who}: expected finite numbers, got {found.dtype}")
    return found.astype(np.float64)


# ---- lower bounds of the mutual information, by a critic T(x, y): differentiable, to be maximised
def pair_scores(scores: Any) -> tuple[Any, Any]:
    """T of a batch's own pairs, and of all others: from the matrix T(x_i, y_j), (N, N), to (N,) and (N (N - 1),).

    The second are draws from p(x) p(y); no pair of the batch is among them.

    >>> own, others = pair_scores(np.arange(9.0).reshape(3, 3))
    >>> own.tolist(), others.tolist()
    ([0.0, 4.0, 8.0], [1.0, 2.0, 3.0, 5.0, 6.0, 7.0])
    """
    t = as_tensor(scores)
    n = t.shape[0] if t.ndim else 0
    if t.ndim != 2 or t.shape[1] != n or n < 2:
        raise ShapeError(f"pair_scores: expected scores (N, N) with N >= 2, got {t.shape}")
    others = t.reshape(n * n)[1:].reshape(n - 1, n + 1)[:, :n]  # each row ends at the next of the diagonal
    return ops.diagonal(t), others.reshape(n * (n - 1))


def dv_bound(joint: Any, product: Any) -> Any:
    """E_P T - log E_Q e^T (Donsker & Varadhan; MINE, arXiv 1801.04062), of scores of p(x, y) and of p(x) p(y).

    With any T a lower bound of I, equal to it where T = log p(x, y) / p(x) p(y) + c. Of a finite batch it is above that
    on average, and its variance grows like e^I: a single batch says little where I is large.

    >>> dv_bound([1.0, 1.0], [1.0, 1.0, 1.0]).item()
    0.0
    """
    t, u = _pair("dv_bound", joint, product)
    return t.mean() - (ops.logsumexp(u) - math.log(u.size))


def nwj_bound(joint: Any, product: Any) -> Any:
    """E_P T - E_Q e^(T - 1) (Nguyen, Wainwright & Jordan 2010): unbiased, never above `dv_bound` on the same scores.

    Equal to I where T = 1 + log p(x, y) / p(x) p(y); its variance grows like e^I, too.

    >>> nwj_bound([1.0, 1.0], [1.0, 1.0, 1.0]).item()
    0.0
    """
    t, u = _pair("nwj_bound", joint, product)
    return t.mean() - ops.exp(u - 1).mean()


def jsd_bound(joint: Any, product: Any) -> Any:
    """-E_P softplus(-T) - E_Q softplus(T): of low variance, but no value of I. At most 2 JS(P‖Q) - 2 log 2 <= 0.

    It grows with the mutual information, and its best critic is T = log p(x, y) / p(x) p(y) (arXiv 1808.06670).

    >>> round(jsd_bound([0.0], [0.0]).item(), 4)  # nothing learnt: -2 log 2
    -1.3863
    """
    t, u = _pair("jsd_bound", joint, product)
    return -ops.softplus(-t).mean() - ops.softplus(u).mean()


def infonce_bound(scores: Any) -> Any:
    """log N - InfoNCE of T(x_i, y_j), (N, N): a lower bound of I on average, of low variance, and never above log N.

    It is for batches that the critic was not trained on, as all of these bounds (arXiv 1807.03748).

    >>> bool(infonce_bound(100 * np.eye(4)).item() <= np.log(4))
    True
    """
    t = as_tensor(scores)
    if t.ndim != 2 or t.shape[0] != t.shape[1] or not t.size:
        raise ShapeError(f"infonce_bound: expected scores (N, N), got {t.shape}")
    return math.log(t.shape[0]) - info_nce(t)


def _pair(who: str, joint: Any, product: Any) -> tuple[Tensor, Tensor]:
    t, u = as_tensor(joint), as_tensor(product)
    if t.ndim != 1 or u.ndim != 1 or not t.size or not u.size:
        raise ShapeError(
            f"{who}: expected scores (N,) of pairs and (M,) of others, got {t.shape} and {u.shape}: of a matrix "
            f"T(x_i, y_j), where both are mixed, write {who}(*pair_scores(scores))"
        )
    return t, u

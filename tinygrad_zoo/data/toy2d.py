"""Point sets of the plane, of known density where it can be had: what flows and diffusion models are measured on.

Every generator takes (n, rng) and returns points (n, 2) and labels (n,), int64, drawn independently of one another.
`*_log_density(x, ..., statistics)` is the exact log-density, in float64, of points that were standardised by
`statistics`; the matching entropy is the lowest negative log-likelihood that any model of them can reach.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ..errors import DTypeError, ShapeError, UsageError
from .loading import Array, Seed, Split, Statistics, at_least, generator, standardize

Points = tuple[Array, NDArray[np.int64]]
LogDensity = NDArray[np.float64]


def two_moons(n: int, rng: Seed, noise: float = 0.10, dtype: DTypeLike = np.float32) -> Points:
    """Two interleaved half circles: (cos t, sin t) for label 0, (1 - cos t, 1/2 - sin t) for label 1, t ~ U(0, pi),
    plus N(0, noise^2 I). Returns points (n, 2) and labels (n,).

    >>> x, y = two_moons(1000, 0)
    >>> x.shape, x.dtype.name, np.unique(y).tolist()
    ((1000, 2), 'float32', [0, 1])
    """
    n, noise, rng = at_least("n", n, 1), _scale("noise", noise), generator(rng)
    labels = rng.integers(0, 2, n)
    t = rng.uniform(0, math.pi, n)
    side = 1 - 2 * labels
    arcs = np.stack([labels + side * np.cos(t), labels / 2 + side * np.sin(t)], axis=1)
    return _cast(arcs + noise * rng.standard_normal((n, 2)), dtype), labels


def two_moons_split(
    rng: Seed, n_train: int = 10_000, n_test: int = 20_000, noise: float = 0.10, dtype: DTypeLike = np.float32
) -> Split:
    """Two moons, standardised by the training points' statistics: train (x,) and test (x,), without labels.

    The test points are drawn first, so that they (before standardising) do not depend on n_train.

    >>> two_moons_split(0, n_train=500)
    Split(train=[500: (2,) float32], test=[20000: (2,) float32])
    """
    rng = generator(rng)
    test, _ = two_moons(n_test, rng, noise, dtype)
    train, _ = two_moons(n_train, rng, noise, dtype)
    return standardize(Split(train=(train,), test=(test,)))


def two_moons_log_density(x: Array, noise: float = 0.10, statistics: Statistics | None = None) -> LogDensity:
    """log p(x) = log sum_m (1 / 2 pi) integral_0^pi N(x; arc_m(t), noise^2 I) dt, (n, 2) -> (n,).

    The integral is Gauss-Legendre's, over panels at most one noise wide: log p is right to 1e-9 within 15 noises of the
    moons, for noise >= 0.001. Time is proportional to n / noise.
    With `statistics`, x is standardised and the density is that of the standardised points.

    >>> corner = two_moons_log_density(np.array([[0.0, 1.0], [9.0, 9.0]]))
    >>> bool(corner[0] > -1 > -1000 > corner[1])
    True
    """
    noise = _scale("noise", noise, positive=True)
    points, log_det = _original(x, statistics)
    # Turning the plane by pi about (1/2, 1/4) swaps the moons, so that one arc's integral serves for both.
    other = np.array([1.0, 0.5]) - points
    return np.logaddexp(_log_arc(points, noise), _log_arc(other, noise)) - math.log(2) - log_det


def two_moons_entropy(x: Array, noise: float = 0.10, statistics: Statistics | None = None) -> float:
    """-mean log p(x) over the given test points (n, 2): an unbiased estimate of the entropy, in nats.

    Taken on the very points of a model's negative log-likelihood, it leaves little noise in the difference of the two.
    The entropy itself, standardised by the true mean and std, is 1.830 at noise 0.10, 1.131 at 0.05, 2.006 at 0.12;
    10,000 training points' statistics move it by about 0.01.

    >>> s = two_moons_split(0)
    >>> 1.8 < two_moons_entropy(s.test[0], statistics=s.statistics) < 1.87
    True
    """
    return -float(two_moons_log_density(x, noise, statistics).mean())


def _log_arc(points: NDArray[np.float64], noise: float) -> LogDensity:
    """log (1 / pi) integral_0^pi N(x; (cos t, sin t), noise^2 I) dt, (n, 2) -> (n,)."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    edges = np.linspace(0, math.pi, math.ceil(math.pi / noise) + 1)
    half = edges[1] / 2
    t = (edges[:-1, None] + half * (1 + nodes)).ravel()  # (panels * 16,)
    log_weights = np.tile(np.log(weights * half / math.pi), len(edges) - 1)
    circle = np.stack([np.cos(t), np.sin(t)])  # (2, panels * 16)

    density = np.empty(len(points))
    rows = max(1, 2**20 // len(t))  # bounds the memory at a few MB
    for start in range(0, len(points), rows):
        x = points[start : start + rows]
        distance = (x * x).sum(1, keepdims=True) + 1 - 2 * (x @ circle)  # |x - (cos t, sin t)|^2
        density[start : start + rows] = _logsumexp(log_weights - distance / (2 * noise**2))
    return density - math.log(2 * math.pi * noise**2)


def eight_gaussians(
    n: int, rng: Seed, radius: float = 2.0, noise: float = 0.2, dtype: DTypeLike = np.float32
) -> Points:
    """A mixture of eight Gaussians N(c_k, noise^2 I) at c_k = radius (cos 2 pi k / 8, sin 2 pi k / 8), label k.

    >>> x, y = eight_gaussians(1000, 0)
    >>> x.shape, np.unique(y).size
    ((1000, 2), 8)
    """
    n, noise, rng = at_least("n", n, 1), _scale("noise", noise), generator(rng)
    labels = rng.integers(0, 8, n)
    centres = _centres(_scale("radius", radius))
    return _cast(centres[labels] + noise * rng.standard_normal((n, 2)), dtype), labels


def eight_gaussians_log_density(
    x: Array, radius: float = 2.0, noise: float = 0.2, statistics: Statistics | None = None
) -> LogDensity:
    """log p(x) = log (1/8) sum_k N(x; c_k, noise^2 I), (n, 2) -> (n,).

    >>> at_centre = eight_gaussians_log_density(np.array([[2.0, 0.0]]))
    >>> bool(np.isclose(at_centre[0], -np.log(8 * 2 * np.pi * 0.2**2), atol=1e-6))
    True
    """
    radius, noise = _scale("radius", radius), _scale("noise", noise, positive=True)
    points, log_det = _original(x, statistics)
    distance = ((points[:, None] - _centres(radius)) ** 2).sum(2)  # (n, 8)
    return _logsumexp(-distance / (2 * noise**2)) - math.log(8 * 2 * math.pi * noise**2) - log_det


def eight_gaussians_entropy(radius: float = 2.0, noise: float = 0.2, statistics: Statistics | None = None) -> float:
    """-E log p(x) in nats: by symmetry the mean over one component, which the trapezoid rule gives to about 1e-9.

    Far apart the components leave log 8 + log(2 pi e noise^2).

    >>> bool(np.isclose(eight_gaussians_entropy(radius=100.0), np.log(8 * 2 * np.pi * np.e * 0.2**2)))
    True
    """
    radius, noise = _scale("radius", radius), _scale("noise", noise, positive=True)
    grid = np.linspace(-8, 8, 401)
    weights = np.exp(-(grid**2) / 2)
    weights /= weights.sum()
    around = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2) * noise
    log_density = eight_gaussians_log_density(around + _centres(radius)[0], radius, noise)
    mean = weights @ log_density.reshape(401, 401) @ weights
    return -float(mean) + (statistics.log_det if statistics else 0.0)


def _centres(radius: float) -> NDArray[np.float64]:
    angles = np.arange(8) * (math.pi / 4)
    return radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def checkerboard(n: int, rng: Seed, dtype: DTypeLike = np.float32) -> Points:
    """Uniform on the eight unit squares of [-2, 2)^2 whose lower left corner (i, j) has i + j even; label: the square.

    >>> x, y = checkerboard(1000, 0)
    >>> bool((np.floor(x).sum(axis=1) % 2 == 0).all()), np.unique(y).size
    (True, 8)
    """
    n, rng = at_least("n", n, 1), generator(rng)
    labels = rng.integers(0, 8, n)
    row = labels // 2
    corners = np.stack([2 * (labels % 2) + row % 2, row], axis=1) - 2
    points = _cast(corners + rng.random((n, 2)), dtype)
    # Rounding to dtype may reach the upper edge, which belongs to an empty square.
    return np.minimum(points, np.nextafter((corners + 1).astype(points.dtype), points.dtype.type(-3))), labels


def checkerboard_log_density(x: Array, statistics: Statistics | None = None) -> LogDensity:
    """-log 8 on the filled squares, -inf elsewhere, (n, 2) -> (n,).

    Undoing a standardisation rounds: points within a rounding error of an edge may be found on its other side.

    >>> checkerboard_log_density(np.array([[0.5, 0.5], [0.5, 1.5], [4.5, 0.5]])).round(3).tolist()
    [-2.079, -inf, -inf]
    """
    points, log_det = _original(x, statistics)
    filled = (np.floor(points).sum(1) % 2 == 0) & ((points >= -2) & (points < 2)).all(1)
    return np.where(filled, -math.log(8) - log_det, -np.inf)


def checkerboard_entropy(statistics: Statistics | None = None) -> float:
    """log 8 nats, the logarithm of the filled area; plus log |det| of the standardisation.

    >>> round(checkerboard_entropy(), 3)
    2.079
    """
    return math.log(8) + (statistics.log_det if statistics else 0.0)


def pinwheel(
    n: int,
    rng: Seed,
    arms: int = 5,
    radial: float = 0.3,
    tangential: float = 0.1,
    rate: float = 0.25,
    dtype: DTypeLike = np.float32,
) -> Points:
    """Gaussian arms bent by their radius (Johnson et al. 2016, arXiv 1603.06277): with a ~ N(1, radial^2) and
    b ~ N(0, tangential^2), the point (a, b) turned by 2 pi label / arms + rate exp(a).

    >>> x, y = pinwheel(1000, 0)
    >>> x.shape, np.unique(y).size
    ((1000, 2), 5)
    """
    n, arms, rng = at_least("n", n, 1), at_least("arms", arms, 1), generator(rng)
    labels = rng.integers(0, arms, n)
    a, b = rng.standard_normal((2, n)) * [[_scale("radial", radial)], [_scale("tangential", tangential)]] + [[1], [0]]
    angle = 2 * math.pi * labels / arms + rate * np.exp(a)
    cos, sin = np.cos(angle), np.sin(angle)
    return _cast(np.stack([a * cos - b * sin, a * sin + b * cos], axis=1), dtype), labels


def spirals(
    n: int, rng: Seed, arms: int = 2, turns: float = 1.5, noise: float = 0.02, dtype: DTypeLike = np.float32
) -> Points:
    """Interleaved Archimedean spirals: r (cos, sin)(2 pi (turns r + label / arms)), r = sqrt(U(0, 1)), plus
    N(0, noise^2 I). The square root spreads the points about evenly along an arm.

    >>> x, y = spirals(1000, 0, arms=3)
    >>> x.shape, np.unique(y).tolist()
    ((1000, 2), [0, 1, 2])
    """
    n, arms, rng = at_least("n", n, 1), at_least("arms", arms, 1), generator(rng)
    labels = rng.integers(0, arms, n)
    r = np.sqrt(rng.random(n))
    angle = 2 * math.pi * (_scale("turns", turns) * r + labels / arms)
    arm = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    return _cast(arm + _scale("noise", noise) * rng.standard_normal((n, 2)), dtype), labels


def _scale(name: str, value: float, positive: bool = False) -> float:
    if not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
        raise UsageError(
            f"{name} must be finite and {'> 0 (a density needs it)' if positive else '>= 0'}, got {value!r}"
        )
    return float(value)


def _cast(points: NDArray[np.float64], dtype: DTypeLike) -> Array:
    if not np.issubdtype(dtype, np.floating):
        raise DTypeError(f"points need a floating dtype, got {np.dtype(dtype)}; write dtype=np.float32")
    return points.astype(dtype)


def _original(x: Array, statistics: Statistics | None) -> tuple[NDArray[np.float64], float]:
    """The points before standardisation, in float64, and log |det dz/dx|, which their log-density is to lose."""
    points = np.asarray(x, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ShapeError(f"a density of the plane takes points (n, 2), got {points.shape}")
    return (points, 0.0) if statistics is None else (statistics.restore(points), statistics.log_det)


def _logsumexp(x: NDArray[np.float64]) -> LogDensity:
    """log sum exp over the last axis, (n, m) -> (n,)."""
    highest: LogDensity = x.max(axis=1)
    total: LogDensity = np.exp(x - highest[:, None]).sum(axis=1)
    return highest + np.log(total)

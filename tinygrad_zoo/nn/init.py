"""Initialisers: each writes into a Tensor, in place, and returns it. Names and defaults are PyTorch's.

Random ones draw on the host from `rng`, in double precision, so that every device and dtype starts from the same
numbers. The fans of a weight (out, in, …) are in·(…) and out·(…).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..backend import to_device
from ..errors import ShapeError, UsageError
from ..ops.random import REQUIRED as REQUIRED
from ..ops.random import generator as generator
from ..tensor import Tensor

Generator = np.random.Generator


def _write(tensor: Tensor, values: NDArray[Any]) -> Tensor:
    tensor.data[...] = to_device(values.astype(tensor.dtype), tensor.device)
    tensor.mark_written()
    return tensor


def _fans(who: str, tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError(f"{who}: expected a weight (out, in, …), got shape {tensor.shape}, which has no fans")
    receptive = math.prod(tensor.shape[2:])
    return tensor.shape[1] * receptive, tensor.shape[0] * receptive


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which a weight before `nonlinearity` grows so that variances stay; `param`: leaky_relu's slope.

    >>> calculate_gain("relu") == math.sqrt(2)
    True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    gains = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise UsageError(f"calculate_gain: no gain for {nonlinearity!r}; expected one of {[*gains, 'leaky_relu']}")
    return gains[nonlinearity]


def zeros_(tensor: Tensor) -> Tensor:
    """0 everywhere."""
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """1 everywhere."""
    return constant_(tensor, 1.0)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """`val` everywhere.

    >>> from tinygrad_zoo import zeros
    >>> constant_(zeros(2), 3.0).tolist()
    [3.0, 3.0]
    """
    return _write(tensor, np.full(tensor.shape, val))


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, *, rng: Generator = REQUIRED) -> Tensor:
    """U(a, b)."""
    return _write(tensor, generator("uniform_", rng).uniform(a, b, tensor.shape))


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, *, rng: Generator = REQUIRED) -> Tensor:
    """N(mean, std²)."""
    if std < 0:
        raise UsageError(f"normal_: expected std >= 0, got {std}")
    return _write(tensor, mean + std * generator("normal_", rng).standard_normal(tensor.shape))


def trunc_normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0, *, rng: Generator = REQUIRED
) -> Tensor:
    """N(mean, std²) conditioned on [a, b] (values, not deviations), by inverting the distribution function."""
    if std <= 0 or a >= b:
        raise UsageError(f"trunc_normal_: expected std > 0 and a < b, got std={std}, a={a}, b={b}")
    from scipy.special import ndtr, ndtri

    low, high = (a - mean) / std, (b - mean) / std
    side = -1 if low > 0 else 1  # Φ resolves its lower tail, not its upper one
    low, high = sorted((side * low, side * high))
    u = generator("trunc_normal_", rng).uniform(ndtr(low), ndtr(high), tensor.shape)
    return _write(tensor, np.clip(mean + std * side * ndtri(u), a, b))


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, *, rng: Generator = REQUIRED) -> Tensor:
    """U(±gain·√(6 / (fan_in + fan_out))) (Glorot & Bengio 2010)."""
    bound = gain * math.sqrt(6 / sum(_fans("xavier_uniform_", tensor)))
    return uniform_(tensor, -bound, bound, rng=generator("xavier_uniform_", rng))


def xavier_normal_(tensor: Tensor, gain: float = 1.0, *, rng: Generator = REQUIRED) -> Tensor:
    """N(0, gain²·2 / (fan_in + fan_out)) (Glorot & Bengio 2010)."""
    std = gain * math.sqrt(2 / sum(_fans("xavier_normal_", tensor)))
    return normal_(tensor, 0.0, std, rng=generator("xavier_normal_", rng))


def _kaiming_std(who: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise UsageError(f"{who}: mode={mode!r}: expected 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / math.sqrt(_fans(who, tensor)[mode == "fan_out"])


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Generator = REQUIRED,
) -> Tensor:
    """U(±gain·√(3 / fan)) (arXiv 1502.01852); `a` is leaky_relu's slope.

    >>> from tinygrad_zoo import zeros
    >>> w = kaiming_uniform_(zeros((4, 100)), a=5**0.5, rng=np.random.default_rng(0))
    >>> bool(abs(w.numpy()).max() <= 0.1)
    True
    """
    bound = math.sqrt(3) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, rng=generator("kaiming_uniform_", rng))


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    *,
    rng: Generator = REQUIRED,
) -> Tensor:
    """N(0, gain² / fan) (arXiv 1502.01852); `a` is leaky_relu's slope."""
    std = _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity)
    return normal_(tensor, 0.0, std, rng=generator("kaiming_normal_", rng))


def lecun_normal_(tensor: Tensor, *, rng: Generator = REQUIRED) -> Tensor:
    """N(0, 1 / fan_in) (LeCun et al. 1998), which self-normalising networks need (arXiv 1706.02515)."""
    std = 1 / math.sqrt(_fans("lecun_normal_", tensor)[0])
    return normal_(tensor, 0.0, std, rng=generator("lecun_normal_", rng))


def orthogonal_(tensor: Tensor, gain: float = 1.0, *, rng: Generator = REQUIRED) -> Tensor:
    """gain·Q with orthonormal rows or columns, whichever are fewer, of the weight as a matrix (out, in·…).

    Q is Haar-distributed: the QR factor of a Gaussian matrix with the signs of R's diagonal (arXiv 1312.6120).
    """
    _fans("orthogonal_", tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    tall = generator("orthogonal_", rng).standard_normal((max(rows, columns), min(rows, columns)))
    q, r = np.linalg.qr(tall)
    q = q * np.sign(np.diag(r))
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def icnr_(
    tensor: Tensor,
    upscale_factor: int,
    initializer: Callable[..., Tensor] = kaiming_uniform_,
    *,
    rng: Generator = REQUIRED,
    **settings: Any,
) -> Tensor:
    """Each r² channels that `pixel_shuffle` makes one of alike, as `initializer(…, rng=rng, **settings)` draws the one.

    So what a sub-pixel convolution shows at first is a smaller convolution's output with each pixel repeated r times
    along both axes, without a checkerboard (arXiv 1707.02937). For its weight (C · r², …) and its bias.

    >>> from tinygrad_zoo import zeros
    >>> w = icnr_(zeros((8, 3, 1, 1)), 2, rng=np.random.default_rng(0)).numpy()
    >>> bool((w[:4] == w[0]).all() and (w[4:] == w[4]).all())
    True
    """
    repeats = upscale_factor**2
    if upscale_factor < 1 or not tensor.ndim or tensor.shape[0] % repeats:
        raise ShapeError(f"icnr_: expected a weight of shape (C · {upscale_factor}², …), got {tensor.shape}")
    small = Tensor(np.zeros((tensor.shape[0] // repeats, *tensor.shape[1:])))
    initializer(small, rng=generator("icnr_", rng), **settings)
    return _write(tensor, np.repeat(small.numpy(), repeats, axis=0))


def bilinear_(tensor: Tensor) -> Tensor:
    """(1 - |i - c| / f) · (1 - |j - c| / f), f = ⌊(k + 1) / 2⌋, c = f - 1 for odd k, else f - ½: FCN's upsampling.

    The weight (C, C / groups, k, k) of a transposed convolution; channel i takes part in channel i alone (arXiv
    1411.4038). With stride s, k = 2s - s % 2 and padding ⌈(s - 1) / 2⌉ that is, away from the border, bilinear
    interpolation with align_corners=False. Of (C, C / groups, k) it is linear, of (C, C / groups, k, k, k) trilinear.

    >>> from tinygrad_zoo import zeros
    >>> bilinear_(zeros((1, 1, 3, 3)))[0, 0].tolist()
    [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    """
    if tensor.ndim < 3 or 0 in tensor.shape[1:] or tensor.shape[0] % tensor.shape[1]:
        raise ShapeError(f"bilinear_: expected a weight of shape (C, C / groups, k, …), got {tensor.shape}")
    kernel: Any = np.ones(())
    for k in tensor.shape[2:]:
        f = (k + 1) // 2
        kernel = np.multiply.outer(kernel, 1 - np.abs(np.arange(k) - (f - 1 if k % 2 else f - 0.5)) / f)
    values = np.zeros(tensor.shape)
    channels = np.arange(tensor.shape[0])
    values[channels, channels % tensor.shape[1]] = kernel
    return _write(tensor, values)

"""New Tensors drawn at random: on the host, from the caller's `rng`, so that every device gets the same numbers.

Inside a `checkpoint` they are drawn alike again. Draws have no gradient: for samples that have one, `rsample` of
`tinygrad_zoo.distributions`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from . import backend
from .creation import around, floating, like, sizes_of, whole
from .errors import GradientError, ShapeError, UsageError
from .grad_mode import state
from .ops.random import REQUIRED, draw
from .tensor import Tensor, as_tensor

__all__ = [
    "bernoulli",
    "multinomial",
    "normal",
    "rand",
    "rand_like",
    "randint",
    "randn",
    "randn_like",
    "randperm",
    "uniform",
]


def rand(
    *shape: Any,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1).

    >>> rand(2, rng=np.random.default_rng(0)).shape
    (2,)
    """
    return _random("rand", rng, _unit(sizes_of("rand", shape), floating("rand", dtype)), dtype, device, requires_grad)


def randn(
    *shape: Any,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = "float32",
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers.

    >>> randn(2, 3, rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    sizes = sizes_of("randn", shape)
    values = lambda rng: rng.standard_normal(sizes)
    return _random("randn", rng, values, floating("randn", dtype), device, requires_grad)


def rand_like(
    x: Any,
    *,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [0, 1), in the shape, the dtype and on the device of `x`.

    >>> rand_like(np.zeros((2, 3)), rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    shape, dtype, device = like("rand_like", x, dtype, device)
    return rand(shape, rng=rng, dtype=dtype, device=device, requires_grad=requires_grad)


def randn_like(
    x: Any,
    *,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Standard normal numbers, in the shape, the dtype and on the device of `x`.

    >>> randn_like(np.zeros((2, 3)), rng=np.random.default_rng(0)).shape
    (2, 3)
    """
    shape, dtype, device = like("randn_like", x, dtype, device)
    return randn(shape, rng=rng, dtype=dtype, device=device, requires_grad=requires_grad)


def randint(
    low: int,
    high: Any,
    size: Any = None,
    *,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = "int64",
    device: str | None = None,
) -> Tensor:
    """Whole numbers from low to high - 1, each as likely: `randint(low, high, size)` or `randint(high, size)`.

    >>> bool((randint(6, (100,), rng=np.random.default_rng(0)) < 6).all())
    True
    """
    low, high, size = (0, low, high) if size is None else (low, high, size)
    low, high = whole("randint", "low", low), whole("randint", "high", high)
    if low >= high:
        raise UsageError(
            f"randint: expected low < high, got {low} and {high}: write randint(low, high, size) or randint(high, size)"
        )
    sizes = sizes_of("randint", (size,))
    found = backend.real_dtype(dtype, "randint: expected a dtype")
    least, greatest = _whole_numbers(found)
    if not least <= low <= high - 1 <= greatest:
        raise UsageError(f"randint: {low} to {high - 1} do not fit {found}, {least} to {greatest}: write dtype='int64'")
    return _random("randint", rng, lambda rng: rng.integers(low, high, sizes), found, device)


def randperm(n: int, *, rng: np.random.Generator = REQUIRED, dtype: Any = "int64", device: str | None = None) -> Tensor:
    """0 to n - 1 in random order.

    >>> sorted(randperm(4, rng=np.random.default_rng(0)).tolist())
    [0, 1, 2, 3]
    """
    count = whole("randperm", "n", n, 0)
    return _random("randperm", rng, lambda rng: rng.permutation(count), dtype, device)


def normal(
    mean: Any,
    std: Any,
    size: Any = None,
    *,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Normal numbers; mean and std broadcast, also with `size`. For gradients write distributions.Normal(…).rsample.

    >>> normal(100.0, 0.0, (2,), rng=np.random.default_rng(0)).tolist()
    [100.0, 100.0]
    """
    parameters, shape, dtype, device = _parameters("normal", {"mean": mean, "std": std}, size, dtype, device)
    loc, scale = parameters
    if not (scale >= 0).all():
        raise UsageError(f"normal: expected std >= 0, got {scale.min()}")
    values = lambda rng: loc + scale * rng.standard_normal(shape)
    return _random("normal", rng, values, floating("normal", dtype), device, requires_grad)


def uniform(
    low: Any,
    high: Any,
    size: Any = None,
    *,
    rng: np.random.Generator = REQUIRED,
    dtype: Any = None,
    device: str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Uniform numbers in [low, high), which broadcast, also with `size`; rounding may reach high itself.

    >>> uniform(5.0, 5.0, 2, rng=np.random.default_rng(0)).tolist()
    [5.0, 5.0]
    """
    parameters, shape, dtype, device = _parameters("uniform", {"low": low, "high": high}, size, dtype, device)
    below, above = parameters
    if not (below <= above).all():
        raise UsageError(f"uniform: expected low <= high, got {below.max()} and {above.min()}")
    unit = _unit(shape, floating("uniform", dtype))
    return _random("uniform", rng, lambda rng: below + (above - below) * unit(rng), dtype, device, requires_grad)


def bernoulli(
    p: Any, size: Any = None, *, rng: np.random.Generator = REQUIRED, dtype: Any = None, device: str | None = None
) -> Tensor:
    """1 with probability p, else 0.

    >>> bernoulli([0.0, 1.0], rng=np.random.default_rng(0)).tolist()
    [0.0, 1.0]
    """
    (chance,), shape, dtype, device = _parameters("bernoulli", {"p": p}, size, dtype, device)
    if not ((chance >= 0) & (chance <= 1)).all():
        raise UsageError(f"bernoulli: expected 0 <= p <= 1, got {chance.min()} to {chance.max()}")
    return _random("bernoulli", rng, lambda rng: rng.random(shape) < chance, dtype, device)


def multinomial(
    p: Any,
    num_samples: int,
    replacement: bool = False,
    *,
    rng: np.random.Generator = REQUIRED,
    device: str | None = None,
) -> Tensor:
    """Indices drawn in proportion to the weights p, (n,) or (rows, n): (num_samples,) or (rows, num_samples).

    Without replacement by an exponential race: the k smallest of Eᵢ / pᵢ (arXiv 1611.00712, its Gumbel form).

    >>> multinomial([0.0, 3.0, 1.0], 2, rng=np.random.default_rng(0)).numpy().min() > 0
    np.True_
    """
    (weights,), shape, _, device = _parameters("multinomial", {"p": p}, None, None, device)
    k = whole("multinomial", "num_samples", num_samples, 1)
    if not shape or len(shape) > 2 or not shape[-1]:
        raise ShapeError(f"multinomial: expected p of shape (n,) or (rows, n), got {shape}")
    total = weights.sum(axis=-1, keepdims=True)
    if not ((weights >= 0).all() and (total > 0).all() and np.isfinite(total).all()):
        raise UsageError(
            "multinomial: p holds weights >= 0 with a finite sum > 0 in every row, "
            f"got weights from {weights.min()} and sums from {total.min()} to {total.max()}"
        )
    likely = int((weights > 0).sum(axis=-1).min(initial=shape[-1]))
    if not replacement and k > likely:
        raise UsageError(
            f"multinomial: {k} samples without replacement from {likely} classes of p > 0: write replacement=True"
        )

    def race(rng: np.random.Generator) -> Any:
        with np.errstate(divide="ignore"):
            return np.argsort(rng.exponential(size=shape) / weights, axis=-1, kind="stable")[..., :k]

    def inverted(rng: np.random.Generator) -> Any:
        bounds = (weights.cumsum(axis=-1) / total).reshape(-1, shape[-1])
        last = [np.flatnonzero(row)[-1] for row in weights.reshape(-1, shape[-1])]  # where rounding leaves a gap
        rows = [
            np.minimum(np.searchsorted(b, rng.random(k), side="right"), end)
            for b, end in zip(bounds, last, strict=True)
        ]
        return np.array(rows, dtype=np.int64).reshape((*shape[:-1], k))

    return _random("multinomial", rng, inverted if replacement else race, "int64", device)


def _random(
    who: str,
    rng: Any,
    values: Callable[[np.random.Generator], Any],
    dtype: Any,
    device: Any,
    requires_grad: Any = False,
) -> Tensor:
    kind = None if dtype is None else backend.real_dtype(dtype, f"{who}: expected a dtype")
    target = backend.default_device() if device is None else backend.resolve(device)
    drawn = draw(rng, lambda rng: backend.to_device(np.array(values(rng), kind), target), who)
    if state.recorder is None:
        drawn = drawn.copy()  # a `checkpoint` gives out the same again
    return around(who, drawn, requires_grad)


def _whole_numbers(dtype: np.dtype[Any]) -> tuple[int, int]:
    """The range of whole numbers that `dtype` holds each of, and int64 too."""
    if dtype.kind == "b":
        return 0, 1
    if dtype.kind == "f":
        return -(2 ** min(np.finfo(dtype).nmant + 1, 62)), 2 ** min(np.finfo(dtype).nmant + 1, 62)
    return int(np.iinfo(dtype).min), min(int(np.iinfo(dtype).max), 2**63 - 1)


def _unit(shape: tuple[int, ...], dtype: Any) -> Callable[[np.random.Generator], Any]:
    """Draws numbers in [0, 1) that are below 1 in `dtype` too: rounded down to the multiples of its ½ eps."""
    bits = min(np.finfo(dtype).nmant + 1, 53)
    return lambda rng: np.floor(rng.random(shape) * 2.0**bits) * 2.0**-bits


def _parameters(
    who: str, given: dict[str, Any], size: Any, dtype: Any, device: str | None
) -> tuple[list[Any], tuple[int, ...], Any, str | None]:
    """What is given in float64 on the host; the shape it broadcasts to; the dtype and device of the draws."""
    tensors = {name: as_tensor(value) for name, value in given.items()}
    for name, x in tensors.items():
        if x.requires_grad:
            raise GradientError(
                f"{who}: {name} requires a gradient, which these draws have not: write {name}.detach(), "
                "or rsample of tinygrad_zoo.distributions"
            )
        device = x.device if device is None and x.device != backend.HOST else device
    arrays = [backend.to_host(x.data).astype(np.float64) for x in tensors.values()]
    shapes = [x.shape for x in tensors.values()]
    try:
        shape = np.broadcast_shapes(*shapes)
        if size is not None:
            sizes = sizes_of(who, (size,))
            if np.broadcast_shapes(shape, sizes) != sizes:
                raise ValueError
            shape = sizes
    except ValueError as error:
        said = f"{' and '.join(tensors)} of shape {' and '.join(map(str, shapes))}"
        target = "each other" if size is None else f"size={size}"
        raise ShapeError(f"{who}: {said} do not broadcast to {target}; sizes must be equal or 1") from error
    if dtype is not None:
        return arrays, shape, backend.real_dtype(dtype, f"{who}: expected a dtype"), device
    floats = [x.dtype for x in tensors.values() if x.dtype.kind == "f"]
    return arrays, shape, np.result_type(*floats) if floats else np.dtype(np.float32), device

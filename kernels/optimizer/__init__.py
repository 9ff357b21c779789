"""One step of an optimizer over flat arrays: parameters, gradients and state are written in one pass.

`p` is the parameters, `g` their gradients; `p` and the state after it are written, `g` is not. All have one dtype and
do not overlap. `g` may be Pieces, gradients that are read where they lie, and the other arrays are then such as kernels
serve. Scalars are computed in float64 and rounded once to that dtype; those that change from step to step (learning
rate, step count) are values like all others, so nothing is compiled anew.

The formulas below are operators that NumPy and CuPy share. `cpu.py` has them as loops, bitwise equal, optimizer.cu as
CUDA kernels. `norm` and `scale` are what clipping does to gradients in pieces.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from .. import cuda, threads
from ..dispatch import Array, loops, module, namespace
from ..pieces import Pieces, pieces


def sgd(
    p: Array,
    g: Array | Pieces,
    buffer: Array | None = None,
    *,
    lr: float,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
) -> None:
    """p ← p − lr·d, with d = g + λp; with a buffer b ← μb + (1−dampening)d, d = b, or d + μb if nesterov.

    >>> import numpy as np
    >>> p = np.array([1.0, 2.0])
    >>> sgd(p, np.array([10.0, 0.0]), lr=0.01)
    >>> p
    array([0.9, 2. ])
    """
    if buffer is None:
        scalars: tuple[float, ...] = (lr, weight_decay)
        served = _run("sgd", g, (p,), *scalars)
    else:
        scalars = (lr, weight_decay, momentum, 1 - dampening)
        served = _run("momentum", g, (p, buffer), *scalars, nesterov)
    if served:
        return
    lr, l2, *rest = _rounded(p, scalars)
    d = g + l2 * p
    if buffer is not None:
        mu, keep = rest
        buffer[...] = mu * buffer + keep * d
        d = d + mu * buffer if nesterov else buffer
    p -= lr * d


def adam(
    p: Array,
    g: Array | Pieces,
    m: Array,
    v: Array,
    v_max: Array | None = None,
    *,
    t: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
) -> None:
    """Adam (arXiv 1412.6980), step t = 1, 2, …: p ← p − lr·m̂ / (√v̂ + ε).

    m ← β₁m + (1−β₁)g and v ← β₂v + (1−β₂)g², m̂ = m/(1−β₁ᵗ), v̂ = v/(1−β₂ᵗ). With `v_max` (AMSGrad, Reddi et al. 2018)
    v_max ← max(v_max, v) stands for v in v̂. Weight decay adds λp to g; `decoupled` (AdamW, arXiv 1711.05101) takes
    lr·λ·p off p instead, where p is the value before the step.

    >>> import numpy as np
    >>> p, m, v = np.zeros(2), np.zeros(2), np.zeros(2)
    >>> adam(p, np.array([3.0, -4.0]), m, v, t=1, lr=0.1)
    >>> p.round(6)  # the first step is lr·sign(g)
    array([-0.1,  0.1])
    """
    step, scale = lr / (1 - beta1**t), 1 / math.sqrt(1 - beta2**t)
    l2, decay = (0.0, 1 - lr * weight_decay) if decoupled else (weight_decay, 1.0)
    scalars = (step, scale, beta1, 1 - beta1, beta2, 1 - beta2, eps, l2, decay)
    if v_max is None:
        served = _run("adam", g, (p, m, v), *scalars)
    else:
        served = _run("amsgrad", g, (p, m, v, v_max), *scalars)
    if served:
        return
    step, scale, beta1, rest1, beta2, rest2, eps, l2, decay = _rounded(p, scalars)
    d = g + l2 * p
    m[...] = beta1 * m + rest1 * d
    v[...] = beta2 * v + rest2 * (d * d)
    xp = namespace(p)
    if v_max is not None:
        v = xp.maximum(v_max, v, out=v_max)
    p[...] = decay * p - step * (m / (xp.sqrt(v) * scale + eps))


def rmsprop(
    p: Array,
    g: Array | Pieces,
    square: Array,
    mean: Array | None = None,
    buffer: Array | None = None,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    momentum: float = 0.0,
) -> None:
    """p ← p − lr·d / (√s + ε), with d = g + λp and s ← αs + (1−α)d² (Hinton's lecture 6e, 2012).

    With `mean`, a ← αa + (1−α)d and s − a², a variance, stands under the root (Graves 2013); rounding can take it below
    0, where it counts as 0. With `buffer`, b ← μb + d/(√s + ε) and p ← p − lr·b.

    >>> import numpy as np
    >>> p, s = np.zeros(1), np.zeros(1)
    >>> rmsprop(p, np.array([5.0]), s, lr=0.1)
    >>> p.round(6)  # 0.1 / √(1 − 0.99)
    array([-1.])
    """
    scalars = (lr, alpha, 1 - alpha, eps, weight_decay, momentum)
    if mean is None:
        served = _run("rmsprop", g, (p, square, buffer), *scalars)
    else:
        served = _run("centered", g, (p, square, mean, buffer), *scalars)
    if served:
        return
    lr, alpha, rest, eps, l2, mu = _rounded(p, scalars)
    d = g + l2 * p
    square[...] = alpha * square + rest * (d * d)
    xp, s = namespace(p), square
    if mean is not None:
        mean[...] = alpha * mean + rest * d
        s = xp.maximum(square - mean * mean, 0)
    d = d / (xp.sqrt(s) + eps)
    if buffer is not None:
        buffer[...] = d = mu * buffer + d
    p -= lr * d


def adagrad(
    p: Array, g: Array | Pieces, total: Array, *, lr: float, eps: float = 1e-10, weight_decay: float = 0.0
) -> None:
    """p ← p − lr·d / (√s + ε), with d = g + λp and s ← s + d² (Duchi, Hazan, Singer 2011).

    >>> import numpy as np
    >>> p, s = np.zeros(1), np.full(1, 9.0)
    >>> adagrad(p, np.array([4.0]), s, lr=1.0)
    >>> p.round(6)
    array([-0.8])
    """
    scalars = (lr, eps, weight_decay)
    if _run("adagrad", g, (p, total), *scalars):
        return
    lr, eps, l2 = _rounded(p, scalars)
    d = g + l2 * p
    total += d * d
    p -= lr * (d / (namespace(p).sqrt(total) + eps))


def ema(average: Array, x: Array | Pieces, *, decay: float) -> None:
    """a ← x + decay·(a − x): a constant x is a fixed point, and decay 0 copies x, both exactly.

    >>> import numpy as np
    >>> a = np.array([1.0])
    >>> ema(a, np.array([3.0]), decay=0.75)
    >>> a
    array([1.5])
    """
    if _run("ema", x, (average,), decay):
        return
    (decay,) = _rounded(average, (decay,))
    average[...] = x + decay * (average - x)


def norm(g: Pieces) -> float:
    """√Σg², summed in float64 by blocks, so with the same bits at any number of threads; Inf where the sum overflows.

    >>> import numpy as np
    >>> norm(pieces([np.full(2, 3.0), np.array([[4.0]])], np.array([0, 2, 3])))  # √34
    5.830951894845301
    """
    cpu = module(__name__)
    parts, sums = threads.parts(g.size * cpu.TIMES["squares"]), np.empty(-(-g.size // cpu.BLOCK))
    cpu.squares[g.dtype](np.empty(0, g.dtype), g.addresses, g.bounds, sums, parts)
    return math.sqrt(sums.sum())


def scale(g: Pieces, factor: float) -> None:
    """g ← factor · g, where the pieces lie."""
    cpu = module(__name__)
    parts = threads.parts(g.size * cpu.TIMES["scale"])
    cpu.scale[g.dtype](np.empty(0, g.dtype), g.addresses, g.bounds, parts, factor)


def _run(name: str, g: Array | Pieces, written: tuple[Any, ...], *scalars: float) -> bool:
    """Run the kernel `name` where it can serve, else return False: the formula serves."""
    p, present = written[0], [x for x in written if x is not None]
    if cuda.served(p) and all(flat(x, p) for x in (*present, g)):
        cuda.module(__name__).run(name, g, written, *scalars)
        return True
    table = g if type(g) is Pieces else None
    if table is None and loops(__name__, *present, g) is not None:
        table = pieces((g,), np.array((0, p.size)))
    if table is None:
        return False
    if table.dtype != p.dtype or {x.size for x in present} != {table.size}:
        got = [(x.size, x.dtype.name) for x in present]
        raise ValueError(f"{name}: pieces of {table.size} elements, {table.dtype}, do not fit arrays of {got}")
    if (taken := _taken.by) is not None:
        taken(name, written, table, scalars)
        return True
    kernel, arguments = launch(name, written, table)
    kernel[p.dtype](*arguments, *scalars)
    return True


def launch(name: str, written: tuple[Any, ...], table: Pieces) -> tuple[Any, tuple[Any, ...]]:
    """The kernel called `name`, and its arguments before the scalars."""
    p, cpu = written[0], module(__name__)
    parts = threads.parts(p.size * cpu.TIMES[name])
    arrays = [p[:0] if x is None else x for x in written]
    return getattr(cpu, name), (*arrays, table.addresses, table.bounds, parts)


class _Taken(threading.local):
    by: Callable[[str, tuple[Any, ...], Pieces, tuple[float, ...]], None] | None = None


_taken = _Taken()


class taken:
    """Inside `with taken(by):` nothing is launched: `by(name, written, pieces, scalars)` is told of what would be."""

    def __init__(self, by: Callable[[str, tuple[Any, ...], Pieces, tuple[float, ...]], None]) -> None:
        self.by = by

    def __enter__(self) -> None:
        self.outer, _taken.by = _taken.by, self.by

    def __exit__(self, *_: object) -> None:
        _taken.by = self.outer


def flat(x: Any, like: Array) -> bool:
    """Whether a kernel on a device takes x beside `like`: flat, contiguous, of its dtype and size."""
    return bool(x.ndim == 1 and x.flags.c_contiguous and x.dtype == like.dtype and x.size == like.size)


def _rounded(p: Array, scalars: tuple[float, ...]) -> list[Any]:
    """The scalars in the dtype of `p`."""
    return [p.dtype.type(scalar) for scalar in scalars]

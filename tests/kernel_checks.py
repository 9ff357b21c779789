"""What must hold of kernels for products and convolutions, compiled or emulated: exact sums, and no access elsewhere.

Entries are whole numbers, so that every sum is exact in float32 in whatever order it is added up, and the kernels must
give the numbers of float64 to the last bit. Arrays lie in memory of `kernel_memory.Places`.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from kernel_memory import MATRICES, Places
from tinygrad_zoo.kernels import threads
from tinygrad_zoo.kernels.conv import formula

Sizes = tuple[int, ...]


def whole_numbers(rng: np.random.Generator, shape: Any, dtype: Any) -> np.ndarray:
    return rng.integers(-8, 9, shape).astype(dtype)


def equal(found: np.ndarray, expected: np.ndarray, *what: Any) -> None:
    assert found.shape == expected.shape and (found == expected).all(), what


# ---- products
def check_product(
    cpu: Any, places: Places, rng: np.random.Generator, m: int, n: int, k: int, dtype: Any = np.float32,
    layouts: tuple[str, str] = ("C", "C"), bias: bool = False, parts: int = 1,
) -> None:  # fmt: skip
    """gemm.cpu.matmul."""
    dtype = np.dtype(dtype)
    a, b = (
        places.laid(whole_numbers(rng, shape, dtype), layout)
        for shape, layout in zip([(m, k), (k, n)], layouts, strict=True)
    )
    added = places.read_only(places.array(whole_numbers(rng, n if bias else 0, dtype)))
    out = places.empty((m, n), dtype)
    cpu.matmul[dtype](a, b, added, out, cpu.product[dtype], cpu.panel[dtype], parts)
    expected = np.matmul(a, b, dtype=np.float64) + (added if bias else 0)
    equal(out, expected, (m, n, k), str(dtype), layouts, bias, parts)
    places.check()


def check_batch(
    cpu: Any, places: Places, rng: np.random.Generator, count: int, m: int, n: int, k: int, dtype: Any = np.float32,
    layouts: tuple[str, str] = ("C", "C"), parts: int = 1,
) -> None:  # fmt: skip
    """gemm.cpu.batched."""
    dtype = np.dtype(dtype)
    a, b = (
        places.laid(whole_numbers(rng, shape, dtype), layout)
        for shape, layout in zip([(count, m, k), (count, k, n)], layouts, strict=True)
    )
    out = places.empty((count, m, n), dtype)
    cpu.batched[dtype](a, b, out, cpu.product[dtype], cpu.panel[dtype], parts)
    equal(out, np.matmul(a, b, dtype=np.float64), (count, m, n, k), str(dtype), layouts, parts)
    places.check()


def check_weight_gradient(
    cpu: Any, places: Places, rng: np.random.Generator, n: int, m: int, k: int, dtype: Any = np.float32,
    layouts: tuple[str, str] = ("C", "C"), sums: bool = True, parts: int = 1,
) -> None:  # fmt: skip
    """gemm.cpu.weight_gradient."""
    dtype = np.dtype(dtype)
    g, x = (
        places.laid(whole_numbers(rng, shape, dtype), layout)
        for shape, layout in zip([(n, m), (n, k)], layouts, strict=True)
    )
    gw, gb = places.empty((m, k), dtype), places.empty(m if sums else 0, dtype)
    cpu.weight_gradient[dtype](g, x, gw, gb, cpu.product[dtype], cpu.panel[dtype], parts)
    equal(gw, np.matmul(g.T, x, dtype=np.float64), (n, m, k), str(dtype), layouts, parts)
    if sums:
        equal(gb, g.sum(axis=0, dtype=np.float64), (n, m, k), str(dtype), layouts, parts)
    places.check()


def product_shapes(cpu: Any, dtype: Any, crossed: bool) -> Iterator[tuple[int, int, int]]:
    """Every tail of the rows and of the columns, each with each if `crossed`; then the borders of portions."""
    lanes = cpu.VECTOR // np.dtype(dtype).itemsize
    rows, columns = range(1, cpu.TALL + 8), range(1, 2 * cpu.WIDEST * lanes + 2)
    if crossed:
        yield from ((m, n, 1 + (m + n) % 3) for m in rows for n in columns)
    else:
        yield from ((m, n, 2) for m in rows for n in (lanes, lanes + 1, cpu.WIDEST * lanes + lanes - 1))
        yield from ((3, n, 2) for n in columns)
    yield from itertools.product((0, 1), (0, 1), (0, 1))
    for k in (lanes - 1, lanes, lanes + 1, cpu.DEPTH - 1, cpu.DEPTH, cpu.DEPTH + 1, 2 * cpu.DEPTH + 3):
        yield 3, 2 * lanes + 1, k
    for m in (cpu.ROWS - 1, cpu.ROWS, cpu.ROWS + 1, 2 * cpu.ROWS + 3):
        yield m, lanes + 1, 3
    for n in (cpu.COLUMNS - 1, cpu.COLUMNS, cpu.COLUMNS + 1, *[2 * cpu.COLUMNS + lanes] * 3):
        yield 3, n, 3
    yield from [(cpu.ROWS, cpu.COLUMNS - 1, 1)] * 3  # all scratch memory that there is
    yield from [(cpu.ROWS + 1, cpu.COLUMNS + 1, cpu.DEPTH + 1)] * 3


def check_products(cpu: Any, places: Places, dtype: Any, *, crossed: bool, parts: tuple[int, ...] = (1,)) -> None:
    """All of these shapes in the usual layouts; two shapes in every pair of layouts. The rest is drawn."""
    rng, dtype = np.random.default_rng(0), np.dtype(dtype)
    lanes, counts = cpu.VECTOR // dtype.itemsize, itertools.cycle(parts)

    def check(m: int, n: int, k: int, layouts: tuple[str, str]) -> None:
        check_product(cpu, places, rng, m, n, k, dtype, layouts, bool(rng.integers(2)), next(counts))

    for m, n, k in product_shapes(cpu, dtype, crossed):
        check(m, n, k, [("C", "C"), ("C", "F"), ("F", "C")][rng.integers(3)])
    far = 4 * cpu.WIDEST * lanes  # so many columns are worth a copy of rows that lie far apart
    for layouts in itertools.product(MATRICES, MATRICES):
        check(5, lanes + 3, lanes + 2, layouts)
        if crossed or layouts[1] == "C":
            check(cpu.ROWS + 2, far, cpu.DEPTH + 2, layouts)


# ---- convolutions
@dataclass
class Convolution:
    """Sizes and settings: n examples, c channels that become k."""

    n: int
    c: int
    k: int
    size: Sizes
    kernel: Sizes
    settings: dict[str, Any]

    @property
    def places(self) -> Sizes:
        settings = {name: value for name, value in self.settings.items() if name != "groups"}
        return formula.spatial(self.size, self.kernel, **settings)

    @property
    def shapes(self) -> dict[str, Sizes]:
        return {
            "x": (self.n, self.c, *self.size),
            "weight": (self.k, self.c // self.settings["groups"], *self.kernel),
            "bias": (self.k,),
            "g": (self.n, self.k, *self.places),
        }


def drawn_convolution(rng: np.random.Generator) -> Convolution:
    """Of an image that may be as small as the kernel in its padding, or smaller."""
    axes = int(rng.integers(1, 4))
    most = (5, 4, 3)[axes - 1]
    kernel, stride, dilation = rng.integers(1, most + 1, axes), rng.integers(1, 4, axes), rng.integers(1, 4, axes)
    before, after = rng.integers(-2, 5, axes), rng.integers(-2, 5, axes)
    extent = dilation * (kernel - 1) + 1
    cropped = np.maximum(-before, 0) + np.maximum(-after, 0)
    size = np.maximum(np.maximum(extent - before - after, 1), cropped + rng.integers(0, 2, axes))
    size += rng.integers(0, (16, 6, 3)[axes - 1], axes) * rng.integers(0, 2, axes)
    if rng.random() < 0.1:  # no place at all
        size = np.maximum(size - 3, np.maximum(cropped, 1))
    groups = int(rng.choice([1, 1, 2, 3]))
    c, k = (int(rng.choice([1, 2, 3, 5, 8, 9, 16, 17, 33])) for _ in range(2))
    if rng.random() < 0.25:  # depthwise, of a few channels or of many
        groups, c, k = int(rng.choice([1, 3, 8, 17, 35])), 1, 1
    padding = tuple(zip(_ints(before), _ints(after), strict=True))
    plan = {"stride": _ints(stride), "padding": padding, "dilation": _ints(dilation), "groups": groups}
    return Convolution(int(rng.choice([0, 1, 1, 2, 3])), groups * c, groups * k, _ints(size), _ints(kernel), plan)


def _ints(values: np.ndarray) -> tuple[int, ...]:
    return tuple(int(v) for v in values)


@contextlib.contextmanager
def served(conv: Any, places: Places, parts: int) -> Iterator[None]:
    """conv.cpu's own arrays lie in `places`, and work is cut into so many parts however small it is."""
    before, whole = conv.np, threads.parts
    conv.np, threads.parts = places, lambda nanoseconds: parts
    try:
        yield
    finally:
        conv.np, threads.parts = before, whole


def all_three(module: Any, x: Any, weight: Any, bias: Any, g: Any, plan: dict[str, Any]) -> dict[str, np.ndarray]:
    """What the functions of a module make of these."""
    return {
        "y": module.convolve(x, weight, bias, **plan),
        "x": module.convolve_input(g, weight, size=x.shape[2:], **plan),
        "weight": module.convolve_weight(g, x, kernel=weight.shape[2:], **plan),
    }


def check_convolution(
    conv: Any, places: Places, rng: np.random.Generator, case: Convolution, dtype: Any = np.float32,
    layout: str = "C", bias: bool = True, parts: int = 1, tolerance: float = 0.0,
) -> float:  # fmt: skip
    """conv.cpu's functions against the formula in float64; the largest error over the largest entry."""
    dtype = np.dtype(dtype)
    whole = {name: whole_numbers(rng, shape, dtype) for name, shape in case.shapes.items()}
    added = places.read_only(places.array(whole["bias"])) if bias else None
    x, weight, g = (places.laid(whole[name], layout) for name in ("x", "weight", "g"))
    with served(conv, places, parts):
        found = all_three(conv, x, weight, added, g, case.settings)
    x, weight, g = (np.asarray(a, np.float64) for a in (x, weight, g))
    exact = all_three(formula, x, weight, None if added is None else added.astype(np.float64), g, case.settings)
    worst = 0.0
    for (name, ours), theirs in zip(found.items(), exact.values(), strict=True):
        assert ours.shape == theirs.shape and ours.dtype == dtype, (name, case)
        error = np.abs(ours - theirs).max(initial=0.0)
        assert error <= tolerance * np.abs(theirs).max(initial=0.0), (name, case, layout, parts, error)
        worst = max(worst, error / max(np.abs(theirs).max(initial=0.0), 1.0))
    for image in (found["y"], found["x"]):
        last = image.transpose(0, *range(2, image.ndim), 1)
        assert last.flags.c_contiguous, (case, "channels lie side by side")
    places.check()
    return worst


def one_convolution(axes: int, n: int, c: int, k: int, size: int, kernel: int, **settings: Any) -> Convolution:
    """A convolution with the same numbers on every axis: stride, padding, dilation; and groups."""
    plan = {name: (settings.get(name, 1),) * axes for name in ("stride", "dilation")}
    padding = settings.get("padding", 0)
    plan["padding"] = (padding if isinstance(padding, tuple) else (padding, padding),) * axes
    return Convolution(n, c, k, (size,) * axes, (kernel,) * axes, plan | {"groups": settings.get("groups", 1)})


def check_convolutions(
    conv: Any, places: Places, lanes: int, dtype: Any = np.float32, *, parts: tuple[int, ...] = (1,)
) -> None:
    """Some of each kind: tails of channels below and above whole vectors, groups, drawn settings."""
    rng = np.random.default_rng(1)
    cases = [
        one_convolution(3, 1, 2, 3, 4, 2, padding=(1, 0), stride=2),
        one_convolution(2, 2, 5, lanes + 2, 3, 1),
        one_convolution(1, 2, 5, 2, 4, 1),
        one_convolution(2, 1, 3, lanes + 1, 9, 5, padding=2, stride=2),
        one_convolution(2, 1, lanes + 1, lanes + 1, 7, 5, padding=2, groups=lanes + 1),
    ]
    for i, (c, k) in enumerate(itertools.product((1, lanes - 1, lanes, lanes + 1), (1, lanes, 2 * lanes + 3))):
        cases.append(one_convolution(2, 1, c, k, 5, 3, padding=(1, 2), stride=1 + i % 2, dilation=1 + i % 3 // 2))
    for i, groups in enumerate((2, lanes, 2 * lanes + 3)):
        for c, k in ((groups, groups), (2 * groups, groups), (groups, 3 * groups)):
            cases.append(one_convolution(2, 2, c, k, 5, 3, padding=(2, 0), stride=1 + i % 2, groups=groups))
    cases += [drawn_convolution(rng) for _ in range(12)]
    for i, case in enumerate(cases):
        layout = ("C", "channels last", "strided", "negative")[rng.integers(4)]
        check_convolution(conv, places, rng, case, dtype, layout, i % 3 > 0, parts[i % len(parts)])


def check_winograd(conv: Any, places: Places, lanes: int, *, parts: tuple[int, ...] = (1,), every: int = 1) -> float:
    """Images of every remainder modulo 4 x 4, padding of all kinds, or one in `every`; the largest error."""
    rng, worst = np.random.default_rng(2), 0.0
    pairs = [(1, 1), (0, 0), (2, 2), (0, 3), (4, 1), (-1, 2), (-1, -1)]
    for i, size in enumerate(itertools.product((8, 9, 10, 11), (9, 10, 12))):
        if i % every:
            continue
        case = one_convolution(2, 2, lanes * (1 + i % 2), lanes * (1 + i % 3), 0, 3)
        case.size, case.settings["padding"] = size, (pairs[i % len(pairs)], pairs[(i * 3 + 1) % len(pairs)])
        layout, bias = ("C", "channels last")[i % 2], i % 3 > 0
        worst = max(
            worst, check_convolution(conv, places, rng, case, "float32", layout, bias, parts[i % len(parts)], 1e-4)
        )
    return worst


# ---- attention
def attention_by_weights(
    q: Any, k: Any, v: Any, g: Any, hidden: Any, causal: bool, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The result and the gradients of q, k and v by all weights, in float64; 0 of a query that sees no key."""
    q, k, v, g = (np.asarray(x, np.float64) for x in (q, k, v, g))
    scores = q @ k.swapaxes(-1, -2) * scale
    seen = np.ones(scores.shape, bool) if hidden is None else np.broadcast_to(~hidden[:, None, None], scores.shape)
    if causal:
        seen = seen & np.tri(*scores.shape[-2:], dtype=bool)
    scores = np.where(seen, scores, -np.inf)
    top = scores.max(axis=-1, keepdims=True, initial=-1e300)
    e = np.exp(scores - top)
    weights = e / np.maximum(e.sum(axis=-1, keepdims=True), 1e-300)
    pulled = g @ v.swapaxes(-1, -2)
    gs = weights * (pulled - (pulled * weights).sum(axis=-1, keepdims=True)) * scale
    return weights @ v, gs @ k, gs.swapaxes(-1, -2) @ q, weights.swapaxes(-1, -2) @ g


def check_attention(
    kernels: Any, places: Places, rng: np.random.Generator, batch: int, heads: int, n: int, m: int, d: int, e: int,
    dtype: Any = np.float32, layout: str = "C", causal: bool = False, hide: bool = False, blocks: Sizes = (64, 256),
) -> None:  # fmt: skip
    """kernels.attention: the result and all gradients."""
    q, k, v, g = (
        places.laid(rng.standard_normal((batch, heads, *sizes)).astype(dtype), layout)
        for sizes in ((n, d), (m, d), (m, e), (n, e))
    )
    hidden = places.array(rng.random((batch, m)) < 0.4, np.bool_) if hide else None
    if hide and batch > 1:
        hidden[-1] = True
    settings = {"causal": causal, "scale": 0.7, "block_q": blocks[0], "block_k": blocks[1]}
    out, logs = kernels.attention(q, k, v, hidden, **settings)
    found = out, *kernels.attention_pulled(g, out, q, k, v, hidden, logs, **settings)
    near = 2e-5 if dtype == "float32" else 1e-12
    for name, x, y in zip("oqkv", found, attention_by_weights(q, k, v, g, hidden, causal, 0.7), strict=True):
        assert x.shape == y.shape and x.dtype == dtype, name
        np.testing.assert_allclose(x, y, rtol=near, atol=near * max(1, np.abs(y).max(initial=0)), err_msg=name)
    places.check()

"""Captured against eager: every op on its samples, and small random programs, forward and backward, over replays.

Bounds: bitwise, but where sums are added up in another order, or a rule runs on Tensors in place of arrays; there 2e-6
of the largest entry in float32 and 1e-13 in float64, which a few ops in a row may need several times.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinygrad_zoo as tz
from capture_checks import captured_as_eager
from tinygrad_zoo.errors import CaptureError
from tinygrad_zoo.ops.sampling import Draw, Sample
from tinygrad_zoo.testing import public_ops, seeds

ROUNDED = {"float32": 2e-6, "float64": 1e-13}
OPS = public_ops()
# How many results these have depends on values.
REFUSED = {"masked_select", "nonzero", "nms", "batched_nms"}
GROUPS = 12


# ---- every op
def _cast(x: Any, dtype: str) -> Any:
    return x.astype(dtype) if isinstance(x, np.ndarray) and x.dtype == np.float64 else x


def _samples(name: str, dtype: str) -> list[tuple[list[list[Any]], dict[str, Any]]]:
    """For each sample of an op its inputs from four seeds, and the settings of the first."""
    samples = OPS[name].samples
    assert samples is not None
    drawn = [
        [s if isinstance(s, Sample) else Sample(s, {}) for s in samples(Draw(np.random.default_rng(seed)))]
        for seed in range(4)
    ]
    return [
        ([[_cast(x, dtype) for x in v.inputs] for v in seen], seen[0].settings) for seen in zip(*drawn, strict=True)
    ]


def _alike(x: Any, y: Any) -> bool:
    if isinstance(x, np.ndarray):
        return isinstance(y, np.ndarray) and x.shape == y.shape
    return bool(x == y)


def _step(op: Any, settings: dict[str, Any]) -> Callable[..., Any]:
    """The op, and the gradients of a function of its results."""

    def step(*xs: Any) -> Any:
        xs = tuple(x.detach().requires_grad_() if isinstance(x, tz.Tensor) and x.dtype.kind == "f" else x for x in xs)
        made = op(*xs, **settings)
        outs = [o for o in (made if isinstance(made, tuple) else (made,)) if o is not None]
        losses = [(o * o + o).sum() for o in outs if o.requires_grad]
        if losses:
            sum(losses[1:], start=losses[0]).backward()
        return outs, [x.grad for x in xs if isinstance(x, tz.Tensor)]

    return step


def _said_of(name: str, dtype: str, python: Counter[str]) -> list[str]:
    """What is not as eagerly, of all samples of an op, or of its first one: float64 has kernels of the same text."""
    found = []
    for i, (inputs, options) in enumerate(_samples(name, dtype)[: None if dtype == "float32" else 1]):
        first, *others = inputs
        others = [v for v in others if all(map(_alike, v, first))] or [first]
        masked = name == "getitem" and getattr(options.get("index"), "dtype", None) is np.dtype(bool)
        try:
            said, captured = captured_as_eager(_step(OPS[name], options), first, others, ROUNDED[dtype])
        except CaptureError as error:
            assert name in REFUSED or masked, f"{name}, sample {i}: {error}"
            continue
        assert name not in REFUSED and not masked
        python.update(captured.report()["python"])
        if said is not None:
            found.append(f"{name}, {dtype}, sample {i}: {said}")
    return found


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("group", range(GROUPS))
def test_every_op_is_replayed_as_it_is(group: int, dtype: str) -> None:
    python = Counter[str]()
    with np.errstate(all="ignore"):
        said = [text for name in sorted(OPS)[group::GROUPS] for text in _said_of(name, dtype, python)]
    assert not said, "\n".join(said)


# ---- random programs
def _unary(name: str) -> Callable[..., Any]:
    return lambda draw, x: getattr(tz, name)(x)


def _axis(draw: Any, x: Any) -> int:
    return int(draw(st.integers(-x.ndim, x.ndim - 1)))


def _reduced(name: str) -> Callable[..., Any]:
    def make(draw: Any, x: Any) -> Any:
        axis = draw(st.sampled_from([None, *range(x.ndim)]))
        return getattr(tz, name)(x, axis=axis, keepdims=draw(st.booleans()))

    return make


def _slices(draw: Any, x: Any) -> Any:
    index = tuple(slice(None, None, draw(st.sampled_from([1, 2, -1]))) for _ in x.shape)
    return x[index] if draw(st.booleans()) or not x.ndim else x[draw(st.integers(0, x.shape[0] - 1))]


def _rows(draw: Any, x: Any) -> Any:
    return x[tz.tensor(draw(st.lists(st.integers(0, x.shape[0] - 1), min_size=1, max_size=4)))]


def _joined(draw: Any, x: Any) -> Any:
    axis = _axis(draw, x)
    first, *_ = tz.split(x, [1, x.shape[axis] - 1], axis=axis)
    return tz.concat(x, first * 2, axis=axis)


def _stacked(draw: Any, x: Any) -> Any:
    return tz.stack(x, tz.exp(-x * x), axis=draw(st.integers(0, x.ndim)))


def _linear(draw: Any, x: Any) -> Any:
    n = draw(st.integers(1, 5))
    return tz.linear(x, draw.leaf((n, x.shape[-1])), draw.leaf((n,)) if draw(st.booleans()) else None)


def _normed(draw: Any, x: Any) -> Any:
    return tz.layer_norm(x, x.shape[-1:], draw.leaf(x.shape[-1:]), draw.leaf(x.shape[-1:]))


def _convolved(draw: Any, x: Any) -> Any:
    images = tz.reshape(x, (1, 1, -1, x.shape[-1])) if x.ndim != 4 else x
    out = tz.conv2d(images, draw.leaf((2, images.shape[1], 3, 3)), draw.leaf((2,)), padding=1)
    return tz.max_pool2d(out, 2) if min(out.shape[-2:]) > 1 and draw(st.booleans()) else out


def _attended(draw: Any, x: Any) -> Any:
    rows = tz.reshape(x, (1, -1, x.shape[-1]))
    return tz.scaled_dot_product_attention(rows, rows * 0.5, rows + 1, is_causal=draw(st.booleans()))


def _embedded(draw: Any, x: Any) -> Any:
    return tz.embedding(draw.index((3,), 4), draw.leaf((4, x.shape[-1]))) + x.sum(axis=0)


def _lost(draw: Any, x: Any) -> Any:
    rows = tz.reshape(x, (-1, x.shape[-1]))
    reduction = draw(st.sampled_from(["mean", "sum", "none"]))
    return tz.cross_entropy(rows, draw.index((rows.shape[0],), rows.shape[-1]), reduction=reduction)


def _with_another(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    """With a value made before that broadcasts, or a new leaf that does."""

    def make(draw: Any, x: Any) -> Any:
        fitting = [y for y in draw.values if _broadcast(x, y)]
        if fitting and draw(st.booleans()):
            return function(x, draw(st.sampled_from(fitting)))
        lead = draw(st.integers(0, x.ndim))
        return function(x, draw.leaf(tuple(1 if draw(st.booleans()) else n for n in x.shape[lead:])))

    return make


def _broadcast(x: Any, y: Any) -> bool:
    try:
        return bool(np.prod(np.broadcast_shapes(x.shape, y.shape)) <= 200)
    except ValueError:
        return False


MAKERS: dict[str, Callable[..., Any]] = {
    **{
        name: _unary(name)
        for name in ("exp", "tanh", "sigmoid", "relu", "neg", "abs", "square", "sin", "gelu", "silu", "softplus", "erf")
    },
    "sqrt": lambda draw, x: tz.sqrt(tz.abs(x) + 0.5),
    "log": lambda draw, x: tz.log(x * x + 0.5),
    "reciprocal": lambda draw, x: 1 / (x * x + 1),
    **{name: _reduced(name) for name in ("sum", "mean", "max", "min", "logsumexp", "var")},
    "softmax": lambda draw, x: tz.softmax(x, axis=_axis(draw, x)),
    "log_softmax": lambda draw, x: tz.log_softmax(x, axis=_axis(draw, x)),
    "cumsum": lambda draw, x: tz.cumsum(x, axis=_axis(draw, x)),
    "layer_norm": _normed,
    "slices": _slices,
    "rows": _rows,
    "concat": _joined,
    "stack": _stacked,
    "transpose": lambda draw, x: x.T,
    "flatten": lambda draw, x: x.reshape(-1, x.shape[-1]),
    "flip": lambda draw, x: tz.flip(x, _axis(draw, x)),
    "pad": lambda draw, x: tz.pad(x, (1, draw(st.integers(0, 2)))),
    "add": _with_another(lambda x, y: x + y),
    "sub": _with_another(lambda x, y: y - x),
    "mul": _with_another(lambda x, y: x * y),
    "div": _with_another(lambda x, y: x / (y * y + 1)),
    "maximum": _with_another(tz.maximum),
    "where": _with_another(lambda x, y: tz.where(x > y, x, y * 2)),
    "number": lambda draw, x: draw(st.sampled_from([2, 0.5, -1.5])) * x - draw(st.integers(-2, 2)),
    "matmul": lambda draw, x: x @ draw.leaf((x.shape[-1], draw(st.integers(1, 4)))),
    "linear": _linear,
    "gram": lambda draw, x: x @ x.mT if x.ndim > 1 else x * x,
    "conv": _convolved,
    "attention": _attended,
    "embedding": _embedded,
    "cross_entropy": _lost,
    "dropout": lambda draw, x: tz.dropout(x, tz.draw_key(draw.rng, x.device), p=0.3),
    "noise": lambda draw, x: x + tz.randn(*x.shape, rng=draw.rng, dtype=x.dtype),
    "detach": lambda draw, x: x.detach() * x,
    "copy": lambda draw, x: x.copy() + 1,
}


class Choices:
    """Gives a program's choices: drawn in its first run, and the same again in every later one."""

    def __init__(self, draw: Any, dtype: str) -> None:
        self.draw, self.dtype = draw, dtype
        self.made: list[Any] = []
        self.shapes: list[tuple[str, tuple[int, ...], int]] = []  # the arguments
        self.first = True

    def start(self, arguments: list[Any], rng: Any) -> None:
        self.at, self.arguments, self.leaves, self.values, self.rng = 0, iter(arguments), [], [], rng

    def __call__(self, strategy: Any) -> Any:
        if self.first and self.at == len(self.made):
            self.made.append(_by_place(self.draw(strategy), self.values))
        self.at += 1
        kind, value = self.made[self.at - 1]
        return self.values[value] if kind == "value" else value

    def leaf(self, shape: tuple[int, ...]) -> Any:
        x = self._argument(("leaf", tuple(shape), 0)).detach().requires_grad_()
        self.leaves.append(x)
        return x

    def index(self, shape: tuple[int, ...], high: int) -> Any:
        return self._argument(("index", tuple(shape), high))

    def _argument(self, shape: tuple[str, tuple[int, ...], int]) -> Any:
        if self.first:
            self.shapes.append(shape)
            return tz.tensor(self.argument(shape, np.random.default_rng(0)))
        return next(self.arguments)

    def argument(self, shape: tuple[str, tuple[int, ...], int], rng: np.random.Generator) -> Any:
        kind, sizes, high = shape
        return rng.integers(0, high, sizes) if kind == "index" else rng.standard_normal(sizes).astype(self.dtype)


def _by_place(value: Any, values: list[Any]) -> tuple[str, Any]:
    """A choice among the values that the program made, by its number: the next run makes others."""
    for i, x in enumerate(values):
        if value is x:
            return "value", i
    return "choice", value


def _run(choices: Choices, arguments: list[Any], rng: Any, steps: int) -> Any:
    """The program: values and the gradients of its leaves."""
    choices.start(arguments, rng)
    choices.values.append(choices.leaf(choices(st.sampled_from([(4,), (2, 3), (3, 4), (1, 5), (2, 3, 4)]))))
    for _ in range(steps):
        x = choices(st.sampled_from([v for v in choices.values[-3:] if v.ndim]))
        made = MAKERS[choices(st.sampled_from(sorted(MAKERS)))](choices, x)
        if 0 < made.size <= 400:
            choices.values.append(made)
    losses = [tz.tanh(v).sum() for v in choices.values[-2:]]
    (losses[0] * 0.5 + losses[-1]).backward()
    return choices.values, [x.grad for x in choices.leaves]


def compare(draw: Any, dtype: str, steps: int, seed: int, rtol: float) -> None:
    """A drawn program, captured and eager."""
    choices = Choices(draw, dtype)
    with np.errstate(all="ignore"):
        _run(choices, [], np.random.default_rng(0), steps)
        choices.first = False
        rng = np.random.default_rng(seed)
        first, *others = [[choices.argument(shape, rng) for shape in choices.shapes] for _ in range(4)]
        ours, theirs = np.random.default_rng(1), np.random.default_rng(1)
        step = lambda *arguments: _run(choices, list(arguments), ours, steps)
        eager = lambda *arguments: _run(choices, list(arguments), theirs, steps)
        said, captured = captured_as_eager(step, first, others, rtol, eager)
    assert said is None, f"{said}\n{captured.program}"
    assert captured.counts["replayed"] == 3


@settings(max_examples=settings().max_examples // 2)
@given(data=st.data(), dtype=st.sampled_from(["float32", "float64"]), steps=st.integers(3, 12), seed=seeds())
def test_random_programs_are_replayed_as_they_are(data: Any, dtype: str, steps: int, seed: int) -> None:
    compare(data.draw, dtype, steps, seed, ROUNDED[dtype] * steps)

"""Elementwise ops at the edges: NaN, infinities, zeros of both signs, subnormals and the largest; half precision."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import oracles
import tinygrad_zoo as tz
from tinygrad_zoo.autograd import gradients
from tinygrad_zoo.errors import DTypeError
from tinygrad_zoo.ops.sampling import Sample
from torch_ops import FIXED, OPS, TORCH, samples

torch = oracles.load("torch")

ELEMENTWISE = [name for name, op in OPS.items() if op.elementwise]
COMPARED = [name for name in ELEMENTWISE if name in TORCH]


# ---- the points
def grid(dtype: str) -> Any:
    """The values at which float arithmetic has its edges."""
    info = np.finfo(dtype)
    large, small = {"float64": (1e300, 1e-300), "float32": (1e30, 1e-30), "float16": (3e4, 1e-4)}[dtype]
    positive = [0.0, 0.5, 1.0, 2.0, 3.0, 1e4, large, small, float(info.smallest_subnormal), float(info.max), np.inf]
    return np.array([np.nan, *positive, *(-x for x in positive)], dtype=dtype)


def points(x: Any, values: Any) -> Any:
    """What stands in for the input `x` of a sample: the values for floats, those of its own kind for the rest."""
    if not hasattr(x, "dtype"):
        return None
    return values if x.dtype.kind == "f" else np.unique(x)


def calls(name: str, values: Any) -> Iterator[Sample]:
    """The op's samples with every combination of `values` for their arrays; each pattern of arguments once."""
    seen = set()
    for s in samples(name):
        pattern = tuple(x.dtype.kind if hasattr(x, "dtype") else x for x in s.inputs), tuple(s.settings.items())
        if pattern in seen:
            continue
        seen.add(pattern)
        lists = [points(x, values) for x in s.inputs]
        grids = iter(np.meshgrid(*(v for v in lists if v is not None), indexing="ij"))
        filled = (x if v is None else next(grids).ravel() for x, v in zip(s.inputs, lists, strict=True))
        yield Sample(tuple(filled), s.settings)


def arrays_of(s: Sample) -> list[Any]:
    return [x for x in s.inputs if hasattr(x, "dtype")]


def close(a: Any, b: Any, relative: float) -> Any:
    """Entry by entry: both NaN, the same infinity, or as near as `relative`; below the normal numbers anything."""
    info = np.finfo(b.dtype) if b.dtype.kind == "f" else None
    if info is None:
        return a == b
    with np.errstate(all="ignore"):
        near = np.abs(a - b) <= relative * np.abs(b) + float(info.tiny)
    return (a == b) | near | (np.isnan(a) & np.isnan(b))


def at(s: Sample, wrong: Any, *results: Any) -> str:
    """The first points where results differ."""
    rows = []
    for i in np.flatnonzero(wrong)[:8]:
        given = ", ".join(repr(x[i]) if hasattr(x, "dtype") and x.ndim else repr(x) for x in s.inputs)
        rows.append(f"  f({given}; {s.settings}) = " + " against ".join(repr(r[i]) for r in results))
    return "\n".join([f"{int(np.sum(wrong))} of {wrong.size} points", *rows])


TOLERANCE = {"float64": 1e-9, "float32": 2e-6}


class Difference(NamedTuple):
    """Where an op is not PyTorch's, and why; `where(ours, theirs, *inputs)` says at which points."""

    reason: str
    where: Callable[..., Any]
    always: bool = True  # else PyTorch's result depends on the processor


def unexplained(name: str, known: Sequence[Difference], results: Sequence[tuple[Sample, Any, Any]]) -> str:
    """The points where two results differ and no known difference applies, or a difference that never does."""
    seen, found = [False] * len(known), []
    for s, a, b in results:
        assert a.shape == b.shape and a.dtype == b.dtype, f"{name}: {a.dtype} {a.shape}, PyTorch {b.dtype} {b.shape}"
        wrong = ~close(a, b, TOLERANCE[str(b.dtype)] if b.dtype.kind == "f" else 0)
        with np.errstate(all="ignore"):
            places = [np.broadcast_to(d.where(a, b, *s.inputs), a.shape) for d in known]
        seen = [used or bool((wrong & place).any()) for used, place in zip(seen, places, strict=True)]
        left = wrong & ~np.any([np.zeros(a.shape, dtype=bool), *places], axis=0)
        if left.any():
            found.append(f"{name}: {at(s, left, a, b)}")
    unused = [d for d, used in zip(known, seen, strict=True) if d.always and not used]
    stale = [f"{name}: no longer differs: {d.reason}" for d in unused]
    return "\n".join(found + stale)


# ---- values
def _host_functions() -> dict[str, Callable[..., Any]]:
    """The functions of NumPy and SciPy that our ops are, each by our name."""
    from scipy import special

    others = {"lgamma": special.gammaln, "erf": special.erf, "erfc": special.erfc, "erfinv": special.erfinv}
    others |= {"erfcx": special.erfcx, "ndtr": special.ndtr, "log_ndtr": special.log_ndtr, "digamma": special.psi}
    others |= {"polygamma": special.polygamma, "logit": special.logit, "xlogy": special.xlogy, "entr": special.entr}
    others |= {"rel_entr": special.rel_entr}
    others |= {"round": np.round, "nan_to_num": np.nan_to_num, "sinc": np.sinc, "clip": np.clip, "where": np.where}
    others |= {"isclose": np.isclose, "frac": lambda x: x - np.trunc(x), "rsqrt": lambda x: 1 / np.sqrt(x)}
    others |= {"tan": np.tan, "logaddexp": np.logaddexp, "logaddexp2": np.logaddexp2, "pow": np.power}
    others |= {"deg2rad": np.deg2rad, "rad2deg": np.rad2deg, "div": np.divide, "abs": np.abs}
    same = {name: op.reference for name, op in OPS.items() if isinstance(op.reference, np.ufunc)}
    return {name: function for name, function in (same | others).items() if name in ELEMENTWISE}


HOST = _host_functions()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", HOST)
def test_values_at_the_edges_are_those_of_numpy(name: str, dtype: str) -> None:
    """NaN and infinities included, and the signs of zeros."""
    checked = 0
    for s in calls(name, grid(dtype)):
        settings = {key: value for key, value in s.settings.items() if value is not None and key != "rounding_mode"}
        if s.settings.get("eps") is not None or s.settings.get("rounding_mode"):
            continue  # NumPy has no such setting
        with np.errstate(all="ignore"):
            expected = np.asarray(HOST[name](*s.inputs, **settings)).astype(OPS[name](*s.inputs, **s.settings).dtype)
            made = OPS[name](*s.inputs, **s.settings)
        wrong = ~close(made, expected, 1e-14 if dtype == "float64" else 1e-6)
        wrong |= (made == 0) & (np.signbit(made) != np.signbit(expected)) if made.dtype.kind == "f" else False
        assert not wrong.any(), at(s, wrong, made, expected)
        checked += made.size
    assert checked >= 3


def _torch_values(name: str, s: Sample) -> Any:
    return TORCH[name](*(torch.as_tensor(x) if hasattr(x, "dtype") else x for x in s.inputs), **s.settings).numpy()


def _cancels(ours: Any, theirs: Any, *inputs: Any) -> Any:
    """Where the two differ by the rounding of the largest input, or of 1."""
    sizes = [np.where(np.isfinite(x), np.abs(x), 0) for x in inputs]
    return np.abs(ours - theirs) <= 8 * np.finfo(ours.dtype).eps * np.max(np.broadcast_arrays(1.0, *sizes), axis=0)


_TINY_DIVISOR = Difference(
    "C's remainder is exact; PyTorch's is NaN where x / y overflows",
    lambda ours, theirs, x, y: np.isinf(x / y) & np.isnan(theirs),
)
_FUSED = [
    Difference(
        "PyTorch multiplies and adds with one rounding", lambda ours, theirs, a, b, c: _cancels(ours, theirs, a)
    ),
    Difference(
        "the same, where the product alone overflows",
        lambda ours, theirs, a, b, c: ~np.isfinite(ours) & np.isinf(b * c),
    ),
]
VALUES: dict[str, list[Difference]] = {
    "addcmul": _FUSED,
    "geglu": [
        Difference(
            "PyTorch's float32 gelu is NaN at inf",
            lambda a, b, gate, value: (gate > 1e38) & np.isnan(b),
            always=False,
        ),
        Difference(
            "half of the smallest number is that number or 0, and inf times it",
            lambda a, b, gate, value: (np.abs(gate) < 5e-45) & np.isinf(value),
            always=False,
        ),
        Difference("1 + tanh cancels in both", lambda a, b, gate, value: np.abs(a - b) <= 1e-6 * np.abs(value)),
    ],
    "gelu": [
        Difference("PyTorch's float32 gelu is NaN at inf", lambda a, b, x: np.isposinf(x), always=False),
        Difference("1 + tanh cancels in both", lambda a, b, x: np.abs(a - b) <= 1e-6),
    ],
    "hardswish": [Difference("0 at -inf, its limit; in PyTorch NaN", lambda a, b, x: np.isneginf(x))],
    "fmod": [_TINY_DIVISOR],
    "heaviside": [Difference("NaN stays NaN, in PyTorch it becomes 0", lambda ours, theirs, x, y: np.isnan(x))],
    "lerp": [
        Difference(
            "by the nearer end: PyTorch goes by |weight| and subtracts infinities for weights below -1/2",
            lambda ours, theirs, x, end, weight: np.asarray(weight) <= -0.5,
        ),
        Difference("sums that cancel, with other roundings", _cancels),
    ],
    "lgamma": [Difference("SciPy's gammaln is inf for subnormal numbers", lambda ours, theirs, x: np.abs(x) < 1e-308)],
    "logaddexp2": [Difference("0 is rounded otherwise", _cancels)],
    "polygamma": [
        Difference("PyTorch's trigamma has 10 digits", lambda ours, theirs, n, x: (n == 1) & (np.abs(x) <= 3)),
        Difference("PyTorch's trigamma has no poles", lambda ours, theirs, n, x: (n == 1) & (x < 0) & np.isinf(ours)),
        Difference("PyTorch's is NaN at inf, 0 in the limit", lambda ours, theirs, n, x: (n > 1) & np.isposinf(x)),
    ],
    "remainder": [_TINY_DIVISOR],
    "sign": [Difference("NaN stays NaN, in PyTorch it becomes 0", lambda ours, theirs, x: np.isnan(x))],
    "step": [Difference("NaN stays NaN, in PyTorch it becomes 0", lambda ours, theirs, x: np.isnan(x))],
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", COMPARED)
def test_values_at_the_edges_are_those_of_torch(name: str) -> None:
    results = []
    for dtype in ("float64", "float32"):
        for s in calls(name, grid(dtype)):
            with np.errstate(all="ignore"):
                results.append((s, OPS[name](*s.inputs, **s.settings), _torch_values(name, s)))
    left = unexplained(name, VALUES.get(name, []), results)
    assert not left, left


# ---- gradients
def our_slopes(name: str, s: Sample) -> list[Any]:
    """The derivative of each value in each float array among the inputs."""
    xs = [tz.tensor(x) if hasattr(x, "dtype") else x for x in s.inputs]
    wrt = [x for i, x in enumerate(xs) if hasattr(x, "dtype") and x.dtype.kind == "f" and i not in FIXED.get(name, ())]
    for x in wrt:
        x.requires_grad_()
    with np.errstate(all="ignore"):
        y = OPS[name](*xs, **s.settings)
    found = gradients([y], wrt, [tz.tensor(np.ones(y.shape))]) if y.requires_grad else [None] * len(wrt)
    return [np.zeros(y.shape) if g is None else g.numpy() for g in found]


def their_slopes(name: str, s: Sample) -> list[Any]:
    xs = [torch.as_tensor(x) if hasattr(x, "dtype") else x for x in s.inputs]
    wrt = [x for i, x in enumerate(xs) if torch.is_tensor(x) and x.is_floating_point() and i not in FIXED.get(name, ())]
    for x in wrt:
        x.requires_grad_()
    y = TORCH[name](*xs, **s.settings)
    found = torch.autograd.grad(y.sum(), wrt, allow_unused=True) if y.requires_grad else [None] * len(wrt)
    return [np.zeros(y.shape) if g is None else g.numpy() for g in found]


_AT_SIZE = "right where PyTorch squares on the way, which over- or underflows"
SLOPES: dict[str, list[Difference]] = {
    "acosh": [
        Difference(_AT_SIZE, lambda ours, theirs, x: x > 1e150),
        Difference("the value is NaN below 1, and the slope too", lambda ours, theirs, x: (x < 1) & np.isnan(ours)),
    ],
    "addcdiv": [Difference(_AT_SIZE, lambda ours, theirs, a, b, c: (np.abs(c) > 1e150) | (np.abs(c) < 1e-150))],
    "asinh": [Difference(_AT_SIZE, lambda ours, theirs, x: np.abs(x) > 1e150)],
    "atan2": [
        Difference(
            _AT_SIZE, lambda ours, theirs, y, x: (np.hypot(x, y) > 1e150) | ((np.hypot(x, y) < 1e-150) & (theirs == 0))
        )
    ],
    "digamma": [
        Difference("PyTorch's trigamma has 10 digits", lambda ours, theirs, x: np.abs(x) <= 3),
        Difference("PyTorch's trigamma has no poles", lambda ours, theirs, x: (x < 0) & np.isinf(ours)),
    ],
    "erfcx": [Difference("PyTorch's loses digits on the right, and all of them", lambda ours, theirs, x: x >= 1e4)],
    "fmod": [Difference("the value is NaN for y = 0, and the slope too", lambda ours, theirs, x, y: y == 0)],
    "geglu": [Difference(_AT_SIZE, lambda ours, theirs, gate, value: (np.abs(gate) > 1e150) & np.isnan(theirs))],
    "gelu": [Difference(_AT_SIZE, lambda ours, theirs, x: (np.abs(x) > 1e150) & np.isnan(theirs))],
    "hypot": [Difference("0 at the origin, in PyTorch NaN", lambda ours, theirs, x, y: (x == 0) & (y == 0))],
    "log_ndtr": [Difference("PyTorch's loses digits on the left, and all of them", lambda ours, theirs, x: x <= -1e4)],
    "logit": [Difference("PyTorch's is NaN outside [0, 1]", lambda ours, theirs, x: (x < 0) | (x > 1))],
    "rel_entr": [Difference("outside of its domain the value is inf", lambda a, b, p, q: (p < 0) | (q <= 0))],
    "sinc": [
        Difference("PyTorch's is 0 near 0", lambda ours, theirs, x: np.abs(x) <= 1e-300),
        Difference(_AT_SIZE, lambda ours, theirs, x: np.abs(x) >= 1e300),
    ],
    "xlogy": [Difference("0 at the origin, in PyTorch NaN", lambda ours, theirs, x, y: (x == 0) & (y == 0))],
}


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("name", [name for name in COMPARED if OPS[name].differentiable])
def test_slopes_at_huge_and_tiny_values_are_those_of_torch(name: str) -> None:
    values = grid("float64")
    results = []
    for s in calls(name, values[np.isfinite(values)]):
        if any(hasattr(x, "dtype") and x.dtype.kind == "f" for x in s.inputs):
            pairs = zip(our_slopes(name, s), their_slopes(name, s), strict=True)
            results += [(s, ours, theirs) for ours, theirs in pairs]
    left = unexplained(name, SLOPES.get(name, []), results)
    assert not left, left


def test_the_known_differences_are_of_ops() -> None:
    assert VALUES.keys() | SLOPES.keys() <= set(COMPARED)
    assert len(HOST) >= 75


# ---- half precision
HALVES = np.arange(2**16, dtype=np.uint16).view(np.float16)
HALVES = HALVES[~np.isnan(HALVES)]


def _rank(x: Any) -> Any:
    """The place of half-precision numbers in their order."""
    bits = x.view(np.int16).astype(np.int32)
    return np.where(bits < 0, -(bits & 0x7FFF), bits)


def half_calls(name: str) -> Iterator[Sample]:
    """The op's samples with every number of half precision; for several arrays, with their edges and random pairs."""
    rng = np.random.default_rng(0)
    for s in calls(name, grid("float16")):
        given = arrays_of(s)
        if not any(x.dtype.kind == "f" for x in given):
            continue
        drawn: list[Any] = []
        for x in s.inputs:
            if not hasattr(x, "dtype"):
                drawn.append(x)
            elif x.dtype.kind == "f":
                ordinary = (3 * rng.standard_normal(10_000)).astype(np.float16)
                more = HALVES if len(given) == 1 else np.concatenate([rng.choice(HALVES, 10_000), ordinary])
                drawn.append(np.concatenate([x, more]))
            else:
                drawn.append(np.concatenate([x, rng.choice(np.unique(x), 20_000)]))
        yield Sample(tuple(drawn), s.settings)


# Their answers jump, and the two precisions may stand on either side.
JUMPS = {"isclose": "differences at the very tolerance"}

# What cancels in float32 as well: how much in absolute terms.
CANCELS: dict[str, Callable[..., Any]] = {
    "gelu": lambda x: 1e-6 * np.abs(x),
    "geglu": lambda gate, value: 1e-6 * np.abs(gate * value),
}


@pytest.mark.parametrize("name", [name for name in ELEMENTWISE if "float16" in OPS[name].dtypes and name not in JUMPS])
def test_half_precision_is_the_rounded_value(name: str) -> None:
    """Within two places of it, over- and underflow included: nothing overflows or cancels on the way."""
    for s in half_calls(name):
        wide = [x.astype(np.float64) if hasattr(x, "dtype") and x.dtype.kind == "f" else x for x in s.inputs]
        with np.errstate(all="ignore"):
            made, exact = OPS[name](*s.inputs, **s.settings), OPS[name](*wide, **s.settings)
            expected = exact.astype(made.dtype)
        if made.dtype.kind != "f":
            assert (made == expected).all()
            continue
        assert made.dtype == np.float16
        wrong = np.isnan(made) != np.isnan(expected)
        wrong |= ~np.isnan(made) & ~np.isnan(expected) & (np.abs(_rank(made) - _rank(expected)) > 2)
        if name in CANCELS:
            with np.errstate(all="ignore"):
                wrong &= ~(np.abs(made - exact) <= CANCELS[name](*wide))
        assert not wrong.any(), at(s, wrong, made, exact)


# ---- dtypes
@pytest.mark.parametrize("name", ELEMENTWISE)
def test_complex_numbers_are_refused(name: str) -> None:
    """A number or an array, beside Tensors and beside arrays, by every op, also where the result would be real."""
    s = next(calls(name, np.array([0.5])))
    places = [i for i, x in enumerate(s.inputs) if hasattr(x, "dtype")]
    tensors = [tz.tensor(x) if i in places else x for i, x in enumerate(s.inputs)]
    for i in places:
        for others, number in itertools.product((tensors, s.inputs), (1j, np.full(s.inputs[i].shape, 1j))):
            with pytest.raises(DTypeError, match=r"complex.*; expected real numbers or booleans"):
                OPS[name](*others[:i], number, *others[i + 1 :], **s.settings)


def test_a_tensor_cannot_hold_complex_numbers() -> None:
    for make in (tz.tensor, tz.Tensor, tz.as_tensor):
        with pytest.raises(DTypeError):
            make(np.array([1j]))
    with pytest.raises(DTypeError, match="mul: argument y is complex128; expected real"):
        tz.tensor([1.0], requires_grad=True) * np.array([1j])

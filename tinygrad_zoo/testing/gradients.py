"""`check_gradients`: the gradients of any function of Tensors against finite differences, to any order."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..autograd import Op, gradients
from ..backend import device_of, namespace, to_device, to_host
from ..errors import DTypeError, TinygradZooError, UsageError
from ..tensor import Tensor
from ..variable import Array, Variable

RELATIVE = 1e-8  # what a correct rule may differ by, beyond the error of the finite differences
ROUNDING = 16 * float(np.finfo(np.float64).eps)  # of one value of a function that rounds a few times
STEP = 1e-3  # in units of the input: truncation and rounding both cost about 1e-12 there
FULL_JACOBIAN = 256  # entries
UNDECIDED = 1e-5  # a larger error of the differences would hide wrong rules


class GradientCheckError(TinygradZooError, AssertionError):
    """A gradient disagrees with finite differences; `order` says which gradient."""

    def __init__(self, message: str, order: int = 1) -> None:
        super().__init__(message)
        self.order = order


class GradientCheck(NamedTuple):
    """What `check_gradients` did: how many numbers it compared at each order, and the worst relative difference."""

    comparisons: tuple[int, ...]
    worst: float


def check_gradients(
    fn: Callable[..., Any], *inputs: Any, order: int = 2, seed: int = 0, directions: int = 3, **settings: Any
) -> GradientCheck:
    """Compare the gradients of `fn(*inputs, **settings)` with finite differences, in float64.

    `fn` takes Tensors and returns a Tensor or a tuple of them. Floating-point arrays and Tensors among the inputs are
    copied, promoted to float64 and differentiated; all else (integers, None, numbers, keys) is constant. For each
    input, ⟨w, J u⟩ by differences must equal ⟨Jᵀ w, u⟩ by the rules for random u and w; where input × output has at
    most 256 entries the whole Jacobian is compared. Order 2 does the same to the function (inputs, w) ↦ Jᵀ w, and
    compares first-order gradients with those of `create_graph`. Keep the inputs off kinks, ties and poles, and scale
    functions whose derivatives are all below 1e-8: rounding hides them.

    Raises GradientCheckError naming the function, the input, the entry, both numbers and the seed.

    >>> import numpy as np, tinygrad_zoo as tz
    >>> check = check_gradients(lambda x, y: (x * y).sum(), np.ones(3), np.arange(3.0))
    >>> check.comparisons, check.worst < 1e-8
    ((12, 57), True)
    """
    if order < 1:
        raise UsageError(f"check_gradients: expected order >= 1, got {order}")
    name = getattr(fn, "__name__", type(fn).__name__)
    moving = [i for i, x in enumerate(inputs) if _is_float(x)]
    if not moving:
        raise UsageError(f"check_gradients: none of the inputs of {name} is a floating-point array")
    data = [x.data if isinstance(x, Variable) else x for x in inputs]
    point = [np.float64(data[i]) if isinstance(data[i], np.generic) else data[i].astype("float64") for i in moving]
    point = [np.asarray(x) if isinstance(x, np.generic) else x for x in point]
    constants = [x.detach() if isinstance(x, Tensor) else x for x in inputs]

    def outputs(*tensors: Tensor) -> list[Tensor]:
        arguments = [copy.deepcopy(x) if isinstance(x, np.random.Generator) else x for x in constants]
        for i, x in zip(moving, tensors, strict=True):
            arguments[i] = x
        made = fn(*arguments, **settings)
        made = made if isinstance(made, tuple) else (made,)
        for y in made:
            if not isinstance(y, Tensor):
                raise DTypeError(f"check_gradients: {name} returned a {type(y).__name__}, expected a Tensor")
        return [y for y in made if y.dtype.kind == "f"]

    function = _Function(
        name=name,
        inputs=[f"{_argument(fn, i)} (input {i})" for i in moving],
        values=lambda arrays: [y.data for y in outputs(*(Tensor(a) for a in arrays))],
        outputs=outputs,
    )
    counts, worst, rounds = [], 0.0, 0.0
    for k in range(1, order + 1):
        check = _Check(function, point, k, seed, rounds)
        check.run(directions)
        counts.append(check.comparisons)
        worst, rounds = max(worst, check.worst), check.slope
        cotangents = [to_device(check.rng.standard_normal(y.shape), device_of(y)) for y in check.base]
        function, point = function.gradient(len(point), len(cotangents)), [*point, *cotangents]
    return GradientCheck(tuple(counts), worst)


def _is_float(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape") and x.dtype.kind == "f"


def _argument(fn: Any, i: int) -> str:
    if isinstance(fn, Op):
        return fn.signature.argument(i)
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        return "input"
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return positional[i] if i < len(positional) else "input"


def _leaf(array: Array) -> Tensor:
    return Tensor(array.copy(), requires_grad=True)


def _pull(outputs: Sequence[Tensor], wrt: Sequence[Tensor], seeds: Sequence[Any], create_graph: bool) -> list[Tensor]:
    """gradients(), with zeros where no path leads."""
    live = [(y, w) for y, w in zip(outputs, seeds, strict=True) if y.requires_grad]
    pulled = [None] * len(wrt)
    if live:
        pulled = gradients([y for y, _ in live], wrt, [w for _, w in live], create_graph=create_graph)
    return [Tensor(namespace(x.data).zeros_like(x.data)) if g is None else g for x, g in zip(wrt, pulled, strict=True)]


@dataclass
class _Function:
    """A function of float64 arrays, once for its values and once with a graph."""

    name: str
    inputs: list[str]
    values: Callable[[Sequence[Array]], list[Array]]
    outputs: Callable[..., list[Tensor]]

    def gradient(self, n_inputs: int, n_outputs: int) -> _Function:
        """(x, w) ↦ Jᵀ(x) w."""

        def values(arrays: Sequence[Array]) -> list[Array]:
            xs = [_leaf(a) for a in arrays[:n_inputs]]
            return [g.data for g in _pull(self.outputs(*xs), xs, [Tensor(w) for w in arrays[n_inputs:]], False)]

        def outputs(*tensors: Tensor) -> list[Tensor]:
            xs = tensors[:n_inputs]
            return _pull(self.outputs(*xs), xs, tensors[n_inputs:], True)

        names = [*self.inputs, *(f"the cotangent of output {j}" for j in range(n_outputs))]
        return _Function(f"the gradient of {self.name}", names, values, outputs)


def _flat(arrays: Sequence[Array]) -> Any:
    return np.concatenate([np.zeros(0), *(to_host(a).ravel() for a in arrays)])


def _size(x: Array) -> float:
    finite = to_host(x)
    return float(np.abs(finite[np.isfinite(finite)]).max(initial=0)) or 1.0


class _Difference(NamedTuple):
    """A derivative along a direction: one entry an output entry, each with its estimated error; the step used."""

    value: Any
    error: Any
    step: float


class _Check:
    """One order of one check.

    A saturated function (sigmoid(30)) has derivatives far below the rounding of the terms they are computed from;
    so rounding is judged against `magnitude` (of the values, of a tenth of the inputs and, at order 2, of the slope
    of the function before, whose rounding the gradient inherits) and against `slope`, a magnitude an input unit.
    """

    def __init__(self, function: _Function, point: Sequence[Array], order: int, seed: int, rounds: float) -> None:
        self.function, self.point, self.order, self.seed = function, list(point), order, seed
        self.rng = np.random.default_rng([seed, order])
        self.comparisons, self.worst = 0, 0.0
        self.base = function.values(self.point)
        self.y = _flat(self.base)
        self.sizes = [_size(x) for x in self.point]
        unit = min(1.0, *self.sizes)
        self.magnitude = max(float(np.abs(self.y).max(initial=0)), rounds, 0.1 * unit)
        self.slope = self.magnitude / unit
        self.leaves = [_leaf(x) for x in self.point]
        self.outputs = function.outputs(*self.leaves)

    def fail(self, what: str) -> GradientCheckError:
        return GradientCheckError(
            f"{self.function.name}, {what}\n(seed={self.seed}; finite differences assume that the inputs are off "
            "kinks, ties and poles)",
            self.order,
        )

    def run(self, directions: int) -> None:
        if not self.base:
            raise UsageError(f"check_gradients: {self.function.name} has no floating-point output")
        if not np.isfinite(self.y).all():
            raise self.fail("at these inputs: the value is not finite")
        if not np.array_equal(self.y, _flat(self.function.values(self.point))):
            raise self.fail("called twice: two different values; draw its randomness outside and pass it in")
        self._agree()
        cotangents = self.rng.standard_normal((directions, self.y.size))
        pulled = [self.vjp(w) for w in cotangents]
        for i, x in enumerate(self.point):
            for w, gradient in zip(cotangents, pulled, strict=True):
                self._direction(i, w, gradient[i], self.rng.standard_normal(x.shape))
        small = [i for i, x in enumerate(self.point) if 0 < x.size * self.y.size <= FULL_JACOBIAN]
        rows = [self.vjp(w) for w in np.eye(self.y.size)] if small else []
        for i in small:
            self._jacobian(i, np.stack([row[i].ravel() for row in rows]))

    def _agree(self) -> None:
        """The values with a graph are those without: for a gradient, the first-order rule is the formula's."""
        if self.order == 1:
            return
        cotangents = max((float(np.abs(to_host(x)).max(initial=0)) for x in self.point), default=0.0)
        for i, (raw, graph) in enumerate(zip(self.base, self.outputs, strict=True)):
            a, b = to_host(raw), to_host(graph.data)
            slack = 1e-12 * max(float(np.abs(a).max(initial=0)), min(1.0, cotangents))
            wrong = ~(np.abs(a - b) <= 1e-9 * np.abs(a) + slack)
            self.comparisons += a.size
            if wrong.any():
                at = tuple(int(k) for k in np.argwhere(wrong)[0])
                raise self.fail(
                    f"{self.function.inputs[i]}, entry {at}: the first-order gradient is {a[at]!r}, "
                    f"with create_graph it is {b[at]!r}"
                )

    def vjp(self, w: Any) -> list[Any]:
        """Jᵀ w by the rules, an array an input."""
        ends = np.cumsum([y.size for y in self.base])[:-1]
        parts = [p.reshape(y.shape) for p, y in zip(np.split(w, ends), self.base, strict=True)]
        seeds = [Tensor(to_device(p, device_of(y))) for p, y in zip(parts, self.base, strict=True)]
        found = _pull(self.outputs, self.leaves, seeds, False)
        for i, (g, x) in enumerate(zip(found, self.point, strict=True)):
            if g.shape != x.shape or g.dtype != x.dtype:
                raise self.fail(f"{self.function.inputs[i]}: the gradient is {g.dtype} {g.shape}, not {x.shape}")
        return [to_host(g.data) for g in found]

    # ---- finite differences
    def difference(self, i: int, u: Any, step: float | None = None) -> _Difference:
        """J u for input i: central differences of sixth order, at the first step whose estimated error is small.

        The fourth-order stencil at h and 2h gives a Richardson extrapolation and its error estimate.
        """
        x, size = to_host(self.point[i]), self.sizes[i]
        unit = STEP * min(1.0, size)
        steps = [step] if step is not None else [*(unit / 8**k for k in range(7)), STEP * size]
        best = _Difference(np.zeros(self.y.size), np.full(self.y.size, np.inf), unit)
        for h in dict.fromkeys(steps):
            with np.errstate(all="ignore"):
                d1, d2, d4 = (self._at(i, x + k * h * u) - self._at(i, x - k * h * u) for k in (1, 2, 4))
                near, far = (8 * d1 - d2) / (12 * h), (8 * d2 - d4) / (24 * h)
                value = near + (near - far) / 15
                rounding = ROUNDING * (self.magnitude + size * np.abs(value).max(initial=0)) / h
                error = np.abs(near - far) + rounding
            better = np.isfinite(value) & (error < best.error)
            step_used = h if better.any() else best.step
            best = _Difference(np.where(better, value, best.value), np.where(better, error, best.error), step_used)
            if (best.error <= RELATIVE * np.abs(best.value) + 4 * rounding).all():
                break
        if step is None and not np.isfinite(best.error).all():
            raise self.fail(f"near these inputs, along {self.function.inputs[i]}: the value is not finite")
        return best

    def _at(self, i: int, x: Any) -> Any:
        moved = to_device(np.asarray(x), device_of(self.point[i]))
        return _flat(self.function.values([*self.point[:i], moved, *self.point[i + 1 :]]))

    def _finer(self, i: int, u: Any, found: _Difference) -> Iterator[_Difference]:
        """`found`, then finer steps: a coarse one may have jumped over a pole or a kink, smoothly on both sides."""
        yield found
        for k in range(1, 7):
            yield self.difference(i, u, found.step / 8**k)

    def _scatter(self, i: int, u: Any, found: _Difference) -> Any:
        """How far `found` moves under other steps: what noise the error estimate has missed."""
        others = [self.difference(i, u, found.step * factor).value for factor in (0.45, 0.7, 1.4)]
        return 8 * np.max([np.abs(other - found.value) for other in others], axis=0)

    # ---- comparisons
    def _compare(self, i: int, u: Any, w: Any, rule: float, terms: float) -> tuple[float, float] | None:
        """⟨w, J u⟩ against the rule's number: None where they agree, else the number by differences and its error."""
        self.comparisons += 1
        natural = float(np.linalg.norm(w)) * self.slope
        decided: list[tuple[float, float, _Difference]] = []
        for found in self._finer(i, u, self.difference(i, u)):
            number, scale = float(w @ found.value), float(np.linalg.norm(w * found.value))
            error = float(np.abs(w) @ found.error)
            if not error <= UNDECIDED * max(scale, natural):
                continue
            slack = error + RELATIVE * scale + 1e-13 * (terms + natural)
            if abs(number - rule) <= slack:
                self.worst = max(self.worst, abs(number - rule) / (max(scale, terms, natural) or 1.0))
                return None
            decided.append((slack, number, found))
        if not decided:
            raise self.fail(
                f"{self.function.inputs[i]}: finite differences give {number!r} ± {error:.1g} and decide nothing: "
                "the function is not smooth here, or rounds to less than float64"
            )
        slack, number, found = decided[0]
        slack += float(np.abs(w) @ self._scatter(i, u, found))
        return None if abs(number - rule) <= slack else (number, slack)

    def _direction(self, i: int, w: Any, gradient: Any, u: Any) -> None:
        def wrong(u: Any) -> tuple[float, float] | None:
            return self._compare(i, u, w, float((gradient * u).sum()), float(np.abs(gradient * u).sum()))

        if not self.y.size or not u.size or wrong(u) is None:
            return
        entries = np.arange(u.size)  # halve the direction until one wrong entry is left
        while entries.size > 1:
            half = np.zeros(u.size)
            half[entries[: entries.size // 2]] = 1
            wrong_here = wrong((half * u.ravel()).reshape(u.shape)) is not None
            entries = entries[: entries.size // 2] if wrong_here else entries[entries.size // 2 :]
        single = np.zeros(u.size)
        single[entries[0]] = 1
        found = wrong(single.reshape(u.shape))
        at = np.unravel_index(int(entries[0]), u.shape)
        if found is None:
            raise self.fail(f"{self.function.inputs[i]}: wrong along a direction through entry {_entry(at)}")
        raise self.fail(
            f"{self.function.inputs[i]}, entry {_entry(at)}: the rule gives {float(gradient[at])!r}, "
            f"finite differences {found[0]!r} ± {found[1]:.1g}, against a random cotangent"
        )

    def _jacobian(self, i: int, rule: Any) -> None:
        x = self.point[i]
        largest = max(float(np.abs(rule).max()), self.slope)
        for k in range(x.size):
            u = np.zeros(x.size)
            u[k] = 1
            u = u.reshape(x.shape)
            found = self.difference(i, u)
            slack = RELATIVE * np.abs(found.value) + found.error + 1e-13 * largest
            gap = np.abs(found.value - rule[:, k])
            wrong = ~(gap <= slack)
            if wrong.any():
                for finer in self._finer(i, u, found):
                    decides = finer.error <= UNDECIDED * np.maximum(np.abs(finer.value), self.slope)
                    finer_gap = np.abs(finer.value - rule[:, k])
                    agrees = wrong & decides & (finer_gap <= RELATIVE * np.abs(finer.value) + finer.error)
                    wrong, gap = wrong & ~agrees, np.where(agrees, finer_gap, gap)
                slack = slack + self._scatter(i, u, found)
                wrong &= ~(gap <= slack)
            self.comparisons += gap.size
            if wrong.any():
                row = int(np.argmax(np.where(wrong, gap / np.maximum(slack, 1e-300), 0)))
                at = _entry(np.unravel_index(k, x.shape))
                raise self.fail(
                    f"{self.function.inputs[i]}, entry {at}, for {self._output(row)}: the rule gives "
                    f"{float(rule[row, k])!r}, finite differences {float(found.value[row])!r} ± {float(slack[row]):.1g}"
                )
            self.worst = max(self.worst, float(gap.max() / largest) if largest else 0.0)

    def _output(self, row: int) -> str:
        for j, y in enumerate(self.base):
            if row < y.size:
                what = f"output {j}" if self.order == 1 else f"the gradient of {self.function.inputs[j]}"
                return f"entry {_entry(np.unravel_index(row, y.shape))} of {what}"
            row -= y.size
        raise IndexError(row)


def _entry(at: Any) -> tuple[int, ...]:
    return tuple(int(k) for k in at)

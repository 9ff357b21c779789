"""`op_laws`: what must hold of every op, checked from its row and one seed."""

from __future__ import annotations

import contextlib
import gc
import itertools
import weakref
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from ..autograd import Op, gradients
from ..backend import default_device, namespace, to_device, to_host
from ..errors import GradientError, TinygradZooError
from ..ops.sampling import Draw, Sample
from ..tensor import Tensor
from ..variable import Variable
from .gradients import check_gradients
from .layouts import LAYOUTS, zero_stride

BY_MASK = "how many entries a boolean mask selects is the shape of the result"
HOW_MANY_STAY = "how many boxes are left is the shape of the result"
# The ops that wait for a device, and why they must: all others run on it without a copy to the host.
WAITING = {
    "getitem": BY_MASK,
    "index_put": BY_MASK,
    "masked_select": BY_MASK,
    "nms": HOW_MANY_STAY,
    "batched_nms": HOW_MANY_STAY,
    "nonzero": "how many entries are not zero is the shape of the result",
    "to_device": "it is the copy",
}


class LawError(TinygradZooError, AssertionError):
    """An op breaks a law that every op must keep."""


@dataclass
class Executed:
    """What really ran: comparisons with finite differences in which the op's own rule was seen to run; laws by name."""

    order1: int = 0
    order2: int = 0
    laws: Counter[str] = field(default_factory=Counter)
    worst: float = 0.0
    raw_rules: int = 0  # runs of the rule on arrays: first order
    graph_rules: int = 0  # runs on Tensors: what higher orders differentiate

    def add(self, other: Executed) -> None:
        self.order1 += other.order1
        self.order2 += other.order2
        self.laws += other.laws
        self.worst = max(self.worst, other.worst)


def op_laws(op: Op, seed: int = 0) -> Executed:
    """Check every law on the op's samples, and for elementwise rows on derived shapes; all drawn from `seed`.

    The laws: values equal the reference · gradients of both orders by finite differences · dtypes in, out and of
    gradients agree · every memory layout gives the same · f(x, x) counts both places · the vjp is linear in g and
    adjoint to the jvp · nothing is written, memory is shared only by view rows, and a write after the forward is
    noticed · two walks and two calls give the same bits · the graph is freed without the collector · bad inputs raise
    typed errors · on the stand-in for CuPy, forward and rules copy nothing to the host. Raises LawError or
    GradientCheckError.

    >>> from tinygrad_zoo import ops
    >>> ran = op_laws(ops.mul)
    >>> ran.order1 > 0, ran.order2 > 0, ran.laws["layouts"] > 0
    (True, True, True)
    """
    if op.samples is None or op.reference is None:
        raise LawError(f"{op}: its row lacks {'samples' if op.samples is None else 'a reference'}")
    ran = Executed()
    rng = np.random.default_rng(seed)
    try:
        samples = [s if isinstance(s, Sample) else Sample(s, {}) for s in op.samples(Draw(rng))]
        if not samples:
            raise LawError(f"{op}: its samples are empty")
        with _watched(op, ran):
            for s in samples:
                _Case(op, s.inputs, s.settings, seed, ran).all_laws()
            for inputs in _derived_inputs(op, rng):
                settings = samples[int(rng.integers(len(samples)))].settings
                _Case(op, inputs, settings, seed, ran).all_laws()
    except TinygradZooError as error:
        error.add_note(f"reproduce: tinygrad_zoo.testing.op_laws({op}, seed={seed})")
        raise
    return ran


@contextlib.contextmanager
def _watched(op: Op, ran: Executed) -> Iterator[None]:
    """Count the runs of the op's own rule."""

    def watch(rule: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*arguments: Any, **settings: Any) -> Any:
            first = arguments[0][0] if isinstance(arguments[0], list) else arguments[0]
            graph = name == "formula" or isinstance(first, Variable)
            ran.graph_rules += graph
            ran.raw_rules += not graph
            return rule(*arguments, **settings)

        return run

    places = [(op, "vjp"), (op, "formula"), (op.backward, "forward")]
    before = [(place, name, getattr(place, name)) for place, name in places if getattr(place, name, None) is not None]
    for place, name, rule in before:
        setattr(place, name, watch(rule, name))
    try:
        yield
    finally:
        for place, name, rule in before:
            setattr(place, name, rule)


def _derived_inputs(op: Op, rng: np.random.Generator) -> list[tuple[Any, ...]]:
    """For elementwise rows: inputs that broadcast together, 0-d, and of no size at all."""
    if not op.elementwise:
        return []
    n = len(op.signature.arrays)
    whole = tuple(rng.integers(1, 4, int(rng.integers(1, 4))).tolist())

    def narrowed(shape: tuple[int, ...]) -> tuple[int, ...]:
        kept = shape[int(rng.integers(0, len(shape) + 1)) :]
        return tuple(1 if rng.random() < 0.3 else length for length in kept)

    groups: list[list[tuple[int, ...]]] = [[narrowed(whole) for _ in range(n)], [()] * n, [(2, 0), *[(0,)] * (n - 1)]]
    made = []
    for group in groups:
        inputs = tuple(np.asarray(rng.standard_normal(shape)) for shape in group)
        made.append(tuple(np.asarray(x) for x in op.repair(*inputs)) if op.repair is not None else inputs)
    return made


def placed(value: Any) -> Any:
    """A sample's value with its arrays on the device under test."""
    if isinstance(value, tuple):
        return tuple(placed(v) for v in value)
    return to_device(value, default_device()) if isinstance(value, np.ndarray) else value


def _is_array(x: Any) -> bool:
    return hasattr(x, "dtype") and hasattr(x, "shape")


def _tuple(made: Any) -> tuple[Any, ...]:
    return made if isinstance(made, tuple) else (made,)


def _tensor(array: Any, requires_grad: bool = False) -> Tensor:
    """NumPy's arithmetic makes scalars of 0-d arrays."""
    return Tensor(np.asarray(array) if isinstance(array, np.generic) else array, requires_grad)


def _bits(arrays: Sequence[Any]) -> list[bytes]:
    return [to_host(a).tobytes() for a in arrays if _is_array(a)]


def _data(tensors: Sequence[Any]) -> list[Any]:
    return [None if t is None else t.data for t in tensors]


def _close(a: Any, b: Any, relative: float, scale: float | None = None) -> bool:
    """Equal up to `relative`, entry by entry and in units of the largest; NaN equals NaN."""
    a, b = np.asarray(to_host(a), dtype=np.float64), np.asarray(to_host(b), dtype=np.float64)
    if a.shape != b.shape:
        return False
    finite = np.abs(b[np.isfinite(b)])
    scale = max(float(finite.max(initial=0)), scale or 0.0)
    return bool(np.allclose(a, b, rtol=relative, atol=relative * scale, equal_nan=True))


class _Case:
    """One call of one op."""

    def __init__(self, op: Op, inputs: tuple[Any, ...], settings: dict[str, Any], seed: int, ran: Executed) -> None:
        self.op, self.seed, self.ran = op, seed, ran
        self.host_inputs, self.host_settings = inputs, settings
        self.inputs = [placed(x) for x in inputs]
        self.settings = {name: placed(value) for name, value in settings.items()}
        self.floats = [i for i, x in enumerate(inputs) if _is_array(x) and x.dtype.kind == "f"]
        self.moving = self.floats if op.differentiable else []
        self.rng = np.random.default_rng([seed, 1])

    def fail(self, law: str, what: str) -> LawError:
        shown = self.op.signature.describe(self.host_inputs, self.host_settings)
        return LawError(f"{self.op}, {law}: {what}{shown}")

    def all_laws(self) -> None:
        laws = [self.forward, self.gradients, self.dtypes, self.layouts, self.bad_inputs, self.copies]
        if self.moving:
            laws += [self.promotion, self.repeated, self.vjp, self.writes, self.freed, self.output_alone]
        for law in laws:
            law()

    # ---- calling
    def call(self, inputs: Sequence[Any]) -> tuple[Any, ...]:
        return _tuple(self.op(*inputs, **self.settings))

    def tensors(self, inputs: Sequence[Any]) -> list[Any]:
        """Tensors around the arrays; those that have a gradient require it."""
        return [Tensor(x, requires_grad=i in self.moving) if _is_array(x) else x for i, x in enumerate(inputs)]

    def graph(self, inputs: Sequence[Any]) -> tuple[list[Any], list[Tensor]]:
        """Fresh leaves and the floating-point outputs computed from them."""
        tensors = self.tensors(inputs)
        return [tensors[i] for i in self.moving], [y for y in self.call(tensors) if y.data.dtype.kind == "f"]

    def cotangents(self, outputs: Sequence[Any]) -> list[Tensor]:
        drawn = [self.rng.standard_normal(y.data.shape).astype(y.data.dtype) for y in outputs]
        return [Tensor(to_device(np.asarray(w), default_device())) for w in drawn]

    def pulled(self, inputs: Sequence[Any], ws: Sequence[Any] | None = None) -> tuple[list[Any], list[Any]]:
        """The arrays of the outputs and of their gradients, first order."""
        leaves, outputs = self.graph(inputs)
        ws = self.cotangents(outputs) if ws is None else ws
        return _data(outputs), _data(gradients(outputs, leaves, ws) if leaves else [])

    # ---- laws
    def forward(self) -> None:
        """Arrays give arrays and Tensors Tensors, of the values of the reference, the same bits each time."""
        made = self.call(self.inputs)
        through = self.call(self.tensors(self.inputs))
        for y, tensor in zip(made, through, strict=True):
            if not _is_array(y) or isinstance(y, (Variable, np.generic)):
                raise self.fail("forward", f"arrays in gave a {type(y).__name__} out, expected an array")
            if type(tensor) is not Tensor:
                raise self.fail("forward", f"a Tensor in gave a {type(tensor).__name__} out")
        bits = _bits(made)
        if bits != _bits(self.call(self.inputs)) or bits != _bits(_data(through)):
            raise self.fail("deterministic", "two calls gave different bits")
        self.compare("forward", made, self.inputs, 1e-9)
        if self.op.formula is not None:
            arrays, settings = self.op.signature.bind(tuple(self.inputs), dict(self.settings))
            said = _tuple(self.op.formula(*self.tensors(arrays), **settings))
            if not all(_close(y, f.data, 1e-9) for y, f in zip(made, said, strict=True)):
                raise self.fail("formula", "the kernel's values are not the formula's")
        self.ran.laws["forward"] += 1

    def compare(self, law: str, made: Sequence[Any], inputs: Sequence[Any], relative: float) -> None:
        """The values against the reference in float64; unit scale is the least that errors are judged by."""
        assert self.op.reference is not None
        arrays, settings = self.op.signature.bind(tuple(self.host_inputs), dict(self.host_settings))
        arrays = tuple(to_host(inputs[i]).astype(np.float64) if i in self.floats else x for i, x in enumerate(arrays))
        with np.errstate(all="ignore"):
            expected = _tuple(self.op.reference(*arrays, **settings))
        for y, e in zip(made, expected, strict=True):
            e = np.asarray(e)
            if (y.dtype.kind == "f") != (e.dtype.kind == "f"):
                raise self.fail(law, f"values of {y.dtype}, the reference's are {e.dtype}")
            if not _close(y, e, relative, scale=1.0):
                raise self.fail(law, f"got {to_host(y)!r}, the reference is {e!r}")

    def gradients(self) -> None:
        if not self.moving:
            return
        raw, graph = self.ran.raw_rules, self.ran.graph_rules
        check = check_gradients(self.op, *self.inputs, seed=self.seed, **self.settings)
        self.ran.order1 += check.comparisons[0] if self.ran.raw_rules > raw else 0
        self.ran.order2 += check.comparisons[1] if self.ran.graph_rules > graph else 0
        self.ran.worst = max(self.ran.worst, check.worst)

    def dtypes(self) -> None:
        """Each floating dtype comes out as it went in, and so do gradients."""
        for dtype in self.op.dtypes if self.floats else ():
            inputs = [x.astype(dtype) if i in self.floats else x for i, x in enumerate(self.inputs)]
            outputs, found = self.pulled(inputs)
            for what, arrays in (("values", outputs), ("gradients", [g for g in found if g is not None])):
                for a in arrays:
                    if a.dtype != dtype:
                        raise self.fail("dtypes", f"{dtype} in, {what} of {a.dtype} out")
            self.compare("dtypes", self.call(inputs), inputs, 100 * float(np.finfo(dtype).eps))
            self.ran.laws["dtypes"] += 1

    def promotion(self) -> None:
        """Mixed dtypes: the values are of the wider one, each gradient is of its input's."""
        if len(self.moving) < 2 or not {"float32", "float64"} <= set(self.op.dtypes):
            return
        first = self.moving[0]
        inputs = [x.astype("float32") if i == first else x for i, x in enumerate(self.inputs)]
        outputs, found = self.pulled(inputs, ws := self.cotangents(self.graph(inputs)[1]))
        wide = [x.astype("float64") if i == first else x for i, x in enumerate(inputs)]
        _, expected = self.pulled(wide, ws)
        for i, g, e in zip(self.moving, found, expected, strict=True):
            if g is not None and (g.dtype != inputs[i].dtype or not _close(g, e, 1e-5, scale=1e-2)):
                raise self.fail("promotion", f"float32 and float64 in: the gradient of input {i} is {g!r}, not {e!r}")
        if any(y.dtype != "float64" for y in outputs):
            raise self.fail("promotion", f"float32 and float64 in, {outputs[0].dtype} out")
        self.ran.laws["promotion"] += 1

    def layouts(self) -> None:
        """The memory layout of the inputs and of g changes nothing."""
        for name, layout in {**LAYOUTS, "zero-stride": zero_stride}.items():
            laid = [layout(x) if _is_array(x) else x for x in self.inputs]
            try:
                leaves, outputs = self.graph([x.copy() if _is_array(x) else x for x in laid])
                ws = self.cotangents(outputs)
                expected = _data(outputs), _data(gradients(outputs, leaves, ws) if leaves else [])
            except TinygradZooError as refusal:  # repeated layers can make a matrix singular: then both are
                if name != "zero-stride":
                    raise
                self.must_raise("layouts", type(refusal), partial(self.pulled, laid), name)
                continue
            if name != "zero-stride":
                ws = [Tensor(layout(w.data)) for w in ws]
            made = self.pulled(laid, ws)
            for a, b in zip([*made[0], *made[1]], [*expected[0], *expected[1]], strict=True):
                if (a is None) != (b is None) or (a is not None and not _close(a, b, 1e-11)):
                    raise self.fail("layouts", f"{name} gives {a!r}, C order {b!r}")
            self.ran.laws["layouts"] += 1

    def repeated(self) -> None:
        """f(x, x): the gradient of x is the sum over both places, in every mode."""
        pairs = [(i, j) for i in self.moving for j in self.moving if i < j]
        for i, j in [(i, j) for i, j in pairs if self.inputs[i].shape == self.inputs[j].shape][:1]:
            apart = self.tensors(self.inputs)
            apart[j] = Tensor(self.inputs[i].copy(), requires_grad=True)
            outputs = [y for y in self.call(apart) if y.data.dtype.kind == "f"]
            ws = self.cotangents(outputs)
            once = gradients(outputs, [apart[i], apart[j]], ws)
            expected = np.sum([to_host(g.data) for g in once if g is not None] or [np.zeros(())], axis=0)
            together = self.tensors(self.inputs)
            together[j] = together[i]
            outputs = [y for y in self.call(together) if y.data.dtype.kind == "f"]
            for create_graph in (False, True):
                (found,) = gradients(outputs, [together[i]], ws, create_graph=create_graph)
                found = np.zeros(()) if found is None else found.data
                if not _close(found, expected, 1e-9, scale=1e-3):
                    raise self.fail("repeated", f"inputs {i} and {j} the same tensor: {found!r}, expected {expected!r}")
            self.ran.laws["repeated"] += 1

    def vjp(self) -> None:
        """Linear in g; adjoint to the jvp, itself two vjps; two walks give the same bits."""
        leaves, outputs = self.graph(self.inputs)
        ws, vs = self.cotangents(outputs), self.cotangents(outputs)

        def pull(g: list[Tensor]) -> list[Any]:
            return [np.zeros(()) if x is None else to_host(x.data) for x in gradients(outputs, leaves, g)]

        gw, gv = pull(ws), pull(vs)
        if _bits(gw) != _bits(pull(ws)):
            raise self.fail("vjp", "two walks of one graph gave different bits")
        mixed = pull([_tensor(2.5 * w.data - 0.5 * v.data) for w, v in zip(ws, vs, strict=True)])
        for a, b, c in zip(mixed, gw, gv, strict=True):
            scale = float(np.abs(b).max(initial=0) + np.abs(c).max(initial=0)) + 1e-3
            if not _close(a, 2.5 * b - 0.5 * c, 1e-9, scale):
                raise self.fail("vjp", f"not linear in g: {a!r}, expected {2.5 * b - 0.5 * c!r}")
        probes = [Tensor(w.data.copy(), requires_grad=True) for w in ws]
        rows = gradients(outputs, leaves, probes, create_graph=True)
        live = [(row, u) for row, u in zip(rows, self.cotangents(leaves), strict=True) if row is not None]
        live = [(row, u) for row, u in live if row.requires_grad]
        if live:
            tangents = gradients([row for row, _ in live], probes, [u for _, u in live])
            left = [to_host(w.data * t.data).sum() for w, t in zip(ws, tangents, strict=True) if t is not None]
            right = [to_host(row.data * u.data) for row, u in live]
            scale = sum(float(np.abs(r).sum()) for r in right)
            if abs(sum(left) - sum(r.sum() for r in right)) > 1e-9 * scale + 1e-12:
                raise self.fail("vjp", f"not adjoint to the jvp: {sum(left)!r} and {sum(r.sum() for r in right)!r}")
        self.ran.laws["vjp"] += 1

    def writes(self) -> None:
        """Nothing is written; memory is shared by view rows alone; a write by the user is noticed."""
        inputs = [LAYOUTS["read-only"](x) if _is_array(x) else x for x in self.inputs]
        tensors = self.tensors(inputs)
        leaves, made = [tensors[i] for i in self.moving], self.call(tensors)
        outputs = [y for y in made if y.data.dtype.kind == "f"]
        ws = [Tensor(LAYOUTS["read-only"](w.data)) for w in self.cotangents(outputs)]
        watched = [*inputs, *_data(ws), *_data(made), *[a for y in outputs if y.node for a in y.node.saved]]
        before = _bits(watched)
        for create_graph in (False, True):
            gradients(outputs, leaves, ws, create_graph=create_graph)
        if before != _bits(watched):
            raise self.fail("writes", "the rule wrote to g, an input, the result or a saved value")
        for y in made:
            owners = [x for x in tensors if isinstance(x, Variable)]
            if self.op.view and y.version is not owners[0].version:
                raise self.fail("writes", "a view must share the version of its input")
            if not self.op.view and any(namespace(y.data).may_share_memory(y.data, x.data) for x in owners):
                raise self.fail("writes", "the result shares memory with an input: flag the row with view=True")
        for what, create_graph in itertools.product(("an input", "the result"), (False, True)):
            leaves, outputs = self.graph(self.inputs)
            for x in leaves if what == "an input" else outputs:
                x.mark_written()
            live = [(y, w) for y, w in zip(outputs, ws, strict=True) if y.requires_grad]
            if live:
                y, w = zip(*live, strict=True)
                stale = partial(gradients, y, leaves, w, create_graph=create_graph)
                self.must_raise("writes", GradientError, stale, f"{what} written after the forward")
        self.ran.laws["writes"] += 1

    def freed(self) -> None:
        """Without the collector, a graph dies with its last reference."""
        collecting = gc.isenabled()
        gc.disable()
        try:
            leaves, outputs = self.graph(self.inputs)
            nodes = [weakref.ref(y.node) for y in outputs if y.node is not None]
            ws = [Tensor(w.data, requires_grad=True) for w in self.cotangents(outputs)]
            found = gradients(outputs, leaves, ws, create_graph=True)
            nodes += [weakref.ref(g.node) for g in found if g is not None and g.node is not None]
            del leaves, outputs, ws, found
            if any(node() is not None for node in nodes):
                raise self.fail("freed", "the graph outlives its tensors: something refers to it in a cycle")
        finally:
            if collecting:
                gc.enable()
        self.ran.laws["freed"] += 1

    def output_alone(self) -> None:
        """Of several outputs, one alone has the gradient that zeros for the others give."""
        leaves, outputs = self.graph(self.inputs)
        if len(outputs) < 2:
            return
        ws = self.cotangents(outputs)
        for j, (y, w) in enumerate(zip(outputs, ws, strict=True)):
            padded = [w if k == j else _tensor(0 * other.data) for k, other in enumerate(ws)]
            for a, b in zip(gradients([y], leaves, [w]), gradients(outputs, leaves, padded), strict=True):
                if a is None or b is None or not _close(a.data, b.data, 1e-12):
                    raise self.fail("several outputs", f"output {j} alone gives {a!r}, with zeros for the others {b!r}")
        self.ran.laws["output_alone"] += 1

    def bad_inputs(self) -> None:
        """A string, a list, a partner of a shape that fits nothing: an error of this library."""
        places = [i for i, x in enumerate(self.inputs) if _is_array(x)]
        if not places:
            return

        def replaced(i: int, value: Any) -> list[Any]:
            return [value if k == i else x for k, x in enumerate(self.inputs)]

        last = places[-1]
        bad: list[tuple[str, Any]] = [("a string", "abc")]
        if last > 0 or not self.op.signature.variadic:  # concat([...]) is how lists are meant
            bad.append(("a list", [1.0, 2.0]))
        fits_nothing = len(places) > 1 and any(n > 1 for i in places[:-1] for n in self.inputs[i].shape[-1:])
        if fits_nothing:
            bad.append(("a shape that fits nothing", np.ones((7, 11, 13), dtype=self.inputs[last].dtype)))
        for what, value in bad:
            arguments = replaced(last, placed(value))
            self.must_raise("bad inputs", TinygradZooError, partial(self.call, arguments), what)
            self.must_raise("bad inputs", TinygradZooError, partial(self.call, self.tensors(arguments)), what)
            self.ran.laws["bad_inputs"] += 1

    def copies(self) -> None:
        """On a device, the forward and the rules of both orders run without a copy to the host."""
        reason = WAITING.get(self.op.__name__)
        held = [x for value in (*self.inputs, *self.settings.values()) for x in _tuple(value)]
        masked = any(_is_array(x) and x.dtype == bool for x in held)
        if default_device() != "cupysim:0" or (reason and (masked or reason is not BY_MASK)):
            return
        from .cupysim.transfers import HiddenCopyError, forbid_sync

        try:
            with forbid_sync():
                leaves, outputs = self.graph(self.inputs)
                ws = [Tensor(w.data, requires_grad=True) for w in self.cotangents(outputs)]
                gradients(outputs, leaves, ws)
                rows = [g for g in gradients(outputs, leaves, ws, create_graph=True) if g is not None]
                rows = [g for g in rows if g.requires_grad]
                gradients(rows, [*leaves, *ws], self.cotangents(rows))
        except HiddenCopyError as error:
            raise self.fail("copies", f"{error} in its forward or rule, and so waits for the device") from error
        self.ran.laws["copies"] += 1

    def must_raise(self, law: str, kind: type[Exception], call: Callable[[], Any], what: str) -> None:
        try:
            result = call()
        except kind:
            return
        except Exception as error:
            raise self.fail(law, f"{what} raised {type(error).__name__}, expected {kind.__name__}: {error}") from error
        raise self.fail(law, f"{what} was accepted and gave {result!r}")

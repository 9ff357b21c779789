"""The op: a function with a gradient, its definition and its call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from types import MethodType
from typing import Any

from numpy import asarray, generic, ndarray

from .errors import DTypeError, GradientError, TinygradZooError
from .grad_mode import state
from .signature import REAL, Signature
from .variable import Array, Node, Variable, wrap


def _output(op: Op, result: Any) -> Any:
    """What a forward returned, as an array where NumPy made a scalar of a 0-d one."""
    if isinstance(result, generic):
        return asarray(result)
    if not hasattr(result, "dtype") or isinstance(result, Variable):
        got = "None" if result is None else f"a {type(result).__name__}"
        raise DTypeError(f"{op}: its forward returned {got}; expected an array, or a tuple of arrays: write return ...")
    return result


def made(data: Array | None, node: Node | None, index: int, version: Any) -> Any:
    """Output `index` of a call as a Tensor; only floating point has a gradient."""
    if data is None:
        return None
    return wrap(Variable.result_type, data, node if data.dtype.kind == "f" else None, index, version)


_NUMBERS = frozenset((float, int, bool, type(None)))  # which, beside NumPy's arrays of REAL dtype, need no further look


class Op:
    """A function with a gradient: arrays in, array out; a Tensor among the inputs, a Tensor out."""

    __name__: str

    def __init__(self, forward: Callable[..., Any], vjp: Callable[..., Any] | None, **row: Any) -> None:
        self.forward, self.vjp = forward, vjp
        self.formula: Callable[..., Any] | None = row.pop("formula", None)
        self.backward: Op | None = row.pop("backward", None)
        self.saved: tuple[str, ...] = row.pop("saved", ())
        self.view: bool = row.pop("view", False)
        self.samples: Callable[..., Any] | None = row.pop("samples", None)
        self.reference: Callable[..., Any] | None = row.pop("reference", None)
        self.repair: Callable[..., Any] | None = row.pop("repair", None)
        self.elementwise: bool = row.pop("elementwise", False)  # any shapes, broadcast
        self.dtypes: tuple[str, ...] = row.pop("dtypes", ("float16", "float32", "float64"))
        order: tuple[str, ...] = row.pop("order", ())
        if row:
            raise DTypeError(f"{forward.__name__}: an op has no {', '.join(row)}")
        self.differentiable = vjp is not None or self.formula is not None
        self.signature = Signature(forward, order)
        self.arity, self.defaults = self.signature.arity, self.signature.defaults
        update_wrapper(self, forward)

    def __repr__(self) -> str:
        return self.__name__

    __reduce__ = __repr__  # copied and pickled like a function: by its name

    def __get__(self, tensor: Any, owner: Any = None) -> Any:  # an Op in a class body is a method
        return self if tensor is None else MethodType(self, tensor)

    def _check_real(self, array: Array) -> None:
        if array.dtype.kind not in REAL:
            raise DTypeError(f"{self}: its result is {array.dtype}; tensors hold real numbers or booleans")

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        if settings or len(inputs) != self.arity:
            inputs, settings = self.signature.bind(inputs, settings)
            if state.recorder is not None:
                settings = state.recorder.opened(settings)
        else:
            settings = self.defaults
        arrays, needs, usual, tracked = [], [], True, False
        version: Any = None  # of the first Tensor's memory
        for x in inputs:
            if isinstance(x, Variable):
                version = version or x.version
                if x._requires_grad:
                    tracked = True
                needs.append(x._requires_grad)
                x = x._data
                if type(x) is not ndarray:
                    usual = False
            else:
                needs.append(False)
                if x.dtype.kind not in REAL if type(x) is ndarray else type(x) not in _NUMBERS:
                    usual = False
            arrays.append(x)
        if not usual:
            if state.recorder is not None and (given := state.recorder.as_tensors(inputs)) is not inputs:
                return self(*given, **settings)
            self.signature.check(arrays)
        try:
            result = self.forward(*arrays, **settings) if settings else self.forward(*arrays)
        except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError, TinygradZooError) as error:
            raise self.signature.explain(arrays, settings, error) from error
        saved: Sequence[Array] = ()
        if self.saved:
            result, *saved = result
        several = isinstance(result, tuple)
        outputs: list[Any]
        if several:
            outputs = [r if r is None else _output(self, r) for r in result]
        else:
            outputs = [result if type(result) is ndarray else _output(self, result)]
        if version is not None:
            node = None
            if not self.view:
                version = [0]
            if tracked and self.differentiable and state.recording:
                node = Node(self, inputs, settings, needs, outputs, saved, version)
                if state.precision is not None:
                    node.precision = state.precision
            if state.observer is not None:
                state.observer(self, inputs, settings, outputs, node)
            if not several:
                array = outputs[0]
                if array.dtype.kind != "f":
                    self._check_real(array)
                    node = None
                made_here = wrap(Variable.result_type, array, node, 0, version)
                if state.recorder is not None:
                    state.recorder.keep(made_here)
                return made_here
            for array in outputs:
                if array is not None:
                    self._check_real(array)
            outputs = [made(array, node, i, version) for i, array in enumerate(outputs)]
            if state.recorder is not None:
                for x in outputs:
                    state.recorder.keep(x)
        if not several:
            return outputs[0]
        return type(result)(*outputs) if hasattr(result, "_fields") else tuple(outputs)


def primitive(
    *,
    vjp: tuple[Callable[..., Any], ...] | Callable[..., Any] | None,
    backward: Callable[..., Any] | None = None,
    **row: Any,
) -> Callable[[Callable[..., Any]], Op]:
    """Define an op by its gradient rules, written in ops: one text serves every order.

    `vjp` is one rule an input, `rule(g, out, *inputs, **settings)`, or one function for all of them,
    `vjp(g, out, *inputs, needs, **settings)` returning a gradient (or None) an input; None: no gradient.
    Broadcasting and promotion are undone in the walk, not in rules. An op of one input may have a kernel for its rule:
    first order runs `backward(g, out, x, **settings)`, and where that returns None the rule. Integer by-products of the
    forward named in `saved` reach the joint form as keywords. `order` names the arguments as a call has them where
    PyTorch puts settings before arrays, gather(x, dim, index); what it names that the op has not is refused. The rest
    of the row (samples, reference, repair, view, elementwise, dtypes) is what `tinygrad_zoo.testing` needs to check
    the op.

    >>> import numpy as np
    >>> @primitive(vjp=(lambda g, out, x: 2 * g * x,))
    ... def squared(x):
    ...     return x * x
    >>> squared(np.array([3.0]))
    array([9.])
    """

    def define(forward: Callable[..., Any]) -> Op:
        if backward is not None and not (isinstance(vjp, tuple) and len(vjp) == 1):
            raise GradientError(f"{forward.__name__}: backward is for an op of one rule: write fused(formula=...)")
        if not isinstance(vjp, tuple):
            return Op(forward, vjp, **row)
        signature = Signature(forward)
        if signature.variadic or len(vjp) != len(signature.arrays) or not all(callable(rule) for rule in vjp):
            raise GradientError(
                f"{signature.text}: vjp holds {len(vjp)} rules, expected a function for each of its "
                f"{len(signature.arrays)} arrays"
            )
        for p, rule in zip(signature.arrays, vjp, strict=True):
            signature.check_rule(f"the rule of {p.name}", rule)
        if backward is not None:
            row["backward"] = _first_order(backward, vjp[0], forward.__name__)
        return Op(forward, _joint(vjp) if vjp else None, **row)

    return define


def _first_order(backward: Callable[..., Any], rule: Callable[..., Any], name: str) -> Op:
    """The op of a kernel, and of the rule on arrays that the kernel does not serve."""

    def kernel(g: Any, out: Any, x: Any, *, needs: Sequence[bool], **settings: Any) -> tuple[Any]:
        found = backward(g, out, x, **settings)
        return (rule(g, out, x, **settings) if found is None else found,)

    kernel.__name__ = f"{name}_backward"
    return Op(kernel, None)


def _joint(rules: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    """The rules as one function; those of one and two inputs, which most ops have, without a loop."""
    first, *others = rules
    if not others:
        return lambda g, out, x, needs, **settings: [first(g, out, x, **settings)]
    if len(others) == 1:
        second = others[0]
        return lambda g, out, x, y, needs, **settings: [
            first(g, out, x, y, **settings) if needs[0] else None,
            second(g, out, x, y, **settings) if needs[1] else None,
        ]

    def joint(g: Any, out: Any, *inputs: Any, needs: Sequence[bool], **settings: Any) -> list[Any]:
        return [rule(g, out, *inputs, **settings) if need else None for rule, need in zip(rules, needs, strict=True)]

    return joint


def fused(
    *, formula: Callable[..., Any], backward: Callable[..., Any], saved: tuple[str, ...] = (), **row: Any
) -> Callable[[Callable[..., Any]], Op]:
    """Define an op by hand-written kernels for `formula`, which is its documentation and its oracle.

    `backward(g, out, *inputs, *saved, needs, **settings)` returns a gradient (or None) an input (several outputs:
    a g each, then an out each). First order runs it; a gradient of a gradient differentiates the formula, so
    nobody derives second derivatives by hand.
    """

    def define(forward: Callable[..., Any]) -> Op:
        def kernel(*arrays: Any, needs: Sequence[bool], **settings: Any) -> tuple[Any, ...]:
            return tuple(backward(*arrays, needs=needs, **settings))

        kernel.__name__ = f"{forward.__name__}_backward"
        return Op(forward, None, formula=formula, backward=Op(kernel, None), saved=saved, **row)

    return define


@primitive(vjp=(lambda g, out, x: g,), samples=lambda r: [(r(2, 3),), (r(),)], reference=asarray, view=True)
def alias(x: Array) -> Array:
    """The same values as a graph node of its own."""
    return x

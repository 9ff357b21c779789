"""The graph: ops record what they did, and gradients are pulled back along it.

Reverse-mode differentiation (Linnainmaa 1970). This file knows no op and no device; it knows how a call is
recorded (`Op`), how gradient rules are written (`primitive`, `fused`) and how they are walked (`gradients`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import update_wrapper
from operator import attrgetter
from types import MethodType
from typing import Any

from numpy import asarray, generic, ndarray

from .errors import DTypeError, GradientError, TinygradZooError
from .grad_mode import state
from .signature import Signature
from .variable import Array, Node, Variable, run_hooks, wrap


def _made(data: Array | None, node: Node | None, index: int, version: Any) -> Any:
    if data is None:
        return None
    return wrap(Variable.result_type, data, node if data.dtype.kind == "f" else None, index, version)


_USUAL = frozenset((ndarray, float, int, bool, type(None)))  # needs no further look


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
        if row:
            raise DTypeError(f"{forward.__name__}: an op has no {', '.join(row)}")
        self.differentiable = vjp is not None or self.formula is not None
        self.signature = Signature(forward)
        self.arity, self.defaults = self.signature.arity, self.signature.defaults
        update_wrapper(self, forward)

    def __repr__(self) -> str:
        return self.__name__

    __reduce__ = __repr__  # copied and pickled like a function: by its name

    def __get__(self, tensor: Any, owner: Any = None) -> Any:  # an Op in a class body is a method
        return self if tensor is None else MethodType(self, tensor)

    def __call__(self, *inputs: Any, **settings: Any) -> Any:
        if settings or len(inputs) != self.arity:
            inputs, settings = self.signature.bind(inputs, settings)
        else:
            settings = self.defaults
        arrays, needs, usual = [], [], True
        version: Any = None  # of the first Tensor's memory
        for x in inputs:
            if isinstance(x, Variable):
                version = version or x.version
                needs.append(x._requires_grad)
                x = x._data
            else:
                needs.append(False)
            arrays.append(x)
            if type(x) not in _USUAL:
                usual = False
        if not usual:
            self.signature.check(arrays)
        try:
            result = self.forward(*arrays, **settings) if settings else self.forward(*arrays)
        except TinygradZooError:
            raise
        except (TypeError, ValueError, IndexError, AttributeError, OverflowError) as error:
            raise self.signature.explain(arrays, settings, error) from error
        saved: Sequence[Array] = ()
        if self.saved:
            result, *saved = result
        several = isinstance(result, tuple)
        if several:
            outputs = [asarray(r) if isinstance(r, generic) else r for r in result]
        else:
            outputs = [asarray(result) if isinstance(result, generic) else result]
        if version is not None:
            node = None
            if not self.view:
                version = [0]
            if True in needs and self.differentiable and state.recording:
                node = Node(self, inputs, settings, needs, outputs, saved, version)
            if state.observer is not None:
                state.observer(self, inputs, settings, outputs, node)
            if not several:
                return _made(outputs[0], node, 0, version)
            outputs = [_made(array, node, i, version) for i, array in enumerate(outputs)]
        if not several:
            return outputs[0]
        return type(result)(*outputs) if hasattr(result, "_fields") else tuple(outputs)


def primitive(
    *, vjp: tuple[Callable[..., Any], ...] | Callable[..., Any] | None, **row: Any
) -> Callable[[Callable[..., Any]], Op]:
    """Define an op by its gradient rules, written in ops: one text serves every order.

    `vjp` is one rule an input, `rule(g, out, *inputs, **settings)`, or one function for all of them,
    `vjp(g, out, *inputs, needs, **settings)` returning a gradient (or None) an input; None: no gradient.
    Broadcasting and promotion are undone in the walk, not in rules. Integer by-products of the forward named in
    `saved` reach the joint form as keywords. The rest of the row (samples, reference, repair, view, elementwise,
    dtypes) is what `tinygrad_zoo.testing` needs to check the op.

    >>> import numpy as np
    >>> @primitive(vjp=(lambda g, out, x: 2 * g * x,))
    ... def squared(x):
    ...     return x * x
    >>> squared(np.array([3.0]))
    array([9.])
    """

    def define(forward: Callable[..., Any]) -> Op:
        if not isinstance(vjp, tuple):
            return Op(forward, vjp, **row)
        op = Op(forward, _joint(vjp), **row)
        if op.signature.variadic or len(vjp) != len(op.signature.arrays) or not all(callable(rule) for rule in vjp):
            raise GradientError(f"{op.signature.text}: vjp holds {len(vjp)} rules; expected a function an array")
        return op

    return define


def _joint(rules: tuple[Callable[..., Any], ...]) -> Callable[..., Any]:
    def joint(g: Any, out: Any, *inputs: Any, needs: Sequence[bool], **settings: Any) -> list[Any]:
        return [rule(g, out, *inputs, **settings) if need else None for rule, need in zip(rules, needs, strict=True)]

    return joint if len(rules) > 1 else lambda g, out, x, needs, **settings: [rules[0](g, out, x, **settings)]


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


_RAW = "arrays, no graph: first order"
_RECORDED = "Tensors without a graph, seen by the observer"
_GRAPH = "Tensors with a graph: create_graph"


def gradients(
    outputs: Sequence[Variable],
    inputs: Sequence[Variable],
    grad_outputs: Sequence[Any],
    *,
    create_graph: bool = False,
    stop: bool = False,
) -> list[Any]:
    """Pull `grad_outputs` back to each of `inputs`: a Tensor, or None where no path leads there.

    With `create_graph` the results can be differentiated again; `stop` takes `inputs` as independent of each other.
    """
    found = _walk(outputs, grad_outputs, inputs, create_graph, stop)
    results = [found.get(_key(x)) for x in inputs]
    return [g if g is None or isinstance(g, Variable) else wrap(Variable.result_type, asarray(g)) for g in results]


def backward(outputs: Sequence[Variable], grad_outputs: Sequence[Any], *, create_graph: bool = False) -> None:
    """Pull `grad_outputs` back to every leaf below `outputs` and accumulate there in `.grad`."""
    _walk(outputs, grad_outputs, None, create_graph, stop=False)


def _key(x: Variable) -> Any:
    """Names the value of `x` in the walk: its node, with the output's index where that is not 0; or the leaf."""
    node = x.node
    return id(x) if node is None else node if x.index == 0 else (node, x.index)


def _walk(
    outputs: Sequence[Variable], seeds: Sequence[Any], wanted: Sequence[Variable] | None, create_graph: bool, stop: bool
) -> dict[Any, Any]:
    """The gradients of `wanted` by key; without `wanted`, every leaf's goes into its `.grad`."""
    mode = _GRAPH if create_graph else _RAW if state.observer is None else _RECORDED
    keys = None if wanted is None else {_key(x) for x in wanted}
    pending: dict[Any, Any] = {}
    found: dict[Any, Any] = {}
    leaves = {id(x): x for x in outputs if x.node is None and x._requires_grad}
    recording, state.recording, outer = state.recording, create_graph, state.node
    try:
        order, pruned, last = _order(outputs, keys, stop)
        for x, g in zip(outputs, seeds, strict=True):
            key, g = _key(x), _as(g, mode)
            g = g if g.dtype == x._data.dtype else g.astype(x._data.dtype)
            pending[key] = pending[key] + g if key in pending else g
        for node in order:
            gs = [pending.pop(node, None)]
            if len(node.outputs) > 1:
                gs += [pending.pop((node, i), None) for i in range(1, len(node.outputs))]
            if node.hooks is not None:
                gs = [g if g is None else run_hooks(node.hooks.get(i), g) for i, g in enumerate(gs)]
            if keys is not None:
                found.update({key: g for i, g in enumerate(gs) if (key := (node, i) if i else node) in keys})
            needs = node.needs if pruned is None else pruned[node]
            if True in needs and (gs[0] is not None or any(g is not None for g in gs)):
                for x, need, g in zip(node.inputs, needs, _pull(node, gs, needs, mode), strict=True):
                    if not need or g is None:
                        continue
                    array, source = x._data, x.node
                    if getattr(g, "shape", None) != array.shape or g.dtype is not array.dtype:
                        g = _fit(g, array, node.op)
                    if source is None:
                        source = id(x)
                        leaves[source] = x
                    elif x.index:
                        source = (source, x.index)
                    other = pending.get(source)
                    pending[source] = g if other is None else other + g
            for x in last.get(node, ()) if last else ():
                if id(x) in pending:
                    _deliver(x, pending.pop(id(x)), mode, keys, found)
        for source, x in leaves.items():
            if source in pending:
                _deliver(x, pending.pop(source), mode, keys, found)
    finally:
        state.recording, state.node = recording, outer
    for key in keys or ():  # where `stop` kept the walk from the node behind an input
        if key in pending:
            found[key] = pending[key]
    return found


def _as(g: Any, mode: str) -> Any:
    if mode is _RAW:
        return g._data if isinstance(g, Variable) else g
    return g if isinstance(g, Variable) else wrap(Variable.result_type, g)


def _order(outputs: Sequence[Variable], keys: Any, stop: bool) -> tuple[list[Node], Any, dict[Node, list[Variable]]]:
    """The nodes below `outputs`, latest first; the inputs each must serve, where only `keys` are wanted; and the
    leaves with a hook for when their gradient is complete, by the last node to add to it."""
    seen: set[Node] = set()
    watched: dict[int, Variable] = {}
    stack = [x.node for x in outputs if x.node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for x, need in zip(node.inputs, node.needs, strict=True):
            if not need:
                continue
            if x.node is None:
                if x._post_hooks:
                    watched[id(x)] = x
            elif x.node not in seen and not (stop and _key(x) in keys):
                stack.append(x.node)
    order = sorted(seen, key=attrgetter("number"))
    pruned = None
    if keys is not None:
        pruned, leads = {}, set()  # leads: the nodes on a path to what is wanted
        for node in order:
            pruned[node] = [n and (x.node in leads or _key(x) in keys) for x, n in zip(node.inputs, node.needs)]  # noqa: B905
            if True in pruned[node]:
                leads.add(node)
    last: dict[Node, list[Variable]] = {}
    for node in order if watched else ():
        for x in node.inputs:
            if isinstance(x, Variable) and watched.pop(id(x), None) is not None:
                last.setdefault(node, []).append(x)
    order.reverse()
    return order, pruned, last


def _deliver(x: Variable, g: Any, mode: str, keys: Any, found: dict[Any, Any]) -> None:
    """The gradient of a leaf is complete."""
    if x._hooks:
        g = run_hooks(x._hooks, g)
    if keys is None:
        _accumulate(x, g, mode)
    elif id(x) in keys:
        found[id(x)] = g


def _pull(node: Node, gs: list[Any], needs: list[bool], mode: str) -> Sequence[Any]:
    """One gradient (or None) an input of `node`."""
    op, number = node.op, node.number
    inputs: list[Any] = []
    for x in node.inputs:
        if isinstance(x, Variable):
            if x.version[0] > number:
                raise _written(op, f"its argument {op.signature.argument(len(inputs))}")
            if mode is _RAW:
                x = x._data
            elif mode is _RECORDED:
                x = wrap(Variable.result_type, x._data)
        inputs.append(x)
    if node.version[0] > number:
        raise _written(op, "its result")
    outs: Sequence[Any] = node.outputs
    if len(outs) > 1:  # zeros for those that nothing was computed from
        gs = [_as(_zeros(o), mode) if g is None else g for g, o in zip(gs, outs, strict=True)]
    if mode is not _RAW:
        state.node = node
        outs = [_made(o, node if mode is _GRAPH else None, i, node.version) for i, o in enumerate(outs)]
    if op.backward is None:
        assert op.vjp is not None  # else there would be no node
        saved = dict(zip(op.saved, node.saved, strict=True)) if op.saved else {}
        g, out = (gs[0], outs[0]) if len(outs) == 1 else (gs, outs)
        results: Sequence[Any] = op.vjp(g, out, *inputs, needs=needs, **saved, **node.settings)
    elif mode is _GRAPH:
        results = _differentiate_formula(node, gs, needs)
    else:
        run = op.backward.forward if mode is _RAW else op.backward
        results = run(*gs, *outs, *inputs, *node.saved, needs=needs, **node.settings)
    if not isinstance(results, (list, tuple)) or len(results) != len(inputs):
        raise GradientError(f"{op}: its rule must return a list of {len(inputs)}, a gradient or None for each input")
    return results


def _written(op: Op, what: str) -> GradientError:
    return GradientError(f"{op}: {what} was written after the forward: write after backward(), or rerun the forward")


def _differentiate_formula(node: Node, gs: list[Any], needs: list[bool]) -> list[Any]:
    """The gradients of a fused op as expressions of its formula, one fresh alias a slot: f(x, x) has two."""
    assert node.op.formula is not None
    slots = [alias(x) if need else x for x, need in zip(node.inputs, needs, strict=True)]
    outs = node.op.formula(*slots, **node.settings)
    outs = outs if isinstance(outs, tuple) else (outs,)
    wanted = [x for x, need in zip(slots, needs, strict=True) if need]
    results = iter(gradients(outs, wanted, gs, create_graph=True, stop=True))
    return [next(results) if need else None for need in needs]


def _fit(g: Any, array: Array, op: Op) -> Any:
    """Undo broadcasting and promotion: `g` in the shape and dtype of the input it belongs to."""
    shape = array.shape
    try:
        if g.shape != shape:
            lead = g.ndim - len(shape)
            if any(n != m != 1 for n, m in zip(g.shape[max(lead, 0) :], shape, strict=True)):
                raise ValueError
            axes = (*range(lead), *(d for d, n in enumerate(shape, lead) if n == 1 != g.shape[d]))
            g = g.sum(axis=axes, keepdims=len(axes) > lead)
            g = g if g.shape == shape else g.reshape(shape)
        return g if g.dtype == array.dtype else g.astype(array.dtype)
    except (AttributeError, IndexError, ValueError) as error:
        raise GradientError(
            f"{op}: a rule returned {getattr(g, 'shape', g)!r} where a gradient of shape {shape} is due"
        ) from error


def _zeros(array: Array) -> Array:
    zeros = array.copy()
    zeros.fill(0)
    return zeros


def _accumulate(x: Variable, g: Any, mode: str) -> None:
    """Add to `x.grad`, which always owns its memory."""
    grad = x._grad
    if grad is None:
        owned = asarray(g) if isinstance(g, generic) else g.copy()
        x._grad = owned if isinstance(g, Variable) else wrap(Variable.result_type, owned)
    elif mode is _RAW and grad.node is None:
        grad._data += g
        grad.mark_written()
    else:
        x._grad = grad + g
    for hook in list(x._post_hooks.values()) if x._post_hooks else ():
        hook(x)

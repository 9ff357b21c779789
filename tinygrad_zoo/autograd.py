"""The graph: ops record what they did, and gradients are pulled back along it.

Reverse-mode differentiation (Linnainmaa 1970). This file knows no op and no device; op.py says how a call is recorded
(`Op`) and how gradient rules are written (`primitive`, `fused`), and here they are walked (`gradients`, `backward`).
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from sys import getrefcount
from typing import Any

from numpy import errstate, generic, ndarray, zeros

from .errors import GradientError
from .grad_mode import state
from .op import Op, alias, fused, made, primitive
from .variable import Array, Node, Variable, as_array, run_hooks, wrap

__all__ = ["Op", "alias", "backward", "fused", "gradients", "primitive"]

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
    return [g if g is None or isinstance(g, Variable) else wrap(Variable.result_type, as_array(g)) for g in results]


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
    pull = _pull_arrays if mode is _RAW else _pull_graph if create_graph else _pull_recorded
    keys = None if wanted is None else {_key(x) for x in wanted}
    pending: dict[Any, Any] = {}
    found: dict[Any, Any] = {}
    leaves = {id(x): x for x in outputs if x.node is None and x._requires_grad}
    recording, state.recording, outer = state.recording, create_graph, state.node
    precision, state.precision = state.precision, None
    current = None  # that of the node whose rule runs
    try:
        with errstate(all="ignore"):  # a NaN or Inf is a value, forward and backward; detect_anomaly finds it
            order, pruned, last = _order(outputs, keys, stop)
            for x, g in zip(outputs, seeds, strict=True):
                key, g = _key(x), _as(g, mode)
                g = g if g.dtype == x._data.dtype else g.astype(x._data.dtype)
                pending[key] = pending[key] + g if key in pending else g
            for node in order:
                needs = node.needs
                if keys is None and node.hooks is None and len(node.outputs) == 1:
                    g = pending.pop(node, None)
                else:
                    g = _gathered(node, pending, keys, found, mode)
                    needs = needs if pruned is None else pruned[node]
                if g is not None and (pruned is None or True in needs):
                    if node.precision is not current:
                        state.precision = current = node.precision
                    results = pull(node, g, needs)
                    if not isinstance(results, (list, tuple)) or len(results) != len(needs):
                        raise GradientError(
                            f"{node.op}: its rule must return a list of {len(needs)}, a gradient or None for each input"
                        )
                    for x, need, g in zip(node.inputs, needs, results, strict=True):
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
                    results = None  # it would be one more holder of the gradients in `pending`
                if last and node in last:
                    for x in last[node]:
                        if (g := pending.pop(id(x), None)) is not None:
                            _deliver(x, g, mode, keys, found)
            for source, x in leaves.items():
                if (g := pending.pop(source, None)) is not None:
                    alone = getrefcount(g) == _ALONE  # counted here: as an argument it is held once more
                    _deliver(x, g, mode, keys, found, alone)
    finally:
        state.recording, state.node, state.precision = recording, outer, precision
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
    stack = [x.node for x in outputs if x.node is not None]
    seen: set[Node] = set(stack)
    watched: dict[int, Variable] = {}
    while stack:
        for x in stack.pop().inputs:
            if isinstance(x, Variable):
                node = x.node
                if node is None:
                    if x._post_hooks:
                        watched[id(x)] = x
                elif node not in seen and not (stop and _key(x) in keys):
                    seen.add(node)
                    stack.append(node)
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


def _gathered(node: Node, pending: dict[Any, Any], keys: Any, found: dict[Any, Any], mode: str) -> Any:
    """What has come in for the outputs of `node`: one gradient, or a list with zeros for those nothing came from."""
    gs = [pending.pop((node, i) if i else node, None) for i in range(len(node.outputs))]
    if node.hooks is not None:
        gs = [g if g is None else run_hooks(node.hooks.get(i), g) for i, g in enumerate(gs)]
    if keys is not None:
        found.update({key: g for i, g in enumerate(gs) if (key := (node, i) if i else node) in keys})
    if len(gs) == 1 or all(g is None for g in gs):
        return gs[0]
    return [_as(_zeros(o), mode) if g is None else g for g, o in zip(gs, node.outputs, strict=True)]


def _pull_arrays(node: Node, g: Any, needs: list[bool]) -> Any:
    """One gradient (or None) an input of `node`, by its rule or kernel on arrays."""
    op, number, outs = node.op, node.number, node.outputs
    inputs = []
    for x in node.inputs:
        if isinstance(x, Variable):
            if x.version[0] > number:
                raise _written(node)
            x = x._data
        inputs.append(x)
    if node.version[0] > number:
        raise _written(node)
    if op.backward is not None:
        gs = (g,) if len(outs) == 1 else g
        return op.backward.forward(*gs, *outs, *inputs, *node.saved, needs=needs, **node.settings)
    return _rule(node, g, outs, inputs, needs)


def _rule(node: Node, g: Any, outs: Sequence[Any], inputs: Sequence[Any], needs: list[bool]) -> Any:
    op = node.op
    assert op.vjp is not None  # else there would be no node
    saved = dict(zip(op.saved, node.saved, strict=True)) if op.saved else {}
    return op.vjp(g, outs[0] if len(outs) == 1 else outs, *inputs, needs=needs, **saved, **node.settings)


def _pull_recorded(node: Node, g: Any, needs: list[bool]) -> Any:
    """The same on Tensors without a graph, so that the observer sees every op."""
    _check_versions(node)
    state.node, op = node, node.op
    inputs = [wrap(Variable.result_type, x._data) if isinstance(x, Variable) else x for x in node.inputs]
    outs = [made(o, None, i, None) for i, o in enumerate(node.outputs)]
    if op.backward is not None:
        gs = (g,) if len(outs) == 1 else g
        return op.backward(*gs, *outs, *inputs, *node.saved, needs=needs, **node.settings)
    if state.recorder is not None:
        return state.recorder.pull(node, g, outs, inputs, lambda: _rule(node, g, outs, inputs, needs))
    return _rule(node, g, outs, inputs, needs)


def _pull_graph(node: Node, g: Any, needs: list[bool]) -> Any:
    """The same on Tensors whose graph goes on; a fused op by its formula, an alias a slot: f(x, x) has two."""
    _check_versions(node)
    state.node, op = node, node.op
    if op.formula is None:
        outs = [made(o, node, i, node.version) for i, o in enumerate(node.outputs)]
        return _rule(node, g, outs, node.inputs, needs)
    slots = [alias(x) if need else x for x, need in zip(node.inputs, needs, strict=True)]
    result = op.formula(*slots, **node.settings)
    wanted = [x for x, need in zip(slots, needs, strict=True) if need]
    several = isinstance(result, tuple)
    found = iter(
        gradients(result if several else (result,), wanted, g if several else (g,), create_graph=True, stop=True)
    )
    return [next(found) if need else None for need in needs]


def _check_versions(node: Node) -> None:
    if any(v[0] > node.number for v in (node.version, *(x.version for x in node.inputs if isinstance(x, Variable)))):
        raise _written(node)


def _written(node: Node) -> GradientError:
    """Which of a node's values was written since."""
    what = "its result"
    for i, x in enumerate(node.inputs):
        if isinstance(x, Variable) and x.version[0] > node.number:
            what = f"its argument {node.op.signature.argument(i)}"
            break
    return GradientError(
        f"{node.op}: {what} was written after the forward: write after backward(), or rerun the forward"
    )


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
    like = array.copy()
    like.fill(0)
    return like


def _references() -> int:
    array = zeros(())
    return getrefcount(array)


def _references_of_base() -> int:
    array = zeros((1, 2)).T
    return getrefcount(array.base)


_ALONE = _references()  # the count of an array that one local variable holds and nobody else
_BASE_ALONE = _references_of_base()  # that of an array which nobody holds but its one view


def _owns(g: Any) -> bool:
    """Whether an array is all of its memory, in whatever order, and no other array has part in it."""
    if type(g) is not ndarray:
        return False
    if g.base is None:
        return True
    whole = type(g.base) is ndarray and g.base.base is None and g.base.nbytes == g.nbytes
    return whole and getrefcount(g.base) == _BASE_ALONE


def _deliver(x: Variable, g: Any, mode: str, keys: Any, found: dict[Any, Any], alone: bool = False) -> None:
    """The gradient of a leaf is complete: keep it if it is wanted, or add it to `.grad`, which always owns its memory:
    that is a copy, unless nobody else holds `g` (`alone`) or what it is a view of."""
    if x._hooks:
        g, alone = run_hooks(x._hooks, g), False
    grad = x._grad
    if keys is not None:
        if id(x) in keys:
            found[id(x)] = g
        return
    if grad is None:
        if not (alone and _owns(g)):
            if isinstance(g, generic):
                g = as_array(g)
            else:
                g = g.copy(order="K") if type(g) is ndarray else g.copy()  # images keep their layout
        x._grad = g if isinstance(g, Variable) else wrap(Variable.result_type, g)
    elif mode is _RAW and grad.node is None:
        grad._data += g
        grad.mark_written()
    else:
        x._grad = grad + g
    if x._post_hooks:
        for hook in list(x._post_hooks.values()):
            hook(x)

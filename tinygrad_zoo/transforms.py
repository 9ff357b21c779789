"""Functions of functions: derivatives as functions, all by reverse mode (a jvp is two vjps).

Each takes a function of Tensors and returns derivatives as Tensors. `argnums` says which arguments to differentiate;
the result has a gradient each, or a single one for a single integer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from .autograd import Op, alias, gradients
from .creation import zeros
from .errors import DeviceError, DTypeError, ShapeError, UsageError
from .grad_mode import enable_grad, is_grad_enabled, state
from .ops import reshape, stack
from .ops.random import recorded_draws, replayed_draws
from .tensor import Tensor, as_tensor
from .variable import Node, Variable, now

Argnums = int | tuple[int, ...]


class _Trace:
    """One call of a function, with the arguments to differentiate as nodes of their own.

    Its derivatives stay differentiable (`create_graph`) where that is asked for by what it was computed from: an
    argument that requires a gradient, or a Tensor the function captured (a critic's weights).
    """

    def __init__(self, function: Callable[..., Any], args: Sequence[Any], argnums: Argnums, settings: Any) -> None:
        outer = is_grad_enabled()
        self.inputs = [as_tensor(a) if _is_number(a) else a for a in args]
        live = any(isinstance(x, Tensor) and x.requires_grad for x in self.inputs)
        self.wanted: list[Tensor] = []
        start = now()
        with enable_grad():
            for i in (argnums,) if isinstance(argnums, int) else argnums:
                if not -len(args) <= i < len(args):
                    raise UsageError(f"argnums: there is no argument {i}, the function was given {len(args)}")
                x = self.inputs[i]
                if not isinstance(x, Tensor) or x.dtype.kind != "f":
                    raise DTypeError(f"argument {i} has no gradient: expected a floating-point tensor, got {x!r}")
                self.inputs[i] = alias(x) if x.requires_grad else x.detach().requires_grad_()
                self.wanted.append(self.inputs[i])
            self.out = function(*self.inputs, **settings)
        if not isinstance(self.out, Tensor):
            raise DTypeError(f"the function must return a Tensor, it returned a {type(self.out).__name__}")
        self.create_graph = outer and (live or bool(captured([self.out], start, self.wanted)))

    def pull(self, cotangent: Tensor) -> list[Tensor]:
        """The gradient of every wanted argument; zeros where the function does not use it."""
        grads: Sequence[Any] = [None] * len(self.wanted)
        if self.out.requires_grad:
            grads = gradients([self.out], self.wanted, [cotangent], create_graph=self.create_graph)
        return _dense(grads, self.wanted)

    def result(self) -> Any:
        return self.out if self.create_graph else self.out.detach()


def _is_number(a: Any) -> bool:
    """Whether `a` is an array, a Tensor or a Python float: what can be differentiated."""
    return hasattr(a, "dtype") or isinstance(a, float)


def captured(outs: Sequence[Any], start: int, inputs: Sequence[Variable]) -> list[Tensor]:
    """The Tensors behind `outs`, other than `inputs`, that were there before `start` and require a gradient."""
    known = {id(x) if x.node is None else (x.node, x.index) for x in inputs}
    seen: set[Node] = set()
    found: dict[Any, Tensor] = {}
    stack = [o.node for o in outs if isinstance(o, Variable) and o.node is not None]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        for x, need in zip(node.inputs, node.needs, strict=True):
            key = id(x) if not need or x.node is None else (x.node, x.index)
            if not need or key in known:
                continue
            if x.node is None or x.node.number < start:
                found[key] = x
            else:
                stack.append(x.node)
    return list(found.values())


def _check_function(who: str, function: Any) -> None:
    if not callable(function):
        hint = "; for the gradient of a Tensor write loss.backward() and read x.grad" if "grad" in who else ""
        call = f"{who.partition(',')[0]}(f)"
        raise DTypeError(f"{who}: function is a {type(function).__name__}, expected a function: write {call}{hint}")


def _scalar(out: Tensor, name: str) -> Tensor:
    if out.size != 1:
        raise ShapeError(
            f"{name}: the function must return one number, it returned shape {out.shape}; jacobian takes any"
        )
    return out


def _dense(grads: Sequence[Any], wanted: Sequence[Tensor]) -> list[Tensor]:
    """Zeros in place of None: an argument that the function does not use has gradient zero."""
    return [
        zeros(x.shape, dtype=x.dtype, device=x.device) if g is None else g for g, x in zip(grads, wanted, strict=True)
    ]


def _like(results: list[Tensor], argnums: Argnums) -> Any:
    return results[0] if isinstance(argnums, int) else tuple(results)


def value_and_grad(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns (f(x), ∇f(x)).

    >>> from tinygrad_zoo import tensor
    >>> value_and_grad(lambda x: (x * x).sum())(tensor([3.0]))
    (tensor(9.), tensor([6.]))
    """

    _check_function("grad, value_and_grad", function)

    @wraps(function)
    def with_gradient(*args: Any, **settings: Any) -> Any:
        trace = _Trace(function, args, argnums, settings)
        seed = _filled(_scalar(trace.out, "grad, value_and_grad"), 1)
        return trace.result(), _like(trace.pull(seed), argnums)

    return with_gradient


def _direction(who: str, what: str, x: Tensor, name: str, v: Any) -> Any:
    """`v` as a Tensor, of the shape of `x` and on its device."""
    if not isinstance(v, Tensor):
        v = as_tensor(v).to(x.device)
    if v.shape != x.shape:
        raise ShapeError(f"{who}: {what} has shape {x.shape}, so expected {name} of that shape, got {v.shape}")
    if v.device != x.device:
        raise DeviceError(f"{who}: {what} is on {x.device}, but {name} on {v.device}: write .to({x.device!r})")
    return v


def _filled(out: Tensor, value: float) -> Tensor:
    array = out._data.copy()
    array.fill(value)
    return Tensor(array)


def grad(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """∇f as a function; applies to itself: grad(grad(f)). It stays differentiable where its argument requires it.

    >>> from tinygrad_zoo import tensor
    >>> grad(grad(lambda x: x ** 3))(tensor(2.0)).item()
    12.0
    """
    both = value_and_grad(function, argnums)
    return wraps(function)(lambda *args, **settings: both(*args, **settings)[1])


def vjp(function: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Tensor, ...]]]:
    """f(x) and the linear map v ↦ vᵀ J, a gradient an argument; it can be called many times.

    >>> from tinygrad_zoo import tensor
    >>> out, pull = vjp(lambda x: x * x, tensor([1.0, 2.0]))
    >>> pull(tensor([1.0, 1.0]))
    (tensor([2., 4.]),)
    """
    argnums = tuple(i for i, a in enumerate(args) if _is_number(a) and as_tensor(a).dtype.kind == "f")
    trace = _Trace(function, args, argnums, {})

    def pull(cotangent: Any) -> tuple[Tensor, ...]:
        return tuple(trace.pull(_direction("vjp", "the result", trace.out, "v", cotangent)))

    return trace.result(), pull


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Tensor]:
    """(f(x), J t): the derivative of v ↦ vᵀJ, which is linear, pulled back along t.

    >>> from tinygrad_zoo import tensor
    >>> jvp(lambda x: x * x, [tensor([1.0, 2.0])], [tensor([1.0, 0.0])])[1]
    tensor([2., 0.])
    """
    if not all(isinstance(given, (list, tuple)) for given in (primals, tangents)):
        raise DTypeError("jvp: primals and tangents are lists, an entry an argument: jvp(f, [x], [t])")
    if len(primals) != len(tangents):
        raise ShapeError(f"jvp: {len(primals)} primals need as many tangents, got {len(tangents)}")
    outer = is_grad_enabled()
    trace = _Trace(function, primals, tuple(range(len(primals))), {})
    out, zero = trace.out, zeros(trace.out.shape, dtype=trace.out.dtype, device=trace.out.device)
    directions = [_direction("jvp", "a primal", x, "a tangent", t) for x, t in zip(trace.wanted, tangents, strict=True)]
    if not out.requires_grad:
        return trace.result(), zero
    create_graph = trace.create_graph or (outer and any(t.requires_grad for t in directions))
    v = zero.requires_grad_()
    pulled = gradients([out], trace.wanted, [v], create_graph=True)
    linear = [(g, t) for g, t in zip(pulled, directions, strict=True) if g is not None and g.requires_grad]
    if not linear:
        return trace.result(), zero.detach()
    pushed = gradients([g for g, _ in linear], [v], [t for _, t in linear], create_graph=create_graph)
    return trace.result(), _dense(pushed, [v])[0]


def jacobian(function: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """J[i…, j…] = ∂f(x)[i…] / ∂x[j…], of shape f(x).shape + x.shape, a row a walk.

    >>> from tinygrad_zoo import tensor
    >>> jacobian(lambda x: x * x)(tensor([1.0, 2.0])).tolist()
    [[2.0, 0.0], [0.0, 4.0]]
    """

    _check_function("jacobian", function)

    @wraps(function)
    def rows(*args: Any, **settings: Any) -> Any:
        trace = _Trace(function, args, argnums, settings)
        out, pulled = trace.out, []
        for i in range(out.size):
            unit = _filled(out, 0)
            unit._data.reshape(-1)[i] = 1
            pulled.append(trace.pull(unit))
        results = [
            reshape(stack(*(row[k] for row in pulled)), shape=out.shape + x.shape)
            if pulled
            else zeros(out.shape + x.shape, dtype=x.dtype, device=x.device)
            for k, x in enumerate(trace.wanted)
        ]
        return _like(results, argnums)

    return rows


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """H[i…, j…] = ∂²f(x) / ∂x[i…] ∂x[j…] of a scalar function.

    >>> from tinygrad_zoo import tensor
    >>> hessian(lambda x: (x ** 3).sum())(tensor([1.0, 2.0])).tolist()
    [[6.0, 0.0], [0.0, 12.0]]
    """
    return jacobian(grad(function, argnums), argnums)


def hvp(function: Callable[..., Any], x: Any, v: Any) -> Tensor:
    """H v of a scalar function at x, without forming H: the gradient of ⟨∇f(x), v⟩.

    >>> from tinygrad_zoo import tensor
    >>> hvp(lambda x: (x ** 3).sum(), tensor([1.0, 2.0]), tensor([1.0, 1.0]))
    tensor([ 6., 12.])
    """
    x = as_tensor(x)
    v = _direction("hvp", "x", x, "v", v)
    result: Tensor = grad(lambda y: (grad(function)(y) * v).sum())(x)
    return result


def checkpoint(function: Callable[..., Any], *args: Any) -> Any:
    """f(*args) that keeps none of its intermediate values: backward recomputes them.

    Tensors that the function captures (a module's parameters) get their gradients too: they are found in the graph of
    the first forward. The keys, `randn` and the samples of distributions inside are the same again; numbers taken from
    the `rng` itself are not. Returns a Tensor or a tuple of Tensors, as the function does.

    >>> from tinygrad_zoo import tensor
    >>> x = tensor([2.0], requires_grad=True)
    >>> checkpoint(lambda x: x * x, x).sum().backward()
    >>> x.grad
    tensor([4.])
    """
    _check_function("checkpoint", function)
    if not is_grad_enabled() or state.recorder is not None:  # a replay keeps what lies in its arena anyway
        return function(*args)
    drawn: list[Any] = []
    start = now()
    with recorded_draws(drawn):
        inputs = [alias(a) if isinstance(a, Variable) and a.requires_grad else a for a in args]
        out = function(*inputs)
    outs = out if isinstance(out, tuple) else (out,)
    if not all(isinstance(o, Tensor) for o in outs):
        raise DTypeError("checkpoint: the function must return a Tensor or a tuple of Tensors")
    others = captured(outs, start, [x for x in inputs if isinstance(x, Variable)])
    given = [i for i, a in enumerate(args) if isinstance(a, Variable) and a.requires_grad]
    if not given and not others:
        return out
    values, several = [o.data.copy() for o in outs], isinstance(out, tuple)
    del inputs, out, outs  # and with them the graph of the first forward

    def forward(*arrays: Any) -> Any:
        return tuple(values) if several else values[0]

    def recompute(g: Any, _: Any, *arrays: Any, needs: Sequence[bool]) -> list[Any]:
        create_graph = is_grad_enabled()
        fresh = list(args)
        for i, need in zip(given, needs, strict=False):
            if need:
                fresh[i] = alias(args[i]) if create_graph else args[i].detach().requires_grad_()
        with enable_grad(), replayed_draws(drawn):
            again = function(*fresh)
        pairs = zip(again, g if len(again) > 1 else [g], strict=True) if several else [(again, g)]
        live = [(o, as_tensor(g)) for o, g in pairs if o.requires_grad]
        wanted = [x for x, need in zip([*(fresh[i] for i in given), *others], needs, strict=True) if need]
        found = iter(
            gradients([o for o, _ in live], wanted, [g for _, g in live], create_graph=create_graph, stop=True)
        )
        pulled = [next(found) if need else None for need in needs]
        raw = not any(isinstance(a, Variable) for a in arrays)
        return [p.data if raw and p is not None else p for p in pulled]

    op = Op(forward, recompute)
    op.__name__ = f"checkpoint({getattr(function, '__name__', type(function).__name__)})"
    made = op(*(args[i] for i in given), *others)
    values.clear()
    return made

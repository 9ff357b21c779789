"""A value that remembers how it was made: `Variable`, the `Node` behind it, and the hooks on it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from .errors import DTypeError, GradientError, ShapeError
from .grad_mode import state

if TYPE_CHECKING:
    from .autograd import Op  # layers: a node names the op that made it

Array: TypeAlias = Any  # numpy.ndarray, cupy.ndarray
Hook: TypeAlias = Callable[["Variable"], "Variable | None"]

_numbers = itertools.count()


def now() -> int:
    """A number between those of the nodes made before and those made after."""
    return next(_numbers)


class Node:
    """How values were made. Never points at the Tensors it made, so a dead graph is freed at once."""

    __slots__ = (
        *("__weakref__", "hooks", "inputs", "needs", "number", "op", "outputs", "precision", "saved", "settings"),
        "version",
    )

    def __init__(
        self,
        op: Op,
        inputs: tuple[Any, ...],
        settings: dict[str, Any],
        needs: list[bool],
        outputs: Sequence[Array],
        saved: Sequence[Array],
        version: list[int],
    ) -> None:
        self.op = op
        self.inputs = inputs
        self.settings = settings
        self.needs = needs
        self.outputs = outputs
        self.saved = saved
        self.version = version  # of the outputs' memory
        self.number = next(_numbers)  # order of creation: a topological order
        self.hooks: dict[int, dict[int, Hook]] | None = None  # output index -> hooks
        self.precision: Any = None  # of its products, and of those of its rule


class Handle:
    """What registering a hook returns: `remove()` takes the hook off again."""

    def __init__(self, hooks: dict[int, Any], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)


def mark_all_written(variables: Iterable[Variable]) -> None:
    """`mark_written` of each of them."""
    number = next(_numbers)
    for x in variables:
        x.version[0] = number


def as_array(x: Any) -> Array:
    """`x` itself, as an array where NumPy made a scalar of a 0-d one."""
    return np.asarray(x) if isinstance(x, np.generic) else x


def data_of(x: Any) -> Any:
    """The array of a Tensor, and any other value as it is: what a rule reads without a gradient, at every order."""
    if not isinstance(x, Variable):
        return x
    return x._data if state.recorder is None else state.recorder.read(x, "a rule")


def looked_at(x: Any) -> Any:
    """The array of a Tensor, and any other value as it is: for a check of values, which `capture` does not repeat."""
    return x._data if isinstance(x, Variable) else x


def run_hooks(hooks: dict[int, Hook] | None, g: Any) -> Any:
    """`g`, a gradient, after each hook has seen it and may have replaced it."""
    for hook in list(hooks.values()) if hooks else ():
        given = g if isinstance(g, Variable) else wrap(Variable.result_type, as_array(g))
        returned = hook(given)
        if returned is None:
            continue
        array = returned._data if isinstance(returned, Variable) else None
        if array is None or array.shape != g.shape or array.dtype != g.dtype:
            got = type(returned).__name__ if array is None else f"{array.dtype} of shape {array.shape}"
            raise GradientError(
                f"a hook returns None or a Tensor like the gradient it got, {g.dtype} of shape {g.shape}; not {got}"
            )
        g = returned if isinstance(g, Variable) else array
    return g


class Variable:
    """An array that remembers the op that made it. `Tensor` adds the ops as methods."""

    __slots__ = ("__weakref__", "_data", "_grad", "_hooks", "_post_hooks", "_requires_grad", "index", "node", "version")
    result_type: ClassVar[type[Variable]]  # what an op returns, also when it is given a subclass
    node: Node | None
    index: int
    version: list[int]  # one element, shared by all Variables on the same memory: when it was last written

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        self._data, self.node, self.index, self.version = _array(data), None, 0, [0]
        self._grad: Any = None
        self._hooks: dict[int, Hook] | None = None
        self._post_hooks: dict[int, Callable[[Any], None]] | None = None
        self._requires_grad = False
        self.requires_grad = requires_grad
        if state.recorder is not None:
            state.recorder.keep(self)

    @property
    def data(self) -> Array:
        """The array itself, outside the graph. Writes into it go undetected until `mark_written` tells of them."""
        return self._data if state.recorder is None else state.recorder.read(self, "data")

    @data.setter
    def data(self, array: Array) -> None:
        if state.recorder is not None:
            state.recorder.write(self)
        array = _array(array)
        if self._requires_grad and array.dtype.kind != "f":
            raise DTypeError(f"data: this tensor requires a gradient, so expected floating point, got {array.dtype}")
        if self._grad is not None and self._grad._data.shape != array.shape:
            raise ShapeError(f"data: expected the shape {self._data.shape} of its gradient, got {array.shape}")
        self._data = array
        self.mark_written()

    def mark_written(self) -> None:
        """Say that `data` was written in place: a backward that still needs the old values will raise."""
        self.version[0] = next(_numbers)

    @property
    def requires_grad(self) -> bool:
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        if not isinstance(value, (bool, np.bool_)):
            raise DTypeError(f"requires_grad: expected True or False, got {value!r}")
        if value and self._data.dtype.kind != "f":
            raise DTypeError(
                f"only floating-point tensors have gradients, this one is {self._data.dtype}: "
                "convert it first, tensor.to('float32')"
            )
        if not value and self.node is not None:
            raise GradientError(f"{self.node.op} made this tensor: write tensor.detach() to leave the graph")
        self._requires_grad = bool(value)

    @property
    def grad(self) -> Any:
        """The gradient that `backward` has accumulated here, or None. It owns its memory: what is set is copied."""
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Variable):
                raise DTypeError(f"grad: expected a Tensor or None, got {type(value).__name__}")
            if value._data.shape != self._data.shape:
                raise ShapeError(f"grad: expected shape {self._data.shape}, got {value._data.shape}")
            if value._data.dtype != self._data.dtype:
                raise DTypeError(f"grad: expected {self._data.dtype}, got {value._data.dtype}; write grad.to(...)")
            value = wrap(self.result_type, value._data.copy(), value.node, value.index)
        self._grad = value

    def register_hook(self, hook: Hook) -> Handle:
        """`hook(grad)` sees this tensor's whole gradient; what it returns, if not None, replaces it."""
        if not self._requires_grad:
            raise GradientError("register_hook: this tensor takes no gradient; set requires_grad=True first")
        if self.node is None:
            self._hooks = {} if self._hooks is None else self._hooks
            hooks = self._hooks
        else:
            self.node.hooks = {} if self.node.hooks is None else self.node.hooks
            hooks = self.node.hooks.setdefault(self.index, {})
        key = next(_numbers)
        hooks[key] = hook
        return Handle(hooks, key)

    def register_post_accumulate_grad_hook(self, hook: Callable[[Any], None]) -> Handle:
        """`hook(tensor)` runs as soon as this leaf's `.grad` is complete, while the walk goes on."""
        if self.node is not None or not self._requires_grad:
            raise GradientError("register_post_accumulate_grad_hook: only leaves that require a gradient have .grad")
        self._post_hooks = {} if self._post_hooks is None else self._post_hooks
        key = next(_numbers)
        self._post_hooks[key] = hook
        return Handle(self._post_hooks, key)


Variable.result_type = Variable


def _array(data: Any) -> Array:
    """`data` if a Variable can hold it: an array of real numbers or booleans, not a scalar, not another Variable."""
    if type(data) is not np.ndarray:
        data = data if state.recorder is None else state.recorder.opened(data)
        array = hasattr(getattr(data, "dtype", None), "kind") and hasattr(data, "shape")
        if not array or isinstance(data, (Variable, np.generic, np.matrix, np.ma.MaskedArray)):
            raise DTypeError(f"Tensor: expected an array, got {type(data).__name__}; write tinygrad_zoo.tensor(...)")
    if data.dtype.kind not in "fiub":
        raise DTypeError(f"Tensor: expected an array of real numbers or booleans, got {data.dtype}")
    return data


def wrap(kind: type[Variable], data: Array, node: Node | None = None, index: int = 0, version: Any = None) -> Any:
    """A Tensor around `data`, made by output `index` of `node`; it requires a gradient if it has a node."""
    x = object.__new__(kind)
    x._data = data
    x.node = node
    x.index = index
    x.version = [0] if version is None else version
    x._requires_grad = node is not None
    x._grad = x._hooks = x._post_hooks = None
    return x

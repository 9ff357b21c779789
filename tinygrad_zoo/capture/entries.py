"""What a recording consists of: values, named by their memory, and the calls, draws and effects on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..backend import address_of, is_array, view_of
from ..kernels import jit
from ..variable import Array, Node, Variable
from .guards import Guarded


@dataclass(eq=False, slots=True)
class Block:
    """Memory, and where its contents come from."""

    array: Array
    origin: str  # "argument", "outside", "constant", "draw", "op", "effect"
    number: int
    variable: Any = None  # the Tensor outside whose array it is
    alias: Block | None = None  # whose memory it shares, after a copy was left out

    @property
    def owner(self) -> Block:
        return self if self.alias is None else self.alias.owner

    def __repr__(self) -> str:
        return f"%{self.number}"


@dataclass(frozen=True, slots=True)
class Ref:
    """A value: a view of a block."""

    block: Block
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, block: Block, array: Array) -> Ref:
        start = address_of(array) - address_of(block.array) if array.size else 0
        return cls(block, start, array.shape, array.strides, array.dtype)

    def recorded(self) -> Array:
        """The value's array where it was recorded."""
        return self.on(self.block.array)

    def on(self, memory: Array) -> Array:
        """The value's array on other memory."""
        return view_of(memory, self.offset, self.shape, self.strides, self.dtype)

    @property
    def kind(self) -> tuple[Any, ...]:
        return self.offset, self.shape, self.strides, self.dtype


class Cell:
    """A by-product of an op that is no array, a number that its backward is given; `value` is what was recorded."""

    def __init__(self, value: float) -> None:
        self.value = value


@dataclass(slots=True)
class Launch:
    """A kernel that ran inside of a call, with its arguments: Refs for arrays."""

    kernel: jit.Kernel
    dtype: np.dtype[Any]
    arguments: tuple[Any, ...]

    @property
    def parts(self) -> int:
        return self.kernel.parts(self.arguments)


@dataclass(slots=True)
class Call:
    """An op on arrays: `outputs` are what it returns, its by-products behind them."""

    op: Any
    inputs: list[Any]  # Refs, Live, and other values as they are
    settings: dict[str, Any]
    outputs: list[Any]  # Refs, Cells, None
    line: str
    launches: list[Launch] = field(default_factory=list)
    plan: Any = None  # of its launches: see launches.py
    precision: Any = None  # of its products


@dataclass(slots=True)
class Pull:
    """A gradient rule that looks at values outside of ops: `node`'s, run as a whole on arrays."""

    node: Node
    inputs: list[Any]  # the gradients, the outputs, the inputs, the saved
    settings: dict[str, Any]
    outputs: list[Any]
    line: str
    precision: Any  # of its products


@dataclass(slots=True)
class Draw:
    """What the host draws, or hands over: `values(rng)` for the arrays `outputs`."""

    rng: Any
    values: Callable[[Any], Any]
    outputs: list[Ref]
    line: str


@dataclass(slots=True)
class Effect:
    """A function that writes outside of the graph."""

    function: Callable[..., Any]
    args: Any  # Refs for Tensors: see `mapped`
    kwargs: Any
    outputs: list[Ref]
    grads: list[tuple[Variable, Ref | None]]  # what `.grad` of the leaves is when it runs
    line: str
    new_grads: list[tuple[Variable, Ref]] = field(default_factory=list)  # gradients that it put on memory of their own
    given: list[Any] = field(default_factory=list)  # the values of gradients and arguments as it begins
    left: dict[int, Any] = field(default_factory=dict)  # the arrays outside, by number, as it leaves them
    left_grads: list[Any] = field(default_factory=list)  # and the gradients


Entry = Call | Pull | Draw | Effect


def mapped(value: Any, change: Callable[[Any], Any], also: tuple[type, ...] = ()) -> Any:
    """A nest of lists, tuples and dicts with `change` made to every Tensor and array in it, and to what is `also`."""
    if isinstance(value, (Variable, Ref, Marked, *also)) or type(value) is Guarded or is_array(value):
        return change(value)
    if isinstance(value, dict):
        return {key: mapped(x, change, also) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        items = [mapped(x, change, also) for x in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


@dataclass(frozen=True, slots=True)
class Marked:
    """A Tensor in a nest that was mapped: its value."""

    ref: Ref
    tensor: bool


def describe(entry: Entry) -> str:
    """One line of a program, readable."""

    def text(x: Any) -> str:
        if isinstance(x, Ref):
            return f"{x.block!r}:{x.dtype.name}{list(x.shape)}"
        return f"{x:g}" if isinstance(x, float) else repr(x)[:30]

    outputs = ", ".join(text(x) for x in entry.outputs if x is not None)
    if isinstance(entry, Call):
        settings = "".join(f", {k}={v!r:.30}" for k, v in entry.settings.items() if v is not None)
        return f"{outputs} = {entry.op}({', '.join(map(text, entry.inputs))}{settings})"
    if isinstance(entry, Pull):
        return f"{outputs} = the rule of {entry.node.op}({', '.join(map(text, entry.inputs))})"
    if isinstance(entry, Draw):
        return f"{outputs} = draw"
    name = getattr(entry.function, "__qualname__", repr(entry.function))
    return f"{outputs + ' = ' if outputs else ''}effect {name}"

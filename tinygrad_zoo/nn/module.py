"""Module: a function that owns tensors. Nothing is registered; its parameters are found by walking its attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..backend import to_device, to_host
from ..errors import CheckpointError, DTypeError, UsageError
from ..grad_mode import no_grad, touched
from ..tensor import Tensor, as_tensor, tensor

M = TypeVar("M", bound="Module")
T = TypeVar("T")


class Parameter(Tensor):
    """A Tensor that a Module learns: a copy of `data` (numbers, an array or a Tensor) that requires a gradient.

    What an op makes of it is a plain Tensor.

    >>> w = Parameter([1.0, 2.0])
    >>> w.requires_grad, type(w * 2).__name__
    (True, 'Tensor')
    """

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(_copied(data), requires_grad)


class Buffer(Tensor):
    """A Tensor that belongs to a Module's state and moves with it, but is not learnt: a copy of `data`.

    >>> Buffer([True, False]).requires_grad
    False
    """

    __slots__ = ()

    def __init__(self, data: Any) -> None:
        super().__init__(_copied(data))


def _copied(data: Any) -> Any:
    return tensor(data, device=data.device if isinstance(data, Tensor) else None)._data


class LoadedKeys(NamedTuple):
    """What `load_state_dict` did not find in the state, and what the state held beyond."""

    missing: list[str]
    surplus: list[str]


class Module:
    """A function with parameters: write `forward`, call the module.

    Every Parameter, Buffer and Module among the attributes belongs to the module, also inside lists, tuples and dicts;
    names are dotted: `blocks.0.weight`. A plain Tensor does not belong to it: wrap a constant in Buffer. An
    `__init__` need not call `super().__init__()`.

    >>> class Scale(Module):
    ...     def __init__(self) -> None:
    ...         self.factor = Parameter([2.0])
    ...     def forward(self, x):
    ...         return self.factor * x
    >>> scale = Scale()
    >>> scale(tensor([3.0])).tolist()
    [6.0]
    >>> scale
    Scale()  # 1 parameter
    """

    training: bool = True
    watched: ClassVar[bool] = True  # by `capture`: see `__setattr__`
    forward: ClassVar[Callable[..., Any]]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.forward(*args, **kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        old = vars(self).get(name)
        if (
            isinstance(old, Parameter | Buffer)
            and isinstance(value, Tensor)
            and not isinstance(value, Parameter | Buffer)
        ):
            kind = type(old).__name__
            raise DTypeError(
                f"{type(self).__name__}.{name} is a {kind}, which a plain Tensor in its place would take away from the "
                f"module: write module.{name}.data = tensor.data, or module.{name} = {kind}(tensor)"
            )
        touched[0] += 1
        object.__setattr__(self, name, value)

    # ---- what belongs to it
    def _entries(self) -> Iterable[tuple[str, Any]]:
        """Name and value of every attribute; a container names its parts by position or key instead."""
        return vars(self).items()

    def _members(self) -> Iterator[tuple[str, Tensor | Module]]:
        """Its own tensors and its direct modules."""
        for name, value in self._entries():
            yield from _unpacked(name, value)

    def _reachable(self, prefix: str = "", above: tuple[Module, ...] = ()) -> Iterator[tuple[str, Tensor | Module]]:
        """Everything below, depth first, as often as it is reached."""
        above = (*above, self)
        for name, member in self._members():
            yield prefix + name, member
            if isinstance(member, Module):
                if any(member is other for other in above):
                    raise UsageError(f"{type(member).__name__} contains itself, as {prefix + name}: break the cycle")
                yield from member._reachable(f"{prefix}{name}.", above)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Each Parameter once, under the first of its names."""
        return _unique((name, x) for name, x in self._reachable() if isinstance(x, Parameter))

    def parameters(self) -> Iterator[Parameter]:
        """Each Parameter once, shared ones too.

        >>> w = Parameter([1.0])
        >>> m = Module()
        >>> m.pair = [w, w]
        >>> len(list(m.parameters())), list(m.state_dict())
        (1, ['pair.0', 'pair.1'])
        """
        return (x for _, x in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Buffer]]:
        """Each Buffer once, under the first of its names."""
        return _unique((name, x) for name, x in self._reachable() if isinstance(x, Buffer))

    def buffers(self) -> Iterator[Buffer]:
        """Each Buffer once."""
        return (x for _, x in self.named_buffers())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly below, each once."""
        return _unique((name, x) for name, x in self._members() if isinstance(x, Module))

    def children(self) -> Iterator[Module]:
        """The modules directly below, each once."""
        return (x for _, x in self.named_children())

    def named_modules(self) -> Iterator[tuple[str, Module]]:
        """This module, named "", and every module below, each once; parents come first."""
        below = ((name, x) for name, x in self._reachable() if isinstance(x, Module))
        return _unique([("", self), *below])

    def modules(self) -> Iterator[Module]:
        """This module and every module below, each once."""
        return (x for _, x in self.named_modules())

    # ---- its state
    def _tensors(self) -> dict[str, Tensor]:
        return {name: x for name, x in self._reachable() if isinstance(x, Tensor)}

    def state_dict(self) -> dict[str, NDArray[Any]]:
        """Copies on the host of all parameters and buffers; a shared one stands under each of its names."""
        return {name: np.array(to_host(x.data)) for name, x in self._tensors().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> LoadedKeys:
        """Write the arrays or Tensors of `state` (PyTorch's too) into the parameters and buffers, in place.

        Raises CheckpointError, before anything is written, for names that are missing or surplus (unless not
        `strict`), and always for another shape or kind of dtype. Floats are converted to the dtype in place here.
        """
        own = self._tensors()
        given = {name: as_tensor(x).data for name, x in state.items()}
        keys = LoadedKeys([name for name in own if name not in given], [name for name in given if name not in own])
        faults = [f"{name} is missing" for name in keys.missing] if strict else []
        faults += [f"{name} is surplus" for name in keys.surplus] if strict else []
        for name in own.keys() & given.keys():
            x, new = own[name], given[name]
            if new.shape != x.shape:
                faults.append(f"{name} has shape {new.shape}, expected {x.shape}")
            elif not np.can_cast(new.dtype, x.dtype, "same_kind"):
                faults.append(f"{name} is {new.dtype}, expected {x.dtype}")
        if faults:
            hint = "; pass strict=False to load what fits" if keys.missing or keys.surplus else ""
            raise CheckpointError(f"{type(self).__name__}: the state does not fit: {'; '.join(sorted(faults))}{hint}")
        for name, x in own.items():
            if name in given:
                x.data[...] = to_device(given[name], x.device)
                x.mark_written()
        return keys

    # ---- changing it
    def train(self: M, mode: bool = True) -> M:
        """Put this module and all below in training mode: dropout drops."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self: M) -> M:
        """Put this module and all below in evaluation mode."""
        return self.train(False)

    def to(self: M, target: Any) -> M:
        """Move to a device ('cpu', 'cupy:1') or convert what is floating to a floating dtype; gradients follow.

        The Parameters stay the same objects with new memory.

        >>> layer = Module()
        >>> layer.weight, layer.index = Parameter([1.0]), Buffer([1])
        >>> [x.dtype.name for x in layer.to("float64")._tensors().values()]
        ['float64', 'int64']
        """
        with no_grad():
            for x in {id(x): x for x in self._tensors().values()}.values():
                moved = x.to(target)
                if moved.dtype != x.dtype and moved.dtype.kind != "f":
                    raise DTypeError(f"{type(self).__name__}.to: expected a device or a floating dtype, got {target!r}")
                if moved is not x and (moved.device != x.device or x.dtype.kind == "f"):
                    x.data = moved.data
                    if x.grad is not None:
                        x.grad = x.grad.to(target)
        return self

    def zero_grad(self) -> None:
        """Forget all gradients: every `.grad` becomes None."""
        for x in self.parameters():
            x.grad = None

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Freeze (False) or thaw all parameters."""
        for x in self.parameters():
            x.requires_grad = requires_grad
        return self

    def apply(self: M, function: Callable[[Module], Any]) -> M:
        """Call `function` on every module, children before parents; it may initialise them."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    # ---- showing it
    def settings(self) -> str:
        """What stands between the brackets of its repr; subclasses override it."""
        return ""

    def __repr__(self) -> str:
        count = sum(x.size for x in self.parameters())
        plural = "" if count == 1 else "s"
        lines = [f"{type(self).__name__}({self.settings()})" + (f"  # {count:,} parameter{plural}" if count else "")]
        for name, child in self._members():
            if isinstance(child, Module):
                lines += f"{name}: {child!r}".split("\n")
        return "\n  ".join(lines)


def _unpacked(name: str, value: Any) -> Iterator[tuple[str, Tensor | Module]]:
    if isinstance(value, Parameter | Buffer | Module):
        yield name, value
    elif isinstance(value, list | tuple):
        for i, item in enumerate(value):
            yield from _unpacked(f"{name}.{i}", item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _unpacked(f"{name}.{key}", item)


def _unique(named: Iterable[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    seen: set[int] = set()
    for name, x in named:
        if id(x) not in seen:
            seen.add(id(x))
            yield name, x

"""Modules of modules. Their parts are named by position or key alone: "0.weight", as in PyTorch."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from typing import Any

from ..errors import DTypeError, UsageError
from .module import Module


def _module(owner: Module, x: Any) -> Module:
    if not isinstance(x, Module):
        raise DTypeError(f"{type(owner).__name__}: expected modules, got {type(x).__name__}")
    return x


class ModuleList(Module):
    """A list of modules, without a forward of its own.

    >>> from tinygrad_zoo.nn import ReLU, Tanh
    >>> layers = ModuleList([ReLU()])
    >>> layers.append(Tanh())
    ModuleList()
      0: ReLU()
      1: Tanh()
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.items = [_module(self, x) for x in modules]

    def _entries(self) -> Iterable[tuple[str, Any]]:
        yield from ((str(i), x) for i, x in enumerate(self.items))
        yield from ((name, x) for name, x in vars(self).items() if name != "items")  # a subclass may have its own

    def append(self, module: Module) -> ModuleList:
        """Add one at the end."""
        self.items.append(_module(self, module))
        return self

    def extend(self, modules: Iterable[Module]) -> ModuleList:
        """Add several at the end."""
        self.items += [_module(self, x) for x in modules]
        return self

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Module]:
        return iter(self.items)

    def __getitem__(self, index: int | slice) -> Any:
        """The module at an index; for a slice a container of the same kind, on the same modules."""
        if not isinstance(index, slice):
            return self.items[index]
        part = object.__new__(type(self))
        part.items, part.training = self.items[index], self.training
        return part

    def __setitem__(self, index: int, module: Module) -> None:
        self.items[index] = _module(self, module)


class Sequential(ModuleList):
    """One module after another: Sequential(f, g)(x) = g(f(x)).

    >>> from tinygrad_zoo.nn import Flatten, ReLU
    >>> Sequential(Flatten(), ReLU())
    Sequential()
      0: Flatten(1, -1)
      1: ReLU()
    """

    def __init__(self, *modules: Module) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        for module in self.items:
            x = module(x)
        return x


class ModuleDict(Module):
    """A dict of modules, without a forward of its own.

    >>> from tinygrad_zoo.nn import ReLU
    >>> ModuleDict({"act": ReLU()})
    ModuleDict()
      act: ReLU()
    """

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        self._modules: dict[str, Module] = {}
        for name, x in (modules or {}).items():
            self[name] = x

    def _entries(self) -> Iterable[tuple[str, Any]]:
        yield from self._modules.items()
        yield from ((name, x) for name, x in vars(self).items() if name != "_modules")

    def __setitem__(self, name: str, module: Module) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise UsageError(f"ModuleDict: a name is a string without dots, got {name!r}")
        self._modules[name] = _module(self, module)

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __delitem__(self, name: str) -> None:
        del self._modules[name]

    def __contains__(self, name: object) -> bool:
        return name in self._modules

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._modules.keys()

    def values(self) -> ValuesView[Module]:
        """The modules."""
        return self._modules.values()

    def items(self) -> ItemsView[str, Module]:
        """Names and modules."""
        return self._modules.items()

"""Keys whose comparisons are counted, and functions with a fault planted in their source."""

from __future__ import annotations

import inspect
import textwrap
from types import ModuleType
from typing import Any


class Counter:
    """Makes keys, and counts every `<` between them."""

    def __init__(self) -> None:
        self.count = 0

    def key(self, value: Any) -> Key:
        return Key(value, self)

    def keys(self, values: Any) -> list[Key]:
        return [Key(value, self) for value in values]

    def since(self) -> int:
        """The comparisons since this was asked last."""
        count, self.count = self.count, 0
        return count


class Key:
    """A value that knows `<` and nothing else."""

    __slots__ = ("counter", "value")

    def __init__(self, value: Any, counter: Counter) -> None:
        self.value, self.counter = value, counter

    def __lt__(self, other: Key) -> bool:
        self.counter.count += 1
        return bool(self.value < other.value)

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


def planted(module: ModuleType, owner: str, method: str, old: str, new: str) -> tuple[Any, str, Any]:
    """What monkeypatch.setattr takes to put a method whose source says `new` for `old` in the place of the right one.

    `owner` is a class of the module, or "" where `method` is a function of the module itself.
    """
    place: Any = getattr(module, owner) if owner else module
    source = textwrap.dedent(inspect.getsource(vars(place)[method]))
    assert source.count(old) == 1, f"{owner}.{method} says {old!r} {source.count(old)} times: plant this fault anew"
    text = f"from __future__ import annotations\n{source.replace(old, new)}"
    made: dict[str, Any] = {}
    exec(compile(text, f"<{method}: {new}>", "exec"), vars(module), made)
    return place, method, made[method]

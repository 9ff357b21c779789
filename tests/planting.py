"""Functions with a fault planted in their source."""

from __future__ import annotations

import inspect
import textwrap
from types import ModuleType
from typing import Any


def planted(module: ModuleType, owner: str, method: str, old: str, new: str) -> tuple[Any, str, Any]:
    """What monkeypatch.setattr takes to put a method whose source says `new` for `old` in the place of the right one.

    `owner` is a class of the module, or "" where `method` is a function of the module itself.
    """
    place: Any = getattr(module, owner) if owner else module
    function = vars(place)[method]
    source = textwrap.dedent(inspect.getsource(getattr(function, "py_func", function))).removeprefix("@jit\n")
    assert source.count(old) == 1, f"{owner}.{method} says {old!r} {source.count(old)} times: plant this fault anew"
    text = f"from __future__ import annotations\n{source.replace(old, new)}"
    made: dict[str, Any] = {}
    exec(compile(text, f"<{method}: {new}>", "exec"), vars(module), made)
    return place, method, made[method]
